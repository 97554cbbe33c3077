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
    /// Its answer goes on as a stream: bytes of request and answer that were told of.
    pub(super) stream: Option<Box<[u64; 2]>>,
}

/// Requests in flight.
#[derive(Debug, Default)]
pub(super) struct Queue {
    front: Option<Pending>,
    #[expect(
        clippy::box_collection,
        reason = "nearly always there is none: it is to take no room in place"
    )]
    rest: Option<Box<VecDeque<Pending>>>,
}

impl Queue {
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.front.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_none()
    }
    pub(super) fn front_mut(&mut self) -> Option<&mut Pending> {
        self.front.as_mut()
    }
    pub(super) fn front(&self) -> Option<&Pending> {
        self.front.as_ref()
    }
    pub(super) fn back_mut(&mut self) -> Option<&mut Pending> {
        let last = self.rest.as_mut().and_then(|rest| rest.back_mut());
        last.or(self.front.as_mut())
    }
    pub(super) fn push(&mut self, pending: Pending) {
        if self.front.is_none() {
            self.front = Some(pending);
        } else {
            self.rest.get_or_insert_default().push_back(pending);
        }
    }
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        std::mem::replace(&mut self.front, next)
    }
    pub(super) fn heap_bytes(&self) -> usize {
        let heap = |rest: &VecDeque<Pending>| size_of_val(rest) + rest.capacity() * size_of::<Pending>();
        self.rest.as_ref().map_or(0, |rest| heap(rest))
    }
}
