use super::*;
use crate::resources::{GroupUse, HostUse};

/// A day's boundary.
const BEGIN_NS: u64 = 1_699_920_000 * SECOND_NS;

fn host(wall_ns: u64, cpu_usage: Option<f64>) -> Resources {
    Resources {
        wall_ns,
        host: HostUse {
            cpu_usage,
            ..HostUse::default()
        },
        ..Resources::default()
    }
}

fn key(port: u16) -> Arc<ServiceKey> {
    Arc::new(ServiceKey {
        name: "shop".into(),
        exe: None,
        container: None,
        unit: None,
        port: Some(port),
        socket: None,
    })
}

fn service(port: u16) -> ServiceUse {
    ServiceUse {
        service: key(port),
        processes: 1,
        cpu_cores: Some(0.5),
        cpu_usage: Some(0.25),
        resident_bytes: Some(1 << 30),
        memory_usage: Some(0.125),
        threads: Some(8),
        open_files: None,
        open_files_limit: None,
        listen_queue: None,
        listen_queue_limit: None,
        listen_overflows_per_second: None,
        group: None,
        started_wall_ns: Some(1),
        pod: None,
    }
}

fn with(wall_ns: u64, services: Vec<ServiceUse>) -> Resources {
    Resources {
        wall_ns,
        services,
        ..Resources::default()
    }
}

/// A reading every ten seconds, of which each has its number as the figure.
fn after(readings: u32) -> Trends {
    let mut trends = Trends::default();
    for n in 0..readings {
        trends.add(&host(BEGIN_NS + u64::from(n) * 10 * SECOND_NS, Some(f64::from(n))));
    }
    trends
}

#[expect(clippy::unnecessary_wraps, reason = "what a point has")]
fn level(mean: f64, max: f64) -> Option<Level> {
    Some(Level { mean, max })
}

#[test]
fn a_short_window_has_a_point_each_ten_seconds() {
    let points = after(20).host(Window::Minute);
    let expected: Vec<_> = (13..20)
        .map(|n| HostPoint {
            wall_ns: BEGIN_NS + n * 10 * SECOND_NS,
            cpu_usage: level(n as f64, n as f64),
            memory_usage: None,
        })
        .collect();
    assert_eq!(points, expected);
}

#[test]
fn readings_of_one_slot_are_its_mean_and_its_greatest() {
    let mut trends = Trends::default();
    for (second, figure) in [
        (0, Some(0.25)),
        (3, Some(0.75)),
        (6, None),
        (9, Some(0.5)),
        (10, Some(1.0)),
    ] {
        trends.add(&host(BEGIN_NS + second * SECOND_NS, figure));
    }
    let levels: Vec<_> = trends
        .host(Window::Start)
        .into_iter()
        .map(|point| point.cpu_usage)
        .collect();
    assert_eq!(levels, [level(0.5, 0.75), level(1.0, 1.0)]);
}

#[test]
fn an_hour_is_merged_to_fewer_points_whose_boundaries_stay() {
    let trends = after(360);
    let points = trends.host(Window::Hour);
    // Four slots each.
    assert_eq!(points.len(), 90);
    assert_eq!(points[0].wall_ns, BEGIN_NS);
    assert_eq!(points[1].wall_ns, BEGIN_NS + 40 * SECOND_NS);
    assert_eq!(points[1].cpu_usage, level(5.5, 7.0));
}

#[test]
fn a_day_has_slots_of_five_minutes_and_more_is_forgotten() {
    // 30 hours.
    let trends = after(30 * 360);
    let points = trends.host(Window::Day);
    assert!(
        points.len() <= TREND_POINTS && points.len() > TREND_POINTS / 2,
        "{}",
        points.len()
    );
    let covered_ns = BEGIN_NS + 30 * 3600 * SECOND_NS - points[0].wall_ns;
    assert!((24..=27).contains(&(covered_ns / 3600 / SECOND_NS)), "{covered_ns}");
    let last = points.last().and_then(|point| point.cpu_usage);
    assert_eq!(last.map(|last| last.max), Some(f64::from(30 * 360 - 1)));
    assert_eq!(trends.host(Window::Start).len(), points.len());
    assert_eq!(
        (trends.host.fine.slots.len(), trends.host.coarse.slots.len()),
        (390, 312)
    );
}

#[test]
fn a_clock_that_is_set_back_drops_what_lies_ahead() {
    let mut trends = after(20);
    trends.add(&host(BEGIN_NS + 5 * 10 * SECOND_NS, Some(0.5)));
    let points = trends.host(Window::Start);
    assert_eq!(points.len(), 6);
    assert_eq!(points[5].cpu_usage, level(0.5, 0.5));
    trends.add(&host(u64::MAX, Some(0.25)));
    assert_eq!(trends.host(Window::Start).len(), 1);
    trends.add(&host(0, Some(0.125)));
    assert_eq!(trends.host(Window::Start)[0].cpu_usage, level(0.125, 0.125));
}

#[test]
fn a_service_has_its_own_trend() {
    let mut trends = Trends::default();
    trends.add(&with(BEGIN_NS, vec![service(80)]));
    assert_eq!(
        trends.service(&key(80), Window::FiveMinutes),
        [ServicePoint {
            wall_ns: BEGIN_NS,
            cpu_cores: level(0.5, 0.5),
            resident_bytes: level(f64::from(1 << 30), f64::from(1 << 30)),
            memory_usage: level(0.125, 0.125),
            threads: level(8.0, 8.0),
            open_files: None,
        }]
    );
    assert_eq!(trends.service(&key(81), Window::FiveMinutes), []);
}

#[test]
fn services_are_bounded_and_those_that_are_gone_make_room() {
    let ports = |from: usize, count| {
        (from..from + count)
            .map(|port| service(u16::try_from(port).unwrap()))
            .collect()
    };
    let mut trends = Trends::default();
    trends.add(&with(BEGIN_NS, ports(1, TRENDS + 3)));
    assert_eq!((trends.services.len(), trends.not_kept()), (TRENDS, 3));
    trends.add(&with(BEGIN_NS + 120 * SECOND_NS, ports(1000, 5)));
    assert_eq!((trends.services.len(), trends.not_kept()), (TRENDS, 0));
    assert_eq!(trends.service(&key(1004), Window::Minute).len(), 1);
    trends.add(&with(BEGIN_NS + 2 * FORGOTTEN_NS, Vec::new()));
    assert_eq!(trends.services.len(), 0);
}

#[test]
fn memory_that_grows_is_held_against_the_limit_of_the_group() {
    let mut trends = Trends::default();
    for minute in 0..30_u64 {
        let mut limited = service(80);
        limited.group = Some(GroupUse {
            memory_limit_bytes: Some(1 << 30),
            memory_bytes: Some((1 << 29) + (minute << 22)),
            ..GroupUse::default()
        });
        let mut free = service(81);
        free.resident_bytes = Some((1 << 29) + (minute << 23));
        let mut resources = with(BEGIN_NS + minute * 60 * SECOND_NS, vec![limited, free]);
        resources.host.memory_total_bytes = Some(1 << 31);
        resources.host.memory_available_bytes = Some((1 << 30) - (minute << 20));
        trends.add(&resources);
    }
    let per_minute = |trend: Option<MemoryTrend>| trend.map(|trend| (trend.bytes_per_second * 60.0).round());
    let limited = trends.service_memory(&key(80));
    assert_eq!(per_minute(limited), Some(f64::from(1 << 22)));
    // 512 - 29 · 4 MiB are left, 4 per minute.
    assert_eq!(
        limited.and_then(|trend| trend.until_limit_ns),
        Some(99 * 60 * SECOND_NS)
    );
    let free = trends.service_memory(&key(81));
    assert_eq!(per_minute(free), Some(f64::from(1 << 23)));
    assert_eq!(free.and_then(|trend| trend.until_limit_ns), None);
    assert_eq!(per_minute(trends.host_memory()), Some(f64::from(1 << 20)));
    assert_eq!(trends.service_memory(&key(82)), None);
}
