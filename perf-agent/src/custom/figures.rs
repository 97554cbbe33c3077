//! What is kept of the values in one stretch of time.

use std::sync::Arc;

use crate::aggregate::window::{Closed, Stretch};

/// Counts and sums of values. A value that stands for several (it was sampled) counts as so many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// With fractions: one of three that were sent stands for 3.33.
    pub(super) count: f64,
    pub(super) sum: f64,
    /// Least and largest, of at least one.
    pub(super) range: Option<[f64; 2]>,
}

impl Figures {
    /// Takes a finite value that stands for `weight` values.
    pub(super) fn add(&mut self, value: f64, weight: f64) {
        self.count += weight;
        self.sum = bounded(self.sum + bounded(value * weight));
        self.range = Some(match self.range {
            Some([least, largest]) => [least.min(value), largest.max(value)],
            None => [value, value],
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.range.is_none()
    }
}

/// Sums end at the largest number there is.
fn bounded(value: f64) -> f64 {
    value.clamp(f64::MIN, f64::MAX)
}

impl Stretch for Figures {
    const SUMMED_AT_ONCE: bool = true;

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = bounded(self.sum + other.sum);
        self.range = match (self.range, other.range) {
            (Some([a, b]), Some([c, d])) => Some([a.min(c), b.max(d)]),
            (range, None) | (None, range) => range,
        };
    }

    fn pack(&self) -> Closed {
        let [least, largest] = self.range.unwrap_or([f64::NAN; 2]);
        let numbers = [self.count, self.sum, least, largest].map(f64::to_le_bytes);
        Arc::from(numbers.concat())
    }

    fn unpack(bytes: &[u8]) -> Self {
        let number = |place: usize| {
            let bytes = bytes.get(8 * place..8 * place + 8)?.try_into().ok()?;
            Some(f64::from_le_bytes(bytes)).filter(|number| !number.is_nan())
        };
        Self {
            count: number(0).unwrap_or(0.0),
            sum: number(1).unwrap_or(0.0),
            range: number(2).zip(number(3)).map(|(least, largest)| [least, largest]),
        }
    }
}
