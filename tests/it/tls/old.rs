//! What older releases have: OpenSSL 1.1.1, and a Go that passes arguments on the stack.

use perf_agent_tests::agent::Agent;
use perf_agent_tests::need;
use perf_agent_tests::python::children;
use perf_agent_tests::tls::client::{self, Client, Raw, RawTalker};
use perf_agent_tests::tls::nginx::{Nginx, Settings, Tls};
use perf_agent_tests::tls::{Asked, Http, Server, Serves as _, server, site};
use perf_agent_tests::wait;

use serde_json::Value;

use super::{client_known, expect, known, of_process};

/// The server's library and the clients' are of different versions, one after the other.
#[test]
fn openssl_1_1_1_as_server_and_client() {
    need!(Agent, Root, Openssl, OldOpenssl, Nginx, Curl);
    let agent = Agent::start();
    let (old, new) = (
        Nginx::start_with(&Settings {
            old: true,
            ..Settings::default()
        }),
        Nginx::start(),
    );
    known(&agent, &old.site(Tls::V12));
    let mut talker = RawTalker::start(Raw::OldSClient, &old.site(Tls::V12));
    talker.ask(&site::get("/hello"));
    for processes in [children(old.pid()), vec![talker.pid()]] {
        has_version(&agent, &processes, "1.1.1");
    }
    talker.end();
    for site in [old.site(Tls::V13), new.site(Tls::V12)] {
        let mut asked = Asked::default();
        Client::Raw(Raw::OldSClient).ask(Http::One, &site, &mut asked);
        if site.pid() == old.pid() {
            Client::Curl.ask(Http::One, &site, &mut asked);
            Client::Curl.ask(Http::Two, &site, &mut asked);
        }
        expect(&agent, &site, &asked);
    }
    agent.stop();
}

/// Each by both versions of HTTP, with symbols and without.
#[test]
fn go_1_15_as_server_and_client() {
    need!(Agent, Root, Openssl, Nginx, OldGo, Curl);
    let agent = Agent::start();
    let ends = [
        (server::Kind::OldGo, client::Kind::OldGo),
        (server::Kind::OldGoStripped, client::Kind::OldGoStripped),
    ];
    for (server, client) in ends {
        let server = Server::start(server);
        known(&agent, &server);
        client_known(&agent, client);
        let mut asked = Asked::default();
        for http in Http::BOTH {
            Client::Curl.ask(http, &server, &mut asked);
            Client::Talker(client).ask(http, &server, &mut asked);
        }
        expect(&agent, &server, &asked);
    }
    agent.stop();
}

/// Waits until the agent says that the OpenSSL of these processes is covered, as far as they speak, and of which version it
/// is; and nothing else of them. The client shakes hands in one call, whose many segments nobody has a session for yet.
#[track_caller]
fn has_version(agent: &Agent, processes: &[u32], expected: &str) {
    wait::settle(wait::SETTLE, "the library's version", || {
        let found: Vec<Value> = processes.iter().flat_map(|&pid| of_process(agent, pid)).collect();
        let told = |entry: &Value| {
            let version = entry["version"].as_str().unwrap_or_default();
            entry["state"] == "covered" && entry["library"] == "OpenSSL" && version.starts_with(expected)
        };
        if !found.is_empty() && found.iter().all(told) {
            Ok(())
        } else {
            Err(format!("{processes:?}: {found:?}"))
        }
    });
}
