//! The agent's JSON API, asked over a socket of our own.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;

use crate::client::{Connection, Reply};

/// Where an agent listens.
#[derive(Clone, Debug)]
pub struct Api {
    address: SocketAddr,
}

impl Api {
    /// An agent on this port of 127.0.0.1.
    pub fn new(port: u16) -> Self {
        Self {
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Asks for a path, on a connection of its own.
    ///
    /// # Errors
    /// Nobody listens, or the answer is no HTTP.
    pub fn ask(&self, path: &str) -> io::Result<Reply> {
        Connection::tcp(self.address)?.get(path)
    }

    /// The status of a path.
    ///
    /// # Errors
    /// See [`Self::ask`].
    pub fn status(&self, path: &str) -> io::Result<u16> {
        Ok(self.ask(path)?.status)
    }

    /// The JSON at a path.
    ///
    /// # Panics
    /// If the answer is not 200 with JSON.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let reply = self
            .ask(path)
            .unwrap_or_else(|error| panic!("cannot ask the agent for {path}: {error}"));
        let body = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("GET {path}: {error}: {body}"))
    }

    /// The JSON that a POST of this body is answered with.
    ///
    /// # Panics
    /// If the answer is not of the 200s, with JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> Value {
        let answer = Connection::tcp(self.address).and_then(|mut api| api.request("POST", path, body.as_bytes()));
        let reply = answer.unwrap_or_else(|error| panic!("cannot post to {path}: {error}"));
        let said = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status / 100, 2, "POST {path}: {said}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("POST {path}: {error}: {said}"))
    }

    /// Every endpoint since start.
    ///
    /// # Panics
    /// If the answer is not as the contract says.
    #[track_caller]
    pub fn endpoints(&self) -> Vec<Value> {
        match self.get("/api/v1/endpoints?window=start&limit=1000")["endpoints"].take() {
            Value::Array(endpoints) => endpoints,
            other => panic!("`endpoints` is not an array: {other}"),
        }
    }

    /// The books: `accounting` of the agent's own page.
    #[track_caller]
    pub fn accounting(&self) -> Value {
        self.get("/api/v1/agent")["accounting"].take()
    }
}

/// A number that must be there.
///
/// # Panics
/// If it is not a whole number.
#[track_caller]
pub fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a whole number: {value}"))
}

/// A number that must be there.
///
/// # Panics
/// If it is not a number.
#[track_caller]
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}
