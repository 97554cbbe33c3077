//! MySQL and MariaDB: the client/server protocol, <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html> and
//! <https://mariadb.com/kb/en/clientserver-protocol/>.
//!
//! Each packet is a message to [`framed`]; only its beginning is read. The operation is a statement's text without its
//! values, be it sent as it is or prepared before, or a command's name; of values, names of users and passwords nothing is
//! read. `CONNECT` is the client's answer to the server's greeting, and all that follows until the server lets it in.
//!
//! Most packets say by themselves what they are, so a connection that was joined later is followed, too. What it prepared
//! before is called `(prepared)`.
//!
//! Not followed: what is compressed, counted as such; what was before version 4.1; the X protocol. TLS is left to whoever
//! follows its sessions: in them the client's answer comes first, as the second packet.

mod answers;
mod attributes;
mod commands;
mod packet;
mod statements;
#[cfg(test)]
pub(super) mod tests;

use self::answers::Answering;
use self::commands::{Answer, Command, Names};
use self::packet::{HEADER_BYTES, Header, capabilities, status};
use self::statements::Statements;
use super::framed::{self, Language, Measure, Message, Pairs, Talk};
use super::sql::{self, Dialect, Memo};
use super::{Beginning, Half, ProtocolEntry, Seen, Verdict};
use crate::event::Direction;
use crate::exchange::{Loss, Outcome, Protocol, Ticket};

/// How to recognise MySQL and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "mysql",
    detect,
    dissector: framed::dissector::<Mysql>,
};

/// Bytes of a statement that are read.
const MOST_STATEMENT: usize = 4096;
/// Bytes of an answer's packet that are.
const MOST_ANSWER: usize = 28;
/// Bytes of the greeting: a version is shorter than the rest.
const MOST_GREETING: usize = 128;
/// Bytes of other commands, and of the client's answer to the greeting.
const MOST_OTHER: usize = 32;
/// Payload of a request for TLS: what else is in it comes again inside.
const SSL_REQUEST_BYTES: u32 = 32;
/// A piece of a packet may come alone if it is at least so long.
const LEAST_PIECE: u32 = 1024;
/// Bytes of a statement that are looked at to recognise one.
const LOOKED_AT: usize = 64;
/// Stands for a statement that was prepared before the connection was seen.
const PREPARED: &str = "(prepared)";
const CONNECT: &str = "CONNECT";

fn detect(beginning: &Beginning<'_>) -> Option<Direction> {
    let bytes = beginning.bytes;
    let header = Header::of(bytes)?;
    let whole = header.packet() == u64::from(beginning.length);
    let payload = header.payload_of(bytes);
    if payload.is_empty() {
        // Servers read a header by itself. This one is no length that another protocol begins with: it is the first packet
        // inside of TLS.
        let begins = beginning.first && beginning.length == 4 && is_first_inside_tls(header);
        return begins.then_some(beginning.direction);
    }
    let asks = match header.sequence {
        0 if whole && packet::greeting(payload).is_some() => return Some(beginning.direction.opposite()),
        0 => begins_command(header, payload, beginning.length),
        1 if begins_answer(bytes, beginning.length) => return Some(beginning.direction.opposite()),
        1 | 2 => whole && packet::response(payload).is_some(),
        _ => false,
    };
    asks.then_some(beginning.direction)
}

fn is_first_inside_tls(header: Header) -> bool {
    header.sequence == 2 && (SSL_REQUEST_BYTES + 1..1 << 16).contains(&header.payload)
}

/// Does a command begin here, in a segment of this length?
fn begins_command(header: Header, payload: &[u8], length: u32) -> bool {
    let Some(&code) = payload.first() else { return false };
    let (least, most) = Command::payload(code);
    let packet = header.packet();
    let whole = packet == u64::from(length);
    let piece = packet > u64::from(length) && length >= LEAST_PIECE;
    if !(least..=most).contains(&header.payload) {
        return false;
    }
    match code {
        commands::QUERY => (whole || piece) && attributes::statement(&payload[1..]).is_none_or(is_statement),
        // It may be asked for and used at once.
        commands::PREPARE => (whole || piece || packet < u64::from(length)) && is_statement(&payload[1..]),
        // Once, and with flags that there are.
        commands::EXECUTE => {
            payload.get(5).is_some_and(|&flags| flags < 16) && payload.get(6..10) == Some(&[1, 0, 0, 0])
        }
        // Other commands follow. Numbers of statements are counted up from 1.
        commands::SEND_LONG_DATA | commands::CLOSE => packet <= u64::from(length) && payload.get(4) == Some(&0),
        commands::FETCH | commands::PING | commands::RESET_CONNECTION => whole,
        _ => false,
    }
}

/// Could these bytes begin a statement? It has a word first, or a comment or a parenthesis, and no control characters.
fn is_statement(bytes: &[u8]) -> bool {
    let bytes = bytes.get(..LOOKED_AT).unwrap_or(bytes);
    let begins = |byte: &u8| byte.is_ascii_alphabetic() || b"(/-#".contains(byte);
    bytes
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(begins)
        && bytes
            .iter()
            .all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}

/// Does an answer begin here that looks like no other protocol's: rows, or the shortest OK packet?
fn begins_answer(bytes: &[u8], length: u32) -> bool {
    match *bytes {
        // The number of columns, and the first one's definition.
        [1, 0, 0, 1, 1..=u8::MAX, _, _, 0, 2, 3, b'd', b'e', b'f', ..] => true,
        [7, 0, 0, 1, 0, affected, id, low, high, ..] => {
            let flags = u16::from_le_bytes([low, high]);
            length == 11
                && affected < 251
                && id < 251
                && flags & status::TRANSACTION != 0
                && flags & status::RESERVED == 0
        }
        _ => false,
    }
}

/// What is remembered of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    answer: Answer,
    /// Number of the packet that its answer begins with.
    sequence: u8,
    /// Of a statement that is to be prepared: see [`Statements::ask`].
    statement: u32,
}

/// What goes over the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Commands and answers.
    #[default]
    Packets,
    /// The client sends a file, and the server answers at its end.
    File,
    /// A stream, until the connection ends.
    Stream,
    /// TLS.
    Encrypted,
    /// What cannot be read.
    Compressed,
}

/// The request that is being read.
#[derive(Debug, Default)]
struct Asking {
    /// The packet goes on in the next one.
    goes_on: bool,
    /// It belongs to the newest exchange.
    counted: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mysql {
    mode: Mode,
    asking: Asking,
    answering: Answering,
    statements: Statements,
    /// The client is being let in, or not.
    authenticating: bool,
    /// What the server can do, if it said so.
    server: Option<u32>,
    /// The server's state, as it said last.
    status: u16,
    /// EOF packets follow definitions, if that is known.
    eof: Option<bool>,
    /// An answer to nothing that was seen was counted, and no request came since.
    unasked: bool,
    /// What goes on will be compressed.
    compresses: bool,
    /// What goes on as [`Mode::File`] or [`Mode::Stream`].
    stream: Option<Ticket>,
    /// Of statements that were said before.
    memo: Memo,
    /// An operation that is being written.
    text: String,
}

impl Language for Mysql {
    type Note = Note;

    fn measure(&self, half: Half, bytes: &[u8]) -> Measure {
        if self.mode == Mode::Compressed {
            return Measure::Message { head: 1, length: 1 };
        }
        let Some(header) = Header::of(bytes) else {
            return Measure::More;
        };
        let most = match half {
            Half::Request => match self.measure_request(header, bytes) {
                Ok(most) => most,
                Err(measure) => return measure,
            },
            Half::Response if header.sequence == 0 => MOST_GREETING,
            Half::Response => MOST_ANSWER,
        };
        let payload = usize::try_from(header.payload).unwrap_or(usize::MAX);
        Measure::Message {
            head: HEADER_BYTES + payload.min(most),
            length: header.packet(),
        }
    }

    fn head(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        if self.mode == Mode::Compressed {
            talk.sink.lost(Loss::Compressed);
            return Verdict::Opaque;
        }
        if self.mode == Mode::Packets
            && let Some(stream) = self.stream.take()
        {
            // Its end was not seen.
            talk.stream_ended(stream, message.first.at_ns, Outcome::Unknown);
        }
        // A head is cut to nothing only where its bytes are missing.
        let Some(header) = Header::of(message.head) else {
            return Verdict::Continue;
        };
        let payload = header.payload_of(message.head);
        match message.half {
            Half::Request => self.request(header, payload, message, talk),
            Half::Response => {
                self.answer(header, payload, message, talk);
                Verdict::Continue
            }
        }
    }

    fn end(&mut self, half: Half, at: Seen, talk: &mut Talk<'_, Note>) {
        match half {
            Half::Request if self.asking.counted && !self.asking.goes_on => {
                self.asking.counted = false;
                talk.asked(at.at_ns);
            }
            Half::Response => self.answered(at, talk),
            Half::Request => {}
        }
    }

    fn resumes(&self, half: Half, bytes: &[u8]) -> bool {
        let Some(header) = Header::of(bytes) else { return false };
        let payload = header.payload_of(bytes);
        match half {
            Half::Request => {
                // A header that was read by itself has to do.
                let fits = |code: &u8| {
                    let (least, most) = Command::payload(*code);
                    Command::of(*code).is_some() && (least..=most).contains(&header.payload)
                };
                let text = |code: &u8| match *code {
                    commands::QUERY => attributes::statement(&payload[1..]).is_none_or(is_statement),
                    commands::PREPARE => is_statement(&payload[1..]),
                    _ => true,
                };
                header.sequence == 0
                    && header.payload > 0
                    && payload.first().is_none_or(|code| fits(code) && text(code))
            }
            Half::Response => header.sequence == 1 && header.payload > 0,
        }
    }

    fn ends_answer(&self, tail: &[u8]) -> bool {
        answers::ends(tail, self.eof)
    }

    fn blank(&self, half: Half, head: &mut [u8], _waiting: &Pairs<Note>) {
        let Some(header) = Header::of(head) else { return };
        let payload = &mut head[HEADER_BYTES..];
        match half {
            Half::Request => self.blank_request(header, payload),
            Half::Response => self.answering.blank(header, payload),
        }
    }

    fn forget(&mut self, half: Half) {
        match half {
            Half::Request => {
                self.asking = Asking::default();
                self.authenticating = false;
            }
            Half::Response => {
                self.answering = Answering::default();
                if self.mode == Mode::File {
                    self.mode = Mode::Packets;
                }
            }
        }
    }

    fn is_raw(&self, half: Half) -> bool {
        match self.mode {
            Mode::Packets | Mode::Compressed => false,
            Mode::File => half == Half::Request,
            Mode::Stream | Mode::Encrypted => true,
        }
    }

    fn raw(&mut self, half: Half, bytes: u64, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some(stream) = self.stream {
            let bytes = match half {
                Half::Request => [bytes, 0],
                Half::Response => [0, bytes],
            };
            talk.stream_moved(stream, at_ns, bytes, None);
        }
    }

    fn over(&mut self, outcome: Outcome, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some(stream) = self.stream.take() {
            talk.stream_ended(stream, at_ns, outcome);
        }
    }

    fn heap_bytes(&self) -> usize {
        self.statements.heap_bytes() + self.text.capacity() + self.memo.heap_bytes()
    }
}

impl Mysql {
    /// How many bytes of this packet's payload are to be read?
    fn measure_request(&self, header: Header, bytes: &[u8]) -> Result<usize, Measure> {
        if self.asking.goes_on || (header.sequence != 0 && self.authenticating) {
            return Ok(0);
        }
        match header.sequence {
            0 => {
                let code = match bytes.get(HEADER_BYTES) {
                    Some(code) if header.payload > 0 => *code,
                    None if header.payload > 0 => return Err(Measure::More),
                    _ => return Err(Measure::Malformed),
                };
                let (least, most) = Command::payload(code);
                match Command::of(code) {
                    Some(_) if !(least..=most).contains(&header.payload) => Err(Measure::Malformed),
                    Some(command) if command.names == Names::Statement => Ok(1 + MOST_STATEMENT),
                    Some(_) => Ok(MOST_OTHER),
                    None => Err(Measure::Malformed),
                }
            }
            1 | 2 if header.payload >= SSL_REQUEST_BYTES => Ok(MOST_OTHER),
            _ => Err(Measure::Malformed),
        }
    }

    /// Takes a request's values out.
    fn blank_request(&self, header: Header, payload: &mut [u8]) {
        let Some(&code) = payload.first() else { return };
        if self.asking.goes_on || (header.sequence != 0 && self.authenticating) {
            return framed::cover(payload);
        }
        match code {
            // What the client can do; its name is behind that.
            _ if header.sequence != 0 => framed::cover_behind(payload, MOST_OTHER),
            commands::QUERY => match attributes::blank(&mut payload[1..]) {
                Some(statement) => self.blank_statement(statement),
                None => framed::cover_behind(payload, 1),
            },
            commands::PREPARE => self.blank_statement(&mut payload[1..]),
            // A statement's number, flags, and once.
            commands::EXECUTE => framed::cover_behind(payload, 1 + 4 + 1 + 4),
            commands::CLOSE | commands::FETCH | commands::SEND_LONG_DATA | 0x1a | 0xfa => {
                framed::cover_behind(payload, 1 + 4 + 2);
            }
            _ => framed::cover_behind(payload, 1),
        }
    }

    fn blank_statement(&self, statement: &mut [u8]) {
        if self.has_literal_backslashes(statement) {
            // Nor is its operation known.
            framed::cover_behind(statement, 0);
        } else {
            sql::blank(statement, Dialect::Mysql);
        }
    }

    fn request(&mut self, header: Header, payload: &[u8], message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        let continues = std::mem::replace(&mut self.asking.goes_on, header.goes_on());
        if continues || (header.sequence != 0 && self.authenticating) {
            self.asking.counted |= self.authenticating;
            if self.asking.counted
                && let Some(asked) = talk.newest()
            {
                asked.asks(message.length);
                asked.note.sequence = header.sequence.wrapping_add(1);
            }
            return Verdict::Continue;
        }
        self.asking.counted = false;
        self.unasked = false;
        if header.sequence != 0 {
            return self.response(header, payload, message, talk);
        }
        self.authenticating = false;
        let Some(command) = payload.first().and_then(|code| Command::of(*code)) else {
            return Verdict::Continue;
        };
        self.command(command, header, payload, message, talk);
        Verdict::Continue
    }

    /// The client answers the greeting.
    fn response(
        &mut self,
        header: Header,
        payload: &[u8],
        message: &Message<'_>,
        talk: &mut Talk<'_, Note>,
    ) -> Verdict {
        if payload.len() < MOST_OTHER {
            talk.sink.lost(Loss::HeadCut);
            return Verdict::Continue;
        }
        let Some(client) = packet::response(payload) else {
            // It speaks as before version 4.1, or not at all.
            talk.sink.lost(Loss::FramingUnknown);
            return Verdict::Opaque;
        };
        if header.payload == SSL_REQUEST_BYTES && client & capabilities::SSL != 0 {
            self.mode = Mode::Encrypted;
            return Verdict::Continue;
        }
        // Inside of TLS the greeting is not seen. What the client wants to compress it knows the server can.
        let both = client & self.server.unwrap_or(u32::MAX);
        self.compresses = both & (capabilities::COMPRESS | capabilities::ZSTD) != 0;
        self.eof = match (both & capabilities::DEPRECATE_EOF != 0, self.server) {
            (true, None) => None,
            (deprecated, _) => Some(!deprecated),
        };
        self.authenticating = true;
        self.statements.clear();
        self.open(CONNECT, Answer::Authentication, header, 0, message, talk);
        Verdict::Continue
    }

    fn command(
        &mut self,
        command: Command,
        header: Header,
        payload: &[u8],
        message: &Message<'_>,
        talk: &mut Talk<'_, Note>,
    ) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let mut statement = 0;
        let code = payload.first().copied().unwrap_or_default();
        let number = packet::u32_at(payload, 1);
        let cut = u64::from(header.payload) > payload.len() as u64;
        match (code, command.names) {
            (commands::PREPARE, _) => {
                self.fingerprint(&payload[1..], cut, &mut text);
                statement = self.statements.ask(&text);
                if !text.is_empty() {
                    text.insert_str(0, "PREPARE ");
                }
            }
            (_, Names::Statement) => {
                if let Some(statement) = attributes::statement(&payload[1..]) {
                    self.fingerprint(statement, cut, &mut text);
                }
            }
            (_, Names::Prepared) => {
                let known = number.and_then(|number| self.statements.operation(number));
                if code == commands::FETCH {
                    text.push_str("FETCH ");
                }
                text.push_str(known.unwrap_or(PREPARED));
            }
            (commands::CLOSE, _) => {
                if let Some(number) = number {
                    self.statements.close(number);
                }
            }
            (commands::RESET_CONNECTION, _) => self.statements.clear(),
            (commands::CHANGE_USER, _) => {
                self.statements.clear();
                self.authenticating = true;
            }
            _ => {}
        }
        if command.answer != Answer::None {
            let operation = if text.is_empty() { command.name } else { &text };
            self.open(operation, command.answer, header, statement, message, talk);
        }
        self.text = text;
    }

    /// What a statement is called; nothing is written if it is not known.
    fn fingerprint(&mut self, statement: &[u8], cut: bool, text: &mut String) {
        if !self.has_literal_backslashes(statement) {
            text.push_str(self.memo.fingerprint(statement, Dialect::Mysql, cut));
        }
    }

    /// Where a backslash stands for itself, a literal that ends with one would be read as going on.
    fn has_literal_backslashes(&self, statement: &[u8]) -> bool {
        self.status & status::NO_BACKSLASH_ESCAPES != 0 && memchr::memchr(b'\\', statement).is_some()
    }

    fn open(
        &mut self,
        operation: &str,
        answer: Answer,
        header: Header,
        statement: u32,
        message: &Message<'_>,
        talk: &mut Talk<'_, Note>,
    ) {
        let first = message.first;
        let note = Note {
            answer,
            sequence: header.sequence.wrapping_add(1),
            statement,
        };
        self.asking.counted = true;
        talk.open((Protocol::Mysql, operation), first, message.length, note);
    }
}
