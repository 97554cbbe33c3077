//! What is kept over a restart, as it is written to disk: JSON with names of its own, so that neither the API nor a type
//! inside can change it unnoticed. What cannot be read any more is left out, with a warning.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::alert::silence::{Field, Matcher};
use crate::alert::{Alert, GroupState, Silence, State, Told};
use crate::store::Store;
use crate::threshold::{Draft, Severity, Source, Subject, Threshold};

/// The tables.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    Thresholds,
    Silences,
    Alerts,
    Groups,
}

impl Table {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Thresholds => "thresholds",
            Self::Silences => "silences",
            Self::Alerts => "alerts",
            Self::Groups => "groups",
        }
    }
}

/// Writes or (for `None`) removes one row.
pub(super) fn keep(store: &mut Store, table: Table, row: (String, Option<Vec<u8>>)) {
    store.change(table.name(), &[row]);
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Plain structs of texts and numbers.
    serde_json::to_vec(value).unwrap_or_default()
}

fn read<T: DeserializeOwned>(store: &Store, table: Table) -> Vec<T> {
    let rows = store.all(table.name()).into_iter();
    rows.filter_map(|(name, value)| {
        let read = serde_json::from_slice(&value);
        if let Err(error) = &read {
            tracing::warn!(%error, name, table = table.name(), "what was kept cannot be read, and is left out");
        }
        read.ok()
    })
    .collect()
}

#[derive(Serialize, Deserialize)]
struct KeptThreshold {
    id: Option<String>,
    metric: Option<String>,
    scope: Option<String>,
    comparison: Option<String>,
    value: Option<f64>,
    clear: Option<f64>,
    window: Option<String>,
    #[serde(rename = "for")]
    for_: Option<String>,
    min_count: Option<u64>,
    severity: Option<String>,
    message: Option<String>,
    runbook: Option<String>,
}

/// A threshold as it was written.
pub(super) fn of_draft(draft: &Draft) -> Vec<u8> {
    let draft = draft.clone();
    json(&KeptThreshold {
        id: draft.id,
        metric: draft.metric,
        scope: draft.scope,
        comparison: draft.comparison,
        value: draft.value,
        clear: draft.clear,
        window: draft.window,
        for_: draft.for_,
        min_count: draft.min_count,
        severity: draft.severity,
        message: draft.message,
        runbook: draft.runbook,
    })
}

/// Thresholds that were made through the API.
pub(super) fn thresholds(store: &Store) -> Vec<Threshold> {
    let drafts = read::<KeptThreshold>(store, Table::Thresholds)
        .into_iter()
        .map(|kept| Draft {
            id: kept.id,
            metric: kept.metric,
            scope: kept.scope,
            comparison: kept.comparison,
            value: kept.value,
            clear: kept.clear,
            window: kept.window,
            for_: kept.for_,
            min_count: kept.min_count,
            severity: kept.severity,
            message: kept.message,
            runbook: kept.runbook,
        });
    drafts
        .filter_map(|draft| match draft.check(Source::Api) {
            Ok(threshold) => Some(threshold),
            Err(faults) => {
                let why = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::warn!(
                    id = draft.id,
                    "a threshold that was kept is none any more, and is left out: {why}"
                );
                None
            }
        })
        .collect()
}

#[derive(Serialize, Deserialize)]
struct KeptSilence {
    id: String,
    matchers: Vec<(String, String)>,
    starts_wall_ns: u64,
    ends_wall_ns: u64,
    created_by: String,
    comment: String,
}

/// A silence.
pub(super) fn of_silence(silence: &Silence) -> Vec<u8> {
    let matchers = silence.matchers.iter();
    json(&KeptSilence {
        id: silence.id.clone(),
        matchers: matchers
            .map(|matcher| (matcher.field.name().to_owned(), matcher.value.clone()))
            .collect(),
        starts_wall_ns: silence.starts_wall_ns,
        ends_wall_ns: silence.ends_wall_ns,
        created_by: silence.created_by.clone(),
        comment: silence.comment.clone(),
    })
}

/// Silences.
pub(super) fn silences(store: &Store) -> Vec<Silence> {
    let kept = read::<KeptSilence>(store, Table::Silences).into_iter();
    kept.filter_map(|kept| {
        // A silence of which a condition is not known would silence more than was meant.
        let matchers = kept.matchers.into_iter().map(|(field, value)| {
            let field = Field::from_name(&field)?;
            Some(Matcher { field, value })
        });
        Some(Silence {
            id: kept.id,
            matchers: matchers.collect::<Option<_>>()?,
            starts_wall_ns: kept.starts_wall_ns,
            ends_wall_ns: kept.ends_wall_ns,
            created_by: kept.created_by,
            comment: kept.comment,
        })
    })
    .collect()
}

#[derive(Serialize, Deserialize)]
struct KeptAlert {
    id: String,
    state: String,
    severity: String,
    threshold_id: String,
    metric: String,
    subject_key: String,
    subject_name: String,
    service: Option<String>,
    endpoint: Option<String>,
    value: Option<f64>,
    limit: f64,
    since_wall_ns: u64,
    fired_wall_ns: Option<u64>,
    resolved_wall_ns: Option<u64>,
    message: String,
    runbook: Option<String>,
    silenced_by: Option<String>,
    inhibited_by: Option<String>,
}

/// An alert.
pub(super) fn of_alert(alert: &Alert) -> Vec<u8> {
    let Alert { subject, .. } = alert;
    json(&KeptAlert {
        id: alert.id.clone(),
        state: alert.state.name().to_owned(),
        severity: alert.severity.name().to_owned(),
        threshold_id: alert.threshold_id.clone(),
        metric: alert.metric.clone(),
        subject_key: subject.key.clone(),
        subject_name: subject.name.clone(),
        service: subject.service.clone(),
        endpoint: subject.endpoint.clone(),
        value: alert.value,
        limit: alert.limit,
        since_wall_ns: alert.since_wall_ns,
        fired_wall_ns: alert.fired_wall_ns,
        resolved_wall_ns: alert.resolved_wall_ns,
        message: alert.message.clone(),
        runbook: alert.runbook.clone(),
        silenced_by: alert.silenced_by.clone(),
        inhibited_by: alert.inhibited_by.clone(),
    })
}

/// Alerts.
pub(super) fn alerts(store: &Store) -> Vec<Alert> {
    let kept = read::<KeptAlert>(store, Table::Alerts).into_iter();
    kept.filter_map(|kept| {
        Some(Alert {
            id: kept.id,
            state: State::from_name(&kept.state)?,
            severity: Severity::from_name(&kept.severity)?,
            threshold_id: kept.threshold_id,
            metric: kept.metric,
            subject: Subject {
                key: kept.subject_key,
                name: kept.subject_name,
                service: kept.service,
                endpoint: kept.endpoint,
            },
            value: kept.value,
            limit: kept.limit,
            since_wall_ns: kept.since_wall_ns,
            fired_wall_ns: kept.fired_wall_ns,
            resolved_wall_ns: kept.resolved_wall_ns,
            message: kept.message,
            runbook: kept.runbook,
            silenced_by: kept.silenced_by,
            inhibited_by: kept.inhibited_by,
        })
    })
    .collect()
}

#[derive(Serialize, Deserialize)]
struct KeptGroup {
    group: String,
    since_wall_ns: Option<u64>,
    told: Vec<KeptTold>,
}

#[derive(Serialize, Deserialize)]
struct KeptTold {
    receiver: String,
    waiting_wall_ns: Option<u64>,
    told_wall_ns: Option<u64>,
    alerts: Vec<String>,
    hidden: Vec<String>,
    escalated: bool,
}

/// What was told of a group.
pub(super) fn of_group(group: &GroupState) -> Vec<u8> {
    let told = group.told.iter().map(|told| KeptTold {
        receiver: told.receiver.clone(),
        waiting_wall_ns: told.waiting_wall_ns,
        told_wall_ns: told.told_wall_ns,
        alerts: told.alerts.iter().cloned().collect(),
        hidden: told.hidden.iter().cloned().collect(),
        escalated: told.escalated,
    });
    json(&KeptGroup {
        group: group.group.clone(),
        since_wall_ns: group.since_wall_ns,
        told: told.collect(),
    })
}

/// What was told of groups.
pub(super) fn groups(store: &Store) -> Vec<GroupState> {
    let kept = read::<KeptGroup>(store, Table::Groups).into_iter();
    kept.map(|kept| GroupState {
        group: kept.group,
        since_wall_ns: kept.since_wall_ns,
        told: kept
            .told
            .into_iter()
            .map(|told| Told {
                receiver: told.receiver,
                waiting_wall_ns: told.waiting_wall_ns,
                told_wall_ns: told.told_wall_ns,
                alerts: told.alerts.into_iter().collect(),
                hidden: told.hidden.into_iter().collect(),
                escalated: told.escalated,
            })
            .collect(),
    })
    .collect()
}
