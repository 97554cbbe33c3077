//! Tests that are also run inside virtual machines of several kernels (`cargo xtask vm`): every backend that the kernel
//! can have is there, and all of them tell the same story. An emulated processor is some sixteen times slower, so they
//! do little, and compare times loosely.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use perf_agent_tests::agent::{self, Agent};
use perf_agent_tests::api::{number, whole};
use perf_agent_tests::child::{Workdir, run};
use perf_agent_tests::client::Connection;
use perf_agent_tests::clock::between;
use perf_agent_tests::kernel::{self, BpfObjects};
use perf_agent_tests::rows::Role;
use perf_agent_tests::server::{Threads, TimedServer, response_times};
use perf_agent_tests::socket::Family;
use perf_agent_tests::{need, wait, ways};
use rustix::process::Signal;
use serde_json::Value;

use crate::cases::{self, Played};
use crate::sockets::WAYS;

/// The backends, and what the kernel must have for each to work.
const BACKENDS: [&str; 3] = ["tracepoint", "fentry", "kprobe"];

/// What the kernel lacks for a backend, by its own symbols.
fn lacks(backend: &str) -> Option<&'static str> {
    let btf = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    let has = kernel::has_function;
    match backend {
        _ if !btf => Some("type information (CONFIG_DEBUG_INFO_BTF)"),
        "tracepoint" if !has("__traceiter_sock_send_length") => Some("the tracepoint sock_send_length (Linux 6.3)"),
        "kprobe" if !has("register_kprobe") => Some("CONFIG_KPROBES"),
        "fentry" if !has("register_ftrace_direct") => Some("CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"),
        // A kernel that was built to have no probes at all refuses programs that need a trampoline (EPERM) although it
        // has the code for them.
        "fentry" if !has("register_kprobe") => Some("permission for trampolines (a kernel without probes)"),
        _ => None,
    }
}

/// Everything that one backend saw, with what differs from run to run left out: ports, processes and times.
fn story(played: &[Played], endpoints: &[Value]) -> String {
    let mut story = String::new();
    for case in played {
        for role in Role::BOTH {
            let picture = case.seen(endpoints, role);
            writeln!(story, "{} {}\n{picture}", case.name(), role.name()).expect("a text can be written to");
        }
    }
    story
}

#[test]
fn vm_backends_agree() {
    need!(Agent, Root);
    let mut stories: BTreeMap<&str, String> = BTreeMap::new();
    let mut played_by = vec![];
    let mut left_out = vec![];
    for backend in BACKENDS {
        let lacking = lacks(backend);
        let agent = match (Agent::try_start_with(["--backend", backend]), lacking) {
            (Ok(agent), _) => agent,
            (Err(said), Some(what)) => {
                assert!(!said.trim().is_empty(), "{backend} is refused without a word");
                need::note(&format!("{backend}: this kernel lacks {what}"));
                left_out.push(backend);
                continue;
            }
            (Err(said), None) => panic!("{backend}: the kernel has all it needs, and the agent says: {said}"),
        };
        let page = agent.api().get("/api/v1/agent");
        assert_eq!(page["backend"], backend, "forced, and not taken");
        let directory = Workdir::new();
        let mut played = vec![];
        for family in [Family::V4, Family::V6, Family::Mapped, Family::Unix] {
            // All cases over IPv4; the others show that addresses are read.
            let few = if family == Family::V4 { usize::MAX } else { 4 };
            for case in cases::basic().iter().take(few) {
                played.push(Played::play(case, family, ways::WRITE, directory.path()));
            }
        }
        for family in [Family::V4, Family::Unix] {
            for way in WAYS {
                played.push(Played::play(&cases::bodies(), family, way, directory.path()));
            }
        }
        cases::check_all(agent.api(), &played);
        owners_are_told(&agent);
        let kernel = page["kernel"]["release"].as_str().unwrap_or_default();
        played_by.push(format!("{backend} on Linux {kernel}: {} cases", played.len()));
        stories.insert(backend, story(&played, &agent.api().endpoints()));
        times_are_plausible(&agent, &directory);
        nothing_is_lost(&agent);
        ends_without_a_trace(agent);
    }
    doctor_agrees(&left_out);
    let mut stories = stories.into_iter();
    let (first, story) = stories.next().expect("no backend works on this kernel");
    for (backend, other) in stories {
        assert_eq!(story, other, "{first} and {backend} tell different stories");
    }
    eprintln!("the same story: {}", played_by.join(", "));
}

/// Servers and clients are all in this very process, over the mounts that lead to its file. (Where the root directory is
/// not the root of the mounts, the agent tells the way from that one.)
fn owners_are_told(agent: &Agent) {
    let exe = std::fs::read_link("/proc/self/exe").expect("a running program has a file");
    let exe = exe.to_str().expect("a plain path");
    for endpoint in agent.api().endpoints() {
        let service = &endpoint["service"];
        let told = service["exe"].as_str().unwrap_or_default();
        assert!(told.starts_with('/') && told.ends_with(exe), "{exe}: {service}");
    }
}

/// Within the tolerance of the other tests, and as much more as an emulated processor needs between two clocks.
fn times_are_plausible(agent: &Agent, directory: &Workdir) {
    const EMULATED_MS: f64 = 5.0;
    let server = TimedServer::start(Family::V4, Threads::PerConnection, directory.path());
    let mut connection = Connection::port(server.port()).expect("the server listens");
    for _ in 0..10 {
        connection.get("/ten").expect("the server answers");
    }
    let log = wait::wait_until(wait::START, "the server's log", || {
        Some(server.served()).filter(|log| log.len() == 10)
    });
    let (least, most) = response_times(log.iter());
    wait::settle(wait::SETTLE, "the times are the server's", || {
        let endpoints = server.at().endpoints(agent.api(), Role::Server);
        let endpoint = endpoints.first().ok_or("nothing yet")?;
        if whole(&endpoint["requests"]) != 10 {
            return Err(format!("{} of 10", endpoint["requests"]));
        }
        let mean = number(&endpoint["response_time_ms"]["mean"]);
        between("mean", mean, (least.mean() - EMULATED_MS, most.mean() + EMULATED_MS))
    });
}

fn nothing_is_lost(agent: &Agent) {
    let records = agent.api().accounting()["records"].take();
    assert_eq!(whole(&records["lost"]), 0, "{records}");
}

/// Killed, since that is the hardest way.
fn ends_without_a_trace(mut agent: Agent) {
    let held = BpfObjects::of_process(agent.pid()).expect("root can look at any process");
    assert!(!held.programs.is_empty(), "it observes without programs");
    agent.child().end(Signal::KILL);
    wait::settle(wait::SETTLE, "the kernel forgets everything of ours", || {
        let left = held.still_there();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

/// The doctor calls unavailable what does not start, and nothing else.
fn doctor_agrees(left_out: &[&str]) {
    let said = run(agent::command(["doctor", "--json"]));
    let doctor: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let backends = doctor["backends"].as_array().expect("a list of backends");
    let unavailable: Vec<&str> = backends
        .iter()
        .filter(|backend| backend["state"] == "unavailable")
        .filter_map(|backend| backend["name"].as_str())
        .collect();
    assert_eq!(unavailable, left_out, "{doctor}");
    let hooks = doctor["hooks"].as_array().expect("a list of hooks");
    assert!(hooks.iter().any(|hook| hook["state"] == "used"), "{doctor}");
    for hook in hooks {
        let name = hook["name"].as_str().unwrap_or_default();
        let belongs = |backend: &&str| match *backend {
            "tracepoint" => name.contains("tp_btf/sock_"),
            family => hook["family"] == family,
        };
        let out = left_out.iter().any(belongs);
        assert!(!out || hook["state"] == "unavailable", "{name}: {doctor}");
    }
}
