use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::*;
use crate::event::Change;
use crate::exchange::{Loss, StreamKind};
use crate::protocol::tests::framed::Talked;
use crate::protocol::tests::peer::Peer;

/// A message of this type.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

fn query(statement: &str) -> Vec<u8> {
    message(b'Q', format!("{statement}\0").as_bytes())
}

fn parse(name: &str, statement: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{statement}\0\0\0").as_bytes())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\x01\0\0").as_bytes())
}

fn describe(name: &str) -> Vec<u8> {
    message(b'D', format!("{name}\0").as_bytes())
}

fn execute(portal: &str) -> Vec<u8> {
    message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

fn close(name: &str) -> Vec<u8> {
    message(b'C', format!("{name}\0").as_bytes())
}

const SYNC: &[u8] = b"S\0\0\0\x04";
const FLUSH: &[u8] = b"H\0\0\0\x04";
const PARSED: &[u8] = b"1\0\0\0\x04";
const BOUND: &[u8] = b"2\0\0\0\x04";
const CLOSED: &[u8] = b"3\0\0\0\x04";
const NO_DATA: &[u8] = b"n\0\0\0\x04";
const READY: &[u8] = b"Z\0\0\0\x05I";
const COPY_IN: &[u8] = b"G\0\0\0\x0b\0\0\x02\0\0\0\0";
const COLUMNS: &[u8] = b"T\0\0\0\x21\0\x01abalance\0\0\0@\x06\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
const ROW: &[u8] = b"D\0\0\0\x0b\0\x01\0\0\0\x017";

fn done(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn error(severity: &str, code: &str) -> Vec<u8> {
    let fields = format!("S{severity}\0V{severity}\0C{code}\0Mrelation \"SECRET\" does not exist\0P15\0\0");
    message(b'E', fields.as_bytes())
}

fn startup(parameters: &str) -> Vec<u8> {
    let body = format!("\0\x03\0\0{parameters}\0");
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&length[..], body.as_bytes()].concat()
}

/// A session that goes on.
fn peer() -> Peer {
    Peer::new(&ENTRY)
}

#[test]
fn a_simple_query_is_an_exchange_until_the_server_is_ready() {
    let mut peer = peer();
    peer.asks(b"Q\0\0\0\x3dSELECT abalance FROM pgbench_accounts WHERE aid = 12345;\0");
    peer.answers(&[COLUMNS, ROW, &done("SELECT 1"), READY].concat());
    peer.asks(&query("insert into t values (1, 'SECRET'), (2, 'SECRET')"));
    peer.answers(&done("INSERT 0 2"));
    peer.answers(READY);
    peer.asks(&query("SELECT * FROM none"));
    peer.answers(&[error("ERROR", "42P01"), READY.to_vec()].concat());
    peer.asks(&query("-- ping"));
    peer.answers(&[b"I\0\0\0\x04", READY].concat());
    peer.asks(&query("BEGIN; UPDATE t SET a = 1; DELETE FROM t; COMMIT"));
    peer.answers(
        &[
            done("BEGIN"),
            done("UPDATE 2"),
            done("DELETE 3"),
            done("COMMIT"),
            READY.to_vec(),
        ]
        .concat(),
    );
    peer.check(&[
        "SELECT abalance FROM pgbench_accounts WHERE aid = ? answered 1 rows",
        "INSERT INTO t VALUES (?) answered 2 rows",
        "SELECT * FROM none answered 42P01",
        "(empty) answered",
        "BEGIN; UPDATE t SET a = ?; DELETE FROM t; COMMIT answered 5 rows",
    ]);
    let ended = peer.sink.told[1].ended.unwrap();
    assert_eq!((ended.request_bytes, ended.response_bytes), (55, 16 + 6));
    assert_eq!((ended.times.request_first_ns, ended.times.response_last_ns), (3, 5));
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn a_round_trip_of_the_extended_protocol_is_one_exchange() {
    // As libpq's PQexecParams does it.
    let asks = [
        parse("", "SELECT $1::int"),
        bind("", ""),
        describe("P"),
        execute(""),
        SYNC.to_vec(),
    ]
    .concat();
    let answers = [PARSED, BOUND, COLUMNS, ROW, &done("SELECT 1"), READY].concat();
    for size in [1, 4, 1000] {
        let mut peer = peer();
        asks.chunks(size).for_each(|chunk| _ = peer.asks(chunk));
        answers.chunks(size).for_each(|chunk| _ = peer.answers(chunk));
        peer.check(&["SELECT ?::int answered 1 rows"]);
        let ended = peer.sink.told[0].ended.unwrap();
        assert_eq!(ended.request_bytes, asks.len() as u64);
        assert_eq!(ended.response_bytes, answers.len() as u64);
        assert_eq!(
            (ended.times.request_first_ns, ended.times.response_last_ns),
            (1, peer.now)
        );
    }
}

#[test]
fn statements_are_known_by_their_names() {
    let mut peer = peer();
    // As asyncpg does it: prepared in a round trip of its own, and one row asked for.
    peer.asks(b"P\0\0\0N__asyncpg_stmt_1__\0SELECT abalance FROM pgbench_accounts WHERE aid = $1\0\0\0D\0\0\0\x18S__asyncpg_stmt_1__\0H\0\0\0\x04");
    peer.answers(b"1\0\0\0\x04t\0\0\0\n\0\x01\0\0\0\x17T\0\0\0!\0\x01abalance\0\0\0@\x06\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
    for _ in 0..2 {
        peer.asks(b"B\0\0\0*\0__asyncpg_stmt_1__\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x01\0\x01\0\x01E\0\0\0\t\0\0\0\0\x01S\0\0\0\x04");
        peer.answers(b"2\0\0\0\x04D\0\0\0\x0e\0\x01\0\0\0\x04\0\0\0\0s\0\0\0\x04Z\0\0\0\x05I");
    }
    let unknown = [bind("", "S_1"), execute(""), SYNC.to_vec()].concat();
    peer.asks(&unknown);
    peer.answers(&[BOUND, &done("UPDATE 1"), READY].concat());
    peer.asks(&[close("S__asyncpg_stmt_1__"), SYNC.to_vec()].concat());
    peer.answers(&[CLOSED, READY].concat());
    let statement = "SELECT abalance FROM pgbench_accounts WHERE aid = ?";
    peer.check(&[
        &format!("PREPARE {statement} answered"),
        &format!("{statement} answered 1 rows"),
        &format!("{statement} answered 1 rows"),
        "(prepared) answered 1 rows",
        "CLOSE answered",
    ]);
    let ended = peer.sink.told[0].ended.unwrap();
    assert_eq!((ended.times.request_first_ns, ended.times.response_last_ns), (1, 2));
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn a_portal_is_of_the_statement_it_was_made_of() {
    let mut peer = peer();
    peer.asks(
        &[
            parse("", "SELECT a FROM t"),
            bind("C_1", ""),
            execute("C_1"),
            SYNC.to_vec(),
        ]
        .concat(),
    );
    peer.answers(&[PARSED, BOUND, ROW, ROW, b"s\0\0\0\x04", READY].concat());
    peer.asks(&[parse("", "SELECT b FROM u"), bind("", ""), execute(""), SYNC.to_vec()].concat());
    peer.answers(&[PARSED, BOUND, &done("SELECT 0"), READY].concat());
    peer.asks(&[execute("C_1"), SYNC.to_vec()].concat());
    peer.answers(&[ROW, &done("SELECT 1"), READY].concat());
    peer.asks(
        &[
            close("PC_1"),
            parse("", "SELECT c FROM v"),
            execute(""),
            execute("C_1"),
            SYNC.to_vec(),
        ]
        .concat(),
    );
    peer.check(&[
        "SELECT a FROM t answered 2 rows",
        "SELECT b FROM u answered 0 rows",
        "SELECT a FROM t answered 1 rows",
        "(prepared) in flight",
        "(prepared) in flight",
    ]);
}

#[test]
fn pipelined_executes_end_with_their_own_answers() {
    let mut peer = peer();
    for statement in ["BEGIN", "UPDATE t SET a = 1", "COMMIT"] {
        peer.asks(&[parse("", statement), bind("", ""), execute("")].concat());
    }
    peer.asks(SYNC);
    peer.asks(&[parse("", "SELECT b FROM t"), bind("", ""), execute(""), SYNC.to_vec()].concat());
    for tag in ["BEGIN", "UPDATE 3", "COMMIT"] {
        peer.answers(&[PARSED, BOUND, &done(tag)].concat());
    }
    peer.answers(READY);
    peer.answers(&[PARSED, BOUND, &done("SELECT 0"), READY].concat());
    peer.check(&[
        "BEGIN answered",
        "UPDATE t SET a = ? answered 3 rows",
        "COMMIT answered",
        "SELECT b FROM t answered 0 rows",
    ]);
    let last: Vec<_> = peer
        .sink
        .told
        .iter()
        .map(|told| told.ended.unwrap().times.response_last_ns)
        .collect();
    assert_eq!(last, [6, 7, 9, 10]);
}

#[test]
fn after_an_error_what_is_passed_over_is_not_answered() {
    let mut peer = peer();
    // As psycopg's pipeline does it.
    for statement in ["SELECT 1", "SELECT * FROM none", "SELECT 2", "SELECT a"] {
        peer.asks(&[parse("", statement), bind("", ""), describe("P"), execute("")].concat());
    }
    peer.asks(&[SYNC, FLUSH].concat());
    peer.asks(&[bind("", ""), execute(""), SYNC.to_vec()].concat());
    peer.answers(&[PARSED, BOUND, COLUMNS, ROW, &done("SELECT 1")].concat());
    peer.answers(&error("ERROR", "42P01"));
    peer.answers(READY);
    peer.answers(&[BOUND, &done("SELECT 0"), READY].concat());
    peer.check(&[
        "SELECT ? answered 1 rows",
        "SELECT * FROM none answered 42P01",
        "SELECT ? unknown",
        "SELECT a unknown",
        "SELECT a answered 0 rows",
    ]);
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn a_flush_ends_a_round_trip_and_a_sync_may_be_one() {
    let mut peer = peer();
    peer.asks(&[parse("", "SELECT a"), bind("", ""), execute(""), FLUSH.to_vec()].concat());
    peer.answers(&[PARSED, BOUND, &done("SELECT 0")].concat());
    peer.asks(SYNC);
    peer.answers(READY);
    // Closed, synced: parts of the same round trip.
    peer.asks(&[bind("", ""), execute(""), close("S"), FLUSH.to_vec(), SYNC.to_vec()].concat());
    peer.answers(&[BOUND, &done("SELECT 0"), CLOSED, READY].concat());
    peer.asks(&[bind("", ""), FLUSH.to_vec()].concat());
    peer.answers(&error("ERROR", "26000"));
    peer.asks(SYNC);
    peer.answers(READY);
    peer.asks(&[describe("Pc"), SYNC.to_vec()].concat());
    peer.answers(&[NO_DATA, READY].concat());
    peer.check(&[
        "SELECT a answered 0 rows",
        "SYNC answered",
        "SELECT a answered 0 rows",
        "BIND answered 26000",
        "SYNC answered",
        "DESCRIBE answered",
    ]);
}

#[test]
fn a_session_begins_with_an_exchange_that_holds_no_secret() {
    let mut peer = peer();
    peer.asks(&startup("user\0SECRET\0database\0SECRET\0"));
    peer.answers(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
    peer.asks(&message(b'p', b"SCRAM-SHA-256\0\0\0\0\x06SECRET"));
    peer.answers(b"R\0\0\0\x0c\0\0\0\x0bn,r=");
    peer.asks(&message(b'p', b"SECRET"));
    peer.answers(b"R\0\0\0\x08\0\0\0\0S\0\0\0\x19client_encoding\0UTF8\0K\0\0\0\x0c\0\0\0\x01SECR");
    peer.answers(READY);
    peer.answers(b"N\0\0\0\x08SOK\0S\0\0\0\x08a\0b\0A\0\0\0\x0c\0\0\0\x01ab\0\0");
    peer.asks(&query("LISTEN chan"));
    peer.answers(&[&done("LISTEN"), READY].concat());
    peer.check(&["CONNECT answered", "LISTEN chan answered"]);
    let ended = peer.sink.told[0].ended.unwrap();
    assert_eq!((ended.times.request_first_ns, ended.times.response_last_ns), (1, 7));
    assert!(!format!("{:?}", peer.sink).contains("SECRET"));
    assert!(!format!("{:?}", peer.dissector).contains("SECRET"));
    assert!(peer.sink.losses.is_empty());
    peer = Peer::new(&ENTRY);
    peer.asks(&startup("user\0x\0"));
    peer.answers(&error("FATAL", "28P01"));
    peer.check(&["CONNECT answered 28P01"]);
}

#[test]
fn statements_hold_no_secret() {
    let mut peer = peer();
    peer.asks(&query("ALTER ROLE x PASSWORD 'SECRET'"));
    peer.answers(&[&done("ALTER ROLE"), READY].concat());
    peer.asks(&[parse("s", "SELECT 'SECRET'"), bind("", "s")].concat());
    peer.asks(&[execute(""), SYNC.to_vec()].concat());
    peer.answers(&[PARSED, BOUND, &error("ERROR", "42601"), READY].concat());
    let told = format!("{:?} {:?}", peer.sink, peer.dissector);
    assert!(!told.contains("SECRET"), "{told}");
}

#[test]
fn an_error_that_ends_the_session_is_the_answer() {
    let mut peer = peer();
    peer.asks(&query("SELECT pg_sleep(10)"));
    peer.answers(&error("FATAL", "57P01"));
    peer.check(&["SELECT pg_sleep(?) answered 57P01"]);
}

#[test]
fn a_cancellation_is_answered_by_closing() {
    let cancel = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x12\x34SECR";
    let mut peer = peer();
    peer.asks(cancel);
    peer.check(&["CANCEL in flight"]);
    peer.dissector
        .closed(Some(Half::Response), 9, Change::PeerClosed, &mut peer.sink);
    peer.check(&["CANCEL answered"]);
    assert_eq!(peer.sink.told[0].ended.unwrap().times.response_last_ns, 9);
    let mut peer = Peer::new(&ENTRY);
    peer.asks(cancel);
    peer.dissector.cut(9, Outcome::Cut, &mut peer.sink);
    peer.check(&["CANCEL cut"]);
}

#[test]
fn encryption_that_is_refused_is_followed_by_a_session_and_else_by_nothing() {
    let asks = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let mut peer = peer();
    peer.asks(b"\0\0\0\x08\x04\xd2\x16\x30");
    peer.answers(b"N");
    peer.asks(asks);
    peer.answers(b"N");
    peer.asks(&startup("user\0x\0"));
    peer.answers(&[b"R\0\0\0\x08\0\0\0\0", READY].concat());
    peer.check(&["CONNECT answered"]);
    let mut peer = Peer::new(&ENTRY);
    peer.asks(asks);
    peer.answers(b"S");
    for bytes in [&b"\x16\x03\x01\x02\0\x01\0\x01"[..], b"anything", &query("SELECT 1")] {
        assert_eq!(peer.asks(bytes), Verdict::Continue);
        assert_eq!(peer.answers(bytes), Verdict::Continue);
    }
    peer.check(&[]);
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn copied_data_are_passed_over() {
    let mut peer = peer();
    peer.asks(&query("COPY t FROM STDIN"));
    peer.answers(COPY_IN);
    peer.asks(b"d\0\0\0\x08a\tb\nd\0\x00\xff\xffQ\0\0\0\x08DROP");
    peer.misses(Half::Request, 1_000_000, b"", false);
    peer.asks(b"more\nc\0\0\0\x04");
    peer.answers(&[&done("COPY 70000"), READY].concat());
    peer.asks(&query("COPY t TO STDOUT"));
    peer.answers(b"H\0\0\0\x0b\0\0\x02\0\0\0\0d\0\0\0\x08a\tb\n");
    peer.misses(Half::Response, 1_000_000, b"\0\0Z\0\0\0\x05T", false);
    // In the extended protocol, a Sync before the data is passed over.
    peer.asks(&[parse("", "COPY t FROM STDIN"), bind("", ""), execute(""), SYNC.to_vec()].concat());
    peer.answers(&[PARSED, BOUND, COPY_IN].concat());
    peer.asks(b"d\0\0\0\x08a\tb\nc\0\0\0\x04S\0\0\0\x04");
    peer.answers(&[&done("COPY 1"), READY].concat());
    peer.asks(&query("COPY t FROM STDIN"));
    peer.answers(COPY_IN);
    peer.asks(b"d\0\0\0\x06a\n");
    peer.answers(&[error("ERROR", "22P04"), READY.to_vec()].concat());
    peer.asks(&query("SELECT 1"));
    peer.answers(&[&done("SELECT 1"), READY].concat());
    peer.check(&[
        "COPY t FROM STDIN answered 70000 rows",
        "COPY t TO STDOUT answered",
        "COPY t FROM STDIN answered 1 rows",
        "COPY t FROM STDIN answered 22P04",
        "SELECT ? answered 1 rows",
    ]);
    let ended = peer.sink.told[0].ended.unwrap();
    assert_eq!(ended.request_bytes, 23 + 9 + 14 + 1_000_000 + 10);
    assert_eq!((ended.times.request_last_ns, ended.times.response_last_ns), (5, 6));
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn replication_is_a_stream() {
    let mut peer = peer();
    peer.asks(&query(
        "START_REPLICATION SLOT \"s1\" LOGICAL 0/AB12 (\"proto_version\" '1')",
    ));
    peer.answers(b"W\0\0\0\x07\0\0\0d\0\0\0\x08kABC");
    peer.asks(b"d\0\0\0\x08rABC");
    peer.misses(Half::Response, 5000, b"", true);
    peer.check(&["START_REPLICATION answered"]);
    assert_eq!(peer.sink.told[0].ended.unwrap().stream, Some(StreamKind::Subscription));
    assert_eq!(peer.sink.told[0].moved, [9, 9 + 5000]);
    peer.dissector
        .closed(Some(Half::Request), 99, Change::Destroyed, &mut peer.sink);
    assert!(peer.sink.told[0].stream_ended.is_some());
}

#[test]
fn a_long_answer_ends_where_the_server_is_ready() {
    let mut peer = peer();
    peer.asks(&[parse("", "SELECT a FROM t"), bind("", ""), execute(""), SYNC.to_vec()].concat());
    peer.answers(&[PARSED, BOUND, COLUMNS, ROW, b"D\0\0\x01\0"].concat());
    peer.misses(Half::Response, 500_000, b"1\0Z\0\0\0\x05I", false);
    peer.asks(&query("SELECT b FROM t"));
    peer.answers(&[&done("SELECT 0"), READY].concat());
    peer.check(&["SELECT a FROM t answered", "SELECT b FROM t answered 0 rows"]);
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn a_long_statement_is_read_as_far_as_it_was_captured() {
    let mut peer = peer();
    let long = query(&format!("INSERT INTO t VALUES (1, '{}')", "SECRET".repeat(10_000)));
    peer.asks(&long[..5000]);
    peer.misses(Half::Request, long.len() as u64 - 5000, b"", false);
    peer.answers(&[&done("INSERT 0 1"), READY].concat());
    peer.asks(&long);
    peer.answers(&[&done("INSERT 0 1"), READY].concat());
    peer.check(&["INSERT INTO t VALUES (?, ? … answered 1 rows"; 2]);
    assert!(!format!("{:?}", peer.dissector).contains("SECRET"));
}

#[test]
fn too_many_in_flight_are_not_told_apart_and_do_no_harm() {
    let mut peer = peer();
    let one = [bind("", "s"), execute("")].concat();
    for _ in 0..MAX_IN_FLIGHT + 100 {
        peer.asks(&one);
    }
    peer.asks(SYNC);
    peer.asks(&query("SELECT a FROM t"));
    for _ in 0..MAX_IN_FLIGHT + 100 {
        peer.answers(&[BOUND, &done("SELECT 1")].concat());
    }
    peer.answers(READY);
    peer.answers(&[&done("SELECT 7"), READY].concat());
    peer.asks(&query("SELECT b FROM t"));
    peer.answers(&[&done("SELECT 2"), READY].concat());
    assert_eq!(peer.sink.losses, [Loss::PipelineFull; 101]);
    peer.sink.told.drain(..MAX_IN_FLIGHT - 2);
    let mut told = peer
        .sink
        .told
        .iter()
        .map(|told| (told.path.as_str(), told.ended.unwrap()));
    assert_eq!(told.next().unwrap().1.outcome, Outcome::Answered);
    assert_eq!(told.next().unwrap().1.outcome, Outcome::Unknown);
    let (path, ended) = told.next().unwrap();
    assert_eq!((path, ended.tally.rows), ("SELECT b FROM t", Some(2)));
    assert!(told.next().is_none());
}

#[test]
fn statements_that_are_kept_are_few() {
    let mut peer = peer();
    for place in 0..2000 {
        let columns = "column, ".repeat(50);
        let statement = format!("SELECT {columns} a FROM t");
        peer.asks(
            &[
                parse(&format!("s{place}"), &statement),
                bind(&format!("p{place}"), "s1"),
                FLUSH.to_vec(),
            ]
            .concat(),
        );
        peer.answers(&[PARSED, BOUND].concat());
        assert!(peer.dissector.heap_bytes() < 90_000, "{}", peer.dissector.heap_bytes());
    }
    for name in ["s0", "s1999"] {
        peer.asks(&[bind("", name), execute(""), SYNC.to_vec()].concat());
        peer.answers(&[BOUND, &done("SELECT 1"), READY].concat());
    }
    let last: Vec<_> = peer.sink.told[2000..].iter().map(|told| &told.path[..10]).collect();
    assert_eq!(last, ["(prepared)", "SELECT COL"]);
}

#[test]
fn after_a_loss_no_wrong_pair_is_made() {
    let mut peer = peer();
    peer.asks(&[parse("", "SELECT a"), bind("", ""), execute("")].concat());
    peer.asks(&[parse("", "SELECT b"), bind("", ""), execute(""), SYNC.to_vec()].concat());
    peer.misses(Half::Response, 7, b"", true);
    peer.answers(&[&done("SELECT 1"), READY].concat());
    peer.asks(&query("SELECT c"));
    peer.check(&["SELECT a unknown", "SELECT b unknown"]);
    peer.now += 200_000_000;
    peer.asks(&query("SELECT d"));
    peer.answers(&[&done("SELECT 1"), READY].concat());
    peer.check(&["SELECT a unknown", "SELECT b unknown", "SELECT d answered 1 rows"]);
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
    for request in [
        &startup("user\0x\0")[..],
        &startup("client_encoding\0'utf-8'\0user\0x\0"),
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x12\x34SECR",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        &query("SELECT 1"),
        &parse("s", "SELECT 1"),
        &query(&"SELECT 1, ".repeat(1000))[..500],
        &[bind("", "S_1"), execute(""), SYNC.to_vec()].concat(),
        &[close("SS_1"), SYNC.to_vec()].concat(),
        &[
            close("PC_1"),
            parse("", "SELECT 1"),
            bind("", ""),
            execute(""),
            SYNC.to_vec(),
        ]
        .concat(),
        &[describe("Pcur"), SYNC.to_vec()].concat(),
    ] {
        assert_eq!(requests(request), Some(Direction::Sent), "{}", request.escape_ascii());
    }
    for other in [
        &[&done("SELECT 1"), READY].concat()[..],
        &[error("ERROR", "42P01"), READY.to_vec()].concat(),
        &[COLUMNS, ROW, &done("SELECT 1"), READY].concat(),
        &[ROW, ROW].concat(),
        &done("SELECT 1"),
        &close("SS_1"),
        &[PARSED, BOUND].concat(),
        SYNC,
        b"PING\r\n",
        b"POST / HTTP/1.1\r\n",
        b"Q",
        b"",
        b"Q\0\0\0\x09a\0b\0\0",
        b"\0\0\0\x10\0\x03\0\0\0\0\0\x01\xff\xff\0\0",
        // MySQL's: a query of 81 bytes; Kafka's: metadata.
        b"Q\0\0\0\x03SELECT a, b, c FROM t WHERE a = 1 AND b = 2 AND c = 3 AND d = 4 AND e = 5 AND f = 6",
        b"\0\0\0\x14\0\x03\0\0\0\0\0\x01\0\x06client\xff\xff\xff\xff",
    ] {
        assert_eq!(requests(other), None, "{}", other.escape_ascii());
    }
}

/// A statement that a test knows again, as it is sent and as it is told.
fn statement() -> impl Strategy<Value = (String, String)> {
    let table = prop_oneof![Just("t"), Just("users"), Just("orders"), Just("items")];
    (table, 0..3u8, "[a-z ]{0,20}").prop_map(|(table, kind, value)| match kind {
        0 => (
            format!("select a from {table} where b = '{value}'"),
            format!("SELECT a FROM {table} WHERE b = ?"),
        ),
        1 => (
            format!("INSERT INTO {table} (a) VALUES ('{value}'), (NULL)"),
            format!("INSERT INTO {table}(a) VALUES (?)"),
        ),
        _ => (format!("UPDATE {table} SET a=$1"), format!("UPDATE {table} SET a = ?")),
    })
}

/// Rows, and how the statement ends.
fn result() -> impl Strategy<Value = (Vec<u8>, Option<String>)> {
    let code = prop_oneof![Just("42P01"), Just("23505"), Just("40001")];
    let rows = prop::collection::vec("[a-z]{0,40}", 0..4).prop_map(|rows| {
        let row = |text: &String| [&[0, 1, 0, 0, 0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let rows: Vec<_> = rows.iter().flat_map(|text| message(b'D', &row(text))).collect();
        [rows, done("SELECT 3")].concat()
    });
    prop_oneof![
        4 => rows.prop_map(|rows| (rows, None)),
        1 => code.prop_map(|code| (error("ERROR", code), Some(code.to_owned()))),
    ]
}

/// Conversations for the properties that hold for every dissector.
pub(in crate::protocol) fn conversation() -> BoxedStrategy<Talked> {
    let one = (statement(), result());
    let batch = (prop::collection::vec(one, 1..4), 0..4u8, any::<bool>());
    prop::collection::vec(batch, 1..5)
        .prop_map(|batches| {
            let mut talked = Talked::default();
            let mut go = |asks: Vec<u8>, answers: Vec<u8>| {
                talked.parts.extend([(Half::Request, asks), (Half::Response, answers)]);
            };
            let mut expected = Vec::new();
            for (mut batch, kind, closes) in batches {
                if kind == 0 {
                    // Simple queries, one after the other.
                    for ((sent, told), (answer, error)) in batch {
                        go(query(&sent), [COLUMNS, &answer, READY].concat());
                        expected.push((told, error));
                    }
                    continue;
                }
                if kind == 1 {
                    // Prepared in a round trip of its own.
                    let ((sent, told), (answer, error)) = batch.swap_remove(0);
                    let end = if closes { FLUSH } else { SYNC };
                    let ready = if closes { &[][..] } else { READY };
                    let asks = [&parse("s", &sent), &describe("Ss"), end].concat();
                    go(asks, [PARSED, b"t\0\0\0\x06\0\0", COLUMNS, ready].concat());
                    expected.push((format!("PREPARE {told}"), None));
                    go(
                        [bind("", "s"), execute(""), close("Ss"), SYNC.to_vec()].concat(),
                        if error.is_some() {
                            [BOUND, &answer, READY].concat()
                        } else {
                            [BOUND, &answer, CLOSED, READY].concat()
                        },
                    );
                    expected.push((told, error));
                    continue;
                }
                // In a pipeline, of which the last may fail.
                let mut both = [Vec::new(), Vec::new()];
                let last = batch.len() - 1;
                for (place, ((sent, told), (answer, error))) in batch.into_iter().enumerate() {
                    both[0].extend([parse("", &sent), bind("", ""), describe("P"), execute("")].concat());
                    both[1].extend([PARSED, BOUND, COLUMNS].concat());
                    if place == last {
                        both[1].extend(answer);
                        expected.push((told, error));
                    } else {
                        both[1].extend(done("SELECT 1"));
                        expected.push((told, None));
                    }
                }
                let [mut asks, mut answers] = both;
                asks.extend(SYNC);
                answers.extend(READY);
                go(asks, answers);
            }
            talked.expected = expected;
            talked
        })
        .boxed()
}

/// One thing that happens, whether it makes sense or not.
#[derive(Clone, Debug)]
enum Event {
    Bytes(Half, Vec<u8>),
    Gap(Half, u64, bool),
    Closed(Half),
}

fn event() -> impl Strategy<Value = Event> {
    let request = prop_oneof![
        Just(query("SELECT a FROM t")),
        Just(query("COPY t FROM STDIN")),
        Just(parse("", "SELECT b FROM t")),
        Just(parse("s", "SELECT c FROM t")),
        Just(bind("", "")),
        Just(bind("p", "s")),
        Just(describe("Ss")),
        Just(execute("")),
        Just(execute("p")),
        Just(close("Ss")),
        Just(SYNC.to_vec()),
        Just(FLUSH.to_vec()),
        Just(message(b'd', b"data")),
        Just(message(b'c', b"")),
        Just(startup("user\0x\0")),
        Just(b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec()),
    ];
    let response = prop_oneof![
        Just(PARSED.to_vec()),
        Just(BOUND.to_vec()),
        Just(CLOSED.to_vec()),
        Just(NO_DATA.to_vec()),
        Just(COLUMNS.to_vec()),
        Just(ROW.to_vec()),
        Just(COPY_IN.to_vec()),
        Just(done("SELECT 1")),
        Just(b"s\0\0\0\x04".to_vec()),
        Just(error("ERROR", "42P01")),
        Just(error("FATAL", "57P01")),
        Just(b"N".to_vec()),
        Just(b"W\0\0\0\x07\0\0\0".to_vec()),
        Just(READY.to_vec()),
        Just([done("SELECT 1"), READY.to_vec()].concat()),
    ];
    let half = prop_oneof![Just(Half::Request), Just(Half::Response)];
    prop_oneof![
        12 => request.prop_map(|bytes| Event::Bytes(Half::Request, bytes)),
        12 => response.prop_map(|bytes| Event::Bytes(Half::Response, bytes)),
        1 => (half.clone(), 1..5000u64, any::<bool>()).prop_map(|(half, missing, lost)| Event::Gap(half, missing, lost)),
        1 => half.prop_map(Event::Closed),
    ]
}

proptest! {
    #[test]
    fn messages_in_any_order_end_every_exchange_once(events in prop::collection::vec(event(), 0..60)) {
        let mut peer = peer();
        for event in events {
            match event {
                Event::Bytes(half, bytes) => {
                    if peer.go(half, &bytes) == Verdict::Opaque {
                        break;
                    }
                }
                Event::Gap(half, missing, lost) => peer.misses(half, missing, b"Z\0\0\0\x05I", lost),
                Event::Closed(half) => peer.dissector.closed(Some(half), peer.now, Change::PeerClosed, &mut peer.sink),
            }
        }
        peer.dissector.cut(u64::MAX, Outcome::Cut, &mut peer.sink);
        prop_assert_eq!(peer.sink.in_flight(), 0);
    }
}
