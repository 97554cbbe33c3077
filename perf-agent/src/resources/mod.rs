//! Resources: what the host and its services take, as figures of one moment. An edge reads them; here is
//! what they are, what follows from two readings, and how they went over time.
//!
//! A ratio is 0..=1. What the kernel does not tell, or only a second reading would tell, is `None`.
//!
//! [`Reading`] is what the counters said at one moment, [`Resources::between`] what follows from two of them,
//! [`Trends`] how that went over time.

mod between;
mod growth;
mod reading;
mod trends;

use std::sync::Arc;

pub use growth::MemoryTrend;
pub use reading::{
    CpuLimit, CpuTime, DiskReading, GroupReading, HostReading, InterfaceReading, NetworkReading, ProcessReading,
    Reading, ServiceReading,
};
pub use trends::{HostPoint, Level, ServicePoint, TREND_POINTS, TRENDS, Trends};

use crate::process::ServiceKey;

/// What the host and its services took, as of one reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// When, nanoseconds since 1970.
    pub wall_ns: u64,
    /// Time since the reading before, over which rates are; 0 for the first one.
    pub over_ns: u64,
    /// The host.
    pub host: HostUse,
    /// Services with living processes.
    pub services: Vec<ServiceUse>,
}

/// The host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostUse {
    /// Share of all processors' time that was not idle.
    pub cpu_usage: Option<f64>,
    /// Share of memory that is not available to new programs.
    pub memory_usage: Option<f64>,
    /// Bytes of memory.
    pub memory_total_bytes: Option<u64>,
    /// Of them, those available to new programs.
    pub memory_available_bytes: Option<u64>,
    /// Bytes of swap space in use.
    pub swap_used_bytes: Option<u64>,
    /// Processors.
    pub processors: u32,
    /// Runnable and waiting tasks, averaged over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Pressure stall information: share of the last ten seconds in which some (or all) tasks waited.
    pub pressure: Pressures,
    /// Block devices.
    pub disks: Vec<DiskUse>,
    /// File systems on them.
    pub file_systems: Vec<FileSystemUse>,
    /// Network interfaces, without loopback.
    pub interfaces: Vec<InterfaceUse>,
}

/// Pressure by resource (`/proc/pressure`, or a control group's).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressures {
    /// For a processor.
    pub cpu: Option<Pressure>,
    /// For memory.
    pub memory: Option<Pressure>,
    /// For input and output.
    pub io: Option<Pressure>,
}

/// Share of the last ten seconds, 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// In which some tasks waited.
    pub some: f64,
    /// In which all tasks that were not idle waited.
    pub full: Option<f64>,
}

/// One block device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskUse {
    /// Its name, such as `sda`.
    pub name: String,
    /// Bytes read per second.
    pub read_bytes_per_second: Option<f64>,
    /// Bytes written per second.
    pub written_bytes_per_second: Option<f64>,
    /// Share of the time in which it was busy.
    pub busy: Option<f64>,
}

/// One file system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileSystemUse {
    /// Where it is mounted.
    pub mounted_on: String,
    /// Bytes.
    pub total_bytes: u64,
    /// Of them, those available.
    pub available_bytes: u64,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InterfaceUse {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Bytes received per second.
    pub received_bytes_per_second: Option<f64>,
    /// Bytes sent per second.
    pub sent_bytes_per_second: Option<f64>,
    /// Errors and drops per second, both ways.
    pub faults_per_second: Option<f64>,
}

/// What one service takes: the sums over its living processes, and what its control group allows.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceUse {
    /// Whose.
    pub service: Arc<ServiceKey>,
    /// Its processes that could be read.
    pub processes: u32,
    /// Processors' worth of time: 1.0 is one processor all the time.
    pub cpu_cores: Option<f64>,
    /// The same as a share of what it may take: of its control group's quota, else of all processors.
    pub cpu_usage: Option<f64>,
    /// Resident memory. What its processes share counts for each of them.
    pub resident_bytes: Option<u64>,
    /// Memory as a share of what it may take: of its control group's limit (by what the group takes), else of the host's.
    pub memory_usage: Option<f64>,
    /// Threads.
    pub threads: Option<u32>,
    /// Open files of the process that is nearest to its limit.
    pub open_files: Option<u32>,
    /// That process's limit.
    pub open_files_limit: Option<u64>,
    /// Connections that wait to be accepted, over all sockets that listen on its port in its network namespace.
    pub listen_queue: Option<u32>,
    /// How many may, where that is known.
    pub listen_queue_limit: Option<u32>,
    /// Connections refused per second since a listen queue was full, in the service's network namespace.
    pub listen_overflows_per_second: Option<f64>,
    /// Its control group.
    pub group: Option<GroupUse>,
    /// When its oldest living process started, nanoseconds since 1970.
    pub started_wall_ns: Option<u64>,
    /// Pod, where the control group's path tells.
    pub pod: Option<String>,
}

/// A control group's limits, and how it fares with them. Groups that it is in limit it, too: of the limits of all of them
/// the tightest is told, for memory the one with the least left, and what is taken by the group that has that limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupUse {
    /// Its path below the hierarchy's root.
    pub path: String,
    /// Processors' worth of time that it may take.
    pub cpu_limit_cores: Option<f64>,
    /// Share of scheduling periods since the reading before in which it was throttled.
    pub throttled: Option<f64>,
    /// Time in which it was throttled, per second.
    pub throttled_seconds_per_second: Option<f64>,
    /// Bytes that it may take.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes that it takes, without file cache that can be dropped.
    pub memory_bytes: Option<u64>,
    /// Processes killed for want of memory, so far.
    pub oom_kills: Option<u64>,
    /// Pressure.
    pub pressure: Pressures,
}
