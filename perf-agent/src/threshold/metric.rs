//! What is measured: the metrics and their names.

use std::fmt;

use crate::exchange::Class;

/// Longest name of a function or of a custom metric.
const NAME: usize = 256;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// A stretch of the requests' time.
    Time(Stretch, Statistic),
    /// Errors per request.
    ErrorRate,
    /// Client errors per request.
    ClientErrorRate,
    /// Requests per second, on average.
    Throughput,
    /// Most requests in flight at once.
    Concurrency,
    /// Share of processor time.
    CpuUsage,
    /// Share of memory.
    MemoryUsage,
    /// Share of keys asked for that a cache had.
    CacheHitRate,
    /// The time that requests waited for calls of a class, each request's.
    Spent(Class, Statistic),
    /// Smoothed round-trip times of the connections.
    NetworkRtt(Statistic),
    /// TCP segments sent again, per second.
    Retransmits,
    /// How long the functions take whose name matches.
    FunctionTime {
        /// Which figure of their times.
        statistic: Statistic,
        /// A [pattern](super::matches).
        name: String,
    },
    /// What programs report.
    Custom {
        /// The metric's name.
        name: String,
        /// Which figure; by the metric's kind if there is none.
        statistic: Option<CustomStatistic>,
    },
    /// Records that the agent lost.
    LostRecords,
}

/// A stretch of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stretch {
    /// First request byte to last response byte.
    Response,
    /// First request byte to first response byte.
    FirstByte,
    /// Readable in the socket to read.
    Queue,
    /// Last request byte to first response byte.
    Processing,
}

impl Stretch {
    /// In the order of the API.
    pub const ALL: [Self; 4] = [Self::Response, Self::FirstByte, Self::Queue, Self::Processing];

    fn name(self) -> &'static str {
        match self {
            Self::Response => "response_time",
            Self::FirstByte => "time_to_first_byte",
            Self::Queue => "queue_time",
            Self::Processing => "processing",
        }
    }
}

/// A figure of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// The mean.
    Mean,
    /// The median.
    Median,
    /// The 90th percentile.
    P90,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    P999,
    /// The largest value.
    Max,
}

impl Statistic {
    /// In the order of the API.
    pub const ALL: [Self; 7] = [
        Self::Mean,
        Self::Median,
        Self::P90,
        Self::P95,
        Self::P99,
        Self::P999,
        Self::Max,
    ];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Median => "median",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p99_9",
            Self::Max => "max",
        }
    }
}

/// A figure of a custom metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CustomStatistic {
    /// Mean of the values in the window.
    Mean,
    /// The least one.
    Min,
    /// The largest one.
    Max,
    /// Their sum.
    Sum,
    /// How many there are.
    Count,
    /// The newest one.
    Last,
    /// Sum per second.
    Rate,
}

impl CustomStatistic {
    /// In the order of the API.
    pub const ALL: [Self; 7] = [
        Self::Mean,
        Self::Min,
        Self::Max,
        Self::Sum,
        Self::Count,
        Self::Last,
        Self::Rate,
    ];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Last => "last",
            Self::Rate => "rate",
        }
    }
}

/// What a metric is a figure of: which scopes make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Of requests.
    Requests,
    /// Of the host or of a service.
    Resources,
    /// Of caches.
    Caches,
    /// Of the agent itself.
    Agent,
    /// Of functions.
    Functions,
    /// Of what programs report.
    Custom,
}

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// 0..=1.
    Ratio,
    /// Requests per second.
    RequestsPerSecond,
    /// Per second.
    PerSecond,
    /// A number of things.
    Count,
    /// What the program that reports it means.
    Unknown,
}

impl Unit {
    /// As text; empty where there is none.
    pub fn text(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Ratio => "ratio",
            Self::RequestsPerSecond => "requests/s",
            Self::PerSecond => "per second",
            Self::Count | Self::Unknown => "",
        }
    }
}

/// Metrics whose name has no parts.
const SIMPLE: [(&str, Metric); 9] = [
    ("error_rate", Metric::ErrorRate),
    ("client_error_rate", Metric::ClientErrorRate),
    ("throughput", Metric::Throughput),
    ("concurrency", Metric::Concurrency),
    ("cpu_usage", Metric::CpuUsage),
    ("memory_usage", Metric::MemoryUsage),
    ("cache_hit_rate", Metric::CacheHitRate),
    ("retransmits", Metric::Retransmits),
    ("lost_records", Metric::LostRecords),
];

/// Figures of the times that requests waited for calls.
const SPENT: [Statistic; 3] = [Statistic::Mean, Statistic::P95, Statistic::P99];
/// Figures of round-trip times.
const RTT: [Statistic; 3] = [Statistic::Mean, Statistic::P95, Statistic::P99];
/// Figures of functions' times.
const FUNCTION: [Statistic; 4] = [Statistic::Mean, Statistic::P95, Statistic::P99, Statistic::Max];

impl Metric {
    /// The metric of a name.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("custom:") {
            let by_statistic = CustomStatistic::ALL.into_iter().find_map(|statistic| {
                let name = name.strip_suffix(statistic.name())?.strip_suffix(':')?;
                Some((name, Some(statistic)))
            });
            let (name, statistic) = by_statistic.unwrap_or((name, None));
            let name = named(name)?;
            return Some(Self::Custom { name, statistic });
        }
        if let Some((metric, name)) = text.split_once(':') {
            let statistic = metric.strip_prefix("function_time_")?;
            let statistic = FUNCTION.into_iter().find(|known| known.name() == statistic)?;
            let name = named(name)?;
            return Some(Self::FunctionTime { statistic, name });
        }
        if let Some((_, metric)) = SIMPLE.iter().find(|(name, _)| *name == text) {
            return Some(metric.clone());
        }
        let statistic_of = |name: &str, statistics: &[Statistic]| {
            let statistic = text.strip_prefix(name)?.strip_prefix('_')?;
            statistics.iter().copied().find(|known| known.name() == statistic)
        };
        let time = Stretch::ALL.into_iter().find_map(|stretch| {
            let statistic = statistic_of(stretch.name(), &Statistic::ALL)?;
            Some(Self::Time(stretch, statistic))
        });
        let spent = || {
            Class::ALL.into_iter().find_map(|class| {
                let name = format!("{}_time", class.name());
                let mean = (text == name).then_some(Statistic::Mean);
                Some(Self::Spent(class, mean.or_else(|| statistic_of(&name, &SPENT))?))
            })
        };
        let rtt = || statistic_of("network_rtt", &RTT).map(Self::NetworkRtt);
        time.or_else(spent).or_else(rtt)
    }

    /// Every name, with `NAME` where one is to be put in.
    pub fn names() -> Vec<String> {
        let mut names = Vec::new();
        for stretch in Stretch::ALL {
            names.extend(Statistic::ALL.map(|statistic| Self::Time(stretch, statistic).to_string()));
        }
        names.extend(SIMPLE.iter().map(|(name, _)| (*name).to_owned()));
        for class in Class::ALL {
            names.extend(SPENT.map(|statistic| Self::Spent(class, statistic).to_string()));
        }
        names.extend(RTT.map(|statistic| Self::NetworkRtt(statistic).to_string()));
        names.extend(FUNCTION.map(|statistic| format!("function_time_{}:NAME", statistic.name())));
        names.push("custom:NAME".to_owned());
        names.extend(CustomStatistic::ALL.map(|statistic| format!("custom:NAME:{}", statistic.name())));
        names
    }

    /// The name that was probably meant.
    pub fn nearest(text: &str) -> Option<String> {
        // A name is as long as it is; what stands before it is what may be misspelt.
        let text = text.split_once(':').map_or(text, |(metric, _)| metric);
        let text: String = text.chars().take(64).collect();
        let distance = |name: &String| {
            let name = name.split_once(':').map_or(name.as_str(), |(metric, _)| metric);
            strsim::damerau_levenshtein(&text.to_lowercase(), name)
        };
        let nearest = Self::names().into_iter().min_by_key(distance)?;
        // `p95` or `latency` for `response_time_p95` is no misspelling that a distance would find.
        (distance(&nearest) <= text.len().div_ceil(3)).then_some(nearest)
    }

    /// What it is a figure of.
    pub fn of(&self) -> Of {
        match self {
            Self::Time(..)
            | Self::ErrorRate
            | Self::ClientErrorRate
            | Self::Throughput
            | Self::Concurrency
            | Self::Spent(..)
            | Self::NetworkRtt(_)
            | Self::Retransmits => Of::Requests,
            Self::CpuUsage | Self::MemoryUsage => Of::Resources,
            Self::CacheHitRate => Of::Caches,
            Self::FunctionTime { .. } => Of::Functions,
            Self::Custom { .. } => Of::Custom,
            Self::LostRecords => Of::Agent,
        }
    }

    /// What it is measured in.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Time(..) | Self::Spent(..) | Self::NetworkRtt(_) | Self::FunctionTime { .. } => Unit::Milliseconds,
            Self::ErrorRate | Self::ClientErrorRate | Self::CpuUsage | Self::MemoryUsage | Self::CacheHitRate => {
                Unit::Ratio
            }
            Self::Throughput => Unit::RequestsPerSecond,
            Self::Retransmits => Unit::PerSecond,
            Self::Concurrency | Self::LostRecords => Unit::Count,
            Self::Custom { statistic, .. } => match statistic {
                Some(CustomStatistic::Count) => Unit::Count,
                _ => Unit::Unknown,
            },
        }
    }

    /// Does it have a figure where there is no sample? Then nobody need wait for samples.
    pub fn is_known_without_samples(&self) -> bool {
        matches!(
            self,
            Self::Throughput | Self::Concurrency | Self::CpuUsage | Self::MemoryUsage | Self::LostRecords
        )
    }

    /// As people say it: `mean response time`.
    pub fn words(&self) -> String {
        let of = |statistic: Statistic, what: &str| match statistic {
            Statistic::Max => format!("longest {what}"),
            Statistic::P999 => format!("p99.9 {what}"),
            other => format!("{} {what}", other.name()),
        };
        match self {
            Self::Time(stretch, statistic) => of(
                *statistic,
                match stretch {
                    Stretch::Response => "response time",
                    Stretch::FirstByte => "time to first byte",
                    Stretch::Queue => "queue time",
                    Stretch::Processing => "processing time",
                },
            ),
            Self::Spent(class, statistic) => of(*statistic, &format!("{} time per request", class.name())),
            Self::NetworkRtt(statistic) => of(*statistic, "network round-trip time"),
            Self::FunctionTime { statistic, .. } => of(*statistic, "time"),
            Self::Custom { statistic: None, .. } => "figure".to_owned(),
            Self::Custom {
                statistic: Some(statistic),
                ..
            } => statistic.name().to_owned(),
            Self::ErrorRate => "error rate".to_owned(),
            Self::ClientErrorRate => "client error rate".to_owned(),
            Self::Throughput => "throughput".to_owned(),
            Self::Concurrency => "concurrency".to_owned(),
            Self::CpuUsage => "CPU usage".to_owned(),
            Self::MemoryUsage => "memory usage".to_owned(),
            Self::CacheHitRate => "cache hit rate".to_owned(),
            Self::Retransmits => "rate of retransmits".to_owned(),
            Self::LostRecords => "number of lost records".to_owned(),
        }
    }
}

fn named(name: &str) -> Option<String> {
    let fits = !name.is_empty() && name.len() <= NAME && !name.contains(char::is_control);
    fits.then(|| name.to_owned())
}

/// The name in the API.
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(stretch, statistic) => write!(f, "{}_{}", stretch.name(), statistic.name()),
            Self::Spent(class, Statistic::Mean) => write!(f, "{}_time", class.name()),
            Self::Spent(class, statistic) => write!(f, "{}_time_{}", class.name(), statistic.name()),
            Self::NetworkRtt(statistic) => write!(f, "network_rtt_{}", statistic.name()),
            Self::FunctionTime { statistic, name } => write!(f, "function_time_{}:{name}", statistic.name()),
            Self::Custom { name, statistic: None } => write!(f, "custom:{name}"),
            Self::Custom {
                name,
                statistic: Some(statistic),
            } => write!(f, "custom:{name}:{}", statistic.name()),
            simple => {
                let name = SIMPLE.iter().find(|(_, metric)| metric == simple);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_name_is_that_of_a_metric_and_of_no_other() {
        let names = Metric::names();
        for name in &names {
            let metric = Metric::parse(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(metric.to_string(), *name);
        }
        let different: std::collections::HashSet<_> = names.iter().filter_map(|name| Metric::parse(name)).collect();
        assert_eq!((names.len(), different.len()), (28 + 9 + 9 + 3 + 4 + 8, names.len()));
    }

    #[test]
    fn a_mean_may_be_said_where_it_is_meant_anyway() {
        assert_eq!(Metric::parse("database_time_mean"), Metric::parse("database_time"));
        assert_eq!(
            Metric::parse("external_time_p99"),
            Some(Metric::Spent(Class::External, Statistic::P99))
        );
    }

    #[test]
    fn what_is_no_metric_is_none() {
        for text in [
            "",
            "response_time",
            "response_time_",
            "response_time_p98",
            "Response_time_p95",
            "database_time_p90",
            "network_rtt_max",
            "function_time_p95",
            "function_time_p95:",
            "function_time_p90:f",
            "custom",
            "custom:",
            "custom::sum",
            "error_rate:x",
            "custom:a\nb",
        ] {
            assert_eq!(Metric::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_with_colons_are_names() {
        let custom = |name: &str, statistic| {
            Some(Metric::Custom {
                name: name.to_owned(),
                statistic,
            })
        };
        assert_eq!(Metric::parse("custom:a:b"), custom("a:b", None));
        assert_eq!(
            Metric::parse("custom:a:b:sum"),
            custom("a:b", Some(CustomStatistic::Sum))
        );
        let function = Metric::parse("function_time_p95:ns::Class::method");
        assert!(matches!(function, Some(Metric::FunctionTime { name, .. }) if name == "ns::Class::method"));
    }

    #[test]
    fn a_misspelt_name_finds_the_nearest() {
        for (text, expected) in [
            ("responce_time_p95", Some("response_time_p95")),
            ("Error_Rate", Some("error_rate")),
            ("cpu", None),
            ("function_time_p59:main", Some("function_time_p95:NAME")),
            ("costum:orders", Some("custom:NAME")),
            ("something else entirely", None),
            ("", None),
        ] {
            assert_eq!(Metric::nearest(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_and_read_back(text in "(custom:|function_time_p95:|response_time_|)[a-z_:.*]{0,12}(:sum|:rate|)") {
            if let Some(metric) = Metric::parse(&text) {
                prop_assert_eq!(Metric::parse(&metric.to_string()), Some(metric));
            }
        }
    }
}
