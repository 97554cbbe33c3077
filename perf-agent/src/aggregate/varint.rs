//! Numbers in as many bytes as they need: seven bits each, lowest first. For closed slots, which this process wrote
//! itself; a truncated input reads as zeros.

/// Appends a number.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Reads numbers one after the other.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the beginning.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((&first, rest)) => {
                self.bytes = rest;
                first
            }
            None => 0,
        }
    }

    /// The next number.
    pub(crate) fn u128(&mut self) -> u128 {
        let mut value = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte();
            if shift < u128::BITS {
                value |= u128::from(byte & 0x7f) << shift;
            }
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }

    /// The next number, at most 2^64 - 1.
    pub(crate) fn u64(&mut self) -> u64 {
        u64::try_from(self.u128()).unwrap_or(u64::MAX)
    }

    /// The next number, at most 2^32 - 1.
    pub(crate) fn u32(&mut self) -> u32 {
        u32::try_from(self.u128()).unwrap_or(u32::MAX)
    }

    /// True if nothing is left.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were_written() {
        let numbers = [0, 1, 127, 128, u128::from(u64::MAX), u128::MAX];
        let mut bytes = Vec::new();
        numbers.iter().for_each(|&number| put(&mut bytes, number));
        let mut reader = Reader::new(&bytes);
        for number in numbers {
            assert_eq!(reader.u128(), number);
        }
        assert!(reader.is_empty());
    }
}
