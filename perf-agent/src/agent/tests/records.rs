//! From records to the books: what the kernel side writes, and records of the right form with any numbers in them, since a
//! recording is a file that somebody else wrote.

use perf_common::counters::COUNTERS;
use perf_common::record::{
    CountersRecord, DataRecord, RecordHeader, StateRecord, TickRecord, direction, family, flag, kind, open_flag, origin,
};
use proptest::prelude::*;

use crate::aggregate::Window;
use crate::exchange::Role;
use crate::pipeline::{Pipeline, Settings};
use crate::statistics;
use crate::synthetic::{End, Traffic, data, datagram, open};

const TEXTS: [&[u8]; 8] = [
    b"GET /a HTTP/1.1\r\n\r\n",
    b"POST /b HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 500 x\r\n\r\n",
    b"0\r\n\r\n",
    b"\0\0\0\0\0\0\0\0",
    b"",
];

/// Moments: near each other, far apart, and at the ends.
fn moment() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0u64..20_000_000_000,
        2 => any::<u64>(),
        1 => Just(u64::MAX),
        1 => (0u64..100_000).prop_map(|hours| hours * 3_600_000_000_000),
    ]
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let data = (
        (1u64..5, moment(), moment(), 0..TEXTS.len()),
        (any::<u32>(), 0u32..8, any::<u16>(), 0u8..2, any::<[u8; 8]>()),
    );
    let data = data.prop_map(
        |((connection, at_ns, arrival_ns, text), (position_end, more, flags, direction, tail))| {
            let bytes = TEXTS[text];
            let captured = u32::try_from(bytes.len()).unwrap();
            let more = if more == 7 { u32::MAX - captured } else { more };
            let mut header = RecordHeader::of::<DataRecord>(kind::DATA, flags & !flag::END_OF_STREAM, at_ns);
            header.size += captured;
            let record = DataRecord {
                header,
                connection,
                arrival_ns,
                // Mostly where the last one ended.
                position_end: if position_end % 4 == 0 {
                    position_end
                } else {
                    captured + more
                },
                length: captured + more,
                captured,
                tgid: 7,
                tid: 7,
                direction,
                reserved: [0; 3],
                tail,
            };
            [&record.to_bytes()[..], bytes].concat()
        },
    );
    prop_oneof![
        12 => data,
        2 => (1u64..5, moment(), 0u16..3).prop_map(|(connection, at_ns, origin)| {
            open(connection, 7, at_ns, origin).to_bytes().to_vec()
        }),
        2 => (1u64..5, 0u8..5, moment()).prop_map(|(connection, change, at_ns)| {
            StateRecord::new(connection, change, at_ns).to_bytes().to_vec()
        }),
        2 => (1u64..5, any::<bool>(), any::<bool>(), moment(), 0u8..4).prop_map(|(socket, sent, known, at_ns, flags)| {
            let message = [0, 1, flags << 6, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
            datagram((socket, 7), sent, known.then_some([10, 0, 0, 1]), at_ns, &message)
        }),
        2 => (moment(), any::<u64>()).prop_map(|(at_ns, wall_ns)| TickRecord::new(at_ns, wall_ns).to_bytes().to_vec()),
        1 => (moment(), any::<[u64; COUNTERS]>()).prop_map(|(at_ns, counters)| {
            let mut record = CountersRecord::new(at_ns, u32::try_from(COUNTERS).unwrap()).to_bytes().to_vec();
            record.extend(counters.iter().flat_map(|counter| counter.to_le_bytes()));
            record
        }),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ]
}

/// A light record: of `length` bytes, only the end of the last piece of a vector is known.
fn light(end: End, position_end: u32, length: u32, at_ns: u64, piece: &[u8]) -> Vec<u8> {
    let mut tail = [0; 8];
    tail[8 - piece.len()..].copy_from_slice(piece);
    let record = DataRecord {
        header: RecordHeader::of::<DataRecord>(kind::DATA, flag::TAIL, at_ns),
        connection: end.connection,
        arrival_ns: 0,
        position_end,
        length,
        captured: 0,
        tgid: end.tgid,
        tid: end.tgid,
        direction: direction::SENT,
        reserved: [0; 3],
        tail,
    };
    record.to_bytes().to_vec()
}

#[test]
fn a_last_chunk_that_is_a_piece_of_its_own_ends_the_body() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n";
    let end = End {
        connection: 1,
        tgid: 7,
        role: Role::Server,
        port: 80,
    };
    let mut traffic = Traffic::default();
    traffic.open(end, 1);
    traffic.exchange(end, "GET / HTTP/1.1\r\n\r\n", HEAD, [2, 3]);
    let position = u32::try_from(HEAD.len()).unwrap();
    // `writev` of 2,000 bytes, CRLF, and the last chunk, as Node does it.
    traffic.records.push(light(end, position + 2007, 2007, 4, b"0\r\n\r\n"));
    traffic.tick(5);
    let mut pipeline = Pipeline::new(Settings {
        connections: 3,
        statistics: statistics::Settings::default(),
    })
    .unwrap();
    for record in &traffic.records {
        pipeline.apply(record);
    }
    let books = pipeline.snapshot().accounting;
    assert_eq!((books.exchanges.answered, books.exchanges.in_flight), (1, 0));
    assert_eq!(books.losses, [0; crate::ledger::LOSSES.len()]);
}

/// A TLS session's open record; bound to its socket or not.
fn session(end: End, at_ns: u64, bound: bool) -> Vec<u8> {
    let mut record = open(end.connection, end.tgid, at_ns, origin::UNKNOWN);
    record.header.flags = open_flag::TLS;
    record.family = if bound { family::INET } else { family::UNKNOWN };
    record.local_port = end.port;
    record.to_bytes().to_vec()
}

#[test]
fn a_tls_session_belongs_to_its_socket_as_soon_as_that_is_known() {
    let port = |bound: bool| {
        let end = End {
            connection: 1,
            tgid: 7,
            role: Role::Server,
            port: 443,
        };
        let mut traffic = Traffic::default();
        traffic.tick(1);
        traffic.process(7, "/usr/bin/node", "/");
        traffic.records.push(session(end, 1, false));
        traffic.exchange(end, "GET / HTTP/1.1\r\n\r\n", "", [2, 2]);
        if bound {
            traffic.records.push(session(end, 3, true));
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        traffic
            .records
            .push(data(end, true, u32::try_from(answer.len()).unwrap(), 4, answer));
        traffic.tick(5);
        let mut pipeline = Pipeline::new(Settings {
            connections: 3,
            statistics: statistics::Settings::default(),
        })
        .unwrap();
        for record in &traffic.records {
            pipeline.apply(record);
        }
        let snapshot = pipeline.snapshot();
        assert_eq!(snapshot.accounting.exchanges.answered, 1);
        assert_eq!(snapshot.endpoints.len(), 1);
        let key = &snapshot.endpoints[0].key;
        assert!(key.tls);
        key.service.port
    };
    assert_eq!(port(true), Some(443));
    assert_eq!(port(false), None, "what is not known is not guessed");
}

proptest! {
    #[test]
    fn any_numbers_in_records_end_without_panic_and_the_books_close(records in prop::collection::vec(record(), 0..60)) {
        let settings = Settings { connections: 3, statistics: statistics::Settings::default() };
        let mut pipeline = Pipeline::new(settings).unwrap();
        for record in &records {
            pipeline.apply(record);
        }
        for _ in 0..2 {
            let snapshot = pipeline.snapshot();
            prop_assert!(snapshot.accounting.closes());
            for window in Window::ALL {
                for aggregate in snapshot.endpoints.iter().map(|endpoint| &endpoint.aggregate).chain([&snapshot.total]) {
                    let view = aggregate.window(window, snapshot.at_ns);
                    prop_assert_eq!(view.outcomes.iter().sum::<u64>(), view.requests);
                    prop_assert_eq!(view.response_time.summary().map_or(0, |times| times.count), view.outcomes[0]);
                    prop_assert!(aggregate.throughput_trend(window, snapshot.at_ns).len() <= 61);
                    prop_assert!(aggregate.latency_series(window, snapshot.at_ns).len() <= 20);
                }
            }
            pipeline.finish();
        }
        prop_assert_eq!(pipeline.snapshot().accounting.exchanges.in_flight, 0);
    }
}
