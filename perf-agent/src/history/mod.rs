//! The history: what endpoints did in the last day, on the local disk, across restarts.
//!
//! One file, `history.redb`, in a state directory. A thread of its own takes the newest snapshot every five seconds and puts
//! what is new into it in one transaction that is on the disk before the next one begins: the slots that closed, and the
//! running ones. So an end without notice, of the agent or of the machine, costs what happened since the last commit, and
//! the file is never between two states. At the next start the windows go on: [`History::open`] reads what the core is made
//! of ([`Remembered`]). Beside the slots that memory has, those of five minutes are kept in a lean form for the whole
//! retention: [`Reader::trend`].
//!
//! The core never waits for the disk. Where nothing can be written (no room, no permission, another agent has the file)
//! the agent goes on in memory and says so ([`HistoryState::degraded`]); it tries again every half minute, and what memory
//! still has of the time between is stored then. A file that is damaged, or no history, is put aside and a new one begun; one
//! of a newer version is left as it is.
//!
//! Slots are numbered by the wall clock. If that is set while the agent runs, what memory has and what follows is stored
//! where its middle is by the new time, so after the next restart windows are right to half a slot; a clock that was set back
//! lets what follows replace what was stored of that time before. Functions, the request log, streams and connections are not kept.

mod batch;
mod block;
mod load;
mod names;
mod store;
#[cfg(test)]
mod tests;
mod trend;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use hashbrown::HashMap;

pub use self::load::Restored;
use self::load::{Loaded, load};
use self::store::{Bounds, Kind, Store};
pub use self::trend::{ReadError, Reader, TrendPoint};
use self::writer::Writer;
use crate::aggregate::Gaps;
use crate::clock;
use crate::snapshot::Snapshot;
use crate::statistics::Remembered;

/// Between two commits.
const EVERY: Duration = Duration::from_secs(5);

/// What the operator can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Where the file lies; `None` keeps no history.
    pub directory: Option<PathBuf>,
    /// What is older is removed.
    pub retention: Duration,
    /// What the file may take on the disk; beyond it the oldest is removed. A commit may exceed it for a moment.
    pub max_bytes: u64,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            directory: None,
            retention: Duration::from_hours(24),
            max_bytes: 512 << 20,
        }
    }
}

impl HistorySettings {
    fn bounds(&self) -> Bounds {
        Bounds {
            retention_ns: u64::try_from(self.retention.as_nanos()).unwrap_or(u64::MAX),
            max_bytes: self.max_bytes,
        }
    }
}

/// How the history is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryState {
    /// The file.
    pub path: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
    /// Begin of the oldest slot, nanoseconds since 1970.
    pub oldest_at: Option<u64>,
    /// The last commit, likewise.
    pub newest_at: Option<u64>,
    /// Rows: one per endpoint and slot.
    pub rows: u64,
    /// How long they are kept.
    pub retention: Duration,
    /// What the file may take.
    pub max_bytes: u64,
    /// Why nothing is stored now; `None` if it is.
    pub degraded: Option<String>,
    /// What was read at the start.
    pub restored: Restored,
    /// Where a file that could not be read was put.
    pub put_aside: Option<PathBuf>,
}

/// What the writer, the readers and whoever asks for the state have in common. The writer writes, all others read.
#[derive(Debug)]
struct Shared {
    store: RwLock<Option<Store>>,
    state: Mutex<HistoryState>,
    /// By endpoint: those that became it.
    former: RwLock<HashMap<u64, Vec<u64>>>,
    /// What the wall clock is ahead of the core's time.
    ahead_ns: AtomicI64,
    gaps: Gaps,
}

impl Shared {
    fn change_state(&self, change: impl FnOnce(&mut HistoryState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A history that was opened, and is not written yet.
#[derive(Debug)]
pub struct History {
    settings: HistorySettings,
    shared: Arc<Shared>,
    writer: Writer,
}

impl History {
    /// Opens the file in `directory` and reads what the core goes on with: for
    /// [`statistics::Settings::remembered`](crate::statistics::Settings::remembered). At most `max_endpoints` come back.
    ///
    /// It does not fail: what cannot be opened is tried again later, and told by [`HistoryState::degraded`].
    pub fn open(settings: &HistorySettings, directory: PathBuf, max_endpoints: usize) -> (Self, Arc<Remembered>) {
        let (monotonic_ns, wall_ns) = (clock::monotonic_ns(), clock::wall_ns());
        let (this, mut remembered) = Self::open_at(settings, directory, max_endpoints, wall_ns);
        remembered.ahead_ns = wall_ns.saturating_sub(monotonic_ns);
        (this, Arc::new(remembered))
    }

    /// As if it was this moment (nanoseconds since 1970), for a core whose time is the wall clock's.
    pub fn open_at(
        settings: &HistorySettings,
        directory: PathBuf,
        max_endpoints: usize,
        at_ns: u64,
    ) -> (Self, Remembered) {
        let bounds = settings.bounds();
        let mut state = HistoryState {
            path: directory.join("history.redb"),
            retention: settings.retention,
            max_bytes: settings.max_bytes,
            ..HistoryState::default()
        };
        let opened = Store::open(&directory).and_then(|(mut store, aside)| {
            let loaded = load(&mut store, bounds, at_ns, max_endpoints)?;
            Ok((store, aside, loaded))
        });
        let (store, loaded) = match opened {
            Ok((store, aside, loaded)) => {
                state.put_aside = aside;
                state.restored = loaded.restored;
                (Some(store), loaded)
            }
            Err(error) => {
                tracing::warn!(error = error.whole(), "no history is kept for now");
                state.degraded = Some(error.whole());
                (None, Loaded::nothing(at_ns))
            }
        };
        if let Some(store) = &store {
            describe(&mut state, store);
        }
        let shared = Arc::new(Shared {
            store: RwLock::new(store),
            state: Mutex::new(state),
            former: RwLock::new(loaded.former),
            ahead_ns: AtomicI64::new(0),
            gaps: loaded.remembered.interrupted.gaps.clone(),
        });
        let writer = Writer::new(Arc::clone(&shared), directory, bounds, loaded.collector);
        let settings = settings.clone();
        (
            Self {
                settings,
                shared,
                writer,
            },
            loaded.remembered,
        )
    }

    /// For those who read.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Writes what is new of a snapshot at once. Blocks: [`History::follow`] does it in a thread of its own.
    pub fn write(&mut self, snapshot: &Snapshot) {
        self.writer.write(snapshot, clock::monotonic_ns());
    }

    /// Writes from now on: starts the thread, which takes what `newest` gives.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn follow(self, newest: impl Fn() -> Arc<Snapshot> + Send + 'static) -> std::io::Result<Following> {
        let Self {
            settings, mut writer, ..
        } = self;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        tracing::debug!(?settings, "the history is kept");
        let thread = std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            loop {
                // Whoever wants it to end wakes it; it may be told before it begins to wait.
                if !stopped.load(Ordering::Acquire) {
                    std::thread::park_timeout(EVERY);
                }
                // What is new is written once more after the wish to end was heard.
                let last = stopped.load(Ordering::Acquire);
                writer.write(&newest(), clock::monotonic_ns());
                if last {
                    break;
                }
            }
            writer.close();
        })?;
        Ok(Following { thread, stop })
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Following {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Following {
    /// Writes what is new for the last time, and closes the file.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the history's thread panicked; this is a bug");
        }
    }
}

/// Tells how the open file is.
fn describe(state: &mut HistoryState, store: &Store) {
    let sums = store.sums();
    state.rows = sums.rows;
    state.bytes = store.bytes_on_disk();
    state.newest_at = store.number("newest_ns").ok().flatten();
    state.oldest_at = [Kind::Lean, Kind::Slots(crate::aggregate::window::Size::TwoHours)]
        .into_iter()
        .filter_map(|kind| Some(store.ends(kind).ok()??.0 * kind.size().length_ns()))
        .min();
}
