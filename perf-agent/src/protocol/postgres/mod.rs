//! PostgreSQL's frontend/backend protocol, version 3: <https://www.postgresql.org/docs/current/protocol.html>.
//!
//! An operation is a statement's fingerprint, see [`super::sql`]. What is an exchange:
//!
//! - A simple query: from Query to `ReadyForQuery`, however many statements are in it.
//! - An Execute of the extended protocol, with the messages since the last one (Parse, Bind, Describe, Close): from the
//!   first of them to the end of its own answer, or to `ReadyForQuery` if a Sync follows it. So the usual round trip
//!   (Parse, Bind, Describe, Execute, Sync) is one exchange.
//! - Such messages without an Execute, if a Sync or a Flush follows: `PREPARE` with the fingerprint, `DESCRIBE`, `BIND`, `CLOSE`;
//!   and `SYNC` if nothing goes before it.
//! - `CONNECT`: from `StartupMessage` over all that the server asks to know the client to the first `ReadyForQuery`; `CANCEL`:
//!   answered by closing the connection; `FUNCTION CALL`.
//!
//! After an error, the server passes over all messages until the next Sync: what they asked for gets no answer, and ends as
//! [`Outcome::Unknown`].
//!
//! A statement that was prepared before the connection was seen is `(prepared)`. COPY is an exchange of which the data are
//! passed over; replication is a stream. Of the messages of a session's start, and of parameters and rows, nothing is read but
//! lengths. What follows a request for encryption that the server grants is passed over: what is in it is another stream.

mod messages;
mod statements;
#[cfg(test)]
pub(super) mod tests;

use self::messages::{HEADER, Untyped, text};
use self::statements::{PREPARED, Statements};
use super::framed::{Framed, Language, Measure, Message, Talk};
use super::sql::{Dialect, fingerprint};
use super::{AnyDissector, Beginning, Half, ProtocolEntry, Seen, Verdict};
use crate::event::Direction;
use crate::exchange::{Loss, Outcome, Protocol, Request, StreamKind, Ticket};

/// How to recognise PostgreSQL and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "postgresql",
    detect,
    dissector: |_| AnyDissector::Framed(Box::new(Framed::<Postgres>::new())),
};

/// Exchanges in flight on one connection; those beyond are not told apart.
const MAX_IN_FLIGHT: usize = 512;
/// A statement of blanks and comments.
const EMPTY: &str = "(empty)";
/// Replication begins with this word; what follows is a position.
const START_REPLICATION: &str = "START_REPLICATION";

fn detect(beginning: &Beginning<'_>) -> Option<Direction> {
    messages::begins_request(beginning.bytes, u64::from(beginning.length)).then_some(beginning.direction)
}

/// What an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A simple query or a call of a function: it ends with `ReadyForQuery`.
    Simple,
    /// Messages of the extended protocol.
    Extended,
    /// The start of a session: it ends with `ReadyForQuery` or an error.
    Connect,
    /// It ends with the connection.
    Cancel,
}

/// What is remembered of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    kind: Kind,
    /// Answers to come to its messages, Sync aside.
    left: u32,
    /// `ReadyForQuery` that are to come.
    ready: u32,
    /// No message will be added to it but Sync.
    closed: bool,
    /// All answers came, but a Sync may follow.
    done_ns: Option<u64>,
    /// Rows that came since the last command was done.
    rows: u64,
    /// Others that were too many are in it: it is known only when the last of them was answered.
    folded: bool,
}

impl Note {
    fn new(kind: Kind, left: u32, ready: u32) -> Self {
        Self {
            kind,
            left,
            ready,
            closed: false,
            done_ns: None,
            rows: 0,
            folded: false,
        }
    }

    /// May a message be added to it?
    fn is_open(&self) -> bool {
        self.kind == Kind::Extended && self.ready == 0 && !self.folded && !self.closed
    }

    /// Does the next Sync end it? With a Flush before that, it may have been answered by then, and be gone.
    fn awaits_sync(&self) -> bool {
        self.kind == Kind::Extended && (self.ready == 0 || self.folded)
    }

    /// Does it end with the answer to its last message, as far as is known?
    fn is_closed(&self) -> bool {
        self.closed && self.ready == 0 && !self.folded
    }
}

/// Messages of the extended protocol that are not yet part of an exchange.
#[derive(Debug, Default)]
struct Gathered {
    first: Option<Seen>,
    bytes: u64,
    /// Answers to come to them.
    answers: u32,
    has_parse: bool,
    has_bind: bool,
    has_describe: bool,
    /// The first statement that was parsed.
    prepared: String,
}

impl Gathered {
    /// There is a message in it that asks for more than to forget something.
    fn asks(&self) -> bool {
        self.has_parse || self.has_bind || self.has_describe
    }

    fn clear(&mut self) {
        let mut prepared = std::mem::take(&mut self.prepared);
        prepared.clear();
        *self = Self {
            prepared,
            ..Self::default()
        };
    }
}

/// What goes over the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing so far.
    #[default]
    Begin,
    /// The client asked for encryption; the answer is one byte.
    AsksEncryption,
    Encrypted,
    /// Messages with types.
    Session,
    /// Likewise from the server, and data from the client until the server says that it has them all.
    CopyIn,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    stage: Stage,
    statements: Statements,
    gathered: Gathered,
    /// Room for an operation.
    operation: String,
    /// The request whose head was told last is a part of the newest exchange.
    is_asked: bool,
    /// Type of the message of the server whose head was told last.
    answering: u8,
    /// An error told that the session ends.
    ends_session: bool,
    /// After an error, the server passes over what comes before the next Sync.
    skips: bool,
    replication: Option<Ticket>,
}

impl Language for Postgres {
    type Note = Note;

    fn measure(&self, half: Half, bytes: &[u8]) -> Measure {
        match half {
            Half::Request if bytes[0] == 0 && self.stage == Stage::Begin => messages::measure_untyped(bytes),
            Half::Response if self.stage == Stage::AsksEncryption && matches!(bytes[0], b'S' | b'N' | b'G') => {
                Measure::Message { head: 1, length: 1 }
            }
            Half::Request | Half::Response => messages::measure(half, bytes),
        }
    }

    fn head(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) -> Verdict {
        match message.half {
            Half::Request => self.request(message, talk),
            Half::Response => self.answer(message, talk),
        }
        Verdict::Continue
    }

    fn end(&mut self, half: Half, at: Seen, talk: &mut Talk<'_, Note>) {
        match half {
            Half::Request if std::mem::take(&mut self.is_asked) => talk.asked(at.at_ns),
            Half::Request => {}
            Half::Response => self.answered(at, talk),
        }
    }

    fn resumes(&self, half: Half, bytes: &[u8]) -> bool {
        match half {
            Half::Request => messages::begins_request(bytes, bytes.len() as u64),
            Half::Response => messages::begins_answer(bytes),
        }
    }

    fn ends_answer(&self, tail: &[u8]) -> bool {
        // ReadyForQuery, and what state the transaction is in.
        matches!(tail, [.., b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E'])
    }

    fn forget(&mut self, half: Half) {
        match half {
            Half::Request => {
                // Statements may have been prepared or forgotten unseen.
                self.statements = Statements::default();
                self.gathered.clear();
                self.is_asked = false;
                self.copy_ends();
            }
            Half::Response => {
                self.answering = 0;
                self.skips = false;
                if self.stage == Stage::AsksEncryption {
                    self.stage = Stage::Begin;
                }
            }
        }
    }

    fn is_raw(&self, half: Half) -> bool {
        self.replication.is_some()
            || self.stage == Stage::Encrypted
            || (half == Half::Request && self.stage == Stage::CopyIn)
    }

    fn raw(&mut self, half: Half, bytes: u64, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some(stream) = self.replication {
            let bytes = match half {
                Half::Request => [bytes, 0],
                Half::Response => [0, bytes],
            };
            talk.stream_moved(stream, at_ns, bytes, None);
        } else if self.stage == Stage::CopyIn
            && let Some(asked) = talk.newest()
        {
            asked.asks(bytes);
            talk.asked(at_ns);
        }
    }

    fn over(&mut self, outcome: Outcome, at_ns: u64, talk: &mut Talk<'_, Note>) {
        if let Some(stream) = self.replication.take() {
            talk.stream_ended(stream, at_ns, outcome);
        }
        let is_cancel = talk.oldest().is_some_and(|asked| asked.note.kind == Kind::Cancel);
        if is_cancel && outcome == Outcome::Answered {
            // There is no other answer.
            talk.answered(at_ns);
        }
    }

    fn heap_bytes(&self) -> usize {
        self.statements.heap_bytes() + self.gathered.prepared.capacity() + self.operation.capacity()
    }
}

/// A client's messages.
impl Postgres {
    fn request(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let head = message.head;
        let kind = head.first().copied().unwrap_or_default();
        if kind == 0 {
            return self.untyped(message, talk);
        }
        if self.stage != Stage::CopyIn {
            self.stage = Stage::Session;
        }
        let body = head.get(HEADER..).unwrap_or_default();
        match kind {
            b'Q' => self.query(body, message, talk),
            b'P' => {
                let (name, statement) = text(body).unwrap_or((body, &[]));
                self.name_operation(statement);
                self.statements.prepare(name, &self.operation);
                if !self.gathered.has_parse {
                    self.gathered.prepared.push_str(&self.operation);
                }
                self.gathered.has_parse = true;
                self.gather(message, talk);
            }
            b'B' => {
                match text(body).and_then(|(portal, rest)| Some((portal, text(rest)?))) {
                    Some((portal, (statement, _))) => self.statements.bind(portal, statement),
                    None => self.statements.close_portal(b""),
                }
                self.gathered.has_bind = true;
                self.gather(message, talk);
            }
            b'D' => {
                self.gathered.has_describe = true;
                self.gather(message, talk);
            }
            b'C' => {
                match body.split_first().and_then(|(kind, rest)| Some((kind, text(rest)?))) {
                    Some((b'S', (name, _))) => self.statements.close(name),
                    Some((_, (name, _))) => self.statements.close_portal(name),
                    None => {}
                }
                self.gather(message, talk);
            }
            b'E' => self.execute(text(body).map(|(portal, _)| portal), message, talk),
            b'S' => self.sync(message, talk),
            b'H' => {
                self.settle(talk);
                if let Some(asked) = talk.newest().filter(|asked| asked.note.is_open()) {
                    asked.asks(message.length);
                }
                close_newest(talk);
            }
            b'F' => {
                open(
                    "FUNCTION CALL",
                    message.first,
                    message.length,
                    Note::new(Kind::Simple, 0, 1),
                    talk,
                );
                self.is_asked = true;
            }
            // Terminate.
            b'X' => {}
            // To show who the client is, and data.
            _ => {
                if let Some(asked) = talk.newest() {
                    asked.asks(message.length);
                    self.is_asked = true;
                }
            }
        }
    }

    fn untyped(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let Some((untyped, _)) = Untyped::begins(message.head) else {
            return;
        };
        let (operation, note) = match untyped {
            Untyped::Startup => ("CONNECT", Note::new(Kind::Connect, 0, 1)),
            Untyped::Cancel => ("CANCEL", Note::new(Kind::Cancel, 0, 0)),
            Untyped::Encryption => {
                self.stage = Stage::AsksEncryption;
                return;
            }
        };
        self.stage = Stage::Session;
        self.is_asked = true;
        open(operation, message.first, message.length, note, talk);
    }

    /// Makes an operation of a statement, of which the end may not be there.
    fn name_operation(&mut self, statement: &[u8]) {
        let (statement, cut) = text(statement).map_or((statement, true), |(statement, _)| (statement, false));
        fingerprint(statement, Dialect::Postgresql, cut, &mut self.operation);
        if self.operation.is_empty() {
            self.operation.push_str(EMPTY);
        } else if self
            .operation
            .get(..START_REPLICATION.len())
            .is_some_and(|word| word.eq_ignore_ascii_case(START_REPLICATION))
        {
            self.operation.clear();
            self.operation.push_str(START_REPLICATION);
        }
    }

    fn query(&mut self, statement: &[u8], message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        self.gathered.clear();
        self.statements.close_unnamed();
        self.name_operation(statement);
        close_newest(talk);
        let note = Note::new(Kind::Simple, 0, 1);
        open(&self.operation, message.first, message.length, note, talk);
        self.is_asked = true;
    }

    /// A message of the extended protocol is a part of what follows it.
    fn gather(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        if self.gathered.asks() {
            close_newest(talk);
        }
        self.gathered.first.get_or_insert(message.first);
        self.gathered.bytes += message.length;
        self.gathered.answers += 1;
    }

    fn execute(&mut self, portal: Option<&[u8]>, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        close_newest(talk);
        let gathered = &mut self.gathered;
        let operation = portal.map_or(PREPARED, |portal| self.statements.portal(portal));
        let note = Note::new(Kind::Extended, gathered.answers + 1, 0);
        let first = gathered.first.unwrap_or(message.first);
        open(operation, first, gathered.bytes + message.length, note, talk);
        gathered.clear();
        self.is_asked = true;
    }

    fn sync(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        self.settle(talk);
        self.is_asked = true;
        match talk.newest() {
            Some(asked) if asked.note.awaits_sync() => {
                asked.asks(message.length);
                asked.note.ready += 1;
                asked.note.done_ns = None;
            }
            _ => open(
                "SYNC",
                message.first,
                message.length,
                Note::new(Kind::Extended, 0, 1),
                talk,
            ),
        }
    }

    /// What was gathered is not followed by an Execute.
    fn settle(&mut self, talk: &mut Talk<'_, Note>) {
        let gathered = &mut self.gathered;
        let Some(first) = gathered.first else { return };
        if !gathered.asks()
            && let Some(asked) = talk.newest().filter(|asked| asked.note.is_open())
        {
            // What was executed is closed.
            asked.asks(gathered.bytes);
            asked.note.left += gathered.answers;
            asked.note.done_ns = None;
        } else {
            close_newest(talk);
            self.operation.clear();
            self.operation.push_str(match () {
                () if gathered.has_parse => "PREPARE ",
                () if gathered.has_describe => "DESCRIBE",
                () if gathered.has_bind => "BIND",
                () => "CLOSE",
            });
            self.operation.push_str(&gathered.prepared);
            let note = Note::new(Kind::Extended, gathered.answers, 0);
            open(&self.operation, first, gathered.bytes, note, talk);
        }
        gathered.clear();
    }
}

/// A server's messages.
impl Postgres {
    fn copy_ends(&mut self) {
        if self.stage == Stage::CopyIn {
            self.stage = Stage::Session;
        }
    }

    fn answer(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
        let kind = message.head.first().copied().unwrap_or_default();
        if message.length == 1 {
            self.stage = if kind == b'N' { Stage::Begin } else { Stage::Encrypted };
            self.answering = 0;
            return;
        }
        self.answering = kind;
        // Notifications are of no request.
        let Some(asked) = talk.oldest().filter(|_| kind != b'A') else {
            return;
        };
        asked.answers(message.first.at_ns, message.length);
        let body = message.head.get(HEADER..).unwrap_or_default();
        match kind {
            b'D' => asked.note.rows += 1,
            // What is not to be told at once has no tag.
            b'C' | b's' => {
                let came = std::mem::take(&mut asked.note.rows);
                let told = if kind == b's' { Some(came) } else { messages::rows(body) };
                if let Some(rows) = told {
                    let before = asked.tally.rows.unwrap_or(0);
                    asked.tally.rows = Some(before.saturating_add(rows));
                }
            }
            b'E' => {
                let (code, ends_session) = messages::error(body);
                asked.error.get_or_insert(code);
                self.ends_session = ends_session || asked.note.kind == Kind::Connect;
            }
            _ => {}
        }
    }

    /// A message of the server ended.
    fn answered(&mut self, at: Seen, talk: &mut Talk<'_, Note>) {
        let at_ns = at.at_ns;
        match std::mem::take(&mut self.answering) {
            b'1' | b'2' | b'3' | b'n' | b'T' => count(at_ns, talk),
            b'C' | b'I' | b's' => {
                self.copy_ends();
                count(at_ns, talk);
            }
            b'E' => {
                self.copy_ends();
                self.failed(at_ns, talk);
            }
            b'Z' => {
                self.copy_ends();
                self.ready(at_ns, talk);
            }
            b'G' => {
                if let Some(asked) = talk.oldest() {
                    self.stage = Stage::CopyIn;
                    if asked.note.kind == Kind::Extended {
                        // The server passes over a Sync before the data, and another one follows them.
                        asked.note.ready = 1;
                    }
                }
            }
            b'W' => self.replication = talk.becomes_stream(at_ns, StreamKind::Subscription),
            _ => {}
        }
    }

    fn failed(&mut self, at_ns: u64, talk: &mut Talk<'_, Note>) {
        let ends_session = std::mem::take(&mut self.ends_session);
        let Some(asked) = talk.oldest() else { return };
        if ends_session {
            talk.answered(at_ns);
        } else if asked.note.is_open() || asked.note.is_closed() {
            self.skips = true;
            asked.note.left = 1;
            count(at_ns, talk);
        }
    }

    /// All up to a Sync, a query or the session's start is done.
    fn ready(&mut self, at_ns: u64, talk: &mut Talk<'_, Note>) {
        let skipped = std::mem::take(&mut self.skips);
        if talk.oldest().is_none() {
            // Of a request that was not seen.
            talk.answered(at_ns);
        }
        while let Some(asked) = talk.oldest() {
            let note = &mut asked.note;
            if note.ready == 0 {
                // What comes before the Sync.
                match note.done_ns {
                    Some(done_ns) => talk.answered(done_ns),
                    None => talk.given_up(at_ns),
                }
                continue;
            }
            note.ready -= 1;
            if note.ready > 0 {
                return;
            }
            let passed_over = skipped && note.kind == Kind::Extended && note.left > 0 && asked.error.is_none();
            if note.folded || passed_over {
                talk.given_up(at_ns);
            } else {
                talk.answered(at_ns);
            }
            return;
        }
    }
}

/// A request is known, and opens an exchange, if there are not too many.
fn open(operation: &str, first: Seen, bytes: u64, note: Note, talk: &mut Talk<'_, Note>) {
    let full = talk.pairs.in_flight() >= MAX_IN_FLIGHT;
    if let Some(newest) = talk.newest().filter(|newest| full || newest.note.folded) {
        newest.asks(bytes);
        newest.note.ready += note.ready;
        newest.note.folded = true;
        talk.sink.lost(Loss::PipelineFull);
        return;
    }
    let request = Request {
        protocol: Protocol::Postgresql,
        method: "",
        path: operation,
        query: "",
        host: None,
        request_id: None,
        first_ns: first.at_ns,
        tgid: first.tgid,
        tid: first.tid,
    };
    talk.open(&request, first, bytes, note);
}

/// No message will be added to the newest exchange.
fn close_newest(talk: &mut Talk<'_, Note>) {
    let Some(asked) = talk.newest().filter(|asked| asked.note.is_open()) else {
        return;
    };
    asked.note.closed = true;
    if let Some(done_ns) = asked.note.done_ns {
        talk.answered(done_ns);
    }
}

/// One of the answers to the oldest exchange's messages came.
fn count(at_ns: u64, talk: &mut Talk<'_, Note>) {
    let Some(asked) = talk.oldest() else { return };
    let note = &mut asked.note;
    if note.kind != Kind::Extended || note.left == 0 {
        return;
    }
    note.left -= 1;
    if note.left == 0 && note.is_closed() {
        talk.answered(at_ns);
    } else if note.left == 0 && note.is_open() {
        note.done_ns = Some(at_ns);
    }
}
