//! gRPC's own server and client: HTTP/2 by a stack that the other tests do not have, with trailers.

use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::child::run;
use perf_agent_tests::need;
use perf_agent_tests::python::Server;
use perf_agent_tests::rows::{self, Expect, answered};

/// Every call is an exchange of HTTP/2 whose status is 200, also where gRPC's own status in the trailers is an error.
#[test]
fn calls_of_grpc_are_exchanges() {
    need!(Agent, Root, Venv);
    let agent = Agent::start();
    let server = Server::grpc();
    let calls = ["Add", "Fail", "Watch", "Add"].repeat(10);
    let mut command = Command::new(need::venv().join("bin/python"));
    command
        .arg(perf_agent_tests::python::client("grpc_client.py"))
        .arg(server.port().to_string())
        .args(&calls);
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.error);
    let expected_said = calls.iter().map(|name| match *name {
        "Fail" => "FAILED_PRECONDITION 0",
        "Watch" => "OK 10",
        _ => "OK 1",
    });
    assert!(said.out.lines().eq(expected_said), "{}", said.out);
    let exchange = |name: &&str| Expect {
        protocol: "http/2",
        ..answered(&format!("POST /shop.Basket/{name}"), 200)
    };
    let expected: Vec<Expect> = calls.iter().map(exchange).collect();
    rows::expect_both(agent.api(), &server.at(), &expected, None);
    agent.stop();
}
