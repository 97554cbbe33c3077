//! The snapshot: an immutable picture of everything, made once a second. All outputs read it, and nothing earlier.
//!
//! Making one is cheap: what did not change since the last one is shared with it, and windows are merged only when
//! somebody asks for one ([`EndpointSnapshot::window`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use perf_common::function::FunctionCounts;

use crate::aggregate::{Aggregate, FunctionAggregate, Window, WindowView};
use crate::attribution::Spent;
use crate::endpoint::{EndpointKey, Peer, RouteReason};
use crate::event::FunctionTold;
use crate::exchange::{ErrorCode, Outcome, StreamEnded, StreamKind, Times};
use crate::ledger::Accounting;
use crate::process::Service;
use crate::statistics::codes::CodeNames;

/// Everything, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Monotonic nanoseconds of the last tick.
    pub at_ns: u64,
    /// The same moment, nanoseconds since 1970.
    pub wall_ns: u64,
    /// When observation began, monotonic nanoseconds: the first one that is remembered.
    pub started_ns: u64,
    /// When this agent's own observation began: what [`Aggregate::since_agent_start`] tells was counted since then.
    pub agent_started_ns: u64,
    /// Every endpoint, in order of first appearance.
    pub endpoints: Vec<Arc<EndpointSnapshot>>,
    /// Endpoints that became another one since the start, when a place in their routes collapsed: old and new id, oldest
    /// first.
    pub renamed: Arc<Vec<(u64, u64)>>,
    /// All server-role exchanges together.
    pub total: Arc<Aggregate>,
    /// The connections of every service to every peer.
    pub pools: Vec<Pool>,
    /// TLS connections of which no request is seen.
    pub unread: Vec<Unread>,
    /// Every service seen.
    pub services: Vec<Arc<Service>>,
    /// Streams that are open, and the newest that ended.
    pub streams: Arc<StreamLog>,
    /// The newest exchanges, newest last, and the slowest ones.
    pub recent: Arc<RequestLog>,
    /// The functions that the operator chose.
    pub functions: Vec<FunctionSnapshot>,
    /// The books.
    pub accounting: Accounting,
}

/// A function that the operator chose.
#[derive(Clone, Debug)]
pub struct FunctionSnapshot {
    /// What it is, and whether it is observed.
    pub told: Arc<FunctionTold>,
    /// What the kernel side counted.
    pub counts: FunctionCounts,
    /// Invocations that returned and of which no record came.
    pub unseen: u64,
    /// Invocations that have not returned.
    pub in_flight: u32,
    /// Estimate of what observing an invocation costs who is observed.
    pub ns_per_call: Option<u64>,
    /// Invocations that began in each second, over the last one.
    pub rate: Option<f64>,
    /// Counts and times in windows.
    pub aggregate: Arc<FunctionAggregate>,
}

/// A service's connections to one peer, as far as exchanges were seen on them.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Who connects.
    pub service: Arc<Service>,
    /// Through TLS.
    pub tls: bool,
    /// To whom.
    pub peer: Peer,
    /// Connections that are open.
    pub open: u32,
    /// Of them, those with a request in flight.
    pub in_use: u32,
    /// Most in use at once.
    pub max_in_use: u32,
    /// Connections so far.
    pub opened: u64,
}

/// A service's TLS connections to one peer, of which no request was seen (yet).
#[derive(Clone, Debug, PartialEq)]
pub struct Unread {
    /// Who connects.
    pub service: Arc<Service>,
    /// To whom: as the handshakes said it.
    pub peer: Peer,
    /// The address last connected to.
    pub address: SocketAddr,
    /// Connections so far.
    pub connections: u64,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointSnapshot {
    /// Stable across restarts: a hash of the key, 16 hexadecimal digits.
    pub id: Arc<str>,
    /// Service, role, peer, protocol, operation.
    pub key: Arc<EndpointKey>,
    /// Client role: what else is known of the peer.
    pub peer_seen: PeerSeen,
    /// The service it belongs to.
    pub service: Arc<Service>,
    /// Why the route is what it is.
    pub reason: RouteReason,
    /// What the statuses are called where the protocol has none of its own.
    pub codes: CodeNames,
    /// Counts and distributions.
    pub aggregate: Arc<Aggregate>,
}

impl EndpointSnapshot {
    /// What a status that its answers are counted by is called.
    fn status_name(&self, status: u16) -> String {
        if self.key.protocol.has_statuses() {
            status.to_string()
        } else {
            self.codes.name(status).to_owned()
        }
    }

    /// How many ended with which status, by what each is called; with `other`, those that are counted together.
    pub fn statuses(&self, view: &WindowView) -> BTreeMap<String, u64> {
        let named = view
            .statuses
            .iter()
            .map(|(&status, &count)| (self.status_name(status), count));
        let other = (view.statuses_other > 0).then(|| ("other".to_owned(), view.statuses_other));
        let mut statuses = BTreeMap::new();
        // Codes that got no number of their own are called so too.
        for (name, count) in named.chain(other) {
            *statuses.entry(name).or_default() += count;
        }
        statuses
    }

    /// Counts and distributions over a window that ends at `at_ns` (the snapshot's).
    pub fn window(&self, window: Window, at_ns: u64) -> WindowView {
        self.aggregate.window(window, at_ns)
    }
}

/// What is known of a peer beyond what an endpoint tells it by.
#[derive(Clone, Debug, Default)]
pub struct PeerSeen {
    /// The address last connected to.
    pub address: Option<SocketAddr>,
    /// Of one that is told by its address: the name last connected to, as the TLS handshake or name servers said it.
    pub name: Option<Arc<str>>,
}

/// Recent and slow exchanges.
#[derive(Clone, Debug, Default)]
pub struct RequestLog {
    /// The newest ones, oldest first.
    pub recent: Vec<Arc<LoggedExchange>>,
    /// The slowest ones, slowest first.
    pub slowest: Vec<Arc<LoggedExchange>>,
}

/// What ended, for those who follow it as it does.
#[derive(Clone, Debug)]
pub enum Traced {
    /// An exchange.
    Exchange(LoggedExchange),
    /// A stream.
    Stream(LoggedStream),
}

/// Streams.
#[derive(Clone, Debug, Default)]
pub struct StreamLog {
    /// The oldest of those that are open, oldest first.
    pub open: Vec<Arc<LoggedStream>>,
    /// The newest of those that ended, oldest first.
    pub closed: Vec<Arc<LoggedStream>>,
}

/// One stream. Texts are those of the request that it began with, as in [`LoggedExchange`].
#[derive(Clone, Debug)]
pub struct LoggedStream {
    /// Number of the exchange that it was.
    pub id: u64,
    /// The endpoint's id.
    pub endpoint: Arc<str>,
    /// The endpoint's key, and in it the service's.
    pub key: Arc<EndpointKey>,
    /// What it is.
    pub kind: StreamKind,
    /// Method, as sent.
    pub method: String,
    /// Path as sent, without query.
    pub path: String,
    /// Host header or authority.
    pub host: Option<String>,
    /// The request's own id, from its headers; else its trace's.
    pub request_id: Option<String>,
    /// The peer's address: in the server role that of the client, or of the proxy before it.
    pub peer: Option<SocketAddr>,
    /// The client's address in the server role, as far as it can be relied on.
    pub client: Option<IpAddr>,
    /// Process that moved the request.
    pub tgid: u32,
    /// When the response's head was there, monotonic nanoseconds.
    pub since_ns: u64,
    /// The same, nanoseconds since 1970; 0 if that was before the first tick told the time.
    pub since_wall_ns: u64,
    /// Bytes from the client and from the server, without the exchange's.
    pub bytes: [u64; 2],
    /// Messages, likewise; `None` if they cannot be counted.
    pub messages: Option<[u64; 2]>,
    /// How it ended; `None` as long as it is open.
    pub ended: Option<StreamEnded>,
    /// When, nanoseconds since 1970; 0 as in `since_wall_ns`, or as long as it is open.
    pub ended_wall_ns: u64,
}

/// One ended exchange as the request log keeps it. Of fields and values of the query only what the operator chose is in it,
/// and nothing that looks like a credential.
#[derive(Clone, Debug)]
pub struct LoggedExchange {
    /// Number of the exchange since start.
    pub id: u64,
    /// The endpoint's id.
    pub endpoint: Arc<str>,
    /// The endpoint's key, and in it the service's.
    pub key: Arc<EndpointKey>,
    /// Method, as sent.
    pub method: String,
    /// Path as sent, without query; `[redacted]` stands for segments that look like credentials.
    pub path: String,
    /// Keys of the query, in order, and those values that the operator chose to see.
    pub query: Vec<(String, Option<String>)>,
    /// Host header or authority.
    pub host: Option<String>,
    /// The request's own id, from its headers; else its trace's.
    pub request_id: Option<String>,
    /// The id of the trace that it belongs to (`traceparent`).
    pub trace_id: Option<String>,
    /// The user's id, from the field that the operator named.
    pub user_id: Option<String>,
    /// Fields that the operator chose, as `http.request.header.<name>`.
    pub attributes: Vec<(String, String)>,
    /// The peer's address: in the server role that of the client, or of the proxy before it.
    pub peer: Option<SocketAddr>,
    /// The client's address in the server role, as far as it can be relied on.
    pub client: Option<IpAddr>,
    /// Process that moved the request.
    pub tgid: u32,
    /// Status as sent.
    pub status: Option<u16>,
    /// The error that was the answer, where there are no statuses.
    pub error: Option<ErrorCode>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its moments.
    pub times: Times,
    /// End of the exchange, nanoseconds since 1970; 0 if it ended before the first tick told the time.
    pub ended_wall_ns: u64,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the response.
    pub response_bytes: u64,
    /// The stream that it went on as.
    pub stream: Option<StreamKind>,
    /// Where its time went; `None` in the client role, unless it was answered, and if its process calls nobody.
    pub spent: Option<Spent>,
}
