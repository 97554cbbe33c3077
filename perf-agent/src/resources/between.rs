//! What follows from two readings.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    CpuLimit, CpuTime, DiskReading, DiskUse, GroupReading, GroupUse, HostReading, HostUse, InterfaceReading,
    InterfaceUse, ProcessReading, Reading, Resources, ServiceReading, ServiceUse,
};

impl Resources {
    /// What the host and its services took from one reading to the next. Without one before, or if no time went by, rates
    /// are unknown; so is the rate of a counter that went backwards, since what it counts was replaced.
    pub fn between(previous: Option<&Reading>, now: &Reading) -> Self {
        let over = previous.and_then(|previous| {
            let over_ns = now.at_ns.checked_sub(previous.at_ns).filter(|&over_ns| over_ns > 0)?;
            Some(Over { previous, over_ns })
        });
        Self {
            wall_ns: now.wall_ns,
            over_ns: over.map_or(0, |over| over.over_ns),
            host: host(over, &now.host),
            services: now
                .services
                .iter()
                .map(|service| service_use(over, now, service))
                .collect(),
        }
    }
}

/// The reading before, and the time since.
#[derive(Clone, Copy)]
struct Over<'a> {
    previous: &'a Reading,
    over_ns: u64,
}

impl Over<'_> {
    /// Of something that was counted, per second.
    fn per_second(self, amount: u64) -> f64 {
        amount as f64 / (self.over_ns as f64 / 1e9)
    }

    /// Of time, the share.
    fn share(self, ns: u64) -> f64 {
        (ns as f64 / self.over_ns as f64).min(1.0)
    }
}

fn host(over: Option<Over<'_>>, now: &HostReading) -> HostUse {
    let before = over.map(|over| (over, &over.previous.host));
    let memory = now.memory_total_bytes.zip(now.memory_available_bytes);
    HostUse {
        cpu_usage: before.and_then(|(_, before)| cpu_usage(before.cpu?, now.cpu?)),
        memory_usage: memory.and_then(|(total, available)| ratio(total.saturating_sub(available), total)),
        memory_total_bytes: now.memory_total_bytes,
        memory_available_bytes: now.memory_available_bytes,
        swap_used_bytes: now.swap_used_bytes,
        processors: now.processors,
        load: now.load,
        pressure: now.pressure,
        disks: now.disks.iter().map(|disk| disk_use(before, disk)).collect(),
        file_systems: now.file_systems.clone(),
        interfaces: now
            .interfaces
            .iter()
            .map(|interface| interface_use(before, interface))
            .collect(),
    }
}

fn cpu_usage(before: CpuTime, now: CpuTime) -> Option<f64> {
    let busy = now.busy.checked_sub(before.busy)?;
    // The time of waiting for input and output is known to go backwards a little.
    let idle = now.idle.checked_sub(before.idle)?;
    ratio(busy, busy.saturating_add(idle))
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
}

fn disk_use(before: Option<(Over<'_>, &HostReading)>, now: &DiskReading) -> DiskUse {
    let before = before.and_then(|(over, before)| {
        let disk = before.disks.iter().find(|disk| disk.name == now.name)?;
        Some((over, disk))
    });
    DiskUse {
        name: now.name.clone(),
        read_bytes_per_second: before
            .and_then(|(over, disk)| Some(over.per_second(now.read_bytes.checked_sub(disk.read_bytes)?))),
        written_bytes_per_second: before
            .and_then(|(over, disk)| Some(over.per_second(now.written_bytes.checked_sub(disk.written_bytes)?))),
        busy: before.and_then(|(over, disk)| Some(over.share(now.busy_ns.checked_sub(disk.busy_ns)?))),
    }
}

fn interface_use(before: Option<(Over<'_>, &HostReading)>, now: &InterfaceReading) -> InterfaceUse {
    let before = before.and_then(|(over, before)| {
        let interface = before.interfaces.iter().find(|interface| interface.name == now.name)?;
        Some((over, interface))
    });
    let rate = |count: fn(&InterfaceReading) -> u64| {
        let (over, interface) = before?;
        Some(over.per_second(count(now).checked_sub(count(interface))?))
    };
    InterfaceUse {
        name: now.name.clone(),
        received_bytes_per_second: rate(|interface| interface.received_bytes),
        sent_bytes_per_second: rate(|interface| interface.sent_bytes),
        faults_per_second: rate(|interface| interface.faults),
    }
}

fn service_use(over: Option<Over<'_>>, now: &Reading, service: &ServiceReading) -> ServiceUse {
    let processes: Vec<_> = service
        .pids
        .iter()
        .filter_map(|pid| Some((*pid, now.processes.get(pid)?)))
        .collect();
    let own = || processes.iter().map(|(_, process)| *process);
    let group = own_group(&processes).and_then(|text| Some((text, now.groups.get(text)?)));
    let group_use = group.map(|(text, group)| {
        let before = over.and_then(|over| Some((over, over.previous.groups.get(text)?)));
        group_use(before, group)
    });
    let cpu_cores = over.and_then(|over| cpu_cores(over, &processes));
    let resident_bytes = sum(own().map(|process| process.resident_bytes));
    let open_files = own()
        .filter(|process| process.open_files.is_some())
        .max_by(|a, b| nearness(a).total_cmp(&nearness(b)));
    ServiceUse {
        service: Arc::clone(&service.service),
        processes: u32::try_from(processes.len()).unwrap_or(u32::MAX),
        cpu_cores,
        cpu_usage: cpu_cores.and_then(|cores| {
            let all = f64::from(now.host.processors);
            let limit = group_use.as_ref().and_then(|group| group.cpu_limit_cores);
            let allowed = limit.map_or(all, |limit| if all > 0.0 { limit.min(all) } else { limit });
            (allowed > 0.0).then(|| (cores / allowed).min(1.0))
        }),
        resident_bytes,
        memory_usage: memory_usage(group_use.as_ref(), resident_bytes, now.host.memory_total_bytes),
        threads: sum(own().map(|process| process.threads.map(u64::from)))
            .map(|threads| u32::try_from(threads).unwrap_or(u32::MAX)),
        open_files: open_files.and_then(|process| process.open_files),
        open_files_limit: open_files.and_then(|process| process.open_files_limit),
        listen_queue: listen_queue(now, service, &processes),
        // The tables in `/proc` do not tell.
        listen_queue_limit: None,
        listen_overflows_per_second: over.and_then(|over| listen_overflows(over, now, service, &processes)),
        started_wall_ns: own()
            .min_by_key(|process| process.started_ns)
            .and_then(|process| process.started_wall_ns),
        pod: group.and_then(|(_, group)| group.pod.as_ref()).map(ToString::to_string),
        group: group_use,
    }
}

/// The control groups that most of the processes are in; of several, those of the oldest process.
fn own_group<'a>(processes: &[(u32, &'a ProcessReading)]) -> Option<&'a Arc<str>> {
    let mut members: HashMap<&Arc<str>, (usize, u64)> = HashMap::new();
    for (_, process) in processes {
        if let Some(group) = &process.group {
            let (count, oldest) = members.entry(group).or_insert((0, u64::MAX));
            *count += 1;
            *oldest = process.started_ns.min(*oldest);
        }
    }
    members
        .into_iter()
        .max_by(|(a_text, (a, a_oldest)), (b_text, (b, b_oldest))| {
            a.cmp(b).then(b_oldest.cmp(a_oldest)).then(b_text.cmp(a_text))
        })
        .map(|(group, _)| group)
}

/// What living processes took since the reading before. One that started since then counts from its start, one that was
/// merely not known then does not count.
fn cpu_cores(over: Over<'_>, processes: &[(u32, &ProcessReading)]) -> Option<f64> {
    let taken = processes.iter().filter_map(|(pid, process)| {
        let known = over.previous.processes.get(pid);
        match known.filter(|known| known.started_ns == process.started_ns) {
            Some(known) => process.cpu_ns.checked_sub(known.cpu_ns),
            None => (process.started_ns >= over.previous.since_boot_ns?).then_some(process.cpu_ns),
        }
    });
    let taken = taken.fold(None, |sum: Option<u64>, ns| Some(sum.unwrap_or(0).saturating_add(ns)))?;
    Some(taken as f64 / over.over_ns as f64)
}

/// The sum of what is known, if anything is.
fn sum(figures: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    figures.flatten().fold(None, |sum: Option<u64>, figure| {
        Some(sum.unwrap_or(0).saturating_add(figure))
    })
}

/// How near a process is to its limit of open files. Without one it is farther than any, but those with more are nearer.
fn nearness(process: &ProcessReading) -> f64 {
    let files = f64::from(process.open_files.unwrap_or(0));
    match process.open_files_limit {
        Some(limit) => files / (limit as f64).max(1.0),
        None => -1.0 / (1.0 + files),
    }
}

/// A limit beyond the host's memory is none.
fn memory_usage(group: Option<&GroupUse>, resident_bytes: Option<u64>, host_bytes: Option<u64>) -> Option<f64> {
    let limited = group.and_then(|group| group.memory_bytes.zip(group.memory_limit_bytes));
    let (bytes, of) = limited
        .filter(|&(_, limit)| limit > 0 && host_bytes.is_none_or(|host| limit <= host))
        .or_else(|| resident_bytes.zip(host_bytes))?;
    ratio(bytes, of)
}

fn group_use(before: Option<(Over<'_>, &GroupReading)>, now: &GroupReading) -> GroupUse {
    let limits = || {
        now.cpu_limits.iter().filter_map(|limit| {
            let (over, before) = before?;
            let before = before.cpu_limits.iter().find(|before| before.depth == limit.depth)?;
            Some((over, before, limit))
        })
    };
    GroupUse {
        path: now.path.clone(),
        cpu_limit_cores: now.cpu_limits.iter().map(|limit| limit.cores).reduce(f64::min),
        throttled: limits()
            .filter_map(|(_, before, now)| throttled(before, now))
            .reduce(f64::max),
        throttled_seconds_per_second: limits()
            .filter_map(|(over, before, now)| {
                // Summed over the processors that it was throttled on.
                let ns = now.throttled_ns?.checked_sub(before.throttled_ns?)?;
                Some(ns as f64 / over.over_ns as f64)
            })
            .reduce(f64::max),
        memory_limit_bytes: now.memory_limit_bytes,
        memory_bytes: now.memory_bytes,
        oom_kills: now.oom_kills,
        pressure: now.pressure,
    }
}

/// Share of the periods since then; in none there was nothing to throttle.
fn throttled(before: &CpuLimit, now: &CpuLimit) -> Option<f64> {
    let periods = now.periods?.checked_sub(before.periods?)?;
    let throttled = now.throttled_periods?.checked_sub(before.throttled_periods?)?;
    Some(ratio(throttled, periods).unwrap_or(0.0))
}

/// The network namespaces of a service that listens on a port, each once.
fn networks(processes: &[(u32, &ProcessReading)]) -> Vec<u64> {
    let mut inodes: Vec<_> = processes.iter().filter_map(|(_, process)| process.network).collect();
    inodes.sort_unstable();
    inodes.dedup();
    inodes
}

fn listen_queue(now: &Reading, service: &ServiceReading, processes: &[(u32, &ProcessReading)]) -> Option<u32> {
    let port = service.service.port?;
    let waiting = networks(processes).into_iter().map(|inode| {
        let network = now.networks.get(&inode)?;
        network.waiting.get(&port).copied().map(u64::from)
    });
    sum(waiting).map(|waiting| u32::try_from(waiting).unwrap_or(u32::MAX))
}

fn listen_overflows(
    over: Over<'_>,
    now: &Reading,
    service: &ServiceReading,
    processes: &[(u32, &ProcessReading)],
) -> Option<f64> {
    service.service.port?;
    let overflows = networks(processes).into_iter().map(|inode| {
        let before = over.previous.networks.get(&inode)?.listen_overflows?;
        now.networks.get(&inode)?.listen_overflows?.checked_sub(before)
    });
    sum(overflows).map(|overflows| over.per_second(overflows))
}

#[cfg(test)]
mod tests;
