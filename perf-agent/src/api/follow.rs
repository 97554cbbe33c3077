//! What happens, as it happens: server-sent events.
//!
//! Who cannot keep up misses exchanges and is told how many batches of them; nobody else is held up by it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use utoipa::ToSchema;

use super::json::alert::Alert;
use super::json::request::Request;
use super::json::stream::Stream as EndedStream;
use super::json::{rounded, timestamp};
use super::problem::Problem;
use super::query::Parameters;
use super::{Api, Batch, Decided, Published};
use crate::aggregate::Window;
use crate::alert::State as AlertState;
use crate::snapshot::{LoggedExchange, Traced};

/// A line goes out at least so often, so that both ends notice when the other one is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What may be followed.
const KINDS: [(&str, Kind); 4] = [
    ("alert", Kind::Alert),
    ("exchange", Kind::Exchange),
    ("stream", Kind::Stream),
    ("second", Kind::Second),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Alert,
    Exchange,
    Stream,
    Second,
}

/// The last second, over the server role of the observed services.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Second {
    /// When it was over; null before the agent knew the time.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// Exchanges that ended in it.
    requests: u64,
    /// Of them, errors.
    errors: u64,
    /// Of them, the clients' errors.
    client_errors: u64,
    /// Mean response time of those that were answered in it; null if there were none.
    response_time_ms_mean: Option<f64>,
    /// Exchanges in flight now.
    in_flight: u32,
}

/// An event, as server-sent events have it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct StreamEvent {
    /// `alert`, `exchange`, `stream`, `second` or `missed`.
    event: String,
    /// JSON.
    data: String,
}

/// Batches of exchanges that were missed, since the client was too slow for them.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Missed {
    /// How many.
    batches: u64,
}

/// Exchanges, ended streams, alerts and one-second totals as they come, as server-sent events: `event: exchange` with the
/// fields of `/api/v1/requests`, `event: stream` with those of `/api/v1/streams`, `event: alert` with those of
/// `/api/v1/alerts` when one begins, fires or is resolved, `event: second`, and `event: missed` where the client was too slow.
#[utoipa::path(get, path = "/api/v1/stream",
    params(
        ("events" = Option<String>, Query, description = "Only these, with commas: alert, exchange, stream, second; all by default"),
        ("slower_than_ms" = Option<f64>, Query, description = "Only exchanges that took longer"),
        ("status" = Option<String>, Query, description = "Only exchanges with this status, such as 404, class, such as 4xx, or gRPC code, such as 14",
            pattern = "^([1-5]xx|[0-9]|1[0-6]|[1-5][0-9][0-9])$"),
        ("endpoint" = Option<String>, Query, description = "Only exchanges and streams of this endpoint's id, or * for all (the default)"),
    ),
    responses(
        (status = 200, body = StreamEvent, content_type = "text/event-stream"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let parameters = Parameters::parse(query.as_deref(), &["events", "slower_than_ms", "status", "endpoint"])?;
    let filter = Filter {
        kinds: kinds(&parameters)?,
        slower_ns: parameters.milliseconds("slower_than_ms")?,
        statuses: parameters.status("status")?,
        endpoint: parameters.text("endpoint").filter(|id| *id != "*").map(str::to_owned),
    };
    let place = Arc::clone(&api.followers).try_acquire_owned().map_err(|_full| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many clients as may follow at once do; try again later",
        )
    })?;
    let wants_exchanges = filter.wants(Kind::Exchange) || filter.wants(Kind::Stream);
    let follower = Follower {
        exchanges: wants_exchanges.then(|| api.followed.subscribe()),
        published: api.published.clone(),
        decided: api.decided.clone(),
        alerts: alerts(&api.decided()),
        before: None,
        waiting: VecDeque::new(),
        filter,
        _place: place,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn kinds(parameters: &Parameters) -> Result<Vec<Kind>, Problem> {
    let Some(text) = parameters.text("events") else {
        return Ok(KINDS.map(|(_, kind)| kind).to_vec());
    };
    let kind = |word: &str| {
        let found = KINDS.iter().find(|(name, _)| *name == word);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let words = KINDS.map(|(name, _)| name).join(", ");
            Problem::parameter(format!(
                "parameter events is {text:?}: expected some of {words}, with commas"
            ))
        })
    };
    text.split(',').map(kind).collect()
}

/// Alerts that are not over.
fn alerts(decided: &Decided) -> HashMap<String, AlertState> {
    let alerts = decided
        .alerts
        .iter()
        .filter(|alert| alert.state != AlertState::Resolved);
    alerts.map(|alert| (alert.id.clone(), alert.state)).collect()
}

/// What one client wants to see.
struct Filter {
    kinds: Vec<Kind>,
    slower_ns: Option<u64>,
    statuses: Option<RangeInclusive<u16>>,
    endpoint: Option<String>,
}

impl Filter {
    fn wants(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    fn passes(&self, exchange: &LoggedExchange) -> bool {
        self.is_of(&exchange.endpoint)
            && self
                .slower_ns
                .is_none_or(|slower| exchange.times.response_time_ns() > slower)
            && self
                .statuses
                .as_ref()
                .is_none_or(|wanted| exchange.status.is_some_and(|status| wanted.contains(&status)))
    }

    fn is_of(&self, endpoint: &str) -> bool {
        self.endpoint.as_deref().is_none_or(|wanted| wanted == endpoint)
    }

    fn is_about(&self, alert: &crate::alert::Alert) -> bool {
        let endpoint = alert.subject.endpoint.as_deref();
        self.endpoint.is_none() || self.endpoint.as_deref() == endpoint
    }

    fn event(&self, traced: &Traced) -> Option<Event> {
        match traced {
            Traced::Exchange(exchange) if self.wants(Kind::Exchange) && self.passes(exchange) => {
                Some(event("exchange", &Request::from(exchange)))
            }
            Traced::Stream(stream) if self.wants(Kind::Stream) && self.is_of(&stream.endpoint) => {
                Some(event("stream", &EndedStream::of(stream, None)))
            }
            _ => None,
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    event
        .json_data(data)
        .unwrap_or_else(|_not_json| Event::default().event(name))
}

/// One client.
struct Follower {
    filter: Filter,
    exchanges: Option<broadcast::Receiver<Batch>>,
    published: watch::Receiver<Published>,
    decided: watch::Receiver<Decided>,
    /// Alerts that are not over, as they were told last.
    alerts: HashMap<String, AlertState>,
    /// What was counted when the second before was over.
    before: Option<Counted>,
    waiting: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

/// Sums since observation began.
#[derive(Clone, Copy)]
struct Counted {
    requests: u64,
    errors: u64,
    client_errors: u64,
    answered: u64,
    time_ns: u128,
}

impl Follower {
    /// The next event; `None` when the agent has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let exchanges = async {
                match &mut self.exchanges {
                    Some(exchanges) => exchanges.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                batch = exchanges => match batch {
                    Ok(batch) => self.waiting.extend(batch.iter().filter_map(|traced| self.filter.event(traced))),
                    Err(RecvError::Lagged(batches)) => return Some(event("missed", &Missed { batches })),
                    Err(RecvError::Closed) => return None,
                },
                changed = self.decided.changed(), if self.filter.wants(Kind::Alert) => {
                    changed.ok()?;
                    self.alerts();
                }
                changed = self.published.changed() => {
                    changed.ok()?;
                    if let Some(second) = self.second() {
                        return Some(event("second", &second));
                    }
                }
            }
        }
    }

    /// Alerts that stand elsewhere than they did.
    fn alerts(&mut self) {
        let decided = self.decided.borrow_and_update().clone();
        let now = alerts(&decided);
        for alert in decided.alerts.iter() {
            let before = self.alerts.get(&alert.id).copied();
            let is_new = match alert.state {
                AlertState::Pending | AlertState::Firing => before != Some(alert.state),
                // It stood as one of those that are not over.
                AlertState::Resolved => before.is_some() && !now.contains_key(&alert.id),
            };
            if is_new && self.filter.is_about(alert) {
                self.waiting.push_back(event("alert", &Alert::from(alert)));
            }
            if alert.state == AlertState::Resolved {
                self.alerts.remove(&alert.id);
            }
        }
        self.alerts = now;
    }

    /// The second that is over, unless it is the first one seen.
    fn second(&mut self) -> Option<Second> {
        if !self.filter.wants(Kind::Second) {
            return None;
        }
        let snapshot = Arc::clone(&self.published.borrow_and_update().snapshot);
        let view = snapshot.total.window(Window::Start, snapshot.at_ns);
        let now = Counted {
            requests: view.requests,
            errors: view.errors,
            client_errors: view.client_errors,
            answered: view.response_time.count(),
            time_ns: view.response_time.sum_ns(),
        };
        let before = self.before.replace(now)?;
        let answered = now.answered.saturating_sub(before.answered);
        let time_ns = now.time_ns.saturating_sub(before.time_ns);
        Some(Second {
            at: (snapshot.wall_ns != 0).then(|| timestamp(snapshot.wall_ns)),
            requests: now.requests.saturating_sub(before.requests),
            errors: now.errors.saturating_sub(before.errors),
            client_errors: now.client_errors.saturating_sub(before.client_errors),
            response_time_ms_mean: (answered > 0).then(|| rounded(time_ns as f64 / answered as f64 / 1e6)),
            in_flight: view.in_flight,
        })
    }
}
