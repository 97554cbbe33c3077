//! The capture core, shared by all backends: a segment moved; how much of it is wanted?
//!
//! A message is a run of segments in one direction. Its first bytes are captured up to a budget; a later segment gives
//! a light record (length, time, last bytes); when there are many, they are folded into sums, reported at the next turn
//! of direction and read by the user side meanwhile.

use core::hint::cold_path;

use perf_common::{
    counters::Counter,
    record::{TAIL_BYTES, direction, flag},
    sniff::{self, SNIFF_BYTES, looks},
    state::{ConnectionState, flags},
};

use crate::{
    buffers::{self, forget},
    connection::{self, Ends},
    emit::{self, Segment},
    frames, hello,
    kernel::{Address, Socket, Stream, Thread},
    maps::{count, request_budget, response_budget},
    network, process,
    syscall::{self, Kind, Source},
    task, tls,
};

/// Light records of one message before its further segments are folded.
const FOLD_AFTER: u32 = 32;
/// Bytes of a response that are enough for its status and length, where there is more of it than fits the budget. With
/// the record they fill the ring buffer's item of 1 KiB.
const LONG_RESPONSE_BYTES: u32 = 952;
/// Bytes of one run of messages that are copied where messages are taken whole. Behind them an answer's length is known, and
/// its end from its last bytes.
const WHOLE_BYTES: u32 = 64 << 10;
/// Bytes of one segment that fit the largest record.
const MOST_AT_ONCE: u32 = 16_320;
/// Turns of direction without a known protocol before a connection is ignored. Some, since it may have been joined in
/// the middle of a message.
const MISSES: u16 = 12;
/// Messages of a client behind its first one that are looked at for a preface.
const UPGRADES: u16 = 2;
/// Folded bytes that are reported even without a turn of direction, so that the sum cannot overflow.
const FOLD_LIMIT: u32 = 1 << 30;

/// What a hook saw.
#[derive(Clone, Copy)]
pub struct Moved {
    /// The socket.
    pub socket: Socket,
    /// TCP or Unix; known at compile time where a hook serves only one.
    pub stream: Stream,
    /// One of [`direction`].
    pub direction: u8,
    /// Bytes moved, or as [`Moved::meaning`] says.
    pub length: u32,
    /// What `length` is.
    pub meaning: Length,
}

/// What a hook's length is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Bytes moved; the call is at its end.
    Moved,
    /// Bytes that the process asked to send; the call is at its beginning.
    Asked,
    /// Bytes that the current call has read so far; parts of it may have been reported.
    ReadSoFar,
    /// Bytes that the current call is about to read, one part of what it may come to.
    Part {
        /// Where the kernel holds them.
        queued: Address,
        /// How many of them lie there; what is beyond lies elsewhere and is not read.
        linear: u32,
    },
}

/// A segment moved.
#[inline(always)]
pub fn moved(moved: Moved) {
    let socket = moved.socket;
    let Some(state) = connection::find_or_adopt(socket, moved.stream) else {
        return;
    };
    // SAFETY: a map value stays readable and writable while the program runs. Two processors may change it at once (one
    // thread sends while another receives): its sums are then off by one segment, never out of bounds.
    let state = unsafe { &mut *state };
    if state.flags & flags::IGNORED != 0 {
        return;
    }
    if state.flags & flags::TLS != 0 && !tls::is_plaintext(state, socket) {
        cold_path();
        if moved.stream == Stream::Tcp && state.link != 0 {
            network::moved(state, socket, emit::now());
        }
        return tls::ciphertext(state, socket, moved.direction, moved.length);
    }
    let at_ns = emit::now();
    if moved.stream == Stream::Tcp && state.flags & flags::OPENED != 0 {
        network::moved(state, socket, at_ns);
    }
    let thread = Thread::current();
    let sent = moved.direction == direction::SENT;
    let mut source = Source::none(Kind::Unseen);
    if moved.meaning == Length::ReadSoFar {
        source = syscall::received(thread, socket);
        if source.kind == Kind::Peeked {
            return;
        }
    }
    let Some(Place {
        end,
        length,
        arrival_ns,
    }) = place(state, moved)
    else {
        return;
    };
    if state.flags & flags::OPENED != 0 && state.tgid != thread.tgid {
        cold_path();
        // Forked, or handed over.
        process::introduce(state, thread.tgid, at_ns);
    }
    let turned = state.flags & flags::MOVED == 0 || (state.flags & flags::LAST_SENT != 0) != sent;
    if !turned && state.flags & flags::OPENED == 0 {
        return; // what began like nothing known goes on
    }
    match moved.meaning {
        Length::ReadSoFar => {}
        Length::Part { queued, linear } => {
            source = Source {
                kind: Kind::Queued,
                at: queued,
                size: u64::from(linear),
            };
        }
        _ => source = syscall::source(thread, socket),
    }
    let length = forget(length);
    if moved.meaning == Length::ReadSoFar && moved.length != length {
        source = later_part(source, moved.length - length);
    }
    if source.kind == Kind::Messages {
        cold_path();
        source = next_message(state, source);
    }
    if source.kind == Kind::Unseen {
        cold_path();
        count(Counter::Unseen, 1);
    }
    let segment = Segment {
        at_ns,
        arrival_ns,
        position_end: end,
        length,
        tgid: thread.tgid,
        tid: task::mover(thread, moved.direction),
        direction: moved.direction,
        flags: match moved.meaning {
            Length::Asked => flag::ASKED,
            _ if sent => flag::AT_EXIT,
            _ => 0,
        },
        tail: [0; TAIL_BYTES],
    };
    let ends = Ends {
        key: socket.key(),
        socket,
        stream: moved.stream,
    };
    deliver(state, ends, segment, source, turned);
}

/// A segment of which it is known where it lies in its stream, and in memory: tells of as much of it as is wanted.
/// `turned`: the direction did, with it.
#[inline(always)]
pub fn deliver(state: &mut ConnectionState, ends: Ends, segment: Segment, source: Source, turned: bool) {
    let mut segment = segment;
    let (length, sent) = (segment.length, segment.direction == direction::SENT);
    if turned {
        turn(state, sent);
        segment.flags |= flag::FIRST;
        if !recognise(state, ends, segment, source) {
            return;
        }
    }
    if state.flags & flags::FRAMES != 0 {
        cold_path();
        return frames::moved(state, segment, source);
    }
    let whole = state.flags & flags::WHOLE != 0;
    if whole {
        if turned {
            state.budget = WHOLE_BYTES;
        }
    } else if turned {
        state.budget = budget(state, sent, length);
    } else if state.budget < length && state.flags & flags::FOLDING == 0 && begins_message(source, length) {
        cold_path();
        // Pipelined messages: the budget is a message's, not a run's.
        segment.flags |= flag::FIRST;
        state.budget = budget(state, sent, length);
        state.continuations = 0;
    }
    let readable = match source.kind {
        Kind::Vector => length,
        Kind::Buffer | Kind::Queued if source.size < u64::from(length) => source.size as u32,
        Kind::Buffer | Kind::Queued => length,
        Kind::NoBytes => {
            segment.flags |= flag::NO_BYTES;
            0
        }
        _ => {
            segment.flags |= flag::UNSEEN;
            0
        }
    };
    let wanted = if readable < state.budget {
        readable
    } else {
        state.budget
    };
    let wanted = if wanted > MOST_AT_ONCE { MOST_AT_ONCE } else { wanted };
    let wanted = forget(wanted);
    if wanted < length
        && let Some(tail) = buffers::tail(source, length)
    {
        cold_path();
        segment.flags |= flag::TAIL;
        segment.tail = tail;
    }
    if wanted == 0 && !turned {
        cold_path();
        if state.flags & flags::FOLDING != 0 {
            return fold(state, segment);
        }
        state.continuations += 1;
        if state.continuations >= FOLD_AFTER {
            // Announces that sums follow; again when what was folded has been reported meanwhile.
            segment.flags |= flag::FOLDED;
            state.flags |= flags::FOLDING;
        }
    }
    let captured = emit::segment(state, segment, source, wanted);
    state.budget = state.budget.saturating_sub(captured);
    // What follows a segment that was short enough to be captured whole is mostly a body.
    if !whole && !is_request(state, sent) {
        let left = LONG_RESPONSE_BYTES.saturating_sub(captured);
        state.budget = if state.budget < left { state.budget } else { left };
    }
}

/// The peer of a Unix socket closed: a read gave 0.
#[inline(always)]
pub fn end_of_stream(socket: Socket) {
    let Some(state) = connection::find(socket) else { return };
    // SAFETY: as in `moved`.
    tell_end(unsafe { &mut *state }, Thread::current());
}

/// A read of a followed connection found its end.
#[inline(always)]
pub fn tell_end(state: &mut ConnectionState, thread: Thread) {
    if state.flags & flags::OPENED == 0 || state.flags & flags::IGNORED != 0 {
        return;
    }
    connection::flush_direction(state, direction::RECEIVED);
    let (tgid, tid) = (thread.tgid, task::running(thread));
    let segment = Segment {
        at_ns: emit::now(),
        arrival_ns: 0,
        position_end: state.received,
        length: 0,
        tgid,
        tid,
        direction: direction::RECEIVED,
        flags: flag::END_OF_STREAM,
        tail: [0; TAIL_BYTES],
    };
    emit::segment(state, segment, Source::none(Kind::NoBytes), 0);
}

/// Where a segment lies in its stream.
struct Place {
    /// Position behind it.
    end: u32,
    /// Its true length.
    length: u32,
    /// When the oldest of its bytes became readable; 0 if not known.
    arrival_ns: u64,
}

/// Where the segment lies. None if nothing moved.
#[inline(always)]
fn place(state: &mut ConnectionState, moved: Moved) -> Option<Place> {
    let sent = moved.direction == direction::SENT;
    let length = moved.length;
    if moved.stream == Stream::Unix || state.flags & flags::KERNEL_TLS != 0 {
        let counted = if sent { &mut state.sent } else { &mut state.received };
        *counted = counted.wrapping_add(length);
        let end = *counted;
        let arrival_ns = if sent || state.arrival_ns == 0 {
            0
        } else {
            take_arrival(state, moved.socket.queued() == 0)
        };
        return Some(Place {
            end,
            length,
            arrival_ns,
        });
    }
    let positions = moved.socket.positions()?;
    if sent {
        let ahead = if moved.meaning == Length::Asked { length } else { 0 };
        return Some(Place {
            end: positions.written.wrapping_add(ahead),
            length,
            arrival_ns: 0,
        });
    }
    let end = moved.socket.received_end(positions);
    let drained = positions.copied == positions.arrived;
    if moved.meaning != Length::ReadSoFar {
        let arrival_ns = take_arrival(state, drained);
        return Some(Place {
            end,
            length,
            arrival_ns,
        });
    }
    // `received` is the position reported last, once there was one.
    let news = end.wrapping_sub(state.received);
    let length = if state.flags & flags::MOVED != 0 && news <= length {
        news
    } else {
        length
    };
    state.received = end;
    if length == 0 {
        None
    } else {
        let arrival_ns = take_arrival(state, drained);
        Some(Place {
            end,
            length,
            arrival_ns,
        })
    }
}

/// The rest of a buffer whose first `skip` bytes were reported before.
#[inline(always)]
fn later_part(source: Source, skip: u32) -> Source {
    if source.kind == Kind::Buffer {
        // SAFETY: only the address is computed; it is read by a helper that checks it.
        Source::buffer(unsafe { source.at.add(skip as usize) }, source.size - u64::from(skip))
    } else {
        Source::none(Kind::Unseen)
    }
}

/// Which message of a `sendmmsg` or `recvmmsg` vector this is: the one after the last, as long as it is the same vector.
#[inline(always)]
fn next_message(state: &mut ConnectionState, messages: Source) -> Source {
    let Source {
        at: array, size: count, ..
    } = messages;
    let next = if state.vector == array as u64 {
        state.vector_next
    } else {
        0
    };
    let index = if u64::from(next) < count && next < 1024 {
        next
    } else {
        0
    };
    state.vector = array as u64;
    state.vector_next = if u64::from(index) + 1 < count { index + 1 } else { 0 };
    syscall::message(array, index)
}

/// When the oldest byte of this segment became readable; what is still unread keeps the time of the newest arrival.
#[inline(always)]
pub fn take_arrival(state: &mut ConnectionState, drained: bool) -> u64 {
    let arrival = state.arrival_ns;
    if arrival != 0 {
        state.arrival_ns = if drained { 0 } else { state.last_arrival_ns };
    }
    arrival
}

/// The direction turned: a new message begins.
#[inline(always)]
fn turn(state: &mut ConnectionState, sent: bool) {
    connection::flush(state);
    state.flags |= flags::MOVED;
    if sent {
        state.flags |= flags::LAST_SENT;
    } else {
        state.flags &= !flags::LAST_SENT;
    }
    state.continuations = 0;
}

/// Bytes of a new message, whose first segment has `length`, that may be copied.
#[inline(always)]
fn budget(state: &ConnectionState, sent: bool, length: u32) -> u32 {
    if is_request(state, sent) {
        return request_budget();
    }
    let most = response_budget();
    // One that fits may hold the answers to several pipelined requests.
    if length <= most || most < LONG_RESPONSE_BYTES {
        most
    } else {
        LONG_RESPONSE_BYTES
    }
}

/// Do requests go this way?
#[inline(always)]
fn is_request(state: &ConnectionState, sent: bool) -> bool {
    (state.flags & flags::CLIENT != 0) == sent
}

/// Asks whether a message of a connection that nothing is known of begins like a known protocol; if so it is opened. Of one
/// that is open, whether it goes on in HTTP/2 (RFC 7540, 3.2): the request that asks for it is the first one.
#[inline(always)]
fn recognise(state: &mut ConnectionState, ends: Ends, segment: Segment, source: Source) -> bool {
    let sent = segment.direction == direction::SENT;
    let opened = state.flags & flags::OPENED != 0;
    if opened && (state.misses >= UPGRADES || !is_request(state, sent) && state.flags & flags::WHOLE == 0) {
        return true;
    }
    cold_path();
    let looks = looks_like(source, segment.length);
    // MySQL asks for TLS behind the server's greeting.
    if looks == looks::TLS && ends.stream != Stream::Tls && (!opened || state.flags & flags::WHOLE != 0) {
        tls::begin(state, ends.socket, segment);
        if sent {
            hello::sent(state.ring, ends.socket, source, segment.length);
        }
        return false;
    }
    if opened {
        state.misses += 1;
        if looks == looks::HTTP2_PREFACE && frames::begin(state, segment, false) {
            state.flags |= flags::FRAMES;
        }
        return true;
    }
    let role = match looks {
        looks::HTTP1_REQUEST | looks::HTTP2_PREFACE if sent => flags::CLIENT,
        looks::HTTP1_REQUEST | looks::HTTP2_PREFACE => flags::SERVER,
        looks::HTTP1_RESPONSE if sent => flags::SERVER,
        looks::HTTP1_RESPONSE => flags::CLIENT,
        // Which way requests go is for the dissector to tell.
        looks::HTTP2_FRAMES => 0,
        looks::MESSAGES => flags::WHOLE,
        _ => {
            state.misses += 1;
            if state.misses >= MISSES {
                state.flags |= flags::IGNORED;
                count(Counter::ConnectionsIgnored, 1);
            }
            return false;
        }
    };
    state.flags |= role;
    state.misses = 0;
    if looks == looks::HTTP2_PREFACE || looks == looks::HTTP2_FRAMES {
        if !frames::begin(state, segment, looks == looks::HTTP2_FRAMES) {
            state.flags |= flags::IGNORED;
            count(Counter::ConnectionsEvicted, 1);
            return false;
        }
        state.flags |= flags::FRAMES;
    }
    connection::opened(state, ends, segment);
    true
}

/// Does a segment that follows others of its direction begin a new message? A few letters alone could be anything.
#[inline(always)]
fn begins_message(source: Source, length: u32) -> bool {
    length >= SNIFF_BYTES as u32
        && first_bytes(source, length).is_some_and(|(first, _)| {
            let first = Beginning::of(first);
            judge_continuation(first.low, first.high) != 0
        })
}

/// What a segment's first bytes look like.
#[inline(always)]
fn looks_like(source: Source, length: u32) -> u8 {
    match first_bytes(source, length) {
        Some((first, size)) => {
            let first = Beginning::of(first);
            let known_length = u64::from(size as u32) << 32 | u64::from(length);
            judge_beginning(first.low, first.high, known_length) as u8
        }
        None => looks::NOTHING,
    }
}

/// A segment's first bytes as two little-endian numbers.
struct Beginning {
    low: u64,
    high: u64,
}

impl Beginning {
    #[inline(always)]
    fn of(first: [u8; SNIFF_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = first;
        Self {
            low: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            high: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    #[inline(always)]
    fn bytes(&self) -> [u8; SNIFF_BYTES] {
        let [a, b, c, d, e, f, g, h] = self.low.to_le_bytes();
        let [i, j, k, l, m, n, o, p] = self.high.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// [`sniff::sniff`], by its parts. `known_length`: bytes known (high half), and length of the segment.
// VERIFIER: global functions are walked once by themselves: so many comparisons would multiply what is behind them. Several,
// since one needs more stack than the callers leave.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_beginning(low: u64, high: u64, known_length: u64) -> u32 {
    let looks = judge_http(low, high, known_length);
    let certain = looks != u32::from(looks::NOTHING) && looks != u32::from(looks::HTTP1_REQUEST);
    if !certain
        && (judge_resp(low, high, known_length) != 0
            || judge_memcached(low, high, known_length) != 0
            || judge_postgresql(low, known_length) != 0
            || judge_mysql(low, high, known_length) != 0
            || judge_broker(low, high, known_length) != 0)
    {
        u32::from(looks::MESSAGES)
    } else {
        looks
    }
}

/// See [`judge_beginning`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_http(low: u64, high: u64, known_length: u64) -> u32 {
    let first = Beginning { low, high }.bytes();
    u32::from(sniff::as_http(
        &first,
        (known_length >> 32) as usize,
        known_length as u32,
    ))
}

/// [`sniff::begins_message`].
// VERIFIER: as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_continuation(low: u64, high: u64) -> u32 {
    u32::from(sniff::begins_message(Beginning { low, high }.bytes()))
}

/// See [`judge_beginning`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_resp(low: u64, high: u64, known_length: u64) -> u32 {
    let first = Beginning { low, high }.bytes();
    u32::from(sniff::is_resp(
        &first,
        (known_length >> 32) as usize,
        known_length as u32,
    ))
}

/// See [`judge_beginning`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_memcached(low: u64, high: u64, known_length: u64) -> u32 {
    let first = Beginning { low, high }.bytes();
    u32::from(sniff::is_memcached(
        &first,
        (known_length >> 32) as usize,
        known_length as u32,
    ))
}

/// See [`judge_beginning`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_postgresql(low: u64, known_length: u64) -> u32 {
    let first = Beginning { low, high: 0 }.bytes();
    u32::from(sniff::is_postgresql(
        &first,
        (known_length >> 32) as usize,
        known_length as u32,
    ))
}

/// See [`judge_beginning`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_mysql(low: u64, high: u64, known_length: u64) -> u32 {
    let first = Beginning { low, high }.bytes();
    u32::from(sniff::is_mysql(
        &first,
        (known_length >> 32) as usize,
        known_length as u32,
    ))
}

/// See [`judge_beginning`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_broker(low: u64, high: u64, known_length: u64) -> u32 {
    let first = Beginning { low, high }.bytes();
    u32::from(sniff::as_broker(
        &first,
        (known_length >> 32) as usize,
        known_length as u32,
    ))
}

/// A segment's first bytes, and how many there are.
#[inline(always)]
fn first_bytes(source: Source, length: u32) -> Option<([u8; SNIFF_BYTES], usize)> {
    let (from, size) = buffers::first(source)?;
    let size = if size < length { size } else { length };
    let size = if size > SNIFF_BYTES as u32 {
        SNIFF_BYTES as u32
    } else {
        size
    };
    let mut first = [0u8; SNIFF_BYTES];
    let copied = match source.kind {
        Kind::Queued => buffers::copy_queued::<{ SNIFF_BYTES as u32 }>(first.as_mut_ptr(), from, size),
        _ => buffers::copy::<{ SNIFF_BYTES as u32 }>(first.as_mut_ptr(), from, size),
    };
    if copied == 0 {
        None
    } else {
        Some((first, size as usize))
    }
}

/// Adds a segment to the message's sums.
#[inline(always)]
pub fn fold(state: &mut ConnectionState, segment: Segment) {
    if state.folded_bytes > FOLD_LIMIT {
        emit::folded(state, segment.direction);
        state.folded_bytes = 0;
    }
    state.folded_bytes = state.folded_bytes.wrapping_add(segment.length);
    state.folded_position = segment.position_end;
    state.folded_ns = segment.at_ns;
    state.tgid = segment.tgid;
    state.tid = segment.tid;
    state.folded_tail = segment.tail;
    count(Counter::Folded, 1);
}
