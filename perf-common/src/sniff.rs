//! Which first bytes are of interest: pure functions over a fixed array, called in the kernel for the first bytes of a
//! message and tested here. They answer "could this be", quickly; the dissectors decide.

#![expect(
    clippy::inline_always,
    reason = "called in BPF programs, where a call costs more than the body"
)]

/// Bytes looked at.
pub const SNIFF_BYTES: usize = 16;

/// What a message's first bytes could be. Plain numbers: the kernel side keeps them in its state.
pub mod looks {
    /// Nothing known.
    pub const NOTHING: u8 = 0;
    /// An HTTP/1 request: a method token and a space.
    pub const HTTP1_REQUEST: u8 = 1;
    /// An HTTP/1 response: `HTTP/1.`
    pub const HTTP1_RESPONSE: u8 = 2;
    /// An HTTP/2 client's preface, `PRI * HTTP/2.0` (RFC 9113, 3.4).
    pub const HTTP2_PREFACE: u8 = 3;
    /// A TLS record (RFC 8446, 5.1): a handshake's first, or application data.
    pub const TLS: u8 = 4;
    /// A header block's frame of an HTTP/2 connection whose preface went by before (RFC 9113, 6.2).
    pub const HTTP2_FRAMES: u8 = 5;
    /// A request of a protocol whose messages are taken whole: a database's, a cache's, a broker's, a name server's. Which
    /// of them it is, and whether it is, the user side finds out.
    pub const MESSAGES: u8 = 6;
}

/// Judges a message's first bytes; `known` of them are valid (the rest is 0). `length` is the bytes of the segment that they
/// begin.
///
/// A request is a method, a token of upper-case letters (RFC 9110, 9.1: tokens, by convention upper-case), and a space.
/// Where the window ends before the space does, because the method is long (`PROPPATCH`) or the bytes come one by one,
/// letters alone are enough.
#[inline(always)]
pub fn sniff(first: [u8; SNIFF_BYTES], known: usize, length: u32) -> u8 {
    let looks = as_http(&first, known, length);
    let certain = looks != looks::NOTHING && looks != looks::HTTP1_REQUEST;
    let message = |is: fn(&[u8; SNIFF_BYTES], usize, u32) -> bool| is(&first, known, length);
    let is_message = [is_resp, is_memcached, is_postgresql, is_mysql, as_broker]
        .into_iter()
        .any(message);
    if !certain && is_message {
        return looks::MESSAGES;
    }
    looks
}

/// The part of [`sniff`] that knows HTTP and TLS. What it takes for a request of HTTP/1 may be one of another protocol.
#[inline(always)]
pub fn as_http(first: &[u8; SNIFF_BYTES], known: usize, length: u32) -> u8 {
    if is_response(first) {
        return looks::HTTP1_RESPONSE;
    }
    if starts_with(first, *b"PRI * HT") {
        return looks::HTTP2_PREFACE;
    }
    if is_tls(first, known) {
        return looks::TLS;
    }
    if known >= FRAME_BYTES && is_header_block(first) {
        return looks::HTTP2_FRAMES;
    }
    // PostgreSQL's answer to a request for TLS; methods beginning so that are sent byte by byte are rarer.
    if length == 1 && (first[0] == b'N' || first[0] == b'S') {
        return looks::NOTHING;
    }
    let letters = method_letters(first);
    let ended = letters < SNIFF_BYTES && first[letters] == b' ';
    let cut = letters == SNIFF_BYTES || (known < SNIFF_BYTES && letters == known);
    if letters >= 1 && (ended || cut) {
        looks::HTTP1_REQUEST
    } else {
        looks::NOTHING
    }
}

/// The part of [`sniff`] that knows what names its answers: document stores, brokers, name servers.
#[inline(always)]
pub fn as_broker(first: &[u8; SNIFF_BYTES], known: usize, length: u32) -> bool {
    is_mongodb(first, known, length) || is_kafka(first, known, length) || is_dns(first, known, length)
}

/// Do these bytes, which follow others of the same direction, begin a new message? Stricter than [`sniff`], since the
/// middle of a body may hold any letters: a method must be seen with its space.
#[inline(always)]
pub fn begins_message(first: [u8; SNIFF_BYTES]) -> bool {
    let letters = method_letters(&first);
    is_response(&first) || ((3..SNIFF_BYTES).contains(&letters) && first[letters] == b' ')
}

#[inline(always)]
fn is_response(first: &[u8; SNIFF_BYTES]) -> bool {
    first[0] == b'H' && first[1] == b'T' && first[2] == b'T' && first[3] == b'P' && first[4] == b'/'
}

/// Types of a TLS record, and bytes of its header (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEADER_BYTES: usize = 5;
/// 2^14, and what encryption may add (RFC 5246, 6.2.3).
const MOST_BYTES: u16 = 16_384 + 2048;

/// Do these bytes begin a TLS record? A handshake begins with one side's hello; a connection that is joined later shows
/// application data. Programs often read a record's header of five bytes alone.
#[inline(always)]
fn is_tls(first: &[u8; SNIFF_BYTES], known: usize) -> bool {
    let [kind, 3, minor, high, low, message, ..] = *first else {
        return false;
    };
    let record_bytes = u16::from_be_bytes([high, low]);
    if known < HEADER_BYTES || minor > 4 || record_bytes == 0 || record_bytes > MOST_BYTES {
        return false;
    }
    match kind {
        // Client hello, server hello.
        HANDSHAKE => known == HEADER_BYTES || message == 1 || message == 2,
        APPLICATION_DATA => minor == 3,
        _ => false,
    }
}

/// Bytes of a frame's header but the last one (RFC 9113, 4.1).
const FRAME_BYTES: usize = 8;

/// A frame's header of type HEADERS, as far as it shows: shorter than the least limit of frames, the block whole, no flags
/// but its own, one of the first 2^24 streams.
#[inline(always)]
fn is_header_block(first: &[u8; SNIFF_BYTES]) -> bool {
    let [a, b, c, kind, flags, stream, ..] = *first;
    a == 0 && b < 0x40 && (b | c) != 0 && kind == 1 && flags & 0x04 != 0 && flags & !0x2d == 0 && stream == 0
}

#[inline(always)]
fn starts_with(first: &[u8; SNIFF_BYTES], begins: [u8; 8]) -> bool {
    let mut place = 0;
    while place < begins.len() {
        if first[place] != begins[place] {
            return false;
        }
        place += 1;
    }
    true
}

/// RESP: an array of bulk strings, `*2\r\n$4\r\n`, or the inline command `PING`.
#[inline(always)]
pub fn is_resp(first: &[u8; SNIFF_BYTES], known: usize, _length: u32) -> bool {
    if first[0] != b'*' {
        let word = [first[0] | 0x20, first[1] | 0x20, first[2] | 0x20, first[3] | 0x20];
        return word == *b"ping" && first[4] == b'\r' && first[5] == b'\n';
    }
    let mut digits = 0;
    while digits < 7 && first[1 + digits].is_ascii_digit() {
        digits += 1;
    }
    let end = 1 + digits;
    digits > 0 && first[end] == b'\r' && first[end + 1] == b'\n' && (first[end + 2] == b'$' || known == end + 2)
}

/// Memcached: a verb of small letters and a space or the line's end, or the binary protocol's header.
/// <https://docs.memcached.org/protocols/>
#[inline(always)]
pub fn is_memcached(first: &[u8; SNIFF_BYTES], known: usize, length: u32) -> bool {
    let [magic, opcode, _, _, extras, kind, _, _, b8, b9, b10, b11, ..] = *first;
    if magic == 0x80 {
        let body = u32::from_be_bytes([b8, b9, b10, b11]);
        return known >= 12 && kind == 0 && extras <= 20 && opcode < 0x60 && body <= 1 << 20 && length >= 24;
    }
    let mut letters = 0;
    while letters < 10 {
        let letter = first[letters].is_ascii_lowercase() || (letters > 2 && first[letters] == b'_');
        if !letter {
            break;
        }
        letters += 1;
    }
    letters >= 2 && (first[letters] == b' ' || first[letters] == b'\r')
}

/// PostgreSQL: the start of a session, or a message of a client that may begin a query.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
#[inline(always)]
pub fn is_postgresql(first: &[u8; SNIFF_BYTES], known: usize, length: u32) -> bool {
    let [kind, l0, l1, l2, l3, next, ..] = *first;
    if known < 6 {
        return false;
    }
    let [w0, w1, w2, w3, c0, c1, c2, c3, ..] = *first;
    if known >= 8 && u32::from_be_bytes([w0, w1, w2, w3]) == length {
        // Versions 3.0 and 3.2, and the request to cancel a query.
        let code = u32::from_be_bytes([c0, c1, c2, c3]);
        return code == 0x0003_0000 || code == 0x0003_0002 || code == 0x04d2_162e;
    }
    let bytes = u32::from_be_bytes([l0, l1, l2, l3]);
    if l0 != 0 || bytes < 4 {
        return false;
    }
    match kind {
        // A statement's text, which may be longer than what is sent at once.
        b'Q' => bytes > 5 && (bytes < length || is_text(next)),
        // Parse, Bind, Execute, Describe, Close, function call: other messages follow.
        b'P' | b'B' | b'E' | b'D' | b'C' => bytes < length && bytes >= 6,
        _ => false,
    }
}

/// MySQL: a server's greeting, a client's answer to it, a command, or what begins an answer with rows or is an OK packet:
/// a server reads a command's header by itself, which could be anything.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>
#[inline(always)]
pub fn is_mysql(first: &[u8; SNIFF_BYTES], known: usize, length: u32) -> bool {
    let [
        l0,
        l1,
        l2,
        sequence,
        b4,
        b5,
        b6,
        b7,
        b8,
        b9,
        b10,
        b11,
        b12,
        b13,
        b14,
        b15,
    ] = *first;
    let bytes = u32::from_le_bytes([l0, l1, l2, 0]);
    if known < 5 {
        // Inside of TLS the first packet is the second one.
        return known == 4 && length == 4 && sequence == 2 && l2 == 0 && bytes > 32;
    }
    let whole = bytes + 4 == length;
    let piece = bytes + 4 > length && length >= 1024;
    match (sequence, b4) {
        (0, 0x0a) => whole && bytes > 20 && b5.is_ascii_digit(),
        // A query's text, maybe behind attributes of it, or one to prepare, which may be used at once.
        (0, 0x03) => (whole || piece) && bytes > 1 && (is_text(b5) || b6 == 1),
        (0, 0x16) => bytes > 1 && is_text(b5),
        // Execute, once.
        (0, 0x17) => bytes >= 10 && b9 < 16 && [b10, b11, b12, b13] == [1, 0, 0, 0],
        // Long data and close: other commands follow. A statement's number is counted up.
        (0, 0x18) => bytes >= 7 && bytes + 4 <= length && b8 == 0,
        (0, 0x19) => bytes == 5 && bytes + 4 <= length && b8 == 0,
        // Fetch, ping, reset.
        (0, 0x1c) => whole && bytes == 9,
        (0, 0x0e | 0x1f) => whole && bytes == 1,
        // One column or more, and the definition of the first.
        (1, 1..) if bytes == 1 => [b7, b8, b9] == [0, 2, 3] && [b10, b11, b12] == *b"def",
        (1, 0) if bytes == 7 => length == 11 && b7 & 0x03 != 0,
        // Flags: protocol 4.1. What is reserved is 0.
        (1 | 2, _) => whole && bytes >= 32 && b5 & 0x02 != 0 && b13 | b14 | b15 == 0,
        _ => false,
    }
}

/// MongoDB: `OP_MSG`, `OP_COMPRESSED` or `OP_QUERY` of a client, whose `responseTo` is 0.
/// <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>
#[inline(always)]
fn is_mongodb(first: &[u8; SNIFF_BYTES], known: usize, length: u32) -> bool {
    let [l0, l1, l2, l3, _, _, _, _, r0, r1, r2, r3, o0, o1, o2, o3] = *first;
    let bytes = u32::from_le_bytes([l0, l1, l2, l3]);
    let code = u32::from_le_bytes([o0, o1, o2, o3]);
    known == SNIFF_BYTES
        && r0 | r1 | r2 | r3 == 0
        && (code == 2013 || code == 2012 || code == 2004)
        && bytes > 20
        && bytes <= 48_000_000
        && length >= 16
}

/// Kafka: a request's header: an API, a version of it, and a client's name. Brokers read its size alone, of the small
/// requests that a connection begins with. <https://kafka.apache.org/protocol.html>
#[inline(always)]
fn is_kafka(first: &[u8; SNIFF_BYTES], known: usize, length: u32) -> bool {
    let [l0, l1, l2, l3, a0, a1, v0, v1, _, _, _, _, n0, n1, ..] = *first;
    let bytes = u32::from_be_bytes([l0, l1, l2, l3]);
    let name = u16::from_be_bytes([n0, n1]);
    if known == 4 && length == 4 {
        return (10..1 << 12).contains(&bytes);
    }
    known >= 14
        && a0 == 0
        && a1 < 100
        && v0 == 0
        && v1 < 24
        && (10..1 << 27).contains(&bytes)
        && (bytes + 4 == length || (bytes + 4 > length && length >= 1024) || (bytes + 4 < length && a1 == 0))
        && (name == u16::MAX || (name < 256 && u32::from(name) + 10 <= bytes))
}

/// DNS over TCP: a question behind its length (RFC 1035, 4.1.1 and 4.2.2), or that alone.
#[inline(always)]
fn is_dns(first: &[u8; SNIFF_BYTES], known: usize, length: u32) -> bool {
    let [l0, l1, _, _, f0, f1, q0, q1, a0, a1, n0, n1, ..] = *first;
    let bytes = u32::from(u16::from_be_bytes([l0, l1]));
    if known == 2 && length == 2 {
        return (17..1 << 9).contains(&bytes);
    }
    known >= 14
        && bytes + 2 == length
        && bytes >= 17
        && f0 & 0xfa == 0
        && f1 & 0x4f == 0
        && [q0, q1] == [0, 1]
        && a0 | a1 | n0 | n1 == 0
}

/// DNS over UDP: a query, or an answer with its question (RFC 1035, 4.1.1). `length` is the datagram's.
#[inline(always)]
pub fn is_dns_datagram(first: &[u8; SNIFF_BYTES], length: u32) -> bool {
    let [_, _, f0, f1, q0, q1, a0, a1, n0, n1, r0, r1, label, ..] = *first;
    let answers = u16::from_be_bytes([a0, a1]);
    let others = u32::from(u16::from_be_bytes([n0, n1])) + u32::from(u16::from_be_bytes([r0, r1]));
    // A name of no label, its type and its class; of a record also its time and its length.
    let (question, record) = (17, 11);
    let opcode = f0 >> 3 & 0x0f;
    let (is_response, is_truncated) = (f0 & 0x80 != 0, f0 & 0x02 != 0);
    let has_room = length >= question && (u32::from(answers) + others) * record <= length - question;
    let is_query = !is_truncated && f1 & 0x8f == 0 && (answers == 0 || opcode != 0);
    // Query, NOTIFY, UPDATE; one question, and what is reserved is 0.
    (opcode == 0 || opcode == 4 || opcode == 5)
        && [q0, q1] == [0, 1]
        && f1 & 0x40 == 0
        && label < 64
        && if is_response {
            has_room || is_truncated
        } else {
            has_room && is_query
        }
}

/// What an SQL statement may begin with.
#[inline(always)]
fn is_text(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' ' || byte == b'\n' || byte == b'\t' || byte == b'\r'
}

/// Bytes at the beginning that a method may consist of.
#[inline(always)]
fn method_letters(first: &[u8; SNIFF_BYTES]) -> usize {
    let mut letters = 0;
    while letters < SNIFF_BYTES {
        let byte = first[letters];
        let letter = byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
        if !letter {
            break;
        }
        letters += 1;
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: u8) {
        let mut first = [0; SNIFF_BYTES];
        let length = bytes.len().min(SNIFF_BYTES);
        first[..length].copy_from_slice(&bytes[..length]);
        assert_eq!(
            sniff(first, length, u32::try_from(bytes.len()).expect("short")),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }

    #[track_caller]
    fn check_datagram(bytes: &[u8], expected: bool) {
        let mut first = [0; SNIFF_BYTES];
        let known = bytes.len().min(SNIFF_BYTES);
        first[..known].copy_from_slice(&bytes[..known]);
        let length = u32::try_from(bytes.len()).unwrap();
        assert_eq!(is_dns_datagram(&first, length), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn datagrams_of_dns_are_told_from_others() {
        let question = b"\x03www\x07example\x03com\0\0\x01\0\x01";
        let message = |header: &[u8; 12]| [&header[..], question].concat();
        check_datagram(&message(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0"), true);
        check_datagram(&message(b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01"), true);
        check_datagram(&message(b"\x12\x34\x81\x83\0\x01\0\0\0\x01\0\0"), true);
        check_datagram(&message(b"\x12\x34\x83\x80\0\x01\0\x20\0\0\0\0"), true);
        check_datagram(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01", true);
        // No question, two, more records than there is room for, a pointer for a name, a code in a query, a bit that is reserved.
        check_datagram(&message(b"\x12\x34\x01\0\0\0\0\0\0\0\0\0"), false);
        check_datagram(&message(b"\x12\x34\x01\0\0\x02\0\0\0\0\0\0"), false);
        check_datagram(&message(b"\x12\x34\x81\x80\0\x01\0\x20\0\0\0\0"), false);
        check_datagram(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xc0\0\x02\0\x01", false);
        check_datagram(&message(b"\x12\x34\x01\x03\0\x01\0\0\0\0\0\0"), false);
        check_datagram(&message(b"\x12\x34\x01\x40\0\x01\0\0\0\0\0\0"), false);
        check_datagram(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0", false);
        // QUIC, statsd, NTP, RTP, syslog, WireGuard.
        check_datagram(b"\xc3\0\0\0\x01\x08\x83\x94\xc8\xf0\x3e\x51\x57\x08\0\0\x44\x9e", false);
        check_datagram(b"\x41\x83\x94\xc8\xf0\x3e\x51\x57\x08\0\0\x44\x9e\0\0\0\0", false);
        check_datagram(b"requests.count:1|c|#a:b", false);
        check_datagram(&[&b"\x23\0\x06\xec"[..], &[0; 44]].concat(), false);
        check_datagram(&[&b"\x80\x60\x12\x34\0\0\x10\0\0\0\0\0"[..], &[7; 160]].concat(), false);
        check_datagram(b"<34>Oct 11 22:14:15 host su: failed", false);
        check_datagram(
            &[&b"\x04\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0"[..], &[9; 16]].concat(),
            false,
        );
    }

    #[test]
    fn requests_and_responses_are_recognised() {
        check(b"GET / HTTP/1.1", looks::HTTP1_REQUEST);
        check(b"M-SEARCH * HTTP/1.1", looks::HTTP1_REQUEST);
        check(b"PROPFIND /", looks::HTTP1_REQUEST);
        check(b"HTTP/1.1 200 OK", looks::HTTP1_RESPONSE);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", looks::HTTP2_PREFACE);
    }

    #[test]
    fn frames_of_a_connection_that_was_there_before_are_recognised() {
        check(b"\0\0\x03\x01\x05\0\0\0\x01\x82\x87\x84", looks::HTTP2_FRAMES);
        check(b"\0\x01\x03\x01\x24\0\0\x01\x01", looks::HTTP2_FRAMES);
        for other in [
            b"\0\0\x03\x01\x01\0\0\0", // not the whole block
            b"\0\0\x03\x01\x15\0\0\0", // a flag that there is not
            b"\0\0\x03\0\x05\0\0\0",
            b"\0\0\0\x01\x04\0\0\0",
            b"\0\x40\0\x01\x04\0\0\0",
            b"\0\0\x03\x01\x04\x80\0\0",
        ] {
            check(other, looks::NOTHING);
        }
        check(b"\0\0\x03\x01\x05\0\0", looks::NOTHING);
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_is_recognised() {
        for end in 1..5 {
            check(&b"GET /"[..end], looks::HTTP1_REQUEST);
        }
    }

    #[test]
    fn tls_is_recognised_at_its_beginning_and_later() {
        check(b"\x16\x03\x01\x02\x00\x01\x00\x01", looks::TLS);
        check(b"\x16\x03\x03\x00\x7a\x02\x00\x00", looks::TLS);
        check(b"\x16\x03\x01\x02\x00", looks::TLS);
        check(b"\x17\x03\x03\x00\x45\x9a\xbc\xde", looks::TLS);
        check(b"\x17\x03\x03\x40\x11", looks::TLS);
    }

    #[test]
    fn requests_of_memcached_and_mongodb_are_recognised() {
        check(b"get key\r\n", looks::MESSAGES);
        check(b"flush_all\r\n", looks::MESSAGES);
        check(b"mn\r\n", looks::MESSAGES);
        check(b"version\r\n", looks::MESSAGES);
        // The binary protocol: a get of one key, and a no-op.
        check(
            b"\x80\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0k",
            looks::MESSAGES,
        );
        check(b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", looks::MESSAGES);
        // An `OP_MSG`, of which servers read the header alone; and an answer.
        check(b"\x32\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0", looks::MESSAGES);
        check(b"\x32\0\0\0\x01\0\0\0\x01\0\0\0\xdd\x07\0\0", looks::NOTHING);
    }

    #[test]
    fn letters_in_a_body_begin_no_message() {
        for (bytes, expected) in [
            (&b"HTTP/1.1"[..], true),
            (b"GET / HT", true),
            (b"DELETE /", true),
            (b"AAAAAAAA", false),
            (b"A B C D ", false),
            (b"TP/1.1\r\n", false),
        ] {
            let mut first = [0; SNIFF_BYTES];
            first[..bytes.len()].copy_from_slice(bytes);
            assert_eq!(begins_message(first), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn mysql_is_recognised_by_what_either_side_begins_with() {
        for message in [
            &b"\x23\0\0\0\x0a8.0.36\0\x05\0\0\0s'c@Sbs<\0\xff\xff\x08\x02\0\xff\xdf\x15\0\0\0\0\0\0"[..],
            b"\x20\0\0\x01\x85\xae\xff\x19\0\0\0\x01\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\xcf\0\0\x02",
            b"\x09\0\0\0\x03select 1",
            b"\x0b\0\0\0\x03\0\x01select 1",
            b"\x08\0\0\0\x16do ? +1\x0a\0\0\0\x17\xff\xff\xff\xff\0\x01\0\0\0",
            b"\x0a\0\0\0\x17\x01\0\0\0\0\x01\0\0\0",
            b"\x05\0\0\0\x19\x01\0\0\0\x01\0\0\0\x0e",
            b"\x01\0\0\0\x0e",
            b"\x07\0\0\x01\0\0\0\x02\0\0\0",
            b"\x01\0\0\x01\x01\x17\0\0\x02\x03def\0\0\0\x011",
        ] {
            check(message, looks::MESSAGES);
        }
        for other in [
            &b"\xcf\0\0\0"[..],
            b"\x01\0\0\0\x0f",
            b"\x09\0\0\0\x03sel",
            b"\x0a\0\0\0\x17\x01\0\0\0\0\0\0\0\0",
            b"\x07\0\0\x01\0\0\0\0\0\0\0",
            b"\x07\0\0\x02\0\0\0\x02\0\0\0",
        ] {
            check(other, looks::NOTHING);
        }
    }

    #[test]
    fn requests_of_brokers_and_name_servers_are_recognised_by_their_sizes_alone() {
        check(b"\0\0\0\x47\0\x12\0\x03\0\0\0\x01\0\x0e", looks::NOTHING);
        check(b"\0\0\0\x0e\0\x12\0\0\0\0\0\x01\0\x04kafk", looks::MESSAGES);
        check(b"\0\0\0\x47", looks::MESSAGES);
        check(
            b"\0\x13\x1d\xfa\x01\x20\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
            looks::MESSAGES,
        );
        check(b"\0\x13", looks::MESSAGES);
        for other in [
            &b"\0\0\0\x09"[..],
            b"\0\0\x10\0",
            b"\0\x10",
            b"\x02\0",
            b"\0\0\x12",
            // An answer.
            b"\0\x13\x1d\xfa\x81\x80\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
        ] {
            check(other, looks::NOTHING);
        }
    }

    #[test]
    fn other_traffic_is_not() {
        check(b"\x16\x03\x09\x02\x00\x01\x00\x01", looks::NOTHING);
        check(b"\x16\x03\x01\x02\x00\x0b\x00\x01", looks::NOTHING);
        check(b"\x17\x03\x03\xff\xff", looks::NOTHING);
        check(b"\x17\x03\x03\x00", looks::NOTHING);
        check(b"*1\r\n:4\r\n", looks::NOTHING);
        check(b"EHLO host\r\n", looks::HTTP1_REQUEST);
        // PostgreSQL's request for TLS: what follows its answer is TLS, or the session's start.
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", looks::NOTHING);
        check(b"N", looks::NOTHING);
        check(b"SSH-2.0-OpenSSH", looks::NOTHING);
        check(b" GET /", looks::NOTHING);
        check(b"", looks::NOTHING);
    }
}
