//! WebSocket frames, RFC 6455, 5.2, as far as it takes to count messages: each frame's header says how long it is.

/// Bytes of the longest header before the masking key.
const HEADER_BYTES: usize = 10;
const MASK_BYTES: u64 = 4;

/// One half of a WebSocket connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    /// Does this half mask its frames? A client does, a server does not (RFC 6455, 5.1).
    masked: bool,
    /// Bytes of a frame's header that have come.
    header: [u8; HEADER_BYTES],
    held: usize,
    /// Bytes left of the payload.
    left: u64,
    /// It is not known where frames begin.
    lost: bool,
}

impl Frames {
    pub(super) fn new(masked: bool) -> Self {
        Self {
            masked,
            header: [0; HEADER_BYTES],
            held: 0,
            left: 0,
            lost: false,
        }
    }

    /// The next bytes: how many messages have their last frame begin in them. `None` once that cannot be told.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Option<u64> {
        let mut messages = 0;
        while !self.lost && !bytes.is_empty() {
            if self.left > 0 {
                let length = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.left -= length as u64;
                bytes = &bytes[length..];
                continue;
            }
            self.header[self.held] = bytes[0];
            self.held += 1;
            bytes = &bytes[1..];
            let [first, second, length @ ..] = self.header;
            if self.held < 2 {
                continue;
            }
            let (opcode, finishes) = (first & 0x0f, first & 0x80 != 0);
            // One reserved bit is in use, for compression (RFC 7692).
            let known = matches!(opcode, 0..=2 | 8..=10) && first & 0x30 == 0;
            if !known || (second & 0x80 != 0) != self.masked {
                self.lost = true;
                break;
            }
            let (more, length) = match second & 0x7f {
                126 => (2, u64::from(u16::from_be_bytes([length[0], length[1]]))),
                127 => (8, u64::from_be_bytes(length)),
                short => (0, u64::from(short)),
            };
            if self.held < 2 + more {
                continue;
            }
            self.held = 0;
            self.left = length.saturating_add(if self.masked { MASK_BYTES } else { 0 });
            messages += u64::from(finishes && opcode <= 2);
        }
        (!self.lost).then_some(messages)
    }

    /// So many bytes were not captured.
    pub(super) fn skip(&mut self, missing: u64) -> Option<u64> {
        match self.left.checked_sub(missing) {
            Some(left) => self.left = left,
            None => self.lost = true,
        }
        (!self.lost).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..=125 => bytes.push(mask | u8::try_from(length).unwrap()),
            length @ 126..=65_535 => {
                bytes.push(mask | 0x7e);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(mask | 0x7f);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend([1, 2, 3, 4]);
        }
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_message_may_have_several_frames_and_control_frames_between_them() {
        let bytes = [
            frame(0x01, true, b"a"),
            frame(0x89, true, b"ping"),
            frame(0x00, true, b"b"),
            frame(0x80, true, b"c"),
            frame(0xc2, true, &vec![0; 70_000]),
            frame(0x88, true, b""),
        ]
        .concat();
        assert_eq!(Frames::new(true).feed(&bytes), Some(2));
    }

    #[test]
    fn what_are_no_frames_are_not_counted_again() {
        for bytes in [
            &frame(0x83, true, b"")[..],
            &frame(0x81, false, b"a"),
            b"GET / HTTP/1.1",
        ] {
            let mut frames = Frames::new(true);
            assert_eq!(frames.feed(bytes), None);
            assert_eq!(frames.feed(&frame(0x81, true, b"a")), None);
        }
    }

    #[test]
    fn payloads_may_be_missing_and_headers_may_not() {
        let bytes = frame(0x82, false, &[7; 1000]);
        let mut frames = Frames::new(false);
        assert_eq!(frames.feed(&bytes[..10]), Some(1));
        assert_eq!(frames.skip(bytes.len() as u64 - 10), Some(0));
        assert_eq!(frames.feed(&bytes), Some(1));
        assert_eq!(frames.skip(1), None);
        assert_eq!(frames.feed(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_chunking_counts_the_same(
            payloads in prop::collection::vec((0usize..70_000, any::<bool>()), 0..6),
            masked in any::<bool>(),
            cuts in prop::collection::vec(1usize..5000, 1..9),
        ) {
            let bytes: Vec<u8> = payloads
                .iter()
                .flat_map(|&(length, data)| frame(if data { 0x82 } else { 0x8a }, masked, &vec![0xff; length]))
                .collect();
            let mut frames = Frames::new(masked);
            let (mut rest, mut messages) = (&bytes[..], 0);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, after) = rest.split_at((*cut).min(rest.len()));
                messages += frames.feed(now).unwrap();
                rest = after;
            }
            prop_assert_eq!(messages, payloads.iter().filter(|payload| payload.1).count() as u64);
        }

        #[test]
        fn any_bytes_at_all_end(bytes in prop::collection::vec(any::<u8>(), 0..300), missing in any::<u64>()) {
            let mut frames = Frames::new(false);
            frames.feed(&bytes);
            frames.skip(missing);
            frames.feed(&bytes);
        }
    }
}
