//! What follows an upgrade (RFC 9110, 7.8) or stands in a tunnel: a stream of which the bytes are counted, and of
//! WebSocket the messages as far as their frames' headers are seen. HTTP/2 (RFC 7540, 3.2) goes on in a dissector of its own.

use super::super::websocket::Frames;
use super::{Dissector as _, Half, Http1, Seen};
use crate::event::Change;
use crate::exchange::{Outcome, Sink, StreamEnded, StreamKind, StreamMoved, Ticket};

/// A connection that was upgraded.
#[derive(Debug)]
pub(super) struct Upgraded {
    ticket: Ticket,
    /// Of WebSocket: the client's and the server's frames.
    frames: Option<[Frames; 2]>,
}

/// What went by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Went<'a> {
    Bytes(&'a [u8]),
    /// So many, not captured.
    Unseen(u64),
}

impl Upgraded {
    pub(super) fn new(ticket: Ticket, kind: StreamKind) -> Self {
        let frames = (kind == StreamKind::WebSocket).then(|| [Frames::new(true), Frames::new(false)]);
        Self { ticket, frames }
    }
}

impl Http1 {
    /// Bytes of an upgraded connection.
    pub(super) fn upgraded(&mut self, half: Half, went: Went<'_>, seen: Seen, sink: &mut dyn Sink) {
        if let (Some(next), Went::Bytes(bytes)) = (&mut self.next, went) {
            next.bytes(seen.chunk(half, bytes), sink); // nothing is missing yet: it is what came with the head
            return;
        }
        let Some(upgraded) = &mut self.upgraded else { return };
        let place = usize::from(half == Half::Response);
        let messages = upgraded.frames.as_mut().and_then(|frames| match went {
            Went::Bytes(bytes) => frames[place].feed(bytes),
            Went::Unseen(missing) => frames[place].skip(missing),
        });
        if messages.is_none() {
            upgraded.frames = None; // half of the count is no count
        }
        let mut bytes = [0; 2];
        bytes[place] = match went {
            Went::Bytes(bytes) => bytes.len() as u64,
            Went::Unseen(missing) => missing,
        };
        let moved = StreamMoved {
            at_ns: seen.at_ns,
            request_bytes: bytes[0],
            response_bytes: bytes[1],
            messages: messages.map(|messages| {
                let mut both = [0; 2];
                both[place] = messages;
                both
            }),
        };
        sink.stream_moved(upgraded.ticket, &moved);
    }

    /// One side said all: the other one may go on.
    pub(super) fn upgraded_closed(&mut self, half: Option<Half>, at_ns: u64, change: Change, sink: &mut dyn Sink) {
        let outcome = match (change, half) {
            (Change::Reset | Change::LocalAborted, Some(Half::Request)) => Outcome::ClientAborted,
            (Change::Reset | Change::LocalAborted, Some(Half::Response)) => Outcome::ServerClosed,
            (Change::Reset | Change::LocalAborted, None) => Outcome::Unknown,
            (Change::Destroyed, _) => Outcome::Answered,
            _ if self.request_closed_ns.is_some() && self.response_closed_ns.is_some() => Outcome::Answered,
            _ => return,
        };
        self.upgraded_ends(outcome, at_ns, sink);
    }

    pub(super) fn upgraded_ends(&mut self, outcome: Outcome, at_ns: u64, sink: &mut dyn Sink) {
        if let Some(upgraded) = self.upgraded.take() {
            let ended = StreamEnded {
                outcome,
                status: None,
                at_ns,
            };
            sink.stream_ended(upgraded.ticket, &ended);
            self.opaque = true;
        }
    }
}
