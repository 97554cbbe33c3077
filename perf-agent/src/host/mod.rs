//! Reads what the host and the observed services take: `/proc`, `/sys` and control groups. An edge: what follows from the
//! figures is [`crate::resources`]'s.
//!
//! Nothing here is changed, and nothing is sent: files are read. What is not there (older kernels, containers, `hidepid`,
//! processes that ended meanwhile) is unknown and nothing to tell of. Reading takes a moment: it belongs into a thread of
//! its own. `CAP_SYS_PTRACE` is needed for other users' network namespaces, and before Linux 6.2 `CAP_DAC_READ_SEARCH` to
//! count their open files.
//!
//! The host's memory, swap space and load are [`sysinfo`]'s. Read by hand is what it lacks, or does at a price: processors'
//! time (it keeps the counters to itself and tells the share since it was asked last, by its own clock), how busy disks
//! are, what interfaces dropped (and it opens a dozen files for each), pressure, and file systems (it asks every one that is
//! mounted, also those of user-space programs, where asking may take for ever).

mod columns;
mod files;
mod group;
mod network;
mod pressure;
mod process;
mod totals;

use std::path::Path;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use self::files::Files;
use self::group::Groups;
use self::process::{Processes, Shared};
use self::totals::Totals;
use crate::process::Service;
use crate::resources::{Reading, ServiceReading};

/// Processes that are looked at in one reading. More are only counted.
pub const PROCESSES: usize = 4_096;

/// Readings over which a process's limit, groups and network namespace are taken to be the same: a minute, as a rule.
const LASTING: u32 = 6;

/// Reads the host; keeps its buffers.
#[derive(Debug)]
pub struct Reader {
    files: Files,
    totals: Totals,
    processes: Processes,
    groups: Groups,
    lasting: HashMap<u32, Lasting>,
    readings: u32,
}

/// What seldom changes about a process: it is read again at every [`LASTING`]th reading.
#[derive(Clone, Debug)]
struct Lasting {
    started_ns: u64,
    open_files_limit: Option<u64>,
    /// What `/proc/PID/cgroup` holds.
    group: Option<Arc<str>>,
    /// Inode of the network namespace, if it was asked for.
    network: Option<u64>,
    is_listening: bool,
}

impl Reader {
    /// Of the system whose `/proc` and `/sys` lie below the root. Memory and load are known of this system (`/`) only.
    pub fn new(root: &Path) -> Self {
        let files = Files::new(root);
        Self {
            totals: Totals::new(root),
            processes: Processes::new(&files),
            groups: Groups::default(),
            lasting: HashMap::new(),
            readings: 0,
            files,
        }
    }

    /// What the counters say now: of the host, and of the services' processes, each once.
    pub fn read(&mut self, services: &[Arc<Service>], at_ns: u64, wall_ns: u64) -> Reading {
        let (host, boot_wall_ns) = self.totals.read(&mut self.files);
        let mut reading = Reading {
            at_ns,
            wall_ns,
            since_boot_ns: totals::since_boot_ns(&mut self.files),
            host,
            ..Reading::default()
        };
        let mut asked = HashSet::new();
        let mut listening = HashSet::new();
        let mut beyond = HashSet::new();
        for service in services {
            for &pid in &service.pids {
                if asked.len() < PROCESSES || asked.contains(&pid) {
                    asked.insert(pid);
                    if service.key.port.is_some() {
                        listening.insert(pid);
                    }
                } else {
                    beyond.insert(pid);
                }
            }
        }
        reading.unread_processes = u32::try_from(beyond.len()).unwrap_or(u32::MAX);
        let mut shared = Shared {
            boot_wall_ns,
            to_count: process::COUNTED_PER_READING,
        };
        self.groups.begin();
        self.readings = self.readings.wrapping_add(1);
        let mut networks = HashMap::new();
        for &pid in &asked {
            let Some(mut process) = self.processes.read(&mut self.files, pid, &mut shared) else {
                continue;
            };
            let lasting = self.lasting(pid, process.started_ns, listening.contains(&pid));
            process.open_files_limit = lasting.open_files_limit;
            process.network = lasting.network;
            process.group = lasting.group.and_then(|text| self.group(text, &mut reading));
            // One of several processes is as good as another, unless it ends.
            networks.extend(process.network.map(|inode| (inode, pid)));
            reading.processes.insert(pid, process);
        }
        self.lasting.retain(|pid, _| reading.processes.contains_key(pid));
        for (inode, pid) in networks.into_iter().take(network::NAMESPACES) {
            reading.networks.insert(inode, network::read(&mut self.files, pid));
        }
        reading.services = services
            .iter()
            .filter_map(|service| {
                let read = |pid: &u32| reading.processes.contains_key(pid);
                let pids: Vec<_> = service.pids.iter().copied().filter(read).collect();
                (!pids.is_empty()).then(|| ServiceReading {
                    service: Arc::clone(&service.key),
                    pids,
                })
            })
            .collect();
        reading
    }

    /// What lasts of a process, read if it is not known or it is its turn.
    fn lasting(&mut self, pid: u32, started_ns: u64, is_listening: bool) -> Lasting {
        // Not all of them in the same reading.
        let is_due = self.readings.wrapping_add(pid).is_multiple_of(LASTING);
        let known = self
            .lasting
            .get(&pid)
            .filter(|known| !is_due && known.started_ns == started_ns && (known.is_listening || !is_listening));
        if let Some(known) = known {
            return Lasting {
                network: known.network.filter(|_| is_listening),
                ..known.clone()
            };
        }
        let limits = self.files.read(&format!("proc/{pid}/limits"));
        let open_files_limit = limits.and_then(process::open_files_limit);
        let group = self.files.read(&format!("proc/{pid}/cgroup"));
        let lasting = Lasting {
            started_ns,
            open_files_limit,
            group: group.and_then(|text| std::str::from_utf8(text).ok()).map(Arc::from),
            network: is_listening.then(|| network::namespace(&self.files, pid)).flatten(),
            is_listening,
        };
        self.lasting.insert(pid, lasting.clone());
        lasting
    }

    /// The control groups of a process, read if they are not yet.
    fn group(&mut self, text: Arc<str>, reading: &mut Reading) -> Option<Arc<str>> {
        if let Some((known, _)) = reading.groups.get_key_value(&text) {
            return Some(Arc::clone(known));
        }
        let group = self.groups.read(&mut self.files, &text)?;
        reading.groups.insert(Arc::clone(&text), group);
        Some(text)
    }
}

#[cfg(test)]
mod tests;
