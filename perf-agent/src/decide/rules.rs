//! The thresholds that hold: those that come with the agent, those of the configuration file, and those that were made
//! through the API. Of the same id, the last-named wins.

use std::collections::BTreeMap;

use super::kept::{self, Table};
use crate::api::control::Refusal;
use crate::store::Store;
use crate::threshold::{Draft, Fault, Source, Threshold, defaults};

/// Thresholds that the API may make.
const MOST: usize = 1_000;

/// What the configuration says of thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRules {
    /// Those that come with the agent hold.
    pub defaults: bool,
    /// The file's own.
    pub thresholds: Vec<Threshold>,
}

impl Default for FileRules {
    fn default() -> Self {
        Self {
            defaults: true,
            thresholds: Vec::new(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rules {
    file: FileRules,
    /// Made through the API, by id.
    made: BTreeMap<String, Threshold>,
}

impl Rules {
    /// With what an earlier run kept.
    pub(super) fn new(file: FileRules, store: &Store) -> Self {
        let made = kept::thresholds(store).into_iter();
        Self {
            file,
            made: made.map(|threshold| (threshold.id.clone(), threshold)).collect(),
        }
    }

    /// What an earlier run kept could be read only now. What was made meanwhile is newer.
    pub(super) fn come_late(&mut self, store: &Store) {
        for threshold in kept::thresholds(store) {
            if self.made.len() < MOST {
                self.made.entry(threshold.id.clone()).or_insert(threshold);
            }
        }
    }

    /// The configuration was read again.
    pub(super) fn set_file(&mut self, file: FileRules) {
        self.file = file;
    }

    /// What holds: each id once.
    pub(super) fn all(&self) -> Vec<Threshold> {
        let defaults = if self.file.defaults {
            defaults::all()
        } else {
            Vec::new()
        };
        let is_ours = |threshold: &Threshold| !self.made.contains_key(&threshold.id);
        let is_replaced = |threshold: &Threshold| self.file.thresholds.iter().any(|other| other.id == threshold.id);
        let defaults = defaults.into_iter().filter(|threshold| !is_replaced(threshold));
        let below = defaults.chain(self.file.thresholds.iter().cloned()).filter(is_ours);
        below.chain(self.made.values().cloned()).collect()
    }

    pub(super) fn add(&mut self, draft: &Draft, store: &mut Store) -> Result<Threshold, Refusal> {
        let threshold = draft.check(Source::Api).map_err(Refusal::Faults)?;
        if self.all().iter().any(|other| other.id == threshold.id) {
            let id = &threshold.id;
            return Err(Refusal::Conflict(format!(
                "there is a threshold {id} already; PUT /api/v1/thresholds/{id} changes it"
            )));
        }
        self.put_checked(draft, threshold, store)
    }

    pub(super) fn put(&mut self, id: &str, mut draft: Draft, store: &mut Store) -> Result<Threshold, Refusal> {
        if draft.id.as_deref().is_some_and(|other| other != id) {
            let problem = format!("the path says {id:?}");
            return Err(Refusal::Faults(vec![Fault {
                field: "id",
                problem,
                allowed: "the path's, or none".to_owned(),
            }]));
        }
        draft.id = Some(id.to_owned());
        let threshold = draft.check(Source::Api).map_err(Refusal::Faults)?;
        self.not_of_file(id)?;
        self.put_checked(&draft, threshold, store)
    }

    fn put_checked(&mut self, draft: &Draft, threshold: Threshold, store: &mut Store) -> Result<Threshold, Refusal> {
        if self.made.len() >= MOST && !self.made.contains_key(&threshold.id) {
            return Err(Refusal::Conflict(format!(
                "there are {MOST} thresholds already; remove some"
            )));
        }
        let row = (threshold.id.clone(), Some(kept::of_draft(draft)));
        kept::keep(store, Table::Thresholds, row);
        self.made.insert(threshold.id.clone(), threshold.clone());
        Ok(threshold)
    }

    pub(super) fn remove(&mut self, id: &str, store: &mut Store) -> Result<(), Refusal> {
        if self.made.contains_key(id) {
            kept::keep(store, Table::Thresholds, (id.to_owned(), None));
            self.made.remove(id);
            return Ok(());
        }
        self.not_of_file(id)?;
        if self.all().iter().any(|threshold| threshold.id == id) {
            return Err(Refusal::Conflict(format!(
                "{id} comes with the agent: put another one in its place, or set alerts.defaults = false in the configuration"
            )));
        }
        Err(Refusal::Unknown)
    }

    fn not_of_file(&self, id: &str) -> Result<(), Refusal> {
        if self.file.thresholds.iter().any(|threshold| threshold.id == id) {
            return Err(Refusal::Conflict(format!(
                "{id} stands in the configuration file: change it there"
            )));
        }
        Ok(())
    }
}
