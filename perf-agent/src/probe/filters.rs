//! The operator's selection as the kernel side understands it: marks on processes, executables, ports and control
//! groups, written to its maps.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{HashMap as BpfHashMap, MapData};
use perf_common::settings::{CGROUP_LEVELS, EXE_NAME_BYTES, filter, mark};

use crate::config::{CaptureSettings, Executable, Selection};
use crate::source::SourceError;

/// An executable's key in the kernel side's map: inode number (0 for any), then the file name, NUL-padded.
type ExeKey = [u8; 8 + EXE_NAME_BYTES];

/// The selection, resolved.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// The `FILTERS` global.
    pub filters: u32,
    /// The `CGROUP_DEPTHS` global.
    pub cgroup_depths: [u32; CGROUP_LEVELS],
    ports: HashMap<u16, u32>,
    cgroups: HashMap<u64, u32>,
    exes: HashMap<ExeKey, u32>,
    /// Named processes; their descendants are looked up when the hooks are on.
    pids: Vec<(u32, u32)>,
}

impl Marks {
    /// Resolves names to numbers.
    ///
    /// # Errors
    /// [`SourceError::Filter`] for a process, executable or control group that is not there.
    pub fn resolve(settings: &CaptureSettings) -> Result<Self, SourceError> {
        let mut marks = Self {
            cgroup_depths: [u32::MAX; CGROUP_LEVELS],
            ..Self::default()
        };
        marks.add(&settings.include, false)?;
        marks.add(&settings.exclude, true)?;
        Ok(marks)
    }

    fn add(&mut self, selection: &Selection, exclude: bool) -> Result<(), SourceError> {
        let pick = |include_bit: u32, exclude_bit: u32| if exclude { exclude_bit } else { include_bit };
        for &pid in &selection.pids {
            if !Path::new(&format!("/proc/{pid}")).exists() {
                let option = if exclude { "--exclude-pid" } else { "--pid" };
                return Err(SourceError::Filter {
                    option,
                    value: pid.to_string(),
                    reason: "no such process".to_owned(),
                });
            }
            self.filters |= pick(filter::PID_INCLUDE, filter::PID_EXCLUDE);
            self.pids.push((pid, pick(mark::PID_INCLUDED, mark::PID_EXCLUDED)));
        }
        for &port in &selection.ports {
            self.filters |= pick(filter::PORT_INCLUDE, filter::PORT_EXCLUDE);
            *self.ports.entry(port).or_default() |= pick(mark::INCLUDED, mark::EXCLUDED);
        }
        for executable in &selection.executables {
            let option = if exclude { "--exclude-exe" } else { "--exe" };
            let key = exe_key(executable).map_err(|reason| SourceError::Filter {
                option,
                value: executable.0.display().to_string(),
                reason,
            })?;
            self.filters |= pick(filter::EXE_INCLUDE, filter::EXE_EXCLUDE);
            *self.exes.entry(key).or_default() |= pick(mark::EXE_INCLUDED, mark::EXE_EXCLUDED);
        }
        for path in &selection.cgroups {
            let option = if exclude { "--exclude-cgroup" } else { "--cgroup" };
            let failed = |reason| SourceError::Filter {
                option,
                value: path.display().to_string(),
                reason,
            };
            let (id, depth) = cgroup(path).map_err(failed)?;
            if !self.cgroup_depths.contains(&depth) {
                let free = self.cgroup_depths.iter_mut().find(|slot| **slot == u32::MAX);
                *free.ok_or_else(|| failed(format!("groups at more than {CGROUP_LEVELS} different depths")))? = depth;
            }
            self.filters |= pick(filter::CGROUP_INCLUDE, filter::CGROUP_EXCLUDE);
            *self.cgroups.entry(id).or_default() |= pick(mark::INCLUDED, mark::EXCLUDED);
        }
        Ok(())
    }

    /// Do filters go by process, so that children must be followed?
    pub fn by_process(&self) -> bool {
        !self.pids.is_empty() || !self.exes.is_empty()
    }

    /// Writes what does not change while the agent runs.
    ///
    /// # Errors
    /// [`SourceError::Load`] if a map takes no more.
    pub fn write_fixed(&self, ebpf: &mut Ebpf) -> Result<(), SourceError> {
        write(ebpf, "PORTS", &self.ports)?;
        write(ebpf, "CGROUPS", &self.cgroups)?;
        write(ebpf, "EXES", &self.exes)
    }

    /// Marks the processes that run now: the named ones, their descendants, and those of the named executables.
    ///
    /// # Errors
    /// [`SourceError::Load`] if the map takes no more.
    pub fn write_processes(&self, ebpf: &mut Ebpf) -> Result<(), SourceError> {
        if !self.by_process() {
            return Ok(());
        }
        let running = running();
        let mut marks: HashMap<u32, u32> = HashMap::new();
        for &(root, bit) in &self.pids {
            for pid in descendants(root, &running) {
                *marks.entry(pid).or_default() |= bit;
            }
        }
        for &pid in running.keys() {
            let bits = self.marks_of_exe(pid);
            if bits != 0 {
                *marks.entry(pid).or_default() |= bits;
            }
        }
        write(ebpf, "PROCESSES", &marks)
    }

    fn marks_of_exe(&self, pid: u32) -> u32 {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let (Ok(path), Ok(file)) = (fs::read_link(&link), fs::metadata(&link)) else {
            return 0;
        };
        let name = path
            .file_name()
            .map(|name| name.as_bytes().to_vec())
            .unwrap_or_default();
        let name = name.strip_suffix(b" (deleted)").unwrap_or(&name);
        [0, file.ino()]
            .into_iter()
            .filter_map(|inode| self.exes.get(&key(inode, name)))
            .fold(0, |all, bits| all | bits)
    }
}

/// Adds a mark to those that a process has while the programs run. Nothing is added where the table is full.
pub fn add_mark(ebpf: &Mutex<Ebpf>, tgid: u32, what: u32) {
    let mut ebpf = ebpf.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(map) = ebpf.map_mut("PROCESSES") else { return };
    let Ok(mut processes) = BpfHashMap::<_, u32, u32>::try_from(map) else {
        return;
    };
    let marks = processes.get(&tgid, 0).unwrap_or(0);
    let _full = processes.insert(&tgid, &(marks | what), 0);
}

fn write<K: aya::Pod + Eq + std::hash::Hash>(
    ebpf: &mut Ebpf,
    name: &str,
    entries: &HashMap<K, u32>,
) -> Result<(), SourceError> {
    let failed = |source: aya::maps::MapError| SourceError::Load {
        what: format!("write filters to the map {name}"),
        source: Box::new(source),
    };
    let map = ebpf.map_mut(name).expect("the object has this map");
    let mut map: BpfHashMap<&mut MapData, K, u32> = BpfHashMap::try_from(map).map_err(failed)?;
    for (key, value) in entries {
        map.insert(key, value, 0).map_err(failed)?;
    }
    Ok(())
}

fn key(inode: u64, name: &[u8]) -> ExeKey {
    let mut key = [0; 8 + EXE_NAME_BYTES];
    key[..8].copy_from_slice(&inode.to_le_bytes());
    // The kernel's copy ends with a NUL as well.
    let length = name.len().min(EXE_NAME_BYTES - 1);
    key[8..8 + length].copy_from_slice(&name[..length]);
    key
}

/// By name alone, or by the file that an absolute path leads to.
fn exe_key(executable: &Executable) -> Result<ExeKey, String> {
    let path = &executable.0;
    if !path.is_absolute() {
        return Ok(key(0, path.as_os_str().as_bytes()));
    }
    let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
    let inode = fs::metadata(&real).map_err(|error| error.to_string())?.ino();
    let name = real.file_name().ok_or("it is a directory")?;
    Ok(key(inode, name.as_bytes()))
}

/// Id and depth of a control group: its directory's inode number, and how far below the root it is.
fn cgroup(path: &Path) -> Result<(u64, u32), String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let roots = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    let roots: Vec<_> = roots.filter_map(|line| line.split(' ').nth(4)).map(Path::new).collect();
    for root in &roots {
        // Below the root, as /proc/PID/cgroup has it, or a directory of the file system.
        for candidate in [&root.join(path.strip_prefix("/").unwrap_or(path)), path] {
            let Ok(real) = fs::canonicalize(candidate) else {
                continue;
            };
            if let Ok(below) = real.strip_prefix(root)
                && real.join("cgroup.procs").exists()
            {
                let depth = u32::try_from(below.components().count()).unwrap_or(u32::MAX - 1);
                let id = fs::metadata(&real).map_err(|error| error.to_string())?.ino();
                return Ok((id, depth));
            }
        }
    }
    match roots.first() {
        Some(root) => Err(format!(
            "no such control group below {} (version 1 groups have no id)",
            root.display()
        )),
        None => Err("no cgroup2 file system is mounted (version 1 groups have no id)".to_owned()),
    }
}

/// Every process and its parent.
fn running() -> HashMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the parent follows its end and the state.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}

/// A process and everything below it.
fn descendants(root: u32, running: &HashMap<u32, u32>) -> HashSet<u32> {
    let mut found = HashSet::from([root]);
    loop {
        let before = found.len();
        for (&pid, parent) in running {
            if found.contains(parent) {
                found.insert(pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_of_descendants_are_found() {
        let running = HashMap::from([(1, 0), (10, 1), (11, 10), (12, 11), (20, 1)]);
        assert_eq!(descendants(10, &running), HashSet::from([10, 11, 12]));
    }

    #[test]
    fn this_process_is_among_the_running_ones() {
        assert_eq!(
            running().get(&std::process::id()).copied(),
            Some(std::os::unix::process::parent_id())
        );
    }

    #[test]
    fn a_process_that_is_not_there_is_named_in_the_error() {
        let settings = CaptureSettings {
            include: Selection {
                pids: vec![u32::MAX],
                ..Selection::default()
            },
            ..CaptureSettings::default()
        };
        let Err(SourceError::Filter { option, value, .. }) = Marks::resolve(&settings) else {
            panic!("resolved")
        };
        assert_eq!((option, value.as_str()), ("--pid", "4294967295"));
    }
}
