//! rustls: it works on buffers, and the program moves ciphertext between those and the socket. But it does that inside of
//! calls of rustls, or right between them, by one thread:
//!
//! - `DeframerVecBuffer::read` receives ciphertext. What is decrypted of it, `CommonState::take_received_plaintext` is given
//!   before the thread receives anything else.
//! - What `CommonState::buffer_plaintext` takes is sent from inside of `ChunkVecBuffer::write_to`.
//!
//! So a session's socket is known and not guessed. Its object is not as sure: in Rust a value moves, such as when a
//! connection is handed to its task behind the handshake. A session is followed to the place where its socket is used
//! next ([`follow`]).

use aya_ebpf::helpers::bpf_probe_read_user;
use perf_common::{
    counters::Counter,
    settings::{UNSERVED, mark},
    state::flags,
};

use crate::{
    buffers, emit,
    kernel::{Address, Thread},
    maps::{CALLS, CONNECTIONS, PROCESSES, count},
    tls::{self, Call, Caller, Kind},
};

/// No connection is larger; its parts lie in it (`ConnectionCommon`, somewhat more than a thousand bytes).
const OBJECT_BYTES: u64 = 2048;
/// In [`Call::length`]: what was taken is being sent.
const SENDING: u64 = 1 << 63;
/// Addresses of a process are below, and lengths of what is in one record far below the least of them.
const LEAST_ADDRESS: u64 = 1 << 24;
const END_OF_ADDRESSES: u64 = 1 << 47;

/// Do both lie in one connection?
#[inline(always)]
fn is_part(part: u64, object: u64) -> bool {
    part.wrapping_sub(object).wrapping_add(OBJECT_BYTES) < 2 * OBJECT_BYTES
}

#[inline(always)]
fn caller(thread: Thread) -> Caller {
    Caller {
        who: u64::from(thread.tid),
        tgid: u64::from(thread.tgid),
    }
}

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
    let caller = caller(Thread::current());
    give_up_last(caller);
    let call = Call {
        object: part,
        buffer: 0,
        length_at: 0,
        stack: 0,
        socket: 0,
        kind: Kind::RustlsReceive as u64,
        at_ns: emit::now(),
        length: 0,
    };
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
    let caller = caller(thread);
    // SAFETY: the thread's own entry.
    let socket = match unsafe { CALLS.get(caller) } {
        Some(call) if call.kind == Kind::RustlsReceive as u64 && is_part(call.object, object) => call.socket,
        _ => 0,
    };
    if socket == 0 && link(tls::key(thread.tgid, object)) == 0 {
        // Received elsewhere than where it is looked for: it would be half a connection.
        count(Counter::Unbound, 1);
        doubt(thread.tgid);
        return;
    }
    let call = Call {
        object,
        buffer,
        length_at: 0,
        stack: 0,
        socket,
        kind: Kind::RustlsRead as u64,
        at_ns: emit::now(),
        length: 0,
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
    let thread = Thread::current();
    let caller = caller(thread);
    give_up_last(caller);
    let call = Call {
        object,
        buffer: if single { second } else { first },
        length_at: if single { 0 } else { second },
        stack,
        socket: 0,
        kind: if single {
            Kind::RustlsWrite
        } else {
            Kind::RustlsWritePieces
        } as u64,
        at_ns: emit::now(),
        length: 0,
    };
    // A full table gives up another thread's.
    let _full = CALLS.insert(caller, call, 0);
}

/// A session is asked to send what it has in this part of it.
#[inline(always)]
pub fn sends(part: u64, stack: u64) {
    let Some(call) = CALLS.get_ptr_mut(caller(Thread::current())) else {
        return;
    };
    // SAFETY: a map value stays writable while the program runs; the entry is the thread's own.
    let call = unsafe { &mut *call };
    if call.kind >= Kind::RustlsWrite as u64 && call.stack == 0 && is_part(part, call.object) {
        call.stack = stack;
        call.socket = 0;
        call.length |= SENDING;
    }
}

/// So many bytes of what a session was given were taken, or something of them has been sent. Gives how much of it
/// is to be told of now: at once if it is known where it goes, else when it has been sent.
#[inline(always)]
pub fn returned(thread: Thread, caller: Caller, call: &Call, result: u64) -> Option<u32> {
    let link = link(tls::key(thread.tgid, call.object));
    if call.length & SENDING != 0 {
        // Of the thread's own entry: there is no other error.
        let _gone = CALLS.remove(caller);
        let length = call.length as u32;
        return (length != 0 || (call.socket != 0 && call.socket != link)).then_some(length);
    }
    let taken = CALLS.get_ptr_mut(caller)?;
    if result == 0 || result > i32::MAX as u64 {
        let _gone = CALLS.remove(caller);
        return None;
    }
    let told = link != 0 && tls::is_open(link);
    // SAFETY: as in `sends`.
    let taken = unsafe { &mut *taken };
    taken.stack = 0;
    if !told {
        taken.length = result;
        if call.kind == Kind::RustlsWritePieces as u64 {
            // The caller's, which goes now; what it tells of stays until it has been sent.
            let (first, length) = buffers::piece(call.buffer as Address, 0).unwrap_or((core::ptr::null(), 0));
            taken.buffer = first as u64;
            taken.length_at = length;
            taken.kind = Kind::RustlsWriteFirst as u64;
        }
    }
    told.then_some(result as u32)
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

/// A session's socket is used by an object that has this key: if it had another one, the session goes there. True if it did.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would be on the stack"
)]
pub fn follow(socket: u64, key: u64) -> bool {
    let Some(state) = CONNECTIONS.get_ptr_mut(socket) else {
        return false;
    };
    // SAFETY: as in `returned`.
    let state = unsafe { &mut *state };
    let before = state.link;
    if before == 0 || before == key || state.flags & flags::MOVABLE == 0 {
        return false;
    }
    let Some(session) = CONNECTIONS.get_ptr_mut(before) else {
        return false;
    };
    if let Some(other) = CONNECTIONS.get_ptr_mut(key) {
        // Of an object that lay there, and is elsewhere or gone.
        // SAFETY: as in `returned`.
        tls::renew(unsafe { &mut *other }, key);
    }
    // SAFETY: as above; the kernel copies it.
    if CONNECTIONS.insert(key, unsafe { &*session }, 0).is_err() {
        count(Counter::ConnectionsEvicted, 1);
        return false;
    }
    // Of what was just found: there is no other error.
    let _gone = CONNECTIONS.remove(before);
    state.link = key;
    true
}
