//! Records into the ring buffer: reserved in a few size classes, filled in place, submitted without waking the reader
//! (a timer of the reader's does), counted when lost.

use core::hint::cold_path;

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_query},
    maps::ring_buf::RingBufEntry,
};
use perf_common::{
    counters::Counter,
    record::{DataRecord, ExitRecord, RecordHeader, StateRecord, TAIL_BYTES, change, direction, flag, kind},
    state::{ConnectionState, flags},
};

use crate::{
    buffers,
    maps::{Ring, count, processor, ring, wake_bytes},
    syscall::{Kind, Source},
};

/// Monotonic nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// See [`wakeup`].
const ASK_EVERY: u64 = 8;

/// A segment on its way into a record.
#[derive(Clone, Copy)]
pub struct Segment {
    /// When its bytes had moved.
    pub at_ns: u64,
    /// When the oldest of them became readable; 0 if not known.
    pub arrival_ns: u64,
    /// Position behind it.
    pub position_end: u32,
    /// Its bytes.
    pub length: u32,
    /// Process and thread.
    pub tgid: u32,
    /// See `tgid`.
    pub tid: u32,
    /// One of [`perf_common::record::direction`].
    pub direction: u8,
    /// Bits of [`flag`] known so far.
    pub flags: u16,
    /// Its last bytes, if [`flag::TAIL`] says so.
    pub tail: [u8; TAIL_BYTES],
}

/// Reserves an item in a processor's ring buffer, or counts it as lost. It has to be submitted.
#[inline(always)]
pub fn reserve<T: 'static>(processor: u16) -> Option<(&'static Ring, RingBufEntry<T>)> {
    let entry = ring(processor).and_then(|ring| Some((ring, ring.reserve_untyped::<T>(0)?)));
    if entry.is_none() {
        cold_path();
        count(Counter::Lost, 1);
    }
    entry
}

/// One size class: the record and room for captured bytes behind it.
#[repr(C, align(8))]
struct Class<const ROOM: usize> {
    record: DataRecord,
    payload: [u8; ROOM],
}

/// Sizes of whole items (record, payload and the ring buffer's own 8 bytes): 256 bytes, 1, 4 and 16 KiB.
const TINY: u32 = 184;
const SMALL: u32 = 952;
const MEDIUM: u32 = 4024;
const LARGE: u32 = 16_320;
/// Rooms of the classes for vectors, which need it twice (see [`buffers::gather`]).
const SMALL_VECTOR: u32 = 1 << 10;
const MEDIUM_VECTOR: u32 = 1 << 12;
const LARGE_VECTOR: u32 = 1 << 14;

/// Emits a data record with the first `wanted` bytes of the segment. Gives the bytes that were captured.
#[inline(always)]
pub fn segment(state: &mut ConnectionState, segment: Segment, source: Source, wanted: u32) -> u32 {
    match source.kind {
        _ if wanted == 0 => fill::<0, 0, false>(state, segment, source, 0),
        Kind::Buffer | Kind::Queued if wanted <= TINY => {
            fill::<{ TINY as usize }, TINY, false>(state, segment, source, wanted)
        }
        Kind::Buffer | Kind::Queued if wanted <= SMALL => {
            fill::<{ SMALL as usize }, SMALL, false>(state, segment, source, wanted)
        }
        Kind::Buffer | Kind::Queued if wanted <= MEDIUM => {
            cold_path();
            fill::<{ MEDIUM as usize }, MEDIUM, false>(state, segment, source, wanted)
        }
        Kind::Buffer | Kind::Queued => {
            cold_path();
            fill::<{ LARGE as usize }, LARGE, false>(state, segment, source, wanted)
        }
        Kind::Vector if wanted < SMALL_VECTOR => {
            fill::<{ 2 * SMALL_VECTOR as usize }, SMALL_VECTOR, true>(state, segment, source, wanted)
        }
        Kind::Vector if wanted < MEDIUM_VECTOR => {
            cold_path();
            fill::<{ 2 * MEDIUM_VECTOR as usize }, MEDIUM_VECTOR, true>(state, segment, source, wanted)
        }
        Kind::Vector => {
            cold_path();
            fill::<{ 2 * LARGE_VECTOR as usize }, LARGE_VECTOR, true>(state, segment, source, wanted)
        }
        _ => fill::<0, 0, false>(state, segment, source, 0),
    }
}

/// Reserves an item of one class and fills it. `ROOM` bytes are reserved behind the record, `LIMIT` of them are used.
#[inline(always)]
fn fill<const ROOM: usize, const LIMIT: u32, const VECTOR: bool>(
    state: &mut ConnectionState,
    segment: Segment,
    source: Source,
    wanted: u32,
) -> u32 {
    let reserved = reserve::<Class<ROOM>>(state.ring);
    note_loss(state, segment.direction, reserved.is_none());
    let Some((ring, mut entry)) = reserved else {
        return 0;
    };
    let item = entry.as_mut_ptr();
    // SAFETY: `item` is a reserved item of this class; every field of the record is written before it is submitted, and
    // `size` says how much of the payload is.
    unsafe {
        let record = &raw mut (*item).record;
        let mut flags = segment.flags;
        let payload = (&raw mut (*item).payload).cast::<u8>();
        let captured = match source.kind {
            Kind::Vector if VECTOR => buffers::gather::<LIMIT>(payload, source.at, source.size, wanted),
            Kind::Buffer if LIMIT > 0 => buffers::copy::<LIMIT>(payload, source.at, wanted),
            Kind::Queued if LIMIT > 0 => buffers::copy_queued::<LIMIT>(payload, source.at, wanted),
            _ => 0,
        };
        if captured == 0 && wanted > 0 {
            cold_path();
            flags |= flag::FAULT;
            count(Counter::Faults, 1);
        }
        (&raw mut (*record).header).write(RecordHeader {
            kind: kind::DATA,
            flags,
            size: size_of::<DataRecord>() as u32 + captured,
            at_ns: segment.at_ns,
        });
        (&raw mut (*record).connection).write(state.connection);
        (&raw mut (*record).arrival_ns).write(segment.arrival_ns);
        (&raw mut (*record).position_end).write(segment.position_end);
        (&raw mut (*record).length).write(segment.length);
        (&raw mut (*record).captured).write(captured);
        (&raw mut (*record).tgid).write(segment.tgid);
        (&raw mut (*record).tid).write(segment.tid);
        (&raw mut (*record).direction).write(segment.direction);
        (&raw mut (*record).reserved).write([0; 3]);
        (&raw mut (*record).tail).write(segment.tail);
        entry.submit(wakeup::<Class<ROOM>>(ring, segment.at_ns));
        if captured < segment.length {
            cold_path();
            count(Counter::BytesTruncated, u64::from(segment.length - captured));
        }
        captured
    }
}

/// Remembers whether the newest bytes of a direction are told of.
#[inline(always)]
pub fn note_loss(state: &mut ConnectionState, moved: u8, lost: bool) {
    let flag = if moved == direction::SENT {
        flags::LOST_SENT
    } else {
        flags::LOST_RECEIVED
    };
    if lost {
        state.flags |= flag;
    } else {
        state.flags &= !flag;
    }
}

/// Reports what was folded of a message, with the sums kept in the connection's state.
#[inline(always)]
pub fn folded(state: &mut ConnectionState, direction: u8) {
    let reserved = reserve::<DataRecord>(state.ring);
    note_loss(state, direction, reserved.is_none());
    let Some((ring, mut entry)) = reserved else {
        return;
    };
    entry.write(DataRecord {
        header: RecordHeader {
            kind: kind::DATA,
            flags: flag::FOLDED | flag::TAIL,
            size: size_of::<DataRecord>() as u32,
            at_ns: state.folded_ns,
        },
        connection: state.connection,
        arrival_ns: 0,
        position_end: state.folded_position,
        length: state.folded_bytes,
        captured: 0,
        tgid: state.tgid,
        tid: state.tid,
        direction,
        reserved: [0; 3],
        tail: state.folded_tail,
    });
    entry.submit(wakeup::<DataRecord>(ring, state.folded_ns));
}

/// Reports a change of a connection's TCP state. Where the record of its last bytes was lost, what a close means for them
/// would be a guess: then only its end is told, as [`change::FORGOTTEN`].
#[inline(always)]
pub fn state_change(state: &ConnectionState, what: u8) {
    let lost = state.flags & (flags::LOST_RECEIVED | flags::LOST_SENT) != 0;
    let change = if lost { change::FORGOTTEN } else { what };
    if lost && what != change::DESTROYED {
        return;
    }
    let Some((ring, mut entry)) = reserve::<StateRecord>(state.ring) else {
        return;
    };
    let at_ns = now();
    entry.write(StateRecord {
        header: RecordHeader {
            kind: kind::STATE,
            flags: 0,
            size: size_of::<StateRecord>() as u32,
            at_ns,
        },
        connection: state.connection,
        change,
        reserved: [0; 7],
    });
    entry.submit(wakeup::<StateRecord>(ring, at_ns));
}

/// Reports the end of a process, or of its program.
#[inline(always)]
pub fn process_exit(tgid: u32, what: u32) {
    let Some((ring, mut entry)) = reserve::<ExitRecord>(processor()) else {
        return;
    };
    let at_ns = now();
    entry.write(ExitRecord {
        header: RecordHeader {
            kind: kind::EXIT,
            flags: 0,
            size: size_of::<ExitRecord>() as u32,
            at_ns,
        },
        tgid,
        what,
    });
    entry.submit(wakeup::<ExitRecord>(ring, at_ns));
}

/// The reader looks by a timer; it is woken only when much waits for it. Of small items one in [`ASK_EVERY`] asks, chosen
/// by its time.
#[inline(always)]
pub fn wakeup<T>(ring: &'static Ring, at_ns: u64) -> u64 {
    // Multiplied, since a coarse clock's last digits are always the same.
    let chance = at_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if size_of::<T>() < SMALL as usize && !chance.is_multiple_of(ASK_EVERY) {
        return u64::from(BPF_RB_NO_WAKEUP);
    }
    cold_path();
    let map = core::ptr::from_ref(ring).cast_mut().cast();
    // SAFETY: the map is a ring buffer; the helper has no other precondition.
    let waiting = unsafe { bpf_ringbuf_query(map, u64::from(BPF_RB_AVAIL_DATA)) };
    u64::from(if waiting > u64::from(wake_bytes()) {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    })
}
