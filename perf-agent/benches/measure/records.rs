//! Records as the kernel side would give them: for a busy host ([`WIDE`]: several services, a thousand endpoints, ten
//! thousand keep-alive connections in both roles, and some that are short), and for one busy server ([`NARROW`]).
//!
//! Everything comes from one seed, so every run sees the same bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;

use perf_common::record::{
    COMM_BYTES, DataRecord, OpenRecord, ProcessRecord, RecordHeader, StateRecord, TAIL_BYTES, TickRecord,
    UNIX_PATH_BYTES, change, direction, family, flag, kind, origin,
};

/// How much of what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Services that are asked; the first one asks as many endpoints of two others, if it has client connections.
    servers: usize,
    /// Endpoints of each.
    per_service: usize,
    /// Connections that stay open.
    pub(crate) connections: usize,
    /// Of them, those in the client role.
    clients: usize,
    /// Every so many exchanges have a connection of their own; `None` if none has.
    short: Option<u64>,
    /// Median time of the fastest endpoint; that of the slowest is fifty times as long.
    fastest_ns: u64,
}

/// A busy host.
pub(crate) const WIDE: Shape = Shape {
    servers: 4,
    per_service: 200,
    connections: 10_000,
    clients: 2_000,
    short: Some(100),
    fastest_ns: 100_000,
};

/// One busy server behind a proxy. It is fast enough for its few connections to carry the bar's rate.
pub(crate) const NARROW: Shape = Shape {
    servers: 1,
    per_service: 10,
    connections: 32,
    clients: 0,
    short: None,
    fastest_ns: 1_000,
};

impl Shape {
    /// Endpoints in all.
    pub(crate) fn endpoints(&self) -> usize {
        (self.servers + usize::from(self.clients > 0)) * self.per_service
    }

    /// Time between two writes of one answer.
    fn apart_ns(&self) -> u64 {
        self.fastest_ns / 5
    }

    /// When the bytes that were moved at this moment had become readable.
    fn arrival_ns(&self, at_ns: u64) -> u64 {
        at_ns - at_ns % (2 * self.apart_ns()) - self.apart_ns() / 10
    }
}

/// Bytes of a response that the kernel side copies.
const RESPONSE_BUDGET: usize = 1024;
/// Ids in paths are drawn from so many, the popular ones most (Zipf's law).
const IDS: f64 = 100_000.0;
/// No exchange takes longer.
const LONGEST_NS: f64 = 50e6;
/// The wall clock's lead over the monotonic one.
const EPOCH_NS: u64 = 1_750_000_000_000_000_000;

/// Where records go: the bytes, and the connection that they belong to.
pub(crate) type Emit<'a> = dyn FnMut(&[u8], u64) + 'a;

/// See the module.
pub(crate) struct Traffic {
    shape: Shape,
    random: Random,
    endpoints: Vec<Endpoint>,
    connections: Vec<Connection>,
    /// Connections without an exchange in flight.
    idle: Vec<u32>,
    /// Answers to come, soonest first: when, on which connection, of which endpoint.
    pending: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Nanoseconds between two requests.
    step_ns: u64,
    next_ns: u64,
    exchanges: u64,
    body: Vec<u8>,
    record: Vec<u8>,
    text: String,
}

struct Endpoint {
    method: &'static str,
    before_id: String,
    /// What follows the id; `None` if there is none in the path.
    behind_id: Option<&'static str>,
    headers: String,
    median_ns: f64,
    body_bytes: usize,
}

#[derive(Clone, Copy)]
struct Connection {
    service: usize,
    is_client: bool,
    flow: Flow,
    /// Where its endpoints are, and how many there are.
    first: usize,
    count: usize,
}

impl Traffic {
    /// So many exchanges per second, from `start_ns` on.
    pub(crate) fn new(shape: Shape, per_second: u64, start_ns: u64) -> Self {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let endpoints = endpoints(shape, &mut random);
        let Shape {
            servers, per_service, ..
        } = shape;
        let connections: Vec<_> = (0..shape.connections)
            .map(|number| {
                let is_client = number < shape.clients;
                let service = if is_client { 0 } else { number % servers };
                let (first, count) = if is_client {
                    // Half of the client endpoints belong to each of the two peers.
                    let half = per_service / 2;
                    (servers * per_service + (number % 2) * half, half)
                } else {
                    (service * per_service, per_service)
                };
                let worker = u32::try_from(number / servers % 4).unwrap_or(0);
                let tgid = 1000 + u32::try_from(service).unwrap_or(0) * 10 + worker;
                Connection {
                    service,
                    is_client,
                    flow: Flow::new(tgid),
                    first,
                    count,
                }
            })
            .collect();
        let idle = (0..).take(connections.len()).collect();
        let body = (0..8192)
            .map(|_| b"abcdefghijklmnopqrstuvwxyz0123456789\": {},"[random.below(42)])
            .collect();
        Self {
            shape,
            random,
            endpoints,
            connections,
            idle,
            pending: BinaryHeap::new(),
            step_ns: 1_000_000_000 / per_second,
            next_ns: start_ns,
            exchanges: 0,
            body,
            record: Vec::new(),
            text: String::new(),
        }
    }

    /// Exchanges begun so far.
    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// The next request comes then.
    pub(crate) fn now_ns(&self) -> u64 {
        self.next_ns
    }

    /// From now on so many exchanges per second.
    pub(crate) fn set_rate(&mut self, per_second: u64) {
        self.step_ns = 1_000_000_000 / per_second;
    }

    /// Who the processes are, and every connection's beginning.
    pub(crate) fn begin(&mut self, emit: &mut Emit<'_>) {
        let at_ns = self.next_ns;
        for (service, name) in ["gateway", "orders", "catalog", "accounts"].into_iter().enumerate() {
            for worker in 0..4 {
                let tgid = 1000 + u32::try_from(service).unwrap_or(0) * 10 + worker;
                emit(&process(tgid, at_ns, name), 0);
            }
        }
        for number in 0..self.connections.len() {
            let id = id_of(number);
            emit(&open(self.shape, id, &self.connections[number], at_ns).to_bytes(), id);
        }
    }

    /// Goes on to a moment: the requests and answers until then, in order.
    pub(crate) fn run_until(&mut self, until_ns: u64, emit: &mut Emit<'_>) {
        loop {
            let answer_ns = self.pending.peek().map_or(u64::MAX, |Reverse((at_ns, ..))| *at_ns);
            let next_ns = answer_ns.min(self.next_ns);
            if next_ns >= until_ns {
                return;
            }
            if answer_ns == next_ns {
                self.answer(emit);
            } else {
                self.request(emit);
            }
        }
    }

    /// Answers what is in flight; gives the moment behind the last one.
    pub(crate) fn finish(&mut self, emit: &mut Emit<'_>) -> u64 {
        let mut last_ns = self.next_ns;
        while let Some(Reverse((at_ns, ..))) = self.pending.peek() {
            last_ns = last_ns.max(*at_ns + 1);
            self.answer(emit);
        }
        self.next_ns = last_ns;
        last_ns
    }

    fn request(&mut self, emit: &mut Emit<'_>) {
        let at_ns = self.next_ns;
        self.next_ns += self.step_ns;
        // Everybody is busy: this request is left out, as a client out of connections would.
        if self.idle.is_empty() {
            return;
        }
        let place = self.random.below(self.idle.len());
        let number = self.idle.swap_remove(place);
        self.exchanges += 1;
        let connection = self.connections[number as usize];
        // Some endpoints are asked for much more than others.
        let rank = self.random.unit()
            * if self.random.below(4) == 0 {
                1.0
            } else {
                self.random.unit()
            };
        let endpoint = connection.first + index(rank, connection.count);
        let latency_ns = (self.endpoints[endpoint].median_ns * (0.5 * self.random.normal()).exp()).min(LONGEST_NS);
        if self
            .shape
            .short
            .is_some_and(|every| self.exchanges.is_multiple_of(every))
        {
            // A connection of its own, over in no time.
            let kept = self.shape.connections;
            let id = id_of(kept + index(self.random.unit(), kept));
            emit(&open(self.shape, id, &connection, at_ns).to_bytes(), id);
            let mut short = Connection {
                flow: Flow::new(connection.flow.tgid),
                ..connection
            };
            self.send_request(id, &mut short, endpoint, at_ns, emit);
            self.send_answer(id, &mut short, endpoint, at_ns + whole(latency_ns), emit);
            for what in [change::LOCAL_CLOSED, change::DESTROYED] {
                emit(&state(id, what, at_ns + whole(latency_ns) + 1000), id);
            }
            self.idle.push(number);
            return;
        }
        let mut connection = connection;
        self.send_request(id_of(number as usize), &mut connection, endpoint, at_ns, emit);
        self.connections[number as usize] = connection;
        self.pending.push(Reverse((
            at_ns + whole(latency_ns),
            number,
            u32::try_from(endpoint).unwrap_or(0),
        )));
    }

    fn answer(&mut self, emit: &mut Emit<'_>) {
        let Some(Reverse((at_ns, number, endpoint))) = self.pending.pop() else {
            return;
        };
        let mut connection = self.connections[number as usize];
        self.send_answer(id_of(number as usize), &mut connection, endpoint as usize, at_ns, emit);
        self.connections[number as usize] = connection;
        self.idle.push(number);
    }

    fn send_request(&mut self, id: u64, to: &mut Connection, endpoint: usize, at_ns: u64, emit: &mut Emit<'_>) {
        let text = &mut self.text;
        text.clear();
        let endpoint = &self.endpoints[endpoint];
        text.push_str(endpoint.method);
        text.push(' ');
        text.push_str(&endpoint.before_id);
        let number = self.random.next();
        if let Some(behind) = endpoint.behind_id {
            let id = IDS.powf(self.random.unit());
            write!(text, "{}{behind}", whole(id)).expect("a string takes everything");
        }
        if number.is_multiple_of(4) {
            text.push_str("?page=2&per_page=50&sort=-created");
        }
        text.push_str(&endpoint.headers);
        if number.is_multiple_of(3) {
            write!(text, "X-Request-Id: {number:016x}\r\n").expect("a string takes everything");
        }
        let body = if endpoint.method == "GET" {
            0
        } else {
            40 + index(self.random.unit(), 200)
        };
        if body > 0 {
            write!(text, "Content-Type: application/json\r\nContent-Length: {body}\r\n")
                .expect("a string takes everything");
        }
        text.push_str("\r\n");
        let moved = text.len() + body;
        let bytes = [text.as_bytes(), &self.body[..body]];
        segment(
            &mut self.record,
            self.shape,
            id,
            to,
            to.is_client,
            flag::FIRST,
            at_ns,
            moved,
            &bytes,
        );
        emit(&self.record, id);
    }

    fn send_answer(&mut self, id: u64, to: &mut Connection, endpoint: usize, at_ns: u64, emit: &mut Emit<'_>) {
        let text = &mut self.text;
        text.clear();
        let sent = !to.is_client;
        let body = self.endpoints[endpoint].body_bytes;
        let status = match self.random.below(200) {
            0 | 1 => "500 Internal Server Error",
            2..=7 => "404 Not Found",
            8..=11 => "302 Found",
            _ => "200 OK",
        };
        write!(
            text,
            "HTTP/1.1 {status}\r\nServer: app/2.7\r\nDate: Sat, 21 Jun 2025 10:00:00 GMT\r\n"
        )
        .expect("fits");
        text.push_str("Content-Type: application/json; charset=utf-8\r\nCache-Control: no-store\r\n");
        match self.random.below(20) {
            // Chunked: a head, then one chunk and the end, of which the kernel side tells the last bytes.
            0 | 1 => {
                text.push_str("Transfer-Encoding: chunked\r\n\r\n");
                segment(
                    &mut self.record,
                    self.shape,
                    id,
                    to,
                    sent,
                    flag::FIRST,
                    at_ns,
                    text.len(),
                    &[text.as_bytes()],
                );
                emit(&self.record, id);
                let mut rest = String::new();
                write!(rest, "{body:x}\r\n").expect("a string takes everything");
                let chunk = [rest.as_bytes(), &self.body[..body], b"\r\n0\r\n\r\n"].concat();
                let captured = chunk.len().min(RESPONSE_BUDGET - text.len());
                segment(
                    &mut self.record,
                    self.shape,
                    id,
                    to,
                    sent,
                    0,
                    at_ns + self.shape.apart_ns(),
                    chunk.len(),
                    &[&chunk[..captured]],
                );
                if captured < chunk.len() {
                    tail(&mut self.record, &chunk);
                }
                emit(&self.record, id);
                return;
            }
            // Head and body written apart.
            2 | 3 => {
                write!(text, "Content-Length: {body}\r\n\r\n").expect("a string takes everything");
                segment(
                    &mut self.record,
                    self.shape,
                    id,
                    to,
                    sent,
                    flag::FIRST,
                    at_ns,
                    text.len(),
                    &[text.as_bytes()],
                );
                emit(&self.record, id);
                let captured = body.min(RESPONSE_BUDGET - text.len());
                segment(
                    &mut self.record,
                    self.shape,
                    id,
                    to,
                    sent,
                    0,
                    at_ns + self.shape.apart_ns(),
                    body,
                    &[&self.body[..captured]],
                );
            }
            _ => {
                write!(text, "Content-Length: {body}\r\n\r\n").expect("a string takes everything");
                let captured = body.min(RESPONSE_BUDGET - text.len());
                let bytes = [text.as_bytes(), &self.body[..captured]];
                segment(
                    &mut self.record,
                    self.shape,
                    id,
                    to,
                    sent,
                    flag::FIRST,
                    at_ns,
                    text.len() + body,
                    &bytes,
                );
            }
        }
        tail(&mut self.record, &self.body[..body]);
        emit(&self.record, id);
    }
}

/// Time went on to this moment.
pub(crate) fn tick(at_ns: u64) -> Vec<u8> {
    TickRecord::new(at_ns, EPOCH_NS + at_ns).to_bytes().to_vec()
}

fn endpoints(shape: Shape, random: &mut Random) -> Vec<Endpoint> {
    let resources = [
        "users", "orders", "items", "carts", "prices", "stocks", "offers", "reviews", "images", "brands", "shops",
        "taxes", "coupons", "refunds", "parcels", "routes", "events", "topics", "teams", "roles", "tokens", "devices",
        "alerts", "reports", "exports",
    ];
    let shapes = [
        ("", None),
        ("/", Some("")),
        ("/", Some("/history")),
        ("/", Some("/items")),
    ];
    let mut all = Vec::with_capacity(shape.endpoints());
    for group in 0..shape.endpoints() / shape.per_service {
        let is_client = group == shape.servers;
        for number in 0..shape.per_service {
            let resource = resources[number / 8 % resources.len()];
            let (slash, behind_id) = shapes[number % 4];
            let method = if number / 4 % 2 == 0 { "GET" } else { "POST" };
            let host = match (is_client, number / (shape.per_service / 2)) {
                (true, 0) => "payments.example",
                (true, _) => "search.example",
                (false, _) => "shop.example",
            };
            // Every magnitude alike.
            let median_ns = shape.fastest_ns as f64 * 50f64.powf(random.unit());
            all.push(Endpoint {
                method,
                before_id: format!("/api/v1/{resource}{slash}"),
                behind_id,
                headers: headers(random, host),
                median_ns,
                body_bytes: 20 + index(random.unit().powi(3), 4000),
            });
        }
    }
    all
}

/// What clients of several kinds send behind the path, up to the last header.
fn headers(random: &mut Random, host: &str) -> String {
    let mut text = format!(" HTTP/1.1\r\nHost: {host}\r\n");
    match random.below(4) {
        0 => text.push_str("User-Agent: curl/8.5.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"),
        1 => text.push_str(
            "Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nUser-Agent: python-requests/2.32.3\r\n\
             Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9\r\n",
        ),
        2 => text.push_str(
            "user-agent: axios/1.7.2\r\naccept: application/json, text/plain, */*\r\ncontent-type: application/json\r\n\
             traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx-forwarded-for: 203.0.113.7\r\n",
        ),
        _ => text.push_str(
            "Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/126.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             Accept-Language: en-GB,en;q=0.7\r\nAccept-Encoding: gzip, deflate, br\r\n\
             Cookie: sid=5f2d8c0b9a7e4c1d8b6a3f2e1d0c9b8a; theme=dark; consent=all\r\n",
        ),
    }
    text
}

fn header<T>(kind: u16, flags: u16, more: usize, at_ns: u64) -> RecordHeader {
    let size = u32::try_from(size_of::<T>() + more).expect("records are small");
    RecordHeader {
        kind,
        flags,
        size,
        at_ns,
    }
}

pub(crate) fn id_of(number: usize) -> u64 {
    (number as u64 + 1) << 10
}

pub(crate) fn process(tgid: u32, at_ns: u64, name: &str) -> Vec<u8> {
    let (exe, group) = (format!("/usr/bin/{name}"), format!("/system.slice/{name}.service"));
    ProcessRecord::of_paths(tgid, at_ns, &exe, &group).collect()
}

fn open(shape: Shape, id: u64, connection: &Connection, at_ns: u64) -> OpenRecord {
    let port = 8000 + u16::try_from(connection.service).unwrap_or(0);
    let ephemeral = 20_000 + u16::try_from(id >> 10 & 0x3fff).unwrap_or(0);
    let (local_port, remote_port, last) = if connection.is_client {
        (
            ephemeral,
            443,
            100 + u8::from(!connection.first.is_multiple_of(shape.per_service)),
        )
    } else {
        (port, ephemeral, 7)
    };
    open_at(id, connection.flow.tgid, (local_port, remote_port, last), at_ns)
}

/// A connection between two ports, with a peer whose address ends with the last number.
pub(crate) fn open_at(id: u64, tgid: u32, (local_port, remote_port, last): (u16, u16, u8), at_ns: u64) -> OpenRecord {
    OpenRecord {
        header: header::<OpenRecord>(kind::OPEN, 0, 0, at_ns),
        connection: id,
        socket: id << 6,
        inode: id,
        tgid,
        tid: tgid,
        family: family::INET,
        local_port,
        remote_port,
        origin: origin::FROM_START,
        local_address: std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(),
        remote_address: std::net::Ipv4Addr::new(10, 0, 1, last).to_ipv6_mapped().octets(),
        comm: [b'w'; COMM_BYTES],
        unix_path_bytes: 0,
        reserved: 0,
        unix_path: [0; UNIX_PATH_BYTES],
        reserved2: [0; 4],
    }
}

fn state(id: u64, what: u8, at_ns: u64) -> Vec<u8> {
    let header = header::<StateRecord>(kind::STATE, 0, 0, at_ns);
    StateRecord {
        header,
        connection: id,
        change: what,
        reserved: [0; 7],
    }
    .to_bytes()
    .to_vec()
}

/// Writes a data record of `moved` bytes, of which the given ones were captured.
#[expect(
    clippy::too_many_arguments,
    reason = "a record has that many facts, and they are named at the one that takes them"
)]
fn segment(
    out: &mut Vec<u8>,
    shape: Shape,
    id: u64,
    on: &mut Connection,
    sent: bool,
    flags: u16,
    at_ns: u64,
    moved: usize,
    bytes: &[&[u8]],
) {
    let arrival_ns = if sent { 0 } else { shape.arrival_ns(at_ns) };
    on.flow.record(id, sent, flags, [at_ns, arrival_ns], moved, bytes, out);
}

/// Whose a connection is, and how far both its directions have come.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) tgid: u32,
    received: u32,
    sent: u32,
}

impl Flow {
    pub(crate) fn new(tgid: u32) -> Self {
        Self {
            tgid,
            received: 0,
            sent: 0,
        }
    }

    /// Writes a data record of `moved` bytes, of which the given ones were captured, at this moment and with this arrival.
    #[expect(
        clippy::too_many_arguments,
        reason = "a record has that many facts, and they are named at the one that takes them"
    )]
    pub(crate) fn record(
        &mut self,
        id: u64,
        sent: bool,
        flags: u16,
        [at_ns, arrival_ns]: [u64; 2],
        moved: usize,
        bytes: &[&[u8]],
        out: &mut Vec<u8>,
    ) {
        let position = if sent { &mut self.sent } else { &mut self.received };
        let length = u32::try_from(moved).expect("messages are small");
        *position = position.wrapping_add(length);
        let captured: usize = bytes.iter().map(|part| part.len()).sum();
        let record = DataRecord {
            header: header::<DataRecord>(kind::DATA, flags, captured, at_ns),
            connection: id,
            arrival_ns,
            position_end: *position,
            length,
            captured: u32::try_from(captured).expect("budgets are small"),
            tgid: self.tgid,
            tid: self.tgid,
            direction: if sent { direction::SENT } else { direction::RECEIVED },
            reserved: [0; 3],
            tail: [0; TAIL_BYTES],
        };
        out.clear();
        out.extend_from_slice(&record.to_bytes());
        for part in bytes {
            out.extend_from_slice(part);
        }
    }
}

/// Where the fields lie that change when records are replayed at another time.
mod place {
    pub(super) const FLAGS: usize = 2;
    pub(super) const AT_NS: usize = 8;
    pub(super) const ARRIVAL_NS: usize = 24;
    pub(super) const POSITION_END: usize = 32;
    pub(super) const DIRECTION: usize = 52;
    pub(super) const TAIL: usize = 56;
}

/// Adds a segment's last bytes to its record, where not all were captured.
fn tail(record: &mut [u8], bytes: &[u8]) {
    let last = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
    let end = place::TAIL + TAIL_BYTES;
    record[end - last.len()..end].copy_from_slice(last);
    let flags = u16::from_le_bytes([record[place::FLAGS], record[place::FLAGS + 1]]) | flag::TAIL;
    record[place::FLAGS..place::FLAGS + 2].copy_from_slice(&flags.to_le_bytes());
}

/// Records made once, and moved on in time and in their connections' streams to be replayed.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends, and the connection that it belongs to.
    ends: Vec<(usize, u64)>,
    /// Bytes that each connection received and sent in the batch.
    moved: Vec<[u32; 2]>,
}

impl Batch {
    /// Adds a record.
    pub(crate) fn push(&mut self, record: &[u8], connection: u64) {
        self.bytes.extend_from_slice(record);
        self.ends.push((self.bytes.len(), connection));
        let number = usize::try_from(connection >> 10).expect("connections are few");
        if record[0] == 1 && number <= WIDE.connections {
            self.moved.resize(WIDE.connections + 1, [0; 2]);
            let length = u32::from_le_bytes(record[36..40].try_into().expect("four bytes"));
            let sum = &mut self.moved[number][usize::from(record[place::DIRECTION])];
            *sum = sum.wrapping_add(length);
        }
    }

    /// Records.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all records.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |&(end, _)| {
            let record = &self.bytes[begin..end];
            begin = end;
            record
        })
    }

    /// Makes every record one of `by_ns` later, behind what its connection moved in the batch.
    pub(crate) fn move_on(&mut self, by_ns: u64) {
        let mut begin = 0;
        for &(end, connection) in &self.ends {
            let record = &mut self.bytes[begin..end];
            begin = end;
            add(record, place::AT_NS, by_ns);
            if record[0] != 1 {
                continue;
            }
            if record[place::ARRIVAL_NS..place::ARRIVAL_NS + 8] != [0; 8] {
                add(record, place::ARRIVAL_NS, by_ns);
            }
            let number = usize::try_from(connection >> 10).expect("connections are few");
            // The short connections begin anew each time.
            if number <= WIDE.connections {
                let moved = self.moved[number][usize::from(record[place::DIRECTION])];
                let position = &mut record[place::POSITION_END..place::POSITION_END + 4];
                let end = u32::from_le_bytes((&*position).try_into().expect("four bytes")).wrapping_add(moved);
                position.copy_from_slice(&end.to_le_bytes());
            }
        }
    }
}

fn add(record: &mut [u8], at: usize, by: u64) {
    let field = &mut record[at..at + 8];
    let value = u64::from_le_bytes((&*field).try_into().expect("eight bytes")) + by;
    field.copy_from_slice(&value.to_le_bytes());
}

/// Marsaglia's xorshift64*: repeatable, and good enough to mix traffic.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0..1
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        index(self.unit(), limit)
    }

    /// Mean 0, deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (a, b) = (self.unit().max(1e-12), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of small positive numbers"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of a number in 0..1 times a small one"
)]
pub(crate) fn index(unit: f64, count: usize) -> usize {
    (unit * count as f64) as usize
}
