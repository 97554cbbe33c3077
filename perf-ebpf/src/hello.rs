//! The first words of a TLS client, which say in plain text whom it wants to speak to. Nothing else is copied of a
//! handshake. What they say is the user side's affair.

use aya_ebpf::helpers::bpf_get_current_comm;
use perf_common::record::{HelloRecord, RecordHeader, kind};

use crate::{
    buffers, connection, emit,
    kernel::{Address, Socket, Thread},
    maps::CONNECTIONS,
    process,
    syscall::Source,
};

/// Bytes that fit an item of 1 KiB with the record: a hello with the key of one elliptic curve.
const SMALL: u32 = 928;
/// Bytes that fit an item of 4 KiB: one with a key of ML-KEM too. What a longer one says behind them is not read.
const LARGE: u32 = 4000;

/// A process sends the first bytes of a connection that writes to this ring buffer, `length` of them: TLS's.
// VERIFIER: what is done here is done by global functions one after the other: their callers have stack left for one.
#[inline(always)]
pub fn sent(ring: u16, socket: Socket, source: Source, length: u32) {
    if let Some((from, size)) = buffers::first(source) {
        introduce_client(ring);
        tell_hello(
            socket.key_as_number(),
            from as u64,
            length,
            if size < length { size } else { length },
        );
    }
}

/// Tells who the process is. If that is lost, its thread's name is known.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn introduce_client(ring: u16) -> bool {
    process::told(ring, Thread::current().tgid, emit::now())
}

/// The record and room for bytes behind it.
#[repr(C, align(8))]
struct Item<const ROOM: usize> {
    record: HelloRecord,
    payload: [u8; ROOM],
}

/// Tells of a segment of `length` bytes, of which `there` lie here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_hello(socket: u64, from: u64, length: u32, there: u32) -> u32 {
    let socket = Socket::probed(socket as Address);
    if there <= SMALL {
        tell::<{ SMALL as usize }, SMALL>(socket, from, length, there);
    } else {
        tell::<{ LARGE as usize }, LARGE>(socket, from, length, there);
    }
    0
}

#[inline(always)]
fn tell<const ROOM: usize, const LIMIT: u32>(socket: Socket, from: u64, length: u32, there: u32) {
    let Some(state) = CONNECTIONS.get_ptr_mut(socket.key()) else {
        return;
    };
    // SAFETY: a map value stays readable while the program runs, even when it is deleted meanwhile.
    let (connection, ring) = unsafe { ((*state).connection, (*state).ring) };
    let Some((ring, mut entry)) = emit::reserve::<Item<ROOM>>(ring) else {
        return;
    };
    let item = entry.as_mut_ptr();
    let at_ns = emit::now();
    // SAFETY: `item` is a reserved item of this size; every field of the record is written before it is submitted, and
    // `size` says how much of the payload is.
    unsafe {
        let record = &raw mut (*item).record;
        let captured = buffers::copy::<LIMIT>((&raw mut (*item).payload).cast::<u8>(), from as Address, there);
        (&raw mut (*record).header).write(RecordHeader {
            kind: kind::HELLO,
            flags: 0,
            size: size_of::<HelloRecord>() as u32 + captured,
            at_ns,
        });
        (&raw mut (*record).connection).write(connection);
        (&raw mut (*record).tgid).write(Thread::current().tgid);
        (&raw mut (*record).length).write(length);
        (&raw mut (*record).captured).write(captured);
        (&raw mut (*record).local_port).write(socket.local_port());
        (&raw mut (*record).remote_port).write(socket.remote_port());
        (&raw mut (*record).comm).write(bpf_get_current_comm().unwrap_or_default());
        (&raw mut (*record).local_address).write([0; 16]);
        (&raw mut (*record).remote_address).write([0; 16]);
        connection::addresses(
            socket,
            (&raw mut (*record).local_address).cast(),
            (&raw mut (*record).remote_address).cast(),
        );
    }
    entry.submit(emit::wakeup::<Item<ROOM>>(ring, at_ns));
}
