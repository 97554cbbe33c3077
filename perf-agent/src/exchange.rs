//! The exchange: one request with its response, neutral of protocol. What is not in here does not leave a dissector.

use crate::event::Direction;
use crate::request_log::{NOTHING, Wanted};

/// Which side of the exchange the observed process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It received the request.
    Server,
    /// It sent the request.
    Client,
}

impl Role {
    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    /// The role of a process that moved a request in this direction.
    pub fn of_request(direction: Direction) -> Self {
        match direction {
            Direction::Received => Self::Server,
            Direction::Sent => Self::Client,
        }
    }
}

/// Application protocol of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.0, RFC 1945
    Http10,
    /// HTTP/1.1, RFC 9112
    Http11,
    /// HTTP/2, RFC 9113
    Http2,
    /// gRPC over HTTP/2
    Grpc,
    /// The PostgreSQL frontend/backend protocol, version 3
    Postgresql,
    /// The protocol of MySQL and MariaDB
    Mysql,
    /// RESP2 and RESP3 of Redis and its like
    Redis,
    /// Memcached's text, meta and binary protocols
    Memcached,
    /// MongoDB's wire protocol
    Mongodb,
    /// Apache Kafka's protocol
    Kafka,
    /// The domain name system, RFC 1035
    Dns,
}

/// What an exchange is to the one who asked: where its time is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A database was asked.
    Database,
    /// A cache was asked.
    Cache,
    /// Another program was: HTTP, gRPC, a message broker, a name server.
    External,
}

impl Class {
    /// All classes, in the order of the API.
    pub const ALL: [Self; 3] = [Self::Database, Self::Cache, Self::External];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cache => "cache",
            Self::External => "external",
        }
    }
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 11] = [
        Self::Http10,
        Self::Http11,
        Self::Http2,
        Self::Grpc,
        Self::Postgresql,
        Self::Mysql,
        Self::Redis,
        Self::Memcached,
        Self::Mongodb,
        Self::Kafka,
        Self::Dns,
    ];

    /// What an exchange of it is to the one who asked.
    pub fn class(self) -> Class {
        match self {
            Self::Postgresql | Self::Mysql | Self::Mongodb => Class::Database,
            Self::Redis | Self::Memcached => Class::Cache,
            Self::Http10 | Self::Http11 | Self::Http2 | Self::Grpc | Self::Kafka | Self::Dns => Class::External,
        }
    }

    /// Does a request say a method and a path, of which a route is made? Else its path is the operation, as the
    /// dissector says it.
    pub fn has_routes(self) -> bool {
        matches!(self, Self::Http10 | Self::Http11 | Self::Http2)
    }

    /// Is a status a number that the protocol itself has? Else answers tell errors by [`ErrorCode`].
    pub fn has_statuses(self) -> bool {
        self.has_routes() || self == Self::Grpc
    }

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "http/2",
            Self::Grpc => "grpc",
            Self::Postgresql => "postgresql",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
            Self::Mongodb => "mongodb",
            Self::Kafka => "kafka",
            Self::Dns => "dns",
        }
    }
}

/// How an exchange ended. Never a status: a status is what was sent, and is not invented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The response came to its end.
    Answered,
    /// The client closed or reset the connection before the response was complete.
    ClientAborted,
    /// The server closed or reset the connection before the response was complete.
    ServerClosed,
    /// The agent started or stopped, or lost sight, in the middle.
    Cut,
    /// It ended and cannot be said how (bytes lost, framing unknown, connection evicted).
    Unknown,
}

impl Outcome {
    /// All outcomes, in the order of the API.
    pub const ALL: [Self; 5] = [
        Self::Answered,
        Self::ClientAborted,
        Self::ServerClosed,
        Self::Cut,
        Self::Unknown,
    ];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ClientAborted => "client_aborted",
            Self::ServerClosed => "server_closed",
            Self::Cut => "cut",
            Self::Unknown => "unknown",
        }
    }
}

/// Stands for a method or path that a request named by a number whose meaning was not seen (HTTP/2's header compression).
pub const UNKNOWN: &str = "(unknown)";

/// What is known when a request's head is complete. Borrowed: whoever keeps a part copies it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The protocol as the request says it.
    pub protocol: Protocol,
    /// Method, as sent; empty where the protocol has none.
    pub method: &'a str,
    /// The path without query, fragment, scheme, authority and credentials; `*` and, for CONNECT, `host:port` as they
    /// are. Not decoded. Bytes that are not UTF-8 were replaced. Empty if it was not seen. Where the protocol has no
    /// paths, the operation: gRPC's method, an SQL statement's fingerprint, a command; without any value.
    pub path: &'a str,
    /// The query as sent, without `?`. Whoever reads it keeps the keys only, and values that were asked for.
    pub query: &'a str,
    /// Host header or authority.
    pub host: Option<&'a str>,
    /// `X-Request-Id` or the like.
    pub request_id: Option<&'a str>,
    /// What else its head says.
    pub said: Said<'a>,
    /// When the request's first byte was moved.
    pub first_ns: u64,
    /// Process that moved the request.
    pub tgid: u32,
    /// Thread, or what runs on it, that moved the request's first byte.
    pub tid: u32,
}

/// What a request's head says that only the request log is interested in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// `traceparent`, as sent.
    pub traceparent: Option<&'a str>,
    /// Values of fields that were asked for ([`Sink::wants`]), with the place of the field's name, in order.
    pub chosen: &'a [(u8, &'a [u8])],
    /// There may have been more of them.
    pub cut: bool,
}

/// The moments of an exchange, monotonic nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The request's first byte became readable in the socket (server role, where known).
    pub arrival_ns: Option<u64>,
    /// The request's first byte was moved.
    pub request_first_ns: u64,
    /// The request's last byte was moved.
    pub request_last_ns: u64,
    /// The response's first byte was moved. Interim (1xx) responses do not count.
    pub response_first_ns: Option<u64>,
    /// The response's last byte was moved; for an exchange that was not answered, when it ended.
    pub response_last_ns: u64,
}

impl Times {
    /// From the first byte of the request to the last byte of the response.
    pub fn response_time_ns(&self) -> u64 {
        self.response_last_ns.saturating_sub(self.request_first_ns)
    }
    /// From the first byte of the request to the first byte of the response.
    pub fn time_to_first_byte_ns(&self) -> Option<u64> {
        self.response_first_ns
            .map(|first| first.saturating_sub(self.request_first_ns))
    }
    /// From readable in the socket to read.
    pub fn queue_time_ns(&self) -> Option<u64> {
        self.arrival_ns
            .map(|arrival| self.request_first_ns.saturating_sub(arrival))
    }
    /// From the last byte of the request to the first byte of the response; 0 if the answer began earlier.
    pub fn processing_ns(&self) -> Option<u64> {
        self.response_first_ns
            .map(|first| first.saturating_sub(self.request_last_ns))
    }
}

/// What an exchange can go on as behind its response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    /// WebSocket, RFC 6455 and 8441.
    WebSocket,
    /// Server-sent events: a response of `text/event-stream`.
    EventStream,
    /// What CONNECT asked for.
    Tunnel,
    /// Another protocol that the connection was upgraded to.
    Upgrade,
    /// A gRPC call of which messages came with pauses, or both ways at once.
    Grpc,
    /// Messages that a server sends because the client subscribed to them: Redis' pub/sub and MONITOR, PostgreSQL's
    /// replication.
    Subscription,
    /// Data of a bulk load or dump: PostgreSQL's COPY, MySQL's LOAD DATA.
    Copy,
}

impl StreamKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::WebSocket,
        Self::EventStream,
        Self::Tunnel,
        Self::Upgrade,
        Self::Grpc,
        Self::Subscription,
        Self::Copy,
    ];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::EventStream => "event_stream",
            Self::Tunnel => "tunnel",
            Self::Upgrade => "upgrade",
            Self::Grpc => "grpc",
            Self::Subscription => "subscription",
            Self::Copy => "copy",
        }
    }
}

/// An error as a server named it: SQLSTATE, an error number, the first word of Redis' message. Short; what is longer is
/// cut.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    text: [u8; Self::BYTES],
    length: u8,
    /// It tells the client to ask elsewhere or again, and is no error.
    pub is_redirect: bool,
}

impl ErrorCode {
    /// Bytes that are kept of one.
    pub const BYTES: usize = 22;

    /// A code of these bytes. Those that no code has (it is not letters, digits, `_`, `-`, `.`, `:`) and all behind them
    /// are left out: a message may hold anything.
    pub fn new(text: &[u8]) -> Self {
        let is_code = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(byte);
        let mut code = Self {
            text: [0; Self::BYTES],
            length: 0,
            is_redirect: false,
        };
        for (to, from) in code.text.iter_mut().zip(text.iter().take_while(is_code)) {
            *to = *from;
            code.length += 1;
        }
        code
    }

    /// A code that is a number.
    pub fn number(number: i64) -> Self {
        Self::new(number.to_string().as_bytes())
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// As text; `unnamed` if there was nothing that could be a code.
    pub fn as_str(&self) -> &str {
        let text = str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default();
        if text.is_empty() { "unnamed" } else { text }
    }
}

impl std::fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// What an answer said beyond being one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows that a database returned or changed, if it told.
    pub rows: Option<u64>,
    /// Keys that a cache was asked for and had.
    pub hits: u32,
    /// Keys that it was asked for and had not.
    pub misses: u32,
}

impl Tally {
    /// True if it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is known when an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// Final status as sent, if its head was seen. Of gRPC its own code, if it was seen. `None` where
    /// [`Protocol::has_statuses`] is false.
    pub status: Option<u16>,
    /// The error that was the answer, where there are no statuses.
    pub error: Option<ErrorCode>,
    /// What else the answer said.
    pub tally: Tally,
    /// When what happened.
    pub times: Times,
    /// Bytes of the request, head included.
    pub request_bytes: u64,
    /// Bytes of the response, head included, interim responses too.
    pub response_bytes: u64,
    /// Thread (or what runs on it, see [`crate::event::Segment::tid`]) that moved the response's first byte; 0 if none was
    /// seen.
    pub tid: u32,
    /// It was answered by a head behind which a stream goes on: it ends there, and its ticket is the stream's until
    /// [`Sink::stream_ended`]. It has no response time.
    pub stream: Option<StreamKind>,
}

/// News of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamMoved {
    /// When.
    pub at_ns: u64,
    /// Bytes from the client that were not told of before.
    pub request_bytes: u64,
    /// Bytes from the server, likewise.
    pub response_bytes: u64,
    /// Messages from the client and from the server that came to their end, likewise; `None` if they cannot be counted.
    pub messages: Option<[u64; 2]>,
}

/// What is known when a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEnded {
    /// How it ended. [`Outcome::Answered`] is an orderly end, whoever wanted it.
    pub outcome: Outcome,
    /// gRPC's code, if it was seen.
    pub status: Option<u16>,
    /// When.
    pub at_ns: u64,
}

/// Names an open exchange between [`Sink::opened`] and [`Sink::ended`], and a stream that it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// A name server's answer that has addresses: what a process asked for, and found.
#[derive(Clone, Copy, Debug)]
pub struct Resolved<'a> {
    /// The process that was answered.
    pub tgid: u32,
    /// The name that it asked for, whatever other names led to the addresses.
    pub name: &'a str,
    /// Its addresses.
    pub addresses: &'a [std::net::IpAddr],
    /// The shortest time to live among the answer's records, seconds.
    pub ttl_s: u32,
    /// When it was answered.
    pub at_ns: u64,
}

/// Where dissectors report to. Every ticket given out comes back exactly once, and once more if it became a stream's.
pub trait Sink {
    /// A request's head is complete.
    fn opened(&mut self, request: &Request<'_>) -> Ticket;
    /// The exchange ended.
    fn ended(&mut self, ticket: Ticket, ended: &Ended);
    /// More of a stream went by.
    fn stream_moved(&mut self, ticket: Ticket, moved: &StreamMoved);
    /// The stream ended.
    fn stream_ended(&mut self, ticket: Ticket, ended: &StreamEnded);
    /// Which fields of requests are of interest beyond those that every [`Request`] has. Always the same ones.
    fn wants(&self) -> &Wanted {
        &NOTHING
    }
    /// Is it of use to tell [`Sink::resolved`]?
    fn heeds_names(&self) -> bool {
        true
    }
    /// A name server was asked, and told addresses. Told only where [`Sink::heeds_names`].
    fn resolved(&mut self, _resolved: &Resolved<'_>) {}
    /// Something is missing in what was said of a connection; the ledger counts it.
    fn lost(&mut self, loss: Loss);
}

/// What a dissector or the stream under it could not follow, for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// A response whose request was not seen (joined in the middle).
    ResponseWithoutRequest,
    /// A request's head was cut by the capture budget or by lost records.
    HeadCut,
    /// A field of a head was named by a number whose meaning went by unseen.
    FieldUnknown,
    /// A message's end had to be taken from the turn of direction, since its framing was not seen.
    FramingUnknown,
    /// More requests in flight on one connection than are kept.
    PipelineFull,
    /// Bytes that are no message of the connection's protocol.
    Malformed,
    /// Bytes that were compressed on the wire, so unseen.
    Compressed,
    /// Records were missing in a stream.
    Gap,
    /// Addresses of a name that were not kept, since there are too many.
    NameUnkept,
}
