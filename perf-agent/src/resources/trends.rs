//! How resources went over time: slots of ten seconds for about an hour, of five minutes for about a day, in memory.
//!
//! A slot has the mean of the readings in it and the greatest one. Slots are stretches of wall-clock time; when that is
//! set back, what lies ahead of it is dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::growth::{Growth, MemoryTrend};
use super::{Resources, ServiceUse};
use crate::aggregate::Window;
use crate::process::ServiceKey;

/// Services whose trends are kept, at most 40 KB each. Of more, those that came first.
pub const TRENDS: usize = 256;

/// Points of a trend at most: neighbours are merged.
pub const TREND_POINTS: usize = 120;

const SECOND_NS: u64 = 1_000_000_000;

/// A window of an hour covers up to 65 minutes, one of a day up to 26 hours.
const FINE: (u64, usize) = (10 * SECOND_NS, 390);
const COARSE: (u64, usize) = (300 * SECOND_NS, 312);

/// A service that is gone is forgotten after a day.
const FORGOTTEN_NS: u64 = 86_400 * SECOND_NS;

/// Mean and greatest figure of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The mean of the readings.
    pub mean: f64,
    /// The greatest of them.
    pub max: f64,
}

/// The host over one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostPoint {
    /// Begin of the stretch, nanoseconds since 1970.
    pub wall_ns: u64,
    /// Share of all processors' time that was not idle.
    pub cpu_usage: Option<Level>,
    /// Share of memory that was not available.
    pub memory_usage: Option<Level>,
}

/// A service over one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServicePoint {
    /// Begin of the stretch, nanoseconds since 1970.
    pub wall_ns: u64,
    /// Processors' worth of time.
    pub cpu_cores: Option<Level>,
    /// Resident memory.
    pub resident_bytes: Option<Level>,
    /// Memory as a share of what it may take.
    pub memory_usage: Option<Level>,
    /// Threads.
    pub threads: Option<Level>,
    /// Open files of the process that is nearest to its limit.
    pub open_files: Option<Level>,
}

/// The trends of the host and of its services.
#[derive(Clone, Debug)]
pub struct Trends {
    host: Track<2>,
    host_growth: Growth,
    services: HashMap<Arc<ServiceKey>, ServiceTrack>,
    /// The newest reading.
    wall_ns: u64,
    not_kept: usize,
}

#[derive(Clone, Debug)]
struct ServiceTrack {
    track: Track<5>,
    growth: Growth,
    last_wall_ns: u64,
}

impl Default for Trends {
    fn default() -> Self {
        Self {
            host: Track::new(),
            host_growth: Growth::default(),
            services: HashMap::new(),
            wall_ns: 0,
            not_kept: 0,
        }
    }
}

impl Trends {
    /// Adds what the host and its services took.
    pub fn add(&mut self, resources: &Resources) {
        let wall_ns = resources.wall_ns;
        self.wall_ns = wall_ns;
        let host = &resources.host;
        self.host.add(wall_ns, [host.cpu_usage, host.memory_usage]);
        if let Some((total, available)) = host.memory_total_bytes.zip(host.memory_available_bytes) {
            self.host_growth
                .add(wall_ns, total.saturating_sub(available), Some(total), None);
        }
        self.services.retain(|_, service| {
            // The clock may have been set back.
            wall_ns.abs_diff(service.last_wall_ns) <= FORGOTTEN_NS
        });
        self.not_kept = 0;
        for service in &resources.services {
            self.add_service(wall_ns, service);
        }
    }

    fn add_service(&mut self, wall_ns: u64, now: &ServiceUse) {
        if !self.services.contains_key(&now.service) && self.services.len() >= TRENDS && !self.forget_one(wall_ns) {
            self.not_kept += 1;
            return;
        }
        let service = self
            .services
            .entry(Arc::clone(&now.service))
            .or_insert_with(|| ServiceTrack {
                track: Track::new(),
                growth: Growth::default(),
                last_wall_ns: wall_ns,
            });
        service.last_wall_ns = wall_ns;
        let figures = [
            now.cpu_cores,
            now.resident_bytes.map(|bytes| bytes as f64),
            now.memory_usage,
            now.threads.map(f64::from),
            now.open_files.map(f64::from),
        ];
        service.track.add(wall_ns, figures);
        let limited = now
            .group
            .as_ref()
            .and_then(|group| Some((group.memory_bytes?, group.memory_limit_bytes)))
            .filter(|(_, limit)| limit.is_some());
        if let Some((bytes, limit)) = limited.or(now.resident_bytes.map(|bytes| (bytes, None))) {
            service.growth.add(wall_ns, bytes, limit, now.started_wall_ns);
        }
    }

    /// Forgets the service that has been gone for longest, if any is gone.
    fn forget_one(&mut self, wall_ns: u64) -> bool {
        let gone = self
            .services
            .iter()
            .map(|(key, service)| (wall_ns.abs_diff(service.last_wall_ns), key))
            // One of this reading's may not have had its turn yet.
            .filter(|(silent_ns, _)| *silent_ns > FINE.0 * 6)
            .max_by_key(|(silent_ns, _)| *silent_ns)
            .map(|(_, key)| Arc::clone(key));
        gone.is_some_and(|key| self.services.remove(&key).is_some())
    }

    /// Services of the newest reading whose trends are not kept.
    pub fn not_kept(&self) -> usize {
        self.not_kept
    }

    /// The host over a window that ends with the newest reading: oldest first, at most [`TREND_POINTS`].
    pub fn host(&self, window: Window) -> Vec<HostPoint> {
        let points = self.host.points(window, self.wall_ns);
        points
            .into_iter()
            .map(|(wall_ns, [cpu_usage, memory_usage])| HostPoint {
                wall_ns,
                cpu_usage,
                memory_usage,
            })
            .collect()
    }

    /// A service, likewise.
    pub fn service(&self, key: &ServiceKey, window: Window) -> Vec<ServicePoint> {
        let Some(service) = self.services.get(key) else {
            return Vec::new();
        };
        let points = service.track.points(window, self.wall_ns);
        points
            .into_iter()
            .map(
                |(wall_ns, [cpu_cores, resident_bytes, memory_usage, threads, open_files])| ServicePoint {
                    wall_ns,
                    cpu_cores,
                    resident_bytes,
                    memory_usage,
                    threads,
                    open_files,
                },
            )
            .collect()
    }

    /// Whether the host's memory comes to an end, if there is a clear trend.
    pub fn host_memory(&self) -> Option<MemoryTrend> {
        self.host_growth.trend()
    }

    /// Whether a service's memory grows towards the limit of its control group, or, if that has none, at all.
    pub fn service_memory(&self, key: &ServiceKey) -> Option<MemoryTrend> {
        self.services.get(key)?.growth.trend()
    }
}

/// Some figures over time.
#[derive(Clone, Debug)]
struct Track<const N: usize> {
    fine: Ring<N>,
    coarse: Ring<N>,
}

impl<const N: usize> Track<N> {
    fn new() -> Self {
        Self {
            fine: Ring::new(FINE),
            coarse: Ring::new(COARSE),
        }
    }

    fn add(&mut self, wall_ns: u64, figures: [Option<f64>; N]) {
        self.fine.add(wall_ns, figures);
        self.coarse.add(wall_ns, figures);
    }

    fn points(&self, window: Window, wall_ns: u64) -> Vec<(u64, [Option<Level>; N])> {
        let long = matches!(window, Window::Day | Window::Start);
        // As long as the fine slots go back as far, they tell more.
        let ring = if long && self.fine.dropped {
            &self.coarse
        } else {
            &self.fine
        };
        ring.points(window.from_ns(wall_ns, 0))
    }
}

/// The newest slots of one length.
#[derive(Clone, Debug)]
struct Ring<const N: usize> {
    length_ns: u64,
    kept: usize,
    slots: VecDeque<Slot<N>>,
    /// Of the newest slot: what its means are of.
    sums: [f64; N],
    counts: [u32; N],
    /// Slots were dropped for newer ones.
    dropped: bool,
}

/// NaN is unknown. Seven digits are enough for a trend, and memory is scarce.
#[derive(Clone, Copy, Debug)]
struct Slot<const N: usize> {
    number: u64,
    mean: [f32; N],
    max: [f32; N],
}

impl<const N: usize> Ring<N> {
    fn new((length_ns, kept): (u64, usize)) -> Self {
        Self {
            length_ns,
            kept,
            slots: VecDeque::new(),
            sums: [0.0; N],
            counts: [0; N],
            dropped: false,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough")]
    fn add(&mut self, wall_ns: u64, figures: [Option<f64>; N]) {
        let number = wall_ns / self.length_ns;
        let before = self.slots.len();
        while self.slots.back().is_some_and(|slot| slot.number > number) {
            self.slots.pop_back();
        }
        if before != self.slots.len() || self.slots.back().is_none_or(|slot| slot.number != number) {
            // A slot that the clock came back to begins anew.
            self.slots.pop_back_if(|slot| slot.number == number);
            self.slots.push_back(Slot {
                number,
                mean: [f32::NAN; N],
                max: [f32::NAN; N],
            });
            (self.sums, self.counts) = ([0.0; N], [0; N]);
        }
        while self.slots.len() > self.kept
            || self
                .slots
                .front()
                .is_some_and(|slot| slot.number.saturating_add(self.kept as u64) <= number)
        {
            self.slots.pop_front();
            self.dropped = true;
        }
        let Some(slot) = self.slots.back_mut() else { return };
        for (index, figure) in figures.into_iter().enumerate() {
            let Some(figure) = figure.filter(|figure| figure.is_finite()) else {
                continue;
            };
            self.sums[index] += figure;
            self.counts[index] += 1;
            slot.mean[index] = (self.sums[index] / f64::from(self.counts[index])) as f32;
            // The maximum with NaN is the other.
            slot.max[index] = slot.max[index].max(figure as f32);
        }
    }

    fn points(&self, from_ns: u64) -> Vec<(u64, [Option<Level>; N])> {
        let first = from_ns / self.length_ns;
        let begin = self.slots.partition_point(|slot| slot.number < first);
        let slots = self.slots.range(begin..);
        // By stretches, not by slots kept: some may be missing. Boundaries stay where they are as time goes on.
        let stretch = match (self.slots.get(begin), self.slots.back()) {
            (Some(first), Some(last)) => (last.number - first.number + 1).div_ceil(TREND_POINTS as u64 - 1),
            _ => 1,
        };
        let mut points: Vec<(u64, Merged<N>)> = Vec::new();
        for slot in slots {
            let number = slot.number / stretch;
            match points.last_mut() {
                Some((last, merged)) if *last == number => merged.add(slot),
                _ => points.push((number, Merged::of(slot))),
            }
        }
        let length_ns = self.length_ns.saturating_mul(stretch);
        points
            .into_iter()
            .map(|(number, merged)| (number.saturating_mul(length_ns), merged.levels()))
            .collect()
    }
}

/// Neighbouring slots as one.
struct Merged<const N: usize> {
    sums: [f64; N],
    counts: [u32; N],
    max: [f64; N],
}

impl<const N: usize> Merged<N> {
    fn of(slot: &Slot<N>) -> Self {
        let mut merged = Self {
            sums: [0.0; N],
            counts: [0; N],
            max: [f64::NAN; N],
        };
        merged.add(slot);
        merged
    }

    fn add(&mut self, slot: &Slot<N>) {
        for index in 0..N {
            if !slot.mean[index].is_nan() {
                self.sums[index] += f64::from(slot.mean[index]);
                self.counts[index] += 1;
                self.max[index] = self.max[index].max(f64::from(slot.max[index]));
            }
        }
    }

    fn levels(&self) -> [Option<Level>; N] {
        std::array::from_fn(|index| {
            (self.counts[index] > 0).then(|| Level {
                mean: self.sums[index] / f64::from(self.counts[index]),
                max: self.max[index],
            })
        })
    }
}

#[cfg(test)]
mod tests;
