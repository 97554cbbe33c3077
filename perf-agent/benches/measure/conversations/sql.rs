//! What is said to PostgreSQL and MySQL.

use crate::records::Random;

/// Statements, with a mark where a value stands.
const STATEMENTS: [&str; 8] = [
    "SELECT id, name, price FROM products WHERE category_id = @ AND active ORDER BY created_at DESC LIMIT @",
    "SELECT * FROM users WHERE email = @",
    "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = @",
    "UPDATE carts SET quantity = @, updated_at = now() WHERE user_id = @ AND product_id = @",
    "INSERT INTO events (user_id, kind, payload, created_at) VALUES (@, @, @, now())",
    "SELECT count(*) FROM sessions WHERE expires_at > @",
    "DELETE FROM tokens WHERE user_id = @ AND expires_at < @",
    "SELECT id FROM stock WHERE sku IN (@, @, @, @) FOR UPDATE",
];

/// Operations: each statement, and its being prepared.
pub(super) const POSTGRESQL: usize = 2 * STATEMENTS.len();
pub(super) const MYSQL: usize = 2 * STATEMENTS.len();

/// The statement with placeholders, as PostgreSQL's drivers write it, or MySQL's.
fn with_placeholders(statement: &str, numbered: bool) -> String {
    let mut number = 0;
    let part = |part: &str| match part.strip_suffix('@') {
        Some(part) if numbered => {
            number += 1;
            format!("{part}${number}")
        }
        Some(part) => format!("{part}?"),
        None => part.to_owned(),
    };
    statement.split_inclusive('@').map(part).collect()
}

/// The statement with values in it.
fn with_values(statement: &str, random: &mut Random) -> String {
    let part = |part: &str| match part.strip_suffix('@') {
        Some(part) if random.below(2) == 0 => format!("{part}{}", random.below(1_000_000)),
        Some(part) => format!("{part}'value {:x}'", random.next()),
        None => part.to_owned(),
    };
    statement.split_inclusive('@').map(part).collect()
}

fn values(statement: &str) -> usize {
    statement.matches('@').count()
}

/// Does it give rows? Else it changes one.
fn selects(statement: &str) -> bool {
    statement.starts_with("SELECT")
}

/// A message of PostgreSQL.
fn message(to: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    to.push(kind);
    to.extend_from_slice(&u32::try_from(length).expect("small").to_be_bytes());
    for part in parts {
        to.extend_from_slice(part);
    }
}

/// A statement's name.
fn name(place: usize) -> String {
    format!("__statement_{place}__\0")
}

/// Every statement is prepared.
pub(super) fn postgresql_first() -> Vec<[Vec<u8>; 2]> {
    let first = |(place, statement): (usize, &&str)| {
        let (mut asks, mut answers) = (Vec::new(), Vec::new());
        let text = with_placeholders(statement, true);
        message(&mut asks, b'P', &[name(place).as_bytes(), text.as_bytes(), b"\0\0\0"]);
        message(&mut asks, b'S', &[]);
        message(&mut answers, b'1', &[]);
        message(&mut answers, b'Z', &[b"I"]);
        [asks, answers]
    };
    STATEMENTS.iter().enumerate().map(first).collect()
}

pub(super) fn postgresql(random: &mut Random, asks: &mut Vec<u8>, answers: &mut Vec<u8>) {
    let place = random.below(STATEMENTS.len());
    let statement = STATEMENTS[place];
    let bind = |asks: &mut Vec<u8>, name: &[u8], random: &mut Random| {
        let count = u16::try_from(values(statement)).expect("few");
        let mut parameters = Vec::new();
        for _ in 0..count {
            parameters.extend_from_slice(b"\0\0\0\x08");
            parameters.extend_from_slice(&random.next().to_be_bytes());
        }
        message(
            asks,
            b'B',
            &[
                b"\0",
                name,
                b"\0\x01\0\x01",
                &count.to_be_bytes(),
                &parameters,
                b"\0\x01\0\x01",
            ],
        );
    };
    let way = random.below(4);
    match way {
        0 | 1 => bind(asks, name(place).as_bytes(), random),
        2 => {
            message(
                asks,
                b'P',
                &[b"\0", with_placeholders(statement, true).as_bytes(), b"\0\0\0"],
            );
            bind(asks, b"\0", random);
            message(asks, b'D', &[b"P\0"]);
            message(answers, b'1', &[]);
        }
        _ => message(asks, b'Q', &[with_values(statement, random).as_bytes(), b"\0"]),
    }
    if way < 3 {
        message(asks, b'E', &[b"\0\0\0\0\0"]);
        message(asks, b'S', &[]);
        message(answers, b'2', &[]);
    }
    if selects(statement) {
        if way >= 2 {
            message(answers, b'T', &[b"\0\x02", &[b'i'; 2 * 24]]);
        }
        let rows = random.below(8);
        for _ in 0..rows {
            message(answers, b'D', &[b"\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x10", &[b'v'; 16]]);
        }
        message(answers, b'C', &[format!("SELECT {rows}\0").as_bytes()]);
    } else {
        if way == 2 {
            message(answers, b'n', &[]);
        }
        message(answers, b'C', &[b"UPDATE 1\0"]);
    }
    message(answers, b'Z', &[b"I"]);
}

/// A packet of MySQL.
fn packet(to: &mut Vec<u8>, sequence: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    to.extend_from_slice(&u32::try_from(length).expect("small").to_le_bytes()[..3]);
    to.push(sequence);
    for part in parts {
        to.extend_from_slice(part);
    }
}

const COLUMN: &[u8] = b"\x03def\x04shop\x01p\x08products\x04name\x04name\x0c\x21\0\x3c\0\0\0\xfd\x01\x10\0\0\0";
const EOF: &[u8] = b"\xfe\0\0\x02\0";

/// The number of a prepared statement.
fn number(place: usize) -> [u8; 4] {
    (u32::try_from(place).expect("few") + 1).to_le_bytes()
}

/// Packets, with their numbers counted up.
fn packets(to: &mut Vec<u8>, payloads: &[&[u8]]) {
    for (sequence, payload) in (1..).zip(payloads) {
        packet(to, sequence, &[payload]);
    }
}

/// Every statement is prepared.
pub(super) fn mysql_first() -> Vec<[Vec<u8>; 2]> {
    let first = |(place, statement): (usize, &&str)| {
        let (mut asks, mut answers) = (Vec::new(), Vec::new());
        packet(&mut asks, 0, &[b"\x16", with_placeholders(statement, false).as_bytes()]);
        let columns = if selects(statement) { 2 } else { 0 };
        let parameters = u8::try_from(values(statement)).expect("few");
        let prepared = [&[0][..], &number(place), &[columns, 0, parameters, 0, 0, 0, 0]].concat();
        let mut payloads: Vec<&[u8]> = vec![&prepared];
        for count in [parameters, columns].into_iter().filter(|count| *count > 0) {
            payloads.extend((0..count).map(|_| COLUMN));
            payloads.push(EOF);
        }
        packets(&mut answers, &payloads);
        [asks, answers]
    };
    STATEMENTS.iter().enumerate().map(first).collect()
}

pub(super) fn mysql(random: &mut Random, asks: &mut Vec<u8>, answers: &mut Vec<u8>) {
    let place = random.below(STATEMENTS.len());
    let statement = STATEMENTS[place];
    if random.below(2) == 0 {
        let parameters = random.next().to_le_bytes().repeat(values(statement));
        packet(
            asks,
            0,
            &[b"\x17", &number(place), b"\0\x01\0\0\0\0\x01\x08\0", &parameters],
        );
    } else {
        packet(asks, 0, &[b"\x03", with_values(statement, random).as_bytes()]);
    }
    if selects(statement) {
        let row: &[u8] = b"\x0aproduct 17\x0612.990";
        let mut payloads: Vec<&[u8]> = vec![b"\x02", COLUMN, COLUMN, EOF];
        payloads.extend((0..random.below(8)).map(|_| row));
        payloads.push(EOF);
        packets(answers, &payloads);
    } else {
        packets(answers, &[b"\0\x01\0\x02\0\0\0"]);
    }
}
