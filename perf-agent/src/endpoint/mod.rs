//! Endpoints: what exchanges are grouped by.
//!
//! An endpoint is a service, the role it played, whom it spoke to (client role), the protocol and the operation: method
//! and route. A route is a path with its variable parts replaced by placeholders; [`route`] makes it and can say why.

pub mod route;
mod segment;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use compact_str::CompactString;

pub use route::{RouteError, Routes};
pub(crate) use segment::{is_long_token, is_secret as is_secret_segment, is_web_token};

use crate::exchange::{Protocol, Role};
use crate::process::ServiceKey;

/// Route of the endpoint that takes what exceeds the number of endpoints, one per service, role and protocol.
pub const OTHER: &str = "(other)";

/// Route of requests whose path was not seen.
pub const UNSEEN: &str = "(unseen)";

/// What exchanges are grouped by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// The observed program.
    pub service: Arc<ServiceKey>,
    /// The side it was on.
    pub role: Role,
    /// Whom it asked; client role only.
    pub peer: Option<Peer>,
    /// Whether they spoke through TLS.
    pub tls: bool,
    /// How they spoke.
    pub protocol: Protocol,
    /// What was asked for.
    pub operation: Operation,
}

/// HTTP method and route; of gRPC the full method, `/package.Service/Method`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The method as sent (at most 32 bytes of it); empty in [`OTHER`] and for gRPC.
    pub method: CompactString,
    /// The path with placeholders, gRPC's as it was sent, [`OTHER`] or [`UNSEEN`].
    pub route: CompactString,
}

impl Operation {
    /// The operation of everything beyond the number of endpoints.
    pub fn other() -> Self {
        Self {
            method: CompactString::const_new(""),
            route: CompactString::const_new(OTHER),
        }
    }

    /// True for [`Operation::other`].
    pub fn is_other(&self) -> bool {
        self.method.is_empty() && self.route == OTHER
    }
}

/// `GET /users/{id}`
impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.method.is_empty() {
            f.write_str(&self.route)
        } else {
            write!(f, "{} {}", self.method, self.route)
        }
    }
}

/// Whom a client asked: by name where the request says it, else by address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The request's host, in lower case, and the port connected to.
    Name {
        /// Without port.
        host: CompactString,
        /// Of the connection; 0 for a Unix socket.
        port: u16,
    },
    /// No host was said, or it is an address, or there were too many different ones.
    Address(SocketAddr),
    /// A Unix socket's path, and no host that says more.
    Unix(CompactString),
}

/// Why a route is what it is: for each segment that became a placeholder, its place (from 0) and the reason. Segments
/// that are not named are there as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteReason {
    /// Place of the segment and reason.
    pub parts: Vec<(usize, Cow<'static, str>)>,
}

impl EndpointKey {
    /// The id: 16 hexadecimal digits that depend on the key only, not on the machine, the process or the time.
    pub fn id(&self) -> String {
        format!("{:016x}", self.id_number())
    }

    /// The same as a number.
    pub fn id_number(&self) -> u64 {
        let mut hash = Fnv::new();
        let service = &self.service;
        hash.text(service.exe.as_deref().unwrap_or_default());
        hash.text(&service.name);
        hash.text(service.container.as_deref().unwrap_or_default());
        hash.text(service.unit.as_deref().unwrap_or_default());
        hash.number(service.port.map_or(0, u64::from));
        hash.text(service.socket.as_deref().unwrap_or_default());
        hash.text(self.role.name());
        match &self.peer {
            None => hash.number(0),
            Some(Peer::Name { host, port }) => {
                hash.number(1);
                hash.text(host);
                hash.number((*port).into());
            }
            Some(Peer::Address(address)) => {
                hash.number(2);
                hash.text(&address.to_string());
            }
            Some(Peer::Unix(path)) => {
                hash.number(3);
                hash.text(path);
            }
        }
        hash.text(self.protocol.name());
        hash.text(&self.operation.method);
        hash.text(&self.operation.route);
        if self.tls {
            hash.text("tls");
        }
        hash.finish()
    }
}

/// FNV-1a, 64 bits: for ids, which have to be stable and need no defence against chosen input; tables hash with a random
/// seed. <https://datatracker.ietf.org/doc/html/rfc9923>
pub(crate) struct Fnv(pub(crate) u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }

    /// A text and its end, so that texts in a row cannot run into each other.
    pub(crate) fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
        self.byte(0xff);
    }

    pub(crate) fn number(&mut self, number: u64) {
        number.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    /// The hash.
    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(route: &str) -> EndpointKey {
        EndpointKey {
            service: Arc::new(ServiceKey {
                name: "nginx".into(),
                exe: Some("/usr/sbin/nginx".into()),
                container: None,
                unit: Some("nginx.service".into()),
                port: Some(80),
                socket: None,
            }),
            role: Role::Server,
            peer: None,
            tls: false,
            protocol: Protocol::Http11,
            operation: Operation {
                method: "GET".into(),
                route: route.into(),
            },
        }
    }

    #[test]
    fn an_id_is_the_same_in_every_process_and_every_version() {
        // Computed by another implementation of FNV-1a: whoever stored an id finds its endpoint again.
        assert_eq!(key("/users/{id}").id(), "8b356477f41e115b");
        assert_eq!(key("/users/{id}").id(), key("/users/{id}").id());
    }

    #[test]
    fn whatever_differs_in_the_key_differs_in_the_id() {
        let base = key("/a");
        let mut others = vec![key("/b")];
        let mut other = key("/a");
        other.role = Role::Client;
        others.push(other);
        for peer in [
            Peer::Name {
                host: "a".into(),
                port: 1,
            },
            Peer::Name {
                host: "a".into(),
                port: 2,
            },
            Peer::Address(([1, 2, 3, 4], 1).into()),
            Peer::Unix("a".into()),
        ] {
            let mut other = key("/a");
            other.peer = Some(peer);
            others.push(other);
        }
        let mut other = key("/a");
        other.protocol = Protocol::Http10;
        others.push(other);
        let mut other = key("/a");
        other.operation.method = "POST".into();
        others.push(other);
        let mut other = key("/a");
        Arc::make_mut(&mut other.service).port = Some(81);
        others.push(other);
        others.push(base);
        let ids: std::collections::HashSet<_> = others.iter().map(EndpointKey::id).collect();
        assert_eq!(ids.len(), others.len());
    }
}
