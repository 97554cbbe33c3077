//! Empty programs on the hooks of every backend, and on functions of user space: what a hook costs before any work is
//! done. The benchmarks run them beside the real ones.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, fexit, kprobe, uprobe, uretprobe},
    programs::{BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};

/// The kernel checks this text before it allows GPL-only helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[btf_tracepoint(function = "sock_send_length")]
fn empty_tracepoint_sent(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
fn empty_tracepoint_received(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "sk_data_ready")]
fn empty_tracepoint_arrived(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[fexit(function = "tcp_sendmsg")]
fn empty_fentry_sent(_ctx: FExitContext) -> i32 {
    0
}

#[fexit(function = "tcp_recvmsg")]
fn empty_fentry_received(_ctx: FExitContext) -> i32 {
    0
}

#[fentry(function = "sock_def_readable")]
fn empty_fentry_arrived(_ctx: FEntryContext) -> i32 {
    0
}

#[kprobe]
fn empty_kprobe_sent(_ctx: ProbeContext) -> u32 {
    0
}

#[kprobe]
fn empty_kprobe_received(_ctx: ProbeContext) -> u32 {
    0
}

#[kprobe]
fn empty_kprobe_arrived(_ctx: ProbeContext) -> u32 {
    0
}

#[uprobe(multi)]
fn empty_uprobe_entered(_ctx: ProbeContext) -> u32 {
    0
}

#[uretprobe(multi)]
fn empty_uprobe_returned(_ctx: RetProbeContext) -> u32 {
    0
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
