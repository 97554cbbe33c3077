//! Paths of alerts, silences and receivers.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;

use super::json::alert::StateName;
use super::json::alert::{Alert, Alerts, Silence, SilenceBody, Silences};
use super::json::receiver::{Receivers, Trials};
use super::json::threshold::SeverityName;
use super::problem::{FieldError, Problem};
use super::query::Parameters;
use super::thresholds::refused;
use super::{Api, body};
use crate::alert::{SilenceDraft, State as AlertState};
use crate::clock;
use crate::threshold::Severity;

/// Alerts listed, unless `limit` says otherwise.
const LIMIT: u64 = 1_000;
/// Largest `limit`.
const MAX_LIMIT: u64 = 20_000;

/// Alerts: pending, firing, and the newest that were resolved.
#[utoipa::path(get, path = "/api/v1/alerts",
    params(
        ("state" = Option<StateName>, Query, description = "Only these"),
        ("severity" = Option<SeverityName>, Query, description = "Only of this severity"),
        ("limit" = Option<u64>, Query, description = "At most this many; 1000 by default", minimum = 1, maximum = 20000),
    ),
    responses(
        (status = 200, body = Alerts),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Result<Json<Alerts>, Problem> {
    let parameters = Parameters::parse(query.as_deref(), &["state", "severity", "limit"])?;
    let state = parameters.word("state", &AlertState::ALL.map(|state| (state.name(), state)))?;
    let severity = parameters.word("severity", &Severity::ALL.map(|severity| (severity.name(), severity)))?;
    let limit = usize::try_from(parameters.number("limit", 1..=MAX_LIMIT)?.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let decided = api.decided();
    let wanted = decided.alerts.iter().filter(|alert| {
        state.is_none_or(|state| state == alert.state) && severity.is_none_or(|severity| severity == alert.severity)
    });
    Ok(Json(Alerts {
        alerts: wanted.take(limit).map(Alert::from).collect(),
        beyond: decided.alerts_beyond,
    }))
}

/// Sends a test through every receiver, and says what each of them said.
#[utoipa::path(post, path = "/api/v1/alerts/test", responses((status = 200, body = Trials)))]
pub(super) async fn test(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Result<Json<Trials>, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let receivers = api.control()?.test().await;
    Ok(Json(Trials { receivers }))
}

/// Who is told of alerts, and how that goes.
#[utoipa::path(get, path = "/api/v1/receivers", responses((status = 200, body = Receivers)))]
pub(super) async fn receivers(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Receivers>, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    Ok(Json(
        api.control
            .as_ref()
            .map_or_else(Receivers::default, |control| control.receivers()),
    ))
}

/// Silences.
#[utoipa::path(get, path = "/api/v1/silences", responses((status = 200, body = Silences)))]
pub(super) async fn silences(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Silences>, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let all = api
        .control
        .as_ref()
        .map(|control| control.silences())
        .unwrap_or_default();
    let silences = all.iter().map(Silence::from).collect();
    Ok(Json(Silences { silences }))
}

/// Makes a silence. It outlives a restart.
#[utoipa::path(post, path = "/api/v1/silences", request_body = SilenceBody,
    responses(
        (status = 201, body = Silence),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn silence(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Silence>), Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let draft = draft(body::read(bytes)?)?;
    let made = api
        .control()?
        .add_silence(&draft)
        .map_err(|refusal| refused(refusal, ""))?;
    Ok((StatusCode::CREATED, Json(Silence::from(&made))))
}

/// Ends a silence.
#[utoipa::path(delete, path = "/api/v1/silences/{id}",
    params(("id" = String, Path, description = "The silence's id")),
    responses(
        (status = 200, body = Silence),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn unsilence(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Silence>, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let ended = api.control()?.end_silence(&id);
    Ok(Json(Silence::from(&ended.map_err(|refusal| refused(refusal, &id))?)))
}

/// What is meant.
fn draft(body: SilenceBody) -> Result<SilenceDraft, Problem> {
    let mut errors = Vec::new();
    let mut moment = |field: &str, text: Option<String>| {
        let text = text?;
        let read = text.parse::<jiff::Timestamp>().ok();
        let read = read.and_then(|moment| u64::try_from(moment.as_nanosecond()).ok());
        if read.is_none() {
            errors.push(FieldError {
                field: field.to_owned(),
                problem: format!("{text:?} is no time"),
                allowed: "a time such as 2026-11-28T20:00:00Z".to_owned(),
            });
        }
        read
    };
    let starts_wall_ns = moment("starts_at", body.starts_at);
    let mut ends_wall_ns = moment("ends_at", body.ends_at);
    if let Some(text) = body.duration {
        let read = text.parse::<jiff::SignedDuration>().ok();
        let length = read.and_then(|length| u64::try_from(length.as_nanos()).ok());
        match length {
            Some(length) if ends_wall_ns.is_none() => {
                ends_wall_ns = Some(starts_wall_ns.unwrap_or_else(clock::wall_ns).saturating_add(length));
            }
            _ => errors.push(FieldError {
                field: "duration".to_owned(),
                problem: format!("{text:?} is no duration, or ends_at says the end already"),
                allowed: "a duration such as 2h or 1h 30m, or ends_at".to_owned(),
            }),
        }
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let matchers = body.matchers.into_iter().map(|matcher| (matcher.field, matcher.value));
    Ok(SilenceDraft {
        matchers: matchers.collect(),
        starts_wall_ns,
        ends_wall_ns,
        created_by: body.created_by,
        comment: body.comment,
    })
}
