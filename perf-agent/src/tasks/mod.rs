//! Programs that run more than one task on a thread by turns: tells the kernel side how to see which one it is.
//!
//! Of a Go program it is enough to know that it is one. Of a Python program, [`python`] finds in its memory where each
//! thread keeps its context, which every coroutine of asyncio has one of its own of. A process is looked at when its first
//! connection is followed, and twice again, since a program may just have begun. Nothing is written to it.
//!
//! Processes of other runtimes run what a thread hears of at once (Node), or a thread for each request: there the thread
//! is the task.

mod python;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{HashMap as BpfHashMap, MapData};
use perf_common::settings::mark;

use crate::clock;
use crate::image::{Runtime, runtime};
use crate::maps::{FileId, executable, mapped_files};
use crate::privileges::{self, Purpose};
use crate::probe::filters::add_mark;

/// Processes that wait to be looked at; more are taken for programs of threads.
const WAITING: usize = 1024;
/// Files of which the runtime is kept.
const FILES: usize = 4096;
/// When a process is looked at again.
const AGAIN_NS: [u64; 2] = [1_000_000_000, 10_000_000_000];

/// The thread that looks. Dropping it ends the thread.
#[derive(Debug)]
pub struct Tasks {
    processes: Option<SyncSender<u32>>,
    thread: Option<JoinHandle<()>>,
}

impl Tasks {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system gives none.
    pub fn start(ebpf: Arc<Mutex<Ebpf>>) -> io::Result<Self> {
        let (processes, asked) = sync_channel(WAITING);
        let mut looker = Looker {
            ebpf,
            runtimes: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("tasks".to_owned())
            .spawn(move || looker.run(&asked))?;
        Ok(Self {
            processes: Some(processes),
            thread: Some(thread),
        })
    }

    /// Connections of this process are followed from now on.
    pub fn look_at(&self, tgid: u32) {
        if let Some(processes) = &self.processes
            && let Err(TrySendError::Full(tgid)) = processes.try_send(tgid)
        {
            tracing::debug!(tgid, "too many new processes: its tasks are not told apart");
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.processes = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was told of where it happened.
            let _panic = thread.join();
        }
    }
}

struct Looker {
    ebpf: Arc<Mutex<Ebpf>>,
    /// What is in a file that was looked at.
    runtimes: HashMap<FileId, Option<Runtime>>,
}

impl Looker {
    fn run(&mut self, asked: &Receiver<u32>) {
        if let Err(error) = privileges::drop_what_is_not_needed(Purpose::Probe) {
            tracing::warn!(%error, "cannot drop capabilities, looking at programs with all of them");
        }
        // Processes that are looked at again, and when.
        let mut again: VecDeque<(u64, u32, usize)> = VecDeque::new();
        loop {
            let now_ns = clock::monotonic_ns();
            let due = again.iter().map(|(due_ns, ..)| *due_ns).min();
            let wait = due.map_or(u64::MAX, |due_ns| due_ns.saturating_sub(now_ns));
            let next = match asked.recv_timeout(Duration::from_nanos(wait.min(3_600_000_000_000))) {
                Ok(tgid) => Some((tgid, 0)),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let now_ns = clock::monotonic_ns();
                    let place = again.iter().position(|(due_ns, ..)| *due_ns <= now_ns);
                    place
                        .and_then(|place| again.remove(place))
                        .map(|(_, tgid, times)| (tgid, times))
                }
            };
            let Some((tgid, times)) = next else { continue };
            if self.look(tgid)
                && let Some(after_ns) = AGAIN_NS.get(times)
                && again.len() < WAITING
            {
                again.push_back((clock::monotonic_ns() + after_ns, tgid, times + 1));
            }
        }
    }

    /// Looks at a process; true if a later look may find more.
    fn look(&mut self, tgid: u32) -> bool {
        // Gone already.
        let Ok(files) = mapped_files(tgid) else { return false };
        let program = executable(tgid);
        for mapped in files {
            let is_program = program.as_ref() == Some(&mapped.path);
            if !is_program && !mapped.name().starts_with("libpython") {
                continue;
            }
            let Ok((file, metadata)) = mapped.open(tgid) else {
                continue;
            };
            if self.runtimes.len() >= FILES {
                self.runtimes.clear();
            }
            let found = *self
                .runtimes
                .entry(FileId::of(&metadata))
                .or_insert_with(|| runtime(&file));
            match found {
                None => {}
                Some(Runtime::Go) => {
                    // A full table: its threads are its tasks.
                    add_mark(&self.ebpf, tgid, mark::GOROUTINES);
                    return false;
                }
                Some(Runtime::Python(symbols)) => {
                    let Some(base) = mapped.base(tgid, symbols.first_address) else {
                        continue;
                    };
                    let places = python::contexts(tgid, &symbols.at(base));
                    tracing::debug!(
                        tgid,
                        threads = places.len(),
                        "looked for the contexts of Python's threads"
                    );
                    self.put(tgid, &places);
                    return true;
                }
            }
        }
        false
    }

    fn put(&self, tgid: u32, places: &[(u32, u64)]) {
        if places.is_empty() {
            return;
        }
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(map) = ebpf.map_mut("TASKS") else { return };
        let Ok(mut tasks) = BpfHashMap::<&mut MapData, u64, u64>::try_from(map) else {
            return;
        };
        for (tid, place) in places {
            let key = u64::from(tgid) << 32 | u64::from(*tid);
            // A full table gives up the thread that was asked about least lately.
            let _full = tasks.insert(&key, place, 0);
        }
        drop(ebpf);
        add_mark(&self.ebpf, tgid, mark::COROUTINES);
    }
}
