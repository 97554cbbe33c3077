//! Backend `kprobe`: the oldest tier, needs CONFIG_KPROBES. Entry probes only, since return probes get lost under load:
//! sends are taken as asked, and what was really sent shows in the next segment's position.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use perf_common::record::direction;

use crate::{
    capture::{self, Length, Moved},
    kernel::{Socket, Stream},
    syscall,
};

const MSG_PEEK: u32 = 0x2;

// hook: int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)   since 2.6
#[kprobe]
fn kprobe_sent(ctx: ProbeContext) -> u32 {
    moved(
        Socket::probed(ctx.arg(0).unwrap_or(core::ptr::null())),
        direction::SENT,
        ctx.arg(2),
        Length::Asked,
    )
}

// hook: int tcp_sendpage(struct sock *sk, struct page *page, int offset, size_t size, int flags)   until 6.4
#[kprobe]
fn kprobe_sent_page(ctx: ProbeContext) -> u32 {
    moved(
        Socket::probed(ctx.arg(0).unwrap_or(core::ptr::null())),
        direction::SENT,
        ctx.arg(3),
        Length::Asked,
    )
}

// hook: void tcp_cleanup_rbuf(struct sock *sk, int copied)   since 2.6
#[kprobe]
fn kprobe_received(ctx: ProbeContext) -> u32 {
    let socket = Socket::probed(ctx.arg(0).unwrap_or(core::ptr::null()));
    moved(
        socket,
        direction::RECEIVED,
        ctx.arg::<u32>(1).map(u64::from),
        Length::ReadSoFar,
    )
}

#[inline(always)]
fn moved(socket: Socket, direction: u8, length: Option<u64>, meaning: Length) -> u32 {
    let Some(length) = length else { return 0 };
    if length == 0 || length > i32::MAX as u64 {
        return 0;
    }
    if meaning == Length::ReadSoFar && syscall::receive_flags(socket) & MSG_PEEK != 0 {
        return 0;
    }
    capture::moved(Moved {
        socket,
        stream: Stream::Tcp,
        direction,
        length: length as u32,
        meaning,
    });
    0
}
