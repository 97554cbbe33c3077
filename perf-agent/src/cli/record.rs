//! `perf-agent record`

use std::path::PathBuf;

use clap::Args;

use super::options::{CaptureOptions, ConfigOption, Faults, duration};
use super::{Failure, output, start};
use crate::agent::{Agent, Plan};
use crate::clock;
use crate::pipeline::Settings;
use crate::privileges::Purpose;
use crate::source::format::Header;
use crate::source::live;
use crate::source::record::Recorder;
use crate::statistics;

/// Options of `record`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo perf-agent record a.rec --for 30s
  sudo perf-agent record a.rec --port 8080    until Ctrl-C
  perf-agent replay a.rec                     look at it, without root

The file holds what was captured: the heads of requests and responses and the beginnings of their bodies, addresses, \
paths, names of programs. Values of Authorization, Cookie and similar headers and of query parameters are blanked \
before they are written; secrets in paths and bodies are not. It is readable by its owner only; an existing file is \
never overwritten.")]
pub struct Record {
    /// The file to write.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Stop after this time, such as 30s or 5m.
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    capture: CaptureOptions,
}

impl Record {
    /// Records until a signal comes or the time is over.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn execute(&self) -> Result<(), Failure> {
        let mut faults = Faults::default();
        let file = self.config.file(&mut faults);
        let capture = self.capture.settings(&file, &mut faults);
        let length = self
            .length
            .as_ref()
            .and_then(|text| duration("--for", text, &mut faults));
        let (capture, length) = faults.none_or((capture, length))?;

        let source = live::start(&capture)?;
        let report = source.report();
        let header = Header {
            started_ns: clock::monotonic_ns(),
            started_wall_ns: clock::wall_ns(),
            kernel: report.kernel.release.clone(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            backend: report.backend.map_or("", |backend| backend.name()).to_owned(),
        };
        let recorder = Some(Recorder::create(&self.file, &header)?);
        start::give_up(Purpose::Observe);
        let agent = Agent::start(Plan {
            source,
            // Nobody sees the figures; the pipeline says which connections are of no interest.
            settings: Settings {
                connections: capture.max_connections as usize,
                statistics: statistics::Settings::default(),
            },
            recorder,
            trace: false,
        })?;
        output::say(format_args!(
            "recording to {} ({} backend); Ctrl-C ends it",
            self.file.display(),
            header.backend
        ));
        start::runtime()?.block_on(async {
            let (signal, ended) = (start::stop_signal(true)?, agent.ended());
            let over = async {
                match length {
                    Some(length) => tokio::time::sleep(length).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = signal => {}
                () = ended => {}
                () = over => {}
            }
            std::io::Result::Ok(())
        })?;
        if let Some(recorded) = agent.finish()?.recorded {
            let (file, records, bytes) = (self.file.display(), recorded.records, recorded.bytes);
            output::say(format_args!(
                "{file}: {records} records, {bytes} bytes\nIt holds captured heads, paths and parts of bodies; credentials \
                 in headers and query values are blanked."
            ));
        }
        Ok(())
    }
}
