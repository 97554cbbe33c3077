//! Exchanges, per endpoint: the names and labels of OpenTelemetry's semantic conventions as far as they go, with figures of
//! ours beside them.
//!
//! Endpoints are told in families of their sort: HTTP, gRPC, databases and caches, message brokers, name servers, each as
//! server and as client. Distributions are kept per endpoint and not per status, so histograms have no label for it, and a
//! counter tells how many ended with which. SQL statements are told by their summary: those that differ in more are added up.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::buckets::{FINE_NS, ROUGH_NS};
use super::model::{Definition, EXEMPLAR_CHARS, Exemplar, Families, Kind, Labels, REQUEST_ID, Value};
use crate::aggregate::{Distribution, Window, WindowView};
use crate::endpoint::{EndpointKey, Peer};
use crate::exchange::{Class, Outcome, Protocol, Role};
use crate::process::ServiceKey;
use crate::protocol::sql;
use crate::snapshot::{EndpointSnapshot, Snapshot};

/// Endpoints that are told in the same families.
#[derive(Debug)]
struct Sort {
    /// Families of ours begin with it.
    prefix: &'static str,
    what: &'static str,
    /// Name of the durations.
    duration: &'static str,
    /// Name of the counter.
    requests: &'static str,
    /// The counter's label.
    status: &'static str,
    role: Role,
    labels: &'static [&'static str],
}

const HTTP_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "http_request_method",
    "http_route",
    "url_scheme",
    "network_protocol_name",
    "network_protocol_version",
    "server_address",
    "server_port",
];
const RPC_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "rpc_system",
    "rpc_service",
    "rpc_method",
    "server_address",
    "server_port",
];
const DB_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "db_system_name",
    "db_operation_name",
    "db_collection_name",
    "db_query_summary",
    "server_address",
    "server_port",
];
const MESSAGING_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "messaging_system",
    "messaging_operation_name",
    "messaging_destination_name",
    "server_address",
    "server_port",
];
const DNS_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "dns_question_type",
    "dns_question_name",
    "server_address",
    "server_port",
];

/// In pairs: server, client.
static SORTS: [Sort; 10] = [
    Sort {
        prefix: "http_server",
        what: "HTTP requests that a service answered",
        duration: "http_server_request_duration_seconds",
        requests: "http_server_requests",
        status: "http_response_status_code",
        role: Role::Server,
        labels: HTTP_LABELS,
    },
    Sort {
        prefix: "http_client",
        what: "HTTP requests that a service made",
        duration: "http_client_request_duration_seconds",
        requests: "http_client_requests",
        status: "http_response_status_code",
        role: Role::Client,
        labels: HTTP_LABELS,
    },
    Sort {
        prefix: "rpc_server",
        what: "gRPC calls that a service answered",
        duration: "rpc_server_duration_seconds",
        requests: "rpc_server_requests",
        status: "rpc_grpc_status_code",
        role: Role::Server,
        labels: RPC_LABELS,
    },
    Sort {
        prefix: "rpc_client",
        what: "gRPC calls that a service made",
        duration: "rpc_client_duration_seconds",
        requests: "rpc_client_requests",
        status: "rpc_grpc_status_code",
        role: Role::Client,
        labels: RPC_LABELS,
    },
    Sort {
        prefix: "db_server",
        what: "operations that a database or cache answered",
        duration: "db_server_operation_duration_seconds",
        requests: "db_server_operations",
        status: "db_response_status_code",
        role: Role::Server,
        labels: DB_LABELS,
    },
    Sort {
        prefix: "db_client",
        what: "operations that a service asked a database or cache for",
        duration: "db_client_operation_duration_seconds",
        requests: "db_client_operations",
        status: "db_response_status_code",
        role: Role::Client,
        labels: DB_LABELS,
    },
    Sort {
        prefix: "messaging_server",
        what: "requests that a message broker answered",
        duration: "messaging_server_operation_duration_seconds",
        requests: "messaging_server_operations",
        status: "messaging_response_status_code",
        role: Role::Server,
        labels: MESSAGING_LABELS,
    },
    Sort {
        prefix: "messaging_client",
        what: "requests that a service made of a message broker",
        duration: "messaging_client_operation_duration_seconds",
        requests: "messaging_client_operations",
        status: "messaging_response_status_code",
        role: Role::Client,
        labels: MESSAGING_LABELS,
    },
    Sort {
        prefix: "dns_server",
        what: "queries that a name server answered",
        duration: "dns_server_lookup_duration_seconds",
        requests: "dns_server_lookups",
        status: "dns_response_code",
        role: Role::Server,
        labels: DNS_LABELS,
    },
    Sort {
        prefix: "dns_client",
        what: "queries that a service made of a name server",
        duration: "dns_lookup_duration_seconds",
        requests: "dns_client_lookups",
        status: "dns_response_code",
        role: Role::Client,
        labels: DNS_LABELS,
    },
];

/// The families that endpoints of this sort are told in.
fn sort_of(protocol: Protocol, role: Role) -> usize {
    let pair = match protocol {
        Protocol::Http10 | Protocol::Http11 | Protocol::Http2 => 0,
        Protocol::Grpc => 1,
        Protocol::Postgresql | Protocol::Mysql | Protocol::Mongodb | Protocol::Redis | Protocol::Memcached => 2,
        Protocol::Kafka => 3,
        Protocol::Dns => 4,
    };
    2 * pair + usize::from(role == Role::Client)
}

/// What is told of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Duration,
    Requests,
    Outcomes,
    Errors,
    ClientErrors,
    Active,
    FirstByte,
    Queue,
    ReceivedBytes,
    SentBytes,
    SpentSeconds,
    SpentRequests,
    Calls,
    CallsAmbiguous,
    Rows,
    CacheHits,
    CacheMisses,
    StreamsActive,
    StreamsOpened,
    StreamsClosed,
    StreamErrors,
    StreamReceivedBytes,
    StreamSentBytes,
    StreamReceivedMessages,
    StreamSentMessages,
    StreamDuration,
    RoundTrip,
    Connect,
    Retransmits,
    Resets,
}

impl Figure {
    const ALL: [Self; 30] = [
        Self::Duration,
        Self::Requests,
        Self::Outcomes,
        Self::Errors,
        Self::ClientErrors,
        Self::Active,
        Self::FirstByte,
        Self::Queue,
        Self::ReceivedBytes,
        Self::SentBytes,
        Self::SpentSeconds,
        Self::SpentRequests,
        Self::Calls,
        Self::CallsAmbiguous,
        Self::Rows,
        Self::CacheHits,
        Self::CacheMisses,
        Self::StreamsActive,
        Self::StreamsOpened,
        Self::StreamsClosed,
        Self::StreamErrors,
        Self::StreamReceivedBytes,
        Self::StreamSentBytes,
        Self::StreamReceivedMessages,
        Self::StreamSentMessages,
        Self::StreamDuration,
        Self::RoundTrip,
        Self::Connect,
        Self::Retransmits,
        Self::Resets,
    ];

    /// Name behind the prefix, kind, unit and meaning.
    fn told(self) -> (&'static str, Kind, Option<&'static str>, &'static str) {
        use Kind::{Counter, Gauge, Histogram};
        const SECONDS: Option<&str> = Some("seconds");
        const BYTES: Option<&str> = Some("bytes");
        match self {
            Self::Duration => (
                "",
                Histogram,
                SECONDS,
                "First request byte to last response byte, of answered exchanges",
            ),
            Self::Requests => (
                "",
                Counter,
                None,
                "How many ended, however they did; without a status if none was seen",
            ),
            Self::Outcomes => ("outcomes", Counter, None, "How many ended in which way"),
            Self::Errors => (
                "errors",
                Counter,
                None,
                "Of them, errors of the server: an error status, or not answered",
            ),
            Self::ClientErrors => (
                "client_errors",
                Counter,
                None,
                "Of them, errors of the client: a status of 4xx",
            ),
            Self::Active => ("active_requests", Gauge, None, "In flight now"),
            Self::FirstByte => (
                "time_to_first_byte_seconds",
                Histogram,
                SECONDS,
                "First request byte to first response byte",
            ),
            Self::Queue => (
                "queue_time_seconds",
                Histogram,
                SECONDS,
                "From readable in the socket to read by the service",
            ),
            Self::ReceivedBytes => (
                "received_bytes",
                Counter,
                BYTES,
                "Bytes that the service received, heads included",
            ),
            Self::SentBytes => (
                "sent_bytes",
                Counter,
                BYTES,
                "Bytes that the service sent, heads included",
            ),
            Self::SpentSeconds => (
                "spent_seconds",
                Counter,
                SECONDS,
                "Where the time went: the service's own, and waiting for calls to databases, caches and other services",
            ),
            Self::SpentRequests => (
                "spent_requests",
                Counter,
                None,
                "Requests of which it is known where the time went",
            ),
            Self::Calls => ("calls", Counter, None, "Calls that were made for these requests"),
            Self::CallsAmbiguous => (
                "calls_ambiguous",
                Counter,
                None,
                "Calls that may have been made for these requests, or for others at the same time",
            ),
            Self::Rows => (
                "rows",
                Counter,
                None,
                "Rows that were returned or changed, as far as answers tell",
            ),
            Self::CacheHits => ("cache_hits", Counter, None, "Keys or answers that the cache had"),
            Self::CacheMisses => ("cache_misses", Counter, None, "Keys or answers that the cache had not"),
            Self::StreamsActive => ("streams_active", Gauge, None, "Streams that are open now"),
            Self::StreamsOpened => ("streams_opened", Counter, None, "Streams that began"),
            Self::StreamsClosed => ("streams_closed", Counter, None, "Streams that ended"),
            Self::StreamErrors => (
                "stream_errors",
                Counter,
                None,
                "Streams that ended with an error of the server",
            ),
            Self::StreamReceivedBytes => (
                "stream_received_bytes",
                Counter,
                BYTES,
                "Bytes that the service received in streams",
            ),
            Self::StreamSentBytes => (
                "stream_sent_bytes",
                Counter,
                BYTES,
                "Bytes that the service sent in streams",
            ),
            Self::StreamReceivedMessages => (
                "stream_received_messages",
                Counter,
                None,
                "Messages that the service received in streams, if all could be counted",
            ),
            Self::StreamSentMessages => (
                "stream_sent_messages",
                Counter,
                None,
                "Messages that the service sent in streams, if all could be counted",
            ),
            Self::StreamDuration => (
                "stream_duration_seconds",
                Histogram,
                SECONDS,
                "From the response's head to the end, of streams that ended",
            ),
            Self::RoundTrip => (
                "network_round_trip_seconds",
                Histogram,
                SECONDS,
                "Smoothed round-trip times of connections, one of each connection and second",
            ),
            Self::Connect => (
                "network_connect_seconds",
                Histogram,
                SECONDS,
                "How long it took to connect",
            ),
            Self::Retransmits => ("network_retransmits", Counter, None, "Segments that were sent again"),
            Self::Resets => (
                "network_resets",
                Counter,
                None,
                "Connections that ended by an RST or a time-out",
            ),
        }
    }

    /// Is it told of endpoints of this sort?
    fn applies(self, sort: &Sort) -> bool {
        let is = |prefix: &str| sort.prefix.starts_with(prefix);
        match self {
            Self::ClientErrors => is("http"),
            Self::Queue => sort.role == Role::Server,
            Self::SpentSeconds | Self::SpentRequests | Self::Calls | Self::CallsAmbiguous => {
                sort.role == Role::Server && (is("http") || is("rpc"))
            }
            Self::Rows => is("db"),
            Self::CacheHits | Self::CacheMisses => is("db") || is("http"),
            Self::StreamsActive
            | Self::StreamsOpened
            | Self::StreamsClosed
            | Self::StreamErrors
            | Self::StreamReceivedBytes
            | Self::StreamSentBytes
            | Self::StreamReceivedMessages
            | Self::StreamSentMessages
            | Self::StreamDuration => is("http") || is("rpc") || is("db"),
            Self::Connect => sort.role == Role::Client,
            _ => true,
        }
    }

    fn extra(self, sort: &Sort) -> Option<&'static str> {
        match self {
            Self::Requests => Some(sort.status),
            Self::Outcomes => Some("outcome"),
            Self::SpentSeconds | Self::Calls => Some("class"),
            _ => None,
        }
    }

    fn definition(self, sort: &Sort) -> Definition {
        let (suffix, kind, unit, meaning) = self.told();
        let name = match self {
            Self::Duration => Cow::Borrowed(sort.duration),
            Self::Requests => Cow::Borrowed(sort.requests),
            _ => Cow::Owned(format!("{}_{suffix}", sort.prefix)),
        };
        Definition {
            name,
            kind,
            unit: unit.map(Cow::Borrowed),
            help: Cow::Owned(format!("{meaning} ({}).", sort.what)),
            labels: sort.labels,
            extra: self.extra(sort),
        }
    }
}

/// All families of exchanges.
pub(super) fn definitions() -> Vec<Definition> {
    let of = |sort: &'static Sort| {
        Figure::ALL
            .into_iter()
            .filter(|figure| figure.applies(sort))
            .map(|figure| figure.definition(sort))
    };
    SORTS.iter().flat_map(of).collect()
}

/// Fills them.
pub(super) fn add(snapshot: &Snapshot, families: &mut Families) {
    // All families of a sort follow each other.
    let first = families.all.len();
    for sort in &SORTS {
        for figure in Figure::ALL {
            families.family(&figure.definition(sort));
        }
    }
    let mut of_endpoints = HashMap::new();
    for endpoint in &snapshot.endpoints {
        let view = endpoint.window(Window::Start, snapshot.at_ns);
        if view.requests == 0 && view.in_flight == 0 {
            continue;
        }
        let sort = sort_of(endpoint.key.protocol, endpoint.key.role);
        let begin = first + sort * Figure::ALL.len();
        let labels = families.labels(labels(&endpoint.key));
        let mut told = Told {
            families,
            begin,
            labels: &labels,
            sort: &SORTS[sort],
        };
        if let Some(place) = told.tell(endpoint, view) {
            of_endpoints.insert(Arc::clone(&endpoint.id), (begin, place));
        }
    }
    exemplify(snapshot, &of_endpoints, families);
}

/// The families of an endpoint.
struct Told<'a> {
    families: &'a mut Families,
    begin: usize,
    labels: &'a Arc<Labels>,
    sort: &'static Sort,
}

impl Told<'_> {
    fn put(&mut self, figure: Figure, value: impl Into<Value>) -> usize {
        debug_assert!(figure.applies(self.sort), "{figure:?}");
        self.families.all[self.begin + figure as usize].add(self.labels, None, value)
    }

    fn put_by(&mut self, figure: Figure, extra: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.families.all[self.begin + figure as usize].add(self.labels, Some(extra.into()), value);
    }

    /// A counter that most endpoints do not have.
    fn count(&mut self, figure: Figure, count: u64) {
        if count > 0 && figure.applies(self.sort) {
            self.put(figure, count);
        }
    }

    /// Times, if there are any; tells the series.
    fn times(&mut self, figure: Figure, times: Distribution, bounds_ns: &'static [u64]) -> Option<usize> {
        (times.count() > 0 && figure.applies(self.sort)).then(|| self.put(figure, Value::times(times, bounds_ns)))
    }

    /// Everything of an endpoint; tells the series of its durations.
    fn tell(&mut self, endpoint: &EndpointSnapshot, view: WindowView) -> Option<usize> {
        let mut without = view.requests;
        for (status, count) in endpoint.statuses(&view) {
            self.put_by(Figure::Requests, status, count);
            without = without.saturating_sub(count);
        }
        if without > 0 {
            self.put_by(Figure::Requests, "", without);
        }
        for outcome in Outcome::ALL {
            let count = view.outcome(outcome);
            if count > 0 {
                self.put_by(Figure::Outcomes, outcome.name(), count);
            }
        }
        self.put(Figure::Errors, view.errors);
        self.count(Figure::ClientErrors, view.client_errors);
        self.put(Figure::Active, view.in_flight);
        self.put(Figure::ReceivedBytes, view.bytes_received);
        self.put(Figure::SentBytes, view.bytes_sent);
        self.count(Figure::Rows, view.tallies.rows);
        if view.tallies.hits + view.tallies.misses > 0 && Figure::CacheHits.applies(self.sort) {
            self.put(Figure::CacheHits, view.tallies.hits);
            self.put(Figure::CacheMisses, view.tallies.misses);
        }
        if Figure::StreamsActive.applies(self.sort) {
            self.streams(&view);
        }
        if let Some(breakdown) = view.breakdown
            && Figure::SpentSeconds.applies(self.sort)
        {
            let seconds = |times: &Distribution| times.sum_ns() as f64 / 1e9;
            self.put_by(Figure::SpentSeconds, "own", seconds(&breakdown.own));
            for ((class, times), calls) in Class::ALL.iter().zip(&breakdown.classes).zip(breakdown.calls) {
                self.put_by(Figure::SpentSeconds, class.name(), seconds(times));
                self.put_by(Figure::Calls, class.name(), calls);
            }
            self.put(Figure::SpentRequests, breakdown.requests());
            self.count(Figure::CallsAmbiguous, breakdown.ambiguous);
        }
        if let Some(network) = view.network {
            self.times(Figure::RoundTrip, network.rtt, ROUGH_NS);
            self.times(Figure::Connect, network.connect, ROUGH_NS);
            self.put(Figure::Retransmits, network.retransmits);
            self.put(Figure::Resets, network.resets);
        }
        self.times(Figure::FirstByte, view.time_to_first_byte, ROUGH_NS);
        self.times(Figure::Queue, view.queue_time, ROUGH_NS);
        self.times(Figure::Duration, view.response_time, FINE_NS)
    }

    fn streams(&mut self, view: &WindowView) {
        let streams = &view.streams;
        if streams.opened == 0 && streams.closed == 0 && view.streams_open == 0 {
            return;
        }
        self.put(Figure::StreamsActive, view.streams_open);
        self.put(Figure::StreamsOpened, streams.opened);
        self.put(Figure::StreamsClosed, streams.closed);
        self.put(Figure::StreamErrors, streams.errors);
        self.put(Figure::StreamReceivedBytes, streams.bytes_received);
        self.put(Figure::StreamSentBytes, streams.bytes_sent);
        if let Some([received, sent]) = streams.messages() {
            self.put(Figure::StreamReceivedMessages, received);
            self.put(Figure::StreamSentMessages, sent);
        }
        self.times(Figure::StreamDuration, streams.duration.clone(), ROUGH_NS);
    }
}

/// Has the newest answered requests with an id as examples, one of each bucket.
fn exemplify(snapshot: &Snapshot, of_endpoints: &HashMap<Arc<str>, (usize, usize)>, families: &mut Families) {
    for exchange in &snapshot.recent.recent {
        let Some(request_id) = &exchange.request_id else {
            continue;
        };
        // What has no response time is in no bucket, and a part of an id leads nowhere.
        if exchange.outcome != Outcome::Answered
            || exchange.stream.is_some()
            || REQUEST_ID.len() + request_id.chars().count() > EXEMPLAR_CHARS
        {
            continue;
        }
        let Some(&(begin, place)) = of_endpoints.get(&exchange.endpoint) else {
            continue;
        };
        let family = &mut families.all[begin + Figure::Duration as usize];
        if let Value::Histogram(histogram) = &mut family.series[place].value {
            let time_ns = exchange.times.response_time_ns();
            let exemplar = Exemplar {
                request_id: request_id.as_str().into(),
                seconds: time_ns as f64 / 1e9,
                wall_ns: (exchange.ended_wall_ns > 0).then_some(exchange.ended_wall_ns),
            };
            histogram.exemplify(time_ns, exemplar);
        }
    }
}

/// What tells a service: its name, and the first digits of its container's id.
pub(super) fn service(key: &ServiceKey) -> Vec<(&'static str, String)> {
    let container = key.container.as_deref().unwrap_or_default();
    vec![
        ("service_name", key.name.to_string()),
        ("container_id", container.chars().take(12).collect()),
    ]
}

/// Where a peer is.
pub(super) fn address(peer: &Peer) -> [(&'static str, String); 2] {
    let (address, port) = match peer {
        Peer::Name { host, port } => (host.to_string(), (*port != 0).then_some(*port)),
        Peer::Address(address) => (address.ip().to_string(), Some(address.port())),
        Peer::Unix(path) => (path.to_string(), None),
    };
    [
        ("server_address", address),
        ("server_port", port.map(|port| port.to_string()).unwrap_or_default()),
    ]
}

fn labels(key: &EndpointKey) -> Vec<(&'static str, String)> {
    let mut labels = service(&key.service);
    let route = key.operation.route.as_str();
    let (first, second) = route.split_once(' ').unwrap_or((route, ""));
    match key.protocol {
        Protocol::Http10 | Protocol::Http11 | Protocol::Http2 => {
            let version = match key.protocol {
                Protocol::Http10 => "1.0",
                Protocol::Http11 => "1.1",
                _ => "2",
            };
            labels.extend([
                ("http_request_method", key.operation.method.to_string()),
                ("http_route", route.to_owned()),
                ("url_scheme", if key.tls { "https" } else { "http" }.to_owned()),
                ("network_protocol_name", "http".to_owned()),
                ("network_protocol_version", version.to_owned()),
            ]);
        }
        Protocol::Grpc => {
            let name = route.strip_prefix('/').unwrap_or(route);
            let (service, method) = name.rsplit_once('/').unwrap_or(("", name));
            labels.extend([
                ("rpc_system", "grpc".to_owned()),
                ("rpc_service", service.to_owned()),
                ("rpc_method", method.to_owned()),
            ]);
        }
        Protocol::Postgresql | Protocol::Mysql => {
            let summary = sql::summary(route);
            let verb = summary.split([' ', ';']).next().unwrap_or_default().to_owned();
            labels.extend([
                ("db_system_name", key.protocol.name().to_owned()),
                ("db_operation_name", verb),
                ("db_query_summary", summary),
            ]);
        }
        Protocol::Mongodb => labels.extend([
            ("db_system_name", "mongodb".to_owned()),
            ("db_operation_name", first.to_owned()),
            ("db_collection_name", second.to_owned()),
        ]),
        Protocol::Redis | Protocol::Memcached => labels.extend([
            ("db_system_name", key.protocol.name().to_owned()),
            ("db_operation_name", route.to_owned()),
        ]),
        Protocol::Kafka => labels.extend([
            ("messaging_system", "kafka".to_owned()),
            ("messaging_operation_name", first.to_owned()),
            ("messaging_destination_name", second.to_owned()),
        ]),
        Protocol::Dns => labels.extend([
            ("dns_question_type", first.to_owned()),
            ("dns_question_name", second.to_owned()),
        ]),
    }
    match &key.peer {
        Some(peer) => labels.extend(address(peer)),
        None => labels.extend([
            (
                "server_address",
                key.service.socket.as_deref().unwrap_or_default().to_owned(),
            ),
            (
                "server_port",
                key.service.port.map(|port| port.to_string()).unwrap_or_default(),
            ),
        ]),
    }
    labels
}
