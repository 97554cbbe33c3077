//! Where an endpoint's time went.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Summary, rounded};
use crate::aggregate::WindowView;
use crate::aggregate::breakdown::{Downstream as Called, REPEATED};
use crate::exchange::Class;

/// Where an endpoint's time went, per request: `own_ms`, `database_ms`, `cache_ms` and `external_ms` of a request together
/// are its response time; of calls at the same time the one that began first has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Breakdown {
    /// In the service itself: it waited for no call.
    pub own_ms: Summary,
    /// In databases.
    pub database_ms: Summary,
    /// In caches.
    pub cache_ms: Summary,
    /// In other services.
    pub external_ms: Summary,
    /// In the socket, before it was read; not a part of the response time.
    pub queue_ms: Summary,
    /// On the network between clients and service: smoothed round-trip times, one of each connection and second.
    pub network_ms: Summary,
    /// Calls made while serving one request.
    pub calls_per_request: Calls,
    /// The endpoints called, those with most time first.
    pub downstream: Vec<Downstream>,
    /// Part of the calls, of those that may have been of these requests, with a known cause, 0..1; null without calls.
    pub attributed: Option<f64>,
    /// Part of them that several requests could have caused, 0..1; null without calls.
    pub ambiguous: Option<f64>,
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
    /// Time in it, of each request that called it: the sum of its calls' times.
    pub time_ms: Summary,
    /// Most calls of one request.
    pub max_calls: u32,
    /// Calls it in a loop, where one call could ask for all; null if no request did.
    pub n_plus_one: Option<Repeated>,
}

/// Requests that called one endpoint ten times or more.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Repeated {
    /// How many.
    pub requests: u64,
    /// Calls from which on a request counts.
    pub threshold: u32,
}

impl Breakdown {
    /// An endpoint's, over one window; `None` if its process calls nobody.
    pub fn new(view: &WindowView) -> Option<Self> {
        let breakdown = view.breakdown.as_ref()?;
        let requests = breakdown.requests().max(1) as f64;
        let per_request = |calls: u64| rounded(calls as f64 / requests);
        let class = |class: Class| Summary::from(&breakdown.classes[class as usize]);
        let calls = |class: Class| per_request(breakdown.calls[class as usize]);
        let attributed = breakdown.attributed();
        let all = attributed + breakdown.ambiguous;
        let part = |calls: u64| (all > 0).then(|| rounded(calls as f64 / all as f64));
        let mut downstream: Vec<&Called> = breakdown.downstream.iter().collect();
        downstream.sort_by_key(|called| (std::cmp::Reverse(called.time.sum_ns()), called.endpoint));
        let downstream = downstream.into_iter().map(|called| Downstream {
            endpoint_id: format!("{:016x}", called.endpoint),
            calls_per_request: per_request(called.calls),
            time_ms: Summary::from(&called.time),
            max_calls: called.most,
            n_plus_one: (called.repeated > 0).then_some(Repeated {
                requests: called.repeated,
                threshold: REPEATED,
            }),
        });
        Some(Self {
            own_ms: Summary::from(&breakdown.own),
            database_ms: class(Class::Database),
            cache_ms: class(Class::Cache),
            external_ms: class(Class::External),
            queue_ms: Summary::from(&view.queue_time),
            network_ms: view
                .network
                .as_ref()
                .map_or_else(Summary::default, |network| Summary::from(&network.rtt)),
            calls_per_request: Calls {
                database: calls(Class::Database),
                cache: calls(Class::Cache),
                external: calls(Class::External),
            },
            downstream: downstream.collect(),
            attributed: part(attributed),
            ambiguous: part(breakdown.ambiguous),
        })
    }
}
