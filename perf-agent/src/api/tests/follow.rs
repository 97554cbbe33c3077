//! The stream of events, as a client reads it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{Served, served};
use crate::api::Published;
use crate::snapshot::Traced;
use crate::synthetic::Traffic;

/// A client that follows.
struct Client(Body, String);

impl Client {
    async fn of(served: &Served, path: &str) -> Self {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = served.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response.into_body(), String::new())
    }

    /// Name and data of the next event.
    async fn next(&mut self) -> (String, Value) {
        let event = loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let event = event.to_owned();
                self.1 = rest.to_owned();
                break event;
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.0.frame());
            let frame = frame
                .await
                .expect("an event comes")
                .expect("the stream goes on")
                .unwrap();
            self.1 += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        };
        let field = |name: &str| {
            let line = event.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        (field("event:"), serde_json::from_str(&field("data:")).unwrap())
    }
}

fn exchanges(served: &Served) -> Arc<[Traced]> {
    let snapshot = Arc::clone(&served.published.borrow().snapshot);
    let logged = snapshot.recent.recent.iter();
    logged.map(|exchange| Traced::Exchange((**exchange).clone())).collect()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(test);
}

#[test]
fn exchanges_come_as_they_end_and_filters_hold() {
    run(async {
        let served = served(&Traffic::example(), true);
        let all = exchanges(&served);
        let failed = all.iter().find_map(|traced| match traced {
            Traced::Exchange(exchange) if exchange.status.is_some_and(|status| status >= 500) => Some(exchange.clone()),
            _ => None,
        });
        let failed = failed.expect("the example has a failure");
        let mut everything = Client::of(&served, "/api/v1/stream?events=exchange").await;
        let mut failures = Client::of(&served, "/api/v1/stream?events=exchange&status=5xx").await;
        served.followed.send(Arc::clone(&all)).unwrap();
        for traced in all.iter() {
            let Traced::Exchange(exchange) = traced else { continue };
            let (name, data) = everything.next().await;
            assert_eq!((name.as_str(), &data["id"]), ("exchange", &exchange.id.into()));
            assert_eq!(data["path"], exchange.path);
        }
        let (_, data) = failures.next().await;
        assert_eq!(data["id"], failed.id);
    });
}

#[test]
fn who_is_too_slow_is_told_how_much_was_missed() {
    run(async {
        let served = served(&Traffic::example(), true);
        let mut client = Client::of(&served, "/api/v1/stream?events=exchange").await;
        // The ring of this test holds two.
        for _ in 0..5 {
            served.followed.send(exchanges(&served)).unwrap();
        }
        assert_eq!(
            client.next().await,
            ("missed".to_owned(), serde_json::json!({"batches": 3}))
        );
        assert_eq!(client.next().await.0, "exchange");
    });
}

#[test]
fn each_second_is_told_from_the_second_one_on() {
    run(async {
        let served = served(&Traffic::default(), true);
        let mut client = Client::of(&served, "/api/v1/stream?events=second").await;
        let example = super::served(&Traffic::example(), true);
        let later: Published = example.published.borrow().clone();
        let view = later
            .snapshot
            .total
            .window(crate::aggregate::Window::Start, later.snapshot.at_ns);
        let next = client.next();
        tokio::pin!(next);
        served.published.send_modify(|_same| {});
        assert!(
            futures_util::FutureExt::now_or_never(next.as_mut()).is_none(),
            "nothing to compare with yet"
        );
        served.published.send_replace(later);
        let (name, data) = next.await;
        assert_eq!(name, "second");
        assert_eq!(
            (&data["requests"], &data["errors"]),
            (&view.requests.into(), &view.errors.into())
        );
        assert!(data["response_time_ms_mean"].as_f64().is_some_and(|mean| mean > 0.0));
    });
}

#[test]
fn only_so_many_may_follow_and_a_place_is_free_again_when_one_leaves() {
    run(async {
        let served = served(&Traffic::default(), true);
        let first = Client::of(&served, "/api/v1/stream").await;
        let _second = Client::of(&served, "/api/v1/stream").await;
        let request = || Request::get("/api/v1/stream").body(Body::empty()).unwrap();
        let third = served.router.clone().oneshot(request()).await.unwrap();
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        let third = served.router.clone().oneshot(request()).await.unwrap();
        assert_eq!(third.status(), StatusCode::OK);
    });
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let served = served(&Traffic::default(), true);
    served.refuses(
        "/api/v1/stream?events=exchange,tea",
        400,
        "parameter events is \"exchange,tea\": expected some of alert, exchange, stream, second, with commas",
    );
}
