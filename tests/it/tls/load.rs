//! Many connections, and many requests at once.

use perf_agent_tests::agent::Agent;
use perf_agent_tests::need;
use perf_agent_tests::rows::{self, Picture, Role};
use perf_agent_tests::tls::load::Load;
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Asked, Http, Server, Serves};
use perf_agent_tests::{wait, wrk};

use super::{expect, known};

#[track_caller]
fn under_load(server: &dyn Serves, loads: &[Load]) {
    let agent = Agent::start();
    known(&agent, server);
    let mut asked = Asked::default();
    for load in loads {
        load.put_down(server, "/hello", &mut asked);
    }
    expect(&agent, server, &asked);
    let books = agent.api().accounting();
    assert_eq!(books["records"]["lost"], 0, "{books}");
    agent.stop();
}

const fn load(http: Http, requests: u32, clients: u32, streams: u32) -> Load {
    Load {
        requests,
        clients,
        streams,
        http,
    }
}

#[test]
fn nginx_with_ten_connections_of_a_hundred_streams() {
    need!(Agent, Root, Nginx, Openssl, H2load);
    let nginx = Nginx::start();
    under_load(&nginx.site(Tls::V13), &[load(Http::Two, 10_000, 10, 100)]);
}

#[test]
fn nginx_with_a_hundred_connections() {
    need!(Agent, Root, Nginx, Openssl, H2load);
    let nginx = Nginx::start();
    under_load(&nginx.site(Tls::V12), &[load(Http::One, 5_000, 100, 1)]);
}

/// One thread has all connections, and each has its own SSL object.
#[test]
fn one_thread_with_fifty_connections_through_memory() {
    need!(Agent, Root, Openssl, H2load, Python, Node);
    for kind in [Kind::Asyncio, Kind::NodeHttps] {
        under_load(&Server::start(kind), &[load(Http::One, 2_000, 50, 1)]);
    }
}

/// wrk closes in the middle of its last requests: nginx logs them, wrk does not count them.
#[test]
fn nginx_under_wrk() {
    need!(Agent, Root, Nginx, Openssl, Wrk);
    let agent = Agent::start();
    let nginx = Nginx::start();
    let site = nginx.site(Tls::V13);
    let load = wrk::Load {
        connections: 16,
        seconds: 2,
        url: format!("https://127.0.0.1:{}/hello", site.port()),
        pipelined: 1,
    };
    let report = load.run();
    assert_eq!((report.socket_errors, report.not_2xx_3xx), (0, 0), "{report:?}");
    wait::settle(wait::SETTLE, "every request is counted", || {
        let logged = site.accesses().len() as u64;
        let endpoints = agent.api().endpoints();
        let [server, client] = Role::BOTH.map(|role| Picture::seen(&endpoints, &site.at(), role));
        let left = client.requests() - client.outcome("answered").min(client.requests());
        if logged < report.requests
            || server.requests() != logged
            || client.outcome("answered") != report.requests
            || client.requests() != logged
            || left > u64::from(load.connections)
        {
            let records = &agent.api().accounting()["records"];
            return Err(format!(
                "{logged} logged, {report:?}\n  server:\n{server}  client:\n{client}  {records}"
            ));
        }
        rows::accounting_closes(&agent.api().accounting())
    });
    agent.stop();
}

#[test]
fn node_with_many_streams() {
    need!(Agent, Root, Openssl, H2load, Node);
    under_load(&Server::start(Kind::NodeHttp2), &[load(Http::Two, 2_000, 4, 50)]);
}

/// Threads hand connections to each other, many at a time.
#[test]
fn threads_that_take_turns_with_twenty_connections() {
    need!(Agent, Root, Openssl, H2load, Python);
    under_load(&Server::start(Kind::Threads), &[load(Http::One, 1_000, 20, 1)]);
}
