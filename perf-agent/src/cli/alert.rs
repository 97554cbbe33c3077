//! `perf-agent alert`

use clap::{Args, Subcommand};

use super::options::{ConfigOption, Faults, receivers};
use super::{Failure, output, start};
use crate::notify::deliver::Policy;
use crate::notify::outbox::Outbox;
use crate::notify::{Clock, Notifier};
use crate::threshold::Metric;

/// Options of `alert`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  perf-agent alert test --config perf-agent.toml    a test through every receiver of the file
  perf-agent alert metrics                          what thresholds can measure
  curl -X POST localhost:9955/api/v1/alerts/test    the same test, by the agent that runs
  curl localhost:9955/api/v1/thresholds -d '{\"metric\": \"error_rate\", \"value\": 0.02, \"for\": \"1m\"}'

Exit codes: 0 all took it, 1 one did not, 2 wrong usage.")]
pub struct Alert {
    #[command(subcommand)]
    action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Action {
    /// Send a test through every receiver of the configuration, and say what each of them said.
    Test {
        #[command(flatten)]
        config: ConfigOption,
        /// JSON instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// List what thresholds can measure.
    Metrics,
}

impl Alert {
    /// Does it.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn execute(&self) -> Result<(), Failure> {
        match &self.action {
            Action::Test { config, json } => test(config, *json),
            Action::Metrics => {
                for name in Metric::names() {
                    output::print(name)?;
                }
                Ok(())
            }
        }
    }
}

fn test(config: &ConfigOption, json: bool) -> Result<(), Failure> {
    let mut faults = Faults::default();
    let file = config.file(&mut faults);
    let receivers = receivers(&file, &mut faults);
    let receivers = faults.none_or(receivers)?;
    if receivers.is_empty() {
        return Err(Failure::Usage(vec![
            "the configuration has no receivers: [[alerts.receivers]] makes one (perf-agent config print-default)"
                .to_owned(),
        ]));
    }
    let said = start::runtime()?.block_on(async {
        let outbox = Outbox::open(None, Clock::default());
        let notifier = Notifier::start(receivers, outbox, start::origin(), Policy::default())?;
        let said = notifier.test("a test by perf-agent: nothing is wrong").await;
        notifier.stop().await;
        Ok::<_, anyhow::Error>(said)
    })?;
    let failed = said.iter().filter(|(_, said)| said.is_err()).count();
    if json {
        let said = said.iter().map(|(receiver, said)| crate::api::json::receiver::Tried {
            receiver: receiver.clone(),
            delivered: said.is_ok(),
            error: said.as_ref().err().cloned(),
        });
        output::print(serde_json::to_string_pretty(&said.collect::<Vec<_>>())?)?;
    } else {
        for (receiver, said) in &said {
            match said {
                Ok(()) => output::print(format_args!("{receiver}: took it"))?,
                Err(error) => output::print(format_args!("{receiver}: {error}"))?,
            }
        }
    }
    if failed > 0 { Err(Failure::Told) } else { Ok(()) }
}
