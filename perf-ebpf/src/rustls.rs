//! rustls: it works on buffers, and the program moves ciphertext between those and the socket. But it does that inside of
//! calls of rustls, or right between them, by one thread:
//!
//! - `DeframerVecBuffer::read` receives ciphertext. What is decrypted of it, `CommonState::take_received_plaintext` is given
//!   before the thread receives anything else.
//! - What `CommonState::buffer_plaintext` takes is sent from inside of `ChunkVecBuffer::write_to`. It is told of then: the
//!   caller of both still has it. (Of several pieces the array lies with whoever called `PlaintextSink::write_vectored`,
//!   from inside of which the pieces are taken.)
//!
//! So a session's socket is known and not guessed. Its object is not as sure: in Rust a value moves, such as when a
//! connection is handed to its task behind the handshake, and the next one may lie where it was. So no place is believed
//! before a socket is used there. The socket's session is followed to that place ([`settle`]); what lay there before is
//! kept by its own socket until that is used again.

use aya_ebpf::helpers::bpf_probe_read_user;
use perf_common::{
    counters::Counter,
    settings::{UNSERVED, mark},
    state::flags,
};

use crate::{
    buffers, filter,
    kernel::{Address, Thread},
    maps::{CALLS, CONNECTIONS, PROCESSES, count},
    tls::{self, Call, Caller, Kind},
};

/// How far behind its `CommonState` a connection's buffer of what is to be sent begins, at most: a part of it.
const SENDABLE_BYTES: u64 = 512;
/// Likewise its deframer's buffer, behind it in the connection (`ConnectionCommon`, somewhat more than a thousand bytes).
const DEFRAMER_BYTES: u64 = 1536;
/// In [`Call::length`]: what was taken is being sent.
const SENDING: u64 = 1 << 63;
/// Addresses of a process are below, and lengths of what is in one record far below the least of them.
const LEAST_ADDRESS: u64 = 1 << 24;
const END_OF_ADDRESSES: u64 = 1 << 47;

/// The thread's next call begins. If what its last one took was never sent, nobody knows where it goes.
#[inline(always)]
fn give_up_last(caller: Caller) {
    // SAFETY: the thread's own entry.
    if unsafe { CALLS.get(caller) }.is_some_and(|call| call.length != 0) {
        count(Counter::Unbound, 1);
    }
}

/// A session is about to receive ciphertext into this part of it.
#[inline(always)]
pub fn receives(part: u64) {
    let caller = Caller::of(Thread::current());
    give_up_last(caller);
    let call = Call::begins(Kind::RustlsReceive, part, 0, 0, 0);
    // A full table gives up another thread's.
    let _full = CALLS.insert(caller, call, 0);
}

/// A session has decrypted this.
#[inline(always)]
pub fn received(object: u64, payload: u64) {
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let words = unsafe { bpf_probe_read_user(payload as *const [u64; 3]).unwrap_or([0; 3]) };
    let (buffer, length) = text(words);
    if length == 0 {
        return;
    }
    let thread = Thread::current();
    let caller = Caller::of(thread);
    // SAFETY: the thread's own entry.
    let socket = match unsafe { CALLS.get(caller) } {
        Some(call) if call.kind == Kind::RustlsReceive as u64 && call.object.wrapping_sub(object) < DEFRAMER_BYTES => {
            call.socket
        }
        _ => 0,
    };
    if !filter::wanted_process(thread.tgid) {
        return;
    }
    if socket == 0 && link(tls::key(thread.tgid, object)) == 0 {
        // Received elsewhere than where it is looked for: it would be half a connection.
        count(Counter::Unbound, 1);
        doubt(thread.tgid);
        return;
    }
    let call = Call {
        socket,
        ..Call::begins(Kind::RustlsRead, object, buffer, 0, 0)
    };
    tls::finished(thread, caller, call, length);
}

#[inline(always)]
fn is_address(word: u64) -> bool {
    (LEAST_ADDRESS..END_OF_ADDRESSES).contains(&word)
}

/// Where a `Payload` has its text, and how long that is: a `Vec<u8>` or, with the highest bit set in place of its capacity, a
/// `&[u8]`. In which order the three words stand is the compiler's affair, but they cannot be taken for one another.
#[inline(always)]
fn text([first, second, third]: [u64; 3]) -> (u64, u32) {
    let (address, one, other) = if is_address(second) {
        (second, first, third)
    } else if is_address(first) {
        (first, second, third)
    } else {
        (third, first, second)
    };
    // A capacity is no less than the length, as is the bit.
    let length = if one < other { one } else { other };
    if length < LEAST_ADDRESS {
        (address, length as u32)
    } else {
        (0, 0)
    }
}

/// A session is about to take pieces, `count` of them in this array.
#[inline(always)]
pub fn takes_pieces(object: u64, array: u64, count: u64, stack: u64) {
    let caller = Caller::of(Thread::current());
    give_up_last(caller);
    let call = Call::begins(Kind::RustlsPieces, object, array, count, stack);
    // A full table gives up another thread's.
    let _full = CALLS.insert(caller, call, 0);
}

/// A session is about to take this plaintext, an `OutboundChunks`: 0, an address and a length; or the address of an array of
/// such, how many there are, and which of their bytes are meant. (Of another compiler's order nothing could be read.)
#[inline(always)]
pub fn takes(object: u64, payload: u64, stack: u64) {
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let [first, second, third, _] = unsafe { bpf_probe_read_user(payload as *const [u64; 4]).unwrap_or([0; 4]) };
    let single = first == 0;
    if !single && third != 0 {
        return; // what is left when keys were changed in between, after millions of records
    }
    let caller = Caller::of(Thread::current());
    let mut call = Call::begins(Kind::RustlsWrite, object, second, 0, stack);
    // SAFETY: the thread's own entry.
    let outer = unsafe { CALLS.get(caller) }.copied();
    match outer {
        _ if single => {}
        // The caller's own array stays until it has been sent, this one does not.
        Some(outer) if outer.kind == Kind::RustlsPieces as u64 && outer.stack > stack && outer.length_at == second => {
            call.kind = Kind::RustlsWritePieces as u64;
            call.buffer = outer.buffer;
            call.length_at = second;
        }
        _ => {
            let (piece, length) = buffers::piece(first as Address, 0).unwrap_or((core::ptr::null(), 0));
            call.kind = Kind::RustlsWriteFirst as u64;
            call.buffer = piece as u64;
            call.length_at = length;
        }
    }
    give_up_last(caller);
    // A full table gives up another thread's.
    let _full = CALLS.insert(caller, call, 0);
}

/// A session is asked to send what it has in this part of it.
#[inline(always)]
pub fn sends(part: u64, stack: u64) {
    let Some(call) = CALLS.get_ptr_mut(Caller::of(Thread::current())) else {
        return;
    };
    // SAFETY: a map value stays writable while the program runs; the entry is the thread's own.
    let call = unsafe { &mut *call };
    if call.kind >= Kind::RustlsWrite as u64 && call.stack == 0 && part.wrapping_sub(call.object) < SENDABLE_BYTES {
        call.stack = stack;
        call.socket = 0;
        call.length |= SENDING;
    }
}

/// So many bytes of what a session was given were taken, or have been sent as far as the socket took them. Gives how much is
/// to be told of now.
#[inline(always)]
pub fn returned(thread: Thread, caller: Caller, call: &Call, result: u64) -> Option<u32> {
    if call.length & SENDING == 0 {
        let taken = CALLS.get_ptr_mut(caller)?;
        if result == 0 || result > i32::MAX as u64 {
            let _gone = CALLS.remove(caller);
            return None;
        }
        // SAFETY: as in `sends`.
        let taken = unsafe { &mut *taken };
        taken.stack = 0;
        taken.length = result;
        return None;
    }
    // Of the thread's own entry: there is no other error.
    let _gone = CALLS.remove(caller);
    if call.socket == 0 && link(tls::key(thread.tgid, call.object)) == 0 {
        count(Counter::Unbound, 1); // the socket took nothing
        return None;
    }
    Some(call.length as u32)
}

/// The socket of the session with this key, 0 if there is none.
#[inline(always)]
fn link(key: u64) -> u64 {
    CONNECTIONS
        .get_ptr_mut(key)
        // SAFETY: a map value stays readable while the program runs, even when it is deleted meanwhile.
        .map_or(0, |session| unsafe { (*session).link })
}

/// What is probed in this process does not serve all of its connections: says so, once.
#[inline(always)]
fn doubt(tgid: u32) {
    if let Some(marks) = PROCESSES.get_ptr_mut(tgid)
        // SAFETY: as in `sends`; of two threads one may ask in vain.
        && unsafe { *marks } & mark::TLS_DOUBTED == 0
    {
        // SAFETY: as above.
        unsafe { *marks |= mark::TLS_DOUBTED };
        tls::ask(u64::from(tgid) | UNSERVED);
    }
}

/// A socket is used by an object that has this key: its session goes there, wherever it was. True if it was elsewhere.
#[inline(always)]
pub fn settle(socket: u64, key: u64) -> bool {
    let Some(state) = CONNECTIONS.get_ptr_mut(socket) else {
        return false;
    };
    // SAFETY: as in `link`.
    let state = unsafe { &mut *state };
    let before = state.link;
    if before == key {
        return false;
    }
    if let Some(other) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: as in `link`.
        let other = unsafe { &mut *other };
        let theirs = other.link;
        if theirs != 0 && theirs != socket && tls::is_open(theirs) {
            // Of a connection that lies elsewhere now.
            shift(key, theirs | PARKED, theirs);
        } else {
            tls::renew(other, key);
        }
    }
    before != 0 && state.flags & flags::MOVABLE != 0 && shift(before, key, socket)
}

/// In the key of a session that lies nowhere for now, beside its socket's: those are addresses of the kernel, which end in 0.
const PARKED: u64 = 1;

/// A socket's session gets another key. False if there is none, or no room.
#[inline(never)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would be on the stack"
)]
fn shift(from: u64, to: u64, socket: u64) -> bool {
    let Some(session) = CONNECTIONS.get_ptr_mut(from) else {
        return false;
    };
    // SAFETY: as in `link`; the kernel copies it.
    if CONNECTIONS.insert(to, unsafe { &*session }, 0).is_err() {
        count(Counter::ConnectionsEvicted, 1);
        return false;
    }
    // Of what was just found: there is no other error.
    let _gone = CONNECTIONS.remove(from);
    if let Some(state) = CONNECTIONS.get_ptr_mut(socket) {
        // SAFETY: as in `sends`.
        unsafe { (*state).link = to };
    }
    true
}
