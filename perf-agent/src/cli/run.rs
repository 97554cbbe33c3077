//! `perf-agent run`

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use tokio::sync::watch;

use super::options::{
    CaptureOptions, ConfigOption, CoreOptions, Faults, LogLevel, ServeOptions, StateOptions, decisions, receivers,
    statsd,
};
use super::reload::Reloading;
use super::{Failure, output, report, start};
use crate::agent::{Agent, Plan};
use crate::api::json::agent::Facts;
use crate::api::listen::Bound;
use crate::config::sections::File;
use crate::config::{CaptureSettings, CoreSettings, ServeSettings};
use crate::history::{self, History, HistorySettings};
use crate::notify::receiver::Receiver;
use crate::privileges::Purpose;
use crate::source::{Source, live};
use crate::statsd::{BoundStatsd, StatsdSettings};
use crate::{decide, host};

/// Options of `run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  Everything on this host:
    sudo perf-agent run
  Connections with these ports at either end:
    sudo perf-agent run --port 8080,8443
  One program, without its exporter; one systemd service:
    sudo perf-agent run --exe nginx --exclude-port 9100
    sudo perf-agent run --cgroup system.slice/shop.service
  A route of your own:
    sudo perf-agent run --route '/shops/{shop}/items/{item}'
  The API on a socket, for its owner and group; on the network, with a token:
    sudo perf-agent run --listen unix:/run/perf-agent.sock
    (umask 077; openssl rand -hex 32 >token)
    sudo perf-agent run --listen 0.0.0.0:9955 --token-file token

Then:
  curl http://127.0.0.1:9955/metrics/performance
  curl 'http://127.0.0.1:9955/api/v1/endpoints?sort=p99&limit=10'")]
pub struct Run {
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    pub(super) options: RunOptions,
}

/// Everything that can be said of a run.
#[derive(Args, Clone, Debug, Default)]
pub struct RunOptions {
    #[command(flatten)]
    capture: CaptureOptions,
    #[command(flatten)]
    core: CoreOptions,
    #[command(flatten)]
    serve: ServeOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// What a run was told.
#[derive(Debug)]
pub struct RunSettings {
    /// What to observe.
    pub capture: CaptureSettings,
    /// What the statistics keep.
    pub core: CoreSettings,
    /// Where the API is offered.
    pub serve: ServeSettings,
    /// What is kept on disk.
    pub history: HistorySettings,
    /// Where other programs report.
    pub statsd: StatsdSettings,
    /// What is decided by. Can change while it runs, and so can what follows.
    pub decisions: decide::Settings,
    /// Who is told.
    pub receivers: Vec<Receiver>,
    /// What is logged.
    pub log: LogLevel,
}

impl RunOptions {
    /// What is meant, by what was typed and by the file.
    pub fn settings(&self, file: &File, faults: &mut Faults) -> RunSettings {
        let capture = self.capture.settings(file, faults);
        RunSettings {
            core: self.core.settings(file, capture.max_connections, faults),
            serve: self.serve.settings(file, faults),
            history: self.state.settings(file, faults),
            statsd: statsd(&file.custom_metrics, faults),
            decisions: decisions(file, faults),
            receivers: receivers(file, faults),
            log: LogLevel::of(file, faults),
            capture,
        }
    }
}

impl RunSettings {
    /// In what it differs from what runs, of what cannot change while it does.
    pub(super) fn differs(&self, running: &Fixed) -> Vec<&'static str> {
        let fixed = Fixed::of(self);
        let differs = [
            ("observe, functions or limits", fixed.capture != running.capture),
            ("limits, routes, errors or requests", fixed.core != running.core),
            ("api", fixed.serve != running.serve),
            ("state or history", fixed.history != running.history),
            ("custom_metrics", fixed.statsd != running.statsd),
        ];
        differs
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(section, _)| section)
            .collect()
    }
}

/// What cannot change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    capture: CaptureSettings,
    core: CoreSettings,
    serve: ServeSettings,
    history: HistorySettings,
    statsd: StatsdSettings,
}

impl Fixed {
    pub(super) fn of(settings: &RunSettings) -> Self {
        Self {
            capture: settings.capture.clone(),
            core: settings.core.clone(),
            serve: settings.serve.clone(),
            history: settings.history.clone(),
            statsd: settings.statsd.clone(),
        }
    }
}

impl Run {
    /// Observes and serves until a signal comes.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn execute(&self) -> Result<(), Failure> {
        let mut faults = Faults::default();
        let file = self.config.file(&mut faults);
        let settings = self.options.settings(&file, &mut faults);
        let settings = faults.none_or(settings)?;
        settings.log.set();
        let reloading = Reloading {
            config: self.config.clone(),
            options: self.options.clone(),
            running: Fixed::of(&settings),
        };
        let RunSettings {
            capture, core, serve, ..
        } = &settings;

        let bound = Bound::bind(&serve.listen)?;
        let statsd = BoundStatsd::bind(&settings.statsd)?;
        let source = live::start(capture)?;
        let facts = start::facts(source.report(), core, Some(capture));
        let mut plan = start::pipeline_settings(core);
        let directory = settings.history.directory.clone();
        let history = directory.clone().map(|directory| {
            let (history, remembered) = History::open(&settings.history, directory, core.max_endpoints);
            plan.statistics.remembered = Some(remembered);
            history
        });
        let kept = start::Kept::open(directory.as_deref());
        start::give_up(Purpose::Observe);
        let introduction = introduction(&*source, &bound, serve.token_file.as_deref());
        let agent = Agent::start(Plan {
            source,
            settings: plan,
            recorder: None,
            trace: false,
        })?;
        let reader = history.as_ref().map(History::reader);
        let following = history.map(|history| {
            let published = agent.published();
            history.follow(move || Arc::clone(&published.borrow().snapshot))
        });
        let following = following.transpose()?;
        output::say(introduction.trim_end());
        let running = Running {
            agent: &agent,
            facts,
            kept,
            history: reader,
            bound,
            statsd,
            settings,
            reloading,
        };
        start::runtime()?.block_on(running.serve())?;
        let finished = agent.finish();
        if let Some(following) = following {
            following.finish();
        }
        finished?;
        tracing::info!("hooks detached");
        Ok(())
    }
}

/// Everything that serves, once the hooks are attached.
struct Running<'a> {
    agent: &'a Agent,
    facts: Facts,
    kept: start::Kept,
    history: Option<history::Reader>,
    bound: Bound,
    statsd: BoundStatsd,
    settings: RunSettings,
    reloading: Reloading,
}

impl Running<'_> {
    /// Until a signal comes, or the core ends.
    async fn serve(self) -> anyhow::Result<()> {
        let RunSettings {
            serve,
            decisions,
            receivers,
            ..
        } = self.settings;
        let custom = start::Custom::default();
        let reader = host::Reader::new(Path::new("/"));
        let decider = self.kept.decide(self.agent, &custom, decisions, receivers, reader)?;
        let (told, configuration) = watch::channel(self.reloading.first());
        let changer = decider.changer();
        let reloaded = self.reloading.run(told, move |settings| {
            settings.log.set();
            changer.set(settings.decisions);
            changer.set_receivers(settings.receivers);
        });
        let never = std::future::pending();
        let reports = self
            .statsd
            .serve(Arc::clone(&custom.metrics), Arc::clone(&custom.counts), never);
        let serving = start::Serving {
            agent: self.agent,
            facts: self.facts,
            decider: &decider,
            custom: &custom,
            history: self.history,
            configuration,
        };
        // The API ends; the others only by an error.
        let ended = tokio::select! {
            ended = start::serve(serving, self.bound, &serve, false) => ended,
            failed = reports => failed,
            failed = reloaded => failed,
        };
        decider.finish().await;
        Ok(ended?)
    }
}

fn introduction(source: &dyn Source, bound: &Bound, token_file: Option<&Path>) -> String {
    let seen = source.report();
    let (version, release) = (env!("CARGO_PKG_VERSION"), &seen.kernel.release);
    let api = bound.url();
    let mut hint = match bound {
        // Of an address that stands for all of them, one that this machine reaches.
        Bound::Tcp(_) => format!(
            "curl {}/metrics/performance",
            api.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        ),
        Bound::Unix(..) => {
            format!(
                "curl --unix-socket {} http://localhost/metrics/performance",
                api.trim_start_matches("unix:")
            )
        }
    };
    if let Some(file) = token_file {
        let _infallible = write!(hint, " -H \"Authorization: Bearer $(head -n 1 {})\"", file.display());
    }
    format!(
        "perf-agent {version} observes this host (Linux {release})\n{}  {:<10} {api}\n  {:<10} {hint}\nCtrl-C ends it.\n",
        report::short(seen),
        "API",
        "try",
    )
}
