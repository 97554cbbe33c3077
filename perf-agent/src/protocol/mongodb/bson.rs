//! BSON, as far as elements are found and passed over: <https://bsonspec.org/spec.html>.

/// Bytes of a document's length.
pub(super) const LENGTH: usize = 4;

/// Types of elements.
pub(super) mod kind {
    pub(in super::super) const DOUBLE: u8 = 0x01;
    pub(in super::super) const STRING: u8 = 0x02;
    pub(in super::super) const DOCUMENT: u8 = 0x03;
    pub(in super::super) const ARRAY: u8 = 0x04;
    pub(in super::super) const BOOLEAN: u8 = 0x08;
    pub(in super::super) const INT32: u8 = 0x10;
    pub(in super::super) const INT64: u8 = 0x12;
}

/// One element of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    /// Its value, as far as it is there.
    value: &'a [u8],
}

/// The elements of a document, as far as they are there.
#[derive(Clone, Debug)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    /// All were there, and the document ended.
    pub(super) ended: bool,
}

/// The number at this place, if it is there.
pub(super) fn int32(bytes: &[u8], at: usize) -> Option<i32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(i32::from_le_bytes(*bytes))
}

/// The length at this place.
pub(super) fn length(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(int32(bytes, at)?).ok()
}

/// The text at the beginning that a zero ends; without it.
pub(super) fn text(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memchr(0, bytes).map(|end| &bytes[..end])
}

impl<'a> Elements<'a> {
    /// Those of the document that these bytes begin with; `None` if they begin none.
    pub(super) fn of(document: &'a [u8]) -> Option<Self> {
        let length = length(document, 0).filter(|&length| length > LENGTH)?;
        Some(Self {
            rest: &document[LENGTH..length.min(document.len())],
            ended: false,
        })
    }

    /// How many elements there are, if all are there.
    pub(super) fn count_all(mut self) -> Option<u64> {
        let count = self.by_ref().count();
        self.ended.then_some(count as u64)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&kind, rest) = std::mem::take(&mut self.rest).split_first()?;
        if kind == 0 {
            self.ended = true;
            return None;
        }
        let name = text(rest)?;
        let value = &rest[name.len() + 1..];
        // What is not whole is the last one.
        let bytes = value_bytes(kind, value)?;
        self.rest = value.get(bytes..).unwrap_or_default();
        Some(Element {
            kind,
            name,
            value: &value[..bytes.min(value.len())],
        })
    }
}

/// Bytes of a value of this type that begins here; `None` if that cannot be told.
pub(super) fn value_bytes(kind: u8, value: &[u8]) -> Option<usize> {
    let counted = |beyond: usize| length(value, 0)?.checked_add(beyond);
    match kind {
        kind::DOUBLE | 0x09 | 0x11 | kind::INT64 => Some(8),
        kind::STRING | 0x0d | 0x0e => counted(4),
        kind::DOCUMENT | kind::ARRAY | 0x0f => counted(0).filter(|&bytes| bytes > LENGTH),
        // Binary.
        0x05 => counted(5),
        // What has no value: undefined, null, the least and the greatest key.
        0x06 | 0x0a | 0xff | 0x7f => Some(0),
        // An object's id.
        0x07 => Some(12),
        kind::BOOLEAN => Some(1),
        // A regular expression: two texts.
        0x0b => {
            let pattern = text(value)?.len() + 1;
            Some(pattern + text(&value[pattern..])?.len() + 1)
        }
        0x0c => counted(4 + 12),
        kind::INT32 => Some(4),
        // A decimal.
        0x13 => Some(16),
        _ => None,
    }
}

/// Does a value of this type begin with a length?
pub(super) fn has_length(kind: u8) -> bool {
    matches!(kind, kind::STRING..=0x05 | 0x0c..=0x0f)
}

impl<'a> Element<'a> {
    /// Its text, if it is one, without the zero at its end.
    pub(super) fn text(&self) -> Option<&'a [u8]> {
        let bytes = length(self.value, 0)?.checked_sub(1)?;
        let text = self.value.get(4..)?.get(..bytes)?;
        (self.kind == kind::STRING).then_some(text)
    }

    /// Its whole number, if it is a number, of whatever type.
    pub(super) fn number(&self) -> Option<i64> {
        match self.kind {
            kind::INT32 => int32(self.value, 0).map(i64::from),
            kind::INT64 => self.value.first_chunk().map(|bytes| i64::from_le_bytes(*bytes)),
            kind::BOOLEAN => self.value.first().map(|byte| i64::from(*byte)),
            kind::DOUBLE => {
                let number = f64::from_le_bytes(*self.value.first_chunk()?);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "it saturates, and those that matter are whole"
                )]
                Some(number as i64)
            }
            _ => None,
        }
    }

    /// Its elements, if it is a document or an array.
    pub(super) fn elements(&self) -> Option<Elements<'a>> {
        let holds = matches!(self.kind, kind::DOCUMENT | kind::ARRAY);
        Elements::of(self.value).filter(|_| holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One element of each type, each named by its type.
    fn document() -> Vec<u8> {
        let values: &[(u8, &[u8])] = &[
            (0x01, &1.5f64.to_le_bytes()),
            (0x02, b"\x03\0\0\0ab\0"),
            (0x03, b"\x05\0\0\0\0"),
            (0x04, b"\x0c\0\0\0\x100\0\x07\0\0\0\0"),
            (0x05, b"\x02\0\0\0\0xy"),
            (0x06, b""),
            (0x07, &[7; 12]),
            (0x08, b"\x01"),
            (0x09, &[9; 8]),
            (0x0a, b""),
            (0x0b, b"a.*\0i\0"),
            (0x0c, b"\x02\0\0\0a\0cccccccccccc"),
            (0x0d, b"\x02\0\0\0a\0"),
            (0x0e, b"\x02\0\0\0a\0"),
            (0x0f, b"\x0f\0\0\0\x02\0\0\0a\0\x05\0\0\0\0"),
            (0x10, &(-3i32).to_le_bytes()),
            (0x11, &[0x11; 8]),
            (0x12, &(1i64 << 40).to_le_bytes()),
            (0x13, &[0x13; 16]),
            (0xff, b""),
            (0x7f, b""),
        ];
        let mut bytes = vec![0; LENGTH];
        for (kind, value) in values {
            bytes.extend([&[*kind][..], format!("{kind:02x}\0").as_bytes(), value].concat());
        }
        bytes.push(0);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..LENGTH].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    #[test]
    fn every_type_is_passed_over_by_its_length() {
        let document = document();
        let elements = Elements::of(&document).unwrap();
        assert_eq!(elements.clone().count_all(), Some(21));
        for element in elements.clone() {
            assert_eq!(element.name, format!("{:02x}", element.kind).as_bytes());
        }
        let by = |kind| elements.clone().find(|element| element.kind == kind).unwrap();
        assert_eq!(by(kind::STRING).text(), Some(&b"ab"[..]));
        assert_eq!(by(kind::DOUBLE).number(), Some(1));
        assert_eq!(by(kind::INT32).number(), Some(-3));
        assert_eq!(by(kind::INT64).number(), Some(1 << 40));
        assert_eq!(by(kind::ARRAY).elements().and_then(Elements::count_all), Some(1));
    }

    #[test]
    fn what_is_cut_is_not_said_to_be_whole() {
        let document = document();
        for end in 0..document.len() {
            if let Some(elements) = Elements::of(&document[..end]) {
                assert_eq!(elements.count_all(), None);
            }
        }
    }
}
