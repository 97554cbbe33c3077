//! `cargo xtask test` and `check`: everything that must hold, cheapest first.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::need::{Need, Remedy};
use crate::steps::{Failed, Outcome, Steps, Tests};
use crate::toolchain::{Compiler, Toolchain};
use crate::vm::{self, Kernel};
use crate::{agent, bpf, command, licences, need, node, old, places, python, tidy, toolchain};

/// Which steps.
pub(crate) struct Options {
    /// Without virtual machines.
    pub(crate) fast: bool,
    /// Only tests whose name contains this.
    pub(crate) filter: Option<String>,
    pub(crate) no_install: bool,
}

/// The kernels that every change is tested on, besides the running one.
const KERNELS: [Kernel; 2] = [Kernel::V6_1, Kernel::V6_12];
/// Deadlines are this many times longer where the processor is interpreted.
const VM_PATIENCE: &str = "10";
/// Tests with this in their name are those for the virtual machines.
const VM_FILTER: &str = "vm_";

/// Where Debian puts the headers of its BoringSSL.
const BORINGSSL_HEADERS: &str = "/usr/include/android/openssl/ssl.h";

/// Servers and clients over TLS: a program, the package that brings it, and what it is for.
const TLS_PROGRAMS: [(&str, &str, &str); 8] = [
    (
        "openssl",
        "openssl",
        "the tests' certificates, and a server and client over TLS",
    ),
    ("curl", "curl", "a client over TLS, by OpenSSL"),
    ("wget", "wget", "a client over TLS, by GnuTLS"),
    ("gnutls-cli", "gnutls-bin", "a client over TLS, by GnuTLS"),
    ("tstclnt", "libnss3-tools", "a client over TLS, by NSS"),
    ("h2load", "nghttp2-client", "the tests' load generator of HTTP/2"),
    (
        "node",
        "nodejs",
        "a server and client over TLS, with an OpenSSL of its own",
    ),
    (
        "unshare",
        "util-linux",
        "the tests run a server in a file system of its own",
    ),
];

/// Databases and caches: a program, the package that brings it, and what it is for. The packages of Debian also start them;
/// the tests start their own.
const STORES: [(&str, &str, &str); 2] = [
    ("memcached", "memcached", "the tests observe it"),
    ("mariadbd", "mariadb-server", "the tests observe it"),
];

/// Where Debian puts PostgreSQL's programs, by version.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Redis, and what asks it.
pub(crate) fn redis() -> Vec<Need> {
    let server = Need::program("redis-server", "redis-server", "it is observed");
    let load = Need::program("redis-benchmark", "redis-tools", "load for Redis, and what it counts");
    server.into_iter().chain(load).collect()
}

/// PostgreSQL, with what asks it.
pub(crate) fn postgresql() -> Option<Need> {
    let why = "it is observed, and its pgbench is load for it";
    (!Path::new(POSTGRESQL).exists()).then(|| Need::packages("PostgreSQL", why, ["postgresql"]))
}

/// Whatever the tests need beyond the BPF tool chain.
pub(crate) fn needs(with_vms: bool) -> Vec<Need> {
    let mut needs = Vec::new();
    needs.extend(Need::program(
        "nginx",
        "nginx-light",
        "the tests observe it (the package also starts it on port 80)",
    ));
    needs.extend(Need::program("wrk", "wrk", "the tests' load generator"));
    needs.extend(Need::program(
        "setpriv",
        "util-linux",
        "the tests run the agent without root",
    ));
    needs.extend(Need::program(
        "prometheus-alertmanager",
        "prometheus-alertmanager",
        "the agent's alerts are sent to it (the package also starts it on port 9093)",
    ));
    for (program, package, why) in STORES.into_iter().chain(TLS_PROGRAMS) {
        needs.extend(Need::program(program, package, why));
    }
    needs.extend(redis());
    needs.extend(postgresql());
    needs.extend(Need::program(
        "prometheus",
        "prometheus",
        "it scrapes the agent, and its promtool checks metrics and rules",
    ));
    // Python's clients of libcurl load it by this name.
    let load = ["-c", "import ctypes; ctypes.CDLL('libcurl-gnutls.so.4')"];
    if !command::works(Command::new(python::SYSTEM_PYTHON).args(load)) {
        let why = "a client of HTTP/2 over TLS, by GnuTLS";
        needs.push(Need::packages(
            "libcurl with GnuTLS",
            why,
            ["python3", "libcurl3-gnutls"],
        ));
    }
    needs.extend(Need::program(
        "objdump",
        "binutils",
        "the truth about functions in programs and libraries",
    ));
    needs.extend(Need::program(
        "gcc",
        "gcc",
        "the tests build Go programs that have C code in them",
    ));
    if !Path::new(BORINGSSL_HEADERS).exists() {
        let why = "the tests build a client over TLS with it";
        needs.push(Need::packages("BoringSSL", why, ["android-libboringssl-dev"]));
    }
    needs.extend(python::needs());
    needs.extend(node::needs());
    needs.extend(old::needs());
    if with_vms {
        needs.extend(vm::needs());
    }
    needs
}

/// Runs the steps and prints the summary.
pub(crate) fn run(options: &Options) -> Result<()> {
    let strict = env::var("CI").is_ok_and(|ci| ci == "true");
    let mut wanted = toolchain::needs();
    wanted.extend(lint_needs());
    wanted.extend(needs(!options.fast));
    let installed = need::satisfy(wanted, options.no_install);
    if options.no_install || strict {
        installed?;
    } else if let Err(error) = installed {
        println!("goes on without what could not be installed: {error:#}");
    }
    let mut steps = Steps::new(strict);
    let held = hold(&mut steps, options);
    steps.summary();
    Ok(held?)
}

/// What needs neither root nor another machine nor much time: formatting, lints, absences.
pub(crate) fn check(no_install: bool) -> Result<()> {
    let mut wanted = toolchain::needs();
    wanted.extend(lint_needs());
    need::satisfy(wanted, no_install)?;
    let mut steps = Steps::new(false);
    let held = hold_static(&mut steps);
    steps.summary();
    Ok(held?)
}

fn hold(steps: &mut Steps, options: &Options) -> Result<(), Failed> {
    let filter = options.filter.as_deref();
    if filter.is_none() {
        hold_static(steps)?;
        steps.step("licences, bans, sources", licences::check)?;
    }
    // Before anything embeds it: unit tests hold the agent's table against the object.
    let mut object = Err("there is no BPF tool chain".to_owned());
    steps.step("build: BPF object", || match toolchain::find() {
        Err(error) => Ok(Outcome::Skipped(format!("{error:#}"))),
        Ok(toolchain) => {
            object = Ok(bpf::build(&toolchain)?);
            Ok(Outcome::Done)
        }
    })?;
    steps.step("unit and property tests", || unit_tests(filter))?;
    let mut built = Err("there is no BPF object".to_owned());
    steps.step("build: agent, whole-program tests", || match &object {
        Err(why) => Ok(Outcome::Skipped(why.clone())),
        Ok(object) => {
            built = Ok(Built {
                object: object.clone(),
                agent: agent::build()?,
                tests: integration_binary()?,
            });
            Ok(Outcome::Done)
        }
    })?;
    steps.step("whole program on the running kernel", || match &built {
        Err(why) => Ok(Outcome::Skipped(why.clone())),
        Ok(built) => integration_tests(built, filter),
    })?;
    if !options.fast {
        let names = KERNELS.map(Kernel::name).join(", ");
        steps.step(&format!("whole program on Linux {names}"), || match &built {
            Err(why) => Ok(Outcome::Skipped(why.clone())),
            Ok(built) => vm_tests(built, filter),
        })?;
    }
    Ok(())
}

fn hold_static(steps: &mut Steps) -> Result<(), Failed> {
    steps.step("formatting", || {
        for manifest in ["Cargo.toml", "perf-ebpf/Cargo.toml"] {
            // Names the files only; `cargo fmt` mends them.
            let flags = ["--all", "--manifest-path", manifest, "--", "--check", "-l"];
            command::run(cargo("fmt").args(flags))?;
        }
        Ok(Outcome::Done)
    })?;
    steps.step("absences (tidy)", || tidy::check().map(|()| Outcome::Done))?;
    steps.step("lints", || {
        command::run(built(cargo("clippy")).args(["--workspace", "--all-targets", "--", "-D", "warnings"]))?;
        Ok(Outcome::Done)
    })?;
    steps.step("lints of the agent without its kernel side", || {
        let core = [
            "--package",
            "perf-agent",
            "--no-default-features",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        command::run(built(cargo("clippy")).args(core))?;
        Ok(Outcome::Done)
    })?;
    steps.step("lints of the kernel side", || match toolchain::find() {
        Err(error) => Ok(Outcome::Skipped(format!("{error:#}"))),
        Ok(toolchain) => bpf_lints(&toolchain),
    })
}

/// clippy for the BPF target must be of the compiler that has `core` for it. Debian packages it; it is called by its
/// driver, since the cargo that runs here would find its own.
fn bpf_lints(toolchain: &Toolchain) -> Result<Outcome> {
    match toolchain.compiler {
        Compiler::Nightly => {
            command::run(bpf::cargo(toolchain, "clippy").args(["--release", "--", "-D", "warnings"]))?;
        }
        Compiler::Debian => {
            if !Path::new(DEBIAN_CLIPPY).is_file() {
                return Ok(Outcome::Skipped(format!(
                    "{DEBIAN_CLIPPY} is missing (package rust-web-clippy)"
                )));
            }
            let mut check = bpf::cargo(toolchain, "check");
            check
                .arg("--release")
                .env("RUSTC_WORKSPACE_WRAPPER", DEBIAN_CLIPPY)
                .env("CLIPPY_ARGS", "-Dwarnings");
            command::run(&mut check)?;
        }
    }
    Ok(Outcome::Done)
}

const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// What is missing to check formatting and lints, on both sides.
fn lint_needs() -> Vec<Need> {
    let mut needs = Vec::new();
    let missing = |subcommand: &str| !command::works(Command::new("cargo").args([subcommand, "--version"]));
    if missing("fmt") || missing("clippy") {
        let why = "formatting and lints are checked";
        needs.push(if command::find("rustup").is_some() {
            let mut add = Command::new("rustup");
            add.args(["component", "add", "rustfmt", "clippy"]);
            Need {
                what: "rustfmt, clippy".to_owned(),
                why,
                remedy: Remedy::Commands(vec![add]),
            }
        } else {
            Need::packages("rustfmt, clippy", why, ["rustfmt-web", "rust-web-clippy"])
        });
    }
    // With Debian's compiler in use, or about to be.
    let nightly = toolchain::find().is_ok_and(|toolchain| toolchain.compiler == Compiler::Nightly);
    if !nightly && !Path::new(DEBIAN_CLIPPY).is_file() {
        needs.push(Need::packages(
            "clippy for BPF",
            "the kernel side's lints are checked",
            ["rust-web-clippy"],
        ));
    }
    needs
}

/// Everything but the whole-program tests. Always the whole workspace: another selection would have other features of
/// the dependencies, and build them again.
fn unit_tests(filter: Option<&str>) -> Result<Outcome> {
    let mut programs = built(cargo("test"));
    let programs = tested(
        programs
            .args(["--workspace", "--lib", "--bins", "--no-fail-fast"])
            .args(["--test", "cli", "--test", "alertmanager"])
            .args(filter),
    )?;
    if programs.failed > 0 {
        return Ok(Outcome::Tested(programs));
    }
    let mut documents = built(cargo("test"));
    let documents = tested(documents.args(["--workspace", "--doc"]).args(filter))?;
    Ok(Outcome::Tested(sum(programs, documents)))
}

/// What the whole-program tests run with.
struct Built {
    object: PathBuf,
    agent: PathBuf,
    tests: PathBuf,
}

/// Builds everything for the virtual machines' own tests.
pub(crate) fn build_for_vm(no_install: bool) -> Result<VmTests> {
    let mut wanted = toolchain::needs();
    wanted.extend(needs(true));
    need::satisfy(wanted, no_install)?;
    let object = bpf::build(&toolchain::find()?)?;
    Ok(VmTests(Built {
        object,
        agent: agent::build()?,
        tests: integration_binary()?,
    }))
}

/// The whole-program tests, built to be run on other kernels.
pub(crate) struct VmTests(Built);

impl VmTests {
    /// The command that runs them in a guest.
    pub(crate) fn command(&self) -> Command {
        vm_command(&self.0, VM_FILTER)
    }
}

/// The test program's path, as cargo reports it.
fn integration_binary() -> Result<PathBuf> {
    let mut build = built(cargo("test"));
    build.args([
        "--workspace",
        "--test",
        "it",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    eprintln!("+ {}", command::shown(&build));
    let output = build.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the whole-program tests were not built");
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are text")?;
    // The programs that the tests start are built with them, and named too.
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let executable = message.get("executable")?.as_str()?;
        (message["target"]["name"] == "it").then(|| PathBuf::from(executable))
    });
    executable.context("cargo named no test program")
}

fn integration_tests(built: &Built, filter: Option<&str>) -> Result<Outcome> {
    let Ok(mut command) = command::as_root("env") else {
        return Ok(Outcome::Skipped("it needs root, and there is no sudo".to_owned()));
    };
    command
        .args(integration_environment(built))
        .arg(&built.tests)
        .args(["--test-threads=1"])
        .args(filter);
    command.current_dir(places::workspace().join("tests"));
    Ok(Outcome::Tested(tested(&mut command)?))
}

/// All kernels at the same time: their processors are interpreted, and a test uses one of them most of the time.
fn vm_tests(built: &Built, filter: Option<&str>) -> Result<Outcome> {
    let filter = filter.filter(|filter| filter.starts_with(VM_FILTER));
    let filter = filter.unwrap_or(VM_FILTER);
    let options = vm::Options {
        echo: vm::Echo::Named,
        ..vm::Options::default()
    };
    let outcomes = std::thread::scope(|scope| {
        let guests = KERNELS.map(|kernel| {
            let (options, command) = (&options, vm_command(built, filter));
            scope.spawn(move || in_vm(kernel, options, &command))
        });
        guests.map(|guest| guest.join().expect("what runs a guest does not panic"))
    });
    let mut tests = Tests::default();
    for outcome in outcomes {
        match outcome? {
            Outcome::Tested(more) => tests = sum(tests, more),
            other => return Ok(other),
        }
    }
    Ok(Outcome::Tested(tests))
}

/// Runs a command in a guest and takes its exit code, and the results of tests if it printed such.
pub(crate) fn in_vm(kernel: Kernel, options: &vm::Options, command: &Command) -> Result<Outcome> {
    let output = vm::boot(kernel, options, command)?;
    let tests = Tests::parse(&output.text);
    if output.code != 0 && tests.failed == 0 {
        let (code, left) = (output.code, output.results.display());
        bail!(
            "it ended with code {code} on Linux {}; dmesg and what it left are in {left}",
            kernel.name()
        );
    }
    Ok(if output.text.contains("test result: ") {
        Outcome::Tested(tests)
    } else {
        Outcome::Done
    })
}

fn vm_command(built: &Built, filter: &str) -> Command {
    let mut command = Command::new("env");
    command
        .args(integration_environment(built))
        .arg(format!("PERF_TEST_PATIENCE={VM_PATIENCE}"));
    command
        .arg("PERF_TEST_STRICT=1")
        .arg(&built.tests)
        // What was left out stands in the output of tests that pass.
        .args(["--test-threads=1", "--show-output", filter]);
    command.current_dir(places::workspace().join("tests"));
    command
}

/// `NAME=value` words for `env`, since sudo and the guest keep no environment.
fn integration_environment(built: &Built) -> Vec<OsString> {
    let setting = |name: &str, value: &Path| {
        let mut word = OsString::from(name);
        word.push("=");
        word.push(value);
        word
    };
    let mut words = vec![
        setting("PERF_AGENT_BIN", &built.agent),
        setting("PERF_AGENT_BPF_OBJECT", &built.object),
        setting("PERF_AGENT_VENV", &places::venv()),
    ];
    words.extend(
        ["CI", "PATH"]
            .iter()
            .filter_map(|name| Some(setting(name, Path::new(&env::var_os(name)?)))),
    );
    words
}

/// Runs a test program, showing what it writes, and sums its results.
fn tested(command: &mut Command) -> Result<Tests> {
    eprintln!("+ {}", command::shown(command));
    let shown = command::shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    let stdout = child.stdout.take().context("standard output is a pipe")?;
    let mut output = String::new();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        output.push_str(&line);
        output.push('\n');
    }
    let status = child.wait().context("cannot wait for the tests")?;
    let tests = Tests::parse(&output);
    if !status.success() && tests.failed == 0 {
        bail!("{shown} failed: {status}");
    }
    Ok(tests)
}

fn sum(one: Tests, other: Tests) -> Tests {
    Tests {
        passed: one.passed + other.passed,
        failed: one.failed + other.failed,
        ignored: one.ignored + other.ignored,
    }
}

fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(places::workspace()).arg(subcommand);
    cargo
}

/// With the build directory that this program itself was built in.
fn built(mut cargo: Command) -> Command {
    cargo.arg("--target-dir").arg(places::target());
    cargo
}
