//! Servers over TLS that others wrote, with the site of [`super::site`]; [`super::nginx`] stands apart.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Certificate;
use super::go::{self, Go};
use crate::agent::free_port;
use crate::child::{Child, Workdir, run};
use crate::need;
use crate::nginx::wait_for_port;
use crate::python::{SYSTEM, source};
use crate::rows::At;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// node's `https`: HTTP/1.1; OpenSSL is in the program.
    NodeHttps,
    /// node's `http2`: both versions.
    NodeHttp2,
    /// The same, telling the length of each body before it.
    NodeHttp2Lengths,
    /// Python's asyncio: OpenSSL through memory.
    Asyncio,
    /// Python's threads that take turns with each connection.
    Threads,
    /// uvicorn: HTTP/1.1.
    Uvicorn,
    /// hypercorn: both versions.
    Hypercorn,
    /// granian: both versions, by rustls in a Python module; nothing else in the process speaks TLS.
    Granian,
    /// The same where Python has loaded OpenSSL too, and does not use it.
    GranianBesideOpenssl,
    /// hyper over rustls: both versions.
    Rustls,
    /// Go's `net/http`: both versions.
    Go,
    /// The same without symbols.
    GoStripped,
    /// As [`Kind::Go`], by Go 1.15.
    OldGo,
    /// The same without symbols.
    OldGoStripped,
    /// Python's websockets, with a site of its own.
    Websocket,
    /// `selfserv`, by NSS: whatever is asked for, it sends the request back, with 200 and HTTP/1.0, and closes.
    Selfserv,
}

/// What a test needs to know of a server.
pub trait Serves {
    /// Its port on 127.0.0.1.
    fn port(&self) -> u16;
    /// What its clients trust.
    fn certificate(&self) -> &Path;
    /// Its first process.
    fn pid(&self) -> u32;
    /// Method, path and status of each request that it answered so far.
    fn log(&self) -> Vec<(String, String, u16)>;

    /// Where it is, as the agent shows it.
    fn at(&self) -> At {
        At::Port(self.port())
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    // Ends before its directory goes.
    child: Child,
    port: u16,
    certificate: Certificate,
    _directory: Workdir,
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    /// If it does not get ready in time.
    #[track_caller]
    pub fn start(kind: Kind) -> Self {
        let directory = Workdir::new();
        let command = |port: u16, certificate: &Certificate| command(kind, port, certificate, directory.path());
        let (port, certificate) = (free_port(), Certificate::new(directory.path()));
        let command = command(port, &certificate);
        Self::running(&format!("{kind:?}"), command, port, certificate, directory)
    }

    /// A server that the caller made a command of; it listens on the port, and lives in the directory.
    ///
    /// # Panics
    /// If it does not get ready in time.
    #[track_caller]
    pub fn running(name: &str, command: Command, port: u16, certificate: Certificate, directory: Workdir) -> Self {
        let mut child = Child::start(name, command, directory.path());
        wait_for_port(&mut child, port);
        Self {
            child,
            port,
            certificate,
            _directory: directory,
        }
    }
}

impl Serves for Server {
    fn port(&self) -> u16 {
        self.port
    }

    fn certificate(&self) -> &Path {
        &self.certificate.file
    }

    fn pid(&self) -> u32 {
        self.child.pid()
    }

    fn log(&self) -> Vec<(String, String, u16)> {
        let text = self.child.log();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().filter_map(line).collect()
    }
}

/// `GET /hello 200 0`; other lines are the program's own.
fn line(text: &str) -> Option<(String, String, u16)> {
    let words: Vec<&str> = text.split(' ').collect();
    let [method, path, status, _] = words[..] else {
        return None;
    };
    if !path.starts_with('/') {
        return None;
    }
    Some((method.to_owned(), path.to_owned(), status.parse().ok()?))
}

fn command(kind: Kind, port: u16, certificate: &Certificate, directory: &Path) -> Command {
    let port_text = port.to_string();
    let own = |program: &Path, arguments: &[&Path]| {
        let mut command = Command::new(program);
        command.args(arguments).arg(&port_text);
        command.arg(&certificate.file).arg(&certificate.key);
        command
    };
    let venv_python = need::venv().join("bin/python");
    let module = |arguments: &[&str], key: &str, file: &str| {
        let mut command = Command::new(&venv_python);
        command.arg("-m").args(arguments);
        command.arg(key).arg(&certificate.key).arg(file).arg(&certificate.file);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // Where the application lies.
        command.current_dir(source("tls_app.py").parent().unwrap_or(directory));
        command
    };
    let node = || need::which("node").expect("the test said that it needs node");
    let with_go = |go, stripped| go::build(go, &source("tls_server.go"), stripped);
    match kind {
        Kind::NodeHttps => own(&node(), &[&source("tls_node.mjs"), Path::new("https")]),
        Kind::NodeHttp2 => own(&node(), &[&source("tls_node.mjs"), Path::new("http2")]),
        Kind::NodeHttp2Lengths => own(&node(), &[&source("tls_node.mjs"), Path::new("lengths")]),
        Kind::Asyncio => own(Path::new(SYSTEM), &[&source("tls_asyncio.py")]),
        Kind::Threads => own(Path::new(SYSTEM), &[&source("tls_threads.py")]),
        Kind::Uvicorn => module(
            &["uvicorn", "tls_app:app", "--port", &port_text, "--log-level", "warning"],
            "--ssl-keyfile",
            "--ssl-certfile",
        ),
        Kind::Hypercorn => {
            let bind = format!("127.0.0.1:{port}");
            module(
                &["hypercorn", "tls_app:app", "--bind", &bind],
                "--keyfile",
                "--certfile",
            )
        }
        Kind::Granian | Kind::GranianBesideOpenssl => {
            let arguments = [
                "granian",
                "tls_app:app",
                "--interface",
                "asgi",
                "--no-log",
                "--port",
                &port_text,
            ];
            let mut command = module(&arguments, "--ssl-keyfile", "--ssl-certificate");
            if kind == Kind::Granian {
                command.env("PYTHONPATH", source("no_openssl"));
            }
            command
        }
        Kind::Rustls => own(&built("rustls_server"), &[]),
        Kind::Go => own(&with_go(Go::Newest, false), &[]),
        Kind::GoStripped => own(&with_go(Go::Newest, true), &[]),
        Kind::OldGo => own(&with_go(Go::Old, false), &[]),
        Kind::OldGoStripped => own(&with_go(Go::Old, true), &[]),
        Kind::Selfserv => {
            let database = format!("sql:{}", nss_database(certificate, directory).display());
            let mut command = Command::new(need::which("selfserv").expect("the test said that it needs selfserv"));
            command.args(["-d", &database, "-n", "own", "-p", &port_text]);
            command
        }
        Kind::Websocket => own(&venv_python, &[&source("tls_websocket.py")]),
    }
}

/// A program of this package, which cargo puts beside the test programs' folder.
///
/// # Panics
/// If this program lies in no folder.
pub fn built(program: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a file");
    let folder = own.ancestors().nth(2).expect("cargo's folders are nested");
    folder.join(program)
}

/// The file that a process runs.
///
/// # Panics
/// If the process is gone.
pub fn exe(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).expect("a running process has a program")
}

/// NSS takes keys from a database of its own only, and into that from PKCS #12 only. Both are called `own` in it.
fn nss_database(certificate: &Certificate, directory: &Path) -> PathBuf {
    let database = directory.join("nss");
    let script = format!(
        "set -e
        mkdir {0}
        certutil -N -d sql:{0} --empty-password
        openssl pkcs12 -export -in {1} -inkey {2} -name own -passout pass: -out {0}/own.p12
        pk12util -i {0}/own.p12 -d sql:{0} -W ''",
        database.display(),
        certificate.file.display(),
        certificate.key.display(),
    );
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script]);
    let said = run(shell);
    assert_eq!(said.code, Some(0), "a database: {}{}", said.out, said.error);
    database
}
