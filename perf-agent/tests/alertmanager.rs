//! The real Alertmanager of Prometheus takes the agent's alerts: they fire, and they are over when the agent says so.
//!
//! Without the program (Debian's package `prometheus-alertmanager`) it says so and passes, except in CI.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use perf_agent::alert::{Alert, Notification, Reason, State};
use perf_agent::clock;
use perf_agent::notify::alertmanager::{Alertmanager, Settings};
use perf_agent::notify::deliver::Policy;
use perf_agent::notify::outbox::Outbox;
use perf_agent::notify::receiver::{Receiver, Way};
use perf_agent::notify::{Clock, Notifier, Origin, http};
use perf_agent::threshold::{Severity, Subject};
use serde_json::Value;

const PROGRAM: &str = "prometheus-alertmanager";
const CONFIGURATION: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
/// How long a condition may take to be met.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that ends with its test.
struct Server {
    process: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- {PROGRAM} wrote:\n{log}---");
        }
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

impl Server {
    /// `None` without the program.
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("am.yml"), CONFIGURATION).unwrap();
        // Free a moment ago; whoever took it since makes the test fail loudly.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let log = File::create(directory.path().join("log")).unwrap();
        let started = Command::new(PROGRAM)
            .arg("--config.file=am.yml")
            .arg(format!("--storage.path={}", Path::new("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // None: it is alone.
            .arg("--cluster.listen-address=")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        match started {
            Ok(process) => Some(Self {
                process,
                port,
                directory,
            }),
            Err(error) => {
                let text = format!("{PROGRAM}: {error}");
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
                eprintln!("left out: it needs {text}");
                None
            }
        }
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let said = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(said)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(said)?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(said)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(said)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        if !head.starts_with("HTTP/1.0 200") {
            return Err(answer);
        }
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    /// Its alerts, with those that are over left out.
    fn alerts(&self) -> Result<Vec<Value>, String> {
        let alerts = self.get("/api/v2/alerts")?;
        alerts.as_array().cloned().ok_or_else(|| alerts.to_string())
    }
}

/// Looks until it is so. The error says what it is instead.
async fn until<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let started_ns = clock::monotonic_ns();
    loop {
        match look() {
            Ok(found) => return found,
            Err(error) => {
                let waited = Duration::from_nanos(clock::monotonic_ns() - started_ns);
                assert!(waited < PATIENCE, "not so in time: {error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn told(group: &str, endpoint: &str) -> Notification {
    let now_ns = clock::wall_ns();
    let alert = Alert {
        id: "00000000000000ff".to_owned(),
        state: State::Firing,
        severity: Severity::Critical,
        threshold_id: "slow".to_owned(),
        metric: "response_time_p95".to_owned(),
        subject: Subject {
            key: format!("endpoint:{endpoint}"),
            name: "GET /users/{id} of shop:8080".to_owned(),
            service: Some("shop".to_owned()),
            endpoint: Some(endpoint.to_owned()),
        },
        value: Some(312.0),
        limit: 200.0,
        since_wall_ns: now_ns - 2_000_000_000,
        fired_wall_ns: Some(now_ns - 1_000_000_000),
        resolved_wall_ns: None,
        message: "p95 is 312 ms, more than 200 ms".to_owned(),
        runbook: Some("https://wiki/slow".to_owned()),
        silenced_by: None,
        inhibited_by: None,
    };
    Notification {
        receiver: "am".to_owned(),
        group: group.to_owned(),
        wall_ns: now_ns,
        reason: Reason::New,
        alerts: vec![alert],
        more: 0,
    }
}

fn over(told: &Notification) -> Notification {
    let mut told = told.clone();
    told.reason = Reason::Resolved;
    told.wall_ns = clock::wall_ns();
    for alert in &mut told.alerts {
        alert.state = State::Resolved;
        alert.resolved_wall_ns = Some(told.wall_ns);
    }
    told
}

#[tokio::test]
async fn an_alert_fires_is_kept_alive_and_is_resolved() {
    let Some(server) = Server::start() else { return };
    until(|| server.get("/api/v2/status")).await;
    let settings = Settings {
        http: http::Settings {
            url: Some(format!("http://127.0.0.1:{}", server.port).into()),
            ..http::Settings::default()
        },
        labels: [("cluster".to_owned(), "eu".to_owned())].into(),
    };
    let way = Way::Alertmanager(Alertmanager::new(&settings).unwrap());
    let receivers = vec![Receiver::new("am", way).unwrap()];
    let origin = Origin {
        instance: "web-1".to_owned(),
        version: "1".to_owned(),
    };
    let policy = Policy {
        again: Duration::from_millis(200),
        ..Policy::default()
    };
    let outbox = Outbox::open(Some(&server.directory.path().join("outbox.redb")), Clock::default());
    let notifier = Notifier::start(receivers, outbox, origin, policy).unwrap();

    let (one, other) = (told("shop", "1"), told("host", "2"));
    notifier.send(one.clone());
    notifier.send(other.clone());
    let alerts = until(|| {
        let alerts = server.alerts()?;
        (alerts.len() == 2)
            .then_some(alerts)
            .ok_or_else(|| "not two alerts".to_owned())
    })
    .await;
    let of = |alerts: &[Value], subject: &str| -> Option<Value> {
        alerts
            .iter()
            .find(|alert| alert["labels"]["subject"] == subject)
            .cloned()
    };
    let alert = of(&alerts, "endpoint:1").unwrap();
    let expected = serde_json::json!({
        "alertname": "slow", "threshold": "slow", "severity": "critical", "metric": "response_time_p95",
        "subject": "endpoint:1", "service": "shop", "instance": "web-1", "cluster": "eu",
    });
    assert_eq!(alert["labels"], expected);
    assert_eq!(alert["annotations"]["summary"], "p95 is 312 ms, more than 200 ms");
    assert_eq!(alert["annotations"]["runbook_url"], "https://wiki/slow");
    assert_eq!(alert["status"]["state"], "active");

    // It is sent again, so its end moves on.
    until(|| {
        let again = of(&server.alerts()?, "endpoint:1").ok_or("it is gone")?;
        let moved = again["endsAt"].as_str() > alert["endsAt"].as_str();
        moved.then_some(()).ok_or_else(|| format!("{again}"))
    })
    .await;

    notifier.send(over(&one));
    until(|| match of(&server.alerts()?, "endpoint:1") {
        None => Ok(()),
        Some(alert) => Err(format!("{alert}")),
    })
    .await;
    assert!(
        of(&server.alerts().unwrap(), "endpoint:2").is_some(),
        "the other one fires on"
    );
    notifier.send(over(&other));
    until(|| match server.alerts()?.len() {
        0 => Ok(()),
        n => Err(format!("{n} alerts")),
    })
    .await;

    assert_eq!(notifier.test("is anybody there?").await, [("am".to_owned(), Ok(()))]);
    let test = until(|| of(&server.alerts()?, "agent").ok_or_else(|| "no test".to_owned())).await;
    assert_eq!(test["annotations"]["summary"], "is anybody there?");

    let state = notifier.state();
    assert_eq!(state.degraded, None);
    let receiver = &state.receivers[0];
    assert_eq!(
        (receiver.delivered, receiver.failed, receiver.waiting),
        (4, 0, 0),
        "{receiver:?}"
    );
    notifier.stop().await;
}
