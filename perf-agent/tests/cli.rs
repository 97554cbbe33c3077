//! The program as it is called: exit codes, help, what it says when something is wrong, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use perf_agent::source::format::Header;
use perf_agent::source::record::Recorder;
use perf_common::record::TickRecord;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perf-agent"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[track_caller]
fn check(arguments: &[&str], code: i32, said: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    for expected in said {
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
    String::from_utf8(output.stdout).unwrap()
}

fn recording(directory: &Path) -> String {
    let path = directory.join("a.rec");
    let text = || "x".to_owned();
    let header = Header {
        started_ns: 1,
        started_wall_ns: 2,
        kernel: text(),
        agent: text(),
        backend: text(),
    };
    let mut recorder = Recorder::create(&path, &header).unwrap();
    recorder
        .record(&TickRecord::new(1_000_000_000, 1_700_000_000_000_000_000).to_bytes())
        .unwrap();
    recorder.finish().unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_teaches_by_example() {
    let help = check(&["--help"], 0, &[]);
    for command in ["run", "trace", "doctor", "record", "replay"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        let help = check(&[command, "--help"], 0, &[]);
        assert!(
            help.contains("Examples:") && help.contains(&format!("perf-agent {command}")),
            "{help}"
        );
    }
}

#[test]
fn wrong_usage_is_told_whole_and_ends_with_2() {
    check(&[], 2, &["Usage: perf-agent"]);
    check(&["run", "--bogus"], 2, &["--bogus"]);
    check(
        &["run", "--port", "0", "--pid", "x", "--listen", "nowhere"],
        2,
        &[
            "error: --pid x: expected",
            "error: --port 0: expected",
            "error: --listen nowhere: expected",
        ],
    );
    check(
        &["trace", "--slower-than", "fast", "--status", "99"],
        2,
        &["--slower-than fast", "--status 99"],
    );
    check(&["record"], 2, &["<FILE>"]);
    // A filter that would not apply is no wish that may be passed over.
    check(
        &["trace", "--from", "a.rec", "--port", "8080"],
        2,
        &["'--from <FILE>' cannot be used with '--port <PORT>'"],
    );
    check(
        &["replay", "a.rec", "--route", "/a/{b", "--route", "c"],
        2,
        &["error: --route c: must begin with /", "error: --route /a/{b: "],
    );
    check(
        &["run", "--route", "/a/{b}", "--route", "/a/{c}"],
        2,
        &["error: --route /a/{c}: "],
    );
    check(
        &["replay", "a.rec", "--speed=-1"],
        2,
        &["error: --speed -1: expected a number above 0, or max"],
    );
    check(
        &["run", "--listen", "0.0.0.0:0"],
        2,
        &["give --token-file FILE as well"],
    );
}

#[test]
fn what_fails_is_told_with_its_cause_and_ends_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.rec");
    check(
        &["replay", missing.to_str().unwrap(), "--once", "--json"],
        1,
        &["error: cannot replay ", "missing.rec", "because: No such file"],
    );
    let other = directory.path().join("other");
    std::fs::write(&other, "something else").unwrap();
    check(
        &["replay", other.to_str().unwrap(), "--once", "--json"],
        1,
        &["error: cannot replay ", "because: this is no recording of perf-agent"],
    );
    let listening = std::os::unix::net::UnixListener::bind(directory.path().join("api.sock")).unwrap();
    let socket = format!("unix:{}", directory.path().join("api.sock").display());
    check(
        &["replay", &recording(directory.path()), "--listen", &socket],
        1,
        &["another process does"],
    );
    drop(listening);
}

#[test]
fn a_replay_prints_the_same_twice_and_tells_of_a_cut_or_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = recording(directory.path());
    let once = ["replay", &path, "--once"];
    let first = check(&once, 0, &[]);
    assert_eq!(check(&["replay", &path, "--once", "--json"], 0, &[]), first);
    let parsed: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(parsed["at"], "2023-11-14T22:13:20.000000Z");
    assert_eq!(check(&once, 0, &[]), first);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 2).unwrap();
    assert_eq!(check(&once, 0, &["it was cut"]), first);
    // What came before the damage is printed, and that it is not all.
    file.set_len(file.metadata().unwrap().len() - 2).unwrap();
    std::fs::File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(&[0xff; 8]))
        .unwrap();
    let said = [
        "is damaged, and what stands here is what came before",
        "error: cannot replay the recording",
    ];
    assert_eq!(check(&once, 1, &said), first);
}

#[test]
fn a_damaged_recording_that_is_served_is_told_of_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = recording(directory.path());
    let length = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4], length - 4).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_perf-agent"))
        .args(["replay", &path, "--listen", "127.0.0.1:0", "--speed", "max"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let damage = lines.map_while(Result::ok).find(|line| line.contains("is damaged"));
    assert!(damage.is_some(), "told while it serves");
    // By now nobody reads what it says, which changes nothing.
    assert_eq!(terminated(child), Some(1));
}

#[test]
fn a_full_disk_is_told_and_a_reader_that_has_gone_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let path = recording(directory.path());
    let replay = |output: Stdio| {
        Command::new(env!("CARGO_BIN_EXE_perf-agent"))
            .args(["replay", &path, "--once", "--json"])
            .stdout(output)
            .stderr(Stdio::piped())
            .output()
            .expect("the program starts")
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = replay(full.into());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("because: No space left on device"), "{errors}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = replay(writer.into());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
}

#[test]
fn a_trace_of_a_recording_ends_when_the_recording_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = recording(directory.path());
    assert_eq!(check(&["trace", "--from", &path, "--json"], 0, &[]), "");
}

/// A replay that serves its API, and the line that says where.
fn serving(listen: &str, file: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_perf-agent"))
        .args(["replay", file, "--listen", listen, "--speed", "max"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("API "));
    (child, line.expect("it says where it listens"))
}

fn ask(mut stream: impl Read + Write, path: &str) -> String {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn terminated(mut child: Child) -> Option<i32> {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap().code()
}

#[test]
fn a_replay_serves_its_api_on_an_address_until_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let (child, line) = serving("127.0.0.1:0", &recording(directory.path()));
    let address = line
        .strip_prefix("API http://")
        .and_then(|rest| rest.split(';').next())
        .unwrap();
    let connect = || TcpStream::connect(address).unwrap();
    for path in ["/readyz", "/metrics/performance?window=1h", "/api/openapi.json"] {
        let answer = ask(connect(), path);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {answer}");
    }
    let held = connect(); // an idle connection does not keep it alive
    assert_eq!(terminated(child), Some(0));
    drop(held);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_replay_serves_its_api_on_a_socket_and_removes_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let (child, _) = serving(&format!("unix:{}", socket.display()), &recording(directory.path()));
    let answer = ask(UnixStream::connect(&socket).unwrap(), "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(terminated(child), Some(0));
    assert!(!socket.exists());
}
