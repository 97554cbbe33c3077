//! The clock that the kernel side uses, so that a test's moments and the agent's can be compared, and what "the same
//! time" means.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` nanoseconds.
///
/// # Panics
/// Never on a machine that was booted after 1970.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("monotonic time is not negative") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("monotonic time is not negative")
}

/// Milliseconds from nanoseconds.
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// How far a measured response time may be from the truth: 2 % + 100 us, in milliseconds.
pub fn tolerance_ms(truth_ms: f64) -> f64 {
    truth_ms.abs() * 0.02 + 0.1
}

/// Complains if `measured` is further from `truth` than [`tolerance_ms`] and `more_ms`.
///
/// # Errors
/// What is wrong with it.
pub fn close(what: &str, measured: f64, truth: f64, more_ms: f64) -> Result<(), String> {
    between(what, measured, (truth - more_ms, truth + more_ms))
}

/// Complains if `measured` is further from a truth that is only known to lie between two moments than
/// [`tolerance_ms`].
///
/// # Errors
/// What is wrong with it.
pub fn between(what: &str, measured: f64, (least, most): (f64, f64)) -> Result<(), String> {
    let (lowest, highest) = (least - tolerance_ms(least), most + tolerance_ms(most));
    if (lowest..=highest).contains(&measured) {
        Ok(())
    } else {
        Err(format!(
            "{what}: agent {measured:.3} ms, truth {least:.3} to {most:.3} ms, allowed {lowest:.3} to {highest:.3} ms"
        ))
    }
}

/// Exact order statistics of a list of samples.
#[derive(Clone, Debug)]
pub struct Truth {
    sorted_ms: Vec<f64>,
}

impl Truth {
    /// Of these samples in nanoseconds.
    pub fn of_ns(samples: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted_ms: Vec<f64> = samples.into_iter().map(ms).collect();
        sorted_ms.sort_by(f64::total_cmp);
        Self { sorted_ms }
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.sorted_ms.len() as u64
    }

    /// Mean, 0 of nothing.
    pub fn mean(&self) -> f64 {
        if self.sorted_ms.is_empty() {
            return 0.0;
        }
        self.sorted_ms.iter().sum::<f64>() / self.sorted_ms.len() as f64
    }

    /// The smallest sample that at least this share of samples does not exceed (nearest rank), 0 of nothing.
    pub fn quantile(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank, between 0 and the number of samples"
        )]
        let rank = (share * self.sorted_ms.len() as f64).ceil() as usize;
        self.sorted_ms.get(rank.max(1) - 1).copied().unwrap_or(0.0)
    }
}
