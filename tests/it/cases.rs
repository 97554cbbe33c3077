//! HTTP/1 conversations, and beside each what must be counted. [`crate::http_cases`] plays them all against one agent,
//! [`crate::vm`] some of them against each backend.
//!
//! Every case has a server port (or Unix socket) of its own, so what the agent shows for it is the case's and nothing
//! else. The requests' host is an address and no name, so that clients' endpoints show where they connected to.

use std::time::Duration;

use perf_agent_tests::api::Api;
use perf_agent_tests::rows::{self, At, Bytes, Expect, Picture, Role, answered, ended};
use perf_agent_tests::socket::{Family, Listener};
use perf_agent_tests::wait;
use perf_agent_tests::ways::Way;
use perf_agent_tests::wire::{Moved, Step, Wire};

/// A conversation and what must be counted.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    /// What the server's endpoints may show: one of these lists.
    server: Vec<Vec<Expect>>,
    /// What the client's endpoints may show.
    client: Vec<Vec<Expect>>,
    bytes: Counted,
}

/// Which bytes are messages'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// All that went over the connection.
    All,
    /// So many, from the server's side; what follows belongs to no exchange.
    Messages(Bytes),
    /// Not compared: where the exchange ends is a matter of definition.
    Any,
}

impl Case {
    fn new(name: &'static str, steps: Vec<Step>, expected: Vec<Expect>) -> Self {
        Self {
            name,
            steps,
            server: vec![expected.clone()],
            client: vec![expected],
            bytes: Counted::All,
        }
    }

    /// What the server's side may show as well.
    fn or_server(mut self, expected: Vec<Expect>) -> Self {
        self.server.push(expected);
        self
    }

    /// What either side may show as well.
    fn or(mut self, expected: Vec<Expect>) -> Self {
        self.server.push(expected.clone());
        self.client.push(expected);
        self
    }

    fn messages(mut self, received: usize, sent: usize) -> Self {
        self.bytes = Counted::Messages(Bytes {
            received: received as u64,
            sent: sent as u64,
        });
        self
    }

    fn any_bytes(mut self) -> Self {
        self.bytes = Counted::Any;
        self
    }
}

/// A case that was played: what to look for, and where.
#[derive(Debug)]
pub(crate) struct Played {
    case: Case,
    at: At,
    moved: Moved,
    /// Keeps the port.
    _listener: Listener,
}

impl Played {
    /// Plays the case on a connection of its own, both ends by `way`.
    #[track_caller]
    pub(crate) fn play(case: &Case, family: Family, way: Way, directory: &std::path::Path) -> Self {
        Self::play_with(case, family, way, directory, || ())
    }

    /// [`Self::play`] with something to do at [`Step::Mark`].
    #[track_caller]
    pub(crate) fn play_with(
        case: &Case,
        family: Family,
        way: Way,
        directory: &std::path::Path,
        mark: impl FnMut(),
    ) -> Self {
        let listener = Listener::new(family, directory);
        let moved = Wire::new(listener.pair()).ways(way, way).play_with(&case.steps, mark);
        Self {
            case: case.clone(),
            at: listener.at(),
            moved,
            _listener: listener,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.case.name
    }

    /// What the agent shows of it in this role.
    #[track_caller]
    pub(crate) fn seen(&self, endpoints: &[serde_json::Value], role: Role) -> Picture {
        Picture::seen(endpoints, &self.at, role)
    }

    /// Does the agent show what it must?
    #[track_caller]
    pub(crate) fn check(&self, endpoints: &[serde_json::Value]) -> Result<(), String> {
        for role in Role::BOTH {
            let (lists, moved) = match role {
                Role::Server => (&self.case.server, self.moved.server),
                Role::Client => (&self.case.client, self.moved.client),
            };
            let bytes = match (self.case.bytes, role) {
                (Counted::All, _) => Some(moved),
                (Counted::Messages(bytes), Role::Server) => Some(bytes),
                (Counted::Messages(Bytes { received, sent }), Role::Client) => Some(Bytes {
                    received: sent,
                    sent: received,
                }),
                (Counted::Any, _) => None,
            };
            let seen = self.seen(endpoints, role);
            let results = lists.iter().map(|list| Picture::expected(list, bytes).matches(&seen));
            let mut wrong = results.filter_map(Result::err).peekable();
            if wrong.by_ref().count() == lists.len() {
                let expected = Picture::expected(&lists[0], bytes);
                let why = expected.matches(&seen).err().unwrap_or_default();
                let others = if lists.len() > 1 { " (or another form of it)" } else { "" };
                return Err(format!("{} in the {} role{others}:{why}", self.case.name, role.name()));
            }
        }
        Ok(())
    }
}

/// Waits until the agent shows what it must for all of these, or shows everything that is wrong.
#[track_caller]
pub(crate) fn check_all(api: &Api, played: &[Played]) {
    wait::settle(wait::SETTLE, "every case is counted as it should be", || {
        let endpoints = api.endpoints();
        let wrong: Vec<String> = played.iter().filter_map(|case| case.check(&endpoints).err()).collect();
        if wrong.is_empty() {
            return rows::accounting_closes(&api.accounting());
        }
        let names: Vec<&str> = played.iter().map(Played::name).collect();
        Err(format!("{} of {} cases are wrong:\n{}", wrong.len(), names.len(), wrong.join("\n")))
    });
}

fn client(bytes: impl AsRef<[u8]>) -> Step {
    Step::Client(bytes.as_ref().to_vec())
}

fn server(bytes: impl AsRef<[u8]>) -> Step {
    Step::Server(bytes.as_ref().to_vec())
}

/// These steps, so many times.
fn again(times: usize, steps: &[Step]) -> Vec<Step> {
    steps.iter().cloned().cycle().take(times * steps.len()).collect()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// What every kernel and every family is asked: a dozen, and quick.
pub(crate) fn basic() -> Vec<Case> {
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
            vec![client("GET /old HTTP/1.0\r\n\r\n"), server("HTTP/1.0 200 OK\r\n\r\nall"), Step::ServerClose],
            vec![answered("GET /old", 200).http10()],
        ),
        Case::new(
            "chunked with trailers both ways",
            vec![
                client("POST /chunked HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"),
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
            vec![answered("DELETE /thing", 204), answered("GET /thing", 304), answered("GET /after", 200)],
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
            vec![client(get("/half")), Step::ClientHalfClose, server(OK), Step::ServerClose],
            vec![answered("GET /half", 200)],
        ),
    ]
}

/// The rest, for TCP.
pub(crate) fn more() -> Vec<Case> {
    let mut cases = framing();
    cases.extend(heads());
    cases.extend(switching());
    cases.extend(endings());
    cases
}

fn framing() -> Vec<Case> {
    let bulk = vec![b'x'; 16 * 1024];
    let chunk = [format!("{:x}\r\n", bulk.len()).as_bytes(), &bulk, b"\r\n"].concat();
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
            vec![answered("POST /first", 200), answered("POST /second", 200), answered("GET /third", 200)],
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
            "1 MB by length, in many writes",
            [
                vec![client(get("/bulk")), server("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n")],
                vec![server(&bulk); 64],
                vec![client(get("/after")), server(OK)],
            ]
            .concat(),
            vec![answered("GET /bulk", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "1 MB chunked, in many writes",
            [
                vec![client(get("/bulk")), server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")],
                vec![server(&chunk); 64],
                vec![server("0\r\n\r\n"), client(get("/after")), server(OK)],
            ]
            .concat(),
            vec![answered("GET /bulk", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "1 MB upload, in many writes",
            [
                vec![client("POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1048576\r\n\r\n")],
                vec![client(&bulk); 64],
                vec![server(OK), client(get("/after")), server(OK)],
            ]
            .concat(),
            vec![answered("POST /bulk", 200), answered("GET /after", 200)],
        ),
        Case::new(
            "silence between requests",
            again(2, &[client(get("/plain")), server(OK), Step::Pause(Duration::from_millis(1500))]),
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
            vec![server("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"), Step::ServerClose],
            vec![],
        ),
        Case::new(
            "something else than HTTP",
            vec![client(b"\x16\x03\x01\x02\x00\x01\x00"), server(b"\x16\x03\x03\x00\x7a\x02"), client(b"\x17\x03\x03")],
            vec![],
        )
        .messages(0, 0),
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
        .or(vec![answered("GET /padded", 200), ended("GET /padded", "unknown").status(200)]),
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
            vec![client("GET http://example.com/absolute?key=value HTTP/1.1\r\nHost: example.com\r\n\r\n"), server(OK)],
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
    let tunnel = [client(b"\x81\x05hello"), server(b"\x81\x05world"), client(get("/inside")), server(OK)];
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
            vec![answered("CONNECT example.com:443", 200)],
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
            vec![answered("CONNECT example.com:443", 403), answered("GET /after", 200)],
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

/// The agent starts at [`Step::Mark`]; what came before is not known, what comes after is counted as ever.
pub(crate) fn joined() -> Vec<Case> {
    let after = [client(get("/after")), server(OK), client(get("/after")), server(OK)];
    let counted = answered("GET /after", 200).times(2);
    let join = |name: &'static str, before: Vec<Step>, rest: Vec<Step>| {
        let steps = [before, vec![Step::Mark], rest, after.to_vec()].concat();
        Case::new(name, steps, counted.clone()).any_bytes()
    };
    vec![
        join("started between two exchanges", vec![client(get("/before")), server(OK)], vec![]),
        join(
            "started in the middle of a request's head",
            vec![client("GET /before HTTP/1.1\r\nHost: 127.")],
            vec![client("0.0.1\r\nAccept: */*\r\n\r\n"), server(OK)],
        ),
        join(
            "started in the middle of a request's body",
            vec![client("POST /before HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nhello")],
            vec![client("world"), server(OK)],
        ),
        join("started before the answer", vec![client(get("/before"))], vec![server(OK)]),
        join(
            "started in the middle of an answer's head",
            vec![client(get("/before")), server(&OK[..20])],
            vec![server(&OK[20..])],
        ),
        join(
            "started in the middle of an answer's body",
            vec![client(get("/before")), server(&OK[..OK.len() - 2])],
            vec![server("lo")],
        ),
    ]
}

/// Only these operations, and nothing of what came before the agent but as cut or unknown.
pub(crate) fn check_joined(played: &Played, endpoints: &[serde_json::Value]) -> Result<(), String> {
    for role in Role::BOTH {
        let mut rest = endpoints.to_vec();
        // An exchange joined in the middle may be shown, as what it is; it has no route that was not seen.
        rest.retain(|endpoint| endpoint["operation"] == "GET /after");
        let expected = Picture::expected(&played.case.server[0], None);
        let context = |why: String| format!("{} in the {} role:{why}", played.name(), role.name());
        expected.matches(&played.seen(&rest, role)).map_err(context)?;
        let all = played.seen(endpoints, role);
        let known = all.outcome("answered");
        let honest = all.outcome("cut") + all.outcome("unknown");
        if known != 2 || all.requests() != known + honest || honest > 1 {
            return Err(context(format!("\n{all}")));
        }
    }
    Ok(())
}
