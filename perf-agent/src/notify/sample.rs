//! Notifications that the tests of this area send.

use crate::alert::{Alert, Notification, Reason, State};
use crate::threshold::{Severity, Subject};

use super::Origin;

pub(crate) const AT_NS: u64 = 1_700_000_000_000_000_000;

pub(crate) fn origin() -> Origin {
    Origin {
        instance: "web-1".to_owned(),
        version: "1.2.3".to_owned(),
    }
}

pub(crate) fn firing_alert(n: u64) -> Alert {
    Alert {
        id: format!("{n:016x}"),
        state: State::Firing,
        severity: Severity::Critical,
        threshold_id: "slow".to_owned(),
        metric: "response_time_p95".to_owned(),
        subject: Subject {
            key: format!("endpoint:{n}"),
            name: "GET /users/{id} of shop:8080".to_owned(),
            service: Some("shop".to_owned()),
            endpoint: Some(n.to_string()),
        },
        value: Some(312.0),
        limit: 200.0,
        since_wall_ns: AT_NS - 1_000_000_000,
        fired_wall_ns: Some(AT_NS),
        resolved_wall_ns: None,
        message: "p95 is 312 ms, more than 200 ms".to_owned(),
        runbook: Some("https://wiki/slow".to_owned()),
        silenced_by: None,
        inhibited_by: None,
    }
}

pub(crate) fn resolved_alert(n: u64) -> Alert {
    Alert {
        state: State::Resolved,
        resolved_wall_ns: Some(AT_NS + 60_000_000_000),
        ..firing_alert(n)
    }
}

pub(crate) fn firing(receiver: &str, group: &str, n: u64) -> Notification {
    Notification {
        receiver: receiver.to_owned(),
        group: group.to_owned(),
        wall_ns: AT_NS,
        reason: Reason::New,
        alerts: vec![firing_alert(n)],
        more: 0,
    }
}

pub(crate) fn resolved(receiver: &str, group: &str, n: u64) -> Notification {
    Notification {
        wall_ns: AT_NS + 60_000_000_000,
        reason: Reason::Resolved,
        alerts: vec![resolved_alert(n)],
        ..firing(receiver, group, n)
    }
}
