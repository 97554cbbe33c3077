use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::*;
use crate::event::Change;
use crate::protocol::tests::framed::Talked;
use crate::protocol::tests::peer::Peer;
use crate::protocol::waits;

/// A document of these elements: type, name and value of each.
fn document(elements: &[(u8, &str, &[u8])]) -> Vec<u8> {
    let element = |(kind, name, value): &(u8, &str, &[u8])| [&[*kind][..], name.as_bytes(), &[0], value].concat();
    let elements: Vec<u8> = elements.iter().flat_map(element).collect();
    let length = u32::try_from(4 + elements.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &elements, &[0]].concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len() + 1).unwrap();
    [&length.to_le_bytes()[..], text.as_bytes(), &[0]].concat()
}

fn message(code: i32, id: i32, response_to: i32, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(HEADER + body.len()).unwrap();
    let header = [length, id, response_to, code].map(i32::to_le_bytes).concat();
    [&header[..], body].concat()
}

/// An `OP_MSG` of one document.
fn msg(id: i32, response_to: i32, flags: u32, document: &[u8]) -> Vec<u8> {
    message(
        2013,
        id,
        response_to,
        &[&flags.to_le_bytes()[..], &[0], document].concat(),
    )
}

const ONE: &[u8] = &[1, 0, 0, 0];

/// A command whose first value is text.
fn asks(id: i32, command: &str, of: &str) -> Vec<u8> {
    let document = document(&[(2, command, &string(of)), (2, "$db", &string("test"))]);
    msg(id, 0, 0, &document)
}

/// An answer that all went well.
fn answers(id: i32, response_to: i32, flags: u32) -> Vec<u8> {
    msg(id, response_to, flags, &document(&[(1, "ok", &1f64.to_le_bytes())]))
}

/// An answer that holds a cursor's batch of so many documents.
fn found(id: i32, response_to: i32, flags: u32, batch: &str, count: usize) -> Vec<u8> {
    let one = document(&[(2, "name", &string("SECRET"))]);
    let names: Vec<String> = (0..count).map(|place| place.to_string()).collect();
    let elements: Vec<_> = names.iter().map(|name| (3, name.as_str(), &one[..])).collect();
    let cursor = document(&[
        (4, batch, &document(&elements)),
        (0x12, "id", &[0; 8]),
        (2, "ns", &string("test.users")),
    ]);
    let document = document(&[(3, "cursor", &cursor), (1, "ok", &1f64.to_le_bytes())]);
    msg(id, response_to, flags, &document)
}

/// Rows of all exchanges.
fn rows(peer: &Peer) -> Vec<Option<u64>> {
    let rows = |told: &crate::protocol::recorder::Told| told.ended.unwrap().tally.rows;
    peer.sink.told.iter().map(rows).collect()
}

/// Operation, outcome and error of each exchange.
#[track_caller]
fn check(peer: &Peer, expected: &[&str]) {
    let told = |told: &crate::protocol::recorder::Told| {
        let ended = told.ended.unwrap();
        let error = ended
            .error
            .map_or(String::new(), |error| format!(" {}", error.as_str()));
        format!("{} {}{error}", told.path, ended.outcome.name())
    };
    let told: Vec<_> = peer.sink.told.iter().map(told).collect();
    assert_eq!(told, expected, "{:?}", peer.sink.losses);
}

/// As pymongo 4.20 and mockupdb 1.8 said.
#[test]
fn a_command_and_its_answer_are_an_exchange() {
    let conversation: &[[&[u8]; 2]] = &[
        [
            b"V\x00\x00\x00i\x98<d\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00A\x00\x00\x00\x02find\x00\x06\x00\x00\x00users\x00\x03filter\x00\x16\x00\x00\x00\x02name\x00\x07\x00\x00\x00SECRET\x00\x00\x02$db\x00\x05\x00\x00\x00test\x00\x00",
            b"}\x00\x00\x00 ]\n\x00i\x98<d\xdd\x07\x00\x00\x00\x00\x00\x00\x00h\x00\x00\x00\x03cursor\x00S\x00\x00\x00\x10id\x00\x00\x00\x00\x00\x02ns\x00\x0b\x00\x00\x00test.users\x00\x04firstBatch\x00'\x00\x00\x00\x030\x00\x0e\x00\x00\x00\x10_id\x00\x01\x00\x00\x00\x00\x031\x00\x0e\x00\x00\x00\x10_id\x00\x02\x00\x00\x00\x00\x00\x00\x10ok\x00\x01\x00\x00\x00\x00",
        ],
        [
            b"p\x00\x00\x00sH3f\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x000\x00\x00\x00\x02insert\x00\x07\x00\x00\x00orders\x00\x08ordered\x00\x01\x02$db\x00\x05\x00\x00\x00test\x00\x00\x01*\x00\x00\x00documents\x00\x0e\x00\x00\x00\x10_id\x00\x01\x00\x00\x00\x00\x0e\x00\x00\x00\x10_id\x00\x02\x00\x00\x00\x00",
            b")\x00\x00\x00\x04!\x06\x00sH3f\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x10n\x00\x02\x00\x00\x00\x10ok\x00\x01\x00\x00\x00\x00",
        ],
        [
            b"b\x00\x00\x00Q\xdc\xb0t\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x000\x00\x00\x00\x02insert\x00\x07\x00\x00\x00orders\x00\x08ordered\x00\x01\x02$db\x00\x05\x00\x00\x00test\x00\x00\x01\x1c\x00\x00\x00documents\x00\x0e\x00\x00\x00\x10_id\x00\x01\x00\x00\x00\x00",
            b"h\x00\x00\x00K \x01\x00Q\xdc\xb0t\xdd\x07\x00\x00\x00\x00\x00\x00\x00S\x00\x00\x00\x10n\x00\x00\x00\x00\x00\x10ok\x00\x01\x00\x00\x00\x04writeErrors\x002\x00\x00\x00\x030\x00*\x00\x00\x00\x10index\x00\x00\x00\x00\x00\x10code\x00\xf8*\x00\x00\x02errmsg\x00\x04\x00\x00\x00dup\x00\x00\x00\x00",
        ],
        [
            b"2\x00\x00\x00J\x94\xe8*\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00\x10nope\x00\x01\x00\x00\x00\x02$db\x00\x05\x00\x00\x00test\x00\x00",
            b"^\x00\x00\x00w\xe7\x05\x00J\x94\xe8*\xdd\x07\x00\x00\x00\x00\x00\x00\x00I\x00\x00\x00\x10ok\x00\x00\x00\x00\x00\x02errmsg\x00\x08\x00\x00\x00no such\x00\x10code\x00;\x00\x00\x00\x02codeName\x00\x10\x00\x00\x00CommandNotFound\x00\x00",
        ],
    ];
    for size in [1, 16, 1000] {
        let mut peer = Peer::new(&ENTRY);
        for [asks, answers] in conversation {
            asks.chunks(size)
                .for_each(|chunk| assert_eq!(peer.asks(chunk), Verdict::Continue));
            answers
                .chunks(size)
                .for_each(|chunk| assert_eq!(peer.answers(chunk), Verdict::Continue));
        }
        check(
            &peer,
            &[
                "find users answered",
                "insert orders answered",
                "insert orders answered 11000",
                "nope answered CommandNotFound",
            ],
        );
        assert_eq!(rows(&peer), [Some(2), Some(2), Some(0), None]);
        assert_eq!(peer.sink.losses, []);
        let ended = peer.sink.told[0].ended.unwrap();
        assert_eq!((ended.request_bytes, ended.response_bytes), (86, 125));
    }
}

#[test]
fn answers_in_any_order_find_their_requests() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&[asks(1, "find", "a"), asks(2, "find", "b"), asks(3, "ping", "")].concat());
    peer.answers(&[answers(10, 3, 0), found(11, 1, 0, "firstBatch", 1), answers(12, 2, 0)].concat());
    check(&peer, &["find a answered", "find b answered", "ping answered"]);
    assert_eq!(rows(&peer), [Some(1), None, None]);
    peer.answers(&answers(13, 77, 0));
    assert_eq!(peer.sink.losses, [Loss::ResponseWithoutRequest]);
}

#[test]
fn a_write_that_wants_no_answer_is_no_exchange() {
    let mut peer = Peer::new(&ENTRY);
    let insert = document(&[(2, "insert", &string("log"))]);
    peer.asks(&[msg(1, 0, flag::MORE_TO_COME, &insert), asks(2, "find", "a")].concat());
    // As old drivers did it.
    peer.asks(&message(2002, 3, 0, b"\0\0\0\0test.log\0\x05\0\0\0\0"));
    peer.answers(&answers(9, 2, 0));
    check(&peer, &["find a answered"]);
}

#[test]
fn an_exhaust_cursor_is_one_exchange() {
    let mut peer = Peer::new(&ENTRY);
    let get_more = document(&[(0x12, "getMore", &[9; 8]), (2, "collection", &string("users"))]);
    peer.asks(&msg(1, 0, flag::EXHAUST_ALLOWED, &get_more));
    peer.answers(&found(1001, 1, flag::MORE_TO_COME, "nextBatch", 3));
    peer.answers(&found(1002, 1001, flag::MORE_TO_COME, "nextBatch", 3));
    peer.answers(&found(1003, 1002, 0, "nextBatch", 1));
    check(&peer, &["getMore users answered"]);
    assert_eq!(rows(&peer), [Some(7)]);
    let times = peer.sink.told[0].ended.unwrap().times;
    assert_eq!((times.response_first_ns, times.response_last_ns), (Some(2), 4));
}

#[test]
fn a_hello_that_is_answered_again_and_again_is_a_stream() {
    let mut peer = Peer::new(&ENTRY);
    let hello = document(&[(0x10, "hello", ONE), (0x10, "maxAwaitTimeMS", &[0x10, 0x27, 0, 0])]);
    peer.asks(&msg(1, 0, flag::EXHAUST_ALLOWED, &hello));
    peer.answers(&answers(1001, 1, flag::MORE_TO_COME));
    peer.answers(&answers(1002, 1001, flag::MORE_TO_COME));
    peer.answers(&answers(1003, 1002, 0));
    check(&peer, &["hello await answered"]);
    assert_eq!(peer.sink.streams(), ["subscription answered 4 0+76 0+2"]);
    // One that ends with the connection.
    peer.asks(&msg(2, 0, flag::EXHAUST_ALLOWED, &hello));
    peer.answers(&answers(1004, 2, flag::MORE_TO_COME));
    peer.dissector.closed(None, 99, Change::Destroyed, &mut peer.sink);
    assert_eq!(peer.sink.in_flight(), 0);
}

#[test]
fn what_was_asked_to_wait_is_an_operation_of_its_own() {
    let mut peer = Peer::new(&ENTRY);
    let tailable = document(&[
        (0x12, "getMore", &[9; 8]),
        (2, "collection", &string("log")),
        (0x10, "maxTimeMS", &[0xe8, 3, 0, 0]),
    ]);
    let hello = document(&[(0x10, "isMaster", ONE), (0x10, "maxAwaitTimeMS", ONE)]);
    peer.asks(&msg(1, 0, 0, &tailable));
    peer.answers(&found(9, 1, 0, "nextBatch", 0));
    peer.asks(&msg(2, 0, 0, &hello));
    peer.answers(&answers(10, 2, 0));
    peer.asks(&msg(3, 0, 0, &document(&[(0x10, "hello", ONE)])));
    peer.answers(&answers(11, 3, 0));
    check(
        &peer,
        &[
            "getMore log await answered",
            "isMaster await answered",
            "hello answered",
        ],
    );
    let waiting = |told: &&crate::protocol::recorder::Told| waits(Protocol::Mongodb, &told.path);
    assert_eq!(peer.sink.told.iter().filter(waiting).count(), 2);
    assert!(!waits(Protocol::Mongodb, "find await") && !waits(Protocol::Mongodb, "getMore log"));
}

#[test]
fn what_is_compressed_is_paired_and_told_of_once() {
    let mut peer = Peer::new(&ENTRY);
    let body = b"\xdd\x07\0\0\x40\0\0\0\x02compressed";
    peer.asks(&message(2012, 1, 0, body));
    peer.asks(&message(2012, 2, 0, body));
    // The first wanted no answer, which was not to be seen.
    peer.answers(&message(2012, 9, 2, body));
    peer.asks(&message(2012, 3, 0, body));
    peer.answers(&answers(10, 3, 0));
    check(
        &peer,
        &["(compressed) unknown", "(compressed) answered", "(compressed) answered"],
    );
    assert_eq!(peer.sink.losses, [Loss::Compressed]);
}

#[test]
fn old_queries_and_their_answers_are_exchanges() {
    let mut peer = Peer::new(&ENTRY);
    let query = |id, namespace: &str, document: &[u8]| {
        let body = [
            b"\0\0\0\0",
            namespace.as_bytes(),
            b"\0\0\0\0\0\xff\xff\xff\xff",
            document,
        ]
        .concat();
        message(2004, id, 0, &body)
    };
    let reply = |to, flags: u8, count: u8, document: &[u8]| {
        let head = [&[flags, 0, 0, 0][..], &[0; 12], &[count, 0, 0, 0]].concat();
        message(1, 100 + to, to, &[&head[..], document].concat())
    };
    let ok = document(&[(0x10, "ismaster", ONE), (1, "ok", &1f64.to_le_bytes())]);
    let failed = document(&[(2, "$err", &string("bad")), (0x10, "code", &[0x11, 0, 0, 0])]);
    peer.asks(&query(1, "admin.$cmd", &document(&[(0x10, "isMaster", ONE)])));
    peer.answers(&reply(1, 8, 1, &ok));
    peer.asks(&query(2, "test.users", &document(&[(2, "name", &string("SECRET"))])));
    peer.answers(&reply(2, 0, 7, b""));
    peer.asks(&query(3, "test.users", &document(&[])));
    peer.answers(&reply(3, 2, 1, &failed));
    peer.asks(&message(2005, 4, 0, b"\0\0\0\0test.users\0\0\0\0\0cccccccc"));
    peer.answers(&reply(4, 1, 0, b""));
    check(
        &peer,
        &[
            "isMaster answered",
            "query users answered",
            "query users answered 17",
            "getMore users answered CursorNotFound",
        ],
    );
    assert_eq!(rows(&peer), [None, Some(7), None, None]);
}

#[test]
fn errors_are_told_by_their_name_or_number() {
    let failed = 0f64.to_le_bytes();
    let fine = 1f64.to_le_bytes();
    let code = (0x10, "code", &[0x40, 0, 0, 0][..]);
    let name = string("WriteConcernFailed");
    let named = document(&[code, (2, "codeName", &name)]);
    for (document, error) in [
        (
            document(&[(1, "ok", &failed), code, (2, "codeName", &name)]),
            Some("WriteConcernFailed"),
        ),
        (document(&[(1, "ok", &failed), code]), Some("64")),
        (document(&[code, (0x10, "ok", &[0; 4])]), Some("64")),
        (document(&[(1, "ok", &failed)]), Some("unnamed")),
        (document(&[(1, "ok", &fine), code]), None),
        (
            document(&[(3, "writeConcernError", &named), (1, "ok", &fine)]),
            Some("WriteConcernFailed"),
        ),
    ] {
        let mut peer = Peer::new(&ENTRY);
        peer.asks(&asks(1, "find", "users"));
        peer.answers(&msg(9, 1, 0, &document));
        let told = peer.sink.told[0].ended.unwrap().error;
        assert_eq!(told.as_ref().map(ErrorCode::as_str), error);
    }
}

#[test]
fn sequences_may_come_before_the_command() {
    let sequence = [&b"\x01\x13\0\0\0documents\0"[..], b"\x05\0\0\0\0"].concat();
    let command = document(&[(2, "insert", &string("users"))]);
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&message(
        2013,
        1,
        0,
        &[b"\x01\0\0\0", &sequence[..], b"\0", &command, b"csum"].concat(),
    ));
    peer.answers(&answers(9, 1, 0));
    check(&peer, &["insert users answered"]);
}

#[test]
fn large_messages_are_passed_over() {
    let mut peer = Peer::new(&ENTRY);
    let mut insert = asks(1, "insert", "users");
    insert[..4].copy_from_slice(&1_000_000u32.to_le_bytes());
    peer.asks(&[&insert[..], &[b'x'; 2000]].concat());
    peer.misses(
        Half::Request,
        1_000_000 - 2000 - insert.len() as u64,
        b"xxxxxxxx",
        false,
    );
    peer.answers(&answers(9, 1, 0));
    peer.asks(&asks(2, "find", "users"));
    let whole = found(10, 2, 0, "firstBatch", 2000);
    peer.answers(&whole[..16_320]);
    peer.misses(Half::Response, whole.len() as u64 - 16_320, b"", false);
    check(&peer, &["insert users answered", "find users answered"]);
    // Not all of them were seen.
    assert_eq!(rows(&peer), [None, None]);
    assert_eq!(peer.sink.losses, []);
    assert_eq!(peer.sink.told[0].ended.unwrap().request_bytes, 1_000_000);
}

#[test]
fn no_value_is_ever_told() {
    let mut peer = Peer::new(&ENTRY);
    for (id, command) in (1..).zip(["createUser", "dropUser", "getLog", "renameCollection", "eval"]) {
        let document = document(&[(2, command, &string("SECRET")), (2, "pwd", &string("SECRET"))]);
        peer.asks(&msg(id, 0, 0, &document));
        peer.answers(&msg(
            100 + id,
            id,
            0,
            &self::document(&[(1, "ok", &[0; 8]), (2, "errmsg", &string("SECRET"))]),
        ));
    }
    let payload = document(&[(0x10, "saslStart", ONE), (5, "payload", b"\x06\0\0\0\0SECRET")]);
    peer.asks(&msg(10, 0, 0, &payload));
    peer.asks(&msg(11, 0, 0, &document(&[(2, "not a command: SECRET", &string("x"))])));
    peer.asks(&msg(12, 0, 0, &document(&[(2, "find", &string("a\u{1}SECRET"))])));
    peer.answers(
        &[
            answers(20, 10, 0),
            answers(21, 11, 0),
            found(22, 12, 0, "firstBatch", 1),
        ]
        .concat(),
    );
    let told = format!("{:?} {:?}", peer.sink, peer.dissector);
    assert!(!told.contains("SECRET"), "{told}");
    let last: Vec<_> = peer.sink.told[5..].iter().map(|told| &told.path[..]).collect();
    assert_eq!(last, ["saslStart", "(unknown)", "find"]);
}

#[test]
fn a_collection_s_name_is_cut() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&asks(1, "find", &"ä".repeat(40)));
    assert_eq!(peer.sink.told[0].path, format!("find {}", "ä".repeat(32)));
}

#[test]
fn requests_that_are_not_kept_leave_no_trace() {
    let mut peer = Peer::new(&ENTRY);
    (0..1100).for_each(|id| {
        peer.asks(&asks(1 + id, "find", "a"));
    });
    (0..1100).for_each(|id| {
        peer.answers(&answers(5000 + id, 1 + id, 0));
    });
    peer.asks(&asks(2000, "find", "b"));
    peer.answers(&answers(9000, 2000, 0));
    assert_eq!(peer.sink.told.len(), 1025);
    assert_eq!(peer.sink.told[1024].path, "find b");
    assert!(
        peer.sink
            .told
            .iter()
            .all(|told| told.ended.unwrap().outcome == Outcome::Answered)
    );
}

#[test]
fn what_is_a_request_is_told_from_what_is_an_answer() {
    let requests = |bytes: &[u8]| {
        detect(&Beginning {
            bytes,
            length: u32::try_from(bytes.len()).unwrap(),
            direction: Direction::Sent,
            first: true,
        })
    };
    let find = asks(1, "find", "users");
    assert_eq!(requests(&find), Some(Direction::Sent));
    assert_eq!(requests(&find[..16]), Some(Direction::Sent));
    for other in [
        &answers(9, 1, 0)[..],
        &find[..15],
        &msg(1, 0, 1 << 3, b""),
        &message(2013, 1, 0, b""),
        &message(2014, 1, 0, b"\0\0\0\0\0"),
    ] {
        assert_eq!(requests(other), None, "{}", other.escape_ascii());
    }
}

/// Conversations for the properties that hold for every dissector.
pub(in crate::protocol) fn conversation() -> BoxedStrategy<Talked> {
    let name = prop_oneof![Just("find"), Just("insert"), Just("aggregate"), Just("update")];
    // So that no answer is one to a request of the same number that was lost.
    let said = (
        name,
        "[a-z]{1,10}",
        0..5usize,
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.1),
    );
    let batch = (prop::collection::vec(said, 1..5), any::<bool>());
    prop::collection::vec(batch, 1..5)
        .prop_map(|batches| {
            let mut talked = Talked::default();
            let mut id = 0x7400;
            for (batch, reversed) in batches {
                let mut asked = Vec::new();
                let mut answered = Vec::new();
                for (name, collection, count, fails, exhausts, mute) in batch {
                    id += 1;
                    if mute {
                        let document = document(&[(2, name, &string(&collection))]);
                        asked.extend(msg(id, 0, flag::MORE_TO_COME, &document));
                        continue;
                    }
                    asked.extend(asks(id, name, &collection));
                    let failed = document(&[
                        (1, "ok", &[0; 8]),
                        (0x10, "code", &[11, 0, 0, 0]),
                        (2, "codeName", &string("Code")),
                    ]);
                    answered.push(match (fails, exhausts) {
                        (true, _) => msg(id + 5000, id, 0, &failed),
                        (false, false) => found(id + 5000, id, 0, "firstBatch", count),
                        (false, true) => [
                            found(id + 5000, id, flag::MORE_TO_COME, "firstBatch", count),
                            found(id + 9000, id + 5000, 0, "nextBatch", count),
                        ]
                        .concat(),
                    });
                    let error = fails.then(|| "Code".to_owned());
                    talked.expected.push((format!("{name} {collection}"), error));
                }
                if reversed {
                    answered.reverse();
                }
                talked.parts.push((Half::Request, asked));
                if !answered.is_empty() {
                    talked.parts.push((Half::Response, answered.concat()));
                }
            }
            talked
        })
        .boxed()
}
