//! Processes and services: who it is that moves the bytes.
//!
//! A service is an observed program: executable, container, unit, and what it listens on. Workers of one server and its
//! restarts are one service. What is not known is `None`; for an interpreter (`python3`, `node`, `java`) the executable
//! and the port are all that the kernel tells, so that is what the service is called and told apart by.

use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;

/// Processes kept; beyond it the ones heard of first are forgotten.
pub const PROCESSES: usize = 32_768;

/// Processes of one service that are listed; more are counted in no list but their exchanges are.
pub const PIDS: usize = 1_024;

/// What makes a service: two that agree in this are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// What people call it: the unit without its suffix, else the executable's file name, else the process's name.
    pub name: CompactString,
    /// Path of the executable.
    pub exe: Option<CompactString>,
    /// Container id, 64 hexadecimal digits.
    pub container: Option<CompactString>,
    /// systemd unit.
    pub unit: Option<CompactString>,
    /// Local port; server role over TCP only.
    pub port: Option<u16>,
    /// Path of the Unix socket; server role over a Unix socket only.
    pub socket: Option<CompactString>,
}

/// An observed program and its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Who it is.
    pub key: Arc<ServiceKey>,
    /// Its living processes, ascending; at most [`PIDS`].
    pub pids: Vec<u32>,
}

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Path of the executable.
    pub exe: Option<CompactString>,
    /// The process's name.
    pub comm: CompactString,
    /// Container id.
    pub container: Option<CompactString>,
    /// systemd unit.
    pub unit: Option<CompactString>,
}
