//! The wiring, driven by sources without a kernel.

mod datagrams;
mod hellos;
mod records;
mod request_log;
mod targets;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use perf_common::record::{self, Record};

use super::*;
use crate::aggregate::Window;
use crate::api::json::performance::Performance;
use crate::config::CoreSettings;
use crate::source::format::{Entry, Header, Reader};
use crate::source::replay::{ReplaySource, Speed};
use crate::source::{Hint, KernelInfo, Report, TlsCoverage};
use crate::synthetic::Traffic;

fn settings() -> Settings {
    let core = CoreSettings {
        max_endpoints: 100,
        request_log: 1000,
        max_connections: 1000,
        routes: vec![],
        errors: crate::aggregate::ErrorRule::default(),
        requests: crate::request_log::RequestLogSettings::default(),
    };
    crate::cli::start::pipeline_settings(&core)
}

fn header() -> Header {
    let text = || "x".to_owned();
    Header {
        started_ns: 1,
        started_wall_ns: 2,
        kernel: text(),
        agent: text(),
        backend: text(),
    }
}

fn recording(directory: &Path, traffic: &Traffic) -> PathBuf {
    let path = directory.join("a.rec");
    let mut recorder = Recorder::create(&path, &header()).unwrap();
    traffic
        .records
        .iter()
        .for_each(|record| recorder.record(record).unwrap());
    recorder.finish().unwrap();
    path
}

fn wait_for_end(agent: &Agent) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let end = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), agent.ended()).await });
    end.expect("the core thread ends in time");
}

fn replayed(path: &Path, speed: Speed) -> (String, crate::ledger::Accounting) {
    let source = Box::new(ReplaySource::open(path, speed).unwrap());
    let agent = Agent::start(Plan {
        source,
        settings: settings(),
        recorder: None,
        trace: false,
    })
    .unwrap();
    wait_for_end(&agent);
    let published = agent.published();
    agent.finish().unwrap();
    let snapshot = Arc::clone(&published.borrow().snapshot);
    let all = Performance::new(&snapshot, None, Window::Start);
    (serde_json::to_string_pretty(&all).unwrap(), snapshot.accounting)
}

#[test]
fn the_same_file_gives_the_same_statistics_to_the_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = recording(directory.path(), &Traffic::example());
    let (first, books) = replayed(&path, Speed::Max);
    assert!(first.contains("\"route\": \"/users/{id}\""), "{first}");
    assert_eq!(
        (books.exchanges.opened, books.exchanges.answered, books.exchanges.cut),
        (202, 200, 1)
    );
    assert!(books.closes() && books.exchanges.in_flight == 0);
    for speed in [Speed::Max, Speed::Times(100.0)] {
        assert_eq!(replayed(&path, speed), (first.clone(), books));
    }
}

#[test]
fn what_was_blanked_for_the_file_changes_no_statistics() {
    let directory = tempfile::tempdir().unwrap();
    let path = recording(directory.path(), &Traffic::example());
    let bytes = std::fs::read(&path).unwrap();
    assert!(memchr::memmem::find(&bytes, b"token=xxx HTTP").is_some());
    assert!(memchr::memmem::find(&bytes, b"abc").is_none());
    let mut pipeline = Pipeline::new(settings()).unwrap();
    Traffic::example()
        .records
        .iter()
        .for_each(|record| pipeline.apply(record));
    pipeline.finish();
    let live = serde_json::to_string_pretty(&Performance::new(&pipeline.snapshot(), None, Window::Start)).unwrap();
    let (replayed, _) = replayed(&path, Speed::Max);
    assert_eq!(replayed, live);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Any bytes may be in a file: it ends with an error or with figures, and the books close.
    #[test]
    fn a_damaged_recording_ends_without_panic(
        damages in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0_u8..), 1..200),
        in_headers in proptest::prelude::any::<bool>(),
    ) {
        let mut records = Traffic::example().records;
        for (place, byte) in damages {
            let (which, at) = (place.index(records.len()), place.index(1 << 30));
            let record = &mut records[which];
            // Numbers are in the first bytes; the rest is mostly text.
            let length = if in_headers { record.len().min(64) } else { record.len() };
            record[at % length] = byte;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = recording(directory.path(), &Traffic { records });
        let (_, books) = replayed(&path, Speed::Max);
        proptest::prop_assert!(books.exchanges.closes());
    }
}

/// A live source that delivers given records, one batch a call.
struct Fake {
    batches: std::vec::IntoIter<Vec<Vec<u8>>>,
    seen: Arc<Mutex<Seen>>,
    report: Report,
    fails: bool,
}

#[derive(Default)]
struct Seen {
    hints: Vec<Hint>,
    detached: bool,
}

impl Fake {
    fn new(batches: Vec<Vec<Vec<u8>>>, fails: bool) -> (Box<Self>, Arc<Mutex<Seen>>) {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let report = Report {
            kernel: KernelInfo {
                release: String::new(),
                btf: true,
            },
            backend: None,
            backends: vec![],
            hooks: vec![],
            blind_spots: vec![],
        };
        let fake = Self {
            batches: batches.into_iter(),
            seen: Arc::clone(&seen),
            report,
            fails,
        };
        (Box::new(fake), seen)
    }
}

impl Source for Fake {
    fn report(&self) -> &Report {
        &self.report
    }
    fn poll(&mut self, timeout: Duration, deliver: &mut dyn FnMut(&[u8])) -> Result<Polled, SourceError> {
        let Some(batch) = self.batches.next() else {
            if self.fails {
                return Err(SourceError::Read(std::io::ErrorKind::Other.into()));
            }
            std::thread::sleep(timeout);
            return Ok(Polled::Idle);
        };
        for record in &batch {
            deliver(record);
        }
        Ok(Polled::More)
    }
    fn hint(&mut self, hint: Hint) {
        self.seen.lock().unwrap().hints.push(hint);
    }
    fn counters(&mut self) -> Result<Option<[u64; COUNTERS]>, SourceError> {
        let mut counters = [0; COUNTERS];
        counters[perf_common::counters::Counter::Lost as usize] = 7;
        Ok(Some(counters))
    }
    fn tls(&mut self) -> Vec<TlsCoverage> {
        Vec::new()
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        vec![ProgramStats {
            name: "sent".to_owned(),
            runs: None,
            run_time_ns: None,
        }]
    }
    fn detach(&mut self) {
        self.seen.lock().unwrap().detached = true;
    }
}

/// The example without what only the user side adds.
fn from_the_kernel() -> Vec<Vec<u8>> {
    let mut records = Traffic::example().records;
    records.retain(|bytes| !matches!(record::decode(bytes), Ok(Record::Tick(_))));
    records
}

#[test]
fn a_live_source_gets_time_and_counters_added() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("live.rec");
    let recorder = Recorder::create(&path, &header()).unwrap();
    let batches = from_the_kernel().chunks(50).map(<[_]>::to_vec).collect();
    let (source, seen) = Fake::new(batches, false);
    let mut agent = Agent::start(Plan {
        source,
        settings: settings(),
        recorder: Some(recorder),
        trace: true,
    })
    .unwrap();
    let mut traced = agent.traced().unwrap();
    let published = agent.published();
    let mut ended = Vec::new();
    while ended.len() < 201 {
        ended.extend(traced.batches.blocking_recv().expect("the core thread runs"));
    }
    let finished = agent.finish().unwrap();
    assert!(seen.lock().unwrap().detached);
    while let Ok(more) = traced.batches.try_recv() {
        ended.extend(more);
    }
    assert_eq!(
        (ended.len(), traced.dropped.load(Ordering::Relaxed)),
        (202, 0),
        "the one in flight was cut"
    );
    let now = published.borrow().clone();
    assert_eq!(now.snapshot.accounting.records.lost, 7);
    assert_eq!(now.programs[0].name, "sent");
    assert!(now.snapshot.wall_ns > crate::synthetic::EPOCH_NS && now.snapshot.accounting.closes());

    let bytes = std::fs::read(&path).unwrap();
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let (mut ticks, mut counters, mut records) = (0, 0, 0);
    while let Entry::Record(bytes) = reader.next().unwrap() {
        records += 1;
        match record::decode(bytes).unwrap() {
            Record::Tick(_) => ticks += 1,
            Record::Counters(..) => counters += 1,
            _ => {}
        }
    }
    assert_eq!(finished.recorded.unwrap().records, records);
    assert!(
        ticks >= 2 && ticks == counters,
        "at the start and at the end: {ticks} {counters}"
    );
}

#[test]
fn a_source_that_gives_out_ends_the_agent_with_its_error() {
    let (source, seen) = Fake::new(vec![from_the_kernel()], true);
    let agent = Agent::start(Plan {
        source,
        settings: settings(),
        recorder: None,
        trace: false,
    })
    .unwrap();
    wait_for_end(&agent);
    assert!(matches!(agent.finish(), Err(AgentError::Source(SourceError::Read(_)))));
    drop(seen);
}

#[test]
fn a_slow_reader_of_the_trace_costs_lines_and_nothing_else() {
    let batches = from_the_kernel()
        .into_iter()
        .map(|record| vec![record])
        .cycle()
        .take(3 * 808)
        .collect();
    let (source, _) = Fake::new(batches, false);
    let mut agent = Agent::start(Plan {
        source,
        settings: settings(),
        recorder: None,
        trace: true,
    })
    .unwrap();
    let traced = agent.traced().unwrap();
    let mut published = agent.published();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let deadline = tokio::time::timeout(Duration::from_secs(20), async {
            published
                .wait_for(|now| now.snapshot.accounting.exchanges.answered >= 200)
                .await
                .unwrap()
                .snapshot
                .clone()
        });
        deadline.await.unwrap().accounting.exchanges
    });
    agent.finish().unwrap();
    let kept: usize = {
        let mut traced = traced.batches;
        std::iter::from_fn(|| traced.try_recv().ok())
            .map(|batch| batch.len())
            .sum()
    };
    let dropped = usize::try_from(traced.dropped.load(Ordering::Relaxed)).unwrap();
    assert!(
        dropped > 0 && kept + dropped >= usize::try_from(ended.answered).unwrap(),
        "{kept} {dropped}"
    );
}

#[test]
fn an_operators_wrong_route_is_told_before_anything_starts() {
    let (source, _) = Fake::new(vec![], false);
    let mut settings = settings();
    settings.statistics.routes = vec!["/users/{unclosed".to_owned()];
    let started = Agent::start(Plan {
        source,
        settings,
        recorder: None,
        trace: false,
    });
    assert!(matches!(started.err(), Some(StartError::Route(_))));
}
