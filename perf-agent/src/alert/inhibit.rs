//! Inhibition: what a worse alert explains is not told besides.
//!
//! Of one subject, an alert that fires hides milder ones of the same metric, and a critical one hides all milder ones. One
//! that is itself silenced hides them, too: who silenced it knows.

use hashbrown::HashMap;

use super::{Alert, State};
use crate::threshold::Severity;

/// What one subject's firing alerts hide.
#[derive(Default)]
struct Worst {
    /// Any critical one.
    critical: Option<String>,
    /// Per metric.
    by_metric: HashMap<String, (Severity, String)>,
}

/// Says of each alert which other one hides it. Of several that do it is the first.
pub(super) fn apply<'a>(alerts: impl Iterator<Item = &'a mut Alert>) {
    let alerts: Vec<&mut Alert> = alerts.collect();
    let mut subjects: HashMap<String, Worst> = HashMap::new();
    for alert in alerts.iter().filter(|alert| alert.state == State::Firing) {
        let worst = subjects.entry(alert.subject.key.clone()).or_default();
        if alert.severity == Severity::Critical {
            worst.critical.get_or_insert_with(|| alert.id.clone());
        }
        let of_metric = worst
            .by_metric
            .entry(alert.metric.clone())
            .or_insert_with(|| (alert.severity, alert.id.clone()));
        if alert.severity > of_metric.0 {
            *of_metric = (alert.severity, alert.id.clone());
        }
    }
    for alert in alerts {
        let worst = subjects.get(&alert.subject.key);
        let of_metric = worst
            .and_then(|worst| worst.by_metric.get(&alert.metric))
            .filter(|(severity, _)| *severity > alert.severity)
            .map(|(_, id)| id);
        let critical = worst
            .and_then(|worst| worst.critical.as_ref())
            .filter(|_| alert.severity < Severity::Critical);
        alert.inhibited_by = of_metric.or(critical).cloned();
    }
}
