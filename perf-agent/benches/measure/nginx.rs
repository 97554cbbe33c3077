//! nginx under wrk with the agent and without, in turns: what the agent costs those that are observed, and whether it
//! counted everything.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use serde_json::Value;

use crate::agent::{Agent, get};
use crate::host::{self, cpu_seconds, family, free_port};
use crate::report::Report;
use crate::serve::{self, HANDLERS, Server};

/// Connections of wrk.
pub(crate) const CONNECTIONS: u32 = 32;
/// How long the handlers are asked, each.
const ASK: Duration = Duration::from_secs(2);

/// Bars.
const MOST_LOSS_PERCENT: f64 = 8.0;
const LEAST_KEPT: f64 = 0.80;
const MOST_CPU_SHARE: f64 = 0.3;
const MOST_RUNS: f64 = 6.0;

/// What to measure.
pub(crate) struct Plan {
    /// The agent's program.
    pub(crate) agent: PathBuf,
    /// Its backend.
    pub(crate) backend: Option<String>,
    /// Pairs of a run with the agent and one without.
    pub(crate) pairs: usize,
    /// How long wrk runs each time.
    pub(crate) seconds: u64,
}

/// The throughput lost, and the latency added by handlers of known times.
pub(crate) fn run(plan: &Plan) -> Result<Report> {
    host::pin(&[0, 1])?;
    let mut report = Report::new("nginx");
    report.how(format!(
        "wrk (1 thread, {CONNECTIONS} keep-alive connections) against nginx (1 worker, `return 200`), {} s per run, {} pairs \
         of a run with the agent and one without, in alternating order. Client, server and agent share two processors. The \
         agent observes everything, both ends of each connection.",
        plan.seconds, plan.pairs
    ));
    let nginx = Nginx::start(Speaks::Http1)?;
    // Whatever a first run has to pay.
    nginx.load(1)?;
    let (mut off, mut on) = (Vec::new(), Vec::new());
    let mut latencies: [[Vec<[f64; 2]>; 2]; 3] = Default::default();
    let server = Server::start()?;
    for pair in 0..plan.pairs {
        for with_agent in if pair % 2 == 0 { [false, true] } else { [true, false] } {
            let agent = with_agent
                .then(|| Agent::start(&plan.agent, plan.backend.as_deref()))
                .transpose()?;
            let run = nginx.observed(plan.seconds, agent.as_ref())?;
            if with_agent { &mut on } else { &mut off }.push(run);
            for (handler, found) in HANDLERS.into_iter().zip(&mut latencies) {
                let times = serve::ask(server.port, handler, ASK)?;
                let us = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1e3;
                found[usize::from(with_agent)].push([us(0.5), us(0.99)]);
            }
        }
    }
    drop((nginx, server));
    let loss: Vec<f64> = off
        .iter()
        .zip(&on)
        .map(|(off, on)| (1.0 - on.rate / off.rate) * 100.0)
        .collect();
    report.at_most(MOST_LOSS_PERCENT, "throughput lost", "%", &loss);
    let all = |runs: &[Run], pick: fn(&Run) -> f64| runs.iter().map(pick).collect::<Vec<f64>>();
    report.row("requests per second without agent", "1/s", &all(&off, |run| run.rate));
    report.row("requests per second with agent", "1/s", &all(&on, |run| run.rate));
    report.row(
        "nginx's processor time per request without agent",
        "us",
        &all(&off, |run| run.server_us),
    );
    report.row(
        "nginx's processor time per request with agent",
        "us",
        &all(&on, |run| run.server_us),
    );
    report.row("agent's own processor time per request", "us", &all(&on, Run::agent_us));
    counts(&mut report, &on);
    report.how(format!(
        "Handlers: a server with a thread per connection, asked at a fixed rate for {} s over 16 connections; latency counts \
         from the moment at which each request was meant to be sent. Added latency is the difference within a pair.",
        ASK.as_secs()
    ));
    for (handler, [off, on]) in HANDLERS.into_iter().zip(&latencies) {
        for (place, name) in ["p50", "p99"].into_iter().enumerate() {
            let added: Vec<f64> = off.iter().zip(on).map(|(off, on)| on[place] - off[place]).collect();
            let without: Vec<f64> = off.iter().map(|off| off[place]).collect();
            let what = format!("handler of {:?} at {}/s, {name}", handler.time, handler.rate);
            report.row(format!("{what}, without agent"), "us", &without);
            report.row(format!("{what}, added by agent"), "us", &added);
        }
    }
    Ok(report)
}

/// The same load where time is a count of instructions: throughput kept, the agent's share, program runs per request.
pub(crate) fn guest(plan: &Plan) -> Result<Report> {
    let backend = plan.backend.clone().unwrap_or_else(|| "auto".to_owned());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut report = Report::new("vm");
    report.how(format!(
        "Linux {}, backend {backend}: wrk (1 thread, {CONNECTIONS} keep-alive connections) against nginx (1 worker), {} s of \
         the guest's time per run, {} pairs, one virtual processor.",
        release.trim(),
        plan.seconds,
        plan.pairs
    ));
    let nginx = Nginx::start(Speaks::Http1)?;
    nginx.load(1)?;
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for _ in 0..plan.pairs {
        off.push(nginx.observed(plan.seconds, None)?);
        let agent = Agent::start(&plan.agent, plan.backend.as_deref())?;
        on.push(nginx.observed(plan.seconds, Some(&agent))?);
    }
    // Apart, since counting runs costs time.
    let agent = Agent::start(&plan.agent, plan.backend.as_deref())?;
    let counting = enable_stats(Stats::RunTime).context("cannot switch the kernel's counting of program runs on")?;
    let before = program_runs();
    let counted = nginx.observed(plan.seconds, Some(&agent))?;
    let mut runs = program_runs();
    for (program, before) in before {
        *runs.entry(program).or_default() -= before;
    }
    drop((counting, agent));
    let kept: Vec<f64> = off.iter().zip(&on).map(|(off, on)| on.rate / off.rate).collect();
    report.at_least(
        LEAST_KEPT,
        format!("{backend}: throughput, with agent / without"),
        "x",
        &kept,
    );
    let share: Vec<f64> = on.iter().map(|run| run.agent_us() / run.server_us).collect();
    report.at_most(
        MOST_CPU_SHARE,
        format!("{backend}: processor time, agent / nginx"),
        "x",
        &share,
    );
    report.at_most(
        MOST_RUNS,
        format!("{backend}: program runs per request"),
        "",
        &[runs.values().sum::<f64>() / counted.requests],
    );
    for (program, runs) in runs {
        report.row(format!("{backend}: of {program}"), "", &[runs / counted.requests]);
    }
    let server: Vec<f64> = off
        .iter()
        .zip(&on)
        .map(|(off, on)| on.server_us / off.server_us)
        .collect();
    report.row(
        format!("{backend}: nginx's processor time per request, with agent / without"),
        "x",
        &server,
    );
    report.row(
        format!("{backend}: requests per second without agent"),
        "1/s",
        &off.iter().map(|run| run.rate).collect::<Vec<_>>(),
    );
    counts(&mut report, &on);
    Ok(report)
}

/// What was counted, against what the client and nginx counted.
pub(crate) fn counts(report: &mut Report, on: &[Run]) {
    let seen: Vec<_> = on
        .iter()
        .filter_map(|run| run.observed.as_ref().map(|seen| (run, seen)))
        .collect();
    let all =
        |pick: &dyn Fn(&Run, &Observed) -> f64| seen.iter().map(|(run, seen)| pick(run, seen)).collect::<Vec<f64>>();
    report.at_most(0.0, "records lost", "", &all(&|_, seen| seen.lost));
    report.at_most(
        0.0,
        "answered exchanges of the client role, off the client's count by",
        "",
        &all(&|run, seen| (seen.client_answered - run.requests).abs()),
    );
    report.at_most(
        0.0,
        "exchanges of the server role, off nginx's count by",
        "",
        &all(&|run, seen| (seen.server - run.served).abs()),
    );
}

/// What nginx speaks, and who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1 with wrk.
    Http1,
    /// The same over TLS.
    Tls,
    /// HTTP/2 without TLS, with h2load.
    Http2,
}

/// One run of the client.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Requests per second, and in all, as the client counts.
    pub(crate) rate: f64,
    requests: f64,
    /// As nginx counts.
    served: f64,
    /// nginx's processor time per request.
    pub(crate) server_us: f64,
    observed: Option<Observed>,
}

/// What the agent made of it.
#[derive(Clone, Debug)]
struct Observed {
    cpu_us: f64,
    lost: f64,
    server: f64,
    client_answered: f64,
}

impl Run {
    pub(crate) fn agent_us(&self) -> f64 {
        self.observed.as_ref().map_or(0.0, |seen| seen.cpu_us)
    }
}

/// A running nginx; ended when dropped.
pub(crate) struct Nginx {
    child: Child,
    folder: PathBuf,
    speaks: Speaks,
    /// Where it is asked.
    port: u16,
    /// Where it tells what it counted.
    status: u16,
}

impl Nginx {
    pub(crate) fn start(speaks: Speaks) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("perf-agent-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (port, status) = (free_port()?, free_port()?);
        let path = folder.display();
        let (how, certificate) = match speaks {
            Speaks::Http1 => ("", String::new()),
            Speaks::Http2 => ("http2", String::new()),
            Speaks::Tls => {
                let [file, key] = make_certificate(&folder)?.map(|file| file.display().to_string());
                ("ssl", format!("ssl_certificate {file}; ssl_certificate_key {key};"))
            }
        };
        let settings = format!(
            "user root; worker_processes 1; daemon off; pid {path}/pid; error_log {path}/error.log;
             events {{ worker_connections 1024; }}
             http {{
                 access_log off; keepalive_requests 1000000000; client_body_temp_path {path}/body;
                 proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;
                 scgi_temp_path {path}/scgi;
                 server {{
                     listen 127.0.0.1:{port} reuseport {how};
                     {certificate}
                     location / {{ return 200 'ok'; }}
                 }}
                 server {{
                     listen 127.0.0.1:{status};
                     location /status {{ stub_status; }}
                 }}
             }}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, settings)?;
        let mut command = Command::new("nginx");
        command
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(&folder)
            .arg("-e")
            .arg(folder.join("error.log"));
        let child = command.stdin(Stdio::null()).spawn().context("cannot start nginx")?;
        serve::wait_for(port)?;
        Ok(Self {
            child,
            folder,
            speaks,
            port,
            status,
        })
    }

    /// Requests that it counted, the one that asks included.
    fn served(&self) -> Result<f64> {
        let text = get(self.status, "/status")?;
        // server accepts handled requests \n 8 8 31
        let numbers = text.lines().nth(2).context("nginx tells its counts")?;
        numbers
            .split_whitespace()
            .nth(2)
            .and_then(|count| count.parse().ok())
            .context("nginx tells its requests")
    }

    /// Has the client ask: requests, and requests per second.
    pub(crate) fn load(&self, seconds: u64) -> Result<(f64, f64)> {
        match self.speaks {
            Speaks::Http1 => wrk(&format!("http://127.0.0.1:{}/", self.port), CONNECTIONS, seconds),
            Speaks::Tls => wrk(&format!("https://127.0.0.1:{}/", self.port), CONNECTIONS, seconds),
            Speaks::Http2 => h2load(&format!("http://127.0.0.1:{}/", self.port), seconds),
        }
    }

    /// One run, and what the agent makes of it.
    pub(crate) fn observed(&self, seconds: u64, agent: Option<&Agent>) -> Result<Run> {
        let processes = family(self.child.id());
        let own = agent.map(|agent| vec![agent.process()]).unwrap_or_default();
        let before = self.served()?;
        // Asking was an exchange too; it is over when the agent is asked what it saw before.
        let known = agent.map(|agent| self.seen(agent)).transpose()?;
        let (server_before, agent_before) = (cpu_seconds(&processes)?, cpu_seconds(&own)?);
        let (requests, rate) = self.load(seconds)?;
        let server_us = (cpu_seconds(&processes)? - server_before) * 1e6 / requests;
        // What the agent still has to read is its cost as well.
        agent.map(Agent::settle).transpose()?;
        let cpu_us = (cpu_seconds(&own)? - agent_before) * 1e6 / requests;
        let observed = agent
            .zip(known)
            .map(|(agent, (known_server, known_client))| -> Result<Observed> {
                let (server, client_answered) = self.seen(agent)?;
                Ok(Observed {
                    cpu_us,
                    lost: agent.lost()?,
                    server: server - known_server,
                    client_answered: client_answered - known_client,
                })
            });
        let observed = observed.transpose()?;
        let served = self.served()? - before - 1.0;
        Ok(Run {
            rate,
            requests,
            served,
            server_us,
            observed,
        })
    }

    /// Exchanges on nginx's port that the agent saw so far: all of the server role, answered ones of the client role.
    fn seen(&self, agent: &Agent) -> Result<(f64, f64)> {
        agent.settle()?;
        let answer = agent.get("/api/v1/endpoints?window=start&limit=1000")?;
        let endpoints = answer["endpoints"].as_array().context("the agent tells of endpoints")?;
        let port = Some(u64::from(self.port));
        let sum = |role: &str, place: &str, count: &dyn Fn(&Value) -> Option<f64>| -> f64 {
            let of_nginx = endpoints
                .iter()
                .filter(|endpoint| endpoint["role"] == role && endpoint[place]["port"].as_u64() == port);
            of_nginx.filter_map(count).sum()
        };
        let server = sum("server", "service", &|endpoint| endpoint["requests"].as_f64());
        let client = sum("client", "peer", &|endpoint| endpoint["outcomes"]["answered"].as_f64());
        Ok((server, client))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        for process in family(self.child.id()).into_iter().rev() {
            if let Some(pid) = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw) {
                // It is ours; that it may have ended before is no error.
                _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        _ = self.child.wait();
        _ = fs::remove_dir_all(&self.folder);
    }
}

/// wrk with one thread: requests, and requests per second.
pub(crate) fn wrk(url: &str, connections: u32, seconds: u64) -> Result<(f64, f64)> {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), url]);
    let text = told(&mut wrk)?;
    ensure!(!text.contains("Socket errors"), "wrk was not content: {text}");
    ensure!(!text.contains("Non-2xx"), "wrk was not content: {text}");
    let number = |line: &str, word: usize| line.split_whitespace().nth(word)?.parse::<f64>().ok();
    let requests = text
        .lines()
        .find(|line| line.contains(" requests in "))
        .and_then(|line| number(line, 0));
    let rate = text
        .lines()
        .find(|line| line.starts_with("Requests/sec:"))
        .and_then(|line| number(line, 1));
    requests
        .zip(rate)
        .with_context(|| format!("wrk told no figures: {text}"))
}

/// Connections of h2load, and requests in flight on each.
pub(crate) const STREAMS: [u32; 2] = [10, 100];

/// h2load: requests, and requests per second. It is given a number of requests, since a run that ends by the clock leaves
/// some without an answer.
fn h2load(url: &str, seconds: u64) -> Result<(f64, f64)> {
    let count = STREAMS_PER_SECOND * seconds;
    let [connections, streams] = STREAMS;
    let mut h2load = Command::new("h2load");
    h2load.args([
        format!("--requests={count}"),
        format!("--clients={connections}"),
        format!("--max-concurrent-streams={streams}"),
        url.to_owned(),
    ]);
    let text = told(&mut h2load)?;
    let all = format!("{count} succeeded, 0 failed, 0 errored, 0 timeout");
    ensure!(text.contains(&all), "h2load was not content: {text}");
    let rate = text
        .lines()
        .find(|line| line.starts_with("finished in "))
        .and_then(|line| line.split(", ").nth(1)?.strip_suffix(" req/s")?.parse::<f64>().ok());
    Ok((
        count as f64,
        rate.with_context(|| format!("h2load told no rate: {text}"))?,
    ))
}

/// About what nginx answers in a second with one worker.
const STREAMS_PER_SECOND: u64 = 40_000;

fn told(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?} was not content: {text}");
    Ok(text)
}

/// Makes a certificate: its file, and its key's.
pub(crate) fn make_certificate(folder: &Path) -> Result<[PathBuf; 2]> {
    let [file, key] = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&file);
    told(&mut openssl)?;
    Ok([file, key])
}

/// Runs of every program that is loaded, by name.
fn program_runs() -> BTreeMap<String, f64> {
    let mut runs = BTreeMap::new();
    for program in loaded_programs().flatten() {
        let name = program.name_as_str().unwrap_or("?").to_owned();
        *runs.entry(name).or_default() += program.run_count() as f64;
    }
    runs
}
