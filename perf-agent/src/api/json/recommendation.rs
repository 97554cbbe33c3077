//! Advice.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::threshold::SeverityName;
use super::{WindowName, rounded, timestamp};
use crate::advice;

/// One figure that a recommendation follows from. Units are in the names; ratios are 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Evidence {
    /// A number.
    Number(f64),
    /// A name, or a moment (RFC 3339).
    Text(String),
    /// Names.
    List(Vec<String>),
}

impl From<&advice::Evidence> for Evidence {
    fn from(evidence: &advice::Evidence) -> Self {
        match evidence {
            advice::Evidence::Number(number) => Self::Number(rounded(*number)),
            advice::Evidence::Text(text) => Self::Text(text.clone()),
            advice::Evidence::List(list) => Self::List(list.clone()),
            advice::Evidence::Moment(wall_ns) => Self::Text(timestamp(*wall_ns)),
        }
    }
}

/// What could be better, what that follows from, and what would make it so.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Recommendation {
    /// The same as long as the cause is.
    pub id: String,
    /// The rule that says it.
    pub rule: String,
    /// How bad it is.
    pub severity: SeverityName,
    /// The service that it is about.
    pub service: Option<String>,
    /// That service's port; null in the client role and for Unix sockets.
    pub port: Option<u16>,
    /// The endpoint that it is about, or that shows it best.
    pub endpoint_id: Option<String>,
    /// What is asked for there.
    pub operation: Option<String>,
    /// What is wrong.
    pub text: String,
    /// What would make it go away.
    pub fix: String,
    /// The window of the figures; of what is read from the host, the shortest that holds the readings.
    pub window: WindowName,
    /// Since when it has been said; null if that is not known.
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// What could be gained: milliseconds of waiting in each second; null if it cannot be said in time.
    pub gain_ms_per_second: Option<f64>,
    /// What it follows from, by name.
    pub evidence: BTreeMap<String, Evidence>,
}

impl From<&advice::Recommendation> for Recommendation {
    fn from(one: &advice::Recommendation) -> Self {
        let service = one.service.as_ref();
        let evidence = one.evidence.iter();
        Self {
            id: one.id.clone(),
            rule: one.rule.to_owned(),
            severity: one.severity.into(),
            service: service.map(|service| service.name.to_string()),
            port: service.and_then(|service| service.port),
            endpoint_id: one.endpoint.as_deref().map(str::to_owned),
            operation: one.operation.clone(),
            text: one.text.clone(),
            fix: one.fix.clone(),
            window: one.window.into(),
            since: (one.since_wall_ns != 0).then(|| timestamp(one.since_wall_ns)),
            gain_ms_per_second: one.gain_ms_per_second.map(rounded),
            evidence: evidence
                .map(|(name, value)| ((*name).to_owned(), value.into()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::aggregate::Window;
    use crate::process::ServiceKey;
    use crate::threshold::Severity;

    #[test]
    fn a_recommendation_looks_as_in_the_contract() {
        let service = ServiceKey {
            name: "shop".into(),
            exe: None,
            container: None,
            unit: None,
            port: Some(80),
            socket: None,
        };
        let one = advice::Recommendation {
            id: "slow_endpoint-0011223344556677".to_owned(),
            rule: "slow_endpoint",
            severity: Severity::Error,
            service: Some(Arc::new(service)),
            endpoint: Some("0011223344556677".into()),
            operation: Some("GET /".to_owned()),
            text: "It is slow.".to_owned(),
            fix: "Make it faster.".to_owned(),
            window: Window::FiveMinutes,
            since_wall_ns: 1_700_000_000_000_000_000,
            gain_ms_per_second: Some(1.0 / 3.0),
            evidence: vec![
                ("requests", advice::Evidence::Number(20.0)),
                ("database_ms_mean", advice::Evidence::Number(1.234_567_891)),
                ("dominant_part", advice::Evidence::Text("database".to_owned())),
                ("statuses", advice::Evidence::List(vec!["500: 1".to_owned()])),
                (
                    "processes_started_at",
                    advice::Evidence::Moment(1_700_000_000_000_001_000),
                ),
            ],
        };
        assert_eq!(
            serde_json::to_value(Recommendation::from(&one)).unwrap(),
            serde_json::json!({
                "id": "slow_endpoint-0011223344556677",
                "rule": "slow_endpoint",
                "severity": "error",
                "service": "shop",
                "port": 80,
                "endpoint_id": "0011223344556677",
                "operation": "GET /",
                "text": "It is slow.",
                "fix": "Make it faster.",
                "window": "5m",
                "since": "2023-11-14T22:13:20.000000Z",
                "gain_ms_per_second": 0.333_333,
                "evidence": {
                    "requests": 20.0,
                    "database_ms_mean": 1.234_568,
                    "dominant_part": "database",
                    "statuses": ["500: 1"],
                    "processes_started_at": "2023-11-14T22:13:20.000001Z",
                },
            })
        );
    }
}
