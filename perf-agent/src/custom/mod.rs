//! Custom metrics: figures that the operator's own programs report, in windows like everything else.

use crate::aggregate::Window;

/// One custom metric with one set of attributes, over one window.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomView {
    /// Its name.
    pub name: String,
    /// What it is measured in.
    pub unit: Option<String>,
    /// Attributes, ascending by key.
    pub attributes: Vec<(String, String)>,
    /// What sort of figure it is.
    pub kind: CustomKind,
    /// Values reported within the window.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least one; `None` without values.
    pub min: Option<f64>,
    /// The largest one.
    pub max: Option<f64>,
    /// Their mean.
    pub mean: Option<f64>,
    /// The newest one, of all time.
    pub last: Option<f64>,
    /// Sum per second over the window.
    pub per_second: Option<f64>,
}

/// What sort of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CustomKind {
    /// A value of one event, such as a time or an amount.
    Value,
    /// A state that holds until the next one.
    Gauge,
    /// How many more.
    Counter,
}

impl CustomView {
    /// The figure that a threshold without a statistic means: the mean of values, the newest of a gauge, a counter's rate.
    pub fn figure(&self) -> Option<f64> {
        match self.kind {
            CustomKind::Value => self.mean,
            CustomKind::Gauge => self.last,
            CustomKind::Counter => self.per_second,
        }
    }
}

/// All custom metrics as of one moment.
#[derive(Clone, Debug, Default)]
pub struct CustomSnapshot {}

impl CustomSnapshot {
    /// Every series of this name over a window; of all names for `None`.
    pub fn views(&self, _name: Option<&str>, _window: Window) -> Vec<CustomView> {
        Vec::new()
    }
}
