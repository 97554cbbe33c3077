//! Any bytes in any chunks, with any gaps and closes: no panic, bounded memory, and every exchange ends once.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use perf_agent::event::Change;
use perf_agent::exchange::{Ended, Loss, Outcome, Request, Sink, Ticket};
use perf_agent::protocol::{Chunk, Gap, Half, Verdict, http1};

/// One thing that happens.
#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Bytes(bool, &'a [u8]),
    Request(u8),
    Response(u8),
    Gap { request: bool, missing: u64, tail: [u8; 8], tail_bytes: u8, lost: bool },
    Close { half: Option<bool>, change: u8 },
    Wait(u32),
}

/// Messages that mutation alone finds slowly.
const REQUESTS: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"HEAD /a?b HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
];
const RESPONSES: [&[u8]; 4] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
];

#[derive(Default)]
struct Tickets(Vec<bool>);

impl Sink for Tickets {
    fn opened(&mut self, request: &Request<'_>) -> Ticket {
        assert!(!request.method.is_empty());
        self.0.push(false);
        Ticket(self.0.len() as u32 - 1)
    }
    fn ended(&mut self, ticket: Ticket, ended: &Ended) {
        assert!(!std::mem::replace(&mut self.0[ticket.0 as usize], true), "ended twice");
        assert!(ended.outcome != Outcome::Answered || ended.status.is_some());
    }
    fn lost(&mut self, _: Loss) {}
}

fuzz_target!(|input: (bool, Vec<Step<'_>>)| {
    let (from_start, steps) = input;
    let mut http = (http1::ENTRY.dissector)(from_start);
    let mut sink = Tickets::default();
    let mut at_ns = 1u64;
    let of = |request: bool| if request { Half::Request } else { Half::Response };
    for step in &steps {
        at_ns += 1;
        let mut bytes = |half, bytes: &[u8], sink: &mut Tickets| {
            let chunk = Chunk { half, bytes, at_ns, arrival_ns: None, tgid: 1, tid: 1 };
            http.bytes(chunk, sink)
        };
        let verdict = match step {
            Step::Bytes(request, content) => bytes(of(*request), content, &mut sink),
            Step::Request(which) => bytes(Half::Request, REQUESTS[*which as usize % 4], &mut sink),
            Step::Response(which) => bytes(Half::Response, RESPONSES[*which as usize % 4], &mut sink),
            Step::Gap { request, missing, tail, tail_bytes, lost } => {
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
                http.gap(gap, &mut sink)
            }
            Step::Close { half, change } => {
                let changes = [Change::PeerClosed, Change::LocalClosed, Change::Reset, Change::Destroyed];
                http.closed(half.map(of), at_ns, changes[*change as usize % 4], &mut sink);
                Verdict::Continue
            }
            Step::Wait(ns) => {
                at_ns += u64::from(*ns);
                Verdict::Continue
            }
        };
        assert!(http.heap_bytes() <= 192 * 1024);
        if verdict == Verdict::Opaque {
            break;
        }
    }
    http.cut(at_ns, Outcome::Cut, &mut sink);
    assert!(sink.0.iter().all(|ended| *ended), "an exchange has no end");
});
