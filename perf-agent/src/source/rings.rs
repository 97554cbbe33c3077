//! The ring buffers, read as one stream in the order of the records' times.
//!
//! All records of a connection lie in one ring buffer, in order. Those of different connections are put in order by their
//! times: of all oldest records the oldest is taken. A processor may still be writing one that is older; what is younger
//! than [`SETTLED_NS`] is left for the next time. (A writer that is preempted for longer holds its own ring buffer up and
//! no other: the order among connections then is not quite that of time, which only matters to what compares them.)

use aya::maps::{MapData, RingBuf, ring_buf::RingBufItem};
use perf_common::record::RecordHeader;

/// By this age a record is in its ring buffer: from taking its time to its last byte it is some hundred instructions.
const SETTLED_NS: u64 = 200_000;

/// Records in the order of their times, to be taken once.
pub(super) trait Queue {
    /// Hands over the oldest record, unless it is younger than `until_ns`.
    fn take(&mut self, until_ns: u64, deliver: &mut impl FnMut(&[u8])) -> Oldest;

    /// The time of the oldest record, which stays; [`EMPTY`] if there is none.
    fn look(&mut self) -> u64;
}

/// What a queue's oldest record turned out to be.
pub(super) enum Oldest {
    /// None, or one that is still being written.
    None,
    /// Of this time: left where it is.
    Younger(u64),
    /// Handed over.
    Taken,
}

impl Queue for RingBuf<MapData> {
    #[inline]
    fn take(&mut self, until_ns: u64, deliver: &mut impl FnMut(&[u8])) -> Oldest {
        let Some(item) = self.next() else { return Oldest::None };
        if at_ns(&item) > until_ns {
            return Oldest::Younger(unread(item));
        }
        deliver(&item);
        Oldest::Taken
    }

    fn look(&mut self) -> u64 {
        self.next().map_or(EMPTY, unread)
    }
}

/// See the module.
pub(super) struct Rings<Q = RingBuf<MapData>> {
    queues: Vec<Q>,
    /// The time of each queue's oldest record, [`EMPTY`] if there is none.
    heads: Vec<u64>,
    /// Nothing more is written.
    ended: bool,
}

/// Later than any record.
const EMPTY: u64 = u64::MAX;

/// What was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Records.
    pub(super) records: usize,
    /// Everything up to the given time was.
    pub(super) all: bool,
    /// Something younger is there.
    pub(super) younger: bool,
}

impl<Q: Queue> Rings<Q> {
    pub(super) fn new(queues: Vec<Q>) -> Self {
        let heads = vec![EMPTY; queues.len()];
        Self {
            queues,
            heads,
            ended: false,
        }
    }

    /// The queues, to be watched.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Q> {
        self.queues.iter()
    }

    /// Nothing more is written: what is there is all there will be.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Up to when records can be taken now, in their right order.
    pub(super) fn settled_ns(&self, now_ns: u64) -> u64 {
        if self.ended || self.queues.len() == 1 {
            EMPTY - 1
        } else {
            now_ns.saturating_sub(SETTLED_NS)
        }
    }

    /// Hands over records up to `until_ns`, at most so many.
    pub(super) fn take(&mut self, until_ns: u64, most: usize, deliver: &mut impl FnMut(&[u8])) -> Taken {
        for (queue, head) in self.queues.iter_mut().zip(&mut self.heads) {
            *head = queue.look();
        }
        let mut records = 0;
        while let Some((oldest, limit_ns)) = self.oldest(until_ns) {
            // As long as no other queue has an older one.
            self.heads[oldest] = loop {
                if records >= most {
                    return Taken {
                        records,
                        all: false,
                        younger: true,
                    };
                }
                match self.queues[oldest].take(limit_ns, deliver) {
                    Oldest::Taken => records += 1,
                    Oldest::Younger(at_ns) => break at_ns,
                    Oldest::None => break EMPTY,
                }
            };
        }
        Taken {
            records,
            all: true,
            younger: self.heads.iter().any(|head| *head != EMPTY),
        }
    }

    /// The queue with the oldest record up to `until_ns`, and up to when it may be read on.
    fn oldest(&self, until_ns: u64) -> Option<(usize, u64)> {
        let (mut oldest, mut first_ns, mut second_ns) = (0, EMPTY, EMPTY);
        for (index, &head_ns) in self.heads.iter().enumerate() {
            if head_ns < first_ns {
                (oldest, second_ns, first_ns) = (index, first_ns, head_ns);
            } else {
                second_ns = second_ns.min(head_ns);
            }
        }
        (first_ns <= until_ns).then_some((oldest, second_ns.min(until_ns)))
    }
}

/// Leaves the item where it is, and gives its time.
fn unread(item: RingBufItem<'_>) -> u64 {
    let at_ns = at_ns(&item);
    // Dropping it is what takes it out of the ring buffer; it owns nothing.
    std::mem::forget(item);
    at_ns
}

/// A record's time; of what is too short to be one, the earliest there is.
fn at_ns(record: &[u8]) -> u64 {
    const AT: usize = std::mem::offset_of!(RecordHeader, at_ns);
    let bytes = record.get(AT..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Records as they lie in a ring buffer: a header, and here the queue's number behind it.
    impl Queue for VecDeque<(u64, u8)> {
        fn take(&mut self, until_ns: u64, deliver: &mut impl FnMut(&[u8])) -> Oldest {
            let Some(&(at_ns, queue)) = self.front() else {
                return Oldest::None;
            };
            if at_ns > until_ns {
                return Oldest::Younger(at_ns);
            }
            let mut record = [0; size_of::<RecordHeader>() + 1];
            record[std::mem::offset_of!(RecordHeader, at_ns)..][..8].copy_from_slice(&at_ns.to_le_bytes());
            record[size_of::<RecordHeader>()] = queue;
            deliver(&record);
            self.pop_front();
            Oldest::Taken
        }

        fn look(&mut self) -> u64 {
            self.front().map_or(EMPTY, |(at_ns, _)| *at_ns)
        }
    }

    /// One call, and what it handed over.
    fn taken(rings: &mut Rings<VecDeque<(u64, u8)>>, until_ns: u64, most: usize) -> (Taken, Vec<(u64, u8)>) {
        let mut found = Vec::new();
        let taken = rings.take(until_ns, most, &mut |record| {
            found.push((at_ns(record), record[size_of::<RecordHeader>()]));
        });
        (taken, found)
    }

    proptest! {
        #[test]
        fn records_come_in_the_order_of_time_and_none_is_left_or_comes_twice(
            mut queues in prop::collection::vec(prop::collection::vec(0u64..50, 0..40), 1..5),
            steps in prop::collection::vec((0u64..20, 1usize..30), 1..8),
        ) {
            let mut all = Vec::new();
            for (number, queue) in (0u8..).zip(&mut queues) {
                queue.sort_unstable();
                all.extend(queue.iter().map(|at_ns| (*at_ns, number)));
            }
            let numbered = (0u8..).zip(&queues);
            let mut rings = Rings::new(
                numbered
                    .map(|(number, queue)| queue.iter().map(|at_ns| (*at_ns, number)).collect())
                    .collect(),
            );
            let mut came = Vec::new();
            let mut until_ns = 0;
            for (later_ns, most) in steps {
                until_ns += later_ns;
                let (taken, found) = taken(&mut rings, until_ns, most);
                prop_assert!(taken.records == found.len() && found.len() <= most);
                prop_assert!(found.iter().all(|(at_ns, _)| *at_ns <= until_ns));
                came.extend(found);
                let due = all.iter().filter(|(at_ns, _)| *at_ns <= until_ns).count();
                if taken.all {
                    prop_assert_eq!(came.len(), due);
                    prop_assert_eq!(taken.younger, came.len() < all.len());
                }
            }
            let (rest, found) = taken(&mut rings, EMPTY - 1, usize::MAX);
            prop_assert!(rest.all && !rest.younger);
            came.extend(found);
            prop_assert!(came.is_sorted_by_key(|(at_ns, _)| *at_ns));
            came.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(came, all);
        }
    }

    #[test]
    fn with_several_queues_the_newest_are_left_until_all_writers_are_done() {
        let queue = || VecDeque::from([(1, 0)]);
        assert_eq!(Rings::new(vec![queue()]).settled_ns(SETTLED_NS + 5), EMPTY - 1);
        let mut two = Rings::new(vec![queue(), queue()]);
        assert_eq!(two.settled_ns(SETTLED_NS + 5), 5);
        two.end();
        assert_eq!(two.settled_ns(SETTLED_NS + 5), EMPTY - 1);
    }
}
