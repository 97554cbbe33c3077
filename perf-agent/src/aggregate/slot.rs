//! A slot: what happened to one endpoint in one stretch of time.

use std::sync::Arc;

use super::STATUSES;
use super::breakdown::Breakdown;
use super::distribution::Distribution;
use super::network::Network;
use super::packing::{Reader, put};
use super::running::{AnswerTimes, Counted};
use super::samples::Samples;
use super::streams::Streams;
use super::tallies::Tallies;
use super::window::{Closed, Stretch};
use crate::exchange::Role;

/// Counts and distributions of one stretch of time. `Slot<RunningTimes>` is the running one, [`Slot`] one to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot<T = Times> {
    /// In the order of [`crate::exchange::Outcome::ALL`].
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
    pub(crate) times: T,
    /// Most endpoints have none.
    pub(crate) streams: Option<Box<Streams>>,
    /// Likewise.
    pub(crate) tallies: Option<Box<Tallies>>,
    /// Likewise.
    pub(crate) breakdown: Option<Box<Breakdown>>,
    /// Likewise.
    pub(crate) network: Option<Box<Network>>,
}

/// What follows the numbers that every slot has.
mod part {
    pub(super) const STREAMS: u8 = 1;
    pub(super) const TALLIES: u8 = 2;
    pub(super) const BREAKDOWN: u8 = 4;
    pub(super) const NETWORK: u8 = 8;
}

/// The distributions, to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) response_time: Distribution,
    pub(crate) time_to_first_byte: Distribution,
    pub(crate) queue_time: Distribution,
    pub(crate) processing: Distribution,
}

/// The distributions, as they grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunningTimes {
    /// Response time, time to first byte, processing: all the same if request and answer are one segment each.
    answer: Samples<3>,
    queue: Samples<1>,
}

impl<T> Slot<T> {
    /// Exchanges that ended.
    pub(crate) fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
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
        if let Some(streams) = &other.streams {
            self.streams.get_or_insert_default().merge(streams);
        }
        if let Some(tallies) = &other.tallies {
            self.tallies.get_or_insert_default().merge(tallies);
        }
        if let Some(breakdown) = &other.breakdown {
            self.breakdown.get_or_insert_default().merge(breakdown);
        }
        if let Some(network) = &other.network {
            self.network.get_or_insert_default().merge(network);
        }
    }

    fn count_status(&mut self, status: u16, count: u64) {
        match self.statuses.binary_search_by_key(&status, |&(status, _)| status) {
            Ok(place) => self.statuses[place].1 += count,
            Err(place) if self.statuses.len() < STATUSES => self.statuses.insert(place, (status, count)),
            Err(_) => self.statuses_other += count,
        }
    }
}

impl Slot<RunningTimes> {
    /// Counts an exchange.
    #[inline]
    pub(super) fn count(&mut self, role: Role, counted: &Counted) {
        self.outcomes[counted.outcome as usize] += 1;
        if let Some(status) = counted.status {
            self.count_status(status, 1);
        }
        self.errors += u64::from(counted.is_error);
        self.client_errors += u64::from(counted.is_client_error);
        let (received, sent) = match role {
            Role::Server => (counted.request_bytes, counted.response_bytes),
            Role::Client => (counted.response_bytes, counted.request_bytes),
        };
        self.bytes_received = self.bytes_received.saturating_add(received);
        self.bytes_sent = self.bytes_sent.saturating_add(sent);
        let RunningTimes { answer, queue } = &mut self.times;
        match counted.answer_times() {
            AnswerTimes::Same(time) => answer.record_all(time),
            AnswerTimes::Each(times) => {
                for (kind, time) in times.into_iter().enumerate() {
                    if let Some(time) = time {
                        answer.record(kind, time);
                    }
                }
            }
        }
        if let (Role::Server, Some(time)) = (role, counted.queue_time()) {
            queue.record(0, time);
        }
    }

    /// Adds another running slot.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        self.times.answer.merge(&other.times.answer);
        self.times.queue.merge(&other.times.queue);
    }

    /// As a slot to be read.
    pub(crate) fn sorted(&self) -> Slot {
        let RunningTimes { answer, queue } = &self.times;
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
            streams: self.streams.clone(),
            tallies: self.tallies.clone(),
            breakdown: self.breakdown.clone(),
            network: self.network.clone(),
            times: Times {
                response_time: answer.sorted(0),
                time_to_first_byte: answer.sorted(1),
                queue_time: queue.sorted(0),
                processing: answer.sorted(2),
            },
        }
    }

    /// Forgets everything and keeps the room.
    pub(crate) fn clear(&mut self) {
        let mut old = std::mem::take(self);
        old.statuses.clear();
        old.times.answer.clear();
        old.times.queue.clear();
        self.statuses = old.statuses;
        self.times = old.times;
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.statuses.capacity() * size_of::<(u16, u64)>()
            + self.times.answer.heap_bytes()
            + self.times.queue.heap_bytes()
            + self
                .streams
                .as_ref()
                .map_or(0, |streams| size_of::<Streams>() + streams.heap_bytes())
            + self.tallies.as_ref().map_or(0, |tallies| size_of_val(&**tallies))
            + self
                .breakdown
                .as_ref()
                .map_or(0, |breakdown| size_of::<Breakdown>() + breakdown.heap_bytes())
            + self
                .network
                .as_ref()
                .map_or(0, |network| size_of::<Network>() + network.heap_bytes())
    }
}

impl Stretch for Slot {
    fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        self.times.response_time.merge(&other.times.response_time);
        self.times.time_to_first_byte.merge(&other.times.time_to_first_byte);
        self.times.queue_time.merge(&other.times.queue_time);
        self.times.processing.merge(&other.times.processing);
    }

    fn pack(&self) -> Closed {
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
        self.times.response_time.pack(&mut out);
        self.times.queue_time.pack(&mut out);
        // An answer in one segment begins when it ends, and a request in one segment ends when it begins: then these are
        // the same times once more.
        self.times
            .time_to_first_byte
            .pack_after(&self.times.response_time, &mut out);
        self.times
            .processing
            .pack_after(&self.times.time_to_first_byte, &mut out);
        let streams = if self.streams.is_some() { part::STREAMS } else { 0 };
        let tallies = if self.tallies.is_some() { part::TALLIES } else { 0 };
        let breakdown = if self.breakdown.is_some() { part::BREAKDOWN } else { 0 };
        let network = if self.network.is_some() { part::NETWORK } else { 0 };
        let parts = streams | tallies | breakdown | network;
        if parts != 0 {
            out.push(parts);
        }
        if let Some(streams) = &self.streams {
            streams.pack(&mut out);
        }
        if let Some(tallies) = &self.tallies {
            tallies.pack(&mut out);
        }
        if let Some(breakdown) = &self.breakdown {
            breakdown.pack(&mut out);
        }
        if let Some(network) = &self.network {
            network.pack(&mut out);
        }
        Arc::from(out)
    }

    fn unpack(bytes: &[u8]) -> Self {
        Self::read(&mut Reader::new(bytes))
    }
}

impl Slot {
    /// Of bytes that may be anything; `None` if they are not the compact form of a slot.
    pub(crate) fn checked(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let slot = Self::read(&mut reader);
        let ascending = slot.statuses.is_sorted_by(|(before, _), (status, _)| before < status);
        (reader.is_sound() && ascending).then_some(slot)
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let mut slot = Self {
            outcomes: std::array::from_fn(|_| reader.count()),
            errors: reader.count(),
            client_errors: reader.count(),
            statuses: (0..reader.things(STATUSES))
                .map(|_| (u16::try_from(reader.u64()).unwrap_or(u16::MAX), reader.count()))
                .collect(),
            statuses_other: reader.count(),
            bytes_received: reader.u64(),
            bytes_sent: reader.u64(),
            max_in_flight: reader.u32(),
            best_second: reader.u32(),
            streams: None,
            tallies: None,
            breakdown: None,
            network: None,
            times: Times {
                response_time: Distribution::unpack(reader),
                queue_time: Distribution::unpack(reader),
                ..Times::default()
            },
        };
        slot.times.time_to_first_byte = Distribution::unpack_after(&slot.times.response_time, reader);
        slot.times.processing = Distribution::unpack_after(&slot.times.time_to_first_byte, reader);
        let parts = reader.last_byte();
        if parts & part::STREAMS != 0 {
            slot.streams = Some(Box::new(Streams::unpack(reader)));
        }
        if parts & part::TALLIES != 0 {
            slot.tallies = Some(Box::new(Tallies::unpack(reader)));
        }
        if parts & part::BREAKDOWN != 0 {
            slot.breakdown = Some(Box::new(Breakdown::unpack(reader)));
        }
        if parts & part::NETWORK != 0 {
            slot.network = Some(Box::new(Network::unpack(reader)));
        }
        slot
    }

    /// Only the numbers of exchanges and of errors, of the compact form.
    pub(crate) fn unpack_counts(bytes: &[u8]) -> (u64, u64) {
        let mut reader = Reader::new(bytes);
        let requests = (0..5).map(|_| reader.u64()).sum();
        (requests, reader.u64())
    }

    /// Only the number of exchanges, of the compact form.
    pub(crate) fn unpack_requests(bytes: &[u8]) -> u64 {
        let mut reader = Reader::new(bytes);
        (0..5).map(|_| reader.u64()).sum()
    }
}
