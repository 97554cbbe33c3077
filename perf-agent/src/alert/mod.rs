//! Alerts: what becomes of thresholds that are crossed, and who is told of it.
//!
//! The [`Engine`] is told the figures of every evaluation and the time. It keeps one [`Alert`] of each threshold and subject
//! ([`state`]), hides those that somebody silenced ([`silence`]) or that a worse one explains ([`inhibit`]), and decides
//! which receiver is to be told of which group of them, and when ([`group`]). It sends nothing itself.

mod engine;
pub mod group;
mod inhibit;
pub mod silence;
pub mod state;

pub use engine::{Engine, Outcome, Settings};
pub use group::{GroupState, Told};
pub use silence::{Silence, SilenceDraft, Silences};

use crate::endpoint::Fnv;
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

impl State {
    /// In the order of an alert's life.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Firing, Self::Resolved];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// The state of a word of the API.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
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

impl Alert {
    /// The id of a threshold's alert of a subject.
    pub fn id_of(threshold: &str, subject: &str) -> String {
        let mut hash = Fnv::new();
        hash.text(threshold);
        hash.text(subject);
        format!("{:016x}", hash.0)
    }

    /// Does it fire, and is nothing hiding it?
    pub fn is_to_be_told(&self) -> bool {
        self.state == State::Firing && !self.is_hidden()
    }

    /// Is it silenced or inhibited?
    pub fn is_hidden(&self) -> bool {
        self.silenced_by.is_some() || self.inhibited_by.is_some()
    }
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
    /// [`Notification::ALERTS`]; for a receiver that lists all, [`Notification::ALL`].
    pub alerts: Vec<Alert>,
    /// Alerts that are not listed.
    pub more: u64,
}

impl Notification {
    /// Alerts that one notification lists.
    pub const ALERTS: usize = 50;
    /// Those of one to a receiver that is to know of all.
    pub const ALL: usize = 2_000;

    /// One that shows whether a receiver can be reached.
    pub fn test(receiver: &str, wall_ns: u64) -> Self {
        let subject = Subject::host();
        let alert = Alert {
            id: Alert::id_of("test", &subject.key),
            state: State::Firing,
            severity: Severity::Warning,
            threshold_id: "test".to_owned(),
            metric: "test".to_owned(),
            subject,
            value: None,
            limit: 0.0,
            since_wall_ns: wall_ns,
            fired_wall_ns: Some(wall_ns),
            resolved_wall_ns: None,
            message: "this is a test: nothing is wrong".to_owned(),
            runbook: None,
            silenced_by: None,
            inhibited_by: None,
        };
        Self {
            receiver: receiver.to_owned(),
            group: "test".to_owned(),
            wall_ns,
            reason: Reason::Test,
            alerts: vec![alert],
            more: 0,
        }
    }
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

impl Reason {
    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Repeated => "repeated",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

#[cfg(test)]
mod tests;
