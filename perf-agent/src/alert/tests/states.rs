use super::*;
use crate::alert::state::{ACTIVE, RESOLVED};

fn play(thresholds: Vec<Threshold>) -> Play {
    Play::new(Settings::default(), thresholds)
}

#[test]
fn an_alert_is_pending_then_fires_then_is_resolved() {
    let mut play = play(vec![threshold("slow", |_| ())]);
    let cart = endpoint("shop", "/cart");
    play.figure(0, &cart, Some(812.0));
    play.until(5);
    let text = "mean response time of GET /cart of shop:8080 is 812 ms (limit 500 ms) over 1m";
    let expected = Alert {
        id: Alert::id_of("slow", &cart.key),
        state: State::Pending,
        severity: Severity::Warning,
        threshold_id: "slow".to_owned(),
        metric: "response_time_mean".to_owned(),
        subject: (*cart).clone(),
        value: Some(812.0),
        limit: 500.0,
        since_wall_ns: wall(5),
        fired_wall_ns: None,
        resolved_wall_ns: None,
        message: text.to_owned(),
        runbook: None,
        silenced_by: None,
        inhibited_by: None,
    };
    assert_eq!(play.alert(), expected);
    assert_eq!(play.until(34).changed, []);
    let fired = play.until(35).changed;
    let firing = Alert {
        state: State::Firing,
        fired_wall_ns: Some(wall(35)),
        ..expected
    };
    assert_eq!(fired, std::slice::from_ref(&firing));

    play.figure(0, &cart, Some(320.0));
    assert_eq!(play.until(69).changed, []);
    let resolved = play.until(70).changed;
    let expected = Alert {
        state: State::Resolved,
        value: Some(320.0),
        resolved_wall_ns: Some(wall(70)),
        message: format!(
            "resolved, it is over: mean response time of GET /cart of shop:8080 is 320 ms (limit 500 ms) over 1m (was: \
             {text})"
        ),
        ..firing
    };
    assert_eq!(resolved, std::slice::from_ref(&expected));
    assert_eq!(play.engine.alerts(), [expected]);
}

#[test]
fn a_condition_that_does_not_hold_for_long_enough_is_forgotten() {
    let mut play = play(vec![threshold("slow", |_| ())]);
    let cart = endpoint("shop", "/cart");
    for value in [Some(400.0), None] {
        play.figure(0, &cart, Some(800.0));
        play.until(play.second + 25);
        assert_eq!(play.states(), [State::Pending]);
        play.figure(0, &cart, value);
        assert_eq!(play.until(play.second + 5).changed, []);
        assert_eq!(play.states(), []);
    }
}

#[test]
fn without_a_time_it_fires_at_once() {
    let mut play = play(vec![threshold("slow", immediate)]);
    play.figure(0, &endpoint("shop", "/cart"), Some(500.1));
    assert_eq!(play.until(5).changed.len(), 1);
    let alert = play.alert();
    assert_eq!((alert.since_wall_ns, alert.fired_wall_ns), (wall(5), Some(wall(5))));
}

#[test]
fn a_figure_that_swings_around_the_limit_is_one_alert() {
    let mut play = play(vec![threshold("slow", immediate)]);
    let cart = endpoint("shop", "/cart");
    let mut changed = 0;
    for value in [510.0, 490.0, 505.0, 480.0].repeat(20) {
        play.figure(0, &cart, Some(value));
        changed += play.until(play.second + 5).changed.len();
    }
    assert_eq!((changed, play.states()), (1, vec![State::Firing]));
    // Past the margin, but not for long enough.
    for value in [470.0, 470.0, 470.0, 480.0].repeat(10) {
        play.figure(0, &cart, Some(value));
        changed += play.until(play.second + 5).changed.len();
    }
    assert_eq!(changed, 1);
    play.figure(0, &cart, Some(475.0));
    assert_eq!(play.until(play.second + 35).changed.len(), 1);
}

#[test]
fn an_alert_without_figures_ends_after_its_window() {
    for gone in [false, true] {
        let mut play = play(vec![threshold("slow", immediate)]);
        let cart = endpoint("shop", "/cart");
        play.figure(0, &cart, Some(900.0));
        play.until(5);
        if gone {
            play.forget(&cart);
        } else {
            play.figure(0, &cart, None);
        }
        assert_eq!(play.until(65).changed, []);
        assert_eq!((play.states(), play.alert().value), (vec![State::Firing], None));
        let resolved = play.until(75).changed;
        let text = "resolved, there has been no figure of it for 1m (was: mean response time of GET /cart of shop:8080 \
                    is 900 ms (limit 500 ms) over 1m)";
        assert_eq!(resolved[0].message, text);
        assert_eq!(resolved[0].resolved_wall_ns, Some(wall(70)));
    }
}

#[test]
fn a_figure_that_comes_back_keeps_the_alert() {
    let mut play = play(vec![threshold("slow", immediate)]);
    let cart = endpoint("shop", "/cart");
    for _ in 0..10 {
        play.figure(0, &cart, Some(900.0));
        play.until(play.second + 5);
        play.figure(0, &cart, None);
        play.until(play.second + 50);
    }
    assert_eq!(play.states(), [State::Firing]);
    assert_eq!(play.alert().since_wall_ns, wall(5));
}

#[test]
fn what_is_changed_or_deleted_ends_its_alerts() {
    let mut play = play(vec![threshold("slow", immediate), threshold("slower", immediate)]);
    let cart = endpoint("shop", "/cart");
    play.figure(0, &cart, Some(900.0));
    play.figure(1, &cart, Some(900.0));
    assert_eq!(play.until(5).changed.len(), 2);
    play.thresholds[0].value = 1_000.0;
    let changed = play.until(10).changed;
    assert!(
        changed[0]
            .message
            .starts_with("resolved, the threshold was changed (was: mean response")
    );
    assert_eq!(changed.len(), 1);
    play.thresholds[1].message = Some("{{ subject }} is slow".to_owned());
    play.thresholds[1].runbook = Some("https://wiki.example".to_owned());
    play.figure(1, &cart, Some(901.0));
    assert_eq!(play.until(15).changed, [], "other words are no other threshold");
    assert_eq!(play.alert().message, "GET /cart of shop:8080 is slow");
    assert_eq!(play.alert().runbook.as_deref(), Some("https://wiki.example"));
    play.thresholds.clear();
    play.readings.clear();
    let changed = play.until(20).changed;
    assert_eq!(
        changed[0].message,
        "resolved, the threshold was deleted (was: GET /cart of shop:8080 is slow)"
    );
}

#[test]
fn alerts_are_bounded_and_those_beyond_are_counted() {
    let mut play = play(vec![threshold("slow", immediate)]);
    let reading = |number: usize| Reading {
        threshold: 0,
        subject: endpoint("shop", &format!("/{number}")),
        value: Some(900.0),
        count: 1,
    };
    play.readings = (0..ACTIVE + 7).map(reading).collect();
    play.until(5);
    assert_eq!((play.states().len(), play.engine.beyond()), (ACTIVE, 7));
    play.thresholds.clear();
    play.readings.clear();
    play.until(10);
    assert_eq!((play.states().len(), play.engine.beyond()), (RESOLVED, 0));
}

#[test]
fn alerts_of_an_earlier_run_go_on() {
    let mut before = play(vec![threshold("slow", |_| ()), threshold("other", immediate)]);
    let (cart, order) = (endpoint("shop", "/cart"), endpoint("shop", "/pay"));
    before.figure(0, &cart, Some(900.0));
    before.until(30);
    before.figure(1, &cart, Some(700.0));
    before.figure(0, &order, Some(900.0));
    before.until(40);
    assert_eq!(before.states(), [State::Firing, State::Firing, State::Pending]);

    let mut after = play(before.thresholds.clone());
    after.second = 50;
    after.engine.restore(before.engine.alerts(), vec![], vec![]);
    assert_eq!(after.states(), [State::Firing; 2], "what was pending begins again");
    after.thresholds[1].value = 600.0;
    after.figure(0, &cart, Some(900.0));
    let changed = after.until(55).changed;
    assert_eq!(changed.len(), 1);
    assert!(changed[0].message.starts_with("resolved, the threshold was changed"));
    assert_eq!(after.alert().fired_wall_ns, Some(wall(35)), "not again");
    let kept = after.engine.alerts();
    let mut third = play(after.thresholds.clone());
    third.engine.restore(kept.clone(), vec![], vec![]);
    assert_eq!(third.engine.alerts(), kept);
}

#[test]
fn a_threshold_that_wants_at_least_so_much_ends_above() {
    let least = threshold("rare", |draft| {
        draft.metric = Some("throughput".to_owned());
        draft.comparison = Some("lt".to_owned());
        draft.value = Some(10.0);
        draft.for_ = None;
    });
    let mut play = play(vec![least]);
    let cart = endpoint("shop", "/cart");
    play.figure(0, &cart, Some(0.0));
    assert_eq!(play.until(5).changed.len(), 1);
    play.figure(0, &cart, Some(10.2));
    assert_eq!(play.until(100).changed, []);
    play.figure(0, &cart, Some(10.5));
    assert_eq!(play.until(150).changed.len(), 1);
}

#[test]
fn a_clock_that_goes_back_does_no_harm() {
    let mut play = play(vec![threshold("slow", |_| ())]);
    play.figure(0, &endpoint("shop", "/cart"), Some(900.0));
    play.until(30);
    let outcome = play.engine.step(&play.thresholds, &play.readings, wall(0));
    assert_eq!(outcome.changed, []);
    assert_eq!(play.until(35).changed.len(), 1);
}
