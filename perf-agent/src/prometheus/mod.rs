//! The Prometheus output: everything that was measured, for whoever scrapes it. An output like the JSON API: it sees
//! snapshots and what else the core has, and no other edge.
//!
//! [`Exposition`] is what there is to tell at one moment; [`model`] what it is told with: families of series with labels
//! and values; [`text`] and [`protobuf`] write these down, and [`negotiation`] says which is wanted. What each family
//! means stands beside the code that fills it ([`exchanges`], [`own`], [`resources`], [`custom`]) and in
//! `docs/prometheus.md`, which a test holds against it. To add a metric, define it in one of these, list it there in
//! `ALL`, fill it, and write the document anew.
//!
//! Counters and histograms are sums since the agent's start ([`crate::aggregate::Aggregate::since_agent_start`]), without
//! what a history remembers of earlier runs: they begin with 0 and never fall while their series is there. A series goes when its endpoint does: when routes are found to be one, or when there are too
//! many. Series whose labels agree are added up.

pub mod buckets;
pub mod custom;
pub mod exchanges;
pub mod model;
pub mod negotiation;
pub mod own;
pub mod protobuf;
pub mod resources;
#[cfg(test)]
mod tests;
pub mod text;

use self::model::{Definition, Families};
pub use self::negotiation::Format;
use crate::alert::Alert;
use crate::custom::CustomSnapshot;
use crate::resources::Resources;
use crate::snapshot::Snapshot;

/// What is told.
#[derive(Clone, Copy, Debug)]
pub struct Exposition<'a> {
    /// What was observed.
    pub snapshot: &'a Snapshot,
    /// The agent itself.
    pub agent: own::Agent<'a>,
    /// The host and its services, if they are measured.
    pub resources: Option<&'a Resources>,
    /// How well everything fares, 0 to 100, if that is computed.
    pub health_score: Option<f64>,
    /// The alerts that there are, if thresholds are held against what is measured.
    pub alerts: Option<&'a [Alert]>,
    /// What the operator's own programs reported.
    pub custom: Option<&'a CustomSnapshot>,
}

impl Exposition<'_> {
    /// All families that have series.
    pub fn families(&self) -> Families {
        let mut families = Families::new(self.snapshot);
        own::add(self, &mut families);
        resources::add(self.resources, &mut families);
        exchanges::add(self.snapshot, &mut families);
        custom::add(self.custom, &mut families);
        families
    }

    /// What goes into the body of an answer.
    pub fn render(&self, format: Format) -> Vec<u8> {
        let families = self.families();
        match format {
            Format::Text => text::write(&families, text::Dialect::Prometheus).into_bytes(),
            Format::OpenMetrics => text::write(&families, text::Dialect::OpenMetrics).into_bytes(),
            Format::Protobuf => protobuf::write(&families),
        }
    }
}

/// Every family that there can be, but for custom metrics.
pub fn catalogue() -> Vec<Definition> {
    let mut all = exchanges::definitions();
    all.extend(
        own::ALL
            .iter()
            .chain(resources::ALL)
            .map(|&definition| definition.clone()),
    );
    all
}
