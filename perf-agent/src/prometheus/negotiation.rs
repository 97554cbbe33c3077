//! Which format a scraper gets: the one that its `Accept` field likes best (RFC 9110, 12.5.1).

/// What the exposition is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text format.
    Text,
    /// `OpenMetrics` 1.0: the same with units and exemplars.
    OpenMetrics,
    /// Prometheus' messages, each behind its length: with native histograms and exemplars.
    Protobuf,
}

/// Bytes of the field that are read; what is beyond is not looked at.
const MAX_ACCEPT: usize = 4096;

impl Format {
    /// All of them. Of two that are liked as much and were named at once (`*/*`), the first one is taken.
    pub const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::Protobuf];

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The format for these `Accept` fields. Whoever likes none of them gets text all the same: it says more than an error.
    pub fn accepted<'a>(fields: impl IntoIterator<Item = &'a str>) -> Self {
        let fields: Vec<&str> = fields.into_iter().map(first).collect();
        let ranges: Vec<Range<'_>> = fields
            .iter()
            .flat_map(|field| field.split(','))
            .filter_map(Range::read)
            .collect();
        let mut best: Option<(u16, usize, Self)> = None;
        for format in Self::ALL {
            // The most specific range speaks for a format.
            let fitting = ranges
                .iter()
                .enumerate()
                .filter_map(|(place, range)| Some((range.fit(format)?, place, range.quality)));
            let Some((_, place, quality)) = fitting
                .min_by_key(|&(fit, place, quality)| (std::cmp::Reverse(fit), std::cmp::Reverse(quality), place))
            else {
                continue;
            };
            let is_better = best.is_none_or(|(best, at, _)| quality > best || (quality == best && place < at));
            if quality > 0 && is_better {
                best = Some((quality, place, format));
            }
        }
        best.map_or(Self::Text, |(_, _, format)| format)
    }
}

fn first(field: &str) -> &str {
    &field[..field.floor_char_boundary(MAX_ACCEPT)]
}

/// One of the things that are accepted.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// Thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| kind.contains('/'))?;
        let mut range = Self {
            kind,
            parameters: Vec::new(),
            quality: 1000,
        };
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
            } else {
                range.parameters.push((name, value));
            }
        }
        Some(range)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let found = self
            .parameters
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(found.1)
    }

    /// How exactly it means this format; `None` if it does not. Parameters that say nothing of the format
    /// (`charset`, `escaping`: our names need none) are passed over.
    fn fit(&self, format: Format) -> Option<u8> {
        if self.kind == "*/*" {
            return Some(0);
        }
        let (kind, parameters): (_, &[(&str, &[&str])]) = match format {
            Format::Text => ("text/plain", &[("version", &["0.0.4"])]),
            Format::OpenMetrics => ("application/openmetrics-text", &[("version", &["1.0.0", "0.0.1"])]),
            Format::Protobuf => (
                "application/vnd.google.protobuf",
                &[
                    ("proto", &["io.prometheus.client.MetricFamily"]),
                    ("encoding", &["delimited"]),
                ],
            ),
        };
        if let Some(general) = self.kind.strip_suffix("/*") {
            return kind.split('/').next()?.eq_ignore_ascii_case(general).then_some(1);
        }
        if !self.kind.eq_ignore_ascii_case(kind) {
            return None;
        }
        let mut fit = 2;
        for (name, values) in parameters {
            match self.parameter(name) {
                Some(value) if values.iter().any(|wanted| value.eq_ignore_ascii_case(wanted)) => fit += 1,
                Some(_) => return None,
                None => {}
            }
        }
        Some(fit)
    }
}

/// A weight in thousandths.
fn quality(text: &str) -> Option<u16> {
    let quality: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    (0.0..=1.0)
        .contains(&quality)
        .then_some((quality * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Format) {
        assert_eq!(Format::accepted([accept]), expected, "{accept}");
    }

    #[test]
    fn everybody_gets_what_they_like_best() {
        assert_eq!(Format::accepted([]), Format::Text);
        check("", Format::Text);
        check("*/*", Format::Text);
        check(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            Format::Text,
        );
        check("application/openmetrics-text", Format::OpenMetrics);
        check("application/*", Format::OpenMetrics);
        check("Application/OpenMetrics-Text; Version=\"1.0.0\"", Format::OpenMetrics);
        check("application/openmetrics-text; version=2.0.0", Format::Text);
        check("application/json", Format::Text);
        check(
            "text/plain;q=0.3, application/openmetrics-text;q=0.31",
            Format::OpenMetrics,
        );
        check("text/plain;q=0, */*;q=0.1", Format::OpenMetrics);
        check(
            "application/vnd.google.protobuf;proto=other;encoding=delimited",
            Format::Text,
        );
        check("application/vnd.google.protobuf;q=2, text/plain;q=0.1", Format::Text);
    }

    #[test]
    fn fields_of_several_lines_are_one() {
        let fields = ["text/plain;q=0.5", "application/openmetrics-text;version=1.0.0"];
        assert_eq!(Format::accepted(fields), Format::OpenMetrics);
    }

    #[test]
    fn prometheus_gets_what_each_of_its_versions_asks_for() {
        // 2.42, without and with native histograms.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        );
        check(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
            application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::Protobuf,
        );
        // 3.x
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::OpenMetrics,
        );
        check(
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3",
            Format::Text,
        );
    }

    proptest! {
        #[test]
        fn any_field_gets_something(accept in "\\PC{0,80}", ranges in "([a-z*]{1,4}/[a-z*]{1,4}(;q=[0-9.]{1,4})?,?){0,9}") {
            let _: Format = Format::accepted([accept.as_str(), ranges.as_str()]);
        }
    }
}
