//! Records: what one hook hit puts into the ring buffer, and what a recorded file is a sequence of.
//!
//! Every record starts with a [`RecordHeader`]. The kernel side writes [`DataRecord`], [`OpenRecord`],
//! [`StateRecord`], [`NetworkRecord`], [`HandoverRecord`], [`DatagramRecord`], [`HelloRecord`], [`ExitRecord`],
//! [`ProcessRecord`] and [`InvocationRecord`] in place; the user side adds [`TickRecord`], [`CountersRecord`], [`FunctionRecord`] and
//! [`FunctionCountsRecord`] to the same stream, so that a recording replays without the machine it was made on.
//!
//! All integers are in the byte order of the machine (little endian on every supported architecture). Times are
//! `CLOCK_MONOTONIC` nanoseconds.

mod bytes;

use crate::function::FunctionCounts;

pub use bytes::{DecodeError, Record, decode};

/// Numbers of [`RecordHeader::kind`].
pub mod kind {
    /// A segment: bytes moved on a connection. See [`super::DataRecord`].
    pub const DATA: u16 = 1;
    /// A connection is of interest from now on. See [`super::OpenRecord`].
    pub const OPEN: u16 = 2;
    /// A connection's TCP state changed. See [`super::StateRecord`].
    pub const STATE: u16 = 3;
    /// A process that owned a connection ended or replaced its program. See [`super::ExitRecord`].
    pub const EXIT: u16 = 4;
    /// Who a process is. See [`super::ProcessRecord`].
    pub const PROCESS: u16 = 5;
    /// How a connection's packets fare. See [`super::NetworkRecord`].
    pub const NETWORK: u16 = 6;
    /// A task begins to work for another one. See [`super::HandoverRecord`].
    pub const HANDOVER: u16 = 7;
    /// A chosen function returned. See [`super::InvocationRecord`].
    pub const INVOCATION: u16 = 8;
    /// A datagram that looks like a message of interest. See [`super::DatagramRecord`].
    pub const DATAGRAM: u16 = 9;
    /// What a TLS client says before anything is encrypted. See [`super::HelloRecord`].
    pub const HELLO: u16 = 10;
    /// Time went on; written by the user side once a second. See [`super::TickRecord`].
    pub const TICK: u16 = 17;
    /// The kernel side's counters; written by the user side with each tick. See [`super::CountersRecord`].
    pub const COUNTERS: u16 = 18;
    /// Which function a number stands for, and whether it is observed; written by the user side when that changes. See
    /// [`super::FunctionRecord`].
    pub const FUNCTION: u16 = 19;
    /// What was counted of a function; written by the user side once a second. See [`super::FunctionCountsRecord`].
    pub const FUNCTION_COUNTS: u16 = 20;
}

/// [`FunctionRecord::state`].
pub mod function_state {
    /// Its invocations are seen.
    pub const USED: u8 = 0;
    /// They cannot be.
    pub const UNAVAILABLE: u8 = 1;
    /// They were, and cost too much.
    pub const DISABLED: u8 = 2;
}

/// [`FunctionRecord::sort`].
pub mod function_sort {
    /// Called, and returns: functions of C, C++, Rust.
    pub const FUNCTION: u8 = 0;
    /// Likewise, of Go.
    pub const GO_FUNCTION: u8 = 1;
    /// A static probe: hits are counted, and last no time.
    pub const PROBE: u8 = 2;
    /// Two static probes: from the one to the other.
    pub const PROBE_PAIR: u8 = 3;
}

/// Bits of [`RecordHeader::flags`] in a [`DataRecord`].
pub mod flag {
    /// [`super::DataRecord::tail`] holds the segment's last bytes.
    pub const TAIL: u16 = 1;
    /// Stands for many segments of one message, of which only the sum is known: `length` bytes that end at
    /// `position_end`, the last of them at `at_ns`.
    pub const FOLDED: u16 = 1 << 1;
    /// The bytes exist but could not be attributed to a buffer: moved by a kernel thread, an `io_uring` worker or a
    /// system call that is not known to move socket data.
    pub const UNSEEN: u16 = 1 << 2;
    /// The bytes never were in the process's memory: sendfile, splice.
    pub const NO_BYTES: u16 = 1 << 3;
    /// First segment of a message: the direction turned, or the segment begins like a message.
    pub const FIRST: u16 = 1 << 4;
    /// `length` is what the process asked to send, taken at the call's entry; what was really sent shows in the next
    /// record's position.
    pub const ASKED: u16 = 1 << 5;
    /// The process's memory could not be read (paged out, or an address that is no memory).
    pub const FAULT: u16 = 1 << 6;
    /// The peer ended its direction: a read returned 0. `length` is 0.
    pub const END_OF_STREAM: u16 = 1 << 7;
    /// The time is that of the send call's end, so a send that blocked is late for its first byte.
    pub const AT_EXIT: u16 = 1 << 8;
    /// What was captured is not the segment's beginning but pieces of it, each behind two `u32`: bytes of the segment
    /// between the piece before (or the segment's beginning) and this one, and bytes of the piece.
    pub const PIECES: u16 = 1 << 9;
}

/// Bits of [`RecordHeader::flags`] in an [`OpenRecord`].
pub mod open_flag {
    /// What is told of the connection is the plaintext of a TLS session.
    pub const TLS: u16 = 1;
}

/// Set in [`DataRecord::tid`] where threads run tasks by turns: it is no thread's number, but a part of the address of the
/// task, a goroutine or coroutine.
pub const TASK: u32 = 1 << 31;

/// [`DataRecord::direction`]: which way the bytes went, from the observed process's side.
pub mod direction {
    /// The process read them from the socket.
    pub const RECEIVED: u8 = 0;
    /// The process wrote them to the socket.
    pub const SENT: u8 = 1;
}

/// [`OpenRecord::family`], as in `<linux/socket.h>`.
pub mod family {
    /// Which socket a TLS session goes over is not known; another open record tells when it is.
    pub const UNKNOWN: u16 = 0;
    /// `AF_UNIX`
    pub const UNIX: u16 = 1;
    /// `AF_INET`
    pub const INET: u16 = 2;
    /// `AF_INET6`
    pub const INET6: u16 = 10;
}

/// [`OpenRecord::origin`]: how the connection came into view.
pub mod origin {
    /// Not known whether bytes went before.
    pub const UNKNOWN: u16 = 0;
    /// The first byte of each direction was seen.
    pub const FROM_START: u16 = 1;
    /// Existed before the agent, or before it became of interest.
    pub const JOINED: u16 = 2;
}

/// [`StateRecord::change`]: what happened to the connection.
pub mod change {
    /// The peer sent FIN; the process can still send.
    pub const PEER_CLOSED: u8 = 1;
    /// The process closed or shut down its sending side.
    pub const LOCAL_CLOSED: u8 = 2;
    /// Ended at once by the peer's RST or a time-out. (A process that aborts is [`LOCAL_ABORTED`], then [`DESTROYED`].)
    pub const RESET: u8 = 3;
    /// The socket is gone; no record of this connection follows.
    pub const DESTROYED: u8 = 4;
    /// The socket is gone, and records of its last bytes or of how it ended were lost. Written by the user side as well,
    /// when it finds out.
    pub const FORGOTTEN: u8 = 5;
    /// The process closed with data unread, or without lingering: it did not wait for what the peer had to say.
    pub const LOCAL_ABORTED: u8 = 6;
}

/// [`ExitRecord::what`].
pub mod exit {
    /// The process ended.
    pub const EXITED: u32 = 0;
    /// The process replaced its program (`execve`): same number, another executable.
    pub const EXECUTED: u32 = 1;
}

/// Bytes of a segment's end kept in [`DataRecord::tail`]: enough for the last chunk of a chunked body, `\r\n0\r\n\r\n`.
pub const TAIL_BYTES: usize = 8;
/// Bytes of a task's name, `TASK_COMM_LEN` in the kernel.
pub const COMM_BYTES: usize = 16;
/// Bytes of a Unix socket's address, `sun_path`.
pub const UNIX_PATH_BYTES: usize = 108;

/// Begins every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// One of [`kind`].
    pub kind: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Bytes of the whole record that carry meaning, this header included. The ring buffer's item may be longer, since
    /// it is reserved in size classes.
    pub size: u32,
    /// When it happened, monotonic nanoseconds.
    pub at_ns: u64,
}

/// Bytes moved on a connection, followed by `captured` bytes of them (the first ones).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRecord {
    /// `kind` is [`kind::DATA`]; `at_ns` is when the bytes had moved.
    pub header: RecordHeader,
    /// The connection's id, unique as long as the machine runs.
    pub connection: u64,
    /// When the oldest unread byte became readable in the socket, 0 if not known. Received segments only.
    pub arrival_ns: u64,
    /// Position in the direction's byte stream behind this segment, modulo 2^32: the socket's own sequence number, or a
    /// count of bytes where the socket has none (Unix sockets, kernel TLS).
    pub position_end: u32,
    /// Bytes moved.
    pub length: u32,
    /// Bytes that follow this struct: of them, and with [`flag::PIECES`] what stands before each piece.
    pub captured: u32,
    /// Process that moved them.
    pub tgid: u32,
    /// Thread that moved them, or with [`TASK`] what ran on it.
    pub tid: u32,
    /// One of [`direction`].
    pub direction: u8,
    /// Explicit padding, 0.
    pub reserved: [u8; 3],
    /// The segment's last bytes, right-aligned, if [`flag::TAIL`] is set.
    pub tail: [u8; TAIL_BYTES],
}

/// A connection is of interest from now on; comes before its first [`DataRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRecord {
    /// `kind` is [`kind::OPEN`].
    pub header: RecordHeader,
    /// The connection's id.
    pub connection: u64,
    /// The socket's kernel address: the key of the kernel side's connection state.
    pub socket: u64,
    /// The socket's inode number.
    pub inode: u64,
    /// Process and thread that moved the first bytes.
    pub tgid: u32,
    /// See `tgid`.
    pub tid: u32,
    /// One of [`family`].
    pub family: u16,
    /// The process's own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// One of [`origin`].
    pub origin: u16,
    /// Addresses in network order; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
    pub local_address: [u8; 16],
    /// See `local_address`.
    pub remote_address: [u8; 16],
    /// The thread's name, NUL-padded.
    pub comm: [u8; COMM_BYTES],
    /// Bytes of `unix_path` in use; 0 for an unnamed socket.
    pub unix_path_bytes: u32,
    /// Explicit padding, 0.
    pub reserved: u32,
    /// A Unix socket's path (an abstract one begins with NUL): the listener's for both ends.
    pub unix_path: [u8; UNIX_PATH_BYTES],
    /// Explicit padding, 0.
    pub reserved2: [u8; 4],
}

/// A connection's TCP state changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRecord {
    /// `kind` is [`kind::STATE`].
    pub header: RecordHeader,
    /// The connection's id.
    pub connection: u64,
    /// One of [`change`].
    pub change: u8,
    /// Explicit padding, 0.
    pub reserved: [u8; 7],
}

/// A process that owned a connection ended or replaced its program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// `kind` is [`kind::EXIT`].
    pub header: RecordHeader,
    /// The process.
    pub tgid: u32,
    /// One of [`exit`].
    pub what: u32,
}

/// How a TCP connection's packets fare, as its socket says: at most once a second while bytes move, and at its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkRecord {
    /// `kind` is [`kind::NETWORK`].
    pub header: RecordHeader,
    /// The connection's id.
    pub connection: u64,
    /// Smoothed round-trip time, microseconds (`tcp_sock.srtt_us`, which holds eight times that); 0 if none was measured.
    pub rtt_us: u32,
    /// Its mean deviation, microseconds (`tcp_sock.mdev_us`, which holds four times that).
    pub rtt_variance_us: u32,
    /// Segments sent again since the connection began (`tcp_sock.total_retrans`).
    pub retransmits: u32,
    /// From the SYN to its answer, microseconds; 0 if that was not seen, or the peer connected.
    pub connect_us: u32,
}

/// A task of a process begins to work for whom another one works: a coroutine that is started, a goroutine that is given
/// something to send.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandoverRecord {
    /// `kind` is [`kind::HANDOVER`].
    pub header: RecordHeader,
    /// The process.
    pub tgid: u32,
    /// Who hands over, as in [`DataRecord::tid`].
    pub from: u32,
    /// Who takes over, likewise.
    pub to: u32,
    /// Explicit padding, 0.
    pub reserved: u32,
}

/// A datagram that moved, followed by `captured` bytes of it (the first ones). It stands for itself: no connection is kept of
/// UDP sockets, of which many live for one question.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramRecord {
    /// `kind` is [`kind::DATAGRAM`].
    pub header: RecordHeader,
    /// The socket's kernel address.
    pub socket: u64,
    /// Process that moved it.
    pub tgid: u32,
    /// Thread that moved it, or with [`TASK`] what ran on it.
    pub tid: u32,
    /// Its bytes.
    pub length: u32,
    /// Bytes that follow this struct.
    pub captured: u32,
    /// The process's own port.
    pub local_port: u16,
    /// The peer's port; 0 if it is not known whose: of what a socket received that is not connected.
    pub remote_port: u16,
    /// One of [`direction`].
    pub direction: u8,
    /// Explicit padding, 0.
    pub reserved: [u8; 3],
    /// Addresses as in [`OpenRecord`]; the own one is unspecified where the socket is bound to none.
    pub local_address: [u8; 16],
    /// See `local_address`.
    pub remote_address: [u8; 16],
    /// The thread's name, NUL-padded.
    pub comm: [u8; COMM_BYTES],
}

/// A process began a TLS handshake as a client: followed by `captured` bytes of what it sent (the first ones). It stands for
/// itself: the plaintext of the session, if any is seen, is another connection between the same addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloRecord {
    /// `kind` is [`kind::HELLO`].
    pub header: RecordHeader,
    /// The socket's connection.
    pub connection: u64,
    /// Process that sent it.
    pub tgid: u32,
    /// Bytes that it sent at once.
    pub length: u32,
    /// Bytes that follow this struct.
    pub captured: u32,
    /// The process's own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// Addresses as in [`OpenRecord`].
    pub local_address: [u8; 16],
    /// See `local_address`.
    pub remote_address: [u8; 16],
    /// The thread's name, NUL-padded.
    pub comm: [u8; COMM_BYTES],
}

/// Who a process is; comes before the first [`OpenRecord`] or [`HelloRecord`] of the program that it runs. Followed by the names on the way
/// from the executable up to the root of the file system, then by those from its control group up to the root of the
/// hierarchy: innermost first, each ended by a NUL, the root's own name empty (`curl\0bin\0usr\0\0`). A list without that
/// empty name was longer than is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRecord {
    /// `kind` is [`kind::PROCESS`].
    pub header: RecordHeader,
    /// The process.
    pub tgid: u32,
    /// Bytes of the executable's names; 0 if it is not known.
    pub exe_bytes: u16,
    /// Bytes of the control group's names; 0 if it is not known.
    pub cgroup_bytes: u16,
}

/// A chosen function returned, or a static probe was hit.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvocationRecord {
    /// `kind` is [`kind::INVOCATION`]; `at_ns` is when it returned.
    pub header: RecordHeader,
    /// Number of the function, see [`FunctionRecord`].
    pub function: u32,
    /// Process that called it.
    pub tgid: u32,
    /// See [`DataRecord::tid`].
    pub tid: u32,
    /// Explicit padding, 0.
    pub reserved: u32,
    /// When it was called; 0 if that is not known, or it lasts no time.
    pub began_ns: u64,
}

/// Which function a number stands for. Followed by texts, each ended by a NUL: its name, what was asked for, the file that
/// it is in, why it is not observed (or nothing), and the symbols that it is made of.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRecord {
    /// `kind` is [`kind::FUNCTION`].
    pub header: RecordHeader,
    /// Its number.
    pub function: u32,
    /// Bytes of the texts.
    pub text_bytes: u32,
    /// One of [`function_sort`].
    pub sort: u8,
    /// One of [`function_state`].
    pub state: u8,
    /// Explicit padding, 0.
    pub reserved: [u8; 6],
}

/// What was counted of a function since it was first observed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCountsRecord {
    /// `kind` is [`kind::FUNCTION_COUNTS`].
    pub header: RecordHeader,
    /// Its number.
    pub function: u32,
    /// Invocations that have not returned yet.
    pub in_flight: u32,
    /// Estimate of what observing one invocation costs the observed program, nanoseconds; 0 if it is not known.
    pub ns_per_call: u64,
    /// The sums.
    pub counts: FunctionCounts,
}

/// Time went on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickRecord {
    /// `kind` is [`kind::TICK`].
    pub header: RecordHeader,
    /// `CLOCK_REALTIME` nanoseconds since 1970 at the same moment as `header.at_ns`.
    pub wall_ns: u64,
}

/// The kernel side's counters since start, summed over processors. Followed by `count` `u64` values in the order of
/// [`crate::counters::Counter`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountersRecord {
    /// `kind` is [`kind::COUNTERS`].
    pub header: RecordHeader,
    /// Values that follow.
    pub count: u32,
    /// Explicit padding, 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == 16);
const _: () = assert!(size_of::<DataRecord>() == 64);
const _: () = assert!(size_of::<OpenRecord>() == 224);
const _: () = assert!(size_of::<StateRecord>() == 32);
const _: () = assert!(size_of::<ExitRecord>() == 24);
const _: () = assert!(size_of::<NetworkRecord>() == 40);
const _: () = assert!(size_of::<HandoverRecord>() == 32);
const _: () = assert!(size_of::<DatagramRecord>() == 96);
const _: () = assert!(size_of::<HelloRecord>() == 88);
const _: () = assert!(size_of::<ProcessRecord>() == 24);
const _: () = assert!(size_of::<InvocationRecord>() == 40);
const _: () = assert!(size_of::<FunctionRecord>() == 32);
const _: () = assert!(size_of::<FunctionCountsRecord>() == 72);
const _: () = assert!(size_of::<TickRecord>() == 24);
const _: () = assert!(size_of::<CountersRecord>() == 24);
