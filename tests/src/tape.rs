//! Recordings that no kernel made: the records that a conversation would have given at both of its ends, written by the
//! layout's own definition. Replayed by the agent they show whether what follows the ring buffer is right, without root
//! and on any kernel; where a case fails live and not from the tape, the kernel side is at fault.

use perf_common::ABI_VERSION;
use perf_common::record::{
    COMM_BYTES, DataRecord, OpenRecord, ProcessRecord, RecordHeader, StateRecord, TAIL_BYTES, TickRecord,
    UNIX_PATH_BYTES, change, direction, family, flag, kind, origin,
};

use perf_common::sniff::{SNIFF_BYTES, looks, sniff};

use crate::rows::Bytes;
use crate::wire::{Moved, Step};

/// Bytes of a message that are captured, as the kernel side does by default.
const REQUEST_BUDGET: usize = 4024;
const RESPONSE_BUDGET: usize = 4024;
/// Of a response whose first segment is longer than that.
const LONG_RESPONSE_BYTES: usize = 952;
/// Nanoseconds between two records.
const PACE_NS: u64 = 10_000;
/// The programs at both ends.
const CLIENT: (u32, &str) = (1001, "/usr/bin/client");
const SERVER: (u32, &str) = (1002, "/usr/bin/server");

/// A recording being written.
#[derive(Debug)]
pub struct Tape {
    bytes: Vec<u8>,
    now_ns: u64,
    connections: u64,
}

/// One end of a connection on the tape.
#[derive(Debug)]
struct End {
    id: u64,
    tgid: u32,
    open: bool,
    /// Bytes so far and capture budget left, per direction (received, sent).
    positions: [u32; 2],
    budget: usize,
    last_direction: Option<u8>,
}

impl Tape {
    /// An empty one with its header.
    ///
    /// # Panics
    /// Never: the texts are short.
    pub fn new() -> Self {
        let now_ns: u64 = 1_000_000_000;
        let mut bytes = b"perfrec\0".to_vec();
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(ABI_VERSION.to_le_bytes());
        bytes.extend(now_ns.to_le_bytes());
        bytes.extend(1_700_000_000_000_000_000u64.to_le_bytes());
        for text in ["synthetic", "0", "tracepoint"] {
            bytes.extend(u16::try_from(text.len()).expect("a few letters").to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        let mut tape = Self {
            bytes,
            now_ns,
            connections: 0,
        };
        for (tgid, exe) in [CLIENT, SERVER] {
            let record: Vec<u8> = ProcessRecord::of_paths(tgid, tape.now_ns, exe, "").collect();
            tape.put(&record);
        }
        tape.tick();
        tape
    }

    /// The file's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.tick();
        self.bytes.extend(0u32.to_le_bytes());
        self.bytes
    }

    /// Writes what both ends of a conversation would have shown; the server listens on `port` of 127.0.0.1.
    ///
    /// # Panics
    /// If the script uses a closed end.
    pub fn play(&mut self, steps: &[Step], port: u16) -> Moved {
        let client_port = 40_000 + u16::try_from(self.connections).expect("few conversations");
        let mut client = self.end(CLIENT.0, client_port, port);
        let mut server = self.end(SERVER.0, port, client_port);
        let mut moved = Moved::default();
        let (mut to_server, mut to_client) = (0, 0);
        let (mut server_unread, mut client_unread) = (vec![], vec![]);
        for step in steps {
            match step {
                Step::Client(bytes) | Step::ClientUnread(bytes) => {
                    self.data(&mut client, direction::SENT, bytes);
                    to_server += bytes.len() as u64;
                    server_unread.extend_from_slice(bytes);
                    if matches!(step, Step::Client(_)) {
                        self.data(&mut server, direction::RECEIVED, &std::mem::take(&mut server_unread));
                    }
                }
                Step::Server(bytes) | Step::ServerUnread(bytes) => {
                    self.data(&mut server, direction::SENT, bytes);
                    to_client += bytes.len() as u64;
                    client_unread.extend_from_slice(bytes);
                    if matches!(step, Step::Server(_)) {
                        self.data(&mut client, direction::RECEIVED, &std::mem::take(&mut client_unread));
                    }
                }
                Step::Pause(time) => self.now_ns += u64::try_from(time.as_nanos()).expect("a short pause"),
                Step::ClientHalfClose => self.half_close(&client, &mut server),
                Step::ServerHalfClose => self.half_close(&server, &mut client),
                Step::ClientClose => self.close(&mut client, &mut server),
                Step::ServerClose => self.close(&mut server, &mut client),
                Step::ClientReset => self.reset(&mut client, &mut server),
                Step::ServerReset => self.reset(&mut server, &mut client),
                Step::Mark => {}
            }
            moved.done_ns.push(self.now_ns);
        }
        if client.open && server.open {
            self.close(&mut client, &mut server);
        }
        for mut end in [client, server] {
            if end.open {
                self.gone(&mut end);
            }
        }
        self.tick();
        moved.server = Bytes {
            received: to_server - server_unread.len() as u64,
            sent: to_client,
        };
        moved.client = Bytes {
            received: to_client - client_unread.len() as u64,
            sent: to_server,
        };
        moved
    }

    fn put(&mut self, record: &[u8]) {
        let length = u32::try_from(record.len()).expect("a record is short");
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(record);
        self.now_ns += PACE_NS;
    }

    fn header(&self, kind: u16, flags: u16, size: usize) -> RecordHeader {
        RecordHeader {
            kind,
            flags,
            size: u32::try_from(size).expect("a record is short"),
            at_ns: self.now_ns,
        }
    }

    fn tick(&mut self) {
        let tick = TickRecord::new(self.now_ns, 1_700_000_000_000_000_000 + self.now_ns);
        self.put(&tick.to_bytes());
    }

    fn end(&mut self, tgid: u32, local_port: u16, remote_port: u16) -> End {
        self.connections += 1;
        let id = self.connections;
        let mut loopback = [0; 16];
        loopback[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        let record = OpenRecord {
            header: self.header(kind::OPEN, 0, size_of::<OpenRecord>()),
            connection: id,
            socket: 0xffff_8881_0000_0000 + id * 64,
            inode: id,
            tgid,
            tid: tgid,
            family: family::INET,
            local_port,
            remote_port,
            origin: origin::FROM_START,
            local_address: loopback,
            remote_address: loopback,
            comm: [0; COMM_BYTES],
            unix_path_bytes: 0,
            reserved: 0,
            unix_path: [0; UNIX_PATH_BYTES],
            reserved2: [0; 4],
        };
        self.put(&record.to_bytes());
        End {
            id,
            tgid,
            open: true,
            // As a TCP stream's numbers do, these pass 2^32 on the way.
            positions: [u32::MAX - 100; 2],
            budget: 0,
            last_direction: None,
        }
    }

    fn data(&mut self, end: &mut End, way: u8, bytes: &[u8]) {
        assert!(end.open, "the script does not use a closed end");
        if bytes.is_empty() {
            return;
        }
        let turned = end.last_direction != Some(way);
        end.last_direction = Some(way);
        // A new message by its direction, or one that begins behind another in the same direction.
        if turned || (end.budget < bytes.len() && begins_message(bytes)) {
            let request = (end.tgid == CLIENT.0) == (way == direction::SENT);
            end.budget = match (request, bytes.len()) {
                (true, _) => REQUEST_BUDGET,
                (false, ..=RESPONSE_BUDGET) => RESPONSE_BUDGET,
                (false, _) => LONG_RESPONSE_BYTES,
            };
        }
        let captured = bytes.len().min(end.budget);
        end.budget -= captured;
        let length = u32::try_from(bytes.len()).expect("a segment is short");
        let position = &mut end.positions[usize::from(way == direction::SENT)];
        *position = position.wrapping_add(length);
        let known = bytes.len().min(TAIL_BYTES);
        let mut tail = [0; TAIL_BYTES];
        tail[TAIL_BYTES - known..].copy_from_slice(&bytes[bytes.len() - known..]);
        let position_end = *position;
        let flags = flag::TAIL | if turned { flag::FIRST } else { 0 };
        let record = self.record(end, way, flags, position_end, length, captured, tail);
        self.put(&[&record.to_bytes(), &bytes[..captured]].concat());
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a record")]
    fn record(
        &self,
        end: &End,
        way: u8,
        flags: u16,
        position_end: u32,
        length: u32,
        captured: usize,
        tail: [u8; TAIL_BYTES],
    ) -> DataRecord {
        let received = way == direction::RECEIVED && length > 0;
        DataRecord {
            header: self.header(kind::DATA, flags, size_of::<DataRecord>() + captured),
            connection: end.id,
            arrival_ns: if received { self.now_ns - PACE_NS / 2 } else { 0 },
            position_end,
            length,
            captured: u32::try_from(captured).expect("within the budget"),
            tgid: end.tgid,
            tid: end.tgid,
            direction: way,
            reserved: [0; 3],
            tail,
        }
    }

    fn state(&mut self, end: &End, change: u8) {
        let record = StateRecord {
            header: self.header(kind::STATE, 0, size_of::<StateRecord>()),
            connection: end.id,
            change,
            reserved: [0; 7],
        };
        self.put(&record.to_bytes());
    }

    /// One end ends its sending side; the other one sees it and reads the end of the stream.
    fn half_close(&mut self, closing: &End, other: &mut End) {
        self.state(closing, change::LOCAL_CLOSED);
        self.state(other, change::PEER_CLOSED);
        let position = other.positions[0];
        let record = self.record(
            other,
            direction::RECEIVED,
            flag::END_OF_STREAM,
            position,
            0,
            0,
            [0; TAIL_BYTES],
        );
        self.put(&record.to_bytes());
    }

    fn close(&mut self, closing: &mut End, other: &mut End) {
        self.half_close(closing, other);
        closing.open = false;
        self.state(closing, change::DESTROYED);
    }

    /// The end that resets closes without a word; the other one gets the RST.
    fn reset(&mut self, closing: &mut End, other: &mut End) {
        for (end, what) in [(closing, change::LOCAL_ABORTED), (other, change::RESET)] {
            self.state(end, what);
            self.state(end, change::DESTROYED);
            end.open = false;
        }
    }

    fn gone(&mut self, end: &mut End) {
        self.state(end, change::LOCAL_CLOSED);
        self.state(end, change::DESTROYED);
        end.open = false;
    }
}

/// As the kernel side judges a segment's first bytes.
fn begins_message(bytes: &[u8]) -> bool {
    let mut first = [0; SNIFF_BYTES];
    let length = bytes.len().min(SNIFF_BYTES);
    first[..length].copy_from_slice(&bytes[..length]);
    sniff(first, length, u32::try_from(bytes.len()).expect("short")) != looks::NOTHING
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}
