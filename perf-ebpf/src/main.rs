//! perf-agent's kernel side. Read the files in this order and you follow one byte: a hook sees a segment
//! ([`hooks`]), [`capture`] looks its connection up ([`connection`], [`filter`]) and decides how much of it is wanted,
//! [`syscall`] finds the process's buffers, [`buffers`] reads them, [`emit`] puts a record into the ring buffer
//! ([`maps`]). Datagrams go a way of their own ([`datagram`]). Plaintext of TLS sessions joins them behind [`tls`], and before
//! it what a client says in plain text ([`hello`]); invocations
//! of chosen functions ([`function`]) are records of their own, and so is which tasks work for which ([`handover`]). [`kernel`]
//! is the only reader of the kernel's own structs.
//!
//! It only ever observes: no helper that writes to a process, a packet or a return value is called (a test inspects
//! the built object). Tracing programs can be preempted on recent kernels, so nothing is built in per-CPU scratch
//! memory: records grow in the ring buffer itself.
#![no_std]
#![no_main]

mod hooks;

mod buffers;
mod capture;
mod connection;
mod datagram;
mod emit;
mod filter;
mod frames;
mod function;
mod handover;
mod hello;
mod kernel;
mod maps;
mod network;
mod process;
mod rustls;
mod syscall;
mod task;
mod tls;

/// The kernel checks this text before it allows GPL-only helpers; the sources are MIT or GPL-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
