//! The request log: the newest exchanges, and the slowest ones of the last hour.
//!
//! Every exchange passes through, at any rate: its texts change places with those of the oldest one, so nothing is
//! allocated. What outputs read is made of the newest ones when a snapshot is taken.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::text::Text;
use crate::attribution::Spent;
use crate::endpoint::EndpointKey;
use crate::exchange::{Ended, Outcome};
use crate::snapshot::{LoggedExchange, RequestLog};

/// Length of the periods of which the slowest exchanges are kept apart, and how many there are: the running one and the
/// last hour's.
const PERIOD_NS: u64 = 600_000_000_000;
const PERIODS: usize = 7;

/// An ended exchange, but for its texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) number: u64,
    pub(super) endpoint: u32,
    pub(super) peer: Option<SocketAddr>,
    /// In the server role.
    pub(super) client: Option<IpAddr>,
    pub(super) tgid: u32,
    pub(super) ended: Ended,
    pub(super) spent: Option<Spent>,
}

#[derive(Debug)]
struct Entry {
    facts: Facts,
    text: Text,
}

/// What an entry's endpoint is called.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) id: Arc<str>,
    /// The same as a number.
    pub(super) number: u64,
    pub(super) key: Arc<EndpointKey>,
}

/// Nanoseconds since 1970 of a moment of the monotonic clock, as the last tick told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    at_ns: u64,
    wall_ns: u64,
}

impl Clock {
    pub(super) fn new(at_ns: u64, wall_ns: u64) -> Self {
        Self { at_ns, wall_ns }
    }

    pub(super) fn wall_ns(self, at_ns: u64) -> u64 {
        if self.wall_ns == 0 {
            return 0;
        }
        self.wall_ns.saturating_add(at_ns).saturating_sub(self.at_ns)
    }
}

impl Facts {
    /// As outputs read it.
    pub(super) fn logged(&self, text: &Text, named: &Named, clock: Clock) -> LoggedExchange {
        let key = &named.key;
        LoggedExchange {
            id: self.number,
            endpoint: Arc::clone(&named.id),
            key: Arc::clone(key),
            method: text.method().to_owned(),
            path: if key.protocol.has_routes() {
                text.shown_path()
            } else {
                text.path().to_owned()
            },
            query: text
                .query()
                .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
                .collect(),
            host: text.host().map(str::to_owned),
            request_id: text.request_id().map(str::to_owned),
            trace_id: text.trace_id().map(str::to_owned),
            user_id: text.user().map(str::to_owned),
            attributes: text
                .fields()
                .map(|(name, value)| (format!("http.request.header.{name}"), value.to_owned()))
                .collect(),
            peer: self.peer,
            client: self.client,
            tgid: self.tgid,
            status: self.ended.status,
            error: self.ended.error,
            outcome: self.ended.outcome,
            times: self.ended.times,
            ended_wall_ns: clock.wall_ns(self.ended.times.response_last_ns),
            request_bytes: self.ended.request_bytes,
            response_bytes: self.ended.response_bytes,
            stream: self.ended.stream,
            spent: self.spent,
        }
    }
}

/// Logged, and the number of its endpoint.
type Kept = (u32, Arc<LoggedExchange>);

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    recent: usize,
    slowest: usize,
    /// The newest ones as a ring; `next` is overwritten next.
    ring: Vec<Entry>,
    next: usize,
    /// How many of them are newer than the last snapshot.
    fresh: usize,
    /// Older ones, as outputs read them; oldest first.
    read: VecDeque<Kept>,
    /// Per period: its number and its slowest, slowest first.
    slow: VecDeque<(u64, Vec<Kept>)>,
    /// The slow ones changed since the last snapshot.
    slow_changed: bool,
    shared: Arc<RequestLog>,
}

impl Log {
    pub(super) fn new(recent: usize, slowest: usize) -> Self {
        Self {
            recent,
            slowest,
            ring: Vec::new(),
            next: 0,
            fresh: 0,
            read: VecDeque::new(),
            slow: VecDeque::new(),
            slow_changed: false,
            shared: Arc::default(),
        }
    }

    /// True if anything is kept.
    pub(super) fn is_on(&self) -> bool {
        self.recent > 0 || self.slowest > 0
    }

    /// Would this exchange be one of the slowest?
    #[inline]
    pub(super) fn is_slow(&mut self, ended: &Ended) -> bool {
        if self.slowest == 0 || matches!(ended.outcome, Outcome::Cut | Outcome::Unknown) || ended.stream.is_some() {
            return false;
        }
        let period = ended.times.response_last_ns / PERIOD_NS;
        match self.slow.back() {
            Some((newest, slowest)) if *newest >= period => {
                slowest.len() < self.slowest
                    || slowest
                        .last()
                        .is_some_and(|(_, last)| ended.times.response_time_ns() > last.times.response_time_ns())
            }
            _ => {
                self.go_to(period);
                true
            }
        }
    }

    fn go_to(&mut self, period: u64) {
        self.slow.push_back((period, Vec::new()));
        self.forget_before(period);
    }

    fn forget_before(&mut self, period: u64) {
        while self
            .slow
            .front()
            .is_some_and(|(oldest, _)| oldest + PERIODS as u64 <= period)
        {
            self.slow.pop_front();
            self.slow_changed = true;
        }
    }

    /// Keeps one of the slowest.
    pub(super) fn keep_slow(&mut self, endpoint: u32, exchange: LoggedExchange) {
        let Some((_, slowest)) = self.slow.back_mut() else {
            return;
        };
        let time = exchange.times.response_time_ns();
        let place = slowest.partition_point(|(_, other)| other.times.response_time_ns() >= time);
        slowest.insert(place, (endpoint, Arc::new(exchange)));
        slowest.truncate(self.slowest);
        self.slow_changed = true;
    }

    /// Keeps one of the newest. Its texts change places with some that nobody needs any more.
    #[inline]
    pub(super) fn keep_recent(&mut self, facts: &Facts, text: &mut Text) {
        if self.recent == 0 {
            return;
        }
        if let Some(entry) = self.ring.get_mut(self.next) {
            entry.facts = *facts;
            std::mem::swap(&mut entry.text, text);
        } else {
            self.ring.push(Entry {
                facts: *facts,
                text: text.clone(),
            });
        }
        self.next += 1;
        if self.next == self.recent {
            self.next = 0;
        }
        self.fresh = (self.fresh + 1).min(self.recent);
    }

    /// Where the time of an exchange went is known better now.
    pub(super) fn spent(&mut self, number: u64, spent: Spent) {
        let mut ring = self.ring.iter_mut();
        if let Some(entry) = ring.find(|entry| entry.facts.number == number) {
            entry.facts.spent = Some(spent);
        }
        // Newest last.
        let place = self.read.partition_point(|(_, exchange)| exchange.id < number);
        let read = self.read.get_mut(place).into_iter();
        let slow = self.slow.iter_mut().flat_map(|(_, slowest)| slowest);
        for (_, exchange) in read.chain(slow).filter(|(_, exchange)| exchange.id == number) {
            Arc::make_mut(exchange).spent = Some(spent);
            self.slow_changed = true;
        }
    }

    /// The log as outputs read it, at this moment.
    pub(super) fn snapshot(&mut self, at_ns: u64, clock: Clock, named: impl Fn(u32) -> Named) -> Arc<RequestLog> {
        self.forget_before(at_ns / PERIOD_NS);
        if self.fresh == 0 && !self.slow_changed {
            return Arc::clone(&self.shared);
        }
        for back in (1..=self.fresh).rev() {
            let entry = &self.ring[(self.next + self.recent - back) % self.recent];
            if self.read.len() == self.recent {
                self.read.pop_front();
            }
            let endpoint = entry.facts.endpoint;
            let logged = entry.facts.logged(&entry.text, &named(endpoint), clock);
            self.read.push_back((endpoint, Arc::new(logged)));
        }
        self.fresh = 0;
        let slowest = if self.slow_changed {
            let mut all: Vec<_> = self
                .slow
                .iter()
                .flat_map(|(_, slowest)| slowest)
                .map(|(_, it)| Arc::clone(it))
                .collect();
            all.sort_by_key(|exchange| (std::cmp::Reverse(exchange.times.response_time_ns()), exchange.id));
            all.truncate(self.slowest);
            all
        } else {
            self.shared.slowest.clone()
        };
        self.slow_changed = false;
        self.shared = Arc::new(RequestLog {
            recent: self.read.iter().map(|(_, exchange)| Arc::clone(exchange)).collect(),
            slowest,
        });
        Arc::clone(&self.shared)
    }

    /// Endpoints were merged: `moved` gives the new number of each old one.
    pub(super) fn moved(&mut self, moved: &[u32], named: impl Fn(u32) -> Named) {
        for entry in &mut self.ring {
            let endpoint = &mut entry.facts.endpoint;
            *endpoint = moved[*endpoint as usize];
        }
        for (endpoint, exchange) in self
            .read
            .iter_mut()
            .chain(self.slow.iter_mut().flat_map(|(_, slowest)| slowest))
        {
            *endpoint = moved[*endpoint as usize];
            let Named { id, key, .. } = named(*endpoint);
            if exchange.endpoint != id {
                let exchange = Arc::make_mut(exchange);
                exchange.endpoint = id;
                exchange.key = key;
            }
        }
        self.slow_changed = true;
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let logged = |(_, exchange): &Kept| {
            size_of::<LoggedExchange>()
                + exchange.method.capacity()
                + exchange.path.capacity()
                + exchange
                    .query
                    .iter()
                    .map(|(key, value)| key.capacity() + optional(value) + size_of::<(String, Option<String>)>())
                    .sum::<usize>()
                + exchange
                    .attributes
                    .iter()
                    .map(|(name, value)| name.capacity() + value.capacity() + size_of::<(String, String)>())
                    .sum::<usize>()
                + [
                    &exchange.host,
                    &exchange.request_id,
                    &exchange.trace_id,
                    &exchange.user_id,
                ]
                .into_iter()
                .map(optional)
                .sum::<usize>()
        };
        self.ring.capacity() * size_of::<Entry>()
            + self.ring.iter().map(|entry| entry.text.heap_bytes()).sum::<usize>()
            + self.read.capacity() * size_of::<Kept>()
            + self.read.iter().map(logged).sum::<usize>()
            + self
                .slow
                .iter()
                .flat_map(|(_, slowest)| slowest)
                .map(logged)
                .sum::<usize>()
    }
}
