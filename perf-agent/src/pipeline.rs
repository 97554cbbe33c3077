//! The core's front door: records in, snapshots out, and hints for the kernel side on the way.
//!
//! Records must come in the order in which they were emitted. Everything that is known of time comes with them, so the
//! same records give the same snapshots, live or from a file.

use std::sync::Arc;

use compact_str::CompactString;

use crate::datagrams::Datagrams;
use crate::endpoint::RouteError;
use crate::event::{Change, Event, Open, Peers, Segment};
use crate::exchange::{Outcome, Role};
use crate::snapshot::Snapshot;
use crate::statistics::{self, Origin, Statistics};
use crate::stream::connection::{Attention, Connection, Interest};
use crate::stream::table::Table;

/// Hints kept for the edge to fetch; more are dropped. The kernel side works without them, at a higher cost.
const MAX_HINTS: usize = 65_536;

/// What the operator can choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections followed at the same time. Beyond it the one idle for longest is given up.
    pub connections: usize,
    /// For what comes behind the dissectors.
    pub statistics: statistics::Settings,
}

impl Settings {
    /// The default of [`Settings::connections`].
    pub const CONNECTIONS: usize = 65_536;
}

/// What the source may be told. `socket` is the key of the kernel side's connection state, and `connection` tells whether
/// that state is still this connection's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing of interest will follow on this connection.
    Ignore {
        /// Kernel address of the socket.
        socket: u64,
        /// The connection's id.
        connection: u64,
    },
    /// A message is reported in sums: read the sum from time to time and hand it in as a folded segment.
    PollBulk {
        /// Kernel address of the socket.
        socket: u64,
        /// The connection's id.
        connection: u64,
    },
    /// That message has ended, or nobody waits for it any more.
    StopBulk {
        /// Kernel address of the socket.
        socket: u64,
        /// The connection's id.
        connection: u64,
    },
    /// Of many calls of this process it is not known for whom they are made: its tasks may hand over to each other.
    FollowHandovers {
        /// The process.
        tgid: u32,
    },
}

/// The core: connections, dissectors, statistics.
pub struct Pipeline {
    connections: Table<Followed>,
    datagrams: Datagrams,
    statistics: Statistics,
    hints: Vec<Hint>,
    /// What is added to the records' time, see [`statistics::Remembered::ahead_ns`].
    ahead_ns: u64,
    /// The newest time seen.
    now_ns: u64,
}

/// A connection with what is known of its ends.
#[repr(C)]
struct Followed {
    connection: Connection,
    /// Kernel address of the socket, 0 if its open record was lost.
    socket: u64,
    /// Until its role is known.
    ends: Option<Ends>,
    /// Since.
    origin: Option<Origin>,
}

/// What an open record told of a connection's ends.
struct Ends {
    peers: Arc<Peers>,
    comm: CompactString,
    tls: bool,
    /// When it came into view, if that was at its beginning.
    begun_ns: Option<u64>,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    ///
    /// # Errors
    /// [`RouteError`] if one of the operator's route patterns is none.
    pub fn new(settings: Settings) -> Result<Self, RouteError> {
        let ahead_ns = settings
            .statistics
            .remembered
            .as_ref()
            .map_or(0, |remembered| remembered.ahead_ns);
        Ok(Self {
            connections: Table::new(settings.connections),
            datagrams: Datagrams::default(),
            statistics: Statistics::new(settings.statistics)?,
            hints: Vec::new(),
            ahead_ns,
            now_ns: 0,
        })
    }

    /// Takes one record, as the kernel side or a recording gives it. What is none is counted.
    #[inline]
    pub fn apply(&mut self, record: &[u8]) {
        self.statistics.ledger().record_received();
        match Event::decode(record) {
            Ok(Event::Segment(segment)) => self.segment(&segment.later_by(self.ahead_ns)),
            Ok(event) => self.other(event.later_by(self.ahead_ns)),
            Err(_) => self.statistics.ledger().record_undecodable(),
        }
    }

    /// Hints since the last call.
    pub fn hints(&mut self) -> std::vec::Drain<'_, Hint> {
        self.hints.drain(..)
    }

    /// An immutable picture as of the last tick.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.statistics.snapshot()
    }

    /// What comes behind the dissectors: the trace of ended exchanges, the books.
    pub fn statistics(&mut self) -> &mut Statistics {
        &mut self.statistics
    }

    /// Connections being followed.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Observation ends: exchanges in flight end as [`Outcome::Cut`].
    pub fn finish(&mut self) {
        for followed in self.connections.values_mut() {
            followed.cut(self.now_ns, Outcome::Cut, &mut self.statistics);
        }
        self.datagrams.cut(self.now_ns, &mut self.statistics);
    }

    #[inline]
    fn segment(&mut self, segment: &Segment<'_>) {
        let id = segment.connection;
        self.now_ns = self.now_ns.max(segment.at_ns);
        let place = self.connections.find(id).or_else(|| {
            self.joined(id);
            self.connections.find(id)
        });
        let Some(followed) = place.and_then(|place| self.connections.at(place)) else {
            return;
        };
        match followed.connection.interest(segment) {
            Interest::None => {}
            Interest::GivenUp => {
                let socket = followed.socket;
                self.hint(Hint::Ignore { socket, connection: id });
            }
            Interest::Role(role) => {
                if followed.origin.is_none() {
                    followed.begin(id, role);
                }
                let Some(origin) = &mut followed.origin else {
                    return;
                };
                let mut sink = self.statistics.sink(origin);
                match followed.connection.segment(segment, &mut sink) {
                    Attention::Same => {}
                    attention => self.attend(id, attention),
                }
            }
        }
    }

    #[cold]
    fn attend(&mut self, id: u64, attention: Attention) {
        let Some(followed) = self.connections.get_mut(id) else {
            return;
        };
        let socket = followed.socket;
        match attention {
            Attention::Same => {}
            Attention::BulkBegan => self.hint(Hint::PollBulk { socket, connection: id }),
            Attention::BulkEnded => self.hint(Hint::StopBulk { socket, connection: id }),
            Attention::Opaque { bulk } => {
                if let Some(origin) = followed.origin.take() {
                    self.statistics.connection_ended(&origin);
                }
                if bulk {
                    self.hint(Hint::StopBulk { socket, connection: id });
                }
                self.hint(Hint::Ignore { socket, connection: id });
            }
        }
    }

    /// A connection of which the open record was lost: where it goes is not known.
    #[cold]
    fn joined(&mut self, id: u64) {
        let ends = Ends {
            peers: Arc::new(Peers::Unknown),
            comm: CompactString::default(),
            tls: false,
            begun_ns: None,
        };
        self.insert(id, Followed::new(Connection::new(false), 0, ends));
    }

    #[inline(never)]
    fn other(&mut self, event: Event<'_>) {
        match event {
            Event::Segment(segment) => self.segment(&segment),
            Event::Open(open) => self.open(*open),
            Event::State {
                connection,
                at_ns,
                change,
            } => self.state(connection, at_ns, change),
            Event::Network {
                connection,
                at_ns,
                network,
            } => {
                self.now_ns = self.now_ns.max(at_ns);
                if let Some(followed) = self.connections.get_mut(connection)
                    && let Some(origin) = &mut followed.origin
                {
                    self.statistics.network(origin, &network, at_ns);
                }
            }
            Event::Handover { tgid, at_ns, from, to } => {
                self.now_ns = self.now_ns.max(at_ns);
                self.statistics.handed_over(tgid, [from, to], at_ns);
            }
            Event::Datagram(datagram) => {
                self.now_ns = self.now_ns.max(datagram.at_ns);
                self.datagrams.moved(&datagram, &mut self.statistics);
            }
            Event::Hello(hello) => {
                self.now_ns = self.now_ns.max(hello.at_ns);
                self.statistics.said_hello(&hello);
            }
            Event::Exit { tgid, executed } => self.statistics.exited(tgid, executed),
            Event::Process { tgid, exe, cgroup } => self.statistics.process(tgid, &exe, &cgroup),
            Event::Tick { at_ns, wall_ns } => {
                self.now_ns = self.now_ns.max(at_ns);
                self.datagrams.tick(at_ns, &mut self.statistics);
                self.statistics.tick(at_ns, wall_ns);
                for tgid in self.statistics.puzzling() {
                    self.hint(Hint::FollowHandovers { tgid });
                }
            }
            Event::Counters(values) => self.statistics.ledger().kernel_counters(values),
            Event::Invoked(invoked) => self.statistics.invoked(&invoked),
            Event::Function(told) => self.statistics.function(*told),
            Event::FunctionCounted(counted) => self.statistics.function_counted(&counted),
        }
    }

    fn open(&mut self, open: Open) {
        self.now_ns = self.now_ns.max(open.at_ns);
        let ends = Ends {
            peers: Arc::new(open.peers),
            comm: open.comm.into(),
            tls: open.tls,
            begun_ns: open.from_start.then_some(open.at_ns),
        };
        if let Some(followed) = self.connections.get_mut(open.connection) {
            followed.socket = open.socket;
            if let Some(origin) = &mut followed.origin {
                // A TLS session whose socket was found, or its first segment came before it.
                origin.learn(ends.peers);
            } else {
                followed.ends = Some(ends);
            }
            return;
        }
        let connection = Connection::new(open.from_start);
        self.insert(open.connection, Followed::new(connection, open.socket, ends));
    }

    fn insert(&mut self, id: u64, followed: Followed) {
        self.statistics.ledger().connection_opened();
        if let Some((gone, mut evicted)) = self.connections.insert(id, followed) {
            if evicted.connection.is_ignored() {
                self.statistics.ledger().connection_closed();
            } else {
                self.statistics.ledger().connection_evicted();
            }
            let bulk = evicted.cut(self.now_ns, Outcome::Unknown, &mut self.statistics);
            if let Some(origin) = &evicted.origin {
                self.statistics.connection_ended(origin);
            }
            if bulk {
                let socket = evicted.socket;
                self.hint(Hint::StopBulk {
                    socket,
                    connection: gone,
                });
            }
        }
    }

    fn state(&mut self, id: u64, at_ns: u64, change: Change) {
        self.now_ns = self.now_ns.max(at_ns);
        let Some(followed) = self.connections.get_mut(id) else {
            return;
        };
        if let Some(origin) = &mut followed.origin {
            if change == Change::Reset {
                self.statistics.reset(origin, at_ns);
            }
            followed
                .connection
                .changed(change, at_ns, &mut self.statistics.sink(origin));
        }
        if matches!(change, Change::Destroyed | Change::Forgotten) {
            let (bulk, socket) = (followed.connection.in_bulk(), followed.socket);
            if let Some(origin) = &followed.origin {
                self.statistics.connection_ended(origin);
            }
            self.connections.remove(id);
            self.statistics.ledger().connection_closed();
            if bulk {
                self.hint(Hint::StopBulk { socket, connection: id });
            }
        }
    }

    fn hint(&mut self, hint: Hint) {
        let unknown = matches!(
            hint,
            Hint::Ignore { socket: 0, .. } | Hint::PollBulk { socket: 0, .. } | Hint::StopBulk { socket: 0, .. }
        );
        if !unknown && self.hints.len() < MAX_HINTS {
            self.hints.push(hint);
        }
    }
}

impl Followed {
    fn new(connection: Connection, socket: u64, ends: Ends) -> Self {
        Self {
            connection,
            socket,
            ends: Some(ends),
            origin: None,
        }
    }

    /// Its role is known.
    #[cold]
    fn begin(&mut self, id: u64, role: Role) {
        if let Some(ends) = self.ends.take() {
            let origin = Origin::new(role, ends.peers, &ends.comm).over_tls(ends.tls);
            self.origin = Some(origin.connected(ends.begun_ns).on(id));
        }
    }

    fn cut(&mut self, at_ns: u64, outcome: Outcome, statistics: &mut Statistics) -> bool {
        match &mut self.origin {
            Some(origin) => self.connection.cut(at_ns, outcome, &mut statistics.sink(origin)),
            None => false,
        }
    }
}
