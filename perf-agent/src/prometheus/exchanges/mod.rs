//! Exchanges, per endpoint: the names and labels of OpenTelemetry's semantic conventions as far as they go, with figures of
//! ours beside them.
//!
//! Endpoints are told in families of their sort: HTTP, gRPC, databases and caches, message brokers, name servers, each as
//! server and as client. Distributions are kept per endpoint and not per status, so histograms have no label for it, and a
//! counter tells how many ended with which. SQL statements are told by their summary: those that differ in more are added up.

mod figures;
mod sorts;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use self::figures::Figure;
use self::sorts::{SORTS, Sort, labels, sort_of};
pub(super) use self::sorts::{address, service};
use super::buckets::{FINE_NS, ROUGH_NS};
use super::model::{Definition, EXEMPLAR_CHARS, Exemplar, Families, Labels, REQUEST_ID, Value};
use crate::aggregate::{Distribution, WindowView};
use crate::exchange::{Class, Outcome};
use crate::snapshot::{EndpointSnapshot, Snapshot};

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
        // One that is only remembered of earlier runs has no series.
        let Some(view) = endpoint.aggregate.since_agent_start(snapshot.at_ns) else {
            continue;
        };
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
