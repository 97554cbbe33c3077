//! The agent as its users have it: a process, and its API.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::host::free_port;

/// An agent that does not come up by then never will.
const START: Duration = Duration::from_secs(30);

/// A running agent; ended when dropped.
pub(crate) struct Agent {
    child: Child,
    port: u16,
}

impl Agent {
    /// Starts one that observes everything, and waits until it does.
    pub(crate) fn start(program: &Path, backend: Option<&str>) -> Result<Self> {
        Self::start_with(program, backend, &[])
    }

    /// The same with further options.
    pub(crate) fn start_with(program: &Path, backend: Option<&str>, options: &[String]) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args([
            "run",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--backend",
            backend.unwrap_or("auto"),
        ]);
        command.args(options);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut agent = Self { child, port };
        let deadline = Instant::now() + START;
        while get(agent.port, "/readyz").is_err() {
            if let Some(status) = agent.child.try_wait()? {
                bail!("the agent ended: {status}");
            }
            ensure!(
                Instant::now() < deadline,
                "the agent is not ready after {} s",
                START.as_secs()
            );
            sleep(Duration::from_millis(50));
        }
        Ok(agent)
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// An answer of its API.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let body = get(self.port, path)?;
        serde_json::from_str(&body).with_context(|| format!("{path} gave no JSON"))
    }

    /// Waits until what happened before is in what it serves, which is a picture made once a second.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut before = None;
        for _ in 0..10 {
            sleep(Duration::from_millis(1100));
            let now = self.get("/api/v1/agent")?["accounting"]["records"]["received"].as_u64();
            if now == before {
                return Ok(());
            }
            before = now;
        }
        Ok(())
    }

    /// Records that found the ring buffer full.
    pub(crate) fn lost(&self) -> Result<f64> {
        self.get("/api/v1/agent")?["accounting"]["records"]["lost"]
            .as_f64()
            .context("the agent tells what was lost")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let asked = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .map(|pid| kill_process(pid, Signal::TERM));
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        eprintln!("the agent did not end on SIGTERM ({asked:?}); killing it");
        // It is ours and still there; waiting cannot fail in a way that matters here.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Body of a successful answer.
pub(crate) fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "{path}: {status}");
    Ok(body.to_owned())
}
