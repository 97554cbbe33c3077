//! Everything at a glance. The contract has parts that this version does not measure; their types are here, too, since
//! they are in the document, and their fields are null.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::endpoint::{Concurrency, Endpoint};
use super::stream::Streams;
use super::time::ThroughputTrend;
use super::{Summary, WindowName, measured, rounded, timestamp};
use crate::aggregate::Window;
use crate::snapshot::Snapshot;

/// Where the time of the observed services' exchanges went. Parts that this version does not measure are null.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LatencyParts {
    /// On the network.
    pub network_ms: Option<Summary>,
    /// In the socket, before the service read the request.
    pub queue_ms: Option<Summary>,
    /// In the service, from the last request byte to the first response byte.
    pub processing_ms: Option<Summary>,
    /// In databases.
    pub database_ms: Option<Summary>,
    /// In caches.
    pub cache_ms: Option<Summary>,
    /// In other services.
    pub external_ms: Option<Summary>,
}

/// Everything at a glance, over the server role of the observed services.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Performance {
    /// The moment all figures are as of; null before the first second is over.
    #[schema(format = DateTime)]
    pub at: Option<String>,
    /// The window of all figures.
    pub window: WindowName,
    /// First request byte to last response byte.
    pub response_time_ms: Summary,
    /// Where the time went.
    pub latency: LatencyParts,
    /// Exchanges per second.
    pub throughput: ThroughputTrend,
    /// Exchanges in flight.
    pub concurrency: Concurrency,
    /// Streams.
    pub streams: Streams,
    /// Errors per request; null without requests.
    pub error_rate: Option<f64>,
    /// Cache use; null: not measured.
    pub cache: Option<CacheUse>,
    /// Database use; null: not measured.
    pub database: Option<DatabaseUse>,
    /// The host's resources; null: not measured.
    pub system: Option<SystemUse>,
    /// 0 to 100; null: not computed by this version.
    pub health_score: Option<f64>,
    /// Advice; null: not given by this version.
    pub recommendations: Option<Vec<String>>,
    /// Alerts; null: this version has none.
    pub alerts: Option<AlertCounts>,
    /// The endpoints of both roles, those with most requests first, at most 1000.
    pub endpoints: Vec<Endpoint>,
}

impl Performance {
    /// Endpoints listed.
    const ENDPOINTS: usize = 1000;

    /// Everything over one window.
    pub fn new(snapshot: &Snapshot, window: Window) -> Self {
        let view = snapshot.total.window(window, snapshot.at_ns);
        let trend = snapshot.total.throughput_trend(window, snapshot.at_ns);
        let mut endpoints: Vec<_> = snapshot
            .endpoints
            .iter()
            .map(|endpoint| Endpoint::new(endpoint, &endpoint.window(window, snapshot.at_ns)))
            .collect();
        endpoints.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.id.cmp(&b.id)));
        endpoints.truncate(Self::ENDPOINTS);
        Self {
            at: (snapshot.wall_ns != 0).then(|| timestamp(snapshot.wall_ns)),
            window: window.into(),
            response_time_ms: Summary::from(&view.response_time),
            latency: LatencyParts {
                network_ms: None,
                queue_ms: measured(&view.queue_time),
                processing_ms: measured(&view.processing),
                database_ms: None,
                cache_ms: None,
                external_ms: None,
            },
            throughput: ThroughputTrend::new(&view, &trend, snapshot),
            concurrency: (&view).into(),
            streams: (&view).into(),
            error_rate: view.error_rate().map(rounded),
            cache: None,
            database: None,
            system: None,
            health_score: None,
            recommendations: None,
            alerts: None,
            endpoints,
        }
    }
}

/// Where an endpoint's time went, per request. Not measured by this version.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Breakdown {
    /// In the service itself.
    pub own_ms: Summary,
    /// In databases.
    pub database_ms: Summary,
    /// In caches.
    pub cache_ms: Summary,
    /// In other services.
    pub external_ms: Summary,
    /// In the socket, before it was read.
    pub queue_ms: Summary,
    /// On the network.
    pub network_ms: Summary,
    /// Calls made while serving one request.
    pub calls_per_request: Calls,
    /// The endpoints called.
    pub downstream: Vec<Downstream>,
    /// Part of the calls with a known cause, 0..1.
    pub attributed: f64,
    /// Part of the calls that several requests could have caused, 0..1.
    pub ambiguous: f64,
}

/// Calls made while serving one request.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Calls {
    /// To databases.
    pub database: f64,
    /// To caches.
    pub cache: f64,
    /// To other services.
    pub external: f64,
}

/// One endpoint called while serving another.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Downstream {
    /// The endpoint called.
    pub endpoint_id: String,
    /// Calls per request.
    pub calls_per_request: f64,
    /// Time in it.
    pub time_ms: Summary,
}

/// Cache use. Not measured by this version.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct CacheUse {
    /// Lookups that found something.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// `hits / (hits + misses)`
    pub hit_rate: Option<f64>,
}

/// Database use. Not measured by this version.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct DatabaseUse {
    /// Queries.
    pub query_count: u64,
    /// Time in them.
    pub total_time_ms: f64,
    /// Time per query.
    pub avg_query_time_ms: Option<f64>,
}

/// The host's resources. Not measured by this version.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct SystemUse {
    /// 0..1
    pub cpu_usage: f64,
    /// 0..1
    pub memory_usage: f64,
}

/// Alerts. This version has none.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertCounts {
    /// Firing now.
    pub active: u64,
    /// Of them, per severity.
    pub by_severity: BTreeMap<String, u64>,
}
