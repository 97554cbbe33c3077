//! Backend `fentry`: trampolines at the end of TCP's and Unix sockets' send and receive functions.
//!
//! The return value lies behind the last argument, and how many arguments there are differs: `tcp_recvmsg` has six on
//! 5.10, five on 6.12, four on 7.2. So there is a program for each number, and the user side takes the one that fits
//! the kernel's BTF. (`bpf_get_func_ret` would know, but exists only since 5.17.)

use aya_ebpf::{macros::fexit, programs::FExitContext};
use perf_common::record::direction;

use crate::{
    capture::{self, Length, Moved},
    kernel::{Socket, Stream, socket_of},
};

const MSG_PEEK: u32 = 0x2;

// hook: int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)   since 2.6
#[fexit(function = "tcp_sendmsg")]
#[inline(always)]
fn fentry_sent(ctx: FExitContext) -> i32 {
    moved(Socket::typed(ctx.arg(0)), Stream::Tcp, direction::SENT, ctx.arg(3))
}

// hook: int tcp_sendpage(struct sock *sk, struct page *page, int offset, size_t size, int flags)   until 6.4
#[fexit(function = "tcp_sendpage")]
#[inline(always)]
fn fentry_sent_page(ctx: FExitContext) -> i32 {
    moved(Socket::typed(ctx.arg(0)), Stream::Tcp, direction::SENT, ctx.arg(5))
}

// hook: int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags)   since 7.0
#[fexit(function = "tcp_recvmsg")]
#[inline(always)]
fn fentry_received_4(ctx: FExitContext) -> i32 {
    received(&ctx, ctx.arg(3), ctx.arg(4))
}

// hook: int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags, int *addr_len)   5.19 to 6.x
#[fexit(function = "tcp_recvmsg")]
#[inline(always)]
fn fentry_received_5(ctx: FExitContext) -> i32 {
    received(&ctx, ctx.arg(3), ctx.arg(5))
}

// hook: int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int nonblock, int flags, int *addr_len)
// until 5.18
#[fexit(function = "tcp_recvmsg")]
#[inline(always)]
fn fentry_received_6(ctx: FExitContext) -> i32 {
    received(&ctx, ctx.arg(4), ctx.arg(6))
}

// hook: int unix_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)   since 4.1
#[fexit(function = "unix_stream_sendmsg")]
#[inline(always)]
fn fentry_unix_sent(ctx: FExitContext) -> i32 {
    match socket_of(ctx.arg(0)) {
        Some(socket) => moved(socket, Stream::Unix, direction::SENT, ctx.arg(3)),
        None => 0,
    }
}

// hook: int unix_stream_recvmsg(struct socket *sock, struct msghdr *msg, size_t size, int flags)   since 4.1
#[fexit(function = "unix_stream_recvmsg")]
#[inline(always)]
fn fentry_unix_received(ctx: FExitContext) -> i32 {
    if ctx.arg::<u32>(3) & MSG_PEEK != 0 {
        return 0;
    }
    match socket_of(ctx.arg(0)) {
        Some(socket) if ctx.arg::<i32>(4) == 0 => {
            capture::end_of_stream(socket);
            0
        }
        Some(socket) => moved(socket, Stream::Unix, direction::RECEIVED, ctx.arg(4)),
        None => 0,
    }
}

#[inline(always)]
fn received(ctx: &FExitContext, flags: u32, ret: i32) -> i32 {
    if flags & MSG_PEEK != 0 {
        return 0;
    }
    moved(Socket::typed(ctx.arg(0)), Stream::Tcp, direction::RECEIVED, ret)
}

#[inline(always)]
fn moved(socket: Socket, stream: Stream, direction: u8, ret: i32) -> i32 {
    if ret > 0 {
        capture::moved(Moved {
            socket,
            stream,
            direction,
            length: ret as u32,
            meaning: Length::Moved,
        });
    }
    0
}
