//! Windows against a plain list of everything that happened.

use proptest::prelude::*;

use super::*;
use crate::exchange::{Tally, Times};

const START_NS: u64 = 12_345 * SECOND_NS + 678;

pub(super) fn ended(at_ns: u64, time_ns: u64, status: u16) -> Ended {
    Ended {
        outcome: Outcome::Answered,
        status: Some(status),
        error: None,
        tally: Tally::default(),
        tid: 0,
        times: Times {
            arrival_ns: None,
            request_first_ns: at_ns - time_ns,
            request_last_ns: at_ns - time_ns,
            response_first_ns: Some(at_ns),
            response_last_ns: at_ns,
        },
        request_bytes: 1,
        response_bytes: 2,
        stream: None,
    }
}

/// Something that happened: when, how long it took (`None`: it began), how many were in flight at most around it.
struct Happened {
    at_ns: u64,
    time_ns: Option<u64>,
    in_flight: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Open,
    End { time_ns: u64 },
    Wait { ns: u64 },
    Tick,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![
        4 => 0..2 * SECOND_NS,
        3 => 0..30 * SECOND_NS,
        2 => 0..1000 * SECOND_NS,
        1 => 0..20_000 * SECOND_NS,
        1 => 0..100_000 * SECOND_NS,
    ];
    let step = prop_oneof![
        3 => Just(Step::Open),
        3 => (1..10 * SECOND_NS).prop_map(|time_ns| Step::End { time_ns }),
        4 => wait.prop_map(|ns| Step::Wait { ns }),
        1 => Just(Step::Tick),
    ];
    prop::collection::vec(step, 1..200)
}

/// The window by looking at everything that happened.
fn check(aggregate: &Aggregate, happened: &[Happened], in_flight: u32, at_ns: u64) -> Result<(), TestCaseError> {
    for window in Window::ALL {
        let view = aggregate.window(window, at_ns);
        let nominal = match window {
            Window::Minute => 60,
            Window::FiveMinutes => 300,
            Window::FifteenMinutes => 900,
            Window::Hour => 3600,
            Window::Day => 86_400,
            Window::Start => u64::MAX / SECOND_NS,
        };
        prop_assert_eq!(view.covered_ns, at_ns - view.from_ns);
        prop_assert!(view.from_ns == START_NS || view.covered_ns >= nominal * SECOND_NS);
        prop_assert!(view.covered_ns as f64 <= nominal as f64 * 1.2 * SECOND_NS as f64);

        let within: Vec<_> = happened.iter().filter(|it| it.at_ns >= view.from_ns).collect();
        let mut times = Distribution::default();
        let mut seconds = BTreeMap::<u64, u32>::new();
        for it in &within {
            if let Some(time_ns) = it.time_ns {
                times.record(time_ns);
                *seconds.entry(it.at_ns / SECOND_NS).or_default() += 1;
            }
        }
        prop_assert_eq!(view.requests, times.count());
        prop_assert_eq!(aggregate.requests_within(window, at_ns), view.requests, "{:?}", window);
        let quiet = view.requests == 0 && view.max_in_flight == 0;
        prop_assert_eq!(aggregate.is_quiet(window, at_ns), quiet, "{:?}", window);
        prop_assert_eq!(view.bytes_sent, 2 * times.count());
        prop_assert_eq!(&view.response_time, &times, "{:?}", window);
        prop_assert_eq!(view.in_flight, in_flight);
        let highest = within.iter().map(|it| it.in_flight).max().unwrap_or(0).max(in_flight);
        prop_assert_eq!(view.max_in_flight, highest, "{:?}", window);
        prop_assert_eq!(
            view.peak_rps.to_bits(),
            f64::from(seconds.values().copied().max().unwrap_or(0)).to_bits()
        );
        let last_second = seconds.get(&(at_ns / SECOND_NS - 1)).copied().unwrap_or(0);
        prop_assert_eq!(view.current_rps.to_bits(), f64::from(last_second).to_bits());

        let series = aggregate.latency_series(window, at_ns);
        for pair in series.windows(2) {
            prop_assert_eq!(pair[0].at_ns + pair[0].length_ns, pair[1].at_ns);
        }
        if view.covered_ns < 24 * 3600 * SECOND_NS {
            let count = |point: &LatencyPoint| point.response_time.map_or(0, |summary| summary.count);
            prop_assert_eq!(series.iter().map(count).sum::<u64>(), times.count(), "{:?}", window);
            let trend = aggregate.throughput_trend(window, at_ns);
            prop_assert!(
                window == Window::Minute || trend.iter().map(|point| point.requests).sum::<u64>() == times.count()
            );
            prop_assert!(trend.len() <= 61, "{}", trend.len());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn windows_show_exactly_what_happened_in_them(steps in steps()) {
        let mut aggregate = Aggregate::new(Role::Server, START_NS);
        let mut happened = Vec::new();
        let (mut now_ns, mut in_flight) = (START_NS + 10 * SECOND_NS, 0);
        for step in steps {
            match step {
                Step::Open => {
                    aggregate.opened(now_ns);
                    in_flight += 1;
                    happened.push(Happened { at_ns: now_ns, time_ns: None, in_flight });
                }
                Step::End { time_ns } if in_flight > 0 => {
                    aggregate.ended(&ended(now_ns, time_ns, 200), &ErrorRule::default());
                    happened.push(Happened { at_ns: now_ns, time_ns: Some(time_ns), in_flight });
                    in_flight -= 1;
                }
                Step::End { .. } => {}
                Step::Wait { ns } => now_ns += ns,
                Step::Tick => {
                    aggregate.advance(now_ns);
                    check(&aggregate, &happened, in_flight, now_ns)?;
                }
            }
        }
        check(&aggregate, &happened, in_flight, now_ns)?;
    }

    #[test]
    fn merged_aggregates_show_what_happened_in_both(waits in prop::collection::vec((0..2000 * SECOND_NS, any::<bool>(), 1..SECOND_NS), 1..300)) {
        let mut parts = [Aggregate::new(Role::Server, START_NS), Aggregate::new(Role::Server, START_NS)];
        let mut whole = Aggregate::new(Role::Server, START_NS);
        let mut now_ns = START_NS + 10 * SECOND_NS;
        for (wait, which, time_ns) in waits {
            now_ns += wait;
            for aggregate in [&mut parts[usize::from(which)], &mut whole] {
                aggregate.opened(now_ns);
                aggregate.ended(&ended(now_ns, time_ns, 200), &ErrorRule::default());
            }
        }
        let [mut merged, other] = parts;
        merged.merge(other);
        for window in Window::ALL {
            let (a, b) = (merged.window(window, now_ns), whole.window(window, now_ns));
            prop_assert_eq!(&a.response_time, &b.response_time);
            prop_assert_eq!((a.requests, a.statuses, a.current_rps), (b.requests, b.statuses, b.current_rps));
        }
    }
}

#[test]
fn statuses_beyond_the_bound_are_counted_together() {
    let mut aggregate = Aggregate::new(Role::Server, START_NS);
    for status in 0..1000 {
        aggregate.opened(START_NS + SECOND_NS);
        aggregate.ended(&ended(START_NS + SECOND_NS, 1, status), &ErrorRule::default());
    }
    let view = aggregate.window(Window::Start, START_NS + SECOND_NS);
    assert_eq!(
        (view.statuses.len(), view.statuses_other),
        (STATUSES, 1000 - STATUSES as u64)
    );
    assert_eq!((view.errors, view.client_errors), (100, 100));
}

#[test]
fn an_exchange_that_is_reported_late_is_counted_in_its_second_and_in_the_running_slot() {
    let mut aggregate = Aggregate::new(Role::Server, START_NS);
    let at_ns = START_NS + 100 * SECOND_NS;
    aggregate.advance(at_ns);
    for late in [0, 2, 2, 1] {
        aggregate.opened(at_ns);
        aggregate.ended(&ended(at_ns - late * SECOND_NS, 1, 200), &ErrorRule::default());
    }
    let trend = aggregate.throughput_trend(Window::Minute, at_ns);
    let last: Vec<_> = trend.iter().rev().take(4).map(|point| point.requests).collect();
    assert_eq!(last, [1, 1, 2, 0]);
    assert_eq!(aggregate.window(Window::Minute, at_ns).requests, 4);
}

#[test]
fn a_long_time_without_anything_costs_nothing() {
    let mut aggregate = Aggregate::new(Role::Server, START_NS);
    aggregate.opened(START_NS);
    aggregate.ended(&ended(START_NS + SECOND_NS, 1, 200), &ErrorRule::default());
    aggregate.advance(u64::MAX / 2);
    assert_eq!(aggregate.window(Window::Day, 0).requests, 0);
    assert_eq!(aggregate.window(Window::Start, 0).requests, 1);
    assert!(aggregate.heap_bytes() < 3000, "{}", aggregate.heap_bytes());
}

#[test]
fn windows_are_called_as_in_the_api() {
    for window in Window::ALL {
        assert_eq!(Window::from_name(window.name()), Some(window));
    }
    assert_eq!(Window::from_name("2m"), None);
}
