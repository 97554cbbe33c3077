//! The judge: holds thresholds against what is observed, and says who is to be told. What it decides is kept on disk, so
//! that after a restart alerts fire on and nobody is told twice.

use std::collections::BTreeMap;
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
    /// Something may have to be written.
    is_dirty: bool,
}

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
        Self {
            rules: Rules::new(file, &store),
            engine,
            evaluator: Evaluator::default(),
            store,
            is_dirty: false,
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
        Judgement {
            thresholds: thresholds.into(),
            alerts: self.engine.alerts().into(),
            beyond: self.engine.beyond(),
            notifications: outcome.notifications,
        }
    }

    /// What these receivers were told before a restart and is still so: they forget what they are not told
    /// again, and know of no group but what the newest notification lists.
    pub(super) fn reminders(&self, receivers: &[String], wall_ns: u64) -> Vec<Notification> {
        let alerts = self.engine.alerts();
        let mut reminders = Vec::new();
        for group in self.engine.groups() {
            for told in group.told.iter().filter(|told| receivers.contains(&told.receiver)) {
                let is_told = |alert: &&Alert| alert.is_to_be_told() && told.alerts.contains(&alert.id);
                let firing: Vec<_> = alerts.iter().filter(is_told).cloned().collect();
                if firing.is_empty() {
                    continue;
                }
                let more = firing.len().saturating_sub(Notification::ALL);
                reminders.push(Notification {
                    receiver: told.receiver.clone(),
                    group: group.group.clone(),
                    wall_ns,
                    reason: Reason::Repeated,
                    alerts: firing.into_iter().take(Notification::ALL).collect(),
                    more: more as u64,
                });
            }
        }
        reminders
    }

    /// Writes what changed. Comes after what is to be told was handed on: what is told twice is better than what is not.
    pub(super) fn keep(&mut self) {
        if self.store.catch_up() {
            self.rules.come_late(&self.store);
            self.engine.silences_mut().restore(kept::silences(&self.store));
            // Alerts of the earlier run are not those of now.
            self.is_dirty = true;
        }
        let forgotten = self.engine.silences_mut().take_forgotten();
        if !forgotten.is_empty() {
            let rows: Vec<_> = forgotten.into_iter().map(|id| (id, None)).collect();
            self.store.change(Table::Silences.name(), &rows);
        }
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        let alerts = self.engine.alerts();
        let alerts = alerts.iter().filter(|alert| alert.state != State::Pending);
        // An alert that was resolved before and fires again has both; the newer one counts, and stands first.
        let mut rows = BTreeMap::new();
        for alert in alerts {
            let name = match alert.state {
                State::Firing | State::Pending => alert.id.clone(),
                State::Resolved => format!("{}-{}", alert.id, alert.resolved_wall_ns.unwrap_or_default()),
            };
            rows.insert(name, kept::of_alert(alert));
        }
        self.store.replace(Table::Alerts.name(), &rows);
        let groups = self.engine.groups();
        let rows = groups.iter().map(|group| (group.group.clone(), kept::of_group(group)));
        self.store.replace(Table::Groups.name(), &rows.collect());
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
        let row = (silence.id.clone(), Some(kept::of_silence(&silence)));
        kept::keep(&mut self.store, Table::Silences, row);
        Ok(silence)
    }

    pub(super) fn unsilence(&mut self, id: &str, wall_ns: u64) -> Result<Silence, Refusal> {
        let silences = self.engine.silences_mut();
        let silence = silences.expire(id, wall_ns).ok_or(Refusal::Unknown)?.clone();
        let row = (silence.id.clone(), Some(kept::of_silence(&silence)));
        kept::keep(&mut self.store, Table::Silences, row);
        Ok(silence)
    }
}
