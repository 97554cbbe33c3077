//! The exchange: one request with its response, neutral of protocol. What is not in here does not leave a dissector.

use crate::event::Direction;

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
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 4] = [Self::Http10, Self::Http11, Self::Http2, Self::Grpc];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "http/2",
            Self::Grpc => "grpc",
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
    /// Method, as sent.
    pub method: &'a str,
    /// The path without query, fragment, scheme, authority and credentials; `*` and, for CONNECT, `host:port` as they
    /// are. Not decoded. Bytes that are not UTF-8 were replaced. Empty if it was not seen.
    pub path: &'a str,
    /// The query as sent, without `?`. Whoever reads it keeps the keys only.
    pub query: &'a str,
    /// Host header or authority.
    pub host: Option<&'a str>,
    /// `X-Request-Id` or the like.
    pub request_id: Option<&'a str>,
    /// When the request's first byte was moved.
    pub first_ns: u64,
    /// Process that moved the request.
    pub tgid: u32,
    /// Thread that moved the request.
    pub tid: u32,
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
}

impl StreamKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::WebSocket,
        Self::EventStream,
        Self::Tunnel,
        Self::Upgrade,
        Self::Grpc,
    ];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::EventStream => "event_stream",
            Self::Tunnel => "tunnel",
            Self::Upgrade => "upgrade",
            Self::Grpc => "grpc",
        }
    }
}

/// What is known when an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// Final status as sent, if its head was seen. Of gRPC its own code, if it was seen.
    pub status: Option<u16>,
    /// When what happened.
    pub times: Times,
    /// Bytes of the request, head included.
    pub request_bytes: u64,
    /// Bytes of the response, head included, interim responses too.
    pub response_bytes: u64,
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
    /// Records were missing in a stream.
    Gap,
}
