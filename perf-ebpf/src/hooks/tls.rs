//! Calls of TLS libraries. One program for each way of passing arguments, one for every return: what a library's own
//! function is called, the user side knows, which looks for them in the files that processes map.

use aya_ebpf::{
    helpers::bpf_probe_read_user,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    maps::no_private_stack,
    tls::{self, Call, Kind},
};

// hook: int SSL_read(SSL *ssl, void *buf, int num); ssize_t gnutls_record_recv(session, void *data, size_t size)
#[uprobe(multi)]
#[inline(always)]
fn tls_read(ctx: ProbeContext) -> u32 {
    entered(&ctx, Kind::Read)
}

// hook: int SSL_write(SSL *ssl, const void *buf, int num); ssize_t gnutls_record_send(session, const void *, size_t)
#[uprobe(multi)]
#[inline(always)]
fn tls_write(ctx: ProbeContext) -> u32 {
    entered(&ctx, Kind::Write)
}

// hook: int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)   since OpenSSL 1.1.1
#[uprobe(multi)]
#[inline(always)]
fn tls_read_ex(ctx: ProbeContext) -> u32 {
    entered(&ctx, Kind::ReadEx)
}

// hook: int SSL_write_ex(SSL *s, const void *buf, size_t num, size_t *written)   since OpenSSL 1.1.1
#[uprobe(multi)]
#[inline(always)]
fn tls_write_ex(ctx: ProbeContext) -> u32 {
    entered(&ctx, Kind::WriteEx)
}

// hook: ossl_ssize_t SSL_sendfile(SSL *s, int fd, off_t offset, size_t size, int flags)   since OpenSSL 3.0
#[uprobe(multi)]
#[inline(always)]
fn tls_sendfile(ctx: ProbeContext) -> u32 {
    entered(&ctx, Kind::SendFile)
}

// hook: int SSL_do_handshake(SSL *ssl); int gnutls_handshake(session)
#[uprobe(multi)]
#[inline(always)]
fn tls_handshake(ctx: ProbeContext) -> u32 {
    entered(&ctx, Kind::Handshake)
}

// hook: PRInt32 PR_Read(PRFileDesc *fd, void *buf, PRInt32 amount)
#[uprobe(multi)]
#[inline(always)]
fn nspr_read(ctx: ProbeContext) -> u32 {
    entered(&ctx, Kind::AnyRead)
}

// hook: PRInt32 PR_Write(PRFileDesc *fd, const void *buf, PRInt32 amount); PR_Send(…, PRIntn flags, PRIntervalTime)
#[uprobe(multi)]
#[inline(always)]
fn nspr_write(ctx: ProbeContext) -> u32 {
    entered(&ctx, Kind::AnyWrite)
}

// hook: PRInt32 PR_Writev(PRFileDesc *fd, const PRIOVec *iov, PRInt32 iov_size, PRIntervalTime timeout)
#[uprobe(multi)]
#[inline(always)]
fn nspr_write_pieces(ctx: ProbeContext) -> u32 {
    no_private_stack(&ctx);
    let mut call = call(&ctx, Kind::AnyWritePieces);
    // `PRIOVec` is an address and an `int`: what lies behind that is anything.
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let [first, length] = unsafe { bpf_probe_read_user(call.buffer as *const [u64; 2]).unwrap_or([0; 2]) };
    call.buffer = first;
    call.length_at = length & u64::from(u32::MAX);
    tls::entered(call);
    0
}

/// `PR_MSG_PEEK`
const PEEK: u64 = 2;

// hook: PRInt32 PR_Recv(PRFileDesc *fd, void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime timeout)
#[uprobe(multi)]
#[inline(always)]
fn nspr_receive(ctx: ProbeContext) -> u32 {
    let peeks = ctx.arg::<u64>(3).unwrap_or(0) & PEEK != 0;
    entered(&ctx, if peeks { Kind::Handshake } else { Kind::AnyRead })
}

// hook: the return of each of them
#[uretprobe(multi)]
#[inline(always)]
fn tls_returned(ctx: RetProbeContext) -> u32 {
    no_private_stack(&ctx);
    // SAFETY: the context of a uprobe is its registers.
    let stack = unsafe { (*ctx.regs).rsp };
    tls::returned(ctx.ret(), stack);
    0
}

#[inline(always)]
fn entered(ctx: &ProbeContext, kind: Kind) -> u32 {
    no_private_stack(ctx);
    tls::entered(call(ctx, kind));
    0
}

#[inline(always)]
fn call(ctx: &ProbeContext, kind: Kind) -> Call {
    let argument = |index| ctx.arg::<u64>(index).unwrap_or(0);
    // SAFETY: the context of a uprobe is its registers.
    let stack = unsafe { (*ctx.regs).rsp };
    Call::begins(kind, argument(0), argument(1), argument(3), stack)
}
