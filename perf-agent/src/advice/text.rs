//! Figures and names as they are written in recommendations.

use crate::aggregate::Window;
use crate::endpoint::Peer;
use crate::exchange::Class;
use crate::process::ServiceKey;
use crate::snapshot::EndpointSnapshot;

/// Characters of an operation that are written: statements can be long.
const OPERATION: usize = 100;

/// Three significant digits, whole from 100 on.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size > 0.0 => 3,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `12.5 ms`, `3.1 s`
pub(super) fn time(ns: f64) -> String {
    if ns >= 1e10 {
        format!("{} s", number(ns / 1e9))
    } else {
        format!("{} ms", number(ns / 1e6))
    }
}

/// `37 %`
pub(super) fn percent(ratio: f64) -> String {
    format!("{} %", number(ratio * 100.0))
}

/// `5.3 hours`, `12 minutes`, `40 seconds`
pub(super) fn duration(seconds: f64) -> String {
    if seconds >= 7200.0 {
        format!("{} hours", number(seconds / 3600.0))
    } else if seconds >= 120.0 {
        format!("{} minutes", number(seconds / 60.0))
    } else {
        format!("{} seconds", number(seconds))
    }
}

/// `512 MiB`
pub(super) fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return format!("{} {unit}", number(value));
        }
        value /= 1024.0;
    }
    format!("{} TiB", number(value))
}

/// `the last 5 minutes`
pub(super) fn window(window: Window) -> &'static str {
    match window {
        Window::Minute => "the last minute",
        Window::FiveMinutes => "the last 5 minutes",
        Window::FifteenMinutes => "the last 15 minutes",
        Window::Hour => "the last hour",
        Window::Day => "the last day",
        Window::Start => "the time observed",
    }
}

/// `shop:8080`
pub(super) fn service(key: &ServiceKey) -> String {
    match (key.port, &key.socket) {
        (Some(port), _) => format!("{}:{port}", key.name),
        (None, Some(socket)) => format!("{} at {socket}", key.name),
        (None, None) => key.name.to_string(),
    }
}

/// `db:5432`
pub(super) fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Name { host, port: 0 } => host.to_string(),
        Peer::Name { host, port } => format!("{host}:{port}"),
        Peer::Address(address) => address.to_string(),
        Peer::Unix(path) => path.to_string(),
    }
}

/// `GET /users/{id}`, not too long.
pub(super) fn operation(endpoint: &EndpointSnapshot) -> String {
    let text = endpoint.key.operation.to_string();
    if text.chars().count() <= OPERATION {
        return text;
    }
    text.chars().take(OPERATION).chain(['…']).collect()
}

/// `GET /users/{id} of shop:8080`
pub(super) fn endpoint(endpoint: &EndpointSnapshot) -> String {
    format!("{} of {}", operation(endpoint), service(&endpoint.key.service))
}

/// What an endpoint asks of whom: `SELECT ? at db:5432`.
pub(super) fn called(endpoint: &EndpointSnapshot) -> String {
    match &endpoint.key.peer {
        Some(asked) => format!("{} at {}", operation(endpoint), peer(asked)),
        None => operation(endpoint),
    }
}

/// Those that are asked.
pub(super) fn asked(class: Class) -> &'static str {
    match class {
        Class::Database => "databases",
        Class::Cache => "caches",
        Class::External => "other services",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_their_unit() {
        let all = [0.0, 0.0416, 1.0, 1.234, 9.999, 12.34, 99.99, 1234.4].map(number);
        assert_eq!(all, ["0", "0.042", "1", "1.23", "10", "12.3", "100", "1234"]);
        assert_eq!(
            [time(1.25e6), time(9.4e9), time(3.0e10)],
            ["1.25 ms", "9400 ms", "30 s"]
        );
        assert_eq!([percent(0.5), percent(0.0123)], ["50 %", "1.23 %"]);
        assert_eq!(
            [119.0, 120.0, 7200.0].map(duration),
            ["119 seconds", "2 minutes", "2 hours"]
        );
        assert_eq!(
            [bytes(17.0), bytes(1536.0), bytes(f64::from(1 << 30))],
            ["17 B", "1.5 KiB", "1 GiB"]
        );
    }
}
