//! What the host and its services take.

use std::borrow::Cow;

use super::exchanges::service;
use super::model::Kind::{Counter, Gauge};
use super::model::{Definition, Families};
use crate::resources::{HostUse, Pressures, Resources, ServiceUse};

const DEVICE: &[&str] = &["device"];
const MOUNT: &[&str] = &["mountpoint"];
const PRESSURE: &[&str] = &["resource"];
const SERVICE: &[&str] = &["service_name", "container_id", "server_port", "server_address"];
const SERVICE_PRESSURE: &[&str] = &[
    "service_name",
    "container_id",
    "server_port",
    "server_address",
    "resource",
];

const fn bytes(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition::in_unit(name, Gauge, "bytes", labels, help)
}

const fn ratio(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition::in_unit(name, Gauge, "ratio", labels, help)
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition::new(name, Gauge, labels, help)
}

const HOST_CPU: Definition = ratio(
    "perf_agent_host_cpu_usage_ratio",
    &[],
    "Share of all processors' time that was not idle.",
);
const HOST_MEMORY: Definition = ratio(
    "perf_agent_host_memory_usage_ratio",
    &[],
    "Share of memory that is not available to new programs.",
);
const HOST_MEMORY_SIZE: Definition = bytes("perf_agent_host_memory_size_bytes", &[], "Memory of the host.");
const HOST_MEMORY_AVAILABLE: Definition = bytes(
    "perf_agent_host_memory_available_bytes",
    &[],
    "Of it, what is available to new programs.",
);
const HOST_SWAP: Definition = bytes("perf_agent_host_swap_used_bytes", &[], "Swap space in use.");
const HOST_PROCESSORS: Definition = gauge("perf_agent_host_processors", &[], "Processors of the host.");
const HOST_LOAD: Definition = gauge(
    "perf_agent_host_load",
    &[],
    "Runnable and waiting tasks, averaged over 1, 5 and 15 minutes.",
)
.by("window");
const HOST_PRESSURE: Definition = ratio(
    "perf_agent_host_pressure_ratio",
    PRESSURE,
    "Share of the last ten seconds in which some or all (full) tasks waited for a resource.",
)
.by("tasks");
const DISK_READ: Definition = gauge(
    "perf_agent_host_disk_read_bytes_per_second",
    DEVICE,
    "Bytes read per second.",
);
const DISK_WRITTEN: Definition = gauge(
    "perf_agent_host_disk_written_bytes_per_second",
    DEVICE,
    "Bytes written per second.",
);
const DISK_BUSY: Definition = ratio(
    "perf_agent_host_disk_busy_ratio",
    DEVICE,
    "Share of the time in which the device was busy.",
);
const FILE_SYSTEM_SIZE: Definition = bytes("perf_agent_host_filesystem_size_bytes", MOUNT, "Size of a file system.");
const FILE_SYSTEM_AVAILABLE: Definition = bytes(
    "perf_agent_host_filesystem_available_bytes",
    MOUNT,
    "Of it, what is available.",
);
const NETWORK_RECEIVED: Definition = gauge(
    "perf_agent_host_network_received_bytes_per_second",
    DEVICE,
    "Bytes received per second.",
);
const NETWORK_SENT: Definition = gauge(
    "perf_agent_host_network_sent_bytes_per_second",
    DEVICE,
    "Bytes sent per second.",
);
const NETWORK_FAULTS: Definition = gauge(
    "perf_agent_host_network_faults_per_second",
    DEVICE,
    "Errors and drops per second, both ways.",
);
const PROCESSES: Definition = gauge(
    "perf_agent_service_processes",
    SERVICE,
    "Living processes of a service that could be read.",
);
const CPU_CORES: Definition = gauge(
    "perf_agent_service_cpu_cores",
    SERVICE,
    "Processors' worth of time that a service takes: 1 is one processor all the time.",
);
const CPU_USAGE: Definition = ratio(
    "perf_agent_service_cpu_usage_ratio",
    SERVICE,
    "The same as a share of what it may take: of its control group's quota, else of all processors.",
);
const RESIDENT: Definition = bytes(
    "perf_agent_service_resident_memory_bytes",
    SERVICE,
    "Resident memory of a service's processes.",
);
const MEMORY_USAGE: Definition = ratio(
    "perf_agent_service_memory_usage_ratio",
    SERVICE,
    "Memory as a share of what it may take: of its control group's limit, else of the host's.",
);
const THREADS: Definition = gauge(
    "perf_agent_service_threads",
    SERVICE,
    "Threads of a service's processes.",
);
const OPEN_FILES: Definition = gauge(
    "perf_agent_service_open_files",
    SERVICE,
    "Open files of the process that is nearest to its limit.",
);
const OPEN_FILES_LIMIT: Definition = gauge("perf_agent_service_open_files_limit", SERVICE, "That process's limit.");
const LISTEN_QUEUE: Definition = gauge(
    "perf_agent_service_listen_queue",
    SERVICE,
    "Connections that wait to be accepted.",
);
const LISTEN_QUEUE_LIMIT: Definition = gauge("perf_agent_service_listen_queue_limit", SERVICE, "How many may.");
const LISTEN_OVERFLOWS: Definition = gauge(
    "perf_agent_service_listen_overflows_per_second",
    SERVICE,
    "Connections refused per second since a listen queue was full, in the service's network namespace.",
);
const STARTED: Definition = Definition::in_unit(
    "perf_agent_service_start_time_seconds",
    Gauge,
    "seconds",
    SERVICE,
    "When a service's oldest living process started, since 1970.",
);
const CPU_LIMIT: Definition = gauge(
    "perf_agent_service_cpu_limit_cores",
    SERVICE,
    "Processors' worth of time that its control group may take.",
);
const THROTTLED: Definition = ratio(
    "perf_agent_service_cpu_throttled_ratio",
    SERVICE,
    "Share of scheduling periods in which the control group was throttled.",
);
const THROTTLED_SECONDS: Definition = gauge(
    "perf_agent_service_cpu_throttled_seconds_per_second",
    SERVICE,
    "Time in which it was throttled, per second.",
);
const MEMORY_LIMIT: Definition = bytes(
    "perf_agent_service_memory_limit_bytes",
    SERVICE,
    "Memory that its control group may take.",
);
const MEMORY: Definition = bytes(
    "perf_agent_service_group_memory_bytes",
    SERVICE,
    "Memory that it takes, without file cache that can be dropped.",
);
const OOM_KILLS: Definition = Definition::new(
    "perf_agent_service_oom_kills",
    Counter,
    SERVICE,
    "Processes of the control group that were killed for want of memory.",
);
const PRESSURES: Definition = ratio(
    "perf_agent_service_pressure_ratio",
    SERVICE_PRESSURE,
    "Share of the last ten seconds in which some or all (full) tasks of the control group waited for a resource.",
)
.by("tasks");

/// All of them.
pub(super) static ALL: &[&Definition] = &[
    &HOST_CPU,
    &HOST_MEMORY,
    &HOST_MEMORY_SIZE,
    &HOST_MEMORY_AVAILABLE,
    &HOST_SWAP,
    &HOST_PROCESSORS,
    &HOST_LOAD,
    &HOST_PRESSURE,
    &DISK_READ,
    &DISK_WRITTEN,
    &DISK_BUSY,
    &FILE_SYSTEM_SIZE,
    &FILE_SYSTEM_AVAILABLE,
    &NETWORK_RECEIVED,
    &NETWORK_SENT,
    &NETWORK_FAULTS,
    &PROCESSES,
    &CPU_CORES,
    &CPU_USAGE,
    &RESIDENT,
    &MEMORY_USAGE,
    &THREADS,
    &OPEN_FILES,
    &OPEN_FILES_LIMIT,
    &LISTEN_QUEUE,
    &LISTEN_QUEUE_LIMIT,
    &LISTEN_OVERFLOWS,
    &STARTED,
    &CPU_LIMIT,
    &THROTTLED,
    &THROTTLED_SECONDS,
    &MEMORY_LIMIT,
    &MEMORY,
    &OOM_KILLS,
    &PRESSURES,
];

type Pair = (&'static str, String);

/// Puts what is known, with the same labels.
struct Putting<'a> {
    families: &'a mut Families,
    pairs: Vec<Pair>,
}

impl Putting<'_> {
    fn put(&mut self, definition: &Definition, value: Option<impl Into<f64>>) {
        if let Some(value) = value {
            let labels = self.families.labels(self.pairs.clone());
            self.families.put(definition, &labels, value.into());
        }
    }

    fn bytes(&mut self, definition: &Definition, value: Option<u64>) {
        self.put(definition, value.map(|bytes| bytes as f64));
    }

    fn pressure(&mut self, definition: &Definition, pressures: &Pressures) {
        for (resource, pressure) in [
            ("cpu", pressures.cpu),
            ("memory", pressures.memory),
            ("io", pressures.io),
        ] {
            let Some(pressure) = pressure else { continue };
            let pairs = self.pairs.iter().cloned().chain([("resource", resource.to_owned())]);
            let labels = self.families.labels(pairs);
            let full = pressure.full.map(|full| ("full", full));
            for (tasks, share) in [("some", pressure.some)].into_iter().chain(full) {
                self.families.put_by(definition, &labels, Cow::Borrowed(tasks), share);
            }
        }
    }
}

/// Fills them.
pub(super) fn add(resources: Option<&Resources>, families: &mut Families) {
    let Some(resources) = resources else { return };
    host(&resources.host, families);
    for used in &resources.services {
        of_service(used, families);
    }
}

fn host(host: &HostUse, families: &mut Families) {
    let mut put = Putting {
        families,
        pairs: Vec::new(),
    };
    put.put(&HOST_CPU, host.cpu_usage);
    put.put(&HOST_MEMORY, host.memory_usage);
    put.bytes(&HOST_MEMORY_SIZE, host.memory_total_bytes);
    put.bytes(&HOST_MEMORY_AVAILABLE, host.memory_available_bytes);
    put.bytes(&HOST_SWAP, host.swap_used_bytes);
    put.put(&HOST_PROCESSORS, (host.processors > 0).then_some(host.processors));
    put.pressure(&HOST_PRESSURE, &host.pressure);
    let none = put.families.unlabelled();
    for (window, load) in ["1m", "5m", "15m"].into_iter().zip(host.load.into_iter().flatten()) {
        put.families.put_by(&HOST_LOAD, &none, window, load);
    }
    for disk in &host.disks {
        put.pairs = vec![("device", disk.name.clone())];
        put.put(&DISK_READ, disk.read_bytes_per_second);
        put.put(&DISK_WRITTEN, disk.written_bytes_per_second);
        put.put(&DISK_BUSY, disk.busy);
    }
    for system in &host.file_systems {
        put.pairs = vec![("mountpoint", system.mounted_on.clone())];
        put.bytes(&FILE_SYSTEM_SIZE, Some(system.total_bytes));
        put.bytes(&FILE_SYSTEM_AVAILABLE, Some(system.available_bytes));
    }
    for interface in &host.interfaces {
        put.pairs = vec![("device", interface.name.clone())];
        put.put(&NETWORK_RECEIVED, interface.received_bytes_per_second);
        put.put(&NETWORK_SENT, interface.sent_bytes_per_second);
        put.put(&NETWORK_FAULTS, interface.faults_per_second);
    }
}

fn of_service(used: &ServiceUse, families: &mut Families) {
    let key = &used.service;
    let mut pairs = service(key);
    pairs.push(("server_port", key.port.map(|port| port.to_string()).unwrap_or_default()));
    pairs.push(("server_address", key.socket.as_deref().unwrap_or_default().to_owned()));
    let mut put = Putting { families, pairs };
    put.put(&PROCESSES, Some(used.processes));
    put.put(&CPU_CORES, used.cpu_cores);
    put.put(&CPU_USAGE, used.cpu_usage);
    put.bytes(&RESIDENT, used.resident_bytes);
    put.put(&MEMORY_USAGE, used.memory_usage);
    put.put(&THREADS, used.threads);
    put.put(&OPEN_FILES, used.open_files);
    put.bytes(&OPEN_FILES_LIMIT, used.open_files_limit);
    put.put(&LISTEN_QUEUE, used.listen_queue);
    put.put(&LISTEN_QUEUE_LIMIT, used.listen_queue_limit);
    put.put(&LISTEN_OVERFLOWS, used.listen_overflows_per_second);
    put.put(&STARTED, used.started_wall_ns.map(|ns| ns as f64 / 1e9));
    let Some(group) = &used.group else { return };
    put.put(&CPU_LIMIT, group.cpu_limit_cores);
    put.put(&THROTTLED, group.throttled);
    put.put(&THROTTLED_SECONDS, group.throttled_seconds_per_second);
    put.bytes(&MEMORY_LIMIT, group.memory_limit_bytes);
    put.bytes(&MEMORY, group.memory_bytes);
    put.bytes(&OOM_KILLS, group.oom_kills);
    put.pressure(&PRESSURES, &group.pressure);
}
