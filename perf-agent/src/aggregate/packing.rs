//! Numbers in little room, for closed slots: in memory, and in the history on disk (whose version changes when this does).
//! Reading never fails: a truncated input reads as zeros, and what nobody could have written marks the reader
//! ([`Reader::is_sound`]). Nothing is allocated by a number that was read without being held against what is left.
//!
//! Single numbers take as many bytes as they need, seven bits each, lowest first. The buckets of a distribution are many
//! and alike, so they are written bit by bit: the distance to the bucket before in Elias's gamma code (a neighbour is one
//! bit), the count in a Rice code for counts of the size of the one before. Half of the room that bytes would take
//! (measured on lognormal times).

/// Appends a number.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Higher than any count: sums of a few thousand of them still fit 64 bits.
const COUNTS: u64 = 1 << 48;

/// Reads numbers one after the other.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    unsound: bool,
}

impl<'a> Reader<'a> {
    /// From the beginning.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, unsound: false }
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        if let Some((&first, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            first
        } else {
            self.unsound = true;
            0
        }
    }

    /// A byte that may be missing at the end.
    pub(crate) fn last_byte(&mut self) -> u8 {
        if self.bytes.is_empty() { 0 } else { self.byte() }
    }

    /// The next number, which counts something and is added to others of its kind.
    pub(crate) fn count(&mut self) -> u64 {
        let count = self.u64();
        self.must(count < COUNTS);
        count.min(COUNTS)
    }

    /// The next number, of things that follow and take at least a bit each.
    pub(crate) fn things(&mut self, most: usize) -> usize {
        let things = usize::try_from(self.u64()).unwrap_or(usize::MAX);
        let possible = most.min(self.bytes.len().saturating_mul(8).saturating_add(1));
        self.must(things <= possible);
        things.min(possible)
    }

    /// Marks what was read as nothing that was ever written, unless this holds.
    pub(crate) fn must(&mut self, holds: bool) {
        self.unsound |= !holds;
    }

    /// True if everything read so far may have been written, and nothing is left.
    pub(crate) fn is_sound(&self) -> bool {
        !self.unsound && self.bytes.is_empty()
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

/// Ones that announce a count much larger than the one before, in gamma code.
const JUMP: u32 = 16;

/// Writes bits, lowest first.
pub(crate) struct Bits<'a> {
    out: &'a mut Vec<u8>,
    byte: u8,
    used: u32,
}

impl<'a> Bits<'a> {
    /// Behind what is there.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, byte: 0, used: 0 }
    }

    fn bit(&mut self, bit: bool) {
        self.byte |= u8::from(bit) << self.used;
        self.used += 1;
        if self.used == 8 {
            self.out.push(self.byte);
            (self.byte, self.used) = (0, 0);
        }
    }

    fn bits(&mut self, value: u64, count: u32) {
        for place in 0..count {
            self.bit(value >> place & 1 == 1);
        }
    }

    /// A number of at least 1, the smaller the shorter.
    pub(crate) fn gamma(&mut self, value: u64) {
        let length = value.max(1).ilog2();
        self.bits(0, length);
        self.bit(true);
        self.bits(value, length);
    }

    /// A number of at least 1 that is likely to be about as large as `before`.
    pub(crate) fn near(&mut self, value: u64, before: u64) {
        let low = rice(before);
        let high = (value - 1) >> low;
        if high < u64::from(JUMP) {
            for _ in 0..high {
                self.bit(true);
            }
            self.bit(false);
            self.bits(value - 1, low);
        } else {
            self.bits(u64::MAX, JUMP);
            self.gamma(value);
        }
    }

    /// Fills the last byte.
    pub(crate) fn finish(self) {
        if self.used > 0 {
            self.out.push(self.byte);
        }
    }
}

/// Low bits that are written as they are for numbers about this large.
fn rice(before: u64) -> u32 {
    before.max(1).ilog2().saturating_sub(1)
}

/// Reads bits.
pub(crate) struct BitReader<'a, 'b> {
    reader: &'a mut Reader<'b>,
    byte: u8,
    left: u32,
}

impl<'a, 'b> BitReader<'a, 'b> {
    /// From the next byte on.
    pub(crate) fn new(reader: &'a mut Reader<'b>) -> Self {
        Self {
            reader,
            byte: 0,
            left: 0,
        }
    }

    fn bit(&mut self) -> bool {
        if self.left == 0 {
            (self.byte, self.left) = (self.reader.byte(), 8);
        }
        let bit = self.byte & 1 == 1;
        self.byte >>= 1;
        self.left -= 1;
        bit
    }

    fn bits(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, place| value | u64::from(self.bit()) << place)
    }

    /// What [`Bits::gamma`] wrote.
    pub(crate) fn gamma(&mut self) -> u64 {
        let mut length = 0;
        while length < 63 && !self.bit() {
            length += 1;
        }
        1 << length | self.bits(length)
    }

    /// What [`Bits::near`] wrote.
    pub(crate) fn near(&mut self, before: u64) -> u64 {
        let mut high = 0;
        while high < JUMP && self.bit() {
            high += 1;
        }
        if high == JUMP {
            return self.gamma();
        }
        let low = rice(before);
        (u64::from(high) << low | self.bits(low)).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_back_as_they_were_written(numbers in prop::collection::vec((0u32..63, any::<u64>()), 0..200)) {
            let numbers: Vec<_> = numbers.into_iter().map(|(bits, value)| (value & ((1 << bits) - 1)).max(1)).collect();
            let mut bytes = vec![7];
            let mut bits = Bits::new(&mut bytes);
            let mut before = 1;
            for &number in &numbers {
                bits.gamma(number);
                bits.near(number, before);
                before = number;
            }
            bits.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.byte(), 7);
            let mut bits = BitReader::new(&mut reader);
            let mut before = 1;
            for number in numbers {
                prop_assert_eq!(bits.gamma(), number);
                prop_assert_eq!(bits.near(before), number);
                before = number;
            }
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn numbers_come_back_as_they_were_written() {
        let numbers = [0, 1, 127, 128, u128::from(u64::MAX), u128::MAX];
        let mut bytes = Vec::new();
        for number in numbers {
            put(&mut bytes, number);
        }
        let mut reader = Reader::new(&bytes);
        for number in numbers {
            assert_eq!(reader.u128(), number);
        }
        assert!(reader.is_empty());
    }
}
