//! NSS, whose calls are those by which its programs read and write everything: files and sockets without TLS too.

use perf_agent_tests::agent::Agent;
use perf_agent_tests::need;
use perf_agent_tests::rows::{self, Picture, Role};
use perf_agent_tests::tls::client::curl;
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Http, Server, Serves, site};
use perf_agent_tests::wait;

use super::known;

/// A server's session has its keys before the connection is there: NSS makes it from a listening socket's.
#[test]
fn selfserv_by_nss_and_curl() {
    const TIMES: usize = 5;
    need!(Agent, Root, Openssl, Nss, Curl);
    let agent = Agent::start();
    let server = Server::start(Kind::Selfserv);
    known(&agent, &server);
    let mut received = 0;
    for _ in 0..TIMES {
        let [answer] = curl(Http::One, &server, &[site::get("/hello")])[..] else {
            panic!()
        };
        assert_eq!(answer.status, 200);
        received += answer.body;
    }
    wait::settle(wait::SETTLE, "both ends", || {
        let endpoints = agent.api().endpoints();
        let [server, client] = Role::BOTH.map(|role| Picture::seen(&endpoints, &server.at(), role));
        for seen in [&server, &client] {
            if (seen.requests(), seen.outcome("answered"), seen.operations()) != (5, 5, vec!["GET /hello"]) {
                return Err(format!("server:\n{server}client:\n{client}"));
            }
        }
        let (sent, got) = (
            server.bytes().unwrap_or_default().sent,
            client.bytes().unwrap_or_default().received,
        );
        if sent != got || sent < received {
            return Err(format!(
                "{received} bytes of bodies, server:\n{server}client:\n{client}"
            ));
        }
        rows::accounting_closes(&agent.api().accounting())
    });
    agent.stop();
}
