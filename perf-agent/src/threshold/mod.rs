//! Thresholds: what the operator wants to be told of.
//!
//! A threshold holds a [`Metric`] of everything in its [`Scope`] against a limit; each subject in scope is held against it
//! for itself. [`Draft`] makes one of what somebody wrote, and says what is wrong with it; [`defaults`] are there from the
//! start; the [`Evaluator`] measures. What becomes of a threshold that is crossed is the matter of [`crate::alert`].

mod check;
pub mod defaults;
mod measure;
mod message;
mod metric;
mod pattern;
#[cfg(test)]
pub(crate) mod scene;
mod scope;
mod subject;
mod sum;

use std::time::Duration;

pub use check::{Draft, Fault};
pub use measure::{Evaluator, Observed, Reading};
pub(crate) use message::message;
pub use message::{Facts, Template, describe, duration_text, figure};
pub use metric::{CustomStatistic, Metric, Of, Statistic, Stretch, Unit};
pub use pattern::matches;
pub use scope::Scope;
pub use subject::Subject;

use crate::aggregate::Window;

/// Thresholds that there may be at once; who keeps them refuses more.
pub const THRESHOLDS: usize = 1_000;

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
    /// Where it is over again; `None`: see [`Threshold::clears_at`].
    pub clear: Option<f64>,
    /// Over which window. The usage of processors and memory has none: it is the newest reading.
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

impl Threshold {
    /// Is this figure bad?
    pub fn is_crossed(&self, value: f64) -> bool {
        self.comparison.holds(value, self.value)
    }

    /// The figure at which an alert may end: `clear`, or 5 % of the limit back from it, so that a figure that swings around
    /// the limit does not make an alert begin and end all the time. Never a ratio above 1, which nothing could reach.
    pub fn clears_at(&self) -> f64 {
        let margin = self.value.abs() * 0.05;
        let clear = self.clear.unwrap_or(match self.comparison {
            Comparison::Gt | Comparison::Gte => self.value - margin,
            Comparison::Lt | Comparison::Lte => self.value + margin,
            Comparison::Eq => self.value,
        });
        if self.metric.unit() == Unit::Ratio {
            clear.min(1.0)
        } else {
            clear
        }
    }

    /// Is this figure so good that an alert may end?
    pub fn is_cleared(&self, value: f64) -> bool {
        let past = match self.comparison {
            Comparison::Gt | Comparison::Gte => value <= self.clears_at(),
            Comparison::Lt | Comparison::Lte => value >= self.clears_at(),
            Comparison::Eq => true,
        };
        past && !self.is_crossed(value)
    }

    /// Does it say the same of the same as another one, whatever its texts and whoever made it?
    pub fn judges_like(&self, other: &Self) -> bool {
        let Self {
            id: _,
            metric,
            scope,
            comparison,
            value,
            clear,
            window,
            for_,
            min_count,
            severity,
            message: _,
            runbook: _,
            source: _,
        } = self;
        *metric == other.metric
            && *scope == other.scope
            && *comparison == other.comparison
            && value.total_cmp(&other.value).is_eq()
            && *clear == other.clear
            && *window == other.window
            && *for_ == other.for_
            && *min_count == other.min_count
            && *severity == other.severity
    }
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

impl Severity {
    /// Mildest first.
    pub const ALL: [Self; 3] = [Self::Warning, Self::Error, Self::Critical];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// The severity of a word of the API.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
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

impl Comparison {
    /// In the order of the API.
    pub const ALL: [Self; 5] = [Self::Gt, Self::Lt, Self::Gte, Self::Lte, Self::Eq];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gt => "gt",
            Self::Lt => "lt",
            Self::Gte => "gte",
            Self::Lte => "lte",
            Self::Eq => "eq",
        }
    }

    /// The comparison of a word of the API.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|comparison| comparison.name() == name)
    }

    /// Does a figure stand so to the limit?
    #[expect(clippy::float_cmp, reason = "equal is what was asked for")]
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Gt => value > limit,
            Self::Lt => value < limit,
            Self::Gte => value >= limit,
            Self::Lte => value <= limit,
            Self::Eq => value == limit,
        }
    }
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

impl Source {
    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(comparison: &str, value: f64, clear: Option<f64>, metric: &str) -> Threshold {
        let draft = Draft {
            metric: Some(metric.to_owned()),
            comparison: Some(comparison.to_owned()),
            value: Some(value),
            clear,
            ..Draft::default()
        };
        draft.check(Source::Api).unwrap()
    }

    #[test]
    fn an_alert_ends_where_the_figure_is_back_by_a_margin() {
        for (comparison, value, clear, expected) in [
            ("gt", 500.0, None, 475.0),
            ("gte", 500.0, None, 475.0),
            ("lt", 500.0, None, 525.0),
            ("gt", 500.0, Some(300.0), 300.0),
            ("gt", 0.0, None, 0.0),
            ("eq", 7.0, None, 7.0),
        ] {
            let threshold = threshold(comparison, value, clear, "response_time_mean");
            assert_eq!(Some(threshold.clears_at()), Some(expected), "{comparison} {value}");
            assert!(
                !threshold.is_cleared(value) || comparison == "gt",
                "{comparison} {value}"
            );
        }
        let above = threshold("gt", 500.0, None, "response_time_mean");
        assert_eq!(
            [474.0, 475.0, 476.0].map(|value| above.is_cleared(value)),
            [true, true, false]
        );
        let zero = threshold("gte", 0.0, None, "throughput");
        assert!(!zero.is_cleared(0.0), "what is crossed is not cleared");
    }

    #[test]
    fn a_ratio_clears_at_one_at_the_latest() {
        let rate = threshold("lt", 0.98, None, "cache_hit_rate");
        assert_eq!((rate.clears_at(), rate.is_cleared(1.0)), (1.0, true));
    }

    #[test]
    fn words_of_the_api_are_read_back() {
        for severity in Severity::ALL {
            assert_eq!(Severity::from_name(severity.name()), Some(severity));
        }
        for comparison in Comparison::ALL {
            assert_eq!(Comparison::from_name(comparison.name()), Some(comparison));
        }
        assert_eq!((Severity::from_name("Error"), Comparison::from_name(">")), (None, None));
    }
}
