//! What outlives a restart, and where.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::decisions::length;
use super::{Faults, size};
use crate::config::sections::File;
use crate::history::HistorySettings;

/// Where state is kept, unless something else is said.
const DIRECTORY: &str = "/var/lib/perf-agent";

/// Where state is kept.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "State")]
pub struct StateOptions {
    /// Where statistics of the last day, thresholds and silences made through the API, alerts and what is still to be
    /// delivered are kept over a restart; none for in memory only. [default: /var/lib/perf-agent]
    #[arg(long, value_name = "DIR", env = "PERF_AGENT_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl StateOptions {
    /// What is meant.
    pub fn settings(&self, file: &File, faults: &mut Faults) -> HistorySettings {
        let named = self.state_dir.clone().filter(|path| path.as_os_str() != "none");
        let directory = match &self.state_dir {
            Some(_) => named,
            None => Some(file.state.directory.clone().unwrap_or_else(|| DIRECTORY.into())),
        };
        let directory = directory.filter(|path| !path.as_os_str().is_empty());
        if let Some(relative) = directory.as_ref().filter(|path| !path.is_absolute()) {
            faults.add(format!(
                "--state-dir {}: expected an absolute path, or none",
                relative.display()
            ));
        }
        let usual = HistorySettings::default();
        let retention = length(
            "history.retention",
            file.history.retention.as_deref(),
            usual.retention,
            faults,
        );
        if !(Duration::from_hours(1)..=Duration::from_hours(30 * 24)).contains(&retention) {
            faults.add("history.retention: expected 1h to 720h");
        }
        let max_bytes = file.history.max_bytes.as_ref().map_or(Ok(usual.max_bytes), |text| {
            size("history.max_bytes", &text.0, 16 << 20, 1 << 40)
        });
        HistorySettings {
            max_bytes: faults.take(max_bytes).unwrap_or_default(),
            directory,
            retention,
        }
    }
}
