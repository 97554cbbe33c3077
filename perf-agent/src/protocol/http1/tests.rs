//! Each test is a wire dump: what went, in which direction, and what must be told of it. A step's number is its time.

use super::queue::MAX_PENDING;
use super::*;
use crate::protocol::recorder::Recorder;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    /// The client's bytes, captured.
    Q(&'a str),
    /// The server's bytes, captured.
    A(&'a str),
    /// Bytes left out by the kernel side: how many, and the last ones.
    Unseen(Half, u64, &'a str),
    /// Bytes whose records were lost.
    Lost(Half, u64),
    /// The half's sender closed.
    Close(Half, Change),
    /// So many nanoseconds pass.
    Wait(u64),
}

use Change::{Destroyed, LocalClosed, PeerClosed, Reset};
use Half::{Request as Req, Response as Res};
use Loss::{FramingUnknown, HeadCut, Malformed, PipelineFull, ResponseWithoutRequest};
use Step::{A, Close, Lost, Q, Unseen, Wait};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn run_on(http: &mut Http1, now: &mut u64, steps: &[Step<'_>], sink: &mut Recorder) -> Verdict {
    let mut verdict = Verdict::Continue;
    for step in steps {
        *now += 1;
        let at_ns = *now;
        let chunk = |half, text: &'_ str| (half, text.as_bytes().to_vec());
        let (half, bytes) = match *step {
            Q(text) => chunk(Req, text),
            A(text) => chunk(Res, text),
            Unseen(half, missing, tail) => {
                let tail = (!tail.is_empty()).then_some(tail.as_bytes());
                verdict = http.gap(gap(half, missing, tail, at_ns, false), sink);
                continue;
            }
            Lost(half, missing) => {
                verdict = http.gap(gap(half, missing, None, at_ns, true), sink);
                continue;
            }
            Close(half, change) => {
                http.closed(Some(half), at_ns, change, sink);
                continue;
            }
            Wait(ns) => {
                *now += ns - 1;
                continue;
            }
        };
        let chunk = Chunk {
            half,
            bytes: &bytes,
            at_ns,
            arrival_ns: (half == Req).then_some(at_ns - 1),
            tgid: 1,
            tid: 2,
        };
        verdict = http.bytes(chunk, sink);
    }
    verdict
}

fn gap(half: Half, missing: u64, tail: Option<&[u8]>, at_ns: u64, lost: bool) -> Gap<'_> {
    Gap {
        half,
        missing,
        tail,
        at_ns,
        lost,
        tgid: 1,
        tid: 2,
    }
}

fn run(from_start: bool, steps: &[Step<'_>]) -> (Recorder, Verdict) {
    let mut sink = Recorder::default();
    let verdict = run_on(&mut Http1::new(from_start), &mut 0, steps, &mut sink);
    (sink, verdict)
}

/// Of a connection that began in view.
#[track_caller]
fn check(steps: &[Step<'_>], exchanges: &[&str], losses: &[Loss]) {
    let (sink, _) = run(true, steps);
    assert_eq!(sink.lines(), exchanges);
    assert_eq!(sink.losses, losses);
}

/// Of a connection that was there before.
#[track_caller]
fn check_joined(steps: &[Step<'_>], exchanges: &[&str], losses: &[Loss]) {
    let (sink, _) = run(false, steps);
    assert_eq!(sink.lines(), exchanges);
    assert_eq!(sink.losses, losses);
}

#[track_caller]
fn check_opaque(steps: &[Step<'_>], exchanges: &[&str]) {
    let (sink, verdict) = run(true, steps);
    assert_eq!(sink.lines(), exchanges);
    assert_eq!((verdict, &sink.losses[..]), (Verdict::Opaque, &[][..]));
}

#[test]
fn a_request_and_its_response_are_an_exchange() {
    check(
        &[Q("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"), A(OK)],
        &["GET /a 200 answered 1..1 2..2"],
        &[],
    );
}

#[test]
fn what_the_head_says_of_caches_is_told() {
    let exchange = |fields: &str| {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        let early = "HTTP/1.1 103 Early Hints\r\nAge: 9\r\n\r\n";
        let (sink, _) = run(true, &[Q("GET /a HTTP/1.1\r\nAge: 9\r\n\r\n"), A(early), A(&answer)]);
        let tally = sink.told[0].ended.expect("ended").tally;
        (tally.hits, tally.misses)
    };
    let hits = "Age: 7\r\n|age:7\r\n|X-Cache: Hit from cloudfront\r\n|x-cache-status: HIT\r\n|CF-Cache-Status: HIT\r\n\
        |Cache-Status: origin; fwd=miss,\r\n edge; hit\r\n|Cache-Status: a; fwd=miss\r\nCache-Status: b; hit\r\n";
    for fields in hits.split('|') {
        assert_eq!(exchange(fields), (1, 0), "{fields}");
    }
    for fields in ["X-CACHE: MISS\r\nAge: 7\r\n", "Cache-Status: x; fwd=uri-miss\r\n"] {
        assert_eq!(exchange(fields), (0, 1), "{fields}");
    }
    for fields in [
        "",
        "Cache-Control: max-age=9\r\nX-Cache-Hits: 1\r\n",
        "Age: 0\r\nAged: 9\r\n",
        "X-Cache: BYPASS\r\n",
    ] {
        assert_eq!(exchange(fields), (0, 0), "{fields}");
    }
}

#[test]
fn what_the_head_says_is_told() {
    let request = "GET http://me:secret@host:8/a?b=c HTTP/1.0\r\nhOST: other\r\nX-REQUEST-id: r-1\r\n\r\n";
    let (sink, _) = run(true, &[Q(request), A(OK)]);
    let told = &sink.told[0];
    assert_eq!((told.protocol, &*told.path, &*told.query), ("http/1.0", "/a", "b=c"));
    assert_eq!(
        (told.host.as_deref(), told.request_id.as_deref()),
        (Some("host:8"), Some("r-1"))
    );
    assert_eq!((told.first_ns, told.tid), (1, 2));
    let ended = told.ended.expect("ended");
    assert_eq!(
        (ended.times.arrival_ns, ended.times.queue_time_ns()),
        (Some(0), Some(1))
    );
    assert_eq!(
        (ended.request_bytes, ended.response_bytes),
        (request.len() as u64, OK.len() as u64)
    );
}

#[test]
fn credentials_survive_in_nothing_that_is_told() {
    let (sink, _) = run(
        true,
        &[
            Q("GET http://me:secret@host/ HTTP/1.1\r\nAuthorization: Basic c2VjcmV0\r\nCookie: secret\r\n\r\n"),
            A(OK),
            Q("CONNECT me:secret@host:1 HTTP/1.1\r\n\r\n"),
        ],
    );
    assert_eq!(sink.told.len(), 2);
    let all = format!("{:?}", sink.told);
    assert!(!all.contains("secret") && !all.contains("c2VjcmV0"), "{all}");
}

#[test]
fn keep_alive_gives_one_exchange_after_the_other_minutes_apart_or_not() {
    check(
        &[
            Q("GET /1 HTTP/1.1\r\n\r\n"),
            A(OK),
            Wait(600_000_000_000),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &[
            "GET /1 200 answered 1..1 2..2",
            "GET /2 200 answered 600000000003..600000000003 600000000004..600000000004",
        ],
        &[],
    );
}

#[test]
fn pipelined_requests_keep_their_order() {
    for depth in [2, 50, MAX_PENDING] {
        let requests: Vec<_> = (0..depth).map(|n| format!("GET /{n} HTTP/1.1\r\n\r\n")).collect();
        let answers: Vec<_> = (0..depth)
            .map(|n| {
                format!(
                    "HTTP/1.1 {} x\r\nContent-Length: {}\r\n\r\n{}",
                    400 + n,
                    n % 9,
                    "x".repeat(n % 9)
                )
            })
            .collect();
        let expected: Vec<_> = (0..depth)
            .map(|n| format!("GET /{n} {} answered 1..1 2..2", 400 + n))
            .collect();
        let (sink, _) = run(true, &[Q(&requests.concat()), A(&answers.concat())]);
        assert_eq!((sink.lines(), sink.losses), (expected, vec![]));
        assert!(
            sink.told
                .iter()
                .all(|told| told.ended.expect("ended").times.arrival_ns == Some(0))
        );
    }
}

#[test]
fn more_pipelined_requests_than_are_kept_are_not_paired_by_guess() {
    let requests = "GET / HTTP/1.1\r\n\r\n".repeat(MAX_PENDING + 2);
    let (mut sink, _) = run(true, &[Q(&requests), A(OK)]);
    assert_eq!(sink.in_flight(), 0);
    assert!(sink.lines().iter().all(|line| line == "GET / - unknown 1..1 -..1"));
    assert_eq!(sink.losses, [PipelineFull]);
    // Once the server has been silent, pairs are made again.
    let mut http = Http1::new(true);
    let mut now = 0;
    sink = Recorder::default();
    run_on(
        &mut http,
        &mut now,
        &[Q(&requests), A(OK), Wait(QUIET_NS), Q("GET /b HTTP/1.1\r\n\r\n"), A(OK)],
        &mut sink,
    );
    assert_eq!(
        sink.lines().last().expect("told"),
        "GET /b 200 answered 1000000003..1000000003 1000000004..1000000004"
    );
}

#[test]
fn without_a_length_the_response_lasts_until_close() {
    check(
        &[
            Q("GET / HTTP/1.0\r\n\r\n"),
            A("HTTP/1.0 200 OK\r\n\r\nab"),
            A("HTTP/1.1 200 OK\r\n\r\n"),
            Unseen(Res, 1000, "x"),
            Wait(50),
            Close(Res, LocalClosed),
        ],
        &["GET / 200 answered 1..1 2..4"],
        &[],
    );
}

#[test]
fn chunked_bodies_with_trailers_both_ways() {
    check(
        &[
            Q("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhel"),
            Q("lo\r\n0\r\nT: GET / HTTP/1.1\r\n"),
            Q("\r\nGET /2 HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\nTRANSFER-encoding: gzip, Chunked\r\n\r\n"),
            A("3\r\nabc\r\n"),
            A("0\r\nTrailer: x\r\n\r\n"),
            A(OK),
        ],
        &["POST / 200 answered 1..3 4..6", "GET /2 200 answered 3..3 7..7"],
        &[],
    );
}

#[test]
fn head_204_and_304_have_no_body() {
    check(
        &[
            Q("HEAD /1 HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 204 No Content\r\n\r\n"),
            Q("GET /3 HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
            Q("GET /4 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &[
            "HEAD /1 200 answered 1..1 2..2",
            "GET /2 204 answered 3..3 4..4",
            "GET /3 304 answered 5..5 6..6",
            "GET /4 200 answered 7..7 8..8",
        ],
        &[],
    );
}

#[test]
fn interim_responses_are_never_the_answer() {
    check(
        &[
            Q("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
            A("HTTP/1.1 100 Continue\r\n\r\n"),
            Q("abc"),
            A("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
            A(OK),
        ],
        &["POST / 200 answered 1..3 5..5"],
        &[],
    );
}

#[test]
fn a_refused_expectation_may_leave_the_body_out() {
    let ask = Q("PUT /1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 300\r\n\r\n");
    let refuse = A("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    check(
        &[ask, refuse, Q("GET /2 HTTP/1.1\r\n\r\n"), A(OK)],
        &["PUT /1 417 answered 1..1 2..2", "GET /2 200 answered 3..3 4..4"],
        &[],
    );
    let body = "GET it all".repeat(30);
    check(
        &[ask, refuse, Q(&body), Q("GET /2 HTTP/1.1\r\n\r\n"), A(OK)],
        &["PUT /1 417 answered 1..1 2..2", "GET /2 200 answered 4..4 5..5"],
        &[],
    );
}

/// Exchanges and streams of a connection that began in view.
#[track_caller]
fn check_streams(steps: &[Step<'_>], exchanges: &[&str], streams: &[&str]) {
    let (sink, verdict) = run(true, steps);
    assert_eq!((sink.lines(), sink.streams()), (owned(exchanges), owned(streams)));
    assert_eq!((verdict, &sink.losses[..]), (Verdict::Continue, &[][..]));
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn switching_protocols_is_an_answer_and_then_a_stream() {
    let ask = Q("GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    check_streams(
        &[
            ask,
            A("HTTP/1.1 101 Switching\r\nUpgrade: WebSocket\r\n\r\n\x02\x03abc"),
            A("\x00\x01x"),
            Q("GET / HTTP/1.1\r\n\r\n"),
        ],
        &["GET /chat 101 answered 1..1 2..2"],
        &["websocket open 18+8"],
    );
    check_streams(
        &[ask, A("HTTP/1.1 101 x\r\nUpgrade: tcp\r\n\r\nabc")],
        &["GET /chat 101 answered 1..1 2..2"],
        &["upgrade open 0+3"],
    );
}

#[test]
fn the_messages_of_a_websocket_are_counted_while_its_frames_are_seen() {
    let mut sink = Recorder::default();
    let mut http = Http1::new(true);
    let mut at_ns = 0;
    let steps = [
        Q("GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
        A("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"),
    ];
    run_on(&mut http, &mut at_ns, &steps, &mut sink);
    let mut moved = |half, bytes: &[u8]| {
        at_ns += 1;
        let chunk = Chunk {
            half,
            bytes,
            at_ns,
            arrival_ns: None,
            tgid: 1,
            tid: 1,
        };
        http.bytes(chunk, &mut sink);
    };
    moved(Half::Request, b"\x81\x81\0\0\0\0a\x81\x81\0\0\0\0b");
    moved(Half::Response, b"\x82\x7e\x10\0");
    http.gap(gap(Half::Response, 4096, None, 5, false), &mut sink);
    assert_eq!(sink.streams(), ["websocket open 14+4100 2+1"]);
    // Where a frame begins unseen, messages are counted no more.
    http.gap(gap(Half::Response, 10, None, 6, false), &mut sink);
    assert_eq!(sink.streams(), ["websocket open 14+4110"]);
    http.closed(Some(Half::Request), 7, Change::PeerClosed, &mut sink);
    assert_eq!(sink.in_flight(), 1, "the server may still send");
    http.closed(Some(Half::Response), 8, Change::LocalClosed, &mut sink);
    assert_eq!(sink.streams(), ["websocket answered 8 14+4110"]);
}

#[test]
fn an_upgrade_to_http_2_is_answered_on_its_first_stream() {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let mut sink = Recorder::default();
    let mut http = Http1::new(true);
    let mut at_ns = 0;
    let ask = [Q(
        "GET /a?b=c HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    )];
    run_on(&mut http, &mut at_ns, &ask, &mut sink);
    let mut moved = |half, bytes: &[u8]| {
        at_ns += 1;
        let chunk = Chunk {
            half,
            bytes,
            at_ns,
            arrival_ns: None,
            tgid: 1,
            tid: 1,
        };
        http.bytes(chunk, &mut sink)
    };
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    moved(Half::Response, &[&switch[..], SETTINGS].concat());
    moved(Half::Request, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS].concat());
    moved(Half::Response, b"\0\0\x01\x01\x04\0\0\0\x01\x88");
    moved(Half::Response, b"\0\0\x02\0\x01\0\0\0\x01ok");
    moved(Half::Request, b"\0\0\x02\x01\x05\0\0\0\x03\x82\x84");
    let verdict = moved(Half::Response, b"\0\0\x01\x01\x05\0\0\0\x03\x8d");
    assert_eq!(
        sink.lines(),
        ["GET /a 200 answered 1..1 4..5", "GET / 404 answered 6..6 7..7"]
    );
    let protocols: Vec<_> = sink.told.iter().map(|told| told.protocol).collect();
    assert_eq!((protocols, verdict), (vec!["http/1.1", "http/2"], Verdict::Continue));
    assert_eq!((sink.losses.as_slice(), sink.in_flight()), (&[][..], 0));
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n";

#[test]
fn events_are_a_stream_and_the_connection_goes_on_behind_them() {
    let head = format!("{EVENTS}Transfer-Encoding: chunked\r\n\r\n");
    check_streams(
        &[
            Q("GET /events HTTP/1.1\r\n\r\n"),
            A(&head),
            A("5\r\ndata:\r\n"),
            A("0\r\n\r\n"),
            Q("GET / HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET /events 200 answered 1..1 2..2", "GET / 200 answered 5..5 6..6"],
        &["event_stream answered 4 0+15"],
    );
    // Of no interest are those that come whole, and to HEAD.
    let whole = format!("{EVENTS}Content-Length: 0\r\n\r\n");
    check_streams(
        &[
            Q("HEAD /events HTTP/1.1\r\n\r\n"),
            A(&head),
            Q("GET /events HTTP/1.1\r\n\r\n"),
            A(&whole),
        ],
        &[
            "HEAD /events 200 answered 1..1 2..2",
            "GET /events 200 answered 3..3 4..4",
        ],
        &[],
    );
}

#[test]
fn events_end_with_the_connection() {
    for (half, change, expected) in [
        (Half::Request, Change::Reset, "event_stream client_aborted 9 0+7"),
        (Half::Response, Change::LocalClosed, "event_stream answered 3 0+7"),
    ] {
        let mut sink = Recorder::default();
        let mut http = Http1::new(true);
        let head = format!("{EVENTS}\r\n");
        let steps = [Q("GET /events HTTP/1.1\r\n\r\n"), A(&head), A("data:\n\n")];
        run_on(&mut http, &mut 0, &steps, &mut sink);
        assert_eq!(sink.streams(), ["event_stream open 0+7"]);
        http.closed(Some(half), 9, change, &mut sink);
        assert_eq!(sink.streams(), [expected]);
        assert_eq!(sink.lines(), ["GET /events 200 answered 1..1 2..2"]);
    }
}

#[test]
fn a_tunnel_is_an_answer_and_then_a_stream() {
    check_streams(
        &[
            Q("CONNECT db:443 HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            Q("GET / HTTP/1.1\r\n\r\n"),
        ],
        &["CONNECT db:443 200 answered 1..1 2..2"],
        &["tunnel open 18+0"],
    );
    check(
        &[
            Q("CONNECT db:443 HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
            Q("GET / HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["CONNECT db:443 403 answered 1..1 2..2", "GET / 200 answered 3..3 4..4"],
        &[],
    );
}

#[test]
fn all_forms_of_targets_and_unknown_methods() {
    for (request, line) in [
        ("GET http://u:p@h/a?b HTTP/1.1", "GET /a"),
        ("OPTIONS * HTTP/1.1", "OPTIONS *"),
        ("M-SEARCH * HTTP/1.1", "M-SEARCH *"),
        ("brew /pot HTTP/1.1", "brew /pot"),
        ("GET /a b HTTP/1.1", "GET /a b"),
    ] {
        check(
            &[Q(&format!("{request}\r\nhost: x\r\n\r\n")), A(OK)],
            &[&format!("{line} 200 answered 1..1 2..2")],
            &[],
        );
    }
}

#[test]
fn line_ends_may_be_bare_and_precede_a_request() {
    check(
        &[
            Q("\r\n\nPOST / HTTP/1.1\nContent-Length: 1\n\nx\r\n"),
            A("HTTP/1.1 200\nContent-Length: 1\n\nx"),
            Q("\r\n"),
            Q("GET / HTTP/1.1\n\n"),
            A(OK),
        ],
        &["POST / 200 answered 1..1 2..2", "GET / 200 answered 4..4 5..5"],
        &[],
    );
}

#[test]
fn folded_lines_are_read() {
    check(
        &[
            Q("POST / HTTP/1.1\r\nA: b\r\n c\r\nContent-Length:\r\n\t2\r\n\r\nab"),
            A("HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 1\r\n\r\nx"),
        ],
        &["POST / 200 answered 1..1 2..2"],
        &[],
    );
}

#[test]
fn a_conversation_split_at_every_byte_is_the_same() {
    let request = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let parts: Vec<String> = request.chars().map(String::from).collect();
    let answers: Vec<String> = answer.chars().map(String::from).collect();
    let steps: Vec<_> = parts
        .iter()
        .map(|part| Q(part))
        .chain(answers.iter().map(|part| A(part)))
        .collect();
    let [asked, all] = [request.len(), request.len() + answer.len()];
    let begun = asked + "HTTP/1.1 103 x\r\n\r\n".len() + 1;
    check(
        &steps,
        &[&format!("POST /a 200 answered 1..{asked} {begun}..{all}")],
        &[],
    );
    for split in 1..request.len() {
        let (one, two) = request.split_at(split);
        check(&[Q(one), Q(two), A(answer)], &["POST /a 200 answered 1..2 3..3"], &[]);
    }
    for split in 1..answer.len() {
        let (one, two) = answer.split_at(split);
        let first = if split <= "HTTP/1.1 103 x\r\n\r\n".len() { 3 } else { 2 };
        check(
            &[Q(request), A(one), A(two)],
            &[&format!("POST /a 200 answered 1..1 {first}..3")],
            &[],
        );
    }
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let body = "GET /no HTTP/1.1\r\n\r\n";
    let answer = "HTTP/1.1 404 no\r\n\r\n";
    check(
        &[
            Q(&format!(
                "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
                2 * body.len()
            )),
            Q(body),
            Q(body),
            A(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len())),
            A(answer),
        ],
        &["POST / 200 answered 1..3 4..5"],
        &[],
    );
}

#[test]
fn an_answer_may_come_before_the_request_is_complete() {
    check(
        &[
            Q("POST /1 HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"),
            A("HTTP/1.1 413 Too Large\r\nContent-Length: 1\r\n\r\n"),
            Q("def"),
            A("x"),
            Q("ghij"),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["POST /1 413 answered 1..3 2..4", "GET /2 200 answered 6..6 7..7"],
        &[],
    );
}

#[test]
fn who_closes_without_answer_is_told() {
    let ask = Q("GET / HTTP/1.1\r\n\r\n");
    let part = A("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    check(
        &[ask, Close(Res, LocalClosed)],
        &["GET / - server_closed 1..1 -..2"],
        &[],
    );
    check(&[ask, Close(Res, Reset)], &["GET / - server_closed 1..1 -..2"], &[]);
    check(&[ask, Close(Req, Reset)], &["GET / - client_aborted 1..1 -..2"], &[]);
    check(
        &[ask, part, Close(Res, Destroyed)],
        &["GET / 200 server_closed 1..1 2..3"],
        &[],
    );
    check(
        &[ask, part, Close(Req, Reset)],
        &["GET / 200 client_aborted 1..1 2..3"],
        &[],
    );
    // The client went first, the server gave up later.
    check(
        &[ask, Close(Req, PeerClosed), Wait(9), Close(Res, Destroyed)],
        &["GET / - client_aborted 1..1 -..2"],
        &[],
    );
    // A head that is not complete is no answer.
    check(
        &[ask, A("HTTP/1.1 200 OK\r\nCont"), Close(Res, LocalClosed)],
        &["GET / - server_closed 1..1 -..3"],
        &[],
    );
    // All that were asked.
    check(
        &[ask, ask, Close(Res, LocalClosed)],
        &["GET / - server_closed 1..1 -..3", "GET / - server_closed 2..2 -..3"],
        &[],
    );
}

#[test]
fn a_client_that_has_said_all_is_answered_all_the_same() {
    let ask = Q("GET / HTTP/1.1\r\n\r\n");
    check(
        &[ask, Close(Req, PeerClosed), A(OK), Close(Res, Destroyed)],
        &["GET / 200 answered 1..1 3..3"],
        &[],
    );
    check(
        &[
            Close(Req, PeerClosed),
            ask,
            A("HTTP/1.1 200 OK\r\n\r\nabc"),
            Close(Res, LocalClosed),
            Close(Res, Destroyed),
        ],
        &["GET / 200 answered 2..2 3..3"],
        &[],
    );
}

#[test]
fn a_reset_is_no_end_of_a_response_without_length() {
    let [ask, part] = [Q("GET / HTTP/1.1\r\n\r\n"), A("HTTP/1.1 200 OK\r\n\r\nabc")];
    check(
        &[ask, part, Close(Res, Reset)],
        &["GET / 200 server_closed 1..1 2..3"],
        &[],
    );
    check(
        &[ask, part, Close(Req, Destroyed)],
        &["GET / 200 client_aborted 1..1 2..3"],
        &[],
    );
}

#[test]
fn joining_in_a_response_invents_no_request() {
    check_joined(
        &[
            A("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"),
            A("cd"),
            Q("GET /1 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET /1 200 answered 3..3 4..4"],
        &[ResponseWithoutRequest],
    );
    // In its body, which looks like anything.
    check_joined(
        &[
            A("rest of a body\r\n\r\n"),
            A("HELLO"),
            Q("GET /1 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET /1 200 answered 3..3 4..4"],
        &[],
    );
    // It was the answer to a HEAD, so its body never comes.
    check_joined(
        &[
            A("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"),
            Q("GET /1 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET /1 200 answered 2..2 3..3"],
        &[ResponseWithoutRequest],
    );
}

#[test]
fn joining_in_a_request_waits_for_the_next() {
    check_joined(
        &[
            Q("name=value&GET"),
            Q("MORE TEXT\r\n"),
            A(OK),
            Q("GET /1 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET /1 200 answered 4..4 5..5"],
        &[ResponseWithoutRequest],
    );
}

#[test]
fn a_response_whose_request_comes_a_moment_later_is_its_answer() {
    check(
        &[A(OK), Q("GET /1 HTTP/1.1\r\n\r\n"), Q("GET /2 HTTP/1.1\r\n\r\n"), A(OK)],
        &["GET /1 200 answered 2..2 1..1", "GET /2 200 answered 3..3 4..4"],
        &[],
    );
    check(
        &[
            A("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            Q("HEAD / HTTP/1.1\r\n\r\n"),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["HEAD / 200 answered 2..2 1..1", "GET /2 200 answered 3..3 4..4"],
        &[],
    );
    check(
        &[
            A("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"),
            Wait(REORDERED_NS + 1),
            Q("GET / HTTP/1.1\r\n\r\n"),
            Close(Res, LocalClosed),
        ],
        &["GET / - server_closed 10000003..10000003 -..10000004"],
        &[ResponseWithoutRequest],
    );
}

#[test]
fn missing_bytes_of_a_body_of_known_length_are_skipped() {
    check(
        &[
            Q("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc"),
            Unseen(Req, 500, "whatever"),
            Lost(Req, 400),
            Unseen(Req, 97, "0\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFF\r\nab"),
            Unseen(Res, 253, "HTTP/1.1"),
            A("\r\n10\r\n"),
            Unseen(Res, 16 + 7, "\r\n0\r\n\r\n"),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
            Unseen(Res, 10, ""),
        ],
        &["POST / 200 answered 1..4 5..8", "GET /2 200 answered 9..9 10..11"],
        &[],
    );
}

#[test]
fn bytes_that_were_not_captured_count() {
    let (sink, _) = run(
        true,
        &[
            Q("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"),
            Unseen(Req, 1000, ""),
            A("HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n"),
            Unseen(Res, 5_000_000_000, ""),
        ],
    );
    let ended = sink.told[0].ended.expect("ended");
    assert_eq!(
        (ended.request_bytes, ended.response_bytes),
        (41 + 1000, 47 + 5_000_000_000)
    );
}

#[test]
fn a_chunked_body_whose_chunks_are_unseen_ends_with_its_last_bytes() {
    let [ask, head] = [
        Q("GET / HTTP/1.1\r\n\r\n"),
        A("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
    ];
    let again = Q("GET /2 HTTP/1.1\r\n\r\n");
    let expected = ["GET / 200 answered 1..1 2..4", "GET /2 200 answered 5..5 6..6"];
    check(
        &[
            ask,
            head,
            Unseen(Res, 5000, "abcdefgh"),
            Unseen(Res, 99, "x\r\n0\r\n\r\n"),
            again,
            A(OK),
        ],
        &expected,
        &[],
    );
    // The last chunk alone in a segment.
    check(
        &[
            ask,
            head,
            Unseen(Res, 5000, "abcdef\r\n"),
            Unseen(Res, 5, "0\r\n\r\n"),
            again,
            A(OK),
        ],
        &expected,
        &[],
    );
    // With trailers only the turn tells.
    check(
        &[
            ask,
            head,
            Unseen(Res, 5000, "abcdefgh"),
            Unseen(Res, 99, "T: x\r\n\r\n"),
            again,
            A(OK),
        ],
        &expected,
        &[FramingUnknown],
    );
    // Or the close.
    check(
        &[ask, head, Unseen(Res, 5000, "abcdefgh"), Close(Res, LocalClosed)],
        &["GET / 200 answered 1..1 2..3"],
        &[FramingUnknown],
    );
    check(
        &[ask, head, Unseen(Res, 5000, "abcdefgh"), Close(Req, Reset)],
        &["GET / 200 unknown 1..1 2..4"],
        &[FramingUnknown],
    );
}

#[test]
fn a_head_beyond_the_budget_still_makes_an_exchange() {
    // A request: all that was seen of it is its first line and a bit.
    check(
        &[
            Q("POST /a?b HTTP/1.1\r\nCookie: aaaaaaaaaaaaaaa"),
            Unseen(Req, 20_000, "abcdefgh"),
            Unseen(Req, 20_000, "abcdefgh"),
            A(OK),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["POST /a 200 answered 1..3 4..4", "GET /2 200 answered 5..5 6..6"],
        &[HeadCut, FramingUnknown],
    );
    // A response: it ends where the next request begins.
    check(
        &[
            Q("GET / HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\nSet-Cookie: aaaaaaaaaaaaaaa"),
            Unseen(Res, 20_000, "abcdefgh"),
            Unseen(Res, 20_000, "abcdefgh"),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET / 200 answered 1..1 2..4", "GET /2 200 answered 5..5 6..6"],
        &[HeadCut, FramingUnknown],
    );
}

#[test]
fn half_a_path_is_no_path() {
    for (head, path) in [
        ("GET /users/12", ""),
        ("GET /users/123?tok", "/users/123"),
        ("GET /users/123 HT", "/users/123"),
        ("GET /users/123 HTTP/1.1\r\n", "/users/123"),
        ("GET ", ""),
    ] {
        check(
            &[Q(head), Unseen(Req, 100, ""), A(OK)],
            &[&format!("GET {path} 200 answered 1..2 3..3")],
            &[HeadCut, FramingUnknown],
        );
    }
}

#[test]
fn a_head_larger_than_is_kept_is_cut() {
    let long = "x".repeat(MAX_HEAD / 2);
    check(
        &[
            Q("GET / HTTP/1.1\r\nA: "),
            Q(&long),
            Q(&long),
            Q(&long),
            Q("\r\n\r\n"),
            A(OK),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET / 200 answered 1..5 6..6", "GET /2 200 answered 7..7 8..8"],
        &[HeadCut, FramingUnknown],
    );
}

#[test]
fn a_response_head_that_was_not_seen_leaves_the_status_open() {
    check(
        &[
            Q("GET / HTTP/1.1\r\n\r\n"),
            Unseen(Res, 300, ""),
            Unseen(Res, 300, ""),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET / - unknown 1..1 2..3", "GET /2 200 answered 4..4 5..5"],
        &[HeadCut, FramingUnknown],
    );
}

#[test]
fn a_request_that_was_not_seen_is_not_invented() {
    check(
        &[
            Q("GET /1 HTTP/1.1\r\n\r\n"),
            A(OK),
            Unseen(Req, 300, ""),
            A(OK),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET /1 200 answered 1..1 2..2", "GET /2 200 answered 5..5 6..6"],
        &[HeadCut, ResponseWithoutRequest],
    );
}

#[test]
fn lost_records_make_no_false_pairs() {
    let [one, two, three] = [
        "GET /1 HTTP/1.1\r\n\r\n",
        "GET /2 HTTP/1.1\r\n\r\n",
        "GET /3 HTTP/1.1\r\n\r\n",
    ]
    .map(Q);
    // The first answer and the second request.
    check(
        &[
            one,
            Lost(Req, 19),
            three,
            Lost(Res, 40),
            A("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"),
            two,
            A(OK),
        ],
        &[
            "GET /1 - unknown 1..1 -..4",
            "GET /3 - unknown 3..3 -..3",
            "GET /2 200 answered 6..6 7..7",
        ],
        &[ResponseWithoutRequest],
    );
    // The end of an answer: what time it was is not known.
    check(
        &[
            one,
            A("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
            Lost(Res, 100),
            two,
            A(OK),
        ],
        &["GET /1 200 unknown 1..1 2..2", "GET /2 200 answered 4..4 5..5"],
        &[],
    );
    // A whole exchange in between.
    check(
        &[one, A(OK), Lost(Req, 19), two, Lost(Res, 40), A(OK), three, A(OK)],
        &[
            "GET /1 200 answered 1..1 2..2",
            "GET /2 - unknown 4..4 -..4",
            "GET /3 200 answered 7..7 8..8",
        ],
        &[ResponseWithoutRequest],
    );
}

#[test]
fn a_lost_answer_among_pipelined_ones_leaves_all_open() {
    let ask = Q("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
    check(
        &[
            ask,
            A(OK),
            Lost(Res, 40),
            A(OK),
            Wait(QUIET_NS),
            Q("GET /4 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &[
            "GET /1 200 answered 1..1 2..2",
            "GET /2 - unknown 1..1 -..3",
            "GET /3 - unknown 1..1 -..3",
            "GET /4 200 answered 1000000005..1000000005 1000000006..1000000006",
        ],
        &[ResponseWithoutRequest],
    );
}

#[test]
fn contradicting_lengths_are_not_believed() {
    check(
        &[
            Q("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
            A("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["POST / 400 answered 1..1 2..2", "GET /2 200 answered 3..3 4..4"],
        &[Malformed, FramingUnknown],
    );
    // Equal ones are one (RFC 9110, 8.6), and a transfer coding overrides them (RFC 9112, 6.3).
    check(
        &[
            Q("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3, 3\r\n\r\nabc"),
            A("HTTP/1.1 200 OK\r\nContent-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["POST / 200 answered 1..1 2..2", "GET /2 200 answered 3..3 4..4"],
        &[],
    );
    // A response's coding that is not chunked lasts until close.
    check(
        &[
            Q("GET / HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
            Close(Res, LocalClosed),
        ],
        &["GET / 200 answered 1..1 2..2"],
        &[],
    );
}

#[test]
fn another_protocol_is_left_alone_at_once() {
    for text in ["SET key value\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "EHLO mail\r\n"] {
        check_opaque(&[Q(text)], &[]);
    }
}

#[test]
fn garbage_after_messages_is_counted_and_ends_honestly() {
    let ask = Q("GET / HTTP/1.1\r\n\r\n");
    let refuse = A("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n");
    let mut steps = vec![ask, A(OK), Q("}{\r\n\r\n"), refuse, ask, A(OK)];
    let (sink, verdict) = run(true, &steps);
    assert_eq!(sink.lines()[1..], ["GET / 200 answered 5..5 6..6"]);
    assert_eq!(
        (verdict, &sink.losses[..]),
        (Verdict::Continue, &[Malformed, ResponseWithoutRequest][..])
    );
    // The refusal comes later than the next request: which answer is whose can't be told.
    let (sink, _) = run(true, &[ask, A(OK), Q("}{\r\n\r\n"), ask, refuse, A(OK)]);
    assert_eq!(sink.lines()[1..], ["GET / - unknown 4..4 -..4"]);
    for _ in 0..MAX_STRAYS {
        steps.extend([ask, A("nonsense\r\n")]);
    }
    let (sink, verdict) = run(true, &steps);
    assert_eq!((verdict, sink.in_flight()), (Verdict::Opaque, 0));
}

#[test]
fn a_malformed_chunk_costs_the_end_only() {
    check(
        &[
            Q("GET / HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz"),
            A("more"),
            Q("GET /2 HTTP/1.1\r\n\r\n"),
            A(OK),
        ],
        &["GET / 200 answered 1..1 2..3", "GET /2 200 answered 4..4 5..5"],
        &[Malformed, FramingUnknown],
    );
}

#[test]
fn what_is_in_flight_when_observation_ends_is_cut() {
    let mut http = Http1::new(true);
    let mut sink = Recorder::default();
    run_on(
        &mut http,
        &mut 0,
        &[
            Q("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            A("HTTP/1.1 200 OK\r\n\r\n"),
        ],
        &mut sink,
    );
    assert!(http.awaits(Res) && !http.awaits(Req));
    http.cut(9, Outcome::Cut, &mut sink);
    assert_eq!(sink.lines(), ["GET / 200 cut 1..1 2..9", "GET / - cut 1..1 -..9"]);
    http.cut(10, Outcome::Cut, &mut sink);
}

#[test]
fn requests_and_responses_are_detected_in_both_directions() {
    let [to, from] = [Direction::Received, Direction::Sent];
    for (bytes, requests) in [
        ("GET / HTTP/1.1\r\n", Some(to)),
        ("G", Some(to)),
        ("\r\nPOST", Some(to)),
        ("HEAD / HTTP", Some(to)),
        ("HTTP/1.1 200 OK", Some(from)),
        ("HTTP/", Some(from)),
        ("HTT", None),
        ("PRI * HTTP/2.0\r\n\r\n", None),
        ("SET a b\r\n", None),
        ("\x16\x03\x01", None),
        ("", None),
    ] {
        assert_eq!(detect(bytes.as_bytes(), to), requests, "{bytes:?}");
        assert_eq!(
            detect(bytes.as_bytes(), from),
            requests.map(Direction::opposite),
            "{bytes:?}"
        );
    }
}

#[test]
fn answers_read_byte_by_byte_beyond_the_capture_budget_are_told_apart() {
    let answer = format!(
        "HTTP/1.1 201 Created\r\nContent-Length: 7000\r\n\r\n{}",
        "Abcdefg".repeat(1000)
    );
    let bytes: Vec<String> = answer.chars().map(|byte| byte.to_string()).collect();
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.push(Q("GET /way HTTP/1.1\r\nHost: x\r\n\r\n"));
        steps.extend(bytes[..4024].iter().map(|byte| A(byte)));
        steps.extend(bytes[4024..].iter().map(|byte| Unseen(Res, 1, byte)));
    }
    let (sink, _) = run(true, &steps);
    assert!(
        sink.lines()
            .iter()
            .all(|line| line.starts_with("GET /way 201 answered")),
        "{:#?}",
        sink.lines()
    );
    assert_eq!(sink.losses, []);
}
