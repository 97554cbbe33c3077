//! Runs a program for each notification, without a shell: the notification as JSON ([`super::document`]) is its input.
//!
//! Its environment is `PATH` and what `PERF_AGENT_RECEIVER`, `_GROUP`, `_REASON`, `_STATUS`, `_SEVERITY`, `_SUMMARY`,
//! `_ALERTS` and `_INSTANCE` say of the notification; nothing of the agent's own. It leads a process group of its own,
//! which is killed with it when its time is up.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command as Program, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use crate::alert::Notification;

use super::document::Document;
use super::failure::{Failure, Fault};
use super::{Origin, text};

/// What is configured of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The program, by its absolute path, and its arguments.
    pub command: Vec<String>,
    /// How long it may take; then it is killed.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            deadline: Duration::from_secs(30),
        }
    }
}

/// A receiver that is a program.
#[derive(Debug)]
pub struct Command {
    settings: Settings,
}

/// What is kept of a program's output, bytes. What it writes beyond is read and forgotten.
const OUTPUT_BYTES: usize = 4 * 1024;
/// `PATH` if the agent has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Between two looks whether it has ended.
const POLL: Duration = Duration::from_millis(10);
/// How long its output is waited for after it has ended: what it started may hold it open.
const OUTPUT: Duration = Duration::from_millis(200);

impl Command {
    /// From its settings.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let Some(program) = settings.command.first() else {
            return Err(Fault::new("command", "it is empty"));
        };
        if !Path::new(program).is_absolute() {
            return Err(Fault::new("command", format!("{program:?} is no absolute path")));
        }
        if settings.command.len() > 100 || settings.command.iter().any(|word| word.contains('\0')) {
            let problem = "there are at most 100 words, none with a NUL in it";
            return Err(Fault::new("command", problem));
        }
        if settings.deadline.is_zero() || settings.deadline > Duration::from_mins(5) {
            return Err(Fault::new("deadline", "it is more than 0 and at most 5 min"));
        }
        Ok(Self {
            settings: settings.clone(),
        })
    }

    pub(super) fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    pub(super) async fn deliver(&self, told: &Notification, origin: &Origin) -> Result<(), Failure> {
        let shown = text::line(&self.settings.command[0], 200);
        let (mut running, pipes) = self
            .start(told, origin)
            .map_err(|error| Failure::temporary(format!("cannot start {shown}: {error}")))?;
        let json = Document::new(told, origin).to_json();
        let mut said = Said::default();
        let deadline = self.settings.deadline;
        let ended = watch(&mut running, pipes, &json, &mut said);
        let status = match tokio::time::timeout(deadline, ended).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(Failure::temporary(format!("cannot wait for {shown}: {error}"))),
            Err(_elapsed) => {
                let text = format!("{shown} took longer than {deadline:?} and was killed");
                return Err(Failure::temporary(text));
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = if said.error.is_empty() { said.output } else { said.error };
        let said = String::from_utf8_lossy(&said);
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let colon = if first.is_empty() { "" } else { ": " };
        Err(Failure::temporary(format!(
            "{shown} ended with {status}{colon}{}",
            text::line(first, 200)
        )))
    }

    fn start(&self, told: &Notification, origin: &Origin) -> io::Result<(Running, Pipes)> {
        let mut program = Program::new(&self.settings.command[0]);
        program
            .args(&self.settings.command[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()))
            .envs(fields(told, origin))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = program.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let running = Running(Some(child));
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("its pipes are missing"));
        };
        let pipes = (
            pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?,
            pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?,
            pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?,
        );
        Ok((running, pipes))
    }
}

/// The beginning of what a program wrote.
#[derive(Default)]
struct Said {
    output: Vec<u8>,
    error: Vec<u8>,
}

/// Feeds the program, reads what it writes, and waits for its end.
async fn watch(running: &mut Running, pipes: Pipes, json: &[u8], said: &mut Said) -> io::Result<ExitStatus> {
    let (mut stdin, mut stdout, mut stderr) = pipes;
    let feed = async move {
        // One that does not read is judged by its exit code only.
        if stdin.write_all(json).await.is_err() {
            tracing::debug!("a command did not read its input");
        }
    };
    let talk = async {
        tokio::join!(
            feed,
            keep(&mut stdout, &mut said.output),
            keep(&mut stderr, &mut said.error)
        )
    };
    let mut talk = std::pin::pin!(talk);
    let mut talks = true;
    let status = loop {
        if let Some(status) = running.try_wait()? {
            break status;
        }
        tokio::select! {
            _ = &mut talk, if talks => talks = false,
            () = tokio::time::sleep(POLL) => {}
        }
    };
    if talks {
        // What it started may hold its output open: then what was written so far must do.
        drop(tokio::time::timeout(OUTPUT, talk).await);
    }
    Ok(status)
}

type Pipes = (pipe::Sender, pipe::Receiver, pipe::Receiver);

fn fields(told: &Notification, origin: &Origin) -> [(&'static str, String); 8] {
    let one = |text: &str| text::line(text, 1_000);
    [
        ("PERF_AGENT_RECEIVER", one(&told.receiver)),
        ("PERF_AGENT_GROUP", one(&told.group)),
        ("PERF_AGENT_REASON", text::reason(told.reason).to_owned()),
        ("PERF_AGENT_STATUS", text::Status::of(told).name().to_owned()),
        (
            "PERF_AGENT_SEVERITY",
            text::worst(told).map_or("", text::severity).to_owned(),
        ),
        ("PERF_AGENT_SUMMARY", text::headline(told, origin)),
        ("PERF_AGENT_ALERTS", told.alerts.len().to_string()),
        ("PERF_AGENT_INSTANCE", one(&origin.instance)),
    ]
}

/// Reads to the end and keeps the beginning.
async fn keep(from: &mut (impl AsyncRead + Unpin), kept: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        let room = OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}

/// A program that does not outlive the attempt. There is a child until it has been waited for.
struct Running(Option<Child>);

impl Running {
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.0 else {
            return Err(io::Error::other("it has been waited for"));
        };
        let status = child.try_wait()?;
        if status.is_some() {
            self.0 = None;
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else {
            return;
        };
        // It is not waited for yet, so its id, and that of its group, is nobody else's.
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let killed = group.is_some_and(|group| kill_process_group(group, Signal::KILL).is_ok());
        if !killed && let Err(error) = child.kill() {
            tracing::warn!("cannot kill a command: {error}");
        }
        // It may hang in the kernel, so it is not waited for here.
        let waiting = std::thread::Builder::new().name("command-end".to_owned());
        if let Err(error) = waiting.spawn(move || drop(child.wait())) {
            tracing::warn!("cannot wait for a killed command: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
