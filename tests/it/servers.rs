//! Servers that others wrote, under the clients' and the servers' own books.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::{number, whole};
use perf_agent_tests::client::Connection;
use perf_agent_tests::clock::{close, ms, tolerance_ms};
use perf_agent_tests::need;
use perf_agent_tests::nginx::{Access, LARGE, Nginx};
use perf_agent_tests::python::{self, Server};
use perf_agent_tests::rows::{self, At, Bytes, Expect, Picture, Role, answered};
use perf_agent_tests::wait;
use perf_agent_tests::wrk::Load;
use serde_json::Value;

/// The access log once it has stopped growing with nobody asking: it has at least `least` lines.
fn settled_log(nginx: &Nginx, least: usize) -> Vec<Access> {
    let mut before = 0;
    wait::wait_until(wait::SETTLE, "the access log is complete", || {
        let log = nginx.log();
        let still = log.len() == before && before >= least;
        before = log.len();
        still.then_some(log)
    })
}

/// Bytes by the access log. It does not know of bodies that nginx threw away unread.
fn bytes_of(log: &[Access]) -> Bytes {
    Bytes {
        received: log.iter().map(|line| line.request_length).sum(),
        sent: log.iter().map(|line| line.bytes_sent).sum(),
    }
}

/// Every request that wrk and the access log know of, and none lost on the way.
#[test]
fn nginx_under_wrk_is_counted_to_the_last_request() {
    need!(Agent, Root, Nginx, Wrk);
    let nginx = Nginx::start(None);
    let agent = Agent::start();
    let load = Load {
        connections: 16,
        seconds: 3,
        url: format!("http://127.0.0.1:{}/hello", nginx.port()),
        pipelined: 1,
    };
    let report = load.run();
    assert_eq!((report.socket_errors, report.not_2xx_3xx), (0, 0), "{report:?}");
    let log = settled_log(&nginx, usize::try_from(report.requests).expect("not that many"));
    wait::settle(wait::SETTLE, "every request is counted", || {
        let endpoints = agent.api().endpoints();
        let server = Picture::seen(&endpoints, &nginx.at(), Role::Server);
        let client = Picture::seen(&endpoints, &nginx.at(), Role::Client);
        let accounting = agent.api().accounting();
        let books = format!(
            "\n  {} in the access log, {report:?}\n  server:\n{server}  client:\n{client}  {accounting}",
            log.len()
        );
        // wrk closes in the middle of its last requests: nginx logs them, wrk does not count them. Their answers may
        // have been written before nginx knew.
        let left = client.requests() - client.outcome("answered").min(client.requests());
        if server.requests() != log.len() as u64
            || client.outcome("answered") != report.requests
            || client.requests() != log.len() as u64
            || left > u64::from(load.connections)
            || server.operations() != ["GET /hello"]
        {
            return Err(books);
        }
        rows::accounting_closes(&accounting)
    });
    let records = agent.api().accounting()["records"].take();
    assert_eq!(
        whole(&records["lost"]),
        0,
        "records lost with the default ring: {records}"
    );
    agent.stop();
}

/// Answers to pipelined requests come several at once, where nothing but their own bytes tells them apart.
#[test]
fn pipelined_requests_under_wrk_are_counted_to_the_last_answer() {
    need!(Agent, Root, Nginx, Wrk);
    let nginx = Nginx::start(None);
    for pipelined in [2, 16] {
        let agent = Agent::start();
        let load = Load {
            connections: 4,
            seconds: 2,
            url: format!("http://127.0.0.1:{}/hello", nginx.port()),
            pipelined,
        };
        let report = load.run();
        assert_eq!((report.socket_errors, report.not_2xx_3xx), (0, 0), "{report:?}");
        wait::settle(wait::SETTLE, "every answer is counted", || {
            let endpoints = agent.api().endpoints();
            let server = Picture::seen(&endpoints, &nginx.at(), Role::Server);
            let client = Picture::seen(&endpoints, &nginx.at(), Role::Client);
            let unknown = server.outcome("unknown") + client.outcome("unknown");
            if client.outcome("answered") != report.requests
                || server.outcome("answered") < report.requests
                || unknown > 0
            {
                return Err(format!(
                    "{pipelined} at once, {report:?}\n  server:\n{server}  client:\n{client}"
                ));
            }
            rows::accounting_closes(&agent.api().accounting())
        });
        agent.stop();
    }
}

/// Statuses, bytes and every request of a keep-alive connection.
#[test]
fn nginx_keep_alive_matches_its_access_log() {
    need!(Agent, Root, Nginx);
    let agent = Agent::start();
    let nginx = Nginx::start(None);
    let (mut expected, mut bytes) = (vec![], Bytes::default());
    for _ in 0..3 {
        let mut connection = Connection::port(nginx.port()).expect("nginx listens");
        for (method, path, status) in [
            ("GET", "/hello", 200),
            ("HEAD", "/hello", 200),
            ("GET", "/gone", 410),
            ("POST", "/missing", 404),
        ] {
            for _ in 0..10 {
                let body: &[u8] = if method == "POST" { b"some words" } else { b"" };
                let reply = connection.request(method, path, body).expect("nginx answers");
                assert_eq!(reply.status, status);
                expected.push(answered(&format!("{method} {path}"), status));
                bytes.received += reply.request_bytes;
                bytes.sent += reply.response_bytes;
            }
        }
    }
    let log = settled_log(&nginx, expected.len());
    assert_eq!(log.len(), expected.len());
    assert_eq!(bytes_of(&log).sent, bytes.sent, "nginx sent what the client received");
    rows::expect_both(agent.api(), &nginx.at(), &expected, Some(bytes));
    let gone = nginx.at().endpoints(agent.api(), Role::Server);
    let gone = gone
        .iter()
        .find(|endpoint| endpoint["operation"] == "GET /gone")
        .expect("it was counted");
    assert_eq!(
        (whole(&gone["client_errors"]), whole(&gone["errors"])),
        (30, 0),
        "{gone}"
    );
    agent.stop();
}

/// 50 MB by sendfile to a reader of about 100 MB/s.
#[test]
fn nginx_sendfile_is_counted_in_full_and_to_its_end() {
    need!(Agent, Root, Nginx);
    let agent = Agent::start();
    let nginx = Nginx::start(None);
    let connection = Connection::port(nginx.port()).expect("nginx listens");
    let mut connection = connection.slow(512 * 1024, Duration::from_millis(4));
    let reply = connection.get("/files/large").expect("nginx answers");
    assert_eq!(reply.body.len() as u64, LARGE);
    let log = settled_log(&nginx, 1);
    let expected = answered("GET /files/large", 200).times(1);
    rows::expect_both(agent.api(), &nginx.at(), &expected, Some(bytes_of(&log)));
    let measured = |role| number(&nginx.at().endpoints(agent.api(), role)[0]["response_time_ms"]["max"]);
    let check = |role: Role, truth, more| {
        close(role.name(), measured(role), truth, more).unwrap_or_else(|why| panic!("{why}"));
    };
    check(Role::Client, ms(reply.last_ns - reply.sent_ns), 0.0);
    // nginx reads its clock once per turn of its loop and in whole milliseconds, at both ends.
    check(Role::Server, log[0].request_time_ms, 2.0);
    agent.stop();
}

/// Both hops: nginx as server, nginx as client of gunicorn, gunicorn as server.
#[test]
fn a_proxied_request_is_seen_at_both_hops() {
    const REQUESTS: usize = 40;
    need!(Agent, Root, Nginx, Venv);
    let agent = Agent::start();
    let upstream = Server::gunicorn_unix();
    let nginx = Nginx::start(Some(upstream.path()));
    let mut connection = Connection::port(nginx.port()).expect("nginx listens");
    for _ in 0..REQUESTS {
        assert_eq!(connection.get("/proxied/hello").expect("nginx answers").status, 200);
    }
    let log = settled_log(&nginx, REQUESTS);
    let outer = answered("GET /proxied/hello", 200).times(REQUESTS);
    rows::expect_both(agent.api(), &nginx.at(), &outer, Some(bytes_of(&log)));
    // nginx speaks HTTP/1.0 to its upstream unless told otherwise, and the path loses its prefix.
    let inner = answered("GET /hello", 200).http10().times(REQUESTS);
    rows::expect(
        agent.api(),
        &upstream.at(),
        Role::Server,
        &Picture::expected(&inner, None),
    );
    wait::settle(wait::SETTLE, "nginx asks gunicorn", || {
        let endpoints = agent.api().endpoints();
        let asks = |endpoint: &&Value| {
            endpoint["role"] == "client"
                && endpoint["operation"] == "GET /hello"
                && endpoint["service"]["pids"].as_array().is_some_and(|pids| {
                    python::children(nginx.pid())
                        .iter()
                        .any(|&pid| pids.contains(&pid.into()))
                })
        };
        let found: Vec<&Value> = endpoints.iter().filter(asks).collect();
        let requests: u64 = found.iter().map(|endpoint| whole(&endpoint["requests"])).sum();
        if requests == REQUESTS as u64 {
            Ok(())
        } else {
            Err(format!("{requests} of {REQUESTS}: {found:?}"))
        }
    });
    // What nginx waits for is inside what it is waited for.
    let mean = |at: &At| number(&at.endpoints(agent.api(), Role::Server)[0]["response_time_ms"]["mean"]);
    assert!(
        mean(&upstream.at()) < mean(&nginx.at()),
        "the inner hop takes longer than the outer one"
    );
    agent.stop();
}

#[test]
fn http_server_with_threads_is_counted() {
    need!(Agent, Root, Python);
    let agent = Agent::start();
    let server = Server::threads();
    let port = server.port();
    let ask = move || {
        let mut connection = Connection::port(port).expect("the server listens");
        let mut asked: Vec<(Expect, u64, u64)> = vec![];
        for (method, path, status) in [
            ("GET", "/hello", 200),
            ("HEAD", "/hello", 200),
            ("POST", "/echo", 201),
            ("GET", "/empty", 204),
            ("GET", "/fail", 500),
            ("GET", "/missing", 404),
        ] {
            for _ in 0..10 {
                let body: &[u8] = if method == "POST" { b"some words" } else { b"" };
                let reply = connection.request(method, path, body).expect("the server answers");
                let expected = answered(&format!("{method} {path}"), status);
                asked.push((expected, reply.request_bytes, reply.response_bytes));
            }
        }
        asked
    };
    let clients: Vec<_> = (0..4).map(|_| thread::spawn(ask)).collect();
    let asked = clients
        .into_iter()
        .flat_map(|client| client.join().expect("a client ends"));
    let mut bytes = Bytes::default();
    let expected: Vec<Expect> = asked
        .map(|(expected, request, response)| {
            bytes.received += request;
            bytes.sent += response;
            expected
        })
        .collect();
    rows::expect_both(agent.api(), &server.at(), &expected, Some(bytes));
    let endpoints = server.at().endpoints(agent.api(), Role::Server);
    let failed = endpoints
        .iter()
        .find(|endpoint| endpoint["operation"] == "GET /fail")
        .expect("it was counted");
    assert_eq!(
        (whole(&failed["errors"]), number(&failed["error_rate"])),
        (40, 1.0),
        "{failed}"
    );
    agent.stop();
}

/// What a user would otherwise write by hand, and the moments at the socket, against the agent's numbers.
#[test]
fn fastapi_agrees_with_its_own_middleware() {
    need!(Agent, Root, Venv);
    let mut disagreed = vec![];
    while let Err(why) = fastapi_agrees() {
        eprintln!("{why}");
        disagreed.push(why);
        assert!(disagreed.len() < ROUNDS, "{}", disagreed.join("\n"));
    }
}

/// A p99 of a hundred requests is one request. If the machine stops the application between its clock and its socket, the
/// two truly differ; a machine that does so each time is none to measure on.
const ROUNDS: usize = 3;

fn fastapi_agrees() -> Result<(), String> {
    let server = Server::fastapi();
    let agent = Agent::start();
    let mut connection = Connection::port(server.port()).expect("uvicorn listens");
    let mut ask = |path: &str| connection.get(path).expect("uvicorn answers");
    let counts = [
        ("GET /one", 200),
        ("GET /ten", 100),
        ("GET /hundred", 20),
        ("GET /users/{id}", 100),
        ("GET /fail", 20),
    ];
    for (operation, count) in counts {
        for number in 0..count {
            let path = operation["GET ".len()..].replace("{id}", &(1000 + number).to_string());
            ask(&path);
        }
    }
    for _ in 0..5 {
        assert_eq!(ask("/nowhere").status, 404);
    }
    let stats: Value = serde_json::from_slice(&ask("/stats").body).expect("the application speaks JSON");
    let at = server.at();
    let agreed = wait::settled(wait::SETTLE / 3, || {
        let endpoints = at.endpoints(agent.api(), Role::Server);
        let mut wrong = vec![];
        for (operation, count) in counts.into_iter().chain([("GET /nowhere", 5)]) {
            let endpoint = endpoints.iter().find(|endpoint| endpoint["operation"] == operation);
            let Some(endpoint) = endpoint else {
                wrong.push(format!("no {operation}"));
                continue;
            };
            let (inner, outer) = (&stats["middleware"][operation], &stats["socket"][operation]);
            if [&endpoint["requests"], &inner["count"], &outer["count"]]
                .iter()
                .any(|found| **found != count)
            {
                wrong.push(format!(
                    "{operation}: agent {}, middleware {}, asked {count}",
                    endpoint["requests"], inner["count"]
                ));
                continue;
            }
            wrong.extend(compare(operation, &endpoint["response_time_ms"], inner, outer));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n"))
        }
    });
    agent.stop();
    agreed
}

/// Against the moments at the socket: 2 % + 100 us. The middleware does not see the reading, parsing and routing around
/// it, so against it the agent may show as much more as the application itself found at its socket.
fn compare(operation: &str, agent: &Value, middleware: &Value, socket: &Value) -> Vec<String> {
    let mut wrong = vec![];
    for statistic in ["mean", "median", "p95", "p99"] {
        let [measured, inner, outer] = [agent, middleware, socket].map(|summary| number(&summary[statistic]));
        let name = format!("{operation} {statistic}");
        wrong.extend(close(&name, measured, outer, 0.0).err());
        let around = (outer - inner).max(0.0);
        if measured < inner - tolerance_ms(inner) || measured > inner + around + tolerance_ms(inner) {
            wrong.push(format!(
                "{name}: agent {measured:.3} ms, middleware {inner:.3} ms, around it {around:.3} ms"
            ));
        }
    }
    wrong
}

/// Four processes, one service.
#[test]
fn prefork_workers_are_one_service() {
    need!(Agent, Root, Venv);
    let agent = Agent::start();
    let server = Server::gunicorn();
    let port = server.port();
    // One connection per request, as this kind of worker wants it; concurrent, so that several workers have work.
    let ask = move || {
        let mut pids: BTreeMap<u32, u64> = BTreeMap::new();
        for _ in 0..25 {
            let mut connection = Connection::port(port).expect("gunicorn listens");
            let reply = connection.get("/ten").expect("gunicorn answers");
            let pid = String::from_utf8_lossy(&reply.body)
                .parse()
                .expect("the body is a process's number");
            *pids.entry(pid).or_default() += 1;
        }
        pids
    };
    let clients: Vec<_> = (0..4).map(|_| thread::spawn(ask)).collect();
    let mut pids: BTreeMap<u32, u64> = BTreeMap::new();
    for client in clients {
        for (pid, count) in client.join().expect("a client ends") {
            *pids.entry(pid).or_default() += count;
        }
    }
    assert!(pids.len() >= 2, "one worker answered everything: {pids:?}");
    rows::expect_both(agent.api(), &server.at(), &answered("GET /ten", 200).times(100), None);
    let endpoints = server.at().endpoints(agent.api(), Role::Server);
    assert_eq!(endpoints.len(), 1, "one service, one endpoint: {endpoints:?}");
    let shown = endpoints[0]["service"]["pids"].as_array().cloned().unwrap_or_default();
    assert!(
        pids.keys().all(|&pid| shown.contains(&pid.into())),
        "{pids:?} answered, shown are {shown:?}"
    );
    let services = agent.api().get("/api/v1/services");
    let services = services["services"].as_array().cloned().unwrap_or_default();
    let listens = |service: &&Value| {
        service["ports"]
            .as_array()
            .is_some_and(|ports| ports.contains(&port.into()))
    };
    assert_eq!(services.iter().filter(listens).count(), 1, "{services:?}");
    agent.stop();
}
