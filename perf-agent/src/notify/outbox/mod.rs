//! What is to be delivered, in memory and on disk.
//!
//! Memory ([`queue`]) is the truth while the agent runs, so nothing waits for a disk; a thread of its own brings the
//! file ([`journal`]) up to it, as many changes as there are at a time. A restart begins with what the file has. Where
//! there is no file, or the disk is full, memory has to do, and [`Outbox::degraded`] says why; once a minute it is tried
//! whether the disk can be written again.

mod journal;
mod queue;
mod stored;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::alert::Notification;

use super::Clock;
use journal::Journal;
pub(super) use queue::Counts;
use queue::Queue;
pub use queue::WAITING;
pub use stored::Bounds;

/// How long after a failure the disk is tried again.
const DISK_RETRY_NS: u64 = 60_000_000_000;

/// The outbox. Dropping it writes what is not written yet.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    /// Whether there is a thread that writes.
    writes: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
    written: watch::Receiver<u64>,
    clock: Clock,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    queue: Queue,
    /// Places where the file is not as it should be.
    dirty: BTreeSet<u64>,
    /// Counts changes.
    generation: u64,
    stops: bool,
    degraded: Option<String>,
    /// Wakes who delivers to a receiver.
    bells: HashMap<String, Arc<Notify>>,
    /// For receivers that there are not.
    unroutable: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; and if it did, the rest is better than nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A notification to deliver.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) notification: Arc<Notification>,
    /// How long it has waited.
    pub(super) age: Duration,
    place: u64,
}

impl Outbox {
    /// Opens the file at `path`, or makes it; without one, memory has to do. Reads the file, so it is called off the
    /// asynchronous threads or at the start.
    pub fn open(path: Option<&Path>, clock: Clock) -> Self {
        let mut inner = Inner {
            // So that what is on a disk that cannot be read yet has smaller ones.
            queue: Queue::from_place((clock.wall_ns)()),
            ..Inner::default()
        };
        let mut journal = None;
        match path {
            None => inner.degraded = Some("no directory for it: notifications wait in memory only".to_owned()),
            Some(path) => match Journal::open(path) {
                Ok((opened, found, aside)) => {
                    if let Some(aside) = aside {
                        tracing::warn!("notifications that waited in {} are not delivered", aside.display());
                    }
                    if !found.unreadable.is_empty() {
                        let (count, shown) = (found.unreadable.len(), path.display());
                        tracing::warn!("{count} notifications in {shown} are of another version");
                    }
                    restore(&mut inner, found, clock, true);
                    journal = Some(opened);
                }
                Err(error) => inner.degrade(&error),
            },
        }
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        });
        let (sender, written) = watch::channel(0);
        let thread = path.and_then(|path| {
            let writer = Writer {
                shared: Arc::clone(&shared),
                path: path.to_owned(),
                loaded: journal.is_some(),
                journal,
                retry_at_ns: (clock.monotonic_ns)().saturating_add(DISK_RETRY_NS),
                written: sender,
                clock,
            };
            let named = std::thread::Builder::new().name("outbox".to_owned());
            match named.spawn(move || writer.run()) {
                Ok(thread) => Some(thread),
                Err(error) => {
                    shared.lock().degrade(&format!("cannot start a thread: {error}"));
                    None
                }
            }
        });
        Self {
            shared,
            writes: thread.is_some(),
            thread: Mutex::new(thread),
            written,
            clock,
        }
    }

    /// Writes what is not written yet, and ends. Waits for the disk.
    pub(super) fn close(&self) {
        self.shared.lock().stops = true;
        self.shared.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::warn!("the thread that writes notifications to disk panicked");
        }
    }

    /// Keeps lanes for these receivers only. What waits for others is gone; the count says how much.
    pub(super) fn set_receivers(&self, receivers: &[(&str, Bounds)]) -> usize {
        let mut inner = self.shared.lock();
        let gone = inner.queue.set_receivers(receivers);
        let count = gone.len();
        let is_there = |name: &str| receivers.iter().any(|receiver| receiver.0 == name);
        inner.bells.retain(|name, _| is_there(name));
        for (name, _) in receivers {
            inner.bells.entry((*name).to_owned()).or_default();
        }
        self.dirty(inner, gone);
        count
    }

    /// Adds one; never waits for the disk. [`Self::flush`] does.
    pub fn push(&self, notification: Notification) {
        let bell = {
            let mut inner = self.shared.lock();
            let bell = inner.bells.get(&notification.receiver).cloned();
            match inner.queue.push(notification, i128::from((self.clock.monotonic_ns)())) {
                Some(changed) => self.dirty(inner, changed),
                None => inner.unroutable += 1,
            }
            bell
        };
        if let Some(bell) = bell {
            bell.notify_one();
        }
    }

    /// Waits until all that was pushed before is on disk; says whether it is.
    pub async fn flush(&self) -> bool {
        let target = self.shared.lock().generation;
        let mut written = self.written.clone();
        while *written.borrow_and_update() < target {
            if self.degraded().is_some() || written.changed().await.is_err() {
                return false;
            }
        }
        self.degraded().is_none()
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Why notifications wait in memory only, if they do.
    pub fn degraded(&self) -> Option<String> {
        self.shared.lock().degraded.clone()
    }

    /// Notifications for receivers that there are not.
    pub(super) fn unroutable(&self) -> u64 {
        self.shared.lock().unroutable
    }

    pub(super) fn counts(&self, receiver: &str) -> Counts {
        self.shared.lock().queue.counts(receiver)
    }

    /// Rings when something is pushed for the receiver.
    pub(super) fn bell(&self, receiver: &str) -> Arc<Notify> {
        Arc::clone(self.shared.lock().bells.entry(receiver.to_owned()).or_default())
    }

    /// The next for the receiver. Until [`Self::finish`] or [`Self::release`] it stays as it is.
    pub(super) fn begin(&self, receiver: &str) -> Option<Due> {
        let entry = self.shared.lock().queue.begin(receiver)?;
        let age_ns = i128::from((self.clock.monotonic_ns)()) - entry.at_ns;
        Some(Due {
            notification: entry.notification,
            age: Duration::from_nanos(u64::try_from(age_ns).unwrap_or(0)),
            place: entry.place,
        })
    }

    /// It is delivered or given up.
    pub(super) fn finish(&self, due: &Due) {
        let mut inner = self.shared.lock();
        if inner.queue.finish(&due.notification.receiver, due.place) {
            self.dirty(inner, [due.place]);
        }
    }

    /// It will be tried again.
    pub(super) fn release(&self, due: &Due) {
        self.shared.lock().queue.release(&due.notification.receiver);
    }

    /// Has the file brought up to memory in these places.
    fn dirty(&self, mut inner: MutexGuard<'_, Inner>, places: impl IntoIterator<Item = u64>) {
        // Without a writer, or while the disk fails, all of memory is what is to be written.
        if self.writes && inner.degraded.is_none() {
            inner.dirty.extend(places);
        }
        inner.generation += 1;
        drop(inner);
        self.shared.changed.notify_one();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    fn degrade(&mut self, error: &str) {
        let text = format!("{error}: notifications wait in memory only");
        tracing::warn!("{text}");
        self.degraded = Some(text);
        self.dirty.clear();
    }
}

/// What was on disk waits again. How long it has waited is what the wall clock says.
fn restore(inner: &mut Inner, found: journal::Found, clock: Clock, any_receiver: bool) {
    let (now_ns, wall_ns) = ((clock.monotonic_ns)(), (clock.wall_ns)());
    let mut changed = found.unreadable;
    for (place, notification) in found.waiting {
        let age_ns = wall_ns.saturating_sub(notification.wall_ns);
        let at_ns = i128::from(now_ns) - i128::from(age_ns);
        changed.extend(inner.queue.restore(place, notification, at_ns, any_receiver));
    }
    inner.dirty.extend(changed);
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    journal: Option<Journal>,
    /// Whether memory has had what was on disk.
    loaded: bool,
    retry_at_ns: u64,
    written: watch::Sender<u64>,
    clock: Clock,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.lock().degrade("the thread that writes to disk panicked");
        }
    }
}

/// What the thread has to do.
enum Work {
    /// The file is not as it should be in these places.
    Changes(BTreeSet<u64>, u64),
    /// It is time to try the disk again.
    Reopen,
    End,
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.wait() {
                Work::Changes(places, generation) => {
                    if let Err(error) = self.write(&places) {
                        self.fail(&format!("cannot write {}: {error}", self.path.display()));
                    }
                    self.written.send_replace(generation);
                }
                Work::Reopen => self.reopen(),
                Work::End => {
                    if self.journal.is_none() {
                        self.reopen();
                    }
                    return;
                }
            }
        }
    }

    fn wait(&self) -> Work {
        let mut inner = self.shared.lock();
        loop {
            if self.journal.is_none() {
                let left_ns = self.retry_at_ns.saturating_sub((self.clock.monotonic_ns)());
                if inner.stops {
                    return Work::End;
                } else if left_ns == 0 {
                    return Work::Reopen;
                }
                let waited = self.shared.changed.wait_timeout(inner, Duration::from_nanos(left_ns));
                inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else if !inner.dirty.is_empty() {
                return Work::Changes(std::mem::take(&mut inner.dirty), inner.generation);
            } else if inner.stops {
                return Work::End;
            } else {
                inner = self.shared.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn write(&self, places: &BTreeSet<u64>) -> Result<(), redb::Error> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let waiting = self.shared.lock().queue.at(|place| places.contains(&place));
        let put: Vec<_> = waiting
            .iter()
            .map(|(place, told)| (*place, stored::encode(told)))
            .collect();
        let stays: BTreeSet<u64> = waiting.into_iter().map(|(place, _)| place).collect();
        let remove: Vec<u64> = places.difference(&stays).copied().collect();
        journal.apply(&put, &remove)
    }

    fn fail(&mut self, error: &str) {
        self.journal = None;
        self.retry_at_ns = (self.clock.monotonic_ns)().saturating_add(DISK_RETRY_NS);
        self.shared.lock().degrade(error);
    }

    /// Opens the file again and brings it up to memory.
    fn reopen(&mut self) {
        let (journal, mut found) = match Journal::open(&self.path) {
            Ok((journal, found, _)) => (journal, found),
            Err(error) => return self.fail(&error),
        };
        let on_disk = std::mem::take(&mut found.places);
        let (all, generation, bells) = {
            let mut inner = self.shared.lock();
            if !self.loaded {
                restore(&mut inner, found, self.clock, false);
                self.loaded = true;
            }
            let mut all: BTreeSet<u64> = inner.queue.at(|_| true).into_iter().map(|(place, _)| place).collect();
            all.extend(on_disk);
            // Changes from here on are written by the next turn.
            inner.dirty.clear();
            inner.degraded = None;
            let bells: Vec<_> = inner.bells.values().cloned().collect();
            (all, inner.generation, bells)
        };
        self.journal = Some(journal);
        match self.write(&all) {
            Ok(()) => tracing::info!("notifications are on disk again"),
            Err(error) => self.fail(&format!("cannot write {}: {error}", self.path.display())),
        }
        self.written.send_replace(generation);
        for bell in bells {
            bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
