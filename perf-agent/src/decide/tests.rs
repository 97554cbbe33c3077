//! What holds over a restart, and which rule wins.

use std::time::Duration;

use super::judge::Judge;
use super::kept;
use super::rules::FileRules;
use crate::alert::group::Receiver;
use crate::alert::{self, Reason, SilenceDraft, State};
use crate::api::control::Refusal;
use crate::custom::CustomSnapshot;
use crate::store::Store;
use crate::threshold::scene::{EPOCH_NS, MS, START_NS, Scene, Seen};
use crate::threshold::{Draft, Observed, Severity, Source, Subject};

const SECOND_NS: u64 = 1_000 * MS;

fn settings() -> alert::Settings {
    alert::Settings {
        group_wait: Duration::ZERO,
        receivers: vec![Receiver {
            name: "hook".to_owned(),
            min_severity: Severity::Warning,
            only_escalated: false,
            lists_all: true,
        }],
        ..alert::Settings::default()
    }
}

fn slow() -> Draft {
    Draft {
        id: Some("slow".to_owned()),
        metric: Some("response_time_mean".to_owned()),
        value: Some(100.0),
        ..Draft::default()
    }
}

fn judge(store: Store) -> Judge {
    let file = FileRules {
        defaults: false,
        thresholds: Vec::new(),
    };
    Judge::new(file, settings(), store)
}

#[test]
fn what_fires_fires_on_after_a_restart_and_nobody_is_told_twice_but_who_forgets() {
    let directory = tempfile::tempdir().unwrap();
    let mut scene = Scene::new();
    let at = |judge: &mut Judge, scene: &mut Scene, seconds: u64| {
        let at_ns = START_NS + seconds * SECOND_NS;
        scene.statistics.tick(at_ns, EPOCH_NS + at_ns);
        let snapshot = scene.statistics.snapshot();
        let observed = Observed {
            snapshot: &snapshot,
            resources: None,
            custom: &CustomSnapshot::default(),
        };
        let judgement = judge.judge(&observed, EPOCH_NS + at_ns);
        judge.keep();
        judgement
    };
    let seen = Seen {
        service: "shop",
        path: "/slow",
        status: 200,
        at_ns: START_NS + SECOND_NS,
        time_ns: 300 * MS,
    };
    scene.serve(10, seen);
    let first = {
        let mut judge = judge(Store::open(Some(directory.path())));
        judge.add_threshold(&slow()).unwrap();
        let silence = SilenceDraft {
            matchers: vec![("service".to_owned(), "other".to_owned())],
            ends_wall_ns: Some(u64::MAX / 2),
            ..SilenceDraft::default()
        };
        judge.silence(&silence, EPOCH_NS + START_NS).unwrap();
        let first = at(&mut judge, &mut scene, 10);
        let told: Vec<_> = first
            .notifications
            .iter()
            .map(|told| (told.receiver.as_str(), told.reason))
            .collect();
        assert_eq!(told, [("hook", Reason::New)]);
        assert_eq!(first.alerts[0].state, State::Firing);
        first
    };
    let mut judge = judge(Store::open(Some(directory.path())));
    assert_eq!(judge.thresholds().len(), 1);
    assert_eq!((judge.thresholds()[0].source, judge.silences().len()), (Source::Api, 1));
    // Alertmanager is told again, since it forgets.
    let reminders = judge.reminders(&["hook".to_owned()], 7);
    assert_eq!((reminders.len(), reminders[0].reason), (1, Reason::Repeated));
    assert_eq!(reminders[0].alerts[0].id, first.alerts[0].id);
    assert!(judge.reminders(&["other".to_owned()], 7).is_empty());
    let again = at(&mut judge, &mut scene, 12);
    assert_eq!(again.notifications, []);
    assert_eq!(again.alerts[0].fired_wall_ns, first.alerts[0].fired_wall_ns);
    // The threshold goes, and with it its alert.
    judge.remove_threshold("slow").unwrap();
    let over = at(&mut judge, &mut scene, 90);
    assert_eq!(over.alerts[0].state, State::Resolved);
    assert_eq!(over.notifications[0].reason, Reason::Resolved);
}

#[test]
fn the_file_wins_over_what_comes_with_the_agent_and_the_api_cannot_change_it() {
    let mut own = slow();
    own.id = Some("error-rate-error".to_owned());
    let file = FileRules {
        defaults: true,
        thresholds: vec![own.check(Source::File).unwrap()],
    };
    let mut judge = Judge::new(file.clone(), settings(), Store::open(None));
    let named = |judge: &Judge, id: &str| {
        let all = judge.thresholds();
        let named: Vec<_> = all
            .iter()
            .filter(|threshold| threshold.id == id)
            .map(|one| one.source)
            .collect();
        named
    };
    assert_eq!(named(&judge, "error-rate-error"), [Source::File]);
    assert_eq!(named(&judge, "error-rate-warning"), [Source::Default]);
    let refused = judge.put_threshold("error-rate-error", slow().renamed("error-rate-error"));
    assert!(matches!(refused, Err(Refusal::Conflict(why)) if why.contains("configuration file")));
    assert!(matches!(
        judge.remove_threshold("error-rate-error"),
        Err(Refusal::Conflict(_))
    ));
    judge
        .put_threshold("error-rate-warning", slow().renamed("error-rate-warning"))
        .unwrap();
    assert_eq!(named(&judge, "error-rate-warning"), [Source::Api]);
    // Without the defaults the file's and the API's stay.
    judge.set(
        FileRules {
            defaults: false,
            ..file
        },
        settings(),
    );
    assert_eq!(judge.thresholds().len(), 2);
    judge.remove_threshold("error-rate-warning").unwrap();
    assert_eq!(judge.remove_threshold("error-rate-warning"), Err(Refusal::Unknown));
}

impl Draft {
    fn renamed(self, id: &str) -> Self {
        let id = Some(id.to_owned());
        Self { id, ..self }
    }
}

#[test]
fn a_reminder_has_all_of_its_group() {
    let alert = |n: u64| alert::Alert {
        id: format!("{n:016x}"),
        state: State::Firing,
        severity: Severity::Warning,
        threshold_id: "slow".to_owned(),
        metric: "response_time_mean".to_owned(),
        subject: Subject {
            key: format!("endpoint:{n}"),
            name: format!("GET /{n} of shop:80"),
            service: Some("shop".to_owned()),
            endpoint: Some(n.to_string()),
        },
        value: Some(300.0),
        limit: 100.0,
        since_wall_ns: EPOCH_NS,
        fired_wall_ns: Some(EPOCH_NS),
        resolved_wall_ns: None,
        message: String::new(),
        runbook: None,
        silenced_by: (n == 7).then(|| "a".to_owned()),
        inhibited_by: None,
    };
    let group = alert::GroupState {
        group: "shop".to_owned(),
        since_wall_ns: Some(EPOCH_NS),
        told: vec![alert::Told {
            receiver: "hook".to_owned(),
            told_wall_ns: Some(EPOCH_NS),
            alerts: (0..121).map(|n| alert(n).id).collect(),
            ..alert::Told::default()
        }],
    };
    let mut store = Store::open(None);
    let rows: Vec<_> = (0..130)
        .map(|n| (alert(n).id, Some(kept::of_alert(&alert(n)))))
        .collect();
    store.change("alerts", &rows);
    store.change("groups", &[("shop".to_owned(), Some(kept::of_group(&group)))]);
    let reminders = judge(store).reminders(&["hook".to_owned()], 7);
    let [reminder] = reminders.as_slice() else {
        panic!("{} reminders", reminders.len())
    };
    // All that it was told of, but for the one that is silenced.
    assert_eq!((reminder.alerts.len(), reminder.more), (120, 0));
}

/// A silence of this service until then.
fn until(service: &str, ends_wall_ns: u64) -> SilenceDraft {
    SilenceDraft {
        matchers: vec![("service".to_owned(), service.to_owned())],
        ends_wall_ns: Some(ends_wall_ns),
        ..SilenceDraft::default()
    }
}

fn quiet(judge: &mut Judge, wall_ns: u64) {
    let mut scene = Scene::new();
    let snapshot = scene.statistics.snapshot();
    let observed = Observed {
        snapshot: &snapshot,
        resources: None,
        custom: &CustomSnapshot::default(),
    };
    judge.judge(&observed, wall_ns);
    judge.keep();
}

#[test]
fn a_silence_that_is_forgotten_is_deleted_and_one_that_was_ended_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let day_ns = 86_400 * SECOND_NS;
    let kept = || {
        let store = Store::open(Some(directory.path()));
        store.all("silences").len()
    };
    {
        let mut judge = judge(Store::open(Some(directory.path())));
        judge.silence(&until("a", EPOCH_NS + SECOND_NS), EPOCH_NS).unwrap();
        let long = judge.silence(&until("b", EPOCH_NS + 9 * day_ns), EPOCH_NS).unwrap();
        let ended = judge.unsilence(&long.id, EPOCH_NS + day_ns).unwrap();
        assert_eq!(ended.ends_wall_ns, EPOCH_NS + day_ns);
        quiet(&mut judge, EPOCH_NS + day_ns);
    }
    assert_eq!(kept(), 2);
    {
        let mut judge = judge(Store::open(Some(directory.path())));
        let ends: Vec<_> = judge.silences().iter().map(|silence| silence.ends_wall_ns).collect();
        assert_eq!(ends, [EPOCH_NS + day_ns, EPOCH_NS + SECOND_NS]);
        quiet(&mut judge, EPOCH_NS + day_ns + 2 * SECOND_NS);
    }
    assert_eq!(kept(), 1);
    {
        let mut judge = judge(Store::open(Some(directory.path())));
        quiet(&mut judge, EPOCH_NS + 2 * day_ns);
    }
    assert_eq!(kept(), 0);
}

#[test]
fn what_the_api_changes_without_a_disk_holds_and_what_was_on_it_comes_in_later() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = judge(Store::open(Some(directory.path())));
    first.add_threshold(&slow()).unwrap();
    let other = first.silence(&until("a", u64::MAX / 2), EPOCH_NS).unwrap();
    let mut store = Store::open(Some(directory.path()));
    store.hurry();
    let mut second = judge(store);
    assert!(second.degraded().is_some_and(|why| why.contains("another agent uses")));
    let own = second.silence(&until("b", u64::MAX / 2), EPOCH_NS + 1).unwrap();
    second.unsilence(&own.id, EPOCH_NS + 2).unwrap();
    assert_eq!(second.silences()[0].ends_wall_ns, EPOCH_NS + 2, "it holds");
    assert!(second.thresholds().is_empty());
    drop(first);
    quiet(&mut second, EPOCH_NS + 3);
    assert_eq!(second.degraded(), None);
    let ids: Vec<_> = second.silences().into_iter().map(|silence| silence.id).collect();
    assert_eq!((ids, second.thresholds().len()), (vec![other.id, own.id], 1));
}
