//! The wiring: one thread drives the source and owns the pipeline; everybody else reads what it publishes.
//!
//! There is no queue between source and pipeline: the kernel's ring buffer is one already, and what does not fit it is
//! counted there. Towards the outside there are two ways, and neither can hold the thread up: the newest picture (a
//! `watch`, replaced once a second) and, for `trace`, a bounded channel of ended exchanges; what a slow terminal cannot
//! take is dropped and counted. (Of a recording nothing is dropped: a file can wait.) Who follows the API's stream gets the
//! same batches from a ring that overwrites what is not fetched in time; exchanges are only kept for it while somebody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use perf_common::counters::COUNTERS;
use perf_common::record::{CountersRecord, TickRecord, kind};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, watch};

use crate::api::{Batch, Published};
use crate::clock;
use crate::endpoint::RouteError;
use crate::pipeline::{Pipeline, Settings};
use crate::snapshot;
use crate::source::record::{RecordError, Recorded, Recorder};
use crate::source::{Polled, ProgramStats, Source, SourceError, TlsCoverage};

const TICK_NS: u64 = 1_000_000_000;
/// Longest wait for records: how late a wish to stop may be heard.
const WAIT: Duration = Duration::from_millis(100);
/// Ticks between two looks at what the programs cost.
const PROGRAM_TICKS: u64 = 5;
/// Batches of ended exchanges that may wait to be printed.
const TRACE_BATCHES: usize = 256;
/// Batches of ended exchanges that followers of the API may be behind.
const FOLLOWED_BATCHES: usize = 64;
/// How long a recording waits before it offers a batch again.
const TRACE_WAIT: Duration = Duration::from_millis(2);

/// What to run.
pub struct Plan {
    /// Where records come from.
    pub source: Box<dyn Source>,
    /// What the statistics keep.
    pub settings: Settings,
    /// Where the records go as well.
    pub recorder: Option<Recorder>,
    /// Whether every ended exchange is handed out.
    pub trace: bool,
}

/// Why the agent ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The source gave out.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The recording cannot be written.
    #[error("cannot go on recording")]
    Record(#[from] RecordError),
    /// A broken invariant of our own.
    #[error("the core thread panicked; this is a bug")]
    Panic,
    /// The operating system gave no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finished {
    /// What was recorded, if anything was to be.
    pub recorded: Option<Recorded>,
}

/// Ended exchanges, as they end.
#[derive(Debug)]
pub struct Traced {
    /// Batches of them.
    pub batches: mpsc::Receiver<Vec<snapshot::Traced>>,
    /// Exchanges that were not handed out, since nobody fetched them in time.
    pub dropped: Arc<AtomicU64>,
}

/// A running agent.
pub struct Agent {
    thread: JoinHandle<Result<Finished, AgentError>>,
    stop: Arc<AtomicBool>,
    published: watch::Receiver<Published>,
    followed: broadcast::Sender<Batch>,
    traced: Option<Traced>,
}

impl Agent {
    /// Starts the core thread.
    ///
    /// # Errors
    /// [`RouteError`] for an operator's pattern that is none; [`AgentError::Thread`].
    pub fn start(plan: Plan) -> Result<Self, StartError> {
        let mut pipeline = Pipeline::new(plan.settings)?;
        pipeline.statistics().trace(plan.trace);
        let snapshot = pipeline.snapshot();
        let (publish, published) = watch::channel(Published {
            snapshot,
            programs: Arc::new([]),
            tls: Arc::new([]),
            ready: true,
        });
        let stop = Arc::new(AtomicBool::new(false));
        let dropped = Arc::new(AtomicU64::new(0));
        let (sender, batches) = mpsc::channel(TRACE_BATCHES);
        let (followed, _) = broadcast::channel(FOLLOWED_BATCHES);
        let mut core = Core {
            live: !plan.source.recorded(),
            source: plan.source,
            pipeline,
            recorder: plan.recorder,
            publish,
            trace: plan.trace.then_some(sender),
            followed: followed.clone(),
            is_followed: false,
            dropped: Arc::clone(&dropped),
            stop: Arc::clone(&stop),
            newest_ns: 0,
            last_tick: None,
            ticks: 0,
            programs: Arc::new([]),
            tls: Arc::new([]),
        };
        let thread = std::thread::Builder::new()
            .name("core".to_owned())
            .spawn(move || core.run())
            .map_err(AgentError::Thread)?;
        let traced = plan.trace.then_some(Traced { batches, dropped });
        Ok(Self {
            thread,
            stop,
            published,
            followed,
            traced,
        })
    }

    /// Where batches of ended exchanges can be followed.
    pub fn followed(&self) -> broadcast::Sender<Batch> {
        self.followed.clone()
    }

    /// The newest picture.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// The ended exchanges; once.
    pub fn traced(&mut self) -> Option<Traced> {
        self.traced.take()
    }

    /// Completes when the core thread has ended: told to, at a recording's end, or by an error.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut published = self.published.clone();
        async move { while published.changed().await.is_ok() {} }
    }

    /// Ends observation: hooks off, what is left read, everything in flight cut, files closed. Blocks for up to a tenth
    /// of a second and the time that takes.
    ///
    /// # Errors
    /// [`AgentError`], also of what happened before.
    pub fn finish(self) -> Result<Finished, AgentError> {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.traced); // nobody fetches any more, so nothing waits for that
        self.thread.join().map_err(|_panic| AgentError::Panic)?
    }
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A route pattern.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Anything else.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// What the core thread owns.
struct Core {
    source: Box<dyn Source>,
    /// The source carries no time of its own: ticks and counters are added here.
    live: bool,
    pipeline: Pipeline,
    recorder: Option<Recorder>,
    publish: watch::Sender<Published>,
    trace: Option<mpsc::Sender<Vec<snapshot::Traced>>>,
    followed: broadcast::Sender<Batch>,
    is_followed: bool,
    dropped: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// The newest time in any record.
    newest_ns: u64,
    /// Both clocks at the last tick.
    last_tick: Option<(u64, u64)>,
    ticks: u64,
    programs: Arc<[ProgramStats]>,
    tls: Arc<[TlsCoverage]>,
}

impl Core {
    fn run(&mut self) -> Result<Finished, AgentError> {
        let observed = self.observe();
        if let Err(AgentError::Record(_)) = observed {
            self.recorder = None; // it is closed already
        }
        self.source.detach();
        // Nothing more is written to the ring buffers, so what is left in them comes to an end.
        while self.live && observed.is_ok() && self.poll(Duration::ZERO)? == Polled::More {}
        self.pipeline.finish();
        self.last_tick_of_all()?;
        self.hand_out();
        // What came before an error is true all the same.
        let recorded = self.recorder.take().map(Recorder::finish).transpose();
        observed?;
        Ok(Finished { recorded: recorded? })
    }

    fn observe(&mut self) -> Result<(), AgentError> {
        let mut next_tick_ns = clock::monotonic_ns();
        while !self.stop.load(Ordering::Relaxed) {
            let mut wait = WAIT;
            if self.live {
                let now_ns = clock::monotonic_ns();
                if now_ns >= next_tick_ns {
                    self.tick(now_ns)?;
                    // After a pause (suspend, an overloaded machine) go on from here instead of making up for it.
                    next_tick_ns = (next_tick_ns + TICK_NS).max(now_ns + TICK_NS / 2);
                }
                wait = wait.min(Duration::from_nanos(next_tick_ns.saturating_sub(now_ns)));
            }
            if self.poll(wait)? == Polled::Ended {
                break;
            }
        }
        Ok(())
    }

    /// One batch of records.
    fn poll(&mut self, wait: Duration) -> Result<Polled, AgentError> {
        let Self {
            source,
            live,
            pipeline,
            recorder,
            newest_ns,
            last_tick,
            ..
        } = self;
        let ticked = *last_tick;
        let mut failed = None;
        let mut take = |record: &[u8]| {
            if let Some(recorder) = recorder
                && failed.is_none()
                && let Err(error) = recorder.record(record)
            {
                failed = Some(error);
            }
            pipeline.apply(record);
        };
        let polled = source.poll(wait, &mut |record| {
            if !*live && let Some((at_ns, wall_ns)) = times(record) {
                *newest_ns = at_ns.max(*newest_ns);
                if let Some(wall_ns) = wall_ns {
                    *last_tick = Some((at_ns, wall_ns));
                }
            }
            take(record);
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        for hint in pipeline.hints() {
            source.hint(hint);
        }
        if ticked != *last_tick {
            self.publish();
        }
        self.hand_out();
        Ok(polled)
    }

    /// Adds what only the user side knows: counters and time. Once a second.
    fn tick(&mut self, now_ns: u64) -> Result<(), AgentError> {
        match self.source.counters() {
            Ok(Some(counters)) => self.add(&counters_record(now_ns, &counters))?,
            Ok(None) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot read the kernel's counters"
            ),
        }
        let wall_ns = clock::wall_ns();
        self.add(&TickRecord::new(now_ns, wall_ns).to_bytes())?;
        self.last_tick = Some((now_ns, wall_ns));
        if let Some(recorder) = &mut self.recorder {
            recorder.flush()?;
        }
        if self.ticks.is_multiple_of(PROGRAM_TICKS) {
            self.programs = self.source.programs().into();
        }
        let tls = self.source.tls();
        if *self.tls != *tls {
            self.tls = tls.into();
        }
        self.ticks += 1;
        self.publish();
        Ok(())
    }

    /// Closes the books: of a recording at its own newest time, so that the same file gives the same end.
    fn last_tick_of_all(&mut self) -> Result<(), AgentError> {
        if self.live {
            return self.tick(clock::monotonic_ns());
        }
        let (tick_ns, wall_ns) = self.last_tick.unwrap_or((self.newest_ns, 0));
        let after_ns = self.newest_ns.saturating_sub(tick_ns);
        let tick = TickRecord::new(tick_ns.saturating_add(after_ns), wall_ns.saturating_add(after_ns));
        self.add(&tick.to_bytes())?;
        self.publish();
        Ok(())
    }

    fn add(&mut self, record: &[u8]) -> Result<(), AgentError> {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(record)?;
        }
        self.pipeline.apply(record);
        Ok(())
    }

    fn publish(&mut self) {
        let (snapshot, programs) = (self.pipeline.snapshot(), Arc::clone(&self.programs));
        let tls = Arc::clone(&self.tls);
        self.publish.send_replace(Published {
            snapshot,
            programs,
            tls,
            ready: true,
        });
    }

    /// Hands ended exchanges to whoever prints or follows them.
    fn hand_out(&mut self) {
        let is_followed = self.followed.receiver_count() > 0;
        if is_followed != self.is_followed {
            self.is_followed = is_followed;
            self.pipeline.statistics().trace(is_followed || self.trace.is_some());
        }
        if !is_followed && self.trace.is_none() {
            return;
        }
        let (exchanges, mut dropped) = self.pipeline.statistics().take_traced();
        if is_followed && !exchanges.is_empty() {
            // Who stopped to follow meanwhile misses nothing.
            let _gone = self.followed.send(exchanges.clone().into());
        }
        if let Some(trace) = &self.trace {
            dropped += self.print(trace, exchanges);
        }
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Hands ended exchanges to the printer. Gives how many it could not take.
    fn print(&self, trace: &mpsc::Sender<Vec<snapshot::Traced>>, mut exchanges: Vec<snapshot::Traced>) -> u64 {
        while !exchanges.is_empty() {
            match trace.try_send(exchanges) {
                // A reader that is gone has seen all that it wanted.
                Ok(()) | Err(TrySendError::Closed(_)) => break,
                Err(TrySendError::Full(unsent)) if !self.live && !self.stop.load(Ordering::Relaxed) => {
                    exchanges = unsent;
                    std::thread::sleep(TRACE_WAIT);
                }
                Err(TrySendError::Full(unsent)) => return unsent.len() as u64,
            }
        }
        0
    }
}

/// A record's time, and, of a tick, the wall clock's.
fn times(record: &[u8]) -> Option<(u64, Option<u64>)> {
    let number = |at: usize| Some(u64::from_le_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let is_tick = record.get(..2)? == kind::TICK.to_le_bytes();
    Some((number(8)?, if is_tick { number(16) } else { None }))
}

fn counters_record(at_ns: u64, counters: &[u64; COUNTERS]) -> Vec<u8> {
    let count = u32::try_from(COUNTERS).unwrap_or(0);
    let mut record = CountersRecord::new(at_ns, count).to_bytes().to_vec();
    record.extend(counters.iter().flat_map(|counter| counter.to_le_bytes()));
    record
}

#[cfg(test)]
mod tests;
