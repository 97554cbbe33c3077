//! Backend `tracepoint`: BTF tracepoints on the socket layer, Linux 6.3 and later. Needs neither kprobes nor
//! trampolines, and sees Unix sockets, UDP and kernel TLS plaintext too.

use core::hint::cold_path;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use perf_common::record::direction;

use crate::{
    capture::{self, Length, Moved},
    datagram,
    kernel::{Socket, Stream},
};

/// `MSG_OOB`, `MSG_PEEK`, `MSG_ERRQUEUE`: reads that take nothing out of the stream.
const NOT_OF_THE_STREAM: u32 = 0x1 | 0x2 | 0x2000;

// hook: void sock_send_length(struct sock *sk, int ret, int flags)   since 6.3
#[btf_tracepoint(function = "sock_send_length")]
#[inline(always)]
fn tracepoint_sent(ctx: BtfTracePointContext) -> i32 {
    moved(&ctx, direction::SENT)
}

// hook: void sock_recv_length(struct sock *sk, int ret, int flags)   since 6.3
#[btf_tracepoint(function = "sock_recv_length")]
#[inline(always)]
fn tracepoint_received(ctx: BtfTracePointContext) -> i32 {
    moved(&ctx, direction::RECEIVED)
}

#[inline(always)]
fn moved(ctx: &BtfTracePointContext, direction: u8) -> i32 {
    let ret: i32 = ctx.arg(1);
    if ret < 0 {
        return 0;
    }
    let socket = Socket::typed(ctx.arg(0));
    let stream = socket.stream();
    if stream == Stream::Other {
        return 0;
    }
    if direction == direction::RECEIVED && ctx.arg::<u32>(2) & NOT_OF_THE_STREAM != 0 {
        return 0;
    }
    if stream == Stream::Datagrams {
        cold_path();
        datagram::moved(socket, direction, ret as u32);
        return 0;
    }
    if ret > 0 {
        capture::moved(Moved {
            socket,
            stream,
            direction,
            length: ret as u32,
            meaning: Length::Moved,
        });
    } else if direction == direction::RECEIVED && stream == Stream::Unix {
        capture::end_of_stream(socket);
    }
    0
}
