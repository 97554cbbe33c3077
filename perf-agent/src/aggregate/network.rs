//! How packets fare on the connections of an endpoint.

use super::distribution::Distribution;
use super::packing::{Reader, put};

/// What one connection's socket said, and what is new in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Smoothed round-trip time.
    pub rtt_ns: Option<u64>,
    /// Its mean deviation.
    pub rtt_variance_ns: u64,
    /// Segments sent again since the last sample.
    pub retransmits: u32,
    /// How long it took to connect; told once.
    pub connect_ns: Option<u64>,
}

/// Sums of one endpoint in one stretch of time. A connection tells once a second while it is used, and at its end, and is
/// counted with the endpoint that it was used for last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Smoothed round-trip times, one of each connection and second.
    pub rtt: Distribution,
    /// Their mean deviations.
    pub rtt_variance: Distribution,
    /// How long it took to connect.
    pub connect: Distribution,
    /// Segments sent again.
    pub retransmits: u64,
    /// Connections that ended by an RST or a time-out.
    pub resets: u64,
}

impl Network {
    pub(super) fn add(&mut self, sample: &Sample) {
        if let Some(rtt_ns) = sample.rtt_ns {
            self.rtt.record(rtt_ns);
            self.rtt_variance.record(sample.rtt_variance_ns);
        }
        if let Some(connect_ns) = sample.connect_ns {
            self.connect.record(connect_ns);
        }
        self.retransmits += u64::from(sample.retransmits);
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.rtt.merge(&other.rtt);
        self.rtt_variance.merge(&other.rtt_variance);
        self.connect.merge(&other.connect);
        self.retransmits += other.retransmits;
        self.resets += other.resets;
    }

    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        self.rtt.pack(out);
        self.rtt_variance.pack(out);
        self.connect.pack(out);
        put(out, self.retransmits.into());
        put(out, self.resets.into());
    }

    pub(super) fn unpack(reader: &mut Reader<'_>) -> Self {
        Self {
            rtt: Distribution::unpack(reader),
            rtt_variance: Distribution::unpack(reader),
            connect: Distribution::unpack(reader),
            retransmits: reader.count(),
            resets: reader.count(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.rtt.heap_bytes() + self.rtt_variance.heap_bytes() + self.connect.heap_bytes()
    }
}
