//! Expositions of what pipelines saw, read back by a parser that takes nothing that is not as the formats say.

mod document;
mod size;
mod strict;

use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;

use self::strict::{Metrics, Sample};
use super::model::{Definition, Exemplar, Families, Kind, Value};
use super::protobuf::messages::{MetricFamily, MetricType};
use super::text::Dialect;
use super::{Exposition, Format, buckets, catalogue, custom, own, protobuf, text};
use crate::alert::{Alert, State};
use crate::custom::{CustomKind, CustomView};
use crate::exchange::Role;
use crate::pipeline::Pipeline;
use crate::process::ServiceKey;
use crate::resources::{
    DiskUse, FileSystemUse, GroupUse, HostUse, InterfaceUse, Pressure, Pressures, Resources, ServiceUse,
};
use crate::snapshot::Snapshot;
use crate::synthetic::{EPOCH_NS, End, Traffic};
use crate::threshold::{Severity, Subject};

fn snapshot(traffic: &Traffic) -> Arc<Snapshot> {
    let core = crate::config::CoreSettings {
        max_endpoints: 100,
        request_log: 1000,
        max_connections: 1000,
        routes: vec![],
    };
    let mut pipeline = Pipeline::new(crate::cli::start::pipeline_settings(&core)).unwrap();
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

fn alert(state: State, severity: Severity) -> Alert {
    Alert {
        id: "0".into(),
        state,
        severity,
        threshold_id: "t".into(),
        metric: "m".into(),
        subject: Subject {
            key: "host".into(),
            name: "host".into(),
            service: None,
            endpoint: None,
        },
        value: None,
        limit: 1.0,
        since_wall_ns: 1,
        fired_wall_ns: None,
        resolved_wall_ns: None,
        message: String::new(),
        runbook: None,
        silenced_by: None,
        inhibited_by: None,
    }
}

fn resources() -> Resources {
    let pressure = Some(Pressure {
        some: 0.25,
        full: Some(0.125),
    });
    let pressure = Pressures {
        cpu: pressure,
        memory: None,
        io: pressure,
    };
    let service = ServiceKey {
        name: "shop".into(),
        exe: None,
        container: None,
        unit: None,
        port: Some(8080),
        socket: None,
    };
    Resources {
        wall_ns: 1,
        over_ns: 1,
        host: HostUse {
            cpu_usage: Some(0.5),
            memory_usage: Some(0.5),
            memory_total_bytes: Some(1 << 34),
            memory_available_bytes: Some(1 << 33),
            swap_used_bytes: Some(0),
            processors: 4,
            load: Some([1.0, 2.0, 3.0]),
            pressure,
            disks: vec![DiskUse {
                name: "sda".into(),
                read_bytes_per_second: Some(1.0),
                written_bytes_per_second: Some(2.0),
                busy: Some(0.1),
            }],
            file_systems: vec![FileSystemUse {
                mounted_on: "/".into(),
                total_bytes: 10,
                available_bytes: 5,
            }],
            interfaces: vec![InterfaceUse {
                name: "eth0".into(),
                received_bytes_per_second: Some(1.0),
                sent_bytes_per_second: Some(2.0),
                faults_per_second: Some(0.0),
            }],
        },
        services: vec![ServiceUse {
            service: Arc::new(service),
            processes: 2,
            cpu_cores: Some(1.5),
            cpu_usage: Some(0.75),
            resident_bytes: Some(1000),
            memory_usage: Some(0.1),
            threads: Some(7),
            open_files: Some(10),
            open_files_limit: Some(1024),
            listen_queue: Some(0),
            listen_queue_limit: Some(128),
            listen_overflows_per_second: Some(0.0),
            group: Some(GroupUse {
                path: "/shop".into(),
                cpu_limit_cores: Some(2.0),
                throttled: Some(0.0),
                throttled_seconds_per_second: Some(0.0),
                memory_limit_bytes: Some(2000),
                memory_bytes: Some(1000),
                oom_kills: Some(1),
                pressure,
            }),
            started_wall_ns: Some(1_000_000_000),
            pod: None,
        }],
    }
}

#[test]
fn resources_health_and_alerts_are_told_where_they_are_known() {
    let snapshot = snapshot(&Traffic::example());
    let resources = resources();
    let alerts = [
        alert(State::Firing, Severity::Error),
        alert(State::Firing, Severity::Error),
        alert(State::Pending, Severity::Critical),
    ];
    let exposition = Exposition {
        resources: Some(&resources),
        health_score: Some(87.5),
        alerts: Some(&alerts),
        ..of(&snapshot)
    };
    let metrics = read(&exposition, Format::OpenMetrics);
    assert_eq!(metrics.value("perf_agent_health_score", &[]), 87.5);
    let firing = |severity| metrics.value("perf_agent_alerts_firing", &[("severity", severity)]);
    assert_eq!(
        (firing("warning"), firing("error"), firing("critical")),
        (0.0, 2.0, 0.0)
    );
    assert_eq!(metrics.value("perf_agent_host_load", &[("window", "15m")]), 3.0);
    assert_eq!(
        metrics.value(
            "perf_agent_host_pressure_ratio",
            &[("resource", "io"), ("tasks", "full")]
        ),
        0.125
    );
    let service = &[("service_name", "shop"), ("server_port", "8080")];
    assert_eq!(metrics.value("perf_agent_service_cpu_cores", service), 1.5);
    assert_eq!(metrics.value("perf_agent_service_oom_kills_total", service), 1.0);
    let told = |name: &str| metrics.families.iter().any(|family| family.name == name);
    let of_resources: Vec<_> = super::resources::ALL
        .iter()
        .filter(|definition| !told(&definition.name))
        .collect();
    assert!(of_resources.is_empty(), "{of_resources:?}");
}

fn view(name: &str, kind: CustomKind, attributes: &[(&str, &str)]) -> CustomView {
    CustomView {
        name: name.to_owned(),
        unit: None,
        attributes: attributes
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        kind,
        count: 2,
        sum: 3.0,
        min: Some(1.0),
        max: Some(2.0),
        mean: Some(1.5),
        last: Some(2.0),
        per_second: None,
    }
}

fn of_views(views: &[CustomView]) -> Families {
    let mut families = Families::new(&snapshot(&Traffic::default()));
    views.iter().for_each(|view| custom::add_view(view, &mut families));
    families
}

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

#[test]
fn custom_metrics_get_names_that_prometheus_takes() {
    let mut time = view("checkout.time", CustomKind::Value, &[("shop.id", "7"), ("le", "1")]);
    time.unit = Some("ms".to_owned());
    let mut loss = view("loss", CustomKind::Value, &[]);
    loss.min = Some(-1.0);
    let views = [
        time,
        loss,
        view("orders_total", CustomKind::Counter, &[]),
        view("orders", CustomKind::Gauge, &[]),
        view("queue", CustomKind::Gauge, &[("a-b", "1"), ("a.b", "2")]),
    ];
    let metrics = written(&of_views(&views));
    let labels = &[("shop_id", "7"), ("attribute_le", "1")];
    assert_eq!(metrics.value("custom_checkout_time_ms_sum", labels), 3.0);
    assert_eq!(metrics.value("custom_checkout_time_ms_count", labels), 2.0);
    assert_eq!(metrics.value("custom_loss_count", &[]), 2.0);
    assert!(
        metrics.samples().all(|sample| sample.name != "custom_loss_sum"),
        "it may fall"
    );
    assert_eq!(metrics.value("custom_orders_total", &[]), 3.0);
    assert!(
        metrics.samples().all(|sample| sample.name != "custom_orders"),
        "the name is taken"
    );
    assert_eq!(metrics.value("custom_queue", &[("a_b", "1")]), 2.0);
}

/// Text with everything that formats care for.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".*", "[\\\\\"\\n{},=# a]{0,12}", "\\PC{0,3}", Just("é".repeat(600))]
}

proptest! {
    #[test]
    fn any_custom_metric_is_told_in_a_way_that_is_understood(
        views in prop::collection::vec(
            (any_text(), prop::option::of(any_text()), prop::collection::vec((any_text(), any_text()), 0..4),
                0..3usize, any::<f64>(), prop::option::of(any::<f64>())), 0..8),
    ) {
        let kinds = [CustomKind::Value, CustomKind::Gauge, CustomKind::Counter];
        let views: Vec<_> = views
            .into_iter()
            .map(|(name, unit, attributes, kind, sum, last)| CustomView {
                name,
                unit,
                attributes,
                sum,
                last,
                min: last,
                ..view("", kinds[kind], &[])
            })
            .collect();
        written(&of_views(&views));
    }

    #[test]
    fn any_labels_and_values_come_back_as_they_were(
        values in prop::collection::vec((any_text(), any_text(), any::<f64>()), 0..8),
        samples in prop::collection::vec((0u32..43, any::<u64>()), 1..100),
        id in "\\PC{1,118}",
    ) {
        const GAUGE: Definition = Definition::new("a_gauge", Kind::Gauge, &["a", "b"], "\\ says \"it\".\nTwice.");
        const TIMES: Definition = Definition::in_unit("times_seconds", Kind::Histogram, "seconds", &["a", "b"], "Times.");
        let mut families = Families::new(&snapshot(&Traffic::default()));
        let mut expected = std::collections::BTreeMap::new();
        let cut = |text: &str| text[..text.floor_char_boundary(1024)].to_owned();
        for (a, b, value) in &values {
            let labels = families.labels([("a", a.clone()), ("b", b.clone())]);
            if !expected.contains_key(&(cut(a), cut(b))) {
                families.put(&GAUGE, &labels, *value);
                expected.insert((cut(a), cut(b)), *value);
            }
        }
        let none = families.unlabelled();
        let mut times = crate::aggregate::Distribution::default();
        samples.iter().for_each(|(bits, value)| times.record(value & ((1 << bits) - 1)));
        let sum = times.sum_ns() as f64 / 1e9;
        families.put(&TIMES, &none, Value::times(times, buckets::FINE_NS));
        let last = samples[0].1 & ((1 << samples[0].0) - 1);
        if let Value::Histogram(histogram) = &mut families.family(&TIMES).series[0].value {
            histogram.exemplify(last, Exemplar { request_id: id.as_str().into(), seconds: last as f64 / 1e9, wall_ns: None });
        }
        for dialect in [Dialect::Prometheus, Dialect::OpenMetrics] {
            let metrics = strict::parse(&text::write(&families, dialect), dialect == Dialect::OpenMetrics).unwrap();
            let told: std::collections::BTreeMap<_, _> = metrics
                .samples()
                .filter(|sample| sample.name == "a_gauge")
                .map(|sample| {
                    let label = |name| sample.label(name).unwrap_or_default().to_owned();
                    ((label("a"), label("b")), sample.value)
                })
                .collect();
            prop_assert_eq!(told.len(), expected.len());
            for ((labels, told), wanted) in told.iter().zip(expected.values()) {
                prop_assert!(told.to_bits() == wanted.to_bits() || (told.is_nan() && wanted.is_nan()), "{:?}", labels);
            }
            prop_assert_eq!(metrics.value("times_seconds_sum", &[]), sum);
            let examples: Vec<&Sample> = metrics.samples().filter(|sample| sample.exemplar.is_some()).collect();
            prop_assert_eq!(examples.len(), usize::from(dialect == Dialect::OpenMetrics));
            for example in examples {
                let (labels, value, at) = example.exemplar.clone().unwrap();
                prop_assert_eq!((&labels[0].1, value, at), (&id, last as f64 / 1e9, None));
            }
        }
        let told = messages(&protobuf::write(&families));
        let gauges: Vec<_> = told.iter().filter(|family| family.name.as_deref() == Some("a_gauge")).flat_map(|family| &family.metric).collect();
        prop_assert_eq!(gauges.len(), expected.len());
        for metric in gauges {
            let label = |name: &str| {
                let found = metric.label.iter().find(|label| label.name.as_deref() == Some(name));
                found.and_then(|label| label.value.clone()).unwrap_or_default()
            };
            let value = metric.gauge.unwrap().value.unwrap();
            let wanted = expected[&(label("a"), label("b"))];
            prop_assert!(value.to_bits() == wanted.to_bits());
        }
    }
}

#[test]
fn series_whose_labels_agree_are_added_up() {
    const SHARE: Definition = Definition::in_unit("share_ratio", Kind::Gauge, "ratio", &["a"], "A share.");
    const COUNT: Definition = Definition::new("count_of", Kind::Counter, &["a"], "A count.").by("b");
    let mut families = Families::new(&snapshot(&Traffic::default()));
    let long = "x".repeat(2000);
    for value in [0.25, 0.5] {
        let labels = families.labels([("a", format!("{long}{value}"))]);
        families.put(&SHARE, &labels, value);
        families.put_by(&COUNT, &labels, Cow::Borrowed("c"), value);
    }
    let metrics = written(&families);
    assert_eq!(metrics.value("share_ratio", &[]), 0.5);
    assert_eq!(metrics.value("count_of_total", &[("b", "c")]), 0.75);
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
    let (snapshot, resources) = (snapshot(&Traffic::example()), resources());
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
