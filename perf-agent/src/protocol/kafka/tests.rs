use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::*;
use crate::event::Change;
use crate::exchange::Outcome;
use crate::protocol::tests::framed::Talked;
use crate::protocol::tests::peer::Peer;

// As librdkafka 2.16 and its mock broker say them.
const VERSIONS_ASKED: &[u8] =
    b"\0\0\0G\0\x12\0\x03\0\0\0\x01\0\x0eorders-service\0\x17confluent-kafka-python\x162.16.1-rdkafka-2.16\
        .0\0";
const VERSIONS_REFUSED: &[u8] = b"\0\0\0\x11\0\0\0\x01\0#\x01\0\x12\0\0\0\x02\0\0\0\0";
const METADATA_ASKED: &[u8] =
    b"\0\0\x005\0\x03\0\x0d\0\0\0\x03\0\x0eorders-service\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07orders\
        \0\x01\0\0";
const METADATA: &[u8] =
    b"\0\0\0\xc7\0\0\0\x03\0\0\0\0\0\x02\0\0\0\x01\x0a127.0.0.1\0\0\x85\x95\0\0\x18mockCluster15918366e048\
        \0\0\0\0\x02\0\0\x07orders\xd6\xc5\x1e\x84\x88\xbdGf\x8eso_xU\xa6!\0\x05\0\0\0\0\0\0\0\0\0\x01\0\0\0\
        \0\x02\0\0\0\x01\x02\0\0\0\x01\x01\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\x02\0\0\0\x01\x02\0\0\0\x01\x01\
        \0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\0\x02\0\0\0\x01\x02\0\0\0\x01\x01\0\0\0\0\0\0\x03\0\0\0\x01\0\0\0\0\
        \x02\0\0\0\x01\x02\0\0\0\x01\x01\0\x80\0\0\0\0\0\0\0\0";
const PRODUCE: &[u8] =
    b"\0\0\0\xc3\0\0\0\x0a\0\0\0\x03\0\x0eorders-service\0\0\xff\xff\0\0u0\x02\x07orders\x02\0\0\0\x01\x92\
        \x01\0\0\0\0\0\0\0\0\0\0\0\x85\0\0\0\0\x02\xbb8\x0cR\0\0\0\0\0\x02\0\0\x01\xa2\x20k4\x19\0\0\x01\xa2\
        \x20k4\x19\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x036\0\0\0\x12KEYSECRET\x18\
        VALUESECRET0\x006\0\0\x02\x12KEYSECRET\x18VALUESECRET1\x006\0\0\x04\x12KEYSECRET\x18VALUESECRET2\0\0\
        \0\0";
const PRODUCED: &[u8] =
    b"\0\0\x005\0\0\0\x03\0\x02\x07orders\x02\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\xd2\0\0\0\0\0\
        \0\0\0\x01\0\0\0\0\0\0\0\0";

fn sized(message: &[u8]) -> Vec<u8> {
    let size = u32::try_from(message.len()).unwrap();
    [&size.to_be_bytes(), message].concat()
}

/// A request of a client that is called `app`.
fn request(key: i16, version: i16, id: i32, body: &[u8]) -> Vec<u8> {
    let flexible = api::of(key).is_some_and(|api| api.is_flexible(version));
    let tags: &[u8] = if flexible { &[0] } else { &[] };
    let (key, version, id) = (key.to_be_bytes(), version.to_be_bytes(), id.to_be_bytes());
    sized(&[&key[..], &version, &id, b"\0\x03app", tags, body].concat())
}

fn answer(id: i32, body: &[u8]) -> Vec<u8> {
    sized(&[&id.to_be_bytes(), body].concat())
}

/// Of version 7: one partition of a topic.
fn produce(id: i32, acks: i16, topic: &str, records: &[u8]) -> Vec<u8> {
    let body = [
        b"\xff\xff",
        &acks.to_be_bytes()[..],
        b"\0\0\x75\x30\0\0\0\x01",
        &text(topic),
        b"\0\0\0\x01\0\0\0\x02",
        &sized(records),
    ];
    request(api::PRODUCE, 7, id, &body.concat())
}

fn produced(id: i32, topic: &str, code: i16) -> Vec<u8> {
    let body = [
        b"\0\0\0\x01",
        &text(topic)[..],
        b"\0\0\0\x01\0\0\0\x02",
        &code.to_be_bytes(),
        &[0; 24 + 4],
    ];
    answer(id, &body.concat())
}

/// Of version 11: a session, its epoch, and topics of one partition each.
fn fetch(id: i32, epoch: i32, topics: &[&str]) -> Vec<u8> {
    let mut body = b"\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\x03\x20\0\0\0\0\0\0\x07".to_vec();
    body.extend(epoch.to_be_bytes());
    body.extend(u32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        body.extend(text(topic));
        body.extend(b"\0\0\0\x01");
        body.extend([0; 28]);
    }
    body.extend(b"\0\0\0\0\0\0");
    request(api::FETCH, 11, id, &body)
}

/// With two partitions, of which the second has this code.
fn fetched(id: i32, topic: &str, records: &[u8], code: i16) -> Vec<u8> {
    let partition = |code: i16| {
        [
            b"\0\0\0\x02",
            &code.to_be_bytes()[..],
            &[0; 24],
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            &sized(records),
        ]
        .concat()
    };
    let body = [
        &b"\0\0\0\0\0\0\0\0\0\x07\0\0\0\x01"[..],
        &text(topic),
        b"\0\0\0\x02",
        &partition(0),
        &partition(code),
    ];
    answer(id, &body.concat())
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

#[test]
fn what_a_producer_says_is_told_by_api_and_topic() {
    let mut peer = Peer::new(&ENTRY);
    for (request, answer) in [
        (VERSIONS_ASKED, VERSIONS_REFUSED),
        (METADATA_ASKED, METADATA),
        (&request(api::PRODUCE, 10, 4, &PRODUCE[29..])[..], &[]),
    ] {
        peer.asks(request);
        peer.answers(answer);
    }
    let mut produced = PRODUCED.to_vec();
    produced[7] = 4;
    peer.answers(&produced);
    peer.check(&[
        "ApiVersions answered UNSUPPORTED_VERSION",
        "Metadata answered",
        "Produce orders answered",
    ]);
    assert!(peer.sink.told[0].ended.unwrap().error.unwrap().is_redirect);
    let ended = peer.sink.told[1].ended.unwrap();
    assert_eq!(
        (ended.request_bytes, ended.response_bytes),
        (METADATA_ASKED.len() as u64, METADATA.len() as u64)
    );
    assert_eq!((ended.times.request_first_ns, ended.times.response_last_ns), (3, 4));
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn answers_belong_to_requests_by_their_ids() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(
        &[
            fetch(1, -1, &["orders"]),
            request(12, 3, 2, b""),
            produce(3, -1, "logs", b""),
        ]
        .concat(),
    );
    peer.answers(&answer(2, b"\0\0\0\0\0\x1b"));
    peer.answers(&produced(3, "logs", 0));
    peer.answers(&fetched(1, "orders", b"records", 0));
    peer.check(&[
        "Fetch orders answered",
        "Heartbeat answered REBALANCE_IN_PROGRESS",
        "Produce logs answered",
    ]);
    assert_eq!(
        peer.sink.ended.iter().map(|ticket| ticket.0).collect::<Vec<_>>(),
        [1, 2, 0]
    );
}

#[test]
fn errors_are_told_by_their_names() {
    let mut peer = Peer::new(&ENTRY);
    for (id, request, answer) in [
        (1, produce(1, 1, "a", b""), produced(1, "a", 6)),
        (2, fetch(2, 0, &["a"]), fetched(2, "a", b"records", 1)),
        (3, request(11, 5, 3, b""), answer(3, b"\0\0\0\0\0\x4f")),
        (4, request(10, 2, 4, b""), answer(4, b"\0\0\0\0\0\x0f")),
        (5, request(36, 2, 5, b""), answer(5, b"\0\0\x3a")),
        // Of a version that is not known, and of an API that is not.
        (6, request(12, 30, 6, b""), answer(6, b"\0\0\0\0\0\0\x1b")),
        (7, request(99, 0, 7, b""), answer(7, b"\0\0\0\0\0\0\x1b")),
        (
            8,
            request(8, 8, 8, b""),
            answer(8, b"\0\0\0\0\0\x02\x02a\x02\0\0\0\x01\0\x16\0\0\0"),
        ),
    ] {
        peer.asks(&request);
        peer.answers(&answer);
        assert_eq!(peer.sink.ended.len(), id);
    }
    peer.check(&[
        "Produce a answered NOT_LEADER_OR_FOLLOWER",
        "Fetch a answered OFFSET_OUT_OF_RANGE",
        "JoinGroup answered MEMBER_ID_REQUIRED",
        "FindCoordinator answered COORDINATOR_NOT_AVAILA",
        "SaslAuthenticate answered SASL_AUTHENTICATION_FA",
        "Heartbeat answered",
        "Api 99 answered",
        "OffsetCommit answered ILLEGAL_GENERATION",
    ]);
}

#[test]
fn several_topics_are_one_operation_and_a_session_keeps_its_topics() {
    let mut peer = Peer::new(&ENTRY);
    let fetches: [(i32, &[&str]); 10] = [
        (3, &[]),
        (0, &["orders"]),
        (1, &[]),
        (2, &["orders"]),
        (3, &["logs"]),
        (4, &[]),
        (0, &["a", "b"]),
        (1, &["a"]),
        (-1, &["logs"]),
        (-1, &["no topic"]),
    ];
    for (id, (epoch, topics)) in fetches.into_iter().enumerate() {
        let id = i32::try_from(id).unwrap();
        peer.asks(&fetch(id, epoch, topics));
        peer.answers(&answer(id, b""));
    }
    peer.check(&[
        "Fetch answered",
        "Fetch orders answered",
        "Fetch orders answered",
        "Fetch orders answered",
        "Fetch (several topics) answered",
        "Fetch (several topics) answered",
        "Fetch (several topics) answered",
        "Fetch (several topics) answered",
        "Fetch logs answered",
        "Fetch answered",
    ]);
}

#[test]
fn ids_of_topics_have_the_names_that_metadata_told() {
    const HEAD: &[u8] = b"\0\0\x01\xf4\0\0\0\x01\x03\x20\0\0\x01\0\0\0\0\xff\xff\xff\xff\x02";
    let orders = *b"\xd6\xc5\x1e\x84\x88\xbdGf\x8eso_xU\xa6!";
    let fetch = |id, topic: [u8; 16]| request(api::FETCH, 16, id, &[HEAD, &topic, b"\x01\0\x01\x01\0"].concat());
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&fetch(1, orders));
    peer.answers(&answer(1, b"\0\0\0\0\0\0\0\0\0\0\0\x01\0"));
    peer.asks(METADATA_ASKED);
    peer.answers(METADATA);
    peer.asks(&fetch(4, orders));
    peer.answers(&answer(
        4,
        &[&[0; 11][..], b"\x02", &orders, b"\x02\0\0\0\0\0\x03"].concat(),
    ));
    peer.asks(&fetch(5, [9; 16]));
    peer.answers(&answer(5, b"\0\0\0\0\0\0\x46\0\0\0\0\x01\0"));
    peer.check(&[
        "Fetch (topic id) answered",
        "Metadata answered",
        "Fetch orders answered UNKNOWN_TOPIC_OR_PARTI",
        "Fetch (topic id) answered FETCH_SESSION_ID_NOT_F",
    ]);
}

#[test]
fn nobody_awaits_an_answer_to_acks_0() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&produce(1, 0, "logs", b"records"));
    peer.asks(&request(12, 0, 2, b""));
    peer.answers(&answer(2, b"\0\0"));
    peer.check(&["Heartbeat answered"]);
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn a_size_may_be_read_apart_even_the_first_one() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&VERSIONS_ASKED[4..]);
    peer.answers(VERSIONS_REFUSED);
    for message in [METADATA_ASKED, PRODUCE] {
        peer.asks(&message[..4]);
        peer.asks(&message[4..]);
        peer.answers(&answer(3, b"\0")[..4]);
        peer.answers(&answer(3, b"\0")[4..]);
    }
    peer.check(&[
        "ApiVersions answered UNSUPPORTED_VERSION",
        "Metadata answered",
        "Produce orders answered",
    ]);
    let ended = peer.sink.told[1].ended.unwrap();
    assert_eq!(
        (ended.request_bytes, ended.response_bytes),
        (METADATA_ASKED.len() as u64, 9)
    );
    assert_eq!((ended.times.request_first_ns, ended.times.request_last_ns), (3, 4));
    assert_eq!(
        (ended.times.response_first_ns, ended.times.response_last_ns),
        (Some(5), 6)
    );
}

#[test]
fn records_that_were_not_captured_are_passed_over() {
    let mut peer = Peer::new(&ENTRY);
    let large = produce(1, -1, "orders", &vec![b'x'; 100_000]);
    peer.asks(&large[..16_000]);
    peer.misses(Half::Request, large.len() as u64 - 16_000, b"xxxxxxxx", false);
    peer.answers(&produced(1, "orders", 0));
    peer.asks(&fetch(2, 0, &["orders"]));
    let large = fetched(2, "orders", &vec![b'x'; 100_000], 1);
    peer.answers(&large[..2000]);
    peer.misses(Half::Response, large.len() as u64 - 2000, b"xxxxxxxx", false);
    peer.asks(&request(12, 0, 3, b""));
    peer.answers(&answer(3, b"\0\0"));
    // The second partition's error was not captured.
    peer.check(&["Produce orders answered", "Fetch orders answered", "Heartbeat answered"]);
    assert_eq!(peer.sink.told[1].ended.unwrap().response_bytes, large.len() as u64);
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn after_a_loss_no_wrong_pair_is_made() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&[request(12, 0, 1, b""), request(12, 0, 2, b"")].concat());
    peer.misses(Half::Response, 10, b"", true);
    peer.answers(&answer(2, b"\0\x1b"));
    peer.check(&["Heartbeat unknown", "Heartbeat unknown"]);
    peer.now += 200_000_000;
    peer.asks(&request(12, 0, 3, b""));
    peer.answers(&answer(3, b"\0\0"));
    peer.asks(&request(12, 0, 4, b""));
    peer.dissector
        .closed(Some(Half::Response), 400_000_000, Change::Reset, &mut peer.sink);
    let outcomes: Vec<_> = peer.sink.told.iter().map(|told| told.ended.unwrap().outcome).collect();
    assert_eq!(outcomes[2..], [Outcome::Answered, Outcome::ServerClosed]);
}

#[test]
fn an_answer_to_nobody_ends_nothing() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&request(12, 0, 7, b""));
    peer.answers(&answer(6, b"\0\x1b"));
    peer.check(&["Heartbeat in flight"]);
    peer.answers(&answer(7, b"\0\0"));
    peer.check(&["Heartbeat answered"]);
    assert_eq!(peer.sink.losses, [Loss::ResponseWithoutRequest]);
}

#[test]
fn tokens_records_and_names_of_members_are_never_told() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(VERSIONS_ASKED);
    peer.answers(VERSIONS_REFUSED);
    peer.asks(&request(api::SASL_HANDSHAKE, 0, 2, b"\0\x05PLAIN"));
    peer.answers(&answer(2, b"\0\0\0\0\0\x01\0\x05PLAIN"));
    // The tokens of an old client stand for themselves, and may be empty.
    peer.asks(&sized(b"\0user\0SECRET"));
    peer.answers(&sized(b""));
    peer.asks(&request(36, 1, 3, b"\0\0\0\x0c\0user\0SECRET"));
    peer.answers(&answer(3, b"\0\0\xff\xff\0\0\0\x06SECRET\0\0\0\0\0\0\0\0"));
    peer.asks(&produce(4, -1, "orders", b"SECRET"));
    peer.answers(&produced(4, "orders", 0));
    peer.asks(&request(11, 5, 5, b"\0\x06SECRET"));
    peer.check(&[
        "ApiVersions answered UNSUPPORTED_VERSION",
        "SaslHandshake answered",
        "SaslAuthenticate answered",
        "Produce orders answered",
        "JoinGroup in flight",
    ]);
    assert!(peer.sink.losses.is_empty());
    assert!(!format!("{:?} {:?}", peer.sink, peer.dissector).contains("SECRET"));
}

#[test]
fn polls_wait_and_others_do_not() {
    for operation in [
        "Fetch",
        "Fetch orders",
        "Fetch (topic id)",
        "ShareFetch",
        "JoinGroup",
        "SyncGroup",
    ] {
        assert!(crate::protocol::waits(Protocol::Kafka, operation), "{operation}");
    }
    for operation in ["FetchSnapshot", "Produce Fetch", "Heartbeat", "ConsumerGroupHeartbeat"] {
        assert!(!crate::protocol::waits(Protocol::Kafka, operation), "{operation}");
    }
}

#[test]
fn what_is_a_request_is_told_from_what_is_none() {
    let requests = |bytes: &[u8]| {
        detect(&Beginning {
            bytes,
            length: u32::try_from(bytes.len()).unwrap(),
            direction: Direction::Sent,
            first: true,
        })
    };
    for request in [
        VERSIONS_ASKED,
        PRODUCE,
        METADATA_ASKED,
        &VERSIONS_ASKED[4..],
        &produce(1, 1, "a", &[0; 3000])[..2000],
    ] {
        assert_eq!(requests(request), Some(Direction::Sent), "{}", request.escape_ascii());
    }
    for other in [
        VERSIONS_REFUSED,
        METADATA,
        &VERSIONS_ASKED[..4],
        &VERSIONS_ASKED[..40],
        &PRODUCE[4..],
        // PostgreSQL's start of a session, whose length counts itself.
        b"\0\0\0\x28\0\x03\0\0user\0p\0database\0p\0options\0\0\0\0\0\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80",
    ] {
        assert_eq!(requests(other), None, "{}", other.escape_ascii());
    }
}

/// Conversations for the properties that hold for every dissector.
pub(in crate::protocol) fn conversation() -> BoxedStrategy<Talked> {
    let code = prop_oneof![2 => Just(0i16), 1 => Just(7i16)];
    let exchange = (0..6usize, code, "[a-z]{1,9}", "[a-z]{0,3000}");
    prop::collection::vec(prop::collection::vec(exchange, 1..5), 0..5)
        .prop_map(|batches| {
            let mut talked = Talked {
                parts: vec![
                    (Half::Request, VERSIONS_ASKED.to_vec()),
                    (Half::Response, VERSIONS_REFUSED.to_vec()),
                ],
                expected: vec![("ApiVersions".to_owned(), Some("UNSUPPORTED_VERSION".to_owned()))],
            };
            let mut id = 1;
            for batch in batches {
                let (mut asks, mut answers) = (Vec::new(), Vec::new());
                for (kind, code, topic, records) in batch {
                    id += 1;
                    let records = records.as_bytes();
                    let error = (code != 0).then(|| "REQUEST_TIMED_OUT".to_owned());
                    let (request, answer, operation) = match kind {
                        0 => (
                            produce(id, -1, &topic, records),
                            produced(id, &topic, code),
                            format!("Produce {topic}"),
                        ),
                        // What is behind longer records is not looked at.
                        1 => {
                            let records = records.get(..1000).unwrap_or(records);
                            (
                                fetch(id, -1, &[&topic]),
                                fetched(id, &topic, records, code),
                                format!("Fetch {topic}"),
                            )
                        }
                        2 => (
                            request(12, 4, id, records),
                            answer(id, &[&[0; 5], &code.to_be_bytes()[..], &[0]].concat()),
                            "Heartbeat".to_owned(),
                        ),
                        3 => (
                            request(13, 2, id, records),
                            answer(id, &[&[0; 4], &code.to_be_bytes()[..]].concat()),
                            "LeaveGroup".to_owned(),
                        ),
                        _ => {
                            let (key, name) = if kind == 4 {
                                (99, "Api 99")
                            } else {
                                (15, "DescribeGroups")
                            };
                            let exchange = (request(key, 0, id, records), answer(id, records), name.to_owned());
                            talked.expected.push((name.to_owned(), None));
                            asks.extend(&exchange.0);
                            answers.push(exchange.1);
                            continue;
                        }
                    };
                    talked.expected.push((operation, error));
                    asks.extend(request);
                    answers.push(answer);
                }
                answers.reverse();
                talked
                    .parts
                    .extend([(Half::Request, asks), (Half::Response, answers.concat())]);
            }
            talked
        })
        .boxed()
}

#[test]
fn an_answer_whose_numbers_are_none_of_a_request_begins_none() {
    // Produce v9 answers with id 3; as a request its client's name would have a length below that of null.
    assert!(!begins_request(
        b"\0\0\0\x1c\0\0\0\x03\0\x02\x07S\xc3aaa\xff\x02\0\0\0\0\0\x06\0\0\0\0\0\0\0\0"
    ));
    assert!(begins_request(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x03\xff\xff"));
}

#[test]
fn a_client_whose_name_goes_beyond_its_request_sends_none() {
    let mut kafka = Kafka::default();
    let first = Seen {
        at_ns: 1,
        arrival_ns: None,
        tgid: 1,
        tid: 1,
    };
    kafka.request = Some(Sized { size: 28, first });
    let measure = |bytes| kafka.measure(Half::Request, bytes);
    assert_eq!(measure(b"\0\0\0\x03\0\x02\x07aaa"), Measure::Malformed);
    assert!(matches!(
        measure(b"\0\0\0\x03\0\x02\x07a\0\x12"),
        Measure::Message { .. }
    ));
}

#[test]
fn letters_begin_no_size() {
    let kafka = Kafka::default();
    for (said, clean) in [(&b"SEC"[..], &b"xxx"[..]), (b"\0\x01S", b"\0\x01S")] {
        let mut head = said.to_vec();
        kafka.blank(Half::Request, &mut head, &Pairs::default());
        assert_eq!(head, clean);
    }
}
