use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use super::*;
use crate::exchange::StreamKind;
use crate::protocol::tests::framed::Talked;
use crate::protocol::tests::peer::Peer;

// From conversations with MariaDB 10.11, and what MySQL's documentation has.
const GREETING: &[u8] = b"\x0a5.5.5-10.11.19-MariaDB-0+deb12u1-log\0\x05\0\0\0s'c@Sbs<\0\xfe\xf7\x08\x02\0\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0p@.d0`r=w`[+\0mysql_native_password\0";
const RESPONSE: &[u8] = b"\x8d\xa2\x3b\0\xff\xff\xff\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0SECRET\0\x14\xf1\x61\xac\xf8\x6a\x0a\x8c\x37\xb5\x8c\xe9\xfb\xef\x60v^\xd4\x8f\xaeZSECRET\0mysql_native_password\0";
const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const EOF: &[u8] = b"\xfe\0\0\x02\0";
const MORE: &[u8] = b"\xfe\0\0\x0a\0";
const OK_EOF: &[u8] = b"\xfe\0\0\x02\0\0\0";
const COLUMN: &[u8] = b"\x03def\0\0\0\x011\0\x0c?\0\x01\0\0\0\x03\x81\0\0\0\0";
const NO_SUCH_COLUMN: &[u8] = b"\xff\x1e\x04#42S22Unknown column 'SECRET' in 'SELECT'";

/// Packets with this number first.
fn packets(first: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let mut sequence = first;
    let mut bytes = Vec::new();
    for payload in payloads {
        bytes.extend(&u32::try_from(payload.len()).expect("short").to_le_bytes()[..3]);
        bytes.push(sequence);
        bytes.extend(*payload);
        sequence = sequence.wrapping_add(1);
    }
    bytes
}

fn command(code: u8, rest: &[u8]) -> Vec<u8> {
    packets(0, &[&[&[code], rest].concat()])
}

fn query(text: &str) -> Vec<u8> {
    command(commands::QUERY, text.as_bytes())
}

fn execute(number: u32) -> Vec<u8> {
    command(
        commands::EXECUTE,
        &[&number.to_le_bytes()[..], b"\0\x01\0\0\0"].concat(),
    )
}

/// What a statement that was prepared has.
fn prepared(number: u32, columns: u8, parameters: u8) -> Vec<u8> {
    [&b"\0"[..], &number.to_le_bytes(), &[columns, 0, parameters, 0, 0, 0, 0]].concat()
}

fn rows(rows: &[&[u8]]) -> Vec<u8> {
    packets(1, &[&[&b"\x01"[..], COLUMN, EOF][..], rows, &[EOF]].concat())
}

impl Peer {
    fn connected(client: u32, server: u32) -> Self {
        let mut peer = Self::new(&ENTRY);
        let [s0, s1, s2, s3] = server.to_le_bytes();
        let mut greeting = GREETING.to_vec();
        let place = 1 + GREETING.iter().position(|&byte| byte == 0).unwrap() + 13;
        greeting[place..place + 2].copy_from_slice(&[s0, s1]);
        greeting[place + 5..place + 7].copy_from_slice(&[s2, s3]);
        let response = [&client.to_le_bytes()[..], &RESPONSE[4..]].concat();
        peer.answers(&packets(0, &[&greeting]));
        peer.asks(&packets(1, &[&response]));
        peer.answers(&packets(2, &[OK]));
        peer
    }

    fn rows(&self) -> Vec<Option<u64>> {
        let rows = |told: &crate::protocol::recorder::Told| told.ended.and_then(|ended| ended.tally.rows);
        self.sink.told.iter().map(rows).collect()
    }
}

const ALL: u32 = 0x0fff_ffff & !(capabilities::COMPRESS | capabilities::ZSTD);
const OLD: u32 = ALL & !capabilities::DEPRECATE_EOF;

#[test]
fn a_client_connects_and_its_queries_are_exchanges() {
    let mut peer = Peer::connected(OLD, OLD);
    peer.asks(&query("SELECT a FROM t WHERE b = 'SECRET'"));
    peer.answers(&rows(&[b"\x011", b"\x05seven"]));
    peer.asks(&query("UPDATE t SET a = 5"));
    peer.answers(&packets(1, &[b"\0\x02\0\x02\0\0\0\x28Rows matched: 2"]));
    peer.asks(&query("SELECT nope"));
    peer.answers(&packets(1, &[NO_SUCH_COLUMN]));
    peer.asks(&command(0x01, b""));
    peer.check(&[
        "CONNECT answered",
        "SELECT a FROM t WHERE b = ? answered 2 rows",
        "UPDATE t SET a = ? answered 2 rows",
        "SELECT nope answered 1054",
    ]);
    assert_eq!(peer.rows(), [None, Some(2), Some(2), None]);
    let ended = peer.sink.told[1].ended.unwrap();
    assert_eq!(
        (ended.request_bytes, ended.response_bytes),
        (39, 5 + 27 + 9 + 6 + 10 + 9)
    );
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn either_end_of_rows_is_understood_without_having_seen_the_handshake() {
    for answer in [
        rows(&[b"\x011"]),
        packets(1, &[b"\x01", COLUMN, b"\x011", OK_EOF]),
        // MySQL says that definitions follow, or do not; MariaDB likewise.
        packets(1, &[b"\x01\x01", COLUMN, EOF, b"\x011", EOF]),
        packets(1, &[b"\0\x01", b"\x011", OK_EOF]),
        packets(1, &[b"\x01\0", b"\x011", OK_EOF]),
        packets(1, &[b"\x02\0", b"\x011", OK_EOF]),
        packets(1, &[b"\x02\x01", COLUMN, COLUMN, b"\x011", OK_EOF]),
        packets(1, &[b"\x01\x02", COLUMN, COLUMN, b"\x011", OK_EOF]),
    ] {
        for size in [1, 3, 1000] {
            let mut peer = Peer::new(&ENTRY);
            query("SELECT 1")
                .chunks(size)
                .for_each(|chunk| assert_eq!(peer.asks(chunk), Verdict::Continue));
            answer
                .chunks(size)
                .for_each(|chunk| assert_eq!(peer.answers(chunk), Verdict::Continue));
            peer.asks(&command(commands::PING, b""));
            peer.answers(&packets(1, &[OK]));
            peer.check(&["SELECT ? answered 1 rows", "PING answered"]);
            assert_eq!(peer.rows(), [Some(1), None], "{}", answer.escape_ascii());
        }
    }
}

#[test]
fn no_rows_are_no_rows() {
    for answer in [
        packets(1, &[b"\x01", COLUMN, EOF, EOF]),
        packets(1, &[b"\x01", COLUMN, OK_EOF]),
    ] {
        let mut peer = Peer::new(&ENTRY);
        peer.asks(&query("SELECT 1"));
        peer.answers(&answer);
        assert_eq!(peer.rows(), [Some(0)]);
    }
}

#[test]
fn an_answer_of_several_results_ends_with_the_last() {
    let mut peer = Peer::connected(OLD, OLD);
    peer.asks(&query("CALL p()"));
    peer.answers(&packets(1, &[b"\x01", COLUMN, MORE, b"\x011", MORE]));
    peer.answers(&packets(
        6,
        &[b"\x01", COLUMN, MORE, b"\x012", MORE, b"\0\x04\0\x21\0\0\0"],
    ));
    peer.asks(&query("INSERT INTO t VALUES (1); SELECT 1"));
    peer.answers(&packets(1, &[b"\0\x01\0\x0a\0\0\0", b"\x01", COLUMN, EOF]));
    peer.answers(&packets(5, &[NO_SUCH_COLUMN]));
    peer.check(&[
        "CONNECT answered",
        "CALL p() answered 6 rows",
        "INSERT INTO t VALUES (?); SELECT ? answered 1054 1 rows",
    ]);
    assert_eq!(peer.rows(), [None, Some(6), Some(1)]);
}

#[test]
fn a_prepared_statement_is_called_as_its_text() {
    for (capabilities, eof) in [(OLD, true), (ALL, false)] {
        let mut peer = Peer::connected(capabilities, capabilities);
        let end = if eof { &[EOF][..] } else { &[] };
        peer.asks(&command(commands::PREPARE, b"SELECT a FROM t WHERE b=?"));
        let prepared = prepared(7, 2, 1);
        let answer = [&[&prepared[..], COLUMN], end, &[COLUMN, COLUMN], end].concat();
        peer.answers(&packets(1, &answer));
        peer.asks(&command(0x1a, &7u32.to_le_bytes()));
        peer.answers(&packets(1, &[OK]));
        // It gives a long parameter first, which is not answered.
        peer.asks(&command(commands::SEND_LONG_DATA, b"\x07\0\0\0\0\0SECRET"));
        peer.asks(&execute(7));
        let columns = [&[&b"\x02"[..], COLUMN, COLUMN], end].concat();
        let last = if eof { EOF } else { OK_EOF };
        peer.answers(&packets(1, &[&columns[..], &[b"\0\0\0\0\0\x01\0", last]].concat()));
        peer.asks(&[command(commands::CLOSE, &7u32.to_le_bytes()), execute(7)].concat());
        peer.answers(&packets(1, &[b"\xff\xdb\x04#HY000Unknown prepared statement handler"]));
        peer.check(&[
            "CONNECT answered",
            "PREPARE SELECT a FROM t WHERE b = ? answered",
            "STMT_RESET answered",
            "SELECT a FROM t WHERE b = ? answered 1 rows",
            "(prepared) answered 1243",
        ]);
        assert_eq!(peer.rows()[3], Some(1));
        assert!(peer.sink.losses.is_empty());
    }
}

#[test]
fn what_a_prepared_statement_has_ends_where_it_shows_if_the_handshake_was_not_seen() {
    for eof in [&[EOF][..], &[]] {
        let mut peer = Peer::new(&ENTRY);
        for number in 1..4 {
            peer.asks(&command(commands::PREPARE, b"DO ?"));
            let prepared = prepared(number, 0, 1);
            let answer = [&[&prepared[..], COLUMN], eof].concat();
            peer.answers(&packets(1, &answer));
            peer.asks(&execute(number));
            peer.answers(&packets(1, &[OK]));
        }
        peer.check(&["PREPARE DO ? answered", "DO ? answered 0 rows"].repeat(3));
        assert!(peer.sink.losses.is_empty());
    }
}

#[test]
fn a_statement_that_is_used_at_once_is_known() {
    let mut peer = Peer::connected(OLD, OLD);
    peer.asks(&[command(commands::PREPARE, b"select ? + 1"), execute(u32::MAX)].concat());
    let answer = packets(1, &[&prepared(4, 1, 1), COLUMN, EOF, COLUMN, EOF]);
    peer.answers(&[answer, rows(&[b"\0\0\x2a\0\0\0\0\0\0\0"])].concat());
    peer.asks(&[command(commands::PREPARE, b"select nope"), execute(u32::MAX)].concat());
    let refused = packets(1, &[b"\xff\xdb\x04#HY000Unknown prepared statement handler"]);
    peer.answers(&[packets(1, &[NO_SUCH_COLUMN]), refused].concat());
    peer.check(&[
        "CONNECT answered",
        "PREPARE SELECT ? + ? answered",
        "SELECT ? + ? answered 1 rows",
        "PREPARE SELECT nope answered 1054",
        "SELECT nope answered 1243",
    ]);
}

#[test]
fn rows_of_a_cursor_are_fetched() {
    let mut peer = Peer::connected(OLD, OLD);
    peer.asks(&command(commands::PREPARE, b"SELECT i FROM a"));
    peer.answers(&packets(1, &[&prepared(5, 1, 0), COLUMN, EOF]));
    peer.asks(&command(commands::EXECUTE, b"\x05\0\0\0\x01\x01\0\0\0"));
    peer.answers(&packets(1, &[b"\x01", COLUMN, b"\xfe\0\0\x61\0"]));
    for last in [&b"\xfe\0\0\x41\0"[..], b"\xfe\0\0\x81\0"] {
        peer.asks(&command(commands::FETCH, b"\x05\0\0\0\x02\0\0\0"));
        peer.answers(&packets(1, &[b"\0\0\x01\0\0\0", b"\0\0\x02\0\0\0", last]));
    }
    peer.check(&[
        "CONNECT answered",
        "PREPARE SELECT i FROM a answered",
        "SELECT i FROM a answered",
        "FETCH SELECT i FROM a answered 2 rows",
        "FETCH SELECT i FROM a answered 2 rows",
    ]);
    assert_eq!(peer.rows()[3..], [Some(2), Some(2)]);
}

#[test]
fn a_client_is_let_in_after_any_number_of_questions() {
    let mut peer = Peer::new(&ENTRY);
    peer.answers(&packets(0, &[GREETING]));
    peer.asks(&packets(1, &[RESPONSE]));
    peer.answers(&packets(2, &[b"\xfecaching_sha2_password\0aaaaaaaaaaaaaaaaaaaa\0"]));
    peer.asks(&packets(3, &[b"SECRET"]));
    peer.answers(&packets(4, &[b"\x01\x04"]));
    peer.asks(&packets(5, &[b""]));
    peer.answers(&packets(6, &[b"\x01\x03", OK]));
    peer.asks(&command(commands::CHANGE_USER, b"SECRET\0\x14SECRET"));
    peer.answers(&packets(1, &[b"\xfemysql_native_password\0"]));
    peer.asks(&packets(2, &[b"SECRET"]));
    peer.answers(&packets(3, &[b"\xff\x15\x04#28000Access denied for user 'SECRET'"]));
    peer.check(&["CONNECT answered", "CHANGE_USER answered 1045"]);
    let told = &peer.sink.told[0];
    let ended = told.ended.unwrap();
    assert_eq!(ended.request_bytes, RESPONSE.len() as u64 + 4 + 10 + 4);
    // Questions are not the answer.
    assert_eq!(
        (ended.times.request_last_ns, ended.times.response_first_ns),
        (6, Some(7))
    );
    assert!(!format!("{:?} {:?}", peer.sink, peer.dissector).contains("SECRET"));
}

#[test]
fn what_follows_a_request_for_tls_is_ignored_and_inside_of_it_all_begins_with_the_second_packet() {
    let mut peer = Peer::new(&ENTRY);
    peer.answers(&packets(0, &[GREETING]));
    peer.asks(&packets(
        1,
        &[b"\x8d\xae\x3b\0\xff\xff\xff\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"],
    ));
    assert_eq!(
        peer.asks(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        Verdict::Continue
    );
    assert_eq!(
        peer.answers(b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03"),
        Verdict::Continue
    );
    peer.check(&[]);
    assert!(peer.sink.losses.is_empty());

    let bytes = packets(2, &[RESPONSE]);
    for (read, rest) in [(&bytes[..], &[][..]), bytes.split_at(4)] {
        assert_eq!(requests(read, read.len(), true), Some(Direction::Received));
        let mut peer = Peer::new(&ENTRY);
        peer.asks(read);
        peer.asks(rest);
        peer.answers(&packets(3, &[OK]));
        peer.asks(&query("DO 1"));
        peer.answers(&packets(1, &[OK]));
        peer.check(&["CONNECT answered", "DO ? answered 0 rows"]);
    }
    assert_eq!(requests(&bytes[..4], 4, false), None);
}

#[test]
fn what_is_compressed_is_counted_once_and_given_up() {
    let compressed = b"\x18\0\0\0\0\0\0\x14\0\0\0\x03select 'compressed'";
    let client = OLD | capabilities::COMPRESS;
    let mut peer = Peer::connected(client, client);
    assert_eq!(peer.asks(compressed), Verdict::Opaque);
    assert_eq!(peer.sink.losses, [Loss::Compressed]);
    peer.check(&["CONNECT answered"]);
    // The server cannot.
    let mut peer = Peer::connected(client, OLD);
    assert_eq!(peer.asks(&query("DO 1")), Verdict::Continue);
}

#[test]
fn a_file_that_is_loaded_is_a_stream() {
    for (file, last) in [(&b"5\tfive\n6\tsix\n"[..], 4), (b"", 3)] {
        let mut peer = Peer::connected(OLD, OLD);
        peer.asks(&query("LOAD DATA LOCAL INFILE 'SECRET' INTO TABLE a"));
        peer.answers(&packets(1, &[b"\xfb/tmp/SECRET"]));
        if !file.is_empty() {
            peer.asks(&packets(2, &[file]));
            peer.misses(Half::Request, 100_000, b"", false);
        }
        peer.asks(&packets(last - 1, &[b""]));
        peer.answers(&packets(last, &[b"\xff\xff\xff\x01\x02\x02\0\0\0\x0fEnd bulk insert"]));
        peer.answers(&packets(last + 1, &[b"\0\x02\0\x02\0\0\0\x2fRecords: 2"]));
        peer.asks(&query("DO 1"));
        peer.answers(&packets(1, &[OK]));
        peer.check(&[
            "CONNECT answered",
            "LOAD DATA LOCAL INFILE ? INTO TABLE a answered",
            "DO ? answered 0 rows",
        ]);
        let told = &peer.sink.told[1];
        assert_eq!(told.ended.unwrap().stream, Some(StreamKind::Copy));
        assert_eq!(told.stream_ended.unwrap().outcome, Outcome::Answered);
        assert!(peer.sink.losses.is_empty());
    }
}

#[test]
fn a_binary_log_is_a_stream_and_a_refusal_an_answer() {
    let dump = command(0x12, b"\x04\0\0\0\0\0\x02\0\0\0binlog.000001");
    let mut peer = Peer::connected(OLD, OLD);
    peer.asks(&dump);
    peer.answers(&packets(1, &[b"\xff\xd4\x04#HY000Could not find first log file"]));
    peer.asks(&dump);
    peer.answers(&packets(1, &[b"\0an event"]));
    peer.answers(b"anything at all");
    peer.check(&["CONNECT answered", "BINLOG_DUMP answered 1236", "BINLOG_DUMP answered"]);
    assert_eq!(peer.sink.told[2].ended.unwrap().stream, Some(StreamKind::Subscription));
    assert_eq!(peer.sink.told[2].moved, [0, 15]);
}

#[test]
fn commands_are_called_by_their_names() {
    let mut peer = Peer::connected(OLD, OLD);
    for (ask, answer) in [
        (command(0x02, b"SECRET"), packets(1, &[OK])),
        (command(0x09, b""), packets(1, &[b"Uptime: 623  Threads: 1"])),
        (command(0x04, b"SECRET\0"), packets(1, &[COLUMN, COLUMN, EOF])),
        (command(0x1b, b"\0\0"), packets(1, &[EOF])),
        (command(commands::RESET_CONNECTION, b""), packets(1, &[OK])),
        (command(0x0a, b""), rows(&[b"\x011"])),
        (command(0xfa, b"\x01\0\0\0\0\0\0"), packets(1, &[OK])),
        (query(""), packets(1, &[b"\xff\x29\x04#42000Query was empty"])),
    ] {
        peer.asks(&ask);
        peer.answers(&answer);
    }
    peer.check(&[
        "CONNECT answered",
        "INIT_DB answered",
        "STATISTICS answered",
        "FIELD_LIST answered",
        "SET_OPTION answered",
        "RESET_CONNECTION answered",
        "PROCESS_INFO answered 1 rows",
        "(prepared) answered 0 rows",
        "QUERY answered 1065",
    ]);
    assert!(peer.sink.losses.is_empty());
}

#[test]
fn long_rows_and_statements_are_passed_over() {
    let mut peer = Peer::connected(OLD, OLD);
    let text = format!("INSERT INTO t VALUES ('{}')", "x".repeat(40_000_000));
    let whole = [b"\x03", text.as_bytes()].concat();
    let parts: Vec<_> = whole.chunks(0xff_ffff).collect();
    let bytes = packets(0, &parts);
    peer.asks(&bytes[..16_000]);
    peer.misses(Half::Request, (0xff_ffff + 4 - 16_000) as u64, b"xxxxxxxx", false);
    let rest = &bytes[0xff_ffff + 4..];
    rest.chunks(0xff_ffff + 4).for_each(|packet| {
        peer.asks(&packet[..100]);
        peer.misses(Half::Request, packet.len() as u64 - 100, b"xxxxxxxx", false);
    });
    peer.answers(&packets(3, &[OK]));
    peer.asks(&query("SELECT a"));
    let row = vec![b'x'; 0xff_ffff];
    peer.answers(&rows(&[&row, b"the rest", b"\x011"]));
    peer.check(&[
        "CONNECT answered",
        "INSERT INTO t VALUES (? … answered 0 rows",
        "SELECT a answered 2 rows",
    ]);
    assert_eq!(peer.rows()[1..], [Some(0), Some(2)]);
    assert_eq!(peer.sink.told[1].ended.unwrap().request_bytes, bytes.len() as u64);
}

#[test]
fn rows_longer_than_is_copied_end_where_their_last_bytes_say_so() {
    for (capabilities, last, ends) in [
        (OLD, packets(77, &[EOF]), true),
        (ALL, packets(77, &[OK_EOF]), true),
        (OLD, packets(77, &[OK_EOF]), false),
        (ALL, packets(77, &[EOF]), false),
        (OLD, packets(77, &[MORE]), false),
        (OLD, b"\x01\0\x05text".to_vec(), false),
    ] {
        let mut peer = Peer::connected(capabilities, capabilities);
        peer.asks(&query("SELECT a"));
        let eof = if capabilities == OLD { &[EOF][..] } else { &[] };
        let answer = packets(1, &[&[&b"\x01"[..], COLUMN], eof, &[b"\x011"; 100]].concat());
        peer.answers(&answer[..200]);
        peer.misses(Half::Response, 9999, &last[last.len().saturating_sub(8)..], false);
        let operation = if ends {
            "SELECT a answered"
        } else {
            "SELECT a in flight"
        };
        peer.check(&["CONNECT answered", operation]);
        peer.asks(&query("DO 1"));
        peer.answers(&packets(1, &[OK]));
        peer.check(&["CONNECT answered", "SELECT a answered", "DO ? answered 0 rows"]);
        // Not all of the rows were seen.
        assert_eq!(peer.rows()[1], None);
    }
}

#[test]
fn after_a_loss_a_server_that_reads_headers_by_themselves_is_followed_again() {
    let mut peer = Peer::connected(OLD, OLD);
    peer.asks(&query("DO 1"));
    peer.misses(Half::Response, 11, b"", true);
    peer.misses(Half::Request, 50, b"", true);
    peer.now += 200_000_000;
    let ask = query("SELECT 1");
    peer.asks(&ask[..4]);
    peer.asks(&ask[4..]);
    peer.answers(&rows(&[]));
    peer.check(&["CONNECT answered", "DO ? unknown", "SELECT ? answered 0 rows"]);
}

#[test]
fn an_answer_to_what_was_not_seen_is_counted_once_and_paired_with_nothing() {
    let mut peer = Peer::new(&ENTRY);
    peer.answers(&rows(&[b"\x011", b"\x012"]));
    peer.asks(&query("DO 1"));
    peer.answers(&packets(1, &[OK]));
    peer.check(&["DO ? answered 0 rows"]);
    assert_eq!(peer.sink.losses, [Loss::ResponseWithoutRequest]);
    // It was pipelined, and the end of an answer before it comes first.
    peer.asks(&query("DO 1"));
    peer.answers(&packets(7, &[EOF]));
    peer.check(&["DO ? answered 0 rows", "DO ? in flight"]);
}

#[test]
fn attributes_of_a_query_are_no_part_of_it() {
    let mut peer = Peer::connected(ALL, ALL);
    peer.asks(&query("\0\x01DO 1"));
    peer.answers(&packets(1, &[OK]));
    peer.asks(&query(
        "\x01\x01\0\x01\x08\0\x01n\x01\x02\x03\x04\x05\x06\x07\x08SELECT 1",
    ));
    peer.answers(&packets(1, &[OK]));
    peer.check(&["CONNECT answered", "DO ? answered 0 rows", "SELECT ? answered 0 rows"]);
}

#[test]
fn where_a_backslash_stands_for_itself_no_value_is_taken_for_text() {
    let mut peer = Peer::connected(OLD, OLD);
    peer.asks(&query("SET sql_mode = 'NO_BACKSLASH_ESCAPES'"));
    peer.answers(&packets(1, &[b"\0\0\0\x02\x02\0\0"]));
    for code in [commands::QUERY, commands::PREPARE] {
        peer.asks(&command(code, br"SELECT '\', SECRET, ''"));
        peer.answers(&packets(1, &[NO_SUCH_COLUMN]));
    }
    peer.check(&[
        "CONNECT answered",
        "SET sql_mode = ? answered 0 rows",
        "QUERY answered 1054",
        "PREPARE answered 1054",
    ]);
}

#[test]
fn an_error_that_nobody_asked_for_is_none_of_an_exchange() {
    let mut peer = Peer::new(&ENTRY);
    peer.answers(&packets(0, &[b"\xff\x10\x04Too many connections"]));
    peer.check(&[]);
    assert!(peer.sink.losses.is_empty());
}

fn requests(bytes: &[u8], length: usize, first: bool) -> Option<Direction> {
    detect(&Beginning {
        bytes,
        length: u32::try_from(length).unwrap(),
        direction: Direction::Received,
        first,
    })
}

#[test]
fn what_either_side_begins_with_is_recognised() {
    for asks in [
        packets(1, &[RESPONSE]),
        query("select 1"),
        query(" /* note */ SELECT 1"),
        query("\0\x01SELECT 1"),
        command(commands::PREPARE, b"SELECT ?"),
        [command(commands::PREPARE, b"SELECT ?"), execute(u32::MAX)].concat(),
        execute(1),
        [command(commands::CLOSE, b"\x01\0\0\0"), query("SELECT 1")].concat(),
        command(commands::PING, b""),
    ] {
        assert_eq!(
            requests(&asks, asks.len(), false),
            Some(Direction::Received),
            "{}",
            asks.escape_ascii()
        );
    }
    for answers in [packets(0, &[GREETING]), rows(&[b"\x011"]), packets(1, &[OK])] {
        assert_eq!(
            requests(&answers, answers.len(), false),
            Some(Direction::Sent),
            "{}",
            answers.escape_ascii()
        );
    }
    // A piece of a long one.
    let long = query(&"SELECT 1 ".repeat(1000));
    assert_eq!(requests(&long[..2000], 2000, false), Some(Direction::Received));
    for other in [
        &b"\x09\0\0\0\x03sel"[..],
        b"\x09\0\0\0\x03s\0lect 1",
        // PostgreSQL's, MongoDB's, a name server's, compressed.
        b"Q\0\0\0\x16SELECT 12345678901\0",
        b"P\0\0\0\x16\0SELECT 123456\0\0\0",
        b"\x15\0\0\0\x03abc\0\0\0\0\xdd\x07\0\0\0\0\0\0\0",
        b"\x12\0\0\0\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
        b"\x10\0\0\0\x03\x9c\0x\x9cM\xca1\x0e\x80 \x10\0\xc1=",
        b"\x18\0\0\0\0\0\0\x14\0\0\0\x03select 'compressed'",
        b"\x09\0\0\0",
        b"\x09\0\0",
    ] {
        assert_eq!(requests(other, other.len(), true), None, "{}", other.escape_ascii());
    }
}

/// Conversations for the properties that hold for every dissector.
pub(in crate::protocol) fn conversation() -> BoxedStrategy<Talked> {
    let value = "[a-z]{0,40}";
    let text = |value: &str| [&[u8::try_from(value.len()).expect("short")], value.as_bytes()].concat();
    let results = prop::collection::vec(prop::collection::vec(value, 0..6), 1..3);
    let answer = prop_oneof![
        Just((packets(1, &[OK]), None)),
        (1051u16..1100).prop_map(|code| {
            let error = [&b"\xff"[..], &code.to_le_bytes(), b"#42S22some text"].concat();
            (packets(1, &[&error]), Some(code.to_string()))
        }),
        (results, any::<bool>()).prop_map(move |(results, deprecated)| {
            let mut payloads: Vec<Vec<u8>> = Vec::new();
            let last = results.len() - 1;
            for (place, rows) in results.iter().enumerate() {
                let more = if place == last { 0x02 } else { 0x0a };
                payloads.extend([b"\x01".to_vec(), COLUMN.to_vec()]);
                if !deprecated {
                    payloads.push(vec![0xfe, 0, 0, more, 0]);
                }
                payloads.extend(rows.iter().map(|row| text(row)));
                payloads.push(if deprecated {
                    vec![0xfe, 0, 0, more, 0, 0, 0]
                } else {
                    vec![0xfe, 0, 0, more, 0]
                });
            }
            let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            (packets(1, &payloads), None)
        }),
    ];
    let asks = prop_oneof![
        Just(("SELECT a FROM t", query("SELECT a FROM t"))),
        "[a-z]{0,2000}".prop_map(|name| (
            "DELETE FROM t WHERE b = ?",
            query(&format!("DELETE FROM t WHERE b = '{name}'"))
        )),
        Just((PREPARED, execute(9))),
        Just((PREPARED, [command(commands::CLOSE, b"\x08\0\0\0"), execute(9)].concat())),
    ];
    let handshake = prop::option::of(any::<bool>());
    (handshake, prop::collection::vec((asks, answer), 1..8))
        .prop_map(|(handshake, exchanges)| {
            let mut talked = Talked::default();
            let mut part = |half, bytes| talked.parts.push((half, bytes));
            if let Some(switches) = handshake {
                talked.expected.push((CONNECT.to_owned(), None));
                part(Half::Response, packets(0, &[GREETING]));
                part(Half::Request, packets(1, &[RESPONSE]));
                let mut sequence = 2;
                if switches {
                    part(Half::Response, packets(2, &[b"\xfemysql_native_password\0abcdefgh"]));
                    part(Half::Request, packets(3, &[b"abcdefghabcdefghabcd"]));
                    sequence = 4;
                }
                part(Half::Response, packets(sequence, &[OK]));
            }
            for ((operation, bytes), (answer, error)) in exchanges {
                talked.expected.push((operation.to_owned(), error));
                part(Half::Request, bytes);
                part(Half::Response, answer);
            }
            talked
        })
        .boxed()
}

#[test]
fn what_begins_like_no_greeting_is_written_as_nothing() {
    let mut head = *b"\x20\x01\x36\0\0\0\x0a8.0.36\0\x05\0\0\0SCRAMBLE\0";
    Mysql::default().blank(Half::Response, &mut head, &Pairs::default());
    assert!(memchr::memmem::find(&head, b"MB").is_none(), "{}", head.escape_ascii());
}
