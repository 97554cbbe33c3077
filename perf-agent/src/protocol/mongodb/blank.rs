//! Takes values out of messages byte for byte, for recordings: of documents stay the lengths, the types, and what an operation
//! or an error is called by.

use super::bson::{LENGTH, has_length, kind, length, value_bytes};
use super::flag;
use super::operation::{GET_MORE, MAX_COMMAND, is_of_collection, is_of_commands, namespace};
use crate::protocol::framed::{cover, cover_behind};

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// A command; its first element was read: whose value is a collection, or whose `collection` is.
    Command {
        first: bool,
        gets_more: bool,
    },
    /// The answer to one.
    Reply,
    /// What went wrong with writes, in a row.
    Errors,
    /// One error.
    Error,
    Cursor,
    /// The documents of a cursor.
    Batch,
}

impl Document {
    pub(super) const COMMAND: Self = Self::Command {
        first: true,
        gets_more: false,
    };

    /// Names of elements that are looked for in it.
    fn names(self) -> &'static [&'static [u8]] {
        match self {
            Self::Command { .. } => &[b"collection", b"maxAwaitTimeMS", b"maxTimeMS"],
            Self::Reply => &[
                b"ok",
                b"$err",
                b"n",
                b"code",
                b"codeName",
                b"writeErrors",
                b"writeConcernError",
                b"cursor",
            ],
            Self::Error => &[b"code", b"codeName"],
            Self::Cursor => &[b"firstBatch", b"nextBatch"],
            Self::Errors | Self::Batch => &[],
        }
    }

    /// What becomes of a value of this type, of an element of this name; empty if it is none of [`Document::names`].
    fn value(self, kind: u8, name: &[u8]) -> Value {
        let is_number = matches!(kind, kind::DOUBLE | kind::BOOLEAN | kind::INT32 | kind::INT64);
        let holds = matches!(kind, kind::DOCUMENT | kind::ARRAY);
        match (self, name) {
            (Self::Reply, b"ok" | b"n" | b"code") | (Self::Error, b"code") if is_number => Value::Kept,
            (Self::Reply | Self::Error, b"codeName") | (Self::Command { gets_more: true, .. }, b"collection")
                if kind == kind::STRING =>
            {
                Value::Kept
            }
            (Self::Reply, b"writeErrors") if holds => Value::Holds(Self::Errors),
            (Self::Reply, b"writeConcernError") | (Self::Errors, _) if holds => Value::Holds(Self::Error),
            (Self::Reply, b"cursor") if holds => Value::Holds(Self::Cursor),
            (Self::Cursor, b"firstBatch" | b"nextBatch") if holds => Value::Holds(Self::Batch),
            _ => Value::Covered,
        }
    }
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Kept,
    Holds(Document),
    /// But for its length.
    Covered,
}

/// The body of an `OP_MSG`, or its beginning, whose document is this.
pub(super) fn message(body: &mut [u8], what: Document) {
    // Behind its flags.
    let mut at = size_of_val(&flag::MORE_TO_COME);
    loop {
        match body.get(at) {
            Some(0) => return document(&mut body[at + 1..], what),
            // A sequence of documents.
            Some(1) => {
                let next = length(body, at + 1).and_then(|bytes| at.checked_add(bytes));
                let begin = (at + 1 + LENGTH).min(body.len());
                match next {
                    Some(next) if next > at => {
                        let end = (next + 1).clamp(begin, body.len());
                        cover(&mut body[begin..end]);
                        at = next + 1;
                    }
                    _ => return cover_behind(body, begin),
                }
            }
            _ => return cover_behind(body, at),
        }
    }
}

/// The body of an `OP_QUERY`: flags, a namespace, two numbers, and a command if that is where the namespace leads.
pub(super) fn query(body: &mut [u8]) {
    const NUMBERS: usize = 8;
    let Some(named) = body.get(4..) else { return };
    let Some((name, rest)) = namespace(named) else { return };
    let behind = body.len() - rest.len();
    if is_of_commands(name) {
        if let Some(command) = body.get_mut(behind + NUMBERS..) {
            document(command, Document::COMMAND);
        }
    } else {
        cover_behind(body, behind);
    }
}

/// The body of an `OP_GET_MORE`: four bytes, and a namespace.
pub(super) fn get_more(body: &mut [u8]) {
    let rest = body.get(4..).and_then(namespace).map(|(_, rest)| rest.len());
    let kept = body.len() - rest.unwrap_or(0);
    cover_behind(body, kept);
}

/// A document at the beginning of these bytes, as far as it is there, and what is behind it.
pub(super) fn document(bytes: &mut [u8], what: Document) {
    let Some(end) = length(bytes, 0).filter(|&length| length > LENGTH) else {
        return cover_behind(bytes, LENGTH);
    };
    cover_behind(bytes, end);
    let end = end.min(bytes.len());
    let (mut rest, mut what) = (&mut bytes[LENGTH..end], what);
    while let Some((kind, named)) = rest.split_first_mut() {
        if *kind == 0 {
            return cover(named);
        }
        let (name, is_kept, value) = match what {
            Document::Command { first: true, .. } => {
                let Some((name, value)) = command(named) else { return };
                what = Document::Command {
                    first: false,
                    gets_more: name == GET_MORE,
                };
                (&[][..], is_of_collection(name) && *kind == kind::STRING, value)
            }
            _ => match one_of(what.names(), named) {
                Some((name, value)) => (name, false, value),
                None => return,
            },
        };
        let Some(bytes) = value_bytes(*kind, value) else {
            // It is cut, or none.
            return cover_behind(value, if has_length(*kind) { LENGTH.min(value.len()) } else { 0 });
        };
        let (value, next) = value.split_at_mut(bytes.min(value.len()));
        match what.value(*kind, name) {
            _ if is_kept => {}
            Value::Kept => {}
            Value::Holds(within) => document(value, within),
            Value::Covered => cover_behind(value, if has_length(*kind) { LENGTH } else { 0 }),
        }
        rest = next;
    }
}

/// An element's name, which is covered if it is none of these, and the value behind it. Nothing if it is cut.
fn one_of<'a>(known: &[&'static [u8]], element: &'a mut [u8]) -> Option<(&'static [u8], &'a mut [u8])> {
    let Some(end) = memchr::memchr(0, element) else {
        if !known.iter().any(|known| known.starts_with(element)) {
            cover(element);
        }
        return None;
    };
    let (name, value) = element.split_at_mut(end);
    let known = known.iter().find(|known| **known == name);
    if known.is_none() {
        cover(name);
    }
    Some((known.map_or(&[], |known| *known), &mut value[1..]))
}

/// A command's name, in which what cannot be in one is covered by what cannot either, and the value behind it.
fn command(named: &mut [u8]) -> Option<(&[u8], &mut [u8])> {
    const NO_NAME: u8 = b'?';
    let end = memchr::memchr(0, named);
    let (name, value) = named.split_at_mut(end.unwrap_or(named.len()));
    let legal = name
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
    let legal = legal.take(MAX_COMMAND).count();
    name[legal..].fill(NO_NAME);
    let value = value.get_mut(1..)?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bson(elements: &[&[u8]]) -> Vec<u8> {
        let elements = elements.concat();
        let length = u32::try_from(LENGTH + elements.len() + 1).unwrap();
        [&length.to_le_bytes(), &elements[..], b"\0"].concat()
    }

    /// Whole, and as far as it came.
    #[track_caller]
    fn check(said: &[u8], clean: &[u8], blank: impl Fn(&mut [u8])) {
        for end in 0..=said.len() {
            let mut bytes = said[..end].to_vec();
            blank(&mut bytes);
            assert_eq!(
                bytes.escape_ascii().to_string(),
                clean[..end].escape_ascii().to_string(),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn of_a_command_its_name_and_its_collection_stay() {
        const SEQUENCE: &[u8] = b"\0\0\0\0\x01\x0e\0\0\0SECRET\0ABC\0";
        const CLEAN: &[u8] = b"\0\0\0\0\x01\x0e\0\0\0xxxxxx\0xxx\0";
        let said = bson(&[
            b"\x02find\0\x06\0\0\0users\0",
            b"\x03filter\0\x18\0\0\0\x02SECRET\0\x07\0\0\0SECRET\0\0",
            b"\x10limit\0ABCD\x0bregex\0ab\0i\0",
        ]);
        let clean = bson(&[
            b"\x02find\0\x06\0\0\0users\0",
            b"\x03xxxxxx\0\x18\0\0\0xxxxxxx\0x\0\0\0xxxxxx\0\0",
            b"\x10xxxxx\0xxxx\x0bxxxxx\0xx\0x\0",
        ]);
        check(&[SEQUENCE, &said].concat(), &[CLEAN, &clean].concat(), |body| {
            message(body, Document::COMMAND);
        });
    }

    #[test]
    fn what_may_be_a_user_is_no_collection() {
        let said = bson(&[b"\x02dropUser\0\x07\0\0\0SECRET\0", b"\x02pwd\0\x07\0\0\0SECRET\0"]);
        let clean = bson(&[b"\x02dropUser\0\x07\0\0\0xxxxxx\0", b"\x02xxx\0\x07\0\0\0xxxxxx\0"]);
        check(&said, &clean, |body| document(body, Document::COMMAND));
        let said = bson(&[b"\x12getMore\0ABCDEFGH", b"\x02collection\0\x06\0\0\0users\0"]);
        let clean = bson(&[b"\x12getMore\0xxxxxxxx", b"\x02collection\0\x06\0\0\0users\0"]);
        check(&said, &clean, |body| document(body, Document::COMMAND));
    }

    #[test]
    fn of_an_answer_its_error_and_its_numbers_stay() {
        let reply = |batch: &[u8], error: &[u8], rest: &[u8]| {
            let batch = bson(&[batch]);
            let cursor = bson(&[b"\x04firstBatch\0", &batch]);
            let errors = bson(&[b"\x03", &rest[..1], b"\0", &bson(&[b"\x10code\0\x0b\0\0\0", error])]);
            let holding = [b"\x03cursor\0", &cursor[..], b"\x04writeErrors\0", &errors].concat();
            let numbers = b"\x10n\0\x07\0\0\0\x02codeName\0\x03\0\0\0Ab\0\x01ok\0ABCDEFGH";
            bson(&[&holding, b"\x02", rest, numbers])
        };
        let said = reply(
            b"\x03y\0\x0c\0\0\0\x10b\0ABCD\0",
            b"\x02yyyyyy\0\x07\0\0\0SECRET\0",
            b"yyyyyy\0\x07\0\0\0SECRET\0",
        );
        let clean = reply(
            b"\x03x\0\x0c\0\0\0xx\0xxxx\0",
            b"\x02xxxxxx\0\x07\0\0\0xxxxxx\0",
            b"xxxxxx\0\x07\0\0\0xxxxxx\0",
        );
        check(&said, &clean, |body| document(body, Document::Reply));
    }
}
