//! TLS: what programs say to each other before it is encrypted, held against the clients' and the servers' own books.
//!
//! Every exchange has to be there once in each role, with `tls: true` and the port of its socket, and nothing else on
//! that port: no ciphertext is taken for a message.

mod coverage;
mod ends;
mod idle;
mod kernels;
mod library;
mod load;
mod nss;
mod old;
mod openssl;
mod servers;
mod start;
mod truth;

use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::number;
use perf_agent_tests::child::run;
use perf_agent_tests::clock::{ms, tolerance_ms};
use perf_agent_tests::rows::{self, Bytes, Expect, Picture, Role};
use perf_agent_tests::tls::client::{Raw, RawTalker};
use perf_agent_tests::tls::nginx::{Nginx, Tls};
use perf_agent_tests::tls::{Asked, Http, Serves, Talker, client, site};
use perf_agent_tests::{need, wait};
use serde_json::Value;

/// Waits until the agent shows what was asked of the server, no more and no less.
#[track_caller]
fn expect(agent: &Agent, server: &dyn Serves, asked: &Asked) {
    wait::settle(wait::SETTLE, "the server's log is complete", || {
        asked.agrees(&server.log())
    });
    wait::settle(wait::SETTLE, "what was asked over TLS", || {
        let endpoints = agent.api().endpoints();
        let accounting = agent.api().accounting();
        differences(&endpoints, server, asked)
            .and_then(|()| rows::accounting_closes(&accounting))
            .map_err(|why| format!("{why}\n  {}", accounting["records"]))
    });
}

/// Shakes hands with the server, and waits until the agent says that it sees the server's TLS: of a file that no process
/// had mapped before, what is said first may be over when it is found.
#[track_caller]
fn known(agent: &Agent, server: &dyn Serves) {
    let mut command = Command::new(need::which("openssl").expect("it was asked for"));
    command
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{}", server.port()),
            "-CAfile",
        ])
        .arg(server.certificate());
    let said = run(command);
    assert_eq!(said.code, Some(0), "the server shakes hands: {}", said.error);
    let mut processes = perf_agent_tests::python::children(server.pid());
    processes.push(server.pid());
    covered(agent, &processes);
}

/// The same for a client with TLS of its own, at a server that nobody else asks.
#[track_caller]
fn client_known(agent: &Agent, kind: client::Kind) {
    let elsewhere = Nginx::start();
    let mut talker = Talker::start(kind, Http::One, &elsewhere.site(Tls::V13));
    talker.ask(&site::get("/hello"));
    covered(agent, &[talker.pid()]);
    talker.end();
}

/// The same for one that passes on what it is given.
#[track_caller]
fn raw_known(agent: &Agent, raw: Raw) {
    let elsewhere = Nginx::start();
    let mut talker = RawTalker::start(raw, &elsewhere.site(Tls::V13));
    talker.ask(&site::get("/hello"));
    covered(agent, &[talker.pid()]);
    talker.end();
}

/// Waits until one of these processes is covered.
#[track_caller]
fn covered(agent: &Agent, processes: &[u32]) {
    wait::settle(wait::SETTLE, "its TLS is covered", || {
        let found: Vec<Value> = processes.iter().flat_map(|&pid| of_process(agent, pid)).collect();
        if found.iter().any(|entry| entry["state"] == "covered") {
            Ok(())
        } else {
            Err(format!("{processes:?}: {found:?}"))
        }
    });
}

/// What the agent says of a process's TLS, whether anything else of the process is seen or not.
fn of_process(agent: &Agent, pid: u32) -> Vec<Value> {
    let services = agent.api().get("/api/v1/services");
    entries_of(&services, pid)
}

fn entries_of(value: &Value, pid: u32) -> Vec<Value> {
    let entries = value["tls"].as_array().into_iter().flatten();
    entries.filter(|entry| entry["pid"] == pid).cloned().collect()
}

/// Everything that is not as asked.
fn differences(endpoints: &[Value], server: &dyn Serves, asked: &Asked) -> Result<(), String> {
    let at = server.at();
    let mut wrong = vec![];
    let mut hold =
        |what: &str, result: Result<(), String>| wrong.extend(result.err().map(|why| format!("{what}: {why}")));
    let seen = Picture::seen(endpoints, &at, Role::Server);
    hold("server", Picture::expected(&asked.expected(), None).matches(&seen));
    for (program, expected, took_ns) in asked.by_client() {
        let of_program = of_program(endpoints, program);
        let seen = Picture::seen(&of_program, &at, Role::Client);
        hold(program, Picture::expected(&expected, None).matches(&seen));
        if took_ns > 0 {
            hold(program, took_no_longer(server, &of_program, took_ns, expected.len()));
        }
    }
    hold("bytes", bytes_add_up(endpoints, server, asked));
    let here = endpoints
        .iter()
        .filter(|endpoint| Role::BOTH.into_iter().any(|role| at.is(endpoint, role)));
    let plain: Vec<_> = here.filter(|endpoint| endpoint["tls"] != true).collect();
    if !plain.is_empty() {
        hold("not said to be TLS", Err(format!("{plain:?}")));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

/// The endpoints of programs of this name.
fn of_program(endpoints: &[Value], program: &str) -> Vec<Value> {
    let is = |endpoint: &&Value| {
        let exe = endpoint["service"]["exe"].as_str().unwrap_or_default();
        exe.rsplit('/').next() == Some(program)
    };
    endpoints.iter().filter(is).cloned().collect()
}

/// What the agent says that the client waited for is inside what the client says.
fn took_no_longer(server: &dyn Serves, of_program: &[Value], took_ns: u64, count: usize) -> Result<(), String> {
    let here = of_program
        .iter()
        .filter(|endpoint| server.at().is(endpoint, Role::Client));
    let seen: f64 = here.map(|endpoint| number(&endpoint["response_time_ms"]["sum"])).sum();
    let most = ms(took_ns) + tolerance_ms(ms(took_ns)) + 0.1 * count as f64;
    if seen <= most {
        Ok(())
    } else {
        Err(format!(
            "response times of {seen:.3} ms in all, the client says {:.3}",
            ms(took_ns)
        ))
    }
}

/// What one side sent the other one received, and it is more than the bodies.
fn bytes_add_up(endpoints: &[Value], server: &dyn Serves, asked: &Asked) -> Result<(), String> {
    let at = server.at();
    let bytes = |role| Picture::seen(endpoints, &at, role).bytes().unwrap_or_default();
    let [server, client] = Role::BOTH.map(bytes);
    let turned = Bytes {
        received: client.sent,
        sent: client.received,
    };
    let (least_received, least_sent) = asked.body_bytes();
    // A head has a few hundred bytes.
    let heads = 1000 * asked.len() as u64;
    let fits = |bytes, least| (least..=least + least / 100 + heads).contains(&bytes);
    if server == turned && fits(server.received, least_received) && fits(server.sent, least_sent) {
        Ok(())
    } else {
        let truth = format!("bodies of requests {least_received}, of answers {least_sent}");
        Err(format!("server {server:?}, client {client:?}, {truth}"))
    }
}

/// Exchanges of a role on the server's port, in all.
fn requests(agent: &Agent, server: &dyn Serves, role: Role) -> u64 {
    Picture::seen(&agent.api().endpoints(), &server.at(), role).requests()
}

/// Waits until both roles show exactly these.
#[track_caller]
fn expect_rows(agent: &Agent, server: &dyn Serves, expected: &[Expect]) {
    rows::expect_both(agent.api(), &server.at(), expected, None);
}
