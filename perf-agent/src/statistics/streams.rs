//! Streams: those that are open, and the newest that ended.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::log::{Clock, Named};
use super::text::Text;
use crate::exchange::{StreamEnded, StreamKind, StreamMoved};
use crate::snapshot::{LoggedStream, StreamLog};

/// Open ones that are listed; all are counted.
const LISTED: usize = 1_000;
/// Ended ones that are kept.
const KEPT: usize = 100;

/// A stream that is open, but for its texts.
#[derive(Clone, Debug)]
pub(super) struct OpenStream {
    pub(super) number: u64,
    pub(super) kind: StreamKind,
    pub(super) since_ns: u64,
    pub(super) peer: Option<SocketAddr>,
    /// In the server role.
    pub(super) client: Option<IpAddr>,
    bytes: [u64; 2],
    messages: Option<[u64; 2]>,
}

impl OpenStream {
    pub(super) fn new(
        number: u64,
        kind: StreamKind,
        since_ns: u64,
        (peer, client): (Option<SocketAddr>, Option<IpAddr>),
    ) -> Self {
        Self {
            number,
            kind,
            since_ns,
            peer,
            client,
            bytes: [0; 2],
            // Of the others nobody looks for messages.
            messages: (kind == StreamKind::WebSocket).then_some([0; 2]),
        }
    }

    pub(super) fn moved(&mut self, moved: &StreamMoved) {
        let add = |[a, b]: [u64; 2], [c, d]: [u64; 2]| [a.saturating_add(c), b.saturating_add(d)];
        self.bytes = add(self.bytes, [moved.request_bytes, moved.response_bytes]);
        let both = self.messages.zip(moved.messages);
        self.messages = both.map(|(before, more)| add(before, more));
    }

    /// As outputs read it.
    pub(super) fn logged(
        &self,
        text: &Text,
        tgid: u32,
        named: &Named,
        clock: Clock,
        ended: Option<StreamEnded>,
    ) -> LoggedStream {
        LoggedStream {
            id: self.number,
            endpoint: Arc::clone(&named.id),
            key: Arc::clone(&named.key),
            kind: self.kind,
            method: text.method().to_owned(),
            path: if named.key.protocol.has_routes() {
                text.shown_path()
            } else {
                text.path().to_owned()
            },
            host: text.host().map(str::to_owned),
            request_id: text.request_id().map(str::to_owned),
            peer: self.peer,
            client: self.client,
            tgid,
            since_ns: self.since_ns,
            since_wall_ns: clock.wall_ns(self.since_ns),
            bytes: self.bytes,
            messages: self.messages,
            ended,
            ended_wall_ns: ended.map_or(0, |ended| clock.wall_ns(ended.at_ns)),
        }
    }
}

/// Which streams there are.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Tickets by the number of the exchange.
    open: BTreeMap<u64, u32>,
    /// With the number of the endpoint; newest last.
    closed: VecDeque<(u32, Arc<LoggedStream>)>,
    shared: Arc<StreamLog>,
}

impl Streams {
    pub(super) fn opened(&mut self, number: u64, ticket: u32) {
        self.open.insert(number, ticket);
    }

    pub(super) fn ended(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// Keeps one that ended.
    pub(super) fn keep(&mut self, endpoint: u32, stream: LoggedStream) {
        if self.closed.len() == KEPT {
            self.closed.pop_front();
        }
        self.closed.push_back((endpoint, Arc::new(stream)));
    }

    /// As outputs read them; `open` tells of one by its ticket.
    pub(super) fn snapshot(&mut self, open: impl Fn(u32) -> Option<LoggedStream>) -> Arc<StreamLog> {
        if self.open.is_empty() && self.closed.is_empty() {
            return Arc::clone(&self.shared);
        }
        let tickets = self.open.values().take(LISTED);
        self.shared = Arc::new(StreamLog {
            open: tickets.filter_map(|ticket| open(*ticket)).map(Arc::new).collect(),
            closed: self.closed.iter().map(|(_, stream)| Arc::clone(stream)).collect(),
        });
        Arc::clone(&self.shared)
    }

    /// Endpoints were merged: `moved` gives the new number of each old one.
    pub(super) fn moved(&mut self, moved: &[u32], named: impl Fn(u32) -> Named) {
        for (endpoint, stream) in &mut self.closed {
            *endpoint = moved[*endpoint as usize];
            let Named { id, key, .. } = named(*endpoint);
            let stream = Arc::make_mut(stream);
            stream.endpoint = id;
            stream.key = key;
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let logged = |stream: &LoggedStream| {
            let texts = stream.method.capacity() + stream.path.capacity();
            size_of::<LoggedStream>() + texts + text(&stream.host) + text(&stream.request_id)
        };
        let closed = self.closed.iter().map(|(_, stream)| logged(stream)).sum::<usize>();
        let open = self.shared.open.iter().map(|stream| logged(stream)).sum::<usize>();
        // A map's node holds some more than is in it.
        closed + open + self.open.len() * 2 * size_of::<(u64, u32)>()
    }
}
