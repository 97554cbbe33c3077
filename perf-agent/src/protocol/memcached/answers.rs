//! What a server says, and to which command it can be the answer.

use super::binary;
use super::commands::{Command, Kind, number, stands_for, words};
use crate::exchange::ErrorCode;

/// The word that an answer, or a line of one, begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// `VALUE`: an item; more follows.
    Value,
    End,
    Stored,
    NotStored,
    Exists,
    NotFound,
    Deleted,
    Touched,
    Number,
    Ok,
    /// `ERROR`, `CLIENT_ERROR`, `SERVER_ERROR`.
    Error,
    /// A line of statistics or of a dump; more follows.
    Part,
    /// `VA`, `HD` and their like, of the meta commands.
    MetaValue,
    Header,
    Miss,
    MetaNotFound,
    MetaNotStored,
    MetaExists,
    Debug,
    NoOp,
    /// A message of the binary protocol that tells of success.
    Success,
    /// One that does not.
    Failure,
    Other,
}

/// An answer's first line or message, or a later one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) word: Word,
    pub(super) error: Option<ErrorCode>,
    /// Of the binary protocol.
    opcode: Option<u8>,
    /// Stand for what it repeats of the request; 0 if it does not.
    opaque: u32,
    key: u32,
}

/// Can an answer be to a request?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    No,
    Maybe,
    /// It names it.
    Surely,
}

/// What is remembered of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct Note {
    pub(super) command: &'static Command,
    pub(super) quiet: bool,
    /// Behind a command that asked for no answer, and may get one if it is an error.
    pub(super) behind_mute: bool,
    /// Of the binary protocol.
    pub(super) opcode: Option<u8>,
    /// Stand for what the answer repeats; 0 if it does not.
    pub(super) opaque: u32,
    pub(super) key: u32,
    /// Keys that a get asks for, and items that came.
    pub(super) keys: u32,
    pub(super) items: u32,
    /// Requests with the same number followed each other without a pause.
    pub(super) run: u32,
}

impl Note {
    pub(super) fn fits(&self, answer: &Answer) -> Fit {
        if self.opcode != answer.opcode {
            return Fit::No;
        }
        if self.opcode.is_some() {
            let named = self.key != 0 && answer.key != 0;
            return match (self.opaque == answer.opaque, named) {
                (false, _) => Fit::No,
                (true, true) if self.key != answer.key => Fit::No,
                (true, named) if named || self.opaque != 0 => Fit::Surely,
                (true, _) => Fit::Maybe,
            };
        }
        if !self.may_get(answer.word) {
            return Fit::No;
        }
        // Errors repeat nothing, and of old servers only items do.
        let repeats = matches!(answer.word, Word::MetaValue | Word::Header);
        let mut fit = Fit::Maybe;
        for (asked, said) in [(self.opaque, answer.opaque), (self.key, answer.key)] {
            match (asked, said) {
                (0, 0) => {}
                (_, 0) if !repeats => {}
                _ if asked == said => fit = Fit::Surely,
                _ => return Fit::No,
            }
        }
        fit
    }

    /// Does a line that begins with this word answer a command of this kind?
    fn may_get(&self, word: Word) -> bool {
        let loud = !self.quiet;
        match self.command.kind {
            _ if word == Word::Error => true,
            Kind::Get | Kind::GetAndTouch => matches!(word, Word::Value | Word::End),
            Kind::Store => matches!(word, Word::Stored | Word::NotStored | Word::Exists | Word::NotFound),
            Kind::Arithmetic => matches!(word, Word::Number | Word::NotFound),
            Kind::Delete => matches!(word, Word::Deleted | Word::NotFound),
            Kind::Touch => matches!(word, Word::Touched | Word::NotFound),
            Kind::MetaGet => matches!(word, Word::MetaValue | Word::Header) || loud && word == Word::Miss,
            Kind::MetaSet | Kind::MetaDelete => {
                matches!(word, Word::MetaNotFound | Word::MetaNotStored | Word::MetaExists)
                    || loud && word == Word::Header
            }
            Kind::MetaArithmetic => {
                matches!(word, Word::MetaNotFound | Word::MetaNotStored | Word::MetaExists)
                    || loud && matches!(word, Word::Header | Word::MetaValue | Word::Miss)
            }
            Kind::MetaDebug => matches!(word, Word::Debug | Word::Miss),
            Kind::Barrier => word == Word::NoOp,
            Kind::Lines | Kind::Watch | Kind::Plain => true,
            Kind::Silent | Kind::Binary | Kind::BinaryStat => false,
        }
    }

    /// Is the answer complete with this part of it?
    pub(super) fn ends_with(&self, answer: &Answer) -> bool {
        match self.command.kind {
            Kind::Get | Kind::GetAndTouch => answer.word != Word::Value,
            Kind::Lines | Kind::BinaryStat => answer.word != Word::Part,
            _ => true,
        }
    }

    /// Was the one key there that a command looks up?
    pub(super) fn is_hit(&self, answer: &Answer) -> Option<bool> {
        match answer.word {
            _ if !self.command.looks_up || self.command.is_get() => None,
            Word::Number | Word::Touched | Word::MetaValue | Word::Header | Word::Success => Some(true),
            Word::NotFound | Word::Miss | Word::MetaNotFound => Some(false),
            _ => None,
        }
    }

    /// Likewise, if the answer was silence.
    pub(super) fn silence_is_hit(&self) -> Option<bool> {
        let is_miss = match self.opcode {
            Some(opcode) => binary::silence_is_miss(opcode),
            None => self.command.kind == Kind::MetaGet,
        };
        self.command.looks_up.then_some(!is_miss)
    }
}

impl Answer {
    /// What a line, or a message of the binary protocol, says.
    pub(super) fn of(head: &[u8]) -> Self {
        if head.first() == Some(&binary::RESPONSE) {
            Self::of_message(head)
        } else {
            Self::of_line(head)
        }
    }

    fn of_message(head: &[u8]) -> Self {
        let header = binary::Header::of(head);
        let status = header.map_or(0, |header| header.status);
        let opcode = header.map_or(0, |header| header.opcode);
        let is_part = binary::command(opcode).0.kind == Kind::BinaryStat
            && header.is_some_and(|header| header.key_bytes > 0 && header.status == 0);
        Self {
            word: match status {
                0 if is_part => Word::Part,
                0 if binary::command(opcode).0.kind == Kind::Barrier => Word::NoOp,
                0 => Word::Success,
                1 => Word::NotFound,
                _ => Word::Failure,
            },
            error: binary::error(status),
            opcode: Some(opcode),
            opaque: header.map_or(0, |header| header.opaque),
            key: header.and_then(|header| header.key(head)).map_or(0, stands_for),
        }
    }

    fn of_line(line: &[u8]) -> Self {
        let mut words = words(line);
        let first = words.next().unwrap_or_default();
        let word = word(first);
        let mut answer = Self {
            word,
            error: (word == Word::Error).then(|| ErrorCode::new(first.strip_suffix(b":").unwrap_or(first))),
            opcode: None,
            opaque: 0,
            key: 0,
        };
        let has_flags = matches!(
            word,
            Word::MetaValue | Word::Header | Word::Miss | Word::MetaNotFound | Word::MetaNotStored | Word::MetaExists
        );
        if has_flags {
            for flag in words {
                match flag[0] {
                    b'O' => answer.opaque = stands_for(&flag[1..]),
                    b'k' => answer.key = stands_for(&flag[1..]),
                    _ => {}
                }
            }
        }
        answer
    }

    /// If it answers no request: does more of it follow?
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.word, Word::Value | Word::Part)
    }
}

fn word(first: &[u8]) -> Word {
    match first {
        b"VALUE" => Word::Value,
        b"END" => Word::End,
        b"STORED" => Word::Stored,
        b"NOT_STORED" => Word::NotStored,
        b"EXISTS" => Word::Exists,
        b"NOT_FOUND" => Word::NotFound,
        b"DELETED" => Word::Deleted,
        b"TOUCHED" => Word::Touched,
        b"OK" => Word::Ok,
        // `ERROR: shutdown not enabled`
        b"ERROR" | b"ERROR:" | b"CLIENT_ERROR" | b"SERVER_ERROR" => Word::Error,
        // The last is of the dump that is made for `mg`.
        b"STAT" | b"ITEM" | b"PREFIX" | b"mg" => Word::Part,
        b"VA" => Word::MetaValue,
        b"HD" => Word::Header,
        b"EN" => Word::Miss,
        b"NF" => Word::MetaNotFound,
        b"NS" => Word::MetaNotStored,
        b"EX" => Word::MetaExists,
        b"ME" => Word::Debug,
        b"MN" => Word::NoOp,
        _ if first.starts_with(b"key=") => Word::Part,
        _ if !first.is_empty() && first.iter().all(u8::is_ascii_digit) => Word::Number,
        _ => Word::Other,
    }
}

/// Bytes of the data block behind a server's line, its end included: 0 if there is none, `None` if it should tell and does
/// not.
pub(super) fn data_bytes(line: &[u8]) -> Option<u64> {
    let place = if line.starts_with(b"VALUE ") {
        3
    } else if line.starts_with(b"VA ") {
        1
    } else {
        return Some(0);
    };
    words(line).nth(place).and_then(number)?.checked_add(2)
}

/// Is this a server's line, whatever it was asked?
pub(super) fn is_answer(line: &[u8]) -> bool {
    line.ends_with(b"\n") && Answer::of_line(line).word != Word::Other
}
