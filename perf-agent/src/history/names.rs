//! Who is who, as it is stored: endpoints' keys and error codes, in JSON, which people can read and later versions extend.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::endpoint::{EndpointKey, Operation, Peer, RouteReason};
use crate::exchange::{ErrorCode, Protocol, Role};
use crate::process::ServiceKey;
use crate::snapshot::{EndpointSnapshot, PeerSeen};

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredEndpoint {
    service: StoredService,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<StoredPeer>,
    tls: bool,
    protocol: String,
    method: String,
    route: String,
    /// Places of the route's placeholders, and why they are.
    reason: Vec<(usize, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_name: Option<String>,
    /// Endpoints are numbered in this order: nanoseconds since 1970, about when it was first stored.
    pub(crate) first_ns: u64,
    /// It was still used then, give or take an hour.
    pub(crate) seen_ns: u64,
    /// The endpoint that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) into: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredService {
    name: String,
    exe: Option<String>,
    container: Option<String>,
    unit: Option<String>,
    port: Option<u16>,
    socket: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredPeer {
    Name { host: String, port: u16 },
    Address(SocketAddr),
    Unix(String),
}

impl StoredEndpoint {
    /// As it is now.
    pub(crate) fn new(endpoint: &EndpointSnapshot, first_ns: u64, seen_ns: u64) -> Self {
        let key = &*endpoint.key;
        let service = &*key.service;
        let text = |text: &Option<compact_str::CompactString>| text.as_ref().map(ToString::to_string);
        Self {
            service: StoredService {
                name: service.name.to_string(),
                exe: text(&service.exe),
                container: text(&service.container),
                unit: text(&service.unit),
                port: service.port,
                socket: text(&service.socket),
            },
            role: key.role.name().to_owned(),
            peer: key.peer.as_ref().map(|peer| match peer {
                Peer::Name { host, port } => StoredPeer::Name {
                    host: host.to_string(),
                    port: *port,
                },
                Peer::Address(address) => StoredPeer::Address(*address),
                Peer::Unix(path) => StoredPeer::Unix(path.to_string()),
            }),
            tls: key.tls,
            protocol: key.protocol.name().to_owned(),
            method: key.operation.method.to_string(),
            route: key.operation.route.to_string(),
            reason: endpoint
                .reason
                .parts
                .iter()
                .map(|(place, why)| (*place, why.to_string()))
                .collect(),
            peer_address: endpoint.peer_seen.address,
            peer_name: endpoint.peer_seen.name.as_deref().map(str::to_owned),
            first_ns,
            seen_ns,
            into: None,
        }
    }

    /// `None` if there is a word in it that this version does not know.
    pub(crate) fn key(&self) -> Option<EndpointKey> {
        let service = &self.service;
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        Some(EndpointKey {
            service: Arc::new(ServiceKey {
                name: service.name.as_str().into(),
                exe: text(&service.exe),
                container: text(&service.container),
                unit: text(&service.unit),
                port: service.port,
                socket: text(&service.socket),
            }),
            role: [Role::Server, Role::Client]
                .into_iter()
                .find(|role| role.name() == self.role)?,
            peer: self.peer.as_ref().map(|peer| match peer {
                StoredPeer::Name { host, port } => Peer::Name {
                    host: host.as_str().into(),
                    port: *port,
                },
                StoredPeer::Address(address) => Peer::Address(*address),
                StoredPeer::Unix(path) => Peer::Unix(path.as_str().into()),
            }),
            tls: self.tls,
            protocol: Protocol::ALL
                .into_iter()
                .find(|protocol| protocol.name() == self.protocol)?,
            operation: Operation {
                method: self.method.as_str().into(),
                route: self.route.as_str().into(),
            },
        })
    }

    /// Why the route is what it is.
    pub(crate) fn reason(&self) -> RouteReason {
        let part = |(place, why): &(usize, String)| (*place, Cow::Owned(why.clone()));
        RouteReason {
            parts: self.reason.iter().map(part).collect(),
        }
    }

    /// What was known of the peer.
    pub(crate) fn peer_seen(&self) -> PeerSeen {
        PeerSeen {
            address: self.peer_address,
            name: self.peer_name.as_deref().map(Into::into),
        }
    }

    /// The bytes that are stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    /// Of bytes that may be anything.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Error codes in the order of their numbers: errors, and what tells to ask elsewhere.
pub(crate) fn codes_to_bytes(lists: &[Vec<ErrorCode>; 2]) -> Vec<u8> {
    let texts = |codes: &Vec<ErrorCode>| codes.iter().map(|code| code.as_str().to_owned()).collect::<Vec<_>>();
    serde_json::to_vec(&[texts(&lists[0]), texts(&lists[1])]).expect("texts are JSON")
}

/// Of bytes that may be anything.
pub(crate) fn codes_of_bytes(bytes: &[u8]) -> [Vec<ErrorCode>; 2] {
    let texts: [Vec<String>; 2] = serde_json::from_slice(bytes).unwrap_or_default();
    let [errors, redirects] = texts;
    let code = |text: &String, is_redirect| {
        // An error without a name is written as this, and must not become one of that name.
        let mut code = ErrorCode::new(if text == UNNAMED { "" } else { text }.as_bytes());
        code.is_redirect = is_redirect;
        code
    };
    [
        errors.iter().map(|text| code(text, false)).collect(),
        redirects.iter().map(|text| code(text, true)).collect(),
    ]
}

/// What [`ErrorCode::as_str`] says of one without a name.
const UNNAMED: &str = "unnamed";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Aggregate;
    use crate::process::Service;
    use crate::statistics::codes::CodeNames;

    fn endpoint(peer: Option<Peer>) -> EndpointSnapshot {
        let service = Arc::new(ServiceKey {
            name: "shop".into(),
            exe: Some("/usr/bin/shop".into()),
            container: None,
            unit: Some("shop.service".into()),
            port: None,
            socket: Some("@shop".into()),
        });
        let key = EndpointKey {
            service: Arc::clone(&service),
            role: Role::Client,
            peer,
            tls: true,
            protocol: Protocol::Postgresql,
            operation: Operation {
                method: "".into(),
                route: "SELECT \"ü\" FROM t".into(),
            },
        };
        EndpointSnapshot {
            id: key.id().into(),
            key: Arc::new(key),
            peer_seen: PeerSeen {
                address: Some(([10, 0, 0, 1], 5432).into()),
                name: Some("db".into()),
            },
            service: Arc::new(Service {
                key: service,
                pids: vec![],
            }),
            reason: RouteReason {
                parts: vec![(1, "a number".into())],
            },
            codes: CodeNames::default(),
            aggregate: Arc::new(Aggregate::new(Role::Client, 0)),
        }
    }

    #[test]
    fn an_endpoint_comes_back_with_its_key_and_its_id() {
        for peer in [
            None,
            Some(Peer::Name {
                host: "db".into(),
                port: 1,
            }),
            Some(Peer::Address(([1, 2, 3, 4], 5).into())),
            Some(Peer::Unix("/run/db".into())),
        ] {
            let endpoint = endpoint(peer);
            let stored = StoredEndpoint::new(&endpoint, 1, 2);
            let read = StoredEndpoint::of_bytes(&stored.to_bytes()).expect("it was just written");
            assert_eq!(read, stored);
            let key = read.key().expect("every word is known");
            assert_eq!(key, *endpoint.key);
            assert_eq!(key.id(), *endpoint.id);
            assert_eq!(read.reason(), endpoint.reason);
            assert_eq!(read.peer_seen().name, endpoint.peer_seen.name);
        }
        assert_eq!(StoredEndpoint::of_bytes(b"{}"), None);
    }

    #[test]
    fn codes_come_back_in_order() {
        let mut moved = ErrorCode::new(b"MOVED");
        moved.is_redirect = true;
        let lists = [vec![ErrorCode::new(b"40001"), ErrorCode::new(b"")], vec![moved]];
        assert_eq!(codes_of_bytes(&codes_to_bytes(&lists)), lists);
        assert_eq!(codes_of_bytes(b"x"), [vec![], vec![]]);
    }
}
