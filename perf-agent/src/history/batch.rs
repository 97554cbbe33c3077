//! From snapshots to what is stored: what closed since the last commit, and what is running.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::block::TOTAL;
use super::names::{StoredEndpoint, codes_to_bytes};
use super::store::{Batch, Kind, Row};
use crate::aggregate::Aggregate;
use crate::aggregate::stored::Lean;
use crate::aggregate::window::Size;
use crate::endpoint::RouteReason;
use crate::snapshot::{EndpointSnapshot, Snapshot};

/// The wall clock was set if its distance to the agent's changed by more than this.
const SET_NS: i64 = 1_000_000_000;
/// An endpoint that is used is noted so often.
const SEEN_NS: u64 = 3_600_000_000_000;

/// What is known to be stored.
#[derive(Debug)]
pub(crate) struct Collector {
    /// The last moment stored, in the core's time.
    since_ns: u64,
    /// When this run began, likewise.
    began_ns: u64,
    endpoints: HashMap<u64, Known>,
    renamed: usize,
    codes: usize,
    /// What the wall clock is ahead of the core's.
    ahead_ns: i64,
}

#[derive(Clone, Debug)]
struct Known {
    first_ns: u64,
    seen_ns: u64,
    reason: RouteReason,
}

/// Rows by kind and number of the slot.
type Slots = BTreeMap<(Kind, u64), Vec<Row>>;

impl Collector {
    /// After a restart: the last moment stored, when this run began, and the endpoints that are stored.
    pub(crate) fn new<'a>(
        since_ns: u64,
        began_ns: u64,
        codes: usize,
        stored: impl Iterator<Item = &'a (u64, Option<StoredEndpoint>)>,
    ) -> Self {
        let known = |(id, stored): &(u64, Option<StoredEndpoint>)| {
            let stored = stored.as_ref().filter(|stored| stored.into.is_none())?;
            let known = Known {
                first_ns: stored.first_ns,
                seen_ns: stored.seen_ns,
                reason: stored.reason(),
            };
            Some((*id, known))
        };
        Self {
            since_ns,
            began_ns,
            endpoints: stored.filter_map(known).collect(),
            renamed: 0,
            codes,
            ahead_ns: 0,
        }
    }

    /// What the wall clock is ahead of the core's time: 0 unless it was set.
    pub(crate) fn ahead_ns(&self) -> i64 {
        self.ahead_ns
    }

    /// What is new in a snapshot; `None` before any time went by. Until [`Collector::stored`] it is collected again.
    pub(crate) fn collect(&self, snapshot: &Snapshot) -> Option<Batch> {
        if snapshot.wall_ns == 0 || snapshot.at_ns < self.since_ns {
            return None;
        }
        let found_ns = ahead_ns(snapshot);
        let was_set = (found_ns - self.ahead_ns).abs() > SET_NS;
        let mut batch = Batch {
            at_ns: snapshot.wall_ns,
            began_ns: self.began_ns,
            ..Batch::default()
        };
        if was_set {
            batch.cleared = self.elsewhere(snapshot.at_ns);
        }
        let ahead_ns = if was_set { found_ns } else { self.ahead_ns };
        let mut slots = Slots::new();
        let mut gather = Gather {
            since_ns: self.since_ns,
            at_ns: snapshot.at_ns,
            all: was_set,
            slots: &mut slots,
        };
        gather.take(TOTAL, &snapshot.total);
        gather.empty(self.began_ns);
        for (place, endpoint) in snapshot.endpoints.iter().enumerate() {
            let id = number_of(endpoint);
            if id == TOTAL {
                continue;
            }
            let used = gather.take(id, &endpoint.aggregate);
            let known = self.endpoints.get(&id);
            let seen_ns = snapshot.wall_ns;
            let news = known.is_none_or(|known| {
                known.reason != endpoint.reason || (used && seen_ns > known.seen_ns.saturating_add(SEEN_NS))
            });
            if news {
                let first_ns = known.map_or(snapshot.wall_ns + place as u64, |known| known.first_ns);
                let stored = StoredEndpoint::new(endpoint, first_ns, seen_ns);
                batch.endpoints.push((id, stored.to_bytes()));
            }
        }
        batch.slots = slots
            .into_iter()
            .map(|((kind, number), rows)| (kind, moved(kind.size(), number, ahead_ns), rows))
            .collect();
        batch.renamed = self.renames(snapshot);
        batch.codes = codes(snapshot)
            .filter(|(count, _)| *count > self.codes)
            .map(|(_, endpoint)| codes_to_bytes(endpoint.codes.lists()));
        Some(batch)
    }

    /// Where what memory has was stored before the clock was set.
    fn elsewhere(&self, at_ns: u64) -> Vec<(Kind, u64, u64)> {
        let range = |kind: Kind| {
            let size = kind.size();
            let newest = size.number(at_ns);
            let place = |number| moved(size, number, self.ahead_ns);
            (kind, place(newest.saturating_sub(size.kept())), place(newest))
        };
        Kind::ALL.into_iter().map(range).collect()
    }

    /// Endpoints that became others since the last commit, and are not there themselves.
    fn renames(&self, snapshot: &Snapshot) -> Vec<(u64, u64)> {
        let new = snapshot.renamed.get(self.renamed..).unwrap_or_default();
        if new.is_empty() {
            return Vec::new();
        }
        let there: hashbrown::HashSet<u64> = snapshot.endpoints.iter().map(|endpoint| number_of(endpoint)).collect();
        new.iter()
            .filter(|(id, into)| id != into && !there.contains(id))
            .copied()
            .collect()
    }

    /// What was collected of this snapshot is stored.
    pub(crate) fn stored(&mut self, snapshot: &Snapshot, batch: &Stored) {
        self.since_ns = snapshot.at_ns;
        for (id, bytes) in &batch.endpoints {
            if let Some(stored) = StoredEndpoint::of_bytes(bytes) {
                let known = Known {
                    first_ns: stored.first_ns,
                    seen_ns: stored.seen_ns,
                    reason: stored.reason(),
                };
                self.endpoints.insert(*id, known);
            }
        }
        self.renamed = snapshot.renamed.len();
        for (id, _) in &batch.renamed {
            self.endpoints.remove(id);
        }
        if let Some((count, _)) = codes(snapshot) {
            self.codes = self.codes.max(count);
        }
        let found_ns = ahead_ns(snapshot);
        if (found_ns - self.ahead_ns).abs() > SET_NS {
            self.ahead_ns = found_ns;
        }
    }
}

/// What of a batch is needed after it was stored.
#[derive(Debug)]
pub(crate) struct Stored {
    endpoints: Vec<(u64, Vec<u8>)>,
    pub(crate) renamed: Vec<(u64, u64)>,
}

impl Stored {
    pub(crate) fn of(batch: &Batch) -> Self {
        Self {
            endpoints: batch.endpoints.clone(),
            renamed: batch.renamed.clone(),
        }
    }
}

struct Gather<'a> {
    since_ns: u64,
    at_ns: u64,
    /// All that memory has, and not only what is new.
    all: bool,
    slots: &'a mut Slots,
}

impl Gather<'_> {
    fn since(&self, size: Size) -> u64 {
        if self.all { 0 } else { size.number(self.since_ns) }
    }

    /// Takes what is new of an aggregate. True if there was anything.
    fn take(&mut self, id: u64, aggregate: &Aggregate) -> bool {
        let mut used = false;
        let mut since = Size::ALL.map(|size| self.since(size)).into_iter();
        let mut put = |kind: Kind, number: u64, row: Arc<[u8]>| {
            self.slots.entry((kind, number)).or_default().push((id, row));
            used = true;
        };
        for size in Size::ALL {
            let since = since.next().unwrap_or(0);
            let running = size.number(self.at_ns);
            for (number, slot) in aggregate.closed_since(size, since) {
                if *number >= running {
                    continue;
                }
                put(Kind::Slots(size), *number, Arc::clone(slot));
                if size == Size::FiveMinutes {
                    put(Kind::Lean, *number, Lean::of_slot(slot).pack().into());
                }
            }
        }
        if let Some((number, slot)) = aggregate.running()
            && number == Size::TenSeconds.number(self.at_ns)
        {
            put(Kind::Slots(Size::TenSeconds), number, slot);
        }
        if (self.all || Size::FiveMinutes.number(self.since_ns) != Size::FiveMinutes.number(self.at_ns))
            && let Some((number, slot)) = aggregate.running_hours()
            && number == Size::TwoHours.number(self.at_ns)
        {
            put(Kind::Slots(Size::TwoHours), number, Arc::clone(slot));
        }
        used
    }

    /// Of five minutes in which nothing happened to anybody, that is what is known: they are told apart from those in
    /// which nobody looked.
    fn empty(&mut self, began_ns: u64) {
        let size = Size::FiveMinutes;
        let running = size.number(self.at_ns);
        let known = running.saturating_sub(size.kept()).max(size.number(began_ns));
        for number in self.since(size).max(known)..running {
            let rows = self.slots.entry((Kind::Lean, number)).or_default();
            if !rows.iter().any(|(id, _)| *id == TOTAL) {
                rows.push((TOTAL, Lean::default().pack().into()));
            }
        }
    }
}

/// An endpoint's id as a number.
pub(crate) fn number_of(endpoint: &EndpointSnapshot) -> u64 {
    u64::from_str_radix(&endpoint.id, 16).unwrap_or(TOTAL)
}

/// What the wall clock is ahead of the core's time.
fn ahead_ns(snapshot: &Snapshot) -> i64 {
    let ahead = i128::from(snapshot.wall_ns) - i128::from(snapshot.at_ns);
    i64::try_from(ahead).unwrap_or(0)
}

/// The number that a slot has by a clock that is ahead: that of the slot in which its middle lies.
pub(crate) fn moved(size: Size, number: u64, ahead_ns: i64) -> u64 {
    let middle = number.saturating_mul(size.length_ns()) + size.length_ns() / 2;
    size.number(middle.saturating_add_signed(ahead_ns))
}

/// How many error codes there are, and an endpoint that knows all of them.
fn codes(snapshot: &Snapshot) -> Option<(usize, &EndpointSnapshot)> {
    let count = |endpoint: &EndpointSnapshot| endpoint.codes.lists().iter().map(Vec::len).sum::<usize>();
    snapshot
        .endpoints
        .iter()
        .filter(|endpoint| !endpoint.key.protocol.has_statuses())
        .map(|endpoint| (count(endpoint), &**endpoint))
        .max_by_key(|(count, _)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_moves_with_the_clock_to_where_its_middle_is() {
        let second = 1_000_000_000;
        assert_eq!(moved(Size::TenSeconds, 100, 0), 100);
        assert_eq!(moved(Size::TenSeconds, 100, 4 * second), 100);
        assert_eq!(moved(Size::TenSeconds, 100, 6 * second), 101);
        assert_eq!(moved(Size::TenSeconds, 100, -6 * second), 99);
        assert_eq!(moved(Size::TwoHours, 3, 3600 * second), 4);
        assert_eq!(moved(Size::TwoHours, 0, -7200 * second), 0);
    }
}
