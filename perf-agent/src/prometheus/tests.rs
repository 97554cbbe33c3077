//! Expositions of what pipelines saw, read back by a parser that takes nothing that is not as the formats say.
#![expect(clippy::float_cmp, reason = "figures are told as they are")]

mod custom;
mod document;
mod resources;
mod size;
mod strict;
mod values;

use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;

use self::strict::Metrics;
use super::model::{Definition, Families};
use super::protobuf::messages::{MetricFamily, MetricType};
use super::text::Dialect;
use super::{Exposition, Format, buckets, catalogue, own, protobuf, text};
use crate::aggregate::stored::{Interrupted, StoredSlots};
use crate::aggregate::window::Size;
use crate::aggregate::{Aggregate, Window};
use crate::exchange::Role;
use crate::pipeline::Pipeline;
use crate::snapshot::Snapshot;
use crate::statistics::{Remembered, RememberedEndpoint};
use crate::synthetic::{EPOCH_NS, End, Traffic};

fn snapshot(traffic: &Traffic) -> Arc<Snapshot> {
    run(traffic, None)
}

fn run(traffic: &Traffic, remembered: Option<Arc<Remembered>>) -> Arc<Snapshot> {
    let core = crate::config::CoreSettings {
        max_endpoints: 100,
        request_log: 1000,
        max_connections: 1000,
        routes: vec![],
        errors: crate::aggregate::ErrorRule::default(),
        requests: crate::request_log::RequestLogSettings::default(),
    };
    let mut settings = crate::cli::start::pipeline_settings(&core);
    settings.statistics.remembered = remembered;
    let mut pipeline = Pipeline::new(settings).unwrap();
    for record in &traffic.records {
        pipeline.apply(record);
    }
    pipeline.snapshot()
}

/// An exposition of this and nothing else.
fn of(snapshot: &Snapshot) -> Exposition<'_> {
    Exposition {
        snapshot,
        agent: own::Agent {
            version: "1.2.3",
            kernel: "6.18.0",
            backend: Some("fentry"),
            max_endpoints: 100,
            cpu_seconds: 1.5,
            resident_bytes: Some(30_000_000),
            programs: &[own::Program {
                name: "sent",
                runs: Some(4),
                run_time_ns: Some(1000),
            }],
        },
        resources: None,
        health_score: None,
        alerts: None,
        custom: None,
    }
}

fn read(exposition: &Exposition<'_>, format: Format) -> Metrics {
    let text = String::from_utf8(exposition.render(format)).unwrap();
    strict::parse(&text, format == Format::OpenMetrics).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

fn messages(mut bytes: &[u8]) -> Vec<MetricFamily> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(MetricFamily::decode_length_delimited(&mut bytes).unwrap());
    }
    all
}

/// In every format.
#[track_caller]
fn written(families: &Families) -> Metrics {
    let [plain, open] = [Dialect::Prometheus, Dialect::OpenMetrics].map(|dialect| {
        let text = text::write(families, dialect);
        strict::parse(&text, dialect == Dialect::OpenMetrics).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
    });
    assert_eq!(plain.samples().count(), open.samples().count());
    messages(&protobuf::write(families));
    plain
}

/// Text with everything that formats care for.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".*", "[\\\\\"\\n{},=# a]{0,12}", "\\PC{0,3}", Just("é".repeat(600))]
}

const USERS: &[(&str, &str)] = &[("http_route", "/users/{id}")];

#[test]
fn counts_and_times_are_those_of_the_snapshot() {
    let snapshot = snapshot(&Traffic::example());
    for format in [Format::Text, Format::OpenMetrics] {
        let metrics = read(&of(&snapshot), format);
        let server = |name: &str, labels: &[(&str, &str)]| metrics.value(name, labels);
        assert_eq!(server("http_server_request_duration_seconds_count", USERS), 80.0);
        let times = (0..100u64)
            .filter(|number| number % 10 < 8)
            .map(|number| 1 + number % 20);
        assert_eq!(
            server("http_server_request_duration_seconds_sum", USERS),
            times.clone().sum::<u64>() as f64 / 1e3
        );
        for (bound, ms) in [("0.005", 5), ("0.01", 10), ("0.025", 25), ("+Inf", u64::MAX)] {
            let expected = times.clone().filter(|&time| time <= ms).count() as f64;
            let labels = [USERS, &[("le", bound)]].concat();
            assert_eq!(
                server("http_server_request_duration_seconds_bucket", &labels),
                expected,
                "{bound}"
            );
        }
        let status = |route, code| {
            server(
                "http_server_requests_total",
                &[("http_route", route), ("http_response_status_code", code)],
            )
        };
        assert_eq!(
            (
                status("/users/{id}", "200"),
                status("/broken", "500"),
                status("/missing", "404")
            ),
            (80.0, 10.0, 10.0)
        );
        // It was closed without an answer: it has no status, and is an error all the same.
        let slow = &[("http_route", "/slow")][..];
        let without = metrics.find("http_server_requests_total", slow);
        assert_eq!((without.label("http_response_status_code"), without.value), (None, 1.0));
        assert_eq!(server("http_server_errors_total", slow), 1.0);
        assert_eq!(server("http_server_errors_total", &[("http_route", "/broken")]), 10.0);
        assert_eq!(
            server("http_server_client_errors_total", &[("http_route", "/missing")]),
            10.0
        );
        assert_eq!(server("http_server_active_requests", slow), 1.0);
        let closed = [slow, &[("outcome", "server_closed")]].concat();
        assert_eq!(server("http_server_outcomes_total", &closed), 1.0);
        assert_eq!(server("http_server_queue_time_seconds_sum", USERS), 80.0 * 50e-6);
        assert_eq!(
            server(
                "http_client_request_duration_seconds_count",
                &[("http_route", "/users/{id}")]
            ),
            80.0
        );
        assert_eq!(server("perf_agent_exchanges_total", &[("outcome", "answered")]), 200.0);
        assert_eq!(
            server("perf_agent_program_run_seconds_total", &[("program", "sent")]),
            1e-6
        );
        assert_eq!(
            server("perf_agent_build_info", &[("version", "1.2.3"), ("backend", "fentry")]),
            1.0
        );
        assert_eq!(server("target_info", &[("service_name", "perf-agent")]), 1.0);
        assert_eq!(
            server(
                "perf_agent_service_info",
                &[("unit", "nginx.service"), ("exe", "/usr/sbin/nginx")]
            ),
            1.0
        );
        assert_eq!(
            server("perf_agent_snapshot_time_seconds", &[]),
            (EPOCH_NS / 1_000_000_000 + 15) as f64
        );
    }
}

#[test]
fn labels_are_those_of_the_semantic_conventions() {
    let snapshot = snapshot(&Traffic::example());
    let metrics = read(&of(&snapshot), Format::Text);
    let server = metrics.find("http_server_request_duration_seconds_count", USERS);
    assert_eq!(
        server.labels,
        [
            ("service_name", "nginx"),
            ("http_request_method", "GET"),
            ("http_route", "/users/{id}"),
            ("url_scheme", "http"),
            ("network_protocol_name", "http"),
            ("network_protocol_version", "1.1"),
            ("server_port", "8080"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    let client = metrics.find("http_client_request_duration_seconds_count", USERS);
    assert_eq!(
        (
            client.label("server_address"),
            client.label("server_port"),
            client.label("service_name")
        ),
        (Some("shop.example"), Some("8080"), Some("python3.11"))
    );
}

/// Exchanges of one request each, all in the same time.
fn exchanges(ports: &[(u16, Role, &str, &str)]) -> Traffic {
    let ms = |ms: u64| 5_000_000_000 + ms * 1_000_000;
    let mut traffic = Traffic::default();
    traffic.tick(ms(0));
    traffic.process(10, "/usr/bin/app", "/system.slice/app.service");
    for (number, &(port, role, request, response)) in (1u64..).zip(ports) {
        let end = End {
            connection: number,
            tgid: 10,
            role,
            port,
        };
        traffic.open(end, ms(number * 10 - 1));
        traffic.exchange(end, request, response, [ms(number * 10), ms(number * 10 + 2)]);
        traffic.close(number, ms(number * 10 + 3));
    }
    traffic.tick(ms(5000));
    traffic
}

#[test]
fn databases_are_told_by_operation() {
    let redis = (6379, Role::Client, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "$-1\r\n");
    let served = (
        6379,
        Role::Server,
        "*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        "-WRONGTYPE no\r\n",
    );
    let snapshot = snapshot(&exchanges(&[redis, served]));
    let metrics = read(&of(&snapshot), Format::OpenMetrics);
    let labels = &[("db_system_name", "redis"), ("db_operation_name", "GET")][..];
    let client = metrics.find("db_client_operation_duration_seconds_count", labels);
    assert_eq!((client.value, client.label("server_address")), (1.0, Some("10.0.0.7")));
    assert_eq!(metrics.value("db_client_cache_misses_total", labels), 1.0);
    assert_eq!(metrics.value("db_client_cache_hits_total", labels), 0.0);
    let ok = [labels, &[("db_response_status_code", "ok")]].concat();
    assert_eq!(metrics.value("db_client_operations_total", &ok), 1.0);
    let wrong = [labels, &[("db_response_status_code", "WRONGTYPE")]].concat();
    assert_eq!(metrics.value("db_server_operations_total", &wrong), 1.0);
    assert_eq!(metrics.value("db_server_errors_total", labels), 1.0);
}

#[test]
fn exemplars_are_the_newest_requests_of_their_buckets() {
    let snapshot = snapshot(&Traffic::example());
    let metrics = read(&of(&snapshot), Format::OpenMetrics);
    let bucket = |bound| {
        let labels = [USERS, &[("le", bound)]].concat();
        metrics
            .find("http_server_request_duration_seconds_bucket", &labels)
            .exemplar
            .clone()
    };
    // The newest request of 6 to 10 ms was number 87: it took 8 ms and ended 7.838 s after the fifth second.
    let (labels, value, at) = bucket("0.01").unwrap();
    assert_eq!(labels, [("request_id".to_owned(), "r87".to_owned())]);
    assert_eq!(
        (value, at),
        (0.008, Some((EPOCH_NS / 1_000_000_000 + 12) as f64 + 0.838))
    );
    assert_eq!(bucket("0.0001"), None);
    let text = read(&of(&snapshot), Format::Text);
    assert!(text.samples().all(|sample| sample.exemplar.is_none()));
    let families = messages(&of(&snapshot).render(Format::Protobuf));
    let family = families
        .iter()
        .find(|family| family.name.as_deref() == Some("http_server_request_duration_seconds"))
        .unwrap();
    let metric = family
        .metric
        .iter()
        .find(|metric| {
            metric
                .label
                .iter()
                .any(|label| label.value.as_deref() == Some("/users/{id}"))
        })
        .unwrap();
    let histogram = metric.histogram.as_ref().unwrap();
    let exemplar = histogram.bucket[6].exemplar.as_ref().unwrap();
    assert_eq!(
        (histogram.bucket[6].upper_bound, exemplar.value),
        (Some(0.01), Some(0.008))
    );
    let at = exemplar.timestamp.unwrap();
    assert_eq!(
        (at.seconds, at.nanos),
        ((EPOCH_NS / 1_000_000_000 + 12).cast_signed(), 838_000_000)
    );
    assert_eq!(
        histogram.exemplars.len(),
        histogram
            .bucket
            .iter()
            .filter(|bucket| bucket.exemplar.is_some())
            .count()
    );
}

#[test]
fn an_id_that_is_too_long_for_an_exemplar_is_none() {
    let request = |id: &str| format!("GET /a HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n");
    let (longest, longer) = (request(&"x".repeat(118)), request(&"y".repeat(119)));
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let of_ids = |request: &str| {
        let snapshot = snapshot(&exchanges(&[(80, Role::Server, request, response)]));
        let metrics = read(&of(&snapshot), Format::OpenMetrics);
        metrics.samples().filter(|sample| sample.exemplar.is_some()).count()
    };
    assert_eq!(of_ids(&longer), 0);
    // The request log keeps what it keeps of an id; the parser counts the characters.
    assert!(of_ids(&longest) <= 1);
}

#[test]
fn messages_say_what_the_text_does_and_have_native_histograms() {
    let snapshot = snapshot(&Traffic::example());
    let exposition = of(&snapshot);
    let text = read(&exposition, Format::Text);
    let families = messages(&exposition.render(Format::Protobuf));
    let names: Vec<_> = families.iter().map(|family| family.name.clone().unwrap()).collect();
    assert_eq!(
        names,
        text.families
            .iter()
            .map(|family| family.name.clone())
            .collect::<Vec<_>>()
    );
    for (family, told) in families.iter().zip(&text.families) {
        assert_eq!(family.help.as_ref(), Some(&told.help));
        for metric in &family.metric {
            let pairs: Vec<(String, String)> = metric
                .label
                .iter()
                .map(|label| (label.name.clone().unwrap(), label.value.clone().unwrap()))
                .collect();
            let exactly = |suffix: &str| {
                let name = format!("{}{suffix}", told.name);
                told.samples
                    .iter()
                    .find(|sample| sample.name == name && sample.labels == pairs)
                    .unwrap()
                    .value
            };
            match family.r#type() {
                MetricType::Counter => {
                    let counter = metric.counter.unwrap();
                    assert_eq!(counter.value, Some(exactly("")));
                    assert_eq!(
                        counter.created_timestamp.unwrap().seconds,
                        (EPOCH_NS / 1_000_000_000 + 5).cast_signed()
                    );
                }
                MetricType::Gauge => assert_eq!(metric.gauge.unwrap().value, Some(exactly(""))),
                MetricType::Histogram => {
                    let histogram = metric.histogram.as_ref().unwrap();
                    assert_eq!(
                        histogram.sample_count.map(|count| count as f64),
                        Some(exactly("_count"))
                    );
                    assert_eq!(histogram.sample_sum, Some(exactly("_sum")));
                    let native = buckets::Native {
                        schema: histogram.schema.unwrap(),
                        count: histogram.sample_count.unwrap(),
                        zeros: histogram.zero_count.unwrap(),
                        spans: histogram
                            .positive_span
                            .iter()
                            .map(|span| (span.offset.unwrap(), span.length.unwrap()))
                            .collect(),
                        deltas: histogram.positive_delta.clone(),
                    };
                    let sum: u64 = buckets::tests::expanded(&native).iter().map(|(_, count)| count).sum();
                    assert_eq!(sum + native.zeros, native.count);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What an agent saw that remembers everything of this, and begins a hundred seconds after it did.
fn after_restart(before: &Snapshot, traffic: &Traffic) -> Arc<Snapshot> {
    const AHEAD_NS: u64 = 100_000_000_000;
    let stored = |aggregate: &Aggregate| {
        let mut slots = StoredSlots::default();
        for size in Size::ALL {
            for (number, slot) in aggregate.closed_since(size, 0) {
                assert!(slots.add(size, *number, slot));
            }
        }
        slots
    };
    // A slot is kept when it has closed.
    let closed = |aggregate: &Aggregate| {
        let mut aggregate = aggregate.clone();
        aggregate.advance(before.at_ns + 10_000_000_000);
        stored(&aggregate)
    };
    let remembered = Remembered {
        ahead_ns: AHEAD_NS,
        interrupted: Interrupted {
            started_ns: before.started_ns,
            until_ns: before.at_ns + 10_000_000_000,
            resumed_ns: before.started_ns + AHEAD_NS,
            ..Interrupted::default()
        },
        endpoints: before
            .endpoints
            .iter()
            .map(|endpoint| RememberedEndpoint {
                key: (*endpoint.key).clone(),
                reason: endpoint.reason.clone(),
                peer_seen: endpoint.peer_seen.clone(),
                slots: closed(&endpoint.aggregate),
            })
            .collect(),
        total: closed(&before.total),
        ..Remembered::default()
    };
    run(traffic, Some(Arc::new(remembered)))
}

#[test]
fn after_a_restart_everything_begins_with_zero_whatever_is_remembered() {
    let before = snapshot(&Traffic::example());
    let restarted = after_restart(&before, &Traffic::example());
    let users = |snapshot: &Snapshot| {
        let endpoint = snapshot
            .endpoints
            .iter()
            .find(|it| it.key.operation.route == "/users/{id}");
        endpoint.unwrap().window(Window::Start, snapshot.at_ns).requests
    };
    assert_eq!((users(&before), users(&restarted)), (80, 160), "it is remembered");
    for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
        assert!(
            of(&restarted).render(format) == of(&before).render(format),
            "{format:?}"
        );
    }
}

#[test]
fn endpoints_that_are_only_remembered_have_no_series() {
    let mut quiet = Traffic::default();
    quiet.tick(5_000_000_000);
    let restarted = after_restart(&snapshot(&Traffic::example()), &quiet);
    assert!(restarted.endpoints.len() > 3);
    let metrics = read(&of(&restarted), Format::OpenMetrics);
    assert!(metrics.families.iter().all(|family| !family.name.starts_with("http_")));
}

#[test]
fn what_is_not_known_is_not_told() {
    let empty = snapshot(&Traffic::default());
    let metrics = read(&of(&empty), Format::OpenMetrics);
    assert!(metrics.families.iter().all(|family| !family.name.starts_with("http_")));
    assert!(
        metrics
            .families
            .iter()
            .all(|family| family.name != "perf_agent_health_score")
    );
    assert!(
        metrics
            .families
            .iter()
            .all(|family| family.name != "perf_agent_snapshot_time_seconds")
    );
    assert_eq!(metrics.value("perf_agent_records_received_total", &[]), 0.0);
}

#[test]
fn everything_that_is_told_is_in_the_catalogue() {
    let all = catalogue();
    let mut names: Vec<_> = all.iter().map(Definition::full_name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all.len(), "each name once");
    for definition in &all {
        if let Some(unit) = &definition.unit {
            assert!(definition.name.ends_with(&format!("_{unit}")), "{}", definition.name);
        }
        assert!(definition.help.ends_with('.'), "{}", definition.name);
    }
    let (snapshot, resources) = (snapshot(&Traffic::example()), resources::resources());
    let exposition = Exposition {
        resources: Some(&resources),
        health_score: Some(1.0),
        alerts: Some(&[]),
        ..of(&snapshot)
    };
    for family in exposition
        .families()
        .all
        .iter()
        .filter(|family| !family.series.is_empty())
    {
        let told = &family.definition;
        let listed = all.iter().find(|definition| definition.name == told.name).unwrap();
        assert_eq!((listed.kind, &listed.help), (told.kind, &told.help));
        for series in &family.series {
            for (name, _) in series.labels.pairs() {
                assert!(listed.labels.contains(&name), "{}: {name}", told.name);
            }
        }
    }
}
