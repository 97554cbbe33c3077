//! One series: a metric with one set of attributes, in windows.

use hashbrown::HashSet;

use super::figures::Figures;
use super::{CustomKind, CustomView};
use crate::aggregate::window::{History, Size, Stretch as _, Window};

/// Name and attributes, ascending by key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) name: Box<str>,
    pub(super) attributes: Box<[(Box<str>, Box<str>)]>,
}

/// As it goes on.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) key: Key,
    pub(super) unit: Option<Box<str>>,
    pub(super) kind: CustomKind,
    /// When something was reported last.
    pub(super) newest_ns: u64,
    now_ns: u64,
    last: Option<f64>,
    running: Figures,
    /// Of a set: hashes of the members in the running slot.
    members: HashSet<u64>,
    history: History<Figures>,
}

impl Series {
    pub(super) fn new(key: Key, unit: Option<&str>, kind: CustomKind, at_ns: u64) -> Self {
        Self {
            key,
            unit: unit.map(Into::into),
            kind,
            newest_ns: at_ns,
            now_ns: at_ns,
            last: None,
            running: Figures::default(),
            members: HashSet::new(),
            history: History::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.key.name
    }

    /// A value that stands for `weight` values.
    pub(super) fn add(&mut self, value: f64, weight: f64, at_ns: u64) {
        self.newest_ns = self.newest_ns.max(at_ns);
        self.last = Some(value);
        self.running.add(value, weight);
    }

    /// A gauge changes.
    pub(super) fn change(&mut self, by: f64, at_ns: u64) {
        let value = (self.last.unwrap_or(0.0) + by).clamp(f64::MIN, f64::MAX);
        self.add(value, 1.0, at_ns);
    }

    /// Members in the running slot.
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    pub(super) fn has_member(&self, hash: u64) -> bool {
        self.members.contains(&hash)
    }

    pub(super) fn add_member(&mut self, hash: u64, at_ns: u64) {
        self.newest_ns = self.newest_ns.max(at_ns);
        self.members.insert(hash);
    }

    /// Does going to this moment change anything?
    pub(super) fn is_due(&self, at_ns: u64) -> bool {
        at_ns > self.now_ns
            && Size::TenSeconds.number(at_ns) != Size::TenSeconds.number(self.now_ns)
            && (!self.running.is_empty() || !self.members.is_empty() || self.history.is_due(self.now_ns, at_ns))
    }

    /// Time went on.
    pub(super) fn advance(&mut self, at_ns: u64) {
        if at_ns <= self.now_ns {
            return;
        }
        let from_ns = std::mem::replace(&mut self.now_ns, at_ns);
        if Size::TenSeconds.number(from_ns) == Size::TenSeconds.number(at_ns) {
            return;
        }
        let running = self.running();
        if !running.is_empty() {
            self.last = self.newest();
            self.history.close(Size::TenSeconds.number(from_ns), &running);
            self.running = Figures::default();
            self.members = HashSet::new();
        }
        self.history.roll(from_ns, at_ns);
    }

    /// The running slot; a set's members are one value in it.
    fn running(&self) -> Figures {
        let mut running = self.running;
        if !self.members.is_empty() {
            running.add(self.members.len() as f64, 1.0);
        }
        running
    }

    fn newest(&self) -> Option<f64> {
        if self.members.is_empty() {
            self.last
        } else {
            Some(self.members.len() as f64)
        }
    }

    /// What outputs read, over a window that ends at `at_ns`; the series was advanced to it.
    pub(super) fn view(&self, window: Window, at_ns: u64, started_ns: u64) -> CustomView {
        let mut sum = self.running();
        for closed in self.history.of_window(window, at_ns) {
            sum.merge(&Figures::unpack(closed));
        }
        let covered_ns = at_ns.saturating_sub(window.from_ns(at_ns, started_ns));
        let some = |figure: f64| (!sum.is_empty()).then_some(figure);
        let attributes = self.key.attributes.iter();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is not negative"
        )]
        let count = sum.count.round() as u64;
        CustomView {
            name: self.key.name.to_string(),
            unit: self.unit.as_deref().map(str::to_owned),
            attributes: attributes
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            kind: self.kind,
            count,
            sum: sum.sum,
            min: sum.range.map(|[least, _]| least),
            max: sum.range.map(|[_, largest]| largest),
            mean: some(sum.sum / sum.count),
            last: self.newest(),
            per_second: (covered_ns > 0).then(|| sum.sum / (covered_ns as f64 / 1e9)),
        }
    }
}
