//! Statistics: from exchanges to snapshots.
//!
//! [`Statistics`] owns every table behind the dissectors: processes and services, endpoints with their aggregates, open
//! exchanges, the request log, the books. A connection has an [`Origin`]; its dissector reports to
//! [`Statistics::sink`]. Once a second [`Statistics::tick`] and [`Statistics::snapshot`].
//!
//! An exchange finds its endpoint when its request's head is complete. If it is not known by then who the process is,
//! the endpoint is sought when the exchange ends (until then it is in flight in the books and the total, in no endpoint);
//! if it is still not known then, the service is called as the thread that moved the connection's first bytes.

mod cache;
pub mod codes;
mod endpoints;
mod functions;
mod hellos;
mod log;
mod names;
pub mod remembered;
mod streams;
mod text;
mod unsettled;

use std::net::SocketAddr;
use std::sync::Arc;

use compact_str::CompactString;

use crate::aggregate::network::Sample;
use crate::aggregate::{Aggregate, ErrorRule};
use crate::attribution::{
    Attribution, Call, Cause, Inbound, Invocation, Line, Outbound, Requests, Served, Spent, Task,
};
use crate::endpoint::{Peer, RouteError, Routes};
use crate::event::{FunctionCounted, FunctionTold, Hello, Invoked, Network, Peers};
use crate::exchange::{
    Ended, Loss, Outcome, Protocol, Request, Resolved, Role, Said, Sink, StreamEnded, StreamMoved, Ticket,
};
use crate::ledger::Ledger;
use crate::process::{Processes, ServiceKey, Services};
use crate::request_log::Wanted;
use crate::snapshot::{PeerSeen, Snapshot, Traced};
use codes::Codes;
use endpoints::{Endpoints, Moved, host_name};
use functions::Functions;
use hellos::Hellos;
use log::{Clock, Facts, Log};
use names::PeerNames;
pub use remembered::{Remembered, RememberedEndpoint};
use streams::{OpenStream, Streams};
use text::Text;
use unsettled::{Answered, Unsettled};

/// Ended exchanges and streams kept for [`Statistics::take_traced`]; what exceeds them is only counted.
pub const TRACED: usize = 16_384;

/// Open exchanges of which the texts are kept; others are logged without. Clients that send requests ahead could
/// otherwise make the agent hold gigabytes of paths.
const TEXTS: usize = 16_384;

/// What the operator can choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Endpoints kept apart; what exceeds them is counted in `(other)`, one per service, role and protocol.
    pub endpoints: usize,
    /// Different values of a path segment below one parent, beyond which they become `{value}`.
    pub distinct_values: usize,
    /// The operator's own route patterns, such as `/users/{name}`.
    pub routes: Vec<String>,
    /// What counts as an error.
    pub rule: ErrorRule,
    /// What does of gRPC.
    pub grpc_rule: ErrorRule,
    /// Newest exchanges kept in the request log; 0 for none.
    pub recent: usize,
    /// Slowest exchanges of the last hour kept in the request log; 0 for none.
    pub slowest: usize,
    /// What it shows of them.
    pub wanted: Arc<Wanted>,
    /// What is remembered of earlier runs.
    pub remembered: Option<Arc<Remembered>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoints: 1_000,
            distinct_values: 100,
            routes: Vec::new(),
            rule: ErrorRule::default(),
            grpc_rule: ErrorRule::grpc(),
            recent: 1_000,
            slowest: 100,
            wanted: Arc::default(),
            remembered: None,
        }
    }
}

/// Where a connection's exchanges come from; lives as long as the connection and remembers what was looked up for it.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Origin {
    role: Role,
    tls: bool,
    /// It counts among the connections to its peer.
    pooled: bool,
    /// The connection's id.
    connection: u64,
    /// Requests in flight on it.
    in_flight: u32,
    /// More than one was, at some time.
    is_shared: bool,
    /// In the client role: there was a request.
    has_asked: bool,
    /// The endpoint that it was used for last, and how often endpoints had got new numbers by then.
    endpoint: Option<(u64, u32)>,
    /// What its socket said last.
    network: Network,
    /// In the client role: the scope that counts it among its connections, once a request was made.
    counted: Option<u32>,
    found: Option<Found>,
    /// Of `peers`, at hand for every exchange.
    remote: Option<SocketAddr>,
    /// When the process connected, if that was seen.
    connected_ns: Option<u64>,
    peers: Arc<Peers>,
    comm: CompactString,
}

/// What a look-up gave, and what it depended on.
#[derive(Clone, Debug)]
#[repr(C)]
struct Found {
    generation: u64,
    tgid: u32,
    scope: u32,
    process: Process,
    /// In the client role.
    host: CompactString,
}

/// Was it known who the process is? Wider than it need be, so that the compiler says here, and not at some place further
/// behind, that nothing was found yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Process {
    Unknown,
    Known,
}

impl Origin {
    /// A connection with these ends, in this role, first seen moving bytes in a thread of this name.
    pub fn new(role: Role, peers: Arc<Peers>, comm: &str) -> Self {
        Self {
            role,
            tls: false,
            pooled: true,
            connection: 0,
            in_flight: 0,
            is_shared: false,
            has_asked: false,
            endpoint: None,
            network: Network::default(),
            counted: None,
            found: None,
            remote: remote_of(&peers),
            connected_ns: None,
            peers,
            comm: comm.into(),
        }
    }

    /// It is no connection but one exchange of datagrams: no pool of connections counts it.
    #[must_use]
    pub fn of_datagrams(self) -> Self {
        let pooled = false;
        Self { pooled, ..self }
    }

    /// What is told of the connection is the plaintext of a TLS session.
    #[must_use]
    pub fn over_tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    /// The process connected at this moment, shortly before its first bytes; what it meant is what it asked name servers for
    /// before.
    #[must_use]
    pub fn connected(self, at_ns: Option<u64>) -> Self {
        let connected_ns = at_ns;
        Self { connected_ns, ..self }
    }

    /// The connection's id is this.
    #[must_use]
    pub fn on(self, connection: u64) -> Self {
        Self { connection, ..self }
    }

    /// Where the connection goes is known only now.
    pub fn learn(&mut self, peers: Arc<Peers>) {
        self.remote = remote_of(&peers);
        self.peers = peers;
        self.found = None;
    }

    /// Another one of the same ends was used: what was looked up for it holds here.
    pub fn remember(&mut self, used: &Self) {
        self.found.clone_from(&used.found);
    }

    /// The peer's end of the exchange, where it shows only with the answer.
    #[must_use]
    pub fn toward(self, remote: SocketAddr) -> Self {
        let remote = Some(remote);
        Self { remote, ..self }
    }

    /// The side of the exchanges that the observed process is on.
    pub fn role(&self) -> Role {
        self.role
    }
}

fn remote_of(peers: &Peers) -> Option<SocketAddr> {
    match peers {
        // Whoever asks over a socket of datagrams is known with the answer.
        Peers::Inet { remote, .. } => Some(*remote).filter(|remote| remote.port() != 0),
        Peers::Unix { .. } | Peers::Unknown => None,
    }
}

/// What counts as an error, by protocol.
#[derive(Debug)]
struct Rules {
    http: ErrorRule,
    grpc: ErrorRule,
    named: ErrorRule,
}

impl Rules {
    #[inline]
    fn of(&self, protocol: Protocol) -> &ErrorRule {
        match protocol {
            Protocol::Grpc => &self.grpc,
            Protocol::Http10 | Protocol::Http11 | Protocol::Http2 => &self.http,
            _ => &self.named,
        }
    }
}

/// Everything counted.
#[derive(Debug)]
pub struct Statistics {
    rules: Rules,
    processes: Processes,
    services: Services,
    endpoints: Endpoints,
    codes: Codes,
    /// Of servers that speak HTTP or gRPC: what they do for their clients, databases and caches do for them.
    total: Aggregate,
    shared_total: Option<Arc<Aggregate>>,
    open: OpenExchanges,
    attribution: Attribution,
    functions: Functions,
    /// How often endpoints got new numbers.
    renumbered: u64,
    log: Log,
    wanted: Arc<Wanted>,
    streams: Streams,
    names: PeerNames,
    hellos: Hellos,
    traced: Option<Vec<Traced>>,
    traced_dropped: u64,
    ledger: Ledger,
    started_ns: Option<u64>,
    /// When observation went on, if earlier runs are remembered.
    resumed_ns: Option<u64>,
    at_ns: u64,
    wall_ns: u64,
    clock: Clock,
    /// Exchanges that ended so far; the last one's number.
    ended: u64,
    /// Of the exchange that just ended.
    text: Text,
}

impl Statistics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// [`RouteError`] if one of the operator's patterns is none.
    pub fn new(settings: Settings) -> Result<Self, RouteError> {
        let routes = Routes::new(&settings.routes, settings.distinct_values)?;
        let mut this = Self {
            rules: Rules {
                http: settings.rule,
                grpc: settings.grpc_rule,
                named: ErrorRule::named(),
            },
            processes: Processes::default(),
            services: Services::default(),
            endpoints: Endpoints::new(routes, settings.endpoints),
            codes: Codes::default(),
            total: Aggregate::new(Role::Server, 0),
            shared_total: None,
            open: OpenExchanges::default(),
            attribution: Attribution::default(),
            functions: Functions::default(),
            renumbered: 0,
            log: Log::new(settings.recent, settings.slowest),
            wanted: settings.wanted,
            streams: Streams::default(),
            names: PeerNames::default(),
            hellos: Hellos::default(),
            traced: None,
            traced_dropped: 0,
            ledger: Ledger::default(),
            started_ns: None,
            resumed_ns: None,
            at_ns: 0,
            wall_ns: 0,
            clock: Clock::default(),
            ended: 0,
            text: Text::default(),
        };
        if let Some(remembered) = settings.remembered {
            this.restore(&remembered);
        }
        Ok(this)
    }

    /// Goes on where an earlier run ended.
    fn restore(&mut self, remembered: &Remembered) {
        let interrupted = &remembered.interrupted;
        self.started_ns = Some(interrupted.started_ns);
        self.resumed_ns = Some(interrupted.resumed_ns);
        self.at_ns = interrupted.resumed_ns;
        self.total = Aggregate::restored(Role::Server, &remembered.total, interrupted);
        self.codes = Codes::restored(&remembered.codes);
        self.endpoints.resume(interrupted);
        for endpoint in &remembered.endpoints {
            self.endpoints.restore(endpoint, interrupted, &mut self.services);
        }
    }

    /// Who a process is (a process record).
    pub fn process(&mut self, tgid: u32, exe: &str, cgroup: &str) {
        self.processes.learn(tgid, exe, cgroup);
    }

    /// A task of a process begins to work for whom another one works (a hand-over record).
    pub fn handed_over(&mut self, tgid: u32, tasks: [u32; 2], at_ns: u64) {
        let [from, to] = tasks.map(|tid| Task { tgid, tid });
        self.attribution.handed_over(from, to, at_ns, &mut self.open);
    }

    /// A name server was asked, and told addresses.
    pub fn resolved(&mut self, resolved: &Resolved<'_>) {
        for _ in 0..self.names.learn(resolved) {
            self.ledger.lost(Loss::NameUnkept);
        }
    }

    /// A process began a TLS handshake as a client (a hello record).
    pub fn said_hello(&mut self, hello: &Hello<'_>) {
        let process = self.processes.get(hello.tgid);
        let key = ServiceKey::new(process, &hello.comm(), Role::Client, &Peers::Unknown);
        let service = self.services.number(key, hello.tgid);
        if !self.hellos.learn(hello, service) {
            self.ledger.lost(Loss::NameUnkept);
        }
    }

    /// A process ended, or replaced its program (an exit record).
    pub fn exited(&mut self, tgid: u32, executed: bool) {
        self.processes.exited(tgid, executed);
        self.services.exited(tgid);
        self.attribution.exited(tgid);
        self.names.exited(tgid);
    }

    /// What a chosen function's number stands for, and whether it is observed (a function record).
    pub fn function(&mut self, told: FunctionTold) {
        self.attribution.follow_all();
        self.functions.told(told);
    }

    /// What was counted of a chosen function (a function counts record).
    pub fn function_counted(&mut self, counted: &FunctionCounted) {
        self.functions.counted(counted);
    }

    /// A chosen function returned (an invocation record).
    pub fn invoked(&mut self, invoked: &Invoked) {
        let invocation = Invocation {
            function: invoked.function,
            began_ns: invoked.began_ns.unwrap_or(invoked.at_ns),
            ended_ns: invoked.at_ns,
        };
        let task = Task {
            tgid: invoked.tgid,
            tid: invoked.tid,
        };
        let cause = self.attribution.invoked(task, invocation, &mut self.open);
        let timed = invoked.began_ns.is_some();
        self.functions.returned(invocation, timed, cause == Cause::Ambiguous);
    }

    /// The books, for what the stages before this one have to enter.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Where a connection's dissector reports to.
    #[inline]
    pub fn sink<'a>(&'a mut self, origin: &'a mut Origin) -> ConnectionSink<'a> {
        ConnectionSink {
            statistics: self,
            origin,
        }
    }

    /// What a connection's socket says of its packets.
    pub fn network(&mut self, origin: &mut Origin, network: &Network, at_ns: u64) {
        // What is not yet used for anything is told with the next word of it.
        let Some(endpoint) = self.used_for(origin) else { return };
        let before = std::mem::replace(&mut origin.network, *network);
        let us = |us: u32| u64::from(us) * 1000;
        let sample = Sample {
            rtt_ns: network.rtt_us.map(us),
            rtt_variance_ns: us(network.rtt_variance_us),
            retransmits: network.retransmits.saturating_sub(before.retransmits),
            connect_ns: network.connect_us.filter(|_| before.connect_us.is_none()).map(us),
        };
        let endpoint = self.endpoints.get_mut(endpoint);
        endpoint.aggregate.network(&sample, at_ns);
        if origin.role == Role::Server && endpoint.named().key.protocol.has_statuses() {
            self.total.network(&sample, at_ns);
            self.shared_total = None;
        }
    }

    /// The endpoint that a connection was used for last; not known for a moment after endpoints got new numbers.
    fn used_for(&self, origin: &Origin) -> Option<u32> {
        let (renumbered, endpoint) = origin.endpoint?;
        (renumbered == self.renumbered).then_some(endpoint)
    }

    /// A connection ended by an RST, or by a time-out.
    pub fn reset(&mut self, origin: &Origin, at_ns: u64) {
        if let Some(endpoint) = self.used_for(origin) {
            self.endpoints.get_mut(endpoint).aggregate.reset(at_ns);
        }
    }

    /// A connection ended, and with it all that was in flight on it.
    pub fn connection_ended(&mut self, origin: &Origin) {
        if let Some(scope) = origin.counted
            && let Some(pool) = self.endpoints.pool(scope)
        {
            pool.open = pool.open.saturating_sub(1);
        }
    }

    /// Time went on: closes slots. Observation began with the first tick or exchange.
    pub fn tick(&mut self, at_ns: u64, wall_ns: u64) {
        self.start(at_ns);
        self.at_ns = self.at_ns.max(at_ns);
        self.wall_ns = wall_ns;
        self.clock = Clock::new(at_ns, wall_ns);
        if self.total.advance(at_ns) {
            self.shared_total = None;
        }
        if self.open.unsettled.is_due(at_ns) {
            self.settle(at_ns);
        }
        self.endpoints.tick(at_ns);
        self.functions.tick(at_ns);
    }

    /// Processes whose calls are not known for whom they are made, each once.
    pub fn puzzling(&mut self) -> Vec<u32> {
        self.attribution.puzzling()
    }

    #[inline]
    fn start(&mut self, at_ns: u64) -> u64 {
        *self.started_ns.get_or_insert_with(|| {
            self.total = Aggregate::new(Role::Server, at_ns);
            at_ns
        })
    }

    /// An immutable picture as of the last tick.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.total.add_up();
        let total = self.shared_total.get_or_insert_with(|| Arc::new(self.total.clone()));
        let (endpoints, open, clock) = (&self.endpoints, &self.open, self.clock);
        let streams = self.streams.snapshot(|ticket| {
            let open = open.all.get(ticket as usize)?;
            let named = endpoints.get(open.endpoint?).named();
            Some(open.stream.as_ref()?.logged(&open.text, open.tgid, named, clock, None))
        });
        let recent = self
            .log
            .snapshot(self.at_ns, self.clock, |number| endpoints.get(number).named().clone());
        Arc::new(Snapshot {
            at_ns: self.at_ns,
            wall_ns: self.wall_ns,
            started_ns: self.started_ns.unwrap_or(self.at_ns),
            agent_started_ns: self.resumed_ns.or(self.started_ns).unwrap_or(self.at_ns),
            total: Arc::clone(total),
            accounting: self
                .ledger
                .accounting(self.endpoints.apart(), self.attribution.account()),
            pools: self.endpoints.pools(&self.services),
            unread: self.hellos.unread(&self.services),
            endpoints: self.endpoints.snapshot(&self.services, self.codes.names()),
            renamed: Arc::clone(self.endpoints.renamed()),
            services: self.services.all().to_vec(),
            streams,
            recent,
            functions: self.functions.snapshot(),
        })
    }

    /// Switches the keeping of every ended exchange and stream for [`Statistics::take_traced`] on or off.
    pub fn trace(&mut self, on: bool) {
        self.traced = on.then(|| self.traced.take().unwrap_or_default());
    }

    /// Exchanges and streams that ended since the last call, and how many more there were than could be kept.
    pub fn take_traced(&mut self) -> (Vec<Traced>, u64) {
        let traced = self.traced.as_mut().map(std::mem::take).unwrap_or_default();
        (traced, std::mem::take(&mut self.traced_dropped))
    }

    /// Estimate of the heap bytes held by what grows with the traffic: endpoints with the last snapshot's share, path
    /// cache, open exchanges, request log.
    pub fn heap_bytes(&self) -> usize {
        self.endpoints.heap_bytes()
            + self.total.heap_bytes()
            + self.open.heap_bytes()
            + self.attribution.heap_bytes()
            + self.log.heap_bytes()
            + self.streams.heap_bytes()
            + self.names.heap_bytes()
            + self.hellos.heap_bytes()
    }

    /// The scope of a connection's request. `None` if it is not known who the process is, or over which socket its TLS
    /// session goes, unless `anyway`.
    fn scope(&mut self, origin: &mut Origin, tgid: u32, request: &Request<'_>, anyway: bool) -> Option<u32> {
        let host = match origin.role {
            Role::Server => "",
            Role::Client => request.host.unwrap_or_default(),
        };
        let generation = self.processes.generation();
        if let Some(found) = &origin.found
            && found.tgid == tgid
            && found.generation == generation
            && (origin.role == Role::Server || found.host == host)
            && (found.process == Process::Known || anyway)
        {
            return Some(found.scope);
        }
        let process = self.processes.get(tgid);
        let bound = !origin.tls || !matches!(*origin.peers, Peers::Unknown);
        let known = process.is_some() && bound;
        if !known && !anyway {
            return None;
        }
        let key = ServiceKey::new(process, &origin.comm, origin.role, &origin.peers);
        let service = self.services.number(key, tgid);
        let mut seen = PeerSeen::default();
        let peer = match (origin.role, &*origin.peers) {
            (Role::Server, _) | (Role::Client, Peers::Unknown) => None,
            (Role::Client, Peers::Inet { local, remote }) => {
                let said = if origin.tls {
                    self.hellos.read(tgid, *local, *remote)
                } else {
                    None
                };
                let name = host_name(request).map(|host| Peer::Name {
                    host,
                    port: remote.port(),
                });
                seen.address = Some(*remote);
                if name.is_none() {
                    let resolved = || self.names.of(tgid, remote.ip(), origin.connected_ns?);
                    seen.name = said.or_else(resolved);
                }
                Some(name.unwrap_or(Peer::Address(*remote)))
            }
            (Role::Client, Peers::Unix { path }) => Some(Peer::Unix(path.into())),
        };
        let scope = self.endpoints.scope((service, origin.role, origin.tls), peer, seen);
        origin.found = Some(Found {
            tgid,
            generation,
            // A name too long to be one is not worth keeping: it is looked up again each time.
            host: text::first(host, 256).into(),
            scope,
            process: if known { Process::Known } else { Process::Unknown },
        });
        Some(scope)
    }

    #[inline]
    fn endpoint(&mut self, scope: u32, operation: (Protocol, &str, &str), started_ns: u64) -> u32 {
        let mut moved = None;
        let endpoint = self
            .endpoints
            .find(scope, operation, &self.services, started_ns, &mut moved);
        if let Some(moved) = moved {
            self.moved(&moved);
        }
        endpoint
    }

    #[cold]
    fn moved(&mut self, moved: &Moved) {
        self.renumbered += 1;
        self.open.moved(moved);
        let endpoints = &self.endpoints;
        self.log.moved(moved, |number| endpoints.get(number).named().clone());
        self.streams
            .moved(moved, |number| endpoints.get(number).named().clone());
    }
}

/// Where one connection's dissector reports to.
#[derive(Debug)]
pub struct ConnectionSink<'a> {
    statistics: &'a mut Statistics,
    origin: &'a mut Origin,
}

impl Sink for ConnectionSink<'_> {
    fn opened(&mut self, request: &Request<'_>) -> Ticket {
        let this = &mut *self.statistics;
        let started_ns = this.start(request.first_ns);
        this.ledger.exchange_opened();
        if self.origin.role == Role::Server && request.protocol.has_statuses() {
            this.total.opened(request.first_ns);
        }
        let scope = this.scope(self.origin, request.tgid, request, false);
        let endpoint = scope.map(|scope| {
            let operation = (request.protocol, request.method, request.path);
            let number = this.endpoint(scope, operation, started_ns);
            let endpoint = this.endpoints.get_mut(number);
            endpoint.aggregate.opened(request.first_ns);
            number
        });
        let keep_text = endpoint.is_none() || this.log.is_on() || this.traced.is_some();
        let (ticket, inbound) = this.open.add(request, endpoint, keep_text.then_some(&*this.wanted));
        let task = Task {
            tgid: request.tgid,
            tid: request.tid,
        };
        match self.origin.role {
            Role::Server => this
                .attribution
                .received(task, inbound, request.first_ns, &mut this.open),
            Role::Client => {
                if let (None, Some(scope)) = (self.origin.counted, scope.filter(|_| self.origin.pooled))
                    && let Some(pool) = this.endpoints.pool(scope)
                {
                    self.origin.counted = Some(scope);
                    pool.open += 1;
                    pool.opened += 1;
                }
                self.origin.in_flight += 1;
                if self.origin.in_flight == 1
                    && let Some(pool) = self.origin.counted.and_then(|scope| this.endpoints.pool(scope))
                {
                    pool.used(true);
                }
                self.origin.is_shared |= self.origin.in_flight > 1;
                let line = Line {
                    connection: self.origin.connection,
                    is_shared: self.origin.is_shared,
                    peer: scope.unwrap_or(u32::MAX),
                    connected_ns: self.origin.connected_ns.filter(|_| !self.origin.has_asked),
                };
                self.origin.has_asked = true;
                let call = Outbound {
                    ticket,
                    serial: inbound.serial,
                };
                let asked = (call, line);
                let cause = this.attribution.calls(task, asked, request.first_ns, &mut this.open);
                this.open.caused(ticket, cause);
            }
        }
        ticket
    }

    fn ended(&mut self, ticket: Ticket, ended: &Ended) {
        let this = &mut *self.statistics;
        if let Some(asker) = this.open.undecided(ticket) {
            this.attribution.turned(asker, &mut this.open);
        }
        let removed = match ended.stream {
            None => this.open.remove(ticket, &mut this.text),
            Some(_) => this.open.copy(ticket, &mut this.text),
        };
        let Some(mut open) = removed else {
            return;
        };
        if this.open.unsettled.is_due(ended.times.response_last_ns) {
            this.settle(ended.times.response_last_ns);
        }
        this.ledger.exchange_ended(ended.outcome);
        let numbered;
        let counted = if open.protocol.has_statuses() {
            ended
        } else {
            numbered = Ended {
                status: this.codes.number(ended),
                ..*ended
            };
            &numbered
        };
        if self.origin.role == Role::Server && open.protocol.has_statuses() {
            this.total.ended(counted, this.rules.of(open.protocol));
            this.shared_total = None;
        }
        let number = open.endpoint.unwrap_or_else(|| this.late(self.origin, &open, ended));
        let endpoint = this.endpoints.get_mut(number);
        endpoint.aggregate.ended(counted, this.rules.of(open.protocol));
        self.origin.endpoint = Some((this.renumbered, number));
        this.ended += 1;
        let spent = this.attribute(self.origin, &mut open, number, ended);
        if this.endpoints.is_other(number) {
            this.ledger.exchange_folded();
        }
        let client = match self.origin.role {
            Role::Client => None,
            Role::Server => {
                let peer = self.origin.remote.map(|remote| remote.ip());
                let unix = matches!(*self.origin.peers, Peers::Unix { .. });
                this.wanted.client(peer, unix, this.text.forwarded())
            }
        };
        if let Some(kind) = ended.stream {
            let since_ns = ended.times.response_first_ns.unwrap_or(ended.times.response_last_ns);
            let stream = OpenStream::new(this.ended, kind, since_ns, (self.origin.remote, client));
            this.stream_opened(
                self.origin.role == Role::Server && open.protocol.has_statuses(),
                ticket,
                number,
                stream,
            );
        }
        if !this.log.is_on() && this.traced.is_none() {
            return;
        }
        let facts = Facts {
            number: this.ended,
            endpoint: number,
            peer: self.origin.remote,
            client,
            tgid: open.tgid,
            ended: *ended,
            spent,
        };
        if this.log.is_slow(ended) {
            let exchange = facts.logged(&this.text, this.endpoints.get(number).named(), this.clock);
            this.log.keep_slow(number, exchange);
        }
        if let Some(traced) = &mut this.traced {
            if traced.len() < TRACED {
                let named = this.endpoints.get(number).named();
                traced.push(Traced::Exchange(facts.logged(&this.text, named, this.clock)));
            } else {
                this.traced_dropped += 1;
            }
        }
        this.log.keep_recent(&facts, &mut this.text);
    }

    fn stream_moved(&mut self, ticket: Ticket, moved: &StreamMoved) {
        let this = &mut *self.statistics;
        let Some((endpoint, stream)) = this.open.stream(ticket) else {
            return;
        };
        stream.moved(moved);
        let endpoint = this.endpoints.get_mut(endpoint);
        endpoint.aggregate.stream_moved(moved);
        if self.origin.role == Role::Server && endpoint.named().key.protocol.has_statuses() {
            this.total.stream_moved(moved);
            this.shared_total = None;
        }
    }

    fn stream_ended(&mut self, ticket: Ticket, ended: &StreamEnded) {
        let this = &mut *self.statistics;
        let Some((number, stream)) = this.open.stream(ticket) else {
            return;
        };
        let stream = stream.clone();
        let Some(open) = this.open.remove(ticket, &mut this.text) else {
            return;
        };
        this.ledger.stream_ended();
        this.streams.ended(stream.number);
        let rule = this.rules.of(open.protocol);
        let endpoint = this.endpoints.get_mut(number);
        endpoint.aggregate.stream_ended(stream.since_ns, ended, rule);
        if self.origin.role == Role::Server && open.protocol.has_statuses() {
            this.total.stream_ended(stream.since_ns, ended, rule);
            this.shared_total = None;
        }
        let logged = stream.logged(&this.text, open.tgid, endpoint.named(), this.clock, Some(*ended));
        match &mut this.traced {
            Some(traced) if traced.len() < TRACED => traced.push(Traced::Stream(logged.clone())),
            Some(_) => this.traced_dropped += 1,
            None => {}
        }
        this.streams.keep(number, logged);
    }

    fn wants(&self) -> &Wanted {
        &self.statistics.wanted
    }

    /// A name server's own answers are no word of what the server means.
    fn heeds_names(&self) -> bool {
        self.origin.role == Role::Client
    }

    fn resolved(&mut self, resolved: &Resolved<'_>) {
        self.statistics.resolved(resolved);
    }

    fn lost(&mut self, loss: Loss) {
        self.statistics.ledger.lost(loss);
    }
}

impl Statistics {
    /// An exchange ended: what it was caused by, or what it caused. Gives where its time went, if that is known.
    #[inline]
    fn attribute(&mut self, origin: &mut Origin, open: &mut Removed, number: u32, ended: &Ended) -> Option<Spent> {
        let endpoint = self.endpoints.get_mut(number);
        let hearer = open.task(ended.tid);
        if origin.role == Role::Server {
            let served = std::mem::take(&mut open.served);
            let since_ns = ended.times.request_first_ns;
            let served =
                self.attribution
                    .answered(hearer, open.tgid, open.inbound, since_ns, served, &mut self.open)?;
            self.functions
                .answered(endpoint.number(), ended.times.response_last_ns, served.invocations());
            let told = ended.outcome == Outcome::Answered && ended.stream.is_none();
            if !told || !self.attribution.calls_others(open.tgid) {
                return None;
            }
            let mut answered = Answered {
                inbound: open.inbound,
                task: hearer.unwrap_or(open.asker()),
                since_ns,
                until_ns: ended.times.response_last_ns,
                endpoint: number,
                in_total: open.protocol.has_statuses(),
                number: self.ended,
                served,
            };
            let possible = self.attribution.possible(answered.task, answered.inbound);
            if !possible.is_settled() {
                let so_far = answered.spent(possible.calls);
                match self.open.unsettled.keep(answered) {
                    None => return Some(so_far.1),
                    Some(too_many) => answered = too_many,
                }
            }
            return Some(self.tell(answered, possible.calls));
        }
        let call = Call {
            begin_ns: ended.times.request_first_ns,
            end_ns: ended.times.response_last_ns,
            class: open.protocol.class(),
            endpoint: endpoint.number(),
        };
        let tasks = (open.asker(), hearer);
        self.attribution
            .called(tasks, open.cause, origin.connection, call, &mut self.open);
        origin.in_flight = origin.in_flight.saturating_sub(1);
        if origin.in_flight == 0
            && let Some(pool) = origin.counted.and_then(|scope| self.endpoints.pool(scope))
        {
            pool.used(false);
        }
        None
    }

    /// Where the time of a request went is known, as far as it ever will be.
    fn tell(&mut self, answered: Answered, possible: u32) -> Spent {
        let mut answered = answered;
        let (shares, spent) = answered.spent(possible);
        let endpoint = self.endpoints.get_mut(answered.endpoint);
        endpoint.aggregate.spent(&shares, spent.ambiguous);
        if answered.in_total {
            self.total.spent(&shares, spent.ambiguous);
        }
        spent
    }

    /// Tells of requests that were answered and whose calls are known by now.
    #[cold]
    fn settle(&mut self, at_ns: u64) {
        let attribution = &self.attribution;
        let is_open = |answered: &Answered| !attribution.possible(answered.task, answered.inbound).is_settled();
        for answered in self.open.unsettled.take(at_ns, is_open) {
            let possible = self.attribution.possible(answered.task, answered.inbound);
            let number = answered.number;
            let spent = self.tell(answered, possible.calls);
            self.log.spent(number, spent);
        }
    }

    /// An exchange was answered by a head behind which a stream goes on.
    #[cold]
    fn stream_opened(&mut self, in_total: bool, ticket: Ticket, endpoint: u32, stream: OpenStream) {
        self.ledger.stream_opened();
        self.endpoints
            .get_mut(endpoint)
            .aggregate
            .stream_opened(stream.since_ns);
        if in_total {
            self.total.stream_opened(stream.since_ns);
        }
        self.streams.opened(stream.number, ticket.0);
        self.open.becomes(ticket, endpoint, stream);
    }

    /// The endpoint of an exchange whose process was not known when it began.
    #[cold]
    fn late(&mut self, origin: &mut Origin, open: &Removed, ended: &Ended) -> u32 {
        let text = std::mem::take(&mut self.text);
        let request = Request {
            protocol: open.protocol,
            method: text.method(),
            path: text.path(),
            query: "",
            host: text.host(),
            request_id: None,
            said: Said::default(),
            first_ns: ended.times.request_first_ns,
            tgid: open.tgid,
            tid: 0,
        };
        let started_ns = self.start(request.first_ns);
        let scope = self.scope(origin, open.tgid, &request, true).unwrap_or_default();
        let number = self.endpoint(scope, (request.protocol, request.method, request.path), started_ns);
        self.endpoints.get_mut(number).aggregate.opened(request.first_ns);
        self.text = text;
        number
    }
}

/// Open exchanges by ticket. Places are used again, with their texts' room.
#[derive(Debug, Default)]
struct OpenExchanges {
    all: Vec<OpenExchange>,
    free: Vec<u32>,
    /// Exchanges that were opened.
    opened: u64,
    /// Requests that were answered, and whose calls are not all known.
    unsettled: Unsettled,
}

impl Requests for OpenExchanges {
    fn served(&mut self, inbound: Inbound) -> Option<&mut Served> {
        let open = self.all.get_mut(inbound.ticket.0 as usize)?;
        (open.is_open && open.serial == inbound.serial && open.stream.is_none()).then_some(&mut open.served)
    }

    fn answered(&mut self, inbound: Inbound) -> Option<&mut Served> {
        self.unsettled.served(inbound)
    }

    fn decided(&mut self, call: Outbound, cause: Cause) {
        let place = self.all.get_mut(call.ticket.0 as usize);
        if let Some(open) = place.filter(|open| open.is_open && open.serial == call.serial) {
            open.cause = cause;
        }
    }
}

impl Removed {
    /// Who asked.
    fn asker(&self) -> Task {
        Task {
            tgid: self.tgid,
            tid: self.tid,
        }
    }

    /// Another task of the same process; `None` for 0.
    fn task(&self, tid: u32) -> Option<Task> {
        (tid != 0).then_some(Task { tgid: self.tgid, tid })
    }
}

#[derive(Debug)]
struct OpenExchange {
    is_open: bool,
    protocol: Protocol,
    tgid: u32,
    tid: u32,
    serial: u64,
    /// For whom it was made, in the client role.
    cause: Cause,
    /// What it caused, in the server role.
    served: Served,
    endpoint: Option<u32>,
    /// The stream that it became.
    stream: Option<Box<OpenStream>>,
    text: Text,
}

/// What was known of an exchange that ended.
struct Removed {
    protocol: Protocol,
    tgid: u32,
    tid: u32,
    inbound: Inbound,
    cause: Cause,
    served: Served,
    endpoint: Option<u32>,
}

impl OpenExchange {
    /// What is known of it, with what it caused.
    fn removed(&mut self, ticket: Ticket) -> Removed {
        Removed {
            protocol: self.protocol,
            tgid: self.tgid,
            tid: self.tid,
            inbound: Inbound {
                ticket,
                serial: self.serial,
            },
            cause: self.cause,
            served: std::mem::take(&mut self.served),
            endpoint: self.endpoint,
        }
    }
}

impl OpenExchanges {
    #[inline]
    fn add(&mut self, request: &Request<'_>, endpoint: Option<u32>, wanted: Option<&Wanted>) -> (Ticket, Inbound) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.all.push(OpenExchange {
                is_open: false,
                protocol: request.protocol,
                tgid: 0,
                tid: 0,
                serial: 0,
                cause: Cause::Unknown,
                served: Served::default(),
                endpoint: None,
                stream: None,
                text: Text::default(),
            });
            u32::try_from(self.all.len() - 1).expect("connections and their pipelines are bounded")
        });
        let wanted = wanted.filter(|_| self.all.len() - self.free.len() <= TEXTS);
        let open = &mut self.all[number as usize];
        open.is_open = true;
        open.protocol = request.protocol;
        (open.tgid, open.tid) = (request.tgid, request.tid);
        self.opened += 1;
        open.serial = self.opened;
        open.cause = Cause::Unknown;
        open.endpoint = endpoint;
        match wanted {
            Some(wanted) => open.text.set(request, wanted),
            None => open.text.clear(),
        }
        let ticket = Ticket(number);
        let serial = self.opened;
        (ticket, Inbound { ticket, serial })
    }

    /// Who made a call of which it is to be decided for whom.
    #[inline]
    fn undecided(&self, ticket: Ticket) -> Option<Task> {
        let open = self.all.get(ticket.0 as usize)?;
        (open.cause == Cause::Undecided).then_some(Task {
            tgid: open.tgid,
            tid: open.tid,
        })
    }

    fn caused(&mut self, ticket: Ticket, cause: Cause) {
        if let Some(open) = self.all.get_mut(ticket.0 as usize) {
            open.cause = cause;
        }
    }

    /// Takes an exchange out; its texts change places with `text`. `None` for a ticket that came back before.
    #[inline]
    fn remove(&mut self, ticket: Ticket, text: &mut Text) -> Option<Removed> {
        let open = self.all.get_mut(ticket.0 as usize).filter(|open| open.is_open)?;
        open.is_open = false;
        open.stream = None;
        std::mem::swap(&mut open.text, text);
        if ticket.0 as usize >= TEXTS {
            open.text = Text::default();
        }
        self.free.push(ticket.0);
        Some(open.removed(ticket))
    }

    /// What is known of an exchange that goes on as a stream, and in `text` its texts.
    #[cold]
    fn copy(&mut self, ticket: Ticket, text: &mut Text) -> Option<Removed> {
        let open = self.all.get_mut(ticket.0 as usize)?;
        if !open.is_open || open.stream.is_some() {
            return None;
        }
        text.clone_from(&open.text);
        Some(open.removed(ticket))
    }

    fn becomes(&mut self, ticket: Ticket, endpoint: u32, stream: OpenStream) {
        if let Some(open) = self.all.get_mut(ticket.0 as usize) {
            open.endpoint = Some(endpoint);
            open.stream = Some(Box::new(stream));
        }
    }

    /// An open stream, and its endpoint.
    fn stream(&mut self, ticket: Ticket) -> Option<(u32, &mut OpenStream)> {
        let open = self.all.get_mut(ticket.0 as usize).filter(|open| open.is_open)?;
        Some((open.endpoint?, open.stream.as_mut()?))
    }

    fn moved(&mut self, moved: &Moved) {
        self.unsettled.moved(moved);
        for open in self.all.iter_mut().filter(|open| open.is_open) {
            open.endpoint = open.endpoint.map(|endpoint| moved[endpoint as usize]);
        }
    }

    fn heap_bytes(&self) -> usize {
        self.unsettled.heap_bytes()
            + self.all.capacity() * size_of::<OpenExchange>()
            + self.free.capacity() * size_of::<u32>()
            + self
                .all
                .iter()
                .map(|open| open.text.heap_bytes() + open.served.heap_bytes())
                .sum::<usize>()
            + self.all.iter().filter(|open| open.stream.is_some()).count() * size_of::<OpenStream>()
    }
}

#[cfg(test)]
mod tests;
