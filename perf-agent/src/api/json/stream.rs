//! Streams: what goes on behind an answer's head.

use serde::Serialize;
use utoipa::ToSchema;

use super::endpoint::Bytes;
use super::{OutcomeName, RoleName, Summary, ms, timestamp};
use crate::aggregate::WindowView;
use crate::exchange::{Role, StreamKind};
use crate::snapshot::LoggedStream;

/// What an exchange went on as.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StreamKind)]
pub enum StreamName {
    /// WebSocket.
    Websocket,
    /// Server-sent events.
    EventStream,
    /// What CONNECT asked for.
    Tunnel,
    /// Another protocol that the connection was upgraded to.
    Upgrade,
    /// A gRPC call that was seen to stream.
    Grpc,
    /// What a server sends because the client subscribed to it: Redis' pub/sub and MONITOR, replication.
    Subscription,
    /// A bulk load or dump of a database.
    Copy,
}

impl From<StreamKind> for StreamName {
    fn from(kind: StreamKind) -> Self {
        match kind {
            StreamKind::WebSocket => Self::Websocket,
            StreamKind::EventStream => Self::EventStream,
            StreamKind::Tunnel => Self::Tunnel,
            StreamKind::Upgrade => Self::Upgrade,
            StreamKind::Grpc => Self::Grpc,
            StreamKind::Subscription => Self::Subscription,
            StreamKind::Copy => Self::Copy,
        }
    }
}

/// Messages, from the process's side.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Messages {
    /// Received by it.
    pub received: u64,
    /// Sent by it.
    pub sent: u64,
}

/// Streams over a window. Their bytes and durations are in no figure of exchanges.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Streams {
    /// Open now.
    pub open: u32,
    /// Begun in the window.
    pub opened: u64,
    /// Ended in the window.
    pub closed: u64,
    /// Of them, with a gRPC code other than 0, or broken off by the server.
    pub errors: u64,
    /// Response head to end, of those that ended.
    pub duration_ms: Summary,
    /// Bytes that went by in the window, also of those that are open.
    pub bytes: Bytes,
    /// Messages, likewise; null unless all of them could be counted: those of WebSocket, where each was seen.
    pub messages: Option<Messages>,
}

impl From<&WindowView> for Streams {
    fn from(view: &WindowView) -> Self {
        let streams = &view.streams;
        Self {
            open: view.streams_open,
            opened: streams.opened,
            closed: streams.closed,
            errors: streams.errors,
            duration_ms: Summary::from(&streams.duration),
            bytes: Bytes {
                received: streams.bytes_received,
                sent: streams.bytes_sent,
            },
            messages: streams.messages().map(|[received, sent]| Messages { received, sent }),
        }
    }
}

/// One stream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stream {
    /// Number of the exchange that it was, as in `/api/v1/requests`.
    pub id: u64,
    /// The endpoint it belongs to.
    pub endpoint_id: String,
    /// What it is.
    pub kind: StreamName,
    /// The observed program's name.
    pub service: String,
    /// The side it was on.
    pub role: RoleName,
    /// Process that moved the request.
    pub pid: u32,
    /// `http/1.1` and the like.
    pub protocol: String,
    /// What was asked for.
    pub operation: String,
    /// HTTP method as sent.
    pub method: String,
    /// Path as sent, without query; `[redacted]` stands for segments that look like credentials.
    pub path: String,
    /// The host that was asked for.
    pub host: Option<String>,
    /// The peer's address and port: in the server role those of the client, or of the proxy before it.
    pub peer: Option<String>,
    /// Server role: the client's address; behind trusted proxies as these say it. Null if it cannot be relied on.
    pub client_address: Option<String>,
    /// The request's own id, from its headers; else its trace's.
    pub request_id: Option<String>,
    /// When the response's head was there; null if that was before the agent knew the time.
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// From then to its end, or to now; null in `trace` if it has not ended.
    pub duration_ms: Option<f64>,
    /// Bytes, without those of request and response head.
    pub bytes: Bytes,
    /// Messages; null if they cannot be counted.
    pub messages: Option<Messages>,
    /// Has it not ended?
    pub open: bool,
    /// How it ended: `answered` is an orderly end, whoever wanted it. Null as long as it is open.
    pub outcome: Option<OutcomeName>,
    /// gRPC's code; null for others, and if none was seen.
    pub status: Option<u16>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

impl Stream {
    /// A stream at this moment (monotonic nanoseconds).
    pub fn of(stream: &LoggedStream, at_ns: Option<u64>) -> Self {
        let key = &stream.key;
        let wall = |wall_ns: u64| (wall_ns != 0).then(|| timestamp(wall_ns));
        let order = |[request, response]: [u64; 2]| match key.role {
            Role::Server => [request, response],
            Role::Client => [response, request],
        };
        let [received, sent] = order(stream.bytes);
        let end_ns = stream.ended.map(|ended| ended.at_ns).or(at_ns);
        Self {
            id: stream.id,
            endpoint_id: stream.endpoint.to_string(),
            kind: stream.kind.into(),
            service: key.service.name.to_string(),
            role: key.role.into(),
            pid: stream.tgid,
            protocol: key.protocol.name().to_owned(),
            operation: key.operation.to_string(),
            method: stream.method.clone(),
            path: stream.path.clone(),
            host: stream.host.clone(),
            peer: stream.peer.map(|peer| peer.to_string()),
            client_address: stream.client.map(|client| client.to_string()),
            request_id: stream.request_id.clone(),
            since: wall(stream.since_wall_ns),
            duration_ms: end_ns.map(|end_ns| ms(&end_ns.saturating_sub(stream.since_ns))),
            bytes: Bytes { received, sent },
            messages: stream
                .messages
                .map(order)
                .map(|[received, sent]| Messages { received, sent }),
            open: stream.ended.is_none(),
            outcome: stream.ended.map(|ended| ended.outcome.into()),
            status: stream.ended.and_then(|ended| ended.status),
            ended_at: wall(stream.ended_wall_ns),
        }
    }
}

/// Streams.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StreamList {
    /// How many are open, of all kinds and endpoints.
    pub open: u64,
    /// Those that are open, oldest first; the 1000 oldest are listed.
    pub streams: Vec<Stream>,
    /// The newest of those that ended, newest first; 100 are kept.
    pub closed: Vec<Stream>,
}
