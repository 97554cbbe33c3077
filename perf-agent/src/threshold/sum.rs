//! A metric's figure of one endpoint, or of several together.

use super::metric::{Metric, Statistic, Stretch};
use crate::aggregate::{Distribution, Tallies, WindowView};

/// A figure, and the samples that it is made of.
pub(super) type Figure = (Option<f64>, u64);

/// What several endpoints add up to, as far as one metric needs it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    requests: u64,
    /// Errors, or what else is counted per request.
    counted: u64,
    covered_ns: u64,
    /// Most in flight of one of them at once, and in flight now of all.
    in_flight: [u32; 2],
    times: Times,
    tallies: Tallies,
    /// A socket told.
    is_told: bool,
}

/// Times: a mean needs no more than their sum.
#[derive(Clone, Debug, Default)]
struct Times {
    sum_ns: u128,
    count: u64,
    all: Distribution,
}

impl Sum {
    /// Adds an endpoint's window.
    pub(super) fn add(&mut self, metric: &Metric, view: &WindowView) {
        self.requests += view.requests;
        self.covered_ns = self.covered_ns.max(view.covered_ns);
        self.in_flight[0] = self.in_flight[0].max(view.max_in_flight);
        self.in_flight[1] = self.in_flight[1].saturating_add(view.in_flight);
        self.tallies.merge(&view.tallies);
        self.is_told |= view.network.is_some();
        self.counted += match metric {
            Metric::ErrorRate => view.errors,
            Metric::ClientErrorRate => view.client_errors,
            Metric::Retransmits => view.network.as_ref().map_or(0, |network| network.retransmits),
            _ => 0,
        };
        if let Some((times, statistic)) = times(metric, view) {
            self.times.sum_ns += times.sum_ns();
            self.times.count += times.count();
            if statistic != Statistic::Mean {
                self.times.all.merge(times);
            }
        }
    }

    /// Adds an endpoint in which nothing happened.
    pub(super) fn add_quiet(&mut self, covered_ns: u64) {
        self.covered_ns = self.covered_ns.max(covered_ns);
    }

    /// The metric's figure.
    pub(super) fn figure(&self, metric: &Metric) -> Figure {
        match metric {
            Metric::Time(_, statistic) | Metric::Spent(_, statistic) | Metric::NetworkRtt(statistic) => {
                let Times { sum_ns, count, all } = &self.times;
                if *statistic == Statistic::Mean {
                    let mean = (*count > 0).then(|| *sum_ns as f64 / *count as f64 / 1e6);
                    (mean, *count)
                } else {
                    of_times(all, *statistic)
                }
            }
            Metric::CacheHitRate => hit_rate(&self.tallies),
            Metric::Concurrency => {
                // Whether the endpoints had theirs at the same time is not known.
                let most = self.in_flight[0].max(self.in_flight[1]);
                (Some(most.into()), self.requests)
            }
            Metric::Throughput => (per_second(self.requests, self.covered_ns), self.requests),
            Metric::Retransmits => {
                let rate = per_second(self.counted, self.covered_ns);
                (rate.filter(|_| self.is_told), self.requests)
            }
            Metric::ErrorRate | Metric::ClientErrorRate => (ratio(self.counted, self.requests), self.requests),
            _ => (None, 0),
        }
    }
}

/// A metric's figure of one window.
pub(super) fn of_view(metric: &Metric, view: &WindowView) -> Figure {
    if let Some((times, statistic)) = times(metric, view) {
        return of_times(times, statistic);
    }
    let mut sum = Sum::default();
    sum.add(metric, view);
    sum.figure(metric)
}

/// A metric's figure of a window in which nothing happened.
pub(super) fn of_quiet(metric: &Metric) -> Figure {
    match metric {
        Metric::Throughput | Metric::Concurrency => (Some(0.0), 0),
        _ => (None, 0),
    }
}

/// A figure of times, in milliseconds.
pub(super) fn of_times(times: &Distribution, statistic: Statistic) -> Figure {
    let value_ns = match statistic {
        Statistic::Mean => times.mean_ns(),
        Statistic::Max => times.max_ns().map(|max_ns| max_ns as f64),
        Statistic::Median => quantile(times, 500),
        Statistic::P90 => quantile(times, 900),
        Statistic::P95 => quantile(times, 950),
        Statistic::P99 => quantile(times, 990),
        Statistic::P999 => quantile(times, 999),
    };
    (value_ns.map(|value_ns| value_ns / 1e6), times.count())
}

fn quantile(times: &Distribution, per_mille: u64) -> Option<f64> {
    (times.count() > 0).then(|| times.per_mille(per_mille) as f64)
}

/// The times that a metric is a figure of.
fn times<'a>(metric: &Metric, view: &'a WindowView) -> Option<(&'a Distribution, Statistic)> {
    match metric {
        Metric::Time(stretch, statistic) => {
            let times = match stretch {
                Stretch::Response => &view.response_time,
                Stretch::FirstByte => &view.time_to_first_byte,
                Stretch::Queue => &view.queue_time,
                Stretch::Processing => &view.processing,
            };
            Some((times, *statistic))
        }
        Metric::Spent(class, statistic) => {
            let breakdown = view.breakdown.as_ref()?;
            Some((&breakdown.classes[*class as usize], *statistic))
        }
        Metric::NetworkRtt(statistic) => Some((&view.network.as_ref()?.rtt, *statistic)),
        _ => None,
    }
}

fn hit_rate(tallies: &Tallies) -> Figure {
    (tallies.hit_rate(), tallies.hits + tallies.misses)
}

fn ratio(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

fn per_second(count: u64, covered_ns: u64) -> Option<f64> {
    (covered_ns > 0).then(|| count as f64 * 1e9 / covered_ns as f64)
}
