//! Query parameters. A name or value that is not known is an error that says what is: a misspelt filter that is ignored
//! answers another question than the one asked.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use percent_encoding::percent_decode_str;

use super::problem::Problem;
use crate::aggregate::Window;

/// A request's parameters, each at most once and of a known name.
#[derive(Debug)]
pub struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Splits a query string.
    ///
    /// # Errors
    /// [`Problem`] for an unknown or repeated name, or a value that is no UTF-8.
    pub fn parse(query: Option<&str>, known: &'static [&'static str]) -> Result<Self, Problem> {
        let mut parameters = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name)?;
            let Some(&name) = known.iter().find(|other| **other == name) else {
                let expected = match known {
                    [] => "this path takes none".to_owned(),
                    known => format!("this path takes {}", known.join(", ")),
                };
                return Err(Problem::parameter(format!("unknown parameter {name:?}: {expected}")));
            };
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(Problem::parameter(format!("parameter {name} is given more than once")));
            }
            parameters.push((name, decoded(value)?));
        }
        Ok(Self(parameters))
    }

    /// A parameter's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value.as_str())
    }

    /// One of several words.
    ///
    /// # Errors
    /// [`Problem`] that lists them.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text);
        let listed = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found
            .map(|(_, value)| Some(*value))
            .ok_or_else(|| wrong(name, text, &format!("one of {}", listed())))
    }

    /// `window`; by default the last five minutes.
    ///
    /// # Errors
    /// [`Problem`] that lists the windows.
    pub fn window(&self) -> Result<Window, Problem> {
        Ok(self
            .word("window", &Window::ALL.map(|window| (window.name(), window)))?
            .unwrap_or_default())
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`Problem`] that tells the range.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(wrong(
                name,
                text,
                &format!("a whole number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// Milliseconds, as nanoseconds.
    ///
    /// # Errors
    /// [`Problem`] unless it is a number that is not negative.
    pub fn milliseconds(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is not negative"
        )]
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Some((number * 1e6).round() as u64)),
            _ => Err(wrong(name, text, "a number of milliseconds, 0 or more")),
        }
    }

    /// An IP address.
    ///
    /// # Errors
    /// [`Problem`] if it is none.
    pub fn address(&self, name: &str) -> Result<Option<IpAddr>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Some(address.to_canonical())),
            Err(_) => Err(wrong(name, text, "an IP address such as 10.1.2.3 or 2001:db8::1")),
        }
    }

    /// A status such as `404`, a class of them such as `4xx`, or a gRPC code.
    ///
    /// # Errors
    /// [`Problem`] that says so.
    pub fn status(&self, name: &str) -> Result<Option<RangeInclusive<u16>>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match crate::config::statuses(text) {
            Some(statuses) => Ok(Some(statuses)),
            None => Err(wrong(
                name,
                text,
                "a status such as 404, a class such as 4xx, or a gRPC code from 0 to 16",
            )),
        }
    }
}

fn decoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_utf8| Problem::parameter(format!("parameter {text:?} is not UTF-8")))
}

fn wrong(name: &str, value: &str, expected: &str) -> Problem {
    Problem::parameter(format!("parameter {name} is {value:?}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn problem<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
        let problem = result.unwrap_err();
        assert_eq!(problem.status, 400);
        problem.detail
    }

    #[test]
    fn what_is_known_is_read() {
        let query = "window=1h&limit=5&slower_than_ms=1.5&status=5xx&route=%2Fusers%2F%7Bid%7D&service=my+app&";
        let known = &[
            "window",
            "limit",
            "slower_than_ms",
            "status",
            "route",
            "service",
            "port",
        ];
        let parameters = Parameters::parse(Some(query), known).unwrap();
        assert_eq!(parameters.window().unwrap(), Window::Hour);
        assert_eq!(parameters.number("limit", 1..=10).unwrap(), Some(5));
        assert_eq!(parameters.milliseconds("slower_than_ms").unwrap(), Some(1_500_000));
        assert_eq!(parameters.status("status").unwrap(), Some(500..=599));
        assert_eq!(parameters.text("route"), Some("/users/{id}"));
        assert_eq!(parameters.text("service"), Some("my app"));
        assert_eq!(parameters.number("port", 1..=65535).unwrap(), None);
        assert_eq!(
            Parameters::parse(None, known).unwrap().window().unwrap(),
            Window::FiveMinutes
        );
    }

    #[test]
    fn what_is_not_known_is_named_with_what_would_be() {
        let parse = |query: &str| Parameters::parse(Some(query), &["window", "limit", "status"]);
        assert_eq!(
            problem(parse("windw=1h")),
            "unknown parameter \"windw\": this path takes window, limit, status"
        );
        assert_eq!(
            problem(Parameters::parse(Some("a"), &[])),
            "unknown parameter \"a\": this path takes none"
        );
        assert_eq!(
            problem(parse("limit=1&limit=2")),
            "parameter limit is given more than once"
        );
        assert_eq!(
            problem(parse("window=2m").unwrap().window()),
            "parameter window is \"2m\", expected one of 1m, 5m, 15m, 1h, 24h, start"
        );
        for limit in ["0", "11", "-1", "1.5", "", "99999999999999999999"] {
            let parameters = parse(&format!("limit={limit}")).unwrap();
            let expected = format!("parameter limit is {limit:?}, expected a whole number from 1 to 10");
            assert_eq!(problem(parameters.number("limit", 1..=10)), expected);
        }
        for status in ["6xx", "99", "600", "5x", "x"] {
            let detail = problem(parse(&format!("status={status}")).unwrap().status("status"));
            assert!(
                detail.ends_with("expected a status such as 404, a class such as 4xx, or a gRPC code from 0 to 16"),
                "{detail}"
            );
        }
        assert!(problem(parse("limit=%ff")).contains("not UTF-8"));
    }
}
