//! Libraries at places of their own: replaced while they are used, and in a file system that the host does not have.

use std::path::Path;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::child::Workdir;
use perf_agent_tests::need;
use perf_agent_tests::tls::client::{self, Client};
use perf_agent_tests::tls::nginx::{Nginx, Settings, Tls};
use perf_agent_tests::tls::{Asked, Http, Talker, room, site};

use super::{expect, expect_rows, known};

/// Copies of OpenSSL's libraries.
fn copies(directory: &Path) {
    for name in ["libssl.so.3", "libcrypto.so.3"] {
        let places = [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib64",
            "/usr/lib",
        ];
        let found = places
            .iter()
            .map(|place| Path::new(place).join(name))
            .find(|path| path.exists());
        let found = found.unwrap_or_else(|| panic!("nginx needs {name}"));
        std::fs::copy(found, directory.join(name)).expect("a library can be copied");
    }
}

/// As a package manager does: a new file takes the place of the old one, which stays as long as somebody has it.
fn replace(directory: &Path) {
    for name in ["libssl.so.3", "libcrypto.so.3"] {
        let (old, new) = (directory.join(name), directory.join(format!("{name}.new")));
        std::fs::copy(&old, &new).expect("a library can be copied");
        std::fs::rename(new, old).expect("a file can be replaced");
    }
}

#[test]
fn a_library_that_is_replaced_is_covered_before_and_after() {
    need!(Agent, Root, Nginx, Openssl, Venv, Curl);
    let libraries = Workdir::new();
    copies(libraries.path());
    let settings = Settings {
        libraries: Some(libraries.path().to_owned()),
        ..Settings::default()
    };
    let agent = Agent::start();
    let old = Nginx::start_with(&settings);
    let old_site = old.site(Tls::V13);
    known(&agent, &old_site);
    let mut asked = Asked::default();
    let mut talker = Talker::start(client::Kind::Httpx, Http::One, &old_site);
    let mut ask = |asked: &mut Asked| {
        let answers = talker.ask_all(&site::asks());
        asked.add(&talker.program(), Http::One, &site::asks(), &answers);
    };
    ask(&mut asked);
    Client::Curl.ask(Http::Two, &old_site, &mut asked);
    replace(libraries.path());
    ask(&mut asked);
    Client::Curl.ask(Http::Two, &old_site, &mut asked);
    expect(&agent, &old_site, &asked);

    let new = Nginx::start_with(&settings);
    let new_site = new.site(Tls::V12);
    known(&agent, &new_site);
    let mut asked_new = Asked::default();
    Client::Curl.ask(Http::One, &new_site, &mut asked_new);
    Client::Curl.ask(Http::Two, &new_site, &mut asked_new);
    expect(&agent, &new_site, &asked_new);
    agent.stop();

    // The same for an agent that finds the old file gone.
    let agent = Agent::start();
    for site in [old_site, new_site] {
        known(&agent, &site);
        let mut asked = Asked::default();
        Client::Curl.ask(Http::One, &site, &mut asked);
        expect_rows(&agent, &site, &asked.expected());
    }
    agent.stop();
}

#[test]
fn a_server_in_a_file_system_of_its_own_is_covered() {
    need!(Agent, Root, Nginx, Openssl, Unshare, Curl);
    assert!(!Path::new(room::LIBRARIES).exists(), "the host has no such place");
    let agent = Agent::start();
    let nginx = room::nginx();
    known(&agent, &nginx.site(Tls::V12));
    for tls in [Tls::V12, Tls::V13] {
        let site = nginx.site(tls);
        let mut asked = Asked::default();
        Client::Curl.ask(Http::One, &site, &mut asked);
        Client::Curl.ask(Http::Two, &site, &mut asked);
        expect(&agent, &site, &asked);
    }
    agent.stop();
    // It was there before this one.
    let agent = Agent::start();
    let site = nginx.site(Tls::V13);
    known(&agent, &site);
    let mut asked = Asked::default();
    Client::Curl.ask(Http::Two, &site, &mut asked);
    expect_rows(&agent, &site, &asked.expected());
    agent.stop();
}
