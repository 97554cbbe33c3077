//! Functions of runtimes in which one task hands over to another what it wants done.

use aya_ebpf::{
    helpers::bpf_probe_read_user,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{handover, maps::no_private_stack};

// hook: func (pc *persistConn) roundTrip(req *transportRequest)   of net/http, in registers since Go 1.17
#[uprobe(multi)]
#[inline(always)]
fn go_http_asks(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let asked = unsafe { (*ctx.regs).rbx };
    // It begins with the `*Request` that the connection's writer gets.
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let request = unsafe { bpf_probe_read_user(asked as *const u64).unwrap_or(0) };
    handover::puts_down(request);
    0
}

// hook: func (r *Request) write(w io.Writer, usingProxy bool, extraHeaders Header, waitForContinue func() bool) error
#[uprobe(multi)]
#[inline(always)]
fn go_http_writes(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    handover::takes_up(unsafe { (*ctx.regs).rax });
    0
}

// hook: PyObject *PyContext_CopyCurrent(void)   since CPython 3.7: for each task, timer and thread of a pool
#[uretprobe(multi)]
#[inline(always)]
fn python_context_copied(ctx: RetProbeContext) -> u32 {
    no_private_stack(&ctx);
    handover::begets(ctx.ret());
    0
}

// hook: cdef UVStream._initiate_write(self)   of uvloop: what a coroutine writes is sent later, by the loop
#[uprobe(multi)]
#[inline(always)]
fn uvloop_writes(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    handover::puts_down(ctx.arg(0).unwrap_or(0));
    0
}

// hook: cdef UVStream._exec_write(self)
#[uprobe(multi)]
#[inline(always)]
fn uvloop_sends(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    handover::sends_for(ctx.arg(0).unwrap_or(0));
    0
}
