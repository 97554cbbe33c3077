//! What a benchmark found: rows of figures, with the bar that each is held against, as JSON on standard output.

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// One benchmark's figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Its name on the command line.
    pub(crate) benchmark: &'static str,
    /// How the figures were taken, in sentences.
    pub(crate) how: Vec<String>,
    /// The figures.
    pub(crate) rows: Vec<Row>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// In what.
    pub(crate) unit: &'static str,
    /// Of all samples.
    pub(crate) median: f64,
    /// Smallest sample.
    pub(crate) min: f64,
    /// Largest sample.
    pub(crate) max: f64,
    /// How many there were.
    pub(crate) samples: usize,
    /// What it has to be.
    pub(crate) bar: Option<Bar>,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Bar {
    /// Which side of the limit is good.
    pub(crate) is: Side,
    /// The limit; itself still good.
    pub(crate) limit: f64,
    /// Whether the median keeps to it.
    pub(crate) met: bool,
}

/// Which side of a limit is good.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// Not less.
    AtLeast,
    /// Not more.
    AtMost,
}

impl Report {
    /// No figures yet.
    pub(crate) fn new(benchmark: &'static str) -> Self {
        Self {
            benchmark,
            how: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Says how figures were taken.
    pub(crate) fn how(&mut self, sentence: impl Into<String>) {
        self.how.push(sentence.into());
    }

    /// Adds a figure; nothing if there are no samples.
    pub(crate) fn row(&mut self, what: impl Into<String>, unit: &'static str, samples: &[f64]) {
        self.add(what.into(), unit, samples, None);
    }

    /// Adds a figure that is to be at least `limit`.
    pub(crate) fn at_least(&mut self, limit: f64, what: impl Into<String>, unit: &'static str, samples: &[f64]) {
        self.add(what.into(), unit, samples, Some((Side::AtLeast, limit)));
    }

    /// Adds a figure that is to be at most `limit`.
    pub(crate) fn at_most(&mut self, limit: f64, what: impl Into<String>, unit: &'static str, samples: &[f64]) {
        self.add(what.into(), unit, samples, Some((Side::AtMost, limit)));
    }

    fn add(&mut self, what: String, unit: &'static str, samples: &[f64], bar: Option<(Side, f64)>) {
        let Some(median) = median(samples) else { return };
        let bar = bar.map(|(is, limit)| Bar {
            is,
            limit,
            met: match is {
                Side::AtLeast => median >= limit,
                Side::AtMost => median <= limit,
            },
        });
        self.rows.push(Row {
            what,
            unit,
            median,
            min: samples.iter().copied().fold(f64::INFINITY, f64::min),
            max: samples.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            samples: samples.len(),
            bar,
        });
    }

    /// Writes it as one line of JSON.
    pub(crate) fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

/// The middle of the samples; of an even number, the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Processor time of the calling thread, seconds: what a measurement takes also where others use the processor meanwhile.
pub(crate) fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
