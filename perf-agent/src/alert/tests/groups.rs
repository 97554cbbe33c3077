use super::*;

fn mail() -> Settings {
    settings(&[("mail", Severity::Warning)])
}

fn escalating(after: u64, receiver: &str) -> Escalation {
    Escalation {
        after: Duration::from_secs(after),
        receivers: vec![receiver.to_owned()],
    }
}

#[test]
fn a_thousand_endpoints_that_fail_at_once_are_one_notification() {
    let mut play = Play::new(mail(), vec![threshold("slow", immediate)]);
    let endpoints: Vec<_> = (0..1_000)
        .map(|number| endpoint("shop", &format!("/{number}")))
        .collect();
    for endpoint in &endpoints {
        play.readings.push(Reading {
            threshold: 0,
            subject: Arc::clone(endpoint),
            value: Some(900.0),
            count: 100,
        });
    }
    let notifications = play.until(600).notifications;
    let [notification] = notifications.as_slice() else {
        panic!("{} notifications", notifications.len())
    };
    assert_eq!(told(&notifications), [(15, "mail", Reason::New, 1_000)]);
    assert_eq!(
        (
            notification.group.as_str(),
            notification.alerts.len(),
            notification.more
        ),
        ("shop", 50, 950)
    );
    for reading in &mut play.readings {
        reading.value = Some(10.0);
    }
    let notifications = play.until(1_200).notifications;
    assert_eq!(told(&notifications), [(635, "mail", Reason::Resolved, 1_000)]);
    assert!(
        notifications[0]
            .alerts
            .iter()
            .all(|alert| alert.state == State::Resolved)
    );
    assert_eq!(play.engine.groups(), [], "nothing is left");
}

#[test]
fn each_service_is_a_group_and_so_is_what_is_of_none() {
    let cpu = threshold("busy", |draft| {
        draft.metric = Some("cpu_usage".to_owned());
        draft.value = Some(0.9);
        draft.for_ = None;
    });
    let mut play = Play::new(mail(), vec![threshold("slow", immediate), cpu]);
    play.figure(0, &endpoint("shop", "/cart"), Some(900.0));
    play.figure(0, &endpoint("blog", "/post"), Some(900.0));
    play.figure(0, &Arc::new(Subject::service("blog")), Some(900.0));
    play.figure(1, &Arc::new(Subject::host()), Some(0.95));
    let notifications = play.until(60).notifications;
    let groups: Vec<_> = notifications
        .iter()
        .map(|notification| (notification.group.as_str(), notification.alerts.len()))
        .collect();
    assert_eq!(groups, [("blog", 2), ("host", 1), ("shop", 1)]);
}

#[test]
fn what_comes_and_goes_is_told_at_most_once_per_interval() {
    let mut play = Play::new(mail(), vec![threshold("slow", immediate)]);
    let (cart, order, home) = (
        endpoint("shop", "/cart"),
        endpoint("shop", "/pay"),
        endpoint("shop", "/home"),
    );
    play.figure(0, &cart, Some(900.0));
    assert_eq!(told(&play.until(16).notifications), [(15, "mail", Reason::New, 1)]);
    play.figure(0, &order, Some(900.0));
    play.until(20);
    play.figure(0, &home, Some(900.0));
    assert_eq!(told(&play.until(80).notifications), [(75, "mail", Reason::Changed, 3)]);
    play.figure(0, &order, Some(100.0));
    let notifications = play.until(200).notifications;
    assert_eq!(told(&notifications), [(135, "mail", Reason::Changed, 3)]);
    let states: Vec<_> = notifications[0].alerts.iter().map(|alert| alert.state).collect();
    assert_eq!(states, [State::Firing, State::Firing, State::Resolved]);
    play.figure(0, &cart, Some(100.0));
    play.figure(0, &home, Some(100.0));
    assert_eq!(
        told(&play.until(400).notifications),
        [(235, "mail", Reason::Resolved, 2)]
    );
}

#[test]
fn what_ends_before_anybody_was_told_is_never_told() {
    let mut play = Play::new(mail(), vec![threshold("slow", immediate)]);
    play.figure(0, &endpoint("shop", "/cart"), Some(900.0));
    play.until(10);
    play.thresholds.clear();
    play.readings.clear();
    assert_eq!(play.until(600).notifications, []);
    assert_eq!(play.engine.groups(), []);
}

#[test]
fn what_goes_on_is_told_again_after_a_long_time() {
    let mut play = Play::new(mail(), vec![threshold("slow", immediate)]);
    play.figure(0, &endpoint("shop", "/cart"), Some(900.0));
    let four_hours = 4 * 3600;
    let expected = [
        (15, "mail", Reason::New, 1),
        (15 + four_hours, "mail", Reason::Repeated, 1),
        (15 + 2 * four_hours, "mail", Reason::Repeated, 1),
    ];
    assert_eq!(told(&play.until(9 * 3600).notifications), expected);
}

#[test]
fn a_receiver_is_told_of_what_is_bad_enough_for_it() {
    let settings = settings(&[("mail", Severity::Warning), ("pager", Severity::Critical)]);
    let mut play = Play::new(
        settings,
        vec![threshold("slow", immediate), threshold("slowest", critical)],
    );
    let (cart, order) = (endpoint("shop", "/cart"), endpoint("shop", "/pay"));
    play.figure(0, &cart, Some(900.0));
    assert_eq!(told(&play.until(100).notifications), [(15, "mail", Reason::New, 1)]);
    play.figure(1, &order, Some(900.0));
    let notifications = play.until(200).notifications;
    assert_eq!(
        told(&notifications),
        [(105, "mail", Reason::Changed, 2), (115, "pager", Reason::New, 1)]
    );
    assert_eq!(notifications[0].alerts[0].severity, Severity::Critical, "worst first");
    play.figure(1, &order, Some(100.0));
    let expected = [(235, "mail", Reason::Changed, 2), (235, "pager", Reason::Resolved, 1)];
    assert_eq!(told(&play.until(300).notifications), expected);
}

#[test]
fn what_nobody_resolves_is_told_to_others_once_and_so_is_its_end() {
    let mut settings = mail();
    settings.escalation = vec![escalating(300, "boss"), escalating(600, "mail")];
    let mut play = Play::new(settings, vec![threshold("slow", immediate)]);
    let (cart, order) = (endpoint("shop", "/cart"), endpoint("shop", "/pay"));
    play.figure(0, &cart, Some(900.0));
    let expected = [(15, "mail", Reason::New, 1), (305, "boss", Reason::Escalated, 1)];
    assert_eq!(
        told(&play.until(1_000).notifications),
        expected,
        "who knows is not told again"
    );
    play.figure(0, &order, Some(900.0));
    assert_eq!(
        told(&play.until(1_100).notifications),
        [(1_005, "mail", Reason::Changed, 2)]
    );
    play.figure(0, &cart, Some(1.0));
    assert_eq!(
        told(&play.until(1_200).notifications),
        [(1_135, "mail", Reason::Changed, 2)]
    );
    play.figure(0, &order, Some(1.0));
    let notifications = play.until(1_400).notifications;
    let expected = [
        (1_235, "boss", Reason::Resolved, 1),
        (1_235, "mail", Reason::Resolved, 1),
    ];
    assert_eq!(told(&notifications), expected);
    assert_eq!(
        notifications[0].alerts[0].subject.name, "GET /cart of shop:8080",
        "what it was told of"
    );
}

#[test]
fn a_receiver_that_was_told_for_want_of_others_is_told_what_concerns_it_itself() {
    let mut settings = settings(&[("pager", Severity::Critical)]);
    settings.escalation = vec![escalating(60, "pager")];
    let mut play = Play::new(
        settings,
        vec![threshold("slow", immediate), threshold("slowest", critical)],
    );
    let (cart, order) = (endpoint("shop", "/cart"), endpoint("shop", "/pay"));
    play.figure(0, &cart, Some(900.0));
    assert_eq!(
        told(&play.until(200).notifications),
        [(65, "pager", Reason::Escalated, 1)]
    );
    play.figure(1, &order, Some(900.0));
    assert_eq!(
        told(&play.until(300).notifications),
        [(205, "pager", Reason::Changed, 1)]
    );
    play.figure(1, &order, Some(1.0));
    play.figure(0, &cart, Some(1.0));
    assert_eq!(
        told(&play.until(400).notifications),
        [(335, "pager", Reason::Resolved, 2)]
    );
}

#[test]
fn a_restart_tells_nobody_twice_and_ends_what_was_told_before() {
    let mut before = Play::new(mail(), vec![threshold("slow", immediate)]);
    let cart = endpoint("shop", "/cart");
    before.figure(0, &cart, Some(900.0));
    before.until(100);
    let mut after = Play::new(mail(), before.thresholds.clone());
    after
        .engine
        .restore(before.engine.alerts(), vec![], before.engine.groups());
    after.second = 110;
    // Traffic comes back after some time only.
    assert_eq!(after.until(130).notifications, []);
    after.figure(0, &cart, Some(900.0));
    assert_eq!(after.until(1_000).notifications, []);
    after.figure(0, &cart, Some(1.0));
    assert_eq!(
        told(&after.until(1_100).notifications),
        [(1_035, "mail", Reason::Resolved, 1)]
    );
}

#[test]
fn a_receiver_that_is_gone_is_forgotten() {
    let mut play = Play::new(mail(), vec![threshold("slow", immediate)]);
    play.figure(0, &endpoint("shop", "/cart"), Some(900.0));
    play.until(100);
    play.engine.set(settings(&[("chat", Severity::Warning)]));
    assert_eq!(told(&play.until(200).notifications), [(115, "chat", Reason::New, 1)]);
    assert_eq!(play.engine.groups()[0].told.len(), 1);
}

/// One that is to know of everything.
fn manager() -> Settings {
    let mut settings = settings(&[("manager", Severity::Warning)]);
    settings.receivers[0].lists_all = true;
    settings
}

/// Ids of what a notification lists, and whether it fires.
fn listed(notification: &Notification) -> Vec<(&str, bool)> {
    let alerts = notification.alerts.iter();
    let mut listed: Vec<_> = alerts
        .map(|alert| {
            (
                alert.subject.endpoint.as_deref().unwrap_or_default(),
                alert.state == State::Firing,
            )
        })
        .collect();
    listed.sort_unstable();
    listed
}

fn silence_of(subject: &str, from: u64, to: u64) -> SilenceDraft {
    SilenceDraft {
        matchers: vec![("subject".to_owned(), subject.to_owned())],
        starts_wall_ns: Some(wall(from)),
        ends_wall_ns: Some(wall(to)),
        ..SilenceDraft::default()
    }
}

#[test]
fn who_lists_all_is_told_of_all() {
    let mut play = Play::new(manager(), vec![threshold("slow", immediate)]);
    for number in 0..2_500 {
        play.readings.push(Reading {
            threshold: 0,
            subject: endpoint("shop", &format!("/{number}")),
            value: Some(900.0),
            count: 100,
        });
    }
    let notifications = play.until(60).notifications;
    assert_eq!(told(&notifications), [(15, "manager", Reason::New, 2_500)]);
    assert_eq!((notifications[0].alerts.len(), notifications[0].more), (2_000, 500));
}

#[test]
fn who_lists_all_is_told_anew_when_something_is_hidden_and_when_it_is_seen_again() {
    let mut play = Play::new(manager(), vec![threshold("slow", immediate)]);
    let (a, b) = (endpoint("shop", "/a"), endpoint("shop", "/b"));
    play.figure(0, &a, Some(900.0));
    play.figure(0, &b, Some(900.0));
    let first = play.until(100).notifications;
    assert_eq!(listed(&first[0]), [("shop/a", true), ("shop/b", true)]);
    let silences = play.engine.silences_mut();
    silences.add(&silence_of(&a.key, 100, 300), wall(100)).unwrap();
    silences.add(&silence_of(&b.key, 200, 400), wall(100)).unwrap();
    let notifications = play.until(1_000).notifications;
    let expected = [
        (105, Reason::Changed, vec![("shop/b", true)]),
        // Nothing is left, and nothing was resolved.
        (200, Reason::Changed, vec![]),
        (310, Reason::New, vec![("shop/a", true)]),
        (400, Reason::Changed, vec![("shop/a", true), ("shop/b", true)]),
    ];
    let seen: Vec<_> = notifications
        .iter()
        .map(|told| (told.wall_ns / SECOND_NS - START_S, told.reason, listed(told)))
        .collect();
    assert_eq!(seen, expected);
    play.figure(0, &a, Some(10.0));
    play.figure(0, &b, Some(10.0));
    let over = play.until(1_200).notifications;
    assert_eq!(over.len(), 1);
    assert_eq!(
        (over[0].reason, listed(&over[0])),
        (Reason::Resolved, vec![("shop/a", false), ("shop/b", false)])
    );
}

#[test]
fn who_lists_all_and_is_told_by_escalation_only_is_told_what_changes_afterwards() {
    let mut settings = manager();
    settings.receivers[0].only_escalated = true;
    settings.escalation = vec![escalating(120, "manager")];
    let mut play = Play::new(settings, vec![threshold("slow", immediate)]);
    let (a, b) = (endpoint("shop", "/a"), endpoint("shop", "/b"));
    play.figure(0, &a, Some(900.0));
    play.figure(0, &b, Some(900.0));
    let first = play.until(300).notifications;
    assert_eq!(told(&first), [(125, "manager", Reason::Escalated, 2)]);
    play.figure(0, &b, Some(10.0));
    let changed = play.until(600).notifications;
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (changed[0].reason, listed(&changed[0])),
        (Reason::Changed, vec![("shop/a", true), ("shop/b", false)])
    );
}
