use super::*;
use crate::process::ServiceKey;
use crate::resources::{NetworkReading, Pressures};

const SECOND_NS: u64 = 1_000_000_000;
const GIB: u64 = 1 << 30;

fn key(port: Option<u16>) -> Arc<ServiceKey> {
    Arc::new(ServiceKey {
        name: "shop".into(),
        exe: None,
        container: None,
        unit: None,
        port,
        socket: None,
    })
}

fn process(cpu_ms: u64) -> ProcessReading {
    ProcessReading {
        started_ns: 5 * SECOND_NS,
        started_wall_ns: Some(1_005 * SECOND_NS),
        cpu_ns: cpu_ms * 1_000_000,
        resident_bytes: Some(GIB),
        threads: Some(4),
        open_files: Some(10),
        open_files_limit: Some(1024),
        group: Some("0::/a".into()),
        network: Some(7),
    }
}

/// At a second since the start of the system, with processes of one service.
fn reading(second: u64, processes: &[(u32, ProcessReading)]) -> Reading {
    Reading {
        at_ns: second * SECOND_NS,
        wall_ns: (1_000 + second) * SECOND_NS,
        since_boot_ns: Some(second * SECOND_NS),
        host: HostReading {
            cpu: Some(CpuTime {
                busy: 0,
                idle: second * 400,
            }),
            processors: 4,
            memory_total_bytes: Some(16 * GIB),
            memory_available_bytes: Some(12 * GIB),
            ..HostReading::default()
        },
        processes: processes.iter().cloned().collect(),
        services: vec![ServiceReading {
            service: key(Some(80)),
            pids: processes.iter().map(|(pid, _)| *pid).collect(),
        }],
        ..Reading::default()
    }
}

fn service(before: &Reading, now: &Reading) -> ServiceUse {
    let mut resources = Resources::between(Some(before), now);
    assert_eq!(resources.services.len(), 1);
    resources.services.remove(0)
}

#[test]
fn one_reading_tells_levels_and_no_rates() {
    let resources = Resources::between(None, &reading(100, &[(1, process(50))]));
    assert_eq!((resources.wall_ns, resources.over_ns), (1_100 * SECOND_NS, 0));
    assert_eq!(
        (resources.host.cpu_usage, resources.host.memory_usage),
        (None, Some(0.25))
    );
    let service = &resources.services[0];
    assert_eq!((service.cpu_cores, service.cpu_usage), (None, None));
    assert_eq!((service.processes, service.threads), (1, Some(4)));
    assert_eq!(service.memory_usage, Some(1.0 / 16.0));
    assert_eq!(service.started_wall_ns, Some(1_005 * SECOND_NS));
}

#[test]
fn a_second_reading_tells_rates() {
    let mut before = reading(100, &[(1, process(1_000)), (2, process(0))]);
    let mut now = reading(110, &[(1, process(6_000)), (2, process(5_000))]);
    before.host.disks = vec![DiskReading {
        name: "sda".into(),
        read_bytes: 100,
        written_bytes: 200,
        busy_ns: 0,
    }];
    now.host.disks = vec![DiskReading {
        name: "sda".into(),
        read_bytes: 1_100,
        written_bytes: 5_200,
        busy_ns: 5 * SECOND_NS,
    }];
    let interface = |bytes| InterfaceReading {
        name: "eth0".into(),
        received_bytes: bytes,
        sent_bytes: 2 * bytes,
        faults: bytes / 100,
    };
    before.host.interfaces = vec![interface(0)];
    now.host.interfaces = vec![interface(1_000)];
    now.host.cpu = Some(CpuTime {
        busy: 1_000,
        idle: 43_000,
    });
    let resources = Resources::between(Some(&before), &now);
    assert_eq!(resources.over_ns, 10 * SECOND_NS);
    assert_eq!(resources.host.cpu_usage, Some(0.25));
    assert_eq!(
        resources.host.disks,
        [DiskUse {
            name: "sda".into(),
            read_bytes_per_second: Some(100.0),
            written_bytes_per_second: Some(500.0),
            busy: Some(0.5),
        }]
    );
    assert_eq!(
        resources.host.interfaces,
        [InterfaceUse {
            name: "eth0".into(),
            received_bytes_per_second: Some(100.0),
            sent_bytes_per_second: Some(200.0),
            faults_per_second: Some(1.0),
        }]
    );
    let service = &resources.services[0];
    assert_eq!((service.cpu_cores, service.cpu_usage), (Some(1.0), Some(0.25)));
    assert_eq!(service.resident_bytes, Some(2 * GIB));
}

#[test]
fn counters_that_go_backwards_and_devices_that_appear_tell_no_rate() {
    let mut before = reading(100, &[(1, process(1_000))]);
    let mut now = reading(110, &[(1, process(500))]);
    before.host.cpu = Some(CpuTime { busy: 10, idle: 10 });
    now.host.cpu = Some(CpuTime { busy: 5, idle: 100 });
    let disk = |name: &str, bytes| DiskReading {
        name: name.into(),
        read_bytes: bytes,
        written_bytes: 0,
        busy_ns: 0,
    };
    before.host.disks = vec![disk("sda", 100)];
    now.host.disks = vec![disk("sda", 50), disk("sdb", 50)];
    let resources = Resources::between(Some(&before), &now);
    assert_eq!(resources.host.cpu_usage, None);
    assert_eq!(resources.host.disks[0].read_bytes_per_second, None);
    assert_eq!(resources.host.disks[0].written_bytes_per_second, Some(0.0));
    assert_eq!(resources.host.disks[1].written_bytes_per_second, None);
    assert_eq!(resources.services[0].cpu_cores, None);
}

#[test]
fn readings_of_the_same_moment_or_in_the_wrong_order_tell_no_rate() {
    let now = reading(100, &[(1, process(1_000))]);
    for before in [reading(100, &[(1, process(0))]), reading(101, &[(1, process(0))])] {
        let resources = Resources::between(Some(&before), &now);
        assert_eq!((resources.over_ns, resources.services[0].cpu_cores), (0, None));
    }
}

#[test]
fn another_process_with_the_same_number_counts_from_its_start() {
    let before = reading(100, &[(1, process(90_000))]);
    let replaced = ProcessReading {
        started_ns: 105 * SECOND_NS,
        ..process(2_500)
    };
    let now = reading(110, &[(1, replaced.clone()), (2, process(90_000))]);
    // The second one is older than the reading before, and what it took since then is unknown.
    assert_eq!(service(&before, &now).cpu_cores, Some(0.25));
    let mut unknown = before;
    unknown.since_boot_ns = None;
    assert_eq!(service(&unknown, &reading(110, &[(1, replaced)])).cpu_cores, None);
}

#[test]
fn processes_that_are_gone_are_no_part_of_it() {
    let before = reading(100, &[(1, process(0)), (2, process(0))]);
    let mut now = reading(110, &[(1, process(1_000)), (2, process(0))]);
    now.processes.remove(&2);
    let service = service(&before, &now);
    assert_eq!((service.processes, service.cpu_cores), (1, Some(0.1)));
}

#[test]
fn shares_are_of_what_the_group_allows() {
    let group = |periods, throttled, ms: u64| GroupReading {
        path: "/a".into(),
        pod: Some("uid".into()),
        cpu_limits: vec![
            CpuLimit {
                depth: 1,
                cores: 2.0,
                periods: Some(periods),
                throttled_periods: Some(throttled),
                throttled_ns: Some(ms * 1_000_000),
            },
            CpuLimit {
                depth: 0,
                cores: 3.0,
                periods: Some(0),
                throttled_periods: Some(0),
                throttled_ns: None,
            },
        ],
        memory_limit_bytes: Some(4 * GIB),
        memory_bytes: Some(3 * GIB),
        oom_kills: Some(1),
        pressure: Pressures::default(),
    };
    let mut before = reading(100, &[(1, process(0))]);
    let mut now = reading(110, &[(1, process(10_000))]);
    before.groups.insert("0::/a".into(), group(0, 0, 0));
    now.groups.insert("0::/a".into(), group(100, 25, 2_000));
    let limited = service(&before, &now);
    assert_eq!((limited.cpu_cores, limited.cpu_usage), (Some(1.0), Some(0.5)));
    assert_eq!(
        (limited.memory_usage, limited.pod.as_deref()),
        (Some(0.75), Some("uid"))
    );
    assert_eq!(
        limited.group,
        Some(GroupUse {
            path: "/a".into(),
            cpu_limit_cores: Some(2.0),
            throttled: Some(0.25),
            throttled_seconds_per_second: Some(0.2),
            memory_limit_bytes: Some(4 * GIB),
            memory_bytes: Some(3 * GIB),
            oom_kills: Some(1),
            pressure: Pressures::default(),
        })
    );
    // The group was made anew.
    let again = service(&now, &{
        let mut later = reading(120, &[(1, process(10_000))]);
        later.groups.insert("0::/a".into(), group(10, 0, 0));
        later
    });
    assert_eq!(again.group.as_ref().and_then(|group| group.throttled), Some(0.0));
    assert_eq!(again.group.and_then(|group| group.throttled_seconds_per_second), None);
    // A limit beyond what there is limits nothing.
    now.host.memory_total_bytes = Some(2 * GIB);
    now.host.processors = 1;
    let unlimited = service(&before, &now);
    assert_eq!((unlimited.cpu_usage, unlimited.memory_usage), (Some(1.0), Some(0.5)));
}

#[test]
fn open_files_are_of_the_process_that_is_nearest_to_its_limit() {
    let files = |open, limit| ProcessReading {
        open_files: open,
        open_files_limit: limit,
        ..process(0)
    };
    let nearest = |processes: &[ProcessReading]| {
        let numbered: Vec<_> = (1..).zip(processes.iter().cloned()).collect();
        let service = service(&reading(0, &[]), &reading(10, &numbered));
        (service.open_files, service.open_files_limit)
    };
    assert_eq!(
        nearest(&[
            files(Some(900), Some(65_536)),
            files(Some(500), Some(1_024)),
            files(None, Some(1))
        ]),
        (Some(500), Some(1_024))
    );
    assert_eq!(
        nearest(&[files(Some(900), None), files(Some(1), Some(1_024))]),
        (Some(1), Some(1_024))
    );
    assert_eq!(
        nearest(&[files(Some(9), None), files(Some(90), None)]),
        (Some(90), None)
    );
    assert_eq!(nearest(&[files(None, Some(5))]), (None, None));
}

#[test]
fn listen_queues_and_overflows_are_of_the_services_port_and_namespaces() {
    let network = |overflows, waiting: &[(u16, u32)]| NetworkReading {
        listen_overflows: Some(overflows),
        waiting: waiting.iter().copied().collect(),
    };
    let other = ProcessReading {
        network: Some(8),
        ..process(0)
    };
    let processes = [(1, process(0)), (2, process(0)), (3, other)];
    let mut before = reading(100, &processes);
    let mut now = reading(110, &processes);
    before.networks.extend([(7, network(5, &[])), (8, network(0, &[]))]);
    now.networks
        .extend([(7, network(25, &[(80, 3), (81, 100)])), (8, network(10, &[(80, 4)]))]);
    let listening = service(&before, &now);
    assert_eq!(listening.listen_queue, Some(7));
    assert_eq!(listening.listen_overflows_per_second, Some(3.0));
    now.services[0].service = key(Some(82));
    assert_eq!(service(&before, &now).listen_queue, None);
    now.services[0].service = key(None);
    assert_eq!(service(&before, &now).listen_overflows_per_second, None);
}

#[test]
fn the_group_is_the_one_that_most_processes_are_in() {
    let of = |group: &str, second| ProcessReading {
        group: Some(group.into()),
        started_ns: second * SECOND_NS,
        ..process(0)
    };
    let path = |processes: &[ProcessReading]| {
        let numbered: Vec<_> = (1..).zip(processes.iter().cloned()).collect();
        let mut now = reading(10, &numbered);
        for group in ["a", "b"] {
            now.groups.insert(
                group.into(),
                GroupReading {
                    path: group.into(),
                    ..GroupReading::default()
                },
            );
        }
        service(&reading(0, &[]), &now).group.map(|group| group.path)
    };
    assert_eq!(path(&[of("a", 1), of("b", 2), of("b", 3)]).as_deref(), Some("b"));
    assert_eq!(path(&[of("a", 2), of("b", 1)]).as_deref(), Some("b"));
    assert_eq!(path(&[of("a", 1), of("b", 2)]).as_deref(), Some("a"));
    assert_eq!(path(&[]), None);
}
