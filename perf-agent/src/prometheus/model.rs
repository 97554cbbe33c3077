//! What an exposition is made of: families, each of one kind and unit, of series with labels and a value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::buckets;
use crate::aggregate::Distribution;
use crate::snapshot::Snapshot;

/// Bytes of a label's value; longer ones are cut.
pub const LABEL_BYTES: usize = 1024;
/// Characters of an exemplar's labels, names and values together (`OpenMetrics` 1.0, "Exemplars").
pub const EXEMPLAR_CHARS: usize = 128;
/// The label of an exemplar.
pub const REQUEST_ID: &str = "request_id";

/// What sort of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, as long as its series is there. Its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, and their sum.
    Histogram,
    /// A count and a sum.
    Summary,
    /// Always 1: what it says is in its labels. Its name ends with `_info`.
    Info,
}

impl Kind {
    /// What its series' names end with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram | Self::Summary => "",
        }
    }

    /// The word of the formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Info => "info",
        }
    }
}

/// What a family is.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Without the kind's suffix.
    pub name: Cow<'static, str>,
    /// What sort of figure.
    pub kind: Kind,
    /// What it is in; the name ends with it.
    pub unit: Option<Cow<'static, str>>,
    /// What it says.
    pub help: Cow<'static, str>,
    /// The names of the labels that its series can have.
    pub labels: &'static [&'static str],
    /// A further one, see [`Families::put_by`].
    pub extra: Option<&'static str>,
}

impl Definition {
    /// With these labels and no unit.
    pub const fn new(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            kind,
            unit: None,
            help: Cow::Borrowed(help),
            labels,
            extra: None,
        }
    }

    /// The same in a unit.
    pub const fn in_unit(
        name: &'static str,
        kind: Kind,
        unit: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name: Cow::Borrowed(name),
            kind,
            unit: Some(Cow::Borrowed(unit)),
            help: Cow::Borrowed(help),
            labels,
            extra: None,
        }
    }

    /// The same with a further label.
    #[must_use]
    pub const fn by(mut self, extra: &'static str) -> Self {
        self.extra = Some(extra);
        self
    }

    /// The name of its series, of a histogram without `_bucket`, `_sum` and `_count`.
    pub fn full_name(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }
}

/// The labels of a series: names, and values that are not empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Labels {
    pairs: Vec<(Cow<'static, str>, String)>,
    /// As the text formats write them.
    text: String,
}

impl Labels {
    fn new(pairs: impl IntoIterator<Item = (Cow<'static, str>, String)>) -> Self {
        let mut labels = Self {
            pairs: Vec::new(),
            text: String::new(),
        };
        for (name, mut value) in pairs {
            if value.is_empty() {
                continue; // as good as absent
            }
            value.truncate(value.floor_char_boundary(LABEL_BYTES));
            write_label(&name, &value, &mut labels.text);
            labels.pairs.push((name, value));
        }
        labels
    }

    /// Names and values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// As the text formats write them, without brackets.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Appends `name="value"`, behind a comma unless it is the first one.
pub(super) fn write_label(name: &str, value: &str, out: &mut String) {
    if !out.is_empty() && !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// An example of what a histogram counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The request's own id.
    pub request_id: Arc<str>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// When it ended, nanoseconds since 1970.
    pub wall_ns: Option<u64>,
}

/// Times and how often each.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// The times.
    pub times: Distribution,
    /// Upper bounds of the classic buckets, nanoseconds; one without a bound follows.
    pub bounds_ns: &'static [u64],
    /// For each classic bucket, or none at all.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl Histogram {
    /// Has this as the example of its bucket.
    pub fn exemplify(&mut self, time_ns: u64, exemplar: Exemplar) {
        let bucket = self.bounds_ns.partition_point(|&bound| bound < time_ns);
        self.exemplars.resize(self.bounds_ns.len() + 1, None);
        self.exemplars[bucket] = Some(exemplar);
    }

    /// The sum of the times, seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.times.sum_ns() as f64 / 1e9
    }
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Box<Histogram>),
    /// Of a summary.
    Summary {
        /// How many.
        count: u64,
        /// Their sum, if it can only grow.
        sum: Option<f64>,
    },
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Number(count as f64)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self::Number(count.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl Value {
    /// Times, to be told by rough or by fine classic buckets.
    pub fn times(times: Distribution, bounds_ns: &'static [u64]) -> Self {
        Self::Histogram(Box::new(Histogram {
            times,
            bounds_ns,
            exemplars: Vec::new(),
        }))
    }

    /// Adds another one. Of shares the larger one is taken: their sum would mean nothing.
    fn merge(&mut self, other: Self, is_share: bool) {
        match (self, other) {
            (Self::Number(mine), Self::Number(theirs)) if is_share => *mine = mine.max(theirs),
            (Self::Number(mine), Self::Number(theirs)) => *mine += theirs,
            (Self::Histogram(mine), Self::Histogram(theirs)) => mine.times.merge(&theirs.times),
            (
                Self::Summary { count, sum },
                Self::Summary {
                    count: more,
                    sum: further,
                },
            ) => {
                *count += more;
                *sum = sum.zip(further).map(|(sum, further)| sum + further);
            }
            _ => debug_assert!(false, "a family is of one kind"),
        }
    }
}

/// A series.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// A further one.
    pub extra: Option<(&'static str, Cow<'static, str>)>,
    /// Its value.
    pub value: Value,
}

/// A family.
#[derive(Debug)]
pub struct Family {
    /// What it is.
    pub definition: Definition,
    /// Its series; no two have the same labels.
    pub series: Vec<Series>,
    /// Where each is, by labels and further label.
    places: HashMap<(usize, Option<Cow<'static, str>>), usize>,
}

impl Family {
    /// An empty one.
    pub fn new(definition: Definition) -> Self {
        Self {
            definition,
            series: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Is there a series with these labels?
    pub fn has(&self, labels: &Arc<Labels>) -> bool {
        self.places.contains_key(&(Arc::as_ptr(labels).addr(), None))
    }

    /// Adds a value to the series with these labels, which [`Families::labels`] gave; tells which one that is.
    pub fn add(&mut self, labels: &Arc<Labels>, extra: Option<Cow<'static, str>>, value: impl Into<Value>) -> usize {
        // Interned: the address stands for the labels.
        let key = (Arc::as_ptr(labels).addr(), extra);
        if let Some(&place) = self.places.get(&key) {
            let is_share = self.definition.unit.as_deref() == Some("ratio");
            self.series[place].value.merge(value.into(), is_share);
            return place;
        }
        debug_assert_eq!(
            key.1.is_some(),
            self.definition.extra.is_some(),
            "{}",
            self.definition.name
        );
        let extra = self
            .definition
            .extra
            .zip(key.1.clone())
            .filter(|(_, value)| !value.is_empty());
        self.series.push(Series {
            labels: Arc::clone(labels),
            extra,
            value: value.into(),
        });
        self.places.insert(key, self.series.len() - 1);
        self.series.len() - 1
    }
}

/// Everything that is told.
#[derive(Debug)]
pub struct Families {
    /// In the order in which they are written.
    pub all: Vec<Family>,
    /// Where each is, by name.
    names: HashMap<Cow<'static, str>, usize>,
    /// Each set of labels once.
    labels: HashMap<String, Arc<Labels>>,
    /// When counting began, nanoseconds since 1970; `None` if that is not known.
    pub since_wall_ns: Option<u64>,
}

impl Families {
    /// None yet; counters began when the agent's own observation did.
    pub fn new(snapshot: &Snapshot) -> Self {
        let ago_ns = snapshot.at_ns.saturating_sub(snapshot.agent_started_ns);
        Self {
            all: Vec::new(),
            names: HashMap::new(),
            labels: HashMap::new(),
            since_wall_ns: snapshot.wall_ns.checked_sub(ago_ns).filter(|&since| since > 0),
        }
    }

    /// The set of these labels. Empty values are left out, long ones are cut.
    pub fn labels(&mut self, pairs: impl IntoIterator<Item = (impl Into<Cow<'static, str>>, String)>) -> Arc<Labels> {
        let labels = Labels::new(pairs.into_iter().map(|(name, value)| (name.into(), value)));
        if let Some(known) = self.labels.get(labels.text()) {
            return Arc::clone(known);
        }
        let (text, labels) = (labels.text.clone(), Arc::new(labels));
        self.labels.insert(text, Arc::clone(&labels));
        labels
    }

    /// No labels.
    pub fn unlabelled(&mut self) -> Arc<Labels> {
        self.labels(std::iter::empty::<(&str, String)>())
    }

    /// The family of this definition, with its place.
    pub fn family(&mut self, definition: &Definition) -> &mut Family {
        let next = self.all.len();
        let place = *self.names.entry(definition.name.clone()).or_insert(next);
        if place == next {
            self.all.push(Family::new(definition.clone()));
        }
        &mut self.all[place]
    }

    /// Is there a family of this name?
    pub fn known(&self, name: &str) -> Option<&Family> {
        self.names.get(name).map(|&place| &self.all[place])
    }

    /// Adds a value.
    pub fn put(&mut self, definition: &Definition, labels: &Arc<Labels>, value: impl Into<Value>) {
        self.family(definition).add(labels, None, value);
    }

    /// Adds a value to the series with a further label; an empty one is as good as absent.
    pub fn put_by(
        &mut self,
        definition: &Definition,
        labels: &Arc<Labels>,
        extra: impl Into<Cow<'static, str>>,
        value: impl Into<Value>,
    ) {
        self.family(definition).add(labels, Some(extra.into()), value);
    }
}

/// Counts of the classic buckets of a histogram, each with what is below it.
pub fn cumulative(histogram: &Histogram) -> Vec<u64> {
    buckets::cumulative(&histogram.times, histogram.bounds_ns)
}
