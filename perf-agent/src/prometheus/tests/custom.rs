//! Metrics of the operator's programs.
#![expect(clippy::float_cmp, reason = "figures are told as they are")]

use proptest::prelude::*;

use super::{any_text, snapshot, written};
use crate::custom::{CustomKind, CustomView};
use crate::prometheus::custom::add_view;
use crate::prometheus::model::Families;
use crate::synthetic::Traffic;

fn view(name: &str, kind: CustomKind, attributes: &[(&str, &str)]) -> CustomView {
    CustomView {
        name: name.to_owned(),
        unit: None,
        attributes: attributes
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        kind,
        count: 2,
        sum: 3.0,
        min: Some(1.0),
        max: Some(2.0),
        mean: Some(1.5),
        last: Some(2.0),
        per_second: None,
    }
}

fn of_views(views: &[CustomView]) -> Families {
    let mut families = Families::new(&snapshot(&Traffic::default()));
    for view in views {
        add_view(view, &mut families);
    }
    families
}

#[test]
fn custom_metrics_get_names_that_prometheus_takes() {
    let mut time = view("checkout.time", CustomKind::Value, &[("shop.id", "7"), ("le", "1")]);
    time.unit = Some("ms".to_owned());
    let mut loss = view("loss", CustomKind::Value, &[]);
    loss.min = Some(-1.0);
    let views = [
        time,
        loss,
        view("orders_total", CustomKind::Counter, &[]),
        view("orders", CustomKind::Gauge, &[]),
        view("queue", CustomKind::Gauge, &[("a-b", "1"), ("a.b", "2")]),
    ];
    let metrics = written(&of_views(&views));
    let labels = &[("shop_id", "7"), ("attribute_le", "1")];
    assert_eq!(metrics.value("custom_checkout_time_ms_sum", labels), 3.0);
    assert_eq!(metrics.value("custom_checkout_time_ms_count", labels), 2.0);
    assert_eq!(metrics.value("custom_loss_count", &[]), 2.0);
    assert!(
        metrics.samples().all(|sample| sample.name != "custom_loss_sum"),
        "it may fall"
    );
    assert_eq!(metrics.value("custom_orders_total", &[]), 3.0);
    assert!(
        metrics.samples().all(|sample| sample.name != "custom_orders"),
        "the name is taken"
    );
    assert_eq!(metrics.value("custom_queue", &[("a_b", "1")]), 2.0);
}

proptest! {
    #[test]
    fn any_custom_metric_is_told_in_a_way_that_is_understood(
        views in prop::collection::vec(
            (any_text(), prop::option::of(any_text()), prop::collection::vec((any_text(), any_text()), 0..4),
                0..3usize, any::<f64>(), prop::option::of(any::<f64>())), 0..8),
    ) {
        let kinds = [CustomKind::Value, CustomKind::Gauge, CustomKind::Counter];
        let views: Vec<_> = views
            .into_iter()
            .map(|(name, unit, attributes, kind, sum, last)| CustomView {
                name,
                unit,
                attributes,
                sum,
                last,
                min: last,
                ..view("", kinds[kind], &[])
            })
            .collect();
        written(&of_views(&views));
    }
}
