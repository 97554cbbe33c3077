//! The paths, in the order of the contract.

use std::cmp::Reverse;
use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::json::agent::{Agent, Own};
use super::json::endpoint::{Endpoint, EndpointDetail, Endpoints};
use super::json::function::Functions;
use super::json::health::Health;
use super::json::http_cache::HttpCache;
use super::json::kept::{History, Kept, Statsd};
use super::json::network::Networks;
use super::json::performance::Performance;
use super::json::recommendation::Recommendation;
use super::json::request::{Request, Requests};
use super::json::service::Services;
use super::json::stream::{Stream, StreamList, StreamName};
use super::json::system::System;
use super::json::target::{Caches, Databases, Externals};
use super::json::time::{Latency, ThroughputTrend};
use super::json::{RoleName, WindowName};
use super::problem::Problem;
use super::query::Parameters;
use super::{Api, Published};
use crate::aggregate::{Aggregate, Window, WindowView};
use crate::endpoint::{EndpointKey, Peer};
use crate::exchange::{Class, Protocol, Role, StreamKind};
use crate::history;
use crate::snapshot::{LoggedExchange, LoggedStream, Snapshot};
use crate::targets::Targets;
use crate::usage;

/// Items in a list, unless `limit` says otherwise.
const LIMIT: u64 = 100;
/// Largest `limit`.
const MAX_LIMIT: u64 = 10_000;

type Answer<T> = Result<Json<T>, Problem>;

/// A word about the agent's state.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// `ok` or `ready`.
    status: &'static str,
}

/// The agent lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Status)))]
pub(super) async fn healthz(RawQuery(query): RawQuery) -> Answer<Status> {
    Parameters::parse(query.as_deref(), &[])?;
    Ok(Json(Status { status: "ok" }))
}

/// The hooks are attached; for a replay, the recording is open.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, body = Status),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn readyz(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Status> {
    Parameters::parse(query.as_deref(), &[])?;
    if api.now().ready {
        Ok(Json(Status { status: "ready" }))
    } else {
        Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the hooks are not attached yet",
        ))
    }
}

/// Everything at a glance.
#[utoipa::path(get, path = "/metrics/performance",
    params(("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default")),
    responses(
        (status = 200, body = Performance),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn performance(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Performance> {
    let window = Parameters::parse(query.as_deref(), &["window"])?.window()?;
    let decided = api.control.is_some().then(|| api.decided());
    Ok(Json(Performance::new(&api.now().snapshot, decided.as_ref(), window)))
}

/// The services seen, what they listen on, and their processes.
#[utoipa::path(get, path = "/api/v1/services", responses((status = 200, body = Services)))]
pub(super) async fn services(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Services> {
    Parameters::parse(query.as_deref(), &[])?;
    let now = api.now();
    Ok(Json(Services::new(&now.snapshot, &now.tls)))
}

/// By what endpoints are ordered, largest first.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the document's view of the words in `ORDERS`")]
pub(super) enum Sort {
    Requests,
    Errors,
    P95,
    P99,
    Mean,
    /// Where the time goes.
    Sum,
}

/// What an order compares.
type Weight = fn(&WindowView) -> u128;

const ORDERS: [(&str, Weight); 6] = [
    ("requests", |view| view.requests.into()),
    ("errors", |view| view.errors.into()),
    ("p95", |view| view.response_time.quantile_ns(0.95).unwrap_or(0).into()),
    ("p99", |view| view.response_time.quantile_ns(0.99).unwrap_or(0).into()),
    // In picoseconds, since means differ by less than a nanosecond.
    ("mean", |view| {
        (view.response_time.sum_ns() * 1000)
            .checked_div(view.response_time.count().into())
            .unwrap_or(0)
    }),
    ("sum", |view| view.response_time.sum_ns()),
];

/// Endpoints with their figures over a window.
#[utoipa::path(get, path = "/api/v1/endpoints",
    params(
        ("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default"),
        ("role" = Option<RoleName>, Query, description = "Only this role"),
        ("service" = Option<String>, Query, description = "Only the service of this name"),
        ("port" = Option<u16>, Query, description = "Only servers on this port and clients of it", minimum = 1, maximum = 65535),
        ("protocol" = Option<String>, Query, description = "Only this protocol, such as http/1.1",
            pattern = "^(http/1\\.[01]|http/2|grpc|postgresql|mysql|redis|memcached|mongodb|kafka|dns)$"),
        ("route" = Option<String>, Query, description = "Only this route, such as /users/{id}, or gRPC method"),
        ("sort" = Option<Sort>, Query, description = "Largest first; requests by default"),
        ("limit" = Option<u64>, Query, description = "At most this many; 100 by default", minimum = 1, maximum = 10000),
    ),
    responses(
        (status = 200, body = Endpoints),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn endpoints(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Endpoints> {
    let known = &[
        "window", "role", "service", "port", "protocol", "route", "sort", "limit",
    ];
    let parameters = Parameters::parse(query.as_deref(), known)?;
    let window = parameters.window()?;
    let role = parameters.word("role", &[("server", Role::Server), ("client", Role::Client)])?;
    let port = parameters.number("port", 1..=65_535)?;
    let protocols = Protocol::ALL.map(|protocol| (protocol.name(), protocol));
    let protocol = parameters.word("protocol", &protocols)?;
    let weight = parameters.word("sort", &ORDERS)?.unwrap_or(ORDERS[0].1);
    let limit = usize::try_from(parameters.number("limit", 1..=MAX_LIMIT)?.unwrap_or(LIMIT)).unwrap_or(usize::MAX);

    let Published { snapshot, .. } = api.now();
    let wanted = snapshot.endpoints.iter().filter(|endpoint| {
        let key = &endpoint.key;
        role.is_none_or(|role| role == key.role)
            && protocol.is_none_or(|protocol| protocol == key.protocol)
            && port.is_none_or(|port| port_of(key).map(u64::from) == Some(port))
            && parameters.text("service").is_none_or(|name| name == key.service.name)
            && parameters
                .text("route")
                .is_none_or(|route| route == key.operation.route)
    });
    let mut views: Vec<_> = wanted
        .map(|endpoint| (endpoint, endpoint.window(window, snapshot.at_ns)))
        .collect();
    views.sort_by_cached_key(|(endpoint, view)| (Reverse(weight(view)), Arc::clone(&endpoint.id)));
    let total = views.len();
    let endpoints = views
        .iter()
        .take(limit)
        .map(|(endpoint, view)| Endpoint::new(endpoint, view))
        .collect();
    Ok(Json(Endpoints {
        window: window.into(),
        total,
        endpoints,
    }))
}

/// The server's port: the service's own, or the one that it asked as a client.
fn port_of(key: &EndpointKey) -> Option<u16> {
    match &key.peer {
        None => key.service.port,
        Some(Peer::Name { port, .. }) => Some(*port),
        Some(Peer::Address(address)) => Some(address.port()),
        Some(Peer::Unix(_)) => None,
    }
}

/// One endpoint in full, with the reason of its route.
#[utoipa::path(get, path = "/api/v1/endpoints/{id}",
    params(
        ("id" = String, Path, description = "The endpoint's id"),
        ("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default"),
    ),
    responses(
        (status = 200, body = EndpointDetail),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn endpoint(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<EndpointDetail> {
    let window = Parameters::parse(query.as_deref(), &["window"])?.window()?;
    let Published { snapshot, .. } = api.now();
    let endpoint = snapshot.endpoints.iter().find(|endpoint| *endpoint.id == *id);
    let endpoint = endpoint.ok_or_else(|| Problem::not_found(format!("there is no endpoint {id:?}")))?;
    Ok(Json(EndpointDetail::new(
        endpoint,
        &endpoint.window(window, snapshot.at_ns),
    )))
}

/// Databases that the services of this host asked: per target and statement.
#[utoipa::path(get, path = "/api/v1/database",
    params(("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default")),
    responses(
        (status = 200, body = Databases),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn database(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Databases> {
    let (targets, window) = targets(&api, query.as_deref(), Class::Database)?;
    Ok(Json(Databases::new(&targets, window)))
}

/// Caches that the services of this host asked: per target and command, with hits and misses;
/// and HTTP endpoints of which answers told of a cache.
#[utoipa::path(get, path = "/api/v1/cache",
    params(("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default")),
    responses(
        (status = 200, body = Caches),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn cache(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Caches> {
    let window = Parameters::parse(query.as_deref(), &["window"])?.window()?;
    let snapshot = api.now().snapshot;
    let targets = Targets::of(&snapshot, window, Class::Cache);
    Ok(Json(Caches::new(&targets, HttpCache::all(&snapshot, window), window)))
}

/// Other services that those of this host asked: per host and route.
#[utoipa::path(get, path = "/api/v1/external",
    params(("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default")),
    responses(
        (status = 200, body = Externals),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn external(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Externals> {
    let window = Parameters::parse(query.as_deref(), &["window"])?.window()?;
    let snapshot = api.now().snapshot;
    let targets = Targets::of(&snapshot, window, Class::External);
    Ok(Json(Externals::new(&targets, &snapshot.unread, window)))
}

/// How packets fare between the services of this host and their peers: round-trip times, retransmits, resets.
#[utoipa::path(get, path = "/api/v1/network",
    params(("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default")),
    responses(
        (status = 200, body = Networks),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn network(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Networks> {
    let window = Parameters::parse(query.as_deref(), &["window"])?.window()?;
    Ok(Json(Networks::new(&api.now().snapshot, window)))
}

fn targets(api: &Api, query: Option<&str>, class: Class) -> Result<(Targets, Window), Problem> {
    let window = Parameters::parse(query, &["window"])?.window()?;
    let snapshot = api.now().snapshot;
    Ok((Targets::of(&snapshot, window, class), window))
}

/// Exchanges per second, of one endpoint or of the server role of all services.
#[utoipa::path(get, path = "/api/v1/throughput",
    params(
        ("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default"),
        ("endpoint" = Option<String>, Query, description = "An endpoint's id, or * for all (the default)"),
    ),
    responses(
        (status = 200, body = ThroughputTrend),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn throughput(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<ThroughputTrend> {
    let parameters = Parameters::parse(query.as_deref(), &["window", "endpoint"])?;
    let window = parameters.window()?;
    let Published { snapshot, .. } = api.now();
    let aggregate = aggregate(&snapshot, &parameters)?;
    let view = aggregate.window(window, snapshot.at_ns);
    let trend = match stored(&api, &snapshot, &aggregate, &parameters, &view).await {
        Some(points) => points.iter().map(history::TrendPoint::rate).collect(),
        None => aggregate.throughput_trend(window, snapshot.at_ns),
    };
    Ok(Json(ThroughputTrend::new(&view, &trend, &snapshot)))
}

/// The functions that the operator chose.
#[utoipa::path(get, path = "/api/v1/functions",
    params(("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default")),
    responses(
        (status = 200, body = Functions),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn functions(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Functions> {
    let window = Parameters::parse(query.as_deref(), &["window"])?.window()?;
    Ok(Json(Functions::new(&api.now().snapshot, window)))
}

/// Response times over time, of one endpoint or of the server role of all services; oldest first.
#[utoipa::path(get, path = "/api/v1/latency",
    params(
        ("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default"),
        ("endpoint" = Option<String>, Query, description = "An endpoint's id, or * for all (the default)"),
    ),
    responses(
        (status = 200, body = Vec<Latency>),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn latency(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Vec<Latency>> {
    let parameters = Parameters::parse(query.as_deref(), &["window", "endpoint"])?;
    let window = parameters.window()?;
    let Published { snapshot, .. } = api.now();
    let aggregate = aggregate(&snapshot, &parameters)?;
    let view = aggregate.window(window, snapshot.at_ns);
    let series = match stored(&api, &snapshot, &aggregate, &parameters, &view).await {
        Some(points) => points.iter().map(history::TrendPoint::latency).collect(),
        None => aggregate.latency_series(window, snapshot.at_ns),
    };
    Ok(Json(
        series.iter().map(|point| Latency::new(point, &snapshot)).collect(),
    ))
}

/// What the disk has of a day or more, in points of five minutes: memory has it in coarser ones only.
async fn stored(
    api: &Api,
    snapshot: &Snapshot,
    aggregate: &Arc<Aggregate>,
    parameters: &Parameters,
    view: &WindowView,
) -> Option<Vec<history::TrendPoint>> {
    if !matches!(view.window, Window::Day | Window::Start) {
        return None;
    }
    let history = api.history.clone()?;
    let id = parameters.text("endpoint").filter(|id| *id != "*");
    let id = id.map(|id| u64::from_str_radix(id, 16)).transpose().ok()?;
    let (aggregate, from_ns, to_ns) = (Arc::clone(aggregate), view.from_ns, snapshot.at_ns);
    // It reads from the disk.
    let read = tokio::task::spawn_blocking(move || history.trend(id, &aggregate, from_ns, to_ns));
    match read.await {
        Ok(Ok(points)) => Some(points),
        Ok(Err(error)) => {
            tracing::debug!(%error, "memory has to do");
            None
        }
        Err(_panic) => None,
    }
}

/// What `endpoint` names.
fn aggregate(snapshot: &Snapshot, parameters: &Parameters) -> Result<Arc<Aggregate>, Problem> {
    match parameters.text("endpoint") {
        None | Some("*") => Ok(Arc::clone(&snapshot.total)),
        Some(id) => {
            let endpoint = snapshot.endpoints.iter().find(|endpoint| *endpoint.id == *id);
            let endpoint = endpoint.ok_or_else(|| Problem::not_found(format!("there is no endpoint {id:?}")))?;
            Ok(Arc::clone(&endpoint.aggregate))
        }
    }
}

/// Recent and slow exchanges.
#[utoipa::path(get, path = "/api/v1/requests",
    params(
        ("limit" = Option<u64>, Query, description = "At most this many of each; 100 by default",
            minimum = 1, maximum = 10000),
        ("slower_than_ms" = Option<f64>, Query, description = "Only those that took longer"),
        ("status" = Option<String>, Query, description = "Only this status, such as 404, class, such as 4xx, or gRPC code, such as 14",
            pattern = "^([1-5]xx|[0-9]|1[0-6]|[1-5][0-9][0-9])$"),
        ("endpoint" = Option<String>, Query, description = "An endpoint's id, or * for all (the default)"),
        ("id" = Option<String>, Query, description = "Only the exchange of this number, or those with this request id or trace id"),
        ("user" = Option<String>, Query, description = "Only those of the user with this id"),
        ("client" = Option<String>, Query, description = "Only those of the client with this address"),
    ),
    responses(
        (status = 200, body = Requests),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn requests(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Requests> {
    let known = &["limit", "slower_than_ms", "status", "endpoint", "id", "user", "client"];
    let parameters = Parameters::parse(query.as_deref(), known)?;
    let limit = usize::try_from(parameters.number("limit", 1..=MAX_LIMIT)?.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let slower_ns = parameters.milliseconds("slower_than_ms")?;
    let statuses = parameters.status("status")?;
    let client = parameters.address("client")?;
    let Published { snapshot, .. } = api.now();
    aggregate(&snapshot, &parameters)?; // an unknown endpoint is a 404
    let endpoint = parameters.text("endpoint").filter(|id| *id != "*");
    let wanted = |exchange: &&Arc<LoggedExchange>| {
        let named = |id: &str| {
            let ids = [exchange.request_id.as_deref(), exchange.trace_id.as_deref()];
            ids.contains(&Some(id)) || exchange.id.to_string() == id
        };
        endpoint.is_none_or(|id| *exchange.endpoint == *id)
            && slower_ns.is_none_or(|slower| exchange.times.response_time_ns() > slower)
            && statuses
                .as_ref()
                .is_none_or(|wanted| exchange.status.is_some_and(|status| wanted.contains(&status)))
            && parameters.text("id").is_none_or(named)
            && parameters
                .text("user")
                .is_none_or(|user| exchange.user_id.as_deref() == Some(user))
            && client.is_none_or(|client| exchange.client == Some(client))
    };
    let log = &snapshot.recent;
    let listed = |exchange: &Arc<LoggedExchange>| Request::from(&**exchange);
    Ok(Json(Requests {
        requests: log.recent.iter().rev().filter(wanted).take(limit).map(listed).collect(),
        slowest: log.slowest.iter().filter(wanted).take(limit).map(listed).collect(),
    }))
}

/// Streams that are open, and the newest that ended.
#[utoipa::path(get, path = "/api/v1/streams",
    params(
        ("limit" = Option<u64>, Query, description = "At most this many of each; 100 by default",
            minimum = 1, maximum = 10000),
        ("kind" = Option<StreamName>, Query, description = "Only this kind"),
        ("endpoint" = Option<String>, Query, description = "An endpoint's id, or * for all (the default)"),
    ),
    responses(
        (status = 200, body = StreamList),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn streams(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<StreamList> {
    let parameters = Parameters::parse(query.as_deref(), &["limit", "kind", "endpoint"])?;
    let limit = usize::try_from(parameters.number("limit", 1..=MAX_LIMIT)?.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let kind = parameters.word("kind", &StreamKind::ALL.map(|kind| (kind.name(), kind)))?;
    let Published { snapshot, .. } = api.now();
    aggregate(&snapshot, &parameters)?; // an unknown endpoint is a 404
    let endpoint = parameters.text("endpoint").filter(|id| *id != "*");
    let wanted = |stream: &&Arc<LoggedStream>| {
        endpoint.is_none_or(|id| *stream.endpoint == *id) && kind.is_none_or(|kind| stream.kind == kind)
    };
    let listed = |stream: &Arc<LoggedStream>| Stream::of(stream, Some(snapshot.at_ns));
    let log = &snapshot.streams;
    Ok(Json(StreamList {
        open: snapshot.accounting.streams.open,
        streams: log.open.iter().filter(wanted).take(limit).map(listed).collect(),
        closed: log.closed.iter().rev().filter(wanted).take(limit).map(listed).collect(),
    }))
}

/// What the host and its services take, now and over time.
#[utoipa::path(get, path = "/api/v1/system",
    params(("window" = Option<WindowName>, Query, description = "Window of the trends; 5m by default")),
    responses(
        (status = 200, body = System),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn system(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<System> {
    let window = Parameters::parse(query.as_deref(), &["window"])?.window()?;
    let resources = api.decided().resources;
    let trends = api.trends.read().unwrap_or_else(PoisonError::into_inner);
    Ok(Json(System::new(resources.as_deref(), &trends, window)))
}

/// The score of the host and of each service, 0 to 100, with what it lost points for.
#[utoipa::path(get, path = "/api/v1/health", responses((status = 200, body = Health)))]
pub(super) async fn health(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Health> {
    Parameters::parse(query.as_deref(), &[])?;
    Ok(Json(Health::new(api.decided().health.as_deref())))
}

/// Advice with its evidence: the worst first, and of the same severity that with the largest gain.
#[utoipa::path(get, path = "/api/v1/recommendations", responses((status = 200, body = Vec<Recommendation>)))]
pub(super) async fn recommendations(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<Recommendation>> {
    Parameters::parse(query.as_deref(), &[])?;
    let recommendations = api.decided().recommendations;
    Ok(Json(recommendations.iter().map(Recommendation::from).collect()))
}

/// The agent itself: version, kernel, hooks, the books, its own cost.
#[utoipa::path(get, path = "/api/v1/agent", responses((status = 200, body = Agent)))]
pub(super) async fn agent(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer<Agent> {
    Parameters::parse(query.as_deref(), &[])?;
    let Published { snapshot, programs, .. } = api.now();
    let own = Own {
        cpu_seconds: usage::cpu_seconds(),
        resident_bytes: usage::resident_bytes(),
    };
    let kept = Kept {
        degraded: api.control.as_ref().and_then(|control| control.degraded()),
        history: api.history.as_ref().map(|history| History::new(&history.state())),
        statsd: Statsd::new(&api.statsd.report()),
    };
    let configuration = api.configuration.borrow().clone();
    let rest = (configuration, kept);
    Ok(Json(Agent::new(&api.facts, &snapshot.accounting, &programs, own, rest)))
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", responses((status = 200, body = Object)))]
pub(super) async fn document(RawQuery(query): RawQuery) -> Answer<utoipa::openapi::OpenApi> {
    Parameters::parse(query.as_deref(), &[])?;
    Ok(Json(super::document()))
}
