//! The whole of it: one evaluation after the other.

use hashbrown::HashMap;

pub use super::group::Settings;
use super::group::{GroupState, Groups};
use super::silence::{Silence, Silences};
use super::state::States;
use super::{Alert, Notification, State, inhibit};
use crate::threshold::{Reading, Threshold};

/// Keeps alerts, and decides who is told of them.
#[derive(Debug, Default)]
pub struct Engine {
    settings: Settings,
    states: States,
    silences: Silences,
    groups: Groups,
}

/// What an evaluation led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Alerts that began to fire or were resolved.
    pub changed: Vec<Alert>,
    /// What is to be told.
    pub notifications: Vec<Notification>,
}

impl Engine {
    /// One without alerts.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Takes what an earlier run had: [`Engine::alerts`], oldest first or last, and [`Engine::groups`]. Alerts that fire
    /// fire on, and nobody is told of them again before it is time.
    pub fn restore(&mut self, mut alerts: Vec<Alert>, silences: Vec<Silence>, groups: Vec<GroupState>) {
        alerts.sort_by_key(|alert| alert.resolved_wall_ns);
        self.states.restore(alerts);
        self.silences.restore(silences);
        self.groups.restore(groups);
    }

    /// Takes new settings; receivers that are gone are forgotten.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes the figures of an evaluation: all that there are of these thresholds, at this moment.
    pub fn step(&mut self, thresholds: &[Threshold], readings: &[Reading], wall_ns: u64) -> Outcome {
        let mut changed = self.states.step(thresholds, readings, wall_ns);
        self.silences.apply(self.states.active_mut(), wall_ns);
        inhibit::apply(self.states.active_mut());
        for alert in &mut changed {
            if alert.state == State::Firing
                && let Some(marked) = self.states.get(&alert.id)
            {
                alert.clone_from(marked);
            }
        }
        let mut resolved: HashMap<&str, &Alert> = HashMap::new();
        for alert in self.states.resolved() {
            resolved.entry(alert.id.as_str()).or_insert(alert);
        }
        let find = |id: &str| resolved.get(id).copied();
        let notifications = self.groups.plan(&self.settings, self.states.active(), find, wall_ns);
        Outcome { changed, notifications }
    }

    /// Every alert: those that fire, worst first; those that are pending; those that are resolved, newest first.
    pub fn alerts(&self) -> Vec<Alert> {
        let mut all: Vec<Alert> = self.states.active().cloned().collect();
        all.sort_by(|a, b| {
            let order = |alert: &Alert| {
                let is_pending = alert.state == State::Pending;
                (is_pending, std::cmp::Reverse(alert.severity), alert.since_wall_ns)
            };
            order(a).cmp(&order(b)).then_with(|| a.id.cmp(&b.id))
        });
        all.extend(self.states.resolved().cloned());
        all
    }

    /// Conditions that hold and of which there is no alert, since there are too many.
    pub fn beyond(&self) -> u64 {
        self.states.beyond()
    }

    /// What was told of which group.
    pub fn groups(&self) -> Vec<GroupState> {
        self.groups.all().cloned().collect()
    }

    /// Silences.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// Silences, to be changed; they count from the next evaluation on.
    pub fn silences_mut(&mut self) -> &mut Silences {
        &mut self.silences
    }

    /// A test for every receiver.
    pub fn test(&self, wall_ns: u64) -> Vec<Notification> {
        let names = self.settings.names().into_iter();
        names.map(|name| Notification::test(name, wall_ns)).collect()
    }
}
