//! What the measuring program tells, and how it is shown: to people, and as docs/benchmarks.md has it.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

/// One benchmark's figures.
#[derive(Debug)]
pub(crate) struct Report {
    benchmark: String,
    how: Vec<String>,
    rows: Vec<Row>,
    json: Value,
}

/// One figure.
#[derive(Debug)]
struct Row {
    what: String,
    unit: String,
    median: f64,
    min: f64,
    max: f64,
    samples: u64,
    bar: Option<Bar>,
}

#[derive(Debug)]
struct Bar {
    /// As `≤ 8`.
    text: String,
    met: bool,
}

impl Report {
    /// Reads what the measuring program wrote.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).with_context(|| format!("no report: {text}"))?;
        let rows = json["rows"]
            .as_array()
            .context("a report has rows")?
            .iter()
            .map(Row::read);
        Ok(Self {
            benchmark: text_of(&json["benchmark"])?,
            how: json["how"]
                .as_array()
                .context("a report says how")?
                .iter()
                .map(text_of)
                .collect::<Result<_>>()?,
            rows: rows.collect::<Result<_>>()?,
            json,
        })
    }

    /// As it was read.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// Whether every bar is met.
    pub(crate) fn is_met(&self) -> bool {
        self.rows.iter().all(|row| row.bar.as_ref().is_none_or(|bar| bar.met))
    }

    /// As a table of a Markdown document.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for sentence in &self.how {
            text.extend([sentence, "\n"]);
        }
        text += "\n| what | median | min | max | samples | bar | |\n|---|---:|---:|---:|---:|---:|---|\n";
        for row in &self.rows {
            let [median, min, max] = row.figures();
            let (bar, met) = row.verdict();
            let met = if met.is_empty() {
                String::new()
            } else {
                format!(" {met} ")
            };
            let line = format!(
                "| {} | {median} | {min} | {max} | {} | {bar} |{met}|\n",
                row.what, row.samples
            );
            text.push_str(&line);
        }
        text
    }
}

impl Row {
    fn read(json: &Value) -> Result<Self> {
        let number = |name: &str| {
            json[name]
                .as_f64()
                .with_context(|| format!("a row has no {name}: {json}"))
        };
        let bar = match &json["bar"] {
            Value::Null => None,
            bar => {
                let sign = if bar["is"] == "at_least" { "≥" } else { "≤" };
                let limit = bar["limit"].as_f64().context("a bar has a limit")?;
                Some(Bar {
                    text: format!("{sign} {}", shown(limit)),
                    met: bar["met"].as_bool().context("a bar is met or not")?,
                })
            }
        };
        Ok(Self {
            what: text_of(&json["what"])?,
            unit: text_of(&json["unit"])?,
            median: number("median")?,
            min: number("min")?,
            max: number("max")?,
            samples: json["samples"].as_u64().context("a row says how many samples")?,
            bar,
        })
    }

    fn figures(&self) -> [String; 3] {
        let median = format!("{} {}", shown(self.median), self.unit);
        [median.trim_end().to_owned(), shown(self.min), shown(self.max)]
    }

    fn verdict(&self) -> (String, &'static str) {
        match &self.bar {
            Some(Bar { text, met: true }) => (text.clone(), "met"),
            Some(Bar { text, met: false }) => (text.clone(), "NOT MET"),
            None => (String::new(), ""),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.benchmark)?;
        for sentence in &self.how {
            writeln!(f, "  {sentence}")?;
        }
        let width = self.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
        writeln!(
            f,
            "  {:<width$} {:>14} {:>11} {:>11} {:>4}",
            "", "median", "min", "max", "of"
        )?;
        for row in &self.rows {
            let [median, min, max] = row.figures();
            let (bar, met) = row.verdict();
            let line = format!(
                "  {:<width$} {median:>14} {min:>11} {max:>11} {:>4}  {bar:<12} {met}",
                row.what, row.samples
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn text_of(json: &Value) -> Result<String> {
    json.as_str()
        .map(str::to_owned)
        .with_context(|| format!("{json} is no text"))
}

/// Three or four digits that matter, and thousands apart.
fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), ""), |(whole, fraction)| (whole, fraction));
    let fraction = fraction.trim_end_matches('0');
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    if fraction.is_empty() {
        format!("{sign}{grouped}")
    } else {
        format!("{sign}{grouped}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_with_the_digits_that_matter() {
        for (value, text) in [
            (0.0, "0"),
            (1_512_345.6, "1,512,346"),
            (-3.456, "-3.46"),
            (12.34, "12.3"),
            (6.0, "6"),
            (999.6, "1,000"),
            (-123_456.0, "-123,456"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn a_report_is_read_and_shown_with_its_verdict() {
        let text = r#"{"benchmark": "idle", "how": ["By looking."], "rows": [
            {"what": "memory", "unit": "MB", "median": 31.0, "min": 30.5, "max": 32.0, "samples": 3,
             "bar": {"is": "at_most", "limit": 30.0, "met": false}},
            {"what": "of it heap", "unit": "MB", "median": 4.0, "min": 4.0, "max": 4.0, "samples": 1, "bar": null}]}"#;
        let report = Report::read(text).expect("it is one");
        assert!(!report.is_met());
        let markdown = report.markdown();
        let rows: Vec<&str> = markdown.lines().skip(4).collect();
        assert_eq!(
            rows,
            [
                "| memory | 31 MB | 30.5 | 32 | 3 | ≤ 30 | NOT MET |",
                "| of it heap | 4 MB | 4 | 4 | 1 |  ||"
            ]
        );
    }
}
