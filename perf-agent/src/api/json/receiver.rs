//! Receivers of alerts, and how they are doing.

use serde::Serialize;
use utoipa::ToSchema;

/// One receiver.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Receiver {
    /// Its name in the configuration.
    pub name: String,
    /// `webhook`, `slack`, `alertmanager`, `email` or `command`.
    pub kind: String,
    /// Notifications that wait to be delivered.
    pub waiting: u64,
    /// Notifications delivered.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Notifications given up, since the receiver refused them or they were too old.
    pub given_up: u64,
    /// Notifications that a newer one of the same group took the place of, before they could be delivered.
    pub superseded: u64,
    /// Notifications that the queue had no room for.
    pub dropped: u64,
    /// When the last one was delivered; null if none was.
    #[schema(format = DateTime)]
    pub last_delivered_at: Option<String>,
    /// What the last attempt that failed failed by; null if none did.
    pub last_error: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    pub last_error_at: Option<String>,
    /// When the next attempt is due; null if none is.
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
}

/// All receivers.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Receivers {
    /// By name.
    pub receivers: Vec<Receiver>,
    /// Why what waits to be delivered is kept in memory only; null if it is on disk.
    pub degraded: Option<String>,
}

/// What a receiver said to a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tried {
    /// Its name.
    pub receiver: String,
    /// It took the test.
    pub delivered: bool,
    /// Why it did not.
    pub error: Option<String>,
}

/// What the receivers said to a test.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Trials {
    /// Of each receiver.
    pub receivers: Vec<Tried>,
}
