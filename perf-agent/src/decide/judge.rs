//! The judge: holds thresholds against what is observed, and says who is to be told. What it decides is kept on disk, so
//! that after a restart alerts fire on and nobody is told twice.

use std::collections::HashMap;
use std::sync::Arc;

use super::kept::{self, Table};
use super::rules::{FileRules, Rules};
use crate::alert::{self, Alert, Engine, Notification, Reason, Silence, SilenceDraft, State};
use crate::api::control::Refusal;
use crate::store::Store;
use crate::threshold::{Draft, Evaluator, Observed, Threshold};

/// See the module.
#[derive(Debug)]
pub(super) struct Judge {
    rules: Rules,
    engine: Engine,
    evaluator: Evaluator,
    store: Store,
    /// What is on disk, by table and name.
    written: HashMap<(&'static str, String), Vec<u8>>,
    /// Something may have to be written.
    is_dirty: bool,
    /// Silences that there were.
    silences: usize,
}

/// What [`Judge::keep`] keeps.
const KEPT: [Table; 3] = [Table::Alerts, Table::Groups, Table::Silences];

/// What was decided.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) thresholds: Arc<[Threshold]>,
    pub(super) alerts: Arc<[Alert]>,
    /// Conditions of which there is no alert, since there are too many.
    pub(super) beyond: u64,
    pub(super) notifications: Vec<Notification>,
}

impl Judge {
    /// With what an earlier run kept.
    pub(super) fn new(file: FileRules, settings: alert::Settings, store: Store) -> Self {
        let mut engine = Engine::new(settings);
        engine.restore(kept::alerts(&store), kept::silences(&store), kept::groups(&store));
        let written = [Table::Alerts, Table::Groups]
            .map(Table::name)
            .into_iter()
            .flat_map(|table| {
                let rows = store.all(table).into_iter();
                rows.map(move |(name, value)| ((table, name), value))
            });
        Self {
            written: written.collect(),
            rules: Rules::new(file, &store),
            engine,
            evaluator: Evaluator::default(),
            store,
            is_dirty: false,
            silences: 0,
        }
    }

    /// The configuration was read again.
    pub(super) fn set(&mut self, file: FileRules, settings: alert::Settings) {
        self.rules.set_file(file);
        self.engine.set(settings);
    }

    /// One evaluation.
    pub(super) fn judge(&mut self, observed: &Observed<'_>, wall_ns: u64) -> Judgement {
        let thresholds = self.rules.all();
        let readings = self.evaluator.evaluate(&thresholds, observed);
        let outcome = self.engine.step(&thresholds, &readings, wall_ns);
        self.is_dirty |= !outcome.changed.is_empty() || !outcome.notifications.is_empty();
        // Those that have long been over are forgotten.
        let silences = self.engine.silences().all().len();
        self.is_dirty |= std::mem::replace(&mut self.silences, silences) != silences;
        Judgement {
            thresholds: thresholds.into(),
            alerts: self.engine.alerts().into(),
            beyond: self.engine.beyond(),
            notifications: outcome.notifications,
        }
    }

    /// What these receivers were told before a restart and is still so: they forget what they are not told again.
    pub(super) fn reminders(&self, receivers: &[String], wall_ns: u64) -> Vec<Notification> {
        let alerts = self.engine.alerts();
        let mut reminders = Vec::new();
        for group in self.engine.groups() {
            for told in group.told.iter().filter(|told| receivers.contains(&told.receiver)) {
                let is_told = |alert: &&Alert| alert.is_to_be_told() && told.alerts.contains(&alert.id);
                let firing: Vec<_> = alerts.iter().filter(is_told).cloned().collect();
                for some in firing.chunks(Notification::ALERTS) {
                    reminders.push(Notification {
                        receiver: told.receiver.clone(),
                        group: group.group.clone(),
                        wall_ns,
                        reason: Reason::Repeated,
                        alerts: some.to_vec(),
                        more: 0,
                    });
                }
            }
        }
        reminders
    }

    /// Writes what changed. Comes after what is to be told was handed on: what is told twice is better than what is not.
    pub(super) fn keep(&mut self) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        let alerts = self.engine.alerts();
        let alerts = alerts.iter().filter(|alert| alert.state != State::Pending);
        // An alert that was resolved before and fires again has both; the newer one counts, and stands first.
        let mut rows: HashMap<(&'static str, String), Vec<u8>> = HashMap::new();
        for alert in alerts {
            let name = match alert.state {
                State::Firing | State::Pending => alert.id.clone(),
                State::Resolved => format!("{}-{}", alert.id, alert.resolved_wall_ns.unwrap_or_default()),
            };
            rows.insert((Table::Alerts.name(), name), kept::of_alert(alert));
        }
        for group in self.engine.groups() {
            rows.insert((Table::Groups.name(), group.group.clone()), kept::of_group(&group));
        }
        for silence in self.engine.silences().all() {
            rows.insert((Table::Silences.name(), silence.id.clone()), kept::of_silence(silence));
        }
        for table in KEPT.map(Table::name) {
            let is_new = |&(key, value): &(&(&'static str, String), &Vec<u8>)| {
                key.0 == table && self.written.get(key) != Some(value)
            };
            let new = rows.iter().filter(is_new);
            let gone = self
                .written
                .keys()
                .filter(|key| key.0 == table && !rows.contains_key(*key));
            let change: Vec<_> = new
                .map(|(key, value)| (key.1.clone(), Some(value.clone())))
                .chain(gone.map(|key| (key.1.clone(), None)))
                .collect();
            if !change.is_empty() {
                self.store.change(table, &change);
            }
        }
        self.written = rows;
    }

    /// Why nothing is kept on disk, if that was wanted.
    pub(super) fn degraded(&self) -> Option<&str> {
        self.store.degraded()
    }

    pub(super) fn thresholds(&self) -> Vec<Threshold> {
        self.rules.all()
    }

    pub(super) fn add_threshold(&mut self, draft: &Draft) -> Result<Threshold, Refusal> {
        self.rules.add(draft, &mut self.store)
    }

    pub(super) fn put_threshold(&mut self, id: &str, draft: Draft) -> Result<Threshold, Refusal> {
        self.rules.put(id, draft, &mut self.store)
    }

    pub(super) fn remove_threshold(&mut self, id: &str) -> Result<(), Refusal> {
        self.rules.remove(id, &mut self.store)
    }

    pub(super) fn silences(&self) -> Vec<Silence> {
        self.engine.silences().all().into_iter().cloned().collect()
    }

    pub(super) fn silence(&mut self, draft: &SilenceDraft, wall_ns: u64) -> Result<Silence, Refusal> {
        let silences = self.engine.silences_mut();
        let silence = silences.add(draft, wall_ns).map_err(Refusal::Faults)?;
        self.is_dirty = true;
        self.keep();
        Ok(silence)
    }

    pub(super) fn unsilence(&mut self, id: &str, wall_ns: u64) -> Result<Silence, Refusal> {
        let silences = self.engine.silences_mut();
        let silence = silences.expire(id, wall_ns).ok_or(Refusal::Unknown)?.clone();
        self.is_dirty = true;
        self.keep();
        Ok(silence)
    }
}
