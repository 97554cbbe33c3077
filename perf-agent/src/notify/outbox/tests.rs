use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::*;
use crate::notify::sample;

fn usual(name: &str) -> (&str, Bounds) {
    (name, Bounds::LISTED)
}

fn open(path: &Path) -> Outbox {
    let outbox = Outbox::open(Some(path), Clock::default());
    outbox.set_receivers(&["a", "b"].map(usual));
    outbox
}

fn waiting(outbox: &Outbox, receiver: &str) -> Vec<Notification> {
    let mut all = Vec::new();
    while let Some(due) = outbox.begin(receiver) {
        all.push((*due.notification).clone());
        outbox.finish(&due);
    }
    all
}

/// What was put aside in a directory.
fn put_aside(directory: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.to_string_lossy().contains("outbox.redb.broken-"))
        .collect()
}

#[tokio::test]
async fn what_was_not_delivered_waits_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let sent = [
        sample::firing("a", "x", 1),
        sample::firing("a", "y", 2),
        sample::resolved("b", "x", 3),
    ];
    let outbox = open(&path);
    for notification in &sent {
        outbox.push(notification.clone());
    }
    assert!(outbox.flush().await);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(outbox);

    let outbox = open(&path);
    let due = outbox.begin("a").unwrap();
    assert_eq!(*due.notification, sent[0]);
    assert!(due.age > Duration::from_hours(24), "it is of 2023");
    outbox.finish(&due);
    drop(outbox);

    let outbox = open(&path);
    assert_eq!(outbox.degraded(), None);
    outbox.push(sample::firing("a", "z", 4));
    assert_eq!(waiting(&outbox, "a"), [sent[1].clone(), sample::firing("a", "z", 4)]);
    assert_eq!(waiting(&outbox, "b"), [sent[2].clone()]);
    drop(outbox);
    assert!(open(&path).begin("a").is_none());
}

#[tokio::test]
async fn what_supersedes_does_so_on_disk_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let outbox = open(&path);
    outbox.push(sample::firing("a", "x", 1));
    assert!(outbox.flush().await);
    outbox.push(sample::resolved("a", "x", 1));
    drop(outbox);
    assert_eq!(waiting(&open(&path), "a"), [sample::resolved("a", "x", 1)]);
}

#[tokio::test]
async fn a_receiver_that_is_gone_leaves_nothing_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let outbox = open(&path);
    outbox.push(sample::firing("a", "x", 1));
    assert_eq!(outbox.set_receivers(&["b"].map(usual)), 1);
    outbox.push(sample::firing("a", "x", 1));
    assert_eq!(outbox.unroutable(), 1);
    drop(outbox);
    assert_eq!(waiting(&open(&path), "a"), []);
}

#[tokio::test]
async fn without_a_file_memory_has_to_do_and_says_so() {
    let outbox = Outbox::open(None, Clock::default());
    outbox.set_receivers(&["a"].map(usual));
    outbox.push(sample::firing("a", "x", 1));
    assert!(!outbox.flush().await);
    assert_eq!(
        outbox.degraded().as_deref(),
        Some("no directory for it: notifications wait in memory only")
    );
    assert_eq!(waiting(&outbox, "a"), [sample::firing("a", "x", 1)]);
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_said_and_memory_has_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("file");
    std::fs::write(&below, "").unwrap();
    let path = below.join("outbox.redb");
    let outbox = open(&path);
    let degraded = outbox.degraded().unwrap();
    let expected = format!(
        "cannot create {}: File exists (os error 17): notifications wait in memory only",
        below.display()
    );
    assert_eq!(degraded, expected);
    outbox.push(sample::firing("a", "x", 1));
    assert!(!outbox.flush().await);
    assert_eq!(outbox.counts("a").waiting, 1);
    // At the end the disk is tried once more.
    std::fs::remove_file(&below).unwrap();
    drop(outbox);
    assert_eq!(waiting(&open(&path), "a"), [sample::firing("a", "x", 1)]);
}

#[tokio::test]
async fn a_disk_that_is_readable_late_gives_what_waited_on_it_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let first = open(&path);
    first.push(sample::firing("a", "x", 1));
    assert!(first.flush().await);
    // The file is locked.
    let second = open(&path);
    assert!(
        second.degraded().unwrap().contains("another agent uses"),
        "{:?}",
        second.degraded()
    );
    second.push(sample::firing("a", "y", 2));
    drop(first);
    drop(second);
    let expected = [sample::firing("a", "x", 1), sample::firing("a", "y", 2)];
    assert_eq!(waiting(&open(&path), "a"), expected);
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_lost_while_the_agent_runs() {
    // Every write to it fails as on a full disk; that it is no file is refused only when it is read.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let outbox = open(&path);
    assert!(
        outbox
            .degraded()
            .unwrap()
            .ends_with("notifications wait in memory only")
    );
    outbox.push(sample::firing("a", "x", 1));
    assert_eq!(waiting(&outbox, "a"), [sample::firing("a", "x", 1)]);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside() {
    for damage in [
        &b"not a database at all, but long enough to be one".repeat(200)[..],
        b"short",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("outbox.redb");
        std::fs::write(&path, damage).unwrap();
        let outbox = open(&path);
        assert_eq!(outbox.degraded(), None);
        outbox.push(sample::firing("a", "x", 1));
        assert!(outbox.flush().await);
        let [aside] = &put_aside(directory.path())[..] else {
            panic!("it was not put aside")
        };
        assert_eq!(std::fs::read(aside).unwrap(), damage);
    }
}

#[tokio::test]
async fn a_file_that_was_cut_or_overwritten_never_stops_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let outbox = open(&path);
    for n in 0..50 {
        outbox.push(sample::firing("a", &n.to_string(), n));
    }
    drop(outbox);
    let whole = std::fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..10 {
        let mut damaged = whole.clone();
        if random.bool() {
            damaged.truncate(random.usize(..whole.len()));
        } else {
            let at = random.usize(..whole.len() - 4096);
            random.fill(&mut damaged[at..at + 4096]);
        }
        std::fs::write(&path, &damaged).unwrap();
        let outbox = open(&path);
        assert_eq!(outbox.degraded(), None);
        outbox.push(sample::firing("b", "x", 1));
        assert!(outbox.flush().await);
        assert_eq!(waiting(&outbox, "b"), [sample::firing("b", "x", 1)]);
    }
}

const FULL: &str = "PERF_AGENT_TEST_FULL";
const CHILD: &str = "PERF_AGENT_TEST_OUTBOX";

/// Not a test but the program of the next one: pushes until it is killed, and says what is on disk.
#[test]
fn the_child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outbox = open(Path::new(&path));
    let first = outbox.counts("a").waiting as u64;
    for n in first..900 {
        outbox.push(sample::firing("a", &n.to_string(), n));
        assert!(runtime.block_on(outbox.flush()));
        writeln!(std::io::stdout(), "written {n}").unwrap();
    }
}

#[test]
fn a_kill_loses_only_what_was_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "notify::outbox::tests::the_child_that_is_killed",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut written = None;
        let stop_at = random.usize(1..30);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let numbers = lines.map_while(Result::ok).filter_map(|line| {
            let (_, number) = line.split_once("written ")?;
            number.parse::<u64>().ok()
        });
        for (count, number) in numbers.enumerate() {
            written = Some(number);
            if count == stop_at {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let written = written.expect("the child wrote before it was killed");

        let outbox = open(&path);
        assert_eq!(outbox.degraded(), None, "round {round}");
        assert_eq!(put_aside(directory.path()), [""; 0].map(PathBuf::from), "round {round}");
        let inner = outbox.shared.lock();
        let mut groups: Vec<u64> = inner
            .queue
            .at(|_| true)
            .iter()
            .map(|(_, told)| told.group.parse().unwrap())
            .collect();
        groups.sort_unstable();
        let expected: Vec<u64> = (0..groups.len() as u64).collect();
        assert_eq!(groups, expected, "round {round}");
        assert!(
            groups.len() as u64 > written,
            "round {round}: {written} was acknowledged"
        );
    }
}

/// Not a test but the program of the next one: its files cannot grow beyond a limit.
#[test]
fn the_child_with_a_full_disk() {
    let Some(path) = std::env::var_os(FULL) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outbox = open(Path::new(&path));
    assert_eq!(outbox.degraded(), None);
    let mut written = 0;
    for n in 0..900 {
        let mut told = sample::firing("a", &n.to_string(), n);
        told.alerts = (0..8).map(sample::firing_alert).collect();
        outbox.push(told);
        if !runtime.block_on(outbox.flush()) {
            break;
        }
        written += 1;
    }
    let degraded = outbox.degraded().expect("the disk is full");
    assert!(degraded.contains("File too large"), "{degraded}");
    outbox.push(sample::firing("b", "x", 1));
    assert_eq!(outbox.counts("a").waiting, written + 1);
    assert_eq!(waiting(&outbox, "b"), [sample::firing("b", "x", 1)]);
    writeln!(std::io::stdout(), "written {written}").unwrap();
}

#[test]
fn a_disk_that_fills_up_is_said_and_what_was_written_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    // Blocks of 512 bytes. The signal would end the program; ignored, the write fails.
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" --exact --nocapture \"$1\"";
    let output = Command::new("/bin/sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg("notify::outbox::tests::the_child_with_a_full_disk")
        .env(FULL, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let number = said.lines().find_map(|line| line.split_once("written "));
    let written: usize = number.expect("the child counted").1.parse().unwrap();
    assert!(written > 100, "{written}");
    let outbox = open(&path);
    assert_eq!(outbox.degraded(), None);
    // There is room again, so what was in memory only may have been written at its end.
    let waiting = outbox.counts("a").waiting;
    assert!(waiting == written || waiting == written + 1, "{waiting} of {written}");
}

#[tokio::test]
async fn a_thousand_and_more_keep_memory_and_disk_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let outbox = open(&path);
    let mut largest = 0;
    for n in 0..3_000_u64 {
        let mut told = sample::firing("a", &n.to_string(), n);
        told.alerts = (0..10).map(sample::firing_alert).collect();
        outbox.push(told);
        if n % 100 == 0 {
            assert!(outbox.flush().await);
            largest = largest.max(std::fs::metadata(&path).unwrap().len());
        }
    }
    let counts = outbox.counts("a");
    assert!(
        counts.waiting <= WAITING && counts.waiting as u64 + counts.dropped == 3_000,
        "{counts:?}"
    );
    assert!(largest < 4 * Bounds::LISTED.waiting_bytes as u64, "{largest}");
    drop(outbox);
    assert_eq!(open(&path).counts("a").waiting, counts.waiting);
}

/// How long it takes; run with `--ignored --nocapture`.
#[tokio::test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
async fn measure() {
    let directory = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let path = directory.path().join("outbox.redb");
    let outbox = open(&path);
    let mut push_ns = Vec::new();
    let mut durable_ns = Vec::new();
    for n in 0..200 {
        let started = std::time::Instant::now();
        outbox.push(sample::firing("a", &n.to_string(), n));
        push_ns.push(started.elapsed());
        assert!(outbox.flush().await);
        durable_ns.push(started.elapsed());
    }
    push_ns.sort();
    durable_ns.sort();
    let started = std::time::Instant::now();
    for n in 0..1_000 {
        outbox.push(sample::firing("b", &n.to_string(), n));
    }
    let pushed = started.elapsed();
    assert!(outbox.flush().await);
    let all = started.elapsed();
    let bytes = std::fs::metadata(&path).unwrap().len();
    let text = format!(
        "push: median {:?}, longest {:?}; durable: median {:?}, longest {:?}; 1000 pushed in {pushed:?}, durable in {all:?}; file {bytes} bytes\n",
        push_ns[100], push_ns[199], durable_ns[100], durable_ns[199]
    );
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}
