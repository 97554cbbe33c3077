//! Who moves bytes: a thread, or what runs on it by turns, a goroutine or a coroutine.

use aya_ebpf::helpers::bpf_probe_read_user;
use perf_common::{record::TASK, settings::mark};

use crate::{
    kernel::Thread,
    maps::{PROCESSES, TASKS},
    tls::running_goroutine,
};

/// The number of the thread, or with [`TASK`] a part of the address of what runs on it.
#[inline(always)]
pub fn mover(thread: Thread) -> u32 {
    find_mover(thread.tgid, thread.tid)
}

/// See [`mover`], of the thread that runs.
// VERIFIER: a global function: its callers have no stack left for the keys of its maps.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_mover(tgid: u32, tid: u32) -> u32 {
    // SAFETY: a value of 4 bytes is read whole.
    let marks = unsafe { PROCESSES.get(tgid) }.copied().unwrap_or(0);
    let address = if marks & mark::GOROUTINES != 0 {
        running_goroutine(Thread::current())
    } else if marks & mark::COROUTINES != 0 {
        coroutine(tgid, tid)
    } else {
        0
    };
    // Allocated in places of 16 bytes: within 32 GiB no two are the same.
    if address == 0 {
        tid
    } else {
        (address >> 4) as u32 | TASK
    }
}

#[inline(always)]
fn coroutine(tgid: u32, tid: u32) -> u64 {
    let key = u64::from(tgid) << 32 | u64::from(tid);
    // SAFETY: a value of 8 bytes is read whole.
    let Some(place) = (unsafe { TASKS.get(key) }).copied() else {
        return 0;
    };
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    unsafe { bpf_probe_read_user(place as *const u64).unwrap_or(0) }
}
