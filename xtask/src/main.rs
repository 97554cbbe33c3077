//! The project's own commands: `cargo xtask --help`.
//!
//! Read in this order: [`places`] (where things lie), [`command`] (how programs are run), [`need`] (what a command
//! needs of the machine, and how it is announced and installed), [`toolchain`] and [`bpf`] (the kernel side's
//! compiler and build), [`agent`] (the user side), [`python`] (servers for the tests), [`vm`] (other kernels),
//! [`steps`], [`test`], [`tidy`] and [`licences`] (what must hold), [`bench`] (what it costs).
#![expect(
    clippy::print_stdout,
    reason = "a command line tool: its standard output is its purpose"
)]
#![forbid(unsafe_code)]

mod agent;
mod apt;
mod bench;
mod bpf;
mod command;
mod licences;
mod need;
mod node;
mod old;
mod places;
mod python;
mod steps;
mod test;
mod tidy;
mod toolchain;
mod vm;

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;

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
    /// Boots another kernel in QEMU and runs a command in it, by default the tests that are made for it.
    ///
    /// The guest has this machine's root file system (read-only, an overlay in memory takes what is written), so the
    /// same paths work in it: `cargo xtask vm --kernel 6.1 -- bpftool prog`. Kernels are Debian's newest of each suite,
    /// downloaded once into the cache; remove `~/.cache/perf-agent/kernels` to have newer ones.
    Vm(Vm),
    /// Runs everything that must hold, cheapest first, and stops at the first failure.
    ///
    /// Formatting, absences, lints (the agent, the agent without its kernel side, the kernel side), licences, unit and
    /// property tests, the whole program as root on the running kernel, and on Linux 6.1 and 6.12 in QEMU. Each step
    /// prints its duration. What cannot be tried here is skipped and said; with CI=true that is a failure.
    Test {
        #[command(flatten)]
        install: Install,
        /// The inner loop: no virtual machines.
        #[arg(long)]
        fast: bool,
        /// Only the tests whose name contains this, and none of the other checks.
        #[arg(long)]
        filter: Option<String>,
    },
    /// What can be checked without running anything: formatting, absences, lints of both worlds.
    Check {
        #[command(flatten)]
        install: Install,
    },
    /// Measures what the agent costs, and holds it against the bars of docs/benchmarks.md.
    ///
    /// Exit code 0 says that it could be measured, whatever came out; with --strict a bar that is not met is a failure.
    /// All but `pipeline` run as root. Wants a machine that does nothing else.
    Bench {
        #[command(flatten)]
        install: Install,
        #[command(flatten)]
        options: bench::Options,
    },
}

/// The guest and its command.
#[derive(Args)]
struct Vm {
    #[command(flatten)]
    install: Install,
    /// The kernel; may be given several times.
    #[arg(long, value_enum, required_unless_present = "all")]
    kernel: Vec<vm::Kernel>,
    /// All kernels, one after the other; a table of the results at the end.
    #[arg(long, conflicts_with = "kernel")]
    all: bool,
    /// Time is a count of instructions (one processor): for measurements that repeat.
    #[arg(long)]
    icount: bool,
    /// Virtual processors.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Memory in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Minutes after which the guest is ended.
    #[arg(long, default_value_t = 15)]
    timeout: u64,
    /// What to run in it as root; without it, the whole-program tests that are named `vm_…`.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How to deal with what is missing.
#[derive(Args, Clone, Copy)]
struct Install {
    /// Install nothing: print the commands that would be needed and stop with exit code 1.
    #[arg(long)]
    no_install: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        // The summary has said it, and ends the output.
        Err(error) if error.is::<steps::Failed>() => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup { install, tests } => {
            let mut needs = toolchain::needs();
            if tests {
                needs.extend(test::needs(true));
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
        Task::Vm(arguments) => return run_vm(&arguments),
        Task::Test { install, fast, filter } => {
            test::run(&test::Options {
                fast,
                filter,
                no_install: install.no_install,
            })?;
        }
        Task::Check { install } => test::check(install.no_install)?,
        Task::Bench { install, options } => {
            return Ok(if bench::run(&options, install.no_install)? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_vm(arguments: &Vm) -> Result<ExitCode> {
    let mut options = vm::Options {
        cpus: arguments.cpus,
        memory_mib: arguments.memory,
        icount: arguments.icount,
        timeout: Duration::from_mins(arguments.timeout),
        echo: vm::Echo::Plain,
    };
    if options.icount {
        options.cpus = 1;
    }
    let command = if let Some((program, rest)) = arguments.command.split_first() {
        need::satisfy(vm::needs(), arguments.install.no_install)?;
        let mut command = Command::new(program);
        command.args(rest);
        command
    } else {
        test::build_for_vm(arguments.install.no_install)?.command()
    };
    let kernels = if arguments.all {
        vm::Kernel::ALL.to_vec()
    } else {
        arguments.kernel.clone()
    };
    if let [kernel] = kernels[..] {
        let code = vm::boot(kernel, &options, &command)?.code;
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
    let mut steps = steps::Steps::new(false);
    let mut failed = false;
    for kernel in kernels {
        // The next kernel's result is worth having, too.
        failed |= steps
            .step(&format!("Linux {}", kernel.name()), || {
                test::in_vm(kernel, &options, &command)
            })
            .is_err();
    }
    steps.summary();
    Ok(ExitCode::from(u8::from(failed)))
}
