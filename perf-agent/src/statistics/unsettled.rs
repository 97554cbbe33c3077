//! Requests that were answered before it was known which calls were theirs: where their time went is told once it is.

use crate::attribution::{Inbound, Served, Shares, Spent, Task};

/// Requests that wait; of more, what is known at once is told.
const WAITING: usize = 1024;
/// So long after its answer a request waits no more for what may still be found out.
const WAITS_NS: u64 = 1_000_000_000;
/// Pause between two looks at them.
const PAUSE_NS: u64 = 20_000_000;

/// One that was answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) inbound: Inbound,
    /// Who answered it.
    pub(super) task: Task,
    /// From its first byte to the last one of its answer.
    pub(super) since_ns: u64,
    pub(super) until_ns: u64,
    pub(super) endpoint: u32,
    /// It counts in the total.
    pub(super) in_total: bool,
    /// The number that it has as an exchange.
    pub(super) number: u64,
    /// What is known of its calls.
    pub(super) served: Served,
}

impl Answered {
    /// Where its time went, as far as is known; so many calls more may be its own.
    pub(super) fn spent(&mut self, possible: u32) -> (Shares, Spent) {
        let shares = self.served.shares(self.since_ns, self.until_ns);
        let spent = shares.spent(self.served.ambiguous().saturating_add(possible));
        (shares, spent)
    }
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    all: Vec<Answered>,
    looked_ns: u64,
}

impl Unsettled {
    /// Keeps one. Gives it back if there is no room.
    pub(super) fn keep(&mut self, answered: Answered) -> Option<Answered> {
        if self.all.len() >= WAITING {
            return Some(answered);
        }
        self.all.push(answered);
        None
    }

    /// What is known of one's calls.
    pub(super) fn served(&mut self, inbound: Inbound) -> Option<&mut Served> {
        let mut all = self.all.iter_mut();
        all.find(|answered| answered.inbound == inbound)
            .map(|answered| &mut answered.served)
    }

    /// Is it time to look whether some are settled?
    #[inline]
    pub(super) fn is_due(&self, at_ns: u64) -> bool {
        !self.all.is_empty() && at_ns.saturating_sub(self.looked_ns) >= PAUSE_NS
    }

    /// Takes out those that have waited long enough, or wait for nothing any more.
    pub(super) fn take(&mut self, at_ns: u64, mut is_open: impl FnMut(&Answered) -> bool) -> Vec<Answered> {
        self.looked_ns = at_ns;
        let (waiting, settled) = std::mem::take(&mut self.all)
            .into_iter()
            .partition(|answered| at_ns.saturating_sub(answered.until_ns) < WAITS_NS && is_open(answered));
        self.all = waiting;
        settled
    }

    /// Endpoints were merged: `moved` gives the new number of each old one.
    pub(super) fn moved(&mut self, moved: &[u32]) {
        for answered in &mut self.all {
            answered.endpoint = moved[answered.endpoint as usize];
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.all.capacity() * size_of::<Answered>()
            + self
                .all
                .iter()
                .map(|answered| answered.served.heap_bytes())
                .sum::<usize>()
    }
}
