//! Whom the services of this host asked: databases, caches, other services.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::endpoint::Peer;
use super::http_cache::HttpCache;
use super::{Summary, WindowName, mean_ms, rounded, total_ms};
use crate::aggregate::Window;
use crate::snapshot::{PeerSeen, Unread};
use crate::targets::{self, Sum, Target};

/// Connections of the services to a target, as far as exchanges were seen on them. How long a thread waited for one in its own
/// pool, no socket tells.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Pool)]
pub struct Connections {
    /// Open now.
    pub open: u32,
    /// Of them, with a request in flight.
    pub in_use: u32,
    /// Of them, without.
    pub idle: u32,
    /// Most in use at once by one service, since observation began.
    pub max_in_use: u32,
    /// Connections so far.
    pub opened: u64,
}

impl Connections {
    fn new(target: &Target) -> Self {
        let pools = &target.pools;
        let open = pools.iter().map(|pool| pool.open).sum();
        let in_use = pools.iter().map(|pool| pool.in_use).sum::<u32>().min(open);
        Self {
            open,
            in_use,
            idle: open - in_use,
            max_in_use: pools.iter().map(|pool| pool.max_in_use).max().unwrap_or(0),
            opened: pools.iter().map(|pool| pool.opened).sum(),
        }
    }
}

/// Who was asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TargetName {
    /// Address, port, name.
    pub peer: Peer,
    /// `postgresql`, `redis` and the like; `http/1.1` for all versions of HTTP.
    pub protocol: String,
    /// Whether it goes over TLS.
    pub tls: bool,
    /// The services that asked it.
    pub services: Vec<String>,
}

impl TargetName {
    fn new(target: &Target) -> Self {
        let names = target
            .operations
            .iter()
            .map(|(endpoint, _)| endpoint.key.service.name.to_string());
        let mut services: Vec<String> = names.collect();
        services.sort();
        services.dedup();
        Self {
            peer: Peer::new(&target.peer, &target.seen),
            protocol: target.protocol.name().to_owned(),
            tls: target.tls,
            services,
        }
    }
}

fn rate(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| rounded(part as f64 / all as f64))
}

/// One operation that was asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TargetOperation {
    /// Its endpoint; `/api/v1/endpoints/{id}` has all figures.
    pub endpoint_id: String,
    /// The service that asked.
    pub service: String,
    /// What for: a statement without its values, a command, method and route.
    pub operation: String,
    /// It waits for something to happen, so its time says nothing of the target: a blocking command, a long poll. It is not in
    /// the target's times.
    pub waits: bool,
    /// Exchanges that ended.
    pub count: u64,
    /// Their times together.
    pub total_time_ms: f64,
    /// Their mean.
    pub avg_time_ms: Option<f64>,
    /// First request byte to last response byte, of answered exchanges.
    pub response_time_ms: Summary,
    /// Errors.
    pub errors: u64,
    /// How many ended with which status or code.
    pub statuses: BTreeMap<String, u64>,
    /// Rows that were returned or changed; null where no answer told.
    pub rows: Option<u64>,
    /// Keys asked for that were there, or answers out of a cache; null where no answer told.
    pub hits: Option<u64>,
    /// Keys asked for that were not, or answers that a cache had to fetch.
    pub misses: Option<u64>,
    /// `hits / (hits + misses)`
    pub hit_rate: Option<f64>,
}

fn operations(target: &Target) -> Vec<TargetOperation> {
    let operation = |(endpoint, view): &(
        std::sync::Arc<crate::snapshot::EndpointSnapshot>,
        crate::aggregate::WindowView,
    )| {
        let tallies = view.tallies;
        let asked = tallies.hits + tallies.misses > 0;
        TargetOperation {
            endpoint_id: endpoint.id.to_string(),
            service: endpoint.key.service.name.to_string(),
            operation: endpoint.key.operation.to_string(),
            waits: crate::protocol::waits(endpoint.key.protocol, &endpoint.key.operation.route),
            count: view.requests,
            total_time_ms: total_ms(&view.response_time),
            avg_time_ms: mean_ms(&view.response_time),
            response_time_ms: Summary::from(&view.response_time),
            errors: view.errors,
            statuses: endpoint.statuses(view),
            rows: (tallies.rows_told > 0).then_some(tallies.rows),
            hits: asked.then_some(tallies.hits),
            misses: asked.then_some(tallies.misses),
            hit_rate: tallies.hit_rate().map(rounded),
        }
    };
    target.operations.iter().map(operation).collect()
}

/// What is told of every target in the same words. Those operations that wait are in no time here.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TargetFigures {
    /// The times of all that was asked together.
    pub total_time_ms: f64,
    /// First request byte to last response byte.
    pub response_time_ms: Summary,
    /// Errors.
    pub errors: u64,
    /// Errors, as a part of what ended.
    pub error_rate: Option<f64>,
    /// How many ended with which status, or code (SQLSTATE, MySQL's number, a cache's first word) or `ok`; `other`: those beyond
    /// the number that is counted apart.
    pub statuses: BTreeMap<String, u64>,
    /// Connections to it.
    pub connections: Connections,
}

impl TargetFigures {
    fn new(target: &Target) -> Self {
        let sum = &target.sum;
        Self {
            total_time_ms: total_ms(&sum.response_time),
            response_time_ms: Summary::from(&sum.response_time),
            errors: sum.errors,
            error_rate: rate(sum.errors, sum.requests),
            statuses: sum.statuses.clone(),
            connections: Connections::new(target),
        }
    }
}

/// One database that was asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Database {
    /// Who.
    #[serde(flatten)]
    pub target: TargetName,
    /// How it went.
    #[serde(flatten)]
    pub figures: TargetFigures,
    /// Queries that ended.
    pub query_count: u64,
    /// Their mean.
    pub avg_query_time_ms: Option<f64>,
    /// Rows that were returned or changed; null where no answer told.
    pub rows: Option<u64>,
    /// What was asked, by statement.
    pub queries: Vec<TargetOperation>,
}

/// Databases that the services of this host asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Databases {
    /// The window of all figures.
    pub window: WindowName,
    /// Queries that ended.
    pub query_count: u64,
    /// Their times together.
    pub total_time_ms: f64,
    /// Their mean.
    pub avg_query_time_ms: Option<f64>,
    /// Errors.
    pub errors: u64,
    /// Each of them, that with most time first.
    pub targets: Vec<Database>,
}

impl Databases {
    /// Over one window.
    pub fn new(targets: &targets::Targets, window: Window) -> Self {
        let sum = targets.sum.clone().unwrap_or_default();
        let database = |target: &Target| Database {
            target: TargetName::new(target),
            figures: TargetFigures::new(target),
            query_count: target.sum.requests,
            avg_query_time_ms: mean_ms(&target.sum.response_time),
            rows: (target.sum.tallies.rows_told > 0).then_some(target.sum.tallies.rows),
            queries: operations(target),
        };
        Self {
            window: window.into(),
            query_count: sum.requests,
            total_time_ms: total_ms(&sum.response_time),
            avg_query_time_ms: mean_ms(&sum.response_time),
            errors: sum.errors,
            targets: targets.all.iter().map(database).collect(),
        }
    }
}

/// One cache that was asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Cache {
    /// Who.
    #[serde(flatten)]
    pub target: TargetName,
    /// How it went.
    #[serde(flatten)]
    pub figures: TargetFigures,
    /// Commands that ended.
    pub command_count: u64,
    /// Their mean.
    pub avg_command_time_ms: Option<f64>,
    /// Keys asked for that were there, as the answers say.
    pub hits: u64,
    /// Keys asked for that were not.
    pub misses: u64,
    /// `hits / (hits + misses)`; null if none was asked for.
    pub hit_rate: Option<f64>,
    /// What was asked, by command.
    pub commands: Vec<TargetOperation>,
}

/// Caches that the services of this host asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Caches {
    /// The window of all figures.
    pub window: WindowName,
    /// Commands that ended.
    pub command_count: u64,
    /// Keys asked for that were there.
    pub hits: u64,
    /// Keys asked for that were not.
    pub misses: u64,
    /// `hits / (hits + misses)`; null if none was asked for.
    pub hit_rate: Option<f64>,
    /// Each of them, that with most time first.
    pub targets: Vec<Cache>,
    /// HTTP endpoints of which answers told whether they came out of a cache. They are in no figure above.
    pub http: Vec<HttpCache>,
}

impl Caches {
    /// Over one window.
    pub fn new(targets: &targets::Targets, http: Vec<HttpCache>, window: Window) -> Self {
        let sum = targets.sum.clone().unwrap_or_default();
        let cache = |target: &Target| {
            let Sum { tallies, .. } = target.sum;
            Cache {
                target: TargetName::new(target),
                figures: TargetFigures::new(target),
                command_count: target.sum.requests,
                avg_command_time_ms: mean_ms(&target.sum.response_time),
                hits: tallies.hits,
                misses: tallies.misses,
                hit_rate: tallies.hit_rate().map(rounded),
                commands: operations(target),
            }
        };
        Self {
            window: window.into(),
            command_count: sum.requests,
            hits: sum.tallies.hits,
            misses: sum.tallies.misses,
            hit_rate: sum.tallies.hit_rate().map(rounded),
            targets: targets.all.iter().map(cache).collect(),
            http,
        }
    }
}

/// One other service that was asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct External {
    /// Who.
    #[serde(flatten)]
    pub target: TargetName,
    /// How it went.
    #[serde(flatten)]
    pub figures: TargetFigures,
    /// Exchanges that ended.
    pub requests: u64,
    /// Their mean.
    pub avg_time_ms: Option<f64>,
    /// What was asked, by route.
    pub operations: Vec<TargetOperation>,
}

/// TLS connections of a service to one peer, of which no request was seen: its TLS is not covered
/// (`/api/v1/services`, `tls`), nothing was asked for, or nothing that is known.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnreadTls {
    /// The service that connected.
    pub service: String,
    /// To whom: `name` is what the handshake asked for (SNI).
    pub peer: Peer,
    /// Connections, since observation began.
    pub connections: u64,
}

impl From<&Unread> for UnreadTls {
    fn from(unread: &Unread) -> Self {
        let seen = PeerSeen {
            address: Some(unread.address),
            name: None,
        };
        Self {
            service: unread.service.key.name.to_string(),
            peer: Peer::new(&unread.peer, &seen),
            connections: unread.connections,
        }
    }
}

/// Other services that those of this host asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Externals {
    /// The window of all figures.
    pub window: WindowName,
    /// Exchanges that ended.
    pub requests: u64,
    /// Errors.
    pub errors: u64,
    /// Each of them, that with most time first.
    pub targets: Vec<External>,
    /// Peers of TLS connections that are not seen into, those with most of them first. They are in no figure above.
    pub unread_tls: Vec<UnreadTls>,
}

impl Externals {
    /// Over one window.
    pub fn new(targets: &targets::Targets, unread: &[Unread], window: Window) -> Self {
        let sum = targets.sum.clone().unwrap_or_default();
        let mut unread_tls: Vec<UnreadTls> = unread.iter().map(UnreadTls::from).collect();
        unread_tls.sort_by_key(|unread| std::cmp::Reverse(unread.connections));
        let external = |target: &Target| External {
            target: TargetName::new(target),
            figures: TargetFigures::new(target),
            requests: target.sum.requests,
            avg_time_ms: mean_ms(&target.sum.response_time),
            operations: operations(target),
        };
        Self {
            window: window.into(),
            requests: sum.requests,
            errors: sum.errors,
            targets: targets.all.iter().map(external).collect(),
            unread_tls,
        }
    }
}
