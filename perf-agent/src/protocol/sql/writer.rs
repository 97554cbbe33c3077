//! Puts the pieces of a statement together, as a fingerprint.

use super::lexer::{REST, Token};
use super::{Dialect, MAX_FINGERPRINT, keywords};

/// Where punctuation ends at most, so that a semicolon and the mark of what is missing still fit.
const MAX_PUNCTUATION: usize = MAX_FINGERPRINT - 6;
/// Where names and values end at most, so that the punctuation behind them still fits.
const MAX_WORDS: usize = MAX_PUNCTUATION - 4;
/// Bytes that may separate a piece from the one before it, and one to spare.
const SEPARATOR: usize = 3;

/// What was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing of this statement.
    Nothing,
    Name,
    Keyword,
    /// A key word that is a value or ends one.
    Operand,
    Value,
    Open,
    Close,
    Comma,
    Dot,
    Cast,
    Operator,
}

/// Which names of the statement are made up, and so values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MadeUp {
    None,
    All,
    /// The one that comes next.
    Next,
    /// Those behind `=` or TO.
    Later,
}

/// How far a list of rows was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    None,
    /// Behind VALUES, at this depth.
    Begin(u32),
    /// Within the first row.
    First(u32),
    /// Behind a row.
    Behind(u32),
    /// Within another row, which is not told.
    Skipped {
        depth: u32,
        /// Brackets that are open in it.
        within: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// There is no room for it, or nothing is to be told from here on.
    Full,
}

/// A state to go back to.
#[derive(Clone, Copy, Debug)]
struct Place {
    end: usize,
    last: Last,
    separates: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut String,
    dialect: Dialect,
    last: Last,
    /// Before the signs that were written last, if they have no operand before them.
    signs: Option<Place>,
    /// Brackets that are open.
    depth: u32,
    /// Where the element of the innermost list begins, if no other list is in it; and from where to where the one before
    /// it goes.
    element: Option<usize>,
    element_before: Option<(usize, usize)>,
    rows: Rows,
    made_up: MadeUp,
    /// The statement asks for data or changes some.
    is_data: bool,
    /// Where the statement begins, and from where to where the one before it goes.
    statement: usize,
    statement_before: Option<(usize, usize)>,
    /// A semicolon is to be written before what comes next.
    separates: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(dialect: Dialect, out: &'a mut String) -> Self {
        Self {
            out,
            dialect,
            last: Last::Nothing,
            signs: None,
            depth: 0,
            element: None,
            element_before: None,
            rows: Rows::None,
            made_up: MadeUp::None,
            is_data: false,
            statement: 0,
            statement_before: None,
            separates: false,
        }
    }

    /// Is an operator that comes next one between two operands?
    pub(super) fn after_operand(&self) -> bool {
        matches!(self.last, Last::Name | Last::Operand | Last::Value | Last::Close)
    }

    /// Was this word, which was the last piece, taken for a value?
    pub(super) fn is_made_up(&self, word: &[u8]) -> bool {
        let is_literal = ["NULL", "TRUE", "FALSE"]
            .iter()
            .any(|literal| word.eq_ignore_ascii_case(literal.as_bytes()));
        self.last == Last::Value && !matches!(self.rows, Rows::Skipped { .. }) && !is_literal
    }

    /// What follows is not told.
    pub(super) fn rest(&mut self) {
        if self.separates {
            self.out.push(';');
        }
        if !self.out.is_empty() {
            self.out.push(' ');
        }
        self.out.push_str(REST);
    }

    /// The next piece; `upcoming` is what follows it.
    pub(super) fn token(&mut self, token: Token<'_>, upcoming: &[u8]) -> Written {
        match self.rows {
            Rows::Skipped { depth, within } => return self.skip(token, depth, within),
            Rows::Begin(_) if !matches!(token, Token::Open(b'(')) && !is_row(token) => self.rows = Rows::None,
            Rows::Behind(depth) => {
                if token == Token::Comma && (upcoming.starts_with(b"(") || begins_row(upcoming)) {
                    self.rows = Rows::Skipped { depth, within: 0 };
                    return Written::Yes;
                }
                self.rows = Rows::None;
            }
            _ => {}
        }
        match token {
            Token::Word(word) => self.word(word, upcoming.first().copied()),
            Token::Quoted(name) => self.name(name),
            Token::Value => self.value(),
            Token::Open(bracket) => self.open(bracket),
            Token::Close(bracket) => self.close(bracket),
            Token::Comma => self.comma(),
            Token::Dot => self.punctuation(".", self.last == Last::Operator, Last::Dot),
            Token::Cast => self.punctuation("::", self.last == Last::Operator, Last::Cast),
            Token::Operator(operator) => self.operator(operator),
            Token::Semicolon => {
                self.end_statement();
                Written::Yes
            }
            Token::Rest => Written::Full,
        }
    }

    /// The statement ends. One that is the same as the one before it is not told.
    pub(super) fn end_statement(&mut self) {
        if self.last == Last::Nothing {
            return;
        }
        let repeated = self
            .statement_before
            .filter(|&(start, end)| self.out[start..end] == self.out[self.statement..]);
        match repeated {
            Some((_, end)) => self.out.truncate(end),
            None => self.statement_before = Some((self.statement, self.out.len())),
        }
        self.last = Last::Nothing;
        self.signs = None;
        self.depth = 0;
        self.element = None;
        self.element_before = None;
        self.rows = Rows::None;
        self.made_up = MadeUp::None;
        self.is_data = false;
        self.separates = true;
    }

    fn skip(&mut self, token: Token<'_>, depth: u32, within: u32) -> Written {
        let within = match token {
            Token::Open(_) => within.saturating_add(1),
            Token::Close(_) if within <= 1 => {
                self.rows = Rows::Behind(depth);
                return Written::Yes;
            }
            Token::Close(_) => within - 1,
            Token::Rest => return Written::Full,
            _ => within,
        };
        self.rows = Rows::Skipped { depth, within };
        Written::Yes
    }

    fn place(&self) -> Place {
        Place {
            end: self.out.len(),
            last: self.last,
            separates: self.separates,
        }
    }

    fn back_to(&mut self, place: Place) {
        self.out.truncate(place.end);
        self.last = place.last;
        self.separates = place.separates;
    }

    /// Separates what comes next from what was written last.
    fn separate(&mut self, spaced: bool) {
        if std::mem::take(&mut self.separates) {
            self.out.push_str("; ");
            self.statement = self.out.len();
        } else if spaced && self.last != Last::Nothing {
            self.out.push(' ');
        }
    }

    /// Are words, values and operators apart from what was written last?
    fn is_apart(&self) -> bool {
        !matches!(self.last, Last::Open | Last::Dot | Last::Cast)
    }

    /// A word, a value or an operator.
    fn text(&mut self, text: &str, last: Last) -> Written {
        if self.out.len() + text.len() + SEPARATOR > MAX_WORDS {
            return Written::Full;
        }
        self.separate(self.is_apart());
        self.out.push_str(text);
        self.last = last;
        self.signs = None;
        Written::Yes
    }

    /// The same of bytes that may be anything.
    fn bytes(&mut self, bytes: &[u8], last: Last) -> Written {
        // Of what is not in quotes, no byte is a control character.
        let is_quoted = matches!(bytes.last(), Some(b'"' | b'`'));
        if let Ok(text) = str::from_utf8(bytes)
            && !(is_quoted && bytes.iter().any(u8::is_ascii_control))
        {
            return self.text(text, last);
        }
        let before = self.place();
        let fits = |length: usize| before.end + length + SEPARATOR <= MAX_WORDS;
        if !fits(bytes.len()) {
            return Written::Full;
        }
        let written = self.text("", last);
        let begin = self.out.len();
        let shown = |letter: char| if letter.is_ascii_control() { ' ' } else { letter };
        for chunk in bytes.utf8_chunks() {
            self.out.extend(chunk.valid().chars().map(shown));
            if !chunk.invalid().is_empty() {
                self.out.push(char::REPLACEMENT_CHARACTER);
            }
        }
        if !fits(self.out.len() - begin) {
            self.back_to(before);
            return Written::Full;
        }
        written
    }

    fn punctuation(&mut self, text: &str, spaced: bool, last: Last) -> Written {
        if self.out.len() + text.len() + SEPARATOR > MAX_PUNCTUATION {
            return Written::Full;
        }
        self.separate(spaced);
        self.out.push_str(text);
        self.last = last;
        self.signs = None;
        Written::Yes
    }

    /// A word that is not in quotes; `next` is the byte behind it.
    fn word(&mut self, word: &[u8], next: Option<u8>) -> Written {
        let begins = self.last == Last::Nothing;
        // A part of a name is no key word.
        let is_part = self.last == Last::Dot || next == Some(b'.');
        let keyword = match keywords::reserved(word) {
            _ if is_part => None,
            None if begins || !self.is_data => keywords::of_commands(word),
            reserved => reserved,
        };
        let Some(keyword) = keyword else { return self.name(word) };
        let is_element =
            self.depth > 0 && matches!(self.last, Last::Open | Last::Comma) && matches!(next, Some(b',' | b')' | b']'));
        let last = match keyword {
            "NULL" | "TRUE" | "FALSE" if is_element => return self.value(),
            "NULL" | "TRUE" | "FALSE" | "END" | "CURRENT_DATE" | "CURRENT_TIME" | "CURRENT_TIMESTAMP" => Last::Operand,
            _ => Last::Keyword,
        };
        if begins {
            self.made_up = match keyword {
                "SAVEPOINT" | "RELEASE" | "ROLLBACK" | "DEALLOCATE" | "CLOSE" | "FETCH" | "MOVE" => MadeUp::All,
                "DECLARE" | "PREPARE" | "EXECUTE" => MadeUp::Next,
                "SET" if self.dialect == Dialect::Postgresql => MadeUp::Later,
                _ => MadeUp::None,
            };
        }
        match keyword {
            "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" => self.is_data = true,
            "REPLACE" | "WITH" | "TABLE" if begins => self.is_data = true,
            "VALUES" => {
                self.is_data |= begins;
                self.rows = Rows::Begin(self.depth);
            }
            "TO" | "ROLE" | "AUTHORIZATION" if self.made_up == MadeUp::Later => self.made_up = MadeUp::All,
            _ => {}
        }
        self.text(keyword, last)
    }

    fn name(&mut self, name: &[u8]) -> Written {
        match self.made_up {
            MadeUp::All | MadeUp::Next => self.value(),
            MadeUp::None | MadeUp::Later => self.bytes(name, Last::Name),
        }
    }

    fn value(&mut self) -> Written {
        if self.made_up == MadeUp::Next {
            self.made_up = MadeUp::None;
        }
        if let Some(place) = self.signs.take() {
            self.back_to(place);
        }
        self.text("?", Last::Value)
    }

    fn operator(&mut self, operator: &[u8]) -> Written {
        let is_sign = matches!(operator, b"-" | b"+") && !self.after_operand();
        let signs = self.signs.or(Some(self.place())).filter(|_| is_sign);
        if operator == b"=" && self.made_up == MadeUp::Later {
            self.made_up = MadeUp::All;
        }
        let written = self.bytes(operator, Last::Operator);
        self.signs = signs;
        written
    }

    fn open(&mut self, bracket: u8) -> Written {
        let (text, spaced) = match bracket {
            b'(' => ("(", self.is_apart() && self.last != Last::Name),
            _ => ("[", matches!(self.last, Last::Operator | Last::Comma)),
        };
        if let Rows::Begin(depth) = self.rows {
            self.rows = Rows::First(depth);
        }
        let written = self.punctuation(text, spaced, Last::Open);
        self.depth = self.depth.saturating_add(1);
        self.element = Some(self.out.len());
        self.element_before = None;
        written
    }

    fn close(&mut self, bracket: u8) -> Written {
        self.end_element();
        self.element = None;
        self.element_before = None;
        let written = self.punctuation(if bracket == b')' { ")" } else { "]" }, false, Last::Close);
        for lists in ["((?), (?)", "[(?), (?)"] {
            if self.out.ends_with(lists) {
                self.out.truncate(self.out.len() - ", (?)".len());
            }
        }
        self.depth = self.depth.saturating_sub(1);
        if self.rows == Rows::First(self.depth) {
            self.rows = Rows::Behind(self.depth);
        }
        written
    }

    fn comma(&mut self) -> Written {
        self.end_element();
        let written = self.punctuation(",", false, Last::Comma);
        self.element = (self.depth > 0).then_some(self.out.len());
        written
    }

    /// An element of a list ends. One that is a value and the same as the one before it is not told.
    fn end_element(&mut self) {
        let Some(start) = self.element else {
            self.element_before = None;
            return;
        };
        let text = |start: usize, end: usize| self.out.get(start..end).unwrap_or_default().trim_start();
        let element = text(start, self.out.len());
        let repeated = self
            .element_before
            .filter(|&(start, end)| element.starts_with('?') && element == text(start, end));
        match repeated {
            Some((_, end)) => {
                self.out.truncate(end);
                self.last = Last::Value;
            }
            None => self.element_before = Some((start, self.out.len())),
        }
    }
}

/// MySQL's `VALUES ROW (…), ROW (…)`.
fn is_row(token: Token<'_>) -> bool {
    matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(b"ROW"))
}

fn begins_row(upcoming: &[u8]) -> bool {
    upcoming
        .split_at_checked(3)
        .is_some_and(|(word, rest)| word.eq_ignore_ascii_case(b"ROW") && rest.trim_ascii_start().starts_with(b"("))
}
