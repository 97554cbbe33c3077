//! Events: decoded records in the program's own types. Borrowed from the record's bytes; nothing is copied here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use perf_common::function::FunctionCounts;
use perf_common::record::{
    self, DecodeError, Record, change, direction, exit, family, flag, function_sort, function_state, open_flag, origin,
};

/// Which way bytes went, from the observed process's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The process read them from the socket.
    Received,
    /// The process wrote them to the socket.
    Sent,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Received => Self::Sent,
            Self::Sent => Self::Received,
        }
    }
}

/// Bytes moved on a connection (a data record).
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a segment, each read on its own"
)]
pub struct Segment<'a> {
    /// The connection's id.
    pub connection: u64,
    /// Which way.
    pub direction: Direction,
    /// When the bytes had moved; for a folded segment, when the last of them had.
    pub at_ns: u64,
    /// When the oldest unread byte became readable in the socket.
    pub arrival_ns: Option<u64>,
    /// Position behind the segment in its direction's byte stream, modulo 2^32.
    pub position_end: u32,
    /// Bytes moved. 0 only together with `end_of_stream` or for a folded report without news.
    pub length: u32,
    /// The first bytes, as many as were captured: `bytes.len() <= length`. With `pieces`, see [`Segment::parts`].
    pub bytes: &'a [u8],
    /// What was captured are pieces of the segment, not its beginning.
    pub pieces: bool,
    /// The segment's last bytes where they are known: up to 8, fewer if the segment is shorter or only the last piece of
    /// it was found.
    pub tail: Option<&'a [u8]>,
    /// Stands for many segments of which only the sum is known.
    pub folded: bool,
    /// `length` is what the process asked to send, not what was sent: the next position tells.
    pub asked: bool,
    /// The peer ended its direction (a read returned 0).
    pub end_of_stream: bool,
    /// Process that moved them.
    pub tgid: u32,
    /// Thread that moved them; with the highest bit, the goroutine or coroutine that ran on it, by a part of its address.
    pub tid: u32,
}

impl<'a> Segment<'a> {
    /// What was captured, in order: bytes of the segment that were not, and bytes behind them that were.
    pub fn parts(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let mut rest = self.bytes;
        let mut whole = !self.pieces && !rest.is_empty();
        let pieces = self.pieces;
        std::iter::from_fn(move || {
            if !pieces {
                return std::mem::take(&mut whole).then(|| (0, std::mem::take(&mut rest)));
            }
            let (missing, after) = rest.split_first_chunk()?;
            let (length, after) = after.split_first_chunk()?;
            let length = u32::from_le_bytes(*length) as usize;
            let (bytes, after) = after.split_at_checked(length)?;
            rest = after;
            Some((u32::from_le_bytes(*missing), bytes))
        })
    }

    /// Its first bytes, as far as they were captured.
    pub fn beginning(&self) -> &'a [u8] {
        match self.parts().next() {
            Some((0, bytes)) => bytes,
            _ => &[],
        }
    }
}

/// A datagram moved that looks like DNS.
#[derive(Clone, Debug)]
pub struct Datagram<'a> {
    /// Kernel address of the socket, which may be another one's later.
    pub socket: u64,
    /// Which way.
    pub direction: Direction,
    /// When.
    pub at_ns: u64,
    /// Its bytes.
    pub length: u32,
    /// The first ones, as many as were captured.
    pub bytes: &'a [u8],
    /// The process's own end; its address may be unspecified.
    pub local: SocketAddr,
    /// The peer's end. Not known of what a socket received that is not connected.
    pub remote: Option<SocketAddr>,
    /// Process that moved it.
    pub tgid: u32,
    /// Thread that moved it, as in [`Segment::tid`].
    pub tid: u32,
    /// The thread's name, NUL-padded.
    comm: [u8; record::COMM_BYTES],
}

impl<'a> Datagram<'a> {
    fn of(record: &record::DatagramRecord, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let end = |bytes, port| SocketAddr::new(address(bytes), port);
        Ok(Self {
            socket: record.socket,
            direction: match record.direction {
                direction::RECEIVED => Direction::Received,
                direction::SENT => Direction::Sent,
                _ => return Err(DecodeError::Length),
            },
            at_ns: record.header.at_ns,
            length: record.length,
            bytes,
            local: end(record.local_address, record.local_port),
            remote: (record.remote_port != 0).then(|| end(record.remote_address, record.remote_port)),
            tgid: record.tgid,
            tid: record.tid,
            comm: record.comm,
        })
    }

    /// The thread's name.
    pub fn comm(&self) -> String {
        until_nul(&self.comm)
    }
}

/// A process began a TLS handshake as a client.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// The process.
    pub tgid: u32,
    /// When.
    pub at_ns: u64,
    /// The process's own end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The first bytes that it sent, as many as were captured.
    pub bytes: &'a [u8],
    /// The thread's name, NUL-padded.
    comm: [u8; record::COMM_BYTES],
}

impl<'a> Hello<'a> {
    fn of(record: &record::HelloRecord, bytes: &'a [u8]) -> Self {
        Self {
            tgid: record.tgid,
            at_ns: record.header.at_ns,
            local: SocketAddr::new(address(record.local_address), record.local_port),
            remote: SocketAddr::new(address(record.remote_address), record.remote_port),
            bytes,
            comm: record.comm,
        }
    }

    /// The thread's name.
    pub fn comm(&self) -> String {
        until_nul(&self.comm)
    }
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// IPv4 or IPv6; v4-mapped addresses are given as IPv4.
    Inet {
        /// The process's own end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// A Unix stream socket, with the listener's path (`@name` for an abstract one), empty if unnamed.
    Unix {
        /// The listener's path.
        path: String,
    },
    /// Not known: the open record was lost, or it is a TLS session whose socket is not known (yet).
    Unknown,
}

/// A connection came into view (an open record).
#[derive(Clone, Debug)]
pub struct Open {
    /// The connection's id.
    pub connection: u64,
    /// When it came into view.
    pub at_ns: u64,
    /// Kernel address of the socket, for questions to the kernel side.
    pub socket: u64,
    /// Process that moved the first bytes seen.
    pub tgid: u32,
    /// Where it goes.
    pub peers: Peers,
    /// True if the first byte of both directions was seen; false if it was joined later or that is not known.
    pub from_start: bool,
    /// The thread's name.
    pub comm: String,
    /// What is told of it is the plaintext of a TLS session.
    pub tls: bool,
}

impl Open {
    fn of(open: &record::OpenRecord) -> Result<Self, DecodeError> {
        Ok(Self {
            connection: open.connection,
            at_ns: open.header.at_ns,
            socket: open.socket,
            tgid: open.tgid,
            peers: match open.family {
                family::UNIX => Peers::Unix {
                    path: unix_path(&open.unix_path[..open.unix_path_bytes as usize]),
                },
                family::INET | family::INET6 => Peers::Inet {
                    local: SocketAddr::new(address(open.local_address), open.local_port),
                    remote: SocketAddr::new(address(open.remote_address), open.remote_port),
                },
                family::UNKNOWN => Peers::Unknown,
                _ => return Err(DecodeError::Length),
            },
            from_start: open.origin == origin::FROM_START,
            comm: until_nul(&open.comm),
            tls: open.header.flags & open_flag::TLS != 0,
        })
    }
}

/// How a TCP connection's packets fare, see [`record::NetworkRecord`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Smoothed round-trip time, if one was measured.
    pub rtt_us: Option<u32>,
    /// Its mean deviation.
    pub rtt_variance_us: u32,
    /// Segments sent again since the connection began.
    pub retransmits: u32,
    /// How long it took to connect, if this process did and it was seen.
    pub connect_us: Option<u32>,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The peer sent FIN; the process can still send.
    PeerClosed,
    /// The process closed or shut down its sending side.
    LocalClosed,
    /// The process closed with data unread, or without lingering.
    LocalAborted,
    /// Ended at once by the peer's RST or a time-out.
    Reset,
    /// The socket is gone.
    Destroyed,
    /// The socket is gone, and records of its last bytes or of how it went were lost.
    Forgotten,
}

/// A chosen function returned, or a static probe was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invoked {
    /// Number of the function.
    pub function: u32,
    /// Process that called it.
    pub tgid: u32,
    /// See [`Segment::tid`].
    pub tid: u32,
    /// When it was called; `None` if that is not known, or it lasts no time.
    pub began_ns: Option<u64>,
    /// When it returned.
    pub at_ns: u64,
}

/// What sort of function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionSort {
    /// Of C, C++, Rust and the like.
    Function,
    /// Of Go.
    GoFunction,
    /// A static probe.
    Probe,
    /// From one static probe to another.
    ProbePair,
}

/// Whether a function is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionState {
    /// Yes.
    Used,
    /// It cannot be.
    Unavailable,
    /// Not any more, since it cost too much.
    Disabled,
}

/// A function that the operator chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTold {
    /// Its number.
    pub function: u32,
    /// What sort of function it is.
    pub sort: FunctionSort,
    /// Whether it is observed.
    pub state: FunctionState,
    /// Why it is not.
    pub reason: Option<String>,
    /// What it is called.
    pub name: String,
    /// What was asked for.
    pub choice: String,
    /// The file that it is in.
    pub file: String,
    /// The symbols or static probes that it is made of.
    pub symbols: Vec<String>,
}

/// What was counted of a function since it is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCounted {
    /// Its number.
    pub function: u32,
    /// When.
    pub at_ns: u64,
    /// Invocations that have not returned.
    pub in_flight: u32,
    /// Estimate of what observing one costs, nanoseconds; 0 if it is not known.
    pub ns_per_call: u64,
    /// The sums.
    pub counts: FunctionCounts,
}

/// One decoded record.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Bytes moved.
    Segment(Segment<'a>),
    /// A connection came into view.
    Open(Box<Open>),
    /// A connection's state changed.
    State {
        /// The connection's id.
        connection: u64,
        /// When.
        at_ns: u64,
        /// How.
        change: Change,
    },
    /// How a connection's packets fare.
    Network {
        /// The connection's id.
        connection: u64,
        /// When.
        at_ns: u64,
        /// What its socket says.
        network: Network,
    },
    /// A task of a process begins to work for whom another one works (a hand-over record).
    Handover {
        /// The process.
        tgid: u32,
        /// When.
        at_ns: u64,
        /// Who hands over, as in [`Segment::tid`].
        from: u32,
        /// Who takes over.
        to: u32,
    },
    /// A datagram moved.
    Datagram(Datagram<'a>),
    /// A process began a TLS handshake as a client.
    Hello(Hello<'a>),
    /// A process ended (`executed: false`) or replaced its program.
    Exit {
        /// The process.
        tgid: u32,
        /// True for `execve`.
        executed: bool,
    },
    /// Who a process is.
    Process {
        /// The process.
        tgid: u32,
        /// The executable's path, empty if not known. Of a very long one the beginning is left out (`…/bin/curl`).
        exe: String,
        /// The control group's path from the root of the hierarchy, in the same way.
        cgroup: String,
    },
    /// Time went on.
    Tick {
        /// Monotonic nanoseconds.
        at_ns: u64,
        /// Nanoseconds since 1970.
        wall_ns: u64,
    },
    /// The kernel side's counters, little-endian `u64` values in the order of [`perf_common::counters::Counter`].
    Counters(&'a [u8]),
    /// A chosen function returned.
    Invoked(Invoked),
    /// Which function a number stands for.
    Function(Box<FunctionTold>),
    /// What was counted of a function.
    FunctionCounted(FunctionCounted),
}

impl<'a> Event<'a> {
    /// Decodes a record.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no record, or a number in it has no meaning.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(match record::decode(bytes)? {
            Record::Data(data, payload) => {
                let has = |bit: u16| data.header.flags & bit != 0;
                let known = (data.length as usize).min(record::TAIL_BYTES);
                // The tail's bytes lie right-aligned in the record at a fixed place; borrow them from there.
                let tail_end = size_of::<record::DataRecord>();
                Self::Segment(Segment {
                    connection: data.connection,
                    direction: match data.direction {
                        direction::RECEIVED => Direction::Received,
                        direction::SENT => Direction::Sent,
                        _ => return Err(DecodeError::Length),
                    },
                    at_ns: data.header.at_ns,
                    arrival_ns: (data.arrival_ns != 0).then_some(data.arrival_ns),
                    position_end: data.position_end,
                    length: data.length,
                    bytes: payload,
                    pieces: has(flag::PIECES),
                    tail: has(flag::TAIL).then(|| found(&bytes[tail_end - known..tail_end])),
                    folded: has(flag::FOLDED),
                    asked: has(flag::ASKED),
                    end_of_stream: has(flag::END_OF_STREAM),
                    tgid: data.tgid,
                    tid: data.tid,
                })
            }
            Record::Open(open) => Self::Open(Box::new(Open::of(&open)?)),
            Record::State(state) => Self::State {
                connection: state.connection,
                at_ns: state.header.at_ns,
                change: match state.change {
                    change::PEER_CLOSED => Change::PeerClosed,
                    change::LOCAL_CLOSED => Change::LocalClosed,
                    change::LOCAL_ABORTED => Change::LocalAborted,
                    change::RESET => Change::Reset,
                    change::DESTROYED => Change::Destroyed,
                    change::FORGOTTEN => Change::Forgotten,
                    _ => return Err(DecodeError::Length),
                },
            },
            Record::Network(record) => Self::Network {
                connection: record.connection,
                at_ns: record.header.at_ns,
                network: Network {
                    rtt_us: (record.rtt_us != 0).then_some(record.rtt_us),
                    rtt_variance_us: record.rtt_variance_us,
                    retransmits: record.retransmits,
                    connect_us: (record.connect_us != 0).then_some(record.connect_us),
                },
            },
            Record::Handover(record) => Self::Handover {
                tgid: record.tgid,
                at_ns: record.header.at_ns,
                from: record.from,
                to: record.to,
            },
            Record::Datagram(record, payload) => Self::Datagram(Datagram::of(&record, payload)?),
            Record::Hello(record, bytes) => Self::Hello(Hello::of(&record, bytes)),
            Record::Exit(record) => Self::Exit {
                tgid: record.tgid,
                executed: record.what == exit::EXECUTED,
            },
            Record::Process { tgid, exe, cgroup } => Self::Process {
                tgid,
                exe: path(exe),
                cgroup: path(cgroup),
            },
            Record::Tick(tick) => Self::Tick {
                at_ns: tick.header.at_ns,
                wall_ns: tick.wall_ns,
            },
            Record::Counters(_, values) => Self::Counters(values),
            Record::Invocation(record) => Self::Invoked(Invoked {
                function: record.function,
                tgid: record.tgid,
                tid: record.tid,
                began_ns: (record.began_ns != 0).then_some(record.began_ns),
                at_ns: record.header.at_ns,
            }),
            Record::Function(record, texts) => Self::Function(Box::new(function(&record, texts)?)),
            Record::FunctionCounts(record) => Self::FunctionCounted(FunctionCounted {
                function: record.function,
                at_ns: record.header.at_ns,
                in_flight: record.in_flight,
                ns_per_call: record.ns_per_call,
                counts: record.counts,
            }),
        })
    }
}

impl Segment<'_> {
    /// The same, all its moments later by this.
    #[inline]
    #[must_use]
    pub fn later_by(mut self, ns: u64) -> Self {
        self.at_ns = self.at_ns.saturating_add(ns);
        self.arrival_ns = self.arrival_ns.map(|arrival_ns| arrival_ns.saturating_add(ns));
        self
    }
}

impl Event<'_> {
    /// The same, all its moments later by this.
    #[must_use]
    pub fn later_by(mut self, ns: u64) -> Self {
        let at_ns = match &mut self {
            Self::Segment(segment) => {
                segment.arrival_ns = segment.arrival_ns.map(|arrival_ns| arrival_ns.saturating_add(ns));
                &mut segment.at_ns
            }
            Self::Open(open) => &mut open.at_ns,
            Self::State { at_ns, .. }
            | Self::Network { at_ns, .. }
            | Self::Handover { at_ns, .. }
            | Self::Tick { at_ns, .. } => at_ns,
            Self::Datagram(datagram) => &mut datagram.at_ns,
            Self::Hello(hello) => &mut hello.at_ns,
            Self::Invoked(invoked) => {
                invoked.began_ns = invoked.began_ns.map(|began_ns| began_ns.saturating_add(ns));
                &mut invoked.at_ns
            }
            Self::FunctionCounted(counted) => &mut counted.at_ns,
            Self::Exit { .. } | Self::Process { .. } | Self::Counters(_) | Self::Function(_) => return self,
        };
        *at_ns = at_ns.saturating_add(ns);
        self
    }
}

fn function(record: &record::FunctionRecord, texts: &[u8]) -> Result<FunctionTold, DecodeError> {
    // Each text is ended by a NUL, so behind the last one there is nothing.
    let mut texts = texts.strip_suffix(b"\0").unwrap_or(texts).split(|&byte| byte == 0);
    let mut text = || String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
    let [name, choice, file, reason] = [text(), text(), text(), text()];
    Ok(FunctionTold {
        function: record.function,
        sort: match record.sort {
            function_sort::FUNCTION => FunctionSort::Function,
            function_sort::GO_FUNCTION => FunctionSort::GoFunction,
            function_sort::PROBE => FunctionSort::Probe,
            function_sort::PROBE_PAIR => FunctionSort::ProbePair,
            _ => return Err(DecodeError::Length),
        },
        state: match record.state {
            function_state::USED => FunctionState::Used,
            function_state::UNAVAILABLE => FunctionState::Unavailable,
            function_state::DISABLED => FunctionState::Disabled,
            _ => return Err(DecodeError::Length),
        },
        reason: (!reason.is_empty()).then_some(reason),
        name,
        choice,
        file,
        symbols: texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect(),
    })
}

/// A tail without the bytes that the kernel side did not find: it leaves 0 there, before the last piece of a vector and
/// for all of what never was in the process's memory. A byte that was 0 is of no use to anybody either.
fn found(tail: &[u8]) -> &[u8] {
    let missing = tail.iter().take_while(|&&byte| byte == 0).count();
    &tail[missing..]
}

fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// The path that a process record's names make.
fn path(names: &[u8]) -> String {
    let whole = names.is_empty() || names == b"\0" || names.ends_with(b"\0\0");
    let mut path = String::from(if whole { "" } else { "…" });
    for name in names.rsplit(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    path
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A path as people write it: abstract names (first byte NUL) with `@`.
fn unix_path(bytes: &[u8]) -> String {
    match bytes.split_first() {
        Some((0, name)) if !name.is_empty() => format!("@{}", until_nul(name)),
        _ => until_nul(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_of_a_record_can_be_told_by_another_clock() {
        let tick = record::TickRecord::new(5, 7).to_bytes();
        let Ok(Event::Tick { at_ns, wall_ns }) = Event::decode(&tick).map(|event| event.later_by(100)) else {
            panic!("it is a tick");
        };
        assert_eq!((at_ns, wall_ns), (105, 7), "the wall clock's is none of them");
        let last = record::TickRecord::new(u64::MAX, 7).to_bytes();
        let Ok(Event::Tick { at_ns, .. }) = Event::decode(&last).map(|event| event.later_by(100)) else {
            panic!("it is a tick");
        };
        assert_eq!(at_ns, u64::MAX);
        let invoked = Event::Invoked(Invoked {
            function: 1,
            tgid: 1,
            tid: 1,
            began_ns: Some(3),
            at_ns: 4,
        });
        let Event::Invoked(invoked) = invoked.later_by(10) else {
            panic!("it was one");
        };
        assert_eq!((invoked.began_ns, invoked.at_ns), (Some(13), 14));
    }

    #[test]
    fn a_path_is_made_of_names_from_the_inside_out() {
        assert_eq!(path(b"curl\0bin\0usr\0\0"), "/usr/bin/curl");
        assert_eq!(path(b"init\0\0"), "/init");
        assert_eq!(path(b"nginx.service\0system.slice\0\0"), "/system.slice/nginx.service");
        assert_eq!(path(b"\0"), "", "the root itself");
        assert_eq!(path(b""), "", "not known");
        assert_eq!(path(b"curl\0bin\0"), "…/bin/curl", "longer than is read");
        assert_eq!(path(b"\xff\0\0"), "/\u{fffd}");
    }
}
