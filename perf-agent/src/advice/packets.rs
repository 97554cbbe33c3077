//! `retransmits`: packets of an endpoint's connections are lost on a path that is long, and some of its requests take
//! very long.
//!
//! A sender waits for at least 200 ms before it sends a last segment again (Linux' `TCP_RTO_MIN`), so requests beyond that
//! are what lost packets look like. Those of a server that spends its time in calls are slow for another reason.

use super::views::{Seen, Views, mean_ns, per_second};
use super::{Recommendation, Settings, text};
use crate::exchange::Role;

/// The rule's name.
pub const RULE: &str = "retransmits";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests below which nothing is said.
    pub min_requests: u64,
    /// Segments sent again below which nothing is said.
    pub min_retransmits: u64,
    /// Segments sent again per request below which nothing is said.
    pub per_request: f64,
    /// Mean round-trip time below which nothing is said.
    pub rtt_ms: f64,
    /// 99th percentile of the response times below which nothing is said.
    pub p99_ms: f64,
    /// Part of a server's time in calls from which on these are to blame.
    pub calls_share: f64,
}

impl Default for Limits {
    /// 100 requests, 10 segments that are 2 %; 1 ms; 200 ms; half.
    fn default() -> Self {
        Self {
            min_requests: 100,
            min_retransmits: 10,
            per_request: 0.02,
            rtt_ms: 1.0,
            p99_ms: 200.0,
            calls_share: 0.5,
        }
    }
}

pub(super) fn advise(views: &Views<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
    let all = views.all.iter().filter(|seen| !seen.waits);
    out.extend(all.filter_map(|seen| of(seen, settings)));
}

fn of(seen: &Seen<'_>, settings: &Settings) -> Option<Recommendation> {
    let (limits, view) = (&settings.packets, &seen.view);
    let network = view.network.as_deref()?;
    let (rtt_ns, summary) = (mean_ns(&network.rtt)?, view.response_time.summary()?);
    let per_request = network.retransmits as f64 / view.requests.max(1) as f64;
    let is_lossy = network.retransmits >= limits.min_retransmits && per_request >= limits.per_request;
    let is_slow = rtt_ns >= limits.rtt_ms * 1e6 && summary.p99_ns as f64 >= limits.p99_ms * 1e6;
    let in_calls_ns = view.breakdown.as_ref().map_or(0.0, |breakdown| {
        let classes = breakdown.classes.iter().filter_map(mean_ns);
        classes.sum()
    });
    if view.requests < limits.min_requests
        || !is_lossy
        || !is_slow
        || in_calls_ns >= limits.calls_share * summary.mean_ns
    {
        return None;
    }
    // Each costs a round trip at least; most cost far more.
    let lost_ns = network.retransmits as f64 * rtt_ns;
    let mut one = Recommendation::new(RULE, seen.number)
        .at(seen.endpoint)
        .gains(per_second(lost_ns, view.covered_ns), settings);
    one.number("requests", view.requests as f64);
    one.number("retransmits", network.retransmits as f64);
    one.number("retransmits_per_request", per_request);
    one.ms("rtt_ms_mean", rtt_ns);
    if let Some(variance_ns) = mean_ns(&network.rtt_variance) {
        one.ms("rtt_variance_ms_mean", variance_ns);
    }
    one.number("resets", network.resets as f64);
    one.ms("response_time_ms_p99", summary.p99_ns as f64);
    one.ms("response_time_ms_median", summary.median_ns as f64);
    let (name, path) = match seen.endpoint.key.role {
        Role::Server => (text::endpoint(seen.endpoint), "its clients"),
        Role::Client => {
            let service = text::service(&seen.endpoint.key.service);
            (
                format!("{} asked by {service}", text::called(seen.endpoint)),
                "the one asked",
            )
        }
    };
    one.text = format!(
        "On connections of {name} this host sent {} segments again for {} requests; the round trip takes {}, and of 100 \
         requests the slowest takes {} (median {}).",
        network.retransmits,
        view.requests,
        text::time(rtt_ns),
        text::time(summary.p99_ns as f64),
        text::time(summary.median_ns as f64),
    );
    one.fix = format!(
        "Find where packets are lost between this host and {path} (errors and drops of interfaces, a full link, a shaper); \
         smaller messages and kept connections suffer less."
    );
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{MS, Scene, asked, numbers, only, service};
    use super::*;
    use crate::aggregate::network::Sample;
    use crate::exchange::Protocol;

    /// 200 requests, of which some are slow; and what sockets say.
    fn scene(slow: u32, retransmits: u32, rtt_ns: u64) -> (Scene, usize) {
        let mut scene = Scene::new();
        let client = service("shop", None);
        let endpoint = scene.client(&client, ("stock", Protocol::Http11), "/items");
        scene.wait(60);
        scene.ask(endpoint, 200 - slow, asked(40 * MS));
        scene.ask(endpoint, slow, asked(300 * MS));
        let sample = Sample {
            rtt_ns: Some(rtt_ns),
            rtt_variance_ns: 2 * MS,
            retransmits,
            connect_ns: None,
        };
        scene.packets(endpoint, 2, &sample);
        (scene, endpoint)
    }

    #[test]
    fn lost_packets_on_a_long_path_are_told_with_the_slow_requests() {
        let (scene, endpoint) = scene(10, 15, 30 * MS);
        let one = only(scene.first(RULE));
        assert_eq!(one.endpoint, Some(scene.id(endpoint)));
        assert_eq!(
            numbers(&one),
            [
                ("requests", 200.0),
                ("retransmits", 30.0),
                ("retransmits_per_request", 0.15),
                ("rtt_ms_mean", 30.0),
                ("rtt_variance_ms_mean", 2.0),
                ("resets", 0.0),
                ("response_time_ms_p99", 300.0),
                ("response_time_ms_median", 40.0),
            ]
        );
        assert_eq!(one.gain_ms_per_second, Some(15.0));
        assert_eq!(
            one.text,
            "On connections of GET /items at stock:1 asked by shop this host sent 30 segments again for 200 requests; the \
             round trip takes 30 ms, and of 100 requests the slowest takes 300 ms (median 40 ms)."
        );
    }

    #[test]
    fn nothing_is_said_of_fast_ones_of_short_paths_and_of_few_packets() {
        for (slow, retransmits, rtt_ns) in [(0, 15, 30 * MS), (10, 15, MS / 2), (10, 1, 30 * MS)] {
            assert_eq!(scene(slow, retransmits, rtt_ns).0.first(RULE), []);
        }
    }

    #[test]
    fn nothing_is_said_of_a_server_that_waits_for_others() {
        let mut scene = Scene::new();
        let orders = scene.server(&service("shop", Some(80)), "/orders");
        let select = scene.client(&service("shop", None), ("db", Protocol::Postgresql), "SELECT");
        scene.wait(60);
        scene.ask(orders, 200, asked(300 * MS));
        let sample = Sample {
            rtt_ns: Some(30 * MS),
            retransmits: 30,
            ..Sample::default()
        };
        scene.packets(orders, 1, &sample);
        assert_eq!(scene.first(RULE).len(), 1);
        scene.spend(orders, 200, 50 * MS, &[(select, 1, 250 * MS)]);
        assert_eq!(scene.first(RULE), []);
    }
}
