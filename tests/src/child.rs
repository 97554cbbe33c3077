//! A program that ends with its test: ended by its own id, its output kept in a file and shown if the test fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How long a program may take to end after it was asked to.
const END: Duration = Duration::from_secs(15);
/// Bytes of the output shown on failure.
const SHOWN: usize = 16 * 1024;

/// What a program that ended by itself said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub error: String,
}

/// Runs a program to its end.
///
/// # Panics
/// If it cannot be started or does not end in time.
#[track_caller]
pub fn run(command: Command) -> Said {
    run_within(END, command)
}

/// The same for one that takes longer.
///
/// # Panics
/// If it cannot be started or does not end in time.
#[track_caller]
pub fn run_within(deadline: Duration, mut command: Command) -> Said {
    let directory = Workdir::new();
    let files = ["out", "error"].map(|name| directory.join(name));
    let [out, error] = files
        .each_ref()
        .map(|path| File::create(path).expect("a file can be made"));
    let name = format!("{command:?}");
    let process = command.stdin(Stdio::null()).stdout(out).stderr(error).spawn();
    let mut child = Child {
        process: process.unwrap_or_else(|error| panic!("cannot start {name}: {error}")),
        name,
        log: files[1].clone(),
        ended: None,
    };
    let what = format!("{} ends", child.name);
    let code = wait::wait_until(deadline, &what, || child.try_wait()).code();
    let [out, error] = files.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned());
    Said { code, out, error }
}

/// A running program.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: Process,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts it; standard output and error go to `NAME.log` in `directory`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn start(name: &str, mut command: Command, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).expect("the log file can be made");
        let error = file.try_clone().expect("a file can be duplicated");
        let process = command
            .stdout(file)
            .stderr(error)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self {
            name: name.to_owned(),
            process,
            log,
            ended: None,
        }
    }

    /// Starts it with standard input and output as pipes; standard error goes to the log.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn start_piped(name: &str, mut command: Command, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).expect("the log file can be made");
        let process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self {
            name: name.to_owned(),
            process,
            log,
            ended: None,
        }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its standard output, if piped and not taken before.
    ///
    /// # Panics
    /// Otherwise.
    pub fn take_stdout(&mut self) -> std::process::ChildStdout {
        self.process
            .stdout
            .take()
            .expect("standard output is a pipe, taken once")
    }

    /// Its standard input, if piped and not taken before.
    ///
    /// # Panics
    /// Otherwise.
    pub fn take_stdin(&mut self) -> std::process::ChildStdin {
        self.process.stdin.take().expect("standard input is a pipe, taken once")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The file it writes to.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If the process cannot be asked.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().expect("one's own child can be waited for");
        }
        self.ended
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process has been waited for already.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        assert!(
            self.try_wait().is_none(),
            "{} has ended before: {:?}",
            self.name,
            self.ended
        );
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("one's own child can be signalled");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait::wait_until(END, &what, || self.try_wait())
    }

    /// Asks it to end, and waits.
    ///
    /// # Panics
    /// If it ended before or does not end in time.
    #[track_caller]
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let shown = log.get(log.len().saturating_sub(SHOWN)..).unwrap_or(&log);
            eprintln!(
                "--- {} ({:?}) wrote to {}:\n{shown}---",
                self.name,
                self.ended,
                self.log.display()
            );
        }
        if self.try_wait().is_none() {
            // A server with workers ends them only if it is asked; what does not hear is killed.
            let pid = Pid::from_child(&self.process);
            if kill_process(pid, Signal::TERM).is_ok() {
                wait::tried(Duration::from_secs(3), || self.try_wait().is_some());
            }
            if self.try_wait().is_none() && self.process.kill().is_ok() {
                self.ended = self.process.wait().ok();
            }
        }
    }
}

/// A directory that stays if the test fails.
#[derive(Debug)]
pub struct Workdir(Option<tempfile::TempDir>);

impl Workdir {
    /// A new one, readable by everybody (servers change to another user).
    ///
    /// # Panics
    /// If none can be made.
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::Builder::new()
            .prefix("perf-agent-test-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary directory can be made");
        Self(Some(directory))
    }

    /// Where it is.
    ///
    /// # Panics
    /// Never: it is there until it is dropped.
    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("there until dropped").path()
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Default for Workdir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.0.take()
        {
            eprintln!("kept: {}", directory.keep().display());
        }
    }
}
