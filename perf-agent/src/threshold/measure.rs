//! Measuring: the figures that thresholds are held against.
//!
//! An evaluation goes over the endpoints once per window that a threshold asks for. An endpoint's window is merged once at
//! most, and not at all if nothing happened in it, or less than any threshold wants to hear of.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;

use super::metric::{CustomStatistic, Metric, Of};
use super::sum::{self, Figure, Sum};
use super::{Scope, Subject, Threshold, matches};
use crate::aggregate::window::SECOND_NS;
use crate::aggregate::{Window, WindowView};
use crate::custom::{CustomSnapshot, CustomView};
use crate::exchange::{Class, Role};
use crate::ledger::Accounting;
use crate::protocol;
use crate::resources::{Resources, ServiceUse};
use crate::snapshot::{EndpointSnapshot, Snapshot};

/// A reading of resources that is older than this says nothing of now.
const STALE_NS: u64 = 60 * SECOND_NS;

/// Everything that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// What host and services take.
    pub resources: Option<&'a Resources>,
    /// What programs report.
    pub custom: &'a CustomSnapshot,
}

/// A threshold's figure of one subject. A subject in which nothing happened has none, and is not there at all where that
/// is so for its threshold's metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which threshold, by its place.
    pub threshold: usize,
    /// Who.
    pub subject: Arc<Subject>,
    /// The figure; `None` if there is none, or of too few samples.
    pub value: Option<f64>,
    /// Samples that it is made of.
    pub count: u64,
}

/// Measures, and keeps what it takes to measure again cheaply: who endpoints are, and what was lost before.
#[derive(Debug, Default)]
pub struct Evaluator {
    subjects: HashMap<Arc<str>, Named>,
    round: u64,
    lost: LostBefore,
    merged: u64,
}

/// An endpoint's subject, and the evaluation in which it was there last.
#[derive(Debug)]
struct Named {
    subject: Arc<Subject>,
    round: u64,
}

/// A threshold and its place.
type Asked<'a> = (usize, &'a Threshold);

/// What endpoints add up to, by threshold and subject.
type Sums = BTreeMap<(usize, String), (Subject, Sum)>;

impl Evaluator {
    /// The figures now, of all thresholds.
    pub fn evaluate(&mut self, thresholds: &[Threshold], observed: &Observed<'_>) -> Vec<Reading> {
        let snapshot = observed.snapshot;
        self.round += 1;
        self.lost.tell(snapshot.at_ns, lost(&snapshot.accounting));
        let mut readings = Readings {
            thresholds,
            all: Vec::new(),
        };
        let mut by_endpoint: Vec<(Window, Vec<Asked<'_>>)> = Vec::new();
        let mut totals: HashMap<Window, WindowView> = HashMap::new();
        for (place, threshold) in thresholds.iter().enumerate() {
            match threshold.metric.of() {
                Of::Requests if threshold.scope == Scope::Total => {
                    let view = totals.entry(threshold.window).or_insert_with(|| {
                        self.merged += 1;
                        snapshot.total.window(threshold.window, snapshot.at_ns)
                    });
                    let figure = sum::of_view(&threshold.metric, view);
                    readings.add(place, &Arc::new(Subject::total()), figure);
                }
                Of::Requests | Of::Caches => {
                    match by_endpoint.iter_mut().find(|(window, _)| *window == threshold.window) {
                        Some((_, asked)) => asked.push((place, threshold)),
                        None => by_endpoint.push((threshold.window, vec![(place, threshold)])),
                    }
                }
                Of::Resources => resources(place, threshold, observed, &mut readings),
                Of::Agent => {
                    let figure = self.lost.within(threshold.window, snapshot);
                    readings.add(place, &Arc::new(Subject::agent()), (Some(figure as f64), figure));
                }
                Of::Functions => functions(place, threshold, snapshot, &mut readings),
                Of::Custom => custom(place, threshold, observed.custom, &mut readings),
            }
        }
        for (window, asked) in by_endpoint {
            self.endpoints(window, &asked, snapshot, &mut readings);
        }
        let round = self.round;
        self.subjects.retain(|_, named| named.round == round);
        readings.all
    }

    /// Windows that were merged so far: what evaluations cost.
    pub fn merged(&self) -> u64 {
        self.merged
    }

    fn endpoints(&mut self, window: Window, asked: &[Asked<'_>], snapshot: &Snapshot, readings: &mut Readings<'_>) {
        let mut sums = Sums::new();
        let mut wanting: Vec<Asked<'_>> = Vec::with_capacity(asked.len());
        let covered_ns = snapshot.at_ns - window.from_ns(snapshot.at_ns, snapshot.started_ns);
        for endpoint in &snapshot.endpoints {
            wanting.clear();
            wanting.extend(asked.iter().filter(|(_, threshold)| is_of(threshold, endpoint)));
            if wanting.is_empty() {
                continue;
            }
            let subject = self.subject(endpoint);
            if endpoint.aggregate.is_quiet(window, snapshot.at_ns) {
                for &(place, threshold) in &wanting {
                    match together(threshold, endpoint) {
                        // A service with nothing but quiet endpoints has a throughput still.
                        Some(of) if threshold.metric.is_known_without_samples() => {
                            sums.sum(place, of).add_quiet(covered_ns);
                        }
                        Some(_) => {}
                        None => readings.add_if_known(place, &subject, sum::of_quiet(&threshold.metric)),
                    }
                }
                continue;
            }
            let requests = endpoint.aggregate.requests_within(window, snapshot.at_ns);
            if wanting
                .iter()
                .all(|(_, threshold)| is_too_little(threshold, endpoint, requests))
            {
                for &(place, _) in &wanting {
                    readings.add(place, &subject, (None, requests));
                }
                continue;
            }
            let view = endpoint.window(window, snapshot.at_ns);
            self.merged += 1;
            for &(place, threshold) in &wanting {
                match together(threshold, endpoint) {
                    Some(of) => sums.sum(place, of).add(&threshold.metric, &view),
                    None => readings.add(place, &subject, sum::of_view(&threshold.metric, &view)),
                }
            }
        }
        for ((place, _), (subject, sum)) in sums {
            let figure = sum.figure(&readings.thresholds[place].metric);
            readings.add(place, &Arc::new(subject), figure);
        }
    }

    /// Who an endpoint is.
    fn subject(&mut self, endpoint: &EndpointSnapshot) -> Arc<Subject> {
        let round = self.round;
        let named = self.subjects.entry(Arc::clone(&endpoint.id)).or_insert_with(|| Named {
            subject: Arc::new(Subject::endpoint(endpoint)),
            round,
        });
        named.round = round;
        Arc::clone(&named.subject)
    }
}

/// Sums by subject.
trait BySubject {
    fn sum(&mut self, threshold: usize, of: Subject) -> &mut Sum;
}

impl BySubject for Sums {
    fn sum(&mut self, threshold: usize, of: Subject) -> &mut Sum {
        let entry = self.entry((threshold, of.key.clone()));
        let (known, sum) = entry.or_insert_with(|| (of.clone(), Sum::default()));
        // What several services ask is no service's.
        if known.service != of.service {
            known.service = None;
        }
        sum
    }
}

/// Readings as they come together.
struct Readings<'a> {
    thresholds: &'a [Threshold],
    all: Vec<Reading>,
}

impl Readings<'_> {
    fn add(&mut self, threshold: usize, subject: &Arc<Subject>, (value, count): Figure) {
        let enough = count >= self.thresholds[threshold].min_count;
        self.all.push(Reading {
            threshold,
            subject: Arc::clone(subject),
            value: value.filter(|value| enough && value.is_finite()),
            count,
        });
    }

    fn add_if_known(&mut self, threshold: usize, subject: &Arc<Subject>, figure: Figure) {
        if figure.0.is_some() {
            self.add(threshold, subject, figure);
        }
    }
}

/// Is an endpoint what a threshold is about?
fn is_of(threshold: &Threshold, endpoint: &EndpointSnapshot) -> bool {
    let key = &endpoint.key;
    if let Scope::Endpoint(id) = &threshold.scope {
        return **id == *endpoint.id;
    }
    let of_service = |pattern: &str| matches(pattern, &key.service.name);
    if threshold.metric.of() == Of::Caches {
        let is_cache = key.role == Role::Client && key.peer.is_some() && key.protocol.class() == Class::Cache;
        return is_cache
            && match &threshold.scope {
                Scope::Service(pattern) => of_service(pattern),
                _ => true,
            };
    }
    // Who waits for something to happen is not slow.
    let is_slow_on_purpose =
        || matches!(threshold.metric, Metric::Time(..)) && protocol::waits(key.protocol, &key.operation.route);
    key.role == Role::Server
        && match &threshold.scope {
            Scope::Each => true,
            Scope::Service(pattern) => of_service(pattern),
            Scope::Route(pattern) => {
                matches(pattern, &key.operation.route) || matches(pattern, &key.operation.to_string())
            }
            Scope::Total | Scope::Host | Scope::Endpoint(_) => false,
        }
        && !is_slow_on_purpose()
}

/// Whom an endpoint is measured together with; `None` if it is for itself.
fn together(threshold: &Threshold, endpoint: &EndpointSnapshot) -> Option<Subject> {
    match (&threshold.scope, threshold.metric.of()) {
        (Scope::Service(_), _) => Some(Subject::service(&endpoint.key.service.name)),
        (Scope::Each, Of::Caches) => Subject::cache(&endpoint.key),
        (Scope::Total, _) => Some(Subject::caches()),
        _ => None,
    }
}

/// Is it sure, by the number of requests, that a threshold has nothing to say of an endpoint?
fn is_too_little(threshold: &Threshold, endpoint: &EndpointSnapshot, requests: u64) -> bool {
    let by_request = matches!(
        threshold.metric,
        Metric::Time(..) | Metric::ErrorRate | Metric::ClientErrorRate
    );
    by_request && requests < threshold.min_count && together(threshold, endpoint).is_none()
}

fn resources(place: usize, threshold: &Threshold, observed: &Observed<'_>, readings: &mut Readings<'_>) {
    let is_fresh = |resources: &&Resources| {
        resources.wall_ns.saturating_add(STALE_NS) >= observed.snapshot.wall_ns
            && threshold.metric.of() == Of::Resources
    };
    let Some(resources) = observed.resources.filter(is_fresh) else {
        return;
    };
    let is_cpu = threshold.metric == Metric::CpuUsage;
    let figure = |usage: Option<f64>| (usage, 1);
    let Scope::Service(pattern) = &threshold.scope else {
        let host = &resources.host;
        let usage = if is_cpu { host.cpu_usage } else { host.memory_usage };
        readings.add(place, &Arc::new(Subject::host()), figure(usage));
        return;
    };
    for (name, usage) in usage_by_service(resources, is_cpu) {
        if matches(pattern, name) {
            readings.add(place, &Arc::new(Subject::service(name)), figure(usage));
        }
    }
}

/// The usage of every service by name. A program that listens on several ports is several services with the same
/// processes, so the largest counts, and not the sum.
fn usage_by_service(resources: &Resources, is_cpu: bool) -> BTreeMap<&str, Option<f64>> {
    let mut all: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    for service in &resources.services {
        let ServiceUse {
            cpu_usage,
            memory_usage,
            ..
        } = service;
        let usage = if is_cpu { *cpu_usage } else { *memory_usage };
        let most = all.entry(&service.service.name).or_default();
        *most = match (*most, usage) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
    }
    all
}

fn functions(place: usize, threshold: &Threshold, snapshot: &Snapshot, readings: &mut Readings<'_>) {
    let Metric::FunctionTime { statistic, name } = &threshold.metric else {
        return;
    };
    for function in &snapshot.functions {
        let told = &function.told;
        if matches(name, &told.name) || *name == told.choice {
            let invocations = function.aggregate.window(threshold.window);
            let subject = Arc::new(Subject::function(&told.file, &told.name));
            readings.add(place, &subject, sum::of_times(&invocations.duration, *statistic));
        }
    }
}

fn custom(place: usize, threshold: &Threshold, custom: &CustomSnapshot, readings: &mut Readings<'_>) {
    let Metric::Custom { name, statistic } = &threshold.metric else {
        return;
    };
    for view in custom.views(Some(name), threshold.window) {
        readings.add(
            place,
            &Arc::new(Subject::custom(&view)),
            custom_figure(&view, *statistic),
        );
    }
}

fn custom_figure(view: &CustomView, statistic: Option<CustomStatistic>) -> Figure {
    let value = match statistic {
        None => view.figure(),
        Some(CustomStatistic::Mean) => view.mean,
        Some(CustomStatistic::Min) => view.min,
        Some(CustomStatistic::Max) => view.max,
        Some(CustomStatistic::Sum) => Some(view.sum),
        Some(CustomStatistic::Count) => Some(view.count as f64),
        Some(CustomStatistic::Last) => view.last,
        Some(CustomStatistic::Rate) => view.per_second,
    };
    (value, view.count)
}

/// Records that never became exchanges, so far: those that the kernel side could not hand over, and those that could not
/// be read.
fn lost(accounting: &Accounting) -> u64 {
    accounting.records.lost.saturating_add(accounting.records.undecodable)
}

/// What was lost until earlier moments: every ten seconds for the last hour, every ten minutes for the last day.
#[derive(Debug, Default)]
struct LostBefore {
    now: u64,
    fine: VecDeque<(u64, u64)>,
    coarse: VecDeque<(u64, u64)>,
}

impl LostBefore {
    const FINE_NS: u64 = 10 * SECOND_NS;
    const COARSE_NS: u64 = 600 * SECOND_NS;
    /// Points of each: as many as an hour, and a day and two hours, have, and one more.
    const FINE: usize = 400;
    const COARSE: usize = 160;

    fn tell(&mut self, at_ns: u64, lost: u64) {
        if lost < self.now {
            // Another one's numbers.
            *self = Self::default();
        }
        self.now = lost;
        for (points, apart_ns, most) in [
            (&mut self.fine, Self::FINE_NS, Self::FINE),
            (&mut self.coarse, Self::COARSE_NS, Self::COARSE),
        ] {
            if points.back().is_none_or(|(last_ns, _)| last_ns + apart_ns <= at_ns) {
                if points.len() == most {
                    points.pop_front();
                }
                points.push_back((at_ns, lost));
            }
        }
    }

    /// What was lost within a window that ends now.
    fn within(&self, window: Window, snapshot: &Snapshot) -> u64 {
        let from_ns = window.from_ns(snapshot.at_ns, snapshot.started_ns);
        if from_ns <= snapshot.started_ns {
            return self.now;
        }
        let until = |points: &VecDeque<(u64, u64)>| {
            let after = points.partition_point(|(at_ns, _)| *at_ns <= from_ns);
            points.get(after.checked_sub(1)?).copied()
        };
        // The newest moment before the window; if nothing is known of that, the oldest one of which something is.
        let before = until(&self.fine).max(until(&self.coarse));
        let oldest = self.coarse.front().min(self.fine.front()).copied();
        self.now - before.or(oldest).map_or(self.now, |(_, lost)| lost)
    }
}

#[cfg(test)]
mod tests;
