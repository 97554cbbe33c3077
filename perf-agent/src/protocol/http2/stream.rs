//! Streams, RFC 9113, 5: exchanges under way, by the number that the client gave them.
//!
//! Some go on as a stream in the sense of [`StreamKind`]. For tunnels and events their heads say so. Of gRPC the messages
//! are not seen, only the lengths and times of DATA frames; so a call counts as a stream when its frames leave no doubt:
//! the client went on sending after the server's messages had begun, or a half of it paused for [`PAUSE_NS`] behind bytes
//! so few that no frame's and no window's limit can have been in the way. A call that is not seen to stream, also a
//! streaming one that is over sooner, is an exchange like any other.

use hashbrown::hash_map::{Entry, OccupiedEntry};
use hashbrown::{DefaultHashBuilder, HashMap};

use super::super::Half;
use super::super::cached::Cached;
use super::frame::{Frame, flag};
use crate::exchange::{Ended, Loss, Outcome, Sink, StreamEnded, StreamKind, StreamMoved, Ticket, Times};

/// Exchanges in flight on one connection that are kept.
const MAX_STREAMS: usize = 2048;

/// A pause that no sender makes within a message.
const PAUSE_NS: u64 = 1_000_000_000;
/// So many bytes fit a frame (RFC 9113, 6.5.2), and the windows several times.
const ONE_FRAME_BYTES: u64 = 16_384;
/// Records of two directions change places by less.
const REORDERED_NS: u64 = 10_000_000;

/// An exchange under way.
#[derive(Debug, Default)]
pub(in super::super) struct Stream {
    /// `None` as long as only its answer was seen: two threads may have moved them, and the records change places by a
    /// moment.
    ticket: Option<Ticket>,
    times: Times,
    request_bytes: u64,
    response_bytes: u64,
    /// Bytes of its body that are still to come, where the answer tells its length.
    missing: Option<u64>,
    /// 0 if not seen.
    status: u16,
    /// Who moved the answer's first byte.
    tid: u32,
    /// Whether a cache had the answer, if it says so.
    cached: Option<Cached>,
    grpc_status: Option<u16>,
    /// Of a header block of the answer some fields could not be known.
    unknown: bool,
    asks: Asks,
    /// DATA of the request and of the response, so far.
    data: [Data; 2],
    /// It goes on as this once its answer's head and its request are there.
    becomes: Option<StreamKind>,
    /// It does: bytes of request and response that were told of.
    told: Option<[u64; 2]>,
    request_done: bool,
    response_done: bool,
}

/// What DATA frames of one half came to.
#[derive(Clone, Copy, Debug, Default)]
struct Data {
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asks {
    /// A tunnel, or what goes through it.
    pub(super) connects: Option<StreamKind>,
    /// A gRPC method.
    pub(super) grpc: bool,
    /// A head alone.
    pub(super) head: bool,
}

/// A header block of a response: interim, final or trailers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) status: Option<u16>,
    /// Who moved its first byte.
    pub(super) tid: u32,
    pub(super) grpc_status: Option<u16>,
    /// Bytes of the body, if it says so.
    pub(super) content_length: Option<u64>,
    /// Some fields could not be known.
    pub(super) unknown: bool,
    /// It begins server-sent events.
    pub(super) event_stream: bool,
    /// Whether a cache had the answer, if it says so.
    pub(super) cached: Option<Cached>,
    /// Bytes of its frames.
    pub(super) bytes: u64,
    /// Nothing follows.
    pub(super) ends: bool,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

/// Those of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<u32, Stream>,
}

impl Stream {
    /// The request that HTTP/1.1 was upgraded by: it is all there, and so far answered by a 101.
    pub(in super::super) fn upgraded(ticket: Ticket, times: Times, request_bytes: u64, response_bytes: u64) -> Self {
        Self {
            ticket: Some(ticket),
            times,
            request_bytes,
            response_bytes,
            request_done: true,
            ..Self::default()
        }
    }

    /// A request that began at `first_ns`.
    pub(super) fn asked(ticket: Ticket, first_ns: u64, arrival_ns: Option<u64>, asks: Asks) -> Self {
        let times = Times {
            arrival_ns,
            request_first_ns: first_ns,
            request_last_ns: first_ns,
            ..Times::default()
        };
        Self {
            ticket: Some(ticket),
            times,
            asks,
            ..Self::default()
        }
    }

    /// The status that counts.
    fn final_status(&self) -> Option<u16> {
        let http = (self.status != 0).then_some(self.status);
        if !self.asks.grpc {
            return http;
        }
        // One that stands where it cannot be read is none that is missing.
        let missing = || http.filter(|_| !self.unknown && self.response_done);
        self.grpc_status.or_else(|| missing().and_then(grpc_status_of))
    }

    /// It came to its end; of an answer whose head was not seen that is not known.
    fn answered(self, at_ns: u64, sink: &mut dyn Sink) {
        let headed = self.status != 0 || self.grpc_status.is_some();
        let outcome = if headed { Outcome::Answered } else { Outcome::Unknown };
        self.end(outcome, at_ns, sink);
    }

    fn end(mut self, outcome: Outcome, at_ns: u64, sink: &mut dyn Sink) {
        let Some(ticket) = self.ticket else {
            return sink.lost(Loss::ResponseWithoutRequest);
        };
        // A client may leave as soon as it has what the head promised, before the stream is said to end.
        let left = matches!(outcome, Outcome::ClientAborted | Outcome::ServerClosed);
        let whole = left && self.told.is_none() && self.status != 0 && self.missing == Some(0);
        let outcome = if whole { Outcome::Answered } else { outcome };
        if outcome != Outcome::Answered {
            self.times.response_last_ns = self.times.response_last_ns.max(at_ns);
        }
        if self.told.is_some() {
            self.tell(at_ns, sink);
            let ended = StreamEnded {
                outcome,
                status: self.final_status().filter(|_| self.asks.grpc),
                at_ns,
            };
            return sink.stream_ended(ticket, &ended);
        }
        sink.ended(ticket, &self.ended(outcome, None));
    }

    fn ended(&self, outcome: Outcome, stream: Option<StreamKind>) -> Ended {
        Ended {
            outcome,
            status: self.final_status(),
            error: None,
            tally: Cached::tally(self.cached),
            times: self.times,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            tid: self.tid,
            stream,
        }
    }

    /// Goes on as what it is to become, if it is time.
    fn settle(&mut self, sink: &mut dyn Sink) {
        let (Some(ticket), Some(kind), Some(first_ns)) = (self.ticket, self.becomes, self.times.response_first_ns)
        else {
            return;
        };
        self.becomes = None;
        let mut ended = self.ended(Outcome::Answered, Some(kind));
        ended.times.request_last_ns = ended.times.request_last_ns.min(first_ns);
        ended.times.response_last_ns = first_ns;
        // Its own code is how the stream ends.
        ended.status = ended.status.filter(|_| !self.asks.grpc);
        sink.ended(ticket, &ended);
        self.told = Some([self.request_bytes, self.response_bytes]);
    }

    /// Tells what went by of a stream.
    fn tell(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        let now = [self.request_bytes, self.response_bytes];
        if let (Some(ticket), Some(told)) = (self.ticket, self.told)
            && now != told
        {
            let moved = StreamMoved {
                at_ns,
                request_bytes: now[0] - told[0],
                response_bytes: now[1] - told[1],
                messages: None,
            };
            sink.stream_moved(ticket, &moved);
            self.told = Some(now);
        }
    }

    /// DATA went by, or what ends a half behind it. Does it show that a gRPC call is more than one message each way?
    fn shows_stream(&mut self, half: Half, bytes: u64, ends: bool, at_ns: u64) -> bool {
        let [request, response] = &mut self.data;
        let (this, answered) = match half {
            Half::Request => {
                let behind = response.first_ns.saturating_add(REORDERED_NS);
                (request, bytes > 0 && response.bytes > 0 && at_ns >= behind)
            }
            Half::Response => (response, false),
        };
        let few = this.bytes > 0 && this.bytes < ONE_FRAME_BYTES;
        let paused = few && (bytes > 0 || ends) && at_ns.saturating_sub(this.last_ns) >= PAUSE_NS;
        if bytes > 0 {
            this.first_ns = if this.bytes == 0 { at_ns } else { this.first_ns };
            this.bytes += bytes;
            this.last_ns = at_ns;
        }
        paused || answered
    }

    fn watch(&mut self, half: Half, bytes: u64, ends: bool, at_ns: u64) {
        if self.asks.grpc && self.told.is_none() && self.shows_stream(half, bytes, ends, at_ns) {
            self.becomes = Some(StreamKind::Grpc);
        }
    }

    /// Two ways for bytes, each with an end of its own.
    fn is_tunnel(&self) -> bool {
        self.asks.connects.is_some() && self.told.is_some()
    }
}

impl Streams {
    /// Was this request seen to begin?
    pub(super) fn is_asked(&self, id: u32) -> bool {
        self.open.get(&id).is_some_and(|stream| stream.ticket.is_some())
    }

    /// A request that began before.
    pub(super) fn insert(&mut self, id: u32, stream: Stream) {
        self.open.insert(id, stream);
    }

    /// A request began.
    pub(super) fn open(&mut self, id: u32, mut stream: Stream, sink: &mut dyn Sink) {
        if !self.open.is_empty()
            && let Some(early) = self.open.remove(&id)
        {
            stream.times.response_first_ns = early.times.response_first_ns;
            stream.times.response_last_ns = early.times.response_last_ns;
            stream.response_bytes = early.response_bytes;
            stream.status = early.status;
            stream.tid = early.tid;
            stream.cached = early.cached;
            stream.missing = early.missing;
            stream.grpc_status = early.grpc_status;
            stream.unknown = early.unknown;
            stream.becomes = early.becomes;
            stream.response_done = early.response_done;
        }
        if self.open.len() >= MAX_STREAMS {
            sink.lost(Loss::PipelineFull);
            return stream.end(Outcome::Unknown, 0, sink);
        }
        self.open.insert(id, stream);
    }

    /// More of a request came: its head, or trailers.
    pub(super) fn request_goes_on(&mut self, id: u32, bytes: u64, ends: bool, at_ns: u64, sink: &mut dyn Sink) {
        let Entry::Occupied(mut entry) = self.open.entry(id) else {
            return;
        };
        let stream = entry.get_mut();
        stream.request_bytes += bytes;
        stream.times.request_last_ns = at_ns;
        stream.request_done |= ends;
        stream.settle(sink);
        stream.tell(at_ns, sink);
        if stream.response_done && (stream.request_done || !stream.is_tunnel()) {
            entry.remove().answered(at_ns, sink);
        }
    }

    /// A header block of a response: interim, final or trailers.
    pub(super) fn answer(&mut self, id: u32, head: &Head, sink: &mut dyn Sink) {
        if id.is_multiple_of(2) {
            return; // pushed
        }
        let mut entry = match self.open.entry(id) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(_) => {
                // Trailers of what was not followed say nothing new.
                if head.status.is_none() || self.open.len() >= MAX_STREAMS {
                    return;
                }
                self.forget_early(sink);
                self.open.entry(id).insert(Stream::default())
            }
        };
        let stream = entry.get_mut();
        stream.response_bytes += head.bytes;
        if head.status.is_some_and(|status| (100..200).contains(&status)) {
            return;
        }
        if stream.times.response_first_ns.is_none() {
            stream.times.response_first_ns = Some(head.first_ns);
            stream.tid = head.tid;
            stream.status = head.status.unwrap_or(0);
            stream.cached = head.cached;
            let bodiless = stream.asks.head || matches!(stream.status, 204 | 304);
            stream.missing = if bodiless { Some(0) } else { head.content_length };
        }
        stream.grpc_status = stream.grpc_status.or(head.grpc_status);
        stream.unknown |= head.unknown;
        stream.times.response_last_ns = head.last_ns;
        if head.ends {
            stream.watch(Half::Response, 0, true, head.last_ns);
        } else if matches!(stream.status, 200..300) && stream.told.is_none() {
            let events = head.event_stream.then_some(StreamKind::EventStream);
            stream.becomes = stream.asks.connects.or(events).or(stream.becomes);
        }
        stream.settle(sink);
        stream.tell(head.last_ns, sink);
        if head.ends {
            response_ends(entry, head.last_ns, sink);
        }
    }

    /// A DATA frame went by.
    pub(super) fn data(&mut self, half: Half, frame: Frame, bytes: u64, at_ns: u64, sink: &mut dyn Sink) {
        let (id, ends) = (frame.stream, frame.has(flag::END_STREAM));
        match half {
            Half::Request => {
                if let Some(stream) = self.open.get_mut(&id) {
                    stream.watch(half, frame.length.into(), ends, at_ns);
                }
                self.request_goes_on(id, bytes, ends, at_ns, sink);
            }
            Half::Response => {
                let Entry::Occupied(mut entry) = self.open.entry(id) else {
                    return;
                };
                let stream = entry.get_mut();
                stream.watch(half, frame.length.into(), ends, at_ns);
                stream.settle(sink);
                stream.response_bytes += bytes;
                stream.missing = stream
                    .missing
                    .map(|missing| missing.saturating_sub(frame.length.into()));
                stream.times.response_last_ns = at_ns;
                stream.tell(at_ns, sink);
                if ends {
                    response_ends(entry, at_ns, sink);
                }
            }
        }
    }

    /// A stream was reset (RFC 9113, 6.4). One that was answered is gone already.
    pub(super) fn reset(&mut self, half: Half, id: u32, at_ns: u64, sink: &mut dyn Sink) {
        let outcome = match half {
            Half::Request => Outcome::ClientAborted,
            Half::Response => Outcome::ServerClosed,
        };
        self.finish(id, outcome, at_ns, sink);
    }

    /// The server has not looked at requests behind this one, and will not (RFC 9113, 6.8).
    pub(super) fn refuse(&mut self, last: u32, at_ns: u64, sink: &mut dyn Sink) {
        self.end_those(|id, _| id > last, Outcome::ServerClosed, at_ns, sink);
    }

    /// Frames of a half were missed: what may have ended in them is over.
    pub(super) fn doubt(&mut self, half: Half, at_ns: u64, sink: &mut dyn Sink) {
        let doubtful = |_, stream: &Stream| half == Half::Response || !stream.request_done;
        self.end_those(doubtful, Outcome::Unknown, at_ns, sink);
    }

    /// Nothing more will come.
    pub(super) fn end_all(&mut self, outcome: Outcome, at_ns: u64, sink: &mut dyn Sink) {
        self.end_those(|_, _| true, outcome, at_ns, sink);
    }

    /// Does a message of this half go on?
    pub(super) fn awaits(&self, half: Half) -> bool {
        match half {
            Half::Request => self.open.values().any(|stream| !stream.request_done),
            Half::Response => !self.open.is_empty(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.open.allocation_size()
    }

    fn finish(&mut self, id: u32, outcome: Outcome, at_ns: u64, sink: &mut dyn Sink) {
        if let Some(stream) = self.open.remove(&id) {
            stream.end(outcome, at_ns, sink);
        }
    }

    /// Answers whose requests did not come after all.
    fn forget_early(&mut self, sink: &mut dyn Sink) {
        self.end_those(
            |_, stream| stream.ticket.is_none() && stream.response_done,
            Outcome::Unknown,
            0,
            sink,
        );
    }

    /// Ends some, in the order in which they were opened.
    fn end_those(&mut self, which: impl Fn(u32, &Stream) -> bool, outcome: Outcome, at_ns: u64, sink: &mut dyn Sink) {
        let mut those: Vec<_> = self.open.extract_if(|id, stream| which(*id, stream)).collect();
        those.sort_unstable_by_key(|(id, _)| *id);
        for (_, stream) in those {
            stream.end(outcome, at_ns, sink);
        }
    }
}

/// An answer came to its end. One whose request did not come yet waits for it.
fn response_ends(mut entry: OccupiedEntry<'_, u32, Stream, DefaultHashBuilder>, at_ns: u64, sink: &mut dyn Sink) {
    let stream = entry.get_mut();
    stream.response_done = true;
    if stream.ticket.is_some() && (stream.request_done || !stream.is_tunnel()) {
        entry.remove().answered(at_ns, sink);
    }
}

/// The code of an answer that has none of its own, by its HTTP status; none of a 200: gRPC's "HTTP to gRPC Status Code
/// Mapping", <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>.
fn grpc_status_of(http: u16) -> Option<u16> {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match http {
        200 => None,
        400 => Some(INTERNAL),
        401 => Some(UNAUTHENTICATED),
        403 => Some(PERMISSION_DENIED),
        404 => Some(UNIMPLEMENTED),
        429 | 502..=504 => Some(UNAVAILABLE),
        _ => Some(UNKNOWN),
    }
}
