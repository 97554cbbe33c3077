//! The only reader of the kernel's own structs. Offsets come from the running kernel's BTF, read by the user side.
//!
//! Two ways to read: a probe read works with any address; a typed load is an ordinary instruction that the verifier
//! checks against BTF, several times cheaper, and possible where a hook hands over a typed pointer (BTF tracepoints,
//! fentry and fexit).

use aya_ebpf::helpers::{
    bpf_probe_read_kernel,
    generated::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf, bpf_skc_to_tcp_sock},
};
use perf_common::{
    record::family,
    settings::{feature, offset},
};

use crate::maps::{features, field_offset};

/// A kernel object's address.
pub type Address = *const u8;

/// Reads a field by a probe read; 0 if the address is no memory.
#[inline(always)]
pub fn read<T: Copy + Default>(base: Address, field: usize) -> T {
    // SAFETY: the address may be anything; the helper checks it and fails without side effects.
    unsafe { bpf_probe_read_kernel(base.add(field_offset(field)).cast::<T>()).unwrap_or_default() }
}

/// Reads a pointer field.
#[inline(always)]
pub fn follow(base: Address, field: usize) -> Address {
    read::<u64>(base, field) as Address
}

/// The thread that runs, and its process.
#[derive(Clone, Copy)]
pub struct Thread {
    /// Its `task_struct`; typed where [`feature::TASK_PT_REGS`] is.
    pub task: Address,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
}

impl Thread {
    /// The current one. Two typed loads cost less than the helper that gives both numbers.
    #[inline(always)]
    pub fn current() -> Self {
        if features() & feature::TASK_PT_REGS == 0 {
            // SAFETY: the helpers have no preconditions.
            let (task, both) = unsafe { (bpf_get_current_task() as Address, bpf_get_current_pid_tgid()) };
            return Self {
                task,
                tgid: (both >> 32) as u32,
                tid: both as u32,
            };
        }
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_task_btf() } as Address;
        Self {
            task,
            tgid: typed(task, offset::TASK_TGID),
            tid: typed(task, offset::TASK_PID),
        }
    }

    /// A field of its `task_struct`.
    #[inline(always)]
    pub fn field<T: Copy + Default>(self, field: usize) -> T {
        if features() & feature::TASK_PT_REGS == 0 {
            read(self.task, field)
        } else {
            typed(self.task, field)
        }
    }
}

/// Reads a field of an object that the verifier knows the type of.
#[inline(always)]
fn typed<T: Copy>(base: Address, field: usize) -> T {
    // SAFETY: callers pass a live object of the field's struct.
    // VERIFIER: the offset is a constant to it, since the globals are frozen before the program loads.
    unsafe { core::ptr::read_volatile(base.add(field_offset(field)).cast::<T>()) }
}

/// A socket, and how its fields are read.
#[derive(Clone, Copy)]
pub struct Socket {
    address: Address,
    /// True where the verifier knows the address as a `struct sock *`. A constant in every hook.
    typed: bool,
}

/// TCP's positions in the two byte streams of a socket.
#[derive(Clone, Copy)]
pub struct Positions {
    /// `write_seq`: behind the last byte taken from the process.
    pub written: u32,
    /// `copied_seq`: behind the last byte given to the process.
    pub copied: u32,
    /// `rcv_nxt`: behind the last byte received.
    pub arrived: u32,
}

/// TCP states (include/net/tcp_states.h) in which the peer's FIN has been received.
const TCP_TIME_WAIT: u8 = 6;
const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LAST_ACK: u8 = 9;
const TCP_CLOSING: u8 = 11;

const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

impl Socket {
    /// A socket from a hook whose argument is typed.
    #[inline(always)]
    pub fn typed(address: Address) -> Self {
        Self { address, typed: true }
    }

    /// A socket of which only the address is known.
    #[inline(always)]
    pub fn probed(address: Address) -> Self {
        Self { address, typed: false }
    }

    /// The key of its state.
    #[inline(always)]
    pub fn key(self) -> u64 {
        self.address as u64
    }

    /// The key as a number for a global function.
    // VERIFIER: an address that it knows the type of is not passed to one; what a helper copies is a number.
    #[inline(always)]
    pub fn key_as_number(self) -> u64 {
        let key = self.key();
        // SAFETY: the address is that of a variable.
        unsafe { bpf_probe_read_kernel(&raw const key) }.unwrap_or(0)
    }

    /// The bare address.
    #[inline(always)]
    pub fn address(self) -> Address {
        self.address
    }

    #[inline(always)]
    fn field<T: Copy + Default>(self, field: usize) -> T {
        if self.typed {
            typed(self.address, field)
        } else {
            read(self.address, field)
        }
    }

    /// Address family.
    #[inline(always)]
    pub fn family(self) -> u16 {
        self.field(offset::SK_FAMILY)
    }

    /// What of it is followed: TCP, Unix streams, some datagrams.
    #[inline(always)]
    pub fn stream(self) -> Stream {
        match self.family() {
            family::INET | family::INET6 => match self.field::<u16>(offset::SK_PROTOCOL) {
                IPPROTO_TCP => Stream::Tcp,
                IPPROTO_UDP => Stream::Datagrams,
                _ => Stream::Other,
            },
            family::UNIX if self.field::<u16>(offset::SK_TYPE) == SOCK_STREAM => Stream::Unix,
            _ => Stream::Other,
        }
    }

    /// TCP state (`TCP_ESTABLISHED` 1 … `TCP_LISTEN` 10).
    #[inline(always)]
    pub fn state(self) -> u8 {
        self.field(offset::SK_STATE)
    }

    /// Own port, host order.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        self.field(offset::SK_LOCAL_PORT)
    }

    /// Peer's port, host order.
    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        u16::from_be(self.field(offset::SK_REMOTE_PORT))
    }

    /// `copied_seq` as a position in the bytes: a FIN that was read takes a sequence number of its own.
    #[inline(always)]
    pub fn received_end(self, positions: Positions) -> u32 {
        if positions.copied != positions.arrived {
            return positions.copied;
        }
        match self.state() {
            TCP_TIME_WAIT | TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING => positions.copied.wrapping_sub(1),
            // Closed after a FIN; a reset leaves an error, and counts nothing.
            TCP_CLOSE if self.error() == 0 => positions.copied.wrapping_sub(1),
            _ => positions.copied,
        }
    }

    /// Error that ended the connection.
    #[inline(always)]
    pub fn error(self) -> i32 {
        read::<i32>(self.address, offset::SK_ERR)
    }

    /// Buffers waiting to be read (Unix sockets, where there is no position).
    #[inline(always)]
    pub fn queued(self) -> u32 {
        read::<u32>(self.address, offset::SK_QUEUED)
    }

    /// TCP's positions.
    #[inline(always)]
    pub fn positions(self) -> Option<Positions> {
        if self.typed && features() & feature::TYPED_TCP != 0 {
            // SAFETY: `address` is a typed, live socket; the helper gives null where it is no TCP socket.
            let tcp = unsafe { bpf_skc_to_tcp_sock(self.address as *mut _) }
                .cast::<u8>()
                .cast_const();
            if tcp.is_null() {
                return None;
            }
            return Some(Positions {
                written: typed(tcp, offset::TCP_WRITE_SEQ),
                copied: typed(tcp, offset::TCP_COPIED_SEQ),
                arrived: typed(tcp, offset::TCP_RCV_NXT),
            });
        }
        Some(Positions {
            written: read(self.address, offset::TCP_WRITE_SEQ),
            copied: read(self.address, offset::TCP_COPIED_SEQ),
            arrived: read(self.address, offset::TCP_RCV_NXT),
        })
    }

    /// Does the kernel encrypt and decrypt what the process moves? (Of other upper protocols only MPTCP's is there, whose
    /// sockets no process has.)
    #[inline(always)]
    pub fn kernel_tls(self) -> bool {
        if !self.typed || features() & feature::TYPED_TCP == 0 {
            return self.stream() == Stream::Tcp && read::<u64>(self.address, offset::TCP_ULP) != 0;
        }
        // SAFETY: `address` is a typed, live socket; the helper gives null where it is no TCP socket.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.address as *mut _) }
            .cast::<u8>()
            .cast_const();
        !tcp.is_null() && typed::<u64>(tcp, offset::TCP_ULP) != 0
    }

    /// The file that stands for the socket in a process, null for the kernel's own sockets.
    #[inline(always)]
    pub fn file(self) -> Address {
        let socket = follow(self.address, offset::SK_SOCKET);
        if socket.is_null() {
            socket
        } else {
            follow(socket, offset::SOCKET_FILE)
        }
    }

    /// Inode number of the socket's file.
    #[inline(always)]
    pub fn inode(self) -> u64 {
        let file = self.file();
        if file.is_null() {
            0
        } else {
            read(follow(file, offset::FILE_INODE), offset::INODE_NUMBER)
        }
    }
}

/// What kind of stream a socket is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// A Unix stream socket.
    Unix,
    /// The plaintext of a TLS session, above a TCP or Unix socket.
    Tls,
    /// UDP over IPv4 or IPv6, no stream at all: see [`crate::datagram`].
    Datagrams,
    /// Nothing that is followed.
    Other,
}

/// The `struct sock` of a `struct socket`. A probe read gives an address that the verifier does not know the type of.
#[inline(always)]
pub fn socket_of(socket: Address) -> Option<Socket> {
    let sock = follow(socket, offset::SOCKET_SK);
    if sock.is_null() {
        None
    } else {
        Some(Socket::probed(sock))
    }
}
