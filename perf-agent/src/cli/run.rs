//! `perf-agent run`

use std::fmt::Write;
use std::path::Path;

use clap::Args;

use super::options::{CaptureOptions, ConfigOption, CoreOptions, Faults, ServeOptions, set_level};
use super::{Failure, output, report, start};
use crate::agent::{Agent, Plan};
use crate::api::listen::Bound;
use crate::config::sections::File;
use crate::config::{CaptureSettings, CoreSettings, ServeSettings};
use crate::privileges::Purpose;
use crate::source::{Source, live};

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
}

/// What a run was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSettings {
    /// What to observe.
    pub capture: CaptureSettings,
    /// What the statistics keep.
    pub core: CoreSettings,
    /// Where the API is offered.
    pub serve: ServeSettings,
}

impl RunOptions {
    /// What is meant, by what was typed and by the file.
    pub fn settings(&self, file: &File, faults: &mut Faults) -> RunSettings {
        set_level(file, faults);
        let capture = self.capture.settings(file, faults);
        RunSettings {
            core: self.core.settings(file, capture.max_connections, faults),
            serve: self.serve.settings(file, faults),
            capture,
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
        let RunSettings { capture, core, serve } = faults.none_or(settings)?;

        let bound = Bound::bind(&serve.listen)?;
        let source = live::start(&capture)?;
        let facts = start::facts(source.report(), &core, Some(&capture));
        let settings = start::pipeline_settings(&core);
        start::give_up(Purpose::Observe);
        let introduction = introduction(&*source, &bound, serve.token_file.as_deref());
        let agent = Agent::start(Plan {
            source,
            settings,
            recorder: None,
            trace: false,
        })?;
        output::say(introduction.trim_end());
        start::runtime()?.block_on(start::serve(&agent, bound, &serve, facts, false))?;
        agent.finish()?;
        tracing::info!("hooks detached");
        Ok(())
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
