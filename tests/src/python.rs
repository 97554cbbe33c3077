//! Servers in Python: their sources lie in `servers/`, beside this crate's, and those of clients in `clients/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::free_port;
use crate::child::{Child, Workdir};
use crate::nginx::wait_for_port;
use crate::rows::At;
use crate::{need, wait};

/// Debian's Python.
pub const SYSTEM: &str = "/usr/bin/python3";

/// A running server.
#[derive(Debug)]
pub struct Server {
    // Ends before its directory goes.
    child: Child,
    at: At,
    _directory: Workdir,
}

/// The source of a server.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join(name)
}

/// The source of a client.
pub fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

impl Server {
    /// `http.server` with a thread per connection, HTTP/1.1; needs Debian's Python only.
    #[track_caller]
    pub fn threads() -> Self {
        Self::system("threads.py", &[])
    }

    /// The same with answers that take as long as the request says.
    #[track_caller]
    pub fn speeds() -> Self {
        Self::system("speeds.py", &[])
    }

    /// One of the scenarios of `handover.py`: `fork`, `exec`, `pass`.
    #[track_caller]
    pub fn handover(scenario: &str) -> Self {
        Self::system("handover.py", &[scenario])
    }

    #[track_caller]
    fn system(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(SYSTEM);
        let port = free_port();
        command.arg(source(name)).arg(port.to_string()).args(arguments);
        Self::on_port(name, command, port)
    }

    /// A `FastAPI` application on uvicorn, with the middleware that a user would write by hand.
    #[track_caller]
    pub fn fastapi() -> Self {
        let mut command = Command::new(need::venv().join("bin/python"));
        let port = free_port();
        command.arg(source("fastapi_app.py")).arg(port.to_string());
        Self::on_port("fastapi", command, port)
    }

    /// A `FastAPI` application with a WebSocket and server-sent events.
    #[track_caller]
    pub fn streams() -> Self {
        let mut command = Command::new(need::venv().join("bin/python"));
        let port = free_port();
        command.arg(source("streams_app.py")).arg(port.to_string());
        Self::on_port("streams", command, port)
    }

    /// The same on hypercorn, which speaks HTTP/2 without TLS, and WebSocket through its streams.
    #[track_caller]
    pub fn h2_streams() -> Self {
        let mut command = Command::new(need::venv().join("bin/python"));
        let port = free_port();
        command
            .args(["-m", "hypercorn", "streams_app:app", "--bind"])
            .arg(format!("127.0.0.1:{port}"))
            .env("PYTHONPATH", source(""));
        Self::on_port("h2_streams", command, port)
    }

    /// An HTTP/2 server that connections come to as HTTP/1.1.
    #[track_caller]
    pub fn h2_upgrade() -> Self {
        let mut command = Command::new(need::venv().join("bin/python"));
        let port = free_port();
        command.arg(source("h2_upgrade_app.py")).arg(port.to_string());
        Self::on_port("h2_upgrade", command, port)
    }

    /// A gRPC server.
    #[track_caller]
    pub fn grpc() -> Self {
        let mut command = Command::new(need::venv().join("bin/python"));
        let port = free_port();
        command.arg(source("grpc_app.py")).arg(port.to_string());
        Self::on_port("grpc", command, port)
    }

    /// gunicorn with four workers of the plain kind on a TCP port, all of them there.
    #[track_caller]
    pub fn gunicorn() -> Self {
        let port = free_port();
        let server = Self::on_port("gunicorn", gunicorn(&format!("127.0.0.1:{port}")), port);
        wait::wait_until(wait::START, "four workers", || {
            (children(server.pid()).len() == 4).then_some(())
        });
        server
    }

    /// The same on a Unix socket.
    ///
    /// # Panics
    /// If it does not get ready in time.
    #[track_caller]
    pub fn gunicorn_unix() -> Self {
        let directory = Workdir::new();
        let path = directory.join("gunicorn.sock");
        let command = gunicorn(&format!("unix:{}", path.display()));
        let mut child = Child::start("gunicorn", command, directory.path());
        wait::wait_until(wait::START, "gunicorn listens", || {
            assert!(child.try_wait().is_none(), "gunicorn ended instead of listening");
            std::os::unix::net::UnixStream::connect(&path).ok()
        });
        Self {
            child,
            at: At::Unix(path),
            _directory: directory,
        }
    }

    #[track_caller]
    fn on_port(name: &str, command: Command, port: u16) -> Self {
        let directory = Workdir::new();
        let mut child = Child::start(name, command, directory.path());
        wait_for_port(&mut child, port);
        Self {
            child,
            at: At::Port(port),
            _directory: directory,
        }
    }

    /// Where it listens.
    pub fn at(&self) -> At {
        self.at.clone()
    }

    /// The port of a TCP server.
    ///
    /// # Panics
    /// For a Unix socket.
    pub fn port(&self) -> u16 {
        match self.at {
            At::Port(port) => port,
            At::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    /// The path of a Unix socket.
    ///
    /// # Panics
    /// For a TCP server.
    pub fn path(&self) -> &Path {
        match &self.at {
            At::Unix(path) => path,
            At::Port(_) => panic!("a port has no path"),
        }
    }

    /// Its (first) process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }
}

fn gunicorn(bind: &str) -> Command {
    let mut command = Command::new(need::venv().join("bin/python"));
    command
        .args([
            "-m",
            "gunicorn",
            "--workers",
            "4",
            "--worker-class",
            "sync",
            "--no-control-socket",
        ])
        .args(["--bind", bind, "--chdir"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("servers"))
        .arg("wsgi_app:application")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The processes whose parent is this one.
pub fn children(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|&child| parent(child) == Some(pid)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything; the state and the parent follow it.
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}
