//! Blanks credentials and query values in records before they are written to a file, byte for byte, so that every length
//! and position stays true.
//!
//! What is blanked: values of header lines whose name speaks of a secret (`Authorization`, `Cookie`, `X-Api-Key` …),
//! values of query parameters wherever a `?` or `#` introduces some, user and password in an absolute request target, and the
//! tails of light records except for what framing needs. It reads lines, not messages: a body is scanned like a head,
//! so a body that says `Cookie: …` is blanked as well, while a secret of another shape in a body is not found.
//!
//! Other protocols look like HTTP at first sight (`PASS secret` of FTP): until a connection has shown a first line of HTTP,
//! everything is blanked but the beginning of the very first line, as long as it can be nothing else, so that one that comes
//! byte by byte replays as it was seen.
//!
//! Of HTTP/2 the frames are read, and the values of header fields blanked that nobody looks at: see
//! [`crate::protocol::http2::blank`].
//!
//! Databases, caches and brokers are followed as the core follows them, see [`conversation`].
//!
//! A line may be cut by the end of a record, so a little state is kept per connection and direction. In doubt (a
//! connection without state, bytes that were not captured) everything up to the next line's beginning is blanked, unless
//! the bytes begin like a message. Where the direction turned on a connection that speaks HTTP, the capitals of a first word
//! are kept until it shows that they begin none, for the same reason.

mod conversation;

use hashbrown::HashMap;
use perf_common::record::{DataRecord, RecordHeader, change, direction, flag, kind};
use perf_common::sniff::{SNIFF_BYTES, looks, sniff};

use self::conversation::Conversation;
use crate::event::{Event, Segment};
use crate::protocol::http2::blank::Blanker;

const BLANK: u8 = b'x';
/// The same where no protocol is known: no message of any begins like this.
const UNKNOWN: u8 = b'?';
/// Connections with state. Above it, lines are followed within one record only.
const MAX_CONNECTIONS: usize = 65_536;
/// A header name longer than this is taken for a secret's.
const NAME_BYTES: usize = 40;

/// A longer word of capitals is no method.
const METHOD_BYTES: usize = 24;

/// What a header name must contain for its value to be blanked.
const SECRET_WORDS: [&str; 10] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "password",
    "key",
    "session",
    "credential",
    "signature",
    "csrf",
];

/// Blanks records, one after the other.
#[derive(Debug, Default)]
pub struct Scrubber {
    connections: HashMap<u64, Connection>,
}

/// What is known of a connection.
#[derive(Debug)]
struct Connection {
    /// By direction.
    streams: [Stream; 2],
    /// A first line of HTTP was seen.
    http: bool,
    from_start: bool,
    /// HTTP/2 is spoken: by direction.
    frames: Option<Box<[Blanker; 2]>>,
    /// Bytes were moved.
    moved: bool,
    /// Another protocol is spoken.
    conversation: Option<Box<Conversation>>,
}

impl Connection {
    fn new(line: Line) -> Self {
        let stream = Stream {
            line,
            end: None,
            cut: [0; LINE_END],
            opening: (line.state == State::Name).then(Opening::default),
        };
        Self {
            streams: [stream; 2],
            http: false,
            from_start: line.state == State::Name,
            frames: None,
            moved: false,
            conversation: None,
        }
    }

    /// What may be written of a segment of another protocol than HTTP: bytes, and the last ones.
    fn other_protocol(&mut self, segment: &Segment<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
        if self.http || self.frames.is_some() || segment.pieces {
            return None;
        }
        if self.conversation.is_none() && segment.length > 0 {
            let first = self.from_start && !std::mem::replace(&mut self.moved, true);
            self.conversation = Conversation::begins(segment, first).map(Box::new);
        }
        Some(self.conversation.as_mut()?.blank(segment))
    }
}

impl Scrubber {
    /// Blanks one whole record in place. Records of other kinds than data carry no payload.
    pub fn scrub(&mut self, record: &mut [u8]) {
        match number(record, 0, 2) {
            kind if kind == u64::from(kind::DATA) => self.data(record),
            kind if kind == u64::from(kind::OPEN) && self.connections.len() < MAX_CONNECTIONS => {
                let origin = number(record, std::mem::offset_of!(perf_common::record::OpenRecord, origin), 2);
                let line = if origin == u64::from(perf_common::record::origin::FROM_START) {
                    Line::start()
                } else {
                    Line::unknown()
                };
                let connection = number(record, size_of::<RecordHeader>(), 8);
                self.connections.insert(connection, Connection::new(line));
            }
            kind if kind == u64::from(kind::STATE) => {
                let what = number(
                    record,
                    std::mem::offset_of!(perf_common::record::StateRecord, change),
                    1,
                );
                if what == u64::from(change::DESTROYED) || what == u64::from(change::FORGOTTEN) {
                    self.connections.remove(&number(record, size_of::<RecordHeader>(), 8));
                }
            }
            _ => {}
        }
    }

    /// What may be written of a record of another protocol than HTTP.
    fn other_protocol(&mut self, record: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let Ok(Event::Segment(segment)) = Event::decode(record) else {
            return None;
        };
        self.connections.get_mut(&segment.connection)?.other_protocol(&segment)
    }

    fn data(&mut self, record: &mut [u8]) {
        use std::mem::offset_of;
        if let Some((bytes, tail)) = self.other_protocol(record) {
            let (head, payload) = record.split_at_mut(size_of::<DataRecord>());
            payload.copy_from_slice(&bytes);
            let end = head.len();
            head[end - tail.len()..].copy_from_slice(&tail);
            return;
        }
        let flags = number(record, offset_of!(RecordHeader, flags), 2);
        let connection = number(record, offset_of!(DataRecord, connection), 8);
        let length = number(record, offset_of!(DataRecord, length), 4);
        let captured = number(record, offset_of!(DataRecord, captured), 4);
        let end = u32::try_from(number(record, offset_of!(DataRecord, position_end), 4)).unwrap_or(0);
        let sent = number(record, offset_of!(DataRecord, direction), 1) == u64::from(direction::SENT);
        let tail = offset_of!(DataRecord, tail)..size_of::<DataRecord>();
        if let Some(tail) = record.get_mut(tail).filter(|_| flags & u64::from(flag::TAIL) != 0) {
            // The end of a chunked body is looked for here; nothing else is. Where nothing was found stands 0.
            tail.iter_mut()
                .filter(|byte| !matches!(byte, b'\r' | b'\n' | b'0' | 0))
                .for_each(|byte| *byte = BLANK);
        }
        let Some(payload) = record.get_mut(size_of::<DataRecord>()..) else {
            return;
        };
        if flags & u64::from(flag::PIECES) != 0 {
            let place = Place { length, end };
            match self.connections.get_mut(&connection) {
                Some(connection) => connection.pieces(sent, place, payload),
                // What in compressed header blocks is a secret shows only to those who saw the ones before.
                None => payload.fill(0),
            }
            return;
        }
        if let Some(connection) = self.connections.get_mut(&connection)
            && connection.frames.is_some()
        {
            return connection.pieces(sent, Place { length, end }, &mut []);
        }
        let start = end.wrapping_sub(u32::try_from(length).unwrap_or(0));
        let mut alone = Connection::new(Line::unknown());
        let connection = self.connections.get_mut(&connection).unwrap_or(&mut alone);
        let stream = &mut connection.streams[usize::from(sent)];
        if stream.end.is_some_and(|end| end != start) {
            stream.line = Line::unknown();
            stream.opening = None;
        }
        if stream.line.is_unknown() && begins_like_a_message(payload) {
            stream.line = Line::start();
        } else if connection.http && stream.line.is_unknown() && flags & u64::from(flag::FIRST) != 0 {
            stream.line.state = State::FirstWord;
        }
        let first = if connection.http {
            None
        } else {
            stream.first_line(payload)
        };
        connection.http |= first == Some(true);
        if connection.http || (first.is_none() && stream.opens(payload)) {
            stream.line.blank(payload);
        } else {
            stream.opening = None;
            let line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
            payload
                .iter_mut()
                .filter(|byte| !line_end(byte))
                .for_each(|byte| *byte = UNKNOWN);
            stream.line = Line::unknown();
        }
        if captured < length {
            stream.line = Line::unknown();
            stream.opening = None;
        }
        stream.end = Some(end);
    }
}

/// Where a segment lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    length: u64,
    /// Position behind it.
    end: u32,
}

impl Connection {
    /// A segment of HTTP/2, and the pieces of it that were captured.
    fn pieces(&mut self, sent: bool, segment: Place, mut payload: &mut [u8]) {
        let from_start = self.from_start;
        let both = self
            .frames
            .get_or_insert_with(|| Box::new([Blanker::new(from_start), Blanker::new(from_start)]));
        let blanker = &mut both[usize::from(sent)];
        let stream = &mut self.streams[usize::from(sent)];
        let length = u32::try_from(segment.length).unwrap_or(u32::MAX);
        let ahead = stream.end.map_or(length, |end| segment.end.wrapping_sub(end));
        // As the core places segments: what came before, or was lost.
        let repeated = if ahead > u32::MAX / 2 {
            length
        } else {
            length.saturating_sub(ahead)
        };
        if ahead <= u32::MAX / 2 {
            if ahead > length {
                blanker.skip(u64::from(ahead - length), true);
            }
            stream.end = Some(segment.end);
        }
        let (mut told, mut at) = (u64::from(repeated), 0);
        while let Some((before, rest)) = std::mem::take(&mut payload).split_first_chunk_mut::<8>() {
            at += number(before, 0, 4);
            let captured = usize::try_from(number(before, 4, 4)).unwrap_or(usize::MAX);
            if at > told {
                blanker.skip(at - told, false);
                told = at;
            }
            let captured = captured.min(rest.len());
            let (bytes, rest) = rest.split_at_mut(captured);
            let known = usize::try_from(told - at).map_or(captured, |known| known.min(captured));
            let (again, news) = bytes.split_at_mut(known);
            again.fill(0);
            blanker.blank(news);
            at += captured as u64;
            told = told.max(at);
            payload = rest;
        }
        if segment.length > told {
            blanker.skip(segment.length - told, false);
        }
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
struct Stream {
    line: Line,
    /// Position behind the last segment.
    end: Option<u32>,
    /// The last bytes of a line that was not ended.
    cut: [u8; LINE_END],
    /// The first line of all, as long as it has not ended and can be one of HTTP.
    opening: Option<Opening>,
}

/// How a line begins.
#[derive(Clone, Copy, Debug, Default)]
struct Opening {
    bytes: [u8; OPENING_BYTES],
    held: usize,
}

/// A method, a space, and what a target begins with.
const OPENING_BYTES: usize = 24;
/// Methods of the web and of its authoring (RFC 4918).
const METHODS: [&[u8]; 17] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"QUERY",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
];
const TARGETS: [&[u8]; 4] = [b"/", b"http://", b"https://", b"* "];

impl Opening {
    /// Goes on with these bytes: can it be the first line of a message still?
    fn goes_on(&mut self, payload: &[u8]) -> bool {
        let free = &mut self.bytes[self.held..];
        let payload = if self.held == 0 {
            payload.trim_ascii_start()
        } else {
            payload
        };
        let taken = payload.len().min(free.len());
        free[..taken].copy_from_slice(&payload[..taken]);
        self.held += taken;
        let line = &self.bytes[..self.held];
        let agrees = |line: &[u8], with: &[u8]| line.iter().zip(with).all(|(one, other)| one == other);
        let is_request = match memchr::memchr(b' ', line) {
            None => METHODS.iter().any(|method| method.starts_with(line)),
            Some(end) => {
                METHODS.contains(&&line[..end]) && TARGETS.iter().any(|target| agrees(&line[end + 1..], target))
            }
        };
        is_request || agrees(line, &VERSION[1..VERSION.len() - 1])
    }
}

impl Stream {
    /// Do these bytes, in which no line ends, go on with the connection's first line, and can that be one of HTTP?
    fn opens(&mut self, payload: &[u8]) -> bool {
        self.opening.as_mut().is_some_and(|opening| opening.goes_on(payload))
    }

    /// Is the line that ends first in these bytes, but for empty ones, the first one of an HTTP message? `None` if none
    /// ends.
    fn first_line(&mut self, payload: &[u8]) -> Option<bool> {
        let mut told = None;
        let mut line = Vec::with_capacity(2 * LINE_END);
        for piece in payload.split_inclusive(|&byte| byte == b'\n') {
            line.clear();
            line.extend(self.cut);
            line.extend(&piece[piece.len().saturating_sub(LINE_END)..]);
            if piece.trim_ascii().is_empty() && self.cut == [0; LINE_END] {
                // Line ends before a message are skipped (RFC 9112, 2.2).
            } else if piece.ends_with(b"\n") {
                let text = line.trim_ascii_end();
                let request = text.split_last().is_some_and(|(digit, text)| {
                    digit.is_ascii_digit() && text.ends_with(&VERSION[..VERSION.len() - 1])
                });
                told = told.or(Some(request || payload.starts_with(b"HTTP/1.")));
                self.cut = [0; LINE_END];
            } else {
                self.cut.copy_from_slice(&line[line.len() - LINE_END..]);
            }
        }
        told
    }
}

/// What ends a request's first line, with any last digit.
const VERSION: &[u8] = b" HTTP/1.1";
/// That and CR LF.
const LINE_END: usize = VERSION.len() + 2;

/// Where in a line the last byte was.
#[derive(Clone, Copy, Debug)]
struct Line {
    state: State,
    name: [u8; NAME_BYTES],
    name_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is known up to the next line.
    Unknown,
    /// In the first word of what may be a message: a method or `HTTP`.
    FirstWord,
    /// In a line's first word.
    Name,
    /// In text that is kept.
    Kept,
    /// Behind `?` or `#`, in a key.
    QueryKey,
    /// Behind `=` in a query.
    QueryValue,
    /// In a secret's value.
    Secret,
    /// At the beginning of the line after one: white space continues it (RFC 9112, 5.2).
    AfterSecret,
}

impl Line {
    fn start() -> Self {
        Self {
            state: State::Name,
            name: [0; NAME_BYTES],
            name_bytes: 0,
        }
    }

    fn unknown() -> Self {
        Self {
            state: State::Unknown,
            ..Self::start()
        }
    }

    fn is_unknown(self) -> bool {
        self.state == State::Unknown
    }

    fn blank(&mut self, payload: &mut [u8]) {
        let mut at = 0;
        while at < payload.len() {
            let byte = payload[at];
            if byte == b'\n' {
                let secret = matches!(self.state, State::Secret | State::AfterSecret);
                *self = Self::start();
                if secret {
                    self.state = State::AfterSecret;
                }
            } else {
                if self.state == State::AfterSecret {
                    self.state = if matches!(byte, b' ' | b'\t') {
                        State::Secret
                    } else {
                        State::Name
                    };
                }
                let before = self.state;
                if !(self.in_query() && byte == b' ' && goes_on_behind_space(&payload[at + 1..])) {
                    self.step(byte);
                }
                match self.state {
                    // Not the byte that leads into a value, only those within.
                    State::Unknown if byte != b'\r' => payload[at] = BLANK,
                    State::Secret | State::QueryValue if before == self.state && byte != b'\r' => {
                        payload[at] = BLANK;
                    }
                    State::Kept if byte == b'/' => blank_userinfo(payload, at),
                    _ => {}
                }
            }
            at += 1;
        }
    }

    /// Goes on by one byte that is not LF.
    fn step(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::FirstWord, byte) if is_capital(byte) && self.name_bytes < METHOD_BYTES => {
                self.name_bytes += 1;
                State::FirstWord
            }
            (State::FirstWord, b' ' | b'/') if self.name_bytes > 0 => State::Kept,
            (State::FirstWord, _) => State::Unknown,
            (State::Name, b':') if self.is_secret() => State::Secret,
            (State::Name | State::Kept, b'?' | b'#') | (State::QueryValue, b'&' | b';') => State::QueryKey,
            (State::QueryKey, b'=') => State::QueryValue,
            // Space before the colon is not allowed, and sent.
            (State::Name, b' ') if self.is_secret() => State::Name,
            (State::Name, b':' | b' ' | b'/') | (State::QueryKey | State::QueryValue, b' ' | b'\r') => State::Kept,
            (State::Name, _) => {
                if let Some(slot) = self.name.get_mut(self.name_bytes) {
                    *slot = byte.to_ascii_lowercase();
                }
                self.name_bytes = self.name_bytes.saturating_add(1);
                State::Name
            }
            (state, _) => state,
        };
    }

    fn in_query(&self) -> bool {
        matches!(self.state, State::QueryKey | State::QueryValue)
    }

    fn is_secret(&self) -> bool {
        match self.name.get(..self.name_bytes) {
            None => true,
            Some(name) => SECRET_WORDS
                .iter()
                .any(|word| memchr::memmem::find(name, word.as_bytes()).is_some()),
        }
    }
}

/// Some clients send spaces within a query. One ends it only where the version follows, or where the record ends and it
/// cannot be told.
fn goes_on_behind_space(rest: &[u8]) -> bool {
    let version = &VERSION[1..VERSION.len() - 1];
    let known = rest.len().min(version.len());
    rest[..known] != version[..known]
}

/// `at` is a slash; if it ends `//`, what stands before an `@` in the authority behind it is blanked (RFC 3986, 3.2.1).
fn blank_userinfo(payload: &mut [u8], at: usize) {
    if at == 0 || payload[at - 1] != b'/' {
        return;
    }
    let rest = &mut payload[at + 1..];
    let authority = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b' ' | b'\r' | b'\n'))
        .unwrap_or(rest.len());
    if let Some(user) = memchr::memrchr(b'@', &rest[..authority]) {
        rest[..user].fill(BLANK);
    }
}

/// What methods and `HTTP` are made of.
fn is_capital(byte: u8) -> bool {
    byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_')
}

fn begins_like_a_message(payload: &[u8]) -> bool {
    let mut first = [0; SNIFF_BYTES];
    let known = payload.len().min(SNIFF_BYTES);
    first[..known].copy_from_slice(&payload[..known]);
    let looks = sniff(first, known, u32::try_from(payload.len()).unwrap_or(u32::MAX));
    // A piece of a value may consist of capitals, with a space behind; a message that is cut within its first word says nothing
    // yet.
    looks == looks::HTTP1_RESPONSE
        || (looks == looks::HTTP1_REQUEST
            && payload.iter().take(OPENING_BYTES).any(|&byte| byte == b' ')
            && Opening::default().goes_on(payload))
}

/// A little-endian number in a record, 0 if the record is shorter.
fn number(record: &[u8], at: usize, bytes: usize) -> u64 {
    let field = record.get(at..at + bytes).unwrap_or(&[]);
    field
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod replays;

#[cfg(test)]
mod tests {
    use super::*;
    use perf_common::record::origin;
    use proptest::prelude::*;

    fn open(connection: u64, origin: u16) -> Vec<u8> {
        crate::synthetic::open(connection, 1, 0, origin).to_bytes().to_vec()
    }

    fn data(connection: u64, end: u32, length: u32, payload: &[u8]) -> Vec<u8> {
        let captured = u32::try_from(payload.len()).unwrap();
        let record = DataRecord {
            header: RecordHeader {
                kind: kind::DATA,
                flags: flag::TAIL,
                size: 64 + captured,
                at_ns: 0,
            },
            connection,
            arrival_ns: 0,
            position_end: end,
            length,
            captured,
            tgid: 1,
            tid: 1,
            direction: direction::RECEIVED,
            reserved: [0; 3],
            tail: *b"key0\r\n\r\n",
        };
        [&record.to_bytes()[..], payload].concat()
    }

    /// Scrubs `pieces` as consecutive segments of one connection and gives them joined.
    fn scrubbed(origin: u16, pieces: &[&[u8]]) -> String {
        let mut scrubber = Scrubber::default();
        scrubber.scrub(&mut open(1, origin));
        let (mut end, mut text) = (0_u32, Vec::new());
        for piece in pieces {
            let length = u32::try_from(piece.len()).unwrap();
            end += length;
            let mut record = data(1, end, length, piece);
            scrubber.scrub(&mut record);
            text.extend_from_slice(&record[64..]);
        }
        String::from_utf8(text).unwrap()
    }

    const HEAD: &str = "POST http://bob:pw@h/p?user=ann&q=1;z=%20#f HTTP/1.1\r\nHost: h:80\r\nAuthorization: Basic QWxh==\r\n\
        COOKIE:a=b; c=d\r\n folded=e\r\nX-Api-Key: k1\r\nX-Request-Id: r1\r\nReferer: http://h/?t=s\r\nContent-Length: 4\r\n\r\na: b";
    const CLEAN: &str = "POST http://xxxxxx@h/p?user=xxx&q=x;z=xxxxx HTTP/1.1\r\nHost: h:80\r\nAuthorization:xxxxxxxxxxxxx\r\n\
        COOKIE:xxxxxxxx\r\nxxxxxxxxx\r\nX-Api-Key:xxx\r\nX-Request-Id: r1\r\nReferer: http://h/?t=x\r\nContent-Length: 4\r\n\r\na: b";

    #[test]
    fn credentials_and_query_values_are_blanked_and_nothing_moves() {
        assert_eq!(scrubbed(origin::FROM_START, &[HEAD.as_bytes()]), CLEAN);
    }

    #[test]
    fn what_is_no_http_is_blanked_whole() {
        for origin in [origin::FROM_START, origin::JOINED] {
            let text = scrubbed(
                origin,
                &[b"USER ann\r\n", b"PASS hunter2\r\n", b"AUTH PLAIN AGFubg==\r\n"],
            );
            assert_eq!(text, "????????\r\n????????????\r\n???????????????????\r\n");
        }
        let request = scrubbed(origin::FROM_START, &[b"\r\nGET / HTTP/1.1\r\nA: b\r\n"]);
        assert_eq!(request, "\r\nGET / HTTP/1.1\r\nA: b\r\n");
        let response = scrubbed(origin::JOINED, &[b"HTTP/1.0 200 OK\r\nServer: s\r\n"]);
        assert_eq!(response, "HTTP/1.0 200 OK\r\nServer: s\r\n");
    }

    #[test]
    fn what_no_client_should_send_is_blanked_as_well() {
        for (head, clean) in [
            ("Authorization : Basic QWxh\r\n", "Authorization :xxxxxxxxxxx\r\n"),
            ("Authorization\t: Basic QWxh\r\n", "Authorization\t:xxxxxxxxxxx\r\n"),
            (
                "GET /p?token=\"abc\"&f={\"user\":<ann>} HTTP/1.1\r\n",
                "GET /p?token=xxxxx&f=xxxxxxxxxxxxxx HTTP/1.1\r\n",
            ),
            (
                "GET /p?token=a bc&d e=f HTTP/1.1\r\n",
                "GET /p?token=xxxx&d e=x HTTP/1.1\r\n",
            ),
            (
                "Location: https://app/cb#access_token=eyJ&state=1\r\n",
                "Location: https://app/cb#access_token=xxx&state=x\r\n",
            ),
            ("GET /p?a b=secret\tx HTTP/1.0\r\n", "GET /p?a b=xxxxxxxx HTTP/1.0\r\n"),
        ] {
            let text = scrubbed(origin::FROM_START, &[b"GET / HTTP/1.1\r\n", head.as_bytes()]);
            assert_eq!(text, format!("GET / HTTP/1.1\r\n{clean}"));
        }
    }

    #[test]
    fn of_what_is_not_recognised_yet_nothing_is_kept() {
        for (origin, pieces, clean) in [
            (
                origin::FROM_START,
                &["PA", "SS hunter2", "\r\n"][..],
                "PA??????????\r\n",
            ),
            (origin::FROM_START, &["SECRET"], "??????"),
            (
                origin::FROM_START,
                &["DELETE FROM t WHERE a = 'SECRET'"],
                "????????????????????????????????",
            ),
            (
                origin::FROM_START,
                &["\r\nGET", " /", " HTTP/1.1\r\nA: b\r\n"],
                "\r\nGET / HTTP/1.1\r\nA: b\r\n",
            ),
            (origin::JOINED, &["GETTHESECRET"], "????????????"),
            (
                origin::JOINED,
                &["GET /?a=SEC", "RET HTTP/1.1\r\nA: b\r\n"],
                "???????????xxxxxxxxxxxx\r\nA: b\r\n",
            ),
            (
                origin::JOINED,
                &["SECRET PART of a statement"],
                "??????????????????????????",
            ),
            (
                origin::JOINED,
                &["GET", " / HTTP/1.1\r\nA: b\r\n"],
                "???xxxxxxxxxxx\r\nA: b\r\n",
            ),
        ] {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(scrubbed(origin, &pieces), clean);
        }
    }

    #[test]
    fn a_cut_anywhere_blanks_the_same() {
        let userinfo = HEAD.find("@h").unwrap(); // needs the `@` in the same record
        for cut in 0..HEAD.len() {
            let (first, second) = HEAD.as_bytes().split_at(cut);
            let text = scrubbed(origin::FROM_START, &[first, second]);
            assert_eq!(text[userinfo..], CLEAN[userinfo..], "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = HEAD.as_bytes().chunks(1).collect();
        assert_eq!(scrubbed(origin::FROM_START, &bytes)[userinfo..], CLEAN[userinfo..]);
    }

    #[test]
    fn a_record_that_begins_within_a_line_is_blanked_up_to_the_next() {
        let text = scrubbed(origin::JOINED, &[b"ret-value; AB CD\r\nAccept: */*\r\n"]);
        assert_eq!(text, "????????????????\r\n???????????\r\n", "no HTTP so far");
        let text = scrubbed(
            origin::FROM_START,
            &[b"GET / HTTP/1.1\r\nCookie: se", b"cret\r\nA: b\r\n"],
        );
        assert_eq!(text, "GET / HTTP/1.1\r\nCookie:xxxxxxx\r\nA: b\r\n");
        assert_eq!(
            scrubbed(origin::JOINED, &[b"GET /a?b=c HTTP/1.1\r\n"]),
            "GET /a?b=x HTTP/1.1\r\n"
        );
    }

    #[test]
    fn after_bytes_that_were_not_captured_nothing_is_known() {
        let mut scrubber = Scrubber::default();
        scrubber.scrub(&mut open(1, origin::FROM_START));
        scrubber.scrub(&mut data(1, 100, 100, b"GET / HTTP/1.1\r\nCook"));
        let mut rest = data(1, 110, 10, b"secret\r\na:");
        scrubber.scrub(&mut rest);
        assert_eq!(&rest[64..], b"xxxxxx\r\na:");
        let mut next = data(1, 126, 16, b"GET / HTTP/1.1\r\n");
        scrubber.scrub(&mut data(1, 200, 90, b"a"));
        scrubber.scrub(&mut next);
        assert_eq!(&next[64..], b"GET / HTTP/1.1\r\n");
    }

    #[test]
    fn a_message_that_begins_by_a_byte_is_kept() {
        let mut scrubber = Scrubber::default();
        scrubber.scrub(&mut open(1, origin::FROM_START));
        // A body that was not captured, then a message of which the first byte comes alone.
        let mut position = 100;
        scrubber.scrub(&mut data(1, position, 100, b"POST / HTTP/1.1\r\n\r\nabc"));
        let mut go_on = |text: &[u8], flags: u16| {
            let length = u32::try_from(text.len()).unwrap();
            position += length;
            let mut record = data(1, position, length, text);
            record[2..4].copy_from_slice(&flags.to_le_bytes());
            scrubber.scrub(&mut record);
            String::from_utf8(record[64..].to_vec()).unwrap()
        };
        assert_eq!(go_on(b"G", flag::FIRST), "G");
        assert_eq!(go_on(b"E", 0), "E");
        assert_eq!(
            go_on(b"T /?a=b HTTP/1.1\r\nCookie: c", 0),
            "T /?a=x HTTP/1.1\r\nCookie:xx"
        );
        // What goes on otherwise is no message.
        scrubber.scrub(&mut data(1, 200, 50, b"x"));
        let mut rest = data(1, 206, 6, b"SEcret");
        rest[2..4].copy_from_slice(&flag::FIRST.to_le_bytes());
        scrubber.scrub(&mut rest);
        assert_eq!(&rest[64..], b"SExxxx");
    }

    /// A record of which pieces were captured: bytes that were not, and bytes that were.
    fn pieces(sent: bool, end: u32, length: u32, pieces: &[(u32, &[u8])]) -> Vec<u8> {
        let payload: Vec<u8> = pieces
            .iter()
            .flat_map(|(missing, bytes)| {
                let captured = u32::try_from(bytes.len()).unwrap();
                [&missing.to_le_bytes()[..], &captured.to_le_bytes(), bytes].concat()
            })
            .collect();
        let mut record = data(1, end, length, &payload);
        record[2..4].copy_from_slice(&(flag::PIECES | flag::FIRST).to_le_bytes());
        record[52] = u8::from(sent);
        record
    }

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// GET, a path with a query, authorization (inserted) in plain letters; then the same by the table.
    const ASK: &[u8] = b"\0\0\x28\x01\x05\0\0\0\x01\x82\x44\x0f/a?token=secret\x40\x0dauthorization\x06secret";
    const ASK_AGAIN: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x03\x82\xbf\xbe";
    const ANSWER: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\x10\0\0\x01\0\0\0\x01";
    const ANSWER_AGAIN: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x03\x8d";

    fn http2() -> Vec<Vec<u8>> {
        let (first, rest) = ASK.split_at(30);
        let asks = |end, length, parts: &[(u32, &[u8])]| pieces(false, end, length, parts);
        let begin = u32::try_from(PREFACE.len()).unwrap();
        let answer = u32::try_from(ANSWER.len()).unwrap();
        vec![
            open(1, origin::FROM_START),
            asks(begin + 30, begin + 30, &[(0, &[PREFACE, first].concat())]),
            // A part of it once more.
            asks(begin + 49, 29, &[(0, &ASK[20..30]), (0, rest)]),
            pieces(true, answer, answer, &[(0, ANSWER)]),
            pieces(true, answer + 4096 + 10, 4106, &[(4096, ANSWER_AGAIN)]),
            asks(begin + 61, 12, &[(0, ASK_AGAIN)]),
        ]
    }

    #[test]
    fn header_blocks_keep_what_is_looked_at() {
        let mut scrubber = Scrubber::default();
        let mut records = http2();
        for record in &mut records {
            scrubber.scrub(record);
        }
        let all = records.concat();
        assert!(!all.windows(4).any(|window| window == b"secr" || window == b"cret"));
        assert!(all.windows(9).any(|window| window == b"/a?token="));
        assert!(all.windows(12).any(|window| window == b"uthorization"));
    }

    #[test]
    fn a_recording_of_http_2_replays_as_it_was_seen() {
        let seen = |scrubbed: bool| {
            let settings = crate::pipeline::Settings {
                connections: 10,
                statistics: crate::statistics::Settings::default(),
            };
            let mut pipeline = crate::pipeline::Pipeline::new(settings).unwrap();
            let mut scrubber = Scrubber::default();
            let tick = |pipeline: &mut crate::pipeline::Pipeline, second: u64| {
                let record = perf_common::record::TickRecord::new(second * 1_000_000_000, second);
                pipeline.apply(&record.to_bytes());
            };
            tick(&mut pipeline, 1);
            for (place, mut record) in http2().into_iter().enumerate() {
                record[8..16].copy_from_slice(&(2_000_000_000 + place as u64).to_le_bytes());
                if scrubbed {
                    scrubber.scrub(&mut record);
                }
                pipeline.apply(&record);
            }
            pipeline.finish();
            tick(&mut pipeline, 3);
            let snapshot = pipeline.snapshot();
            let exchange = |it: &std::sync::Arc<crate::snapshot::LoggedExchange>| {
                let of = (
                    it.method.clone(),
                    it.path.clone(),
                    it.query.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(),
                    it.status,
                    it.outcome,
                );
                (of, it.times, it.request_bytes, it.response_bytes)
            };
            let exchanges: Vec<_> = snapshot.recent.recent.iter().map(exchange).collect();
            (exchanges, snapshot.accounting)
        };
        let live = seen(false);
        assert_eq!(seen(true), live);
        let told: Vec<_> = live
            .0
            .iter()
            .map(|(of, ..)| (of.1.as_str(), of.2.join("&"), of.3))
            .collect();
        assert_eq!(
            told,
            [
                ("/a", "token".to_owned(), Some(200)),
                ("/a", "token".to_owned(), Some(404))
            ]
        );
    }

    #[test]
    fn of_a_tail_only_the_framing_is_kept() {
        let mut record = data(1, 10, 10, b"");
        Scrubber::default().scrub(&mut record);
        assert_eq!(&record[56..64], b"xxx0\r\n\r\n");
        record[56..64].copy_from_slice(b"\0\0\x000\r\n\r\n");
        Scrubber::default().scrub(&mut record);
        assert_eq!(&record[56..64], b"\0\0\x000\r\n\r\n");
    }

    proptest! {
        #[test]
        fn lengths_never_change_and_no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut scrubber = Scrubber::default();
            let mut record = bytes.clone();
            scrubber.scrub(&mut record);
            prop_assert_eq!(record.len(), bytes.len());
            let mut record = data(1, 0, 10, &bytes);
            scrubber.scrub(&mut record);
            for (new, old) in record[64..].iter().zip(&bytes) {
                prop_assert!(new == old || [BLANK, UNKNOWN].contains(new));
                prop_assert!((*new == b'\n') == (*old == b'\n'), "line ends stay");
            }
        }
    }
}
