//! The agent comes when others are there already, and short-lived programs come when it is there.

use perf_agent_tests::agent::Agent;
use perf_agent_tests::need;
use perf_agent_tests::rows::{Expect, Picture, Role};
use perf_agent_tests::tls::client::{self, Client, curl};
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Ask, Asked, Http, Server, Serves, Talker, site};
use perf_agent_tests::wait;

use super::{expect, expect_rows, requests};

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
        let mut asked = Asked::default();
        Client::Curl.ask(http, server, &mut asked);
        Client::Talker(client::Kind::HttpxAsync).ask(http, server, &mut asked);
        expect(&agent, server, &asked);
    }
    agent.stop();
}

/// Connections on which requests were made before the agent came: the later requests are all there.
#[track_caller]
fn in_the_middle(server: &dyn Serves, kinds: &[client::Kind]) {
    let before = [site::get("/hello"), site::get("/page"), site::get("/gone")];
    let start = |kind: &client::Kind| {
        let mut talker = Talker::start(*kind, Http::One, server);
        talker.ask_all(&before);
        talker
    };
    let talkers: Vec<Talker> = kinds.iter().map(start).collect();
    let agent = Agent::start();
    let mut expected: Vec<Expect> = vec![];
    for mut talker in talkers {
        let asks = site::asks();
        let answers = talker.ask_all(&asks);
        Asked::default().add("the client", Http::One, &asks, &answers);
        expected.extend(asks.iter().map(|ask| ask.expected(Http::One)));
        talker.end();
    }
    expect_rows(&agent, server, &expected);
    agent.stop();
}

#[test]
fn in_the_middle_of_sessions_with_nginx() {
    need!(Agent, Root, Nginx, Openssl, Python, Venv, CurlGnutls, Node);
    let nginx = Nginx::start();
    for tls in [Tls::V12, Tls::V13] {
        let kinds = [
            client::Kind::Httpx,
            client::Kind::HttpxAsync,
            client::Kind::GnuTls,
            client::Kind::Node,
        ];
        in_the_middle(&nginx.site(tls), &kinds);
    }
}

#[test]
fn in_the_middle_of_sessions_with_node_and_asyncio() {
    need!(Agent, Root, Openssl, Node, Python, Venv, CurlGnutls);
    for kind in [Kind::NodeHttps, Kind::Asyncio] {
        let kinds = [client::Kind::HttpxAsync, client::Kind::GnuTls];
        in_the_middle(&Server::start(kind), &kinds);
    }
}

/// Of HTTP/2 the agent does not know which fields the peers have numbers for: paths that it saw no letters of are unseen.
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
                        route == "(unseen)" || asks.iter().any(|ask| ask.path == route)
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
