//! Whatever is told can be read back.
#![expect(clippy::float_cmp, reason = "values come back as they were")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proptest::prelude::*;

use super::strict::{self, Sample};
use super::{any_text, messages, snapshot, written};
use crate::aggregate::Distribution;
use crate::prometheus::model::{Definition, Exemplar, Families, Kind, Value};
use crate::prometheus::text::Dialect;
use crate::prometheus::{buckets, protobuf, text};
use crate::synthetic::Traffic;

proptest! {
    #[test]
    fn any_labels_and_values_come_back_as_they_were(
        values in prop::collection::vec((any_text(), any_text(), any::<f64>()), 0..8),
        samples in prop::collection::vec((0u32..43, any::<u64>()), 1..100),
        id in "\\PC{1,118}",
    ) {
        const GAUGE: Definition = Definition::new("a_gauge", Kind::Gauge, &["a", "b"], "\\ says \"it\".\nTwice.");
        const TIMES: Definition = Definition::in_unit("times_seconds", Kind::Histogram, "seconds", &["a", "b"], "Times.");
        let mut families = Families::new(&snapshot(&Traffic::default()));
        let mut expected = BTreeMap::new();
        let cut = |text: &str| text[..text.floor_char_boundary(1024)].to_owned();
        for (a, b, value) in &values {
            let labels = families.labels([("a", a.clone()), ("b", b.clone())]);
            if let Entry::Vacant(place) = expected.entry((cut(a), cut(b))) {
                families.put(&GAUGE, &labels, *value);
                place.insert(*value);
            }
        }
        let none = families.unlabelled();
        let mut times = Distribution::default();
        for (bits, value) in &samples {
            times.record(value & ((1 << bits) - 1));
        }
        let sum = times.sum_ns() as f64 / 1e9;
        families.put(&TIMES, &none, Value::times(times, buckets::FINE_NS));
        let last = samples[0].1 & ((1 << samples[0].0) - 1);
        if let Value::Histogram(histogram) = &mut families.family(&TIMES).series[0].value {
            histogram.exemplify(last, Exemplar { request_id: id.as_str().into(), seconds: last as f64 / 1e9, wall_ns: None });
        }
        for dialect in [Dialect::Prometheus, Dialect::OpenMetrics] {
            let metrics = strict::parse(&text::write(&families, dialect), dialect == Dialect::OpenMetrics).unwrap();
            let told: BTreeMap<_, _> = metrics
                .samples()
                .filter(|sample| sample.name == "a_gauge")
                .map(|sample| {
                    let label = |name| sample.label(name).unwrap_or_default().to_owned();
                    ((label("a"), label("b")), sample.value)
                })
                .collect();
            prop_assert_eq!(told.len(), expected.len());
            for ((labels, told), wanted) in told.iter().zip(expected.values()) {
                prop_assert!(told.to_bits() == wanted.to_bits() || (told.is_nan() && wanted.is_nan()), "{:?}", labels);
            }
            prop_assert_eq!(metrics.value("times_seconds_sum", &[]), sum);
            let examples: Vec<&Sample> = metrics.samples().filter(|sample| sample.exemplar.is_some()).collect();
            prop_assert_eq!(examples.len(), usize::from(dialect == Dialect::OpenMetrics));
            for example in examples {
                let (labels, value, at) = example.exemplar.clone().unwrap();
                prop_assert_eq!((&labels[0].1, value, at), (&id, last as f64 / 1e9, None));
            }
        }
        let told = messages(&protobuf::write(&families));
        let gauges: Vec<_> = told.iter().filter(|family| family.name.as_deref() == Some("a_gauge")).flat_map(|family| &family.metric).collect();
        prop_assert_eq!(gauges.len(), expected.len());
        for metric in gauges {
            let label = |name: &str| {
                let found = metric.label.iter().find(|label| label.name.as_deref() == Some(name));
                found.and_then(|label| label.value.clone()).unwrap_or_default()
            };
            let value = metric.gauge.unwrap().value.unwrap();
            let wanted = expected[&(label("a"), label("b"))];
            prop_assert!(value.to_bits() == wanted.to_bits());
        }
    }
}

#[test]
fn series_whose_labels_agree_are_added_up() {
    const SHARE: Definition = Definition::in_unit("share_ratio", Kind::Gauge, "ratio", &["a"], "A share.");
    const COUNT: Definition = Definition::new("count_of", Kind::Counter, &["a"], "A count.").by("b");
    let mut families = Families::new(&snapshot(&Traffic::default()));
    let long = "x".repeat(2000);
    for value in [0.25, 0.5] {
        let labels = families.labels([("a", format!("{long}{value}"))]);
        families.put(&SHARE, &labels, value);
        families.put_by(&COUNT, &labels, Cow::Borrowed("c"), value);
    }
    let metrics = written(&families);
    assert_eq!(metrics.value("share_ratio", &[]), 0.5);
    assert_eq!(metrics.value("count_of_total", &[("b", "c")]), 0.75);
}
