//! The agent itself, its books, and what else a snapshot has beside endpoints: services, connections, functions, health and
//! alerts.

use super::Exposition;
use super::buckets::FINE_NS;
use super::exchanges::{address, service};
use super::model::Kind::{Counter, Gauge, Histogram, Info};
use super::model::{Definition, Families, Value};
use crate::aggregate::Window;
use crate::alert::{Alert, State};
use crate::event::{FunctionSort, FunctionState};
use crate::exchange::Outcome;
use crate::ledger::{Accounting, LOSSES};
use crate::snapshot::Snapshot;
use crate::threshold::Severity;

/// The agent itself.
#[derive(Clone, Copy, Debug)]
pub struct Agent<'a> {
    /// Its version.
    pub version: &'a str,
    /// Release of the kernel; of a recording, of the one that it was made on.
    pub kernel: &'a str,
    /// The family of hooks in use; `None` for a recording.
    pub backend: Option<&'a str>,
    /// Endpoints that are kept apart at most.
    pub max_endpoints: u64,
    /// Processor time that it took.
    pub cpu_seconds: f64,
    /// Memory that it takes.
    pub resident_bytes: Option<u64>,
    /// Its programs in the kernel.
    pub programs: &'a [Program<'a>],
}

/// A program in the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its name.
    pub name: &'a str,
    /// Runs; `None` unless the kernel counts them.
    pub runs: Option<u64>,
    /// Nanoseconds that they took; likewise.
    pub run_time_ns: Option<u64>,
}

const POOL: &[&str] = &["service_name", "container_id", "server_address", "server_port", "tls"];
const FUNCTION: &[&str] = &["function", "file"];

const TARGET: Definition = Definition::new(
    "target",
    Info,
    &["service_name", "service_version", "os_type"],
    "Who tells.",
);
const BUILD: Definition = Definition::new(
    "perf_agent_build",
    Info,
    &["version", "kernel", "backend"],
    "The agent, the kernel that it runs on, and its family of hooks.",
);
const START: Definition = Definition::in_unit(
    "perf_agent_start_time_seconds",
    Gauge,
    "seconds",
    &[],
    "When observation began, since 1970.",
);
const SNAPSHOT: Definition = Definition::in_unit(
    "perf_agent_snapshot_time_seconds",
    Gauge,
    "seconds",
    &[],
    "The moment that all figures are as of, since 1970.",
);
const CPU: Definition = Definition::in_unit(
    "perf_agent_process_cpu_seconds",
    Counter,
    "seconds",
    &[],
    "Processor time that the agent took, without its programs in the kernel.",
);
const RESIDENT: Definition = Definition::in_unit(
    "perf_agent_process_resident_memory_bytes",
    Gauge,
    "bytes",
    &[],
    "Memory that the agent takes.",
);
const PROGRAM_RUNS: Definition = Definition::new(
    "perf_agent_program_runs",
    Counter,
    &["program"],
    "Runs of the agent's programs in the kernel; only while the kernel counts them (kernel.bpf_stats_enabled).",
);
const PROGRAM_SECONDS: Definition = Definition::in_unit(
    "perf_agent_program_run_seconds",
    Counter,
    "seconds",
    &["program"],
    "Time that these runs took; likewise.",
);
const RECORDS: Definition = Definition::new(
    "perf_agent_records_received",
    Counter,
    &[],
    "Records that came from the kernel side.",
);
const RECORDS_LOST: Definition = Definition::new(
    "perf_agent_records_lost",
    Counter,
    &[],
    "What went by unseen: records that found the ring full (lost), that could not be decoded (undecodable), segments of \
    which the bytes could not be found (unseen) or read (faults), calls in which the kernel did not run a hook (skipped).",
)
.by("reason");
const RECORDS_FOLDED: Definition = Definition::new(
    "perf_agent_records_folded",
    Counter,
    &[],
    "Segments that the kernel side folded into sums.",
);
const RECORDS_FILTERED: Definition = Definition::new(
    "perf_agent_records_filtered",
    Counter,
    &[],
    "Connections of processes or ports that are not to be observed.",
);
const TRUNCATED: Definition = Definition::in_unit(
    "perf_agent_truncated_bytes",
    Counter,
    "bytes",
    &[],
    "Bytes that were moved but not copied, being beyond the capture budget of their message.",
);
const CONNECTIONS: Definition = Definition::new(
    "perf_agent_connections_open",
    Gauge,
    &[],
    "Connections that are being followed.",
);
const CONNECTIONS_TOTAL: Definition = Definition::new(
    "perf_agent_connections",
    Counter,
    &[],
    "Connections: followed so far (opened), ended (closed), not followed or not to their end since a table was full \
    (evicted), judged to be of no interest (ignored).",
)
.by("state");
const TLS_UNBOUND: Definition = Definition::new(
    "perf_agent_tls_segments_unbound",
    Counter,
    &[],
    "Segments of plaintext of TLS sessions whose socket was not known (yet).",
);
const TLS_MISBOUND: Definition = Definition::new(
    "perf_agent_tls_sessions_misbound",
    Counter,
    &[],
    "TLS sessions that were taken for another socket's, until the lengths spoke against it.",
);
const EXCHANGES_OPENED: Definition =
    Definition::new("perf_agent_exchanges_opened", Counter, &[], "Exchanges that began.");
const EXCHANGES: Definition = Definition::new(
    "perf_agent_exchanges",
    Counter,
    &[],
    "Exchanges that ended, by how they did.",
)
.by("outcome");
const IN_FLIGHT: Definition = Definition::new(
    "perf_agent_exchanges_in_flight",
    Gauge,
    &[],
    "Exchanges that have not ended.",
);
const FOLDED: Definition = Definition::new(
    "perf_agent_exchanges_folded",
    Counter,
    &[],
    "Exchanges counted in the route (other), since there were too many endpoints.",
);
const STREAMS_OPENED: Definition = Definition::new("perf_agent_streams_opened", Counter, &[], "Streams that began.");
const STREAMS_CLOSED: Definition = Definition::new(
    "perf_agent_streams_closed",
    Counter,
    &[],
    "Streams that ended, or were lost sight of.",
);
const STREAMS_OPEN: Definition = Definition::new("perf_agent_streams_open", Gauge, &[], "Streams that have not ended.");
const CALLS: Definition = Definition::new(
    "perf_agent_calls",
    Counter,
    &[],
    "Calls to others that ended, of processes that serve requests.",
);
const CALLS_ATTRIBUTED: Definition = Definition::new(
    "perf_agent_calls_attributed",
    Counter,
    &[],
    "Of them, those made for one request.",
);
const CALLS_AMBIGUOUS: Definition = Definition::new(
    "perf_agent_calls_ambiguous",
    Counter,
    &[],
    "Of them, those made for one of several requests.",
);
const ENDPOINTS: Definition = Definition::new("perf_agent_endpoints", Gauge, &[], "Endpoints that are kept apart.");
const ENDPOINTS_LIMIT: Definition = Definition::new(
    "perf_agent_endpoints_limit",
    Gauge,
    &[],
    "Endpoints that are kept apart at most.",
);
const LOST: Definition = Definition::new("perf_agent_losses", Counter, &[], "What could not be followed.").by("reason");
const SERVICE: Definition = Definition::new(
    "perf_agent_service",
    Info,
    &[
        "service_name",
        "exe",
        "container",
        "unit",
        "server_port",
        "server_address",
    ],
    "The services seen.",
);
const UNREAD: Definition = Definition::new(
    "perf_agent_unread_tls_connections",
    Counter,
    &["service_name", "container_id", "server_address", "server_port"],
    "TLS connections of which no request is seen.",
);
const POOL_CONNECTIONS: Definition = Definition::new(
    "perf_agent_pool_connections",
    Gauge,
    POOL,
    "Connections of a service to a peer that are open: with a request in flight (used), or without (idle).",
)
.by("state");
const POOL_MAX: Definition = Definition::new(
    "perf_agent_pool_connections_max_used",
    Gauge,
    POOL,
    "Most of them in use at once.",
);
const POOL_OPENED: Definition = Definition::new(
    "perf_agent_pool_connections_opened",
    Counter,
    POOL,
    "Connections of a service to a peer so far.",
);
const FUNCTION_CALLS: Definition = Definition::new(
    "perf_agent_function_calls",
    Counter,
    FUNCTION,
    "Calls of a chosen function that returned; of a static probe, hits.",
);
const FUNCTION_DURATION: Definition = Definition::in_unit(
    "perf_agent_function_duration_seconds",
    Histogram,
    "seconds",
    FUNCTION,
    "How long they took.",
);
const FUNCTION_ACTIVE: Definition = Definition::new(
    "perf_agent_function_active_calls",
    Gauge,
    FUNCTION,
    "Calls of a chosen function that have not returned.",
);
const FUNCTION_LOST: Definition = Definition::new(
    "perf_agent_function_calls_lost",
    Counter,
    FUNCTION,
    "Calls in no other figure: those that will not return (unreturned), returns of which the beginning was not seen (unentered).",
)
.by("reason");
const HEALTH: Definition = Definition::new(
    "perf_agent_health_score",
    Gauge,
    &[],
    "How well everything fares, 0 to 100.",
);
const ALERTS: Definition = Definition::new(
    "perf_agent_alerts_firing",
    Gauge,
    &[],
    "The agent's own alerts that fire.",
)
.by("severity");

/// All of them.
pub(super) static ALL: &[&Definition] = &[
    &TARGET,
    &BUILD,
    &START,
    &SNAPSHOT,
    &CPU,
    &RESIDENT,
    &PROGRAM_RUNS,
    &PROGRAM_SECONDS,
    &RECORDS,
    &RECORDS_LOST,
    &RECORDS_FOLDED,
    &RECORDS_FILTERED,
    &TRUNCATED,
    &CONNECTIONS,
    &CONNECTIONS_TOTAL,
    &TLS_UNBOUND,
    &TLS_MISBOUND,
    &EXCHANGES_OPENED,
    &EXCHANGES,
    &IN_FLIGHT,
    &FOLDED,
    &STREAMS_OPENED,
    &STREAMS_CLOSED,
    &STREAMS_OPEN,
    &CALLS,
    &CALLS_ATTRIBUTED,
    &CALLS_AMBIGUOUS,
    &ENDPOINTS,
    &ENDPOINTS_LIMIT,
    &LOST,
    &HEALTH,
    &ALERTS,
    &SERVICE,
    &UNREAD,
    &POOL_CONNECTIONS,
    &POOL_MAX,
    &POOL_OPENED,
    &FUNCTION_CALLS,
    &FUNCTION_DURATION,
    &FUNCTION_ACTIVE,
    &FUNCTION_LOST,
];

/// Fills them.
pub(super) fn add(exposition: &Exposition<'_>, families: &mut Families) {
    let Exposition { snapshot, agent, .. } = exposition;
    add_agent(agent, families);
    add_books(&snapshot.accounting, families);
    let none = families.unlabelled();
    families.put(&ENDPOINTS_LIMIT, &none, agent.max_endpoints);
    if snapshot.wall_ns > 0 {
        families.put(&SNAPSHOT, &none, snapshot.wall_ns as f64 / 1e9);
    }
    if let Some(since) = families.since_wall_ns {
        families.put(&START, &none, since as f64 / 1e9);
    }
    if let Some(score) = exposition.health_score {
        families.put(&HEALTH, &none, score);
    }
    if let Some(alerts) = exposition.alerts {
        add_alerts(alerts, families);
    }
    add_services(snapshot, families);
    add_pools(snapshot, families);
    add_functions(snapshot, families);
}

fn add_agent(agent: &Agent<'_>, families: &mut Families) {
    let version = || agent.version.to_owned();
    let target = families.labels([
        ("service_name", "perf-agent".to_owned()),
        ("service_version", version()),
        ("os_type", "linux".to_owned()),
    ]);
    families.put(&TARGET, &target, 1.0);
    let build = families.labels([
        ("version", version()),
        ("kernel", agent.kernel.to_owned()),
        ("backend", agent.backend.unwrap_or_default().to_owned()),
    ]);
    families.put(&BUILD, &build, 1.0);
    let none = families.unlabelled();
    families.put(&CPU, &none, agent.cpu_seconds);
    if let Some(bytes) = agent.resident_bytes {
        families.put(&RESIDENT, &none, bytes);
    }
    for program in agent.programs {
        let labels = families.labels([("program", program.name.to_owned())]);
        if let Some(runs) = program.runs {
            families.put(&PROGRAM_RUNS, &labels, runs);
        }
        if let Some(ns) = program.run_time_ns {
            families.put(&PROGRAM_SECONDS, &labels, ns as f64 / 1e9);
        }
    }
}

fn add_books(books: &Accounting, families: &mut Families) {
    let none = families.unlabelled();
    let (records, connections, exchanges) = (&books.records, &books.connections, &books.exchanges);
    families.put(&RECORDS, &none, records.received);
    for (reason, count) in [
        ("lost", records.lost),
        ("undecodable", records.undecodable),
        ("unseen", records.unseen),
        ("faults", records.faults),
        ("skipped", records.skipped),
    ] {
        families.put_by(&RECORDS_LOST, &none, reason, count);
    }
    families.put(&RECORDS_FOLDED, &none, records.folded);
    families.put(&RECORDS_FILTERED, &none, records.filtered);
    families.put(&TRUNCATED, &none, records.truncated_bytes);
    families.put(&CONNECTIONS, &none, connections.open);
    for (state, count) in [
        ("opened", connections.opened),
        ("closed", connections.closed),
        ("evicted", connections.evicted),
        ("ignored", connections.ignored),
    ] {
        families.put_by(&CONNECTIONS_TOTAL, &none, state, count);
    }
    families.put(&TLS_UNBOUND, &none, books.tls.unbound);
    families.put(&TLS_MISBOUND, &none, books.tls.misbound);
    families.put(&EXCHANGES_OPENED, &none, exchanges.opened);
    for (outcome, count) in [
        (Outcome::Answered, exchanges.answered),
        (Outcome::ClientAborted, exchanges.client_aborted),
        (Outcome::ServerClosed, exchanges.server_closed),
        (Outcome::Cut, exchanges.cut),
        (Outcome::Unknown, exchanges.unknown),
    ] {
        families.put_by(&EXCHANGES, &none, outcome.name(), count);
    }
    families.put(&IN_FLIGHT, &none, exchanges.in_flight);
    families.put(&FOLDED, &none, books.series.folded);
    families.put(&STREAMS_OPENED, &none, books.streams.opened);
    families.put(&STREAMS_CLOSED, &none, books.streams.closed);
    families.put(&STREAMS_OPEN, &none, books.streams.open);
    families.put(&CALLS, &none, books.calls.calls);
    families.put(&CALLS_ATTRIBUTED, &none, books.calls.attributed);
    families.put(&CALLS_AMBIGUOUS, &none, books.calls.ambiguous);
    families.put(&ENDPOINTS, &none, books.series.endpoints);
    for ((_, reason), count) in LOSSES.iter().zip(books.losses) {
        families.put_by(&LOST, &none, *reason, count);
    }
}

fn add_alerts(alerts: &[Alert], families: &mut Families) {
    let none = families.unlabelled();
    for (severity, name) in [
        (Severity::Warning, "warning"),
        (Severity::Error, "error"),
        (Severity::Critical, "critical"),
    ] {
        let firing = |alert: &&Alert| alert.state == State::Firing && alert.severity == severity;
        families.put_by(&ALERTS, &none, name, alerts.iter().filter(firing).count() as u64);
    }
}

fn add_services(snapshot: &Snapshot, families: &mut Families) {
    for seen in &snapshot.services {
        let key = &seen.key;
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let labels = families.labels([
            ("service_name", key.name.to_string()),
            ("exe", text(key.exe.as_deref())),
            ("container", text(key.container.as_deref())),
            ("unit", text(key.unit.as_deref())),
            ("server_port", key.port.map(|port| port.to_string()).unwrap_or_default()),
            ("server_address", text(key.socket.as_deref())),
        ]);
        // Two that agree in all of this after a cut are told as one.
        if families.known(&SERVICE.name).is_none_or(|family| !family.has(&labels)) {
            families.put(&SERVICE, &labels, 1.0);
        }
    }
    for unread in &snapshot.unread {
        let labels = families.labels(service(&unread.service.key).into_iter().chain(address(&unread.peer)));
        families.put(&UNREAD, &labels, unread.connections);
    }
}

fn add_pools(snapshot: &Snapshot, families: &mut Families) {
    for pool in &snapshot.pools {
        let tls = ("tls", if pool.tls { "true" } else { "" }.to_owned());
        let labels = service(&pool.service.key)
            .into_iter()
            .chain(address(&pool.peer))
            .chain([tls]);
        let labels = families.labels(labels);
        families.put_by(&POOL_CONNECTIONS, &labels, "used", pool.in_use);
        families.put_by(
            &POOL_CONNECTIONS,
            &labels,
            "idle",
            pool.open.saturating_sub(pool.in_use),
        );
        families.put(&POOL_MAX, &labels, pool.max_in_use);
        families.put(&POOL_OPENED, &labels, pool.opened);
    }
}

fn add_functions(snapshot: &Snapshot, families: &mut Families) {
    for function in &snapshot.functions {
        let told = &function.told;
        let labels = families.labels([("function", told.name.clone()), ("file", told.file.clone())]);
        let sums = function.aggregate.window(Window::Start);
        families.put(&FUNCTION_CALLS, &labels, sums.calls);
        if sums.duration.count() > 0 {
            families.put(&FUNCTION_DURATION, &labels, Value::times(sums.duration, FINE_NS));
        }
        if told.state == FunctionState::Used && told.sort != FunctionSort::Probe {
            families.put(&FUNCTION_ACTIVE, &labels, function.in_flight);
        }
        for (reason, count) in [
            ("unreturned", function.counts.unreturned),
            ("unentered", function.counts.unentered),
        ] {
            families.put_by(&FUNCTION_LOST, &labels, reason, count);
        }
    }
}
