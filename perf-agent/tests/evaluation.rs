//! What an evaluation of thresholds costs where there is much to be measured.
//!
//! Ignored by default, as it measures time: `cargo test --test evaluation -- --ignored --nocapture`.

use std::sync::Arc;

use perf_agent::aggregate::Window;
use perf_agent::alert::{Engine, Settings as Told};
use perf_agent::clock::monotonic_ns;
use perf_agent::custom::CustomSnapshot;
use perf_agent::event::Peers;
use perf_agent::exchange::{Ended, Outcome, Protocol, Request, Role, Sink as _, Tally, Times};
use perf_agent::statistics::{Origin, Settings, Statistics};
use perf_agent::threshold::{Draft, Evaluator, Observed, Source, Threshold, defaults};

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_000 * SECOND_NS;
const ENDPOINTS: u64 = 1_000;

/// A thousand endpoints, each with a request per second for ten minutes.
fn statistics() -> Statistics {
    let settings = Settings {
        distinct_values: 10_000,
        ..Settings::default()
    };
    let mut statistics = Statistics::new(settings).expect("no routes of our own");
    statistics.tick(START_NS, START_NS);
    statistics.process(7, "/usr/bin/shop", "/user.slice");
    let peers = Arc::new(Peers::Inet {
        local: ([127, 0, 0, 1], 8080).into(),
        remote: ([10, 0, 0, 7], 50_000).into(),
    });
    let mut origin = Origin::new(Role::Server, peers, "shop");
    let name = |mut number: u64| {
        let mut name = String::from("/page");
        for _ in 0..3 {
            name.push(char::from(b'a' + u8::try_from(number % 26).unwrap_or(0)));
            number /= 26;
        }
        name
    };
    let paths: Vec<String> = (0..ENDPOINTS).map(name).collect();
    for second in 1..=600 {
        for (number, path) in paths.iter().enumerate() {
            let at_ns = START_NS + second * SECOND_NS;
            let time_ns = 1_000_000 * (1 + (second * 7_919 + number as u64 * 104_729) % 900);
            let request = Request {
                protocol: Protocol::Http11,
                method: "GET",
                path,
                query: "",
                host: None,
                request_id: None,
                first_ns: at_ns - time_ns,
                tgid: 7,
                tid: 7,
                said: perf_agent::exchange::Said::default(),
            };
            let ended = Ended {
                outcome: Outcome::Answered,
                status: Some(200),
                error: None,
                tally: Tally::default(),
                tid: 7,
                times: Times {
                    arrival_ns: None,
                    request_first_ns: request.first_ns,
                    request_last_ns: request.first_ns,
                    response_first_ns: Some(at_ns),
                    response_last_ns: at_ns,
                },
                request_bytes: 100,
                response_bytes: 1_000,
                stream: None,
            };
            let mut sink = statistics.sink(&mut origin);
            let ticket = sink.opened(&request);
            sink.ended(ticket, &ended);
        }
        statistics.tick(START_NS + second * SECOND_NS, START_NS + second * SECOND_NS);
    }
    statistics
}

fn threshold(metric: &str, scope: &str, window: Window) -> Threshold {
    let draft = Draft {
        metric: Some(metric.to_owned()),
        scope: Some(scope.to_owned()),
        value: Some(0.3),
        window: Some(window.name().to_owned()),
        ..Draft::default()
    };
    draft.check(Source::Api).expect("a good one")
}

#[test]
#[ignore = "measures time"]
fn a_thousand_endpoints_are_held_against_ten_thresholds_in_little_time() {
    let mut statistics = statistics();
    let snapshot = statistics.snapshot();
    let custom = CustomSnapshot::default();
    let observed = Observed {
        snapshot: &snapshot,
        resources: None,
        custom: &custom,
    };
    let of = |metrics: &[&str], window| -> Vec<Threshold> {
        metrics.iter().map(|metric| threshold(metric, "*", window)).collect()
    };
    let metrics = [
        "response_time_mean",
        "response_time_median",
        "response_time_p90",
        "response_time_p95",
        "response_time_p99",
        "response_time_p99_9",
        "response_time_max",
        "error_rate",
        "throughput",
        "concurrency",
    ];
    let mut two = of(&metrics[..5], Window::Minute);
    two.extend(of(&metrics[5..], Window::FiveMinutes));
    let mut with_sums = of(&metrics[..9], Window::Minute);
    with_sums.push(threshold("response_time_p95", "service:*", Window::Minute));
    for (what, thresholds) in [
        ("10 thresholds of one window", of(&metrics, Window::Minute)),
        ("10 thresholds of two windows", two),
        ("10 thresholds, one of a service", with_sums),
        ("the defaults", defaults::all()),
    ] {
        let mut evaluator = Evaluator::default();
        let mut engine = Engine::new(Told::default());
        evaluator.evaluate(&thresholds, &observed);
        let began_ns = monotonic_ns();
        let readings = evaluator.evaluate(&thresholds, &observed);
        let measured_ns = monotonic_ns();
        engine.step(&thresholds, &readings, snapshot.wall_ns);
        let stepped_ns = monotonic_ns();
        engine.step(&thresholds, &readings, snapshot.wall_ns + 10 * SECOND_NS);
        let again_ns = monotonic_ns();
        eprintln!(
            "{what}: {} figures in {} us, {} alerts in {} us, again in {} us",
            readings.len(),
            (measured_ns - began_ns) / 1_000,
            engine.alerts().len(),
            (stepped_ns - measured_ns) / 1_000,
            (again_ns - stepped_ns) / 1_000,
        );
        assert!(measured_ns - began_ns < 5 * SECOND_NS, "{what}");
        assert!(again_ns - measured_ns < 10 * SECOND_NS, "{what}");
    }
}
