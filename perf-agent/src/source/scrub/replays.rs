//! What is recorded of databases and caches replays as it was seen, and holds none of what was said in values.

use std::sync::Arc;

use perf_common::record::{TickRecord, flag, origin};
use proptest::prelude::*;

use super::Scrubber;
use crate::exchange::Role;
use crate::ledger::Accounting;
use crate::snapshot::LoggedExchange;
use crate::synthetic::{End, data, open};

/// What was asked, and what was answered.
type Turns = Vec<[Vec<u8>; 2]>;

fn turns(turns: &[[&[u8]; 2]]) -> Turns {
    turns.iter().map(|turn| turn.map(<[u8]>::to_vec)).collect()
}

fn redis() -> Turns {
    turns(&[
        [b"*2\r\n$4\r\nAUTH\r\n$6\r\nSECRET\r\n", b"+OK\r\n"],
        [
            b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$6\r\nSECRET\r\n$6\r\nSECRET\r\n",
            b"%1\r\n$6\r\nSECRET\r\n+SECRET\r\n",
        ],
        [
            b"*3\r\n$3\r\nSET\r\n$7\r\nkSECRET\r\n$6\r\nSECRET\r\n",
            b"-ERR no SECRET for SECRET\r\n",
        ],
        [
            b"*2\r\n$3\r\nget\r\n$6\r\nSECRET\r\n*3\r\n$4\r\nMGET\r\n$6\r\nSECRET\r\n$1\r\nb\r\n",
            b"$6\r\nSECRET\r\n*2\r\n$6\r\nSECRET\r\n_\r\n",
        ],
        [
            b"*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$11\r\nrequirepass\r\n$6\r\nSECRET\r\n",
            b"+OK\r\n",
        ],
        [b"*2\r\n$4\r\nINCR\r\n$6\r\nSECRET\r\n", b":73519735\r\n"],
        [b"AUTH SECRET\r\n", b"!10\r\nERR SECRET\r\n"],
        [
            b"*3\r\n$9\r\nSUBSCRIBE\r\n$6\r\nSECRET\r\n$1\r\nb\r\n",
            b">3\r\n$9\r\nsubscribe\r\n$6\r\nSECRET\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$6\r\nSECRET\r\n$6\r\nSECRET\r\n",
        ],
    ])
}

fn memcached() -> Turns {
    turns(&[
        [b"set SECRET 0 3600 6\r\nSECRET\r\n", b"STORED\r\n"],
        [b"get SECRET kSECRET\r\n", b"VALUE SECRET 0 6\r\nSECRET\r\nEND\r\n"],
        [b"incr SECRET 73519735\r\n", b"73519735\r\n"],
        [b"touch SECRET 60\r\n", b"SERVER_ERROR of SECRET\r\n"],
        [b"mg SECRET v t\r\n", b"VA 6 t60\r\nSECRET\r\n"],
        [b"ms SECRET 6 T60\r\nSECRET\r\n", b"HD\r\n"],
        [
            b"\x80\x01\0\x06\x08\0\0\0\0\0\0\x14\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0SECRETSECRET",
            b"\x81\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x01",
        ],
    ])
}

/// Messages of PostgreSQL.
fn messages(messages: &[(u8, &[u8])]) -> Vec<u8> {
    let message = |(kind, body): &(u8, &[u8])| {
        let length = u32::try_from(4 + body.len()).unwrap().to_be_bytes();
        let kind: &[u8] = if *kind == 0 { &[] } else { std::slice::from_ref(kind) };
        [kind, &length, body].concat()
    };
    messages.iter().flat_map(message).collect()
}

fn postgresql() -> Turns {
    let ready = (b'Z', &b"I"[..]);
    let text = b"SELECT a FROM t /* SECRET */ WHERE b = 'SECRET' AND c = 73519735\0";
    vec![
        [
            messages(&[(0, b"\0\x03\0\0user\0SECRET\0options\0SECRET\0\0")]),
            messages(&[(b'R', b"\0\0\0\x03")]),
        ],
        [
            messages(&[(b'p', b"SECRET\0")]),
            messages(&[(b'R', b"\0\0\0\0"), (b'K', b"SECRETSE"), ready]),
        ],
        [
            messages(&[(b'Q', text)]),
            messages(&[
                (b'T', b"SECRET\x01"),
                (b'D', b"\0\x01\0\0\0\x06SECRET"),
                (b'C', b"SELECT 1\0"),
                ready,
            ]),
        ],
        [
            messages(&[
                (b'P', b"\0INSERT INTO t VALUES ($1)\0\0\0"),
                (b'B', b"\0\0\0\0\0\x01\0\0\0\x06SECRET\0\0"),
                (b'E', b"\0\0\0\0\0"),
                (b'S', b""),
            ]),
            messages(&[
                (b'1', b""),
                (b'2', b""),
                (b'E', b"SERROR\0C23505\0MSECRET\0DSECRET\0\0"),
                ready,
            ]),
        ],
        [
            messages(&[(b'Q', b"SAVEPOINT SECRET\0")]),
            messages(&[(b'C', b"SAVEPOINT\0"), ready]),
        ],
    ]
}

/// Packets of MySQL, with this number first.
fn packets(first: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let packet = |(sequence, payload): (u8, &&[u8])| {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[sequence], payload].concat()
    };
    (first..).zip(payloads).flat_map(packet).collect()
}

fn mysql() -> Turns {
    let okay = b"\0\x01\0\x02\0\0\0";
    let eof = b"\xfe\0\0\x02\0";
    vec![
        [
            vec![],
            packets(0, &[b"\x0a8.0.36\0\x05\0\0\0SECRETSE\0\xff\xf7\x08\x02\0\xff\x81\x15\0\0\0\0\0\0\0\0\0\0SECRETSECRET\0x\0"]),
        ],
        [
            packets(1, &[b"\x8d\xa2\x3b\0\xff\xff\xff\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0SECRET\0\x06SECRET\0"]),
            packets(2, &[b"\0\0\0\x02\0\0\0"]),
        ],
        [
            packets(0, &[b"\x03SELECT * FROM t WHERE a = \"SECRET\" /* SECRET"]),
            packets(1, &[b"\x01", b"\x03defSECRET", eof, b"\x06SECRET", eof]),
        ],
        [
            packets(0, &[b"\x16DO SLEEP(73519735)"]),
            packets(1, &[b"\0\x01\0\0\0\0\0\0\0\0\0\0"]),
        ],
        [
            packets(0, &[b"\x17\x01\0\0\0\0\x01\0\0\0SECRET"]),
            packets(1, &[&[&okay[..], b"SECRET"].concat()]),
        ],
        [
            packets(0, &[b"\x03\x01\x01\0\x01\xfe\0\x01n\x06SECRETUPDATE t SET a = 'SECRET'"]),
            packets(1, &[okay]),
        ],
        [packets(0, &[b"\x02SECRET"]), packets(1, &[b"\xff\x19\x04#42000SECRET"])],
    ]
}

/// A message of MongoDB, in answer to another one unless that is 0.
fn op_msg(id: u8, response_to: u8, sections: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + sections.len()).unwrap().to_le_bytes();
    let header: &[u8] = &[id, 0, 0, 0, response_to, 0, 0, 0, 0xdd, 7, 0, 0, 0, 0, 0, 0];
    [&length, header, sections].concat()
}

fn bson(elements: &[&[u8]]) -> Vec<u8> {
    let elements = elements.concat();
    [
        &u32::try_from(5 + elements.len()).unwrap().to_le_bytes(),
        &elements[..],
        b"\0",
    ]
    .concat()
}

fn mongodb() -> Turns {
    let body = |elements: &[&[u8]]| [b"\0", &bson(elements)[..]].concat();
    let okay: &[u8] = b"\x10ok\0\x01\0\0\0";
    let document = bson(&[b"\x02SECRET\0\x07\0\0\0SECRET\0\x01n\x000000"]);
    vec![
        [
            op_msg(
                1,
                0,
                &[
                    &body(&[b"\x02insert\0\x06\0\0\0users\0\x02$db\0\x07\0\0\0SECRET\0"])[..],
                    &[
                        b"\x01",
                        &u32::try_from(14 + document.len()).unwrap().to_le_bytes()[..],
                        b"documents\0",
                        &document,
                    ]
                    .concat(),
                ]
                .concat(),
            ),
            op_msg(
                9,
                1,
                &body(&[
                    okay,
                    b"\x04writeErrors\0",
                    &bson(&[
                        b"\x030\0",
                        &bson(&[b"\x10code\0\x0b\0\0\0\x02errmsg\0\x07\0\0\0SECRET\0"]),
                    ]),
                ]),
            ),
        ],
        [
            op_msg(2, 0, &body(&[b"\x02find\0\x06\0\0\0users\0\x03filter\0", &document])),
            op_msg(
                10,
                2,
                &body(&[
                    b"\x03cursor\0",
                    &bson(&[
                        b"\x04firstBatch\0",
                        &bson(&[b"\x030\0", &document, b"\x031\0", &document]),
                    ]),
                    okay,
                ]),
            ),
        ],
        [
            op_msg(
                3,
                0,
                &body(&[b"\x10saslStart\0\x01\0\0\0\x05payload\0\x06\0\0\0\0SECRET\x0bre\0SECRET\0i\0"]),
            ),
            op_msg(
                11,
                3,
                &body(&[
                    b"\x10ok\0\0\0\0\0\x02errmsg\0\x07\0\0\0SECRET\0\x10code\0\x12\0\0\0",
                    b"\x02codeName\0\x05\0\0\0Auth\0",
                ]),
            ),
        ],
        [
            op_msg(
                4,
                0,
                &body(&[b"\x02dropUser\0\x07\0\0\0SECRET\0\x02comment\0\x07\0\0\0SECRET\0"]),
            ),
            op_msg(12, 4, &body(&[okay])),
        ],
    ]
}

fn dns() -> Turns {
    turns(&[
        [
            b"\0\x28\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x10\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\x0a\0\x0a\0\x06SECRET",
            b"\0\x26\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x01a\0\0\x10\0\x01\xc0\x0c\0\x10\0\x01\0\0\0\0\0\x07\x06SECRET",
        ],
        [
            b"\0\x13\0\x02\x01\0\0\x01\0\0\0\0\0\0\x01b\0\0\x01\0\x01",
            b"\0\x13\0\x02\x81\x83\0\x01\0\0\0\0\0\0\x01b\0\0\x01\0\x01",
        ],
    ])
}

fn kafka() -> Turns {
    let sized = |message: &[u8]| [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    let turn = |asked: &[u8], answered: &[u8]| [sized(asked), sized(answered)];
    vec![
        turn(
            b"\0\0\0\x09\0\0\0\x03\0\x06SECRET\0\x07SECRET\0\x01\0\0\x75\x30\x02\x07orders\x02\0\0\0\0\x07SECRET\0\0\0",
            b"\0\0\0\x03\0\x02\x07SECRET\x02\0\0\0\0\0\x06\0\0\0\0\0\0\0\0",
        ),
        turn(
            b"\0\x01\0\x04\0\0\0\x07\0\x06SECRET\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x06orders\0\0\0\0",
            b"\0\0\0\x07\0\0\0\0\0\0\0\x01\0\x06SECRET\0\0\0\x01\0\0\0\x02\0\0ABCDEFGHIJKLMNOP\0\0\0\0\0\0\0\x06SECRET",
        ),
        turn(
            b"\0\x24\0\0\0\0\0\x04\0\x06SECRET\0\0\0\x06SECRET",
            b"\0\0\0\x04\0\x3a\0\x06SECRET\0\0\0\x06SECRET",
        ),
        turn(
            b"\0\x03\0\x0c\0\0\0\x05\0\x06SECRET\0\x02\0\0\0\0\0",
            b"\0\0\0\x05\0\0\0\0\0\x02\0\0\0\x01\x07SECRET\0\0\x23\x84\0\0\x07SECRET\0\0\0\x01\x02\0\0\x02aABCDEFGHIJKLMNOP\0\x01\0\0\0\0\0\0",
        ),
    ]
}

const ALL: [fn() -> Turns; 7] = [redis, memcached, postgresql, mysql, mongodb, dns, kafka];

/// Records of one connection at its server; all but what was said first is cut into pieces of at most so many bytes.
fn records(turns: &Turns, most: usize) -> Vec<Vec<u8>> {
    let end = End {
        connection: 1,
        tgid: 1,
        role: Role::Server,
        port: 80,
    };
    let mut records = vec![open(1, 1, 1_000_000_000, origin::FROM_START).to_bytes().to_vec()];
    let mut ends = [0; 2];
    let mut at_ns = 2_000_000_000;
    for turn in turns {
        for (sent, bytes) in [false, true].into_iter().zip(turn) {
            let most = if at_ns > 2_000_000_000 { most } else { usize::MAX };
            for piece in bytes.chunks(most) {
                at_ns += 1000;
                let position = &mut ends[usize::from(sent)];
                *position += u32::try_from(piece.len()).unwrap();
                records.push(data(end, sent, *position, at_ns, piece));
            }
        }
    }
    records
}

/// What becomes of records.
fn seen(records: &[Vec<u8>]) -> (Vec<String>, Accounting) {
    let settings = crate::pipeline::Settings {
        connections: 10,
        statistics: crate::statistics::Settings::default(),
    };
    let mut pipeline = crate::pipeline::Pipeline::new(settings).unwrap();
    let tick = |second: u64| TickRecord::new(second * 1_000_000_000, second).to_bytes();
    pipeline.apply(&tick(1));
    for record in records {
        pipeline.apply(record);
    }
    pipeline.finish();
    pipeline.apply(&tick(3));
    let snapshot = pipeline.snapshot();
    let exchange = |it: &Arc<LoggedExchange>| {
        let error = it.error.map(|error| error.as_str().to_owned());
        let bytes = (it.request_bytes, it.response_bytes);
        format!("{} {error:?} {:?} {:?} {bytes:?}", it.path, it.outcome, it.times)
    };
    let tallies = snapshot
        .endpoints
        .iter()
        .map(|endpoint| format!("{:?}", (&endpoint.key, &endpoint.aggregate)));
    let exchanges = snapshot.recent.recent.iter().map(exchange);
    (exchanges.chain(tallies).collect(), snapshot.accounting)
}

fn scrubbed(mut records: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut scrubber = Scrubber::default();
    for record in &mut records {
        scrubber.scrub(record);
    }
    records
}

#[track_caller]
fn holds_no_secret(records: &[Vec<u8>]) {
    // Whole payloads, so that one that was cut is found as well.
    for sent in [0, 1] {
        let of = |record: &&Vec<u8>| record[0] == 1 && record[52] == sent;
        let said: Vec<u8> = records
            .iter()
            .filter(of)
            .flat_map(|record| record[64..].to_vec())
            .collect();
        for secret in [&b"SECRET"[..], b"ECRE", b"735"] {
            let is_there = memchr::memmem::find(&said, secret).is_some();
            assert!(!is_there, "{}", said.escape_ascii());
        }
    }
}

#[test]
fn a_recording_replays_as_it_was_seen() {
    for turns in ALL.map(|turns| turns()) {
        let live = records(&turns, usize::MAX);
        let recorded = scrubbed(live.clone());
        assert_eq!(seen(&recorded), seen(&live));
        let answered = seen(&live).1.exchanges.answered;
        assert!(answered + 2 >= turns.len() as u64, "{:?}", seen(&live));
        holds_no_secret(&recorded);
    }
}

#[test]
fn what_comes_before_the_protocol_is_known_begins_none() {
    let mut all = vec![[messages(&[(b'Q', b"EE")]), vec![]]];
    all.extend(postgresql());
    let live = records(&all, usize::MAX);
    assert_eq!(seen(&scrubbed(live.clone())), seen(&live));
}

#[test]
fn the_last_bytes_of_an_answer_say_no_more_than_that_it_ended() {
    for (turns, end, kept) in [
        (postgresql(), b"abZ\0\0\0\x05I", b"xxZ\0\0\0\x05I"),
        (postgresql(), b"abcdefgh", b"xxxxxxxx"),
        (memcached(), b"a\r\nEND\r\n", b"x\r\nEND\r\n"),
        (redis(), b"SECRET\r\n", b"xxxxxx\r\n"),
    ] {
        let mut records = records(&turns, usize::MAX);
        let last = records.last_mut().unwrap();
        last[2..4].copy_from_slice(&(flag::TAIL | flag::FIRST).to_le_bytes());
        last[56..64].copy_from_slice(end);
        assert_eq!(scrubbed(records).last().unwrap()[56..64], *kept);
    }
}

proptest! {
    #[test]
    fn no_piece_of_a_recording_holds_a_secret(place in 0..ALL.len(), most in 1..40usize) {
        holds_no_secret(&scrubbed(records(&ALL[place](), most)));
    }
}
