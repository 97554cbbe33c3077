//! Where the bytes of a segment lie in the process's memory: from the arguments of the system call it is in.
//!
//! No state is carried from a call's entry to its return, and calls that move no socket data cost nothing. Register
//! access for each architecture stands here and nowhere else; x86-64 so far.

use core::hint::cold_path;

use aya_ebpf::helpers::generated::bpf_task_pt_regs;
use perf_common::settings::{feature, offset};

use crate::{
    buffers,
    kernel::{Address, Socket, Thread, follow},
    maps::{features, field_offset},
};

/// Where a segment's bytes are.
///
/// VERIFIER: plain numbers and no enum with fields. A field that a variant lacks would be a register that nothing was
/// written to, and the compiler copies such registers, which the verifier does not allow.
#[derive(Clone, Copy)]
pub struct Source {
    /// What lies at `at`.
    pub kind: Kind,
    /// An address, null where there are no bytes.
    pub at: Address,
    /// How much lies there: bytes of a buffer, or the length of an array.
    pub size: u64,
}

/// What a [`Source`] names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One buffer of the process.
    Buffer,
    /// An array of `struct iovec` in the process's memory.
    Vector,
    /// An array of `struct mmsghdr`: which of them this segment is, the connection's state tells.
    Messages,
    /// A buffer of the kernel, about to be copied to the process; the bytes that lie there in one piece.
    Queued,
    /// The bytes never were in the process's memory (sendfile, splice).
    NoBytes,
    /// The bytes cannot be attributed to a buffer.
    Unseen,
    /// The bytes were only looked at, and are still to be received.
    Peeked,
}

impl Source {
    /// One buffer of the process.
    #[inline(always)]
    pub fn buffer(at: Address, size: u64) -> Self {
        let kind = Kind::Buffer;
        Self { kind, at, size }
    }

    /// No bytes.
    #[inline(always)]
    pub fn none(kind: Kind) -> Self {
        Self {
            kind,
            at: core::ptr::null(),
            size: 0,
        }
    }
}

/// The registers of a system call, as the calling convention names them.
struct Call {
    number: u64,
    first: u64,
    second: u64,
    third: u64,
    fourth: u64,
}

/// x86-64: `struct pt_regs` (arch/x86/include/asm/ptrace.h), part of the ABI: never moves.
mod x86_64 {
    pub const BYTES: usize = 168;
    pub const R10: usize = 56;
    pub const R8: usize = 72;
    pub const DX: usize = 96;
    pub const SI: usize = 104;
    pub const DI: usize = 112;
    pub const ORIG_AX: usize = 120;
    pub const CS: usize = 136;
    /// `__USER_CS`: a 64-bit process. A 32-bit call numbers its system calls otherwise.
    pub const USER_CS: u64 = 0x33;
    /// The kernel stack's size, `THREAD_SIZE`; the registers lie at its top.
    pub const STACK_BYTES: usize = 16 << 10;

    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const READV: u64 = 19;
    pub const WRITEV: u64 = 20;
    pub const SENDFILE: u64 = 40;
    pub const SENDTO: u64 = 44;
    pub const RECVFROM: u64 = 45;
    pub const SENDMSG: u64 = 46;
    pub const RECVMSG: u64 = 47;
    pub const SPLICE: u64 = 275;
    pub const RECVMMSG: u64 = 299;
    pub const SENDMMSG: u64 = 307;
    pub const PREADV2: u64 = 327;
    pub const PWRITEV2: u64 = 328;
}
use x86_64 as arch;

/// `PF_IO_WORKER`, `PF_KTHREAD`, `PF_USER_WORKER` (include/linux/sched.h): threads whose registers are no system call's.
const PF_NO_SYSTEM_CALL: u32 = 0x10 | 0x0020_0000 | 0x4000;
const MSG_PEEK: u64 = 0x2;
const MSG_TRUNC: u64 = 0x20;
/// Bytes of a `struct sockaddr_in`, the shortest address of interest.
const SOCKADDR_BYTES: u32 = 16;
/// Offset of `msg_iov` and `msg_iovlen` in `struct user_msghdr`, and the size of `struct mmsghdr`: ABI.
const MSG_IOV: usize = 16;
const MMSGHDR_BYTES: usize = 64;
/// Descriptors above this are not looked up; only threads that use `io_uring` are asked at all.
const MAX_DESCRIPTOR: u64 = 1 << 20;

/// Finds the buffers of the thread's system call.
#[inline(always)]
pub fn source(thread: Thread, socket: Socket) -> Source {
    match call_of(thread, socket) {
        Some(call) => source_of(&call),
        None => Source::none(Kind::Unseen),
    }
}

/// [`source`] for hooks that are not told the flags of a receiving call.
#[inline(always)]
pub fn received(thread: Thread, socket: Socket) -> Source {
    let Some(call) = call_of(thread, socket) else {
        return Source::none(Kind::Unseen);
    };
    if receive_flags(&call) & MSG_PEEK == 0 {
        source_of(&call)
    } else {
        Source::none(Kind::Peeked)
    }
}

/// The flags of a receiving call.
#[inline(always)]
fn receive_flags(call: &Call) -> u64 {
    match call.number {
        arch::RECVFROM | arch::RECVMMSG => call.fourth,
        arch::RECVMSG => call.third,
        _ => 0,
    }
}

#[inline(always)]
fn source_of(call: &Call) -> Source {
    if receive_flags(call) & MSG_TRUNC != 0 {
        // TCP throws the bytes away (tcp(7)); what lies in the buffer is something else.
        return Source::none(Kind::NoBytes);
    }
    match call.number {
        arch::READ | arch::WRITE | arch::SENDTO | arch::RECVFROM => Source::buffer(call.second as Address, call.third),
        arch::READV | arch::WRITEV | arch::PREADV2 | arch::PWRITEV2 => vector(call.second as Address, call.third),
        arch::SENDMSG | arch::RECVMSG => vector_of_message(call.second as Address),
        arch::SENDMMSG | arch::RECVMMSG => Source {
            kind: Kind::Messages,
            at: call.second as Address,
            size: call.third,
        },
        arch::SENDFILE | arch::SPLICE => Source::none(Kind::NoBytes),
        _ => Source::none(Kind::Unseen),
    }
}

/// The vector of the `index`th message of a `struct mmsghdr` array.
#[inline(always)]
pub fn message(array: Address, index: u32) -> Source {
    // SAFETY: only the address is computed; it is read by a helper that checks it.
    vector_of_message(unsafe { array.add(index as usize * MMSGHDR_BYTES) })
}

/// Where the thread's sending call says to whom: the address of a `struct sockaddr`, null if it does not. `index` is the
/// message's among those of a `sendmmsg`. Of a call that receives, it is written behind the hook.
#[inline(always)]
pub fn destination(thread: Thread, socket: Socket, index: u32) -> Address {
    let Some(call) = call_of(thread, socket) else {
        return core::ptr::null();
    };
    let header = match call.number {
        arch::SENDTO => return register(thread, arch::R8) as Address,
        arch::SENDMSG => call.second as Address,
        // SAFETY: only the address is computed; it is read by a helper that checks it.
        arch::SENDMMSG => unsafe { (call.second as Address).add(index as usize * MMSGHDR_BYTES) },
        _ => return core::ptr::null(),
    };
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    match unsafe { aya_ebpf::helpers::bpf_probe_read_user(header.cast::<[u64; 2]>()) } {
        Ok([name, bytes]) if bytes as u32 >= SOCKADDR_BYTES => name as Address,
        _ => core::ptr::null(),
    }
}

#[inline(always)]
fn vector_of_message(header: Address) -> Source {
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let found = unsafe { aya_ebpf::helpers::bpf_probe_read_user(header.add(MSG_IOV).cast::<[u64; 2]>()) };
    match found {
        Ok([array, count]) => vector(array as Address, count),
        Err(_) => Source::none(Kind::Unseen),
    }
}

/// An iovec array; one of a single piece is that piece.
#[inline(always)]
pub fn vector(array: Address, count: u64) -> Source {
    if count != 1 {
        return Source {
            kind: Kind::Vector,
            at: array,
            size: count,
        };
    }
    match buffers::piece(array, 0) {
        Some((from, size)) => Source::buffer(from, size),
        None => Source::none(Kind::Unseen),
    }
}

/// The system call that the thread is in, if it is in one.
#[inline(always)]
fn call_of(thread: Thread, socket: Socket) -> Option<Call> {
    if thread.field::<u32>(offset::TASK_FLAGS) & PF_NO_SYSTEM_CALL != 0 {
        return None;
    }
    let (call, code) = if features() & feature::TASK_PT_REGS != 0 {
        // SAFETY: the task is typed.
        let registers = unsafe { bpf_task_pt_regs(thread.task.cast_mut().cast()) } as Address;
        // SAFETY: the registers' address is typed, and their layout is ABI.
        registers_of(|at| unsafe { core::ptr::read_volatile(registers.add(at).cast::<u64>()) })
    } else {
        // Before 5.15: `task_pt_regs` by hand. No padding above the registers on x86-64.
        let stack = follow(thread.task, offset::TASK_STACK);
        // SAFETY: only the address is computed; it is read by a helper that checks it.
        let registers = unsafe { stack.add(arch::STACK_BYTES - arch::BYTES) };
        // SAFETY: as above.
        registers_of(|at| unsafe {
            aya_ebpf::helpers::bpf_probe_read_kernel(registers.add(at).cast::<u64>()).unwrap_or(u64::MAX)
        })
    };
    // Kernels built without io_uring lack the field.
    let uses_ring = field_offset(offset::TASK_IO_URING) != offset::ABSENT as usize
        && thread.field::<u64>(offset::TASK_IO_URING) != 0;
    if uses_ring {
        cold_path();
    }
    if uses_ring && !names_socket(thread.task, call.first, socket) {
        return None;
    }
    (code == arch::USER_CS).then_some(call)
}

/// A call's registers, and its code segment.
#[inline(always)]
fn registers_of(load: impl Fn(usize) -> u64) -> (Call, u64) {
    let call = Call {
        number: load(arch::ORIG_AX),
        first: load(arch::DI),
        second: load(arch::SI),
        third: load(arch::DX),
        fourth: load(arch::R10),
    };
    (call, load(arch::CS))
}

/// One register of a thread that is in a system call.
#[inline(always)]
fn register(thread: Thread, at: usize) -> u64 {
    if features() & feature::TASK_PT_REGS != 0 {
        // SAFETY: as in `call_of`.
        let registers = unsafe { bpf_task_pt_regs(thread.task.cast_mut().cast()) } as Address;
        // SAFETY: as in `call_of`.
        return unsafe { core::ptr::read_volatile(registers.add(at).cast::<u64>()) };
    }
    let stack = follow(thread.task, offset::TASK_STACK);
    // SAFETY: as in `call_of`.
    unsafe {
        let registers = stack.add(arch::STACK_BYTES - arch::BYTES);
        aya_ebpf::helpers::bpf_probe_read_kernel(registers.add(at).cast::<u64>()).unwrap_or(0)
    }
}

/// Is the call's descriptor this socket? A thread that uses `io_uring` may run its requests at the end of any system
/// call, whose arguments then belong to something else.
#[inline(always)]
fn names_socket(task: Address, descriptor: u64, socket: Socket) -> bool {
    if descriptor >= MAX_DESCRIPTOR {
        return false;
    }
    let table = follow(follow(task, offset::TASK_FILES), offset::FILES_TABLE);
    let files = follow(table, offset::TABLE_FILES);
    // SAFETY: a kernel address that may be anything; the helper checks it and fails without side effects.
    let file = unsafe {
        aya_ebpf::helpers::bpf_probe_read_kernel(files.add(descriptor as usize * 8).cast::<u64>()).unwrap_or(0)
    };
    file != 0 && file as Address == socket.file()
}
