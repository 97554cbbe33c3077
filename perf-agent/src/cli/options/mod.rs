//! Options that several commands share: as typed, and how they become settings, together with what the configuration file
//! says: what was typed wins. Reading them collects every fault instead of stopping at the first.

mod capture;
mod decisions;
mod log;
mod receivers;
mod serve;
mod state;
mod statistics;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

pub use capture::CaptureOptions;
pub(super) use decisions::settings as decisions;
pub use log::{LogLevel, LogOptions};
pub(super) use receivers::receivers;
pub use serve::ServeOptions;
pub use state::StateOptions;
pub use statistics::CoreOptions;
pub(super) use statistics::statsd;

use super::Failure;
use crate::config::scalar::Scalar;
use crate::config::sections::File;
use crate::config::{self, file};

/// Everything that is wrong with what was typed.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Something is wrong.
    pub fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// Takes the value, or notes the fault.
    pub(super) fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|fault| self.0.push(fault)).ok()
    }

    /// The value, if nothing was wrong.
    ///
    /// # Errors
    /// [`Failure::Usage`] with every fault.
    pub fn none_or<T>(self, value: T) -> Result<T, Failure> {
        self.into_result(value).map_err(Failure::Usage)
    }

    /// The value, if nothing was wrong.
    ///
    /// # Errors
    /// Every fault.
    pub fn into_result<T>(self, value: T) -> Result<T, Vec<String>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// Which configuration file.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigOption {
    /// A configuration file (TOML) instead of /etc/perf-agent/config.toml. Options win over it; lists of both add up. See
    /// perf-agent config print-default.
    #[arg(long, value_name = "FILE", env = "PERF_AGENT_CONFIG", help_heading = "Configuration")]
    pub config: Option<PathBuf>,
}

impl ConfigOption {
    /// What the file and the environment say.
    pub fn file(&self, faults: &mut Faults) -> File {
        file::read(self.config.as_deref(), variables()).unwrap_or_else(|wrong| {
            for fault in wrong {
                faults.add(fault);
            }
            File::default()
        })
    }
}

/// The environment, as far as it is text.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What counts of a setting, and what to call it where it is wrong: the option or the file's key.
#[derive(Clone, Debug)]
struct Meant {
    name: &'static str,
    text: String,
}

impl fmt::Display for Meant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.text)
    }
}

impl Meant {
    /// What was typed, else what the file says, else the default.
    fn of(
        (option, typed): (&'static str, Option<&String>),
        (key, written): (&'static str, Option<&Scalar>),
        default: &str,
    ) -> Self {
        match (typed, written) {
            (Some(typed), _) => Self {
                name: option,
                text: typed.clone(),
            },
            (None, Some(written)) => Self {
                name: key,
                text: written.0.clone(),
            },
            (None, None) => Self {
                name: option,
                text: default.to_owned(),
            },
        }
    }

    fn number(&self, least: u32, most: u32) -> Result<u32, String> {
        number(self.name, &self.text, least, most)
    }

    fn size(&self, least: u64, most: u64) -> Result<u32, String> {
        let size = size(self.name, &self.text, least, most)?;
        u32::try_from(size).map_err(|_beyond| format!("{} {}: too large", self.name, self.text))
    }
}

fn number(option: &str, text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{option} {text}: expected a whole number from {least} to {most}"))
}

fn size(option: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    let size = config::bytes(text).filter(|size| (least..=most).contains(size));
    size.ok_or_else(|| format!("{option} {text}: expected {least} to {most} bytes; K, M and G may be used"))
}

/// A duration such as `10ms`, `1.5s` or `1m 30s`, longer than nothing.
pub fn duration(option: &str, text: &str, faults: &mut Faults) -> Option<Duration> {
    let parsed = jiff::SignedDuration::from_str(text)
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok());
    let parsed = parsed.filter(|duration| !duration.is_zero());
    faults.take(
        parsed
            .ok_or_else(|| format!("{option} {text}: expected a duration longer than 0, such as 10ms, 1.5s or 1m30s")),
    )
}
