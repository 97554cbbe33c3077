//! What an aggregate gives away to be stored, and how it is made again of it.
//!
//! What is stored mirrors the rings in memory: the closed slots in their compact form, and the running one. A restored
//! aggregate is what the stored one was at the last moment stored, and then time goes on; what it was asked of while no
//! agent ran is not covered ([`Gaps`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::packing::{Reader, put};
use super::slot::Slot;
use super::window::{Closed, History, Size, Stretch};
use super::{Aggregate, Distribution, Gaps, Running, Seconds};
use crate::exchange::Role;

/// The slots of one aggregate that were kept, by size and number.
#[derive(Clone, Debug, Default)]
pub struct StoredSlots {
    slots: BTreeMap<(Size, u64), Closed>,
}

impl StoredSlots {
    /// Adds a slot in compact form; to what is there, if it was that of an endpoint that became this one. False if the
    /// bytes are none.
    pub(crate) fn add(&mut self, size: Size, number: u64, bytes: &[u8]) -> bool {
        let Some(slot) = Slot::checked(bytes) else {
            return false;
        };
        self.slots
            .entry((size, number))
            .and_modify(|there| {
                let mut sum = Slot::unpack(there);
                sum.merge(&slot);
                *there = sum.pack();
            })
            .or_insert_with(|| Arc::from(bytes));
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What is kept of the five minutes that were running at this moment; `None` if nothing happened.
    pub(crate) fn five_minutes(&self, at_ns: u64) -> Option<Lean> {
        let within = |size: Size, coarse: Size| {
            let ratio = coarse.length_ns() / size.length_ns();
            let first = coarse.number(at_ns) * ratio;
            self.slots.range((size, first)..(size, first + ratio))
        };
        let minutes = within(Size::Minute, Size::FiveMinutes);
        let mut slots = minutes.chain(within(Size::TenSeconds, Size::Minute));
        let mut sum = Lean::of_slot(slots.next()?.1);
        slots.for_each(|(_, slot)| sum.merge(&Lean::of_slot(slot)));
        Some(sum)
    }
}

/// When an aggregate was stored, and when it goes on.
#[derive(Clone, Debug, Default)]
pub struct Interrupted {
    /// The first observation that is remembered.
    pub started_ns: u64,
    /// The last moment stored.
    pub until_ns: u64,
    /// When observation goes on.
    pub resumed_ns: u64,
    /// When no agent ran, up to `resumed_ns`.
    pub gaps: Gaps,
}

impl Aggregate {
    /// Of slots that were kept.
    pub fn restored(role: Role, slots: &StoredSlots, interrupted: &Interrupted) -> Self {
        let kept = slots.slots.iter().map(|(&(size, number), slot)| (size, number, slot));
        let mut this = Self {
            now_ns: interrupted.until_ns,
            in_flight: 0,
            streams_open: 0,
            changed: true,
            running: Running::default(),
            seconds: Seconds::default(),
            history: Arc::new(History::of_kept(kept, interrupted.until_ns)),
            started_ns: interrupted.started_ns,
            seconds_from_ns: interrupted.resumed_ns,
            gaps: interrupted.gaps.clone(),
            role,
        };
        this.advance(interrupted.resumed_ns);
        this
    }

    /// When no agent ran before this one was made.
    #[must_use]
    pub(crate) fn with_gaps(self, gaps: &Gaps, resumed_ns: u64) -> Self {
        Self {
            gaps: gaps.clone(),
            seconds_from_ns: self.seconds_from_ns.max(resumed_ns),
            ..self
        }
    }

    /// The closed slots of a size from this number on: number and compact form.
    pub(crate) fn closed_since(&self, size: Size, number: u64) -> impl Iterator<Item = &(u64, Closed)> {
        self.history.closed_since(size, number)
    }

    /// The newest slots of five minutes, those without anything included, and what there is of the running one; oldest
    /// first, by number.
    pub(crate) fn newest_five_minutes(&self) -> Vec<(u64, Lean)> {
        let size = Size::FiveMinutes;
        let newest = size.number(self.now_ns);
        let oldest = newest.saturating_sub(size.kept()).max(size.number(self.started_ns));
        let mut slots: BTreeMap<u64, Lean> = (oldest..=newest).map(|number| (number, Lean::default())).collect();
        for (number, closed) in self.history.of_size(size, self.now_ns) {
            if let Some(lean) = slots.get_mut(&number) {
                lean.merge(&Lean::of_slot(closed));
            }
        }
        if let (Some(lean), false) = (slots.get_mut(&newest), self.running.is_empty()) {
            lean.merge(&Lean::of(self.running.sorted(self.role)));
        }
        slots.into_iter().collect()
    }

    /// The first observation that is remembered.
    pub(crate) fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// What is closed of the running two hours, as a sum: number and compact form.
    pub(crate) fn running_hours(&self) -> Option<(u64, &Closed)> {
        Some((Size::TwoHours.number(self.now_ns), self.history.running_hours()?))
    }

    /// The running ten-second slot, with what is remembered of it: number and compact form; `None` if nothing happened.
    pub(crate) fn running(&self) -> Option<(u64, Closed)> {
        let number = Size::TenSeconds.number(self.now_ns);
        let before = self.history.closed_since(Size::TenSeconds, number).next();
        if self.running.is_empty() {
            return before.cloned();
        }
        let mut slot = self.running.sorted(self.role);
        if let Some((_, before)) = before {
            slot.merge(&Slot::unpack(before));
        }
        Some((number, slot.pack()))
    }
}

/// What is kept for longest of five minutes: enough for figures over time, and a third of what a slot takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lean {
    /// Exchanges that ended.
    pub(crate) requests: u64,
    /// Of them errors of the server.
    pub(crate) errors: u64,
    /// Likewise of the client.
    pub(crate) client_errors: u64,
    /// Of those that were answered.
    pub(crate) response_time: Distribution,
}

impl Lean {
    /// Of a slot in compact form.
    pub(crate) fn of_slot(bytes: &[u8]) -> Self {
        Self::of(Slot::unpack(bytes))
    }

    fn of(slot: Slot) -> Self {
        Self {
            requests: slot.requests(),
            errors: slot.errors,
            client_errors: slot.client_errors,
            response_time: slot.times.response_time,
        }
    }

    /// Adds another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.client_errors += other.client_errors;
        self.response_time.merge(&other.response_time);
    }

    /// The compact form.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        for count in [self.requests, self.errors, self.client_errors] {
            put(&mut out, count.into());
        }
        self.response_time.pack(&mut out);
        out
    }

    /// Of bytes that may be anything; `None` if they are not the compact form.
    pub(crate) fn checked(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let this = Self {
            requests: reader.count(),
            errors: reader.count(),
            client_errors: reader.count(),
            response_time: Distribution::unpack(&mut reader),
        };
        reader.is_sound().then_some(this)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::{ErrorRule, Window, WindowView, tests as aggregate_tests};

    const SECOND_NS: u64 = 1_000_000_000;
    const START_NS: u64 = 500_000 * 7200 * SECOND_NS + 4_321 * SECOND_NS;

    fn end(aggregate: &mut Aggregate, at_ns: u64, time_ns: u64) {
        aggregate.opened(at_ns - time_ns);
        let status = if time_ns.is_multiple_of(7) { 500 } else { 200 };
        aggregate.ended(&aggregate_tests::ended(at_ns, time_ns, status), &ErrorRule::default());
    }

    /// What a store holds that has been told once every few seconds.
    fn store(kept: &mut StoredSlots, aggregate: &Aggregate, since_ns: u64) {
        for size in Size::ALL {
            for (number, slot) in aggregate.closed_since(size, size.number(since_ns)) {
                kept.slots.insert((size, *number), Arc::clone(slot));
            }
        }
        if let Some((number, slot)) = aggregate.running_hours() {
            kept.slots.insert((Size::TwoHours, number), Arc::clone(slot));
        }
        if let Some((number, slot)) = aggregate.running() {
            kept.slots.insert((Size::TenSeconds, number), slot);
        }
    }

    fn check_same(restored: &Aggregate, never_restarted: &Aggregate, at_ns: u64) -> Result<(), TestCaseError> {
        for window in Window::ALL {
            let (a, b) = (restored.window(window, at_ns), never_restarted.window(window, at_ns));
            prop_assert_eq!(&a.response_time, &b.response_time, "{:?}", window);
            prop_assert_eq!(&a.time_to_first_byte, &b.time_to_first_byte);
            prop_assert_eq!(&a.processing, &b.processing);
            prop_assert_eq!(&a.queue_time, &b.queue_time);
            prop_assert_eq!(&a.statuses, &b.statuses);
            prop_assert_eq!(
                (
                    a.requests,
                    a.errors,
                    a.outcomes,
                    a.bytes_received,
                    a.bytes_sent,
                    a.from_ns,
                    a.covered_ns
                ),
                (
                    b.requests,
                    b.errors,
                    b.outcomes,
                    b.bytes_received,
                    b.bytes_sent,
                    b.from_ns,
                    b.covered_ns
                )
            );
            prop_assert_eq!(
                restored.latency_series(window, at_ns),
                never_restarted.latency_series(window, at_ns)
            );
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_restored_aggregate_shows_what_one_that_never_restarted_does(
            steps in prop::collection::vec((prop_oneof![4 => 0..5 * SECOND_NS, 3 => 0..200 * SECOND_NS, 1 => 0..9000 * SECOND_NS], 1..SECOND_NS, prop::bool::weighted(0.2)), 1..200),
        ) {
            let mut never = Aggregate::new(Role::Server, START_NS);
            let (mut restored, mut fresh) = (never.clone(), never.clone());
            let mut kept = StoredSlots::default();
            let (mut now_ns, mut stored_ns) = (START_NS + SECOND_NS, START_NS);
            for (wait_ns, time_ns, restart) in steps {
                now_ns += wait_ns;
                for aggregate in [&mut never, &mut restored, &mut fresh] {
                    aggregate.advance(now_ns);
                    end(aggregate, now_ns, time_ns);
                }
                prop_assert_eq!(restored.since_agent_start(now_ns), fresh.since_agent_start(now_ns));
                store(&mut kept, &restored, stored_ns);
                stored_ns = now_ns;
                if restart {
                    let interrupted = Interrupted {
                        started_ns: START_NS,
                        until_ns: now_ns,
                        resumed_ns: now_ns,
                        gaps: Gaps::default(),
                    };
                    restored = Aggregate::restored(Role::Server, &kept, &interrupted);
                    fresh = Aggregate::new(Role::Server, now_ns);
                    check_same(&restored, &never, now_ns)?;
                    prop_assert_eq!(restored.since_agent_start(now_ns), None);
                }
            }
            check_same(&restored, &never, now_ns)?;
            // Asked about a moment of which it was not told yet.
            for later_ns in [1, 10 * SECOND_NS, 60 * SECOND_NS, 9_000 * SECOND_NS] {
                let at_ns = now_ns + later_ns;
                prop_assert_eq!(restored.since_agent_start(at_ns), fresh.since_agent_start(at_ns));
            }
        }

        #[test]
        fn endpoints_that_become_one_add_up_whether_remembered_or_not(
            before in prop::collection::vec((0..100 * SECOND_NS, 1..SECOND_NS), 0..40),
            after in prop::collection::vec((0..40 * SECOND_NS, 1..SECOND_NS, 0..3usize), 0..60),
            down_ns in 0..100 * SECOND_NS,
            more in prop::collection::vec((0..40 * SECOND_NS, 1..SECOND_NS), 0..20),
        ) {
            let mut first = Aggregate::new(Role::Server, START_NS);
            let mut now_ns = START_NS + SECOND_NS;
            let mut kept = StoredSlots::default();
            for (wait_ns, time_ns) in before {
                now_ns += wait_ns;
                first.advance(now_ns);
                end(&mut first, now_ns, time_ns);
                store(&mut kept, &first, START_NS);
            }
            let interrupted = Interrupted {
                started_ns: START_NS,
                until_ns: now_ns,
                resumed_ns: now_ns + down_ns,
                gaps: Gaps::default(),
            };
            now_ns = interrupted.resumed_ns;
            let new = || Aggregate::new(Role::Server, START_NS).with_gaps(&interrupted.gaps, interrupted.resumed_ns);
            let restored = || Aggregate::restored(Role::Server, &kept, &interrupted);
            let (mut whole, mut parts, mut own) = (restored(), [restored(), new(), new()], new());
            for (wait_ns, time_ns, part) in after {
                now_ns += wait_ns;
                for aggregate in [&mut whole, &mut own, &mut parts[part]] {
                    aggregate.advance(now_ns);
                    end(aggregate, now_ns, time_ns);
                }
            }
            // Into one that is remembered, and the other way round.
            let [a, b, c] = parts;
            let (mut one, mut other) = (a.clone(), c.clone());
            one.merge(b.clone());
            one.merge(c);
            other.merge(a);
            other.merge(b);
            let mut together = [one, other, whole, own];
            for (wait_ns, time_ns) in more {
                now_ns += wait_ns;
                for aggregate in &mut together {
                    aggregate.advance(now_ns);
                    end(aggregate, now_ns, time_ns);
                }
            }
            let sums = |view: WindowView| {
                (view.requests, view.errors, view.statuses, view.outcomes, view.bytes_sent, view.response_time, view.from_ns)
            };
            let [one, other, whole, own] = together;
            for merged in [one, other] {
                prop_assert_eq!(merged.since_agent_start(now_ns).map(sums), own.since_agent_start(now_ns).map(sums));
                for window in Window::ALL {
                    prop_assert_eq!(sums(merged.window(window, now_ns)), sums(whole.window(window, now_ns)), "{:?}", window);
                }
            }
        }

        #[test]
        fn no_bytes_whatever_make_reading_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(slot) = Slot::checked(&bytes) {
                // Whatever passes adds up like any other.
                let mut sum = slot.clone();
                (0..100).for_each(|_| sum.merge(&slot));
                prop_assert!(Slot::checked(&slot.pack()).is_some());
            }
            if let Some(lean) = Lean::checked(&bytes) {
                let mut sum = lean.clone();
                (0..100).for_each(|_| sum.merge(&lean));
                prop_assert_eq!(Lean::checked(&lean.pack()), Some(lean));
            }
        }

        #[test]
        fn a_slot_that_was_cut_or_changed_is_none_or_another_one(
            times in prop::collection::vec(1..SECOND_NS, 1..100),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
            with in 1..=255u8,
        ) {
            let mut aggregate = Aggregate::new(Role::Server, START_NS);
            for time_ns in &times {
                end(&mut aggregate, START_NS + SECOND_NS, *time_ns);
            }
            let (_, slot) = aggregate.running().expect("something happened");
            prop_assert!(Slot::checked(&slot).is_some());
            prop_assert!(Slot::checked(&slot[..cut.index(slot.len())]).is_none());
            let mut changed = slot.to_vec();
            let at = flip.index(changed.len());
            changed[at] ^= with;
            if let Some(slot) = Slot::checked(&changed) {
                let mut sum = slot.clone();
                sum.merge(&slot);
                prop_assert!(sum.times.response_time.summary().is_none_or(|summary| summary.min_ns <= summary.max_ns));
            }
        }
    }

    #[test]
    fn time_in_which_no_agent_ran_is_not_covered_and_has_no_points() {
        let mut before = Aggregate::new(Role::Server, START_NS);
        end(&mut before, START_NS + SECOND_NS, 1000);
        before.advance(START_NS + 100 * SECOND_NS);
        let mut kept = StoredSlots::default();
        store(&mut kept, &before, START_NS);
        let until_ns = START_NS + 100 * SECOND_NS;
        let resumed_ns = START_NS + 1_900 * SECOND_NS;
        let interrupted = Interrupted {
            started_ns: START_NS,
            until_ns,
            resumed_ns,
            gaps: Gaps::between(&[(START_NS, until_ns), (resumed_ns, resumed_ns)]),
        };
        let restored = Aggregate::restored(Role::Server, &kept, &interrupted);
        let at_ns = resumed_ns + 100 * SECOND_NS;
        let view = restored.window(Window::Start, at_ns);
        assert_eq!(
            (view.requests, view.covered_ns, view.average_rps),
            (1, 200 * SECOND_NS, Some(0.005))
        );
        let trend = restored.throughput_trend(Window::Hour, at_ns);
        assert_eq!(trend.iter().map(|point| point.requests).sum::<u64>(), 1);
        assert_eq!(
            trend.iter().map(|point| point.observed_ns).sum::<u64>(),
            200 * SECOND_NS
        );
        assert!(trend.iter().all(|point| point.observed_ns > 0));
        let seconds = restored.throughput_trend(Window::Minute, resumed_ns + 5 * SECOND_NS);
        assert_eq!(seconds.len(), 5, "seconds before the restart are not known");
    }

    #[test]
    fn a_lean_slot_has_what_the_whole_one_has() {
        let mut aggregate = Aggregate::new(Role::Server, START_NS);
        for time_ns in 1..100 {
            end(&mut aggregate, START_NS + SECOND_NS, time_ns * 1_000_000);
        }
        let (_, slot) = aggregate.running().expect("something happened");
        let lean = Lean::of_slot(&slot);
        let view = aggregate.window(Window::Minute, START_NS + SECOND_NS);
        assert_eq!((lean.requests, lean.errors), (view.requests, view.errors));
        assert_eq!(lean.response_time, view.response_time);
        let bytes = lean.pack();
        assert_eq!(Lean::checked(&bytes), Some(lean));
        assert_eq!(Lean::checked(&bytes[1..]), None);
    }
}
