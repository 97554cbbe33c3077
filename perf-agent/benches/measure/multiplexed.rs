//! Records of HTTP/2 as the kernel side would give them: a busy server with many streams on each of a thousand
//! connections. Of frames there are headers and header blocks, several in a record, and of payloads nothing.
//!
//! Header blocks are as real programs write them, in what decides how much work they are: strings in Huffman's code;
//! fields that stay the same from the table, once they are in it; paths with ids, inserted by some (Go, Python) and not
//! by others (curl, nginx as a proxy); ids of requests; answers of servers that insert each field again each time (nginx)
//! and of those that do not.

use perf_common::record::flag;

use crate::records::{Emit, Flow, Random, id_of, index, open_at, process, whole};

/// Connections, and services and endpoints of each that they go to.
pub(crate) const CONNECTIONS: usize = 1000;
const SERVICES: usize = 4;
const PER_SERVICE: usize = 50;
/// Requests in flight on a connection, at most.
const AT_ONCE: usize = 16;
/// Requests or answers that are moved at once, at most.
const TOGETHER: usize = 4;
/// Ids in paths are drawn from so many, the popular ones most.
const IDS: f64 = 100_000.0;

/// Endpoints in all.
pub(crate) const ENDPOINTS: usize = SERVICES * PER_SERVICE;

/// See the module.
pub(crate) struct Multiplexed {
    random: Random,
    connections: Vec<Connection>,
    step_ns: u64,
    next_ns: u64,
    exchanges: u64,
    record: Vec<u8>,
}

struct Connection {
    service: usize,
    /// The client inserts paths and request ids into the table.
    inserts: bool,
    /// The server inserts each field each time.
    repeats: bool,
    flow: Flow,
    next_stream: u32,
    asked: Table,
    answered: Table,
    /// Streams in flight.
    open: Vec<u32>,
}

impl Multiplexed {
    /// So many exchanges per second, from `start_ns` on.
    pub(crate) fn new(per_second: u64, start_ns: u64) -> Self {
        let connections = (0..CONNECTIONS).map(|number| {
            let service = number % SERVICES;
            Connection {
                service,
                inserts: (number / SERVICES).is_multiple_of(2),
                repeats: number / SERVICES % 4 < 2,
                flow: Flow::new(tgid_of(service)),
                next_stream: 1,
                asked: Table::default(),
                answered: Table::default(),
                open: Vec::new(),
            }
        });
        Self {
            random: Random(0x9e37_79b9_7f4a_7c15),
            connections: connections.collect(),
            step_ns: 1_000_000_000 / per_second,
            next_ns: start_ns,
            exchanges: 0,
            record: Vec::new(),
        }
    }

    /// Exchanges begun so far.
    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// Who the processes are, and every connection's beginning and its first frames.
    pub(crate) fn begin(&mut self, emit: &mut Emit<'_>) {
        let at_ns = self.next_ns;
        for (service, name) in ["gateway", "orders", "catalog", "accounts"].into_iter().enumerate() {
            emit(&process(tgid_of(service), at_ns, name), 0);
        }
        for number in 0..self.connections.len() {
            let id = id_of(number);
            let port = 8000 + u16::try_from(number % SERVICES).unwrap_or(0);
            let tgid = self.connections[number].flow.tgid;
            emit(&open_at(id, tgid, (port, 20_000, 7), at_ns).to_bytes(), id);
            let mut pieces = Pieces::default();
            pieces.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            pieces.frame(4, 0, 0, 18);
            self.tell(number, false, at_ns, pieces, emit);
            let mut pieces = Pieces::default();
            pieces.frame(4, 0, 0, 12);
            self.tell(number, true, at_ns, pieces, emit);
        }
    }

    /// So many exchanges, or a few more, all of them answered; gives the moment behind the last one. Encoders begin with
    /// empty tables and say so: what follows may be replayed behind itself.
    pub(crate) fn run(&mut self, exchanges: u64, emit: &mut Emit<'_>) -> u64 {
        for connection in &mut self.connections {
            connection.next_stream = 1;
            connection.asked = Table::default();
            connection.answered = Table::default();
        }
        let until = self.exchanges + exchanges;
        while self.exchanges < until {
            let number = self.random.below(CONNECTIONS);
            let open = self.connections[number].open.len();
            if open < AT_ONCE && self.random.below(AT_ONCE) >= open {
                self.ask(number, emit);
            } else {
                self.answer(number, emit);
            }
        }
        for number in 0..CONNECTIONS {
            while !self.connections[number].open.is_empty() {
                self.answer(number, emit);
            }
        }
        self.next_ns
    }

    fn ask(&mut self, number: usize, emit: &mut Emit<'_>) {
        let at_ns = self.next_ns;
        let mut pieces = Pieces::default();
        for _ in 0..=self.random.below(TOGETHER) {
            self.exchanges += 1;
            self.next_ns += self.step_ns;
            let rank = self.random.unit() * self.random.unit();
            let endpoint = index(rank, PER_SERVICE);
            let path = self.path(endpoint);
            let (noise, more) = (self.random.next(), self.random.next());
            let connection = &mut self.connections[number];
            let id = connection.next_stream;
            connection.next_stream += 2;
            connection.open.push(id);
            let posts = endpoint % 4 == 3;
            let table = &mut connection.asked;
            let mut block = Block::begin(table);
            block.indexed(if posts { 3 } else { 2 });
            block.indexed(6);
            block.kept(":authority", "shop.example.com");
            block.said(4, &path, connection.inserts);
            block.kept("user-agent", "grpc-node-js/1.10.8 (linux; x64) undici/6.19.2");
            block.kept("accept", "application/json, text/plain, */*");
            block.indexed(16);
            if connection.service.is_multiple_of(2) {
                block.kept(
                    "authorization",
                    "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0",
                );
            }
            if connection.inserts {
                block.named("x-request-id", &format!("{noise:016x}"));
            } else {
                block.named("traceparent", &format!("00-{noise:016x}{more:016x}-{noise:016x}-01"));
            }
            if posts {
                block.kept("content-type", "application/json");
            }
            let block = block.bytes;
            pieces.frame(1, if posts { 4 } else { 5 }, id, block.len());
            pieces.bytes(&block);
            if posts {
                let body = 40 + usize::try_from(noise % 200).unwrap_or(0);
                pieces.frame(0, 1, id, body);
                pieces.missing(body);
            }
        }
        self.tell(number, false, at_ns, pieces, emit);
    }

    fn answer(&mut self, number: usize, emit: &mut Emit<'_>) {
        let at_ns = self.next_ns;
        let mut pieces = Pieces::default();
        for _ in 0..=self.random.below(TOGETHER) {
            let open = self.connections[number].open.len();
            if open == 0 {
                break;
            }
            let which = self.random.below(open);
            let status = match self.random.below(100) {
                0 => 14,
                1..=3 => 13,
                _ => 8,
            };
            let body = 20 + index(self.random.unit().powi(3), 4000);
            let connection = &mut self.connections[number];
            let id = connection.open.swap_remove(which);
            let mut block = Block::begin(&mut connection.answered);
            block.indexed(status);
            if connection.repeats {
                block.said(54, "nginx/1.27.0", true);
                block.said(33, "Sat, 21 Jun 2025 10:00:00 GMT", true);
                block.said(31, "application/json", true);
                block.said(28, &body.to_string(), true);
            } else {
                block.kept("content-type", "application/json; charset=utf-8");
                block.kept("date", "Sat, 21 Jun 2025 10:00:00 GMT");
                block.kept("cache-control", "no-store");
                block.said(28, &body.to_string(), false);
            }
            let block = block.bytes;
            pieces.frame(1, 4, id, block.len());
            pieces.bytes(&block);
            pieces.frame(0, 1, id, body);
            pieces.missing(body);
        }
        self.tell(number, true, at_ns, pieces, emit);
    }

    fn path(&mut self, endpoint: usize) -> String {
        let resources = [
            "users", "orders", "items", "carts", "prices", "stocks", "offers", "reviews",
        ];
        let id = whole(IDS.powf(self.random.unit()));
        let resource = resources[endpoint % resources.len()];
        let version = endpoint / resources.len();
        match endpoint % 3 {
            0 => format!("/api/v{version}/{resource}?page=2&per_page=50&sort=-created"),
            1 => format!("/api/v{version}/{resource}/{id}"),
            _ => format!("/api/v{version}/{resource}/{id}/history"),
        }
    }

    /// Emits a segment.
    fn tell(&mut self, number: usize, sent: bool, at_ns: u64, pieces: Pieces, emit: &mut Emit<'_>) {
        let length = usize::try_from(pieces.length).expect("pieces are small");
        let (id, bytes) = (id_of(number), pieces.done());
        let times = [at_ns, if sent { 0 } else { at_ns - 500 }];
        let flow = &mut self.connections[number].flow;
        flow.record(id, sent, flag::PIECES, times, length, &[&bytes], &mut self.record);
        emit(&self.record, id);
    }
}

fn tgid_of(service: usize) -> u32 {
    1000 + u32::try_from(service).unwrap_or(0) * 10
}

/// What is captured of a segment.
#[derive(Default)]
struct Pieces {
    bytes: Vec<u8>,
    /// Where the last piece stands.
    at: usize,
    /// Bytes that are missing behind it.
    missing: u32,
    length: u32,
}

impl Pieces {
    fn bytes(&mut self, bytes: &[u8]) {
        if self.bytes.is_empty() || self.missing > 0 {
            self.at = self.bytes.len();
            self.bytes.extend(self.missing.to_le_bytes());
            self.bytes.extend([0; 4]);
            self.missing = 0;
        }
        self.bytes.extend_from_slice(bytes);
        self.length += u32::try_from(bytes.len()).expect("pieces are small");
        let length = u32::try_from(self.bytes.len() - self.at - 8).expect("pieces are small");
        self.bytes[self.at + 4..self.at + 8].copy_from_slice(&length.to_le_bytes());
    }

    fn missing(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).expect("payloads are small");
        self.missing += bytes;
        self.length += bytes;
    }

    /// A frame's header; of SETTINGS the payload as well.
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, length: usize) {
        let [_, length_bytes @ ..] = u32::try_from(length).expect("payloads are small").to_be_bytes();
        let mut header = length_bytes.to_vec();
        header.extend([kind, flags]);
        header.extend(stream.to_be_bytes());
        self.bytes(&header);
        if kind == 4 {
            self.missing(length);
        }
    }

    fn done(self) -> Vec<u8> {
        self.bytes
    }
}

/// An encoder's dynamic table: names and values, newest first.
#[derive(Default)]
struct Table {
    entries: Vec<(String, String)>,
    begun: bool,
}

impl Table {
    fn insert(&mut self, name: &str, value: &str) {
        self.entries.insert(0, (name.to_owned(), value.to_owned()));
        let size = |(name, value): &(String, String)| name.len() + value.len() + 32;
        while self.entries.iter().map(size).sum::<usize>() > 4096 {
            self.entries.pop();
        }
    }

    fn place(&self, is: impl Fn(&(String, String)) -> bool) -> Option<usize> {
        self.entries.iter().position(is).map(|place| place + 62)
    }
}

/// A header block being written.
struct Block<'a> {
    table: &'a mut Table,
    bytes: Vec<u8>,
}

impl<'a> Block<'a> {
    fn begin(table: &'a mut Table) -> Self {
        let mut bytes = Vec::new();
        if !table.begun {
            // The table's size is 0, and 4096 again.
            table.begun = true;
            bytes.push(0x20);
            integer(&mut bytes, 0x20, 5, 4096);
        }
        Self { table, bytes }
    }

    fn indexed(&mut self, place: usize) {
        integer(&mut self.bytes, 0x80, 7, place);
    }

    /// A field that stays the same: from the table, once it is there.
    fn kept(&mut self, name: &str, value: &str) {
        match self.table.place(|entry| entry.0 == name && entry.1 == value) {
            Some(place) => self.indexed(place),
            None => self.insert(name, value),
        }
    }

    /// A field that changes, by a name that was said before; the entry is inserted.
    fn named(&mut self, name: &str, value: &str) {
        match self.table.place(|entry| entry.0 == name) {
            Some(place) => {
                integer(&mut self.bytes, 0x40, 6, place);
                text(&mut self.bytes, value);
                self.table.insert(name, value);
            }
            None => self.insert(name, value),
        }
    }

    fn insert(&mut self, name: &str, value: &str) {
        self.bytes.push(0x40);
        text(&mut self.bytes, name);
        text(&mut self.bytes, value);
        self.table.insert(name, value);
    }

    /// A field with a name of the static table, inserted or not.
    fn said(&mut self, name: usize, value: &str, insert: bool) {
        if insert {
            integer(&mut self.bytes, 0x40, 6, name);
            self.table
                .insert(if name == 4 { ":path" } else { "content-type" }, value);
        } else {
            integer(&mut self.bytes, 0, 4, name);
        }
        text(&mut self.bytes, value);
    }
}

/// RFC 7541, 5.1.
fn integer(to: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let most = (1usize << prefix) - 1;
    let small = |value: usize| u8::try_from(value).expect("seven bits at most");
    if value < most {
        return to.push(first | small(value));
    }
    to.push(first | small(most));
    let mut rest = value - most;
    while rest >= 128 {
        to.push(small(rest % 128) | 0x80);
        rest /= 128;
    }
    to.push(small(rest));
}

/// RFC 7541, 5.2 and Appendix B: of letters that are common in headers.
fn text(to: &mut Vec<u8>, text: &str) {
    const CODES: [(&str, u32, u64); 4] = [
        ("012aceiost", 5, 0),
        (" %-./3456789=A_bdfghlmnpru", 6, 0x14),
        (":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", 7, 0x5c),
        ("&*,;XZ", 8, 0xf8),
    ];
    let code = |letter: char| {
        CODES.iter().find_map(|(letters, bits, first)| {
            let place = letters.find(letter)?;
            Some((*bits, first + place as u64))
        })
    };
    let rare: [(char, u32, u64); 5] = [
        ('?', 10, 0x3fc),
        ('(', 10, 0x3fa),
        (')', 10, 0x3fb),
        ('+', 11, 0x7fb),
        ('!', 10, 0x3f8),
    ];
    let (mut bits, mut held, mut bytes) = (0u64, 0u32, Vec::new());
    for letter in text.chars() {
        let (more, code) = code(letter)
            .or_else(|| {
                rare.iter()
                    .find(|found| found.0 == letter)
                    .map(|found| (found.1, found.2))
            })
            .expect("a common letter");
        bits = bits << more | code;
        held += more;
        while held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).expect("eight bits"));
        }
    }
    if held > 0 {
        let padded = bits << (8 - held) | ((1 << (8 - held)) - 1);
        bytes.push(u8::try_from(padded & 0xff).expect("eight bits"));
    }
    integer(to, 0x80, 7, bytes.len());
    to.extend(bytes);
}
