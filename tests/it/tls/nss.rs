//! NSS, whose calls are those by which its programs read and write everything: files and sockets without TLS too.

use perf_agent_tests::agent::Agent;
use perf_agent_tests::need;
use perf_agent_tests::tls::client::{Client, Raw, RawTalker};
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::{Asked, Http, site};

use super::{covered, expect};

/// `tstclnt` writes the answers to its standard output by the call that it writes requests to the session with: these are
/// no messages.
#[test]
fn nginx_and_tstclnt_by_nss() {
    need!(Agent, Root, Nginx, Openssl, Nss);
    let agent = Agent::start();
    let nginx = Nginx::start();
    let elsewhere = Nginx::start();
    let mut first = RawTalker::start(Raw::Tstclnt, &elsewhere.site(Tls::V13));
    first.ask(&site::get("/hello"));
    covered(&agent, &[first.pid()]);
    first.end();
    for site in [Tls::V12, Tls::V13].map(|tls| nginx.site(tls)) {
        let mut asked = Asked::default();
        Client::Raw(Raw::Tstclnt).ask(Http::One, &site, &mut asked);
        expect(&agent, &site, &asked);
    }
    agent.stop();
}
