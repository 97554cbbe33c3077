//! `errors_since_restart`: errors began when the processes of a service were started anew, maybe from another executable.
//!
//! Of each service the counts of the last quarter of an hour are kept, one point per look. What happened before the start
//! is held against what happened since; of a service of which nothing is known before, against the one of the same name
//! and port that is gone.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::views::Views;
use super::{Evidence, Observed, Recommendation, Settings, subject, text};
use crate::aggregate::Window;
use crate::exchange::Role;
use crate::process::{Service, ServiceKey};
use crate::threshold::Severity;

/// The rule's name.
pub const RULE: &str = "errors_since_restart";

/// Points kept of one service, and the least time between two.
const POINTS: usize = 96;
const BETWEEN_NS: u64 = 9_000_000_000;
/// How old the oldest may become.
const KEPT_NS: u64 = 900_000_000_000;
/// Statuses that are listed.
const STATUSES: usize = 5;

/// When it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests before the start below which nothing is said: there is nothing to hold the others against.
    pub min_before: u64,
    /// Requests since the start below which nothing is said.
    pub min_since: u64,
    /// Errors since the start below which nothing is said.
    pub min_errors: u64,
    /// Error rate since the start below which nothing is said.
    pub rate: f64,
    /// How many times the rate before it has to be.
    pub times: f64,
    /// Seconds after the start within which it has to begin.
    pub begins_within_seconds: f64,
    /// Error rate from which on it is an error, and critical.
    pub serious_rates: [f64; 2],
}

impl Default for Limits {
    /// 50 requests before, 20 since, 10 errors that are 5 % and five times as many as before, within two minutes; 20 % are
    /// an error, 50 % critical.
    fn default() -> Self {
        Self {
            min_before: 50,
            min_since: 20,
            min_errors: 10,
            rate: 0.05,
            times: 5.0,
            begins_within_seconds: 120.0,
            serious_rates: [0.2, 0.5],
        }
    }
}

/// Counts since the start of observation, as of one moment; or between two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Point {
    at_ns: u64,
    requests: u64,
    errors: u64,
}

impl Point {
    fn since(self, before: Self) -> Self {
        Self {
            at_ns: self.at_ns,
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
        }
    }

    /// Errors per request; 0 without requests.
    fn rate(self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }
}

/// The services' counts over time; as many services as the snapshot has.
#[derive(Debug, Default)]
pub(super) struct Histories {
    of: HashMap<Arc<ServiceKey>, VecDeque<Point>>,
}

/// What was found.
struct Burst<'a> {
    before: Point,
    since: Point,
    /// From the start to the errors.
    seconds_to_errors: f64,
    started_wall_ns: u64,
    /// The service that was there before, if it is another one.
    predecessor: Option<&'a ServiceKey>,
}

impl Histories {
    pub(super) fn advise(
        &mut self,
        views: &Views<'_>,
        observed: &Observed<'_>,
        settings: &Settings,
        out: &mut Vec<Recommendation>,
    ) {
        let now = self.keep(views);
        let services = observed.resources.iter().flat_map(|resources| &resources.services);
        for service in services {
            let (Some(started), Some(now)) = (service.started_wall_ns, now.get(&service.service)) else {
                continue;
            };
            let burst = self.burst(&service.service, *now, started, views, observed, &settings.restart);
            out.extend(burst.map(|burst| of(&service.service, &burst, views, &settings.restart)));
        }
    }

    /// Puts down the newest counts; gives them.
    fn keep(&mut self, views: &Views<'_>) -> HashMap<Arc<ServiceKey>, Point> {
        let at_ns = views.at_ns;
        let mut sums: HashMap<Arc<ServiceKey>, Point> = HashMap::new();
        for (endpoint, counts) in views.snapshot.endpoints.iter().zip(&views.counts) {
            if endpoint.key.role == Role::Server {
                let sum = sums.entry(Arc::clone(&endpoint.key.service)).or_default();
                sum.at_ns = at_ns;
                sum.requests += counts.requests;
                sum.errors += counts.errors;
            }
        }
        self.of.retain(|service, _| sums.contains_key(service));
        for (service, sum) in &sums {
            let points = self.of.entry(Arc::clone(service)).or_default();
            let last = points.back().copied().unwrap_or_default();
            if last.requests > sum.requests {
                points.clear();
            }
            if points.is_empty() || at_ns >= last.at_ns + BETWEEN_NS {
                points.push_back(*sum);
            }
            let is_old = |point: &Point| point.at_ns + KEPT_NS < at_ns;
            while points.len() > POINTS || points.front().is_some_and(is_old) {
                points.pop_front();
            }
        }
        sums
    }

    fn burst<'a>(
        &'a self,
        service: &ServiceKey,
        now: Point,
        started_wall_ns: u64,
        views: &'a Views<'_>,
        observed: &Observed<'_>,
        limits: &Limits,
    ) -> Option<Burst<'a>> {
        let age_ns = observed
            .wall_ns
            .checked_sub(started_wall_ns)
            .filter(|age_ns| *age_ns <= KEPT_NS)?;
        let started_ns = views.at_ns.checked_sub(age_ns)?;
        let points = self.of.get(service)?;
        let split = points.partition_point(|point| point.at_ns <= started_ns);
        let (before, predecessor, first) = if split > 0 {
            // What ended around the start itself is of neither.
            (points[split - 1].since(points[0]), None, points.get(split).copied()?)
        } else {
            let (key, points) = self.predecessor(service, views)?;
            let first = Point {
                at_ns: started_ns,
                ..Point::default()
            };
            (points.back()?.since(*points.front()?), Some(key), first)
        };
        let since = now.since(first);
        let is_worse = since.rate() >= limits.rate.max(limits.times * before.rate());
        if before.requests < limits.min_before
            || since.requests < limits.min_since
            || since.errors < limits.min_errors
            || !is_worse
        {
            return None;
        }
        // It began soon, and is not over.
        let steps: Vec<Point> = std::iter::once(first)
            .chain(
                points
                    .iter()
                    .skip(split)
                    .filter(|point| point.at_ns > first.at_ns)
                    .copied(),
            )
            .chain((points.back().is_some_and(|last| last.at_ns < now.at_ns)).then_some(now))
            .collect();
        let mut steps = steps.windows(2).map(|pair| (pair[0].at_ns, pair[1].since(pair[0])));
        let is_bad = |(_, step): &(u64, Point)| step.requests > 0 && step.rate() >= since.rate() / 2.0;
        let begin_ns = steps.clone().find(is_bad)?.0;
        let last = steps.rfind(|(_, step)| step.requests > 0)?;
        let seconds_to_errors = begin_ns.saturating_sub(started_ns) as f64 / 1e9;
        (seconds_to_errors <= limits.begins_within_seconds && last.1.rate() >= since.rate() / 4.0).then_some(Burst {
            before,
            since,
            seconds_to_errors,
            started_wall_ns,
            predecessor,
        })
    }

    /// The service that was at the place of this one and has no processes any more; only if it is one.
    fn predecessor<'a>(
        &'a self,
        service: &ServiceKey,
        views: &'a Views<'_>,
    ) -> Option<(&'a ServiceKey, &'a VecDeque<Point>)> {
        let is_it = |other: &&Arc<Service>| {
            let key = &other.key;
            other.pids.is_empty()
                && **key != *service
                && key.name == service.name
                && key.unit == service.unit
                && key.port == service.port
                && key.socket == service.socket
        };
        let mut gone = views.snapshot.services.iter().filter(is_it).filter_map(|other| {
            let points = self.of.get(&other.key)?;
            Some((&*other.key, points))
        });
        let found = gone.next()?;
        gone.next().is_none().then_some(found)
    }
}

fn of(service: &Arc<ServiceKey>, burst: &Burst<'_>, views: &Views<'_>, limits: &Limits) -> Recommendation {
    let mut one = Recommendation::new(RULE, subject::of_service(service)).of(service);
    let served = views.served().filter(|seen| seen.endpoint.key.service == *service);
    let worst = served.max_by_key(|seen| (seen.view.errors, seen.number));
    if let Some(worst) = worst {
        one = one.at(worst.endpoint);
    }
    let Burst { before, since, .. } = burst;
    let rate = since.rate();
    let [serious, critical] = limits.serious_rates;
    one.severity = if rate >= critical {
        Severity::Critical
    } else if rate >= serious {
        Severity::Error
    } else {
        Severity::Warning
    };
    one.window = Window::FifteenMinutes;
    one.number("error_rate_before", before.rate());
    one.number("error_rate_since", rate);
    one.number("requests_before", before.requests as f64);
    one.number("requests_since", since.requests as f64);
    one.number("errors_since", since.errors as f64);
    one.evidence
        .push(("processes_started_at", Evidence::Moment(burst.started_wall_ns)));
    one.number("seconds_to_errors", burst.seconds_to_errors);
    one.text = format!(
        "{} of requests to {} have failed ({} of {}) since its processes were started; before it was {} ({} of {}).",
        text::percent(rate),
        text::service(service),
        since.errors,
        since.requests,
        text::percent(before.rate()),
        before.errors,
        before.requests,
    );
    if let Some(predecessor) = burst.predecessor {
        let names = |key: &ServiceKey| {
            let name = |name: &Option<compact_str::CompactString>| name.as_deref().unwrap_or("unknown").to_owned();
            (name(&key.exe), name(&key.container))
        };
        let ((exe, container), (exe_before, container_before)) = (names(service), names(predecessor));
        if exe != exe_before {
            one.adds(&format!(" The executable was {exe_before} and is {exe} now."));
            one.word("exe_before", exe_before);
            one.word("exe", exe);
        }
        if container != container_before {
            one.text += " It runs in another container now.";
            one.word("container_before", container_before);
            one.word("container", container);
        }
    }
    if let Some(worst) = worst.filter(|worst| worst.view.errors > 0) {
        let mut statuses: Vec<(u64, String)> = worst
            .endpoint
            .statuses(&worst.view)
            .into_iter()
            .map(|(status, count)| (count, status))
            .collect();
        statuses.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let statuses = statuses.into_iter().take(STATUSES);
        let statuses = statuses.map(|(count, status)| format!("{status}: {count}")).collect();
        one.evidence.push(("statuses", Evidence::List(statuses)));
        one.number("errors_of_endpoint", worst.view.errors as f64);
    }
    let first = worst.map_or_else(String::new, |worst| {
        format!(" Most errors are of {}.", text::operation(worst.endpoint))
    });
    one.fix = format!(
        "Go back to what ran before, or mend what was changed with the start: program, settings, schema.{first}"
    );
    one
}

#[cfg(test)]
mod tests {
    use super::super::Advisor;
    use super::super::scene::{
        Asked, EPOCH_NS, MS, SECOND_NS, Scene, asked, numbers, only, reading, service, service_use, words,
    };
    use super::*;
    use crate::resources::{Resources, ServiceUse};

    struct Play {
        scene: Scene,
        advisor: Advisor,
        service: Arc<ServiceKey>,
        endpoint: usize,
        started_ns: u64,
    }

    impl Play {
        fn new(service: Arc<ServiceKey>) -> Self {
            let mut scene = Scene::new();
            let endpoint = scene.server(&service, "/orders");
            Self {
                started_ns: scene.at_ns,
                scene,
                advisor: Advisor::default(),
                service,
                endpoint,
            }
        }

        fn resources(&self) -> Resources {
            let used = ServiceUse {
                started_wall_ns: Some(EPOCH_NS + self.started_ns),
                ..service_use(&self.service)
            };
            reading(EPOCH_NS + self.scene.at_ns, vec![used])
        }

        /// Ten seconds go by, with so many requests and errors.
        fn step(&mut self, requests: u32, errors: u32) -> Vec<Recommendation> {
            self.scene.wait(10);
            self.scene.ask(self.endpoint, requests - errors, asked(MS));
            self.scene.ask(
                self.endpoint,
                errors,
                Asked {
                    status: 500,
                    ..asked(MS)
                },
            );
            let resources = self.resources();
            self.scene.said(&mut self.advisor, RULE, Some(&resources), &[])
        }

        fn restart(&mut self) {
            self.started_ns = self.scene.at_ns + 2 * SECOND_NS;
        }
    }

    #[test]
    fn errors_that_began_with_a_restart_are_told_with_both_rates() {
        let mut play = Play::new(service("shop", Some(80)));
        for _ in 0..6 {
            assert_eq!(play.step(100, 1), []);
        }
        play.restart();
        // What ends around the start is of neither.
        assert_eq!(play.step(50, 40), []);
        let one = only(play.step(50, 15));
        let two = only(play.step(50, 15));
        assert_eq!((&one.id, one.severity), (&two.id, Severity::Error));
        assert_eq!(two.since_wall_ns, one.since_wall_ns);
        assert_eq!(two.endpoint, Some(play.scene.id(play.endpoint)));
        assert_eq!(
            numbers(&two),
            [
                ("error_rate_before", 0.01),
                ("error_rate_since", 0.3),
                ("requests_before", 500.0),
                ("requests_since", 100.0),
                ("errors_since", 30.0),
                ("seconds_to_errors", 8.0),
                ("errors_of_endpoint", 76.0),
            ]
        );
        let moment = ("processes_started_at", Evidence::Moment(EPOCH_NS + play.started_ns));
        assert!(two.evidence.contains(&moment));
        let statuses = vec!["200: 674".to_owned(), "500: 76".to_owned()];
        assert!(two.evidence.contains(&("statuses", Evidence::List(statuses))));
        assert_eq!(
            two.text,
            "30 % of requests to shop:80 have failed (30 of 100) since its processes were started; before it was 1 % (5 of \
             500)."
        );
    }

    #[test]
    fn another_executable_in_the_same_place_is_named() {
        let (old, new) = (service("shop", Some(80)), service("shop", Some(80)));
        let new = Arc::new(ServiceKey {
            exe: Some("/opt/shop-2/shop".into()),
            ..(*new).clone()
        });
        let mut play = Play::new(Arc::clone(&old));
        for _ in 0..6 {
            play.step(100, 0);
        }
        play.restart();
        play.scene.gone.push(old);
        play.endpoint = play.scene.server(&new, "/orders");
        play.service = new;
        let one = only(play.step(100, 60));
        assert_eq!(one.severity, Severity::Critical);
        assert_eq!(
            words(&one),
            [
                ("exe_before", "/usr/bin/shop".to_owned()),
                ("exe", "/opt/shop-2/shop".to_owned())
            ]
        );
        assert!(
            one.text
                .ends_with(" The executable was /usr/bin/shop and is /opt/shop-2/shop now.")
        );
    }

    #[test]
    fn nothing_is_said_without_a_restart() {
        let mut play = Play::new(service("shop", Some(80)));
        for _ in 0..6 {
            play.step(100, 1);
        }
        for _ in 0..6 {
            assert_eq!(play.step(100, 50), []);
        }
    }

    #[test]
    fn nothing_is_said_of_a_restart_after_which_all_is_as_before_of_few_errors_and_of_what_is_over() {
        for (before, after) in [((100, 10), (100, 15)), ((100, 0), (100, 1)), ((8, 0), (100, 50))] {
            let mut play = Play::new(service("shop", Some(80)));
            for _ in 0..6 {
                play.step(before.0, before.1);
            }
            play.restart();
            for _ in 0..6 {
                assert_eq!(play.step(after.0, after.1), [], "{before:?} {after:?}");
            }
        }
        let mut play = Play::new(service("shop", Some(80)));
        for _ in 0..6 {
            play.step(100, 0);
        }
        play.restart();
        play.step(100, 50);
        only(play.step(100, 50));
        assert_eq!(play.step(100, 0), []);
    }

    #[test]
    fn nothing_is_said_of_errors_that_begin_long_after_the_start() {
        let mut play = Play::new(service("shop", Some(80)));
        for _ in 0..6 {
            play.step(100, 0);
        }
        play.restart();
        for _ in 0..14 {
            play.step(100, 0);
        }
        for _ in 0..6 {
            assert_eq!(play.step(100, 90), []);
        }
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept() {
        let mut play = Play::new(service("shop", Some(80)));
        for _ in 0..1000 {
            play.step(1, 0);
        }
        let points = &play.advisor.histories.of[&play.service];
        assert_eq!(points.len(), 91);
    }
}
