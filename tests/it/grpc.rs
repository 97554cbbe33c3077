//! gRPC: methods, codes and streaming calls, against what the client knows.

use std::collections::BTreeMap;
use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::child::run;
use perf_agent_tests::need;
use perf_agent_tests::python::{Server, source};
use perf_agent_tests::rows::{self, Role};
use perf_agent_tests::wait;
use serde_json::{Value, json};

/// Streaming calls of which nothing else is possible, and how long they take at least.
const STREAMS: [(&str, u64, f64); 2] = [("/shop.Cart/Tick", 0, 2_200.0), ("/shop.Cart/Fail", 14, 250.0)];

#[test]
fn grpc_calls_have_their_method_their_code_and_their_streams() {
    need!(Agent, Root, Venv);
    let agent = Agent::start();
    let server = Server::grpc();
    let mut command = Command::new(need::venv().join("bin/python"));
    command
        .arg(source("grpc_client.py"))
        .args([server.port().to_string(), "40".to_owned()]);
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.error);
    // Of each method: how many ended with which code.
    let mut truth: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for line in said.out.lines() {
        let (method, code) = line.split_once(' ').expect("a method and a code");
        *truth.entry(method.into()).or_default().entry(code.into()).or_default() += 1;
    }
    assert_eq!(truth["/shop.Cart/Missing"], BTreeMap::from([("12".into(), 40)]));
    for (method, code, _) in STREAMS {
        assert_eq!(truth[method], BTreeMap::from([(code.to_string(), 1)]));
    }
    for role in Role::BOTH {
        wait::settle(wait::SETTLE, "every call", || {
            let endpoints = server.at().endpoints(agent.api(), role);
            let wrong = |(method, codes): (&String, &BTreeMap<String, u64>)| {
                let named = |endpoint: &&Value| endpoint["operation"] == *method;
                let Some(endpoint) = endpoints.iter().find(named) else {
                    return Some(format!("no {method}"));
                };
                let calls: u64 = codes.values().sum();
                let errors = calls - codes.get("0").copied().unwrap_or_default();
                let as_expected = match STREAMS.iter().find(|(name, ..)| name == method) {
                    None => {
                        endpoint["statuses"] == json!(codes)
                            && endpoint["errors"] == errors
                            && endpoint["response_time_ms"]["count"] == calls
                    }
                    Some((_, code, least)) => {
                        let streams = &endpoint["streams"];
                        endpoint["statuses"] == json!({})
                            && endpoint["response_time_ms"]["count"] == 0
                            && endpoint["time_to_first_byte_ms"]["count"] == calls
                            && streams["closed"] == calls
                            && streams["errors"] == u64::from(*code != 0)
                            && streams["duration_ms"]["max"].as_f64().is_some_and(|max| max >= *least)
                    }
                };
                let is = |field: &str, value: Value| endpoint[field] == value;
                let named = is("protocol", json!("grpc")) && is("method", json!(null)) && is("route", json!(null));
                (!(as_expected && named && is("requests", json!(calls)))).then(|| endpoint.to_string())
            };
            let wrong: Vec<_> = truth.iter().filter_map(wrong).collect();
            if wrong.is_empty() && endpoints.len() == truth.len() {
                Ok(())
            } else {
                Err(format!("{}: {truth:?}\n{}", role.name(), wrong.join("\n")))
            }
        });
    }
    let closed = agent.api().get("/api/v1/streams?kind=grpc")["closed"].take();
    let statuses: Vec<_> = closed
        .as_array()
        .into_iter()
        .flatten()
        .map(|stream| &stream["status"])
        .collect();
    assert_eq!(statuses.len(), 4, "each at both ends: {closed}");
    assert_eq!(statuses.iter().filter(|status| ***status == 14).count(), 2, "{closed}");
    rows::accounting_closes(&agent.api().accounting()).unwrap_or_else(|why| panic!("{why}"));
    agent.stop();
}
