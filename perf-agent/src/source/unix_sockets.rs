//! The end of Unix sockets, where no hook tells of it (backend `tracepoint`): the sockets that the kernel lists are
//! compared with those that are followed.

use std::fs;

use hashbrown::{HashMap, HashSet};
use perf_common::record::{OpenRecord, family};

/// Sockets remembered; more are noticed only when their address is used again.
const MAX_SOCKETS: usize = 65_536;

/// One followed Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its connection's id.
    pub connection: u64,
    /// Its kernel address: the key of its state.
    pub socket: u64,
    /// Low half of its inode number, as the kernel side keeps it.
    pub inode: u32,
    /// Process that used it first; tells the network namespace.
    pub tgid: u32,
}

/// The Unix sockets being followed.
#[derive(Debug, Default)]
pub struct UnixSockets {
    followed: HashMap<u64, UnixSocket>,
}

impl UnixSockets {
    /// Takes note of a connection that came into view.
    pub fn opened(&mut self, open: &OpenRecord) {
        if open.family == family::UNIX && open.inode != 0 && self.followed.len() < MAX_SOCKETS {
            let socket = UnixSocket {
                connection: open.connection,
                socket: open.socket,
                inode: low_half(open.inode),
                tgid: open.tgid,
            };
            self.followed.insert(open.connection, socket);
        }
    }

    /// Forgets a connection that ended.
    pub fn ended(&mut self, connection: u64) {
        self.followed.remove(&connection);
    }

    /// True if none is followed.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Processes of the followed sockets, each once.
    pub fn processes(&self) -> HashSet<u32> {
        self.followed.values().map(|socket| socket.tgid).collect()
    }

    /// True if a followed socket is not among the living.
    pub fn misses(&self, living: &HashSet<u32>) -> bool {
        self.followed.values().any(|socket| !living.contains(&socket.inode))
    }

    /// Takes out the sockets that are not among the living.
    pub fn take_ended(&mut self, living: &HashSet<u32>) -> Vec<UnixSocket> {
        self.followed
            .extract_if(|_, socket| !living.contains(&socket.inode))
            .map(|(_, socket)| socket)
            .collect()
    }
}

/// Low halves of the inode numbers of all Unix sockets in the network namespaces of these processes and of the agent.
/// `None` if the agent's own list cannot be read: then nothing is known to have ended.
pub fn living(processes: &HashSet<u32>) -> Option<HashSet<u32>> {
    let mut inodes = HashSet::new();
    add_inodes(&fs::read("/proc/self/net/unix").ok()?, &mut inodes);
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let mut seen = vec![namespace("self")];
    for process in processes {
        let own = namespace(&process.to_string());
        // A process that is gone had no other namespace to itself, or its sockets are gone with it.
        if own.is_some() && !seen.contains(&own) {
            seen.push(own);
            if let Ok(list) = fs::read(format!("/proc/{process}/net/unix")) {
                add_inodes(&list, &mut inodes);
            }
        }
    }
    Some(inodes)
}

/// Columns: address, references, protocol, flags, type, state, inode, path.
fn add_inodes(list: &[u8], inodes: &mut HashSet<u32>) {
    for line in list.split(|&byte| byte == b'\n').skip(1) {
        let mut columns = line.split(|&byte| byte == b' ').filter(|column| !column.is_empty());
        let inode = columns.nth(6).and_then(|column| std::str::from_utf8(column).ok());
        if let Some(inode) = inode.and_then(|inode| inode.parse::<u64>().ok()) {
            inodes.insert(low_half(inode));
        }
    }
}

/// Of an inode number, what the kernel side keeps.
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn low_half(inode: u64) -> u32 {
    inode as u32
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn inode(stream: &UnixStream) -> u32 {
        let link = fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).expect("an open descriptor");
        let text = link.to_string_lossy().into_owned();
        let digits = text.trim_start_matches("socket:[").trim_end_matches(']');
        low_half(digits.parse().expect("a number"))
    }

    #[test]
    fn an_open_socket_lives_and_a_closed_one_does_not() {
        let (one, other) = UnixStream::pair().expect("a socket pair");
        let (kept, closed) = (inode(&one), inode(&other));
        drop(other);
        let living = living(&HashSet::from([std::process::id()])).expect("the list can be read");
        assert!(living.contains(&kept));
        assert!(!living.contains(&closed));
    }

    #[test]
    fn what_is_not_living_is_taken_out_once() {
        let mut sockets = UnixSockets::default();
        let socket = UnixSocket {
            connection: 1,
            socket: 2,
            inode: 3,
            tgid: 4,
        };
        sockets.followed.insert(1, socket);
        assert_eq!(sockets.take_ended(&HashSet::from([3])), []);
        assert_eq!(sockets.take_ended(&HashSet::new()), [socket]);
        assert!(sockets.is_empty());
    }
}
