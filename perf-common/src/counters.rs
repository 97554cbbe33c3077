//! What the kernel side counts. One list, so that both sides and the API speak of the same things.

/// Index into the kernel side's per-CPU counter array. Records that arrive are counted by their reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Records that found the ring buffer full.
    Lost = 0,
    /// Bytes of segments that were moved but not copied: beyond the capture budget of their message.
    BytesTruncated = 1,
    /// Segments whose bytes could not be attributed to a buffer (kernel thread, `io_uring`, unknown system call).
    Unseen = 2,
    /// Segments whose memory could not be read.
    Faults = 3,
    /// Connections that came into view.
    ConnectionsOpened = 4,
    /// Connections that ended.
    ConnectionsClosed = 5,
    /// Segments of connections that could not be kept because the table was full.
    ConnectionsEvicted = 6,
    /// Connections judged to be of no interest (no known protocol).
    ConnectionsIgnored = 7,
    /// Segments folded into sums.
    Folded = 8,
    /// Segments of filtered-out processes or ports, at their connection's first segment.
    Filtered = 9,
    /// Segments of TLS sessions whose socket is not known.
    Unbound = 10,
    /// TLS sessions that were bound to a socket which the lengths of plaintext and ciphertext then spoke against.
    Misbound = 11,
    /// Calls of a hook in which the kernel did not run the program, since it ran on that processor already and had been
    /// preempted: whatever was moved then went by. The kernel counts them itself (`recursion_misses`, since Linux 5.12).
    Skipped = 12,
}

/// Number of counters.
pub const COUNTERS: usize = 13;

impl Counter {
    /// All counters in the order of their numbers.
    pub const ALL: [Self; COUNTERS] = [
        Self::Lost,
        Self::BytesTruncated,
        Self::Unseen,
        Self::Faults,
        Self::ConnectionsOpened,
        Self::ConnectionsClosed,
        Self::ConnectionsEvicted,
        Self::ConnectionsIgnored,
        Self::Folded,
        Self::Filtered,
        Self::Unbound,
        Self::Misbound,
        Self::Skipped,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_numbers() {
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
        }
    }
}
