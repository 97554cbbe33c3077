//! Tests of the whole: figures go in, alerts and notifications come out. The clock is moved by hand.

mod groups;
mod properties;
mod silences;
mod states;

use std::sync::Arc;
use std::time::Duration;

use super::group::{Escalation, Receiver};
use super::*;
use crate::threshold::{Draft, Reading, Source, Threshold};

const SECOND_NS: u64 = 1_000_000_000;
const START_S: u64 = 1_700_000_000;

fn wall(second: u64) -> u64 {
    (START_S + second) * SECOND_NS
}

/// A threshold of the mean response time over 500 ms, for 30 s.
fn threshold(id: &str, change: impl FnOnce(&mut Draft)) -> Threshold {
    let mut draft = Draft {
        id: Some(id.to_owned()),
        metric: Some("response_time_mean".to_owned()),
        value: Some(500.0),
        for_: Some("30s".to_owned()),
        ..Draft::default()
    };
    change(&mut draft);
    draft.check(Source::Api).unwrap()
}

fn immediate(draft: &mut Draft) {
    draft.for_ = None;
}

fn critical(draft: &mut Draft) {
    draft.for_ = None;
    draft.severity = Some("critical".to_owned());
}

/// An endpoint of a service.
fn endpoint(service: &str, route: &str) -> Arc<Subject> {
    Arc::new(Subject {
        key: format!("endpoint:{service}{route}"),
        name: format!("GET {route} of {service}:8080"),
        service: Some(service.to_owned()),
        endpoint: Some(format!("{service}{route}")),
    })
}

/// The engine, its thresholds, and the figures that hold until they are changed.
struct Play {
    engine: Engine,
    thresholds: Vec<Threshold>,
    readings: Vec<Reading>,
    second: u64,
}

impl Play {
    fn new(settings: Settings, thresholds: Vec<Threshold>) -> Self {
        Self {
            engine: Engine::new(settings),
            thresholds,
            readings: Vec::new(),
            second: 0,
        }
    }

    /// A subject's figure for a threshold from now on; `None`: there is none.
    fn figure(&mut self, threshold: usize, subject: &Arc<Subject>, value: Option<f64>) {
        self.readings
            .retain(|reading| reading.threshold != threshold || reading.subject != *subject);
        self.readings.push(Reading {
            threshold,
            subject: Arc::clone(subject),
            value,
            count: 100,
        });
    }

    fn forget(&mut self, subject: &Arc<Subject>) {
        self.readings.retain(|reading| reading.subject != *subject);
    }

    /// Evaluates every five seconds until a moment; what came of it.
    fn until(&mut self, second: u64) -> Outcome {
        let mut all = Outcome::default();
        while self.second < second {
            self.second = (self.second + 5).min(second);
            let outcome = self.engine.step(&self.thresholds, &self.readings, wall(self.second));
            all.changed.extend(outcome.changed);
            all.notifications.extend(outcome.notifications);
        }
        all
    }

    fn alert(&self) -> Alert {
        let alerts = self.engine.alerts();
        alerts.into_iter().next().expect("an alert")
    }

    fn states(&self) -> Vec<State> {
        self.engine.alerts().iter().map(|alert| alert.state).collect()
    }
}

/// One receiver of everything.
fn settings(receivers: &[(&str, Severity)]) -> Settings {
    Settings {
        receivers: receivers
            .iter()
            .map(|(name, min_severity)| Receiver {
                name: (*name).to_owned(),
                min_severity: *min_severity,
                only_escalated: false,
                lists_all: false,
            })
            .collect(),
        ..Settings::default()
    }
}

/// When, to whom and why.
fn told(notifications: &[Notification]) -> Vec<(u64, &str, Reason, usize)> {
    let told = |notification: &'_ Notification| {
        let second = notification.wall_ns / SECOND_NS - START_S;
        let listed = notification.alerts.len() + usize::try_from(notification.more).unwrap();
        (second, notification.reason, listed)
    };
    notifications
        .iter()
        .map(|notification| {
            let (second, reason, listed) = told(notification);
            (second, notification.receiver.as_str(), reason, listed)
        })
        .collect()
}

#[test]
fn ids_are_the_same_in_every_run() {
    assert_eq!(Alert::id_of("slow", "endpoint:8b356477f41e115b").len(), 16);
    assert_eq!(Alert::id_of("slow", "host"), Alert::id_of("slow", "host"));
    assert_ne!(Alert::id_of("slow", "host"), Alert::id_of("slowh", "ost"));
}

#[test]
fn words_of_the_api_are_read_back() {
    for state in State::ALL {
        assert_eq!(State::from_name(state.name()), Some(state));
    }
    assert_eq!(State::from_name("over"), None);
}

#[test]
fn a_test_goes_to_every_receiver_once() {
    let mut settings = settings(&[("mail", Severity::Warning), ("pager", Severity::Critical)]);
    settings.escalation.push(Escalation {
        after: Duration::from_mins(1),
        receivers: vec!["boss".to_owned(), "pager".to_owned()],
    });
    let engine = Engine::new(settings);
    let notifications = engine.test(wall(3));
    let told = told(&notifications);
    let expected = ["boss", "mail", "pager"].map(|name| (3, name, Reason::Test, 1));
    assert_eq!(told, expected);
}
