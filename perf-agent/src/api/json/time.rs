//! Figures over time.

use serde::Serialize;
use utoipa::ToSchema;

use super::{ms, rounded, timestamp};
use crate::aggregate::{LatencyPoint, RatePoint, WindowView, distribution};
use crate::snapshot::Snapshot;

/// Exchanges per second.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Throughput {
    /// In the last complete second.
    pub current_rps: f64,
    /// Over the window; null before any time went by.
    pub average_rps: Option<f64>,
    /// In the window's best second.
    pub peak_rps: f64,
}

impl From<&WindowView> for Throughput {
    fn from(view: &WindowView) -> Self {
        Self {
            current_rps: rounded(view.current_rps),
            average_rps: view.average_rps.map(rounded),
            peak_rps: rounded(view.peak_rps),
        }
    }
}

/// A point of a throughput trend.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TrendPoint {
    /// Begin of the stretch.
    #[schema(format = DateTime)]
    pub at: String,
    /// Exchanges per second in it.
    pub rps: f64,
}

impl TrendPoint {
    fn new(point: &RatePoint, snapshot: &Snapshot) -> Self {
        Self {
            at: wall_of(snapshot, point.at_ns),
            rps: rounded(point.rps()),
        }
    }
}

/// A monotonic moment as a time stamp.
fn wall_of(snapshot: &Snapshot, at_ns: u64) -> String {
    let before = snapshot.at_ns.saturating_sub(at_ns);
    timestamp(
        snapshot
            .wall_ns
            .saturating_sub(before)
            .saturating_add(at_ns.saturating_sub(snapshot.at_ns)),
    )
}

/// Exchanges per second, now, over a window, and over time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ThroughputTrend {
    /// In the last complete second.
    pub current_rps: f64,
    /// Over the window; null before any time went by.
    pub average_rps: Option<f64>,
    /// In the window's best second.
    pub peak_rps: f64,
    /// Per stretch of the window, oldest first; the last stretch is still running.
    pub trend: Vec<TrendPoint>,
}

impl ThroughputTrend {
    /// Over a window of one endpoint or of all.
    pub fn new(view: &WindowView, trend: &[RatePoint], snapshot: &Snapshot) -> Self {
        let Throughput {
            current_rps,
            average_rps,
            peak_rps,
        } = view.into();
        let trend = trend.iter().map(|point| TrendPoint::new(point, snapshot)).collect();
        Self {
            current_rps,
            average_rps,
            peak_rps,
            trend,
        }
    }
}

/// Response times in one stretch of time, milliseconds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Latency {
    /// Begin of the stretch.
    #[schema(format = DateTime)]
    pub at: String,
    /// Answered exchanges.
    pub count: u64,
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile.
    pub p99_9: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
}

impl Latency {
    /// One point.
    pub fn new(point: &LatencyPoint, snapshot: &Snapshot) -> Self {
        let times = point.response_time.as_ref();
        let value = |value: fn(&distribution::Summary) -> &u64| times.map(value).map(ms);
        Self {
            at: wall_of(snapshot, point.at_ns),
            count: times.map_or(0, |times| times.count),
            p50: value(|times| &times.median_ns),
            p95: value(|times| &times.p95_ns),
            p99: value(|times| &times.p99_ns),
            p99_9: value(|times| &times.p99_9_ns),
            max: value(|times| &times.max_ns),
        }
    }
}
