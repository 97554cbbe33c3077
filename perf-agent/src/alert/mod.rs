//! Alerts: what becomes of thresholds that are crossed, and who is told of it.

use crate::threshold::{Severity, Subject};

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The condition holds, but not for long enough yet.
    Pending,
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
}

/// One threshold crossed by one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// 16 hexadecimal digits: the same each time this threshold is crossed by this subject.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// The threshold's.
    pub severity: Severity,
    /// The threshold.
    pub threshold_id: String,
    /// The metric's name, as in the API.
    pub metric: String,
    /// Who crossed it.
    pub subject: Subject,
    /// The newest figure; `None` if there is none any more.
    pub value: Option<f64>,
    /// What it is held against.
    pub limit: f64,
    /// Since when the condition has held, nanoseconds since 1970.
    pub since_wall_ns: u64,
    /// Since when it has been firing.
    pub fired_wall_ns: Option<u64>,
    /// When it was resolved.
    pub resolved_wall_ns: Option<u64>,
    /// What happened, in words.
    pub message: String,
    /// Where to read on.
    pub runbook: Option<String>,
    /// The silence that keeps it quiet.
    pub silenced_by: Option<String>,
    /// The worse alert of the same subject that keeps it quiet.
    pub inhibited_by: Option<String>,
}

/// Something to be told to one receiver: the state of a group of alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Which receiver, by name.
    pub receiver: String,
    /// The group: a service's name, or `host`. Newer ones of a group supersede older ones of the same receiver.
    pub group: String,
    /// When it was decided, nanoseconds since 1970.
    pub wall_ns: u64,
    /// Why now.
    pub reason: Reason,
    /// The alerts of the group that fire, worst first, and those resolved since the last notification. At most
    /// [`Notification::ALERTS`].
    pub alerts: Vec<Alert>,
    /// Alerts that are not listed.
    pub more: u64,
}

impl Notification {
    /// Alerts that one notification lists.
    pub const ALERTS: usize = 50;
}

/// Why a notification is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The group was quiet before.
    New,
    /// Alerts came or went.
    Changed,
    /// It still fires.
    Repeated,
    /// It was not resolved for so long that others are told.
    Escalated,
    /// All of the group's alerts are resolved.
    Resolved,
    /// Somebody wants to know whether it arrives.
    Test,
}
