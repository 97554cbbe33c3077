//! What every server here answers, and the books of who asked for what.

use std::collections::BTreeMap;

use crate::rows::{Expect, answered};

/// Bytes of `/page`: more than a TLS record takes.
pub const PAGE: u64 = 20_000;
/// Bytes of `/large`.
pub const LARGE: u64 = 1_048_576;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2, agreed upon in the handshake.
    Two,
}

impl Http {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::One, Self::Two];

    /// The API's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "http/1.1",
            Self::Two => "http/2",
        }
    }

    /// As the clients take it.
    pub fn digit(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
        }
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// Bytes of its body.
    pub body: usize,
}

/// What came of one, as its client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Bytes of its body.
    pub body: u64,
    /// From the request until the last byte of the answer, as far as the client tells; a handshake may be in it.
    pub took_ns: u64,
}

/// A GET.
pub const fn get(path: &'static str) -> Ask {
    Ask {
        method: "GET",
        path,
        body: 0,
    }
}

impl Ask {
    /// The status that it is answered with.
    pub fn status(&self) -> u16 {
        match self.path {
            "/hello" | "/empty" | "/page" | "/large" | "/slow" => 200,
            "/upload" => 201,
            "/nothing" => 204,
            "/gone" => 410,
            "/fail" => 500,
            _ => 404,
        }
    }

    /// Bytes of the answer's body.
    pub fn answer_bytes(&self) -> u64 {
        match self.path {
            _ if self.method == "HEAD" => 0,
            "/empty" | "/nothing" => 0,
            "/hello" => "hello\n".len() as u64,
            "/page" => PAGE,
            "/large" => LARGE,
            "/upload" => "stored\n".len() as u64,
            "/gone" => "gone\n".len() as u64,
            "/slow" => "slow\n".len() as u64,
            "/fail" => "failed\n".len() as u64,
            _ => "missing\n".len() as u64,
        }
    }

    /// As the agent is to show it.
    pub fn expected(&self, http: Http) -> Expect {
        Expect {
            protocol: http.name(),
            ..answered(&format!("{} {}", self.method, self.path), self.status())
        }
    }
}

/// Statuses, sizes and methods of all kinds.
pub fn asks() -> Vec<Ask> {
    let ask = |method, path, body| Ask { method, path, body };
    vec![
        get("/hello"),
        get("/empty"),
        get("/page"),
        ask("HEAD", "/page", 0),
        ask("POST", "/upload", 10),
        get("/fail"),
        get("/large"),
        get("/gone"),
        ask("POST", "/upload", 30_000),
        get("/nothing"),
        ask("HEAD", "/hello", 0),
        get("/hello"),
        get("/missing"),
        ask("POST", "/upload", 300_000),
        get("/page"),
        get("/hello"),
        get("/large"),
        get("/hello"),
    ]
}

/// Only what any client can ask for.
pub fn plain_asks() -> Vec<Ask> {
    asks().into_iter().filter(|ask| ask.method == "GET").collect()
}

/// Requests of one test, by who made them: the truth.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    by_client: BTreeMap<String, Vec<(Http, Ask)>>,
    took_ns: BTreeMap<String, u64>,
    answer_bytes: u64,
    request_bytes: u64,
}

impl Asked {
    /// Puts down what a program asked for and was told.
    ///
    /// # Panics
    /// If it was told something else than what the site answers.
    #[track_caller]
    pub fn add(&mut self, program: &str, http: Http, asks: &[Ask], answers: &[Answer]) {
        assert_eq!(asks.len(), answers.len(), "{program} got an answer to everything");
        for (ask, answer) in asks.iter().zip(answers) {
            let expected = (ask.status(), ask.answer_bytes());
            assert_eq!((answer.status, answer.body), expected, "{program}: {ask:?} by {http:?}");
            self.answer_bytes += answer.body;
            self.request_bytes += ask.body as u64;
            *self.took_ns.entry(program.to_owned()).or_default() += answer.took_ns;
        }
        let of_client = self.by_client.entry(program.to_owned()).or_default();
        of_client.extend(asks.iter().map(|ask| (http, *ask)));
    }

    /// What the agent is to show of all clients.
    pub fn expected(&self) -> Vec<Expect> {
        let all = self.by_client.values().flatten();
        all.map(|(http, ask)| ask.expected(*http)).collect()
    }

    /// What it is to show of each, and how long its requests took in all, 0 if the client did not say.
    pub fn by_client(&self) -> impl Iterator<Item = (&str, Vec<Expect>, u64)> {
        self.by_client.iter().map(|(program, asked)| {
            let expected = asked.iter().map(|(http, ask)| ask.expected(*http)).collect();
            (program.as_str(), expected, self.took_ns[program])
        })
    }

    /// Bytes of all bodies: of requests, of answers.
    pub fn body_bytes(&self) -> (u64, u64) {
        (self.request_bytes, self.answer_bytes)
    }

    /// How many requests.
    pub fn len(&self) -> usize {
        self.by_client.values().map(Vec::len).sum()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same requests as a server's log has them: method, path, status.
    ///
    /// # Errors
    /// What there is on one side only.
    pub fn agrees(&self, log: &[(String, String, u16)]) -> Result<(), String> {
        let mut differences: BTreeMap<(&str, &str, u16), i64> = BTreeMap::new();
        for (method, path, status) in log {
            *differences.entry((method, path, *status)).or_default() += 1;
        }
        for (_, ask) in self.by_client.values().flatten() {
            *differences.entry((ask.method, ask.path, ask.status())).or_default() -= 1;
        }
        differences.retain(|_, count| *count != 0);
        if differences.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "the server's log, more (or fewer) than the clients asked: {differences:?}"
            ))
        }
    }
}
