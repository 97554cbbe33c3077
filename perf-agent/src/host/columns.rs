//! Texts of the kernel, taken apart as bytes: names in them may be anything.

use std::str::FromStr;

/// The lines of a text.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

/// What stands between spaces and tabs.
pub(super) fn columns(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|column| !column.is_empty())
}

/// A column as a number; `None` if it is none, or too great a one.
pub(super) fn number<T: FromStr>(column: &[u8]) -> Option<T> {
    std::str::from_utf8(column).ok()?.parse().ok()
}

/// Of `key number` per line, the number of a key.
pub(super) fn number_of(text: &[u8], key: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| {
        let mut columns = columns(line);
        (columns.next() == Some(key)).then(|| columns.next().and_then(number))?
    })
}

/// A text that is one number.
pub(super) fn one_number(text: &[u8]) -> Option<i64> {
    number(text.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_key() {
        let text = b"nr_periods 12\nnr_throttled x\nthrottled\nbig 99999999999999999999\n";
        assert_eq!(number_of(text, b"nr_periods"), Some(12));
        for key in [&b"nr_throttled"[..], b"throttled", b"big", b"none", b""] {
            assert_eq!(number_of(text, key), None);
        }
    }
}
