//! `perf-agent trace`

use std::io::{self, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use tokio::sync::oneshot;

use super::options::{CaptureOptions, ConfigOption, CoreOptions, Faults, duration};
use super::{Failure, output, start};
use crate::agent::{Agent, Plan, Traced};
use crate::api::json::request::Request;
use crate::api::json::stream::Stream;
use crate::config;
use crate::privileges::Purpose;
use crate::snapshot::{self, LoggedExchange, LoggedStream};
use crate::source::replay::{ReplaySource, Speed};
use crate::source::{Source, live};
use crate::trace_line;

/// Longest path on a terminal; elsewhere paths are printed whole.
const PATH_WIDTH: usize = 48;

/// Options of `trace`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo perf-agent trace                           every exchange as it ends
  sudo perf-agent trace --port 80 --slower-than 1s  slow ones of one service
  sudo perf-agent trace --status 5xx --count 10   the next ten failures
  sudo perf-agent trace --json | jq .route        one JSON object per line
  perf-agent trace --from a.rec                   out of a recording, no root

Columns: time of the end; program; role (server received the request, client sent it); method; path; status; first \
request byte to last response byte; to first response byte; in the socket before it was read; bytes of request and \
response. Times in milliseconds. How it ended is added unless it was answered. An exchange that goes on as a stream (WebSocket, server-sent events, a \
tunnel, a streaming gRPC call) has a line when it is answered, and the stream one when it ends: its duration stands \
under RESPONSE. The line with the columns' names is \
printed on a terminal only.")]
pub struct Trace {
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    capture: CaptureOptions,
    #[command(flatten)]
    core: CoreOptions,
    /// Only exchanges that took longer, such as 10ms or 1.5s.
    #[arg(long, value_name = "DURATION", help_heading = "What to print")]
    slower_than: Option<String>,
    /// Only this status, such as 404, class, such as 5xx, or gRPC code, such as 14.
    #[arg(long, value_name = "STATUS", help_heading = "What to print")]
    status: Option<String>,
    /// One JSON object per line, with the field names of /api/v1/requests.
    #[arg(long, help_heading = "What to print")]
    json: bool,
    /// Stop after so many lines.
    #[arg(long, value_name = "N", help_heading = "What to print")]
    count: Option<u64>,
    /// A recording to trace instead of this host. Filters apply in the kernel, so there are none here.
    #[arg(long, value_name = "FILE", help_heading = "What to print", conflicts_with_all = CaptureOptions::IN_THE_KERNEL)]
    from: Option<PathBuf>,
}

/// Which exchanges to print, and how.
#[derive(Clone, Debug)]
struct Choice {
    slower_than: Option<Duration>,
    statuses: Option<RangeInclusive<u16>>,
    count: Option<u64>,
    json: bool,
}

impl Trace {
    /// Prints until a signal comes, `--count` is reached, the reader goes away or the recording ends.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn execute(&self) -> Result<(), Failure> {
        let mut faults = Faults::default();
        let file = self.config.file(&mut faults);
        let capture = self.capture.settings(&file, &mut faults);
        let core = self.core.settings(&file, capture.max_connections, &mut faults);
        let slower_than = self
            .slower_than
            .as_ref()
            .and_then(|text| duration("--slower-than", text, &mut faults));
        let statuses = self.status.as_ref().map(|text| (text, config::statuses(text)));
        if let Some((text, None)) = statuses {
            faults.add(format!(
                "--status {text}: expected a status such as 404, a class such as 5xx, or a gRPC code from 0 to 16"
            ));
        }
        let statuses = statuses.and_then(|(_, statuses)| statuses);
        if self.count == Some(0) {
            faults.add("--count 0: expected at least 1");
        }
        let choice = Choice {
            slower_than,
            statuses,
            count: self.count,
            json: self.json,
        };
        let (capture, core, choice) = faults.none_or((capture, core, choice))?;

        let live = self.from.is_none();
        let (source, purpose): (Box<dyn Source>, _) = match &self.from {
            Some(file) => (Box::new(ReplaySource::open(file, Speed::Max)?), Purpose::Replay),
            None => (live::start(&capture)?, Purpose::Observe),
        };
        start::give_up(purpose);
        let settings = start::pipeline_settings(&core);
        let mut agent = Agent::start(Plan {
            source,
            settings,
            recorder: None,
            trace: true,
        })?;
        let Some(traced) = agent.traced() else { return Ok(()) };
        if live {
            tracing::info!("tracing; Ctrl-C ends it");
        }
        let dropped = Arc::clone(&traced.dropped);
        let printed = start::runtime()?.block_on(print(traced, choice));
        agent.finish()?;
        let dropped = dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "exchanges were not printed, since the output was too slow for them"
            );
        }
        printed.map_err(Failure::from)
    }
}

/// Prints in a thread of its own: a terminal that was stopped, or a reader that does not read, blocks it for as long as
/// it likes, and a signal must end the agent all the same.
async fn print(mut traced: Traced, choice: Choice) -> io::Result<()> {
    let stop = start::stop_signal(true)?;
    let (tell, done) = oneshot::channel();
    std::thread::Builder::new().name("print".to_owned()).spawn(move || {
        let terminal = io::stdout().is_terminal();
        let mut printer = Printer::new(io::stdout(), choice, terminal);
        let mut goes_on = if terminal { printer.header() } else { Ok(true) };
        while let Ok(true) = goes_on {
            let Some(batch) = traced.batches.blocking_recv() else {
                break;
            };
            goes_on = printer.batch(&batch);
        }
        // Nobody listens any more after a signal.
        let _unheard = tell.send(goes_on);
    })?;
    let printed = tokio::select! {
        printed = done => printed.unwrap_or(Ok(false)),
        () = stop => Ok(false),
    };
    output::unless_gone(printed.map(|_| ()))
}

/// Prints what is chosen.
struct Printer<W> {
    output: W,
    choice: Choice,
    printed: u64,
    zone: TimeZone,
    width: usize,
}

impl<W: Write> Printer<W> {
    fn new(output: W, choice: Choice, terminal: bool) -> Self {
        let width = if terminal { PATH_WIDTH } else { usize::MAX };
        Self {
            output,
            choice,
            printed: 0,
            zone: TimeZone::system(),
            width,
        }
    }

    fn header(&mut self) -> io::Result<bool> {
        if !self.choice.json {
            writeln!(self.output, "{}", trace_line::header())?;
        }
        Ok(true)
    }

    /// False once enough was printed.
    fn batch(&mut self, traced: &[snapshot::Traced]) -> io::Result<bool> {
        let mut text = String::new();
        for traced in traced.iter().filter(|traced| self.choice.wants(traced)) {
            if self.choice.count.is_some_and(|count| self.printed >= count) {
                break;
            }
            let line = match traced {
                snapshot::Traced::Exchange(exchange) if self.choice.json => {
                    serde_json::to_string(&Request::from(exchange))?
                }
                snapshot::Traced::Exchange(exchange) => trace_line::line(exchange, &self.zone, self.width),
                snapshot::Traced::Stream(stream) if self.choice.json => {
                    serde_json::to_string(&Stream::of(stream, None))?
                }
                snapshot::Traced::Stream(stream) => trace_line::stream(stream, &self.zone, self.width),
            };
            text.push_str(&line);
            text.push('\n');
            self.printed += 1;
        }
        self.output.write_all(text.as_bytes())?;
        self.output.flush()?;
        Ok(self.choice.count.is_none_or(|count| self.printed < count))
    }
}

impl Choice {
    fn wants(&self, traced: &snapshot::Traced) -> bool {
        let (time_ns, status) = match traced {
            snapshot::Traced::Exchange(LoggedExchange { times, status, .. }) => (times.response_time_ns(), *status),
            snapshot::Traced::Stream(LoggedStream { since_ns, ended, .. }) => (
                ended.map_or(0, |ended| ended.at_ns.saturating_sub(*since_ns)),
                ended.and_then(|ended| ended.status),
            ),
        };
        let time = Duration::from_nanos(time_ns);
        self.slower_than.is_none_or(|slower| time > slower)
            && self
                .statuses
                .as_ref()
                .is_none_or(|wanted| status.is_some_and(|status| wanted.contains(&status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Outcome;
    use crate::synthetic::logged;

    fn everything() -> Choice {
        Choice {
            slower_than: None,
            statuses: None,
            count: None,
            json: false,
        }
    }

    fn exchanges() -> Vec<snapshot::Traced> {
        let exchanges = [
            logged("/a", Some(200), Outcome::Answered),
            logged("/b", Some(503), Outcome::Answered),
            logged("/c", None, Outcome::ServerClosed),
        ];
        exchanges.map(snapshot::Traced::Exchange).into()
    }

    #[track_caller]
    fn check(choice: Choice, paths: &[&str], goes_on: bool) {
        let mut printer = Printer::new(Vec::new(), choice, false);
        assert_eq!(printer.batch(&exchanges()).unwrap(), goes_on);
        let text = String::from_utf8(printer.output).unwrap();
        let paths_printed: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().nth(4).unwrap())
            .collect();
        assert_eq!(paths_printed, paths);
    }

    #[test]
    fn what_is_chosen_is_printed() {
        check(everything(), &["/a", "/b", "/c"], true);
        check(
            Choice {
                statuses: Some(500..=599),
                ..everything()
            },
            &["/b"],
            true,
        );
        check(
            Choice {
                slower_than: Some(Duration::from_millis(3)),
                ..everything()
            },
            &[],
            true,
        );
        check(
            Choice {
                slower_than: Some(Duration::from_millis(2)),
                ..everything()
            },
            &["/a", "/b", "/c"],
            true,
        );
        check(
            Choice {
                count: Some(2),
                ..everything()
            },
            &["/a", "/b"],
            false,
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let mut printer = Printer::new(
            Vec::new(),
            Choice {
                json: true,
                ..everything()
            },
            true,
        );
        assert!(printer.header().unwrap() && printer.batch(&exchanges()).unwrap());
        let text = String::from_utf8(printer.output).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (lines.len(), &lines[1]["status"], &lines[2]["outcome"]),
            (3, &503.into(), &"server_closed".into())
        );
    }
}
