//! Whole-program tests, on the kernel they run on:
//!
//! `PERF_AGENT_BIN=…/perf-agent cargo test -p perf-agent-tests --test it -- --test-threads=1`
//!
//! [`truth`] proves the servers and clients against each other without the agent. What needs something that the machine
//! lacks says so and passes, except in CI. Tests whose names start with `vm_` are also run inside virtual machines of
//! several kernels.

mod cases;
mod configuration;
mod contract;
mod decisions;
mod filters;
mod functions;
mod grpc;
mod http2;
mod http_cases;
mod lifecycle;
mod names;
mod overload;
mod passive;
mod prometheus;
mod servers;
mod services;
mod sockets;
mod stores;
mod streams;
mod tls;
mod truth;
mod vm;
mod work;
