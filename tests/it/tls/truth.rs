//! The servers and clients against each other, without the agent: what they put down is the truth of the other tests.

use perf_agent_tests::need;
use perf_agent_tests::tls::client::{self, Client};
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::server::Kind;
use perf_agent_tests::tls::{Asked, Http, Server, Serves, room};
use perf_agent_tests::wait;

#[track_caller]
fn agree(server: &dyn Serves, versions: &[Http], clients: &[Client]) {
    let mut asked = Asked::default();
    for client in clients {
        for &http in versions.iter().filter(|http| client.speaks(**http)) {
            client.ask(http, server, &mut asked);
        }
    }
    wait::settle(wait::SETTLE, "the log has what the clients asked for", || {
        asked.agrees(&server.log())
    });
}

#[test]
fn servers_and_clients_agree() {
    need!(
        Openssl, Nginx, Curl, Wget, GnutlsCli, CurlGnutls, H2load, Node, Python, Venv, Go
    );
    let go = [Client::Talker(client::Kind::Go)];
    let clients: Vec<Client> = Client::LIBRARIES.into_iter().chain(go).collect();
    let nginx = Nginx::start();
    agree(&nginx.site(Tls::V12), &Http::BOTH, &clients);
    agree(&nginx.site(Tls::V13), &Http::BOTH, &[Client::Curl]);
    let two = [Client::Curl, Client::Talker(client::Kind::GnuTls)];
    for kind in [
        Kind::NodeHttp2,
        Kind::Hypercorn,
        Kind::Granian,
        Kind::Go,
        Kind::GoStripped,
    ] {
        agree(&Server::start(kind), &Http::BOTH, &two);
    }
    for kind in [Kind::NodeHttps, Kind::Asyncio, Kind::Threads, Kind::Uvicorn] {
        agree(&Server::start(kind), &[Http::One], &two);
    }
}

#[test]
fn a_server_in_a_file_system_of_its_own_answers() {
    need!(Root, Openssl, Nginx, Curl, Unshare);
    let nginx = room::nginx();
    agree(&nginx.site(Tls::V13), &Http::BOTH, &[Client::Curl]);
}
