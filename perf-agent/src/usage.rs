//! What the agent itself takes. An edge: reads its own process.

use std::fs;
use std::sync::OnceLock;

/// What the process had taken when this program began in it: a process keeps its clock when it becomes another program.
static BEFORE: OnceLock<f64> = OnceLock::new();

/// The program begins: what was taken before is not the agent's.
pub fn begin() {
    BEFORE.get_or_init(process_seconds);
}

/// Processor time since [`begin`], user and system.
pub fn cpu_seconds() -> f64 {
    process_seconds() - BEFORE.get().unwrap_or(&0.0)
}

fn process_seconds() -> f64 {
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
        begin();
        let before = cpu_seconds();
        assert!((0.0..process_seconds()).contains(&before), "{before}");
        let mut sum = 0_u64;
        for number in 0..10_000_000_u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        assert!(cpu_seconds() > before);
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
