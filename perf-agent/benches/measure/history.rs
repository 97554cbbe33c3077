//! The history: what a day of a thousand endpoints takes on the disk, what writing it costs, and how fast it is read.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perf_agent::event::Peers;
use perf_agent::exchange::{Ended, Outcome, Protocol, Request, Role, Sink, Tally, Times};
use perf_agent::history::{History, HistorySettings};
use perf_agent::statistics::{Origin, Settings, Statistics};

use crate::report::{Report, thread_seconds};

const SECOND_NS: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const ENDPOINTS: u64 = 1_000;
const HOURS: u64 = 26;
/// Between two commits.
const COMMIT_SECONDS: u64 = 5;
/// Commits of the last part, which is as dense as in life.
const DENSE: u64 = 240;

/// Bars.
const MOST_MB: f64 = 200.0;
const MOST_QUERY_MS: f64 = 200.0;

/// See the module. Files go into `directory`.
pub(crate) fn run(directory: &Path) -> Result<Report> {
    let directory = directory.join(format!("perf-agent-history-{}", std::process::id()));
    let report = measure(&directory);
    let removed = std::fs::remove_dir_all(&directory);
    let report = report?;
    removed.with_context(|| format!("cannot remove {}", directory.display()))?;
    Ok(report)
}

fn measure(directory: &Path) -> Result<Report> {
    let settings = HistorySettings {
        directory: Some(directory.to_owned()),
        ..HistorySettings::default()
    };
    let begin_ns = 1_770_000_000 * SECOND_NS;
    let (mut history, remembered) = History::open_at(&settings, directory.to_owned(), 1_000, begin_ns);
    let mut load = Load::new(Settings {
        remembered: Some(Arc::new(remembered)),
        ..Settings::default()
    })?;
    let mut report = Report::new("history");
    // The long part in steps of half a minute, then as often as in life.
    let (mut now_ns, mut commits_ms, mut written) = (begin_ns, Vec::new(), 0.0);
    let dense_ns = begin_ns + HOURS * 3600 * SECOND_NS;
    let mut dense = 0;
    let mut processor = 0.0;
    while dense < DENSE {
        let step = if now_ns < dense_ns { 30 } else { COMMIT_SECONDS };
        now_ns += step * SECOND_NS;
        load.serve(now_ns, step * 2);
        load.statistics.tick(now_ns, now_ns);
        let snapshot = load.statistics.snapshot();
        let (began, before, used) = (Instant::now(), written_bytes()?, thread_seconds());
        history.write(&snapshot);
        if now_ns > dense_ns {
            dense += 1;
            commits_ms.push(began.elapsed().as_secs_f64() * 1e3);
            written += written_bytes()? - before;
            processor += thread_seconds() - used;
        }
    }
    let snapshot = load.statistics.snapshot();
    ensure!(
        snapshot.endpoints.len() as u64 == ENDPOINTS,
        "{} endpoints",
        snapshot.endpoints.len()
    );
    let reader = history.reader();
    let state = reader.state();
    ensure!(state.degraded.is_none(), "{state:?}");
    report.at_most(
        MOST_MB,
        "on the disk, 1,000 endpoints, 24 h",
        "MB",
        &[state.bytes as f64 / 1e6],
    );
    report.row("rows", "", &[state.rows as f64]);

    let mut queries_ms = Vec::new();
    for endpoint in snapshot.endpoints.iter().step_by(50) {
        let id = u64::from_str_radix(&endpoint.id, 16)?;
        let began = Instant::now();
        let trend = reader.trend(Some(id), &endpoint.aggregate, now_ns - 24 * 3600 * SECOND_NS, now_ns)?;
        queries_ms.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(trend.len() >= 288, "{} points", trend.len());
    }
    report.at_most(MOST_QUERY_MS, "a day of one endpoint", "ms", &queries_ms);
    let began = Instant::now();
    reader.trend(None, &snapshot.total, now_ns - 24 * 3600 * SECOND_NS, now_ns)?;
    report.at_most(
        MOST_QUERY_MS,
        "a day of all",
        "ms",
        &[began.elapsed().as_secs_f64() * 1e3],
    );

    let per_hour = written / DENSE as f64 * 3600.0 / COMMIT_SECONDS as f64 / 1e6;
    report.row("a commit, every 5 s, 1,000 busy endpoints", "ms", &commits_ms);
    let share = processor / (DENSE * COMMIT_SECONDS) as f64 * 100.0;
    report.row("of one processor", "%", &[share]);
    report.row("written", "MB/h", &[per_hour]);

    drop((reader, history));
    let began = Instant::now();
    let (history, remembered) = History::open_at(&settings, directory.to_owned(), 1_000, now_ns + SECOND_NS);
    let opened_ms = began.elapsed().as_secs_f64() * 1e3;
    let restored = history.reader().state().restored;
    ensure!(restored.endpoints == ENDPOINTS && restored.skipped == 0, "{restored:?}");
    let statistics = Statistics::new(Settings {
        remembered: Some(Arc::new(remembered)),
        ..Settings::default()
    })?;
    let whole_ms = began.elapsed().as_secs_f64() * 1e3;
    drop(statistics);
    report.row("opening the file and reading what is remembered", "ms", &[opened_ms]);
    report.row("until the core goes on", "ms", &[whole_ms]);
    report.how(format!(
        "{HOURS} hours of {ENDPOINTS} endpoints with two requests per second each, response times of a lognormal shape over \
         more than a decade; retention of {} hours.",
        Duration::from_hours(24).as_secs() / 3600
    ));
    Ok(report)
}

/// What this process had the file system write.
fn written_bytes() -> Result<f64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("the kernel counts no writes")?.trim().parse()?)
}

struct Load {
    statistics: Statistics,
    origin: Origin,
    paths: Vec<String>,
    /// Times and queue times, made once: what is measured here is not how they are made.
    times: Vec<(u64, u64)>,
    next: usize,
}

/// How many there are.
const TIMES: usize = 1 << 16;

impl Load {
    fn new(settings: Settings) -> Result<Self> {
        let mut statistics = Statistics::new(settings)?;
        statistics.process(10, "/usr/sbin/nginx", "/system.slice/nginx.service");
        let peers = Peers::Inet {
            local: ([127, 0, 0, 1], 80).into(),
            remote: ([10, 0, 0, 7], 50_000).into(),
        };
        let mut random = 1;
        let times = (0..TIMES).map(|_| (lognormal(&mut random, 5 * MS, 0.4), lognormal(&mut random, 8_000, 0.5)));
        let letter = |n: u64| char::from(b'a' + u8::try_from(n % 10).unwrap_or(0));
        Ok(Self {
            statistics,
            origin: Origin::new(Role::Server, Arc::new(peers), "nginx"),
            paths: (0..ENDPOINTS)
                .map(|n| format!("/{}/{}/{}", letter(n / 100), letter(n / 10), letter(n)))
                .collect(),
            times: times.collect(),
            next: 0,
        })
    }

    /// So many requests to every endpoint that end about now.
    fn serve(&mut self, at_ns: u64, requests: u64) {
        let paths = std::mem::take(&mut self.paths);
        for path in &paths {
            for _ in 0..requests {
                // Not in step with the endpoints.
                self.next = (self.next + 7919) % TIMES;
                let (time_ns, queue_ns) = self.times[self.next];
                let first_ns = at_ns - time_ns;
                let mut sink = self.statistics.sink(&mut self.origin);
                let ticket = sink.opened(&Request {
                    protocol: Protocol::Http11,
                    method: "GET",
                    path,
                    query: "",
                    host: None,
                    request_id: None,
                    first_ns,
                    tgid: 10,
                    tid: 10,
                    said: perf_agent::exchange::Said::default(),
                });
                sink.ended(
                    ticket,
                    &Ended {
                        outcome: Outcome::Answered,
                        status: Some(200),
                        error: None,
                        tally: Tally::default(),
                        tid: 0,
                        times: Times {
                            arrival_ns: Some(first_ns - queue_ns),
                            request_first_ns: first_ns,
                            request_last_ns: first_ns,
                            response_first_ns: Some(first_ns + time_ns * 9 / 10),
                            response_last_ns: at_ns,
                        },
                        request_bytes: 100,
                        response_bytes: 1000,
                        stream: None,
                    },
                );
            }
        }
        self.paths = paths;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some milliseconds"
)]
fn lognormal(random: &mut u64, median: u64, sigma: f64) -> u64 {
    let mut normal = -6.0;
    for _ in 0..12 {
        // Xorshift; a sum of twelve uniform numbers is close enough to a normal one.
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        normal += (*random >> 11) as f64 / (1u64 << 53) as f64;
    }
    ((sigma * normal).exp() * median as f64) as u64
}
