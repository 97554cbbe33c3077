//! What the agent itself takes. An edge: reads its own process.

use std::fs;

/// Processor time of this process since its start, user and system.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory.
pub fn resident_bytes() -> Option<u64> {
    // Second field: pages. proc(5)
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_takes_time_and_memory() {
        let before = cpu_seconds();
        let mut sum = 0_u64;
        for number in 0..10_000_000_u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        assert!(cpu_seconds() > before);
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
