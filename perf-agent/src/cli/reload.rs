//! The configuration is read again when SIGHUP comes, and when the file has changed. What can change at once does; what
//! cannot is told and waits for the next start; a wrong file is refused as a whole, and what runs stays as it is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::options::{ConfigOption, Faults, variables};
use super::run::{Fixed, RunOptions, RunSettings};
use crate::api::json::agent::Configuration;
use crate::api::json::timestamp;
use crate::clock;
use crate::config::file;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What is needed to read it again.
#[derive(Clone, Debug)]
pub(super) struct Reloading {
    pub(super) config: ConfigOption,
    pub(super) options: RunOptions,
    /// What runs.
    pub(super) running: Fixed,
}

/// A file's identity and state: another one of the same name has another.
type Seen = Option<(u64, u64, i64, i64, u64)>;

fn seen(path: Option<&Path>) -> Seen {
    let meta = fs::metadata(path?).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

impl Reloading {
    /// The file that is read.
    pub(super) fn path(&self) -> Option<PathBuf> {
        file::chosen(self.config.config.as_deref()).map(Path::to_owned)
    }

    /// What the API says of the configuration, before it is read again for the first time.
    pub(super) fn first(&self) -> Configuration {
        Configuration {
            file: self.path().map(|path| path.display().to_string()),
            read_at: timestamp(clock::wall_ns()),
            refused: None,
            waits_for_restart: Vec::new(),
        }
    }

    /// Reads it again and again; `apply` is given what can change at once.
    ///
    /// # Errors
    /// If the signal cannot be caught.
    pub(super) async fn run(
        self,
        told: watch::Sender<Configuration>,
        apply: impl Fn(RunSettings),
    ) -> std::io::Result<()> {
        let this = Arc::new(self);
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = seen(this.path().as_deref());
        loop {
            let asked = tokio::select! {
                _ = hang_up.recv() => true,
                _ = tick.tick() => false,
            };
            let now = seen(this.path().as_deref());
            if !asked && (now == last || now.is_none()) {
                continue;
            }
            last = now;
            let reading = Arc::clone(&this);
            // It reads files, and programs if functions are chosen.
            let read = tokio::task::spawn_blocking(move || reading.read()).await;
            match read {
                Ok(Ok(settings)) => {
                    let waiting = settings.differs(&this.running);
                    tracing::info!("the configuration was read again");
                    if !waiting.is_empty() {
                        tracing::warn!("waits for the next start of the agent: {}", waiting.join(", "));
                    }
                    apply(settings);
                    told.send_replace(Configuration {
                        read_at: timestamp(clock::wall_ns()),
                        waits_for_restart: waiting.into_iter().map(str::to_owned).collect(),
                        ..this.first()
                    });
                }
                Ok(Err(faults)) => {
                    for fault in &faults {
                        tracing::error!("{fault}");
                    }
                    tracing::error!("the configuration is refused, and the one that runs stays");
                    told.send_modify(|told| told.refused = Some(faults.join("\n")));
                }
                Err(panic) => tracing::error!(%panic, "cannot read the configuration again"),
            }
        }
    }

    fn read(&self) -> Result<RunSettings, Vec<String>> {
        let file = file::read(self.config.config.as_deref(), variables())?;
        let mut faults = Faults::default();
        let settings = self.options.settings(&file, &mut faults);
        faults.into_result(settings)
    }
}
