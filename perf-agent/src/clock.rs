//! The only caller of `now`. Everything else takes its time from the data.

use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};

/// Monotonic nanoseconds: the clock of the kernel side's records, which knows nothing of time namespaces.
pub fn monotonic_ns() -> u64 {
    static AHEAD_NS: OnceLock<i64> = OnceLock::new();
    // Kernels without time namespaces (before 5.6) have no such file.
    let ahead_ns = *AHEAD_NS.get_or_init(|| {
        let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        monotonic_offset_ns(&offsets).unwrap_or(0)
    });
    nanoseconds(ClockId::Monotonic).saturating_add_signed(ahead_ns.saturating_neg())
}

/// How far this time namespace's monotonic clock is ahead of the host's (`time_namespaces(7)`: clock, seconds,
/// nanoseconds per line).
fn monotonic_offset_ns(offsets: &str) -> Option<i64> {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    let mut numbers = line.split_whitespace().map(str::parse::<i64>);
    let (seconds, nanoseconds) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// Nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    nanoseconds(ClockId::Realtime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        let text = "monotonic      -1000         5\nboottime           0         0\n";
        assert_eq!(monotonic_offset_ns(text), Some(-999_999_999_995));
        assert_eq!(monotonic_offset_ns(""), None);
    }
}
