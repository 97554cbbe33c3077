//! TLS: the plaintext that a process gives to its library and gets from it, and the socket that it goes over.
//!
//! A session is a connection like any other, above a socket's: it has a state of its own, by the process and by where
//! its object lies there. Which socket is its own shows in the socket traffic inside of a call of the library. A library
//! that does not touch the socket itself (it works on buffers, and the program moves them) is called right behind a read:
//! then the order tells, and the lengths of plaintext and ciphertext have to agree for as long as the session lasts. Where
//! they do not, the session is bound to nothing.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_FORCE_WAKEUP},
    helpers::bpf_probe_read_user,
};
use perf_common::{
    counters::Counter,
    record::{TAIL_BYTES, change, direction},
    settings::{EXECUTED, PERHAPS_UNSERVED, UNSERVED, feature, filter as select, mark, offset},
    state::{ConnectionState, flags},
};

use crate::{
    capture,
    connection::{self, Ends},
    emit::{self, Segment},
    filter, frames,
    kernel::{Socket, Stream, Thread},
    maps::{ASKED, CALLS, CONNECTIONS, EXECUTABLES, PROCESSES, TOUCHED, count, features, filters, processor},
    rustls,
    syscall::{self, Kind as Bytes, Source},
    task,
};

/// Who is in a call: a thread of a process, or a goroutine, which may go from thread to thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Caller {
    /// The thread's number, or the goroutine's address.
    pub who: u64,
    /// The process.
    pub tgid: u64,
}

impl Caller {
    /// The thread itself.
    #[inline(always)]
    pub fn of(thread: Thread) -> Self {
        Self {
            who: u64::from(thread.tid),
            tgid: u64::from(thread.tgid),
        }
    }
}

/// A call of a TLS library, between its entry and its return.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// Where the session's object lies in the process's memory.
    pub object: u64,
    /// Where the plaintext does.
    pub buffer: u64,
    /// Where its length will, if the call does not return it; or [`RESULT_ON_STACK`]. Of several pieces the first one's
    /// length.
    pub length_at: u64,
    /// The stack's end at the entry: tells a call from those inside of it.
    pub stack: u64,
    /// The socket that was touched meanwhile, if it is bound to no session; else 0.
    pub socket: u64,
    /// See [`Kind`].
    pub kind: u64,
    /// When it began.
    pub at_ns: u64,
    /// Of a write of rustls that has returned and is not told of yet: how much it took.
    pub length: u64,
}

impl Call {
    /// One that begins now.
    #[inline(always)]
    pub fn begins(kind: Kind, object: u64, buffer: u64, length_at: u64, stack: u64) -> Self {
        Self {
            object,
            buffer,
            length_at,
            stack,
            socket: 0,
            kind: kind as u64,
            at_ns: emit::now(),
            length: 0,
        }
    }
}

/// What a call does.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// Gives plaintext that was received, and returns how much.
    Read = 0,
    /// Takes plaintext to be sent, and returns how much.
    Write = 1,
    /// As [`Kind::Read`]; returns 1, and the length where its last argument points.
    ReadEx = 2,
    /// As [`Kind::Write`], likewise.
    WriteEx = 3,
    /// Moves no plaintext.
    Handshake = 4,
    /// As [`Kind::Read`], of any descriptor: it is TLS if its socket carries that.
    AnyRead = 5,
    /// As [`Kind::Write`], likewise.
    AnyWrite = 6,
    /// Go's read: it touches the socket itself.
    GoRead = 7,
    /// Go's write, of which was told when it began.
    GoWrite = 8,
    /// As [`Kind::AnyWrite`], of several pieces: [`Call::buffer`] is the first one, and [`Call::length_at`] its length.
    AnyWritePieces = 9,
    /// As [`Kind::Write`], of what lies in a file.
    SendFile = 10,
    /// rustls is about to receive ciphertext, see [`crate::rustls`].
    RustlsReceive = 11,
    /// It has plaintext, of which is told at once.
    RustlsRead = 12,
    /// It is given pieces, which it takes by one of the following.
    RustlsPieces = 13,
    /// It takes plaintext to be sent later.
    RustlsWrite = 14,
    /// As [`Kind::RustlsWrite`], of several pieces: [`Call::buffer`] is an array of them, as of `struct iovec`, and
    /// [`Call::length_at`] how many there are.
    RustlsWritePieces = 15,
    /// As [`Kind::RustlsWritePieces`], where the array will be gone: as for [`Kind::AnyWritePieces`].
    RustlsWriteFirst = 16,
}

impl Kind {
    /// The ciphertext may have been moved before: by the program, where the library leaves it to that, or by Go's handshake,
    /// which is not followed and may read the first request. Of a write that tells nothing, but of Go's, since it is the
    /// goroutine's own.
    #[inline(always)]
    fn infers(kind: u64) -> bool {
        !Self::any(kind)
            && kind != Self::Write as u64
            && kind != Self::WriteEx as u64
            && kind != Self::SendFile as u64
            && !Self::is_rustls(kind)
    }

    /// One of rustls, whose objects are moved by the program, and which leaves the socket to it.
    #[inline(always)]
    pub fn is_rustls(kind: u64) -> bool {
        kind >= Self::RustlsReceive as u64
    }

    #[inline(always)]
    fn is_go(kind: u64) -> bool {
        kind == Self::GoRead as u64 || kind == Self::GoWrite as u64
    }

    /// It is for descriptors of any kind.
    #[inline(always)]
    fn any(kind: u64) -> bool {
        kind == Self::AnyRead as u64 || kind == Self::AnyWrite as u64 || kind == Self::AnyWritePieces as u64
    }

    /// What it moved, if anything, was told of when it began.
    #[inline(always)]
    fn is_told(kind: u64) -> bool {
        kind == Self::Handshake as u64 || kind == Self::GoWrite as u64
    }

    #[inline(always)]
    fn returns_apart(kind: u64) -> bool {
        kind == Self::ReadEx as u64 || kind == Self::WriteEx as u64
    }

    #[inline(always)]
    fn sends(kind: u64) -> bool {
        kind == Self::Write as u64
            || kind == Self::WriteEx as u64
            || kind == Self::AnyWrite as u64
            || kind == Self::GoWrite as u64
            || kind == Self::AnyWritePieces as u64
            || kind == Self::SendFile as u64
            || kind >= Self::RustlsWrite as u64
    }
}

/// The unbound socket that a thread or goroutine received from last, outside of any call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Touched {
    /// Its key; [`SEVERAL`] if there was another one since the last call, 0 if there was none.
    pub socket: u64,
    /// Bytes received since that call.
    pub bytes: u64,
}

/// The call returns on the stack: Go before 1.17.
pub const RESULT_ON_STACK: u64 = 1;
/// No socket's key.
const SEVERAL: u64 = 1;
/// Segments of an unbound socket after which its process is looked at once more: it may have loaded another library.
const ASK_AGAIN: u16 = 16;
/// Segments of an unbound socket after which it was hardly a failed handshake that closed it: with TLS 1.3 a request and its
/// answer are over with the fourth.
const MORE_THAN_HANDSHAKE: u16 = 4;
/// Segments after which nobody asks any more whose session it is.
const GIVE_UP: u16 = 1024;
/// How much more ciphertext there may be than plaintext and as much again: handshakes, and what a program read at once and
/// is not yet decrypted.
const SLACK_BYTES: u32 = 1 << 20;

/// What a record of TLS has beside its plaintext: 5 bytes of head and, with the ciphers that there are, 16 more at least.
const LEAST_RECORD_BYTES: u64 = 21;
/// Plaintext that agreed for so long is believed.
const ENOUGH_BYTES: u32 = 1 << 30;

/// The key of a session's state. A socket's is an address of the kernel, with the highest bit set. Of a process's number
/// the highest bits are left out: two processes would have to have their objects at the same place to share one.
#[inline(always)]
pub fn key(tgid: u32, object: u64) -> u64 {
    ((object >> 4) & ((1 << 43) - 1)) << 20 | u64::from(tgid & 0xf_ffff)
}

/// A socket turned out to carry TLS.
#[inline(always)]
pub fn begin(state: &mut ConnectionState, socket: Socket, segment: Segment) {
    state.flags |= flags::TLS;
    state.misses = 0;
    state.held_arrival_ns = segment.arrival_ns;
    ask_if_uncovered(segment.tgid);
    moved(state, socket, segment.direction, segment.length, segment.at_ns);
}

/// The kernel encrypts on a socket that is new to us. Hooks inside of it see ciphertext, or the process's memory before what
/// was decrypted is there: to them it is TLS like any other.
#[inline(always)]
pub fn by_the_kernel(state: &mut ConnectionState, tgid: u32) {
    if features() & feature::PLAINTEXT != 0 {
        state.flags |= flags::KERNEL_TLS;
    } else {
        state.flags |= flags::TLS;
        ask_if_uncovered(tgid);
    }
}

#[inline(always)]
fn ask_if_uncovered(tgid: u32) {
    // SAFETY: a value of 4 bytes is read whole.
    let marks = unsafe { PROCESSES.get(tgid) }.copied().unwrap_or(0);
    if marks & mark::TLS_COVERED == 0 {
        ask(u64::from(tgid));
    }
}

/// Asks the user side to look at what a process speaks TLS with: its number, with [`UNSERVED`] or [`EXECUTED`].
#[inline(always)]
pub fn ask(question: u64) {
    if features() & feature::TLS == 0 {
        return;
    }
    if let Some(mut entry) = ASKED.reserve(0) {
        entry.write(question);
        entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}

/// A process runs another program. A library is found when it is used; one that is linked into a program that lives for a
/// few milliseconds would be found too late.
#[inline(always)]
pub fn executed(tgid: u32, inode: u64) {
    // SAFETY: a value of 4 bytes is read whole.
    if unsafe { EXECUTABLES.get(inode) }.is_none() && EXECUTABLES.insert(inode, 1, 0).is_ok() {
        ask(u64::from(tgid) | EXECUTED);
    }
}

/// Did the process hand its keys to the kernel, so that its hooks see plaintext now? Only asked where no session is
/// bound: a library that is probed tells of all it is given, whoever encrypts it.
#[inline(always)]
pub fn is_plaintext(state: &mut ConnectionState, socket: Socket) -> bool {
    if features() & feature::PLAINTEXT == 0 || state.link != 0 || !socket.kernel_tls() {
        return false;
    }
    state.flags = state.flags & !(flags::TLS | flags::MOVED) | flags::KERNEL_TLS;
    state.misses = 0;
    true
}

/// Bytes moved on a socket that carries TLS.
#[inline(always)]
pub fn ciphertext(state: &mut ConnectionState, socket: Socket, moved: u8, length: u32) {
    if moved == direction::RECEIVED && state.arrival_ns != 0 {
        let drained = socket
            .positions()
            .is_none_or(|positions| positions.copied == positions.arrived);
        // The last one's: what came before may have been of a handshake, long ago.
        state.held_arrival_ns = capture::take_arrival(state, drained);
    }
    self::moved(state, socket, moved, length, emit::now());
}

#[inline(always)]
fn moved(state: &mut ConnectionState, socket: Socket, moved: u8, length: u32, at_ns: u64) {
    state.moved_ns = at_ns;
    if moved == direction::SENT {
        state.flags |= flags::LAST_SENT;
    } else {
        state.flags &= !flags::LAST_SENT;
    }
    if state.link == 0 {
        touch(state, socket.key(), moved, length);
    } else if state.flags & flags::MOVABLE != 0
        && let Some(call) = call_of(Thread::current())
    {
        touched_inside(call, socket.key(), moved);
    }
}

/// A socket that carries TLS ends, whoever ended it: where the peer's RST comes before the process closes, no close is ever
/// told. That may be in an interrupt, and so in any thread.
#[inline(always)]
pub fn closed(state: &ConnectionState) {
    if state.flags & flags::TLS != 0 && state.link == 0 && (MORE_THAN_HANDSHAKE..ASK_AGAIN).contains(&state.misses) {
        ask(u64::from(state.tgid) | PERHAPS_UNSERVED);
    }
}

/// A socket whose session is not known was touched: by the call that the thread is in, or by the program itself.
#[inline(always)]
fn touch(state: &mut ConnectionState, socket: u64, moved: u8, length: u32) {
    let thread = Thread::current();
    let call = call_of(thread);
    state.tgid = thread.tgid;
    state.misses += 1;
    // Inside of a call it may be a long handshake on a blocking socket: whose session it is shows at its return.
    if state.misses == ASK_AGAIN && call.is_none() {
        ask(u64::from(thread.tgid) | UNSERVED);
    } else if state.misses == GIVE_UP {
        ask(u64::from(thread.tgid) | UNSERVED);
        state.flags |= flags::IGNORED;
        count(Counter::ConnectionsIgnored, 1);
    }
    if let Some(call) = call {
        touched_inside(call, socket, moved);
        return;
    }
    if moved != direction::RECEIVED {
        return;
    }
    let tgid = u64::from(thread.tgid);
    for who in [u64::from(thread.tid), running_goroutine(thread)] {
        note(Caller { who, tgid }, socket, length);
    }
}

/// A socket was touched by the thread that is in this call.
#[inline(always)]
fn touched_inside(call: *mut Call, socket: u64, moved: u8) {
    // SAFETY: a map value stays writable while the program runs; the thread is in the call, nobody else writes it.
    let call = unsafe { &mut *call };
    // It has no end, so what the thread sends afterwards is not of it.
    if call.kind != Kind::RustlsReceive as u64 || moved == direction::RECEIVED {
        call.socket = socket;
    }
}

/// A thread, or the goroutine that it runs, received from this socket.
#[inline(always)]
fn note(caller: Caller, socket: u64, length: u32) {
    if let Some(touched) = TOUCHED.get_ptr_mut(caller) {
        // SAFETY: as in `touch`; the entry is the thread's own.
        let touched = unsafe { &mut *touched };
        if touched.socket == 0 {
            *touched = Touched { socket, bytes: 0 };
        } else if touched.socket != socket {
            touched.socket = SEVERAL;
        }
        touched.bytes += u64::from(length);
    } else {
        let touched = Touched {
            socket,
            bytes: u64::from(length),
        };
        // A full table gives up another one's.
        let _full = TOUCHED.insert(caller, touched, 0);
    }
}

/// The call that a thread is in: its own, or that of the goroutine that it runs.
#[inline(always)]
fn call_of(thread: Thread) -> Option<*mut Call> {
    let find = |who| {
        let tgid = u64::from(thread.tgid);
        CALLS.get_ptr_mut(Caller { who, tgid })
    };
    find(u64::from(thread.tid)).or_else(|| {
        let goroutine = running_goroutine(thread);
        if goroutine == 0 { None } else { find(goroutine) }
    })
}

/// Where Go keeps what runs on a thread: below the end of its thread-local storage (runtime/go_tls.h). Of a thread that is
/// not Go's something else is there, which is in no call.
#[inline(always)]
pub fn running_goroutine(thread: Thread) -> u64 {
    let storage = thread.field::<u64>(offset::TASK_FSBASE);
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    unsafe { bpf_probe_read_user(storage.wrapping_sub(8) as *const u64).unwrap_or(0) }
}

/// A thread's call begins. One inside of another is the library's own affair.
#[inline(always)]
pub fn entered(call: Call) {
    let thread = Thread::current();
    let caller = Caller::of(thread);
    // SAFETY: the thread's own entry.
    let outer = unsafe { CALLS.get(caller) }.is_some_and(|outer| outer.stack > call.stack);
    if !outer {
        // A full table gives up another thread's.
        let _full = CALLS.insert(caller, call, 0);
    }
}

/// A goroutine's call begins; once more, if its stack had to grow first.
#[inline(always)]
pub fn goroutine_entered(goroutine: u64, call: Call) {
    let caller = Caller {
        who: goroutine,
        tgid: u64::from(Thread::current().tgid),
    };
    // A full table gives up another's.
    let _full = CALLS.insert(caller, call, 0);
}

/// A goroutine's write of so many bytes begins. It is told of now: before it returns, another goroutine may have read the
/// answer, or the peer have closed, and either would come before what it follows. Go writes all of it, or the connection
/// is broken.
#[inline(always)]
pub fn goroutine_writes(goroutine: u64, call: Call, length: u64) {
    let thread = Thread::current();
    let caller = Caller {
        who: goroutine,
        tgid: u64::from(thread.tgid),
    };
    // SAFETY: the goroutine's own entry.
    let again = unsafe { CALLS.get(caller) }
        .is_some_and(|before| before.kind == call.kind && before.object == call.object && before.buffer == call.buffer);
    if again {
        return; // its stack had to grow
    }
    if length <= i32::MAX as u64 {
        finished(thread, caller, call, length as u32);
    }
    // A full table gives up another's.
    let _full = CALLS.insert(caller, call, 0);
}

/// A goroutine's call returns, and moved so many bytes. `goroutine` is what the register says: before Go 1.17 it says
/// something else, and the result lies on the stack.
#[inline(always)]
pub fn goroutine_returned(goroutine: u64, result: u64, on_stack: u64) {
    let thread = Thread::current();
    let tgid = u64::from(thread.tgid);
    let mut caller = Caller { who: goroutine, tgid };
    // SAFETY: the goroutine's own entry.
    let mut call = unsafe { CALLS.get(caller) };
    if call.is_none() {
        caller.who = running_goroutine(thread);
        // SAFETY: as above.
        call = unsafe { CALLS.get(caller) };
    }
    let Some(call) = call.copied() else { return };
    let result = if call.length_at == RESULT_ON_STACK {
        on_stack
    } else {
        result
    };
    // Of the goroutine's own entry: there is no other error.
    let _gone = CALLS.remove(caller);
    finished(thread, caller, call, length(call, result));
}

/// A call returns. `stack`: the stack's end behind it.
#[inline(always)]
pub fn returned(result: u64, stack: u64) {
    let thread = Thread::current();
    let caller = Caller::of(thread);
    // SAFETY: as in `entered`.
    let Some(call) = (unsafe { CALLS.get(caller) }).copied() else {
        return;
    };
    if call.stack.wrapping_add(size_of::<u64>() as u64) != stack {
        return; // of a call inside
    }
    let length = if Kind::is_rustls(call.kind) {
        match rustls::returned(thread, caller, &call, result) {
            Some(length) => length,
            None => return,
        }
    } else {
        // Of the thread's own entry: there is no other error.
        let _gone = CALLS.remove(caller);
        length(call, result)
    };
    finished(thread, caller, call, length);
    if call.kind == Kind::Read as u64 && result as i32 == 0 {
        ended(thread, call);
    }
}

/// The peer said that nothing follows (close_notify), or is gone: a read gave 0. (The `_ex` forms do not tell that from
/// "try again".)
#[inline(always)]
fn ended(thread: Thread, call: Call) {
    if let Some(session) = CONNECTIONS.get_ptr_mut(key(thread.tgid, call.object)) {
        // SAFETY: as in `finished`.
        capture::tell_end(unsafe { &mut *session }, thread);
    }
}

/// Bytes of plaintext that a call moved; 0 for an error, for "try again", and for a handshake.
#[inline(always)]
fn length(call: Call, result: u64) -> u32 {
    let length = if Kind::is_told(call.kind) {
        0
    } else if Kind::returns_apart(call.kind) {
        if result as i32 == 1 {
            // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
            unsafe { bpf_probe_read_user(call.length_at as *const u64).unwrap_or(0) as i64 }
        } else {
            0
        }
    } else {
        i64::from(result as i32)
    };
    if length > 0 && length <= i64::from(i32::MAX) {
        length as u32
    } else {
        0
    }
}

/// A call is over and moved `length` bytes.
#[inline(always)]
pub fn finished(thread: Thread, caller: Caller, call: Call, length: u32) {
    let key = key(thread.tgid, call.object);
    let followed = Kind::is_rustls(call.kind) && call.socket != 0 && rustls::settle(call.socket, key);
    let found = CONNECTIONS.get_ptr_mut(key);
    // SAFETY: a map value stays readable while the program runs, even when it is deleted meanwhile.
    let (link, known) = found.map_or((0, 0), |session| unsafe { ((*session).link, (*session).flags) });
    // What the thread received is for one that has no socket yet.
    let sure = link != 0 && (known & flags::INFERRED == 0 || is_open(link));
    let inferred = call.socket == 0;
    let Touched { socket, bytes } = if !inferred || sure || !Kind::infers(call.kind) {
        Touched {
            socket: call.socket,
            bytes: 0,
        }
    } else {
        plausible(take_touched(caller), call.kind, length, known)
    };
    if found.is_none() && socket == 0 && (length == 0 || Kind::any(call.kind)) {
        return;
    }
    let Some(session) = found.or_else(|| insert(key, thread.tgid)) else {
        count(Counter::ConnectionsEvicted, 1);
        return;
    };
    // SAFETY: as above. One thread at a time calls the library for one session, or it would break.
    let session = unsafe { &mut *session };
    // A session that has carried something and shakes hands over another socket is a new one, where the old one lay.
    let again =
        Kind::is_rustls(call.kind) || (call.kind == Kind::Handshake as u64 && session.flags & flags::MOVED != 0);
    let mut rebound = followed
        || (socket != 0 && session.link != socket && bind(session, key, socket, inferred, again, bytes as u32));
    if call.kind == Kind::Handshake as u64 && session.flags & flags::MOVED == 0 {
        session.flags |= flags::HANDSHAKE;
    }
    if rebound && !inferred {
        // What was received before belongs to this session too, and not to the next one of this thread.
        take_touched(caller);
    }
    let sent = Kind::sends(call.kind);
    let counted = if sent { &mut session.sent } else { &mut session.received };
    *counted = counted.wrapping_add(length);
    let position_end = *counted;
    if length != 0 && session.flags & flags::INFERRED != 0 && !lengths_agree(session) {
        unbind(session, key);
        rebound = true;
    }
    let (mut arrival_ns, mut at_ns) = (0, 0);
    if let Some(state) = CONNECTIONS.get_ptr_mut(session.link) {
        // SAFETY: as above.
        let state = unsafe { &mut *state };
        arrival_ns = state.held_arrival_ns;
        state.held_arrival_ns = 0;
        if Kind::is_rustls(call.kind) {
            state.flags |= flags::MOVABLE;
        }
        // The time is the socket's, as without TLS: the call may return much later. What was sent before the call is
        // something else, what was received before it is what it gives.
        if (state.flags & flags::LAST_SENT != 0) == sent && (!sent || state.moved_ns >= call.at_ns) {
            at_ns = state.moved_ns;
        }
        state.moved_ns = 0;
        state.flags |= session.flags & flags::CLIENT;
    }
    let moved = if sent { direction::SENT } else { direction::RECEIVED };
    let segment = Segment {
        at_ns: if at_ns == 0 { emit::now() } else { at_ns },
        arrival_ns: if sent { 0 } else { arrival_ns },
        position_end,
        length,
        tgid: thread.tgid,
        tid: task::mover(thread, moved),
        direction: moved,
        flags: 0,
        tail: [0; TAIL_BYTES],
    };
    let ends = Ends {
        key,
        socket: Socket::probed(session.link as *const u8),
        stream: Stream::Tls,
    };
    if rebound && session.flags & flags::OPENED != 0 {
        connection::opened(session, ends, segment);
    }
    if length == 0 {
        return;
    }
    if session.flags & flags::IGNORED != 0 {
        return;
    }
    if session.link == 0 {
        count(Counter::Unbound, 1);
    }
    let turned = session.flags & flags::MOVED == 0 || (session.flags & flags::LAST_SENT != 0) != sent;
    if !turned && session.flags & flags::OPENED == 0 {
        return; // what began like nothing known goes on
    }
    let pieces = (call.kind == Kind::AnyWritePieces as u64 || call.kind == Kind::RustlsWriteFirst as u64)
        && call.length_at < u64::from(length);
    let there = if pieces { call.length_at } else { u64::from(length) };
    let source = if call.kind == Kind::SendFile as u64 {
        Source::none(Bytes::NoBytes)
    } else if pieces && session.flags & flags::FRAMES != 0 {
        Source::none(Bytes::Unseen) // frames are walked in one piece
    } else if call.kind == Kind::RustlsWritePieces as u64 {
        syscall::vector(call.buffer as *const u8, call.length_at)
    } else {
        Source::buffer(call.buffer as *const u8, there)
    };
    capture::deliver(session, ends, segment, source, turned);
}

/// The one socket that the thread received from since the last call.
#[inline(always)]
fn take_touched(caller: Caller) -> Touched {
    const NONE: Touched = Touched { socket: 0, bytes: 0 };
    let Some(touched) = TOUCHED.get_ptr_mut(caller) else {
        return NONE;
    };
    // SAFETY: the thread's own entry.
    let found = unsafe { core::mem::replace(&mut *touched, NONE) };
    if found.socket == SEVERAL { NONE } else { found }
}

/// What a thread received, if it can be what the call was about of a session with these flags (0 if it is new). Where one
/// thread serves many connections, some receive for calls that come later, and the call at hand may be another one's. A read
/// gives less than was received for it; one that gives nothing goes on with a handshake; and a session that is new has said
/// nothing yet: it is a server's, whose socket has received its first bytes.
#[inline(always)]
fn plausible(touched: Touched, kind: u64, length: u32, known: u32) -> Touched {
    let Touched { socket, bytes } = touched;
    let plausible = if Kind::is_go(kind) {
        true
    } else if length != 0 {
        bytes >= u64::from(length) + LEAST_RECORD_BYTES
    } else if known != 0 {
        known & flags::MOVED == 0
    } else {
        // SAFETY: as in `finished`.
        CONNECTIONS
            .get_ptr_mut(socket)
            .is_some_and(|state| unsafe { (*state).misses <= 1 })
    };
    if plausible {
        touched
    } else {
        Touched { socket: 0, bytes: 0 }
    }
}

/// A state for a session that was not seen before.
#[inline(always)]
fn insert(key: u64, tgid: u32) -> Option<connection::State> {
    let mut session = connection::fresh(Stream::Tls, emit::now());
    session.flags = flags::SESSION;
    session.ring = processor();
    session.tgid = tgid;
    // Ports are asked of its socket.
    if !filter::wanted_process(tgid) || filters() & (select::PORT_INCLUDE | select::PORT_EXCLUDE) != 0 {
        session.flags |= flags::IGNORED | flags::FILTERED;
    }
    if CONNECTIONS.insert(key, session, u64::from(BPF_NOEXIST)).is_err() {
        return None;
    }
    CONNECTIONS.get_ptr_mut(key)
}

/// Binds a session to a socket, from which `bytes` were received for the call at hand; `again` if its object lies where
/// another one's did. False if the socket is another's, or gone.
#[inline(always)]
fn bind(session: &mut ConnectionState, key: u64, socket: u64, inferred: bool, again: bool, bytes: u32) -> bool {
    let Some(state) = CONNECTIONS.get_ptr_mut(socket) else {
        return false;
    };
    // SAFETY: as in `finished`.
    let state = unsafe { &mut *state };
    if state.flags & flags::TLS == 0 || (inferred && (state.link != 0 || session.flags & flags::MISBOUND != 0)) {
        return false;
    }
    if session.link != 0 {
        if !again && session.flags & flags::INFERRED == 0 && is_open(session.link) {
            // A program that does something else with TLS from inside of a call, such as to check a certificate.
            return false;
        }
        renew(session, key);
    }
    if session.flags & flags::FILTERED != 0 {
        // What is observed was asked of the socket.
        session.flags &= !(flags::FILTERED | flags::IGNORED);
    }
    session.link = socket;
    session.inode = state.inode;
    state.link = key;
    if inferred {
        session.flags |= flags::INFERRED;
        let at = Socket::probed(socket as *const u8).positions();
        session.received_before = at.map_or(0, |at| at.copied.wrapping_sub(bytes.wrapping_add(session.received)));
        session.sent_before = at.map_or(0, |at| at.written.wrapping_sub(session.sent));
    } else {
        session.flags &= !flags::INFERRED;
    }
    true
}

/// Is this socket there, and not closed by its process?
#[inline(always)]
pub fn is_open(socket: u64) -> bool {
    // SAFETY: as in `finished`.
    CONNECTIONS
        .get_ptr_mut(socket)
        .is_some_and(|state| unsafe { (*state).flags & flags::CLOSED == 0 })
}

/// The object is used for another connection now.
#[inline(always)]
pub fn renew(session: &mut ConnectionState, key: u64) {
    if session.flags & flags::OPENED != 0 {
        connection::flush_all(session);
        emit::state_change(session, change::DESTROYED);
        count(Counter::ConnectionsClosed, 1);
    }
    if session.flags & flags::FRAMES != 0 {
        frames::end(session);
    }
    let_go(session.link, key);
    session.connection = connection::fresh(Stream::Tls, emit::now()).connection;
    session.flags = flags::SESSION | session.flags & (flags::IGNORED | flags::FILTERED | flags::HANDSHAKE);
    session.budget = 0;
    session.continuations = 0;
    session.misses = 0;
    session.folded_bytes = 0;
    session.received = 0;
    session.sent = 0;
    session.link = 0;
}

/// A socket does not belong to this session any more.
#[inline(always)]
fn let_go(socket: u64, key: u64) {
    if let Some(state) = CONNECTIONS.get_ptr_mut(socket) {
        // SAFETY: as in `finished`.
        let state = unsafe { &mut *state };
        if state.link == key {
            state.link = 0;
        }
    }
}

/// Could this much plaintext have gone over that socket since it was bound? Ciphertext is longer, but not by much.
#[inline(always)]
fn lengths_agree(session: &mut ConnectionState) -> bool {
    if session.received > ENOUGH_BYTES || session.sent > ENOUGH_BYTES {
        // Before the numbers wrap.
        session.flags &= !flags::INFERRED;
        return true;
    }
    let Some(at) = Socket::probed(session.link as *const u8).positions() else {
        return false;
    };
    let received = at.copied.wrapping_sub(session.received_before);
    let sent = at.written.wrapping_sub(session.sent_before);
    let most = |plain: u32| plain.saturating_mul(2).saturating_add(SLACK_BYTES);
    received >= session.received && received <= most(session.received) && sent <= most(session.sent)
}

/// The session goes over another socket than was thought: nothing is known of it any more.
#[inline(always)]
fn unbind(session: &mut ConnectionState, key: u64) {
    let_go(session.link, key);
    session.link = 0;
    session.flags = session.flags & !flags::INFERRED | flags::MISBOUND;
    count(Counter::Misbound, 1);
}
