//! What the rules have in common.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::scene::{Asked, EPOCH_NS, MS, SECOND_NS, Scene, asked, numbers, peer, reading, service, service_use};
use super::*;
use crate::aggregate::network::Sample;
use crate::exchange::{Protocol, Tally};
use crate::resources::{GroupUse, ServiceUse};

fn advise(advisor: &mut Advisor, scene: &Scene) -> Vec<Recommendation> {
    let snapshot = scene.snapshot();
    advisor.advise(Observed {
        snapshot: &snapshot,
        resources: None,
        memory_trends: &[],
        at_ns: scene.at_ns,
        wall_ns: EPOCH_NS + scene.at_ns,
    })
}

#[test]
fn without_anything_there_is_nothing_to_say() {
    assert_eq!(advise(&mut Advisor::default(), &Scene::new()), []);
}

#[test]
fn the_worst_come_first_and_keep_their_id_and_since_when_they_are_said() {
    let mut scene = Scene::new();
    let shop = service("shop", Some(80));
    let routes = ["/few", "/many", "/fast"].map(|route| scene.server(&shop, route));
    scene.wait(60);
    for (route, (requests, ns)) in routes.into_iter().zip([(20, 200 * MS), (400, 200 * MS), (100, MS)]) {
        scene.ask(route, requests, asked(ns));
    }
    let advisor = &mut Advisor::default();
    let first = advise(advisor, &scene);
    let endpoints: Vec<_> = first.iter().map(|one| one.endpoint.clone()).collect();
    assert_eq!(endpoints, [routes[1], routes[0]].map(|route| Some(scene.id(route))));
    assert_eq!(
        [Severity::Error, Severity::Warning].to_vec(),
        first.iter().map(|one| one.severity).collect::<Vec<_>>()
    );
    scene.wait(10);
    let second = advise(advisor, &scene);
    let ids =
        |all: &[Recommendation]| -> Vec<_> { all.iter().map(|one| (one.id.clone(), one.since_wall_ns)).collect() };
    assert_eq!(ids(&first), ids(&second));
    assert_eq!(first[0].since_wall_ns, EPOCH_NS + scene.at_ns - 10 * SECOND_NS);
    // It goes away, and comes back as the same.
    scene.wait(900);
    assert_eq!(advise(advisor, &scene), []);
    scene.ask(routes[0], 20, asked(200 * MS));
    let back = advise(advisor, &scene);
    assert_eq!(ids(&back), [(first[1].id.clone(), EPOCH_NS + scene.at_ns)]);
}

#[test]
fn there_are_never_more_than_a_hundred_nor_are_more_than_a_thousand_endpoints_looked_at() {
    let mut scene = Scene::new();
    let shop = service("shop", Some(80));
    let routes: Vec<_> = (0..1100).map(|n| scene.server(&shop, &format!("/{n}"))).collect();
    scene.wait(60);
    for (n, route) in (0..).zip(routes) {
        scene.ask(route, 20 + n % 1000, asked(200 * MS));
    }
    let advisor = &mut Advisor::default();
    let all = advise(advisor, &scene);
    assert_eq!(all.len(), RECOMMENDATIONS);
    assert_eq!(
        advisor.left_out(),
        LeftOut {
            endpoints: 100,
            recommendations: 900
        }
    );
    assert!(
        all.iter()
            .is_sorted_by(|a, b| a.gain_ms_per_second >= b.gain_ms_per_second)
    );
    assert_eq!(all[0].evidence[0], ("requests", Evidence::Number(1019.0)));
}

#[test]
fn every_rule_has_its_own_name() {
    let names = [
        slow::RULE,
        repeated::RULE,
        hit_rate::RULE,
        queue::RULE,
        throttled::RULE,
        memory::RULE,
        restart::RULE,
        packets::RULE,
        tail::RULE,
        pool::RULE,
        keep_alive::RULE,
    ];
    let apart: HashSet<_> = names.iter().collect();
    assert_eq!(apart.len(), names.len());
}

#[test]
fn services_and_pools_are_told_apart() {
    let one = service("shop", Some(80));
    let other = Arc::new(ServiceKey {
        container: Some("a".repeat(64).into()),
        ..(*one).clone()
    });
    let third = service("shop", Some(81));
    let services: HashSet<_> = [&one, &other, &third].map(|key| subject::of_service(key)).into();
    assert_eq!(services.len(), 3);
    let (db, cache) = (peer("db", 1), peer("cache", 1));
    let pools: HashSet<_> = [
        (&one, &db, false),
        (&one, &db, true),
        (&one, &cache, false),
        (&other, &db, false),
    ]
    .map(|(key, peer, tls)| subject::of_pool(key, peer, tls))
    .into();
    assert_eq!(pools.len(), 4);
}

/// Something that happens; numbers are of endpoints, requests, milliseconds and the like.
#[derive(Clone, Debug)]
enum Step {
    Ask {
        endpoint: usize,
        requests: u32,
        ms: u64,
        queue_ms: u64,
        status: u16,
        found: bool,
    },
    Begin {
        endpoint: usize,
    },
    Spend {
        endpoint: usize,
        calls: u32,
        ms: u64,
    },
    Packets {
        endpoint: usize,
        ms: u64,
        retransmits: u32,
    },
    Pool {
        open: u32,
        in_use: u32,
        opened: u64,
    },
    Restart,
    Wait {
        seconds: u64,
    },
    Look {
        throttled: f64,
        seconds_left: f64,
        back_s: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (
        0..5usize,
        0..150u32,
        0..500u64,
        0..500u64,
        prop_oneof![Just(200u16), Just(500)],
        any::<bool>(),
    );
    let step = prop_oneof![
        4 => ask.prop_map(|(endpoint, requests, ms, queue_ms, status, found)| {
            Step::Ask { endpoint, requests, ms, queue_ms, status, found }
        }),
        1 => (0..5usize).prop_map(|endpoint| Step::Begin { endpoint }),
        2 => (0..2usize, 0..20u32, 0..500u64).prop_map(|(endpoint, calls, ms)| Step::Spend { endpoint, calls, ms }),
        1 => (0..5usize, 0..500u64, 0..50u32).prop_map(|(endpoint, ms, retransmits)| {
            Step::Packets { endpoint, ms, retransmits }
        }),
        1 => (0..5u32, 0..6u32, 0..200u64).prop_map(|(open, in_use, opened)| Step::Pool { open, in_use, opened }),
        1 => Just(Step::Restart),
        3 => (0..700u64).prop_map(|seconds| Step::Wait { seconds }),
        4 => (any::<f64>(), any::<f64>(), 0..2u64).prop_map(|(throttled, seconds_left, back_s)| {
            Step::Look { throttled, seconds_left, back_s }
        }),
    ];
    prop::collection::vec(step, 1..60)
}

/// Everything that is said is said completely, once, and of what there is.
fn check(all: &[Recommendation], scene: &Scene) -> Result<(), TestCaseError> {
    let ids: HashSet<_> = all.iter().map(|one| &one.id).collect();
    prop_assert_eq!(ids.len(), all.len());
    for one in all {
        prop_assert!(
            one.service.is_some() && !one.text.is_empty() && !one.fix.is_empty(),
            "{:?}",
            one
        );
        prop_assert!(
            one.gain_ms_per_second
                .is_none_or(|gain| gain.is_finite() && gain >= 0.0),
            "{:?}",
            one
        );
        prop_assert!(!numbers(one).is_empty());
        for (name, value) in numbers(one) {
            prop_assert!(value.is_finite() && value >= 0.0, "{} in {:?}", name, one);
            let is_ratio = name.ends_with("_share") || name.ends_with("_rate") || name.starts_with("share_of");
            prop_assert!(!is_ratio || value <= 1.0, "{} in {:?}", name, one);
        }
        let names: HashSet<_> = one.evidence.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(names.len(), one.evidence.len(), "{:?}", one);
        prop_assert!(one.since_wall_ns <= EPOCH_NS + scene.at_ns);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_advice_is_whole_and_each_piece_is_given_once(steps in steps()) {
        let mut scene = Scene::new();
        let (shop, client) = (service("shop", Some(80)), service("shop", None));
        scene.server(&shop, "/orders");
        scene.server(&shop, "/items");
        scene.client(&client, ("db", Protocol::Postgresql), "SELECT");
        scene.client(&client, ("cache", Protocol::Redis), "GET");
        scene.client(&client, ("stock", Protocol::Http11), "/stock");
        let advisor = &mut Advisor::default();
        let mut started_ns = scene.at_ns;
        scene.wait(10);
        for step in steps {
            match step {
                Step::Ask { endpoint, requests, ms, queue_ms, status, found } => {
                    let tally = Tally { rows: None, hits: found.into(), misses: (!found).into() };
                    let tally = if endpoint == 3 { tally } else { Tally::default() };
                    let asked = Asked { queue_ns: queue_ms * MS, status, tally, ..asked(ms * MS) };
                    scene.ask(endpoint, requests, asked);
                }
                Step::Begin { endpoint } => scene.open(endpoint, 1),
                Step::Spend { endpoint, calls, ms } => {
                    let called = 2 + calls as usize % 3;
                    scene.spend(endpoint, calls, ms * MS, &[(called, calls.max(1), ms * MS)]);
                }
                Step::Packets { endpoint, ms, retransmits } => {
                    let ns = Some(ms * MS);
                    let sample = Sample { rtt_ns: ns, rtt_variance_ns: 0, retransmits, connect_ns: ns };
                    scene.packets(endpoint, 1, &sample);
                }
                Step::Pool { open, in_use, opened } => {
                    let before = scene.pools.last().map_or(0, |pool| pool.opened);
                    scene.pools.clear();
                    for host in ["db", "stock"] {
                        scene.pool(&client, host, [open, in_use, 0]);
                    }
                    scene.pools.iter_mut().for_each(|pool| pool.opened = before + opened);
                }
                Step::Restart => started_ns = scene.at_ns,
                Step::Wait { seconds } => scene.wait(seconds),
                Step::Look { throttled, seconds_left, back_s } => {
                    let group = GroupUse {
                        throttled: Some(throttled.abs() % 1.0),
                        ..GroupUse::default()
                    };
                    let of = |key: &Arc<ServiceKey>| ServiceUse {
                        group: Some(group.clone()),
                        started_wall_ns: Some(EPOCH_NS + started_ns),
                        ..service_use(key)
                    };
                    let trend = |key: &Arc<ServiceKey>| MemoryTrend {
                        service: Arc::clone(key),
                        bytes_per_second: 1.0,
                        limit_bytes: 1,
                        seconds_left,
                    };
                    let resources = reading(EPOCH_NS + scene.at_ns, vec![of(&shop), of(&client)]);
                    let snapshot = scene.snapshot();
                    // The caller's clock may be behind, too.
                    let at_ns = scene.at_ns - back_s * SECOND_NS;
                    let all = advisor.advise(Observed {
                        snapshot: &snapshot,
                        resources: Some(&resources),
                        memory_trends: &[trend(&shop), trend(&client)],
                        at_ns,
                        wall_ns: EPOCH_NS + at_ns,
                    });
                    check(&all, &scene)?;
                }
            }
        }
    }
}
