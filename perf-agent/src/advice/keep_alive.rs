//! `no_keep_alive`: a service opens a new connection for almost every request to a peer, instead of keeping it.

use hashbrown::HashMap;

use super::views::{PoolKey, Views, mean_ns, pool_key};
use super::{Recommendation, Settings, subject, text};
use crate::aggregate::Distribution;
use crate::endpoint::Peer;
use crate::exchange::{Protocol, Role};
use crate::process::ServiceKey;
use crate::snapshot::Pool;

/// The rule's name.
pub const RULE: &str = "no_keep_alive";

/// A baseline's least age when it is held against; it is replaced by the next one at twice that.
const BASELINE_NS: u64 = 300_000_000_000;

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests below which nothing is said.
    pub min_requests: u64,
    /// Connections opened per request below which nothing is said.
    pub per_request: f64,
}

impl Default for Limits {
    /// 50 requests, 0.8.
    fn default() -> Self {
        Self {
            min_requests: 50,
            per_request: 0.8,
        }
    }
}

/// Counts since the start of observation.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    at_ns: u64,
    opened: u64,
    requests: u64,
}

/// Counts of five to ten minutes ago, and the next ones.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    older: Count,
    newer: Count,
}

/// Of each pool that the snapshot has.
#[derive(Debug, Default)]
pub(super) struct Counted {
    of: HashMap<PoolKey, Baseline>,
}

/// Whose requests to whom.
type Asked<'a> = (&'a ServiceKey, &'a Peer, bool);

/// Requests since the start, by who asked whom; and services of which some peers are not told apart.
fn requests<'a>(views: &Views<'a>) -> (HashMap<Asked<'a>, u64>, Vec<&'a ServiceKey>) {
    let mut requests: HashMap<Asked<'a>, u64> = HashMap::new();
    let mut folded = Vec::new();
    for (endpoint, counts) in views.snapshot.endpoints.iter().zip(&views.counts) {
        let key = &endpoint.key;
        match &key.peer {
            _ if key.role != Role::Client => {}
            Some(peer) => *requests.entry((&key.service, peer, key.tls)).or_default() += counts.requests,
            None => folded.push(&*key.service),
        }
    }
    (requests, folded)
}

impl Counted {
    pub(super) fn advise(&mut self, views: &Views<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
        let at_ns = views.at_ns;
        let (requests, folded) = requests(views);
        let mut before = std::mem::take(&mut self.of);
        for pool in &views.snapshot.pools {
            let asked: Asked<'_> = (&pool.service.key, &pool.peer, pool.tls);
            let now = Count {
                at_ns,
                opened: pool.opened,
                requests: requests.get(&asked).copied().unwrap_or(0),
            };
            let start = Count {
                at_ns: views.snapshot.started_ns,
                ..Count::default()
            };
            let first = Baseline {
                older: start,
                newer: now,
            };
            let key = pool_key(pool);
            let mut baseline = before.remove(&key).unwrap_or(first);
            // Routes that collapse may take requests along to what is not told apart.
            if baseline.older.requests > now.requests || baseline.newer.requests > now.requests {
                baseline = Baseline { older: now, newer: now };
            }
            if at_ns.saturating_sub(baseline.newer.at_ns) >= BASELINE_NS {
                baseline = Baseline {
                    older: baseline.newer,
                    newer: now,
                };
            }
            self.of.insert(key, baseline);
            // One that is not there any more asks once and is gone: there is nothing to be kept.
            if !pool.service.pids.is_empty() && !folded.contains(&&*pool.service.key) {
                out.extend(of(views, pool, baseline.older, now, settings));
            }
        }
    }
}

fn of(views: &Views<'_>, pool: &Pool, then: Count, now: Count, settings: &Settings) -> Option<Recommendation> {
    let limits = &settings.keep_alive;
    let (opened, requests) = (
        now.opened.saturating_sub(then.opened),
        now.requests.saturating_sub(then.requests),
    );
    let per_request = opened as f64 / requests.max(1) as f64;
    // To connect to a socket of this host costs next to nothing; name servers are asked once.
    if requests < limits.min_requests || per_request < limits.per_request || matches!(pool.peer, Peer::Unix(_)) {
        return None;
    }
    let asked: Vec<_> = views.asked(pool).collect();
    if asked.iter().any(|seen| seen.endpoint.key.protocol == Protocol::Dns) {
        return None;
    }
    let most = asked.iter().max_by_key(|seen| (seen.view.requests, seen.number))?;
    let mut connect = Distribution::default();
    for network in asked.iter().filter_map(|seen| seen.view.network.as_ref()) {
        connect.merge(&network.connect);
    }
    let seconds = (now.at_ns.saturating_sub(then.at_ns) as f64 / 1e9).max(1.0);
    let connect_ns = mean_ns(&connect);

    let mut one =
        Recommendation::new(RULE, subject::of_pool(&pool.service.key, &pool.peer, pool.tls)).at(most.endpoint);
    if let Some(connect_ns) = connect_ns {
        one = one.gains(connect_ns / 1e6 * opened as f64 / seconds, settings);
    }
    one.number("requests", requests as f64);
    one.number("connections_opened", opened as f64);
    one.number("connections_per_request", per_request);
    one.number("over_seconds", seconds);
    if let Some(connect_ns) = connect_ns {
        one.ms("connect_ms_mean", connect_ns);
        one.ms("connect_ms_per_request", connect_ns * per_request);
    }
    one.word("peer", text::peer(&pool.peer));
    one.text = format!(
        "{} opened {opened} connections for {requests} requests to {} in {}",
        text::service(&pool.service.key),
        text::peer(&pool.peer),
        text::duration(seconds),
    );
    if let Some(connect_ns) = connect_ns {
        one.adds(&format!(
            ", which costs {} per request",
            text::time(connect_ns * per_request)
        ));
    }
    one.adds(if pool.tls {
        ", and a TLS handshake each time."
    } else {
        "."
    });
    one.fix = String::from(
        "Keep connections and use them again: one client or pool for all requests, keep-alive on at both ends.",
    );
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::super::Advisor;
    use super::super::scene::{MS, Scene, asked, numbers, only, service, words};
    use super::*;
    use crate::aggregate::network::Sample;

    fn scene(requests: u32, opened: u32, protocol: Protocol) -> (Scene, usize) {
        let mut scene = Scene::new();
        let client = service("shop", None);
        let items = scene.client(&client, ("stock", protocol), "/items");
        scene.wait(60);
        scene.ask(items, requests, asked(4 * MS));
        let sample = Sample {
            connect_ns: Some(2 * MS),
            ..Sample::default()
        };
        scene.packets(items, opened, &sample);
        scene.pool(&client, "stock", [1, 0, opened]);
        (scene, items)
    }

    #[test]
    fn a_connection_per_request_is_told_with_the_time_that_it_costs() {
        let (scene, items) = scene(300, 270, Protocol::Http11);
        let one = only(scene.first(RULE));
        assert_eq!(one.endpoint, Some(scene.id(items)));
        assert_eq!(
            numbers(&one),
            [
                ("requests", 300.0),
                ("connections_opened", 270.0),
                ("connections_per_request", 0.9),
                ("over_seconds", 60.0),
                ("connect_ms_mean", 2.0),
                ("connect_ms_per_request", 1.8),
            ]
        );
        assert_eq!(words(&one), [("peer", "stock:1".to_owned())]);
        assert_eq!(one.gain_ms_per_second, Some(9.0));
        assert_eq!(
            one.text,
            "shop opened 270 connections for 300 requests to stock:1 in 60 seconds, which costs 1.8 ms per request."
        );
    }

    #[test]
    fn nothing_is_said_of_kept_connections_of_few_requests_of_name_servers_and_of_programs_that_are_gone() {
        for (requests, opened, protocol) in [
            (300, 200, Protocol::Http11),
            (49, 49, Protocol::Http11),
            (300, 300, Protocol::Dns),
        ] {
            assert_eq!(
                scene(requests, opened, protocol).0.first(RULE),
                [],
                "{requests} {opened}"
            );
        }
        let (mut scene, _) = scene(300, 300, Protocol::Http11);
        scene.gone.push(service("shop", None));
        scene.pools.clear();
        scene.pool(&service("shop", None), "stock", [1, 0, 300]);
        assert_eq!(scene.first(RULE), []);
    }

    #[test]
    fn it_goes_away_when_connections_are_kept() {
        let (mut scene, items) = scene(300, 300, Protocol::Http11);
        let advisor = &mut Advisor::default();
        let mut said = Vec::new();
        for _ in 0..70 {
            said.push(scene.said(advisor, RULE, None, &[]).len());
            scene.wait(10);
            scene.ask(items, 10, asked(4 * MS));
        }
        // Requests on kept connections outweigh the others first; then these are too long ago.
        assert_eq!((said[0], said[8], said[69]), (1, 0, 0));
        let baseline = advisor.counted.of.values().next().unwrap();
        assert_eq!((baseline.older.opened, baseline.older.requests), (300, 600));
        // It begins again.
        scene.ask(items, 500, asked(4 * MS));
        scene.pools[0].opened += 1000;
        let one = only(scene.said(advisor, RULE, None, &[]));
        assert!(numbers(&one).contains(&("connections_opened", 1000.0)), "{one:?}");
    }
}
