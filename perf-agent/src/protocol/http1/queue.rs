//! Requests that wait for their responses, in order. Nearly always one: it lies in place, more go to the heap.

use std::collections::VecDeque;

use crate::exchange::Ticket;

/// More requests in flight on one connection are not kept.
pub(super) const MAX_PENDING: usize = 256;

/// What of a method decides about the response's framing (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    pub(super) method: Method,
    /// It asked for `100 Continue` and was not told so yet, and no byte of its body was seen.
    pub(super) holds_body: bool,
    pub(super) arrival_ns: Option<u64>,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) bytes: u64,
}

/// Requests in flight.
#[derive(Debug, Default)]
pub(super) struct Queue {
    front: Option<Pending>,
    rest: VecDeque<Pending>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        usize::from(self.front.is_some()) + self.rest.len()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_none()
    }
    pub(super) fn front_mut(&mut self) -> Option<&mut Pending> {
        self.front.as_mut()
    }
    pub(super) fn back_mut(&mut self) -> Option<&mut Pending> {
        self.rest.back_mut().or(self.front.as_mut())
    }
    pub(super) fn push(&mut self, pending: Pending) {
        if self.front.is_none() {
            self.front = Some(pending);
        } else {
            self.rest.push_back(pending);
        }
    }
    pub(super) fn pop(&mut self) -> Option<Pending> {
        std::mem::replace(&mut self.front, self.rest.pop_front())
    }
    pub(super) fn heap_bytes(&self) -> usize {
        self.rest.capacity() * size_of::<Pending>()
    }
}
