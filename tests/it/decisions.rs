//! From load to decision: a service becomes slow, then fails, then is well again, and the agent says so by itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use perf_agent_tests::agent::{Agent, command, free_port};
use perf_agent_tests::api::number;
use perf_agent_tests::child::{Child, Workdir};
use perf_agent_tests::client::Connection;
use perf_agent_tests::need;
use perf_agent_tests::nginx::wait_for_port;
use perf_agent_tests::python::source;
use perf_agent_tests::receiver::Receiver;
use perf_agent_tests::wait;
use serde_json::Value;

/// The shop and the service that it asks.
struct Shop {
    port: u16,
    mode: std::path::PathBuf,
    _processes: [Child; 2],
}

impl Shop {
    fn start(directory: &Workdir) -> Self {
        let mode = directory.join("mode");
        fs::write(&mode, "fast").unwrap();
        let start = |role: &str, python: &Path, argument: &str| {
            let port = free_port();
            let mut command = Command::new(python);
            command
                .arg(source("shop_app.py"))
                .arg(port.to_string())
                .args([role, argument]);
            let mut child = Child::start(role, command, directory.path());
            wait_for_port(&mut child, port);
            (child, port)
        };
        let python = need::venv().join("bin/python");
        let (backend, backend_port) = start("backend", &python, mode.to_str().unwrap());
        let (shop, port) = start("shop", &python, &backend_port.to_string());
        Self {
            port,
            mode,
            _processes: [backend, shop],
        }
    }

    fn is(&self, mode: &str) {
        // In one step: it is read at any moment.
        let next = self.mode.with_extension("next");
        fs::write(&next, mode).unwrap();
        fs::rename(next, &self.mode).unwrap();
    }

    /// So many orders, over so many connections at once.
    fn orders(&self, count: usize, at_once: usize) {
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    let mut connection = Connection::port(self.port).unwrap();
                    for number in 0..count / at_once {
                        connection.get(&format!("/orders/{number}")).unwrap();
                    }
                });
            }
        });
    }
}

fn alerts(agent: &Agent, state: &str) -> Vec<Value> {
    let mut answer = agent.api().get(&format!("/api/v1/alerts?state={state}"));
    answer["alerts"].as_array_mut().map(std::mem::take).unwrap()
}

/// The alert of a threshold that fires for the shop's orders.
#[track_caller]
fn fires(agent: &Agent, threshold: &str) -> Value {
    wait::settle(Duration::from_secs(30), &format!("{threshold} fires"), || {
        let firing = alerts(agent, "firing");
        let is_it = |alert: &&Value| {
            alert["threshold_id"] == threshold && alert["subject"].as_str().unwrap().contains("/orders/{id}")
        };
        firing.iter().find(is_it).cloned().ok_or_else(|| format!("{firing:#?}"))
    })
}

fn penalty(agent: &Agent, rule: &str) -> Option<u64> {
    let health = agent.api().get("/api/v1/health");
    let penalties = health["penalties"].as_array().unwrap();
    penalties.iter().find(|penalty| penalty["rule"] == rule)?["points"].as_u64()
}

/// Keeps asking for orders until `look` has seen what it waits for.
fn meanwhile<T>(shop: &Shop, [count, at_once]: [usize; 2], look: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                shop.orders(count, at_once);
            }
        });
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
        over.store(true, Ordering::Relaxed);
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[track_caller]
fn loses(agent: &Agent, deadline: Duration, expected: [Option<u64>; 2]) {
    wait::settle(
        deadline,
        &format!("points lost for time and errors are {expected:?}"),
        || {
            let lost = [penalty(agent, "response_time"), penalty(agent, "error_rate")];
            (lost == expected).then_some(()).ok_or_else(|| format!("{lost:?}"))
        },
    );
}

/// The alert of slow orders, and the advice that names what they wait for.
fn is_slow(agent: &Agent) {
    let slow = fires(agent, "response-time-warning");
    assert_eq!((&slow["severity"], &slow["limit"]), (&"warning".into(), &500.0.into()));
    assert!(number(&slow["value"]) > 500.0, "{slow}");
    assert_eq!(slow["runbook"], "https://runbooks.example/slow");
    loses(agent, wait::SETTLE, [Some(10), None]);
    wait::settle(Duration::from_secs(30), "the advice names the cause", || {
        let advice = agent.api().get("/api/v1/recommendations");
        let all = advice.as_array().unwrap();
        let is_it = |one: &&Value| one["rule"] == "slow_endpoint" && one["endpoint_id"] == slow["endpoint_id"];
        let text = all.iter().find(is_it).map(|one| one["text"].to_string());
        let names_it = text.is_some_and(|text| text.contains("/stock/{id}"));
        names_it.then_some(()).ok_or_else(|| format!("{advice:#}"))
    });
}

/// Everything is over, and the receiver hears of it.
fn is_well_again(agent: &Agent, receiver: &Receiver) -> Vec<Value> {
    wait::settle(Duration::from_mins(3), "both are resolved", || {
        let resolved = alerts(agent, "resolved");
        let is_there = |threshold: &str| resolved.iter().any(|alert| alert["threshold_id"] == threshold);
        let both = is_there("response-time-warning") && is_there("error-rate-error");
        both.then_some(())
            .ok_or_else(|| format!("{:#?}", alerts(agent, "firing")))
    });
    loses(agent, Duration::from_mins(2), [None, None]);
    wait::settle(Duration::from_mins(2), "the receiver hears that it is over", || {
        let told = receiver.received();
        let is_over = told.iter().any(|told| told["reason"] == "resolved");
        is_over.then_some(told).ok_or_else(|| "not yet".to_owned())
    })
}

fn configuration(receiver: &Receiver) -> String {
    format!(
        r#"
[resources]
every = "2s"
[alerts]
defaults = false
group_wait = "1s"
group_interval = "2s"
[[alerts.thresholds]]
id = "response-time-warning"
metric = "response_time_mean"
value = 500
min_count = 20
severity = "warning"
runbook = "https://runbooks.example/slow"
[[alerts.thresholds]]
id = "error-rate-error"
metric = "error_rate"
value = 0.05
min_count = 20
severity = "error"
[[alerts.receivers]]
name = "hook"
kind = "webhook"
url = "{}"
"#,
        receiver.url()
    )
}

#[test]
fn a_service_that_becomes_slow_and_fails_is_told_of_until_it_is_well_again() {
    need!(Agent, Root, Venv);
    let directory = Workdir::new();
    let receiver = Receiver::start();
    let file = directory.join("perf-agent.toml");
    fs::write(&file, configuration(&receiver)).unwrap();
    let shop = Shop::start(&directory);
    let agent = Agent::serving(command(["run", "--config", file.to_str().unwrap()]));
    let tried = agent.api().post("/api/v1/alerts/test", "");
    assert_eq!(tried["receivers"][0]["delivered"], true, "{tried}");
    assert_eq!(receiver.received().len(), 1);

    // Well.
    shop.orders(40, 4);
    wait::settle(wait::SETTLE, "the host and its services are well known", || {
        let health = agent.api().get("/api/v1/health");
        let known = health["unknown"].as_array().is_some_and(Vec::is_empty);
        known.then_some(()).ok_or_else(|| health.to_string())
    });
    loses(&agent, wait::SETTLE, [None, None]);
    let of_services = |alert: &&Value| alert["service"] != Value::Null;
    assert_eq!(alerts(&agent, "firing").iter().filter(of_services).count(), 0);

    // Slow: 0.7 s in the other service, for each of them.
    shop.is("slow");
    meanwhile(&shop, [16, 16], || is_slow(&agent));

    // Failing, and fast.
    shop.is("failing");
    shop.orders(64, 8);
    let failing = fires(&agent, "error-rate-error");
    assert!(number(&failing["value"]) > 0.05, "{failing}");
    wait::settle(wait::SETTLE, "30 points are lost for errors", || {
        let lost = penalty(&agent, "error_rate");
        (lost == Some(30)).then_some(()).ok_or_else(|| format!("{lost:?}"))
    });

    // Well again, and much of it.
    shop.is("fast");
    let told = meanwhile(&shop, [400, 8], || is_well_again(&agent, &receiver));
    let first = told.iter().find(|told| told["reason"] == "new");
    let first = first.expect("it was told when it began").to_string();
    assert!(first.contains("/orders/{id}"), "{first}");
    agent.stop();
}
