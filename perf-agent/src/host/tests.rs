use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::process::ServiceKey;
use crate::resources::{CpuLimit, CpuTime, GroupReading, NetworkReading, ProcessReading, Resources};

mod live;

const MIB: u64 = 1 << 20;

/// A tree of files like those of the kernel.
pub(super) struct Tree {
    folder: TempDir,
}

impl Tree {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn with(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A process that started at 10 s and took 2 s, with three open files.
    fn with_process(self, pid: u32, cgroup: &str) -> Self {
        let mut tree = self
            .with(
                &format!("proc/{pid}/stat"),
                format!("{pid} (a (b) c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 7 0 1000 9999999 256 18446744073709551615 1\n"),
            )
            .with(
                &format!("proc/{pid}/limits"),
                "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n",
            )
            .with(&format!("proc/{pid}/cgroup"), cgroup);
        for file in 0..3 {
            tree = tree.with(&format!("proc/{pid}/fd/{file}"), "");
        }
        tree
    }

    fn with_network(self, pid: u32, inode: u64) -> Self {
        let link = self.path(&format!("proc/{pid}/ns/net"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(format!("net:[{inode}]"), link).unwrap();
        self.with(
            &format!("proc/{pid}/net/tcp"),
            "head\n 0: 00000000:1F90 00000000:0000 0A 00000000:00000004 00:0 0 0 0 1\n",
        )
        .with(
            &format!("proc/{pid}/net/tcp6"),
            "head\n 0: 0:1F90 0:0000 0A 00000000:00000001 00:0 0 0 0 1\n",
        )
        .with(
            &format!("proc/{pid}/net/netstat"),
            "TcpExt: ListenOverflows\nTcpExt: 12\n",
        )
    }

    fn reader(&self) -> Reader {
        Reader::new(self.folder.path())
    }

    fn read(&self, services: &[Arc<Service>]) -> Reading {
        self.reader().read(services, 1, 2)
    }

    /// The group of process 10, which alone is there.
    fn group(&self) -> GroupReading {
        let reading = self.read(&[service(None, &[10])]);
        let text = reading.processes[&10].group.clone().unwrap();
        reading.groups[&text].clone()
    }
}

fn service(port: Option<u16>, pids: &[u32]) -> Arc<Service> {
    Arc::new(Service {
        key: Arc::new(ServiceKey {
            name: "shop".into(),
            exe: None,
            container: None,
            unit: None,
            port,
            socket: None,
        }),
        pids: pids.to_vec(),
    })
}

#[test]
fn a_process_is_read() {
    let tree = Tree::new()
        .with("proc/stat", "cpu 1 2 3 4\ncpu0 1 2 3 4\nbtime 1700000000\n")
        .with("proc/uptime", "1234.56 1.00\n")
        .with_process(10, "0::/a\n")
        .with_network(10, 77);
    let reading = tree.read(&[service(Some(8080), &[10, 11])]);
    let second_ns = 1_000_000_000;
    let ticks = rustix::param::clock_ticks_per_second();
    assert_eq!(
        reading.processes.into_iter().collect::<Vec<_>>(),
        [(
            10,
            ProcessReading {
                started_ns: 1000 * second_ns / ticks,
                started_wall_ns: Some(1_700_000_000 * second_ns + 1000 * second_ns / ticks),
                cpu_ns: 200 * second_ns / ticks,
                resident_bytes: Some(256 * rustix::param::page_size() as u64),
                threads: Some(7),
                open_files: Some(3),
                open_files_limit: Some(1024),
                group: Some("0::/a\n".into()),
                network: Some(77),
            }
        )]
    );
    assert_eq!((reading.at_ns, reading.wall_ns), (1, 2));
    assert_eq!(reading.since_boot_ns, Some(1_234_560_000_000));
    assert_eq!(reading.host.cpu, Some(CpuTime { busy: 6, idle: 4 }));
    // The other process is gone.
    assert_eq!(reading.services[0].pids, [10]);
    assert_eq!(
        reading.networks.into_iter().collect::<Vec<_>>(),
        [(
            77,
            NetworkReading {
                listen_overflows: Some(12),
                waiting: [(8080, 5)].into_iter().collect(),
            }
        )]
    );
}

#[test]
fn services_without_living_processes_are_left_out_and_clients_are_not_asked_for_their_network() {
    let tree = Tree::new().with_process(10, "0::/\n").with_network(10, 77);
    let reading = tree.read(&[service(Some(80), &[11]), service(None, &[10]), service(Some(81), &[])]);
    assert_eq!(reading.services.len(), 1);
    assert_eq!(reading.services[0].service.port, None);
    assert_eq!((reading.processes[&10].network, reading.networks.len()), (None, 0));
}

#[test]
fn processes_of_one_reading_are_bounded() {
    let tree = Tree::new().with_process(10, "0::/\n").with_process(1_000_000, "0::/\n");
    let many: Vec<u32> = (20..).take(PROCESSES - 1).collect();
    let reading = tree.read(&[
        service(None, &[10]),
        service(None, &many),
        service(Some(80), &[10, 1_000_000]),
        service(Some(81), &[1_000_000, 1_000_001]),
    ]);
    assert_eq!(reading.unread_processes, 2);
    assert_eq!(reading.processes.keys().collect::<Vec<_>>(), [&10]);
    assert_eq!(reading.services.len(), 2);
}

#[test]
fn an_empty_tree_tells_nothing() {
    let reading = Tree::new().read(&[service(Some(80), &[10])]);
    let resources = Resources::between(None, &reading);
    let expected = Resources {
        wall_ns: 2,
        ..Resources::default()
    };
    assert_eq!(resources, expected);
}

#[test]
fn the_hosts_devices_are_listed_without_partitions_and_loopback() {
    let tree = Tree::new()
        .with("sys/block/vda/dev", "254:0")
        .with("sys/block/cciss!c0d0/dev", "104:0")
        .with(
            "proc/diskstats",
            "254 0 vda 1 0 10 0 1 0 20 0 0 30 0\n254 1 vda1 1 0 10 0 1 0 20 0 0 30 0\n104 0 cciss/c0d0 1 0 1 0 1 0 1 0 0 1 0\n",
        )
        .with(
            "proc/1/net/dev",
            "Inter-|\n face |\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12\n",
        )
        .with("proc/1/mountinfo", "27 1 254:0 / /data rw - ext4 /dev/vda rw\n28 1 254:1 / /gone rw - xfs /dev/vdb rw\n")
        .with("proc/1/root/data/file", "")
        .with("proc/pressure/io", "some avg10=50.00\n");
    let host = tree.read(&[]).host;
    let disks: Vec<_> = host.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(disks, ["vda", "cciss/c0d0"]);
    let interfaces: Vec<_> = host
        .interfaces
        .iter()
        .map(|interface| interface.name.as_str())
        .collect();
    assert_eq!(interfaces, ["eth0"]);
    let stat = rustix::fs::statvfs(tree.path("proc/1/root/data")).unwrap();
    assert_eq!(host.file_systems.len(), 1);
    assert_eq!(host.file_systems[0].mounted_on, "/data");
    assert_eq!(host.file_systems[0].total_bytes, stat.f_blocks * stat.f_frsize);
    assert_eq!(host.pressure.io.map(|pressure| pressure.some), Some(0.5));
    assert_eq!(host.pressure.cpu, None);
}

#[test]
fn limits_of_version_2_are_the_tightest_up_the_hierarchy() {
    let pod = "3dbd2b1f_7a7e_4f5c_9c5e_0d1f6a1b2c3d";
    let slice = format!("kubepods.slice/kubepods-pod{pod}.slice");
    let path = |file: &str| format!("sys/fs/cgroup/{slice}/{file}");
    let tree = Tree::new()
        .with_process(10, &format!("0::/{slice}/a.scope\n"))
        .with(&path("a.scope/cpu.max"), "200000 100000\n")
        .with(
            &path("a.scope/cpu.stat"),
            "usage_usec 1\nnr_periods 10\nnr_throttled 5\nthrottled_usec 7\n",
        )
        .with(&path("a.scope/memory.max"), format!("{}\n", 512 * MIB))
        .with(&path("a.scope/memory.current"), format!("{}\n", 100 * MIB))
        .with(
            &path("a.scope/memory.stat"),
            format!("anon 1\ninactive_file {}\n", 40 * MIB),
        )
        .with(&path("a.scope/memory.events"), "low 0\noom 4\noom_kill 3\n")
        .with(&path("a.scope/memory.pressure"), "some avg10=1.00\nfull avg10=0.50\n")
        .with(&path("cpu.max"), "50000 100000\n")
        .with(&path("cpu.stat"), "nr_periods 20\nnr_throttled 2\nthrottled_usec 9\n")
        // Less is left here, although it may take more.
        .with(&path("memory.max"), format!("{}\n", 1024 * MIB))
        .with(&path("memory.current"), format!("{}\n", 1000 * MIB))
        .with(&path("memory.stat"), "inactive_file 0\n")
        .with("sys/fs/cgroup/kubepods.slice/cpu.max", "max 100000\n")
        .with("sys/fs/cgroup/kubepods.slice/memory.max", "max\n");
    let limit = |depth, cores, periods, throttled_periods, us: u64| CpuLimit {
        depth,
        cores,
        periods: Some(periods),
        throttled_periods: Some(throttled_periods),
        throttled_ns: Some(us * 1_000),
    };
    let group = tree.group();
    assert_eq!(group.pressure.memory.map(|pressure| pressure.full), Some(Some(0.005)));
    assert_eq!(
        group,
        GroupReading {
            path: format!("/{slice}/a.scope"),
            pod: Some(pod.replace('_', "-").into()),
            cpu_limits: vec![limit(3, 2.0, 10, 5, 7), limit(2, 0.5, 20, 2, 9)],
            memory_limit_bytes: Some(1024 * MIB),
            memory_bytes: Some(1000 * MIB),
            oom_kills: Some(3),
            pressure: group.pressure,
        }
    );
}

#[test]
fn a_group_without_limits_tells_what_it_takes() {
    let tree = Tree::new()
        .with_process(10, "0::/system.slice/a.service\n")
        .with("sys/fs/cgroup/system.slice/a.service/cpu.max", "max 100000\n")
        .with("sys/fs/cgroup/system.slice/a.service/memory.max", "max\n")
        .with("sys/fs/cgroup/system.slice/a.service/memory.current", "5000\n")
        .with(
            "sys/fs/cgroup/system.slice/a.service/memory.stat",
            "inactive_file 6000\n",
        );
    assert_eq!(
        tree.group(),
        GroupReading {
            path: "/system.slice/a.service".into(),
            memory_bytes: Some(0),
            ..GroupReading::default()
        }
    );
}

#[test]
fn limits_of_version_1_are_read_from_each_controllers_hierarchy() {
    let tree = Tree::new()
        .with_process(
            10,
            "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n0::/\n",
        )
        .with("sys/fs/cgroup/unified/cgroup.controllers", "")
        .with("sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "150000\n")
        .with("sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n")
        .with(
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.stat",
            "nr_periods 9\nnr_throttled 3\nthrottled_time 77\n",
        )
        .with("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n")
        .with("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n")
        .with(
            "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
            "9223372036854771712\n",
        )
        .with("sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes", "1\n")
        .with(
            "sys/fs/cgroup/memory/docker/x/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        )
        .with("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "1000000\n")
        .with("sys/fs/cgroup/memory/docker/memory.usage_in_bytes", "900000\n")
        .with(
            "sys/fs/cgroup/memory/docker/memory.stat",
            "inactive_file 1\ntotal_inactive_file 400000\n",
        );
    assert_eq!(
        tree.group(),
        GroupReading {
            path: "/docker/x".into(),
            cpu_limits: vec![CpuLimit {
                depth: 2,
                cores: 1.5,
                periods: Some(9),
                throttled_periods: Some(3),
                throttled_ns: Some(77),
            }],
            memory_limit_bytes: Some(1_000_000),
            memory_bytes: Some(500_000),
            oom_kills: Some(2),
            ..GroupReading::default()
        }
    );
}

#[test]
fn hostile_limits_are_none() {
    for (max, memory) in [
        ("0 100000", "max"),
        ("100000 0", "-1"),
        ("-5 -5", ""),
        ("99999999999999999999 1", "99999999999999999999"),
        ("1", "12 34"),
        ("\u{fffd}", "\u{0}"),
    ] {
        let tree = Tree::new()
            .with_process(10, "0::/a\n")
            .with("sys/fs/cgroup/a/cpu.max", max)
            .with("sys/fs/cgroup/a/memory.max", memory);
        let expected = GroupReading {
            path: "/a".into(),
            ..GroupReading::default()
        };
        assert_eq!(tree.group(), expected, "{max} {memory}");
    }
}

#[test]
fn a_group_whose_path_is_no_text_or_leads_elsewhere_is_unknown() {
    for text in [&b"0::/\xff\n"[..], b"0::/../a\n", b"", b"garbage"] {
        let tree = Tree::new().with_process(10, "").with("proc/10/cgroup", text);
        let reading = tree.read(&[service(None, &[10])]);
        assert_eq!(reading.processes[&10].group, None);
        assert_eq!(reading.groups.len(), 0);
    }
}

#[test]
fn processes_of_one_group_share_what_was_read() {
    let tree = Tree::new()
        .with_process(10, "0::/a\n")
        .with_process(11, "0::/a\n")
        .with_process(12, "0::/b\n");
    let reading = tree.read(&[service(None, &[10, 11, 12])]);
    assert_eq!(reading.groups.len(), 2);
    let group = |pid| reading.processes[&pid].group.as_ref().unwrap();
    assert!(Arc::ptr_eq(group(10), group(11)));
}

#[test]
fn what_lasts_is_read_again_after_some_readings_or_when_the_process_is_another() {
    let tree = Tree::new().with_process(12, "0::/a\n").with_process(13, "0::/a\n");
    let mut reader = tree.reader();
    let services = [service(None, &[12, 13])];
    let limits = |reader: &mut Reader| {
        let reading = reader.read(&services, 1, 1);
        [12, 13].map(|pid| reading.processes[&pid].open_files_limit.unwrap())
    };
    assert_eq!(limits(&mut reader), [1024, 1024]);
    let other = "Max open files 9 9 files\n";
    let stat = fs::read_to_string(tree.path("proc/13/stat")).unwrap();
    let tree = tree
        .with("proc/12/limits", other)
        .with("proc/13/limits", other)
        .with("proc/13/stat", stat.replace(" 1000 ", " 1001 "));
    let seen: Vec<_> = (1..LASTING).map(|_| limits(&mut reader)).collect();
    assert_eq!(seen[0], [1024, 9]);
    assert_eq!(seen[LASTING as usize - 2], [9, 9]);
    drop(tree);
    assert_eq!(reader.read(&services, 1, 1).processes.len(), 0);
    assert_eq!(reader.lasting.len(), 0);
}

/// Every file that is read.
const READ: [&str; 28] = [
    "proc/stat",
    "proc/uptime",
    "proc/diskstats",
    "proc/pressure/cpu",
    "proc/1/net/dev",
    "proc/1/mountinfo",
    "proc/10/stat",
    "proc/10/limits",
    "proc/10/cgroup",
    "proc/10/net/tcp",
    "proc/10/net/tcp6",
    "proc/10/net/netstat",
    "sys/fs/cgroup/a/cpu.max",
    "sys/fs/cgroup/a/cpu.stat",
    "sys/fs/cgroup/a/memory.max",
    "sys/fs/cgroup/a/memory.current",
    "sys/fs/cgroup/a/memory.stat",
    "sys/fs/cgroup/a/memory.events",
    "sys/fs/cgroup/a/cpu.pressure",
    "sys/fs/cgroup/a/memory.pressure",
    "sys/fs/cgroup/a/io.pressure",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us",
    "sys/fs/cgroup/cpu/a/cpu.cfs_period_us",
    "sys/fs/cgroup/memory/a/memory.limit_in_bytes",
    "sys/fs/cgroup/memory/a/memory.usage_in_bytes",
    "sys/fs/cgroup/memory/a/memory.stat",
    "sys/fs/cgroup/memory/a/memory.oom_control",
];

/// What such files hold, in pieces that may stand anywhere.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..8),
        any::<u64>().prop_map(|number| format!(" {number} ").into_bytes()),
        any::<i64>().prop_map(|number| format!(" {number}\n").into_bytes()),
        proptest::sample::select(vec![
            "\n",
            " ",
            ":",
            "0::/a\n",
            "4:memory:/a\n",
            "2:cpu:/a\n",
            "10 (",
            ") S",
            " 0A ",
            "max",
            "some avg10=",
            "cpu ",
            "nr_periods",
            "inactive_file",
            "oom_kill",
            "TcpExt: ListenOverflows\nTcpExt:",
            "Max open files",
            "- ext4 ",
            "1e999",
            "NaN",
            "18446744073709551616",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_file_is_too_strange(
        texts in proptest::collection::vec(pieces(), READ.len()),
        // Without a process that can be read its groups and network are not.
        process in any::<bool>(),
        group in proptest::sample::select(vec!["0::/a\n", "4:memory:/a\n2:cpu:/a\n", ""]),
    ) {
        let mut tree = Tree::new();
        for (path, text) in READ.iter().zip(&texts) {
            tree = tree.with(path, text);
        }
        if process {
            tree = tree.with_process(10, group);
            tree = tree.with("proc/10/ns/other", "");
            symlink("net:[5]", tree.path("proc/10/ns/net")).unwrap();
        }
        let mut reader = tree.reader();
        let services = [service(Some(80), &[10, 1])];
        let before = reader.read(&services, 1, 1);
        // Others than before, in half of the files.
        for (path, text) in READ.iter().zip(texts.iter().rev()).step_by(2) {
            tree = tree.with(path, text);
        }
        let now = reader.read(&services, u64::MAX, u64::MAX);
        for resources in [Resources::between(Some(&before), &now), Resources::between(Some(&now), &before)] {
            let share = |share: Option<f64>| share.is_none_or(|share| (0.0..=1.0).contains(&share));
            prop_assert!(share(resources.host.cpu_usage));
            for service in &resources.services {
                prop_assert!(share(service.cpu_usage) && share(service.memory_usage));
                prop_assert!(service.group.as_ref().is_none_or(|group| share(group.throttled)));
            }
        }
    }
}
