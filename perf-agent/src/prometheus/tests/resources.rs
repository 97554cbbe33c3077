//! What is told beside exchanges, where it is known.
#![expect(clippy::float_cmp, reason = "figures are told as they are")]

use std::sync::Arc;

use super::{of, read, snapshot};
use crate::alert::{Alert, State};
use crate::process::ServiceKey;
use crate::prometheus::{Exposition, Format};
use crate::resources::{
    DiskUse, FileSystemUse, GroupUse, HostUse, InterfaceUse, Pressure, Pressures, Resources, ServiceUse,
};
use crate::synthetic::Traffic;
use crate::threshold::{Severity, Subject};

fn alert(state: State, severity: Severity) -> Alert {
    Alert {
        id: "0".into(),
        state,
        severity,
        threshold_id: "t".into(),
        metric: "m".into(),
        subject: Subject {
            key: "host".into(),
            name: "host".into(),
            service: None,
            endpoint: None,
        },
        value: None,
        limit: 1.0,
        since_wall_ns: 1,
        fired_wall_ns: None,
        resolved_wall_ns: None,
        message: String::new(),
        runbook: None,
        silenced_by: None,
        inhibited_by: None,
    }
}

/// Everything that there can be.
pub(super) fn resources() -> Resources {
    let pressure = Some(Pressure {
        some: 0.25,
        full: Some(0.125),
    });
    let pressure = Pressures {
        cpu: pressure,
        memory: None,
        io: pressure,
    };
    let service = ServiceKey {
        name: "shop".into(),
        exe: None,
        container: None,
        unit: None,
        port: Some(8080),
        socket: None,
    };
    Resources {
        wall_ns: 1,
        over_ns: 1,
        host: HostUse {
            cpu_usage: Some(0.5),
            memory_usage: Some(0.5),
            memory_total_bytes: Some(1 << 34),
            memory_available_bytes: Some(1 << 33),
            swap_used_bytes: Some(0),
            processors: 4,
            load: Some([1.0, 2.0, 3.0]),
            pressure,
            disks: vec![DiskUse {
                name: "sda".into(),
                read_bytes_per_second: Some(1.0),
                written_bytes_per_second: Some(2.0),
                busy: Some(0.1),
            }],
            file_systems: vec![FileSystemUse {
                mounted_on: "/".into(),
                total_bytes: 10,
                available_bytes: 5,
            }],
            interfaces: vec![InterfaceUse {
                name: "eth0".into(),
                received_bytes_per_second: Some(1.0),
                sent_bytes_per_second: Some(2.0),
                faults_per_second: Some(0.0),
            }],
        },
        services: vec![ServiceUse {
            service: Arc::new(service),
            processes: 2,
            cpu_cores: Some(1.5),
            cpu_usage: Some(0.75),
            resident_bytes: Some(1000),
            memory_usage: Some(0.1),
            threads: Some(7),
            open_files: Some(10),
            open_files_limit: Some(1024),
            listen_queue: Some(0),
            listen_queue_limit: Some(128),
            listen_overflows_per_second: Some(0.0),
            group: Some(GroupUse {
                path: "/shop".into(),
                cpu_limit_cores: Some(2.0),
                throttled: Some(0.0),
                throttled_seconds_per_second: Some(0.0),
                memory_limit_bytes: Some(2000),
                memory_bytes: Some(1000),
                oom_kills: Some(1),
                pressure,
            }),
            started_wall_ns: Some(1_000_000_000),
            pod: None,
        }],
    }
}

#[test]
fn resources_health_and_alerts_are_told_where_they_are_known() {
    let snapshot = snapshot(&Traffic::example());
    let resources = resources();
    let alerts = [
        alert(State::Firing, Severity::Error),
        alert(State::Firing, Severity::Error),
        alert(State::Pending, Severity::Critical),
    ];
    let exposition = Exposition {
        resources: Some(&resources),
        health_score: Some(87.5),
        alerts: Some(&alerts),
        ..of(&snapshot)
    };
    let metrics = read(&exposition, Format::OpenMetrics);
    assert_eq!(metrics.value("perf_agent_health_score", &[]), 87.5);
    let firing = |severity| metrics.value("perf_agent_alerts_firing", &[("severity", severity)]);
    assert_eq!(
        (firing("warning"), firing("error"), firing("critical")),
        (0.0, 2.0, 0.0)
    );
    assert_eq!(metrics.value("perf_agent_host_load", &[("window", "15m")]), 3.0);
    assert_eq!(
        metrics.value(
            "perf_agent_host_pressure_ratio",
            &[("resource", "io"), ("tasks", "full")]
        ),
        0.125
    );
    let service = &[("service_name", "shop"), ("server_port", "8080")];
    assert_eq!(metrics.value("perf_agent_service_cpu_cores", service), 1.5);
    assert_eq!(metrics.value("perf_agent_service_oom_kills_total", service), 1.0);
    let told = |name: &str| metrics.families.iter().any(|family| family.name == name);
    let of_resources: Vec<_> = crate::prometheus::resources::ALL
        .iter()
        .filter(|definition| !told(&definition.name))
        .collect();
    assert!(of_resources.is_empty(), "{of_resources:?}");
}
