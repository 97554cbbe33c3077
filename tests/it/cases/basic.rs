//! The cases that every kernel and every family is asked.

use perf_agent_tests::rows::{answered, ended};
use perf_agent_tests::wire::Step;

use super::{Case, OK, again, client, get, post, server};

/// What every kernel and every family is asked: a dozen, and quick.
pub(crate) fn basic() -> Vec<Case> {
    let mut cases = plain();
    cases.extend(bodies_and_closes());
    cases
}

/// Three exchanges with bodies both ways, on one connection: played with every pair of system calls.
pub(crate) fn bodies() -> Case {
    let body = "0123456789".repeat(700);
    let request = format!("POST /way HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 7000\r\n\r\n{body}");
    let answer = format!("HTTP/1.1 201 Created\r\nContent-Length: 7000\r\n\r\n{body}");
    let steps = again(3, &[client(request), server(answer)]);
    Case::new("bodies both ways", steps, answered("POST /way", 201).times(3))
}

fn plain() -> Vec<Case> {
    vec![
        Case::new(
            "keep-alive",
            again(5, &[client(get("/plain")), server(OK)]),
            answered("GET /plain", 200).times(5),
        ),
        Case::new(
            "pipelined, 2 deep",
            vec![client(get("/first") + &get("/second")), server(OK.repeat(2))],
            vec![answered("GET /first", 200), answered("GET /second", 200)],
        ),
        Case::new(
            "HTTP/1.0 until close",
            vec![
                client("GET /old HTTP/1.0\r\n\r\n"),
                server("HTTP/1.0 200 OK\r\n\r\nall"),
                Step::ServerClose,
            ],
            vec![answered("GET /old", 200).http10()],
        ),
        Case::new(
            "chunked with trailers both ways",
            vec![
                client(
                    "POST /chunked HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
                ),
                client("5\r\nhello\r\n"),
                client("6;name=value\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"),
                server("b\r\nhello world\r\n"),
                server("0\r\nX-Sum: 11\r\n\r\n"),
                client(get("/after")),
                server(OK),
            ],
            vec![answered("POST /chunked", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "head and body apart",
            vec![
                client("POST /apart HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\n"),
                client("hello"),
                server("HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\n"),
                server("nothing"),
            ],
            vec![answered("POST /apart", 404)],
        ),
    ]
}

fn bodies_and_closes() -> Vec<Case> {
    vec![
        Case::new(
            "HEAD",
            vec![
                client("HEAD /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
                client(get("/after")),
                server(OK),
            ],
            vec![answered("HEAD /large", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "204 and 304",
            vec![
                client("DELETE /thing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
                server("HTTP/1.1 204 No Content\r\n\r\n"),
                client("GET /thing HTTP/1.1\r\nHost: 127.0.0.1\r\nIf-None-Match: \"a\"\r\n\r\n"),
                server("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 100\r\n\r\n"),
                client(get("/after")),
                server(OK),
            ],
            vec![
                answered("DELETE /thing", 204),
                answered("GET /thing", 304),
                answered("GET /after", 200),
            ],
        ),
        Case::new(
            "100-continue",
            vec![
                client("PUT /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"),
                server("HTTP/1.1 100 Continue\r\n\r\n"),
                client("hello"),
                server("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
            ],
            vec![answered("PUT /upload", 201)],
        ),
        Case::new(
            "a body that looks like a request",
            vec![
                client(post("/outer", &get("/smuggled"))),
                server(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nHTTP/1.1 500 Oops\r\n\r\n",
                    "HTTP/1.1 500 Oops\r\n\r\n".len()
                )),
                client(post("/outer", &get("/smuggled")).trim_end_matches(&get("/smuggled"))),
                client(get("/smuggled")),
                server("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n"),
                server("HTTP/1.1 500 Oops\r\n\r\n"),
            ],
            answered("POST /outer", 200).times(2),
        ),
        Case::new(
            "close without an answer",
            vec![client(get("/ignored")), Step::ServerClose],
            vec![ended("GET /ignored", "server_closed")],
        ),
        Case::new(
            "close in the middle of an answer",
            vec![
                client(get("/broken")),
                server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhell"),
                Step::ServerClose,
            ],
            vec![ended("GET /broken", "server_closed").status(200)],
        ),
        Case::new(
            "half-close",
            vec![
                client(get("/half")),
                Step::ClientHalfClose,
                server(OK),
                Step::ServerClose,
            ],
            vec![answered("GET /half", 200)],
        ),
    ]
}
