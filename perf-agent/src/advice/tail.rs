//! `tail_endpoint`: one endpoint, of which few requests are, makes most of a service's slowest ones.

use super::views::{Served, Views, mean_ns, per_second};
use super::{Recommendation, Settings, text};
use crate::aggregate::Distribution;
use crate::aggregate::distribution::bucket_of;

/// The rule's name.
pub const RULE: &str = "tail_endpoint";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Answered requests of the service below which nothing is said.
    pub min_requests: u64,
    /// Part of the slowest requests from which on an endpoint makes them.
    pub min_share_of_slowest: f64,
    /// Part of all requests up to which an endpoint is one with few.
    pub max_share_of_requests: f64,
    /// 99th percentile of the service below which nothing is said.
    pub p99_ms: f64,
    /// How many times the 99th percentile without that endpoint it has to be.
    pub times: f64,
}

impl Default for Limits {
    /// 500 requests (so that the slowest hundredth is not a handful), half, a fifth, 50 ms, twice.
    fn default() -> Self {
        Self {
            min_requests: 500,
            min_share_of_slowest: 0.5,
            max_share_of_requests: 0.2,
            p99_ms: 50.0,
            times: 2.0,
        }
    }
}

pub(super) fn advise(views: &Views<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
    let services = views.services();
    out.extend(services.iter().filter_map(|served| of(served, settings)));
}

/// Samples in a bucket or in slower ones.
fn from_bucket(times: &Distribution, bucket: u16) -> u64 {
    let slower = times.buckets().filter(|(index, _)| *index >= bucket);
    slower.map(|(_, count)| count).sum()
}

fn of(served: &Served<'_>, settings: &Settings) -> Option<Recommendation> {
    let limits = &settings.tail;
    let answered: u64 = served
        .endpoints
        .iter()
        .map(|seen| seen.view.response_time.count())
        .sum();
    if served.endpoints.len() < 2 || answered < limits.min_requests {
        return None;
    }
    let mut all = Distribution::default();
    for seen in &served.endpoints {
        all.merge(&seen.view.response_time);
    }
    let p99_ns = all.quantile_ns(0.99)?;
    if (p99_ns as f64) < limits.p99_ms * 1e6 {
        return None;
    }
    // The slowest are those in its bucket, whose times differ by less than a hundredth, and beyond.
    let bucket = bucket_of(p99_ns.min(crate::aggregate::distribution::HIGHEST_NS));
    let slowest = from_bucket(&all, bucket);
    let (of_it, seen) = served
        .endpoints
        .iter()
        .map(|seen| (from_bucket(&seen.view.response_time, bucket), seen))
        .max_by_key(|(slowest, seen)| (*slowest, seen.number))?;
    let requests = seen.view.response_time.count();
    let share_of_slowest = of_it as f64 / slowest as f64;
    let share_of_requests = requests as f64 / answered as f64;
    if share_of_slowest < limits.min_share_of_slowest || share_of_requests > limits.max_share_of_requests {
        return None;
    }
    let mut others = Distribution::default();
    for other in served.endpoints.iter().filter(|other| other.number != seen.number) {
        others.merge(&other.view.response_time);
    }
    let others_p99_ns = others.quantile_ns(0.99)?;
    if (p99_ns as f64) < limits.times * others_p99_ns as f64 {
        return None;
    }
    let (own_mean_ns, others_mean_ns) = (mean_ns(&seen.view.response_time)?, mean_ns(&others)?);
    let lost_ns = (own_mean_ns - others_mean_ns).max(0.0) * requests as f64;

    let mut one = Recommendation::new(RULE, seen.number)
        .at(seen.endpoint)
        .gains(per_second(lost_ns, seen.view.covered_ns), settings);
    one.number("requests", requests as f64);
    one.number("requests_of_service", answered as f64);
    one.number("share_of_requests", share_of_requests);
    one.number("slowest_requests", slowest as f64);
    one.number("share_of_slowest", share_of_slowest);
    one.ms("service_response_time_ms_p99", p99_ns as f64);
    one.ms("service_response_time_ms_p99_without", others_p99_ns as f64);
    one.ms("response_time_ms_mean", own_mean_ns);
    one.text = format!(
        "{} has {} of the requests and {} of those that take as long as the service's 99th percentile, {}, or longer; \
         without it, that would be {}.",
        text::endpoint(seen.endpoint),
        text::percent(share_of_requests),
        text::percent(share_of_slowest),
        text::time(p99_ns as f64),
        text::time(others_p99_ns as f64),
    );
    one.fix = String::from(
        "Make this endpoint faster, or serve it apart (other workers, behind the answer), so that others do not wait \
               for it.",
    );
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{MS, Scene, asked, numbers, only, service};
    use super::*;

    /// Requests of 10 ms, and some of another endpoint.
    fn scene(fast: u32, slow: u32, slow_ns: u64) -> (Scene, usize) {
        let mut scene = Scene::new();
        let shop = service("shop", Some(80));
        let (items, report) = (scene.server(&shop, "/items"), scene.server(&shop, "/report"));
        scene.wait(60);
        scene.ask(items, fast, asked(10 * MS));
        scene.ask(report, slow, asked(slow_ns));
        (scene, report)
    }

    #[test]
    fn the_endpoint_that_makes_the_slowest_hundredth_is_named() {
        let (scene, report) = scene(950, 50, 90 * MS);
        let one = only(scene.first(RULE));
        assert_eq!(one.endpoint, Some(scene.id(report)));
        assert_eq!(
            numbers(&one),
            [
                ("requests", 50.0),
                ("requests_of_service", 1000.0),
                ("share_of_requests", 0.05),
                ("slowest_requests", 50.0),
                ("share_of_slowest", 1.0),
                // In the middle of its bucket.
                ("service_response_time_ms_p99", 89.915_391),
                ("service_response_time_ms_p99_without", 10.0),
                ("response_time_ms_mean", 90.0),
            ]
        );
        // 50 requests of 80 ms more than the others in a minute.
        assert_eq!(one.gain_ms_per_second, Some(50.0 * 80.0 / 60.0));
        assert_eq!(
            one.text,
            "GET /report of shop:80 has 5 % of the requests and 100 % of those that take as long as the service's 99th \
             percentile, 89.9 ms, or longer; without it, that would be 10 ms."
        );
    }

    #[test]
    fn nothing_is_said_of_fast_tails_of_many_requests_of_few_and_where_all_are_slow() {
        for (fast, slow, slow_ns) in [(950, 50, 40 * MS), (700, 300, 90 * MS), (450, 49, 90 * MS)] {
            assert_eq!(scene(fast, slow, slow_ns).0.first(RULE), [], "{fast} {slow} {slow_ns}");
        }
        let (mut scene, _) = scene(950, 50, 90 * MS);
        let other = scene.server(&service("shop", Some(80)), "/export");
        scene.ask(other, 60, asked(90 * MS));
        assert_eq!(scene.first(RULE), []);
    }
}
