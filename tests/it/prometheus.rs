//! What Prometheus makes of the agent's metrics: a real one scrapes a real agent that watches a real server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::{number, whole};
use perf_agent_tests::child::{Child, Workdir, run};
use perf_agent_tests::client::Connection;
use perf_agent_tests::clock::now_ns;
use perf_agent_tests::prometheus::{Histograms, Prometheus, encoded, promtool};
use perf_agent_tests::python::Server;
use perf_agent_tests::rows::{At, Role};
use perf_agent_tests::{need, wait};
use serde_json::Value;

/// Of a native quantile (2.6 %) and of the agent's own (0.4 %).
const NATIVE: f64 = 0.03;
/// Bounds of classic buckets, milliseconds.
const CLASSIC_MS: [f64; 9] = [0.0, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0];
/// Connections of the load.
const CONNECTIONS: u64 = 8;
/// Requests on each.
const REQUESTS: u64 = 60;
/// Of them, those that are not found.
const MISSING: u64 = 3;

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/prometheus")
        .join(name)
}

/// Each request with its own id; most answers take few milliseconds, few take long.
fn load(port: u16, round: u64) {
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut server = Connection::port(port).expect("the server listens");
                for request in 0..REQUESTS {
                    let ms = 2.0 * 1.06_f64.powi(i32::try_from((request * 37 + connection * 7) % REQUESTS).expect("few"));
                    let path = if request % (REQUESTS / MISSING) == 7 {
                        "/nowhere".to_owned()
                    } else {
                        format!("/work?ms={ms:.3}")
                    };
                    let head = format!(
                        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: load-{round}-{connection}-{request}\r\n\r\n"
                    );
                    server.exchange(head.as_bytes(), false).expect("the server answers");
                }
            });
        }
    });
}

fn near(told: f64, expected: f64, tolerance: f64, what: &str) {
    let off = (told / expected - 1.0).abs();
    assert!(
        off <= tolerance,
        "{what}: {told} is {:.1} % off {expected}",
        off * 100.0
    );
}

/// The bounds of the classic bucket that a time is in.
fn bucket(ms: f64) -> (f64, f64) {
    let place = CLASSIC_MS.partition_point(|&bound| bound < ms);
    (CLASSIC_MS[place - 1], CLASSIC_MS[place])
}

#[test]
fn prometheus_sees_what_the_agent_does() {
    need!(Agent, Root, Python, Prometheus);
    let server = Server::speeds();
    let agent = Agent::start();
    let native = Prometheus::start(Histograms::Native, agent.api().port());
    let classic = Prometheus::start(Histograms::Classic, agent.api().port());
    let port = server.port();
    let both = [&native, &classic];
    let requests = CONNECTIONS * REQUESTS;

    load(port, 1);
    all_are_scraped(&both, port, requests);
    let between = both.map(|prometheus| prometheus.value("vector(time())").expect("a number"));
    load(port, 2);
    all_are_scraped(&both, port, 2 * requests);
    for (prometheus, at) in both.into_iter().zip(between) {
        let total = format!("sum(http_server_requests_total{{server_port=\"{port}\"}}");
        let second = prometheus.value(&format!("{total}) - {total} @ {at:.3})"));
        assert_eq!(second, Some(requests as f64), "the second load");
    }

    let endpoints = At::Port(port).endpoints(agent.api(), Role::Server);
    let work = endpoints
        .iter()
        .find(|endpoint| endpoint["route"] == "/work")
        .expect("it was asked for");
    let count = whole(&work["response_time_ms"]["count"]);
    assert_eq!(count, 2 * CONNECTIONS * (REQUESTS - MISSING));
    for prometheus in both {
        counts_agree(prometheus, port, count);
    }
    let labels = format!("service_name=~\"python.*\",server_port=\"{port}\",http_route=\"/work\"");
    times_agree(&native, &classic, &labels, work);
    exemplars_lead_to_requests(&classic, &labels, &agent);
    steady(port, &both);
    lint(&agent);
    agent.stop();
}

/// Waits until each has seen so many.
#[track_caller]
fn all_are_scraped(all: &[&Prometheus], port: u16, requests: u64) {
    for prometheus in all {
        wait::settle(wait::SETTLE, "all requests are scraped", || {
            let told = prometheus.value(&format!("sum(http_server_requests_total{{server_port=\"{port}\"}})"));
            if told == Some(requests as f64) {
                Ok(())
            } else {
                Err(format!("{told:?} of {requests}"))
            }
        });
    }
}

/// `count` requests were answered, and the others of both loads not found.
#[track_caller]
fn counts_agree(prometheus: &Prometheus, port: u16, count: u64) {
    let all = format!("server_port=\"{port}\"");
    assert_eq!(prometheus.value("up{job=\"perf-agent\"}"), Some(1.0));
    let of_status = |status: &str| {
        prometheus.value(&format!(
            "sum(http_server_requests_total{{{all},http_response_status_code=\"{status}\"}})"
        ))
    };
    assert_eq!(
        (of_status("200"), of_status("404")),
        (Some(count as f64), Some((2 * CONNECTIONS * MISSING) as f64))
    );
    let not_found = prometheus.value(&format!("sum(http_server_client_errors_total{{{all}}})"));
    assert_eq!(not_found, Some((2 * CONNECTIONS * MISSING) as f64));
    let resets = prometheus.value(&format!("sum(resets(http_server_requests_total{{{all}}}[5m]))"));
    assert_eq!(resets, Some(0.0));
}

/// Sums are the same, and quantiles as near as the kind of histogram allows.
#[track_caller]
fn times_agree(native: &Prometheus, classic: &Prometheus, labels: &str, work: &Value) {
    let sum = number(&work["response_time_ms"]["sum"]) / 1e3;
    let told = native.value(&format!(
        "histogram_sum(http_server_request_duration_seconds{{{labels}}})"
    ));
    near(
        told.expect("a native histogram"),
        sum,
        1e-9,
        "sum of the native histogram",
    );
    let told = classic.value(&format!("http_server_request_duration_seconds_sum{{{labels}}}"));
    near(
        told.expect("a classic histogram"),
        sum,
        1e-9,
        "sum of the classic histogram",
    );
    let told = native.value(&format!(
        "histogram_count(http_server_request_duration_seconds{{{labels}}})"
    ));
    assert_eq!(told, Some(number(&work["response_time_ms"]["count"])));
    for (quantile, field) in [("0.5", "median"), ("0.9", "p90"), ("0.95", "p95"), ("0.99", "p99")] {
        let expected = number(&work["response_time_ms"][field]);
        let ask = |prometheus: &Prometheus, series: &str| {
            let expression =
                format!("histogram_quantile({quantile}, http_server_request_duration_seconds{series}{{{labels}}})");
            1e3 * prometheus
                .value(&expression)
                .unwrap_or_else(|| panic!("nothing for {expression}"))
        };
        let exact = ask(native, "");
        let rough = ask(classic, "_bucket");
        eprintln!("{quantile}: {expected:.3} ms, native {exact:.3} ms, classic {rough:.3} ms");
        near(exact, expected, NATIVE, &format!("native quantile {quantile}"));
        let (lowest, highest) = bucket(expected);
        assert!(
            (lowest..=highest).contains(&rough),
            "classic quantile {quantile}: {rough} beside {lowest} to {highest}"
        );
    }
}

/// The newest one is a request that the agent's log has.
#[track_caller]
fn exemplars_lead_to_requests(classic: &Prometheus, labels: &str, agent: &Agent) {
    let path = format!(
        "/api/v1/query_exemplars?query={}&start=0&end=4000000000",
        encoded(&format!("http_server_request_duration_seconds_bucket{{{labels}}}"))
    );
    let answer = classic.ask(&path);
    let exemplars: Vec<&Value> = answer
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|series| series["exemplars"].as_array().into_iter().flatten())
        .collect();
    let id = |exemplar: &Value| exemplar["labels"]["request_id"].as_str().unwrap_or_default().to_owned();
    assert!(
        exemplars.iter().all(|exemplar| id(exemplar).starts_with("load-")),
        "{answer}"
    );
    // The log does not reach back to the oldest ones.
    let newest = exemplars
        .iter()
        .max_by(|a, b| number(&a["timestamp"]).total_cmp(&number(&b["timestamp"])));
    let newest = newest.expect("there are exemplars");
    let found = agent.api().get(&format!("/api/v1/requests?id={}", id(newest)));
    let found = &found["requests"][0];
    assert_eq!(found["request_id"], id(newest), "an exemplar leads to its request");
    let value: f64 = newest["value"]
        .as_str()
        .expect("a number as text")
        .parse()
        .expect("a number");
    assert_eq!(
        (&found["path"], value > 0.001),
        (&Value::from("/work"), true),
        "{newest}"
    );
}

/// Ten seconds of a load of one request after the other, and the rate that each Prometheus sees in the last eight.
#[track_caller]
fn steady(port: u16, all: &[&Prometheus]) {
    let mut server = Connection::port(port).expect("the server listens");
    let began_ns = now_ns();
    let mut requests = 0;
    while now_ns() - began_ns < 10_000_000_000 {
        assert_eq!(server.get("/work?ms=20").expect("the server answers").status, 200);
        requests += 1;
    }
    let per_second = f64::from(requests) * 1e9 / (now_ns() - began_ns) as f64;
    for prometheus in all {
        let rate = prometheus.value(&format!(
            "sum(rate(http_server_requests_total{{server_port=\"{port}\"}}[8s]))"
        ));
        near(rate.expect("there are samples"), per_second, 0.1, "rate");
    }
}

/// What promtool finds wrong with the text.
#[track_caller]
fn lint(agent: &Agent) {
    let reply = agent.api().ask("/metrics").expect("the agent answers");
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let directory = Workdir::new();
    let file = directory.join("metrics");
    std::fs::write(&file, &reply.body).expect("a file can be written");
    let mut command = promtool(&["check", "metrics"]);
    command.stdin(std::fs::File::open(&file).expect("it was just written"));
    let mut child = Child::start("promtool", command, directory.path());
    let code = child.wait().code();
    assert_eq!((code, child.log().as_str()), (Some(0), ""));
}

#[test]
fn the_rules_that_come_with_the_agent_are_right() {
    need!(Prometheus);
    let check = |arguments: &[&str], file: &str| {
        let mut command: Command = promtool(arguments);
        command.arg(deployed(file)).stdin(Stdio::null());
        let said = run(command);
        assert_eq!(said.code, Some(0), "{file}: {}{}", said.out, said.error);
    };
    check(&["check", "config"], "prometheus.yml");
    check(&["check", "rules"], "perf-agent.rules.yml");
    check(&["test", "rules"], "perf-agent.rules.test.yml");
}
