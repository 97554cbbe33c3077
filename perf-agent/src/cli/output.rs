//! Standard output: what a command was asked for, and what it says beside its work.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Prints a line that the command was asked for.
///
/// # Errors
/// If it cannot be written: a full disk.
pub fn print(line: impl Display) -> anyhow::Result<()> {
    unless_gone(written(line)).context("cannot write to standard output")
}

/// A reader that has gone (`| head`) has seen all that it wanted.
///
/// # Errors
/// Any other one.
pub fn unless_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Says something beside a command's work, which goes on if nobody can be told.
pub fn say(line: impl Display) {
    if let Err(error) = written(line) {
        tracing::warn!(%error, "cannot write to standard output");
    }
}

fn written(line: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}
