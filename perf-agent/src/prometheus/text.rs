//! The text formats: Prometheus' own, version 0.0.4, and `OpenMetrics` 1.0.
//! <https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md>,
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use std::fmt::Write as _;

use super::model::{Exemplar, Families, Family, Kind, REQUEST_ID, Series, Value, cumulative, write_label};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

/// Writes all families down.
pub fn write(families: &Families, dialect: Dialect) -> String {
    let mut out = String::new();
    for family in families.all.iter().filter(|family| !family.series.is_empty()) {
        head(family, dialect, &mut out);
        for series in &family.series {
            samples(family, series, dialect, &mut out);
        }
    }
    if dialect == Dialect::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn head(family: &Family, dialect: Dialect, out: &mut String) {
    let definition = &family.definition;
    let (name, kind) = match dialect {
        Dialect::OpenMetrics => (definition.name.to_string(), definition.kind),
        // A family is called as its series are, and there is no kind for what is always 1.
        Dialect::Prometheus if definition.kind == Kind::Info => (definition.full_name(), Kind::Gauge),
        Dialect::Prometheus => (definition.full_name(), definition.kind),
    };
    out.push_str("# HELP ");
    out.push_str(&name);
    out.push(' ');
    for character in definition.help.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if dialect == Dialect::OpenMetrics => out.push_str("\\\""),
            _ => out.push(character),
        }
    }
    for part in ["\n# TYPE ", &name, " ", kind.name(), "\n"] {
        out.push_str(part);
    }
    if dialect == Dialect::OpenMetrics
        && let Some(unit) = &definition.unit
    {
        for part in ["# UNIT ", &name, " ", unit, "\n"] {
            out.push_str(part);
        }
    }
}

fn samples(family: &Family, series: &Series, dialect: Dialect, out: &mut String) {
    let definition = &family.definition;
    match &series.value {
        Value::Number(number) => {
            sample(&definition.name, definition.kind.suffix(), series, None, out);
            float(*number, out);
            out.push('\n');
        }
        Value::Summary { count, sum } => {
            let sum = sum.map(|sum| ("_sum", sum));
            for (suffix, value) in sum.into_iter().chain([("_count", *count as f64)]) {
                sample(&definition.name, suffix, series, None, out);
                float(value, out);
                out.push('\n');
            }
        }
        Value::Histogram(histogram) => {
            let counts = cumulative(histogram);
            let mut le = String::new();
            for (place, count) in counts.iter().enumerate() {
                le.clear();
                bound(histogram.bounds_ns.get(place).copied(), dialect, &mut le);
                sample(&definition.name, "_bucket", series, Some(&le), out);
                whole(*count, out);
                if dialect == Dialect::OpenMetrics
                    && let Some(Some(example)) = histogram.exemplars.get(place)
                {
                    exemplar(example, out);
                }
                out.push('\n');
            }
            sample(&definition.name, "_sum", series, None, out);
            float(histogram.sum_seconds(), out);
            out.push('\n');
            sample(&definition.name, "_count", series, None, out);
            whole(counts.last().copied().unwrap_or(0), out);
            out.push('\n');
        }
    }
}

/// A bound in seconds; all numbers of `OpenMetrics` bounds have a point.
fn bound(bound_ns: Option<u64>, dialect: Dialect, out: &mut String) {
    let Some(bound_ns) = bound_ns else {
        return out.push_str("+Inf");
    };
    float(bound_ns as f64 / 1e9, out);
    if dialect == Dialect::OpenMetrics && !out.contains('.') {
        out.push_str(".0");
    }
}

/// Name and labels of a sample, and the space before its value.
fn sample(name: &str, suffix: &str, series: &Series, le: Option<&str>, out: &mut String) {
    out.push_str(name);
    out.push_str(suffix);
    let labels = series.labels.text();
    if !labels.is_empty() || series.extra.is_some() || le.is_some() {
        out.push('{');
        out.push_str(labels);
        if let Some((name, value)) = &series.extra {
            write_label(name, value, out);
        }
        if let Some(le) = le {
            write_label("le", le, out);
        }
        out.push('}');
    }
    out.push(' ');
}

fn exemplar(exemplar: &Exemplar, out: &mut String) {
    out.push_str(" # {");
    write_label(REQUEST_ID, &exemplar.request_id, out);
    out.push_str("} ");
    float(exemplar.seconds, out);
    if let Some(wall_ns) = exemplar.wall_ns {
        let (seconds, ms) = (wall_ns / 1_000_000_000, wall_ns / 1_000_000 % 1000);
        _ = write!(out, " {seconds}.{ms:03}"); // a string takes anything
    }
}

fn whole(count: u64, out: &mut String) {
    _ = write!(out, "{count}");
}

fn float(number: f64, out: &mut String) {
    if number.is_infinite() {
        out.push_str(if number > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        _ = write!(out, "{number}"); // the shortest text that is read as this number, `NaN` too
    }
}
