//! The JSON API: what the agent tells over HTTP. Reads snapshots, changes nothing but what it was made to take: see
//! `custom`.
//!
//! A path is a handler in [`paths`], annotated with what goes into the `OpenAPI` document; its answer is a type in
//! [`json`]; its parameters go through [`query`]; errors are [`problem`]s; [`guard`] stands before everything, [`crowd`] bounds how many come, and
//! [`listen`] says where. A test holds the document and the answers against each other.

mod body;
mod crowd;
mod follow;
mod custom;
pub mod guard;
pub mod json;
pub mod listen;
pub mod paths;
pub mod problem;
mod prometheus;
pub mod query;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use tokio::sync::{Semaphore, broadcast, watch};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::guard::Guard;
use self::json::agent::Facts;
use self::problem::Problem;
use crate::snapshot::{Snapshot, Traced};
use crate::source::{ProgramStats, TlsCoverage};

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

/// What the handlers answer from.
#[derive(Debug)]
pub struct Api {
    /// Fixed since the start.
    pub facts: Facts,
    /// The newest picture.
    pub published: watch::Receiver<Published>,
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
