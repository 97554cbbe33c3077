//! Functions chosen by the operator, against a program that counts and times its own.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Command;

use perf_agent_tests::agent::{Agent, command};
use perf_agent_tests::api::{number, whole};
use perf_agent_tests::child::{Child, Workdir, run};
use perf_agent_tests::client::Connection;
use perf_agent_tests::clock::now_ns;
use perf_agent_tests::need;
use perf_agent_tests::tls::go::{Go, build};
use perf_agent_tests::tls::server::built;
use perf_agent_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

/// The observed program.
struct Program {
    _child: Child,
    port: u16,
    _directory: Workdir,
}

impl Program {
    fn start(program: PathBuf) -> Self {
        let directory = Workdir::new();
        let mut child = Child::start_piped("program", Command::new(program), directory.path());
        let mut line = String::new();
        BufReader::new(child.take_stdout())
            .read_line(&mut line)
            .expect("it tells its port");
        Self {
            port: line.trim().parse().expect("a port"),
            _child: child,
            _directory: directory,
        }
    }

    /// Asks for each path, on one connection.
    fn ask(&self, paths: &[&str]) -> String {
        let mut connection = Connection::tcp(([127, 0, 0, 1], self.port).into()).expect("it listens");
        let mut body = Vec::new();
        for path in paths {
            let reply = connection.get(path).expect("it answers");
            assert_eq!(reply.status, 200);
            body = reply.body;
        }
        String::from_utf8(body).expect("a text")
    }

    /// Calls and milliseconds, by function, as it counted them.
    fn log(&self) -> BTreeMap<String, (u64, f64)> {
        let text = self.ask(&["/log"]);
        let lines = text.lines().map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let [name, calls, ns] = words[..] else { panic!("{line}") };
            let ms = ns.parse::<f64>().expect("a number") / 1e6;
            (name.to_owned(), (calls.parse().expect("a number"), ms))
        });
        lines.collect()
    }
}

/// What is said of a function; null until it is known.
fn function(agent: &Agent, name: &str) -> Value {
    let mut all = agent.api().get("/api/v1/functions?window=start");
    let all = all["functions"].as_array_mut().expect("an array");
    let place = all.iter().position(|function| function["name"] == name);
    place.map_or(Value::Null, |place| all.swap_remove(place))
}

/// Waits until so many calls of a function are counted.
#[track_caller]
fn counted(agent: &Agent, name: &str, calls: u64) -> Value {
    wait::settle(wait::SETTLE, "every call is counted", || {
        let function = function(agent, name);
        if function["calls"] == calls {
            Ok(function)
        } else {
            Err(format!("{name}: not {calls}: {function}"))
        }
    })
}

#[test]
fn chosen_functions_are_counted_and_timed_as_the_program_does_itself() {
    need!(Agent, Root);
    let file = built("functions");
    let choose = |what: &str| format!("--function={}:functions::{what}", file.display());
    let static_probes = format!("--function=usdt:{}:shop:ordered", file.display());
    let guarded = format!("--function=usdt:{}:shop:guarded", file.display());
    let pair = format!("--function=usdt:{}:shop:begins..ends=between", file.display());
    // Attached to the file before it runs.
    let agent = Agent::start_with([
        choose("worked=work"),
        choose("deep"),
        choose("thrown"),
        choose("held"),
        choose("tiny"),
        static_probes,
        guarded,
        pair,
    ]);
    let program = Program::start(file);
    program.ask(&["/work/50", "/work/30", "/deep/20", "/thrown/10", "/probes/7"]);
    program.ask(&["/work/20"]);

    worked(&agent, &program);
    recursed(&agent, &program);
    thrown(&agent);
    passed_probes(&agent);
    held(&agent, &program);
    taken_off(&agent, &program);
    let hooks = agent.api().get("/api/v1/agent")["hooks"].take();
    let is_told = |hook: &Value| {
        hook["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("chosen functions"))
    };
    assert!(hooks.as_array().expect("an array").iter().any(is_told), "{hooks}");
    agent.stop();
}

/// A call is as long as the program says: at least from the first line of the function to its last, and at most as its
/// caller sees it. The probes' own time is not in the one and in the other.
#[track_caller]
fn between_inside_and_outside(program: &Program, function: &Value) {
    let log = program.log();
    let (outside, inside) = (log["worked"], log["inside"]);
    assert_eq!(
        (&function["calls"], outside.0),
        (&inside.0.into(), inside.0),
        "{function}"
    );
    let sum = number(&function["duration_ms"]["sum"]);
    assert!(
        (inside.1..=outside.1).contains(&sum),
        "{sum} in {inside:?}..{outside:?}: {function}"
    );
}

#[track_caller]
fn worked(agent: &Agent, program: &Program) {
    let work = counted(agent, "work", 100);
    between_inside_and_outside(program, &work);
    assert!(number(&work["duration_ms"]["min"]) >= 0.1, "{work}");
    let inside = work["endpoints"].as_array().expect("an array");
    assert_eq!(inside.len(), 1, "{work}");
    assert_eq!(
        (&inside[0]["operation"], &inside[0]["requests"], &inside[0]["calls"]),
        (&"GET /work/{id}".into(), &3.into(), &100.into()),
        "{work}"
    );
}

#[track_caller]
fn recursed(agent: &Agent, program: &Program) {
    // 20 deep: each one is timed, also in an outer one.
    let deep = counted(agent, "functions::deep", 20);
    assert_eq!(
        (&deep["duration_ms"]["count"], &deep["losses"]["untimed"]),
        (&20.into(), &0.into()),
        "{deep}"
    );
    let outermost = number(&deep["duration_ms"]["max"]);
    assert!(outermost <= program.log()["deep"].1 + 1.0, "{deep}");
    program.ask(&["/deep/50"]);
    counted(agent, "functions::deep", 70);
    wait::settle(wait::SETTLE, "more than 32 deep no time is known", || {
        let deep = function(agent, "functions::deep");
        if (&deep["losses"]["untimed"], &deep["duration_ms"]["count"]) == (&18.into(), &52.into()) {
            Ok(())
        } else {
            Err(format!("{deep}"))
        }
    });
}

#[track_caller]
fn thrown(agent: &Agent) {
    // A panic leaves it without a return, and is not counted as one.
    let thrown = counted(agent, "functions::thrown", 5);
    wait::settle(wait::SETTLE, "what was left is known", || {
        let thrown = function(agent, "functions::thrown");
        let left = whole(&thrown["losses"]["unreturned"]) + thrown["in_flight"].as_u64().unwrap_or(0);
        if left == 5 { Ok(()) } else { Err(format!("{thrown}")) }
    });
    assert!(number(&thrown["duration_ms"]["max"]) < 5.0, "{thrown}");
}

#[track_caller]
fn passed_probes(agent: &Agent) {
    let ordered = counted(agent, "shop:ordered", 7);
    assert_eq!(
        (&ordered["kind"], &ordered["duration_ms"]),
        (&"probe".into(), &Value::Null)
    );
    // The program passes it by unless its counter is raised.
    counted(agent, "shop:guarded", 7);
    let between = counted(agent, "between", 7);
    assert_eq!(
        (&between["kind"], &between["duration_ms"]["count"]),
        (&"probe_pair".into(), &7.into())
    );
}

#[track_caller]
fn held(agent: &Agent, program: &Program) {
    // In flight while it is.
    let held = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| program.ask(&["/hold/2500"]));
        wait::settle(wait::SETTLE, "it is in flight", || {
            let held = function(agent, "functions::held");
            if held["in_flight"] == 1 {
                Ok(())
            } else {
                Err(format!("{held}"))
            }
        });
        waiting.join().expect("it is answered");
        counted(agent, "functions::held", 1)
    });
    assert!((number(&held["duration_ms"]["sum"]) - 2500.0).abs() < 25.0, "{held}");
}

#[track_caller]
fn taken_off(agent: &Agent, program: &Program) {
    // What costs too much is taken off, and the rest goes on.
    program.ask(&["/storm/300000"]);
    let tiny = wait::settle(wait::SETTLE, "it is taken off", || {
        let tiny = function(agent, "functions::tiny");
        if tiny["state"] == "disabled" {
            Ok(tiny)
        } else {
            Err(format!("{tiny}"))
        }
    });
    let reason = tiny["reason"].as_str().expect("a reason");
    assert!(reason.contains("of a core"), "{reason}");
    let before_ns = now_ns();
    program.ask(&["/storm/300000"]);
    assert!(
        now_ns() - before_ns < 150_000_000,
        "its probes are off: {:?}",
        now_ns() - before_ns
    );
    program.ask(&["/work/1"]);
    counted(agent, "work", 101);
}

#[test]
fn goroutines_are_in_functions_wherever_they_run() {
    need!(Agent, Root, Go);
    let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/servers/functions.go"));
    let file = build(Go::Newest, &source, true);
    let agent = Agent::start_with([format!("--function={}:main.worked", file.display())]);
    let program = Program::start(file);
    // Stacks grow in the middle, and goroutines go from thread to thread.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| program.ask(&["/work/10"; 10]));
        }
    });
    let worked = counted(&agent, "main.worked", 400);
    between_inside_and_outside(&program, &worked);
    assert_eq!(
        (&worked["kind"], &worked["losses"]["unreturned"]),
        (&"go_function".into(), &0.into()),
        "{worked}"
    );
    agent.stop();
}

#[test]
fn functions_are_recorded_and_replayed() {
    need!(Agent, Root);
    let file = built("functions");
    let directory = Workdir::new();
    let recording = directory.join("recording");
    let mut record = command(["record"]);
    record
        .arg(&recording)
        .arg(format!("--function={}:functions::worked", file.display()));
    let mut recorder = Child::start("record", record, directory.path());
    let program = Program::start(file);
    // A recording has a function's name once its probes are there.
    wait::wait_until(wait::SETTLE, "the recording begins", || {
        let bytes = std::fs::read(&recording).unwrap_or_default();
        let name = b"functions::worked";
        bytes.windows(name.len()).any(|window| window == name).then_some(())
    });
    program.ask(&["/work/20"]);
    assert_eq!(recorder.end(Signal::INT).code(), Some(0));
    let mut replay = command(["replay"]);
    replay.arg(&recording);
    let replay = Agent::serving(replay);
    let worked = counted(&replay, "functions::worked", 20);
    assert_eq!(worked["endpoints"][0]["calls"], 20, "{worked}");
    assert_eq!(worked["losses"]["records"], 0, "{worked}");
    replay.stop();
}

#[test]
fn wrong_names_are_wrong_options() {
    need!(Agent);
    let said = run(command(["run", "--function", "libc.so.6:getadrinfo"]));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.error.contains("near to it: getaddrinfo"), "{said:?}");
    let static_probes = format!("usdt:{}:shop:*", built("functions").display());
    let said = run(command(["functions", "libc.so.6:getaddrinfo", &static_probes]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("  getaddrinfo") && said.out.contains("  shop:ordered"),
        "{said:?}"
    );
}
