//! Datagrams as the kernel side tells of them, and what is told of their exchanges.

use perf_common::record::TickRecord;
use proptest::prelude::*;

use crate::aggregate::Window;
use crate::event::Direction::{self, Received, Sent};
use crate::exchange::{Loss, Role};
use crate::pipeline::{Pipeline, Settings};
use crate::snapshot::Traced;
use crate::statistics;
use crate::synthetic::{End, Traffic, datagram};

const MS: u64 = 1_000_000;
const SOCKET: u64 = 0xffff_8880_0000_1000;
const SERVER: Option<[u8; 4]> = Some([10, 0, 0, 53]);

/// A message with this id and flags, that asks for a name's address, and whose header counts so many records of no more.
fn message(id: u8, flags: [u8; 2], name: &str, answers: u8) -> Vec<u8> {
    let mut bytes = vec![0, id, flags[0], flags[1], 0, 1, 0, answers, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.extend(b"\0\0\x01\0\x01");
    (0..answers)
        .for_each(|last| bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, last.wrapping_add(7)]));
    bytes
}

fn query(id: u8, name: &str) -> Vec<u8> {
    message(id, [1, 0], name, 0)
}

fn answer(id: u8, name: &str) -> Vec<u8> {
    message(id, [0x81, 0x80], name, 1)
}

struct Run {
    pipeline: Pipeline,
    now_ns: u64,
}

impl Run {
    fn new() -> Self {
        let mut pipeline = Pipeline::new(Settings {
            connections: 10,
            statistics: statistics::Settings::default(),
        })
        .unwrap();
        pipeline.statistics().trace(true);
        pipeline.statistics().process(7, "/usr/bin/app", "/");
        Self { pipeline, now_ns: 0 }
    }

    fn moved(&mut self, socket: u64, direction: Direction, remote: Option<[u8; 4]>, bytes: &[u8]) {
        self.now_ns += MS;
        let record = datagram((socket, 7), direction == Sent, remote, self.now_ns, bytes);
        self.pipeline.apply(&record);
    }

    fn tick(&mut self, at_ms: u64) {
        self.now_ns = at_ms * MS;
        self.pipeline
            .apply(&TickRecord::new(self.now_ns, self.now_ns).to_bytes());
    }

    /// What ended: role, operation, outcome, from when to when, error, bytes, the peer.
    fn lines(&mut self) -> Vec<String> {
        let (traced, _) = self.pipeline.statistics().take_traced();
        let line = |traced: Traced| {
            let Traced::Exchange(one) = traced else {
                panic!("no stream")
            };
            let times = one.times;
            let error = one
                .error
                .map(|error| format!(" {}", error.as_str()))
                .unwrap_or_default();
            let peer = one.peer.map(|peer| format!(" {peer}")).unwrap_or_default();
            format!(
                "{} {} {}{error} {}..{} {}+{}{peer}",
                one.key.role.name(),
                one.path,
                one.outcome.name(),
                times.request_first_ns / MS,
                times.response_last_ns / MS,
                one.request_bytes,
                one.response_bytes,
            )
        };
        traced.into_iter().map(line).collect()
    }

    #[track_caller]
    fn check(mut self, expected: &[&str], unpaired: u64) {
        assert_eq!(self.lines(), expected);
        self.tick(60_000);
        assert_eq!(self.lines(), [""; 0], "nothing waits any more");
        let accounting = self.pipeline.snapshot().accounting;
        assert_eq!(accounting.losses[Loss::ResponseWithoutRequest as usize], unpaired);
        assert_eq!(accounting.exchanges.in_flight, 0);
    }
}

#[test]
fn answers_come_in_any_order() {
    let mut run = Run::new();
    run.moved(SOCKET, Sent, SERVER, &query(1, "a.test"));
    run.moved(SOCKET, Sent, SERVER, &query(2, "b.test"));
    run.moved(SOCKET, Received, SERVER, &message(2, [0x81, 0x83], "b.test", 0));
    run.moved(SOCKET, Received, SERVER, &answer(1, "A.TEST"));
    run.check(
        &[
            "client A b.test answered NXDOMAIN 2..3 24+24 10.0.0.53:53",
            "client A a.test answered 1..4 24+40 10.0.0.53:53",
        ],
        0,
    );
}

#[test]
fn a_server_learns_with_the_answer_who_asked() {
    let mut run = Run::new();
    run.moved(SOCKET, Received, None, &query(1, "a.test"));
    run.moved(SOCKET, Received, None, &query(1, "a.test"));
    run.moved(SOCKET, Sent, Some([10, 0, 0, 8]), &answer(1, "a.test"));
    run.moved(SOCKET, Sent, Some([10, 0, 0, 9]), &answer(1, "a.test"));
    run.check(
        &[
            "server A a.test answered 1..3 24+40 10.0.0.8:53",
            "server A a.test answered 2..4 24+40 10.0.0.9:53",
        ],
        0,
    );
}

#[test]
fn a_client_that_asks_again_waits_for_one_answer() {
    let mut run = Run::new();
    run.moved(SOCKET, Sent, SERVER, &query(1, "a.test"));
    run.moved(SOCKET, Sent, Some([10, 0, 0, 54]), &query(1, "a.test"));
    run.moved(SOCKET, Received, None, &answer(1, "a.test"));
    run.moved(SOCKET, Received, None, &answer(1, "a.test"));
    run.check(&["client A a.test answered 1..3 48+40 10.0.0.53:53"], 1);
}

#[test]
fn what_pairs_is_socket_number_and_question() {
    let mut run = Run::new();
    run.moved(SOCKET, Sent, SERVER, &query(1, "a.test"));
    run.moved(SOCKET, Received, SERVER, &answer(1, "b.test"));
    run.moved(SOCKET, Received, SERVER, &answer(2, "a.test"));
    run.moved(SOCKET + 64, Received, SERVER, &answer(1, "a.test"));
    run.moved(SOCKET, Sent, SERVER, &answer(1, "a.test"));
    assert_eq!(run.lines(), [""; 0]);
    run.tick(15_000);
    assert_eq!(run.lines(), [""; 0], "it may still come");
    run.tick(15_002);
    run.check(&["client A a.test unknown 1..15002 24+0 10.0.0.53:53"], 4);
}

#[test]
fn what_is_no_query_opens_nothing() {
    let mut run = Run::new();
    run.moved(SOCKET, Sent, Some([224, 0, 0, 251]), &query(0, "printer.local"));
    run.moved(SOCKET, Sent, SERVER, &[&query(1, "a.test")[..], b"x"].concat());
    run.moved(SOCKET, Sent, SERVER, b"\0\x01\x01\0\0\x01\0\0\0\0\0\0");
    run.check(&[], 0);
}

#[test]
fn what_waits_is_bounded_and_the_oldest_gives_way() {
    let mut run = Run::new();
    for n in 0..40_000u64 {
        run.moved(SOCKET + (n << 7), Sent, SERVER, &query(1, "a.test"));
    }
    let accounting = {
        run.tick(41_000);
        run.pipeline.snapshot().accounting
    };
    assert!(accounting.exchanges.in_flight <= 16_384);
    assert!(accounting.losses[Loss::PipelineFull as usize] > 0);
    run.tick(100_000);
    let accounting = run.pipeline.snapshot().accounting;
    assert_eq!(
        (accounting.exchanges.in_flight, accounting.exchanges.unknown),
        (0, 40_000)
    );
    // The same, asked of a server that does not answer.
    let mut run = Run::new();
    (0..100).for_each(|_| run.moved(SOCKET, Received, None, &query(1, "a.test")));
    run.tick(20_000);
    assert_eq!(run.pipeline.snapshot().accounting.exchanges.unknown, 9);
}

#[test]
fn sockets_are_no_connections() {
    let mut run = Run::new();
    run.moved(SOCKET, Sent, SERVER, &query(1, "a.test"));
    run.moved(SOCKET, Received, SERVER, &answer(1, "a.test"));
    run.tick(1_000);
    let snapshot = run.pipeline.snapshot();
    let [endpoint] = &snapshot.endpoints[..] else {
        panic!("one endpoint")
    };
    assert_eq!(
        (
            endpoint.key.role,
            endpoint.window(Window::Start, snapshot.at_ns).requests
        ),
        (Role::Client, 1)
    );
    assert!(snapshot.pools.is_empty());
}

#[test]
fn a_peer_is_called_what_the_process_asked_for() {
    let name_of = |asks: &[(&str, bool)]| {
        let mut run = Run::new();
        for (name, before) in asks {
            if *before {
                run.moved(SOCKET, Sent, SERVER, &query(1, name));
                run.moved(SOCKET, Received, SERVER, &answer(1, name));
            }
        }
        let mut traffic = Traffic::default();
        let end = End {
            connection: 9,
            tgid: 7,
            role: Role::Client,
            port: 6379,
        };
        run.now_ns += 10 * MS;
        traffic.open(end, run.now_ns);
        traffic.exchange(end, "*1\r\n$4\r\nPING\r\n", "+PONG\r\n", [run.now_ns, run.now_ns + MS]);
        traffic.records.iter().for_each(|record| run.pipeline.apply(record));
        for (name, _) in asks.iter().filter(|(_, before)| !before) {
            run.moved(SOCKET, Sent, SERVER, &query(1, name));
            run.moved(SOCKET, Received, SERVER, &answer(1, name));
        }
        run.tick(1_000);
        let snapshot = run.pipeline.snapshot();
        let redis = snapshot
            .endpoints
            .iter()
            .find(|endpoint| endpoint.key.protocol.name() == "redis");
        redis.expect("it asked").peer_seen.name.as_deref().map(str::to_owned)
    };
    assert_eq!(name_of(&[]), None);
    assert_eq!(name_of(&[("cache.test", true)]).as_deref(), Some("cache.test"));
    assert_eq!(
        name_of(&[("a.test", true), ("b.test", true)]).as_deref(),
        Some("b.test")
    );
    assert_eq!(
        name_of(&[("a.test", true), ("later.test", false)]).as_deref(),
        Some("a.test")
    );
    assert_eq!(name_of(&[("later.test", false)]), None, "it was connected by then");
}

proptest! {
    #[test]
    fn the_books_close_whatever_comes(
        steps in prop::collection::vec(
            (0u64..3, any::<bool>(), 0u8..4, 0u8..6, 0usize..60, any::<u8>(), 0u64..30_000), 0..200,
        ),
    ) {
        let mut run = Run::new();
        for (socket, sent, id, kind, place, byte, wait_ms) in steps {
            let mut bytes = match kind {
                0 | 1 => query(id, "a.test"),
                2 | 3 => answer(id, "a.test"),
                4 => message(id, [byte, 0x80], "b.test", byte),
                _ => vec![byte; place],
            };
            if byte < 32 && let Some(changed) = bytes.get_mut(place) {
                *changed = byte;
            }
            bytes.truncate(if byte < 64 { place } else { usize::MAX });
            let direction = if sent { Sent } else { Received };
            run.moved(SOCKET + 64 * socket, direction, SERVER.filter(|_| byte & 1 == 0), &bytes);
            if wait_ms > 25_000 {
                let now_ms = run.now_ns / MS + wait_ms - 25_000;
                run.tick(now_ms);
            }
        }
        run.pipeline.finish();
        let exchanges = run.pipeline.snapshot().accounting.exchanges;
        prop_assert_eq!(exchanges.in_flight, 0);
        let ended = exchanges.answered + exchanges.cut + exchanges.unknown;
        prop_assert_eq!(exchanges.opened, ended);
    }
}
