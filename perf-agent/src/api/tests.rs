//! The API over a pipeline that was fed records: what it says, how it refuses, and that its document tells the truth.

mod custom;
mod decisions;
mod follow;
mod schema;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, broadcast, watch};
use tower::ServiceExt;

use super::guard::Guard;
use super::json::agent::{Configuration, Facts, Limits};
use super::{Api, Batch, Published, document, router};
use crate::decide::{Decider, Plan, Settings};
use crate::exchange::Role;
use crate::pipeline::Pipeline;
use crate::source::{
    Backend, BackendReport, BlindSpot, HookFamily, HookReport, HookState, KernelInfo, ProgramStats, Report, TlsCoverage,
};
use crate::store::Store;
use crate::synthetic::{End, Traffic};

struct Served {
    router: axum::Router,
    published: watch::Sender<Published>,
    followed: broadcast::Sender<Batch>,
}

struct Reply {
    status: StatusCode,
    content_type: String,
    allow: Option<String>,
    body: Value,
}

fn programs() -> Arc<[ProgramStats]> {
    Arc::new([
        ProgramStats {
            name: "sent".to_owned(),
            runs: Some(4),
            run_time_ns: Some(1000),
        },
        ProgramStats {
            name: "received".to_owned(),
            runs: None,
            run_time_ns: None,
        },
    ])
}

fn coverage() -> Arc<[TlsCoverage]> {
    let covered = TlsCoverage {
        tgid: 10,
        exe: Some("/usr/sbin/nginx".to_owned()),
        library: Some("OpenSSL"),
        version: Some("3.0.14".to_owned()),
        path: Some("/usr/lib/libssl.so.3".to_owned()),
        covered: true,
        how: Some("uprobe_multi on SSL_read".to_owned()),
        reason: None,
    };
    let not_covered = TlsCoverage {
        tgid: 99,
        library: None,
        covered: false,
        how: None,
        reason: Some("no TLS library that is known is mapped".to_owned()),
        ..covered.clone()
    };
    Arc::new([covered, not_covered])
}

fn facts() -> Facts {
    let reason = Some("not here".to_owned());
    let report = Report {
        kernel: KernelInfo {
            release: "6.18.0".to_owned(),
            btf: true,
        },
        backend: Some(Backend::Tracepoint),
        backends: vec![BackendReport {
            backend: Backend::Fentry,
            state: HookState::Unavailable,
            reason: reason.clone(),
            fix: Some("a newer kernel".to_owned()),
        }],
        hooks: vec![HookReport {
            name: "sent: sock_send_length".to_owned(),
            family: HookFamily::Tracepoint,
            state: HookState::Used,
            reason,
            fix: None,
        }],
        blind_spots: vec![BlindSpot {
            what: "x".to_owned(),
            why: "y".to_owned(),
        }],
    };
    let limits = Limits {
        max_endpoints: 100,
        max_connections: 1000,
        ring_bytes: Some(4096),
        capture_request_bytes: None,
        capture_response_bytes: None,
    };
    Facts {
        report,
        live: true,
        limits,
    }
}

fn served(traffic: &Traffic, ready: bool) -> Served {
    let core = crate::config::CoreSettings {
        max_endpoints: 100,
        request_log: 1000,
        max_connections: 1000,
        routes: vec![],
        errors: crate::aggregate::ErrorRule::default(),
        requests: crate::request_log::RequestLogSettings::default(),
    };
    let mut pipeline = Pipeline::new(crate::cli::start::pipeline_settings(&core)).unwrap();
    for record in &traffic.records {
        pipeline.apply(record);
    }
    let snapshot = pipeline.snapshot();
    assert!(snapshot.accounting.closes(), "{:?}", snapshot.accounting);
    let (programs, tls) = (programs(), coverage());
    let (publish, published) = watch::channel(Published {
        snapshot,
        programs,
        tls,
        ready,
    });
    let (followed, _) = broadcast::channel(2);
    let custom = crate::custom::Shared::default();
    let decider = Decider::start(Plan {
        settings: Settings::default(),
        published: published.clone(),
        custom: Arc::clone(&custom),
        reader: None,
        notifier: None,
        store: Store::open(None),
    });
    let decider = decider.expect("a thread");
    let api = Api {
        facts: facts(),
        published,
        decided: decider.decided(),
        trends: decider.trends(),
        control: Some(decider.control()),
        history: None,
        statsd: Arc::default(),
        configuration: watch::channel(Configuration::none()).1,
        followed: followed.clone(),
        followers: Arc::new(Semaphore::new(2)),
        custom,
    };
    Served {
        router: router(api, Guard::default()),
        published: publish,
        followed,
    }
}

impl Served {
    fn ask(&self, method: &str, path: &str) -> Reply {
        self.send(method, path, "")
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Reply {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let text = |name| {
                response
                    .headers()
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
            };
            let (status, content_type, allow) = (response.status(), text("content-type"), text("allow"));
            assert_eq!(text("cache-control").as_deref(), Some("no-store"));
            let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            Reply {
                status,
                content_type: content_type.unwrap_or_default(),
                allow,
                body,
            }
        })
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let reply = self.ask("GET", path);
        assert_eq!(
            (reply.status, reply.content_type.as_str()),
            (StatusCode::OK, "application/json"),
            "{}",
            reply.body
        );
        reply.body
    }

    #[track_caller]
    fn refuses(&self, path: &str, status: u16, detail: &str) {
        let reply = self.ask("GET", path);
        let media_type = reply.content_type.as_str();
        assert_eq!(
            (reply.status.as_u16(), media_type),
            (status, "application/problem+json"),
            "{path}"
        );
        assert_eq!(reply.body["status"], status);
        assert_eq!(reply.body["detail"], detail, "{path}");
        let (document, schema) = (json(document()), json!({"$ref": "#/components/schemas/Problem"}));
        schema::assert_valid(&document, &schema, &reply.body, path);
    }
}

fn json(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// Every path of the document that answers with JSON, with the parameters that a request for it can have.
fn paths(document: &Value, id: &str) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .map(|(path, item)| {
            let id = if path.contains("thresholds") {
                "error-rate-error"
            } else {
                id
            };
            (path.replace("{id}", id), item["get"].clone())
        })
        .filter(|(_, operation)| operation["responses"]["200"]["content"]["application/json"].is_object())
        .collect()
}

#[test]
fn every_answer_is_as_the_document_says() {
    let document = json(document());
    for traffic in [Traffic::default(), Traffic::example()] {
        let served = served(&traffic, true);
        let endpoints = served.get("/api/v1/endpoints?window=start")["endpoints"].take();
        let first = endpoints.get(0).map(|endpoint| &endpoint["id"]).and_then(Value::as_str);
        for (path, operation) in paths(&document, first.unwrap_or("none")) {
            if path.ends_with("/none") {
                continue; // no endpoint yet
            }
            let content = &operation["responses"]["200"]["content"];
            let Some(schema) = content["application/json"].get("schema") else {
                let reply = served.ask("GET", &path);
                let media_type = reply.content_type.split(';').next().unwrap();
                assert_eq!(reply.status, StatusCode::OK, "{path}");
                assert!(content.get(media_type).is_some(), "{path}: {media_type}");
                continue;
            };
            schema::assert_valid(&document, schema, &served.get(&path), &path);
        }
    }
    let starting = served(&Traffic::default(), false);
    starting.refuses("/readyz", 503, "the hooks are not attached yet");
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        if let Some(reference) = value["$ref"].as_str() {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
        let fields = value.as_object().into_iter().flat_map(serde_json::Map::values);
        fields
            .chain(value.as_array().into_iter().flatten())
            .for_each(|value| walk(document, value));
    }
    let document = json(document());
    walk(&document, &document);
}

#[test]
fn every_parameter_of_the_document_is_taken_and_no_other() {
    let served = served(&Traffic::example(), true);
    let document = json(document());
    let id = served.get("/api/v1/endpoints?window=start")["endpoints"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (path, operation) in paths(&document, &id) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let mut names = Vec::new();
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            assert_eq!(parameter["required"], false, "{path} {name}");
            names.push(name);
            for value in examples(&document, &parameter["schema"], name, &id) {
                served.get(&format!("{path}?{name}={value}"));
            }
        }
        let takes = if names.is_empty() {
            "this path takes none".to_owned()
        } else {
            format!("this path takes {}", names.join(", "))
        };
        served.refuses(
            &format!("{path}?wndow=1m"),
            400,
            &format!("unknown parameter \"wndow\": {takes}"),
        );
    }
}

/// Values that the schema of a parameter allows: all of its words, or one that fits.
fn examples(document: &Value, schema: &Value, name: &str, id: &str) -> Vec<String> {
    for choice in schema["oneOf"].as_array().into_iter().flatten().chain([schema]) {
        let reference = choice["$ref"]
            .as_str()
            .and_then(|reference| document.pointer(&reference[1..]));
        if let Some(words) = reference.and_then(|schema| schema["enum"].as_array()) {
            return words.iter().map(|word| word.as_str().unwrap().to_owned()).collect();
        }
        let variants = reference
            .and_then(|schema| schema["oneOf"].as_array())
            .into_iter()
            .flatten();
        let words: Vec<_> = variants
            .filter_map(|variant| variant["enum"][0].as_str())
            .map(str::to_owned)
            .collect();
        if !words.is_empty() {
            return words;
        }
    }
    let value = match name {
        "port" => "8080",
        "limit" => "1",
        "slower_than_ms" => "1.5",
        "status" => "5xx",
        "protocol" => "http/1.1",
        "client" => "10.0.0.7",
        "endpoint" => return vec!["*".to_owned(), id.to_owned()],
        _ => "x",
    };
    vec![value.to_owned()]
}

#[test]
fn the_document_in_the_repository_is_the_one_of_this_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let made = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/openapi.json is not up to date: UPDATE=1 cargo test -p perf-agent --lib the_document_in writes it"
    );
}

#[test]
fn endpoints_are_filtered_sorted_and_limited() {
    let served = served(&Traffic::example(), true);
    let routes = |query: &str| -> Vec<String> {
        let answer = served.get(&format!("/api/v1/endpoints?window=start&{query}"));
        let endpoints = answer["endpoints"].as_array().unwrap().clone();
        endpoints
            .iter()
            .map(|endpoint| {
                format!(
                    "{} {}",
                    endpoint["role"].as_str().unwrap(),
                    endpoint["operation"].as_str().unwrap()
                )
            })
            .collect()
    };
    let servers = [
        "server GET /users/{id}",
        "server GET /broken",
        "server GET /missing",
        "server GET /slow",
    ];
    let mut found = routes("role=server");
    assert_eq!(found[0], servers[0], "most requests first");
    found.sort_unstable();
    let mut expected = servers;
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(routes("role=server&sort=errors&limit=1"), ["server GET /broken"]);
    assert_eq!(routes("route=/missing&role=client"), ["client GET /missing"]);
    assert_eq!(routes("service=nginx&limit=1"), ["server GET /users/{id}"]);
    assert_eq!(routes("port=8080").len(), 7);
    assert_eq!(routes("port=8081"), [""; 0]);
    assert_eq!(routes("protocol=http/1.0"), [""; 0]);
    let answer = served.get("/api/v1/endpoints?window=start&limit=2");
    assert_eq!(
        (&answer["total"], answer["endpoints"].as_array().unwrap().len()),
        (&json!(7), 2)
    );
    for sort in ["requests", "errors", "p95", "p99", "mean", "sum"] {
        assert_eq!(routes(&format!("sort={sort}")).len(), 7, "{sort}");
    }
}

#[test]
fn an_endpoint_tells_what_happened() {
    let served = served(&Traffic::example(), true);
    let endpoint = served.get("/api/v1/endpoints?window=start&role=server&route=/users/{id}")["endpoints"][0].take();
    let times: Vec<u64> = (0..100)
        .filter(|number| number % 10 < 8)
        .map(|number| 1 + number % 20)
        .collect();
    let sum = times.iter().sum::<u64>();
    assert_eq!(endpoint["service"]["name"], "nginx");
    assert_eq!(endpoint["service"]["exe"], "/usr/sbin/nginx");
    assert_eq!(endpoint["service"]["unit"], "nginx.service");
    assert_eq!(endpoint["service"]["port"], 8080);
    assert_eq!(endpoint["service"]["pids"], json!([10]));
    assert_eq!(endpoint["peer"], Value::Null);
    assert_eq!(
        (&endpoint["method"], &endpoint["protocol"]),
        (&json!("GET"), &json!("http/1.1"))
    );
    assert_eq!((&endpoint["requests"], &endpoint["errors"]), (&json!(80), &json!(0)));
    assert_eq!(
        (&endpoint["error_rate"], &endpoint["statuses"]),
        (&json!(0.0), &json!({"200": 80}))
    );
    let summary = &endpoint["response_time_ms"];
    assert_eq!(
        (&summary["count"], &summary["min"], &summary["max"]),
        (&json!(80), &json!(1.0), &json!(18.0))
    );
    assert_eq!(summary["sum"], json!(sum as f64));
    assert_eq!(summary["mean"], json!(sum as f64 / 80.0));
    assert_eq!(endpoint["queue_time_ms"]["max"], json!(0.05));
    assert_eq!(endpoint["breakdown"], Value::Null);

    let client = served.get("/api/v1/endpoints?window=start&role=client&route=/users/{id}")["endpoints"][0].take();
    assert_eq!(client["peer"]["name"], "shop.example");
    assert_eq!(
        (&client["peer"]["port"], &client["peer"]["address"]),
        (&json!(8080), &json!("10.0.0.7"))
    );
    assert_eq!(
        (&client["service"]["port"], &client["queue_time_ms"]),
        (&Value::Null, &Value::Null)
    );

    let broken = served.get("/api/v1/endpoints?window=start&role=server&route=/broken")["endpoints"][0].take();
    assert_eq!((&broken["errors"], &broken["error_rate"]), (&json!(10), &json!(1.0)));
    let missing = served.get("/api/v1/endpoints?window=start&role=server&route=/missing")["endpoints"][0].take();
    assert_eq!((&missing["errors"], &missing["client_errors"]), (&json!(0), &json!(10)));

    let detail = served.get(&format!(
        "/api/v1/endpoints/{}?window=start",
        endpoint["id"].as_str().unwrap()
    ));
    assert_eq!((&detail["window"], &detail["requests"]), (&json!("start"), &json!(80)));
    assert_eq!(detail["route_reason"][0]["segment"], 1);
    assert!(
        detail["route_reason"][0]["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty())
    );
}

#[test]
fn everything_at_a_glance_is_about_the_servers() {
    let served = served(&Traffic::example(), true);
    let all = served.get("/metrics/performance?window=start");
    assert_eq!(all["at"], "2023-11-14T22:13:35.000000Z");
    assert_eq!(all["response_time_ms"]["count"], 100);
    assert_eq!(all["endpoints"].as_array().unwrap().len(), 7);
    assert_eq!((&all["cache"], &all["health_score"]), (&Value::Null, &Value::Null));
    let none = json!({"warning": 0, "error": 0, "critical": 0});
    assert_eq!(all["alerts"], json!({"active": 0, "by_severity": none}));
    assert_eq!(all["latency"]["queue_ms"]["count"], 101);
    assert_eq!(all["latency"]["database_ms"], Value::Null);
    assert_eq!(all["concurrency"]["current"], 1, "one request still waits");
    let throughput = served.get("/api/v1/throughput?window=1m");
    let points = throughput["trend"].as_array().unwrap();
    let ended: f64 = points.iter().map(|point| point["rps"].as_f64().unwrap()).sum();
    assert!((100.0..=101.5).contains(&ended), "one point a second: {ended}");
    assert_eq!(served.get("/api/v1/throughput?window=1m&endpoint=*"), throughput);
    let latency = served.get("/api/v1/latency?window=1m");
    let counts: u64 = latency
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counts, 100);
}

#[test]
fn services_are_programs_with_what_they_listen_on() {
    let served = served(&Traffic::example(), true);
    let services = served.get("/api/v1/services")["services"].take();
    let service = |index: usize, field: &str| services[index][field].clone();
    assert_eq!(services.as_array().unwrap().len(), 2, "{services}");
    assert_eq!(
        (service(0, "name"), service(0, "ports"), service(0, "pids")),
        (json!("nginx"), json!([8080]), json!([10]))
    );
    assert_eq!(
        (service(0, "unit"), service(0, "endpoints")),
        (json!("nginx.service"), json!(4))
    );
    assert_eq!(
        (service(1, "ports"), service(1, "pids"), service(1, "endpoints")),
        (json!([]), json!([20]), json!(3))
    );
}

#[test]
fn services_say_by_what_they_speak_tls_and_whether_it_is_seen() {
    let served = served(&Traffic::example(), true);
    let answer = served.get("/api/v1/services");
    assert_eq!(
        answer["services"][0]["tls"],
        json!([{
            "pid": 10, "exe": "/usr/sbin/nginx", "library": "OpenSSL", "version": "3.0.14",
            "path": "/usr/lib/libssl.so.3", "state": "covered", "how": "uprobe_multi on SSL_read", "reason": null,
        }])
    );
    assert_eq!(answer["services"][1]["tls"], json!([]));
    // One of which nothing else is known is in no service, and still there.
    assert_eq!(answer["tls"].as_array().unwrap().len(), 2);
    assert_eq!(answer["tls"][1]["pid"], 99);
    assert_eq!(answer["tls"][1]["state"], "not_covered");
    assert_eq!(answer["tls"][1]["reason"], "no TLS library that is known is mapped");
}

#[test]
fn requests_are_listed_newest_and_slowest_first() {
    let served = served(&Traffic::example(), true);
    let list = |query: &str, list: &str| {
        served.get(&format!("/api/v1/requests?{query}"))[list]
            .as_array()
            .unwrap()
            .clone()
    };
    let all = list("limit=1000", "requests");
    assert_eq!(all.len(), 201);
    let newest = &all[0];
    assert_eq!(
        (&newest["path"], &newest["outcome"]),
        (&json!("/slow"), &json!("server_closed"))
    );
    assert_eq!(
        (&newest["status"], &newest["response_time_ms"]),
        (&Value::Null, &Value::Null)
    );
    let slowest = list("limit=1", "slowest");
    assert_eq!(slowest[0]["duration_ms"], json!(200.0));
    let found = list("id=r17", "requests");
    assert_eq!(found.len(), 2, "once per role");
    for request in &found {
        assert_eq!(
            (&request["path"], &request["route"]),
            (&json!("/users/17"), &json!("/users/{id}"))
        );
        assert_eq!(
            (&request["query_keys"], &request["host"]),
            (&json!(["page", "token"]), &json!("shop.example"))
        );
        assert_eq!(
            (&request["response_time_ms"], &request["status"]),
            (&json!(18.0), &json!(200))
        );
        let expected =
            crate::api::json::timestamp(crate::synthetic::EPOCH_NS + 5_000_000_000 + (17 * 90 + 18) * 1_000_000);
        assert_eq!(request["ended_at"], expected);
    }
    assert_eq!(list("status=5xx&limit=1000", "requests").len(), 20);
    assert_eq!(list("status=404&limit=1000", "requests").len(), 20);
    assert_eq!(list("slower_than_ms=19.5&limit=1000", "requests").len(), 11);
    assert_eq!(
        list("client=10.0.0.7&limit=1000", "requests").len(),
        101,
        "in the server role"
    );
    assert_eq!(list("client=::ffff:10.0.0.8", "requests").len(), 0);
    assert_eq!(list("user=ann", "requests").len(), 0);
    assert_eq!(found[0]["query"], json!({"page": "[redacted]", "token": "[redacted]"}));
    let number = newest["id"].to_string();
    assert_eq!(list(&format!("id={number}"), "requests").len(), 1);
    let endpoint = newest["endpoint_id"].as_str().unwrap();
    assert_eq!(list(&format!("endpoint={endpoint}"), "requests").len(), 1);
}

#[test]
fn streams_are_listed_while_they_are_open_and_when_they_have_ended() {
    let ms = |ms: u64| 5_000_000_000 + ms * 1_000_000;
    let mut traffic = Traffic::default();
    traffic.tick(ms(0));
    traffic.process(10, "/usr/sbin/nginx", "/system.slice/nginx.service");
    for connection in [1, 2] {
        let end = End {
            connection,
            tgid: 10,
            role: Role::Server,
            port: 8080,
        };
        traffic.open(end, ms(connection));
        let request = format!("GET /chat/{connection}?token=abc HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        let answer = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\u{1}\u{0}";
        traffic.exchange(end, &request, answer, [ms(10 * connection), ms(10 * connection + 5)]);
    }
    traffic.tick(ms(500));
    traffic.close(2, ms(1020));
    traffic.tick(ms(1500));
    let served = served(&traffic, true);
    let list = served.get("/api/v1/streams");
    assert_eq!(
        (&list["open"], list["streams"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    let open = &list["streams"][0];
    assert_eq!(
        (&open["kind"], &open["operation"], &open["path"], &open["open"]),
        (
            &json!("websocket"),
            &json!("GET /chat/{id}"),
            &json!("/chat/1"),
            &json!(true)
        )
    );
    assert_eq!((&open["duration_ms"], &open["outcome"]), (&json!(1485.0), &Value::Null));
    assert_eq!(open["bytes"], json!({"received": 0, "sent": 2}));
    assert_eq!(
        open["messages"],
        json!({"received": 0, "sent": 0}),
        "a message's first part"
    );
    let closed = &list["closed"][0];
    assert_eq!(
        (&closed["path"], &closed["duration_ms"]),
        (&json!("/chat/2"), &json!(995.0))
    );
    assert_eq!(
        (&closed["outcome"], &closed["open"]),
        (&json!("answered"), &json!(false))
    );
    let endpoint = &served.get("/api/v1/endpoints?window=start")["endpoints"][0];
    let streams = &endpoint["streams"];
    assert_eq!(
        (&endpoint["requests"], &endpoint["response_time_ms"]["count"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(
        (
            &streams["open"],
            &streams["opened"],
            &streams["closed"],
            &streams["duration_ms"]["max"]
        ),
        (&json!(1), &json!(2), &json!(1), &json!(995.0))
    );
    assert_eq!(&served.get("/metrics/performance?window=start")["streams"], streams);
    let request = &served.get("/api/v1/requests")["requests"][0];
    assert_eq!(
        (&request["stream"], &request["response_time_ms"]),
        (&json!("websocket"), &Value::Null)
    );
    let id = endpoint["id"].as_str().unwrap();
    let none = served.get(&format!("/api/v1/streams?endpoint={id}&kind=tunnel"));
    assert_eq!((&none["streams"], &none["closed"]), (&json!([]), &json!([])));
    served.refuses("/api/v1/streams?endpoint=nope", 404, "there is no endpoint \"nope\"");
}

#[test]
fn the_agent_tells_its_books_and_they_close() {
    let served = served(&Traffic::example(), true);
    let agent = served.get("/api/v1/agent");
    let exchanges = &agent["accounting"]["exchanges"];
    let count = |name: &str| exchanges[name].as_u64().unwrap();
    assert_eq!(count("opened"), 202);
    let ended = count("answered") + count("client_aborted") + count("server_closed") + count("cut") + count("unknown");
    assert_eq!((ended, count("in_flight")), (201, 1));
    assert_eq!(agent["backend"], "tracepoint");
    assert_eq!(agent["programs"][0]["ns_per_run"], json!(250.0));
    assert_eq!(
        (&agent["programs"][1]["runs"], &agent["programs"][1]["ns_per_run"]),
        (&Value::Null, &Value::Null)
    );
    assert!(
        agent["self"]["cpu_seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    assert_eq!(agent["hooks"][0]["state"], "used");
}

#[test]
fn what_is_wrong_is_said() {
    let served = served(&Traffic::example(), true);
    served.refuses("/api/v1/endpoints/nope", 404, "there is no endpoint \"nope\"");
    served.refuses("/api/v1/throughput?endpoint=nope", 404, "there is no endpoint \"nope\"");
    served.refuses("/api/v1/requests?endpoint=nope", 404, "there is no endpoint \"nope\"");
    served.refuses(
        "/nowhere",
        404,
        "there is nothing at /nowhere; begin with /metrics/performance, /api/openapi.json lists every path",
    );
    served.refuses(
        "/metrics/performance?window=2m",
        400,
        "parameter window is \"2m\", expected one of 1m, 5m, 15m, 1h, 24h, start",
    );
    served.refuses(
        "/api/v1/endpoints?role=both",
        400,
        "parameter role is \"both\", expected one of server, client",
    );
    served.refuses(
        "/api/v1/requests?client=shop",
        400,
        "parameter client is \"shop\", expected an IP address such as 10.1.2.3 or 2001:db8::1",
    );
    served.refuses(
        "/api/v1/endpoints?limit=0",
        400,
        "parameter limit is \"0\", expected a whole number from 1 to 10000",
    );
    let reply = served.ask("POST", "/api/v1/agent");
    assert_eq!(
        (reply.status.as_u16(), reply.content_type.as_str()),
        (405, "application/problem+json")
    );
    assert_eq!(reply.body["detail"], "/api/v1/agent does not take POST");
    assert_eq!(reply.allow.as_deref(), Some("GET,HEAD"));
}
