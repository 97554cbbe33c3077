//! The agent itself: version, kernel, hooks, the books, its own cost.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::kept::Kept;
use crate::ledger::{Accounting, LOSSES};
use crate::source::{BackendReport, BlindSpot, HookReport, HookState, ProgramStats, Report};

/// The agent itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Agent {
    /// The agent's version.
    pub version: String,
    /// The kernel; of a recording, the one it was made on.
    pub kernel: Kernel,
    /// The backend in use; null for a recording.
    pub backend: Option<String>,
    /// Every backend, and why it was not taken.
    pub backends: Vec<Backend>,
    /// Every hook.
    pub hooks: Vec<Hook>,
    /// What cannot be seen here, and why.
    pub blind_spots: Vec<Blind>,
    /// What came in, what came out, and where the rest went.
    pub accounting: Books,
    /// What the agent itself takes.
    #[serde(rename = "self")]
    pub own: Own,
    /// Cost of the loaded programs.
    pub programs: Vec<Program>,
    /// What is bounded, and how.
    pub limits: Limits,
    /// The configuration that holds.
    pub configuration: Configuration,
    /// What is kept over a restart.
    pub state: Kept,
}

/// The kernel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    /// Whether it carries its own type information; null for a recording.
    pub btf: Option<bool>,
}

/// What became of a hook or a backend.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In use.
    Used,
    /// Works here and is not needed, or stands in for one that does not work.
    Fallback,
    /// Does not work here.
    Unavailable,
}

impl From<HookState> for State {
    fn from(state: HookState) -> Self {
        match state {
            HookState::Used => Self::Used,
            HookState::Fallback => Self::Fallback,
            HookState::Unavailable => Self::Unavailable,
        }
    }
}

/// A family of socket hooks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Backend {
    /// `tracepoint`, `fentry` or `kprobe`.
    pub name: String,
    /// What became of it.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// What would make an unavailable one available.
    pub fix: Option<String>,
}

impl From<&BackendReport> for Backend {
    fn from(report: &BackendReport) -> Self {
        Self {
            name: report.backend.name().to_owned(),
            state: report.state.into(),
            reason: report.reason.clone(),
            fix: report.fix.clone(),
        }
    }
}

/// A hook.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Hook {
    /// What it gives and where it is.
    pub name: String,
    /// `tracepoint`, `fentry`, `kprobe` or `uprobe`.
    pub family: String,
    /// What became of it.
    pub state: State,
    /// Why, unless it is simply used.
    pub reason: Option<String>,
    /// What would make an unavailable one available.
    pub fix: Option<String>,
}

impl From<&HookReport> for Hook {
    fn from(report: &HookReport) -> Self {
        Self {
            name: report.name.clone(),
            family: report.family.name().to_owned(),
            state: report.state.into(),
            reason: report.reason.clone(),
            fix: report.fix.clone(),
        }
    }
}

/// Something that cannot be seen.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Blind {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

impl From<&BlindSpot> for Blind {
    fn from(spot: &BlindSpot) -> Self {
        Self {
            what: spot.what.clone(),
            why: spot.why.clone(),
        }
    }
}

/// The books.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Books {
    /// Records, from the kernel side to the decoder.
    pub records: Records,
    /// Connections.
    pub connections: Connections,
    /// TLS sessions and their sockets.
    pub tls: Tls,
    /// Exchanges: `opened = answered + client_aborted + server_closed + cut + unknown + in_flight`.
    pub exchanges: Exchanges,
    /// Streams, behind answered exchanges: `opened = closed + open`.
    pub streams: Streams,
    /// Calls to others by services that serve requests: `made = attributed + ambiguous + unattributed`.
    pub calls: Calls,
    /// Endpoints.
    pub series: Series,
    /// What could not be followed, per reason.
    pub losses: BTreeMap<String, u64>,
}

/// Calls to others, by what is known of the request that caused them.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = CallAccount)]
pub struct Calls {
    /// Ended so far.
    pub made: u64,
    /// Of one request.
    pub attributed: u64,
    /// Of one of several.
    pub ambiguous: u64,
    /// Of none that is known: of programs that serve none, of timers, behind an answer, of threads that were handed work.
    pub unattributed: u64,
}

/// Records.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Records {
    /// Reached the core.
    pub received: u64,
    /// Of them, could not be decoded.
    pub undecodable: u64,
    /// Found the ring buffer full.
    pub lost: u64,
    /// Bytes that were moved but not copied, being beyond the capture budget of their message.
    pub truncated: u64,
    /// Segments whose bytes could not be attributed to a buffer.
    pub unseen: u64,
    /// Segments whose memory could not be read.
    pub faults: u64,
    /// Calls of hooks in which the kernel did not run a program, as it had been preempted in the middle of it: what was
    /// moved then went by. Not known before Linux 5.12.
    pub skipped: u64,
    /// Segments folded into sums.
    pub folded: u64,
    /// Connections of filtered-out processes or ports.
    pub filtered: u64,
}

/// TLS sessions and their sockets.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Tls {
    /// Segments of plaintext of sessions whose socket was not known (yet).
    pub unbound: u64,
    /// Sessions that were taken for another socket's, until the lengths of plaintext and ciphertext spoke against it.
    pub misbound: u64,
}

/// Connections.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Connections {
    /// Being followed now.
    pub open: u64,
    /// Followed so far.
    pub opened: u64,
    /// Ended.
    pub closed: u64,
    /// Not followed to their end, or not at all, since a table was full. Of the kernel side's table, segments that found
    /// no place in it: it cannot know of how many connections.
    pub evicted: u64,
    /// Judged to be of no interest by the kernel side.
    pub ignored: u64,
}

/// Exchanges.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Exchanges {
    /// Begun.
    pub opened: u64,
    /// Ended with a whole response.
    pub answered: u64,
    /// Ended by the client.
    pub client_aborted: u64,
    /// Ended by the server without a whole response.
    pub server_closed: u64,
    /// The agent lost sight.
    pub cut: u64,
    /// Ended, and cannot be said how.
    pub unknown: u64,
    /// Not ended.
    pub in_flight: u64,
}

/// Streams.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = StreamBooks)]
pub struct Streams {
    /// Begun.
    pub opened: u64,
    /// Ended, or lost sight of.
    pub closed: u64,
    /// Not ended.
    pub open: u64,
}

/// Endpoints.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Series {
    /// Kept apart.
    pub endpoints: u64,
    /// Exchanges counted in `(other)`, since there were too many endpoints.
    pub folded: u64,
}

impl From<&Accounting> for Books {
    fn from(books: &Accounting) -> Self {
        let (records, connections, exchanges) = (&books.records, &books.connections, &books.exchanges);
        Self {
            records: Records {
                received: records.received,
                undecodable: records.undecodable,
                lost: records.lost,
                truncated: records.truncated_bytes,
                unseen: records.unseen,
                faults: records.faults,
                skipped: records.skipped,
                folded: records.folded,
                filtered: records.filtered,
            },
            connections: Connections {
                open: connections.open,
                opened: connections.opened,
                closed: connections.closed,
                evicted: connections.evicted,
                ignored: connections.ignored,
            },
            tls: Tls {
                unbound: books.tls.unbound,
                misbound: books.tls.misbound,
            },
            exchanges: Exchanges {
                opened: exchanges.opened,
                answered: exchanges.answered,
                client_aborted: exchanges.client_aborted,
                server_closed: exchanges.server_closed,
                cut: exchanges.cut,
                unknown: exchanges.unknown,
                in_flight: exchanges.in_flight,
            },
            streams: Streams {
                opened: books.streams.opened,
                closed: books.streams.closed,
                open: books.streams.open,
            },
            calls: Calls {
                made: books.calls.calls,
                attributed: books.calls.attributed,
                ambiguous: books.calls.ambiguous,
                unattributed: books.calls.unattributed(),
            },
            series: Series {
                endpoints: books.series.endpoints,
                folded: books.series.folded,
            },
            losses: LOSSES
                .iter()
                .zip(books.losses)
                .map(|((_, name), count)| ((*name).to_owned(), count))
                .collect(),
        }
    }
}

/// What the agent itself takes.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Own {
    /// Processor time since start, without what its programs take in the observed processes.
    pub cpu_seconds: f64,
    /// Memory.
    pub resident_bytes: Option<u64>,
}

/// A loaded program.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Runs; null unless the kernel counts (`kernel.bpf_stats_enabled`).
    pub runs: Option<u64>,
    /// Nanoseconds per run; likewise.
    pub ns_per_run: Option<f64>,
}

impl From<&ProgramStats> for Program {
    fn from(program: &ProgramStats) -> Self {
        let time = program.run_time_ns.zip(program.runs).filter(|(_, runs)| *runs > 0);
        Self {
            name: program.name.clone(),
            runs: program.runs,
            ns_per_run: time.map(|(ns, runs)| super::rounded(ns as f64 / runs as f64)),
        }
    }
}

/// What is bounded.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Limits {
    /// Endpoints kept apart.
    pub max_endpoints: u64,
    /// Connections followed.
    pub max_connections: u64,
    /// Size of the ring buffer; null for a recording.
    pub ring_bytes: Option<u64>,
    /// Bytes of a request message that may be copied; null for a recording.
    pub capture_request_bytes: Option<u64>,
    /// Bytes of a response message that may be copied; null for a recording.
    pub capture_response_bytes: Option<u64>,
}

/// The configuration file.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Configuration {
    /// Its path; null if there is none.
    pub file: Option<String>,
    /// When what holds was read.
    #[schema(format = DateTime)]
    pub read_at: String,
    /// Why a newer version of it was refused; null if none was.
    pub refused: Option<String>,
    /// Sections that were changed and wait for the next start.
    pub waits_for_restart: Vec<String>,
}

impl Configuration {
    /// There is no file.
    pub fn none() -> Self {
        Self {
            file: None,
            read_at: super::timestamp(crate::clock::wall_ns()),
            refused: None,
            waits_for_restart: Vec::new(),
        }
    }
}

/// What is fixed since the start.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What is observed, and how.
    pub report: Report,
    /// False for a recording.
    pub live: bool,
    /// What is bounded.
    pub limits: Limits,
}

impl Agent {
    /// The agent now.
    pub fn new(
        facts: &Facts,
        accounting: &Accounting,
        programs: &[ProgramStats],
        own: Own,
        (configuration, state): (Configuration, Kept),
    ) -> Self {
        let report = &facts.report;
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: Kernel {
                release: report.kernel.release.clone(),
                btf: facts.live.then_some(report.kernel.btf),
            },
            backend: report.backend.map(|backend| backend.name().to_owned()),
            backends: report.backends.iter().map(Backend::from).collect(),
            hooks: report.hooks.iter().map(Hook::from).collect(),
            blind_spots: report.blind_spots.iter().map(Blind::from).collect(),
            accounting: accounting.into(),
            own,
            programs: programs.iter().map(Program::from).collect(),
            limits: facts.limits,
            configuration,
            state,
        }
    }
}
