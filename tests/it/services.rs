//! Whose exchanges they are: also of programs that are gone before anybody could look, and of those that become another.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::whole;
use perf_agent_tests::child::{Child, Workdir, run};
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

/// A client in Python, which is what it is called: `script` has `ask(path)`, `answer()` and the socket `s`.
fn python(script: &str, port: u16) -> Command {
    const CLIENT: &str = "import ctypes, os, socket, sys, threading, time
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
def ask(path): s.sendall(b'GET /%s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' % path)
def answer():
    got = b''
    while not got.endswith((b'hello', b'failed')): got += s.recv(4096)
";
    let mut command = Command::new(perf_agent_tests::python::SYSTEM);
    command.arg("-c").arg(format!("{CLIENT}{script}")).arg(port.to_string());
    command
}

/// The child goes on with the connection, and then the parent: the program is the same.
#[test]
fn a_connection_that_another_process_goes_on_with_stays_with_its_service() {
    need!(Agent, Root, Python);
    let (agent, server) = (Agent::start(), Server::threads());
    let script = "
ask(b'hello'); answer()
child = os.fork()
if child == 0:
    ask(b'hello'); answer()
    os._exit(0)
os.waitpid(child, 0)
ask(b'hello'); answer()
";
    assert_eq!(run(python(script, server.port())).code, Some(0));
    let exe = exe(perf_agent_tests::python::SYSTEM);
    let name = exe.file_name().and_then(|name| name.to_str()).expect("a plain name");
    expect(&agent, &[(name, &exe, "", 3)]);
    agent.stop();
}

/// A process is its threads; which of them was the first does not matter.
#[test]
fn a_process_without_its_first_thread_is_still_the_one_that_was_chosen() {
    need!(Agent, Root, Python);
    let (server, other) = (Server::threads(), Server::threads());
    let script = "
def later():
    global s
    while ' Z ' not in open(f'/proc/self/task/{os.getpid()}/stat').read(): time.sleep(0.01)
    s = socket.create_connection(s.getpeername())
    ask(b'hello'); answer()
    print('done', flush=True)
    time.sleep(60)
sys.stdin.readline()
ask(b'hello'); answer()
threading.Thread(target=later).start()
ctypes.CDLL(None).syscall(60, 0)
";
    for (flag, requests) in [("--pid", 2), ("--exclude-pid", 0)] {
        let directory = Workdir::new();
        let mut child = Child::start_piped("client", python(script, server.port()), directory.path());
        let agent = Agent::start_with([flag, &child.pid().to_string()]);
        let (mut input, output) = (child.take_stdin(), child.take_stdout());
        input.write_all(b"go\n").expect("it reads");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("it writes");
        assert_eq!(line, "done\n");
        // Another client: once it would be counted, the ones before it would be.
        assert_eq!(run(python("ask(b'hello'); answer()", other.port())).code, Some(0));
        let others = u64::from(requests == 0);
        wait::settle(wait::SETTLE, "its requests", || {
            let seen: u64 = clients(&agent.api().endpoints()).iter().map(|seen| seen.3).sum();
            if seen == requests + others {
                Ok(())
            } else {
                Err(format!("{seen} with {flag}"))
            }
        });
        agent.stop();
    }
}

/// What a process throws away unread (`MSG_TRUNC`) lies in no buffer: what does lie there is an older answer.
#[test]
fn no_status_is_read_from_a_buffer_that_nothing_came_into() {
    need!(Agent, Root, Python);
    let (agent, server) = (Agent::start(), Server::threads());
    let script = "
listener = socket.create_server(('127.0.0.1', 0))
def serve():
    peer, _ = listener.accept()
    for status in [b'503 No', b'200 OK', b'200 OK', b'200 OK']:
        peer.recv(4096); peer.sendall(b'HTTP/1.1 %s\\r\\nContent-Length: 2\\r\\n\\r\\nhi' % status)
threading.Thread(target=serve).start()
s = socket.create_connection(listener.getsockname())
buffer = bytearray(4096)
ask(b'hello'); s.recv_into(buffer, 4096)
for _ in range(3):
    ask(b'hello'); s.recv_into(buffer, 4096, socket.MSG_TRUNC)
";
    assert_eq!(run(python(script, server.port())).code, Some(0));
    let statuses = |role: &str| -> (u64, u64) {
        let endpoints = agent.api().endpoints();
        let of_role = |endpoint: &&Value| endpoint["role"] == role && endpoint["operation"] == "GET /hello";
        let count = |status: &str| {
            let counts = endpoints
                .iter()
                .filter(of_role)
                .map(|endpoint| &endpoint["statuses"][status]);
            counts.filter_map(Value::as_u64).sum()
        };
        (count("503"), count("200"))
    };
    wait::settle(wait::SETTLE, "what the server said", || match statuses("server") {
        (1, 3) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(statuses("client").0, 1, "the client's 503");
    agent.stop();
}
