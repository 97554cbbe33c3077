//! The running kernel as a source: its ring buffers, its connection states, its counters.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aya::maps::{HashMap as BpfHashMap, MapData, MapError, PerCpuArray, RingBuf};
use hashbrown::HashMap;
use perf_common::counters::{COUNTERS, Counter};
use perf_common::record::{
    DataRecord, Record, RecordHeader, StateRecord, change, decode, direction, exit, family, flag, kind, open_flag,
};
use perf_common::state::{FLAGS_OFFSET, STATE_BYTES, StateView, flags, view};
use rustix::event::{Timespec, epoll};

use super::rings::Rings;
use super::unix_sockets::{self, UnixSocket, UnixSockets};
use super::{Backend, Hint, Polled, ProgramStats, Report, Source, SourceError, TlsCoverage};
use crate::clock;
use crate::config::CaptureSettings;
use crate::functions::probes::{self, Probes};
use crate::probe::filters::Marks;
use crate::probe::load::{Loaded, Machine, load};
use crate::probe::points::POINTS;
use crate::tasks::{self, Tasks};
use crate::tls::coverage::{self, Coverage};

/// Records handed over by one call, so that the caller's clock goes on under any load.
const BATCH: usize = 8192;
/// How long to let records gather when some came last time, at most and at least. Records carry their own times, so this
/// only delays reports; a buffer that fills sooner wakes the reader.
const LONGEST_WAIT: Duration = Duration::from_millis(10);
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// Records that are read at once without standing in the way of those who are observed: while the reader has a processor
/// that a busy server wants, its clients soon have nothing to do. When more come, they are let gather for less long.
const GENTLE: usize = 512;
/// How often the sums of open bulk messages are read.
const BULK_INTERVAL_NS: u64 = 100_000_000;
/// Bulk messages whose sums are read; more are reported at their turn of direction only.
const MAX_BULK: usize = 4096;

/// How often followed Unix sockets are compared with the living ones, where no hook tells of their end.
const UNIX_INTERVAL_NS: u64 = 5_000_000_000;
/// How often the kernel is asked for the calls in which it ran no program.
const SKIPPED_INTERVAL_NS: u64 = 5_000_000_000;
/// How often, while records are lost, followed connections are compared with the states that there are.
const COMPARE_INTERVAL_NS: u64 = 5_000_000_000;
/// How often the whole connection table is, for Unix sockets of no interest.
const SWEEP_INTERVAL_NS: u64 = 300_000_000_000;

/// See the module.
pub struct KernelSource {
    loaded: Option<Loaded>,
    tls: Option<Coverage>,
    tasks: Option<Tasks>,
    functions: Option<Probes>,
    /// Files that were probed when ciphertext of no interest was last looked at again.
    probed: u64,
    report: Report,
    rings: Rings,
    connections: BpfHashMap<MapData, u64, [u8; STATE_BYTES]>,
    counts: PerCpuArray<MapData, u64>,
    wakeups: OwnedFd,
    bulk: Vec<Bulk>,
    bulk_read_ns: u64,
    unix: UnixSockets,
    followed: Followed,
    found: Found,
    /// Records lost when [`Self::followed`] was last compared with the connections' states.
    lost_compared: u64,
    lost: u64,
    compared_ns: u64,
    unix_read_ns: u64,
    /// Calls in which the kernel ran no program, and when they were read.
    skipped: u64,
    skipped_read_ns: u64,
    swept_ns: u64,
    sessions_read_ns: u64,
    sessions_swept_ns: u64,
    busy: bool,
    /// How long records are let gather.
    gather: Duration,
}

/// What was found beside the ring buffers. It is newer than what waits in them, so it is handed over when all that went
/// before it has been.
#[derive(Default)]
struct Found {
    /// When.
    at_ns: u64,
    /// States of open bulk messages that went on, by connection.
    sums: HashMap<u64, StateView>,
    /// Unix sockets that ended.
    ended: Vec<UnixSocket>,
    /// Connections whose states are gone.
    forgotten: Vec<u64>,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.ended.is_empty() && self.forgotten.is_empty()
    }
}

/// An open bulk message.
struct Bulk {
    /// Kernel address of its socket.
    socket: u64,
    connection: u64,
    /// Position reported last.
    reported: u32,
}

/// The connections that are followed.
struct Followed {
    /// Keys of their states.
    sockets: HashMap<u64, u64>,
    /// TLS sessions that are bound to no socket, whose end nothing tells: their processes.
    unbound: HashMap<u64, u32>,
    most: usize,
}

impl Followed {
    /// Learns from the records that pass.
    fn note(&mut self, record: &[u8], unix: &mut UnixSockets, tasks: Option<&Tasks>) {
        // The kind stands first; data records, nearly all there are, are let pass at once.
        match record.first_chunk().map(|kind| u16::from_le_bytes(*kind)) {
            Some(kind::OPEN) => {
                if let Ok(Record::Open(open)) = decode(record) {
                    unix.opened(&open);
                    if self.sockets.len() < self.most {
                        self.sockets.insert(open.connection, open.socket);
                        if open.header.flags & open_flag::TLS != 0 && open.family == family::UNKNOWN {
                            self.unbound.insert(open.connection, open.tgid);
                        } else {
                            self.unbound.remove(&open.connection);
                        }
                    }
                }
            }
            Some(kind::PROCESS) => {
                if let (Ok(Record::Process { tgid, .. }), Some(tasks)) = (decode(record), tasks) {
                    tasks.look_at(tgid);
                }
            }
            Some(kind::EXIT) => {
                if let (Ok(Record::Exit(record)), Some(tasks)) = (decode(record), tasks)
                    && record.what == exit::EXECUTED
                {
                    tasks.executed(record.tgid);
                }
            }
            Some(kind::STATE) => {
                if let Ok(Record::State(state)) = decode(record)
                    && matches!(state.change, change::DESTROYED | change::FORGOTTEN)
                {
                    unix.ended(state.connection);
                    self.sockets.remove(&state.connection);
                    self.unbound.remove(&state.connection);
                }
            }
            _ => {}
        }
    }
}

impl KernelSource {
    /// Loads the programs and begins to observe.
    ///
    /// # Errors
    /// [`SourceError`] with what is missing and what would help.
    pub fn start(settings: &CaptureSettings) -> Result<Self, SourceError> {
        let marks = Marks::resolve(settings)?;
        let machine = Machine::ask()?;
        let mut loaded = load(&machine, settings, &marks)?;
        drop(machine);
        give_back_memory();
        let rings = Rings::new(std::mem::take(&mut loaded.rings));
        let connections =
            BpfHashMap::try_from(take(&mut loaded, "CONNECTIONS")).map_err(map_error("open the connection table"))?;
        let counts = PerCpuArray::try_from(take(&mut loaded, "COUNTS")).map_err(map_error("open the counters"))?;
        let wakeups = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io("create an epoll descriptor"))?;
        // Edge-triggered: only a forced wakeup of the kernel side ends a wait, not the mere presence of records.
        let interest = epoll::EventFlags::IN | epoll::EventFlags::ET;
        for ring in rings.iter() {
            epoll::add(&wakeups, ring.as_fd(), epoll::EventData::new_u64(0), interest)
                .map_err(io("watch a ring buffer"))?;
        }
        let report = loaded.report.clone();
        let tls = if let Some(way) = loaded.tls {
            let asked =
                RingBuf::try_from(take(&mut loaded, "ASKED")).map_err(map_error("open the ring of questions"))?;
            let started = Coverage::start(Arc::clone(&loaded.ebpf), way, asked);
            Some(started.map_err(|source| SourceError::Load {
                what: "start a thread".to_owned(),
                source: Box::new(source),
            })?)
        } else {
            None
        };
        let tasks = Tasks::start(Arc::clone(&loaded.ebpf), loaded.handovers).map_err(|source| SourceError::Load {
            what: "start a thread".to_owned(),
            source: Box::new(source),
        })?;
        let functions = start_functions(&mut loaded, settings)?;
        let now_ns = clock::monotonic_ns();
        Ok(Self {
            functions,
            tasks: Some(tasks),
            loaded: Some(loaded),
            tls,
            probed: 0,
            report,
            rings,
            connections,
            counts,
            wakeups,
            bulk: Vec::new(),
            bulk_read_ns: now_ns,
            unix: UnixSockets::default(),
            followed: Followed {
                sockets: HashMap::new(),
                unbound: HashMap::new(),
                most: settings.max_connections as usize,
            },
            found: Found::default(),
            lost_compared: 0,
            lost: 0,
            compared_ns: now_ns,
            unix_read_ns: now_ns,
            skipped: 0,
            skipped_read_ns: now_ns,
            swept_ns: now_ns,
            sessions_read_ns: now_ns,
            sessions_swept_ns: now_ns,
            busy: false,
            gather: LONGEST_WAIT,
        })
    }

    /// Looks beside the ring buffers, once what was found before has been handed over.
    fn look(&mut self) {
        if !self.found.is_empty() {
            return;
        }
        self.read_bulk();
        self.sweep_unix();
        self.take_up_tls();
        self.sweep_sessions();
        self.find_forgotten();
        self.found.at_ns = clock::monotonic_ns();
    }

    /// Reads the sums of open bulk messages that went on since the last time.
    fn read_bulk(&mut self) {
        let now_ns = clock::monotonic_ns();
        if self.bulk.is_empty() || now_ns.saturating_sub(self.bulk_read_ns) < BULK_INTERVAL_NS {
            return;
        }
        self.bulk_read_ns = now_ns;
        let (connections, sums) = (&self.connections, &mut self.found.sums);
        self.bulk.retain_mut(|bulk| {
            let Some(state) = state_of(connections, bulk.socket, bulk.connection) else {
                return false;
            };
            if state.flags & flags::FOLDING == 0 {
                return false; // reported by the kernel side at the turn of direction
            }
            // The kernel side may be writing: what reads the same twice is whole.
            let whole = state_of(connections, bulk.socket, bulk.connection) == Some(state);
            if whole && state.folded_bytes != 0 && state.folded_position != bulk.reported {
                bulk.reported = state.folded_position;
                sums.insert(bulk.connection, state);
            }
            true
        });
    }

    /// Finds followed Unix sockets that have ended, and frees the states of those of no interest.
    fn sweep_unix(&mut self) {
        let now_ns = clock::monotonic_ns();
        let sweep = now_ns.saturating_sub(self.swept_ns) >= SWEEP_INTERVAL_NS;
        let look = !self.unix.is_empty() && now_ns.saturating_sub(self.unix_read_ns) >= UNIX_INTERVAL_NS;
        if self.report.backend != Some(Backend::Tracepoint) || !(sweep || look) {
            return;
        }
        self.unix_read_ns = now_ns;
        let Some(mut living) = unix_sockets::living(&self.unix.processes()) else {
            return;
        };
        if self.unix.misses(&living) {
            // The kernel's list may leave one out when another goes while it is read.
            living.extend(unix_sockets::living(&self.unix.processes()).unwrap_or_default());
        }
        self.found.ended.extend(self.unix.take_ended(&living));
        if sweep {
            self.swept_ns = now_ns;
            let dead = |state: &StateView| {
                let untouched_for_ns = now_ns.saturating_sub(state.connection >> 10);
                let gone = if state.inode == 0 {
                    untouched_for_ns > SWEEP_INTERVAL_NS
                } else {
                    !living.contains(&state.inode)
                };
                state.flags & flags::UNIX != 0 && state.flags & flags::OPENED == 0 && gone
            };
            let entries = self.connections.iter().flatten();
            let keys: Vec<u64> = entries
                .filter(|(_, bytes)| dead(&view(bytes)))
                .map(|(key, _)| key)
                .collect();
            for key in keys {
                let _gone = self.connections.remove(&key);
            }
        }
    }

    /// Another file was probed: what carries TLS and was given up, since nothing was seen of it, may be seen now.
    fn take_up_tls(&mut self) {
        let probed = self.tls.as_ref().map_or(0, Coverage::probed);
        if probed == self.probed {
            return;
        }
        self.probed = probed;
        let given_up = |state: &StateView| state.flags & (flags::TLS | flags::IGNORED) == flags::TLS | flags::IGNORED;
        let entries = self.connections.iter().flatten();
        let found: Vec<_> = entries.filter(|(_, bytes)| given_up(&view(bytes))).collect();
        for (socket, mut bytes) in found {
            let flags = view(&bytes).flags & !flags::IGNORED;
            write_flags(&mut bytes, flags);
            // Gone meanwhile: nothing to take up.
            let _gone = self.connections.insert(&socket, &bytes, EXISTING);
        }
    }

    /// Finds TLS sessions that ended with their processes: those that are followed, and, from time to time, all.
    fn sweep_sessions(&mut self) {
        let now_ns = clock::monotonic_ns();
        if now_ns.saturating_sub(self.sessions_read_ns) < UNIX_INTERVAL_NS {
            return;
        }
        self.sessions_read_ns = now_ns;
        let is_dead = |tgid: u32| !Path::new(&format!("/proc/{tgid}")).exists();
        for (&connection, _) in self.followed.unbound.iter().filter(|&(_, &tgid)| is_dead(tgid)) {
            if let Some(key) = self.followed.sockets.get(&connection) {
                // Gone meanwhile: nothing to free.
                let _gone = self.connections.remove(key);
            }
            self.found.forgotten.push(connection);
        }
        if now_ns.saturating_sub(self.sessions_swept_ns) < SWEEP_INTERVAL_NS {
            return;
        }
        self.sessions_swept_ns = now_ns;
        let left_over = |state: &StateView| {
            let unfollowed = state.flags & (flags::SESSION | flags::OPENED) == flags::SESSION;
            unfollowed && state.link == 0 && is_dead(state.tgid)
        };
        let entries = self.connections.iter().flatten();
        let keys: Vec<u64> = entries
            .filter(|(_, bytes)| left_over(&view(bytes)))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let _gone = self.connections.remove(&key);
        }
    }

    /// Finds connections that ended without a record, since it was lost: their states are gone.
    fn find_forgotten(&mut self) {
        let now_ns = clock::monotonic_ns();
        if self.lost == self.lost_compared || now_ns.saturating_sub(self.compared_ns) < COMPARE_INTERVAL_NS {
            return;
        }
        (self.lost_compared, self.compared_ns) = (self.lost, now_ns);
        let followed = &self.followed.sockets;
        let gone = followed
            .iter()
            .filter(|&(&connection, &socket)| state_of(&self.connections, socket, connection).is_none());
        self.found.forgotten.extend(gone.map(|(connection, _)| *connection));
    }

    /// Hands over what was found, now that all that went before it has been.
    fn deliver_found(&mut self, deliver: &mut dyn FnMut(&[u8])) {
        for (_, state) in self.found.sums.drain() {
            deliver(&folded_record(&state).to_bytes());
        }
        let now_ns = clock::monotonic_ns();
        for ended in self.found.ended.drain(..) {
            let mut how = change::DESTROYED;
            if let Some(state) = state_of(&self.connections, ended.socket, ended.connection) {
                if state.flags & flags::FOLDING != 0 && state.folded_bytes != 0 {
                    deliver(&folded_record(&state).to_bytes());
                }
                if state.flags & (flags::LOST_RECEIVED | flags::LOST_SENT) != 0 {
                    how = change::FORGOTTEN;
                }
                // Gone meanwhile: nothing to free.
                let _gone = self.connections.remove(&ended.socket);
            }
            self.followed.sockets.remove(&ended.connection);
            deliver(&StateRecord::new(ended.connection, how, now_ns).to_bytes());
        }
        for connection in self.found.forgotten.drain(..) {
            // Still followed: its end did not come by after all.
            if self.followed.sockets.remove(&connection).is_some() {
                self.unix.ended(connection);
                self.followed.unbound.remove(&connection);
                deliver(&StateRecord::new(connection, change::FORGOTTEN, now_ns).to_bytes());
            }
        }
    }
}

/// A connection's state, if the address still belongs to it.
fn state_of(
    connections: &BpfHashMap<MapData, u64, [u8; STATE_BYTES]>,
    socket: u64,
    connection: u64,
) -> Option<StateView> {
    let state = view(&connections.get(&socket, 0).ok()?);
    (state.connection == connection).then_some(state)
}

fn folded_record(state: &StateView) -> DataRecord {
    DataRecord {
        header: RecordHeader::of::<DataRecord>(kind::DATA, flag::FOLDED | flag::TAIL, state.folded_ns),
        connection: state.connection,
        arrival_ns: 0,
        position_end: state.folded_position,
        length: state.folded_bytes,
        captured: 0,
        tgid: state.tgid,
        tid: state.tid,
        direction: if state.flags & flags::LAST_SENT != 0 {
            direction::SENT
        } else {
            direction::RECEIVED
        },
        reserved: [0; 3],
        tail: state.folded_tail,
    }
}

/// Drops the sums of a connection of which a ring buffer held something: an older message, which they do not follow, or
/// a newer report of themselves. The next reading has them.
fn drop_overtaken(sums: &mut HashMap<u64, StateView>, bulk: &mut [Bulk], record: &[u8]) {
    // All records but those of processes have the connection at this place, and what those have there is hardly an id. If
    // it were, the sum would come with the next reading.
    const CONNECTION: usize = std::mem::offset_of!(DataRecord, connection);
    let Some(id) = record.get(CONNECTION..).and_then(<[u8]>::first_chunk) else {
        return;
    };
    let id = u64::from_le_bytes(*id);
    if sums.remove(&id).is_some()
        && let Some(bulk) = bulk.iter_mut().find(|bulk| bulk.connection == id)
    {
        bulk.reported = 0;
    }
}

impl Source for KernelSource {
    fn report(&self) -> &Report {
        &self.report
    }

    fn poll(&mut self, timeout: Duration, deliver: &mut dyn FnMut(&[u8])) -> Result<Polled, SourceError> {
        if let Some(functions) = &mut self.functions {
            functions.tell(clock::monotonic_ns(), deliver);
        }
        self.look();
        let until_ns = self.rings.settled_ns(clock::monotonic_ns());
        let (found, followed) = (&mut self.found, &mut self.followed);
        let taken = self.rings.take(until_ns, BATCH, &mut |record| {
            followed.note(record, &mut self.unix, self.tasks.as_ref());
            if !found.sums.is_empty() {
                drop_overtaken(&mut found.sums, &mut self.bulk, record);
            }
            deliver(record);
        });
        if !taken.all {
            self.busy = true;
            return Ok(Polled::More);
        }
        if self.found.at_ns <= until_ns {
            self.deliver_found(deliver);
        }
        let waiting = taken.younger || !self.found.is_empty();
        let wait = if taken.records > 0 || waiting || self.busy {
            timeout.min(self.gather)
        } else {
            timeout
        };
        self.busy = taken.records > 0;
        self.gather = match taken.records {
            many if many > GENTLE => (self.gather / 2).max(SHORTEST_WAIT),
            few if few < GENTLE / 4 => (self.gather * 2).min(LONGEST_WAIT),
            _ => self.gather,
        };
        if !wait.is_zero() {
            let wait = Timespec {
                tv_sec: wait.as_secs().cast_signed(),
                tv_nsec: i64::from(wait.subsec_nanos()),
            };
            let mut events = [epoll::Event {
                flags: epoll::EventFlags::empty(),
                data: epoll::EventData::new_u64(0),
            }; 1];
            match epoll::wait(&self.wakeups, &mut events[..], Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(SourceError::Read(error.into())),
            }
        }
        Ok(Polled::Idle)
    }

    fn hint(&mut self, hint: Hint) {
        match hint {
            Hint::Ignore { socket, connection } => {
                // Replaces the whole state: what the kernel side changed meanwhile is of no interest any more.
                if state_of(&self.connections, socket, connection).is_some()
                    && let Ok(mut bytes) = self.connections.get(&socket, 0)
                {
                    let flags = view(&bytes).flags | flags::IGNORED;
                    write_flags(&mut bytes, flags);
                    // Gone meanwhile: nothing to ignore.
                    let _gone = self.connections.insert(&socket, &bytes, EXISTING);
                }
            }
            Hint::PollBulk { socket, connection } => {
                let known = self
                    .bulk
                    .iter()
                    .any(|bulk| (bulk.socket, bulk.connection) == (socket, connection));
                if !known && self.bulk.len() < MAX_BULK {
                    self.bulk.push(Bulk {
                        socket,
                        connection,
                        reported: 0,
                    });
                }
            }
            Hint::FollowHandovers { tgid } => {
                if let Some(tasks) = &self.tasks {
                    tasks.follow_handovers(tgid);
                }
            }
            Hint::StopBulk { socket, connection } => {
                self.bulk
                    .retain(|bulk| (bulk.socket, bulk.connection) != (socket, connection));
            }
        }
    }

    fn counters(&mut self) -> Result<Option<[u64; COUNTERS]>, SourceError> {
        let mut sums = [0; COUNTERS];
        for (index, sum) in (0..).zip(&mut sums) {
            let values = self.counts.get(&index, 0).map_err(map_error("read the counters"))?;
            *sum = values.iter().sum();
        }
        self.lost = sums[Counter::Lost as usize];
        let now_ns = clock::monotonic_ns();
        if now_ns.saturating_sub(self.skipped_read_ns) >= SKIPPED_INTERVAL_NS {
            self.skipped_read_ns = now_ns;
            self.skipped = self.loaded.as_ref().map_or(self.skipped, skipped);
        }
        sums[Counter::Skipped as usize] = self.skipped;
        Ok(Some(sums))
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        let Some(loaded) = &self.loaded else { return Vec::new() };
        let ebpf = loaded.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        names()
            .filter_map(|name| ebpf.program(name)?.info().ok())
            .map(|info| {
                let runs = info.run_count();
                let counted = runs > 0;
                ProgramStats {
                    name: info.name_as_str().unwrap_or("?").to_owned(),
                    runs: counted.then_some(runs),
                    run_time_ns: counted.then(|| u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX)),
                }
            })
            .collect()
    }

    fn tls(&mut self) -> Vec<TlsCoverage> {
        self.tls.as_ref().map(Coverage::account).unwrap_or_default()
    }

    fn detach(&mut self) {
        self.tls = None;
        self.tasks = None;
        if let Some(functions) = &mut self.functions {
            functions.end();
        }
        // Programs and links go with their descriptors; the ring buffers are kept apart and can still be read.
        self.loaded = None;
        self.rings.end();
    }
}

/// Hangs the programs on the chosen functions, if there are any.
fn start_functions(loaded: &mut Loaded, settings: &CaptureSettings) -> Result<Option<Probes>, SourceError> {
    let chosen = &settings.functions;
    if chosen.is_empty() {
        return Ok(None);
    }
    let way = match &loaded.functions {
        Ok(way) => *way,
        Err(reason) => return Ok(Some(Probes::unavailable(chosen, reason))),
    };
    let maps = probes::Maps {
        counts: PerCpuArray::try_from(take(loaded, probes::COUNTS))
            .map_err(map_error("open the counts of functions"))?,
        invocations: BpfHashMap::try_from(take(loaded, probes::INVOCATIONS))
            .map_err(map_error("open the table of invocations"))?,
    };
    let started = Probes::start(&loaded.ebpf, way, maps, chosen, settings.function_share);
    started.map(Some).map_err(|source| SourceError::Load {
        what: "start a thread".to_owned(),
        source: Box::new(source),
    })
}

/// All programs that may be loaded.
fn names() -> impl Iterator<Item = &'static str> {
    let points = POINTS.iter().map(|point| point.program);
    let others = coverage::PROGRAMS.into_iter().chain(tasks::PROGRAMS);
    points.chain(others).chain(probes::PROGRAMS)
}

/// Calls in which the kernel did not run one of these programs, as it was in the middle of it already. (The loader's own
/// account of a program leaves that out.)
fn skipped(loaded: &Loaded) -> u64 {
    let ebpf = loaded.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |name| {
        let descriptor = ebpf.program(name)?.fd().ok()?.as_fd().as_raw_fd();
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
        let count = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
        count.trim().parse::<u64>().ok()
    };
    names().filter_map(of).sum()
}

fn write_flags(state: &mut [u8; STATE_BYTES], flags: u32) {
    state[FLAGS_OFFSET..FLAGS_OFFSET + 4].copy_from_slice(&flags.to_le_bytes());
}

/// `BPF_EXIST`: update an existing entry only.
const EXISTING: u64 = 2;

fn take(loaded: &mut Loaded, name: &str) -> aya::maps::Map {
    let mut ebpf = loaded.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
    ebpf.take_map(name).expect("the object has this map")
}

fn map_error(what: &'static str) -> impl Fn(MapError) -> SourceError {
    move |source| SourceError::Load {
        what: what.to_owned(),
        source: Box::new(source),
    }
}

fn io(what: &'static str) -> impl Fn(rustix::io::Errno) -> SourceError {
    move |source| SourceError::Load {
        what: what.to_owned(),
        source: Box::new(source),
    }
}

/// The parsed kernel types took tens of megabytes, which the allocator would keep.
fn give_back_memory() {
    // SAFETY: the function has no preconditions.
    unsafe { libc::malloc_trim(0) };
}
