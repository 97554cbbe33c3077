//! One task per receiver: takes what waits, in order, and tries until it arrives, is refused for good, or is too old.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::alertmanager::Firing;
use super::failure::Failure;
use super::outbox::{Due, Outbox};
use super::receiver::Receiver;
use super::state::LastError;
use super::{Clock, Origin};

/// How patient the notifier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The pause after the first failed attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// No pause is longer, but where a receiver asks for it.
    pub longest_pause: Duration,
    /// A notification that has waited for longer is given up.
    pub give_up_after: Duration,
    /// How often an Alertmanager is told again what fires.
    pub again: Duration,
    /// How long what is being delivered may take when the notifier stops.
    pub grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_mins(5),
            give_up_after: Duration::from_hours(24),
            again: super::alertmanager::AGAIN,
            grace: Duration::from_secs(5),
        }
    }
}

/// The pause after so many failed attempts in a row: exponential, and between a half and the whole of it by chance (`0.0`
/// to `1.0`), so that many agents do not come back at the same time.
pub(super) fn pause(policy: &Policy, failed: u32, longest: Duration, chance: f64) -> Duration {
    let doublings = failed.saturating_sub(1).min(30);
    let whole = policy.first_pause.saturating_mul(1 << doublings);
    let whole = whole.min(policy.longest_pause).min(longest);
    whole.mul_f64(0.5 + chance / 2.0)
}

/// What a receiver's task has counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) given_up: u64,
    pub(super) last_delivered_wall_ns: Option<u64>,
    pub(super) last_error: Option<LastError>,
    pub(super) next_attempt_wall_ns: Option<u64>,
}

/// Counters that the task writes and the API reads.
pub(super) type Counted = Arc<Mutex<Counters>>;

pub(super) fn locked(counted: &Counted) -> MutexGuard<'_, Counters> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a task needs.
pub(super) struct Task {
    pub(super) outbox: Arc<Outbox>,
    /// The receiver's settings; they may change.
    pub(super) receiver: watch::Receiver<Arc<Receiver>>,
    pub(super) counted: Counted,
    pub(super) stops: watch::Receiver<bool>,
    pub(super) origin: Arc<Origin>,
    pub(super) policy: Policy,
    pub(super) clock: Clock,
}

impl Task {
    /// Delivers until it is stopped: then once more what waits, as long as nothing fails.
    pub(super) async fn run(mut self) {
        let name = self.receiver.borrow().name().to_owned();
        let bell = self.outbox.bell(&name);
        let mut firing = Firing::default();
        let mut again_at = None;
        let mut failed = 0;
        loop {
            let receiver = Arc::clone(&self.receiver.borrow_and_update());
            let Some(due) = self.outbox.begin(&name) else {
                if *self.stops.borrow() || !self.idle(&bell, &receiver, &mut firing, &mut again_at).await {
                    return;
                }
                continue;
            };
            match self.attempt(&receiver, &due, &mut firing).await {
                Attempt::Over => failed = 0,
                Attempt::Again(failure) => {
                    failed += 1;
                    if !self.wait(&receiver, failed, failure.retry_after).await {
                        return;
                    }
                }
            }
            if !firing.is_empty() && again_at.is_none() {
                again_at = Some(Instant::now() + self.policy.again);
            }
        }
    }

    /// One attempt. If it is dropped in the middle, what was due is tried again by the next agent.
    async fn attempt(&self, receiver: &Receiver, due: &Due, firing: &mut Firing) -> Attempt {
        if due.age > self.policy.give_up_after {
            self.outbox.finish(due);
            self.give_up(receiver, "it waited too long");
            return Attempt::Over;
        }
        let delivery = receiver.deliver(&due.notification, &self.origin, self.clock, firing);
        let result = within(receiver, delivery).await;
        let wall_ns = (self.clock.wall_ns)();
        match result {
            Ok(()) => {
                self.outbox.finish(due);
                let mut counters = locked(&self.counted);
                counters.delivered += 1;
                counters.last_delivered_wall_ns = Some(wall_ns);
                counters.next_attempt_wall_ns = None;
                Attempt::Over
            }
            Err(failure) => {
                self.failed(&failure, wall_ns);
                if failure.permanent {
                    self.outbox.finish(due);
                    self.give_up(receiver, &failure.text);
                    return Attempt::Over;
                }
                self.outbox.release(due);
                tracing::debug!("{} was not told: {failure}", receiver.name());
                Attempt::Again(failure)
            }
        }
    }

    fn failed(&self, failure: &Failure, wall_ns: u64) {
        let mut counters = locked(&self.counted);
        counters.failed += 1;
        counters.last_error = Some(LastError {
            wall_ns,
            text: failure.text.clone(),
        });
    }

    fn give_up(&self, receiver: &Receiver, why: &str) {
        tracing::warn!("a notification to {} is given up: {why}", receiver.name());
        let mut counters = locked(&self.counted);
        counters.given_up += 1;
        counters.next_attempt_wall_ns = None;
    }

    /// Waits for something to deliver, and tells again what fires meanwhile. Says whether to go on.
    async fn idle(
        &mut self,
        bell: &Notify,
        receiver: &Receiver,
        firing: &mut Firing,
        again_at: &mut Option<Instant>,
    ) -> bool {
        let again = async {
            match *again_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = bell.notified() => true,
            // Whoever stops or removes drops or sets it.
            stopped = self.stops.changed() => stopped.is_ok(),
            changed = self.receiver.changed() => changed.is_ok(),
            () = again => {
                if let Err(failure) = within(receiver, receiver.again(&self.origin, self.clock, firing)).await {
                    self.failed(&failure, (self.clock.wall_ns)());
                }
                *again_at = (!firing.is_empty()).then(|| Instant::now() + self.policy.again);
                true
            }
        }
    }

    /// The pause after a failure; new settings end it. Says whether to go on.
    async fn wait(&mut self, receiver: &Receiver, failed: u32, asked: Option<Duration>) -> bool {
        if *self.stops.borrow() {
            return false;
        }
        let pause = pause(&self.policy, failed, receiver.longest_pause(), fastrand::f64());
        let pause = pause.max(asked.unwrap_or_default());
        let pause_ns = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        let next_wall_ns = (self.clock.wall_ns)().saturating_add(pause_ns);
        locked(&self.counted).next_attempt_wall_ns = Some(next_wall_ns);
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            _ = self.stops.changed() => false,
            changed = self.receiver.changed() => changed.is_ok(),
        }
    }
}

/// How an attempt ended.
enum Attempt {
    /// There is nothing more to do about this notification.
    Over,
    Again(Failure),
}

/// The receiver's own deadline, with some time for its own error to come first.
pub(super) async fn within(
    receiver: &Receiver,
    delivery: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let deadline = receiver.deadline() + Duration::from_secs(1);
    match tokio::time::timeout(deadline, delivery).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Failure::temporary(format!("not done within {deadline:?}"))),
    }
}

#[cfg(test)]
mod tests;
