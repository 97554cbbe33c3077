//! Functions and static probes that the operator chose. Which one it is, a probe is told when it is attached.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_attach_cookie,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use perf_common::function::cookie;

use crate::{
    function::{self, Place},
    kernel::Thread,
    maps::no_private_stack,
    tls::running_goroutine,
};

// hook: a function's first instruction, or a static probe that begins something
#[uprobe(multi)]
#[inline(always)]
fn function_entered(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let (stack, r14) = unsafe { ((*ctx.regs).rsp, (*ctx.regs).r14) };
    let thread = Thread::current();
    function::entered(thread, place(&ctx, thread, stack, r14));
    0
}

// hook: a function's return. Its return address, which the stack's end stood at when it began, is taken off already.
#[uretprobe(multi)]
#[inline(always)]
fn function_returned(ctx: RetProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let stack = unsafe { (*ctx.regs).rsp }.wrapping_sub(8);
    let thread = Thread::current();
    function::returned(thread, place(&ctx, thread, stack, 0));
    0
}

// hook: a return instruction of a Go function, or a static probe that ends something
#[uprobe(multi)]
#[inline(always)]
fn function_left(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let (stack, r14) = unsafe { ((*ctx.regs).rsp, (*ctx.regs).r14) };
    let thread = Thread::current();
    function::returned(thread, place(&ctx, thread, stack, r14));
    0
}

// hook: a static probe
#[uprobe(multi)]
#[inline(always)]
fn function_passed(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    function::passed(Thread::current(), told(&ctx) as u32);
    0
}

/// What the probe was told when it was attached.
#[inline(always)]
fn told<C: EbpfContext>(ctx: &C) -> u64 {
    // SAFETY: the context is a uprobe's. In kernels since 5.15; the user side loads the programs nowhere else.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

/// Whose invocation it is. `r14` holds the goroutine since Go 1.17 (src/cmd/compile/abi-internal.md).
#[inline(always)]
fn place<C: EbpfContext>(ctx: &C, thread: Thread, stack: u64, r14: u64) -> Place {
    let told = told(ctx);
    let is_go = told & (cookie::GO_REGISTERS | cookie::GO_STACK) != 0;
    let (who, depth) = if is_go {
        let goroutine = if told & cookie::GO_REGISTERS != 0 {
            r14
        } else {
            running_goroutine(thread)
        };
        (goroutine, function::depth_of_goroutine(goroutine, stack))
    } else {
        (u64::from(thread.tid), 0u64.wrapping_sub(stack))
    };
    Place {
        function: told as u32,
        who,
        depth,
        may_begin_again: is_go,
        is_pair: told & cookie::PAIR != 0,
    }
}
