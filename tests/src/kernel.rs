//! The few system calls that have no safe wrapper elsewhere, and questions to the kernel about BPF objects.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

/// Messages in one `sendmmsg` or `recvmmsg`.
const MESSAGES: usize = 3;

/// Sends several messages in one call; gives the bytes sent.
///
/// # Errors
/// The system call's.
///
/// # Panics
/// With more than three pieces.
pub fn sendmmsg(socket: BorrowedFd<'_>, pieces: &[&[u8]]) -> io::Result<usize> {
    assert!(pieces.len() <= MESSAGES, "at most {MESSAGES} messages per call");
    let mut vectors: Vec<libc::iovec> = pieces
        .iter()
        .map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        })
        .collect();
    let mut headers = headers(&mut vectors);
    // SAFETY: the headers point to `vectors`, and those to the caller's pieces; all live until the call returns, and a
    // send only reads them.
    let done = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            u32::try_from(headers.len()).expect("at most three"),
            libc::MSG_NOSIGNAL,
        )
    };
    moved(&headers, done)
}

/// Receives several messages in one call, each into a third of the room, and moves them together; gives the bytes
/// received.
///
/// # Errors
/// The system call's.
///
/// # Panics
/// Never, as long as the kernel leaves the headers of messages that it did not receive alone.
pub fn recvmmsg(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    let third = room.len().div_ceil(MESSAGES).max(1);
    let mut vectors: Vec<libc::iovec> = room
        .chunks_mut(third)
        .map(|piece| libc::iovec {
            iov_base: piece.as_mut_ptr().cast(),
            iov_len: piece.len(),
        })
        .collect();
    let mut headers = headers(&mut vectors);
    // SAFETY: the headers point to `vectors`, and those to separate parts of the caller's room; all live until the call
    // returns, and no time limit is given.
    let done = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            u32::try_from(headers.len()).expect("at most three"),
            // Waits for the first message only.
            libc::MSG_WAITFORONE,
            std::ptr::null_mut(),
        )
    };
    let total = moved(&headers, done)?;
    let mut filled = 0;
    for (index, header) in headers.iter().enumerate() {
        let (start, length) = (index * third, header.msg_len as usize);
        room.copy_within(start..start + length, filled);
        filled += length;
    }
    assert_eq!(filled, total, "messages that were not received have no length");
    Ok(total)
}

fn headers(vectors: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all-zero is a valid `mmsghdr`: no name, no control data, no vectors.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect()
}

fn moved(headers: &[libc::mmsghdr], done: libc::c_int) -> io::Result<usize> {
    let done = usize::try_from(done).map_err(|_negative| io::Error::last_os_error())?;
    Ok(headers[..done].iter().map(|header| header.msg_len as usize).sum())
}

/// Numbers of the kernel's BPF objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BpfObjects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Links: programs attached somewhere.
    pub links: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
}

/// Commands of the `bpf` system call: `BPF_PROG_GET_FD_BY_ID` and so on in `<linux/bpf.h>`.
const PROGRAM_BY_ID: libc::c_long = 13;
const MAP_BY_ID: libc::c_long = 14;
const LINK_BY_ID: libc::c_long = 30;

impl BpfObjects {
    /// What a process holds, as the kernel says in its `fdinfo`.
    ///
    /// # Errors
    /// The process is gone, or not ours to look at.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let mut objects = Self::default();
        for entry in std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fdinfo"))? {
            let Ok(text) = std::fs::read_to_string(entry?.path()) else {
                continue; // closed in between
            };
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace();
                let set = match words.next() {
                    Some("prog_id:") => &mut objects.programs,
                    Some("link_id:") => &mut objects.links,
                    Some("map_id:") => &mut objects.maps,
                    _ => continue,
                };
                set.extend(words.next().and_then(|number| number.parse::<u32>().ok()));
            }
        }
        Ok(objects)
    }

    /// Those of them that the kernel still knows.
    ///
    /// # Panics
    /// Without root: the kernel does not answer then.
    #[must_use]
    pub fn still_there(&self) -> Self {
        let filter = |numbers: &BTreeSet<u32>, command| {
            let there = |number: &u32| exists(command, *number);
            numbers.iter().copied().filter(there).collect()
        };
        Self {
            programs: filter(&self.programs, PROGRAM_BY_ID),
            links: filter(&self.links, LINK_BY_ID),
            maps: filter(&self.maps, MAP_BY_ID),
        }
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.links.is_empty() && self.maps.is_empty()
    }
}

/// Does the kernel know a BPF object of this kind and number?
fn exists(command: libc::c_long, number: u32) -> bool {
    // `union bpf_attr` for the "by id" commands: the number, the next number, flags.
    let mut attribute = [number, 0, 0, 0];
    // SAFETY: the kernel reads as many bytes of the attribute as it is told, and writes none for these commands.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), size_of_val(&attribute)) };
    if let Ok(fd @ 0..) = i32::try_from(fd) {
        // SAFETY: the call returned a new descriptor that nobody else knows.
        unsafe { libc::close(fd) };
        return true;
    }
    let error = io::Error::last_os_error();
    assert_eq!(
        error.raw_os_error(),
        Some(libc::ENOENT),
        "cannot ask for BPF objects: {error}"
    );
    false
}

/// Is there a function of this name in the running kernel? Asked instead of its version or configuration: what is built
/// in is what counts.
///
/// # Panics
/// If the kernel does not list its functions.
pub fn has_function(name: &str) -> bool {
    let symbols = std::fs::read_to_string("/proc/kallsyms").expect("the kernel lists its functions");
    symbols
        .lines()
        .any(|line| line.split_ascii_whitespace().nth(2) == Some(name))
}
