//! Redis under redis-benchmark and PostgreSQL under pgbench with the agent and without, in turns: what the agent costs
//! those that are observed, and whether it counts what they count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::Agent;
use crate::host::{self, cpu_seconds, free_port};
use crate::nginx::Plan;
use crate::report::Report;
use crate::serve;

/// Bars.
const MOST_LOSS_REDIS_PERCENT: f64 = 10.0;
const MOST_LOSS_POSTGRESQL_PERCENT: f64 = 5.0;

/// Connections of redis-benchmark, which has one thread.
const REDIS_CONNECTIONS: u32 = 32;
/// About what Redis answers in a second, for each command that is sent at once: redis-benchmark is given a number.
const REDIS_PER_SECOND: [(u32, u64); 2] = [(1, 80_000), (16, 700_000)];
/// Connections of pgbench, which has one thread.
const POSTGRESQL_CONNECTIONS: u32 = 8;
/// What pgbench asks with `-S`.
const SELECT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = ?";

/// The throughput lost, and whether everything was counted.
pub(crate) fn run(plan: &Plan) -> Result<Report> {
    host::pin(&[0, 1])?;
    let mut report = Report::new("stores");
    report.how(format!(
        "redis-benchmark (GET, {REDIS_CONNECTIONS} connections, 1 and 16 commands at once) against Redis, and pgbench -S \
         ({POSTGRESQL_CONNECTIONS} connections, simple queries) against PostgreSQL, some {} s per run, {} rounds of a run \
         without the agent, one with it, and one in which it leaves the client out, in changing order. Client, server and \
         agent share two processors. The agent observes both ends of each connection, or the server's alone, as if the client \
         were elsewhere.",
        plan.seconds, plan.pairs
    ));
    let redis = Server::redis()?;
    let client = host::program("redis-benchmark")?;
    for (at_once, per_second) in REDIS_PER_SECOND {
        let name = format!("Redis, {at_once} at once");
        let run = || redis_benchmark(redis.port, at_once, per_second * plan.seconds);
        let load = Load {
            name: &name,
            operation: "GET",
            bar: MOST_LOSS_REDIS_PERCENT,
            client: &client,
            run: &run,
        };
        rounds(plan, &load, &redis, &mut report)?;
    }
    drop(redis);
    let postgresql = Server::postgresql()?;
    pgbench(postgresql.port, &["-i", "-q", "-s", "10"])?;
    let load = Load {
        name: "pgbench -S",
        operation: SELECT,
        bar: MOST_LOSS_POSTGRESQL_PERCENT,
        client: &postgresql_folder()?.join("pgbench"),
        run: &|| select_only(postgresql.port, plan.seconds),
    };
    rounds(plan, &load, &postgresql, &mut report)?;
    Ok(report)
}

/// What a server is asked.
struct Load<'a> {
    name: &'a str,
    /// What the agent calls it.
    operation: &'a str,
    /// Percent of the throughput that may be lost.
    bar: f64,
    /// The program that asks.
    client: &'a Path,
    run: &'a dyn Fn() -> Result<Told>,
}

/// Which ends of the connections the agent observes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Both,
    /// The server's.
    One,
}

/// Runs one load in rounds, and tells what they came to.
fn rounds(plan: &Plan, load: &Load<'_>, server: &Server, report: &mut Report) -> Result<()> {
    // Whatever a first run has to pay.
    (load.run)()?;
    let (mut off, mut both, mut one) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.pairs {
        let mut ways = [None, Some(Ends::Both), Some(Ends::One)];
        ways.rotate_left(round % 3);
        for way in ways {
            let Some(ends) = way else {
                off.push((load.run)()?.rate);
                continue;
            };
            let leave_out = ["--exclude-exe".to_owned(), load.client.display().to_string()];
            let (options, to) = match ends {
                Ends::Both => (&[][..], &mut both),
                Ends::One => (&leave_out[..], &mut one),
            };
            let agent = Agent::start_with(&plan.agent, plan.backend.as_deref(), options)?;
            to.push(observed(&agent, server, load, ends)?);
        }
    }
    let name = load.name;
    report.row(format!("{name}: per second without agent"), "1/s", &off);
    for (ends, on) in [(Ends::Both, &both), (Ends::One, &one)] {
        let (name, of) = match ends {
            Ends::Both => (name.to_owned(), "of both roles, "),
            Ends::One => (format!("{name}, server's end alone"), ""),
        };
        let all = |pick: fn(&Observed) -> f64| on.iter().map(pick).collect::<Vec<f64>>();
        let lost = off.iter().zip(on).map(|(off, on)| (1.0 - on.rate / off) * 100.0);
        report.at_most(
            load.bar,
            format!("{name}: throughput lost"),
            "%",
            &lost.collect::<Vec<f64>>(),
        );
        report.row(format!("{name}: per second with agent"), "1/s", &all(|run| run.rate));
        let own = format!("{name}: agent's own processor time for each");
        report.row(own, "us", &all(|run| run.cpu_us));
        report.at_most(0.0, format!("{name}: records lost"), "", &all(|run| run.lost));
        let off_by = format!("{name}: answered exchanges {of}off the client's count by");
        report.at_most(0.0, off_by, "", &all(|run| run.off_by));
    }
    Ok(())
}

/// What a load generator told.
struct Told {
    count: f64,
    rate: f64,
}

/// A run with the agent.
struct Observed {
    rate: f64,
    /// The agent's, for each request.
    cpu_us: f64,
    lost: f64,
    /// How far the counts of the ends are off the client's.
    off_by: f64,
}

fn observed(agent: &Agent, server: &Server, load: &Load<'_>, ends: Ends) -> Result<Observed> {
    let own = [agent.process()];
    let before = cpu_seconds(&own)?;
    let Told { count, rate } = (load.run)()?;
    // What the agent still has to read is its cost as well.
    agent.settle()?;
    let cpu_us = (cpu_seconds(&own)? - before) * 1e6 / count;
    let answer = agent.get("/api/v1/endpoints?window=start&limit=1000")?;
    let endpoints = answer["endpoints"].as_array().context("the agent tells of endpoints")?;
    let port = Some(u64::from(server.port));
    let answered = |role: &str, place: &str| -> f64 {
        let of = endpoints.iter().filter(|endpoint| {
            endpoint["role"] == role
                && endpoint[place]["port"].as_u64() == port
                && endpoint["operation"] == load.operation
        });
        of.filter_map(|endpoint| endpoint["outcomes"]["answered"].as_f64())
            .sum()
    };
    // One that is left out is not counted.
    let asked = if ends == Ends::Both { count } else { 0.0 };
    let off_by = (answered("server", "service") - count).abs() + (answered("client", "peer") - asked).abs();
    Ok(Observed {
        rate,
        cpu_us,
        lost: agent.lost()?,
        off_by,
    })
}

fn redis_benchmark(port: u16, at_once: u32, count: u64) -> Result<Told> {
    let mut command = Command::new("redis-benchmark");
    command.args(["--csv", "-t", "get"]).args([
        "-p",
        &port.to_string(),
        "-c",
        &REDIS_CONNECTIONS.to_string(),
        "-P",
        &at_once.to_string(),
        "-n",
        &count.to_string(),
    ]);
    let text = told(&mut command)?;
    // "GET","98425.20",…
    let fields = text.lines().find_map(|line| line.strip_prefix("\"GET\",\""));
    let rate = fields.and_then(|fields| fields.split('"').next()?.parse().ok());
    let rate = rate.with_context(|| format!("redis-benchmark told no rate: {text}"))?;
    Ok(Told {
        count: count as f64,
        rate,
    })
}

fn select_only(port: u16, seconds: u64) -> Result<Told> {
    let (clients, seconds) = (POSTGRESQL_CONNECTIONS.to_string(), seconds.to_string());
    let text = pgbench(port, &["-S", "-n", "-c", &clients, "-j", "1", "-T", &seconds])?;
    let number = |before: &str| -> Option<f64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(before))?;
        rest.split([' ', '/']).next()?.parse().ok()
    };
    let (count, rate) = (number("number of transactions actually processed: "), number("tps = "));
    let (count, rate) = count
        .zip(rate)
        .with_context(|| format!("pgbench told no figures: {text}"))?;
    Ok(Told { count, rate })
}

fn pgbench(port: u16, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(postgresql_folder()?.join("pgbench"));
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]);
    told(command.args(arguments).arg("postgres"))
}

fn told(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} was not content: {text}{error}");
    Ok(text)
}

/// Where Debian puts PostgreSQL's programs of the newest version that is installed.
fn postgresql_folder() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let folders = versions.flatten().map(|entry| entry.path().join("bin"));
    let there = folders.filter(|folder| folder.join("pgbench").exists());
    there.max().context("PostgreSQL is not installed")
}

/// A running server with data of its own; ended when dropped.
struct Server {
    child: Child,
    port: u16,
    /// Goes with it.
    folder: Option<PathBuf>,
}

impl Server {
    fn redis() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(port.to_string());
        Self::start(command, port, None)
    }

    /// As its own user: it refuses to run as root.
    fn postgresql() -> Result<Self> {
        let port = free_port()?;
        let folder = told(&mut as_postgres("mktemp", &["-d", "/tmp/perf-agent-bench-XXXXXX"]))?;
        let folder = PathBuf::from(folder.trim());
        let data = folder.join("data").display().to_string();
        let programs = postgresql_folder()?;
        let initdb = programs.join("initdb").display().to_string();
        let make = [
            "--auth=trust",
            "--username=postgres",
            "--locale=C",
            "--no-sync",
            "-D",
            &data,
        ];
        told(as_postgres(&initdb, &make).current_dir(&folder))?;
        let postgres = programs.join("postgres").display().to_string();
        let sockets = format!("unix_socket_directories={}", folder.display());
        let arguments = [
            "-D",
            &data,
            "-c",
            "fsync=off",
            "-c",
            &sockets,
            "-c",
            "listen_addresses=127.0.0.1",
            "-p",
        ];
        let mut command = as_postgres(&postgres, &arguments);
        command.arg(port.to_string()).current_dir(&folder);
        let server = Self::start(command, port, Some(folder))?;
        // It listens before it lets anybody in.
        for _ in 0..100 {
            if pgbench(port, &["-i", "-I", "d", "-q"]).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Ok(server)
    }

    fn start(mut command: Command, port: u16, folder: Option<PathBuf>) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let server = Self { child, port, folder };
        serve::wait_for(port)?;
        Ok(server)
    }
}

/// A program, run by the user that PostgreSQL's package makes.
fn as_postgres(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--", program]).args(arguments);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It is ours; that it may have ended before is no error.
            _ = kill_process(pid, Signal::TERM);
        }
        _ = self.child.wait();
        if let Some(folder) = &self.folder {
            _ = fs::remove_dir_all(folder);
        }
    }
}
