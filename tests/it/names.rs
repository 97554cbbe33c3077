//! Names: what is asked of name servers over UDP, and what peers are called by it.

use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::child::run;
use perf_agent_tests::dns::{self, Dns};
use perf_agent_tests::need;
use perf_agent_tests::python::{self, SYSTEM};
use perf_agent_tests::store::Store;
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Server, Serves as _};
use perf_agent_tests::wait;
use serde_json::{Value, json};

use crate::stores::both_ends_count;

#[test]
fn dns_over_udp_is_counted_as_the_server_counts_it() {
    need!(Agent, Root, Python, Unshare);
    let agent = Agent::start();
    let server = Dns::start();
    // The C library asks for both families at once, from a socket for each name.
    let mut command = server.asked_by(SYSTEM);
    let names = ["a.test", "a.test", "a.test", "b.test", "gone.test"];
    command.arg(python::client("resolve.py")).arg("libc").args(names);
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.error);
    assert!(said.out.contains("a.test 127.0.0.1\n"), "{}", said.out);
    // A socket that is not connected, and answers out of order.
    let mut command = Command::new(SYSTEM);
    command.arg(python::client("resolve.py"));
    command.args(["socket", dns::ADDRESS, &dns::PORT.to_string()]);
    command.args(["c.test", "late.test", "c.test", "d.test"]);
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.error);

    let asked = server.asked();
    assert_eq!(
        (asked["A a.test"], asked["AAAA gone.test"], asked["A c.test"]),
        (3, 1, 2)
    );
    let expected: Vec<_> = asked
        .iter()
        .map(|(operation, count)| (operation.as_str(), *count))
        .collect();
    both_ends_count(&agent, "dns", &expected);
    let endpoints = agent.api().endpoints();
    let all: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint["protocol"] == "dns")
        .collect();
    assert_eq!(all.len(), 2 * expected.len(), "one for each role: {all:?}");
    for endpoint in all {
        let of_server = endpoint["role"] == "server";
        let at = if of_server {
            &endpoint["service"]
        } else {
            &endpoint["peer"]
        };
        assert_eq!(at["port"], dns::PORT, "{endpoint}");
        if !of_server {
            assert_eq!(at["address"], dns::ADDRESS, "{endpoint}");
        }
        let operation = endpoint["operation"].as_str().unwrap_or_default();
        let code = if operation.ends_with("gone.test") {
            "NXDOMAIN"
        } else {
            "ok"
        };
        assert_eq!(
            endpoint["statuses"],
            json!({ code: endpoint["requests"] }),
            "{endpoint}"
        );
    }
    // Who asked the server shows with the answer.
    let requests = agent.api().get("/api/v1/requests?limit=100");
    let of = |request: &&Value| request["role"] == "server" && request["protocol"] == "dns";
    let clients: Vec<_> = requests["requests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(of)
        .collect();
    assert!(!clients.is_empty(), "{requests}");
    for client in clients {
        assert_eq!(client["client_address"], "127.0.0.1", "{client}");
    }
    agent.stop();
}

#[test]
fn a_peer_is_called_what_its_client_asked_for() {
    need!(Agent, Root, Python, Unshare, Redis);
    let agent = Agent::start();
    let (server, redis) = (Dns::start(), Store::redis());
    let mut command = server.asked_by(SYSTEM);
    command.arg(python::client("resolve.py"));
    command.args(["redis", "cache.test", &redis.port().to_string()]);
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.error);
    wait::settle(wait::SETTLE, "the cache has its name", || {
        let caches = agent.api().get("/api/v1/cache?window=start");
        let peer = &caches["targets"][0]["peer"];
        let expected = json!({"address": "127.0.0.1", "port": redis.port(), "name": "cache.test", "socket": null});
        (*peer == expected).then_some(()).ok_or_else(|| caches.to_string())
    });
    agent.stop();
}

/// curl asks the server for its page by this name, which is said in the handshake alone.
#[track_caller]
fn ask_by_name(server: &Server, name: &str) {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--insecure",
        "--http1.1",
        "--header",
        "Host:",
    ]);
    command.args(["--resolve", &format!("{name}:{}:127.0.0.1", server.port())]);
    command.arg(format!("https://{name}:{}/hello", server.port()));
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.error);
}

#[test]
fn a_peer_is_called_what_the_handshake_asked_for() {
    need!(Agent, Root, Python, Openssl, Curl);
    let server = Server::start(Kind::Asyncio);
    let peer =
        |name: Option<&str>| json!({"address": "127.0.0.1", "port": server.port(), "name": name, "socket": null});
    // What it carries is seen, or it is not.
    for arguments in [&[][..], &["--no-tls"]] {
        let agent = Agent::start_with(arguments);
        for name in ["First.test", "second.test", "second.test"] {
            ask_by_name(&server, name);
        }
        wait::settle(wait::SETTLE, "the server has its names", || {
            let external = agent.api().get("/api/v1/external?window=start");
            let ours = |target: &&Value| target["peer"]["port"] == server.port();
            let list = |name: &str| {
                external[name]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(ours)
                    .collect::<Vec<_>>()
            };
            let (targets, unread) = (list("targets"), list("unread_tls"));
            let as_it_is = match (&targets[..], &unread[..]) {
                ([target], []) => {
                    arguments.is_empty() && target["requests"] == 3 && target["peer"] == peer(Some("second.test"))
                }
                ([], [second, first]) => {
                    let of = |unread: &Value, name, connections| {
                        unread["peer"] == peer(Some(name))
                            && unread["service"] == "curl"
                            && unread["connections"] == connections
                    };
                    !arguments.is_empty() && of(second, "second.test", 2) && of(first, "first.test", 1)
                }
                _ => false,
            };
            as_it_is.then_some(()).ok_or_else(|| external.to_string())
        });
        agent.stop();
    }
}
