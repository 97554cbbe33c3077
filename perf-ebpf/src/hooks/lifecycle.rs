//! When data arrives, and when connections change and end. The same for every backend but for where arrivals are seen.

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, kprobe},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext},
};
use perf_common::settings::offset;

use crate::{
    connection,
    kernel::{Socket, Stream, follow},
};

/// `TCP_LISTEN`: what arrives there is a connection, not data.
const TCP_LISTEN: u8 = 10;

// hook: void sk_data_ready(const struct sock *sk)   since 6.3
#[btf_tracepoint(function = "sk_data_ready")]
#[inline(always)]
fn tracepoint_arrived(ctx: BtfTracePointContext) -> i32 {
    arrived(Socket::typed(ctx.arg(0)));
    0
}

// hook: void sock_def_readable(struct sock *sk)   since 2.6
#[fentry(function = "sock_def_readable")]
#[inline(always)]
fn fentry_arrived(ctx: FEntryContext) -> i32 {
    arrived(Socket::typed(ctx.arg(0)));
    0
}

// hook: void sock_def_readable(struct sock *sk)   since 2.6
#[kprobe]
#[inline(always)]
fn kprobe_arrived(ctx: ProbeContext) -> u32 {
    if let Some(socket) = ctx.arg(0) {
        arrived(Socket::probed(socket));
    }
    0
}

#[inline(always)]
fn arrived(socket: Socket) {
    let stream = socket.stream();
    if !matches!(stream, Stream::Tcp | Stream::Unix) || socket.state() == TCP_LISTEN {
        return;
    }
    connection::arrived(socket, stream);
}

// hook: void inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)   since 4.16
#[btf_tracepoint(function = "inet_sock_set_state")]
#[inline(always)]
fn state_changed(ctx: BtfTracePointContext) -> i32 {
    connection::changed(Socket::typed(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
    0
}

// hook: void tcp_destroy_sock(struct sock *sk)   since 4.16
#[btf_tracepoint(function = "tcp_destroy_sock")]
#[inline(always)]
fn tcp_destroyed(ctx: BtfTracePointContext) -> i32 {
    connection::destroyed(Socket::typed(ctx.arg(0)));
    0
}

// hook: void unix_release_sock(struct sock *sk, int embrion)   since 2.6
#[fentry(function = "unix_release_sock")]
#[inline(always)]
fn fentry_unix_destroyed(ctx: FEntryContext) -> i32 {
    connection::destroyed(Socket::typed(ctx.arg(0)));
    0
}

// hook: void unix_release_sock(struct sock *sk, int embrion)   since 2.6
#[kprobe]
#[inline(always)]
fn kprobe_unix_destroyed(ctx: ProbeContext) -> u32 {
    if let Some(socket) = ctx.arg(0) {
        // This backend does not see that a read found the end of the stream, so the peer is told of it here.
        connection::peer_closed(Socket::probed(follow(socket, offset::UNIX_PEER)));
        connection::destroyed(Socket::probed(socket));
    }
    0
}
