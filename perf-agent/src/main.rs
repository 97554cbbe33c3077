//! The binary: parses, runs, prints what went wrong, and ends with the right code.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use perf_agent::cli::{self, Cli, Failure};
use perf_agent::usage;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    usage::begin();
    match cli::execute(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::from(FAILED),
        Err(Failure::Usage(faults)) => {
            for fault in faults {
                say(format_args!("error: {fault}"));
            }
            say("\nFor more information, try '--help'.");
            ExitCode::from(USAGE)
        }
        Err(Failure::Failed(error)) => {
            say(format_args!("error: {error}"));
            for cause in error.chain().skip(1) {
                say(format_args!("  because: {cause}"));
            }
            ExitCode::from(FAILED)
        }
    }
}

/// On standard error, where there may be nobody any more: the exit code says it as well.
fn say(line: impl Display) {
    let _unheard = writeln!(std::io::stderr(), "{line}");
}
