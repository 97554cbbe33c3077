//! The agent on a host where nothing happens.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::agent::Agent;
use crate::host::{Memory, cpu_seconds};
use crate::report::Report;

/// After the start, until it has come to rest.
const REST: Duration = Duration::from_secs(3);
/// Parts of the time, a sample each.
const PARTS: u32 = 6;

/// Bars.
const MOST_CPU_PERCENT: f64 = 0.2;
const MOST_MB: f64 = 30.0;

/// Watches an agent that has nothing to do for so long.
pub(crate) fn run(program: &Path, seconds: u32) -> Result<Report> {
    let agent = Agent::start(program, None)?;
    let process = agent.process();
    sleep(REST);
    let mut shares = Vec::new();
    for _ in 0..PARTS {
        let (begin, before) = (Instant::now(), cpu_seconds(&[process])?);
        sleep(Duration::from_secs(seconds.into()) / PARTS);
        shares.push((cpu_seconds(&[process])? - before) / begin.elapsed().as_secs_f64() * 100.0);
    }
    let memory = Memory::of(&process.to_string())?;
    let mut report = Report::new("idle");
    report.how(format!(
        "`perf-agent run` with its defaults, {} s after its start, for {seconds} s; processor time by the scheduler's count, \
         memory as /proc/PID/status tells.",
        REST.as_secs()
    ));
    report.at_most(MOST_CPU_PERCENT, "share of one processor", "%", &shares);
    report.at_most(MOST_MB, "resident memory", "MB", &[memory.resident]);
    report.row("of it anonymous (heap, stacks)", "MB", &[memory.anonymous]);
    report.row("of it files (program, mapped ring buffer)", "MB", &[memory.file]);
    report.row("highest resident memory since the start", "MB", &[memory.highest]);
    Ok(report)
}
