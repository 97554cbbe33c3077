//! What the counters said at one moment: nothing is computed here.

use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::{FileSystemUse, Pressures};
use crate::process::ServiceKey;

/// One reading. What could not be read is `None`, or is not there.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// When, monotonic nanoseconds.
    pub at_ns: u64,
    /// The same moment, nanoseconds since 1970.
    pub wall_ns: u64,
    /// The same moment, nanoseconds since the system started, of the clock that processes' starts are told by.
    pub since_boot_ns: Option<u64>,
    /// The host.
    pub host: HostReading,
    /// Living processes of services, by number.
    pub processes: HashMap<u32, ProcessReading>,
    /// Their control groups, by the text that [`ProcessReading::group`] holds.
    pub groups: HashMap<Arc<str>, GroupReading>,
    /// Network namespaces of those that listen, by inode.
    pub networks: HashMap<u64, NetworkReading>,
    /// Services with living processes.
    pub services: Vec<ServiceReading>,
    /// Processes that were not looked at, because they were too many.
    pub unread_processes: u32,
}

/// The host.
#[derive(Clone, Debug, Default)]
pub struct HostReading {
    /// Time of all processors.
    pub cpu: Option<CpuTime>,
    /// Processors.
    pub processors: u32,
    /// Bytes of memory.
    pub memory_total_bytes: Option<u64>,
    /// Of them, those available to new programs.
    pub memory_available_bytes: Option<u64>,
    /// Bytes of swap space in use.
    pub swap_used_bytes: Option<u64>,
    /// Runnable and waiting tasks, averaged over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Pressure.
    pub pressure: Pressures,
    /// Block devices.
    pub disks: Vec<DiskReading>,
    /// File systems on them.
    pub file_systems: Vec<FileSystemUse>,
    /// Network interfaces, without loopback.
    pub interfaces: Vec<InterfaceReading>,
}

/// Time of all processors since the system started, in a unit that does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// At work, or taken away by the hypervisor.
    pub busy: u64,
    /// Idle, also while tasks waited for input or output.
    pub idle: u64,
}

/// One block device, since it appeared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskReading {
    /// Its name.
    pub name: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Time in which something was under way.
    pub busy_ns: u64,
}

/// One network interface, since it appeared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceReading {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Errors and drops, both ways.
    pub faults: u64,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessReading {
    /// When it started, nanoseconds since the system did: with its number, what tells it from any other.
    pub started_ns: u64,
    /// The same moment, nanoseconds since 1970.
    pub started_wall_ns: Option<u64>,
    /// Processor time that its threads took, also those that ended.
    pub cpu_ns: u64,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u32>,
    /// Open files.
    pub open_files: Option<u32>,
    /// How many it may open.
    pub open_files_limit: Option<u64>,
    /// Its control groups, as the kernel lists them.
    pub group: Option<Arc<str>>,
    /// Inode of its network namespace; asked only of processes of services that listen on a port.
    pub network: Option<u64>,
}

/// One control group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupReading {
    /// Its path below the hierarchy's root.
    pub path: String,
    /// The pod that it is of.
    pub pod: Option<CompactString>,
    /// The limits of processor time that it is under.
    pub cpu_limits: Vec<CpuLimit>,
    /// The limit of memory that it is under and that has the least left.
    pub memory_limit_bytes: Option<u64>,
    /// What the group with that limit takes, without file cache that can be dropped; without a limit, what it takes itself.
    pub memory_bytes: Option<u64>,
    /// Processes of it that were killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Pressure.
    pub pressure: Pressures,
}

/// A limit of processor time, of a group or of one that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuLimit {
    /// How deep the group with the limit is below the root: with the path, which one it is.
    pub depth: usize,
    /// Processors' worth of time.
    pub cores: f64,
    /// Scheduling periods so far in which there was something to do.
    pub periods: Option<u64>,
    /// Of them, those in which it was throttled.
    pub throttled_periods: Option<u64>,
    /// Time in which it was throttled.
    pub throttled_ns: Option<u64>,
}

/// One network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkReading {
    /// Connections refused so far since a listen queue was full.
    pub listen_overflows: Option<u64>,
    /// By port on which somebody listens: connections that wait to be accepted.
    pub waiting: HashMap<u16, u32>,
}

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceReading {
    /// Whose.
    pub service: Arc<ServiceKey>,
    /// Its living processes that could be read, ascending.
    pub pids: Vec<u32>,
}
