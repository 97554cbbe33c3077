//! Notifications on their way to receivers.
//!
//! [`Notifier::send`] puts a notification into the [`outbox`], which keeps it on disk; one task per receiver
//! ([`deliver`]) takes it from there and tries until it arrives. So neither the caller nor another receiver waits for one
//! that is slow or dead, and a restart loses nothing. A notification may arrive twice (the agent ended before it heard
//! that it had arrived), never in another order than it was sent in.
//!
//! A new kind of receiver is one file beside [`webhook`] and one variant of [`receiver::Way`]. Who is told what and when
//! is not decided here.

pub mod alertmanager;
pub mod command;
pub mod deliver;
pub mod document;
pub mod email;
pub mod failure;
pub mod http;
pub mod outbox;
pub mod receiver;
pub mod secret;
pub mod slack;
pub mod state;
pub mod text;
pub mod webhook;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::alert::{Alert, Notification, Reason, State};
use crate::threshold::{Severity, Subject};

use deliver::{Counted, Policy, Task, locked};
use failure::Fault;
use outbox::Outbox;
use receiver::Receiver;
use state::{NotifyState, ReceiverState};

/// Most receivers.
pub const RECEIVERS: usize = 32;
/// How long a test notification may take.
pub const TEST: Duration = Duration::from_secs(10);

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The agent's name among others: the host's.
    pub instance: String,
    /// Its version.
    pub version: String,
}

/// The clocks, so that tests can have their own.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds that only ever grow.
    pub monotonic_ns: fn() -> u64,
    /// Nanoseconds since 1970.
    pub wall_ns: fn() -> u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            monotonic_ns: crate::clock::monotonic_ns,
            wall_ns: crate::clock::wall_ns,
        }
    }
}

/// Delivers notifications. Its tasks end with [`Self::stop`], or at once if it is dropped.
#[derive(Debug)]
pub struct Notifier {
    outbox: Arc<Outbox>,
    lanes: Mutex<BTreeMap<String, Lane>>,
    stops: watch::Sender<bool>,
    origin: Arc<Origin>,
    policy: Policy,
    clock: Clock,
}

/// A receiver and its task.
#[derive(Debug)]
struct Lane {
    receiver: watch::Sender<Arc<Receiver>>,
    counted: Counted,
    task: JoinHandle<()>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notifier {
    /// Starts a task per receiver, on the runtime that it is called in. What waits in the outbox for receivers that are
    /// not among these is given up.
    ///
    /// # Errors
    /// Two receivers have the same name, or there are too many.
    pub fn start(receivers: Vec<Receiver>, outbox: Outbox, origin: Origin, policy: Policy) -> Result<Self, Fault> {
        let notifier = Self {
            clock: outbox.clock(),
            outbox: Arc::new(outbox),
            lanes: Mutex::default(),
            stops: watch::Sender::new(false),
            origin: Arc::new(origin),
            policy,
        };
        notifier.set_receivers(receivers)?;
        Ok(notifier)
    }

    /// Replaces the receivers. Those of the same name keep what waits for them and what was counted, and are tried with
    /// their new settings at once.
    ///
    /// # Errors
    /// Two have the same name, or there are too many: then nothing changes.
    pub fn set_receivers(&self, receivers: Vec<Receiver>) -> Result<(), Fault> {
        if receivers.len() > RECEIVERS {
            return Err(Fault::new("receivers", format!("there are more than {RECEIVERS}")));
        }
        let mut by_name = BTreeMap::new();
        for receiver in receivers {
            let name = receiver.name().to_owned();
            if by_name.insert(name.clone(), Arc::new(receiver)).is_some() {
                return Err(Fault::new("receivers", format!("two are called {name}")));
            }
        }
        let mut lanes = self.lanes();
        lanes.retain(|name, _| by_name.contains_key(name));
        let names = by_name
            .iter()
            .map(|(name, receiver)| (name.as_str(), receiver.bounds()));
        let gone = self.outbox.set_receivers(&names.collect::<Vec<_>>());
        if gone > 0 {
            tracing::warn!("{gone} notifications are given up: their receivers are gone");
        }
        for (name, receiver) in by_name {
            if let Some(lane) = lanes.get(&name) {
                lane.receiver.send_replace(receiver);
            } else {
                lanes.insert(name, self.lane(receiver));
            }
        }
        Ok(())
    }

    fn lane(&self, receiver: Arc<Receiver>) -> Lane {
        let (sender, receiver) = watch::channel(receiver);
        let counted = Counted::default();
        let task = Task {
            outbox: Arc::clone(&self.outbox),
            receiver,
            counted: Arc::clone(&counted),
            stops: self.stops.subscribe(),
            origin: Arc::clone(&self.origin),
            policy: self.policy,
            clock: self.clock,
        };
        Lane {
            receiver: sender,
            counted,
            task: tokio::spawn(task.run()),
        }
    }

    /// Has a notification delivered. Waits for nothing.
    pub fn send(&self, notification: Notification) {
        self.outbox.push(notification);
    }

    /// Waits until all that was sent before is on disk; says whether it is.
    pub async fn flush(&self) -> bool {
        self.outbox.flush().await
    }

    /// Tells each receiver, at the same time and past what waits for it, that this is a test. Gives how it went, by name.
    pub async fn test(&self, message: &str) -> Vec<(String, Result<(), String>)> {
        let receivers: Vec<_> = self
            .lanes()
            .values()
            .map(|lane| Arc::clone(&lane.receiver.borrow()))
            .collect();
        let mut tests = JoinSet::new();
        for receiver in receivers {
            let told = self.test_notification(receiver.name(), message);
            let (origin, clock) = (Arc::clone(&self.origin), self.clock);
            tests.spawn(async move {
                let mut firing = alertmanager::Firing::default();
                let delivery = receiver.deliver(&told, &origin, clock, &mut firing);
                let result = match tokio::time::timeout(TEST, delivery).await {
                    Ok(result) => result.map_err(|failure| failure.text),
                    Err(_elapsed) => Err(format!("not done within {TEST:?}")),
                };
                (receiver.name().to_owned(), result)
            });
        }
        let mut results = tests.join_all().await;
        results.sort_by(|one, other| one.0.cmp(&other.0));
        results
    }

    fn test_notification(&self, receiver: &str, message: &str) -> Notification {
        let wall_ns = (self.clock.wall_ns)();
        let alert = Alert {
            id: "0".repeat(16),
            state: State::Firing,
            severity: Severity::Warning,
            threshold_id: "test".to_owned(),
            metric: "test".to_owned(),
            subject: Subject {
                key: "agent".to_owned(),
                name: "perf-agent".to_owned(),
                service: None,
                endpoint: None,
            },
            value: None,
            limit: 0.0,
            since_wall_ns: wall_ns,
            fired_wall_ns: Some(wall_ns),
            resolved_wall_ns: None,
            message: text::line(message, 1_000),
            runbook: None,
            silenced_by: None,
            inhibited_by: None,
        };
        Notification {
            receiver: receiver.to_owned(),
            group: "test".to_owned(),
            wall_ns,
            reason: Reason::Test,
            alerts: vec![alert],
            more: 0,
        }
    }

    /// How delivery stands.
    pub fn state(&self) -> NotifyState {
        let lanes = self.lanes();
        let receivers = lanes.iter().map(|(name, lane)| {
            let counters = locked(&lane.counted).clone();
            let counts = self.outbox.counts(name);
            ReceiverState {
                name: name.clone(),
                kind: lane.receiver.borrow().kind(),
                waiting: counts.waiting,
                delivered: counters.delivered,
                failed: counters.failed,
                given_up: counters.given_up,
                superseded: counts.superseded,
                dropped: counts.dropped,
                last_delivered_wall_ns: counters.last_delivered_wall_ns,
                last_error: counters.last_error,
                next_attempt_wall_ns: counters.next_attempt_wall_ns,
            }
        });
        NotifyState {
            receivers: receivers.collect(),
            degraded: self.outbox.degraded(),
            unroutable: self.outbox.unroutable(),
        }
    }

    /// Ends the tasks: each may deliver what waits until something fails or the grace is over. What is left is on disk
    /// for the next start.
    pub async fn stop(&self) {
        self.stops.send_replace(true);
        let lanes = std::mem::take(&mut *self.lanes());
        let ending = async {
            let mut lanes: Vec<_> = lanes.into_values().collect();
            for lane in &mut lanes {
                if let Err(error) = (&mut lane.task).await {
                    tracing::warn!("a task that delivers notifications failed: {error}");
                }
            }
        };
        if tokio::time::timeout(self.policy.grace, ending).await.is_err() {
            tracing::info!("notifications that were being delivered are left for the next start");
        }
        // It waits for the disk, off the asynchronous threads; a disk that hangs is not waited for.
        let outbox = Arc::clone(&self.outbox);
        let written = tokio::task::spawn_blocking(move || outbox.close());
        if tokio::time::timeout(self.policy.grace, written).await.is_err() {
            tracing::warn!("the disk did not take what waits in time");
        }
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
