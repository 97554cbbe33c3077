//! Bounded reads of a process's buffers into a record. All notes for the verifier on lengths live here.

use core::hint::black_box;

use aya_ebpf::helpers::{
    bpf_probe_read_user,
    generated::{bpf_probe_read_kernel as read_kernel, bpf_probe_read_user as read_user},
};
use perf_common::{record::TAIL_BYTES, settings::MAX_PIECES};

use crate::{
    kernel::Address,
    syscall::{Kind, Source},
};

/// The same number, of which the verifier no longer knows anything: what it knows differs from one way to the next, and
/// would make it walk all that follows once for each of them.
#[inline(always)]
pub fn forget(number: u32) -> u32 {
    // VERIFIER: up to Linux 6.9 any change of the byte order gives an unknown number.
    black_box(number.swap_bytes()).swap_bytes()
}

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

/// [`copy`] from a buffer of the kernel.
#[inline(always)]
pub fn copy_queued<const ROOM: u32>(to: *mut u8, from: Address, length: u32) -> u32 {
    // VERIFIER: as in `copy`.
    let length = black_box(length);
    let length = if length > ROOM { ROOM } else { length };
    // SAFETY: as in `copy`.
    let failed = unsafe { read_kernel(to.cast(), length, from.cast()) };
    if failed == 0 { length } else { 0 }
}

/// Copies the first `length` bytes of an iovec array to `to`, which has room for twice `ROOM`, a power of two: the
/// verifier bounds the place and the length of each piece apart, and cannot know that their sum stays below `ROOM`.
#[inline(always)]
pub fn gather<const ROOM: u32>(to: *mut u8, array: Address, count: u64, length: u32) -> u32 {
    // Most vectors are a head and a body: both pieces come by one read.
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let Ok([first, first_size, second, second_size]) = (unsafe { bpf_probe_read_user(array.cast::<[u64; 4]>()) })
    else {
        return 0;
    };
    let length = forget(length) & (ROOM - 1);
    let done = append::<ROOM>(to, 0, first, first_size, length);
    if u64::from(done) != first_size || done >= length {
        return done;
    }
    let mut done = append::<ROOM>(to, done, second, second_size, length);
    let mut whole = u64::from(done) == first_size + second_size;
    let mut index = 2;
    while whole && index < MAX_PIECES && index < count && done < length {
        let Some((from, size)) = piece(array, index) else { break };
        let before = done;
        done = append::<ROOM>(to, before, from as u64, size, length);
        whole = u64::from(done - before) == size;
        index += 1;
    }
    done
}

/// Copies one piece behind the `done` bytes before it, up to `length` in all. Gives what is there then; a fault adds
/// nothing.
#[inline(always)]
fn append<const ROOM: u32>(to: *mut u8, done: u32, from: u64, size: u64, length: u32) -> u32 {
    let left = length - done;
    let take = if size < u64::from(left) { size as u32 } else { left };
    // VERIFIER: masks that change nothing, `black_box` keeps the compiler from dropping them. All ways through the loop
    // look the same behind them, so that the verifier walks each piece once and not once for each way to it.
    let place = black_box(done) & (ROOM - 1);
    let take = black_box(take) & (ROOM - 1);
    // SAFETY: `place` and `take` are below ROOM, so the piece ends within twice ROOM.
    let failed = unsafe { read_user(to.add(place as usize).cast(), take, from as *const _) };
    let done = if failed == 0 { place + take } else { place };
    black_box(done) & (ROOM - 1)
}

/// The last bytes of a segment of `length` bytes, right-aligned; none if they cannot be found.
#[inline(always)]
pub fn tail(source: Source, length: u32) -> Option<[u8; TAIL_BYTES]> {
    let (end, last) = match source.kind {
        Kind::Vector => end_of_vector(source.at, source.size, length)?,
        // SAFETY: only the address is computed.
        Kind::Buffer | Kind::Queued if source.size >= u64::from(length) => {
            (unsafe { source.at.add(length as usize) }, u64::from(length))
        }
        _ => return None,
    };
    if last == 0 {
        return None;
    }
    let last = if last >= TAIL_BYTES as u64 {
        TAIL_BYTES as u32
    } else {
        last as u32
    };
    // VERIFIER: as in `copy`.
    let last = black_box(last);
    if last > TAIL_BYTES as u32 {
        return None;
    }
    let mut tail = 0u64;
    // SAFETY: `tail` has room for `last` bytes; the address may be anything, the helper checks it.
    let read = unsafe {
        read_either(
            source.kind == Kind::Queued,
            (&raw mut tail).cast(),
            last,
            end.sub(last as usize),
        )
    };
    // Of a short last piece: what lies before it in the stream stays 0.
    read.then_some((tail << (8 * (TAIL_BYTES as u32 - last))).to_le_bytes())
}

/// Reads from a buffer of the kernel's or of the process's; false for a fault.
///
/// # Safety
/// `to` has room for `length` bytes.
#[inline(always)]
unsafe fn read_either(queued: bool, to: *mut u8, length: u32, from: Address) -> bool {
    // SAFETY: of the caller; `from` may be anything, the helpers check it.
    unsafe {
        if queued {
            read_kernel(to.cast(), length, from.cast()) == 0
        } else {
            read_user(to.cast(), length, from.cast()) == 0
        }
    }
}

/// Where the first `length` bytes of an iovec array end, and how many of them are in that piece.
#[inline(always)]
fn end_of_vector(array: Address, count: u64, length: u32) -> Option<(Address, u64)> {
    let mut left = u64::from(forget(length));
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
    match source.kind {
        Kind::Buffer => Some((source.at, u32::MAX)),
        Kind::Queued => Some((source.at, source.size as u32)),
        Kind::Vector if source.size > 0 => {
            let (from, size) = piece(source.at, 0)?;
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
