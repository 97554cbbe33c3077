//! What answers said beyond being answers: rows of databases, hits and misses of caches.

use super::packing::{Reader, put};
use crate::exchange::Tally;

/// Sums of one endpoint in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Rows that were returned or changed.
    pub rows: u64,
    /// Answers that told how many.
    pub rows_told: u64,
    /// Keys asked for that the cache had.
    pub hits: u64,
    /// Keys asked for that it had not.
    pub misses: u64,
}

impl Tallies {
    /// The share of keys asked for that the cache had, 0..=1; `None` if none was asked for.
    pub fn hit_rate(&self) -> Option<f64> {
        let asked = self.hits + self.misses;
        (asked > 0).then(|| self.hits as f64 / asked as f64)
    }

    /// Adds what one answer said.
    pub(super) fn add(&mut self, tally: &Tally) {
        if let Some(rows) = tally.rows {
            self.rows = self.rows.saturating_add(rows);
            self.rows_told += 1;
        }
        self.hits += u64::from(tally.hits);
        self.misses += u64::from(tally.misses);
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.rows_told += other.rows_told;
        self.hits += other.hits;
        self.misses += other.misses;
    }

    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        for value in [self.rows, self.rows_told, self.hits, self.misses] {
            put(out, value.into());
        }
    }

    pub(super) fn unpack(reader: &mut Reader<'_>) -> Self {
        Self {
            rows: reader.u64(),
            rows_told: reader.count(),
            hits: reader.count(),
            misses: reader.count(),
        }
    }
}
