//! Takes a statement's values and comments out byte for byte, for recordings: its fingerprint stays what it is.

use super::Dialect;
use super::lexer::{Lexer, REST, Token};
use super::writer::{Writer, Written};
use crate::protocol::framed::BLANK;

/// Blanks what stands for a value, what is a comment, and what is behind the fingerprint's end. Nothing moves.
pub(in crate::protocol) fn blank(statement: &mut [u8], dialect: Dialect) {
    let said = statement.to_vec();
    let mut fingerprint = String::new();
    let mut lexer = Lexer::new(&said, dialect);
    let mut writer = Writer::new(dialect, &mut fingerprint);
    comments(&mut statement[..lexer.place()]);
    loop {
        let begin = lexer.place();
        let Some(token) = lexer.next(writer.after_operand()) else {
            return;
        };
        let (end, next) = (lexer.ended(), lexer.place());
        comments(&mut statement[end..next]);
        let written = writer.token(token, lexer.upcoming());
        if token == Token::Rest || written == Written::Full {
            let kept = match token {
                Token::Rest if said[begin..].starts_with(REST.as_bytes()) => begin + REST.len(),
                Token::Rest => begin,
                // The name or the value for which there was no room.
                _ => end,
            };
            if token == Token::Value {
                value(&mut statement[begin..end]);
            }
            statement[kept..].fill(BLANK);
            return;
        }
        let piece = &mut statement[begin..end];
        match token {
            Token::Value => value(piece),
            Token::Word(word) | Token::Quoted(word) if writer.is_made_up(word) => text(piece),
            _ => {}
        }
    }
}

/// A literal or a placeholder, which stays one.
fn value(piece: &mut [u8]) {
    match piece.first() {
        Some(b'?' | b':' | b'%') => {}
        Some(b'$') if piece[1..].first().is_some_and(u8::is_ascii_digit) => piece[1..].fill(b'0'),
        Some(b'$') => dollars(piece),
        Some(b'0'..=b'9' | b'.') => piece
            .iter_mut()
            .filter(|byte| **byte != b'.')
            .for_each(|byte| *byte = b'0'),
        _ => {
            // Letters before the quotes tell what kind of literal it is.
            let quote = piece.iter().position(|byte| b"'\"`".contains(byte));
            text(&mut piece[quote.unwrap_or(0)..]);
        }
    }
}

/// `$tag$ … $tag$`, of which the end may be missing.
fn dollars(piece: &mut [u8]) {
    let tag = memchr::memchr(b'$', &piece[1..]).map_or(piece.len(), |end| end + 2);
    let (tag, body) = piece.split_at_mut(tag);
    let text = body.strip_suffix(&*tag).map_or(body.len(), <[u8]>::len);
    body[..text].fill(BLANK);
}

/// Letters, but not what begins, ends or escapes.
fn text(piece: &mut [u8]) {
    piece
        .iter_mut()
        .filter(|byte| !b"'\"`\\@".contains(byte))
        .for_each(|byte| *byte = BLANK);
}

/// What stands between two pieces.
fn comments(between: &mut [u8]) {
    between
        .iter_mut()
        .filter(|byte| **byte > b' ' && !b"-#/*\x7f".contains(byte))
        .for_each(|byte| *byte = BLANK);
}
