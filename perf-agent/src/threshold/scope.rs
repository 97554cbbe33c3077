//! Of whom something is measured.

use std::fmt;

use super::metric::{Metric, Of};

/// Longest text of a scope.
const LENGTH: usize = 1_024;

/// Of whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `*`: everything that the metric is a figure of, each for itself.
    Each,
    /// `total`: all of it together.
    Total,
    /// `host`
    Host,
    /// `service:NAME`: services whose name matches the [pattern](super::matches), each for itself.
    Service(String),
    /// `endpoint:ID`
    Endpoint(String),
    /// `route:PATTERN`: endpoints of servers whose route, or method and route, match the [pattern](super::matches), each
    /// for itself.
    Route(String),
}

/// What a scope may be, for messages.
pub(super) const ALLOWED: &str = "*, total, host, service:NAME, endpoint:ID, route:PATTERN, or a route such as \
                                  /users/{id} or GET /users/{id}";

impl Scope {
    /// The scope of a text; a route, with or without a method, may stand for itself.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > LENGTH || text.contains(char::is_control) {
            return None;
        }
        match text {
            "*" => return Some(Self::Each),
            "total" => return Some(Self::Total),
            "host" => return Some(Self::Host),
            _ => {}
        }
        let named = |prefix: &str| text.strip_prefix(prefix).map(str::trim);
        if let Some(name) = named("service:") {
            return (!name.is_empty()).then(|| Self::Service(name.to_owned()));
        }
        if let Some(id) = named("endpoint:") {
            let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            return is_id.then(|| Self::Endpoint(id.to_ascii_lowercase()));
        }
        if let Some(pattern) = named("route:") {
            return (!pattern.is_empty()).then(|| Self::Route(pattern.to_owned()));
        }
        let is_operation = text.split_once(' ').is_some_and(|(method, route)| {
            !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()) && route.starts_with('/')
        });
        (is_operation || text.starts_with('/')).then(|| Self::Route(text.to_owned()))
    }

    /// Why this metric has no figure of this scope, and which scopes it has; `None` if it has.
    pub(super) fn misfit(&self, metric: &Metric) -> Option<(String, &'static str)> {
        let (what, allowed) = match metric.of() {
            Of::Requests => (
                "requests are of services and endpoints",
                "*, total, service:NAME, endpoint:ID, route:PATTERN",
            ),
            Of::Resources => ("it is of the host or of a service", "*, host, service:NAME"),
            Of::Caches => (
                "it is of what is asked of caches",
                "*, total, service:NAME, endpoint:ID",
            ),
            Of::Agent => ("it is of the agent itself", "*"),
            Of::Functions => ("the metric itself names the functions", "*"),
            Of::Custom => ("the metric itself says which one", "*"),
        };
        let fits = match (metric.of(), self) {
            (_, Self::Each)
            | (Of::Requests | Of::Caches, Self::Total | Self::Service(_) | Self::Endpoint(_))
            | (Of::Requests, Self::Route(_))
            | (Of::Resources, Self::Host | Self::Service(_)) => true,
            (Of::Requests, Self::Host)
            | (Of::Resources, Self::Total | Self::Endpoint(_) | Self::Route(_))
            | (Of::Caches, Self::Host | Self::Route(_))
            | (Of::Agent | Of::Functions | Of::Custom, _) => false,
        };
        (!fits).then(|| (format!("{metric} has no figure of `{self}`: {what}"), allowed))
    }
}

/// As it is read.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each => f.write_str("*"),
            Self::Total => f.write_str("total"),
            Self::Host => f.write_str("host"),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Endpoint(id) => write!(f, "endpoint:{id}"),
            Self::Route(pattern) => write!(f, "route:{pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&Scope>) {
        assert_eq!(Scope::parse(text).as_ref(), expected, "{text}");
    }

    #[test]
    fn scopes_are_read() {
        let route = |text: &str, pattern: &str| check(text, Some(&Scope::Route(pattern.to_owned())));
        check("*", Some(&Scope::Each));
        check(" total ", Some(&Scope::Total));
        check("host", Some(&Scope::Host));
        check("service:shop", Some(&Scope::Service("shop".to_owned())));
        check("service:*", Some(&Scope::Service("*".to_owned())));
        check(
            "endpoint:8B356477f41e115b",
            Some(&Scope::Endpoint("8b356477f41e115b".to_owned())),
        );
        route("route:/users/*", "/users/*");
        route("/users/{id}", "/users/{id}");
        route("GET /users/{id}", "GET /users/{id}");
        route("route:GET *", "GET *");
    }

    #[test]
    fn what_is_no_scope_is_none() {
        for text in [
            "",
            "all",
            "service:",
            "endpoint:",
            "endpoint:xyz",
            "endpoint:8b356477f41e115",
            "route:",
            "get /users",
            "users",
            "GET users",
            "/a\nb",
        ] {
            check(text, None);
        }
        check(&format!("/{}", "a".repeat(LENGTH)), None);
    }

    #[test]
    fn a_scope_that_makes_no_sense_for_a_metric_is_said_so() {
        let misfit = |scope: &str, metric: &str| {
            let (scope, metric) = (Scope::parse(scope).unwrap(), Metric::parse(metric).unwrap());
            scope.misfit(&metric).is_some()
        };
        for (metric, fitting) in [
            ("error_rate", [true, true, false, true, true, true]),
            ("cpu_usage", [true, false, true, true, false, false]),
            ("cache_hit_rate", [true, true, false, true, true, false]),
            ("lost_records", [true, false, false, false, false, false]),
            ("function_time_p95:f", [true, false, false, false, false, false]),
            ("custom:orders", [true, false, false, false, false, false]),
        ] {
            let scopes = ["*", "total", "host", "service:a", "endpoint:8b356477f41e115b", "/a"];
            assert_eq!(scopes.map(|scope| !misfit(scope, metric)), fitting, "{metric}");
        }
        let host = Scope::Host.misfit(&Metric::ErrorRate);
        let expected = "error_rate has no figure of `host`: requests are of services and endpoints";
        let allowed = "*, total, service:NAME, endpoint:ID, route:PATTERN";
        assert_eq!(host, Some((expected.to_owned(), allowed)));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_and_read_back(
            text in "(service:|endpoint:[0-9a-f]{16}|route:|GET |/|)[a-z/{}:* .]{0,12}",
        ) {
            if let Some(scope) = Scope::parse(&text) {
                prop_assert_eq!(Scope::parse(&scope.to_string()), Some(scope));
            }
        }
    }
}
