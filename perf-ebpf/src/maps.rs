//! Every map and every global, in one place: who writes it, who reads it, what evicts.

use crate::{
    datagram::Batch,
    kernel::Thread,
    tls::{Call, Caller, Touched},
};
use aya_ebpf::{
    EbpfContext,
    btf_maps::{ArrayOfMaps, RingBuf},
    helpers::generated::bpf_get_smp_processor_id,
    macros::{btf_map, map},
    maps::{HashMap, LruHashMap, PerCpuArray, ProgramArray},
};
use perf_common::{
    counters::{COUNTERS, Counter},
    function::{FUNCTIONS, FunctionCounts, Invocations, InvocationsKey},
    settings::{CGROUP_LEVELS, EXE_NAME_BYTES, feature, offset},
    state::{ConnectionState, FrameCursor},
};

/// A ring buffer of records, from here to the user side's reader.
pub type Ring = RingBuf<u8, 4096>;

/// The ring buffers: one for all processors would be a lock and a line of memory that all of them fight for. The user
/// side makes them, as many and as large as it wants, before the programs run.
#[btf_map]
static RINGS: ArrayOfMaps<Ring, 1> = ArrayOfMaps::new();

/// Connection state by the socket's address. Written here; the user side reads open bulk messages and marks what is of
/// no interest. An entry goes when its socket does; when the map is full new connections are not followed, and counted.
/// Preallocated: an allocation in a tracing program could deadlock before 6.1.
#[map]
pub static CONNECTIONS: HashMap<u64, ConnectionState> = HashMap::with_max_entries(65_536, 0);

/// How far the frames of an HTTP/2 connection's directions are known. Written here alone; an entry goes with its socket.
/// When the map is full such connections are not followed, and counted.
#[map]
pub static FRAMES: HashMap<u64, FrameCursor> = HashMap::with_max_entries(16_384, 0);

/// Processes (their numbers, with [`perf_common::settings::UNSERVED`]) that speak TLS and whose plaintext is not seen. Read by a thread of the user side that
/// does nothing else: the process may be gone soon. When it is full, nothing is lost: each further connection asks again.
#[btf_map]
pub static ASKED: RingBuf<u64, 4096> = RingBuf::new();

/// Executables that were seen, by their inode numbers: each is asked about once. Two of that number on different file
/// systems are one; the second is then asked about when it speaks TLS.
#[map]
pub static EXECUTABLES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(4096, 0);

/// The call of its TLS library that a thread is in. Written and read here alone; an entry goes when the call returns, and
/// when the map is full the one used least lately does.
#[map]
pub static CALLS: LruHashMap<Caller, Call> = LruHashMap::with_max_entries(16_384, 0);

/// Where a thread or goroutine received ciphertext last, outside of any call: a library that does not touch the socket itself is called
/// right behind. Written and read here alone.
#[map]
pub static TOUCHED: LruHashMap<Caller, Touched> = LruHashMap::with_max_entries(16_384, 0);

/// How far a thread's `sendmmsg` of datagrams has come, by process (high half) and thread. Written and read here alone, where
/// they look like DNS; when the map is full the one used least lately goes.
#[map]
pub static BATCHES: LruHashMap<u64, Batch> = LruHashMap::with_max_entries(1024, 0);

/// Marks by process ([`perf_common::settings::mark`]). The user side fills it with what runs when it starts; the
/// process hooks keep it.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(32_768, 0);

/// Where a process's threads keep what runs on them: the place of the address of the thread's state, counted from the
/// thread's storage (low half, signed), and the place in that of the address of what runs. Written by the user side, for
/// processes with [`perf_common::settings::mark::COROUTINES`].
#[map]
pub static TASKS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4096, 0);

/// Something that a task hands over: by its address.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Handed {
    what: u64,
    tgid: u64,
}

impl Handed {
    /// Of the thread's process.
    #[inline(always)]
    pub fn new(thread: Thread, what: u64) -> Self {
        let tgid = u64::from(thread.tgid);
        Self { what, tgid }
    }
}

/// Which task put it down last. Written and read here alone; what was put down least lately goes first.
#[map]
pub static HANDED: LruHashMap<Handed, u32> = LruHashMap::with_max_entries(16_384, 0);

/// For which task a thread sends, by process (high half) and thread; 0 for itself. Written and read here alone.
#[map]
pub static FLUSHES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(4096, 0);

/// Marks by port. Written by the user side. Preallocated like all maps: a kernel before 6.1 warns in its log of any map
/// that is not.
#[map]
pub static PORTS: HashMap<u16, u32> = HashMap::with_max_entries(1024, 0);

/// Marks by control group id. Written by the user side.
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(256, 0);

/// An executable as filters name it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ExeKey {
    /// Inode number, 0 for any file of that name.
    pub inode: u64,
    /// File name without directories, NUL-padded.
    pub name: [u8; EXE_NAME_BYTES],
}

/// Marks by executable. Written by the user side.
#[map]
pub static EXES: HashMap<ExeKey, u32> = HashMap::with_max_entries(256, 0);

/// What a thread or goroutine is in of a chosen function. Written here; the user side counts what is in flight, and frees
/// those of threads that ended in the middle. When the map is full the one used least lately goes. As small as can be
/// where no function is chosen.
#[map]
pub static INVOCATIONS: LruHashMap<InvocationsKey, Invocations> = LruHashMap::with_max_entries(8192, 0);

/// What was counted of each chosen function, by its number. Written here, read by the user side.
#[map]
pub static FUNCTION_COUNTS: PerCpuArray<FunctionCounts> = PerCpuArray::with_max_entries(FUNCTIONS, 0);

/// [`Counter`]s, per CPU, summed by the user side.
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS as u32, 0);

/// Empty, and never called into: see [`no_private_stack`]. For the programs of uprobes only: the kernel lets programs share
/// an array that are of one type and, lately, to be attached in one way (kernel/bpf/core.c, `__bpf_prog_map_compatible`).
#[map]
static NOTHING: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Keeps a program of uprobes on the kernel's stack. Since 6.13 such programs get a stack of their processor, as if they
/// could not be preempted, and nothing keeps a second run on that processor out: it writes into the first one's. The
/// verifier gives none to a program with a tail call in it (kernel/bpf/verifier.c, `check_max_stack_depth`), even to one
/// that is never reached.
#[inline(always)]
pub fn no_private_stack<C: EbpfContext>(ctx: &C) {
    if features() & feature::NONE != 0 {
        // SAFETY: never reached; the array is empty.
        unsafe { NOTHING.tail_call(ctx, 0) };
    }
}

/// Adds to a counter. A preempted addition may lose one count on kernels where programs are preemptible; nothing that
/// the accounting identity needs is counted here alone.
#[inline(always)]
pub fn count(counter: Counter, by: u64) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: the pointer is this CPU's value of an existing array entry.
        unsafe { *value += by };
    }
}

/// A processor's ring buffer.
#[inline(always)]
pub fn ring(processor: u16) -> Option<&'static Ring> {
    RINGS.get(u32::from(processor) & ring_mask())
}

/// Number of the processor this runs on.
#[inline(always)]
pub fn processor() -> u16 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_smp_processor_id() as u16 }
}

macro_rules! globals {
    ($($(#[$doc:meta])* $symbol:ident: $type:ty = $default:expr, $reader:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            static $symbol: $type = $default;
            $(#[$doc])*
            #[inline(always)]
            pub fn $reader() -> $type {
                // SAFETY: a static is always readable. Volatile, since the loader replaces the value after compilation.
                unsafe { core::ptr::read_volatile(&raw const $symbol) }
            }
        )*
    };
}

globals! {
    /// The agent's own process.
    OWN_TGID: u32 = 0, own_tgid;
    /// Bytes of a request message that may be copied.
    REQUEST_BUDGET: u32 = 16_320, request_budget;
    /// Bytes of a response message that may be copied.
    RESPONSE_BUDGET: u32 = 4032, response_budget;
    /// Which filters are in use.
    FILTERS: u32 = 0, filters;
    /// What this kernel has.
    FEATURES: u32 = 0, features;
    /// Ring buffers, less one: a mask of the processor's number.
    RING_MASK: u32 = 0, ring_mask;
    /// Bytes in a ring buffer from which the reader is woken.
    WAKE_BYTES: u32 = 1 << 20, wake_bytes;
}

#[unsafe(no_mangle)]
static CGROUP_DEPTHS: [u32; CGROUP_LEVELS] = [u32::MAX; CGROUP_LEVELS];

#[unsafe(no_mangle)]
static OFFSETS: [u32; offset::COUNT] = [offset::ABSENT; offset::COUNT];

/// Depth of the control groups that filters name, `u32::MAX` for none.
#[inline(always)]
pub fn cgroup_depth(index: usize) -> u32 {
    // SAFETY: callers pass constants below CGROUP_LEVELS. Volatile, see `globals`.
    unsafe { core::ptr::read_volatile((&raw const CGROUP_DEPTHS).cast::<u32>().add(index)) }
}

/// Byte offset of a kernel field (an index of [`offset`]) in this kernel.
#[inline(always)]
pub fn field_offset(index: usize) -> usize {
    // SAFETY: callers pass constants below offset::COUNT. Volatile, see `globals`.
    unsafe { core::ptr::read_volatile((&raw const OFFSETS).cast::<u32>().add(index)) as usize }
}
