//! HTTP/1 conversations, and beside each what must be counted. [`crate::http_cases`] plays them all against one agent,
//! [`crate::vm`] some of them against each backend.
//!
//! Every case has a server port (or Unix socket) of its own, so what the agent shows for it is the case's and nothing
//! else. The requests' host is an address and no name, so that clients' endpoints show where they connected to.

mod basic;
mod joined;
mod more;

use perf_agent_tests::api::Api;
use perf_agent_tests::rows::{self, At, Bytes, Expect, Picture, Role};
use perf_agent_tests::socket::{Family, Listener};
use perf_agent_tests::tape::Tape;
use perf_agent_tests::wait;
use perf_agent_tests::ways::Way;
use perf_agent_tests::wire::{Moved, Step, Wire};

pub(crate) use basic::{basic, bodies};
pub(crate) use joined::{check_joined, joined};
pub(crate) use more::more;

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
    /// The case's name, and how it was played.
    name: String,
    at: At,
    moved: Moved,
    /// Keeps the port; none on a tape.
    _listener: Option<Listener>,
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
            name: format!("{} by {} over {family:?}", case.name, way.name),
            at: listener.at(),
            moved,
            _listener: Some(listener),
        }
    }

    /// Writes the case to a tape, at this port.
    pub(crate) fn record(case: &Case, tape: &mut Tape, port: u16) -> Self {
        Self {
            case: case.clone(),
            name: case.name.to_owned(),
            at: At::Port(port),
            moved: tape.play(&case.steps, port),
            _listener: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
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
            let wrong: Vec<String> = lists
                .iter()
                .filter_map(|list| Picture::expected(list, bytes).matches(&seen).err())
                .collect();
            if wrong.len() == lists.len() {
                let why = wrong.join("\n  or");
                return Err(format!("{} in the {} role:{why}", self.name, role.name()));
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
        Err(format!(
            "{} of {} cases are wrong:\n{}",
            wrong.len(),
            names.len(),
            wrong.join("\n")
        ))
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
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
