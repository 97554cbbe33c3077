//! Functions of rustls 0.23: of its inside, since those of its interface are compiled into their callers.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::{maps::no_private_stack, rustls};

// hook: fn DeframerVecBuffer::read(&mut self, rd: &mut dyn Read, in_handshake: bool) -> io::Result<usize>
#[uprobe(multi)]
#[inline(always)]
fn rustls_receives(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    rustls::receives(ctx.arg(0).unwrap_or(0));
    0
}

// hook: fn CommonState::take_received_plaintext(&mut self, bytes: Payload)
#[uprobe(multi)]
#[inline(always)]
fn rustls_received(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    rustls::received(ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0));
    0
}

// hook: fn CommonState::buffer_plaintext(&mut self, payload: OutboundChunks, …) -> usize
#[uprobe(multi)]
#[inline(always)]
fn rustls_takes(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let stack = unsafe { (*ctx.regs).rsp };
    rustls::takes(ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0), stack);
    0
}

// hook: fn <ConnectionCommon as PlaintextSink>::write_vectored(&mut self, bufs: &[IoSlice]) -> io::Result<usize>
#[uprobe(multi)]
#[inline(always)]
fn rustls_takes_pieces(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    let argument = |index| ctx.arg::<u64>(index).unwrap_or(0);
    // SAFETY: the context of a uprobe is its registers.
    let stack = unsafe { (*ctx.regs).rsp };
    rustls::takes_pieces(argument(0), argument(1), argument(2), stack);
    0
}

// hook: fn ChunkVecBuffer::write_to(&mut self, wr: &mut dyn Write) -> io::Result<usize>
#[uprobe(multi)]
#[inline(always)]
fn rustls_sends(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    rustls::sends(ctx.arg(0).unwrap_or(0), unsafe { (*ctx.regs).rsp });
    0
}
