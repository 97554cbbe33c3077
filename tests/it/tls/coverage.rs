//! What the agent says of TLS that it sees, and of TLS that it does not see.

use perf_agent_tests::agent::Agent;
use perf_agent_tests::need;
use perf_agent_tests::rows::{Picture, Role};
use perf_agent_tests::tls::client::{Client, curl};
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Ask, Asked, Http, Server, Serves, site};
use perf_agent_tests::wait;
use serde_json::Value;

use super::{entries_of, known, of_process};

/// What the agent says of a process, at the services that it is part of.
fn with_services(agent: &Agent, pid: u32) -> Vec<Value> {
    let all = agent.api().get("/api/v1/services");
    let services = all["services"].as_array().into_iter().flatten();
    services.flat_map(|service| entries_of(service, pid)).collect()
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

#[test]
fn what_is_seen_is_said_to_be_covered() {
    need!(Agent, Root, Nginx, Openssl, Curl, Node);
    let agent = Agent::start();
    let nginx = Nginx::start();
    let node = Server::start(Kind::NodeHttps);
    let site = nginx.site(Tls::V13);
    let servers: [(&dyn Serves, Vec<u32>); 2] = [
        (&site, perf_agent_tests::python::children(nginx.pid())),
        (&node, vec![node.pid()]),
    ];
    for (server, processes) in servers {
        known(&agent, server);
        let mut asked = Asked::default();
        Client::Curl.ask(Http::One, server, &mut asked);
        wait::settle(wait::SETTLE, "its library is covered", || {
            let found: Vec<Value> = processes.iter().flat_map(|&pid| with_services(&agent, pid)).collect();
            let covered = |entry: &&Value| {
                entry["state"] == "covered"
                    && entry["library"] == "OpenSSL"
                    && entry["version"]
                        .as_str()
                        .is_some_and(|version| version.starts_with('3'))
                    && is_text(&entry["path"])
                    && entry["how"]
                        .as_str()
                        .is_some_and(|how| how.starts_with("uprobe_multi on SSL_") || how.starts_with("uprobe on SSL_"))
                    && entry["reason"].is_null()
            };
            let all = !found.is_empty() && found.iter().filter(covered).count() == found.len();
            if all { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
    agent.stop();
}

/// rustls in a module without symbols: there is nothing to hold on to, and the agent says so.
#[track_caller]
fn said_to_be_not_covered(kind: Kind, asks: &[&[Ask]]) {
    let agent = Agent::start();
    let server = Server::start(kind);
    let mut asked = Asked::default();
    for asks in asks {
        asked.add("curl", Http::One, asks, &curl(Http::One, &server, asks));
    }
    wait::settle(wait::SETTLE, "the server's TLS is said to be not covered", || {
        let mut processes = perf_agent_tests::python::children(server.pid());
        processes.push(server.pid());
        let found: Vec<Value> = processes.iter().flat_map(|&pid| of_process(&agent, pid)).collect();
        let said = |entry: &&Value| entry["state"] == "not_covered" && is_text(&entry["reason"]);
        if found.iter().any(|entry| said(&entry)) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
    // The client is another matter.
    let endpoints = agent.api().endpoints();
    let seen = |role| Picture::seen(&endpoints, &server.at(), role);
    assert_eq!(seen(Role::Server).requests(), 0, "{}", seen(Role::Server));
    Picture::expected(&asked.expected(), None)
        .matches(&seen(Role::Client))
        .unwrap_or_else(|why| panic!("{why}"));
    agent.stop();
}

#[test]
fn what_is_not_seen_is_said_and_never_guessed() {
    need!(Agent, Root, Openssl, Curl, Venv);
    said_to_be_not_covered(Kind::Granian, &[&site::plain_asks()]);
}

#[test]
fn a_library_that_is_not_used_covers_nothing() {
    need!(Agent, Root, Openssl, Curl, Venv);
    said_to_be_not_covered(Kind::GranianBesideOpenssl, &[&site::plain_asks()]);
}

/// Its client is gone before it has said that it closes, too: an RST answers that.
#[test]
fn nor_does_it_where_a_connection_is_short() {
    need!(Agent, Root, Openssl, Curl, Venv);
    said_to_be_not_covered(Kind::GranianBesideOpenssl, &[&[site::get("/hello")]]);
}
