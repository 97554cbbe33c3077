//! DNS over UDP, RFC 1035, 4.2.1: a datagram is a message.
//!
//! No port says that it is DNS. A query is taken for one if it is a message to its last byte, with one question of a known
//! class; an answer, if a query with its id and its question waits for it, which no other protocol's datagrams are by chance.
//!
//! What it deliberately does not do: multicast DNS and LLMNR (RFC 6762, 4795) have the same form, but what is asked there
//! is asked of everybody, and mostly answered by nobody; `NetBIOS` names (RFC 1002) have it too. They are passed over: by
//! their addresses, by the ports that their specifications fix, and by their type of records. An answer without its question
//! (some servers' FORMERR) is none.

use std::net::SocketAddr;

use super::message::{Message, Question};
use super::{CLASSES, QUERY, names, question_hash, tell_addresses};
use crate::exchange::{ErrorCode, Sink};

/// Multicast DNS and LLMNR.
const EVERYBODYS_PORTS: [u16; 2] = [5353, 5355];
/// NB, RFC 1002, 4.2.1.2; it is nothing else's any more.
const NETBIOS_NAME: u16 = 32;

/// What pairs a query with its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    id: u16,
    /// Stands for the question.
    question: u64,
}

/// What a datagram is.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// A query.
    Query(Key, Query<'a>),
    /// An answer.
    Answer(Key, Answer<'a>),
}

/// A query.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    opcode: u8,
    question: Question<'a>,
}

impl Query<'_> {
    /// Writes what it is called.
    pub fn operation(&self, to: &mut String) {
        names::operation(self.opcode, &self.question, to);
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The error that it is.
    pub error: Option<ErrorCode>,
    /// Records of its answer section.
    pub records: u16,
    message: Message<'a>,
}

impl Answer<'_> {
    /// Tells the addresses that it answers a process with, if it has some.
    pub fn tell_addresses(&self, tgid: u32, at_ns: u64, sink: &mut dyn Sink) {
        if self.error.is_none() {
            tell_addresses(&self.message, (tgid, at_ns), sink);
        }
    }
}

impl<'a> Content<'a> {
    /// Reads a datagram of so many bytes, of which the first ones are there, between these ends.
    pub fn of(bytes: &'a [u8], length: u32, ends: [Option<SocketAddr>; 2]) -> Option<Self> {
        let is_everybodys = |end: &SocketAddr| end.ip().is_multicast() || EVERYBODYS_PORTS.contains(&end.port());
        if ends.iter().flatten().any(is_everybodys) {
            return None;
        }
        let message = Message::of(bytes)?;
        let (header, question) = (message.header, message.question?);
        let [questions, answers, ..] = header.counts;
        if questions != 1 || !CLASSES.contains(&question.class) || question.kind == NETBIOS_NAME {
            return None;
        }
        let key = Key {
            id: header.id,
            question: question_hash(&question),
        };
        if header.is_response {
            return Some(Self::Answer(
                key,
                Answer {
                    error: names::rcode(header.rcode),
                    records: answers,
                    message,
                },
            ));
        }
        let whole = bytes.len() as u64 == u64::from(length);
        let is_query = !header.is_truncated && header.rcode == 0 && (header.opcode != QUERY || answers == 0);
        (is_query && (message.is_exact() || !whole)).then_some(Self::Query(
            key,
            Query {
                opcode: header.opcode,
                question,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x03www\x07example\x03com\0\0\x01\0\x01";

    fn read(bytes: &[u8], ends: [Option<SocketAddr>; 2]) -> Option<String> {
        let length = u32::try_from(bytes.len()).unwrap();
        Content::of(bytes, length, ends).map(|content| match content {
            Content::Query(_, query) => {
                let mut operation = String::new();
                query.operation(&mut operation);
                operation
            }
            Content::Answer(_, answer) => {
                format!("{} {:?}", answer.records, answer.error)
            }
        })
    }

    #[track_caller]
    fn check(header: &[u8; 12], rest: &[u8], expected: Option<&str>) {
        let bytes = [header, rest].concat();
        assert_eq!(
            read(&bytes, [None, None]).as_deref(),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }

    #[test]
    fn a_query_is_a_message_to_its_last_byte() {
        const HEADER: &[u8; 12] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0";
        const WITH_OPT: &[u8; 12] = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01";
        let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
        check(HEADER, QUESTION, Some("A www.example.com"));
        check(HEADER, &[QUESTION, b"\0"].concat(), None);
        check(HEADER, &QUESTION[..QUESTION.len() - 1], None);
        check(WITH_OPT, &[QUESTION, opt].concat(), Some("A www.example.com"));
        check(WITH_OPT, &[QUESTION, opt, b"\0"].concat(), None);
        check(WITH_OPT, QUESTION, None);
        check(HEADER, b"\x01a\0\0\x01\0\x02", None);
        check(HEADER, b"\x01a\0\0\x20\0\x01", None);
    }

    #[test]
    fn an_answer_says_how_it_went() {
        check(b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0", QUESTION, Some("2 None"));
        check(
            b"\x12\x34\x81\x83\0\x01\0\0\0\0\0\0",
            QUESTION,
            Some("0 Some(\"NXDOMAIN\")"),
        );
    }

    #[test]
    fn what_is_asked_of_everybody_is_passed_over() {
        let bytes = [&b"\0\0\0\0\0\x01\0\0\0\0\0\0"[..], QUESTION].concat();
        for (end, expected) in [
            ("224.0.0.251:5353", None),
            ("[ff02::1:3]:5355", None),
            ("0.0.0.0:5353", None),
            ("10.0.0.1:53", Some("A www.example.com")),
            ("10.0.0.1:4053", Some("A www.example.com")),
        ] {
            assert_eq!(read(&bytes, [None, end.parse().ok()]).as_deref(), expected, "{end}");
        }
    }

    #[test]
    fn any_bytes_are_read() {
        proptest::proptest!(|(bytes: Vec<u8>, more: u8)| {
            let length = u32::try_from(bytes.len()).unwrap() + u32::from(more);
            let _ = Content::of(&bytes, length, [None, None]);
        });
        // What begins like a message, cut and changed anywhere.
        let answer = [
            &b"\x12\x34\x81\x80\0\x01\0\x02\0\x01\0\x01"[..],
            QUESTION,
            &b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01".repeat(4),
        ]
        .concat();
        proptest::proptest!(|(end in 0..=answer.len(), place in 0..answer.len(), byte: u8)| {
            let mut bytes = answer.clone();
            bytes[place] = byte;
            let _ = Content::of(&bytes[..end], u32::try_from(answer.len()).unwrap(), [None, None]);
        });
    }
}
