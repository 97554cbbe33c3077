//! Apache Kafka's protocol, <https://kafka.apache.org/protocol.html>, as brokers and clients of any version speak it.
//!
//! A request and its answer belong together by the correlation id. The operation is the API, with the topic where records
//! are moved: `Produce orders`, `Fetch orders`, `Metadata`. Requests about several topics are one operation, whichever they
//! are: `Produce (several topics)`. Where a version says a topic's id only, and no answer to Metadata on the same connection
//! told its name, it is `Fetch (topic id)`; where nothing of topics is known, `Fetch`. A Fetch that goes on with a session
//! is about the session's topics, whether or not it names them.
//!
//! Each size is a message of its own to [`framed`], and what it is the size of the next one: many programs read them apart,
//! so that a conversation may also begin behind its first size.
//!
//! What it deliberately does not do: it reads no record, no key, no group's or member's name, and nothing of SASL. Of errors
//! it knows those within the first bytes of answers whose version's layout is known (see [`api`]); all others are told
//! without an error. `Produce` with `acks=0` gets no answer, so it is no exchange.

mod api;
mod blank;
mod errors;
mod ids;
mod reader;
mod request;
mod response;
#[cfg(test)]
pub(super) mod tests;

use std::fmt::Write as _;

use self::ids::Ids;
use self::reader::Reader;
use self::request::{Header, Records, Topic, Topics};
use super::framed::{self, Language, Measure, Message, Pairs, Talk};
use super::{Beginning, Half, ProtocolEntry, Seen, Verdict};
use crate::event::Direction;
use crate::exchange::{Loss, Protocol};

/// How to recognise Kafka and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "kafka",
    detect,
    dissector: framed::dissector::<Kafka>,
};

/// Bytes of a size.
const SIZE_BYTES: usize = 4;
/// No message is longer: brokers refuse requests beyond 100 MiB (`socket.request.max.bytes`), if nobody tells them otherwise.
/// So a size begins with no letter.
const MAX_SIZE: usize = 1 << 28;
/// A request whose size was read apart is of the small ones that a connection begins with.
const MAX_APART: usize = 4096;
/// Bytes of a request that are looked at: enough for its header, a transaction's id and a topic's name.
const REQUEST_HEAD: usize = 1024;
/// Bytes of an answer that are: enough for what Metadata tells of some topics.
const RESPONSE_HEAD: usize = 4096;
/// An answer whose id is so far behind the last request's is none to it, where it is not known where answers begin.
const RECENT: i32 = 1024;
/// Stands for a topic of which only the id is known.
const TOPIC_ID: &str = "(topic id)";
const SEVERAL_TOPICS: &str = "(several topics)";

/// Does an exchange of this operation wait for records, or for other members of a group?
pub(super) fn waits(operation: &str) -> bool {
    let api = operation.split(' ').next().unwrap_or_default();
    matches!(api, "Fetch" | "ShareFetch" | "JoinGroup" | "SyncGroup")
}

fn detect(beginning: &Beginning<'_>) -> Option<Direction> {
    let (bytes, length) = (beginning.bytes, beginning.length as usize);
    let is_request = if begins_request(bytes) {
        let whole = size(bytes).unwrap_or(0).saturating_add(SIZE_BYTES);
        // Longer ones are sent in parts; several may be sent at once.
        whole <= length || length >= 1024
    } else {
        length == bytes.len() && begins_apart(bytes)
    };
    is_request.then_some(beginning.direction)
}

fn size(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()
}

/// Does a request begin here, with its size?
fn begins_request(bytes: &[u8]) -> bool {
    let Some((size, request)) = size(bytes).zip(bytes.get(SIZE_BYTES..)) else {
        return false;
    };
    (Header::BYTES..=MAX_SIZE).contains(&size) && Header::of(request).is_some_and(|header| header.fits(size))
}

/// Does a request begin here whose size was read before? Are these all of its bytes?
fn begins_apart(bytes: &[u8]) -> bool {
    let size = bytes.len();
    // As a key, what a size begins with is Produce, which no connection begins with.
    let is_first = |header: &Header<'_>| header.key != api::PRODUCE && api::of(header.key).is_some();
    size < MAX_APART && Header::of(bytes).is_some_and(|header| header.fits(size) && is_first(&header))
}

/// What is remembered of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    id: i32,
    key: i16,
    version: i16,
}

/// A half of which a size was read, and who moved it.
#[derive(Clone, Copy, Debug)]
struct Sized {
    size: usize,
    first: Seen,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kafka {
    /// Of the request that comes next, and of the answer.
    request: Option<Sized>,
    response: Option<Sized>,
    /// A request was read.
    began: bool,
    /// The request that is being read was opened.
    opened: bool,
    /// Id of the answer that is being read, if it is one to a request that waits.
    answering: Option<i32>,
    /// Id of the last request.
    last: i32,
    /// What follows are tokens of SASL, until a request comes (`SaslHandshake` of version 0).
    tokens: bool,
    ids: Ids,
    /// What the session of the last Fetch is about: a topic, or what stands for it; empty if it is not known.
    session: String,
    /// The operation of the last request; its room is used again.
    operation: String,
}

impl Language for Kafka {
    type Note = Note;

    fn measure(&self, half: Half, bytes: &[u8]) -> Measure {
        let (sized, least) = match half {
            Half::Request => (self.request, Header::BYTES),
            Half::Response => (self.response, 4),
        };
        let Some(Sized { size: length, .. }) = sized else {
            if half == Half::Request && !self.began && !begins_request(bytes) && begins_apart(bytes) {
                return whole_or_head(bytes.len(), REQUEST_HEAD);
            }
            let least = if self.tokens { 0 } else { least };
            return match size(bytes) {
                None => Measure::More,
                Some(size) if (least..=MAX_SIZE).contains(&size) => whole_or_head(SIZE_BYTES, SIZE_BYTES),
                Some(_) => Measure::Malformed,
            };
        };
        if half == Half::Response {
            return whole_or_head(length, RESPONSE_HEAD);
        }
        if bytes.len() < least.min(length) {
            return Measure::More;
        }
        match Header::of(bytes).filter(|header| header.is_within(length)) {
            Some(header) if matches!(header.key, api::PRODUCE | api::FETCH) => whole_or_head(length, REQUEST_HEAD),
            Some(_) => whole_or_head(length, least),
            None if self.tokens => whole_or_head(length, 0),
            None => Measure::Malformed,
        }
    }

    fn head(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        let sized = match message.half {
            Half::Request => &mut self.request,
            Half::Response => &mut self.response,
        };
        let (first, bytes) = match sized.take() {
            Some(Sized { first, .. }) => (first, message.length + SIZE_BYTES as u64),
            None if message.length > SIZE_BYTES as u64 => (message.first, message.length),
            None => {
                // Of a token that is empty nothing follows.
                let first = message.first;
                *sized = size(message.head)
                    .filter(|&size| size > 0)
                    .map(|size| Sized { size, first });
                return Verdict::Continue;
            }
        };
        match message.half {
            Half::Request => self.asks(message.head, first, bytes, talk),
            Half::Response => self.answers(message.head, first, bytes, talk),
        }
        Verdict::Continue
    }

    fn end(&mut self, half: Half, at: Seen, talk: &mut Talk<'_, Note>) {
        match half {
            Half::Request => {
                if std::mem::take(&mut self.opened) {
                    talk.asked(at.at_ns);
                }
            }
            Half::Response => {
                if let Some(id) = self.answering.take()
                    && let Some(place) = talk.find(|note| note.id == id)
                {
                    talk.answered_at(place, at.at_ns);
                }
            }
        }
    }

    fn resumes(&self, half: Half, bytes: &[u8]) -> bool {
        let Some(size) = size(bytes) else { return false };
        let apart = bytes.len() == SIZE_BYTES && size < MAX_APART;
        match half {
            Half::Request => begins_request(bytes) || apart && size >= Header::BYTES,
            Half::Response => {
                let id = bytes.get(SIZE_BYTES..).and_then(|rest| rest.first_chunk());
                let is_recent =
                    id.is_some_and(|id| (0..RECENT).contains(&self.last.wrapping_sub(i32::from_be_bytes(*id))));
                (4..=MAX_SIZE).contains(&size) && (apart || is_recent)
            }
        }
    }

    fn blank(&self, half: Half, head: &mut [u8], waiting: &Pairs<Note>) {
        let sized = match half {
            Half::Request => self.request,
            Half::Response => self.response,
        };
        if sized.is_none() && head.len() <= SIZE_BYTES {
            // It is a size, if it can be.
            let mut whole = [0; SIZE_BYTES];
            whole.iter_mut().zip(&*head).for_each(|(to, from)| *to = *from);
            if size(&whole).is_none_or(|size| size > MAX_SIZE) {
                framed::cover(head);
            }
            return;
        }
        if half == Half::Request {
            return blank::request(head);
        }
        let known = head.len().min(4);
        match waiting.note(|note| note.id.to_be_bytes().starts_with(&head[..known])) {
            Some(note) => match api::of(note.key) {
                Some(api) => blank::response(head, api, note.version),
                None => framed::cover_behind(head, 4),
            },
            None => framed::cover(head),
        }
    }

    fn forget(&mut self, half: Half) {
        match half {
            Half::Request => (self.request, self.opened) = (None, false),
            Half::Response => (self.response, self.answering) = (None, None),
        }
    }

    fn heap_bytes(&self) -> usize {
        self.ids.heap_bytes() + self.session.capacity() + self.operation.capacity()
    }
}

fn whole_or_head(length: usize, head: usize) -> Measure {
    Measure::Message {
        head: length.min(head),
        length: length as u64,
    }
}

impl Kafka {
    fn asks(&mut self, request: &[u8], first: Seen, bytes: u64, talk: &mut Talk<'_, Note>) {
        let Some(header) = Header::of(request) else { return };
        self.began = true;
        self.last = header.id;
        self.tokens = header.key == api::SASL_HANDSHAKE && header.version == 0;
        let moves_records = matches!(header.key, api::PRODUCE | api::FETCH);
        let records = moves_records.then(|| header.records());
        if records.is_some_and(|records| records.unanswered) {
            return;
        }
        let mut operation = std::mem::take(&mut self.operation);
        operation.clear();
        match api::of(header.key) {
            Some(api) => operation.push_str(api.name),
            // Writing to a string does not fail.
            None => _ = write!(operation, "Api {}", header.key),
        }
        if let Some(records) = records {
            self.name_topics(&records, header.key == api::FETCH, &mut operation);
        }
        let note = Note {
            id: header.id,
            key: header.key,
            version: header.version,
        };
        talk.open((Protocol::Kafka, &operation), first, bytes, note);
        self.operation = operation;
        self.opened = true;
    }

    /// Puts behind the API's name what it is about.
    fn name_topics(&mut self, records: &Records<'_>, fetches: bool, operation: &mut String) {
        let named = match records.topics {
            Topics::Unseen | Topics::None => "",
            Topics::One(Topic::Name(name)) => name,
            Topics::One(Topic::Id(id)) => self.ids.name(id).unwrap_or(TOPIC_ID),
            Topics::Several => SEVERAL_TOPICS,
        };
        let about = match &*self.session {
            "" => named,
            _ if !fetches || !records.in_session => named,
            // What it names is one of them.
            session if named.is_empty() || named == session => session,
            _ => SEVERAL_TOPICS,
        };
        if !about.is_empty() {
            operation.push(' ');
            operation.push_str(about);
        }
        if fetches && about != self.session && (!records.in_session || about == SEVERAL_TOPICS) {
            let about = about.len();
            self.session.clear();
            self.session.push_str(&operation[operation.len() - about..]);
        }
    }

    fn answers(&mut self, answer: &[u8], first: Seen, bytes: u64, talk: &mut Talk<'_, Note>) {
        let Some((id, body)) = answer.split_first_chunk() else {
            return;
        };
        let id = i32::from_be_bytes(*id);
        let Some(place) = talk.find(|note| note.id == id) else {
            if talk.oldest().is_none() && !self.tokens {
                talk.answered(first.at_ns);
            } else if !self.tokens {
                talk.sink.lost(Loss::ResponseWithoutRequest);
            }
            return;
        };
        self.answering = Some(id);
        let Some(asked) = talk.at(place) else { return };
        asked.answers(first.at_ns, bytes);
        let Note { key, version, .. } = asked.note;
        if let Some(api) = api::of(key) {
            let body = Reader::new(body, api.is_flexible(version));
            let mut learn = |id: &[u8; 16], name: &[u8]| self.ids.learn(id, name);
            let code = response::first_error(api.errors(version), version, body, &mut learn);
            asked.error = code.map(|code| errors::error(key, code));
        }
    }
}
