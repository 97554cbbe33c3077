//! The ring buffers that the kernel side writes to: how many, how large, and their making.
//!
//! One buffer for all processors is a lock and a line of memory that all of them fight for. So there is one for each, as
//! long as they do not get too small; with many processors, some share one.

use aya::maps::{ArrayOfMaps, Map, MapData, MapError, RingBuf};
use aya::{Ebpf, EbpfError};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;

/// Bytes that a ring buffer has at least when the memory is divided: one processor may give all that there is, between
/// two looks of the reader that are ten milliseconds apart.
const LEAST_BYTES: u32 = 2 << 20;

/// The map of the object that the ring buffers are put into.
pub(super) const OUTER: &str = "RINGS";

/// How the memory is divided. Both are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Ring buffers.
    pub(super) count: u32,
    /// Bytes of each.
    pub(super) bytes: u32,
}

impl Shape {
    /// Divides `bytes`, a power of two, among so many processors.
    pub(super) fn of(bytes: u32, processors: usize) -> Self {
        let wanted = u32::try_from(processors.next_power_of_two()).unwrap_or(u32::MAX);
        let count = wanted.min((bytes / LEAST_BYTES).max(1));
        Self {
            count,
            bytes: bytes / count,
        }
    }
}

/// Makes the ring buffers and hands them to the kernel side.
pub(super) fn make(ebpf: &mut Ebpf, shape: Shape) -> Result<Vec<RingBuf<MapData>>, EbpfError> {
    let outer = ebpf
        .map_mut(OUTER)
        .ok_or_else(|| MapError::InvalidName { name: OUTER.to_owned() })?;
    let mut outer: ArrayOfMaps<_, MapData> = ArrayOfMaps::try_from(outer)?;
    (0..shape.count)
        .map(|index| {
            let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, shape.bytes, 0);
            let ring = MapData::create(definition, "RING", None)?;
            outer.set(index, &ring, 0)?;
            Ok(RingBuf::try_from(Map::RingBuf(ring))?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_has_a_ring_until_they_get_too_small() {
        let shape = |bytes, processors| {
            let Shape { count, bytes } = Shape::of(bytes, processors);
            (count, bytes)
        };
        assert_eq!(shape(8 << 20, 1), (1, 8 << 20));
        assert_eq!(shape(8 << 20, 2), (2, 4 << 20));
        assert_eq!(shape(8 << 20, 3), (4, 2 << 20));
        assert_eq!(shape(8 << 20, 64), (4, 2 << 20));
        assert_eq!(shape(128 << 20, 64), (64, 2 << 20));
        assert_eq!(shape(2 << 20, 64), (1, 2 << 20));
        assert_eq!(shape(16 << 10, 64), (1, 16 << 10));
        assert_eq!(shape(4096, 0), (1, 4096));
    }
}
