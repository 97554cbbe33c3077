//! Functions that the operator chose.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Summary, WindowName, measured, ms, rounded};
use crate::aggregate::{Inside, Window};
use crate::event::{FunctionSort, FunctionState};
use crate::snapshot::{FunctionSnapshot, Snapshot};

/// The functions that the operator chose.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Functions {
    /// The window of all figures that are not said to be of now or since the start.
    pub window: WindowName,
    /// Each of them, in the order of the choices.
    pub functions: Vec<Function>,
}

/// A function that the operator chose.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Function {
    /// What it is called: as the operator said, or its symbol without hashes and parameters of compilers.
    pub name: String,
    /// The operator's choice that it is of.
    pub choice: String,
    /// The file that it is in.
    pub file: String,
    /// The symbols or static probes that it is made of.
    pub symbols: Vec<String>,
    /// What sort of function it is.
    pub kind: FunctionKind,
    /// Whether it is observed.
    pub state: FunctionStateName,
    /// Why it is not; of one that is, why it may be missed.
    pub reason: Option<String>,
    /// Calls that returned; of a static probe, hits.
    pub calls: u64,
    /// From a call to its return; null where nothing was measured, and of a single static probe.
    pub duration_ms: Option<Summary>,
    /// Calls that have not returned, now; null if it is not observed, and of a single static probe.
    pub in_flight: Option<u32>,
    /// Calls made while a request was served, by the request's endpoint; those with most time first.
    pub endpoints: Vec<InsideEndpoint>,
    /// Calls made while one of several requests was served, and it is not known which.
    pub ambiguous: u64,
    /// What was not seen of it, since the start.
    pub losses: FunctionLosses,
    /// What observing it costs the processes that call it.
    pub overhead: FunctionOverhead,
}

/// What sort of function.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// Of C, C++, Rust and the like.
    Function,
    /// Of Go.
    GoFunction,
    /// A static probe: hits are counted.
    Probe,
    /// From one static probe to another.
    ProbePair,
}

/// Whether a function is observed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FunctionStateName {
    /// Yes.
    Used,
    /// It cannot be.
    Unavailable,
    /// Not any more, since it cost too much.
    Disabled,
}

/// Calls of a function while an endpoint's requests were served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InsideEndpoint {
    /// The endpoint's id.
    pub endpoint_id: String,
    /// Its service; null if the endpoint is not kept apart any more.
    pub service: Option<String>,
    /// Its operation; likewise.
    pub operation: Option<String>,
    /// Requests that made any.
    pub requests: u64,
    /// Calls.
    pub calls: u64,
    /// Their times together; those of calls inside of others count as well.
    pub time_ms: f64,
}

/// What was not seen of a function, since the start.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct FunctionLosses {
    /// Calls that returned and of which the record was lost: in no other figure here.
    pub records: u64,
    /// Calls that will not return: left by an exception, by `longjmp`, or by a way that no probe sees; in no other figure.
    pub unreturned: u64,
    /// Returns of calls of which the beginning was not seen: in no other figure.
    pub unentered: u64,
    /// Calls that are counted and have no duration, since the function had called itself too often.
    pub untimed: u64,
}

/// What observing a function costs the processes that call it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct FunctionOverhead {
    /// Estimate for one call, as measured on this machine when the agent started.
    pub ns_per_call: Option<u64>,
    /// Calls that began in each second, over the last one.
    pub calls_per_second: Option<f64>,
    /// The share of a processor's core that is.
    pub core_share: Option<f64>,
}

impl Functions {
    /// Over one window.
    pub fn new(snapshot: &Snapshot, window: Window) -> Self {
        Self {
            window: window.into(),
            functions: snapshot
                .functions
                .iter()
                .map(|function| Function::new(function, snapshot, window))
                .collect(),
        }
    }
}

impl Function {
    fn new(function: &FunctionSnapshot, snapshot: &Snapshot, window: Window) -> Self {
        let told = &function.told;
        let sums = function.aggregate.window(window);
        let counted = told.state == FunctionState::Used && told.sort != FunctionSort::Probe;
        let mut inside = sums.inside.clone();
        inside.sort_by_key(|inside| (std::cmp::Reverse(inside.time_ns), inside.endpoint));
        Self {
            name: told.name.clone(),
            choice: told.choice.clone(),
            file: told.file.clone(),
            symbols: told.symbols.clone(),
            kind: match told.sort {
                FunctionSort::Function => FunctionKind::Function,
                FunctionSort::GoFunction => FunctionKind::GoFunction,
                FunctionSort::Probe => FunctionKind::Probe,
                FunctionSort::ProbePair => FunctionKind::ProbePair,
            },
            state: match told.state {
                FunctionState::Used => FunctionStateName::Used,
                FunctionState::Unavailable => FunctionStateName::Unavailable,
                FunctionState::Disabled => FunctionStateName::Disabled,
            },
            reason: told.reason.clone(),
            calls: sums.calls,
            duration_ms: measured(&sums.duration),
            in_flight: counted.then_some(function.in_flight),
            endpoints: inside
                .iter()
                .map(|inside| InsideEndpoint::new(inside, snapshot))
                .collect(),
            ambiguous: sums.ambiguous,
            losses: FunctionLosses {
                records: function.unseen,
                unreturned: function.counts.unreturned,
                unentered: function.counts.unentered,
                untimed: function.counts.untimed,
            },
            overhead: FunctionOverhead {
                ns_per_call: function.ns_per_call,
                calls_per_second: function.rate.map(rounded),
                core_share: function
                    .rate
                    .zip(function.ns_per_call)
                    .map(|(rate, ns)| rounded(rate * ns as f64 / 1e9)),
            },
        }
    }
}

impl InsideEndpoint {
    fn new(inside: &Inside, snapshot: &Snapshot) -> Self {
        let id = format!("{:016x}", inside.endpoint);
        let endpoint = snapshot.endpoints.iter().find(|endpoint| *endpoint.id == *id);
        Self {
            service: endpoint.map(|endpoint| endpoint.key.service.name.to_string()),
            operation: endpoint.map(|endpoint| endpoint.key.operation.to_string()),
            endpoint_id: id,
            requests: inside.requests,
            calls: inside.calls,
            time_ms: ms(&inside.time_ns),
        }
    }
}
