//! What waits for whom: one lane per receiver, in order, each of bounded length and size.
//!
//! A notification says how its group stands, so a newer one takes the place of an older one that waits still, if nothing
//! is lost by it ([`merge`]). Otherwise both are told, in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::alert::{Alert, Notification, Reason, State};

use super::stored::{self, Bounds};

/// Most notifications that wait for one receiver; then the oldest is dropped and counted.
pub const WAITING: usize = 1_000;

/// The lanes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: HashMap<String, Lane>,
    next: u64,
}

/// What waits for one receiver.
#[derive(Debug, Default)]
struct Lane {
    entries: VecDeque<Entry>,
    bounds: Bounds,
    bytes: usize,
    /// The first entry is being delivered: it must neither change nor go.
    busy: bool,
    superseded: u64,
    dropped: u64,
}

/// A notification that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its place: greater than that of everything before it.
    pub(super) place: u64,
    pub(super) notification: Arc<Notification>,
    bytes: usize,
    /// Since when it has been waiting, on the monotonic clock; before its begin if it is older than the machine's start.
    pub(super) at_ns: i128,
}

/// What a lane has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) waiting: usize,
    pub(crate) superseded: u64,
    pub(crate) dropped: u64,
}

impl Queue {
    /// Makes lanes for these receivers and removes others with all that waits in them. Gives the places that are gone.
    pub(super) fn set_receivers(&mut self, receivers: &[(&str, Bounds)]) -> Vec<u64> {
        for (name, bounds) in receivers {
            self.lanes.entry((*name).to_owned()).or_default().bounds = *bounds;
        }
        let mut gone = Vec::new();
        self.lanes.retain(|name, lane| {
            let stays = receivers.iter().any(|receiver| receiver.0 == name);
            if !stays {
                gone.extend(lane.entries.iter().map(|entry| entry.place));
            }
            stays
        });
        gone
    }

    /// Empty, with places from here on.
    pub(super) fn from_place(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Puts back what was on disk where its place is. Gives the places that are not on disk as they should be.
    pub(super) fn restore(
        &mut self,
        place: u64,
        notification: Notification,
        at_ns: i128,
        any_receiver: bool,
    ) -> Vec<u64> {
        if any_receiver {
            // What it may have is known when the receivers are.
            let lane = self.lanes.entry(notification.receiver.clone());
            lane.or_default().bounds = Bounds::ALL;
        }
        let taken = self.lanes.values().any(|lane| lane.has(place));
        let Some(lane) = self.lanes.get_mut(&notification.receiver) else {
            return vec![place];
        };
        let mut changed = Vec::new();
        // Only after the clock was set back.
        let own = if taken { self.next } else { place };
        if taken {
            changed.push(own);
        }
        self.next = self.next.max(own.saturating_add(1));
        let bytes = stored::encode(&notification).len();
        let first_free = usize::from(lane.busy);
        let at = lane.entries.partition_point(|entry| entry.place < own).max(first_free);
        lane.bytes += bytes;
        lane.entries.insert(
            at,
            Entry {
                place: own,
                notification: Arc::new(notification),
                bytes,
                at_ns,
            },
        );
        lane.shrink(&mut changed);
        changed
    }

    /// Adds one; `None` if there is no such receiver. Gives the places that are not on disk as they should be.
    pub(super) fn push(&mut self, notification: Notification, at_ns: i128) -> Option<Vec<u64>> {
        let lane = self.lanes.get_mut(&notification.receiver)?;
        let (notification, bytes) = stored::fit(notification, lane.bounds);
        let first_free = usize::from(lane.busy);
        let older = lane
            .entries
            .iter()
            .enumerate()
            .rfind(|(_, entry)| entry.notification.group == notification.group)
            .map(|(at, _)| at)
            .filter(|at| *at >= first_free);
        if let Some(at) = older
            && let Some(merged) = merge(&lane.entries[at].notification, &notification, lane.bounds.alerts)
        {
            let bytes = stored::encode(&merged).len();
            if bytes <= lane.bounds.bytes {
                let entry = &mut lane.entries[at];
                lane.bytes = lane.bytes - entry.bytes + bytes;
                lane.superseded += 1;
                let place = entry.place;
                *entry = Entry {
                    place,
                    notification: Arc::new(merged),
                    bytes,
                    at_ns,
                };
                let mut changed = vec![place];
                lane.shrink(&mut changed);
                return Some(changed);
            }
        }
        let place = self.next;
        self.next += 1;
        lane.bytes += bytes;
        lane.entries.push_back(Entry {
            place,
            notification: Arc::new(notification),
            bytes,
            at_ns,
        });
        let mut changed = vec![place];
        lane.shrink(&mut changed);
        Some(changed)
    }

    /// The first that waits, which is from now on being delivered.
    pub(super) fn begin(&mut self, receiver: &str) -> Option<Entry> {
        let lane = self.lanes.get_mut(receiver)?;
        let entry = lane.entries.front()?.clone();
        lane.busy = true;
        Some(entry)
    }

    /// It is delivered or given up. Gives whether it was there.
    pub(super) fn finish(&mut self, receiver: &str, place: u64) -> bool {
        let Some(lane) = self.lanes.get_mut(receiver) else {
            return false;
        };
        lane.busy = false;
        if lane.entries.front().is_none_or(|entry| entry.place != place) {
            return false;
        }
        if let Some(entry) = lane.entries.pop_front() {
            lane.bytes -= entry.bytes;
        }
        true
    }

    /// It will be tried again.
    pub(super) fn release(&mut self, receiver: &str) {
        if let Some(lane) = self.lanes.get_mut(receiver) {
            lane.busy = false;
        }
    }

    /// What waits at these places.
    pub(super) fn at(&self, places: impl Fn(u64) -> bool) -> Vec<(u64, Arc<Notification>)> {
        let entries = self.lanes.values().flat_map(|lane| &lane.entries);
        entries
            .filter(|entry| places(entry.place))
            .map(|entry| (entry.place, Arc::clone(&entry.notification)))
            .collect()
    }

    pub(super) fn counts(&self, receiver: &str) -> Counts {
        self.lanes.get(receiver).map_or_else(Counts::default, |lane| Counts {
            waiting: lane.entries.len(),
            superseded: lane.superseded,
            dropped: lane.dropped,
        })
    }
}

impl Lane {
    /// Entries stand in the order of their places, but for the first, which may be being delivered.
    fn has(&self, place: u64) -> bool {
        let found = self.entries.binary_search_by_key(&place, |entry| entry.place);
        found.is_ok() || self.entries.front().is_some_and(|entry| entry.place == place)
    }

    /// Drops the oldest that are not being delivered, until the rest is within bounds.
    fn shrink(&mut self, gone: &mut Vec<u64>) {
        let keep = usize::from(self.busy) + 1;
        while self.entries.len() > keep && (self.entries.len() > WAITING || self.bytes > self.bounds.waiting_bytes) {
            let Some(entry) = self.entries.remove(keep - 1) else {
                break;
            };
            self.bytes -= entry.bytes;
            self.dropped += 1;
            gone.push(entry.place);
        }
    }
}

/// One notification that tells all that two of the same group tell; `None` if only both do.
///
/// An alert of the older one that the newer one does not list is kept if it is resolved: that is news still. One that
/// fired in the older one and is resolved in the newer one tells both: it says when it fired and when it ended. But one
/// that was resolved and fires again is two pieces of news.
fn merge(older: &Notification, newer: &Notification, most: usize) -> Option<Notification> {
    let mut merged = newer.clone();
    let named: HashMap<&str, &Alert> = newer.alerts.iter().map(|alert| (alert.id.as_str(), alert)).collect();
    for alert in &older.alerts {
        let over = alert.state == State::Resolved;
        let Some(&other) = named.get(alert.id.as_str()) else {
            // One that fired and is not listed any more is silenced, or one of those that are only counted.
            if over {
                merged.alerts.push(alert.clone());
            }
            continue;
        };
        let fired = (alert.fired_wall_ns, other.fired_wall_ns);
        let fired_twice = fired.0.is_some() && fired.1.is_some() && fired.0 != fired.1;
        if fired_twice || (over && other != alert) {
            return None;
        }
    }
    if merged.alerts.len() > most {
        return None;
    }
    merged.reason = match (older.reason, newer.reason) {
        // The receiver has not heard of the group yet, or not that it is escalated.
        (Reason::New | Reason::Escalated, Reason::Changed | Reason::Repeated) => older.reason,
        (Reason::Changed, Reason::Repeated) => Reason::Changed,
        (_, reason) => reason,
    };
    Some(merged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::sample;

    fn queue() -> Queue {
        let mut queue = Queue::default();
        queue.set_receivers(&["a", "b"].map(usual));
        queue
    }

    fn usual(name: &str) -> (&str, Bounds) {
        (name, Bounds::LISTED)
    }

    #[test]
    fn what_is_to_have_all_keeps_all_of_a_group() {
        let mut queue = Queue::default();
        queue.set_receivers(&[("a", Bounds::ALL)]);
        let mut large = sample::firing("a", "shop", 0);
        large.alerts = (0..1_999).map(sample::firing_alert).collect();
        queue.push(large.clone(), 0);
        large.reason = Reason::Repeated;
        large.alerts.pop();
        large.alerts.push(sample::resolved_alert(1_998));
        large.alerts.push(sample::firing_alert(5_000));
        queue.push(large.clone(), 1);
        large.reason = Reason::New;
        assert_eq!(queue.counts("a").superseded, 1);
        assert_eq!(waiting(&mut queue, "a"), [large]);
    }

    fn waiting(queue: &mut Queue, receiver: &str) -> Vec<Notification> {
        let mut all = Vec::new();
        while let Some(entry) = queue.begin(receiver) {
            all.push((*entry.notification).clone());
            assert!(queue.finish(receiver, entry.place));
        }
        all
    }

    #[test]
    fn firing_and_then_resolved_becomes_one_that_tells_both() {
        let mut queue = queue();
        queue.push(sample::firing("a", "shop", 1), 0);
        queue.push(sample::resolved("a", "shop", 1), 1);
        assert_eq!(
            queue.counts("a"),
            Counts {
                waiting: 1,
                superseded: 1,
                dropped: 0
            }
        );
        let told = waiting(&mut queue, "a");
        assert_eq!(told, [sample::resolved("a", "shop", 1)]);
        assert_eq!(told[0].alerts[0].fired_wall_ns, Some(sample::AT_NS));
    }

    #[test]
    fn what_is_resolved_in_the_older_one_stays_told() {
        let mut queue = queue();
        queue.push(sample::resolved("a", "shop", 1), 0);
        queue.push(sample::firing("a", "shop", 2), 1);
        let told = waiting(&mut queue, "a");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].alerts, [sample::firing_alert(2), sample::resolved_alert(1)]);
        assert_eq!(told[0].reason, Reason::New);
    }

    #[test]
    fn what_fires_again_is_told_for_itself() {
        let mut again = sample::firing("a", "shop", 1);
        again.alerts[0].fired_wall_ns = Some(sample::AT_NS + 90);
        let mut over = sample::resolved("a", "shop", 1);
        over.alerts[0].fired_wall_ns = Some(sample::AT_NS + 90);
        let mut queue = queue();
        queue.push(sample::firing("a", "shop", 1), 0);
        queue.push(sample::resolved("a", "shop", 1), 1);
        queue.push(again, 2);
        queue.push(over.clone(), 3);
        assert_eq!(waiting(&mut queue, "a"), [sample::resolved("a", "shop", 1), over]);
    }

    #[test]
    fn a_reason_that_was_not_heard_is_kept() {
        let mut queue = queue();
        let mut more = sample::firing("a", "shop", 1);
        more.alerts.push(sample::firing_alert(2));
        more.reason = Reason::Changed;
        queue.push(sample::firing("a", "shop", 1), 0);
        queue.push(more.clone(), 1);
        more.reason = Reason::New;
        assert_eq!(waiting(&mut queue, "a"), [more]);
    }

    #[test]
    fn what_is_being_delivered_does_not_change() {
        let mut queue = queue();
        queue.push(sample::firing("a", "shop", 1), 0);
        let first = queue.begin("a").unwrap();
        queue.push(sample::resolved("a", "shop", 1), 1);
        assert_eq!(queue.counts("a").waiting, 2);
        assert!(queue.finish("a", first.place));
        assert_eq!(waiting(&mut queue, "a"), [sample::resolved("a", "shop", 1)]);
    }

    #[test]
    fn groups_and_receivers_do_not_supersede_each_other() {
        let mut queue = queue();
        for (receiver, group) in [("a", "x"), ("a", "y"), ("b", "x")] {
            queue.push(sample::firing(receiver, group, 1), 0);
        }
        assert_eq!((queue.counts("a").waiting, queue.counts("b").waiting), (2, 1));
        assert_eq!(queue.push(sample::firing("c", "x", 1), 0), None);
    }

    #[test]
    fn the_oldest_is_dropped_and_counted() {
        let mut queue = queue();
        for n in 0..WAITING as u64 {
            queue.push(sample::firing("a", &n.to_string(), n), 0);
        }
        let first = queue.begin("a").unwrap();
        let changed = queue.push(sample::firing("a", "last", 1), 0).unwrap();
        assert_eq!(
            changed,
            [WAITING as u64, 1],
            "the first is being delivered, so the second goes"
        );
        assert_eq!(
            queue.counts("a"),
            Counts {
                waiting: WAITING,
                superseded: 0,
                dropped: 1
            }
        );
        assert!(queue.finish("a", first.place));
    }

    #[test]
    fn many_large_ones_are_bounded_by_their_bytes() {
        let mut queue = queue();
        for n in 0..200 {
            let mut large = sample::firing("a", &n.to_string(), n);
            large.alerts = (0..50).map(sample::firing_alert).collect();
            for alert in &mut large.alerts {
                alert.message = "x".repeat(700);
            }
            queue.push(large, 0);
        }
        let lane = &queue.lanes["a"];
        assert!(
            lane.bytes <= lane.bounds.waiting_bytes && lane.bytes > lane.bounds.waiting_bytes - lane.bounds.bytes,
            "{}",
            lane.bytes
        );
        assert_eq!(lane.entries.len() as u64 + lane.dropped, 200);
    }

    #[test]
    fn a_receiver_that_goes_takes_along_what_waits() {
        let mut queue = queue();
        queue.push(sample::firing("a", "x", 1), 0);
        queue.push(sample::firing("b", "x", 1), 0);
        assert_eq!(queue.set_receivers(&["b", "c"].map(usual)), [0]);
        assert_eq!(queue.counts("b").waiting, 1);
        assert_eq!(queue.begin("a").map(|entry| entry.place), None);
    }

    /// A model of the alert engine: alerts of one group fire and end; each change is told with all that fires and what
    /// was resolved.
    fn history(steps: &[u8]) -> Vec<Notification> {
        let mut firing: Vec<Alert> = Vec::new();
        let mut told = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let (now, id) = (sample::AT_NS + at as u64 + 1, u64::from(step % 3));
            let quiet = firing.is_empty();
            let name = sample::firing_alert(id).id;
            let mut alerts = Vec::new();
            if let Some(known) = firing.iter().position(|alert| alert.id == name) {
                let mut over = firing.remove(known);
                over.state = State::Resolved;
                over.resolved_wall_ns = Some(now);
                alerts.push(over);
            } else {
                let mut alert = sample::firing_alert(id);
                alert.fired_wall_ns = Some(now);
                firing.push(alert);
            }
            let reason = match (quiet, firing.is_empty()) {
                (true, _) => Reason::New,
                (_, true) => Reason::Resolved,
                _ => Reason::Changed,
            };
            alerts.splice(0..0, firing.clone());
            told.push(Notification {
                receiver: "a".to_owned(),
                group: "shop".to_owned(),
                wall_ns: now,
                reason,
                alerts,
                more: 0,
            });
        }
        told
    }

    proptest! {
        #[test]
        fn every_firing_and_every_end_is_told_and_the_last_state_is_the_true_one(
            steps in prop::collection::vec(any::<u8>(), 1..60),
            deliveries in prop::collection::vec(any::<bool>(), 60),
        ) {
            let sent = history(&steps);
            let mut queue = queue();
            let mut told = Vec::new();
            for (notification, delivers) in sent.iter().zip(deliveries) {
                queue.push(notification.clone(), 0);
                if delivers && let Some(entry) = queue.begin("a") {
                    told.push((*entry.notification).clone());
                    queue.finish("a", entry.place);
                }
            }
            told.extend(waiting(&mut queue, "a"));
            let episodes = |told: &[Notification]| {
                let mut all: Vec<_> = told
                    .iter()
                    .flat_map(|told| &told.alerts)
                    .flat_map(|alert| [
                        (alert.id.clone(), alert.fired_wall_ns, None),
                        (alert.id.clone(), alert.fired_wall_ns, alert.resolved_wall_ns),
                    ])
                    .collect();
                all.sort();
                all.dedup();
                all
            };
            prop_assert_eq!(episodes(&told), episodes(&sent));
            let state = |told: &Notification| {
                let mut firing: Vec<_> = told.alerts.iter().filter(|a| a.state == State::Firing).cloned().collect();
                firing.sort_by(|a, b| a.id.cmp(&b.id));
                firing
            };
            prop_assert_eq!(told.last().map(state), sent.last().map(state));
        }
    }
}
