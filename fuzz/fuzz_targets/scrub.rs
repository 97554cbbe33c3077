//! Recordings: whatever is said on a connection, in any pieces and with losses, no byte of a secret is written at its place
//! and nothing moves; and what was said without losses replays as it was seen.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use perf_agent::pipeline::{Pipeline, Settings};
use perf_agent::source::scrub::Scrubber;
use perf_agent::statistics;
use perf_common::record::{
    DataRecord, OpenRecord, RecordHeader, TickRecord, UNIX_PATH_BYTES, direction, family, flag, kind, origin,
};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    protocol: u8,
    from_start: bool,
    server: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// A turn of the protocol: what is said in place of secrets, and bytes of a piece.
    Turn { which: u8, secret: [u8; 8], most: u8 },
    /// A statement of any text.
    Statement(&'a [u8]),
    /// Any bytes.
    Bytes { sent: bool, bytes: &'a [u8] },
    /// Of a turn's request or answer so many bytes are copied, and the last ones.
    Cut {
        which: u8,
        secret: [u8; 8],
        answer: bool,
        captured: u8,
    },
    /// So many bytes are lost.
    Lost { sent: bool, bytes: u16 },
}

/// What is asked, and what is answered. `SECRET` and `73519735` stand for what must not be written.
type Turn = [Vec<u8>; 2];

fn turns(turns: &[[&[u8]; 2]]) -> Vec<Turn> {
    turns.iter().map(|turn| turn.map(<[u8]>::to_vec)).collect()
}

fn http1() -> Vec<Turn> {
    turns(&[
        [
            b"GET /a?b=SECRET&c=SECRET HTTP/1.1\r\nHost: h\r\nAuthorization: SECRET\r\nX-Api-Key:SECRET\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=SECRET\r\nContent-Length: 2\r\n\r\nok",
        ],
        [
            b"POST /a HTTP/1.1\r\nHost: h\r\nCookie: SECRET\r\n SECRET\r\nContent-Length: 1\r\n\r\na",
            b"HTTP/1.1 302 x\r\nLocation: /?t=SECRET\r\nContent-Length: 0\r\n\r\n",
        ],
    ])
}

fn redis() -> Vec<Turn> {
    turns(&[
        [b"*2\r\n$4\r\nAUTH\r\n$6\r\nSECRET\r\n", b"+OK\r\n"],
        [
            b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$6\r\nSECRET\r\n$6\r\nSECRET\r\n",
            b"%1\r\n$6\r\nSECRET\r\n+SECRET\r\n",
        ],
        [
            b"*3\r\n$3\r\nSET\r\n$7\r\nSECRET!\r\n$6\r\nSECRET\r\n",
            b"-ERR SECRET for SECRET\r\n",
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
        [
            b"*4\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n$6\r\nSECRET\r\n",
            b"*2\r\n$6\r\nSECRET\r\n_\r\n",
        ],
    ])
}

fn memcached() -> Vec<Turn> {
    turns(&[
        [b"set SECRET 0 3600 6\r\nSECRET\r\n", b"STORED\r\n"],
        [b"get SECRET SECRET\r\n", b"VALUE SECRET 0 6\r\nSECRET\r\nEND\r\n"],
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

/// A message of PostgreSQL; 0 is that of the first one.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let kind: &[u8] = if kind == 0 { &[] } else { &[kind] };
    [kind, &(4 + body.len() as u32).to_be_bytes(), body].concat()
}

fn postgres() -> Vec<Turn> {
    let ready = message(b'Z', b"I");
    let done = |tag: &[u8]| [message(b'C', tag), ready.clone()].concat();
    vec![
        [
            message(0, b"\0\x03\0\0user\0SECRET\0options\0SECRET\0\0"),
            message(b'R', b"\0\0\0\x03"),
        ],
        [
            message(b'p', b"SECRET\0"),
            [message(b'R', b"\0\0\0\0"), message(b'K', b"SECRETxx"), ready.clone()].concat(),
        ],
        [
            message(
                b'Q',
                b"SELECT a FROM t /* SECRET */ WHERE b = 'SECRET' AND c = 73519735\0",
            ),
            [
                message(b'T', b"SECRET\x01"),
                message(b'D', b"\0\x01\0\0\0\x06SECRET"),
                done(b"SELECT 1\0"),
            ]
            .concat(),
        ],
        [
            [
                message(b'P', b"\0INSERT INTO t VALUES ($1, E'SECRET', $$SECRET$$)\0\0\0"),
                message(b'B', b"\0\0\0\0\0\x01\0\0\0\x06SECRET\0\0"),
                message(b'E', b"\0\0\0\0\0"),
                message(b'S', b""),
            ]
            .concat(),
            [
                message(b'1', b""),
                message(b'2', b""),
                message(b'E', b"SERROR\0C23505\0MSECRET\0DSECRET\0\0"),
                ready.clone(),
            ]
            .concat(),
        ],
        [message(b'Q', b"COPY t FROM STDIN\0"), message(b'G', b"\0\0\0")],
        [
            [message(b'd', b"SECRET\t73519735\n"), message(b'c', b"")].concat(),
            done(b"COPY 1\0"),
        ],
    ]
}

/// Packets of MySQL, with this number first.
fn packets(first: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let packet = |(sequence, payload): (u8, &&[u8])| {
        let length = (payload.len() as u32).to_le_bytes();
        [&length[..3], &[sequence], payload].concat()
    };
    (first..).zip(payloads).flat_map(packet).collect()
}

fn mysql() -> Vec<Turn> {
    let okay = b"\0\x01\0\x02\0\0\0";
    let eof = b"\xfe\0\0\x02\0";
    vec![
        [
            vec![],
            packets(0, &[b"\x0a8.0.36\0\x05\0\0\0SECRETxx\0\xff\xf7\x08\x02\0\xff\x81\x15\0\0\0\0\0\0\0\0\0\0SECRETSECRET\0x\0"]),
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
        [packets(0, &[b"\x02SECRET"]), packets(1, &[b"\xff\x19\x04#42000SECRET"])],
    ]
}

/// A message of MongoDB, in answer to another one unless that is 0.
fn op_msg(id: u8, response_to: u8, sections: &[u8]) -> Vec<u8> {
    let length = (20 + sections.len() as u32).to_le_bytes();
    let header: &[u8] = &[id, 0, 0, 0, response_to, 0, 0, 0, 0xdd, 7, 0, 0, 0, 0, 0, 0];
    [&length, header, sections].concat()
}

fn bson(elements: &[&[u8]]) -> Vec<u8> {
    let elements = elements.concat();
    [&(5 + elements.len() as u32).to_le_bytes(), &elements[..], b"\0"].concat()
}

fn mongodb() -> Vec<Turn> {
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
                        &(14 + document.len() as u32).to_le_bytes()[..],
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

fn dns() -> Vec<Turn> {
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

fn kafka() -> Vec<Turn> {
    let sized = |message: &[u8]| [&(message.len() as u32).to_be_bytes(), message].concat();
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

const PROTOCOLS: [fn() -> Vec<Turn>; 8] = [http1, redis, memcached, postgres, mysql, mongodb, dns, kafka];
const POSTGRES: usize = 3;
const MYSQL: usize = 4;

/// The bytes with another secret, and where it stands.
fn filled(template: &[u8], secret: &[u8; 8]) -> (Vec<u8>, Vec<usize>) {
    // None that stands for what was taken out, that ends a word, or that means something where secrets stand (a comment in SQL).
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWYZ23456789_.=,~\x80\xc3";
    let mut bytes = template.to_vec();
    let mut places = Vec::new();
    for at in 0..bytes.len() {
        if template[at..].starts_with(b"SECRET") {
            for (place, byte) in (at..).zip(&secret[..6]) {
                bytes[place] = LETTERS[usize::from(*byte) % LETTERS.len()];
                places.push(place);
            }
        }
        if template[at..].starts_with(b"73519735") {
            for (place, byte) in (at..).zip(secret) {
                bytes[place] = b'2' + byte % 8;
                places.push(place);
            }
        }
    }
    (bytes, places)
}

/// Records of one connection, and which bytes of them are secrets.
struct Records {
    records: Vec<Vec<u8>>,
    secrets: Vec<(usize, usize)>,
    ends: [u32; 2],
    at_ns: u64,
    /// The direction that moved last.
    last: Option<bool>,
    /// All that was said are messages of the protocol, or parts of them.
    in_place: bool,
    /// Nothing was lost or left out, and nothing said but turns and statements.
    whole: bool,
}

impl Records {
    fn new(from_start: bool) -> Self {
        let record = OpenRecord {
            header: RecordHeader::of::<OpenRecord>(kind::OPEN, 0, 1_000_000_000),
            connection: 1,
            socket: 64,
            inode: 0,
            tgid: 7,
            tid: 7,
            family: family::INET,
            local_port: 80,
            remote_port: 4000,
            origin: if from_start { origin::FROM_START } else { origin::JOINED },
            local_address: [0; 16],
            remote_address: [0; 16],
            comm: [0; 16],
            unix_path_bytes: 0,
            reserved: 0,
            unix_path: [0; UNIX_PATH_BYTES],
            reserved2: [0; 4],
        };
        Self {
            records: vec![record.to_bytes().to_vec()],
            secrets: Vec::new(),
            ends: [0; 2],
            at_ns: 2_000_000_000,
            last: None,
            in_place: true,
            whole: from_start,
        }
    }

    /// Was anything said?
    fn has_begun(&self) -> bool {
        self.records.len() > 1
    }

    /// A segment, of which so many bytes are copied.
    fn moved(&mut self, sent: bool, bytes: &[u8], captured: usize, secrets: impl Iterator<Item = usize>) {
        self.at_ns += 1000;
        let end = &mut self.ends[usize::from(sent)];
        *end = end.wrapping_add(bytes.len() as u32);
        let copied = &bytes[..captured.min(bytes.len())];
        let is_cut = copied.len() < bytes.len();
        let mut header = RecordHeader::of::<DataRecord>(kind::DATA, 0, self.at_ns);
        header.size += copied.len() as u32;
        let turned = self.last.replace(sent) != Some(sent);
        header.flags = if turned { flag::FIRST } else { 0 } | if is_cut { flag::TAIL } else { 0 };
        let mut tail = [0; 8];
        let last = bytes.len().min(8);
        if is_cut {
            tail[8 - last..].copy_from_slice(&bytes[bytes.len() - last..]);
        }
        let record = DataRecord {
            header,
            connection: 1,
            arrival_ns: 0,
            position_end: *end,
            length: bytes.len() as u32,
            captured: copied.len() as u32,
            tgid: 7,
            tid: 7,
            direction: if sent { direction::SENT } else { direction::RECEIVED },
            reserved: [0; 3],
            tail,
        };
        let number = self.records.len();
        for place in secrets.filter(|_| self.in_place) {
            if place < copied.len() {
                self.secrets.push((number, size_of::<DataRecord>() + place));
            }
            let from_end = bytes.len() - place;
            if is_cut && from_end <= 8 {
                self.secrets.push((number, size_of::<DataRecord>() - from_end));
            }
        }
        self.records.push([&record.to_bytes()[..], copied].concat());
    }

    /// A part of a turn, in pieces.
    fn said(&mut self, sent: bool, template: &[u8], secret: &[u8; 8], most: usize) {
        let (bytes, places) = filled(template, secret);
        for (number, piece) in bytes.chunks(most).enumerate() {
            let begin = number * most;
            let within = places
                .iter()
                .filter(|place| (begin..begin + piece.len()).contains(place));
            self.moved(sent, piece, usize::MAX, within.map(|place| place - begin));
        }
    }
}

/// What becomes of records.
fn seen(records: &[Vec<u8>]) -> Vec<String> {
    let settings = Settings {
        connections: 4,
        statistics: statistics::Settings::default(),
    };
    let mut pipeline = Pipeline::new(settings).expect("no patterns");
    let tick = |second: u64| TickRecord::new(second * 1_000_000_000, second).to_bytes();
    pipeline.apply(&tick(1));
    for record in records {
        pipeline.apply(record);
    }
    pipeline.finish();
    pipeline.apply(&tick(60));
    let snapshot = pipeline.snapshot();
    let exchanges = snapshot.recent.recent.iter().map(|it| {
        let bytes = (it.request_bytes, it.response_bytes);
        let of = (
            &it.method,
            &it.path,
            it.status,
            it.error.map(|error| error.as_str().to_owned()),
        );
        format!("{of:?} {:?} {:?} {bytes:?}", it.outcome, it.times)
    });
    exchanges
        .chain([format!("{:?}", snapshot.accounting.exchanges)])
        .collect()
}

fuzz_target!(|input: Input<'_>| {
    let protocol = usize::from(input.protocol) % PROTOCOLS.len();
    let turns = PROTOCOLS[protocol]();
    let (asks, answers) = (!input.server, input.server);
    let mut said = Records::new(input.from_start);
    for step in &input.steps {
        match step {
            Step::Turn { which, secret, most } => {
                let most = if *most == 0 { usize::MAX } else { usize::from(*most) };
                // Nor need it be recognised by a part of what it begins with.
                said.whole &= said.has_begun() || most == usize::MAX;
                let turn = &turns[usize::from(*which) % turns.len()];
                said.said(asks, &turn[0], secret, most);
                said.said(answers, &turn[1], secret, most);
            }
            Step::Statement(text) => {
                let text = &text[..text.len().min(2000)];
                let statement = match protocol {
                    POSTGRES => message(b'Q', &[text, b"\0"].concat()),
                    MYSQL => packets(0, &[&[b"\x03", text].concat()]),
                    _ => continue,
                };
                // A connection that begins with one is recognised by its text.
                said.whole &= said.has_begun();
                said.moved(asks, &statement, usize::MAX, std::iter::empty());
            }
            Step::Bytes { sent, bytes } => {
                // Behind what belongs to no message, a secret may stand where a number is expected.
                (said.whole, said.in_place) = (false, false);
                said.moved(*sent, bytes, usize::MAX, std::iter::empty());
            }
            Step::Cut {
                which,
                secret,
                answer,
                captured,
            } => {
                said.whole = false;
                let turn = &turns[usize::from(*which) % turns.len()];
                let (bytes, places) = filled(&turn[usize::from(*answer)], secret);
                let sent = if *answer { answers } else { asks };
                said.moved(sent, &bytes, usize::from(*captured), places.into_iter());
            }
            Step::Lost { sent, bytes } => {
                said.whole = false;
                let end = &mut said.ends[usize::from(*sent)];
                *end = end.wrapping_add(u32::from(*bytes));
            }
        }
    }
    let mut scrubber = Scrubber::default();
    let mut scrubbed = said.records.clone();
    for (record, before) in scrubbed.iter_mut().zip(&said.records) {
        scrubber.scrub(record);
        assert_eq!(record.len(), before.len());
        let head = size_of::<DataRecord>() - 8;
        assert_eq!(record[..head], before[..head], "what is no payload stays");
    }
    for (record, place) in &said.secrets {
        assert_ne!(
            scrubbed[*record][*place],
            said.records[*record][*place],
            "a byte of a secret, behind {}",
            scrubbed[*record][size_of::<DataRecord>()..].escape_ascii()
        );
    }
    if said.whole {
        assert_eq!(seen(&scrubbed), seen(&said.records));
    }
});
