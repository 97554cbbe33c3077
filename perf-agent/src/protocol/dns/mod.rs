//! The domain name system over TCP, RFC 1035, 4.2.2 and RFC 7766: queries and their answers, in any order. What one message
//! holds is in [`message`], whichever way it comes; over UDP each is a [`datagram`].
//!
//! An answer belongs to the query with its id and its question. The operation is the type and the name that are asked for
//! (`A example.com`), without the parts of the name that may be anything (see [`names`]). A response code that is not
//! NOERROR is the error, NXDOMAIN too; the rows are the records of the answer.
//!
//! Each length is a message of its own to [`framed`], and what it is the length of the next one: servers read them apart.
//!
//! What it deliberately does not do: a transfer of a zone (AXFR, IXFR) is answered by messages of which the last one shows
//! only in its last record, so that its connection is given up, and the exchange is of unknown end. Stateful operations (RFC
//! 8490) are passed over. Extended response codes (RFC 6891) and anything else of EDNS are not read.

mod blank;
pub mod datagram;
pub mod message;
mod names;
#[cfg(test)]
pub(super) mod tests;

use std::net::IpAddr;

use smallvec::SmallVec;

use self::message::{HEADER_BYTES, Header, MAX_ADDRESSES, MAX_NAME, Message as Content, Question};
use super::framed::{self, Language, Measure, Message, Pairs, Talk};
use super::{Beginning, Half, ProtocolEntry, Seen, Verdict};
use crate::event::Direction;
use crate::exchange::{Loss, Protocol, Resolved, Sink};

/// How to recognise DNS and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "dns",
    detect,
    dissector: framed::dissector::<Dns>,
};

/// Bytes of a message's length.
const LENGTH_BYTES: usize = 2;
/// Bytes of a query that are looked at: its header and its question.
const HEAD: usize = HEADER_BYTES + 255 + 4;
/// Bytes of an answer that are: some records too.
const ANSWER_HEAD: usize = 1024;

/// Classes of records: the internet's, CHAOS, HESIOD, or any.
const CLASSES: [u16; 4] = [1, 3, 4, 255];

const QUERY: u8 = 0;
const NOTIFY: u8 = 4;
const UPDATE: u8 = 5;
/// Transfers of a zone.
const TRANSFERS: [u16; 2] = [251, 252];

fn detect(beginning: &Beginning<'_>) -> Option<Direction> {
    let length = beginning.length as usize;
    let (bytes, known) = (beginning.bytes, beginning.bytes.len());
    let is_query = match length_of(bytes) {
        Some(message) if LENGTH_BYTES + message <= length && begins_query(&bytes[LENGTH_BYTES..], message) => true,
        _ => known == length && begins_query(bytes, length),
    };
    is_query.then_some(beginning.direction)
}

fn length_of(bytes: &[u8]) -> Option<usize> {
    bytes
        .first_chunk()
        .map(|length| usize::from(u16::from_be_bytes(*length)))
}

/// Does a query of so many bytes begin here?
fn begins_query(bytes: &[u8], length: usize) -> bool {
    let Some(message) = Content::of(bytes) else {
        return false;
    };
    let header = message.header;
    let [questions, answers, _, _] = header.counts;
    let is_query = header.opcode == QUERY && answers == 0 || header.opcode == NOTIFY || header.opcode == UPDATE;
    let has_class = message
        .question
        .is_some_and(|question| CLASSES.contains(&question.class));
    // Nothing follows the question if no record is said to.
    let is_whole = header.counts[1..] == [0; 3];
    let end = message.question_end();
    let has_length = if is_whole { end == length } else { end < length };
    is_request(header) && questions == 1 && is_query && has_class && has_length
}

fn is_request(header: Header) -> bool {
    !header.is_response && !header.is_truncated && header.rcode == 0
}

/// What is remembered of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    id: u16,
    /// Stands for the question.
    question: u64,
}

/// A half of which a length was read, and who moved it.
#[derive(Clone, Copy, Debug)]
struct Measured {
    length: usize,
    first: Seen,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Dns {
    request: Option<Measured>,
    response: Option<Measured>,
    /// A query was read.
    began: bool,
    /// The query that is being read was opened.
    opened: bool,
    /// What is being read is the answer to this query.
    answering: Option<Note>,
    /// The operation of the last query; its room is used again.
    operation: String,
}

impl Language for Dns {
    type Note = Note;

    fn measure(&self, half: Half, bytes: &[u8]) -> Measure {
        let measured = match half {
            Half::Request => self.request,
            Half::Response => self.response,
        };
        let Some(Measured { length, .. }) = measured else {
            let Some(length) = length_of(bytes) else {
                return Measure::More;
            };
            if half == Half::Request && !self.began && begins_query(bytes, bytes.len()) {
                return Measure::Message {
                    head: bytes.len().min(HEAD),
                    length: bytes.len() as u64,
                };
            }
            return if length < HEADER_BYTES {
                Measure::Malformed
            } else {
                Measure::Message {
                    head: LENGTH_BYTES,
                    length: LENGTH_BYTES as u64,
                }
            };
        };
        match Header::of(bytes) {
            None => Measure::More,
            Some(header) if header.is_response == (half == Half::Response) => Measure::Message {
                head: length.min(if half == Half::Request { HEAD } else { ANSWER_HEAD }),
                length: length as u64,
            },
            Some(_) => Measure::Malformed,
        }
    }

    fn head(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        let measured = match message.half {
            Half::Request => &mut self.request,
            Half::Response => &mut self.response,
        };
        let (first, bytes) = match measured.take() {
            Some(Measured { first, .. }) => (first, message.length + LENGTH_BYTES as u64),
            None if message.length > LENGTH_BYTES as u64 => (message.first, message.length),
            None => {
                let first = message.first;
                *measured = length_of(message.head).map(|length| Measured { length, first });
                return Verdict::Continue;
            }
        };
        let Some(content) = Content::of(message.head) else {
            return Verdict::Continue;
        };
        match message.half {
            Half::Request => self.asks(&content, first, bytes, talk),
            Half::Response => {
                self.answers(&content, first, bytes, talk);
                Verdict::Continue
            }
        }
    }

    fn end(&mut self, half: Half, at: Seen, talk: &mut Talk<'_, Note>) {
        match half {
            Half::Request => {
                if std::mem::take(&mut self.opened) {
                    talk.asked(at.at_ns);
                }
            }
            Half::Response => {
                if let Some(note) = self.answering.take()
                    && let Some(place) = talk.find(|asked| asked.id == note.id && asked.question == note.question)
                {
                    talk.answered_at(place, at.at_ns);
                }
            }
        }
    }

    fn resumes(&self, half: Half, bytes: &[u8]) -> bool {
        let Some((length, message)) = length_of(bytes).zip(bytes.get(LENGTH_BYTES..)) else {
            return false;
        };
        if message.is_empty() {
            // Its length was read apart.
            return length >= HEADER_BYTES;
        }
        match half {
            Half::Request => begins_query(message, length),
            Half::Response => {
                length >= HEADER_BYTES
                    && Header::of(message).is_some_and(|header| header.is_response && header.counts[0] <= 1)
            }
        }
    }

    fn blank(&self, half: Half, head: &mut [u8], _waiting: &Pairs<Note>) {
        let measured = match half {
            Half::Request => self.request,
            Half::Response => self.response,
        };
        // Else it is a length, of which all stays.
        if measured.is_some() || head.len() > LENGTH_BYTES {
            blank::message(head);
        }
    }

    fn forget(&mut self, half: Half) {
        match half {
            Half::Request => (self.request, self.opened) = (None, false),
            Half::Response => (self.response, self.answering) = (None, None),
        }
    }

    fn heap_bytes(&self) -> usize {
        self.operation.capacity()
    }
}

/// Tells the addresses of an answer, if it has some.
fn tell_addresses(answer: &Content<'_>, (tgid, at_ns): (u32, u64), sink: &mut dyn Sink) {
    if !sink.heeds_names() {
        return;
    }
    let addresses: SmallVec<[IpAddr; MAX_ADDRESSES]> = answer.addresses().collect();
    if let Some(question) = answer.question.filter(|_| !addresses.is_empty()) {
        sink.resolved(&Resolved {
            tgid,
            name: question.name.text(&mut [0; MAX_NAME]),
            addresses: &addresses,
            ttl_s: answer.ttl_s(),
            at_ns,
        });
    }
}

/// Stands for a question among those that wait.
fn question_hash(question: &Question<'_>) -> u64 {
    let [kind, class] = [question.kind, question.class].map(u64::from);
    let mut hash = kind << 16 | class;
    let mut add = |word: u64| {
        // In letters of either case. The multiplier is 2^64 by the golden ratio.
        let word = word | 0x2020_2020_2020_2020;
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    };
    for label in question.name.labels() {
        let (words, rest) = label.as_chunks();
        for word in words {
            add(u64::from_ne_bytes(*word));
        }
        add(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }
    hash
}

impl Dns {
    fn asks(&mut self, query: &Content<'_>, first: Seen, bytes: u64, talk: &mut Talk<'_, Note>) -> Verdict {
        self.began = true;
        let Some(question) = &query.question else {
            return Verdict::Continue;
        };
        names::operation(query.header.opcode, question, &mut self.operation);
        let note = Note {
            id: query.header.id,
            question: question_hash(question),
        };
        talk.open((Protocol::Dns, &self.operation), first, bytes, note);
        self.opened = true;
        if TRANSFERS.contains(&question.kind) && query.header.opcode == QUERY {
            Verdict::Opaque
        } else {
            Verdict::Continue
        }
    }

    fn answers(&mut self, answer: &Content<'_>, first: Seen, bytes: u64, talk: &mut Talk<'_, Note>) {
        let header = answer.header;
        // An error may come without the question.
        let question = answer.question.as_ref().map(question_hash);
        let is = |asked: &Note| asked.id == header.id && question.is_none_or(|question| question == asked.question);
        let Some(place) = talk.find(is) else {
            if talk.oldest().is_none() {
                talk.answered(first.at_ns);
            } else {
                talk.sink.lost(Loss::ResponseWithoutRequest);
            }
            return;
        };
        let Some(asked) = talk.at(place) else { return };
        let note = Some(asked.note);
        asked.answers(first.at_ns, bytes);
        asked.error = names::rcode(header.rcode);
        asked.tally.rows = Some(header.counts[1].into());
        if header.rcode == 0 {
            tell_addresses(answer, (first.tgid, first.at_ns), talk.sink);
        }
        self.answering = note;
    }
}
