//! Invocations of one function that the operator chose, in rolling windows: how many, how long, and while which endpoint's
//! requests were served.

use std::sync::Arc;

use super::distribution::Distribution;
use super::packing::{Reader, put};
use super::window::{Closed, History, Size, Stretch, Window};

/// Endpoints that are told apart among those whose requests call one function; what others call is in the sums only.
const ENDPOINTS: usize = 64;

/// Sums of one stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Invocations {
    /// Those that returned.
    pub calls: u64,
    /// How long they took, as far as that is known.
    pub duration: Distribution,
    /// Those made while a request was served, by the id of the request's endpoint.
    pub inside: Vec<Inside>,
    /// Those made while one of several requests was served, and it is not known which.
    pub ambiguous: u64,
}

/// Invocations made while an endpoint's requests were served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// See [`crate::endpoint::EndpointKey::id`].
    pub endpoint: u64,
    /// Requests that made any.
    pub requests: u64,
    /// Invocations.
    pub calls: u64,
    /// The sum of their times; of a function that calls itself each one counts.
    pub time_ns: u64,
}

impl Invocations {
    fn of(&mut self, endpoint: u64) -> Option<&mut Inside> {
        match self.inside.binary_search_by_key(&endpoint, |inside| inside.endpoint) {
            Ok(place) => Some(&mut self.inside[place]),
            Err(_) if self.inside.len() >= ENDPOINTS => None,
            Err(place) => {
                let inside = Inside {
                    endpoint,
                    ..Inside::default()
                };
                self.inside.insert(place, inside);
                Some(&mut self.inside[place])
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.calls == 0 && self.inside.is_empty() && self.ambiguous == 0
    }

    fn add(&mut self, other: &Inside) {
        if let Some(mine) = self.of(other.endpoint) {
            mine.requests += other.requests;
            mine.calls += other.calls;
            mine.time_ns = mine.time_ns.saturating_add(other.time_ns);
        }
    }
}

impl Stretch for Invocations {
    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.duration.merge(&other.duration);
        self.ambiguous += other.ambiguous;
        other.inside.iter().for_each(|inside| self.add(inside));
    }

    fn pack(&self) -> Closed {
        let mut out = Vec::new();
        put(&mut out, self.calls.into());
        put(&mut out, self.ambiguous.into());
        self.duration.pack(&mut out);
        put(&mut out, self.inside.len() as u128);
        for inside in &self.inside {
            for value in [inside.endpoint, inside.requests, inside.calls, inside.time_ns] {
                put(&mut out, value.into());
            }
        }
        Arc::from(out)
    }

    fn unpack(bytes: &[u8]) -> Self {
        let reader = &mut Reader::new(bytes);
        Self {
            calls: reader.u64(),
            ambiguous: reader.u64(),
            duration: Distribution::unpack(reader),
            inside: (0..reader.u64().min(ENDPOINTS as u64))
                .map(|_| Inside {
                    endpoint: reader.u64(),
                    requests: reader.u64(),
                    calls: reader.u64(),
                    time_ns: reader.u64(),
                })
                .collect(),
        }
    }
}

/// One function's invocations, as they go on.
#[derive(Clone, Debug, Default)]
pub struct FunctionAggregate {
    now_ns: u64,
    running: Invocations,
    history: History<Invocations>,
}

impl FunctionAggregate {
    /// An invocation returned at this moment, after so long, if that is known.
    pub fn returned(&mut self, at_ns: u64, took_ns: Option<u64>) {
        self.advance(at_ns);
        self.running.calls += 1;
        if let Some(took_ns) = took_ns {
            self.running.duration.record(took_ns);
        }
    }

    /// A request was answered at this moment, and so much was called for it.
    pub fn answered(&mut self, at_ns: u64, inside: &Inside) {
        self.advance(at_ns);
        self.running.add(inside);
    }

    /// One of several requests had it called.
    pub fn ambiguous(&mut self) {
        self.running.ambiguous += 1;
    }

    /// Time went on.
    pub fn advance(&mut self, at_ns: u64) {
        if at_ns <= self.now_ns {
            return;
        }
        let from_ns = std::mem::replace(&mut self.now_ns, at_ns);
        if Size::TenSeconds.number(from_ns) == Size::TenSeconds.number(at_ns) {
            return;
        }
        if !self.running.is_empty() {
            self.history
                .close(Size::TenSeconds.number(from_ns), &std::mem::take(&mut self.running));
        }
        self.history.roll(from_ns, at_ns);
    }

    /// The sums of a window that ends now.
    pub fn window(&self, window: Window) -> Invocations {
        let mut sum = self.running.clone();
        for closed in self.history.of_window(window, self.now_ns) {
            sum.merge(&Invocations::unpack(closed));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::window::SECOND_NS;

    #[test]
    fn a_window_holds_what_its_time_does() {
        let mut aggregate = FunctionAggregate::default();
        let inside = |endpoint, calls| Inside {
            endpoint,
            requests: 1,
            calls,
            time_ns: 10 * calls,
        };
        for second in 1..=600u64 {
            aggregate.returned(second * SECOND_NS, Some(second));
            aggregate.answered(second * SECOND_NS, &inside(second % 2, 3));
        }
        aggregate.returned(600 * SECOND_NS, None);
        aggregate.ambiguous();
        aggregate.advance(601 * SECOND_NS);
        let all = aggregate.window(Window::Start);
        assert_eq!((all.calls, all.duration.count(), all.ambiguous), (601, 600, 1));
        assert_eq!(all.inside, [inside_sum(0, 300), inside_sum(1, 300)]);
        let minute = aggregate.window(Window::Minute);
        assert_eq!((minute.calls, minute.duration.count()), (62, 61), "from 540 s on");
        assert_eq!(minute.duration.summary().map(|summary| summary.min_ns), Some(540));
        assert_eq!(Invocations::unpack(&all.pack()), all);
    }

    fn inside_sum(endpoint: u64, requests: u64) -> Inside {
        Inside {
            endpoint,
            requests,
            calls: 3 * requests,
            time_ns: 30 * requests,
        }
    }
}
