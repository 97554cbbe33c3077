//! Processes as they are born, change their program and end: keeps the marks that filters go by, and tells the user
//! side when what it knows of a process is stale.

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint, programs::BtfTracePointContext};
use perf_common::{
    record::exit,
    settings::{EXE_NAME_BYTES, feature, filter, mark, offset},
};

use crate::{
    emit,
    kernel::{Address, Thread, follow, read},
    maps::{EXES, ExeKey, PROCESSES, TASKS, features, filters, processor},
    process, tls,
};

// hook: void sched_process_fork(struct task_struct *parent, struct task_struct *child)   since 2.6
#[btf_tracepoint(function = "sched_process_fork")]
#[inline(always)]
fn process_forked(ctx: BtfTracePointContext) -> i32 {
    let Thread { tgid, .. } = Thread::current();
    let child: u32 = read(ctx.arg::<Address>(1), offset::TASK_TGID);
    if child == tgid {
        return 0; // a thread
    }
    // SAFETY: a value of 4 bytes is read whole.
    let marks = unsafe { PROCESSES.get(tgid) }.copied().unwrap_or(0) & mark::INHERITED;
    if marks != 0 {
        // A full table: the child is judged as unmarked.
        let _full = PROCESSES.insert(child, marks, 0);
    }
    0
}

// hook: void sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)   since 3.4
#[btf_tracepoint(function = "sched_process_exec")]
#[inline(always)]
fn process_executed(ctx: BtfTracePointContext) -> i32 {
    let Thread { tgid, .. } = Thread::current();
    // SAFETY: a value of 4 bytes is read whole.
    let before = unsafe { PROCESSES.get(tgid) }.copied().unwrap_or(0);
    let mut marks = before & !mark::OF_PROGRAM;
    if before & mark::COROUTINES != 0 {
        // Where the last program's threads kept what ran on them. Gone meanwhile: there is no other error.
        let _gone = TASKS.remove(tgid);
    }
    if before & mark::KNOWN != 0 {
        emit::process_exit(tgid, exit::EXECUTED);
        // It may go on with a connection of which nothing new is to be told.
        if !process::tell_process(processor(), tgid, emit::now()) {
            marks &= !mark::KNOWN;
        }
    }
    if features() & feature::TLS != 0 {
        let file = follow(ctx.arg(2), offset::BINPRM_FILE);
        tls::executed(tgid, read(follow(file, offset::FILE_INODE), offset::INODE_NUMBER));
    }
    if filters() & (filter::EXE_INCLUDE | filter::EXE_EXCLUDE) != 0 {
        marks = marks & !(mark::EXE_INCLUDED | mark::EXE_EXCLUDED) | exe_marks(ctx.arg(2));
    }
    if marks != before {
        // A full table: the process is judged as unmarked.
        let _full = PROCESSES.insert(tgid, marks, 0);
    }
    0
}

// hook: void sched_process_exit(struct task_struct *p, ...)   since 2.6
#[btf_tracepoint(function = "sched_process_exit")]
#[inline(always)]
fn process_exited(_ctx: BtfTracePointContext) -> i32 {
    let thread = Thread::current();
    // The process ends with the last of its threads, which need not be the first one.
    let threads: u32 = read(thread.field::<u64>(offset::TASK_SIGNAL) as Address, offset::SIGNAL_LIVE);
    if threads != 0 {
        return 0;
    }
    let tgid = thread.tgid;
    // SAFETY: a value of 4 bytes is read whole.
    if let Some(marks) = unsafe { PROCESSES.get(tgid) } {
        if marks & mark::KNOWN != 0 {
            emit::process_exit(tgid, exit::EXITED);
        }
        // A second deletion of the same key is no error of ours.
        let _gone = PROCESSES.remove(tgid);
    }
    0
}

/// Marks of the executable that a process now runs: by its file name alone, and by name and inode.
#[inline(always)]
fn exe_marks(program: Address) -> u32 {
    let file = follow(program, offset::BINPRM_FILE);
    let name = follow(follow(file, offset::FILE_DENTRY), offset::DENTRY_NAME);
    let mut key = ExeKey {
        inode: 0,
        name: [0; EXE_NAME_BYTES],
    };
    // SAFETY: the destination has EXE_NAME_BYTES bytes; the source may be anything, the helper checks it.
    unsafe { bpf_probe_read_kernel_str(key.name.as_mut_ptr().cast(), EXE_NAME_BYTES as u32, name.cast()) };
    // SAFETY: a value of 4 bytes, written only before the programs run.
    let by_name = unsafe { EXES.get(key) }.copied().unwrap_or(0);
    key.inode = read(follow(file, offset::FILE_INODE), offset::INODE_NUMBER);
    // SAFETY: as above.
    by_name | unsafe { EXES.get(key) }.copied().unwrap_or(0)
}
