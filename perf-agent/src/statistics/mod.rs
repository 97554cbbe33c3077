//! Statistics: from exchanges to snapshots. Owns every table of the core behind the dissectors.

use std::sync::Arc;

use crate::aggregate::ErrorRule;
use crate::endpoint::RouteError;
use crate::event::Peers;
use crate::exchange::{Ended, Loss, Request, Role, Sink, Ticket};
use crate::ledger::Ledger;
use crate::snapshot::{LoggedExchange, Snapshot};

/// What the operator can choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Endpoints kept apart; what exceeds them is counted in `(other)`.
    pub endpoints: usize,
    /// Different values of a path segment below one parent, beyond which they become `{value}`.
    pub distinct_values: usize,
    /// The operator's own route patterns, such as `/users/{name}`.
    pub routes: Vec<String>,
    /// What counts as an error.
    pub rule: ErrorRule,
    /// Newest exchanges kept in the request log; 0 switches the log off.
    pub recent: usize,
    /// Slowest exchanges kept.
    pub slowest: usize,
}

/// Where a connection's exchanges come from; lives as long as the connection.
#[derive(Clone, Debug)]
pub struct Origin {}

impl Origin {
    /// A connection with these ends, in this role, first seen moving bytes in a thread of this name.
    pub fn new(_role: Role, _peers: Arc<Peers>, _comm: &str) -> Self {
        todo!()
    }
}

/// Everything counted.
#[derive(Debug)]
pub struct Statistics {}

impl Statistics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// [`RouteError`] if one of the operator's patterns is none.
    pub fn new(_settings: Settings) -> Result<Self, RouteError> {
        todo!()
    }
    /// Who a process is (a process record).
    pub fn process(&mut self, _tgid: u32, _exe: &[u8], _comm: &[u8], _cgroup: &[u8]) {
        todo!()
    }
    /// A process ended, or replaced its program.
    pub fn exited(&mut self, _tgid: u32, _executed: bool) {
        todo!()
    }
    /// The books, for what the earlier stages have to enter.
    pub fn ledger(&mut self) -> &mut Ledger {
        todo!()
    }
    /// Where a connection's dissector reports to.
    pub fn sink<'a>(&'a mut self, _origin: &'a mut Origin) -> ConnectionSink<'a> {
        todo!()
    }
    /// Time went on: closes slots.
    pub fn tick(&mut self, _at_ns: u64, _wall_ns: u64) {
        todo!()
    }
    /// An immutable picture as of the last tick.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        todo!()
    }
    /// Switches the keeping of every ended exchange for [`Statistics::take_traced`] on or off.
    pub fn trace(&mut self, _on: bool) {
        todo!()
    }
    /// Exchanges that ended since the last call, and how many more there were than could be kept.
    pub fn take_traced(&mut self) -> (Vec<LoggedExchange>, u64) {
        todo!()
    }
}

/// A connection's sink.
pub struct ConnectionSink<'a> {
    _statistics: &'a mut Statistics,
}

impl Sink for ConnectionSink<'_> {
    fn opened(&mut self, _request: &Request<'_>) -> Ticket {
        todo!()
    }
    fn ended(&mut self, _ticket: Ticket, _ended: &Ended) {
        todo!()
    }
    fn lost(&mut self, _loss: Loss) {
        todo!()
    }
}
