//! `cargo xtask bench`: builds what is measured in release profile, runs the measuring program (the agent's bench target
//! `measure`) for each benchmark, and shows its figures beside the bars that they are held against.
//!
//! [`report`] is what the measuring program tells, and how it is shown.

mod report;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::need::{self, Need};
use crate::toolchain::{self, BPF_TARGET};
use crate::{agent, bpf, command, places, test, vm};
use report::Report;

/// The benchmark, and how its figures are shown.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line, each on its own")]
pub(crate) struct Options {
    /// Which one.
    #[arg(value_enum, default_value_t = Benchmark::All)]
    benchmark: Benchmark,
    /// The last line is everything as JSON.
    #[arg(long)]
    json: bool,
    /// Tables as docs/benchmarks.md has them.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Exit code 1 if a bar is not met.
    #[arg(long)]
    strict: bool,
    /// Few and short samples: shows that everything works, and means little.
    #[arg(long)]
    quick: bool,
}

/// The benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// The user side alone: exchanges per second, memory. Needs no root.
    Pipeline,
    /// The kernel side alone: nanoseconds per program run, beside empty programs on the same hooks.
    Kernel,
    /// nginx under wrk with the agent and without: throughput lost, latency added, everything counted?
    Nginx,
    /// nginx with HTTP/2 under h2load: throughput lost, everything counted?
    Streams,
    /// nginx over TLS under wrk: throughput lost, beside that lost to hooks that do nothing.
    Tls,
    /// Redis under redis-benchmark and PostgreSQL under pgbench: throughput lost, everything counted?
    Stores,
    /// Servers with handlers of known times, plain and over TLS: their processor time per request.
    Handlers,
    /// The agent on an idle host.
    Idle,
    /// nginx under wrk on other kernels in QEMU, whose clock counts instructions.
    Vm,
    /// All of them but `vm`.
    All,
}

impl Benchmark {
    const WITHOUT_VM: [Self; 8] = [
        Self::Pipeline,
        Self::Kernel,
        Self::Nginx,
        Self::Streams,
        Self::Tls,
        Self::Stores,
        Self::Handlers,
        Self::Idle,
    ];

    fn chosen(self) -> Vec<Self> {
        match self {
            Self::All => Self::WITHOUT_VM.to_vec(),
            one => vec![one],
        }
    }

    /// What it needs of the machine beyond what building needs.
    fn needs(self) -> Vec<Need> {
        let nginx = || Need::program("nginx", "nginx-light", "the server that is observed");
        let wrk = || Need::program("wrk", "wrk", "the client that is observed");
        let h2load = || Need::program("h2load", "nghttp2-client", "the client of HTTP/2 that is observed");
        let python = || Need::program("python3", "python3", "the server that takes its time");
        let openssl = || Need::program("openssl", "openssl", "the server's certificate");
        match self {
            Self::Nginx => nginx().into_iter().chain(wrk()).collect(),
            Self::Streams => nginx().into_iter().chain(h2load()).collect(),
            Self::Tls => nginx().into_iter().chain(wrk()).chain(openssl()).collect(),
            Self::Stores => test::redis().into_iter().chain(test::postgresql()).collect(),
            Self::Handlers => wrk().into_iter().chain(openssl()).chain(python()).collect(),
            Self::Vm => nginx().into_iter().chain(wrk()).chain(vm::needs()).collect(),
            Self::Pipeline | Self::Kernel | Self::Idle | Self::All => Vec::new(),
        }
    }
}

/// The kernels of `vm`, and the backends that are measured on each.
const VM_KERNELS: [vm::Kernel; 2] = [vm::Kernel::V6_1, vm::Kernel::V6_12];
const VM_BACKENDS: [&str; 2] = ["kprobe", "fentry"];
/// A guest that takes longer never comes to an end.
const VM_LIMIT: Duration = Duration::from_mins(10);

/// Runs benchmarks. `false` if a bar was not met and that is to be a failure.
pub(crate) fn run(options: &Options, no_install: bool) -> Result<bool> {
    let chosen = options.benchmark.chosen();
    let needs = chosen.iter().flat_map(|benchmark| benchmark.needs());
    need::satisfy(toolchain::needs().into_iter().chain(needs).collect(), no_install)?;
    let built = build()?;
    let mut reports = Vec::new();
    for benchmark in chosen {
        let began = command::now();
        let found = built.measure(benchmark, options.quick)?;
        eprintln!("{benchmark:?}: {:.0} s", began.elapsed().as_secs_f64());
        for report in &found {
            if options.markdown {
                println!("{}", report.markdown());
            } else if !options.json {
                println!("{report}");
            }
        }
        reports.extend(found);
    }
    if options.json {
        println!(
            "{}",
            serde_json::to_string(&reports.iter().map(Report::json).collect::<Vec<_>>())?
        );
    }
    Ok(!options.strict || reports.iter().all(Report::is_met))
}

/// What is measured and what measures.
struct Built {
    agent: PathBuf,
    measure: PathBuf,
    /// The object with the empty programs.
    empty: PathBuf,
}

fn build() -> Result<Built> {
    bpf::build(&toolchain::find()?)?;
    let built = places::bpf_target().join(BPF_TARGET).join("release/empty");
    let empty = places::bpf_object().with_file_name("empty.o");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    // The agent's build watches the folder.
    if fs::read(&empty).ok().as_ref() != Some(&bytes) {
        fs::write(&empty, bytes).with_context(|| format!("cannot write {}", empty.display()))?;
    }
    Ok(Built {
        agent: agent::build()?,
        measure: build_measure()?,
        empty,
    })
}

/// Builds the measuring program; cargo tells where it is.
fn build_measure() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(places::workspace()).args([
        "build",
        "--release",
        "--package",
        "perf-agent",
        "--bench",
        "measure",
    ]);
    cargo
        .arg("--message-format=json-render-diagnostics")
        .arg("--target-dir")
        .arg(places::target());
    eprintln!("+ {}", command::shown(&cargo));
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the measuring program was not built");
    }
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let program = messages
        .flatten()
        .filter(|message| message["target"]["name"] == "measure")
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    program.context("cargo built no measuring program")
}

impl Built {
    fn measure(&self, benchmark: Benchmark, quick: bool) -> Result<Vec<Report>> {
        let mut command = match benchmark {
            Benchmark::Pipeline => Command::new(&self.measure),
            Benchmark::Vm => return self.measure_guests(quick),
            _ => command::as_root(&self.measure)?,
        };
        match benchmark {
            Benchmark::Pipeline => {
                command
                    .arg("pipeline")
                    .args(quickly(quick, &["--samples", "3", "--no-memory"]));
            }
            Benchmark::Kernel => {
                command
                    .arg("kernel")
                    .arg("--empty")
                    .arg(&self.empty)
                    .args(quickly(quick, &["--samples", "3"]));
            }
            Benchmark::Nginx => {
                let few = quickly(quick, &["--pairs", "2", "--seconds", "1"]);
                command.arg("nginx").arg("--agent").arg(&self.agent).args(few);
            }
            Benchmark::Streams => {
                let few = quickly(quick, &["--pairs", "2", "--seconds", "1"]);
                command.arg("streams").arg("--agent").arg(&self.agent).args(few);
            }
            Benchmark::Tls => {
                let few = quickly(quick, &["--pairs", "2", "--seconds", "1"]);
                command.arg("tls").arg("--agent").arg(&self.agent);
                command.arg("--empty").arg(&self.empty).args(few);
            }
            Benchmark::Stores => {
                let few = quickly(quick, &["--pairs", "2", "--seconds", "1"]);
                command.arg("stores").arg("--agent").arg(&self.agent).args(few);
            }
            Benchmark::Handlers => {
                let few = quickly(quick, &["--pairs", "2", "--seconds", "1"]);
                command.arg("handlers").arg("--agent").arg(&self.agent).args(few);
            }
            Benchmark::Idle => {
                command
                    .arg("idle")
                    .arg("--agent")
                    .arg(&self.agent)
                    .args(quickly(quick, &["--seconds", "6"]));
            }
            Benchmark::Vm | Benchmark::All => {}
        }
        eprintln!("+ {}", command::shown(&command));
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start the measuring program")?;
        if !output.status.success() {
            bail!("{benchmark:?} could not be measured: {}", output.status);
        }
        let text = String::from_utf8(output.stdout).context("the measuring program wrote no text")?;
        Ok(vec![Report::read(&text)?])
    }

    /// One boot for each kernel and backend: so none finds what another one has left.
    fn measure_guests(&self, quick: bool) -> Result<Vec<Report>> {
        let options = vm::Options {
            cpus: 1,
            icount: true,
            timeout: VM_LIMIT,
            echo: vm::Echo::Silent,
            ..vm::Options::default()
        };
        let mut reports = Vec::new();
        for kernel in VM_KERNELS {
            for backend in VM_BACKENDS {
                let mut guest = Command::new(&self.measure);
                guest
                    .arg("guest")
                    .arg("--agent")
                    .arg(&self.agent)
                    .args(["--backend", backend]);
                guest.args(quickly(quick, &["--pairs", "1", "--seconds", "1"]));
                eprintln!("+ on Linux {}: {}", kernel.name(), command::shown(&guest));
                let output = vm::boot(kernel, &options, &guest)?;
                // The agent's own messages come through the same channel.
                let report = output.text.lines().find(|line| line.starts_with('{')).map(Report::read);
                match report {
                    Some(report) if output.code == 0 => reports.push(report?),
                    _ => bail!(
                        "Linux {}, {backend}: could not be measured:\n{}",
                        kernel.name(),
                        output.text.trim()
                    ),
                }
            }
        }
        Ok(reports)
    }
}

fn quickly<'a>(quick: bool, flags: &'a [&'a str]) -> &'a [&'a str] {
    if quick { flags } else { &[] }
}
