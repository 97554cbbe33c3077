//! How delivery stands, for those who ask.

/// The notifier's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyState {
    /// Each receiver's, in the order of their names.
    pub receivers: Vec<ReceiverState>,
    /// Why notifications wait in memory only and would not survive a restart, if so.
    pub degraded: Option<String>,
    /// Notifications for receivers that there are not.
    pub unroutable: u64,
}

/// How delivery to one receiver stands. Counts begin with the agent's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverState {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack`, `alertmanager`, `email` or `command`.
    pub kind: &'static str,
    /// Notifications that wait.
    pub waiting: usize,
    /// Notifications that arrived.
    pub delivered: u64,
    /// Attempts that failed, for whatever reason.
    pub failed: u64,
    /// Notifications that were refused for good or became too old.
    pub given_up: u64,
    /// Notifications that a newer one of the same group replaced before they were told.
    pub superseded: u64,
    /// Notifications that were dropped because too many waited.
    pub dropped: u64,
    /// When the last one arrived, nanoseconds since 1970.
    pub last_delivered_wall_ns: Option<u64>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// When the next attempt is made, if one is waited for.
    pub next_attempt_wall_ns: Option<u64>,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When, nanoseconds since 1970.
    pub wall_ns: u64,
    /// What, in words without secrets.
    pub text: String,
}
