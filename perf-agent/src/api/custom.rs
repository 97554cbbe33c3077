//! `/api/v1/metrics/custom`: figures that programs report, and what they came to.
//!
//! What is wrong with a report is said with the field's name, and then nothing of the request is taken.

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::Api;
use super::json::WindowName;
use super::json::custom::{CustomAccepted, CustomMetrics, CustomReports};
use super::problem::Problem;
use super::query::Parameters;
use crate::clock;
use crate::custom::{self, Amount, CustomKind, Sample, check_attribute, check_name, check_unit};

/// Bytes of a report: a thousand of them with some attributes.
const BODY_BYTES: usize = 512 * 1024;
/// Figures in one request.
const MAX_REPORTS: usize = 1_000;
/// Fields of a report.
const FIELDS: [&str; 5] = ["name", "value", "unit", "attributes", "kind"];
/// Kinds that can be reported.
const KINDS: [CustomKind; 3] = [CustomKind::Value, CustomKind::Gauge, CustomKind::Counter];

/// Figures that programs of this host report: one object, or up to 1000 in an array. All are taken, or none if one of them
/// is wrong.
#[utoipa::path(post, path = "/api/v1/metrics/custom",
    request_body(content = CustomReports, content_type = "application/json"),
    responses(
        (status = 202, body = CustomAccepted),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn report(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<(StatusCode, Json<CustomAccepted>), Problem> {
    Parameters::parse(query.as_deref(), &[])?;
    let body = to_bytes(body, BODY_BYTES).await.map_err(|_too_long_or_cut| {
        let detail = format!("the body was cut, or it is longer than {BODY_BYTES} bytes: send fewer figures at once");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| Problem::parameter(format!("the body is no JSON that can be read: {error}")))?;
    let reports = reports(&body)?;
    let at_ns = clock::monotonic_ns();
    let mut metrics = api.custom.lock().unwrap_or_else(PoisonError::into_inner);
    for report in &reports {
        metrics
            .fits(report.name, report.kind)
            .map_err(|refused| Problem::parameter(format!("{}kind: {refused}", report.place)))?;
    }
    let accepted = reports
        .iter()
        .filter(|report| metrics.record(&report.sample(), at_ns).is_ok())
        .count();
    drop(metrics);
    let accepted = accepted as u64;
    Ok((StatusCode::ACCEPTED, Json(CustomAccepted { accepted })))
}

/// Custom metrics over a window.
#[utoipa::path(get, path = "/api/v1/metrics/custom",
    params(
        ("name" = Option<String>, Query, description = "Only the metrics of this name"),
        ("window" = Option<WindowName>, Query, description = "Window of all figures; 5m by default"),
    ),
    responses(
        (status = 200, body = CustomMetrics),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Result<Json<CustomMetrics>, Problem> {
    let parameters = Parameters::parse(query.as_deref(), &["name", "window"])?;
    let window = parameters.window()?;
    let snapshot = snapshot(&api.custom);
    Ok(Json(CustomMetrics::new(&snapshot, parameters.text("name"), window)))
}

/// All as of now.
pub(super) fn snapshot(metrics: &custom::Shared) -> custom::CustomSnapshot {
    let mut metrics = metrics.lock().unwrap_or_else(PoisonError::into_inner);
    metrics.snapshot(clock::monotonic_ns())
}

/// One report.
struct Report<'a> {
    /// What stands before a field's name in what is said of it.
    place: String,
    name: &'a str,
    value: f64,
    unit: Option<&'a str>,
    attributes: Vec<(&'a str, &'a str)>,
    kind: CustomKind,
}

impl Report<'_> {
    fn sample(&self) -> Sample<'_> {
        Sample {
            name: self.name,
            unit: self.unit,
            kind: self.kind,
            amount: Amount::Is(self.value),
            weight: 1.0,
            attributes: &self.attributes,
        }
    }
}

/// The reports in a body.
fn reports(body: &Value) -> Result<Vec<Report<'_>>, Problem> {
    match body {
        Value::Object(fields) => Ok(vec![report_of(fields, String::new())?]),
        Value::Array(items) if items.len() > MAX_REPORTS => {
            let given = items.len();
            Err(Problem::parameter(format!(
                "{given} figures are too many: at most {MAX_REPORTS} at once"
            )))
        }
        Value::Array(items) => {
            let reports = items.iter().enumerate().map(|(place, item)| match item {
                Value::Object(fields) => report_of(fields, format!("[{place}].")),
                _ => Err(Problem::parameter(format!(
                    "[{place}] is no object, expected {{\"name\", \"value\", …}}"
                ))),
            });
            reports.collect()
        }
        _ => Err(Problem::parameter(
            "the body is neither an object {\"name\", \"value\", …} nor an array of them",
        )),
    }
}

fn report_of(fields: &Map<String, Value>, place: String) -> Result<Report<'_>, Problem> {
    let wrong = |field: &str, value: &Value, expected: &str| {
        let value = shortened(value);
        Problem::parameter(format!("{place}{field} is {value}, expected {expected}"))
    };
    if let Some(unknown) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        let known = FIELDS.join(", ");
        let unknown = shortened(&Value::from(unknown.as_str()));
        return Err(Problem::parameter(format!(
            "unknown field {place}{unknown}: a figure has {known}"
        )));
    }
    // A field that is null is one that is not there.
    let given = |field: &str| fields.get(field).filter(|value| !value.is_null());
    let needed = |field: &str| given(field).ok_or_else(|| Problem::parameter(format!("{place}{field} is missing")));
    let name = needed("name")?;
    let name = match name.as_str().map(|text| (text, check_name(text))) {
        Some((text, Ok(()))) => text,
        Some((_, Err(fault))) => return Err(wrong("name", name, &format!("another one: {fault}"))),
        None => return Err(wrong("name", name, "a text")),
    };
    let value = needed("value")?;
    let Some(number) = value.as_f64().filter(|number| number.is_finite()) else {
        return Err(wrong("value", value, "a finite number"));
    };
    let unit = match given("unit") {
        None => None,
        Some(unit) => match unit.as_str().map(|text| (text, check_unit(text))) {
            Some((text, Ok(()))) => Some(text),
            Some((_, Err(fault))) => return Err(wrong("unit", unit, &format!("another one: {fault}"))),
            None => return Err(wrong("unit", unit, "a text")),
        },
    };
    let kind = match given("kind") {
        None => CustomKind::Value,
        Some(kind) => KINDS
            .into_iter()
            .find(|known| kind.as_str() == Some(known.name()))
            .ok_or_else(|| wrong("kind", kind, "one of value, gauge, counter"))?,
    };
    let mut attributes = Vec::new();
    match given("attributes") {
        None => {}
        Some(Value::Object(given)) => {
            if given.len() > custom::ATTRIBUTES {
                let (given, most) = (given.len(), custom::ATTRIBUTES);
                return Err(Problem::parameter(format!(
                    "{place}attributes are {given}, expected at most {most}"
                )));
            }
            for (key, value) in given {
                let field = || format!("attributes.{}", shortened(&Value::from(key.as_str())));
                match value.as_str().map(|text| (text, check_attribute(key, text))) {
                    Some((text, Ok(()))) => attributes.push((key.as_str(), text)),
                    Some((_, Err(fault))) => return Err(wrong(&field(), value, &format!("another one: {fault}"))),
                    None => return Err(wrong(&field(), value, "a text")),
                }
            }
        }
        Some(other) => return Err(wrong("attributes", other, "an object of texts")),
    }
    Ok(Report {
        name,
        value: number,
        unit,
        attributes,
        kind,
        place,
    })
}

/// A value as it is repeated to who sent it.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
