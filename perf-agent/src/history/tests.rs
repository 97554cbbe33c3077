//! Stored and restored statistics against ones that never ended, and what goes wrong with files.

use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::store::Batch;
use super::*;
use crate::aggregate::Window;
use crate::aggregate::window::{SECOND_NS, Size};
use crate::event::Peers;
use crate::exchange::{Ended, ErrorCode, Outcome, Protocol, Request, Role, Sink, Tally, Times};
use crate::statistics::{Origin, Settings, Statistics};

const MS: u64 = 1_000_000;
const NGINX: u32 = 10;
const SHOP: u32 = 11;
/// Some day in 2026, not on the border of anything.
const START_NS: u64 = 1_770_000_000 * SECOND_NS + 4_321 * SECOND_NS;
const HOUR_NS: u64 = 3_600 * SECOND_NS;

/// One agent's life: the statistics, and the history that they go to. Its time is the wall clock's.
struct Life {
    statistics: Statistics,
    history: Option<History>,
    server: Origin,
    database: Origin,
}

fn core(settings: Settings) -> Statistics {
    let mut statistics = Statistics::new(settings).expect("there are no patterns");
    statistics.process(NGINX, "/usr/sbin/nginx", "/system.slice/nginx.service");
    // Another one: for whom a process calls others shows after some calls, and what was seen of that is not kept.
    statistics.process(SHOP, "/usr/bin/shop", "/system.slice/shop.service");
    statistics
}

fn core_settings(remembered: Option<Arc<Remembered>>) -> Settings {
    Settings {
        distinct_values: 5,
        remembered,
        ..Settings::default()
    }
}

impl Life {
    /// Goes on where the last one ended, if there was one.
    fn begin(settings: &HistorySettings, directory: &Path, at_ns: u64) -> Self {
        let (history, remembered) = History::open_at(settings, directory.to_owned(), 1_000, at_ns);
        let mut this = Self::without(Some(Arc::new(remembered)));
        this.statistics.tick(at_ns, at_ns);
        this.history = Some(history);
        this
    }

    fn without(remembered: Option<Arc<Remembered>>) -> Self {
        let peers = |local, remote| {
            Arc::new(Peers::Inet {
                local: ([127, 0, 0, 1], local).into(),
                remote: ([10, 0, 0, 7], remote).into(),
            })
        };
        Self {
            statistics: core(core_settings(remembered)),
            history: None,
            server: Origin::new(Role::Server, peers(80, 50_000), "nginx"),
            database: Origin::new(Role::Client, peers(50_001, 5432), "nginx"),
        }
    }

    /// A request to the server that ends now.
    fn serve(&mut self, path: &str, at_ns: u64, time_ns: u64) {
        exchange(
            &mut self.statistics,
            &mut self.server,
            (Protocol::Http11, "GET", path),
            None,
            at_ns,
            time_ns,
        );
    }

    /// A question to a database that is answered with this error.
    fn ask(&mut self, error: &str, at_ns: u64) {
        let error = (!error.is_empty()).then(|| ErrorCode::new(error.as_bytes()));
        let operation = (Protocol::Postgresql, "", "SELECT ?");
        exchange(&mut self.statistics, &mut self.database, operation, error, at_ns, MS);
    }

    fn tick(&mut self, at_ns: u64) -> Arc<Snapshot> {
        self.tick_at(at_ns, at_ns)
    }

    fn tick_at(&mut self, at_ns: u64, wall_ns: u64) -> Arc<Snapshot> {
        self.statistics.tick(at_ns, wall_ns);
        self.statistics.snapshot()
    }

    fn store(&mut self, at_ns: u64) {
        let snapshot = self.tick(at_ns);
        if let Some(history) = &mut self.history {
            history.writer.write(&snapshot, at_ns);
        }
    }

    fn state(&self) -> HistoryState {
        self.history.as_ref().expect("there is one").reader().state()
    }
}

fn exchange(
    statistics: &mut Statistics,
    origin: &mut Origin,
    (protocol, method, path): (Protocol, &str, &str),
    error: Option<ErrorCode>,
    at_ns: u64,
    time_ns: u64,
) {
    let request = Request {
        protocol,
        method,
        path,
        query: "",
        host: None,
        request_id: None,
        first_ns: at_ns - time_ns,
        tgid: if protocol.has_statuses() { NGINX } else { SHOP },
        tid: NGINX,
        said: crate::exchange::Said::default(),
    };
    let ended = Ended {
        outcome: Outcome::Answered,
        status: protocol
            .has_statuses()
            .then_some(if time_ns.is_multiple_of(7) { 500 } else { 200 }),
        error,
        tally: Tally::default(),
        tid: 0,
        times: Times {
            arrival_ns: Some(at_ns - time_ns),
            request_first_ns: at_ns - time_ns,
            request_last_ns: at_ns - time_ns,
            response_first_ns: Some(at_ns - time_ns / 3),
            response_last_ns: at_ns,
        },
        request_bytes: 100,
        response_bytes: 1000,
        stream: None,
    };
    let mut sink = statistics.sink(origin);
    let ticket = sink.opened(&request);
    sink.ended(ticket, &ended);
}

/// One of many paths without values, never more than five different ones at a place.
fn constants(n: u64) -> String {
    let letter = |n: u64| char::from(b'a' + u8::try_from(n % 5).unwrap_or(0));
    format!("/{}/{}/{}", letter(n / 25), letter(n / 5), letter(n))
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for temporary files")
}

/// Every endpoint's and the total's windows, as text that shows all of what they hold.
fn windows(snapshot: &Snapshot) -> Vec<(String, String)> {
    let mut all = vec![("*".to_owned(), &snapshot.total)];
    all.extend(
        snapshot
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.id.to_string(), &endpoint.aggregate)),
    );
    let mut shown: Vec<_> = all
        .into_iter()
        .flat_map(|(id, aggregate)| {
            Window::ALL.map(|window| {
                let mut view = aggregate.window(window, snapshot.at_ns);
                // The seconds of before are not stored.
                view.current_rps = 0.0;
                (format!("{id} {}", window.name()), format!("{view:?}"))
            })
        })
        .collect();
    shown.sort();
    shown
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn windows_after_restarts_are_those_of_an_agent_that_never_ended(
        steps in prop::collection::vec(
            (prop_oneof![4 => 0..5 * SECOND_NS, 3 => 0..200 * SECOND_NS, 1 => 0..9000 * SECOND_NS], 1..SECOND_NS, 0..4u8, any::<bool>()),
            1..60,
        ),
    ) {
        let directory = directory();
        // Longer than all of it, so that nothing is forgotten.
        let settings = HistorySettings { retention: Duration::from_hours(1000), ..HistorySettings::default() };
        let mut never = Life::without(None);
        never.statistics.tick(START_NS, START_NS);
        let mut life = Life::begin(&settings, directory.path(), START_NS);
        let mut fresh = Life::without(None);
        fresh.statistics.tick(START_NS, START_NS);
        let (mut now_ns, mut restarted) = (START_NS + 2 * SECOND_NS, false);
        let mut resumed_ns = START_NS;
        for (wait_ns, time_ns, what, restart) in steps {
            // A second that two agents share has two peaks.
            now_ns += wait_ns + if restarted { SECOND_NS } else { 0 };
            restarted = restart;
            for life in [&mut never, &mut life, &mut fresh] {
                life.statistics.tick(now_ns, now_ns);
                match what {
                    0 => life.ask("40001", now_ns),
                    1 => life.ask("", now_ns),
                    _ => life.serve(&format!("/a/{what}"), now_ns, time_ns),
                }
            }
            life.store(now_ns);
            if restart {
                drop(life);
                life = Life::begin(&settings, directory.path(), now_ns);
                prop_assert_eq!(life.state().restored.skipped, 0);
                fresh = Life::without(None);
                fresh.statistics.tick(now_ns, now_ns);
                resumed_ns = now_ns;
            }
        }
        // What this agent counted is what one without a history counts.
        let [own, expected] = [life.tick(now_ns), fresh.tick(now_ns)].map(|snapshot| {
            let counted = |aggregate: &crate::aggregate::Aggregate| {
                let view = aggregate.since_agent_start(now_ns)?;
                Some((view.requests, view.errors, view.bytes_sent, view.response_time, view.breakdown))
            };
            let endpoints = snapshot.endpoints.iter();
            let counted: std::collections::BTreeMap<_, _> = endpoints
                .filter_map(|endpoint| Some((endpoint.id.to_string(), counted(&endpoint.aggregate)?)))
                .chain(counted(&snapshot.total).map(|total| ("*".to_owned(), total)))
                .collect();
            counted
        });
        prop_assert_eq!(own, expected);
        prop_assert_eq!(life.tick(now_ns).agent_started_ns, resumed_ns);
        let (restored, expected) = (life.tick(now_ns), never.tick(now_ns));
        for (restored, expected) in windows(&restored).into_iter().zip(windows(&expected)) {
            prop_assert_eq!(restored, expected);
        }
        prop_assert_eq!(restored.endpoints.len(), expected.endpoints.len());
        prop_assert_eq!(restored.started_ns, expected.started_ns);
        let statuses = |snapshot: &Snapshot| -> Vec<_> {
            let view = |endpoint: &Arc<crate::snapshot::EndpointSnapshot>| endpoint.window(Window::Start, now_ns);
            let mut all: Vec<_> = snapshot.endpoints.iter().map(|endpoint| (endpoint.id.clone(), endpoint.statuses(&view(endpoint)))).collect();
            all.sort();
            all
        };
        prop_assert_eq!(statuses(&restored), statuses(&expected));
    }
}

#[test]
fn a_day_is_read_in_points_of_five_minutes_and_the_gap_between_two_runs_has_none() {
    let directory = directory();
    let settings = HistorySettings::default();
    let begin_ns = START_NS / (300 * SECOND_NS) * 300 * SECOND_NS;
    let mut life = Life::begin(&settings, directory.path(), begin_ns);
    let mut now_ns = begin_ns;
    for minute in 0..180 {
        now_ns = begin_ns + (minute * 60 + 30) * SECOND_NS;
        life.serve("/a", now_ns, (minute + 1) * MS);
        life.store(now_ns);
    }
    drop(life);
    // Five hours later.
    let resumed_ns = begin_ns + 8 * HOUR_NS;
    let mut life = Life::begin(&settings, directory.path(), resumed_ns);
    for second in 1..=600 {
        now_ns = resumed_ns + second * SECOND_NS;
        if second.is_multiple_of(10) {
            life.serve("/a", now_ns, MS);
            life.store(now_ns);
        }
    }
    let snapshot = life.tick(now_ns);
    let endpoint = &snapshot.endpoints[0];
    let reader = life.history.as_ref().expect("there is one").reader();
    let id = u64::from_str_radix(&endpoint.id, 16).ok();
    for (id, aggregate) in [(id, &endpoint.aggregate), (None, &snapshot.total)] {
        let trend = reader
            .trend(id, aggregate, now_ns - 24 * HOUR_NS, now_ns)
            .expect("it is kept");
        let requests: Vec<_> = trend.iter().map(|point| point.requests).collect();
        assert_eq!(requests, [&[5; 36][..], &[29, 30, 1]].concat());
        assert_eq!(trend[0].at_ns, begin_ns);
        assert_eq!(
            trend[0]
                .response_time
                .map(|time| (time.count, time.min_ns, time.max_ns)),
            Some((5, MS, 5 * MS))
        );
        let observed: u64 = trend.iter().map(|point| point.observed_ns).sum();
        assert_eq!(observed, (180 * 60 - 30) * SECOND_NS + 600 * SECOND_NS);
        let view = aggregate.window(Window::Day, now_ns);
        assert_eq!((view.requests, view.covered_ns), (240, observed));
    }
}

#[test]
fn endpoints_of_a_place_that_collapsed_stay_one_and_keep_what_they_were() {
    let directory = directory();
    let settings = HistorySettings::default();
    let mut life = Life::begin(&settings, directory.path(), START_NS);
    let mut now_ns = START_NS;
    for n in 0..5 {
        now_ns += 400 * SECOND_NS;
        life.serve(&format!("/u/n{}", char::from(b'a' + n)), now_ns, MS);
        life.store(now_ns);
    }
    // More than there may be.
    now_ns += 400 * SECOND_NS;
    life.serve("/u/nf", now_ns, MS);
    life.store(now_ns);
    let id = {
        let snapshot = life.tick(now_ns);
        assert_eq!(snapshot.endpoints.len(), 1);
        assert_eq!(snapshot.endpoints[0].key.operation.route, "/u/{value}");
        Arc::clone(&snapshot.endpoints[0].id)
    };
    for _ in 0..2 {
        drop(life);
        now_ns += SECOND_NS;
        life = Life::begin(&settings, directory.path(), now_ns);
        life.serve("/u/another", now_ns, MS);
        life.store(now_ns);
    }
    let snapshot = life.tick(now_ns);
    assert_eq!(snapshot.endpoints.len(), 1);
    assert_eq!(snapshot.endpoints[0].id, id);
    assert_eq!(snapshot.endpoints[0].window(Window::Start, now_ns).requests, 8);
    let reader = life.history.as_ref().expect("there is one").reader();
    let number = u64::from_str_radix(&id, 16).ok();
    let aggregate = &snapshot.endpoints[0].aggregate;
    let trend = reader.trend(number, aggregate, 0, now_ns).expect("it is kept");
    assert_eq!(trend.iter().map(|point| point.requests).sum::<u64>(), 8);
}

#[test]
fn no_more_endpoints_come_back_than_there_may_be_and_those_used_last_do() {
    let directory = directory();
    let settings = HistorySettings::default();
    let mut life = Life::begin(&settings, directory.path(), START_NS);
    let mut now_ns = START_NS;
    for n in 0..5 {
        now_ns += 10 * SECOND_NS;
        life.serve(&format!("/{n}x/y"), now_ns, MS);
        life.store(now_ns);
    }
    drop(life);
    let (history, remembered) = History::open_at(&settings, directory.path().to_owned(), 3, now_ns);
    let routes: Vec<_> = remembered
        .endpoints
        .iter()
        .map(|endpoint| endpoint.key.operation.route.to_string())
        .collect();
    assert_eq!(routes, ["/2x/y", "/3x/y", "/4x/y"]);
    let restored = history.reader().state().restored;
    assert_eq!((restored.endpoints, restored.skipped), (3, 2));
    let mut settings = core_settings(Some(Arc::new(remembered)));
    settings.endpoints = 2;
    assert_eq!(core(settings).snapshot().endpoints.len(), 2);
}

#[test]
fn what_is_older_than_the_retention_is_removed_and_not_remembered() {
    let directory = directory();
    let settings = HistorySettings {
        retention: Duration::from_hours(4),
        ..HistorySettings::default()
    };
    let mut life = Life::begin(&settings, directory.path(), START_NS);
    let mut now_ns = START_NS;
    for minute in 0..20 * 60 {
        now_ns = START_NS + minute * 60 * SECOND_NS;
        life.serve(if minute < 60 { "/old" } else { "/new" }, now_ns, MS);
        life.store(now_ns);
    }
    let state = life.state();
    let oldest_ns = state.oldest_at.expect("there is something");
    assert!((4 * HOUR_NS..=6 * HOUR_NS).contains(&(now_ns - oldest_ns)), "{state:?}");
    drop(life);
    let life = Life::begin(&settings, directory.path(), now_ns);
    let snapshot = { life }.tick(now_ns);
    assert_eq!(snapshot.endpoints.len(), 1);
    assert_eq!(snapshot.endpoints[0].key.operation.route, "/new");
    let view = snapshot.total.window(Window::Start, now_ns);
    assert!(
        (4 * HOUR_NS..=6 * HOUR_NS).contains(&view.covered_ns),
        "{}",
        view.covered_ns
    );
    assert_eq!(view.requests, view.covered_ns / (60 * SECOND_NS) + 1);
}

#[test]
fn beyond_its_size_the_oldest_is_removed() {
    let directory = directory();
    let settings = HistorySettings {
        max_bytes: 1 << 20,
        ..HistorySettings::default()
    };
    let mut life = Life::begin(&settings, directory.path(), START_NS);
    let mut most = 0;
    for round in 0..250u64 {
        let now_ns = START_NS + round * 300 * SECOND_NS;
        for n in 0..50u64 {
            for k in 0..20 {
                life.serve(&constants(n), now_ns, (1 + (n * 31 + k * 17 + round) % 97) * MS);
            }
        }
        life.store(now_ns);
        most = most.max(life.state().bytes);
    }
    assert!(most <= settings.max_bytes * 5 / 2, "{most}");
    let state = life.state();
    assert!(state.bytes <= settings.max_bytes * 2, "{state:?}");
    assert_eq!(state.degraded, None);
    drop(life);
    let (store, _) = Store::open(directory.path()).expect("it is there");
    let hours = |kind: Kind| {
        let ends = store.ends(kind).expect("it can be read");
        ends.map(|(oldest, newest)| (newest - oldest) * kind.size().length_ns() / HOUR_NS)
    };
    assert!(matches!(hours(Kind::Lean), Some(3..15)), "{:?}", hours(Kind::Lean));
    assert_eq!(
        hours(Kind::Slots(Size::TwoHours)),
        Some(22),
        "what windows need stays for longer"
    );
}

#[test]
fn a_file_that_is_none_is_put_aside_and_a_new_one_begun() {
    for junk in [
        &b"hello, this is no history"[..],
        &[0; 5000],
        b"redb\x1a\x0a\xa9\x0d\x0a and then nothing",
    ] {
        let directory = directory();
        std::fs::write(directory.path().join("history.redb"), junk).expect("it can be written");
        let mut life = Life::begin(&HistorySettings::default(), directory.path(), START_NS);
        let state = life.state();
        let aside = state.put_aside.clone().expect("it was put aside");
        assert_eq!(std::fs::read(aside).expect("it is there"), junk);
        assert_eq!((state.degraded, state.restored.endpoints), (None, 0));
        life.serve("/a", START_NS + SECOND_NS, MS);
        life.store(START_NS + SECOND_NS);
        assert_eq!(life.state().newest_at, Some(START_NS + SECOND_NS));
    }
}

#[test]
fn a_file_that_was_damaged_anywhere_gives_what_is_left_or_is_put_aside() {
    let directory = directory();
    let settings = HistorySettings::default();
    let mut life = Life::begin(&settings, directory.path(), START_NS);
    let mut now_ns = START_NS;
    for n in 0..200 {
        now_ns += 10 * SECOND_NS;
        life.serve(&format!("/{}", n % 5), now_ns, (n + 1) * MS);
        life.store(now_ns);
    }
    drop(life);
    let path = directory.path().join("history.redb");
    let whole = std::fs::read(&path).expect("it is there");
    for n in 0..60 {
        let mut damaged = whole.clone();
        let at = (n * 7919 * 131) % damaged.len();
        if n % 6 == 5 {
            damaged.truncate(at);
        } else {
            let end = (at + 1 + n * 20).min(damaged.len());
            damaged[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        }
        std::fs::write(&path, &damaged).expect("it can be written");
        let mut life = Life::begin(&settings, directory.path(), now_ns);
        life.serve("/a", now_ns + SECOND_NS, MS);
        life.store(now_ns + SECOND_NS);
        assert_eq!(life.state().degraded, None, "damaged at {at}");
        drop(life);
        now_ns += SECOND_NS;
    }
    let files = directory.path().read_dir().expect("it is there").count();
    assert_eq!(files, 3, "the history, and two that were put aside");
}

#[test]
fn a_newer_version_is_left_as_it_is() {
    let directory = directory();
    let mut life = Life::begin(&HistorySettings::default(), directory.path(), START_NS);
    life.serve("/a", START_NS + SECOND_NS, MS);
    life.store(START_NS + SECOND_NS);
    drop(life);
    let path = directory.path().join("history.redb");
    {
        let database = redb::Database::create(&path).expect("it is one");
        let write = database.begin_write().expect("nobody else writes");
        let format: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("format");
        write
            .open_table(format)
            .expect("it is there")
            .insert("version", 7)
            .expect("it can be written");
        write.commit().expect("it can be written");
    }
    let mut life = Life::begin(&HistorySettings::default(), directory.path(), START_NS + 2 * SECOND_NS);
    let degraded = life.state().degraded.expect("it is not used");
    assert!(degraded.contains("newer version (7)"), "{degraded}");
    // The agent goes on in memory.
    life.serve("/a", START_NS + 3 * SECOND_NS, MS);
    life.store(START_NS + 3 * SECOND_NS);
    assert_eq!(life.tick(START_NS + 4 * SECOND_NS).endpoints.len(), 1);
    assert!(
        !directory
            .path()
            .read_dir()
            .expect("it is there")
            .any(|file| { file.is_ok_and(|file| file.file_name().to_string_lossy().contains("broken")) })
    );
}

#[test]
fn a_second_agent_says_that_the_file_is_in_use_and_takes_over_when_it_is_not() {
    let directory = directory();
    let settings = HistorySettings::default();
    let first = Life::begin(&settings, directory.path(), START_NS);
    let mut second = Life::begin(&settings, directory.path(), START_NS);
    let degraded = second.state().degraded.expect("it has no file");
    assert!(degraded.starts_with("another agent uses"), "{degraded}");
    let reader = second.history.as_ref().expect("there is one").reader();
    let snapshot = second.tick(START_NS + SECOND_NS);
    assert!(matches!(
        reader.trend(None, &snapshot.total, 0, START_NS),
        Err(ReadError::Degraded)
    ));
    drop(reader);
    second.serve("/a", START_NS + SECOND_NS, MS);
    second.store(START_NS + SECOND_NS);
    drop(first);
    second.store(START_NS + 40 * SECOND_NS);
    assert_eq!(second.state().degraded, None);
    drop(second);
    let mut third = Life::begin(&settings, directory.path(), START_NS + 41 * SECOND_NS);
    let snapshot = third.tick(START_NS + 41 * SECOND_NS);
    assert_eq!(snapshot.total.window(Window::Start, snapshot.at_ns).requests, 1);
}

#[test]
fn a_directory_that_cannot_be_made_is_told_and_tried_again() {
    let directory = directory();
    let below = directory.path().join("file");
    std::fs::write(&below, "").expect("it can be written");
    let mut life = Life::begin(&HistorySettings::default(), &below.join("state"), START_NS);
    let degraded = life.state().degraded.expect("there is no directory");
    assert!(degraded.starts_with("cannot create"), "{degraded}");
    life.serve("/a", START_NS + SECOND_NS, MS);
    life.store(START_NS + SECOND_NS);
    std::fs::remove_file(&below).expect("it is there");
    life.store(START_NS + 100 * SECOND_NS);
    let state = life.state();
    assert_eq!(
        (state.degraded, state.newest_at),
        (None, Some(START_NS + 100 * SECOND_NS))
    );
}

/// A file system of its own, of so many bytes, for as long as this lives; `None` without the right to mount.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, options: &str) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(path.to_owned()))
    }

    fn remount(&self, options: &str) {
        let status = std::process::Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot remount with {options}"
        );
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status()
            .is_err()
        {
            eprintln!("{} stays mounted", self.0.display());
        }
    }
}

#[test]
fn a_full_disk_is_told_and_when_there_is_room_again_what_memory_has_is_stored() {
    let directory = directory();
    let Some(mounted) = Mounted::new(directory.path(), "size=8M") else {
        eprintln!("skipped: mounting a file system needs root");
        return;
    };
    let settings = HistorySettings::default();
    let mut life = Life::begin(&settings, directory.path(), START_NS);
    life.serve("/a", START_NS + SECOND_NS, MS);
    life.store(START_NS + SECOND_NS);
    assert_eq!(life.state().degraded, None);
    std::fs::write(directory.path().join("other"), vec![1; 16 << 20]).expect_err("there is no room for that");
    let mut now_ns = START_NS + SECOND_NS;
    let mut served = 1;
    while life.state().degraded.is_none() {
        assert!(served < 3000, "the disk is full and nobody notices");
        now_ns += 5 * SECOND_NS;
        for n in 0..25 {
            life.serve(&constants(n), now_ns, (1 + n + served % 50) * MS);
            served += 1;
        }
        life.store(now_ns);
    }
    let degraded = life.state().degraded.expect("it is");
    assert!(degraded.contains("No space left"), "{degraded}");
    life.store(now_ns + 5 * SECOND_NS);
    std::fs::remove_file(directory.path().join("other")).expect("it is there");
    now_ns += 40 * SECOND_NS;
    life.store(now_ns);
    assert_eq!(life.state().degraded, None);
    drop(life);
    let mut life = Life::begin(&settings, directory.path(), now_ns);
    let snapshot = life.tick(now_ns);
    assert_eq!(snapshot.total.window(Window::Start, now_ns).requests, served);
    drop(life);
    drop(mounted);
}

#[test]
fn a_file_system_that_becomes_read_only_is_told_and_tried_again() {
    let directory = directory();
    let Some(mounted) = Mounted::new(directory.path(), "size=64M,ro") else {
        eprintln!("skipped: mounting a file system needs root");
        return;
    };
    let mut life = Life::begin(&HistorySettings::default(), directory.path(), START_NS);
    let degraded = life.state().degraded.expect("nothing can be written");
    assert!(degraded.contains("Read-only file system"), "{degraded}");
    life.serve("/a", START_NS + SECOND_NS, MS);
    life.store(START_NS + SECOND_NS);
    mounted.remount("rw");
    life.store(START_NS + 60 * SECOND_NS);
    assert_eq!(life.state().degraded, None);
    drop(life);
    drop(mounted);
}

#[test]
fn rows_that_cannot_be_read_are_left_out_and_counted() {
    let directory = directory();
    let settings = HistorySettings::default();
    let mut life = Life::begin(&settings, directory.path(), START_NS);
    life.serve("/a", START_NS + SECOND_NS, MS);
    life.store(START_NS + SECOND_NS);
    drop(life);
    {
        let (mut store, _) = Store::open(directory.path()).expect("it is there");
        let size = Size::Minute;
        let number = size.number(START_NS) - 1;
        let batch = Batch {
            at_ns: START_NS + SECOND_NS,
            began_ns: START_NS,
            slots: vec![(
                Kind::Slots(size),
                number,
                vec![(7, [1, 2, 3].into()), (0, [0xff; 40].into())],
            )],
            endpoints: vec![(7, b"no endpoint".to_vec())],
            ..Batch::default()
        };
        store.commit(batch, settings.bounds()).expect("there is room");
    }
    let mut life = Life::begin(&settings, directory.path(), START_NS + 2 * SECOND_NS);
    let restored = life.state().restored;
    assert_eq!((restored.endpoints, restored.skipped), (1, 3));
    let snapshot = life.tick(START_NS + 2 * SECOND_NS);
    assert_eq!(snapshot.total.window(Window::Start, snapshot.at_ns).requests, 1);
}

#[test]
fn a_clock_that_is_set_moves_what_follows_and_counts_nothing_twice() {
    for set_ns in [3 * HOUR_NS, 25 * SECOND_NS] {
        let directory = directory();
        let settings = HistorySettings::default();
        let mut life = Life::begin(&settings, directory.path(), START_NS);
        let mut now_ns = START_NS;
        for second in 1..=600 {
            now_ns = START_NS + second * SECOND_NS;
            life.serve("/a", now_ns, MS);
            let wall_ns = if second > 400 { now_ns + set_ns } else { now_ns };
            let snapshot = life.tick_at(now_ns, wall_ns);
            if second.is_multiple_of(5) {
                life.history
                    .as_mut()
                    .expect("there is one")
                    .writer
                    .write(&snapshot, now_ns);
            }
        }
        let snapshot = life.tick_at(now_ns, now_ns + set_ns);
        let reader = life.history.as_ref().expect("there is one").reader();
        let trend = reader.trend(None, &snapshot.total, 0, now_ns).expect("it is kept");
        assert_eq!(trend.iter().map(|point| point.requests).sum::<u64>(), 600);
        drop((reader, life));
        let wall_ns = now_ns + set_ns;
        let mut life = Life::begin(&settings, directory.path(), wall_ns);
        let snapshot = life.tick(wall_ns);
        let view = snapshot.total.window(Window::FifteenMinutes, wall_ns);
        // Three hours are a whole number of minutes, 25 seconds are half of one.
        let most_off = if set_ns == 3 * HOUR_NS { 0 } else { 30 };
        assert!(
            view.requests.abs_diff(600) <= most_off,
            "{}: {}",
            set_ns / SECOND_NS,
            view.requests
        );
    }
}

#[test]
fn the_thread_writes_what_is_new_before_it_ends() {
    let directory = directory();
    let (history, remembered) = History::open(&HistorySettings::default(), directory.path().to_owned(), 1_000);
    let mut life = Life::without(Some(Arc::clone(&remembered)));
    let now_ns = clock::monotonic_ns() + remembered.ahead_ns;
    life.serve("/a", now_ns, MS);
    let snapshot = life.tick(now_ns);
    let reader = history.reader();
    let following = history
        .follow(move || Arc::clone(&snapshot))
        .expect("there are threads");
    following.finish();
    assert_eq!(
        (reader.state().degraded, reader.state().newest_at),
        (None, Some(now_ns))
    );
    let mut next = Life::begin(&HistorySettings::default(), directory.path(), now_ns + SECOND_NS);
    assert_eq!(
        next.state().degraded,
        None,
        "the file is closed, though there is a reader"
    );
    let snapshot = next.tick(now_ns + SECOND_NS);
    assert_eq!(snapshot.total.window(Window::Start, snapshot.at_ns).requests, 1);
}

/// What the child process of the test below does: stores second after second, and says which of them are stored.
#[test]
fn child_that_stores_until_it_is_killed() {
    let Some(directory) = std::env::var_os("PERF_AGENT_TEST_HISTORY") else {
        return;
    };
    let begin_ns = std::env::var("PERF_AGENT_TEST_BEGIN")
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("it is given");
    let mut life = Life::begin(&HistorySettings::default(), Path::new(&directory), begin_ns);
    assert_eq!(life.state().degraded, None);
    let mut now_ns = begin_ns;
    // Whoever started it kills it long before that; an orphan ends.
    for _ in 0..1_000_000 {
        now_ns += SECOND_NS;
        life.serve("/a", now_ns, MS);
        if (now_ns / SECOND_NS).is_multiple_of(5) {
            life.store(now_ns);
            writeln!(std::io::stdout(), "stored {now_ns}").expect("somebody reads");
        }
    }
}

#[test]
fn killed_at_any_moment_it_loses_what_was_not_stored_yet_and_nothing_else() {
    use std::io::{BufRead, BufReader};
    let directory = directory();
    let program = std::env::current_exe().expect("this one");
    let mut begin_ns = START_NS / (5 * SECOND_NS) * 5 * SECOND_NS;
    let (mut served, mut random) = (0, fastrand::Rng::with_seed(7));
    let began = clock::monotonic_ns();
    for _ in 0..100 {
        let mut child = std::process::Command::new(&program)
            .args([
                "--exact",
                "history::tests::child_that_stores_until_it_is_killed",
                "--nocapture",
            ])
            .env("PERF_AGENT_TEST_HISTORY", directory.path())
            .env("PERF_AGENT_TEST_BEGIN", begin_ns.to_string())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let stored = |line: std::io::Result<String>| line.ok()?.split_once("stored ")?.1.parse::<u64>().ok();
        // It writes by now; then at some moment.
        let mut said_ns = lines.by_ref().find_map(stored).expect("it stores something");
        std::thread::sleep(Duration::from_micros(random.u64(0..30_000)));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        said_ns = lines.filter_map(stored).last().unwrap_or(said_ns);
        let (history, remembered) = History::open_at(
            &HistorySettings::default(),
            directory.path().to_owned(),
            1_000,
            said_ns + 10 * SECOND_NS,
        );
        let state = history.reader().state();
        assert_eq!(
            (&state.degraded, &state.put_aside, state.restored.skipped),
            (&None, &None, 0)
        );
        let newest_ns = state.newest_at.expect("it stored something");
        // It said so after it was stored, and may have stored the next one without saying it.
        assert!(
            (said_ns..=said_ns + 5 * SECOND_NS).contains(&newest_ns),
            "{said_ns} {newest_ns}"
        );
        served += (newest_ns - begin_ns) / SECOND_NS;
        let snapshot = core(core_settings(Some(Arc::new(remembered)))).snapshot();
        let view = snapshot.total.window(Window::Start, newest_ns);
        assert_eq!(view.requests, served, "every second that was stored, once");
        assert_eq!(snapshot.endpoints[0].window(Window::Start, newest_ns).requests, served);
        begin_ns = newest_ns;
    }
    assert!(clock::monotonic_ns() - began < 60 * SECOND_NS);
}
