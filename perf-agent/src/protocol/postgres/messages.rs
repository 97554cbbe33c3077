//! Messages: <https://www.postgresql.org/docs/current/protocol-message-formats.html>. Each has a type, one byte, and a length,
//! which counts itself; those that begin a session have no type.

use crate::exchange::ErrorCode;
use crate::protocol::Half;
use crate::protocol::framed::{Measure, cover, cover_behind};
use crate::protocol::sql::{self, Dialect};

/// Bytes of a type and a length.
pub(super) const HEADER: usize = 5;
/// Bytes of a length and a code, which messages without a type begin with.
const UNTYPED_HEADER: usize = 8;
/// A server takes no longer message that begins a session (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_UNTYPED: u32 = 10_000;
/// A server takes no longer message (`PQ_LARGE_MESSAGE_LIMIT`).
const MAX_LENGTH: u32 = 0x3fff_ffff;
/// Bytes of a statement that are read.
const STATEMENT: usize = 8 * 1024;
/// Bytes of a name (`NAMEDATALEN`), its end included. What is longer is cut by the server, too.
pub(super) const NAME: usize = 64;
/// Bytes of an error or a command's tag that are read: severity and code come first.
const FIELDS: usize = 128;

/// What a message without a type asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untyped {
    /// A session.
    Startup,
    /// That a query of another session ends.
    Cancel,
    /// To encrypt what follows, by TLS or GSSAPI.
    Encryption,
}

impl Untyped {
    fn of(code: u32) -> Option<Self> {
        match code {
            // Version 3, whatever its minor one.
            0x0003_0000..=0x0003_ffff => Some(Self::Startup),
            80_877_102 => Some(Self::Cancel),
            80_877_103 | 80_877_104 => Some(Self::Encryption),
            _ => None,
        }
    }

    /// Of a message's beginning.
    pub(super) fn begins(bytes: &[u8]) -> Option<(Self, u32)> {
        let (length, code) = (number(bytes)?, number(bytes.get(4..)?)?);
        let untyped = Self::of(code)?;
        let fits = match untyped {
            Self::Startup => (9..=MAX_UNTYPED).contains(&length),
            // Keys have more than four bytes since version 3.2.
            Self::Cancel => (16..=268).contains(&length),
            Self::Encryption => length == 8,
        };
        fits.then_some((untyped, length))
    }
}

/// The number at the beginning of these bytes.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The text at the beginning of these bytes and what follows its end; `None` if the end is not there.
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Bytes of the body of a message of this type that are read, if there is such a type and it has bodies of this length.
fn body(half: Half, kind: u8, length: u32) -> Option<usize> {
    let (least, most, read) = match (half, kind) {
        // Query; Parse; Bind.
        (Half::Request, b'Q') => (5, MAX_LENGTH, STATEMENT),
        (Half::Request, b'P') => (8, MAX_LENGTH, NAME + STATEMENT),
        (Half::Request, b'B') => (12, MAX_LENGTH, 2 * NAME),
        // Execute; Describe, Close.
        (Half::Request, b'E') => (9, MAX_UNTYPED, NAME),
        (Half::Request, b'D' | b'C') => (6, MAX_UNTYPED, 1 + NAME),
        // Sync, Flush, CopyDone, Terminate.
        (Half::Request, b'S' | b'H' | b'c' | b'X')
        // ParseComplete, BindComplete, CloseComplete, NoData, EmptyQueryResponse, PortalSuspended, CopyDone.
        | (Half::Response, b'1' | b'2' | b'3' | b'n' | b'I' | b's' | b'c') => (4, 4, 0),
        // CopyData; CopyFail, answers to what the server asks to know a client.
        (_, b'd') | (Half::Request, b'f' | b'p') => (4, MAX_LENGTH, 0),
        // FunctionCall.
        (Half::Request, b'F') => (14, MAX_LENGTH, 0),
        // ReadyForQuery.
        (Half::Response, b'Z') => (5, 5, 1),
        // CommandComplete, ErrorResponse.
        (Half::Response, b'C' | b'E') => (5, MAX_LENGTH, FIELDS),
        // NoticeResponse, NotificationResponse, ParameterStatus, RowDescription, DataRow, ParameterDescription.
        (Half::Response, b'N' | b'A' | b'S' | b'T' | b'D' | b't') => (5, MAX_LENGTH, 0),
        // Authentication…, BackendKeyData, NegotiateProtocolVersion.
        (Half::Response, b'R' | b'K' | b'v') => (8, MAX_UNTYPED, 0),
        // CopyInResponse, CopyOutResponse, CopyBothResponse; FunctionCallResponse.
        (Half::Response, b'G' | b'H' | b'W' | b'V') => (7, MAX_LENGTH, 0),
        _ => return None,
    };
    let body = usize::try_from(length).ok()?.checked_sub(4)?;
    (least..=most).contains(&length).then_some(body.min(read))
}

/// How long is the message with a type that begins with these bytes?
pub(super) fn measure(half: Half, bytes: &[u8]) -> Measure {
    let (Some(&kind), Some(length)) = (bytes.first(), bytes.get(1..).and_then(number)) else {
        let known = bytes
            .first()
            .is_some_and(|&kind| body(half, kind, 4).is_some() || is_kind(half, kind));
        return if known { Measure::More } else { Measure::Malformed };
    };
    match body(half, kind, length) {
        Some(body) => Measure::Message {
            head: HEADER + body,
            length: u64::from(length) + 1,
        },
        None => Measure::Malformed,
    }
}

/// Takes out of a message's head what is a value: what is left says what it asks for, or answers.
pub(super) fn blank(half: Half, head: &mut [u8]) {
    let Some((header, body)) = head.split_at_mut_checked(HEADER) else {
        return;
    };
    match (half, header[0]) {
        (Half::Request, b'Q') => statement(body),
        (Half::Request, b'P') => {
            let name = behind_text(body);
            statement(&mut body[name..]);
        }
        (Half::Request, b'B') => {
            let names = behind_text(body);
            let names = names + behind_text(&body[names..]);
            // How many formats there are, and which.
            let formats = match body[names..] {
                [0, count, ..] => 2 + 2 * usize::from(count),
                _ => 2,
            };
            cover_behind(body, names + formats);
        }
        // Names, and codes that say how it went.
        (Half::Request, b'E' | b'D' | b'C') | (Half::Response, b'Z' | b'C') => {}
        (Half::Response, b'E') => error_fields(body),
        _ => cover(body),
    }
}

/// Bytes of a text and its end.
fn behind_text(bytes: &[u8]) -> usize {
    text(bytes).map_or(bytes.len(), |(text, _)| text.len() + 1)
}

/// A statement, and the types of its parameters.
fn statement(body: &mut [u8]) {
    let end = text(body).map_or(body.len(), |(text, _)| text.len());
    sql::blank(&mut body[..end], Dialect::Postgresql);
    // The number of types.
    cover_behind(body, end + 3);
}

fn error_fields(body: &mut [u8]) {
    let mut at = 0;
    while at < body.len() {
        let end = at + 1 + behind_text(&body[at + 1..]);
        if !matches!(body[at], b'C' | b'V' | b'S') {
            cover_behind(&mut body[..end], at + 1);
        }
        at = end;
    }
}

fn is_kind(half: Half, kind: u8) -> bool {
    match half {
        Half::Request => b"QPBEDCSHcXdFfp".contains(&kind),
        Half::Response => b"123nIscZCENASTDtRKvGHWVd".contains(&kind),
    }
}

/// How long is the message without a type that begins with these bytes?
pub(super) fn measure_untyped(bytes: &[u8]) -> Measure {
    if bytes.len() < UNTYPED_HEADER {
        return Measure::More;
    }
    match Untyped::begins(bytes) {
        Some((_, length)) => Measure::Message {
            head: UNTYPED_HEADER,
            length: u64::from(length),
        },
        None => Measure::Malformed,
    }
}

/// Do these bytes, the first of a segment of so many, begin what a client says in a session or to begin one?
pub(super) fn begins_request(bytes: &[u8], segment: u64) -> bool {
    if bytes.first() == Some(&0) {
        return begins_session(bytes, segment);
    }
    let mut rest = bytes;
    let mut messages = 0;
    while let Some((kind, body, whole)) = first_message(rest) {
        let fits = match kind {
            b'Q' => is_statement(body, whole),
            b'P' => is_parse(body, whole),
            b'B' => is_bind(body, whole),
            b'E' => !whole || text(body).is_some_and(|(name, rest)| is_name(name) && rest.len() == 4),
            b'D' | b'C' => !whole || is_named(body),
            // What may follow is looked at no further.
            b'F' => true,
            _ => messages > 0,
        };
        if !fits {
            return false;
        }
        messages += 1;
        if !whole {
            // It says more than an end of bytes would.
            return messages > 1 || matches!(kind, b'Q' | b'P');
        }
        rest = &rest[HEADER + body.len()..];
    }
    let goes_on = !rest.is_empty() && measure(Half::Request, rest) == Measure::More;
    // Others than these do not come alone.
    let alone = matches!(bytes.first(), Some(b'Q' | b'P'));
    (rest.is_empty() || goes_on) && (messages > 1 || (messages == 1 && (alone || goes_on)))
}

fn begins_session(bytes: &[u8], segment: u64) -> bool {
    let Some((untyped, length)) = Untyped::begins(bytes) else {
        return false;
    };
    if u64::from(length) != segment {
        return false;
    }
    match untyped {
        // Names and values, the first of which is a name in letters.
        Untyped::Startup => bytes
            .get(UNTYPED_HEADER..)
            .and_then(text)
            .is_some_and(|(name, _)| name.first().is_some_and(u8::is_ascii_lowercase) && is_name(name)),
        Untyped::Cancel | Untyped::Encryption => true,
    }
}

/// Do these bytes begin an answer? Rows and ends of answers do not.
pub(super) fn begins_answer(bytes: &[u8]) -> bool {
    if matches!(bytes.first(), Some(b'D' | b'd' | b'c' | b'Z' | b'A' | b'K')) {
        return false;
    }
    match measure(Half::Response, bytes) {
        Measure::Message { length, .. } => match usize::try_from(length).ok().and_then(|length| bytes.get(length..)) {
            Some(next @ [_, ..]) => measure(Half::Response, next) != Measure::Malformed,
            _ => true,
        },
        Measure::More | Measure::Malformed => false,
    }
}

/// Type and body of a client's message, as far as it is there, and whether it is whole.
fn first_message(bytes: &[u8]) -> Option<(u8, &[u8], bool)> {
    let Measure::Message { length, .. } = measure(Half::Request, bytes) else {
        return None;
    };
    let body = bytes.get(HEADER..)?;
    let length = usize::try_from(length).ok()?.checked_sub(HEADER)?;
    Some(match body.get(..length) {
        Some(body) => (bytes[0], body, true),
        None => (bytes[0], body, false),
    })
}

fn is_name(name: &[u8]) -> bool {
    !name.iter().any(u8::is_ascii_control)
}

/// A statement, or its beginning. It ends with 0, and there is none in it.
fn is_statement(body: &[u8], whole: bool) -> bool {
    let is_text = |byte: u8| byte >= b' ' || byte.is_ascii_whitespace();
    let text = match text(body) {
        Some((text, [])) if whole => text,
        None if !whole => body,
        _ => return false,
    };
    text.iter().take(NAME).all(|&byte| is_text(byte))
}

fn is_parse(body: &[u8], whole: bool) -> bool {
    let Some((name, rest)) = text(body) else { return false };
    let statement = match text(rest) {
        Some((statement, types)) => {
            // Their number, and each of them.
            let count = types.first_chunk().map(|count| usize::from(u16::from_be_bytes(*count)));
            if whole && count.is_none_or(|count| types.len() != 2 + 4 * count) {
                return false;
            }
            statement
        }
        None if whole => return false,
        None => rest,
    };
    is_name(name) && is_statement(statement, false)
}

fn is_bind(body: &[u8], whole: bool) -> bool {
    let names = text(body).and_then(|(portal, rest)| Some((portal, text(rest)?)));
    let Some((portal, (statement, rest))) = names else {
        return !whole && is_name(body);
    };
    // Formats of parameters: how many, and 0 or 1 for each.
    let formats = match rest {
        [0, count, formats @ ..] => formats.get(..2 * usize::from(*count)).unwrap_or_default(),
        [] | [_] if !whole => &[],
        _ => return false,
    };
    is_name(portal) && is_name(statement) && formats.chunks_exact(2).all(|format| matches!(format, [0, 0 | 1]))
}

fn is_named(body: &[u8]) -> bool {
    match body {
        [b'S' | b'P', rest @ ..] => text(rest).is_some_and(|(name, rest)| is_name(name) && rest.is_empty()),
        _ => false,
    }
}

/// What an error says: its code, and whether the session ends by it.
pub(super) fn error(body: &[u8]) -> (ErrorCode, bool) {
    let mut code = &b""[..];
    let mut ends_session = false;
    let mut rest = body;
    while let Some((&field, (value, others))) = rest.split_first().and_then(|(field, rest)| Some((field, text(rest)?)))
    {
        match field {
            b'C' => code = value,
            // Not translated; before version 9.6 there was `S` only.
            b'V' | b'S' => ends_session |= matches!(value, b"FATAL" | b"PANIC"),
            _ => {}
        }
        rest = others;
    }
    (ErrorCode::new(code), ends_session)
}

/// The rows that a command's tag tells: `SELECT 5`, `INSERT 0 3`.
pub(super) fn rows(tag: &[u8]) -> Option<u64> {
    let (tag, _) = text(tag)?;
    let space = tag.iter().rposition(|&byte| byte == b' ')?;
    str::from_utf8(&tag[space + 1..]).ok()?.parse().ok()
}
