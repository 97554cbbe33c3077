//! Calls of Go's `crypto/tls`. Go's compiler has a calling convention of its own, and moves stacks: a return probe would
//! leave its mark on a stack that is copied elsewhere, so every return instruction has a probe instead.
//! Handshakes have none: each read and write asks whether there was one, by the same function.

use aya_ebpf::{helpers::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};

use crate::{
    kernel::Thread,
    maps::no_private_stack,
    tls::{self, Call, Kind},
};

// hook: func (c *Conn) Read(b []byte) (int, error)   in registers since Go 1.17 (src/cmd/compile/abi-internal.md)
#[uprobe(multi)]
#[inline(always)]
fn go_read(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let (object, buffer, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rbx, (*ctx.regs).r14) };
    tls::goroutine_entered(goroutine, Call::begins(Kind::GoRead, object, buffer, 0, 0));
    0
}

// hook: func (c *Conn) Write(b []byte) (int, error)
#[uprobe(multi)]
#[inline(always)]
fn go_write(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let (object, buffer, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rbx, (*ctx.regs).r14) };
    // SAFETY: as above.
    let length = unsafe { (*ctx.regs).rcx };
    tls::goroutine_writes(goroutine, Call::begins(Kind::GoWrite, object, buffer, 0, 0), length);
    0
}

// hook: a return instruction of Read or Write, whatever the convention
#[uprobe(multi)]
#[inline(always)]
fn go_returned(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let (result, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).r14) };
    // On the stack it lies behind the return address, the receiver, and the slice's three words.
    tls::goroutine_returned(goroutine, result, on_stack(&ctx, 5));
    0
}

// hook: func (c *Conn) Read(b []byte) (int, error)   on the stack, before Go 1.17
#[uprobe(multi)]
#[inline(always)]
fn go_stack_read(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    let goroutine = tls::running_goroutine(Thread::current());
    tls::goroutine_entered(goroutine, stack_call(&ctx, Kind::GoRead));
    0
}

// hook: func (c *Conn) Write(b []byte) (int, error)
#[uprobe(multi)]
#[inline(always)]
fn go_stack_write(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    let goroutine = tls::running_goroutine(Thread::current());
    tls::goroutine_writes(goroutine, stack_call(&ctx, Kind::GoWrite), on_stack(&ctx, 3));
    0
}

/// Behind the return address lie the receiver, and the slice's address and length.
#[inline(always)]
fn stack_call(ctx: &ProbeContext, kind: Kind) -> Call {
    Call::begins(kind, on_stack(ctx, 1), on_stack(ctx, 2), tls::RESULT_ON_STACK, 0)
}

/// A word of the stack, counted from its end.
#[inline(always)]
fn on_stack(ctx: &ProbeContext, word: u64) -> u64 {
    // SAFETY: the context of a uprobe is its registers.
    let stack = unsafe { (*ctx.regs).rsp };
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    unsafe { bpf_probe_read_user((stack + 8 * word) as *const u64).unwrap_or(0) }
}
