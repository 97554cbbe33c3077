//! The configuration file: it is read again while the agent runs, and a wrong one changes nothing.

use std::fs;
use std::time::Duration;

use perf_agent_tests::agent::{Agent, command};
use perf_agent_tests::child::Workdir;
use perf_agent_tests::need;
use perf_agent_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

/// How long a change of the file may take to be noticed.
const NOTICED: Duration = Duration::from_secs(15);

fn limit(agent: &Agent) -> Value {
    let all = agent.api().get("/api/v1/thresholds");
    let all = all["thresholds"].as_array().unwrap();
    let own = all.iter().find(|threshold| threshold["id"] == "own");
    own.map_or(Value::Null, |own| own["value"].clone())
}

#[track_caller]
fn becomes(agent: &Agent, what: &str, look: impl Fn(&Value) -> bool) -> Value {
    wait::settle(NOTICED, what, || {
        let configuration = agent.api().get("/api/v1/agent")["configuration"].take();
        look(&configuration)
            .then_some(configuration.clone())
            .ok_or_else(|| configuration.to_string())
    })
}

#[test]
fn a_changed_file_counts_at_once_and_a_wrong_one_not_at_all() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let file = directory.join("perf-agent.toml");
    let threshold =
        |value: &str| format!("[[alerts.thresholds]]\nid = \"own\"\nmetric = \"error_rate\"\nvalue = {value}\n");
    fs::write(&file, threshold("0.1")).unwrap();
    let mut agent = Agent::serving(command(["run", "--config", file.to_str().unwrap()]));
    assert_eq!(limit(&agent), 0.1);
    let requests = || agent.api().get("/metrics/performance?window=start")["at"].clone();
    assert_ne!(requests(), Value::Null);

    // It is noticed that the file has changed.
    fs::write(&file, threshold("0.2")).unwrap();
    wait::settle(NOTICED, "the new limit holds", || {
        let limit = limit(&agent);
        (limit == 0.2).then_some(()).ok_or_else(|| limit.to_string())
    });

    // A wrong file is refused as a whole.
    fs::write(&file, format!("{}[history]\nretension = \"1h\"\n", threshold("0.3"))).unwrap();
    let refused = becomes(&agent, "the wrong file is refused", |configuration| {
        configuration["refused"] != Value::Null
    });
    let why = refused["refused"].as_str().unwrap();
    assert!(why.contains("did you mean `retention`?"), "{why}");
    assert_eq!(limit(&agent), 0.2);

    // What cannot change at once is told, what can does; SIGHUP asks for it.
    fs::write(&file, format!("{}[limits]\nmax_endpoints = 7\n", threshold("0.4"))).unwrap();
    agent.child().signal(Signal::HUP);
    let read = becomes(&agent, "the file is read again", |configuration| {
        configuration["refused"] == Value::Null
    });
    assert_eq!(
        read["waits_for_restart"],
        serde_json::json!(["limits, routes, errors or requests"])
    );
    assert_eq!(limit(&agent), 0.4);
    agent.stop();
}

#[test]
fn state_outlives_a_restart_and_a_second_agent_does_without() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let state = directory.join("state");
    let start = || {
        let mut command = command(["run", "--state-dir", state.to_str().unwrap()]);
        command.env_remove("PERF_AGENT_STATE_DIRECTORY");
        Agent::serving(command)
    };
    let agent = start();
    agent.api().post(
        "/api/v1/thresholds",
        r#"{"id": "kept", "metric": "throughput", "value": 1e9}"#,
    );
    let kept = agent.api().get("/api/v1/thresholds/kept");
    let second = start();
    let degraded = second.api().get("/api/v1/agent")["state"].take();
    assert!(
        degraded["degraded"]
            .as_str()
            .is_some_and(|why| why.contains("another agent")),
        "{degraded}"
    );
    assert!(degraded["history"]["degraded"].is_string(), "{degraded}");
    second.stop();
    agent.stop();
    let agent = start();
    assert_eq!(agent.api().get("/api/v1/thresholds/kept"), kept);
    let state = agent.api().get("/api/v1/agent")["state"].take();
    assert_eq!(
        (&state["degraded"], &state["history"]["degraded"]),
        (&Value::Null, &Value::Null),
        "{state}"
    );
    agent.stop();
}
