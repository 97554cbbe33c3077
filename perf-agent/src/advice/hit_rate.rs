//! `cache_hit_rate`: a command asks a cache for keys, often, and most are not there.
//!
//! What a miss costs is known if in the services that ask, one other call is made about as often as the cache misses: then
//! it is what follows.

use hashbrown::HashMap;

use super::views::{Seen, Views, per_second, seconds};
use super::{Recommendation, Settings, text};
use crate::exchange::{Class, Role};
use crate::snapshot::EndpointSnapshot;

/// The rule's name.
pub const RULE: &str = "cache_hit_rate";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Keys asked for below which nothing is said.
    pub min_lookups: u64,
    /// Hit rate from which on it is fine.
    pub hit_rate: f64,
    /// How far the number of calls may be from that of the misses to be what follows them, as a part of it.
    pub follows_within: f64,
}

impl Default for Limits {
    /// 100 keys, of which less than 70 % are there; a tenth.
    fn default() -> Self {
        Self {
            min_lookups: 100,
            hit_rate: 0.7,
            follows_within: 0.1,
        }
    }
}

/// What is called when the cache has not what is asked for.
struct Following<'a> {
    endpoint: &'a EndpointSnapshot,
    calls: u64,
    sum_ns: u128,
}

/// The call that is made about as often as this cache endpoint misses; of several, that with most time.
fn following<'a>(views: &Views<'a>, cache: &Seen<'_>, limits: &Limits) -> Option<Following<'a>> {
    let mut called: HashMap<u64, (u64, u128)> = HashMap::new();
    for breakdown in views.served().filter_map(|seen| seen.view.breakdown.as_deref()) {
        if breakdown
            .downstream
            .iter()
            .any(|called| called.endpoint == cache.number)
        {
            for other in &breakdown.downstream {
                let (calls, sum_ns) = called.entry(other.endpoint).or_default();
                *calls += other.calls;
                *sum_ns += other.time.sum_ns();
            }
        }
    }
    // All of what asks the cache has to be seen.
    let misses = cache.view.tallies.misses as f64;
    let near = |calls: u64, to: f64| (calls as f64 - to).abs() <= to * limits.follows_within;
    if !near(called.get(&cache.number)?.0, cache.view.requests as f64) {
        return None;
    }
    let all = called.into_iter().filter_map(|(number, (calls, sum_ns))| {
        let endpoint = views.endpoint(number)?;
        let is_other = endpoint.key.protocol.class() != Class::Cache && near(calls, misses);
        is_other.then_some(Following {
            endpoint,
            calls,
            sum_ns,
        })
    });
    all.max_by_key(|following| (following.sum_ns, following.endpoint.id.clone()))
}

pub(super) fn advise(views: &Views<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
    let caches = views.all.iter().filter(|seen| {
        let key = &seen.endpoint.key;
        key.role == Role::Client && key.protocol.class() == Class::Cache && !seen.waits && !key.operation.is_other()
    });
    out.extend(caches.filter_map(|cache| of(views, cache, settings)));
}

fn of(views: &Views<'_>, cache: &Seen<'_>, settings: &Settings) -> Option<Recommendation> {
    let (limits, tallies) = (&settings.hit_rate, cache.view.tallies);
    let (lookups, hit_rate) = (tallies.hits + tallies.misses, tallies.hit_rate()?);
    if lookups < limits.min_lookups || hit_rate >= limits.hit_rate {
        return None;
    }
    let covered_ns = cache.view.covered_ns;
    let mut one = Recommendation::new(RULE, cache.number).at(cache.endpoint);
    let following = following(views, cache, limits);
    if let Some(following) = &following {
        one = one.gains(per_second(following.sum_ns as f64, covered_ns), settings);
    }
    one.number("requests", cache.view.requests as f64);
    one.number("hits", tallies.hits as f64);
    one.number("misses", tallies.misses as f64);
    one.number("hit_rate", hit_rate);
    one.number("lookups_per_second", lookups as f64 / seconds(covered_ns));
    one.text = format!(
        "{} asked {} for {lookups} keys in {} and found {} of them ({} misses).",
        text::service(&cache.endpoint.key.service),
        text::called(cache.endpoint),
        text::window(cache.view.window),
        text::percent(hit_rate),
        tallies.misses,
    );
    if let Some(following) = following {
        let call_ns = following.sum_ns as f64 / following.calls.max(1) as f64;
        one.word("after_miss_endpoint_id", &*following.endpoint.id);
        one.word("after_miss_operation", following.endpoint.key.operation.to_string());
        one.number("after_miss_calls", following.calls as f64);
        one.ms("saved_ms_per_hit", call_ns);
        one.adds(&format!(
            " After a miss it calls {}, {}.",
            text::called(following.endpoint),
            text::time(call_ns)
        ));
    }
    one.fix = String::from(
        "Keep entries longer, fill the cache before they are asked for, give it more memory if it evicts, and remember \
               also that there is nothing; or do not ask it for what it never has.",
    );
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{MS, Scene, asked, numbers, only, service, words};
    use super::*;
    use crate::exchange::{Protocol, Tally};

    /// A service that asks a cache, and of whose requests so many ask a database, too.
    fn scene(hits: u32, misses: u32, queries: u32) -> (Scene, usize, usize) {
        let mut scene = Scene::new();
        let (shop, client) = (service("shop", Some(80)), service("shop", None));
        let item = scene.server(&shop, "/item");
        let get = scene.client(&client, ("cache", Protocol::Redis), "GET");
        let select = scene.client(&client, ("db", Protocol::Postgresql), "SELECT");
        scene.wait(60);
        for (count, tally) in [(hits, (1, 0)), (misses, (0, 1))] {
            let (hits, misses) = tally;
            let tally = Tally {
                rows: None,
                hits,
                misses,
            };
            scene.ask(get, count, super::super::scene::Asked { tally, ..asked(MS) });
        }
        scene.ask(item, hits + misses, asked(20 * MS));
        scene.spend(item, queries, 4 * MS, &[(get, 1, MS), (select, 1, 15 * MS)]);
        scene.spend(item, hits + misses - queries, 19 * MS, &[(get, 1, MS)]);
        (scene, get, select)
    }

    #[test]
    fn misses_that_are_followed_by_a_query_are_told_with_what_it_costs() {
        let (scene, get, select) = scene(50, 150, 150);
        let one = only(scene.first(RULE));
        assert_eq!(one.endpoint, Some(scene.id(get)));
        assert_eq!(
            numbers(&one),
            [
                ("requests", 200.0),
                ("hits", 50.0),
                ("misses", 150.0),
                ("hit_rate", 0.25),
                ("lookups_per_second", 200.0 / 60.0),
                ("after_miss_calls", 150.0),
                ("saved_ms_per_hit", 15.0),
            ]
        );
        assert_eq!(words(&one)[0], ("after_miss_endpoint_id", scene.id(select).to_string()));
        assert_eq!(one.gain_ms_per_second, Some(37.5));
        assert_eq!(
            one.text,
            "shop asked GET at cache:1 for 200 keys in the last 5 minutes and found 25 % of them (150 misses). After a miss \
             it calls SELECT at db:1, 15 ms."
        );
    }

    #[test]
    fn what_a_miss_costs_is_not_said_if_it_is_not_known() {
        // As many queries as requests: they are made anyway.
        let (scene, ..) = scene(50, 150, 200);
        let one = only(scene.first(RULE));
        assert_eq!((one.gain_ms_per_second, words(&one)), (None, vec![]));
    }

    #[test]
    fn nothing_is_said_of_a_good_rate_and_of_few_keys() {
        for (hits, misses) in [(140, 60), (0, 99)] {
            let (scene, ..) = scene(hits, misses, misses);
            assert_eq!(scene.first(RULE), [], "{hits} {misses}");
        }
    }
}
