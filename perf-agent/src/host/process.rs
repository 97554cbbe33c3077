//! One process: `/proc/PID/stat`, its open files and its limits (proc(5)).

use std::fs;
use std::path::Path;

use super::columns::{columns, lines, number};
use super::files::Files;
use crate::resources::ProcessReading;

/// Open files that are counted one by one; of a process with more, on a kernel that does not tell the number, it is unknown.
pub(super) const COUNTED: usize = 65_536;

/// Open files that are counted one by one in one reading, over all processes.
pub(super) const COUNTED_PER_READING: usize = 4 * COUNTED;

const SECOND_NS: u64 = 1_000_000_000;

/// How to read processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processes {
    /// Clock ticks per second in `/proc`.
    ticks_per_second: u64,
    page_bytes: u64,
    /// The size of `/proc/PID/fd` is the number of entries: since Linux 6.2.
    size_tells: bool,
}

/// What all processes of a reading share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    /// When the system started, nanoseconds since 1970.
    pub(super) boot_wall_ns: Option<u64>,
    /// Open files that may still be counted.
    pub(super) to_count: usize,
}

impl Processes {
    pub(super) fn new(files: &Files) -> Self {
        let own = files.path("proc/self/fd");
        let is_proc = rustix::fs::statfs(&own).is_ok_and(|stat| stat.f_type == rustix::fs::PROC_SUPER_MAGIC);
        Self {
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            page_bytes: rustix::param::page_size() as u64,
            size_tells: is_proc && fs::metadata(own).is_ok_and(|metadata| metadata.len() > 0),
        }
    }

    /// One process, without what lasts (its limit, its groups and its network); `None` if it is gone.
    pub(super) fn read(self, files: &mut Files, pid: u32, shared: &mut Shared) -> Option<ProcessReading> {
        let stat = Stat::of(files.read(&format!("proc/{pid}/stat"))?)?;
        let started_ns = self.ticks_ns(stat.started_ticks);
        let open_files = self.open_files(&files.path(&format!("proc/{pid}/fd")), shared);
        Some(ProcessReading {
            started_ns,
            started_wall_ns: shared.boot_wall_ns.map(|boot_ns| boot_ns.saturating_add(started_ns)),
            cpu_ns: self.ticks_ns(stat.cpu_ticks),
            resident_bytes: stat.resident_pages.map(|pages| pages.saturating_mul(self.page_bytes)),
            threads: stat.threads,
            open_files,
            open_files_limit: None,
            group: None,
            network: None,
        })
    }

    fn ticks_ns(self, ticks: u64) -> u64 {
        let ns = u128::from(ticks) * u128::from(SECOND_NS) / u128::from(self.ticks_per_second);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    fn open_files(self, folder: &Path, shared: &mut Shared) -> Option<u32> {
        if self.size_tells {
            return u32::try_from(fs::metadata(folder).ok()?.len()).ok();
        }
        let most = COUNTED.min(shared.to_count);
        let counted = fs::read_dir(folder).ok()?.take(most + 1).count();
        shared.to_count -= counted.min(most);
        (counted <= most).then(|| u32::try_from(counted).ok())?
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    started_ticks: u64,
    threads: Option<u32>,
    resident_pages: Option<u64>,
}

impl Stat {
    /// The name, in parentheses, may hold spaces and parentheses. A process that has ended and waits to be asked for is
    /// none.
    fn of(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|&byte| byte == b')')?;
        // The third field of proc(5) is the first one here.
        let mut after = columns(text.get(end + 1..)?);
        let state = after.next()?;
        if matches!(state, b"Z" | b"X" | b"x") {
            return None;
        }
        let user: u64 = number(after.nth(10)?)?;
        let system: u64 = number(after.next()?)?;
        let threads = number(after.nth(4)?);
        let started_ticks = number(after.nth(1)?)?;
        Some(Self {
            cpu_ticks: user.saturating_add(system),
            started_ticks,
            threads,
            resident_pages: after.nth(1).and_then(number),
        })
    }
}

/// How many files a process may open at once, by what `/proc/PID/limits` holds: the soft limit, which counts; none if it
/// is unlimited.
pub(super) fn open_files_limit(limits: &[u8]) -> Option<u64> {
    let line = lines(limits).find_map(|line| line.strip_prefix(b"Max open files"))?;
    number(columns(line).next()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        for name in [&b"cat"[..], b"a b) R 1", b"((", b"))", b"\xff\xfe", b""] {
            let mut text = b"12 (".to_vec();
            text.extend(name);
            text.extend(
                b") S 1 1 1 0 -1 4194304 103 0 0 0 40 2 0 0 20 0 7 0 132268 3133440 412 18446744073709551615 1\n",
            );
            assert_eq!(
                Stat::of(&text),
                Some(Stat {
                    cpu_ticks: 42,
                    started_ticks: 132_268,
                    threads: Some(7),
                    resident_pages: Some(412),
                })
            );
        }
    }

    #[test]
    fn an_ended_process_is_none() {
        let line = |state: &str| format!("12 (cat) {state} 1 1 1 0 -1 0 0 0 0 0 40 2 0 0 20 0 7 0 5 0 0");
        assert!(Stat::of(line("S").as_bytes()).is_some());
        assert_eq!(Stat::of(line("Z").as_bytes()), None);
    }

    #[test]
    fn missing_columns_and_numbers_that_are_none_are_told_apart() {
        let of = |text: &str| Stat::of(text.as_bytes());
        for text in [
            "",
            ")",
            "12 (cat",
            "12 (cat) S",
            "12 (cat) S 1 1 1 0 -1 0 0 0 0 0 40 2 0 0 20 0 7",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(of("12 (cat) S 1 1 1 0 -1 0 0 0 0 0 40 x 0 0 20 0 7 0 5 0 0"), None);
        let huge = of("12 (cat) S 1 1 1 0 -1 0 0 0 0 0 18446744073709551615 2 0 0 20 0 -7 0 5");
        assert_eq!(
            huge,
            Some(Stat {
                cpu_ticks: u64::MAX,
                started_ticks: 5,
                threads: None,
                resident_pages: None,
            })
        );
    }

    #[test]
    fn the_soft_limit_counts() {
        let limits = |text: &str| open_files_limit(text.as_bytes());
        let text =
            "Limit      Soft Limit   Hard Limit   Units\nMax open files            1024        4096      files\n";
        assert_eq!(limits(text), Some(1024));
        assert_eq!(limits("Max open files   unlimited   unlimited  files\n"), None);
        assert_eq!(limits("Max open files"), None);
        assert_eq!(limits(""), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let stat = Stat::of(&text);
            prop_assert!(stat.is_none() || text.contains(&b')'));
            let limit = open_files_limit(&text);
            prop_assert!(limit.is_none() || text.starts_with(b"Max open files") || text.contains(&b'\n'));
        }
    }
}
