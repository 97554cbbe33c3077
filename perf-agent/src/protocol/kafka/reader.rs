//! The protocol's primitive types, <https://kafka.apache.org/protocol.html#protocol_types>, read from as much of a message as
//! is there. Each is `None` where that ends.

/// Reads from the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// The version is one with compact lengths and tagged fields (KIP-482).
    pub(super) flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { rest: bytes, flexible }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const BYTES: usize>(&mut self) -> Option<&'a [u8; BYTES]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn skip(&mut self, bytes: usize) -> Option<()> {
        self.take(bytes).map(|_| ())
    }

    pub(super) fn int16(&mut self) -> Option<i16> {
        self.array().copied().map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Option<i32> {
        self.array().copied().map(i32::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Option<&'a [u8; 16]> {
        self.array()
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An `UNSIGNED_VARINT`.
    pub(super) fn varint(&mut self) -> Option<usize> {
        let mut value = 0u64;
        for place in 0..5 {
            let [byte] = *self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return usize::try_from(value).ok();
            }
        }
        None
    }

    /// A length that in versions which are not flexible is an `INT32`; of what is null it is 0.
    pub(super) fn length(&mut self) -> Option<usize> {
        if self.flexible {
            Some(self.varint()?.saturating_sub(1))
        } else {
            Some(usize::try_from(self.int32()?).unwrap_or(0))
        }
    }

    /// The length of a string, 0 if it is null.
    pub(super) fn string_length(&mut self) -> Option<usize> {
        if self.flexible {
            self.length()
        } else {
            Some(usize::try_from(self.int16()?).unwrap_or(0))
        }
    }

    /// A string, empty if it is null.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.string_length()?;
        self.take(length)
    }

    /// How many elements an array has.
    pub(super) fn count(&mut self) -> Option<usize> {
        self.length()
    }

    /// Passes over an array of `INT32`.
    pub(super) fn skip_int32s(&mut self) -> Option<()> {
        let count = self.count()?;
        self.skip(count.checked_mul(4)?)
    }

    /// Passes over tagged fields, where the version has them.
    pub(super) fn tags(&mut self) -> Option<()> {
        if self.flexible {
            for _ in 0..self.varint()? {
                self.varint()?;
                let length = self.varint()?;
                self.skip(length)?;
            }
        }
        Some(())
    }
}
