//! HTTP/2 in clear text: many requests at once on one connection, against the access log.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Command;

use perf_agent_tests::agent::{self, Agent};
use perf_agent_tests::child::{Child, Workdir, run};
use perf_agent_tests::need;
use perf_agent_tests::nginx::{LARGE, Nginx};
use perf_agent_tests::python::Server;
use perf_agent_tests::rows::{self, Expect, Role, answered};
use perf_agent_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

/// The client's requests: small ones, errors, an upload and large answers between them.
fn requests() -> Vec<(&'static str, &'static str, u16)> {
    let small = [
        ("GET", "/hello", 200),
        ("GET", "/gone", 410),
        ("HEAD", "/hello", 200),
        ("GET", "/missing", 404),
    ];
    let mut requests: Vec<_> = small.into_iter().cycle().take(1200).collect();
    requests.insert(400, ("GET", "/files/large", 200));
    requests.insert(500, ("POST", "/missing", 404));
    requests.insert(800, ("GET", "/files/large", 200));
    requests
}

fn ask(nginx: &Nginx, at_once: u32, requests: &[(&str, &str, u16)]) {
    let mut command = Command::new(need::venv().join("bin/python"));
    command
        .arg(perf_agent_tests::python::source("h2_client.py"))
        .args([nginx.h2_port().to_string(), at_once.to_string()]);
    for (method, path, _) in requests {
        command.args([method, path]);
    }
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.error);
    let statuses = said
        .out
        .lines()
        .map(|line| line.split(' ').nth(2).and_then(|status| status.parse().ok()));
    let expected = requests.iter().map(|(_, _, status)| Some(*status));
    assert!(statuses.eq(expected), "{}", said.out);
}

#[test]
fn many_streams_on_one_connection_are_exchanges_of_their_own() {
    need!(Agent, Root, Nginx, Venv);
    let nginx = Nginx::start(None);
    let requests = requests();
    let expected: Vec<Expect> = requests
        .iter()
        .map(|(method, path, status)| Expect {
            protocol: "http/2",
            ..answered(&format!("{method} {path}"), *status)
        })
        .collect();
    for at_once in [1, 100] {
        let agent = Agent::start();
        ask(&nginx, at_once, &requests);
        rows::expect_both(agent.api(), &nginx.h2_at(), &expected, None);
        let endpoints = |role| nginx.h2_at().endpoints(agent.api(), role);
        let [server, client] = [Role::Server, Role::Client].map(endpoints);
        let bytes = |endpoints: &[Value], way: &str| -> u64 {
            let large = endpoints
                .iter()
                .filter(|endpoint| endpoint["operation"] == "GET /files/large");
            large.filter_map(|endpoint| endpoint["bytes"][way].as_u64()).sum()
        };
        let sent = bytes(&server, "sent");
        assert_eq!(sent, bytes(&client, "received"), "what was sent was received");
        assert!(
            sent > 2 * LARGE && sent < 2 * LARGE + LARGE / 100,
            "{sent} bytes with their frames' headers"
        );
        let books = agent.api().accounting();
        assert_eq!(books["records"]["lost"], 0, "{books}");
        agent.stop();
    }
}

fn other_client(port: u16, words: &[&str]) -> Command {
    let mut command = Command::new(need::venv().join("bin/python"));
    command
        .arg(perf_agent_tests::python::source("h2_before.py"))
        .arg(port.to_string())
        .args(words);
    command
}

/// What the client was answered, line by line.
fn answers<'a>(lines: impl Iterator<Item = &'a str>, protocol: &'static str) -> Vec<Expect> {
    let answer = |line: &str| {
        let (path, status) = line.split_once(' ').expect("a path and a status");
        Expect {
            protocol,
            ..answered(&format!("GET {path}"), status.parse().expect("a status"))
        }
    };
    lines.map(answer).collect()
}

#[test]
fn a_connection_that_was_there_before_is_joined() {
    need!(Agent, Root, Nginx, Venv);
    let nginx = Nginx::start(None);
    let directory = Workdir::new();
    let mut client = Child::start_piped("before", other_client(nginx.h2_port(), &["50"]), directory.path());
    let mut lines = BufReader::new(client.take_stdout()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("ready"), "{}", client.log());
    let agent = Agent::start();
    writeln!(client.take_stdin()).expect("the client waits");
    let lines: Vec<String> = lines.collect();
    assert_eq!((client.wait().success(), lines.len()), (true, 50), "{}", client.log());
    let expected = answers(lines.iter().map(String::as_str), "http/2");
    rows::expect_both(agent.api(), &nginx.h2_at(), &expected, None);
    agent.stop();
}

#[test]
fn an_upgrade_from_http_1_is_answered_in_http_2() {
    need!(Agent, Root, Venv);
    let agent = Agent::start();
    let server = Server::h2_upgrade();
    let said = run(other_client(server.port(), &["20", "upgrade"]));
    assert_eq!(said.code, Some(0), "{}", said.error);
    let lines: Vec<&str> = said.out.lines().collect();
    let (first, rest) = lines.split_first().expect("there are answers");
    assert_eq!((*first, rest.len()), ("/hello 200", 20));
    let mut expected = answers(std::iter::once(*first), "http/1.1");
    expected.extend(answers(rest.iter().copied(), "http/2"));
    rows::expect_both(agent.api(), &server.at(), &expected, None);
    agent.stop();
}

/// Header blocks are compressed, and what in them is a secret is blanked: the rest of them has to be read all the same.
#[test]
fn a_recording_of_http_2_replays_to_what_was_asked() {
    need!(Agent, Root, Nginx, Venv);
    let nginx = Nginx::start(None);
    let directory = Workdir::new();
    let file = directory.join("recording");
    let mut command = agent::command(["record"]);
    command.arg(&file).args(["--port", &nginx.h2_port().to_string()]);
    let mut recorder = Child::start("record", command, directory.path());
    wait::wait_until(wait::START, "the recording begins", || {
        std::fs::metadata(&file).is_ok_and(|file| file.len() > 0).then_some(())
    });
    let requests = requests();
    ask(&nginx, 100, &requests);
    let mut before = 0;
    wait::wait_until(wait::SETTLE, "the traffic is recorded", || {
        let length = std::fs::metadata(&file).map_or(0, |file| file.len());
        let still = length == before && length > 100_000;
        before = length;
        std::thread::sleep(std::time::Duration::from_millis(300)); // the recorder writes several times a second
        still.then_some(())
    });
    assert_eq!(recorder.end(Signal::INT).code(), Some(0), "{}", recorder.log());
    let mut command = agent::command(["replay"]);
    command.arg(&file);
    let replay = Agent::serving(command);
    let expected: Vec<Expect> = requests
        .iter()
        .map(|(method, path, status)| Expect {
            protocol: "http/2",
            ..answered(&format!("{method} {path}"), *status)
        })
        .collect();
    rows::expect_both(replay.api(), &nginx.h2_at(), &expected, None);
    replay.stop();
}

/// Records for each 100 MB at both ends, at most. One for each frame's header would be 36,000.
const RECORDS: u64 = 1000;

#[test]
fn downloads_are_told_in_few_records_and_to_the_byte() {
    need!(Agent, Root, Nginx, Venv);
    for (at_once, downloads) in [(1, 2), (4, 4)] {
        let nginx = Nginx::start(None);
        let mut requests = vec![("GET", "/files/large", 200); downloads];
        requests.insert(0, ("GET", "/hello", 200));
        let expected: Vec<Expect> = requests
            .iter()
            .map(|(method, path, status)| Expect {
                protocol: "http/2",
                ..answered(&format!("{method} {path}"), *status)
            })
            .collect();
        let agent = Agent::start_with(["--port", &nginx.h2_port().to_string()]);
        ask(&nginx, at_once, &requests);
        // nginx counts the headers of its frames as well.
        let bytes = || nginx.log().iter().map(|line| line.bytes_sent).sum::<u64>();
        wait::settle(wait::SETTLE, "the log", || match nginx.log().len() {
            lines if lines == requests.len() => Ok(()),
            lines => Err(format!("{lines} lines")),
        });
        rows::expect_both(agent.api(), &nginx.h2_at(), &expected, None);
        for (role, way) in [(Role::Server, "sent"), (Role::Client, "received")] {
            let endpoints = nginx.h2_at().endpoints(agent.api(), role);
            let seen: u64 = endpoints
                .iter()
                .filter_map(|endpoint| endpoint["bytes"][way].as_u64())
                .sum();
            assert_eq!(seen, bytes(), "{role:?}, {at_once} at once");
        }
        let books = agent.api().accounting();
        let most = RECORDS * (downloads as u64 * LARGE).div_ceil(100_000_000);
        let records = books["records"]["received"].as_u64();
        assert!(
            records.is_some_and(|records| records <= most),
            "{at_once} at once: {books}"
        );
        assert_eq!(books["records"]["lost"], 0, "{books}");
        agent.stop();
    }
}
