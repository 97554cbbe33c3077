//! Records as the kernel side would write them, for tests: connections, and what was said on them.
#![expect(clippy::cast_possible_truncation, reason = "what tests say is short")]

use std::sync::Arc;

use perf_common::record::{
    COMM_BYTES, DataRecord, DatagramRecord, HelloRecord, OpenRecord, ProcessRecord, RecordHeader, StateRecord,
    TickRecord, UNIX_PATH_BYTES, change, direction, family, flag, kind, open_flag, origin,
};

use crate::endpoint::{EndpointKey, Operation};
use crate::exchange::{Outcome, Protocol, Role, Times};
use crate::process::ServiceKey;
use crate::snapshot::LoggedExchange;

/// The wall clock's lead over the monotonic one.
pub(crate) const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// A stream of records, in order.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) records: Vec<Vec<u8>>,
}

/// One end of a connection, as the process on it sees it.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) connection: u64,
    pub(crate) tgid: u32,
    pub(crate) role: Role,
    /// The server's port.
    pub(crate) port: u16,
}

/// An open record with everything that a test does not care about.
pub(crate) fn open(connection: u64, tgid: u32, at_ns: u64, origin: u16) -> OpenRecord {
    OpenRecord {
        header: header::<OpenRecord>(kind::OPEN, at_ns),
        connection,
        socket: connection << 6,
        inode: 0,
        tgid,
        tid: tgid,
        family: family::INET,
        local_port: 80,
        remote_port: 4000,
        origin,
        local_address: std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(),
        remote_address: std::net::Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped().octets(),
        comm: [0; COMM_BYTES],
        unix_path_bytes: 0,
        reserved: 0,
        unix_path: [0; UNIX_PATH_BYTES],
        reserved2: [0; 4],
    }
}

/// A data record whose bytes were all captured.
pub(crate) fn data(end: End, sent: bool, position_end: u32, at_ns: u64, bytes: &[u8]) -> Vec<u8> {
    let captured = bytes.len() as u32;
    let mut header = header::<DataRecord>(kind::DATA, at_ns);
    header.size += captured;
    header.flags = flag::FIRST;
    let record = DataRecord {
        header,
        connection: end.connection,
        arrival_ns: if sent { 0 } else { at_ns.saturating_sub(50_000) },
        position_end,
        length: captured,
        captured,
        tgid: end.tgid,
        tid: end.tgid,
        direction: if sent { direction::SENT } else { direction::RECEIVED },
        reserved: [0; 3],
        tail: [0; 8],
    };
    [&record.to_bytes()[..], bytes].concat()
}

/// A datagram of the socket of a process, to or from port 53 of an address, if that is known.
pub(crate) fn datagram(
    (socket, tgid): (u64, u32),
    sent: bool,
    remote: Option<[u8; 4]>,
    at_ns: u64,
    bytes: &[u8],
) -> Vec<u8> {
    let captured = bytes.len() as u32;
    let mut header = header::<DatagramRecord>(kind::DATAGRAM, at_ns);
    header.size += captured;
    let address = |address: [u8; 4]| std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets();
    let record = DatagramRecord {
        header,
        socket,
        tgid,
        tid: tgid,
        length: captured,
        captured,
        local_port: 4000,
        remote_port: if remote.is_some() { 53 } else { 0 },
        direction: if sent { direction::SENT } else { direction::RECEIVED },
        reserved: [0; 3],
        local_address: address([10, 0, 0, 7]),
        remote_address: remote.map(address).unwrap_or_default(),
        comm: [0; COMM_BYTES],
    };
    [&record.to_bytes()[..], bytes].concat()
}

/// The process begins a TLS handshake at its end of a connection, see [`Traffic::open`].
pub(crate) fn hello(end: End, at_ns: u64, bytes: &[u8]) -> Vec<u8> {
    let like = open(end.connection, end.tgid, at_ns, origin::FROM_START);
    let captured = bytes.len() as u32;
    let mut header = header::<HelloRecord>(kind::HELLO, at_ns);
    header.size += captured;
    let record = HelloRecord {
        header,
        connection: end.connection,
        tgid: end.tgid,
        length: captured,
        captured,
        local_port: 4000,
        remote_port: end.port,
        local_address: like.local_address,
        remote_address: like.remote_address,
        comm: [0; COMM_BYTES],
    };
    [&record.to_bytes()[..], bytes].concat()
}

fn header<T>(kind: u16, at_ns: u64) -> RecordHeader {
    RecordHeader {
        kind,
        flags: 0,
        size: size_of::<T>() as u32,
        at_ns,
    }
}

impl Traffic {
    /// Who a process is.
    pub(crate) fn process(&mut self, tgid: u32, exe: &str, cgroup: &str) {
        self.records
            .push(ProcessRecord::of_paths(tgid, 0, exe, cgroup).collect());
    }

    /// A connection comes into view from its start.
    pub(crate) fn open(&mut self, end: End, at_ns: u64) {
        self.open_with(end, at_ns, 0);
    }

    /// The same of a TLS session.
    pub(crate) fn open_tls(&mut self, end: End, at_ns: u64) {
        self.open_with(end, at_ns, open_flag::TLS);
    }

    fn open_with(&mut self, end: End, at_ns: u64, flags: u16) {
        let mut record = open(end.connection, end.tgid, at_ns, origin::FROM_START);
        record.header.flags = flags;
        match end.role {
            Role::Server => record.local_port = end.port,
            Role::Client => {
                record.local_port = 4000;
                record.remote_port = end.port;
            }
        }
        self.records.push(record.to_bytes().to_vec());
    }

    /// A request and its response, one segment each, on a connection on which nothing went before.
    pub(crate) fn exchange(&mut self, end: End, request: &str, response: &str, [at_ns, answer_ns]: [u64; 2]) {
        let requests_are_sent = end.role == Role::Client;
        let position = |text: &str| text.len() as u32;
        self.records.push(data(
            end,
            requests_are_sent,
            position(request),
            at_ns,
            request.as_bytes(),
        ));
        if !response.is_empty() {
            let response_end = position(response);
            self.records.push(data(
                end,
                !requests_are_sent,
                response_end,
                answer_ns,
                response.as_bytes(),
            ));
        }
    }

    /// The connection's socket goes away.
    pub(crate) fn close(&mut self, connection: u64, at_ns: u64) {
        let header = header::<StateRecord>(kind::STATE, at_ns);
        let record = StateRecord {
            header,
            connection,
            change: change::DESTROYED,
            reserved: [0; 7],
        };
        self.records.push(record.to_bytes().to_vec());
    }

    /// Time goes on.
    pub(crate) fn tick(&mut self, at_ns: u64) {
        self.records
            .push(TickRecord::new(at_ns, EPOCH_NS + at_ns).to_bytes().to_vec());
    }

    /// Two services and a client of one of them, ten seconds long: what the tests of outputs look at.
    pub(crate) fn example() -> Self {
        let ms = |ms: u64| 5_000_000_000 + ms * 1_000_000;
        let mut traffic = Self::default();
        traffic.tick(ms(0));
        traffic.process(10, "/usr/sbin/nginx", "/system.slice/nginx.service");
        traffic.process(20, "/usr/bin/python3.11", "/user.slice");
        for number in 0..100 {
            let (path, status) = match number % 10 {
                9 => ("/missing".to_owned(), "404 Not Found"),
                8 => ("/broken".to_owned(), "500 Internal Server Error"),
                _ => (format!("/users/{number}?page=2&token=abc"), "200 OK"),
            };
            let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: r{number}\r\n\r\n");
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello");
            let times = [ms(number * 90), ms(number * 90 + 1 + number % 20)];
            let server = End {
                connection: 1000 + number,
                tgid: 10,
                role: Role::Server,
                port: 8080,
            };
            let client = End {
                connection: 2000 + number,
                tgid: 20,
                role: Role::Client,
                port: 8080,
            };
            for end in [server, client] {
                traffic.open(end, times[0] - 1000);
                traffic.exchange(end, &request, &response, times);
                traffic.close(end.connection, times[1] + 1000);
            }
            if number % 10 == 0 {
                traffic.tick(ms(number * 90 + 50));
            }
        }
        let left = End {
            connection: 3000,
            tgid: 10,
            role: Role::Server,
            port: 8080,
        };
        traffic.open(left, ms(9500));
        traffic.exchange(
            left,
            "GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            "",
            [ms(9500), 0],
        );
        let waiting = End {
            connection: 3001,
            ..left
        };
        traffic.open(waiting, ms(9600));
        traffic.exchange(
            waiting,
            "GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            "",
            [ms(9600), 0],
        );
        traffic.close(left.connection, ms(9700));
        traffic.tick(ms(10_000));
        traffic
    }
}

/// An ended exchange of 2.346 ms in the server role.
pub(crate) fn logged(path: &str, status: Option<u16>, outcome: Outcome) -> LoggedExchange {
    let service = ServiceKey {
        name: "nginx".into(),
        exe: None,
        container: None,
        unit: None,
        port: Some(80),
        socket: None,
    };
    LoggedExchange {
        id: 1,
        endpoint: "0".into(),
        key: Arc::new(EndpointKey {
            service: Arc::new(service),
            role: Role::Server,
            peer: None,
            tls: false,
            protocol: Protocol::Http11,
            operation: Operation {
                method: "GET".into(),
                route: path.into(),
            },
        }),
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: vec![],
        host: None,
        request_id: None,
        trace_id: None,
        user_id: None,
        attributes: vec![],
        peer: None,
        client: None,
        tgid: 1,
        status,
        error: None,
        outcome,
        times: Times {
            arrival_ns: Some(999_000),
            request_first_ns: 1_000_000,
            request_last_ns: 1_000_000,
            response_first_ns: status.map(|_| 2_500_000),
            response_last_ns: 3_345_678,
        },
        ended_wall_ns: 1_700_000_000_123_456_789,
        request_bytes: 78,
        response_bytes: 1234,
        stream: None,
        spent: None,
    }
}
