//! HTTP/2, RFC 9113: frames of many streams on one connection; each stream is one exchange.
//!
//! [`blank`] is for recordings. Read in this order: [`frame`] (nine bytes that say what follows), [`huffman`] and
//! [`hpack`] (what a header block says), [`stream`] (an exchange under way), then the [`Http2`] dissector here. A half is always in one [`Phase`]. Of payloads
//! only header blocks are read; of all others the length is enough, so bytes that were not captured are no loss there.
//! Where a frame's header is missing, nothing can be said of what follows until bytes come that begin like frames:
//! exchanges that may have ended meanwhile end as [`Outcome::Unknown`], and the table of the header blocks is forgotten.
//! A connection that was there before the agent is one of which both halves are lost at first.

pub mod blank;
mod frame;
mod hpack;
mod huffman;
mod stream;
#[cfg(test)]
mod tests;

use memchr::memchr;
use smallvec::SmallVec;

use self::frame::{Frame, HEADER_BYTES, PREFACE, flag, kind};
use self::hpack::{Field, MAX_VALUE_BYTES, Table};
pub(super) use self::stream::Stream;
use self::stream::{Asks, Head, Streams};
use super::cached::CacheFields;
use super::http1::head::is_method;
use super::{AnyDissector, Chunk, Dissector, Gap, Half, ProtocolEntry, Seen, Verdict, closed_first};
use crate::event::{Change, Direction};
use crate::exchange::{Loss, Outcome, Protocol, Request, Said, Sink, StreamKind, UNKNOWN};
use crate::request_log::{NOTHING, Values, Wanted};

/// How to recognise HTTP/2 and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "http/2",
    detect: |beginning| detect(beginning.bytes, beginning.direction),
    dissector: |_from_start| AnyDissector::Http2(Box::new(Http2::new())),
};

/// A header block that is longer is taken as cut.
const MAX_BLOCK_BYTES: usize = 32 * 1024;
/// Bytes of a preface that no method of HTTP/1 begins like (RFC 9113, 3.4).
const TELLING_BYTES: usize = 8;
/// Bytes of a buffer for texts that stay allocated.
const USUAL_TEXT_BYTES: usize = 512;
/// So many times bytes may turn out to be no frames before the connection is given up.
const MAX_STRAYS: u8 = 8;
/// The stream of a request that was upgraded.
const UPGRADED_STREAM: u32 = 1;

fn detect(first: &[u8], direction: Direction) -> Option<Direction> {
    let known = first.len().min(PREFACE.len());
    if known >= TELLING_BYTES && first[..known] == PREFACE[..known] {
        return Some(direction);
    }
    // A connection that was there before: which half it is shows in a header block.
    Some(match half_of_frames(first)? {
        Half::Request => direction,
        Half::Response => direction.opposite(),
    })
}

/// Which half these bytes are of, if they are frames as far as they show, and there is a whole header block among them.
fn half_of_frames(mut bytes: &[u8]) -> Option<Half> {
    let mut half = None;
    while let Some(header) = bytes.first_chunk() {
        let frame = Frame::of(*header);
        if !frame.is_plausible() || frame.kind == kind::CONTINUATION {
            return None;
        }
        let end = HEADER_BYTES + frame.length as usize;
        let Some((payload, rest)) = bytes[HEADER_BYTES..].split_at_checked(end - HEADER_BYTES) else {
            break;
        };
        bytes = rest;
        if half.is_none() && frame.kind == kind::HEADERS && frame.has(flag::END_HEADERS) {
            let mut fields = Fields::default();
            let block = frame::fragment(frame, payload)?;
            Table::new()
                .read(block, &NOTHING, |field, value| fields.take(field, value))
                .ok()?;
            half = match (&fields.method, fields.status) {
                (Some(_), None) => Some(Half::Request),
                (None, Some(_)) => Some(Half::Response),
                _ => return None,
            };
        }
    }
    half
}

/// Where a half's next byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In the client's preface; so many bytes of it have come.
    Preface(usize),
    /// At a frame's header, or in it.
    Header,
    /// In a payload; so many bytes of it are left.
    Payload(Frame, u32),
    /// Somewhere.
    Lost,
}

/// One half of the conversation.
#[derive(Debug)]
struct Side {
    phase: Phase,
    /// A frame's header of which a part has come, and how much.
    header: [u8; HEADER_BYTES],
    held: usize,
    /// The first byte of the frame.
    first: Option<Seen>,
    /// What was captured of a payload that is read.
    payload: Vec<u8>,
    /// Some of it was not, or does not fit.
    payload_cut: bool,
    /// A header block that goes on in the next frame.
    block: Option<Box<Block>>,
    table: Table,
}

/// A header block under way.
#[derive(Clone, Debug)]
struct Block {
    /// The frame that it began in.
    frame: Frame,
    first: Seen,
    /// Bytes of all its frames, headers included.
    wire_bytes: u64,
    bytes: Vec<u8>,
    cut: bool,
}

/// What a header block says.
#[derive(Debug, Default)]
struct Fields {
    /// All texts, as they come.
    text: String,
    method: Option<Place>,
    path: Option<Place>,
    authority: Option<Place>,
    host: Option<Place>,
    request_id: Option<Place>,
    correlation_id: Option<Place>,
    traceparent: Option<Place>,
    /// Those that the operator chose, and whether a value of them was too long.
    chosen: SmallVec<[(u8, Place); 4]>,
    chosen_cut: bool,
    content: Content,
    content_length: Option<u64>,
    status: Option<u16>,
    grpc_status: Option<u16>,
    protocol: Option<Place>,
    cache: CacheFields,
    /// Some fields could not be known.
    unknown: bool,
}

/// What a message's content type says of how it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Content {
    /// Nothing.
    #[default]
    Any,
    /// gRPC messages: `application/grpc`, with what they are or not; gRPC-Web is none.
    Grpc,
    /// Server-sent events.
    Events,
}

impl Content {
    fn of(content_type: &[u8]) -> Self {
        let begins_with = |name: &[u8], ends: &[u8]| {
            let (begin, rest) = content_type.split_at_checked(name.len()).unwrap_or_default();
            begin.eq_ignore_ascii_case(name) && rest.first().is_none_or(|next| ends.contains(next))
        };
        if begins_with(b"application/grpc", b"+; ") {
            Self::Grpc
        } else if begins_with(b"text/event-stream", b"; \t") {
            Self::Events
        } else {
            Self::Any
        }
    }
}

/// Where a field's text lies in [`Fields::text`].
#[derive(Clone, Copy, Debug)]
struct Place {
    begin: u32,
    end: u32,
}

/// The dissector of one connection.
#[derive(Debug)]
pub struct Http2 {
    request: Side,
    response: Side,
    streams: Streams,
    /// Something came.
    begun: bool,
    /// Room for the texts of header blocks.
    text: String,
    /// gRPC calls were made over it.
    grpc: bool,
    opaque: bool,
    strays: u8,
    request_closed_ns: Option<u64>,
    response_closed_ns: Option<u64>,
}

impl Dissector for Http2 {
    fn bytes(&mut self, chunk: Chunk<'_>, sink: &mut dyn Sink) -> Verdict {
        let seen = Seen::of(&chunk);
        if !self.begun {
            self.begin_with(chunk.half, chunk.bytes);
        }
        self.resume(chunk.half, chunk.bytes);
        self.read(chunk.half, chunk.bytes, seen, sink);
        self.verdict()
    }

    fn gap(&mut self, gap: Gap<'_>, sink: &mut dyn Sink) -> Verdict {
        let tail = gap.tail.filter(|tail| tail.len() as u64 <= gap.missing).unwrap_or(&[]);
        let seen = Seen::of_gap(&gap);
        self.skip(gap.half, gap.missing - tail.len() as u64, gap.lost, seen, sink);
        self.read(gap.half, tail, seen, sink);
        self.verdict()
    }

    fn closed(&mut self, half: Option<Half>, at_ns: u64, change: Change, sink: &mut dyn Sink) {
        match half {
            Some(Half::Request) => _ = self.request_closed_ns.get_or_insert(at_ns),
            Some(Half::Response) => _ = self.response_closed_ns.get_or_insert(at_ns),
            None => {}
        }
        // A client that has said all may still be answered.
        if matches!(change, Change::Reset | Change::Destroyed) || half == Some(Half::Response) {
            let (outcome, closed_ns) = closed_first(self.request_closed_ns, self.response_closed_ns, at_ns);
            self.streams.end_all(outcome, closed_ns, sink);
        }
    }

    fn cut(&mut self, at_ns: u64, outcome: Outcome, sink: &mut dyn Sink) {
        self.streams.end_all(outcome, at_ns, sink);
        self.request.lose();
        self.response.lose();
    }

    fn awaits(&self, half: Half) -> bool {
        !self.opaque && self.streams.awaits(half)
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.request.heap_bytes()
            + self.response.heap_bytes()
            + self.streams.heap_bytes()
            + self.text.capacity()
    }
}

impl Side {
    fn new(phase: Phase) -> Self {
        Self {
            phase,
            header: [0; HEADER_BYTES],
            held: 0,
            first: None,
            payload: Vec::new(),
            payload_cut: false,
            block: None,
            table: Table::new(),
        }
    }

    /// It is not known where the next frame begins, nor what was said meanwhile.
    fn lose(&mut self) {
        self.phase = Phase::Lost;
        self.held = 0;
        self.payload = Vec::new();
        self.block = None;
        self.table.forget();
    }

    /// The next bytes of a payload that is read.
    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_BLOCK_BYTES.saturating_sub(self.payload.len());
        self.payload_cut |= bytes.len() > room;
        self.payload.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn heap_bytes(&self) -> usize {
        let block = self.block.as_ref();
        let block = block.map_or(0, |block| size_of::<Block>() + block.bytes.capacity());
        self.payload.capacity() + block + self.table.heap_bytes()
    }
}

impl Http2 {
    fn new() -> Self {
        Self {
            request: Side::new(Phase::Preface(0)),
            response: Side::new(Phase::Header),
            streams: Streams::default(),
            begun: false,
            text: String::new(),
            grpc: false,
            opaque: false,
            strays: 0,
            request_closed_ns: None,
            response_closed_ns: None,
        }
    }

    /// What HTTP/1.1 was upgraded to (RFC 7540, 3.2): the first stream answers the request that asked for it, and the
    /// client's preface is still to come.
    pub(super) fn upgraded(first: Stream) -> Self {
        let mut this = Self::new();
        this.begun = true;
        this.streams.insert(UPGRADED_STREAM, first);
        this
    }

    /// The first bytes: without a preface the connection was there before.
    fn begin_with(&mut self, half: Half, bytes: &[u8]) {
        self.begun = true;
        let known = bytes.len().min(TELLING_BYTES);
        if half == Half::Response || bytes[..known] != PREFACE[..known] {
            self.request.lose();
            self.response.lose();
        }
    }

    fn side(&mut self, half: Half) -> &mut Side {
        match half {
            Half::Request => &mut self.request,
            Half::Response => &mut self.response,
        }
    }

    fn verdict(&self) -> Verdict {
        if self.opaque {
            Verdict::Opaque
        } else {
            Verdict::Continue
        }
    }

    /// A half that was lost comes back with bytes that begin like frames: programs write whole ones.
    fn resume(&mut self, half: Half, bytes: &[u8]) {
        let side = self.side(half);
        if side.phase == Phase::Lost && begins_frames(bytes) {
            side.phase = Phase::Header;
        }
    }

    /// The next bytes of a half.
    fn read(&mut self, half: Half, mut bytes: &[u8], seen: Seen, sink: &mut dyn Sink) {
        while !bytes.is_empty() && !self.opaque {
            let side = self.side(half);
            match side.phase {
                Phase::Preface(come) => {
                    let length = bytes.len().min(PREFACE.len() - come);
                    let (now, rest) = bytes.split_at(length);
                    if now != &PREFACE[come..come + length] {
                        self.opaque = true; // another protocol
                        return;
                    }
                    bytes = rest;
                    side.phase = match come + length {
                        come if come == PREFACE.len() => Phase::Header,
                        come => Phase::Preface(come),
                    };
                }
                Phase::Header => {
                    if side.held == 0 {
                        side.first = Some(seen);
                        // Nearly always it comes whole.
                        if let Some((header, rest)) = bytes.split_first_chunk() {
                            bytes = rest;
                            self.begin(half, Frame::of(*header), seen, sink);
                            continue;
                        }
                    }
                    let length = bytes.len().min(HEADER_BYTES - side.held);
                    let (now, rest) = bytes.split_at(length);
                    side.header[side.held..side.held + length].copy_from_slice(now);
                    side.held += length;
                    bytes = rest;
                    if side.held == HEADER_BYTES {
                        side.held = 0;
                        let frame = Frame::of(side.header);
                        self.begin(half, frame, seen, sink);
                    }
                }
                Phase::Payload(frame, left) => {
                    let length = bytes.len().min(left as usize);
                    let (now, rest) = bytes.split_at(length);
                    bytes = rest;
                    if length == frame.length as usize && length <= MAX_BLOCK_BYTES {
                        // All of it, where it lies.
                        self.complete(half, frame, now, seen, sink);
                        continue;
                    }
                    if is_read(frame) {
                        side.keep(now);
                    }
                    #[expect(clippy::cast_possible_truncation, reason = "at most `left`")]
                    self.advance(half, frame, left - length as u32, seen, sink);
                }
                Phase::Lost => return,
            }
        }
    }

    /// The next bytes of a half were not captured.
    fn skip(&mut self, half: Half, missing: u64, lost: bool, seen: Seen, sink: &mut dyn Sink) {
        let mut missing = missing;
        while missing > 0 && !self.opaque {
            let side = self.side(half);
            let Phase::Payload(frame, left) = side.phase else {
                if side.phase != Phase::Lost {
                    if !lost {
                        sink.lost(Loss::FramingUnknown);
                    }
                    self.lose(half, seen.at_ns, sink);
                }
                return;
            };
            let length = u32::try_from(missing).map_or(left, |missing| left.min(missing));
            missing -= u64::from(length);
            side.payload_cut |= is_read(frame);
            self.advance(half, frame, left - length, seen, sink);
        }
    }

    /// It is not known any more where frames begin.
    fn lose(&mut self, half: Half, at_ns: u64, sink: &mut dyn Sink) {
        self.side(half).lose();
        self.streams.doubt(half, at_ns, sink);
    }

    /// Bytes are no frames.
    fn malformed(&mut self, half: Half, at_ns: u64, sink: &mut dyn Sink) {
        sink.lost(Loss::Malformed);
        self.lose(half, at_ns, sink);
        self.strays += 1;
        self.opaque = self.strays >= MAX_STRAYS;
    }

    /// A frame's header is complete.
    fn begin(&mut self, half: Half, frame: Frame, seen: Seen, sink: &mut dyn Sink) {
        let side = self.side(half);
        // Frames of unknown types are to be ignored; nothing may come between the frames of a block (RFC 9113, 4.3, 5.5).
        let in_order = match &side.block {
            Some(block) => frame.kind == kind::CONTINUATION && frame.stream == block.frame.stream,
            None => frame.kind != kind::CONTINUATION,
        };
        if !in_order || (frame.kind <= kind::CONTINUATION && !frame.is_plausible()) {
            return self.malformed(half, seen.at_ns, sink);
        }
        side.payload_cut = false;
        self.advance(half, frame, frame.length, seen, sink);
    }

    /// So many bytes of a frame are left.
    fn advance(&mut self, half: Half, frame: Frame, left: u32, seen: Seen, sink: &mut dyn Sink) {
        let side = self.side(half);
        if left > 0 {
            side.phase = Phase::Payload(frame, left);
            return;
        }
        let mut payload = std::mem::take(&mut side.payload);
        self.complete(half, frame, &payload, seen, sink);
        // What was read of it goes no further; nor does a large buffer stay.
        payload.clear();
        payload.shrink_to(MAX_BLOCK_BYTES / 8);
        self.side(half).payload = payload;
    }

    /// A frame is at its end; of its payload, what is read.
    fn complete(&mut self, half: Half, frame: Frame, payload: &[u8], seen: Seen, sink: &mut dyn Sink) {
        let side = self.side(half);
        side.phase = Phase::Header;
        let first = side.first.unwrap_or(seen);
        let wire_bytes = HEADER_BYTES as u64 + u64::from(frame.length);
        match frame.kind {
            kind::DATA => self.streams.data(half, frame, wire_bytes, seen.at_ns, sink),
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                let begun = side.block.take();
                let cut = side.payload_cut;
                let fragment = frame::fragment(frame, payload);
                if begun.is_none() && frame.has(flag::END_HEADERS) {
                    let block = Block {
                        frame,
                        first,
                        wire_bytes,
                        bytes: Vec::new(),
                        cut: cut || fragment.is_none(),
                    };
                    return self.block(half, &block, fragment.unwrap_or_default(), seen, sink);
                }
                let mut block = begun.unwrap_or_else(|| {
                    Box::new(Block {
                        frame,
                        first,
                        wire_bytes: 0,
                        bytes: Vec::new(),
                        cut: false,
                    })
                });
                block.wire_bytes += wire_bytes;
                block.cut |= cut;
                match fragment {
                    Some(fragment) if block.bytes.len() + fragment.len() <= MAX_BLOCK_BYTES => {
                        block.bytes.extend_from_slice(fragment);
                    }
                    _ => block.cut = true,
                }
                if frame.has(flag::END_HEADERS) {
                    self.block(half, &block, &block.bytes, seen, sink);
                } else {
                    side.block = Some(block);
                }
            }
            kind::RST_STREAM => self.streams.reset(half, frame.stream, seen.at_ns, sink),
            kind::GOAWAY if half == Half::Response => {
                if let Some(last) = payload.first_chunk().map(|last| u32::from_be_bytes(*last)) {
                    self.streams.refuse(last & 0x7fff_ffff, seen.at_ns, sink);
                }
            }
            _ => {}
        }
    }

    /// A header block is complete.
    fn block(&mut self, half: Half, block: &Block, bytes: &[u8], seen: Seen, sink: &mut dyn Sink) {
        let mut fields = Fields {
            text: std::mem::take(&mut self.text),
            ..Fields::default()
        };
        self.take_block(half, block, bytes, &mut fields, seen, sink);
        self.text = fields.text;
        self.text.clear();
        self.text.shrink_to(USUAL_TEXT_BYTES);
    }

    fn take_block(
        &mut self,
        half: Half,
        block: &Block,
        bytes: &[u8],
        fields: &mut Fields,
        seen: Seen,
        sink: &mut dyn Sink,
    ) {
        let (table, wanted) = (&mut self.side(half).table, sink.wants());
        // Of answers nothing was chosen, but what is in the table stays alike.
        let takes = |fields: &mut Fields, field, value: &[u8]| {
            fields.take(field, value);
            if half == Half::Request && !wanted.names().is_empty() {
                fields.take_chosen(field, value, wanted);
            }
        };
        if block.cut {
            sink.lost(Loss::HeadCut);
            table.forget();
            fields.unknown = true;
        } else if table
            .read(bytes, wanted, |field, value| takes(fields, field, value))
            .is_err()
        {
            sink.lost(Loss::Malformed);
            table.forget();
            fields.unknown = true;
        } else if fields.unknown {
            sink.lost(Loss::FieldUnknown);
        }
        if block.frame.kind == kind::PUSH_PROMISE {
            return; // what a server pushes was asked for by nobody
        }
        let (id, ends) = (block.frame.stream, block.frame.has(flag::END_STREAM));
        match half {
            Half::Request if self.streams.is_asked(id) || fields.is_trailer() => {
                self.streams
                    .request_goes_on(id, block.wire_bytes, ends, seen.at_ns, sink);
            }
            Half::Request => {
                let (method, path) = fields.target();
                let (path, query) = split(path, b'?');
                let first = block.first;
                // Whose content type went by unseen is what those before it were.
                let grpc = fields.content == Content::Grpc || (fields.unknown && self.grpc);
                self.grpc |= grpc;
                let mut chosen = Values::default();
                for (name, place) in &fields.chosen {
                    let value = fields.text(Some(*place)).unwrap_or_default();
                    chosen.push(*name, value.as_bytes());
                }
                let ticket = sink.opened(&Request {
                    protocol: if grpc { Protocol::Grpc } else { Protocol::Http2 },
                    method,
                    path: split(path, b'#').0,
                    query: split(query, b'#').0,
                    host: fields.text(fields.authority.or(fields.host)),
                    request_id: fields.text(fields.request_id.or(fields.correlation_id)),
                    said: Said {
                        traceparent: fields.text(fields.traceparent),
                        chosen: chosen.all(),
                        cut: fields.unknown || fields.chosen_cut,
                    },
                    first_ns: first.at_ns,
                    tgid: first.tgid,
                    tid: first.tid,
                });
                let asks = Asks {
                    connects: (method == "CONNECT").then(|| fields.connects_to()),
                    grpc,
                    head: method == "HEAD",
                };
                let stream = Stream::asked(ticket, first.at_ns, first.arrival_ns, asks);
                self.streams.open(id, stream, sink);
                self.streams
                    .request_goes_on(id, block.wire_bytes, ends, seen.at_ns, sink);
            }
            Half::Response => {
                let head = Head {
                    status: fields.status,
                    tid: block.first.tid,
                    grpc_status: fields.grpc_status,
                    content_length: fields.content_length,
                    unknown: fields.unknown,
                    event_stream: fields.content == Content::Events,
                    cached: fields.status.and_then(|status| fields.cache.verdict(status)),
                    bytes: block.wire_bytes,
                    ends,
                    first_ns: block.first.at_ns,
                    last_ns: seen.at_ns,
                };
                self.streams.answer(id, &head, sink);
            }
        }
    }
}

impl Fields {
    fn take(&mut self, field: Field, value: &[u8]) {
        match field {
            Field::Method if !is_method(value) => self.method = None,
            Field::Method => self.method = self.put(value),
            Field::Path => self.path = self.put(value),
            Field::Authority => self.authority = self.put(value),
            Field::Host => self.host = self.put(value),
            Field::RequestId => self.request_id = self.put(value),
            Field::CorrelationId => self.correlation_id = self.put(value),
            Field::TraceParent => self.traceparent = self.put(value),
            Field::ContentType => self.content = Content::of(value),
            Field::ContentLength => {
                let text = std::str::from_utf8(value).ok();
                self.content_length = text.and_then(|text| text.parse().ok());
            }
            Field::Status => self.status = number(value),
            Field::GrpcStatus => self.grpc_status = number(value),
            Field::Protocol => self.protocol = self.put(value),
            Field::Cache(field) => self.cache.take(field, value),
            // See `take_chosen`.
            Field::Chosen(_) | Field::Other => {}
            Field::Unknown => self.unknown = true,
        }
    }

    /// Keeps one that the operator chose.
    fn take_chosen(&mut self, field: Field, value: &[u8], wanted: &Wanted) {
        let place = match field {
            Field::Chosen(place) => Some(place),
            field => field.name().and_then(|name| wanted.names().find(name.as_bytes())),
        };
        if let Some(name) = place {
            self.chosen_cut |= value.len() >= MAX_VALUE_BYTES;
            if let Some(place) = self.put(value) {
                self.chosen.push((name, place));
            }
        }
    }

    /// Keeps a text. One that is empty says nothing.
    fn put(&mut self, value: &[u8]) -> Option<Place> {
        let begin = self.text.len();
        match std::str::from_utf8(value) {
            Ok(text) => self.text.push_str(text),
            Err(_) => self.text.push_str(&String::from_utf8_lossy(value)),
        }
        let place = |at| u32::try_from(at).ok();
        (!value.is_empty()).then_some(Place {
            begin: place(begin)?,
            end: place(self.text.len())?,
        })
    }

    fn text(&self, place: Option<Place>) -> Option<&str> {
        place.and_then(|place| self.text.get(place.begin as usize..place.end as usize))
    }

    /// What CONNECT asks for: a tunnel, or by RFC 8441 another protocol.
    fn connects_to(&self) -> StreamKind {
        match self.text(self.protocol) {
            Some("websocket") => StreamKind::WebSocket,
            None if self.path.is_none() => StreamKind::Tunnel,
            _ => StreamKind::Upgrade,
        }
    }

    /// All of it is known, and it begins no message.
    fn is_trailer(&self) -> bool {
        !self.unknown && self.method.is_none() && self.path.is_none()
    }

    /// Method and path; of CONNECT, which has no path, where to (RFC 9113, 8.5).
    fn target(&self) -> (&str, &str) {
        let method = self.text(self.method).unwrap_or(UNKNOWN);
        let path = self.text(self.path);
        let authority = || self.text(self.authority).filter(|_| method == "CONNECT");
        (method, path.or_else(authority).unwrap_or(UNKNOWN))
    }
}

/// What stands before the first one of a letter of ASCII, and behind it.
fn split(text: &str, letter: u8) -> (&str, &str) {
    memchr(letter, text.as_bytes()).map_or((text, ""), |place| (&text[..place], &text[place + 1..]))
}

/// A number in digits.
fn number(value: &[u8]) -> Option<u16> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let add = |number: u16, byte: &u8| number.checked_mul(10)?.checked_add(digit(byte)?);
    value.iter().try_fold(0, add).filter(|_| !value.is_empty())
}

/// Of these the payload is read, not only its length.
fn is_read(frame: Frame) -> bool {
    frame.is_block() || frame.kind == kind::GOAWAY
}

/// Do these bytes begin with a frame, and go on with frames as far as they show?
fn begins_frames(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk() else {
        return false;
    };
    let frame = Frame::of(*header);
    // A block's middle is of no use without its beginning.
    if !frame.is_plausible() || frame.kind == kind::CONTINUATION {
        return false;
    }
    match bytes.get(HEADER_BYTES + frame.length as usize..) {
        Some(next) if next.len() >= HEADER_BYTES => next
            .first_chunk()
            .is_some_and(|header| Frame::of(*header).is_plausible()),
        _ => true,
    }
}
