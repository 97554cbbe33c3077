//! A Prometheus of the test's own, and what it knows.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::agent::free_port;
use crate::child::{Child, Workdir, run};
use crate::client::Connection;
use crate::{need, wait};

/// A running Prometheus that scrapes one target each second.
#[derive(Debug)]
pub struct Prometheus {
    // Ends before its directory goes.
    child: Child,
    port: u16,
    _directory: Workdir,
}

/// Which histograms it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Histograms {
    /// Those with fixed bounds, and exemplars.
    Classic,
    /// Exponential ones.
    Native,
}

/// `promtool` with these arguments.
///
/// # Panics
/// If it is not installed.
pub fn promtool(arguments: &[&str]) -> Command {
    let mut command = Command::new(need::which("promtool").expect("the test said that it needs Prometheus"));
    command.args(arguments);
    command
}

fn program() -> PathBuf {
    need::which("prometheus").expect("the test said that it needs Prometheus")
}

/// From 3.8 on, the configuration says whether native histograms are kept; before, a feature flag does.
fn configures_native() -> bool {
    let mut command = Command::new(program());
    command.arg("--version");
    let said = run(command);
    let text = format!("{}{}", said.out, said.error);
    let version = text.split("version ").nth(1).unwrap_or_default();
    let mut numbers = version
        .split(['.', '+', ','])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    assert!(version >= (2, 40), "a Prometheus that has native histograms: {text}");
    version >= (3, 8)
}

impl Prometheus {
    /// Starts one that scrapes `/metrics` on this port.
    ///
    /// # Panics
    /// If it does not get ready in time.
    #[track_caller]
    pub fn start(histograms: Histograms, target: u16) -> Self {
        let (port, directory) = (free_port(), Workdir::new());
        let is_native = histograms == Histograms::Native;
        let native = if is_native && configures_native() {
            "scrape_native_histograms: true"
        } else {
            ""
        };
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
            scrape_configs:\n  - job_name: perf-agent\n    static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n    {native}\n"
        );
        let configuration = directory.join("prometheus.yml");
        std::fs::write(&configuration, text).expect("a file can be written");
        let feature = if is_native {
            "native-histograms"
        } else {
            "exemplar-storage"
        };
        let mut command = Command::new(program());
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--enable-feature={feature}"));
        let mut prometheus = Self {
            child: Child::start("prometheus", command, directory.path()),
            port,
            _directory: directory,
        };
        wait::wait_until(wait::START, "Prometheus gets ready", || {
            let ended = prometheus.child.try_wait();
            assert!(ended.is_none(), "it ended instead: {}", prometheus.child.log());
            let reply = Connection::port(port).ok()?.get("/-/ready").ok()?;
            (reply.status == 200).then_some(())
        });
        prometheus
    }

    /// What it answers at a path of its API.
    ///
    /// # Panics
    /// If it does not answer with success.
    #[track_caller]
    pub fn ask(&self, path: &str) -> Value {
        let reply = Connection::port(self.port).and_then(|mut connection| connection.get(path));
        let reply = reply.unwrap_or_else(|error| panic!("cannot ask Prometheus for {path}: {error}"));
        let body = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 200, "GET {path}: {body}");
        let mut answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        answer["data"].take()
    }

    /// The value of an expression that has one series; `None` if it has none.
    ///
    /// # Panics
    /// If it has several.
    #[track_caller]
    pub fn value(&self, expression: &str) -> Option<f64> {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(expression)));
        let series = answer["result"].as_array().expect("a vector");
        assert!(series.len() <= 1, "{expression}: {answer}");
        let value = series.first()?["value"][1].as_str().expect("a number as text");
        Some(value.parse().expect("a number"))
    }
}

/// As a part of a query.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            _ = write!(encoded, "%{byte:02X}"); // a string takes anything
        }
    }
    encoded
}
