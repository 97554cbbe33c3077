//! Backend `kprobe`: the oldest tier, needs CONFIG_KPROBES. Entry probes only, since return probes get lost under load:
//! sends are taken as asked, and what was really sent shows in the next segment's position.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use perf_common::{record::direction, settings::offset};

use crate::{
    capture::{self, Length, Moved},
    kernel::{Address, Socket, Stream, follow, read, socket_of},
    maps::field_offset,
};

const MSG_PEEK: u32 = 0x2;

// hook: int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)   since 2.6
#[kprobe]
#[inline(always)]
fn kprobe_sent(ctx: ProbeContext) -> u32 {
    moved(tcp(&ctx), Stream::Tcp, direction::SENT, ctx.arg(2), Length::Asked)
}

// hook: int tcp_sendpage(struct sock *sk, struct page *page, int offset, size_t size, int flags)   until 6.4
#[kprobe]
#[inline(always)]
fn kprobe_sent_page(ctx: ProbeContext) -> u32 {
    moved(tcp(&ctx), Stream::Tcp, direction::SENT, ctx.arg(3), Length::Asked)
}

// hook: void tcp_cleanup_rbuf(struct sock *sk, int copied)   since 2.6
#[kprobe]
#[inline(always)]
fn kprobe_received(ctx: ProbeContext) -> u32 {
    let length = ctx.arg::<u32>(1).map(u64::from);
    moved(tcp(&ctx), Stream::Tcp, direction::RECEIVED, length, Length::ReadSoFar)
}

// hook: int unix_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)   since 4.1
#[kprobe]
#[inline(always)]
fn kprobe_unix_sent(ctx: ProbeContext) -> u32 {
    let Some(socket) = ctx.arg(0).and_then(socket_of) else {
        return 0;
    };
    moved(socket, Stream::Unix, direction::SENT, ctx.arg(2), Length::Moved)
}

// hook: int unix_stream_read_actor(struct sk_buff *skb, int skip, int chunk, struct unix_stream_read_state *state)
// since 4.2; called for each buffer that a read takes bytes from, before they are copied
#[kprobe]
#[inline(always)]
fn kprobe_unix_received(ctx: ProbeContext) -> u32 {
    let Some(state) = ctx.arg::<Address>(3) else { return 0 };
    if read::<u32>(state, offset::READ_STATE_FLAGS) & MSG_PEEK != 0 {
        return 0;
    }
    let (Some(buffer), Some(skip)) = (ctx.arg::<Address>(0), ctx.arg::<u32>(1)) else {
        return 0;
    };
    let Some(socket) = socket_of(follow(state, offset::READ_STATE_SOCKET)) else {
        return 0;
    };
    let length = ctx.arg::<u32>(2).map(u64::from);
    moved(socket, Stream::Unix, direction::RECEIVED, length, unread(buffer, skip))
}

/// Where the bytes of a Unix socket's buffer lie that were not read yet: the first pages of a large buffer hold its end,
/// and only what lies before them is looked at.
#[inline(always)]
fn unread(buffer: Address, skip: u32) -> Length {
    // SAFETY: only the address is computed; it is read by a helper that checks it.
    let control = unsafe { buffer.add(field_offset(offset::SKB_CONTROL)) };
    let skip = skip.wrapping_add(read(control, offset::UNIX_CONSUMED));
    let linear = read::<u32>(buffer, offset::SKB_LENGTH).wrapping_sub(read(buffer, offset::SKB_DATA_LENGTH));
    Length::Part {
        // SAFETY: as above.
        queued: unsafe { follow(buffer, offset::SKB_DATA).add(skip as usize) },
        linear: linear.saturating_sub(skip),
    }
}

#[inline(always)]
fn tcp(ctx: &ProbeContext) -> Socket {
    Socket::probed(ctx.arg(0).unwrap_or(core::ptr::null()))
}

#[inline(always)]
fn moved(socket: Socket, stream: Stream, direction: u8, length: Option<u64>, meaning: Length) -> u32 {
    if let Some(length) = length
        && length > 0
        && length <= i32::MAX as u64
    {
        capture::moved(Moved {
            socket,
            stream,
            direction,
            length: length as u32,
            meaning,
        });
    }
    0
}
