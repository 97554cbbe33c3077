//! From the file to what the core goes on with.

use hashbrown::HashMap;

use super::batch::Collector;
use super::block::TOTAL;
use super::names::{StoredEndpoint, codes_of_bytes};
use super::store::{Batch, Bounds, Kind, Store, StoreError};
use crate::aggregate::Gaps;
use crate::aggregate::stored::{Interrupted, StoredSlots};
use crate::aggregate::window::Size;
use crate::statistics::remembered::{Remembered, RememberedEndpoint};

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Endpoints that came back.
    pub endpoints: u64,
    /// Their slots, with those of the sum of all.
    pub slots: u64,
    /// Rows that could not be read, endpoints that could not, and those that were too many.
    pub skipped: u64,
}

/// What the file held.
pub(crate) struct Loaded {
    pub(crate) remembered: Remembered,
    pub(crate) restored: Restored,
    pub(crate) collector: Collector,
    /// By endpoint: those that became it.
    pub(crate) former: HashMap<u64, Vec<u64>>,
}

impl Loaded {
    /// Nothing: observation begins now.
    pub(crate) fn nothing(at_ns: u64) -> Self {
        Self {
            remembered: Remembered {
                interrupted: Interrupted {
                    started_ns: at_ns,
                    until_ns: at_ns,
                    resumed_ns: at_ns,
                    gaps: Gaps::default(),
                },
                ..Remembered::default()
            },
            restored: Restored::default(),
            collector: Collector::new(at_ns, at_ns, 0, [].iter()),
            former: HashMap::new(),
        }
    }
}

/// Reads what is there, as it goes on at this moment (nanoseconds since 1970) with at most so many endpoints.
pub(crate) fn load(store: &mut Store, bounds: Bounds, at_ns: u64, limit: usize) -> Result<Loaded, StoreError> {
    let Some(newest_ns) = store.number("newest_ns")? else {
        return Ok(Loaded::nothing(at_ns));
    };
    // What lies ahead was stored when the clock was wrong, or it is wrong now. Nothing is known of either.
    let until_ns = newest_ns.min(at_ns);
    let oldest_hours = Kind::Slots(Size::TwoHours).oldest(at_ns, bounds.retention_ns);
    let floor_ns = store.number("floor_ns")?.unwrap_or(0);
    let floor_ns = floor_ns.max(oldest_hours * Size::TwoHours.length_ns());
    let mut runs = store.runs()?;
    runs.retain(|(begin, end)| *end > floor_ns && *begin <= until_ns);
    let began_ns = runs.iter().map(|(begin, _)| *begin).min();
    let started_ns = began_ns.map_or(at_ns, |began_ns| began_ns.max(floor_ns));
    for (_, end) in &mut runs {
        *end = (*end).min(at_ns);
    }
    runs.push((at_ns, at_ns));

    let endpoints = store.endpoints()?;
    let mut restored = Restored::default();
    let into: HashMap<u64, u64> = endpoints
        .iter()
        .filter_map(|(id, stored)| Some((*id, stored.as_ref()?.into?)))
        .collect();
    let mut slots: HashMap<u64, StoredSlots> = HashMap::new();
    for size in Size::ALL {
        let kind = Kind::Slots(size);
        let newest = size.number(until_ns);
        let oldest = match size {
            Size::TwoHours => oldest_hours.max(size.number(floor_ns)),
            _ => newest.saturating_sub(size.kept()),
        };
        let mut skipped = 0;
        let broken = store.rows(kind, oldest..=newest, &mut |number, id, row| {
            let id = now(&into, id);
            if slots.entry(id).or_default().add(size, number, row) {
                restored.slots += 1;
            } else {
                skipped += 1;
            }
        })?;
        restored.skipped += skipped + broken;
    }

    let codes = store
        .text("codes")?
        .map(|codes| codes_of_bytes(&codes))
        .unwrap_or_default();
    let interrupted = Interrupted {
        started_ns,
        until_ns,
        resumed_ns: at_ns,
        gaps: Gaps::between(&runs),
    };
    let total = slots.remove(&TOTAL).unwrap_or_default();
    finish_five_minutes(store, bounds, (&slots, &total), &interrupted, began_ns)?;

    let mut former: HashMap<u64, Vec<u64>> = HashMap::new();
    for id in into.keys() {
        former.entry(now(&into, *id)).or_default().push(*id);
    }
    let kept = come_back(&endpoints, slots, limit, &mut restored);
    restored.endpoints = kept.len() as u64;
    let count = codes.iter().map(Vec::len).sum();
    Ok(Loaded {
        collector: Collector::new(until_ns, at_ns, count, endpoints.iter()),
        remembered: Remembered {
            ahead_ns: 0,
            interrupted,
            codes,
            endpoints: kept,
            total,
        },
        restored,
        former,
    })
}

/// The endpoints that have slots, as many as there may be: those used last, in the order in which they were first seen.
fn come_back(
    endpoints: &[(u64, Option<StoredEndpoint>)],
    mut slots: HashMap<u64, StoredSlots>,
    limit: usize,
    restored: &mut Restored,
) -> Vec<RememberedEndpoint> {
    let mut found = Vec::new();
    for (id, stored) in endpoints {
        let Some(stored) = stored else {
            restored.skipped += 1;
            continue;
        };
        let Some(slots) = slots.remove(id) else {
            continue; // too old, or another one by now
        };
        let Some(key) = stored.key().filter(|key| key.id_number() == *id) else {
            restored.skipped += 1;
            continue;
        };
        let endpoint = RememberedEndpoint {
            key,
            reason: stored.reason(),
            peer_seen: stored.peer_seen(),
            slots,
        };
        found.push((stored.seen_ns, stored.first_ns, endpoint));
    }
    // Rows of endpoints that are not known.
    restored.skipped += slots.values().map(|slots| slots.len() as u64).sum::<u64>();
    found.sort_by_key(|(seen_ns, ..)| std::cmp::Reverse(*seen_ns));
    let (mut kept, mut apart) = (Vec::new(), 0);
    for endpoint in found {
        if !endpoint.2.key.operation.is_other() {
            if apart >= limit {
                restored.skipped += 1;
                continue;
            }
            apart += 1;
        }
        kept.push(endpoint);
    }
    kept.sort_by_key(|(_, first_ns, _)| *first_ns);
    kept.into_iter().map(|(.., endpoint)| endpoint).collect()
}

/// What an endpoint became. Renames are few, and never in a circle; if the file says otherwise, it ends somewhere.
fn now(into: &HashMap<u64, u64>, id: u64) -> u64 {
    let mut now = id;
    for _ in 0..16 {
        match into.get(&now) {
            Some(next) => now = *next,
            None => break,
        }
    }
    now
}

/// The five minutes in which the last run ended are told by nobody if they are out of memory's reach at once.
fn finish_five_minutes(
    store: &mut Store,
    bounds: Bounds,
    (slots, total): (&HashMap<u64, StoredSlots>, &StoredSlots),
    interrupted: &Interrupted,
    began_ns: Option<u64>,
) -> Result<(), StoreError> {
    let size = Size::FiveMinutes;
    let number = size.number(interrupted.until_ns);
    let Some(began_ns) = began_ns else {
        return Ok(());
    };
    if number + size.kept() >= size.number(interrupted.resumed_ns) {
        return Ok(());
    }
    let mut rows: Vec<_> = slots
        .iter()
        .filter_map(|(id, slots)| Some((*id, slots.five_minutes(interrupted.until_ns)?.pack().into())))
        .collect();
    let total = total.five_minutes(interrupted.until_ns).unwrap_or_default();
    rows.push((TOTAL, total.pack().into()));
    let batch = Batch {
        at_ns: interrupted.until_ns,
        began_ns,
        slots: vec![(Kind::Lean, number, rows)],
        ..Batch::default()
    };
    store.commit(batch, bounds)
}
