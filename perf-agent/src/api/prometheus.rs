//! `/metrics`: what Prometheus scrapes.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use tokio::sync::Semaphore;

use super::problem::Problem;
use super::query::Parameters;
use super::{Api, Published};
use crate::prometheus::own::{Agent, Program};
use crate::prometheus::{Exposition, Format};
use crate::usage;

/// Expositions are made one after the other: each may take tens of megabytes for a moment.
static TURN: Semaphore = Semaphore::const_new(1);

/// Everything for Prometheus, since the agent's start: in its text format, as `OpenMetrics`, or as its protobuf messages with
/// native histograms, whichever `Accept` prefers.
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, description = "Metrics; docs/prometheus.md lists them", content(
        (String = "text/plain"),
        (String = "application/openmetrics-text"),
        (Vec<u8> = "application/vnd.google.protobuf"),
    )),
    (status = 400, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn metrics(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let accept = headers.get_all(header::ACCEPT);
    let format = Format::accepted(accept.iter().filter_map(|value| value.to_str().ok()));
    let turn = TURN.acquire().await;
    let now = api.now();
    // A thousand endpoints take long enough to keep others waiting.
    let body = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        exposition(&api, &now, format)
    });
    let Ok(body) = body.await else {
        return Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be written down",
        ));
    };
    let content_type = HeaderValue::from_static(format.content_type());
    let told = [
        (header::CONTENT_TYPE, content_type),
        (header::VARY, HeaderValue::from_static("accept")),
    ];
    Ok((told, body).into_response())
}

fn exposition(api: &Api, now: &Published, format: Format) -> Vec<u8> {
    let report = &api.facts.report;
    let programs: Vec<_> = now
        .programs
        .iter()
        .map(|program| Program {
            name: &program.name,
            runs: program.runs,
            run_time_ns: program.run_time_ns,
        })
        .collect();
    let decided = api.decided();
    let score = decided.health.as_ref().and_then(|report| report.host.score);
    let custom = super::custom::snapshot(&api.custom);
    let exposition = Exposition {
        snapshot: &now.snapshot,
        agent: Agent {
            version: env!("CARGO_PKG_VERSION"),
            kernel: &report.kernel.release,
            backend: report.backend.map(crate::source::Backend::name),
            max_endpoints: api.facts.limits.max_endpoints,
            cpu_seconds: usage::cpu_seconds(),
            resident_bytes: usage::resident_bytes(),
            programs: &programs,
        },
        resources: decided.resources.as_deref(),
        health_score: score.map(f64::from),
        alerts: api.control.is_some().then_some(&*decided.alerts),
        custom: Some(&custom),
    };
    exposition.render(format)
}
