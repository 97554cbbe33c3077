//! Single exchanges, as the request log keeps them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::stream::StreamName;
use super::{OutcomeName, RoleName, ms, timestamp};
use crate::attribution::Spent;
use crate::exchange::{Class, Outcome};
use crate::request_log::REDACTED;
use crate::snapshot::LoggedExchange;

/// One ended exchange.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Request {
    /// Number of the exchange since the agent's start.
    pub id: u64,
    /// The endpoint it belongs to.
    pub endpoint_id: String,
    /// The observed program's name.
    pub service: String,
    /// The side it was on.
    pub role: RoleName,
    /// Process that moved the request.
    pub pid: u32,
    /// `http/1.1` and the like.
    pub protocol: String,
    /// HTTP method as sent.
    pub method: String,
    /// Path as sent, without query; `[redacted]` stands for segments that look like credentials.
    pub path: String,
    /// What was asked for: method and route; of gRPC the full method.
    pub operation: String,
    /// Path with placeholders; null for gRPC.
    pub route: Option<String>,
    /// Keys of the query, in order.
    pub query_keys: Vec<String>,
    /// The query: values are `[redacted]`, but for those of keys that the operator chose. Of a key that is there more than once,
    /// the first value.
    pub query: BTreeMap<String, String>,
    /// The host that was asked for.
    pub host: Option<String>,
    /// The peer's address and port: in the server role those of the client, or of the proxy before it.
    pub peer: Option<String>,
    /// Server role: the client's address; behind trusted proxies as these say it. Null if it cannot be relied on.
    pub client_address: Option<String>,
    /// The request's own id, from `X-Request-Id` or `X-Correlation-Id`; else its trace's.
    pub request_id: Option<String>,
    /// The id of the trace that it belongs to, from `traceparent`.
    pub trace_id: Option<String>,
    /// The user's id, from the header that the operator named.
    pub user_id: Option<String>,
    /// Header fields that the operator chose, as `http.request.header.<name>`; `[redacted]` where the value looks like a
    /// credential.
    pub attributes: BTreeMap<String, String>,
    /// Status as sent, of gRPC its own code; null if none was seen.
    pub status: Option<u16>,
    /// The error code that a database or cache answered with.
    pub error: Option<String>,
    /// How it ended.
    pub outcome: OutcomeName,
    /// When it ended; null if that was before the agent knew the time.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// What it went on as behind its response's head, where it ended; see `/api/v1/streams`.
    pub stream: Option<StreamName>,
    /// First request byte to last response byte; null unless it was answered, and for one that went on as a stream.
    pub response_time_ms: Option<f64>,
    /// First request byte to its end, however it ended.
    pub duration_ms: f64,
    /// First request byte to first response byte.
    pub time_to_first_byte_ms: Option<f64>,
    /// First request byte readable in the socket to first request byte read.
    pub queue_time_ms: Option<f64>,
    /// Last request byte to first response byte.
    pub processing_ms: Option<f64>,
    /// First response byte to last response byte.
    pub transfer_ms: Option<f64>,
    /// Where its time went; null in the client role, unless it was answered, and if its process was not seen to call another.
    pub breakdown: Option<RequestBreakdown>,
    /// Bytes of the request, head included.
    pub request_bytes: u64,
    /// Bytes of the response, head included.
    pub response_bytes: u64,
}

impl From<&LoggedExchange> for Request {
    fn from(exchange: &LoggedExchange) -> Self {
        let (key, times) = (&exchange.key, &exchange.times);
        let answered = exchange.outcome == Outcome::Answered && exchange.stream.is_none();
        let transfer = times
            .response_first_ns
            .map(|first| times.response_last_ns.saturating_sub(first));
        Self {
            id: exchange.id,
            endpoint_id: exchange.endpoint.to_string(),
            service: key.service.name.to_string(),
            role: key.role.into(),
            pid: exchange.tgid,
            protocol: key.protocol.name().to_owned(),
            method: exchange.method.clone(),
            path: exchange.path.clone(),
            operation: key.operation.to_string(),
            route: key.protocol.has_routes().then(|| key.operation.route.to_string()),
            query_keys: exchange.query.iter().map(|(key, _)| key.clone()).collect(),
            query: query(exchange),
            host: exchange.host.clone(),
            peer: exchange.peer.map(|peer| peer.to_string()),
            client_address: exchange.client.map(|client| client.to_string()),
            request_id: exchange.request_id.clone(),
            trace_id: exchange.trace_id.clone(),
            user_id: exchange.user_id.clone(),
            attributes: exchange.attributes.iter().cloned().collect(),
            status: exchange.status,
            error: exchange.error.map(|error| error.as_str().to_owned()),
            outcome: exchange.outcome.into(),
            ended_at: (exchange.ended_wall_ns != 0).then(|| timestamp(exchange.ended_wall_ns)),
            stream: exchange.stream.map(StreamName::from),
            response_time_ms: answered.then(|| ms(&times.response_time_ns())),
            duration_ms: ms(&times.response_time_ns()),
            time_to_first_byte_ms: times.time_to_first_byte_ns().as_ref().map(ms),
            queue_time_ms: times.queue_time_ns().as_ref().map(ms),
            processing_ms: times.processing_ns().as_ref().map(ms),
            transfer_ms: transfer.filter(|_| answered).as_ref().map(ms),
            breakdown: exchange.spent.as_ref().map(RequestBreakdown::from),
            request_bytes: exchange.request_bytes,
            response_bytes: exchange.response_bytes,
        }
    }
}

fn query(exchange: &LoggedExchange) -> BTreeMap<String, String> {
    let mut query = BTreeMap::new();
    for (key, value) in &exchange.query {
        let shown = || value.as_deref().unwrap_or(REDACTED).to_owned();
        query.entry(key.clone()).or_insert_with(shown);
    }
    query
}

/// Where the time of one request went: the parts together are its response time.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct RequestBreakdown {
    /// In the service itself: it waited for no call.
    pub own_ms: f64,
    /// In databases.
    pub database_ms: f64,
    /// In caches.
    pub cache_ms: f64,
    /// In other services.
    pub external_ms: f64,
    /// Calls to databases.
    pub database_calls: u32,
    /// Calls to caches.
    pub cache_calls: u32,
    /// Calls to other services.
    pub external_calls: u32,
    /// Calls that may have been its own, or another request's.
    pub ambiguous_calls: u32,
}

impl From<&Spent> for RequestBreakdown {
    fn from(spent: &Spent) -> Self {
        let time = |class: Class| ms(&spent.class_ns[class as usize]);
        let calls = |class: Class| spent.calls[class as usize];
        Self {
            own_ms: ms(&spent.own_ns),
            database_ms: time(Class::Database),
            cache_ms: time(Class::Cache),
            external_ms: time(Class::External),
            database_calls: calls(Class::Database),
            cache_calls: calls(Class::Cache),
            external_calls: calls(Class::External),
            ambiguous_calls: spent.ambiguous,
        }
    }
}

/// Recent and slow exchanges.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Requests {
    /// The newest, newest first.
    pub requests: Vec<Request>,
    /// The slowest of the last hour, slowest first.
    pub slowest: Vec<Request>,
}
