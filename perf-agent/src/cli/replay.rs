//! `perf-agent replay`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::sync::watch;

use super::options::{ConfigOption, CoreOptions, Faults, ServeOptions};
use super::{Failure, output, start};
use crate::agent::{Agent, Plan};
use crate::aggregate::Window;
use crate::api::json::agent::Configuration;
use crate::api::json::performance::Performance;
use crate::api::listen::Bound;
use crate::pipeline::Settings;
use crate::privileges::Purpose;
use crate::source::Source;
use crate::source::replay::{Ending, ReplaySource, Speed};

/// Options of `replay`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  perf-agent replay a.rec                serve the API, at the recorded speed
  perf-agent replay a.rec --speed 10     ten times as fast
  perf-agent replay a.rec --speed max    at once; the API serves the result
  perf-agent replay a.rec --once         print /metrics/performance and end

Needs no root. The same file gives the same figures, to the byte, on any machine.")]
pub struct Replay {
    /// The recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How many times as fast as it was recorded, or max.
    #[arg(long, value_name = "SPEED", default_value = "1")]
    speed: String,
    /// Process it at once, print what /metrics/performance would say, and end. No API is served: --listen and
    /// --token-file, and their variables, have no effect.
    #[arg(long, conflicts_with = "speed")]
    once: bool,
    /// With --once: as JSON. There is no other form yet, so it may be left out.
    #[arg(long, requires = "once")]
    json: bool,
    /// With --once: the window, back from the recording's end.
    #[arg(long, value_name = "WINDOW", default_value = "start", requires = "once")]
    window: String,
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    core: CoreOptions,
    #[command(flatten)]
    serve: ServeOptions,
}

impl Replay {
    /// Replays and serves until a signal comes, or prints the result.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn execute(&self) -> Result<(), Failure> {
        let mut faults = Faults::default();
        let file = self.config.file(&mut faults);
        let connections = u32::try_from(Settings::CONNECTIONS).unwrap_or(u32::MAX);
        let core = self.core.settings(&file, connections, &mut faults);
        let serve = (!self.once).then(|| self.serve.settings(&file, &mut faults));
        let speed = speed(&self.speed);
        if speed.is_none() {
            faults.add(format!("--speed {}: expected a number above 0, or max", self.speed));
        }
        let window = Window::from_name(&self.window);
        if window.is_none() {
            let words = Window::ALL.map(Window::name).join(", ");
            faults.add(format!("--window {}: expected one of {words}", self.window));
        }
        faults.none_or(())?;
        let (speed, window) = (speed.unwrap_or(Speed::Max), window.unwrap_or_default());
        let speed = if self.once { Speed::Max } else { speed };

        let source = ReplaySource::open(&self.file, speed)?;
        let progress = source.progress();
        let facts = start::facts(source.report(), &core, None);
        let serve = match serve {
            Some(serve) => Some((Bound::bind(&serve.listen)?, serve)),
            None => None,
        };
        start::give_up(Purpose::Replay);
        let (header, settings) = (source.header().clone(), start::pipeline_settings(&core));
        let agent = Agent::start(Plan {
            source: Box::new(source),
            settings,
            recorder: None,
            trace: false,
        })?;
        let Some((bound, serve)) = serve else {
            start::runtime()?.block_on(agent.ended());
            let published = agent.published();
            let finished = agent.finish();
            tell(progress.ending());
            let snapshot = Arc::clone(&published.borrow().snapshot);
            output::print(serde_json::to_string_pretty(&Performance::new(
                &snapshot, None, window,
            ))?)?;
            finished?;
            return Ok(());
        };
        output::say(format_args!(
            "replaying {} (recorded on Linux {} by perf-agent {}, {} backend)\nAPI {}; Ctrl-C ends it",
            self.file.display(),
            header.kernel,
            header.agent,
            header.backend,
            bound.url(),
        ));
        start::runtime()?.block_on(async {
            let custom = start::Custom::default();
            let decider = start::decide_in_memory(&agent, &custom)?;
            let (_, configuration) = watch::channel(Configuration::none());
            let serving = start::Serving {
                agent: &agent,
                facts,
                decider: &decider,
                custom: &custom,
                history: None,
                configuration,
            };
            let served = start::serve(serving, bound, &serve, true);
            let ended = agent.ended();
            let over = async {
                ended.await;
                tracing::info!(
                    records = progress.records(),
                    "the recording is over; its figures stay until Ctrl-C"
                );
                tell(progress.ending());
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased; // signals are caught before anything is said
                served = served => served,
                () = over => Ok(()),
            }
        })?;
        agent.finish()?;
        Ok(())
    }
}

/// Says of an ending that is none.
fn tell(ending: Option<&Ending>) {
    match ending {
        Some(Ending::Cut) => {
            tracing::warn!("the recording has no end mark: it was cut, and what stands here is what came before");
        }
        Some(Ending::Damaged(how)) => {
            tracing::error!("the recording is damaged, and what stands here is what came before: {how}");
        }
        Some(Ending::Whole) | None => {}
    }
}

fn speed(text: &str) -> Option<Speed> {
    if text == "max" {
        return Some(Speed::Max);
    }
    let times: f64 = text.parse().ok()?;
    (times.is_finite() && times > 0.0).then_some(Speed::Times(times))
}
