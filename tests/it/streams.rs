//! Answers that go on: WebSocket and server-sent events, against what their clients know.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::{number, whole};
use perf_agent_tests::child::{Child, Workdir, run};
use perf_agent_tests::need;
use perf_agent_tests::python::{Server, source};
use perf_agent_tests::rows::{self, Role};
use perf_agent_tests::wait;
use serde_json::Value;

fn client(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(need::venv().join("bin/python"));
    command
        .arg(source("streams_client.py"))
        .arg(server.port().to_string())
        .args(words);
    command
}

/// The endpoint of an operation at one end, if it is there.
fn endpoint(agent: &Agent, server: &Server, role: Role, operation: &str) -> Value {
    let endpoints = server.at().endpoints(agent.api(), role);
    let found = endpoints
        .into_iter()
        .find(|endpoint| endpoint["operation"] == operation);
    found.unwrap_or_default()
}

/// What a stream's end received and sent.
fn received_and_sent(counted: &Value, role: Role) -> [u64; 2] {
    let [received, sent] = ["received", "sent"].map(|way| counted[way].as_u64().unwrap_or(u64::MAX));
    match role {
        Role::Client => [received, sent],
        Role::Server => [sent, received],
    }
}

#[test]
fn a_websocket_is_a_stream_as_long_as_it_is_open() {
    need!(Agent, Root, Venv);
    let agent = Agent::start();
    let server = Server::streams();
    let directory = Workdir::new();
    let lengths = ["0", "5", "125", "126", "3000", "100000", "7"];
    let command = client(&server, &[&["chat"], &lengths[..]].concat());
    let mut child = Child::start_piped("chat", command, directory.path());
    let mut lines = BufReader::new(child.take_stdout()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("open"), "{}", child.log());
    wait::settle(wait::SETTLE, "both ends of it are open", || {
        let list = agent.api().get("/api/v1/streams?kind=websocket");
        let streams = list["streams"].as_array().cloned().unwrap_or_default();
        let ends: Vec<_> = streams
            .iter()
            .map(|stream| stream["role"].as_str().unwrap_or_default())
            .collect();
        if ends.len() == 2 && ends.contains(&"server") && ends.contains(&"client") {
            Ok(())
        } else {
            Err(list.to_string())
        }
    });
    for role in Role::BOTH {
        let endpoint = endpoint(&agent, &server, role, "GET /chat");
        assert_eq!(endpoint["statuses"], serde_json::json!({"101": 1}), "{endpoint}");
        assert_eq!(whole(&endpoint["concurrency"]["current"]), 0, "{endpoint}");
    }
    drop(child.take_stdin());
    let log: Value = serde_json::from_str(&lines.next().unwrap_or_default()).expect("the client's log");
    assert!(child.wait().success(), "{}", child.log());
    let truth = received_and_sent(&log, Role::Client);
    for role in Role::BOTH {
        wait::settle(wait::SETTLE, "it is counted to its end", || {
            let endpoint = endpoint(&agent, &server, role, "GET /chat");
            let streams = &endpoint["streams"];
            let seen = received_and_sent(&streams["bytes"], role);
            let counts = ["open", "opened", "closed", "errors"].map(|name| streams[name].as_u64());
            if counts == [Some(0), Some(1), Some(1), Some(0)]
                && seen == truth
                && whole(&endpoint["response_time_ms"]["count"]) == 0
                && whole(&endpoint["time_to_first_byte_ms"]["count"]) == 1
                && number(&streams["duration_ms"]["max"]) > 0.0
            {
                Ok(())
            } else {
                Err(format!("{}: {log}, seen {endpoint}", role.name()))
            }
        });
        // Each message was seen, or they are said not to have been: a large one, in many pieces, hides what follows.
        let messages = &endpoint(&agent, &server, role, "GET /chat")["streams"]["messages"];
        if !messages.is_null() {
            let expected = ["messages_received", "messages_sent"].map(|name| whole(&log[name]));
            assert_eq!(received_and_sent(messages, role), expected, "{messages}");
        }
    }
    rows::accounting_closes(&agent.api().accounting()).unwrap_or_else(|why| panic!("{why}"));
    agent.stop();
}

#[test]
fn the_messages_of_a_websocket_are_counted() {
    need!(Agent, Root, Venv);
    let agent = Agent::start();
    let server = Server::streams();
    let directory = Workdir::new();
    let lengths = ["40"; 50];
    let command = client(&server, &[&["chat"], &lengths[..]].concat());
    let mut child = Child::start_piped("chat", command, directory.path());
    drop(child.take_stdin());
    assert!(child.wait().success(), "{}", child.log());
    for role in Role::BOTH {
        wait::settle(wait::SETTLE, "its messages", || {
            let endpoint = endpoint(&agent, &server, role, "GET /chat");
            let messages = received_and_sent(&endpoint["streams"]["messages"], role);
            if messages == [100, 50] && endpoint["streams"]["closed"] == 1 {
                Ok(())
            } else {
                Err(endpoint.to_string())
            }
        });
    }
    agent.stop();
}

#[test]
fn server_sent_events_are_a_stream_and_the_connection_goes_on() {
    need!(Agent, Root, Venv);
    let agent = Agent::start();
    let server = Server::streams();
    let said = run(client(&server, &["events", "60"]));
    assert_eq!(said.code, Some(0), "{}", said.error);
    let log: Value = serde_json::from_str(said.out.trim()).expect("the client's log");
    for role in Role::BOTH {
        wait::settle(wait::SETTLE, "it is counted to its end", || {
            let events = endpoint(&agent, &server, role, "GET /events/{id}");
            let hello = endpoint(&agent, &server, role, "GET /hello");
            let streams = &events["streams"];
            let [bytes, _] = received_and_sent(&streams["bytes"], role);
            let duration = streams["duration_ms"]["max"].as_f64().unwrap_or_default();
            if streams["closed"] == 1
                && bytes == whole(&log["received"])
                && duration > 590.0
                && events["response_time_ms"]["count"] == 0
                && hello["response_time_ms"]["count"] == 1
            {
                Ok(())
            } else {
                Err(format!("{}: {log}, seen {events} {hello}", role.name()))
            }
        });
    }
    rows::accounting_closes(&agent.api().accounting()).unwrap_or_else(|why| panic!("{why}"));
    agent.stop();
}

#[test]
fn a_websocket_through_http2_is_a_stream_beside_its_requests() {
    need!(Agent, Root, Venv);
    let agent = Agent::start();
    let server = Server::h2_streams();
    let directory = Workdir::new();
    let mut command = Command::new(need::venv().join("bin/python"));
    command
        .arg(source("h2_websocket.py"))
        .arg(server.port().to_string())
        .arg("5");
    let mut child = Child::start_piped("h2_websocket", command, directory.path());
    let mut lines = BufReader::new(child.take_stdout()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("open"), "{}", child.log());
    wait::settle(wait::SETTLE, "both ends of it are open", || {
        let list = agent.api().get("/api/v1/streams?kind=websocket");
        let streams = list["streams"].as_array().map_or(0, Vec::len);
        if streams == 2 { Ok(()) } else { Err(list.to_string()) }
    });
    drop(child.take_stdin());
    assert!(child.wait().success(), "{}", child.log());
    // Five messages with their masks and a goodbye; two answers to each, and a goodbye. Beside them, DATA frames' heads.
    let payloads = [5 * 2 * 12 + 4, 5 * 16 + 8];
    for role in Role::BOTH {
        wait::settle(wait::SETTLE, "it is counted to its end", || {
            let chat = endpoint(&agent, &server, role, "CONNECT /chat");
            let hello = endpoint(&agent, &server, role, "GET /hello");
            let streams = &chat["streams"];
            let counts = ["open", "opened", "closed", "errors"].map(|name| streams[name].as_u64());
            let seen = received_and_sent(&streams["bytes"], role);
            let heads = [0, 1].map(|way: usize| seen[way].saturating_sub(payloads[way]));
            if counts == [Some(0), Some(1), Some(1), Some(0)]
                && chat["statuses"] == serde_json::json!({"200": 1})
                && chat["response_time_ms"]["count"] == 0
                && chat["time_to_first_byte_ms"]["count"] == 1
                && heads
                    .iter()
                    .all(|bytes| bytes % 9 == 0 && (1..=15).contains(&(bytes / 9)))
                && hello["statuses"] == serde_json::json!({"200": 1})
                && hello["response_time_ms"]["count"] == 1
            {
                Ok(())
            } else {
                Err(format!("{}: {chat} {hello}", role.name()))
            }
        });
    }
    rows::accounting_closes(&agent.api().accounting()).unwrap_or_else(|why| panic!("{why}"));
    agent.stop();
}
