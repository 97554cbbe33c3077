//! What holds over a restart, and which rule wins.

use std::time::Duration;

use super::judge::Judge;
use super::rules::FileRules;
use crate::alert::group::Receiver;
use crate::alert::{self, Reason, SilenceDraft, State};
use crate::api::control::Refusal;
use crate::custom::CustomSnapshot;
use crate::store::Store;
use crate::threshold::scene::{EPOCH_NS, MS, START_NS, Scene, Seen};
use crate::threshold::{Draft, Observed, Severity, Source};

const SECOND_NS: u64 = 1_000 * MS;

fn settings() -> alert::Settings {
    alert::Settings {
        group_wait: Duration::ZERO,
        receivers: vec![Receiver {
            name: "hook".to_owned(),
            min_severity: Severity::Warning,
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
