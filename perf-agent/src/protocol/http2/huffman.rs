//! HPACK's Huffman code, RFC 7541, 5.2 and Appendix B. The code is canonical: codes of one length are consecutive
//! numbers in the order of their symbols, so the lengths alone say what it is.

/// Bits of each byte's code, and last those of the end-of-string symbol.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const SHORTEST: usize = 5;
const LONGEST: usize = 30;
const END: u16 = 256;

struct Code {
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// By length: the first code that is longer, as the first bits of a 32-bit window.
    limits: [u64; LONGEST + 1],
    /// By length: what to add to a code, wrapping, to get its place in `symbols`.
    offsets: [usize; LONGEST + 1],
}

#[expect(clippy::cast_possible_truncation, reason = "symbols are 256 at most")]
const CODE: Code = {
    let mut code = Code {
        symbols: [0; 257],
        limits: [0; LONGEST + 1],
        offsets: [0; LONGEST + 1],
    };
    let (mut next, mut placed, mut length) = (0usize, 0usize, SHORTEST);
    while length <= LONGEST {
        next <<= 1;
        code.offsets[length] = placed.wrapping_sub(next);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[placed] = symbol as u16;
                placed += 1;
                next += 1;
            }
            symbol += 1;
        }
        code.limits[length] = (next as u64) << (32 - length);
        length += 1;
    }
    code
};

/// Bits of a window that [`SHORT`] is asked with. Of what stands in headers nearly every code is shorter.
const SHORT_BITS: usize = 10;

/// What [`SHORT`] says of the bits of a longer code.
const LONG: u8 = u8::MAX;

/// By the first bits of a window: the symbol whose code they begin with, and its bits.
#[expect(clippy::cast_possible_truncation, reason = "few bits")]
static SHORT: [(u8, u8); 1 << SHORT_BITS] = {
    let mut short = [(0, LONG); 1 << SHORT_BITS];
    let mut first = 0;
    while first < short.len() {
        let (symbol, length) = symbol((first as u32) << (32 - SHORT_BITS));
        if length <= SHORT_BITS {
            short[first] = (symbol as u8, length as u8);
        }
        first += 1;
    }
    short
};

/// The first symbol in a window of 32 bits, and its bits.
const fn symbol(window: u32) -> (u16, usize) {
    let mut length = SHORTEST;
    // The last limit is beyond every window.
    while length < LONGEST && window as u64 >= CODE.limits[length] {
        length += 1;
    }
    let place = ((window >> (32 - length)) as usize).wrapping_add(CODE.offsets[length]);
    let symbol = if place < CODE.symbols.len() {
        CODE.symbols[place]
    } else {
        END
    };
    (symbol, length)
}

/// Fewest bytes that a string of so many encoded ones comes to.
pub(super) fn least_decoded(encoded: usize) -> usize {
    encoded.saturating_mul(8).saturating_sub(7) / LONGEST
}

/// The first symbol of `held` bits, left-aligned, and its bits; `None` if it is not whole. The end-of-string symbol is no
/// byte.
pub(super) fn first(bits: u64, held: usize) -> Option<(Option<u8>, usize)> {
    // What is not there is taken for ones: the padding is a beginning of the end-of-string symbol.
    let ones = if held < 32 { u32::MAX >> held } else { 0 };
    let (symbol, length) = symbol((bits >> 32) as u32 | ones);
    (length <= held).then(|| (u8::try_from(symbol).ok(), length))
}

/// A byte's code, and its bits.
pub(super) fn code(byte: u8) -> (u32, usize) {
    let length = usize::from(LENGTHS[usize::from(byte)]);
    let place = CODE.symbols.iter().position(|&symbol| symbol == u16::from(byte));
    let code = place.unwrap_or(0).wrapping_sub(CODE.offsets[length]);
    (u32::try_from(code).unwrap_or(0), length)
}

/// Most bytes that it comes to.
pub(super) fn most_decoded(encoded: usize) -> usize {
    encoded.saturating_mul(8) / SHORTEST
}

/// Decodes a string into a buffer, and gives its length; as far as there is room, what is beyond is not looked at. `None`
/// if it is no string: padding that is not a code's beginning, or the end-of-string symbol within.
pub(super) fn decode(input: &[u8], to: &mut [u8]) -> Option<usize> {
    // The bits that are not used yet, left-aligned and inverted: so those that are not there are ones, like the padding,
    // which is a beginning of the end-of-string symbol.
    let (mut inverted, mut held, mut rest, mut length) = (0u64, 0usize, input, 0);
    loop {
        if let Some(eight) = rest.first_chunk() {
            // Those that do not fit whole are there twice then, and the same.
            inverted |= !u64::from_be_bytes(*eight) >> held;
            let bytes = (63 - held) / 8;
            rest = &rest[bytes..];
            held += 8 * bytes;
        } else {
            while let Some((&byte, after)) = rest.split_first().filter(|_| held <= 56) {
                inverted |= u64::from(!byte) << (56 - held);
                held += 8;
                rest = after;
            }
        }
        for place in &mut to[length..] {
            let (byte, bits) = SHORT[(!inverted >> (64 - SHORT_BITS)) as usize];
            let bits = usize::from(bits);
            if bits > held {
                break;
            }
            *place = byte;
            length += 1;
            inverted <<= bits;
            held -= bits;
        }
        let Some(place) = to.get_mut(length) else {
            return Some(length);
        };
        if held < LONGEST && !rest.is_empty() {
            continue;
        }
        if held < 8 {
            return (inverted == 0).then_some(length);
        }
        let (symbol, bits) = symbol((!inverted >> 32) as u32);
        if bits > held {
            return None;
        }
        *place = u8::try_from(symbol).ok()?;
        length += 1;
        inverted <<= bits;
        held -= bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Option<String> {
        let mut bytes = [0; 64];
        decode(input, &mut bytes).map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// RFC 7541, C.4 and C.6.
    #[test]
    fn the_specifications_examples_are_read() {
        let cases: [(&[u8], &str); 4] = [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (
                &[
                    0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae, 0x43,
                    0xd3,
                ],
                "https://www.example.com",
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(decoded(input).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        assert_eq!(decoded(&[]).as_deref(), Some(""));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "the end-of-string symbol");
        assert_eq!(decoded(&[0xff]), None, "eight bits of padding");
        assert_eq!(decoded(&[0x66]), None, "padding that is not all ones");
    }
}
