//! Whom TLS clients said that they mean, and which of their connections nothing more is seen of.
//!
//! By both ends of a connection, since its plaintext is a connection of its own. A connection's name is better than its
//! address's: of an address that many names share it says which one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::endpoint::Peer;
use crate::event::Hello;
use crate::process::Services;
use crate::protocol::client_hello::server_name;
use crate::snapshot::Unread;

/// Connections that are kept; then the oldest one goes.
const MAX_CONNECTIONS: usize = 16_384;
/// Peers of services that are kept. Connections to those beyond are counted, and told of nobody.
const MAX_PEERS: usize = 4_096;

/// A connection: the process, its end, the peer's.
type Ends = (u32, SocketAddr, SocketAddr);

/// What was said on a connection.
#[derive(Debug)]
struct Said {
    at_ns: u64,
    /// The peer's place, while nothing that went over the connection was seen.
    unread: Option<usize>,
    name: Option<Arc<str>>,
}

/// A service's connections to a peer.
#[derive(Debug)]
struct Met {
    service: u32,
    peer: Peer,
    address: SocketAddr,
    unread: u64,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Hellos {
    connections: HashMap<Ends, Said>,
    /// When each was learned, in order; some were learned anew meanwhile.
    order: VecDeque<(Ends, u64)>,
    peers: Vec<Met>,
    /// By service and peer, the place of it.
    places: HashMap<(u32, Peer), usize>,
}

impl Hellos {
    /// A client, a process of this service, began a handshake. What was said between these ends before is over. False if
    /// there is no room for the peer.
    pub(super) fn learn(&mut self, hello: &Hello<'_>, service: u32) -> bool {
        let name = server_name(hello.bytes).map(CompactString::from).map(lower_case);
        let peer = match &name {
            Some(host) => Peer::Name {
                host: host.clone(),
                port: hello.remote.port(),
            },
            None => Peer::Address(hello.remote),
        };
        let place = self.place(service, peer, hello.remote);
        if let Some(place) = place {
            let met = &mut self.peers[place];
            met.address = hello.remote;
            met.unread += 1;
        }
        if self.order.len() >= MAX_CONNECTIONS
            && let Some((oldest, at_ns)) = self.order.pop_front()
            && self.connections.get(&oldest).is_some_and(|said| said.at_ns == at_ns)
        {
            self.connections.remove(&oldest);
        }
        let ends = (hello.tgid, hello.local, hello.remote);
        self.order.push_back((ends, hello.at_ns));
        let said = Said {
            at_ns: hello.at_ns,
            unread: place,
            name: name.as_deref().map(Arc::from),
        };
        self.connections.insert(ends, said);
        place.is_some()
    }

    /// A request of the process is seen on this connection. Gives whom it said that it means.
    pub(super) fn read(&mut self, tgid: u32, local: SocketAddr, remote: SocketAddr) -> Option<Arc<str>> {
        let said = self.connections.get_mut(&(tgid, local, remote))?;
        if let Some(place) = said.unread.take() {
            self.peers[place].unread -= 1;
        }
        said.name.clone()
    }

    /// Peers to which there were connections of which no request was seen.
    pub(super) fn unread(&self, services: &Services) -> Vec<Unread> {
        let unread = self.peers.iter().filter(|met| met.unread > 0);
        unread
            .map(|met| Unread {
                service: Arc::clone(services.get(met.service)),
                peer: met.peer.clone(),
                address: met.address,
                connections: met.unread,
            })
            .collect()
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        let names = self.connections.values().filter_map(|said| said.name.as_ref());
        self.connections.allocation_size()
            + names.map(|name| name.len()).sum::<usize>()
            + self.order.capacity() * size_of::<(Ends, u64)>()
            + self.peers.capacity() * size_of::<Met>()
            + self.places.allocation_size()
    }

    fn place(&mut self, service: u32, peer: Peer, address: SocketAddr) -> Option<usize> {
        let key = (service, peer);
        if let Some(place) = self.places.get(&key) {
            return Some(*place);
        }
        if self.peers.len() >= MAX_PEERS {
            return None;
        }
        self.peers.push(Met {
            service,
            peer: key.1.clone(),
            address,
            unread: 0,
        });
        self.places.insert(key, self.peers.len() - 1);
        Some(self.peers.len() - 1)
    }
}

fn lower_case(mut name: CompactString) -> CompactString {
    name.make_ascii_lowercase();
    name
}
