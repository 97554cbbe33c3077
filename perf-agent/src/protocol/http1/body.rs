//! Bodies: how many bytes belong to a message. RFC 9112, sections 6 and 7. Contents are skipped, never kept.

use memchr::memchr;

/// Where in a chunked body the next byte lies (RFC 9112, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// In a chunk's size.
    Size { value: u64, digits: u8 },
    /// Behind a chunk's size, before the end of its line.
    Extension { size: u64 },
    /// In a chunk's data; so many bytes are left.
    Data(u64),
    /// Before the line end behind a chunk's data.
    DataEnd,
    /// In the trailer section; true if the current line has no byte yet.
    Trailer { empty: bool },
}

/// What became of bytes fed to [`Chunked::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// All belong to the body, which goes on.
    All,
    /// The body ended behind so many.
    Ended(usize),
    /// No chunk.
    Malformed,
}

impl Chunked {
    /// Before the first chunk.
    pub(super) const START: Self = Self::Size { value: 0, digits: 0 };

    /// Goes over the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            match *self {
                Self::Size { value, digits } => {
                    at += 1;
                    match (char::from(byte).to_digit(16), byte) {
                        // 16 digits fill a u64; leading zeros are allowed, but nobody sends more than a few.
                        (Some(_), _) if digits == 16 => return Fed::Malformed,
                        (Some(digit), _) => {
                            *self = Self::Size {
                                value: value << 4 | u64::from(digit),
                                digits: digits + 1,
                            };
                        }
                        (None, _) if digits == 0 => return Fed::Malformed,
                        (None, b'\n') => *self = Self::of_size(value),
                        (None, b';' | b' ' | b'\t' | b'\r') => *self = Self::Extension { size: value },
                        (None, _) => return Fed::Malformed,
                    }
                }
                Self::Extension { size } => match memchr(b'\n', &bytes[at..]) {
                    Some(end) => {
                        at += end + 1;
                        *self = Self::of_size(size);
                    }
                    None => at = bytes.len(),
                },
                Self::Data(left) => {
                    let here = bytes.len() - at;
                    let now = usize::try_from(left).map_or(here, |left| left.min(here));
                    *self = self.after(now as u64);
                    at += now;
                }
                Self::DataEnd => {
                    at += 1;
                    match byte {
                        b'\n' => *self = Self::START,
                        b'\r' => {}
                        _ => return Fed::Malformed,
                    }
                }
                Self::Trailer { empty } => {
                    at += 1;
                    match byte {
                        b'\n' if empty => return Fed::Ended(at),
                        b'\n' => *self = Self::Trailer { empty: true },
                        b'\r' => {}
                        _ => *self = Self::Trailer { empty: false },
                    }
                }
            }
        }
        Fed::All
    }

    /// Goes over bytes that were not captured. False if that is not possible: a chunk's size would be among them.
    pub(super) fn skip(&mut self, missing: u64) -> bool {
        match *self {
            // The chunk's data with the line end behind it.
            Self::Data(left) if missing == left.saturating_add(2) => {
                *self = Self::START;
                true
            }
            Self::Data(left) if missing <= left => {
                *self = self.after(missing);
                true
            }
            _ => missing == 0,
        }
    }

    fn of_size(size: u64) -> Self {
        if size == 0 {
            Self::Trailer { empty: true }
        } else {
            Self::Data(size)
        }
    }

    fn after(self, bytes: u64) -> Self {
        match self {
            Self::Data(left) if left == bytes => Self::DataEnd,
            Self::Data(left) => Self::Data(left - bytes),
            other => other,
        }
    }
}

/// The last bytes of a chunked body without trailers, together with the line end before them.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// The last bytes seen of a body whose chunks can't be followed any more: does it end like a chunked body?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recent([u8; LAST_CHUNK.len()]);

impl Recent {
    /// Adds the next bytes; `adjacent` if nothing is missing before them. True if they end like a chunked body.
    pub(super) fn push(&mut self, bytes: &[u8], adjacent: bool) -> bool {
        let kept = self.0.len();
        if !adjacent {
            self.0 = [0; LAST_CHUNK.len()];
        }
        if bytes.len() >= kept {
            self.0.copy_from_slice(&bytes[bytes.len() - kept..]);
        } else {
            self.0.rotate_left(bytes.len());
            self.0[kept - bytes.len()..].copy_from_slice(bytes);
        }
        // A program may write the last chunk by itself, behind bytes that were only counted.
        self.0 == LAST_CHUNK || (self.0[..2] == [0; 2] && self.0[2..] == LAST_CHUNK[2..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &[u8], expected: Fed) {
        let mut whole = Chunked::START;
        assert_eq!(whole.feed(body), expected, "{}", body.escape_ascii());
        let mut single = Chunked::START;
        for (index, byte) in body.iter().enumerate() {
            match single.feed(&[*byte]) {
                Fed::All => {}
                Fed::Ended(_) => return assert_eq!(Fed::Ended(index + 1), expected),
                Fed::Malformed => return assert_eq!(Fed::Malformed, expected),
            }
        }
        assert_eq!(expected, Fed::All);
    }

    #[test]
    fn chunked_bodies_end_where_they_should() {
        check(b"0\r\n\r\n", Fed::Ended(5));
        check(b"0\r\n\r\nGET", Fed::Ended(5));
        check(b"5\r\nhello\r\n0\r\n\r\n", Fed::Ended(15));
        check(b"5\nhello\n0\n\n", Fed::Ended(11));
        check(
            b"A;x=\"y\"\r\n0123456789\r\n000\r\nT: v\r\nU: w\r\n\r\nrest",
            Fed::Ended(40),
        );
        check(b"5 \r\nhel", Fed::All);
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        check(b"\r\n", Fed::Malformed);
        check(b"g\r\n", Fed::Malformed);
        check(b"00000000000000001\r\n", Fed::Malformed);
        check(b"2\r\nabc", Fed::Malformed);
        check(b"-1\r\n", Fed::Malformed);
    }

    #[test]
    fn missing_bytes_are_skipped_within_a_chunk_only() {
        let mut body = Chunked::START;
        assert_eq!(body.feed(b"64\r\nabc"), Fed::All);
        assert!(body.skip(97));
        assert_eq!(body, Chunked::DataEnd);
        assert!(!body.skip(1));
        assert!(body.skip(0));
        let mut body = Chunked::Data(97);
        assert!(!body.skip(98));
        assert!(body.skip(99));
        assert_eq!(body, Chunked::START);
    }

    #[test]
    fn the_last_chunk_is_recognised_in_pieces() {
        assert!(Recent::default().push(b"xyz\r\n0\r\n\r\n", false));
        let mut recent = Recent::default();
        assert!(!recent.push(b"xyz\r\n", false));
        assert!(!recent.push(b"0\r\n", true));
        assert!(recent.push(b"\r\n", true));
        assert!(recent.push(b"0\r\n\r\n", false));
        assert!(!recent.push(b"x0\r\n\r\n", false));
    }
}
