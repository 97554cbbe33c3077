//! What packets are made of: a header, integers of several sizes, and the two packets that end most answers.

/// Bytes of a packet's header.
pub(super) const HEADER_BYTES: usize = 4;
/// A payload of so many bytes goes on in the next packet.
pub(super) const FULL: u32 = 0x00ff_ffff;
/// Payload of an EOF packet.
pub(super) const EOF_BYTES: u32 = 5;

/// Flags that client and server tell each other about what they can do.
pub(super) mod capabilities {
    /// Everything is compressed once the client is known.
    pub(in super::super) const COMPRESS: u32 = 1 << 5;
    /// The protocol as of version 4.1; nobody speaks an older one.
    pub(in super::super) const PROTOCOL_41: u32 = 1 << 9;
    /// TLS follows.
    pub(in super::super) const SSL: u32 = 1 << 11;
    /// No EOF packet behind definitions, and an OK packet instead of one behind rows.
    pub(in super::super) const DEPRECATE_EOF: u32 = 1 << 24;
    /// As [`COMPRESS`], by another algorithm.
    pub(in super::super) const ZSTD: u32 = 1 << 26;
}

/// Flags of a server's state that decide how an answer goes on.
pub(super) mod status {
    /// A transaction is open, or each statement is one.
    pub(in super::super) const TRANSACTION: u16 = 0x0001 | 0x0002;
    /// Another result follows.
    pub(in super::super) const MORE_RESULTS: u16 = 0x0008;
    /// Rows are not here, but for the client to fetch.
    pub(in super::super) const CURSOR: u16 = 0x0040;
    /// A backslash in a literal is one.
    pub(in super::super) const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
    /// Those that are not used.
    pub(in super::super) const RESERVED: u16 = 0x8004;
}

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the payload.
    pub(super) payload: u32,
    /// Number of the packet within its command and answer.
    pub(super) sequence: u8,
}

impl Header {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, sequence] = *bytes.first_chunk()?;
        Some(Self {
            payload: u32::from_le_bytes([l0, l1, l2, 0]),
            sequence,
        })
    }

    /// Bytes of the packet.
    pub(super) fn packet(self) -> u64 {
        u64::from(self.payload) + HEADER_BYTES as u64
    }

    /// As much of the payload as is in these bytes, which begin with the header.
    pub(super) fn payload_of(self, bytes: &[u8]) -> &[u8] {
        let rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
        usize::try_from(self.payload)
            .ok()
            .and_then(|payload| rest.get(..payload))
            .unwrap_or(rest)
    }

    /// Does the payload go on in the next packet?
    pub(super) fn goes_on(self) -> bool {
        self.payload == FULL
    }
}

/// A fixed number of bytes as a number.
pub(super) fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    bytes
        .get(place..)?
        .first_chunk()
        .map(|bytes| u16::from_le_bytes(*bytes))
}

/// As [`u16_at`].
pub(super) fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    bytes
        .get(place..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

/// A length-encoded integer, and what is behind it.
pub(super) fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let size = match first {
        ..=0xfa => return Some((u64::from(first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(size)?;
    let value = digits.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
    Some((value, rest))
}

/// What an OK packet says, whichever its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Okay {
    pub(super) affected_rows: u64,
    pub(super) status: u16,
}

impl Okay {
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let (affected_rows, rest) = integer(payload.get(1..)?)?;
        let (_last_insert_id, rest) = integer(rest)?;
        Some(Self {
            affected_rows,
            status: u16_at(rest, 0)?,
        })
    }
}

/// Status of the packet that ends rows: an EOF packet, or an OK packet that looks like one.
pub(super) fn end_status(payload: &[u8], payload_bytes: u32) -> Option<u16> {
    if payload_bytes == EOF_BYTES {
        u16_at(payload, 3)
    } else {
        Okay::of(payload).map(|okay| okay.status)
    }
}

/// What a server's greeting says it can do; `None` if these bytes are none.
pub(super) fn greeting(payload: &[u8]) -> Option<u32> {
    let (&10, rest) = payload.split_first()? else {
        return None;
    };
    let version_bytes = memchr::memchr(0, rest)?;
    let (version, rest) = rest.split_at_checked(version_bytes)?;
    if !version.first()?.is_ascii_digit() || !version.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    // The version's end, a connection's number, eight bytes for the password's scramble, and one of 0.
    let rest = rest.get(1 + 4 + 8..)?;
    if rest.first() != Some(&0) {
        return None;
    }
    let low = u16_at(rest, 1)?;
    // A character set and a status lie between.
    let high = u16_at(rest, 1 + 2 + 1 + 2).unwrap_or(0);
    Some(u32::from(high) << 16 | u32::from(low))
}

/// What a client's answer to the greeting says it can do; `None` if these bytes are none.
pub(super) fn response(payload: &[u8]) -> Option<u32> {
    let flags = u32_at(payload, 0)?;
    // The largest packet, a character set, and reserved bytes, of which MariaDB uses the last four.
    let reserved = payload.get(9..28)?;
    (flags & capabilities::PROTOCOL_41 != 0 && reserved.iter().all(|&byte| byte == 0)).then_some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_all_sizes_are_read() {
        for (bytes, value) in [
            (&b"\xfa"[..], Some(250)),
            (b"\xfc\x01\x02", Some(0x201)),
            (b"\xfd\x01\x02\x03", Some(0x0003_0201)),
            (b"\xfe\x01\0\0\0\0\0\0\x80", Some(0x8000_0000_0000_0001)),
            (b"\xfb", None),
            (b"\xff", None),
            (b"\xfd\x01\x02", None),
            (b"", None),
        ] {
            assert_eq!(
                integer(bytes).map(|(value, _)| value),
                value,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn an_ok_packet_says_what_it_changed_and_whether_more_follows() {
        let okay = Okay::of(b"\0\xfc\xe8\x03\x05\x0a\0\0\0").expect("an OK packet");
        assert_eq!((okay.affected_rows, okay.status), (1000, 0x0a));
        assert_eq!(Okay::of(b"\0\x01\x01\x02"), None);
    }

    #[test]
    fn both_packets_that_end_rows_have_a_status() {
        assert_eq!(end_status(b"\xfe\0\0\x22\0", 5), Some(0x22));
        assert_eq!(end_status(b"\xfe\0\0\x22\0\0\0", 7), Some(0x22));
        assert_eq!(end_status(b"\xfe", 7), None);
    }
}
