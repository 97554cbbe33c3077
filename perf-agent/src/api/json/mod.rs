//! What leaves the process: the wire types of the JSON API, each made from the core's own types. No core type is
//! serialised itself, so a rename inside never changes the API. Names are those of the contract; what is not known is
//! `null`, never 0.

pub mod agent;
pub mod alert;
pub mod breakdown;
pub mod custom;
pub mod endpoint;
pub mod function;
pub mod health;
pub mod http_cache;
pub mod kept;
pub mod network;
pub mod performance;
pub mod receiver;
pub mod recommendation;
pub mod request;
pub mod service;
pub mod stream;
pub mod system;
pub mod target;
pub mod threshold;
pub mod time;

use serde::Serialize;
use utoipa::ToSchema;

use crate::aggregate::{Distribution, Window, distribution};
use crate::exchange::{Outcome, Role};

/// Nanoseconds as milliseconds.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "reads as a conversion of what a field holds"
)]
fn ms(ns: &u64) -> f64 {
    *ns as f64 / 1e6
}

/// Computed nanoseconds as milliseconds, to the picosecond: digits beyond mean nothing.
fn ms_of(ns: f64) -> f64 {
    (ns * 1e3).round() / 1e9
}

/// A rate or ratio with six digits behind the point.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A moment, nanoseconds since 1970, as RFC 3339 in UTC with microseconds.
pub fn timestamp(wall_ns: u64) -> String {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or_default();
    format!("{moment:.6}")
}

/// A window of time that ends now.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub enum WindowName {
    /// The last minute.
    #[serde(rename = "1m")]
    Minute,
    /// The last five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// The last quarter of an hour.
    #[serde(rename = "15m")]
    FifteenMinutes,
    /// The last hour.
    #[serde(rename = "1h")]
    Hour,
    /// The last day.
    #[serde(rename = "24h")]
    Day,
    /// Since observation began.
    #[serde(rename = "start")]
    Start,
}

impl From<Window> for WindowName {
    fn from(window: Window) -> Self {
        match window {
            Window::Minute => Self::Minute,
            Window::FiveMinutes => Self::FiveMinutes,
            Window::FifteenMinutes => Self::FifteenMinutes,
            Window::Hour => Self::Hour,
            Window::Day => Self::Day,
            Window::Start => Self::Start,
        }
    }
}

/// Which side of its exchanges the observed process is on.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// It received the requests.
    Server,
    /// It sent them.
    Client,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Server => Self::Server,
            Role::Client => Self::Client,
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeName {
    /// The response came to its end.
    Answered,
    /// The client ended the connection before that.
    ClientAborted,
    /// The server did.
    ServerClosed,
    /// The agent started, stopped or lost sight in the middle.
    Cut,
    /// It ended and cannot be said how.
    Unknown,
}

impl From<Outcome> for OutcomeName {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered => Self::Answered,
            Outcome::ClientAborted => Self::ClientAborted,
            Outcome::ServerClosed => Self::ServerClosed,
            Outcome::Cut => Self::Cut,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

/// One distribution of times, milliseconds. `count`, `sum`, `min`, `max`, `mean` and `std_dev` are exact, percentiles
/// within 1 %. All but `count` and `sum` are null where `count` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// Mean.
    pub mean: Option<f64>,
    /// Median.
    pub median: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile.
    pub p99_9: Option<f64>,
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Sum.
    pub sum: f64,
    /// Standard deviation of the population.
    pub std_dev: Option<f64>,
}

impl From<&distribution::Summary> for Summary {
    fn from(summary: &distribution::Summary) -> Self {
        Self {
            count: summary.count,
            mean: Some(ms_of(summary.mean_ns)),
            median: Some(ms(&summary.median_ns)),
            p90: Some(ms(&summary.p90_ns)),
            p95: Some(ms(&summary.p95_ns)),
            p99: Some(ms(&summary.p99_ns)),
            p99_9: Some(ms(&summary.p99_9_ns)),
            min: Some(ms(&summary.min_ns)),
            max: Some(ms(&summary.max_ns)),
            sum: summary.sum_ns as f64 / 1e6,
            std_dev: Some(ms_of(summary.std_dev_ns)),
        }
    }
}

impl From<&Distribution> for Summary {
    fn from(distribution: &Distribution) -> Self {
        distribution.summary().as_ref().map(Self::from).unwrap_or_default()
    }
}

/// The sum of times.
fn total_ms(times: &Distribution) -> f64 {
    times.sum_ns() as f64 / 1e6
}

/// Their mean, null where nothing was measured.
fn mean_ms(times: &Distribution) -> Option<f64> {
    times.summary().map(|summary| ms_of(summary.mean_ns))
}

/// A distribution, null where nothing was measured.
fn measured(distribution: &Distribution) -> Option<Summary> {
    distribution.summary().as_ref().map(Summary::from)
}
