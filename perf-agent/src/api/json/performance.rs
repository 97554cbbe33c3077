//! Everything at a glance.

use serde::Serialize;
use utoipa::ToSchema;

use super::alert::AlertCounts;
use super::endpoint::{Concurrency, Endpoint};
use super::stream::Streams;
use super::time::ThroughputTrend;
use super::{Summary, WindowName, mean_ms, measured, rounded, timestamp, total_ms};
use crate::aggregate::Window;
use crate::api::Decided;
use crate::exchange::Class;
use crate::resources::Resources;
use crate::snapshot::Snapshot;
use crate::targets::Sum;

/// Where the time of the observed services' exchanges went. Parts that this version does not measure are null.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LatencyParts {
    /// On the network between clients and services: smoothed round-trip times, one of each connection and second.
    pub network_ms: Option<Summary>,
    /// In the socket, before the service read the request.
    pub queue_ms: Option<Summary>,
    /// In the service, from the last request byte to the first response byte.
    pub processing_ms: Option<Summary>,
    /// In databases: of each request, the time in which it waited for their answers. Null if no service was seen to call
    /// another one.
    pub database_ms: Option<Summary>,
    /// In caches, likewise.
    pub cache_ms: Option<Summary>,
    /// In other services, likewise.
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
    /// Use of caches by the services of this host; null if none was seen.
    pub cache: Option<CacheUse>,
    /// Use of databases by the services of this host; null if none was seen.
    pub database: Option<DatabaseUse>,
    /// The host's resources; null for a recording, and before they are known.
    pub system: Option<SystemUse>,
    /// The host's score, 0 to 100; null if nothing is known that it depends on.
    pub health_score: Option<f64>,
    /// Advice: the worst first, and of the same severity that with the largest gain; null where nobody decides.
    pub recommendations: Option<Vec<String>>,
    /// Alerts; null where nobody decides.
    pub alerts: Option<AlertCounts>,
    /// The endpoints of both roles, those with most requests first, at most 1000.
    pub endpoints: Vec<Endpoint>,
}

impl Performance {
    /// Endpoints listed.
    const ENDPOINTS: usize = 1000;

    /// Everything over one window.
    pub fn new(snapshot: &Snapshot, decided: Option<&Decided>, window: Window) -> Self {
        let view = snapshot.total.window(window, snapshot.at_ns);
        let spent = |class: Class| {
            let breakdown = view.breakdown.as_ref()?;
            measured(&breakdown.classes[class as usize])
        };
        let trend = snapshot.total.throughput_trend(window, snapshot.at_ns);
        let views: Vec<_> = snapshot
            .endpoints
            .iter()
            .map(|endpoint| (endpoint, endpoint.window(window, snapshot.at_ns)))
            .collect();
        let asked = |class| Sum::of(views.iter().map(|(endpoint, view)| (&***endpoint, view)), class);
        let mut endpoints: Vec<_> = views
            .iter()
            .map(|(endpoint, view)| Endpoint::new(endpoint, view))
            .collect();
        endpoints.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.id.cmp(&b.id)));
        endpoints.truncate(Self::ENDPOINTS);
        Self {
            at: (snapshot.wall_ns != 0).then(|| timestamp(snapshot.wall_ns)),
            window: window.into(),
            response_time_ms: Summary::from(&view.response_time),
            latency: LatencyParts {
                network_ms: view.network.as_ref().and_then(|network| measured(&network.rtt)),
                queue_ms: measured(&view.queue_time),
                processing_ms: measured(&view.processing),
                database_ms: spent(Class::Database),
                cache_ms: spent(Class::Cache),
                external_ms: spent(Class::External),
            },
            throughput: ThroughputTrend::new(&view, &trend, snapshot),
            concurrency: (&view).into(),
            streams: (&view).into(),
            error_rate: view.error_rate().map(rounded),
            cache: asked(Class::Cache).map(|sum| CacheUse::new(&sum)),
            database: asked(Class::Database).map(|sum| DatabaseUse::new(&sum)),
            system: decided.and_then(|decided| SystemUse::of(decided.resources.as_deref()?)),
            health_score: decided.and_then(|decided| decided.health.as_ref()?.host.score.map(f64::from)),
            recommendations: decided.map(|decided| {
                let recommendations = decided.recommendations.iter();
                recommendations
                    .map(|recommendation| recommendation.text.clone())
                    .collect()
            }),
            alerts: decided.map(|decided| AlertCounts::of(&decided.alerts)),
            endpoints,
        }
    }
}

/// Cache use.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct CacheUse {
    /// Lookups that found something.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// `hits / (hits + misses)`
    pub hit_rate: Option<f64>,
}

/// Database use.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct DatabaseUse {
    /// Queries.
    pub query_count: u64,
    /// Time in them.
    pub total_time_ms: f64,
    /// Time per query.
    pub avg_query_time_ms: Option<f64>,
}

impl CacheUse {
    fn new(sum: &Sum) -> Self {
        Self {
            hits: sum.tallies.hits,
            misses: sum.tallies.misses,
            hit_rate: sum.tallies.hit_rate().map(rounded),
        }
    }
}

impl DatabaseUse {
    fn new(sum: &Sum) -> Self {
        Self {
            query_count: sum.requests,
            total_time_ms: total_ms(&sum.response_time),
            avg_query_time_ms: mean_ms(&sum.response_time),
        }
    }
}

/// The host's resources.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct SystemUse {
    /// 0..1
    pub cpu_usage: f64,
    /// 0..1
    pub memory_usage: f64,
}

impl SystemUse {
    /// `None` until both are known.
    fn of(resources: &Resources) -> Option<Self> {
        Some(Self {
            cpu_usage: rounded(resources.host.cpu_usage?),
            memory_usage: rounded(resources.host.memory_usage?),
        })
    }
}
