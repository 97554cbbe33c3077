//! Thresholds, as they are written and read.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::WindowName;
use crate::threshold::{Comparison, Draft, Severity, Source, Threshold as Rule, duration_text};

/// A threshold to be made. `metric` and `value` must be there.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdBody {
    /// 1 to 64 letters, digits, `-`, `_` and `.`; made of what the threshold says if there is none.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub id: Option<String>,
    /// What is measured, such as `response_time_p95`.
    #[schema(value_type = String, required = true)]
    pub metric: Option<String>,
    /// Of whom: `*` (each endpoint; the default), `total`, `host`, `service:NAME`, `endpoint:ID`, `route:PATTERN`.
    pub scope: Option<String>,
    /// What is bad; `gt` by default.
    #[schema(value_type = Option<ComparisonName>)]
    pub comparison: Option<String>,
    /// The limit: milliseconds for times, 0 to 1 for ratios.
    #[schema(value_type = f64, required = true)]
    pub value: Option<f64>,
    /// Where the alert is over again; 5 % back from `value` by default.
    pub clear: Option<f64>,
    /// The window; `1m` by default.
    #[schema(value_type = Option<WindowName>)]
    pub window: Option<String>,
    /// How long it must hold, such as `30s`; `0s` by default.
    #[serde(rename = "for")]
    pub for_: Option<String>,
    /// Samples below which nothing is said.
    pub min_count: Option<u64>,
    /// How bad it is; `warning` by default.
    #[schema(value_type = Option<SeverityName>)]
    pub severity: Option<String>,
    /// What the alert says: a template with `{{ subject }}`, `{{ value }}`, `{{ limit }}`, `{{ unit }}` and others.
    pub message: Option<String>,
    /// Where to read on: an URL.
    pub runbook: Option<String>,
    /// Said when it is read; not heeded.
    #[schema(ignore)]
    source: Option<String>,
    /// Likewise.
    #[schema(ignore)]
    unit: Option<String>,
}

impl From<ThresholdBody> for Draft {
    fn from(body: ThresholdBody) -> Self {
        Self {
            id: body.id,
            metric: body.metric,
            scope: body.scope,
            comparison: body.comparison,
            value: body.value,
            clear: body.clear,
            window: body.window,
            for_: body.for_,
            min_count: body.min_count,
            severity: body.severity,
            message: body.message,
            runbook: body.runbook,
        }
    }
}

/// How a figure is held against the limit. The condition is what is bad.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComparisonName {
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

/// How bad.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeverityName {
    /// To be looked at.
    Warning,
    /// Something does not work.
    Error,
    /// At once.
    Critical,
}

impl From<Severity> for SeverityName {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Warning => Self::Warning,
            Severity::Error => Self::Error,
            Severity::Critical => Self::Critical,
        }
    }
}

/// Who made it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// It comes with the agent.
    Default,
    /// The configuration file.
    File,
    /// The API.
    Api,
}

/// A threshold.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Threshold {
    /// Its id.
    pub id: String,
    /// What is measured.
    pub metric: String,
    /// Of whom.
    pub scope: String,
    /// What is bad.
    pub comparison: ComparisonName,
    /// The limit.
    pub value: f64,
    /// Where the alert is over again.
    pub clear: f64,
    /// What the limit is measured in: `ms`, `ratio` (0 to 1) or another.
    pub unit: String,
    /// The window.
    pub window: WindowName,
    /// How long it must hold.
    #[serde(rename = "for")]
    pub for_: String,
    /// Samples below which nothing is said.
    pub min_count: u64,
    /// How bad it is.
    pub severity: SeverityName,
    /// What the alert says; null for a text of the agent's own.
    pub message: Option<String>,
    /// Where to read on.
    pub runbook: Option<String>,
    /// Who made it.
    pub source: SourceName,
}

impl From<&Rule> for Threshold {
    fn from(rule: &Rule) -> Self {
        Self {
            id: rule.id.clone(),
            metric: rule.metric.to_string(),
            scope: rule.scope.to_string(),
            comparison: match rule.comparison {
                Comparison::Gt => ComparisonName::Gt,
                Comparison::Lt => ComparisonName::Lt,
                Comparison::Gte => ComparisonName::Gte,
                Comparison::Lte => ComparisonName::Lte,
                Comparison::Eq => ComparisonName::Eq,
            },
            value: rule.value,
            clear: rule.clears_at(),
            unit: rule.metric.unit().text().to_owned(),
            window: rule.window.into(),
            for_: duration_text(rule.for_),
            min_count: rule.min_count,
            severity: rule.severity.into(),
            message: rule.message.clone(),
            runbook: rule.runbook.clone(),
            source: match rule.source {
                Source::Default => SourceName::Default,
                Source::File => SourceName::File,
                Source::Api => SourceName::Api,
            },
        }
    }
}

/// All thresholds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Thresholds {
    /// Those that come with the agent first, then those of the file, then those of the API.
    pub thresholds: Vec<Threshold>,
}
