//! The project's own commands: `cargo xtask --help`.
//!
//! Read in this order: [`places`] (where things lie), [`command`] (how programs are run), [`need`] (what a command
//! needs of the machine, and how it is announced and installed), [`toolchain`] and [`bpf`] (the kernel side's
//! compiler and build), [`agent`] (the user side), [`python`] (servers for the tests), [`vm`] (other kernels),
//! [`steps`], [`test`] and [`tidy`] (what must hold).
#![expect(
    clippy::print_stdout,
    reason = "a command line tool: its standard output is its purpose"
)]
#![forbid(unsafe_code)]

mod agent;
mod bpf;
mod command;
mod need;
mod places;
mod python;
mod toolchain;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Sets up a machine, builds, runs and tests perf-agent.
///
/// On a machine that has nothing but cargo, start with `cargo xtask run`: it says what it is about to install and why,
/// installs it, builds the kernel side (BPF) and the agent, and starts the agent. `cargo xtask test` runs everything
/// that must hold before a change is merged.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what building needs: a BPF compiler and linker (and with --tests what the tests need).
    ///
    /// A rustup nightly with rust-src and a working bpf-linker is taken where it exists; else Debian's packaged rustc
    /// with its prebuilt BPF core library, and bpf-linker built against Debian's LLVM. Which of them, is printed.
    Setup {
        #[command(flatten)]
        install: Install,
        /// Also what `cargo xtask test` needs: web servers, a load generator, Python packages, QEMU, kernels.
        #[arg(long)]
        tests: bool,
    },
    /// Builds the BPF object and, with it embedded, the agent (release profile).
    ///
    /// The object goes to `target/bpf/perf-ebpf.o`, where the agent's build script finds it; plain `cargo build`
    /// embeds it from then on. The agent is `target/release/perf-agent`.
    Build {
        #[command(flatten)]
        install: Install,
        /// Only the BPF object.
        #[arg(long)]
        bpf_only: bool,
    },
    /// Installs what is missing, builds, and starts the agent as root.
    ///
    /// `cargo xtask run` starts `perf-agent run`; `cargo xtask run -- --port 8080` passes flags to it;
    /// `cargo xtask run -- doctor` starts another subcommand of the agent. Not being root, it uses sudo.
    Run {
        #[command(flatten)]
        install: Install,
        /// Flags for `perf-agent run`, or another subcommand of the agent with its flags.
        #[arg(last = true, value_name = "AGENT FLAGS")]
        flags: Vec<String>,
    },
}

/// How to deal with what is missing.
#[derive(Args, Clone, Copy)]
struct Install {
    /// Install nothing: print the commands that would be needed and stop with exit code 1.
    #[arg(long)]
    no_install: bool,
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Setup { install, tests } => {
            let mut needs = toolchain::needs();
            if tests {
                needs.extend(python::needs());
            }
            need::satisfy(needs, install.no_install)?;
            println!("BPF tool chain: {}", toolchain::find()?);
        }
        Task::Build { install, bpf_only } => {
            need::satisfy(toolchain::needs(), install.no_install)?;
            bpf::build(&toolchain::find()?)?;
            if !bpf_only {
                println!("agent: {}", agent::build()?.display());
            }
        }
        Task::Run { install, flags } => {
            need::satisfy(toolchain::needs(), install.no_install)?;
            bpf::build(&toolchain::find()?)?;
            agent::exec(&agent::build()?, &flags)?;
        }
    }
    Ok(())
}
