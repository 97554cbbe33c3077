//! Control groups, of both versions (cgroups(7)): their limits, how they fare with them, and the limits of those that
//! they are in.
//!
//! Which hierarchy has a controller is told by each process's own list: `N:memory:/path` is version 1, `0::/path` version 2,
//! and both may be there (the hybrid layout of systemd, where version 2 has no controllers but pressure).

use hashbrown::HashMap;

use super::columns::{columns, number, number_of, one_number};
use super::files::Files;
use crate::process::pod;
use crate::resources::{CpuLimit, GroupReading, Pressures};

/// Groups in groups that are looked at, from the inmost.
const DEPTH: usize = 32;

/// What is at least this much is version 1's way to say that there is no limit (the greatest number of whole pages).
const UNLIMITED: i64 = 1 << 62;

/// Where control groups are mounted, below the root.
const MOUNTED: &str = "sys/fs/cgroup";

/// Reads control groups; remembers within a reading those that others are in.
#[derive(Debug, Default)]
pub(super) struct Groups {
    cpu: HashMap<String, Option<Quota>>,
    memory: HashMap<String, Option<Memory>>,
}

/// A group's own limit of processor time.
#[derive(Clone, Copy, Debug)]
struct Quota {
    cores: f64,
    periods: Option<u64>,
    throttled_periods: Option<u64>,
    throttled_ns: Option<u64>,
}

/// A group's own limit of memory, and what it takes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    limit_bytes: u64,
    bytes: u64,
}

/// The version of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A controller's hierarchy, and a group's path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place<'a> {
    version: Version,
    /// Below the root.
    mounted: String,
    /// With `/` before it, without one behind; empty for the root.
    path: &'a str,
}

impl Place<'_> {
    fn file(&self, name: &str) -> String {
        format!("{}{}/{name}", self.mounted, self.path)
    }

    fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// The group and those that it is in, from the inmost.
    fn up(&self) -> impl Iterator<Item = Self> {
        let first = Some(self.path);
        std::iter::successors(first, |path| path.rfind('/').map(|slash| &path[..slash]))
            .take(DEPTH)
            .map(|path| Self {
                version: self.version,
                mounted: self.mounted.clone(),
                path,
            })
    }

    fn depth(&self) -> usize {
        self.path.matches('/').count()
    }
}

/// A process's places by controller.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places<'a> {
    cpu: Option<Place<'a>>,
    memory: Option<Place<'a>>,
    unified: Option<Place<'a>>,
}

impl<'a> Places<'a> {
    /// From `/proc/PID/cgroup`.
    fn of(text: &'a str, files: &Files) -> Self {
        let mut places = Self::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            // A path with `..` lies outside what is mounted for this control group namespace.
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                continue;
            }
            let path = path.strip_suffix('/').unwrap_or(path);
            if number == "0" && controllers.is_empty() {
                let hybrid = files.path(&format!("{MOUNTED}/unified")).is_dir();
                places.unified = Some(Place {
                    version: Version::Two,
                    mounted: format!("{MOUNTED}{}", if hybrid { "/unified" } else { "" }),
                    path,
                });
                continue;
            }
            for controller in controllers.split(',') {
                let place = match controller {
                    "cpu" => &mut places.cpu,
                    "memory" => &mut places.memory,
                    _ => continue,
                };
                // `cpu,cpuacct` is one directory, to which the others usually are links.
                let together = format!("{MOUNTED}/{controllers}");
                let mounted = if !controllers.contains(['/', '.']) && files.path(&together).is_dir() {
                    together
                } else {
                    format!("{MOUNTED}/{controller}")
                };
                *place = Some(Place {
                    version: Version::One,
                    mounted,
                    path,
                });
            }
        }
        if let Some(unified) = &places.unified {
            places.cpu.get_or_insert_with(|| unified.clone());
            places.memory.get_or_insert_with(|| unified.clone());
        }
        places
    }
}

impl Groups {
    /// Another reading begins.
    pub(super) fn begin(&mut self) {
        self.cpu.clear();
        self.memory.clear();
    }

    /// The control groups of a process, by what `/proc/PID/cgroup` holds.
    pub(super) fn read(&mut self, files: &mut Files, text: &str) -> Option<GroupReading> {
        let places = Places::of(text, files);
        // The one that pods and units are told by first.
        let named = places.memory.as_ref().or(places.cpu.as_ref())?;
        let path = match &places.unified {
            Some(unified) if named.is_root() => unified.path,
            _ => named.path,
        };
        let mut group = GroupReading {
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            pod: text
                .lines()
                .find_map(|line| pod(line.splitn(3, ':').nth(2).unwrap_or_default())),
            ..GroupReading::default()
        };
        if let Some(cpu) = &places.cpu {
            for place in cpu.up() {
                let quota = *self.cpu.entry(place.file("")).or_insert_with(|| quota(files, &place));
                group.cpu_limits.extend(quota.map(|quota| CpuLimit {
                    depth: place.depth(),
                    cores: quota.cores,
                    periods: quota.periods,
                    throttled_periods: quota.throttled_periods,
                    throttled_ns: quota.throttled_ns,
                }));
            }
        }
        if let Some(memory) = &places.memory {
            let tightest = memory
                .up()
                .filter_map(|place| {
                    *self
                        .memory
                        .entry(place.file(""))
                        .or_insert_with(|| limited_memory(files, &place))
                })
                .min_by_key(|memory| memory.limit_bytes.saturating_sub(memory.bytes));
            group.memory_limit_bytes = tightest.map(|memory| memory.limit_bytes);
            group.memory_bytes = match tightest {
                Some(memory) => Some(memory.bytes),
                None if memory.is_root() => None,
                None => memory_bytes(files, memory),
            };
            group.oom_kills = match memory.version {
                Version::One => files.read(&memory.file("memory.oom_control")),
                Version::Two => files.read(&memory.file("memory.events")),
            }
            .and_then(|text| number_of(text, b"oom_kill"));
        }
        // The root's is the host's.
        if let Some(unified) = places.unified.as_ref().filter(|unified| !unified.is_root()) {
            group.pressure = Pressures {
                cpu: files.read(&unified.file("cpu.pressure")).and_then(super::pressure::of),
                memory: files
                    .read(&unified.file("memory.pressure"))
                    .and_then(super::pressure::of),
                io: files.read(&unified.file("io.pressure")).and_then(super::pressure::of),
            };
        }
        Some(group)
    }
}

fn quota(files: &mut Files, place: &Place<'_>) -> Option<Quota> {
    let (quota, period): (i64, i64) = match place.version {
        Version::One => (
            files.read(&place.file("cpu.cfs_quota_us")).and_then(one_number)?,
            files.read(&place.file("cpu.cfs_period_us")).and_then(one_number)?,
        ),
        Version::Two => {
            // `max 100000` if there is none.
            let mut columns = columns(files.read(&place.file("cpu.max"))?);
            (number(columns.next()?)?, number(columns.next()?)?)
        }
    };
    if quota <= 0 || period <= 0 {
        return None;
    }
    let stat = files.read(&place.file("cpu.stat")).unwrap_or_default();
    Some(Quota {
        cores: quota as f64 / period as f64,
        periods: number_of(stat, b"nr_periods"),
        throttled_periods: number_of(stat, b"nr_throttled"),
        throttled_ns: match place.version {
            Version::One => number_of(stat, b"throttled_time"),
            Version::Two => number_of(stat, b"throttled_usec").map(|us| us.saturating_mul(1_000)),
        },
    })
}

fn limited_memory(files: &mut Files, place: &Place<'_>) -> Option<Memory> {
    let limit = files.read(&place.file(match place.version {
        Version::One => "memory.limit_in_bytes",
        Version::Two => "memory.max",
    }));
    // `max` if there is none.
    let limit = limit.and_then(one_number).filter(|limit| *limit < UNLIMITED)?;
    Some(Memory {
        limit_bytes: u64::try_from(limit).ok()?,
        bytes: memory_bytes(files, place)?,
    })
}

/// What a group takes, without the file cache that is not in use: the kernel drops that before it kills anybody.
fn memory_bytes(files: &mut Files, place: &Place<'_>) -> Option<u64> {
    let (taken, inactive): (_, &[&[u8]]) = match place.version {
        Version::One => ("memory.usage_in_bytes", &[b"total_inactive_file", b"inactive_file"]),
        Version::Two => ("memory.current", &[b"inactive_file"]),
    };
    let taken = files.read(&place.file(taken)).and_then(one_number)?;
    let stat = files.read(&place.file("memory.stat")).unwrap_or_default();
    let inactive = inactive.iter().find_map(|key| number_of(stat, key)).unwrap_or(0);
    Some(u64::try_from(taken).ok()?.saturating_sub(inactive))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_process_has_a_place_per_controller() {
        let files = Files::new(Path::new("/nowhere"));
        let text = "9:name=systemd:/s\n4:memory:/m/n\n2:cpu,cpuacct:/c\n0::/u\n";
        let places = Places::of(text, &files);
        let place = |version, mounted: &str, path| {
            Some(Place {
                version,
                mounted: format!("{MOUNTED}{mounted}"),
                path,
            })
        };
        assert_eq!(places.memory, place(Version::One, "/memory", "/m/n"));
        assert_eq!(places.cpu, place(Version::One, "/cpu", "/c"));
        assert_eq!(places.unified, place(Version::Two, "", "/u"));
        let places = Places::of("0::/a/b\n", &files);
        assert_eq!(places.memory, place(Version::Two, "", "/a/b"));
        assert_eq!(places.cpu, places.memory);
    }

    #[test]
    fn what_lies_outside_the_namespace_or_is_no_list_has_no_place() {
        let files = Files::new(Path::new("/nowhere"));
        for text in ["0::/../../a", "0::/a/..", "", "0:", "::", "0::a", "4:memory:/..\n"] {
            assert_eq!(Places::of(text, &files), Places::default(), "{text}");
        }
    }

    #[test]
    fn groups_are_walked_up_to_the_root() {
        let files = Files::new(Path::new("/nowhere"));
        let paths = |text| {
            let place = Places::of(text, &files).memory.unwrap();
            place
                .up()
                .map(|place| (place.path.to_owned(), place.depth()))
                .collect::<Vec<_>>()
        };
        let expected = [("/a/b", 2), ("/a", 1), ("", 0)].map(|(path, depth)| (path.to_owned(), depth));
        assert_eq!(paths("0::/a/b"), expected);
        assert_eq!(paths("0::/"), [(String::new(), 0)]);
        let deep = format!("0::{}", "/x".repeat(100));
        assert_eq!(paths(deep.as_str()).len(), DEPTH);
    }
}
