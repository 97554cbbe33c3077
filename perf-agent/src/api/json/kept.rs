//! What is kept over a restart, and what other programs report.

use serde::Serialize;
use utoipa::ToSchema;

use super::timestamp;
use crate::history::HistoryState;
use crate::statsd::StatsdReport;

/// What is kept over a restart.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Kept {
    /// Why thresholds and silences made through the API, and alerts, are in memory only; null if they are on disk, or were
    /// not to be.
    pub degraded: Option<String>,
    /// Statistics; null if they are not to be kept.
    pub history: Option<History>,
    /// What came by StatsD.
    pub statsd: Statsd,
}

/// Statistics on disk.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct History {
    /// The file.
    pub path: String,
    /// What it takes.
    pub bytes: u64,
    /// What it may take; beyond, the oldest is removed.
    pub max_bytes: u64,
    /// How long statistics are kept.
    pub retention_seconds: u64,
    /// Begin of the oldest that is there; null if nothing is.
    #[schema(format = DateTime)]
    pub oldest_at: Option<String>,
    /// When it was written to last; null if it was not.
    #[schema(format = DateTime)]
    pub newest_at: Option<String>,
    /// Rows: one per endpoint and stretch of time.
    pub rows: u64,
    /// Why nothing is written now; null if it is.
    pub degraded: Option<String>,
    /// What was read at the start.
    pub restored: Restored,
    /// Where a file that could not be read was put; null if there was none.
    pub put_aside: Option<String>,
}

/// What was read at the start.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Restored {
    /// Endpoints.
    pub endpoints: u64,
    /// Stretches of time of theirs.
    pub slots: u64,
    /// Rows that could not be read, or found no place.
    pub skipped: u64,
}

/// StatsD, since the start.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Statsd {
    /// Datagrams.
    pub datagrams: u64,
    /// Figures in them.
    pub received: u64,
    /// Lines that are no figures.
    pub malformed: u64,
    /// Figures that found no place.
    pub dropped: u64,
}

impl History {
    /// As it is now.
    pub fn new(state: &HistoryState) -> Self {
        Self {
            path: state.path.display().to_string(),
            bytes: state.bytes,
            max_bytes: state.max_bytes,
            retention_seconds: state.retention.as_secs(),
            oldest_at: state.oldest_at.map(timestamp),
            newest_at: state.newest_at.map(timestamp),
            rows: state.rows,
            degraded: state.degraded.clone(),
            restored: Restored {
                endpoints: state.restored.endpoints,
                slots: state.restored.slots,
                skipped: state.restored.skipped,
            },
            put_aside: state.put_aside.as_ref().map(|path| path.display().to_string()),
        }
    }
}

impl Statsd {
    /// So far.
    pub fn new(report: &StatsdReport) -> Self {
        Self {
            datagrams: report.datagrams,
            received: report.received,
            malformed: report.malformed,
            dropped: report.dropped,
        }
    }
}
