//! Databases, caches and brokers in recordings: a connection is followed as the core follows it, and written without what
//! the core does not look at. What is in no message is written as nothing.

use crate::event::{Direction, Segment};
use crate::exchange::{Ended, Loss, Request, Sink, StreamEnded, StreamMoved, Ticket};
use crate::protocol::{AnyDissector, Beginning, PROTOCOLS, Verdict, cover};
use crate::stream::Flow;
use crate::stream::connection::{feed, half_of};

/// One connection that speaks a protocol which is not HTTP.
#[derive(Debug)]
pub(super) struct Conversation {
    requests: Direction,
    flows: [Flow; 2],
    dissector: AnyDissector,
    /// Nothing that follows is understood.
    over: bool,
}

impl Conversation {
    /// Does one begin with this segment? `first`: nothing went before.
    pub(super) fn begins(segment: &Segment<'_>, first: bool) -> Option<Self> {
        let bytes = segment.beginning();
        if bytes.is_empty() {
            return None;
        }
        let beginning = Beginning {
            bytes,
            length: segment.length,
            direction: segment.direction,
            first,
        };
        let detect =
            |protocol: &crate::protocol::ProtocolEntry| Some(((protocol.detect)(&beginning)?, protocol.dissector));
        let (requests, dissector) = PROTOCOLS.iter().find_map(detect)?;
        let mut dissector = dissector(first);
        if !matches!(dissector, AnyDissector::Framed(_)) {
            return None;
        }
        dissector.blank();
        Some(Self {
            requests,
            flows: [Flow::default(); 2],
            dissector,
            over: false,
        })
    }

    /// What may be written of a segment: its bytes, and the last ones of those that were not captured.
    pub(super) fn blank(&mut self, segment: &Segment<'_>) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = segment.bytes.to_vec();
        let mut tail = segment.tail.unwrap_or_default().to_vec();
        cover(&mut bytes);
        if self.over {
            cover(&mut tail);
            return (bytes, tail);
        }
        let half = half_of(segment.direction, self.requests);
        let flow = &mut self.flows[usize::from(segment.direction == Direction::Sent)];
        self.over = feed(segment, half, flow, &mut *self.dissector, &mut Nobody) == Verdict::Opaque;
        let news = self.dissector.take_blanked();
        let told_before = bytes.len().saturating_sub(news.len());
        for (to, from) in bytes[told_before..].iter_mut().zip(news) {
            *to = from;
        }
        self.dissector.blank_tail(&mut tail);
        (bytes, tail)
    }
}

/// Nothing is counted here.
struct Nobody;

impl Sink for Nobody {
    fn opened(&mut self, _: &Request<'_>) -> Ticket {
        Ticket(0)
    }
    fn ended(&mut self, _: Ticket, _: &Ended) {}
    fn stream_moved(&mut self, _: Ticket, _: &StreamMoved) {}
    fn stream_ended(&mut self, _: Ticket, _: &StreamEnded) {}
    fn lost(&mut self, _: Loss) {}
}
