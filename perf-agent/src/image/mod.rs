//! Which functions an executable or shared library offers for probes, and where in the file they lie: those of TLS
//! libraries, and all that have a name ([`functions`]).
//!
//! The file is foreign: it may be cut, hostile, sparse or huge, and change while it is read. So it is read by `pread`
//! in small pieces (a mapped file that shrinks kills the reader), all reads come out of one allowance, and no length
//! that was read decides how much is allocated.

mod c;
mod code;
mod elf;
pub mod functions;
mod go;
mod names;
mod runtime;
mod texts;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;

pub use self::elf::ReadAt;
use self::elf::{Elf, Fault};
pub use self::runtime::{Handover, PythonSymbols, Runtime, handovers, runtime};

/// A TLS implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Library {
    /// OpenSSL, and what has its interface: LibreSSL.
    OpenSsl,
    /// BoringSSL, and what keeps its names.
    BoringSsl,
    /// GnuTLS.
    GnuTls,
    /// NSS, which is used through NSPR.
    Nss,
    /// Go's own.
    GoTls,
    /// rustls.
    Rustls,
}

/// What a function does, and so how its arguments and its result are read. Arguments are counted from 0, in the order
/// of the C calling convention unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// `int SSL_read(SSL *, void *, int)`: bytes read if positive.
    SslRead,
    /// `int SSL_read_ex(SSL *, void *, size_t, size_t *read)`: 1, then `*read` bytes were read.
    SslReadEx,
    /// `int SSL_write(SSL *, const void *, int)`: bytes written if positive.
    SslWrite,
    /// `int SSL_write_ex(SSL *, const void *, size_t, size_t *written)`: 1, then `*written` bytes were written.
    SslWriteEx,
    /// `ossl_ssize_t SSL_sendfile(SSL *, int, off_t, size_t, int flags)`: bytes sent if positive, of a file, where the kernel
    /// encrypts.
    SslSendfile,
    /// `int SSL_do_handshake(SSL *)`: 1 when done. `SSL_connect` and `SSL_accept` end in it; a handshake that the first
    /// `SSL_read` or `SSL_write` makes on its own does not.
    SslHandshake,
    /// `ssize_t gnutls_record_recv(session, void *, size_t)`, and `…_recv_seq`, which has a fourth argument: bytes read
    /// if positive. Neither calls the other.
    GnuTlsRecv,
    /// `ssize_t gnutls_record_send(session, const void *, size_t)`, or `…_send2`, which it ends in and which has more
    /// arguments: bytes written if positive.
    GnuTlsSend,
    /// `int gnutls_record_uncork(session, flags)`: sends again, through [`Call::GnuTlsSend`], what was held back and has
    /// been counted when it was handed over.
    GnuTlsUncork,
    /// `int gnutls_handshake(session)`: 0 when done.
    GnuTlsHandshake,
    /// `PRInt32 PR_Read(PRFileDesc *, void *, PRInt32)`: bytes read if positive. Of any descriptor, TLS or not.
    PrRead,
    /// `PRInt32 PR_Recv(PRFileDesc *, void *, PRInt32, PRIntn flags, timeout)`: likewise; flag 2 only peeks.
    PrRecv,
    /// `PRInt32 PR_Write(PRFileDesc *, const void *, PRInt32)`: bytes written if positive. Of any descriptor.
    PrWrite,
    /// `PRInt32 PR_Send(PRFileDesc *, const void *, PRInt32, PRIntn flags, timeout)`: likewise.
    PrSend,
    /// `PRInt32 PR_Writev(PRFileDesc *, const PRIOVec *, PRInt32, timeout)`: likewise, of several pieces.
    PrWritev,
    /// `PRFileDesc *SSL_ImportFD(PRFileDesc *model, PRFileDesc *)`: its result is a descriptor that speaks TLS.
    NssImport,
    /// `SECStatus SSL_ForceHandshake(PRFileDesc *)`: 0 when done.
    NssHandshake,
    /// `fn DeframerVecBuffer::read(&mut self, &mut dyn Read, bool) -> io::Result<usize>`: receives ciphertext, from inside.
    RustlsReceives,
    /// `fn CommonState::take_received_plaintext(&mut self, Payload)`: what was decrypted, a `&[u8]` or a `Vec<u8>` in memory.
    RustlsReceived,
    /// `fn CommonState::buffer_plaintext(&mut self, OutboundChunks, …) -> usize`: bytes taken of what lies in one piece or
    /// in several.
    RustlsTakes,
    /// `fn <ConnectionCommon as PlaintextSink>::write_vectored(&mut self, &[IoSlice]) -> io::Result<usize>`: the caller of
    /// [`Call::RustlsTakes`] for several pieces.
    RustlsTakesPieces,
    /// `fn ChunkVecBuffer::write_to(&mut self, &mut dyn Write) -> io::Result<usize>`: sends ciphertext, from inside.
    RustlsSends,
    /// `func (*Conn) Read([]byte) (int, error)`: receiver, pointer, length, capacity; bytes read, then the error. The
    /// entry may be hit twice for one call: a goroutine whose stack has to grow begins the function again.
    GoRead,
    /// `func (*Conn) Write([]byte) (int, error)`, likewise.
    GoWrite,
    /// `func (*Conn) handshakeContext(context.Context) error`, or `Handshake` before Go 1.17: the error's first word is
    /// 0 when done.
    GoHandshake,
}

/// How to see that a function returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returns {
    /// By an ordinary return probe.
    Trap,
    /// By probes at these offsets in the file, its return instructions. Go moves stacks, and a return probe's changed
    /// return address would not survive that.
    At(Vec<u64>),
    /// Nobody asks.
    Unseen,
}

/// A function to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// What it does.
    pub call: Call,
    /// Where it begins: offset in the file.
    pub entry: u64,
    /// Where it ends.
    pub returns: Returns,
}

/// How Go passes arguments and results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAbi {
    /// In registers, since Go 1.17: RAX, RBX, RCX, RDI, RSI, R8, R9, R10, R11; the goroutine is in R14.
    Register,
    /// On the stack: at entry and at the return instruction from RSP + 8 on, arguments first, results behind them.
    Stack,
}

/// One TLS implementation in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Which.
    pub library: Library,
    /// Its version as the file tells it: a text among its constants, Go's build information, or the number in the
    /// shared library's own name (`3` of `libssl.so.3`).
    pub version: Option<String>,
    /// What can be probed, by call and place.
    pub functions: Vec<Function>,
    /// It is part of a program (or of a library that is for something else), not a shared library of its own.
    pub static_linked: bool,
    /// How its functions are called, if they are Go's.
    pub go_abi: Option<GoAbi>,
}

/// What a file has of TLS.
#[derive(Debug)]
pub struct Contents {
    /// What can be probed, one at least.
    pub images: Vec<Image>,
    /// What is in it besides, and why that cannot be probed.
    pub others: Vec<NotCovered>,
}

/// Why a file offers nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotCovered {
    /// No TLS implementation was recognised in it.
    #[error("no TLS implementation in it")]
    NoTls,
    /// There is one, but nothing tells where its functions are.
    #[error("{} is linked into it, without the symbols of its functions", library.name())]
    Stripped {
        /// Which.
        library: Library,
        /// Its version.
        version: Option<String>,
    },
    /// rustls without the functions that are probed.
    #[error(
        "rustls{} lacks the functions that are probed: a program with 0.23 has them, unless it is stripped",
        version.as_ref().map_or(String::new(), |version| format!(" {version}"))
    )]
    Rustls {
        /// Its version.
        version: Option<String>,
    },
    /// A Java virtual machine: its TLS is compiled while it runs.
    #[error("Java's TLS is compiled while it runs, no file has it")]
    Java,
    /// A Go program with TLS, but something about it is not known.
    #[error("Go's TLS is in it, but {0}")]
    Go(&'static str),
    /// A program for another processor, or of 32 bits.
    #[error("not a program for x86-64")]
    Machine,
    /// Not an ELF file, or a broken one.
    #[error("not a valid ELF file: {0}")]
    Malformed(&'static str),
    /// It cannot be read.
    #[error("cannot read it")]
    Io(#[source] io::Error),
}

impl Library {
    /// As its makers write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::BoringSsl => "BoringSSL",
            Self::GnuTls => "GnuTLS",
            Self::Nss => "NSS",
            Self::GoTls => "Go crypto/tls",
            Self::Rustls => "rustls",
        }
    }
}

impl From<Fault> for NotCovered {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Machine => Self::Machine,
            Fault::Broken(what) => Self::Malformed(what),
            Fault::Io(error) => Self::Io(error),
        }
    }
}

/// All that can be probed in this file.
///
/// # Errors
/// Why there is nothing.
pub fn inspect(file: &File) -> Result<Contents, NotCovered> {
    inspect_source(file)
}

/// Like [`inspect`], of anything that can be read like a file.
///
/// # Errors
/// Why there is nothing.
pub fn inspect_source(file: &dyn ReadAt) -> Result<Contents, NotCovered> {
    let elf = Elf::read(file)?;
    let found = names::find(&elf)?;
    let mut images = c::images(&elf, &found)?;
    match go::image(&elf) {
        Ok(Some(image)) => images.push(image),
        Err(why) if images.is_empty() => return Err(why),
        Ok(None) | Err(_) => {}
    }
    if images.is_empty() {
        return Err(c::why_nothing(&elf, &found)?);
    }
    let others = if images.iter().any(|image| image.static_linked) {
        c::not_covered(&elf, &found, &images)?
    } else {
        Vec::new()
    };
    Ok(Contents { images, others })
}

/// Whether a mapped file of this name is worth a look as a TLS library. What programs have linked in is found by
/// looking at the programs.
pub fn looks_like_tls_library(file_name: &str) -> bool {
    LIBRARIES.iter().any(|library| {
        let rest = file_name.strip_prefix(library);
        // `libssl.so.3`, `libssl-1a2b3c4d.so.1.1` of a Python wheel, `libssl.so`, but not `libsslcommon.so`.
        rest.is_some_and(|rest| rest.starts_with(".so") || (rest.starts_with('-') && rest.contains(".so")))
    })
}

const LIBRARIES: [&str; 8] = [
    "libssl",
    "libssl3",
    "libboringssl",
    "libgnutls",
    "libnspr4",
    "libnss3",
    "libjvm",
    "libconscrypt_openjdk_jni",
];
