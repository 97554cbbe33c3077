//! Records: what one hook hit puts into the ring buffer, and what a recorded file is a sequence of.
//!
//! Every record starts with a [`RecordHeader`]. The kernel side writes [`DataRecord`], [`OpenRecord`],
//! [`StateRecord`] and [`ExitRecord`] in place; the user side adds [`ProcessRecord`], [`TickRecord`] and
//! [`CountersRecord`] to the same stream, so that a recording replays without the machine it was made on.
//!
//! All integers are in the byte order of the machine (little endian on every supported architecture). Times are
//! `CLOCK_MONOTONIC` nanoseconds.

/// Numbers of [`RecordHeader::kind`].
pub mod kind {
    /// A segment: bytes moved on a connection. See [`super::DataRecord`].
    pub const DATA: u16 = 1;
    /// A connection is of interest from now on. See [`super::OpenRecord`].
    pub const OPEN: u16 = 2;
    /// A connection's TCP state changed. See [`super::StateRecord`].
    pub const STATE: u16 = 3;
    /// A process that owned a connection ended or replaced its program. See [`super::ExitRecord`].
    pub const EXIT: u16 = 4;
    /// Who a process is; written by the user side. See [`super::ProcessRecord`].
    pub const PROCESS: u16 = 16;
    /// Time went on; written by the user side once a second. See [`super::TickRecord`].
    pub const TICK: u16 = 17;
    /// The kernel side's counters; written by the user side with each tick. See [`super::CountersRecord`].
    pub const COUNTERS: u16 = 18;
}

/// Bits of [`RecordHeader::flags`] in a [`DataRecord`].
pub mod flag {
    /// [`super::DataRecord::tail`] holds the segment's last bytes.
    pub const TAIL: u16 = 1;
    /// Stands for many segments of one message, of which only the sum is known: `length` bytes that end at
    /// `position_end`, the last of them at `at_ns`.
    pub const FOLDED: u16 = 1 << 1;
    /// The bytes exist but could not be attributed to a buffer: moved by a kernel thread, an `io_uring` worker or a
    /// system call that is not known to move socket data.
    pub const UNSEEN: u16 = 1 << 2;
    /// The bytes never were in the process's memory: sendfile, splice.
    pub const NO_BYTES: u16 = 1 << 3;
    /// First segment of a message: the direction turned, or the segment begins like a message.
    pub const FIRST: u16 = 1 << 4;
    /// `length` is what the process asked to send, taken at the call's entry; what was really sent shows in the next
    /// record's position.
    pub const ASKED: u16 = 1 << 5;
    /// The process's memory could not be read (paged out, or an address that is no memory).
    pub const FAULT: u16 = 1 << 6;
    /// The peer ended its direction: a read returned 0. `length` is 0.
    pub const END_OF_STREAM: u16 = 1 << 7;
    /// The time is that of the send call's end, so a send that blocked is late for its first byte.
    pub const AT_EXIT: u16 = 1 << 8;
}

/// [`DataRecord::direction`]: which way the bytes went, from the observed process's side.
pub mod direction {
    /// The process read them from the socket.
    pub const RECEIVED: u8 = 0;
    /// The process wrote them to the socket.
    pub const SENT: u8 = 1;
}

/// [`OpenRecord::family`], as in `<linux/socket.h>`.
pub mod family {
    /// `AF_UNIX`
    pub const UNIX: u16 = 1;
    /// `AF_INET`
    pub const INET: u16 = 2;
    /// `AF_INET6`
    pub const INET6: u16 = 10;
}

/// [`OpenRecord::origin`]: how the connection came into view.
pub mod origin {
    /// Not known whether bytes went before.
    pub const UNKNOWN: u16 = 0;
    /// The first byte of each direction was seen.
    pub const FROM_START: u16 = 1;
    /// Existed before the agent, or before it became of interest.
    pub const JOINED: u16 = 2;
}

/// [`StateRecord::change`]: what happened to the connection.
pub mod change {
    /// The peer sent FIN; the process can still send.
    pub const PEER_CLOSED: u8 = 1;
    /// The process closed or shut down its sending side.
    pub const LOCAL_CLOSED: u8 = 2;
    /// Ended at once by the peer's RST or a time-out. (A process that aborts is [`LOCAL_CLOSED`], then [`DESTROYED`].)
    pub const RESET: u8 = 3;
    /// The socket is gone; no record of this connection follows.
    pub const DESTROYED: u8 = 4;
}

/// [`ExitRecord::what`].
pub mod exit {
    /// The process ended.
    pub const EXITED: u32 = 0;
    /// The process replaced its program (`execve`): same number, another executable.
    pub const EXECUTED: u32 = 1;
}

/// Bytes of a segment's end kept in [`DataRecord::tail`]: enough for the last chunk of a chunked body, `\r\n0\r\n\r\n`.
pub const TAIL_BYTES: usize = 8;
/// Bytes of a task's name, `TASK_COMM_LEN` in the kernel.
pub const COMM_BYTES: usize = 16;
/// Bytes of a Unix socket's address, `sun_path`.
pub const UNIX_PATH_BYTES: usize = 108;

/// Begins every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// One of [`kind`].
    pub kind: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Bytes of the whole record that carry meaning, this header included. The ring buffer's item may be longer, since
    /// it is reserved in size classes.
    pub size: u32,
    /// When it happened, monotonic nanoseconds.
    pub at_ns: u64,
}

/// Bytes moved on a connection, followed by `captured` bytes of them (the first ones).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRecord {
    /// `kind` is [`kind::DATA`]; `at_ns` is when the bytes had moved.
    pub header: RecordHeader,
    /// The connection's id, unique as long as the machine runs.
    pub connection: u64,
    /// When the oldest unread byte became readable in the socket, 0 if not known. Received segments only.
    pub arrival_ns: u64,
    /// Position in the direction's byte stream behind this segment, modulo 2^32: the socket's own sequence number, or a
    /// count of bytes where the socket has none (Unix sockets, kernel TLS).
    pub position_end: u32,
    /// Bytes moved.
    pub length: u32,
    /// Bytes of them that follow this struct.
    pub captured: u32,
    /// Process that moved them.
    pub tgid: u32,
    /// Thread that moved them.
    pub tid: u32,
    /// One of [`direction`].
    pub direction: u8,
    /// Explicit padding, 0.
    pub reserved: [u8; 3],
    /// The segment's last bytes, right-aligned, if [`flag::TAIL`] is set.
    pub tail: [u8; TAIL_BYTES],
}

/// A connection is of interest from now on; comes before its first [`DataRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRecord {
    /// `kind` is [`kind::OPEN`].
    pub header: RecordHeader,
    /// The connection's id.
    pub connection: u64,
    /// The socket's kernel address: the key of the kernel side's connection state.
    pub socket: u64,
    /// Control group (v2) of the process, 0 if not known.
    pub cgroup: u64,
    /// The socket's inode number.
    pub inode: u64,
    /// Process and thread that moved the first bytes.
    pub tgid: u32,
    /// See `tgid`.
    pub tid: u32,
    /// One of [`family`].
    pub family: u16,
    /// The process's own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// One of [`origin`].
    pub origin: u16,
    /// Addresses in network order; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
    pub local_address: [u8; 16],
    /// See `local_address`.
    pub remote_address: [u8; 16],
    /// The thread's name, NUL-padded.
    pub comm: [u8; COMM_BYTES],
    /// Bytes of `unix_path` in use; 0 for an unnamed socket.
    pub unix_path_bytes: u32,
    /// Explicit padding, 0.
    pub reserved: u32,
    /// A Unix socket's path (an abstract one begins with NUL): the listener's for both ends.
    pub unix_path: [u8; UNIX_PATH_BYTES],
    /// Explicit padding, 0.
    pub reserved2: [u8; 4],
}

/// A connection's TCP state changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRecord {
    /// `kind` is [`kind::STATE`].
    pub header: RecordHeader,
    /// The connection's id.
    pub connection: u64,
    /// One of [`change`].
    pub change: u8,
    /// Explicit padding, 0.
    pub reserved: [u8; 7],
}

/// A process that owned a connection ended or replaced its program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// `kind` is [`kind::EXIT`].
    pub header: RecordHeader,
    /// The process.
    pub tgid: u32,
    /// One of [`exit`].
    pub what: u32,
}

/// Who a process is. Followed by the texts, one after the other: executable path, name, control group path.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRecord {
    /// `kind` is [`kind::PROCESS`].
    pub header: RecordHeader,
    /// The process.
    pub tgid: u32,
    /// Bytes of the executable's path (`/proc/PID/exe`).
    pub exe_bytes: u16,
    /// Bytes of the name (`/proc/PID/comm`).
    pub comm_bytes: u16,
    /// Bytes of the control group's path (`/proc/PID/cgroup`).
    pub cgroup_bytes: u16,
    /// Explicit padding, 0.
    pub reserved: [u8; 6],
}

/// Time went on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickRecord {
    /// `kind` is [`kind::TICK`].
    pub header: RecordHeader,
    /// `CLOCK_REALTIME` nanoseconds since 1970 at the same moment as `header.at_ns`.
    pub wall_ns: u64,
}

/// The kernel side's counters since start, summed over processors. Followed by `count` `u64` values in the order of
/// [`crate::counters::Counter`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountersRecord {
    /// `kind` is [`kind::COUNTERS`].
    pub header: RecordHeader,
    /// Values that follow.
    pub count: u32,
    /// Explicit padding, 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == 16);
const _: () = assert!(size_of::<DataRecord>() == 64);
const _: () = assert!(size_of::<OpenRecord>() == 232);
const _: () = assert!(size_of::<StateRecord>() == 32);
const _: () = assert!(size_of::<ExitRecord>() == 24);
const _: () = assert!(size_of::<ProcessRecord>() == 32);
const _: () = assert!(size_of::<TickRecord>() == 24);
const _: () = assert!(size_of::<CountersRecord>() == 24);

/// One decoded record; payloads and texts are borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// See [`DataRecord`]; with the captured bytes.
    Data(DataRecord, &'a [u8]),
    /// See [`OpenRecord`].
    Open(OpenRecord),
    /// See [`StateRecord`].
    State(StateRecord),
    /// See [`ExitRecord`].
    Exit(ExitRecord),
    /// See [`ProcessRecord`].
    Process {
        /// The process.
        tgid: u32,
        /// When it was looked at, monotonic nanoseconds.
        at_ns: u64,
        /// The executable's path; bytes, since a path need not be UTF-8.
        exe: &'a [u8],
        /// The process's name.
        comm: &'a [u8],
        /// The control group's path.
        cgroup: &'a [u8],
    },
    /// See [`TickRecord`].
    Tick(TickRecord),
    /// See [`CountersRecord`]; the values as bytes, 8 each.
    Counters(CountersRecord, &'a [u8]),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the record says, or than its kind needs.
    Short,
    /// A kind that this version does not know.
    Kind(u16),
    /// A length field that contradicts the record's size.
    Length,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => f.write_str("record is shorter than it says"),
            Self::Kind(kind) => write!(f, "unknown record kind {kind}"),
            Self::Length => f.write_str("record's lengths contradict each other"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Reads little-endian fields one after the other. Out-of-bounds reads give 0: [`decode`] checks the size before.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    #[inline]
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let value = self
            .bytes
            .get(self.at..self.at + N)
            .and_then(|slice| slice.try_into().ok())
            .unwrap_or([0; N]);
        self.at += N;
        value
    }
    #[inline]
    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }
    #[inline]
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    #[inline]
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    #[inline]
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
    #[inline]
    fn header(&mut self) -> RecordHeader {
        RecordHeader {
            kind: self.u16(),
            flags: self.u16(),
            size: self.u32(),
            at_ns: self.u64(),
        }
    }
}

/// Decodes one record. `bytes` may be longer than the record (ring buffer items are).
///
/// # Errors
/// [`DecodeError`] if the bytes are no record of this version; nothing is read beyond them.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    if bytes.len() < size_of::<RecordHeader>() {
        return Err(DecodeError::Short);
    }
    let mut f = Fields { bytes, at: 0 };
    let header = f.header();
    let size = header.size as usize;
    if size > bytes.len() {
        return Err(DecodeError::Short);
    }
    let bytes = &bytes[..size];
    let need = |n: usize| if size < n { Err(DecodeError::Short) } else { Ok(()) };
    match header.kind {
        kind::DATA => {
            need(size_of::<DataRecord>())?;
            let record = DataRecord {
                header,
                connection: f.u64(),
                arrival_ns: f.u64(),
                position_end: f.u32(),
                length: f.u32(),
                captured: f.u32(),
                tgid: f.u32(),
                tid: f.u32(),
                direction: f.u8(),
                reserved: f.array(),
                tail: f.array(),
            };
            let payload = &bytes[size_of::<DataRecord>()..];
            if payload.len() != record.captured as usize || record.captured > record.length {
                return Err(DecodeError::Length);
            }
            Ok(Record::Data(record, payload))
        }
        kind::OPEN => {
            need(size_of::<OpenRecord>())?;
            let record = OpenRecord {
                header,
                connection: f.u64(),
                socket: f.u64(),
                cgroup: f.u64(),
                inode: f.u64(),
                tgid: f.u32(),
                tid: f.u32(),
                family: f.u16(),
                local_port: f.u16(),
                remote_port: f.u16(),
                origin: f.u16(),
                local_address: f.array(),
                remote_address: f.array(),
                comm: f.array(),
                unix_path_bytes: f.u32(),
                reserved: f.u32(),
                unix_path: f.array(),
                reserved2: f.array(),
            };
            if record.unix_path_bytes as usize > UNIX_PATH_BYTES {
                return Err(DecodeError::Length);
            }
            Ok(Record::Open(record))
        }
        kind::STATE => {
            need(size_of::<StateRecord>())?;
            Ok(Record::State(StateRecord {
                header,
                connection: f.u64(),
                change: f.u8(),
                reserved: f.array(),
            }))
        }
        kind::EXIT => {
            need(size_of::<ExitRecord>())?;
            Ok(Record::Exit(ExitRecord {
                header,
                tgid: f.u32(),
                what: f.u32(),
            }))
        }
        kind::PROCESS => {
            need(size_of::<ProcessRecord>())?;
            let tgid = f.u32();
            let (exe, comm, cgroup) = (usize::from(f.u16()), usize::from(f.u16()), usize::from(f.u16()));
            let texts = &bytes[size_of::<ProcessRecord>()..];
            if texts.len() != exe + comm + cgroup {
                return Err(DecodeError::Length);
            }
            Ok(Record::Process {
                tgid,
                at_ns: header.at_ns,
                exe: &texts[..exe],
                comm: &texts[exe..exe + comm],
                cgroup: &texts[exe + comm..],
            })
        }
        kind::TICK => {
            need(size_of::<TickRecord>())?;
            Ok(Record::Tick(TickRecord {
                header,
                wall_ns: f.u64(),
            }))
        }
        kind::COUNTERS => {
            need(size_of::<CountersRecord>())?;
            let record = CountersRecord {
                header,
                count: f.u32(),
                reserved: f.u32(),
            };
            let values = &bytes[size_of::<CountersRecord>()..];
            if values.len() != (record.count as usize).saturating_mul(8) {
                return Err(DecodeError::Length);
            }
            Ok(Record::Counters(record, values))
        }
        other => Err(DecodeError::Kind(other)),
    }
}

/// Writes little-endian fields one after the other into a struct's bytes.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    fn new(header: RecordHeader) -> Self {
        Self { bytes: [0; N], at: 0 }
            .put(header.kind.to_le_bytes())
            .put(header.flags.to_le_bytes())
            .put(header.size.to_le_bytes())
            .put(header.at_ns.to_le_bytes())
    }
    fn put<const M: usize>(mut self, value: [u8; M]) -> Self {
        self.bytes[self.at..self.at + M].copy_from_slice(&value);
        self.at += M;
        self
    }
    fn done(self) -> [u8; N] {
        assert!(self.at == N, "every field of the struct was written");
        self.bytes
    }
}

// The byte images that the user side writes (its own records, recordings, tests). The kernel side writes the structs
// themselves; that both are the same layout is what the tests below hold.

impl DataRecord {
    /// The record's bytes, without the captured ones that follow.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.connection.to_le_bytes())
            .put(self.arrival_ns.to_le_bytes())
            .put(self.position_end.to_le_bytes())
            .put(self.length.to_le_bytes())
            .put(self.captured.to_le_bytes())
            .put(self.tgid.to_le_bytes())
            .put(self.tid.to_le_bytes())
            .put([self.direction])
            .put(self.reserved)
            .put(self.tail)
            .done()
    }
}

impl OpenRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.connection.to_le_bytes())
            .put(self.socket.to_le_bytes())
            .put(self.cgroup.to_le_bytes())
            .put(self.inode.to_le_bytes())
            .put(self.tgid.to_le_bytes())
            .put(self.tid.to_le_bytes())
            .put(self.family.to_le_bytes())
            .put(self.local_port.to_le_bytes())
            .put(self.remote_port.to_le_bytes())
            .put(self.origin.to_le_bytes())
            .put(self.local_address)
            .put(self.remote_address)
            .put(self.comm)
            .put(self.unix_path_bytes.to_le_bytes())
            .put(self.reserved.to_le_bytes())
            .put(self.unix_path)
            .put(self.reserved2)
            .done()
    }
}

impl StateRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.connection.to_le_bytes())
            .put([self.change])
            .put(self.reserved)
            .done()
    }
}

impl ExitRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.tgid.to_le_bytes())
            .put(self.what.to_le_bytes())
            .done()
    }
}

impl ProcessRecord {
    /// A record for texts of these lengths; `size` is set.
    pub fn new(tgid: u32, at_ns: u64, exe_bytes: u16, comm_bytes: u16, cgroup_bytes: u16) -> Self {
        let texts = u32::from(exe_bytes) + u32::from(comm_bytes) + u32::from(cgroup_bytes);
        let size = size_of::<Self>() as u32 + texts;
        let header = RecordHeader {
            kind: kind::PROCESS,
            flags: 0,
            size,
            at_ns,
        };
        Self {
            header,
            tgid,
            exe_bytes,
            comm_bytes,
            cgroup_bytes,
            reserved: [0; 6],
        }
    }

    /// The record's bytes, without the texts that follow.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.tgid.to_le_bytes())
            .put(self.exe_bytes.to_le_bytes())
            .put(self.comm_bytes.to_le_bytes())
            .put(self.cgroup_bytes.to_le_bytes())
            .put(self.reserved)
            .done()
    }
}

impl TickRecord {
    /// A tick at this moment of both clocks.
    pub fn new(at_ns: u64, wall_ns: u64) -> Self {
        let header = RecordHeader {
            kind: kind::TICK,
            flags: 0,
            size: size_of::<Self>() as u32,
            at_ns,
        };
        Self { header, wall_ns }
    }

    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header).put(self.wall_ns.to_le_bytes()).done()
    }
}

impl CountersRecord {
    /// A record for `count` values; `size` is set.
    pub fn new(at_ns: u64, count: u32) -> Self {
        let size = size_of::<Self>() as u32 + count * 8;
        Self {
            header: RecordHeader {
                kind: kind::COUNTERS,
                flags: 0,
                size,
                at_ns,
            },
            count,
            reserved: 0,
        }
    }

    /// The record's bytes, without the values that follow.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.count.to_le_bytes())
            .put(self.reserved.to_le_bytes())
            .done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(length: u32, payload: &[u8]) -> Vec<u8> {
        let captured = payload.len() as u32;
        let record = DataRecord {
            header: RecordHeader {
                kind: kind::DATA,
                flags: flag::FIRST,
                size: 64 + captured,
                at_ns: 7,
            },
            connection: 0x0102_0304_0506_0708,
            arrival_ns: 5,
            position_end: 1000,
            length,
            captured,
            tgid: 12,
            tid: 13,
            direction: direction::SENT,
            reserved: [0; 3],
            tail: *b"\0\r\n0\r\n\r\n",
        };
        [&record.to_bytes()[..], payload].concat()
    }

    #[test]
    fn a_data_record_comes_back_as_it_was_written() {
        let mut bytes = data(10, b"GET / ");
        bytes.extend([0xff; 32]); // the rest of the ring buffer item's size class
        let Ok(Record::Data(record, payload)) = decode(&bytes) else {
            panic!("not a data record")
        };
        assert_eq!(payload, b"GET / ");
        assert_eq!(
            (record.connection, record.position_end, record.length),
            (0x0102_0304_0506_0708, 1000, 10)
        );
        assert_eq!(record.to_bytes(), bytes[..64]);
    }

    #[test]
    fn the_bytes_are_the_structs_own_layout() {
        // The kernel side writes the struct in place; the offsets of its fields are those that `to_bytes` writes.
        let bytes = data(0x0a0b_0c0d, b"");
        for (offset, byte) in [
            (core::mem::offset_of!(DataRecord, connection), 0x08),
            (core::mem::offset_of!(DataRecord, arrival_ns), 5),
            (core::mem::offset_of!(DataRecord, length), 0x0d),
            (core::mem::offset_of!(DataRecord, tid), 13),
            (core::mem::offset_of!(DataRecord, direction), 1),
            (core::mem::offset_of!(DataRecord, tail) + 1, b'\r'),
        ] {
            assert_eq!(bytes[offset], byte, "at {offset}");
        }
        assert_eq!(core::mem::offset_of!(OpenRecord, unix_path), 120);
        assert_eq!(core::mem::offset_of!(OpenRecord, comm), 96);
        assert_eq!(core::mem::offset_of!(ProcessRecord, reserved), 26);
    }

    #[test]
    fn every_cut_is_an_error_and_no_panic() {
        let bytes = data(10, b"GET / HTTP");
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(DecodeError::Short), "cut at {end}");
        }
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        let mut bytes = data(10, b"GET / ");
        bytes[40] = 200; // captured
        assert_eq!(decode(&bytes), Err(DecodeError::Length));
        let process = ProcessRecord::new(1, 0, 3, 0, 0);
        let mut bytes = process.to_bytes().to_vec();
        bytes.extend(b"abc");
        assert!(matches!(decode(&bytes), Ok(Record::Process { exe: b"abc", .. })));
        bytes[20] = 4;
        assert_eq!(decode(&bytes), Err(DecodeError::Length));
    }

    #[test]
    fn user_side_records_come_back_as_they_were_written() {
        let tick = TickRecord::new(3, 4);
        assert_eq!(decode(&tick.to_bytes()), Ok(Record::Tick(tick)));
        let counters = CountersRecord::new(9, 2);
        let bytes = [&counters.to_bytes()[..], &7u64.to_le_bytes(), &8u64.to_le_bytes()].concat();
        let Ok(Record::Counters(record, values)) = decode(&bytes) else {
            panic!("not counters")
        };
        assert_eq!((record.count, values.len()), (2, 16));
    }
}
