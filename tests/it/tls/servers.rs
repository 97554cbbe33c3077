//! Every server with every client.

use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::number;
use perf_agent_tests::child::run;
use perf_agent_tests::clock::ms;
use perf_agent_tests::need;
use perf_agent_tests::rows::{self, Bytes, Picture, Role};
use perf_agent_tests::tls::client::{self, Client, Raw, curl, talk};
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::server::{Kind, built};
use perf_agent_tests::tls::{Asked, Http, Server, Serves, site};
use perf_agent_tests::wait;

use super::{client_known, expect, known, raw_known, requests};

/// The clients ask the server, one after the other, by these versions of HTTP as far as they speak them.
fn ask(server: &dyn Serves, versions: &[Http], clients: &[Client]) -> Asked {
    let mut asked = Asked::default();
    for client in clients {
        for &http in versions.iter().filter(|http| client.speaks(**http)) {
            client.ask(http, server, &mut asked);
        }
    }
    asked
}

/// One client at nginx, with both versions of TLS.
#[track_caller]
fn at_nginx(clients: &[Client]) {
    let agent = Agent::start();
    let nginx = Nginx::start();
    for kind in [client::Kind::Node, client::Kind::Go, client::Kind::Rustls] {
        if clients.contains(&Client::Talker(kind)) {
            client_known(&agent, kind);
        }
    }
    for raw in [Raw::Tstclnt, Raw::BoringSsl] {
        if clients.contains(&Client::Raw(raw)) {
            raw_known(&agent, raw);
        }
    }
    for site in [Tls::V12, Tls::V13].map(|tls| nginx.site(tls)) {
        let asked = ask(&site, &Http::BOTH, clients);
        expect(&agent, &site, &asked);
    }
    agent.stop();
}

#[test]
fn nginx_and_curl() {
    need!(Agent, Root, Nginx, Openssl, Curl);
    at_nginx(&[Client::Curl]);
}

#[test]
fn nginx_and_wget_by_gnutls() {
    need!(Agent, Root, Nginx, Openssl, Wget);
    at_nginx(&[Client::Wget]);
}

#[test]
fn nginx_and_gnutls_cli() {
    need!(Agent, Root, Nginx, Openssl, GnutlsCli);
    at_nginx(&[Client::Raw(Raw::GnutlsCli)]);
}

#[test]
fn nginx_and_s_client() {
    need!(Agent, Root, Nginx, Openssl);
    at_nginx(&[Client::Raw(Raw::SClient)]);
}

/// `tstclnt` writes the answers to its standard output by the call that it writes requests to the session with: these are
/// no messages.
#[test]
fn nginx_and_tstclnt_by_nss() {
    need!(Agent, Root, Nginx, Openssl, Nss);
    at_nginx(&[Client::Raw(Raw::Tstclnt)]);
}

#[test]
fn nginx_and_boringssl() {
    need!(Agent, Root, Nginx, Openssl, BoringSsl);
    at_nginx(&[Client::Raw(Raw::BoringSsl)]);
}

#[test]
fn nginx_and_libcurl_by_gnutls() {
    need!(Agent, Root, Nginx, Openssl, Python, CurlGnutls);
    at_nginx(&[Client::Talker(client::Kind::GnuTls)]);
}

#[test]
fn nginx_and_python_by_the_socket_and_through_memory() {
    need!(Agent, Root, Nginx, Openssl, Venv);
    at_nginx(&[
        Client::Talker(client::Kind::Httpx),
        Client::Talker(client::Kind::HttpxAsync),
    ]);
}

#[test]
fn nginx_and_node() {
    need!(Agent, Root, Nginx, Openssl, Node);
    at_nginx(&[Client::Talker(client::Kind::Node)]);
}

#[test]
fn nginx_and_rustls() {
    need!(Agent, Root, Nginx, Openssl);
    at_nginx(&[Client::Talker(client::Kind::Rustls)]);
}

#[test]
fn nginx_and_go() {
    need!(Agent, Root, Nginx, Openssl, Go);
    at_nginx(&[Client::Talker(client::Kind::Go)]);
}

#[test]
fn nginx_and_h2load() {
    need!(Agent, Root, Nginx, Openssl, H2load);
    at_nginx(&[Client::H2load]);
}

/// To the byte: what nginx puts down is what it gave to OpenSSL, and got from it.
#[test]
fn bytes_are_those_of_the_access_log() {
    need!(Agent, Root, Nginx, Openssl, Venv);
    let agent = Agent::start();
    let nginx = Nginx::start();
    let site = nginx.site(Tls::V13);
    let (program, answers) = talk(client::Kind::Httpx, Http::One, &site, &site::asks());
    let mut asked = Asked::default();
    asked.add(&program, Http::One, &site::asks(), &answers);
    expect(&agent, &site, &asked);
    let log = site.accesses();
    let expected = Bytes {
        received: log.iter().map(|line| line.request_length).sum(),
        sent: log.iter().map(|line| line.bytes_sent).sum(),
    };
    let seen = Picture::seen(&agent.api().endpoints(), &site.at(), Role::Server);
    assert_eq!(seen.bytes(), Some(expected));
    agent.stop();
}

/// One server with everybody who speaks by OpenSSL or `GnuTLS`.
#[track_caller]
fn everybody_at(kind: Kind, versions: &[Http]) {
    clients_at(kind, versions, &Client::LIBRARIES);
}

/// One server with these.
#[track_caller]
fn clients_at(kind: Kind, versions: &[Http], clients: &[Client]) {
    let agent = Agent::start();
    let server = Server::start(kind);
    known(&agent, &server);
    client_known(&agent, client::Kind::Node);
    let asked = ask(&server, versions, clients);
    expect(&agent, &server, &asked);
    agent.stop();
}

macro_rules! need_everybody {
    ($($more:ident),*) => {
        need!(Agent, Root, Openssl, Curl, Wget, GnutlsCli, CurlGnutls, H2load, Node, Python, Venv $(, $more)*)
    };
}

#[test]
fn node_https_and_everybody() {
    need_everybody!();
    everybody_at(Kind::NodeHttps, &[Http::One]);
}

#[test]
fn node_http2_and_everybody() {
    need_everybody!();
    everybody_at(Kind::NodeHttp2, &Http::BOTH);
}

#[test]
fn asyncio_and_everybody() {
    need_everybody!();
    everybody_at(Kind::Asyncio, &[Http::One]);
}

/// An SSL object is used by several threads in turn.
#[test]
fn threads_that_take_turns_and_everybody() {
    need_everybody!();
    everybody_at(Kind::Threads, &[Http::One]);
}

#[test]
fn uvicorn_and_everybody() {
    need_everybody!();
    let clients = Client::LIBRARIES.into_iter().filter(|client| *client != Client::H2load);
    clients_at(Kind::Uvicorn, &[Http::One], &clients.collect::<Vec<_>>());
}

/// h2load sends ten requests at once, and uvicorn's answers come several in one write to the socket.
#[test]
fn uvicorn_and_pipelined_requests() {
    need!(Agent, Root, Openssl, Venv, H2load);
    clients_at(Kind::Uvicorn, &[Http::One], &[Client::H2load]);
}

#[test]
fn hypercorn_and_everybody() {
    need_everybody!();
    everybody_at(Kind::Hypercorn, &Http::BOTH);
}

#[test]
fn rustls_and_everybody() {
    need_everybody!();
    everybody_at(Kind::Rustls, &Http::BOTH);
}

/// A connection's object is moved from its handshake to its task, sometimes with the first request in it.
#[test]
fn rustls_at_both_ends_of_short_connections() {
    need!(Agent, Root, Openssl);
    let agent = Agent::start();
    let server = Server::start(Kind::Rustls);
    known(&agent, &server);
    client_known(&agent, client::Kind::Rustls);
    let mut asked = Asked::default();
    let asks = [site::get("/hello"), site::get("/page")];
    for http in Http::BOTH {
        for _ in 0..30 {
            let (program, answers) = talk(client::Kind::Rustls, http, &server, &asks);
            asked.add(&program, http, &asks, &answers);
        }
    }
    expect(&agent, &server, &asked);
    agent.stop();
}

/// The first request of each may come with the end of its handshake, and the next connection lies where its object lay
/// until then, before it is answered.
#[test]
fn rustls_connections_that_begin_at_once() {
    const AT_ONCE: usize = 24;
    need!(Agent, Root, Openssl, Curl);
    let agent = Agent::start();
    let server = Server::start(Kind::Rustls);
    known(&agent, &server);
    let asks = [site::get("/slow")];
    let mut asked = Asked::default();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| scope.spawn(|| curl(Http::One, &server, &asks)))
            .collect();
        let answers = clients.into_iter().map(|client| client.join().expect("it asks"));
        answers.collect()
    });
    for answers in answers {
        asked.add("curl", Http::One, &asks, &answers);
    }
    expect(&agent, &server, &asked);
    agent.stop();
}

/// Of connections that are moved behind their requests, one after the other lay at the same place.
#[test]
fn rustls_connections_that_are_moved_before_they_are_answered() {
    const TIMES: usize = 10;
    need!(Agent, Root, Openssl);
    let agent = Agent::start();
    let server = Server::start(Kind::Rustls);
    known(&agent, &server);
    // What is said first by a program that was never seen may be over when it is found.
    let ask = |count: usize| {
        let mut command = Command::new(built("rustls_mover"));
        command.arg(server.port().to_string()).arg(server.certificate());
        command.arg(count.to_string());
        let said = run(command);
        assert_eq!(
            (said.code, said.out),
            (Some(0), "200\n".repeat(count)),
            "{}",
            said.error
        );
    };
    ask(1);
    wait::settle(wait::SETTLE, "the server has seen one", || {
        match requests(&agent, &server, Role::Server) {
            1 => Ok(()),
            other => Err(format!("{other}")),
        }
    });
    let before = requests(&agent, &server, Role::Client);
    ask(TIMES);
    wait::settle(wait::SETTLE, "both ends", || {
        let seen = [Role::Server, Role::Client].map(|role| requests(&agent, &server, role));
        if seen == [1 + TIMES as u64, before + TIMES as u64] {
            rows::accounting_closes(&agent.api().accounting())
        } else {
            Err(format!("{seen:?}, before {before}"))
        }
    });
    for role in Role::BOTH {
        let seen = Picture::seen(&agent.api().endpoints(), &server.at(), role);
        assert_eq!(seen.outcome("answered"), seen.requests(), "{seen}");
    }
    agent.stop();
}

#[test]
fn go_and_everybody() {
    need_everybody!(Go);
    everybody_at(Kind::Go, &[Http::One]);
}

#[test]
fn go_without_symbols_and_everybody() {
    need_everybody!(Go);
    everybody_at(Kind::GoStripped, &[Http::One]);
}

#[test]
fn go_by_http2_and_everybody() {
    need_everybody!(Go);
    for kind in [Kind::Go, Kind::GoStripped] {
        everybody_at(kind, &[Http::Two]);
    }
}

/// Both ends take at least as long as the handler does, and not longer than the client waited.
#[track_caller]
fn response_times_fit(kind: Kind, http: Http) {
    const HANDLER_MS: f64 = 50.0;
    let agent = Agent::start();
    let server = Server::start(kind);
    known(&agent, &server);
    let asks = vec![site::get("/slow"); 10];
    let (program, answers) = talk(client::Kind::Httpx, http, &server, &asks);
    let mut asked = Asked::default();
    asked.add(&program, http, &asks, &answers);
    expect(&agent, &server, &asked);
    let longest = answers.iter().map(|answer| ms(answer.took_ns)).fold(0.0, f64::max);
    wait::settle(wait::SETTLE, "response times", || {
        for role in Role::BOTH {
            let endpoints = server.at().endpoints(agent.api(), role);
            let times = &endpoints[0]["response_time_ms"];
            let (least, most) = (number(&times["min"]), number(&times["max"]));
            // A timer may fire a little early by another clock than the hooks'.
            if least < HANDLER_MS - 1.5 || most > longest + 0.5 {
                return Err(format!(
                    "{role:?}: {least} to {most} ms, the client waited {longest} at most"
                ));
            }
        }
        Ok(())
    });
    agent.stop();
}

#[test]
fn response_times_of_node_lie_between_the_handlers_and_the_clients() {
    need!(Agent, Root, Openssl, Node, Venv);
    response_times_fit(Kind::NodeHttp2, Http::Two);
}

#[test]
fn response_times_of_asyncio_lie_between_the_handlers_and_the_clients() {
    need!(Agent, Root, Openssl, Python, Venv);
    response_times_fit(Kind::Asyncio, Http::One);
}
