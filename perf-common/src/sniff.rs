//! Which first bytes are of interest: pure functions over a fixed array, called in the kernel for the first bytes of a
//! message and tested here. They answer "could this be", quickly; the dissectors decide.

/// Bytes looked at.
pub const SNIFF_BYTES: usize = 8;

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
}

/// Judges a message's first bytes; `length` of them are valid (the rest is 0).
///
/// A request is a method, a token of upper-case letters (RFC 9110, 9.1: tokens, by convention upper-case), and a space.
/// Where the window ends before the space does, because the method is long (`PROPPATCH`) or the bytes come one by one,
/// letters alone are enough.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "called in BPF programs, where a call costs more than the body"
)]
pub fn sniff(first: [u8; SNIFF_BYTES], length: usize) -> u8 {
    if is_response(first) {
        return looks::HTTP1_RESPONSE;
    }
    if first == *b"PRI * HT" {
        return looks::HTTP2_PREFACE;
    }
    if is_tls(first, length) {
        return looks::TLS;
    }
    if length == SNIFF_BYTES && is_header_block(first) {
        return looks::HTTP2_FRAMES;
    }
    let letters = method_letters(first);
    let ended = letters < SNIFF_BYTES && first[letters] == b' ';
    let cut = letters == SNIFF_BYTES || (length < SNIFF_BYTES && letters == length);
    if letters >= 1 && (ended || cut) {
        looks::HTTP1_REQUEST
    } else {
        looks::NOTHING
    }
}

/// Do these bytes, which follow others of the same direction, begin a new message? Stricter than [`sniff`], since the
/// middle of a body may hold any letters: a method must be seen with its space.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "called in BPF programs, where a call costs more than the body"
)]
pub fn begins_message(first: [u8; SNIFF_BYTES]) -> bool {
    let letters = method_letters(first);
    is_response(first) || ((3..SNIFF_BYTES).contains(&letters) && first[letters] == b' ')
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "called in BPF programs, where a call costs more than the body"
)]
fn is_response(first: [u8; SNIFF_BYTES]) -> bool {
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
#[expect(
    clippy::inline_always,
    reason = "called in BPF programs, where a call costs more than the body"
)]
fn is_tls(first: [u8; SNIFF_BYTES], length: usize) -> bool {
    let [kind, 3, minor, high, low, message, ..] = first else {
        return false;
    };
    let record_bytes = u16::from_be_bytes([high, low]);
    if length < HEADER_BYTES || minor > 4 || record_bytes == 0 || record_bytes > MOST_BYTES {
        return false;
    }
    match kind {
        // Client hello, server hello.
        HANDSHAKE => length == HEADER_BYTES || message == 1 || message == 2,
        APPLICATION_DATA => minor == 3,
        _ => false,
    }
}

/// A frame's header of type HEADERS, as far as it shows: shorter than the least limit of frames, the block whole, no flags
/// but its own, one of the first 2^24 streams.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "called in BPF programs, where a call costs more than the body"
)]
fn is_header_block(first: [u8; SNIFF_BYTES]) -> bool {
    let [a, b, c, kind, flags, stream, ..] = first;
    a == 0 && b < 0x40 && (b | c) != 0 && kind == 1 && flags & 0x04 != 0 && flags & !0x2d == 0 && stream == 0
}

/// Bytes at the beginning that a method may consist of.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "called in BPF programs, where a call costs more than the body"
)]
fn method_letters(first: [u8; SNIFF_BYTES]) -> usize {
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
        assert_eq!(sniff(first, length), expected, "{}", bytes.escape_ascii());
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
    fn letters_in_a_body_begin_no_message() {
        for (bytes, expected) in [
            (b"HTTP/1.1", true),
            (b"GET / HT", true),
            (b"DELETE /", true),
            (b"AAAAAAAA", false),
            (b"A B C D ", false),
            (b"TP/1.1\r\n", false),
        ] {
            assert_eq!(begins_message(*bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn other_traffic_is_not() {
        check(b"\x16\x03\x09\x02\x00\x01\x00\x01", looks::NOTHING);
        check(b"\x16\x03\x01\x02\x00\x0b\x00\x01", looks::NOTHING);
        check(b"\x17\x03\x03\xff\xff", looks::NOTHING);
        check(b"\x17\x03\x03\x00", looks::NOTHING);
        check(b"*1\r\n$4\r\n", looks::NOTHING);
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", looks::NOTHING);
        check(b"SSH-2.0-OpenSSH", looks::NOTHING);
        check(b" GET /", looks::NOTHING);
        check(b"", looks::NOTHING);
    }
}
