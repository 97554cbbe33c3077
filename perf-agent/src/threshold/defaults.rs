//! Thresholds that come with the agent. Their ids stay what they are, so that whoever changed one finds it changed.

use super::{Draft, Source, Threshold};

/// Of every endpoint: requests in the last minute, from which on a figure says something.
const REQUESTS: u64 = 20;
/// Keys asked for, from which on a hit rate does.
const KEYS: u64 = 100;

/// Id, metric, comparison, limit, samples, how long, severity.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    f64,
    u64,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const ALL: [Row; 11] = [
    ("response-time-warning", "response_time_mean", "gt", 500.0, REQUESTS, "30s", "warning"),
    ("response-time-error", "response_time_mean", "gt", 1_000.0, REQUESTS, "30s", "error"),
    ("response-time-critical", "response_time_mean", "gt", 5_000.0, REQUESTS, "30s", "critical"),
    ("error-rate-warning", "error_rate", "gt", 0.01, REQUESTS, "30s", "warning"),
    ("error-rate-error", "error_rate", "gt", 0.05, REQUESTS, "30s", "error"),
    ("memory-warning", "memory_usage", "gt", 0.8, 0, "30s", "warning"),
    ("memory-error", "memory_usage", "gt", 0.9, 0, "30s", "error"),
    ("cpu-warning", "cpu_usage", "gt", 0.8, 0, "1m", "warning"),
    ("cpu-error", "cpu_usage", "gt", 0.9, 0, "1m", "error"),
    ("cache-hit-rate-warning", "cache_hit_rate", "lt", 0.5, KEYS, "30s", "warning"),
    ("lost-records-warning", "lost_records", "gt", 0.0, 0, "0s", "warning"),
];

/// All of them.
pub fn all() -> Vec<Threshold> {
    let read = |&(id, metric, comparison, value, min_count, for_, severity): &Row| {
        let draft = Draft {
            id: Some(id.to_owned()),
            metric: Some(metric.to_owned()),
            comparison: Some(comparison.to_owned()),
            value: Some(value),
            for_: Some(for_.to_owned()),
            min_count: Some(min_count),
            severity: Some(severity.to_owned()),
            ..Draft::default()
        };
        // There are no faults in the table, as a test shows.
        draft.check(Source::Default).ok()
    };
    ALL.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Window;
    use crate::threshold::Scope;

    #[test]
    fn all_defaults_are_thresholds_of_everything_over_a_minute() {
        let all = all();
        assert_eq!(all.len(), ALL.len());
        for threshold in &all {
            assert_eq!((&threshold.scope, threshold.window), (&Scope::Each, Window::Minute));
            assert_eq!(threshold.source, Source::Default);
        }
        let ids: std::collections::HashSet<_> = all.iter().map(|threshold| &threshold.id).collect();
        assert_eq!(ids.len(), all.len());
    }
}
