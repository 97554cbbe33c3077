//! Paths of thresholds.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::control::Refusal;
use super::json::threshold::{Threshold, ThresholdBody, Thresholds};
use super::problem::{FieldError, Problem};
use super::query::Parameters;
use super::{Api, body};
use crate::threshold::Fault;

/// Every threshold.
#[utoipa::path(get, path = "/api/v1/thresholds", responses((status = 200, body = Thresholds)))]
pub(super) async fn list(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Result<Json<Thresholds>, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let thresholds = api.thresholds().iter().map(Threshold::from).collect();
    Ok(Json(Thresholds { thresholds }))
}

/// Makes a threshold. It holds from the next evaluation on, and outlives a restart.
#[utoipa::path(post, path = "/api/v1/thresholds", request_body = ThresholdBody,
    responses(
        (status = 201, body = Threshold),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let draft: ThresholdBody = body::read(bytes)?;
    let made = api
        .control()?
        .add_threshold(draft.into())
        .map_err(|refusal| refused(refusal, ""))?;
    let mut response = (StatusCode::CREATED, Json(Threshold::from(&made))).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/thresholds/{}", made.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// One threshold.
#[utoipa::path(get, path = "/api/v1/thresholds/{id}",
    params(("id" = String, Path, description = "The threshold's id")),
    responses(
        (status = 200, body = Threshold),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Threshold>, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let found = api.thresholds().into_iter().find(|threshold| threshold.id == id);
    Ok(Json(Threshold::from(
        &found.ok_or_else(|| refused(Refusal::Unknown, &id))?,
    )))
}

/// Makes or changes a threshold. One that comes with the agent is replaced, and is back when this one is removed.
#[utoipa::path(put, path = "/api/v1/thresholds/{id}", request_body = ThresholdBody,
    params(("id" = String, Path, description = "The threshold's id")),
    responses(
        (status = 200, body = Threshold),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Json<Threshold>, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let draft: ThresholdBody = body::read(bytes)?;
    let put = api.control()?.put_threshold(&id, draft.into());
    Ok(Json(Threshold::from(&put.map_err(|refusal| refused(refusal, &id))?)))
}

/// Removes a threshold that the API made.
#[utoipa::path(delete, path = "/api/v1/thresholds/{id}",
    params(("id" = String, Path, description = "The threshold's id")),
    responses(
        (status = 204),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let removed = api.control()?.remove_threshold(&id);
    removed.map_err(|refusal| refused(refusal, &id))?;
    Ok(StatusCode::NO_CONTENT)
}

/// As a problem.
pub(super) fn refused(refusal: Refusal, id: &str) -> Problem {
    match refusal {
        Refusal::Unknown => Problem::not_found(format!("there is nothing of the id {id:?}")),
        Refusal::Conflict(why) => Problem::new(StatusCode::CONFLICT, why),
        Refusal::Faults(faults) => Problem::fields(faults.into_iter().map(field_error).collect()),
    }
}

/// As the problem has it.
pub(super) fn field_error(fault: Fault) -> FieldError {
    FieldError {
        field: fault.field.to_owned(),
        problem: fault.problem,
        allowed: fault.allowed,
    }
}
