//! OpenSSL's own server, and the kernel's TLS.

use std::process::Command;

use perf_agent_tests::agent::{Agent, free_port};
use perf_agent_tests::child::{Workdir, run};
use perf_agent_tests::need;
use perf_agent_tests::rows::{Picture, Role, answered};
use perf_agent_tests::tls::client::{Client, Kind};
use perf_agent_tests::tls::nginx::{Nginx, Settings, Tls};
use perf_agent_tests::tls::{Asked, Certificate, Http, Server, Serves};

use super::{expect, expect_rows};

/// `-WWW` sends files with a head, and closes.
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
    expect_rows(&agent, &server, &answered("GET /page", 200).http10().times(5));
    let endpoints = agent.api().endpoints();
    for role in Role::BOTH {
        let bytes = Picture::seen(&endpoints, &server.at(), role)
            .bytes()
            .unwrap_or_default();
        assert!(bytes.received + bytes.sent > 5 * 20_000, "{bytes:?}");
    }
    agent.stop();
}

/// OpenSSL hands the keys to the kernel: the socket is written to in clear text.
#[test]
fn the_kernels_tls_is_not_counted_twice() {
    need!(Agent, Root, Nginx, Openssl, Curl, Venv);
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    if !available.split_whitespace().any(|name| name == "tls") {
        need::note("this kernel has no TLS of its own (no `tls` in net.ipv4.tcp_available_ulp)");
        return;
    }
    let agent = Agent::start();
    let nginx = Nginx::start_with(&Settings {
        kernel_tls: true,
        ..Settings::default()
    });
    for tls in [Tls::V12, Tls::V13] {
        let site = nginx.site(tls);
        let mut asked = Asked::default();
        for http in Http::BOTH {
            Client::Curl.ask(http, &site, &mut asked);
            Client::Talker(Kind::Httpx).ask(http, &site, &mut asked);
        }
        expect(&agent, &site, &asked);
    }
    agent.stop();
}
