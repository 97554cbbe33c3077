//! One figure as a program reports it, and what makes it acceptable.

use thiserror::Error;

use super::{ATTRIBUTES, CustomKind, TEXT_BYTES, UNIT_BYTES};

/// One report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name, see [`check_name`].
    pub name: &'a str,
    /// What it is measured in.
    pub unit: Option<&'a str>,
    /// What sort of figure it is.
    pub kind: CustomKind,
    /// The figure.
    pub amount: Amount<'a>,
    /// Values that it stands for: 10 if one of ten is reported. At least 1 and finite.
    pub weight: f64,
    /// Attributes in any order; of one key the last counts. See [`check_attribute`].
    pub attributes: &'a [(&'a str, &'a str)],
}

/// What is reported. Numbers are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount<'a> {
    /// A value, or a counter's increase.
    Is(f64),
    /// Of a gauge: so much more, or less, than before.
    Changes(f64),
    /// Of a set.
    Member(&'a [u8]),
}

/// What is wrong with a text of a sample.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SampleFault {
    /// The name.
    #[error("a name is 1 to {TEXT_BYTES} letters, digits, _ : . - and begins with a letter, _ or :")]
    Name,
    /// The unit.
    #[error("a unit is 1 to {UNIT_BYTES} printable characters")]
    Unit,
    /// Too many attributes.
    #[error("at most {ATTRIBUTES} attributes")]
    Attributes,
    /// An attribute's key.
    #[error("an attribute's name is 1 to {TEXT_BYTES} letters, digits, _ : . - / and begins with a letter or _")]
    Key,
    /// An attribute's value.
    #[error("an attribute's value is at most {TEXT_BYTES} bytes without control characters")]
    Value,
}

/// `[a-zA-Z_:][a-zA-Z0-9_:.-]*`, at most 128 bytes.
///
/// # Errors
/// [`SampleFault::Name`]
pub fn check_name(name: &str) -> Result<(), SampleFault> {
    let begins = |byte: u8| byte.is_ascii_alphabetic() || b"_:".contains(&byte);
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte);
    word(name, begins, goes_on).then_some(()).ok_or(SampleFault::Name)
}

/// Something short to be read.
///
/// # Errors
/// [`SampleFault::Unit`]
pub fn check_unit(unit: &str) -> Result<(), SampleFault> {
    let fits = (1..=UNIT_BYTES).contains(&unit.len()) && !unit.chars().any(char::is_control);
    fits.then_some(()).ok_or(SampleFault::Unit)
}

/// A key as names are, with slashes; any short value.
///
/// # Errors
/// [`SampleFault::Key`] or [`SampleFault::Value`]
pub fn check_attribute(key: &str, value: &str) -> Result<(), SampleFault> {
    let begins = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || b"_:.-/".contains(&byte);
    if !word(key, begins, goes_on) {
        return Err(SampleFault::Key);
    }
    let fits = value.len() <= TEXT_BYTES && !value.chars().any(char::is_control);
    fits.then_some(()).ok_or(SampleFault::Value)
}

fn word(text: &str, begins: impl Fn(u8) -> bool, goes_on: impl Fn(u8) -> bool) -> bool {
    let mut bytes = text.bytes();
    text.len() <= TEXT_BYTES && bytes.next().is_some_and(begins) && bytes.all(goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_words() {
        for name in ["a", "_a", ":a", "orders.paid-total:v2", &"a".repeat(128)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "1a", "-a", ".a", "a b", "a/b", "\u{e4}", &"a".repeat(129)] {
            assert_eq!(check_name(name), Err(SampleFault::Name), "{name}");
        }
        assert_eq!(check_attribute("k8s.io/name", "\u{e4} b"), Ok(()));
        assert_eq!(check_attribute("a", ""), Ok(()));
        assert_eq!(check_attribute("1", ""), Err(SampleFault::Key));
        assert_eq!(check_attribute("a", "\n"), Err(SampleFault::Value));
        assert_eq!(check_attribute("a", &"a".repeat(129)), Err(SampleFault::Value));
        assert_eq!((check_unit("EUR"), check_unit("")), (Ok(()), Err(SampleFault::Unit)));
    }
}
