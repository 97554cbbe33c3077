//! What the thread does: commits, and what to do when one fails.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::batch::{Collector, Stored};
use super::store::{Bounds, Store, StoreError};
use super::{Shared, describe};
use crate::snapshot::Snapshot;

const SECOND_NS: u64 = 1_000_000_000;
/// Between two tries to open the file.
const AGAIN_NS: u64 = 30 * SECOND_NS;
/// Between two compactions: one rewrites the file.
const COMPACT_NS: u64 = 3_600 * SECOND_NS;
/// A file that is smaller than this is not compacted.
const COMPACT_BYTES: u64 = 32 << 20;
/// Between two looks for endpoints that are not used any more.
const FORGET_NS: u64 = 3_600 * SECOND_NS;

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    directory: PathBuf,
    bounds: Bounds,
    collector: Collector,
    /// When to try again, to compact, to forget: monotonic nanoseconds.
    open_ns: Option<u64>,
    compact_ns: u64,
    forget_ns: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, directory: PathBuf, bounds: Bounds, collector: Collector) -> Self {
        Self {
            shared,
            directory,
            bounds,
            collector,
            open_ns: None,
            compact_ns: 0,
            forget_ns: 0,
        }
    }

    /// Closes the file; who reads finds none then.
    pub(super) fn close(&self) {
        self.shared.store.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Puts what is new of a snapshot in.
    pub(super) fn write(&mut self, snapshot: &Snapshot, now_ns: u64) {
        let shared = Arc::clone(&self.shared);
        let mut opened = shared.store.write().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            let due_ns = *self.open_ns.get_or_insert(now_ns + AGAIN_NS);
            if now_ns < due_ns {
                return;
            }
            self.open_ns = Some(now_ns + AGAIN_NS);
            match Store::open(&self.directory) {
                Ok((store, aside)) => {
                    *opened = Some(store);
                    shared.change_state(|state| state.put_aside = aside.or(state.put_aside.take()));
                }
                Err(error) => {
                    shared.change_state(|state| state.degraded = Some(error.whole()));
                    return;
                }
            }
        }
        let Some(store) = opened.as_mut() else { return };
        match self.put(store, snapshot, now_ns) {
            Ok(()) => {
                self.open_ns = None;
                shared.change_state(|state| {
                    if state.degraded.take().is_some() {
                        tracing::info!(path = %state.path.display(), "the history is kept again");
                    }
                    describe(state, store);
                });
            }
            Err(error) => {
                // After an error the library wants the file to be opened anew.
                *opened = None;
                self.open_ns = Some(now_ns + AGAIN_NS);
                shared.change_state(|state| {
                    if state.degraded.is_none() {
                        tracing::warn!(error = error.whole(), "no history is kept for now");
                    }
                    state.degraded = Some(error.whole());
                });
            }
        }
    }

    fn put(&mut self, store: &mut Store, snapshot: &Snapshot, now_ns: u64) -> Result<(), StoreError> {
        let Some(batch) = self.collector.collect(snapshot) else {
            return Ok(());
        };
        let stored = Stored::of(&batch);
        store.commit(batch, self.bounds)?;
        self.collector.stored(snapshot, &stored);
        self.shared.ahead_ns.store(self.collector.ahead_ns(), Ordering::Relaxed);
        if !stored.renamed.is_empty() {
            let mut former = self.shared.former.write().unwrap_or_else(PoisonError::into_inner);
            for (id, into) in &stored.renamed {
                // What became this one before becomes that one, too.
                let mut ids = former.remove(id).unwrap_or_default();
                ids.push(*id);
                former.entry(*into).or_default().extend(ids);
            }
        }
        if now_ns >= self.forget_ns {
            self.forget_ns = now_ns + FORGET_NS;
            // Its rows are gone by then: it was noted at most an hour before it was used last.
            let kept_ns = self.bounds.retention_ns.saturating_add(4 * FORGET_NS);
            store.forget_endpoints(snapshot.wall_ns.saturating_sub(kept_ns))?;
        }
        let bytes = store.bytes_on_disk();
        let wasted = bytes > COMPACT_BYTES && store.sums().bytes < bytes / 2;
        if now_ns >= self.compact_ns && (wasted || bytes > self.bounds.max_bytes) {
            self.compact_ns = now_ns + COMPACT_NS;
            store.compact()?;
        }
        Ok(())
    }
}
