//! `memory_trend`: a service's memory grows, and will reach its limit within a day.
//!
//! A service grows when it starts, so a trend is not believed much further ahead than the service has been running.

use super::{MemoryTrend, Observed, Recommendation, Settings, subject, text};
use crate::aggregate::Window;
use crate::resources::ServiceUse;
use crate::threshold::Severity;

/// The rule's name.
pub const RULE: &str = "memory_trend";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Time left below which something is said.
    pub hours: f64,
    /// The same, to be an error.
    pub serious_hours: f64,
    /// The same, to be critical.
    pub critical_hours: f64,
    /// How much further ahead a trend is believed than the service has been running: as many times.
    pub ahead: f64,
    /// Over which the trends are that it is given.
    pub window: Window,
}

impl Default for Limits {
    /// A day, six hours, one hour; of a service that runs for an hour, a day is believed; trends over an hour.
    fn default() -> Self {
        Self {
            hours: 24.0,
            serious_hours: 6.0,
            critical_hours: 1.0,
            ahead: 24.0,
            window: Window::Hour,
        }
    }
}

pub(super) fn advise(observed: &Observed<'_>, settings: &Settings, out: &mut Vec<Recommendation>) {
    for (place, trend) in observed.memory_trends.iter().enumerate() {
        if is_told_by_another(observed.memory_trends, place) {
            continue;
        }
        let mut uses = observed.resources.iter().flat_map(|resources| &resources.services);
        let taken = uses.find(|service| service.service == trend.service);
        out.extend(of(trend, taken, observed.wall_ns, &settings.memory));
    }
}

/// A program that serves and asks, or serves at several ports, is several services with the same memory: the first that
/// serves tells for all.
fn is_told_by_another(trends: &[MemoryTrend], place: usize) -> bool {
    let order = |(place, trend): (usize, &MemoryTrend)| (trend.service.port.is_none(), trend.service.port, place);
    let service = &trends[place].service;
    let own = order((place, &trends[place]));
    trends
        .iter()
        .enumerate()
        .any(|(other, trend)| subject::is_same_program(&trend.service, service) && order((other, trend)) < own)
}

fn of(trend: &MemoryTrend, taken: Option<&ServiceUse>, wall_ns: u64, limits: &Limits) -> Option<Recommendation> {
    let hours_left = trend.seconds_left / 3600.0;
    if !(hours_left >= 0.0 && hours_left < limits.hours && trend.bytes_per_second > 0.0) {
        return None;
    }
    let started = taken.and_then(|taken| taken.started_wall_ns);
    let running_seconds = started.map(|started| wall_ns.saturating_sub(started) as f64 / 1e9);
    if running_seconds.is_some_and(|seconds| trend.seconds_left > limits.ahead * seconds) {
        return None;
    }
    let mut one = Recommendation::new(RULE, subject::of_service(&trend.service)).of(&trend.service);
    one.window = limits.window;
    one.severity = if hours_left < limits.critical_hours {
        Severity::Critical
    } else if hours_left < limits.serious_hours {
        Severity::Error
    } else {
        Severity::Warning
    };
    one.number("bytes_per_second", trend.bytes_per_second);
    one.number("limit_bytes", trend.limit_bytes as f64);
    one.number("seconds_left", trend.seconds_left);
    if let Some(taken) = taken {
        let bytes = taken.group.as_ref().and_then(|group| group.memory_bytes);
        if let Some(bytes) = bytes.or(taken.resident_bytes) {
            one.number("memory_bytes", bytes as f64);
        }
        if let Some(usage) = taken.memory_usage {
            one.number("memory_usage", usage);
        }
    }
    if let Some(seconds) = running_seconds {
        one.number("running_seconds", seconds);
    }
    one.text = format!(
        "Memory of {} grows by {} per hour; if it goes on so, it reaches its limit of {} in {}.",
        text::service(&trend.service),
        text::bytes(trend.bytes_per_second * 3600.0),
        text::bytes(trend.limit_bytes as f64),
        text::duration(trend.seconds_left),
    );
    one.fix = String::from(
        "Find what is kept and never let go (a cache without a bound, a list that only grows); a higher limit or a \
               restart only gains time.",
    );
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{EPOCH_NS, SECOND_NS, START_NS, Scene, numbers, only, reading, service, service_use};
    use super::super::{Advisor, MemoryTrend};
    use super::*;

    const MIB: u64 = 1 << 20;

    fn said(seconds_left: f64, running_seconds: Option<u64>) -> Vec<Recommendation> {
        let shop = service("shop", Some(80));
        let trend = MemoryTrend {
            service: service("shop", Some(80)),
            bytes_per_second: 1024.0,
            limit_bytes: 512 * MIB,
            seconds_left,
        };
        let taken = ServiceUse {
            resident_bytes: Some(400 * MIB),
            started_wall_ns: running_seconds.map(|seconds| EPOCH_NS + START_NS - seconds * SECOND_NS),
            ..service_use(&shop)
        };
        let resources = reading(EPOCH_NS + START_NS, vec![taken]);
        Scene::new().said(&mut Advisor::default(), RULE, Some(&resources), &[trend])
    }

    #[test]
    fn memory_that_reaches_its_limit_within_a_day_is_told_with_the_time_left() {
        let one = only(said(36_000.0, Some(3600)));
        assert_eq!(one.service, Some(service("shop", Some(80))));
        assert_eq!(one.severity, Severity::Warning);
        assert_eq!(
            numbers(&one),
            [
                ("bytes_per_second", 1024.0),
                ("limit_bytes", 536_870_912.0),
                ("seconds_left", 36_000.0),
                ("memory_bytes", 419_430_400.0),
                ("running_seconds", 3600.0),
            ]
        );
        assert_eq!(
            one.text,
            "Memory of shop:80 grows by 3.52 MiB per hour; if it goes on so, it reaches its limit of 512 MiB in 10 hours."
        );
        assert_eq!(only(said(7200.0, None)).severity, Severity::Error);
        assert_eq!(only(said(600.0, None)).severity, Severity::Critical);
    }

    #[test]
    fn a_program_that_is_several_services_is_told_once() {
        let trend = |port| MemoryTrend {
            service: service("shop", port),
            bytes_per_second: 1024.0,
            limit_bytes: 512 * MIB,
            seconds_left: 600.0,
        };
        let trends = [None, Some(443), Some(80)].map(trend);
        let one = only(Scene::new().said(&mut Advisor::default(), RULE, None, &trends));
        assert_eq!(one.service, Some(service("shop", Some(80))));
    }

    #[test]
    fn nothing_is_said_of_what_is_far_away_and_of_a_service_that_has_just_begun() {
        assert_eq!(said(86_400.0, None), []);
        assert_eq!(said(f64::INFINITY, None), []);
        assert_eq!(
            said(36_000.0, Some(1499)),
            [],
            "25 times as long as it has been running"
        );
    }
}
