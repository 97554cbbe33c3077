//! Connections that are quiet for a while.

use std::time::Duration;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::need;
use perf_agent_tests::tls::client::Kind;
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::{Asked, Http, Talker, site};

use super::{client_known, expect};

/// Longer than the agent keeps anything that is only on its way.
const QUIET: Duration = Duration::from_secs(12);

#[test]
fn a_session_goes_on_after_a_pause() {
    need!(Agent, Root, Nginx, Openssl, Python, Venv, CurlGnutls, Node);
    let agent = Agent::start();
    let nginx = Nginx::start();
    let site = nginx.site(Tls::V13);
    client_known(&agent, Kind::Node);
    let mut talkers = vec![];
    for kind in [Kind::Httpx, Kind::HttpxAsync, Kind::GnuTls, Kind::Node] {
        talkers.extend(Http::BOTH.map(|http| (http, Talker::start(kind, http, &site))));
    }
    let mut asked = Asked::default();
    for round in 0..2 {
        for (http, talker) in &mut talkers {
            let answers = talker.ask_all(&site::asks());
            asked.add(&talker.program(), *http, &site::asks(), &answers);
        }
        if round == 0 {
            std::thread::sleep(QUIET); // the pause is what is tested
        }
    }
    for (_, talker) in talkers {
        talker.end();
    }
    expect(&agent, &site, &asked);
    let connections: std::collections::BTreeSet<u64> = site.accesses().iter().map(|line| line.connection).collect();
    assert_eq!(connections.len(), 8, "each client kept its connection");
    agent.stop();
}
