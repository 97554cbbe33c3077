//! What the API may change: a seam, behind which are the rules, and whoever tells receivers.

use std::fmt::Debug;
use std::pin::Pin;

use super::json::receiver::{Receivers, Tried};
use crate::alert::{Silence, SilenceDraft};
use crate::threshold::{Draft, Fault, Threshold};

/// Why something was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is nothing of this id.
    Unknown,
    /// It cannot be changed here; why, and what to do instead.
    Conflict(String),
    /// Fields are wrong.
    Faults(Vec<Fault>),
}

/// What the receivers said to a test.
pub type Trial<'a> = Pin<Box<dyn Future<Output = Vec<Tried>> + Send + 'a>>;

/// What can be changed.
pub trait Control: Debug + Send + Sync {
    /// Makes a threshold.
    ///
    /// # Errors
    /// [`Refusal`]
    fn add_threshold(&self, draft: Draft) -> Result<Threshold, Refusal>;

    /// Makes or changes the threshold of an id. One that comes with the agent is replaced until its successor is removed.
    ///
    /// # Errors
    /// [`Refusal`]
    fn put_threshold(&self, id: &str, draft: Draft) -> Result<Threshold, Refusal>;

    /// Removes a threshold.
    ///
    /// # Errors
    /// [`Refusal`]
    fn remove_threshold(&self, id: &str) -> Result<(), Refusal>;

    /// Every threshold.
    fn thresholds(&self) -> Vec<Threshold>;

    /// All silences, the one that ends last first.
    fn silences(&self) -> Vec<Silence>;

    /// Makes a silence.
    ///
    /// # Errors
    /// [`Refusal`]
    fn add_silence(&self, draft: &SilenceDraft) -> Result<Silence, Refusal>;

    /// Ends a silence.
    ///
    /// # Errors
    /// [`Refusal`]
    fn end_silence(&self, id: &str) -> Result<Silence, Refusal>;

    /// How the receivers are doing.
    fn receivers(&self) -> Receivers;

    /// Why what the API changes would not outlive a restart, if that was wanted.
    fn degraded(&self) -> Option<String>;

    /// Sends a test through every receiver.
    fn test(&self) -> Trial<'_>;
}
