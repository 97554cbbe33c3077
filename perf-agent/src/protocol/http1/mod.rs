//! HTTP/1.x, RFC 9112: pairs requests with responses by their order on the connection, and finds where each ends.
//!
//! Read in this order: [`head`] (what a head says), [`body`] (where a body ends), [`queue`] (requests in flight), then
//! the [`Http1`] dissector here, and its two halves [`requests`] and [`responses`]. A half is always in one [`Phase`]; what
//! could not be seen puts it into [`Phase::Unseen`] (a message whose end is not known) or [`Phase::Lost`] (it is not
//! known where the next message begins), and from there it comes back at the next chunk that begins like a message.
//!
//! When bytes are missing, which response belongs to which request may be unknown. Then no pair is made: the requests
//! end as [`Outcome::Unknown`]. A client that was never seen to pipeline is taken to send one request at a time.

mod body;
pub(super) mod head;
mod queue;
mod requests;
mod responses;
#[cfg(test)]
mod tests;
mod upgraded;

use self::body::{Chunked, Recent};
use self::queue::{Pending, Queue};
use self::upgraded::{Upgraded, Went};
use super::cached::Cached;
use super::http2::Http2;
use super::{AnyDissector, Chunk, Dissector, Gap, Half, ProtocolEntry, Seen, Verdict, closed_first};
use crate::event::{Change, Direction};
use crate::exchange::{Ended, Loss, Outcome, Sink, StreamEnded, StreamKind, StreamMoved, Times};

/// How to recognise HTTP/1.x and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "http/1",
    detect: |beginning| detect(beginning.bytes, beginning.direction),
    dissector: |from_start| AnyDissector::Http1(Http1::new(from_start)),
};

/// A head that is not complete by then is taken as cut.
pub const MAX_HEAD: usize = 64 * 1024;

/// After a request was missed among pipelined ones, pairs are made again once nothing went for so long.
const QUIET_NS: u64 = 1_000_000_000;
/// A client's request record may come after the record of its answer when two threads moved them. Not by more.
const REORDERED_NS: u64 = 10_000_000;
/// So many times bytes may turn out to be no message before the connection is given up.
const MAX_STRAYS: u8 = 8;

fn detect(first: &[u8], direction: Direction) -> Option<Direction> {
    let start = leading_line_ends(first);
    let first = &first[start..];
    if head::could_be_response(first) && first.len() > 1 {
        // Fewer than five bytes are too few to tell a response from a method that begins like it.
        return (first.len() >= 5).then(|| direction.opposite());
    }
    head::could_be_request(first).then_some(direction)
}

/// Line ends before a message are skipped (RFC 9112, 2.2).
fn leading_line_ends(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count()
}

/// The first `length` bytes, or all if there are fewer, and the rest.
fn split_at(bytes: &[u8], length: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(length).map_or(bytes.len(), |length| length.min(bytes.len())))
}

/// Where a half's next byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// At a message's beginning, or in its head.
    Head,
    /// In a body; so many bytes are left.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// In a response's body that ends with the connection.
    UntilClose,
    /// In a message whose end can't be found by its framing. If it is known to be chunked, its last bytes tell.
    Unseen { chunked: Option<Recent> },
    /// What goes is another protocol's.
    Upgraded,
    /// Somewhere.
    Lost,
}

/// A head of which a part has come.
#[derive(Debug)]
struct PartialHead {
    bytes: Vec<u8>,
    first: Seen,
}

/// One half of the conversation.
#[derive(Debug)]
struct Side {
    phase: Phase,
    /// The body may not come at all, or not as announced: a chunk that is a whole head begins a new message. In a head:
    /// it may be none.
    doubtful: bool,
    partial: Option<Box<PartialHead>>,
}

/// The response that is being received.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a response, each read on its own"
)]
struct Answer {
    /// Its first byte was seen; interim responses do not count.
    begun: bool,
    /// 0 if its head was not seen.
    status: u16,
    first_ns: u64,
    /// Who moved its first byte.
    tid: u32,
    last_ns: u64,
    bytes: u64,
    /// Its newest bytes were lost, so the time of its last byte is not known.
    end_lost: bool,
    /// No request waits for it.
    orphan: bool,
    /// As an orphan it was counted already.
    counted: bool,
    /// Bytes went by before it that could not be read.
    strayed: bool,
    /// It is a stream of events.
    event_stream: bool,
    /// Whether a cache had it, if it says so.
    cached: Option<Cached>,
}

/// The dissector of one connection. What every message needs comes first: a host's connections are more than the
/// processor's caches hold.
#[derive(Debug)]
#[repr(C)]
pub struct Http1 {
    request: Side,
    response: Side,
    queue: Queue,
    /// When the server last moved bytes, or a request came that can't be paired.
    quiet_since_ns: u64,
    answer: Answer,
    /// The last request in the queue is still being sent.
    receiving: bool,
    /// Nothing was missed since the connection began.
    whole: bool,
    /// Requests were missed since the last one that was seen.
    missed: bool,
    /// A response without request was seen since then.
    orphaned: bool,
    /// The last request's end was told by its last bytes alone.
    end_guessed: bool,
    /// The connection began in view.
    from_start: bool,
    /// The client was seen to send requests without waiting for answers.
    pipelined: bool,
    /// Which answer belongs to which request can't be told.
    unsure: bool,
    /// A message was seen.
    proven: bool,
    opaque: bool,
    strays: u8,
    /// A complete response without request: its request's record may be late by a moment.
    early: Option<Box<Answer>>,
    /// What the connection was upgraded to.
    upgraded: Option<Box<Upgraded>>,
    /// What HTTP/2 goes on as.
    next: Option<Box<Http2>>,
    request_closed_ns: Option<u64>,
    response_closed_ns: Option<u64>,
}

impl Dissector for Http1 {
    fn bytes(&mut self, chunk: Chunk<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(next) = &mut self.next {
            return next.bytes(chunk, sink);
        }
        if !self.opaque {
            let seen = Seen::of(&chunk);
            match chunk.half {
                Half::Request => {
                    self.request_resumes(chunk.bytes, sink);
                    self.requests(chunk.bytes, seen, sink);
                }
                Half::Response => {
                    self.response_resumes(chunk.bytes, seen, sink);
                    self.responses(chunk.bytes, seen, sink);
                }
            }
            self.tell(seen.at_ns, sink);
        }
        self.verdict()
    }

    fn gap(&mut self, gap: Gap<'_>, sink: &mut dyn Sink) -> Verdict {
        if let Some(next) = &mut self.next {
            return next.gap(gap, sink);
        }
        if !self.opaque {
            let tail = gap.tail.unwrap_or(&[]);
            let tail = if tail.len() as u64 > gap.missing { &[] } else { tail };
            let seen = Seen::of_gap(&gap);
            let missing = gap.missing - tail.len() as u64;
            match gap.half {
                Half::Request => {
                    if missing > 0 {
                        self.request_gap(missing, gap.lost, seen, sink);
                    }
                    self.requests(tail, seen, sink);
                }
                Half::Response => {
                    if missing > 0 {
                        self.response_gap(missing, gap.lost, seen, sink);
                    }
                    self.responses(tail, seen, sink);
                }
            }
            self.tell(seen.at_ns, sink);
        }
        self.verdict()
    }

    fn closed(&mut self, half: Option<Half>, at_ns: u64, change: Change, sink: &mut dyn Sink) {
        if let Some(next) = &mut self.next {
            return next.closed(half, at_ns, change, sink);
        }
        match half {
            Some(Half::Request) => _ = self.request_closed_ns.get_or_insert(at_ns),
            Some(Half::Response) => _ = self.response_closed_ns.get_or_insert(at_ns),
            None => {}
        }
        if self.upgraded.is_some() {
            return self.upgraded_closed(half, at_ns, change, sink);
        }
        // A client that has said all may still be answered.
        let over = matches!(change, Change::Reset | Change::Destroyed);
        if over || half == Some(Half::Response) {
            self.end_by_close(at_ns, change, sink);
        }
    }

    fn cut(&mut self, at_ns: u64, outcome: Outcome, sink: &mut dyn Sink) {
        self.upgraded_ends(outcome, at_ns, sink);
        if let Some(next) = &mut self.next {
            next.cut(at_ns, outcome, sink);
        }
        self.abandon(at_ns, outcome, sink);
        self.answer = Answer::default();
        self.forget_early(sink);
        self.request = Side::new(Phase::Lost);
        self.response = Side::new(Phase::Lost);
    }

    fn awaits(&self, half: Half) -> bool {
        if let Some(next) = &self.next {
            return next.awaits(half);
        }
        let side = match half {
            Half::Request => &self.request,
            Half::Response => &self.response,
        };
        !self.opaque && !matches!(side.phase, Phase::Head | Phase::Lost)
    }

    fn heap_bytes(&self) -> usize {
        let partial = |side: &Side| {
            side.partial
                .as_ref()
                .map_or(0, |partial| size_of::<PartialHead>() + partial.bytes.capacity())
        };
        let early = self.early.as_ref().map_or(0, |_| size_of::<Answer>());
        let next = self.next.as_ref().map_or(0, |next| next.heap_bytes());
        let upgraded = self.upgraded.as_ref().map_or(0, |_| size_of::<Upgraded>());
        partial(&self.request) + partial(&self.response) + self.queue.heap_bytes() + early + upgraded + next
    }
}

impl Side {
    fn new(phase: Phase) -> Self {
        Self {
            phase,
            doubtful: false,
            partial: None,
        }
    }
}

impl PartialHead {
    fn new(first: Seen, bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Self { bytes, first }
    }

    /// Takes the next bytes up to the head's end or to the limit; how many, and whether the end is among them.
    fn extend(&mut self, bytes: &[u8]) -> (usize, bool) {
        let end = head::end_of_head(&self.bytes, bytes);
        let room = MAX_HEAD.saturating_sub(self.bytes.len());
        let used = end.unwrap_or(bytes.len()).min(room);
        let needed = self.bytes.len() + used;
        if needed > self.bytes.capacity() {
            let capacity = (self.bytes.capacity() * 2).clamp(needed, MAX_HEAD.max(needed));
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(&bytes[..used]);
        (used, end == Some(used))
    }

    fn full(&self) -> bool {
        self.bytes.len() >= MAX_HEAD
    }
}

impl Http1 {
    fn new(from_start: bool) -> Self {
        let phase = if from_start { Phase::Head } else { Phase::Lost };
        Self {
            request: Side::new(phase),
            response: Side::new(phase),
            queue: Queue::default(),
            answer: Answer::default(),
            early: None,
            upgraded: None,
            next: None,
            request_closed_ns: None,
            response_closed_ns: None,
            quiet_since_ns: 0,
            receiving: false,
            whole: true,
            missed: false,
            end_guessed: false,
            orphaned: false,
            from_start,
            pipelined: false,
            unsure: false,
            proven: false,
            opaque: false,
            strays: 0,
        }
    }

    /// Tells what went by of a stream.
    #[inline]
    fn tell(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        if let Some(front) = self.queue.front()
            && let Some(told) = &front.stream
        {
            let now = tell_news(front, &self.answer, **told, at_ns, sink);
            if let Some(told) = self.queue.front_mut().and_then(|front| front.stream.as_mut()) {
                **told = now;
            }
        }
    }

    fn verdict(&self) -> Verdict {
        if self.opaque {
            Verdict::Opaque
        } else {
            Verdict::Continue
        }
    }

    /// Bytes where a message should begin are none.
    fn malformed(&mut self, half: Half, at_ns: u64, sink: &mut dyn Sink) {
        if !self.proven && self.from_start {
            // Another protocol.
            self.opaque = true;
            return;
        }
        if self.proven {
            sink.lost(Loss::Malformed);
        }
        self.whole = false;
        match half {
            Half::Request => {
                self.receiving = false;
                self.missed = true;
                self.orphaned = false;
                self.request = Side::new(Phase::Lost);
            }
            Half::Response => {
                self.unsure |= self.pipelined && self.queue.len() > 1;
                self.abandon(at_ns, Outcome::Unknown, sink);
                self.answer = Answer::default();
                self.response = Side::new(Phase::Lost);
            }
        }
        self.strayed(at_ns, sink);
    }

    /// Bytes were not understood, once more.
    fn strayed(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        self.strays += 1;
        if self.strays >= MAX_STRAYS {
            self.cut(at_ns, Outcome::Unknown, sink);
            self.opaque = true;
        }
    }

    /// Ends every request in flight. A response that has begun goes on without one.
    fn abandon(&mut self, at_ns: u64, outcome: Outcome, sink: &mut dyn Sink) {
        let mut answer = if self.answer.orphan {
            Answer::default()
        } else {
            self.answer
        };
        if self.queue.is_empty() {
            return;
        }
        self.answer.orphan = true;
        self.answer.counted = true;
        self.response.doubtful = true;
        self.receiving = false;
        self.whole = false;
        if matches!(self.request.phase, Phase::Unseen { .. }) {
            self.request = Side::new(Phase::Lost);
        }
        while let Some(pending) = self.queue.pop() {
            finish(&pending, &answer, outcome, at_ns.max(answer.last_ns), sink);
            answer = Answer::default();
        }
    }

    fn finish_front(&mut self, answer: &Answer, outcome: Outcome, at_ns: u64, sink: &mut dyn Sink) {
        if let Some(pending) = self.queue.pop() {
            finish(&pending, answer, outcome, at_ns, sink);
            if self.queue.is_empty() {
                self.receiving = false;
            } else {
                self.pipelined = true;
            }
        }
    }

    fn forget_early(&mut self, sink: &mut dyn Sink) {
        let orphan = self.answer.begun && self.answer.orphan && !self.answer.counted;
        self.answer.counted |= orphan;
        if self.early.take().is_some() || orphan {
            sink.lost(Loss::ResponseWithoutRequest);
        }
    }

    /// No response byte will come any more.
    fn end_by_close(&mut self, at_ns: u64, change: Change, sink: &mut dyn Sink) {
        self.forget_early(sink);
        let (outcome, closed_ns) = closed_first(self.request_closed_ns, self.response_closed_ns, at_ns);
        if self.answer.begun && !self.answer.orphan {
            let orderly = self.response_closed_ns.is_some() && change != Change::Reset;
            let unseen = matches!(self.response.phase, Phase::Unseen { .. });
            if unseen {
                sink.lost(Loss::FramingUnknown);
            }
            if orderly && (unseen || self.response.phase == Phase::UntilClose) {
                self.response_ends(sink);
            } else {
                let answer = std::mem::take(&mut self.answer);
                let outcome = if unseen { Outcome::Unknown } else { outcome };
                self.finish_front(&answer, outcome, closed_ns.max(answer.last_ns), sink);
            }
        } else if self.answer.strayed {
            let answer = std::mem::take(&mut self.answer);
            self.finish_front(&answer, Outcome::Unknown, at_ns, sink);
        }
        let at_ns = self.queue.back_mut().map_or(at_ns, |back| closed_ns.max(back.last_ns));
        self.abandon(at_ns, outcome, sink);
        self.answer = Answer::default();
        self.response = Side::new(Phase::Lost);
    }
}

impl Answer {
    #[inline]
    fn moved(&mut self, bytes: u64, at_ns: u64) {
        self.bytes += bytes;
        self.last_ns = at_ns;
        self.end_lost = false;
    }
}

impl Phase {
    fn unseen(chunked: bool) -> Self {
        Self::Unseen {
            chunked: chunked.then(Recent::default),
        }
    }

    fn forget_recent(&mut self) {
        if let Self::Unseen { chunked: Some(recent) } = self {
            *recent = Recent::default();
        }
    }
}

/// What is known of an exchange at its end.
fn ended_of(pending: &Pending, answer: &Answer, outcome: Outcome, at_ns: u64, stream: Option<StreamKind>) -> Ended {
    Ended {
        outcome,
        status: (answer.status != 0).then_some(answer.status),
        error: None,
        tally: Cached::tally(answer.cached),
        times: Times {
            arrival_ns: pending.arrival_ns,
            request_first_ns: pending.first_ns,
            request_last_ns: pending.last_ns,
            response_first_ns: answer.begun.then_some(answer.first_ns),
            response_last_ns: at_ns,
        },
        request_bytes: pending.bytes,
        response_bytes: answer.bytes,
        tid: answer.tid,
        stream,
    }
}

fn finish(pending: &Pending, answer: &Answer, outcome: Outcome, at_ns: u64, sink: &mut dyn Sink) {
    if let Some(told) = &pending.stream {
        tell_news(pending, answer, **told, at_ns, sink);
        let ended = StreamEnded {
            outcome,
            status: None,
            at_ns,
        };
        return sink.stream_ended(pending.ticket, &ended);
    }
    sink.ended(pending.ticket, &ended_of(pending, answer, outcome, at_ns, None));
}

/// What went by of a stream since it was told of; what has been by now.
fn tell_news(pending: &Pending, answer: &Answer, told: [u64; 2], at_ns: u64, sink: &mut dyn Sink) -> [u64; 2] {
    let now = [pending.bytes, answer.bytes];
    if now != told {
        sink.stream_moved(
            pending.ticket,
            &StreamMoved {
                at_ns,
                request_bytes: now[0].saturating_sub(told[0]),
                response_bytes: now[1].saturating_sub(told[1]),
                messages: None,
            },
        );
    }
    now
}
