//! MongoDB: <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>.
//!
//! The operation is the command and the collection it is about (`find users`); nothing else of a document is kept, and of what
//! is not a collection's name not even that. An answer names its request, so pairs are certain whatever their order. A
//! request that wants no answer (`moreToCome`: unacknowledged writes) is no exchange. Several answers to one
//! request (an exhaust cursor) are one exchange until the last of them; to a `hello` they are a stream.
//!
//! A `hello` or `getMore` that was asked to wait has ` await` behind its name. What `OP_COMPRESSED` holds is unseen: it is
//! called `(compressed)`, which is told once per connection, and whether it failed is not known. Documents are read as far
//! as they were captured, [`REPLY_BYTES`] at most: of longer answers the number of documents is not known.

mod blank;
mod bson;
mod operation;
mod reply;
#[cfg(test)]
pub(super) mod tests;

use self::bson::{LENGTH, int32, length};
pub(crate) use self::operation::is_await;
use self::operation::{Operation, is_of_commands, namespace};
use self::reply::Reply;
use super::framed::{self, Language, Measure, Message, Pairs, Talk};
use super::{Beginning, Half, ProtocolEntry, Seen, Verdict};
use crate::event::Direction;
use crate::exchange::{ErrorCode, Loss, Outcome, Protocol, StreamKind, Ticket};

/// How to recognise MongoDB and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "mongodb",
    detect,
    dissector: framed::dissector::<Mongodb>,
};

/// Bytes of a message's header.
const HEADER: usize = 16;
/// Longest message (`maxMessageSizeBytes` is 48,000,000), and a little more.
const MAX_MESSAGE: usize = 48 << 20;
/// Bytes that are read of a request's body: a command's first elements.
const REQUEST_BYTES: usize = 1024;
/// Bytes that are read of an answer's body.
const REPLY_BYTES: usize = 15 * 1024;

/// Bytes of an `OP_REPLY` before its documents: flags, a cursor, where it started, and how many there are.
const OLD_REPLY: usize = 20;
/// Flag of an `OP_REPLY`: its document is an error.
const QUERY_FAILURE: u32 = 1 << 1;

/// Operations of the protocol.
mod code {
    pub(super) const REPLY: i32 = 1;
    pub(super) const UPDATE: i32 = 2001;
    pub(super) const INSERT: i32 = 2002;
    pub(super) const QUERY: i32 = 2004;
    pub(super) const GET_MORE: i32 = 2005;
    pub(super) const DELETE: i32 = 2006;
    pub(super) const KILL_CURSORS: i32 = 2007;
    pub(super) const COMPRESSED: i32 = 2012;
    pub(super) const MSG: i32 = 2013;
}

/// Flags of `OP_MSG`.
mod flag {
    pub(super) const CHECKSUM_PRESENT: u32 = 1;
    pub(super) const MORE_TO_COME: u32 = 1 << 1;
    pub(super) const EXHAUST_ALLOWED: u32 = 1 << 16;
}

/// A message's header.
#[derive(Clone, Copy, Debug)]
struct Header {
    /// Bytes behind it.
    body: usize,
    id: i32,
    response_to: i32,
    code: i32,
}

impl Header {
    /// The header at the beginning of these bytes; `None` if they begin none.
    fn of(half: Half, bytes: &[u8]) -> Option<Self> {
        let header = Self {
            body: length(bytes, 0)?.checked_sub(HEADER)?,
            id: int32(bytes, 4)?,
            response_to: int32(bytes, 8)?,
            code: int32(bytes, 12)?,
        };
        let known = match half {
            Half::Request => matches!(
                header.code,
                code::UPDATE
                    | code::INSERT
                    | code::QUERY
                    | code::GET_MORE
                    | code::DELETE
                    | code::KILL_CURSORS
                    | code::COMPRESSED
                    | code::MSG
            ),
            Half::Response => matches!(header.code, code::REPLY | code::COMPRESSED | code::MSG),
        };
        (known && header.body > 0 && header.body <= MAX_MESSAGE).then_some(header)
    }
}

fn detect(beginning: &Beginning<'_>) -> Option<Direction> {
    begins_request(beginning.bytes).then_some(beginning.direction)
}

/// Does a request begin here? Servers often read its header alone.
fn begins_request(bytes: &[u8]) -> bool {
    let Some(header) = Header::of(Half::Request, bytes).filter(|header| header.response_to == 0) else {
        return false;
    };
    let body = &bytes[HEADER..];
    match (header.code, body) {
        (code::MSG | code::QUERY | code::COMPRESSED, []) => true,
        (code::MSG, _) => flags(body).is_some_and(|flags| {
            let known = flag::CHECKSUM_PRESENT | flag::MORE_TO_COME | flag::EXHAUST_ALLOWED;
            flags & !known == 0 && body.get(4).is_none_or(|kind| *kind <= 1)
        }),
        (code::QUERY, _) => body
            .get(4..)
            .and_then(namespace)
            .is_some_and(|(namespace, _)| namespace.contains(&b'.') && namespace.is_ascii()),
        // What is compressed is one of the others.
        (code::COMPRESSED, _) => matches!(int32(body, 0), Some(code::UPDATE..=code::KILL_CURSORS | code::MSG)),
        _ => false,
    }
}

fn flags(body: &[u8]) -> Option<u32> {
    int32(body, 0).map(i32::cast_unsigned)
}

/// The document of an `OP_MSG` that is not one of a sequence, as far as it is there.
fn body_section(body: &[u8]) -> &[u8] {
    let mut at = 4;
    loop {
        match body.get(at) {
            Some(0) => return &body[at + 1..],
            // A sequence of documents, of a length that counts itself.
            Some(1) => match length(body, at + 1).and_then(|bytes| at.checked_add(bytes)) {
                Some(next) if next > at => at = next + 1,
                _ => return &[],
            },
            _ => return &[],
        }
    }
}

/// What is remembered of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// It, or the last answer to it that said that more would come: the next one answers that.
    id: i32,
    kind: Kind,
    /// An answer came, and more will.
    more: bool,
}

/// What of an answer is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// How many documents were changed.
    Writes,
    /// That it may be one of many.
    Hello,
    /// How many documents there are, which a header tells.
    Query,
    /// Nothing is known of it.
    Compressed,
    Other,
}

/// A message whose header was read.
#[derive(Clone, Copy, Debug)]
struct Begun {
    header: Header,
    first: Seen,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mongodb {
    asking: Option<Begun>,
    answering: Option<Begun>,
    /// The body that is being read is of a request that was opened.
    opened: bool,
    /// The answer whose body is being read, and whether more come.
    answered: Option<(Header, bool)>,
    /// What is compressed was told of.
    compressed: bool,
    /// The server tells of its state; the message that the next one answers.
    stream: Option<(Ticket, i32)>,
}

impl Language for Mongodb {
    type Note = Note;

    fn measure(&self, half: Half, bytes: &[u8]) -> Measure {
        let (begun, most) = match half {
            Half::Request => (&self.asking, REQUEST_BYTES),
            Half::Response => (&self.answering, REPLY_BYTES),
        };
        if let Some(Begun { header, .. }) = begun {
            return Measure::Message {
                head: header.body.min(most),
                length: header.body as u64,
            };
        }
        match Header::of(half, bytes) {
            Some(_) => Measure::Message {
                head: HEADER,
                length: HEADER as u64,
            },
            None if bytes.len() < HEADER => Measure::More,
            None => Measure::Malformed,
        }
    }

    fn head(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        let begun = match message.half {
            Half::Request => &mut self.asking,
            Half::Response => &mut self.answering,
        };
        match (begun.take(), message.half) {
            (None, half) => {
                let first = message.first;
                *begun = Header::of(half, message.head).map(|header| Begun { header, first });
                if let (Half::Response, Some(begun)) = (half, *begun) {
                    self.answer_begins(&begun, talk);
                }
            }
            (Some(begun), Half::Request) => self.request(&begun, message, talk),
            (Some(begun), Half::Response) => self.answer(&begun, message, talk),
        }
        Verdict::Continue
    }

    fn end(&mut self, half: Half, at: Seen, talk: &mut Talk<'_, Note>) {
        match half {
            Half::Request if std::mem::take(&mut self.opened) => talk.asked(at.at_ns),
            Half::Response => {
                if let Some((header, more)) = self.answered.take() {
                    self.answer_ends(header, more, at.at_ns, talk);
                }
            }
            Half::Request => {}
        }
    }

    fn resumes(&self, half: Half, bytes: &[u8]) -> bool {
        match half {
            Half::Request => begins_request(bytes),
            Half::Response => Header::of(half, bytes).is_some_and(|header| header.response_to != 0),
        }
    }

    fn blank(&self, half: Half, head: &mut [u8], waiting: &Pairs<Note>) {
        let begun = match half {
            Half::Request => &self.asking,
            Half::Response => &self.answering,
        };
        let Some(Begun { header, .. }) = *begun else {
            // Of a header all stays, if it can be one.
            if head.len() >= LENGTH && length(head, 0).is_none_or(|length| length > HEADER + MAX_MESSAGE) {
                framed::cover(head);
            }
            return;
        };
        match (half, header.code) {
            (Half::Request, code::MSG) => blank::message(head, blank::Document::COMMAND),
            (Half::Response, code::MSG) => blank::message(head, blank::Document::Reply),
            (_, code::QUERY) => blank::query(head),
            (_, code::GET_MORE) => blank::get_more(head),
            // Which operation it holds.
            (_, code::COMPRESSED) => framed::cover_behind(head, 4),
            (_, code::REPLY) => {
                let is_of_command = waiting
                    .note(|note| note.id == header.response_to)
                    .is_some_and(|note| note.kind != Kind::Query);
                let failed = flags(head).is_some_and(|flags| flags & QUERY_FAILURE != 0);
                match head.get_mut(OLD_REPLY..) {
                    Some(document) if is_of_command || failed => blank::document(document, blank::Document::Reply),
                    Some(documents) => framed::cover(documents),
                    None => {}
                }
            }
            _ => framed::cover(head),
        }
    }

    fn forget(&mut self, half: Half) {
        match half {
            Half::Request => {
                self.asking = None;
                self.opened = false;
            }
            Half::Response => {
                self.answering = None;
                self.answered = None;
            }
        }
    }

    fn over(&mut self, outcome: Outcome, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some((stream, _)) = self.stream.take() {
            talk.stream_ended(stream, at_ns, outcome);
        }
    }
}

impl Mongodb {
    fn request(&mut self, begun: &Begun, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let Begun { header, first } = *begun;
        let body = message.head;
        let (operation, kind) = match header.code {
            code::MSG => {
                if flags(body).is_some_and(|flags| flags & flag::MORE_TO_COME != 0) {
                    return;
                }
                command(body_section(body))
            }
            code::QUERY => match body.get(4..).and_then(namespace) {
                // Behind what to skip and what to return.
                Some((name, rest)) if is_of_commands(name) => command(rest.get(8..).unwrap_or_default()),
                Some((name, _)) => (Operation::of_namespace("query", name), Kind::Query),
                None => (Operation::of_name("query"), Kind::Query),
            },
            code::GET_MORE => {
                let name = body.get(4..).and_then(namespace).map_or(&[][..], |(name, _)| name);
                (Operation::of_namespace("getMore", name), Kind::Query)
            }
            code::COMPRESSED => {
                self.is_compressed(talk);
                (Operation::of_name("(compressed)"), Kind::Compressed)
            }
            // The others have no answer.
            _ => return,
        };
        let note = Note {
            id: header.id,
            kind,
            more: false,
        };
        talk.open(
            (Protocol::Mongodb, operation.as_str()),
            first,
            HEADER as u64 + message.length,
            note,
        );
        self.opened = true;
    }

    fn is_compressed(&mut self, talk: &mut Talk<'_, Note>) {
        if !std::mem::replace(&mut self.compressed, true) {
            talk.sink.lost(Loss::Compressed);
        }
    }

    /// An answer's header is there.
    fn answer_begins(&mut self, begun: &Begun, talk: &mut Talk<'_, Note>) {
        let Begun { header, first } = *begun;
        if self.is_of_stream(header) {
            return;
        }
        if let Some(asked) = find(header, talk).and_then(|place| talk.at(place)) {
            return asked.answers(first.at_ns, HEADER as u64);
        }
        talk.sink.lost(Loss::ResponseWithoutRequest);
        if talk.oldest().is_none() {
            // Requests that were not kept are not waited for.
            talk.end_all(Outcome::Unknown, first.at_ns);
        }
    }

    fn is_of_stream(&self, header: Header) -> bool {
        self.stream.is_some_and(|(_, id)| id == header.response_to)
    }

    /// An answer's body is there.
    fn answer(&mut self, begun: &Begun, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let Begun { header, first } = *begun;
        let body = message.head;
        let more = header.code == code::MSG && flags(body).is_some_and(|flags| flags & flag::MORE_TO_COME != 0);
        self.answered = Some((header, more));
        if header.code == code::COMPRESSED {
            self.is_compressed(talk);
        }
        if let Some((stream, _)) = self.stream.filter(|_| self.is_of_stream(header)) {
            let bytes = HEADER as u64 + message.length;
            talk.stream_moved(stream, first.at_ns, [0, bytes], Some([0, 1]));
            return;
        }
        let Some(asked) = find(header, talk).and_then(|place| talk.at(place)) else {
            return;
        };
        asked.answers(first.at_ns, message.length);
        let (error, rows) = match header.code {
            code::MSG => {
                let reply = Reply::of(body_section(body));
                let rows = if asked.note.kind == Kind::Writes {
                    reply.changed
                } else {
                    reply.batch
                };
                (reply.error, rows)
            }
            code::REPLY => old_reply(body, asked.note.kind),
            _ => (None, None),
        };
        asked.error = error;
        let before = if asked.note.more { asked.tally.rows } else { Some(0) };
        asked.tally.rows = before.zip(rows).map(|(before, rows)| before.saturating_add(rows));
    }

    fn answer_ends(&mut self, header: Header, more: bool, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if self.is_of_stream(header) {
            if let Some((stream, id)) = &mut self.stream {
                *id = header.id;
                let stream = *stream;
                if !more {
                    self.stream = None;
                    talk.stream_ended(stream, at_ns, Outcome::Answered);
                }
            }
            return;
        }
        let Some(mut place) = find(header, talk) else { return };
        // Servers answer in order. What was compressed and has no answer wanted none.
        while place > 0 && talk.oldest().is_some_and(|asked| asked.note.kind == Kind::Compressed) {
            talk.given_up(at_ns);
            place -= 1;
        }
        let Some(asked) = talk.at(place) else { return };
        if !more {
            return talk.answered_at(place, at_ns);
        }
        asked.note.id = header.id;
        asked.note.more = true;
        if asked.note.kind == Kind::Hello && place == 0 && self.stream.is_none() {
            let stream = talk.becomes_stream(at_ns, StreamKind::Subscription);
            self.stream = stream.map(|stream| (stream, header.id));
        }
    }
}

/// The request that an answer is to.
fn find(header: Header, talk: &mut Talk<'_, Note>) -> Option<usize> {
    talk.find(|note| note.id == header.response_to)
}

fn command(document: &[u8]) -> (Operation, Kind) {
    let operation = Operation::of_command(document);
    let kind = match operation {
        Operation { writes: true, .. } => Kind::Writes,
        Operation { is_hello: true, .. } => Kind::Hello,
        _ => Kind::Other,
    };
    (operation, kind)
}

/// An `OP_REPLY`: its error and how many documents it has.
fn old_reply(body: &[u8], kind: Kind) -> (Option<ErrorCode>, Option<u64>) {
    const CURSOR_NOT_FOUND: u32 = 1;
    let document = body.get(OLD_REPLY..).unwrap_or_default();
    let flags = flags(body).unwrap_or(0);
    if kind != Kind::Query {
        return (Reply::of(document).error, None);
    }
    if flags & QUERY_FAILURE != 0 {
        let error = Reply::of(document).error;
        return (error.or(Some(ErrorCode::new(b"QueryFailure"))), None);
    }
    let rows = int32(body, 16).and_then(|count| u64::try_from(count).ok());
    let missing = flags & CURSOR_NOT_FOUND != 0;
    (
        missing.then(|| ErrorCode::new(b"CursorNotFound")),
        rows.filter(|_| !missing),
    )
}
