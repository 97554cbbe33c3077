//! How a TCP connection's packets fare: what its socket keeps of them anyway.

use core::hint::cold_path;

use perf_common::{
    record::{NetworkRecord, RecordHeader, kind},
    settings::offset,
    state::{ConnectionState, flags},
};

use crate::{
    emit,
    kernel::{Address, Socket, read},
    maps::CONNECTIONS,
};

/// It is told no more often than this, and at the connection's end.
const EVERY_NS: u64 = 1_000_000_000;

/// Bytes move on a followed socket: is it time to tell?
#[inline(always)]
pub fn moved(state: &mut ConnectionState, socket: Socket, at_ns: u64) {
    if at_ns.wrapping_sub(state.network_ns) >= EVERY_NS {
        cold_path();
        state.network_ns = at_ns;
        tell(state, socket, at_ns);
    }
}

/// Tells of the socket that this is the state of.
#[inline(always)]
pub fn tell(state: &ConnectionState, socket: Socket, at_ns: u64) {
    let ring_and_connect = u64::from(state.ring) << 32 | u64::from(state.connect_us);
    tell_network(
        socket.key_as_number(),
        state.connection,
        state.link,
        ring_and_connect,
        at_ns,
    );
}

/// `link`: the key of the session's state whose connection is told of instead, 0 for none. `ring_and_connect`: the ring
/// buffer's number (high half), and the time that it took to connect.
// VERIFIER: a global function, see `process::tell_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_network(socket: u64, connection: u64, link: u64, ring_and_connect: u64, at_ns: u64) -> u32 {
    let mut connection = connection;
    if link != 0
        && let Some(session) = CONNECTIONS.get_ptr(link)
    {
        // SAFETY: a map value stays readable while the program runs.
        connection = unsafe { (*session).connection };
    }
    let Some((ring, mut entry)) = emit::reserve::<NetworkRecord>((ring_and_connect >> 32) as u16) else {
        return 0;
    };
    let socket = socket as Address;
    entry.write(NetworkRecord {
        header: RecordHeader {
            kind: kind::NETWORK,
            flags: 0,
            size: size_of::<NetworkRecord>() as u32,
            at_ns,
        },
        connection,
        rtt_us: read::<u32>(socket, offset::TCP_SRTT) >> 3,
        rtt_variance_us: read::<u32>(socket, offset::TCP_MDEV) >> 2,
        retransmits: read::<u32>(socket, offset::TCP_RETRANSMITS),
        connect_us: ring_and_connect as u32,
    });
    entry.submit(emit::wakeup::<NetworkRecord>(ring, at_ns));
    1
}

/// Is what is told of this state's connection told of its packets as well?
#[inline(always)]
pub fn is_told(state: &ConnectionState) -> bool {
    state.flags & (flags::OPENED | flags::TLS) != 0
        && state.flags & (flags::UNIX | flags::SESSION | flags::IGNORED) == 0
}
