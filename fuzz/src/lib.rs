//! What holds for every dissector: any bytes in any chunks, with any gaps and closes, end without panic and in bounded
//! memory, and every exchange ends once.

use arbitrary::Arbitrary;
use perf_agent::event::Change;
use perf_agent::exchange::{Ended, Loss, Outcome, Request, Sink, StreamEnded, StreamMoved, Ticket};
use perf_agent::protocol::{Chunk, Gap, Half, ProtocolEntry, Verdict};

/// One thing that happens.
#[derive(Arbitrary, Debug)]
pub enum Step<'a> {
    Bytes(bool, &'a [u8]),
    Request(u8),
    Response(u8),
    Gap {
        request: bool,
        missing: u64,
        tail: [u8; 8],
        tail_bytes: u8,
        lost: bool,
    },
    Close {
        half: Option<bool>,
        change: u8,
    },
    Wait(u32),
}

/// Messages that mutation alone finds slowly.
pub struct Words {
    /// What clients say.
    pub requests: [&'static [u8]; 4],
    /// What servers say.
    pub responses: [&'static [u8]; 4],
}

#[derive(Default)]
struct Tickets {
    ended: Vec<bool>,
    /// Those of which the status may be missing: of gRPC, and of protocols that have none.
    statusless: Vec<bool>,
    /// Those that are open streams.
    streams: Vec<bool>,
}

impl Sink for Tickets {
    fn opened(&mut self, request: &Request<'_>) -> Ticket {
        assert!(!request.method.is_empty() || !request.path.is_empty());
        self.ended.push(false);
        self.streams.push(false);
        self.statusless.push(!request.protocol.has_routes());
        Ticket(self.ended.len() as u32 - 1)
    }
    fn ended(&mut self, ticket: Ticket, ended: &Ended) {
        let place = ticket.0 as usize;
        assert!(!std::mem::replace(&mut self.ended[place], true), "ended twice");
        self.streams[place] = ended.stream.is_some();
        assert!(ended.outcome != Outcome::Answered || ended.status.is_some() || self.statusless[place]);
    }
    fn stream_moved(&mut self, ticket: Ticket, _: &StreamMoved) {
        assert!(self.streams[ticket.0 as usize], "no open stream");
    }
    fn stream_ended(&mut self, ticket: Ticket, _: &StreamEnded) {
        let open = std::mem::replace(&mut self.streams[ticket.0 as usize], false);
        assert!(open, "no open stream");
    }
    fn lost(&mut self, _: Loss) {}
}

/// Feeds a new dissector.
pub fn feed(protocol: &ProtocolEntry, words: &Words, from_start: bool, steps: &[Step<'_>]) {
    let mut dissector = (protocol.dissector)(from_start);
    let mut sink = Tickets::default();
    let mut at_ns = 1u64;
    let of = |request: bool| if request { Half::Request } else { Half::Response };
    for step in steps {
        at_ns += 1;
        let mut bytes = |half, bytes: &[u8], sink: &mut Tickets| {
            let chunk = Chunk {
                half,
                bytes,
                at_ns,
                arrival_ns: None,
                tgid: 1,
                tid: 1,
            };
            dissector.bytes(chunk, sink)
        };
        let verdict = match step {
            Step::Bytes(request, content) => bytes(of(*request), content, &mut sink),
            Step::Request(which) => bytes(Half::Request, words.requests[*which as usize % 4], &mut sink),
            Step::Response(which) => bytes(Half::Response, words.responses[*which as usize % 4], &mut sink),
            Step::Gap {
                request,
                missing,
                tail,
                tail_bytes,
                lost,
            } => {
                let tail = &tail[..*tail_bytes as usize % 9];
                let gap = Gap {
                    half: of(*request),
                    // Positions are u32 differences; their sums must not overflow in a connection's life.
                    missing: missing >> 16,
                    tail: (!tail.is_empty()).then_some(tail),
                    at_ns,
                    lost: *lost,
                    tgid: 1,
                    tid: 1,
                };
                dissector.gap(gap, &mut sink)
            }
            Step::Close { half, change } => {
                let changes = [
                    Change::PeerClosed,
                    Change::LocalClosed,
                    Change::Reset,
                    Change::Destroyed,
                ];
                dissector.closed(half.map(of), at_ns, changes[*change as usize % 4], &mut sink);
                Verdict::Continue
            }
            Step::Wait(ns) => {
                at_ns += u64::from(*ns);
                Verdict::Continue
            }
        };
        assert!(dissector.heap_bytes() <= 192 * 1024);
        if verdict == Verdict::Opaque {
            break;
        }
    }
    dissector.cut(at_ns, Outcome::Cut, &mut sink);
    assert!(sink.ended.iter().all(|ended| *ended), "an exchange has no end");
    assert!(sink.streams.iter().all(|open| !open), "a stream has no end");
}
