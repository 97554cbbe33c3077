//! HTTP/1.x, RFC 9112: pairs requests with responses by their order on the connection, and finds where each ends.
//!
//! Read in this order: [`head`] (what a head says), [`body`] (where a body ends), [`queue`] (requests in flight), then
//! the [`Http1`] dissector here, which walks both halves of the conversation. A half is always in one [`Phase`]; what
//! could not be seen puts it into [`Phase::Unseen`] (a message whose end is not known) or [`Phase::Lost`] (it is not
//! known where the next message begins), and from there it comes back at the next chunk that begins like a message.
//!
//! When bytes are missing, which response belongs to which request may be unknown. Then no pair is made: the requests
//! end as [`Outcome::Unknown`]. A client that was never seen to pipeline is taken to send one request at a time.

mod body;
mod head;
mod queue;
#[cfg(test)]
mod tests;

use self::body::{Chunked, Fed, Recent};
use self::head::{Fields, Parsed, RequestHead, ResponseHead, Target};
use self::queue::{MAX_PENDING, Method, Pending, Queue};
use super::{Chunk, Dissector, Gap, Half, ProtocolEntry, Verdict};
use crate::event::{Change, Direction};
use crate::exchange::{Ended, Loss, Outcome, Request, Sink, Times};

/// How to recognise HTTP/1.x and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "http/1",
    detect,
    dissector: |from_start| Box::new(Http1::new(from_start)),
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
    /// Somewhere.
    Lost,
}

/// A head of which a part has come.
#[derive(Debug)]
struct PartialHead {
    bytes: Vec<u8>,
    first: Seen,
}

/// When and by whom bytes were moved.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at_ns: u64,
    arrival_ns: Option<u64>,
    tgid: u32,
    tid: u32,
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
}

/// The dissector of one connection.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a connection, each read on its own"
)]
struct Http1 {
    request: Side,
    response: Side,
    queue: Queue,
    answer: Answer,
    /// A complete response without request: its request's record may be late by a moment.
    early: Option<Answer>,
    request_closed_ns: Option<u64>,
    response_closed_ns: Option<u64>,
    /// When the server last moved bytes, or a request came that can't be paired.
    quiet_since_ns: u64,
    /// The last request in the queue is still being sent.
    receiving: bool,
    /// Nothing was missed since the connection began.
    whole: bool,
    /// Requests were missed since the last one that was seen.
    missed: bool,
    /// A response without request was seen since then.
    orphaned: bool,
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
}

impl Dissector for Http1 {
    fn bytes(&mut self, chunk: Chunk<'_>, sink: &mut dyn Sink) -> Verdict {
        if !self.opaque {
            let seen = Seen {
                at_ns: chunk.at_ns,
                arrival_ns: chunk.arrival_ns,
                tgid: chunk.tgid,
                tid: chunk.tid,
            };
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
        }
        self.verdict()
    }

    fn gap(&mut self, gap: Gap<'_>, sink: &mut dyn Sink) -> Verdict {
        if !self.opaque {
            let tail = gap.tail.unwrap_or(&[]);
            let tail = if tail.len() as u64 > gap.missing { &[] } else { tail };
            let seen = Seen {
                at_ns: gap.at_ns,
                arrival_ns: None,
                tgid: gap.tgid,
                tid: gap.tid,
            };
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
        }
        self.verdict()
    }

    fn closed(&mut self, half: Option<Half>, at_ns: u64, change: Change, sink: &mut dyn Sink) {
        match half {
            Some(Half::Request) => _ = self.request_closed_ns.get_or_insert(at_ns),
            Some(Half::Response) => _ = self.response_closed_ns.get_or_insert(at_ns),
            None => {}
        }
        // A client that has said all may still be answered.
        let over = matches!(change, Change::Reset | Change::Destroyed);
        if over || half == Some(Half::Response) {
            self.end_by_close(at_ns, change, sink);
        }
    }

    fn cut(&mut self, at_ns: u64, outcome: Outcome, sink: &mut dyn Sink) {
        self.abandon(at_ns, outcome, sink);
        self.answer = Answer::default();
        self.forget_early(sink);
        self.request = Side::new(Phase::Lost);
        self.response = Side::new(Phase::Lost);
    }

    fn awaits(&self, half: Half) -> bool {
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
        partial(&self.request) + partial(&self.response) + self.queue.heap_bytes()
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

/// Requests.
impl Http1 {
    fn requests(&mut self, mut rest: &[u8], seen: Seen, sink: &mut dyn Sink) {
        while !rest.is_empty() && !self.opaque {
            match self.request.phase {
                Phase::Head => rest = self.request_head(rest, seen, sink),
                Phase::Length(left) => {
                    let (body, after) = split_at(rest, left);
                    let now = body.len() as u64;
                    self.request_moved(now, seen.at_ns);
                    rest = after;
                    if now == left {
                        self.request_ends();
                    } else {
                        self.request.phase = Phase::Length(left - now);
                    }
                }
                Phase::Chunked(mut chunks) => match chunks.feed(rest) {
                    Fed::All => {
                        self.request.phase = Phase::Chunked(chunks);
                        return self.request_moved(rest.len() as u64, seen.at_ns);
                    }
                    Fed::Ended(used) => {
                        self.request_moved(used as u64, seen.at_ns);
                        self.request_ends();
                        rest = &rest[used..];
                    }
                    Fed::Malformed => {
                        sink.lost(Loss::Malformed);
                        self.whole = false;
                        self.request.phase = Phase::unseen(false);
                    }
                },
                Phase::UntilClose | Phase::Unseen { chunked: None } => {
                    return self.request_moved(rest.len() as u64, seen.at_ns);
                }
                Phase::Unseen {
                    chunked: Some(mut recent),
                } => {
                    self.request_moved(rest.len() as u64, seen.at_ns);
                    let ended = recent.push(rest, true);
                    self.request.phase = Phase::Unseen { chunked: Some(recent) };
                    if ended {
                        self.request_ends();
                    }
                    return;
                }
                Phase::Lost => {
                    self.missed = true;
                    self.orphaned = false;
                    return self.response_turned(seen.at_ns, sink);
                }
            }
        }
    }

    /// A chunk begins: if the half is out of step, does a message begin with it?
    #[inline]
    fn request_resumes(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        match self.request.phase {
            Phase::Lost => {
                let bytes = &bytes[leading_line_ends(bytes)..];
                // Nothing was missed of a connection that is new to us: what comes first is no rest of anything.
                let fresh = self.whole && !self.proven && head::could_be_request(bytes);
                if fresh || head::begins_like_request(bytes) {
                    self.request.phase = Phase::Head;
                    self.request.doubtful = !fresh;
                }
            }
            Phase::Head => {}
            phase => {
                let unseen = matches!(phase, Phase::Unseen { .. });
                if (unseen || self.request.doubtful)
                    && head::begins_like_request(bytes)
                    && matches!(head::request(bytes), Parsed::Complete(_))
                {
                    if unseen {
                        sink.lost(Loss::FramingUnknown);
                        // Not answered yet, so this client does not wait; others may lie in between.
                        self.missed = true;
                    }
                    self.request_ends();
                }
            }
        }
    }

    /// Reads a head at the beginning of `rest`, or the next part of one; gives what follows it.
    #[inline]
    fn request_head<'a>(&mut self, rest: &'a [u8], seen: Seen, sink: &mut dyn Sink) -> &'a [u8] {
        let Some(mut partial) = self.request.partial.take() else {
            let rest = &rest[leading_line_ends(rest)..];
            if rest.is_empty() {
                return rest;
            }
            match head::request(rest) {
                Parsed::Complete(head) => {
                    let used = head.bytes;
                    self.opens(&head, seen, seen, false, sink);
                    return &rest[used..];
                }
                Parsed::Partial if rest.len() >= MAX_HEAD => {
                    self.request_cut(rest, seen, seen, sink);
                }
                Parsed::Partial => self.request.partial = Some(Box::new(PartialHead::new(seen, rest))),
                Parsed::Malformed => self.malformed(Half::Request, seen.at_ns, sink),
            }
            return &[];
        };
        let (used, ended) = partial.extend(rest);
        if self.request.doubtful && !head::begins_like_request(&partial.bytes) {
            self.request = Side::new(Phase::Lost);
            self.missed = true;
            self.orphaned = false;
        } else if ended {
            match head::request(&partial.bytes) {
                Parsed::Complete(head) => self.opens(&head, partial.first, seen, false, sink),
                _ => self.malformed(Half::Request, seen.at_ns, sink),
            }
        } else if partial.full() {
            self.request_cut(&partial.bytes, partial.first, seen, sink);
        } else if memchr::memchr(b'\n', &rest[..used]).is_some() && !head::could_be_request(&partial.bytes) {
            self.malformed(Half::Request, seen.at_ns, sink);
        } else {
            self.request.partial = Some(partial);
        }
        &rest[used..]
    }

    /// The rest of a head will not be seen.
    fn request_cut(&mut self, bytes: &[u8], first: Seen, seen: Seen, sink: &mut dyn Sink) {
        match head::cut_request(bytes) {
            Some(head) => {
                sink.lost(Loss::HeadCut);
                self.opens(&head, first, seen, true, sink);
            }
            None => self.request_missed(false, seen.at_ns, sink),
        }
    }

    /// A request's head is there (`cut`: as much of it as will be): the exchange begins.
    fn opens(&mut self, head: &RequestHead<'_>, first: Seen, seen: Seen, cut: bool, sink: &mut dyn Sink) {
        self.proven = true;
        self.response_turned(seen.at_ns, sink);
        if self.opaque {
            return;
        }
        self.settle(first.at_ns);
        if self.queue.len() >= MAX_PENDING {
            sink.lost(Loss::PipelineFull);
            self.abandon(seen.at_ns, Outcome::Unknown, sink);
            self.unsure = true;
            self.quiet_since_ns = seen.at_ns;
        }
        let target = Target::of(head.method, &head.target);
        let ticket = sink.opened(&Request {
            protocol: head.protocol,
            method: head.method,
            path: target.path,
            query: target.query,
            host: target.authority.or(head.fields.host),
            request_id: head.fields.request_id,
            first_ns: first.at_ns,
            tgid: first.tgid,
            tid: first.tid,
        });
        let method = match head.method {
            "HEAD" => Method::Head,
            "CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let pending = Pending {
            ticket,
            method,
            holds_body: head.fields.expects_continue,
            arrival_ns: first.arrival_ns,
            first_ns: first.at_ns,
            last_ns: seen.at_ns,
            bytes: head.bytes as u64,
        };
        let phase = if cut {
            Phase::unseen(head.fields.chunked)
        } else {
            self.request_framing(method, &head.fields, sink)
        };
        self.request.doubtful = false;
        self.request.phase = phase;
        self.receiving = !matches!(phase, Phase::Head | Phase::Lost);
        if self.unsure {
            self.receiving = false;
            self.quiet_since_ns = seen.at_ns;
            return finish(&pending, &Answer::default(), Outcome::Unknown, seen.at_ns, sink);
        }
        if let Some(back) = self.queue.back_mut() {
            // Both were moved by one call: nobody can have waited for an answer in between.
            self.pipelined |= back.last_ns == first.at_ns;
            self.queue.push(pending);
        } else {
            self.queue.push(pending);
            self.claim_early(first.at_ns, method, sink);
        }
    }

    /// A request begins: can its answer be told from those of requests that were missed?
    #[inline]
    fn settle(&mut self, first_ns: u64) {
        if self.missed {
            // One whose answer came before is none of them, if the client waits for answers.
            if self.pipelined || !self.orphaned || !self.queue.is_empty() {
                self.unsure = true;
                self.quiet_since_ns = self.quiet_since_ns.max(first_ns);
            }
            self.missed = false;
        }
        self.orphaned = false;
        if self.unsure && self.queue.is_empty() && first_ns.saturating_sub(self.quiet_since_ns) >= QUIET_NS {
            self.unsure = false;
        }
    }

    /// RFC 9112, 6.3, for requests.
    fn request_framing(&mut self, method: Method, fields: &Fields<'_>, sink: &mut dyn Sink) -> Phase {
        if method == Method::Connect {
            // What follows is the tunnel's, unless the server refuses it.
            Phase::Lost
        } else if fields.chunked {
            Phase::Chunked(Chunked::START)
        } else if fields.transfer_encoding || fields.length_invalid {
            sink.lost(Loss::Malformed);
            self.whole = false;
            Phase::unseen(false)
        } else {
            match fields.content_length {
                None | Some(0) => Phase::Head,
                Some(length) => Phase::Length(length),
            }
        }
    }

    #[inline]
    fn request_moved(&mut self, bytes: u64, at_ns: u64) {
        if self.receiving
            && let Some(back) = self.queue.back_mut()
        {
            back.bytes += bytes;
            back.last_ns = at_ns;
            back.holds_body = false;
        }
    }

    fn request_ends(&mut self) {
        self.request.phase = Phase::Head;
        self.request.doubtful = false;
        self.receiving = false;
    }

    fn request_gap(&mut self, missing: u64, lost: bool, seen: Seen, sink: &mut dyn Sink) {
        let account = |this: &mut Self, bytes: u64| {
            // When lost bytes were moved is not known; the time of the last ones seen stays.
            let last_ns = this.queue.back_mut().map_or(0, |back| back.last_ns);
            this.request_moved(bytes, if lost { last_ns } else { seen.at_ns });
        };
        match self.request.phase {
            Phase::Length(left) => {
                account(self, missing.min(left));
                if missing >= left {
                    self.request_ends();
                } else {
                    self.request.phase = Phase::Length(left - missing);
                }
                if missing > left {
                    self.request_missed(lost, seen.at_ns, sink);
                }
                return;
            }
            Phase::Chunked(mut chunks) => {
                account(self, missing);
                if chunks.skip(missing) {
                    self.request.phase = Phase::Chunked(chunks);
                    return;
                }
                self.request.phase = Phase::unseen(true);
            }
            Phase::UntilClose | Phase::Unseen { .. } => {
                account(self, missing);
                self.request.phase.forget_recent();
            }
            Phase::Head => {
                let Some(partial) = self.request.partial.take() else {
                    return self.request_missed(lost, seen.at_ns, sink);
                };
                self.request_cut(&partial.bytes, partial.first, seen, sink);
                account(self, missing);
            }
            Phase::Lost => return self.request_missed(lost, seen.at_ns, sink),
        }
        // The message's end may be among what is missing, and others behind it. Where records are whole and the client
        // waits for answers, it is not: what begins like a message is captured.
        self.whole = false;
        self.missed |= lost || self.pipelined;
    }

    /// Requests went by without their heads being seen: one at least, or some if records were lost.
    fn request_missed(&mut self, lost: bool, at_ns: u64, sink: &mut dyn Sink) {
        self.response_turned(at_ns, sink);
        if !lost && !self.missed {
            sink.lost(Loss::HeadCut);
        }
        self.whole = false;
        self.missed = true;
        // What was lost is noticed late: its answer may have been there already.
        self.orphaned &= lost;
        self.receiving = false;
        self.request.phase = Phase::Lost;
    }

    /// A new request begins. If only one response was due, it has ended before, though its end can't be seen.
    #[inline]
    fn response_turned(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        if self.queue.len() != 1 {
            return;
        }
        if self.answer.orphan {
            if self.answer.strayed {
                sink.lost(Loss::FramingUnknown);
                self.abandon(at_ns, Outcome::Unknown, sink);
                self.answer.strayed = false;
            }
            return;
        }
        match self.response.phase {
            Phase::Unseen { .. } => {
                sink.lost(Loss::FramingUnknown);
                self.response_ends(sink);
                self.response.phase = Phase::Lost;
            }
            Phase::Lost if self.answer.strayed => {
                sink.lost(Loss::FramingUnknown);
                self.abandon(at_ns, Outcome::Unknown, sink);
                self.answer = Answer::default();
                self.strayed(at_ns, sink);
            }
            _ => {}
        }
    }

    /// The only request in flight has come. Was its answer there before?
    fn claim_early(&mut self, first_ns: u64, method: Method, sink: &mut dyn Sink) {
        let begun = |answer: &Answer| answer.begun && answer.orphan && !answer.counted;
        let (from_start, whole) = (self.from_start, self.whole);
        let mine = |answer: &Answer| {
            let late = first_ns.saturating_sub(answer.first_ns);
            late == 0 || (from_start && whole && late <= REORDERED_NS)
        };
        if begun(&self.answer) {
            if self.early.is_none() && mine(&self.answer) {
                self.answer.orphan = false;
                if method == Method::Head {
                    self.response_ends(sink);
                }
                return;
            }
            sink.lost(Loss::ResponseWithoutRequest);
            self.answer.counted = true;
            self.response.doubtful = true;
        } else if !whole && !self.answer.begun {
            self.answer = Answer::default();
        }
        if let Some(early) = self.early.take() {
            if mine(&early) && !self.answer.begun {
                self.finish_front(&early, Outcome::Answered, early.last_ns, sink);
            } else {
                sink.lost(Loss::ResponseWithoutRequest);
            }
        }
    }
}

/// Responses.
impl Http1 {
    fn responses(&mut self, mut rest: &[u8], seen: Seen, sink: &mut dyn Sink) {
        self.quiet_since_ns = seen.at_ns;
        while !rest.is_empty() && !self.opaque {
            match self.response.phase {
                Phase::Head => rest = self.response_head(rest, seen, sink),
                Phase::Length(left) => {
                    let (body, after) = split_at(rest, left);
                    let now = body.len() as u64;
                    self.answer.moved(now, seen.at_ns);
                    rest = after;
                    if now == left {
                        self.response_ends(sink);
                    } else {
                        self.response.phase = Phase::Length(left - now);
                    }
                }
                Phase::Chunked(mut chunks) => match chunks.feed(rest) {
                    Fed::All => {
                        self.response.phase = Phase::Chunked(chunks);
                        return self.answer.moved(rest.len() as u64, seen.at_ns);
                    }
                    Fed::Ended(used) => {
                        self.answer.moved(used as u64, seen.at_ns);
                        self.response_ends(sink);
                        rest = &rest[used..];
                    }
                    Fed::Malformed => {
                        sink.lost(Loss::Malformed);
                        self.response.phase = Phase::unseen(false);
                    }
                },
                Phase::UntilClose | Phase::Unseen { chunked: None } => {
                    return self.answer.moved(rest.len() as u64, seen.at_ns);
                }
                Phase::Unseen {
                    chunked: Some(mut recent),
                } => {
                    self.answer.moved(rest.len() as u64, seen.at_ns);
                    let ended = recent.push(rest, true);
                    self.response.phase = Phase::Unseen { chunked: Some(recent) };
                    if ended {
                        self.response_ends(sink);
                    }
                    return;
                }
                Phase::Lost => return self.response_strayed(sink),
            }
        }
    }

    /// See [`Self::request_resumes`].
    #[inline]
    fn response_resumes(&mut self, bytes: &[u8], seen: Seen, sink: &mut dyn Sink) {
        match self.response.phase {
            Phase::Lost if head::could_be_response(&bytes[leading_line_ends(bytes)..]) => {
                if self.answer.strayed {
                    // The answer may have gone by unread; this may be another one.
                    self.unsure |= self.queue.len() > 1;
                    self.abandon(seen.at_ns, Outcome::Unknown, sink);
                    self.answer = Answer::default();
                }
                self.response.phase = Phase::Head;
            }
            Phase::Lost | Phase::Head => {}
            _ if self.answer.orphan => self.orphan_resumes(bytes, seen, sink),
            Phase::Unseen { .. } => {
                let headless = self.answer.status == 0;
                if !(headless || self.queue.len() > 1) || !matches!(head::response(bytes), Parsed::Complete(_)) {
                    return;
                }
                if headless {
                    // It was an interim response that was missed, or the answer; then this one is another's.
                    sink.lost(Loss::FramingUnknown);
                    self.unsure |= self.queue.len() > 1;
                    self.abandon(seen.at_ns, Outcome::Unknown, sink);
                    self.answer = Answer::default();
                    self.response.phase = Phase::Head;
                } else {
                    sink.lost(Loss::FramingUnknown);
                    self.response_ends(sink);
                }
            }
            _ => {}
        }
    }

    /// See [`Self::response_resumes`]: in a response that nobody waits for. It may be one to HEAD, without the body that
    /// its head tells of, and then what comes is the answer to the next request.
    fn orphan_resumes(&mut self, bytes: &[u8], seen: Seen, sink: &mut dyn Sink) {
        if !self.response.doubtful {
            return;
        }
        if !self.answer.strayed && head::could_be_response(bytes) {
            self.response_ends(sink);
        } else if matches!(head::response(bytes), Parsed::Complete(_)) {
            // The answer may have gone by as what was taken for the body.
            self.abandon(seen.at_ns, Outcome::Unknown, sink);
            self.response_ends(sink);
        } else {
            self.answer.strayed = !self.queue.is_empty();
        }
    }

    /// See [`Self::request_head`].
    #[inline]
    fn response_head<'a>(&mut self, rest: &'a [u8], seen: Seen, sink: &mut dyn Sink) -> &'a [u8] {
        let Some(mut partial) = self.response.partial.take() else {
            let rest = &rest[leading_line_ends(rest)..];
            if rest.is_empty() {
                return rest;
            }
            match head::response(rest) {
                Parsed::Complete(head) => {
                    let used = head.bytes;
                    self.answers(&head, seen, seen, false, sink);
                    return &rest[used..];
                }
                Parsed::Partial if rest.len() >= MAX_HEAD => self.response_cut(rest, seen, seen, sink),
                Parsed::Partial => self.response.partial = Some(Box::new(PartialHead::new(seen, rest))),
                Parsed::Malformed => self.malformed(Half::Response, seen.at_ns, sink),
            }
            return &[];
        };
        let (used, ended) = partial.extend(rest);
        if ended {
            match head::response(&partial.bytes) {
                Parsed::Complete(head) => self.answers(&head, partial.first, seen, false, sink),
                _ => self.malformed(Half::Response, seen.at_ns, sink),
            }
        } else if partial.full() {
            self.response_cut(&partial.bytes, partial.first, seen, sink);
        } else if !head::could_be_response(&partial.bytes) {
            self.malformed(Half::Response, seen.at_ns, sink);
        } else {
            self.response.partial = Some(partial);
        }
        &rest[used..]
    }

    fn response_cut(&mut self, bytes: &[u8], first: Seen, seen: Seen, sink: &mut dyn Sink) {
        match head::cut_response(bytes) {
            Some(head) if !head.interim() => {
                sink.lost(Loss::HeadCut);
                self.answers(&head, first, seen, true, sink);
            }
            _ => self.response_missed(bytes.len() as u64, false, first, sink),
        }
    }

    /// A response's head is there (`cut`: as much of it as will be).
    fn answers(&mut self, head: &ResponseHead<'_>, first: Seen, seen: Seen, cut: bool, sink: &mut dyn Sink) {
        self.proven = true;
        self.answer.moved(head.bytes as u64, seen.at_ns);
        if head.interim() {
            if let Some(front) = self.queue.front_mut() {
                front.holds_body = false;
            }
            self.response.phase = Phase::Head;
            return;
        }
        self.answer.begun = true;
        self.answer.status = head.status;
        self.answer.first_ns = first.at_ns;
        self.answer.orphan = self.queue.is_empty();
        self.orphaned |= self.answer.orphan;
        self.request_turned(sink);
        let only = self.queue.len() == 1;
        let method = self.queue.front_mut().map_or(Method::Other, |front| {
            if only && front.holds_body {
                // The answer came instead of `100 Continue`; the body may never come (RFC 9110, 10.1.1).
                self.request.doubtful = true;
            }
            front.method
        });
        let tunnel = method == Method::Connect && (200..300).contains(&head.status);
        if head.status == 101 || tunnel {
            self.response_ends(sink);
            self.abandon(seen.at_ns, Outcome::Unknown, sink);
            self.forget_early(sink);
            self.opaque = true;
            return;
        }
        self.response.doubtful = false;
        self.response.phase = if cut {
            Phase::unseen(head.fields.chunked)
        } else {
            response_framing(method, head, sink)
        };
        if self.response.phase == Phase::Head {
            self.response_ends(sink);
        }
    }

    /// Bytes went by that can't be read; they may be the answer.
    fn response_strayed(&mut self, sink: &mut dyn Sink) {
        self.answer.strayed = !self.queue.is_empty();
        self.request_turned(sink);
    }

    /// A response begins. If only one request was sent, it has ended before, though its end can't be seen.
    #[inline]
    fn request_turned(&mut self, sink: &mut dyn Sink) {
        if self.receiving && self.queue.len() == 1 && matches!(self.request.phase, Phase::Unseen { .. }) {
            sink.lost(Loss::FramingUnknown);
            self.receiving = false;
            self.request.phase = Phase::Lost;
        }
    }

    /// The response is complete, or has ended as far as can be told.
    fn response_ends(&mut self, sink: &mut dyn Sink) {
        let answer = std::mem::take(&mut self.answer);
        self.response.phase = Phase::Head;
        self.response.doubtful = false;
        if !answer.begun {
            return;
        }
        if answer.orphan {
            if !answer.counted && self.early.replace(answer).is_some() {
                sink.lost(Loss::ResponseWithoutRequest);
            }
            return;
        }
        let outcome = if answer.status == 0 || answer.end_lost {
            Outcome::Unknown
        } else {
            Outcome::Answered
        };
        self.finish_front(&answer, outcome, answer.last_ns, sink);
    }

    fn response_gap(&mut self, missing: u64, lost: bool, seen: Seen, sink: &mut dyn Sink) {
        let account = |this: &mut Self, bytes: u64| {
            if lost {
                this.answer.bytes += bytes;
                this.answer.end_lost = true;
            } else {
                this.answer.moved(bytes, seen.at_ns);
                this.quiet_since_ns = seen.at_ns;
            }
        };
        if self.answer.orphan && self.response.doubtful {
            self.answer.strayed |= !self.queue.is_empty();
        }
        match self.response.phase {
            Phase::Length(left) => {
                account(self, missing.min(left));
                if missing >= left {
                    self.response_ends(sink);
                } else {
                    self.response.phase = Phase::Length(left - missing);
                }
                if missing > left {
                    self.response_missed(missing - left, lost, seen, sink);
                }
                return;
            }
            Phase::Chunked(mut chunks) => {
                account(self, missing);
                if chunks.skip(missing) {
                    self.response.phase = Phase::Chunked(chunks);
                    return;
                }
                self.response.phase = Phase::unseen(true);
            }
            Phase::UntilClose => return account(self, missing),
            Phase::Unseen { .. } => {
                account(self, missing);
                self.response.phase.forget_recent();
            }
            Phase::Head => {
                let Some(partial) = self.response.partial.take() else {
                    return self.response_missed(missing, lost, seen, sink);
                };
                self.response_cut(&partial.bytes, partial.first, seen, sink);
                if self.response.phase == Phase::Lost {
                    return;
                }
                account(self, missing);
            }
            Phase::Lost => self.response_strayed(sink),
        }
        if self.queue.len() > 1 {
            // Its end may be among what is missing, and other answers too.
            self.response_missed(0, lost, seen, sink);
        }
    }

    /// Responses went by without their heads being seen: one at least, or some if records were lost.
    fn response_missed(&mut self, bytes: u64, lost: bool, seen: Seen, sink: &mut dyn Sink) {
        if !lost {
            sink.lost(Loss::HeadCut);
        }
        if self.queue.len() == 1 && !lost {
            self.request_turned(sink);
            self.answer.begun = true;
            self.answer.first_ns = seen.at_ns;
            self.answer.moved(bytes, seen.at_ns);
            self.response.phase = Phase::unseen(false);
            return;
        }
        self.orphaned = true;
        self.whole = false;
        if !lost {
            self.unsure |= self.queue.len() > 1;
        } else if self.pipelined {
            self.unsure |= !self.queue.is_empty();
        } else {
            // A client that waits for answers has had all but the last one: no more are due than follow.
            self.unsure = false;
        }
        self.abandon(seen.at_ns, Outcome::Unknown, sink);
        self.answer = Answer::default();
        self.response = Side::new(Phase::Lost);
    }
}

/// Both halves.
impl Http1 {
    fn new(from_start: bool) -> Self {
        let phase = if from_start { Phase::Head } else { Phase::Lost };
        Self {
            request: Side::new(phase),
            response: Side::new(phase),
            queue: Queue::default(),
            answer: Answer::default(),
            early: None,
            request_closed_ns: None,
            response_closed_ns: None,
            quiet_since_ns: 0,
            receiving: false,
            whole: true,
            missed: false,
            orphaned: false,
            from_start,
            pipelined: false,
            unsure: false,
            proven: false,
            opaque: false,
            strays: 0,
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
        let (outcome, closed_ns) = match (self.request_closed_ns, self.response_closed_ns) {
            (Some(client), Some(server)) if server < client => (Outcome::ServerClosed, server),
            (Some(client), _) => (Outcome::ClientAborted, client),
            (None, Some(server)) => (Outcome::ServerClosed, server),
            (None, None) => (Outcome::Unknown, at_ns),
        };
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

/// RFC 9112, 6.3, for responses. [`Phase::Head`] if there is no body.
fn response_framing(method: Method, head: &ResponseHead<'_>, sink: &mut dyn Sink) -> Phase {
    let fields = &head.fields;
    if method == Method::Head || matches!(head.status, 204 | 304) {
        Phase::Head
    } else if fields.chunked {
        Phase::Chunked(Chunked::START)
    } else if fields.transfer_encoding {
        Phase::UntilClose
    } else if fields.length_invalid {
        sink.lost(Loss::Malformed);
        Phase::unseen(false)
    } else {
        match fields.content_length {
            Some(0) => Phase::Head,
            Some(length) => Phase::Length(length),
            None => Phase::UntilClose,
        }
    }
}

fn finish(pending: &Pending, answer: &Answer, outcome: Outcome, at_ns: u64, sink: &mut dyn Sink) {
    sink.ended(
        pending.ticket,
        &Ended {
            outcome,
            status: (answer.status != 0).then_some(answer.status),
            times: Times {
                arrival_ns: pending.arrival_ns,
                request_first_ns: pending.first_ns,
                request_last_ns: pending.last_ns,
                response_first_ns: answer.begun.then_some(answer.first_ns),
                response_last_ns: at_ns,
            },
            request_bytes: pending.bytes,
            response_bytes: answer.bytes,
        },
    );
}
