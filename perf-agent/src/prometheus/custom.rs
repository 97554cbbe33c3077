//! Metrics of the operator's own programs, under names that Prometheus takes.
//!
//! A metric `checkout.time` in `ms` is `custom_checkout_time_ms`; attributes are labels. What of a name is no letter, digit
//! or `_` becomes `_`. Values are a summary, gauges and counters what they are called. Two metrics whose names become the
//! same are one if they are of the same kind; else the second one is left out.

use std::borrow::Cow;

use super::model::{Definition, Families, Kind, Value};
use crate::aggregate::Window;
use crate::custom::{CustomKind, CustomSnapshot, CustomView};

/// What the formats append to names.
const RESERVED: [&str; 6] = ["total", "info", "bucket", "count", "sum", "created"];
/// Bytes of a name; longer ones are cut.
const NAME_BYTES: usize = 200;

/// Fills their families.
pub(super) fn add(custom: Option<&CustomSnapshot>, families: &mut Families) {
    let Some(custom) = custom else { return };
    for view in custom.views(None, Window::Start) {
        add_view(&view, families);
    }
}

pub(super) fn add_view(view: &CustomView, families: &mut Families) {
    let (kind, value) = match view.kind {
        CustomKind::Value => {
            // A sum of which a part is negative may fall, and would be taken for one that began anew.
            let grows = view.min.is_none_or(|min| min >= 0.0);
            let value = Value::Summary {
                count: view.count,
                sum: grows.then_some(view.sum),
            };
            (Kind::Summary, value)
        }
        CustomKind::Gauge | CustomKind::Set => match view.last {
            Some(last) => (Kind::Gauge, Value::Number(last)),
            None => return,
        },
        CustomKind::Counter if view.sum < 0.0 => return,
        CustomKind::Counter => (Kind::Counter, Value::Number(view.sum)),
    };
    let unit = view.unit.as_deref().map(word).filter(|unit| is_unit(unit));
    let definition = Definition {
        name: name(&view.name, unit.as_deref()).into(),
        kind,
        unit: unit.map(Cow::Owned),
        help: "As reported to the agent.".into(),
        labels: &[],
        extra: None,
    };
    if families
        .known(&definition.name)
        .is_some_and(|known| known.definition.kind != kind || known.definition.unit != definition.unit)
    {
        return;
    }
    let mut pairs: Vec<(Cow<'static, str>, String)> = Vec::new();
    for (key, value) in &view.attributes {
        let name = label(key);
        if pairs.iter().all(|(other, _)| *other != name) {
            pairs.push((name.into(), value.clone()));
        }
    }
    let labels = families.labels(pairs);
    let family = families.family(&definition);
    if kind == Kind::Gauge && family.has(&labels) {
        return; // states do not add up
    }
    family.add(&labels, None, value);
}

/// Letters, digits and `_`.
fn word(text: &str) -> String {
    let word = text.chars().map(|character| {
        if character.is_ascii_alphanumeric() {
            character
        } else {
            '_'
        }
    });
    word.take(NAME_BYTES).collect::<String>().trim_matches('_').to_owned()
}

/// A word that can stand at the end of a name.
fn is_unit(unit: &str) -> bool {
    !unit.is_empty() && !unit.rsplit('_').next().is_some_and(|last| RESERVED.contains(&last))
}

/// `custom_`, the name, and its unit. What the formats append to names is taken from its end.
fn name(text: &str, unit: Option<&str>) -> String {
    let mut name = format!("custom_{}", word(text));
    while let Some((rest, last)) = name.rsplit_once('_')
        && RESERVED.contains(&last)
    {
        name.truncate(rest.len());
    }
    if let Some(unit) = unit
        && !name.ends_with(&format!("_{unit}"))
    {
        name.push('_');
        name.push_str(unit);
    }
    name
}

/// A label's name: those that have a meaning of their own get another one.
fn label(key: &str) -> String {
    let name = word(key);
    let begins_badly = name.bytes().next().is_none_or(|first| first.is_ascii_digit());
    if begins_badly || matches!(name.as_str(), "le" | "quantile" | "job" | "instance") {
        format!("attribute_{name}")
    } else {
        name
    }
}
