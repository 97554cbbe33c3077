//! What the operating system says of processes, and how a benchmark keeps to its processors.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Binds the calling thread, and what it starts, to these processors, as far as there are so many.
pub(crate) fn pin(processors: &[usize]) -> Result<()> {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    for &processor in processors {
        set.set(processor % there);
    }
    sched_setaffinity(None, &set).context("cannot bind to a processor")
}

/// A process's resident memory, MB (10^6 bytes).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) resident: f64,
    /// Heap and stacks.
    pub(crate) anonymous: f64,
    /// Pages of files: the program itself, and the ring buffer.
    pub(crate) file: f64,
    /// The most there ever was.
    pub(crate) highest: f64,
}

impl Memory {
    /// Of a process (`self` or its number), as /proc tells.
    pub(crate) fn of(process: &str) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/status")).context("cannot read the process's status")?;
        let field = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib: f64 = line
                .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
                .context("no such line")?;
            Ok(kib * 1024.0 / 1e6)
        };
        Ok(Self {
            resident: field("VmRSS")?,
            anonymous: field("RssAnon")?,
            file: field("RssFile")? + field("RssShmem")?,
            highest: field("VmHWM")?,
        })
    }
}

/// Processor time of processes and all their threads, seconds, by the scheduler's own count.
pub(crate) fn cpu_seconds(processes: &[u32]) -> Result<f64> {
    let mut sum = 0.0;
    for process in processes {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).with_context(|| format!("no process {process}"))?;
        for task in tasks.flatten() {
            // A thread that ended in between is not worth an error: none of those measured do.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let ns: f64 = text
                .split(' ')
                .next()
                .and_then(|ns| ns.parse().ok())
                .context("schedstat holds numbers")?;
            sum += ns / 1e9;
        }
    }
    Ok(sum)
}

/// A process and its children.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    std::iter::once(process)
        .chain(children.split_whitespace().filter_map(|child| child.parse().ok()))
        .collect()
}

/// The file of a program that is found by its name, where servers' programs lie as well.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut files = folders.map(|folder| folder.join(name)).filter(|file| file.is_file());
    let found = files.find_map(|file| file.canonicalize().ok());
    found.with_context(|| format!("{name} is not installed"))
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
