//! The distributions of a running slot: made for adding samples, turned into [`Distribution`]s to be read.
//!
//! A small table with open addressing: the bucket's number, multiplied, is its place; the next free place is taken if
//! that is in use. Adding a sample costs a few nanoseconds, however many buckets are in use. Times that are often the same
//! have one table with several counts in a place, so that they cost one look and not several.

use super::distribution::{Distribution, HIGHEST_NS, Moments, bucket_of};

/// Places of the first table; a power of two.
const FEWEST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Place<const KINDS: usize> {
    /// The bucket's number and 1; 0 if the place is free.
    mark: u16,
    counts: [u32; KINDS],
}

impl<const KINDS: usize> Place<KINDS> {
    const FREE: Self = Self {
        mark: 0,
        counts: [0; KINDS],
    };
}

/// Samples of some kinds of time in a running slot.
#[derive(Clone, Debug)]
pub(crate) struct Samples<const KINDS: usize> {
    /// As many as a power of two, at most three quarters of them in use.
    places: Vec<Place<KINDS>>,
    used: usize,
    moments: [Moments; KINDS],
}

impl<const KINDS: usize> Default for Samples<KINDS> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            used: 0,
            moments: [Moments::default(); KINDS],
        }
    }
}

impl<const KINDS: usize> Samples<KINDS> {
    /// Adds a sample of one kind.
    #[inline]
    pub(crate) fn record(&mut self, kind: usize, value_ns: u64) {
        self.moments[kind].record(value_ns);
        let mut more = [0; KINDS];
        more[kind] = 1;
        self.count(bucket_of(value_ns.min(HIGHEST_NS)), more);
    }

    /// Adds the same sample to every kind.
    #[inline]
    pub(crate) fn record_all(&mut self, value_ns: u64) {
        for moments in &mut self.moments {
            moments.record(value_ns);
        }
        self.count(bucket_of(value_ns.min(HIGHEST_NS)), [1; KINDS]);
    }

    #[inline]
    fn count(&mut self, bucket: u16, more: [u32; KINDS]) {
        if self.used * 4 >= self.places.len() * 3 {
            self.grow();
        }
        let last = self.places.len() - 1;
        let mark = bucket + 1;
        // Multiplying by an odd number and taking the middle bits spreads neighbours.
        let mut at = (usize::from(bucket).wrapping_mul(0x9e37_79b1) >> 7) & last;
        loop {
            let place = &mut self.places[at];
            if place.mark == 0 {
                *place = Place { mark, counts: more };
                self.used += 1;
                return;
            }
            if place.mark == mark {
                for (count, more) in place.counts.iter_mut().zip(more) {
                    *count = count.saturating_add(more);
                }
                return;
            }
            at = (at + 1) & last;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let room = (self.places.len() * 2).max(FEWEST);
        let old = std::mem::replace(&mut self.places, vec![Place::FREE; room]);
        self.used = 0;
        for place in old.into_iter().filter(|place| place.mark > 0) {
            self.count(place.mark - 1, place.counts);
        }
    }

    /// Adds all samples of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.moments.iter_mut().zip(&other.moments) {
            mine.merge(theirs);
        }
        for place in other.places.iter().filter(|place| place.mark > 0) {
            self.count(place.mark - 1, place.counts);
        }
    }

    /// Those of a kind, as a distribution.
    pub(crate) fn sorted(&self, kind: usize) -> Distribution {
        let mut buckets: Vec<_> = self
            .places
            .iter()
            .filter(|place| place.counts[kind] > 0)
            .map(|place| (place.mark - 1, u64::from(place.counts[kind])))
            .collect();
        buckets.sort_unstable();
        Distribution::new(self.moments[kind], buckets)
    }

    /// Forgets all samples. Keeps the room, or half of it if most was not needed.
    pub(crate) fn clear(&mut self) {
        if self.used * 4 < self.places.len() && self.places.len() > FEWEST {
            self.places = vec![Place::FREE; self.places.len() / 2];
        } else {
            self.places.fill(Place::FREE);
        }
        self.moments = [Moments::default(); KINDS];
        self.used = 0;
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place<KINDS>>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn samples_are_the_distributions_of_the_same_values(
            rounds in prop::collection::vec(
                prop::collection::vec((0u32..43, any::<u64>(), prop::option::of(any::<u64>()), any::<bool>()), 0..300),
                1..5,
            ),
        ) {
            let mut samples = Samples::<2>::default();
            for round in rounds {
                let mut expected = [Distribution::default(), Distribution::default()];
                for (bits, value, other, same) in round {
                    let low = |value: u64| value & ((1 << bits) - 1);
                    let value = low(value);
                    let other = if same { Some(value) } else { other.map(low) };
                    match other {
                        Some(other) if other == value => samples.record_all(value),
                        Some(other) => {
                            samples.record(0, value);
                            samples.record(1, other);
                        }
                        None => samples.record(0, value),
                    }
                    expected[0].record(value);
                    if let Some(other) = other {
                        expected[1].record(other);
                    }
                }
                prop_assert_eq!([samples.sorted(0), samples.sorted(1)], expected);
                samples.clear();
                prop_assert_eq!(samples.sorted(1), Distribution::default());
            }
        }
    }
}
