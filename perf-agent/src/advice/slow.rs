//! `slow_endpoint`: an endpoint is slow, and most of its time goes into one thing.
//!
//! Its parts are the calls to databases, caches and other services, its own time, receiving the request, sending the
//! answer, the wait in the socket before it was read, and one round trip to the client. Where too many calls cannot be
//! told apart from those of other requests, its own time is not blamed.

use super::views::{Seen, Views, mean_ns, per_second};
use super::{Recommendation, Settings, text};
use crate::aggregate::breakdown::{Downstream, REPEATED};
use crate::aggregate::{Breakdown, Distribution, WindowView};
use crate::exchange::Class;
use crate::snapshot::EndpointSnapshot;

/// The rule's name.
pub const RULE: &str = "slow_endpoint";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Answered requests below which nothing is said.
    pub min_requests: u64,
    /// Slow is an endpoint whose 95th percentile is so long, or whose mean with the wait before is.
    pub slow_ms: f64,
    /// Least part of the calls that are known to be of its requests for its own time to be blamed.
    pub min_attributed: f64,
}

impl Default for Limits {
    /// 20 requests, 100 ms (about where people begin to notice), half of the calls.
    fn default() -> Self {
        Self {
            min_requests: 20,
            slow_ms: 100.0,
            min_attributed: 0.5,
        }
    }
}

/// What a request's time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Own,
    Receiving,
    Sending,
    Calls(Class),
    Queue,
    Network,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Receiving => "receiving",
            Self::Sending => "sending",
            Self::Calls(class) => class.name(),
            Self::Queue => "queue",
            Self::Network => "network",
        }
    }

    /// The name of its mean among the evidence.
    fn evidence(self) -> &'static str {
        match self {
            Self::Own => "own_ms_mean",
            Self::Receiving => "receiving_ms_mean",
            Self::Sending => "sending_ms_mean",
            Self::Calls(Class::Database) => "database_ms_mean",
            Self::Calls(Class::Cache) => "cache_ms_mean",
            Self::Calls(Class::External) => "external_ms_mean",
            Self::Queue => "queue_ms_mean",
            Self::Network => "network_ms_mean",
        }
    }

    /// What it goes into.
    fn text(self) -> String {
        match self {
            Self::Own => "the service itself".to_owned(),
            Self::Receiving => "receiving the request".to_owned(),
            Self::Sending => "sending the answer".to_owned(),
            Self::Calls(class) => format!("waiting for {}", text::asked(class)),
            Self::Queue => "the queue of the socket, before it is read".to_owned(),
            Self::Network => "the round trip to the client".to_owned(),
        }
    }
}

/// The mean of each part that was measured.
fn parts(view: &WindowView, response_ns: f64) -> Vec<(Part, f64)> {
    let breakdown = view.breakdown.as_deref().filter(|breakdown| breakdown.requests() > 0);
    let mut own_ns = breakdown
        .and_then(|breakdown| mean_ns(&breakdown.own))
        .unwrap_or(response_ns);
    let mut parts = Vec::new();
    // These are of all exchanges, also of those that were not answered: only if that makes no difference, they are parts.
    let counts = [&view.response_time, &view.time_to_first_byte, &view.processing].map(Distribution::count);
    let transfer = [mean_ns(&view.time_to_first_byte), mean_ns(&view.processing)];
    if let ([answered, first, processed], [Some(first_ns), Some(processed_ns)]) = (counts, transfer)
        && answered == first
        && first == processed
    {
        let (receiving_ns, sending_ns) = (first_ns - processed_ns, response_ns - first_ns);
        // Calls at the same time would be counted twice.
        if receiving_ns >= 0.0 && sending_ns >= 0.0 && receiving_ns + sending_ns <= own_ns {
            own_ns -= receiving_ns + sending_ns;
            parts.extend([(Part::Receiving, receiving_ns), (Part::Sending, sending_ns)]);
        }
    }
    parts.push((Part::Own, own_ns));
    if let Some(breakdown) = breakdown {
        let classes = Class::ALL.into_iter().zip(&breakdown.classes);
        parts.extend(classes.filter_map(|(class, times)| Some((Part::Calls(class), mean_ns(times)?))));
    }
    parts.extend(mean_ns(&view.queue_time).map(|queue_ns| (Part::Queue, queue_ns)));
    let rtt_ns = view.network.as_ref().and_then(|network| mean_ns(&network.rtt));
    parts.extend(rtt_ns.map(|rtt_ns| (Part::Network, rtt_ns)));
    parts
}

/// Part of the calls that are known to be of this endpoint's requests; `None` if it makes none.
fn attributed(breakdown: &Breakdown) -> Option<f64> {
    let all = breakdown.attributed() + breakdown.ambiguous;
    (all > 0).then(|| breakdown.attributed() as f64 / all as f64)
}

/// Of the endpoints of one class, that with most time.
fn most<'a>(
    views: &Views<'a>,
    breakdown: &'a Breakdown,
    class: Class,
) -> Option<(&'a Downstream, &'a EndpointSnapshot)> {
    let known = |called: &'a Downstream| Some((called, views.endpoint(called.endpoint)?));
    let all = breakdown.downstream.iter().filter_map(known);
    all.filter(|(_, endpoint)| endpoint.key.protocol.class() == class)
        .max_by_key(|(called, _)| (called.time.sum_ns(), called.endpoint))
}

pub(super) fn advise(views: &Views<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
    out.extend(views.served().filter_map(|seen| of(views, seen, settings)));
}

fn of(views: &Views<'_>, seen: &Seen<'_>, settings: &Settings) -> Option<Recommendation> {
    let (limits, view) = (&settings.slow, &seen.view);
    let summary = view.response_time.summary()?;
    let queue_ns = mean_ns(&view.queue_time).unwrap_or(0.0);
    let slow_ns = limits.slow_ms * 1e6;
    if summary.count < limits.min_requests || (summary.p95_ns as f64) < slow_ns && summary.mean_ns + queue_ns < slow_ns
    {
        return None;
    }
    let parts = parts(view, summary.mean_ns);
    let whole_ns: f64 = parts.iter().map(|(_, ns)| ns).sum();
    let (part, part_ns) = *parts.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let breakdown = view.breakdown.as_deref();
    let attributed = breakdown.and_then(attributed);
    if part == Part::Own && attributed.is_some_and(|attributed| attributed < limits.min_attributed) {
        return None;
    }
    let share = part_ns / whole_ns;

    let mut one = Recommendation::new(RULE, seen.number)
        .at(seen.endpoint)
        .gains(per_second(part_ns * summary.count as f64, view.covered_ns), settings);
    one.number("requests", view.requests as f64);
    one.ms("response_time_ms_mean", summary.mean_ns);
    one.ms("response_time_ms_p95", summary.p95_ns as f64);
    for (part, ns) in &parts {
        one.ms(part.evidence(), *ns);
    }
    one.word("dominant_part", part.name());
    one.number("dominant_share", share);
    if let Some(attributed) = attributed {
        one.number("attributed_share", attributed);
    }
    one.text = format!(
        "{} takes {} on average, 95 % of requests up to {}. {} of what a client waits for it, {}, goes into {}.",
        text::endpoint(seen.endpoint),
        text::time(summary.mean_ns),
        text::time(summary.p95_ns as f64),
        text::percent(share),
        text::time(part_ns),
        part.text(),
    );
    let called = match (part, breakdown) {
        (Part::Calls(class), Some(breakdown)) => most(views, breakdown, class).map(|most| (breakdown, most)),
        _ => None,
    };
    one.fix = match called {
        Some((breakdown, (called, endpoint))) => of_calls(&mut one, breakdown, called, endpoint),
        None => String::from(fix(part, seen.endpoint.key.protocol.class())),
    };
    Some(one)
}

/// Says which calls take most of the time; gives what would help.
fn of_calls(
    one: &mut Recommendation,
    breakdown: &Breakdown,
    called: &Downstream,
    endpoint: &EndpointSnapshot,
) -> String {
    let per_request = called.calls as f64 / breakdown.requests() as f64;
    let call_ns = called.time.sum_ns() as f64 / called.calls.max(1) as f64;
    one.word("downstream_endpoint_id", &*endpoint.id);
    one.word("downstream_operation", endpoint.key.operation.to_string());
    one.number("downstream_calls_per_request", per_request);
    one.ms("downstream_call_ms_mean", call_ns);
    let name = text::called(endpoint);
    one.adds(&format!(
        " Most of that is {name}: {} calls per request of {} each.",
        text::number(per_request),
        text::time(call_ns)
    ));
    if per_request >= f64::from(REPEATED) {
        return format!("Ask {name} once for all that a request needs, or keep its answers.");
    }
    match endpoint.key.protocol.class() {
        Class::Database => {
            format!("Make {name} faster (an index, fewer rows), or keep its answers in a cache.")
        }
        Class::Cache => format!("Ask {name} for several keys at once, or find out why it is slow."),
        Class::External => {
            format!("Call {name} less often, or at the same time as others, or behind the answer; or make it faster.")
        }
    }
}

/// What would help an endpoint of a server of this class.
fn fix(part: Part, class: Class) -> &'static str {
    match part {
        Part::Own if class == Class::Database => {
            "Make the statement faster: an index, fewer rows, less that it waits for (locks). The database's own plan of it \
             tells which."
        }
        Part::Own => {
            "Profile the service itself: in that time it waits for no call that is seen, so it computes, waits for locks, \
             files or a free connection, or calls in a protocol that is not read."
        }
        Part::Receiving => "Clients send slowly: smaller requests, or a proxy in front that takes them in whole.",
        Part::Sending => "Smaller answers (pages, compression), or a proxy in front that takes them off the service.",
        Part::Calls(Class::Database) => "Fewer or faster queries, or a cache for what they answer.",
        Part::Calls(Class::Cache) => "Ask the cache for several keys at once, or find out why it is slow.",
        Part::Calls(Class::External) => "Fewer calls, or calls at the same time, or a cache for what they answer.",
        Part::Queue => "More workers or threads, or shorter work on the one that reads.",
        Part::Network => "Serve nearer to the clients, and with fewer round trips: kept connections, HTTP/2.",
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{MS, Scene, asked, numbers, only, service, words};
    use super::*;
    use crate::aggregate::network::Sample;
    use crate::exchange::Protocol;
    use crate::threshold::Severity;

    #[test]
    fn a_slow_database_is_named_with_its_calls() {
        let mut scene = Scene::new();
        let (shop, client) = (service("shop", Some(80)), service("shop", None));
        let orders = scene.server(&shop, "/orders");
        let select = scene.client(&client, ("db", Protocol::Postgresql), "SELECT ? FROM orders");
        let get = scene.client(&client, ("cache", Protocol::Redis), "GET");
        scene.wait(60);
        scene.ask(orders, 40, asked(200 * MS));
        scene.spend(orders, 40, 40 * MS, &[(select, 4, 150 * MS), (get, 2, 10 * MS)]);
        let one = only(scene.first(RULE));
        assert_eq!(one.endpoint, Some(scene.id(orders)));
        assert_eq!((one.service.as_ref(), one.severity), (Some(&shop), Severity::Warning));
        assert_eq!(
            numbers(&one),
            [
                ("requests", 40.0),
                ("response_time_ms_mean", 200.0),
                ("response_time_ms_p95", 200.0),
                ("receiving_ms_mean", 0.0),
                ("sending_ms_mean", 0.0),
                ("own_ms_mean", 40.0),
                ("database_ms_mean", 150.0),
                ("cache_ms_mean", 10.0),
                ("external_ms_mean", 0.0),
                ("queue_ms_mean", 0.0),
                ("dominant_share", 0.75),
                ("attributed_share", 1.0),
                ("downstream_calls_per_request", 4.0),
                ("downstream_call_ms_mean", 37.5),
            ]
        );
        assert_eq!(
            words(&one),
            [
                ("dominant_part", "database".to_owned()),
                ("downstream_endpoint_id", scene.id(select).to_string()),
                ("downstream_operation", "SELECT ? FROM orders".to_owned()),
            ]
        );
        assert_eq!(one.gain_ms_per_second, Some(100.0));
        assert_eq!(
            one.text,
            "GET /orders of shop:80 takes 200 ms on average, 95 % of requests up to 200 ms. 75 % of what a client waits for it, \
             150 ms, goes into waiting for databases. Most of that is SELECT ? FROM orders at db:1: 4 calls per request of \
             37.5 ms each."
        );
    }

    /// The part that is said to dominate.
    fn dominant(prepare: impl FnOnce(&mut Scene, usize)) -> Option<String> {
        let mut scene = Scene::new();
        let endpoint = scene.server(&service("shop", Some(80)), "/");
        scene.wait(60);
        prepare(&mut scene, endpoint);
        let said = scene.first(RULE);
        let part = said
            .first()?
            .evidence
            .iter()
            .find(|(name, _)| *name == "dominant_part")?;
        match &part.1 {
            super::super::Evidence::Text(text) => Some(text.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_part_is_told_from_the_others() {
        let part = dominant(|scene, endpoint| scene.ask(endpoint, 20, asked(100 * MS)));
        assert_eq!(part.as_deref(), Some("own"));
        let with = |change: fn(&mut super::super::scene::Asked)| {
            dominant(|scene, endpoint| {
                let mut slow = asked(100 * MS);
                change(&mut slow);
                scene.ask(endpoint, 20, slow);
            })
        };
        assert_eq!(with(|slow| slow.queue_ns = 101 * MS).as_deref(), Some("queue"));
        assert_eq!(
            with(|slow| slow.transfer_ns = [60 * MS, 0]).as_deref(),
            Some("receiving")
        );
        assert_eq!(with(|slow| slow.transfer_ns = [0, 60 * MS]).as_deref(), Some("sending"));
        let part = dominant(|scene, endpoint| {
            scene.ask(endpoint, 20, asked(100 * MS));
            let sample = Sample {
                rtt_ns: Some(150 * MS),
                ..Sample::default()
            };
            scene.packets(endpoint, 1, &sample);
        });
        assert_eq!(part.as_deref(), Some("network"));
    }

    #[test]
    fn nothing_is_said_of_fast_ones_of_few_requests_and_of_time_that_may_be_of_calls() {
        assert_eq!(
            dominant(|scene, endpoint| scene.ask(endpoint, 1000, asked(99 * MS))),
            None
        );
        assert_eq!(
            dominant(|scene, endpoint| scene.ask(endpoint, 19, asked(900 * MS))),
            None
        );
        let ambiguous = |scene: &mut Scene, endpoint| {
            scene.ask(endpoint, 20, asked(100 * MS));
            scene.spend(endpoint, 20, 100 * MS, &[]);
            scene.ambiguous(endpoint, 1);
        };
        assert_eq!(dominant(ambiguous), None);
    }

    #[test]
    fn much_time_is_worse_than_little() {
        let mut scene = Scene::new();
        let endpoint = scene.server(&service("shop", Some(80)), "/");
        scene.wait(60);
        scene.ask(endpoint, 600, asked(100 * MS));
        let one = only(scene.first(RULE));
        assert_eq!((one.gain_ms_per_second, one.severity), (Some(1000.0), Severity::Error));
    }
}
