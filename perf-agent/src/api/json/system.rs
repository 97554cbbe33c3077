//! What the host and its services take.

use serde::Serialize;
use utoipa::ToSchema;

use super::{WindowName, rounded, timestamp};
use crate::aggregate::Window;
use crate::resources;
use crate::resources::{
    DiskUse, FileSystemUse, GroupUse, HostPoint, HostUse, InterfaceUse, Level, MemoryTrend, Resources, ServicePoint,
    ServiceUse, Trends,
};

/// What the host and its services take. Ratios are 0 to 1; rates are since the reading before.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct System {
    /// When it was read; null before the first reading.
    #[schema(format = DateTime)]
    pub at: Option<String>,
    /// The window of the trends.
    pub window: WindowName,
    /// Share of all processors' time that was not idle; null before the second reading.
    pub cpu_usage: Option<f64>,
    /// Share of memory that is not available to new programs.
    pub memory_usage: Option<f64>,
    /// The host.
    pub host: Host,
    /// Observed services with living processes, in order of their names and ports.
    pub services: Vec<ServiceResources>,
    /// How it went over the window.
    pub trends: HostTrends,
}

impl System {
    /// The newest reading, and the trends over a window.
    pub fn new(resources: Option<&Resources>, trends: &Trends, window: Window) -> Self {
        let none = HostUse::default();
        let host = resources.map_or(&none, |resources| &resources.host);
        let services = resources.map_or(&[][..], |resources| &resources.services);
        let mut services: Vec<_> = services
            .iter()
            .map(|service| ServiceResources::new(service, trends, window))
            .collect();
        services.sort_by(|a, b| {
            (&a.name, a.port, &a.socket, &a.exe, &a.container).cmp(&(&b.name, b.port, &b.socket, &b.exe, &b.container))
        });
        Self {
            at: resources.map(|resources| timestamp(resources.wall_ns)),
            window: window.into(),
            cpu_usage: host.cpu_usage.map(rounded),
            memory_usage: host.memory_usage.map(rounded),
            host: Host::new(host, trends.host_memory().as_ref()),
            services,
            trends: HostTrends {
                host: trends.host(window).iter().map(HostTrendPoint::from).collect(),
            },
        }
    }
}

/// The host.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Host {
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
    /// Processors; null if unknown.
    pub processors: Option<u32>,
    /// Runnable and waiting tasks.
    pub load: Option<Load>,
    /// Pressure stall information; null where the kernel does not tell.
    pub pressure: Pressures,
    /// Whether memory comes to an end; null without a clear trend.
    pub memory_trend: Option<MemoryGrowth>,
    /// Block devices that were ever used.
    pub disks: Vec<Disk>,
    /// Local file systems.
    pub file_systems: Vec<FileSystem>,
    /// Network interfaces without loopback.
    pub interfaces: Vec<Interface>,
}

impl Host {
    fn new(host: &HostUse, memory_trend: Option<&MemoryTrend>) -> Self {
        Self {
            cpu_usage: host.cpu_usage.map(rounded),
            memory_usage: host.memory_usage.map(rounded),
            memory_total_bytes: host.memory_total_bytes,
            memory_available_bytes: host.memory_available_bytes,
            swap_used_bytes: host.swap_used_bytes,
            processors: (host.processors > 0).then_some(host.processors),
            load: host.load.map(Load::from),
            pressure: host.pressure.into(),
            memory_trend: memory_trend.map(MemoryGrowth::from),
            disks: host.disks.iter().map(Disk::from).collect(),
            file_systems: host.file_systems.iter().map(FileSystem::from).collect(),
            interfaces: host.interfaces.iter().map(Interface::from).collect(),
        }
    }
}

/// Runnable and waiting tasks, averaged over time.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Load {
    /// Over a minute.
    #[serde(rename = "1m")]
    pub one: f64,
    /// Over five minutes.
    #[serde(rename = "5m")]
    pub five: f64,
    /// Over a quarter of an hour.
    #[serde(rename = "15m")]
    pub fifteen: f64,
}

impl From<[f64; 3]> for Load {
    fn from([one, five, fifteen]: [f64; 3]) -> Self {
        Self { one, five, fifteen }
    }
}

/// Pressure by resource.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Pressures {
    /// For a processor.
    pub cpu: Option<Pressure>,
    /// For memory.
    pub memory: Option<Pressure>,
    /// For input and output.
    pub io: Option<Pressure>,
}

impl From<resources::Pressures> for Pressures {
    fn from(pressures: resources::Pressures) -> Self {
        Self {
            cpu: pressures.cpu.map(Pressure::from),
            memory: pressures.memory.map(Pressure::from),
            io: pressures.io.map(Pressure::from),
        }
    }
}

/// Share of the last ten seconds.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Pressure {
    /// In which some tasks waited.
    pub some: f64,
    /// In which all tasks that were not idle waited; null where the kernel does not tell.
    pub full: Option<f64>,
}

impl From<resources::Pressure> for Pressure {
    fn from(pressure: resources::Pressure) -> Self {
        Self {
            some: rounded(pressure.some),
            full: pressure.full.map(rounded),
        }
    }
}

/// One block device.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Disk {
    /// Its name, such as `sda`.
    pub name: String,
    /// Bytes read per second.
    pub read_bytes_per_second: Option<f64>,
    /// Bytes written per second.
    pub written_bytes_per_second: Option<f64>,
    /// Share of the time in which it was busy.
    pub busy: Option<f64>,
}

impl From<&DiskUse> for Disk {
    fn from(disk: &DiskUse) -> Self {
        Self {
            name: disk.name.clone(),
            read_bytes_per_second: disk.read_bytes_per_second.map(rounded),
            written_bytes_per_second: disk.written_bytes_per_second.map(rounded),
            busy: disk.busy.map(rounded),
        }
    }
}

/// One file system.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FileSystem {
    /// Where it is mounted.
    pub mounted_on: String,
    /// Bytes.
    pub total_bytes: u64,
    /// Of them, those that programs without privileges may use.
    pub available_bytes: u64,
}

impl From<&FileSystemUse> for FileSystem {
    fn from(system: &FileSystemUse) -> Self {
        Self {
            mounted_on: system.mounted_on.clone(),
            total_bytes: system.total_bytes,
            available_bytes: system.available_bytes,
        }
    }
}

/// One network interface.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Bytes received per second.
    pub received_bytes_per_second: Option<f64>,
    /// Bytes sent per second.
    pub sent_bytes_per_second: Option<f64>,
    /// Errors and drops per second, both ways.
    pub faults_per_second: Option<f64>,
}

impl From<&InterfaceUse> for Interface {
    fn from(interface: &InterfaceUse) -> Self {
        Self {
            name: interface.name.clone(),
            received_bytes_per_second: interface.received_bytes_per_second.map(rounded),
            sent_bytes_per_second: interface.sent_bytes_per_second.map(rounded),
            faults_per_second: interface.faults_per_second.map(rounded),
        }
    }
}

/// What one service takes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceResources {
    /// What people call it.
    pub name: String,
    /// Path of the executable.
    pub exe: Option<String>,
    /// Local port; null for clients and Unix sockets.
    pub port: Option<u16>,
    /// Path of the Unix socket that it serves.
    pub socket: Option<String>,
    /// Container id.
    pub container: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Uid of the Kubernetes pod.
    pub pod: Option<String>,
    /// Its living processes that could be read.
    pub processes: u32,
    /// When the oldest of them started.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// Processors' worth of time: 1 is one processor all the time.
    pub cpu_cores: Option<f64>,
    /// The same as a share of its control group's quota, else of all processors.
    pub cpu_usage: Option<f64>,
    /// Resident memory; what its processes share counts for each of them.
    pub resident_bytes: Option<u64>,
    /// Memory as a share of its control group's limit (by what the group takes), else of the host's.
    pub memory_usage: Option<f64>,
    /// Whether memory grows towards the limit; null without a clear trend.
    pub memory_trend: Option<MemoryGrowth>,
    /// Threads.
    pub threads: Option<u32>,
    /// Open files of the process that is nearest to its limit.
    pub open_files: Option<u32>,
    /// That process's limit; null if there is none.
    pub open_files_limit: Option<u64>,
    /// Connections that wait to be accepted on its port.
    pub listen_queue: Option<u32>,
    /// How many may; null where that is not known.
    pub listen_queue_limit: Option<u32>,
    /// Connections refused per second since a listen queue was full, in the service's network namespace.
    pub listen_overflows_per_second: Option<f64>,
    /// Its control group.
    pub cgroup: Option<ControlGroup>,
    /// How it went over the window, oldest first.
    pub trend: Vec<ServiceTrendPoint>,
}

impl ServiceResources {
    fn new(service: &ServiceUse, trends: &Trends, window: Window) -> Self {
        let key = &service.service;
        let text = |text: &Option<_>| text.as_ref().map(ToString::to_string);
        Self {
            name: key.name.to_string(),
            exe: text(&key.exe),
            port: key.port,
            socket: text(&key.socket),
            container: text(&key.container),
            unit: text(&key.unit),
            pod: service.pod.clone(),
            processes: service.processes,
            started_at: service.started_wall_ns.map(timestamp),
            cpu_cores: service.cpu_cores.map(rounded),
            cpu_usage: service.cpu_usage.map(rounded),
            resident_bytes: service.resident_bytes,
            memory_usage: service.memory_usage.map(rounded),
            memory_trend: trends.service_memory(key).as_ref().map(MemoryGrowth::from),
            threads: service.threads,
            open_files: service.open_files,
            open_files_limit: service.open_files_limit,
            listen_queue: service.listen_queue,
            listen_queue_limit: service.listen_queue_limit,
            listen_overflows_per_second: service.listen_overflows_per_second.map(rounded),
            cgroup: service.group.as_ref().map(ControlGroup::from),
            trend: trends
                .service(key, window)
                .iter()
                .map(ServiceTrendPoint::from)
                .collect(),
        }
    }
}

/// A control group's limits, and how it fares with them. Groups that it is in limit it, too: the tightest limit is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ControlGroup {
    /// Its path below the hierarchy's root.
    pub path: String,
    /// Processors' worth of time that it may take; null if there is no limit.
    pub cpu_limit_cores: Option<f64>,
    /// Share of scheduling periods in which it was throttled.
    pub throttled: Option<f64>,
    /// Time in which it was throttled, per second, summed over processors.
    pub throttled_seconds_per_second: Option<f64>,
    /// Bytes that it may take; null if there is no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes that the group with that limit takes, without file cache that can be dropped.
    pub memory_bytes: Option<u64>,
    /// Processes killed for want of memory, so far.
    pub oom_kills: Option<u64>,
    /// Pressure within the group.
    pub pressure: Pressures,
}

impl From<&GroupUse> for ControlGroup {
    fn from(group: &GroupUse) -> Self {
        Self {
            path: group.path.clone(),
            cpu_limit_cores: group.cpu_limit_cores.map(rounded),
            throttled: group.throttled.map(rounded),
            throttled_seconds_per_second: group.throttled_seconds_per_second.map(rounded),
            memory_limit_bytes: group.memory_limit_bytes,
            memory_bytes: group.memory_bytes,
            oom_kills: group.oom_kills,
            pressure: group.pressure.into(),
        }
    }
}

/// Memory that grows steadily, over the last quarter of an hour up to an hour.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct MemoryGrowth {
    /// How fast.
    pub bytes_per_second: f64,
    /// Over how long that was seen, seconds.
    pub over_seconds: f64,
    /// The limit that it grows towards; null if it has none of its own.
    pub limit_bytes: Option<u64>,
    /// Seconds left until then, if it goes on like this.
    pub seconds_until_limit: Option<f64>,
}

impl From<&MemoryTrend> for MemoryGrowth {
    fn from(trend: &MemoryTrend) -> Self {
        Self {
            bytes_per_second: rounded(trend.bytes_per_second),
            over_seconds: trend.over_ns as f64 / 1e9,
            limit_bytes: trend.limit_bytes,
            seconds_until_limit: trend.until_limit_ns.map(|ns| (ns as f64 / 1e9).round()),
        }
    }
}

/// How it went over the window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HostTrends {
    /// The host, oldest first.
    pub host: Vec<HostTrendPoint>,
}

/// The host in one stretch of time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HostTrendPoint {
    /// Begin of the stretch.
    #[schema(format = DateTime)]
    pub at: String,
    /// Share of all processors' time that was not idle: mean.
    pub cpu_usage: Option<f64>,
    /// Greatest of the readings.
    pub cpu_usage_max: Option<f64>,
    /// Share of memory that was not available: mean.
    pub memory_usage: Option<f64>,
    /// Greatest of the readings.
    pub memory_usage_max: Option<f64>,
}

impl From<&HostPoint> for HostTrendPoint {
    fn from(point: &HostPoint) -> Self {
        Self {
            at: timestamp(point.wall_ns),
            cpu_usage: mean(point.cpu_usage),
            cpu_usage_max: max(point.cpu_usage),
            memory_usage: mean(point.memory_usage),
            memory_usage_max: max(point.memory_usage),
        }
    }
}

/// A service in one stretch of time. What has no `_max` is the mean of the readings.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceTrendPoint {
    /// Begin of the stretch.
    #[schema(format = DateTime)]
    pub at: String,
    /// Processors' worth of time.
    pub cpu_cores: Option<f64>,
    /// Greatest of the readings.
    pub cpu_cores_max: Option<f64>,
    /// Resident memory.
    pub resident_bytes: Option<f64>,
    /// Greatest of the readings.
    pub resident_bytes_max: Option<f64>,
    /// Memory as a share of what it may take.
    pub memory_usage: Option<f64>,
    /// Greatest of the readings.
    pub memory_usage_max: Option<f64>,
    /// Threads.
    pub threads: Option<f64>,
    /// Greatest of the readings.
    pub threads_max: Option<f64>,
    /// Open files of the process that is nearest to its limit.
    pub open_files: Option<f64>,
    /// Greatest of the readings.
    pub open_files_max: Option<f64>,
}

impl From<&ServicePoint> for ServiceTrendPoint {
    fn from(point: &ServicePoint) -> Self {
        Self {
            at: timestamp(point.wall_ns),
            cpu_cores: mean(point.cpu_cores),
            cpu_cores_max: max(point.cpu_cores),
            resident_bytes: mean(point.resident_bytes).map(f64::round),
            resident_bytes_max: max(point.resident_bytes).map(f64::round),
            memory_usage: mean(point.memory_usage),
            memory_usage_max: max(point.memory_usage),
            threads: mean(point.threads),
            threads_max: max(point.threads),
            open_files: mean(point.open_files),
            open_files_max: max(point.open_files),
        }
    }
}

fn mean(level: Option<Level>) -> Option<f64> {
    level.map(|level| rounded(level.mean))
}

fn max(level: Option<Level>) -> Option<f64> {
    level.map(|level| rounded(level.max))
}

#[cfg(test)]
mod tests;
