//! HTTP endpoints of which answers told whether they came out of a cache.

use serde::Serialize;
use utoipa::ToSchema;

use super::endpoint::{Peer, Service};
use super::{RoleName, rounded};
use crate::aggregate::Window;
use crate::snapshot::Snapshot;

/// One endpoint behind a cache: of a service that is asked (`server`), or that asks (`client`). A proxy that keeps answers
/// is seen at its own end and at that of its clients, so hits are not to be added up over both roles.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HttpCache {
    /// Its endpoint; `/api/v1/endpoints/{id}` has all figures.
    pub endpoint_id: String,
    /// Whose it is.
    pub service: Service,
    /// Which side of it.
    pub role: RoleName,
    /// Who was asked; null in the server role.
    pub peer: Option<Peer>,
    /// Method and route.
    pub operation: String,
    /// Exchanges that ended.
    pub requests: u64,
    /// Answers out of a cache, by what they say: `Cache-Status` (RFC 9211), `X-Cache` and the like, `Age`; and 304, by which
    /// a copy of the client's own is good.
    pub hits: u64,
    /// Answers that a cache had to fetch, by what they say.
    pub misses: u64,
    /// Exchanges whose answer said neither.
    pub untold: u64,
    /// `hits / (hits + misses)`
    pub hit_rate: Option<f64>,
}

impl HttpCache {
    /// Those of a snapshot over one window, that with most answers that told first.
    pub fn all(snapshot: &Snapshot, window: Window) -> Vec<Self> {
        let mut all: Vec<_> = snapshot
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.key.protocol.has_routes())
            .filter_map(|endpoint| {
                let view = endpoint.window(window, snapshot.at_ns);
                let tallies = view.tallies;
                let told = tallies.hits + tallies.misses;
                (told > 0).then(|| Self {
                    endpoint_id: endpoint.id.to_string(),
                    service: Service::from(&*endpoint.service),
                    role: endpoint.key.role.into(),
                    peer: Peer::of(&endpoint.key, &endpoint.peer_seen),
                    operation: endpoint.key.operation.to_string(),
                    requests: view.requests,
                    hits: tallies.hits,
                    misses: tallies.misses,
                    untold: view.requests.saturating_sub(told),
                    hit_rate: tallies.hit_rate().map(rounded),
                })
            })
            .collect();
        all.sort_by(|a, b| {
            let told = |cache: &Self| cache.hits + cache.misses;
            told(b).cmp(&told(a)).then_with(|| a.endpoint_id.cmp(&b.endpoint_id))
        });
        all
    }
}
