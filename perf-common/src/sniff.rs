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
}

/// Judges a message's first bytes; `length` of them are valid (the rest is 0).
///
/// A request is a method, a token of upper-case letters (RFC 9110, 9.1: tokens, by convention upper-case), and a
/// space, or the beginning of one when fewer bytes are there. A method longer than the window (`PROPFIND`,
/// `SEARCHING`) counts as one if all seen bytes are upper-case letters, `-` or `_`, and at least three were seen.
#[inline(always)]
pub fn sniff(first: [u8; SNIFF_BYTES], length: usize) -> u8 {
    if first[0] == b'H' && first[1] == b'T' && first[2] == b'T' && first[3] == b'P' && first[4] == b'/' {
        return looks::HTTP1_RESPONSE;
    }
    let mut letters = 0;
    while letters < SNIFF_BYTES {
        let byte = first[letters];
        if !byte.is_ascii_uppercase() && byte != b'-' && byte != b'_' {
            break;
        }
        letters += 1;
    }
    let ended = letters < SNIFF_BYTES && first[letters] == b' ';
    let cut = letters == SNIFF_BYTES || (length < SNIFF_BYTES && letters == length);
    if (ended && letters >= 1) || (cut && letters >= 1) {
        looks::HTTP1_REQUEST
    } else {
        looks::NOTHING
    }
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
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_is_recognised() {
        for end in 1..5 {
            check(&b"GET /"[..end], looks::HTTP1_REQUEST);
        }
    }

    #[test]
    fn other_traffic_is_not() {
        check(b"\x16\x03\x01\x02\x00\x01\x00\x01", looks::NOTHING);
        check(b"*1\r\n$4\r\n", looks::NOTHING);
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", looks::NOTHING);
        check(b"SSH-2.0-OpenSSH", looks::NOTHING);
        check(b" GET /", looks::NOTHING);
        check(b"", looks::NOTHING);
    }
}
