//! The distribution of a running slot: made for adding samples, turned into a [`Distribution`] to be read.
//!
//! A small table with open addressing: the bucket's number, multiplied, is its place; the next free place is taken if
//! that is in use. Adding a sample costs a few nanoseconds, however many buckets are in use.

use super::distribution::{Distribution, HIGHEST_NS, Moments, bucket_of};

/// Places of the first table; a power of two.
const FEWEST: usize = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// 0 if the place is free.
    count: u32,
    bucket: u16,
}

/// Samples of one kind of time in a running slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    moments: Moments,
    /// As many as a power of two, at most three quarters of them in use.
    places: Vec<Place>,
    used: usize,
}

impl Samples {
    /// Adds a sample.
    #[inline]
    pub(crate) fn record(&mut self, value_ns: u64) {
        self.moments.record(value_ns);
        self.count(bucket_of(value_ns.min(HIGHEST_NS)), 1);
    }

    #[inline]
    fn count(&mut self, bucket: u16, more: u32) {
        if self.used * 4 >= self.places.len() * 3 {
            self.grow();
        }
        let mask = self.places.len() - 1;
        // Multiplying by an odd number and taking the middle bits spreads neighbours.
        let mut at = (usize::from(bucket).wrapping_mul(0x9e37_79b1) >> 7) & mask;
        loop {
            let place = &mut self.places[at];
            if place.count == 0 {
                *place = Place { count: more, bucket };
                self.used += 1;
                return;
            }
            if place.bucket == bucket {
                place.count = place.count.saturating_add(more);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let room = (self.places.len() * 2).max(FEWEST);
        let old = std::mem::replace(&mut self.places, vec![Place::default(); room]);
        self.used = 0;
        for place in old.into_iter().filter(|place| place.count > 0) {
            self.count(place.bucket, place.count);
        }
    }

    /// Adds all samples of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.moments.merge(&other.moments);
        for place in other.places.iter().filter(|place| place.count > 0) {
            self.count(place.bucket, place.count);
        }
    }

    /// As a distribution.
    pub(crate) fn sorted(&self) -> Distribution {
        let mut buckets: Vec<_> = self
            .places
            .iter()
            .filter(|place| place.count > 0)
            .map(|place| (place.bucket, u64::from(place.count)))
            .collect();
        buckets.sort_unstable();
        Distribution::new(self.moments, buckets)
    }

    /// Forgets all samples. Keeps the room, or half of it if most was not needed.
    pub(crate) fn clear(&mut self) {
        if self.used * 4 < self.places.len() && self.places.len() > FEWEST {
            self.places = vec![Place::default(); self.places.len() / 2];
        } else {
            self.places.fill(Place::default());
        }
        self.moments = Moments::default();
        self.used = 0;
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn samples_are_the_distribution_of_the_same_values(
            rounds in prop::collection::vec(prop::collection::vec((0u32..43, any::<u64>()), 0..300), 1..5),
        ) {
            let mut samples = Samples::default();
            for round in rounds {
                let mut distribution = Distribution::default();
                for (bits, value) in round {
                    let value = value & ((1 << bits) - 1);
                    samples.record(value);
                    distribution.record(value);
                }
                prop_assert_eq!(samples.sorted(), distribution);
                samples.clear();
                prop_assert_eq!(samples.sorted(), Distribution::default());
            }
        }
    }
}
