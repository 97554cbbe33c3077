//! Rolling windows, and the slots they are made of.
//!
//! Time is cut into slots of 10 s. Six closed ones are kept; when a minute is over, its slots are merged into one slot
//! of a minute, of which fifteen are kept; likewise twelve of five minutes and twelve of two hours; and a sum of all minutes
//! since the agent's start. A window is the closed slots of the coarsest size that fills it, the finer slots
//! since that size's last boundary, and the running slot. So a window covers at least its nominal length (or everything
//! since the start), and at most one slot of its size more: [`WindowView::covered_ns`](super::WindowView::covered_ns)
//! tells how much it really is.
//!
//! | window | slots | covers |
//! |---|---|---|
//! | 1m | 6 x 10 s | 60 to 70 s |
//! | 5m, 15m | 5, 15 x 1 min | 5 to 6 min, 15 to 16 min |
//! | 1h | 12 x 5 min | 60 to 65 min |
//! | 24h | 12 x 2 h | 24 to 26 h |
//! | start | all | everything |
//!
//! Where a history is kept on disk ([`crate::history`]), windows go on across restarts: `start` then is the first
//! observation that is still remembered, and time in which no agent ran ([`Gaps`](super::gaps::Gaps)) is not covered. What
//! was remembered is a sum of its own, so what this agent counted is told without it: never by subtraction.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use super::slot::Slot;

/// Nanoseconds of a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// How far back to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Window {
    /// The last minute.
    Minute,
    /// The last five minutes.
    #[default]
    FiveMinutes,
    /// The last quarter of an hour.
    FifteenMinutes,
    /// The last hour.
    Hour,
    /// The last day.
    Day,
    /// Since observation began, or since the first one that is still remembered.
    Start,
}

impl Window {
    /// All windows, shortest first.
    pub const ALL: [Self; 6] = [
        Self::Minute,
        Self::FiveMinutes,
        Self::FifteenMinutes,
        Self::Hour,
        Self::Day,
        Self::Start,
    ];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::FifteenMinutes => "15m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Start => "start",
        }
    }

    /// The window of a word of the API.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.name() == name)
    }

    /// Size of its slots, and how many closed ones it takes. `None`: all.
    fn slots(self) -> Option<(Size, u64)> {
        match self {
            Self::Minute => Some((Size::TenSeconds, 6)),
            Self::FiveMinutes => Some((Size::Minute, 5)),
            Self::FifteenMinutes => Some((Size::Minute, 15)),
            Self::Hour => Some((Size::FiveMinutes, 12)),
            Self::Day => Some((Size::TwoHours, 12)),
            Self::Start => None,
        }
    }

    /// Where the window begins if it ends at `at_ns` and observation began at `started_ns`.
    pub fn from_ns(self, at_ns: u64, started_ns: u64) -> u64 {
        self.slots().map_or(started_ns, |(size, count)| {
            (size.number(at_ns).saturating_sub(count) * size.length_ns()).max(started_ns)
        })
    }
}

/// Sizes of slots, finest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Size {
    TenSeconds,
    Minute,
    FiveMinutes,
    TwoHours,
}

impl Size {
    /// Finest first.
    pub(crate) const ALL: [Self; 4] = [Self::TenSeconds, Self::Minute, Self::FiveMinutes, Self::TwoHours];

    pub(crate) fn length_ns(self) -> u64 {
        SECOND_NS
            * match self {
                Self::TenSeconds => 10,
                Self::Minute => 60,
                Self::FiveMinutes => 300,
                Self::TwoHours => 7200,
            }
    }

    /// The finest size of which enough is kept to go back this far.
    pub(crate) fn reaching_back(from_ns: u64, at_ns: u64) -> Self {
        Self::ALL
            .into_iter()
            .find(|size| size.number(from_ns) + size.kept() >= size.number(at_ns))
            .unwrap_or(Self::TwoHours)
    }

    /// Closed slots kept.
    pub(crate) fn kept(self) -> u64 {
        match self {
            Self::TenSeconds => 6,
            Self::Minute => 15,
            Self::FiveMinutes | Self::TwoHours => 12,
        }
    }

    /// Number of the slot that a moment lies in.
    pub(crate) fn number(self, at_ns: u64) -> u64 {
        at_ns / self.length_ns()
    }
}

/// A closed slot in compact form; shared with snapshots and, where only one slot had anything in it, with the coarser
/// slot.
pub(crate) type Closed = Arc<[u8]>;

/// What is counted in one stretch of time, and adds up.
pub(crate) trait Stretch {
    /// Adds another stretch.
    fn merge(&mut self, other: &Self);
    /// The compact form.
    fn pack(&self) -> Closed;
    /// Reads the compact form back.
    fn unpack(bytes: &[u8]) -> Self;
    /// True if slots are to be in the sum since the agent's start as soon as they close, and not a minute at a time, which
    /// costs a sixth. Sums of numbers with fractions depend on the order: in any other one they could fall by a rounding,
    /// and whoever takes them for counters would see them begin anew.
    const SUMMED_AT_ONCE: bool = false;
}

/// The closed slots of one aggregate. Slots in which nothing happened are not there.
#[derive(Clone, Debug)]
pub(crate) struct History<S = Slot> {
    /// Per size: number and slot, oldest first.
    rings: [VecDeque<(u64, Closed)>; 4],
    /// The closed five-minute slots of the running two hours, summed: twelve of them do not reach back that far.
    running: Option<Closed>,
    /// Everything that closed since the agent's start, summed; of the running minute, what closed is in it if this says so.
    own: Option<Closed>,
    own_has_minute: bool,
    /// Everything that was remembered of earlier runs, summed.
    earlier: Option<Closed>,
    slots: PhantomData<S>,
}

impl<S: Stretch> Default for History<S> {
    fn default() -> Self {
        Self {
            rings: Default::default(),
            running: None,
            own: None,
            own_has_minute: S::SUMMED_AT_ONCE,
            earlier: None,
            slots: PhantomData,
        }
    }
}

impl<S: Stretch> History<S> {
    fn ring(&self, size: Size) -> &VecDeque<(u64, Closed)> {
        &self.rings[size as usize]
    }

    /// Adds the ten-second slot that was running until now; to what is remembered of it, if the agent was restarted in it.
    pub(crate) fn close(&mut self, number: u64, slot: &S) {
        let ring = &mut self.rings[Size::TenSeconds as usize];
        if self.own_has_minute {
            self.own = Some(match &self.own {
                Some(own) => {
                    let mut sum = S::unpack(own);
                    sum.merge(slot);
                    sum.pack()
                }
                None => slot.pack(),
            });
        }
        if let Some((newest, closed)) = ring.back_mut()
            && *newest == number
        {
            let mut sum = S::unpack(closed);
            sum.merge(slot);
            *closed = sum.pack();
        } else {
            ring.push_back((number, slot.pack()));
        }
    }

    /// The closed slots of one size from this number on, oldest first.
    pub(crate) fn closed_since(&self, size: Size, number: u64) -> impl Iterator<Item = &(u64, Closed)> {
        self.ring(size).iter().filter(move |(other, _)| *other >= number)
    }

    /// As it was at this moment, of slots that were kept: by size and number, in order. All of it is of earlier runs.
    pub(crate) fn of_kept<'a>(slots: impl Iterator<Item = (Size, u64, &'a Closed)>, at_ns: u64) -> Self {
        let mut this = Self::default();
        let mut before = Vec::new();
        for (size, number, slot) in slots {
            let newest = size.number(at_ns);
            // Of these two sizes the running one is kept, too.
            match size {
                Size::TenSeconds if number <= newest => {}
                Size::TwoHours if number == newest => {
                    this.running = Some(Arc::clone(slot));
                    continue;
                }
                _ if number < newest => {}
                _ => continue,
            }
            if size == Size::TwoHours {
                before.push(slot);
            }
            if number + size.kept() >= newest {
                this.rings[size as usize].push_back((number, Arc::clone(slot)));
            }
        }
        before.extend(this.running_parts(Size::TwoHours, at_ns));
        this.earlier = merge::<S>(before.into_iter());
        // What closed of the running minute is not all of this run, so it cannot be added as a whole when the minute ends.
        this.own_has_minute = true;
        this
    }

    /// The sum of the closed five-minute slots of the running two hours.
    pub(crate) fn running_hours(&self) -> Option<&Closed> {
        self.running.as_ref()
    }

    /// True if going from one moment to a later one changes anything.
    pub(crate) fn is_due(&self, from_ns: u64, to_ns: u64) -> bool {
        let turned = |size: Size| size.number(from_ns) != size.number(to_ns);
        Size::ALL.into_iter().any(|size| {
            self.ring(size)
                .front()
                .is_some_and(|&(oldest, _)| oldest + size.kept() < size.number(to_ns))
                || match size {
                    Size::TenSeconds => false,
                    Size::Minute => turned(size) && self.has(Size::TenSeconds, size, from_ns),
                    Size::FiveMinutes => turned(size) && self.has(Size::Minute, size, from_ns),
                    Size::TwoHours => turned(size) && self.running.is_some(),
                }
        })
    }

    /// Are there slots of size `fine` within the slot of size `coarse` around this moment?
    fn has(&self, fine: Size, coarse: Size, at_ns: u64) -> bool {
        self.within(fine, coarse, at_ns).next().is_some()
    }

    fn within(&self, fine: Size, coarse: Size, at_ns: u64) -> impl Iterator<Item = &Closed> {
        let ratio = coarse.length_ns() / fine.length_ns();
        let wanted = coarse.number(at_ns);
        self.ring(fine)
            .iter()
            .filter(move |(number, _)| number / ratio == wanted)
            .map(|(_, slot)| slot)
    }

    /// Goes from one moment to a later one: merges what is complete into coarser slots, and drops what no window needs.
    /// Its cost does not depend on how much time went by.
    pub(crate) fn roll(&mut self, from_ns: u64, to_ns: u64) {
        for (fine, coarse) in [(Size::TenSeconds, Size::Minute), (Size::Minute, Size::FiveMinutes)] {
            if coarse.number(from_ns) != coarse.number(to_ns)
                && let Some(merged) = merge::<S>(self.within(fine, coarse, from_ns))
            {
                if coarse == Size::FiveMinutes {
                    self.running = merge::<S>(self.running.iter().chain([&merged]));
                } else if !self.own_has_minute {
                    self.own = merge::<S>(self.own.iter().chain([&merged]));
                }
                self.rings[coarse as usize].push_back((coarse.number(from_ns), merged));
            }
        }
        if Size::Minute.number(from_ns) != Size::Minute.number(to_ns) {
            self.own_has_minute = S::SUMMED_AT_ONCE;
        }
        if Size::TwoHours.number(from_ns) != Size::TwoHours.number(to_ns)
            && let Some(two_hours) = self.running.take()
        {
            self.rings[Size::TwoHours as usize].push_back((Size::TwoHours.number(from_ns), two_hours));
        }
        for size in Size::ALL {
            let ring = &mut self.rings[size as usize];
            while ring
                .front()
                .is_some_and(|&(oldest, _)| oldest + size.kept() < size.number(to_ns))
            {
                ring.pop_front();
            }
        }
    }

    /// The closed slots that make up a window which ends at `at_ns`.
    pub(crate) fn of_window(&self, window: Window, at_ns: u64) -> Vec<&Closed> {
        let Some((size, count)) = window.slots() else {
            return self.earlier.iter().chain(self.since_agent_start(at_ns)).collect();
        };
        let oldest = size.number(at_ns).saturating_sub(count);
        self.closed_since(size, oldest)
            .map(|(_, slot)| slot)
            .chain(self.running_parts(size, at_ns))
            .collect()
    }

    /// What closed since the agent's start: the sum of it, and what is not yet in there.
    pub(crate) fn since_agent_start(&self, at_ns: u64) -> impl Iterator<Item = &Closed> {
        let newest = self.within(Size::TenSeconds, Size::Minute, at_ns);
        self.own.iter().chain(newest.filter(|_| !self.own_has_minute))
    }

    /// The closed finer slots that make up the running slot of a size.
    fn running_parts(&self, size: Size, at_ns: u64) -> Vec<&Closed> {
        let mut slots = Vec::new();
        if size == Size::TwoHours {
            slots.extend(&self.running);
        }
        if size >= Size::FiveMinutes {
            slots.extend(self.within(Size::Minute, Size::FiveMinutes, at_ns));
        }
        if size >= Size::Minute {
            slots.extend(self.within(Size::TenSeconds, Size::Minute, at_ns));
        }
        slots
    }

    /// The closed slots of one size, and the finer ones that make up its running slot: number of the slot of that size,
    /// and a part of it. Not ordered.
    pub(crate) fn of_size(&self, size: Size, at_ns: u64) -> Vec<(u64, &Closed)> {
        let mut slots: Vec<_> = self.ring(size).iter().map(|(number, slot)| (*number, slot)).collect();
        let running = size.number(at_ns);
        slots.extend(self.running_parts(size, at_ns).into_iter().map(|slot| (running, slot)));
        slots
    }

    /// Adds another aggregate's history; both were rolled to this moment.
    pub(crate) fn merge(&mut self, other: &Self, at_ns: u64) {
        if self.own_has_minute == other.own_has_minute {
            self.own = merge::<S>(self.own.iter().chain(&other.own));
        } else {
            self.own = merge::<S>(self.since_agent_start(at_ns).chain(other.since_agent_start(at_ns)));
            self.own_has_minute = true;
        }
        self.earlier = merge::<S>(self.earlier.iter().chain(&other.earlier));
        for (mine, theirs) in self.rings.iter_mut().zip(&other.rings) {
            for (number, slot) in theirs {
                match mine.binary_search_by_key(number, |(number, _)| *number) {
                    Ok(place) => {
                        if let Some(merged) = merge::<S>([&mine[place].1, slot].into_iter()) {
                            mine[place].1 = merged;
                        }
                    }
                    Err(place) => mine.insert(place, (*number, Arc::clone(slot))),
                }
            }
        }
        self.running = merge::<S>(self.running.iter().chain(&other.running));
    }

    /// Heap bytes held, as if nothing were shared.
    pub(crate) fn heap_bytes(&self) -> usize {
        // Two counters stand before the bytes of an `Arc<[u8]>`.
        let closed = |slot: &Closed| slot.len() + 2 * size_of::<usize>();
        self.rings
            .iter()
            .map(|ring| {
                ring.capacity() * size_of::<(u64, Closed)>() + ring.iter().map(|(_, slot)| closed(slot)).sum::<usize>()
            })
            .sum::<usize>()
            + [&self.running, &self.own, &self.earlier]
                .into_iter()
                .flatten()
                .map(closed)
                .sum::<usize>()
    }
}

/// The sum of slots; shares the slot if there is only one.
fn merge<'a, S: Stretch>(mut slots: impl Iterator<Item = &'a Closed>) -> Option<Closed> {
    let first = slots.next()?;
    let Some(second) = slots.next() else {
        return Some(Arc::clone(first));
    };
    let mut sum = S::unpack(first);
    sum.merge(&S::unpack(second));
    slots.for_each(|slot| sum.merge(&S::unpack(slot)));
    Some(sum.pack())
}
