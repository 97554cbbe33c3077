use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::process::ServiceKey;

const WALL_NS: u64 = 1_700_000_000_000_000_000;

fn json(system: &System) -> serde_json::Value {
    serde_json::to_value(system).unwrap()
}

fn service(name: &str, port: Option<u16>) -> ServiceUse {
    ServiceUse {
        service: Arc::new(ServiceKey {
            name: name.into(),
            exe: Some("/usr/bin/shop".into()),
            container: None,
            unit: Some("shop.service".into()),
            port,
            socket: None,
        }),
        processes: 2,
        cpu_cores: Some(0.5),
        cpu_usage: Some(1.0 / 3.0),
        resident_bytes: Some(4096),
        memory_usage: Some(0.25),
        threads: Some(8),
        open_files: Some(20),
        open_files_limit: Some(1024),
        listen_queue: Some(3),
        listen_queue_limit: None,
        listen_overflows_per_second: Some(0.0),
        group: Some(GroupUse {
            path: "/system.slice/shop.service".into(),
            cpu_limit_cores: Some(1.5),
            throttled: Some(0.125),
            throttled_seconds_per_second: None,
            memory_limit_bytes: Some(16_384),
            memory_bytes: Some(4096),
            oom_kills: Some(1),
            pressure: resources::Pressures {
                cpu: Some(resources::Pressure { some: 0.5, full: None }),
                ..resources::Pressures::default()
            },
        }),
        started_wall_ns: Some(WALL_NS),
        pod: None,
    }
}

#[test]
fn before_the_first_reading_nothing_is_known() {
    assert_eq!(
        json(&System::new(None, &Trends::default(), Window::FiveMinutes)),
        json!({
            "at": null, "window": "5m", "cpu_usage": null, "memory_usage": null,
            "host": {
                "cpu_usage": null, "memory_usage": null, "memory_total_bytes": null, "memory_available_bytes": null,
                "swap_used_bytes": null, "processors": null, "load": null,
                "pressure": {"cpu": null, "memory": null, "io": null}, "memory_trend": null,
                "disks": [], "file_systems": [], "interfaces": [],
            },
            "services": [],
            "trends": {"host": []},
        })
    );
}

#[test]
fn the_host_is_told_with_its_devices() {
    let resources = Resources {
        wall_ns: WALL_NS,
        over_ns: 10_000_000_000,
        host: HostUse {
            cpu_usage: Some(0.123_456_789),
            memory_usage: Some(0.5),
            memory_total_bytes: Some(1024),
            memory_available_bytes: Some(512),
            swap_used_bytes: Some(0),
            processors: 4,
            load: Some([0.5, 0.25, 0.125]),
            pressure: resources::Pressures {
                memory: Some(resources::Pressure {
                    some: 0.25,
                    full: Some(0.125),
                }),
                ..resources::Pressures::default()
            },
            disks: vec![DiskUse {
                name: "sda".into(),
                read_bytes_per_second: Some(1.5),
                written_bytes_per_second: Some(2.5),
                busy: None,
            }],
            file_systems: vec![FileSystemUse {
                mounted_on: "/".into(),
                total_bytes: 100,
                available_bytes: 50,
            }],
            interfaces: vec![InterfaceUse {
                name: "eth0".into(),
                received_bytes_per_second: Some(10.0),
                sent_bytes_per_second: Some(20.0),
                faults_per_second: Some(0.5),
            }],
        },
        services: Vec::new(),
    };
    let mut trends = Trends::default();
    trends.add(&resources);
    assert_eq!(
        json(&System::new(Some(&resources), &trends, Window::Hour)),
        json!({
            "at": "2023-11-14T22:13:20.000000Z", "window": "1h", "cpu_usage": 0.123_457, "memory_usage": 0.5,
            "host": {
                "cpu_usage": 0.123_457, "memory_usage": 0.5, "memory_total_bytes": 1024,
                "memory_available_bytes": 512, "swap_used_bytes": 0, "processors": 4,
                "load": {"1m": 0.5, "5m": 0.25, "15m": 0.125},
                "pressure": {"cpu": null, "memory": {"some": 0.25, "full": 0.125}, "io": null},
                "memory_trend": null,
                "disks": [{
                    "name": "sda", "read_bytes_per_second": 1.5, "written_bytes_per_second": 2.5, "busy": null,
                }],
                "file_systems": [{"mounted_on": "/", "total_bytes": 100, "available_bytes": 50}],
                "interfaces": [{
                    "name": "eth0", "received_bytes_per_second": 10.0, "sent_bytes_per_second": 20.0,
                    "faults_per_second": 0.5,
                }],
            },
            "services": [],
            "trends": {"host": [{
                "at": "2023-11-14T22:13:20.000000Z", "cpu_usage": 0.123_457, "cpu_usage_max": 0.123_457,
                "memory_usage": 0.5, "memory_usage_max": 0.5,
            }]},
        })
    );
}

#[test]
fn a_service_is_told_with_its_group_and_its_trend() {
    let resources = Resources {
        wall_ns: WALL_NS,
        services: vec![service("shop", Some(8080))],
        ..Resources::default()
    };
    let mut trends = Trends::default();
    trends.add(&resources);
    let system = json(&System::new(Some(&resources), &trends, Window::Minute));
    assert_eq!(
        system["services"],
        json!([{
            "name": "shop", "exe": "/usr/bin/shop", "port": 8080, "socket": null, "container": null,
            "unit": "shop.service", "pod": null, "processes": 2, "started_at": "2023-11-14T22:13:20.000000Z",
            "cpu_cores": 0.5, "cpu_usage": 0.333_333, "resident_bytes": 4096, "memory_usage": 0.25,
            "memory_trend": null, "threads": 8, "open_files": 20, "open_files_limit": 1024, "listen_queue": 3,
            "listen_queue_limit": null, "listen_overflows_per_second": 0.0,
            "cgroup": {
                "path": "/system.slice/shop.service", "cpu_limit_cores": 1.5, "throttled": 0.125,
                "throttled_seconds_per_second": null, "memory_limit_bytes": 16_384, "memory_bytes": 4096,
                "oom_kills": 1,
                "pressure": {"cpu": {"some": 0.5, "full": null}, "memory": null, "io": null},
            },
            "trend": [{
                "at": "2023-11-14T22:13:20.000000Z", "cpu_cores": 0.5, "cpu_cores_max": 0.5,
                "resident_bytes": 4096.0, "resident_bytes_max": 4096.0, "memory_usage": 0.25,
                "memory_usage_max": 0.25, "threads": 8.0, "threads_max": 8.0, "open_files": 20.0,
                "open_files_max": 20.0,
            }],
        }])
    );
}

#[test]
fn services_are_in_order_of_their_names_and_ports() {
    let resources = Resources {
        services: vec![
            service("b", Some(2)),
            service("b", None),
            service("a", Some(9)),
            service("b", Some(1)),
        ],
        ..Resources::default()
    };
    let system = System::new(Some(&resources), &Trends::default(), Window::Minute);
    let names: Vec<_> = system
        .services
        .iter()
        .map(|service| (service.name.as_str(), service.port))
        .collect();
    assert_eq!(names, [("a", Some(9)), ("b", None), ("b", Some(1)), ("b", Some(2))]);
}

#[test]
fn memory_that_grows_is_told_with_the_time_that_is_left() {
    let mut trends = Trends::default();
    let mut resources = Resources::default();
    for minute in 0..30_u64 {
        resources.wall_ns = WALL_NS + minute * 60_000_000_000;
        resources.host.memory_total_bytes = Some(1 << 30);
        resources.host.memory_available_bytes = Some((1 << 29) - minute * 6_000_000);
        trends.add(&resources);
    }
    let system = json(&System::new(Some(&resources), &trends, Window::Minute));
    assert_eq!(
        system["host"]["memory_trend"],
        json!({
            "bytes_per_second": 100_000.0, "over_seconds": 1740.0, "limit_bytes": 1 << 30,
            "seconds_until_limit": ((f64::from(1 << 29) - 29.0 * 6e6) / 1e5).round(),
        })
    );
}
