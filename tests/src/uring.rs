//! Moving bytes by `io_uring`: one operation at a time, submitted and waited for.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use io_uring::{IoUring, opcode, squeue, types};

use crate::ways::Way;

/// `IORING_OP_SEND` and `IORING_OP_RECV`.
pub const URING: Way = Way {
    name: "io_uring",
    send,
    receive,
};

/// Why it cannot be used here, or nothing.
pub fn missing() -> Option<String> {
    IoUring::new(2)
        .err()
        .map(|error| format!("the kernel refuses it: {error}"))
}

fn send(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let mut ring = IoUring::new(2)?;
    while !bytes.is_empty() {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length).build();
        // SAFETY: the descriptor and the bytes are borrowed for longer than this call, which waits for the operation.
        let sent = unsafe { complete(&mut ring, &entry) }?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

fn receive(socket: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    let mut ring = IoUring::new(2)?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let room = &mut bytes[filled..];
        let length = u32::try_from(room.len()).map_err(io::Error::other)?;
        let entry = opcode::Recv::new(types::Fd(socket.as_raw_fd()), room.as_mut_ptr(), length).build();
        // SAFETY: the descriptor and the room are borrowed for longer than this call, which waits for the operation.
        match unsafe { complete(&mut ring, &entry) }? {
            0 => break,
            got => filled += got,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Submits one operation and waits for its end.
///
/// # Safety
/// What the operation points to must live and, if it is written to, not be used until this returns.
unsafe fn complete(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<usize> {
    // SAFETY: as promised by the caller.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring
        .completion()
        .next()
        .ok_or_else(|| io::Error::other("waited for nothing"))?;
    usize::try_from(done.result()).map_err(|_negative| io::Error::from_raw_os_error(-done.result()))
}
