//! h2load: many requests at once, counted.

use std::process::Command;

use super::site::get;
use super::{Answer, Asked, Http, Serves};
use crate::child::run;
use crate::need;

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests in all.
    pub requests: u32,
    /// Connections.
    pub clients: u32,
    /// Requests in flight on each.
    pub streams: u32,
    /// The version.
    pub http: Http,
}

/// What h2load counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests that it got through with.
    pub done: u64,
    /// Those that failed.
    pub failed: u64,
    /// Statuses: 2xx, 3xx, 4xx, 5xx.
    pub statuses: [u64; 4],
    /// Bytes of bodies that it received.
    pub body_bytes: u64,
}

impl Load {
    /// Asks for these paths in turn.
    ///
    /// # Panics
    /// If h2load fails or says something that is not understood.
    #[track_caller]
    pub fn run(&self, server: &dyn Serves, paths: &[&str]) -> Report {
        self.at(&format!("https://127.0.0.1:{}", server.port()), paths)
    }

    /// Asks for one path, which is answered with 200, and puts it down.
    ///
    /// # Panics
    /// If not all are answered so.
    #[track_caller]
    pub fn put_down(&self, server: &dyn Serves, path: &'static str, asked: &mut Asked) {
        let mut report = self.run(server, &[path]);
        let ask = get(path);
        let requests = u64::from(self.requests);
        let expected = Report {
            done: requests,
            failed: 0,
            statuses: [requests, 0, 0, 0],
            body_bytes: requests * ask.answer_bytes(),
        };
        if self.http == Http::One && report.statuses == [0; 4] {
            // Of HTTP/1.1 it takes an answer without a reason phrase for a failure; the server's log has the status.
            (report.failed, report.statuses) = (0, expected.statuses);
        }
        assert_eq!(report, expected, "h2load is answered");
        let answer = Answer {
            status: ask.status(),
            body: ask.answer_bytes(),
            took_ns: 0,
        };
        let count = usize::try_from(self.requests).expect("not that many");
        asked.add("h2load", self.http, &vec![ask; count], &vec![answer; count]);
    }

    /// The same at this address.
    ///
    /// # Panics
    /// See [`Self::run`].
    #[track_caller]
    pub fn at(&self, base: &str, paths: &[&str]) -> Report {
        let mut command = Command::new(need::which("h2load").expect("the test said that it needs h2load"));
        command
            .args(["--requests", &self.requests.to_string()])
            .args(["--clients", &self.clients.to_string()])
            .args(["--max-concurrent-streams", &self.streams.to_string()]);
        if self.http == Http::One {
            command.arg("--h1");
        }
        command.args(paths.iter().map(|path| format!("{base}{path}")));
        let said = run(command);
        assert_eq!(said.code, Some(0), "h2load: {}{}", said.out, said.error);
        parse(&said.out).unwrap_or_else(|| panic!("h2load's report is not understood: {}", said.out))
    }
}

fn parse(text: &str) -> Option<Report> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let count = |line: &str, what: &str| {
        let part = line.split(", ").find(|part| part.ends_with(what))?;
        part.split(' ').next()?.parse::<u64>().ok()
    };
    let requests = line("requests: ")?;
    let codes = line("status codes: ")?;
    let bytes = text.lines().find(|line| line.starts_with("traffic: "))?;
    let data = bytes.split(", ").find(|part| part.ends_with(" data"))?;
    let data = data.split_once('(')?.1.split(')').next()?;
    Some(Report {
        done: count(requests, " done")?,
        failed: count(requests, " failed")? + count(requests, " errored")? + count(requests, " timeout")?,
        statuses: [
            count(codes, "2xx")?,
            count(codes, "3xx")?,
            count(codes, "4xx")?,
            count(codes, "5xx")?,
        ],
        body_bytes: data.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let text = "finished in 1.05s, 9523.81 req/s, 1.02MB/s\n\
                    requests: 10000 total, 10000 started, 9999 done, 9998 succeeded, 1 failed, 2 errored, 3 timeout\n\
                    status codes: 9000 2xx, 0 3xx, 998 4xx, 1 5xx\n\
                    traffic: 1.07MB (1120000) total, 350.00KB (358400) headers (space savings 71.43%), 58.59KB (60000) data\n";
        let expected = Report {
            done: 9999,
            failed: 6,
            statuses: [9000, 0, 998, 1],
            body_bytes: 60_000,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("unable to connect"), None);
    }
}
