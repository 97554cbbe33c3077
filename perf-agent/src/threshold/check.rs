//! From what somebody wrote to a threshold: everything that is wrong is said at once.

use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use super::message::Template;
use super::metric::{Metric, Unit};
use super::scope::{self, Scope};
use super::{Comparison, Severity, Source, Threshold};
use crate::aggregate::Window;
use crate::endpoint::Fnv;

/// Longest id.
const ID: usize = 64;
/// Longest message and runbook.
const TEXT: usize = 2_048;
/// Longest time that a threshold must hold.
const LONGEST: Duration = Duration::from_hours(24);
/// Largest number of samples that may be asked for.
const MOST: u64 = 1_000_000_000;

/// A threshold as somebody wrote it: `metric` and `value` must be there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// See [`Threshold::id`]; made of what it says if there is none.
    pub id: Option<String>,
    /// Name of a [`Metric`].
    pub metric: Option<String>,
    /// Text of a [`Scope`]; `*` if there is none.
    pub scope: Option<String>,
    /// Name of a [`Comparison`]; `gt` if there is none.
    pub comparison: Option<String>,
    /// The limit.
    pub value: Option<f64>,
    /// Where it is over again.
    pub clear: Option<f64>,
    /// Name of a [`Window`]; `1m` if there is none.
    pub window: Option<String>,
    /// A duration; `0s` if there is none.
    pub for_: Option<String>,
    /// 1 if there is none, or 0 where no samples are needed.
    pub min_count: Option<u64>,
    /// Name of a [`Severity`]; `warning` if there is none.
    pub severity: Option<String>,
    /// A [`Template`].
    pub message: Option<String>,
    /// An URL.
    pub runbook: Option<String>,
}

/// Something wrong with what somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What is allowed.
    pub allowed: String,
}

impl Fault {
    /// Of a field.
    pub(crate) fn new(field: &'static str, problem: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
            allowed: allowed.into(),
        }
    }
}

/// `scope: unknown scope `all`; allowed: …`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; allowed: {}", self.field, self.problem, self.allowed)
    }
}

/// What is good, and what is not.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.0.push(fault)).ok()
    }
}

impl Draft {
    /// The threshold that is meant.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn check(&self, source: Source) -> Result<Threshold, Vec<Fault>> {
        let mut faults = Faults::default();
        let id = faults.take(id(self.id.as_deref()));
        let metric = faults.take(metric(self.metric.as_deref()));
        let scope = faults.take(scope_of(self.scope.as_deref(), metric.as_ref()));
        let comparison = faults.take(word(
            "comparison",
            self.comparison.as_deref(),
            Comparison::Gt,
            Comparison::from_name,
            &Comparison::ALL.map(Comparison::name),
        ));
        let window = faults.take(word(
            "window",
            self.window.as_deref(),
            Window::Minute,
            Window::from_name,
            &Window::ALL.map(Window::name),
        ));
        let severity = faults.take(word(
            "severity",
            self.severity.as_deref(),
            Severity::Warning,
            Severity::from_name,
            &Severity::ALL.map(Severity::name),
        ));
        let value = faults.take(limit("value", self.value, metric.as_ref()));
        let clear = match self.clear {
            Some(_) => faults.take(limit("clear", self.clear, metric.as_ref())),
            None => None,
        };
        if let (Some(clear), Some(value), Some(comparison)) = (clear, value, comparison) {
            faults.take(behind(clear, value, comparison));
        }
        let for_ = faults.take(duration(self.for_.as_deref()));
        let min_count = faults.take(min_count(self.min_count, metric.as_ref()));
        let message = faults.take(message(self.message.as_deref()));
        let runbook = faults.take(runbook(self.runbook.as_deref()));
        let read = (|| {
            Some(Threshold {
                id: id?.unwrap_or_default(),
                metric: metric?,
                scope: scope?,
                comparison: comparison?,
                value: value?,
                clear,
                window: window?,
                for_: for_?,
                min_count: min_count?,
                severity: severity?,
                message: message?,
                runbook: runbook?,
                source,
            })
        })();
        match read {
            Some(mut threshold) if faults.0.is_empty() => {
                if threshold.id.is_empty() {
                    threshold.id = threshold.made_id();
                }
                Ok(threshold)
            }
            _ => Err(faults.0),
        }
    }
}

impl Threshold {
    /// An id that depends on what the threshold judges, and on nothing else: the same threshold has it again after a restart.
    fn made_id(&self) -> String {
        let mut hash = Fnv::new();
        hash.text(&self.metric.to_string());
        hash.text(&self.scope.to_string());
        hash.text(self.comparison.name());
        hash.number(self.value.to_bits());
        hash.number(self.clear.map_or(0, f64::to_bits));
        hash.text(self.window.name());
        hash.number(u64::try_from(self.for_.as_nanos()).unwrap_or(u64::MAX));
        hash.number(self.min_count);
        hash.text(self.severity.name());
        let metric = self.metric.to_string();
        let metric = metric.split_once(':').map_or(metric.as_str(), |(metric, _)| metric);
        format!("{metric}-{:016x}", hash.0)
    }
}

fn id(text: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(text) = text else {
        return Ok(None);
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > ID || !text.bytes().all(fits) {
        let problem = format!("`{}` is no id", shown(text));
        return Err(Fault::new("id", problem, "1 to 64 letters, digits, -, _ and ."));
    }
    Ok(Some(text.to_owned()))
}

fn metric(text: Option<&str>) -> Result<Metric, Fault> {
    let allowed = || format!("one of {}", Metric::names().join(", "));
    let Some(text) = text else {
        return Err(Fault::new("metric", "missing", allowed()));
    };
    Metric::parse(text).ok_or_else(|| {
        let near = Metric::nearest(text).map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
        Fault::new("metric", format!("unknown metric `{}`{near}", shown(text)), allowed())
    })
}

fn scope_of(text: Option<&str>, metric: Option<&Metric>) -> Result<Scope, Fault> {
    let text = text.unwrap_or("*");
    let Some(scope) = Scope::parse(text) else {
        return Err(Fault::new(
            "scope",
            format!("unknown scope `{}`", shown(text)),
            scope::ALLOWED,
        ));
    };
    match metric.and_then(|metric| scope.misfit(metric)) {
        Some((problem, allowed)) => Err(Fault::new("scope", problem, allowed)),
        None => Ok(scope),
    }
}

fn word<T>(
    field: &'static str,
    text: Option<&str>,
    default: T,
    read: impl FnOnce(&str) -> Option<T>,
    names: &[&str],
) -> Result<T, Fault> {
    let Some(text) = text else {
        return Ok(default);
    };
    read(text).ok_or_else(|| {
        let near = names
            .iter()
            .min_by_key(|name| strsim::damerau_levenshtein(&shown(text).to_lowercase(), name))
            .filter(|name| strsim::damerau_levenshtein(&shown(text).to_lowercase(), name) <= name.len() / 3);
        let near = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
        let problem = format!("unknown {field} `{}`{near}", shown(text));
        Fault::new(field, problem, format!("one of {}", names.join(", ")))
    })
}

fn limit(field: &'static str, value: Option<f64>, metric: Option<&Metric>) -> Result<f64, Fault> {
    let (from, allowed) = match metric.map(Metric::unit) {
        Some(Unit::Ratio) => (0.0..=1.0, "a ratio from 0 to 1"),
        Some(Unit::Unknown) | None => (f64::MIN..=f64::MAX, "a number"),
        Some(Unit::Milliseconds) => (0.0..=f64::MAX, "milliseconds, 0 or more"),
        Some(_) => (0.0..=f64::MAX, "a number, 0 or more"),
    };
    let Some(value) = value else {
        return Err(Fault::new(field, "missing", allowed));
    };
    // What is no number at all is in no range.
    if from.contains(&value) {
        Ok(value)
    } else {
        Err(Fault::new(field, format!("{value} is out of range"), allowed))
    }
}

/// Is the figure at which an alert ends not on the bad side of the limit?
fn behind(clear: f64, value: f64, comparison: Comparison) -> Result<(), Fault> {
    let (fits, allowed) = match comparison {
        Comparison::Gt | Comparison::Gte => (clear <= value, format!("at most {value}")),
        Comparison::Lt | Comparison::Lte => (clear >= value, format!("at least {value}")),
        Comparison::Eq => (false, "none for eq".to_owned()),
    };
    if fits {
        Ok(())
    } else {
        Err(Fault::new("clear", format!("{clear} would end no alert"), allowed))
    }
}

fn duration(text: Option<&str>) -> Result<Duration, Fault> {
    let Some(text) = text else {
        return Ok(Duration::ZERO);
    };
    let read = jiff::SignedDuration::from_str(text).ok();
    read.and_then(|read| Duration::try_from(read).ok())
        .filter(|read| *read <= LONGEST)
        .ok_or_else(|| {
            let problem = format!("`{}` is no such duration", shown(text));
            Fault::new("for", problem, "a duration from 0s to 24h, such as 30s or 1m 30s")
        })
}

fn min_count(count: Option<u64>, metric: Option<&Metric>) -> Result<u64, Fault> {
    let default = u64::from(!metric.is_some_and(Metric::is_known_without_samples));
    let count = count.unwrap_or(default);
    if count > MOST {
        return Err(Fault::new(
            "min_count",
            format!("{count} is too many"),
            format!("0 to {MOST}"),
        ));
    }
    Ok(count)
}

fn message(text: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    if text.len() > TEXT {
        return Err(Fault::new(
            "message",
            format!("{} bytes are too long", text.len()),
            "at most 2048 bytes",
        ));
    }
    match Template::new(text) {
        Ok(_) => Ok(Some(text.to_owned())),
        Err((problem, allowed)) => Err(Fault::new("message", problem, allowed)),
    }
}

fn runbook(text: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_url = rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_alphanumeric() || c == '[')
            && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    });
    if is_url && text.len() <= TEXT {
        Ok(Some(text.to_owned()))
    } else {
        let problem = format!("`{}` is no such address", shown(text));
        Err(Fault::new(
            "runbook",
            problem,
            "an http:// or https:// URL of at most 2048 bytes",
        ))
    }
}

/// As much of a text as a message quotes.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(80)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draft() -> Draft {
        Draft {
            metric: Some("response_time_p95".to_owned()),
            value: Some(200.0),
            ..Draft::default()
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Draft), expected: &[(&str, &str, &str)]) {
        let mut draft = draft();
        change(&mut draft);
        let faults = draft.check(Source::Api).expect_err("no fault");
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| (fault.field, fault.problem.as_str(), fault.allowed.as_str()))
            .collect();
        assert_eq!(faults, expected);
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a draft holds")]
    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let threshold = draft().check(Source::File).unwrap();
        let expected = Threshold {
            id: threshold.id.clone(),
            metric: Metric::parse("response_time_p95").unwrap(),
            scope: Scope::Each,
            comparison: Comparison::Gt,
            value: 200.0,
            clear: None,
            window: Window::Minute,
            for_: Duration::ZERO,
            min_count: 1,
            severity: Severity::Warning,
            message: None,
            runbook: None,
            source: Source::File,
        };
        assert_eq!(threshold, expected);
        assert!(threshold.id.starts_with("response_time_p95-") && threshold.id.len() == 18 + 16);
        assert_eq!(draft().check(Source::Api).unwrap().id, threshold.id, "the same again");
        let mut other = draft();
        other.value = Some(201.0);
        assert_ne!(other.check(Source::Api).unwrap().id, threshold.id);
    }

    #[test]
    fn everything_that_is_said_is_taken() {
        let draft = Draft {
            id: some("a.b-c_D9"),
            metric: some("error_rate"),
            scope: some("GET /users/{id}"),
            comparison: some("gte"),
            value: Some(0.5),
            clear: Some(0.25),
            window: some("1h"),
            for_: some("1m 30s"),
            min_count: Some(7),
            severity: some("critical"),
            message: some("{{ subject }} is down"),
            runbook: some("https://wiki.example/runbook?a=b#c"),
        };
        let expected = Threshold {
            id: "a.b-c_D9".to_owned(),
            metric: Metric::ErrorRate,
            scope: Scope::Route("GET /users/{id}".to_owned()),
            comparison: Comparison::Gte,
            value: 0.5,
            clear: Some(0.25),
            window: Window::Hour,
            for_: Duration::from_secs(90),
            min_count: 7,
            severity: Severity::Critical,
            message: some("{{ subject }} is down"),
            runbook: some("https://wiki.example/runbook?a=b#c"),
            source: Source::Api,
        };
        assert_eq!(draft.check(Source::Api), Ok(expected));
    }

    #[test]
    fn every_fault_is_said_at_once_and_what_is_allowed() {
        let severities = "one of warning, error, critical";
        check(
            |draft| {
                draft.id = some("a b");
                draft.scope = some("everything");
                draft.comparison = some(">");
                draft.value = Some(-1.0);
                draft.window = some("2m");
                draft.for_ = some("25h");
                draft.severity = some("Eror");
                draft.message = some("{{ nothing }}");
                draft.runbook = some("javascript:alert(1)");
            },
            &[
                ("id", "`a b` is no id", "1 to 64 letters, digits, -, _ and ."),
                ("scope", "unknown scope `everything`", scope::ALLOWED),
                ("comparison", "unknown comparison `>`", "one of gt, lt, gte, lte, eq"),
                ("window", "unknown window `2m`", "one of 1m, 5m, 15m, 1h, 24h, start"),
                ("severity", "unknown severity `Eror`, did you mean `error`?", severities),
                ("value", "-1 is out of range", "milliseconds, 0 or more"),
                (
                    "for",
                    "`25h` is no such duration",
                    "a duration from 0s to 24h, such as 30s or 1m 30s",
                ),
                (
                    "message",
                    "unknown variable `nothing`",
                    "variables: subject, service, value, limit, unit, metric, severity, window, since, threshold",
                ),
                (
                    "runbook",
                    "`javascript:alert(1)` is no such address",
                    "an http:// or https:// URL of at most 2048 bytes",
                ),
            ],
        );
    }

    #[test]
    fn a_metric_and_a_value_must_be_there() {
        let faults = Draft::default().check(Source::Api).unwrap_err();
        let fields: Vec<_> = faults
            .iter()
            .map(|fault| (fault.field, fault.problem.as_str()))
            .collect();
        assert_eq!(fields, [("metric", "missing"), ("value", "missing")]);
    }

    #[test]
    fn a_metric_that_is_misspelt_is_told_with_the_nearest() {
        let mut draft = draft();
        draft.metric = some("respons_time_p95");
        let faults = draft.check(Source::Api).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert_eq!(
            faults[0].problem,
            "unknown metric `respons_time_p95`, did you mean `response_time_p95`?"
        );
        assert!(faults[0].allowed.contains("function_time_max:NAME"));
    }

    #[test]
    fn a_scope_must_fit_its_metric() {
        check(
            |draft| draft.scope = some("host"),
            &[(
                "scope",
                "response_time_p95 has no figure of `host`: requests are of services and endpoints",
                "*, total, service:NAME, endpoint:ID, route:PATTERN",
            )],
        );
    }

    #[test]
    fn limits_are_finite_and_ratios_are_ratios() {
        for (metric, value, fits) in [
            ("error_rate", 1.0, true),
            ("error_rate", 1.01, false),
            ("error_rate", -0.01, false),
            ("throughput", 1e9, true),
            ("throughput", f64::NAN, false),
            ("throughput", f64::INFINITY, false),
            ("custom:a", -5.0, true),
            ("custom:a", f64::NAN, false),
            ("custom:a", f64::NEG_INFINITY, false),
        ] {
            let draft = Draft {
                metric: some(metric),
                value: Some(value),
                ..Draft::default()
            };
            assert_eq!(draft.check(Source::Api).is_ok(), fits, "{metric} {value}");
        }
    }

    #[test]
    fn where_an_alert_ends_is_on_the_good_side() {
        let change = |comparison: &str, clear: f64| {
            let mut draft = draft();
            draft.comparison = some(comparison);
            draft.clear = Some(clear);
            draft.check(Source::Api).is_ok()
        };
        assert!(change("gt", 200.0) && change("gt", 100.0) && change("lt", 300.0));
        assert!(!change("gt", 201.0) && !change("lt", 199.0) && !change("eq", 200.0));
    }

    #[test]
    fn texts_have_their_lengths() {
        for (length, fits) in [(TEXT, true), (TEXT + 1, false)] {
            let mut long = draft();
            long.message = Some("m".repeat(length));
            assert_eq!(long.check(Source::Api).is_ok(), fits, "message of {length}");
            let mut long = draft();
            long.runbook = Some(format!("http://{}", "a".repeat(length - 7)));
            assert_eq!(long.check(Source::Api).is_ok(), fits, "runbook of {length}");
        }
        let mut long = draft();
        long.id = Some("i".repeat(ID + 1));
        assert!(long.check(Source::Api).is_err());
    }

    #[test]
    fn what_needs_no_samples_asks_for_none() {
        let min_count = |metric: &str| {
            let draft = Draft {
                metric: some(metric),
                value: Some(0.5),
                ..Draft::default()
            };
            draft.check(Source::Api).unwrap().min_count
        };
        let metrics = ["throughput", "cpu_usage", "lost_records", "error_rate", "custom:a"];
        assert_eq!(metrics.map(min_count), [0, 0, 0, 1, 1]);
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_a_threshold_or_a_fault(
            texts in prop::array::uniform9(prop::option::of(".{0,20}")), value in any::<f64>(), clear in prop::option::of(any::<f64>()),
        ) {
            let [id, metric, scope, comparison, window, for_, severity, message, runbook] = texts;
            let draft = Draft {
                id, metric, scope, comparison, value: Some(value), clear, window, for_, min_count: None, severity, message, runbook,
            };
            if let Err(faults) = draft.check(Source::Api) {
                prop_assert!(!faults.is_empty());
            }
        }
    }
}
