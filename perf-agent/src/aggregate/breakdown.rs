//! Where the time of a server's requests went: its own, and that of the calls that they caused.

use super::distribution::Distribution;
use super::packing::{Reader, put};
use crate::attribution::{Share, Shares};
use crate::exchange::Class;

/// Endpoints that are told apart among those that one endpoint calls in one stretch of time.
const DOWNSTREAM: usize = 64;
/// A request that calls one endpoint so often does it in a loop: it could ask once for all.
pub const REPEATED: u32 = 10;

/// Sums of one endpoint in one stretch of time. Requests count from its process's first call on; those that were not
/// answered do not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Breakdown {
    /// Of each request: the time in which it waited for no call.
    pub own: Distribution,
    /// Of each request: the time in which it waited for calls, in the order of [`Class::ALL`].
    pub classes: [Distribution; Class::ALL.len()],
    /// Calls, likewise.
    pub calls: [u64; Class::ALL.len()],
    /// Calls that may have been of these requests, or of others at the same time.
    pub ambiguous: u64,
    /// The endpoints called, by id.
    pub downstream: Vec<Downstream>,
}

/// An endpoint that was called while serving requests of another one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Downstream {
    /// Its id, see [`crate::endpoint::EndpointKey::id`].
    pub endpoint: u64,
    /// Calls.
    pub calls: u64,
    /// Most calls of one request.
    pub most: u32,
    /// Requests with [`REPEATED`] calls or more.
    pub repeated: u64,
    /// Of each request that called it: the sum of its calls' times.
    pub time: Distribution,
}

impl Breakdown {
    /// Requests.
    pub fn requests(&self) -> u64 {
        self.own.count()
    }

    /// All calls that are known to be of these requests.
    pub fn attributed(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// Adds what one request's time was spent on.
    pub(super) fn add(&mut self, shares: &Shares, ambiguous: u32) {
        self.own.record(shares.own_ns);
        self.ambiguous += u64::from(ambiguous);
        for (class, time_ns) in self.classes.iter_mut().zip(shares.class_ns) {
            class.record(time_ns);
        }
        for (sum, calls) in self.calls.iter_mut().zip(shares.calls) {
            *sum += u64::from(calls);
        }
        for share in &shares.endpoints {
            if let Some(downstream) = self.of(share.endpoint) {
                downstream.add(share);
            }
        }
    }

    fn of(&mut self, endpoint: u64) -> Option<&mut Downstream> {
        match self
            .downstream
            .binary_search_by_key(&endpoint, |downstream| downstream.endpoint)
        {
            Ok(place) => Some(&mut self.downstream[place]),
            Err(_) if self.downstream.len() >= DOWNSTREAM => None,
            Err(place) => {
                let downstream = Downstream {
                    endpoint,
                    ..Downstream::default()
                };
                self.downstream.insert(place, downstream);
                Some(&mut self.downstream[place])
            }
        }
    }

    /// Adds another stretch's sums.
    pub fn merge(&mut self, other: &Self) {
        self.own.merge(&other.own);
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.calls.iter_mut().zip(other.calls) {
            *mine += theirs;
        }
        self.ambiguous += other.ambiguous;
        for theirs in &other.downstream {
            if let Some(mine) = self.of(theirs.endpoint) {
                mine.calls += theirs.calls;
                mine.most = mine.most.max(theirs.most);
                mine.repeated += theirs.repeated;
                mine.time.merge(&theirs.time);
            }
        }
    }

    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        self.own.pack(out);
        self.classes.iter().for_each(|class| class.pack(out));
        self.calls.iter().for_each(|&calls| put(out, calls.into()));
        put(out, self.ambiguous.into());
        put(out, self.downstream.len() as u128);
        for downstream in &self.downstream {
            downstream.pack(out);
        }
    }

    pub(super) fn unpack(reader: &mut Reader<'_>) -> Self {
        Self {
            own: Distribution::unpack(reader),
            classes: std::array::from_fn(|_| Distribution::unpack(reader)),
            calls: std::array::from_fn(|_| reader.count()),
            ambiguous: reader.count(),
            downstream: (0..reader.things(DOWNSTREAM))
                .map(|_| Downstream::unpack(reader))
                .collect(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.own.heap_bytes()
            + self.classes.iter().map(Distribution::heap_bytes).sum::<usize>()
            + self.downstream.capacity() * size_of::<Downstream>()
            + self
                .downstream
                .iter()
                .map(|downstream| downstream.time.heap_bytes())
                .sum::<usize>()
    }
}

impl Downstream {
    fn add(&mut self, share: &Share) {
        self.calls += u64::from(share.calls);
        self.most = self.most.max(share.calls);
        self.repeated += u64::from(share.calls >= REPEATED);
        self.time.record(share.time_ns);
    }

    fn pack(&self, out: &mut Vec<u8>) {
        // As it is: it is a hash.
        out.extend(self.endpoint.to_le_bytes());
        self.time.pack(out);
        // Most endpoints are called once by whoever calls them.
        let again = self.calls.saturating_sub(self.time.count());
        put(out, again.into());
        if again > 0 {
            put(out, self.most.into());
            put(out, self.repeated.into());
        }
    }

    fn unpack(reader: &mut Reader<'_>) -> Self {
        let endpoint = u64::from_le_bytes(std::array::from_fn(|_| reader.byte()));
        let time = Distribution::unpack(reader);
        let again = reader.count();
        let (most, repeated) = if again > 0 {
            (reader.u32(), reader.count())
        } else {
            (u32::from(time.count() > 0), 0)
        };
        Self {
            endpoint,
            calls: time.count().saturating_add(again),
            most,
            repeated,
            time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compact_form_gives_everything_back() {
        let share = |endpoint: u64, calls, time_ns| Share {
            endpoint,
            calls,
            time_ns,
        };
        let mut breakdown = Breakdown::default();
        for endpoints in [
            vec![],
            vec![share(u64::MAX, 1, 5)],
            vec![share(1, 12, 7_000), share(2, 1, 9_000)],
            vec![share(2, 1, 9_001)],
        ] {
            let shares = Shares {
                own_ns: 17,
                class_ns: std::array::from_fn(|class| class as u64 * 1000),
                calls: [2; Class::ALL.len()],
                endpoints,
            };
            breakdown.add(&shares, 3);
        }
        let mut bytes = Vec::new();
        breakdown.pack(&mut bytes);
        assert_eq!(Breakdown::unpack(&mut Reader::new(&bytes)), breakdown);
        let repeats = breakdown
            .downstream
            .iter()
            .map(|called| (called.calls, called.most, called.repeated));
        assert_eq!(repeats.collect::<Vec<_>>(), [(12, 12, 1), (2, 1, 0), (1, 1, 0)]);
    }
}
