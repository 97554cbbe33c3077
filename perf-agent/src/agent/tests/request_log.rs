//! From records to the request log: what was chosen arrives, over HTTP/1 and HTTP/2, and no credential does.

use std::sync::Arc;

use fluke_hpack::Encoder;
use proptest::prelude::*;

use crate::exchange::Role;
use crate::pipeline::{self, Pipeline};
use crate::request_log::{REDACTED, RequestLogSettings, VALUE_BYTES, Wanted};
use crate::snapshot::{LoggedExchange, RequestLog};
use crate::statistics;
use crate::synthetic::{End, Traffic, data};

const SECOND_NS: u64 = 1_000_000_000;

/// Fields of a request, beyond those that every one has.
type Fields<'a> = [(&'a str, &'a str)];

fn settings() -> RequestLogSettings {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    RequestLogSettings {
        user_header: Some("X-User-Id".to_owned()),
        headers: texts(&["user-agent", "x-plan", "host", "x-request-id", "content-type"]),
        trusted_proxies: texts(&["10.0.0.0/8"]),
        query_values: texts(&["page", "q"]),
    }
}

fn http1(target: &str, fields: &Fields<'_>) -> Vec<u8> {
    let lines = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let lines = lines.collect::<Vec<_>>().concat();
    format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n").into_bytes()
}

/// Requests on one connection, one after the other, so that later ones name fields by their place in the table.
fn http2(requests: &[(&str, &Fields<'_>)]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for (place, (target, fields)) in requests.iter().enumerate() {
        let own = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", *target),
            (":authority", "shop.example"),
        ];
        let small: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), *value))
            .collect();
        let all = own
            .into_iter()
            .chain(small.iter().map(|(name, value)| (name.as_str(), *value)));
        let block = encoder.encode(all.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let length = u32::try_from(block.len()).unwrap().to_be_bytes();
        let stream = u32::try_from(2 * place + 1).unwrap().to_be_bytes();
        // HEADERS with END_STREAM and END_HEADERS.
        bytes.extend([&length[1..], &[1, 5], &stream, &block].concat());
    }
    bytes
}

/// What is logged of what a client sends to a server on one connection from 10.0.0.7, which then ends.
fn logged(settings: &RequestLogSettings, requests: &[u8]) -> Arc<RequestLog> {
    let end = End {
        connection: 1,
        tgid: 10,
        role: Role::Server,
        port: 8080,
    };
    let mut traffic = Traffic::default();
    traffic.tick(SECOND_NS);
    traffic.process(10, "/usr/sbin/nginx", "/system.slice/nginx.service");
    traffic.open(end, SECOND_NS + 1);
    let position = u32::try_from(requests.len()).unwrap();
    traffic
        .records
        .push(data(end, false, position, SECOND_NS + 2, requests));
    traffic.close(1, SECOND_NS + 3);
    traffic.tick(2 * SECOND_NS);
    let mut pipeline = Pipeline::new(pipeline::Settings {
        connections: 10,
        statistics: statistics::Settings {
            wanted: Arc::new(Wanted::new(settings).unwrap()),
            ..statistics::Settings::default()
        },
    })
    .unwrap();
    for record in &traffic.records {
        pipeline.apply(record);
    }
    Arc::clone(&pipeline.snapshot().recent)
}

#[track_caller]
fn only(log: &RequestLog) -> LoggedExchange {
    assert_eq!(log.recent.len(), 1, "{log:?}");
    LoggedExchange::clone(&log.recent[0])
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const CHOSEN: [(&str, &str); 9] = [
    ("User-Agent", "curl/8.5.0"),
    ("X-Plan", "gold"),
    ("x-user-id", "4711"),
    ("Authorization", "Bearer hidden"),
    ("Cookie", "session=hidden"),
    ("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.0.0.3"),
    ("traceparent", TRACEPARENT),
    ("X-Plan", "yearly"),
    ("X-Request-Id", "r1"),
];
const TARGET: &str = "/users/17?page=2&token=hidden&q=a%20b&flag";

#[track_caller]
fn check_chosen(exchange: &LoggedExchange) {
    assert_eq!(exchange.user_id.as_deref(), Some("4711"));
    assert_eq!(exchange.request_id.as_deref(), Some("r1"));
    assert_eq!(exchange.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(exchange.client, "203.0.113.9".parse().ok());
    assert_eq!(exchange.peer, "10.0.0.7:4000".parse().ok());
    let attributes: Vec<_> = exchange
        .attributes
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        attributes,
        [
            ("http.request.header.user-agent", "curl/8.5.0"),
            ("http.request.header.x-plan", "gold, yearly"),
            ("http.request.header.host", "shop.example"),
            ("http.request.header.x-request-id", "r1"),
        ]
    );
    let query: Vec<_> = exchange
        .query
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_deref()))
        .collect();
    assert_eq!(
        query,
        [
            ("page", Some("2")),
            ("token", None),
            ("q", Some("a%20b")),
            ("flag", None)
        ]
    );
}

#[test]
fn what_was_chosen_arrives_over_http1() {
    check_chosen(&only(&logged(&settings(), &http1(TARGET, &CHOSEN))));
}

#[test]
fn what_was_chosen_arrives_over_http2_also_from_the_table() {
    let log = logged(
        &settings(),
        &http2(&[(TARGET, &CHOSEN), (TARGET, &CHOSEN), (TARGET, &CHOSEN)]),
    );
    assert_eq!(log.recent.len(), 3);
    log.recent.iter().for_each(|exchange| check_chosen(exchange));
}

#[test]
fn without_choices_nothing_but_the_ids_is_read() {
    for request in [http1(TARGET, &CHOSEN), http2(&[(TARGET, &CHOSEN)])] {
        let exchange = only(&logged(&RequestLogSettings::default(), &request));
        assert_eq!((&exchange.user_id, exchange.attributes.len()), (&None, 0));
        assert_eq!(exchange.client, "10.0.0.7".parse().ok(), "nobody is trusted");
        assert_eq!(exchange.request_id.as_deref(), Some("r1"));
        assert_eq!(exchange.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(
            exchange.query.iter().all(|(_, value)| value.is_none()),
            "{:?}",
            exchange.query
        );
    }
}

#[test]
fn a_trace_is_as_good_as_a_request_id() {
    for request in [
        http1("/", &[("Traceparent", TRACEPARENT)]),
        http2(&[("/", &[("traceparent", TRACEPARENT)])]),
    ] {
        let exchange = only(&logged(&RequestLogSettings::default(), &request));
        assert_eq!(exchange.request_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }
}

/// Letters and digits of which nobody can say that they are words, and which may stand in a URL.
fn token() -> impl Strategy<Value = String> {
    let web = "eyJ[A-Za-z0-9_-]{15,60}[.][A-Za-z0-9_-]{10,90}[.][A-Za-z0-9_-]{10,60}";
    // Of random bytes nearly all have as many changes; one in ten thousand does not.
    let changes = |text: &String| {
        let pairs = text.as_bytes().windows(2);
        pairs
            .filter(|pair| {
                pair[0].is_ascii_digit() != pair[1].is_ascii_digit()
                    && !b"-_".contains(&pair[0])
                    && !b"-_".contains(&pair[1])
            })
            .count()
            >= 3
            && text.bytes().any(|byte| byte.is_ascii_uppercase())
            && text.bytes().any(|byte| byte.is_ascii_lowercase())
    };
    prop_oneof![
        web,
        "[0-9a-f]{30,62}[0-9][a-f]",
        "[A-Za-z0-9_-]{43}".prop_filter("as random bytes are", changes),
        "ghp_[A-Za-z0-9]{36}",
    ]
}

proptest! {
    #[test]
    fn no_credential_arrives_wherever_it_stands(
        token in token(), password in "[a-z]{4}[0-9]{4}[A-Z]{4}", place in 0usize..16,
        before in "[a-z ]{0,5}", names in proptest::collection::vec("z[a-z]{1,4}", 3),
    ) {
        let mut target = "/a".to_owned();
        let mut fields: Vec<(&str, String)> = vec![("x-user-id", "4711".to_owned())];
        let mut hidden = token.clone();
        match place {
            0 => fields.push(("Authorization", format!("Bearer {token}"))),
            1 => fields.push(("Cookie", format!("sid={token}"))),
            2 => fields.push(("X-Api-Key", token.clone())),
            3 => fields.push(("user-agent", format!("{before} {token}"))),
            4 => fields.push(("x-plan", format!("{before};{token},x"))),
            5 => fields[0].1.clone_from(&token),
            6 => target = format!("/reset/{token}/{}", names[0]),
            7 => target = format!("/a?{}={token}&page=1", names[0]),
            8 => target = format!("/a?page={token}"),
            9 => target = format!("/a?q={before}%20{token}&x={token}").replace(' ', "%20"),
            10 => target = format!("/a/user:{token}@b/c"),
            11 => target = format!("/a?{token}=x&{token}"),
            12 => {
                fields.push(("x-plan", format!("Bearer {password}")));
                hidden.clone_from(&password);
            }
            13 => {
                target = format!("/a?page=Bearer%20{password}&q=Bearer+{password}&q=password={password}&{}={password}", names[1]);
                hidden.clone_from(&password);
            }
            14 => {
                fields.push(("x-request-id", format!("Bearer {password}")));
                fields.push(("X-Correlation-Id", format!("password={password}")));
                hidden.clone_from(&password);
            }
            _ => {
                target = format!("http://user:{password}@shop.example/a;jsessionid={password}#{password}");
                fields.push(("x-plan", format!("{{\"client_secret\": \"{password}\"}}")));
                hidden.clone_from(&password);
            }
        }
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut requests = vec![http1(&target, &fields)];
        if target.starts_with('/') {
            requests.push(http2(&[(&target, &fields), (&target, &fields)]));
        }
        for request in requests {
            let log = logged(&settings(), &request);
            prop_assert!(!log.recent.is_empty());
            let told = format!("{log:?}");
            prop_assert!(!told.contains(&hidden), "{}: {}", hidden, told);
            // The rest of it did.
            let exchange = &log.recent[0];
            prop_assert_eq!(exchange.user_id.as_deref(), Some(if place == 5 { REDACTED } else { "4711" }));
        }
    }

    #[test]
    fn any_head_is_read_and_what_is_logged_is_bounded(
        head in proptest::collection::vec(
            ("(x-user-id|X-Plan|user-agent|x-forwarded-for|forwarded|traceparent|x)", "[ -~\t\u{e4}]{0,300}"), 0..40,
        ),
        query in "[a-z=&%?]{0,200}",
    ) {
        let fields: Vec<(&str, &str)> = head.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let target = format!("/a?{query}");
        for request in [http1(&target, &fields), http2(&[(&target, &fields)])] {
            for exchange in &logged(&settings(), &request).recent {
                let values = exchange.attributes.iter().map(|(_, value)| value).chain(&exchange.user_id);
                for value in values {
                    prop_assert!(value.len() <= VALUE_BYTES && !value.contains(char::is_control));
                }
                prop_assert!(exchange.query.len() <= 16 && exchange.attributes.len() <= 5);
            }
        }
    }
}
