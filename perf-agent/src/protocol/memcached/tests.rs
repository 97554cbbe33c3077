use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::*;
use crate::event::Change;
use crate::protocol::tests::framed::Talked;
use crate::protocol::tests::peer::Peer;

/// A message of the binary protocol: magic, opcode, key, extras, value, status, opaque.
fn message(magic: u8, opcode: u8, parts: [&[u8]; 3], status: u16, opaque: u32) -> Vec<u8> {
    let [key, extras, value] = parts;
    let body = u32::try_from(key.len() + extras.len() + value.len()).unwrap();
    let mut bytes = vec![magic, opcode];
    bytes.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
    bytes.extend([u8::try_from(extras.len()).unwrap(), 0]);
    bytes.extend(status.to_be_bytes());
    bytes.extend(body.to_be_bytes());
    bytes.extend(opaque.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend([extras, key, value].concat());
    bytes
}

fn asks(opcode: u8, key: &str, extras: &[u8], value: &str, opaque: u32) -> Vec<u8> {
    message(0x80, opcode, [key.as_bytes(), extras, value.as_bytes()], 0, opaque)
}

fn answers(opcode: u8, status: u16, extras: &[u8], value: &str, opaque: u32) -> Vec<u8> {
    message(0x81, opcode, [b"", extras, value.as_bytes()], status, opaque)
}

/// What one batch of commands and its answers are told as, whatever the chunks.
#[track_caller]
fn check(asks: &[u8], answers: &[u8], expected: &[&str]) {
    for size in [1, 7, 10_000] {
        let mut peer = Peer::new(&ENTRY);
        for chunk in asks.chunks(size) {
            assert_eq!(peer.asks(chunk), Verdict::Continue);
        }
        for chunk in answers.chunks(size) {
            assert_eq!(peer.answers(chunk), Verdict::Continue);
        }
        peer.check(expected);
        assert_eq!(peer.sink.losses, []);
    }
}

/// As memcached 1.6.18 said.
#[test]
fn commands_of_the_text_protocol_are_exchanges() {
    check(
        b"set a 1 0 3\r\nabc\r\nget a b\r\ngets a\r\ngat 0 a b\r\nincr n 1\r\nincr q 1\r\ndelete zz\r\ntouch a 0\r\nincr a 1\r\n",
        b"STORED\r\nVALUE a 1 3\r\nabc\r\nEND\r\nVALUE a 1 3 1\r\nabc\r\nEND\r\nVALUE a 1 3\r\nabc\r\nEND\r\n6\r\n\
          NOT_FOUND\r\nNOT_FOUND\r\nTOUCHED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        &[
            "set answered",
            "get answered 1/1",
            "gets answered 1/0",
            "gat answered 1/1",
            "incr answered 1/0",
            "incr answered 0/1",
            "delete answered",
            "touch answered 1/0",
            "incr answered CLIENT_ERROR",
        ],
    );
}

#[test]
fn errors_have_their_word_as_code() {
    let mut asks = b"set a 0 0 2000\r\n".to_vec();
    asks.extend([b'x'; 2000]);
    asks.extend(b"\r\nget b\r\nFOO\r\n\r\nset a 0 0 -1\r\nfoo\r\nset a 0 0 2\r\nfoo\r\nshutdown\r\n");
    check(
        &asks,
        b"SERVER_ERROR object too large for cache\r\nEND\r\nERROR\r\nERROR\r\nCLIENT_ERROR bad command line format\r\n\
          ERROR\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\nERROR: shutdown not enabled\r\n",
        &[
            "set answered SERVER_ERROR",
            "get answered 0/1",
            "(unknown) answered ERROR",
            "(unknown) answered ERROR",
            "set answered CLIENT_ERROR",
            "(unknown) answered ERROR",
            "set answered CLIENT_ERROR",
            "(unknown) answered ERROR",
            "shutdown answered ERROR",
        ],
    );
}

#[test]
fn statistics_and_dumps_go_on_until_their_last_line() {
    check(
        b"stats\r\nstats reset\r\nstats detail dump\r\nstats cachedump 1 5\r\nlru_crawler crawl all\r\n\
          slabs reassign 1 2\r\nversion\r\nflush_all\r\nlru_crawler metadump all\r\nlru_crawler mgdump all\r\n",
        b"STAT pid 1\r\nSTAT uptime 3\r\nEND\r\nRESET\r\nPREFIX a get 1 hit 1 set 1 del 0\r\nEND\r\n\
          ITEM n [1 b; 0 s]\r\nEND\r\nOK\r\nNOSPARE source class has no spare pages\r\nVERSION 1.6.18\r\nOK\r\n\
          key=n exp=-1 la=1 cas=2 fetch=no cls=1 size=63\nEND\r\nmg n\r\nEN\r\n",
        &[
            "stats answered",
            "stats answered",
            "stats answered",
            "stats answered",
            "lru_crawler answered",
            "slabs answered",
            "version answered",
            "flush_all answered",
            "lru_crawler answered",
            "lru_crawler answered",
        ],
    );
}

#[test]
fn a_command_that_wants_no_answer_is_no_exchange() {
    check(
        b"set a 0 0 5 noreply\r\nget x\r\nincr n 1 noreply\r\nflush_all noreply\r\nget noreply\r\nquit\r\n",
        b"END\r\n",
        &["get answered 0/1"],
    );
}

#[test]
fn an_error_behind_a_command_without_an_answer_is_nobody_s() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(b"set a 0 0 1 noreply\r\nx\r\nget b\r\nget c\r\n");
    peer.answers(b"SERVER_ERROR out of memory storing object\r\nEND\r\n");
    peer.check(&["get unknown", "get unknown"]);
}

/// As memcached 1.6.18 said.
#[test]
fn meta_commands_are_exchanges_and_quiet_ones_are_answered_by_silence() {
    check(
        b"mg a v q k\r\nmg b v q k O7\r\nmg b v k O8\r\nmg a q O3\r\nmg a O4\r\nmg a\r\nmg b O1\r\nmn\r\n",
        b"VA 3 ka\r\nabc\r\nEN kb O8\r\nHD O3\r\nHD O4\r\nHD\r\nEN O1\r\nMN\r\n",
        &[
            "mg q answered 1/0",
            "mg q answered 0/1",
            "mg answered 0/1",
            "mg q answered 1/0",
            "mg answered 1/0",
            "mg answered 1/0",
            "mg answered 0/1",
            "mn answered",
        ],
    );
    check(
        b"ms x 2 q O1\r\nhi\r\nms x 2 q O2 ME\r\nhi\r\nms x 2 O3 k\r\nhi\r\nmd x q O5\r\nmd x q O6\r\nmd x O7\r\n\
          md x O7 k b\r\nmn\r\n",
        b"NS O2\r\nHD O3 kx\r\nNF O6\r\nNF O7\r\nCLIENT_ERROR invalid or duplicate flag\r\nMN\r\n",
        &[
            "ms q answered",
            "ms q answered",
            "ms answered",
            "md q answered",
            "md q answered",
            "md answered",
            "md answered CLIENT_ERROR",
            "mn answered",
        ],
    );
    check(
        b"ma n q\r\nma n q v\r\nma n v O5\r\nma nope O5\r\nma n N0\r\nmn\r\nme a\r\nme nope\r\n",
        b"VA 1 O5\r\n9\r\nNF O5\r\nHD\r\nMN\r\nME a exp=-1 la=1 cas=1 fetch=yes cls=1 size=67\r\nEN\r\n",
        &[
            "ma q answered 1/0",
            "ma q answered 1/0",
            "ma answered 1/0",
            "ma answered 0/1",
            "ma answered 1/0",
            "mn answered",
            "me answered",
            "me answered",
        ],
    );
}

#[test]
fn keys_tell_which_of_many_quiet_gets_was_answered() {
    let mut asks = Vec::new();
    for key in 0..500 {
        asks.extend(format!("mg key{key} v f k q s\r\n").into_bytes());
    }
    asks.extend(b"mn\r\n");
    let mut peer = Peer::new(&ENTRY);
    peer.asks(&asks);
    peer.answers(b"VA 1 f0 kkey77 s1\r\nx\r\nVA 1 f0 kkey499 s1\r\nx\r\nMN\r\n");
    let hits: Vec<_> = (0..501)
        .filter(|place| peer.sink.told[*place].ended.unwrap().tally.hits == 1)
        .collect();
    assert_eq!(hits, [77, 499]);
    let is_answered = |told: &crate::protocol::recorder::Told| told.ended.unwrap().outcome == Outcome::Answered;
    assert!(peer.sink.told.iter().all(is_answered));
}

#[test]
fn where_an_answer_may_be_to_several_it_is_to_none_until_the_next_no_op() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(b"mg a v q\r\nmg b v q\r\nmn\r\nmg c v q\r\nmn\r\n");
    peer.answers(b"VA 1\r\nx\r\nMN\r\nVA 1\r\ny\r\nMN\r\n");
    peer.check(&[
        "mg q unknown",
        "mg q unknown",
        "mn answered",
        "mg q answered 1/0",
        "mn answered",
    ]);
}

#[test]
fn a_barrier_that_was_dropped_is_not_taken_for_a_later_one() {
    let mut peer = Peer::new(&ENTRY);
    let many: Vec<u8> = (0..1500)
        .flat_map(|key| format!("mg {key} v q\r\n").into_bytes())
        .collect();
    peer.asks(&[b"mn\r\n", &many[..], b"mg a v q\r\nmg b v\r\nmn\r\nget x\r\n"].concat());
    peer.answers(b"MN\r\nVA 1\r\nx\r\nEN\r\nMN\r\nEND\r\n");
    let last: Vec<_> = peer.sink.told.iter().rev().take(4).collect();
    assert_eq!(last[0].ended.unwrap().outcome, Outcome::Answered);
    assert_eq!(last[1].ended.unwrap().outcome, Outcome::Answered);
    assert_eq!(last[2].ended.unwrap().outcome, Outcome::Unknown);
    let answered = |told: &&crate::protocol::recorder::Told| told.ended.unwrap().outcome == Outcome::Answered;
    assert_eq!(peer.sink.told.iter().filter(answered).count(), 2);
}

#[test]
fn silence_that_was_not_asked_for_at_once_tells_no_time() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(b"ms a 1 q\r\nx\r\n");
    peer.now += 50_000_000;
    peer.asks(b"get b\r\n");
    peer.answers(b"END\r\n");
    peer.asks(b"md a q\r\n");
    peer.asks(b"quit\r\n");
    peer.check(&["ms q unknown", "get answered 0/1", "md q unknown"]);
}

#[test]
fn an_answer_that_cannot_be_is_not_paired() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(b"get a\r\n");
    // To a command before, which was not seen.
    peer.answers(b"STORED\r\n");
    peer.answers(b"VALUE a 0 1\r\nx\r\nEND\r\n");
    peer.asks(b"get b\r\n");
    peer.answers(b"END\r\n");
    peer.check(&["get unknown", "get answered 0/1"]);
    assert_eq!(peer.sink.losses, [Loss::ResponseWithoutRequest]);
}

#[test]
fn a_key_that_is_too_long_makes_the_answers_uncertain() {
    let mut peer = Peer::new(&ENTRY);
    let long = "k".repeat(251);
    peer.asks(format!("get a\r\nset {long} 0 0 3\r\nfoo\r\n").as_bytes());
    peer.answers(b"END\r\nCLIENT_ERROR bad command line format\r\nERROR\r\n");
    peer.now += 200_000_000;
    peer.asks(b"get b\r\n");
    peer.answers(b"END\r\n");
    peer.check(&["get unknown", "set unknown", "get answered 0/1"]);
}

#[test]
fn watching_is_a_stream() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(b"watch fetchers\r\n");
    peer.answers(b"OK\r\nts=1.2 gid=1 type=item_get key=a status=not_found clsid=0\n");
    peer.misses(Half::Response, 100, b"", true);
    peer.check(&["watch answered"]);
    assert_eq!(peer.sink.streams(), ["subscription open 0+158"]);
    peer.dissector
        .closed(Some(Half::Request), 99, Change::Destroyed, &mut peer.sink);
    assert!(peer.sink.told[0].stream_ended.is_some());
}

#[test]
fn a_line_that_asks_for_many_keys_may_be_of_any_length() {
    let keys: Vec<String> = (0..3000).map(|key| format!("some:key:{key}")).collect();
    check(
        format!("get {}\r\nget a\r\n", keys.join(" ")).as_bytes(),
        b"VALUE some:key:7 0 1\r\nx\r\nEND\r\nEND\r\n",
        &["get answered 1/2999", "get answered 0/1"],
    );
}

#[test]
fn large_values_are_passed_over() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(b"set a 0 0 1000000\r\nxx");
    peer.misses(Half::Request, 1_000_000, b"xxxxxx\r\n", false);
    peer.answers(b"STORED\r\n");
    peer.asks(b"get a\r\n");
    peer.answers(b"VALUE a 0 1000000\r\n");
    // The rest of the value, and the line behind it.
    peer.misses(Half::Response, 1_000_000 + 7, b"x\r\nEND\r\n", false);
    peer.asks(b"mg a v\r\n");
    peer.answers(b"VA 1000000\r\n");
    peer.misses(Half::Response, 1_000_002, b"xxxxxx\r\n", false);
    // How many of the keys there were was not seen whole.
    peer.check(&["set answered", "get answered", "mg answered 1/0"]);
    assert_eq!(peer.sink.losses, []);
    assert_eq!(peer.sink.told[0].ended.unwrap().request_bytes, 1_000_021);
}

/// As memcached 1.6.18 said.
#[test]
fn commands_of_the_binary_protocol_are_exchanges() {
    let item = [0; 8];
    let flags = [0; 4];
    let number = [0; 20];
    let asks = [
        asks(0x01, "a", &item, "abc", 1),
        asks(0x11, "b", &item, "abc", 2),
        asks(0x02, "a", &item, "x", 3),
        asks(0x12, "a", &item, "x", 4),
        asks(0x0d, "a", &[], "", 5),
        asks(0x0d, "zz", &[], "", 6),
        asks(0x09, "b", &[], "", 7),
        asks(0x00, "zz", &[], "", 8),
        asks(0x05, "a", &number, "", 2),
        asks(0x10, "settings", &[], "", 0),
        asks(0x21, "PLAIN", &[], "\0user\0SECRET", 0),
        asks(0x55, "", &[], "", 0),
        asks(0x0a, "", &[], "", 10),
    ]
    .concat();
    let answers = [
        answers(0x01, 0, &[], "", 1),
        answers(0x02, 2, &[], "Data exists for key.", 3),
        answers(0x12, 2, &[], "Data exists for key.", 4),
        message(0x81, 0x0d, [b"a", &flags, b"abc"], 0, 5),
        answers(0x09, 0, &flags, "abc", 7),
        answers(0x00, 1, &[], "Not found", 8),
        answers(0x05, 6, &[], "Non-numeric server-side value for incr or decr", 2),
        message(0x81, 0x10, [b"maxbytes", b"", b"16777216"], 0, 0),
        message(0x81, 0x10, [b"maxconns", b"", b"1024"], 0, 0),
        answers(0x10, 0, &[], "", 0),
        answers(0x21, 0x20, &[], "Auth failure", 0),
        answers(0x55, 0x81, &[], "Unknown command", 0),
        answers(0x0a, 0, &[], "", 10),
    ]
    .concat();
    check(
        &asks,
        &answers,
        &[
            "set answered",
            "setq answered",
            "add answered",
            "addq answered",
            "getkq answered 1/0",
            "getkq answered 0/1",
            "getq answered 1/0",
            "get answered 0/1",
            "increment answered NON_NUMERIC_VALUE",
            "stat answered",
            "sasl_auth answered AUTHENTICATION_ERROR",
            "(unknown) answered UNKNOWN_COMMAND",
            "noop answered",
        ],
    );
}

#[test]
fn in_the_binary_protocol_keys_tell_where_opaques_do_not() {
    let asks = [
        asks(0x0d, "a", &[], "", 0),
        asks(0x0d, "b", &[], "", 0),
        asks(0x0d, "c", &[], "", 0),
        asks(0x0a, "", &[], "", 0),
    ]
    .concat();
    let answers = [
        message(0x81, 0x0d, [b"b", &[0; 4], b"x"], 0, 0),
        answers(0x0a, 0, &[], "", 0),
    ]
    .concat();
    check(
        &asks,
        &answers,
        &[
            "getkq answered 0/1",
            "getkq answered 1/0",
            "getkq answered 0/1",
            "noop answered",
        ],
    );
}

#[test]
fn no_key_and_no_value_is_ever_told() {
    let mut peer = Peer::new(&ENTRY);
    peer.asks(b"set SECRET 0 0 11\r\nuser SECRET\r\nmg SECRET v OSECRET k\r\nSECRET\r\nget SECRET\r\n");
    peer.answers(b"CLIENT_ERROR SECRET\r\nVA 6 OSECRET kSECRET\r\nSECRET\r\nERROR\r\nEND\r\n");
    let told = format!("{:?} {:?}", peer.sink, peer.dissector);
    assert!(!told.contains("SECRET"), "{told}");
    peer.check(&[
        "set answered CLIENT_ERROR",
        "mg answered 1/0",
        "(unknown) answered ERROR",
        "get answered 0/1",
    ]);
}

#[test]
fn what_is_a_request_is_told_from_what_is_not() {
    let requests = |bytes: &[u8]| {
        detect(&Beginning {
            bytes,
            length: u32::try_from(bytes.len()).unwrap(),
            direction: Direction::Sent,
            first: true,
        })
    };
    assert_eq!(requests(b"get a\r\n"), Some(Direction::Sent));
    assert_eq!(requests(&asks(0x00, "a", &[], "", 0)), Some(Direction::Sent));
    assert_eq!(requests(&asks(0x0b, "", &[], "", 0)), Some(Direction::Sent));
    for other in [
        &b"STORED\r\n"[..],
        b"get /x\r\n",
        b"get / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"EHLO host\r\n",
        b"user x\r\n",
        b"get a",
        &asks(0x00, "", &[], "", 0),
        &asks(0x01, "a", &[], "", 0),
        &answers(0x00, 0, &[], "", 0),
    ] {
        assert_eq!(requests(other), None, "{}", other.escape_ascii());
    }
}

/// One command, what is answered to it, and as what that is told.
type Said = (Vec<u8>, Vec<u8>, Option<(String, Option<String>)>);

fn text() -> impl Strategy<Value = Said> {
    let value = "[a-z*$:\r\n VALUEND-]{0,40}";
    let said = |asks: String, answer: String, operation: &str, error: Option<&str>| -> Said {
        let told = (operation.to_owned(), error.map(str::to_owned));
        (asks.into_bytes(), answer.into_bytes(), Some(told))
    };
    let got = move |name: &'static str| {
        prop::collection::vec(prop::option::of(value), 1..4).prop_map(move |values| {
            let keys = [" k0", " k1", " k2"][..values.len()].concat();
            let item = |(key, value): (usize, &Option<String>)| {
                value.as_ref().map_or(String::new(), |value| {
                    format!("VALUE k{key} 0 {}\r\n{value}\r\n", value.len())
                })
            };
            let items: String = values.iter().enumerate().map(item).collect();
            said(format!("{name}{keys}\r\n"), format!("{items}END\r\n"), name, None)
        })
    };
    let store = (
        prop_oneof![Just("set"), Just("add"), Just("append")],
        value,
        prop_oneof![
            Just(("STORED\r\n", None)),
            Just(("NOT_STORED\r\n", None)),
            Just(("SERVER_ERROR out of memory\r\n", Some("SERVER_ERROR"))),
        ],
    )
        .prop_map(move |(name, value, (answer, error))| {
            said(
                format!("{name} k 0 0 {}\r\n{value}\r\n", value.len()),
                answer.to_owned(),
                name,
                error,
            )
        });
    let mute = value.prop_map(|value| {
        let asks = format!("set k 0 0 {} noreply\r\n{value}\r\n", value.len());
        (asks.into_bytes(), Vec::new(), None)
    });
    let meta = (value, any::<bool>(), 0..1000u32).prop_map(move |(value, hit, opaque)| {
        let answer = if hit {
            format!("VA {} O{opaque}\r\n{value}\r\n", value.len())
        } else {
            "EN\r\n".to_owned()
        };
        said(format!("mg k v O{opaque}\r\n"), answer, "mg", None)
    });
    prop_oneof![
        got("get"),
        got("gets"),
        store,
        mute,
        meta,
        (0..99u8).prop_map(move |number| said("incr k 1\r\n".to_owned(), format!("{number}\r\n"), "incr", None)),
        (0..3usize).prop_map(move |count| {
            said(
                "stats items\r\n".to_owned(),
                "STAT a 1\r\n".repeat(count) + "END\r\n",
                "stats",
                None,
            )
        }),
    ]
}

/// Quiet gets, of which some are answered, and a no-op.
fn quiet() -> impl Strategy<Value = Vec<Said>> {
    prop::collection::vec(prop::option::of("[a-zVAENMHD\r\n]{0,20}"), 1..5).prop_map(|values| {
        let told = |operation: &str| Some((operation.to_owned(), None));
        let mut said: Vec<Said> = Vec::new();
        for (key, value) in values.iter().enumerate() {
            let answer = value.as_ref().map_or(String::new(), |value| {
                format!("VA {} kk{key}\r\n{value}\r\n", value.len())
            });
            said.push((
                format!("mg k{key} v k q\r\n").into_bytes(),
                answer.into_bytes(),
                told("mg q"),
            ));
        }
        said.push((b"mn\r\n".to_vec(), b"MN\r\n".to_vec(), told("mn")));
        said
    })
}

fn binary() -> impl Strategy<Value = Said> {
    let told = |operation: &str, error: Option<&str>| Some((operation.to_owned(), error.map(str::to_owned)));
    let value = "[a-z\r\n\u{1}]{0,40}";
    prop_oneof![
        (value, any::<bool>(), 1..u32::MAX).prop_map(move |(value, hit, opaque)| {
            let answer = if hit {
                answers(0x00, 0, &[0; 4], &value, opaque)
            } else {
                answers(0x00, 1, &[], "Not found", opaque)
            };
            (asks(0x00, "k", &[], "", opaque), answer, told("get", None))
        }),
        (value, any::<bool>(), 1..u32::MAX).prop_map(move |(value, fails, opaque)| {
            let answer = answers(0x01, if fails { 0x82 } else { 0 }, &[], "", opaque);
            let error = fails.then_some("OUT_OF_MEMORY");
            (asks(0x01, "k", &[0; 8], &value, opaque), answer, told("set", error))
        }),
        (1..u32::MAX).prop_map(move |opaque| {
            let answer = [
                message(0x81, 0x10, [b"pid", b"", b"1"], 0, opaque),
                answers(0x10, 0, &[], "", opaque),
            ];
            (asks(0x10, "", &[], "", opaque), answer.concat(), told("stat", None))
        }),
    ]
}

/// Conversations for the properties that hold for every dissector.
pub(in crate::protocol) fn conversation() -> BoxedStrategy<Talked> {
    let batches = prop_oneof![
        prop::collection::vec(prop_oneof![prop::collection::vec(text(), 1..5), quiet()], 1..5),
        prop::collection::vec(prop::collection::vec(binary(), 1..5), 1..5),
    ];
    batches
        .prop_map(|batches| {
            let mut talked = Talked::default();
            let mut mute = false;
            for batch in batches {
                let mut both = [Vec::new(), Vec::new()];
                for (asks, answer, told) in batch {
                    // Behind a command without an answer it is not known whose an error is.
                    if mute && told.as_ref().is_some_and(|(_, error)| error.is_some()) {
                        continue;
                    }
                    mute = told.is_none();
                    both[0].extend(asks);
                    both[1].extend(answer);
                    talked.expected.extend(told);
                }
                let [asks, answers] = both;
                talked.parts.push((Half::Request, asks));
                if !answers.is_empty() {
                    talked.parts.push((Half::Response, answers));
                }
            }
            talked
        })
        .boxed()
}
