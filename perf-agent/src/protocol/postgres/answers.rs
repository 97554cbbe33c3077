//! What a server says, and which exchange it answers.

use super::messages::{self, HEADER};
use super::{Kind, Note, Postgres, Stage};
use crate::exchange::StreamKind;
use crate::protocol::Seen;
use crate::protocol::framed::{Message, Talk};

impl Postgres {
    pub(super) fn copy_ends(&mut self) {
        if self.stage == Stage::CopyIn {
            self.stage = Stage::Session;
        }
    }

    pub(super) fn answer(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Note>) {
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
    pub(super) fn answered(&mut self, at: Seen, talk: &mut Talk<'_, Note>) {
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
