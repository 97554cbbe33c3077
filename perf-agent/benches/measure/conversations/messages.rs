//! What is said to caches, brokers and name servers, and to MongoDB.

use std::io::Write as _;

use crate::records::Random;

/// Operations of each.
pub(super) const REDIS: usize = 7;
pub(super) const MEMCACHED: usize = 2;
pub(super) const MONGODB: usize = 4 * COLLECTIONS.len();
pub(super) const KAFKA: usize = 2 * TOPICS.len() + 1;
pub(super) const DNS: usize = 2 * COLLECTIONS.len() * TOPICS.len();

const COLLECTIONS: [&str; 5] = ["users", "orders", "items", "carts", "prices"];
const TOPICS: [&str; 4] = ["events", "audit-log", "payments", "mail"];
/// What is stored, at most.
const VALUE: [u8; 512] = [b'v'; 512];

fn pick<'a>(random: &mut Random, names: &[&'a str]) -> &'a str {
    names[random.below(names.len())]
}

/// A value of a length that is often small.
fn value(random: &mut Random) -> &'static [u8] {
    let long = random.unit().powi(3) * 400.0;
    &VALUE[..16 + crate::records::index(long / 400.0, 400)]
}

fn put(to: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    to.write_fmt(text).expect("a vector takes everything");
}

/// An array of bulk strings.
fn command(to: &mut Vec<u8>, words: &[&[u8]]) {
    put(to, format_args!("*{}\r\n", words.len()));
    for word in words {
        bulk(to, word);
    }
}

fn bulk(to: &mut Vec<u8>, word: &[u8]) {
    put(to, format_args!("${}\r\n", word.len()));
    to.extend_from_slice(word);
    to.extend_from_slice(b"\r\n");
}

/// RESP2.
pub(super) fn redis(random: &mut Random, asks: &mut Vec<u8>, answers: &mut Vec<u8>) {
    let key = format!("{}:{:08}", pick(random, &COLLECTIONS), random.below(100_000));
    let key = key.as_bytes();
    match random.below(20) {
        0..=8 => {
            command(asks, &[b"GET", key]);
            match random.below(8) {
                0 => answers.extend_from_slice(b"$-1\r\n"),
                _ => bulk(answers, value(random)),
            }
        }
        9..=12 => {
            command(asks, &[b"SET", key, value(random), b"EX", b"3600"]);
            answers.extend_from_slice(b"+OK\r\n");
        }
        13 | 14 => {
            command(asks, &[b"HGETALL", key]);
            answers.extend_from_slice(b"*8\r\n");
            for field in ["id", "name", "mail", "since"] {
                bulk(answers, field.as_bytes());
                bulk(answers, &VALUE[..16]);
            }
        }
        15 => {
            command(asks, &[b"INCR", key]);
            put(answers, format_args!(":{}\r\n", random.below(1000)));
        }
        16 => {
            command(asks, &[b"EXPIRE", key, b"60"]);
            answers.extend_from_slice(b":1\r\n");
        }
        17 => {
            command(asks, &[b"MGET", key, key, key, key, key]);
            answers.extend_from_slice(b"*5\r\n");
            (0..5).for_each(|_| bulk(answers, value(random)));
        }
        _ => {
            command(asks, &[b"LPUSH", key, value(random)]);
            put(answers, format_args!(":{}\r\n", random.below(1000)));
        }
    }
}

/// The text protocol.
pub(super) fn memcached(random: &mut Random, asks: &mut Vec<u8>, answers: &mut Vec<u8>) {
    let (kind, key) = (pick(random, &COLLECTIONS), random.below(100_000));
    let value = value(random);
    if random.below(4) == 0 {
        put(asks, format_args!("set {kind}:{key} 0 3600 {}\r\n", value.len()));
        asks.extend_from_slice(value);
        asks.extend_from_slice(b"\r\n");
        return answers.extend_from_slice(b"STORED\r\n");
    }
    put(asks, format_args!("get {kind}:{key}\r\n"));
    if random.below(8) > 0 {
        put(answers, format_args!("VALUE {kind}:{key} 0 {}\r\n", value.len()));
        answers.extend_from_slice(value);
        answers.extend_from_slice(b"\r\n");
    }
    answers.extend_from_slice(b"END\r\n");
}

/// An element of a document of BSON.
fn element(to: &mut Vec<u8>, kind: u8, name: &str, value: &[u8]) {
    to.push(kind);
    to.extend_from_slice(name.as_bytes());
    to.push(0);
    to.extend_from_slice(value);
}

fn document(elements: &[u8]) -> Vec<u8> {
    [&small(elements.len() + 5).to_le_bytes()[..], elements, &[0]].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&small(text.len() + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("messages are small")
}

fn op_msg(to: &mut Vec<u8>, [id, response_to]: [u32; 2], elements: &[u8]) {
    let document = document(elements);
    for field in [small(16 + 5 + document.len()), id, response_to, 2013, 0] {
        to.extend_from_slice(&field.to_le_bytes());
    }
    to.push(0);
    to.extend_from_slice(&document);
}

/// `OP_MSG`, as drivers write it: with a session's id behind.
pub(super) fn mongodb(number: u64, random: &mut Random, asks: &mut Vec<u8>, answers: &mut Vec<u8>) {
    let id = u32::try_from(number % 1_000_000).unwrap_or(0) + 1;
    let collection = pick(random, &COLLECTIONS);
    let (name, user) = (random.next(), format!("user{}", random.below(100_000)));
    let mut filter = Vec::new();
    element(&mut filter, 2, "name", &string(&user));
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    let name = match name % 10 {
        0..=5 => "find",
        6 => "aggregate",
        7 | 8 => "update",
        _ => "insert",
    };
    element(&mut asked, 2, name, &string(collection));
    if matches!(name, "find" | "aggregate") {
        element(&mut asked, 3, "filter", &document(&filter));
        element(&mut asked, 0x10, "limit", &20u32.to_le_bytes());
        let mut found = Vec::new();
        element(&mut found, 7, "_id", &[7; 12]);
        element(&mut found, 2, "name", &string(&user));
        element(&mut found, 2, "mail", &string("somebody@shop.example"));
        let found = document(&found);
        let mut batch = Vec::new();
        for place in ["0", "1", "2", "3", "4", "5"].iter().take(random.below(6)) {
            element(&mut batch, 3, place, &found);
        }
        let mut cursor = Vec::new();
        element(&mut cursor, 4, "firstBatch", &document(&batch));
        element(&mut cursor, 0x12, "id", &[0; 8]);
        element(&mut cursor, 2, "ns", &string("shop.users"));
        element(&mut answered, 3, "cursor", &document(&cursor));
    } else {
        element(&mut asked, 8, "ordered", &[1]);
        element(&mut asked, 4, "documents", &document(&filter));
        element(&mut answered, 0x10, "n", &1u32.to_le_bytes());
    }
    let mut session = Vec::new();
    element(
        &mut session,
        5,
        "id",
        &[&16u32.to_le_bytes()[..], &[4], &[9; 16]].concat(),
    );
    element(&mut asked, 3, "lsid", &document(&session));
    element(&mut asked, 2, "$db", &string("shop"));
    element(&mut answered, 1, "ok", &1f64.to_le_bytes());
    op_msg(asks, [id, 0], &asked);
    op_msg(answers, [id + 1_000_000, id], &answered);
}

fn sized(to: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    to.extend_from_slice(&small(length).to_be_bytes());
    for part in parts {
        to.extend_from_slice(part);
    }
}

/// A name behind its length.
fn named(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("names are short");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// Produce 7, Fetch 11 and Heartbeat 2.
pub(super) fn kafka(number: u64, random: &mut Random, asks: &mut Vec<u8>, answers: &mut Vec<u8>) {
    let id = u32::try_from(number % 1_000_000).unwrap_or(0).to_be_bytes();
    let topic = named(pick(random, &TOPICS));
    let client = named("shop");
    let count = small(200 + random.below(1500)).to_be_bytes();
    let records = &[b'r'; 2048][..usize::try_from(u32::from_be_bytes(count)).expect("small")];
    match random.below(10) {
        0..=4 => {
            let head = [
                b"\0\0\0\x07",
                &id[..],
                &client,
                b"\xff\xff\xff\xff\0\0\x75\x30\0\0\0\x01",
                &topic,
            ]
            .concat();
            sized(asks, &[&head, b"\0\0\0\x01\0\0\0\x02", &count, records]);
            sized(
                answers,
                &[&id, b"\0\0\0\x01", &topic, b"\0\0\0\x01\0\0\0\x02\0\0", &[0; 24 + 4]],
            );
        }
        5..=8 => {
            let head = [
                b"\0\x01\0\x0b",
                &id[..],
                &client,
                b"\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\x03\x20\0\0\0",
            ]
            .concat();
            let session = b"\0\0\0\x07\xff\xff\xff\xff\0\0\0\x01";
            sized(asks, &[&head, session, &topic, b"\0\0\0\x01", &[0; 28], &[0; 6]]);
            let partition = [b"\0\0\0\x01\0\0\0\x02\0\0", &[0; 24][..], &[0xff; 8], &count].concat();
            let throttled = b"\0\0\0\0\0\0\0\0\0\x07\0\0\0\x01";
            sized(answers, &[&id, throttled, &topic, &partition, records]);
        }
        _ => {
            sized(
                asks,
                &[
                    b"\0\x0c\0\x02",
                    &id,
                    &client,
                    &named("group"),
                    b"\0\0\0\x05",
                    &named("member"),
                ],
            );
            sized(answers, &[&id, b"\0\0\0\0\0\0"]);
        }
    }
}

/// Questions for the addresses of a few names, over TCP.
pub(super) fn dns(number: u64, random: &mut Random, asks: &mut Vec<u8>, answers: &mut Vec<u8>) {
    let [.., high, low] = number.to_be_bytes();
    let mut question = Vec::new();
    for label in [pick(random, &COLLECTIONS), pick(random, &TOPICS), "shop", "example"] {
        question.push(u8::try_from(label.len()).expect("labels are short"));
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(if random.below(2) == 0 {
        b"\0\0\x01\0\x01"
    } else {
        b"\0\0\x1c\0\x01"
    });
    let message = |to: &mut Vec<u8>, flags: [u8; 2], count: u8, rest: &[u8]| {
        let header = [high, low, flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0];
        let length = u16::try_from(header.len() + question.len() + rest.len()).expect("small");
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(&[&header[..], &question, rest].concat());
    };
    message(asks, [1, 0], 0, &[]);
    message(
        answers,
        [0x81, 0x80],
        2,
        &b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\x7f\0\0\x01".repeat(2),
    );
}
