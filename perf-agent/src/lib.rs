//! perf-agent: an eBPF HTTP observer for one Linux host.
//!
//! One direction, no cycles: record → event → connection → exchange → aggregate → snapshot → outputs. The modules below
//! stand in that order. Everything down to [`snapshot`] is pure: no clock, file, socket or async code; time comes in
//! with the data, so a recorded file replays to the same statistics. What follows are edges; they know the core and not
//! each other, and [`agent`] introduces them.

pub mod advice;
pub mod aggregate;
pub mod alert;
pub mod attribution;
pub mod custom;
pub mod datagrams;
pub mod endpoint;
pub mod event;
pub mod exchange;
pub mod health;
pub mod ledger;
pub mod pipeline;
pub mod process;
pub mod protocol;
pub mod request_log;
pub mod resources;
pub mod snapshot;
pub mod statistics;
pub mod stream;
pub mod targets;
pub mod threshold;

pub mod agent;
pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decide;
mod disk;
pub mod functions;
pub mod history;
pub mod host;
#[cfg(feature = "kernel")]
pub mod image;
#[cfg(feature = "kernel")]
pub(crate) mod maps;
pub mod notify;
pub mod privileges;
#[cfg(feature = "kernel")]
pub mod probe;
pub mod prometheus;
pub mod socket_file;
pub mod source;
pub mod statsd;
pub mod store;
#[cfg(test)]
mod synthetic;
#[cfg(feature = "kernel")]
pub mod tasks;
#[cfg(feature = "kernel")]
pub mod tls;
pub mod trace_line;
pub mod usage;
