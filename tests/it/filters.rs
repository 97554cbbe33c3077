//! Filters: what is chosen is counted, everything else is not there at all; and the agent is never its own subject.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command};

use perf_agent_tests::agent::{Agent, free_port};
use perf_agent_tests::child::{Child, Workdir};
use perf_agent_tests::client::Connection;
use perf_agent_tests::need::cgroup_v2;
use perf_agent_tests::python::{self, Server};
use perf_agent_tests::rows::{self, At, Picture, Role, answered};
use perf_agent_tests::{need, wait};
use rustix::process::{Pid, Signal, kill_process};

/// Asks a server ten times.
fn ask(at: &At) {
    let At::Port(port) = at else {
        panic!("these servers have ports")
    };
    let mut connection = wait::wait_until(wait::START, "a server listens", || Connection::port(*port).ok());
    for _ in 0..10 {
        assert_eq!(connection.get("/hello").expect("the server answers").status, 200);
    }
}

fn counted() -> Picture {
    Picture::expected(&answered("GET /hello", 200).times(10), None)
}

/// `unwanted` is asked before `wanted`: once all of `wanted` is counted, `unwanted` would be.
#[track_caller]
fn only(agent: &Agent, role: Role, wanted: &At, unwanted: &At) {
    ask(unwanted);
    ask(wanted);
    rows::expect(agent.api(), wanted, role, &counted());
    let endpoints = agent.api().endpoints();
    let seen = Picture::seen(&endpoints, unwanted, role);
    assert_eq!(
        seen.requests(),
        0,
        "filtered out, and counted in the {} role:\n{seen}",
        role.name()
    );
}

/// A shell that starts what it is told to, so that a server is born after the agent started.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Ended with it.
    servers: Vec<Pid>,
    _directory: Workdir,
}

impl Shell {
    fn start() -> Self {
        let directory = Workdir::new();
        let mut child = Child::start_piped("shell", Command::new("/bin/sh"), directory.path());
        Self {
            input: child.take_stdin(),
            output: BufReader::new(child.take_stdout()),
            child,
            servers: vec![],
            _directory: directory,
        }
    }

    /// Starts a server two generations below the shell.
    fn start_server(&mut self) -> At {
        let port = free_port();
        let source = python::source("threads.py");
        let line = format!(
            "( {} {} {port} & echo $! ; wait ) &\n",
            python::SYSTEM,
            source.display()
        );
        self.input.write_all(line.as_bytes()).expect("the shell reads");
        let mut number = String::new();
        self.output.read_line(&mut number).expect("the shell writes text");
        let number = number.trim().parse().ok().and_then(Pid::from_raw);
        self.servers.push(number.expect("the shell writes the server's number"));
        At::Port(port)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        for &server in &self.servers {
            if let Err(error) = kill_process(server, Signal::TERM) {
                eprintln!("cannot end {server:?}: {error}");
            }
        }
    }
}

#[test]
fn a_process_is_observed_with_descendants_that_are_born_later() {
    need!(Agent, Root, Python);
    let mut shell = Shell::start();
    let other = Server::threads();
    for (flag, wanted_is_descendant) in [("--pid", true), ("--exclude-pid", false)] {
        let agent = Agent::start_with([flag, &shell.child.pid().to_string()]);
        let descendant = shell.start_server();
        let (wanted, unwanted) = if wanted_is_descendant {
            (&descendant, &other.at())
        } else {
            (&other.at(), &descendant)
        };
        only(&agent, Role::Server, wanted, unwanted);
        agent.stop();
    }
}

#[test]
fn a_port_is_observed_at_both_ends() {
    need!(Agent, Root, Python);
    let (one, two) = (Server::threads(), Server::threads());
    let port = one.port().to_string();
    for (flag, wanted, unwanted) in [("--port", &one, &two), ("--exclude-port", &two, &one)] {
        let agent = Agent::start_with([flag, &port]);
        only(&agent, Role::Server, &wanted.at(), &unwanted.at());
        rows::expect(agent.api(), &wanted.at(), Role::Client, &counted());
        let client = Picture::seen(&agent.api().endpoints(), &unwanted.at(), Role::Client);
        assert_eq!(client.requests(), 0, "the client's end of a filtered port:\n{client}");
        agent.stop();
    }
}

/// By path and by file name; the client is another program.
#[test]
fn an_executable_is_observed() {
    need!(Agent, Root, Python);
    let server = Server::threads();
    let exe = std::fs::read_link(format!("/proc/{}/exe", server.pid())).expect("a running program has a file");
    let name = exe.file_name().expect("a program's file has a name");
    for chosen in [exe.as_os_str(), name] {
        let agent = Agent::start_with([std::ffi::OsStr::new("--exe"), chosen]);
        ask(&server.at());
        rows::expect(agent.api(), &server.at(), Role::Server, &counted());
        let client = Picture::seen(&agent.api().endpoints(), &server.at(), Role::Client);
        assert_eq!(client.requests(), 0, "the client is another program:\n{client}");
        agent.stop();

        let agent = Agent::start_with([std::ffi::OsStr::new("--exclude-exe"), chosen]);
        ask(&server.at());
        rows::expect(agent.api(), &server.at(), Role::Client, &counted());
        let seen = Picture::seen(&agent.api().endpoints(), &server.at(), Role::Server);
        assert_eq!(seen.requests(), 0, "excluded:\n{seen}");
        agent.stop();
    }
}

/// A program that is started after the agent is judged by what it becomes at `execve`.
#[test]
fn an_executable_that_starts_later_is_observed() {
    need!(Agent, Root, Python);
    let exe = std::fs::canonicalize(python::SYSTEM).expect("Python is installed");
    let agent = Agent::start_with([std::ffi::OsStr::new("--exe"), exe.as_os_str()]);
    let server = Server::threads();
    ask(&server.at());
    rows::expect(agent.api(), &server.at(), Role::Server, &counted());
    agent.stop();
}

/// A control group of our own, removed in the end.
struct Group(std::path::PathBuf);

impl Group {
    fn new(parent: &std::path::Path, name: &str) -> std::io::Result<Self> {
        let path = parent.join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn take(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("root can move a process");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty once its process has ended and was waited for.
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

#[test]
fn a_control_group_is_observed_with_what_is_below_it() {
    need!(Agent, Root, Python, CgroupV2);
    let root = cgroup_v2().expect("it was asked for");
    let outer = match Group::new(&root, &format!("perf-agent-test-{}", std::process::id())) {
        Ok(group) => group,
        Err(error) => {
            perf_agent_tests::need::skip(&format!("no control group can be made in {}: {error}", root.display()));
            return;
        }
    };
    let inner = Group::new(&outer.0, "inner").expect("a control group can have another in it");
    let (inside, outside) = (Server::threads(), Server::threads());
    inner.take(inside.pid());
    // A directory, or what /proc/PID/cgroup says.
    let relative = outer.0.strip_prefix(&root).expect("it was made below");
    for (flag, group, wanted, unwanted) in [
        ("--cgroup", outer.0.as_path(), &inside, &outside),
        ("--exclude-cgroup", relative, &outside, &inside),
    ] {
        let agent = Agent::start_with([std::ffi::OsStr::new(flag), group.as_os_str()]);
        only(&agent, Role::Server, &wanted.at(), &unwanted.at());
        agent.stop();
    }
    drop(inside);
    drop(inner);
    drop(outer);
}

#[test]
fn the_agent_does_not_observe_itself() {
    need!(Agent, Root, Python);
    let agent = Agent::start();
    for _ in 0..50 {
        agent.api().get("/api/v1/agent");
    }
    let server = Server::threads();
    ask(&server.at());
    // Asked after its own traffic: once this is counted, that would be.
    rows::expect(agent.api(), &server.at(), Role::Server, &counted());
    // Whoever asks is a client like any other and is seen; the agent's side of it is not.
    let at = At::Port(agent.api().port());
    let own = agent.api().endpoints();
    let seen = Picture::seen(&own, &at, Role::Server);
    assert_eq!(seen.requests(), 0, "the agent's own API in the server role:\n{seen}");
    let pid = serde_json::Value::from(agent.pid());
    let of_agent = |endpoint: &&serde_json::Value| {
        endpoint["service"]["pids"]
            .as_array()
            .is_some_and(|pids| pids.contains(&pid))
    };
    assert_eq!(
        own.iter().find(of_agent),
        None,
        "an endpoint of the agent's own process"
    );
    agent.stop();
}
