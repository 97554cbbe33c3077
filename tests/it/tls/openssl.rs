//! OpenSSL's own server and client.

use std::process::Command;

use perf_agent_tests::agent::{Agent, free_port};
use perf_agent_tests::child::{Workdir, run};
use perf_agent_tests::need;
use perf_agent_tests::rows::{self, Picture, Role, answered};
use perf_agent_tests::tls::nginx::{Nginx, Settings, Tls};
use perf_agent_tests::tls::{Certificate, Server, Serves};
use perf_agent_tests::wait;

use super::expect_rows;

/// `-WWW` sends files with a head, and closes. It reads and writes by OpenSSL's BIO layer, which calls none of the functions
/// that have a name.
#[test]
fn s_server_with_files() {
    need!(Agent, Root, Openssl, Curl);
    let agent = Agent::start();
    let (directory, port) = (Workdir::new(), free_port());
    let certificate = Certificate::new(directory.path());
    std::fs::write(directory.join("page"), vec![b'p'; 20_000]).expect("a file can be written");
    let mut command = Command::new(need::which("openssl").expect("it was asked for"));
    command
        .args(["s_server", "-WWW", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
        .arg("-cert")
        .arg(&certificate.file)
        .arg("-key")
        .arg(&certificate.key)
        .current_dir(directory.path());
    let server = Server::running("s_server", command, port, certificate, directory);
    for _ in 0..5 {
        let mut curl = Command::new(need::which("curl").expect("it was asked for"));
        curl.args(["--silent", "--show-error", "--http1.0", "--cacert"])
            .arg(server.certificate())
            .arg(format!("https://127.0.0.1:{port}/page"));
        let said = run(curl);
        assert_eq!((said.code, said.out.len()), (Some(0), 20_000), "{}", said.error);
    }
    wait::settle(wait::SETTLE, "both ends", || {
        let endpoints = agent.api().endpoints();
        let [server, client] = [Role::Server, Role::Client].map(|role| Picture::seen(&endpoints, &server.at(), role));
        let whole = |picture: &Picture| {
            let bytes = picture.bytes().unwrap_or_default();
            (picture.requests(), picture.outcome("answered")) == (5, 5) && bytes.sent.max(bytes.received) >= 5 * 20_000
        };
        if !whole(&server) || !whole(&client) {
            return Err(format!("server:\n{server}client:\n{client}"));
        }
        rows::accounting_closes(&agent.api().accounting())
    });
    agent.stop();
}

/// A session is resumed, and the request comes before the handshake is over.
#[test]
fn a_request_in_early_data_is_counted() {
    const REQUEST: &str = "GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    need!(Agent, Root, Nginx, Openssl);
    let agent = Agent::start();
    let nginx = Nginx::start_with(&Settings {
        early_data: true,
        ..Settings::default()
    });
    let site = nginx.site(Tls::V13);
    let directory = Workdir::new();
    let [session, request] = ["session", "request"].map(|name| directory.join(name));
    std::fs::write(&request, REQUEST).expect("a file can be written");
    let client = |input: &str, more: &str| {
        let script = format!(
            "{input} | openssl s_client -tls1_3 -connect 127.0.0.1:{} -CAfile {} -ign_eof {more}",
            site.port(),
            site.certificate().display(),
        );
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]);
        let said = run(shell);
        assert!(said.out.contains("HTTP/1.1 200"), "{}", said.out);
        said.out
    };
    let (session, request) = (session.display(), request.display());
    client(&format!("cat {request}"), &format!("-sess_out {session}"));
    let said = client("true", &format!("-sess_in {session} -early_data {request}"));
    assert!(said.contains("Early data was accepted"), "{said}");
    expect_rows(&agent, &site, &answered("GET /hello", 200).times(2));
    agent.stop();
}
