//! The agent comes when others are there already, and short-lived programs come when it is there.

use std::time::Duration;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::need;
use perf_agent_tests::rows::{Picture, Role};
use perf_agent_tests::tls::client::{self, Client, curl};
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Ask, Asked, Http, Server, Serves, Talker, site};
use perf_agent_tests::wait;

use super::{client_known, expect, expect_rows, known, requests};

/// nginx first, then the agent, then the first connection.
#[test]
fn servers_that_were_there_before_the_agent_are_covered() {
    need!(Agent, Root, Nginx, Openssl, Curl, Node, Python, Venv);
    let nginx = Nginx::start();
    let others = [Kind::NodeHttp2, Kind::Asyncio].map(Server::start);
    let agent = Agent::start();
    let site = nginx.site(Tls::V13);
    let servers: [(&dyn Serves, Http); 3] = [(&site, Http::Two), (&others[0], Http::Two), (&others[1], Http::One)];
    for (server, http) in servers {
        known(&agent, server);
        let mut asked = Asked::default();
        Client::Curl.ask(http, server, &mut asked);
        Client::Talker(client::Kind::HttpxAsync).ask(http, server, &mut asked);
        expect(&agent, server, &asked);
    }
    agent.stop();
}

/// A server that has been listening for a while, by an OpenSSL that no process had before: the first request counts.
#[test]
fn the_first_request_to_a_server_is_seen() {
    need!(Agent, Root, Nginx, Openssl, Curl, Node, Unshare);
    let agent = Agent::start();
    let node = Server::start(Kind::NodeHttps);
    let nginx = perf_agent_tests::tls::room::nginx();
    std::thread::sleep(Duration::from_secs(2)); // that it had time to be looked at is what is tested
    let site = nginx.site(Tls::V13);
    let servers: [&dyn Serves; 2] = [&node, &site];
    for server in servers {
        let mut asked = Asked::default();
        Client::Curl.ask(Http::One, server, &mut asked);
        expect(&agent, server, &asked);
    }
    agent.stop();
}

/// A connection on which requests were made before the agent came: the later requests are all there, once the agent knows
/// the files.
#[track_caller]
fn in_the_middle(server: &dyn Serves, kind: client::Kind) {
    let before = [site::get("/hello"), site::get("/page"), site::get("/gone")];
    let mut talker = Talker::start(kind, Http::One, server);
    talker.ask_all(&before);
    let agent = Agent::start();
    known(&agent, server);
    if kind == client::Kind::Node {
        client_known(&agent, client::Kind::Node);
    }
    let asks = site::asks();
    let answers = talker.ask_all(&asks);
    let mut asked = Asked::default();
    asked.add(&talker.program(), Http::One, &asks, &answers);
    talker.end();
    expect_rows(&agent, server, &asked.expected());
    agent.stop();
}

fn in_the_middle_at_nginx(kind: client::Kind) {
    let nginx = Nginx::start();
    for tls in [Tls::V12, Tls::V13] {
        in_the_middle(&nginx.site(tls), kind);
    }
}

#[test]
fn in_the_middle_of_a_session_of_openssl_on_a_socket() {
    need!(Agent, Root, Nginx, Openssl, Venv);
    in_the_middle_at_nginx(client::Kind::Httpx);
}

#[test]
fn in_the_middle_of_a_session_of_openssl_through_memory() {
    need!(Agent, Root, Nginx, Openssl, Venv);
    in_the_middle_at_nginx(client::Kind::HttpxAsync);
}

#[test]
fn in_the_middle_of_a_session_of_gnutls() {
    need!(Agent, Root, Nginx, Openssl, Python, CurlGnutls);
    in_the_middle_at_nginx(client::Kind::GnuTls);
}

#[test]
fn in_the_middle_of_a_session_of_node() {
    need!(Agent, Root, Nginx, Openssl, Node);
    in_the_middle_at_nginx(client::Kind::Node);
}

#[test]
fn in_the_middle_of_a_session_with_asyncio() {
    need!(Agent, Root, Openssl, Python, CurlGnutls);
    in_the_middle(&Server::start(Kind::Asyncio), client::Kind::GnuTls);
}

#[test]
fn in_the_middle_of_a_session_with_node() {
    need!(Agent, Root, Openssl, Node, Python, CurlGnutls);
    in_the_middle(&Server::start(Kind::NodeHttps), client::Kind::GnuTls);
}

/// Of HTTP/2 the agent does not know which fields the peers have numbers for: paths that it saw no letters of are unknown.
/// Nothing is lost, and nothing is taken for something else.
#[test]
fn in_the_middle_of_http2_connections() {
    need!(Agent, Root, Nginx, Openssl, Venv, Node);
    let nginx = Nginx::start();
    let node = Server::start(Kind::NodeHttp2);
    let site = nginx.site(Tls::V13);
    let servers: [&dyn Serves; 2] = [&site, &node];
    for server in servers {
        for kind in [client::Kind::Httpx, client::Kind::HttpxAsync, client::Kind::Node] {
            let mut talker = Talker::start(kind, Http::Two, server);
            let known = [site::get("/hello"), site::get("/page")];
            talker.ask_all(&known);
            let agent = Agent::start();
            let fresh = [site::get("/gone"), site::get("/fail"), site::get("/large")];
            let asks: Vec<Ask> = [&known[..], &fresh[..], &known[..], &fresh[..]].concat();
            talker.ask_all(&asks);
            talker.end();
            wait::settle(wait::SETTLE, "every later request", || {
                for role in Role::BOTH {
                    let all = requests(&agent, server, role);
                    let endpoints = agent.api().endpoints();
                    let seen = Picture::seen(&endpoints, &server.at(), role);
                    let answered = seen.outcome("answered");
                    let fits = |operation: &str| {
                        let route = operation.split(' ').nth(1).unwrap_or_default();
                        route == "(unknown)" || asks.iter().any(|ask| ask.path == route)
                    };
                    let fresh_seen = fresh
                        .iter()
                        .all(|ask| seen.operations().iter().any(|operation| operation.ends_with(ask.path)));
                    if all != asks.len() as u64
                        || answered != all
                        || !fresh_seen
                        || !seen.operations().iter().all(|operation| fits(operation))
                    {
                        return Err(format!("{kind:?}, {role:?}, {} requests:\n{seen}", asks.len()));
                    }
                }
                Ok(())
            });
            agent.stop();
        }
    }
}

/// A program that lives for a few milliseconds, again and again: each is covered before it speaks.
#[test]
fn two_hundred_curls_one_after_the_other() {
    const TIMES: usize = 200;
    need!(Agent, Root, Nginx, Openssl, Curl);
    let agent = Agent::start();
    let nginx = Nginx::start();
    let site = nginx.site(Tls::V13);
    let mut asked = Asked::default();
    for number in 0..TIMES {
        let asks = [site::get(["/hello", "/gone", "/page"][number % 3])];
        let http = Http::BOTH[number % 2];
        asked.add("curl", http, &asks, &curl(http, &site, &asks));
    }
    expect(&agent, &site, &asked);
    agent.stop();
}
