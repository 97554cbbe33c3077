//! StatsD: datagrams of lines such as `orders.paid:1|c|@0.1|#shop:eu,channel:web`, with the tags and packed values of
//! DogStatsD.
//!
//! | type | is |
//! |---|---|
//! | `c` | a counter |
//! | `g` | a gauge; with a sign, a change of one |
//! | `ms` | a value in milliseconds |
//! | `h`, `d` | a value |
//! | `s` | a member of a set |
//!
//! Sections that say nothing of the figure (`|c:` container, `|T` time, `|e:`, `|card:`) are passed over: a report is of the
//! moment when it comes. Events (`_e{`) and service checks (`_sc`) are no figures and count as malformed.

use smallvec::SmallVec;

use super::{ATTRIBUTES, Amount, CustomKind, Sample, check_attribute, check_name};

/// Tags of one line that are looked at.
const MAX_TAGS: usize = 2 * ATTRIBUTES;
/// Least sample rate: one of a million.
const LEAST_RATE: f64 = 1e-6;

/// What a datagram held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Figures that were handed on.
    pub samples: u64,
    /// Lines, or single values of one, that are none.
    pub malformed: u64,
}

/// Reads a datagram, and hands on each figure in it.
pub fn parse(datagram: &[u8], mut take: impl FnMut(&Sample<'_>)) -> Parsed {
    let mut parsed = Parsed::default();
    for line in datagram.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii();
        if !line.is_empty() && read(line, &mut take, &mut parsed).is_none() {
            parsed.malformed += 1;
        }
    }
    parsed
}

/// One line; `None` if it is none.
fn read(line: &[u8], take: &mut impl FnMut(&Sample<'_>), parsed: &mut Parsed) -> Option<()> {
    let mut sections = line.split(|&byte| byte == b'|');
    let first = sections.next()?;
    let colon = first.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&first[..colon]).ok()?;
    check_name(name).ok()?;
    let (kind, unit) = match sections.next()? {
        b"c" => (CustomKind::Counter, None),
        b"g" => (CustomKind::Gauge, None),
        b"ms" => (CustomKind::Value, Some("ms")),
        b"h" | b"d" => (CustomKind::Value, None),
        b"s" => (CustomKind::Set, None),
        _ => return None,
    };
    let mut rate = 1.0;
    let mut tags: SmallVec<[(&str, &str); ATTRIBUTES]> = SmallVec::new();
    for section in sections {
        match section {
            [b'@', text @ ..] => {
                rate = number(text).filter(|rate| (LEAST_RATE..=1.0).contains(rate))?;
            }
            [b'#', text @ ..] => read_tags(text, &mut tags)?,
            [b'c' | b'e', b':', ..] | [b'T', ..] => {}
            text if text.starts_with(b"card:") => {}
            _ => return None,
        }
    }
    let sample = Sample {
        name,
        unit,
        kind,
        amount: Amount::Is(0.0),
        // A gauge says what is; that others were left out changes nothing.
        weight: if matches!(kind, CustomKind::Gauge | CustomKind::Set) {
            1.0
        } else {
            1.0 / rate
        },
        attributes: &tags,
    };
    let values = &first[colon + 1..];
    let mut tell = |amount: Option<Amount<'_>>| match amount {
        Some(amount) => {
            parsed.samples += 1;
            take(&Sample { amount, ..sample });
        }
        None => parsed.malformed += 1,
    };
    if kind == CustomKind::Set {
        // Members may have colons in them.
        tell((!values.is_empty()).then_some(Amount::Member(values)));
        return Some(());
    }
    for value in values.split(|&byte| byte == b':') {
        let signed = kind == CustomKind::Gauge && matches!(value.first(), Some(b'+' | b'-'));
        let number = number(value);
        tell(number.map(if signed { Amount::Changes } else { Amount::Is }));
    }
    Some(())
}

/// `key:value,key`; a tag without a value has an empty one.
fn read_tags<'a>(text: &'a [u8], tags: &mut SmallVec<[(&'a str, &'a str); ATTRIBUTES]>) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
        let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
        check_attribute(key, value).ok()?;
        if tags.len() >= MAX_TAGS {
            return None;
        }
        tags.push((key, value));
    }
    Some(())
}

/// A finite number in digits; no `inf`, no `nan`.
fn number(text: &[u8]) -> Option<f64> {
    let digits = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if text.len() > 64 || !text.iter().all(digits) {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One line per figure.
    fn told(datagram: &[u8]) -> (Vec<String>, u64) {
        let mut told = Vec::new();
        let parsed = parse(datagram, |sample| {
            let Sample {
                name,
                kind,
                amount,
                weight,
                attributes,
                unit,
            } = sample;
            let amount = match amount {
                Amount::Is(value) => format!("= {value}"),
                Amount::Changes(by) => format!("by {by}"),
                Amount::Member(member) => format!("has {}", String::from_utf8_lossy(member)),
            };
            let unit = unit.unwrap_or("-");
            told.push(format!(
                "{name} {} {amount} x{weight} {unit} {attributes:?}",
                kind.name()
            ));
        });
        assert_eq!(parsed.samples, told.len() as u64);
        (told, parsed.malformed)
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(told(line.as_bytes()), (vec![expected.to_owned()], 0), "{line}");
    }

    #[test]
    fn lines_of_every_type_are_read() {
        check("a:1|c", "a counter = 1 x1 - []");
        check("a.b-c:-1.5|c|@0.1\r\n", "a.b-c counter = -1.5 x10 - []");
        check("a:1|g", "a gauge = 1 x1 - []");
        check("a:+1|g|@0.5", "a gauge by 1 x1 - []");
        check("a:-1|g", "a gauge by -1 x1 - []");
        check("a:3.2e1|ms|@0.5", "a value = 32 x2 ms []");
        check("a:1|h", "a value = 1 x1 - []");
        check(
            "a:1|d|#k:v,k2:a:b,flag,",
            "a value = 1 x1 - [(\"k\", \"v\"), (\"k2\", \"a:b\"), (\"flag\", \"\")]",
        );
        check("a:bob:1|s|#k:v", "a set has bob:1 x1 - [(\"k\", \"v\")]");
        check(
            "a:1|c|#k:v|@0.5|c:ci-1|T1656581400|e:x|card:low",
            "a counter = 1 x2 - [(\"k\", \"v\")]",
        );
    }

    #[test]
    fn several_lines_and_packed_values_are_several_figures() {
        let (figures, malformed) = told(b"a:1:2:x:3|ms\n\nb:1|c\nbad\nc:+1:-2:5|g\n");
        let amounts: Vec<_> = figures
            .iter()
            .map(|line| line.split(' ').nth(3).unwrap_or_default())
            .collect();
        assert_eq!((amounts, malformed), (vec!["1", "2", "3", "1", "1", "-2", "5"], 2));
    }

    #[test]
    fn what_is_no_figure_is_malformed() {
        for line in [
            "a",
            "a:1",
            "a:|c",
            ":1|c|x",
            "a:1|x",
            "a:1|c|@0",
            "a:1|c|@2",
            "a:1|c|@x",
            "a:1|c|#1:v",
            "a:nan|g",
            "a:inf|g",
            "a:1e999|g",
            "a b:1|c",
            "1a:1|c",
            "a:|s",
            "_e{5,4}:title|text",
            "_sc|name|0",
            "a:1|c|?",
        ] {
            assert_eq!(told(line.as_bytes()), (vec![], 1), "{line}");
        }
        assert_eq!(told(b"a\xff:1|c\na:1|c|#k:\xff\n\n"), (vec![], 2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_counted(datagram in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (figures, malformed) = told(&datagram);
            let lines = datagram.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
            prop_assert!(figures.len() + usize::try_from(malformed).unwrap() >= lines);
        }

        #[test]
        fn what_looks_like_lines_is_read_or_counted_and_taken(
            lines in proptest::collection::vec("[a:1]{1,4}[:|]([-+0-9.e:]{0,8}|)[|](c|g|ms|h|d|s)([|@#:a-z0-9.,]{0,12})", 0..8),
        ) {
            let mut metrics = super::super::CustomMetrics::default();
            let parsed = parse(lines.join("\n").as_bytes(), |sample| {
                assert!(sample.weight >= 1.0 && sample.weight <= 1e6);
                if let Err(refused) = metrics.record(sample, 1) {
                    let allowed = matches!(
                        refused,
                        super::super::Refused::Kind { .. } | super::super::Refused::Fault(super::super::SampleFault::Attributes)
                    );
                    assert!(allowed, "{refused}");
                }
            });
            prop_assert!(parsed.samples + parsed.malformed >= lines.len() as u64);
        }

        #[test]
        fn a_figure_comes_back_as_it_was_written(value in -1e12f64..1e12, rate in 0.001f64..1.0) {
            let mut seen = None;
            let line = format!("m:{value}|h|@{rate}");
            parse(line.as_bytes(), |sample| seen = Some((sample.amount == Amount::Is(value), sample.weight * rate)));
            prop_assert!(seen.is_some_and(|(same, whole)| same && (whole - 1.0).abs() < 1e-12), "{:?}", seen);
        }
    }
}
