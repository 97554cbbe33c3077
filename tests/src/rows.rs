//! What is compared: the exchanges that a test knows of, and the endpoints that the agent shows, both brought into the
//! same form and shown side by side when they differ.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use crate::api::{Api, whole};
use crate::wait;

/// Which side of the exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The process received the requests.
    Server,
    /// The process sent the requests.
    Client,
}

impl Role {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Server, Self::Client];

    /// The API's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// Where a server listens: what tells a test's exchanges from everything else on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A TCP port.
    Port(u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl At {
    /// Is this endpoint about the server here (server role), or about requests to it (client role)?
    pub fn is(&self, endpoint: &Value, role: Role) -> bool {
        if endpoint["role"] != role.name() {
            return false;
        }
        match (self, role) {
            (Self::Port(port), Role::Server) => endpoint["service"]["port"] == *port,
            (Self::Port(port), Role::Client) => endpoint["peer"]["port"] == *port,
            (Self::Unix(path), Role::Server) => is_path(&endpoint["service"]["socket"], path),
            // Where a request names a host, that stands for its peer: the tests' own name none.
            (Self::Unix(path), Role::Client) => is_path(&endpoint["peer"]["socket"], path),
        }
    }

    /// The endpoints here.
    pub fn endpoints(&self, api: &Api, role: Role) -> Vec<Value> {
        let mut endpoints = api.endpoints();
        endpoints.retain(|endpoint| self.is(endpoint, role));
        endpoints
    }
}

fn is_path(value: &Value, path: &std::path::Path) -> bool {
    value.as_str().is_some_and(|text| path.to_str() == Some(text))
}

/// One exchange as a test expects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// As the API says it.
    pub protocol: &'static str,
    /// Method and route.
    pub operation: String,
    /// As sent, if one was.
    pub status: Option<u16>,
    /// As the API says it.
    pub outcome: &'static str,
}

/// An HTTP/1.1 exchange that was answered.
pub fn answered(operation: &str, status: u16) -> Expect {
    Expect {
        protocol: "http/1.1",
        operation: operation.to_owned(),
        status: Some(status),
        outcome: "answered",
    }
}

/// An HTTP/1.1 exchange that ended in another way, before a status was sent.
pub fn ended(operation: &str, outcome: &'static str) -> Expect {
    Expect {
        protocol: "http/1.1",
        operation: operation.to_owned(),
        status: None,
        outcome,
    }
}

impl Expect {
    /// The same with HTTP/1.0.
    #[must_use]
    pub fn http10(mut self) -> Self {
        self.protocol = "http/1.0";
        self
    }

    /// The same with this status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// This many of them.
    pub fn times(&self, count: usize) -> Vec<Self> {
        vec![self.clone(); count]
    }
}

/// Counts of one protocol and operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    requests: u64,
    statuses: BTreeMap<String, u64>,
    outcomes: BTreeMap<String, u64>,
}

/// What happened at one place in one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    rows: BTreeMap<(String, String), Row>,
    bytes: Option<Bytes>,
}

/// Bytes of messages, from the observed process's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// It read them.
    pub received: u64,
    /// It wrote them.
    pub sent: u64,
}

impl Picture {
    /// What a test expects; without `bytes` they are not compared.
    pub fn expected(exchanges: &[Expect], bytes: Option<Bytes>) -> Self {
        let mut rows: BTreeMap<_, Row> = BTreeMap::new();
        for exchange in exchanges {
            let row = rows
                .entry((exchange.protocol.to_owned(), exchange.operation.clone()))
                .or_default();
            row.requests += 1;
            if let Some(status) = exchange.status {
                *row.statuses.entry(status.to_string()).or_default() += 1;
            }
            *row.outcomes.entry(exchange.outcome.to_owned()).or_default() += 1;
        }
        Self { rows, bytes }
    }

    /// What the agent shows.
    ///
    /// # Panics
    /// If an endpoint is not as the contract says.
    #[track_caller]
    pub fn seen(endpoints: &[Value], at: &At, role: Role) -> Self {
        let mut rows: BTreeMap<_, Row> = BTreeMap::new();
        let mut bytes = Bytes::default();
        for endpoint in endpoints.iter().filter(|endpoint| at.is(endpoint, role)) {
            let text = |field: &str| {
                let value = endpoint[field].as_str();
                value
                    .unwrap_or_else(|| panic!("`{field}` is no text: {endpoint}"))
                    .to_owned()
            };
            let row = rows.entry((text("protocol"), text("operation"))).or_default();
            row.requests += whole(&endpoint["requests"]);
            add_counts(&mut row.statuses, &endpoint["statuses"]);
            add_counts(&mut row.outcomes, &endpoint["outcomes"]);
            bytes.received += whole(&endpoint["bytes"]["received"]);
            bytes.sent += whole(&endpoint["bytes"]["sent"]);
        }
        Self {
            rows,
            bytes: Some(bytes),
        }
    }

    /// Requests of all operations.
    pub fn requests(&self) -> u64 {
        self.rows.values().map(|row| row.requests).sum()
    }

    /// Exchanges of all operations that ended so.
    pub fn outcome(&self, name: &str) -> u64 {
        self.rows.values().filter_map(|row| row.outcomes.get(name)).sum()
    }

    /// Bytes moved, if known.
    pub fn bytes(&self) -> Option<Bytes> {
        self.bytes
    }

    /// The operations.
    pub fn operations(&self) -> Vec<&str> {
        self.rows.keys().map(|(_, operation)| operation.as_str()).collect()
    }

    /// The same, as far as this picture says something.
    ///
    /// # Errors
    /// Both pictures.
    pub fn matches(&self, seen: &Self) -> Result<(), String> {
        let bytes_agree = self.bytes.is_none() || self.bytes == seen.bytes;
        if self.rows == seen.rows && bytes_agree {
            Ok(())
        } else {
            Err(format!("\n  expected:\n{self}  the agent shows:\n{seen}"))
        }
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            writeln!(f, "    nothing")?;
        }
        for ((protocol, operation), row) in &self.rows {
            writeln!(
                f,
                "    {protocol} {operation}: {} {:?} {:?}",
                row.requests, row.statuses, row.outcomes
            )?;
        }
        match self.bytes {
            Some(bytes) => writeln!(f, "    received {} bytes, sent {}", bytes.received, bytes.sent),
            None => writeln!(f, "    any bytes"),
        }
    }
}

fn add_counts(counts: &mut BTreeMap<String, u64>, of: &Value) {
    for (name, count) in of.as_object().into_iter().flatten() {
        let count = whole(count);
        if count != 0 {
            *counts.entry(name.clone()).or_default() += count;
        }
    }
}

/// Waits until the agent shows these exchanges at this place in this role, no more and no less.
///
/// # Panics
/// If it does not in time, with both pictures and what was lost.
#[track_caller]
pub fn expect(api: &Api, at: &At, role: Role, expected: &Picture) {
    let what = format!("{at:?} in the {} role", role.name());
    wait::settle(wait::SETTLE, &what, || {
        let matched = expected.matches(&Picture::seen(&api.endpoints(), at, role));
        // What was lost, if anything: a machine that others keep busy can overflow the ring buffers.
        matched.map_err(|difference| format!("{difference}\n  {}", api.accounting()["records"]))
    });
}

/// [`expect`] in both roles: bytes are given from the server's side.
///
/// # Panics
/// See [`expect`].
#[track_caller]
pub fn expect_both(api: &Api, at: &At, exchanges: &[Expect], server: Option<Bytes>) {
    let client = server.map(|bytes| Bytes {
        received: bytes.sent,
        sent: bytes.received,
    });
    expect(api, at, Role::Server, &Picture::expected(exchanges, server));
    expect(api, at, Role::Client, &Picture::expected(exchanges, client));
}

/// The identity that holds at any moment: every exchange opened is counted under exactly one heading.
///
/// # Errors
/// The numbers, if they do not add up.
pub fn accounting_closes(accounting: &Value) -> Result<(), String> {
    let exchanges = &accounting["exchanges"];
    let parts = [
        "answered",
        "client_aborted",
        "server_closed",
        "cut",
        "unknown",
        "in_flight",
    ];
    let sum: u64 = parts.iter().map(|part| whole(&exchanges[part])).sum();
    let streams = &accounting["streams"];
    if whole(&streams["opened"]) != whole(&streams["closed"]) + whole(&streams["open"]) {
        Err(format!("opened is not the sum of the rest: {streams}"))
    } else if sum == whole(&exchanges["opened"]) {
        Ok(())
    } else {
        Err(format!("opened is not the sum of the rest: {exchanges}"))
    }
}
