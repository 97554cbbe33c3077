//! Custom metrics: what programs report, and what came of it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{WindowName, rounded};
use crate::aggregate::Window;
use crate::custom::{CustomKind, CustomSnapshot, CustomView};

/// One report, or several.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum CustomReports {
    /// One.
    One(CustomReport),
    /// Several, at most 1000.
    Several(Vec<CustomReport>),
}

/// A figure that a program reports.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CustomReport {
    /// The metric's name: letters, digits, `_`, `:`, `.`, `-`; at most 128. It begins with a letter, `_` or `:`.
    #[schema(pattern = "^[A-Za-z_:][A-Za-z0-9_:.-]{0,127}$")]
    pub name: String,
    /// A finite number.
    pub value: f64,
    /// What it is measured in; at most 32 bytes. The first one stays.
    #[schema(required = false, max_length = 32)]
    pub unit: Option<String>,
    /// What tells it from others of the same name: at most 16, names as that of the metric, values of at most 128 bytes.
    #[schema(required = false)]
    pub attributes: Option<BTreeMap<String, String>>,
    /// What sort of figure it is; a value by default. One name has one sort.
    #[schema(required = false)]
    pub kind: Option<CustomReportKind>,
}

/// What sort of figure is reported.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CustomReportKind {
    /// A value of one event, such as a time or an amount.
    Value,
    /// A state that holds until the next one.
    Gauge,
    /// How many more.
    Counter,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct CustomAccepted {
    /// Figures that were taken. Fewer than were reported if as many series as are kept are there already.
    pub accepted: u64,
}

/// What sort of figure a metric is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CustomKindName {
    /// A value of one event, such as a time or an amount.
    Value,
    /// A state that holds until the next one.
    Gauge,
    /// How many more.
    Counter,
    /// How many different members there were within ten seconds (StatsD only).
    Set,
}

impl From<CustomKind> for CustomKindName {
    fn from(kind: CustomKind) -> Self {
        match kind {
            CustomKind::Value => Self::Value,
            CustomKind::Gauge => Self::Gauge,
            CustomKind::Counter => Self::Counter,
            CustomKind::Set => Self::Set,
        }
    }
}

/// One metric with one set of attributes, over the window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CustomMetric {
    /// Its name.
    pub name: String,
    /// What it is measured in, if that was said.
    pub unit: Option<String>,
    /// What sort of figure it is.
    pub kind: CustomKindName,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Values within the window; where only some are reported (StatsD's sample rate), those that they stand for.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least one; null without any.
    pub min: Option<f64>,
    /// The largest one; null without any.
    pub max: Option<f64>,
    /// Their mean; null without any.
    pub mean: Option<f64>,
    /// The newest one, of all time.
    pub last: Option<f64>,
    /// Their sum per second of the window.
    pub rate: Option<f64>,
}

impl From<CustomView> for CustomMetric {
    fn from(view: CustomView) -> Self {
        Self {
            name: view.name,
            unit: view.unit,
            kind: view.kind.into(),
            attributes: view.attributes.into_iter().collect(),
            count: view.count,
            sum: view.sum,
            min: view.min,
            max: view.max,
            mean: view.mean,
            last: view.last,
            rate: view.per_second.map(rounded),
        }
    }
}

/// All custom metrics over one window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CustomMetrics {
    /// The window.
    pub window: WindowName,
    /// By name and attributes.
    pub metrics: Vec<CustomMetric>,
    /// Series that there are, of all names; at most 1000.
    pub series: usize,
    /// Figures that were not taken since the start: too many series, or another sort than the name has.
    pub dropped: u64,
}

impl CustomMetrics {
    /// Those of a name, or all.
    pub fn new(snapshot: &CustomSnapshot, name: Option<&str>, window: Window) -> Self {
        let metrics = snapshot.views(name, window);
        Self {
            window: window.into(),
            metrics: metrics.into_iter().map(CustomMetric::from).collect(),
            series: snapshot.series(),
            dropped: snapshot.dropped(),
        }
    }
}
