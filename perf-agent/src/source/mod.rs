//! Sources: where records come from. A running kernel ([`kernel`]) and a recorded file ([`replay`]) are the same to
//! what follows; [`record`] tees the stream into a file.
//!
//! A source is driven by one thread, which also owns the pipeline: the kernel's ring buffer is the only queue. A second
//! one would add a copy of every record and lose nothing less, since what does not fit the ring is lost and counted
//! there already.

pub mod format;
#[cfg(feature = "kernel")]
pub mod kernel;
pub mod live;
pub mod record;
pub mod replay;
#[cfg(feature = "kernel")]
mod rings;
pub mod scrub;
#[cfg(feature = "kernel")]
pub mod unix_sockets;

use std::fmt;
use std::io;
use std::time::Duration;

use perf_common::counters::COUNTERS;

pub use crate::pipeline::Hint;

/// Something that delivers records.
pub trait Source: Send {
    /// What is observed, by which hooks, and what cannot be seen. Fixed after the start.
    fn report(&self) -> &Report;

    /// True if the stream carries its own time: ticks and counters are in it, nothing is added.
    fn recorded(&self) -> bool {
        false
    }

    /// Hands over the records that are there, in order, each to `deliver`; waits at most `timeout` for the first one.
    /// Returns after a bounded number of records, so that the caller's clock goes on under any load.
    ///
    /// # Errors
    /// [`SourceError`] if nothing more can be read; what was delivered before is good.
    fn poll(&mut self, timeout: Duration, deliver: &mut dyn FnMut(&[u8])) -> Result<Polled, SourceError>;

    /// The pipeline's wishes about a connection. A source that cannot fulfil them ignores them.
    fn hint(&mut self, hint: Hint);

    /// The kernel side's counters since start, in the order of [`perf_common::counters::Counter`]; `None` where the
    /// stream itself carries them (recordings).
    ///
    /// # Errors
    /// [`SourceError`] if they cannot be read.
    fn counters(&mut self) -> Result<Option<[u64; COUNTERS]>, SourceError>;

    /// What the loaded programs cost so far; empty where there are none.
    fn programs(&mut self) -> Vec<ProgramStats>;

    /// Every living process that was seen to speak TLS, and whether its plaintext is seen; empty where nothing is looked
    /// for.
    fn tls(&mut self) -> Vec<TlsCoverage>;

    /// Takes the hooks off. What is still in the ring buffer can be polled afterwards, until [`Polled::Idle`].
    fn detach(&mut self);
}

/// What a call of [`Source::poll`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// It stopped at its limit; there is more.
    More,
    /// Everything that was there has been delivered.
    Idle,
    /// The source has ended; nothing will follow.
    Ended,
}

/// One family of socket hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// BTF tracepoints on the socket layer, Linux 6.3 and later.
    Tracepoint,
    /// Trampolines at the exit of `tcp_sendmsg` and `tcp_recvmsg`.
    Fentry,
    /// Kprobes.
    Kprobe,
}

impl Backend {
    /// All backends, cheapest first: the order in which `auto` tries them.
    pub const ALL: [Self; 3] = [Self::Tracepoint, Self::Fentry, Self::Kprobe];

    /// The word used on the command line and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tracepoint => "tracepoint",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which mechanism of the kernel a hook uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookFamily {
    /// A BTF or raw tracepoint.
    Tracepoint,
    /// A trampoline at a function's entry or exit.
    Fentry,
    /// A kprobe.
    Kprobe,
    /// A uprobe.
    Uprobe,
}

impl HookFamily {
    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tracepoint => "tracepoint",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Uprobe => "uprobe",
        }
    }
}

/// What became of a hook or a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookState {
    /// In use (for `doctor`: would be used).
    Used,
    /// Works here and is not needed, or stands in for one that does not work.
    Fallback,
    /// Does not work here.
    Unavailable,
}

impl HookState {
    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Fallback => "fallback",
            Self::Unavailable => "unavailable",
        }
    }
}

/// One hook: a kernel attach point and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookReport {
    /// What it gives, and where it is: `sent: tp_btf/sock_send_length`.
    pub name: String,
    /// The mechanism.
    pub family: HookFamily,
    /// What became of it.
    pub state: HookState,
    /// Why, unless it is simply used.
    pub reason: Option<String>,
    /// What would make an unavailable one available.
    pub fix: Option<String>,
}

/// One backend and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendReport {
    /// Which.
    pub backend: Backend,
    /// What became of it.
    pub state: HookState,
    /// Why it was not taken.
    pub reason: Option<String>,
    /// What would make an unavailable one available.
    pub fix: Option<String>,
}

/// The kernel that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelInfo {
    /// As `uname -r` says.
    pub release: String,
    /// Whether it carries its own type information (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
}

/// Something that cannot be seen here, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlindSpot {
    /// What is not seen, in the operator's words: `queue time`, `Unix sockets`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What is observed, by which hooks, and what cannot be seen: of a running source, or, from `doctor`, of one that
/// would be started now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kernel. For a recording, the one it was made on.
    pub kernel: KernelInfo,
    /// The backend in use; `None` if none works, or the records come from a file.
    pub backend: Option<Backend>,
    /// Every backend.
    pub backends: Vec<BackendReport>,
    /// Every hook, the backend's and those beside it (arrival, close, exit).
    pub hooks: Vec<HookReport>,
    /// What cannot be seen.
    pub blind_spots: Vec<BlindSpot>,
}

/// What `doctor` found.
#[derive(Debug)]
pub struct Diagnosis {
    /// What would be observed, and how.
    pub report: Report,
    /// Why no backend could even be tried.
    pub obstacle: Option<SourceError>,
    /// Processes that map a TLS library, whether they use it or not, and whether their plaintext would be seen.
    pub tls: Vec<TlsCoverage>,
}

/// A process that speaks TLS by some library, and whether its plaintext is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCoverage {
    /// The process.
    pub tgid: u32,
    /// Path of its executable, as it sees it.
    pub exe: Option<String>,
    /// The library, as its makers write it; `None` if none that is known was found.
    pub library: Option<&'static str>,
    /// The library's version.
    pub version: Option<String>,
    /// Path of the library or, where it is linked into the program, of that; as the process sees it.
    pub path: Option<String>,
    /// Its plaintext is seen.
    pub covered: bool,
    /// How.
    pub how: Option<String>,
    /// Why it is not.
    pub reason: Option<String>,
}

/// The cost of one loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    /// The program's name.
    pub name: String,
    /// Runs since it was loaded; `None` unless the kernel counts (`kernel.bpf_stats_enabled`).
    pub runs: Option<u64>,
    /// Nanoseconds spent in them; likewise.
    pub run_time_ns: Option<u64>,
}

/// Why a source does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The process may not do what is needed.
    #[error("missing privilege: {missing}, needed to {purpose}")]
    Privilege {
        /// Capability or the like: `CAP_BPF`, `root`.
        missing: String,
        /// What for.
        purpose: String,
    },
    /// The kernel lacks something without which nothing works.
    #[error("this kernel lacks {missing}: {remedy}")]
    Kernel {
        /// What: `BTF (/sys/kernel/btf/vmlinux)`.
        missing: String,
        /// What would help.
        remedy: String,
    },
    /// No backend works here.
    #[error("no backend works here: {}", reasons(.0))]
    NoBackend(Vec<BackendReport>),
    /// The one that was asked for does not.
    #[error(
        "backend {} (others may work: leave --backend out to take the best one, or see `perf-agent doctor`)",
        reasons(std::slice::from_ref(.0))
    )]
    NotThisBackend(BackendReport),
    /// The binary carries no kernel programs.
    #[error("this binary was built without its kernel programs; build it with `cargo xtask build`")]
    NotBuilt,
    /// A filter names something that is not there.
    #[error("filter {option} {value}: {reason}")]
    Filter {
        /// The option: `--cgroup`.
        option: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// Loading or attaching failed for a reason that has no name here.
    #[error("cannot {what}")]
    Load {
        /// What was tried: `attach sock_send_length`.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A recording is malformed, or cannot be read.
    #[error("cannot replay the recording")]
    Recording(#[source] Box<format::FormatError>),
    /// Reading records failed.
    #[error("cannot read records")]
    Read(#[source] io::Error),
}

fn reasons(backends: &[BackendReport]) -> String {
    let each = |report: &BackendReport| {
        let reason = report.reason.as_deref().unwrap_or("no reason known");
        let fix = report
            .fix
            .as_ref()
            .map_or_else(String::new, |fix| format!("; fix: {fix}"));
        format!("{}: {reason}{fix}", report.backend)
    };
    backends.iter().map(each).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_does_not_work_is_told_with_what_would_help() {
        let refused = |backend, fix: Option<&str>| BackendReport {
            backend,
            state: HookState::Unavailable,
            reason: Some("it cannot".to_owned()),
            fix: fix.map(str::to_owned),
        };
        let [one, other] = [
            refused(Backend::Tracepoint, Some("Linux 6.3")),
            refused(Backend::Kprobe, None),
        ];
        assert_eq!(
            SourceError::NoBackend(vec![one, other.clone()]).to_string(),
            "no backend works here: tracepoint: it cannot; fix: Linux 6.3; kprobe: it cannot"
        );
        let text = SourceError::NotThisBackend(other).to_string();
        assert!(text.starts_with("backend kprobe: it cannot (others may work: leave --backend out"));
    }
}
