//! `pool_exhausted`: all of a service's connections to a peer are in use whenever one looks, no more are opened, and there
//! are more requests in flight than connections.
//!
//! How long a request waits for a connection of its own program's pool, no socket tells; so this is said of pools only
//! that look so several times in a row, and not where one connection carries several requests at once, nor where
//! connections wait for work.

use hashbrown::HashMap;

use super::views::{PoolKey, Seen, Views, mean_ns, pool_key};
use super::{Recommendation, Settings, subject, text};
use crate::aggregate::Distribution;
use crate::exchange::{Protocol, Role};
use crate::snapshot::Pool;

/// The rule's name.
pub const RULE: &str = "pool_exhausted";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections below which it is no pool.
    pub min_open: u32,
    /// Looks in a row that show it before something is said.
    pub looks: u32,
}

impl Default for Limits {
    /// Two connections, three looks.
    fn default() -> Self {
        Self { min_open: 2, looks: 3 }
    }
}

/// What was seen of a pool that was full the last time.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// Looks in a row.
    times: u32,
    /// When the first of them was.
    since_ns: u64,
    at_ns: u64,
    open: u32,
    opened: u64,
    /// Requests of the service that were in flight, the least of all looks.
    in_flight: u64,
}

/// Pools that were full the last time; no more than the snapshot has.
#[derive(Debug, Default)]
pub(super) struct Looks {
    full: HashMap<PoolKey, Look>,
}

impl Looks {
    pub(super) fn advise(&mut self, views: &Views<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
        let limits = &settings.pool;
        let before = std::mem::take(&mut self.full);
        for pool in &views.snapshot.pools {
            if pool.open < limits.min_open || pool.in_use < pool.open || is_shared(views, pool) {
                continue;
            }
            let servers = || {
                let all = views.all.iter().filter(|seen| seen.endpoint.key.role == Role::Server);
                all.filter(|seen| subject::is_same_program(&seen.endpoint.key.service, &pool.service.key))
            };
            let in_flight: u64 = servers().map(|seen| u64::from(seen.view.in_flight)).sum();
            if in_flight <= u64::from(pool.in_use) {
                continue;
            }
            let key = pool_key(pool);
            let mut look = Look {
                times: 1,
                since_ns: views.at_ns,
                at_ns: views.at_ns,
                open: pool.open,
                opened: pool.opened,
                in_flight,
            };
            if let Some(last) = before.get(&key)
                && goes_on(last, pool)
            {
                // Asked twice of the same moment, it is one look.
                look.times = last.times.saturating_add(u32::from(views.at_ns > last.at_ns));
                look.since_ns = last.since_ns;
                look.in_flight = last.in_flight.min(in_flight);
            }
            self.full.insert(key, look);
            if look.times >= limits.looks {
                let most = servers().max_by_key(|seen| (seen.view.in_flight, seen.number));
                out.push(of(views, pool, &look, most));
            }
        }
    }
}

/// The pool did not grow, and its connections are kept.
fn goes_on(last: &Look, pool: &Pool) -> bool {
    pool.open <= last.open && pool.opened.saturating_sub(last.opened) <= u64::from(pool.open)
}

/// Does one connection carry several requests at once, or wait for work?
fn is_shared(views: &Views<'_>, pool: &Pool) -> bool {
    let mut in_flight = 0;
    for seen in views.asked(pool) {
        if matches!(
            seen.endpoint.key.protocol,
            Protocol::Http2 | Protocol::Grpc | Protocol::Kafka
        ) || (seen.waits && seen.view.in_flight > 0)
        {
            return true;
        }
        in_flight += seen.view.in_flight;
    }
    in_flight > pool.in_use
}

fn of(views: &Views<'_>, pool: &Pool, look: &Look, most: Option<&Seen<'_>>) -> Recommendation {
    let mut one = Recommendation::new(RULE, subject::of_pool(&pool.service.key, &pool.peer, pool.tls));
    one = one.of(&pool.service.key);
    if let Some(most) = most {
        one = one.at(most.endpoint);
    }
    let mut calls = Distribution::default();
    for seen in views.asked(pool) {
        calls.merge(&seen.view.response_time);
    }
    let seconds = views.at_ns.saturating_sub(look.since_ns) as f64 / 1e9;
    one.number("connections_open", f64::from(pool.open));
    one.number("connections_in_use", f64::from(pool.in_use));
    one.number("connections_in_use_max", f64::from(pool.max_in_use));
    one.number("looks_in_a_row", f64::from(look.times));
    one.number("over_seconds", seconds);
    one.number("requests_in_flight_min", look.in_flight as f64);
    if let Some(call_ns) = mean_ns(&calls) {
        one.number("calls", calls.count() as f64);
        one.ms("call_ms_mean", call_ns);
    }
    one.word("peer", text::peer(&pool.peer));
    one.text = format!(
        "All {} connections of {} to {} were in use at each of {} looks in {}, none was added, and at least {} requests were \
         in flight meanwhile: those beyond the connections may wait for one (how long, no socket tells).",
        pool.open,
        text::service(&pool.service.key),
        text::peer(&pool.peer),
        look.times,
        text::duration(seconds),
        look.in_flight,
    );
    let each = mean_ns(&calls).map_or_else(String::new, |call_ns| {
        format!(" (they take {} on average)", text::time(call_ns))
    });
    one.fix = format!(
        "A larger pool, if {} stands it; or faster calls{each}.",
        text::peer(&pool.peer)
    );
    one
}

#[cfg(test)]
mod tests {
    use super::super::Advisor;
    use super::super::scene::{MS, Scene, asked, numbers, only, service, words};
    use super::*;

    /// A service with requests in flight, and its pool of four connections.
    fn scene(in_flight: u32, protocol: Protocol, route: &str) -> (Scene, usize) {
        let mut scene = Scene::new();
        let (shop, client) = (service("shop", Some(80)), service("shop", None));
        let orders = scene.server(&shop, "/orders");
        let select = scene.client(&client, ("db", protocol), route);
        scene.wait(60);
        scene.open(orders, in_flight);
        scene.ask(select, 100, asked(40 * MS));
        scene.open(select, 4);
        scene.pool(&client, "db", [4, 4, 4]);
        (scene, orders)
    }

    fn looks(scene: &mut Scene, times: u32, mut change: impl FnMut(&mut Scene, u32)) -> Vec<Recommendation> {
        let advisor = &mut Advisor::default();
        let mut said = Vec::new();
        for time in 0..times {
            change(scene, time);
            said = scene.said(advisor, RULE, None, &[]);
            scene.wait(10);
        }
        said
    }

    #[test]
    fn a_pool_that_is_full_at_three_looks_while_more_is_in_flight_is_told() {
        let (mut scene, orders) = scene(9, Protocol::Postgresql, "SELECT");
        assert_eq!(looks(&mut scene, 2, |_, _| ()), []);
        let one = only(looks(&mut scene, 3, |_, _| ()));
        assert_eq!(one.endpoint, Some(scene.id(orders)));
        assert_eq!(
            numbers(&one),
            [
                ("connections_open", 4.0),
                ("connections_in_use", 4.0),
                ("connections_in_use_max", 4.0),
                ("looks_in_a_row", 3.0),
                ("over_seconds", 20.0),
                ("requests_in_flight_min", 9.0),
                ("calls", 100.0),
                ("call_ms_mean", 40.0),
            ]
        );
        assert_eq!(words(&one), [("peer", "db:1".to_owned())]);
        assert_eq!(
            one.text,
            "All 4 connections of shop to db:1 were in use at each of 3 looks in 20 seconds, none was added, and at least 9 \
             requests were in flight meanwhile: those beyond the connections may wait for one (how long, no socket tells)."
        );
    }

    #[test]
    fn nothing_is_said_if_one_is_free_if_it_grows_and_if_nobody_waits() {
        let (mut one, _) = scene(9, Protocol::Postgresql, "SELECT");
        let free = |scene: &mut Scene, time| scene.pools[0].in_use = if time == 1 { 3 } else { 4 };
        assert_eq!(looks(&mut one, 3, free), []);
        let grows = |scene: &mut Scene, time| {
            (scene.pools[0].open, scene.pools[0].in_use) = (4 + time, 4 + time);
        };
        let (mut one, _) = scene(9, Protocol::Postgresql, "SELECT");
        assert_eq!(looks(&mut one, 4, grows), []);
        let (mut one, _) = scene(4, Protocol::Postgresql, "SELECT");
        assert_eq!(looks(&mut one, 5, |_, _| ()), []);
        let reopens = |scene: &mut Scene, _| scene.pools[0].opened += 100;
        let (mut one, _) = scene(9, Protocol::Postgresql, "SELECT");
        assert_eq!(looks(&mut one, 5, reopens), [], "one connection per request");
    }

    #[test]
    fn nothing_is_said_of_connections_that_are_shared_and_of_such_that_wait_for_work() {
        for (protocol, route) in [(Protocol::Http2, "/"), (Protocol::Redis, "BLPOP")] {
            let (mut one, _) = scene(9, protocol, route);
            assert_eq!(looks(&mut one, 5, |_, _| ()), [], "{protocol:?}");
        }
        let (mut one, _) = scene(9, Protocol::Redis, "GET");
        one.open(1, 1);
        assert_eq!(looks(&mut one, 5, |_, _| ()), [], "five in flight on four");
    }
}
