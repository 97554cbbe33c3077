//! Bounded reads of a process's buffers into a record. All notes for the verifier on lengths live here.

use core::hint::black_box;

use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_probe_read_user as read_user};
use perf_common::record::TAIL_BYTES;

use crate::{kernel::Address, syscall::Source};

/// Pieces of an iovec array that are walked. A message in more pieces than this shows its first ones only.
const MAX_PIECES: u64 = 24;

/// Copies `length` bytes of one buffer to `to`, which has room for `ROOM`. Gives what was copied, 0 for a fault.
#[inline(always)]
pub fn copy<const ROOM: u32>(to: *mut u8, from: Address, length: u32) -> u32 {
    // VERIFIER: the bound has to be seen on the very value that the helper gets; `black_box` keeps the compiler, which
    // knows it from the size class, from dropping the comparison.
    let length = black_box(length);
    let length = if length > ROOM { ROOM } else { length };
    // SAFETY: `to` has room for ROOM bytes; `from` may be anything, the helper checks it.
    let failed = unsafe { read_user(to.cast(), length, from.cast()) };
    if failed == 0 { length } else { 0 }
}

/// Copies the first `length` bytes of an iovec array to `to`, which has room for twice `ROOM`: the verifier bounds the
/// place and the length of each piece apart, and cannot know that their sum stays below `ROOM`.
#[inline(always)]
pub fn gather<const ROOM: u32>(to: *mut u8, array: Address, count: u64, length: u32) -> u32 {
    // Most vectors are a head and a body: both pieces come by one read.
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let Ok([first, first_size, second, second_size]) = (unsafe { bpf_probe_read_user(array.cast::<[u64; 4]>()) })
    else {
        return 0;
    };
    let mut done = append::<ROOM>(to, 0, first, first_size, length);
    if u64::from(done) != first_size || done >= length {
        return done;
    }
    let taken = append::<ROOM>(to, done, second, second_size, length);
    done += taken;
    let mut index = 2;
    let mut whole = u64::from(taken) == second_size;
    while whole && index < MAX_PIECES && index < count && done < length {
        let Some((from, size)) = piece(array, index) else { break };
        let taken = append::<ROOM>(to, done, from as u64, size, length);
        done += taken;
        whole = u64::from(taken) == size;
        index += 1;
    }
    done
}

/// Copies one piece behind the `done` bytes before it, up to `length` in all. Gives what was copied, 0 for a fault.
#[inline(always)]
fn append<const ROOM: u32>(to: *mut u8, done: u32, from: u64, size: u64, length: u32) -> u32 {
    let left = length - done;
    let take = black_box(if size < u64::from(left) { size as u32 } else { left });
    // VERIFIER: the compiler knows that `length` is at most ROOM and would drop the comparisons that show it.
    let place = black_box(done);
    if place >= ROOM || take > ROOM {
        return 0;
    }
    // SAFETY: `place` is below ROOM and `take` at most ROOM, so the piece ends within twice ROOM.
    let failed = unsafe { read_user(to.add(place as usize).cast(), take, from as *const _) };
    if failed == 0 { take } else { 0 }
}

/// The last bytes of a segment of `length` bytes, right-aligned into `tail`; false if they cannot be found. `tail` has
/// room for twice [`TAIL_BYTES`], for the same reason as in [`gather`].
#[inline(always)]
pub fn tail(tail: *mut u8, source: Source, length: u32) -> bool {
    let (end, last) = match source {
        // SAFETY: only the address is computed.
        Source::Buffer(from, _) => (unsafe { from.add(length as usize) }, u64::from(length)),
        Source::Vector { array, count } => match end_of_vector(array, count, length) {
            Some(end) => end,
            None => return false,
        },
        _ => return false,
    };
    if last >= TAIL_BYTES as u64 {
        // SAFETY: `tail` has room; the address may be anything, the helper checks it.
        return unsafe { read_user(tail.cast(), TAIL_BYTES as u32, end.sub(TAIL_BYTES).cast()) } == 0;
    }
    // A short last piece: what lies before it in the stream stays 0.
    let last = last as u32;
    if last == 0 {
        return false;
    }
    // VERIFIER: a difference has no lower bound to it, so the place is masked, and the length on the value that is used;
    // `black_box` keeps the compiler, which knows that the masks change nothing, from dropping them.
    let last = black_box(last) & (TAIL_BYTES as u32 - 1);
    let place = black_box(TAIL_BYTES as u32 - last) & (TAIL_BYTES as u32 - 1);
    // SAFETY: as above; place and length are below TAIL_BYTES each.
    unsafe {
        tail.cast::<u64>().write_unaligned(0);
        read_user(tail.add(place as usize).cast(), last, end.sub(last as usize).cast()) == 0
    }
}

/// Where the first `length` bytes of an iovec array end, and how many of them are in that piece.
#[inline(always)]
fn end_of_vector(array: Address, count: u64, length: u32) -> Option<(Address, u64)> {
    let mut left = u64::from(length);
    let mut index = 0;
    while index < MAX_PIECES && index < count {
        let (from, size) = piece(array, index)?;
        if size >= left {
            // SAFETY: only the address is computed.
            return Some((unsafe { from.add(left as usize) }, left));
        }
        left -= size;
        index += 1;
    }
    None
}

/// One `struct iovec`: where, and how long.
#[inline(always)]
pub fn piece(array: Address, index: u64) -> Option<(Address, u64)> {
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let [from, size] = unsafe { bpf_probe_read_user(array.cast::<[u64; 2]>().add(index as usize)) }.ok()?;
    Some((from as Address, size))
}

/// The first buffer of a segment, and how long it is.
#[inline(always)]
pub fn first(source: Source) -> Option<(Address, u32)> {
    match source {
        Source::Buffer(from, _) => Some((from, u32::MAX)),
        Source::Vector { array, count } if count > 0 => {
            let (from, size) = piece(array, 0)?;
            Some((
                from,
                if size > u64::from(u32::MAX) {
                    u32::MAX
                } else {
                    size as u32
                },
            ))
        }
        _ => None,
    }
}

/// Bytes that a source has room for, as far as its pieces are walked.
#[inline(always)]
pub fn room(source: Source) -> u64 {
    match source {
        Source::Buffer(_, size) => size,
        Source::Vector { array, count } => {
            let mut room = 0;
            let mut index = 0;
            while index < MAX_PIECES && index < count {
                let Some((_, size)) = piece(array, index) else { break };
                room += size;
                index += 1;
            }
            room
        }
        _ => 0,
    }
}
