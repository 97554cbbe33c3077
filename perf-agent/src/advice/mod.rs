//! Advice: what of the observed services' time and errors could be had back, and how.
//!
//! An [`Advisor`] looks at a snapshot every now and then (ten seconds are enough) and says what it sees, each with the
//! figures that it follows from. A rule is one file below; it is silent where there are too few samples, where the
//! figures are those of a healthy service, and where something else explains them. What to change to make one say more
//! or less is its `Limits`; their defaults are documented there.
//!
//! Cheap: each endpoint's window is merged once and shared by the rules ([`views`]). Bounded: at most [`ENDPOINTS`]
//! endpoints are looked at, at most [`RECOMMENDATIONS`] are given, and what rules remember is of services, control groups
//! and pools that the newest snapshot has.
//!
//! Gains are in milliseconds per second: how much of the time for which somebody waits in each second of the load as it
//! is would not be waited. 1000 is as if one request were waiting all the time.

pub mod hit_rate;
pub mod keep_alive;
pub mod memory;
pub mod packets;
pub mod pool;
pub mod queue;
pub mod repeated;
pub mod restart;
#[cfg(test)]
mod scene;
pub mod slow;
mod subject;
pub mod tail;
#[cfg(test)]
mod tests;
mod text;
pub mod throttled;
mod views;

use std::sync::Arc;

use hashbrown::HashMap;

use self::views::Views;
use crate::aggregate::Window;
use crate::process::ServiceKey;
use crate::resources::Resources;
use crate::snapshot::{EndpointSnapshot, Snapshot};
use crate::threshold::Severity;

/// The window of most figures.
pub const WINDOW: Window = Window::FiveMinutes;

/// Endpoints that are looked at; of more, those with most requests within [`WINDOW`].
pub const ENDPOINTS: usize = 1000;

/// Recommendations given; of more, the worst.
pub const RECOMMENDATIONS: usize = 100;

/// How a service's memory grows towards its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryTrend {
    /// Whose.
    pub service: Arc<ServiceKey>,
    /// How fast.
    pub bytes_per_second: f64,
    /// The limit that it will hit.
    pub limit_bytes: u64,
    /// When, if it goes on so.
    pub seconds_left: f64,
}

/// What the advice is about.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// What was observed.
    pub snapshot: &'a Snapshot,
    /// What the host and its services take, if that is read.
    pub resources: Option<&'a Resources>,
    /// Services whose memory grows.
    pub memory_trends: &'a [MemoryTrend],
    /// Now, monotonic nanoseconds.
    pub at_ns: u64,
    /// Now, nanoseconds since 1970.
    pub wall_ns: u64,
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// The rule's name and a hash of what it is about: the same as long as the cause is.
    pub id: String,
    /// The rule that says it.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The service that it is about.
    pub service: Option<Arc<ServiceKey>>,
    /// Id of the endpoint that it is about, or that shows it best.
    pub endpoint: Option<Arc<str>>,
    /// That endpoint's operation.
    pub operation: Option<String>,
    /// What is wrong, with numbers.
    pub text: String,
    /// What would make it go away.
    pub fix: String,
    /// The window of the figures; of what is read from the host, the shortest that holds the readings.
    pub window: Window,
    /// Since when it has been said, nanoseconds since 1970.
    pub since_wall_ns: u64,
    /// What could be gained, milliseconds per second; `None` if it cannot be said in time.
    pub gain_ms_per_second: Option<f64>,
    /// What it follows from. Units are in the names; ratios are 0..=1.
    pub evidence: Vec<(&'static str, Evidence)>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// In the unit that its name tells.
    Number(f64),
    /// A name.
    Text(String),
    /// Names.
    List(Vec<String>),
    /// A moment, nanoseconds since 1970.
    Moment(u64),
}

impl Recommendation {
    /// One of a rule about one subject; texts and figures are to be filled in.
    fn new(rule: &'static str, subject: u64) -> Self {
        Self {
            id: format!("{rule}-{subject:016x}"),
            rule,
            severity: Severity::Warning,
            service: None,
            endpoint: None,
            operation: None,
            text: String::new(),
            fix: String::new(),
            window: WINDOW,
            since_wall_ns: 0,
            gain_ms_per_second: None,
            evidence: Vec::new(),
        }
    }

    /// About an endpoint: names it and its service.
    fn at(mut self, endpoint: &EndpointSnapshot) -> Self {
        self.service = Some(Arc::clone(&endpoint.key.service));
        self.endpoint = Some(Arc::clone(&endpoint.id));
        self.operation = Some(endpoint.key.operation.to_string());
        self
    }

    /// About a service.
    fn of(mut self, service: &Arc<ServiceKey>) -> Self {
        self.service = Some(Arc::clone(service));
        self
    }

    /// What could be gained, and from that how bad it is.
    fn gains(mut self, ms_per_second: f64, settings: &Settings) -> Self {
        self.gain_ms_per_second = Some(ms_per_second);
        self.severity = if ms_per_second >= settings.serious_ms_per_second {
            Severity::Error
        } else {
            Severity::Warning
        };
        self
    }

    /// Goes on with the text.
    fn adds(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn number(&mut self, name: &'static str, value: f64) {
        self.evidence.push((name, Evidence::Number(value)));
    }

    /// A time, as milliseconds.
    fn ms(&mut self, name: &'static str, ns: f64) {
        self.number(name, ns / 1e6);
    }

    fn word(&mut self, name: &'static str, value: impl Into<String>) {
        self.evidence.push((name, Evidence::Text(value.into())));
    }
}

/// When rules say something.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Gain from which on it is an error, milliseconds per second.
    pub serious_ms_per_second: f64,
    /// See [`slow`].
    pub slow: slow::Limits,
    /// See [`repeated`].
    pub repeated: repeated::Limits,
    /// See [`hit_rate`].
    pub hit_rate: hit_rate::Limits,
    /// See [`queue`].
    pub queue: queue::Limits,
    /// See [`throttled`].
    pub throttled: throttled::Limits,
    /// See [`memory`].
    pub memory: memory::Limits,
    /// See [`restart`].
    pub restart: restart::Limits,
    /// See [`packets`].
    pub packets: packets::Limits,
    /// See [`tail`].
    pub tail: tail::Limits,
    /// See [`pool`].
    pub pool: pool::Limits,
    /// See [`keep_alive`].
    pub keep_alive: keep_alive::Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            serious_ms_per_second: 1000.0,
            slow: slow::Limits::default(),
            repeated: repeated::Limits::default(),
            hit_rate: hit_rate::Limits::default(),
            queue: queue::Limits::default(),
            throttled: throttled::Limits::default(),
            memory: memory::Limits::default(),
            restart: restart::Limits::default(),
            packets: packets::Limits::default(),
            tail: tail::Limits::default(),
            pool: pool::Limits::default(),
            keep_alive: keep_alive::Limits::default(),
        }
    }
}

/// What did not fit the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Endpoints that were not looked at.
    pub endpoints: usize,
    /// Recommendations that were not given.
    pub recommendations: usize,
}

/// Gives advice, and remembers what that needs.
#[derive(Debug, Default)]
pub struct Advisor {
    settings: Settings,
    /// Since when what was said last has been said, by id.
    since: HashMap<String, u64>,
    groups: throttled::Groups,
    histories: restart::Histories,
    looks: pool::Looks,
    counted: keep_alive::Counted,
    left_out: LeftOut,
}

impl Advisor {
    /// One with these settings.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// What did not fit the last time.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// What there is to say now, the worst first: by severity, then by gain. To be asked every ten seconds or so: some
    /// rules say what they see only if they see it several times in a row.
    pub fn advise(&mut self, observed: Observed<'_>) -> Vec<Recommendation> {
        let settings = &self.settings;
        let views = Views::new(observed.snapshot, observed.at_ns);
        let mut all = Vec::new();
        slow::advise(&views, settings, &mut all);
        repeated::advise(&views, settings, &mut all);
        hit_rate::advise(&views, settings, &mut all);
        queue::advise(&views, settings, &mut all);
        packets::advise(&views, settings, &mut all);
        tail::advise(&views, settings, &mut all);
        self.looks.advise(&views, settings, &mut all);
        self.counted.advise(&views, settings, &mut all);
        self.histories.advise(&views, &observed, settings, &mut all);
        if let Some(resources) = observed.resources {
            self.groups.advise(resources, settings, &mut all);
        }
        memory::advise(&observed, settings, &mut all);

        let gain = |one: &Recommendation| one.gain_ms_per_second.unwrap_or(0.0);
        all.sort_by(|a, b| {
            (b.severity.cmp(&a.severity))
                .then_with(|| gain(b).total_cmp(&gain(a)))
                .then_with(|| a.id.cmp(&b.id))
        });
        self.left_out = LeftOut {
            endpoints: views.left_out,
            recommendations: all.len().saturating_sub(RECOMMENDATIONS),
        };
        all.truncate(RECOMMENDATIONS);
        for one in &mut all {
            one.since_wall_ns = self.since.get(&one.id).copied().unwrap_or(observed.wall_ns);
        }
        self.since = all.iter().map(|one| (one.id.clone(), one.since_wall_ns)).collect();
        all
    }
}
