//! Many connections, and many requests at once.

use std::process::Command;

use perf_agent_tests::agent::{Agent, free_port};
use perf_agent_tests::child::Workdir;
use perf_agent_tests::need;
use perf_agent_tests::python::source;
use perf_agent_tests::rows::{self, Picture, Role};
use perf_agent_tests::tls::load::Load;
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Asked, Certificate, Http, Server, Serves};
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

/// One thread that serves and asks: what it receives as a client waits for a task that runs later, when it has received
/// something else as a server.
#[test]
fn one_thread_that_is_server_and_client() {
    const REQUESTS: u64 = 600;
    need!(Agent, Root, Openssl, H2load, Venv);
    let agent = Agent::start();
    let upstream = Server::start(Kind::Uvicorn);
    let (directory, port) = (Workdir::new(), free_port());
    let certificate = Certificate::new(directory.path());
    let mut command = Command::new(need::venv().join("bin/python"));
    command
        .arg(source("tls_front.py"))
        .arg(port.to_string())
        .args([&certificate.file, &certificate.key])
        .arg(format!("https://127.0.0.1:{}/slow", upstream.port()));
    let front = Server::running("front", command, port, certificate, directory);
    // Whoever is first also loads libraries.
    known(&agent, &upstream);
    known(&agent, &front);
    for clients in [4, 12] {
        load(
            Http::One,
            u32::try_from(REQUESTS / 2).expect("not that many"),
            clients,
            1,
        )
        .run(&front, &["/front"]);
    }
    wait::settle(wait::SETTLE, "both servers, and the client between them", || {
        let endpoints = agent.api().endpoints();
        let seen = |server: &Server, role| Picture::seen(&endpoints, &server.at(), role);
        let (server, behind) = (seen(&front, Role::Server), seen(&upstream, Role::Server));
        let between = endpoints.iter().filter(|endpoint| {
            endpoint["role"] == "client" && endpoint["service"]["pids"] == serde_json::json!([front.pid()])
        });
        let between: Vec<[u64; 2]> = between
            .map(|endpoint| {
                let count = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
                [count(&endpoint["requests"]), count(&endpoint["outcomes"]["answered"])]
            })
            .collect();
        let asked: [u64; 2] = [0, 1].map(|place| between.iter().map(|counts| counts[place]).sum());
        let answered = |picture: &Picture| [picture.requests(), picture.outcome("answered")];
        if answered(&server) == [REQUESTS; 2] && answered(&behind) == [REQUESTS; 2] && asked == [REQUESTS; 2] {
            rows::accounting_closes(&agent.api().accounting())
        } else {
            Err(format!("in front:\n{server}behind:\n{behind}between: {between:?}"))
        }
    });
    // Nobody else's port is taken for a server's.
    let ports: Vec<_> = agent
        .api()
        .endpoints()
        .into_iter()
        .filter(|endpoint| {
            endpoint["role"] == "server" && endpoint["service"]["pids"] == serde_json::json!([front.pid()])
        })
        .map(|endpoint| endpoint["service"]["port"].clone())
        .collect();
    assert_eq!(ports, [serde_json::json!(port)]);
    agent.stop();
}
