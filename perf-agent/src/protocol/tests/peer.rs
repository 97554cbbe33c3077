//! A connection of which a test says, call by call, what goes over it.

use super::*;
use crate::exchange::Tally;

/// A conversation under test; each call is a millisecond later.
pub(in crate::protocol) struct Peer {
    pub(in crate::protocol) dissector: AnyDissector,
    pub(in crate::protocol) sink: Recorder,
    /// Of the last call.
    pub(in crate::protocol) now: u64,
}

impl Peer {
    pub(in crate::protocol) fn new(entry: &ProtocolEntry) -> Self {
        Self {
            dissector: (entry.dissector)(true),
            sink: Recorder::default(),
            now: 0,
        }
    }

    pub(in crate::protocol) fn go(&mut self, half: Half, bytes: &[u8]) -> Verdict {
        self.now += 1;
        let chunk = Chunk {
            half,
            bytes,
            at_ns: self.now,
            arrival_ns: None,
            tgid: 1,
            tid: 1,
        };
        self.dissector.bytes(chunk, &mut self.sink)
    }

    /// Bytes from the client.
    pub(in crate::protocol) fn asks(&mut self, bytes: &[u8]) -> Verdict {
        self.go(Half::Request, bytes)
    }

    /// Bytes from the server.
    pub(in crate::protocol) fn answers(&mut self, bytes: &[u8]) -> Verdict {
        self.go(Half::Response, bytes)
    }

    /// Bytes that were not captured.
    pub(in crate::protocol) fn misses(&mut self, half: Half, missing: u64, tail: &[u8], lost: bool) {
        self.now += 1;
        let gap = Gap {
            half,
            missing,
            tail: (!tail.is_empty()).then_some(tail),
            at_ns: self.now,
            lost,
            tgid: 1,
            tid: 1,
        };
        self.dissector.gap(gap, &mut self.sink);
    }

    /// Operation, outcome, error, rows or hits and misses of each exchange.
    #[track_caller]
    pub(in crate::protocol) fn check(&self, expected: &[&str]) {
        let told = |told: &crate::protocol::recorder::Told| {
            let Some(ended) = &told.ended else {
                return format!("{} in flight", told.path);
            };
            let error = ended
                .error
                .map_or(String::new(), |error| format!(" {}", error.as_str()));
            let tally = match ended.tally {
                tally if tally.is_empty() => String::new(),
                Tally { rows: Some(rows), .. } => format!(" {rows} rows"),
                tally => format!(" {}/{}", tally.hits, tally.misses),
            };
            format!("{} {}{error}{tally}", told.path, ended.outcome.name())
        };
        let told: Vec<_> = self.sink.told.iter().map(told).collect();
        assert_eq!(told, expected, "{:?}", self.sink.losses);
    }
}
