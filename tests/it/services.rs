//! Whose exchanges they are: also of programs that are gone before anybody could look, and of those that become another.

use std::path::{Path, PathBuf};
use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::whole;
use perf_agent_tests::child::run;
use perf_agent_tests::need::cgroup_v2;
use perf_agent_tests::python::Server;
use perf_agent_tests::{need, wait};
use serde_json::Value;

/// A shell that asks once, by itself, and ends.
const ASK: &str = r"exec 3<>/dev/tcp/127.0.0.1/$0; printf 'GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' >&3
    while read -r line <&3; do :; done";

/// Requests by service's name, executable and container in the client role, with the number of endpoints.
type Seen = Vec<(String, String, String, u64)>;

fn clients(endpoints: &[Value]) -> Seen {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut seen: Seen = endpoints
        .iter()
        .filter(|endpoint| endpoint["role"] == "client" && endpoint["operation"] == "GET /hello")
        .map(|endpoint| {
            let service = &endpoint["service"];
            (
                text(&service["name"]),
                text(&service["exe"]),
                text(&service["container"]),
                whole(&endpoint["requests"]),
            )
        })
        .collect();
    seen.sort();
    seen
}

#[track_caller]
fn expect(agent: &Agent, expected: &[(&str, &Path, &str, u64)]) {
    let expected: Seen = expected
        .iter()
        .map(|(name, exe, container, requests)| {
            let exe = exe.to_str().expect("a plain path").to_owned();
            ((*name).to_owned(), exe, (*container).to_owned(), *requests)
        })
        .collect();
    wait::settle(wait::SETTLE, "the clients' endpoints", || {
        let seen = clients(&agent.api().endpoints());
        if seen == expected {
            Ok(())
        } else {
            Err(format!("{seen:#?} instead of {expected:#?}"))
        }
    });
}

fn exe(program: &str) -> PathBuf {
    std::fs::canonicalize(program).expect("the program is installed")
}

fn shell(script: &str, port: u16) {
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script]).arg(port.to_string());
    let said = run(command);
    assert_eq!(said.code, Some(0), "the shell says: {}", said.error);
}

/// They live for a few milliseconds: whoever looks into `/proc` when the record arrives mostly comes too late.
#[test]
fn programs_that_end_at_once_are_one_service() {
    need!(Agent, Root, Python);
    let (agent, server) = (Agent::start(), Server::threads());
    for _ in 0..200 {
        shell(ASK, server.port());
    }
    expect(&agent, &[("bash", &exe("/bin/bash"), "", 200)]);
    agent.stop();
}

/// A process that goes on as another program, with the same connection.
#[test]
fn a_process_that_becomes_another_program_is_another_service() {
    need!(Agent, Root, Python);
    let (agent, server) = (Agent::start(), Server::threads());
    let script = r#"exec 3<>/dev/tcp/127.0.0.1/$0
        ask() { printf 'GET /hello HTTP/1.1\r\nHost: a\r\nConnection: %s\r\n\r\n' "$1" >&3; }
        ask keep-alive
        while read -r line <&3; [[ $line == *[a-zA-Z]* ]]; do :; done
        read -r -N 5 line <&3
        exec /usr/bin/perl -e 'open(my $s, "+<&=3"); syswrite($s, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); 1 while sysread($s, $_, 4096);'"#;
    shell(script, server.port());
    expect(
        &agent,
        &[
            ("bash", &exe("/bin/bash"), "", 1),
            ("perl", &exe("/usr/bin/perl"), "", 1),
        ],
    );
    agent.stop();
}

/// Control groups as a container's runtime makes them, in the unified hierarchy and in one of the old kind, which some
/// hosts have in its place.
#[test]
fn a_container_is_told_by_the_control_group() {
    need!(Agent, Root, Python, CgroupV2);
    let (agent, server) = (Agent::start(), Server::threads());
    let unified = cgroup_v2().expect("it was asked for");
    let old = Path::new("/sys/fs/cgroup/pids");
    let mut asked: Vec<(String, u64)> = vec![];
    for (number, root) in [unified.as_path(), old].into_iter().enumerate() {
        if !root.join("cgroup.procs").exists() {
            need::note(&format!("{} is no hierarchy here", root.display()));
            continue;
        }
        let id = format!("{number:x}{:063x}", std::process::id());
        let group = root.join(format!("perf-agent-test-{id}"));
        if let Err(error) = std::fs::create_dir(&group) {
            need::skip(&format!("no control group can be made in {}: {error}", root.display()));
            continue;
        }
        let script = format!("echo $$ >{}/cgroup.procs; {ASK}", group.display());
        shell(&script, server.port());
        std::fs::remove_dir(&group).expect("the shell has ended and was waited for");
        asked.push((id, 1));
    }
    let bash = exe("/bin/bash");
    let expected: Vec<_> = asked
        .iter()
        .map(|(id, requests)| ("bash", bash.as_path(), id.as_str(), *requests))
        .collect();
    expect(&agent, &expected);
    agent.stop();
}
