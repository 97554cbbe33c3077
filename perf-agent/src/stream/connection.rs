//! One connection: finds out which protocol is spoken, keeps both directions in order, and tells the dissector what
//! went, what is missing, and who closed.

use crate::event::{Change, Direction, Segment};
use crate::exchange::{Loss, Outcome, Role, Sink};
use crate::protocol::{Chunk, Dissector, Gap, Half, PROTOCOLS, Verdict};

use super::Flow;

/// After so many segments in which no protocol begins, or turns of direction, nobody looks any more.
const MISSES: u8 = 64;

/// One connection.
pub struct Connection {
    received: Flow,
    sent: Flow,
    stage: Stage,
    /// The first byte of both directions was, or will be, seen.
    from_start: bool,
    /// When the peer's FIN came.
    peer_closed_ns: Option<u64>,
    local_closed: bool,
    /// A message of this direction is reported in sums.
    bulk: Option<Direction>,
}

enum Stage {
    /// No message was recognised yet.
    Listening { misses: u8, last: Option<Direction> },
    /// A protocol was.
    Following {
        dissector: Box<dyn Dissector>,
        requests: Direction,
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
            Stage::Following { dissector, .. } => size_of_val(&**dissector) + dissector.heap_bytes(),
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
        if !segment.bytes.is_empty() {
            for protocol in PROTOCOLS {
                if let Some(requests) = (protocol.detect)(segment.bytes, segment.direction) {
                    self.stage = Stage::Following {
                        dissector: (protocol.dissector)(self.from_start && first),
                        requests,
                    };
                    return Interest::Role(Role::of_request(requests));
                }
            }
        }
        if turned || !segment.bytes.is_empty() {
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
        if segment.length > 0 {
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
            Change::Reset => {
                // Whose RST it was is not told. It is the peer's, unless the peer had said all: then the process closed
                // with bytes unread.
                let local = peer_closed_before.is_some() && received == Half::Response && !self.local_closed;
                dissector.closed(Some(if local { sent } else { received }), at_ns, change, sink);
            }
            Change::Destroyed => {
                if let Some(closed_ns) = peer_closed_before {
                    dissector.closed(Some(received), closed_ns, Change::PeerClosed, sink);
                }
                dissector.closed(Some(sent), at_ns, change, sink);
            }
        }
        if matches!(change, Change::Destroyed) {
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

fn half_of(direction: Direction, requests: Direction) -> Half {
    if direction == requests {
        Half::Request
    } else {
        Half::Response
    }
}

/// Puts a segment in its place and tells the dissector of it: what is missing before it, what was captured of it, and
/// what was not.
#[inline]
fn feed(
    segment: &Segment<'_>,
    half: Half,
    flow: &mut Flow,
    dissector: &mut dyn Dissector,
    sink: &mut dyn Sink,
) -> Verdict {
    let placed = flow.place(segment.position_end, segment.length);
    let mut verdict = Verdict::Continue;
    let gap = |missing: u64, tail, lost| Gap {
        half,
        missing,
        tail,
        at_ns: segment.at_ns,
        lost,
        tgid: segment.tgid,
        tid: segment.tid,
    };
    if placed.lost > 0 {
        sink.lost(Loss::Gap);
        verdict = dissector.gap(gap(placed.lost, None, true), sink);
    }
    let bytes = segment.bytes.get(placed.repeated as usize..).unwrap_or(&[]);
    if !bytes.is_empty() && verdict == Verdict::Continue {
        verdict = dissector.bytes(
            Chunk {
                half,
                bytes,
                at_ns: segment.at_ns,
                arrival_ns: segment.arrival_ns,
                tgid: segment.tgid,
                tid: segment.tid,
            },
            sink,
        );
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
