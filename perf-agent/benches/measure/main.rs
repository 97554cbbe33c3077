//! Measures the agent: `cargo xtask bench` builds and runs this, as root where a benchmark needs it, and prints its
//! figures as tables. Each subcommand prints one [`report::Report`] as JSON.
//!
//! Read in this order: [`report`] (figures and bars), [`records`], [`multiplexed`], [`conversations`] and [`pipeline`]
//! (the user side alone), [`talk`] and [`kernel`] (the kernel side alone), [`agent`] (the agent as a process), [`serve`] and [`nginx`]
//! (what it costs those that are observed), [`streams`] and [`tls`] (the same for HTTP/2 and over TLS), [`stores`]
//! (the same for databases and caches), [`handlers`] (the same for servers that take their time), [`idle`], [`history`]
//! (the disk alone).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "it measures times")]
#![forbid(unsafe_code)]

mod agent;
mod conversations;
mod handlers;
mod history;
mod host;
mod idle;
mod kernel;
mod multiplexed;
mod nginx;
mod pipeline;
mod records;
mod report;
mod serve;
mod stores;
mod streams;
mod talk;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use perf_agent::source::Backend;

/// Measures perf-agent.
#[derive(Parser)]
enum Measure {
    /// The user side alone, on synthetic records.
    Pipeline {
        /// Samples of the throughput.
        #[arg(long, default_value_t = 9)]
        samples: usize,
        /// Only the throughput.
        #[arg(long)]
        no_memory: bool,
        /// Only the throughput of this.
        #[arg(long, value_enum)]
        load: Option<pipeline::Kind>,
    },
    /// The kernel side alone, program by program. As root.
    Kernel {
        /// The object with the empty programs.
        #[arg(long)]
        empty: PathBuf,
        #[arg(long, value_enum, default_value_t = Hooks::Auto)]
        backend: Hooks,
        #[arg(long, default_value_t = 9)]
        samples: usize,
    },
    /// nginx with the agent and without. As root.
    Nginx {
        #[command(flatten)]
        plan: Pairs,
        #[arg(long, default_value_t = 9)]
        pairs: usize,
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// nginx with HTTP/2 and many requests at once, with the agent and without. As root.
    Streams {
        #[command(flatten)]
        plan: Pairs,
        #[arg(long, default_value_t = 9)]
        pairs: usize,
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// nginx over TLS with the agent, with empty programs, and without. As root.
    Tls {
        #[command(flatten)]
        plan: Pairs,
        /// The object with the empty programs.
        #[arg(long)]
        empty: PathBuf,
        #[arg(long, default_value_t = 9)]
        pairs: usize,
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Redis and PostgreSQL with the agent and without. As root.
    Stores {
        #[command(flatten)]
        plan: Pairs,
        #[arg(long, default_value_t = 9)]
        pairs: usize,
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Servers with handlers of known times, plain and over TLS, with the agent and without. As root.
    Handlers {
        #[command(flatten)]
        plan: Pairs,
        #[arg(long, default_value_t = 9)]
        pairs: usize,
        #[arg(long, default_value_t = 2)]
        seconds: u64,
    },
    /// The same as `nginx` in a virtual machine whose time is a count of instructions. As root.
    Guest {
        #[command(flatten)]
        plan: Pairs,
        #[arg(long, default_value_t = 3)]
        pairs: usize,
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// The agent on an idle host. As root.
    Idle {
        /// The agent's program.
        #[arg(long)]
        agent: PathBuf,
        #[arg(long, default_value_t = 30)]
        seconds: u32,
    },
    /// The pipeline's memory, in a process of its own.
    #[command(hide = true)]
    Memory,
    /// The history on the disk.
    History {
        /// Where the file is put while it is measured.
        #[arg(long, default_value = "/var/tmp")]
        directory: PathBuf,
    },
    /// Feeds the pipeline under a profiler.
    #[command(hide = true)]
    Profile {
        #[arg(long, default_value_t = 2)]
        batches: u32,
        /// Of what.
        #[arg(long, value_enum, default_value_t = pipeline::Kind::Host)]
        load: pipeline::Kind,
        /// What `perf-agent record` wrote, once, instead of made records.
        #[arg(long, conflicts_with_all = ["batches", "load"])]
        recording: Option<PathBuf>,
    },
    /// Both ends of a connection, for `kernel`.
    #[command(hide = true)]
    Talk {
        kind: talk::Talk,
        #[arg(long)]
        milliseconds: u64,
    },
    /// The server with handlers of known times, for `nginx`.
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        port: u16,
    },
}

/// Which agent, and how it observes.
#[derive(clap::Args)]
struct Pairs {
    /// The agent's program.
    #[arg(long)]
    agent: PathBuf,
    /// Its backend.
    #[arg(long)]
    backend: Option<String>,
}

impl Pairs {
    fn plan(self, pairs: usize, seconds: u64) -> nginx::Plan {
        nginx::Plan {
            agent: self.agent,
            backend: self.backend,
            pairs,
            seconds,
        }
    }
}

/// Backends as typed.
#[derive(Clone, Copy, ValueEnum)]
enum Hooks {
    Auto,
    Tracepoint,
    Fentry,
    Kprobe,
}

impl Hooks {
    fn backend(self) -> Option<Backend> {
        match self {
            Self::Auto => None,
            Self::Tracepoint => Some(Backend::Tracepoint),
            Self::Fentry => Some(Backend::Fentry),
            Self::Kprobe => Some(Backend::Kprobe),
        }
    }
}

fn main() -> Result<()> {
    match Measure::parse() {
        Measure::Pipeline {
            samples,
            no_memory,
            load,
        } => pipeline::run(samples, !no_memory && load.is_none(), load)?.print(),
        Measure::Kernel {
            empty,
            backend,
            samples,
        } => kernel::run(&empty, backend.backend(), samples)?.print(),
        Measure::Nginx { plan, pairs, seconds } => nginx::run(&plan.plan(pairs, seconds))?.print(),
        Measure::Streams { plan, pairs, seconds } => streams::run(&plan.plan(pairs, seconds))?.print(),
        Measure::Tls {
            plan,
            empty,
            pairs,
            seconds,
        } => tls::run(&plan.plan(pairs, seconds), &empty)?.print(),
        Measure::Stores { plan, pairs, seconds } => stores::run(&plan.plan(pairs, seconds))?.print(),
        Measure::Handlers { plan, pairs, seconds } => handlers::run(&plan.plan(pairs, seconds))?.print(),
        Measure::Guest { plan, pairs, seconds } => nginx::guest(&plan.plan(pairs, seconds))?.print(),
        Measure::Idle { agent, seconds } => idle::run(&agent, seconds)?.print(),
        Measure::Memory => pipeline::memory(),
        Measure::History { directory } => history::run(&directory)?.print(),
        Measure::Profile {
            recording: Some(recording),
            ..
        } => pipeline::profile_recording(&recording),
        Measure::Profile { batches, load, .. } => pipeline::profile(batches, load),
        Measure::Talk { kind, milliseconds } => talk::run(kind, Duration::from_millis(milliseconds)),
        Measure::Serve { port } => serve::serve(port),
    }
}
