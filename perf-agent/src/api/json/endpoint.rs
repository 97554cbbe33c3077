//! Endpoints with their figures.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::breakdown::Breakdown;
use super::stream::Streams;
use super::time::Throughput;
use super::{RoleName, Summary, WindowName, measured, rounded};
use crate::aggregate::WindowView;
use crate::endpoint::{EndpointKey, Peer as KeyPeer};
use crate::exchange::Outcome;
use crate::process;
use crate::snapshot::{EndpointSnapshot, PeerSeen};

/// An observed program as an endpoint belongs to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Service {
    /// What people call it: unit, executable or process name.
    pub name: String,
    /// Path of the executable.
    pub exe: Option<String>,
    /// The port it listens on; null in the client role and for Unix sockets.
    pub port: Option<u16>,
    /// Path of the Unix socket it listens on.
    pub socket: Option<String>,
    /// Its living processes.
    pub pids: Vec<u32>,
    /// Container id.
    pub container: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
}

impl From<&process::Service> for Service {
    fn from(service: &process::Service) -> Self {
        let key = &service.key;
        Self {
            name: key.name.to_string(),
            exe: key.exe.as_ref().map(ToString::to_string),
            port: key.port,
            socket: key.socket.as_ref().map(ToString::to_string),
            pids: service.pids.clone(),
            container: key.container.as_ref().map(ToString::to_string),
            unit: key.unit.as_ref().map(ToString::to_string),
        }
    }
}

/// Whom a client asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Peer {
    /// IP address: where the endpoint is told by name, the one last connected to.
    pub address: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// The host as the request said it; else the name that the TLS handshake asked for; else the one whose address was asked
    /// for before the process connected to it.
    pub name: Option<String>,
    /// Path of the Unix socket.
    pub socket: Option<String>,
}

impl Peer {
    /// Whom an endpoint asks; `None` in the server role.
    pub fn of(key: &EndpointKey, seen: &PeerSeen) -> Option<Self> {
        Some(Self::new(key.peer.as_ref()?, seen))
    }

    /// A peer, and what else is known of it.
    pub fn new(key: &KeyPeer, seen: &PeerSeen) -> Self {
        let mut peer = Self {
            address: None,
            port: None,
            name: None,
            socket: None,
        };
        match key {
            KeyPeer::Name { host, port } => {
                peer.name = Some(host.to_string());
                peer.port = (*port != 0).then_some(*port);
                peer.address = seen.address.map(|address| address.ip().to_string());
            }
            KeyPeer::Address(address) => {
                peer.address = Some(address.ip().to_string());
                peer.port = Some(address.port());
                peer.name = seen.name.as_deref().map(str::to_owned);
            }
            KeyPeer::Unix(path) => peer.socket = Some(path.to_string()),
        }
        peer
    }
}

/// How many exchanges ended how.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Outcomes {
    /// See `outcome`.
    pub answered: u64,
    /// See `outcome`.
    pub client_aborted: u64,
    /// See `outcome`.
    pub server_closed: u64,
    /// See `outcome`.
    pub cut: u64,
    /// See `outcome`.
    pub unknown: u64,
}

/// Exchanges in flight.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Concurrency {
    /// Now.
    pub current: u32,
    /// Most at once within the window.
    pub max: u32,
}

impl From<&WindowView> for Concurrency {
    fn from(view: &WindowView) -> Self {
        Self {
            current: view.in_flight,
            max: view.max_in_flight,
        }
    }
}

/// Bytes of the exchanges, heads included, from the process's side.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Bytes {
    /// Received by it.
    pub received: u64,
    /// Sent by it.
    pub sent: u64,
}

/// One endpoint: service, role, protocol and operation, with its figures over a window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Endpoint {
    /// Stable across restarts.
    pub id: String,
    /// The observed program.
    pub service: Service,
    /// The side it was on.
    pub role: RoleName,
    /// Whom it asked; client role only.
    pub peer: Option<Peer>,
    /// `http/1.1` and the like.
    pub protocol: String,
    /// Whether it went over TLS.
    pub tls: bool,
    /// What was asked for: method and route; of gRPC the full method, `/package.Service/Method`; of SQL the statement
    /// without its values; else a command.
    pub operation: String,
    /// HTTP method as sent; null for others.
    pub method: Option<String>,
    /// Path with placeholders; null for others than HTTP.
    pub route: Option<String>,
    /// Exchanges that ended in the window.
    pub requests: u64,
    /// Of them, with a 5xx (gRPC: any code but 0; databases and caches: an error) or not answered by the server.
    pub errors: u64,
    /// `errors / requests`; null without requests.
    pub error_rate: Option<f64>,
    /// Of them, with a 4xx; none of gRPC, whose codes do not tell whose fault it was.
    pub client_errors: u64,
    /// How many ended with which status; of gRPC with which code of its own, as a number; of databases and caches with
    /// which error code (SQLSTATE, MySQL's number, the first word of Redis' message), or `ok`.
    pub statuses: BTreeMap<String, u64>,
    /// How many ended how.
    pub outcomes: Outcomes,
    /// First request byte to last response byte, of answered exchanges.
    pub response_time_ms: Summary,
    /// First request byte to first response byte.
    pub time_to_first_byte_ms: Summary,
    /// First request byte readable in the socket to first request byte read; null where it was not measured.
    pub queue_time_ms: Option<Summary>,
    /// Exchanges per second.
    pub throughput: Throughput,
    /// Exchanges in flight.
    pub concurrency: Concurrency,
    /// Bytes.
    pub bytes: Bytes,
    /// What went on behind answers: WebSocket, server-sent events, tunnels, streaming calls.
    pub streams: Streams,
    /// Where the time went, in the server role; null if its process was not seen to call another one.
    pub breakdown: Option<Breakdown>,
}

impl Endpoint {
    /// An endpoint's figures over one window.
    pub fn new(endpoint: &EndpointSnapshot, view: &WindowView) -> Self {
        let key = &endpoint.key;
        let operation = &key.operation;
        Self {
            id: endpoint.id.to_string(),
            service: Service::from(&*endpoint.service),
            role: key.role.into(),
            peer: Peer::of(key, &endpoint.peer_seen),
            protocol: key.protocol.name().to_owned(),
            tls: key.tls,
            operation: operation.to_string(),
            method: (!operation.method.is_empty()).then(|| operation.method.to_string()),
            route: key.protocol.has_routes().then(|| operation.route.to_string()),
            requests: view.requests,
            errors: view.errors,
            error_rate: view.error_rate().map(rounded),
            client_errors: view.client_errors,
            statuses: endpoint.statuses(view),
            outcomes: Outcomes {
                answered: view.outcome(Outcome::Answered),
                client_aborted: view.outcome(Outcome::ClientAborted),
                server_closed: view.outcome(Outcome::ServerClosed),
                cut: view.outcome(Outcome::Cut),
                unknown: view.outcome(Outcome::Unknown),
            },
            response_time_ms: Summary::from(&view.response_time),
            time_to_first_byte_ms: Summary::from(&view.time_to_first_byte),
            queue_time_ms: measured(&view.queue_time),
            throughput: view.into(),
            concurrency: view.into(),
            bytes: Bytes {
                received: view.bytes_received,
                sent: view.bytes_sent,
            },
            streams: view.into(),
            breakdown: Breakdown::new(view),
        }
    }
}

/// Why a segment of a route is a placeholder.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RoutePart {
    /// Place of the segment in the path, from 0.
    pub segment: usize,
    /// Why.
    pub reason: String,
}

/// One endpoint in full.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EndpointDetail {
    /// The window of all figures.
    pub window: WindowName,
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// Last request byte to first response byte; null where it was not measured.
    pub processing_ms: Option<Summary>,
    /// Why its route is what it is: the segments that became placeholders. The others are as they were sent.
    pub route_reason: Vec<RoutePart>,
}

impl EndpointDetail {
    /// An endpoint's figures over one window.
    pub fn new(endpoint: &EndpointSnapshot, view: &WindowView) -> Self {
        let part = |(segment, reason): &(usize, std::borrow::Cow<'static, str>)| RoutePart {
            segment: *segment,
            reason: reason.to_string(),
        };
        Self {
            window: view.window.into(),
            endpoint: Endpoint::new(endpoint, view),
            processing_ms: measured(&view.processing),
            route_reason: endpoint.reason.parts.iter().map(part).collect(),
        }
    }
}

/// Endpoints with their figures over a window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Endpoints {
    /// The window of all figures.
    pub window: WindowName,
    /// How many there are that fit the filters; `limit` cuts the list, not this number.
    pub total: usize,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}
