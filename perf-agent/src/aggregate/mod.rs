//! Aggregates: counts and distributions of one endpoint, in rolling windows.
//!
//! An [`Aggregate`] is told of exchanges that open and end, and of the time; [`Aggregate::window`] answers for any
//! [`Window`]. What it holds is bounded: one running slot, at most 47 closed ones in compact form, a minute of seconds.
//! What closed is shared between the living aggregate and the snapshots, so a copy costs the running slot only. An endpoint
//! that had two requests per second for a day, with response times over more than a decade, takes about 42 kB, and 2 kB
//! more per snapshot (a test in `statistics` holds a thousand of them to 45 MB).
//!
//! Time is the exchanges' own (monotonic nanoseconds). An exchange is counted when its end is reported: in the slot of
//! its end, or in the running one if it is reported late.
//!
//! What counts where:
//! - `requests`: every exchange that ended, whatever its outcome; `outcomes` tells them apart.
//! - `errors`, `client_errors`: see [`ErrorRule`].
//! - streams: what goes on behind an answer's head. The exchange ended with that head, has no response time and is in
//!   flight no more; bytes are counted as they go, a duration when the stream ends.
//! - response time: `answered` exchanges only. One that was aborted has a time until the abort, which is no response
//!   time; mixing them would make a server look faster the more of its clients give up.
//! - time to first byte, processing, queue time: every exchange in which that stretch was seen whole, also if it was
//!   aborted later; not those that were cut or are unknown. So the queue of an overloaded server shows even if its
//!   clients give up.

pub mod breakdown;
pub mod distribution;
pub mod gaps;
pub mod invocations;
pub mod network;
mod packing;
mod running;
mod samples;
mod slot;
pub mod stored;
pub mod streams;
pub mod tallies;
pub mod window;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

pub use breakdown::Breakdown;
pub use distribution::{Distribution, Summary};
pub use gaps::Gaps;
pub use invocations::{FunctionAggregate, Inside, Invocations};
pub use network::Network;
pub use streams::Streams;
pub use tallies::Tallies;
pub use window::Window;

use crate::attribution::Shares;
use crate::exchange::{Ended, Outcome, Role, StreamEnded, StreamMoved};
use running::Running;
use slot::Slot;
use window::{Closed, History, SECOND_NS, Size, Stretch};

/// Different statuses counted apart in one slot or window; a server that sends more has the rest in `statuses_other`.
pub const STATUSES: usize = 64;

/// Seconds of which the number of ended exchanges is kept.
const SECONDS: usize = 64;

/// Up to this one, numbers that codes were given are those of errors; above, of answers that tell to ask elsewhere.
pub const NAMED_ERRORS: u16 = 0x7fff;

/// What counts as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRule {
    /// Statuses that are errors of the server.
    pub errors: RangeInclusive<u16>,
    /// Statuses that are errors of the client, counted apart.
    pub client_errors: RangeInclusive<u16>,
    /// Is an exchange that the client aborted an error, too? By default it is not: nobody knows why the client left.
    pub client_aborted: bool,
}

impl Default for ErrorRule {
    fn default() -> Self {
        Self {
            errors: 500..=599,
            client_errors: 400..=499,
            client_aborted: false,
        }
    }
}

impl ErrorRule {
    /// That of protocols whose answers name errors instead of having statuses: each of their codes has a number, see
    /// `statistics/codes.rs`.
    pub fn named() -> Self {
        Self {
            errors: 1..=NAMED_ERRORS,
            ..Self::grpc()
        }
    }

    /// That of gRPC: every code but OK. Whose fault it is does not show in a code.
    pub fn grpc() -> Self {
        Self {
            errors: 1..=u16::MAX,
            // None: an empty range.
            #[expect(clippy::reversed_empty_ranges, reason = "empty is what is meant")]
            client_errors: 1..=0,
            client_aborted: false,
        }
    }

    /// An error status, or not answered by the server.
    pub fn is_error(&self, ended: &Ended) -> bool {
        ended.status.is_some_and(|status| self.errors.contains(&status))
            || ended.outcome == Outcome::ServerClosed
            || (self.client_aborted && ended.outcome == Outcome::ClientAborted)
    }

    /// A client's error; never also an error.
    pub fn is_client_error(&self, ended: &Ended) -> bool {
        !self.is_error(ended) && ended.status.is_some_and(|status| self.client_errors.contains(&status))
    }
}

/// One endpoint's figures over one window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowView {
    /// The window asked for.
    pub window: Window,
    /// Where it really begins, monotonic nanoseconds; never before observation did.
    pub from_ns: u64,
    /// How long it really is, without the time in which no agent ran. Rates are over this time.
    pub covered_ns: u64,
    /// Exchanges that ended.
    pub requests: u64,
    /// See [`ErrorRule::is_error`].
    pub errors: u64,
    /// See [`ErrorRule::is_client_error`].
    pub client_errors: u64,
    /// How many ended with which status.
    pub statuses: BTreeMap<u16, u64>,
    /// Exchanges with statuses beyond the [`STATUSES`] that are counted apart.
    pub statuses_other: u64,
    /// How many ended how, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 5],
    /// Bytes that the process received and sent in these exchanges, heads included.
    pub bytes_received: u64,
    /// See `bytes_received`.
    pub bytes_sent: u64,
    /// Streams open now.
    pub streams_open: u32,
    /// Streams of the window.
    pub streams: Streams,
    /// What answers said.
    pub tallies: Tallies,
    /// Where the time went; `None` if the endpoint's process calls nobody.
    pub breakdown: Option<Box<Breakdown>>,
    /// How packets fared; `None` if no socket told.
    pub network: Option<Box<Network>>,
    /// In flight now.
    pub in_flight: u32,
    /// Most in flight at once within the window.
    pub max_in_flight: u32,
    /// Exchanges that ended in the last complete second.
    pub current_rps: f64,
    /// Exchanges that ended per second over the time covered; `None` before any time went by.
    pub average_rps: Option<f64>,
    /// Exchanges that ended in the best second (a calendar second of the monotonic clock).
    pub peak_rps: f64,
    /// First request byte to last response byte, of answered exchanges.
    pub response_time: Distribution,
    /// First request byte to first response byte.
    pub time_to_first_byte: Distribution,
    /// Readable in the socket to read; server role only.
    pub queue_time: Distribution,
    /// Last request byte to first response byte.
    pub processing: Distribution,
}

impl WindowView {
    /// How many ended this way.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Errors per request, 0..=1; `None` without requests.
    pub fn error_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }
}

/// Counts of one endpoint over one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Exchanges that ended.
    pub(crate) requests: u64,
    /// Of them, errors.
    pub(crate) errors: u64,
    /// In flight now.
    pub(crate) in_flight: u32,
}

/// A point of a throughput trend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePoint {
    /// Begin of the stretch, monotonic nanoseconds.
    pub at_ns: u64,
    /// Its length.
    pub length_ns: u64,
    /// So much of it was observed.
    pub observed_ns: u64,
    /// Exchanges that ended in it.
    pub requests: u64,
}

impl RatePoint {
    /// Exchanges per second.
    pub fn rps(&self) -> f64 {
        self.requests as f64 * SECOND_NS as f64 / self.observed_ns.max(1) as f64
    }
}

/// A point of latency over time.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyPoint {
    /// Begin of the stretch, monotonic nanoseconds.
    pub at_ns: u64,
    /// Its length.
    pub length_ns: u64,
    /// Response times of the exchanges that were answered in it; `None` if there were none.
    pub response_time: Option<Summary>,
}

/// Counts and distributions of one endpoint, or of a sum of endpoints.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Aggregate {
    /// The last moment heard of.
    now_ns: u64,
    in_flight: u32,
    streams_open: u32,
    /// Something was counted since this was last set back.
    pub(crate) changed: bool,
    running: Running,
    /// Up to its first number, what every exchange needs is in one cache line.
    seconds: Seconds,
    history: Arc<History>,
    started_ns: u64,
    /// The exchanges of every second are known from then on.
    seconds_from_ns: u64,
    /// When no agent ran.
    gaps: Gaps,
    role: Role,
}

impl Aggregate {
    /// An empty one; `role` decides which bytes were received and which sent.
    pub fn new(role: Role, started_ns: u64) -> Self {
        Self {
            now_ns: started_ns,
            in_flight: 0,
            streams_open: 0,
            changed: true,
            running: Running::default(),
            seconds: Seconds::default(),
            history: Arc::default(),
            started_ns,
            seconds_from_ns: started_ns,
            gaps: Gaps::default(),
            role,
        }
    }

    /// An exchange began.
    #[inline]
    pub fn opened(&mut self, at_ns: u64) {
        self.advance(at_ns);
        self.changed = true;
        self.in_flight += 1;
        self.running.max_in_flight = self.running.max_in_flight.max(self.in_flight);
    }

    /// An exchange that began here ended.
    #[inline]
    pub fn ended(&mut self, ended: &Ended, rule: &ErrorRule) {
        let at_ns = ended.times.response_last_ns;
        self.advance(at_ns);
        self.changed = true;
        self.running.max_in_flight = self.running.max_in_flight.max(self.in_flight);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.running.record(self.role, ended, rule);
        let count = self.seconds.count(at_ns);
        self.running.best_second = self.running.best_second.max(count);
    }

    /// What the time of an exchange that just ended here was spent on.
    pub fn spent(&mut self, shares: &Shares, ambiguous: u32) {
        self.running.breakdown().add(shares, ambiguous);
    }

    /// What the socket of a connection that is used here said.
    pub fn network(&mut self, sample: &network::Sample, at_ns: u64) {
        self.advance(at_ns);
        self.changed = true;
        self.running.network().add(sample);
    }

    /// A connection that was used here ended by an RST or a time-out.
    pub fn reset(&mut self, at_ns: u64) {
        self.advance(at_ns);
        self.changed = true;
        self.running.network().resets += 1;
    }

    /// A stream began, at this moment.
    pub fn stream_opened(&mut self, at_ns: u64) {
        self.advance(at_ns);
        self.changed = true;
        self.streams_open += 1;
        self.running.streams().opened += 1;
    }

    /// More of a stream that began here went by.
    pub fn stream_moved(&mut self, moved: &StreamMoved) {
        self.advance(moved.at_ns);
        self.changed = true;
        self.running.streams().moved(self.role, moved);
    }

    /// A stream that began here, at `since_ns`, ended.
    pub fn stream_ended(&mut self, since_ns: u64, ended: &StreamEnded, rule: &ErrorRule) {
        self.advance(ended.at_ns);
        self.changed = true;
        self.streams_open = self.streams_open.saturating_sub(1);
        let failed = ended.status.is_some_and(|status| rule.errors.contains(&status));
        let streams = self.running.streams();
        streams.closed += 1;
        streams.errors += u64::from(failed || ended.outcome == Outcome::ServerClosed);
        if !matches!(ended.outcome, Outcome::Cut | Outcome::Unknown) {
            streams.duration.record(ended.at_ns.saturating_sub(since_ns));
        }
    }

    /// Time went on. True if that changed anything that a window shows (apart from what is older than it now).
    #[inline]
    pub fn advance(&mut self, at_ns: u64) -> bool {
        if at_ns <= self.now_ns {
            return false;
        }
        let from_ns = std::mem::replace(&mut self.now_ns, at_ns);
        Size::TenSeconds.number(from_ns) != Size::TenSeconds.number(at_ns) && self.turn(from_ns, at_ns)
    }

    #[cold]
    fn turn(&mut self, from_ns: u64, to_ns: u64) -> bool {
        let closing = !self.running.is_empty();
        if !closing && !self.history.is_due(from_ns, to_ns) {
            return false;
        }
        let history = Arc::make_mut(&mut self.history);
        if closing {
            history.close(Size::TenSeconds.number(from_ns), &self.running.sorted(self.role));
            self.running.clear();
        }
        history.roll(from_ns, to_ns);
        true
    }

    /// The figures of a window that ends at `at_ns`, or at the last moment heard of if that is later.
    pub fn window(&self, window: Window, at_ns: u64) -> WindowView {
        if at_ns > self.now_ns {
            let mut later = self.clone();
            later.advance(at_ns);
            return later.window(window, at_ns);
        }
        let at_ns = self.now_ns;
        let from_ns = window.from_ns(at_ns, self.started_ns);
        self.view(
            window,
            from_ns,
            at_ns,
            self.history.of_window(window, at_ns).into_iter(),
        )
    }

    /// What this agent itself counted, up to `at_ns` or the last moment heard of: [`Window::Start`] without what is remembered
    /// of earlier runs. Its counts and sums begin with 0 and never fall. Costs the same whatever the time that went by; `None`,
    /// at no cost, if nothing happened.
    pub fn since_agent_start(&self, at_ns: u64) -> Option<WindowView> {
        self.as_of(at_ns, |this, at_ns| {
            let mut closed = this.history.since_agent_start(at_ns).peekable();
            let is_quiet = this.in_flight == 0 && this.streams_open == 0 && this.running.is_empty();
            if is_quiet && closed.peek().is_none() {
                return None;
            }
            // The seconds of earlier runs are not remembered, so these two begin together.
            let from_ns = this.seconds_from_ns;
            Some(this.view(Window::Start, from_ns, at_ns, closed))
        })
    }

    fn view<'a>(
        &self,
        window: Window,
        from_ns: u64,
        at_ns: u64,
        closed: impl Iterator<Item = &'a Closed>,
    ) -> WindowView {
        let mut sum = self.running.sorted(self.role);
        closed.for_each(|slot| sum.merge(&Slot::unpack(slot)));
        let covered_ns = self.gaps.observed(from_ns, at_ns);
        let requests = sum.requests();
        WindowView {
            window,
            from_ns,
            covered_ns,
            requests,
            errors: sum.errors,
            client_errors: sum.client_errors,
            statuses: sum.statuses.into_iter().collect(),
            statuses_other: sum.statuses_other,
            outcomes: sum.outcomes,
            bytes_received: sum.bytes_received,
            bytes_sent: sum.bytes_sent,
            streams_open: self.streams_open,
            streams: sum.streams.map(|streams| *streams).unwrap_or_default(),
            tallies: sum.tallies.map(|tallies| *tallies).unwrap_or_default(),
            breakdown: sum.breakdown,
            network: sum.network,
            in_flight: self.in_flight,
            max_in_flight: sum.max_in_flight.max(self.in_flight),
            current_rps: f64::from(self.seconds.of((at_ns / SECOND_NS).wrapping_sub(1))),
            average_rps: (covered_ns > 0).then(|| requests as f64 * SECOND_NS as f64 / covered_ns as f64),
            peak_rps: f64::from(sum.best_second),
            response_time: sum.times.response_time,
            time_to_first_byte: sum.times.time_to_first_byte,
            queue_time: sum.times.queue_time,
            processing: sum.times.processing,
        }
    }

    /// Did nothing at all happen in a window that ends at `at_ns`, and is nothing in flight? Told without merging the window,
    /// so that who asks many can leave out the quiet ones.
    pub fn is_quiet(&self, window: Window, at_ns: u64) -> bool {
        if self.in_flight > 0 || self.streams_open > 0 {
            return false;
        }
        self.as_of(at_ns, |this, at_ns| {
            this.running.is_empty() && this.history.of_window(window, at_ns).is_empty()
        })
    }

    /// Exchanges that ended in a window that ends at `at_ns`, as [`WindowView::requests`], without merging it.
    pub fn requests_within(&self, window: Window, at_ns: u64) -> u64 {
        self.as_of(at_ns, |this, at_ns| {
            let closed = this.history.of_window(window, at_ns).into_iter();
            this.running.requests() + closed.map(|slot| Slot::unpack_requests(slot)).sum::<u64>()
        })
    }

    /// Asks this one as it is at a moment. Usually nothing changes by the time that went by, and no copy is made.
    fn as_of<T>(&self, at_ns: u64, ask: impl FnOnce(&Self, u64) -> T) -> T {
        if at_ns <= self.now_ns {
            return ask(self, self.now_ns);
        }
        let same_slot = Size::TenSeconds.number(self.now_ns) == Size::TenSeconds.number(at_ns);
        if same_slot || (self.running.is_empty() && !self.history.is_due(self.now_ns, at_ns)) {
            return ask(self, at_ns);
        }
        let mut later = self.clone();
        later.advance(at_ns);
        ask(&later, at_ns)
    }

    /// Exchanges per stretch of time over a window that ends at `at_ns`, oldest first, without holes but those in which no
    /// agent ran: per second for the
    /// last minute, else per slot, as in [`Aggregate::latency_series`]. The last point is the running stretch and shorter than the others.
    pub fn throughput_trend(&self, window: Window, at_ns: u64) -> Vec<RatePoint> {
        if at_ns > self.now_ns {
            let mut later = self.clone();
            later.advance(at_ns);
            return later.throughput_trend(window, at_ns);
        }
        let at_ns = self.now_ns;
        let from_ns = window.from_ns(at_ns, self.started_ns);
        if window == Window::Minute || at_ns - from_ns <= 60 * SECOND_NS {
            let newest = at_ns / SECOND_NS;
            let known_ns = self.seconds_from_ns;
            let oldest = (from_ns.max(known_ns) / SECOND_NS).max(newest.saturating_sub(60));
            return (oldest..=newest)
                .map(|second| {
                    let begin = (second * SECOND_NS).max(known_ns);
                    let length_ns = (second + 1).saturating_mul(SECOND_NS).min(at_ns).saturating_sub(begin);
                    RatePoint {
                        at_ns: begin,
                        length_ns,
                        observed_ns: length_ns,
                        requests: self.seconds.of(second).into(),
                    }
                })
                .filter(|point| point.length_ns > 0)
                .collect();
        }
        self.series(window, at_ns, |at_ns, length_ns, slot| RatePoint {
            at_ns,
            length_ns,
            observed_ns: self.gaps.observed(at_ns, at_ns + length_ns),
            requests: slot.requests(),
        })
    }

    /// Response times per slot over a window that ends at `at_ns`, oldest first, without holes but those in
    /// which no agent ran; slots are the finest that are kept for so long, and reach back a day at most.
    pub fn latency_series(&self, window: Window, at_ns: u64) -> Vec<LatencyPoint> {
        if at_ns > self.now_ns {
            let mut later = self.clone();
            later.advance(at_ns);
            return later.latency_series(window, at_ns);
        }
        self.series(window, self.now_ns, |at_ns, length_ns, slot| LatencyPoint {
            at_ns,
            length_ns,
            response_time: slot.times.response_time.summary(),
        })
    }

    fn series<T>(&self, window: Window, at_ns: u64, point: impl Fn(u64, u64, &Slot) -> T) -> Vec<T> {
        let from_ns = window.from_ns(at_ns, self.started_ns);
        let size = Size::reaching_back(from_ns, at_ns);
        let newest = size.number(at_ns);
        let oldest = size.number(from_ns).max(newest.saturating_sub(size.kept()));
        let mut slots: BTreeMap<u64, Slot> = (oldest..=newest).map(|number| (number, Slot::default())).collect();
        for (number, closed) in self.history.of_size(size, at_ns) {
            if let Some(slot) = slots.get_mut(&number) {
                slot.merge(&Slot::unpack(closed));
            }
        }
        if let Some(slot) = slots.get_mut(&newest) {
            slot.merge(&self.running.sorted(self.role));
        }
        slots
            .into_iter()
            .filter_map(|(number, slot)| {
                let begin = (number * size.length_ns()).max(self.started_ns);
                let end = (number + 1).saturating_mul(size.length_ns()).min(at_ns);
                // Nothing is known of it.
                let missed = end > begin && self.gaps.observed(begin, end) == 0;
                (!missed).then(|| point(begin, end.saturating_sub(begin), &slot))
            })
            .collect()
    }

    /// Adds another aggregate. Counts and times add up; for the most in flight and the best second of the past the
    /// larger one is taken, since it is not known whether the two fell together.
    pub(crate) fn merge(&mut self, mut other: Self) {
        let now_ns = self.now_ns.max(other.now_ns);
        self.advance(now_ns);
        other.advance(now_ns);
        self.in_flight += other.in_flight;
        self.streams_open += other.streams_open;
        other.add_up();
        self.running.merge(&other.running);
        self.running.max_in_flight = self.running.max_in_flight.max(self.in_flight);
        self.seconds.merge(&other.seconds);
        self.seconds_from_ns = self.seconds_from_ns.max(other.seconds_from_ns);
        Arc::make_mut(&mut self.history).merge(&other.history, now_ns);
    }

    /// Exchanges that ended since the start.
    pub(crate) fn requests(&self) -> u64 {
        let history = self.history.of_window(Window::Start, self.now_ns);
        self.running.requests() + history.into_iter().map(|slot| Slot::unpack_requests(slot)).sum::<u64>()
    }

    /// The counts of a window without its distributions, which is cheap.
    pub(crate) fn counts(&self, window: Window, at_ns: u64) -> Counts {
        if at_ns > self.now_ns {
            let mut later = self.clone();
            later.advance(at_ns);
            return later.counts(window, at_ns);
        }
        let mut counts = Counts {
            requests: self.running.requests(),
            errors: self.running.errors(),
            in_flight: self.in_flight,
        };
        for slot in self.history.of_window(window, self.now_ns) {
            let (requests, errors) = Slot::unpack_counts(slot);
            counts.requests += requests;
            counts.errors += errors;
        }
        counts
    }

    /// Before a copy is made: what it would have to add up for itself.
    pub(crate) fn add_up(&mut self) {
        self.running.add_up(self.role);
    }

    /// Heap bytes of the running slot: what a copy does not share.
    pub(crate) fn running_bytes(&self) -> usize {
        self.running.copy_bytes()
    }

    /// Heap bytes held, as if nothing were shared.
    pub fn heap_bytes(&self) -> usize {
        self.running.heap_bytes() + size_of::<History>() + 2 * size_of::<usize>() + self.history.heap_bytes()
    }
}

/// How many exchanges ended in each of the last [`SECONDS`] seconds.
#[derive(Clone, Debug)]
#[repr(C)]
struct Seconds {
    newest: u64,
    counts: [u32; SECONDS],
}

impl Default for Seconds {
    fn default() -> Self {
        Self {
            newest: 0,
            counts: [0; SECONDS],
        }
    }
}

impl Seconds {
    #[expect(clippy::cast_possible_truncation, reason = "less than SECONDS")]
    fn place(second: u64) -> usize {
        (second % SECONDS as u64) as usize
    }

    /// Counts one, and gives the second's count. What is too late for its second is counted in the newest one.
    #[inline]
    fn count(&mut self, at_ns: u64) -> u32 {
        let mut second = at_ns / SECOND_NS;
        if second > self.newest {
            self.go_to(second);
        } else if self.newest - second >= SECONDS as u64 {
            second = self.newest;
        }
        let count = &mut self.counts[Self::place(second)];
        *count = count.saturating_add(1);
        *count
    }

    fn go_to(&mut self, second: u64) {
        if second - self.newest >= SECONDS as u64 {
            self.counts = [0; SECONDS];
        } else {
            for skipped in self.newest + 1..=second {
                self.counts[Self::place(skipped)] = 0;
            }
        }
        self.newest = second;
    }

    /// The count of a second; 0 if it is not known any more, or not yet.
    fn of(&self, second: u64) -> u32 {
        if second <= self.newest && self.newest - second < SECONDS as u64 {
            self.counts[Self::place(second)]
        } else {
            0
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.newest > self.newest {
            self.go_to(other.newest);
        }
        let oldest = self.newest.saturating_sub(SECONDS as u64 - 1);
        for second in oldest..=self.newest {
            self.counts[Self::place(second)] += other.of(second);
        }
    }
}

#[cfg(test)]
mod tests;
