//! Prometheus's Alertmanager, by its API v2: `POST /api/v2/alerts`.
//!
//! Alertmanager keeps an alert for as long as its sender says so. What fires is sent with an end that lies ahead and sent
//! again every minute ([`Firing`] remembers it); if the agent dies, its alerts end by themselves. What is resolved is
//! sent with the end it had; what is silenced or inhibited here is not sent any more, and ends by itself, too. Alerts are
//! told apart by their labels, so these do not change while an alert lives.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::alert::state::ACTIVE;
use crate::alert::{Alert, Notification, Reason, State};

use super::failure::{Failure, Fault};
use super::{Clock, Origin, http, text};

/// How far ahead the end of what fires lies.
pub const AHEAD: Duration = Duration::from_mins(5);
/// How often it is sent again.
pub const AGAIN: Duration = Duration::from_mins(1);
/// How long a test alert lives.
const TEST: Duration = Duration::from_mins(1);
/// Alerts of one request.
const BATCH: usize = 200;
const PATH: &str = "/api/v2/alerts";

/// A receiver that is an Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    pub(super) server: http::Server,
    labels: BTreeMap<String, String>,
}

/// What is configured of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The server: its address without `/api/v2/alerts`.
    pub http: http::Settings,
    /// Labels that every alert gets, such as a cluster's name.
    pub labels: BTreeMap<String, String>,
}

impl Alertmanager {
    /// From its settings.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let server = http::Server::new(&settings.http)?;
        for name in settings.labels.keys() {
            let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let problem = format!("{name:?} is no label: letters, digits and _, no digit first");
                return Err(Fault::new("labels", problem));
            }
        }
        Ok(Self {
            server,
            labels: settings.labels.clone(),
        })
    }

    pub(super) async fn deliver(
        &self,
        told: &Notification,
        origin: &Origin,
        clock: Clock,
        firing: &mut Firing,
    ) -> Result<(), Failure> {
        let ahead = if told.reason == Reason::Test { TEST } else { AHEAD };
        self.post(told.alerts.iter(), origin, clock, ahead).await?;
        firing.learn(told);
        Ok(())
    }

    /// Sends again what fires.
    pub(super) async fn again(&self, origin: &Origin, clock: Clock, firing: &Firing) -> Result<(), Failure> {
        self.post(firing.alerts(), origin, clock, AHEAD).await
    }

    async fn post<'a>(
        &self,
        alerts: impl Iterator<Item = &'a Alert>,
        origin: &Origin,
        clock: Clock,
        ahead: Duration,
    ) -> Result<(), Failure> {
        let wall_ns = (clock.wall_ns)();
        let posted: Vec<_> = alerts
            .map(|alert| PostedAlert::new(alert, origin, &self.labels, wall_ns, ahead))
            .collect();
        for batch in posted.chunks(BATCH) {
            let json = serde_json::to_vec(batch).expect("texts can be written as JSON");
            self.server.post(Some(PATH), json, wall_ns).await?;
        }
        Ok(())
    }
}

/// What an Alertmanager was told to be firing, by group: at most as many alerts as there can be.
#[derive(Debug, Default)]
pub struct Firing(BTreeMap<String, Vec<Alert>>);

impl Firing {
    /// What a notification that has arrived changes.
    fn learn(&mut self, told: &Notification) {
        if told.reason == Reason::Test {
            return;
        }
        let fires = told.alerts.iter().filter(|alert| alert.state == State::Firing);
        self.0.remove(&told.group);
        let room = ACTIVE.saturating_sub(self.alerts().count());
        let fires: Vec<_> = fires.take(room).cloned().collect();
        if !fires.is_empty() {
            self.0.insert(told.group.clone(), fires);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.0.values().flatten()
    }
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostedAlert<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
}

impl<'a> PostedAlert<'a> {
    fn new(
        alert: &'a Alert,
        origin: &'a Origin,
        more: &'a BTreeMap<String, String>,
        wall_ns: u64,
        ahead: Duration,
    ) -> Self {
        let mut labels: BTreeMap<&str, &str> = more.iter().map(|(name, value)| (&**name, &**value)).collect();
        labels.extend([
            ("alertname", &*alert.threshold_id),
            ("threshold", &*alert.threshold_id),
            ("severity", text::severity(alert.severity)),
            ("metric", &*alert.metric),
            ("subject", &*alert.subject.key),
            ("instance", &*origin.instance),
        ]);
        if let Some(service) = &alert.subject.service {
            labels.insert("service", service);
        }
        // An empty label is none to Alertmanager.
        labels.retain(|_, value| !value.is_empty());
        let mut annotations = BTreeMap::from([
            ("summary", text::line(&alert.message, 4_096)),
            ("description", text::alert(alert)),
        ]);
        if let Some(runbook) = &alert.runbook {
            annotations.insert("runbook_url", text::line(runbook, 4_096));
        }
        let start_ns = alert.fired_wall_ns.unwrap_or(alert.since_wall_ns);
        let end_ns = if alert.state == State::Resolved {
            alert.resolved_wall_ns.unwrap_or(wall_ns)
        } else {
            wall_ns.saturating_add(u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX))
        };
        Self {
            labels,
            annotations,
            starts_at: text::moment(start_ns),
            // It refuses an end before the start, and a clock may have been set back.
            ends_at: text::moment(end_ns.max(start_ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sample;
    use super::*;

    #[test]
    fn what_fires_ends_ahead_and_what_is_resolved_at_its_end() {
        let (origin, none) = (sample::origin(), BTreeMap::new());
        let now = sample::AT_NS + 600_000_000_000;
        let (firing, over) = (sample::firing_alert(1), sample::resolved_alert(1));
        let posted = serde_json::to_value(PostedAlert::new(&firing, &origin, &none, now, AHEAD)).unwrap();
        let expected = json!({
            "labels": {
                "alertname": "slow", "threshold": "slow", "severity": "critical", "metric": "response_time_p95",
                "subject": "endpoint:1", "service": "shop", "instance": "web-1",
            },
            "annotations": {
                "summary": "p95 is 312 ms, more than 200 ms",
                "description": "CRITICAL GET /users/{id} of shop:8080: p95 is 312 ms, more than 200 ms, since 2023-11-14T22:13:20.000Z",
                "runbook_url": "https://wiki/slow",
            },
            "startsAt": "2023-11-14T22:13:20.000Z",
            "endsAt": "2023-11-14T22:28:20.000Z",
        });
        assert_eq!(posted, expected);
        let over = PostedAlert::new(&over, &origin, &none, now, AHEAD);
        assert_eq!(over.ends_at, "2023-11-14T22:14:20.000Z");
        let labels = PostedAlert::new(&firing, &origin, &none, now, AHEAD).labels;
        assert_eq!(over.labels, labels, "it is the same alert to Alertmanager");
    }

    #[test]
    fn an_end_is_never_before_the_start() {
        let (origin, none) = (sample::origin(), BTreeMap::new());
        let mut over = sample::resolved_alert(1);
        over.resolved_wall_ns = Some(1);
        let posted = PostedAlert::new(&over, &origin, &none, sample::AT_NS, AHEAD);
        assert_eq!(posted.ends_at, posted.starts_at);
    }

    #[test]
    fn what_fires_is_remembered_until_it_is_resolved() {
        let mut firing = Firing::default();
        firing.learn(&sample::firing("am", "shop", 1));
        firing.learn(&sample::firing("am", "host", 2));
        let ids = |firing: &Firing| firing.alerts().map(|alert| alert.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&firing), [format!("{:016x}", 2), format!("{:016x}", 1)]);
        firing.learn(&sample::resolved("am", "host", 2));
        assert_eq!(ids(&firing), [format!("{:016x}", 1)]);
        for n in 0..6 {
            let mut large = sample::firing("am", &format!("service-{n}"), n);
            large.alerts = (0..2_000).map(sample::firing_alert).collect();
            firing.learn(&large);
        }
        assert_eq!(ids(&firing).len(), ACTIVE);
        // What is hidden is not listed, and so not sent again.
        let mut hidden = sample::firing("am", "shop", 1);
        hidden.alerts.clear();
        firing.learn(&hidden);
        assert_eq!(ids(&firing).len(), ACTIVE - 1);
    }

    #[test]
    fn a_label_has_a_name() {
        let mut settings = Settings {
            http: http::Settings {
                url: Some("http://localhost:9093".into()),
                ..http::Settings::default()
            },
            labels: BTreeMap::from([("cluster".to_owned(), "eu".to_owned())]),
        };
        let receiver = Alertmanager::new(&settings).unwrap();
        let (alert, origin) = (sample::firing_alert(1), sample::origin());
        let posted = PostedAlert::new(&alert, &origin, &receiver.labels, sample::AT_NS, AHEAD);
        assert_eq!(posted.labels["cluster"], "eu");
        settings.labels.insert("1a".to_owned(), String::new());
        assert_eq!(Alertmanager::new(&settings).unwrap_err().field, "labels");
    }
}
