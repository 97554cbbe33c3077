use super::*;
use crate::aggregate::window::SECOND_NS;
use crate::threshold::scene::{EPOCH_NS, MS, START_NS, Scene, Seen};

fn check(figures: Figures, score: u32, expected: &[(&str, u32, f64)]) {
    let health = Health::new(&figures, &Settings::default());
    let penalties: Vec<_> = health
        .penalties
        .iter()
        .map(|penalty| (penalty.rule.name(), penalty.points, penalty.limit))
        .collect();
    assert_eq!(
        (health.score, penalties.as_slice()),
        (Some(score), expected),
        "{figures:?}"
    );
}

const WELL: Figures = Figures {
    response_time_ms: Some(500.0),
    error_rate: Some(0.01),
    memory_usage: Some(0.8),
    cpu_usage: Some(0.8),
};

#[test]
fn what_is_at_its_limit_is_well() {
    check(WELL, 100, &[]);
}

#[test]
fn each_rule_takes_its_points_once() {
    let response_time_ms = Some(500.1);
    check(
        Figures {
            response_time_ms,
            ..WELL
        },
        90,
        &[("response_time", 10, 500.0)],
    );
    let response_time_ms = Some(1_001.0);
    check(
        Figures {
            response_time_ms,
            ..WELL
        },
        80,
        &[("response_time", 20, 1_000.0)],
    );
    let error_rate = Some(0.02);
    check(Figures { error_rate, ..WELL }, 85, &[("error_rate", 15, 0.01)]);
    let error_rate = Some(0.06);
    check(Figures { error_rate, ..WELL }, 70, &[("error_rate", 30, 0.05)]);
    let memory_usage = Some(0.81);
    check(Figures { memory_usage, ..WELL }, 90, &[("memory", 10, 0.8)]);
    let cpu_usage = Some(0.91);
    check(Figures { cpu_usage, ..WELL }, 80, &[("cpu", 20, 0.9)]);
}

#[test]
fn points_add_up_and_end_at_zero() {
    let worst = Figures {
        response_time_ms: Some(9_000.0),
        error_rate: Some(1.0),
        memory_usage: Some(1.0),
        cpu_usage: Some(1.0),
    };
    let expected = [
        ("response_time", 20, 1_000.0),
        ("error_rate", 30, 0.05),
        ("memory", 20, 0.9),
        ("cpu", 20, 0.9),
    ];
    check(worst, 10, &expected);
    let mut heavy = Settings::default();
    heavy.error_rate[1].points = 90;
    assert_eq!(Health::new(&worst, &heavy).score, Some(0));
}

#[test]
fn what_is_not_known_takes_no_points_and_is_named() {
    let figures = Figures {
        error_rate: Some(0.5),
        ..Figures::default()
    };
    let health = Health::new(&figures, &Settings::default());
    assert_eq!((health.score, health.penalties.len()), (Some(70), 1));
    assert_eq!(health.unknown, [Rule::ResponseTime, Rule::Memory, Rule::Cpu]);
    let nothing = Health::new(&Figures::default(), &Settings::default());
    assert_eq!((nothing.score, nothing.unknown.len()), (None, 4));
}

#[test]
fn host_and_services_are_judged_by_what_they_serve_and_take() {
    let mut scene = Scene::new();
    let seen = |service, status, time_ns| Seen {
        service,
        path: "/",
        status,
        at_ns: START_NS + 5 * SECOND_NS,
        time_ns,
    };
    scene.serve(98, seen("shop", 200, MS));
    scene.serve(2, seen("shop", 500, MS));
    scene.serve(100, seen("slow", 200, 1_500 * MS));
    scene.take(
        EPOCH_NS + START_NS,
        [Some(0.5), Some(0.95)],
        &[("shop", 8080, 0.85), ("batch", 0, 0.1)],
    );
    let snapshot = scene.snapshot(START_NS + 10 * SECOND_NS);
    let settings = Settings::default();
    let host = Health::of_host(&snapshot, scene.resources.as_ref(), &settings);
    let penalty = |rule, points, value, limit| Penalty {
        rule,
        points,
        value,
        limit,
    };
    let expected = Health {
        score: Some(70),
        penalties: vec![
            penalty(Rule::ResponseTime, 10, 750.5, 500.0),
            penalty(Rule::Memory, 20, 0.95, 0.9),
        ],
        unknown: vec![],
    };
    assert_eq!(host, expected, "one error of 100 is not over 1 %");
    let services = Health::of_services(&snapshot, scene.resources.as_ref(), &settings);
    let scores: Vec<_> = services
        .iter()
        .map(|(name, health)| (name.as_str(), health.score, health.unknown.len()))
        .collect();
    assert_eq!(
        scores,
        [("batch", Some(100), 3), ("shop", Some(75), 1), ("slow", Some(80), 2)]
    );
}
