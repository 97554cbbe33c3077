//! Time in which no agent ran: nothing is known of it, so nothing is said of it, and rates are over the rest.

use std::sync::Arc;

/// Stretches kept; what lies between the nearest ones counts as not observed, too, beyond it.
pub const GAPS: usize = 512;

/// Stretches of time, ascending and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Begin and end, nanoseconds.
    stretches: Arc<[(u64, u64)]>,
}

impl Gaps {
    /// What lies between these stretches of observation (begin and end, in any order).
    pub fn between(observed: &[(u64, u64)]) -> Self {
        let mut observed = observed.to_vec();
        observed.sort_unstable();
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        let mut until = None;
        for (begin, end) in observed {
            if let Some(until) = until
                && until < begin
            {
                gaps.push((until, begin));
            }
            until = until.max(Some(end.max(begin)));
        }
        while gaps.len() > GAPS {
            let apart = |pair: &[(u64, u64)]| pair[1].0 - pair[0].1;
            let Some(nearest) = (1..gaps.len()).min_by_key(|&place| apart(&gaps[place - 1..=place])) else {
                break;
            };
            gaps[nearest - 1].1 = gaps[nearest].1;
            gaps.remove(nearest);
        }
        Self { stretches: gaps.into() }
    }

    /// How much of the time between two moments was observed, as far as is known.
    pub fn observed(&self, from_ns: u64, to_ns: u64) -> u64 {
        let missed: u64 = self
            .stretches
            .iter()
            .map(|&(begin, end)| end.min(to_ns).saturating_sub(begin.max(from_ns)))
            .sum();
        to_ns.saturating_sub(from_ns).saturating_sub(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_observations_was_not_observed() {
        let gaps = Gaps::between(&[(50, 60), (10, 20), (15, 30), (60, 70), (100, 110)]);
        assert_eq!(gaps.stretches.to_vec(), [(30, 50), (70, 100)]);
        assert_eq!(gaps.observed(0, 200), 150);
        assert_eq!(gaps.observed(40, 80), 20);
        assert_eq!(gaps.observed(75, 90), 0);
        assert_eq!(gaps.observed(9, 5), 0);
        assert_eq!(Gaps::default().observed(5, 9), 4);
    }

    #[test]
    fn there_are_never_more_than_the_bound_and_the_nearest_ones_become_one() {
        let runs: Vec<_> = (0..2 * GAPS as u64).map(|n| (n * 100, n * 100 + 50)).collect();
        let gaps = Gaps::between(&runs);
        assert_eq!(gaps.stretches.len(), GAPS);
        assert_eq!(gaps.observed(0, 50), 50);
        let mut runs = runs;
        runs[7].1 = 701;
        assert_eq!(Gaps::between(&runs).observed(700, 701), 0, "the shortest of all");
    }
}
