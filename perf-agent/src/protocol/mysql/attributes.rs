//! A query's text, which may have attributes before it (MySQL 8.0.23): their values are passed over.

use super::packet::integer;
use crate::protocol::framed::cover;

/// More attributes than anybody gives to a query.
const MOST: u64 = 64;

/// The text of a query, of these bytes behind the command. `None` if it is not among them.
///
/// Whether attributes come first depends on what client and server agreed on; it shows by itself, since no statement has a
/// byte of 1 in the second place: there is the number of sets of attributes.
pub(super) fn statement(bytes: &[u8]) -> Option<&[u8]> {
    behind(bytes, |_, _| {})
}

/// Takes the attributes' values out, and gives the text.
pub(super) fn blank(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let said = bytes.to_vec();
    let text = behind(&said, |before, value| {
        let begin = said.len() - before;
        cover(&mut bytes[begin..begin + value]);
    });
    let text = text?.len();
    let begin = said.len() - text;
    bytes.get_mut(begin..)
}

/// The text of a query. Of each value is told how many bytes are from it to the end, and how many are its own.
fn behind(bytes: &[u8], mut told: impl FnMut(usize, usize)) -> Option<&[u8]> {
    let (count, rest) = match *bytes {
        [count, 1, ..] => (u64::from(count), bytes.get(2..)?),
        _ => return Some(bytes),
    };
    if count == 0 {
        return Some(rest);
    }
    if count > MOST {
        return None;
    }
    let (nulls, rest) = rest.split_at_checked(usize::try_from(count.div_ceil(8)).ok()?)?;
    let (&1, types) = rest.split_first()? else {
        return None;
    };
    let mut rest = types;
    for _ in 0..count {
        rest = text(rest.get(2..)?)?;
    }
    let mut types = types;
    for place in 0..usize::try_from(count).ok()? {
        let kind = *types.first()?;
        types = text(types.get(2..)?)?;
        let is_null = nulls.get(place / 8)? >> (place % 8) & 1 == 1;
        if !is_null {
            let next = value(kind, rest)?;
            // The length of a text stays.
            let length = if is_fixed(kind) {
                0
            } else {
                rest.len() - integer(rest)?.1.len()
            };
            told(rest.len() - length, rest.len() - length - next.len());
            rest = next;
        }
    }
    Some(rest)
}

/// What is behind a length-encoded string.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = integer(bytes)?;
    rest.get(usize::try_from(length).ok()?..)
}

/// Has a value of this type always the same length?
fn is_fixed(kind: u8) -> bool {
    matches!(kind, 1..=6 | 8 | 9 | 13)
}

/// What is behind a value of this type, in its binary form.
fn value(kind: u8, bytes: &[u8]) -> Option<&[u8]> {
    match kind {
        // TINY.
        1 => bytes.get(1..),
        // SHORT and YEAR.
        2 | 13 => bytes.get(2..),
        // LONG, INT24, FLOAT.
        3 | 9 | 4 => bytes.get(4..),
        // DOUBLE, LONGLONG.
        5 | 8 => bytes.get(8..),
        // NULL.
        6 => Some(bytes),
        // Dates and times: their length is one byte. All others: as a string's.
        _ => text(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_found_behind_its_attributes() {
        for (bytes, expected) in [
            (&b"SELECT 1"[..], Some(&b"SELECT 1"[..])),
            (b"\0\x01SELECT 1", Some(b"SELECT 1")),
            // One of text and one of eight bytes; one that is NULL.
            (
                b"\x03\x01\x04\x01\xfe\0\x0btraceparent\x08\0\x01n\xfe\0\x01o\x06SECRET\x01\x02\x03\x04\x05\x06\x07\x08DO 1",
                Some(b"DO 1"),
            ),
            (b"\x01\x01\0\x01\x07\0\x01d\x04\x01\x02\x03\x04DO 1", Some(b"DO 1")),
            // The end of the text is not here.
            (b"\x01\x01\0\x01\xfe\0\x01a\xfc\xff\xffxxx", None),
            (b"\xfa\x01", None),
            (b"", Some(b"")),
        ] {
            assert_eq!(statement(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
