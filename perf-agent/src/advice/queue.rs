//! `queue`: requests of a service wait in the socket for longer than it works on them: it has too few workers.

use super::views::{Served, Views, per_second, seconds};
use super::{Recommendation, Settings, subject, text};

/// The rule's name.
pub const RULE: &str = "queue";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests whose wait is known below which nothing is said.
    pub min_requests: u64,
    /// Mean wait below which nothing is said: it is the scheduler's then.
    pub min_queue_ms: f64,
}

impl Default for Limits {
    /// 50 requests, 5 ms.
    fn default() -> Self {
        Self {
            min_requests: 50,
            min_queue_ms: 5.0,
        }
    }
}

pub(super) fn advise(views: &Views<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
    let services = views.services();
    out.extend(services.iter().filter_map(|served| of(served, settings)));
}

fn of(served: &Served<'_>, settings: &Settings) -> Option<Recommendation> {
    let limits = &settings.queue;
    let sum = |times: fn(&crate::aggregate::WindowView) -> &crate::aggregate::Distribution| {
        let all = served.endpoints.iter().map(|seen| times(&seen.view));
        all.fold((0, 0), |(count, sum_ns), times| {
            (count + times.count(), sum_ns + times.sum_ns())
        })
    };
    let (queued, queue_sum_ns) = sum(|view| &view.queue_time);
    let (processed, processing_sum_ns) = sum(|view| &view.processing);
    if queued < limits.min_requests || processed == 0 {
        return None;
    }
    let queue_ns = queue_sum_ns as f64 / queued as f64;
    let processing_ns = processing_sum_ns as f64 / processed as f64;
    if queue_ns <= processing_ns || queue_ns < limits.min_queue_ms * 1e6 {
        return None;
    }
    let worst = served
        .endpoints
        .iter()
        .max_by_key(|seen| seen.view.queue_time.sum_ns())?;
    let covered_ns = worst.view.covered_ns;
    // Little's law: time spent per time gone by is how many are at it on average.
    let at_once = |sum_ns: u128| sum_ns as f64 / (seconds(covered_ns) * 1e9);
    let (_, response_sum_ns) = sum(|view| &view.response_time);
    let (busy, waiting) = (at_once(response_sum_ns), at_once(queue_sum_ns));

    let mut one = Recommendation::new(RULE, subject::of_service(served.service))
        .at(worst.endpoint)
        .gains(per_second(queue_sum_ns as f64, covered_ns), settings);
    one.number("requests", queued as f64);
    one.ms("queue_ms_mean", queue_ns);
    one.ms("processing_ms_mean", processing_ns);
    one.number("concurrency_mean", busy);
    one.number("waiting_mean", waiting);
    let max = served.endpoints.iter().map(|seen| seen.view.max_in_flight).max();
    one.number("concurrency_max_of_endpoint", f64::from(max.unwrap_or(0)));
    one.text = format!(
        "Requests to {} wait {} in the socket before they are read, and are then worked on for {}: on average {} wait while \
         {} are served.",
        text::service(served.service),
        text::time(queue_ns),
        text::time(processing_ns),
        text::number(waiting),
        text::number(busy),
    );
    one.fix = format!(
        "More workers or threads, about {} at this load instead of {} busy ones, or shorter work on the one that reads.",
        text::number((busy + waiting).ceil()),
        text::number(busy),
    );
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Asked, MS, Scene, asked, numbers, only, service};
    use super::*;

    fn scene(requests: u32, queue_ns: u64) -> Scene {
        let mut scene = Scene::new();
        let shop = service("shop", Some(80));
        let (work, ping) = (scene.server(&shop, "/work"), scene.server(&shop, "/ping"));
        scene.wait(60);
        scene.ask(
            work,
            requests,
            Asked {
                queue_ns,
                ..asked(20 * MS)
            },
        );
        scene.ask(
            ping,
            requests,
            Asked {
                queue_ns: queue_ns / 2,
                ..asked(10 * MS)
            },
        );
        scene
    }

    #[test]
    fn a_service_whose_requests_wait_longer_than_they_take_has_too_few_workers() {
        let one = only(scene(120, 80 * MS).first(RULE));
        assert_eq!(one.operation.as_deref(), Some("GET /work"));
        assert_eq!(
            numbers(&one),
            [
                ("requests", 240.0),
                ("queue_ms_mean", 60.0),
                ("processing_ms_mean", 15.0),
                ("concurrency_mean", 0.06),
                ("waiting_mean", 0.24),
                ("concurrency_max_of_endpoint", 1.0),
            ]
        );
        assert_eq!(one.gain_ms_per_second, Some(240.0));
        assert_eq!(
            one.text,
            "Requests to shop:80 wait 60 ms in the socket before they are read, and are then worked on for 15 ms: on average \
             0.24 wait while 0.06 are served."
        );
    }

    #[test]
    fn nothing_is_said_of_short_waits_and_of_few_requests() {
        for (requests, queue_ns) in [(120, 20 * MS), (24, 80 * MS)] {
            assert_eq!(scene(requests, queue_ns).first(RULE), [], "{requests} {queue_ns}");
        }
        // Longer than the work, but the scheduler's.
        let mut scene = Scene::new();
        let ping = scene.server(&service("shop", Some(80)), "/ping");
        scene.wait(60);
        scene.ask(
            ping,
            1000,
            Asked {
                queue_ns: 4 * MS,
                ..asked(MS)
            },
        );
        assert_eq!(scene.first(RULE), []);
    }
}
