//! The cases beyond the basic ones: framing, heads, switches of protocol, endings.

use std::time::Duration;

use perf_agent_tests::rows::{answered, ended};
use perf_agent_tests::wire::Step;

use super::{Case, OK, again, client, get, post, server};

/// The rest, for TCP.
pub(crate) fn more() -> Vec<Case> {
    let mut cases = framing();
    cases.extend(bulk());
    cases.extend(heads());
    cases.extend(switching());
    cases.extend(endings());
    cases
}

fn framing() -> Vec<Case> {
    vec![
        Case::new(
            "pipelined, 50 deep",
            [vec![client(get("/plain").repeat(50))], vec![server(OK); 50]].concat(),
            answered("GET /plain", 200).times(50),
        ),
        Case::new(
            "pipelined with bodies, answered while more comes",
            vec![
                client(post("/first", "hello") + &post("/second", "world")),
                server(OK),
                client(get("/third")),
                server(OK),
                server(OK),
            ],
            vec![
                answered("POST /first", 200),
                answered("POST /second", 200),
                answered("GET /third", 200),
            ],
        ),
        Case::new(
            "HTTP/1.0 with keep-alive",
            again(
                3,
                &[
                    client("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
                    server("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
                ],
            ),
            answered("GET /old", 200).http10().times(3),
        ),
        Case::new(
            "no length until close",
            vec![
                client(get("/endless")),
                server("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
                server("part one"),
                server("part two"),
                Step::ServerClose,
            ],
            vec![answered("GET /endless", 200)],
        ),
        Case::new(
            "chunked, end in a segment of its own",
            again(
                3,
                &[
                    client(get("/stream")),
                    server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                    server("5\r\nhello\r\n"),
                    server("0\r\n\r\n"),
                ],
            ),
            answered("GET /stream", 200).times(3),
        ),
        Case::new(
            "silence between requests",
            again(
                2,
                &[
                    client(get("/plain")),
                    server(OK),
                    Step::Pause(Duration::from_millis(1500)),
                ],
            ),
            answered("GET /plain", 200).times(2),
        ),
        Case::new(
            "an empty line before a request (RFC 9112, 2.2)",
            vec![
                client(get("/plain")),
                server(OK),
                client(format!("\r\n{}", get("/plain"))),
                server(OK),
            ],
            answered("GET /plain", 200).times(2),
        )
        .any_bytes(),
        Case::new(
            "an answer that nobody asked for",
            vec![
                server("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"),
                Step::ServerClose,
            ],
            vec![],
        )
        .messages(0, 0),
        Case::new(
            "something else than HTTP",
            vec![
                client(b"\x16\x03\x01\x02\x00\x01\x00"),
                server(b"\x16\x03\x03\x00\x7a\x02"),
                client(b"\x17\x03\x03"),
            ],
            vec![],
        )
        .messages(0, 0),
    ]
}

fn bulk() -> Vec<Case> {
    let bulk = vec![b'x'; 16 * 1024];
    let chunk = [format!("{:x}\r\n", bulk.len()).as_bytes(), &bulk, b"\r\n"].concat();
    vec![
        Case::new(
            "1 MB by length, in many writes",
            [
                vec![
                    client(get("/bulk")),
                    server("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"),
                ],
                vec![server(&bulk); 64],
                vec![client(get("/after")), server(OK)],
            ]
            .concat(),
            vec![answered("GET /bulk", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "1 MB chunked, in many writes",
            [
                vec![
                    client(get("/bulk")),
                    server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                ],
                vec![server(&chunk); 64],
                vec![server("0\r\n\r\n"), client(get("/after")), server(OK)],
            ]
            .concat(),
            vec![answered("GET /bulk", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "1 MB upload, in many writes",
            [
                vec![client(
                    "POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1048576\r\n\r\n",
                )],
                vec![client(&bulk); 64],
                vec![server(OK), client(get("/after")), server(OK)],
            ]
            .concat(),
            vec![answered("POST /bulk", 200), answered("GET /after", 200)],
        ),
    ]
}

fn heads() -> Vec<Case> {
    let request = "GET /split HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n";
    let split = |at: usize| {
        let answer_at = at % (OK.len() - 1) + 1;
        [
            client(&request[..at]),
            client(&request[at..]),
            server(&OK[..answer_at]),
            server(&OK[answer_at..]),
        ]
    };
    let bytewise = |text: &str, step: fn(Vec<u8>) -> Step| {
        let steps = text.bytes().map(|byte| step(vec![byte]));
        steps.collect::<Vec<_>>()
    };
    let padding = format!("X-Padding: {}\r\n", "p".repeat(32 * 1024));
    vec![
        Case::new(
            "a head split at every byte",
            (1..request.len()).flat_map(split).collect(),
            answered("GET /split", 200).times(request.len() - 1),
        ),
        Case::new(
            "a head in as many reads as bytes",
            [bytewise(request, Step::Client), bytewise(OK, Step::Server)].concat(),
            vec![answered("GET /split", 200)],
        ),
        Case::new(
            "heads of 32 KiB",
            again(
                2,
                &[
                    client(format!("GET /padded HTTP/1.1\r\nHost: 127.0.0.1\r\n{padding}\r\n")),
                    server(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{padding}\r\nhello")),
                ],
            ),
            answered("GET /padded", 200).times(2),
        )
        // The last answer's end is known only from the close.
        .or(vec![
            answered("GET /padded", 200),
            ended("GET /padded", "unknown").status(200),
        ]),
        Case::new(
            "odd case",
            vec![
                client("POST /odd HTTP/1.1\r\nhOST: test\r\ncOnTeNt-LeNgTh:5\r\n\r\nhello"),
                server("HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:\t Chunked \r\n\r\n2\r\nok\r\n0\r\n\r\n"),
                client(get("/after")),
                server(OK),
            ],
            vec![answered("POST /odd", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "a folded header line (RFC 9112, 5.2)",
            vec![
                client("GET /folded HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: one\r\n two\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nX-Long: one\r\n\ttwo\r\nContent-Length: 5\r\n\r\nhello"),
                client(get("/after")),
                server(OK),
            ],
            vec![answered("GET /folded", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "absolute form",
            vec![
                client("GET http://example.com/absolute?key=value HTTP/1.1\r\nHost: example.com\r\n\r\n"),
                server(OK),
            ],
            vec![answered("GET /absolute", 200)],
        ),
        Case::new(
            "asterisk form",
            vec![client("OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), server(OK)],
            vec![answered("OPTIONS *", 200)],
        ),
        Case::new(
            "methods that nobody registered",
            vec![
                client("BREW /pot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
                server("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"),
                client("M-SEARCH /all HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
                server("HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"),
                client("PROPFIND /tree HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
                server("HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n"),
            ],
            vec![
                answered("BREW /pot", 418),
                answered("M-SEARCH /all", 299),
                answered("PROPFIND /tree", 599),
            ],
        ),
    ]
}

fn switching() -> Vec<Case> {
    let upgrade = "GET /socket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let connect = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
    let connected = "HTTP/1.1 200 Connected\r\n\r\n";
    let tunnel = [
        client(b"\x81\x05hello"),
        server(b"\x81\x05world"),
        client(get("/inside")),
        server(OK),
    ];
    vec![
        Case::new(
            "103, then the answer",
            vec![
                client(get("/hinted")),
                server("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"),
                server(format!("HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n{OK}")),
                client(get("/after")),
                server(OK),
            ],
            vec![answered("GET /hinted", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "101, then something else",
            [vec![client(upgrade), server(switched)], tunnel.to_vec()].concat(),
            vec![answered("GET /socket", 101)],
        )
        .messages(upgrade.len(), switched.len()),
        Case::new(
            "CONNECT, then a tunnel",
            [vec![client(connect), server(connected)], tunnel.to_vec()].concat(),
            vec![answered("CONNECT {host}:443", 200)],
        )
        .messages(connect.len(), connected.len()),
        Case::new(
            "CONNECT refused",
            vec![
                client(connect),
                server("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
                client(get("/after")),
                server(OK),
            ],
            vec![answered("CONNECT {host}:443", 403), answered("GET /after", 200)],
        ),
    ]
}

fn endings() -> Vec<Case> {
    let early = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    vec![
        Case::new(
            "an answer before the request is complete, then close",
            vec![
                client("POST /early HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nhel"),
                server(early),
                Step::ServerClose,
            ],
            vec![answered("POST /early", 413)],
        ),
        Case::new(
            "an answer before the request is complete, then its rest",
            vec![
                client("POST /early HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nhel"),
                server(OK),
                client("lo, you"),
                client(get("/after")),
                server(OK),
            ],
            vec![answered("POST /early", 200), answered("GET /after", 200)],
        )
        .any_bytes(),
        Case::new(
            "RST by the server",
            vec![client(get("/reset")), Step::ServerReset],
            vec![ended("GET /reset", "server_closed")],
        ),
        Case::new(
            "RST by the client",
            vec![client(get("/reset")), Step::ClientReset],
            vec![ended("GET /reset", "client_aborted")],
        ),
        Case::new(
            "the client gives up, the server goes on",
            vec![client(get("/slow")), Step::ClientClose, Step::ServerUnread(OK.into())],
            vec![ended("GET /slow", "client_aborted")],
        )
        // From the server's side a client that closed looks like one that half closed, until the RST comes: the answer
        // may have been written in full by then.
        .or_server(vec![ended("GET /slow", "client_aborted").status(200)])
        .or_server(vec![answered("GET /slow", 200)])
        .any_bytes(),
        Case::new(
            "the client gives up in the middle of its body",
            vec![
                client("POST /partial HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nhel"),
                Step::ClientClose,
            ],
            vec![ended("POST /partial", "client_aborted")],
        ),
        Case::new(
            "the client gives up in the middle of an answer",
            vec![
                client(get("/partial")),
                server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel"),
                Step::ClientReset,
            ],
            vec![ended("GET /partial", "client_aborted").status(200)],
        ),
    ]
}
