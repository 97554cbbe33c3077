//! What servers say.

use super::commands::Answer;
use super::packet::{EOF_BYTES, Header, Okay, end_status, greeting, integer, status, u16_at, u32_at};
use super::{Mode, Mysql, Note};
use crate::exchange::{ErrorCode, Loss, Outcome, StreamKind};
use crate::protocol::Seen;
use crate::protocol::framed::{Message, Talk, cover, cover_behind};

/// First bytes of packets.
const OK: u8 = 0x00;
const FILE: u8 = 0xfb;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;
/// A greeting begins with the version of the protocol.
const GREETING: u8 = 10;
/// An error that is none, but tells how far a statement is (MariaDB).
const PROGRESS: u16 = u16::MAX;

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// An answer.
    #[default]
    Beginning,
    /// Its first packet, or another result of it.
    Result,
    /// So many definitions of columns.
    Columns(u64),
    /// The end of definitions, if there is one, or rows.
    Behind,
    /// Rows, and their end.
    Rows,
    /// So many definitions of a statement's parameters and of its columns.
    Definitions(u16, u16),
    /// The end of the last ones.
    BehindDefinitions,
    /// A file, which the server asked for.
    File,
}

/// The answer that is being read.
#[derive(Debug, Default)]
pub(super) struct Answering {
    stage: Stage,
    /// The packet goes on in the next one.
    goes_on: bool,
    /// It ends with the packet.
    ends: bool,
    /// Bytes that came before it is known what it is.
    before: u64,
    /// Rows returned or changed so far, and as of the last result that was seen to its end.
    rows: u64,
    all_rows: Option<u64>,
    /// An EOF packet may follow that belongs to what was answered before.
    trailing: bool,
}

/// What a packet is to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It comes before the answer: a question back, or progress.
    Before,
    /// Part of it.
    Answer,
}

impl Mysql {
    /// A packet of the server.
    pub(super) fn answer(&mut self, header: Header, payload: &[u8], message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let answering = &mut self.answering;
        let at_ns = message.first.at_ns;
        let first = payload.first().copied();
        let continues = std::mem::replace(&mut answering.goes_on, header.goes_on());
        if self.mode == Mode::File {
            if let Some(stream) = self.stream {
                talk.stream_moved(stream, at_ns, [0, message.length], None);
            }
            answering.ends |= !continues && !is_progress(payload);
            return;
        }
        let trailing = std::mem::take(&mut answering.trailing);
        if trailing && is_eof(header, first) && header.sequence != 1 {
            self.eof = Some(true);
            return;
        }
        let Some(asked) = talk.oldest() else {
            return self.nothing_asked(header, payload, talk);
        };
        if continues {
            return asked.answers(at_ns, message.length);
        }
        let is_error = first == Some(ERROR);
        if answering.stage == Stage::Beginning {
            if header.sequence != asked.note.sequence && !is_error {
                return self.nothing_asked(header, payload, talk);
            }
            answering.stage = Stage::Result;
        }
        let part = if is_progress(payload) {
            Part::Before
        } else if is_error {
            // Of one that was cut it is not known which it is.
            let code = u16_at(payload, 1).map_or(ErrorCode::new(b""), |number| ErrorCode::number(number.into()));
            asked.error = Some(code);
            answering.ends = true;
            if asked.note.answer == Answer::Prepared {
                self.statements.refused(asked.note.statement);
            }
            Part::Answer
        } else {
            let note = asked.note;
            self.part(note, header, payload)
        };
        let answering = &mut self.answering;
        match part {
            Part::Before => answering.before += message.length,
            Part::Answer => {
                let before = std::mem::take(&mut answering.before);
                if let Some(asked) = talk.oldest() {
                    asked.answers(at_ns, before + message.length);
                }
            }
        }
    }

    /// A packet that answers nothing that was asked.
    fn nothing_asked(&mut self, header: Header, payload: &[u8], talk: &mut Talk<'_, Note>) {
        if header.sequence == 0 {
            // The greeting, or an error that nobody asked for: too many connections, too long a silence.
            if let Some(server) = greeting(payload) {
                self.server = Some(server);
            }
            return;
        }
        if !std::mem::replace(&mut self.unasked, true) {
            talk.sink.lost(Loss::ResponseWithoutRequest);
        }
    }

    /// A packet that is no error, in answer to this.
    fn part(&mut self, note: Note, header: Header, payload: &[u8]) -> Part {
        let answering = &mut self.answering;
        let first = payload.first().copied().unwrap_or_default();
        let is_end = first == END && !header.goes_on();
        match (answering.stage, note.answer) {
            (Stage::Result, Answer::Results) => self.result(header, payload),
            (Stage::Result, Answer::Prepared) => self.prepared(note, payload),
            (Stage::Result, Answer::Definitions) => answering.ends = is_end,
            (Stage::Result, Answer::Authentication) => {
                if first != OK {
                    return Part::Before;
                }
                answering.ends = true;
                self.status = Okay::of(payload).map_or(self.status, |okay| okay.status);
            }
            (Stage::Result, Answer::Rows) => {
                answering.stage = Stage::Rows;
                self.row(header, payload);
            }
            (Stage::Columns(left), _) => {
                answering.stage = match left {
                    ..=1 => Stage::Behind,
                    _ => Stage::Columns(left - 1),
                };
            }
            (Stage::Behind, _) => {
                answering.stage = Stage::Rows;
                let eof = is_eof(header, Some(first));
                self.eof = Some(eof);
                if eof {
                    answering.ends = u16_at(payload, 3).is_some_and(|flags| flags & status::CURSOR != 0);
                } else {
                    self.row(header, payload);
                }
            }
            (Stage::Rows, _) => self.row(header, payload),
            (Stage::Definitions(parameters, columns), _) => {
                if is_eof(header, Some(first)) {
                    self.eof = Some(true);
                    return Part::Answer;
                }
                let (parameters, columns) = match parameters {
                    0 => (0, columns.saturating_sub(1)),
                    _ => (parameters - 1, columns),
                };
                answering.stage = Stage::Definitions(parameters, columns);
                self.defined(parameters, columns);
            }
            // Whatever it is. Of commands without an answer none is kept.
            (Stage::Result, Answer::Single | Answer::Stream | Answer::None)
            | (Stage::BehindDefinitions | Stage::Beginning | Stage::File, _) => answering.ends = true,
        }
        Part::Answer
    }

    /// A result begins.
    fn result(&mut self, header: Header, payload: &[u8]) {
        let answering = &mut self.answering;
        let first = payload.first().copied().unwrap_or_default();
        match first {
            OK if header.payload >= 7 => match Okay::of(payload) {
                Some(okay) => {
                    answering.rows = answering.rows.saturating_add(okay.affected_rows);
                    self.status = okay.status;
                    answering.all_rows = Some(answering.rows);
                    answering.ends = okay.status & status::MORE_RESULTS == 0;
                }
                None => answering.ends = true,
            },
            FILE => {
                answering.stage = Stage::File;
                answering.ends = true;
            }
            END if header.payload < 9 => answering.ends = true,
            _ => {
                let (count, described) = columns(payload);
                answering.stage = match count {
                    _ if !described => Stage::Behind,
                    0 => Stage::Behind,
                    _ => Stage::Columns(count),
                };
            }
        }
    }

    /// A row, or their end.
    fn row(&mut self, header: Header, payload: &[u8]) {
        let answering = &mut self.answering;
        if payload.first() != Some(&END) || header.goes_on() {
            answering.rows = answering.rows.saturating_add(1);
            return;
        }
        answering.all_rows = Some(answering.rows);
        let flags = end_status(payload, header.payload).unwrap_or(0);
        self.status = flags;
        if flags & status::MORE_RESULTS == 0 {
            answering.ends = true;
        } else {
            answering.stage = Stage::Result;
        }
    }

    /// A statement was prepared.
    fn prepared(&mut self, note: Note, payload: &[u8]) {
        if let Some(number) = u32_at(payload, 1) {
            self.statements.prepared(note.statement, number);
        }
        let (Some(columns), Some(parameters)) = (u16_at(payload, 5), u16_at(payload, 7)) else {
            self.answering.ends = true;
            return;
        };
        let described = payload.get(12) != Some(&0);
        if described && columns | parameters != 0 {
            self.answering.stage = Stage::Definitions(parameters, columns);
        } else {
            self.answering.ends = true;
        }
    }

    /// A definition was the last one, if none of these are left.
    fn defined(&mut self, parameters: u16, columns: u16) {
        if parameters | columns != 0 {
            return;
        }
        match self.eof {
            Some(true) => self.answering.stage = Stage::BehindDefinitions,
            Some(false) => self.answering.ends = true,
            None => {
                self.answering.ends = true;
                self.answering.trailing = true;
            }
        }
    }

    /// A packet ended.
    pub(super) fn answered(&mut self, at: Seen, talk: &mut Talk<'_, Note>) {
        if !self.answering.ends || self.answering.goes_on {
            return;
        }
        let answer = std::mem::take(&mut self.answering);
        self.answering.trailing = answer.trailing;
        if self.mode == Mode::File {
            self.mode = Mode::Packets;
            if let Some(stream) = self.stream.take() {
                talk.stream_ended(stream, at.at_ns, Outcome::Answered);
            }
            return;
        }
        let Some(asked) = talk.oldest() else { return };
        asked.tally.rows = answer.all_rows;
        let failed = asked.error.is_some();
        match asked.note.answer {
            Answer::Stream if !failed => {
                self.mode = Mode::Stream;
                self.stream = talk.becomes_stream(at.at_ns, StreamKind::Subscription);
                return;
            }
            Answer::Results if answer.stage == Stage::File => {
                self.mode = Mode::File;
                self.stream = talk.becomes_stream(at.at_ns, StreamKind::Copy);
                return;
            }
            Answer::Authentication => {
                self.authenticating = false;
                if self.compresses && !failed {
                    self.mode = Mode::Compressed;
                }
            }
            _ => {}
        }
        talk.answered(at.at_ns);
    }
}

impl Answering {
    /// Takes out of an answer's packet what is a value.
    pub(super) fn blank(&self, header: Header, payload: &mut [u8]) {
        let whole = header.payload;
        let kept = match (self.stage, payload.first().copied()) {
            _ if self.goes_on => 0,
            (_, Some(ERROR)) => 1 + 2 + 1 + 5,
            (Stage::Beginning, Some(GREETING)) if header.sequence == 0 => greeting_behind_scramble(payload),
            (_, Some(END)) if whole == EOF_BYTES => 5,
            // The statement's number and those of parameters and columns.
            (Stage::Beginning | Stage::Result, Some(OK)) if whole == 12 => 12,
            (Stage::Beginning | Stage::Result, Some(OK)) | (_, Some(END)) => okay_bytes(payload),
            // How many columns there are.
            (Stage::Beginning | Stage::Result, _) if whole <= 4 => 4,
            // A definition, which begins with `def`; the length of a row's first value.
            _ if payload.starts_with(b"\x03def") => 4,
            _ => 1,
        };
        cover_behind(payload, kept);
    }
}

/// Bytes of an OK packet before the text in it: two numbers, a status, and how many warnings there are.
fn okay_bytes(payload: &[u8]) -> usize {
    let behind = |bytes: &[u8]| Some(integer(integer(bytes.get(1..)?)?.1)?.1.len());
    behind(payload).map_or(1 + 9 + 9 + 4, |rest| payload.len() - rest + 4)
}

/// Bytes of a greeting that may be written to a file: not what a password is scrambled with.
fn greeting_behind_scramble(payload: &mut [u8]) -> usize {
    let Some(version) = memchr::memchr(0, payload) else {
        return payload.len();
    };
    let scramble = version + 1 + 4;
    let end = payload.len().min(scramble + 8);
    cover(payload.get_mut(scramble..end).unwrap_or_default());
    // An end; capabilities in two halves with a character set and a status between them; a length; reserved bytes.
    scramble + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10
}

/// How many columns a result has, and whether their definitions follow. Servers that may leave them out say so in another
/// byte, MySQL before the number and MariaDB behind it. What they agreed on shows by itself: a result has a column.
fn columns(payload: &[u8]) -> (u64, bool) {
    match *payload {
        [0, ..] => (integer(&payload[1..]).map_or(0, |(count, _)| count), false),
        [1, 0] => (1, false),
        [1, 1..=u8::MAX, ..] => (integer(&payload[1..]).map_or(0, |(count, _)| count), true),
        _ => match integer(payload) {
            Some((count, rest)) => (count, rest.first() != Some(&0)),
            None => (0, false),
        },
    }
}

fn is_eof(header: Header, first: Option<u8>) -> bool {
    header.payload == EOF_BYTES && first == Some(END)
}

fn is_progress(payload: &[u8]) -> bool {
    payload.first() == Some(&ERROR) && u16_at(payload, 1) == Some(PROGRESS)
}

/// Are these the last bytes of an answer? Only of rows, by the packet behind them: bytes of 0 and 254 in their places, and
/// flags as a server has them where another result does not follow. Text has no such bytes.
pub(super) fn ends(tail: &[u8], eof: Option<bool>) -> bool {
    let plausible = |low: u8, high: u8| {
        let flags = u16::from_le_bytes([low, high]);
        flags & status::TRANSACTION != 0 && flags & (status::RESERVED | status::MORE_RESULTS) == 0
    };
    match *tail {
        [.., 0, 0, _, END, _, 0, low, high] if eof != Some(false) => plausible(low, high),
        [.., END, 0, 0, low, high, _, 0] if eof != Some(true) => plausible(low, high),
        _ => false,
    }
}
