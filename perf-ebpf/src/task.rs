//! Who moves bytes: a thread, or what runs on it by turns, a goroutine or a coroutine.

use aya_ebpf::helpers::bpf_probe_read_user;
use perf_common::{
    record::{TASK, direction},
    settings::{mark, offset},
};

use crate::{
    kernel::Thread,
    maps::{FLUSHES, PROCESSES, TASKS},
    tls::running_goroutine,
};

/// The number of the thread, or with [`TASK`] a part of the address of what runs on it, or for whom it sends.
#[inline(always)]
pub fn mover(thread: Thread, moved: u8) -> u32 {
    find_mover(thread.tgid, thread.tid, u32::from(moved))
}

/// What runs on the thread.
#[inline(always)]
pub fn running(thread: Thread) -> u32 {
    mover(thread, direction::RECEIVED)
}

/// A part of a task's address that tells it from others: allocated in places of 16 bytes, within 32 GiB no two are the same.
#[inline(always)]
pub fn name(address: u64) -> u32 {
    (address >> 4) as u32 | TASK
}

/// See [`mover`], of the thread that runs.
// VERIFIER: a global function: its callers have no stack left for the keys of its maps.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_mover(tgid: u32, tid: u32, moved: u32) -> u32 {
    // SAFETY: a value of 4 bytes is read whole.
    let marks = unsafe { PROCESSES.get(tgid) }.copied().unwrap_or(0);
    let address = if marks & mark::GOROUTINES != 0 {
        running_goroutine(Thread::current())
    } else if marks & mark::COROUTINES != 0 {
        if moved == u32::from(direction::SENT) && marks & mark::SENDS_LATER != 0 {
            let key = u64::from(tgid) << 32 | u64::from(tid);
            // SAFETY: a value of 4 bytes is read whole.
            let sends_for = unsafe { FLUSHES.get(key) }.copied().unwrap_or(0);
            if sends_for != 0 {
                return sends_for;
            }
        }
        coroutine(tgid)
    } else {
        0
    };
    if address == 0 { tid } else { name(address) }
}

/// The context in which the thread runs: the user side knows where the thread keeps the address of its state, and where in
/// that the context's stands.
#[inline(always)]
fn coroutine(tgid: u32) -> u64 {
    // SAFETY: a value of 8 bytes is read whole.
    let Some(places) = (unsafe { TASKS.get(tgid) }).copied() else {
        return 0;
    };
    let storage = Thread::current().field::<u64>(offset::TASK_FSBASE);
    let state = word(storage.wrapping_add(places as u32 as i32 as u64));
    if state == 0 { 0 } else { word(state + (places >> 32)) }
}

#[inline(always)]
fn word(address: u64) -> u64 {
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    unsafe { bpf_probe_read_user(address as *const u64).unwrap_or(0) }
}
