//! Protocols whose messages tell their length, or end with a line, and whose answers come in the order of the requests
//! or name them: databases, caches, brokers. What they have in common is here; a [`Language`] is what they have not.
//!
//! Each half is a row of messages. A message has a head, which the language reads, and a rest, which is passed over, whether
//! it was captured or not. So a missing stretch does harm only where a head lies in it: then the half has *lost its place*.
//! It finds it again where the direction turned, if what comes looks like a message.
//!
//! - An answer of which the rest was left out on purpose (it was longer than is copied), with nothing else in flight, ends
//!   where its last bytes say so ([`Language::ends_answer`]), else with the last bytes before the next request.
//! - In all other cases it is not known which answer belongs to which request: those in flight end as
//!   [`Outcome::Unknown`], and none are paired until both halves have found their places.

mod pairs;

pub(super) use self::pairs::{Pairs, Talk};
use super::{AnyDissector, Chunk, Dissector, Gap, Half, Seen, Verdict, closed_first};
use crate::event::Change;
use crate::exchange::{Loss, Outcome, Sink};

/// What stands for a byte that was taken out.
pub(super) const BLANK: u8 = b'x';
/// Bytes of a head that are kept until it is complete. What a language asks for must be less.
pub(super) const MAX_HEAD: usize = 16 * 1024;
/// So often a half may lose its place by bytes that are no message before the connection is given up.
const MAX_STRAYS: u8 = 8;
/// Where requests were pipelined, answers to lost ones may still come; not after so long a silence.
const QUIET_NS: u64 = 100_000_000;

/// What the bytes at a message's beginning say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// A message of `length` bytes, of which the first `head` are to be read: at most [`MAX_HEAD`].
    Message { head: usize, length: u64 },
    /// More bytes are needed to tell.
    More,
    /// No message begins like this.
    Malformed,
}

/// A message whose head is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) half: Half,
    /// As many bytes as [`Measure::Message`] asked for; fewer if the rest is missing.
    pub(super) head: &'a [u8],
    /// Bytes of the whole message.
    pub(super) length: u64,
    /// Who moved its first byte, and when.
    pub(super) first: Seen,
}

/// The line at the beginning of these bytes, with its end; `None` if it is not whole.
pub(super) fn line(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'\n', bytes).map(|end| &bytes[..=end])
}

/// Takes all bytes out but ends of lines and of texts, which say nothing and are looked for.
pub(crate) fn cover(bytes: &mut [u8]) {
    for byte in bytes {
        if !matches!(byte, b'\r' | b'\n' | 0) {
            *byte = BLANK;
        }
    }
}

/// The same behind the first `kept` bytes.
pub(super) fn cover_behind(bytes: &mut [u8], kept: usize) {
    cover(bytes.get_mut(kept..).unwrap_or_default());
}

/// A dissector of a language, for a new connection.
pub(super) fn dissector<L: Language + 'static>(_from_start: bool) -> AnyDissector {
    AnyDissector::Framed(Box::new(Framed::<L>::new()))
}

/// What a protocol says.
pub(super) trait Language: Default + Send + std::fmt::Debug {
    /// What it remembers of each request.
    type Note: Send + std::fmt::Debug;

    /// How long is the message that begins with these bytes? They are never empty.
    fn measure(&self, half: Half, bytes: &[u8]) -> Measure;

    /// A message's head.
    fn head(&mut self, message: &Message<'_>, talk: &mut Talk<'_, Self::Note>) -> Verdict;

    /// The message whose head was told last in this half ended.
    fn end(&mut self, half: Half, at: Seen, talk: &mut Talk<'_, Self::Note>);

    /// A half that had lost its place: do these bytes begin a message that it can go on with?
    fn resumes(&self, half: Half, bytes: &[u8]) -> bool;

    /// Do these last bytes (at most eight) of an answer that was not seen whole say that it ended?
    fn ends_answer(&self, _tail: &[u8]) -> bool {
        false
    }

    /// Takes out of a head, or of its beginning, what is not needed to follow the conversation, byte for byte. Told before
    /// [`Language::head`], of a head that comes in parts for each part. `waiting` are the requests without an answer.
    fn blank(&self, _half: Half, head: &mut [u8], _waiting: &Pairs<Self::Note>) {
        cover(head);
    }

    /// Forget what was read of a message that is not complete: it is not known what comes next.
    fn forget(&mut self, half: Half);

    /// What goes now in this half is no row of messages any more; bytes of it are told to [`Language::raw`].
    fn is_raw(&self, _half: Half) -> bool {
        false
    }

    /// Bytes that are no messages.
    fn raw(&mut self, _half: Half, _bytes: u64, _at_ns: u64, _talk: &mut Talk<'_, Self::Note>) {}

    /// The connection ended, or observation did: streams end. Told before what waits for an answer ends.
    fn over(&mut self, _outcome: Outcome, _at_ns: u64, _talk: &mut Talk<'_, Self::Note>) {}

    /// Heap bytes held.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// How far a half was read.
#[derive(Debug, Default)]
struct Reading {
    /// The beginning of a head that is not complete, and who moved its first byte.
    kept: Vec<u8>,
    kept_first: Option<Seen>,
    /// Bytes left of the message whose head was told.
    left: u64,
    /// Its end is to be told.
    in_message: bool,
    /// It lost its place.
    lost: bool,
    /// Its sender closed.
    closed_ns: Option<u64>,
}

/// One connection that speaks a language.
#[derive(Debug)]
pub(super) struct Framed<L: Language> {
    language: L,
    pairs: Pairs<L::Note>,
    request: Reading,
    response: Reading,
    /// The half that moved last, and when.
    last: Option<(Half, Seen)>,
    /// The oldest request's answer has an end that is not known; when bytes of it moved last.
    adrift: Option<Seen>,
    strays: u8,
    /// What may be written to a file of the chunk that came last, if that is wanted.
    blanked: Option<Vec<u8>>,
}

impl<L: Language> Framed<L> {
    fn new() -> Self {
        Self {
            language: L::default(),
            pairs: Pairs::default(),
            request: Reading::default(),
            response: Reading::default(),
            last: None,
            adrift: None,
            strays: 0,
            blanked: None,
        }
    }

    fn reading(&mut self, half: Half) -> &mut Reading {
        match half {
            Half::Request => &mut self.request,
            Half::Response => &mut self.response,
        }
    }

    /// Bytes begin that move after those of the other half.
    fn turn(&mut self, half: Half, seen: Seen, sink: &mut dyn Sink) -> Turn {
        let before = self.last.replace((half, seen));
        if half == Half::Request
            && let Some(at) = self.adrift.take()
        {
            // The client asks again, so it has its answer, and what the server says next is another one.
            self.talk(sink).answered(at.at_ns);
            self.response.lost = false;
            sink.lost(Loss::FramingUnknown);
        }
        match before {
            None => Turn::Turned { quiet: true },
            Some((last, at)) => {
                let quiet = seen.at_ns.saturating_sub(at.at_ns) >= QUIET_NS;
                if last != half || quiet {
                    Turn::Turned { quiet }
                } else {
                    Turn::Same
                }
            }
        }
    }

    fn talk<'a>(&'a mut self, sink: &'a mut dyn Sink) -> Talk<'a, L::Note> {
        self.pairs.talk(self.tid(), sink)
    }

    /// Who moved what moved last.
    fn tid(&self) -> u32 {
        self.last.map_or(0, |(_, seen)| seen.tid)
    }

    /// The half's place is not known any more. `on_purpose`: bytes of it were left out, none were lost.
    fn lose(&mut self, half: Half, on_purpose: bool, at: Seen, sink: &mut dyn Sink) {
        self.lose_place(half);
        if half == Half::Response && on_purpose && self.pairs.queue_is_one() && !self.request.lost {
            self.adrift = Some(at);
            return;
        }
        self.adrift = None;
        self.talk(sink).end_all(Outcome::Unknown, at.at_ns);
        // Answers to what was in flight may still come.
        let other = match half {
            Half::Request => Half::Response,
            Half::Response => Half::Request,
        };
        if self.pairs.pipelined || half == Half::Request {
            self.lose_place(other);
        }
    }

    fn lose_place(&mut self, half: Half) {
        let reading = self.reading(half);
        reading.lost = true;
        reading.in_message = false;
        reading.left = 0;
        reading.kept.clear();
        self.language.forget(half);
    }

    /// Can a half that lost its place go on with these bytes?
    fn find_place(&mut self, half: Half, bytes: &[u8], turn: Turn) -> bool {
        let Turn::Turned { quiet } = turn else { return false };
        let ready = match half {
            Half::Request => quiet || !self.pairs.pipelined,
            // An answer to a request that was understood, and not to one before it.
            Half::Response => !self.request.lost && !self.pairs.is_empty() && (quiet || !self.pairs.pipelined),
        };
        if !ready || !self.language.resumes(half, bytes) {
            return false;
        }
        self.reading(half).lost = false;
        if half == Half::Request && quiet {
            // Nothing is on its way in the other direction.
            self.response.lost = false;
        }
        true
    }

    fn read(&mut self, chunk: &Chunk<'_>, seen: Seen, sink: &mut dyn Sink) -> Verdict {
        let half = chunk.half;
        let mut bytes = chunk.bytes;
        // A head that began in an earlier chunk.
        let mut joined = std::mem::take(&mut self.reading(half).kept);
        let begun = joined.len();
        if begun > 0 {
            joined.extend_from_slice(bytes);
            bytes = &joined;
        }
        let mut at = 0;
        let verdict = loop {
            let reading = match half {
                Half::Request => &mut self.request,
                Half::Response => &mut self.response,
            };
            let rest = &bytes[at..];
            if reading.left > 0 {
                let taken = usize::try_from(reading.left).map_or(rest.len(), |left| left.min(rest.len()));
                reading.left -= taken as u64;
                at += taken;
                if reading.left > 0 {
                    break Verdict::Continue;
                }
            }
            let mut talk = self.pairs.talk(seen.tid, sink);
            if std::mem::take(&mut reading.in_message) {
                self.language.end(half, seen, &mut talk);
            }
            let rest = &bytes[at..];
            if rest.is_empty() {
                break Verdict::Continue;
            }
            if self.language.is_raw(half) {
                self.language.raw(half, rest.len() as u64, seen.at_ns, &mut talk);
                break Verdict::Continue;
            }
            match self.language.measure(half, rest) {
                Measure::Message { head, length } if rest.len() >= head => {
                    if let Some(blanked) = &mut self.blanked {
                        blank(&self.language, talk.pairs, half, &rest[..head], (at, begun), blanked);
                    }
                    let first = match reading.kept_first.take() {
                        Some(first) if at < begun => first,
                        _ => seen,
                    };
                    let message = Message {
                        half,
                        head: &rest[..head],
                        length,
                        first,
                    };
                    reading.left = length;
                    reading.in_message = true;
                    if self.language.head(&message, &mut talk) == Verdict::Opaque {
                        break Verdict::Opaque;
                    }
                }
                Measure::Message { .. } | Measure::More if rest.len() <= MAX_HEAD => {
                    if let Some(blanked) = &mut self.blanked {
                        blank(&self.language, talk.pairs, half, rest, (at, begun), blanked);
                    }
                    if at >= begun || reading.kept_first.is_none() {
                        reading.kept_first = Some(seen);
                    }
                    reading.kept = rest.to_vec();
                    break Verdict::Continue;
                }
                _ => {
                    sink.lost(Loss::Malformed);
                    self.strays += 1;
                    self.lose(half, false, seen, sink);
                    break if self.strays >= MAX_STRAYS {
                        Verdict::Opaque
                    } else {
                        Verdict::Continue
                    };
                }
            }
        };
        let reading = self.reading(half);
        if reading.kept.is_empty() && joined.capacity() <= 1024 {
            // Its room is used again.
            joined.clear();
            reading.kept = joined;
        }
        verdict
    }
}

/// Writes a head, or its beginning, as it may be written to a file. It lies `at` bytes behind the first of those that are
/// read, of which `begun` came before this chunk.
fn blank<L: Language>(
    language: &L,
    waiting: &Pairs<L::Note>,
    half: Half,
    head: &[u8],
    (at, begun): (usize, usize),
    chunk: &mut [u8],
) {
    let mut head = head.to_vec();
    language.blank(half, &mut head, waiting);
    let earlier = begun.saturating_sub(at);
    let here = chunk
        .get_mut((at + earlier).saturating_sub(begun)..)
        .unwrap_or_default();
    for (to, from) in here.iter_mut().zip(head.get(earlier..).unwrap_or_default()) {
        *to = *from;
    }
}

#[derive(Clone, Copy)]
enum Turn {
    Same,
    /// The other half moved before, or nothing did for a while: `quiet`.
    Turned {
        quiet: bool,
    },
}

impl<L: Language> Dissector for Framed<L> {
    fn bytes(&mut self, chunk: Chunk<'_>, sink: &mut dyn Sink) -> Verdict {
        if chunk.bytes.is_empty() {
            return Verdict::Continue;
        }
        let seen = Seen::of(&chunk);
        if let Some(blanked) = &mut self.blanked {
            blanked.clear();
            blanked.extend_from_slice(chunk.bytes);
            cover(blanked);
        }
        let turn = self.turn(chunk.half, seen, sink);
        if self.language.is_raw(chunk.half) {
            let mut talk = self.pairs.talk(seen.tid, sink);
            self.language
                .raw(chunk.half, chunk.bytes.len() as u64, seen.at_ns, &mut talk);
            return Verdict::Continue;
        }
        if chunk.half == Half::Response
            && let Some(at) = &mut self.adrift
        {
            *at = seen;
            if let Some(asked) = self.talk(sink).oldest() {
                asked.answers(seen.at_ns, chunk.bytes.len() as u64);
            }
            return Verdict::Continue;
        }
        if self.reading(chunk.half).lost && !self.find_place(chunk.half, chunk.bytes, turn) {
            if chunk.half == Half::Response {
                // It may be the answer to any of them.
                self.talk(sink).end_all(Outcome::Unknown, seen.at_ns);
            }
            return Verdict::Continue;
        }
        self.read(&chunk, seen, sink)
    }

    fn gap(&mut self, gap: Gap<'_>, sink: &mut dyn Sink) -> Verdict {
        let seen = Seen::of_gap(&gap);
        self.turn(gap.half, seen, sink);
        let mut talk = self.pairs.talk(self.tid(), sink);
        if self.language.is_raw(gap.half) {
            self.language.raw(gap.half, gap.missing, seen.at_ns, &mut talk);
            return Verdict::Continue;
        }
        let reading = match gap.half {
            Half::Request => &mut self.request,
            Half::Response => &mut self.response,
        };
        if !reading.kept.is_empty() {
            // The head was cut: what is there of it has to do.
            let kept = std::mem::take(&mut reading.kept);
            if let Measure::Message { length, .. } = self.language.measure(gap.half, &kept) {
                let message = Message {
                    half: gap.half,
                    head: &kept,
                    length,
                    first: reading.kept_first.take().unwrap_or(seen),
                };
                reading.left = length.saturating_sub(kept.len() as u64);
                reading.in_message = true;
                if self.language.head(&message, &mut talk) == Verdict::Opaque {
                    return Verdict::Opaque;
                }
            } else {
                self.lose(gap.half, !gap.lost, seen, sink);
            }
        }
        let reading = self.reading(gap.half);
        let passed = reading.left.min(gap.missing);
        reading.left -= passed;
        let beyond = gap.missing - passed;
        let ended = reading.left == 0 && std::mem::take(&mut reading.in_message);
        if ended {
            let mut talk = self.pairs.talk(seen.tid, sink);
            self.language.end(gap.half, seen, &mut talk);
        }
        if beyond == 0 {
            return Verdict::Continue;
        }
        if !self.reading(gap.half).lost {
            self.lose(gap.half, !gap.lost, seen, sink);
        }
        if gap.half == Half::Response && self.adrift.is_some() {
            self.adrift = Some(seen);
            let mut talk = self.pairs.talk(seen.tid, sink);
            if let Some(asked) = talk.oldest() {
                asked.answers(seen.at_ns, beyond);
            }
            if gap.tail.is_some_and(|tail| self.language.ends_answer(tail)) {
                talk.answered(seen.at_ns);
                self.adrift = None;
                self.response.lost = false;
            }
        }
        Verdict::Continue
    }

    fn closed(&mut self, half: Option<Half>, at_ns: u64, change: Change, sink: &mut dyn Sink) {
        if let Some(half) = half {
            self.reading(half).closed_ns.get_or_insert(at_ns);
        }
        let gone = matches!(
            change,
            Change::Reset | Change::Destroyed | Change::Forgotten | Change::LocalAborted
        );
        if !gone && self.response.closed_ns.is_none() {
            return;
        }
        let (outcome, at_ns) = closed_first(self.request.closed_ns, self.response.closed_ns, at_ns);
        let adrift = self.adrift.take();
        let mut talk = self.talk(sink);
        if let Some(at) = adrift.filter(|_| outcome == Outcome::ClientAborted) {
            // It closed in good order behind an answer that was too long to be seen whole.
            talk.answered(at.at_ns);
            talk.sink.lost(Loss::FramingUnknown);
        }
        let mut talk = self.pairs.talk(self.tid(), sink);
        self.language.over(Outcome::Answered, at_ns, &mut talk);
        talk.end_all(outcome, at_ns);
    }

    fn cut(&mut self, at_ns: u64, outcome: Outcome, sink: &mut dyn Sink) {
        self.adrift = None;
        let mut talk = self.pairs.talk(self.tid(), sink);
        self.language.over(outcome, at_ns, &mut talk);
        talk.end_all(outcome, at_ns);
    }

    fn awaits(&self, half: Half) -> bool {
        let reading = match half {
            Half::Request => &self.request,
            Half::Response => &self.response,
        };
        reading.left > 0 || (half == Half::Response && self.adrift.is_some()) || self.language.is_raw(half)
    }

    fn blank(&mut self) {
        self.blanked.get_or_insert_default();
    }

    fn take_blanked(&mut self) -> Vec<u8> {
        self.blanked.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn blank_tail(&self, tail: &mut [u8]) {
        let ends = self.language.ends_answer(tail);
        for place in 0..tail.len() {
            // Where nothing was found stands 0.
            let byte = tail[place];
            cover(&mut tail[place..=place]);
            if ends && !self.language.ends_answer(tail) {
                tail[place] = byte;
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        self.pairs.heap_bytes()
            + self.request.kept.capacity()
            + self.response.kept.capacity()
            + self.language.heap_bytes()
    }
}
