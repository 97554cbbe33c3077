//! Who waits to be accepted, and who was refused: `/proc/PID/net`, of the network namespace of that process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};

use hashbrown::HashMap;

use super::columns::{columns, lines, number};
use super::files::Files;
use crate::resources::NetworkReading;

/// Network namespaces that are read in one reading.
pub(super) const NAMESPACES: usize = 128;

/// Bytes of a table that are read, about seven thousand listening sockets.
const TABLE_BYTES: u64 = 1 << 20;

/// A listening socket's state.
const LISTEN: &[u8] = b"0A";

/// The inode of a process's network namespace.
pub(super) fn namespace(files: &Files, pid: u32) -> Option<u64> {
    let link = fs::read_link(files.path(&format!("proc/{pid}/ns/net"))).ok()?;
    let inode = link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// What a namespace tells, through a process in it.
pub(super) fn read(files: &mut Files, pid: u32) -> NetworkReading {
    let mut waiting = HashMap::new();
    for table in ["tcp", "tcp6"] {
        let path = files.path(&format!("proc/{pid}/net/{table}"));
        if let Ok(file) = File::open(path) {
            // The kernel writes a page at a time: what is not asked for is not gathered.
            add_waiting(BufReader::with_capacity(4096, file.take(TABLE_BYTES)), &mut waiting);
        }
    }
    NetworkReading {
        listen_overflows: files
            .read(&format!("proc/{pid}/net/netstat"))
            .and_then(listen_overflows),
        waiting,
    }
}

/// Adds up, by port, the connections that listening sockets have waiting. Those sockets come first, so that reading ends
/// with them: a table may have a million others.
fn add_waiting(mut table: impl BufRead, waiting: &mut HashMap<u16, u32>) {
    let mut line = Vec::new();
    // `  sl  local_address rem_address   st tx_queue:rx_queue …`
    let mut is_head = true;
    loop {
        line.clear();
        match table.read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => {}
            _ => return,
        }
        if !std::mem::take(&mut is_head) {
            let mut columns = columns(&line);
            let (local, state) = (columns.nth(1), columns.nth(1));
            if state != Some(LISTEN) {
                return;
            }
            let port = local.and_then(|local| hexadecimal(local).and_then(|port| u16::try_from(port).ok()));
            let queue = columns.next().and_then(hexadecimal);
            if let Some((port, queue)) = port.zip(queue) {
                let sum = waiting.entry(port).or_insert(0);
                *sum = sum.saturating_add(queue);
            }
        }
    }
}

/// What stands behind the last colon.
fn hexadecimal(column: &[u8]) -> Option<u32> {
    let colon = column.iter().rposition(|&byte| byte == b':')?;
    let digits = std::str::from_utf8(column.get(colon + 1..)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// `TcpExt: NAME …` and `TcpExt: NUMBER …`.
fn listen_overflows(netstat: &[u8]) -> Option<u64> {
    let mut tcp = lines(netstat).filter(|line| line.starts_with(b"TcpExt:"));
    let place = columns(tcp.next()?).position(|name| name == b"ListenOverflows")?;
    number(columns(tcp.next()?).nth(place)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn waiting(table: &[u8]) -> Vec<(u16, u32)> {
        let mut waiting = HashMap::new();
        add_waiting(table, &mut waiting);
        let mut waiting: Vec<_> = waiting.into_iter().collect();
        waiting.sort_unstable();
        waiting
    }

    #[test]
    fn reading_ends_with_the_listening_sockets() {
        let table = format!(
            "{HEAD}   0: 00000000:0050 00000000:0000 0A 00000000:00000005 00:00000000 00000000     0        0 1060 1 0 100 0\n   \
               1: 0100007F:0050 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 1061 1 0 100 0\n   \
               2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1062 1 0 100 0\n   \
               3: 0100007F:0050 0100007F:C350 01 00000000:00000400 00:00000000 00000000     0        0 1063 1 0 100 0\n   \
               4: 00000000:0051 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0        0 1064 1 0 100 0\n"
        );
        assert_eq!(waiting(table.as_bytes()), [(80, 7), (8080, 0)]);
    }

    #[test]
    fn addresses_of_both_families_are_read_and_garbage_is_passed_over() {
        let table = format!(
            "{HEAD}   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:FFFFFFFF 0\n\
             1: nonsense 0 0A 00000000:00000001\n2: 0:10000 0 0A 0:1\n3: 0:1 0 0A x\n4: 0:1 0 0A\n5: 0:2 0 0A 0:1"
        );
        assert_eq!(waiting(table.as_bytes()), [(2, 1), (443, u32::MAX)]);
        assert_eq!(waiting(HEAD.as_bytes()), []);
        assert_eq!(waiting(b""), []);
    }

    #[test]
    fn overflows_stand_below_their_name() {
        let text = b"TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 23 24\nIpExt: A ListenOverflows\nIpExt: 5 6\n";
        assert_eq!(listen_overflows(text), Some(23));
        assert_eq!(listen_overflows(b"TcpExt: A ListenOverflows\nTcpExt: 1\n"), None);
        assert_eq!(listen_overflows(b"TcpExt: A B\nTcpExt: 1 2\n"), None);
        assert_eq!(listen_overflows(b""), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            // What follows the head must say so of itself to count.
            prop_assert!(waiting(&text).is_empty() || text.windows(2).any(|two| two == LISTEN));
            prop_assert!(listen_overflows(&text).is_none() || text.windows(15).any(|name| name == b"ListenOverflows"));
        }
    }
}
