//! Protocols: the page to read before writing one.
//!
//! A [`Dissector`] is fed one connection's bytes in order, as they were captured, and told of what is missing. It pairs
//! requests with responses and reports to a [`Sink`]. It never waits, never panics, keeps a bounded amount of memory,
//! and never allocates by a length it read: everything it is fed was sent by somebody else.
//!
//! Three properties hold for every dissector, and live once, in this module's tests:
//! any chunking of the same bytes gives the same exchanges (their times aside); any bytes at all end without panic and
//! within a memory bound; after any gap it recovers or stops honestly.
//!
//! Adding a protocol: one file, one line in [`PROTOCOLS`], one fuzz target, one recording.

mod cached;
pub mod client_hello;
pub mod dns;
mod framed;
pub mod http1;
pub mod http2;
pub mod kafka;
pub mod memcached;
pub mod mongodb;
pub mod mysql;
pub mod postgres;
#[cfg(test)]
pub(crate) mod recorder;
pub mod redis;
pub mod sql;
#[cfg(test)]
mod tests;
mod websocket;
mod words;

use std::ops::{Deref, DerefMut};

pub(crate) use self::framed::cover;
use crate::event::{Change, Direction};
use crate::exchange::{Outcome, Protocol, Sink};

/// Bytes of one half of the conversation, in order.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Which half.
    pub half: Half,
    /// The bytes; may be empty.
    pub bytes: &'a [u8],
    /// When they had moved.
    pub at_ns: u64,
    /// When the oldest of them became readable in the socket, if known (received only).
    pub arrival_ns: Option<u64>,
    /// Process that moved them.
    pub tgid: u32,
    /// Thread that moved them.
    pub tid: u32,
}

/// Bytes of one half that exist but were not captured.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    /// Which half.
    pub half: Half,
    /// How many.
    pub missing: u64,
    /// The last bytes of them, where the kernel side kept them (at most 8).
    pub tail: Option<&'a [u8]>,
    /// When the last of them had moved.
    pub at_ns: u64,
    /// True if records were lost; false if the kernel side left the bytes out on purpose.
    pub lost: bool,
    /// Process that moved them; of lost bytes, the next ones.
    pub tgid: u32,
    /// Thread that moved them, likewise.
    pub tid: u32,
}

/// When and by whom bytes were moved.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at_ns: u64,
    arrival_ns: Option<u64>,
    tgid: u32,
    tid: u32,
}

impl Seen {
    fn of(chunk: &Chunk<'_>) -> Self {
        Self {
            at_ns: chunk.at_ns,
            arrival_ns: chunk.arrival_ns,
            tgid: chunk.tgid,
            tid: chunk.tid,
        }
    }

    /// As it came.
    fn chunk(self, half: Half, bytes: &[u8]) -> Chunk<'_> {
        Chunk {
            half,
            bytes,
            at_ns: self.at_ns,
            arrival_ns: self.arrival_ns,
            tgid: self.tgid,
            tid: self.tid,
        }
    }

    fn of_gap(gap: &Gap<'_>) -> Self {
        Self {
            at_ns: gap.at_ns,
            arrival_ns: None,
            tgid: gap.tgid,
            tid: gap.tid,
        }
    }
}

/// What became of exchanges that were not answered when each half's sender closed, if it did: by who did first, and when.
fn closed_first(request_ns: Option<u64>, response_ns: Option<u64>, at_ns: u64) -> (Outcome, u64) {
    match (request_ns, response_ns) {
        (Some(client), Some(server)) if server < client => (Outcome::ServerClosed, server),
        (Some(client), _) => (Outcome::ClientAborted, client),
        (None, Some(server)) => (Outcome::ServerClosed, server),
        (None, None) => (Outcome::Unknown, at_ns),
    }
}

/// One half of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// From client to server.
    Request,
    /// From server to client.
    Response,
}

/// What to do with the connection's further bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Nothing of interest will follow (another protocol, or lost for good): the kernel side may be told.
    Opaque,
}

/// One connection's conversation.
pub trait Dissector: Send + std::fmt::Debug {
    /// The next bytes.
    fn bytes(&mut self, chunk: Chunk<'_>, sink: &mut dyn Sink) -> Verdict;
    /// The next bytes are missing.
    fn gap(&mut self, gap: Gap<'_>, sink: &mut dyn Sink) -> Verdict;
    /// One side closed or the connection ended. `half` is the half whose sender did it, `None` if that is not known.
    /// After [`Change::PeerClosed`], [`Change::LocalClosed`] and [`Change::LocalAborted`] no more bytes of a response come if its sender closed;
    /// a request's bytes may still be read then. After [`Change::Reset`] and [`Change::Destroyed`] nothing comes.
    fn closed(&mut self, half: Option<Half>, at_ns: u64, change: Change, sink: &mut dyn Sink);
    /// Observation ends here (agent stops, connection evicted): what is in flight is `cut` or `unknown`.
    fn cut(&mut self, at_ns: u64, outcome: Outcome, sink: &mut dyn Sink);
    /// True while a message of this half is under way that goes on behind its head.
    fn awaits(&self, half: Half) -> bool;
    /// From now on, of each chunk is made what may be written to a file; for those of [`framed`].
    fn blank(&mut self) {}
    /// The chunk that came last without what is not needed to follow the conversation, byte for byte; empty if none came
    /// since it was asked for.
    fn take_blanked(&mut self) -> Vec<u8> {
        Vec::new()
    }
    /// The same of the last bytes of what was not captured.
    fn blank_tail(&self, _tail: &mut [u8]) {}
    /// Heap bytes held beyond the struct itself, for the memory bound.
    fn heap_bytes(&self) -> usize;
}

/// A segment that may be the beginning of a message.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// Its first bytes, as many as were captured; at least one.
    pub bytes: &'a [u8],
    /// Its bytes.
    pub length: u32,
    /// Which way it went.
    pub direction: Direction,
    /// Nothing went before, in neither direction.
    pub first: bool,
}

/// A protocol's entry: how to recognise it and how to follow it.
#[derive(Debug)]
pub struct ProtocolEntry {
    /// Name for logs.
    pub name: &'static str,
    /// Could a message begin like this? If so, which direction requests go.
    pub detect: fn(beginning: &Beginning<'_>) -> Option<Direction>,
    /// A dissector for a new connection. `from_start`: nothing went before.
    pub dissector: fn(from_start: bool) -> AnyDissector,
}

/// A dissector in place: it lies with its connection, not somewhere else. Every connection takes the room of the largest
/// one, so a protocol keeps on the heap what not every message needs.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most connections are in the large one")]
pub enum AnyDissector {
    /// See [`http1`].
    Http1(http1::Http1),
    /// See [`http2`]. Few connections carry many exchanges.
    Http2(Box<http2::Http2>),
    /// See [`framed`]. Behind a pointer, since their connections are few, too.
    Framed(Box<dyn Dissector>),
}

impl Deref for AnyDissector {
    type Target = dyn Dissector;

    #[inline]
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Http1(dissector) => dissector,
            Self::Http2(dissector) => &**dissector,
            Self::Framed(dissector) => &**dissector,
        }
    }
}

impl DerefMut for AnyDissector {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Http1(dissector) => dissector,
            Self::Http2(dissector) => &mut **dissector,
            Self::Framed(dissector) => &mut **dissector,
        }
    }
}

/// Does an exchange of this operation wait for something to happen, so that its time says nothing of the server? A blocking
/// command, a long poll.
pub fn waits(protocol: Protocol, operation: &str) -> bool {
    match protocol {
        Protocol::Redis => redis::is_blocking(operation),
        Protocol::Mongodb => mongodb::is_await(operation),
        Protocol::Kafka => kafka::waits(operation),
        _ => false,
    }
}

/// All protocols, in the order in which they are asked.
pub const PROTOCOLS: &[ProtocolEntry] = &[
    http2::ENTRY,
    redis::ENTRY,
    memcached::ENTRY,
    mongodb::ENTRY,
    mysql::ENTRY,
    postgres::ENTRY,
    dns::ENTRY,
    kafka::ENTRY,
    http1::ENTRY,
];
