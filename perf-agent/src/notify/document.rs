//! A notification as JSON: what the webhook posts and what a command reads.
//!
//! ```json
//! {"version": 1,
//!  "agent": {"name": "perf-agent", "version": "0.1.0", "instance": "web-1"},
//!  "receiver": "team", "group": "shop", "reason": "new", "status": "firing", "severity": "critical",
//!  "at": "2026-01-31T12:00:00.000Z", "summary": "[CRITICAL] shop on web-1: p95 is 312 ms",
//!  "alerts": [
//!    {"id": "00000000000000ff", "state": "firing", "severity": "critical", "threshold_id": "slow",
//!     "metric": "response_time_p95", "subject": "endpoint:1", "subject_name": "GET /users/{id} of shop:8080",
//!     "service": "shop", "endpoint": "1", "value": 312.0, "limit": 200.0,
//!     "since": "2026-01-31T11:59:00.000Z", "fired_at": "2026-01-31T12:00:00.000Z", "resolved_at": null,
//!     "message": "p95 is 312 ms", "runbook": null, "silenced_by": null, "inhibited_by": null}],
//!  "more": 0}
//! ```
//!
//! `reason` is `new`, `changed`, `repeated`, `escalated`, `resolved` or `test`; `status` is `firing`, `resolved` or
//! `test`; `severity` is the worst of those that fire, null if none does; a severity is `warning`, `error` or
//! `critical`; `state` is `pending`, `firing` or `resolved`. `more` counts alerts that are not listed. What is not known
//! is null. A notification may arrive twice; `receiver`, `group` and `at` together name it. Fields are only ever added
//! within a version.

use serde::Serialize;

use crate::alert::{Alert, Notification};

use super::{Origin, text};

/// The document's version.
pub const VERSION: u32 = 1;

/// A notification.
#[derive(Clone, Debug, Serialize)]
pub struct Document<'a> {
    version: u32,
    agent: Agent<'a>,
    receiver: &'a str,
    group: &'a str,
    reason: &'static str,
    status: &'static str,
    severity: Option<&'static str>,
    at: String,
    summary: String,
    alerts: Vec<AlertDocument<'a>>,
    more: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Agent<'a> {
    name: &'static str,
    version: &'a str,
    instance: &'a str,
}

#[derive(Clone, Debug, Serialize)]
struct AlertDocument<'a> {
    id: &'a str,
    state: &'static str,
    severity: &'static str,
    threshold_id: &'a str,
    metric: &'a str,
    subject: &'a str,
    subject_name: &'a str,
    service: Option<&'a str>,
    endpoint: Option<&'a str>,
    value: Option<f64>,
    limit: f64,
    since: String,
    fired_at: Option<String>,
    resolved_at: Option<String>,
    message: &'a str,
    runbook: Option<&'a str>,
    silenced_by: Option<&'a str>,
    inhibited_by: Option<&'a str>,
}

impl<'a> Document<'a> {
    /// Of a notification.
    pub fn new(notification: &'a Notification, origin: &'a Origin) -> Self {
        Self {
            version: VERSION,
            agent: Agent {
                name: "perf-agent",
                version: &origin.version,
                instance: &origin.instance,
            },
            receiver: &notification.receiver,
            group: &notification.group,
            reason: text::reason(notification.reason),
            status: text::Status::of(notification).name(),
            severity: text::worst(notification).map(text::severity),
            at: text::moment(notification.wall_ns),
            summary: text::headline(notification, origin),
            alerts: notification.alerts.iter().map(AlertDocument::from).collect(),
            more: notification.more,
        }
    }

    /// As bytes.
    ///
    /// # Panics
    /// Never: texts and numbers can be written as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written as JSON")
    }
}

impl<'a> From<&'a Alert> for AlertDocument<'a> {
    fn from(alert: &'a Alert) -> Self {
        Self {
            id: &alert.id,
            state: text::state(alert.state),
            severity: text::severity(alert.severity),
            threshold_id: &alert.threshold_id,
            metric: &alert.metric,
            subject: &alert.subject.key,
            subject_name: &alert.subject.name,
            service: alert.subject.service.as_deref(),
            endpoint: alert.subject.endpoint.as_deref(),
            value: alert.value,
            limit: alert.limit,
            since: text::moment(alert.since_wall_ns),
            fired_at: alert.fired_wall_ns.map(text::moment),
            resolved_at: alert.resolved_wall_ns.map(text::moment),
            message: &alert.message,
            runbook: alert.runbook.as_deref(),
            silenced_by: alert.silenced_by.as_deref(),
            inhibited_by: alert.inhibited_by.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::sample;
    use super::*;

    #[test]
    fn every_field_has_its_name() {
        let (notification, origin) = (sample::firing("team", "shop", 255), sample::origin());
        let document: Value = serde_json::from_slice(&Document::new(&notification, &origin).to_json()).unwrap();
        assert_eq!(
            document,
            json!({
                "version": 1,
                "agent": {"name": "perf-agent", "version": "1.2.3", "instance": "web-1"},
                "receiver": "team", "group": "shop", "reason": "new", "status": "firing", "severity": "critical",
                "at": "2023-11-14T22:13:20.000Z",
                "summary": "[CRITICAL] shop on web-1: p95 is 312 ms, more than 200 ms",
                "alerts": [{
                    "id": "00000000000000ff", "state": "firing", "severity": "critical", "threshold_id": "slow",
                    "metric": "response_time_p95", "subject": "endpoint:255",
                    "subject_name": "GET /users/{id} of shop:8080", "service": "shop", "endpoint": "255",
                    "value": 312.0, "limit": 200.0, "since": "2023-11-14T22:13:19.000Z",
                    "fired_at": "2023-11-14T22:13:20.000Z", "resolved_at": null,
                    "message": "p95 is 312 ms, more than 200 ms", "runbook": "https://wiki/slow",
                    "silenced_by": null, "inhibited_by": null,
                }],
                "more": 0,
            })
        );
    }
}
