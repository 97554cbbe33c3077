//! The JSON API: what the agent tells over HTTP. Reads snapshots, changes nothing but what it was made to take: see
//! `custom`.
//!
//! A path is a handler in [`paths`], annotated with what goes into the `OpenAPI` document; its answer is a type in
//! [`json`]; its parameters go through [`query`]; errors are [`problem`]s; [`guard`] stands before everything, [`crowd`] bounds how many come, and
//! [`listen`] says where. A test holds the document and the answers against each other.

mod alerts;
mod body;
pub mod control;
mod crowd;
mod custom;
mod follow;
pub mod guard;
pub mod json;
pub mod listen;
pub mod paths;
pub mod problem;
mod prometheus;
pub mod query;
#[cfg(test)]
mod tests;
mod thresholds;

use std::sync::{Arc, RwLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use tokio::sync::{Semaphore, broadcast, watch};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::control::Control;
use self::guard::Guard;
use self::json::agent::{Configuration, Facts};
use self::problem::Problem;
use crate::advice::Recommendation;
use crate::alert::Alert;
use crate::custom::CustomSnapshot;
use crate::health::Report;
use crate::resources::{Resources, Trends};
use crate::snapshot::{Snapshot, Traced};
use crate::source::{ProgramStats, TlsCoverage};
use crate::threshold::Threshold;

/// Bytes of a request body that are read at most, unless a handler says otherwise.
const BODY_BYTES: usize = 64 * 1024;

/// Exchanges and streams that ended, in the order in which they did.
pub type Batch = Arc<[Traced]>;

/// What the core publishes once a second.
#[derive(Clone, Debug)]
pub struct Published {
    /// The picture.
    pub snapshot: Arc<Snapshot>,
    /// Cost of the loaded programs.
    pub programs: Arc<[ProgramStats]>,
    /// Processes that speak TLS, and whether their plaintext is seen.
    pub tls: Arc<[TlsCoverage]>,
    /// The hooks are attached, or the recording is being replayed.
    pub ready: bool,
}

/// What was decided, as of one evaluation.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The thresholds that hold.
    pub thresholds: Arc<[Threshold]>,
    /// Every alert: those that fire, worst first; those that are pending; those that are resolved, newest first.
    pub alerts: Arc<[Alert]>,
    /// Conditions that hold and of which there is no alert, since there are too many.
    pub alerts_beyond: u64,
    /// What the host and its services take.
    pub resources: Option<Arc<Resources>>,
    /// The score.
    pub health: Option<Arc<Report>>,
    /// Advice: the worst first, and of the same severity that with the largest gain.
    pub recommendations: Arc<[Recommendation]>,
    /// What programs reported.
    pub custom: Arc<CustomSnapshot>,
}

impl Default for Decided {
    fn default() -> Self {
        Self {
            thresholds: Arc::new([]),
            alerts: Arc::new([]),
            alerts_beyond: 0,
            resources: None,
            health: None,
            recommendations: Arc::new([]),
            custom: Arc::default(),
        }
    }
}

/// What the handlers answer from.
#[derive(Debug)]
pub struct Api {
    /// Fixed since the start.
    pub facts: Facts,
    /// The newest picture.
    pub published: watch::Receiver<Published>,
    /// What was decided last.
    pub decided: watch::Receiver<Decided>,
    /// How resources went.
    pub trends: Arc<RwLock<Trends>>,
    /// What can be changed; `None` if nothing can.
    pub control: Option<Arc<dyn Control>>,
    /// Statistics on disk; `None` if none are.
    pub history: Option<crate::history::Reader>,
    /// What was counted of StatsD.
    pub statsd: Arc<crate::statsd::StatsdCounts>,
    /// The configuration that holds.
    pub configuration: watch::Receiver<Configuration>,
    /// Where ended exchanges can be followed.
    pub followed: broadcast::Sender<Batch>,
    /// How many may follow at once.
    pub followers: Arc<Semaphore>,
    /// What programs report; shared with whoever else takes reports.
    pub custom: crate::custom::Shared,
}

impl Api {
    fn now(&self) -> Published {
        self.published.borrow().clone()
    }

    fn decided(&self) -> Decided {
        self.decided.borrow().clone()
    }

    fn thresholds(&self) -> Vec<Threshold> {
        self.control
            .as_ref()
            .map_or_else(Vec::new, |control| control.thresholds())
    }

    fn control(&self) -> Result<&dyn Control, Problem> {
        self.control.as_deref().ok_or_else(|| {
            Problem::new(
                StatusCode::CONFLICT,
                "nothing can be changed here: there is nothing that decides",
            )
        })
    }
}

#[derive(OpenApi)]
#[openapi(
    components(schemas(paths::Sort)),
    info(
        title = "perf-agent",
        description = "What an eBPF observer saw of the HTTP services on this host. Times are milliseconds and their field, \
        or its parent, ends in `_ms`; rates are per second; ratios are 0..1; time stamps are RFC 3339 in UTC; sizes are \
        bytes. Unknown or not measured is null, never 0. New fields may be added; these stay."
    )
)]
struct Document;

fn described() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(paths::healthz))
        .routes(routes!(paths::readyz))
        .routes(routes!(prometheus::metrics))
        .routes(routes!(paths::performance))
        .routes(routes!(paths::services))
        .routes(routes!(paths::endpoints))
        .routes(routes!(paths::endpoint))
        .routes(routes!(paths::database))
        .routes(routes!(paths::cache))
        .routes(routes!(paths::external))
        .routes(routes!(paths::network))
        .routes(routes!(paths::functions))
        .routes(routes!(paths::throughput))
        .routes(routes!(paths::latency))
        .routes(routes!(paths::requests))
        .routes(routes!(paths::streams))
        .routes(routes!(paths::system))
        .routes(routes!(paths::health))
        .routes(routes!(paths::recommendations))
        .routes(routes!(thresholds::list, thresholds::add))
        .routes(routes!(thresholds::one, thresholds::put, thresholds::remove))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::test))
        .routes(routes!(alerts::receivers))
        .routes(routes!(alerts::silences, alerts::silence))
        .routes(routes!(alerts::unsilence))
        .routes(routes!(follow::follow))
        .routes(routes!(custom::list, custom::report))
        .routes(routes!(paths::agent))
        .routes(routes!(paths::document))
}

/// The `OpenAPI` document, made from the handlers.
pub fn document() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

/// Everything, behind the guard.
pub fn router(api: Api, guard: Guard) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .fallback(|uri: Uri| async move {
            Problem::not_found(format!(
                "there is nothing at {}; begin with /metrics/performance, /api/openapi.json lists every path",
                uri.path()
            ))
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let detail = format!("{} does not take {method}", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::check))
        .with_state(Arc::new(api))
}
