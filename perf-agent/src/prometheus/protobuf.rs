//! The protobuf format: messages of `io.prometheus.client`, each behind its length. Only these can have native histograms.
//! <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>

use prost::Message;

use super::buckets::{self, ZERO_SECONDS};
use super::model::{self, Families, Kind, REQUEST_ID, Value, cumulative};

/// The messages, as far as we write them.
#[expect(missing_docs, reason = "the format's own names, documented there")]
pub mod messages {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct MetricFamily {
        #[prost(string, optional, tag = "1")]
        pub name: Option<String>,
        #[prost(string, optional, tag = "2")]
        pub help: Option<String>,
        #[prost(enumeration = "MetricType", optional, tag = "3")]
        pub r#type: Option<i32>,
        #[prost(message, repeated, tag = "4")]
        pub metric: Vec<Metric>,
        #[prost(string, optional, tag = "5")]
        pub unit: Option<String>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub enum MetricType {
        Counter = 0,
        Gauge = 1,
        Summary = 2,
        Untyped = 3,
        Histogram = 4,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub label: Vec<LabelPair>,
        #[prost(message, optional, tag = "2")]
        pub gauge: Option<Gauge>,
        #[prost(message, optional, tag = "3")]
        pub counter: Option<Counter>,
        #[prost(message, optional, tag = "4")]
        pub summary: Option<Summary>,
        #[prost(message, optional, tag = "7")]
        pub histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct LabelPair {
        #[prost(string, optional, tag = "1")]
        pub name: Option<String>,
        #[prost(string, optional, tag = "2")]
        pub value: Option<String>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Gauge {
        #[prost(double, optional, tag = "1")]
        pub value: Option<f64>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Counter {
        #[prost(double, optional, tag = "1")]
        pub value: Option<f64>,
        #[prost(message, optional, tag = "3")]
        pub created_timestamp: Option<Timestamp>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Summary {
        #[prost(uint64, optional, tag = "1")]
        pub sample_count: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub sample_sum: Option<f64>,
        #[prost(message, optional, tag = "4")]
        pub created_timestamp: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Histogram {
        #[prost(uint64, optional, tag = "1")]
        pub sample_count: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub sample_sum: Option<f64>,
        #[prost(message, repeated, tag = "3")]
        pub bucket: Vec<Bucket>,
        #[prost(sint32, optional, tag = "5")]
        pub schema: Option<i32>,
        #[prost(double, optional, tag = "6")]
        pub zero_threshold: Option<f64>,
        #[prost(uint64, optional, tag = "7")]
        pub zero_count: Option<u64>,
        #[prost(message, repeated, tag = "12")]
        pub positive_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "13")]
        pub positive_delta: Vec<i64>,
        #[prost(message, optional, tag = "15")]
        pub created_timestamp: Option<Timestamp>,
        #[prost(message, repeated, tag = "16")]
        pub exemplars: Vec<Exemplar>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Bucket {
        #[prost(uint64, optional, tag = "1")]
        pub cumulative_count: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub upper_bound: Option<f64>,
        #[prost(message, optional, tag = "3")]
        pub exemplar: Option<Exemplar>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct BucketSpan {
        #[prost(sint32, optional, tag = "1")]
        pub offset: Option<i32>,
        #[prost(uint32, optional, tag = "2")]
        pub length: Option<u32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub label: Vec<LabelPair>,
        #[prost(double, optional, tag = "2")]
        pub value: Option<f64>,
        #[prost(message, optional, tag = "3")]
        pub timestamp: Option<Timestamp>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Timestamp {
        #[prost(int64, tag = "1")]
        pub seconds: i64,
        #[prost(int32, tag = "2")]
        pub nanos: i32,
    }
}

use messages as m;

/// Writes all families down.
pub fn write(families: &Families) -> Vec<u8> {
    let mut out = Vec::new();
    let created = families.since_wall_ns.map(timestamp);
    for family in families.all.iter().filter(|family| !family.series.is_empty()) {
        let message = message(family, created).encode_length_delimited_to_vec();
        out.extend_from_slice(&message);
    }
    out
}

fn message(family: &model::Family, created: Option<m::Timestamp>) -> m::MetricFamily {
    let definition = &family.definition;
    let kind = match definition.kind {
        Kind::Counter => m::MetricType::Counter,
        Kind::Gauge | Kind::Info => m::MetricType::Gauge,
        Kind::Histogram => m::MetricType::Histogram,
        Kind::Summary => m::MetricType::Summary,
    };
    m::MetricFamily {
        name: Some(definition.full_name()),
        help: Some(definition.help.to_string()),
        r#type: Some(kind.into()),
        metric: family
            .series
            .iter()
            .map(|series| metric(series, kind, created))
            .collect(),
        unit: definition.unit.as_ref().map(ToString::to_string),
    }
}

fn label(name: &str, value: &str) -> m::LabelPair {
    m::LabelPair {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    }
}

fn metric(series: &model::Series, kind: m::MetricType, created: Option<m::Timestamp>) -> m::Metric {
    let mut metric = m::Metric {
        label: series.labels.pairs().map(|(name, value)| label(name, value)).collect(),
        ..m::Metric::default()
    };
    if let Some((name, value)) = &series.extra {
        metric.label.push(label(name, value));
    }
    match &series.value {
        Value::Number(number) if kind == m::MetricType::Counter => {
            metric.counter = Some(m::Counter {
                value: Some(*number),
                created_timestamp: created,
            });
        }
        Value::Number(number) => metric.gauge = Some(m::Gauge { value: Some(*number) }),
        Value::Summary { count, sum } => {
            metric.summary = Some(m::Summary {
                sample_count: Some(*count),
                // There is no summary without a sum here.
                sample_sum: Some(sum.unwrap_or(f64::NAN)),
                created_timestamp: created,
            });
        }
        Value::Histogram(histogram) => metric.histogram = Some(distribution(histogram, created)),
    }
    metric
}

fn distribution(histogram: &model::Histogram, created: Option<m::Timestamp>) -> m::Histogram {
    let native = buckets::native(&histogram.times);
    let examples: Vec<_> = histogram
        .exemplars
        .iter()
        .map(|example| example.as_ref().map(exemplar))
        .collect();
    let bounds = histogram.bounds_ns.iter().map(|&bound| bound as f64 / 1e9);
    let bucket = bounds
        .chain([f64::INFINITY])
        .zip(cumulative(histogram))
        .enumerate()
        .map(|(place, (bound, count))| m::Bucket {
            cumulative_count: Some(count),
            upper_bound: Some(bound),
            exemplar: examples.get(place).cloned().flatten(),
        })
        .collect();
    m::Histogram {
        sample_count: Some(native.count),
        sample_sum: Some(histogram.sum_seconds()),
        bucket,
        schema: Some(native.schema),
        zero_threshold: Some(ZERO_SECONDS),
        zero_count: Some(native.zeros),
        positive_span: native
            .spans
            .iter()
            .map(|&(offset, length)| m::BucketSpan {
                offset: Some(offset),
                length: Some(length),
            })
            .collect(),
        positive_delta: native.deltas,
        created_timestamp: created,
        // Of native histograms they must have a time.
        exemplars: examples
            .into_iter()
            .flatten()
            .filter(|example| example.timestamp.is_some())
            .collect(),
    }
}

fn exemplar(exemplar: &model::Exemplar) -> m::Exemplar {
    m::Exemplar {
        label: vec![label(REQUEST_ID, &exemplar.request_id)],
        value: Some(exemplar.seconds),
        timestamp: exemplar.wall_ns.map(timestamp),
    }
}

/// To the millisecond: what Prometheus keeps, and clocks that are set a little do not change it every time.
fn timestamp(wall_ns: u64) -> m::Timestamp {
    let ms = wall_ns / 1_000_000;
    m::Timestamp {
        seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1000 * 1_000_000).unwrap_or(0),
    }
}
