//! What holds whatever the figures do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Something happens.
#[derive(Clone, Debug)]
enum Step {
    /// A subject's figure for a threshold; `None`: it has none.
    Figure(usize, usize, Option<f64>),
    /// A subject is gone.
    Gone(usize),
    /// A threshold has another limit.
    Limit(usize, f64),
    /// Somebody silences a service for a while.
    Silence(bool, u64),
    /// The agent starts again.
    Restart,
    /// Time goes by.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..4, 0usize..6, prop::option::weighted(0.85, 0.0..1_000.0))
            .prop_map(|(threshold, subject, value)| Step::Figure(threshold, subject, value)),
        1 => (0usize..6).prop_map(Step::Gone),
        1 => (0usize..4, 100.0..900.0).prop_map(|(threshold, limit)| Step::Limit(threshold, limit)),
        1 => (any::<bool>(), 10u64..600).prop_map(|(which, seconds)| Step::Silence(which, seconds)),
        1 => Just(Step::Restart),
        8 => (1u64..200).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

fn everybody() -> Settings {
    let mut settings = settings(&[
        ("mail", Severity::Warning),
        ("pager", Severity::Critical),
        ("chat", Severity::Error),
    ]);
    settings.repeat_interval = Duration::from_mins(15);
    settings.escalation = vec![
        Escalation {
            after: Duration::from_mins(2),
            receivers: vec!["boss".to_owned(), "pager".to_owned()],
        },
        Escalation {
            after: Duration::from_secs(400),
            receivers: vec!["everyone".to_owned()],
        },
    ];
    settings
}

fn thresholds() -> Vec<Threshold> {
    let severity = |name: &'static str, for_: &'static str, limit: f64| {
        move |draft: &mut Draft| {
            draft.severity = Some(name.to_owned());
            draft.for_ = Some(for_.to_owned());
            draft.value = Some(limit);
        }
    };
    let other = |draft: &mut Draft| {
        draft.metric = Some("response_time_p99".to_owned());
        draft.for_ = None;
    };
    vec![
        threshold("warning", severity("warning", "30s", 300.0)),
        threshold("error", severity("error", "0s", 500.0)),
        threshold("critical", severity("critical", "1m", 800.0)),
        threshold("other", other),
    ]
}

/// What each receiver must believe, by what it was told.
#[derive(Default)]
struct Belief {
    /// Receiver and group: when it was told last, and whether it believes that the group fires.
    told: BTreeMap<(String, String), (u64, bool)>,
}

impl Belief {
    fn hear(&mut self, notification: &Notification, interval_ns: u64) -> Result<(), TestCaseError> {
        let key = (notification.receiver.clone(), notification.group.clone());
        let before = self.told.get(&key).copied();
        if let Some((told_ns, _)) = before {
            prop_assert!(
                notification.wall_ns - told_ns >= interval_ns,
                "too soon: {:?}",
                notification
            );
        }
        let fired = before.is_some_and(|(_, fires)| fires);
        match notification.reason {
            Reason::New | Reason::Escalated => prop_assert!(!fired, "{:?}", notification),
            Reason::Changed | Reason::Repeated | Reason::Resolved => prop_assert!(fired, "{:?}", notification),
            Reason::Test => prop_assert!(false, "nobody asked for a test"),
        }
        for alert in &notification.alerts {
            prop_assert!(!alert.is_hidden() && alert.state != State::Pending, "{:?}", alert);
            prop_assert!(notification.reason != Reason::Resolved || alert.state == State::Resolved);
        }
        let goes_on = notification.reason != Reason::Resolved;
        prop_assert!(!goes_on || notification.alerts.iter().any(|alert| alert.state == State::Firing));
        self.told.insert(key, (notification.wall_ns, goes_on));
        Ok(())
    }
}

/// What holds of all alerts at any time.
fn check(alerts: &[Alert], thresholds: &[Threshold], wall_ns: u64) -> Result<(), TestCaseError> {
    let mut living = BTreeSet::new();
    for alert in alerts {
        prop_assert_eq!(&alert.id, &Alert::id_of(&alert.threshold_id, &alert.subject.key));
        prop_assert!(alert.since_wall_ns <= wall_ns);
        prop_assert_eq!(alert.fired_wall_ns.is_some(), alert.state != State::Pending);
        prop_assert_eq!(alert.resolved_wall_ns.is_some(), alert.state == State::Resolved);
        prop_assert!(alert.fired_wall_ns.is_none_or(|fired| fired >= alert.since_wall_ns));
        prop_assert!(alert.resolved_wall_ns >= alert.fired_wall_ns || alert.resolved_wall_ns.is_none());
        prop_assert!(!alert.message.is_empty());
        if alert.state != State::Resolved {
            prop_assert!(living.insert(&alert.id), "two of {}", alert.id);
            let threshold = thresholds.iter().find(|threshold| threshold.id == alert.threshold_id);
            prop_assert_eq!(threshold.map(|threshold| threshold.value), Some(alert.limit));
        }
        if let Some(worse) = &alert.inhibited_by {
            let worse = alerts
                .iter()
                .find(|other| other.id == *worse && other.state != State::Resolved);
            if alert.state != State::Resolved {
                prop_assert!(worse.is_some_and(|worse| worse.severity > alert.severity));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_the_figures_do_alerts_are_single_and_nobody_is_told_wrongly(steps in steps()) {
        let subjects: Vec<_> = (0..6).map(|number| {
            endpoint(if number % 2 == 0 { "shop" } else { "blog" }, &format!("/{number}"))
        }).collect();
        let mut play = Play::new(everybody(), thresholds());
        let interval_ns = u64::try_from(play.engine.settings().group_interval.as_nanos()).unwrap();
        let mut belief = Belief::default();
        let mut fired = BTreeSet::new();
        for step in steps {
            match step {
                Step::Figure(threshold, subject, value) => play.figure(threshold, &subjects[subject], value),
                Step::Gone(subject) => play.forget(&subjects[subject]),
                Step::Limit(threshold, limit) => play.thresholds[threshold].value = limit,
                Step::Silence(shop, seconds) => {
                    let service = if shop { "shop" } else { "blog" };
                    let draft = SilenceDraft {
                        matchers: vec![("service".to_owned(), service.to_owned())],
                        ends_wall_ns: Some(wall(play.second + seconds)),
                        ..SilenceDraft::default()
                    };
                    play.engine.silences_mut().add(&draft, wall(play.second)).unwrap();
                }
                Step::Restart => {
                    let old = std::mem::replace(&mut play.engine, Engine::new(everybody()));
                    let silences = old.silences().all().into_iter().cloned().collect();
                    play.engine.restore(old.alerts(), silences, old.groups());
                }
                Step::Wait(seconds) => {
                    let end = play.second + seconds;
                    while play.second < end {
                        let outcome = play.until((play.second + 5).min(end));
                        for alert in outcome.changed {
                            match alert.state {
                                State::Firing => prop_assert!(fired.insert(alert.id)),
                                State::Resolved => prop_assert!(fired.remove(&alert.id)),
                                State::Pending => prop_assert!(false, "what is pending is no change"),
                            }
                        }
                        for notification in &outcome.notifications {
                            belief.hear(notification, interval_ns)?;
                        }
                        check(&play.engine.alerts(), &play.thresholds, wall(play.second))?;
                    }
                }
            }
        }
        // When all is well again, everybody knows.
        for reading in &mut play.readings {
            reading.value = Some(0.0);
        }
        for notification in &play.until(play.second + 1_000).notifications {
            belief.hear(notification, interval_ns)?;
        }
        prop_assert!(belief.told.values().all(|(_, fires)| !fires), "{:?}", belief.told);
        prop_assert!(play.states().iter().all(|state| *state == State::Resolved));
        prop_assert_eq!(play.engine.groups(), vec![]);
    }
}
