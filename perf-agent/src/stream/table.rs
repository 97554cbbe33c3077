//! A bounded table: when it is full, an entry that was not used for long makes room.
//!
//! Which one is the clock's choice ("second chance"): a hand goes round, spares each entry once that was used since it
//! last came by, and takes the first one that was not. That costs O(1) on average and one bit per entry.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Entries by id, at most so many.
#[derive(Debug)]
pub struct Table<T> {
    /// Numbers of slots by their ids: so little that it stays close to the processor. Ids come from the kernel side but
    /// count connections that others open: the hasher is seeded at random.
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
    slots: Vec<Option<Slot<T>>>,
    free: Vec<u32>,
    hand: usize,
    capacity: usize,
}

/// As long as whole cache lines, so that no two entries share one. What is asked first stands in the first one.
#[derive(Debug)]
#[repr(C, align(64))]
struct Slot<T> {
    id: u64,
    used: Used,
    value: T,
}

/// Since the hand last came by. Wider than it need be: that a slot is empty is then said here, where the compiler finds
/// most room for it, and not at some place in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Used {
    No,
    Yes,
}

/// Where an entry lies, until it is removed.
#[derive(Clone, Copy, Debug)]
pub struct Place(u32);

impl<T> Table<T> {
    /// A table for at most `capacity` entries, at least one. Nothing is allocated yet.
    pub fn new(capacity: usize) -> Self {
        Self {
            places: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            capacity: capacity.clamp(1, u32::MAX as usize),
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Where the entry of this id lies.
    #[inline]
    pub fn find(&self, id: u64) -> Option<Place> {
        let is = |place: &u32| id_at(&self.slots, *place) == Some(id);
        self.places.find(self.hasher.hash_one(id), is).copied().map(Place)
    }

    /// The entry that lies there; it counts as used.
    #[inline]
    pub fn at(&mut self, place: Place) -> Option<&mut T> {
        let slot = self.slots.get_mut(place.0 as usize)?.as_mut()?;
        slot.used = Used::Yes;
        Some(&mut slot.value)
    }

    /// The entry of this id; it counts as used.
    #[inline]
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let place = self.find(id)?;
        self.at(place)
    }

    /// Puts in an entry. Gives back what had to go: the id's former entry, or another one if the table is full.
    pub fn insert(&mut self, id: u64, value: T) -> Option<(u64, T)> {
        let gone = match self.remove(id) {
            Some(former) => Some((id, former)),
            None if self.len() >= self.capacity => self.evict(),
            None => None,
        };
        let slot = Some(Slot {
            id,
            used: Used::Yes,
            value,
        });
        let place = if let Some(place) = self.free.pop() {
            self.slots[place as usize] = slot;
            place
        } else {
            self.slots.push(slot);
            // The capacity is less.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = |place: &u32| hasher.hash_one(id_at(slots, *place).unwrap_or_default());
        self.places.insert_unique(hasher.hash_one(id), place, hash);
        gone
    }

    /// Takes out an entry.
    pub fn remove(&mut self, id: u64) -> Option<T> {
        let is = |place: &u32| id_at(&self.slots, *place) == Some(id);
        let (place, _) = self.places.find_entry(self.hasher.hash_one(id), is).ok()?.remove();
        self.free.push(place);
        self.slots.get_mut(place as usize)?.take().map(|slot| slot.value)
    }

    /// All entries, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten().map(|slot| &mut slot.value)
    }

    fn evict(&mut self) -> Option<(u64, T)> {
        // Each entry is spared at most once, so two rounds suffice.
        for _ in 0..2 * self.slots.len() {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            if let Some(slot) = &mut self.slots[place] {
                if slot.used == Used::Yes {
                    slot.used = Used::No;
                } else {
                    let id = slot.id;
                    return self.remove(id).map(|value| (id, value));
                }
            }
        }
        None
    }
}

#[inline]
fn id_at<T>(slots: &[Option<Slot<T>>], place: u32) -> Option<u64> {
    slots.get(place as usize)?.as_ref().map(|slot| slot.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_gives_up_what_was_not_used() {
        let mut table = Table::new(3);
        for id in 1..=3 {
            assert_eq!(table.insert(id, id * 10), None);
        }
        // The first round takes everybody's chance, and the hand is back at the first.
        assert_eq!(table.insert(4, 40), Some((1, 10)));
        assert_eq!(table.get_mut(2), Some(&mut 20));
        assert_eq!(table.insert(5, 50), Some((3, 30)));
        assert_eq!(table.len(), 3);
        assert_eq!(table.get_mut(1), None);
        assert_eq!(table.values_mut().map(|value| *value).sum::<u64>(), 20 + 40 + 50);
    }

    #[test]
    fn an_id_comes_back_with_a_new_entry() {
        let mut table = Table::new(2);
        table.insert(1, 'a');
        assert_eq!(table.insert(1, 'b'), Some((1, 'a')));
        assert_eq!(table.remove(1), Some('b'));
        assert_eq!(table.remove(1), None);
        assert!(table.is_empty());
    }

    #[test]
    fn the_bound_holds_whatever_comes() {
        let mut table = Table::new(100);
        let mut gone = 0;
        for id in 0..10_000u64 {
            gone += usize::from(table.insert(id, ()).is_some());
            table.get_mut(id / 2);
            if id % 7 == 0 {
                gone += usize::from(table.remove(id).is_some());
            }
            assert!(table.len() <= 100 && table.slots.len() <= 100);
        }
        assert_eq!(gone + table.len(), 10_000);
    }
}
