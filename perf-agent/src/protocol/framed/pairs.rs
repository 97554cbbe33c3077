//! Requests that wait for their answers.

use std::collections::VecDeque;

use crate::exchange::{
    Ended, ErrorCode, Loss, Outcome, Protocol, Request, Said, Sink, StreamEnded, StreamKind, StreamMoved, Tally,
    Ticket, Times,
};
use crate::protocol::Seen;

/// Requests in flight on one connection that are kept; those beyond are counted as lost, and their answers passed over.
pub(in crate::protocol) const MAX_PENDING: usize = 1024;

/// A request that waits for its answer. `N` is what the protocol has to remember of it.
#[derive(Debug)]
pub(in crate::protocol) struct Asked<N> {
    pub(in crate::protocol) ticket: Ticket,
    arrival_ns: Option<u64>,
    first_ns: u64,
    last_ns: u64,
    bytes: u64,
    answer_first_ns: Option<u64>,
    answer_bytes: u64,
    /// The error that the answer is.
    pub(in crate::protocol) error: Option<ErrorCode>,
    /// What else it says.
    pub(in crate::protocol) tally: Tally,
    pub(in crate::protocol) note: N,
}

impl<N> Asked<N> {
    /// More of the request, or a part of it that came before it was known what it is.
    pub(in crate::protocol) fn asks(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// A part of the answer, `bytes` long, begins at this moment.
    pub(in crate::protocol) fn answers(&mut self, at_ns: u64, bytes: u64) {
        self.answer_first_ns.get_or_insert(at_ns);
        self.answer_bytes += bytes;
    }

    fn ended(&self, outcome: Outcome, at_ns: u64, tid: u32, stream: Option<StreamKind>) -> Ended {
        Ended {
            outcome,
            status: None,
            error: self.error,
            tally: self.tally,
            times: Times {
                arrival_ns: self.arrival_ns,
                request_first_ns: self.first_ns,
                request_last_ns: self.last_ns.max(self.first_ns),
                response_first_ns: self.answer_first_ns,
                response_last_ns: at_ns.max(self.first_ns).max(self.answer_first_ns.unwrap_or(0)),
            },
            request_bytes: self.bytes,
            response_bytes: self.answer_bytes,
            tid: if self.answer_first_ns.is_some() { tid } else { 0 },
            stream,
        }
    }
}

/// The requests of one connection, oldest first.
#[derive(Debug)]
pub(in crate::protocol) struct Pairs<N> {
    queue: VecDeque<Asked<N>>,
    /// Requests behind those that were not kept, and whose answers are still to come.
    unkept: u64,
    /// More than one was in flight at some time.
    pub(super) pipelined: bool,
}

impl<N> Default for Pairs<N> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            unkept: 0,
            pipelined: false,
        }
    }
}

/// Where a language reports to.
pub(in crate::protocol) struct Talk<'a, N> {
    pub(in crate::protocol) pairs: &'a mut Pairs<N>,
    pub(in crate::protocol) sink: &'a mut dyn Sink,
    /// Who moves what is read.
    pub(super) tid: u32,
}

impl<N> Talk<'_, N> {
    /// A request for an operation is known. `first` moved its first byte; `bytes` of it are known so far.
    pub(in crate::protocol) fn open(
        &mut self,
        (protocol, operation): (Protocol, &str),
        first: Seen,
        bytes: u64,
        note: N,
    ) {
        let pairs = &mut *self.pairs;
        if pairs.queue.len() >= MAX_PENDING || pairs.unkept > 0 {
            pairs.unkept += 1;
            self.sink.lost(Loss::PipelineFull);
            return;
        }
        pairs.pipelined |= !pairs.queue.is_empty();
        let ticket = self.sink.opened(&Request {
            protocol,
            method: "",
            path: operation,
            query: "",
            host: None,
            request_id: None,
            said: Said::default(),
            first_ns: first.at_ns,
            tgid: first.tgid,
            tid: first.tid,
        });
        pairs.queue.push_back(Asked {
            ticket,
            arrival_ns: first.arrival_ns,
            first_ns: first.at_ns,
            last_ns: first.at_ns,
            bytes,
            answer_first_ns: None,
            answer_bytes: 0,
            error: None,
            tally: Tally::default(),
            note,
        });
    }

    /// The newest request, if it is kept.
    pub(in crate::protocol) fn newest(&mut self) -> Option<&mut Asked<N>> {
        if self.pairs.unkept > 0 {
            None
        } else {
            self.pairs.queue.back_mut()
        }
    }

    /// The newest request ended at this moment.
    pub(in crate::protocol) fn asked(&mut self, at_ns: u64) {
        if let Some(asked) = self.newest() {
            asked.last_ns = at_ns;
        }
    }

    /// The request whose answer comes next.
    pub(in crate::protocol) fn oldest(&mut self) -> Option<&mut Asked<N>> {
        self.pairs.queue.front_mut()
    }

    /// The answer to the oldest request came to its end at this moment. An answer to none is a loss.
    pub(in crate::protocol) fn answered(&mut self, at_ns: u64) {
        let tid = self.tid;
        match self.pairs.queue.pop_front() {
            Some(asked) => self
                .sink
                .ended(asked.ticket, &asked.ended(Outcome::Answered, at_ns, tid, None)),
            None if self.pairs.unkept > 0 => self.pairs.unkept -= 1,
            None => self.sink.lost(Loss::ResponseWithoutRequest),
        }
    }

    /// A request that waits and of which this is true.
    pub(in crate::protocol) fn find(&mut self, is: impl Fn(&N) -> bool) -> Option<usize> {
        self.pairs.queue.iter().position(|asked| is(&asked.note))
    }

    /// The request at a place that [`Talk::find`] gave.
    pub(in crate::protocol) fn at(&mut self, place: usize) -> Option<&mut Asked<N>> {
        self.pairs.queue.get_mut(place)
    }

    /// The answer to the request at a place came to its end at this moment.
    pub(in crate::protocol) fn answered_at(&mut self, place: usize, at_ns: u64) {
        if let Some(asked) = self.pairs.queue.remove(place) {
            self.sink
                .ended(asked.ticket, &asked.ended(Outcome::Answered, at_ns, self.tid, None));
        }
    }

    /// What became of the oldest request is not known.
    pub(in crate::protocol) fn given_up(&mut self, at_ns: u64) {
        if let Some(asked) = self.pairs.queue.pop_front() {
            self.sink
                .ended(asked.ticket, &asked.ended(Outcome::Unknown, at_ns, self.tid, None));
        }
    }

    /// The oldest request was answered, and goes on as a stream.
    pub(in crate::protocol) fn becomes_stream(&mut self, at_ns: u64, kind: StreamKind) -> Option<Ticket> {
        let tid = self.tid;
        let asked = self.pairs.queue.pop_front()?;
        self.sink
            .ended(asked.ticket, &asked.ended(Outcome::Answered, at_ns, tid, Some(kind)));
        Some(asked.ticket)
    }

    /// No answer will come to any of them.
    pub(in crate::protocol) fn end_all(&mut self, outcome: Outcome, at_ns: u64) {
        self.pairs.unkept = 0;
        let tid = self.tid;
        for asked in self.pairs.queue.drain(..) {
            self.sink.ended(asked.ticket, &asked.ended(outcome, at_ns, tid, None));
        }
    }

    /// Bytes of a stream, and messages if they are counted: of the client and of the server.
    pub(in crate::protocol) fn stream_moved(
        &mut self,
        ticket: Ticket,
        at_ns: u64,
        bytes: [u64; 2],
        messages: Option<[u64; 2]>,
    ) {
        let [request_bytes, response_bytes] = bytes;
        let moved = StreamMoved {
            at_ns,
            request_bytes,
            response_bytes,
            messages,
        };
        self.sink.stream_moved(ticket, &moved);
    }

    /// A stream ended.
    pub(in crate::protocol) fn stream_ended(&mut self, ticket: Ticket, at_ns: u64, outcome: Outcome) {
        let ended = StreamEnded {
            outcome,
            status: None,
            at_ns,
        };
        self.sink.stream_ended(ticket, &ended);
    }
}

impl<N> Pairs<N> {
    /// For a language to report to; `tid` moves what is read.
    pub(super) fn talk<'a>(&'a mut self, tid: u32, sink: &'a mut dyn Sink) -> Talk<'a, N> {
        Talk { pairs: self, sink, tid }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.unkept == 0
    }

    /// What is remembered of a request of which this is true.
    pub(in crate::protocol) fn note(&self, is: impl Fn(&N) -> bool) -> Option<&N> {
        self.queue.iter().map(|asked| &asked.note).find(|note| is(note))
    }

    /// Requests that are kept.
    pub(in crate::protocol) fn in_flight(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn queue_is_one(&self) -> bool {
        self.queue.len() == 1 && self.unkept == 0
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.queue.capacity() * size_of::<Asked<N>>()
    }
}
