//! The program under test, as an operator starts it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::api::Api;
use crate::child::{Child, Workdir};
use crate::{need, wait};

/// A running `perf-agent run`, ready to observe.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    api: Api,
    /// Dropped after the child, which writes into it.
    directory: Workdir,
}

/// The agent's command with these arguments.
///
/// # Panics
/// Without `PERF_AGENT_BIN`; the test needs [`need::Need::Agent`].
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(need::agent_binary().expect("the test said that it needs the agent"));
    command.args(arguments);
    // Several of them run at once, and none is to find what another one left behind.
    command.env("PERF_AGENT_STATE_DIRECTORY", "");
    command
}

/// A copy of the agent's binary that everybody may execute: the built one may lie where only root gets.
///
/// # Panics
/// If it cannot be copied.
pub fn public_copy(directory: &Workdir) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let copy = directory.join("perf-agent");
    let binary = need::agent_binary().expect("the test said that it needs the agent");
    std::fs::copy(binary, &copy).expect("a binary can be copied");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("a file of one's own");
    copy
}

/// The command of [`public_copy`], started by `setpriv` as `nobody` without any capability.
pub fn as_nobody(binary: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(binary);
    command
}

/// A port that nobody listens on at this moment.
///
/// # Panics
/// If the loopback interface has none left.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

impl Agent {
    /// Starts it with the default backend.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with::<&str>([])
    }

    /// Starts `perf-agent run` with these further arguments.
    ///
    /// # Panics
    /// If it does not get ready in time or ends.
    #[track_caller]
    pub fn start_with<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::try_start_with(arguments).unwrap_or_else(|said| panic!("the agent does not start: {said}"))
    }

    /// The same where it may refuse.
    ///
    /// # Errors
    /// What it said before it ended with exit code 1.
    ///
    /// # Panics
    /// If it does not get ready in time, or ends in another way.
    #[track_caller]
    pub fn try_start_with<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Self, String> {
        let mut command = command(["run"]);
        command.args(arguments);
        Self::ready(command)
    }

    /// Starts a command that serves the API, a replay for example; `--listen` is added.
    ///
    /// # Panics
    /// If it does not get ready in time or ends.
    #[track_caller]
    pub fn serving(command: Command) -> Self {
        Self::ready(command).unwrap_or_else(|said| panic!("the agent does not start: {said}"))
    }

    #[track_caller]
    fn ready(mut command: Command) -> Result<Self, String> {
        let port = free_port();
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        let directory = Workdir::new();
        let mut agent = Self {
            child: Child::start("perf-agent", command, directory.path()),
            api: Api::new(port),
            directory,
        };
        let ended = wait::settle(wait::START, "the agent gets ready", || {
            if let Some(status) = agent.child.try_wait() {
                return Ok(Some(status));
            }
            match agent.api.status("/readyz") {
                Ok(200) => Ok(None),
                Ok(status) => Err(format!("/readyz says {status}")),
                Err(error) => Err(error.to_string()),
            }
        });
        match ended {
            None => Ok(agent),
            Some(status) => {
                assert_eq!(
                    status.code(),
                    Some(1),
                    "an agent that cannot start says so: {}",
                    agent.child.log()
                );
                Err(agent.child.log())
            }
        }
    }

    /// Its API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its process, to be signalled.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// A place for files of this test.
    pub fn directory(&self) -> &Workdir {
        &self.directory
    }

    /// Ends it as a service manager would.
    ///
    /// # Panics
    /// If it does not end in time with exit code 0.
    #[track_caller]
    pub fn stop(mut self) {
        let status = self.child.end(Signal::TERM);
        assert_eq!(status.code(), Some(0), "the agent's exit after SIGTERM: {status}");
    }
}
