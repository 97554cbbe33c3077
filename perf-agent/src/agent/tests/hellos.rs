//! What TLS clients say in plain text, and what their peers are called by it.

use crate::endpoint::Peer;
use crate::exchange::Role;
use crate::pipeline::{Pipeline, Settings};
use crate::statistics;
use crate::synthetic::{End, Traffic, hello};

const MS: u64 = 1_000_000;
const CACHE: End = End {
    connection: 9,
    tgid: 7,
    role: Role::Client,
    port: 6379,
};

/// A hello that asks for this name, or for none.
fn asks_for(name: &str) -> Vec<u8> {
    let length = |more: usize| u8::try_from(name.len() + more).expect("a short name");
    let extensions = if name.is_empty() {
        vec![0, 0]
    } else {
        let head = [0, length(9), 0, 0, 0, length(5), 0, length(3), 0, 0, length(0)];
        [&head[..], name.as_bytes()].concat()
    };
    let body = [&b"\x03\x03"[..], &[7; 32], b"\0\0\x02\x13\x01\x01\0", &extensions].concat();
    let length = |more: usize| u8::try_from(body.len() + more).expect("a short hello");
    [&[22, 3, 1, 0, length(4), 1, 0, 0, length(0)][..], &body].concat()
}

/// What is known after a client said this and, in a session, asked a cache for something or not.
fn after(hellos: &[(End, &str)], asks: bool) -> (Option<String>, Vec<(Peer, u64)>) {
    let mut pipeline = Pipeline::new(Settings {
        connections: 10,
        statistics: statistics::Settings::default(),
    })
    .expect("no routes");
    pipeline.statistics().process(7, "/usr/bin/app", "/");
    let mut traffic = Traffic::default();
    for (end, name) in hellos {
        traffic.records.push(hello(*end, MS, &asks_for(name)));
    }
    if asks {
        traffic.open_tls(CACHE, 2 * MS);
        traffic.exchange(CACHE, "*1\r\n$4\r\nPING\r\n", "+PONG\r\n", [2 * MS, 3 * MS]);
    }
    traffic.tick(1_000 * MS);
    traffic.records.iter().for_each(|record| pipeline.apply(record));
    let snapshot = pipeline.snapshot();
    let name = snapshot
        .endpoints
        .first()
        .and_then(|endpoint| endpoint.peer_seen.name.as_deref());
    let unread = snapshot
        .unread
        .iter()
        .map(|unread| (unread.peer.clone(), unread.connections));
    (name.map(str::to_owned), unread.collect())
}

#[test]
fn a_sessions_peer_is_called_what_its_handshake_asked_for() {
    assert_eq!(
        after(&[(CACHE, "Cache.test")], true),
        (Some("cache.test".to_owned()), vec![])
    );
    assert_eq!(after(&[(CACHE, "")], true), (None, vec![]));
    assert_eq!(
        after(&[(CACHE, "old.test"), (CACHE, "")], true).0,
        None,
        "what was said before is over"
    );
}

#[test]
fn connections_that_are_not_seen_into_are_counted_by_whom_they_mean() {
    let named = |host: &str| Peer::Name {
        host: host.into(),
        port: 6379,
    };
    assert_eq!(
        after(&[(CACHE, "a.test"), (CACHE, "b.test"), (CACHE, "a.test")], false),
        (None, vec![(named("a.test"), 2), (named("b.test"), 1)])
    );
    let other = End { port: 443, ..CACHE };
    let (name, unread) = after(&[(other, ""), (CACHE, "a.test")], true);
    assert_eq!(name.as_deref(), Some("a.test"));
    assert_eq!(unread, [(Peer::Address(([10, 0, 0, 7], 443).into()), 1)]);
}
