//! What is also run inside virtual machines of several kernels; see [`crate::vm`].

use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::child::run;
use perf_agent_tests::need;
use perf_agent_tests::python::SYSTEM;
use perf_agent_tests::tls::client::Client;
use perf_agent_tests::tls::nginx::{Nginx, Settings, Tls};
use perf_agent_tests::tls::{Asked, Http};

use super::expect;

/// TLS does not depend on how sockets are observed.
#[test]
fn vm_tls_is_seen_with_every_backend() {
    need!(Agent, Root, Nginx, Openssl, Curl, Wget);
    let mut tried = 0;
    for backend in ["tracepoint", "fentry", "kprobe"] {
        // Why one is not there is for others to say.
        let Ok(agent) = Agent::try_start_with(["--backend", backend]) else {
            continue;
        };
        tried += 1;
        let nginx = Nginx::start();
        for tls in [Tls::V12, Tls::V13] {
            let site = nginx.site(tls);
            let mut asked = Asked::default();
            Client::Curl.ask(Http::One, &site, &mut asked);
            Client::Curl.ask(Http::Two, &site, &mut asked);
            Client::Wget.ask(Http::One, &site, &mut asked);
            expect(&agent, &site, &asked);
        }
        agent.stop();
    }
    assert!(tried > 0, "no backend works on this kernel");
}

/// Whether the kernel can encrypt. To ask loads its module.
fn has_kernel_tls() -> bool {
    const ASK: &str = "import errno, socket, sys
try: socket.socket().setsockopt(socket.IPPROTO_TCP, 31, b'tls')
except OSError as error: sys.exit(error.errno == errno.ENOENT)";
    let mut command = Command::new(SYSTEM);
    command.args(["-c", ASK]);
    run(command).code == Some(0)
}

/// Connections whose sending side was handed to the kernel so far.
fn handed_over() -> u64 {
    let text = std::fs::read_to_string("/proc/net/tls_stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TlsTxSw"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// OpenSSL hands the keys to the kernel, and what is written to the socket is in clear text: it is counted once.
#[test]
fn vm_the_kernels_own_tls_is_not_counted_twice() {
    need!(Agent, Root, Nginx, Openssl, Curl, Python);
    if !has_kernel_tls() {
        need::note("this kernel has no TLS of its own (CONFIG_TLS)");
        return;
    }
    let before = handed_over();
    let agent = Agent::start();
    let nginx = Nginx::start_with(&Settings {
        kernel_tls: true,
        ..Settings::default()
    });
    for tls in [Tls::V12, Tls::V13] {
        let site = nginx.site(tls);
        let mut asked = Asked::default();
        Client::Curl.ask(Http::One, &site, &mut asked);
        Client::Curl.ask(Http::Two, &site, &mut asked);
        expect(&agent, &site, &asked);
    }
    agent.stop();
    if handed_over() == before {
        need::note("this OpenSSL hands nothing to the kernel (it is built without it)");
    }
}
