//! What becomes of one threshold and one subject: pending, firing, resolved.
//!
//! - The condition holds: **pending**, since that moment. If it holds no more, or there is no figure, before the threshold's
//!   `for` is over, the alert is forgotten; else it **fires**. With `for` 0 it fires at once.
//! - It fires until the figure is [cleared](Threshold::is_cleared), that is back from the limit by a margin, and stays so
//!   for as long as `for`, but at least [`HOLD`]: then it is **resolved**.
//! - There is no figure any more (no samples, or fewer than `min_count`; the subject is gone): it goes on firing for as long
//!   as the threshold's window is, but at most [`PATIENCE`], and then is resolved, saying so. The figure of a window stays as
//!   long as the last sample is in it, so that time comes on top.
//! - The threshold was changed or deleted: resolved at once, saying so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::{Alert, State};
use crate::aggregate::Window;
use crate::threshold::{Facts, Reading, Subject, Template, Threshold, describe, message};

/// Alerts that are pending or firing at once; more are only counted.
pub const ACTIVE: usize = 10_000;
/// Resolved alerts that are kept.
pub const RESOLVED: usize = 1_000;
/// The least time for which a figure must be good before an alert is resolved.
pub const HOLD: Duration = Duration::from_secs(30);
/// The longest time that an alert goes on firing without a figure.
pub const PATIENCE: Duration = Duration::from_mins(5);
/// How often the words of an alert follow its figure.
const REWORD: Duration = Duration::from_secs(10);

/// An alert that is not over.
#[derive(Clone, Debug)]
struct Active {
    alert: Alert,
    /// Since when its figure has been good.
    cleared_wall_ns: Option<u64>,
    /// Since when there has been no figure.
    missing_wall_ns: Option<u64>,
    worded_wall_ns: u64,
    /// The evaluation that gave it a figure last.
    round: u64,
}

/// A threshold as it was at the last evaluation.
#[derive(Debug)]
struct Known {
    threshold: Threshold,
    template: Option<Template>,
}

/// All alerts.
#[derive(Debug, Default)]
pub struct States {
    /// By id.
    active: BTreeMap<String, Active>,
    /// Newest last.
    resolved: VecDeque<Alert>,
    known: HashMap<String, Known>,
    round: u64,
    beyond: u64,
}

impl States {
    /// Alerts of an earlier run: those that fire fire on, those that were pending begin again.
    pub fn restore(&mut self, alerts: Vec<Alert>) {
        for alert in alerts {
            match alert.state {
                State::Firing if self.active.len() < ACTIVE => {
                    let active = Active {
                        cleared_wall_ns: None,
                        missing_wall_ns: None,
                        worded_wall_ns: 0,
                        round: 0,
                        alert,
                    };
                    self.active.insert(active.alert.id.clone(), active);
                }
                State::Resolved => self.keep(alert),
                State::Firing | State::Pending => {}
            }
        }
    }

    /// Pending and firing alerts, by id.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.active.values().map(|active| &active.alert)
    }

    /// A pending or firing alert.
    pub(super) fn get(&self, id: &str) -> Option<&Alert> {
        self.active.get(id).map(|active| &active.alert)
    }

    /// The same, to be marked.
    pub(super) fn active_mut(&mut self) -> impl Iterator<Item = &mut Alert> {
        self.active.values_mut().map(|active| &mut active.alert)
    }

    /// Resolved alerts, newest first.
    pub fn resolved(&self) -> impl Iterator<Item = &Alert> {
        self.resolved.iter().rev()
    }

    /// Conditions that held at the last evaluation and of which there is no alert, since there are too many.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Takes the figures of an evaluation: all that there are of these thresholds. Gives the alerts that began to fire or were
    /// resolved.
    pub fn step(&mut self, thresholds: &[Threshold], readings: &[Reading], wall_ns: u64) -> Vec<Alert> {
        let mut changed = Vec::new();
        self.round += 1;
        self.beyond = 0;
        self.heed(thresholds, wall_ns, &mut changed);
        for reading in readings {
            if let Some(threshold) = thresholds.get(reading.threshold) {
                self.read(threshold, reading, wall_ns, &mut changed);
            }
        }
        self.miss(wall_ns, &mut changed);
        changed
    }

    /// Takes note of the thresholds that there are, and ends the alerts of those that are gone or changed.
    fn heed(&mut self, thresholds: &[Threshold], wall_ns: u64, changed: &mut Vec<Alert>) {
        let mut over: BTreeMap<String, &'static str> = BTreeMap::new();
        let there: HashSet<&str> = thresholds.iter().map(|threshold| threshold.id.as_str()).collect();
        self.known.retain(|id, _| there.contains(id.as_str()));
        for active in self.active.values() {
            if !there.contains(active.alert.threshold_id.as_str()) {
                over.insert(active.alert.id.clone(), "the threshold was deleted");
            }
        }
        for threshold in thresholds {
            let known = self.known.get(&threshold.id);
            if known.is_some_and(|known| known.threshold == *threshold) {
                continue;
            }
            let is_other = |alert: &Alert| match known {
                Some(known) => !known.threshold.judges_like(threshold),
                // After a restart: as far as the alert itself tells.
                None => {
                    alert.limit.total_cmp(&threshold.value).is_ne()
                        || alert.severity != threshold.severity
                        || alert.metric != threshold.metric.to_string()
                }
            };
            for active in self.active.values_mut() {
                if active.alert.threshold_id != threshold.id {
                    continue;
                }
                if is_other(&active.alert) {
                    over.insert(active.alert.id.clone(), "the threshold was changed");
                } else {
                    active.alert.runbook.clone_from(&threshold.runbook);
                    active.worded_wall_ns = 0;
                }
            }
            // What is no template any more was checked by another version.
            let template = threshold.message.as_deref().and_then(|text| Template::new(text).ok());
            let threshold = threshold.clone();
            self.known.insert(threshold.id.clone(), Known { threshold, template });
        }
        for (id, why) in over {
            self.end(&id, wall_ns, why, changed);
        }
    }

    fn read(&mut self, threshold: &Threshold, reading: &Reading, wall_ns: u64, changed: &mut Vec<Alert>) {
        let Some(value) = reading.value else {
            return;
        };
        let is_crossed = threshold.is_crossed(value);
        let id = Alert::id_of(&threshold.id, &reading.subject.key);
        if !self.active.contains_key(&id) {
            if !is_crossed {
                return;
            }
            if self.active.len() >= ACTIVE {
                self.beyond += 1;
                return;
            }
            let active = Active::new(id.clone(), threshold, &reading.subject, value, wall_ns);
            self.active.insert(id.clone(), active);
        }
        let template = self.known.get(&threshold.id).and_then(|known| known.template.as_ref());
        let Some(active) = self.active.get_mut(&id) else {
            return;
        };
        active.round = self.round;
        active.missing_wall_ns = None;
        let is_new_figure = active.alert.value != Some(value);
        active.alert.value = Some(value);
        match active.alert.state {
            State::Pending if !is_crossed => {
                self.active.remove(&id);
                return;
            }
            State::Pending => {
                if is_over(active.alert.since_wall_ns, threshold.for_, wall_ns) {
                    active.alert.state = State::Firing;
                    active.alert.fired_wall_ns = Some(wall_ns);
                    active.word(threshold, template, wall_ns);
                    changed.push(active.alert.clone());
                    return;
                }
            }
            State::Firing | State::Resolved => {
                if !threshold.is_cleared(value) {
                    active.cleared_wall_ns = None;
                } else if is_over(
                    *active.cleared_wall_ns.get_or_insert(wall_ns),
                    threshold.for_.max(HOLD),
                    wall_ns,
                ) {
                    let facts = active.facts(threshold);
                    let why = format!("it is over: {}", describe(&facts));
                    self.end(&id, wall_ns, &why, changed);
                    return;
                }
            }
        }
        // The words of a good figure are said when the alert ends.
        let is_due = is_over(active.worded_wall_ns, REWORD, wall_ns);
        if is_crossed && is_new_figure && is_due {
            active.word(threshold, template, wall_ns);
        }
    }

    /// Those of which there was no figure.
    fn miss(&mut self, wall_ns: u64, changed: &mut Vec<Alert>) {
        let mut over = Vec::new();
        let (round, known) = (self.round, &self.known);
        self.active.retain(|id, active| {
            if active.round == round {
                return true;
            }
            if active.alert.state == State::Pending {
                return false;
            }
            active.alert.value = None;
            active.cleared_wall_ns = None;
            let since_wall_ns = *active.missing_wall_ns.get_or_insert(wall_ns);
            let patience = known
                .get(&active.alert.threshold_id)
                .map_or(PATIENCE, |known| patience(known.threshold.window));
            if is_over(since_wall_ns, patience, wall_ns) {
                over.push((id.clone(), patience));
            }
            true
        });
        for (id, patience) in over {
            let patience = crate::threshold::duration_text(patience);
            let why = format!("there has been no figure of it for {patience}");
            self.end(&id, wall_ns, &why, changed);
        }
    }

    /// An alert is over: one that fired is resolved, one that was pending is forgotten.
    fn end(&mut self, id: &str, wall_ns: u64, why: &str, changed: &mut Vec<Alert>) {
        let Some(active) = self.active.remove(id) else {
            return;
        };
        let mut alert = active.alert;
        if alert.state != State::Firing {
            return;
        }
        alert.state = State::Resolved;
        alert.resolved_wall_ns = Some(wall_ns);
        alert.message = format!("resolved, {why} (was: {})", alert.message);
        changed.push(alert.clone());
        self.keep(alert);
    }

    fn keep(&mut self, alert: Alert) {
        if self.resolved.len() == RESOLVED {
            self.resolved.pop_front();
        }
        self.resolved.push_back(alert);
    }
}

impl Active {
    fn new(id: String, threshold: &Threshold, subject: &Arc<Subject>, value: f64, wall_ns: u64) -> Self {
        let mut this = Self {
            alert: Alert {
                id,
                state: State::Pending,
                severity: threshold.severity,
                threshold_id: threshold.id.clone(),
                metric: threshold.metric.to_string(),
                subject: (**subject).clone(),
                value: Some(value),
                limit: threshold.value,
                since_wall_ns: wall_ns,
                fired_wall_ns: None,
                resolved_wall_ns: None,
                message: String::new(),
                runbook: threshold.runbook.clone(),
                silenced_by: None,
                inhibited_by: None,
            },
            cleared_wall_ns: None,
            missing_wall_ns: None,
            worded_wall_ns: wall_ns,
            round: 0,
        };
        // The operator's own words are for what fires.
        this.word(threshold, None, wall_ns);
        this
    }

    fn facts<'a>(&'a self, threshold: &'a Threshold) -> Facts<'a> {
        Facts {
            threshold,
            subject: &self.alert.subject,
            value: self.alert.value,
            since_wall_ns: self.alert.since_wall_ns,
        }
    }

    fn word(&mut self, threshold: &Threshold, template: Option<&Template>, wall_ns: u64) {
        self.alert.message = message(template, &self.facts(threshold));
        self.worded_wall_ns = wall_ns;
    }
}

/// Has so much time gone by?
pub(super) fn is_over(since_wall_ns: u64, duration: Duration, wall_ns: u64) -> bool {
    u128::from(wall_ns.saturating_sub(since_wall_ns)) >= duration.as_nanos()
}

/// How long an alert goes on firing without a figure.
fn patience(window: Window) -> Duration {
    match window {
        Window::Minute => Duration::from_mins(1),
        _ => PATIENCE,
    }
}
