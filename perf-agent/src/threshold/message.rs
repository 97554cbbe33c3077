//! What an alert says: a text of our own, or the operator's template.

use std::collections::BTreeMap;
use std::time::Duration;

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, filters};

use super::metric::{Of, Unit};
use super::{Subject, Threshold};

/// Bytes of a message; what is longer is cut.
const LENGTH: usize = 4_096;
/// Steps, or so many times 64 bytes, that a template may take.
const FUEL: u64 = 10_000;
/// Depth of blocks and calls.
const DEPTH: usize = 32;

/// What a template may name.
const VARIABLES: [&str; 10] = [
    "subject",
    "service",
    "value",
    "limit",
    "unit",
    "metric",
    "severity",
    "window",
    "since",
    "threshold",
];

/// What a message is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What was crossed.
    pub threshold: &'a Threshold,
    /// By whom.
    pub subject: &'a Subject,
    /// The figure; `None` if there is none any more.
    pub value: Option<f64>,
    /// Since when, nanoseconds since 1970.
    pub since_wall_ns: u64,
}

/// `mean response time of GET /users/{id} of shop:8080 is 812 ms (limit 500 ms) over 1m`
pub fn describe(facts: &Facts<'_>) -> String {
    let Facts { threshold, subject, .. } = facts;
    let unit = threshold.metric.unit();
    let value = facts
        .value
        .map_or_else(|| "unknown".to_owned(), |value| figure(value, unit));
    let over = match threshold.metric.of() {
        Of::Resources => String::new(),
        _ if threshold.window == crate::aggregate::Window::Start => " since the start".to_owned(),
        _ => format!(" over {}", threshold.window.name()),
    };
    let text = format!(
        "{} of {} is {value} (limit {}){over}",
        threshold.metric.words(),
        subject.name,
        figure(threshold.value, unit),
    );
    cut(text)
}

/// A figure with its unit, as people read it: `812 ms`, `7.3 %`.
pub fn figure(value: f64, unit: Unit) -> String {
    let digits = |value: f64| {
        let places = match value.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 1.0 || size == 0.0 => 2,
            _ => 4,
        };
        let text = format!("{value:.places$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    match unit {
        Unit::Milliseconds => format!("{} ms", digits(value)),
        Unit::Ratio => format!("{} %", digits(value * 100.0)),
        Unit::RequestsPerSecond => format!("{} requests/s", digits(value)),
        Unit::PerSecond => format!("{} per second", digits(value)),
        Unit::Count | Unit::Unknown => digits(value),
    }
}

/// A duration as it is written in settings: `1m 30s`.
pub fn duration_text(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration).map_or_else(|_| "very long".to_owned(), |duration| format!("{duration:#}"))
}

/// The operator's own text: a Jinja template with the [`VARIABLES`], and the filters `round`, `upper`, `lower`, `default`
/// and `replace`. It cannot run for long, take much memory, or say more than 4 KiB.
#[derive(Clone, Debug)]
pub struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what is allowed.
    pub fn new(text: &str) -> Result<Self, (String, String)> {
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        environment.add_filter("round", filters::round);
        environment.add_filter("upper", filters::upper);
        environment.add_filter("lower", filters::lower);
        environment.add_filter("default", filters::default);
        environment.add_filter("replace", filters::replace);
        let wrong = |error: &minijinja::Error| {
            let line = error.line().map_or_else(String::new, |line| format!(" in line {line}"));
            let problem = match error.detail() {
                Some(detail) => format!("{}: {detail}{line}", error.kind()),
                None => format!("{}{line}", error.kind()),
            };
            let allowed = match error.kind() {
                ErrorKind::UnknownFilter => "filters: round, upper, lower, default, replace",
                ErrorKind::OutOfFuel => "a template that ends sooner",
                _ => "a Jinja template, such as {{ subject }}: {{ value }} {{ unit }}",
            };
            (problem, allowed.to_owned())
        };
        environment
            .add_template_owned(String::new(), text.to_owned())
            .map_err(|error| wrong(&error))?;
        let this = Self { environment };
        let names = this.environment.get_template("").map_err(|error| wrong(&error))?;
        let mut unknown: Vec<_> = names
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !VARIABLES.contains(&name.as_str()))
            .collect();
        unknown.sort();
        if let Some(name) = unknown.first() {
            return Err((
                format!("unknown variable `{name}`"),
                format!("variables: {}", VARIABLES.join(", ")),
            ));
        }
        // Some faults show only when it is rendered.
        let sample = [("value", Value::from(1.5)), ("limit", Value::from(1.0))];
        let mut sample = BTreeMap::from(sample);
        for name in VARIABLES {
            sample.entry(name).or_insert_with(|| Value::from("x"));
        }
        names.render(sample).map_err(|error| wrong(&error))?;
        Ok(this)
    }

    /// The text; `None` if it cannot be made of these facts.
    pub fn render(&self, facts: &Facts<'_>) -> Option<String> {
        let threshold = facts.threshold;
        let rounded = |value: f64| (value * 1e6).round() / 1e6;
        let context = BTreeMap::from([
            ("subject", Value::from(facts.subject.name.as_str())),
            (
                "service",
                Value::from(facts.subject.service.as_deref().unwrap_or_default()),
            ),
            (
                "value",
                facts
                    .value
                    .map_or_else(|| Value::from(()), |value| Value::from(rounded(value))),
            ),
            ("limit", Value::from(rounded(threshold.value))),
            ("unit", Value::from(threshold.metric.unit().text())),
            ("metric", Value::from(threshold.metric.to_string())),
            ("severity", Value::from(threshold.severity.name())),
            ("window", Value::from(threshold.window.name())),
            ("since", Value::from(moment(facts.since_wall_ns))),
            ("threshold", Value::from(threshold.id.as_str())),
        ]);
        let template = self.environment.get_template("").ok()?;
        template.render(context).ok().map(cut)
    }
}

/// The message of a threshold's alert.
pub(crate) fn message(template: Option<&Template>, facts: &Facts<'_>) -> String {
    template
        .and_then(|template| template.render(facts))
        .unwrap_or_else(|| describe(facts))
}

/// RFC 3339, in UTC.
fn moment(wall_ns: u64) -> String {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or_default();
    format!("{moment:.0}")
}

/// At most [`LENGTH`] bytes of a text.
fn cut(mut text: String) -> String {
    if text.len() > LENGTH {
        let mark = "…";
        text.truncate(text.floor_char_boundary(LENGTH - mark.len()));
        text.push_str(mark);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::{Draft, Source};

    fn threshold(metric: &str, value: f64) -> Threshold {
        let draft = Draft {
            id: Some("slow".to_owned()),
            metric: Some(metric.to_owned()),
            value: Some(value),
            ..Draft::default()
        };
        draft.check(Source::Api).unwrap()
    }

    fn subject() -> Subject {
        Subject {
            key: "endpoint:8b356477f41e115b".to_owned(),
            name: "GET /users/{id} of shop:8080".to_owned(),
            service: Some("shop".to_owned()),
            endpoint: Some("8b356477f41e115b".to_owned()),
        }
    }

    fn facts<'a>(threshold: &'a Threshold, subject: &'a Subject, value: f64) -> Facts<'a> {
        Facts {
            threshold,
            subject,
            value: Some(value),
            since_wall_ns: 1_700_000_000_000_000_000,
        }
    }

    #[test]
    fn a_message_says_what_is_how_much_of_whom_and_what_the_limit_is() {
        for (metric, limit, value, expected) in [
            (
                "response_time_mean",
                500.0,
                812.4,
                "mean response time of GET /users/{id} of shop:8080 is 812 ms (limit 500 ms) over 1m",
            ),
            (
                "response_time_p99_9",
                0.5,
                0.512,
                "p99.9 response time of GET /users/{id} of shop:8080 is 0.512 ms (limit 0.5 ms) over 1m",
            ),
            (
                "error_rate",
                0.05,
                0.0731,
                "error rate of GET /users/{id} of shop:8080 is 7.31 % (limit 5 %) over 1m",
            ),
            (
                "throughput",
                10.0,
                0.0,
                "throughput of GET /users/{id} of shop:8080 is 0 requests/s (limit 10 requests/s) over 1m",
            ),
            (
                "cpu_usage",
                0.9,
                1.0,
                "CPU usage of GET /users/{id} of shop:8080 is 100 % (limit 90 %)",
            ),
        ] {
            let threshold = threshold(metric, limit);
            assert_eq!(describe(&facts(&threshold, &subject(), value)), expected);
        }
    }

    #[test]
    fn a_template_says_what_the_operator_wants() {
        let text = "{{ severity|upper }} {{ subject }} ({{ service }}): {{ metric }} {{ value|round(1) }} {{ unit }} > \
                    {{ limit }}, {{ window }}, {{ since }}, {{ threshold }}{% if value > 1000 %}!{% endif %}";
        let template = Template::new(text).unwrap();
        let threshold = threshold("response_time_mean", 500.0);
        let rendered = template.render(&facts(&threshold, &subject(), 1812.345)).unwrap();
        let expected = "WARNING GET /users/{id} of shop:8080 (shop): response_time_mean 1812.3 ms > 500.0, 1m, \
                        2023-11-14T22:13:20Z, slow!";
        assert_eq!(rendered, expected);
    }

    #[test]
    fn a_template_that_cannot_work_is_told_when_it_is_written() {
        let problem = |text: &str| Template::new(text).unwrap_err();
        let (wrong, allowed) = problem("{{ subjekt }}");
        assert_eq!(wrong, "unknown variable `subjekt`");
        assert!(allowed.starts_with("variables: subject, service, value"), "{allowed}");
        assert!(problem("{{ subject").0.starts_with("syntax error"));
        assert!(problem("{{ subject|shout }}").0.contains("unknown filter"));
        let (wrong, _) = problem("{% for i in range(10) %}{% endfor %}");
        assert_eq!(wrong, "unknown variable `range`");
        let (wrong, allowed) = problem("{{ 'x' * 100000000 }}");
        assert_eq!(wrong, "engine ran out of fuel in line 1");
        assert_eq!(allowed, "a template that ends sooner");
        let loops = "{% for a in 'x' * 5000 %}".to_owned() + "{% for b in 'x' * 5000 %}b{% endfor %}{% endfor %}";
        assert!(Template::new(&loops).is_err());
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        let template = Template::new(&"ü".repeat(3000)).unwrap();
        let threshold = threshold("response_time_mean", 500.0);
        let rendered = template.render(&facts(&threshold, &subject(), 1.0)).unwrap();
        assert_eq!(rendered, "ü".repeat(2046) + "…");
    }

    #[test]
    fn where_a_template_fails_our_own_text_stands() {
        let template = Template::new("{{ value + 1 }}").unwrap();
        let threshold = threshold("response_time_mean", 500.0);
        let subject = subject();
        let mut facts = facts(&threshold, &subject, 812.0);
        assert_eq!(message(Some(&template), &facts), "813.0");
        facts.value = None;
        assert_eq!(message(Some(&template), &facts), describe(&facts));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for (seconds, expected) in [(0, "0s"), (30, "30s"), (90, "1m 30s"), (3600, "1h"), (86_400, "24h")] {
            assert_eq!(duration_text(Duration::from_secs(seconds)), expected);
        }
    }
}
