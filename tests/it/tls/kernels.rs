//! What is also run inside virtual machines of several kernels; see [`crate::vm`].

use std::process::Command;

use perf_agent_tests::agent::{self, Agent, free_port};
use perf_agent_tests::child::{Workdir, run};
use perf_agent_tests::python::{self, SYSTEM, source};
use perf_agent_tests::rows::{self, Expect, Role, answered};
use perf_agent_tests::tls::client::Client;
use perf_agent_tests::tls::load::Load;
use perf_agent_tests::tls::nginx::{Nginx, Settings, Tls};
use perf_agent_tests::tls::{Answer, Asked, Certificate, Http, Server, Serves as _, site};
use perf_agent_tests::{need, nginx, wait};

use serde_json::json;

use super::{expect, known, of_process};

/// TLS does not depend on how sockets are observed, but for the kernel's own. (HTTP/2 without it, from the first byte, is
/// asked for here too, since everything is there for it.)
#[test]
fn vm_tls_is_seen_with_every_backend() {
    need!(Agent, Root, Nginx, Openssl, Curl, Wget, H2load, Python);
    let by_the_kernel = has_kernel_tls();
    if !by_the_kernel {
        need::note("this kernel has no TLS of its own (CONFIG_TLS)");
    }
    let mut tried = 0;
    for backend in ["tracepoint", "fentry", "kprobe"] {
        // Why one is not there is for others to say.
        let Ok(agent) = Agent::try_start_with(["--backend", backend]) else {
            continue;
        };
        tried += 1;
        let nginx = Nginx::start();
        for tls in [Tls::V12, Tls::V13] {
            let site = nginx.site(tls);
            let mut asked = Asked::default();
            Client::Curl.ask(Http::One, &site, &mut asked);
            Client::Curl.ask(Http::Two, &site, &mut asked);
            Client::Wget.ask(Http::One, &site, &mut asked);
            expect(&agent, &site, &asked);
        }
        if by_the_kernel && backend == "tracepoint" {
            what_the_kernel_encrypts_is_seen(&agent);
        }
        let unseen = (by_the_kernel && backend != "tracepoint").then(|| by_the_kernels_tls("1.2", false).0);
        http2_in_the_clear(&agent);
        if let Some(unseen) = unseen {
            // It was before what is shown by now.
            rows::expect_both(agent.api(), &unseen.at(), &[], None);
        }
        agent.stop();
    }
    assert!(tried > 0, "no backend works on this kernel");
}

/// Probes hang by the newest interface that the kernel has. Where that is `uprobe_multi`, they are no perf events, for which
/// stable kernels want `CAP_SYS_ADMIN`.
#[test]
fn vm_tls_is_probed_by_the_newest_interface() {
    need!(Agent, Root, Setpriv, Nginx, Openssl, Curl);
    let symbols = std::fs::read_to_string("/proc/kallsyms").expect("root may read the kernel's symbols");
    let has_multi = symbols.contains(" bpf_uprobe_multi_link_attach\n");
    let run = agent::command(["run"]);
    let mut command = Command::new("setpriv");
    if has_multi {
        command.arg("--bounding-set=-sys_admin");
    }
    command.arg("--").arg(run.get_program()).args(run.get_args());
    let agent = Agent::serving(command);
    let nginx = Nginx::start();
    let site = nginx.site(Tls::V13);
    known(&agent, &site);
    let workers = python::children(nginx.pid());
    let found = workers.iter().flat_map(|&pid| of_process(&agent, pid));
    let way = if has_multi {
        "uprobe_multi on SSL_"
    } else {
        "uprobe on SSL_"
    };
    for entry in found {
        let said = entry["how"].as_str().is_some_and(|how| how.starts_with(way));
        assert!(said, "{entry} is not by {way}");
    }
    let mut asked = Asked::default();
    Client::Curl.ask(Http::One, &site, &mut asked);
    expect(&agent, &site, &asked);
    agent.stop();
}

/// One connection of a few streams, one after the other.
#[track_caller]
fn http2_in_the_clear(agent: &Agent) {
    let nginx = nginx::Nginx::start(None);
    let load = Load {
        requests: 4,
        clients: 1,
        streams: 1,
        http: Http::Two,
    };
    let report = load.at(&format!("http://127.0.0.1:{}", nginx.h2_port()), &["/hello", "/gone"]);
    assert_eq!((report.done, report.statuses), (4, [2, 0, 2, 0]));
    let exchange = |operation, status| Expect {
        protocol: "http/2",
        ..answered(operation, status)
    };
    let expected = [
        exchange("GET /hello", 200).times(2),
        exchange("GET /gone", 410).times(2),
    ]
    .concat();
    rows::expect_both(agent.api(), &nginx.h2_at(), &expected, None);
}

/// Backend `tracepoint` sees what the processes read and write. (The others see what the kernel makes of it, or nothing,
/// and show nothing.)
#[track_caller]
fn what_the_kernel_encrypts_is_seen(agent: &Agent) {
    for (version, hellos) in [("1.2", false), ("1.3", true)] {
        let (server, asked) = by_the_kernels_tls(version, hellos);
        rows::expect_both(agent.api(), &server.at(), &asked.expected(), None);
        for role in Role::BOTH {
            for endpoint in server.at().endpoints(agent.api(), role) {
                assert_eq!(endpoint["tls"], true, "{endpoint}");
            }
        }
    }
}

/// Many connections and streams at once, on kernels that preempt programs (`preempt=full` in the machines): a record that
/// another one wrote into would have a length or a place that contradicts the rest.
#[test]
fn vm_tls_under_load_is_whole() {
    need!(Agent, Root, Nginx, Openssl, H2load);
    let agent = Agent::start();
    let nginx = Nginx::start();
    let site = nginx.site(Tls::V13);
    let mut asked = Asked::default();
    for (http, clients, streams) in [(Http::One, 20, 1), (Http::Two, 4, 50)] {
        let load = Load {
            requests: 1_000,
            clients,
            streams,
            http,
        };
        load.put_down(&site, "/hello", &mut asked);
    }
    expect(&agent, &site, &asked);
    let books = agent.api().accounting();
    let records = &books["records"];
    assert_eq!(
        (&records["lost"], &records["undecodable"]),
        (&json!(0), &json!(0)),
        "{books}"
    );
    assert_eq!(
        (&books["losses"]["malformed"], &books["losses"]["gap"]),
        (&json!(0), &json!(0)),
        "{books}"
    );
    assert_eq!(books["tls"]["misbound"], 0, "{books}");
    agent.stop();
}

/// Whether the kernel can encrypt. To ask loads its module.
fn has_kernel_tls() -> bool {
    const ASK: &str = "import errno, socket, sys
try: socket.socket().setsockopt(socket.IPPROTO_TCP, 31, b'tls')
except OSError as error: sys.exit(error.errno == errno.ENOENT)";
    let mut command = Command::new(SYSTEM);
    command.args(["-c", ASK]);
    run(command).code == Some(0)
}

/// Connections whose sending side was handed to the kernel so far.
fn handed_over() -> u64 {
    let text = std::fs::read_to_string("/proc/net/tls_stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TlsTxSw"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// OpenSSL hands the keys to the kernel, and what is written to the socket is in clear text: it is counted once.
#[test]
fn vm_the_kernels_own_tls_is_not_counted_twice() {
    need!(Agent, Root, Nginx, Openssl, Curl, Python);
    if !has_kernel_tls() {
        need::note("this kernel has no TLS of its own (CONFIG_TLS)");
        return;
    }
    let before = handed_over();
    let agent = Agent::start();
    let nginx = Nginx::start_with(&Settings {
        kernel_tls: true,
        ..Settings::default()
    });
    for tls in [Tls::V12, Tls::V13] {
        let site = nginx.site(tls);
        let mut asked = Asked::default();
        Client::Curl.ask(Http::One, &site, &mut asked);
        Client::Curl.ask(Http::Two, &site, &mut asked);
        expect(&agent, &site, &asked);
    }
    agent.stop();
    if handed_over() == before {
        need::note("this OpenSSL hands nothing to the kernel (it is built without it)");
    }
}

/// One connection of a program that encrypts nothing itself: the kernel does, with keys that both ends know. `hellos`: both
/// ends send what begins a handshake before they hand the keys over.
#[track_caller]
fn by_the_kernels_tls(version: &str, hellos: bool) -> (Server, Asked) {
    let source = source("tls_kernel.py");
    let (directory, port) = (Workdir::new(), free_port());
    let words = |role: &str| {
        let mut words = vec![role.to_owned(), port.to_string(), version.to_owned()];
        words.extend(hellos.then(|| "hellos".to_owned()));
        words
    };
    let mut command = Command::new(SYSTEM);
    command.arg(&source).args(words("server"));
    let certificate = Certificate::new(directory.path());
    let server = Server::running("tls_kernel", command, port, certificate, directory);
    let mut asks = site::asks();
    asks.retain(|ask| matches!(ask.path, "/hello" | "/empty" | "/page" | "/upload" | "/missing"));
    let lines: Vec<String> = asks
        .iter()
        .map(|ask| format!("{} {} {}\n", ask.method, ask.path, ask.body))
        .collect();
    let script = format!(
        "printf '{}' | {SYSTEM} {} {}",
        lines.concat(),
        source.display(),
        words("client").join(" ")
    );
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script]);
    let said = run(shell);
    assert_eq!(said.code, Some(0), "{}", said.error);
    let answers = said.out.lines().map(|line| {
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        Answer {
            status: u16::try_from(numbers[0]).expect("a status is a small number"),
            body: numbers[1],
            took_ns: numbers[2],
        }
    });
    let mut asked = Asked::default();
    asked.add("python3", Http::One, &asks, &answers.collect::<Vec<_>>());
    wait::settle(wait::SETTLE, "the server's log", || asked.agrees(&server.log()));
    (server, asked)
}
