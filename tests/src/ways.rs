//! Ways of moving bytes through a socket: the system calls between which the agent must see no difference.
//!
//! Each is one or two functions: send all of these bytes, receive exactly so many. The connection's ends are given as
//! file descriptors, so that the same ways serve TCP and Unix sockets.

use std::io::{self, IoSlice, IoSliceMut, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::kernel;

/// Sends all of the bytes.
pub type Send = fn(BorrowedFd<'_>, &[u8]) -> io::Result<()>;
/// Receives exactly this many bytes, fewer only at the end of the stream.
pub type Receive = fn(BorrowedFd<'_>, usize) -> io::Result<Vec<u8>>;

/// How one end of a connection moves its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// For messages.
    pub name: &'static str,
    /// Sends.
    pub send: Send,
    /// Receives.
    pub receive: Receive,
}

/// `send` and `recv` (the system calls `sendto` and `recvfrom`).
pub const SEND: Way = Way {
    name: "send/recv",
    send,
    receive: recv,
};
/// `write` and `read`.
pub const WRITE: Way = Way {
    name: "write/read",
    send: write,
    receive: read,
};
/// `read` with room for one byte.
pub const BYTEWISE: Way = Way {
    name: "byte by byte",
    send: write,
    receive: read_bytewise,
};
/// Looks with `MSG_PEEK` before each read, twice.
pub const PEEK: Way = Way {
    name: "MSG_PEEK",
    send,
    receive: recv_after_peeks,
};
/// `writev` and `readv` with pieces of a few bytes.
pub const VECTORED: Way = Way {
    name: "writev/readv",
    send: writev,
    receive: readv,
};
/// `sendmsg` and `recvmsg`.
pub const MESSAGE: Way = Way {
    name: "sendmsg/recvmsg",
    send: sendmsg,
    receive: recvmsg,
};
/// `sendmmsg` and `recvmmsg` with several messages per call.
pub const MANY_MESSAGES: Way = Way {
    name: "sendmmsg/recvmmsg",
    send: sendmmsg,
    receive: recvmmsg,
};
/// Head by `send`, body by `sendfile`.
pub const SENDFILE: Way = Way {
    name: "sendfile",
    send: sendfile,
    receive: recv,
};
/// Head by `send`, body through a pipe by `splice`.
pub const SPLICE: Way = Way {
    name: "splice",
    send: splice_out,
    receive: recv,
};
/// Head by `recv`, body into a pipe by `splice`.
pub const SPLICED: Way = Way {
    name: "splice into a pipe",
    send,
    receive: splice_in,
};
/// `recv` with `MSG_WAITALL`: the kernel copies in several steps.
pub const WAIT_ALL: Way = Way {
    name: "MSG_WAITALL",
    send,
    receive: recv_all,
};

/// Bytes per piece in the vectored ways.
const PIECE: usize = 7;
/// Pieces per call: the kernel allows 1024.
const PIECES: usize = 64;

fn send(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

fn write(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::io::write(socket, bytes)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

fn writev(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let pieces: Vec<IoSlice<'_>> = bytes.chunks(PIECE).take(PIECES).map(IoSlice::new).collect();
        let sent = rustix::io::writev(socket, &pieces)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

fn sendmsg(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let half = bytes.len().div_ceil(2);
        let pieces = [IoSlice::new(&bytes[..half]), IoSlice::new(&bytes[half..])];
        let mut nothing = SendAncillaryBuffer::default();
        let sent = rustix::net::sendmsg(socket, &pieces, &mut nothing, SendFlags::NOSIGNAL)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

fn sendmmsg(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let third = bytes.len().div_ceil(3);
        let pieces: Vec<&[u8]> = bytes.chunks(third).collect();
        let sent = kernel::sendmmsg(socket, &pieces)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Where the head ends in these bytes: what comes before goes by `send`, so that it can be read.
fn head_bytes(bytes: &[u8]) -> usize {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(bytes.len(), |end| end + 4)
}

fn sendfile(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let (head, body) = bytes.split_at(head_bytes(bytes));
    send(socket, head)?;
    let mut file = tempfile::tempfile()?;
    file.write_all(body)?;
    file.rewind()?;
    let mut left = body.len();
    while left > 0 {
        left -= rustix::fs::sendfile(socket, &file, None, left)?;
    }
    Ok(())
}

fn splice_out(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let (head, body) = bytes.split_at(head_bytes(bytes));
    send(socket, head)?;
    let (out, into) = rustix::pipe::pipe()?;
    for piece in body.chunks(4096) {
        write(into.as_fd(), piece)?;
        let mut left = piece.len();
        while left > 0 {
            left -= splice(out.as_fd(), socket, left)?;
        }
    }
    Ok(())
}

fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
    let flags = rustix::pipe::SpliceFlags::empty();
    Ok(rustix::pipe::splice(from, None, to, None, length, flags)?)
}

/// Calls `some` for what is still missing until all is there or the stream ends.
fn fill(length: usize, mut some: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match some(&mut bytes[filled..])? {
            0 => break,
            got => filled += got,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn recv(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    fill(
        length,
        |room| Ok(rustix::net::recv(socket, room, RecvFlags::empty())?.0),
    )
}

fn recv_all(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    fill(
        length,
        |room| Ok(rustix::net::recv(socket, room, RecvFlags::WAITALL)?.0),
    )
}

fn recv_after_peeks(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    fill(length, |room| {
        rustix::net::recv(socket, &mut *room, RecvFlags::PEEK)?;
        rustix::net::recv(socket, &mut *room, RecvFlags::PEEK)?;
        Ok(rustix::net::recv(socket, room, RecvFlags::empty())?.0)
    })
}

fn read(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    fill(length, |room| Ok(rustix::io::read(socket, room)?))
}

fn read_bytewise(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    fill(length, |room| Ok(rustix::io::read(socket, &mut room[..1])?))
}

fn readv(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    fill(length, |room| {
        let mut pieces: Vec<IoSliceMut<'_>> = room.chunks_mut(PIECE).take(PIECES).map(IoSliceMut::new).collect();
        Ok(rustix::io::readv(socket, &mut pieces)?)
    })
}

fn recvmsg(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    fill(length, |room| {
        let (first, second) = room.split_at_mut(room.len() / 2);
        let mut pieces = [IoSliceMut::new(first), IoSliceMut::new(second)];
        let mut nothing = RecvAncillaryBuffer::default();
        Ok(rustix::net::recvmsg(socket, &mut pieces, &mut nothing, RecvFlags::empty())?.bytes)
    })
}

fn recvmmsg(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    fill(length, |room| kernel::recvmmsg(socket, room))
}

/// Reads the head byte by byte up to the empty line, the rest through a pipe.
fn splice_in(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length && !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if rustix::net::recv(socket, &mut byte, RecvFlags::empty())?.0 == 0 {
            return Ok(bytes);
        }
        bytes.push(byte[0]);
    }
    let (out, into): (OwnedFd, OwnedFd) = rustix::pipe::pipe()?;
    while bytes.len() < length {
        let moved = splice(socket, into.as_fd(), (length - bytes.len()).min(4096))?;
        if moved == 0 {
            break;
        }
        bytes.extend(read(out.as_fd(), moved)?);
    }
    Ok(bytes)
}
