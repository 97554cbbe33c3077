//! The probes on chosen functions: hung on their files once, counted ten times a second, and taken off where they cost more
//! than they may.
//!
//! What a call costs the process that makes it is measured at the start, on a function of the agent's own: two traps and
//! two programs, of which the kernel's own account of programs has the smaller part.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{HashMap as BpfHashMap, MapData, PerCpuArray};
use aya::programs::uprobe::UProbeLink;
use perf_common::function::{COUNTS_BYTES, FUNCTIONS, FunctionCounts, INVOCATIONS_BYTES, cookie, in_flight};
use perf_common::record::{FunctionCountsRecord, FunctionRecord, RecordHeader, function_sort, function_state, kind};

use super::{Chosen, Spot};
use crate::clock;
use crate::event::FunctionSort;
use crate::image::functions::first_return;
use crate::maps::own_place;
use crate::privileges;
use crate::probe::counted::hang_counted;
use crate::probe::uprobes::{self, Way, hang_told, path_of, take_off};

/// The programs of the object that hang on chosen functions.
pub(crate) const PROGRAMS: [&str; 4] = [
    "function_entered",
    "function_returned",
    "function_left",
    "function_passed",
];

/// Maps that this module reads.
pub(crate) const INVOCATIONS: &str = "INVOCATIONS";
pub(crate) const COUNTS: &str = "FUNCTION_COUNTS";

/// Between two looks at what was counted.
const LOOK: Duration = Duration::from_millis(100);
/// Looks that make a second: over which the cost is judged, and after which what is in flight is counted.
const LOOKS: usize = 10;
const SECOND_NS: u64 = 1_000_000_000;
/// Entries of the map of invocations that are looked at.
const ENTRIES: usize = 16_384;
/// Bytes of all symbols of a function that are told; the API needs no more.
const SYMBOLS: usize = 16 * 1024;
/// Calls by which the cost of one is measured.
const ROUNDS: u32 = 2000;

/// One function and what became of it.
struct Row {
    chosen: Chosen,
    state: u8,
    reason: Option<String>,
    counts: FunctionCounts,
    /// Invocations whose threads ended in the middle.
    abandoned: u64,
    in_flight: u32,
    ns_per_call: u64,
    /// What it is was told as it is now.
    told: bool,
}

/// The maps that are read.
pub(crate) struct Maps {
    pub(crate) counts: PerCpuArray<MapData, [u8; COUNTS_BYTES]>,
    pub(crate) invocations: BpfHashMap<MapData, [u8; 16], [u8; INVOCATIONS_BYTES]>,
}

/// The thread that looks at the probes. Dropping it takes them off.
pub(crate) struct Probes {
    rows: Arc<Mutex<Vec<Row>>>,
    /// Held as long as the thread is to go on.
    goes_on: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    told_ns: u64,
}

impl Probes {
    /// Hangs the programs of [`PROGRAMS`], which are loaded, on these functions. `share` is what one of them may cost, in
    /// thousandths of a core.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(crate) fn start(
        ebpf: &Arc<Mutex<Ebpf>>,
        way: Way,
        maps: Maps,
        chosen: &[Chosen],
        share: u32,
    ) -> io::Result<Self> {
        let ns_per_call = measure(ebpf, way);
        let (mut rows, mut links) = (Vec::new(), Vec::new());
        for (number, chosen) in (0..).zip(chosen) {
            let hung = match &chosen.obstacle {
                Some(obstacle) => Err(obstacle.clone()),
                None => hang_on(ebpf, way, number, chosen),
            };
            let mut row = Row::of(chosen);
            row.ns_per_call = match chosen.sort {
                FunctionSort::Probe => ns_per_call / 2,
                _ => ns_per_call,
            };
            match hung {
                Ok(hung) => {
                    tracing::info!(
                        name = chosen.name,
                        file = %chosen.file.display(),
                        places = chosen.entries.len(),
                        "function observed: {}",
                        chosen.symbols.join(", ")
                    );
                    links.push(hung);
                }
                Err(reason) => {
                    tracing::warn!(name = chosen.name, "function not observed: {reason}");
                    row.state = function_state::UNAVAILABLE;
                    row.reason = Some(reason);
                    links.push(Vec::new());
                }
            }
            rows.push(row);
        }
        let rows = Arc::new(Mutex::new(rows));
        let (goes_on, ends) = sync_channel(0);
        let mut looker = Looker {
            rows: Arc::clone(&rows),
            links,
            maps,
            share,
            looks: VecDeque::new(),
        };
        let thread = std::thread::Builder::new()
            .name("functions".to_owned())
            .spawn(move || looker.run(way, &ends))?;
        Ok(Self {
            rows,
            goes_on: Some(goes_on),
            thread: Some(thread),
            told_ns: 0,
        })
    }

    /// None of these functions can be observed.
    pub(crate) fn unavailable(chosen: &[Chosen], reason: &str) -> Self {
        let rows = chosen.iter().map(|chosen| Row {
            state: function_state::UNAVAILABLE,
            reason: Some(chosen.obstacle.clone().unwrap_or_else(|| reason.to_owned())),
            ..Row::of(chosen)
        });
        Self {
            rows: Arc::new(Mutex::new(rows.collect())),
            goes_on: None,
            thread: None,
            told_ns: 0,
        }
    }

    /// Takes the probes off and counts for the last time.
    pub(crate) fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.goes_on = None;
            // Its panic was told of where it happened.
            let _panic = thread.join();
            self.told_ns = 0;
        }
    }

    /// Hands over what has changed, and once a second what was counted, as records.
    pub(crate) fn tell(&mut self, now_ns: u64, deliver: &mut dyn FnMut(&[u8])) {
        if now_ns.saturating_sub(self.told_ns) < SECOND_NS {
            return;
        }
        self.told_ns = now_ns;
        for (number, row) in (0..).zip(lock(&self.rows).iter_mut()) {
            if !row.told {
                row.told = true;
                deliver(&row.record(now_ns, number));
            }
            if row.state != function_state::UNAVAILABLE {
                deliver(&row.counted(now_ns, number).to_bytes());
            }
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(rows: &Mutex<Vec<Row>>) -> MutexGuard<'_, Vec<Row>> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Row {
    fn of(chosen: &Chosen) -> Self {
        Self {
            chosen: chosen.clone(),
            state: function_state::USED,
            reason: chosen.doubt.map(str::to_owned),
            counts: FunctionCounts::default(),
            abandoned: 0,
            in_flight: 0,
            ns_per_call: 0,
            told: false,
        }
    }

    /// What it is.
    fn record(&self, at_ns: u64, number: u32) -> Vec<u8> {
        let chosen = &self.chosen;
        let file = chosen.file.display().to_string();
        let reason = self.reason.as_deref().unwrap_or_default();
        let mut texts = Vec::new();
        let first = [chosen.name.as_str(), &chosen.choice, &file, reason];
        for text in first.into_iter().chain(chosen.symbols.iter().map(String::as_str)) {
            if texts.len() + text.len() > SYMBOLS {
                break;
            }
            texts.extend(text.bytes().filter(|byte| *byte != 0));
            texts.push(0);
        }
        let sort = match chosen.sort {
            FunctionSort::Function => function_sort::FUNCTION,
            FunctionSort::GoFunction => function_sort::GO_FUNCTION,
            FunctionSort::Probe => function_sort::PROBE,
            FunctionSort::ProbePair => function_sort::PROBE_PAIR,
        };
        let bytes = u32::try_from(texts.len()).unwrap_or(0);
        let mut record = FunctionRecord::new(at_ns, number, sort, self.state, bytes)
            .to_bytes()
            .to_vec();
        record.append(&mut texts);
        record
    }

    /// What was counted of it.
    fn counted(&self, at_ns: u64, number: u32) -> FunctionCountsRecord {
        FunctionCountsRecord {
            header: RecordHeader::of::<FunctionCountsRecord>(kind::FUNCTION_COUNTS, 0, at_ns),
            function: number,
            in_flight: self.in_flight,
            ns_per_call: self.ns_per_call,
            counts: FunctionCounts {
                unreturned: self.counts.unreturned + self.abandoned,
                ..self.counts
            },
        }
    }
}

/// A program that hangs on places of a file, as long as this is there.
#[expect(dead_code, reason = "kept for what dropping it does")]
enum Hung {
    Plain(UProbeLink),
    Counted(OwnedFd),
}

/// What the thread owns.
struct Looker {
    rows: Arc<Mutex<Vec<Row>>>,
    /// The probes of each row.
    links: Vec<Vec<Hung>>,
    maps: Maps,
    share: u32,
    /// When it looked lately, and what had begun of each row by then.
    looks: VecDeque<(u64, Vec<u64>)>,
}

impl Looker {
    /// Looks until nobody wants it any more; then takes all probes off.
    fn run(&mut self, way: Way, ends: &Receiver<()>) {
        if let Err(error) = privileges::drop_what_is_not_needed(way.purpose()) {
            tracing::warn!(%error, "cannot drop capabilities, observing functions with all of them");
        }
        for look in 0usize.. {
            self.count();
            self.judge();
            if look.is_multiple_of(LOOKS) {
                self.count_in_flight();
            }
            match ends.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        take_off(self.links.drain(..).flatten().collect());
        self.count();
    }

    /// Reads what the kernel side counted.
    fn count(&mut self) {
        for (number, row) in (0..).zip(lock(&self.rows).iter_mut()) {
            if row.state == function_state::UNAVAILABLE {
                continue;
            }
            // The array has as many as can be chosen.
            let Ok(processors) = self.maps.counts.get(&number, 0) else {
                continue;
            };
            let mut counts = FunctionCounts::default();
            processors
                .iter()
                .for_each(|bytes| counts.add(&FunctionCounts::from_bytes(bytes)));
            row.counts = counts;
        }
    }

    /// Takes off what cost more within the last second than it may.
    fn judge(&mut self) {
        let now_ns = clock::monotonic_ns();
        let mut rows = lock(&self.rows);
        let begun: Vec<u64> = rows.iter().map(|row| row.counts.entered).collect();
        let mut dear = Vec::new();
        if let Some((since_ns, before)) = self.looks.front() {
            let passed_ns = now_ns.saturating_sub(*since_ns).max(1);
            let all = rows.iter_mut().zip(&begun).zip(before).zip(&mut self.links);
            for (((row, begun), before), links) in all {
                let calls = begun.saturating_sub(*before);
                let cost_ns = calls.saturating_mul(row.ns_per_call);
                if row.state != function_state::USED
                    || cost_ns.saturating_mul(1000) <= u64::from(self.share) * SECOND_NS
                {
                    continue;
                }
                let per_second = calls as f64 * 1e9 / passed_ns as f64;
                let reason = format!(
                    "cost {:.1} % of a core, more than the {:.1} % that it may: {per_second:.0} calls per second of \
                     about {:.1} us each",
                    cost_ns as f64 * 100.0 / passed_ns as f64,
                    f64::from(self.share) / 10.0,
                    row.ns_per_call as f64 / 1e3,
                );
                tracing::warn!(name = row.chosen.name, "function no longer observed: {reason}");
                row.state = function_state::DISABLED;
                row.reason = Some(reason);
                row.in_flight = 0;
                row.told = false;
                dear.append(links);
            }
        }
        drop(rows);
        take_off(dear);
        if self.looks.len() >= LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((now_ns, begun));
    }

    /// Counts the invocations that have not returned, and frees those of threads that ended in the middle.
    fn count_in_flight(&mut self) {
        let mut rows = lock(&self.rows);
        let open = |counts: &FunctionCounts| counts.entered > counts.returned + counts.unreturned;
        let mut counted = vec![0u32; rows.len()];
        if rows
            .iter()
            .any(|row| row.state == function_state::USED && open(&row.counts))
        {
            let mut gone = Vec::new();
            for (key, value) in self.maps.invocations.iter().take(ENTRIES).flatten() {
                let word = |at: usize| u32::from_le_bytes([key[at], key[at + 1], key[at + 2], key[at + 3]]);
                let who = u64::from(word(4)) << 32 | u64::from(word(0));
                let (tgid, function) = (word(8), word(12) as usize);
                let (invocations, Some(row)) = (in_flight(&value), rows.get_mut(function)) else {
                    continue;
                };
                if invocations == 0 {
                    continue;
                }
                let is_alive = match row.chosen.sort {
                    FunctionSort::GoFunction => Path::new(&format!("/proc/{tgid}")).exists(),
                    _ => Path::new(&format!("/proc/{tgid}/task/{who}")).exists(),
                };
                if is_alive {
                    counted[function] += invocations;
                } else {
                    row.abandoned += u64::from(invocations);
                    gone.push(key);
                }
            }
            for key in gone {
                // Given up by the kernel meanwhile.
                let _gone = self.maps.invocations.remove(&key);
            }
        }
        for (row, counted) in rows.iter_mut().zip(counted) {
            row.in_flight = if row.state == function_state::USED { counted } else { 0 };
        }
    }
}

/// Hangs the programs on one function: where it ends first, since a beginning without an end would stay open.
fn hang_on(ebpf: &Mutex<Ebpf>, way: Way, number: u32, chosen: &Chosen) -> Result<Vec<Hung>, String> {
    let file = std::fs::File::open(&chosen.file).map_err(|error| format!("cannot open the file: {error}"))?;
    let path = path_of(&file);
    let is_counted = |spots: &[Spot]| spots.iter().any(|spot| spot.semaphore != 0);
    if way == Way::Single && (is_counted(&chosen.entries) || is_counted(&chosen.ends)) {
        return Err(
            "the static probe stands behind a counter (a semaphore), which this kernel's uprobes cannot raise \
                    together with a number of their own: Linux 6.6 or later can (uprobe_multi)"
                .to_owned(),
        );
    }
    let told = u64::from(number)
        | match chosen.sort {
            FunctionSort::Function | FunctionSort::Probe => 0,
            FunctionSort::ProbePair => cookie::PAIR,
            FunctionSort::GoFunction if chosen.go_stack => cookie::GO_STACK,
            FunctionSort::GoFunction => cookie::GO_REGISTERS,
        };
    let programs: [(&str, &[Spot]); 2] = match chosen.sort {
        FunctionSort::Function if chosen.ends.is_empty() => [
            ("function_returned", &chosen.entries),
            ("function_entered", &chosen.entries),
        ],
        FunctionSort::Probe => [("function_passed", &chosen.entries), ("", &[])],
        FunctionSort::Function | FunctionSort::GoFunction | FunctionSort::ProbePair => {
            [("function_left", &chosen.ends), ("function_entered", &chosen.entries)]
        }
    };
    let mut ebpf = ebpf.lock().unwrap_or_else(PoisonError::into_inner);
    let mut links = Vec::new();
    for (program, spots) in programs.into_iter().filter(|(_, spots)| !spots.is_empty()) {
        let program = uprobes::program(&mut ebpf, program);
        let link = if is_counted(spots) {
            let places: Vec<_> = spots.iter().map(|spot| (spot.offset, spot.semaphore)).collect();
            hang_counted(program, &path, &places, told)
                .map(Hung::Counted)
                .map_err(anyhow::Error::from)
        } else {
            let places: Vec<u64> = spots.iter().map(|spot| spot.offset).collect();
            hang_told(program, &path, &places, told)
                .map(Hung::Plain)
                .map_err(anyhow::Error::from)
        };
        links.push(link.map_err(|error| format!("cannot probe it: {error:#}"))?);
    }
    Ok(links)
}

/// What observing one call of a function costs on this machine, nanoseconds; 0 if that cannot be measured.
fn measure(ebpf: &Mutex<Ebpf>, way: Way) -> u64 {
    let own = std::fs::File::open("/proc/self/exe").ok();
    let place = own_place(measured as *const () as u64);
    let end = own.zip(place).and_then(|(file, place)| first_return(&file, place));
    let (Some(place), Some(end)) = (place, end) else {
        return 0;
    };
    let spot = |offset| Spot { offset, semaphore: 0 };
    let timed = || {
        let began_ns = clock::monotonic_ns();
        for round in 0..ROUNDS {
            black_box(measured(black_box(round)));
        }
        clock::monotonic_ns().saturating_sub(began_ns) / u64::from(ROUNDS)
    };
    let own = Chosen {
        name: "own".to_owned(),
        choice: String::new(),
        file: PathBuf::from("/proc/self/exe"),
        sort: FunctionSort::Function,
        symbols: Vec::new(),
        entries: vec![spot(place)],
        ends: vec![spot(end)],
        go_stack: false,
        obstacle: None,
        doubt: None,
    };
    let bare = timed();
    match hang_on(ebpf, way, FUNCTIONS - 1, &own) {
        Ok(links) => {
            let observed = [timed(), timed(), timed()].into_iter().min().unwrap_or(0);
            take_off(links);
            let cost = observed.saturating_sub(bare);
            tracing::debug!(cost, "nanoseconds for each call of a function that is observed");
            cost
        }
        Err(reason) => {
            tracing::debug!("what observing a function costs cannot be measured: {reason}");
            0
        }
    }
}

#[inline(never)]
extern "C" fn measured(round: u32) -> u32 {
    black_box(round)
}
