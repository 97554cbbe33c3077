//! Exchanges without a connection: queries and answers of DNS over UDP.
//!
//! A socket may ask many servers and serve many clients, and most that ask live for one question. So nothing is kept of
//! sockets: a query waits by its socket, its side, its id and its question until its answer moves on the same socket, or for
//! [`ANSWER_WITHIN_NS`]. Which came first needs no positions, since a datagram is a whole message.
//!
//! A client that asks again, of the same server or, over the same socket, of another one, still waits for the one answer:
//! that is one exchange, from the first query on, at the server that was asked first. A server that is asked the same
//! again has two queries to answer, by two clients maybe. A query whose answer was not seen by then ends as
//! [`Outcome::Unknown`]: it was lost, or nobody waited for it any more.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap};

use crate::event::{Datagram, Peers};
use crate::exchange::{Ended, Loss, Outcome, Protocol, Request, Role, Said, Sink as _, Tally, Ticket, Times};
use crate::protocol::dns::datagram::{Answer, Content, Key, Query};
use crate::statistics::{Origin, Statistics};
use crate::stream::table::Table;

/// Longer than any client in use waits before it asks again or gives up.
const ANSWER_WITHIN_NS: u64 = 15_000_000_000;
/// Queries that wait at the same time. Beyond it the oldest one is given up, and counted as lost.
const MAX_ASKED: usize = 16_384;
/// Queries behind the first one that wait by the same. More than that nobody asks in the same words.
const MAX_ALIKE: usize = 8;
/// Ends of sockets of which it is remembered whose they are. It is looked up again for others.
const MAX_ENDS: usize = 4_096;

/// What a query waits by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    socket: u64,
    role: Role,
    key: Key,
}

/// A query that waits for its answer.
#[derive(Debug)]
struct Asked {
    ticket: Ticket,
    /// Tells it from others that wait, or waited, by the same.
    serial: u64,
    origin: Origin,
    first_ns: u64,
    last_ns: u64,
    bytes: u64,
    /// Queries behind it that wait by the same.
    behind: Vec<Self>,
}

/// All of them.
#[derive(Debug)]
pub struct Datagrams {
    asked: HashMap<Waiting, Asked>,
    /// Those that wait.
    waiting: usize,
    /// When each was asked, in order, and its serial number; some have been answered meanwhile.
    order: VecDeque<(u64, u64, Waiting)>,
    /// Whose a socket's end is, as far as it was looked up.
    origins: Table<Origin>,
    hasher: DefaultHashBuilder,
    serial: u64,
    operation: String,
}

impl Default for Datagrams {
    fn default() -> Self {
        Self {
            asked: HashMap::new(),
            waiting: 0,
            order: VecDeque::new(),
            origins: Table::new(MAX_ENDS),
            hasher: DefaultHashBuilder::default(),
            serial: 0,
            operation: String::new(),
        }
    }
}

impl Datagrams {
    /// A datagram moved.
    pub fn moved(&mut self, datagram: &Datagram<'_>, statistics: &mut Statistics) {
        let ends = [Some(datagram.local), datagram.remote];
        let Some(content) = Content::of(datagram.bytes, datagram.length, ends) else {
            return;
        };
        let of_request = match &content {
            Content::Query(..) => datagram.direction,
            Content::Answer(..) => datagram.direction.opposite(),
        };
        let waiting = |key| Waiting {
            socket: datagram.socket,
            role: Role::of_request(of_request),
            key,
        };
        match content {
            Content::Query(key, query) => self.asks(waiting(key), &query, datagram, statistics),
            Content::Answer(key, answer) => self.answers(waiting(key), &answer, datagram, statistics),
        }
    }

    /// Time went on: gives up what waits too long.
    pub fn tick(&mut self, at_ns: u64, statistics: &mut Statistics) {
        let until_ns = at_ns.saturating_sub(ANSWER_WITHIN_NS);
        while self.order.front().is_some_and(|(asked_ns, ..)| *asked_ns < until_ns) {
            self.give_up_oldest(at_ns, Outcome::Unknown, statistics);
        }
    }

    /// Observation ends.
    pub fn cut(&mut self, at_ns: u64, statistics: &mut Statistics) {
        while !self.order.is_empty() {
            self.give_up_oldest(at_ns, Outcome::Cut, statistics);
        }
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.asked.allocation_size()
            + self.waiting * size_of::<Asked>()
            + self.order.capacity() * size_of::<(u64, u64, Waiting)>()
            + self.origins.len() * size_of::<Origin>()
            + self.operation.capacity()
    }

    fn asks(&mut self, waiting: Waiting, query: &Query<'_>, datagram: &Datagram<'_>, statistics: &mut Statistics) {
        if let Some(asked) = self.asked.get_mut(&waiting) {
            if waiting.role == Role::Client {
                asked.bytes += u64::from(datagram.length);
                asked.last_ns = asked.last_ns.max(datagram.at_ns);
                return;
            }
            if asked.behind.len() >= MAX_ALIKE {
                return statistics.ledger().lost(Loss::PipelineFull);
            }
        }
        if self.waiting >= MAX_ASKED {
            statistics.ledger().lost(Loss::PipelineFull);
            while self.waiting >= MAX_ASKED && !self.order.is_empty() {
                self.give_up_oldest(datagram.at_ns, Outcome::Unknown, statistics);
            }
        }
        query.operation(&mut self.operation);
        self.serial += 1;
        let request = Request {
            protocol: Protocol::Dns,
            method: "",
            path: &self.operation,
            query: "",
            host: None,
            request_id: None,
            said: Said::default(),
            first_ns: datagram.at_ns,
            tgid: datagram.tgid,
            tid: datagram.tid,
        };
        let ends = (datagram.socket, waiting.role, datagram.tgid, datagram.remote);
        let id = self.hasher.hash_one(ends);
        if self.origins.find(id).is_none() {
            self.origins.insert(id, origin_of(waiting.role, datagram));
        }
        let Some(known) = self.origins.get_mut(id) else { return };
        // As if each query had a connection of its own: what caused it is found by who asks.
        let mut origin = known.clone().on(id ^ self.serial);
        let ticket = statistics.sink(&mut origin).opened(&request);
        known.remember(&origin);
        let asked = Asked {
            ticket,
            serial: self.serial,
            origin,
            first_ns: datagram.at_ns,
            last_ns: datagram.at_ns,
            bytes: datagram.length.into(),
            behind: Vec::new(),
        };
        self.waiting += 1;
        self.order.push_back((datagram.at_ns, self.serial, waiting));
        match self.asked.entry(waiting) {
            Entry::Occupied(mut first) => first.get_mut().behind.push(asked),
            Entry::Vacant(place) => _ = place.insert(asked),
        }
        if self.order.len() >= 2 * MAX_ASKED {
            let all = &self.asked;
            self.order.retain(|(_, serial, waiting)| {
                let first = all.get(waiting);
                first.is_some_and(|first| {
                    first.serial == *serial || first.behind.iter().any(|one| one.serial == *serial)
                })
            });
        }
    }

    fn answers(&mut self, waiting: Waiting, answer: &Answer<'_>, datagram: &Datagram<'_>, statistics: &mut Statistics) {
        let Some(asked) = self.take(waiting, None) else {
            return statistics.ledger().lost(Loss::ResponseWithoutRequest);
        };
        let origin = match (waiting.role, datagram.remote) {
            (Role::Server, Some(client)) => asked.origin.clone().toward(client),
            _ => asked.origin.clone(),
        };
        let tally = Tally {
            rows: Some(answer.records.into()),
            ..Tally::default()
        };
        let ended = Ended {
            error: answer.error,
            tally,
            response_bytes: datagram.length.into(),
            tid: datagram.tid,
            ..asked.ended(Outcome::Answered, Some(datagram.at_ns), datagram.at_ns)
        };
        let mut origin = origin;
        let mut sink = statistics.sink(&mut origin);
        sink.ended(asked.ticket, &ended);
        answer.tell_addresses(datagram.tgid, datagram.at_ns, &mut sink);
    }

    /// Takes out a query that waits by this: that of a serial number, or the oldest one.
    fn take(&mut self, waiting: Waiting, serial: Option<u64>) -> Option<Asked> {
        let Entry::Occupied(mut first) = self.asked.entry(waiting) else {
            return None;
        };
        let of = |asked: &Asked| serial.is_none_or(|serial| serial == asked.serial);
        let taken = if !of(first.get()) {
            let behind = &mut first.get_mut().behind;
            let place = behind.iter().position(of)?;
            behind.remove(place)
        } else if first.get().behind.is_empty() {
            first.remove()
        } else {
            let mut behind = std::mem::take(&mut first.get_mut().behind);
            let mut next = behind.remove(0);
            next.behind = behind;
            first.insert(next)
        };
        self.waiting -= 1;
        Some(taken)
    }

    fn give_up_oldest(&mut self, at_ns: u64, outcome: Outcome, statistics: &mut Statistics) {
        let Some((_, serial, waiting)) = self.order.pop_front() else {
            return;
        };
        if let Some(mut asked) = self.take(waiting, Some(serial)) {
            let ended = asked.ended(outcome, None, at_ns);
            statistics.sink(&mut asked.origin).ended(asked.ticket, &ended);
        }
    }
}

impl Asked {
    fn ended(&self, outcome: Outcome, response_first_ns: Option<u64>, at_ns: u64) -> Ended {
        Ended {
            outcome,
            status: None,
            error: None,
            tally: Tally::default(),
            times: Times {
                arrival_ns: None,
                request_first_ns: self.first_ns,
                // Of a query that was asked again the last one's time, which the answer need not be to.
                request_last_ns: self.last_ns.min(at_ns).max(self.first_ns),
                response_first_ns,
                response_last_ns: at_ns.max(self.first_ns),
            },
            request_bytes: self.bytes,
            response_bytes: 0,
            tid: 0,
            stream: None,
        }
    }
}

/// Whose a query is.
fn origin_of(role: Role, datagram: &Datagram<'_>) -> Origin {
    let peers = match (role, datagram.remote) {
        (_, Some(remote)) => Peers::Inet {
            local: datagram.local,
            remote,
        },
        (Role::Server, None) => Peers::Inet {
            local: datagram.local,
            remote: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        },
        (Role::Client, None) => Peers::Unknown,
    };
    Origin::new(role, Arc::new(peers), &datagram.comm()).of_datagrams()
}
