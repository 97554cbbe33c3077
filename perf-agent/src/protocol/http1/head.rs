//! Heads of messages: from bytes to what the dissector needs of them. RFC 9112, sections 2 to 5.
//!
//! An observer reads heads otherwise than a server does: what a strict parser refuses (folded lines, more fields than
//! it has room for, bytes that are not UTF-8, control characters) was sent and answered all the same. So a head here is
//! a valid first line and what follows up to an empty line, and of its fields only those of interest are looked at.
//! Where the strict parser `httparse` accepts a head, this one reads the same from it: a property test holds it to that.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

use super::super::cached::{CacheField, CacheFields};
use crate::exchange::Protocol;

/// A method longer than this is none.
const METHOD_BYTES: usize = 32;

/// The registry of methods (RFC 9110, 16.1.1), and what caches and `UPnP` use besides. Frequent ones first.
#[rustfmt::skip]
const METHODS: &[&[u8]] = &[
    b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE", b"QUERY", b"ACL",
    b"BASELINE-CONTROL", b"BIND", b"CHECKIN", b"CHECKOUT", b"COPY", b"LABEL", b"LINK", b"LOCK", b"MERGE", b"MKACTIVITY",
    b"MKCALENDAR", b"MKCOL", b"MKREDIRECTREF", b"MKWORKSPACE", b"MOVE", b"ORDERPATCH", b"PROPFIND", b"PROPPATCH",
    b"REBIND", b"REPORT", b"SEARCH", b"UNBIND", b"UNCHECKOUT", b"UNLINK", b"UNLOCK", b"UPDATE", b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL", b"PURGE", b"BAN", b"M-SEARCH", b"NOTIFY", b"SUBSCRIBE", b"UNSUBSCRIBE",
];

/// What bytes turned out to be.
#[derive(Debug)]
pub(super) enum Parsed<T> {
    /// A head, complete.
    Complete(T),
    /// The beginning of one.
    Partial,
    /// No head.
    Malformed,
}

/// A request's head.
#[derive(Debug)]
pub(super) struct RequestHead<'a> {
    pub(super) protocol: Protocol,
    pub(super) method: &'a str,
    pub(super) target: Cow<'a, str>,
    pub(super) fields: Fields<'a>,
    /// The rest of its first line, and its field lines.
    pub(super) lines: &'a [u8],
    /// Bytes of it, the empty line included; for a head that was cut, those that were seen.
    pub(super) bytes: usize,
}

/// A response's head.
#[derive(Debug)]
pub(super) struct ResponseHead<'a> {
    pub(super) status: u16,
    pub(super) fields: Fields<'a>,
    /// As in [`RequestHead::bytes`].
    pub(super) bytes: usize,
}

impl ResponseHead<'_> {
    /// Is another response to follow for the same request (RFC 9110, 15.2)? With 101 another protocol does.
    pub(super) fn interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// The header fields of interest.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a head, each read on its own"
)]
pub(super) struct Fields<'a> {
    pub(super) content_length: Option<u64>,
    /// Lengths that contradict each other, or are no numbers.
    pub(super) length_invalid: bool,
    pub(super) transfer_encoding: bool,
    /// The last transfer coding is `chunked`.
    pub(super) chunked: bool,
    pub(super) expects_continue: bool,
    pub(super) host: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
    pub(super) traceparent: Option<&'a str>,
    /// The content is server-sent events.
    pub(super) event_stream: bool,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) cache: CacheFields,
}

/// What a connection is upgraded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    WebSocket,
    /// HTTP/2 in clear text, RFC 7540, 3.2
    Http2,
    Other,
}

/// A field of interest.
#[derive(Clone, Copy, Debug)]
enum Name {
    Host,
    Expect,
    RequestId,
    CorrelationId,
    TraceParent,
    ContentLength,
    TransferEncoding,
    ContentType,
    Upgrade,
    Cache(CacheField),
}

impl Name {
    /// The name of a field line and what follows its colon from the first letter on, if it is of interest. Most lines
    /// are told by their first byte and one of the bytes behind.
    #[inline]
    fn of(line: &[u8]) -> Option<(Self, &[u8])> {
        let has = |place: usize, letter: u8| line.get(place).is_some_and(|byte| byte | 0x20 == letter);
        let (this, behind) = match line.first()? | 0x20 {
            b'h' => (Self::Host, behind(line, b"Host", b"host")?),
            b'e' => (Self::Expect, behind(line, b"Expect", b"expect")?),
            b'x' if has(2, b'r') => (Self::RequestId, behind(line, b"X-Request-Id", b"x-request-id")?),
            b'x' if has(2, b'c') && has(3, b'o') => (
                Self::CorrelationId,
                behind(line, b"X-Correlation-Id", b"x-correlation-id")?,
            ),
            b'c' if has(8, b'l') => (Self::ContentLength, behind(line, b"Content-Length", b"content-length")?),
            b'c' if has(8, b't') => (Self::ContentType, behind(line, b"Content-Type", b"content-type")?),
            b'a' => (Self::Cache(CacheField::Age), behind(line, b"Age", b"age")?),
            b'x' if has(7, b'-') => (
                Self::Cache(CacheField::Word),
                behind(line, b"X-Cache-Status", b"x-cache-status")?,
            ),
            b'x' => (Self::Cache(CacheField::Word), behind(line, b"X-Cache", b"x-cache")?),
            b'c' if has(8, b'a') => (
                Self::Cache(CacheField::Status),
                behind(line, b"Cache-Status", b"cache-status")?,
            ),
            b'c' if has(8, b'-') => (
                Self::Cache(CacheField::Word),
                behind(line, b"CF-Cache-Status", b"cf-cache-status")?,
            ),
            b'u' if has(1, b'p') => (Self::Upgrade, behind(line, b"Upgrade", b"upgrade")?),
            b't' if has(9, b'n') => (Self::TraceParent, behind(line, b"Traceparent", b"traceparent")?),
            b't' if has(9, b'e') => (
                Self::TransferEncoding,
                behind(line, b"Transfer-Encoding", b"transfer-encoding")?,
            ),
            _ => return None,
        };
        // No space may stand before the colon; where one does, it means nothing else (RFC 9112, 5.1).
        let value = match behind {
            [b':', value @ ..] => value,
            _ => behind.trim_ascii_start().strip_prefix(b":")?,
        };
        Some((this, value.trim_ascii_start()))
    }

    /// Do lines that begin like this have no name of interest, and are they neither empty nor folded? Most are such.
    #[inline]
    fn is_none(begin: &[u8]) -> bool {
        match begin.first() {
            Some(b'c' | b'C') => begin
                .get(8)
                .is_some_and(|byte| !matches!(byte | 0x20, b'l' | b't' | b'a' | b'-')),
            Some(b'a' | b'A') => begin.get(1).is_some_and(|byte| byte | 0x20 != b'g'),
            Some(b'u' | b'U') => begin.get(1).is_some_and(|byte| byte | 0x20 != b'p'),
            Some(&first) => !OF_INTEREST[usize::from(first)],
            None => false,
        }
    }
}

/// What follows a name in a line. It is nearly always written in one of two ways, and those are told fastest.
#[inline]
fn behind<'a, const N: usize>(line: &'a [u8], usual: &[u8; N], small: &[u8; N]) -> Option<&'a [u8]> {
    let (name, rest) = line.split_first_chunk::<N>()?;
    (name == usual || name == small || name.eq_ignore_ascii_case(small)).then_some(rest)
}

/// First bytes of lines that may have a name of interest, or are empty or folded.
const OF_INTEREST: [bool; 256] = those(b"aAhHeExXcCtTuU\r\n \t");

/// A table of all bytes: is it one of those?
const fn those(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

impl<'a> Fields<'a> {
    /// Reads the field lines of a head, from `begin` on up to the empty line; where that ends, if it is there.
    fn of_head(head: &'a [u8], begin: usize) -> (Self, Option<usize>, Known<'a>) {
        let mut fields = Self::default();
        let mut known = Known(None);
        let mut last = None;
        let mut rest = head.get(begin..).unwrap_or_default();
        while let Some(length) = line_end(rest) {
            let (line, next) = (&rest[..length], &rest[length + 1..]);
            let is_none = Name::is_none(rest);
            rest = next;
            if is_none {
                last = None;
                continue;
            }
            let at = head.len() - rest.len();
            match line {
                [] | [b'\r'] => return (fields, Some(at), known),
                // A folded line (RFC 9112, 5.2). For the lists of interest it is as good as another field.
                [b' ' | b'\t', ..] => {
                    if let Some(name) = last {
                        fields.take(name, line.trim_ascii());
                    }
                }
                _ => {
                    last = None;
                    if let Some((name, value)) = Name::of(line) {
                        last = Some(name);
                        let begin = at - 1 - value.len();
                        let value = value.trim_ascii_end();
                        let folded = matches!(rest.first(), Some(b' ' | b'\t'));
                        if folded && value.is_empty() {
                            // All of it is in the lines that follow.
                        } else if matches!(name, Name::Host) && fields.host.is_none() {
                            // The first line comes with it.
                            known = Known::of(&head[..begin + value.len()]);
                            fields.host = known.text(head, begin..begin + value.len());
                        } else {
                            fields.take(name, value);
                        }
                    }
                }
            }
        }
        (fields, None, known)
    }

    fn take(&mut self, name: Name, value: &'a [u8]) {
        match name {
            Name::Host => self.host = self.host.or_else(|| text(value)),
            Name::Expect => self.expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
            Name::RequestId => self.request_id = text(value),
            Name::CorrelationId => self.request_id = self.request_id.or_else(|| text(value)),
            Name::TraceParent => self.traceparent = text(value),
            Name::ContentLength => self.take_length(value),
            Name::ContentType => self.event_stream = is_event_stream(value),
            Name::Upgrade => {
                let has = |name: &[u8]| elements(value).any(|element| element.eq_ignore_ascii_case(name));
                self.upgrade = Some(match () {
                    () if has(b"websocket") => Upgrade::WebSocket,
                    () if has(b"h2c") => Upgrade::Http2,
                    () => Upgrade::Other,
                });
            }
            Name::Cache(field) => self.cache.take(field, value),
            Name::TransferEncoding => {
                // Several fields are one list (RFC 9110, 5.3); an empty element says nothing (5.6.1), nor did `identity`
                // while there was one (RFC 2616, 3.6).
                let codings = elements(value).filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
                if let Some(last) = codings.last() {
                    self.transfer_encoding = true;
                    self.chunked = last.eq_ignore_ascii_case(b"chunked");
                }
            }
        }
    }

    /// A list of equal lengths is that length, anything else an error (RFC 9112, 6.3).
    fn take_length(&mut self, value: &[u8]) {
        if let (Some(length), None) = (number(value), self.content_length) {
            self.content_length = Some(length);
            return;
        }
        let mut any = false;
        for element in elements(value) {
            any = true;
            match (number(element), self.content_length) {
                (Some(length), None) => self.content_length = Some(length),
                (Some(length), Some(before)) if length == before => {}
                _ => self.length_invalid = true,
            }
        }
        self.length_invalid |= !any;
    }
}

/// The end of a head's line. Lines are short, so what counts is how a search begins: it is compiled in here, where
/// `memchr` itself asks the processor first what it can do.
#[inline]
fn line_end(bytes: &[u8]) -> Option<usize> {
    // Every such processor has these instructions.
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    let line_end = memchr::arch::x86_64::sse2::memchr::One::new(b'\n')?;
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    let line_end = memchr::arch::all::memchr::One::new(b'\n');
    line_end.find(bytes)
}

/// As much of a head's beginning as is known to be text, if it was looked at: once for several of its parts, since that
/// takes longest at the ends.
#[derive(Clone, Copy)]
struct Known<'a>(Option<&'a str>);

impl<'a> Known<'a> {
    fn of(beginning: &'a [u8]) -> Self {
        Self(text(beginning))
    }

    /// A part of the head as text, if it is text.
    #[inline]
    fn text(self, head: &'a [u8], part: Range<usize>) -> Option<&'a str> {
        let known = self.0.and_then(|known| known.get(part.clone()));
        known.or_else(|| text(head.get(part)?))
    }
}

/// Is this content type that of server-sent events?
fn is_event_stream(value: &[u8]) -> bool {
    let name = value.split(|&byte| byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads a request's head that begins with the first of `bytes`.
#[inline]
pub(super) fn request(bytes: &[u8]) -> Parsed<RequestHead<'_>> {
    let Some(line_end) = line_end(bytes) else {
        return if could_be_request(bytes) {
            Parsed::Partial
        } else {
            Parsed::Malformed
        };
    };
    let Some(line) = RequestLine::of(&bytes[..line_end]) else {
        return Parsed::Malformed;
    };
    let (fields, Some(end), known) = Fields::of_head(bytes, line_end + 1) else {
        return Parsed::Partial;
    };
    match line.head(bytes, fields, known, end) {
        Some(head) => Parsed::Complete(head),
        None => Parsed::Malformed,
    }
}

/// Reads a response's head that begins with the first of `bytes`.
#[inline]
pub(super) fn response(bytes: &[u8]) -> Parsed<ResponseHead<'_>> {
    let Some(line_end) = line_end(bytes) else {
        return if could_be_response(bytes) {
            Parsed::Partial
        } else {
            Parsed::Malformed
        };
    };
    let Some(status) = status_of(&bytes[..line_end]) else {
        return Parsed::Malformed;
    };
    match Fields::of_head(bytes, line_end + 1) {
        (fields, Some(end), _) => Parsed::Complete(ResponseHead {
            status,
            fields,
            bytes: end,
        }),
        (_, None, _) => Parsed::Partial,
    }
}

/// What can be said of a request whose head was cut behind `bytes`; nothing without its method. A target that was cut
/// within its path is given as empty, since half a path names another resource.
pub(super) fn cut_request(bytes: &[u8]) -> Option<RequestHead<'_>> {
    if let Some(line_end) = memchr(b'\n', bytes) {
        let line = RequestLine::of(&bytes[..line_end])?;
        let (fields, _, known) = Fields::of_head(bytes, line_end + 1);
        return line.head(bytes, fields, known, bytes.len());
    }
    let (method, rest) = method(bytes)?;
    let rest = rest.trim_ascii_start();
    let known = match memchr(b' ', rest) {
        Some(end) => &rest[..end],
        None => match rest.iter().position(|&byte| byte == b'?' || byte == b'#') {
            Some(end) => &rest[..end],
            None => b"",
        },
    };
    Some(RequestHead {
        protocol: if rest.ends_with(b" HTTP/1.0") {
            Protocol::Http10
        } else {
            Protocol::Http11
        },
        method,
        target: printable(known, text(known)),
        fields: Fields::default(),
        lines: &[],
        bytes: bytes.len(),
    })
}

/// What can be said of a response whose head was cut behind `bytes`; nothing without its status.
pub(super) fn cut_response(bytes: &[u8]) -> Option<ResponseHead<'_>> {
    Some(ResponseHead {
        status: status_of(bytes)?,
        fields: match memchr(b'\n', bytes) {
            Some(line_end) => Fields::of_head(bytes, line_end + 1).0,
            None => Fields::default(),
        },
        bytes: bytes.len(),
    })
}

/// Could a request's head begin with these bytes, however many there are?
pub(super) fn could_be_request(bytes: &[u8]) -> bool {
    if let Some(line_end) = memchr(b'\n', bytes) {
        return RequestLine::of(&bytes[..line_end]).is_some();
    }
    let letters = bytes.iter().take_while(|&&byte| is_token(byte)).count();
    letters > 0 && letters <= METHOD_BYTES && bytes.get(letters).is_none_or(|&byte| byte == b' ')
}

/// As [`could_be_request`], with a method that is in use. Out of step, a method that is not may be the rest of one.
pub(super) fn begins_like_request(bytes: &[u8]) -> bool {
    let method = memchr(b' ', bytes).map_or(bytes, |end| &bytes[..end]);
    let known = |known: &&[u8]| {
        if method.len() == bytes.len() {
            known.starts_with(method)
        } else {
            *known == method
        }
    };
    METHODS.iter().any(known) && could_be_request(bytes)
}

/// Could a response's head begin with these bytes, however many there are?
pub(super) fn could_be_response(bytes: &[u8]) -> bool {
    const VERSION: &[u8] = b"HTTP/1.";
    let length = bytes.len().min(VERSION.len());
    length > 0 && bytes[..length] == VERSION[..length]
}

/// Where a head ends in `bytes`, which follow `before`: behind the first empty line. Lines end with LF; a CR before it
/// is not needed (RFC 9112, 2.2).
pub(super) fn end_of_head(before: &[u8], bytes: &[u8]) -> Option<usize> {
    let byte = |back: usize, at: usize| {
        if back <= at {
            bytes.get(at - back).copied()
        } else {
            before.len().checked_sub(back - at).map(|index| before[index])
        }
    };
    memchr::memchr_iter(b'\n', bytes)
        .find(|&at| match byte(1, at) {
            Some(b'\n') => true,
            Some(b'\r') => byte(2, at) == Some(b'\n'),
            _ => false,
        })
        .map(|at| at + 1)
}

/// RFC 9110, 5.6.2.
const TOKEN: [bool; 256] = those(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether these bytes can be a method (RFC 9110, 9.1), in any version.
pub(crate) fn is_method(bytes: &[u8]) -> bool {
    (1..=METHOD_BYTES).contains(&bytes.len()) && bytes.iter().all(|&byte| is_token(byte))
}

/// A method and what follows the space behind it.
#[inline]
fn method(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = end_of_method(bytes)?;
    Some((text(&bytes[..end])?, &bytes[end + 1..]))
}

/// Where a method ends that a space follows.
#[inline]
fn end_of_method(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().take(METHOD_BYTES + 1).position(|&byte| !is_token(byte))?;
    (end > 0 && bytes[end] == b' ').then_some(end)
}

/// Where the parts of a complete first line are.
#[derive(Debug)]
struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    protocol: Protocol,
}

impl RequestLine {
    /// The target may contain spaces: some clients send them.
    #[inline]
    fn of(line: &[u8]) -> Option<Self> {
        let method_end = end_of_method(line)?;
        let rest = line[method_end + 1..].trim_ascii_end();
        let (target, version) = rest.split_at_checked(rest.len().checked_sub(9)?)?;
        let protocol = match version.strip_prefix(b" HTTP/1.")? {
            b"0" => Protocol::Http10,
            [digit] if digit.is_ascii_digit() => Protocol::Http11,
            _ => return None,
        };
        let begin = target.trim_ascii_start();
        let target_begin = method_end + 1 + (target.len() - begin.len());
        let target_end = target_begin + begin.trim_ascii_end().len();
        (target_end > target_begin).then_some(Self {
            method: 0..method_end,
            target: target_begin..target_end,
            protocol,
        })
    }

    /// With what else is known of a head that begins with this line.
    #[inline]
    fn head<'a>(self, bytes: &'a [u8], fields: Fields<'a>, known: Known<'a>, end: usize) -> Option<RequestHead<'a>> {
        let target = self.target;
        Some(RequestHead {
            protocol: self.protocol,
            method: known.text(bytes, self.method)?,
            lines: bytes.get(target.end..end)?,
            target: printable(bytes.get(target.clone())?, known.text(bytes, target)),
            fields,
            bytes: end,
        })
    }
}

/// Status of a first line of which at least version, space and three digits are there.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let rest = rest.get(1..)?.strip_prefix(b" ")?.trim_ascii_start();
    let status = number(rest.get(..3)?).and_then(|status| u16::try_from(status).ok())?;
    (status >= 100 && rest.get(3).is_none_or(|byte| !byte.is_ascii_digit())).then_some(status)
}

/// Text without control characters: it ends up in terminals. `text` are the same bytes, if they are text.
#[inline]
fn printable<'a>(bytes: &'a [u8], text: Option<&'a str>) -> Cow<'a, str> {
    // Without a branch per byte, for the vector unit.
    let plain = bytes
        .iter()
        .fold(true, |plain, byte| plain & (b' '..=b'~').contains(byte));
    match text {
        Some(text) if plain => Cow::Borrowed(text),
        _ => Cow::Owned(String::from_utf8_lossy(bytes).replace(char::is_control, "\u{fffd}")),
    }
}

/// A request target, taken apart. Credentials in it are in none of the parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// `host:port` of the absolute and authority forms (RFC 9112, 3.2).
    pub(super) authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub(super) fn of(method: &str, target: &'a str) -> Self {
        if target.starts_with('/') {
            return Self::origin(target, None);
        }
        let target = target.find('#').map_or(target, |end| &target[..end]);
        let scheme = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        };
        let (absolute, rest) = match target.split_once("://") {
            Some((before, rest)) if scheme(before) => (true, rest),
            _ => (false, target),
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let authority = authority.rfind('@').map_or(authority, |at| &authority[at + 1..]);
        if absolute {
            let mut parts = Self::origin(rest, Some(authority));
            if parts.path.is_empty() {
                // An empty path is `/`, but for OPTIONS it means the server itself (RFC 9112, 3.2.4).
                parts.path = if method == "OPTIONS" && parts.query.is_empty() {
                    "*"
                } else {
                    "/"
                };
            }
            parts
        } else if method == "CONNECT" {
            Self {
                path: authority,
                query: "",
                authority: Some(authority),
            }
        } else {
            // `*`, or no form at all; nothing is said of what follows a first slash there.
            Self {
                path: authority,
                query: "",
                authority: None,
            }
        }
    }

    fn origin(target: &'a str, authority: Option<&'a str>) -> Self {
        let (path, query) = match memchr2(b'?', b'#', target.as_bytes()) {
            None => (target, ""),
            Some(end) => {
                let (path, rest) = target.split_at(end);
                let rest = memchr(b'#', rest.as_bytes()).map_or(rest, |fragment| &rest[..fragment]);
                (path, rest.strip_prefix('?').unwrap_or(""))
            }
        };
        Self { path, query, authority }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines of a head, some of them odd.
    fn lines() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("Content-Length"),
            Just("content-LENGTH"),
            Just("Transfer-Encoding"),
            Just("Host"),
            Just("X-Request-ID"),
            Just("x-correlation-id"),
            Just("Expect"),
            Just("Content-Lengths"),
            Just("Cookie"),
            Just("X"),
        ];
        let value = prop_oneof![
            Just("12".to_owned()),
            Just(" 12, 12".to_owned()),
            Just("chunked".to_owned()),
            Just("gzip,\tchunked ".to_owned()),
            Just("100-Continue".to_owned()),
            "[ -~]{0,12}",
            "[\\x00-\u{ff}]{0,6}",
        ];
        let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
        let line = (name, prop_oneof![Just(":"), Just(": "), Just(" :")], value, end);
        prop::collection::vec(
            line.prop_map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}")),
            0..6,
        )
        .prop_map(|lines| lines.concat())
    }

    /// What the strict parser's fields say of those that are of interest.
    fn expected<'a>(headers: &[httparse::Header<'a>]) -> Fields<'a> {
        let mut fields = Fields::default();
        for header in headers {
            let name = match &*header.name.to_ascii_lowercase() {
                "host" => Name::Host,
                "expect" => Name::Expect,
                "x-request-id" => Name::RequestId,
                "x-correlation-id" => Name::CorrelationId,
                "content-length" => Name::ContentLength,
                "transfer-encoding" => Name::TransferEncoding,
                "content-type" => Name::ContentType,
                "upgrade" => Name::Upgrade,
                _ => continue,
            };
            fields.take(name, header.value);
        }
        fields
    }

    proptest! {
        #[test]
        fn requests_are_read_as_the_strict_parser_reads_them(
            line in "(GET|POST|[!-~]{1,4}) /[!-~]{0,8}[\\x00-\u{ff}]? HTTP/1.[0-2]\r?\n",
            lines in lines(),
            rest in "[\r\nGET]{0,8}",
        ) {
            let bytes = format!("{line}{lines}\r\n{rest}").into_bytes();
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut strict = httparse::Request::new(&mut headers);
            let ours = request(&bytes);
            match strict.parse(&bytes) {
                Ok(httparse::Status::Complete(used)) => {
                    let Parsed::Complete(ours) = ours else { panic!("{ours:?} for {}", bytes.escape_ascii()) };
                    prop_assert_eq!(Some(ours.method), strict.method);
                    if strict.path.is_some_and(str::is_ascii) {
                        prop_assert_eq!(Some(&*ours.target), strict.path);
                    }
                    prop_assert_eq!(ours.bytes, used);
                    prop_assert_eq!(ours.protocol == Protocol::Http10, strict.version == Some(0));
                    prop_assert_eq!(ours.fields, expected(strict.headers));
                }
                Ok(httparse::Status::Partial) => prop_assert!(!matches!(ours, Parsed::Malformed)),
                Err(_) => {}
            }
        }

        #[test]
        fn responses_are_read_as_the_strict_parser_reads_them(
            line in "HTTP/1.[0-2] [0-9]{3}( [ -~]{0,8})?\r?\n",
            lines in lines(),
            rest in "[\r\nHTP]{0,8}",
        ) {
            let bytes = format!("{line}{lines}\r\n{rest}").into_bytes();
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut strict = httparse::Response::new(&mut headers);
            if let Ok(httparse::Status::Complete(used)) = strict.parse(&bytes)
                && let Some(status @ 100..) = strict.code
            {
                let Parsed::Complete(ours) = response(&bytes) else { panic!("refused {}", bytes.escape_ascii()) };
                prop_assert_eq!((ours.status, ours.bytes), (status, used));
                prop_assert_eq!(ours.fields, expected(strict.headers));
            }
        }
    }

    #[track_caller]
    fn check_target(method: &str, target: &str, path: &str, query: &str, authority: Option<&str>) {
        assert_eq!(Target::of(method, target), Target { path, query, authority });
    }

    #[test]
    fn targets_are_taken_apart_and_lose_their_credentials() {
        check_target("GET", "/a/b?c=d&e", "/a/b", "c=d&e", None);
        check_target("GET", "/a@b/?q=x@y", "/a@b/", "q=x@y", None);
        check_target("GET", "/a#frag?x", "/a", "", None);
        check_target("GET", "http://me:secret@host:81/p?q", "/p", "q", Some("host:81"));
        check_target("GET", "http://a@b:secret@host", "/", "", Some("host"));
        check_target("GET", "http://host?q", "/", "q", Some("host"));
        check_target("OPTIONS", "http://host", "*", "", Some("host"));
        check_target("OPTIONS", "*", "*", "", None);
        check_target("CONNECT", "me:secret@host:443", "host:443", "", Some("host:443"));
        check_target("GET", "me:secret@host/x", "host", "", None);
        check_target("GET", "", "", "", None);
    }

    #[test]
    fn lengths_must_agree() {
        let length = |value: &[u8]| {
            let mut fields = Fields::default();
            fields.take(Name::ContentLength, value);
            (fields.content_length, fields.length_invalid)
        };
        assert_eq!(length(b"12"), (Some(12), false));
        assert_eq!(length(b"12, 12"), (Some(12), false));
        assert_eq!(length(b"12, 13"), (Some(12), true));
        assert_eq!(length(b"18446744073709551616"), (None, true));
        assert_eq!(length(b"+1"), (None, true));
        assert_eq!(length(b""), (None, true));
    }

    #[test]
    fn a_transfer_coding_that_is_none_says_nothing() {
        let coding = |values: &[&'static str]| {
            let mut fields = Fields::default();
            for value in values {
                fields.take(Name::TransferEncoding, value.as_bytes());
            }
            (fields.transfer_encoding, fields.chunked)
        };
        assert_eq!(coding(&["Identity"]), (false, false));
        assert_eq!(coding(&["", ","]), (false, false));
        assert_eq!(coding(&["chunked", "identity"]), (true, true));
        assert_eq!(coding(&["chunked, gzip"]), (true, false));
    }

    #[test]
    fn a_head_ends_behind_an_empty_line_wherever_it_is_split() {
        for head in [
            &b"GET / HTTP/1.1\r\nA: b\r\n\r\n"[..],
            b"GET / HTTP/1.1\nA: b\n\n",
            b"x\r\n\n",
            b"x\n\r\n",
        ] {
            for split in 0..head.len() {
                let (before, after) = head.split_at(split);
                assert_eq!(
                    end_of_head(before, &[after, b"body\n\n"].concat()),
                    Some(after.len()),
                    "at {split}"
                );
                assert_eq!(end_of_head(&[], before), None, "at {split}");
            }
        }
    }

    #[test]
    fn what_strict_parsers_refuse_is_read_all_the_same() {
        let many = "Header: x\r\n".repeat(200);
        let head = format!("GET /p HTTP/1.1\r\n{many}Content-Length: 7\r\n\r\n");
        let Parsed::Complete(parsed) = request(head.as_bytes()) else {
            panic!("refused")
        };
        assert_eq!((parsed.fields.content_length, parsed.bytes), (Some(7), head.len()));

        let Parsed::Complete(parsed) = request(b"GET /\xff\x1b[1m HTTP/1.1\r\n\r\n") else {
            panic!("refused")
        };
        assert_eq!(parsed.target, "/\u{fffd}\u{fffd}[1m");

        let folded = b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n gzip,\r\n\tchunked\r\nHost: a\r\n b\r\n\r\n";
        let Parsed::Complete(parsed) = request(folded) else {
            panic!("refused")
        };
        assert!(parsed.fields.chunked);
        assert_eq!(parsed.fields.host, Some("a"));
    }

    #[test]
    fn other_protocols_are_no_heads() {
        for bytes in [
            &b"PRI * HTTP/2.0\r\n\r\n"[..],
            b"PING\r\n",
            b"SET a b\r\n",
            b"EHLO x\r\n",
            b"{\"GET\": 1}",
            b"\0",
        ] {
            assert!(matches!(request(bytes), Parsed::Malformed), "{}", bytes.escape_ascii());
            assert!(matches!(response(bytes), Parsed::Malformed), "{}", bytes.escape_ascii());
        }
        assert!(matches!(response(b"HTTP/1.1 099 no\r\n\r\n"), Parsed::Malformed));
        assert!(matches!(response(b"HTTP/2 200\r\n\r\n"), Parsed::Malformed));
    }
}
