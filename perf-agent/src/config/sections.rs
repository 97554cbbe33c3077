//! The sections of the configuration file, as they are written.
#![expect(missing_docs, reason = "`default.toml` explains every key, and a test sees to it")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::scalar::Scalar;

/// The file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// What to observe.
    pub observe: Observe,
    /// What is bounded.
    pub limits: Limits,
    /// The operator's routes.
    pub routes: RoutesSection,
    /// What counts as an error.
    pub errors: Errors,
    /// Functions that are observed besides.
    pub functions: FunctionsSection,
    /// What is kept of each exchange.
    pub requests: RequestsSection,
    /// Where the API is offered.
    pub api: ApiSection,
    /// The host's and the services' resources.
    pub resources: ResourcesSection,
    /// Metrics that other programs report.
    pub custom_metrics: CustomMetrics,
    /// What outlives a restart.
    pub state: StateSection,
    /// Statistics on disk.
    pub history: HistorySection,
    /// Thresholds, and who is told.
    pub alerts: Alerts,
    /// The score.
    pub health: HealthSection,
    /// The log.
    pub log: LogSection,
}

/// `[observe]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Observe {
    pub backend: Option<Scalar>,
    pub tls: Option<bool>,
    pub pids: Vec<Scalar>,
    pub ports: Vec<Scalar>,
    pub programs: Vec<PathBuf>,
    pub control_groups: Vec<PathBuf>,
    pub exclude_pids: Vec<Scalar>,
    pub exclude_ports: Vec<Scalar>,
    pub exclude_programs: Vec<PathBuf>,
    pub exclude_control_groups: Vec<PathBuf>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub ring_bytes: Option<Scalar>,
    pub capture_request_bytes: Option<Scalar>,
    pub capture_response_bytes: Option<Scalar>,
    pub max_connections: Option<Scalar>,
    pub max_endpoints: Option<Scalar>,
}

/// `[routes]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RoutesSection {
    pub patterns: Vec<String>,
}

/// `[errors]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Errors {
    pub statuses: Option<Scalar>,
    pub client_statuses: Option<Scalar>,
    pub client_aborted: Option<bool>,
}

/// `[functions]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionsSection {
    pub cpu_share: Option<Scalar>,
    pub choose: Vec<FunctionEntry>,
}

/// One choice: `--function`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FunctionEntry {
    /// `FILE:SYMBOL` or `usdt:FILE:PROVIDER:PROBE`.
    pub at: String,
    /// What it is to be called.
    pub name: Option<String>,
}

/// `[requests]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RequestsSection {
    pub log: Option<Scalar>,
    pub user_header: Option<String>,
    pub headers: Vec<String>,
    pub query_values: Vec<String>,
    pub trusted_proxies: Vec<String>,
}

/// `[api]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSection {
    pub listen: Option<String>,
    pub token_file: Option<PathBuf>,
}

/// `[resources]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ResourcesSection {
    pub every: Option<String>,
}

/// `[custom_metrics]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct CustomMetrics {
    pub statsd_address: Option<String>,
    pub statsd_socket: Option<PathBuf>,
    pub statsd_anywhere: Option<bool>,
}

/// `[state]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct StateSection {
    pub directory: Option<PathBuf>,
}

/// `[history]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct HistorySection {
    pub retention: Option<String>,
    pub max_bytes: Option<Scalar>,
}

/// `[alerts]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    pub defaults: Option<bool>,
    pub group_wait: Option<String>,
    pub group_interval: Option<String>,
    pub repeat_interval: Option<String>,
    pub thresholds: Vec<ThresholdEntry>,
    pub escalate: Vec<EscalateEntry>,
    pub receivers: Vec<ReceiverEntry>,
}

/// `[[alerts.thresholds]]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdEntry {
    pub id: Option<String>,
    pub metric: Option<String>,
    pub scope: Option<String>,
    pub comparison: Option<String>,
    pub value: Option<f64>,
    pub clear: Option<f64>,
    pub window: Option<String>,
    #[serde(rename = "for")]
    pub for_: Option<String>,
    pub min_count: Option<u64>,
    pub severity: Option<String>,
    pub message: Option<String>,
    pub runbook: Option<String>,
}

/// `[[alerts.escalate]]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EscalateEntry {
    pub after: String,
    pub receivers: Vec<String>,
}

/// `[[alerts.receivers]]`: which keys belong to which kind is checked where they are used.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiverEntry {
    pub name: Option<String>,
    pub kind: Option<String>,
    pub min_severity: Option<String>,
    pub only_escalated: Option<bool>,
    pub url: Option<String>,
    pub url_file: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub channel: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub server: Option<String>,
    pub port: Option<u16>,
    pub tls: Option<String>,
    pub from: Option<String>,
    pub to: Vec<String>,
    pub command: Vec<String>,
    pub deadline: Option<String>,
}

/// `[health]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    pub window: Option<String>,
    pub response_time: Option<Vec<PenaltyEntry>>,
    pub error_rate: Option<Vec<PenaltyEntry>>,
    pub memory: Option<Vec<PenaltyEntry>>,
    pub cpu: Option<Vec<PenaltyEntry>>,
}

/// One step of a penalty.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PenaltyEntry {
    pub over: f64,
    pub points: u32,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    pub level: Option<String>,
}
