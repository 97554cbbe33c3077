//! HTTP/2's frames, RFC 9113, 4.1: of each segment the headers of its frames are captured, and the payloads that say what
//! is asked and answered (header blocks) or given up. Everything else is passed over by its length.

use core::hint::black_box;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel as read_kernel, bpf_probe_read_user as read_user};
use perf_common::{
    counters::Counter,
    record::{DataRecord, RecordHeader, TAIL_BYTES, direction, flag, kind},
    state::{ConnectionState, FrameCursor, flags, part},
};

use crate::{
    buffers, capture, connection,
    emit::{self, Segment},
    kernel::{Address, Thread},
    maps::{FRAMES, count},
    syscall::{Kind, Source},
};

/// Bytes of a frame's header.
const HEADER_BYTES: u32 = 9;
/// Bytes of a client's preface.
const PREFACE_BYTES: u32 = 24;
/// Most bytes of one header block's frame that are captured.
const BLOCK_BYTES: u32 = 16 << 10;
/// Most bytes of one step, a power of two.
const STEP_BYTES: u32 = 512;
/// Bytes of a record's pieces, a power of two.
const ROOM: u32 = 1024;
/// Steps of one record: one for each frame's header, payload and piece of a vector.
const STEPS: u32 = 32;
/// Records of one segment. What is beyond is lost sight of.
const RECORDS: u32 = 32;
/// Bytes that stand before a piece.
const PIECE_BYTES: u32 = 8;

/// Answers of [`walk_frames`]: the record is out and the segment at its end; or goes on.
const DONE: u32 = 0;
const MORE: u32 = 1;
/// The record is lost.
const LOST: u32 = 2;
/// There are no frames in it that can be made out.
const NOTHING: u32 = 3;

/// A record and its pieces; the last one may begin right before the end of the room.
#[repr(C, align(8))]
struct Item {
    record: DataRecord,
    payload: [u8; (ROOM + STEP_BYTES + PIECE_BYTES) as usize],
}

/// Of the cursor of what is received (0) or sent (1). The connection's id is the time of its beginning and does not use
/// the highest bit.
#[inline(always)]
fn key(state: &ConnectionState, sent: u64) -> u64 {
    state.connection << 1 | sent
}

/// A client's preface was seen, or frames of a connection that was there before (`joined`): both directions are followed
/// from here. False if there is no room for it.
#[inline(always)]
pub fn begin(state: &ConnectionState, segment: Segment, joined: bool) -> bool {
    let start = segment.position_end.wrapping_sub(segment.length);
    let direction = u32::from(segment.direction) | u32::from(joined) << 1;
    follow_frames(state.connection, state.ring, direction, start) != 0
}

/// [`begin`]: the client's frames, which are sent or received, begin at `start`. In `direction`'s second bit, whether there is
/// no preface before them.
// VERIFIER: a global function, so that what it holds is not on the stack of those that call it. 5.10 to 6.12 allow 512
// bytes to a program with what it calls.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would be on the stack twice"
)]
extern "C" fn follow_frames(connection: u64, ring: u16, direction: u32, start: u32) -> u32 {
    let joined = direction & 2 != 0;
    let mut cursor = FrameCursor {
        connection,
        arrival_ns: 0,
        expected: start,
        part: if joined { part::LOST } else { part::COPIED },
        left: PREFACE_BYTES,
        after: 0,
        flags: 0,
        ring: u32::from(ring),
        header: [0; 32],
        from: 0,
        there: 0,
        index: 0,
        walked: 0,
        again: 0,
        out: 0,
        piece_at: 0,
        piece_end: 0,
        told: 0,
    };
    let sent = u64::from(direction & 1 == u32::from(direction::SENT));
    let asks = FRAMES.insert(connection << 1 | sent, &cursor, 0).is_ok();
    // Where the answers begin is not known: with the first segment, if that begins like a frame.
    cursor.part = part::LOST;
    u32::from(asks && FRAMES.insert(connection << 1 | (1 - sent), &cursor, 0).is_ok())
}

/// The socket is gone.
#[inline(always)]
pub fn end(state: &ConnectionState) {
    for sent in [0, 1] {
        // A second deletion of the same key is no error of ours.
        let _gone = FRAMES.remove(key(state, sent));
    }
}

/// A segment of a connection whose frames are followed.
#[inline(always)]
pub fn moved(state: &mut ConnectionState, segment: Segment, source: Source) {
    let key = key(state, u64::from(segment.direction == direction::SENT));
    let Some(cursor) = FRAMES.get_ptr_mut(key) else { return };
    // SAFETY: a map value stays readable and writable while the program runs. One direction of a connection is moved by
    // one thread at a time, or its bytes make no sense to anybody.
    let cursor = unsafe { &mut *cursor };
    let start = segment.position_end.wrapping_sub(segment.length);
    if cursor.part == part::SKIPPED && cursor.expected == start && cursor.left > segment.length {
        cursor.left -= segment.length;
        cursor.expected = segment.position_end;
        return pass(state, segment);
    }
    connection::flush(state);
    cursor.arrival_ns = segment.arrival_ns;
    cursor.flags = u32::from(segment.flags);
    cursor.again = cursor.expected.wrapping_sub(start);
    if cursor.part == part::LOST || cursor.again > segment.length {
        cursor.again = 0;
        cursor.part = part::LOST;
        cursor.left = HEADER_BYTES;
    }
    let pieces = if source.kind == Kind::Vector {
        source.size as u16
    } else {
        0
    };
    (cursor.from, cursor.there) = match source.kind {
        Kind::Buffer => (source.at as u64, segment.length),
        _ => (0, 0),
    };
    (cursor.index, cursor.walked, cursor.told) = (0, 0, 0);
    let place = u64::from(segment.position_end) << 32 | u64::from(segment.length);
    let mut records = 0;
    let mut answer = MORE;
    while records < RECORDS && answer == MORE {
        records += 1;
        let last = u64::from(records == RECORDS);
        answer = walk_frames(
            key,
            source.at as u64,
            u64::from(pieces) << 1 | last,
            place,
            segment.at_ns,
        );
    }
    match answer {
        NOTHING => pass(state, segment),
        _ => emit::note_loss(state, segment.direction, answer == LOST),
    }
}

/// Nothing of it is captured: it is added to sums, which are reported before the next record of this direction.
#[inline(always)]
fn pass(state: &mut ConnectionState, segment: Segment) {
    state.flags |= flags::FOLDING;
    capture::fold(state, segment);
}

/// Walks over a segment's frames, from where it was left, until its end or until a record is full, and emits that.
/// `pieces`: those of its vector, and in the lowest bit whether this is its last record; `place`: the position behind it, and
/// its length.
// VERIFIER: a global function, see `process::tell_process`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_frames(key: u64, array: u64, pieces: u64, place: u64, at_ns: u64) -> u32 {
    let Some(cursor) = FRAMES.get_ptr_mut(key) else {
        return LOST;
    };
    // SAFETY: as in `moved`.
    let mut cursor = unsafe { &mut *cursor };
    let (length, end) = (place as u32, (place >> 32) as u32);
    let Some((ring, mut entry)) = emit::reserve::<Item>(cursor.ring as u16) else {
        cursor.part = part::LOST;
        return LOST;
    };
    let item = entry.as_mut_ptr();
    // SAFETY: only the address is computed.
    let payload = unsafe { (&raw mut (*item).payload).cast::<u8>() };
    (cursor.out, cursor.piece_at, cursor.piece_end) = (0, 0, cursor.told);
    let mut step = 0;
    let (mut stray, mut over) = (false, pieces & 1 != 0);
    while step < STEPS && cursor.walked < length {
        step += 1;
        // VERIFIER: everything that a step leaves to the next one goes through the map's value, of which the verifier knows
        // nothing: all ways to here look the same, so that it walks each step once. `black_box` keeps the compiler from
        // holding it in registers.
        cursor = black_box(cursor);
        let took = match take(cursor, payload, array, (pieces >> 1) as u32, length) {
            Took::Bytes(bytes) => bytes,
            Took::Piece => continue,
            Took::Full => break,
            Took::Nothing => {
                over = true;
                break;
            }
        };
        cursor.walked += took;
        cursor.from += u64::from(took);
        cursor.there -= took;
        if cursor.left == 0 && !next_part(cursor) {
            stray = true;
            break;
        }
    }
    cursor = black_box(cursor);
    if stray {
        cursor.left = HEADER_BYTES;
        cursor.expected = end;
        entry.discard(0);
        return NOTHING;
    }
    if over {
        pass_over(cursor, length - cursor.walked);
        cursor.walked = length;
    }
    let told = cursor.told;
    cursor.told = cursor.walked;
    cursor.expected = end.wrapping_sub(length - cursor.walked);
    let captured = black_box(cursor.out) & (2 * ROOM - 1);
    let Thread { tgid, tid, .. } = Thread::current();
    // SAFETY: `item` is a reserved item of this size, and its sizes say how much of the payload is written.
    unsafe {
        (&raw mut (*item).record).write(DataRecord {
            header: RecordHeader {
                kind: kind::DATA,
                flags: cursor.flags as u16 | flag::PIECES,
                size: size_of::<DataRecord>() as u32 + captured,
                at_ns,
            },
            connection: cursor.connection,
            arrival_ns: cursor.arrival_ns,
            position_end: cursor.expected,
            length: cursor.walked - told,
            captured,
            tgid,
            tid,
            direction: (key & 1) as u8,
            reserved: [0; 3],
            tail: [0; TAIL_BYTES],
        });
    }
    entry.submit(emit::wakeup::<Item>(ring, at_ns));
    if cursor.walked < length { MORE } else { DONE }
}

/// What a step came to.
enum Took {
    /// So many bytes, of one part.
    Bytes(u32),
    /// The next piece of the vector.
    Piece,
    /// The record is full.
    Full,
    /// There is no more, or it cannot be read.
    Nothing,
}

/// One step: the next bytes of one part that lie in one piece of the process's memory; captured if that part is.
#[inline(always)]
fn take(cursor: &mut FrameCursor, payload: *mut u8, array: u64, pieces: u32, length: u32) -> Took {
    if cursor.there == 0 {
        if cursor.index >= pieces {
            return Took::Nothing;
        }
        let Some((from, bytes)) = buffers::piece(array as Address, u64::from(cursor.index)) else {
            return Took::Nothing;
        };
        cursor.index += 1;
        cursor.from = from as u64;
        cursor.there = if bytes > u64::from(length) {
            length
        } else {
            bytes as u32
        };
        return Took::Piece;
    }
    let rest = length - cursor.walked;
    let there = if cursor.there < rest { cursor.there } else { rest };
    if cursor.again > 0 {
        let bytes = if there < cursor.again { there } else { cursor.again };
        cursor.again -= bytes;
        return Took::Bytes(bytes);
    }
    let bytes = if there < cursor.left { there } else { cursor.left };
    if cursor.part == part::SKIPPED {
        cursor.left -= bytes;
        return Took::Bytes(bytes);
    }
    if cursor.out > ROOM - PIECE_BYTES {
        return Took::Full;
    }
    let bytes = if bytes < STEP_BYTES { bytes } else { STEP_BYTES - 1 };
    // VERIFIER: masks that change nothing, as in `buffers::append`.
    let mut to = black_box(cursor.out) & (ROOM - 1);
    if cursor.piece_end != cursor.walked || to == 0 {
        // SAFETY: `to` and what stands before a piece end within the room and its slack.
        unsafe {
            let before = payload.add(to as usize).cast::<u32>();
            before.write_unaligned(cursor.walked - cursor.piece_end);
            before.add(1).write_unaligned(0);
        }
        cursor.piece_at = to;
        to += PIECE_BYTES;
    }
    let bytes = black_box(bytes) & (STEP_BYTES - 1);
    // SAFETY: `to` and `bytes` end within the room and its slack; `from` may be anything, the helper checks it.
    if unsafe { read_user(payload.add(to as usize).cast(), bytes, cursor.from as *const _) } != 0 {
        count(Counter::Faults, 1);
        return Took::Nothing;
    }
    if cursor.part != part::COPIED {
        let place = black_box(HEADER_BYTES - cursor.left) & 15;
        let bytes = black_box(bytes) & 15;
        // SAFETY: `place` and `bytes` end within the header's room.
        unsafe {
            read_kernel(
                cursor.header.as_mut_ptr().add(place as usize).cast(),
                bytes,
                payload.add(to as usize).cast(),
            )
        };
    }
    cursor.piece_end = cursor.walked + bytes;
    // SAFETY: what stands before a piece lies within the room and its slack.
    unsafe {
        let place = black_box(cursor.piece_at) & (ROOM - 1);
        let length = payload.add(place as usize + 4).cast::<u32>();
        length.write_unaligned(length.read_unaligned() + bytes);
    }
    cursor.out = to + bytes;
    cursor.left -= bytes;
    Took::Bytes(bytes)
}

/// A part is at its end. False if what was taken for a frame's header is none.
#[inline(always)]
fn next_part(cursor: &mut FrameCursor) -> bool {
    let lost = cursor.part == part::LOST;
    if cursor.part == part::COPIED && cursor.after > 0 {
        cursor.part = part::SKIPPED;
        cursor.left = cursor.after;
        cursor.after = 0;
        return true;
    }
    if cursor.part != part::HEADER && !lost {
        cursor.part = part::HEADER;
        cursor.left = HEADER_BYTES;
        return true;
    }
    let [a, b, c, kind, flags, d, e, f, g, ..] = cursor.header;
    let length = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
    if lost && !plausible(length, kind, flags, d | e | f | g != 0) {
        return false;
    }
    // HEADERS, RST_STREAM, PUSH_PROMISE, GOAWAY, CONTINUATION
    let copied = match kind {
        1 | 3 | 5 | 7 | 9 => length,
        _ => 0,
    };
    let copied = if copied < BLOCK_BYTES { copied } else { BLOCK_BYTES };
    if copied > 0 {
        cursor.part = part::COPIED;
        cursor.left = copied;
        cursor.after = length - copied;
    } else if length > 0 {
        cursor.part = part::SKIPPED;
        cursor.left = length;
    } else {
        cursor.part = part::HEADER;
        cursor.left = HEADER_BYTES;
    }
    true
}

/// Could this be a frame's header? As the user side asks, in short: the dissector decides.
#[inline(always)]
fn plausible(length: u32, kind: u8, flags: u8, on_stream: bool) -> bool {
    length <= 1 << 20
        && match kind {
            0 => on_stream && flags & !0x09 == 0,
            1 => on_stream && flags & !0x2d == 0,
            3 => on_stream && length == 4 && flags == 0,
            4 => !on_stream && flags & !1 == 0 && length.is_multiple_of(6),
            6 => !on_stream && length == 8 && flags & !1 == 0,
            7 => !on_stream && length >= 8 && flags == 0,
            8 => length == 4 && flags == 0,
            _ => false,
        }
}

/// Bytes of a segment that could not be walked over.
#[inline(always)]
fn pass_over(cursor: &mut FrameCursor, bytes: u32) {
    if bytes == 0 {
        return;
    }
    if cursor.part == part::SKIPPED && cursor.left > bytes {
        cursor.left -= bytes;
    } else {
        cursor.part = part::LOST;
    }
}
