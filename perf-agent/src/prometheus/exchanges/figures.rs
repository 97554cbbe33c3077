//! What is told of an endpoint, whatever its sort.

use std::borrow::Cow;

use super::sorts::Sort;
use crate::exchange::Role;
use crate::prometheus::model::{Definition, Kind};

/// What is told of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
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
    /// All of them, as declared.
    pub(super) const ALL: [Self; 30] = [
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

    /// Is it told of endpoints of this sort?
    pub(super) fn applies(self, sort: &Sort) -> bool {
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

    /// The family of endpoints of this sort.
    pub(super) fn definition(self, sort: &Sort) -> Definition {
        let Told(suffix, kind, unit, meaning) = TOLD[self as usize];
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

/// Name behind the prefix, kind, unit and meaning.
struct Told(&'static str, Kind, Option<&'static str>, &'static str);

/// Every figure: its name behind the prefix, kind, unit and meaning; in the order in which they are declared.
static TOLD: [Told; 30] = [
    Told(
        "",
        Kind::Histogram,
        Some("seconds"),
        "First request byte to last response byte, of answered exchanges",
    ),
    Told(
        "",
        Kind::Counter,
        None,
        "How many ended, however they did; without a status if none was seen",
    ),
    Told("outcomes", Kind::Counter, None, "How many ended in which way"),
    Told(
        "errors",
        Kind::Counter,
        None,
        "Of them, errors of the server: an error status, or not answered",
    ),
    Told(
        "client_errors",
        Kind::Counter,
        None,
        "Of them, errors of the client: a status of 4xx",
    ),
    Told("active_requests", Kind::Gauge, None, "In flight now"),
    Told(
        "time_to_first_byte_seconds",
        Kind::Histogram,
        Some("seconds"),
        "First request byte to first response byte",
    ),
    Told(
        "queue_time_seconds",
        Kind::Histogram,
        Some("seconds"),
        "From readable in the socket to read by the service",
    ),
    Told(
        "received_bytes",
        Kind::Counter,
        Some("bytes"),
        "Bytes that the service received, heads included",
    ),
    Told(
        "sent_bytes",
        Kind::Counter,
        Some("bytes"),
        "Bytes that the service sent, heads included",
    ),
    Told(
        "spent_seconds",
        Kind::Counter,
        Some("seconds"),
        "Where the time went: the service's own, and waiting for calls to databases, caches and other services",
    ),
    Told(
        "spent_requests",
        Kind::Counter,
        None,
        "Requests of which it is known where the time went",
    ),
    Told("calls", Kind::Counter, None, "Calls that were made for these requests"),
    Told(
        "calls_ambiguous",
        Kind::Counter,
        None,
        "Calls that may have been made for these requests, or for others at the same time",
    ),
    Told(
        "rows",
        Kind::Counter,
        None,
        "Rows that were returned or changed, as far as answers tell",
    ),
    Told("cache_hits", Kind::Counter, None, "Keys or answers that the cache had"),
    Told(
        "cache_misses",
        Kind::Counter,
        None,
        "Keys or answers that the cache had not",
    ),
    Told("streams_active", Kind::Gauge, None, "Streams that are open now"),
    Told("streams_opened", Kind::Counter, None, "Streams that began"),
    Told("streams_closed", Kind::Counter, None, "Streams that ended"),
    Told(
        "stream_errors",
        Kind::Counter,
        None,
        "Streams that ended with an error of the server",
    ),
    Told(
        "stream_received_bytes",
        Kind::Counter,
        Some("bytes"),
        "Bytes that the service received in streams",
    ),
    Told(
        "stream_sent_bytes",
        Kind::Counter,
        Some("bytes"),
        "Bytes that the service sent in streams",
    ),
    Told(
        "stream_received_messages",
        Kind::Counter,
        None,
        "Messages that the service received in streams, if all could be counted",
    ),
    Told(
        "stream_sent_messages",
        Kind::Counter,
        None,
        "Messages that the service sent in streams, if all could be counted",
    ),
    Told(
        "stream_duration_seconds",
        Kind::Histogram,
        Some("seconds"),
        "From the response's head to the end, of streams that ended",
    ),
    Told(
        "network_round_trip_seconds",
        Kind::Histogram,
        Some("seconds"),
        "Smoothed round-trip times of connections, one of each connection and second",
    ),
    Told(
        "network_connect_seconds",
        Kind::Histogram,
        Some("seconds"),
        "How long it took to connect",
    ),
    Told(
        "network_retransmits",
        Kind::Counter,
        None,
        "Segments that were sent again",
    ),
    Told(
        "network_resets",
        Kind::Counter,
        None,
        "Connections that ended by an RST or a time-out",
    ),
];
