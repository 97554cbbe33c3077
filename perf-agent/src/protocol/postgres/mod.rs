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

mod answers;
mod messages;
mod requests;
mod statements;
#[cfg(test)]
pub(super) mod tests;

use self::statements::Statements;
use super::framed::{self, Language, Measure, Message, Pairs, Talk};
use super::sql::Memo;
use super::{Beginning, Half, ProtocolEntry, Seen, Verdict};
use crate::event::Direction;
use crate::exchange::{Outcome, Ticket};

/// How to recognise PostgreSQL and follow it.
pub const ENTRY: ProtocolEntry = ProtocolEntry {
    name: "postgresql",
    detect,
    dissector: framed::dissector::<Postgres>,
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
    memo: Memo,
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

    fn blank(&self, half: Half, head: &mut [u8], _waiting: &Pairs<Note>) {
        let is_untyped = half == Half::Request && head[0] == 0 && self.stage == Stage::Begin;
        if !is_untyped {
            messages::blank(half, head);
        }
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
        self.statements.heap_bytes()
            + self.memo.heap_bytes()
            + self.gathered.prepared.capacity()
            + self.operation.capacity()
    }
}
