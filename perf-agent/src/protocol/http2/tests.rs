use super::*;
use crate::protocol::recorder::Recorder;
use fluke_hpack::Encoder;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Both ends of a connection, as what they send.
struct Peers {
    client: Encoder<'static>,
    server: Encoder<'static>,
}

impl Peers {
    fn new() -> Self {
        Self {
            client: Encoder::new(),
            server: Encoder::new(),
        }
    }

    fn headers(&mut self, half: Half, stream: u32, fields: &[(&str, &str)], ends: bool) -> Vec<u8> {
        let block = self.block(half, fields);
        let ends = if ends { flag::END_STREAM } else { 0 };
        frame(kind::HEADERS, flag::END_HEADERS | ends, stream, &block)
    }

    fn block(&mut self, half: Half, fields: &[(&str, &str)]) -> Vec<u8> {
        let encoder = match half {
            Half::Request => &mut self.client,
            Half::Response => &mut self.server,
        };
        encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "shop.example"),
            ("authorization", "Bearer hidden"),
            ("x-request-id", "r1"),
        ];
        self.headers(Half::Request, stream, &fields, true)
    }

    fn ok(&mut self, stream: u32, ends: bool) -> Vec<u8> {
        self.headers(Half::Response, stream, &[(":status", "200"), ("server", "x")], ends)
    }
}

/// A dissector and what it told. Each call is a millisecond later.
struct Run {
    dissector: Http2,
    sink: Recorder,
    now_ns: u64,
}

impl Run {
    fn new() -> Self {
        Self {
            dissector: Http2::new(),
            sink: Recorder::default(),
            now_ns: 0,
        }
    }

    /// Behind the preface and both peers' settings.
    fn begun() -> Self {
        let mut run = Self::new();
        run.request(&[&PREFACE[..], &frame(kind::SETTINGS, 0, 0, &[0; 6])].concat());
        run.response(&frame(kind::SETTINGS, 0, 0, &[]));
        run.now_ns = 0;
        run
    }

    fn request(&mut self, bytes: &[u8]) -> Verdict {
        self.bytes(Half::Request, bytes)
    }

    fn response(&mut self, bytes: &[u8]) -> Verdict {
        self.bytes(Half::Response, bytes)
    }

    fn bytes(&mut self, half: Half, bytes: &[u8]) -> Verdict {
        self.now_ns += MS;
        let chunk = Chunk {
            half,
            bytes,
            at_ns: self.now_ns,
            arrival_ns: None,
            tgid: 1,
            tid: 1,
        };
        self.dissector.bytes(chunk, &mut self.sink)
    }

    fn gap(&mut self, half: Half, missing: u64, lost: bool) {
        self.now_ns += MS;
        let gap = Gap {
            half,
            missing,
            tail: None,
            at_ns: self.now_ns,
            lost,
            tgid: 1,
            tid: 1,
        };
        self.dissector.gap(gap, &mut self.sink);
    }

    fn streams(&self) -> Vec<String> {
        let mut lines = self.sink.streams();
        for line in &mut lines {
            *line = line.replace("000000", "");
        }
        lines
    }

    /// Times in milliseconds, for the eye.
    fn lines(&self) -> Vec<String> {
        let mut lines = self.sink.lines();
        for line in &mut lines {
            *line = line.replace("000000", "");
        }
        lines
    }
}

#[test]
fn interleaved_streams_are_exchanges_of_their_own() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    run.request(&[peers.get(1, "/a?token=hidden&page=2#x"), peers.get(3, "/b")].concat());
    let body = |stream, ends| frame(kind::DATA, ends, stream, b"hello");
    let interleaved = [peers.ok(3, false), peers.ok(1, false), body(3, 0), body(1, 1)].concat();
    run.response(&interleaved);
    run.response(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]));
    run.response(&body(3, 1));
    assert_eq!(
        run.lines(),
        ["GET /a 200 answered 1..1 2..2", "GET /b 200 answered 1..1 2..4"]
    );
    assert_eq!(run.sink.told[0].query, "token&page");
    assert_eq!(run.sink.told[0].host.as_deref(), Some("shop.example"));
    assert_eq!(run.sink.told[1].request_id.as_deref(), Some("r1"));
    assert_eq!(run.sink.losses, []);
    let bytes = run.sink.told[1].ended.unwrap();
    assert_eq!(bytes.response_bytes, 14 + 14 + peers_ok_bytes());
}

/// Bytes of [`Peers::ok`], the second time or later and so from the table, its frame header included.
fn peers_ok_bytes() -> u64 {
    let mut peers = Peers::new();
    peers.ok(1, false).len() as u64
}

#[test]
fn heads_in_pieces_padding_priority_and_trailers() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    let block = peers.block(Half::Request, &[(":method", "POST"), (":path", "/pkg.Service/Call")]);
    let (first, rest) = block.split_at(3);
    let padded = [&[4, 0, 0, 0, 0, 16], first, &[0; 4]].concat();
    let flags = flag::PADDED | flag::PRIORITY;
    run.request(&frame(kind::HEADERS, flags, 1, &padded));
    run.request(&frame(kind::CONTINUATION, 0, 1, &rest[..2]));
    run.request(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &rest[2..]));
    run.request(&frame(kind::DATA, flag::END_STREAM, 1, b"body"));
    run.response(&peers.headers(Half::Response, 1, &[(":status", "103"), ("link", "x")], false));
    run.response(&peers.ok(1, false));
    run.response(&peers.headers(Half::Response, 1, &[("x-checksum", "0")], true));
    assert_eq!(run.lines(), ["POST /pkg.Service/Call 200 answered 1..4 6..7"]);
    assert_eq!(run.sink.losses, []);
}

impl Peers {
    /// A gRPC request and its one message.
    fn call(&mut self, stream: u32, method: &str) -> Vec<u8> {
        let fields = [
            (":method", "POST"),
            (":path", method),
            ("te", "trailers"),
            ("content-type", "application/grpc+proto"),
        ];
        let head = self.headers(Half::Request, stream, &fields, false);
        [head, frame(kind::DATA, flag::END_STREAM, stream, b"\0\0\0\0\x01x")].concat()
    }

    fn grpc_head(&mut self, stream: u32, status: &str) -> Vec<u8> {
        let fields = [(":status", status), ("content-type", "application/grpc")];
        self.headers(Half::Response, stream, &fields, false)
    }
}

#[test]
fn a_grpc_call_has_its_own_status() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    run.request(&peers.call(1, "/shop.Cart/Get"));
    run.response(&peers.grpc_head(1, "200"));
    run.response(&frame(kind::DATA, 0, 1, b"\0\0\0\0\x01x"));
    run.response(&peers.headers(Half::Response, 1, &[("grpc-status", "0")], true));
    // Trailers only.
    run.request(&peers.call(3, "/shop.Cart/Get"));
    let refusal = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "14"),
    ];
    run.response(&peers.headers(Half::Response, 3, &refusal, true));
    assert_eq!(
        run.lines(),
        [
            "POST /shop.Cart/Get 0 answered 1..1 2..4",
            "POST /shop.Cart/Get 14 answered 5..5 6..6",
        ]
    );
    assert!(run.sink.told.iter().all(|told| told.protocol == "grpc"));
}

/// What a call to a server that answers with this HTTP status, and these trailers, comes to.
#[track_caller]
fn check_grpc_status(http: &str, trailers: Option<&[(&str, &str)]>, expected: Option<u16>) {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    run.request(&peers.call(1, "/s/m"));
    run.response(&peers.grpc_head(1, http));
    match trailers {
        Some(trailers) => run.response(&peers.headers(Half::Response, 1, trailers, true)),
        None => run.response(&frame(kind::DATA, flag::END_STREAM, 1, b"")),
    };
    let ended = run.sink.told[0].ended.unwrap();
    assert_eq!(
        (ended.outcome, ended.status),
        (Outcome::Answered, expected),
        "{http} {trailers:?}"
    );
}

#[test]
fn a_grpc_status_that_is_missing_follows_from_http_or_is_unknown() {
    check_grpc_status("200", Some(&[("grpc-status", "5")]), Some(5));
    check_grpc_status("503", Some(&[("grpc-status", "0")]), Some(0));
    check_grpc_status("200", None, None);
    check_grpc_status("200", Some(&[("grpc-message", "x")]), None);
    check_grpc_status("200", Some(&[("grpc-status", "five")]), None);
    let mapped = [
        ("400", 13),
        ("401", 16),
        ("403", 7),
        ("404", 12),
        ("429", 14),
        ("500", 2),
        ("502", 14),
        ("503", 14),
        ("504", 14),
        ("302", 2),
    ];
    for (http, grpc) in mapped {
        check_grpc_status(http, None, Some(grpc));
    }
}

#[test]
fn a_grpc_status_that_cannot_be_read_is_not_invented() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    // Inserted unseen: the trailers refer to it afterwards.
    peers.headers(Half::Response, 99, &[("grpc-status", "7")], true);
    run.dissector.response.table.forget();
    run.request(&peers.call(1, "/s/m"));
    run.response(&peers.grpc_head(1, "503"));
    run.response(&peers.headers(Half::Response, 1, &[("grpc-status", "7")], true));
    let ended = run.sink.told[0].ended.unwrap();
    assert_eq!((ended.outcome, ended.status), (Outcome::Answered, None));
    assert_eq!(run.sink.losses, [Loss::FieldUnknown]);
}

#[test]
fn what_is_grpc_says_its_content_type() {
    for (content_type, expected) in [
        ("application/grpc", "grpc"),
        ("application/grpc+proto", "grpc"),
        ("Application/gRPC;x=y", "grpc"),
        ("application/grpc-web+proto", "http/2"),
        ("application/grpcx", "http/2"),
        ("application/json", "http/2"),
        ("", "http/2"),
    ] {
        let (mut peers, mut run) = (Peers::new(), Run::begun());
        let fields = [(":method", "POST"), (":path", "/s/m"), ("content-type", content_type)];
        run.request(&peers.headers(Half::Request, 1, &fields, true));
        assert_eq!(run.sink.told[0].protocol, expected, "{content_type}");
    }
}

#[test]
fn resets_and_goaway_say_who_gave_up() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    for (stream, path) in [(1, "/a"), (3, "/b"), (5, "/c"), (7, "/d")] {
        run.request(&peers.get(stream, path));
    }
    run.request(&frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    run.response(&frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 2]));
    run.response(&frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0]));
    run.response(&peers.ok(5, true));
    run.response(&frame(kind::RST_STREAM, 0, 5, &[0, 0, 0, 0])); // answered already
    assert_eq!(
        run.lines(),
        [
            "GET /a - client_aborted 1..1 -..5",
            "GET /b - server_closed 2..2 -..6",
            "GET /c 200 answered 3..3 8..8",
            "GET /d - server_closed 4..4 -..7",
        ]
    );
}

#[test]
fn a_client_that_has_what_was_promised_may_leave_before_the_stream_ends() {
    let ended = |method: &str, length: &str, body: usize, aborts: bool| {
        let (mut peers, mut run) = (Peers::new(), Run::begun());
        let fields = [(":method", method), (":path", "/a"), (":authority", "x")];
        run.request(&peers.headers(Half::Request, 1, &fields, true));
        let head = [(":status", "200"), ("content-length", length)];
        run.response(&peers.headers(Half::Response, 1, &head, false));
        run.response(&frame(kind::DATA, 0, 1, &vec![b'x'; body]));
        if aborts {
            run.request(&frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]));
        } else {
            let now_ns = run.now_ns + MS;
            let change = crate::event::Change::Reset;
            run.dissector.closed(Some(Half::Request), now_ns, change, &mut run.sink);
        }
        run.lines()
    };
    for aborts in [true, false] {
        assert_eq!(ended("GET", "5", 5, aborts), ["GET /a 200 answered 1..1 2..3"]);
        assert_eq!(ended("GET", "5", 4, aborts), ["GET /a 200 client_aborted 1..1 2..4"]);
        assert_eq!(ended("GET", "x", 5, aborts), ["GET /a 200 client_aborted 1..1 2..4"]);
        assert_eq!(ended("HEAD", "5", 0, aborts), ["HEAD /a 200 answered 1..1 2..3"]);
    }
}

#[test]
fn what_an_answer_says_of_caches_is_told() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    let answers: [(&str, &str, [u32; 2]); 5] = [
        ("age", "30", [1, 0]),
        ("x-cache", "MISS", [0, 1]),
        ("cf-cache-status", "HIT", [1, 0]),
        ("cache-status", "x; fwd=bypass", [0, 0]),
        ("cache-control", "max-age=30", [0, 0]),
    ];
    for (stream, (name, value, expected)) in (1..).step_by(2).zip(answers) {
        run.request(&peers.get(stream, "/a"));
        run.response(&peers.headers(Half::Response, stream, &[(":status", "200"), (name, value)], true));
        let tally = run.sink.told.last().and_then(|told| told.ended).expect("ended").tally;
        assert_eq!([tally.hits, tally.misses], expected, "{name}: {value}");
    }
}

#[test]
fn what_a_server_pushes_was_asked_for_by_nobody() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    run.request(&peers.get(1, "/"));
    let promised = peers.block(Half::Response, &[(":method", "GET"), (":path", "/style.css")]);
    let promise = [&[0, 0, 0, 2][..], &promised].concat();
    run.response(&frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &promise));
    run.response(&peers.ok(2, true));
    run.response(&peers.ok(1, true));
    assert_eq!(run.lines(), ["GET / 200 answered 1..1 4..4"]);
    assert_eq!(run.sink.losses, []);
}

#[test]
fn a_tunnel_is_answered_by_its_head() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    let fields = [(":method", "CONNECT"), (":authority", "db.example:5432")];
    run.request(&peers.headers(Half::Request, 1, &fields, false));
    run.response(&peers.ok(1, false));
    run.request(&frame(kind::DATA, 0, 1, b"anything"));
    run.response(&frame(kind::DATA, flag::END_STREAM, 1, b"anything"));
    assert_eq!(run.lines(), ["CONNECT db.example:5432 200 answered 1..1 2..2"]);
    assert_eq!(run.sink.in_flight(), 1, "the client may still send");
    run.request(&frame(kind::DATA, flag::END_STREAM, 1, b""));
    assert_eq!(run.streams(), ["tunnel answered 5 26+17"]);
}

#[test]
fn an_extended_connect_is_what_it_asks_for() {
    for (protocol, expected) in [("websocket", "websocket"), ("connect-udp", "upgrade")] {
        let (mut peers, mut run) = (Peers::new(), Run::begun());
        let fields = [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":path", "/chat"),
            (":authority", "a"),
        ];
        run.request(&peers.headers(Half::Request, 1, &fields, false));
        run.response(&peers.ok(1, false));
        run.response(&frame(kind::DATA, 0, 1, b"12345"));
        run.request(&frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]));
        assert_eq!(run.lines(), ["CONNECT /chat 200 answered 1..1 2..2"]);
        assert_eq!(run.streams(), [format!("{expected} client_aborted 4 0+14")]);
    }
}

#[test]
fn events_are_a_stream_until_the_answer_ends() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    run.request(&peers.get(1, "/events"));
    let fields = [(":status", "200"), ("content-type", "text/event-stream")];
    run.response(&peers.headers(Half::Response, 1, &fields, false));
    run.response(&frame(kind::DATA, 0, 1, b"data:1"));
    assert_eq!(run.streams(), ["event_stream open 0+15"]);
    run.response(&frame(kind::DATA, flag::END_STREAM, 1, b""));
    assert_eq!(run.lines(), ["GET /events 200 answered 1..1 2..2"]);
    assert_eq!(run.streams(), ["event_stream answered 4 0+24"]);
}

/// One step of a gRPC call.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// The client's message of so many bytes; it is the last one.
    Ask(usize, bool),
    Head,
    Answer(usize),
    /// Trailers.
    End,
    Wait(u64),
}

/// What a call comes to: its exchange, and the stream that it was.
#[track_caller]
fn check_call(steps: &[Call], exchange: &str, streams: &[&str]) {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    let fields = [
        (":method", "POST"),
        (":path", "/s/m"),
        ("content-type", "application/grpc"),
    ];
    run.request(&peers.headers(Half::Request, 1, &fields, false));
    for step in steps {
        match *step {
            Call::Ask(bytes, last) => run.request(&frame(kind::DATA, last.into(), 1, &vec![0; bytes])),
            Call::Head => run.response(&peers.grpc_head(1, "200")),
            Call::Answer(bytes) => run.response(&frame(kind::DATA, 0, 1, &vec![0; bytes])),
            Call::End => run.response(&peers.headers(Half::Response, 1, &[("grpc-status", "8")], true)),
            Call::Wait(ms) => {
                run.now_ns += ms * MS;
                continue;
            }
        };
    }
    assert_eq!(run.lines(), [exchange], "{steps:?}");
    assert_eq!(run.streams(), streams, "{steps:?}");
}

#[test]
fn a_grpc_call_is_a_stream_where_nothing_else_can_be() {
    use Call::{Answer, Ask, End, Head, Wait};
    // One message each way, however long it takes, and messages that come one upon the other.
    let unary = [Ask(9, true), Wait(5000), Head, Wait(5000), Answer(9), End];
    check_call(&unary, "POST /s/m 8 answered 1..2 5003..10005", &[]);
    let late_end = [Ask(9, false), Ask(0, true), Head, Answer(9), Answer(9), Answer(9), End];
    check_call(&late_end, "POST /s/m 8 answered 1..3 4..8", &[]);
    // A large message that waits for its window.
    let large = [Ask(9, true), Head, Answer(16_384), Wait(5000), Answer(9), End];
    check_call(&large, "POST /s/m 8 answered 1..2 3..5006", &[]);
    // The server's pauses.
    let serves = [Ask(9, true), Head, Answer(9), Wait(1000), Answer(9), End];
    let exchange = "POST /s/m - answered 1..2 3..3";
    check_call(&serves, exchange, &["grpc 8 answered 1006 0+42"]);
    check_call(
        &[Ask(9, true), Head, Answer(9), Wait(1000), Answer(9)],
        exchange,
        &["grpc open 0+18"],
    );
    check_call(
        &[Ask(9, true), Head, Answer(9), Wait(1000), End],
        exchange,
        &["grpc 8 answered 1005 0+0"],
    );
    // The client's pauses: until the answer begins it is an exchange in flight.
    let asks = [Ask(9, false), Wait(1000), Ask(9, true)];
    check_call(&asks, "POST /s/m in flight", &[]);
    let asks = [&asks[..], &[Head, Answer(9), End]].concat();
    check_call(
        &asks,
        "POST /s/m - answered 1..1003 1004..1004",
        &["grpc 8 answered 1006 0+42"],
    );
    // Both at once.
    let both = [
        Ask(9, false),
        Head,
        Answer(9),
        Wait(10),
        Ask(9, false),
        Answer(9),
        Ask(9, true),
        End,
    ];
    check_call(&both, "POST /s/m - answered 1..3 3..3", &["grpc 8 answered 18 18+42"]);
}

#[test]
fn bodies_that_were_not_captured_are_no_loss() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    run.request(&peers.get(1, "/file"));
    run.response(&peers.ok(1, false));
    for (ends, captured) in [(0, 0), (0, 5), (1, 9)] {
        let data = frame(kind::DATA, ends, 1, &[7; 10_000]);
        run.response(&data[..HEADER_BYTES + captured]);
        run.gap(Half::Response, 10_000 - captured as u64, false);
    }
    run.response(&peers.ok(3, true));
    assert_eq!(run.lines(), ["GET /file 200 answered 1..1 2..8"]);
    let bytes = run.sink.told[0].ended.unwrap().response_bytes;
    assert_eq!(bytes, peers_ok_bytes() + 3 * 10_009);
}

#[test]
fn a_head_that_was_not_captured_is_unknown_and_what_comes_later_is_not() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    let unseen = peers.get(1, "/unseen");
    run.request(&unseen[..HEADER_BYTES]);
    run.gap(Half::Request, (unseen.len() - HEADER_BYTES) as u64, false);
    run.response(&peers.ok(1, true));
    // Its path is new, so it is a literal; the request id refers to what was inserted unseen.
    run.request(&peers.get(3, "/later"));
    run.response(&peers.ok(3, true));
    assert_eq!(
        run.lines(),
        [
            "(unknown) (unknown) 200 answered 1..2 3..3",
            "GET /later 200 answered 4..4 5..5"
        ]
    );
    assert_eq!(run.sink.told[1].request_id, None);
    assert_eq!(run.sink.losses, [Loss::HeadCut, Loss::FieldUnknown]);
}

#[test]
fn after_lost_frames_it_goes_on_where_frames_begin() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    run.request(&peers.get(1, "/a"));
    run.gap(Half::Response, 500, true);
    run.response(b"in the middle of something");
    run.request(&peers.get(3, "/b"));
    run.response(&peers.ok(3, true));
    assert_eq!(
        run.lines(),
        ["GET /a - unknown 1..1 -..2", "GET /b 200 answered 4..4 5..5"]
    );
}

#[test]
fn an_answer_whose_request_comes_a_moment_later_is_paired() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    let (request, response) = (peers.get(1, "/"), peers.ok(1, true));
    run.response(&response);
    run.request(&request);
    assert_eq!(run.sink.told.len(), 1);
    assert_eq!(run.sink.told[0].ended.unwrap().outcome, Outcome::Answered);
    // One whose request never comes is counted once there is another.
    run.response(&peers.ok(3, true));
    run.response(&peers.ok(5, true));
    assert_eq!(run.sink.losses, [Loss::ResponseWithoutRequest]);
}

#[test]
fn who_closes_first_is_the_one_who_did() {
    for (half, outcome) in [
        (Half::Request, Outcome::ClientAborted),
        (Half::Response, Outcome::ServerClosed),
    ] {
        let (mut peers, mut run) = (Peers::new(), Run::begun());
        run.request(&peers.get(1, "/"));
        run.dissector.closed(Some(half), 5 * MS, Change::Reset, &mut run.sink);
        assert_eq!(run.sink.told[0].ended.unwrap().outcome, outcome);
    }
}

#[test]
fn another_protocol_is_left_alone() {
    let mut run = Run {
        dissector: Http2::new(),
        sink: Recorder::default(),
        now_ns: 0,
    };
    assert_eq!(run.request(b"PRI * HTTP/2.0\r\n\r\nXX"), Verdict::Opaque);
    assert_eq!(
        detect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Direction::Sent),
        Some(Direction::Sent)
    );
    assert_eq!(detect(b"PRI * HT", Direction::Received), Some(Direction::Received));
    assert_eq!(detect(b"PRINT / HTTP/1.1", Direction::Sent), None);
}

#[test]
fn frames_without_a_preface_are_those_of_a_half_that_a_header_block_tells() {
    let mut peers = Peers::new();
    let (ask, answer) = (peers.get(1, "/a"), peers.ok(1, false));
    let update = frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]);
    let data = frame(kind::DATA, 0, 1, b"hello");
    for (bytes, expected) in [
        (ask.clone(), Some(Half::Request)),
        (answer.clone(), Some(Half::Response)),
        ([&update[..], &ask, &data[..12]].concat(), Some(Half::Request)),
        ([&data[..], &answer, &ask].concat(), Some(Half::Response)),
        ([&answer[..], &data, b"GET / HTTP/1.1"].concat(), None),
        (ask[..ask.len() - 1].to_vec(), None),
        (update.clone(), None),
        ([&data[..], &update].concat(), None),
        (frame(kind::HEADERS, flag::END_HEADERS, 1, b"\xbe\xbf"), None),
        (frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x80"), None),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), None),
        (vec![0; 100], None),
    ] {
        assert_eq!(half_of_frames(&bytes), expected, "{}", bytes.escape_ascii());
        let requests = expected.map(|half| {
            if half == Half::Request {
                Direction::Sent
            } else {
                Direction::Received
            }
        });
        assert_eq!(detect(&bytes, Direction::Sent), requests);
    }
}

#[test]
fn a_connection_that_was_there_before_is_joined_with_what_can_be_known() {
    let (mut peers, mut run) = (Peers::new(), Run::new());
    // Went by unseen: the tables are not known, and what was asked is not counted.
    peers.get(1, "/before");
    peers.headers(Half::Response, 1, &[(":status", "201"), ("server", "x")], false);
    run.request(&peers.get(3, "/a"));
    run.response(&frame(kind::DATA, flag::END_STREAM, 1, b"the rest"));
    run.response(&peers.ok(3, true));
    // Path and status by entries that were inserted unseen.
    run.request(&frame(
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        5,
        b"\x82\xfe",
    ));
    run.response(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 5, b"\xfe"));
    assert_eq!(
        run.lines(),
        ["GET /a 200 answered 1..1 3..3", "GET (unknown) - unknown 4..4 5..5"]
    );
    assert_eq!(run.sink.told[0].request_id, None);
    let unknown = |loss: &Loss| *loss == Loss::FieldUnknown;
    assert!(run.sink.losses.len() >= 3 && run.sink.losses.iter().all(unknown));
    // One that begins with an answer, and in the middle of a frame of the other half.
    let (mut peers, mut run) = (Peers::new(), Run::new());
    run.response(&peers.ok(1, true));
    run.request(b"the rest of a body");
    run.request(&peers.get(3, "/b"));
    run.response(&peers.ok(3, true));
    assert_eq!(run.lines(), ["GET /b 200 answered 3..3 4..4"]);
    assert_eq!(run.sink.losses, []);
}

/// RFC 7541, C.4: three requests with Huffman coding on one connection.
#[test]
fn the_specifications_header_blocks_are_read() {
    let blocks: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    let mut table = Table::new();
    let mut read = |block: &[u8]| {
        let mut fields = Fields::default();
        table
            .read(block, &NOTHING, |field, value| fields.take(field, value))
            .unwrap();
        [fields.method, fields.path, fields.authority].map(|place| fields.text(place).map(str::to_owned))
    };
    let expected = |path: &str| ["GET", path, "www.example.com"].map(|text| Some(text.to_owned()));
    assert_eq!(read(blocks[0]), expected("/"));
    assert_eq!(read(blocks[1]), expected("/"));
    assert_eq!(read(blocks[2]), expected("/index.html"));
}

#[test]
fn no_credential_lies_in_the_table() {
    let (mut peers, mut run) = (Peers::new(), Run::begun());
    run.request(&peers.get(1, "/a?token=hidden"));
    assert!(!format!("{:?}", run.dissector).contains("hidden"));
    let bytes: Vec<u8> = b"hidden".to_vec();
    assert!(!format!("{:?}", run.dissector).contains(&format!("{bytes:?}").replace(['[', ']'], "")));
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        ":path",
        "host",
        "x-request-id",
        "cookie",
        "x-other",
        "content-type",
    ])
}

proptest! {
    /// An encoder that we did not write says the same as our table reads, block after block.
    #[test]
    fn blocks_of_another_encoder_are_read(
        blocks in prop::collection::vec(prop::collection::vec((name(), "[a-zA-Z0-9/._~-]{0,60}"), 0..8), 1..20),
    ) {
        let (mut encoder, mut table) = (Encoder::new(), Table::new());
        for fields in blocks {
            let block = encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            let mut seen = Vec::new();
            let read = table.read(&block, &NOTHING, |field, value| seen.push((field, value.to_vec())));
            prop_assert_eq!(read, Ok(()));
            let expected: Vec<_> = fields
                .iter()
                .map(|(name, value)| match *name {
                    ":path" => (Field::Path, value.clone().into_bytes()),
                    "host" => (Field::Host, value.clone().into_bytes()),
                    "x-request-id" => (Field::RequestId, value.clone().into_bytes()),
                    "content-type" => (Field::ContentType, value.clone().into_bytes()),
                    _ => (Field::Other, Vec::new()),
                })
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }

    /// Blocks that were missed make fields unknown, and never other ones.
    #[test]
    fn after_missed_blocks_nothing_is_taken_for_something_else(
        blocks in prop::collection::vec((prop::collection::vec((name(), "[a-f]{0,3}"), 0..6), any::<bool>()), 1..20),
    ) {
        let (mut encoder, mut table) = (Encoder::new(), Table::new());
        for (fields, missed) in blocks {
            let block = encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            if missed {
                table.forget();
                continue;
            }
            let mut seen = Vec::new();
            prop_assert_eq!(table.read(&block, &NOTHING, |field, value| seen.push((field, value.to_vec()))), Ok(()));
            prop_assert_eq!(seen.len(), fields.len());
            for ((field, value), (name, sent)) in seen.into_iter().zip(&fields) {
                prop_assert!(field == Field::Unknown || field == Field::of(name.as_bytes()), "{:?} of {}", field, name);
                prop_assert!(!field.is_kept() || value == sent.as_bytes());
            }
        }
    }

    #[test]
    fn any_bytes_at_all_are_frames_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        half_of_frames(&bytes);
        half_of_frames(&frame(kind::HEADERS, flag::END_HEADERS, 1, &bytes));
    }

    #[test]
    fn any_block_at_all_is_read_or_refused(block in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut table = Table::new();
        for _ in 0..3 {
            let _malformed = table.read(&block, &NOTHING, |_, _| {});
        }
        prop_assert!(table.heap_bytes() < 64 * 1024);
    }

    /// However the bytes are cut, the exchanges are the same.
    #[test]
    fn any_chunking_gives_the_same_exchanges(
        paths in prop::collection::vec("/[a-z0-9]{0,20}", 1..12),
        order in any::<u64>(),
        cuts in prop::collection::vec(1usize..40, 1..10),
    ) {
        let mut peers = Peers::new();
        let (mut requests, mut responses) = (Vec::new(), Vec::new());
        for (number, path) in paths.iter().enumerate() {
            requests.extend(peers.get(u32::try_from(number * 2 + 1).unwrap(), path));
        }
        let mut ids: Vec<u32> = (0..u32::try_from(paths.len()).unwrap()).map(|number| number * 2 + 1).collect();
        let turn = usize::try_from(order % 64).unwrap() % ids.len();
        ids.rotate_left(turn);
        for id in &ids {
            responses.extend(peers.ok(*id, false));
        }
        for id in ids.iter().rev() {
            responses.extend(frame(kind::DATA, flag::END_STREAM, *id, &[b'x'; 100]));
        }
        let told = |cuts: &[usize]| {
            let mut run = Run::begun();
            for (half, bytes) in [(Half::Request, &requests), (Half::Response, &responses)] {
                let mut rest = &bytes[..];
                let mut cuts = cuts.iter().cycle();
                while !rest.is_empty() {
                    let (now, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                    run.bytes(half, now);
                    rest = after;
                }
            }
            assert_eq!(run.sink.losses, []);
            run.sink
                .told
                .iter()
                .map(|told| {
                    let ended = told.ended.expect("it was answered");
                    (told.path.clone(), ended.status, ended.outcome, ended.request_bytes, ended.response_bytes)
                })
                .collect::<Vec<_>>()
        };
        let whole = told(&[usize::MAX]);
        prop_assert_eq!(whole.iter().map(|told| told.0.clone()).collect::<Vec<_>>(), paths);
        prop_assert_eq!(told(&cuts), whole);
    }
}

#[test]
fn what_is_no_method_is_none() {
    for method in ["GE T", "GE\u{1b}[31mT", "", "h\u{e9}"] {
        let (mut peers, mut run) = (Peers::new(), Run::begun());
        let fields = [(":method", method), (":path", "/a"), (":authority", "x")];
        run.request(&peers.headers(Half::Request, 1, &fields, true));
        run.response(&peers.ok(1, true));
        assert!(run.lines()[0].starts_with("(unknown) /a 200"), "{:?}", run.lines());
    }
}
