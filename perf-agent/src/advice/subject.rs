//! What recommendations are about, as numbers that are the same in every process: parts of their ids.

use crate::endpoint::{Fnv, Peer};
use crate::process::ServiceKey;

/// A hash of texts.
pub(super) fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hash = Fnv::new();
    texts.into_iter().for_each(|text| hash.text(text));
    hash.finish()
}

/// A hash of numbers.
pub(super) fn of_numbers(numbers: impl IntoIterator<Item = u64>) -> u64 {
    let mut hash = Fnv::new();
    numbers.into_iter().for_each(|number| hash.number(number));
    hash.finish()
}

/// Of a service.
pub(super) fn of_service(key: &ServiceKey) -> u64 {
    let mut hash = Fnv::new();
    hash.text(&key.name);
    hash.text(key.exe.as_deref().unwrap_or_default());
    hash.text(key.container.as_deref().unwrap_or_default());
    hash.text(key.unit.as_deref().unwrap_or_default());
    hash.number(key.port.map_or(0, u64::from));
    hash.text(key.socket.as_deref().unwrap_or_default());
    hash.finish()
}

/// Of a service's connections to a peer.
pub(super) fn of_pool(key: &ServiceKey, peer: &Peer, tls: bool) -> u64 {
    let peer = match peer {
        Peer::Name { host, port } => of_texts([host.as_str(), &port.to_string()]),
        Peer::Address(address) => of_texts([address.to_string().as_str()]),
        Peer::Unix(path) => of_texts([path.as_str()]),
    };
    of_numbers([of_service(key), peer, u64::from(tls)])
}

/// Are they the same program? A server's key has the port, a client's has not.
pub(super) fn is_same_program(one: &ServiceKey, other: &ServiceKey) -> bool {
    one.name == other.name && one.exe == other.exe && one.container == other.container && one.unit == other.unit
}
