//! Whom the services of this host asked, and what for: client endpoints, grouped by peer.

use std::collections::HashMap;
use std::sync::Arc;

use crate::aggregate::Distribution;
use crate::aggregate::{Tallies, Window, WindowView};
use crate::endpoint::Peer;
use crate::exchange::{Class, Protocol, Role};
use crate::protocol;
use crate::snapshot::{EndpointSnapshot, PeerSeen, Pool, Snapshot};

/// Sums over endpoints. Those that wait for something to happen (blocking commands, long polls) are counted, and their
/// times are not among the others'.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Exchanges that ended.
    pub requests: u64,
    /// Of them, those that wait.
    pub waiting: u64,
    /// Errors.
    pub errors: u64,
    /// Rows, hits and misses.
    pub tallies: Tallies,
    /// Of answered exchanges that do not wait.
    pub response_time: Distribution,
    /// How many ended with which code, by name.
    pub statuses: std::collections::BTreeMap<String, u64>,
}

/// One peer that was asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// Who.
    pub peer: Peer,
    /// What else is known of it.
    pub seen: PeerSeen,
    /// How.
    pub protocol: Protocol,
    /// Through TLS.
    pub tls: bool,
    /// Everything that was asked.
    pub sum: Sum,
    /// What was asked: endpoint and figures, those with most time first.
    pub operations: Vec<(Arc<EndpointSnapshot>, WindowView)>,
    /// Connections of each service to it.
    pub pools: Vec<Pool>,
}

/// All peers of one class.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Those with most time first.
    pub all: Vec<Target>,
    /// All of them together; `None` if there are none.
    pub sum: Option<Sum>,
}

impl Sum {
    /// Over all that was asked of one class; `None` if nothing was.
    pub fn of<'a>(views: impl Iterator<Item = (&'a EndpointSnapshot, &'a WindowView)>, class: Class) -> Option<Self> {
        let mut sum = None;
        for (endpoint, view) in views.filter(|(endpoint, view)| is_asked(endpoint, class) && view.requests > 0) {
            sum.get_or_insert_with(Self::default).add(endpoint, view);
        }
        sum
    }

    fn add(&mut self, endpoint: &EndpointSnapshot, view: &WindowView) {
        self.requests += view.requests;
        self.errors += view.errors;
        self.tallies.merge(&view.tallies);
        if protocol::waits(endpoint.key.protocol, &endpoint.key.operation.route) {
            self.waiting += view.requests;
        } else {
            self.response_time.merge(&view.response_time);
        }
        for (status, count) in endpoint.statuses(view) {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.waiting += other.waiting;
        self.errors += other.errors;
        self.tallies.merge(&other.tallies);
        self.response_time.merge(&other.response_time);
        for (status, count) in &other.statuses {
            *self.statuses.entry(status.clone()).or_default() += count;
        }
    }
}

/// Is this what a service asked a peer of one class for?
fn is_asked(endpoint: &EndpointSnapshot, class: Class) -> bool {
    let key = &endpoint.key;
    key.role == Role::Client && key.peer.is_some() && key.protocol.class() == class
}

impl Targets {
    /// The peers of one class that were asked within a window.
    pub fn of(snapshot: &Snapshot, window: Window, class: Class) -> Self {
        let mut all: HashMap<(Peer, Protocol, bool), Target> = HashMap::new();
        for endpoint in &snapshot.endpoints {
            let key = &endpoint.key;
            let (Role::Client, Some(peer)) = (key.role, &key.peer) else {
                continue;
            };
            if key.protocol.class() != class {
                continue;
            }
            let view = endpoint.window(window, snapshot.at_ns);
            if view.requests == 0 {
                continue;
            }
            // HTTP's versions are one target.
            let protocol = if key.protocol.has_routes() {
                Protocol::Http11
            } else {
                key.protocol
            };
            let target = all.entry((peer.clone(), protocol, key.tls)).or_insert_with(|| Target {
                peer: peer.clone(),
                seen: PeerSeen::default(),
                protocol,
                tls: key.tls,
                sum: Sum::default(),
                operations: Vec::new(),
                pools: Vec::new(),
            });
            target.seen.address = endpoint.peer_seen.address.or(target.seen.address);
            target.seen.name = endpoint.peer_seen.name.clone().or(target.seen.name.take());
            target.sum.add(endpoint, &view);
            target.operations.push((Arc::clone(endpoint), view));
        }
        let mut all: Vec<_> = all.into_values().collect();
        for target in &mut all {
            target.operations.sort_by_key(|(endpoint, view)| {
                (std::cmp::Reverse(view.response_time.sum_ns()), Arc::clone(&endpoint.id))
            });
            let same = |pool: &&Pool| pool.peer == target.peer && pool.tls == target.tls;
            target.pools = snapshot.pools.iter().filter(same).cloned().collect();
        }
        all.sort_by_cached_key(|target| {
            let first = target.operations.first().map(|(endpoint, _)| Arc::clone(&endpoint.id));
            (std::cmp::Reverse(target.sum.response_time.sum_ns()), first)
        });
        let sum = (!all.is_empty()).then(|| {
            let mut sum = Sum::default();
            for target in &all {
                sum.merge(&target.sum);
            }
            sum
        });
        Self { all, sum }
    }
}
