//! Who a process is: the paths of its executable and of its control group, read from the kernel's own structs while the
//! process is there. (`/proc` says the same, but a program that is gone after a few milliseconds is gone from there too.)

use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use perf_common::{
    record::{ProcessRecord, RecordHeader, kind},
    settings::{mark, offset},
    state::ConnectionState,
};

use crate::{
    emit,
    kernel::{Address, Thread, follow},
    maps::{PROCESSES, field_offset},
};

/// The longest name, with its NUL (`NAME_MAX`).
const NAME_BYTES: u32 = 256;
/// Room for both paths' names, a power of two.
const NAMES_BYTES: u32 = 2048;
/// Names of one path, and mounts on its way, that are read.
const STEPS: u32 = 32;

/// The record, and room for names behind it. The last one may begin right before the end of `NAMES_BYTES`.
#[repr(C, align(8))]
struct Item {
    record: ProcessRecord,
    names: [u8; (NAMES_BYTES + NAME_BYTES) as usize],
}

/// A connection is used by this process: tells who that is, unless it was told of the program that it runs. Asked once
/// for each connection and process; again if the record was lost.
#[inline(always)]
pub fn introduce(state: &mut ConnectionState, tgid: u32, at_ns: u64) {
    if told(state.ring, tgid, at_ns) {
        state.tgid = tgid;
    }
}

/// Tells who a process is, unless it was told of the program that it runs; false if the record is lost.
#[inline(always)]
pub fn told(ring: u16, tgid: u32, at_ns: u64) -> bool {
    let marks = PROCESSES.get_ptr_mut(tgid);
    // SAFETY: a map value stays readable while the program runs, even when it is deleted meanwhile.
    if marks.is_none_or(|marks| unsafe { *marks } & mark::KNOWN == 0) {
        if !tell_process(ring, tgid, at_ns) {
            return false;
        }
        if let Some(marks) = marks {
            // SAFETY: as above; marks are only ever added here.
            unsafe { *marks |= mark::KNOWN };
        } else {
            // A full table: its end is not reported, and who it is with each of its connections.
            let _full = PROCESSES.insert(tgid, mark::KNOWN, 0);
        }
    }
    true
}

/// Emits the process record; false if it is lost.
// VERIFIER: a global function is walked once by itself, and not again on each of the ways that lead to a call.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_process(ring: u16, tgid: u32, at_ns: u64) -> bool {
    let Some((ring, mut entry)) = emit::reserve::<Item>(ring) else {
        return false;
    };
    let item = entry.as_mut_ptr();
    let thread = Thread::current();
    // SAFETY: `item` is a reserved item of this size; every field of the record is written before it is submitted, and its
    // sizes say how much of the names is.
    unsafe {
        let names = (&raw mut (*item).names).cast::<u8>();
        let exe_bytes = executable(names, thread);
        let all_bytes = control_group(names, exe_bytes, thread);
        (&raw mut (*item).record).write(ProcessRecord {
            header: RecordHeader {
                kind: kind::PROCESS,
                flags: 0,
                size: size_of::<ProcessRecord>() as u32 + all_bytes,
                at_ns,
            },
            tgid,
            exe_bytes: exe_bytes as u16,
            cgroup_bytes: (all_bytes - exe_bytes) as u16,
        });
    }
    entry.submit(emit::wakeup::<Item>(ring, at_ns));
    true
}

/// Names from the executable up to the root of its mount namespace, over the mounts between. Gives their bytes.
#[inline(always)]
fn executable(names: *mut u8, thread: Thread) -> u32 {
    let memory = thread.field::<u64>(offset::TASK_MEMORY) as Address;
    let file = follow(memory, offset::MEMORY_EXE);
    let mut entry = follow(file, offset::FILE_DENTRY);
    // The part of it that is not private to the kernel's own mount code.
    let mut mount = follow(file, offset::FILE_MOUNT);
    let mut done = 0;
    let mut step = 0;
    // Half of the room is the control group's.
    while step < STEPS && !entry.is_null() && done < NAMES_BYTES / 2 - NAME_BYTES {
        step += 1;
        let parent = follow(entry, offset::DENTRY_PARENT);
        if entry != parent && entry != follow(mount, offset::MOUNT_ROOT) {
            done = append(names, done, follow(entry, offset::DENTRY_NAME));
            entry = parent;
            continue;
        }
        let whole = mount.wrapping_sub(field_offset(offset::MOUNT_SELF));
        let below = follow(whole, offset::MOUNT_PARENT);
        if below == whole || below.is_null() {
            // SAFETY: `done` is below NAMES_BYTES.
            unsafe { names.add(done as usize).write(0) };
            return done + 1;
        }
        entry = follow(whole, offset::MOUNT_POINT);
        mount = below.wrapping_add(field_offset(offset::MOUNT_SELF));
    }
    done
}

/// Adds the names from the control group up to the root of the unified hierarchy. A process that is at that root may be
/// on a host with hierarchies of the old kind; what starts services and containers uses all of them alike, so one of them
/// tells. Gives the bytes of all names.
#[inline(always)]
fn control_group(names: *mut u8, done: u32, thread: Thread) -> u32 {
    if field_offset(offset::TASK_CGROUPS) == offset::ABSENT as usize {
        return done; // a kernel without control groups
    }
    let groups = thread.field::<u64>(offset::TASK_CGROUPS) as Address;
    let mut node = follow(follow(groups, offset::CGROUPS_DEFAULT), offset::CGROUP_NODE);
    if field_offset(offset::CGROUPS_PIDS) != offset::ABSENT as usize && follow(node, offset::NODE_PARENT).is_null() {
        let group = follow(follow(groups, offset::CGROUPS_PIDS), offset::SUBSYSTEM_CGROUP);
        node = follow(group, offset::CGROUP_NODE);
    }
    let mut done = done;
    let mut step = 0;
    while step < STEPS && !node.is_null() && done < NAMES_BYTES - NAME_BYTES {
        step += 1;
        done = append(names, done, follow(node, offset::NODE_NAME)); // the root's own is empty
        node = follow(node, offset::NODE_PARENT);
    }
    done
}

/// Adds one name and its NUL behind the `done` bytes before it. Gives the bytes that are there then.
#[inline(always)]
fn append(names: *mut u8, done: u32, name: Address) -> u32 {
    // VERIFIER: masks that change nothing, as in `buffers::append`.
    let place = black_box(done) & (NAMES_BYTES - 1);
    // SAFETY: the name ends within NAME_BYTES behind `place`; `name` may be anything, the helper checks it.
    let length = unsafe { bpf_probe_read_kernel_str(names.add(place as usize).cast(), NAME_BYTES, name.cast()) };
    if length < 0 {
        return place;
    }
    black_box(place + length as u32) & (NAMES_BYTES - 1)
}
