//! Builds and starts the user side.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, places};

/// Builds the agent in release profile and returns the program.
pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(places::workspace())
        .args(["build", "--release", "--package", "perf-agent"]);
    cargo.arg("--target-dir").arg(places::target());
    command::run(&mut cargo).context("the agent was not built")?;
    Ok(places::target().join("release/perf-agent"))
}

/// Becomes the agent. Flags that do not begin with a subcommand are those of `perf-agent run`.
pub(crate) fn exec(agent: &Path, flags: &[String]) -> Result<()> {
    let mut command = command::as_root(agent)?;
    if !begins_with_subcommand(flags) {
        command.arg("run");
    }
    command.args(flags);
    eprintln!("+ {}", command::shown(&command));
    Err(command.exec()).with_context(|| format!("cannot start {}", agent.display()))
}

fn begins_with_subcommand(flags: &[String]) -> bool {
    flags
        .first()
        .is_some_and(|first| first.starts_with(|c: char| c.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_first_is_a_subcommand_and_a_flag_is_not() {
        assert!(begins_with_subcommand(&["doctor".into(), "--json".into()]));
        assert!(!begins_with_subcommand(&["--port".into(), "80".into()]));
        assert!(!begins_with_subcommand(&[]));
    }
}
