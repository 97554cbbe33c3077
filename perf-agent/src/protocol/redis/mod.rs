//! Redis and its like (Valkey, KeyDB): RESP2 and RESP3, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//!
//! A request is an array of bulk strings, or a line of words (an *inline* command); an answer is a value, which may hold
//! others. Each header of a value is a message to [`framed`], so nothing is kept of values. The operation is the command,
//! with its subcommand where it has one (`CONFIG GET`), and ` BLOCK` behind it where it was asked to wait; no argument is
//! read beyond that.
//!
//! What comes out of order: pushes of RESP3 belong to no request. SUBSCRIBE and its like, MONITOR and PSYNC are answered once
//! and then go on as a stream. A connection whose client switches answers off (CLIENT REPLY) is given up.

mod commands;
#[cfg(test)]
pub(super) mod tests;

pub(crate) use self::commands::is_blocking;
use self::commands::{Command, Keys, Kind};
use super::framed::{self, Language, Measure, Message, Pairs, Talk, line};
use super::{Beginning, Half, ProtocolEntry, Seen, Verdict};
use crate::event::Direction;
use crate::exchange::{ErrorCode, Outcome, Protocol, StreamKind, Ticket};

/// How to recognise Redis and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "redis",
    detect,
    dissector: framed::dissector::<Redis>,
};

/// Digits of a length, sign included: `i64::MIN`.
const DIGITS: usize = 20;
/// An inline command is a line of at most 64 KiB (`PROTO_INLINE_MAX_SIZE`); people type shorter ones.
const MAX_INLINE: usize = 1024;
/// Bytes of an error's line that may hold its code.
const CODE_BYTES: usize = ErrorCode::BYTES + 2;
/// Elements that may be outstanding at once; more are not an answer of a server.
const MAX_ELEMENTS: u64 = 1 << 40;

fn detect(beginning: &Beginning<'_>) -> Option<Direction> {
    begins_command(beginning.bytes).then_some(beginning.direction)
}

/// Does a request begin here: an array of bulk strings of which the first is a command's name, or `PING` in a line?
fn begins_command(bytes: &[u8]) -> bool {
    if bytes.len() >= 6 && bytes[..4].eq_ignore_ascii_case(b"PING") && bytes[4..].starts_with(b"\r\n") {
        return true;
    }
    let Some(Header {
        kind: b'*',
        value,
        bytes: head,
    }) = header(bytes)
    else {
        return false;
    };
    let Some(Header {
        kind: b'$',
        value: length,
        bytes: second,
    }) = header(&bytes[head..])
    else {
        return false;
    };
    let name = &bytes[head + second..];
    let Some(name) = usize::try_from(length).ok().and_then(|length| name.get(..length)) else {
        return false;
    };
    value > 0 && Command::of(name).is_some()
}

/// A value's first line: its type, its number, and the bytes of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    kind: u8,
    value: i64,
    bytes: usize,
}

/// The header at the beginning of these bytes, if it is whole and its line is a number.
fn header(bytes: &[u8]) -> Option<Header> {
    let (&kind, rest) = bytes.split_first()?;
    let (negative, digits) = match rest.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, rest),
    };
    // Of so many digits it fits.
    let mut value = 0u64;
    let mut count = 0;
    for &byte in digits.iter().take(DIGITS - 1) {
        if !byte.is_ascii_digit() {
            break;
        }
        value = value * 10 + u64::from(byte - b'0');
        count += 1;
    }
    let value = i64::try_from(value).ok()?;
    let ended = digits.get(count..).is_some_and(|rest| rest.starts_with(b"\r\n"));
    (count > 0 && ended).then_some(Header {
        kind,
        value: if negative { -value } else { value },
        bytes: 1 + usize::from(negative) + count + 2,
    })
}

/// What is remembered of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    kind: Kind,
    keys: Keys,
    /// Keys that were asked for.
    asked: u64,
    /// Answers that are still to come: UNSUBSCRIBE is answered for each channel.
    answers: u64,
}

/// The request that is being read.
#[derive(Debug, Default)]
struct Asking {
    /// Arguments that are still to come.
    left: u64,
    /// Arguments of the whole command, its name included.
    arguments: u64,
    /// The command, once its name was read.
    command: Option<Command>,
    /// Its operation is known, and it was opened.
    opened: bool,
    first: Option<Seen>,
    bytes: u64,
    /// Index of the argument that is read next.
    place: u64,
}

/// The answer that is being read.
#[derive(Debug, Default)]
struct Answering {
    /// Values that are still to come, before it is whole.
    left: u64,
    /// It began, as this type.
    kind: Option<u8>,
    /// It is counted with the oldest request.
    counted: bool,
    /// The first text in it, cut.
    word: [u8; 16],
    word_bytes: usize,
    /// The last integer in it.
    number: i64,
    first_ns: u64,
    bytes: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Redis {
    asking: Asking,
    answering: Answering,
    /// What the client subscribed to, MONITOR or replication.
    stream: Option<Ticket>,
    /// Everything goes to the stream, as bytes.
    raw: bool,
    /// Everything that the server sends is the stream's.
    monitor: bool,
    /// RESP3: what is subscribed to comes as pushes, between answers.
    pushes: bool,
}

impl Language for Redis {
    type Note = Note;

    fn measure(&self, half: Half, bytes: &[u8]) -> Measure {
        match half {
            Half::Request => self.measure_request(bytes),
            Half::Response => measure_value(bytes),
        }
    }

    fn head(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        match message.half {
            Half::Request => self.request(message, talk),
            Half::Response => {
                self.answer(message, talk);
                Verdict::Continue
            }
        }
    }

    fn end(&mut self, half: Half, at: Seen, talk: &mut Talk<'_, Note>) {
        match half {
            Half::Request if self.asking.left == 0 && self.asking.opened => {
                self.asking.opened = false;
                talk.asked(at.at_ns);
            }
            Half::Response if self.answering.left == 0 && self.answering.kind.is_some() => self.answered(at, talk),
            Half::Request | Half::Response => {}
        }
    }

    fn resumes(&self, half: Half, bytes: &[u8]) -> bool {
        match half {
            Half::Request => begins_command(bytes),
            Half::Response => matches!(measure_value(bytes), Measure::Message { .. }),
        }
    }

    fn blank(&self, half: Half, head: &mut [u8], _waiting: &Pairs<Note>) {
        let kept = match half {
            Half::Request => self.kept_of_request(head),
            Half::Response => kept_of_answer(head),
        };
        framed::cover_behind(head, kept);
        // Small numbers are those of keys and channels; others are values. Of one that is cut it is not known.
        let is_small = header(head).is_some_and(|header| (-9999..=9999).contains(&header.value));
        if half == Half::Response && head[0] == b':' && !is_small {
            head.iter_mut()
                .filter(|byte| matches!(byte, b'2'..=b'9'))
                .for_each(|byte| *byte = b'1');
        }
    }

    fn forget(&mut self, half: Half) {
        match half {
            Half::Request => self.asking = Asking::default(),
            Half::Response => self.answering = Answering::default(),
        }
    }

    fn is_raw(&self, _half: Half) -> bool {
        self.raw
    }

    fn raw(&mut self, half: Half, bytes: u64, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some(stream) = self.stream {
            talk.stream_moved(stream, at_ns, of_half(half, bytes), None);
        }
    }

    fn over(&mut self, outcome: Outcome, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some(stream) = self.stream.take() {
            talk.stream_ended(stream, at_ns, outcome);
        }
    }
}

fn of_half(half: Half, bytes: u64) -> [u64; 2] {
    match half {
        Half::Request => [bytes, 0],
        Half::Response => [0, bytes],
    }
}

/// A value's header, and the text behind it where it is one.
fn measure_value(bytes: &[u8]) -> Measure {
    if let Some(header) = header(bytes) {
        let length = header.bytes as u64;
        return match (header.kind, header.value) {
            (b':' | b'*' | b'%' | b'~' | b'>' | b'|', _) | (b'$' | b'!' | b'=', ..0) => Measure::Message {
                head: header.bytes,
                length,
            },
            (b'$' | b'!' | b'=', value) => Measure::Message {
                // Enough for an error's code and for the words that pub/sub begins with.
                head: header.bytes + usize::try_from(value).map_or(CODE_BYTES, |value| value.min(CODE_BYTES)),
                length: length + value.unsigned_abs() + 2,
            },
            _ => measure_text(bytes),
        };
    }
    measure_text(bytes)
}

/// The same of a value whose line is no number, or is not whole.
fn measure_text(bytes: &[u8]) -> Measure {
    let Some(line) = line(bytes) else {
        // The longest line is an error's or a simple string's.
        let known = b"+-:$*_#,(!=%~>|".contains(&bytes[0]);
        return if known { Measure::More } else { Measure::Malformed };
    };
    match bytes[0] {
        b'+' | b'-' | b'_' | b'#' | b',' | b'(' => Measure::Message {
            head: line.len().min(CODE_BYTES),
            length: line.len() as u64,
        },
        _ => Measure::Malformed,
    }
}

/// Bytes of a line's beginning that say how long what follows is, as far as it is there.
fn kept_of_header(head: &[u8]) -> usize {
    match header(head) {
        Some(header) => header.bytes,
        None => {
            head.iter()
                .skip(1)
                .take_while(|byte| byte.is_ascii_digit() || b"-\r".contains(byte))
                .count()
                + 1
        }
    }
}

/// Bytes of an answer's head that may be written to a file: all but what is a value.
fn kept_of_answer(head: &[u8]) -> usize {
    const NAMES: [&[u8]; 6] = [
        b"subscribe",
        b"psubscribe",
        b"ssubscribe",
        b"unsubscribe",
        b"punsubscribe",
        b"sunsubscribe",
    ];
    // With what ends it.
    let code = |text: &[u8]| ErrorCode::new(text).len() + 1;
    match head[0] {
        b'-' => 1 + code(&head[1..]),
        b':' | b'*' | b'%' | b'~' | b'>' | b'|' => kept_of_header(head),
        b'$' | b'!' | b'=' => {
            let line = kept_of_header(head);
            let text = &head[line.min(head.len())..];
            let is_name = |name: &&[u8]| {
                let length = header(head).map_or(0, |header| header.value);
                usize::try_from(length) == Ok(name.len()) && (name.starts_with(text) || text.starts_with(name))
            };
            match head[0] {
                b'!' => line + code(text),
                b'$' if NAMES.iter().any(is_name) => head.len(),
                _ => line,
            }
        }
        _ => 1,
    }
}

impl Redis {
    /// Bytes of a request's head that may be written to a file: what the command is, but none of its arguments.
    fn kept_of_request(&self, head: &[u8]) -> usize {
        if self.asking.left == 0 && head[0] != b'*' {
            let name = head.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            let Some(command) = Command::of(name) else { return 0 };
            let argument = head[name.len()..].trim_ascii();
            let word = argument.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            let begins = head.len() - head[name.len()..].trim_ascii_start().len();
            return begins + if command.is_part(word) { word.len() } else { 0 };
        }
        let line = kept_of_header(head);
        let word = head.get(line..).unwrap_or_default();
        let is_kept = match (self.asking.place, self.asking.command) {
            _ if self.asking.left == 0 => false,
            (0, _) => Command::is_name(word),
            (1, Some(command)) if command.is_part(word) => true,
            (_, Some(command)) if command.may_block() => {
                let length = header(head).map_or(0, |header| header.value);
                let begin = b"BLOCK".get(..word.len());
                length == 5 && begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word))
            }
            (2, Some(command)) if command.kind() == Kind::Reply => [&b"ON"[..], b"OFF", b"SKIP"]
                .iter()
                .any(|mode| word.eq_ignore_ascii_case(mode)),
            _ => false,
        };
        if is_kept { head.len() } else { line }
    }

    fn measure_request(&self, bytes: &[u8]) -> Measure {
        if let Some(Header { kind, value, bytes }) = header(bytes) {
            let length = bytes as u64;
            match (kind, value) {
                (b'$', 0..) if self.asking.left > 0 => {
                    // An argument.
                    let name = usize::try_from(value)
                        .ok()
                        .filter(|&bytes| bytes <= Command::MAX_NAME && self.asking.reads());
                    return Measure::Message {
                        head: bytes + name.unwrap_or(0),
                        length: length + value.unsigned_abs() + 2,
                    };
                }
                (b'*', _) if self.asking.left == 0 => return Measure::Message { head: bytes, length },
                _ if self.asking.left > 0 || !kind.is_ascii_alphabetic() => return Measure::Malformed,
                // A word in a line.
                _ => {}
            }
        }
        let Some(line) = line(bytes) else {
            let begins = bytes[0] == b'*' || bytes[0] == b'$';
            let most = if begins { DIGITS + 3 } else { MAX_INLINE };
            return if bytes.len() > most {
                Measure::Malformed
            } else {
                Measure::More
            };
        };
        let is_inline = bytes[0].is_ascii_alphabetic() || line == b"\r\n";
        if self.asking.left > 0 || !is_inline || line.len() > MAX_INLINE {
            return Measure::Malformed;
        }
        // An inline command: its words are looked at here, and kept nowhere.
        Measure::Message {
            head: line.len(),
            length: line.len() as u64,
        }
    }

    fn request(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        let head = message.head;
        if self.asking.left > 0 {
            return self.argument(message, talk);
        }
        let Some(Header {
            kind: b'*',
            value: arguments,
            ..
        }) = header(head)
        else {
            return self.inline(message, talk);
        };
        // An empty array is no command, and gets no answer.
        let arguments = u64::try_from(arguments).unwrap_or(0);
        self.asking.left = arguments;
        self.asking.arguments = arguments;
        self.asking.place = 0;
        self.asking.command = None;
        self.asking.opened = false;
        self.asking.first = Some(message.first);
        self.asking.bytes = message.length;
        Verdict::Continue
    }

    fn argument(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        let asking = &mut self.asking;
        let (place, matters) = (asking.place, asking.reads());
        asking.place += 1;
        asking.left -= 1;
        let word = match header(message.head) {
            Some(header) => &message.head[header.bytes..],
            None => &[],
        };
        if asking.opened {
            if let Some(asked) = talk.newest() {
                asked.asks(message.length);
            }
        } else {
            asking.bytes += message.length;
        }
        if self.stream.is_some() && (self.monitor || !self.pushes) {
            // Within what is subscribed to: more of it, or less.
            if let Some(stream) = self.stream {
                let messages = [u64::from(self.asking.left == 0), 0];
                talk.stream_moved(stream, message.first.at_ns, [self.asking.bytes, 0], Some(messages));
                self.asking.bytes = 0;
            }
            return Verdict::Continue;
        }
        if place == 0 {
            asking.command = Some(Command::named(word));
        } else if matters {
            let waits = asking.command.is_some_and(|command| command.may_block());
            if waits && word.eq_ignore_ascii_case(b"BLOCK") {
                asking.command = asking.command.map(Command::blocks);
            } else if place == 1 {
                asking.command = asking.command.map(|command| command.with(word));
            } else if place == 2
                && asking.command.is_some_and(|command| command.kind() == Kind::Reply)
                && !word.eq_ignore_ascii_case(b"ON")
            {
                // Answers are switched off: nothing can be paired any more.
                return Verdict::Opaque;
            }
        }
        let command = asking.command.unwrap_or_default();
        if !asking.opened && (asking.left == 0 || !asking.reads()) {
            self.open(command, message.first, talk);
        }
        Verdict::Continue
    }

    fn inline(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        let mut words = message
            .head
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let Some(name) = words.next() else {
            return Verdict::Continue;
        };
        let mut command = Command::named(name);
        let rest = words.clone().count();
        if command.has_subcommand()
            && let Some(word) = words.next()
        {
            command = command.with(word);
        }
        self.asking = Asking {
            arguments: 1 + rest as u64,
            first: Some(message.first),
            bytes: message.length,
            ..Asking::default()
        };
        self.open(command, message.first, talk);
        Verdict::Continue
    }

    fn open(&mut self, command: Command, now: Seen, talk: &mut Talk<'_, Note>) {
        let asking = &mut self.asking;
        asking.opened = true;
        let first = asking.first.take().unwrap_or(now);
        let others = asking.arguments.saturating_sub(1);
        let kind = command.kind();
        if self.pushes && self.stream.is_some() && matches!(kind, Kind::Subscribe | Kind::Unsubscribe) {
            // Answered by pushes, which are the stream's.
            asking.opened = false;
            return;
        }
        let note = Note {
            kind,
            keys: command.keys(),
            asked: match command.keys() {
                Keys::None => 0,
                Keys::One => 1,
                Keys::All => others,
                Keys::Fields => others.saturating_sub(1),
            },
            answers: if kind == Kind::Unsubscribe { others.max(1) } else { 1 },
        };
        let mut name = [0; Command::MAX_OPERATION];
        talk.open(
            (Protocol::Redis, command.operation(&mut name)),
            first,
            asking.bytes,
            note,
        );
        asking.bytes = 0;
    }

    fn answer(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let answering = &mut self.answering;
        let head = message.head;
        let begins = answering.kind.is_none();
        let kind = head.first().copied().unwrap_or_default();
        let header = header(head);
        let number = header.map_or(0, |header| header.value);
        if begins {
            *answering = Answering {
                left: 1,
                kind: Some(kind),
                first_ns: message.first.at_ns,
                ..Answering::default()
            };
            let is_push = kind == b'>';
            self.pushes |= is_push;
            answering.counted = !is_push && !(self.stream.is_some() && (self.monitor || !self.pushes));
        }
        answering.bytes += message.length;
        // An array of n values is n more to come; an attribute (`|`) comes before the value that it is about.
        let count = u64::try_from(number).unwrap_or(0);
        let more = match kind {
            b'*' | b'~' | b'>' => count,
            b'%' => count.saturating_mul(2),
            b'|' => count.saturating_mul(2) + 1,
            _ => 0,
        };
        answering.left = (answering.left - 1).saturating_add(more).min(MAX_ELEMENTS);
        match kind {
            b':' => answering.number = number,
            b'$' | b'+' if answering.word_bytes == 0 => {
                let text = header.map_or(&head[1..], |header| &head[header.bytes..]);
                let bytes = text.len().min(answering.word.len());
                answering.word[..bytes].copy_from_slice(&text[..bytes]);
                answering.word_bytes = bytes;
            }
            _ => {}
        }
        if !answering.counted {
            return;
        }
        let first_ns = answering.first_ns;
        let Some(asked) = talk.oldest() else { return };
        asked.answers(first_ns, message.length);
        let nil = kind == b'_' || (matches!(kind, b'$' | b'*') && number < 0);
        match kind {
            b'-' if begins => asked.error = Some(error(&head[1..])),
            b'!' if begins => asked.error = header.map(|header| error(&head[header.bytes..])),
            _ => {}
        }
        let hit = match asked.note.keys {
            Keys::One if begins => match kind {
                b'$' | b'=' | b'_' => Some(!nil),
                b'*' | b'%' | b'~' => Some(number > 0),
                b',' => Some(true),
                _ => None,
            },
            // The elements of the answer.
            Keys::All | Keys::Fields if !begins && matches!(kind, b'$' | b'_' | b'=') => Some(!nil),
            _ => None,
        };
        match hit {
            Some(true) => asked.tally.hits += 1,
            Some(false) => asked.tally.misses += 1,
            // How many of the keys there were.
            None if begins && kind == b':' && asked.note.keys != Keys::None => {
                let present = u64::try_from(number).unwrap_or(0).min(asked.note.asked);
                let limit = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
                asked.tally.hits = limit(present);
                asked.tally.misses = limit(asked.note.asked - present);
            }
            None => {}
        }
    }

    /// An answer, or a push, is whole.
    fn answered(&mut self, at: Seen, talk: &mut Talk<'_, Note>) {
        let answer = std::mem::take(&mut self.answering);
        let word = &answer.word[..answer.word_bytes];
        let named = |names: &[&[u8]]| names.contains(&word);
        let confirms = named(&[b"subscribe", b"psubscribe", b"ssubscribe"]);
        if !answer.counted {
            // Of pushes, the first that answers SUBSCRIBE; others are about keys that the client caches.
            let waits = talk.oldest().is_some_and(|asked| asked.note.kind == Kind::Subscribe);
            if waits
                && confirms
                && let Some(asked) = talk.oldest()
            {
                asked.answers(answer.first_ns, answer.bytes);
            }
            if let Some(stream) = self.stream {
                talk.stream_moved(stream, at.at_ns, [0, answer.bytes], Some([0, 1]));
                if waits && confirms {
                    // It was asked for before the one that began the stream was answered.
                    talk.answered(at.at_ns);
                }
                let leaves = named(&[b"unsubscribe", b"punsubscribe", b"sunsubscribe"]);
                if leaves && answer.number == 0 && !self.monitor {
                    self.stream = None;
                    talk.stream_ended(stream, at.at_ns, Outcome::Answered);
                }
                return;
            }
            if !(waits && confirms) {
                return;
            }
        }
        let Some(asked) = talk.oldest() else {
            return talk.answered(at.at_ns);
        };
        let failed = asked.error.is_some();
        match asked.note.kind {
            Kind::Subscribe | Kind::Monitor | Kind::Replicate if !failed => {
                let kind = asked.note.kind;
                if self.stream.is_some() {
                    // What it tells of comes in the stream that there is.
                    talk.answered(at.at_ns);
                } else {
                    self.stream = talk.becomes_stream(at.at_ns, StreamKind::Subscription);
                }
                self.monitor |= kind == Kind::Monitor;
                self.raw |= kind == Kind::Replicate;
            }
            Kind::Unsubscribe if asked.note.answers > 1 && !failed => asked.note.answers -= 1,
            _ => talk.answered(at.at_ns),
        }
    }
}

impl Asking {
    /// Does the argument that comes next decide what the command is?
    fn reads(&self) -> bool {
        match (self.place, self.command) {
            (0, _) => true,
            (1, Some(command)) => command.has_subcommand() || command.may_block(),
            (2, Some(command)) => command.kind() == Kind::Reply || command.may_block(),
            (3..=8, Some(command)) => command.may_block(),
            _ => false,
        }
    }
}

/// The code that an error's message begins with: `WRONGTYPE Operation against…`.
fn error(message: &[u8]) -> ErrorCode {
    let mut code = ErrorCode::new(message);
    code.is_redirect = matches!(code.as_str(), "MOVED" | "ASK");
    code
}
