//! What is decided by, and who is told: the configuration's `[alerts]`, `[health]` and `[resources]`. There are no options
//! for it, since it does not fit a line.

use std::str::FromStr;
use std::time::Duration;

use super::Faults;
use crate::aggregate::Window;
use crate::alert::group::Escalation;
use crate::alert::{self, group};
use crate::config::sections::{Alerts, File, PenaltyEntry, ThresholdEntry};
use crate::decide::{FileRules, Settings};
use crate::health;
use crate::notify::receiver::lists_all;
use crate::threshold::{Draft, Severity, Source};

/// No wait is longer.
const LONGEST: Duration = Duration::from_hours(24 * 7);
/// Thresholds that a file may have.
const THRESHOLDS: usize = 1_000;

/// What is meant.
pub(in crate::cli) fn settings(file: &File, faults: &mut Faults) -> Settings {
    let usual = Settings::default();
    let every = length(
        "resources.every",
        file.resources.every.as_deref(),
        usual.resources_every,
        faults,
    );
    // What is older than a minute says nothing of now, and no threshold is held against it.
    if !(Duration::from_secs(1)..=Duration::from_secs(30)).contains(&every) {
        faults.add("resources.every: expected 1s to 30s");
    }
    Settings {
        rules: rules(&file.alerts, faults),
        alerts: alerts(&file.alerts, faults),
        health: score(file, faults),
        resources_every: every,
    }
}

fn rules(section: &Alerts, faults: &mut Faults) -> FileRules {
    let mut rules = FileRules {
        defaults: section.defaults.unwrap_or(true),
        thresholds: Vec::new(),
    };
    if section.thresholds.len() > THRESHOLDS {
        faults.add(format!("alerts.thresholds: more than {THRESHOLDS}"));
    }
    for (number, entry) in section.thresholds.iter().enumerate().take(THRESHOLDS) {
        let name = entry.id.clone().unwrap_or_else(|| format!("number {}", number + 1));
        match draft(entry).check(Source::File) {
            Ok(threshold) if rules.thresholds.iter().any(|other| other.id == threshold.id) => {
                faults.add(format!("alerts.thresholds {name}: there is another one of this id"));
            }
            Ok(threshold) => rules.thresholds.push(threshold),
            Err(wrong) => {
                for fault in wrong {
                    faults.add(format!("alerts.thresholds {name}: {fault}"));
                }
            }
        }
    }
    rules
}

fn draft(entry: &ThresholdEntry) -> Draft {
    let entry = entry.clone();
    Draft {
        id: entry.id,
        metric: entry.metric,
        scope: entry.scope,
        comparison: entry.comparison,
        value: entry.value,
        clear: entry.clear,
        window: entry.window,
        for_: entry.for_,
        min_count: entry.min_count,
        severity: entry.severity,
        message: entry.message,
        runbook: entry.runbook,
    }
}

fn alerts(section: &Alerts, faults: &mut Faults) -> alert::Settings {
    let usual = alert::Settings::default();
    let mut wait = |key, text: &Option<String>, usual| {
        let read = length(key, text.as_deref(), usual, faults);
        if read > LONGEST {
            faults.add(format!("{key}: expected at most 168h"));
        }
        read
    };
    let group_wait = wait("alerts.group_wait", &section.group_wait, usual.group_wait);
    let group_interval = wait("alerts.group_interval", &section.group_interval, usual.group_interval);
    let repeat_interval = wait(
        "alerts.repeat_interval",
        &section.repeat_interval,
        usual.repeat_interval,
    );
    let known = |name: &String| section.receivers.iter().any(|entry| entry.name.as_ref() == Some(name));
    let mut escalation = Vec::new();
    for entry in &section.escalate {
        for name in entry.receivers.iter().filter(|name| !known(name)) {
            faults.add(format!("alerts.escalate: there is no receiver {name:?}"));
        }
        let after = length("alerts.escalate after", Some(&entry.after), Duration::ZERO, faults);
        if after > LONGEST {
            faults.add("alerts.escalate after: expected at most 168h");
        }
        escalation.push(Escalation {
            after,
            receivers: entry.receivers.clone(),
        });
    }
    let receivers = section.receivers.iter().filter_map(|entry| {
        let name = entry.name.clone()?;
        let text = entry.min_severity.as_deref().unwrap_or("warning");
        let min_severity = Severity::from_name(text).ok_or_else(|| {
            format!("alerts.receivers {name}: min_severity {text}: expected warning, error or critical")
        });
        Some(group::Receiver {
            min_severity: faults.take(min_severity)?,
            only_escalated: entry.only_escalated == Some(true),
            lists_all: entry.kind.as_deref().is_some_and(lists_all),
            name,
        })
    });
    alert::Settings {
        receivers: receivers.collect(),
        group_wait,
        group_interval,
        repeat_interval,
        escalation,
    }
}

fn score(file: &File, faults: &mut Faults) -> health::Settings {
    let section = &file.health;
    let usual = health::Settings::default();
    let window = section.window.as_deref().map_or(Ok(usual.window), |text| {
        let words = Window::ALL.map(Window::name).join(", ");
        Window::from_name(text).ok_or_else(|| format!("health.window {text}: expected one of {words}"))
    });
    let mut limits = |key: &str, entries: &Option<Vec<PenaltyEntry>>, usual: Vec<health::Limit>| {
        let Some(entries) = entries else { return usual };
        if entries
            .iter()
            .any(|entry| entry.points > 100 || !(0.0..=f64::MAX).contains(&entry.over))
        {
            faults.add(format!(
                "health.{key}: expected limits of 0 or more, and at most 100 points each"
            ));
        }
        let limits = entries.iter().map(|entry| health::Limit {
            over: entry.over,
            points: entry.points,
        });
        limits.collect()
    };
    health::Settings {
        response_time: limits("response_time", &section.response_time, usual.response_time),
        error_rate: limits("error_rate", &section.error_rate, usual.error_rate),
        memory: limits("memory", &section.memory, usual.memory),
        cpu: limits("cpu", &section.cpu, usual.cpu),
        window: faults.take(window).unwrap_or_default(),
    }
}

/// A duration, 0 allowed.
pub(super) fn length(key: &str, text: Option<&str>, usual: Duration, faults: &mut Faults) -> Duration {
    let Some(text) = text else { return usual };
    let read = jiff::SignedDuration::from_str(text).ok();
    let read = read.and_then(|read| Duration::try_from(read).ok());
    faults
        .take(read.ok_or_else(|| format!("{key} {text}: expected a duration such as 500ms, 30s or 1h 30m")))
        .unwrap_or(usual)
}
