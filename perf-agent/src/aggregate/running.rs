//! The running slot of an aggregate, as it grows.
//!
//! A host's endpoints are more than the processor's caches hold, and an exchange would touch a dozen places of one: the
//! counts, and four distributions with their tables. So exchanges are put down first, one cache line each, and added up
//! [`PUT_DOWN`] at a time or when somebody reads. Nothing can tell the difference: what is added up does not depend on the
//! order.

use super::ErrorRule;
use super::breakdown::Breakdown;
use super::network::Network;
use super::slot::{RunningTimes, Slot};
use super::streams::Streams;
use crate::exchange::{Ended, Outcome, Role};

/// Exchanges put down before they are added up.
const PUT_DOWN: usize = 8;

/// What is counted of an exchange that ended.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Counted {
    pub(super) outcome: Outcome,
    pub(super) is_error: bool,
    pub(super) is_client_error: bool,
    pub(super) status: Option<u16>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    /// Which of the times are known, as bits: an `Option` each would not fit the line.
    known: u8,
    response_time: u64,
    time_to_first_byte: u64,
    queue_time: u64,
    processing: u64,
}

/// Response time, time to first byte, processing.
pub(super) enum AnswerTimes {
    /// All of them.
    Same(u64),
    /// Those that are known.
    Each([Option<u64>; 3]),
}

const RESPONSE_TIME: u8 = 1;
const TIME_TO_FIRST_BYTE: u8 = 1 << 1;
const QUEUE_TIME: u8 = 1 << 2;
const PROCESSING: u8 = 1 << 3;

impl Counted {
    #[inline]
    fn new(ended: &Ended, errors: &ErrorRule) -> Self {
        let times = &ended.times;
        let answered = ended.outcome == Outcome::Answered;
        let seen = !matches!(ended.outcome, Outcome::Cut | Outcome::Unknown);
        let mut known = 0;
        let mut time = |bit: u8, time: Option<u64>, counts: bool| {
            known |= if counts && time.is_some() { bit } else { 0 };
            time.unwrap_or(0)
        };
        Self {
            outcome: ended.outcome,
            is_error: errors.is_error(ended),
            is_client_error: errors.is_client_error(ended),
            status: ended.status,
            request_bytes: ended.request_bytes,
            response_bytes: ended.response_bytes,
            response_time: time(
                RESPONSE_TIME,
                Some(times.response_time_ns()),
                answered && ended.stream.is_none(),
            ),
            time_to_first_byte: time(TIME_TO_FIRST_BYTE, times.time_to_first_byte_ns(), seen),
            queue_time: time(QUEUE_TIME, times.queue_time_ns(), seen),
            processing: time(PROCESSING, times.processing_ns(), seen),
            known,
        }
    }

    #[inline]
    fn time(&self, bit: u8, time: u64) -> Option<u64> {
        (self.known & bit != 0).then_some(time)
    }

    #[inline]
    pub(super) fn answer_times(&self) -> AnswerTimes {
        const ALL: u8 = RESPONSE_TIME | TIME_TO_FIRST_BYTE | PROCESSING;
        let time = self.response_time;
        if self.known & ALL == ALL && time == self.time_to_first_byte && time == self.processing {
            return AnswerTimes::Same(time);
        }
        AnswerTimes::Each([
            self.time(RESPONSE_TIME, time),
            self.time(TIME_TO_FIRST_BYTE, self.time_to_first_byte),
            self.time(PROCESSING, self.processing),
        ])
    }

    /// Counts in the server role only.
    #[inline]
    pub(super) fn queue_time(&self) -> Option<u64> {
        self.time(QUEUE_TIME, self.queue_time)
    }
}

const _: () = assert!(size_of::<Counted>() == 64);

/// See the module.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct Running {
    put_down: Vec<Counted>,
    /// This and the next one lie here and not in `slot`, where they stay 0: every exchange needs them.
    pub(super) max_in_flight: u32,
    /// Exchanges that ended in the best second.
    pub(super) best_second: u32,
    slot: Box<Slot<RunningTimes>>,
}

impl Running {
    /// Counts an exchange; `role` decides which bytes were received and which sent.
    #[inline]
    pub(super) fn record(&mut self, role: Role, ended: &Ended, errors: &ErrorRule) {
        if self.put_down.len() == PUT_DOWN {
            self.add_up(role);
        }
        if self.put_down.capacity() < PUT_DOWN {
            self.put_down.reserve_exact(PUT_DOWN);
        }
        self.put_down.push(Counted::new(ended, errors));
        if !ended.tally.is_empty() {
            self.slot.tallies.get_or_insert_default().add(&ended.tally);
        }
    }

    /// Where the time went.
    pub(super) fn breakdown(&mut self) -> &mut Breakdown {
        self.slot.breakdown.get_or_insert_default()
    }

    /// How packets fared.
    pub(super) fn network(&mut self) -> &mut Network {
        self.slot.network.get_or_insert_default()
    }

    /// What went on behind answers.
    pub(super) fn streams(&mut self) -> &mut Streams {
        self.slot.streams.get_or_insert_default()
    }

    /// Adds up what was put down.
    #[inline(never)]
    pub(super) fn add_up(&mut self, role: Role) {
        let Self { put_down, slot, .. } = self;
        for counted in put_down.iter() {
            slot.count(role, counted);
        }
        put_down.clear();
    }

    /// Exchanges that ended.
    pub(super) fn requests(&self) -> u64 {
        self.slot.requests() + self.put_down.len() as u64
    }

    /// Of them, errors.
    pub(super) fn errors(&self) -> u64 {
        let put_down = self.put_down.iter().filter(|counted| counted.is_error);
        self.slot.errors + put_down.count() as u64
    }

    /// True if nothing happened.
    pub(super) fn is_empty(&self) -> bool {
        self.max_in_flight == 0 && self.requests() == 0 && self.slot.streams.is_none() && self.slot.network.is_none()
    }

    /// As a slot to be read.
    pub(super) fn sorted(&self, role: Role) -> Slot {
        let mut slot = if self.put_down.is_empty() {
            self.slot.sorted()
        } else {
            let mut whole = self.clone();
            whole.add_up(role);
            whole.slot.sorted()
        };
        slot.max_in_flight = self.max_in_flight;
        slot.best_second = self.best_second;
        slot
    }

    /// Adds another one, which was added up.
    pub(super) fn merge(&mut self, other: &Self) {
        self.slot.merge(&other.slot);
        self.max_in_flight = self.max_in_flight.max(other.max_in_flight);
        self.best_second = self.best_second.max(other.best_second);
    }

    /// Forgets everything and keeps the room.
    pub(super) fn clear(&mut self) {
        self.put_down.clear();
        (self.max_in_flight, self.best_second) = (0, 0);
        self.slot.clear();
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.put_down.capacity() * size_of::<Counted>() + self.copy_bytes()
    }

    /// Heap bytes of a copy that is made when everything was added up: it has no room for what is put down.
    pub(super) fn copy_bytes(&self) -> usize {
        size_of::<Slot<RunningTimes>>() + self.slot.heap_bytes()
    }
}
