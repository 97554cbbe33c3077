//! Is this connection ours to observe? Asked once per connection, before any other work.

use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use perf_common::settings::{CGROUP_LEVELS, filter, mark};

use crate::{
    kernel::Socket,
    maps::{CGROUPS, PORTS, PROCESSES, cgroup_depth, filters, own_tgid},
};

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Observe it.
    Yes,
    /// Never.
    No,
    /// Not for this process; another process may come to use the socket.
    NotThisProcess,
}

/// Judges by process, port and control group. Only in the context of the process that uses the socket.
#[inline(always)]
pub fn wanted(socket: Socket, tgid: u32) -> Wanted {
    if tgid == own_tgid() {
        return Wanted::NotThisProcess;
    }
    let active = filters();
    if active & (filter::PORT_INCLUDE | filter::PORT_EXCLUDE) != 0 {
        let marks = port_marks(socket.local_port()) | port_marks(socket.remote_port());
        if !passes(
            active,
            marks,
            filter::PORT_INCLUDE,
            mark::INCLUDED,
            filter::PORT_EXCLUDE,
            mark::EXCLUDED,
        ) {
            return Wanted::No;
        }
    }
    if wanted_process(tgid) {
        Wanted::Yes
    } else {
        Wanted::NotThisProcess
    }
}

/// [`wanted`], as far as it is the process's affair.
#[inline(always)]
pub fn wanted_process(tgid: u32) -> bool {
    if tgid == own_tgid() {
        return false;
    }
    let active = filters();
    const BY_PROCESS: u32 = filter::PID_INCLUDE | filter::PID_EXCLUDE | filter::EXE_INCLUDE | filter::EXE_EXCLUDE;
    if active & BY_PROCESS != 0 {
        // SAFETY: a value of 4 bytes is read whole; a stale one only means the judgement of a moment ago.
        let marks = unsafe { PROCESSES.get(tgid) }.copied().unwrap_or(0);
        if !passes(
            active,
            marks,
            filter::PID_INCLUDE,
            mark::PID_INCLUDED,
            filter::PID_EXCLUDE,
            mark::PID_EXCLUDED,
        ) || !passes(
            active,
            marks,
            filter::EXE_INCLUDE,
            mark::EXE_INCLUDED,
            filter::EXE_EXCLUDE,
            mark::EXE_EXCLUDED,
        ) {
            return false;
        }
    }
    if active & (filter::CGROUP_INCLUDE | filter::CGROUP_EXCLUDE) != 0 {
        let marks = cgroup_marks();
        if !passes(
            active,
            marks,
            filter::CGROUP_INCLUDE,
            mark::INCLUDED,
            filter::CGROUP_EXCLUDE,
            mark::EXCLUDED,
        ) {
            return false;
        }
    }
    true
}

/// One kind of filter: included if there are includes, and not excluded.
#[inline(always)]
fn passes(active: u32, marks: u32, include: u32, included: u32, exclude: u32, excluded: u32) -> bool {
    (active & include == 0 || marks & included != 0) && (active & exclude == 0 || marks & excluded == 0)
}

#[inline(always)]
fn port_marks(port: u16) -> u32 {
    // SAFETY: a value of 4 bytes, written only before the programs run.
    unsafe { PORTS.get(port) }.copied().unwrap_or(0)
}

/// Marks of the current control group and its ancestors, at the depths that filters name.
#[inline(always)]
fn cgroup_marks() -> u32 {
    let mut marks = 0;
    let mut level = 0;
    while level < CGROUP_LEVELS {
        let depth = cgroup_depth(level);
        if depth != u32::MAX {
            // SAFETY: the helper has no preconditions; it gives 0 for a depth below the process's own group.
            let id = unsafe { bpf_get_current_ancestor_cgroup_id(depth as i32) };
            // SAFETY: a value of 4 bytes, written only before the programs run.
            marks |= unsafe { CGROUPS.get(id) }.copied().unwrap_or(0);
        }
        level += 1;
    }
    marks
}
