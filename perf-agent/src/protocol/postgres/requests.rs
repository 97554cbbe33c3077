//! What a client says, and which exchange it is a part of.

use super::messages::{HEADER, Untyped, text};
use super::statements::PREPARED;
use super::{EMPTY, Kind, MAX_IN_FLIGHT, Note, Postgres, START_REPLICATION, Stage};
use crate::exchange::{Loss, Protocol};
use crate::protocol::Seen;
use crate::protocol::framed::{Message, Talk};
use crate::protocol::sql::Dialect;

impl Postgres {
    pub(super) fn request(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
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
                let (statement, cut) = whole(statement);
                let operation = match self.memo.fingerprint(statement, Dialect::Postgresql, cut) {
                    "" => EMPTY,
                    operation => operation,
                };
                self.statements.prepare(name, operation);
                if !self.gathered.has_parse {
                    self.gathered.prepared.push_str(operation);
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

    /// Makes an operation of a simple query's statements.
    fn name_query(&mut self, statement: &[u8]) {
        let (statement, cut) = whole(statement);
        let fingerprint = self.memo.fingerprint(statement, Dialect::Postgresql, cut);
        self.operation.clear();
        self.operation.push_str(fingerprint);
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
        self.name_query(statement);
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

/// A statement without the end that its message gives it, and whether that was missing.
fn whole(statement: &[u8]) -> (&[u8], bool) {
    text(statement).map_or((statement, true), |(statement, _)| (statement, false))
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
    talk.open((Protocol::Postgresql, operation), first, bytes, note);
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
