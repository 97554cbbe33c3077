//! How a waiting notification is written to disk: JSON with a version, within [`Bounds`].

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Notification, Reason, State};
use crate::notify::text::clip;
use crate::threshold::{Severity, Subject};

/// What is kept at most for a receiver, on disk and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Alerts of one notification.
    pub alerts: usize,
    /// Bytes of one.
    pub bytes: usize,
    /// Bytes of all that wait; then the oldest is dropped and counted.
    pub waiting_bytes: usize,
}

impl Bounds {
    /// For who reads the first of them.
    pub const LISTED: Self = Self {
        alerts: Notification::ALERTS,
        bytes: 64 * 1024,
        waiting_bytes: 4 * 1024 * 1024,
    };
    /// For who is to have all. Alerts have some 700 bytes each, and there are 10,000 at most.
    pub const ALL: Self = Self {
        alerts: Notification::ALL,
        bytes: 2 * 1024 * 1024,
        waiting_bytes: 16 * 1024 * 1024,
    };
}

impl Default for Bounds {
    fn default() -> Self {
        Self::LISTED
    }
}

/// Longest text in it, bytes; of one that is too large, [`SHORT`].
const TEXT: usize = 4 * 1024;
const SHORT: usize = 256;
const VERSION: u32 = 1;

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    receiver: String,
    group: String,
    wall_ns: u64,
    reason: ReasonName,
    alerts: Vec<StoredAlert>,
    more: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredAlert {
    id: String,
    state: StateName,
    severity: SeverityName,
    threshold_id: String,
    metric: String,
    subject_key: String,
    subject_name: String,
    service: Option<String>,
    endpoint: Option<String>,
    value: Option<f64>,
    limit: Option<f64>,
    since_wall_ns: u64,
    fired_wall_ns: Option<u64>,
    resolved_wall_ns: Option<u64>,
    message: String,
    runbook: Option<String>,
    silenced_by: Option<String>,
    inhibited_by: Option<String>,
}

/// An enumeration of the core under names of its own.
macro_rules! names {
    ($name:ident of $core:ident: $($variant:ident),+) => {
        #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum $name { $($variant),+ }
        impl From<$core> for $name {
            fn from(core: $core) -> Self {
                match core { $($core::$variant => Self::$variant),+ }
            }
        }
        impl From<$name> for $core {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

names!(ReasonName of Reason: New, Changed, Repeated, Escalated, Resolved, Test);
names!(StateName of State: Pending, Firing, Resolved);
names!(SeverityName of Severity: Warning, Error, Critical);

/// As bytes.
pub(super) fn encode(notification: &Notification) -> Vec<u8> {
    let stored = Stored {
        version: VERSION,
        receiver: notification.receiver.clone(),
        group: notification.group.clone(),
        wall_ns: notification.wall_ns,
        reason: notification.reason.into(),
        alerts: notification.alerts.iter().map(StoredAlert::from).collect(),
        more: notification.more,
    };
    serde_json::to_vec(&stored).expect("texts and numbers can be written as JSON")
}

/// From bytes; `None` if they are of another version or none of ours.
pub(super) fn decode(bytes: &[u8]) -> Option<Notification> {
    if bytes.len() > Bounds::ALL.bytes {
        return None;
    }
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    (stored.version == VERSION && stored.alerts.len() <= Bounds::ALL.alerts).then(|| Notification {
        receiver: stored.receiver,
        group: stored.group,
        wall_ns: stored.wall_ns,
        reason: stored.reason.into(),
        alerts: stored.alerts.into_iter().map(Alert::from).collect(),
        more: stored.more,
    })
}

/// The notification within bounds, and how many bytes it takes. Texts are cut, then the least of the alerts are only
/// counted.
pub(super) fn fit(mut notification: Notification, bounds: Bounds) -> (Notification, usize) {
    leave(&mut notification, bounds.alerts);
    cut(&mut notification, TEXT);
    let mut bytes = encode(&notification).len();
    if bytes > bounds.bytes {
        cut(&mut notification, SHORT);
        bytes = encode(&notification).len();
    }
    if bytes > bounds.bytes {
        let sizes = notification.alerts.iter().map(alert_bytes);
        let all: usize = sizes.clone().sum();
        // The count of those that are not listed has 20 digits at most.
        let mut room = bounds.bytes.saturating_sub(bytes - all + 20);
        let fits = |size: &usize| {
            let left = room.checked_sub(*size);
            room = left.unwrap_or_default();
            left.is_some()
        };
        let most = sizes.take_while(fits).count();
        leave(&mut notification, most);
        bytes = encode(&notification).len();
    }
    (notification, bytes)
}

/// The least are only counted.
fn leave(notification: &mut Notification, most: usize) {
    let over = notification.alerts.len().saturating_sub(most);
    notification.alerts.truncate(most);
    notification.more += over as u64;
}

/// Bytes of one of several alerts.
fn alert_bytes(alert: &Alert) -> usize {
    let json = serde_json::to_vec(&StoredAlert::from(alert));
    json.expect("texts and numbers can be written as JSON").len() + 1
}

fn cut(notification: &mut Notification, longest: usize) {
    let shorten = |text: &mut String| {
        if text.len() > longest {
            *text = clip(text, longest);
        }
    };
    shorten(&mut notification.group);
    for alert in &mut notification.alerts {
        shorten(&mut alert.id);
        shorten(&mut alert.threshold_id);
        shorten(&mut alert.metric);
        shorten(&mut alert.subject.key);
        shorten(&mut alert.subject.name);
        shorten(&mut alert.message);
        let optional = [
            &mut alert.subject.service,
            &mut alert.subject.endpoint,
            &mut alert.runbook,
            &mut alert.silenced_by,
            &mut alert.inhibited_by,
        ];
        optional.into_iter().flatten().for_each(shorten);
    }
}

impl From<&Alert> for StoredAlert {
    fn from(alert: &Alert) -> Self {
        let alert = alert.clone();
        Self {
            id: alert.id,
            state: alert.state.into(),
            severity: alert.severity.into(),
            threshold_id: alert.threshold_id,
            metric: alert.metric,
            subject_key: alert.subject.key,
            subject_name: alert.subject.name,
            service: alert.subject.service,
            endpoint: alert.subject.endpoint,
            // JSON has no infinity; it would be read back as null.
            value: alert.value.filter(|value| value.is_finite()),
            limit: Some(alert.limit).filter(|limit| limit.is_finite()),
            since_wall_ns: alert.since_wall_ns,
            fired_wall_ns: alert.fired_wall_ns,
            resolved_wall_ns: alert.resolved_wall_ns,
            message: alert.message,
            runbook: alert.runbook,
            silenced_by: alert.silenced_by,
            inhibited_by: alert.inhibited_by,
        }
    }
}

impl From<StoredAlert> for Alert {
    fn from(stored: StoredAlert) -> Self {
        Self {
            id: stored.id,
            state: stored.state.into(),
            severity: stored.severity.into(),
            threshold_id: stored.threshold_id,
            metric: stored.metric,
            subject: Subject {
                key: stored.subject_key,
                name: stored.subject_name,
                service: stored.service,
                endpoint: stored.endpoint,
            },
            value: stored.value,
            limit: stored.limit.unwrap_or(f64::NAN),
            since_wall_ns: stored.since_wall_ns,
            fired_wall_ns: stored.fired_wall_ns,
            resolved_wall_ns: stored.resolved_wall_ns,
            message: stored.message,
            runbook: stored.runbook,
            silenced_by: stored.silenced_by,
            inhibited_by: stored.inhibited_by,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sample;

    #[test]
    fn what_is_written_is_read() {
        for notification in [sample::firing("a", "b", 1), sample::resolved("a", "b", 2)] {
            assert_eq!(decode(&encode(&notification)), Some(notification));
        }
    }

    #[test]
    fn another_version_and_garbage_are_not_read() {
        let text = String::from_utf8(encode(&sample::firing("a", "b", 1))).unwrap();
        assert_eq!(decode(text.replace("\"version\":1", "\"version\":2").as_bytes()), None);
        assert_eq!(decode(&text.as_bytes()[..text.len() - 1]), None);
        assert_eq!(decode(b""), None);
    }

    #[test]
    fn a_large_notification_is_cut_and_counts_what_it_does_not_list() {
        let mut large = sample::firing("a", "b", 1);
        large.alerts = (0..60).map(sample::firing_alert).collect();
        large.more = 1;
        for alert in &mut large.alerts {
            // Six bytes each in JSON.
            alert.message = "\u{1}".repeat(100_000);
            alert.subject.name = "\u{1}".repeat(100_000);
        }
        let (all, bytes) = fit(large.clone(), Bounds::ALL);
        assert_eq!((all.alerts.len(), all.more, bytes), (60, 1, encode(&all).len()));
        let (fitted, bytes) = fit(large, Bounds::LISTED);
        assert!(
            bytes <= Bounds::LISTED.bytes && bytes == encode(&fitted).len(),
            "{bytes}"
        );
        assert!(fitted.alerts.len() > 10, "{}", fitted.alerts.len());
        assert_eq!(fitted.alerts.len() as u64 + fitted.more, 61);
        assert_eq!(decode(&encode(&fitted)), Some(fitted));
    }
}
