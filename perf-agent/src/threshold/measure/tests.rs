use super::*;
use crate::threshold::scene::{MS, START_NS, Scene, Seen, threshold};

const SOON: u64 = START_NS + 20 * SECOND_NS;

fn seen<'a>(service: &'a str, path: &'a str, status: u16, time_ns: u64) -> Seen<'a> {
    Seen {
        service,
        path,
        status,
        at_ns: START_NS + 10 * SECOND_NS,
        time_ns,
    }
}

/// A shop with two endpoints, and a blog with one.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.serve(8, seen("shop", "/cart", 200, 100 * MS));
    scene.serve(2, seen("shop", "/cart", 500, 200 * MS));
    scene.serve(10, seen("shop", "/pay", 404, 10 * MS));
    scene.serve(20, seen("blog", "/posts", 200, MS));
    scene
}

/// Names of endpoints' subjects and figures.
fn named(scene: &mut Scene, metric: &str, scope: &str) -> Vec<(String, Option<f64>, u64)> {
    let readings = scene.evaluate(&[threshold(metric, scope)], SOON);
    let named = |reading: &Reading| (reading.subject.name.clone(), reading.value, reading.count);
    readings.iter().map(named).collect()
}

fn owned(expected: &[(&str, Option<f64>, u64)]) -> Vec<(String, Option<f64>, u64)> {
    let owned = |&(name, value, count): &(&str, Option<f64>, u64)| (name.to_owned(), value, count);
    expected.iter().map(owned).collect()
}

#[test]
fn every_endpoint_of_a_server_has_its_own_figure() {
    let mut scene = scene();
    let expected = owned(&[
        ("GET /cart of shop:8080", Some(120.0), 10),
        ("GET /pay of shop:8080", Some(10.0), 10),
        ("GET /posts of blog:8080", Some(1.0), 20),
    ]);
    assert_eq!(named(&mut scene, "response_time_mean", "*"), expected);
    let rates = named(&mut scene, "error_rate", "*");
    assert_eq!(
        rates.iter().map(|rate| rate.1).collect::<Vec<_>>(),
        [Some(0.2), Some(0.0), Some(0.0)]
    );
    let rates = named(&mut scene, "client_error_rate", "*");
    assert_eq!(
        rates.iter().map(|rate| rate.1).collect::<Vec<_>>(),
        [Some(0.0), Some(1.0), Some(0.0)]
    );
    let most = named(&mut scene, "concurrency", "*");
    assert_eq!(most[0], ("GET /cart of shop:8080".to_owned(), Some(1.0), 10));
    let throughput = named(&mut scene, "throughput", "*");
    assert_eq!(throughput[2].1, Some(1.0), "20 requests in 20 seconds");
    let longest = named(&mut scene, "time_to_first_byte_max", "*");
    assert_eq!(longest[0].1, Some(200.0));
}

#[test]
fn a_subject_says_whose_it_is() {
    let mut scene = scene();
    let readings = scene.evaluate(&[threshold("error_rate", "GET /c*")], SOON);
    let [reading] = readings.as_slice() else {
        panic!("{readings:?}")
    };
    let id = scene.snapshot(SOON).endpoints[0].id.to_string();
    let expected = Subject {
        key: format!("endpoint:{id}"),
        name: "GET /cart of shop:8080".to_owned(),
        service: Some("shop".to_owned()),
        endpoint: Some(id.clone()),
    };
    assert_eq!(*reading.subject, expected);
    let of_id = scene.figures("error_rate", &format!("endpoint:{id}"), SOON);
    assert_eq!(of_id, [(expected.key, Some(0.2), 10)]);
}

#[test]
fn services_and_everything_together_are_sums() {
    let mut scene = scene();
    let expected = owned(&[("service:blog", Some(1.0), 20), ("service:shop", Some(65.0), 20)]);
    assert_eq!(scene.figures("response_time_mean", "service:*", SOON), expected);
    let expected = owned(&[("service:shop", Some(0.1), 20)]);
    assert_eq!(scene.figures("error_rate", "service:shop", SOON), expected);
    let expected = owned(&[("service:shop", Some(200.0), 20)]);
    assert_eq!(scene.figures("response_time_max", "service:sh*", SOON), expected);
    assert_eq!(
        scene.figures("throughput", "service:shop", SOON),
        owned(&[("service:shop", Some(1.0), 20)])
    );
    assert_eq!(
        scene.figures("error_rate", "total", SOON),
        owned(&[("total", Some(0.05), 40)])
    );
    assert_eq!(scene.figures("response_time_p95", "total", SOON)[0].2, 40);
    assert_eq!(scene.figures("error_rate", "service:nobody", SOON), []);
    assert_eq!(scene.figures("error_rate", "/posts", SOON).len(), 1);
    assert_eq!(scene.figures("error_rate", "route:/p*", SOON).len(), 2);
}

#[test]
fn where_nothing_happened_there_is_no_figure_but_a_throughput_of_zero() {
    let mut scene = scene();
    let later = START_NS + 600 * SECOND_NS;
    assert_eq!(scene.figures("error_rate", "*", later), []);
    assert_eq!(scene.figures("error_rate", "service:shop", later), []);
    assert_eq!(
        scene.figures("error_rate", "total", later),
        owned(&[("total", None, 0)])
    );
    let idle = scene.figures("throughput", "*", later);
    assert!(
        idle.len() == 3 && idle.iter().all(|idle| idle.1 == Some(0.0)),
        "{idle:?}"
    );
    let idle = scene.figures("throughput", "service:shop", later);
    assert_eq!(idle, owned(&[("service:shop", Some(0.0), 0)]));
    assert_eq!(
        scene.figures("throughput", "total", later),
        owned(&[("total", Some(0.0), 0)])
    );
    assert_eq!(scene.evaluator.merged(), 2, "the total, twice");
}

#[test]
fn of_too_few_samples_nothing_is_said() {
    let mut scene = scene();
    let mut few = threshold("response_time_mean", "*");
    few.min_count = 11;
    let readings = scene.evaluate(std::slice::from_ref(&few), SOON);
    let figures: Vec<_> = readings.iter().map(|reading| (reading.value, reading.count)).collect();
    assert_eq!(figures, [(None, 10), (None, 10), (Some(1.0), 20)]);
    assert_eq!(scene.evaluator.merged(), 1, "only that of which there is enough");
}

#[test]
fn an_endpoint_is_merged_once_per_window_whatever_is_asked_of_it() {
    let mut scene = scene();
    let mut thresholds: Vec<_> = ["response_time_mean", "response_time_p99", "error_rate", "throughput"]
        .into_iter()
        .flat_map(|metric| [threshold(metric, "*"), threshold(metric, "service:*")])
        .collect();
    scene.evaluate(&thresholds, SOON);
    assert_eq!(scene.evaluator.merged(), 3);
    thresholds[0].window = Window::Hour;
    scene.evaluate(&thresholds, SOON);
    assert_eq!(scene.evaluator.merged(), 3 + 6);
}

#[test]
fn resources_are_of_the_host_or_of_services_and_of_now() {
    let mut scene = Scene::new();
    let wall_ns = crate::threshold::scene::EPOCH_NS + START_NS;
    let services = [("shop", 80, 0.4), ("shop", 443, 0.6), ("blog", 80, 0.1)];
    scene.take(wall_ns, [Some(0.9), None], &services);
    let at = |seconds: u64| START_NS + seconds * SECOND_NS;
    assert_eq!(scene.figures("cpu_usage", "*", at(5)), owned(&[("host", Some(0.9), 1)]));
    assert_eq!(
        scene.figures("cpu_usage", "host", at(5)),
        owned(&[("host", Some(0.9), 1)])
    );
    assert_eq!(
        scene.figures("memory_usage", "host", at(5)),
        owned(&[("host", None, 1)])
    );
    let expected = owned(&[("service:blog", Some(0.1), 1), ("service:shop", Some(0.6), 1)]);
    assert_eq!(
        scene.figures("cpu_usage", "service:*", at(5)),
        expected,
        "not the sum: the same processes"
    );
    assert_eq!(scene.figures("cpu_usage", "host", at(61)), [], "too old");
    scene.resources = None;
    assert_eq!(scene.figures("cpu_usage", "host", at(62)), []);
}

#[test]
fn each_cache_has_its_own_hit_rate() {
    let mut scene = Scene::new();
    let at_ns = START_NS + 10 * SECOND_NS;
    scene.ask_cache("shop", [10, 0, 0, 1], [30, 10], at_ns);
    scene.ask_cache("blog", [10, 0, 0, 1], [0, 10], at_ns);
    scene.ask_cache("blog", [10, 0, 0, 2], [5, 5], at_ns);
    let readings = scene.evaluate(&[threshold("cache_hit_rate", "*")], SOON);
    let told: Vec<_> = readings
        .iter()
        .map(|reading| {
            let subject = &reading.subject;
            (
                subject.key.as_str(),
                subject.service.as_deref(),
                reading.value,
                reading.count,
            )
        })
        .collect();
    let expected = [
        ("cache:redis:10.0.0.1:6379", None, Some(0.6), 50),
        ("cache:redis:10.0.0.2:6379", Some("blog"), Some(0.5), 10),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        scene.figures("cache_hit_rate", "service:blog", SOON),
        owned(&[("service:blog", Some(0.25), 20)])
    );
    assert_eq!(
        scene.figures("cache_hit_rate", "total", SOON),
        owned(&[("cache:*", Some(35.0 / 60.0), 60)])
    );
}

#[test]
fn lost_records_are_those_of_the_window() {
    let mut scene = Scene::new();
    let lose = |scene: &mut Scene, seconds: u64, undecodable: u32| {
        (0..undecodable).for_each(|_| scene.statistics.ledger().record_undecodable());
        let figures = scene.figures("lost_records", "*", START_NS + seconds * SECOND_NS);
        assert_eq!(figures[0].0, "agent");
        figures[0].1
    };
    assert_eq!(lose(&mut scene, 10, 0), Some(0.0));
    assert_eq!(lose(&mut scene, 20, 3), Some(3.0));
    assert_eq!(
        lose(&mut scene, 60, 2),
        Some(5.0),
        "the window reaches back to the start"
    );
    assert_eq!(lose(&mut scene, 75, 0), Some(5.0), "from 10 s on");
    assert_eq!(
        lose(&mut scene, 95, 0),
        Some(2.0),
        "from 30 s on, of which 20 s is the last moment known before"
    );
    assert_eq!(lose(&mut scene, 200, 0), Some(0.0));
}

#[test]
fn losses_before_the_first_evaluation_are_not_those_of_the_window() {
    let mut scene = Scene::new();
    (0..7).for_each(|_| scene.statistics.ledger().record_undecodable());
    let at = |seconds: u64| START_NS + seconds * SECOND_NS;
    assert_eq!(scene.figures("lost_records", "*", at(7_200))[0].1, Some(0.0));
    scene.statistics.ledger().record_undecodable();
    assert_eq!(scene.figures("lost_records", "*", at(7_210))[0].1, Some(1.0));
}

#[test]
fn what_is_kept_of_losses_is_bounded_and_reaches_back_a_day() {
    let mut lost = LostBefore::default();
    let mut scene = Scene::new();
    let second = |second: u64| START_NS + second * SECOND_NS;
    for minute in 0..3_000 {
        lost.tell(second(minute * 60), minute);
        lost.tell(second(minute * 60 + 1), minute);
    }
    assert!(lost.fine.len() <= LostBefore::FINE && lost.coarse.len() <= LostBefore::COARSE);
    let snapshot = scene.snapshot(second(2_999 * 60 + 1));
    for window in [Window::Minute, Window::FiveMinutes, Window::Hour, Window::Day] {
        let within = lost.within(window, &snapshot);
        let covered = (snapshot.at_ns - window.from_ns(snapshot.at_ns, START_NS)) / (60 * SECOND_NS);
        assert!(
            (covered..=covered + 11).contains(&within),
            "{window:?}: {within} of {covered}"
        );
    }
    assert_eq!(lost.within(Window::Start, &snapshot), 2_999);
    lost.tell(second(200_000), 5);
    assert_eq!(lost.now, 5, "another one's numbers");
}

#[test]
fn endpoints_that_are_gone_are_not_remembered() {
    let mut scene = scene();
    scene.figures("error_rate", "*", SOON);
    assert_eq!(scene.evaluator.subjects.len(), 3);
    scene.figures("error_rate", "/posts", SOON);
    assert_eq!(scene.evaluator.subjects.len(), 1);
}

#[test]
fn a_custom_metric_has_the_figure_that_is_asked_for() {
    let view = CustomView {
        name: "orders".to_owned(),
        unit: None,
        attributes: Vec::new(),
        kind: crate::custom::CustomKind::Counter,
        count: 3,
        sum: 12.0,
        min: Some(1.0),
        max: Some(8.0),
        mean: Some(4.0),
        last: Some(3.0),
        per_second: Some(0.2),
    };
    let figures = CustomStatistic::ALL.map(|statistic| custom_figure(&view, Some(statistic)).0);
    assert_eq!(figures, [4.0, 1.0, 8.0, 12.0, 3.0, 3.0, 0.2].map(Some));
    assert_eq!(custom_figure(&view, None), (Some(0.2), 3));
}
