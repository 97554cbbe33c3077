//! Records of what databases, caches and brokers are asked and answer, as the kernel side would give them: whole messages,
//! one segment each, on connections that stay.
//!
//! [`Speaks`] says what is spoken; the sub-modules write it. Half the connections are those of a server, and half those of
//! its clients. Values and what they are asked for change from one exchange to the next, so what remembers whole statements
//! gains no more than it would of a program's.

mod messages;
mod sql;

use perf_common::record::flag;

use crate::records::{Emit, Flow, Random, id_of, open_at, process};

/// Connections.
pub(crate) const CONNECTIONS: usize = 400;
/// Exchanges in flight on all of them: each takes so many steps.
const IN_FLIGHT: usize = 48;
/// Process of the server, and the first of its clients'.
const SERVER: u32 = 1000;
const CLIENTS: [u32; 4] = [2000, 2001, 2002, 2003];

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// One command, then its answer.
    Redis,
    /// [`AT_ONCE`] commands in a segment, and their answers in one.
    RedisPipelined,
    /// The text protocol.
    Memcached,
    /// Half prepared statements, the rest the extended protocol without names and simple queries.
    Postgresql,
    /// Half prepared statements, half text with values in it.
    Mysql,
    /// `OP_MSG`.
    Mongodb,
    /// Batches produced and fetched, and a consumer's heartbeats.
    Kafka,
    /// Over TCP.
    Dns,
}

/// Commands that are pipelined in a segment.
const AT_ONCE: u64 = 16;

impl Speaks {
    fn port(self) -> u16 {
        match self {
            Self::Redis | Self::RedisPipelined => 6379,
            Self::Memcached => 11211,
            Self::Postgresql => 5432,
            Self::Mysql => 3306,
            Self::Mongodb => 27017,
            Self::Kafka => 9092,
            Self::Dns => 53,
        }
    }

    /// Operations that there are.
    fn operations(self) -> usize {
        match self {
            Self::Redis | Self::RedisPipelined => messages::REDIS,
            Self::Memcached => messages::MEMCACHED,
            Self::Postgresql => sql::POSTGRESQL,
            Self::Mysql => sql::MYSQL,
            Self::Mongodb => messages::MONGODB,
            Self::Kafka => messages::KAFKA,
            Self::Dns => messages::DNS,
        }
    }

    /// Endpoints of both ends.
    pub(crate) fn endpoints(self) -> usize {
        2 * self.operations()
    }

    /// Exchanges in a segment.
    fn at_once(self) -> u64 {
        if self == Self::RedisPipelined { AT_ONCE } else { 1 }
    }

    /// What a connection begins with: that many exchanges, one after the other.
    fn first(self) -> Vec<[Vec<u8>; 2]> {
        match self {
            Self::Postgresql => sql::postgresql_first(),
            Self::Mysql => sql::mysql_first(),
            _ => Vec::new(),
        }
    }

    /// Writes a request and its answer, with this number.
    fn say(self, number: u64, random: &mut Random, [asks, answers]: &mut [Vec<u8>; 2]) {
        match self {
            Self::Redis => messages::redis(random, asks, answers),
            Self::RedisPipelined => (0..AT_ONCE).for_each(|_| messages::redis(random, asks, answers)),
            Self::Memcached => messages::memcached(random, asks, answers),
            Self::Postgresql => sql::postgresql(random, asks, answers),
            Self::Mysql => sql::mysql(random, asks, answers),
            Self::Mongodb => messages::mongodb(number, random, asks, answers),
            Self::Kafka => messages::kafka(number, random, asks, answers),
            Self::Dns => messages::dns(number, random, asks, answers),
        }
    }
}

/// See the module.
pub(crate) struct Conversations {
    speaks: Speaks,
    random: Random,
    flows: Vec<Flow>,
    /// Connections on which nothing is in flight.
    idle: Vec<usize>,
    /// Answers to come, and on which connection.
    pending: Vec<(usize, Vec<u8>)>,
    step_ns: u64,
    next_ns: u64,
    exchanges: u64,
    record: Vec<u8>,
}

impl Conversations {
    /// So many exchanges per second, from `start_ns` on.
    pub(crate) fn new(speaks: Speaks, per_second: u64, start_ns: u64) -> Self {
        let flows = (0..CONNECTIONS).map(|number| {
            let is_client = number % 2 == 1;
            let tgid = if is_client {
                CLIENTS[number / 2 % CLIENTS.len()]
            } else {
                SERVER
            };
            Flow::new(tgid)
        });
        Self {
            speaks,
            random: Random(0x9e37_79b9_7f4a_7c15),
            flows: flows.collect(),
            idle: (0..CONNECTIONS).collect(),
            pending: Vec::new(),
            step_ns: 1_000_000_000 / per_second,
            next_ns: start_ns,
            exchanges: 0,
            record: Vec::new(),
        }
    }

    /// Exchanges so far.
    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// Who the processes are, and every connection's beginning.
    pub(crate) fn begin(&mut self, emit: &mut Emit<'_>) {
        emit(&process(SERVER, self.next_ns, "store"), 0);
        for tgid in CLIENTS {
            emit(&process(tgid, self.next_ns, "shop"), 0);
        }
        let port = self.speaks.port();
        let first = self.speaks.first();
        for number in 0..CONNECTIONS {
            let ephemeral = 20_000 + u16::try_from(number).expect("connections are few");
            let ports = if self.is_client(number) {
                (ephemeral, port, 9)
            } else {
                (port, ephemeral, 7)
            };
            let id = id_of(number);
            emit(
                &open_at(id, self.flows[number].tgid, ports, self.next_ns).to_bytes(),
                id,
            );
            for [asks, answers] in &first {
                self.next_ns += self.step_ns;
                self.exchanges += 1;
                self.tell(number, true, asks, emit);
                self.tell(number, false, answers, emit);
            }
        }
    }

    fn is_client(&self, number: usize) -> bool {
        self.flows[number].tgid != SERVER
    }

    /// So many exchanges, or a few more, all of them answered; gives the moment behind the last one.
    pub(crate) fn run(&mut self, exchanges: u64, emit: &mut Emit<'_>) -> u64 {
        let until = self.exchanges + exchanges;
        while self.exchanges < until {
            let place = self.random.below(self.idle.len());
            let number = self.idle.swap_remove(place);
            let mut said = [Vec::new(), Vec::new()];
            self.speaks.say(self.exchanges, &mut self.random, &mut said);
            let [asks, answers] = said;
            self.exchanges += self.speaks.at_once();
            self.next_ns += self.step_ns * self.speaks.at_once();
            self.tell(number, true, &asks, emit);
            self.pending.push((number, answers));
            if self.pending.len() >= IN_FLIGHT {
                self.answer(emit);
            }
        }
        while !self.pending.is_empty() {
            self.answer(emit);
        }
        self.next_ns += self.step_ns;
        self.next_ns
    }

    /// Whichever of those that wait has its answer now.
    fn answer(&mut self, emit: &mut Emit<'_>) {
        let place = self.random.below(self.pending.len());
        let (number, answers) = self.pending.swap_remove(place);
        self.tell(number, false, &answers, emit);
        self.idle.push(number);
    }

    fn tell(&mut self, number: usize, asks: bool, bytes: &[u8], emit: &mut Emit<'_>) {
        let sent = asks == self.is_client(number);
        let (id, at_ns) = (id_of(number), self.next_ns);
        let arrival_ns = if sent { 0 } else { at_ns - self.step_ns / 2 };
        let flow = &mut self.flows[number];
        flow.record(
            id,
            sent,
            flag::FIRST,
            [at_ns, arrival_ns],
            bytes.len(),
            &[bytes],
            &mut self.record,
        );
        emit(&self.record, id);
    }
}
