//! The host itself.

use std::path::Path;

use sysinfo::{MemoryRefreshKind, System};

use super::columns::{columns, lines, number};
use super::files::Files;
use super::pressure;
use crate::resources::{CpuTime, DiskReading, FileSystemUse, HostReading, InterfaceReading};

/// Devices, file systems and interfaces that are listed, of each.
pub(super) const LISTED: usize = 256;

/// A sector in `/proc/diskstats`, whatever the device's are.
const SECTOR_BYTES: u64 = 512;

/// File systems on block devices of this host: asking them does not ask another host or program.
const LOCAL: [&[u8]; 14] = [
    b"ext2",
    b"ext3",
    b"ext4",
    b"xfs",
    b"btrfs",
    b"zfs",
    b"f2fs",
    b"bcachefs",
    b"jfs",
    b"reiserfs",
    b"nilfs2",
    b"vfat",
    b"exfat",
    b"ntfs3",
];

/// What is needed to read the host.
#[derive(Debug)]
pub(super) struct Totals {
    /// `None` below another root, since sysinfo reads this host only.
    system: Option<System>,
}

/// What `/proc/stat` tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    cpu: Option<CpuTime>,
    processors: u32,
    /// When the system started, seconds since 1970.
    boot_s: Option<u64>,
}

impl Totals {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            system: (root == Path::new("/")).then(|| System::new().ok()).flatten(),
        }
    }

    /// The host, and when it started, nanoseconds since 1970.
    pub(super) fn read(&mut self, files: &mut Files) -> (HostReading, Option<u64>) {
        let stat = Stat::of(files.read("proc/stat").unwrap_or_default());
        let mut host = HostReading {
            cpu: stat.cpu,
            processors: stat.processors,
            pressure: pressure::read(files),
            disks: disks(files),
            file_systems: file_systems(files),
            interfaces: interfaces(files),
            ..HostReading::default()
        };
        if let Some(system) = &mut self.system {
            system.refresh_memory_specifics(MemoryRefreshKind::everything());
            // What could not be read is 0.
            if system.total_memory() > 0 {
                host.memory_total_bytes = Some(system.total_memory());
                host.memory_available_bytes = Some(system.available_memory());
                host.swap_used_bytes = Some(system.used_swap());
            }
            host.load = load();
        }
        let boot_ns = stat.boot_s.map(|seconds| seconds.saturating_mul(1_000_000_000));
        (host, boot_ns)
    }
}

fn load() -> Option<[f64; 3]> {
    let load = System::load_average().ok()?;
    Some([load.one, load.five, load.fifteen])
}

/// Nanoseconds since the system started.
pub(super) fn since_boot_ns(files: &mut Files) -> Option<u64> {
    // `1234.56 …`: seconds to the hundredth.
    let text = std::str::from_utf8(columns(files.read("proc/uptime")?).next()?).ok()?;
    let (seconds, hundredths) = text.split_once('.')?;
    let (seconds, hundredths): (u64, u64) = (seconds.parse().ok()?, hundredths.parse().ok()?);
    (hundredths < 100)
        .then(|| seconds.checked_mul(1_000_000_000)?.checked_add(hundredths * 10_000_000))
        .flatten()
}

impl Stat {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut stat = Self::default();
        for line in lines(text) {
            let mut columns = columns(line);
            match columns.next() {
                Some(b"cpu") => stat.cpu = cpu_time(columns),
                Some(b"btime") => stat.boot_s = columns.next().and_then(number),
                Some(name) if is_processor(name) => stat.processors = stat.processors.saturating_add(1),
                _ => {}
            }
        }
        stat
    }
}

fn is_processor(name: &[u8]) -> bool {
    name.strip_prefix(b"cpu")
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// `user nice system idle iowait irq softirq steal guest guest_nice`. Guests' time is in `user` and `nice` already; kernels
/// before 2.6.11 end earlier.
fn cpu_time<'a>(times: impl Iterator<Item = &'a [u8]>) -> Option<CpuTime> {
    let mut time = CpuTime::default();
    let mut seen = 0;
    for (place, column) in times.take(8).enumerate() {
        let sum = if matches!(place, 3 | 4) {
            &mut time.idle
        } else {
            &mut time.busy
        };
        *sum = sum.checked_add(number(column)?)?;
        seen += 1;
    }
    (seen >= 4).then_some(time)
}

/// Whole devices that were ever used; partitions are parts of them.
fn disks(files: &mut Files) -> Vec<DiskReading> {
    let mut disks: Vec<_> = lines(files.read("proc/diskstats").unwrap_or_default())
        .filter_map(disk)
        .take(LISTED * 8)
        .collect();
    // As the kernel does: a name may hold a slash, a file's may not.
    disks.retain(|disk| {
        files
            .path(&format!("sys/block/{}", disk.name.replace('/', "!")))
            .exists()
    });
    disks.truncate(LISTED);
    disks
}

/// `major minor name reads merged sectors ms writes merged sectors ms in_flight busy_ms …`
fn disk(line: &[u8]) -> Option<DiskReading> {
    let mut columns = columns(line);
    let name = std::str::from_utf8(columns.nth(2)?).ok()?;
    let read: u64 = number(columns.nth(2)?)?;
    let written: u64 = number(columns.nth(3)?)?;
    let busy_ms: u64 = number(columns.nth(2)?)?;
    (read > 0 || written > 0).then(|| DiskReading {
        name: name.to_owned(),
        read_bytes: read.saturating_mul(SECTOR_BYTES),
        written_bytes: written.saturating_mul(SECTOR_BYTES),
        busy_ns: busy_ms.saturating_mul(1_000_000),
    })
}

/// The host's interfaces, where its first process may be asked for them, else those of the own network namespace.
fn interfaces(files: &mut Files) -> Vec<InterfaceReading> {
    let path = if files.path("proc/1/net/dev").exists() {
        "proc/1/net/dev"
    } else {
        "proc/net/dev"
    };
    lines(files.read(path).unwrap_or_default())
        .filter_map(interface)
        .filter(|interface| interface.name != "lo")
        .take(LISTED)
        .collect()
}

/// `name: bytes packets errors drops …` received, and after eight columns the same sent.
fn interface(line: &[u8]) -> Option<InterfaceReading> {
    let colon = line.iter().rposition(|&byte| byte == b':')?;
    let name = std::str::from_utf8(line.get(..colon)?.trim_ascii()).ok()?;
    let mut figures = [0_u64; 12];
    let mut columns = columns(line.get(colon + 1..)?);
    for figure in &mut figures {
        *figure = number(columns.next()?)?;
    }
    let [
        received_bytes,
        _,
        errors,
        drops,
        ..,
        sent_bytes,
        _,
        send_errors,
        send_drops,
    ] = figures;
    let faults = [errors, drops, send_errors, send_drops];
    Some(InterfaceReading {
        name: name.to_owned(),
        received_bytes,
        sent_bytes,
        faults: faults.into_iter().fold(0, u64::saturating_add),
    })
}

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    mounted_on: String,
}

fn file_systems(files: &mut Files) -> Vec<FileSystemUse> {
    // As the host's first process sees them, where it may be asked.
    let (mounts, seen_from) = match files.read("proc/1/mountinfo") {
        Some(text) => (mounts(text), "proc/1/root"),
        None => (mounts(files.read("proc/self/mountinfo").unwrap_or_default()), ""),
    };
    mounts
        .into_iter()
        .filter_map(|mount| {
            let inside = mount.mounted_on.trim_start_matches('/');
            let seen = rustix::fs::statvfs(files.path(seen_from).join(inside));
            let stat = seen
                .or_else(|_| rustix::fs::statvfs(files.path(inside)))
                .ok()
                .filter(|stat| stat.f_blocks > 0)?;
            Some(FileSystemUse {
                mounted_on: mount.mounted_on,
                total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
                available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            })
        })
        .collect()
}

/// Local file systems, each where it is mounted nearest to the root: containers mount parts of them all over.
fn mounts(mountinfo: &[u8]) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    for mount in lines(mountinfo).filter_map(mount) {
        if let Some(known) = found.iter_mut().find(|known| known.device == mount.device) {
            if mount.mounted_on.len() < known.mounted_on.len() {
                *known = mount;
            }
        } else if found.len() < LISTED {
            found.push(mount);
        }
    }
    found
}

/// `id parent major:minor root mounted_on options … - type source options`
fn mount(line: &[u8]) -> Option<Mount> {
    let mut columns = columns(line);
    let device = std::str::from_utf8(columns.nth(2)?).ok()?;
    let mounted_on = unescaped(columns.nth(1)?)?;
    columns.find(|column| *column == b"-")?;
    let kind = columns.next()?;
    (LOCAL.contains(&kind) && mounted_on.starts_with('/')).then(|| Mount {
        device: device.to_owned(),
        mounted_on,
    })
}

/// Spaces and the like stand as `\040`.
fn unescaped(column: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(column.len());
    let mut rest = column;
    while let Some((&first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        };
        if let Some((digits, after)) = after.split_at_checked(3).filter(|_| first == b'\\') {
            bytes.push(octal(digits)?);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn processors_time_is_idle_or_not() {
        let text = b"cpu  100 20 30 1000 200 3 4 50 90 10\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5 5\nbtime 1700000000\ncpuidle 4\n";
        assert_eq!(
            Stat::of(text),
            Stat {
                cpu: Some(CpuTime { busy: 207, idle: 1200 }),
                processors: 2,
                boot_s: Some(1_700_000_000),
            }
        );
        for text in ["", "cpu", "cpu 1 2 3", "cpu 1 2 x 4", "cpu 18446744073709551615 1 1 1"] {
            assert_eq!(Stat::of(text.as_bytes()), Stat::default(), "{text}");
        }
    }

    #[test]
    fn a_disk_has_bytes_and_time() {
        let line =
            b" 254       0 vda 45133 4915 5549186 74788 11579 54478 39812712 198849 0 15160 275159 4533 66 110432";
        assert_eq!(
            disk(line),
            Some(DiskReading {
                name: "vda".into(),
                read_bytes: 5_549_186 * 512,
                written_bytes: 39_812_712 * 512,
                busy_ns: 15_160_000_000,
            })
        );
        assert_eq!(disk(b"   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0"), None);
        assert_eq!(disk(b" 254 0 vda 1 2 3 4 5 6 7 8 9"), None);
    }

    #[test]
    fn an_interface_has_bytes_and_faults() {
        let line = b"  eth0: 64508566    3417    1    2    0     0          0         0   208820    2023    3    4    0     0       0          0";
        assert_eq!(
            interface(line),
            Some(InterfaceReading {
                name: "eth0".into(),
                received_bytes: 64_508_566,
                sent_bytes: 208_820,
                faults: 10,
            })
        );
        assert_eq!(interface(b" face |bytes    packets errs drop fifo"), None);
        assert_eq!(interface(b"eth0: 1 2 3"), None);
        assert_eq!(
            interface(b"eth0:1 2 3 4 5 6 7 8 9 10 11 12").map(|interface| interface.faults),
            Some(3 + 4 + 11 + 12)
        );
    }

    #[test]
    fn a_file_system_is_listed_once_and_those_of_others_never() {
        let text = b"22 27 0:21 / /proc rw,relatime - proc proc rw
30 27 254:1 /sub /var/lib/kubelet/pods/x rw shared:1 - ext4 /dev/vdb rw
31 27 254:1 / /my\\040data rw - ext4 /dev/vdb rw
32 27 0:50 / /mnt/remote rw - nfs4 server:/ rw
33 27 0:51 / /mnt/program rw - fuse.sshfs other: rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
34 27 254:9 / /bad\\0 rw - ext4 /dev/vdc rw
35 27 254:9
";
        let mounts: Vec<_> = mounts(text)
            .into_iter()
            .map(|mount| (mount.device, mount.mounted_on))
            .collect();
        let expected = [("254:1", "/my data"), ("254:0", "/"), ("254:9", "/bad\\0")];
        assert_eq!(mounts, expected.map(|(device, on)| (device.to_owned(), on.to_owned())));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Stat::of(&text).processors as usize <= text.len());
            prop_assert!(mounts(&text).len() <= LISTED);
            for line in lines(&text) {
                prop_assert!(disk(line).is_none_or(|disk| disk.read_bytes > 0 || disk.written_bytes > 0));
                prop_assert!(interface(line).is_none_or(|interface| interface.name.len() < line.len()));
            }
        }
    }
}
