//! Datagrams of UDP: of all of them, those that look like DNS are told of. No state is kept of them: most sockets that ask
//! a question live for that question, no hook tells of their end, and one that answers serves many peers. So a record says
//! everything: socket, addresses, who, which way, first bytes. Who asked what is the user side's affair.
//!
//! What any other datagram costs is the search for the sixteen bytes that are looked at, and one read.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_probe_read_user, generated::bpf_get_current_pid_tgid};
use perf_common::{
    counters::Counter,
    record::{DatagramRecord, RecordHeader, direction, family, kind},
    sniff::{self, SNIFF_BYTES},
};

use crate::{
    buffers, connection, emit,
    filter::{Wanted, wanted},
    kernel::{Address, Socket, Thread},
    maps::{BATCHES, count},
    process,
    syscall::{self, Kind},
    task,
};

/// A header and the shortest question: nothing shorter is looked at.
const LEAST_BYTES: u32 = 17;
/// Bytes that fit an item of 256 bytes with the record: a query, an answer of an address or two.
const SMALL: u32 = 152;
/// Bytes that fit an item of 1 KiB. What a longer answer says behind them is not read.
const LARGE: u32 = 920;
/// A call of `sendmmsg` is over by then.
const BATCH_NS: u64 = 10_000_000;
/// Where [`find_datagram`] puts the number of bytes: addresses of processes have fewer bits.
const SIZE_SHIFT: u32 = 48;

/// The messages of a thread's `sendmmsg`: the hook is hit at each, and not told which it is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Batch {
    /// Of the messages' array.
    array: u64,
    /// Messages before the next one.
    next: u64,
    /// When the last one was sent.
    at_ns: u64,
}

/// A datagram moved.
// VERIFIER: the callers have 160 bytes of stack left. So what is done here is done by global functions one after the other,
// not one within the other. Their arguments have no types: the socket's fields are read by probe reads.
#[inline(always)]
pub fn moved(socket: Socket, way: u8, length: u32) {
    if length < LEAST_BYTES {
        return;
    }
    let found = find_datagram(length, way);
    if found == 0 {
        return;
    }
    let socket = socket.key_as_number();
    if !introduce_sender(socket) {
        return;
    }
    let peer = if way == direction::SENT {
        destination_of(socket)
    } else {
        0
    };
    tell_datagram(socket, found, peer, length, way);
}

/// Where the datagram's bytes lie and how many of them, if it looks like DNS; else 0. Of a thread with an `io_uring` it is
/// not told: its system call may be about something else, and which socket this is would be another read for all others.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_datagram(length: u32, way: u8) -> u64 {
    let mut source = syscall::source(Thread::current(), Socket::probed(core::ptr::null()));
    let sent_together = source.kind == Kind::Messages && way == direction::SENT;
    let (array, all) = (source.at, source.size);
    let mut index = 0;
    if source.kind == Kind::Messages {
        if sent_together {
            index = next_of_batch(array as u64, all);
        } else if all != 1 {
            // How many this call has received so far is not known, and in the other buffers lies what came before.
            return 0;
        }
        source = syscall::message(array, index);
    }
    let Some((from, size)) = buffers::first(source) else {
        return 0;
    };
    let size = if size < length { size } else { length };
    let size = if size > LARGE { LARGE } else { size };
    if size < SNIFF_BYTES as u32 || looks_like_dns(from as u64, length) == 0 {
        return 0;
    }
    if sent_together {
        sent_of_batch(array as u64, index);
    }
    u64::from(size) << SIZE_SHIFT | from as u64
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn looks_like_dns(from: u64, length: u32) -> u32 {
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    match unsafe { bpf_probe_read_user(from as *const [u8; SNIFF_BYTES]) } {
        Ok(first) => u32::from(sniff::is_dns_datagram(&first, length)),
        Err(_) => 0,
    }
}

/// Which message of the array comes next. A call that sent some of it and ended is not gone on with much later.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn next_of_batch(array: u64, all: u64) -> u32 {
    // SAFETY: the helper has no preconditions.
    let thread = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: a value of the thread itself, which runs here.
    match unsafe { BATCHES.get(thread) } {
        Some(batch)
            if batch.array == array
                && batch.next < all
                && batch.next < 1024
                && emit::now().wrapping_sub(batch.at_ns) < BATCH_NS =>
        {
            batch.next as u32
        }
        _ => 0,
    }
}

/// A message of the array was sent.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sent_of_batch(array: u64, index: u32) -> u32 {
    // SAFETY: the helper has no preconditions.
    let thread = unsafe { bpf_get_current_pid_tgid() };
    let batch = Batch {
        array,
        next: u64::from(index) + 1,
        at_ns: emit::now(),
    };
    // A full table forgets the one used least lately.
    let _full = BATCHES.insert(thread, batch, 0);
    0
}

/// Is the process to be observed? Then it is told who it is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn introduce_sender(socket: u64) -> bool {
    let socket = Socket::probed(socket as Address);
    let thread = Thread::current();
    if wanted(socket, thread.tgid) != Wanted::Yes {
        count(Counter::Filtered, 1);
        return false;
    }
    // If that is lost, the next one tells.
    process::told(ring_of(socket), thread.tgid, emit::now());
    true
}

/// All datagrams of a socket lie in one ring buffer, and so in order.
#[inline(always)]
fn ring_of(socket: Socket) -> u16 {
    (socket.key() >> 7) as u16
}

/// Where the process says to whom it sends, if its socket is not connected; else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn destination_of(socket: u64) -> u64 {
    let socket = Socket::probed(socket as Address);
    if socket.remote_port() != 0 {
        return 0;
    }
    // SAFETY: the helper has no preconditions.
    let thread = unsafe { bpf_get_current_pid_tgid() };
    // SAFETY: a value of the thread itself, which runs here.
    let sent = match unsafe { BATCHES.get(thread) } {
        Some(batch) if batch.next < 1024 => batch.next as u32,
        _ => 1,
    };
    syscall::destination(Thread::current(), socket, sent.saturating_sub(1)) as u64
}

/// The record and room for bytes behind it.
#[repr(C, align(8))]
struct Item<const ROOM: usize> {
    record: DatagramRecord,
    payload: [u8; ROOM],
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_datagram(socket: u64, found: u64, peer: u64, length: u32, way: u8) -> u32 {
    let socket = Socket::probed(socket as Address);
    if (found >> SIZE_SHIFT) as u32 <= SMALL {
        tell::<{ SMALL as usize }, SMALL>(socket, found, peer, length, way);
    } else {
        tell::<{ LARGE as usize }, LARGE>(socket, found, peer, length, way);
    }
    0
}

#[inline(always)]
fn tell<const ROOM: usize, const LIMIT: u32>(socket: Socket, found: u64, peer: u64, length: u32, way: u8) {
    let Some((ring, mut entry)) = emit::reserve::<Item<ROOM>>(ring_of(socket)) else {
        return;
    };
    let item = entry.as_mut_ptr();
    let thread = Thread::current();
    let at_ns = emit::now();
    // SAFETY: `item` is a reserved item of this size; every field of the record is written before it is submitted, and
    // `size` says how much of the payload is.
    unsafe {
        let record = &raw mut (*item).record;
        let from = found & ((1 << SIZE_SHIFT) - 1);
        let captured = buffers::copy::<LIMIT>(
            (&raw mut (*item).payload).cast::<u8>(),
            from as Address,
            (found >> SIZE_SHIFT) as u32,
        );
        (&raw mut (*record).header).write(RecordHeader {
            kind: kind::DATAGRAM,
            flags: 0,
            size: size_of::<DatagramRecord>() as u32 + captured,
            at_ns,
        });
        (&raw mut (*record).socket).write(socket.key());
        (&raw mut (*record).tgid).write(thread.tgid);
        (&raw mut (*record).tid).write(task::running(thread));
        (&raw mut (*record).length).write(length);
        (&raw mut (*record).captured).write(captured);
        (&raw mut (*record).local_port).write(socket.local_port());
        (&raw mut (*record).remote_port).write(socket.remote_port());
        (&raw mut (*record).direction).write(way);
        (&raw mut (*record).reserved).write([0; 3]);
        (&raw mut (*record).local_address).write([0; 16]);
        (&raw mut (*record).remote_address).write([0; 16]);
        (&raw mut (*record).comm).write(bpf_get_current_comm().unwrap_or_default());
        connection::addresses(
            socket,
            (&raw mut (*record).local_address).cast(),
            (&raw mut (*record).remote_address).cast(),
        );
        if peer != 0 {
            write_peer(record, peer);
        }
    }
    entry.submit(emit::wakeup::<Item<ROOM>>(ring, at_ns));
}

/// Writes the address that a process sends to: `struct sockaddr_in` or `sockaddr_in6`, which are ABI.
///
/// # Safety
/// `record` is a reserved one.
#[inline(always)]
unsafe fn write_peer(record: *mut DatagramRecord, peer: u64) {
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let Ok([address_family, port]) = (unsafe { bpf_probe_read_user(peer as *const [u16; 2]) }) else {
        return;
    };
    // SAFETY: of the caller; the source is as above.
    unsafe {
        let to = (&raw mut (*record).remote_address).cast::<u8>();
        let failed = match address_family {
            family::INET => {
                to.add(8).cast::<u32>().write_unaligned(0xffff_0000);
                buffers::copy::<4>(to.add(12), (peer + 4) as Address, 4) == 0
            }
            family::INET6 => buffers::copy::<16>(to, (peer + 8) as Address, 16) == 0,
            _ => true,
        };
        if !failed {
            (&raw mut (*record).remote_port).write(u16::from_be(port));
        }
    }
}
