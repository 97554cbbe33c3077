//! How packets fare, per peer and endpoint.

use serde::Serialize;
use utoipa::ToSchema;

use super::endpoint::{Bytes, Peer};
use super::{RoleName, Summary, WindowName, measured};
use crate::aggregate::{self, Window, WindowView};
use crate::endpoint;
use crate::exchange::Role;
use crate::snapshot::{EndpointSnapshot, PeerSeen, Snapshot};

/// What the sockets of some connections said: each once a second while it was used, and at its end.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Packets {
    /// Smoothed round-trip times, one of each connection and second; null where none was measured.
    pub rtt_ms: Option<Summary>,
    /// Their mean deviations.
    pub rtt_variance_ms: Option<Summary>,
    /// From SYN to its answer, of connections that the service opened.
    pub connect_ms: Option<Summary>,
    /// Segments sent again by this host.
    pub retransmits: u64,
    /// Connections that ended by an RST or a time-out.
    pub resets: u64,
}

impl Packets {
    fn new(network: &aggregate::Network) -> Self {
        Self {
            rtt_ms: measured(&network.rtt),
            rtt_variance_ms: measured(&network.rtt_variance),
            connect_ms: measured(&network.connect),
            retransmits: network.retransmits,
            resets: network.resets,
        }
    }
}

/// One endpoint's part.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EndpointPackets {
    /// Its id.
    pub endpoint_id: String,
    /// What was asked for.
    pub operation: String,
    /// Bytes of its exchanges.
    pub bytes: Bytes,
    /// What the sockets said of connections that were used for it last.
    #[serde(flatten)]
    pub packets: Packets,
}

/// A service and a peer of it; of a server, all its clients.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Path {
    /// The service's name.
    pub service: String,
    /// Its port, in the server role.
    pub port: Option<u16>,
    /// The side it was on.
    pub role: RoleName,
    /// Whom it asked; client role only.
    pub peer: Option<Peer>,
    /// Bytes of the exchanges.
    pub bytes: Bytes,
    /// What the sockets said.
    #[serde(flatten)]
    pub packets: Packets,
    /// By endpoint.
    pub endpoints: Vec<EndpointPackets>,
}

/// How packets fare between the services of this host and their peers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Networks {
    /// The window of all figures.
    pub window: WindowName,
    /// Each service and peer, those with most bytes first.
    pub paths: Vec<Path>,
}

impl Networks {
    /// Over one window.
    pub fn new(snapshot: &Snapshot, window: Window) -> Self {
        let mut views: Vec<(&EndpointSnapshot, WindowView)> = Vec::new();
        for endpoint in &snapshot.endpoints {
            let view = endpoint.window(window, snapshot.at_ns);
            if view.requests > 0 || view.network.is_some() {
                views.push((endpoint, view));
            }
        }
        let same = |one: &EndpointSnapshot, other: &EndpointSnapshot| {
            one.key.service == other.key.service && one.key.role == other.key.role && one.key.peer == other.key.peer
        };
        let mut paths: Vec<Vec<(&EndpointSnapshot, WindowView)>> = Vec::new();
        for (endpoint, view) in views {
            match paths.iter_mut().find(|path| same(path[0].0, endpoint)) {
                Some(path) => path.push((endpoint, view)),
                None => paths.push(vec![(endpoint, view)]),
            }
        }
        let mut paths: Vec<Path> = paths.iter().map(|path| Path::new(path)).collect();
        paths.sort_by_key(|path| std::cmp::Reverse(path.bytes.received + path.bytes.sent));
        Self {
            window: window.into(),
            paths,
        }
    }
}

impl Path {
    fn new(path: &[(&EndpointSnapshot, WindowView)]) -> Self {
        let mut sum = aggregate::Network::default();
        let mut bytes = Bytes { received: 0, sent: 0 };
        let mut endpoints = Vec::new();
        for (endpoint, view) in path {
            let network = view.network.as_deref().cloned().unwrap_or_default();
            sum.merge(&network);
            bytes.received += view.bytes_received;
            bytes.sent += view.bytes_sent;
            endpoints.push(EndpointPackets {
                endpoint_id: endpoint.id.to_string(),
                operation: endpoint.key.operation.to_string(),
                bytes: Bytes {
                    received: view.bytes_received,
                    sent: view.bytes_sent,
                },
                packets: Packets::new(&network),
            });
        }
        let endpoint::EndpointKey {
            service, role, peer, ..
        } = &*path[0].0.key;
        let seen = PeerSeen {
            address: path.iter().find_map(|(endpoint, _)| endpoint.peer_seen.address),
            name: path.iter().find_map(|(endpoint, _)| endpoint.peer_seen.name.clone()),
        };
        Self {
            service: service.name.to_string(),
            port: service.port.filter(|_| *role == Role::Server),
            role: (*role).into(),
            peer: peer.as_ref().map(|peer| Peer::new(peer, &seen)),
            bytes,
            packets: Packets::new(&sum),
            endpoints,
        }
    }
}
