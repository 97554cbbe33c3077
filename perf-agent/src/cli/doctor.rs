//! `perf-agent doctor`

use clap::Args;
use serde::Serialize;

use super::options::{CaptureOptions, ConfigOption, Faults};
use super::{Failure, output, report};
use crate::api::json::agent::{Backend, Blind, Hook, Kernel};
use crate::api::json::service::TlsProcess;
use crate::source::{self, live};

/// Options of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Loads and attaches every backend for a moment, and takes it off again. Safe to run, and its output to paste.

Examples:
  sudo perf-agent doctor
  sudo perf-agent doctor --json | jq .backends
  sudo perf-agent doctor && sudo perf-agent run

Exit codes: 0 observing is possible, 1 it is not, 2 wrong usage.")]
pub struct Doctor {
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    capture: CaptureOptions,
    /// JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// The report for machines.
#[derive(Serialize)]
struct Diagnosis {
    version: &'static str,
    possible: bool,
    /// Why nothing could be tried at all.
    error: Option<String>,
    kernel: Option<Kernel>,
    backend: Option<&'static str>,
    backends: Vec<Backend>,
    hooks: Vec<Hook>,
    blind_spots: Vec<Blind>,
    /// Processes that map a TLS library; `covered` if what they do with it would be seen.
    tls: Vec<TlsProcess>,
}

impl Doctor {
    /// Prints the report.
    ///
    /// # Errors
    /// [`Failure`], also if observing is not possible.
    pub fn execute(&self) -> Result<(), Failure> {
        let mut faults = Faults::default();
        let file = self.config.file(&mut faults);
        let capture = self.capture.settings(&file, &mut faults);
        let capture = faults.none_or(capture)?;
        let diagnosed = live::diagnose(&capture);
        if self.json {
            output::print(serde_json::to_string_pretty(&Diagnosis::new(&diagnosed))?)?;
            return match diagnosed {
                Ok(found) if found.report.backend.is_some() => Ok(()),
                _ => Err(Failure::Told),
            };
        }
        let found = diagnosed?;
        let obstacle = found.obstacle.as_ref().map(causes);
        output::print(report::full(&found.report, &found.tls, obstacle.as_deref(), capture.backend).trim_end())?;
        if found.report.backend.is_some() {
            Ok(())
        } else {
            Err(Failure::Told)
        }
    }
}

/// An error with what caused it, in one line.
fn causes(error: &source::SourceError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Diagnosis {
    fn new(diagnosed: &Result<source::Diagnosis, source::SourceError>) -> Self {
        let report = diagnosed.as_ref().ok().map(|found| &found.report);
        let error = match diagnosed {
            Ok(found) => found.obstacle.as_ref(),
            Err(error) => Some(error),
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            possible: report.is_some_and(|report| report.backend.is_some()),
            error: error.map(causes),
            kernel: report.map(|report| Kernel {
                release: report.kernel.release.clone(),
                btf: Some(report.kernel.btf),
            }),
            backend: report
                .and_then(|report| report.backend)
                .map(crate::source::Backend::name),
            backends: report.map_or_else(Vec::new, |report| report.backends.iter().map(Backend::from).collect()),
            hooks: report.map_or_else(Vec::new, |report| report.hooks.iter().map(Hook::from).collect()),
            blind_spots: report.map_or_else(Vec::new, |report| report.blind_spots.iter().map(Blind::from).collect()),
            tls: diagnosed
                .as_ref()
                .map_or_else(|_| Vec::new(), |found| found.tls.iter().map(TlsProcess::from).collect()),
        }
    }
}
