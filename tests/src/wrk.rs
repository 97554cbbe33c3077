//! wrk, and what it says at its end.

use std::process::Command;

use crate::need;

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections kept open.
    pub connections: u32,
    /// Seconds.
    pub seconds: u32,
    /// What is asked for.
    pub url: String,
    /// Requests that are sent at once, before any is answered.
    pub pipelined: u32,
}

/// What wrk counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Answers that it received in full.
    pub requests: u64,
    /// Errors of its sockets: connect, read, write, timeout.
    pub socket_errors: u64,
    /// Answers with another status than 2xx or 3xx.
    pub not_2xx_3xx: u64,
}

impl Load {
    /// Runs it to its end in one thread.
    ///
    /// # Panics
    /// If wrk fails or says something that is not understood.
    #[track_caller]
    pub fn run(&self) -> Report {
        let mut command = Command::new(need::which("wrk").expect("the test said that it needs wrk"));
        command
            .args(["--threads", "1", "--timeout", "10s"])
            .args(["--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{}s", self.seconds)]);
        if self.pipelined > 1 {
            command.arg("--script").arg(crate::python::source("pipeline.lua"));
        }
        command.arg(&self.url);
        if self.pipelined > 1 {
            command.args(["--", &self.pipelined.to_string()]);
        }
        let output = command.output().expect("wrk can be started");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "wrk: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        parse(&text).unwrap_or_else(|| panic!("wrk's report is not understood: {text}"))
    }
}

fn parse(text: &str) -> Option<Report> {
    let mut report = Report::default();
    let mut found = false;
    for line in text.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            report.requests = count.parse().ok()?;
            found = true;
        } else if let Some(errors) = line.strip_prefix("Socket errors: ") {
            let counts = errors
                .split(", ")
                .map(|part| part.rsplit(' ').next()?.parse::<u64>().ok());
            report.socket_errors = counts.sum::<Option<u64>>()?;
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            report.not_2xx_3xx = count.parse().ok()?;
        }
    }
    found.then_some(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let text = "Running 1s test\n  4321 requests in 1.10s, 1.2MB read\n\
                    \x20 Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 7\n";
        let expected = Report {
            requests: 4321,
            socket_errors: 6,
            not_2xx_3xx: 7,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("unable to connect"), None);
    }
}
