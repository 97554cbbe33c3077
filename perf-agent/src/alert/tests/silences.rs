use super::*;
use crate::alert::silence::SILENCES;
use crate::threshold::Fault;

fn draft(matchers: &[(&str, &str)], ends: u64) -> SilenceDraft {
    SilenceDraft {
        matchers: matchers
            .iter()
            .map(|(field, value)| ((*field).to_owned(), (*value).to_owned()))
            .collect(),
        ends_wall_ns: Some(wall(ends)),
        created_by: Some("ops".to_owned()),
        comment: Some("known".to_owned()),
        ..SilenceDraft::default()
    }
}

#[test]
fn a_silence_hides_what_it_means_as_long_as_it_lasts() {
    let mut play = Play::new(
        settings(&[("mail", Severity::Warning)]),
        vec![threshold("slow", immediate)],
    );
    let (cart, post) = (endpoint("shop", "/cart"), endpoint("blog", "/post"));
    play.figure(0, &cart, Some(900.0));
    play.figure(0, &post, Some(900.0));
    let silence = play
        .engine
        .silences_mut()
        .add(
            &draft(&[("service", "sh*"), ("metric", "response_time_*")], 300),
            wall(0),
        )
        .unwrap();
    let notifications = play.until(295).notifications;
    assert_eq!(told(&notifications), [(15, "mail", Reason::New, 1)]);
    assert_eq!(notifications[0].group, "blog");
    let of_shop = |play: &Play| {
        let alerts = play.engine.alerts();
        let alert = alerts
            .into_iter()
            .find(|alert| alert.subject.service.as_deref() == Some("shop"));
        alert.unwrap()
    };
    assert_eq!(of_shop(&play).silenced_by, Some(silence.id));
    let notifications = play.until(320).notifications;
    assert_eq!(told(&notifications), [(310, "mail", Reason::New, 1)]);
    assert_eq!(
        (notifications[0].group.as_str(), of_shop(&play).silenced_by),
        ("shop", None)
    );
}

#[test]
fn what_was_told_before_it_was_silenced_is_told_again_afterwards_and_not_resolved_meanwhile() {
    let mut play = Play::new(
        settings(&[("mail", Severity::Warning)]),
        vec![threshold("slow", immediate)],
    );
    play.figure(0, &endpoint("shop", "/cart"), Some(900.0));
    assert_eq!(told(&play.until(100).notifications), [(15, "mail", Reason::New, 1)]);
    play.engine
        .silences_mut()
        .add(&draft(&[("severity", "*")], 1_000), wall(100))
        .unwrap();
    assert_eq!(told(&play.until(995).notifications), []);
    assert_eq!(
        told(&play.until(1_100).notifications),
        [(1_000, "mail", Reason::Changed, 1)]
    );
}

#[test]
fn what_ends_while_it_is_silenced_is_not_listed_but_its_group_is_over() {
    let mut play = Play::new(
        settings(&[("mail", Severity::Warning)]),
        vec![threshold("slow", immediate)],
    );
    let cart = endpoint("shop", "/cart");
    play.figure(0, &cart, Some(900.0));
    play.until(100);
    play.engine
        .silences_mut()
        .add(&draft(&[("subject", "GET /cart*")], 1_000), wall(100))
        .unwrap();
    play.until(150);
    play.figure(0, &cart, Some(100.0));
    assert_eq!(
        told(&play.until(300).notifications),
        [(185, "mail", Reason::Resolved, 0)]
    );
}

#[test]
fn each_field_is_looked_at() {
    let mut play = Play::new(Settings::default(), vec![threshold("slow", immediate)]);
    let cart = endpoint("shop", "/cart");
    play.figure(0, &cart, Some(900.0));
    for (field, value, expected) in [
        ("severity", "warning", true),
        ("severity", "error", false),
        ("service", "shop", true),
        ("service", "sho", false),
        ("subject", "GET /cart of shop:8080", true),
        ("subject", "endpoint:shop/cart", true),
        ("threshold", "sl*", true),
        ("metric", "error_rate", false),
    ] {
        let silences = play.engine.silences_mut();
        let id = silences.add(&draft(&[(field, value)], 10_000), wall(0)).unwrap().id;
        play.until(play.second + 5);
        assert_eq!(play.alert().silenced_by.is_some(), expected, "{field}={value}");
        assert_eq!(
            play.engine.silences_mut().remove(&id).map(|silence| silence.id),
            Some(id)
        );
    }
}

#[test]
fn what_is_wrong_with_a_silence_is_said() {
    let mut silences = Silences::default();
    let faults = |silences: &mut Silences, draft: &SilenceDraft| {
        let faults: Vec<Fault> = silences.add(draft, wall(10)).expect_err("a fault");
        let faults = faults.iter().map(|fault| (fault.field, fault.problem.clone()));
        faults.collect::<Vec<_>>()
    };
    let empty = SilenceDraft::default();
    let expected = [("matchers", "0 conditions".to_owned()), ("ends", "missing".to_owned())];
    assert_eq!(faults(&mut silences, &empty), expected);
    let past = draft(&[("serverity", "error")], 10);
    let expected = [
        ("matchers", "unknown field `serverity`".to_owned()),
        ("ends", "it would be over already".to_owned()),
    ];
    assert_eq!(faults(&mut silences, &past), expected);
    let mut backwards = draft(&[("severity", "error")], 20);
    backwards.starts_wall_ns = Some(wall(30));
    backwards.comment = Some("c".repeat(2_049));
    let expected = [
        ("ends", "it would be over already".to_owned()),
        ("comment", "2049 bytes are too long".to_owned()),
    ];
    assert_eq!(faults(&mut silences, &backwards), expected);
    assert_eq!(silences.all().len(), 0);
}

#[test]
fn silences_are_changed_ended_and_forgotten() {
    let mut silences = Silences::default();
    let made = silences.add(&draft(&[("severity", "error")], 100), wall(0)).unwrap();
    let changed = silences
        .replace(&made.id, &draft(&[("severity", "*")], 200), wall(10))
        .unwrap()
        .unwrap();
    assert_eq!(
        (changed.id.as_str(), changed.ends_wall_ns),
        (made.id.as_str(), wall(200))
    );
    assert!(
        silences
            .replace(&made.id, &SilenceDraft::default(), wall(10))
            .unwrap()
            .is_err()
    );
    assert_eq!(silences.get(&made.id), Some(&changed));
    assert!(changed.is_in_force(wall(199)) && !changed.is_in_force(wall(200)) && !changed.is_in_force(wall(9)));
    let ended = silences.expire(&made.id, wall(50)).unwrap().clone();
    assert!(!ended.is_in_force(wall(50)) && ended.is_in_force(wall(49)));
    silences.apply(std::iter::empty(), wall(50 + 24 * 3600));
    assert_eq!(silences.all().len(), 0, "a day later");
    assert_eq!(silences.expire(&made.id, wall(50)), None);
    assert!(silences.replace("0", &draft(&[], 1), wall(0)).is_none());
}

#[test]
fn there_are_only_so_many_silences_and_those_that_are_over_make_room() {
    let mut silences = Silences::default();
    for _ in 0..SILENCES {
        silences.add(&draft(&[("severity", "error")], 100), wall(0)).unwrap();
    }
    let one_more = draft(&[("severity", "error")], 1_000);
    assert_eq!(silences.add(&one_more, wall(99)).unwrap_err().len(), 1);
    silences.add(&one_more, wall(100)).unwrap();
    assert_eq!(silences.all().len(), 1);
    let kept: Vec<_> = silences.all().into_iter().cloned().collect();
    let mut restored = Silences::default();
    restored.restore(kept.clone());
    assert_eq!(restored.all(), kept.iter().collect::<Vec<_>>());
}

#[test]
fn a_worse_alert_of_the_same_metric_and_subject_hides_the_milder() {
    let error = |draft: &mut Draft| {
        draft.for_ = None;
        draft.value = Some(1_000.0);
        draft.severity = Some("error".to_owned());
    };
    let mut play = Play::new(
        settings(&[("mail", Severity::Warning)]),
        vec![threshold("slow", immediate), threshold("slower", error)],
    );
    let (cart, order) = (endpoint("shop", "/cart"), endpoint("shop", "/pay"));
    for threshold in [0, 1] {
        play.figure(threshold, &cart, Some(1_200.0));
        play.figure(threshold, &order, Some(600.0));
    }
    let notifications = play.until(50).notifications;
    let told: Vec<_> = notifications[0]
        .alerts
        .iter()
        .map(|alert| (alert.threshold_id.as_str(), alert.subject.name.as_str()))
        .collect();
    assert_eq!(
        told,
        [("slower", "GET /cart of shop:8080"), ("slow", "GET /pay of shop:8080")]
    );
    let alerts = play.engine.alerts();
    let hidden: Vec<_> = alerts.iter().filter_map(|alert| alert.inhibited_by.clone()).collect();
    assert_eq!(hidden, [Alert::id_of("slower", &cart.key)]);
    // The worse one ends, and the milder one is seen.
    for threshold in [0, 1] {
        play.figure(threshold, &cart, Some(700.0));
    }
    let notifications = play.until(150).notifications;
    assert_eq!(super::told(&notifications), [(85, "mail", Reason::Changed, 3)]);
}

#[test]
fn a_critical_alert_hides_all_milder_ones_of_its_subject_and_none_of_others() {
    let errors = |draft: &mut Draft| {
        critical(draft);
        draft.metric = Some("error_rate".to_owned());
        draft.value = Some(0.5);
    };
    let mut play = Play::new(
        Settings::default(),
        vec![
            threshold("slow", immediate),
            threshold("down", errors),
            threshold("also", critical),
        ],
    );
    let (cart, order) = (endpoint("shop", "/cart"), endpoint("shop", "/pay"));
    play.figure(0, &cart, Some(600.0));
    play.figure(0, &order, Some(600.0));
    play.figure(1, &cart, Some(0.9));
    play.until(5);
    let hidden = |play: &Play| {
        let alerts = play.engine.alerts();
        let hidden = alerts
            .iter()
            .filter(|alert| alert.inhibited_by.is_some())
            .map(|alert| (alert.threshold_id.clone(), alert.subject.key.clone()));
        hidden.collect::<Vec<_>>()
    };
    assert_eq!(hidden(&play), [("slow".to_owned(), cart.key.clone())]);
    play.figure(2, &cart, Some(600.0));
    play.until(10);
    assert_eq!(hidden(&play).len(), 1, "two critical ones do not hide each other");
}

#[test]
fn of_too_many_that_were_kept_those_in_force_come_back() {
    let silence = |n: u64, ends_wall_ns| Silence {
        id: format!("{n:016x}"),
        matchers: Vec::new(),
        starts_wall_ns: 0,
        ends_wall_ns,
        created_by: String::new(),
        comment: String::new(),
    };
    let over = (0..1_500).map(|n| silence(n, wall(n)));
    let mut silences = Silences::default();
    silences.restore(over.chain([silence(9_999, wall(9_999))]).collect());
    assert!(silences.get(&format!("{:016x}", 9_999)).is_some());
    assert_eq!((silences.all().len(), silences.take_forgotten().len()), (1_000, 501));
    assert!(silences.take_forgotten().is_empty());
}
