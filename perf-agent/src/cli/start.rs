//! What the commands that run the agent have in common: the runtime, the signals, serving, and the end.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::agent::Agent;
use crate::api::guard::Guard;
use crate::api::json::agent::{Configuration, Facts, Limits};
use crate::api::listen::Bound;
use crate::api::{self, Api};
use crate::config::{CaptureSettings, CoreSettings, ServeSettings};
use crate::decide::{self, Decider};
use crate::host::Reader;
use crate::notify::deliver::Policy;
use crate::notify::outbox::Outbox;
use crate::notify::receiver::Receiver;
use crate::notify::{Clock, Notifier, Origin};
use crate::privileges::{self, Purpose};
use crate::source::Report;
use crate::statsd::StatsdCounts;
use crate::store::Store;
use crate::{custom, history, pipeline, statistics};

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
            wanted: Arc::new(core.wanted()),
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

/// Completes at Ctrl-C or SIGTERM, and at SIGHUP unless that means something else.
///
/// # Errors
/// If the signals cannot be caught.
pub fn stop_signal(at_hang_up: bool) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = if at_hang_up {
        Some(signal(SignalKind::hangup())?)
    } else {
        None
    };
    Ok(async move {
        let reload = async {
            match &mut hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = reload => {}
        }
    })
}

/// What programs report, and what was counted of it.
#[derive(Clone, Debug, Default)]
pub struct Custom {
    /// The metrics.
    pub metrics: custom::Shared,
    /// Of StatsD.
    pub counts: Arc<StatsdCounts>,
}

/// What outlives a restart, but for statistics.
#[derive(Debug)]
pub struct Kept {
    store: Store,
    outbox: Outbox,
}

impl Kept {
    /// What an earlier run left in this directory; in memory only for `None`.
    pub fn open(directory: Option<&Path>) -> Self {
        let outbox = directory.map(|directory| directory.join("outbox.redb"));
        Self {
            store: Store::open(directory),
            outbox: Outbox::open(outbox.as_deref(), Clock::default()),
        }
    }

    /// Starts to decide; in a runtime.
    ///
    /// # Errors
    /// Two receivers are called the same, or the operating system gives no thread.
    pub fn decide(
        self,
        agent: &Agent,
        custom: &Custom,
        settings: decide::Settings,
        receivers: Vec<Receiver>,
        reader: Reader,
    ) -> anyhow::Result<Decider> {
        let notifier = Notifier::start(receivers, self.outbox, origin(), Policy::default())?;
        Ok(Decider::start(decide::Plan {
            settings,
            published: agent.published(),
            custom: Arc::clone(&custom.metrics),
            reader: Some(reader),
            notifier: Some(notifier),
            store: self.store,
        })?)
    }
}

/// Decides about a recording: nothing of it is kept, and nobody is told.
///
/// # Errors
/// If the operating system gives no thread.
pub fn decide_in_memory(agent: &Agent, custom: &Custom) -> std::io::Result<Decider> {
    Decider::start(decide::Plan {
        settings: decide::Settings::default(),
        published: agent.published(),
        custom: Arc::clone(&custom.metrics),
        reader: None,
        notifier: None,
        store: Store::open(None),
    })
}

/// Who speaks in notifications.
pub fn origin() -> Origin {
    Origin {
        instance: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// What the API serves.
pub struct Serving<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// Fixed since the start.
    pub facts: Facts,
    /// What decides.
    pub decider: &'a Decider,
    /// What programs report.
    pub custom: &'a Custom,
    /// The history on disk.
    pub history: Option<history::Reader>,
    /// The configuration that holds.
    pub configuration: watch::Receiver<Configuration>,
}

/// Serves the API until a signal comes. Ends early if the agent's core does, unless `outlive`.
///
/// # Errors
/// As the system says.
pub async fn serve(serving: Serving<'_>, bound: Bound, serve: &ServeSettings, outlive: bool) -> std::io::Result<()> {
    let guard = Guard {
        token: serve.token.clone(),
        loopback: bound.loopback(),
    };
    let Serving { agent, decider, .. } = serving;
    let router = api::router(
        Api {
            facts: serving.facts,
            published: agent.published(),
            decided: decider.decided(),
            trends: decider.trends(),
            control: Some(decider.control()),
            history: serving.history,
            configuration: serving.configuration,
            followed: agent.followed(),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            custom: Arc::clone(&serving.custom.metrics),
            statsd: Arc::clone(&serving.custom.counts),
        },
        guard,
    );
    let (signal, ended) = (stop_signal(outlive)?, agent.ended());
    let stop = async move {
        tokio::select! {
            () = signal => {}
            () = ended, if !outlive => {}
        }
    };
    bound.serve(router, stop).await
}
