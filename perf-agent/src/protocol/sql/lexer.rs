//! Statements in pieces. Blanks, comments and literals end here: no piece holds any.
//!
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>,
//! <https://dev.mysql.com/doc/refman/8.4/en/language-structure.html>

use memchr::{memchr, memchr2, memmem};

use super::Dialect;

/// What stands for what was left out; a statement that holds it is taken to end there.
pub(super) const REST: &str = "…";

/// A piece of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name or a key word, as written.
    Word(&'a [u8]),
    /// A name in quotes, with them.
    Quoted(&'a [u8]),
    /// A literal or a placeholder.
    Value,
    /// `(` or `[`
    Open(u8),
    /// `)` or `]`
    Close(u8),
    Comma,
    Dot,
    /// `::`
    Cast,
    Semicolon,
    Operator(&'a [u8]),
    /// What follows was left out, or it cannot be told where literals begin and end in it.
    Rest,
}

/// Reads a statement once, from its beginning to its end.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    /// Behind the last piece and the blanks that follow it.
    at: usize,
    /// Where the last piece ended.
    ended: usize,
    /// The last literal has two readings.
    doubtful: bool,
    dialect: Dialect,
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn goes_on_word(byte: u8) -> bool {
    GOES_ON_WORD[usize::from(byte)]
}

static GOES_ON_WORD: [bool; 256] = {
    let mut goes_on = [false; 256];
    let mut byte = 0u8;
    loop {
        goes_on[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
        if byte == u8::MAX {
            break goes_on;
        }
        byte += 1;
    }
};

fn is_blank(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

impl<'a> Lexer<'a> {
    pub(super) fn new(bytes: &'a [u8], dialect: Dialect) -> Self {
        let mut lexer = Self {
            bytes,
            at: 0,
            ended: 0,
            doubtful: false,
            dialect,
        };
        lexer.blanks();
        lexer
    }

    /// The last piece ended where the bytes do: if the statement was cut, it may be a part of a longer one.
    pub(super) fn reached_end(&self) -> bool {
        self.ended >= self.bytes.len()
    }

    /// Where the last piece ended.
    pub(super) fn ended(&self) -> usize {
        self.ended
    }

    /// Where the next piece begins.
    pub(super) fn place(&self) -> usize {
        self.at.min(self.bytes.len())
    }

    /// What follows the last piece, without blanks.
    pub(super) fn upcoming(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    /// The next piece. `after_operand`: a sign that follows is one between two operands.
    pub(super) fn next(&mut self, after_operand: bool) -> Option<Token<'a>> {
        if self.doubtful {
            return Some(Token::Rest);
        }
        let token = self.token(after_operand)?;
        self.ended = self.at.min(self.bytes.len());
        // Most pieces are apart by one space or none.
        if self.byte(0) == Some(b' ') {
            self.at += 1;
        }
        if self.byte(0).is_some_and(|byte| !byte.is_ascii_alphanumeric()) {
            self.blanks();
        }
        Some(token)
    }

    fn blanks(&mut self) {
        let mysql = self.dialect == Dialect::Mysql;
        while let Some(byte) = self.byte(0) {
            match byte {
                _ if is_blank(byte) => self.at += 1,
                b'-' if self.byte(1) == Some(b'-') && (!mysql || self.byte(2).is_none_or(is_blank)) => self.line(),
                b'#' if mysql => self.line(),
                b'/' if self.byte(1) == Some(b'*') => self.comment(),
                _ => break,
            }
        }
    }

    /// Passes over a comment that ends with the line.
    fn line(&mut self) {
        let rest = self.upcoming();
        let end = match self.dialect {
            Dialect::Mysql => memchr(b'\n', rest),
            Dialect::Postgresql => memchr2(b'\n', b'\r', rest),
        };
        self.at += end.unwrap_or(rest.len());
    }

    /// Passes over a comment in `/*` and `*/`; PostgreSQL's hold others.
    fn comment(&mut self) {
        self.at += 2;
        let mut depth = 1u32;
        while depth > 0 {
            let rest = self.upcoming();
            let Some(place) = memchr2(b'*', b'/', rest) else {
                self.at += rest.len();
                return;
            };
            match (rest[place], rest.get(place + 1)) {
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += place + 2;
                }
                (b'/', Some(b'*')) if self.dialect == Dialect::Postgresql => {
                    depth += 1;
                    self.at += place + 2;
                }
                _ => self.at += place + 1,
            }
        }
    }

    fn token(&mut self, after_operand: bool) -> Option<Token<'a>> {
        let byte = self.byte(0)?;
        if byte.is_ascii_alphabetic() {
            return Some(self.word());
        }
        let next = self.byte(1).unwrap_or_default();
        let mysql = self.dialect == Dialect::Mysql;
        Some(match byte {
            b'\'' => self.string(b'\'', mysql),
            b'"' if mysql => self.string(b'"', true),
            b'"' | b'`' => self.quoted(self.at),
            b'0'..=b'9' => self.number(),
            b'.' if next.is_ascii_digit() && !after_operand => self.number(),
            b'.' => self.one(Token::Dot),
            b',' => self.one(Token::Comma),
            b';' => self.one(Token::Semicolon),
            b'(' | b'[' => self.one(Token::Open(byte)),
            b')' | b']' => self.one(Token::Close(byte)),
            b'$' if next.is_ascii_digit() => self.number(),
            b'$' if !mysql => self.dollars(),
            b'@' if mysql && (next == b'@' || goes_on_word(next)) => self.word(),
            b':' if next == b':' => {
                self.at += 2;
                Token::Cast
            }
            b':' if begins_word(next) && !after_operand => self.number(),
            b'%' if !after_operand && self.is_format() => self.format(),
            b'?' if !self.is_question() => self.one(Token::Value),
            0x80.. if self.upcoming().starts_with(REST.as_bytes()) => {
                self.at = self.bytes.len();
                Token::Rest
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => self.word(),
            _ => self.operator(),
        })
    }

    fn one(&mut self, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        token
    }

    /// A literal in quotes. `escapes`: a backslash takes the next character's meaning.
    fn string(&mut self, quote: u8, escapes: bool) -> Token<'a> {
        self.at += 1;
        let begin = self.at;
        loop {
            let rest = self.upcoming();
            let place = if escapes {
                memchr2(quote, b'\\', rest)
            } else {
                memchr(quote, rest)
            };
            let Some(place) = place else {
                self.at = self.bytes.len();
                return Token::Value;
            };
            if rest[place] == b'\\' {
                self.at = (self.at + place + 2).min(self.bytes.len());
                continue;
            }
            let before = &self.bytes[begin..self.at + place];
            let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
            if !escapes && backslashes % 2 == 1 {
                // With `standard_conforming_strings` off, the literal would go on.
                self.doubtful = true;
            }
            let doubled = rest.get(place + 1) == Some(&quote);
            self.at += place + 1 + usize::from(doubled);
            if !doubled {
                return Token::Value;
            }
        }
    }

    /// A name in quotes that begins at `start`, where the quote is what comes now. One without end is taken for a literal.
    fn quoted(&mut self, start: usize) -> Token<'a> {
        let quote = self.bytes[self.at];
        self.at += 1;
        loop {
            let rest = self.upcoming();
            let Some(place) = memchr(quote, rest) else {
                self.at = self.bytes.len();
                return Token::Value;
            };
            let doubled = rest.get(place + 1) == Some(&quote);
            self.at += place + 1 + usize::from(doubled);
            if !doubled {
                return Token::Quoted(&self.bytes[start..self.at]);
            }
        }
    }

    /// A number, or a placeholder that is one or a name; and whatever follows it without a blank.
    fn number(&mut self) -> Token<'a> {
        let is_name = self.byte(0) == Some(b':');
        let is_hexadecimal = matches!(self.byte(1), Some(b'x' | b'X'));
        let mut before = 0;
        while let Some(byte) = self.bytes.get(self.at + 1).copied() {
            self.at += 1;
            let goes_on = match byte {
                b'.' => !is_name,
                b'+' | b'-' => {
                    let has_exponent = matches!(before, b'e' | b'E') && !is_name && !is_hexadecimal;
                    has_exponent && self.byte(1).is_some_and(|digit| digit.is_ascii_digit())
                }
                _ => goes_on_word(byte) && !self.upcoming().starts_with(REST.as_bytes()),
            };
            if !goes_on {
                return Token::Value;
            }
            before = byte;
        }
        self.at = self.bytes.len();
        Token::Value
    }

    /// `$tag$ … $tag$`, a literal.
    fn dollars(&mut self) -> Token<'a> {
        let rest = self.upcoming();
        let tag = rest[1..].iter().take_while(|&&byte| byte != b'$' && goes_on_word(byte));
        let tag = tag.count() + 2;
        if rest.get(tag - 1) != Some(&b'$') {
            return self.operator();
        }
        let (tag, body) = rest.split_at(tag);
        self.at = match memmem::find(body, tag) {
            Some(end) => self.at + tag.len() + end + tag.len(),
            None => self.bytes.len(),
        };
        Token::Value
    }

    /// A name or a key word; or a literal, of which it is the prefix.
    fn word(&mut self) -> Token<'a> {
        let begin = self.at;
        while self.byte(0) == Some(b'@') {
            self.at += 1;
        }
        let mut all = 0;
        while let Some(&byte) = self.bytes.get(self.at)
            && goes_on_word(byte)
        {
            all |= byte;
            self.at += 1;
        }
        if !all.is_ascii()
            && let Some(end) = memmem::find(&self.bytes[begin..self.at], REST.as_bytes())
        {
            self.at = begin + end;
        }
        let word = &self.bytes[begin..self.at];
        if !matches!(self.byte(0), Some(b'\'' | b'&')) {
            return Token::Word(word);
        }
        match (word, self.byte(0)) {
            (b"e" | b"E", Some(b'\'')) => self.string(b'\'', true),
            (b"b" | b"B" | b"x" | b"X" | b"n" | b"N", Some(b'\'')) => {
                self.string(b'\'', self.dialect == Dialect::Mysql)
            }
            (b"u" | b"U", Some(b'&')) if self.dialect == Dialect::Postgresql => match self.byte(1) {
                Some(b'\'') => {
                    self.at += 1;
                    self.string(b'\'', false)
                }
                Some(b'"') => {
                    self.at += 1;
                    self.quoted(begin)
                }
                _ => Token::Word(word),
            },
            _ => Token::Word(word),
        }
    }

    /// Is `%` a placeholder of a client: `%s`, `%(name)s`?
    fn is_format(&self) -> bool {
        match self.byte(1) {
            Some(b's') => !self.byte(2).is_some_and(goes_on_word),
            Some(b'(') => true,
            _ => false,
        }
    }

    fn format(&mut self) -> Token<'a> {
        self.at += 2;
        let rest = self.upcoming();
        if self.bytes[self.at - 1] == b'('
            && let Some(end) = memchr(b')', rest)
        {
            self.at += end + 1 + usize::from(rest.get(end + 1) == Some(&b's'));
        }
        Token::Value
    }

    /// Is `?` one of PostgreSQL's operators `?|` and `?&`, and not a placeholder?
    fn is_question(&self) -> bool {
        self.dialect == Dialect::Postgresql && matches!(self.byte(1), Some(b'|' | b'&')) && self.byte(1) != self.byte(2)
    }

    fn operator(&mut self) -> Token<'a> {
        let begin = self.at;
        self.at += 1;
        while let Some(byte) = self.byte(0) {
            let joins = match self.dialect {
                Dialect::Mysql => b"<>=|&".contains(&byte) && b"<>=|&:!-".contains(&self.bytes[self.at - 1]),
                Dialect::Postgresql => {
                    b"+-*/<>=~!@#%^&|".contains(&byte) || (byte == b'?' && self.bytes[self.at - 1] == b'@')
                }
            };
            let begins_comment = matches!((byte, self.byte(1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if !joins || begins_comment || (byte == b'%' && self.is_format()) {
                break;
            }
            self.at += 1;
        }
        let operator = &self.bytes[begin..self.at];
        if self.dialect == Dialect::Postgresql && !operator.iter().any(|byte| b"~!@#%^&|?".contains(byte)) {
            // A sign at the end is what follows'.
            let signs = operator[1..].iter().rev().take_while(|byte| b"+-".contains(byte));
            self.at -= signs.count();
        }
        Token::Operator(&self.bytes[begin..self.at])
    }
}
