//! Databases, caches and brokers, counted against those who asked them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::whole;
use perf_agent_tests::child::run;
use perf_agent_tests::client::Connection;
use perf_agent_tests::need;
use perf_agent_tests::nginx::Nginx;
use perf_agent_tests::rows;
use perf_agent_tests::store::{Store, postgresql_program};
use perf_agent_tests::wait;
use serde_json::{Value, json};

/// Requests that ended, by operation, of one protocol in one role.
fn counts(agent: &Agent, protocol: &str, role: &str) -> BTreeMap<String, u64> {
    let endpoints = agent.api().endpoints();
    let of = |endpoint: &&Value| endpoint["protocol"] == protocol && endpoint["role"] == role;
    let count = |endpoint: &Value| {
        let operation = endpoint["operation"].as_str().unwrap_or_default().to_owned();
        (operation, whole(&endpoint["requests"]))
    };
    endpoints.iter().filter(of).map(count).collect()
}

/// Waits until both ends have counted so many of each of these operations, and all were answered.
#[track_caller]
pub(crate) fn both_ends_count(agent: &Agent, protocol: &str, expected: &[(&str, u64)]) {
    for role in ["client", "server"] {
        wait::settle(wait::SETTLE, "every exchange is counted", || {
            let counted = counts(agent, protocol, role);
            let wrong: Vec<_> = expected
                .iter()
                .filter(|(operation, count)| counted.get(*operation) != Some(count))
                .collect();
            if wrong.is_empty() {
                Ok(())
            } else {
                Err(format!("{role}: expected {wrong:?} of {counted:?}"))
            }
        });
    }
    let books = agent.api().accounting();
    rows::accounting_closes(&books).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(books["exchanges"]["unknown"], 0, "{books}");
    assert_eq!(books["records"]["lost"], 0, "{books}");
}

#[test]
fn redis_is_counted_as_its_benchmark_counts_it() {
    need!(Agent, Root, Redis);
    let agent = Agent::start();
    let redis = Store::redis();
    for pipeline in ["1", "16"] {
        let mut command = Command::new("redis-benchmark");
        command
            .args([
                "-n",
                "20000",
                "-c",
                "20",
                "-q",
                "-t",
                "set,get,incr,lpush,lrange_100,mset",
                "-P",
                pipeline,
            ])
            .args(["-p", &redis.port().to_string()]);
        let said = run(command);
        assert_eq!(said.code, Some(0), "{}", said.error);
    }
    let each = 2 * 20_000;
    // LPUSH fills the list that LRANGE reads, once more each time.
    let expected = [
        ("SET", each),
        ("GET", each),
        ("INCR", each),
        ("LPUSH", 2 * each),
        ("LRANGE", each),
        ("MSET", each),
    ];
    both_ends_count(&agent, "redis", &expected);
    agent.stop();
}

#[test]
fn an_http_caches_hits_are_those_that_it_tells_of() {
    need!(Agent, Root, Nginx);
    let agent = Agent::start();
    let nginx = Nginx::start(None);
    let mut client = Connection::port(nginx.port()).expect("nginx listens");
    let mut told = BTreeMap::new();
    for path in ["/cached/a", "/cached/a", "/cached/a?fresh=1", "/cached/a", "/hello"] {
        let reply = client.get(path).expect("nginx answers");
        let word = reply.header("x-cache-status").unwrap_or("none").to_owned();
        *told.entry(word).or_insert(0) += 1;
    }
    let expected = [("BYPASS", 1), ("HIT", 2), ("MISS", 1), ("none", 1)];
    assert_eq!(told, expected.map(|(word, count)| (word.to_owned(), count)).into());
    for (role, port) in [("server", &["service", "port"]), ("client", &["peer", "port"])] {
        wait::settle(wait::SETTLE, "what the answers say is counted", || {
            let caches = agent.api().get("/api/v1/cache?window=start");
            let of = |cache: &&Value| cache["role"] == role && cache[port[0]][port[1]] == nginx.port();
            let all: Vec<_> = caches["http"].as_array().into_iter().flatten().filter(of).collect();
            let [cache] = all[..] else {
                return Err(format!("not one endpoint: {caches}"));
            };
            let figures = json!([
                cache["operation"],
                cache["requests"],
                cache["hits"],
                cache["misses"],
                cache["untold"]
            ]);
            (figures == json!(["GET /cached/a", 4, 2, 1, 1]))
                .then_some(())
                .ok_or_else(|| cache.to_string())
        });
    }
    agent.stop();
}

#[test]
fn postgresql_is_counted_as_pgbench_counts_it() {
    need!(Agent, Root, PostgreSql);
    let agent = Agent::start();
    let server = Store::postgresql();
    let pgbench = |arguments: &[&str]| {
        let mut command = postgresql_program("pgbench");
        command
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &server.port().to_string()])
            .args(arguments)
            .arg("postgres");
        let said = run(command);
        assert_eq!(said.code, Some(0), "{}", said.error);
    };
    pgbench(&["-i", "-q"]);
    for mode in ["simple", "extended", "prepared"] {
        pgbench(&["-S", "-n", "-c", "4", "-t", "1000", "-M", mode]);
    }
    pgbench(&["-n", "-c", "2", "-t", "200"]);
    let select = "SELECT abalance FROM pgbench_accounts WHERE aid = ?";
    let expected = [
        (select, 3 * 4_000 + 400),
        ("UPDATE pgbench_accounts SET abalance = abalance + ? WHERE aid = ?", 400),
        ("END", 400),
    ];
    both_ends_count(&agent, "postgresql", &expected);
    let database = agent.api().get("/api/v1/database?window=start");
    let target = &database["targets"][0];
    assert_eq!(target["protocol"], "postgresql", "{database}");
    assert_eq!(target["peer"]["port"], server.port(), "{database}");
    let query = target["queries"]
        .as_array()
        .and_then(|queries| queries.iter().find(|query| query["operation"] == select));
    assert_eq!(query.map(|query| &query["rows"]), Some(&json!(12_400)), "{database}");
    agent.stop();
}

#[test]
fn mariadb_is_counted_by_statement_and_error() {
    need!(Agent, Root, MariaDb);
    let agent = Agent::start();
    let server = Store::mariadb();
    let ask = |statements: &[String]| {
        let mut command = Command::new("mariadb");
        command
            .args(["-h", "127.0.0.1", "-u", "root", "-P", &server.port().to_string(), "-e"])
            .arg(statements.join(";\n"));
        run(command).code
    };
    let table = "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, name TEXT)";
    let inserts = (0..50).map(|id| format!("INSERT INTO shop.t VALUES ({id}, 'SECRET{id}')"));
    let selects = (0..80).map(|id| format!("SELECT name FROM shop.t WHERE id = {id}"));
    let statements: Vec<String> = [table.to_owned()].into_iter().chain(inserts).chain(selects).collect();
    assert_eq!(ask(&statements), Some(0));
    for wrong in ["INSERT INTO shop.t VALUES (1, 'SECRET')", "SELECT * FROM shop.nothing"] {
        assert_eq!(ask(&[wrong.to_owned()]), Some(1));
    }
    let expected = [
        ("INSERT INTO shop.t VALUES (?)", 51),
        ("SELECT name FROM shop.t WHERE id = ?", 80),
        ("SELECT * FROM shop.nothing", 1),
    ];
    both_ends_count(&agent, "mysql", &expected);
    let database = agent.api().get("/api/v1/database?window=start");
    let target = &database["targets"][0];
    assert_eq!(
        (&target["statuses"]["1062"], &target["statuses"]["1146"]),
        (&json!(1), &json!(1)),
        "{database}"
    );
    let selected = target["queries"].as_array().into_iter().flatten();
    let selected = selected.filter(|query| query["operation"] == "SELECT name FROM shop.t WHERE id = ?");
    assert_eq!(
        selected.map(|query| &query["rows"]).collect::<Vec<_>>(),
        [50],
        "{database}"
    );
    for path in [
        "/api/v1/database",
        "/api/v1/requests?limit=10000",
        "/metrics/performance",
    ] {
        assert!(!agent.api().get(path).to_string().contains("SECRET"), "{path}");
    }
    agent.stop();
}

#[test]
fn memcached_tells_hits_and_misses() {
    need!(Agent, Root, Memcached);
    let agent = Agent::start();
    let server = Store::memcached();
    let mut socket = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    let mut ask = |request: &[u8], end: &[u8]| {
        socket.write_all(request).expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(end) {
            let mut bytes = [0; 4096];
            let count = socket.read(&mut bytes).expect("it answers");
            assert!(count > 0, "it closed");
            answer.extend_from_slice(&bytes[..count]);
        }
    };
    for key in 0..20 {
        ask(format!("set key{key} 0 0 5\r\nhello\r\n").as_bytes(), b"STORED\r\n");
    }
    for key in 0..100 {
        ask(format!("get key{}\r\n", key % 25).as_bytes(), b"END\r\n");
    }
    for _ in 0..10 {
        ask(b"get key1 key2 nokey\r\n", b"END\r\n");
        ask(b"mg key1 v\r\n", b"hello\r\n");
        ask(b"mg nokey v\r\n", b"EN\r\n");
    }
    both_ends_count(&agent, "memcached", &[("set", 20), ("get", 110), ("mg", 20)]);
    let cache = agent.api().get("/api/v1/cache?window=start");
    let told = (&cache["hits"], &cache["misses"], &cache["hit_rate"]);
    assert_eq!(told, (&json!(110), &json!(40), &json!(0.733_333)), "{cache}");
    agent.stop();
}

/// Both sides of a conversation over a real socket: what the client sends and what the server answers, in turn, each of
/// them as many times.
fn scripted(conversation: &[(&'static [u8], &'static [u8])], times: usize) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let server = conversation.to_vec();
    let serving = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client comes");
        for _ in 0..times {
            for (request, answer) in &server {
                let mut bytes = vec![0; request.len()];
                socket.read_exact(&mut bytes).expect("a request");
                socket.write_all(answer).expect("it can be answered");
            }
        }
    });
    let mut socket = TcpStream::connect(address).expect("it listens");
    for _ in 0..times {
        for (request, answer) in conversation {
            socket.write_all(request).expect("it can be sent");
            let mut bytes = vec![0; answer.len()];
            socket.read_exact(&mut bytes).expect("an answer");
        }
    }
    drop(socket);
    serving.join().expect("the server does not fail");
}

#[test]
fn what_cannot_be_installed_is_played() {
    need!(Agent, Root);
    let agent = Agent::start();
    // MongoDB's OP_MSG: `ping`, and its answer.
    scripted(
        &[(
            b"\x24\0\0\0\x01\x02\x03\x74\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x0f\0\0\0\x10ping\0\x01\0\0\0\0",
            b"\x22\0\0\0\x01\0\0\0\x01\x02\x03\x74\xdd\x07\0\0\0\0\0\0\0\x0d\0\0\0\x10ok\0\x01\0\0\0\0",
        )],
        30,
    );
    // Kafka's ApiVersions, and its answer.
    scripted(
        &[(
            b"\0\0\0\x0e\0\x12\0\0\x7f\0\0\0\0\x04late",
            b"\0\0\0\x0a\x7f\0\0\0\0\0\0\0\0\0",
        )],
        20,
    );
    // DNS over TCP: the addresses of `late`.
    scripted(
        &[(
            b"\0\x16\xff\xff\x01\0\0\x01\0\0\0\0\0\0\x04late\0\0\x01\0\x01",
            b"\0\x16\xff\xff\x81\x80\0\x01\0\0\0\0\0\0\x04late\0\0\x01\0\x01",
        )],
        10,
    );
    both_ends_count(&agent, "mongodb", &[("ping", 30)]);
    both_ends_count(&agent, "kafka", &[("ApiVersions", 20)]);
    both_ends_count(&agent, "dns", &[("A late", 10)]);
    agent.stop();
}
