//! What the rules have in common.

use std::sync::Arc;

use super::scene::{EPOCH_NS, MS, SECOND_NS, Scene, asked, service};
use super::*;

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
    let apart: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(apart.len(), names.len());
}

#[test]
fn advice_about_a_service_outlives_its_container() {
    let one = service("shop", Some(80));
    let other = Arc::new(ServiceKey {
        container: Some("a".repeat(64).into()),
        ..(*one).clone()
    });
    assert_eq!(subject::of_service(&one), subject::of_service(&other));
    assert_ne!(
        subject::of_service(&one),
        subject::of_service(&service("shop", Some(81)))
    );
}
