//! Waiting for a condition, with a deadline.

use std::time::Duration;

use crate::clock::now_ns;

/// How long the agent's numbers may take to be complete. Where no hook tells of the end of a Unix socket, it is noticed
/// within ten seconds.
pub const SETTLE: Duration = Duration::from_secs(15);
/// How long a program may take to start.
pub const START: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(25);

/// The deadline, longer by the factor `PERF_TEST_PATIENCE` where the machine is emulated.
fn patient(deadline: Duration) -> Duration {
    let factor = std::env::var("PERF_TEST_PATIENCE")
        .ok()
        .and_then(|text| text.parse().ok());
    deadline * factor.unwrap_or(1)
}

/// Looks again and again until there is something, and gives it.
///
/// # Panics
/// If the deadline passes.
#[track_caller]
pub fn wait_until<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    settle(deadline, what, || look().ok_or_else(|| "not yet".to_owned()))
}

/// Looks again and again until it is as it should be. The error says what is not, and is what a failure shows.
///
/// # Panics
/// If the deadline passes, with the last error.
#[track_caller]
pub fn settle<T>(deadline: Duration, what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    match settled(deadline, look) {
        Ok(found) => found,
        Err(why) => panic!("{what}: not so after {:.1} s: {why}", patient(deadline).as_secs_f64()),
    }
}

/// [`settle`] for those who can try otherwise.
///
/// # Errors
/// The last error, if the deadline passes.
pub fn settled<T>(deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let started = now_ns();
    let deadline = patient(deadline);
    loop {
        match look() {
            Err(_) if Duration::from_nanos(now_ns() - started) < deadline => std::thread::sleep(POLL),
            found => return found,
        }
    }
}

/// Looks again and again, and gives up quietly: for cleaning up.
pub fn tried(deadline: Duration, mut look: impl FnMut() -> bool) -> bool {
    let started = now_ns();
    while Duration::from_nanos(now_ns() - started) < deadline {
        if look() {
            return true;
        }
        std::thread::sleep(POLL);
    }
    look()
}
