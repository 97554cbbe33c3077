//! From start to end: what an operator's commands do, say and leave behind.

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::sync::mpsc;

use perf_agent_tests::agent::{self, Agent};
use perf_agent_tests::child::{Child, Workdir, run};
use perf_agent_tests::client::Connection;
use perf_agent_tests::kernel::BpfObjects;
use perf_agent_tests::need;
use perf_agent_tests::python::Server;
use perf_agent_tests::rows::{self, Bytes, Expect, Picture, Role, answered};
use perf_agent_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

/// What the kernel holds for a running agent: some programs, or the test would look at nothing.
fn held_by(pid: u32) -> BpfObjects {
    wait::settle(wait::START, "the agent has programs loaded", || {
        let objects = BpfObjects::of_process(pid).map_err(|error| error.to_string())?;
        if objects.programs.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(objects)
        }
    })
}

#[test]
fn every_ending_leaves_nothing_in_the_kernel() {
    need!(Agent, Root);
    for (signal, code) in [(Signal::INT, Some(0)), (Signal::TERM, Some(0)), (Signal::KILL, None)] {
        let mut agent = Agent::start();
        let held = held_by(agent.pid());
        assert_eq!(held.still_there(), held, "what it holds is there while it runs");
        let status = agent.child().end(signal);
        assert_eq!(status.code(), code, "after {signal:?}: {status}");
        wait::settle(wait::SETTLE, "the kernel forgets everything of ours", || {
            let left = held.still_there();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("after {signal:?}: {left:?}"))
            }
        });
    }
}

/// Records carry the host's clock; the agent's own may be set back.
#[test]
fn in_a_time_namespace_it_sees_the_same() {
    need!(Agent, Root, Python, Unshare);
    if !std::path::Path::new("/proc/self/timens_offsets").exists() {
        need::note("this kernel has no time namespaces (Linux 5.6)");
        return;
    }
    let uptime = std::fs::read_to_string("/proc/uptime").expect("the kernel tells its uptime");
    let whole = uptime.split('.').next().and_then(|seconds| seconds.parse::<i64>().ok());
    let back = whole.expect("seconds since the start") / 2;
    let run = agent::command(["run"]);
    let mut command = Command::new("unshare");
    command
        .args(["--time", "--fork", "--kill-child=SIGTERM", "--monotonic"])
        .arg((-back).to_string())
        .arg(run.get_program())
        .args(run.get_args());
    let agent = Agent::serving(command);
    let server = Server::threads();
    let mut connection = Connection::port(server.port()).expect("the server listens");
    connection.get("/hello").expect("the server answers");
    rows::expect_both(agent.api(), &server.at(), &answered("GET /hello", 200).times(1), None);
}

/// The message names the capability, so that the operator can give it.
#[test]
fn without_privileges_it_says_which_are_missing() {
    need!(Agent, Root, Setpriv);
    let directory = Workdir::new();
    let binary = agent::public_copy(&directory);
    let mut as_nobody = agent::as_nobody(&binary);
    as_nobody.args(["run", "--listen", "127.0.0.1:0"]);
    let mut as_half_root = Command::new("setpriv");
    as_half_root
        .args(["--bounding-set=-sys_admin,-bpf", "--"])
        .arg(&binary)
        .args(["run", "--listen", "127.0.0.1:0"]);
    for command in [as_nobody, as_half_root] {
        let shown = format!("{command:?}");
        let said = run(command);
        assert_eq!(said.code, Some(1), "{shown}: {said:?}");
        assert!(
            said.error.contains("CAP_BPF") || said.error.contains("CAP_SYS_ADMIN"),
            "{shown} names no capability: {said:?}"
        );
    }
    let doctor = |arguments: &[&str]| {
        let mut doctor = agent::as_nobody(&binary);
        doctor.arg("doctor").args(arguments);
        let said = run(doctor);
        assert_eq!(
            said.code,
            Some(1),
            "nothing can be observed without privileges: {said:?}"
        );
        said
    };
    let text = doctor(&[]).out;
    assert!(text.starts_with("Linux ") && text.contains("CAP_BPF"), "{text}");
    let said: Value = serde_json::from_str(&doctor(&["--json"]).out).expect("JSON, whatever is missing");
    assert!(said["kernel"]["release"].is_string(), "{said}");
    assert_eq!(said["backends"].as_array().map(Vec::len), Some(3), "{said}");
    assert!(
        said["error"].as_str().is_some_and(|error| error.contains("CAP_BPF")),
        "{said}"
    );
}

#[test]
fn a_second_agent_at_the_same_port_says_so() {
    need!(Agent, Root);
    let first = Agent::start();
    let address = format!("127.0.0.1:{}", first.api().port());
    let said = run(agent::command(["run", "--listen", &address]));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.error.contains(&address), "the message names the address: {said:?}");
    assert_eq!(first.api().status("/readyz").expect("the first one goes on"), 200);
    first.stop();
}

#[test]
fn wrong_usage_is_exit_code_2() {
    need!(Agent);
    for arguments in [
        &["run", "--backend", "magic"][..],
        &["run", "--port", "70000"],
        &["runn"],
        &["replay"],
    ] {
        let said = run(agent::command(arguments));
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(!said.error.is_empty(), "{arguments:?} says nothing");
    }
}

/// The doctor, the agent's own page and what runs say the same.
#[test]
fn doctor_says_what_the_agent_does() {
    need!(Agent, Root);
    let said = run(agent::command(["doctor", "--json"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    let doctor: Value = serde_json::from_str(&said.out).expect("JSON on the standard output");
    let agent = Agent::start();
    let page = agent.api().get("/api/v1/agent");
    let backends = page["backends"].as_array().cloned().unwrap_or_default();
    assert_eq!(backends.len(), 3, "each backend is accounted for: {page}");
    let hooks = page["hooks"].as_array().cloned().unwrap_or_default();
    assert!(hooks.iter().any(|hook| hook["state"] == "used"), "{page}");
    for hook in &hooks {
        let explained = hook["state"] == "used" || hook["reason"].as_str().is_some_and(|reason| !reason.is_empty());
        assert!(explained, "not used, and no reason why: {hook}");
    }
    assert_eq!(
        doctor["backend"], page["backend"],
        "the doctor promises what the agent takes"
    );
    // The doctor tries them all; the agent stops at the first that works.
    let used = |backends: &Value| {
        let backends = backends.as_array().cloned().unwrap_or_default();
        let used = backends.into_iter().filter(|backend| backend["state"] == "used");
        used.map(|mut backend| backend["name"].take()).collect::<Vec<_>>()
    };
    assert_eq!(used(&doctor["backends"]), used(&page["backends"]));
    agent.stop();

    let said = run(agent::command(["doctor"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains(page["backend"].as_str().expect("one is used")));
}

/// Requests that the tests of `trace` and `record` send; gives what must be counted of them.
fn traffic(server: &Server) -> (Vec<Expect>, Bytes) {
    let mut connection = Connection::port(server.port()).expect("the server listens");
    let (mut expected, mut bytes) = (vec![], Bytes::default());
    for (method, path, status) in [
        ("GET", "/hello", 200),
        ("POST", "/echo", 201),
        ("GET", "/fail", 500),
        ("GET", "/missing", 404),
    ] {
        for _ in 0..10 {
            let body: &[u8] = if method == "POST" { b"some words" } else { b"" };
            let reply = connection.request(method, path, body).expect("the server answers");
            expected.push(answered(&format!("{method} {path}"), status));
            bytes.received += reply.request_bytes;
            bytes.sent += reply.response_bytes;
        }
    }
    (expected, bytes)
}

/// Asks for `/empty` until something shows that the observer is there; the tests do not count these.
fn probe_until(server: &Server, what: &str, mut there: impl FnMut() -> bool) {
    wait::wait_until(wait::START, what, || {
        let mut connection = Connection::port(server.port()).expect("the server listens");
        assert_eq!(connection.get("/empty").expect("the server answers").status, 204);
        there().then_some(())
    });
}

fn role_is(line: &Value, role: Role) -> bool {
    line["role"] == role.name()
}

/// One line of JSON per exchange and role, as it ends.
#[test]
fn trace_prints_each_exchange_once() {
    need!(Agent, Root, Python);
    let directory = Workdir::new();
    let server = Server::threads();
    let command = agent::command(["trace", "--json", "--port", &server.port().to_string()]);
    let mut trace = Child::start_piped("trace", command, directory.path());
    let (lines, received) = mpsc::channel();
    let stdout = trace.take_stdout();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let mut seen: Vec<Value> = vec![];
    let read_more = |seen: &mut Vec<Value>| {
        for line in received.try_iter() {
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if value["path"] != "/empty" {
                seen.push(value);
            } else if seen.is_empty() {
                return true;
            }
        }
        false
    };
    probe_until(&server, "the first line", || read_more(&mut seen));
    let (expected, bytes) = traffic(&server);
    for role in Role::BOTH {
        let lines = wait::settle(wait::SETTLE, "a line for each exchange", || {
            read_more(&mut seen);
            let lines: Vec<Value> = seen.iter().filter(|line| role_is(line, role)).cloned().collect();
            if lines.len() == expected.len() {
                Ok(lines)
            } else {
                Err(format!("{} lines", lines.len()))
            }
        });
        // In the order in which they ended.
        for (line, expected) in lines.iter().zip(&expected) {
            let (method, path) = expected.operation.split_once(' ').expect("method and path");
            assert_eq!(
                (&line["method"], &line["path"]),
                (&method.into(), &path.into()),
                "{line}"
            );
            assert_eq!(
                (&line["status"], &line["outcome"]),
                (&expected.status.into(), &"answered".into()),
                "{line}"
            );
            let times = [&line["time_to_first_byte_ms"], &line["response_time_ms"]].map(Value::as_f64);
            assert!(times[0].is_some() && times[0] <= times[1], "{line}");
        }
        let sum = |field: &str| lines.iter().filter_map(|line| line[field].as_u64()).sum::<u64>();
        assert_eq!(
            (sum("request_bytes"), sum("response_bytes")),
            (bytes.received, bytes.sent),
            "{}",
            role.name()
        );
    }
    assert_eq!(trace.end(Signal::INT).code(), Some(0), "Ctrl-C is how a trace ends");
    reader.join().expect("the reader ends with its pipe");
}

#[test]
fn trace_filters_by_status_and_time() {
    need!(Agent, Root, Python);
    let directory = Workdir::new();
    let server = Server::threads();
    let port = server.port().to_string();
    let command = agent::command(["trace", "--json", "--port", &port, "--status", "404"]);
    let mut trace = Child::start_piped("trace", command, directory.path());
    let held = held_by(trace.pid());
    assert!(!held.is_empty());
    // Missing pages are what it waits for; the first ones show that it is there.
    let (lines, received) = mpsc::channel();
    let stdout = trace.take_stdout();
    let reader = std::thread::spawn(move || {
        let lines_read = BufReader::new(stdout).lines().map_while(Result::ok);
        lines_read.for_each(|line| lines.send(line).unwrap_or(()));
    });
    let mut connection = Connection::port(server.port()).expect("the server listens");
    wait::wait_until(wait::START, "the first line", || {
        assert_eq!(connection.get("/probe").expect("the server answers").status, 404);
        received.try_recv().ok()
    });
    traffic(&server);
    assert_eq!(connection.get("/last").expect("the server answers").status, 404);
    let mut missing = 0;
    let mut last = false;
    wait::wait_until(wait::SETTLE, "the last line", || {
        for line in received.try_iter() {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(line["status"], 404, "{line}");
            missing += usize::from(line["path"] == "/missing" && role_is(&line, Role::Server));
            last |= line["path"] == "/last";
        }
        (last && missing == 10).then_some(())
    });
    assert_eq!(trace.end(Signal::TERM).code(), Some(0));
    reader.join().expect("the reader ends with its pipe");
}

/// Recorded as root, replayed as nobody, twice: the same endpoints to the byte, and those that the client knows of.
#[test]
fn a_recording_replays_to_the_same_statistics() {
    need!(Agent, Root, Python, Setpriv);
    let directory = Workdir::new();
    let server = Server::threads();
    let file = directory.join("recording");
    let mut command = agent::command(["record"]);
    command.arg(&file).args(["--port", &server.port().to_string()]);
    let mut recorder = Child::start("record", command, directory.path());
    let has = |text: &[u8]| {
        let bytes = std::fs::read(&file).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text)
    };
    probe_until(&server, "the recording begins", || has(b"GET /empty"));
    let (expected, bytes) = traffic(&server);
    wait::wait_until(wait::SETTLE, "the traffic is recorded", || {
        has(b"GET /missing").then_some(())
    });
    assert_eq!(
        recorder.end(Signal::INT).code(),
        Some(0),
        "Ctrl-C is how a recording ends"
    );
    // A recording holds what was sent, so it belongs to root alone until root gives it away.
    let given = directory.join("given");
    std::fs::copy(&file, &given).expect("a file can be copied");
    std::os::unix::fs::chown(&given, Some(65534), Some(65534)).expect("root can give a file away");

    let binary = agent::public_copy(&directory);
    let pictures: Vec<String> = (0..2)
        .map(|_| {
            let mut command = agent::as_nobody(&binary);
            command.arg("replay").arg(&given);
            let replay = Agent::serving(command);
            let mut endpoints = vec![];
            wait::settle(wait::SETTLE, "the recording was replayed", || {
                endpoints = replay.api().endpoints();
                let mut counted = endpoints.clone();
                counted.retain(|endpoint| endpoint["route"] != "/empty");
                let server_side = Picture::expected(&expected, Some(bytes));
                server_side.matches(&Picture::seen(&counted, &server.at(), Role::Server))?;
                let client_side = Picture::expected(
                    &expected,
                    Some(Bytes {
                        received: bytes.sent,
                        sent: bytes.received,
                    }),
                );
                client_side.matches(&Picture::seen(&counted, &server.at(), Role::Client))?;
                rows::accounting_closes(&replay.api().accounting())
            });
            replay.stop();
            serde_json::to_string_pretty(&endpoints).expect("a value is JSON")
        })
        .collect();
    assert_eq!(pictures[0], pictures[1], "the same file gives the same statistics");
}
