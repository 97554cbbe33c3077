//! The servers and clients that the other tests take for the truth, against each other and without the agent.

use std::collections::BTreeMap;

use perf_agent_tests::child::Workdir;
use perf_agent_tests::client::Connection;
use perf_agent_tests::clock::{Truth, close, ms};
use perf_agent_tests::nginx::{LARGE, Nginx};
use perf_agent_tests::python::{self, Server};
use perf_agent_tests::server::{Threads, TimedServer};
use perf_agent_tests::socket::{Family, Listener};
use perf_agent_tests::ways::{self, Way};
use perf_agent_tests::wire::{Step, Wire};
use perf_agent_tests::wrk::Load;
use perf_agent_tests::{need, uring, wait};

use crate::cases;

#[test]
fn every_case_can_be_played() {
    let directory = Workdir::new();
    for case in [cases::basic(), cases::more(), cases::joined()].concat() {
        let listener = Listener::new(Family::V4, directory.path());
        let moved = Wire::new(listener.pair()).play(&case.steps);
        assert_eq!(moved.done_ns.len(), case.steps.len(), "{}", case.name);
        assert!(moved.done_ns.is_sorted(), "{}", case.name);
    }
}

#[test]
fn every_way_moves_the_same_bytes_over_every_family() {
    let directory = Workdir::new();
    let body = "0123456789".repeat(700);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 7000\r\n\r\n{body}");
    let steps = [
        Step::Client(b"GET /way HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec()),
        Step::Server(answer.clone().into_bytes()),
    ];
    for family in [Family::V4, Family::V6, Family::Mapped, Family::Unix] {
        let listener = Listener::new(family, directory.path());
        for way in all_ways() {
            let moved = Wire::new(listener.pair()).ways(way, way).play(&steps);
            assert_eq!(moved.server.sent, answer.len() as u64, "{} over {family:?}", way.name);
            assert_eq!(moved.client.received, moved.server.sent, "{} over {family:?}", way.name);
        }
    }
}

/// The order of the bytes too.
#[test]
fn every_way_keeps_the_order_of_the_bytes() {
    use std::os::fd::AsFd as _;
    let directory = Workdir::new();
    let listener = Listener::new(Family::V4, directory.path());
    let bytes: Vec<u8> = b"GET / HTTP/1.1\r\n\r\n"
        .iter()
        .copied()
        .chain((0..=255).cycle().take(9000))
        .collect();
    for way in all_ways() {
        let (client, server) = listener.pair();
        (way.send)(client.as_fd(), &bytes).expect("a fresh connection takes a few thousand bytes");
        let received = (way.receive)(server.as_fd(), bytes.len()).expect("what was sent can be received");
        assert!(received == bytes, "{} changed the bytes", way.name);
    }
}

fn all_ways() -> Vec<Way> {
    let mut all = crate::sockets::WAYS.to_vec();
    all.push(ways::SPLICED);
    if let Some(why) = uring::missing() {
        need::note(&format!("io_uring: {why}"));
    } else {
        all.push(uring::URING);
    }
    all
}

#[test]
fn the_timed_server_and_its_client_agree() {
    let directory = Workdir::new();
    for threads in [Threads::PerConnection, Threads::AcceptReadWrite] {
        let server = TimedServer::start(Family::V4, threads, directory.path());
        let mut connection = Connection::port(server.port()).expect("the server listens");
        for path in ["/one", "/ten", "/hundred"] {
            let reply = connection.get(path).expect("the server answers");
            assert_eq!((reply.status, reply.body.as_slice()), (200, &b"hello"[..]));
            let entry = wait::wait_until(wait::START, "the server's log", || {
                server.served().into_iter().find(|served| served.path == path)
            });
            // The writing thread may lose its processor to the client that it has just woken, before it reads the
            // clock: the end lies between the moments around the write.
            let (inside, outside) = (entry.write_ns - entry.first_read_ns, reply.last_ns - reply.sent_ns);
            assert!(
                inside <= outside,
                "{path}: {inside} ns in the server, {outside} ns at the client"
            );
            assert!(entry.write_ns <= entry.last_written_ns, "{path}: {entry:?}");
        }
    }
}

#[test]
fn nginx_and_its_clients_agree() {
    need!(Nginx, Venv);
    let upstream = Server::gunicorn_unix();
    let nginx = Nginx::start(Some(upstream.path()));
    let mut connection = Connection::port(nginx.port()).expect("nginx listens");
    let replies = [
        ("/hello", 200, 6),
        ("/gone", 410, 0),
        ("/files/large", 200, LARGE),
        ("/proxied/hello", 200, 0),
        ("/missing", 404, 0),
    ]
    .map(|(path, status, length)| {
        let reply = connection.get(path).expect("nginx answers");
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.body.len() as u64 >= length, "{path}: {} bytes", reply.body.len());
        (path, reply)
    });
    let log = wait::wait_until(wait::START, "the access log", || {
        let log = nginx.log();
        (log.len() == replies.len()).then_some(log)
    });
    for ((path, reply), line) in replies.iter().zip(&log) {
        assert_eq!((line.uri.as_str(), line.status), (*path, reply.status));
        assert_eq!(line.bytes_sent, reply.response_bytes, "{path}");
        assert_eq!(line.request_length, reply.request_bytes, "{path}");
        assert!(
            line.request_time_ms <= ms(reply.last_ns - reply.sent_ns) + 1.0,
            "{path}: {line:?}"
        );
    }
}

#[test]
fn wrk_and_the_access_log_agree() {
    need!(Nginx, Wrk);
    let nginx = Nginx::start(None);
    let load = Load {
        connections: 8,
        seconds: 1,
        url: format!("http://127.0.0.1:{}/hello", nginx.port()),
        pipelined: 1,
    };
    let report = load.run();
    assert_eq!((report.socket_errors, report.not_2xx_3xx), (0, 0), "{report:?}");
    assert!(report.requests > 100, "{report:?}");
    wait::settle(wait::SETTLE, "the access log", || {
        // wrk leaves what is in flight at its end: at most one request per connection that nginx may have answered.
        let logged = nginx.log().len() as u64;
        let ahead = logged.checked_sub(report.requests);
        let fits = ahead.is_some_and(|ahead| ahead <= u64::from(load.connections));
        if fits {
            Ok(())
        } else {
            Err(format!("{logged} lines, {report:?}"))
        }
    });
}

#[test]
fn the_servers_in_python_answer() {
    need!(Python);
    let server = Server::threads();
    let mut connection = Connection::port(server.port()).expect("the server listens");
    let mut statuses = vec![];
    for (method, path, body) in [
        ("GET", "/hello", &b""[..]),
        ("HEAD", "/hello", b""),
        ("POST", "/echo", b"some words"),
        ("GET", "/empty", b""),
        ("GET", "/fail", b""),
        ("GET", "/missing", b""),
    ] {
        statuses.push(
            connection
                .request(method, path, body)
                .expect("the server answers")
                .status,
        );
    }
    assert_eq!(statuses, [200, 200, 201, 204, 500, 404]);
    for scenario in ["fork", "exec", "pass"] {
        let server = Server::handover(scenario);
        for _ in 0..3 {
            let mut connection = Connection::port(server.port()).expect("the server listens");
            let reply = connection.get("/handed").expect("the server answers");
            assert_eq!(
                (reply.status, reply.body.as_slice()),
                (200, &b"hello"[..]),
                "{scenario}"
            );
        }
    }
}

#[test]
fn gunicorn_answers_from_its_workers() {
    need!(Venv);
    let server = Server::gunicorn();
    let mut pids = BTreeMap::new();
    for _ in 0..20 {
        let mut connection = Connection::port(server.port()).expect("gunicorn listens");
        let reply = connection.get("/pid").expect("gunicorn answers");
        let pid: u32 = String::from_utf8_lossy(&reply.body)
            .parse()
            .expect("the body is a process's number");
        *pids.entry(pid).or_insert(0) += 1;
    }
    let workers = python::children(server.pid());
    assert_eq!(workers.len(), 4, "{workers:?}");
    assert!(pids.keys().all(|pid| workers.contains(pid)), "{pids:?} {workers:?}");
}

/// What the application measures at its socket is what its client sees, less the way there and back.
#[test]
fn the_fastapi_application_measures_itself() {
    need!(Venv);
    let server = Server::fastapi();
    let mut connection = Connection::port(server.port()).expect("uvicorn listens");
    let mut outside = vec![];
    for _ in 0..30 {
        let reply = connection.get("/ten").expect("uvicorn answers");
        assert_eq!(reply.status, 200);
        outside.push(reply.last_ns - reply.sent_ns);
    }
    let stats: serde_json::Value =
        serde_json::from_slice(&connection.get("/stats").expect("uvicorn answers").body).expect("JSON");
    let (inner, outer) = (&stats["middleware"]["GET /ten"], &stats["socket"]["GET /ten"]);
    assert_eq!((&inner["count"], &outer["count"]), (&30.into(), &30.into()), "{stats}");
    let (inner, outer) = (
        inner["mean"].as_f64().unwrap_or(0.0),
        outer["mean"].as_f64().unwrap_or(0.0),
    );
    assert!(10.0 <= inner && inner <= outer, "{stats}");
    close("mean", outer, Truth::of_ns(outside).mean(), 0.5).expect("the client is not far from the server");
}
