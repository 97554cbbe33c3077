//! What is remembered of earlier runs: endpoints with their windows, the numbers of error codes, and when no agent ran.
//!
//! It is read before the first record. An endpoint comes back under its key, so its id is the same; its routes' tree
//! learns its route, so a place that had collapsed stays so. What is in flight, connections, the request log and open
//! streams are not remembered.

use crate::aggregate::stored::{Interrupted, StoredSlots};
use crate::endpoint::{EndpointKey, RouteReason};
use crate::exchange::ErrorCode;
use crate::snapshot::PeerSeen;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// What the core's time is ahead of the records': the core then counts nanoseconds since 1970 as the wall clock said at
    /// the start, so that what lies before the machine's start has a time, too, and slots are those of the wall clock. If
    /// that is set later, the core's time does not follow; outputs go by the difference to the newest tick.
    pub ahead_ns: u64,
    /// When the last run ended and this one begins.
    pub interrupted: Interrupted,
    /// Error codes in the order of their numbers.
    pub codes: [Vec<ErrorCode>; 2],
    /// In the order in which they are numbered.
    pub endpoints: Vec<RememberedEndpoint>,
    /// The sum of all servers.
    pub total: StoredSlots,
}

/// An endpoint.
#[derive(Clone, Debug)]
pub struct RememberedEndpoint {
    /// Who it is.
    pub key: EndpointKey,
    /// Why its route is what it is.
    pub reason: RouteReason,
    /// What was known of the peer.
    pub peer_seen: PeerSeen,
    /// Its slots.
    pub slots: StoredSlots,
}
