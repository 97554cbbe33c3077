//! Whether memory grows towards its limit: a trend that is clear enough to be told.
//!
//! Bytes are kept per minute, for an hour. The slope is the median of the slopes between all pairs of minutes (Theil and
//! Sen), which a few odd minutes do not move. It is told only if memory grew steadily and still does: garbage collectors
//! and caches that fill up make memory rise for a while, too.

use std::collections::VecDeque;

/// Minutes kept.
const MINUTES: usize = 60;

const MINUTE_NS: u64 = 60_000_000_000;

/// Minutes from the first to the last without which nothing is told.
const MINUTES_AT_LEAST: u32 = 14;

/// Minutes with figures without which nothing is told.
const FIGURES_AT_LEAST: usize = 12;

/// Share of memory, of the limit or of what is taken now, that it has to have grown by.
const GROWTH_AT_LEAST: f64 = 0.01;

/// Bytes that it has to have grown by.
const BYTES_AT_LEAST: f64 = 1_048_576.0;

/// How many more pairs of minutes have to go up than down, as a share of all.
const STEADY: f64 = 0.7;

/// How far the minutes may be off the line (their median), as a share of the whole growth.
const OFF_AT_MOST: f64 = 0.15;

/// How fast the last third has to grow, as a share of the whole slope.
const STILL: f64 = 0.5;

/// When the start of the oldest process differs by more, it is another one: the clock may be set a little meanwhile.
const SAME_START_NS: u64 = 2_000_000_000;

/// A clear trend of memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryTrend {
    /// How fast it grows.
    pub bytes_per_second: f64,
    /// Over how long that was seen.
    pub over_ns: u64,
    /// Newest figure.
    pub bytes: u64,
    /// The limit that it grows towards; `None` if it has none of its own.
    pub limit_bytes: Option<u64>,
    /// Time left until then, if it goes on like this.
    pub until_limit_ns: Option<u64>,
}

/// What somebody takes of memory, per minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth {
    minutes: VecDeque<Minute>,
    limit_bytes: Option<u64>,
    started_wall_ns: Option<u64>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    number: u64,
    sum: f64,
    count: u32,
}

impl Growth {
    /// One figure. With another limit, or of another process, it begins anew.
    pub(super) fn add(&mut self, wall_ns: u64, bytes: u64, limit_bytes: Option<u64>, started_wall_ns: Option<u64>) {
        let number = wall_ns / MINUTE_NS;
        let last = self.minutes.back().map(|minute| minute.number);
        let restarted = match (self.started_wall_ns, started_wall_ns) {
            (Some(before), Some(now)) => before.abs_diff(now) > SAME_START_NS,
            _ => false,
        };
        if limit_bytes != self.limit_bytes || restarted || last.is_some_and(|last| number < last) {
            self.minutes.clear();
        }
        self.limit_bytes = limit_bytes;
        self.started_wall_ns = started_wall_ns.or(self.started_wall_ns);
        self.bytes = bytes;
        match self.minutes.back_mut().filter(|minute| minute.number == number) {
            Some(minute) => {
                minute.sum += bytes as f64;
                minute.count += 1;
            }
            None => self.minutes.push_back(Minute {
                number,
                sum: bytes as f64,
                count: 1,
            }),
        }
        while self.minutes.len() > MINUTES
            || self
                .minutes
                .front()
                .is_some_and(|first| first.number + MINUTES as u64 <= number)
        {
            self.minutes.pop_front();
        }
    }

    /// The trend, if there is a clear one.
    pub(super) fn trend(&self) -> Option<MemoryTrend> {
        let first = self.minutes.front()?.number;
        let points: Vec<_> = self
            .minutes
            .iter()
            .map(|minute| {
                // At most an hour.
                let at = u32::try_from(minute.number - first).unwrap_or(u32::MAX);
                (at, minute.sum / f64::from(minute.count))
            })
            .collect();
        let span = points.last()?.0;
        if points.len() < FIGURES_AT_LEAST || span < MINUTES_AT_LEAST {
            return None;
        }
        let whole = Slope::of(&points)?;
        let grown = whole.per_minute * f64::from(span);
        let of = self.limit_bytes.unwrap_or(self.bytes) as f64;
        let recent = Slope::of(points.get(points.len() - points.len() / 3..)?)?;
        let clear = grown >= BYTES_AT_LEAST
            && grown >= GROWTH_AT_LEAST * of
            && whole.steadiness >= STEADY
            && off(&points, whole.per_minute) <= OFF_AT_MOST * grown
            && recent.per_minute >= STILL * whole.per_minute;
        let bytes_per_second = whole.per_minute / 60.0;
        clear.then(|| MemoryTrend {
            bytes_per_second,
            over_ns: u64::from(span) * MINUTE_NS,
            bytes: self.bytes,
            limit_bytes: self.limit_bytes,
            until_limit_ns: self.limit_bytes.map(|limit| {
                let seconds = limit.saturating_sub(self.bytes) as f64 / bytes_per_second;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it saturates, and nothing here is negative"
                )]
                let ns = (seconds * 1e9) as u64;
                ns
            }),
        })
    }
}

/// The slopes between all pairs of points.
struct Slope {
    /// Their median.
    per_minute: f64,
    /// How many more go up than down, as a share of all.
    steadiness: f64,
}

impl Slope {
    fn of(points: &[(u32, f64)]) -> Option<Self> {
        let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
        for (index, &(from, before)) in points.iter().enumerate() {
            for &(to, after) in points.iter().skip(index + 1) {
                slopes.push((after - before) / f64::from(to - from));
            }
        }
        let up = slopes.iter().filter(|slope| **slope > 0.0).count();
        let down = slopes.iter().filter(|slope| **slope < 0.0).count();
        let steadiness = (up as f64 - down as f64) / slopes.len() as f64;
        Some(Self {
            per_minute: median(&mut slopes)?,
            steadiness,
        })
    }
}

/// How far the points are off the line with this slope: the median.
fn off(points: &[(u32, f64)], per_minute: f64) -> f64 {
    let mut above: Vec<_> = points
        .iter()
        .map(|&(at, bytes)| bytes - per_minute * f64::from(at))
        .collect();
    let level = median(&mut above).unwrap_or(0.0);
    let mut off: Vec<_> = above.iter().map(|above| (above - level).abs()).collect();
    median(&mut off).unwrap_or(f64::INFINITY)
}

fn median(figures: &mut [f64]) -> Option<f64> {
    let middle = figures.len() / 2;
    (!figures.is_empty()).then(|| *figures.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1_048_576;
    const BEGIN_NS: u64 = 1_700_000_040_000_000_000;

    /// A figure every ten seconds.
    fn growth(minutes: u64, bytes: impl Fn(f64) -> f64) -> Growth {
        let mut growth = Growth::default();
        for n in 0..minutes * 6 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
            let bytes = bytes(n as f64 / 6.0) as u64;
            growth.add(BEGIN_NS + n * 10_000_000_000, bytes, Some(1024 * MIB), Some(1));
        }
        growth
    }

    const M: f64 = MIB as f64;

    #[test]
    fn a_leak_is_told_with_the_time_that_is_left() {
        let trend = growth(30, |minute| (100.0 + 6.0 * minute) * M).trend().unwrap();
        assert!((trend.bytes_per_second - 0.1 * M).abs() < 1.0, "{trend:?}");
        assert_eq!((trend.limit_bytes, trend.over_ns), (Some(1024 * MIB), 29 * MINUTE_NS));
        // 100 + 6 · 29.83 MiB at last.
        assert_eq!(trend.bytes, 279 * MIB);
        let left_s = (1024.0 - 279.0) * 10.0;
        let until_s = trend.until_limit_ns.unwrap() as f64 / 1e9;
        assert!((until_s - left_s).abs() < 1.0, "{until_s} {left_s}");
    }

    #[test]
    fn noise_on_a_leak_does_not_hide_it() {
        let noise = |minute: f64| (minute * 7919.0).sin() * 12.0;
        let trend = growth(60, |minute| (100.0 + 3.0 * minute + noise(minute)) * M)
            .trend()
            .unwrap();
        assert!((trend.bytes_per_second / (0.05 * M) - 1.0).abs() < 0.05, "{trend:?}");
    }

    #[test]
    fn what_does_not_grow_steadily_is_no_trend() {
        let none = |bytes: &dyn Fn(f64) -> f64| assert_eq!(growth(60, bytes).trend(), None);
        none(&|_| 500.0 * M);
        none(&|minute| (500.0 - minute) * M);
        // A garbage collector.
        none(&|minute| (100.0 + 50.0 * (minute % 7.0)) * M);
        // A cache that fills up.
        none(&|minute| (100.0 + 400.0 * (1.0 - (-minute / 15.0).exp())) * M);
        // One step.
        none(&|minute| if minute < 30.0 { 100.0 * M } else { 300.0 * M });
        // Noise.
        none(&|minute| (100.0 + (minute * 7919.0).sin() * 40.0) * M);
        // Too little to matter.
        none(&|minute| (500.0 + 0.1 * minute) * M);
    }

    #[test]
    fn a_quarter_of_an_hour_is_needed() {
        assert_eq!(growth(14, |minute| (100.0 + 6.0 * minute) * M).trend(), None);
        assert!(growth(15, |minute| (100.0 + 6.0 * minute) * M).trend().is_some());
    }

    #[test]
    fn another_limit_another_process_and_a_clock_set_back_begin_anew() {
        let leak = |minute: f64| (100.0 + 6.0 * minute) * M;
        let later_ns = BEGIN_NS + 30 * MINUTE_NS;
        for (wall_ns, limit, started) in [
            (later_ns, Some(2048 * MIB), Some(1)),
            (later_ns, None, Some(1)),
            (later_ns, Some(1024 * MIB), Some(10_000_000_000)),
            (BEGIN_NS, Some(1024 * MIB), Some(1)),
        ] {
            let mut growth = growth(30, leak);
            growth.add(wall_ns, 300 * MIB, limit, started);
            assert_eq!((growth.trend(), growth.minutes.len()), (None, 1));
        }
        let mut growth = growth(30, leak);
        growth.add(later_ns, 280 * MIB, Some(1024 * MIB), Some(1_000_000_000));
        assert!(growth.trend().is_some());
    }

    #[test]
    fn what_is_kept_is_an_hour() {
        let mut growth = growth(200, |minute| (100.0 + minute) * M);
        assert_eq!(growth.minutes.len(), MINUTES);
        growth.add(BEGIN_NS + 250 * MINUTE_NS, MIB, Some(1024 * MIB), None);
        assert_eq!(growth.minutes.len(), 10);
        growth.add(u64::MAX, u64::MAX, Some(1024 * MIB), None);
        assert_eq!((growth.minutes.len(), growth.trend()), (1, None));
    }

    #[test]
    fn without_a_limit_only_the_slope_is_told() {
        let mut growth = Growth::default();
        for minute in 0..30 {
            growth.add(BEGIN_NS + minute * MINUTE_NS, (100 + minute) * MIB, None, None);
        }
        let trend = growth.trend().unwrap();
        assert_eq!((trend.limit_bytes, trend.until_limit_ns), (None, None));
    }
}
