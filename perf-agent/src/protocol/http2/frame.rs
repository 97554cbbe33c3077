//! Frames, RFC 9113, 4.1 and 6: nine bytes that say how many follow, of what kind, on which stream.

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = 9;
/// What a client sends first (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest frame that anybody is known to allow (RFC 9113, 4.2: 16 KiB, unless a peer's settings say more).
const MAX_PLAUSIBLE_BYTES: u32 = 1 << 20;

/// Frame types.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// Flags.
pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 1;
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;
    pub(in super::super) const PADDED: u8 = 8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub(super) length: u32,
    /// One of [`kind`], or one that is to be ignored (RFC 9113, 5.5).
    pub(super) kind: u8,
    /// Bits of [`flag`].
    pub(super) flags: u8,
    /// The stream, 0 for the connection itself.
    pub(super) stream: u32,
}

impl Frame {
    pub(super) fn of(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Does its payload belong to a header block?
    pub(super) fn is_block(self) -> bool {
        matches!(self.kind, kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION)
    }

    /// Could nine bytes that stand somewhere be a frame's header? Types, lengths, streams and flags that go together
    /// (RFC 9113, 6). By chance one in some thousands would.
    pub(super) fn is_plausible(self) -> bool {
        let on_stream = self.stream != 0;
        let allowed = |flags: u8| self.flags & !flags == 0;
        self.length <= MAX_PLAUSIBLE_BYTES
            && match self.kind {
                kind::DATA => on_stream && allowed(flag::END_STREAM | flag::PADDED),
                kind::HEADERS => {
                    on_stream && allowed(flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY)
                }
                kind::PRIORITY => on_stream && self.length == 5 && allowed(0),
                kind::RST_STREAM => on_stream && self.length == 4 && allowed(0),
                kind::SETTINGS => {
                    !on_stream
                        && allowed(flag::ACK)
                        && self.length.is_multiple_of(6)
                        && (self.length == 0 || !self.has(flag::ACK))
                }
                kind::PUSH_PROMISE => on_stream && allowed(flag::END_HEADERS | flag::PADDED),
                kind::PING => !on_stream && self.length == 8 && allowed(flag::ACK),
                kind::GOAWAY => !on_stream && self.length >= 8 && allowed(0),
                kind::WINDOW_UPDATE => self.length == 4 && allowed(0),
                kind::CONTINUATION => on_stream && allowed(flag::END_HEADERS),
                _ => false,
            }
    }
}

/// A block's fragment in a frame's payload: without padding, priority and promised stream (RFC 9113, 6.2 and 6.6).
/// `None` if they are longer than the payload.
pub(super) fn fragment(frame: Frame, payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload;
    let mut padding = 0;
    if frame.kind != kind::CONTINUATION && frame.has(flag::PADDED) {
        let (&first, after) = rest.split_first()?;
        (padding, rest) = (usize::from(first), after);
    }
    let before = match frame.kind {
        kind::HEADERS if frame.has(flag::PRIORITY) => 5,
        kind::PUSH_PROMISE => 4,
        _ => 0,
    };
    let rest = rest.get(before..)?;
    rest.get(..rest.len().checked_sub(padding)?)
}
