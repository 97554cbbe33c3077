//! One connection: finds out which protocol is spoken, keeps both directions in order, and tells the dissector what
//! went, what is missing, and who closed.

use crate::event::{Change, Direction, Segment};
use crate::exchange::{Loss, Outcome, Role, Sink};
use crate::protocol::{AnyDissector, Beginning, Chunk, Dissector, Gap, Half, PROTOCOLS, Verdict};

use super::Flow;

/// After so many segments in which no protocol begins, or turns of direction, nobody looks any more.
const MISSES: u8 = 64;

/// One connection. What every segment needs comes first, together.
#[repr(C)]
pub struct Connection {
    received: Flow,
    sent: Flow,
    /// The first byte of both directions was, or will be, seen.
    from_start: bool,
    local_closed: bool,
    /// A message of this direction is reported in sums.
    bulk: Option<Direction>,
    stage: Stage,
    /// When the peer's FIN came.
    peer_closed_ns: Option<u64>,
    /// When an RST came that may have left bytes of a response unread, and which half ended with it.
    reset: Option<(Half, u64)>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most connections that are followed are in the large one"
)]
#[repr(u8)]
enum Stage {
    /// No message was recognised yet.
    Listening { misses: u8, last: Option<Direction> },
    /// A protocol was.
    Following {
        requests: Direction,
        dissector: AnyDissector,
    },
    /// Of no interest.
    Ignored,
}

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Nothing yet: the segment is of no use.
    None,
    /// The process has this role: the segment goes on to [`Connection::segment`].
    Role(Role),
    /// It was given up just now: the kernel side may be told.
    GivenUp,
}

/// What a segment changed in the way its connection is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Nothing.
    Same,
    /// A message began to be reported in sums: ask for the sum while it goes on.
    BulkBegan,
    /// That message has ended.
    BulkEnded,
    /// Nothing of interest will follow. `bulk` if a message was being reported in sums.
    Opaque {
        /// As after [`Self::BulkBegan`].
        bulk: bool,
    },
}

impl Connection {
    /// A connection of which nothing was seen yet. `from_start` if nothing went before.
    pub fn new(from_start: bool) -> Self {
        Self {
            received: Flow::default(),
            sent: Flow::default(),
            stage: Stage::Listening { misses: 0, last: None },
            from_start,
            peer_closed_ns: None,
            reset: None,
            local_closed: false,
            bulk: None,
        }
    }

    /// True if it was given up.
    pub fn is_ignored(&self) -> bool {
        matches!(self.stage, Stage::Ignored)
    }

    /// Heap bytes held beyond the struct itself, for the memory bound.
    pub fn heap_bytes(&self) -> usize {
        match &self.stage {
            Stage::Following { dissector, .. } => dissector.heap_bytes(),
            _ => 0,
        }
    }

    /// Of what interest is the connection, now that this segment came?
    #[inline]
    pub fn interest(&mut self, segment: &Segment<'_>) -> Interest {
        match &self.stage {
            Stage::Following { requests, .. } => Interest::Role(Role::of_request(*requests)),
            Stage::Ignored => Interest::None,
            Stage::Listening { .. } => self.listen(segment),
        }
    }

    fn listen(&mut self, segment: &Segment<'_>) -> Interest {
        let Stage::Listening { misses, last } = &mut self.stage else {
            return Interest::None;
        };
        if segment.length == 0 {
            return Interest::None;
        }
        let first = last.is_none();
        let turned = last.replace(segment.direction) != Some(segment.direction);
        let beginning = segment.beginning();
        if !beginning.is_empty() {
            let beginning = Beginning {
                bytes: beginning,
                length: segment.length,
                direction: segment.direction,
                first: self.from_start && first,
            };
            for protocol in PROTOCOLS {
                if let Some(requests) = (protocol.detect)(&beginning) {
                    self.stage = Stage::Following {
                        dissector: (protocol.dissector)(self.from_start && first),
                        requests,
                    };
                    return Interest::Role(Role::of_request(requests));
                }
            }
        }
        if turned || !beginning.is_empty() {
            *misses += 1;
        }
        if *misses < MISSES {
            return Interest::None;
        }
        self.stage = Stage::Ignored;
        Interest::GivenUp
    }

    /// Bytes moved.
    #[inline]
    pub fn segment(&mut self, segment: &Segment<'_>, sink: &mut dyn Sink) -> Attention {
        let Stage::Following { dissector, requests } = &mut self.stage else {
            return Attention::Same;
        };
        let half = half_of(segment.direction, *requests);
        let mut verdict = Verdict::Continue;
        // An end of stream has no bytes, but a place: what is missing before it is missed.
        if segment.length > 0 || segment.end_of_stream {
            let flow = match segment.direction {
                Direction::Received => &mut self.received,
                Direction::Sent => &mut self.sent,
            };
            verdict = feed(segment, half, flow, &mut **dissector, sink);
        }
        if segment.end_of_stream {
            let at_ns = *self.peer_closed_ns.get_or_insert(segment.at_ns);
            dissector.closed(Some(half), at_ns, Change::PeerClosed, sink);
        }
        if verdict == Verdict::Opaque {
            dissector.cut(segment.at_ns, Outcome::Unknown, sink);
            self.stage = Stage::Ignored;
            return Attention::Opaque {
                bulk: self.bulk.take().is_some(),
            };
        }
        match self.bulk {
            None if segment.folded && dissector.awaits(half) => {
                self.bulk = Some(segment.direction);
                Attention::BulkBegan
            }
            Some(direction) => {
                let turned = segment.direction != direction && segment.length > 0;
                if turned || !dissector.awaits(half_of(direction, *requests)) {
                    self.bulk = None;
                    Attention::BulkEnded
                } else {
                    Attention::Same
                }
            }
            None => Attention::Same,
        }
    }

    /// The connection's state changed.
    pub fn changed(&mut self, change: Change, at_ns: u64, sink: &mut dyn Sink) {
        let peer_closed_before = self.peer_closed_ns;
        if change == Change::PeerClosed {
            self.peer_closed_ns.get_or_insert(at_ns);
        }
        let Stage::Following { dissector, requests } = &mut self.stage else {
            return;
        };
        let [received, sent] = [Direction::Received, Direction::Sent].map(|direction| half_of(direction, *requests));
        match change {
            // The peer's last bytes may still lie unread in the socket. That it will say no more is of use at once for
            // requests only; a response's end shows when a read returns 0 or the socket goes.
            Change::PeerClosed if received == Half::Response => {}
            Change::PeerClosed => dissector.closed(Some(received), at_ns, change, sink),
            Change::LocalClosed => {
                self.local_closed = true;
                dissector.closed(Some(sent), at_ns, change, sink);
            }
            Change::LocalAborted => {
                self.local_closed = true;
                // Whatever the peer had said goes unread: it is this process that gave up.
                self.peer_closed_ns = None;
                dissector.closed(Some(sent), at_ns, change, sink);
            }
            Change::Reset => {
                // Whose RST it was is not told. It is the peer's, unless the peer had said all: then the process closed
                // with bytes unread.
                let local = peer_closed_before.is_some() && received == Half::Response && !self.local_closed;
                let half = if local { sent } else { received };
                if received == Half::Response {
                    // As of a FIN: what came before it can still be read.
                    self.reset.get_or_insert((half, at_ns));
                } else {
                    dissector.closed(Some(half), at_ns, change, sink);
                }
            }
            Change::Destroyed => {
                if let Some((half, reset_ns)) = self.reset {
                    dissector.closed(Some(half), reset_ns, Change::Reset, sink);
                }
                if let Some(closed_ns) = peer_closed_before {
                    dissector.closed(Some(received), closed_ns, Change::PeerClosed, sink);
                }
                dissector.closed(Some(sent), at_ns, change, sink);
            }
            Change::Forgotten => {}
        }
        if matches!(change, Change::Destroyed | Change::Forgotten) {
            dissector.cut(at_ns, Outcome::Unknown, sink);
        }
    }

    /// Observation ends here. True if a message was being reported in sums.
    pub fn cut(&mut self, at_ns: u64, outcome: Outcome, sink: &mut dyn Sink) -> bool {
        if let Stage::Following { dissector, .. } = &mut self.stage {
            dissector.cut(at_ns, outcome, sink);
        }
        self.stage = Stage::Ignored;
        self.bulk.take().is_some()
    }

    /// True while a message is being reported in sums.
    pub fn in_bulk(&self) -> bool {
        self.bulk.is_some()
    }
}

/// Which half of a conversation goes this way, if requests go that way?
pub(crate) fn half_of(direction: Direction, requests: Direction) -> Half {
    if direction == requests {
        Half::Request
    } else {
        Half::Response
    }
}

/// Puts a segment in its place and tells the dissector of it: what is missing before it, what was captured of it, and
/// what was not.
#[inline]
pub(crate) fn feed(
    segment: &Segment<'_>,
    half: Half,
    flow: &mut Flow,
    dissector: &mut dyn Dissector,
    sink: &mut dyn Sink,
) -> Verdict {
    let placed = flow.place(segment.position_end, segment.length);
    let mut verdict = Verdict::Continue;
    let gap = |missing, tail, lost| gap_of(segment, half, missing, tail, lost);
    if placed.lost > 0 {
        sink.lost(Loss::Gap);
        verdict = dissector.gap(gap(placed.lost, None, true), sink);
    }
    if segment.pieces {
        return feed_pieces(segment, half, placed.repeated, verdict, dissector, sink);
    }
    let bytes = segment.bytes.get(placed.repeated as usize..).unwrap_or(&[]);
    if !bytes.is_empty() && verdict == Verdict::Continue {
        verdict = dissector.bytes(chunk_of(segment, half, bytes), sink);
    }
    let missing = u64::from(placed.new).saturating_sub(bytes.len() as u64);
    if missing > 0 && verdict == Verdict::Continue {
        let tail = segment.tail.map(|tail| {
            let known = tail.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
            &tail[tail.len() - known..]
        });
        verdict = dissector.gap(gap(missing, tail, false), sink);
    }
    verdict
}

#[inline]
fn chunk_of<'a>(segment: &Segment<'_>, half: Half, bytes: &'a [u8]) -> Chunk<'a> {
    Chunk {
        half,
        bytes,
        at_ns: segment.at_ns,
        arrival_ns: segment.arrival_ns,
        tgid: segment.tgid,
        tid: segment.tid,
    }
}

#[inline]
fn gap_of<'a>(segment: &Segment<'_>, half: Half, missing: u64, tail: Option<&'a [u8]>, lost: bool) -> Gap<'a> {
    Gap {
        half,
        missing,
        tail,
        at_ns: segment.at_ns,
        lost,
        tgid: segment.tgid,
        tid: segment.tid,
    }
}

/// [`feed`] for a segment of which pieces were captured; its first `repeated` bytes were told of before.
fn feed_pieces(
    segment: &Segment<'_>,
    half: Half,
    repeated: u32,
    verdict: Verdict,
    dissector: &mut dyn Dissector,
    sink: &mut dyn Sink,
) -> Verdict {
    let mut verdict = verdict;
    let end = u64::from(segment.length);
    // How far the segment has been told of, and how far the pieces have.
    let (mut told, mut at) = (u64::from(repeated), 0);
    let last = [(segment.length, &[][..])];
    for (missing, bytes) in segment.parts().chain(last) {
        if verdict == Verdict::Opaque {
            break;
        }
        at = (at + u64::from(missing)).min(end);
        if at > told {
            verdict = dissector.gap(gap_of(segment, half, at - told, None, false), sink);
            told = at;
        }
        let before = usize::try_from(told - at).unwrap_or(usize::MAX);
        at = (at + bytes.len() as u64).min(end);
        let Some(bytes) = bytes.get(before..).filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        if verdict == Verdict::Continue {
            told = at;
            verdict = dissector.bytes(chunk_of(segment, half, bytes), sink);
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::recorder::Recorder;
    use Change::{Destroyed, LocalAborted, LocalClosed, PeerClosed, Reset};
    use Direction::{Received, Sent};

    /// A connection under test; positions and times count up by themselves.
    struct Peer {
        connection: Connection,
        ends: [u32; 2],
        now: u64,
        sink: Recorder,
    }

    impl Peer {
        fn new(from_start: bool) -> Self {
            Self {
                connection: Connection::new(from_start),
                ends: [u32::MAX - 10, 7],
                now: 0,
                sink: Recorder::default(),
            }
        }

        /// A segment of which `captured` bytes were captured and whose last 8 are known.
        fn moved(&mut self, direction: Direction, bytes: &str, captured: usize) -> (Interest, Attention) {
            let end = &mut self.ends[usize::from(direction == Sent)];
            let length = u32::try_from(bytes.len()).expect("short");
            *end = end.wrapping_add(length);
            let position_end = *end;
            self.segment(direction, bytes, captured, position_end, length)
        }

        fn segment(
            &mut self,
            direction: Direction,
            bytes: &str,
            captured: usize,
            position_end: u32,
            length: u32,
        ) -> (Interest, Attention) {
            self.now += 1;
            let bytes = bytes.as_bytes();
            let segment = Segment {
                connection: 1,
                direction,
                at_ns: self.now,
                arrival_ns: None,
                position_end,
                length,
                bytes: &bytes[..captured.min(bytes.len())],
                pieces: false,
                tail: Some(&bytes[bytes.len().saturating_sub(8)..]),
                folded: captured == 0,
                asked: false,
                end_of_stream: length == 0,
                tgid: 1,
                tid: 1,
            };
            let interest = self.connection.interest(&segment);
            (interest, self.connection.segment(&segment, &mut self.sink))
        }

        fn changed(&mut self, change: Change) {
            self.now += 1;
            self.connection.changed(change, self.now, &mut self.sink);
        }

        /// Request, a response in several states, then changes.
        #[track_caller]
        fn check(asks: Direction, answer: &str, changes: &[Change], expected: &str) {
            let mut peer = Self::new(true);
            peer.moved(asks, ASK, 99);
            if !answer.is_empty() {
                peer.moved(asks.opposite(), answer, 99);
            }
            for &change in changes {
                peer.changed(change);
            }
            assert_eq!(peer.sink.lines(), [expected], "{changes:?}");
        }
    }

    const ASK: &str = "GET / HTTP/1.1\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nok";
    const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";

    #[test]
    fn the_role_follows_from_the_first_message() {
        for (direction, bytes, role) in [
            (Received, ASK, Role::Server),
            (Sent, ASK, Role::Client),
            (Received, OK, Role::Client),
            (Sent, OK, Role::Server),
        ] {
            assert_eq!(Peer::new(true).moved(direction, bytes, 99).0, Interest::Role(role));
        }
    }

    #[test]
    fn a_connection_that_speaks_nothing_known_is_given_up_once() {
        let mut peer = Peer::new(true);
        let given_up = (0..1000)
            .filter(|_| peer.moved(Sent, "\x16\x03", 2).0 == Interest::GivenUp)
            .count();
        assert_eq!(given_up, 1);
        assert!(peer.connection.is_ignored());
        assert_eq!(peer.connection.heap_bytes(), 0);
    }

    #[test]
    fn an_opaque_connection_is_given_up_with_what_it_held() {
        let mut peer = Peer::new(true);
        // Upgraded, and it is not known by which request.
        let upgraded = peer.moved(Sent, "HTTP/1.1 101 x\r\n\r\n", 99).1;
        assert_eq!(upgraded, Attention::Opaque { bulk: false });
        assert!(peer.connection.is_ignored());
        assert_eq!(peer.sink.losses, [Loss::ResponseWithoutRequest]);
    }

    #[test]
    fn an_upgraded_connection_is_counted_to_its_end() {
        let upgraded = || {
            let mut peer = Peer::new(true);
            peer.moved(Received, ASK, 99);
            peer.moved(Sent, "HTTP/1.1 101 x\r\n\r\n12345", 99);
            // Sums are asked for as long as it is open.
            assert_eq!(peer.moved(Sent, "xxxxxxxxx", 0).1, Attention::BulkBegan);
            peer.moved(Received, "abc", 0);
            assert_eq!(peer.sink.lines(), ["GET / 101 answered 1..1 2..2"]);
            assert_eq!(peer.sink.streams(), ["upgrade open 3+14"]);
            peer
        };
        for (changes, expected) in [
            (&[LocalClosed, PeerClosed, Destroyed][..], "upgrade answered 6 3+14"),
            (&[PeerClosed, LocalClosed, Destroyed], "upgrade answered 6 3+14"),
            (&[PeerClosed, Destroyed], "upgrade answered 6 3+14"),
            (&[Reset, Destroyed], "upgrade client_aborted 5 3+14"),
            (&[LocalAborted, Destroyed], "upgrade server_closed 5 3+14"),
            (&[Change::Forgotten], "upgrade unknown 5 3+14"),
        ] {
            let mut peer = upgraded();
            for &change in changes {
                peer.changed(change);
            }
            assert_eq!(peer.sink.streams(), [expected], "{changes:?}");
        }
    }

    #[test]
    fn a_server_learns_of_its_client_going() {
        let aborted = "GET / - client_aborted 1..1 -..2";
        Peer::check(Received, "", &[PeerClosed, LocalClosed, Destroyed], aborted);
        Peer::check(Received, "", &[PeerClosed, Destroyed], aborted);
        Peer::check(Received, "", &[Reset, Destroyed], aborted);
        Peer::check(
            Received,
            PART,
            &[PeerClosed, Reset],
            "GET / 200 client_aborted 1..1 2..3",
        );
    }

    #[test]
    fn a_server_that_closes_is_the_one_who_did() {
        Peer::check(
            Received,
            "",
            &[LocalClosed, Destroyed],
            "GET / - server_closed 1..1 -..2",
        );
        Peer::check(Received, "", &[Destroyed], "GET / - server_closed 1..1 -..2");
        Peer::check(
            Received,
            PART,
            &[LocalClosed, PeerClosed],
            "GET / 200 server_closed 1..1 2..3",
        );
        Peer::check(Received, UNTIL_CLOSE, &[LocalClosed], "GET / 200 answered 1..1 2..2");
    }

    #[test]
    fn a_client_that_closes_is_the_one_who_did() {
        Peer::check(Sent, "", &[LocalClosed, Destroyed], "GET / - client_aborted 1..1 -..2");
        Peer::check(
            Sent,
            PART,
            &[LocalClosed, Destroyed],
            "GET / 200 client_aborted 1..1 2..3",
        );
        // The server had said all, but the client did not read it to its end.
        let changes = [PeerClosed, Reset, Destroyed];
        Peer::check(Sent, PART, &changes, "GET / 200 client_aborted 1..1 2..4");
        for answer in [PART, UNTIL_CLOSE] {
            let changes = [PeerClosed, LocalAborted, Destroyed];
            Peer::check(Sent, answer, &changes, "GET / 200 client_aborted 1..1 2..4");
        }
    }

    #[test]
    fn a_client_learns_of_its_server_going() {
        Peer::check(
            Sent,
            "",
            &[PeerClosed, LocalClosed, Destroyed],
            "GET / - server_closed 1..1 -..2",
        );
        Peer::check(Sent, "", &[Reset, Destroyed], "GET / - server_closed 1..1 -..2");
        Peer::check(
            Sent,
            UNTIL_CLOSE,
            &[PeerClosed, LocalClosed, Destroyed],
            "GET / 200 answered 1..1 2..2",
        );
    }

    #[test]
    fn a_fin_does_not_end_what_lies_unread() {
        let mut peer = Peer::new(true);
        peer.moved(Sent, ASK, 99);
        peer.changed(PeerClosed);
        peer.moved(Received, UNTIL_CLOSE, 99);
        peer.moved(Received, "more", 99);
        assert_eq!(peer.sink.in_flight(), 1);
        peer.segment(Received, "", 0, 0, 0);
        assert_eq!(peer.sink.lines(), ["GET / 200 answered 1..1 3..4"]);
    }

    #[test]
    fn a_reset_does_not_end_what_lies_unread() {
        let mut peer = Peer::new(true);
        peer.moved(Sent, ASK, 99);
        peer.changed(Reset);
        peer.moved(Received, OK, 99);
        peer.changed(Destroyed);
        assert_eq!(peer.sink.lines(), ["GET / 200 answered 1..1 3..3"]);
    }

    #[test]
    fn half_closed_connections_are_answered() {
        for asks in [Received, Sent] {
            let mut peer = Peer::new(true);
            peer.moved(asks, ASK, 99);
            peer.changed(if asks == Received { PeerClosed } else { LocalClosed });
            peer.moved(asks.opposite(), OK, 99);
            assert_eq!(peer.sink.lines(), ["GET / 200 answered 1..1 3..3"]);
        }
    }

    #[test]
    fn what_comes_again_is_cut_and_what_is_missing_is_told() {
        let mut peer = Peer::new(true);
        peer.segment(Received, ASK, 99, 118, 18);
        // The process asked to send all, and 10 bytes went.
        peer.segment(Sent, OK, 99, 1040, 40);
        peer.segment(Sent, &OK[10..], 99, 1040, 30);
        // The second request is lost.
        peer.segment(Received, "GET /3 HTTP/1.1\r\n\r\n", 99, 156, 19);
        assert_eq!(peer.sink.losses, [Loss::Gap]);
        assert_eq!(peer.sink.lines()[0], "GET / 200 answered 1..1 2..2");
    }

    #[test]
    fn bytes_beyond_the_budget_are_skipped_and_the_last_ones_read() {
        let mut peer = Peer::new(true);
        peer.moved(Received, ASK, 99);
        let chunk = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{}\r\n0\r\n\r\n",
            "x".repeat(100)
        );
        peer.moved(Sent, &chunk, 60);
        assert_eq!(peer.sink.lines(), ["GET / 200 answered 1..1 2..2"]);
        assert_eq!(peer.sink.losses, []);
    }

    /// Pieces of a segment as the kernel side hands them over: bytes before each, and the piece.
    fn pieces(pieces: &[(u32, &[u8])]) -> Vec<u8> {
        let piece = |(missing, bytes): &(u32, &[u8])| {
            let length = u32::try_from(bytes.len()).expect("short");
            [&missing.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat()
        };
        pieces.iter().flat_map(piece).collect()
    }

    #[test]
    fn pieces_of_a_segment_are_told_with_what_is_missing_between_them() {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let mut peer = Peer::new(true);
        // GET / on stream 1, then a frame of 100 bytes of data on stream 3, which nobody asked on, then GET / on stream 5.
        let first = [
            PREFACE,
            b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84",
            b"\0\0\x64\0\0\0\0\0\x03",
        ]
        .concat();
        let second = b"\0\0\x03\x01\x05\0\0\0\x05\x82\x86\x84";
        let length = u32::try_from(first.len() + 100 + second.len()).expect("short");
        let captured = pieces(&[(0, &first), (100, second)]);
        let mut send = |position_end: u32, length: u32, bytes: &[u8]| {
            peer.now += 1;
            let segment = Segment {
                connection: 1,
                direction: Sent,
                at_ns: peer.now,
                arrival_ns: None,
                position_end,
                length,
                bytes,
                pieces: true,
                tail: None,
                folded: false,
                asked: true,
                end_of_stream: false,
                tgid: 1,
                tid: 1,
            };
            let interest = peer.connection.interest(&segment);
            assert_eq!(interest, Interest::Role(Role::Client));
            peer.connection.segment(&segment, &mut peer.sink);
        };
        send(1000, length, &captured);
        // The process had asked to send more than was taken: the same bytes come again, cut elsewhere.
        let again = pieces(&[(0, &second[4..])]);
        send(1000, 8, &again);
        // Something that is no list of pieces at all.
        send(1040, 40, &[0xff; 11]);
        assert_eq!(peer.sink.lines(), ["GET / in flight", "GET / in flight"]);
        assert_eq!(peer.sink.losses, [Loss::FramingUnknown]);
    }

    #[test]
    fn sums_are_asked_for_while_a_message_goes_on() {
        let mut peer = Peer::new(true);
        peer.moved(Received, ASK, 99);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n";
        assert_eq!(peer.moved(Sent, head, 99).1, Attention::Same);
        assert_eq!(peer.moved(Sent, &"x".repeat(10), 0).1, Attention::BulkBegan);
        assert_eq!(peer.moved(Sent, &"x".repeat(10), 0).1, Attention::Same);
        assert!(peer.connection.in_bulk());
        assert_eq!(peer.moved(Sent, &"x".repeat(10), 0).1, Attention::BulkEnded);
        assert_eq!(peer.sink.lines(), ["GET / 200 answered 1..1 2..5"]);
    }
}
