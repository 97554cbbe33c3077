//! What crosses the line between the kernel side (`perf-ebpf`) and the user side (`perf-agent`).
//!
//! Only integers and byte arrays cross it, laid out by `#[repr(C)]` with explicit padding: a Rust enum, `bool`,
//! `Option` or reference has values that the other side could not trust. Numbers become enums on the user side by
//! checked conversions. The crate has no dependencies, no features and no `unsafe`; the kernel side writes the structs
//! in place, the user side decodes them from bytes.
//!
//! Read in this order: [`record`] (what the ring buffer carries), [`state`] (what the kernel keeps per connection),
//! [`settings`] (what the user side tells the kernel side), [`counters`] (what the kernel side counts), [`sniff`]
//! (which first bytes are of interest).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod counters;
pub mod function;
pub mod record;
pub mod settings;
pub mod sniff;
pub mod state;

/// Version of everything in this crate. Written into recorded files; a reader refuses another major layout.
pub const ABI_VERSION: u32 = 3;
