//! Thresholds: what the operator wants to be told of.
//!
//! A threshold holds a [`Metric`] of everything in its [`Scope`] against a limit; each subject in scope is held against it
//! for itself.

use std::time::Duration;

use crate::aggregate::Window;

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Its id: letters, digits, `-`, `_`, `.`; at most 64.
    pub id: String,
    /// What is measured.
    pub metric: Metric,
    /// Of whom.
    pub scope: Scope,
    /// How it is held against the limit.
    pub comparison: Comparison,
    /// The limit, in the metric's unit.
    pub value: f64,
    /// Over which window.
    pub window: Window,
    /// How long it must hold before it fires.
    pub for_: Duration,
    /// Samples within the window below which nothing is said.
    pub min_count: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What the alert says (a template); a text of our own if there is none.
    pub message: Option<String>,
    /// Where to read on: an URL.
    pub runbook: Option<String>,
    /// Who made it.
    pub source: Source,
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// To be looked at.
    Warning,
    /// Something does not work.
    Error,
    /// At once.
    Critical,
}

/// How a figure is held against the limit. The condition is what is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Greater than.
    Gt,
    /// Less than.
    Lt,
    /// Greater or equal.
    Gte,
    /// Less or equal.
    Lte,
    /// Equal.
    Eq,
}

/// Who made a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It comes with the agent.
    Default,
    /// The configuration file.
    File,
    /// The API.
    Api,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {}

/// Of whom.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {}

/// Who a figure is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// `host`, `agent`, `total`, `service:NAME`, `endpoint:ID`, `custom:NAME{key="value"}` …: stable.
    pub key: String,
    /// What people read: `GET /users/{id} of shop:8080`.
    pub name: String,
    /// Name of the service that it belongs to, if it does: what notifications are grouped by.
    pub service: Option<String>,
    /// The endpoint's id, if it is one.
    pub endpoint: Option<String>,
}
