//! One task works for another: what a runtime starts, queues or sends for a task that runs on no thread just now. Each
//! kind of hand-over ends in a record, or in the name of the task that a thread sends for.

use perf_common::{
    record::{HandoverRecord, RecordHeader, kind},
    settings::mark,
};

use crate::{
    emit,
    kernel::Thread,
    maps::{FLUSHES, HANDED, Handed, PROCESSES, processor},
    task,
};

/// The thread's task hands over something, which has this address, to one that is not known yet.
#[inline(always)]
pub fn puts_down(what: u64) {
    let thread = Thread::current();
    // A full table gives up what was put down first.
    let _full = HANDED.insert(Handed::new(thread, what), task::running(thread), 0);
}

/// The thread's task takes that over.
#[inline(always)]
pub fn takes_up(what: u64) {
    let thread = Thread::current();
    let key = Handed::new(thread, what);
    // SAFETY: a value of 4 bytes is read whole.
    if let Some(from) = unsafe { HANDED.get(key) }.copied() {
        // Taken up by another thread meanwhile: then both tell.
        let _gone = HANDED.remove(key);
        tell(thread, from, task::running(thread));
    }
}

/// The thread's task begets one.
#[inline(always)]
pub fn begets(address: u64) {
    let thread = Thread::current();
    if address != 0 {
        tell(thread, task::running(thread), task::name(address));
    }
}

/// From now on the thread sends for the task that put this down last.
#[inline(always)]
pub fn sends_for(what: u64) {
    let thread = Thread::current();
    // SAFETY: a value of 4 bytes is read whole.
    let whom = unsafe { HANDED.get(Handed::new(thread, what)) }.copied().unwrap_or(0);
    if let Some(marks) = PROCESSES.get_ptr_mut(thread.tgid) {
        // SAFETY: a map value stays writable while the program runs; marks are only ever added here.
        unsafe { *marks |= mark::SENDS_LATER };
    }
    let key = u64::from(thread.tgid) << 32 | u64::from(thread.tid);
    // A full table gives up the thread that sent least lately.
    let _full = FLUSHES.insert(key, whom, 0);
}

#[inline(always)]
fn tell(thread: Thread, from: u32, to: u32) {
    let Some((ring, mut entry)) = emit::reserve::<HandoverRecord>(processor()) else {
        return;
    };
    let at_ns = emit::now();
    entry.write(HandoverRecord {
        header: RecordHeader {
            kind: kind::HANDOVER,
            flags: 0,
            size: size_of::<HandoverRecord>() as u32,
            at_ns,
        },
        tgid: thread.tgid,
        from,
        to,
        reserved: 0,
    });
    entry.submit(emit::wakeup::<HandoverRecord>(ring, at_ns));
}
