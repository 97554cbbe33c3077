//! Which request an answer is to, where some are answered by silence.

use super::answers::{Answer, Fit, Note, Word};
use super::commands::Kind;
use super::{SILENCE_NS, Talk};
use crate::exchange::{Loss, Outcome};

/// Whether it is known to which request the next answer can be.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// It is not: some that are not in flight any more may still be answered.
    pub(super) astray: bool,
    /// Requests were sent before earlier ones were answered.
    pipelined: bool,
    /// No-ops whose answers are to come, whether they are in flight or given up.
    barriers: u32,
}

fn is_barrier(note: &Note) -> bool {
    note.command.kind == Kind::Barrier
}

/// The first `count` requests in flight: it is not known what became of them.
fn give_up(count: usize, at_ns: u64, talk: &mut Talk<'_, Note>) {
    for _ in 0..count {
        talk.given_up(at_ns);
    }
}

impl Track {
    /// A request of this kind comes, so long after what was moved last.
    pub(super) fn asked(&mut self, kind: Kind, pause_ns: u64, talk: &mut Talk<'_, Note>) {
        let waiting = talk.oldest().is_some();
        if self.astray && !waiting && (pause_ns >= SILENCE_NS || !self.pipelined) {
            // Nothing is on its way.
            self.astray = false;
            self.barriers = 0;
        }
        self.pipelined |= waiting;
        self.barriers += u32::from(kind == Kind::Barrier);
    }

    /// More are in flight than are kept.
    pub(super) fn overflowed(&mut self, at_ns: u64, talk: &mut Talk<'_, Note>) {
        self.astray = true;
        talk.end_all(Outcome::Unknown, at_ns);
    }

    /// It is not known any more which answer is to which request. Behind a no-op it will be again.
    pub(super) fn lose(&mut self, at_ns: u64, talk: &mut Talk<'_, Note>) {
        self.astray = true;
        match talk.find(is_barrier) {
            Some(place) => give_up(place, at_ns, talk),
            None => talk.end_all(Outcome::Unknown, at_ns),
        }
    }

    /// What was in flight has ended otherwise, and who ended it finds out when answers can be paired again.
    pub(super) fn forget(&mut self) {
        self.astray = false;
        self.barriers = 0;
    }

    /// The oldest request's answer, one to this kind, is whole.
    pub(super) fn answered(&mut self, kind: Kind) {
        self.barriers = self.barriers.saturating_sub(u32::from(kind == Kind::Barrier));
    }

    /// Looks for the request that this answer is to, and ends those before it. True if it is the oldest one now.
    pub(super) fn find(&mut self, answer: &Answer, at_ns: u64, talk: &mut Talk<'_, Note>) -> bool {
        if self.astray {
            return self.find_again(answer, at_ns, talk);
        }
        let mut found = None;
        let mut place = 0;
        while let Some(asked) = talk.at(place) {
            let note = &asked.note;
            match note.fits(answer) {
                Fit::Surely => {
                    found = Some((place, note.run));
                    break;
                }
                Fit::Maybe if found.is_some() => {
                    self.lose(at_ns, talk);
                    return false;
                }
                Fit::Maybe => found = Some((place, note.run)),
                Fit::No => {}
            }
            if !note.quiet {
                break;
            }
            place += 1;
        }
        let Some((place, run)) = found else {
            if talk.oldest().is_some() {
                talk.sink.lost(Loss::ResponseWithoutRequest);
                self.lose(at_ns, talk);
            }
            return false;
        };
        for _ in 0..place {
            silence_answers(run, at_ns, talk);
        }
        true
    }

    /// While track is lost, only a no-op's answer is of use.
    fn find_again(&mut self, answer: &Answer, at_ns: u64, talk: &mut Talk<'_, Note>) -> bool {
        if answer.word == Word::NoOp {
            // Those that were given up are answered first.
            let mut kept = 0;
            let mut place = 0;
            while let Some(asked) = talk.at(place) {
                kept += u32::from(is_barrier(&asked.note));
                place += 1;
            }
            if kept < self.barriers {
                self.barriers -= 1;
                return false;
            }
            if let Some(place) = talk.find(is_barrier) {
                give_up(place, at_ns, talk);
                self.astray = false;
                return true;
            }
        }
        self.lose(at_ns, talk);
        false
    }
}

/// An answer to a later request of this run says that the oldest one was answered by silence.
fn silence_answers(run: u32, at_ns: u64, talk: &mut Talk<'_, Note>) {
    let Some(asked) = talk.oldest() else { return };
    if asked.note.run != run {
        return talk.given_up(at_ns);
    }
    match asked.note.silence_is_hit() {
        Some(true) => asked.tally.hits = 1,
        Some(false) => asked.tally.misses = 1,
        None => {}
    }
    talk.answered(at_ns);
}

/// The client leaves, and wants no answer. Of what was quiet it is not known what became.
pub(super) fn leaves(at_ns: u64, talk: &mut Talk<'_, Note>) {
    if talk.find(|note| !note.quiet).is_none() {
        talk.end_all(Outcome::Unknown, at_ns);
    }
}
