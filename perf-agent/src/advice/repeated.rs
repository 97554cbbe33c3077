//! `n_plus_one`: one call is made many times while serving one request, where one call could ask for all.

use super::views::{Seen, Views, per_second};
use super::{Recommendation, Settings, subject, text};
use crate::aggregate::Breakdown;
use crate::aggregate::breakdown::{Downstream, REPEATED};
use crate::exchange::Class;
use crate::protocol;

/// The rule's name.
pub const RULE: &str = "n_plus_one";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests with [`REPEATED`] calls or more below which nothing is said.
    pub min_requests: u64,
    /// The part that they are to be of the endpoint's requests.
    pub min_share: f64,
}

impl Default for Limits {
    /// 10 requests that are a tenth.
    fn default() -> Self {
        Self {
            min_requests: 10,
            min_share: 0.1,
        }
    }
}

pub(super) fn advise(views: &Views<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
    for seen in views.served() {
        let Some(breakdown) = seen.view.breakdown.as_deref() else {
            continue;
        };
        let all = breakdown.downstream.iter();
        out.extend(all.filter_map(|called| of(views, seen, breakdown, called, settings)));
    }
}

fn of(
    views: &Views<'_>,
    seen: &Seen<'_>,
    breakdown: &Breakdown,
    called: &Downstream,
    settings: &Settings,
) -> Option<Recommendation> {
    let limits = &settings.repeated;
    let (requests, callers) = (breakdown.requests(), called.time.count());
    let share = called.repeated as f64 / requests.max(1) as f64;
    if called.repeated < limits.min_requests || share < limits.min_share || callers == 0 {
        return None;
    }
    let endpoint = views.endpoint(called.endpoint)?;
    // Of what was folded together nobody knows whether one call could do. What waits is to be called again and again.
    if endpoint.key.operation.is_other() || protocol::waits(endpoint.key.protocol, &endpoint.key.operation.route) {
        return None;
    }
    let class = endpoint.key.protocol.class();
    let call_ns = called.time.sum_ns() as f64 / called.calls as f64;
    // One call per request stays; and calls at the same time take no more than went by.
    let saved_ns = ((called.calls - callers) as f64 * call_ns).min(breakdown.classes[class as usize].sum_ns() as f64);
    let per_request = called.calls as f64 / callers as f64;

    let mut one = Recommendation::new(RULE, subject::of_numbers([seen.number, called.endpoint]))
        .at(seen.endpoint)
        .gains(per_second(saved_ns, seen.view.covered_ns), settings);
    one.number("requests", requests as f64);
    one.number("requests_repeating", called.repeated as f64);
    one.number("calls_repeated_from", f64::from(REPEATED));
    one.number("calls_per_request", per_request);
    one.number("calls_max", f64::from(called.most));
    one.ms("call_ms_mean", call_ns);
    one.ms("saved_ms_per_request", saved_ns / callers as f64);
    one.word("downstream_endpoint_id", &*endpoint.id);
    one.word("downstream_operation", endpoint.key.operation.to_string());
    one.text = format!(
        "{} calls {} {} times per request (at most {}), {} each; {} of {} requests call it {REPEATED} times or more. One \
         call for all would save up to {} per request.",
        text::endpoint(seen.endpoint),
        text::called(endpoint),
        text::number(per_request),
        called.most,
        text::time(call_ns),
        called.repeated,
        requests,
        text::time(saved_ns / callers as f64),
    );
    one.fix = String::from(match class {
        Class::Database => "Fetch all rows with one statement (a join, or `IN` with a list) instead of one by one.",
        Class::Cache => "Fetch all keys with one command (such as MGET), or send the commands in one pipeline.",
        Class::External => "Ask for all with one call, or keep what was answered; at least call at the same time.",
    });
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{MS, Scene, asked, numbers, only, service, words};
    use super::*;
    use crate::exchange::Protocol;

    /// Requests that make so many calls of 2 ms each, and others that make none.
    fn scene(repeating: u32, calls: u32, others: u32, statement: &str) -> (Scene, usize, usize) {
        let mut scene = Scene::new();
        let (shop, client) = (service("shop", Some(80)), service("shop", None));
        let orders = scene.server(&shop, "/orders");
        let select = scene.client(&client, ("db", Protocol::Postgresql), statement);
        scene.wait(60);
        scene.ask(orders, repeating + others, asked(50 * MS));
        let time_ns = u64::from(calls) * 2 * MS;
        scene.spend(orders, repeating, 50 * MS - time_ns, &[(select, calls, time_ns)]);
        scene.spend(orders, others, 50 * MS, &[]);
        (scene, orders, select)
    }

    #[test]
    fn a_statement_in_a_loop_is_named_with_what_one_for_all_would_save() {
        let (scene, orders, select) = scene(30, 12, 30, "SELECT ? FROM items WHERE id = ?");
        let one = only(scene.first(RULE));
        assert_eq!(one.endpoint, Some(scene.id(orders)));
        assert_eq!(
            numbers(&one),
            [
                ("requests", 60.0),
                ("requests_repeating", 30.0),
                ("calls_repeated_from", 10.0),
                ("calls_per_request", 12.0),
                ("calls_max", 12.0),
                ("call_ms_mean", 2.0),
                ("saved_ms_per_request", 22.0),
            ]
        );
        assert_eq!(words(&one)[0], ("downstream_endpoint_id", scene.id(select).to_string()));
        // 30 requests of 22 ms in a minute.
        assert_eq!(one.gain_ms_per_second, Some(11.0));
        assert_eq!(
            one.text,
            "GET /orders of shop:80 calls SELECT ? FROM items WHERE id = ? at db:1 12 times per request (at most 12), 2 ms \
             each; 30 of 60 requests call it 10 times or more. One call for all would save up to 22 ms per request."
        );
    }

    #[test]
    fn nothing_is_said_of_few_calls_few_requests_and_what_was_folded_together() {
        for (repeating, calls, others) in [(100, 9, 0), (9, 12, 0), (10, 12, 91)] {
            let (scene, ..) = scene(repeating, calls, others, "SELECT");
            assert_eq!(scene.first(RULE), [], "{repeating} {calls} {others}");
        }
        let (scene, ..) = scene(30, 12, 0, crate::endpoint::OTHER);
        assert_eq!(scene.first(RULE), []);
    }

    #[test]
    fn calls_at_the_same_time_save_no_more_than_went_by() {
        let mut scene = Scene::new();
        let orders = scene.server(&service("shop", Some(80)), "/orders");
        let called = scene.client(&service("shop", None), ("stock", Protocol::Http11), "/items/{id}");
        scene.wait(60);
        scene.ask(orders, 20, asked(10 * MS));
        // Twenty calls of 5 ms, all at once.
        let shares = crate::attribution::Shares {
            own_ns: 5 * MS,
            class_ns: [0, 0, 5 * MS],
            calls: [0, 0, 20],
            endpoints: vec![crate::attribution::Share {
                endpoint: u64::from_str_radix(&scene.id(called), 16).unwrap(),
                calls: 20,
                time_ns: 100 * MS,
            }],
        };
        scene.spend_shares(orders, 20, &shares);
        let one = only(scene.first(RULE));
        assert!(numbers(&one).contains(&("saved_ms_per_request", 5.0)), "{one:?}");
    }
}
