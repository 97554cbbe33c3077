//! Figures over a day, in points of five minutes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::batch::moved;
use super::block::TOTAL;
use super::store::{Kind, StoreError};
use super::{HistoryState, Shared};
use crate::aggregate::stored::Lean;
use crate::aggregate::window::Size;
use crate::aggregate::{Aggregate, LatencyPoint, RatePoint, Summary};

/// Endpoints that one was before, up to which their blocks are read one by one.
const FEW: usize = 16;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing is stored now: memory has what there is.
    #[error("no history is kept for now")]
    Degraded,
    /// The file cannot be read.
    #[error("cannot read the history: {0}")]
    Failed(String),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.whole())
    }
}

/// What happened in a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct TrendPoint {
    /// Its begin, in the core's time.
    pub at_ns: u64,
    /// Its length.
    pub length_ns: u64,
    /// So much of it was observed; nothing only of a stretch that began just now.
    pub observed_ns: u64,
    /// Exchanges that ended.
    pub requests: u64,
    /// Of them errors of the server.
    pub errors: u64,
    /// Of them errors of the client.
    pub client_errors: u64,
    /// Response times of the exchanges that were answered in it; `None` if there were none.
    pub response_time: Option<Summary>,
}

impl TrendPoint {
    /// As [`Aggregate::latency_series`] has it.
    pub fn latency(&self) -> LatencyPoint {
        LatencyPoint {
            at_ns: self.at_ns,
            length_ns: self.length_ns,
            response_time: self.response_time,
        }
    }

    /// As [`Aggregate::throughput_trend`] has it.
    pub fn rate(&self) -> RatePoint {
        RatePoint {
            at_ns: self.at_ns,
            length_ns: self.length_ns,
            observed_ns: self.observed_ns,
            requests: self.requests,
        }
    }
}

/// Reads while the history is written. Blocks: not for threads that must not wait for a disk.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// How the history is.
    pub fn state(&self) -> HistoryState {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happened from one moment to another (in the core's time, that of snapshots), in points of five minutes, oldest
    /// first: to one endpoint (its id as a number), or to all servers (`None`). `aggregate` is its newest one, and has what
    /// is not stored yet. Points of which nothing is known are not there.
    ///
    /// # Errors
    /// [`ReadError`]; then memory is all that there is: [`Aggregate::latency_series`].
    pub fn trend(
        &self,
        endpoint: Option<u64>,
        aggregate: &Aggregate,
        from_ns: u64,
        to_ns: u64,
    ) -> Result<Vec<TrendPoint>, ReadError> {
        let size = Size::FiveMinutes;
        let mut found = self.stored(endpoint.unwrap_or(TOTAL), size.number(from_ns)..=size.number(to_ns))?;
        for (number, lean) in aggregate.newest_five_minutes() {
            if (size.number(from_ns)..=size.number(to_ns)).contains(&number) {
                found.insert(number, lean);
            }
        }
        let gaps = &self.shared.gaps;
        let point = |(number, lean): (u64, Lean)| {
            let at_ns = (number * size.length_ns()).max(aggregate.started_ns());
            let end_ns = (number + 1).saturating_mul(size.length_ns()).min(to_ns);
            let observed_ns = gaps.observed(at_ns, end_ns);
            // Nothing is known of it.
            let missed = end_ns > at_ns && observed_ns == 0;
            (!missed).then(|| TrendPoint {
                at_ns,
                length_ns: end_ns.saturating_sub(at_ns),
                observed_ns,
                requests: lean.requests,
                errors: lean.errors,
                client_errors: lean.client_errors,
                response_time: lean.response_time.summary(),
            })
        };
        Ok(found.into_iter().filter_map(point).collect())
    }

    /// By the number of the slot in the core's time.
    fn stored(&self, id: u64, numbers: std::ops::RangeInclusive<u64>) -> Result<BTreeMap<u64, Lean>, ReadError> {
        let size = Size::FiveMinutes;
        let opened = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        let store = opened.as_ref().ok_or(ReadError::Degraded)?;
        let Some((oldest, newest)) = store.ends(Kind::Lean)? else {
            return Ok(BTreeMap::new());
        };
        let ahead_ns = self.shared.ahead_ns.load(Ordering::Relaxed);
        let stored = |number| moved(size, number, ahead_ns);
        let numbers = stored(*numbers.start()).max(oldest)..=stored(*numbers.end()).min(newest);
        if numbers.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut ids = vec![TOTAL, id];
        let former = self.shared.former.read().unwrap_or_else(PoisonError::into_inner);
        ids.extend(former.get(&id).into_iter().flatten());
        drop(former);
        ids.sort_unstable();
        ids.dedup();
        let mut found: BTreeMap<u64, Lean> = BTreeMap::new();
        let mut take = |number: u64, other: u64, row: &[u8]| {
            let sum = found.entry(moved(size, number, ahead_ns.saturating_neg())).or_default();
            // The sum of all tells that somebody looked.
            if (other != TOTAL || id == TOTAL)
                && ids.binary_search(&other).is_ok()
                && let Some(lean) = Lean::checked(row)
            {
                sum.merge(&lean);
            }
        };
        if ids.len() <= FEW {
            store.rows_of(Kind::Lean, numbers, &ids, &mut take)?;
        } else {
            store.rows(Kind::Lean, numbers, &mut take)?;
        }
        Ok(found)
    }
}
