//! From numbers to decisions: one thread reads the host's resources, holds thresholds against what was observed, scores
//! health, gives advice, and says who is to be told. It introduces core and edges to each other, as [`crate::agent`] does
//! for what comes before the snapshot.
//!
//! It is driven by the published snapshots: their time is the time of every decision, so a recording that is replayed is
//! judged as of when it was taken (and nobody is told of it). What it decides is published like a snapshot, in one piece.

mod judge;
mod kept;
pub mod rules;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use self::judge::Judge;
pub use self::rules::FileRules;
use crate::advice::{self, Advisor, Recommendation};
use crate::alert::{self, Silence, SilenceDraft};
use crate::api::control::{Control, Refusal, Trial};
use crate::api::json::receiver::{Receiver, Receivers, Tried};
use crate::api::json::timestamp;
use crate::api::{Decided, Published};
use crate::clock;
use crate::custom;
use crate::health::{self, Report};
use crate::host::Reader;
use crate::notify::{self, Notifier};
use crate::resources::{Reading, Resources, Trends};
use crate::store::Store;
use crate::threshold::{Draft, Observed, Threshold};

/// Between two evaluations.
const EVERY_NS: u64 = 2_000_000_000;
/// Between two looks for advice.
const ADVICE_NS: u64 = 10_000_000_000;
/// How long what is to be told may take to be on disk.
const FLUSH: Duration = Duration::from_secs(2);

/// What can be changed while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Thresholds of the configuration.
    pub rules: FileRules,
    /// Who is told, and how often.
    pub alerts: alert::Settings,
    /// The score's weights and limits.
    pub health: health::Settings,
    /// Between two readings of resources.
    pub resources_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: FileRules::default(),
            alerts: alert::Settings::default(),
            health: health::Settings::default(),
            resources_every: Duration::from_secs(10),
        }
    }
}

/// What is needed to begin.
pub struct Plan {
    /// See there.
    pub settings: Settings,
    /// What is observed.
    pub published: watch::Receiver<Published>,
    /// What programs report.
    pub custom: custom::Shared,
    /// Reads the host's resources; `None` for a recording.
    pub reader: Option<Reader>,
    /// Tells receivers; `None` if nobody is to be told.
    pub notifier: Option<Notifier>,
    /// What outlives a restart.
    pub store: Store,
}

/// The thread.
#[derive(Debug)]
pub struct Decider {
    shared: Arc<Shared>,
    decided: watch::Receiver<Decided>,
    trends: Arc<RwLock<Trends>>,
    thread: JoinHandle<()>,
}

/// What the thread and the API share.
#[derive(Debug)]
struct Shared {
    judge: Mutex<Judge>,
    settings: Mutex<Settings>,
    notifier: Option<Notifier>,
    /// Something changed that an evaluation should heed at once.
    wake: Notify,
    stop: Notify,
}

impl Decider {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(plan: Plan) -> std::io::Result<Self> {
        let Settings { rules, alerts, .. } = plan.settings.clone();
        let judge = Judge::new(rules, alerts, plan.store);
        let (publish, decided) = watch::channel(Decided {
            thresholds: judge.thresholds().into(),
            ..Decided::default()
        });
        if let Some(notifier) = &plan.notifier {
            let receivers = notifier.state().receivers.into_iter();
            let forgetful = receivers.filter(|receiver| notify::receiver::lists_all(receiver.kind));
            let forgetful: Vec<_> = forgetful.map(|receiver| receiver.name).collect();
            for reminder in judge.reminders(&forgetful, clock::wall_ns()) {
                notifier.send(reminder);
            }
        }
        let shared = Arc::new(Shared {
            judge: Mutex::new(judge),
            settings: Mutex::new(plan.settings),
            notifier: plan.notifier,
            wake: Notify::new(),
            stop: Notify::new(),
        });
        let trends = Arc::new(RwLock::new(Trends::default()));
        let round = Round {
            shared: Arc::clone(&shared),
            published: plan.published,
            custom: plan.custom,
            reader: plan.reader,
            publish,
            trends: Arc::clone(&trends),
            advisor: Advisor::default(),
            reading: None,
            readings: 0,
            resources: None,
            recommendations: Arc::new([]),
            read_at_ns: None,
            judged_at_ns: None,
            advised_at_ns: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("decide".to_owned())
            .spawn(move || runtime.block_on(round.run()))?;
        Ok(Self {
            shared,
            decided,
            trends,
            thread,
        })
    }

    /// What was decided last.
    pub fn decided(&self) -> watch::Receiver<Decided> {
        self.decided.clone()
    }

    /// How resources went.
    pub fn trends(&self) -> Arc<RwLock<Trends>> {
        Arc::clone(&self.trends)
    }

    /// What the API may change.
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::<Shared>::clone(&self.shared)
    }

    /// What reads the configuration again may change.
    pub fn changer(&self) -> Changer {
        Changer(Arc::clone(&self.shared))
    }

    /// Ends the thread, and what tells receivers. What was not delivered waits on disk.
    pub async fn finish(self) {
        self.shared.stop.notify_one();
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread that decides panicked; this is a bug");
        }
        if let Some(notifier) = &self.shared.notifier {
            notifier.stop().await;
        }
    }
}

/// Changes settings while it runs.
#[derive(Clone, Debug)]
pub struct Changer(Arc<Shared>);

impl Changer {
    /// These hold from now on.
    pub fn set(&self, settings: Settings) {
        self.0.judge().set(settings.rules.clone(), settings.alerts.clone());
        *locked(&self.0.settings) = settings;
        self.0.wake.notify_one();
    }

    /// These are told from now on.
    pub fn set_receivers(&self, receivers: Vec<crate::notify::receiver::Receiver>) {
        if let Some(notifier) = &self.0.notifier
            && let Err(fault) = notifier.set_receivers(receivers)
        {
            tracing::error!("receivers stay as they were: {fault}");
        }
    }
}

/// A thread that panicked while it held a lock left what it guards as it was between two whole changes.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn judge(&self) -> MutexGuard<'_, Judge> {
        locked(&self.judge)
    }
}

impl Control for Shared {
    fn add_threshold(&self, draft: Draft) -> Result<Threshold, Refusal> {
        let added = self.judge().add_threshold(&draft);
        self.wake.notify_one();
        added
    }

    fn put_threshold(&self, id: &str, draft: Draft) -> Result<Threshold, Refusal> {
        let put = self.judge().put_threshold(id, draft);
        self.wake.notify_one();
        put
    }

    fn remove_threshold(&self, id: &str) -> Result<(), Refusal> {
        let removed = self.judge().remove_threshold(id);
        self.wake.notify_one();
        removed
    }

    fn thresholds(&self) -> Vec<Threshold> {
        self.judge().thresholds()
    }

    fn silences(&self) -> Vec<Silence> {
        self.judge().silences()
    }

    fn add_silence(&self, draft: &SilenceDraft) -> Result<Silence, Refusal> {
        let added = self.judge().silence(draft, clock::wall_ns());
        self.wake.notify_one();
        added
    }

    fn end_silence(&self, id: &str) -> Result<Silence, Refusal> {
        let ended = self.judge().unsilence(id, clock::wall_ns());
        self.wake.notify_one();
        ended
    }

    fn receivers(&self) -> Receivers {
        let Some(notifier) = &self.notifier else {
            return Receivers::default();
        };
        let state = notifier.state();
        let receiver = |receiver: crate::notify::state::ReceiverState| Receiver {
            name: receiver.name,
            kind: receiver.kind.to_owned(),
            waiting: receiver.waiting as u64,
            delivered: receiver.delivered,
            failed_attempts: receiver.failed,
            given_up: receiver.given_up,
            superseded: receiver.superseded,
            dropped: receiver.dropped,
            last_delivered_at: receiver.last_delivered_wall_ns.map(timestamp),
            last_error_at: receiver.last_error.as_ref().map(|error| timestamp(error.wall_ns)),
            last_error: receiver.last_error.map(|error| error.text),
            next_attempt_at: receiver.next_attempt_wall_ns.map(timestamp),
        };
        Receivers {
            receivers: state.receivers.into_iter().map(receiver).collect(),
            degraded: state.degraded,
        }
    }

    fn test(&self) -> Trial<'_> {
        Box::pin(async move {
            let Some(notifier) = &self.notifier else {
                return Vec::new();
            };
            let said = notifier.test("a test by perf-agent: nothing is wrong").await;
            let tried = said.into_iter().map(|(receiver, said)| Tried {
                receiver,
                delivered: said.is_ok(),
                error: said.err(),
            });
            tried.collect()
        })
    }

    fn degraded(&self) -> Option<String> {
        self.judge().degraded().map(str::to_owned)
    }
}

/// What the thread owns.
struct Round {
    shared: Arc<Shared>,
    published: watch::Receiver<Published>,
    custom: custom::Shared,
    reader: Option<Reader>,
    publish: watch::Sender<Decided>,
    trends: Arc<RwLock<Trends>>,
    advisor: Advisor,
    /// The last reading.
    reading: Option<Reading>,
    readings: u64,
    resources: Option<Arc<Resources>>,
    recommendations: Arc<[Recommendation]>,
    read_at_ns: Option<u64>,
    judged_at_ns: Option<u64>,
    advised_at_ns: Option<u64>,
}

impl Round {
    async fn run(mut self) {
        loop {
            let asked = tokio::select! {
                changed = self.published.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    false
                }
                () = self.shared.wake.notified() => true,
                () = self.shared.stop.notified() => break,
            };
            self.step(asked).await;
        }
    }

    async fn step(&mut self, asked: bool) {
        let snapshot = Arc::clone(&self.published.borrow_and_update().snapshot);
        if snapshot.wall_ns == 0 {
            return; // nothing was observed yet
        }
        let now_ns = snapshot.at_ns;
        let is_due = |last: Option<u64>, every_ns: u64| last.is_none_or(|last| now_ns.saturating_sub(last) >= every_ns);
        let settings = locked(&self.shared.settings).clone();
        let every_ns = u64::try_from(settings.resources_every.as_nanos()).unwrap_or(u64::MAX);
        // The second reading comes soon: only then rates are known.
        let every_ns = if self.readings < 2 { EVERY_NS } else { every_ns };
        // A little early is better than a second late, since pictures come once a second.
        if is_due(self.read_at_ns, every_ns.saturating_sub(EVERY_NS / 4)) {
            self.read_at_ns = Some(now_ns);
            self.read(&snapshot.services, now_ns, snapshot.wall_ns);
        }
        if !asked && !is_due(self.judged_at_ns, EVERY_NS - EVERY_NS / 8) {
            return;
        }
        self.judged_at_ns = Some(now_ns);
        // Reports come with the clock's time.
        let custom = Arc::new(locked(&self.custom).snapshot(clock::monotonic_ns()));
        let observed = Observed {
            snapshot: &snapshot,
            resources: self.resources.as_deref(),
            custom: &custom,
        };
        let judgement = self.shared.judge().judge(&observed, snapshot.wall_ns);
        if let Some(notifier) = &self.shared.notifier
            && !judgement.notifications.is_empty()
        {
            for notification in judgement.notifications {
                notifier.send(notification);
            }
            if tokio::time::timeout(FLUSH, notifier.flush()).await.is_err() {
                tracing::warn!("what is to be told takes long to be on disk");
            }
        }
        self.shared.judge().keep();
        if is_due(self.advised_at_ns, ADVICE_NS - EVERY_NS / 4) {
            self.advised_at_ns = Some(now_ns);
            self.advise(&snapshot);
        }
        let health = Report::new(&snapshot, self.resources.as_deref(), &settings.health);
        self.publish.send_replace(Decided {
            thresholds: judgement.thresholds,
            alerts: judgement.alerts,
            alerts_beyond: judgement.beyond,
            resources: self.resources.clone(),
            health: Some(Arc::new(health)),
            recommendations: Arc::clone(&self.recommendations),
            custom,
        });
    }

    fn read(&mut self, services: &[Arc<crate::process::Service>], at_ns: u64, wall_ns: u64) {
        let Some(reader) = &mut self.reader else { return };
        let reading = reader.read(services, at_ns, wall_ns);
        let resources = Resources::between(self.reading.as_ref(), &reading);
        self.trends
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add(&resources);
        self.reading = Some(reading);
        self.readings += 1;
        self.resources = Some(Arc::new(resources));
    }

    fn advise(&mut self, snapshot: &crate::snapshot::Snapshot) {
        let memory = {
            let trends = self.trends.read().unwrap_or_else(PoisonError::into_inner);
            memory_trends(&trends, self.resources.as_deref())
        };
        let observed = advice::Observed {
            snapshot,
            resources: self.resources.as_deref(),
            memory_trends: &memory,
            at_ns: snapshot.at_ns,
            wall_ns: snapshot.wall_ns,
        };
        self.recommendations = self.advisor.advise(observed).into();
    }
}

/// Services whose memory grows towards a limit.
fn memory_trends(trends: &Trends, resources: Option<&Resources>) -> Vec<advice::MemoryTrend> {
    let services = resources.into_iter().flat_map(|resources| &resources.services);
    services
        .filter_map(|service| {
            let trend = trends.service_memory(&service.service)?;
            Some(advice::MemoryTrend {
                service: Arc::clone(&service.service),
                bytes_per_second: trend.bytes_per_second,
                limit_bytes: trend.limit_bytes?,
                seconds_left: trend.until_limit_ns? as f64 / 1e9,
            })
        })
        .collect()
}
