//! A distribution of times: exact moments, and counts in the buckets of an HDR histogram.
//!
//! The buckets are those of `hdrhistogram` with two significant digits, from 1 ns to 1 h: below 256 ns one bucket per
//! nanosecond, above that 128 buckets per power of two, so a bucket is at most 1/128 of its values wide. A percentile is
//! the middle of its bucket, kept within the smallest and largest value seen: at most 0.4 % off. Two distributions merge
//! without loss.
//!
//! Only buckets in use are kept, as two sorted lists: an endpoint fills some dozens of the 4,500.

/// Longest time that has a bucket of its own; what is longer is counted there (and in [`Distribution::beyond`]), while
/// count, sum, minimum and maximum stay exact.
pub const HIGHEST_NS: u64 = 3_600_000_000_000;

/// Buckets per power of two, as a power of two: `hdrhistogram`'s "sub bucket half count magnitude" for two digits.
const HALF_MAGNITUDE: u32 = 7;
const HALF: u64 = 1 << HALF_MAGNITUDE;

/// Buckets that there are: [`HIGHEST_NS`] lies between 2^41 and 2^42.
const BUCKETS: usize = (42 - HALF_MAGNITUDE as usize + 1) << HALF_MAGNITUDE;

/// The percentiles of the API and the exact moments, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// Exact.
    pub sum_ns: u128,
    /// Exact.
    pub min_ns: u64,
    /// Exact.
    pub max_ns: u64,
    /// Exact but for the rounding of the last division.
    pub mean_ns: f64,
    /// Of the whole population (divided by `count`), exact but for the rounding of the last steps.
    pub std_dev_ns: f64,
    /// Smallest value with at least half of all samples at or below it; within 1 %, like all that follow.
    pub median_ns: u64,
    /// 90 %.
    pub p90_ns: u64,
    /// 95 %.
    pub p95_ns: u64,
    /// 99 %.
    pub p99_ns: u64,
    /// 99.9 %.
    pub p99_9_ns: u64,
}

/// What is exact of a set of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moments {
    count: u64,
    sum: u128,
    squares: u128,
    min: u64,
    max: u64,
    beyond: u64,
}

impl Moments {
    /// Adds a sample.
    #[inline]
    pub(crate) fn record(&mut self, value_ns: u64) {
        self.min = if self.count == 0 {
            value_ns
        } else {
            self.min.min(value_ns)
        };
        self.max = self.max.max(value_ns);
        self.count += 1;
        self.sum += u128::from(value_ns);
        let square = u128::from(value_ns) * u128::from(value_ns);
        self.squares = self.squares.saturating_add(square);
        self.beyond += u64::from(value_ns > HIGHEST_NS);
    }

    /// Adds another set's.
    #[inline]
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
        self.squares = self.squares.saturating_add(other.squares);
        self.beyond += other.beyond;
    }
}

/// Samples of one kind of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    moments: Moments,
    /// Numbers of the buckets in use, ascending.
    indexes: Vec<u16>,
    /// Their counts, at the same places.
    counts: Vec<u64>,
}

impl Distribution {
    /// From moments and the buckets of the same samples, ascending.
    pub(crate) fn new(moments: Moments, buckets: Vec<(u16, u64)>) -> Self {
        let (indexes, counts) = buckets.into_iter().unzip();
        Self {
            moments,
            indexes,
            counts,
        }
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.indexes.capacity() * size_of::<u16>() + self.counts.capacity() * size_of::<u64>()
    }

    /// Adds a sample.
    pub fn record(&mut self, value_ns: u64) {
        self.moments.record(value_ns);
        let index = bucket_of(value_ns.min(HIGHEST_NS));
        let place = self.indexes.partition_point(|&other| other < index);
        if self.indexes.get(place) == Some(&index) {
            self.counts[place] += 1;
        } else {
            self.indexes.insert(place, index);
            self.counts.insert(place, 1);
        }
    }

    /// Adds all samples of another one; nothing is lost.
    pub fn merge(&mut self, other: &Self) {
        if other.moments.count == 0 {
            return;
        }
        if self.moments.count == 0 {
            self.clone_from(other);
            return;
        }
        self.moments.merge(&other.moments);
        self.merge_buckets(other);
    }

    fn merge_buckets(&mut self, other: &Self) {
        let room = self.indexes.len().max(other.indexes.len());
        let mut indexes = Vec::with_capacity(room);
        let mut counts = Vec::with_capacity(room);
        let (mut mine, mut theirs) = (self.buckets().peekable(), other.buckets().peekable());
        loop {
            let (index, count) = match (mine.peek().copied(), theirs.peek().copied()) {
                (None, None) => break,
                (Some(bucket), None) => {
                    mine.next();
                    bucket
                }
                (None, Some(bucket)) => {
                    theirs.next();
                    bucket
                }
                (Some((i, a)), Some((j, b))) => {
                    if i <= j {
                        mine.next();
                    }
                    if j <= i {
                        theirs.next();
                    }
                    match i.cmp(&j) {
                        std::cmp::Ordering::Less => (i, a),
                        std::cmp::Ordering::Equal => (i, a + b),
                        std::cmp::Ordering::Greater => (j, b),
                    }
                }
            };
            indexes.push(index);
            counts.push(count);
        }
        drop((mine, theirs));
        (self.indexes, self.counts) = (indexes, counts);
    }

    /// Samples.
    pub fn count(&self) -> u64 {
        self.moments.count
    }

    /// Their sum, exact.
    pub fn sum_ns(&self) -> u128 {
        self.moments.sum
    }

    /// Their mean; `None` if there are none.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.moments.count > 0).then(|| self.moments.sum as f64 / self.moments.count as f64)
    }

    /// The largest one, exact; `None` if there are none.
    pub fn max_ns(&self) -> Option<u64> {
        (self.moments.count > 0).then_some(self.moments.max)
    }

    /// Samples longer than [`HIGHEST_NS`].
    pub fn beyond(&self) -> u64 {
        self.moments.beyond
    }

    /// The smallest value such that at least `quantile` (0..=1) of all samples are at or below it (nearest rank), within
    /// 1 %. `None` if there are no samples.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 1..=count right after"
        )]
        let rank = (quantile * self.moments.count as f64).ceil() as u64;
        self.at_rank(rank)
    }

    /// The sample of a rank, counted from 1.
    fn at_rank(&self, rank: u64) -> Option<u64> {
        if self.moments.count == 0 {
            return None;
        }
        let rank = rank.clamp(1, self.moments.count);
        // The ends are known exactly.
        if rank == self.moments.count {
            return Some(self.moments.max);
        }
        if rank == 1 {
            return Some(self.moments.min);
        }
        let mut below = 0;
        for (index, count) in self.buckets() {
            below += count;
            if below >= rank {
                return Some(middle_of(index).clamp(self.moments.min, self.moments.max));
            }
        }
        Some(self.moments.max)
    }

    /// A quantile in thousandths, by whole numbers, so that no rounding of a product moves the rank; 0 without samples.
    pub(crate) fn per_mille(&self, quantile: u64) -> u64 {
        let rank = (u128::from(self.moments.count) * u128::from(quantile)).div_ceil(1000);
        self.at_rank(u64::try_from(rank).unwrap_or(u64::MAX)).unwrap_or(0)
    }

    /// The usual figures; `None` if there are no samples.
    pub fn summary(&self) -> Option<Summary> {
        (self.moments.count > 0).then(|| Summary {
            count: self.moments.count,
            sum_ns: self.moments.sum,
            min_ns: self.moments.min,
            max_ns: self.moments.max,
            mean_ns: self.moments.sum as f64 / self.moments.count as f64,
            std_dev_ns: self.std_dev(),
            median_ns: self.per_mille(500),
            p90_ns: self.per_mille(900),
            p95_ns: self.per_mille(950),
            p99_ns: self.per_mille(990),
            p99_9_ns: self.per_mille(999),
        })
    }

    fn std_dev(&self) -> f64 {
        let n = u128::from(self.moments.count);
        // n * squares - sum^2, in whole numbers as long as they fit: the difference of two large floats would lose it.
        if let (Some(a), Some(b)) = (
            n.checked_mul(self.moments.squares),
            self.moments.sum.checked_mul(self.moments.sum),
        ) {
            return (a.saturating_sub(b) as f64).sqrt() / n as f64;
        }
        let mean = self.moments.sum as f64 / n as f64;
        (self.moments.squares as f64 / n as f64 - mean * mean).max(0.0).sqrt()
    }

    /// Buckets in use, ascending: number and count. [`bounds_ns`] tells what a number means.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.indexes.iter().copied().zip(self.counts.iter().copied())
    }
}

/// Smallest and largest time of a bucket, nanoseconds.
pub fn bounds_ns(index: u16) -> (u64, u64) {
    let index = u64::from(index);
    if index < 2 * HALF {
        return (index, index);
    }
    let shift = (index >> HALF_MAGNITUDE) - 1;
    let lowest = ((index & (HALF - 1)) + HALF) << shift;
    (lowest, lowest + ((1 << shift) - 1))
}

fn middle_of(index: u16) -> u64 {
    let (lowest, highest) = bounds_ns(index);
    lowest + (highest - lowest) / 2
}

/// The bucket of a time of at most [`HIGHEST_NS`].
#[inline]
pub(crate) fn bucket_of(value: u64) -> u16 {
    let shift = 64 - (HALF_MAGNITUDE + 1) - (value | (2 * HALF - 1)).leading_zeros();
    let index = (u64::from(shift) << HALF_MAGNITUDE) + (value >> shift);
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The compact form of closed slots: nothing is written that follows from what is before it. Samples that are all the same,
/// and one alone, are their number and their value.
mod packed {
    use super::{BUCKETS, Distribution, HIGHEST_NS, Moments, bucket_of};
    use crate::aggregate::packing::{BitReader, Bits, Reader, put};

    impl Moments {
        /// Of samples that are all the same.
        fn of_same(count: u64, value: u64) -> Self {
            let square = u128::from(value) * u128::from(value);
            Self {
                count,
                sum: u128::from(count) * u128::from(value),
                squares: square.saturating_mul(count.into()),
                min: value,
                max: value,
                beyond: if value > HIGHEST_NS { count } else { 0 },
            }
        }

        /// The least that the sum of the squares can be (Cauchy and Schwarz).
        fn least_squares(&self) -> u128 {
            self.sum.checked_mul(self.sum).unwrap_or(0) / u128::from(self.count.max(1))
        }
    }

    impl Distribution {
        /// Appends the compact form.
        pub(crate) fn pack(&self, out: &mut Vec<u8>) {
            let moments = &self.moments;
            put(out, moments.count.into());
            if moments.count == 0 {
                return;
            }
            put(out, moments.min.into());
            put(out, (moments.max - moments.min).into());
            if moments.max == moments.min {
                return;
            }
            put(out, moments.sum - u128::from(moments.count) * u128::from(moments.min));
            put(out, moments.squares - moments.least_squares());
            if moments.max > HIGHEST_NS {
                put(out, moments.beyond.into());
            }
            put(out, self.indexes.len() as u128);
            // The first bucket is that of the least sample, and the last one has what the others have not.
            let mut bits = Bits::new(out);
            let (mut index_before, mut count_before) = (self.indexes[0], 1);
            for (place, (index, count)) in self.buckets().enumerate() {
                if place > 0 {
                    bits.gamma(u64::from(index - index_before));
                }
                if place + 1 < self.indexes.len() {
                    bits.near(count, count_before);
                }
                (index_before, count_before) = (index, count);
            }
            bits.finish();
        }

        /// Appends the compact form, or that it is the same as `before`.
        pub(crate) fn pack_after(&self, before: &Self, out: &mut Vec<u8>) {
            out.push(u8::from(self == before));
            if self != before {
                self.pack(out);
            }
        }

        /// Reads back what [`Self::pack_after`] wrote.
        pub(crate) fn unpack_after(before: &Self, reader: &mut Reader<'_>) -> Self {
            if reader.byte() == 1 {
                before.clone()
            } else {
                Self::unpack(reader)
            }
        }

        /// Reads the compact form back.
        pub(crate) fn unpack(reader: &mut Reader<'_>) -> Self {
            let count = reader.count();
            if count == 0 {
                return Self::default();
            }
            let (min, wide) = (reader.u64(), reader.u64());
            let first = bucket_of(min.min(HIGHEST_NS));
            if wide == 0 {
                return Self::new(Moments::of_same(count, min), vec![(first, count)]);
            }
            let max = min.saturating_add(wide);
            let above = reader.u128();
            reader.must(above <= u128::from(count) * u128::from(wide));
            let above = above.min(u128::from(count) * u128::from(wide));
            let mut moments = Moments {
                count,
                sum: above + u128::from(count) * u128::from(min),
                squares: 0,
                min,
                max,
                beyond: 0,
            };
            moments.squares = reader.u128().saturating_add(moments.least_squares());
            if max > HIGHEST_NS {
                moments.beyond = reader.count();
            }
            let used = reader.things(BUCKETS);
            reader.must(used > 0);
            let mut this = Self {
                moments,
                indexes: Vec::with_capacity(used),
                counts: Vec::with_capacity(used),
            };
            let mut bits = BitReader::new(reader);
            let (mut index, mut count_before, mut left, mut sound) = (u64::from(first), 1, count, true);
            for place in 0..used {
                if place > 0 {
                    index = index.saturating_add(bits.gamma());
                }
                let count = if place + 1 < used {
                    bits.near(count_before)
                } else {
                    left
                };
                sound &= count > 0 && count <= left && index < BUCKETS as u64;
                (count_before, left) = (count, left.saturating_sub(count));
                this.indexes.push(u16::try_from(index).unwrap_or(u16::MAX));
                this.counts.push(count);
            }
            reader.must(sound);
            this
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::packing::Reader;

    fn of(values: &[u64]) -> Distribution {
        let mut distribution = Distribution::default();
        for &value in values {
            distribution.record(value);
        }
        distribution
    }

    fn times() -> impl Strategy<Value = Vec<u64>> {
        // Every magnitude alike, from nanoseconds to beyond the hour.
        prop::collection::vec(
            (0u32..43, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1)),
            1..400,
        )
    }

    fn exact(sorted: &[u64], per_mille: usize) -> u64 {
        sorted[(sorted.len() * per_mille).div_ceil(1000).max(1) - 1]
    }

    proptest! {
        #[test]
        fn buckets_are_those_of_hdrhistogram(values in times()) {
            let mut theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(1, HIGHEST_NS, 2).unwrap();
            for &value in &values {
                theirs.record(value.min(HIGHEST_NS)).unwrap();
            }
            let ours = of(&values);
            let widened: Vec<_> = ours.buckets().map(|(index, count)| (bounds_ns(index).1, count)).collect();
            let expected: Vec<_> = theirs.iter_recorded()
                .map(|step| (theirs.highest_equivalent(step.value_iterated_to()), step.count_at_value())).collect();
            prop_assert_eq!(widened, expected);
            for per_mille in [500u32, 900, 950, 990, 999] {
                let value = ours.per_mille(per_mille.into()).min(HIGHEST_NS);
                prop_assert!(theirs.equivalent(value, theirs.value_at_quantile(f64::from(per_mille) / 1000.0)));
            }
        }

        #[test]
        fn percentiles_are_within_one_percent_and_moments_exact(mut values in times()) {
            let summary = of(&values).summary().unwrap();
            values.sort_unstable();
            let n = values.len() as u64;
            prop_assert_eq!((summary.count, summary.min_ns, summary.max_ns), (n, values[0], values[values.len() - 1]));
            prop_assert_eq!(summary.sum_ns, values.iter().map(|&v| u128::from(v)).sum::<u128>());
            let mean = values.iter().map(|&v| v as f64).sum::<f64>() / n as f64;
            let variance = values.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / n as f64;
            prop_assert!((summary.mean_ns - mean).abs() <= mean * 1e-9);
            prop_assert!((summary.std_dev_ns - variance.sqrt()).abs() <= variance.sqrt() * 1e-6 + 1e-3);
            for (reported, per_mille) in [(summary.median_ns, 500), (summary.p90_ns, 900), (summary.p95_ns, 950),
                                          (summary.p99_ns, 990), (summary.p99_9_ns, 999)] {
                let truth = exact(&values, per_mille).min(HIGHEST_NS);
                prop_assert!(reported.min(HIGHEST_NS).abs_diff(truth) as f64 <= truth as f64 * 0.004,
                    "p{}: {} instead of {}", per_mille, reported, truth);
            }
        }

        #[test]
        fn merging_equals_recording_everything_in_one(a in times(), b in times()) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(merged, of(&[a, b].concat()));
        }

        #[test]
        fn the_compact_form_gives_everything_back(values in times(), few in 1usize..4, same in 0usize..4) {
            // Few, and the same several times, are written in other ways.
            let values = [&values[..values.len().min(few << (7 * (same % 2)))], &vec![values[0]; same]].concat();
            let distribution = of(&values);
            let mut bytes = Vec::new();
            distribution.pack(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Distribution::unpack(&mut reader), distribution);
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn times_beyond_an_hour_are_counted_and_stay_exact_where_they_can() {
        let distribution = of(&[1, 2 * HIGHEST_NS, 3 * HIGHEST_NS]);
        assert_eq!(distribution.beyond(), 2);
        let summary = distribution.summary().unwrap();
        assert_eq!(summary.max_ns, 3 * HIGHEST_NS);
        assert_eq!(summary.sum_ns, 1 + 5 * u128::from(HIGHEST_NS));
    }

    #[test]
    fn the_compact_form_keeps_sums_that_do_not_fit() {
        let of_many = |value: u64| {
            Distribution::new(
                Moments {
                    count: 1 << 40,
                    sum: u128::from(value) << 40,
                    squares: (u128::from(value) * u128::from(value)).saturating_mul(1 << 40),
                    min: value,
                    max: value,
                    beyond: 1 << 40,
                },
                vec![(bucket_of(HIGHEST_NS), 1 << 40)],
            )
        };
        let longest = of_many(u64::MAX);
        let mut both = longest.clone();
        both.merge(&of_many(u64::MAX - 1));
        for distribution in [longest, both] {
            let mut bytes = Vec::new();
            distribution.pack(&mut bytes);
            assert_eq!(Distribution::unpack(&mut Reader::new(&bytes)), distribution);
        }
    }

    #[test]
    fn one_sample_takes_no_more_than_its_value() {
        for values in [&[0; 5][..], &[1_000_000], &[1_000_000, 1_000_000]] {
            let mut bytes = Vec::new();
            of(values).pack(&mut bytes);
            assert!(bytes.len() <= 5, "{values:?}: {bytes:?}");
        }
    }

    #[test]
    fn without_samples_there_are_no_figures() {
        assert_eq!(Distribution::default().summary(), None);
        assert_eq!(Distribution::default().quantile_ns(0.5), None);
    }
}
