//! Takes keys and values out of lines, byte for byte, for recordings.

use super::commands::{Command, Kind, number};
use crate::protocol::framed::cover_behind;

/// Covers each word behind as many bytes of it as `kept` tells of its place and itself; blanks stay.
pub(super) fn words(line: &mut [u8], kept: impl Fn(usize, &[u8]) -> usize) {
    let words = line.split_mut(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (place, word) in words.enumerate() {
        cover_behind(word, kept(place, word));
    }
}

/// A client's line.
pub(super) fn request(line: &mut [u8]) {
    let name = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let Some(command) = Command::known(name) else {
        // Or the beginning of one.
        let is_part = name.len() == line.len() && Command::begins(name);
        return words(line, |_, word| if is_part { word.len() } else { 0 });
    };
    words(line, |place, word| {
        let is_kept = match (command.kind, place) {
            (_, 0) => true,
            (_, 2..) if b"noreply".starts_with(word) => true,
            (Kind::GetAndTouch, 1) | (Kind::Store, 2..=5) | (Kind::Touch | Kind::MetaSet, 2) => {
                number(word.strip_prefix(b"-").unwrap_or(word)).is_some()
            }
            // What a server tells of itself.
            (Kind::Lines | Kind::Watch, _) => word.iter().all(u8::is_ascii_lowercase),
            _ => false,
        };
        match command.kind {
            _ if is_kept => word.len(),
            _ if command.is_meta() && place > 1 => flag(word),
            _ => 0,
        }
    });
    if command.kind == Kind::Arithmetic {
        // By how much is a number still.
        if let Some(by) = line
            .split_mut(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .nth(2)
            && by != b"noreply"
        {
            by.fill(b'1');
        }
    }
}

/// Bytes of a flag of a meta command that are kept: its letter, and a number.
fn flag(word: &[u8]) -> usize {
    1 + word[1..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// A server's line.
pub(super) fn answer(line: &mut [u8]) {
    let name: Vec<u8> = line.split(u8::is_ascii_whitespace).next().unwrap_or_default().to_vec();
    if number(&name).is_some() {
        // A counter's value.
        line.iter_mut()
            .filter(|byte| byte.is_ascii_digit())
            .for_each(|byte| *byte = b'1');
        return;
    }
    let is_name = name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    words(line, |place, word| match (place, &*name) {
        (0, _) if is_name => word.len(),
        (2.., b"VALUE") | (1, b"VA") if number(word).is_some() => word.len(),
        (2.., b"VA") | (1.., b"HD" | b"EN" | b"NS" | b"EX" | b"NF") => flag(word),
        _ => 0,
    });
}
