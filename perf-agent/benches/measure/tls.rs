//! nginx over TLS under wrk: without anything, with empty programs on the functions of its library that the agent hooks,
//! and with the agent, in turns. What a hook in user space costs before it does any work is the larger part.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::UProbeScope;
use perf_agent::probe::uprobes::Way;

use crate::agent::Agent;
use crate::host;
use crate::nginx::{CONNECTIONS, Nginx, Plan, Run, Speaks, counts};
use crate::report::Report;
use crate::streams::{lost, rates};

/// What nginx and wrk read and write by.
const FUNCTIONS: [&str; 2] = ["SSL_read", "SSL_write"];

/// The bar: of what empty programs cost.
const MOST_TIMES_EMPTY: f64 = 1.3;

/// What is observed by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Nobody,
    Empty,
    Agent,
}

/// The throughput lost to the agent, beside that lost to hooks that do nothing.
pub(crate) fn run(plan: &Plan, empty: &Path) -> Result<Report> {
    host::pin(&[0, 1])?;
    let mut report = Report::new("tls");
    report.how(format!(
        "wrk (1 thread, {CONNECTIONS} keep-alive connections) against nginx (1 worker, `return 200`) over TLS, {} s per run, \
         {} turns of a run without anything, one with empty programs at the entry and the return of {}, and one with the \
         agent, in alternating order. Client, server and agent share two processors, and both ends are hooked.",
        plan.seconds,
        plan.pairs,
        FUNCTIONS.join(" and ")
    ));
    let nginx = Nginx::start(Speaks::Tls)?;
    nginx.load(1)?;
    let (mut off, mut hooked, mut on) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..plan.pairs {
        let mut order = [By::Nobody, By::Empty, By::Agent];
        order.rotate_left(turn % 3);
        for by in order {
            match by {
                By::Nobody => off.push(nginx.observed(plan.seconds, None)?),
                By::Empty => {
                    let _attached = attach(empty)?;
                    hooked.push(nginx.observed(plan.seconds, None)?);
                }
                By::Agent => {
                    let agent = Agent::start(&plan.agent, plan.backend.as_deref())?;
                    on.push(nginx.observed(plan.seconds, Some(&agent))?);
                }
            }
        }
    }
    let (by_agent, by_empty) = (lost(&off, &on), lost(&off, &hooked));
    report.row("throughput lost to the agent", "%", &by_agent);
    report.row("throughput lost to empty programs", "%", &by_empty);
    let times: Vec<f64> = by_agent
        .iter()
        .zip(&by_empty)
        .map(|(agent, empty)| agent / empty)
        .collect();
    report.at_most(MOST_TIMES_EMPTY, "throughput lost, agent / empty programs", "x", &times);
    let added = |with: &Run, off: &Run| 1e6 / with.rate - 1e6 / off.rate;
    let times: Vec<f64> = off
        .iter()
        .zip(hooked.iter().zip(&on))
        .map(|(off, (hooked, on))| added(on, off) / added(hooked, off))
        .collect();
    report.at_most(
        MOST_TIMES_EMPTY,
        "time added to a request, agent / empty programs",
        "x",
        &times,
    );
    rates(&mut report, "without anything", &off);
    rates(&mut report, "with empty programs", &hooked);
    rates(&mut report, "with agent", &on);
    let own: Vec<f64> = on.iter().map(Run::agent_us).collect();
    report.row("agent's own processor time per request", "us", &own);
    counts(&mut report, &on);
    Ok(report)
}

/// Programs that do nothing, on the functions of the library that this machine's programs load. They go with it.
fn attach(object: &Path) -> Result<Ebpf> {
    let bytes = std::fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    // Hung in the way that the agent hangs its own.
    let bytes = Way::of_this_kernel().object(&bytes);
    let mut ebpf = Ebpf::load(&bytes).context("cannot load the empty programs")?;
    let library = library()?;
    for name in ["empty_uprobe_entered", "empty_uprobe_returned"] {
        let program = ebpf
            .program_mut(name)
            .with_context(|| format!("the object has no {name}"))?;
        let program: &mut UProbe = program.try_into()?;
        program.load()?;
        program
            .attach(FUNCTIONS, &library, UProbeScope::AllProcesses)
            .with_context(|| format!("cannot attach {name} to {}", library.display()))?;
    }
    Ok(ebpf)
}

/// OpenSSL's library as the loader finds it for nginx.
fn library() -> Result<PathBuf> {
    let nginx = host::program("nginx")?;
    let output = std::process::Command::new("ldd").arg(nginx).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.trim_start().starts_with("libssl.so"));
    match line.and_then(|line| line.split_whitespace().nth(2)) {
        Some(path) => Ok(path.into()),
        None => bail!("nginx loads no libssl: {text}"),
    }
}
