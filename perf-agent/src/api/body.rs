//! Request bodies: JSON of a known form, whatever they call themselves (`curl -d` says that it is a form). What is wrong with
//! one is said with its place.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Reads a body.
///
/// # Errors
/// [`Problem`]: 413 if it is too long, 400 if it is no JSON, or not of this form.
pub(super) fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|rejected| {
        let status = rejected.status();
        Problem::new(status, format!("the body cannot be read: {}", rejected.body_text()))
    })?;
    serde_json::from_slice(&body).map_err(|error| Problem::parameter(format!("the body is not as expected: {error}")))
}
