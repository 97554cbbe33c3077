//! What the agent costs a server whose handlers take a known time, plain and over TLS: its own processor time for a
//! request, with the agent and without, in turns.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::agent::Agent;
use crate::host::{self, cpu_seconds, free_port};
use crate::nginx::{Plan, make_certificate, wrk};
use crate::report::Report;
use crate::serve;

/// A thread for each connection, in Python.
const PROGRAM: &str = include_str!("handlers.py");

/// What is asked, its name, and over how many connections: few enough to leave the machine time.
const HANDLERS: [(&str, &str, u32); 3] = [("/50us", "50 us", 1), ("/1ms", "1 ms", 4), ("/10ms", "10 ms", 16)];

/// A load before the first that counts.
const WARM: Duration = Duration::from_secs(1);

/// Processor time per request of each kind of server and handler.
pub(crate) fn run(plan: &Plan) -> Result<Report> {
    host::pin(&[0, 1])?;
    let mut report = Report::new("handlers");
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let certificate = make_certificate(folder.path())?;
    let servers = [
        ("plain", Server::start(folder.path(), None)?),
        ("TLS", Server::start(folder.path(), Some(&certificate))?),
    ];
    report.how(format!(
        "wrk (1 thread, {}) against a server in Python with a thread per connection, plain and over TLS with OpenSSL, {} s \
         per run, {} pairs of runs with the agent and without, in alternating order. The first handler computes, the others \
         wait. Processor time of the server's process; what is added is the difference within a pair.",
        HANDLERS.map(|(_, name, connections)| format!("{connections} connections for {name}")).join(", "),
        plan.seconds,
        plan.pairs
    ));
    for (_, server) in &servers {
        server.cost(HANDLERS[1], WARM.as_secs())?;
    }
    // By server and handler: without and with.
    let mut found = vec![[Vec::new(), Vec::new()]; servers.len() * HANDLERS.len()];
    for pair in 0..plan.pairs {
        for with_agent in if pair % 2 == 0 { [false, true] } else { [true, false] } {
            let _agent = with_agent
                .then(|| Agent::start(&plan.agent, plan.backend.as_deref()))
                .transpose()?;
            let all = servers
                .iter()
                .flat_map(|(_, server)| HANDLERS.map(|handler| (server, handler)));
            for ((server, handler), found) in all.zip(&mut found) {
                found[usize::from(with_agent)].push(server.cost(handler, plan.seconds)?);
            }
        }
    }
    let names = servers
        .iter()
        .flat_map(|(how, _)| HANDLERS.map(|(_, name, _)| format!("{how}, handler of {name}")));
    for (name, [off, on]) in names.zip(&found) {
        let added: Vec<f64> = off.iter().zip(on).map(|(off, on)| on - off).collect();
        report.row(
            format!("{name}: server's processor time per request, without agent"),
            "us",
            off,
        );
        report.row(format!("{name}: added by agent"), "us", &added);
    }
    Ok(report)
}

/// The server, and how it is asked.
struct Server {
    server: serve::Server,
    scheme: &'static str,
}

impl Server {
    fn start(folder: &Path, certificate: Option<&[PathBuf; 2]>) -> Result<Self> {
        let port = free_port()?;
        let program = folder.join("handlers.py");
        std::fs::write(&program, PROGRAM).with_context(|| format!("cannot write {}", program.display()))?;
        let mut python = Command::new("python3");
        python.arg(program).arg(port.to_string());
        python.args(certificate.into_iter().flatten());
        Ok(Self {
            server: serve::Server::running(python, port)?,
            scheme: if certificate.is_some() { "https" } else { "http" },
        })
    }

    /// Processor time per request of a handler, us.
    fn cost(&self, (path, _, connections): (&str, &str, u32), seconds: u64) -> Result<f64> {
        let processes = [self.server.process()];
        let before = cpu_seconds(&processes)?;
        let url = format!("{}://127.0.0.1:{}{path}", self.scheme, self.server.port);
        let (requests, _) = wrk(&url, connections, seconds)?;
        Ok((cpu_seconds(&processes)? - before) * 1e6 / requests)
    }
}
