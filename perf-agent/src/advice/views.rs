//! What all rules look at: each endpoint's window, merged once.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{ENDPOINTS, WINDOW};
use crate::aggregate::{Counts, Distribution, Window, WindowView};
use crate::endpoint::Peer;
use crate::exchange::Role;
use crate::process::ServiceKey;
use crate::protocol;
use crate::snapshot::{EndpointSnapshot, Pool, Snapshot};

/// One endpoint and its figures.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) endpoint: &'a Arc<EndpointSnapshot>,
    /// Its id.
    pub(super) number: u64,
    pub(super) view: WindowView,
    /// It waits for something to happen, so its time says nothing.
    pub(super) waits: bool,
}

/// Those of one service, in the server role.
#[derive(Debug)]
pub(super) struct Served<'a> {
    pub(super) service: &'a Arc<ServiceKey>,
    pub(super) endpoints: Vec<&'a Seen<'a>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Views<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) at_ns: u64,
    /// Those of which something was seen within the window, at most [`ENDPOINTS`], in order of first appearance.
    pub(super) all: Vec<Seen<'a>>,
    /// Others of which something was seen within the window.
    pub(super) left_out: usize,
    /// Of every endpoint, in the snapshot's order: counts since the start.
    pub(super) counts: Vec<Counts>,
    /// Every endpoint, by the number that its id is.
    by_number: HashMap<u64, &'a Arc<EndpointSnapshot>>,
}

impl<'a> Views<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, at_ns: u64) -> Self {
        let at_ns = at_ns.max(snapshot.at_ns);
        let endpoints = &snapshot.endpoints;
        let counts = |window| {
            endpoints
                .iter()
                .map(move |endpoint| endpoint.aggregate.counts(window, at_ns))
        };
        let numbers: Vec<u64> = endpoints.iter().map(|endpoint| endpoint.key.id_number()).collect();
        let active = |counts: &Counts| counts.requests > 0 || counts.in_flight > 0;
        let mut active: Vec<(usize, u64)> = counts(WINDOW)
            .enumerate()
            .filter(|(_, counts)| active(counts))
            .map(|(place, counts)| (place, counts.requests))
            .collect();
        let left_out = active.len().saturating_sub(ENDPOINTS);
        if left_out > 0 {
            active.sort_unstable_by_key(|(place, requests)| (std::cmp::Reverse(*requests), *place));
            active.truncate(ENDPOINTS);
            active.sort_unstable();
        }
        let seen = |(place, _): (usize, u64)| {
            let endpoint = &endpoints[place];
            Seen {
                endpoint,
                number: numbers[place],
                view: endpoint.window(WINDOW, at_ns),
                waits: protocol::waits(endpoint.key.protocol, &endpoint.key.operation.route),
            }
        };
        Self {
            snapshot,
            at_ns,
            all: active.into_iter().map(seen).collect(),
            left_out,
            counts: counts(Window::Start).collect(),
            by_number: numbers.iter().copied().zip(endpoints).collect(),
        }
    }

    /// Endpoints of servers.
    pub(super) fn served(&self) -> impl Iterator<Item = &Seen<'a>> {
        self.all
            .iter()
            .filter(|seen| seen.endpoint.key.role == Role::Server && !seen.waits)
    }

    /// The same by service, in order of first appearance.
    pub(super) fn services(&'a self) -> Vec<Served<'a>> {
        let mut places: HashMap<&ServiceKey, usize> = HashMap::new();
        let mut services: Vec<Served<'a>> = Vec::new();
        for seen in self.served() {
            let service = &seen.endpoint.key.service;
            let place = *places.entry(service).or_insert(services.len());
            if place == services.len() {
                services.push(Served {
                    service,
                    endpoints: Vec::new(),
                });
            }
            services[place].endpoints.push(seen);
        }
        services
    }

    /// The endpoint whose id is this number, if it is known still.
    pub(super) fn endpoint(&self, number: u64) -> Option<&'a EndpointSnapshot> {
        self.by_number.get(&number).map(|endpoint| &***endpoint)
    }

    /// What was asked on the connections of a pool.
    pub(super) fn asked<'b>(&'b self, pool: &'b Pool) -> impl Iterator<Item = &'b Seen<'a>> {
        self.all.iter().filter(|seen| is_asked_on(&seen.endpoint.key, pool))
    }
}

/// Do requests of this endpoint go out on connections of this pool?
fn is_asked_on(key: &crate::endpoint::EndpointKey, pool: &Pool) -> bool {
    key.role == Role::Client
        && key.peer.as_ref() == Some(&pool.peer)
        && key.tls == pool.tls
        && key.service == pool.service.key
}

/// A service's connections to a peer: what tells them from others.
pub(super) type PoolKey = (Arc<ServiceKey>, Peer, bool);

/// That of a pool.
pub(super) fn pool_key(pool: &Pool) -> PoolKey {
    (Arc::clone(&pool.service.key), pool.peer.clone(), pool.tls)
}

/// Their mean; `None` without samples.
pub(super) fn mean_ns(times: &Distribution) -> Option<f64> {
    (times.count() > 0).then(|| times.sum_ns() as f64 / times.count() as f64)
}

/// A time that was lost within a window, as milliseconds per second of it.
pub(super) fn per_second(lost_ns: f64, covered_ns: u64) -> f64 {
    lost_ns / 1e6 / seconds(covered_ns)
}

/// Of a window; never less than one, since rates over next to nothing say nothing.
pub(super) fn seconds(covered_ns: u64) -> f64 {
    (covered_ns as f64 / 1e9).max(1.0)
}
