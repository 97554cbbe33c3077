//! The binary: parses, runs, prints what went wrong, and ends with the right code.
#![expect(clippy::print_stderr, reason = "where errors belong")]

use std::process::ExitCode;

use clap::Parser;
use perf_agent::cli::{self, Cli, Failure};

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match cli::execute(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::from(FAILED),
        Err(Failure::Usage(faults)) => {
            for fault in faults {
                eprintln!("error: {fault}");
            }
            eprintln!("\nFor more information, try '--help'.");
            ExitCode::from(USAGE)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::from(FAILED)
        }
    }
}
