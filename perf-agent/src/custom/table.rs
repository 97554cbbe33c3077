//! The table of all series.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};
use smallvec::SmallVec;
use thiserror::Error;

use super::series::{Key, Series};
use super::{
    ATTRIBUTES, Amount, CustomKind, CustomSnapshot, MEMBERS, MEMBERS_OF_ALL, SERIES, Sample, SampleFault,
    check_attribute, check_name, check_unit,
};
use crate::aggregate::window::{SECOND_NS, Size};

/// A series that got nothing for so long is in no window but the one since the start.
const FORGOTTEN_NS: u64 = 26 * 3600 * SECOND_NS;

/// Why a sample was not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// Its texts.
    #[error(transparent)]
    Fault(#[from] SampleFault),
    /// The name is that of figures of another sort.
    #[error("{name} is a {}, not a {}", .is.name(), .given.name())]
    Kind {
        /// Which.
        name: String,
        /// What it was reported as first.
        is: CustomKind,
        /// What it is reported as now.
        given: CustomKind,
    },
    /// A number that is none, or an amount that does not fit the kind.
    #[error("a figure is a finite number")]
    Amount,
    /// There are as many series, or members of sets, as are kept.
    #[error("there are {SERIES} series, or as many members of sets as are kept")]
    Full,
}

/// All series. Bounded, see the module's page.
#[derive(Debug, Default)]
pub struct CustomMetrics {
    /// In no order; `by_name` finds them.
    series: Vec<Arc<Series>>,
    places: HashMap<Key, usize>,
    /// What sort of figure a name has, and its series.
    names: HashMap<Box<str>, (CustomKind, usize)>,
    hasher: DefaultHashBuilder,
    /// Members of all sets.
    members: usize,
    started_ns: Option<u64>,
    now_ns: u64,
    dropped: u64,
}

impl CustomMetrics {
    /// Would a name be taken as this kind?
    ///
    /// # Errors
    /// [`Refused::Kind`]
    pub fn fits(&self, name: &str, kind: CustomKind) -> Result<(), Refused> {
        match self.names.get(name) {
            Some((is, _)) if *is != kind => Err(Refused::Kind {
                name: name.to_owned(),
                is: *is,
                given: kind,
            }),
            _ => Ok(()),
        }
    }

    /// Takes a sample that was reported at this moment (monotonic).
    ///
    /// # Errors
    /// [`Refused`]; it is counted as dropped.
    pub fn record(&mut self, sample: &Sample<'_>, at_ns: u64) -> Result<(), Refused> {
        let recorded = self.take(sample, at_ns);
        self.dropped += u64::from(recorded.is_err());
        recorded
    }

    fn take(&mut self, sample: &Sample<'_>, at_ns: u64) -> Result<(), Refused> {
        let key = checked(sample)?;
        self.fits(sample.name, sample.kind)?;
        self.started_ns.get_or_insert(at_ns);
        self.now_ns = self.now_ns.max(at_ns);
        let at_ns = self.now_ns;
        let known = self.places.get(&key).copied();
        if known.is_none() && self.series.len() >= SERIES {
            return Err(Refused::Full);
        }
        let hash = match sample.amount {
            Amount::Member(member) => self.hasher.hash_one(member),
            Amount::Is(_) | Amount::Changes(_) => 0,
        };
        if let Amount::Member(_) = sample.amount {
            let (held, has) = known.map_or((0, false), |place| {
                let series = &self.series[place];
                // Those of a slot that is over do not count.
                let held = if series.is_due(at_ns) { 0 } else { series.members() };
                (held, held > 0 && series.has_member(hash))
            });
            if !has && (held >= MEMBERS || self.members >= MEMBERS_OF_ALL) {
                return Err(Refused::Full);
            }
        }
        let place = known.unwrap_or_else(|| self.insert(key, sample, at_ns));
        let series = Arc::make_mut(&mut self.series[place]);
        let before = series.members();
        series.advance(at_ns);
        match sample.amount {
            Amount::Is(value) => series.add(value, sample.weight, at_ns),
            Amount::Changes(by) => series.change(by, at_ns),
            Amount::Member(_) => series.add_member(hash, at_ns),
        }
        self.members = self.members - before + series.members();
        if series.unit.is_none() {
            series.unit = sample.unit.map(Into::into);
        }
        Ok(())
    }

    fn insert(&mut self, key: Key, sample: &Sample<'_>, at_ns: u64) -> usize {
        let place = self.series.len();
        let named = self.names.entry(sample.name.into()).or_insert((sample.kind, 0));
        named.1 += 1;
        let series = Series::new(key.clone(), sample.unit, sample.kind, at_ns);
        self.series.push(Arc::new(series));
        self.places.insert(key, place);
        place
    }

    /// All as of this moment (monotonic). Windows end then.
    pub fn snapshot(&mut self, at_ns: u64) -> CustomSnapshot {
        self.started_ns.get_or_insert(at_ns);
        self.advance(at_ns);
        let mut series = self.series.clone();
        series.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        CustomSnapshot {
            at_ns: self.now_ns,
            started_ns: self.started_ns.unwrap_or(at_ns),
            series,
            dropped: self.dropped,
        }
    }

    /// Time went on.
    fn advance(&mut self, at_ns: u64) {
        let from_ns = self.now_ns;
        self.now_ns = self.now_ns.max(at_ns);
        if Size::TenSeconds.number(from_ns) == Size::TenSeconds.number(self.now_ns) {
            return;
        }
        for series in &mut self.series {
            if series.is_due(self.now_ns) {
                let series = Arc::make_mut(series);
                self.members -= series.members();
                series.advance(self.now_ns);
                self.members += series.members();
            }
        }
        let now_ns = self.now_ns;
        let is_old = |series: &Arc<Series>| series.newest_ns.saturating_add(FORGOTTEN_NS) < now_ns;
        if self.series.iter().any(is_old) {
            self.series.retain(|series| !is_old(series));
            self.places.clear();
            self.names.clear();
            for (place, series) in self.series.iter().enumerate() {
                self.places.insert(series.key.clone(), place);
                let named = self.names.entry(series.name().into()).or_insert((series.kind, 0));
                named.1 += 1;
            }
        }
    }

    /// Samples that found no place so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// The series that a sample belongs to, if it may be taken at all.
fn checked(sample: &Sample<'_>) -> Result<Key, Refused> {
    check_name(sample.name)?;
    sample.unit.map_or(Ok(()), check_unit)?;
    let mut attributes: SmallVec<[(&str, &str); ATTRIBUTES]> = SmallVec::new();
    for &(key, value) in sample.attributes {
        check_attribute(key, value)?;
        match attributes.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(place) => attributes[place].1 = value,
            Err(_) if attributes.len() >= ATTRIBUTES => return Err(SampleFault::Attributes.into()),
            Err(place) => attributes.insert(place, (key, value)),
        }
    }
    let amount_fits = match sample.amount {
        Amount::Is(value) => value.is_finite() && sample.kind != CustomKind::Set,
        Amount::Changes(by) => by.is_finite() && sample.kind == CustomKind::Gauge,
        Amount::Member(_) => sample.kind == CustomKind::Set,
    };
    if !amount_fits || !sample.weight.is_finite() || sample.weight < 1.0 {
        return Err(Refused::Amount);
    }
    Ok(Key {
        name: sample.name.into(),
        attributes: attributes
            .iter()
            .map(|&(key, value)| (key.into(), value.into()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::Window;
    use crate::custom::CustomView;

    fn sample(name: &str, value: f64) -> Sample<'_> {
        Sample {
            name,
            unit: None,
            kind: CustomKind::Value,
            amount: Amount::Is(value),
            weight: 1.0,
            attributes: &[],
        }
    }

    fn gauge(amount: Amount<'_>) -> Sample<'_> {
        Sample {
            kind: CustomKind::Gauge,
            amount,
            ..sample("g", 0.0)
        }
    }

    fn member(member: &[u8]) -> Sample<'_> {
        Sample {
            kind: CustomKind::Set,
            amount: Amount::Member(member),
            ..sample("s", 0.0)
        }
    }

    fn only(metrics: &mut CustomMetrics, window: Window, at_ns: u64) -> CustomView {
        let views = metrics.snapshot(at_ns).views(None, window);
        assert_eq!(views.len(), 1, "{views:?}");
        views.into_iter().next().unwrap()
    }

    #[test]
    fn attributes_tell_series_apart_in_any_order() {
        let mut metrics = CustomMetrics::default();
        let orders: [&[(&str, &str)]; 4] = [
            &[("a", "1"), ("b", "2")],
            &[("b", "2"), ("a", "1")],
            &[("b", "0"), ("a", "1"), ("b", "2")],
            &[("a", "1")],
        ];
        for attributes in orders {
            let sample = Sample {
                attributes,
                ..sample("paid", 2.0)
            };
            metrics.record(&sample, 1).unwrap();
        }
        metrics.record(&sample("other", 1.0), 1).unwrap();
        let views = metrics.snapshot(SECOND_NS + 1).views(Some("paid"), Window::Start);
        let told: Vec<_> = views
            .iter()
            .map(|view| (view.attributes.len(), view.count, view.sum))
            .collect();
        assert_eq!(told, [(1, 1, 2.0), (2, 3, 6.0)]);
        assert_eq!(metrics.snapshot(1).series(), 3);
        assert_eq!(views[1].per_second, Some(6.0));
    }

    #[test]
    fn a_sum_of_fractions_never_falls_when_slots_close() {
        let mut metrics = CustomMetrics::default();
        let (mut before, mut at_ns) = (0.0, SECOND_NS);
        for step in 0..20_000u64 {
            at_ns += step * step % 17 * SECOND_NS;
            if step % 3 > 0 {
                metrics
                    .record(&sample("spent", 0.1 + step as f64 / 7.0), at_ns)
                    .unwrap();
            }
            if step > 3 {
                let sum = only(&mut metrics, Window::Start, at_ns).sum;
                assert!(sum >= before, "{sum} after {before}");
                before = sum;
            }
        }
    }

    #[test]
    fn a_gauge_goes_up_and_down_and_a_set_counts_what_differs() {
        let mut metrics = CustomMetrics::default();
        for (amount, expected) in [
            (Amount::Changes(2.0), 2.0),
            (Amount::Is(10.0), 10.0),
            (Amount::Changes(-3.5), 6.5),
        ] {
            metrics.record(&gauge(amount), 5).unwrap();
            assert_eq!(only(&mut metrics, Window::Minute, 5).last, Some(expected));
        }
        let mut metrics = CustomMetrics::default();
        for name in ["a", "b", "a", "c", "b"] {
            metrics.record(&member(name.as_bytes()), SECOND_NS).unwrap();
        }
        let view = only(&mut metrics, Window::Minute, SECOND_NS);
        assert_eq!((view.count, view.last, view.max), (1, Some(3.0), Some(3.0)));
        metrics.record(&member(b"a"), 11 * SECOND_NS).unwrap();
        let view = only(&mut metrics, Window::Minute, 12 * SECOND_NS);
        assert_eq!(
            (view.count, view.last, view.sum, view.figure()),
            (2, Some(1.0), 4.0, Some(1.0))
        );
        let view = only(&mut metrics, Window::Minute, 30 * SECOND_NS);
        assert_eq!((view.count, view.last), (2, Some(1.0)), "it stays so");
    }

    #[test]
    fn everything_is_bounded_and_what_finds_no_place_is_counted() {
        let mut metrics = CustomMetrics::default();
        for number in 0..SERIES {
            let name = if number == 0 {
                "s".to_owned()
            } else {
                format!("m{number}")
            };
            let kind = if number == 0 {
                CustomKind::Set
            } else {
                CustomKind::Counter
            };
            let amount = if number == 0 {
                Amount::Member(b"")
            } else {
                Amount::Is(1.0)
            };
            let sample = Sample {
                kind,
                amount,
                ..sample(&name, 0.0)
            };
            metrics.record(&sample, SECOND_NS).unwrap();
        }
        assert_eq!(metrics.record(&sample("more", 1.0), SECOND_NS), Err(Refused::Full));
        for number in 1..MEMBERS {
            metrics
                .record(&member(number.to_string().as_bytes()), SECOND_NS)
                .unwrap();
        }
        assert_eq!(metrics.record(&member(b"more"), SECOND_NS), Err(Refused::Full));
        assert_eq!(metrics.record(&member(b"1"), SECOND_NS), Ok(()), "it is there");
        assert_eq!(metrics.record(&member(b"more"), 10 * SECOND_NS), Ok(()), "a new slot");
        let expected = Refused::Kind {
            name: "m1".into(),
            is: CustomKind::Counter,
            given: CustomKind::Value,
        };
        assert_eq!(expected.to_string(), "m1 is a counter, not a value");
        assert_eq!(metrics.record(&sample("m1", 1.0), SECOND_NS), Err(expected));
        let names: Vec<String> = (0..17).map(|number| format!("a{number}")).collect();
        let attributes: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let many = Sample {
            attributes: &attributes,
            ..sample("m", 1.0)
        };
        assert_eq!(metrics.record(&many, 1), Err(SampleFault::Attributes.into()));
        for value in [f64::NAN, f64::INFINITY] {
            assert_eq!(metrics.record(&sample("m", value), 1), Err(Refused::Amount));
        }
        assert_eq!((metrics.dropped(), metrics.snapshot(1).dropped()), (6, 6));
        // After a day without anything, their places are free.
        metrics.record(&member(b"a"), 20 * 3600 * SECOND_NS).unwrap();
        assert_eq!(metrics.snapshot(27 * 3600 * SECOND_NS).series(), 1);
        assert_eq!(
            metrics.record(&sample("m1", 1.0), 27 * 3600 * SECOND_NS),
            Ok(()),
            "of any kind"
        );
        assert_eq!(metrics.members, 0);
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let mut metrics = CustomMetrics::default();
        metrics.record(&sample("a", 1.0), 1).unwrap();
        let before = metrics.snapshot(SECOND_NS);
        metrics.record(&sample("a", 2.0), SECOND_NS).unwrap();
        metrics.snapshot(100 * SECOND_NS);
        let view = &before.views(Some("a"), Window::Minute)[0];
        assert_eq!((view.count, view.last, view.mean), (1, Some(1.0), Some(1.0)));
        assert_eq!(before.views(Some("b"), Window::Minute), []);
    }

    /// The slots of a window, see [`crate::aggregate::window`]: size in seconds, and how many before the running one.
    fn from_ns(window: Window, at_ns: u64) -> u64 {
        let (size, count) = match window {
            Window::Minute => (10, 6),
            Window::FiveMinutes => (60, 5),
            Window::FifteenMinutes => (60, 15),
            Window::Hour => (300, 12),
            Window::Day => (7200, 12),
            Window::Start => return 0,
        };
        let size_ns = size * SECOND_NS;
        (at_ns / size_ns).saturating_sub(count) * size_ns
    }

    proptest! {
        #[test]
        fn windows_hold_exactly_what_was_reported_in_them(
            reports in proptest::collection::vec((0u64..4_000, -1000i32..1000, 1u8..4), 1..200), looks in 0usize..5,
        ) {
            let mut metrics = CustomMetrics::default();
            let mut at_ns = 3 * SECOND_NS;
            let mut all = Vec::new();
            for (place, (after_s, value, weight)) in reports.into_iter().enumerate() {
                at_ns += after_s * SECOND_NS;
                // Quarters add up without a rest.
                let (value, weight) = (f64::from(value) / 4.0, f64::from(weight));
                metrics.record(&Sample { weight, ..sample("a", value) }, at_ns).unwrap();
                all.push((at_ns, value, weight));
                if looks > 0 && place % looks == 0 {
                    metrics.snapshot(at_ns);
                }
            }
            at_ns += 7 * SECOND_NS;
            let snapshot = metrics.snapshot(at_ns);
            for window in Window::ALL {
                let from_ns = from_ns(window, at_ns);
                let within: Vec<_> = all.iter().filter(|(at_ns, ..)| *at_ns >= from_ns).collect();
                let view = &snapshot.views(Some("a"), window)[0];
                let sum: f64 = within.iter().map(|(_, value, weight)| value * weight).sum();
                let count: f64 = within.iter().map(|(_, _, weight)| *weight).sum();
                prop_assert_eq!((view.count as f64, view.sum), (count, sum), "{:?}", window);
                prop_assert_eq!(view.mean, (count > 0.0).then(|| sum / count));
                let values = || within.iter().map(|(_, value, _)| *value);
                prop_assert_eq!(view.min, values().reduce(f64::min));
                prop_assert_eq!(view.max, values().reduce(f64::max));
                prop_assert_eq!(view.last, all.last().map(|(_, value, _)| *value));
                let covered = (at_ns - from_ns.max(all[0].0)) as f64 / 1e9;
                prop_assert_eq!(view.per_second, Some(sum / covered));
            }
        }
    }
}
