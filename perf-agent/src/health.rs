//! Health: one number from 0 to 100 for the host and for each service, and what it lost points for.
//!
//! Everything is well at 100. Each [`Rule`] takes points away if its figure is over a limit: those of the highest limit that
//! it is over. A figure that is not known takes none and is named; if none is known there is no score.

use std::sync::Arc;

use crate::aggregate::{Window, WindowView};
use crate::exchange::Role;
use crate::resources::Resources;
use crate::snapshot::{EndpointSnapshot, Snapshot};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Mean response time, in milliseconds.
    ResponseTime,
    /// Errors per request.
    ErrorRate,
    /// Share of memory in use.
    Memory,
    /// Share of processor time in use.
    Cpu,
}

impl Rule {
    /// In the order of the API.
    pub const ALL: [Self; 4] = [Self::ResponseTime, Self::ErrorRate, Self::Memory, Self::Cpu];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResponseTime => "response_time",
            Self::ErrorRate => "error_rate",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }
}

/// A figure over this limit takes so many points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// In the unit of the rule.
    pub over: f64,
    /// Points.
    pub points: u32,
}

/// Weights and limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Over which window requests are looked at.
    pub window: Window,
    /// Of [`Rule::ResponseTime`].
    pub response_time: Vec<Limit>,
    /// Of [`Rule::ErrorRate`].
    pub error_rate: Vec<Limit>,
    /// Of [`Rule::Memory`].
    pub memory: Vec<Limit>,
    /// Of [`Rule::Cpu`].
    pub cpu: Vec<Limit>,
}

impl Default for Settings {
    fn default() -> Self {
        let limit = |over, points| Limit { over, points };
        Self {
            window: Window::Minute,
            response_time: vec![limit(500.0, 10), limit(1_000.0, 20)],
            error_rate: vec![limit(0.01, 15), limit(0.05, 30)],
            memory: vec![limit(0.8, 10), limit(0.9, 20)],
            cpu: vec![limit(0.8, 10), limit(0.9, 20)],
        }
    }
}

impl Settings {
    fn limits(&self, rule: Rule) -> &[Limit] {
        match rule {
            Rule::ResponseTime => &self.response_time,
            Rule::ErrorRate => &self.error_rate,
            Rule::Memory => &self.memory,
            Rule::Cpu => &self.cpu,
        }
    }
}

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Mean response time.
    pub response_time_ms: Option<f64>,
    /// Errors per request.
    pub error_rate: Option<f64>,
    /// Share of memory in use.
    pub memory_usage: Option<f64>,
    /// Share of processor time in use.
    pub cpu_usage: Option<f64>,
}

impl Figures {
    fn of(&self, rule: Rule) -> Option<f64> {
        match rule {
            Rule::ResponseTime => self.response_time_ms,
            Rule::ErrorRate => self.error_rate,
            Rule::Memory => self.memory_usage,
            Rule::Cpu => self.cpu_usage,
        }
    }

    /// The host's: all servers together, and what the host takes.
    pub fn of_host(total: &WindowView, resources: Option<&Resources>) -> Self {
        let mut requests = Served::default();
        requests.add(total);
        let host = resources.map(|resources| &resources.host);
        Self {
            memory_usage: host.and_then(|host| host.memory_usage),
            cpu_usage: host.and_then(|host| host.cpu_usage),
            ..requests.figures()
        }
    }

    /// A service's: those of its name, on whichever port.
    pub fn of_service<'a>(
        name: &str,
        views: impl Iterator<Item = (&'a EndpointSnapshot, &'a WindowView)>,
        resources: Option<&Resources>,
    ) -> Self {
        let mut requests = Served::default();
        for (endpoint, view) in views {
            let key = &endpoint.key;
            if key.role == Role::Server && key.service.name == name {
                requests.add_of(endpoint, view);
            }
        }
        let uses = || {
            let services = resources.into_iter().flat_map(|resources| &resources.services);
            services.filter(|service| service.service.name == name)
        };
        // One program on several ports is there several times, with the same processes.
        let most = |usage: Option<f64>, other: Option<f64>| match (usage, other) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        Self {
            memory_usage: uses().map(|service| service.memory_usage).fold(None, most),
            cpu_usage: uses().map(|service| service.cpu_usage).fold(None, most),
            ..requests.figures()
        }
    }
}

/// Sums over endpoints.
#[derive(Default)]
struct Served {
    requests: u64,
    errors: u64,
    time_ns: u128,
    timed: u64,
}

impl Served {
    fn add(&mut self, view: &WindowView) {
        self.requests += view.requests;
        self.errors += view.errors;
        self.time_ns += view.response_time.sum_ns();
        self.timed += view.response_time.count();
    }

    /// Who waits for something to happen is not slow.
    fn add_of(&mut self, endpoint: &EndpointSnapshot, view: &WindowView) {
        if crate::protocol::waits(endpoint.key.protocol, &endpoint.key.operation.route) {
            self.requests += view.requests;
            self.errors += view.errors;
        } else {
            self.add(view);
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            response_time_ms: (self.timed > 0).then(|| self.time_ns as f64 / self.timed as f64 / 1e6),
            error_rate: (self.requests > 0).then(|| self.errors as f64 / self.requests as f64),
            memory_usage: None,
            cpu_usage: None,
        }
    }
}

/// Points that were lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalty {
    /// For what.
    pub rule: Rule,
    /// How many.
    pub points: u32,
    /// The figure.
    pub value: f64,
    /// The limit that it is over.
    pub limit: f64,
}

/// How somebody is.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// 0..=100; `None` if nothing is known.
    pub score: Option<u32>,
    /// Why it is not 100.
    pub penalties: Vec<Penalty>,
    /// Rules whose figure is not known.
    pub unknown: Vec<Rule>,
}

impl Health {
    /// By these figures.
    pub fn new(figures: &Figures, settings: &Settings) -> Self {
        let (mut penalties, mut unknown) = (Vec::new(), Vec::new());
        for rule in Rule::ALL {
            let Some(value) = figures.of(rule) else {
                unknown.push(rule);
                continue;
            };
            let over = settings.limits(rule).iter().filter(|limit| value > limit.over);
            if let Some(limit) = over.max_by(|a, b| a.over.total_cmp(&b.over)) {
                penalties.push(Penalty {
                    rule,
                    points: limit.points,
                    value,
                    limit: limit.over,
                });
            }
        }
        let lost = penalties
            .iter()
            .fold(0, |sum: u32, penalty| sum.saturating_add(penalty.points));
        Self {
            score: (unknown.len() < Rule::ALL.len()).then(|| 100_u32.saturating_sub(lost)),
            penalties,
            unknown,
        }
    }

    /// The host's.
    pub fn of_host(snapshot: &Snapshot, resources: Option<&Resources>, settings: &Settings) -> Self {
        let total = snapshot.total.window(settings.window, snapshot.at_ns);
        Self::new(&Figures::of_host(&total, resources), settings)
    }

    /// Those of all services that serve anybody or take anything, by name.
    pub fn of_services(snapshot: &Snapshot, resources: Option<&Resources>, settings: &Settings) -> Vec<(String, Self)> {
        let servers = snapshot
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.key.role == Role::Server);
        let mut by_name: std::collections::BTreeMap<String, Vec<(Arc<EndpointSnapshot>, WindowView)>> =
            std::collections::BTreeMap::new();
        for endpoint in servers {
            let of_name = by_name.entry(endpoint.key.service.name.to_string()).or_default();
            if !endpoint.aggregate.is_quiet(settings.window, snapshot.at_ns) {
                of_name.push((Arc::clone(endpoint), endpoint.window(settings.window, snapshot.at_ns)));
            }
        }
        for service in resources.into_iter().flat_map(|resources| &resources.services) {
            by_name.entry(service.service.name.to_string()).or_default();
        }
        let health = |(name, views): (String, Vec<(Arc<EndpointSnapshot>, WindowView)>)| {
            let views = views.iter().map(|(endpoint, view)| (&**endpoint, view));
            let figures = Figures::of_service(&name, views, resources);
            let health = Self::new(&figures, settings);
            (name, health)
        };
        by_name.into_iter().map(health).collect()
    }
}

/// How everybody is.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The host.
    pub host: Health,
    /// Services, by name.
    pub services: Vec<(String, Health)>,
}

impl Report {
    /// By what was observed.
    pub fn new(snapshot: &Snapshot, resources: Option<&Resources>, settings: &Settings) -> Self {
        Self {
            host: Health::of_host(snapshot, resources, settings),
            services: Health::of_services(snapshot, resources, settings),
        }
    }
}

#[cfg(test)]
mod tests;
