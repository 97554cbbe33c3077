//! The command line: what was typed ([`options`]), and one module per command. Nothing here observes or computes; it
//! turns words into settings, starts the [agent](crate::agent), and prints.
#![expect(
    clippy::doc_markdown,
    reason = "the comments on options are their help text, where backticks would be shown"
)]

pub mod alert;
pub mod config;
pub mod doctor;
pub mod functions;
pub mod options;
pub mod output;
pub mod record;
mod reload;
pub mod replay;
pub mod report;
pub mod run;
pub mod start;
pub mod trace;

use clap::{Parser, Subcommand};

/// True statistics of every HTTP endpoint on this host, without touching the services.
///
/// Observes sockets with eBPF programs that only look. Needs root (or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE)
/// to observe; nothing special to replay a recording.
#[derive(Debug, Parser)]
#[command(
    name = "perf-agent",
    version,
    max_term_width = 120,
    after_help = "\
Examples:
  sudo perf-agent doctor                      what this machine allows
  sudo perf-agent run                         observe, and serve the API
  curl localhost:9955/metrics/performance     ... and what it says
  sudo perf-agent run --function libc.so.6:getaddrinfo     ... and a function of any program
  sudo perf-agent trace --slower-than 100ms   print slow exchanges as they end
  sudo perf-agent record a.rec --for 30s      take a recording ...
  perf-agent replay a.rec                     ... and look at it, without root
  perf-agent config print-default             every setting, explained

Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged on standard error.
    #[command(flatten)]
    pub log: options::LogOptions,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe this host and serve the API until Ctrl-C or SIGTERM.
    Run(run::Run),
    /// Print one line per exchange as it ends.
    Trace(trace::Trace),
    /// Say what this kernel and these privileges allow, and what would fix what they do not.
    Doctor(doctor::Doctor),
    /// Try the receivers of alerts, or list what can be measured.
    Alert(alert::Alert),
    /// Print or check a configuration file.
    Config(config::Config),
    /// Show which functions and static probes of a file a choice means, without observing them.
    Functions(functions::Functions),
    /// Write what the kernel side delivers into a file.
    Record(record::Record),
    /// Put a recording through the whole pipeline and serve the API, without root.
    Replay(replay::Replay),
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Failure {
    /// The options make no sense: every fault. Exit code 2.
    Usage(Vec<String>),
    /// It was tried and failed. Exit code 1.
    Failed(anyhow::Error),
    /// It has said why itself. Exit code 1.
    Told,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`]
pub fn execute(cli: &Cli) -> Result<(), Failure> {
    cli.log.start();
    match &cli.command {
        Command::Run(command) => command.execute(),
        Command::Trace(command) => command.execute(),
        Command::Doctor(command) => command.execute(),
        Command::Alert(command) => command.execute(),
        Command::Config(command) => command.execute(),
        Command::Functions(command) => command.execute(),
        Command::Record(command) => command.execute(),
        Command::Replay(command) => command.execute(),
    }
}
