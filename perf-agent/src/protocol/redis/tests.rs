use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::*;
use crate::event::Change;
use crate::exchange::Loss;
use crate::protocol::tests::framed::Talked;
use crate::protocol::tests::peer::Peer;

/// A command as clients send it.
fn command(words: &[&str]) -> Vec<u8> {
    let bulks = words.iter().flat_map(|word| bulk(word));
    format!("*{}\r\n", words.len())
        .into_bytes()
        .into_iter()
        .chain(bulks)
        .collect()
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

#[test]
fn a_command_and_its_answer_are_an_exchange() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&command(&["SET", "key", "a value"]));
    peer.answers(b"+OK\r\n");
    peer.asks(&command(&["get", "key"]));
    peer.answers(b"$7\r\na value\r\n");
    peer.asks(&command(&["GET", "none"]));
    peer.answers(b"$-1\r\n");
    peer.asks(b"PING\r\n");
    peer.answers(b"+PONG\r\n");
    peer.check(&["SET answered", "GET answered 1/0", "GET answered 0/1", "PING answered"]);
    let ended = peer.sink.told[0].ended.unwrap();
    assert_eq!((ended.request_bytes, ended.response_bytes), (35, 5));
    assert_eq!((ended.times.request_first_ns, ended.times.response_last_ns), (1, 2));
}

#[test]
fn pipelined_commands_keep_their_order_in_any_chunks() {
    let asks = [
        command(&["CONFIG", "GET", "maxmemory"]),
        command(&["INCR", "n"]),
        command(&["LRANGE", "l", "0", "-1"]),
        command(&["HGETALL", "h"]),
        command(&["MGET", "a", "b", "c"]),
        command(&["EXISTS", "a", "b"]),
    ]
    .concat();
    let answers = b"*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n:1\r\n*2\r\n*1\r\n:1\r\n$0\r\n\r\n*0\r\n*3\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n:1\r\n";
    for size in [1, 2, 7, 1000] {
        let mut peer = Peer::new(&ENTRY);
        asks.chunks(size)
            .for_each(|chunk| assert_eq!(peer.asks(chunk), Verdict::Continue));
        answers
            .chunks(size)
            .for_each(|chunk| assert_eq!(peer.answers(chunk), Verdict::Continue));
        peer.check(&[
            "CONFIG GET answered",
            "INCR answered",
            "LRANGE answered",
            "HGETALL answered 0/1",
            "MGET answered 2/1",
            "EXISTS answered 1/1",
        ]);
    }
}

#[test]
fn errors_are_told_by_their_first_word_and_redirects_are_none() {
    let mut peer = Peer::new(&ENTRY);
    for (words, answer) in [
        (
            ["LPUSH", "s", "x"],
            &b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"[..],
        ),
        (["SET", "k", "x"], b"-MOVED 3999 127.0.0.1:6381\r\n"),
        (["FOO", "a", "b"], b"!21\r\nSYNTAX invalid syntax\r\n"),
        (["SET", "k", "x"], b"-?\r\n"),
    ] {
        peer.asks(&command(&words));
        peer.answers(answer);
    }
    peer.check(&[
        "LPUSH answered WRONGTYPE",
        "SET answered MOVED",
        "FOO answered SYNTAX",
        "SET answered unnamed",
    ]);
    assert!(peer.sink.told[1].ended.unwrap().error.unwrap().is_redirect);
}

#[test]
fn transactions_answer_each_command_and_all_of_them() {
    let mut peer = Peer::new(&ENTRY);
    for words in [&["MULTI"][..], &["GET", "a"], &["INCR", "b"], &["EXEC"]] {
        peer.asks(&command(words));
    }
    peer.answers(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$1\r\n1\r\n:2\r\n");
    peer.check(&["MULTI answered", "GET answered", "INCR answered", "EXEC answered"]);
}

#[test]
fn a_subscription_is_a_stream_until_its_last_channel_is_left() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&command(&["SUBSCRIBE", "a", "b"]));
    peer.answers(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
    peer.answers(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n");
    peer.asks(&command(&["UNSUBSCRIBE"]));
    peer.answers(b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n");
    peer.asks(&command(&["GET", "a"]));
    peer.answers(b"$1\r\n1\r\n");
    peer.check(&["SUBSCRIBE answered", "GET answered 1/0"]);
    let told = &peer.sink.told[0];
    assert_eq!(told.ended.unwrap().stream, Some(StreamKind::Subscription));
    assert_eq!(told.messages, Some([1, 4]));
    assert_eq!(told.stream_ended.unwrap().outcome, Outcome::Answered);
}

#[test]
fn with_resp3_messages_come_between_answers() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&command(&["HELLO", "3"]));
    peer.answers(b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n");
    peer.asks(&command(&["SUBSCRIBE", "a"]));
    peer.answers(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    peer.asks(&command(&["GET", "k"]));
    peer.answers(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n_\r\n");
    peer.answers(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    peer.check(&["HELLO answered", "SUBSCRIBE answered", "GET answered 0/1"]);
    assert_eq!(peer.sink.told[1].messages, Some([0, 2]));
    peer.dissector
        .closed(Some(Half::Request), 99, Change::Destroyed, &mut peer.sink);
    assert!(peer.sink.told[1].stream_ended.is_some());
}

#[test]
fn subscriptions_that_were_asked_for_at_once_are_one_stream() {
    let three = |third: &[&str]| {
        [
            command(&["SUBSCRIBE", "a"]),
            command(&["SUBSCRIBE", "b"]),
            command(third),
        ]
        .concat()
    };
    for third in [&["PING"][..], &["MONITOR"]] {
        let mut peer = Peer::new(&ENTRY);
        peer.asks(&three(third));
        peer.answers(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n+OK\r\n");
        peer.check(&[
            "SUBSCRIBE answered",
            "SUBSCRIBE answered",
            &format!("{} answered", third[0]),
        ]);
        assert!(peer.sink.told[0].stream_ended.is_none());
        peer.dissector.closed(None, 99, Change::Destroyed, &mut peer.sink);
        assert!(peer.sink.told[0].stream_ended.is_some());
        assert!(
            peer.sink.told[1..]
                .iter()
                .all(|told| told.ended.unwrap().stream.is_none())
        );
    }
}

#[test]
fn monitor_and_replication_are_streams() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(b"MONITOR\r\n");
    peer.answers(b"+OK\r\n+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n");
    peer.check(&["MONITOR answered"]);
    assert_eq!(peer.sink.told[0].messages, Some([0, 1]));
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&command(&["PSYNC", "?", "-1"]));
    peer.answers(b"+FULLRESYNC 8371 0\r\n$9\r\nREDIS0011*anything at all");
    peer.misses(Half::Response, 5000, b"", true);
    peer.check(&["PSYNC answered"]);
    assert_eq!(peer.sink.told[0].moved, [0, 5000 + 29]);
}

#[test]
fn blocking_reads_are_operations_of_their_own() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&command(&["XREAD", "COUNT", "1", "BLOCK", "100", "STREAMS", "s", "$"]));
    peer.answers(b"*-1\r\n");
    peer.asks(&command(&["XREAD", "STREAMS", "s", "0"]));
    peer.answers(b"*-1\r\n");
    peer.check(&["XREAD BLOCK answered", "XREAD answered"]);
}

#[test]
fn large_values_are_passed_over() {
    let mut peer = Peer::new(&ENTRY);
    let begin = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nxxxx";
    peer.asks(begin);
    peer.misses(Half::Request, 1_000_000 - 4 + 2, b"xxxxxx\r\n", false);
    peer.answers(b"+OK\r\n");
    peer.asks(&command(&["GET", "k"]));
    peer.answers(b"$1000000\r\nxx");
    peer.misses(Half::Response, 1_000_000, b"xxxxxx\r\n", false);
    peer.check(&["SET answered", "GET answered 1/0"]);
    assert_eq!(
        peer.sink.told[0].ended.unwrap().request_bytes,
        1_000_000 + 2 + begin.len() as u64 - 4
    );
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn an_answer_longer_than_is_copied_ends_at_the_next_request() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&command(&["LRANGE", "l", "0", "-1"]));
    peer.answers(b"*3\r\n$1\r\na\r\n");
    peer.misses(Half::Response, 14, b"", false);
    peer.asks(&command(&["GET", "k"]));
    peer.answers(b"$1\r\nx\r\n");
    peer.check(&["LRANGE answered", "GET answered 1/0"]);
    assert_eq!(peer.sink.losses, [Loss::FramingUnknown]);
    assert_eq!(peer.sink.told[0].ended.unwrap().times.response_last_ns, 3);
}

#[test]
fn after_a_loss_no_wrong_pair_is_made() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&[command(&["GET", "a"]), command(&["INCR", "b"])].concat());
    peer.misses(Half::Response, 7, b"", true);
    peer.answers(b":1\r\n");
    peer.asks(&command(&["GET", "c"]));
    peer.check(&["GET unknown", "INCR unknown"]);
    // A silence later everything is as at the beginning.
    peer.now += 200_000_000;
    peer.asks(&command(&["GET", "d"]));
    peer.answers(b"$1\r\nx\r\n");
    peer.check(&["GET unknown", "INCR unknown", "GET answered 1/0"]);
}

#[test]
fn an_argument_is_never_told() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&command(&["AUTH", "user", "SECRET"]));
    peer.asks(&command(&["CONFIG", "SET", "requirepass", "SECRET"]));
    peer.asks(b"AUTH SECRET\r\n");
    peer.answers(b"+OK\r\n-NOPERM SECRET\r\n+OK\r\n");
    peer.check(&["AUTH answered", "CONFIG SET answered NOPERM", "AUTH answered"]);
}

#[test]
fn answers_switched_off_end_the_view() {
    let mut peer = Peer::new(&ENTRY);
    assert_eq!(peer.asks(&command(&["CLIENT", "REPLY", "OFF"])), Verdict::Opaque);
    let mut peer = Peer::new(&ENTRY);
    assert_eq!(peer.asks(&command(&["CLIENT", "REPLY", "ON"])), Verdict::Continue);
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
    assert_eq!(requests(&command(&["get", "x"])), Some(Direction::Sent));
    for other in [
        &b"*2\r\n$7\r\nunknown\r\n$1\r\na\r\n"[..],
        b"+OK\r\n",
        b"$3\r\nGET\r\n",
        b"*1\r\n:1\r\n",
        b"GET / HTTP/1.1\r\n",
        b"*",
    ] {
        assert_eq!(requests(other), None, "{}", other.escape_ascii());
    }
}

/// Conversations for the properties that hold for every dissector.
pub(in crate::protocol) fn conversation() -> BoxedStrategy<Talked> {
    let value = "[a-z*$:\r\n+-]{0,40}";
    let ok = |answer: &str| (answer.as_bytes().to_vec(), None);
    let answer = prop_oneof![
        value.prop_map(|text| (bulk(&text), None)),
        Just(ok("$-1\r\n")),
        Just(ok("+OK\r\n")),
        any::<i32>().prop_map(move |number| ok(&format!(":{number}\r\n"))),
        prop_oneof![Just("ERR"), Just("WRONGTYPE"), Just("MOVED")]
            .prop_map(|code| (format!("-{code} some text\r\n").into_bytes(), Some(code.to_owned()))),
        prop::collection::vec(value, 0..5).prop_map(|values| {
            let head = format!("*2\r\n%0\r\n*{}\r\n", values.len()).into_bytes();
            (
                head.into_iter()
                    .chain(values.iter().flat_map(|text| bulk(text)))
                    .collect(),
                None,
            )
        }),
    ];
    let asks = (
        prop_oneof![Just("GET"), Just("SET"), Just("HSET"), Just("CONFIG GET"), Just("XADD")],
        prop::collection::vec(value, 1..4),
    );
    prop::collection::vec(prop::collection::vec((asks, answer), 1..5), 1..5)
        .prop_map(|batches| {
            let mut talked = Talked::default();
            for batch in batches {
                let mut both = [Vec::new(), Vec::new()];
                for ((operation, arguments), (answer, error)) in batch {
                    let mut words: Vec<&str> = operation.split(' ').collect();
                    words.extend(arguments.iter().map(String::as_str));
                    both[0].extend(command(&words));
                    both[1].extend(answer);
                    talked.expected.push((operation.to_owned(), error));
                }
                let [asks, answers] = both;
                talked.parts.extend([(Half::Request, asks), (Half::Response, answers)]);
            }
            talked
        })
        .boxed()
}
