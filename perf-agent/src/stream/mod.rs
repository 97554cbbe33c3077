//! Connections as two ordered byte streams: what the kernel side saw of each, put in its place.
//!
//! A segment says where in its direction's stream it ends. That is enough to order, to cut what comes twice, and to
//! see what is missing ([`Flow`]). A [`connection`] finds out which protocol is spoken and feeds its dissector; the
//! [`table`] keeps as many connections as it may.
//!
//! Nothing is held back to be sorted. The kernel side puts records of one socket's direction into the ring buffer in
//! their order, unless several threads write to it at once, which no protocol here survives; then the later one is a
//! gap, and what comes behind it is cut. The two directions may change places by a moment, when one thread sends and
//! another receives: dissectors bear that.

pub mod connection;
pub mod table;

/// How far one direction's byte stream is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Position behind the last byte; the low half is the kernel's.
    expected: Option<u64>,
}

/// Where a segment's bytes lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Bytes missing before it.
    pub lost: u64,
    /// Bytes at its beginning that were told of before.
    pub repeated: u32,
    /// Bytes behind those: news.
    pub new: u32,
}

impl Flow {
    /// Puts `length` bytes that end at `position_end` (modulo 2^32) behind what is known. The first ones set the
    /// position.
    ///
    /// A segment covers the expected position or lies ahead of it, or it is old. An old one may also be one that lies
    /// more than 2 GiB ahead: then too much was lost to tell, and the bytes in between are not seen again anyway.
    #[inline]
    pub fn place(&mut self, position_end: u32, length: u32) -> Placed {
        let Some(expected) = self.expected else {
            self.expected = Some(u64::from(position_end));
            return Placed {
                lost: 0,
                repeated: 0,
                new: length,
            };
        };
        #[expect(clippy::cast_possible_truncation, reason = "the kernel's positions are modulo 2^32")]
        let ahead = position_end.wrapping_sub(expected as u32);
        let placed = if ahead <= length {
            Placed {
                lost: 0,
                repeated: length - ahead,
                new: ahead,
            }
        } else if ahead > u32::MAX / 2 {
            return Placed {
                lost: 0,
                repeated: length,
                new: 0,
            };
        } else {
            Placed {
                lost: u64::from(ahead - length),
                repeated: 0,
                new: length,
            }
        };
        self.expected = Some(expected + u64::from(ahead));
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(segments: &[(u32, u32)], expected: &[(u64, u32, u32)]) {
        let mut flow = Flow::default();
        let placed: Vec<_> = segments
            .iter()
            .map(|&(end, length)| flow.place(end, length))
            .map(|placed| (placed.lost, placed.repeated, placed.new))
            .collect();
        assert_eq!(placed, expected);
    }

    #[test]
    fn segments_in_order_are_all_news() {
        check(&[(110, 10), (120, 10), (121, 1)], &[(0, 0, 10), (0, 0, 10), (0, 0, 1)]);
    }

    #[test]
    fn positions_wrap() {
        check(
            &[(u32::MAX - 4, 10), (5, 10), (25, 10)],
            &[(0, 0, 10), (0, 0, 10), (10, 0, 10)],
        );
    }

    #[test]
    fn what_was_asked_but_not_sent_comes_again() {
        check(
            &[(1000, 1000), (1000, 800), (1100, 900)],
            &[(0, 0, 1000), (0, 800, 0), (0, 800, 100)],
        );
    }

    #[test]
    fn a_lost_segment_is_a_gap_and_a_late_one_is_old() {
        check(
            &[(10, 10), (30, 10), (20, 10), (40, 10)],
            &[(0, 0, 10), (10, 0, 10), (0, 10, 0), (0, 0, 10)],
        );
        // At the end of a stream nothing comes, and that shows it too.
        check(&[(10, 10), (30, 0)], &[(0, 0, 10), (20, 0, 0)]);
    }

    #[test]
    fn a_sum_may_be_told_several_times_while_it_grows() {
        check(
            &[(10, 10), (110, 100), (110, 100), (510, 500)],
            &[(0, 0, 10), (0, 0, 100), (0, 100, 0), (0, 100, 400)],
        );
        // More than 4 GiB in all: the sum itself has wrapped, the positions still add up.
        let step = 1u32 << 30;
        let sums: Vec<_> = (1..=6u32)
            .map(|n| (step.wrapping_mul(n), step.wrapping_mul(n)))
            .collect();
        let mut flow = Flow::default();
        flow.place(0, 0);
        let moved: u64 = sums
            .iter()
            .map(|&(end, length)| flow.place(end, length))
            .map(|p| p.lost + u64::from(p.new))
            .sum();
        assert_eq!(moved, 6 << 30);
    }
}
