//! Memcached: the text protocol with its meta commands, and the binary protocol, over TCP:
//! <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>,
//! <https://github.com/memcached/memcached/wiki/BinaryProtocolRevamped>.
//!
//! The operation is the command's name. No key is kept, and no byte of a value or of a login is looked at. Hits and misses
//! are those of commands that want keys to be there: `get` and its like, `incr`, `decr`, `touch`. That a key was not there
//! is no error, nor that an item was not stored since its condition was not met.
//!
//! A command with `noreply` has no answer, so no time, and is no exchange; `quit` neither. An error that comes behind one
//! may be its answer: then it is not known whose it is. `watch` is a stream.
//!
//! *Quiet* commands (meta's flag `q`, `getq` and its like) are answered only if there is something to say, and have an
//! operation of their own (`mg q`), since their time is that until the client could know: until the next answer.
//! The server answers in order, so an answer to a later command says of those before it what their silence was: of a get a
//! miss, else success. If the later command did not follow at once, their time is not known, and they end as
//! [`Outcome::Unknown`]. Which of several commands an answer is to is known by what it repeats (opaque, key) and
//! by what can be said to each of them. Where that is not enough, track is lost: what is in flight is unknown, and nothing is paired
//! until a no-op's answer, or a silence.

mod answers;
mod binary;
mod blank;
mod commands;
#[cfg(test)]
pub(super) mod tests;
mod track;

use self::answers::{Answer, Note, Word};
use self::binary::Header;
use self::commands::{Command, Kind, Line, MAX_KEY};
use self::track::Track;
use super::framed::{self, Language, MAX_HEAD, Measure, Message, Pairs, Talk, line};
use super::{Beginning, Half, ProtocolEntry, Seen, Verdict};
use crate::event::Direction;
use crate::exchange::{Loss, Outcome, Protocol, StreamKind, Ticket};

/// How to recognise memcached and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "memcached",
    detect,
    dissector: framed::dissector::<Memcached>,
};

/// Longest line, but that of a get, which may ask for any number of keys.
const MAX_LINE: usize = 2048;
/// Commands further apart were not sent together.
const PAUSE_NS: u64 = 10_000_000;
/// After so long a silence no answer is on its way.
const SILENCE_NS: u64 = 100_000_000;

fn detect(beginning: &Beginning<'_>) -> Option<Direction> {
    let bytes = beginning.bytes;
    let is_request = if bytes.first() == Some(&binary::REQUEST) {
        Header::of(bytes).is_some_and(|header| header.is_request())
    } else {
        line(bytes).is_some_and(commands::is_request)
    };
    is_request.then_some(beginning.direction)
}

/// The request that is being read.
#[derive(Debug, Default)]
struct Asking {
    /// It was opened, and its end is to be told.
    opened: bool,
    /// The line of a get whose end was not seen yet.
    in_line: bool,
    /// Its words so far, and the bytes of the last of them.
    words: u32,
    word_bytes: usize,
}

/// Whose an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Oldest,
    Nobodys,
}

/// The answer that is being read.
#[derive(Debug, Default)]
struct Answering {
    /// It began.
    whose: Option<Whose>,
    /// It ends with the message that is being read.
    ends: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memcached {
    asking: Asking,
    answering: Answering,
    track: Track,
    /// Commands that ask for no answer went since the last one that was opened.
    mute: bool,
    /// See [`Note::run`].
    run: u32,
    /// When the last request ended, and when anything was moved last.
    asked_ns: u64,
    last_ns: u64,
    /// What the client watches.
    watching: Option<Ticket>,
}

impl Language for Memcached {
    type Note = Note;

    fn measure(&self, half: Half, bytes: &[u8]) -> Measure {
        match half {
            Half::Request => self.measure_request(bytes),
            Half::Response => measure_answer(bytes),
        }
    }

    fn head(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        match message.half {
            Half::Request => self.request(message, talk),
            Half::Response => self.answer(message, talk),
        }
        self.last_ns = message.first.at_ns;
        Verdict::Continue
    }

    fn end(&mut self, half: Half, at: Seen, talk: &mut Talk<'_, Note>) {
        self.last_ns = at.at_ns;
        match half {
            Half::Request if !self.asking.in_line => {
                self.asked_ns = at.at_ns;
                if std::mem::take(&mut self.asking.opened) {
                    talk.asked(at.at_ns);
                }
            }
            Half::Response if self.answering.ends => self.answered(at, talk),
            Half::Request | Half::Response => {}
        }
    }

    fn resumes(&self, half: Half, bytes: &[u8]) -> bool {
        match half {
            Half::Request if bytes.first() == Some(&binary::REQUEST) => {
                Header::of(bytes).is_some_and(|header| header.is_request())
            }
            Half::Request => line(bytes).is_some_and(commands::is_request),
            Half::Response if bytes.first() == Some(&binary::RESPONSE) => Header::of(bytes).is_some(),
            Half::Response => line(bytes).is_some_and(answers::is_answer),
        }
    }

    fn ends_answer(&self, tail: &[u8]) -> bool {
        // The line of an item came before, so there is an end of a line before this one, too.
        tail.ends_with(b"\r\nEND\r\n")
    }

    fn blank(&self, half: Half, head: &mut [u8], _waiting: &Pairs<Note>) {
        match (half, head[0]) {
            (Half::Request, _) if self.asking.in_line => blank::words(head, |_, _| 0),
            (Half::Request, binary::REQUEST) | (Half::Response, binary::RESPONSE) => {
                framed::cover_behind(head, binary::HEADER);
            }
            (Half::Request, _) => blank::request(head),
            (Half::Response, _) => blank::answer(head),
        }
    }

    fn forget(&mut self, half: Half) {
        match half {
            Half::Request => self.asking = Asking::default(),
            Half::Response => self.answering = Answering::default(),
        }
        self.track.forget();
    }

    fn is_raw(&self, _half: Half) -> bool {
        self.watching.is_some()
    }

    fn raw(&mut self, half: Half, bytes: u64, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some(stream) = self.watching {
            let bytes = match half {
                Half::Request => [bytes, 0],
                Half::Response => [0, bytes],
            };
            talk.stream_moved(stream, at_ns, bytes, None);
        }
    }

    fn over(&mut self, outcome: Outcome, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some(stream) = self.watching.take() {
            talk.stream_ended(stream, at_ns, outcome);
        }
    }
}

/// A message of the binary protocol.
fn measure_message(bytes: &[u8]) -> Measure {
    match Header::of(bytes) {
        Some(header) => Measure::Message {
            head: header.head_bytes(),
            length: binary::HEADER as u64 + u64::from(header.body_bytes),
        },
        None if bytes.len() < binary::HEADER => Measure::More,
        None => Measure::Malformed,
    }
}

fn measure_answer(bytes: &[u8]) -> Measure {
    if bytes[0] == binary::RESPONSE {
        return measure_message(bytes);
    }
    if !bytes[0].is_ascii_alphanumeric() {
        return Measure::Malformed;
    }
    match line(bytes) {
        None if bytes.len() <= MAX_LINE => Measure::More,
        Some(line) if line.len() <= MAX_LINE => match answers::data_bytes(line) {
            Some(data) => Measure::Message {
                head: line.len(),
                length: line.len() as u64 + data,
            },
            None => Measure::Malformed,
        },
        _ => Measure::Malformed,
    }
}

impl Memcached {
    fn measure_request(&self, bytes: &[u8]) -> Measure {
        let part = |bytes: usize| Measure::Message {
            head: bytes,
            length: bytes as u64,
        };
        let line = line(bytes);
        if self.asking.in_line {
            let rest = line.map_or(bytes.len(), <[u8]>::len);
            return part(rest.min(MAX_HEAD));
        }
        if bytes[0] == binary::REQUEST {
            return measure_message(bytes);
        }
        if !bytes[0].is_ascii_graphic() && !bytes[0].is_ascii_whitespace() {
            return Measure::Malformed;
        }
        match line {
            Some(line) if line.len() <= MAX_LINE => Measure::Message {
                head: line.len(),
                length: line.len() as u64 + commands::data_bytes(line),
            },
            None if bytes.len() <= MAX_LINE => Measure::More,
            // Keys are counted as they come.
            _ if Line::of(&bytes[..MAX_LINE]).command.is_get() => part(MAX_LINE),
            _ => Measure::Malformed,
        }
    }

    fn request(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let head = message.head;
        if self.asking.in_line {
            if self.asking.opened
                && let Some(asked) = talk.newest()
            {
                asked.asks(message.length);
            }
            return self.count_keys(message, talk);
        }
        if head.first() != Some(&binary::REQUEST) {
            let line = Line::of(head);
            if line.mute {
                self.mute = true;
            } else if line.command.kind == Kind::Silent {
                track::leaves(message.first.at_ns, talk);
            } else {
                self.open(&line, None, message, talk);
            }
            if line.command.is_get() {
                self.asking.words = 0;
                self.asking.word_bytes = 0;
                self.count_keys(message, talk);
            } else if line.too_long {
                self.track.lose(message.first.at_ns, talk);
            }
            return;
        }
        let Some(header) = Header::of(head) else { return };
        let (command, quiet) = binary::command(header.opcode);
        if command.kind == Kind::Silent {
            return track::leaves(message.first.at_ns, talk);
        }
        let line = Line {
            command,
            mute: false,
            quiet,
            too_long: false,
            opaque: header.opaque,
            key: header.key(head).map_or(0, commands::stands_for),
        };
        self.open(&line, Some(header.opcode), message, talk);
    }

    /// A part of a get's line: counts its words.
    fn count_keys(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let asking = &mut self.asking;
        let mut too_long = false;
        for byte in message.head {
            if byte.is_ascii_whitespace() {
                asking.word_bytes = 0;
            } else {
                asking.words += u32::from(asking.word_bytes == 0);
                asking.word_bytes += 1;
                too_long |= asking.word_bytes > MAX_KEY;
            }
        }
        asking.in_line = message.head.last() != Some(&b'\n');
        if asking.opened
            && let Some(asked) = talk.newest()
        {
            let others = if asked.note.command.kind == Kind::GetAndTouch {
                2
            } else {
                1
            };
            asked.note.keys = asking.words.saturating_sub(others);
        }
        if too_long {
            // The server may answer this by an error and leave out the answers before it.
            self.track.lose(message.first.at_ns, talk);
        }
    }

    fn open(&mut self, line: &Line, opcode: Option<u8>, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let first = message.first;
        let pause_ns = first.at_ns.saturating_sub(self.last_ns);
        self.track.asked(line.command.kind, pause_ns, talk);
        if first.at_ns.saturating_sub(self.asked_ns) > PAUSE_NS {
            self.run = self.run.wrapping_add(1);
        }
        let Command { name, quiet, .. } = line.command;
        let note = Note {
            command: line.command,
            quiet: line.quiet,
            behind_mute: std::mem::take(&mut self.mute),
            opcode,
            opaque: line.opaque,
            key: line.key,
            keys: 0,
            items: 0,
            run: self.run,
        };
        talk.open(
            (
                Protocol::Memcached,
                if line.quiet && !quiet.is_empty() { quiet } else { name },
            ),
            first,
            message.length,
            note,
        );
        self.asking.opened = true;
        if talk.newest().is_none() {
            self.asking.opened = false;
            self.track.overflowed(first.at_ns, talk);
        }
    }

    fn answer(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let answer = Answer::of(message.head);
        let at_ns = message.first.at_ns;
        let whose = match self.answering.whose {
            Some(whose) => whose,
            None if self.track.find(&answer, at_ns, talk) => Whose::Oldest,
            None => Whose::Nobodys,
        };
        self.answering.whose = Some(whose);
        let Some(asked) = talk.oldest().filter(|_| whose == Whose::Oldest) else {
            self.answering.ends = !answer.goes_on();
            return;
        };
        if answer.error.is_some() && asked.note.behind_mute {
            self.answering.whose = Some(Whose::Nobodys);
            self.answering.ends = true;
            return self.track.lose(at_ns, talk);
        }
        asked.answers(at_ns, message.length);
        asked.error = answer.error;
        match asked.note.is_hit(&answer) {
            Some(true) => asked.tally.hits = 1,
            Some(false) => asked.tally.misses = 1,
            None => {}
        }
        let note = &mut asked.note;
        note.items += u32::from(answer.word == Word::Value);
        if answer.word == Word::End && note.command.is_get() {
            asked.tally.hits = note.items;
            asked.tally.misses = note.keys.saturating_sub(note.items);
        }
        self.answering.ends = note.ends_with(&answer);
    }

    /// An answer is whole.
    fn answered(&mut self, at: Seen, talk: &mut Talk<'_, Note>) {
        let answering = std::mem::take(&mut self.answering);
        let Some(asked) = talk.oldest() else {
            if !self.track.astray {
                talk.sink.lost(Loss::ResponseWithoutRequest);
            }
            return;
        };
        if answering.whose != Some(Whose::Oldest) {
            return;
        }
        let kind = asked.note.command.kind;
        if kind == Kind::Watch && asked.error.is_none() {
            self.watching = talk.becomes_stream(at.at_ns, StreamKind::Subscription);
        } else {
            self.track.answered(kind);
            talk.answered(at.at_ns);
        }
    }
}
