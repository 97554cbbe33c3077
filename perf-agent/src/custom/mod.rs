//! Custom metrics: figures that the operator's own programs report, in windows like everything else.
//!
//! [`CustomMetrics`] takes [`Sample`]s, from the API or parsed by [`statsd`], and has a place for [`SERIES`] series: names
//! with a set of attributes each. What finds no place is counted as dropped. It has one owner (edges share it behind a
//! lock that is never held for long); who reads takes a [`CustomSnapshot`], which shares what did not change.
//!
//! A series takes about 5 kB if something is reported all day, so a full table 5 MB, its texts at most 4 MB and the members
//! of its sets [`MEMBERS_OF_ALL`] times 16 bytes.

mod figures;
mod sample;
mod series;
pub mod statsd;
mod table;

use std::sync::{Arc, Mutex};

pub use self::sample::{Amount, Sample, SampleFault, check_attribute, check_name, check_unit};
use self::series::Series;
pub use self::table::{CustomMetrics, Refused};
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

/// Series that are kept. One that nothing was reported of for longer than a day gives its place away.
pub const SERIES: usize = 1_000;
/// Attributes of one series.
pub const ATTRIBUTES: usize = 16;
/// Bytes of a name, and of an attribute's key and value.
pub const TEXT_BYTES: usize = 128;
/// Bytes of a unit.
pub const UNIT_BYTES: usize = 32;
/// Different members of one set that are counted within ten seconds.
pub const MEMBERS: usize = 1_000;
/// Those of all sets.
pub const MEMBERS_OF_ALL: usize = 65_536;

/// The metrics as edges share them. Whoever locks them neither waits nor calls anybody meanwhile.
pub type Shared = Arc<Mutex<CustomMetrics>>;

/// What sort of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CustomKind {
    /// A value of one event, such as a time or an amount.
    Value,
    /// A state that holds until the next one.
    Gauge,
    /// How many more.
    Counter,
    /// Members of a set: the figure is how many different ones there were within ten seconds.
    Set,
}

impl CustomKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Value, Self::Gauge, Self::Counter, Self::Set];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Set => "set",
        }
    }
}

impl CustomView {
    /// The figure that a threshold without a statistic means: the mean of values, the newest of a gauge or set, a
    /// counter's rate.
    pub fn figure(&self) -> Option<f64> {
        match self.kind {
            CustomKind::Value => self.mean,
            CustomKind::Gauge | CustomKind::Set => self.last,
            CustomKind::Counter => self.per_second,
        }
    }
}

/// All custom metrics as of one moment.
#[derive(Clone, Debug, Default)]
pub struct CustomSnapshot {
    at_ns: u64,
    started_ns: u64,
    /// By name and attributes.
    series: Vec<Arc<Series>>,
    dropped: u64,
}

impl CustomSnapshot {
    /// Every series of this name over a window; of all names for `None`. By name and attributes.
    pub fn views(&self, name: Option<&str>, window: Window) -> Vec<CustomView> {
        let of_name = self
            .series
            .iter()
            .filter(|series| name.is_none_or(|name| series.name() == name));
        of_name
            .map(|series| series.view(window, self.at_ns, self.started_ns))
            .collect()
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Samples that found no place so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
