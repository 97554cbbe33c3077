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

/// See the module.
pub(super) struct Rings {
    maps: Vec<RingBuf<MapData>>,
    /// The time of each ring buffer's oldest record, [`EMPTY`] if there is none.
    heads: Vec<u64>,
    /// Nothing more is written.
    ended: bool,
}

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

impl Rings {
    pub(super) fn new(rings: Vec<RingBuf<MapData>>) -> Self {
        let heads = vec![EMPTY; rings.len()];
        Self {
            maps: rings,
            heads,
            ended: false,
        }
    }

    /// The maps, to be watched.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RingBuf<MapData>> {
        self.maps.iter()
    }

    /// Nothing more is written: what is there is all there will be.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Up to when records can be taken now, in their right order.
    pub(super) fn settled_ns(&self, now_ns: u64) -> u64 {
        if self.ended || self.maps.len() == 1 {
            EMPTY - 1
        } else {
            now_ns.saturating_sub(SETTLED_NS)
        }
    }

    /// Hands over records up to `until_ns`, at most about so many.
    pub(super) fn take(&mut self, until_ns: u64, most: usize, mut deliver: impl FnMut(&[u8])) -> Taken {
        for (ring, head) in self.maps.iter_mut().zip(&mut self.heads) {
            *head = ring.next().map_or(EMPTY, unread);
        }
        let mut records = 0;
        loop {
            let Some((oldest, limit_ns)) = self.oldest(until_ns) else {
                let younger = self.heads.iter().any(|head| *head != EMPTY);
                return Taken {
                    records,
                    all: true,
                    younger,
                };
            };
            // As long as no other ring buffer has an older one.
            while let Some(item) = self.maps[oldest].next() {
                if at_ns(&item) > limit_ns {
                    self.heads[oldest] = unread(item);
                    break;
                }
                if records >= most {
                    unread(item);
                    return Taken {
                        records,
                        all: false,
                        younger: true,
                    };
                }
                deliver(&item);
                records += 1;
                self.heads[oldest] = EMPTY;
            }
        }
    }

    /// The ring buffer with the oldest record up to `until_ns`, and up to when it may be read on.
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
