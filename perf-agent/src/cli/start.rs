//! What the commands that run the agent have in common: the runtime, the signals, serving, and the end.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::agent::Agent;
use crate::api::guard::Guard;
use crate::api::json::agent::{Facts, Limits};
use crate::api::listen::Bound;
use crate::api::{self, Api};
use crate::config::{CaptureSettings, CoreSettings, ServeSettings};
use crate::privileges::{self, Purpose};
use crate::source::Report;
use crate::{pipeline, statistics};

/// How many may follow the API's stream at once.
const FOLLOWERS: usize = 32;

/// The pipeline's settings.
pub fn pipeline_settings(core: &CoreSettings) -> pipeline::Settings {
    pipeline::Settings {
        connections: core.max_connections,
        statistics: statistics::Settings {
            endpoints: core.max_endpoints,
            recent: core.request_log,
            routes: core.routes.clone(),
            rule: core.errors.clone(),
            ..statistics::Settings::default()
        },
    }
}

/// What the API says of the agent; `capture` is `None` for a recording.
pub fn facts(report: &Report, core: &CoreSettings, capture: Option<&CaptureSettings>) -> Facts {
    Facts {
        report: report.clone(),
        live: capture.is_some(),
        limits: Limits {
            max_endpoints: core.max_endpoints as u64,
            max_connections: core.max_connections as u64,
            ring_bytes: capture.map(|capture| capture.ring_bytes.into()),
            capture_request_bytes: capture.map(|capture| capture.request_bytes.into()),
            capture_response_bytes: capture.map(|capture| capture.response_bytes.into()),
        },
    }
}

/// Gives up the capabilities that the purpose does not need; before the first thread is started.
pub fn give_up(purpose: Purpose) {
    if let Err(error) = privileges::drop_what_is_not_needed(purpose) {
        tracing::warn!(%error, "cannot drop capabilities, going on with all of them");
    }
}

/// For the API and signals only: two threads, however many processors there are.
///
/// # Errors
/// If the operating system gives no threads.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("api")
        .enable_all()
        .build()
}

/// Completes at Ctrl-C, SIGTERM or SIGHUP.
///
/// # Errors
/// If the signals cannot be caught.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

/// Serves the API until a signal comes. Ends early if the agent's core does, unless `outlive`.
///
/// # Errors
/// As the system says.
pub async fn serve(
    agent: &Agent,
    bound: Bound,
    serve: &ServeSettings,
    facts: Facts,
    outlive: bool,
) -> std::io::Result<()> {
    let guard = Guard {
        token: serve.token.clone(),
        loopback: bound.loopback(),
    };
    let router = api::router(
        Api {
            facts,
            published: agent.published(),
            followed: agent.followed(),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            custom: crate::custom::Shared::default(),
        },
        guard,
    );
    let (signal, ended) = (stop_signal()?, agent.ended());
    let stop = async move {
        tokio::select! {
            () = signal => {}
            () = ended, if !outlive => {}
        }
    };
    bound.serve(router, stop).await
}
