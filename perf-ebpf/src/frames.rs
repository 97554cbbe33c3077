//! HTTP/2's frames, RFC 9113, 4.1: of each segment the headers of its frames are captured, and the payloads that say what
//! is asked and answered (header blocks) or given up. Everything else is passed over by its length.
//!
//! Of a large body nothing but DATA frames go by. After some of a stream, those that do not end it are added up instead:
//! a run of them is told as if it were one long frame. Its bytes are the same to the last one, and so are those of the
//! streams between whose frames it lay, since all that a frame of a body says is how long it is. What says nothing to an
//! onlooker at all (WINDOW_UPDATE, PING, SETTINGS) is a run as well, told as a frame of an unknown type.

use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_probe_read_user as read_user;
use perf_common::{
    counters::Counter,
    record::{DataRecord, RecordHeader, TAIL_BYTES, direction, flag, kind},
    state::{ConnectionState, FrameCursor, RUNS, flags, part},
};

use crate::{
    buffers, capture, connection,
    emit::{self, Segment},
    kernel::Address,
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
/// Steps of one record: two for each frame's header, one for its payload or a piece of a vector.
const STEPS: u32 = 40;
/// Likewise, of one look for what is to be told.
const LOOK_STEPS: u32 = 20;
/// Records of one segment, and looks. What is beyond is lost sight of.
const RECORDS: u32 = 64;
/// Bytes that stand before a piece.
const PIECE_BYTES: u32 = 8;
/// Frames of one stream that are told of before the further ones are added up.
const FOLD_AFTER: u32 = 32;
/// Most bytes that are added up before they are told of: no frame is longer that anybody is known to allow.
const RUN_BYTES: u32 = 1 << 20;
/// How long frames are added up before they are told of, as long as there are more.
const RUN_NS: u64 = 100_000_000;
/// The type of a frame that a run of such as say nothing is told as: there is none of this number.
const NO_TYPE: u8 = 0xff;

/// Answers of the steps below: the segment is at its end, or goes on.
const DONE: u32 = 0;
const MORE: u32 = 1;
/// The record is lost.
const LOST: u32 = 2;
/// There is nothing: no frames that can be made out, or no runs.
const NOTHING: u32 = 3;
/// What comes is to be told of.
const TELL: u32 = 4;

/// A record and its pieces; the last one may begin right before the end of the room.
#[repr(C, align(8))]
struct Item {
    record: DataRecord,
    payload: [u8; (ROOM + STEP_BYTES + PIECE_BYTES) as usize],
}

/// Bytes of a run in its record.
const RUN_PIECE_BYTES: u32 = PIECE_BYTES + HEADER_BYTES;
/// Bytes of all of them, up to a power of two.
const RUNS_ROOM: u32 = (RUNS as u32 * RUN_PIECE_BYTES).next_power_of_two();

/// A record of runs.
#[repr(C, align(8))]
struct RunsItem {
    record: DataRecord,
    payload: [u8; (RUNS_ROOM + RUN_PIECE_BYTES) as usize],
}

/// A cursor that stands nowhere.
// VERIFIER: not on the stack, where there is no room for it.
static NOWHERE: FrameCursor = FrameCursor {
    connection: 0,
    arrival_ns: 0,
    told_ns: 0,
    run_ns: 0,
    expected: 0,
    told: 0,
    part: part::LOST,
    left: HEADER_BYTES,
    after: 0,
    loud: 0,
    flags: 0,
    ring: 0,
    header: [0; 32],
    from: 0,
    there: 0,
    index: 0,
    walked: 0,
    again: 0,
    out: 0,
    piece_at: 0,
    piece_end: 0,
    tgid: 0,
    tid: 0,
    run_bytes: 0,
    run: 0,
    reserved: 0,
    run_stream: [0; RUNS],
    run_length: [0; RUNS],
    run_before: [0; RUNS],
};

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
    reason = "by value it would be on the stack"
)]
extern "C" fn follow_frames(connection: u64, ring: u16, direction: u32, start: u32) -> u32 {
    let joined = direction & 2 != 0;
    let mut followed = 0;
    for sent in [0, 1] {
        let key = connection << 1 | sent;
        if FRAMES.insert(key, &NOWHERE, 0).is_err() {
            continue;
        }
        let Some(cursor) = FRAMES.get_ptr_mut(key) else {
            continue;
        };
        // SAFETY: a map value stays writable while the program runs; nobody knows of it yet.
        let cursor = unsafe { &mut *cursor };
        cursor.connection = connection;
        cursor.ring = u32::from(ring);
        followed += 1;
        // Where the answers begin is not known: with the first segment, if that begins like a frame. The same of what was
        // joined.
        if !joined && (sent == 1) == (direction & 1 == u32::from(direction::SENT)) {
            cursor.expected = start;
            cursor.told = start;
            cursor.part = part::COPIED;
            cursor.left = PREFACE_BYTES;
        }
    }
    u32::from(followed == 2)
}

/// The socket is gone.
#[inline(always)]
pub fn end(state: &ConnectionState) {
    for sent in [0, 1] {
        // A second deletion of the same key is no error of ours.
        let _gone = FRAMES.remove(key(state, sent));
    }
}

/// Tells of what was added up in a direction, in which nothing comes any more.
#[inline(always)]
pub fn flush(state: &mut ConnectionState, moved: u8) {
    if tell_runs(key(state, u64::from(moved == direction::SENT))) == LOST {
        emit::note_loss(state, moved, true);
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
    (cursor.tgid, cursor.tid) = (segment.tgid, segment.tid);
    if cursor.part == part::SKIPPED && cursor.expected == start && cursor.left > segment.length {
        cursor.left -= segment.length;
        cursor.expected = segment.position_end;
        cursor.run_ns = segment.at_ns;
        return count(Counter::Folded, 1);
    }
    connection::flush(state);
    let again = cursor.expected.wrapping_sub(start);
    if cursor.part == part::LOST || again > segment.length {
        cursor.again = 0;
        flush(state, segment.direction);
        cursor.part = part::LOST;
        cursor.left = HEADER_BYTES;
        cursor.told = start;
    } else {
        cursor.again = again;
    }
    cursor.arrival_ns = segment.arrival_ns;
    cursor.flags = u32::from(segment.flags);
    let pieces = if source.kind == Kind::Vector {
        source.size as u16
    } else {
        0
    };
    (cursor.from, cursor.there) = match source.kind {
        Kind::Vector => (0, 0),
        Kind::Buffer => (source.at as u64, segment.length),
        _ => (0, segment.length),
    };
    (cursor.index, cursor.walked) = (0, 0);
    cursor.expected = start;
    let place = u64::from(segment.position_end) << 32 | u64::from(segment.length);
    match tell_frames(key, source.at as u64, u64::from(pieces), place, segment.at_ns) {
        NOTHING => pass(state, segment),
        answer => emit::note_loss(state, segment.direction, answer == LOST),
    }
}

/// Walks over a segment's frames, and tells of those that have to be.
// VERIFIER: a global function, see `process::tell_process`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_frames(key: u64, array: u64, pieces: u64, place: u64, at_ns: u64) -> u32 {
    let mut records = 0;
    let mut answer = MORE;
    while records < RECORDS && answer == MORE {
        records += 1;
        answer = skim_frames(key, array, pieces, place, at_ns);
        if answer != TELL {
            continue;
        }
        answer = match tell_runs(key) {
            NOTHING => {
                let last = u64::from(records == RECORDS);
                walk_frames(key, array, pieces << 1 | last, place, at_ns)
            }
            LOST => LOST,
            // Looked at again: a run that had become long enough begins anew.
            _ => MORE,
        };
    }
    answer
}

/// Nothing of it is captured: it is added to sums, which are reported before the next record of this direction.
#[inline(always)]
fn pass(state: &mut ConnectionState, segment: Segment) {
    state.flags |= flags::FOLDING;
    capture::fold(state, segment);
}

/// Walks over a segment's frames, from where it was left, as long as nothing has to be told.
// VERIFIER: a global function, see `process::tell_process`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skim_frames(key: u64, array: u64, pieces: u64, place: u64, at_ns: u64) -> u32 {
    let Some(cursor) = FRAMES.get_ptr_mut(key) else {
        return LOST;
    };
    // SAFETY: as in `moved`.
    let mut cursor = unsafe { &mut *cursor };
    let (length, end) = (place as u32, (place >> 32) as u32);
    let mut step = 0;
    while step < LOOK_STEPS {
        step += 1;
        // VERIFIER: as in `walk_frames`.
        cursor = black_box(cursor);
        if cursor.again == 0 {
            if cursor.part == part::COPIED || cursor.part == part::LOST {
                return TELL;
            }
            if cursor.left == 0 {
                let tells = match cursor.part {
                    part::HEADER => !adds_up(cursor, at_ns),
                    _ => cursor.loud != 0,
                };
                if tells {
                    return TELL;
                }
                next_part(cursor);
                continue;
            }
        }
        if cursor.walked >= length {
            cursor.expected = end;
            cursor.run_ns = at_ns;
            count(Counter::Folded, 1);
            return DONE;
        }
        match take(cursor, array, pieces as u32, length) {
            Took::Bytes(bytes) => pass_by(cursor, bytes),
            Took::Piece => {}
            Took::Copy(_) | Took::Nothing => return TELL,
        }
    }
    MORE
}

/// A frame's header is complete. True if it need not be told of: then it is added to its stream's run.
#[inline(always)]
fn adds_up(cursor: &mut FrameCursor, at_ns: u64) -> bool {
    let Frame {
        length,
        kind,
        flags,
        stream,
    } = Frame::of(cursor);
    // DATA with padding or not; SETTINGS, PING, WINDOW_UPDATE.
    let body = kind == 0 && flags & !8 == 0 && stream != 0;
    if !body && kind != 4 && kind != 6 && kind != 8 {
        return false;
    }
    // VERIFIER: as in `take`.
    let stream = black_box(if body { stream } else { 0 });
    // Clients' streams are odd; the first place is for what is none.
    let run = (stream + 1) as usize >> 1 & (RUNS - 1);
    if cursor.run_stream[run] != stream {
        if cursor.run_length[run] != 0 {
            return false;
        }
        cursor.run_stream[run] = stream;
        cursor.run_before[run] = 0;
    }
    if cursor.run_before[run] < FOLD_AFTER {
        cursor.run_before[run] += 1;
        return false;
    }
    let bytes = HEADER_BYTES + length;
    if cursor.run_bytes + bytes > RUN_BYTES || at_ns.wrapping_sub(cursor.told_ns) > RUN_NS {
        return false;
    }
    cursor.run_length[run] += bytes;
    cursor.run_bytes += bytes;
    cursor.run = run as u32;
    true
}

/// Tells of all runs, each as one frame, the newest last: its last frame may not have come whole.
// VERIFIER: a global function, see `process::tell_process`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_runs(key: u64) -> u32 {
    let Some(cursor) = FRAMES.get_ptr_mut(key) else {
        return NOTHING;
    };
    // SAFETY: as in `moved`.
    let mut cursor = unsafe { &mut *cursor };
    if cursor.run_bytes == 0 {
        return NOTHING;
    }
    let end = told_end(cursor);
    let ahead = if cursor.part == part::SKIPPED { cursor.left } else { 0 };
    // What is left of the frame that was told of last.
    let mut missing = end
        .wrapping_add(ahead)
        .wrapping_sub(cursor.told)
        .wrapping_sub(cursor.run_bytes);
    cursor.run_bytes = 0;
    let Some((ring, mut entry)) = emit::reserve::<RunsItem>(cursor.ring as u16) else {
        cursor.run_length = [0; RUNS];
        cursor.part = part::LOST;
        cursor.left = HEADER_BYTES;
        return LOST;
    };
    let item = entry.as_mut_ptr();
    // SAFETY: only the address is computed.
    let payload = unsafe { (&raw mut (*item).payload).cast::<u8>() };
    let mut step = 0;
    cursor.out = 0;
    while step < RUNS {
        step += 1;
        // VERIFIER: as in `walk_frames`.
        cursor = black_box(cursor);
        let run = (cursor.run as usize + step) & (RUNS - 1);
        let bytes = cursor.run_length[run];
        if bytes == 0 {
            continue;
        }
        cursor.run_length[run] = 0;
        let to = black_box(cursor.out) & (RUNS_ROOM - 1);
        let stream = cursor.run_stream[run];
        let kind = if stream == 0 { NO_TYPE } else { 0 };
        let length = bytes - HEADER_BYTES;
        // SAFETY: `to` lies within the room, and a piece fits behind it.
        unsafe {
            let piece = payload.add(to as usize);
            piece.cast::<u32>().write_unaligned(missing);
            piece.add(4).cast::<u32>().write_unaligned(HEADER_BYTES);
            // Length, type and no flags, each in the order of the wire.
            let first = u64::from((length << 8 | u32::from(kind)).to_be()) | u64::from(stream.to_be()) << 40;
            piece.add(8).cast::<u64>().write_unaligned(first);
            piece.add(16).write(stream as u8);
        }
        cursor.out = to + RUN_PIECE_BYTES;
        missing = length;
    }
    let told = cursor.told;
    cursor.told = end;
    cursor.told_ns = cursor.run_ns;
    // SAFETY: `item` is a reserved item of this size, and `out` says how much of the payload is written.
    unsafe { (&raw mut (*item).record).write(record(cursor, key, cursor.run_ns, end.wrapping_sub(told))) };
    entry.submit(emit::wakeup::<RunsItem>(ring, cursor.run_ns));
    DONE
}

/// Position up to which it can be told: a frame's header is told whole.
#[inline(always)]
fn told_end(cursor: &FrameCursor) -> u32 {
    let begun = if cursor.part == part::HEADER || cursor.part == part::LOST {
        HEADER_BYTES - cursor.left
    } else {
        0
    };
    cursor.expected.wrapping_add(cursor.again).wrapping_sub(begun)
}

/// A record of the pieces that were written for it: `length` bytes that end where it was told up to.
#[inline(always)]
fn record(cursor: &FrameCursor, key: u64, at_ns: u64, length: u32) -> DataRecord {
    // VERIFIER: masked, so that the size is known to be one.
    let captured = black_box(cursor.out) & (2 * ROOM - 1);
    DataRecord {
        header: RecordHeader {
            kind: kind::DATA,
            flags: cursor.flags as u16 | flag::PIECES,
            size: size_of::<DataRecord>() as u32 + captured,
            at_ns,
        },
        connection: cursor.connection,
        arrival_ns: cursor.arrival_ns,
        position_end: cursor.told,
        length,
        captured,
        tgid: cursor.tgid,
        tid: cursor.tid,
        direction: (key & 1) as u8,
        reserved: [0; 3],
        tail: [0; TAIL_BYTES],
    }
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
        cursor.left = HEADER_BYTES;
        return LOST;
    };
    let item = entry.as_mut_ptr();
    // SAFETY: only the address is computed.
    let payload = unsafe { (&raw mut (*item).payload).cast::<u8>() };
    (cursor.out, cursor.piece_at, cursor.piece_end) = (0, 0, cursor.told);
    let mut step = 0;
    let (mut stray, mut over) = (false, pieces & 1 != 0);
    while step < STEPS {
        step += 1;
        // VERIFIER: everything that a step leaves to the next one goes through the map's value, of which the verifier knows
        // nothing: all ways to here look the same, so that it walks each step once. `black_box` keeps the compiler from
        // holding it in registers.
        cursor = black_box(cursor);
        if cursor.out >= ROOM - RUN_PIECE_BYTES {
            break;
        }
        if cursor.left == 0 && cursor.again == 0 {
            if !is_whole(cursor) {
                stray = true;
                break;
            }
            let headed = cursor.part == part::HEADER || cursor.part == part::LOST;
            if headed {
                put_header(cursor, payload);
            }
            next_part(cursor);
            // VERIFIER: a step of its own: with the other ones behind it, it would walk each of those once for each way to
            // here.
            if headed {
                continue;
            }
        }
        if cursor.walked >= length {
            break;
        }
        match take(cursor, array, (pieces >> 1) as u32, length) {
            Took::Bytes(bytes) => pass_by(cursor, bytes),
            Took::Piece => {}
            Took::Copy(bytes) if put(cursor, payload, bytes) => {}
            Took::Copy(_) | Took::Nothing => {
                over = true;
                break;
            }
        }
    }
    cursor = black_box(cursor);
    // Of a header that is looked for and not there whole, nothing can be said either.
    if stray || (cursor.part == part::LOST && cursor.walked >= length) {
        cursor.left = HEADER_BYTES;
        cursor.part = part::LOST;
        cursor.expected = end;
        cursor.told = end;
        entry.discard(0);
        return NOTHING;
    }
    if over {
        pass_over(cursor, length - cursor.walked - cursor.again);
        cursor.again = 0;
        cursor.walked = length;
        cursor.expected = end;
    }
    let told = cursor.told;
    let now = told_end(cursor);
    if now == told && cursor.out == 0 {
        entry.discard(0);
    } else {
        cursor.told = now;
        cursor.told_ns = at_ns;
        // SAFETY: `item` is a reserved item of this size, and `out` says how much of the payload is written.
        unsafe { (&raw mut (*item).record).write(record(cursor, key, at_ns, now.wrapping_sub(told))) };
        entry.submit(emit::wakeup::<Item>(ring, at_ns));
    }
    if cursor.walked < length || cursor.left == 0 {
        MORE
    } else {
        DONE
    }
}

/// What a step came to.
enum Took {
    /// So many bytes, of one part.
    Bytes(u32),
    /// The next piece of the vector.
    Piece,
    /// So many bytes are there to be captured.
    Copy(u32),
    /// There is no more, or it cannot be read.
    Nothing,
}

/// One step: the next bytes of one part that lie in one piece of the process's memory.
#[inline(always)]
fn take(cursor: &mut FrameCursor, array: u64, pieces: u32, length: u32) -> Took {
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
    if cursor.from == 0 {
        return Took::Nothing;
    }
    if cursor.part == part::COPIED {
        return Took::Copy(bytes);
    }
    // VERIFIER: masks that change nothing, as in `buffers::append`.
    let place = black_box(HEADER_BYTES - cursor.left) & 15;
    let bytes = black_box(bytes) & 15;
    // SAFETY: `place` and `bytes` end within the header's room; `from` may be anything, the helper checks it.
    let failed = unsafe {
        read_user(
            cursor.header.as_mut_ptr().add(place as usize).cast(),
            bytes,
            cursor.from as *const _,
        )
    };
    if failed != 0 {
        count(Counter::Faults, 1);
        return Took::Nothing;
    }
    cursor.left -= bytes;
    Took::Bytes(bytes)
}

/// So many bytes of the segment are done with.
#[inline(always)]
fn pass_by(cursor: &mut FrameCursor, bytes: u32) {
    cursor.walked += bytes;
    cursor.expected = cursor.expected.wrapping_add(bytes);
    cursor.from = if cursor.from == 0 {
        0
    } else {
        cursor.from + u64::from(bytes)
    };
    cursor.there -= bytes;
}

/// Where in the payload bytes go that lie at a position: behind the last piece, or in a new one.
#[inline(always)]
fn piece(cursor: &mut FrameCursor, payload: *mut u8, position: u32) -> u32 {
    // VERIFIER: as in `take`.
    let to = black_box(cursor.out) & (ROOM - 1);
    if cursor.piece_end == position && to != 0 {
        return to;
    }
    // SAFETY: `to` and what stands before a piece end within the room and its slack.
    unsafe {
        let before = payload.add(to as usize).cast::<u32>();
        before.write_unaligned(position.wrapping_sub(cursor.piece_end));
        before.add(1).write_unaligned(0);
    }
    cursor.piece_at = to;
    to + PIECE_BYTES
}

/// So many bytes were written to the payload there; they end at a position.
#[inline(always)]
fn written(cursor: &mut FrameCursor, payload: *mut u8, to: u32, bytes: u32, position_end: u32) {
    cursor.piece_end = position_end;
    cursor.out = to + bytes;
    let place = black_box(cursor.piece_at) & (ROOM - 1);
    // SAFETY: what stands before a piece lies within the room and its slack.
    unsafe {
        let length = payload.add(place as usize + 4).cast::<u32>();
        length.write_unaligned(length.read_unaligned() + bytes);
    }
}

/// Captures the next bytes of a header block. False if they cannot be read.
#[inline(always)]
fn put(cursor: &mut FrameCursor, payload: *mut u8, bytes: u32) -> bool {
    let bytes = if bytes < STEP_BYTES { bytes } else { STEP_BYTES - 1 };
    let position = cursor.expected;
    let to = piece(cursor, payload, position);
    let bytes = black_box(bytes) & (STEP_BYTES - 1);
    // SAFETY: `to` and `bytes` end within the room and its slack; `from` may be anything, the helper checks it.
    if unsafe { read_user(payload.add(to as usize).cast(), bytes, cursor.from as *const _) } != 0 {
        count(Counter::Faults, 1);
        return false;
    }
    written(cursor, payload, to, bytes, position.wrapping_add(bytes));
    cursor.left -= bytes;
    pass_by(cursor, bytes);
    true
}

/// Captures a frame's header, which ends here.
#[inline(always)]
fn put_header(cursor: &mut FrameCursor, payload: *mut u8) {
    let end = cursor.expected;
    let to = piece(cursor, payload, end.wrapping_sub(HEADER_BYTES));
    // SAFETY: `to` and a header's bytes end within the room and its slack.
    unsafe {
        let to = payload.add(to as usize);
        to.cast::<u64>()
            .write_unaligned(cursor.header.as_ptr().cast::<u64>().read_unaligned());
        to.add(8).write(cursor.header[8]);
    }
    written(cursor, payload, to, HEADER_BYTES, end);
}

/// A frame's header.
#[derive(Clone, Copy)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    #[inline(always)]
    fn of(cursor: &FrameCursor) -> Self {
        let [a, b, c, kind, flags, d, e, f, g, ..] = cursor.header;
        Self {
            length: u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c),
            kind,
            flags,
            stream: u32::from(d & 0x7f) << 24 | u32::from(e) << 16 | u32::from(f) << 8 | u32::from(g),
        }
    }
}

/// Is this part what it was taken for? What is looked at to find frames may be none.
#[inline(always)]
fn is_whole(cursor: &FrameCursor) -> bool {
    cursor.part != part::LOST || plausible(Frame::of(cursor))
}

/// A part is at its end.
#[inline(always)]
fn next_part(cursor: &mut FrameCursor) {
    if cursor.part == part::COPIED && cursor.after > 0 {
        cursor.part = part::SKIPPED;
        cursor.left = cursor.after;
        cursor.after = 0;
        return;
    }
    if cursor.part == part::SKIPPED || cursor.part == part::COPIED {
        cursor.part = part::HEADER;
        cursor.left = HEADER_BYTES;
        return;
    }
    let Frame {
        length, kind, flags, ..
    } = Frame::of(cursor);
    // HEADERS, RST_STREAM, PUSH_PROMISE, GOAWAY, CONTINUATION
    let copied = match kind {
        1 | 3 | 5 | 7 | 9 => length,
        _ => 0,
    };
    let copied = if copied < BLOCK_BYTES { copied } else { BLOCK_BYTES };
    cursor.loud = u32::from(copied > 0 || kind == 0 && flags & 1 != 0);
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
}

/// Could this be a frame's header? As the user side asks, in short: the dissector decides.
#[inline(always)]
fn plausible(frame: Frame) -> bool {
    let Frame {
        length,
        kind,
        flags,
        stream,
    } = frame;
    let on_stream = stream != 0;
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
        cursor.left = HEADER_BYTES;
    }
}
