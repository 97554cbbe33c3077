//! What went on behind answers: WebSocket connections, server-sent events, tunnels, streaming calls. A class of its own: an
//! hour of a chat is no response time.

use super::distribution::Distribution;
use super::packing::{Reader, put};
use crate::exchange::{Role, StreamMoved};

/// Streams of one endpoint in one stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Streams {
    /// Begun.
    pub opened: u64,
    /// Ended.
    pub closed: u64,
    /// Of them, with an error of the server: a gRPC code other than OK, or an end before the stream's.
    pub errors: u64,
    /// Bytes that the process received in them, also in those that are open.
    pub bytes_received: u64,
    /// See `bytes_received`.
    pub bytes_sent: u64,
    /// Messages, likewise.
    pub messages_received: u64,
    /// See `messages_received`.
    pub messages_sent: u64,
    /// Bytes went by of which the messages could not be counted.
    pub uncounted: bool,
    /// From the response's head to the end, of those that ended.
    pub duration: Distribution,
}

impl Streams {
    /// Messages received and sent, if all of them could be counted.
    pub fn messages(&self) -> Option<[u64; 2]> {
        (!self.uncounted).then_some([self.messages_received, self.messages_sent])
    }

    pub(super) fn moved(&mut self, role: Role, moved: &StreamMoved) {
        let order = |[request, response]: [u64; 2]| match role {
            Role::Server => [request, response],
            Role::Client => [response, request],
        };
        let [received, sent] = order([moved.request_bytes, moved.response_bytes]);
        self.bytes_received = self.bytes_received.saturating_add(received);
        self.bytes_sent = self.bytes_sent.saturating_add(sent);
        match moved.messages.map(order) {
            Some([received, sent]) => {
                self.messages_received += received;
                self.messages_sent += sent;
            }
            None => self.uncounted = true,
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.errors += other.errors;
        self.bytes_received = self.bytes_received.saturating_add(other.bytes_received);
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
        self.messages_received += other.messages_received;
        self.messages_sent += other.messages_sent;
        self.uncounted |= other.uncounted;
        self.duration.merge(&other.duration);
    }

    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        for value in [
            self.opened,
            self.closed,
            self.errors,
            self.bytes_received,
            self.bytes_sent,
            self.messages_received,
            self.messages_sent,
            self.uncounted.into(),
        ] {
            put(out, value.into());
        }
        self.duration.pack(out);
    }

    pub(super) fn unpack(reader: &mut Reader<'_>) -> Self {
        Self {
            opened: reader.count(),
            closed: reader.count(),
            errors: reader.count(),
            bytes_received: reader.u64(),
            bytes_sent: reader.u64(),
            messages_received: reader.count(),
            messages_sent: reader.count(),
            uncounted: reader.u64() != 0,
            duration: Distribution::unpack(reader),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.duration.heap_bytes()
    }
}
