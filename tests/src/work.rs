//! Applications that call databases, caches and other services, and write down for which request they did: the truth about
//! attribution. Each answers `GET /work/{databases}/{caches}/{externals}`.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::agent::{Agent, free_port};
use crate::child::{Child, Workdir};
use crate::client::Connection;
use crate::nginx::wait_for_port;
use crate::python::{SYSTEM, source};
use crate::store::Store;
use crate::tls::go::{self, Go};
use crate::{need, wait};

/// How long the other service takes to answer.
pub const OTHER_TAKES: Duration = Duration::from_millis(5);
/// The classes of calls, as the application and the API call them.
pub const CLASSES: [&str; 3] = ["database", "cache", "external"];

/// A running application.
#[derive(Debug)]
pub struct Application {
    // Ends before its directory goes.
    _child: Child,
    port: u16,
    log: PathBuf,
    /// The first part of the paths.
    way: &'static str,
    _directory: Workdir,
}

/// What the applications call.
#[derive(Debug)]
pub struct Backends {
    /// `PostgreSQL`.
    pub postgresql: Store,
    /// Redis.
    pub redis: Store,
    /// `MariaDB`, for those that use it.
    pub mariadb: Option<Store>,
    /// Port of the other service, whose threads go with this program.
    pub other: u16,
}

impl Backends {
    /// Starts them.
    #[track_caller]
    pub fn start(with_mariadb: bool) -> Self {
        Self {
            postgresql: Store::postgresql(),
            redis: Store::redis(),
            mariadb: with_mariadb.then(Store::mariadb),
            other: other(),
        }
    }

    /// Their ports and URL, as most applications want them.
    fn arguments(&self, with_database: bool) -> impl Iterator<Item = String> {
        let database = with_database.then(|| self.postgresql.port().to_string());
        let others = [self.redis.port().to_string(), self.other_url()];
        database.into_iter().chain(others)
    }

    fn other_url(&self) -> String {
        format!("http://127.0.0.1:{}/other", self.other)
    }
}

/// An HTTP server that takes [`OTHER_TAKES`] for each answer. Gives its port.
fn other() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let port = listener.local_addr().expect("a listener has an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut bytes = [0; 4096];
                // A request of no body, read at once.
                while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                    std::thread::sleep(OTHER_TAKES);
                    if stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
    port
}

impl Application {
    /// `FastAPI` on uvicorn and a loop, with asyncpg, redis and httpx. The calls are made in one of the ways that it has.
    #[track_caller]
    pub fn fastapi(backends: &Backends, event_loop: &str, way: &'static str) -> Self {
        let command = Command::new(need::venv().join("bin/python"));
        let arguments = backends.arguments(true).chain([event_loop.to_owned()]);
        let started = Self::start("fastapi", command, "work_fastapi.py", arguments);
        Self { way, ..started }
    }

    /// Node, with pg and redis.
    #[track_caller]
    pub fn node(backends: &Backends) -> Self {
        let mut command = Command::new("node");
        command.env("NODE_PATH", need::node_modules());
        Self::start("node", command, "work_node.js", backends.arguments(true))
    }

    /// Go's standard library, a goroutine for each connection.
    #[track_caller]
    pub fn go(backends: &Backends) -> Self {
        let program = go::build(Go::Newest, &source("work_go.go"), false);
        Self::start("go", Command::new(program), "", backends.arguments(false))
    }

    /// The same, of which the process goes on as another program when it is told to; it asks the other service alone.
    #[track_caller]
    pub fn go_before_asyncio() -> Self {
        let program = go::build(Go::Newest, &source("work_go.go"), false);
        let next = [SYSTEM.to_owned(), source("work_asyncio.py").display().to_string()];
        let no_redis = "0".to_owned();
        let arguments = [no_redis, format!("http://127.0.0.1:{}/other", other())];
        let arguments = arguments.into_iter().chain(next);
        Self::start("go", Command::new(program), "", arguments)
    }

    /// Its process goes on as the other program, after as many requests as it takes the agent to know it.
    ///
    /// # Panics
    /// If that does not get ready in time.
    #[track_caller]
    pub fn becomes_asyncio(&self) {
        let mut connection = Connection::port(self.port).expect("the application listens");
        for _ in 0..100 {
            connection.get("/work/0/0/1").expect("it answers");
        }
        connection.get("/become").expect_err("nobody answers any more");
        // The first program's socket may take connections for a moment longer than this one lived.
        wait::wait_until(wait::START, "the next program answers", || {
            let reply = Connection::port(self.port).ok()?.get("/work/0/0/0").ok()?;
            (reply.status == 200).then_some(())
        });
    }

    /// Flask on gunicorn, with psycopg, `PyMySQL` and redis: four processes, or one with threads.
    ///
    /// # Panics
    /// If it does not get ready in time, or there is no `MariaDB`.
    #[track_caller]
    pub fn flask(backends: &Backends, threads: bool) -> Self {
        let (port, directory) = (free_port(), Workdir::new());
        let log = directory.join("truth");
        let mut command = Command::new(need::venv().join("bin/python"));
        let workers: &[&str] = if threads {
            &["--worker-class", "gthread", "--threads", "8"]
        } else {
            &["--worker-class", "sync", "--workers", "4"]
        };
        let mariadb = backends.mariadb.as_ref().expect("started with MariaDB");
        command
            .args(["-m", "gunicorn", "--no-control-socket", "--bind"])
            .arg(format!("127.0.0.1:{port}"))
            .args(workers)
            .arg("--chdir")
            .arg(source(""))
            .arg("work_flask:app")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LOG", &log)
            .env("POSTGRES", backends.postgresql.port().to_string())
            .env("MYSQL", mariadb.port().to_string())
            .env("REDIS", backends.redis.port().to_string())
            .env("OTHER", backends.other_url());
        Self::running("flask", command, port, log, directory)
    }

    #[track_caller]
    fn start(name: &str, command: Command, program: &str, arguments: impl Iterator<Item = String>) -> Self {
        let (port, directory) = (free_port(), Workdir::new());
        let log = directory.join("truth");
        let mut command = command;
        if !program.is_empty() {
            command.arg(source(program));
        }
        command.arg(port.to_string()).arg(&log).args(arguments);
        Self::running(name, command, port, log, directory)
    }

    #[track_caller]
    fn running(name: &str, command: Command, port: u16, log: PathBuf, directory: Workdir) -> Self {
        let mut child = Child::start(name, command, directory.path());
        wait_for_port(&mut child, port);
        Self {
            _child: child,
            port,
            log,
            way: "work",
            _directory: directory,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends so many requests, so many at once, whose ids begin with `name`; what each asks for is different. After an
    /// answer a client waits for as long as `pause`.
    ///
    /// # Panics
    /// If one is not answered with 200.
    #[track_caller]
    pub fn load(&self, name: &str, [requests, at_once]: [u32; 2], pause: Duration) {
        let next = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    let mut connection = Connection::port(self.port).expect("the application listens");
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            return;
                        }
                        // All mixtures come, and neighbours differ.
                        let mixed = number.wrapping_mul(0x9e37_79b9) >> 16;
                        let (databases, caches, externals) = (mixed % 4, mixed / 4 % 5, mixed / 20 % 3);
                        let request = format!(
                            "GET /{}/{databases}/{caches}/{externals} HTTP/1.1\r\nHost: work\r\nX-Request-Id: {name}-{number}\r\n\r\n",
                            self.way
                        );
                        let reply = connection.exchange(request.as_bytes(), false).expect("it answers");
                        assert_eq!(reply.status, 200, "{request}");
                        if reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                            connection = Connection::port(self.port).expect("the application listens");
                        }
                        std::thread::sleep(pause);
                    }
                });
            }
        });
    }

    /// What it wrote down of each request: per class, the milliseconds of each call, on the wire if it knows that.
    ///
    /// # Panics
    /// If its file is not as it should be.
    pub fn truth(&self, name: &str) -> HashMap<String, [Vec<TrueTime>; 3]> {
        let text = std::fs::read_to_string(&self.log).expect("it wrote a log");
        let mut truth = HashMap::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            let id = line["id"].as_str().expect("an id");
            // One that had to connect made calls that it does not know of.
            if !id.starts_with(name) || line["fresh"] == true {
                continue;
            }
            let mut calls: [Vec<TrueTime>; 3] = Default::default();
            for call in line["calls"].as_array().expect("calls") {
                let class = CLASSES.iter().position(|class| call[0] == *class).expect("a class");
                let between = |from: usize| Some((call[from + 1].as_f64()? - call[from].as_f64()?) / 1e6);
                calls[class].push(TrueTime {
                    application_ms: between(1).expect("times"),
                    wire_ms: between(3),
                });
            }
            truth.insert(id.to_owned(), calls);
        }
        truth
    }
}

/// How long a call took.
#[derive(Clone, Copy, Debug)]
pub struct TrueTime {
    /// For the application, with all that its libraries do.
    pub application_ms: f64,
    /// From before its first byte was sent to behind the last one received.
    pub wire_ms: Option<f64>,
}

/// What the agent said of requests, compared with what the application did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Requests.
    pub requests: u64,
    /// Calls that the application made.
    pub calls: u64,
    /// Of them, those that the agent gave to the right request.
    pub right: u64,
    /// Calls that it gave to a request that had not made them.
    pub wrong: u64,
    /// Times that it said a call may have been this request's.
    pub ambiguous: u64,
    /// Times of a class in a request, of which all calls were known.
    pub times: Times,
    /// The same, on the wire.
    pub wire_times: Times,
    /// Of each class, calls and those that are right.
    pub by_class: [(u64, u64); 3],
}

/// The agent's times, compared with true ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// Those that differ by more than 5 % and 0.2 ms.
    pub off: u64,
    /// The differences, agent less truth, ascending, milliseconds.
    pub differences_ms: Vec<f64>,
}

impl Times {
    fn compare(&mut self, told_ms: f64, true_ms: f64) {
        let difference_ms = told_ms - true_ms;
        self.off += u64::from(difference_ms.abs() > 0.05 * true_ms + 0.2);
        let place = self.differences_ms.partition_point(|other| *other < difference_ms);
        self.differences_ms.insert(place, difference_ms);
    }

    /// The part of them that is off.
    pub fn off_part(&self) -> f64 {
        self.off as f64 / self.differences_ms.len().max(1) as f64
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.differences_ms.len();
        let at = |permille: usize| self.differences_ms.get(count * permille / 1000).copied();
        let [low, median, high] = [50, 500, 950].map(|permille| at(permille).unwrap_or_default());
        write!(
            f,
            "{} of {count} off, differences {low:.3} {median:.3} {high:.3} ms",
            self.off
        )
    }
}

impl Score {
    /// Part of the calls that are right.
    pub fn right_part(&self) -> f64 {
        self.right as f64 / self.calls.max(1) as f64
    }

    /// Calls given to the wrong request, as a part of all.
    pub fn wrong_part(&self) -> f64 {
        self.wrong as f64 / self.calls.max(1) as f64
    }
}

/// Compares once the agent knows of all requests.
///
/// # Panics
/// If it does not in time.
#[track_caller]
pub fn compare(agent: &Agent, application: &Application, name: &str) -> Score {
    let truth = application.truth(name);
    let seen = wait::settle(wait::SETTLE, "every request is in the log", || {
        let mut requests = agent.api().get("/api/v1/requests?limit=10000&status=200");
        let Value::Array(requests) = requests["requests"].take() else {
            return Err("no array".to_owned());
        };
        let seen: HashMap<String, Value> = requests
            .into_iter()
            .filter(|request| request["role"] == "server")
            .filter_map(|request| Some((request["request_id"].as_str()?.to_owned(), request)))
            .collect();
        let missing = truth.keys().filter(|id| !seen.contains_key(*id)).count();
        if missing == 0 {
            Ok(seen)
        } else {
            Err(format!("{missing} of {} are missing", truth.len()))
        }
    });
    let mut score = Score::default();
    for (id, calls) in &truth {
        let breakdown = &seen[id]["breakdown"];
        score.requests += 1;
        score.ambiguous += breakdown["ambiguous_calls"].as_u64().unwrap_or(0);
        for (class, calls) in calls.iter().enumerate() {
            let name = CLASSES[class];
            let made = calls.len() as u64;
            let told = breakdown[format!("{name}_calls")].as_u64().unwrap_or(0);
            score.calls += made;
            score.right += made.min(told);
            if told > made {
                eprintln!("{id}: {told} calls of {name}, made {made}");
            }
            score.by_class[class].0 += made;
            score.by_class[class].1 += made.min(told);
            score.wrong += told.saturating_sub(made);
            if made == told && made > 0 {
                let told_ms = breakdown[format!("{name}_ms")].as_f64().unwrap_or(0.0);
                let application_ms = calls.iter().map(|call| call.application_ms).sum();
                score.times.compare(told_ms, application_ms);
                if let Some(wire_ms) = calls.iter().map(|call| call.wire_ms).sum() {
                    score.wire_times.compare(told_ms, wire_ms);
                }
            }
        }
    }
    score
}
