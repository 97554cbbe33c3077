//! A connection's beginning and end: its state is made at the first segment, or when data arrives before it, and goes
//! when the socket does.

use core::hint::cold_path;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_comm, generated::bpf_probe_read_kernel as read_kernel},
};
use perf_common::{
    counters::Counter,
    record::{
        OpenRecord, RecordHeader, TAIL_BYTES, UNIX_PATH_BYTES, change, direction, family, kind, open_flag, origin,
    },
    settings::{feature, offset},
    state::{ConnectionState, flags},
};

use crate::{
    emit,
    filter::{Wanted, wanted},
    frames,
    kernel::{Address, Socket, Stream, Thread, follow, read},
    maps::{CONNECTIONS, count, features, field_offset, processor},
    network, process, tls,
};

/// What a connection's open record tells of where it goes.
#[derive(Clone, Copy)]
pub struct Ends {
    /// The key of its state.
    pub key: u64,
    /// Its socket; of a TLS session that is bound to none yet, one at no address.
    pub socket: Socket,
    /// What it is.
    pub stream: Stream,
}

/// A connection's state in its map.
pub type State = *mut ConnectionState;

/// The state of a socket, if it has one.
#[inline(always)]
pub fn find(socket: Socket) -> Option<State> {
    CONNECTIONS.get_ptr_mut(socket.key())
}

/// The state of a socket that data of the current process just moved on: found, or made. None for what is not followed.
/// Nearly always it is found, by nothing but a look into the map.
#[inline(always)]
pub fn find_or_adopt(socket: Socket, stream: Stream) -> Option<State> {
    let made = || {
        cold_path();
        insert(socket, &fresh(stream, emit::now()))
    };
    let Some(state) = find(socket).or_else(made) else {
        count(Counter::ConnectionsEvicted, 1);
        return None;
    };
    // SAFETY: a map value stays readable while the program runs, even when it is deleted meanwhile.
    let held = unsafe { &mut *state };
    if held.flags & (flags::ARRIVED_ONLY | flags::FILTERED | flags::UNIX) == 0 {
        return Some(state);
    }
    cold_path();
    if held.flags & flags::UNIX != 0
        && features() & feature::UNIX_RELEASE == 0
        && held.inode != 0
        && held.inode != socket.inode() as u32
    {
        // Another socket at an address whose end no hook told of.
        if held.flags & flags::OPENED != 0 {
            flush(held);
            emit::state_change(held, change::DESTROYED);
        }
        *held = fresh(stream, emit::now());
    }
    let tgid = Thread::current().tgid;
    if held.flags & flags::ARRIVED_ONLY != 0 {
        held.flags &= !flags::ARRIVED_ONLY;
        // Data arrives on the processor of the peer or of an interrupt; the process is here.
        held.ring = processor();
        judge(held, socket, tgid);
    } else if held.flags & flags::FILTERED != 0 && held.tgid != tgid {
        held.flags &= !(flags::FILTERED | flags::IGNORED);
        judge(held, socket, tgid);
    }
    Some(state)
}

/// Notes when data became readable; makes a state for a socket that no process has touched yet.
#[inline(always)]
pub fn arrived(socket: Socket, stream: Stream) {
    if let Some(state) = find(socket) {
        // SAFETY: as in `find_or_adopt`.
        let state = unsafe { &mut *state };
        if state.flags & (flags::IGNORED | flags::CLIENT) == 0 {
            let at_ns = emit::now();
            state.last_arrival_ns = at_ns;
            if state.arrival_ns == 0 {
                state.arrival_ns = at_ns;
            }
        }
        return;
    }
    let at_ns = emit::now();
    let mut state = fresh(stream, at_ns);
    state.arrival_ns = at_ns;
    state.last_arrival_ns = at_ns;
    // A full table is counted when a process touches the data.
    let _full = insert(socket, &state);
}

#[inline(always)]
fn insert(socket: Socket, state: &ConnectionState) -> Option<State> {
    if CONNECTIONS.insert(socket.key(), state, u64::from(BPF_NOEXIST)).is_err() && find(socket).is_none() {
        return None;
    }
    find(socket)
}

/// A state with nothing seen yet. Ids are unique as long as the machine runs: the processor's own clock readings never
/// repeat, and the processor's number tells processors apart.
#[inline(always)]
pub fn fresh(stream: Stream, at_ns: u64) -> ConnectionState {
    let kind = if stream == Stream::Unix { flags::UNIX } else { 0 };
    ConnectionState {
        connection: (at_ns << 10) | u64::from(processor() & 1023),
        arrival_ns: 0,
        last_arrival_ns: 0,
        folded_ns: 0,
        flags: kind | flags::ARRIVED_ONLY,
        budget: 0,
        continuations: 0,
        misses: 0,
        ring: 0,
        folded_bytes: 0,
        folded_position: 0,
        received: 0,
        sent: 0,
        tgid: 0,
        tid: 0,
        inode: 0,
        vector_next: 0,
        vector: 0,
        folded_tail: [0; TAIL_BYTES],
        link: 0,
        held_arrival_ns: 0,
        moved_ns: 0,
        received_before: 0,
        sent_before: 0,
        network_ns: 0,
        connect_us: 0,
        reserved: 0,
    }
}

/// First use by a process: is it to be observed?
#[inline(always)]
fn judge(state: &mut ConnectionState, socket: Socket, tgid: u32) {
    state.inode = socket.inode() as u32;
    match wanted(socket, tgid) {
        // No file: a socket of the kernel itself (a network file system), whose data is in no process's buffer.
        Wanted::Yes if state.inode == 0 => state.flags |= flags::IGNORED,
        Wanted::Yes if socket.kernel_tls() => tls::by_the_kernel(state, tgid),
        Wanted::Yes => {}
        Wanted::No => {
            state.flags |= flags::IGNORED;
            count(Counter::Filtered, 1);
        }
        Wanted::NotThisProcess => {
            state.flags |= flags::IGNORED | flags::FILTERED;
            state.tgid = tgid;
            count(Counter::Filtered, 1);
        }
    }
}

/// Emits the open record of a connection that has shown a known protocol, and who the process is before it.
#[inline(always)]
pub fn opened(state: &mut ConnectionState, ends: Ends, segment: emit::Segment) {
    process::introduce(state, segment.tgid, segment.at_ns);
    let Some((ring, mut entry)) = emit::reserve::<OpenRecord>(state.ring) else {
        return;
    };
    let record = entry.as_mut_ptr();
    let Ends { key, socket, stream } = ends;
    let unix = stream == Stream::Unix;
    let tls = stream == Stream::Tls || (stream == Stream::Tcp && socket.kernel_tls());
    // SAFETY: `record` is a reserved item of this size; every field is written before it is submitted.
    unsafe {
        (&raw mut (*record).header).write(RecordHeader {
            kind: kind::OPEN,
            flags: if tls { open_flag::TLS } else { 0 },
            size: size_of::<OpenRecord>() as u32,
            at_ns: segment.at_ns,
        });
        (&raw mut (*record).connection).write(state.connection);
        (&raw mut (*record).socket).write(key);
        (&raw mut (*record).inode).write(u64::from(state.inode));
        (&raw mut (*record).tgid).write(segment.tgid);
        (&raw mut (*record).tid).write(segment.tid);
        (&raw mut (*record).comm).write(bpf_get_current_comm().unwrap_or_default());
        (&raw mut (*record).local_address).write([0; 16]);
        (&raw mut (*record).remote_address).write([0; 16]);
        (&raw mut (*record).unix_path).write([0; UNIX_PATH_BYTES]);
        (&raw mut (*record).unix_path_bytes).write(0);
        (&raw mut (*record).reserved).write(0);
        (&raw mut (*record).reserved2).write([0; 4]);
        (&raw mut (*record).family).write(if unix { family::UNIX } else { socket.family() });
        (&raw mut (*record).local_port).write(if unix { 0 } else { socket.local_port() });
        (&raw mut (*record).remote_port).write(if unix { 0 } else { socket.remote_port() });
        (&raw mut (*record).origin).write(match stream {
            Stream::Tcp => tcp_origin(socket, segment),
            Stream::Tls => tls_origin(state, segment),
            _ => origin::UNKNOWN,
        });
        if unix {
            let path = (&raw mut (*record).unix_path).cast::<u8>();
            (&raw mut (*record).unix_path_bytes).write(unix_path(socket.address(), path));
        } else {
            addresses(
                socket,
                (&raw mut (*record).local_address).cast(),
                (&raw mut (*record).remote_address).cast(),
            );
        }
    }
    entry.submit(emit::wakeup::<OpenRecord>(ring, segment.at_ns));
    if state.flags & flags::OPENED == 0 {
        count(Counter::ConnectionsOpened, 1);
        state.flags |= flags::OPENED;
    }
}

/// Was the session seen from its beginning, and is this segment its first?
#[inline(always)]
fn tls_origin(state: &ConnectionState, segment: emit::Segment) -> u16 {
    if state.flags & flags::HANDSHAKE != 0 && state.received.wrapping_add(state.sent) == segment.length {
        origin::FROM_START
    } else {
        origin::UNKNOWN
    }
}

/// Did this segment carry the first byte of either direction?
#[inline(always)]
fn tcp_origin(socket: Socket, segment: emit::Segment) -> u16 {
    let Some(positions) = socket.positions() else {
        return origin::UNKNOWN;
    };
    let received = read::<u64>(socket.address(), offset::TCP_BYTES_RECEIVED);
    let from_start = if segment.direction == direction::RECEIVED {
        received == u64::from(positions.arrived.wrapping_sub(positions.copied)) + u64::from(segment.length)
    } else {
        let unacknowledged = positions
            .written
            .wrapping_sub(read::<u32>(socket.address(), offset::TCP_SND_UNA));
        received == 0 && unacknowledged <= segment.length
    };
    if from_start { origin::FROM_START } else { origin::JOINED }
}

/// Both addresses, IPv4 as IPv4-mapped IPv6.
#[inline(always)]
pub fn addresses(socket: Socket, local: *mut u8, remote: *mut u8) {
    let fields = if socket.family() == family::INET6 {
        [(local, offset::SK_LOCAL_V6, 16), (remote, offset::SK_REMOTE_V6, 16)]
    } else {
        for address in [local, remote] {
            // SAFETY: both point at 16 bytes of the record.
            unsafe { address.add(8).cast::<u32>().write_unaligned(0xffff_0000) };
        }
        // SAFETY: as above.
        unsafe {
            [
                (local.add(12), offset::SK_LOCAL_V4, 4),
                (remote.add(12), offset::SK_REMOTE_V4, 4),
            ]
        }
    };
    for (to, field, size) in fields {
        // SAFETY: the destination has `size` bytes; the source may be anything, the helper checks it.
        unsafe { read_kernel(to.cast(), size, socket.address().add(field_offset(field)).cast()) };
    }
}

/// The listener's path: of the socket itself in the server (accepted sockets share the listener's address), of the peer
/// in the client. Gives its length.
#[inline(always)]
fn unix_path(socket: Address, to: *mut u8) -> u32 {
    let mut address = follow(socket, offset::UNIX_ADDRESS);
    if address.is_null() {
        let peer = follow(socket, offset::UNIX_PEER);
        if peer.is_null() {
            return 0;
        }
        address = follow(peer, offset::UNIX_ADDRESS);
    }
    if address.is_null() {
        return 0;
    }
    // `len` counts the family's two bytes as well; an abstract name has no final NUL, a path has one.
    let length = (read::<i32>(address, offset::UNIX_ADDRESS_LENGTH) - 2) as u32;
    let length = if length > UNIX_PATH_BYTES as u32 {
        UNIX_PATH_BYTES as u32
    } else {
        length
    };
    // SAFETY: the destination has UNIX_PATH_BYTES bytes; the source may be anything, the helper checks it.
    let failed = unsafe {
        read_kernel(
            to.cast(),
            length,
            address.add(field_offset(offset::UNIX_ADDRESS_NAME) + 2).cast(),
        )
    };
    if failed == 0 { length } else { 0 }
}

const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_FIN_WAIT1: i32 = 4;
const TCP_CLOSE: i32 = 7;
const TCP_CLOSE_WAIT: i32 = 8;
const TCP_LAST_ACK: i32 = 9;

/// A TCP socket's state changed.
#[inline(always)]
pub fn changed(socket: Socket, old: i32, new: i32) {
    let what = match (old, new) {
        (_, TCP_SYN_SENT) => return connects(socket),
        (TCP_SYN_SENT, TCP_ESTABLISHED) => return connected(socket),
        (_, TCP_CLOSE_WAIT) => change::PEER_CLOSED,
        (_, TCP_FIN_WAIT1 | TCP_LAST_ACK) => change::LOCAL_CLOSED,
        (TCP_ESTABLISHED | TCP_CLOSE_WAIT | TCP_FIN_WAIT1, TCP_CLOSE) => {
            // The peer's RST and a time-out leave an error in the socket; a process that closes with data unread, or
            // without lingering, leaves none.
            if socket.error() == 0 {
                change::LOCAL_ABORTED
            } else {
                change::RESET
            }
        }
        _ => return,
    };
    if let Some(state) = find(socket) {
        // SAFETY: as in `find_or_adopt`.
        let state = unsafe { &mut *state };
        if what != change::PEER_CLOSED && state.flags & flags::CLOSED == 0 {
            state.flags |= flags::CLOSED;
            tls::closed(state);
        }
        tell_change(session_of(state), what);
    }
}

/// A process connects: the time counts from here.
#[inline(always)]
fn connects(socket: Socket) {
    // A full table is counted when the process moves data.
    let Some(state) = find(socket).or_else(|| insert(socket, &fresh(Stream::Tcp, emit::now()))) else {
        return;
    };
    // SAFETY: as in `find_or_adopt`.
    let state = unsafe { &mut *state };
    state.flags |= flags::CONNECTING;
    state.network_ns = emit::now();
}

#[inline(always)]
fn connected(socket: Socket) {
    let Some(state) = find(socket) else { return };
    // SAFETY: as in `find_or_adopt`.
    let state = unsafe { &mut *state };
    if state.flags & flags::CONNECTING != 0 {
        state.flags &= !flags::CONNECTING;
        let took_us = (emit::now() - state.network_ns) / 1000;
        state.connect_us = if took_us > u64::from(u32::MAX) {
            u32::MAX
        } else {
            took_us as u32
        };
        state.network_ns = 0;
    }
}

/// A change of a socket's state is one of the TLS session that goes over it.
#[inline(always)]
fn session_of(state: &mut ConnectionState) -> &mut ConnectionState {
    if state.link == 0 {
        return state;
    }
    match CONNECTIONS.get_ptr_mut(state.link) {
        // SAFETY: as in `find_or_adopt`.
        Some(session) => unsafe { &mut *session },
        None => state,
    }
}

#[inline(always)]
fn tell_change(state: &mut ConnectionState, what: u8) {
    if state.flags & flags::OPENED != 0 && state.flags & flags::IGNORED == 0 {
        match what {
            // What it has sent may still lie unread, and a thread be about to read it.
            change::PEER_CLOSED => flush(state),
            change::LOCAL_CLOSED if state.flags & flags::CLIENT != 0 => flush_direction(state, direction::SENT),
            _ => flush_all(state),
        }
        emit::state_change(state, what);
    }
}

/// The other end of a Unix socket closes: this one will receive no more than it was sent.
#[inline(always)]
pub fn peer_closed(socket: Socket) {
    if let Some(state) = find(socket) {
        // SAFETY: as in `find_or_adopt`.
        let state = unsafe { &mut *state };
        tell_change(session_of(state), change::PEER_CLOSED);
    }
}

/// The socket is gone.
#[inline(always)]
pub fn destroyed(socket: Socket) {
    if let Some(state) = find(socket) {
        // SAFETY: as in `find_or_adopt`.
        let (own, link) = unsafe { (&*state, (*state).link) };
        if network::is_told(own) {
            network::tell(own, socket, emit::now());
        }
        // SAFETY: as in `find_or_adopt`.
        let state = session_of(unsafe { &mut *state });
        if state.flags & flags::OPENED != 0 {
            flush_all(state);
            emit::state_change(state, change::DESTROYED);
            count(Counter::ConnectionsClosed, 1);
        }
        if state.flags & flags::FRAMES != 0 {
            frames::end(state);
        }
        // A second deletion of the same key is no error of ours.
        let _gone = CONNECTIONS.remove(socket.key());
        if link != 0 {
            let _gone = CONNECTIONS.remove(link);
        }
    }
}

/// [`flush`], and of HTTP/2's frames both directions: nothing follows that means anything.
#[inline(always)]
pub fn flush_all(state: &mut ConnectionState) {
    flush_direction(state, direction::SENT);
    flush_direction(state, direction::RECEIVED);
}

/// [`flush`], and of HTTP/2's frames a direction in which nothing follows.
#[inline(always)]
pub fn flush_direction(state: &mut ConnectionState, direction: u8) {
    flush(state);
    if state.flags & flags::FRAMES != 0 {
        frames::flush(state, direction);
    }
}

/// Reports and forgets what was folded.
#[inline(always)]
pub fn flush(state: &mut ConnectionState) {
    if state.flags & flags::FOLDING != 0 {
        cold_path();
        let direction = if state.flags & flags::LAST_SENT != 0 {
            direction::SENT
        } else {
            direction::RECEIVED
        };
        if state.folded_bytes != 0 {
            emit::folded(state, direction);
        }
        state.folded_bytes = 0;
        state.flags &= !flags::FOLDING;
    }
}
