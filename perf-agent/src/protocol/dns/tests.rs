use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::*;
use crate::exchange::Outcome;
use crate::protocol::tests::framed::Talked;
use crate::protocol::tests::peer::Peer;

// As dnspython says them.
const QUERY: &[u8] =
    b"\0-\x1d\xfa\x01\0\0\x01\0\0\0\0\0\x01\x04Mail\x07Example\x03com\0\0\x0f\0\x01\0\0)\x04\xd0\0\0\0\
    \0\0\0";
const ANSWER: &[u8] =
    b"\0U\x1d\xfa\x81\x80\0\x01\0\x02\0\0\0\x01\x04Mail\x07Example\x03com\0\0\x0f\0\x01\xc0\x0c\0\x0f\
    \0\x01\0\0\x01,\0\x08\0\x0a\x03mx1\xc0\x11\xc0\x0c\0\x0f\0\x01\0\0\x01,\0\x08\0\x14\x03mx2\xc0\
    \x11\0\0)\x20\0\0\0\0\0\0\0";

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

fn message(id: u16, flags: [u8; 2], answers: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = [
        &id.to_be_bytes()[..],
        &flags,
        b"\0\x01",
        &answers.to_be_bytes(),
        b"\0\0\0\0",
    ]
    .concat();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend([kind.to_be_bytes(), [0, 1]].concat());
    bytes
}

fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    framed(&message(id, [1, 0], 0, name, kind))
}

/// So many addresses.
fn answer(id: u16, rcode: u8, name: &str, kind: u16, records: usize) -> Vec<u8> {
    let mut bytes = message(id, [0x81, 0x80 | rcode], u16::try_from(records).unwrap(), name, kind);
    bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\x7f\0\0\x01".repeat(records));
    framed(&bytes)
}

#[test]
fn a_query_and_its_answer_are_an_exchange() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(QUERY);
    peer.answers(ANSWER);
    peer.asks(&query(2, "nothing.example.com", 28));
    peer.answers(&answer(2, 3, "nothing.example.com", 28, 0));
    peer.check(&[
        "MX mail.example.com answered 2 rows",
        "AAAA nothing.example.com answered NXDOMAIN 0 rows",
    ]);
    let ended = peer.sink.told[0].ended.unwrap();
    assert_eq!(ended.tally.rows, Some(2));
    assert_eq!(
        (ended.request_bytes, ended.response_bytes),
        (QUERY.len() as u64, ANSWER.len() as u64)
    );
    assert_eq!((ended.times.request_first_ns, ended.times.response_last_ns), (1, 2));
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn answers_belong_to_queries_by_id_and_question() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(
        &[
            query(1, "a.example", 1),
            query(1, "a.example", 28),
            query(2, "b.example", 1),
        ]
        .concat(),
    );
    peer.answers(&answer(2, 0, "B.example", 1, 1));
    peer.answers(&answer(1, 2, "a.example", 28, 0));
    // Of this nobody asked.
    peer.answers(&answer(1, 0, "c.example", 1, 1));
    peer.check(&[
        "A a.example in flight",
        "AAAA a.example answered SERVFAIL 0 rows",
        "A b.example answered 1 rows",
    ]);
    // An error may come without its question.
    peer.answers(&framed(b"\0\x01\x81\x81\0\0\0\0\0\0\0\0"));
    assert_eq!(
        peer.sink.ended.iter().map(|ticket| ticket.0).collect::<Vec<_>>(),
        [2, 1, 0]
    );
    assert_eq!(peer.sink.told[0].ended.unwrap().error.unwrap().as_str(), "FORMERR");
    assert_eq!(peer.sink.losses, [Loss::ResponseWithoutRequest]);
}

#[test]
fn a_length_may_be_read_apart_even_the_first_one() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&QUERY[2..]);
    peer.answers(ANSWER);
    let [asked, answered] = [query(2, "a.example", 1), answer(2, 0, "a.example", 1, 1)];
    peer.asks(&asked[..2]);
    peer.asks(&asked[2..]);
    peer.answers(&answered[..2]);
    peer.answers(&answered[2..]);
    peer.check(&["MX mail.example.com answered 2 rows", "A a.example answered 1 rows"]);
    let ended = peer.sink.told[1].ended.unwrap();
    assert_eq!(
        (ended.request_bytes, ended.response_bytes),
        (asked.len() as u64, answered.len() as u64)
    );
    assert_eq!((ended.times.request_first_ns, ended.times.request_last_ns), (3, 4));
    assert_eq!(
        (ended.times.response_first_ns, ended.times.response_last_ns),
        (Some(5), 6)
    );
}

#[test]
fn long_answers_are_passed_over() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&query(1, "many.example", 1));
    let long = answer(1, 0, "many.example", 1, 3000);
    peer.answers(&long[..1000]);
    peer.misses(Half::Response, long.len() as u64 - 1000, b"\0\x04\x7f\0\0\x01", false);
    peer.asks(&query(2, "a.example", 1));
    peer.answers(&answer(2, 0, "a.example", 1, 1));
    peer.check(&["A many.example answered 3000 rows", "A a.example answered 1 rows"]);
    assert_eq!(peer.sink.told[0].ended.unwrap().tally.rows, Some(3000));
    assert_eq!(peer.sink.told[0].ended.unwrap().response_bytes, long.len() as u64);
}

#[test]
fn after_a_loss_no_wrong_pair_is_made() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&[query(1, "a.example", 1), query(2, "b.example", 1)].concat());
    peer.misses(Half::Response, 10, b"", true);
    peer.answers(&answer(2, 3, "b.example", 1, 0));
    peer.check(&["A a.example unknown", "A b.example unknown"]);
    peer.now += 200_000_000;
    peer.asks(&query(3, "c.example", 1));
    peer.answers(&answer(3, 0, "c.example", 1, 1));
    assert_eq!(peer.sink.told[2].ended.unwrap().outcome, Outcome::Answered);
}

#[test]
fn a_transfer_of_a_zone_ends_the_view() {
    let mut peer = Peer::new(&ENTRY);
    assert_eq!(peer.asks(&query(1, "example.com", 252)), Verdict::Opaque);
    peer.check(&["AXFR example.com in flight"]);
}

#[test]
fn other_requests_are_called_by_what_they_are() {
    let mut peer = Peer::new(&ENTRY);
    for (id, flags) in [(1, [0x24, 0]), (2, [0x28, 0])] {
        peer.asks(&framed(&message(id, flags, 0, "example.com", 6)));
        peer.answers(&framed(&message(id, [flags[0] | 0x80, 0], 0, "example.com", 6)));
    }
    peer.check(&[
        "NOTIFY SOA example.com answered 0 rows",
        "UPDATE SOA example.com answered 0 rows",
    ]);
}

#[test]
fn what_is_a_query_is_told_from_what_is_none() {
    let asks = |bytes: &[u8]| {
        detect(&Beginning {
            bytes,
            length: u32::try_from(bytes.len()).unwrap(),
            direction: Direction::Received,
            first: true,
        })
    };
    for query in [
        QUERY,
        &QUERY[2..],
        &query(1, "", 2),
        &[query(1, "a", 1), query(2, "b", 1)].concat(),
    ] {
        assert_eq!(asks(query), Some(Direction::Received), "{}", query.escape_ascii());
    }
    for other in [
        ANSWER,
        &ANSWER[2..],
        &QUERY[..20],
        &query(1, "a.example", 1)[..22],
        &framed(&message(1, [1, 0], 1, "a.example", 1)),
        &framed(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01"),
        &[0; 64],
        b"\0",
    ] {
        assert_eq!(asks(other), None, "{}", other.escape_ascii());
    }
}

/// Conversations for the properties that hold for every dissector.
pub(in crate::protocol) fn conversation() -> BoxedStrategy<Talked> {
    let kind = prop_oneof![Just((1, "A")), Just((33, "SRV")), Just((1234, "TYPE1234"))];
    let rcode = prop_oneof![3 => Just((0, None)), 1 => Just((3, Some("NXDOMAIN"))), 1 => Just((2, Some("SERVFAIL")))];
    let exchange = (kind, rcode, "([a-z]{1,9}\\.){0,4}[a-z]{2,5}", 0..200usize);
    prop::collection::vec(prop::collection::vec(exchange, 1..5), 1..5)
        .prop_map(|batches| {
            let mut talked = Talked::default();
            let mut id = 0;
            for batch in batches {
                let (mut asks, mut answers) = (Vec::new(), Vec::new());
                for ((kind, kind_name), (rcode, error), name, records) in batch {
                    id += 1;
                    asks.push(query(id, &name, kind));
                    answers.push(answer(id, rcode, &name, kind, records));
                    let error = error.map(ToOwned::to_owned);
                    talked.expected.push((format!("{kind_name} {name}"), error));
                }
                answers.reverse();
                // A connection begins with one query at a time.
                let first = if talked.parts.is_empty() {
                    asks.remove(0)
                } else {
                    Vec::new()
                };
                talked.parts.extend([
                    (Half::Request, first),
                    (Half::Request, asks.concat()),
                    (Half::Response, answers.concat()),
                ]);
            }
            talked
        })
        .boxed()
}
