//! The user side without a kernel: how many exchanges one processor takes, and how much memory they are kept in.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use perf_agent::ledger::Accounting;
use perf_agent::pipeline::{Pipeline, Settings};
use perf_agent::snapshot::Snapshot;
use perf_agent::source::format::{Entry, Reader};
use perf_agent::statistics;

use crate::conversations::{self, Conversations, Speaks};
use crate::host::{self, Memory};
use crate::multiplexed::{self, Multiplexed};
use crate::records::{Batch, NARROW, Shape, Traffic, WIDE, tick};
use crate::report::{Report, thread_seconds};

/// Exchanges per second of record time: the bar, so that ticks and snapshots weigh what they would.
const RATE: u64 = 1_500_000;
/// Exchanges made once and replayed.
const BATCH: u64 = 200_000;
/// Exchanges per sample.
const PER_RUN: u64 = 2_000_000;
/// Records between two looks at the hints.
const POLL: usize = 8192;
const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1000 * SECOND_NS;

/// Bars.
const LEAST_PER_SECOND: f64 = 1_500_000.0;
const LEAST_PER_SECOND_HTTP2: f64 = 700_000.0;
const LEAST_PER_SECOND_STORE: f64 = 1_000_000.0;
const MOST_MB: f64 = 60.0;

/// Both figures. Memory is that of a process of its own.
pub(crate) fn run(samples: usize, memory: bool, only: Option<Kind>) -> Result<Report> {
    let mut report = Report::new("pipeline");
    if memory {
        let child = Command::new(std::env::current_exe()?)
            .arg("memory")
            .output()
            .context("cannot start this program")?;
        ensure!(
            child.status.success(),
            "measuring memory failed: {}",
            String::from_utf8_lossy(&child.stderr)
        );
        let found: serde_json::Value = serde_json::from_slice(&child.stdout)?;
        let mb = |key: &str| found[key].as_f64().context("the child's answer lacks a figure");
        report.at_most(
            MOST_MB,
            "resident memory, a day's windows filled",
            "MB",
            &[mb("resident")?],
        );
        report.row("of it anonymous", "MB", &[mb("anonymous")?]);
        report.row("highest resident memory on the way", "MB", &[mb("highest")?]);
        report.how(format!(
            "Memory: of a process of its own that was fed a day's records, {} exchanges of {} endpoints over {} \
             connections, the last hour at {HOUR_RATE} per second, with a snapshot every second.",
            found["exchanges"],
            WIDE.endpoints(),
            WIDE.connections,
        ));
    }
    host::pin(&[0])?;
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| only.is_none_or(|only| only == *kind))
    {
        throughput(kind, samples, &mut report)?;
    }
    Ok(report)
}

/// For profilers: nothing but batches, and no clock, whose page some of them cannot show to the program.
pub(crate) fn profile(batches: u32, kind: Kind) -> Result<()> {
    let mut load = Load::new(kind)?;
    for _ in 0..batches {
        load.feed();
        load.tick();
        load.batch.move_on(load.length_ns);
    }
    Ok(())
}

/// The same with a recording.
pub(crate) fn profile_recording(path: &Path) -> Result<()> {
    let mut reader = Reader::new(BufReader::new(File::open(path)?))?;
    let mut pipeline = pipeline()?;
    let mut batch = Batch::default();
    while let Entry::Record(record) = reader.next()? {
        batch.push(record, 0);
    }
    feed(&mut pipeline, &batch);
    println!("{} records", batch.len());
    Ok(())
}

/// A batch, once.
#[inline(never)]
fn feed(pipeline: &mut Pipeline, batch: &Batch) {
    for (number, record) in batch.records().enumerate() {
        pipeline.apply(record);
        if number % POLL == 0 {
            pipeline.hints().for_each(drop);
        }
    }
}

/// What is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A busy host, HTTP/1: many endpoints and connections.
    Host,
    /// One busy server, HTTP/1: few of both.
    Server,
    /// Many streams on each connection.
    Http2,
    /// One command at a time.
    Redis,
    /// Several in a segment.
    RedisPipelined,
    /// The text protocol.
    Memcached,
    /// Prepared statements and others.
    Postgresql,
    /// Prepared statements and others.
    Mysql,
    /// `OP_MSG`.
    Mongodb,
    /// Batches produced and fetched.
    Kafka,
    /// Over TCP.
    Dns,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Host,
        Self::Server,
        Self::Http2,
        Self::Redis,
        Self::RedisPipelined,
        Self::Memcached,
        Self::Postgresql,
        Self::Mysql,
        Self::Mongodb,
        Self::Kafka,
        Self::Dns,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Host => "busy host",
            Self::Server => "busy server",
            Self::Http2 => "HTTP/2",
            Self::Redis => "Redis",
            Self::RedisPipelined => "Redis, 16 commands at once",
            Self::Memcached => "Memcached",
            Self::Postgresql => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Mongodb => "MongoDB",
            Self::Kafka => "Kafka",
            Self::Dns => "DNS over TCP",
        }
    }

    /// Of [`Conversations`].
    fn speaks(self) -> Option<Speaks> {
        match self {
            Self::Host | Self::Server | Self::Http2 => None,
            Self::Redis => Some(Speaks::Redis),
            Self::RedisPipelined => Some(Speaks::RedisPipelined),
            Self::Memcached => Some(Speaks::Memcached),
            Self::Postgresql => Some(Speaks::Postgresql),
            Self::Mysql => Some(Speaks::Mysql),
            Self::Mongodb => Some(Speaks::Mongodb),
            Self::Kafka => Some(Speaks::Kafka),
            Self::Dns => Some(Speaks::Dns),
        }
    }

    fn least_per_second(self) -> f64 {
        match self {
            Self::Host | Self::Server => LEAST_PER_SECOND,
            Self::Http2 => LEAST_PER_SECOND_HTTP2,
            _ => LEAST_PER_SECOND_STORE,
        }
    }

    fn endpoints(self) -> usize {
        match self {
            Self::Host => WIDE.endpoints(),
            Self::Server => NARROW.endpoints(),
            Self::Http2 => multiplexed::ENDPOINTS,
            _ => self.speaks().map_or(0, Speaks::endpoints),
        }
    }

    fn connections(self) -> usize {
        match self {
            Self::Host => WIDE.connections,
            Self::Server => NARROW.connections,
            Self::Http2 => multiplexed::CONNECTIONS,
            _ => conversations::CONNECTIONS,
        }
    }
}

fn throughput(kind: Kind, samples: usize, report: &mut Report) -> Result<()> {
    let name = kind.name();
    let mut load = Load::new(kind)?;
    load.run(PER_RUN);
    let (mut rates, mut snapshots) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        load.snapshots = 0.0;
        let taken = load.run(PER_RUN);
        rates.push(load.counted as f64 / taken);
        snapshots.push(load.snapshots / taken * 100.0);
    }
    load.check()?;
    let what = format!("{name}: exchanges per second on one processor");
    report.at_least(kind.least_per_second(), what, "1/s", &rates);
    report.row(format!("{name}: share of ticks and snapshots"), "%", &snapshots);
    report.how(format!(
        "{name}: {} exchanges of {} endpoints over {} connections that stay ({} records, {} MB) made once, moved on in \
         time and replayed; decode, put in order, dissect, aggregate, request log, and at every second of record time a \
         tick and a snapshot. {PER_RUN} exchanges per sample, by the thread's own processor time.",
        load.exchanges,
        kind.endpoints(),
        kind.connections(),
        load.batch.len(),
        load.batch.bytes() / 1_000_000,
    ));
    Ok(())
}

/// Makes a batch of HTTP/1; gives the exchanges in it, and the moment behind it.
fn make(shape: Shape, pipeline: &mut Pipeline, batch: &mut Batch) -> (u64, u64) {
    let mut traffic = Traffic::new(shape, RATE, START_NS);
    traffic.begin(&mut |record, _| pipeline.apply(record));
    while traffic.exchanges() < BATCH {
        // Small steps, to stop near the number wanted.
        let until_ns = traffic.now_ns() + 1_000_000;
        traffic.run_until(until_ns, &mut |record, connection| batch.push(record, connection));
    }
    let end_ns = traffic.finish(&mut |record, connection| batch.push(record, connection));
    (traffic.exchanges(), end_ns)
}

/// A pipeline and what it is fed.
struct Load {
    kind: Kind,
    pipeline: Pipeline,
    batch: Batch,
    /// Record time that the batch takes.
    length_ns: u64,
    next_tick_ns: u64,
    now_ns: u64,
    exchanges: u64,
    /// Exchanges that the last run took.
    counted: u64,
    fed: u64,
    snapshot: Option<Arc<Snapshot>>,
    /// Seconds that they took.
    snapshots: f64,
}

impl Load {
    fn new(kind: Kind) -> Result<Self> {
        let mut pipeline = pipeline()?;
        let mut batch = Batch::default();
        // Exchanges that connections begin with, and that are not replayed.
        let mut begun = 0;
        let (exchanges, end_ns) = match (kind, kind.speaks()) {
            (_, Some(speaks)) => {
                let mut traffic = Conversations::new(speaks, RATE, START_NS);
                traffic.begin(&mut |record, _| pipeline.apply(record));
                begun = traffic.exchanges();
                let end_ns = traffic.run(BATCH, &mut |record, connection| batch.push(record, connection));
                (traffic.exchanges() - begun, end_ns)
            }
            (Kind::Host, _) => make(WIDE, &mut pipeline, &mut batch),
            (Kind::Server, _) => make(NARROW, &mut pipeline, &mut batch),
            (_, None) => {
                let mut traffic = Multiplexed::new(RATE, START_NS);
                traffic.begin(&mut |record, _| pipeline.apply(record));
                let end_ns = traffic.run(BATCH, &mut |record, connection| batch.push(record, connection));
                (traffic.exchanges(), end_ns)
            }
        };
        Ok(Self {
            kind,
            pipeline,
            batch,
            length_ns: end_ns - START_NS,
            next_tick_ns: START_NS,
            now_ns: START_NS,
            exchanges,
            counted: 0,
            fed: begun,
            snapshot: None,
            snapshots: 0.0,
        })
    }

    /// Feeds so many exchanges or a few more, and gives the seconds that took.
    fn run(&mut self, exchanges: u64) -> f64 {
        let mut taken = 0.0;
        self.counted = 0;
        while self.counted < exchanges {
            let begin = thread_seconds();
            self.feed();
            let before = thread_seconds();
            self.tick();
            let end = thread_seconds();
            self.snapshots += end - before;
            taken += end - begin;
            self.counted += self.exchanges;
            self.batch.move_on(self.length_ns);
        }
        self.fed += self.counted;
        taken
    }

    /// The batch, once, and the clock goes on.
    fn feed(&mut self) {
        feed(&mut self.pipeline, &self.batch);
        self.now_ns += self.length_ns;
    }

    /// What is done once a second.
    fn tick(&mut self) {
        if self.now_ns >= self.next_tick_ns {
            self.pipeline.apply(&tick(self.now_ns));
            self.snapshot = Some(self.pipeline.snapshot());
            self.next_tick_ns += SECOND_NS;
        }
    }

    /// Everything was understood, or the figure means nothing.
    fn check(&mut self) -> Result<()> {
        self.pipeline.apply(&tick(self.now_ns + 1));
        let snapshot = self.pipeline.snapshot();
        let several_in_one = matches!(self.kind, Kind::Http2 | Kind::RedisPipelined);
        let least_records = if several_in_one { 0 } else { 2 * self.fed };
        check(&snapshot, self.kind.endpoints(), self.fed, least_records)
    }
}

fn check(snapshot: &Snapshot, endpoints: usize, exchanges: u64, least_records: u64) -> Result<()> {
    let accounting: &Accounting = &snapshot.accounting;
    ensure!(
        accounting.exchanges.answered == exchanges && accounting.records.received >= least_records,
        "of {exchanges} exchanges {} were seen as answered: {accounting:?}",
        accounting.exchanges.answered
    );
    ensure!(
        snapshot.endpoints.len() == endpoints,
        "{} endpoints instead of {endpoints}",
        snapshot.endpoints.len(),
    );
    Ok(())
}

fn pipeline() -> Result<Pipeline> {
    let statistics = statistics::Settings::default();
    Ok(Pipeline::new(Settings {
        connections: Settings::CONNECTIONS,
        statistics,
    })?)
}

/// Exchanges per second in the last hour of the memory benchmark, and in the day before it.
const HOUR_RATE: u64 = 5000;
const DAY_RATE: u64 = 100;
const HOUR: u64 = 3600;

/// In a process of its own: feeds a day, and prints what it came to.
pub(crate) fn memory() -> Result<()> {
    let mut pipeline = pipeline()?;
    let mut traffic = Traffic::new(WIDE, DAY_RATE, START_NS);
    traffic.begin(&mut |record, _| pipeline.apply(record));
    let mut newest = None;
    // 26 hours, so that the running and twelve closed two-hour slots are there.
    for second in 1..=26 * HOUR {
        let dense = second > 25 * HOUR;
        if second == 25 * HOUR {
            traffic.set_rate(HOUR_RATE);
        }
        if !dense && !second.is_multiple_of(10) {
            continue;
        }
        let now_ns = START_NS + second * SECOND_NS;
        traffic.run_until(now_ns, &mut |record, _| pipeline.apply(record));
        pipeline.hints().for_each(drop);
        pipeline.apply(&tick(now_ns));
        newest = Some(pipeline.snapshot());
    }
    let snapshot = newest.context("time went on")?;
    ensure!(
        pipeline.connections() == WIDE.connections,
        "{} connections",
        pipeline.connections()
    );
    let flying = snapshot.accounting.exchanges.in_flight;
    check(&snapshot, WIDE.endpoints(), traffic.exchanges() - flying, 0)?;
    let Memory {
        resident,
        anonymous,
        highest,
        ..
    } = Memory::of("self")?;
    let found = serde_json::json!({
        "exchanges": traffic.exchanges(),
        "resident": resident,
        "anonymous": anonymous,
        "highest": highest,
        "estimate": pipeline.statistics().heap_bytes() as f64 / 1e6,
    });
    println!("{found}");
    Ok(())
}
