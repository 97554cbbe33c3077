//! Heads of messages: from bytes to what the dissector needs of them. RFC 9112, sections 2 to 5.
//!
//! `httparse` reads the heads that are as they should be, which is nearly all. What it refuses (folded lines, more
//! fields than fit, bytes that are not UTF-8) was sent and answered all the same, so a slower reader takes over, which
//! asks for a valid first line only. It also reads what is there of a head that was cut.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use httparse::Status;
use memchr::memchr;

use crate::exchange::Protocol;

/// Fields that the fast reader takes; a head with more goes to the slow one.
const FIELDS: usize = 64;
/// A method longer than this is none.
const METHOD_BYTES: usize = 32;

/// The registry of methods (RFC 9110, 16.1.1), and what caches and UPnP use besides. Frequent ones first.
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
#[derive(Debug, Default)]
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
}

impl<'a> Fields<'a> {
    #[inline]
    fn take(&mut self, name: &[u8], value: &'a [u8]) {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") && self.host.is_none() => self.host = text(value),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            12 if name.eq_ignore_ascii_case(b"x-request-id") => self.request_id = text(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_length(value),
            16 if name.eq_ignore_ascii_case(b"x-correlation-id") && self.request_id.is_none() => {
                self.request_id = text(value);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer_encoding = true;
                // Several fields are one list (RFC 9110, 5.3); an empty element says nothing (5.6.1).
                if let Some(last) = elements(value).last() {
                    self.chunked = last.eq_ignore_ascii_case(b"chunked");
                }
            }
            _ => {}
        }
    }

    /// A list of equal lengths is that length, anything else an error (RFC 9112, 6.3).
    fn take_length(&mut self, value: &[u8]) {
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

    fn of_parsed(headers: &[httparse::Header<'a>]) -> Self {
        let mut fields = Self::default();
        for header in headers {
            fields.take(header.name.as_bytes(), header.value);
        }
        fields
    }

    /// Reads complete lines; the last one is left out if it has no end.
    fn of_lines(mut lines: &'a [u8]) -> Self {
        let mut fields = Self::default();
        let mut name: &[u8] = b"";
        while let Some(end) = memchr(b'\n', lines) {
            let line = lines[..end].trim_ascii_end();
            lines = &lines[end + 1..];
            if line.first().is_some_and(|&byte| byte == b' ' || byte == b'\t') {
                // A folded line (RFC 9112, 5.2). For the lists of interest it is as good as another field.
                if name.len() != 4 {
                    fields.take(name, line.trim_ascii());
                }
            } else if let Some(colon) = memchr(b':', line) {
                name = line[..colon].trim_ascii_end();
                let value = line[colon + 1..].trim_ascii();
                let folded = lines.first().is_some_and(|&byte| byte == b' ' || byte == b'\t');
                if !(folded && value.is_empty()) {
                    fields.take(name, value);
                }
            }
        }
        fields
    }
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
    let mut headers = [const { MaybeUninit::uninit() }; FIELDS];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(used)) => {
            let (Some(method), Some(target)) = (head.method, head.path) else {
                return Parsed::Malformed;
            };
            Parsed::Complete(RequestHead {
                protocol: if head.version == Some(0) {
                    Protocol::Http10
                } else {
                    Protocol::Http11
                },
                method,
                target: Cow::Borrowed(target),
                fields: Fields::of_parsed(head.headers),
                bytes: used,
            })
        }
        Ok(Status::Partial) if bytes.len() < METHOD_BYTES => {
            if could_be_request(bytes) {
                Parsed::Partial
            } else {
                Parsed::Malformed
            }
        }
        Ok(Status::Partial) => Parsed::Partial,
        Err(_) => slow_request(bytes),
    }
}

/// Reads a response's head that begins with the first of `bytes`.
#[inline]
pub(super) fn response(bytes: &[u8]) -> Parsed<ResponseHead<'_>> {
    let mut headers = [const { MaybeUninit::uninit() }; FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut head, bytes, &mut headers) {
        Ok(Status::Complete(used)) => match head.code {
            Some(status @ 100..) => Parsed::Complete(ResponseHead {
                status,
                fields: Fields::of_parsed(head.headers),
                bytes: used,
            }),
            _ => Parsed::Malformed,
        },
        Ok(Status::Partial) => Parsed::Partial,
        Err(_) => {
            let Some(line) = memchr(b'\n', bytes) else {
                return if could_be_response(bytes) {
                    Parsed::Partial
                } else {
                    Parsed::Malformed
                };
            };
            let Some(status) = status_of(bytes) else {
                return Parsed::Malformed;
            };
            let Some(end) = end_of_head(&[], bytes) else {
                return Parsed::Partial;
            };
            Parsed::Complete(ResponseHead {
                status,
                fields: Fields::of_lines(&bytes[line + 1..end]),
                bytes: end,
            })
        }
    }
}

fn slow_request(bytes: &[u8]) -> Parsed<RequestHead<'_>> {
    let Some(line_end) = memchr(b'\n', bytes) else {
        return if could_be_request(bytes) {
            Parsed::Partial
        } else {
            Parsed::Malformed
        };
    };
    let Some((method, target, protocol)) = request_line(&bytes[..line_end]) else {
        return Parsed::Malformed;
    };
    let Some(end) = end_of_head(&[], bytes) else {
        return Parsed::Partial;
    };
    Parsed::Complete(RequestHead {
        protocol,
        method,
        target: printable(target),
        fields: Fields::of_lines(&bytes[line_end + 1..end]),
        bytes: end,
    })
}

/// What can be said of a request whose head was cut behind `bytes`; nothing without its method. A target that was cut
/// within its path is given as empty, since half a path names another resource.
pub(super) fn cut_request(bytes: &[u8]) -> Option<RequestHead<'_>> {
    if let Some(line_end) = memchr(b'\n', bytes) {
        let (method, target, protocol) = request_line(&bytes[..line_end])?;
        return Some(RequestHead {
            protocol,
            method,
            target: printable(target),
            fields: Fields::of_lines(&bytes[line_end + 1..]),
            bytes: bytes.len(),
        });
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
        target: printable(known),
        fields: Fields::default(),
        bytes: bytes.len(),
    })
}

/// What can be said of a response whose head was cut behind `bytes`; nothing without its status.
pub(super) fn cut_response(bytes: &[u8]) -> Option<ResponseHead<'_>> {
    Some(ResponseHead {
        status: status_of(bytes)?,
        fields: match memchr(b'\n', bytes) {
            Some(line_end) => Fields::of_lines(&bytes[line_end + 1..]),
            None => Fields::default(),
        },
        bytes: bytes.len(),
    })
}

/// Could a request's head begin with these bytes, however many there are?
pub(super) fn could_be_request(bytes: &[u8]) -> bool {
    match memchr(b'\n', bytes) {
        Some(line_end) => request_line(&bytes[..line_end]).is_some(),
        None => {
            let letters = bytes.iter().take_while(|&&byte| is_token(byte)).count();
            letters > 0 && letters <= METHOD_BYTES && bytes.get(letters).is_none_or(|&byte| byte == b' ')
        }
    }
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

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A method and what follows the space behind it.
fn method(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr(b' ', bytes)?;
    let (method, rest) = (&bytes[..end], &bytes[end + 1..]);
    let valid = !method.is_empty() && end <= METHOD_BYTES && method.iter().all(|&byte| is_token(byte));
    Some((text(method).filter(|_| valid)?, rest))
}

/// Method, target and version of a complete first line. The target may contain spaces: some clients send them.
fn request_line(line: &[u8]) -> Option<(&str, &[u8], Protocol)> {
    let (method, rest) = method(line.trim_ascii_end())?;
    let space = rest.iter().rposition(|&byte| byte == b' ')?;
    let (target, version) = (rest[..space].trim_ascii(), &rest[space + 1..]);
    let protocol = match version.strip_prefix(b"HTTP/1.")? {
        b"0" => Protocol::Http10,
        [digit] if digit.is_ascii_digit() => Protocol::Http11,
        _ => return None,
    };
    (!target.is_empty()).then_some((method, target, protocol))
}

/// Status of a first line of which at least version, space and three digits are there.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let rest = rest.get(1..)?.strip_prefix(b" ")?.trim_ascii_start();
    let status = number(rest.get(..3)?).and_then(|status| u16::try_from(status).ok())?;
    (status >= 100 && rest.get(3).is_none_or(|byte| !byte.is_ascii_digit())).then_some(status)
}

/// Text without control characters: it ends up in terminals.
fn printable(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, "\u{fffd}"))
    } else {
        text
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
        let target = target.find('#').map_or(target, |end| &target[..end]);
        if target.starts_with('/') {
            return Self::origin(target, None);
        }
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
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { path, query, authority }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            fields.take(b"Content-LENGTH", value);
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
    fn what_httparse_refuses_is_read_all_the_same() {
        let many: String = (0..200).map(|n| format!("H{n}: {n}\r\n")).collect();
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
