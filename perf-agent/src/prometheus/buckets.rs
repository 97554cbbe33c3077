//! Our buckets as Prometheus' ones.
//!
//! A [`Distribution`] has buckets of less than 0.8 % of their value; a sample is taken for the middle of its bucket, so it
//! may be counted beside the bucket that it belongs to if it is within 0.4 % of the border.
//!
//! **Classic** buckets have fixed bounds: [`FINE_NS`] for response times, [`ROUGH_NS`], one per power of ten, for the rest,
//! since each costs a series. **Native** ones are exponential: at schema *s* each is 2^(2^-s) times as wide as the one
//! before. [`SCHEMA`] is 5, buckets of 2.2 %: so a quantile is off by 2.2 % of its value at most, and by the 0.4 % from
//! above. At schema 3 it would be 9 %, which is more than what often is to be told apart. A histogram that would have more
//! than [`NATIVE_BUCKETS`] of them gets half of the resolution until it has not: times that are spread over more than five
//! powers of two, evenly. Buckets in use only become more, so the schema of a series only falls.

use crate::aggregate::Distribution;
use crate::aggregate::distribution::bounds_ns;

/// Bounds of classic buckets of response times, nanoseconds: 0.1 ms to 10 s.
pub static FINE_NS: &[u64] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Bounds of other classic buckets: 0.1 ms to 10 s.
pub static ROUGH_NS: &[u64] = &[
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// The resolution of native histograms: 2^5 buckets per power of two.
pub const SCHEMA: i32 = 5;
/// Native buckets in use, from which on the resolution is halved. What is commonly advised; OpenTelemetry's limit, too.
pub const NATIVE_BUCKETS: usize = 160;
/// Native buckets without samples that are written down rather than skipped.
const FILLED: i32 = 2;
/// What is no longer than this counts as zero: Prometheus' own default.
pub const ZERO_SECONDS: f64 = 2.938_735_877_055_719e-39;

fn middle_ns(index: u16) -> u64 {
    let (lowest, highest) = bounds_ns(index);
    lowest + (highest - lowest) / 2
}

/// How many samples are at or below each bound, and at last how many there are.
pub fn cumulative(times: &Distribution, bounds: &[u64]) -> Vec<u64> {
    let mut counts = Vec::with_capacity(bounds.len() + 1);
    let mut buckets = times.buckets().peekable();
    let mut below = 0;
    for &bound in bounds {
        while let Some((_, count)) = buckets.next_if(|&(index, _)| middle_ns(index) <= bound) {
            below += count;
        }
        counts.push(below);
    }
    counts.push(below + buckets.map(|(_, count)| count).sum::<u64>());
    counts
}

/// A native histogram's buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Native {
    /// Resolution.
    pub schema: i32,
    /// All samples.
    pub count: u64,
    /// Samples that took no time.
    pub zeros: u64,
    /// Buckets that follow each other: how far the first one is from the end of the ones before (the first time: its
    /// number), and how many they are.
    pub spans: Vec<(i32, u32)>,
    /// Each bucket's count, less that of the one before.
    pub deltas: Vec<i64>,
}

/// The number of the native bucket of a time: that of the upper bound 2^(number / 2^schema) seconds.
fn number(time_ns: u64, schema: i32) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "some hundreds")]
    let number = ((time_ns as f64 / 1e9).log2() * f64::from(1 << schema)).ceil() as i32;
    number
}

/// Native buckets of these times.
pub fn native(times: &Distribution) -> Native {
    let mut native = Native {
        schema: SCHEMA,
        ..Native::default()
    };
    let mut buckets: Vec<(i32, u64)> = Vec::new();
    for (index, count) in times.buckets() {
        native.count += count;
        match middle_ns(index) {
            0 => native.zeros += count,
            time_ns => push(&mut buckets, number(time_ns, SCHEMA), count),
        }
    }
    while buckets.len() > NATIVE_BUCKETS && native.schema > 0 {
        native.schema -= 1;
        let mut halved = Vec::with_capacity(buckets.len() / 2 + 1);
        for (number, count) in buckets {
            push(&mut halved, (number + 1).div_euclid(2), count);
        }
        buckets = halved;
    }
    let (mut next, mut before) = (0, 0);
    for (number, count) in buckets {
        let gap = number - next;
        match native.spans.last_mut() {
            Some((_, length)) if gap <= FILLED => {
                for _ in 0..gap {
                    native.deltas.push(-std::mem::take(&mut before));
                    *length += 1;
                }
                *length += 1;
            }
            _ => native.spans.push((gap, 1)),
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        native.deltas.push(count - before);
        (next, before) = (number + 1, count);
    }
    native
}

/// Counts more at the end.
fn push(buckets: &mut Vec<(i32, u64)>, number: i32, count: u64) {
    match buckets.last_mut() {
        Some((last, sum)) if *last == number => *sum += count,
        _ => buckets.push((number, count)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(samples: &[u64]) -> Distribution {
        let mut times = Distribution::default();
        for &sample in samples {
            times.record(sample);
        }
        times
    }

    /// The buckets with a count, as upper bound in seconds and count; what the specification says of spans and deltas.
    pub(in crate::prometheus) fn expanded(native: &Native) -> Vec<(f64, u64)> {
        let (mut number, mut count) = (0, 0);
        let mut deltas = native.deltas.iter();
        let mut found = Vec::new();
        for &(offset, length) in &native.spans {
            number += offset;
            for _ in 0..length {
                count += deltas.next().expect("a count for each bucket");
                let exponent = f64::from(number) / f64::from(1 << native.schema);
                if count > 0 {
                    found.push((exponent.exp2(), count.unsigned_abs()));
                }
                number += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        found
    }

    #[test]
    fn classic_buckets_hold_what_is_at_or_below_their_bound() {
        let times = times(&[0, 1, 90_000, 99_000, 240_000, 30_000_000, 20_000_000_000, u64::MAX]);
        assert_eq!(cumulative(&times, ROUGH_NS), [4, 5, 5, 6, 6, 6, 8]);
        assert_eq!(cumulative(&times, &[]), [8]);
    }

    #[test]
    fn native_buckets_end_at_powers_of_their_base() {
        // The bucket that ends at 1 s is number 0.
        let native = native(&times(&[0, 990_000_000, 990_000_000, 1_030_000_000, 1_000_000]));
        assert_eq!((native.schema, native.count, native.zeros), (5, 5, 1));
        assert_eq!(native.spans, [(-318, 1), (317, 3)]);
        assert_eq!(native.deltas, [1, 1, -2, 1]);
    }

    #[test]
    fn no_times_are_no_buckets() {
        let expected = Native {
            schema: SCHEMA,
            ..Native::default()
        };
        assert_eq!(native(&Distribution::default()), expected);
    }

    #[test]
    fn a_wide_histogram_has_fewer_buckets_and_not_more() {
        // Each longer than the one before by a bit less than one part in a hundred.
        let samples: Vec<u64> = (0..4200u64)
            .scan(100, |time, _| {
                *time += *time / 140 + 1;
                Some(*time)
            })
            .collect();
        let native = native(&times(&samples));
        assert!(native.schema < SCHEMA, "{}", native.schema);
        assert!(expanded(&native).len() <= NATIVE_BUCKETS);
        assert_eq!(expanded(&native).iter().map(|(_, count)| count).sum::<u64>(), 4200);
    }

    proptest! {
        #[test]
        fn every_sample_is_in_its_bucket_or_at_the_border(
            samples in prop::collection::vec((0u32..42, any::<u64>()), 1..400)
        ) {
            let mut samples: Vec<u64> = samples.iter().map(|(bits, value)| value & ((1 << bits) - 1)).collect();
            let native = native(&times(&samples));
            samples.sort_unstable();
            let buckets = expanded(&native);
            prop_assert_eq!(native.count, samples.len() as u64);
            prop_assert_eq!(native.zeros, samples.iter().filter(|&&sample| sample == 0).count() as u64);
            prop_assert_eq!(native.zeros + buckets.iter().map(|(_, count)| count).sum::<u64>(), native.count);
            let width = (1.0 / f64::from(1 << native.schema)).exp2();
            let mut left = samples.iter().skip_while(|&&sample| sample == 0);
            for (bound, count) in buckets {
                for _ in 0..count {
                    let seconds = *left.next().unwrap() as f64 / 1e9;
                    prop_assert!(seconds <= bound * 1.004 && seconds >= bound / width / 1.004, "{} {}", seconds, bound);
                }
            }
            for (bound, count) in FINE_NS.iter().zip(cumulative(&times(&samples), FINE_NS)) {
                let within = |factor: f64| samples.iter().filter(|&&it| it as f64 <= *bound as f64 * factor).count() as u64;
                prop_assert!((within(0.996)..=within(1.004)).contains(&count));
            }
        }

        #[test]
        fn counts_and_resolution_only_go_one_way(
            samples in prop::collection::vec((0u32..42, any::<u64>()), 1..300), more in prop::collection::vec((0u32..42, any::<u64>()), 0..300)
        ) {
            let of = |pairs: &[(u32, u64)]| -> Vec<u64> { pairs.iter().map(|(bits, value)| value & ((1 << bits) - 1)).collect() };
            let mut all = times(&of(&samples));
            let before = (native(&all), cumulative(&all, FINE_NS));
            all.merge(&times(&of(&more)));
            let after = (native(&all), cumulative(&all, FINE_NS));
            prop_assert!(after.0.schema <= before.0.schema);
            prop_assert!(before.1.iter().zip(&after.1).all(|(before, after)| before <= after));
        }
    }
}
