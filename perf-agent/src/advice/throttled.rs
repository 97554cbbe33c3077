//! `cpu_throttled`: a control group uses up its processor time, and what is in it stands still until it gets more.

use hashbrown::HashMap;

use super::{Recommendation, Settings, subject, text};
use crate::aggregate::Window;
use crate::resources::{GroupUse, Resources, ServiceUse};
use crate::threshold::Severity;

/// The rule's name.
pub const RULE: &str = "cpu_throttled";

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Share of scheduling periods with throttling from which on it is too much.
    pub share: f64,
    /// The same, to be an error.
    pub serious_share: f64,
    /// Readings in a row that show it before something is said.
    pub readings: u32,
}

impl Default for Limits {
    /// 5 % (25 %) in two readings.
    fn default() -> Self {
        Self {
            share: 0.05,
            serious_share: 0.25,
            readings: 2,
        }
    }
}

/// Groups that were throttled in the newest reading: no more than it has services.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Of the newest reading.
    wall_ns: u64,
    /// Readings in a row, by path.
    throttled: HashMap<String, u32>,
}

/// A group, and of the services in it the one that it is told by.
fn groups(resources: &Resources) -> Vec<(&GroupUse, &ServiceUse)> {
    let mut groups: Vec<(&GroupUse, &ServiceUse)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for service in &resources.services {
        let Some(group) = &service.group else {
            continue;
        };
        let place = *places.entry(&group.path).or_insert(groups.len());
        if place == groups.len() {
            groups.push((group, service));
        }
        // A program that serves and asks is two services; the one that serves says more.
        if groups[place].1.service.port.is_none() && service.service.port.is_some() {
            groups[place].1 = service;
        }
    }
    groups
}

impl Groups {
    pub(super) fn advise(&mut self, resources: &Resources, settings: &Settings, out: &mut Vec<Recommendation>) {
        let limits = &settings.throttled;
        let news = u32::from(resources.wall_ns != self.wall_ns);
        self.wall_ns = resources.wall_ns;
        let before = std::mem::take(&mut self.throttled);
        for (group, service) in groups(resources) {
            let Some(share) = group.throttled.filter(|share| *share > limits.share) else {
                continue;
            };
            let readings = before.get(&group.path).copied().unwrap_or(0).saturating_add(news);
            self.throttled.insert(group.path.clone(), readings);
            if readings >= limits.readings {
                out.push(of(group, service, share, readings, (resources, settings)));
            }
        }
    }
}

fn of(
    group: &GroupUse,
    service: &ServiceUse,
    share: f64,
    readings: u32,
    (resources, settings): (&Resources, &Settings),
) -> Recommendation {
    let mut one = Recommendation::new(RULE, subject::of_texts([group.path.as_str()])).of(&service.service);
    one.window = Window::Minute;
    // Time in which the group stood still: that of everybody in it.
    one.gain_ms_per_second = group.throttled_seconds_per_second.map(|seconds| seconds * 1000.0);
    if share >= settings.throttled.serious_share {
        one.severity = Severity::Error;
    }
    one.number("throttled_share", share);
    one.number("readings_in_a_row", f64::from(readings));
    one.number("over_seconds", resources.over_ns as f64 / 1e9);
    if let Some(seconds) = group.throttled_seconds_per_second {
        one.number("throttled_seconds_per_second", seconds);
    }
    if let Some(limit) = group.cpu_limit_cores {
        one.number("cpu_limit_cores", limit);
    }
    if let Some(cores) = service.cpu_cores {
        one.number("cpu_cores", cores);
    }
    one.word("control_group", &group.path);
    let limit = group.cpu_limit_cores.map_or_else(String::new, |limit| {
        format!(", which may take {} processors' time,", text::number(limit))
    });
    one.text = format!(
        "The control group of {}{limit} was throttled in {} of its scheduling periods: all in it stood still until the next \
         one began.",
        text::service(&service.service),
        text::percent(share),
    );
    one.fix = String::from(
        "A higher limit of processor time (CPUQuota, cpu.max, a pod's limits.cpu) or none; fewer threads that run at \
               once; or less work.",
    );
    one
}

#[cfg(test)]
mod tests {
    use super::super::Advisor;
    use super::super::scene::{Scene, numbers, only, reading, service, service_use, words};
    use super::*;

    fn throttled(wall_ns: u64, share: Option<f64>) -> Resources {
        let group = GroupUse {
            path: "/shop.slice".to_owned(),
            cpu_limit_cores: Some(0.5),
            throttled: share,
            throttled_seconds_per_second: Some(0.25),
            ..GroupUse::default()
        };
        let of = |port| ServiceUse {
            group: Some(group.clone()),
            cpu_cores: Some(0.5),
            ..service_use(&service("shop", port))
        };
        reading(wall_ns, vec![of(None), of(Some(80))])
    }

    fn said(advisor: &mut Advisor, wall_ns: u64, share: Option<f64>) -> Vec<Recommendation> {
        Scene::new().said(advisor, RULE, Some(&throttled(wall_ns, share)), &[])
    }

    #[test]
    fn a_group_that_is_throttled_in_two_readings_is_told_once_for_all_its_services() {
        let advisor = &mut Advisor::default();
        assert_eq!(said(advisor, 1, Some(0.3)), []);
        assert_eq!(said(advisor, 1, Some(0.3)), [], "the same reading");
        let one = only(said(advisor, 2, Some(0.4)));
        assert_eq!(one.service, Some(service("shop", Some(80))));
        assert_eq!((one.severity, one.gain_ms_per_second), (Severity::Error, Some(250.0)));
        assert_eq!(
            numbers(&one),
            [
                ("throttled_share", 0.4),
                ("readings_in_a_row", 2.0),
                ("over_seconds", 10.0),
                ("throttled_seconds_per_second", 0.25),
                ("cpu_limit_cores", 0.5),
                ("cpu_cores", 0.5),
            ]
        );
        assert_eq!(words(&one), [("control_group", "/shop.slice".to_owned())]);
        assert_eq!(
            one.text,
            "The control group of shop:80, which may take 0.5 processors' time, was throttled in 40 % of its scheduling \
             periods: all in it stood still until the next one began."
        );
        let later = only(said(advisor, 3, Some(0.06)));
        assert_eq!((later.id, later.severity), (one.id, Severity::Warning));
    }

    #[test]
    fn nothing_is_said_of_a_little_of_what_is_unknown_and_of_what_is_over() {
        let advisor = &mut Advisor::default();
        for (wall_ns, share) in [
            (1, Some(0.05)),
            (2, Some(0.05)),
            (3, None),
            (4, Some(0.3)),
            (5, Some(0.0)),
            (6, Some(0.3)),
        ] {
            assert_eq!(said(advisor, wall_ns, share), [], "{wall_ns}");
        }
    }
}
