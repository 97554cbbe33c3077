//! Programs that run more than one task on a thread by turns: tells the kernel side how to see which one it is, and where
//! one hands over to another.
//!
//! Of a Go program it is enough to know that it is one. Of a Python program, [`python`] finds in its memory where each
//! thread keeps its context, which every coroutine of asyncio has one of its own of. A process is looked at when its first
//! connection is followed and when it then executes another program, and twice again, since a program may just have begun.
//! Nothing is written to it.
//!
//! Functions in which tasks hand over ([`Handover`]) are probed when it turns out that of many calls of a process it is not
//! known for whom they are made: most programs need none of them.
//!
//! Processes of other runtimes run what a thread hears of at once (Node), or a thread for each request: there the thread
//! is the task.

mod python;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{HashMap as BpfHashMap, MapData};
use aya::programs::uprobe::UProbeLink;
use perf_common::settings::mark;

use crate::clock;
use crate::image::{Handover, Runtime, handovers, runtime};
use crate::maps::{FileId, MappedFile, executable, mapped_files};
use crate::privileges::{self, Purpose};
use crate::probe::filters::add_mark;
use crate::probe::uprobes::{self, Way, hang, path_of, take_off};

/// Processes that wait to be looked at; more are taken for programs of threads.
const WAITING: usize = 1024;
/// Files of which the runtime is kept.
const FILES: usize = 4096;
/// Files whose hand-overs are probed; they are held open.
const PROBED: usize = 256;
/// When a process is looked at again.
const AGAIN_NS: [u64; 2] = [1_000_000_000, 10_000_000_000];

/// The programs of the object that hang where tasks hand over.
pub const PROGRAMS: [&str; 5] = [
    "go_http_asks",
    "go_http_writes",
    "python_context_copied",
    "uvloop_writes",
    "uvloop_sends",
];

/// The one for a function.
fn program(function: Handover) -> &'static str {
    match function {
        Handover::GoHttpAsks => "go_http_asks",
        Handover::GoHttpWrites => "go_http_writes",
        Handover::PythonContextCopied => "python_context_copied",
        Handover::UvloopWrites => "uvloop_writes",
        Handover::UvloopSends => "uvloop_sends",
    }
}

/// The thread that looks. Dropping it ends the thread.
#[derive(Debug)]
pub struct Tasks {
    asked: Option<SyncSender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked to do.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// Connections of this process are followed.
    LookAt(u32),
    /// It has just begun another program, which may not have loaded its runtime yet.
    Executed(u32),
    /// Of its calls it is not known for whom they are made.
    FollowHandovers(u32),
}

impl Tasks {
    /// Starts the thread. With a way, the programs of [`PROGRAMS`] are loaded for being hung so.
    ///
    /// # Errors
    /// If the operating system gives none.
    pub fn start(ebpf: Arc<Mutex<Ebpf>>, way: Option<Way>) -> io::Result<Self> {
        let (asked, questions) = sync_channel(WAITING);
        let mut looker = Looker {
            ebpf,
            way,
            runtimes: HashMap::new(),
            probed: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("tasks".to_owned())
            .spawn(move || looker.run(&questions))?;
        Ok(Self {
            asked: Some(asked),
            thread: Some(thread),
        })
    }

    /// Connections of this process are followed from now on.
    pub fn look_at(&self, tgid: u32) {
        self.ask(Asked::LookAt(tgid));
    }

    /// This process, whose connections are followed, runs another program from now on.
    pub fn executed(&self, tgid: u32) {
        self.ask(Asked::Executed(tgid));
    }

    /// Of many calls of this process it is not known for whom they are made.
    pub fn follow_handovers(&self, tgid: u32) {
        self.ask(Asked::FollowHandovers(tgid));
    }

    fn ask(&self, what: Asked) {
        if let Some(asked) = &self.asked
            && let Err(TrySendError::Full(what)) = asked.try_send(what)
        {
            tracing::debug!(?what, "too many new processes: its tasks are not told apart");
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was told of where it happened.
            let _panic = thread.join();
        }
    }
}

struct Looker {
    ebpf: Arc<Mutex<Ebpf>>,
    way: Option<Way>,
    /// What is in a file that was looked at.
    runtimes: HashMap<FileId, Option<Runtime>>,
    /// Files in which tasks hand over: held, so that their numbers stay their own, with the probes.
    probed: HashMap<FileId, (File, Vec<UProbeLink>)>,
}

impl Drop for Looker {
    fn drop(&mut self) {
        take_off(self.probed.drain().flat_map(|(_, (_, links))| links).collect());
    }
}

impl Looker {
    fn run(&mut self, asked: &Receiver<Asked>) {
        if let Err(error) = privileges::drop_what_is_not_needed(self.way.map_or(Purpose::Probe, Way::purpose)) {
            tracing::warn!(%error, "cannot drop capabilities, looking at programs with all of them");
        }
        // Processes that are looked at again, and when.
        let mut again: VecDeque<(u64, u32, usize)> = VecDeque::new();
        loop {
            let now_ns = clock::monotonic_ns();
            let due = again.iter().map(|(due_ns, ..)| *due_ns).min();
            let wait = due.map_or(u64::MAX, |due_ns| due_ns.saturating_sub(now_ns));
            let next = match asked.recv_timeout(Duration::from_nanos(wait.min(3_600_000_000_000))) {
                Ok(Asked::LookAt(tgid)) => Some((tgid, 0)),
                Ok(Asked::Executed(tgid)) => {
                    if again.len() < WAITING {
                        again.push_back((clock::monotonic_ns() + AGAIN_NS[0], tgid, 1));
                    }
                    None
                }
                Ok(Asked::FollowHandovers(tgid)) => {
                    self.follow_handovers(tgid);
                    None
                }
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
        for mapped in runtime_files(tgid) {
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
                    let places = python::places(tgid, &symbols.at(base));
                    tracing::debug!(tgid, ?places, "looked for where Python's threads keep their contexts");
                    if let Some(places) = places {
                        self.put(tgid, places.packed());
                        return false;
                    }
                    return true;
                }
            }
        }
        false
    }

    fn put(&self, tgid: u32, places: u64) {
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(map) = ebpf.map_mut("TASKS") else { return };
        let Ok(mut tasks) = BpfHashMap::<&mut MapData, u32, u64>::try_from(map) else {
            return;
        };
        // A full table gives up the process that was asked about least lately.
        let _full = tasks.insert(&tgid, &places, 0);
        drop(ebpf);
        add_mark(&self.ebpf, tgid, mark::COROUTINES);
    }

    /// Probes where tasks of this process, and of all others that run the same files, hand over.
    fn follow_handovers(&mut self, tgid: u32) {
        let Some(way) = self.way else { return };
        for mapped in runtime_files(tgid) {
            let Ok((file, metadata)) = mapped.open(tgid) else {
                continue;
            };
            let id = FileId::of(&metadata);
            if self.probed.contains_key(&id) || self.probed.len() >= PROBED {
                continue;
            }
            let found = handovers(&file);
            if found.is_empty() {
                continue;
            }
            let path = mapped.path.display();
            match self.hang(&file, &found) {
                Ok(links) => {
                    tracing::debug!(tgid, %path, ?found, "hand-overs are seen by {}", way.name());
                    self.probed.insert(id, (file, links));
                }
                Err(error) => tracing::warn!(tgid, %path, %error, "hand-overs between its tasks are not seen"),
            }
        }
    }

    /// All of them or none.
    fn hang(&self, file: &File, found: &[(Handover, u64)]) -> Result<Vec<UProbeLink>, aya::programs::ProgramError> {
        let path = path_of(file);
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let hung = found.iter().map(|(function, place)| {
            let program = uprobes::program(&mut ebpf, program(*function));
            hang(program, &path, &[*place])
        });
        hung.collect()
    }
}

/// The files of a process that a runtime may be in, or a part of one.
fn runtime_files(tgid: u32) -> impl Iterator<Item = MappedFile> {
    let program = executable(tgid);
    // None if it is gone already.
    let files = mapped_files(tgid).unwrap_or_default().into_iter();
    files.filter(move |mapped| {
        let in_uvloop = || mapped.path.parent().is_some_and(|folder| folder.ends_with("uvloop"));
        program.as_ref() == Some(&mapped.path) || mapped.name().starts_with("libpython") || in_uvloop()
    })
}
