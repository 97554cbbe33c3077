//! Tests of the whole way from exchange to snapshot.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Rng as _, *};

use super::*;
use crate::aggregate::Window;
use crate::aggregate::stored::{Interrupted, StoredSlots};
use crate::aggregate::window::{SECOND_NS, Size};
use crate::endpoint::{OTHER, UNSEEN};
use crate::exchange::{Outcome, StreamKind, Tally, Times};
use crate::snapshot::EndpointSnapshot;

const MS: u64 = 1_000_000;
const NGINX: u32 = 10;

fn settings() -> Settings {
    Settings {
        distinct_values: 5,
        ..Settings::default()
    }
}

/// Statistics that know process 10 as nginx, one second after their start.
fn statistics(settings: Settings) -> Statistics {
    let mut statistics = Statistics::new(settings).unwrap();
    statistics.tick(1000 * SECOND_NS, 1_700_000_000 * SECOND_NS);
    statistics.process(NGINX, "/usr/sbin/nginx", "/system.slice/nginx.service");
    statistics
}

fn inet(local: u16, remote: u16) -> Arc<Peers> {
    Arc::new(Peers::Inet {
        local: ([127, 0, 0, 1], local).into(),
        remote: ([10, 0, 0, 7], remote).into(),
    })
}

fn server() -> Origin {
    Origin::new(Role::Server, inet(80, 50_000), "nginx")
}

fn client(port: u16) -> Origin {
    Origin::new(Role::Client, inet(50_000, port), "nginx")
}

fn request<'a>(method: &'a str, path: &'a str, first_ns: u64) -> Request<'a> {
    Request {
        protocol: Protocol::Http11,
        method,
        path,
        query: "",
        host: None,
        request_id: None,
        said: Said::default(),
        first_ns,
        tgid: NGINX,
        tid: NGINX,
    }
}

fn ended(outcome: Outcome, status: Option<u16>, first_ns: u64, time_ns: u64) -> Ended {
    Ended {
        outcome,
        status,
        error: None,
        tally: Tally::default(),
        tid: 0,
        times: Times {
            arrival_ns: Some(first_ns - 1000),
            request_first_ns: first_ns,
            request_last_ns: first_ns + time_ns / 10,
            response_first_ns: status.map(|_| first_ns + time_ns / 2),
            response_last_ns: first_ns + time_ns,
        },
        request_bytes: 100,
        response_bytes: 1000,
        stream: None,
    }
}

/// One answered exchange.
fn exchange(statistics: &mut Statistics, origin: &mut Origin, request: &Request<'_>, time_ns: u64) {
    let mut sink = statistics.sink(origin);
    let ticket = sink.opened(request);
    sink.ended(ticket, &ended(Outcome::Answered, Some(200), request.first_ns, time_ns));
}

fn get(statistics: &mut Statistics, paths: impl IntoIterator<Item = String>) {
    let mut origin = server();
    for path in paths {
        exchange(statistics, &mut origin, &request("GET", &path, 1001 * SECOND_NS), MS);
    }
}

/// Operations with their requests since the start.
fn operations(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let requests = |endpoint: &EndpointSnapshot| endpoint.window(Window::Start, snapshot.at_ns).requests;
    snapshot
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.key.operation.to_string(), requests(endpoint)))
        .collect()
}

#[test]
fn the_texts_of_open_exchanges_are_bounded() {
    let mut statistics = statistics(settings());
    let mut origin = server();
    let path = format!("/{}", "a".repeat(500));
    let mut open = |statistics: &mut Statistics, number: usize| -> Vec<Ticket> {
        let mut sink = statistics.sink(&mut origin);
        let asked = request("GET", &path, 1001 * SECOND_NS);
        (0..number).map(|_| sink.opened(&asked)).collect()
    };
    let first = open(&mut statistics, TEXTS);
    let full = statistics.open.heap_bytes();
    let more = open(&mut statistics, TEXTS);
    let each = (statistics.open.heap_bytes() - full) / TEXTS;
    assert!(each < 2 * size_of::<OpenExchange>(), "{each} bytes");
    let mut origin = server();
    for ticket in more.into_iter().chain(first) {
        let whole = ended(Outcome::Answered, Some(200), 1001 * SECOND_NS, MS);
        statistics.sink(&mut origin).ended(ticket, &whole);
    }
    assert!(statistics.open.heap_bytes() <= 2 * full);
    let snapshot = statistics.snapshot();
    assert_eq!(snapshot.recent.recent.last().unwrap().path, path, "among the first");
    assert_eq!(snapshot.recent.slowest[0].path, "", "one of those beyond");
    assert_eq!(snapshot.accounting.exchanges.answered, 2 * TEXTS as u64);
}

#[test]
fn an_exchange_shows_in_its_endpoint_the_total_the_log_and_the_books() {
    let mut statistics = statistics(settings());
    let mut origin = server();
    let asked = Request {
        query: "user=SECRET&page=2",
        host: Some("example.com"),
        request_id: Some("r-1"),
        said: Said::default(),
        ..request("GET", "/users/42", 1001 * SECOND_NS)
    };
    exchange(&mut statistics, &mut origin, &asked, 8 * MS);
    statistics.tick(1002 * SECOND_NS, 1_700_000_002 * SECOND_NS);
    let snapshot = statistics.snapshot();

    let [endpoint] = snapshot.endpoints.as_slice() else {
        panic!("one endpoint")
    };
    assert_eq!(endpoint.key.operation.to_string(), "GET /users/{id}");
    assert_eq!(endpoint.reason.parts, [(1, "a number".into())]);
    assert_eq!(endpoint.service.key.name, "nginx");
    assert_eq!(
        (endpoint.service.key.port, endpoint.service.pids.as_slice()),
        (Some(80), [NGINX].as_slice())
    );
    assert_eq!(endpoint.key.peer, None);
    let view = endpoint.window(Window::FiveMinutes, snapshot.at_ns);
    assert_eq!(
        (view.requests, view.errors, view.client_errors, view.in_flight),
        (1, 0, 0, 0)
    );
    assert_eq!(
        (view.bytes_received, view.bytes_sent, view.max_in_flight),
        (100, 1000, 1)
    );
    assert_eq!(view.statuses, BTreeMap::from([(200, 1)]));
    assert_eq!((view.covered_ns, view.average_rps), (2 * SECOND_NS, Some(0.5)));
    assert_eq!((view.current_rps, view.peak_rps), (1.0, 1.0));
    let max = |distribution: &crate::aggregate::Distribution| distribution.summary().map(|summary| summary.max_ns);
    assert_eq!(max(&view.response_time), Some(8 * MS));
    assert_eq!(max(&view.time_to_first_byte), Some(4 * MS));
    assert_eq!(max(&view.processing), Some(4 * MS - 8 * MS / 10));
    assert_eq!(max(&view.queue_time), Some(1000));
    assert_eq!(snapshot.total.window(Window::Minute, snapshot.at_ns).requests, 1);

    let [logged] = snapshot.recent.recent.as_slice() else {
        panic!("one in the log")
    };
    assert_eq!((logged.id, &logged.endpoint), (1, &endpoint.id));
    assert_eq!((logged.method.as_str(), logged.path.as_str()), ("GET", "/users/42"));
    assert_eq!(logged.query, [("user".to_owned(), None), ("page".to_owned(), None)]);
    assert_eq!(
        (logged.host.as_deref(), logged.request_id.as_deref()),
        (Some("example.com"), Some("r-1"))
    );
    assert_eq!(logged.peer, Some(([10, 0, 0, 7], 50_000).into()));
    assert_eq!(logged.ended_wall_ns, 1_700_000_001 * SECOND_NS + 8 * MS);
    assert_eq!(snapshot.recent.slowest.len(), 1);
    assert!(!format!("{snapshot:?}").contains("SECRET"));

    let books = snapshot.accounting;
    assert!(books.closes());
    assert_eq!(
        (books.exchanges.opened, books.exchanges.answered, books.series.endpoints),
        (1, 1, 1)
    );
}

#[test]
fn a_grpc_method_is_an_endpoint_as_it_is_and_every_code_but_ok_is_an_error() {
    let mut statistics = statistics(settings());
    let mut origin = server();
    let mut call = |path: &str, status: Option<u16>| {
        let asked = Request {
            protocol: Protocol::Grpc,
            ..request("POST", path, 1001 * SECOND_NS)
        };
        let mut sink = statistics.sink(&mut origin);
        let ticket = sink.opened(&asked);
        let mut ended = ended(Outcome::Answered, status, asked.first_ns, MS);
        ended.times.response_first_ns = Some(asked.first_ns + MS / 2);
        sink.ended(ticket, &ended);
    };
    // More methods than values of a segment that are kept apart, and names that look like values.
    let methods: Vec<_> = (0..20).map(|number| format!("/pkg.Users/{number}")).collect();
    for method in &methods {
        call(method, Some(0));
    }
    for status in [Some(5), Some(14), None] {
        call(&methods[0], status);
    }
    statistics.tick(1002 * SECOND_NS, 1_700_000_002 * SECOND_NS);
    let snapshot = statistics.snapshot();
    assert_eq!(
        operations(&snapshot).keys().cloned().collect::<BTreeSet<_>>(),
        methods.into_iter().collect()
    );
    let view = snapshot.endpoints[0].window(Window::Start, snapshot.at_ns);
    assert_eq!((view.requests, view.errors, view.client_errors), (4, 2, 0));
    assert_eq!(view.statuses, BTreeMap::from([(0, 1), (5, 1), (14, 1)]));
    assert_eq!(snapshot.total.window(Window::Start, snapshot.at_ns).errors, 2);
}

#[test]
fn a_stream_is_open_until_it_ends_and_no_exchange() {
    let mut statistics = statistics(settings());
    statistics.trace(true);
    let mut origin = server();
    let second = |number: u64| (1000 + number) * SECOND_NS;
    let asked = request("GET", "/chat/17", second(1));
    let ticket = statistics.sink(&mut origin).opened(&asked);
    let mut head = ended(Outcome::Answered, Some(101), second(1), 2 * MS);
    head.stream = Some(StreamKind::WebSocket);
    statistics.sink(&mut origin).ended(ticket, &head);
    let moved = |at_ns, messages| StreamMoved {
        at_ns,
        request_bytes: 10,
        response_bytes: 500,
        messages,
    };
    statistics
        .sink(&mut origin)
        .stream_moved(ticket, &moved(second(2), Some([1, 4])));
    statistics.tick(second(3), 1_700_000_003 * SECOND_NS);
    let snapshot = statistics.snapshot();
    let endpoint = &snapshot.endpoints[0];
    assert_eq!(endpoint.key.operation.to_string(), "GET /chat/{id}");
    let view = endpoint.window(Window::Start, snapshot.at_ns);
    assert_eq!((view.requests, view.errors, view.in_flight), (1, 0, 0));
    assert_eq!((view.response_time.count(), view.time_to_first_byte.count()), (0, 1));
    assert_eq!((view.streams_open, view.streams.opened, view.streams.closed), (1, 1, 0));
    assert_eq!((view.streams.bytes_received, view.streams.bytes_sent), (10, 500));
    assert_eq!(view.streams.messages(), Some([1, 4]));
    assert_eq!(
        (view.bytes_received, view.bytes_sent),
        (100, 1000),
        "those of the exchange"
    );
    let [open] = snapshot.streams.open.as_slice() else {
        panic!("one is open")
    };
    assert_eq!(
        (open.id, open.kind, open.path.as_str()),
        (1, StreamKind::WebSocket, "/chat/17")
    );
    assert_eq!((open.bytes, open.messages), ([10, 500], Some([1, 4])));
    assert!(snapshot.recent.slowest.is_empty());
    assert_eq!(snapshot.recent.recent[0].stream, Some(StreamKind::WebSocket));
    let books = snapshot.accounting;
    assert!(books.closes());
    assert_eq!(
        (books.exchanges.answered, books.exchanges.in_flight, books.streams.open),
        (1, 0, 1)
    );

    // Two hours later, in windows of its own.
    statistics
        .sink(&mut origin)
        .stream_moved(ticket, &moved(second(7200), None));
    let over = StreamEnded {
        outcome: Outcome::Answered,
        status: None,
        at_ns: second(7200),
    };
    statistics.sink(&mut origin).stream_ended(ticket, &over);
    statistics.tick(second(7201), 0);
    let snapshot = statistics.snapshot();
    let view = snapshot.total.window(Window::FiveMinutes, snapshot.at_ns);
    assert_eq!((view.streams_open, view.streams.opened, view.streams.closed), (0, 0, 1));
    assert_eq!((view.streams.bytes_sent, view.streams.messages()), (500, None));
    let longest = view.streams.duration.summary().map(|summary| summary.max_ns);
    assert_eq!(longest, Some(7199 * SECOND_NS - MS));
    let view = snapshot.total.window(Window::Start, snapshot.at_ns);
    assert_eq!(
        (view.streams.opened, view.streams.closed, view.streams.bytes_sent),
        (1, 1, 1000)
    );
    assert_eq!((snapshot.streams.open.len(), snapshot.streams.closed.len()), (0, 1));
    assert!(snapshot.accounting.closes());
    assert_eq!(snapshot.accounting.streams.closed, 1);
    let (traced, _) = statistics.take_traced();
    assert!(matches!(&traced[..], [Traced::Exchange(_), Traced::Stream(stream)] if stream.ended == Some(over)));
    // The ticket is used again.
    exchange(&mut statistics, &mut origin, &request("GET", "/", second(7202)), MS);
    assert_eq!(statistics.snapshot().accounting.exchanges.answered, 2);
}

#[test]
fn streams_that_fail_are_their_own_errors() {
    let mut statistics = statistics(settings());
    let mut origin = server();
    for (status, outcome) in [
        (Some(0), Outcome::Answered),
        (Some(14), Outcome::Answered),
        (None, Outcome::ServerClosed),
        (None, Outcome::ClientAborted),
    ] {
        let asked = Request {
            protocol: Protocol::Grpc,
            ..request("POST", "/s/m", 1001 * SECOND_NS)
        };
        let mut sink = statistics.sink(&mut origin);
        let ticket = sink.opened(&asked);
        let mut head = ended(Outcome::Answered, None, asked.first_ns, MS);
        head.stream = Some(StreamKind::Grpc);
        sink.ended(ticket, &head);
        let at_ns = 1003 * SECOND_NS;
        sink.stream_ended(ticket, &StreamEnded { outcome, status, at_ns });
    }
    let view = statistics.snapshot().total.window(Window::Start, 1004 * SECOND_NS);
    assert_eq!((view.requests, view.errors), (4, 0));
    assert_eq!((view.streams.closed, view.streams.errors), (4, 2));
}

#[test]
fn a_process_that_is_told_after_its_first_request_gets_it_all_the_same() {
    let mut statistics = Statistics::new(settings()).unwrap();
    let mut origin = server();
    let asked = request("GET", "/", 1001 * SECOND_NS);
    let ticket = statistics.sink(&mut origin).opened(&asked);
    assert_eq!(
        statistics
            .snapshot()
            .total
            .window(Window::Start, asked.first_ns)
            .in_flight,
        1
    );
    statistics.process(NGINX, "/usr/sbin/nginx", "/");
    statistics
        .sink(&mut origin)
        .ended(ticket, &ended(Outcome::Answered, Some(200), asked.first_ns, MS));
    let snapshot = statistics.snapshot();
    let [endpoint] = snapshot.endpoints.as_slice() else {
        panic!("one endpoint")
    };
    assert_eq!(endpoint.service.key.exe.as_deref(), Some("/usr/sbin/nginx"));
    assert_eq!(endpoint.window(Window::Start, 0).requests, 1);
}

#[test]
fn a_process_that_nobody_knows_is_called_by_its_thread() {
    let mut statistics = Statistics::new(settings()).unwrap();
    let mut origin = Origin::new(Role::Server, inet(81, 50_000), "mystery");
    exchange(&mut statistics, &mut origin, &request("GET", "/", SECOND_NS), MS);
    let snapshot = statistics.snapshot();
    let key = &snapshot.endpoints[0].service.key;
    assert_eq!(
        (key.name.as_str(), key.exe.as_deref(), key.port),
        ("mystery", None, Some(81))
    );
}

#[test]
fn only_answered_exchanges_have_a_response_time_and_what_was_seen_whole_counts() {
    let mut statistics = statistics(settings());
    let mut origin = server();
    let first_ns = 1001 * SECOND_NS;
    for (outcome, status) in [
        (Outcome::Answered, Some(200)),
        (Outcome::Answered, Some(503)),
        (Outcome::Answered, Some(404)),
        (Outcome::ClientAborted, Some(200)),
        (Outcome::ClientAborted, None),
        (Outcome::ServerClosed, None),
        (Outcome::ServerClosed, Some(500)),
        (Outcome::Cut, Some(200)),
        (Outcome::Unknown, None),
    ] {
        let mut sink = statistics.sink(&mut origin);
        let ticket = sink.opened(&request("GET", "/", first_ns));
        sink.ended(ticket, &ended(outcome, status, first_ns, MS));
    }
    let snapshot = statistics.snapshot();
    let view = snapshot.endpoints[0].window(Window::Start, snapshot.at_ns);
    assert_eq!((view.requests, view.errors, view.client_errors), (9, 3, 1));
    assert_eq!(view.outcomes, [3, 2, 2, 1, 1]);
    assert_eq!(view.response_time.count(), 3);
    assert_eq!(view.time_to_first_byte.count(), 5);
    assert_eq!(view.queue_time.count(), 7);
    assert_eq!(view.statuses, BTreeMap::from([(200, 3), (404, 1), (500, 1), (503, 1)]));
}

#[test]
fn clients_are_told_apart_by_the_name_they_ask_for_else_by_address() {
    let mut statistics = statistics(settings());
    let mut origin = client(443);
    for host in [
        Some("API.example.com:443"),
        Some("api.example.com."),
        Some("10.0.0.7"),
        None,
    ] {
        let asked = Request {
            host,
            ..request("GET", "/", 1001 * SECOND_NS)
        };
        exchange(&mut statistics, &mut origin, &asked, MS);
    }
    let snapshot = statistics.snapshot();
    let peers: Vec<_> = snapshot
        .endpoints
        .iter()
        .map(|endpoint| endpoint.key.peer.clone().unwrap())
        .collect();
    let host = "api.example.com".into();
    assert_eq!(
        peers,
        [
            Peer::Name { host, port: 443 },
            Peer::Address(([10, 0, 0, 7], 443).into())
        ]
    );
    assert_eq!(
        snapshot.endpoints[0].peer_seen.address,
        Some(([10, 0, 0, 7], 443).into())
    );
    assert_eq!(snapshot.endpoints[0].service.key.port, None);
    let view = snapshot.endpoints[0].window(Window::Start, 0);
    assert_eq!(
        (view.bytes_received, view.bytes_sent, view.queue_time.count()),
        (2000, 200, 0)
    );
    assert_eq!(
        snapshot.total.window(Window::Start, 0).requests,
        0,
        "the total is of the server role"
    );
}

#[test]
fn a_client_that_passes_on_any_name_is_bounded() {
    let mut statistics = statistics(settings());
    let mut origin = client(80);
    for n in 0..10_000 {
        let host = format!("h{n}.example");
        let asked = Request {
            host: Some(&host),
            ..request("GET", "/", 1001 * SECOND_NS)
        };
        exchange(&mut statistics, &mut origin, &asked, MS);
    }
    let snapshot = statistics.snapshot();
    assert_eq!(snapshot.endpoints.len(), 128 + 1);
    assert_eq!(operations(&snapshot).len(), 1);
    assert_eq!(snapshot.endpoints[128].window(Window::Start, 0).requests, 10_000 - 128);
}

#[test]
fn names_that_become_too_many_are_merged_into_one_endpoint_with_all_their_counts() {
    let mut statistics = statistics(settings());
    get(
        &mut statistics,
        (0..5).map(|n| format!("/users/name-{}", char::from(b'a' + n))),
    );
    let waiting = request("GET", "/users/name-b", 1001 * SECOND_NS);
    let mut waiting_origin = server();
    let ticket = statistics.sink(&mut waiting_origin).opened(&waiting);
    let before = statistics.snapshot();
    assert_eq!(before.endpoints.len(), 5);

    get(
        &mut statistics,
        ["/users/one-more".into(), "/users/name-a".into(), "/health".into()],
    );
    let ended = ended(Outcome::Answered, Some(200), waiting.first_ns, 2 * MS);
    statistics.sink(&mut waiting_origin).ended(ticket, &ended);
    let after = statistics.snapshot();
    assert_eq!(
        operations(&after),
        BTreeMap::from([("GET /health".into(), 1), ("GET /users/{value}".into(), 8)])
    );
    let merged = &after.endpoints[0];
    assert_eq!(merged.window(Window::Start, 0).in_flight, 0);
    assert_eq!(merged.window(Window::Start, 0).response_time.count(), 8);
    assert_eq!(merged.reason.parts, [(1, "more than 5 different values here".into())]);
    assert!(
        after
            .recent
            .recent
            .iter()
            .all(|logged| after.endpoints.iter().any(|it| it.id == logged.endpoint))
    );
    assert_eq!(after.accounting.series.endpoints, 2);
    assert!(after.accounting.closes());
}

#[test]
fn what_is_asked_for_often_is_not_merged_away_by_a_scanner() {
    let mut statistics = statistics(settings());
    get(&mut statistics, std::iter::repeat_n("/health".into(), 500));
    get(
        &mut statistics,
        (0..300).map(|n| format!("/scan-{}.php", "x".repeat(n % 40))),
    );
    let operations = operations(&statistics.snapshot());
    assert_eq!(operations["GET /health"], 500);
    assert_eq!(operations["GET /{value}"], 300);
    assert_eq!(operations.len(), 2);
}

#[test]
fn beyond_the_number_of_endpoints_sums_stay_right() {
    let settings = Settings {
        endpoints: 10,
        distinct_values: 10_000,
        ..Settings::default()
    };
    let mut statistics = statistics(settings);
    get(&mut statistics, (0..50).map(|n| format!("/p{}", "x".repeat(n))));
    let snapshot = statistics.snapshot();
    assert_eq!(snapshot.endpoints.len(), 11);
    assert_eq!(operations(&snapshot)[OTHER], 40);
    assert_eq!(operations(&snapshot).values().sum::<u64>(), 50);
    assert_eq!(
        (snapshot.accounting.series.endpoints, snapshot.accounting.series.folded),
        (10, 40)
    );
    assert_eq!(
        snapshot.endpoints[10].reason.parts,
        [(0, "more than 10 endpoints".into())]
    );
}

#[test]
fn a_path_that_was_not_seen_is_an_endpoint_of_its_own() {
    let mut statistics = statistics(settings());
    get(&mut statistics, [String::new()]);
    assert_eq!(
        operations(&statistics.snapshot()),
        BTreeMap::from([(format!("GET {UNSEEN}"), 1)])
    );
}

#[test]
fn what_did_not_change_is_shared_between_snapshots() {
    let mut statistics = statistics(settings());
    get(&mut statistics, ["/a".into(), "/b".into()]);
    let before = statistics.snapshot();
    get(&mut statistics, ["/b".into()]);
    statistics.tick(1002 * SECOND_NS, 1_700_000_002 * SECOND_NS);
    let after = statistics.snapshot();
    assert!(Arc::ptr_eq(&before.endpoints[0], &after.endpoints[0]));
    assert!(!Arc::ptr_eq(&before.endpoints[1], &after.endpoints[1]));
    assert_eq!(
        before.endpoints[1].window(Window::Start, 0).requests,
        1,
        "a snapshot does not change"
    );
    let again = statistics.snapshot();
    assert!(Arc::ptr_eq(&after.recent, &again.recent) && Arc::ptr_eq(&after.total, &again.total));
}

#[test]
fn the_log_keeps_the_newest_and_the_slowest_of_the_last_hour() {
    let settings = Settings {
        recent: 10,
        slowest: 3,
        ..Settings::default()
    };
    let mut statistics = statistics(settings);
    let mut origin = server();
    let times: Vec<u64> = (0..100).map(|n| (n * 37) % 101 * MS + 1).collect();
    for (n, time) in times.iter().enumerate() {
        exchange(
            &mut statistics,
            &mut origin,
            &request("GET", "/", (1001 + n as u64) * SECOND_NS),
            *time,
        );
        if n % 7 == 0 {
            statistics.snapshot();
        }
    }
    let log = Arc::clone(&statistics.snapshot().recent);
    let ids: Vec<_> = log.recent.iter().map(|exchange| exchange.id).collect();
    assert_eq!(ids, (91..=100).collect::<Vec<_>>());
    let slowest: Vec<_> = log
        .slowest
        .iter()
        .map(|exchange| exchange.times.response_time_ns())
        .collect();
    let mut sorted = times.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(slowest, sorted[..3]);

    statistics.tick((1100 + 2 * 3600) * SECOND_NS, 0);
    assert!(statistics.snapshot().recent.slowest.is_empty());
}

#[test]
fn traced_exchanges_come_once_and_what_is_too_many_is_counted() {
    let mut statistics = statistics(settings());
    get(&mut statistics, ["/before".into()]);
    statistics.trace(true);
    get(&mut statistics, std::iter::repeat_n("/a".into(), TRACED + 3));
    let (exchanges, dropped) = statistics.take_traced();
    assert_eq!((exchanges.len(), dropped), (TRACED, 3));
    assert!(matches!(&exchanges[0], Traced::Exchange(exchange) if exchange.path == "/a"));
    assert_eq!(statistics.take_traced().0.len(), 0);
    statistics.trace(false);
    get(&mut statistics, ["/after".into()]);
    assert_eq!(statistics.take_traced().0.len(), 0);
}

#[test]
fn a_ticket_that_comes_back_twice_is_counted_once() {
    let mut statistics = statistics(settings());
    let mut origin = server();
    let mut sink = statistics.sink(&mut origin);
    let ticket = sink.opened(&request("GET", "/", 1001 * SECOND_NS));
    let ended = ended(Outcome::Answered, Some(200), 1001 * SECOND_NS, MS);
    sink.ended(ticket, &ended);
    sink.ended(ticket, &ended);
    sink.ended(Ticket(77), &ended);
    let snapshot = statistics.snapshot();
    assert!(snapshot.accounting.closes());
    assert_eq!(snapshot.accounting.exchanges.answered, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Open { path: usize, origin: usize },
    End { which: usize, outcome: usize, time_ns: u64 },
    Tick { seconds: u64 },
    Process,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..40, 0usize..4).prop_map(|(path, origin)| Step::Open { path, origin }),
        5 => (any::<usize>(), 0usize..5, 0u64..10_000 * MS)
            .prop_map(|(which, outcome, time_ns)| Step::End { which, outcome, time_ns }),
        1 => prop_oneof![0u64..3, 3u64..4000, 4000u64..200_000].prop_map(|seconds| Step::Tick { seconds }),
        1 => Just(Step::Process),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// Whatever happens in whatever order: the books close, endpoints add up to the books, and the total to the
    /// endpoints of the server role.
    #[test]
    fn the_books_close_and_the_sums_agree(steps in steps()) {
        let settings = Settings { endpoints: 12, distinct_values: 4, ..Settings::default() };
        let mut statistics = Statistics::new(settings).unwrap();
        let mut origins = [server(), client(80), client(81), Origin::new(Role::Server, inet(81, 1), "x")];
        let mut now_ns = 1000 * SECOND_NS;
        let mut open = Vec::new();
        let mut last = None;
        for step in steps {
            match step {
                Step::Open { path, origin } => {
                    let path = format!("/{}/{}", ["a", "b", "cc"][path % 3], "y".repeat(path / 3));
                    let ticket = statistics.sink(&mut origins[origin]).opened(&request("GET", &path, now_ns));
                    open.push((ticket, origin, now_ns));
                }
                Step::End { which, outcome, time_ns } if !open.is_empty() => {
                    let (ticket, origin, first_ns) = open.swap_remove(which % open.len());
                    let ended = ended(Outcome::ALL[outcome], Some(200), first_ns, now_ns - first_ns + time_ns);
                    statistics.sink(&mut origins[origin]).ended(ticket, &ended);
                }
                Step::End { .. } => {}
                Step::Tick { seconds } => {
                    now_ns += seconds * SECOND_NS + 10_000 * MS;
                    statistics.tick(now_ns, now_ns);
                }
                Step::Process => statistics.process(NGINX, "/usr/sbin/nginx", "/"),
            }
            let snapshot = statistics.snapshot();
            let books = snapshot.accounting.exchanges;
            prop_assert!(snapshot.accounting.closes());
            prop_assert_eq!(books.in_flight, open.len() as u64);
            let views: Vec<_> = snapshot.endpoints.iter()
                .map(|endpoint| (endpoint.key.role, endpoint.window(Window::Start, snapshot.at_ns))).collect();
            prop_assert_eq!(views.iter().map(|(_, view)| view.requests).sum::<u64>(), books.opened - books.in_flight);
            let total = snapshot.total.window(Window::Start, snapshot.at_ns);
            let mut times = crate::aggregate::Distribution::default();
            for (_, view) in views.iter().filter(|(role, _)| *role == Role::Server) {
                times.merge(&view.response_time);
            }
            prop_assert_eq!(&times, &total.response_time);
            prop_assert!(snapshot.accounting.series.endpoints <= 12);
            last = Some(snapshot);
        }
        if let Some(last) = last {
            let ids: std::collections::HashSet<_> = last.endpoints.iter().map(|endpoint| &endpoint.id).collect();
            prop_assert_eq!(ids.len(), last.endpoints.len());
        }
    }
}

/// What 1,000 endpoints cost after more than a day: every slot of every window in use, two requests per second and
/// endpoint, response times of a lognormal shape over more than a decade.
#[test]
fn a_thousand_endpoints_with_full_windows_stay_within_their_memory() {
    const EXCHANGES_PER_SLOT: u64 = 20;
    let mut aggregate = Aggregate::new(Role::Server, 0);
    let mut random = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let mut lognormal = |median: u64, sigma: f64| {
        // A sum of twelve uniform numbers is close enough to a normal one.
        let uniform = |random: u32| f64::from(random) / f64::from(u32::MAX);
        let normal = (0..12).map(|_| uniform(random.next_u32())).sum::<f64>() - 6.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some milliseconds"
        )]
        let value = ((sigma * normal).exp() * median as f64) as u64;
        value
    };
    let mut at_ns = SECOND_NS;
    let mut fill = |aggregate: &mut Aggregate, until_ns: u64| {
        while at_ns < until_ns {
            for _ in 0..EXCHANGES_PER_SLOT {
                // A request in one segment, an answer in two.
                let time_ns = lognormal(5 * MS, 0.4);
                let mut ended = ended(Outcome::Answered, Some(200), at_ns, time_ns);
                ended.times.arrival_ns = Some(at_ns - lognormal(8_000, 0.5));
                ended.times.request_last_ns = at_ns;
                ended.times.response_first_ns = Some(at_ns + time_ns * 9 / 10);
                aggregate.opened(at_ns);
                aggregate.ended(&ended, &ErrorRule::default());
            }
            at_ns += 10 * SECOND_NS;
        }
    };
    fill(&mut aggregate, 27 * 3600 * SECOND_NS);
    let bytes = aggregate.heap_bytes() + size_of::<Aggregate>();
    let running = aggregate.running_bytes() + size_of::<Aggregate>();
    assert!(
        1_000 * (bytes + running) < 45_000_000,
        "{bytes} bytes per endpoint, {running} of them again per snapshot"
    );

    // What was remembered of earlier runs is a sum of its own, and nothing else is held twice.
    let mut kept = StoredSlots::default();
    let closed = Size::ALL.map(|size| {
        aggregate
            .closed_since(size, 0)
            .map(move |(number, slot)| (size, *number, slot))
    });
    let running_hours = aggregate
        .running_hours()
        .map(|(number, slot)| (Size::TwoHours, number, slot));
    for (size, number, slot) in closed.into_iter().flatten().chain(running_hours) {
        assert!(kept.add(size, number, slot));
    }
    let until_ns = 27 * 3600 * SECOND_NS;
    let interrupted = Interrupted {
        started_ns: 0,
        until_ns,
        resumed_ns: until_ns,
        ..Interrupted::default()
    };
    let mut restored = Aggregate::restored(Role::Server, &kept, &interrupted);
    fill(&mut restored, 54 * 3600 * SECOND_NS);
    let more = (restored.heap_bytes() + size_of::<Aggregate>()).saturating_sub(bytes);
    assert!(more < 3_000, "{more} bytes more if there is a history");
}

#[test]
fn open_exchanges_cost_little_and_their_room_is_used_again() {
    let mut statistics = statistics(Settings::default());
    let mut origin = server();
    let mut most = 0;
    for round in 0..3 {
        let tickets: Vec<_> = (0..10_000)
            .map(|n| {
                statistics
                    .sink(&mut origin)
                    .opened(&request("GET", &format!("/items/{n}"), 1001 * SECOND_NS))
            })
            .collect();
        if round == 0 {
            most = statistics.heap_bytes();
        }
        for ticket in tickets {
            let ended = ended(Outcome::Answered, Some(200), 1001 * SECOND_NS, MS);
            statistics.sink(&mut origin).ended(ticket, &ended);
        }
    }
    assert!(
        most < 4_000_000 && statistics.heap_bytes() < 2 * most,
        "{most}, then {}",
        statistics.heap_bytes()
    );
}
