//! Exchanges that end otherwise than with an answer, and connections that become something else.

use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::child::run;
use perf_agent_tests::need;
use perf_agent_tests::rows::{Expect, Picture, Role, answered};
use perf_agent_tests::tls::client;
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Asked, Http, Server, Serves, site};
use perf_agent_tests::wait;

use super::{expect, expect_rows, known};

fn curl(server: &dyn Serves, path: &str) -> Option<i32> {
    let mut command = Command::new(need::which("curl").expect("it was asked for"));
    command
        .args(["--silent", "--max-time", "0.5", "--output", "/dev/null", "--cacert"])
        .arg(server.certificate())
        .arg(format!("https://127.0.0.1:{}{path}", server.port()));
    run(command).code
}

/// The alert by which a TLS connection is closed is no answer. It goes before the socket's close, and the socket may be
/// closed by the other end first: so who gave up is not held against the truth here.
#[test]
fn requests_without_an_answer_are_not_answered() {
    need!(Agent, Root, Openssl, Python, Curl);
    let agent = Agent::start();
    let server = Server::start(Kind::Asyncio);
    for _ in 0..5 {
        assert_eq!(curl(&server, "/drop"), Some(52), "curl: an empty reply");
        assert_eq!(curl(&server, "/never"), Some(28), "curl: it took too long");
        assert_eq!(curl(&server, "/hello"), Some(0));
    }
    wait::settle(wait::SETTLE, "every request with its end", || {
        for role in Role::BOTH {
            let seen = Picture::seen(&agent.api().endpoints(), &server.at(), role);
            let given_up = seen.outcome("server_closed") + seen.outcome("client_aborted");
            if (seen.requests(), seen.outcome("answered"), given_up) != (15, 5, 10) {
                return Err(format!("{role:?}\n{seen}"));
            }
        }
        Ok(())
    });
    agent.stop();
}

/// curl is content, and may be gone, when it has as many bytes as the head told; the frame that ends the stream comes
/// behind them.
#[test]
fn an_answer_of_http2_is_over_when_it_has_the_length_that_was_told() {
    need!(Agent, Root, Openssl, Node, Curl);
    let agent = Agent::start();
    let server = Server::start(Kind::NodeHttp2Lengths);
    known(&agent, &server);
    for _ in 0..10 {
        assert_eq!(curl(&server, "/hello"), Some(0));
    }
    let exchange = Expect {
        protocol: "http/2",
        ..answered("GET /hello", 200)
    };
    expect_rows(&agent, &server, &exchange.times(10));
    agent.stop();
}

/// After 101 the connection speaks something else, whatever it looks like.
#[test]
fn a_websocket_is_one_exchange() {
    need!(Agent, Root, Openssl, Venv);
    let agent = Agent::start();
    let server = Server::start(Kind::Websocket);
    let mut client = Command::new(need::venv().join("bin/python"));
    client
        .arg(perf_agent_tests::python::client("tls_websocket.py"))
        .arg(server.port().to_string())
        .arg(server.certificate());
    let said = run(client);
    assert_eq!((said.code, said.out.trim()), (Some(0), "40"), "{}", said.error);
    expect_rows(&agent, &server, &answered("GET /talk", 101).times(2));
    agent.stop();
}

/// nginx puts the next connection's session where the last one's was. The end of a Unix socket is told by nothing.
#[test]
fn a_session_over_a_unix_socket_is_not_taken_for_those_after_it() {
    const TIMES: usize = 6;
    need!(Agent, Root, Nginx, Openssl, Curl);
    let agent = Agent::start();
    let nginx = Nginx::start();
    let site = nginx.site(Tls::V13);
    known(&agent, &site);
    let mut asked = Asked::default();
    let ask = [site::get("/hello")];
    for http in [Http::Two, Http::One] {
        for _ in 0..TIMES {
            let mut local = Command::new(need::which("curl").expect("it was asked for"));
            local.args(["--silent", "--show-error", "--insecure", "--unix-socket"]);
            local.arg(site.socket()).arg("https://localhost/local");
            local.arg(if http == Http::Two { "--http2" } else { "--http1.1" });
            let said = run(local);
            assert_eq!(said.code, Some(0), "{}", said.error);
        }
        for _ in 0..TIMES {
            asked.add("curl", http, &ask, &client::curl(http, &site, &ask));
        }
    }
    expect(&agent, &site, &asked);
    wait::settle(wait::SETTLE, "those over the Unix socket end", || {
        let open = agent.api().accounting()["connections"]["open"].clone();
        if open.as_u64().is_some_and(|open| open < 2 * TIMES as u64) {
            Ok(())
        } else {
            Err(format!("{open} connections are open"))
        }
    });
    agent.stop();
}
