//! What a request's time was spent on.

use super::Served;
use crate::exchange::Class;

/// A call that a request caused, from the first byte asked to the last byte answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it began.
    pub begin_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Whom it went to.
    pub class: Class,
    /// The endpoint's id, see [`crate::endpoint::EndpointKey::id`].
    pub endpoint: u64,
}

/// The calls of one request to one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The endpoint's id.
    pub endpoint: u64,
    /// How many.
    pub calls: u32,
    /// The sum of their times; of calls at the same time more than went by.
    pub time_ns: u64,
}

/// Where a request's time went, in sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// See [`Shares`].
    pub own_ns: u64,
    /// See [`Shares`].
    pub class_ns: [u64; Class::ALL.len()],
    /// See [`Shares`].
    pub calls: [u32; Class::ALL.len()],
    /// Calls that may have been its own.
    pub ambiguous: u32,
}

/// Where a request's time went. Its own time and that of the classes together are its response time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Time in which it waited for no call.
    pub own_ns: u64,
    /// Time in which it waited for calls, by class, in the order of [`Class::ALL`]. Of calls at the same time the one that
    /// began first has it.
    pub class_ns: [u64; Class::ALL.len()],
    /// Calls, likewise.
    pub calls: [u32; Class::ALL.len()],
    /// By endpoint, in no order.
    pub endpoints: Vec<Share>,
}

impl Shares {
    /// In sum.
    pub fn spent(&self, ambiguous: u32) -> Spent {
        Spent {
            own_ns: self.own_ns,
            class_ns: self.class_ns,
            calls: self.calls,
            ambiguous,
        }
    }
}

impl Served {
    /// Where the time of this request went, which came at `begin_ns` and whose answer ended at `end_ns`.
    pub fn shares(&mut self, begin_ns: u64, end_ns: u64) -> Shares {
        let mut shares = Shares {
            own_ns: 0,
            class_ns: [0; Class::ALL.len()],
            calls: [0; Class::ALL.len()],
            endpoints: Vec::new(),
        };
        self.calls.sort_unstable_by_key(|call| (call.begin_ns, call.end_ns));
        let mut covered_ns = begin_ns;
        for call in &self.calls {
            let end = call.end_ns.min(end_ns);
            let class = call.class as usize;
            shares.class_ns[class] += end.saturating_sub(call.begin_ns.max(covered_ns));
            shares.calls[class] += 1;
            covered_ns = covered_ns.max(end);
            let time_ns = call.end_ns.saturating_sub(call.begin_ns);
            match shares
                .endpoints
                .iter_mut()
                .find(|share| share.endpoint == call.endpoint)
            {
                Some(share) => {
                    share.calls += 1;
                    share.time_ns += time_ns;
                }
                None => shares.endpoints.push(Share {
                    endpoint: call.endpoint,
                    calls: 1,
                    time_ns,
                }),
            }
        }
        let waited: u64 = shares.class_ns.iter().sum();
        shares.own_ns = end_ns.saturating_sub(begin_ns).saturating_sub(waited);
        shares
    }
}
