//! Alerts and silences.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::threshold::SeverityName;
use super::{rounded, timestamp};
use crate::alert::{Alert as Known, Silence as KnownSilence, State};
use crate::threshold::Severity;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// The condition holds, but not for long enough yet.
    Pending,
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
}

/// One threshold crossed by one subject.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Alert {
    /// The same each time this threshold is crossed by this subject.
    pub id: String,
    /// Where it stands.
    pub state: StateName,
    /// How bad it is.
    pub severity: SeverityName,
    /// The threshold.
    pub threshold_id: String,
    /// What is measured.
    pub metric: String,
    /// Who crossed it, as people read it.
    pub subject: String,
    /// The same for programs: `endpoint:ID`, `service:NAME`, `host`, `total`, `agent` or another.
    pub subject_id: String,
    /// Name of the service that it belongs to; null if it belongs to none.
    pub service: Option<String>,
    /// The endpoint's id; null if it is none.
    pub endpoint_id: Option<String>,
    /// The newest figure; null if there is none any more.
    pub value: Option<f64>,
    /// What it is held against.
    pub limit: f64,
    /// Since when the condition has held.
    #[schema(format = DateTime)]
    pub since: String,
    /// Since when it has been firing; null if it is pending.
    #[schema(format = DateTime)]
    pub fired_at: Option<String>,
    /// When it was resolved; null if it is not.
    #[schema(format = DateTime)]
    pub resolved_at: Option<String>,
    /// What happened.
    pub message: String,
    /// Where to read on.
    pub runbook: Option<String>,
    /// The silence that keeps it quiet.
    pub silenced_by: Option<String>,
    /// The worse alert of the same subject that keeps it quiet.
    pub inhibited_by: Option<String>,
}

impl From<&Known> for Alert {
    fn from(alert: &Known) -> Self {
        Self {
            id: alert.id.clone(),
            state: match alert.state {
                State::Pending => StateName::Pending,
                State::Firing => StateName::Firing,
                State::Resolved => StateName::Resolved,
            },
            severity: alert.severity.into(),
            threshold_id: alert.threshold_id.clone(),
            metric: alert.metric.clone(),
            subject: alert.subject.name.clone(),
            subject_id: alert.subject.key.clone(),
            service: alert.subject.service.clone(),
            endpoint_id: alert.subject.endpoint.clone(),
            value: alert.value.map(rounded),
            limit: alert.limit,
            since: timestamp(alert.since_wall_ns),
            fired_at: alert.fired_wall_ns.map(timestamp),
            resolved_at: alert.resolved_wall_ns.map(timestamp),
            message: alert.message.clone(),
            runbook: alert.runbook.clone(),
            silenced_by: alert.silenced_by.clone(),
            inhibited_by: alert.inhibited_by.clone(),
        }
    }
}

/// Alerts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Alerts {
    /// Those that fire first, worst first; then those that are pending; then resolved ones, newest first.
    pub alerts: Vec<Alert>,
    /// Conditions that hold and of which there is no alert, since there are too many.
    pub beyond: u64,
}

/// How many fire.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertCounts {
    /// Firing now.
    pub active: u64,
    /// Of them, per severity.
    pub by_severity: BTreeMap<String, u64>,
}

impl AlertCounts {
    /// Of these alerts.
    pub fn of(alerts: &[Known]) -> Self {
        let mut by_severity: BTreeMap<String, u64> =
            Severity::ALL.map(|severity| (severity.name().to_owned(), 0)).into();
        let firing = alerts.iter().filter(|alert| alert.state == State::Firing);
        for alert in firing.clone() {
            *by_severity.entry(alert.severity.name().to_owned()).or_default() += 1;
        }
        Self {
            active: firing.count() as u64,
            by_severity,
        }
    }
}

/// What of an alert a silence looks at.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// `severity`, `service`, `subject`, `threshold` or `metric`.
    pub field: String,
    /// What it must be; `*` stands for anything.
    pub value: String,
}

/// A silence to be made. `matchers` and either `ends_at` or `duration` must be there.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceBody {
    /// All of them must be met.
    pub matchers: Vec<Matcher>,
    /// When it begins; now by default.
    #[schema(format = DateTime)]
    pub starts_at: Option<String>,
    /// When it is over.
    #[schema(format = DateTime)]
    pub ends_at: Option<String>,
    /// Or how long it lasts, such as `2h`.
    pub duration: Option<String>,
    /// Who makes it.
    pub created_by: Option<String>,
    /// Why.
    pub comment: Option<String>,
}

/// A silence.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// All of them must be met.
    pub matchers: Vec<Matcher>,
    /// When it begins.
    #[schema(format = DateTime)]
    pub starts_at: String,
    /// When it is over.
    #[schema(format = DateTime)]
    pub ends_at: String,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

impl From<&KnownSilence> for Silence {
    fn from(silence: &KnownSilence) -> Self {
        let matchers = silence.matchers.iter().map(|matcher| Matcher {
            field: matcher.field.name().to_owned(),
            value: matcher.value.clone(),
        });
        Self {
            id: silence.id.clone(),
            matchers: matchers.collect(),
            starts_at: timestamp(silence.starts_wall_ns),
            ends_at: timestamp(silence.ends_wall_ns),
            created_by: silence.created_by.clone(),
            comment: silence.comment.clone(),
        }
    }
}

/// All silences.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Silences {
    /// The one that ends last first; for a day after their end.
    pub silences: Vec<Silence>,
}
