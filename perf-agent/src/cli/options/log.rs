//! How much is logged. The level can be changed while the agent runs.

use std::sync::OnceLock;

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::Faults;
use crate::config::sections::File;

static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// How much is logged.
#[derive(Args, Clone, Copy, Debug)]
pub struct LogOptions {
    /// What is logged on standard error. [default: info]
    #[arg(long, value_enum, global = true, env = "PERF_AGENT_LOG_LEVEL")]
    log_level: Option<LogLevel>,
}

/// Log levels as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What ends the agent.
    Error,
    /// What costs data or is not as it should be.
    Warn,
    /// Start, stop, and what was chosen.
    Info,
    /// Every step.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl LogOptions {
    /// Begins to log.
    pub fn start(self) {
        let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let level = self.log_level.unwrap_or(LogLevel::Info).filter();
        let (filter, handle) = reload::Layer::new(level);
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colour)
            .with_target(false)
            // They would go to standard error as well, and a closed one would be a panic.
            .log_internal_errors(false);
        tracing_subscriber::registry().with(filter).with(lines).init();
        if self.log_level.is_none() {
            // Only then may a file change it.
            LEVEL.get_or_init(|| handle);
        }
    }
}

impl LogLevel {
    /// The file's level.
    pub(in crate::cli) fn of(file: &File, faults: &mut Faults) -> Self {
        let Some(text) = &file.log.level else { return Self::Info };
        let level = Self::from_str(text, true);
        let expected = |_unknown| format!("log.level {text}: expected error, warn, info, debug or trace");
        faults.take(level.map_err(expected)).unwrap_or(Self::Info)
    }

    /// It counts from here on, unless one was typed.
    pub(in crate::cli) fn set(self) {
        if let Some(Err(error)) = LEVEL.get().map(|handle| handle.reload(self.filter())) {
            tracing::warn!(%error, "cannot change the log level");
        }
    }
}
