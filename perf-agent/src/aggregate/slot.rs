//! A slot: what happened to one endpoint in one stretch of time.

use std::sync::Arc;

use super::distribution::Distribution;
use super::packing::{Reader, put};
use super::samples::Samples;
use super::window::Closed;
use super::{ErrorRule, STATUSES};
use crate::exchange::{Ended, Outcome, Role};

/// Counts and distributions of one stretch of time. `Slot<Samples>` is the running one, [`Slot`] one to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot<D = Distribution> {
    /// In the order of [`Outcome::ALL`].
    pub(crate) outcomes: [u64; 5],
    pub(crate) errors: u64,
    pub(crate) client_errors: u64,
    /// Ascending by status.
    pub(crate) statuses: Vec<(u16, u64)>,
    pub(crate) statuses_other: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) max_in_flight: u32,
    /// Exchanges that ended in the best second.
    pub(crate) best_second: u32,
    pub(crate) response_time: D,
    pub(crate) time_to_first_byte: D,
    pub(crate) queue_time: D,
    pub(crate) processing: D,
}

impl<D> Slot<D> {
    /// Exchanges that ended.
    pub(crate) fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// True if nothing happened.
    pub(crate) fn is_empty(&self) -> bool {
        self.max_in_flight == 0 && self.requests() == 0
    }

    /// Adds another slot's counts. Of the highest number in flight and the best second the larger one is taken.
    fn merge_counts(&mut self, other: &Self) {
        for (mine, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            *mine += theirs;
        }
        self.errors += other.errors;
        self.client_errors += other.client_errors;
        for &(status, count) in &other.statuses {
            self.count_status(status, count);
        }
        self.statuses_other += other.statuses_other;
        self.bytes_received = self.bytes_received.saturating_add(other.bytes_received);
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
        self.max_in_flight = self.max_in_flight.max(other.max_in_flight);
        self.best_second = self.best_second.max(other.best_second);
    }

    fn count_status(&mut self, status: u16, count: u64) {
        match self.statuses.binary_search_by_key(&status, |&(status, _)| status) {
            Ok(place) => self.statuses[place].1 += count,
            Err(place) if self.statuses.len() < STATUSES => self.statuses.insert(place, (status, count)),
            Err(_) => self.statuses_other += count,
        }
    }
}

impl Slot<Samples> {
    /// Counts an exchange.
    #[inline]
    pub(crate) fn record(&mut self, role: Role, ended: &Ended, errors: &ErrorRule) {
        self.outcomes[ended.outcome as usize] += 1;
        if let Some(status) = ended.status {
            self.count_status(status, 1);
        }
        self.errors += u64::from(errors.is_error(ended));
        self.client_errors += u64::from(errors.is_client_error(ended));
        let (received, sent) = match role {
            Role::Server => (ended.request_bytes, ended.response_bytes),
            Role::Client => (ended.response_bytes, ended.request_bytes),
        };
        self.bytes_received = self.bytes_received.saturating_add(received);
        self.bytes_sent = self.bytes_sent.saturating_add(sent);
        let times = &ended.times;
        if ended.outcome == Outcome::Answered {
            self.response_time.record(times.response_time_ns());
        }
        if !matches!(ended.outcome, Outcome::Cut | Outcome::Unknown) {
            if let Some(time) = times.time_to_first_byte_ns() {
                self.time_to_first_byte.record(time);
            }
            if let Some(time) = times.processing_ns() {
                self.processing.record(time);
            }
            if let (Role::Server, Some(time)) = (role, times.queue_time_ns()) {
                self.queue_time.record(time);
            }
        }
    }

    /// Adds another running slot.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        self.response_time.merge(&other.response_time);
        self.time_to_first_byte.merge(&other.time_to_first_byte);
        self.queue_time.merge(&other.queue_time);
        self.processing.merge(&other.processing);
    }

    /// As a slot to be read.
    pub(crate) fn sorted(&self) -> Slot {
        Slot {
            outcomes: self.outcomes,
            errors: self.errors,
            client_errors: self.client_errors,
            statuses: self.statuses.clone(),
            statuses_other: self.statuses_other,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            max_in_flight: self.max_in_flight,
            best_second: self.best_second,
            response_time: self.response_time.sorted(),
            time_to_first_byte: self.time_to_first_byte.sorted(),
            queue_time: self.queue_time.sorted(),
            processing: self.processing.sorted(),
        }
    }

    /// Forgets everything and keeps the room.
    pub(crate) fn clear(&mut self) {
        let mut old = std::mem::take(self);
        old.statuses.clear();
        self.statuses = old.statuses;
        for (mine, mut theirs) in [
            (&mut self.response_time, old.response_time),
            (&mut self.time_to_first_byte, old.time_to_first_byte),
            (&mut self.queue_time, old.queue_time),
            (&mut self.processing, old.processing),
        ] {
            theirs.clear();
            *mine = theirs;
        }
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.statuses.capacity() * size_of::<(u16, u64)>()
            + self.response_time.heap_bytes()
            + self.time_to_first_byte.heap_bytes()
            + self.queue_time.heap_bytes()
            + self.processing.heap_bytes()
    }
}

impl Slot {
    /// Adds another slot.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        self.response_time.merge(&other.response_time);
        self.time_to_first_byte.merge(&other.time_to_first_byte);
        self.queue_time.merge(&other.queue_time);
        self.processing.merge(&other.processing);
    }

    /// The compact form.
    pub(crate) fn pack(&self) -> Closed {
        let mut out = Vec::with_capacity(256);
        for value in self.outcomes {
            put(&mut out, value.into());
        }
        put(&mut out, self.errors.into());
        put(&mut out, self.client_errors.into());
        put(&mut out, self.statuses.len() as u128);
        for &(status, count) in &self.statuses {
            put(&mut out, status.into());
            put(&mut out, count.into());
        }
        put(&mut out, self.statuses_other.into());
        put(&mut out, self.bytes_received.into());
        put(&mut out, self.bytes_sent.into());
        put(&mut out, self.max_in_flight.into());
        put(&mut out, self.best_second.into());
        self.response_time.pack(&mut out);
        self.queue_time.pack(&mut out);
        // An answer in one segment begins when it ends, and a request in one segment ends when it begins: then these are
        // the same times once more.
        self.time_to_first_byte.pack_after(&self.response_time, &mut out);
        self.processing.pack_after(&self.time_to_first_byte, &mut out);
        Arc::from(out)
    }

    /// Reads the compact form back.
    pub(crate) fn unpack(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        let mut slot = Self {
            outcomes: std::array::from_fn(|_| reader.u64()),
            errors: reader.u64(),
            client_errors: reader.u64(),
            statuses: (0..reader.u64())
                .map(|_| (u16::try_from(reader.u64()).unwrap_or(u16::MAX), reader.u64()))
                .collect(),
            statuses_other: reader.u64(),
            bytes_received: reader.u64(),
            bytes_sent: reader.u64(),
            max_in_flight: reader.u32(),
            best_second: reader.u32(),
            response_time: Distribution::unpack(reader),
            queue_time: Distribution::unpack(reader),
            ..Self::default()
        };
        slot.time_to_first_byte = Distribution::unpack_after(&slot.response_time, reader);
        slot.processing = Distribution::unpack_after(&slot.time_to_first_byte, reader);
        slot
    }

    /// Only the number of exchanges, of the compact form.
    pub(crate) fn unpack_requests(bytes: &[u8]) -> u64 {
        let mut reader = Reader::new(bytes);
        (0..5).map(|_| reader.u64()).sum()
    }
}
