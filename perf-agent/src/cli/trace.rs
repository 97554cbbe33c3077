//! `perf-agent trace`

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;

use super::options::{CaptureOptions, CoreOptions, Faults, duration};
use super::{Failure, start};
use crate::agent::{Agent, Plan, Traced};
use crate::api::json::request::Request;
use crate::config;
use crate::privileges::Purpose;
use crate::snapshot::LoggedExchange;
use crate::source::replay::{ReplaySource, Speed};
use crate::source::{Source, live};
use crate::trace_line;

/// Longest path on a terminal; elsewhere paths are printed whole.
const PATH_WIDTH: usize = 48;

/// Options of `trace`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo perf-agent trace                                  every exchange as it ends
  sudo perf-agent trace --port 8080 --slower-than 100ms  slow ones of one service
  sudo perf-agent trace --status 5xx --count 10          the next ten failures
  sudo perf-agent trace --json | jq .route               one JSON object per line
  perf-agent trace --from a.rec                          out of a recording, without root

Columns: time of the end; program; role (server received the request, client sent it); method; path; status; first
request byte to last response byte; to first response byte; in the socket before it was read; bytes of request and
response. Times in milliseconds. How it ended is added unless it was answered.")]
pub struct Trace {
    #[command(flatten)]
    capture: CaptureOptions,
    #[command(flatten)]
    core: CoreOptions,
    /// Only exchanges that took longer, such as 10ms or 1.5s.
    #[arg(long, value_name = "DURATION", help_heading = "What to print")]
    slower_than: Option<String>,
    /// Only this status, such as 404, or class, such as 5xx.
    #[arg(long, value_name = "STATUS", help_heading = "What to print")]
    status: Option<String>,
    /// One JSON object per line, with the field names of /api/v1/requests.
    #[arg(long, help_heading = "What to print")]
    json: bool,
    /// Stop after so many lines.
    #[arg(long, value_name = "N", help_heading = "What to print")]
    count: Option<u64>,
    /// A recording to trace instead of this host.
    #[arg(long, value_name = "FILE", help_heading = "What to print")]
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
        let capture = self.capture.settings(&mut faults);
        let core = self.core.settings(capture.max_connections, &mut faults);
        let slower_than = self
            .slower_than
            .as_ref()
            .and_then(|text| duration("--slower-than", text, &mut faults));
        let statuses = self.status.as_ref().map(|text| (text, config::statuses(text)));
        if let Some((text, None)) = statuses {
            faults.add(format!(
                "--status {text}: expected a status such as 404, or a class such as 5xx"
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
        let printed = start::runtime()?.block_on(print(traced, &choice));
        agent.finish()?;
        printed.map_err(Failure::from)
    }
}

async fn print(mut traced: Traced, choice: &Choice) -> io::Result<()> {
    let stop = start::stop_signal()?;
    tokio::pin!(stop);
    let terminal = io::stdout().is_terminal();
    let mut printer = Printer::new(io::stdout(), choice.clone(), terminal);
    let mut result = if terminal { printer.header() } else { Ok(true) };
    while let Ok(true) = result {
        let batch = tokio::select! {
            batch = traced.batches.recv() => batch,
            () = &mut stop => None,
        };
        let Some(batch) = batch else { break };
        // Writing may block for as long as the reader likes; the other worker sees to signals meanwhile.
        result = tokio::task::block_in_place(|| printer.batch(&batch));
    }
    let dropped = traced.dropped.load(Ordering::Relaxed);
    if dropped > 0 {
        tracing::warn!(
            dropped,
            "exchanges were not printed, since the output was too slow for them"
        );
    }
    match result {
        // Whoever read has seen enough: `trace | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map(|_| ()),
    }
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
    fn batch(&mut self, exchanges: &[LoggedExchange]) -> io::Result<bool> {
        let mut text = String::new();
        for exchange in exchanges.iter().filter(|exchange| self.choice.wants(exchange)) {
            if self.choice.count.is_some_and(|count| self.printed >= count) {
                break;
            }
            if self.choice.json {
                text.push_str(&serde_json::to_string(&Request::from(exchange))?);
            } else {
                text.push_str(&trace_line::line(exchange, &self.zone, self.width));
            }
            text.push('\n');
            self.printed += 1;
        }
        self.output.write_all(text.as_bytes())?;
        self.output.flush()?;
        Ok(self.choice.count.is_none_or(|count| self.printed < count))
    }
}

impl Choice {
    fn wants(&self, exchange: &LoggedExchange) -> bool {
        let time = Duration::from_nanos(exchange.times.response_time_ns());
        self.slower_than.is_none_or(|slower| time > slower)
            && self
                .statuses
                .as_ref()
                .is_none_or(|wanted| exchange.status.is_some_and(|status| wanted.contains(&status)))
    }
}
