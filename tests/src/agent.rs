//! The program under test, as an operator starts it.

use std::ffi::OsStr;
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
        let port = free_port();
        let mut command = command(["run", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(arguments);
        Self::ready(command, port)
    }

    /// Starts `perf-agent replay FILE`; needs no root.
    ///
    /// # Panics
    /// If it does not get ready in time or ends.
    #[track_caller]
    pub fn replay(file: &std::path::Path) -> Self {
        let port = free_port();
        let mut command = command(["replay", "--listen", &format!("127.0.0.1:{port}")]);
        command.arg(file);
        Self::ready(command, port)
    }

    #[track_caller]
    fn ready(command: Command, port: u16) -> Self {
        let directory = Workdir::new();
        let mut agent = Self {
            child: Child::start("perf-agent", command, directory.path()),
            api: Api::new(port),
            directory,
        };
        wait::settle(wait::START, "the agent gets ready", || {
            assert!(agent.child.try_wait().is_none(), "the agent ended instead of getting ready");
            match agent.api.status("/readyz") {
                Ok(200) => Ok(()),
                Ok(status) => Err(format!("/readyz says {status}")),
                Err(error) => Err(error.to_string()),
            }
        });
        agent
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
