//! The ledger: what came in, what came out, and where the rest went. Every stage's losses have a name here.

use perf_common::counters::{COUNTERS, Counter};

use crate::attribution::Account;
use crate::exchange::{Loss, Outcome};

/// Records, from the kernel side to the decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Records that reached the core.
    pub received: u64,
    /// Records of them that could not be decoded.
    pub undecodable: u64,
    /// Records that the kernel side could not hand over, since the ring buffer was full.
    pub lost: u64,
    /// Bytes of segments that were moved but not copied: beyond the capture budget of their message.
    pub truncated_bytes: u64,
    /// Segments whose bytes could not be attributed to a buffer (kernel thread, `io_uring`, unknown system call).
    pub unseen: u64,
    /// Segments whose memory could not be read.
    pub faults: u64,
    /// Calls of hooks in which the kernel did not run a program, as it was in the middle of it already.
    pub skipped: u64,
    /// Segments that the kernel side folded into sums.
    pub folded: u64,
    /// Segments of filtered-out processes or ports, at their connection's first segment.
    pub filtered: u64,
}

/// Connections, as the core follows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Being followed now.
    pub open: u64,
    /// Followed so far.
    pub opened: u64,
    /// Ended.
    pub closed: u64,
    /// Followed, but not to their end, since the core's table was full. `opened = open + closed + dropped` at any time.
    pub dropped: u64,
    /// All that were not followed to their end, or not at all, since a table was full: `dropped`, and those of the
    /// kernel side's table.
    pub evicted: u64,
    /// Of no interest, as the kernel side judged.
    pub ignored: u64,
}

/// Segments and sessions of TLS, as the kernel side knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Segments of plaintext of sessions whose socket was not known (yet).
    pub unbound: u64,
    /// Sessions that were taken for another socket's, until the lengths spoke against it.
    pub misbound: u64,
}

/// Exchanges. `opened = answered + client_aborted + server_closed + cut + unknown + in_flight` at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanges {
    /// Begun.
    pub opened: u64,
    /// Ended with a whole response.
    pub answered: u64,
    /// Ended by the client.
    pub client_aborted: u64,
    /// Ended by the server without a whole response.
    pub server_closed: u64,
    /// The agent lost sight.
    pub cut: u64,
    /// Ended, and cannot be said how.
    pub unknown: u64,
    /// Not ended.
    pub in_flight: u64,
}

/// Streams, behind answered exchanges. `opened = closed + open` at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Begun.
    pub opened: u64,
    /// Ended, or lost sight of.
    pub closed: u64,
    /// Not ended.
    pub open: u64,
}

/// Endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// Kept apart.
    pub endpoints: u64,
    /// Exchanges counted in `(other)`, since there were too many endpoints.
    pub folded: u64,
}

/// The books at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// See [`Records`].
    pub records: Records,
    /// See [`Connections`].
    pub connections: Connections,
    /// See [`Tls`].
    pub tls: Tls,
    /// See [`Exchanges`].
    pub exchanges: Exchanges,
    /// See [`Streams`].
    pub streams: Streams,
    /// Calls to others that were made while requests were served, by what is known of their cause.
    pub calls: Account,
    /// See [`Series`].
    pub series: Series,
    /// What could not be followed, in the order of [`LOSSES`].
    pub losses: [u64; LOSSES.len()],
}

/// Every kind of loss, and its word in the API.
pub const LOSSES: [(Loss, &str); 9] = [
    (Loss::ResponseWithoutRequest, "response_without_request"),
    (Loss::HeadCut, "head_cut"),
    (Loss::FieldUnknown, "field_unknown"),
    (Loss::FramingUnknown, "framing_unknown"),
    (Loss::PipelineFull, "pipeline_full"),
    (Loss::Malformed, "malformed"),
    (Loss::Compressed, "compressed"),
    (Loss::Gap, "gap"),
    (Loss::NameUnkept, "name_unkept"),
];

impl Exchanges {
    /// Does everything that was opened have an end, or is it in flight?
    pub fn closes(&self) -> bool {
        let ended = self.answered + self.client_aborted + self.server_closed + self.cut + self.unknown;
        self.opened == ended + self.in_flight
    }
}

impl Accounting {
    /// Do the books close? Connections, exchanges and streams alike.
    pub fn closes(&self) -> bool {
        let Connections {
            open,
            opened,
            closed,
            dropped,
            ..
        } = self.connections;
        let streams = self.streams.opened == self.streams.closed + self.streams.open;
        self.exchanges.closes() && streams && opened == open + closed + dropped
    }
}

/// Keeps the books.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    books: Accounting,
    /// The kernel side's counters as last heard.
    kernel: [u64; COUNTERS],
}

impl Ledger {
    /// A record came in.
    #[inline]
    pub fn record_received(&mut self) {
        self.books.records.received += 1;
    }

    /// It was none that could be decoded.
    pub fn record_undecodable(&mut self) {
        self.books.records.undecodable += 1;
    }

    /// A connection is being followed.
    pub fn connection_opened(&mut self) {
        self.books.connections.opened += 1;
        self.books.connections.open += 1;
    }

    /// A connection ended.
    pub fn connection_closed(&mut self) {
        self.books.connections.closed += 1;
        self.books.connections.open = self.books.connections.open.saturating_sub(1);
    }

    /// A connection is followed no more, since the table was full.
    pub fn connection_evicted(&mut self) {
        self.books.connections.dropped += 1;
        self.books.connections.open = self.books.connections.open.saturating_sub(1);
    }

    /// An exchange began.
    #[inline]
    pub fn exchange_opened(&mut self) {
        self.books.exchanges.opened += 1;
        self.books.exchanges.in_flight += 1;
    }

    /// An exchange ended.
    #[inline]
    pub fn exchange_ended(&mut self, outcome: Outcome) {
        let exchanges = &mut self.books.exchanges;
        exchanges.in_flight -= 1;
        *match outcome {
            Outcome::Answered => &mut exchanges.answered,
            Outcome::ClientAborted => &mut exchanges.client_aborted,
            Outcome::ServerClosed => &mut exchanges.server_closed,
            Outcome::Cut => &mut exchanges.cut,
            Outcome::Unknown => &mut exchanges.unknown,
        } += 1;
    }

    /// A stream began.
    pub fn stream_opened(&mut self) {
        self.books.streams.opened += 1;
        self.books.streams.open += 1;
    }

    /// A stream ended.
    pub fn stream_ended(&mut self) {
        self.books.streams.closed += 1;
        self.books.streams.open = self.books.streams.open.saturating_sub(1);
    }

    /// An exchange was counted in `(other)`.
    pub fn exchange_folded(&mut self) {
        self.books.series.folded += 1;
    }

    /// Something could not be followed.
    pub fn lost(&mut self, loss: Loss) {
        if let Some(place) = LOSSES.iter().position(|(other, _)| *other == loss) {
            self.books.losses[place] += 1;
        }
    }

    /// The kernel side's counters, summed since its start: little-endian `u64` values in the order of [`Counter`]. A
    /// longer or shorter list is one of another version: what is known of it is taken.
    pub fn kernel_counters(&mut self, values: &[u8]) {
        for (mine, theirs) in self.kernel.iter_mut().zip(values.as_chunks::<8>().0) {
            *mine = u64::from_le_bytes(*theirs);
        }
    }

    /// The books now, with this number of endpoints.
    pub fn accounting(&self, endpoints: usize, calls: Account) -> Accounting {
        let kernel = |counter: Counter| self.kernel[counter as usize];
        let mut books = self.books;
        books.calls = calls;
        books.records.lost = kernel(Counter::Lost);
        books.records.truncated_bytes = kernel(Counter::BytesTruncated);
        books.records.unseen = kernel(Counter::Unseen);
        books.records.faults = kernel(Counter::Faults);
        books.records.skipped = kernel(Counter::Skipped);
        books.records.folded = kernel(Counter::Folded);
        books.records.filtered = kernel(Counter::Filtered);
        let evicted = kernel(Counter::ConnectionsEvicted);
        books.connections.evicted = books.connections.dropped.saturating_add(evicted);
        books.connections.ignored = kernel(Counter::ConnectionsIgnored);
        books.tls = Tls {
            unbound: kernel(Counter::Unbound),
            misbound: kernel(Counter::Misbound),
        };
        books.series.endpoints = endpoints as u64;
        books
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_loss_has_its_line() {
        let mut ledger = Ledger::default();
        for (loss, _) in LOSSES {
            ledger.lost(loss);
        }
        assert_eq!(ledger.accounting(0, Account::default()).losses, [1; LOSSES.len()]);
    }

    #[test]
    fn the_kernel_sides_counters_are_taken_as_they_are_and_a_longer_list_does_no_harm() {
        let mut ledger = Ledger::default();
        ledger.connection_opened();
        ledger.connection_evicted();
        for round in [1u64, 2] {
            let values: Vec<u8> = (1..COUNTERS as u64 + 3)
                .flat_map(|n| (n * 10 * round).to_le_bytes())
                .collect();
            ledger.kernel_counters(&values);
        }
        let books = ledger.accounting(7, Account::default());
        let sent = |counter: Counter| (counter as u64 + 1) * 20;
        assert_eq!(books.records.lost, sent(Counter::Lost));
        assert_eq!(books.records.truncated_bytes, sent(Counter::BytesTruncated));
        assert_eq!(books.records.unseen, sent(Counter::Unseen));
        assert_eq!(books.records.faults, sent(Counter::Faults));
        assert_eq!(books.records.skipped, sent(Counter::Skipped));
        assert_eq!(books.records.folded, sent(Counter::Folded));
        assert_eq!(books.records.filtered, sent(Counter::Filtered));
        assert_eq!(books.tls.unbound, sent(Counter::Unbound));
        assert_eq!(books.tls.misbound, sent(Counter::Misbound));
        assert_eq!(books.connections.evicted, 1 + sent(Counter::ConnectionsEvicted));
        assert_eq!(books.connections.ignored, sent(Counter::ConnectionsIgnored));
        assert_eq!(books.series.endpoints, 7);
        ledger.kernel_counters(&[1, 2, 3]);
        assert_eq!(ledger.accounting(7, Account::default()), books);
    }

    proptest! {
        #[test]
        fn the_books_close_after_any_operations(operations in prop::collection::vec(0usize..12, 0..500)) {
            let mut ledger = Ledger::default();
            let (mut exchanges, mut connections, mut streams) = (0u64, 0u64, 0u64);
            for operation in operations {
                match operation {
                    0..=3 => {
                        ledger.exchange_opened();
                        exchanges += 1;
                    }
                    4..=6 if exchanges > 0 => {
                        ledger.exchange_ended(Outcome::ALL[operation - 3]);
                        exchanges -= 1;
                    }
                    7 => {
                        ledger.connection_opened();
                        connections += 1;
                    }
                    8 if connections > 0 => {
                        ledger.connection_closed();
                        connections -= 1;
                    }
                    9 if connections > 0 => {
                        ledger.connection_evicted();
                        connections -= 1;
                    }
                    10 => {
                        ledger.stream_opened();
                        streams += 1;
                    }
                    11 if streams > 0 => {
                        ledger.stream_ended();
                        streams -= 1;
                    }
                    _ => {}
                }
                let books = ledger.accounting(0, Account::default());
                prop_assert!(books.closes());
                prop_assert_eq!(books.exchanges.in_flight, exchanges);
                prop_assert_eq!(books.connections.open, connections);
                prop_assert_eq!(books.streams.open, streams);
            }
        }
    }
}
