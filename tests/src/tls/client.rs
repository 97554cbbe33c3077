//! Clients over TLS that others wrote: some are told request by request ([`Talker`]), others everything at once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command};

use rustix::process::Signal;

use super::go::{self, Go};
use super::load::Load;
use super::{Answer, Ask, Asked, Http, Serves, old, site};
use crate::child::{Child, Said, Workdir, run};
use crate::need;
use crate::python::{SYSTEM, client as source};

/// Clients that do as they are told, on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Python's httpx; OpenSSL reads and writes the socket.
    Httpx,
    /// The same with asyncio, through memory.
    HttpxAsync,
    /// libcurl with `GnuTLS`.
    GnuTls,
    /// node; OpenSSL is in the program.
    Node,
    /// hyper over rustls.
    Rustls,
    /// Go's `net/http`.
    Go,
    /// The same by Go 1.15.
    OldGo,
    /// And without symbols.
    OldGoStripped,
}

/// A running client.
#[derive(Debug)]
pub struct Talker {
    piped: Piped,
}

/// A program that is written to and read from.
#[derive(Debug)]
struct Piped {
    // Closed before the child is waited for.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    child: Child,
    _directory: Workdir,
}

impl Piped {
    fn start(name: &str, command: Command, directory: Workdir) -> Self {
        let mut child = Child::start_piped(name, command, directory.path());
        Self {
            input: Some(child.take_stdin()),
            output: BufReader::new(child.take_stdout()),
            child,
            _directory: directory,
        }
    }

    fn input(&mut self) -> &mut ChildStdin {
        self.input.as_mut().expect("there until it ends")
    }
}

impl Talker {
    /// Starts it. It connects with its first request.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(kind: Kind, http: Http, server: &dyn Serves) -> Self {
        let directory = Workdir::new();
        let script = |program: &Path, name: &str| {
            let mut command = Command::new(program);
            command.arg(source(name));
            command
        };
        let with_go = |go, stripped| Command::new(go::build(go, &source("tls_client.go"), stripped));
        let venv_python = need::venv().join("bin/python");
        let mut command = match kind {
            Kind::Httpx | Kind::HttpxAsync => script(&venv_python, "tls_httpx.py"),
            Kind::GnuTls => script(Path::new(SYSTEM), "tls_gnutls.py"),
            Kind::Node => {
                let node = need::which("node").expect("the test said that it needs node");
                script(&node, "tls_node.mjs")
            }
            Kind::Rustls => Command::new(super::server::built("rustls_client")),
            Kind::Go => with_go(Go::Newest, false),
            Kind::OldGo => with_go(Go::Old, false),
            Kind::OldGoStripped => with_go(Go::Old, true),
        };
        command.args([http.digit(), &server.port().to_string()]);
        command.arg(server.certificate());
        match kind {
            Kind::Httpx => _ = command.arg("sync"),
            Kind::HttpxAsync => _ = command.arg("async"),
            _ => {}
        }
        Self {
            piped: Piped::start("client", command, directory),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.piped.child.pid()
    }

    /// Its program's name, as the agent shows it.
    ///
    /// # Panics
    /// If it has ended.
    pub fn program(&self) -> String {
        let exe = super::server::exe(self.pid());
        let name = exe.file_name().and_then(|name| name.to_str());
        name.expect("a program has a name").to_owned()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn ask(&mut self, ask: &Ask) -> Answer {
        let input = self.piped.input();
        writeln!(input, "{} {} {}", ask.method, ask.path, ask.body).expect("the client reads");
        let mut line = String::new();
        self.piped.output.read_line(&mut line).expect("the client writes");
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [status, body, took_ns] = numbers[..] else {
            panic!("{ask:?}: the client says {line:?}, and {}", self.piped.child.log())
        };
        Answer {
            status: u16::try_from(status).expect("a status is a small number"),
            body,
            took_ns,
        }
    }

    /// Asks for all of them, one after the other.
    #[track_caller]
    pub fn ask_all(&mut self, asks: &[Ask]) -> Vec<Answer> {
        asks.iter().map(|ask| self.ask(ask)).collect()
    }

    /// Lets it close its connection and end.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn end(mut self) {
        self.piped.input = None;
        let status = self.piped.child.wait();
        assert!(
            status.success(),
            "the client's end: {status}, {}",
            self.piped.child.log()
        );
    }
}

/// Everything that a client of this kind is told, from its start to its end, and its program's name.
#[track_caller]
pub fn talk(kind: Kind, http: Http, server: &dyn Serves, asks: &[Ask]) -> (String, Vec<Answer>) {
    let mut talker = Talker::start(kind, http, server);
    let answers = talker.ask_all(asks);
    let program = talker.program();
    talker.end();
    (program, answers)
}

/// Everybody who can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// curl with OpenSSL, one process.
    Curl,
    /// wget with `GnuTLS`, one process.
    Wget,
    /// Told line by line.
    Talker(Kind),
    /// Passes on what it is given.
    Raw(Raw),
    /// h2load: two connections, ten requests at a time on each.
    H2load,
}

impl Client {
    /// Those with OpenSSL or `GnuTLS`.
    pub const LIBRARIES: [Self; 9] = [
        Self::Curl,
        Self::Wget,
        Self::Talker(Kind::Httpx),
        Self::Talker(Kind::HttpxAsync),
        Self::Talker(Kind::GnuTls),
        Self::Talker(Kind::Node),
        Self::Raw(Raw::GnutlsCli),
        Self::Raw(Raw::SClient),
        Self::H2load,
    ];

    /// Whether it speaks this version.
    pub fn speaks(self, http: Http) -> bool {
        http == Http::One || !matches!(self, Self::Wget | Self::Raw(_))
    }

    /// Asks the server, and puts it down.
    ///
    /// # Panics
    /// If it is not answered as the site answers.
    #[track_caller]
    pub fn ask(self, http: Http, server: &dyn Serves, asked: &mut Asked) {
        let (asks, plain) = (site::asks(), site::plain_asks());
        match self {
            Self::Curl => {
                let asks = without_head(http, asks);
                asked.add("curl", http, &asks, &curl(http, server, &asks));
            }
            Self::Wget => asked.add("wget", http, &plain, &wget(server, &plain)),
            Self::Talker(kind) => {
                let asks = if kind == Kind::GnuTls {
                    without_head(http, asks)
                } else {
                    asks
                };
                let (program, answers) = talk(kind, http, server, &asks);
                asked.add(&program, http, &asks, &answers);
            }
            Self::Raw(raw) => {
                // gnutls-cli takes seconds for a megabyte.
                let short = |ask: &Ask| ask.body < 100_000 && ask.answer_bytes() < 100_000;
                let asks: Vec<Ask> = asks.into_iter().filter(short).collect();
                asked.add(raw.program(), http, &asks, &raw.ask_all(server, &asks));
            }
            Self::H2load => {
                let load = Load {
                    requests: 40,
                    clients: 2,
                    streams: 10,
                    http,
                };
                load.put_down(server, "/hello", asked);
            }
        }
    }
}

/// Of an answer to HEAD by HTTP/2 libcurl does not wait for the end of the stream, which is another test.
fn without_head(http: Http, mut asks: Vec<Ask>) -> Vec<Ask> {
    asks.retain(|ask| http == Http::One || ask.method != "HEAD");
    asks
}

fn program(name: &str) -> Command {
    Command::new(need::which(name).unwrap_or_else(|| panic!("the test said that it needs {name}")))
}

fn url(server: &dyn Serves, path: &str) -> String {
    format!("https://127.0.0.1:{}{path}", server.port())
}

#[track_caller]
fn content(said: &Said) {
    assert_eq!(said.code, Some(0), "{}", said.error);
}

/// curl with OpenSSL: all requests in one process, as far as possible on one connection.
///
/// # Panics
/// If it fails or says something that is not understood.
#[track_caller]
pub fn curl(http: Http, server: &dyn Serves, asks: &[Ask]) -> Vec<Answer> {
    let directory = Workdir::new();
    let mut command = program("curl");
    for (place, ask) in asks.iter().enumerate() {
        if place > 0 {
            command.arg("--next");
        }
        command.args(["--silent", "--show-error", "--output", "/dev/null", "--cacert"]);
        command.arg(server.certificate());
        command.arg(match http {
            Http::One => "--http1.1",
            Http::Two => "--http2",
        });
        command.args([
            "--write-out",
            "%{http_code} %{size_download} %{time_appconnect} %{time_total} %{http_version}\\n",
        ]);
        match ask.method {
            "HEAD" => _ = command.arg("--head"),
            "POST" => {
                let file = directory.join(&format!("body-{}", ask.body));
                std::fs::write(&file, "x".repeat(ask.body)).expect("a file can be written");
                command.args(["--header", "Expect:", "--data-binary", &format!("@{}", file.display())]);
            }
            _ => {}
        }
        command.arg(url(server, ask.path));
    }
    let said = run(command);
    content(&said);
    let answer = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [status, body, shaken, all, version] = words[..] else {
            panic!("curl says {line:?}")
        };
        let number = |text: &str| {
            text.parse::<f64>()
                .unwrap_or_else(|error| panic!("curl says {line:?}: {error}"))
        };
        assert_eq!(version.split('.').next(), Some(http.digit()), "{line:?}");
        // Of a connection that was there, no handshake is told of.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a short time")]
        let took_ns = ((number(all) - number(shaken)) * 1e9) as u64;
        Answer {
            status: status
                .parse()
                .unwrap_or_else(|error| panic!("curl says {line:?}: {error}")),
            body: body
                .parse()
                .unwrap_or_else(|error| panic!("curl says {line:?}: {error}")),
            took_ns,
        }
    };
    said.out.lines().map(answer).collect()
}

/// wget with `GnuTLS`: GET only, one process. It tells no times.
///
/// # Panics
/// If it says something that is not understood.
#[track_caller]
pub fn wget(server: &dyn Serves, asks: &[Ask]) -> Vec<Answer> {
    let directory = Workdir::new();
    let mut command = program("wget");
    command
        .args(["--no-verbose", "--server-response", "--tries=1", "--content-on-error"])
        .arg(format!("--ca-certificate={}", server.certificate().display()))
        .arg(format!("--directory-prefix={}", directory.path().display()))
        .args(asks.iter().map(|ask| url(server, ask.path)));
    let said = run(command);
    let statuses = said.error.lines().filter_map(|line| {
        let status = line.strip_prefix("  HTTP/1.1 ")?;
        status.split(' ').next()?.parse::<u16>().ok()
    });
    let answers: Vec<Answer> = asks
        .iter()
        .zip(statuses)
        .map(|(ask, status)| Answer {
            status,
            body: ask.answer_bytes(),
            took_ns: 0,
        })
        .collect();
    assert_eq!(answers.len(), asks.len(), "wget says {}", said.error);
    let kept: u64 = std::fs::read_dir(directory.path())
        .into_iter()
        .flatten()
        .filter_map(|file| Some(file.ok()?.metadata().ok()?.len()))
        .sum();
    let told: u64 = asks.iter().map(Ask::answer_bytes).sum();
    assert_eq!(kept, told, "wget keeps every body: {}", said.error);
    answers
}

/// Programs that pass on what they are given to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// `gnutls-cli`.
    GnutlsCli,
    /// `openssl s_client`.
    SClient,
    /// That of OpenSSL 1.1.1.
    OldSClient,
    /// `tstclnt`, by NSS.
    Tstclnt,
    /// Our own, by the `BoringSSL` that Debian has of Android.
    BoringSsl,
}

impl Raw {
    /// Its program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::GnutlsCli => "gnutls-cli",
            Self::SClient | Self::OldSClient => "openssl",
            Self::Tstclnt => "tstclnt",
            Self::BoringSsl => "boringssl_client",
        }
    }

    /// Asks for all of them on one connection, one after the other; HTTP/1.1.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ask_all(self, server: &dyn Serves, asks: &[Ask]) -> Vec<Answer> {
        let mut talker = RawTalker::start(self, server);
        let answers = asks.iter().map(|ask| talker.ask(ask)).collect();
        talker.end();
        answers
    }
}

/// One of them, running.
#[derive(Debug)]
pub struct RawTalker {
    raw: Raw,
    piped: Piped,
}

impl RawTalker {
    /// Starts it; it connects.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn start(raw: Raw, server: &dyn Serves) -> Self {
        let directory = Workdir::new();
        let mut command = match raw {
            Raw::OldSClient => old::command("usr/bin/openssl"),
            Raw::BoringSsl => Command::new(boringssl_client(directory.path())),
            _ => program(raw.program()),
        };
        match raw {
            Raw::GnutlsCli => command
                .arg(format!("--x509cafile={}", server.certificate().display()))
                .arg(format!("--logfile={}", directory.join("said").display()))
                .arg(format!("--port={}", server.port()))
                .arg("127.0.0.1"),
            Raw::SClient | Raw::OldSClient => command
                .args(["s_client", "-quiet", "-no_ign_eof", "-verify_quiet", "-connect"])
                .arg(format!("127.0.0.1:{}", server.port()))
                .arg("-CAfile")
                .arg(server.certificate()),
            // Without a database, and so without trust.
            Raw::Tstclnt => command
                .args(["-D", "-o", "-h", "127.0.0.1", "-p"])
                .arg(server.port().to_string()),
            Raw::BoringSsl => command.arg(server.port().to_string()),
        };
        Self {
            raw,
            piped: Piped::start(raw.program(), command, directory),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.piped.child.pid()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn ask(&mut self, ask: &Ask) -> Answer {
        let length = if ask.body > 0 {
            format!("Content-Length: {}\r\n", ask.body)
        } else {
            String::new()
        };
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n",
            ask.method, ask.path
        );
        let started = crate::clock::now_ns();
        // In one write, since each is a record of its own.
        let request = [head.as_bytes(), &vec![b'x'; ask.body]].concat();
        let input = self.piped.input();
        input.write_all(&request).expect("the client reads");
        let (status, body) = read_answer(&mut self.piped.output, ask).unwrap_or_else(|| {
            panic!("{:?}, {ask:?}: no answer, {}", self.raw, self.piped.child.log());
        });
        Answer {
            status,
            body,
            took_ns: crate::clock::now_ns() - started,
        }
    }

    /// Lets it close its connection and end.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn end(mut self) {
        if self.raw == Raw::Tstclnt {
            // Of the end of its input it makes nothing: it waits for the server's.
            self.piped.child.end(Signal::TERM);
        }
        self.piped.input = None;
        self.piped.child.wait();
    }
}

/// Builds it. The library lies beside the loader's folders.
fn boringssl_client(directory: &Path) -> PathBuf {
    let program = directory.join(Raw::BoringSsl.program());
    let mut gcc = Command::new(need::which("gcc").expect("the test said that it needs BoringSSL"));
    gcc.args(["-O1", "-I", need::BORINGSSL_HEADERS, "-o"])
        .arg(&program)
        .arg(source("tls_boringssl.c"))
        .args([
            "-L",
            need::BORINGSSL,
            "-Wl,-rpath",
            need::BORINGSSL,
            "-lssl",
            "-lcrypto",
        ]);
    let said = run(gcc);
    assert_eq!(said.code, Some(0), "a client by BoringSSL: {}", said.error);
    program
}

/// Status and length of the body.
fn read_answer(from: &mut BufReader<ChildStdout>, ask: &Ask) -> Option<(u16, u64)> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    let status = line.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    let mut length = 0;
    loop {
        line.clear();
        from.read_line(&mut line).ok()?;
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
    }
    if ask.method == "HEAD" {
        length = 0;
    }
    let mut body = vec![0; usize::try_from(length).ok()?];
    std::io::Read::read_exact(from, &mut body).ok()?;
    Some((status, length))
}
