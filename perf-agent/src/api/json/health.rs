//! The score of the host and of each service, with what it lost points for.

use serde::Serialize;
use utoipa::ToSchema;

use super::rounded;
use crate::health::{Health as Known, Report};

/// Points that were lost.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Penalty {
    /// For what: `response_time`, `error_rate`, `memory` or `cpu`.
    pub rule: String,
    /// How many.
    pub points: u32,
    /// The figure: milliseconds, or a ratio.
    pub value: f64,
    /// The limit that it is over.
    pub limit: f64,
}

/// How the host is, and each service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// 0 to 100; null if nothing is known that it depends on.
    pub score: Option<u32>,
    /// Why it is not 100.
    pub penalties: Vec<Penalty>,
    /// Rules whose figure is not known: they take no points.
    pub unknown: Vec<String>,
    /// Each service, by its endpoints and what it takes.
    pub services: Vec<ServiceHealth>,
}

/// How a service is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceHealth {
    /// Its name.
    pub name: String,
    /// As for the host.
    pub score: Option<u32>,
    /// As for the host.
    pub penalties: Vec<Penalty>,
    /// As for the host.
    pub unknown: Vec<String>,
}

fn penalties(health: &Known) -> Vec<Penalty> {
    let penalties = health.penalties.iter().map(|penalty| Penalty {
        rule: penalty.rule.name().to_owned(),
        points: penalty.points,
        value: rounded(penalty.value),
        limit: penalty.limit,
    });
    penalties.collect()
}

fn unknown(health: &Known) -> Vec<String> {
    health.unknown.iter().map(|rule| rule.name().to_owned()).collect()
}

impl Health {
    /// `None`: nothing was looked at yet.
    pub fn new(report: Option<&Report>) -> Self {
        let host = report.map(|report| &report.host);
        let services = report.into_iter().flat_map(|report| &report.services);
        Self {
            score: host.and_then(|host| host.score),
            penalties: host.map(penalties).unwrap_or_default(),
            unknown: host.map(unknown).unwrap_or_default(),
            services: services
                .map(|(name, health)| ServiceHealth {
                    name: name.clone(),
                    score: health.score,
                    penalties: penalties(health),
                    unknown: unknown(health),
                })
                .collect(),
        }
    }
}
