//! `perf-agent config`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::options::{Faults, variables};
use super::run::RunOptions;
use super::{Failure, output};
use crate::config::file::{self, DEFAULT, USUAL};

/// Options of `config`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  perf-agent config print-default >perf-agent.toml
  perf-agent config check perf-agent.toml
  sudo perf-agent run --config perf-agent.toml
  sudo kill -HUP $(pidof perf-agent)          read the file again

Exit codes: 0 the file is right, 2 it is not.")]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
enum Action {
    /// Print a file with every key, its default, and what it means.
    PrintDefault,
    /// Say what is wrong with a file, together with the variables that are set.
    Check {
        /// The file.
        #[arg(value_name = "FILE", default_value = USUAL)]
        file: PathBuf,
    },
}

impl Config {
    /// Does it.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn execute(&self) -> Result<(), Failure> {
        match &self.action {
            Action::PrintDefault => Ok(output::print(DEFAULT.trim_end())?),
            Action::Check { file: path } => {
                let read = file::read(Some(path), variables()).map_err(Failure::Usage)?;
                let mut faults = Faults::default();
                RunOptions::default().settings(&read, &mut faults);
                faults.none_or(())?;
                output::say(format_args!("{} is right", path.display()));
                Ok(())
            }
        }
    }
}
