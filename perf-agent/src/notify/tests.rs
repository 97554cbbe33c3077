use std::path::Path;

use tokio::net::TcpListener;

use super::alertmanager::Alertmanager;
use super::command::Command;
use super::receiver::Way;
use super::slack::Slack;
use super::testing::{Reply, Web, until};
use super::webhook::Webhook;
use super::*;

fn http(url: &str, deadline: Duration) -> http::Settings {
    http::Settings {
        url: Some(url.into()),
        deadline,
        ..http::Settings::default()
    }
}

fn webhook(name: &str, url: &str) -> Receiver {
    let settings = http(url, Duration::from_secs(5));
    Receiver::new(name, Way::Webhook(Webhook::new(&settings).unwrap())).unwrap()
}

/// Everything a hundred times faster.
const QUICK: Policy = Policy {
    first_pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(100),
    give_up_after: Duration::from_hours(24),
    again: Duration::from_millis(50),
    grace: Duration::from_secs(3),
};

fn memory() -> Outbox {
    Outbox::open(None, Clock::default())
}

fn start(receivers: Vec<Receiver>) -> Notifier {
    Notifier::start(receivers, memory(), sample::origin(), QUICK).unwrap()
}

fn now(receiver: &str, group: &str, n: u64) -> Notification {
    Notification {
        wall_ns: crate::clock::wall_ns(),
        ..sample::firing(receiver, group, n)
    }
}

#[track_caller]
fn state_of(notifier: &Notifier, name: &str) -> ReceiverState {
    let state = notifier.state();
    state
        .receivers
        .into_iter()
        .find(|one| one.name == name)
        .expect("there is such a receiver")
}

async fn wait_for(notifier: &Notifier, name: &str, is_so: impl Fn(&ReceiverState) -> bool) -> ReceiverState {
    until(|| Some(state_of(notifier, name)).filter(&is_so)).await
}

/// An address where nobody listens.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

#[tokio::test]
async fn notifications_arrive_in_order_and_are_counted() {
    let web = Web::start([Reply::ok()]).await;
    let notifier = start(vec![webhook("team", &web.url())]);
    for n in 0..20 {
        notifier.send(now("team", &n.to_string(), n));
    }
    notifier.send(now("nobody", "x", 1));
    let groups: Vec<_> = web
        .heard(20)
        .await
        .iter()
        .map(|request| request.json()["group"].clone())
        .collect();
    assert_eq!(groups, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    let state = wait_for(&notifier, "team", |state| state.delivered == 20).await;
    assert_eq!(
        (state.waiting, state.failed, state.given_up, state.kind),
        (0, 0, 0, "webhook")
    );
    assert!(state.last_delivered_wall_ns.is_some() && state.last_error.is_none());
    assert_eq!(notifier.state().unroutable, 1);
    assert_eq!(
        notifier.state().degraded.as_deref(),
        Some("no directory for it: notifications wait in memory only")
    );
}

#[tokio::test]
async fn what_fails_is_tried_again_until_it_arrives() {
    let fails = Reply::status("500 Internal Server Error", "", "oh no");
    let web = Web::start([fails.clone(), Reply::Close, fails, Reply::ok()]).await;
    let notifier = start(vec![webhook("team", &web.url())]);
    notifier.send(now("team", "shop", 1));
    let state = wait_for(&notifier, "team", |state| state.delivered == 1).await;
    assert_eq!((state.failed, state.given_up, state.waiting), (3, 0, 0));
    assert_eq!(state.next_attempt_wall_ns, None);
    let error = state.last_error.unwrap();
    let expected = format!(
        "http://127.0.0.1:{}/… answered 500 Internal Server Error: oh no",
        web.port
    );
    assert_eq!(error.text, expected);
    assert_eq!(web.requests().len(), 4);
}

#[tokio::test]
async fn a_refusal_is_given_up_and_the_next_is_told() {
    let web = Web::start([Reply::status("400 Bad Request", "", "what?"), Reply::ok()]).await;
    let notifier = start(vec![webhook("team", &web.url())]);
    notifier.send(now("team", "a", 1));
    notifier.send(now("team", "b", 1));
    let state = wait_for(&notifier, "team", |state| state.delivered == 1).await;
    assert_eq!((state.failed, state.given_up, state.waiting), (1, 1, 0));
    assert_eq!(web.requests()[1].json()["group"], "b");
}

#[tokio::test]
async fn a_receiver_that_asks_for_patience_gets_it() {
    let busy = Reply::status("429 Too Many Requests", "retry-after: 1\r\n", "");
    let web = Web::start([busy, Reply::ok()]).await;
    let notifier = start(vec![webhook("team", &web.url())]);
    let sent_ns = crate::clock::monotonic_ns();
    notifier.send(now("team", "a", 1));
    let state = wait_for(&notifier, "team", |state| state.failed == 1).await;
    assert!(state.next_attempt_wall_ns.is_some());
    web.heard(2).await;
    assert!(
        crate::clock::monotonic_ns() - sent_ns >= 1_000_000_000,
        "it came back too early"
    );
    wait_for(&notifier, "team", |state| state.delivered == 1).await;
}

#[tokio::test]
async fn what_has_waited_too_long_is_given_up() {
    let policy = Policy {
        give_up_after: Duration::from_millis(150),
        ..QUICK
    };
    let receivers = vec![webhook("team", &dead().await)];
    let notifier = Notifier::start(receivers, memory(), sample::origin(), policy).unwrap();
    for n in 0..10 {
        notifier.send(now("team", &n.to_string(), n));
    }
    let state = wait_for(&notifier, "team", |state| state.given_up == 10).await;
    assert_eq!((state.waiting, state.delivered), (0, 0));
    assert!(state.failed >= 1);
}

#[tokio::test]
async fn a_slow_receiver_delays_neither_the_others_nor_the_caller() {
    let (slow, quick) = (Web::start([Reply::Never]).await, Web::start([Reply::ok()]).await);
    let notifier = start(vec![webhook("slow", &slow.url()), webhook("quick", &quick.url())]);
    for n in 0..50 {
        notifier.send(now("slow", &n.to_string(), n));
        notifier.send(now("quick", &n.to_string(), n));
    }
    wait_for(&notifier, "quick", |state| state.delivered == 50).await;
    let state = state_of(&notifier, "slow");
    assert_eq!((state.delivered, state.waiting), (0, 50));
}

#[tokio::test]
async fn a_thousand_for_a_dead_receiver_stay_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let outbox = Outbox::open(Some(&path), Clock::default());
    let notifier = Notifier::start(vec![webhook("dead", &dead().await)], outbox, sample::origin(), QUICK).unwrap();
    for n in 0..1_500 {
        let mut told = now("dead", &n.to_string(), n);
        // A tenth of the groups is told ten times.
        if n % 2 == 0 {
            told.group = (n % 20).to_string();
        }
        notifier.send(told);
    }
    assert!(notifier.flush().await);
    let state = state_of(&notifier, "dead");
    assert!(state.waiting <= outbox::WAITING, "{state:?}");
    assert_eq!(
        state.waiting as u64 + state.superseded + state.dropped,
        1_500,
        "{state:?}"
    );
    assert!(state.superseded > 700, "{state:?}");
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes < 16 * 1024 * 1024, "{bytes}");
}

#[tokio::test]
async fn a_restart_delivers_what_waited() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let open = |path: &Path| Outbox::open(Some(path), Clock::default());
    let url = dead().await;
    let notifier = Notifier::start(vec![webhook("team", &url)], open(&path), sample::origin(), QUICK).unwrap();
    notifier.send(now("team", "a", 1));
    notifier.send(now("team", "b", 2));
    wait_for(&notifier, "team", |state| state.failed > 0).await;
    notifier.stop().await;

    let web = Web::start([Reply::ok()]).await;
    let notifier = Notifier::start(vec![webhook("team", &web.url())], open(&path), sample::origin(), QUICK).unwrap();
    let heard = web.heard(2).await;
    let groups: Vec<_> = heard.iter().map(|request| request.json()["group"].clone()).collect();
    assert_eq!(groups, ["a", "b"]);
    wait_for(&notifier, "team", |state| state.delivered == 2).await;
    notifier.stop().await;
    let left = open(&path);
    left.set_receivers(&[("team", outbox::Bounds::LISTED)]);
    assert_eq!(left.counts("team").waiting, 0);
}

#[tokio::test]
async fn stopping_delivers_what_was_just_sent() {
    let web = Web::start([Reply::ok()]).await;
    let notifier = start(vec![webhook("team", &web.url())]);
    for n in 0..5 {
        notifier.send(now("team", &n.to_string(), n));
    }
    notifier.stop().await;
    assert_eq!(web.requests().len(), 5);
}

#[tokio::test]
async fn stopping_does_not_wait_for_what_hangs() {
    let policy = Policy {
        grace: Duration::from_millis(200),
        ..QUICK
    };
    let web = Web::start([Reply::Never]).await;
    let notifier = Notifier::start(vec![webhook("team", &web.url())], memory(), sample::origin(), policy).unwrap();
    notifier.send(now("team", "a", 1));
    web.heard(1).await;
    let started_ns = crate::clock::monotonic_ns();
    notifier.stop().await;
    assert!(crate::clock::monotonic_ns() - started_ns < 3_000_000_000);
}

#[tokio::test]
async fn new_settings_are_tried_at_once_and_keep_what_waits() {
    let policy = Policy {
        first_pause: Duration::from_hours(1),
        longest_pause: Duration::from_hours(1),
        ..QUICK
    };
    let receivers = vec![webhook("team", &dead().await), webhook("old", &dead().await)];
    let notifier = Notifier::start(receivers, memory(), sample::origin(), policy).unwrap();
    notifier.send(now("team", "a", 1));
    notifier.send(now("old", "a", 1));
    wait_for(&notifier, "team", |state| state.failed == 1).await;
    let web = Web::start([Reply::ok()]).await;
    notifier
        .set_receivers(vec![webhook("team", &web.url()), webhook("new", &web.url())])
        .unwrap();
    let state = wait_for(&notifier, "team", |state| state.delivered == 1).await;
    assert_eq!(state.failed, 1, "what was counted stays");
    let names: Vec<_> = notifier.state().receivers.into_iter().map(|state| state.name).collect();
    assert_eq!(names, ["new", "team"]);
    notifier.send(now("new", "b", 1));
    wait_for(&notifier, "new", |state| state.delivered == 1).await;

    let twice = vec![webhook("x", &web.url()), webhook("x", &web.url())];
    let fault = notifier.set_receivers(twice).unwrap_err();
    assert_eq!(fault.to_string(), "receivers: two are called x");
    assert_eq!(notifier.state().receivers.len(), 2, "nothing has changed");
}

#[tokio::test]
async fn a_test_goes_to_all_at_once_and_past_what_waits() {
    let (ok, refuses) = (
        Web::start([Reply::ok()]).await,
        Web::start([Reply::status("404 Not Found", "", "no_team")]).await,
    );
    let slack = Slack::new(&slack::Settings {
        http: http(&ok.url(), Duration::from_secs(5)),
        channel: None,
    });
    let command = Command::new(&command::Settings {
        command: vec!["/bin/false".to_owned()],
        ..command::Settings::default()
    });
    let notifier = start(vec![
        webhook("refuses", &refuses.url()),
        Receiver::new("chat", Way::Slack(slack.unwrap())).unwrap(),
        Receiver::new("script", Way::Command(command.unwrap())).unwrap(),
    ]);
    let outcomes = notifier.test("is anybody there?").await;
    let refusal = format!("http://127.0.0.1:{}/… answered 404 Not Found: no_team", refuses.port);
    let expected = [
        ("chat".to_owned(), Ok(())),
        ("refuses".to_owned(), Err(refusal)),
        (
            "script".to_owned(),
            Err("/bin/false ended with exit status: 1".to_owned()),
        ),
    ];
    assert_eq!(outcomes, expected);
    let text = ok.requests()[0].json()["text"].clone();
    assert_eq!(text, "[TEST] test on web-1: is anybody there?");
    let state = state_of(&notifier, "refuses");
    assert_eq!((state.failed, state.waiting), (0, 0), "a test is not counted");
}

#[tokio::test]
async fn an_alertmanager_is_told_again_until_it_is_over() {
    let web = Web::start([Reply::ok()]).await;
    let settings = alertmanager::Settings {
        http: http(&format!("http://127.0.0.1:{}/", web.port), Duration::from_secs(5)),
        ..alertmanager::Settings::default()
    };
    let way = Way::Alertmanager(Alertmanager::new(&settings).unwrap());
    let notifier = start(vec![Receiver::new("am", way).unwrap()]);
    notifier.send(now("am", "shop", 1));
    let heard = web.heard(4).await;
    assert_eq!(heard[0].line(), "POST /api/v2/alerts HTTP/1.1");
    for request in &heard {
        let alerts = request.json();
        assert_eq!(alerts[0]["labels"]["alertname"], "slow");
        assert!(alerts[0]["endsAt"].as_str() > alerts[0]["startsAt"].as_str());
        assert_eq!(alerts[0]["labels"], heard[0].json()[0]["labels"]);
    }
    assert!(heard[3].json()[0]["endsAt"].as_str() > heard[0].json()[0]["endsAt"].as_str());
    assert_eq!(
        state_of(&notifier, "am").delivered,
        1,
        "what is told again is not counted"
    );
    notifier.send(sample::resolved("am", "shop", 1));
    let over = until(|| {
        let all = web.requests();
        let at = all
            .iter()
            .position(|one| one.json()[0]["endsAt"] == "2023-11-14T22:14:20.000Z")?;
        Some(at + 1)
    })
    .await;
    wait_for(&notifier, "am", |state| state.delivered == 2 || state.given_up == 1).await;
    tokio::time::sleep(QUICK.again * 4).await;
    assert_eq!(web.requests().len(), over, "it is told no more");
}

#[tokio::test]
async fn an_alertmanager_is_told_every_alert_and_no_more_of_what_is_hidden() {
    let web = Web::start([Reply::ok()]).await;
    let settings = alertmanager::Settings {
        http: http(&web.url(), Duration::from_secs(5)),
        ..alertmanager::Settings::default()
    };
    let way = Way::Alertmanager(Alertmanager::new(&settings).unwrap());
    let policy = Policy {
        again: Duration::from_millis(300),
        ..QUICK
    };
    let receivers = vec![Receiver::new("am", way).unwrap()];
    let notifier = Notifier::start(receivers, memory(), sample::origin(), policy).unwrap();
    let mut all = now("am", "shop", 0);
    all.alerts = (0..450).map(sample::firing_alert).collect();
    notifier.send(all.clone());
    // Twice three requests: once it is told, and once it is told again.
    let heard = web.heard(6).await;
    let subjects = |requests: &[testing::Request]| {
        let posted = requests.iter().flat_map(|request| {
            let json = request.json();
            json.as_array().cloned().unwrap_or_default()
        });
        let mut subjects: Vec<_> = posted.map(|alert| alert["labels"]["subject"].to_string()).collect();
        subjects.sort();
        subjects.dedup();
        subjects.len()
    };
    assert_eq!((subjects(&heard[..3]), subjects(&heard[3..6])), (450, 450));
    // All but one are silenced now.
    all.alerts.truncate(1);
    notifier.send(all);
    wait_for(&notifier, "am", |state| state.delivered == 2).await;
    let before = web.requests().len();
    let heard = web.heard(before + 2).await;
    assert_eq!(subjects(&heard[before..]), 1);
}
