//! Records as bytes: decoding what arrives, and the images of the records that the user side writes itself.

use super::{
    CountersRecord, DataRecord, DatagramRecord, ExitRecord, FunctionCountsRecord, FunctionRecord, HandoverRecord,
    HelloRecord, InvocationRecord, NetworkRecord, OpenRecord, ProcessRecord, RecordHeader, StateRecord, TickRecord,
    UNIX_PATH_BYTES, flag, kind,
};
use crate::function::FunctionCounts;

/// One decoded record; payloads and texts are borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// See [`DataRecord`]; with the captured bytes.
    Data(DataRecord, &'a [u8]),
    /// See [`OpenRecord`].
    Open(OpenRecord),
    /// See [`StateRecord`].
    State(StateRecord),
    /// See [`NetworkRecord`].
    Network(NetworkRecord),
    /// See [`HandoverRecord`].
    Handover(HandoverRecord),
    /// See [`DatagramRecord`]; with the captured bytes.
    Datagram(DatagramRecord, &'a [u8]),
    /// See [`HelloRecord`]; with the captured bytes.
    Hello(HelloRecord, &'a [u8]),
    /// See [`ExitRecord`].
    Exit(ExitRecord),
    /// See [`ProcessRecord`].
    Process {
        /// The process.
        tgid: u32,
        /// The executable's names; bytes, since a name need not be UTF-8.
        exe: &'a [u8],
        /// The control group's names.
        cgroup: &'a [u8],
    },
    /// See [`TickRecord`].
    Tick(TickRecord),
    /// See [`CountersRecord`]; the values as bytes, 8 each.
    Counters(CountersRecord, &'a [u8]),
    /// See [`InvocationRecord`].
    Invocation(InvocationRecord),
    /// See [`FunctionRecord`]; with its texts.
    Function(FunctionRecord, &'a [u8]),
    /// See [`FunctionCountsRecord`].
    FunctionCounts(FunctionCountsRecord),
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

/// Reads little-endian fields one after the other from the bytes of a record's struct. That all of them are there was
/// checked once, for the whole struct; reads beyond it give 0.
struct Fields<'a, const N: usize> {
    bytes: &'a [u8; N],
    at: usize,
}

impl<'a, const N: usize> Fields<'a, N> {
    /// From the first field, and what follows the struct.
    #[inline]
    fn of(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let (bytes, rest) = bytes.split_first_chunk().ok_or(DecodeError::Short)?;
        Ok((Self { bytes, at: 0 }, rest))
    }
    #[inline]
    fn array<const M: usize>(&mut self) -> [u8; M] {
        let value = self
            .bytes
            .get(self.at..self.at + M)
            .and_then(|slice| slice.try_into().ok())
            .unwrap_or([0; M]);
        self.at += M;
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
    let (mut fields, _) = Fields::<{ size_of::<RecordHeader>() }>::of(bytes)?;
    let header = fields.header();
    let bytes = bytes.get(..header.size as usize).ok_or(DecodeError::Short)?;
    if header.kind == kind::DATA {
        data(bytes)
    } else {
        other(header.kind, bytes)
    }
}

/// Records that are few.
#[inline(never)]
fn other(kind: u16, bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    match kind {
        kind::OPEN => open(bytes),
        kind::STATE => {
            let (mut fields, _) = Fields::<{ size_of::<StateRecord>() }>::of(bytes)?;
            Ok(Record::State(StateRecord {
                header: fields.header(),
                connection: fields.u64(),
                change: fields.u8(),
                reserved: fields.array(),
            }))
        }
        kind::NETWORK => {
            let (mut fields, _) = Fields::<{ size_of::<NetworkRecord>() }>::of(bytes)?;
            Ok(Record::Network(NetworkRecord {
                header: fields.header(),
                connection: fields.u64(),
                rtt_us: fields.u32(),
                rtt_variance_us: fields.u32(),
                retransmits: fields.u32(),
                connect_us: fields.u32(),
            }))
        }
        kind::HANDOVER => {
            let (mut fields, _) = Fields::<{ size_of::<HandoverRecord>() }>::of(bytes)?;
            Ok(Record::Handover(HandoverRecord {
                header: fields.header(),
                tgid: fields.u32(),
                from: fields.u32(),
                to: fields.u32(),
                reserved: fields.u32(),
            }))
        }
        kind::EXIT => {
            let (mut fields, _) = Fields::<{ size_of::<ExitRecord>() }>::of(bytes)?;
            Ok(Record::Exit(ExitRecord {
                header: fields.header(),
                tgid: fields.u32(),
                what: fields.u32(),
            }))
        }
        kind::DATAGRAM => datagram(bytes),
        kind::HELLO => hello(bytes),
        kind::PROCESS => process(bytes),
        kind::TICK => {
            let (mut fields, _) = Fields::<{ size_of::<TickRecord>() }>::of(bytes)?;
            Ok(Record::Tick(TickRecord {
                header: fields.header(),
                wall_ns: fields.u64(),
            }))
        }
        kind::COUNTERS => counters(bytes),
        kind::INVOCATION => {
            let (mut fields, _) = Fields::<{ size_of::<InvocationRecord>() }>::of(bytes)?;
            Ok(Record::Invocation(InvocationRecord {
                header: fields.header(),
                function: fields.u32(),
                tgid: fields.u32(),
                tid: fields.u32(),
                reserved: fields.u32(),
                began_ns: fields.u64(),
            }))
        }
        kind::FUNCTION => function(bytes),
        kind::FUNCTION_COUNTS => {
            let (mut fields, _) = Fields::<{ size_of::<FunctionCountsRecord>() }>::of(bytes)?;
            Ok(Record::FunctionCounts(FunctionCountsRecord {
                header: fields.header(),
                function: fields.u32(),
                in_flight: fields.u32(),
                ns_per_call: fields.u64(),
                counts: FunctionCounts {
                    entered: fields.u64(),
                    returned: fields.u64(),
                    unreturned: fields.u64(),
                    unentered: fields.u64(),
                    untimed: fields.u64(),
                },
            }))
        }
        other => Err(DecodeError::Kind(other)),
    }
}

#[inline]
fn data(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (mut fields, payload) = Fields::<{ size_of::<DataRecord>() }>::of(bytes)?;
    let record = DataRecord {
        header: fields.header(),
        connection: fields.u64(),
        arrival_ns: fields.u64(),
        position_end: fields.u32(),
        length: fields.u32(),
        captured: fields.u32(),
        tgid: fields.u32(),
        tid: fields.u32(),
        direction: fields.u8(),
        reserved: fields.array(),
        tail: fields.array(),
    };
    let whole = record.header.flags & flag::PIECES == 0;
    if payload.len() != record.captured as usize || (whole && record.captured > record.length) {
        return Err(DecodeError::Length);
    }
    Ok(Record::Data(record, payload))
}

fn open(bytes: &[u8]) -> Result<Record<'static>, DecodeError> {
    let (mut fields, _) = Fields::<{ size_of::<OpenRecord>() }>::of(bytes)?;
    let record = OpenRecord {
        header: fields.header(),
        connection: fields.u64(),
        socket: fields.u64(),
        inode: fields.u64(),
        tgid: fields.u32(),
        tid: fields.u32(),
        family: fields.u16(),
        local_port: fields.u16(),
        remote_port: fields.u16(),
        origin: fields.u16(),
        local_address: fields.array(),
        remote_address: fields.array(),
        comm: fields.array(),
        unix_path_bytes: fields.u32(),
        reserved: fields.u32(),
        unix_path: fields.array(),
        reserved2: fields.array(),
    };
    if record.unix_path_bytes as usize > UNIX_PATH_BYTES {
        return Err(DecodeError::Length);
    }
    Ok(Record::Open(record))
}

fn datagram(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (mut fields, payload) = Fields::<{ size_of::<DatagramRecord>() }>::of(bytes)?;
    let record = DatagramRecord {
        header: fields.header(),
        socket: fields.u64(),
        tgid: fields.u32(),
        tid: fields.u32(),
        length: fields.u32(),
        captured: fields.u32(),
        local_port: fields.u16(),
        remote_port: fields.u16(),
        direction: fields.u8(),
        reserved: fields.array(),
        local_address: fields.array(),
        remote_address: fields.array(),
        comm: fields.array(),
    };
    if payload.len() != record.captured as usize || record.captured > record.length {
        return Err(DecodeError::Length);
    }
    Ok(Record::Datagram(record, payload))
}

fn hello(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (mut fields, payload) = Fields::<{ size_of::<HelloRecord>() }>::of(bytes)?;
    let record = HelloRecord {
        header: fields.header(),
        connection: fields.u64(),
        tgid: fields.u32(),
        length: fields.u32(),
        captured: fields.u32(),
        local_port: fields.u16(),
        remote_port: fields.u16(),
        local_address: fields.array(),
        remote_address: fields.array(),
        comm: fields.array(),
    };
    if payload.len() != record.captured as usize || record.captured > record.length {
        return Err(DecodeError::Length);
    }
    Ok(Record::Hello(record, payload))
}

fn process(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (mut fields, names) = Fields::<{ size_of::<ProcessRecord>() }>::of(bytes)?;
    fields.header();
    let tgid = fields.u32();
    let [exe_bytes, cgroup_bytes] = [(); 2].map(|()| usize::from(fields.u16()));
    if names.len() != exe_bytes + cgroup_bytes {
        return Err(DecodeError::Length);
    }
    let (exe, cgroup) = names.split_at(exe_bytes);
    Ok(Record::Process { tgid, exe, cgroup })
}

fn function(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (mut fields, texts) = Fields::<{ size_of::<FunctionRecord>() }>::of(bytes)?;
    let record = FunctionRecord {
        header: fields.header(),
        function: fields.u32(),
        text_bytes: fields.u32(),
        sort: fields.u8(),
        state: fields.u8(),
        reserved: fields.array(),
    };
    if texts.len() != record.text_bytes as usize {
        return Err(DecodeError::Length);
    }
    Ok(Record::Function(record, texts))
}

fn counters(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (mut fields, values) = Fields::<{ size_of::<CountersRecord>() }>::of(bytes)?;
    let record = CountersRecord {
        header: fields.header(),
        count: fields.u32(),
        reserved: fields.u32(),
    };
    if values.len() != (record.count as usize).saturating_mul(8) {
        return Err(DecodeError::Length);
    }
    Ok(Record::Counters(record, values))
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

impl RecordHeader {
    /// The header of a record that is a `T` alone.
    #[expect(clippy::cast_possible_truncation, reason = "the largest has 232 bytes")]
    pub const fn of<T>(kind: u16, flags: u16, at_ns: u64) -> Self {
        let size = size_of::<T>() as u32;
        Self {
            kind,
            flags,
            size,
            at_ns,
        }
    }
}

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

impl NetworkRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.connection.to_le_bytes())
            .put(self.rtt_us.to_le_bytes())
            .put(self.rtt_variance_us.to_le_bytes())
            .put(self.retransmits.to_le_bytes())
            .put(self.connect_us.to_le_bytes())
            .done()
    }
}

impl DatagramRecord {
    /// The record's bytes, without the captured ones that follow.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.socket.to_le_bytes())
            .put(self.tgid.to_le_bytes())
            .put(self.tid.to_le_bytes())
            .put(self.length.to_le_bytes())
            .put(self.captured.to_le_bytes())
            .put(self.local_port.to_le_bytes())
            .put(self.remote_port.to_le_bytes())
            .put([self.direction])
            .put(self.reserved)
            .put(self.local_address)
            .put(self.remote_address)
            .put(self.comm)
            .done()
    }
}

impl HelloRecord {
    /// The record's bytes, without the captured ones that follow.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.connection.to_le_bytes())
            .put(self.tgid.to_le_bytes())
            .put(self.length.to_le_bytes())
            .put(self.captured.to_le_bytes())
            .put(self.local_port.to_le_bytes())
            .put(self.remote_port.to_le_bytes())
            .put(self.local_address)
            .put(self.remote_address)
            .put(self.comm)
            .done()
    }
}

impl StateRecord {
    /// A change that the user side found out itself.
    pub fn new(connection: u64, change: u8, at_ns: u64) -> Self {
        Self {
            header: RecordHeader::of::<Self>(kind::STATE, 0, at_ns),
            connection,
            change,
            reserved: [0; 7],
        }
    }

    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.connection.to_le_bytes())
            .put([self.change])
            .put(self.reserved)
            .done()
    }
}

impl HandoverRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.tgid.to_le_bytes())
            .put(self.from.to_le_bytes())
            .put(self.to.to_le_bytes())
            .put(self.reserved.to_le_bytes())
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
    /// The bytes of a whole record, as the kernel side would write it of these paths, each below 32 KiB.
    #[expect(clippy::cast_possible_truncation, reason = "paths are short")]
    pub fn of_paths<'a>(tgid: u32, at_ns: u64, exe: &'a str, cgroup: &'a str) -> impl Iterator<Item = u8> + 'a {
        let names = |path: &'a str| path.rsplit('/').flat_map(|name| name.bytes().chain([0]));
        let mut header = RecordHeader::of::<Self>(kind::PROCESS, 0, at_ns);
        header.size += (exe.len() + 1 + cgroup.len() + 1) as u32;
        let record = Self {
            header,
            tgid,
            exe_bytes: exe.len() as u16 + 1,
            cgroup_bytes: cgroup.len() as u16 + 1,
        };
        record.to_bytes().into_iter().chain(names(exe)).chain(names(cgroup))
    }

    /// The record's bytes, without the names that follow.
    fn to_bytes(self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.tgid.to_le_bytes())
            .put(self.exe_bytes.to_le_bytes())
            .put(self.cgroup_bytes.to_le_bytes())
            .done()
    }
}

impl TickRecord {
    /// A tick at this moment of both clocks.
    pub fn new(at_ns: u64, wall_ns: u64) -> Self {
        let header = RecordHeader::of::<Self>(kind::TICK, 0, at_ns);
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
        let mut header = RecordHeader::of::<Self>(kind::COUNTERS, 0, at_ns);
        header.size += count * 8;
        Self {
            header,
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

impl InvocationRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.function.to_le_bytes())
            .put(self.tgid.to_le_bytes())
            .put(self.tid.to_le_bytes())
            .put(self.reserved.to_le_bytes())
            .put(self.began_ns.to_le_bytes())
            .done()
    }
}

impl FunctionRecord {
    /// A record for `text_bytes` of texts; `size` is set.
    pub fn new(at_ns: u64, function: u32, sort: u8, state: u8, text_bytes: u32) -> Self {
        let mut header = RecordHeader::of::<Self>(kind::FUNCTION, 0, at_ns);
        header.size += text_bytes;
        Self {
            header,
            function,
            text_bytes,
            sort,
            state,
            reserved: [0; 6],
        }
    }

    /// The record's bytes, without the texts that follow.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.function.to_le_bytes())
            .put(self.text_bytes.to_le_bytes())
            .put([self.sort, self.state])
            .put(self.reserved)
            .done()
    }
}

impl FunctionCountsRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        Writer::new(self.header)
            .put(self.function.to_le_bytes())
            .put(self.in_flight.to_le_bytes())
            .put(self.ns_per_call.to_le_bytes())
            .put(self.counts.entered.to_le_bytes())
            .put(self.counts.returned.to_le_bytes())
            .put(self.counts.unreturned.to_le_bytes())
            .put(self.counts.unentered.to_le_bytes())
            .put(self.counts.untimed.to_le_bytes())
            .done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::direction;

    #[test]
    fn records_of_functions_come_back_as_they_were_written() {
        let invocation = InvocationRecord {
            header: RecordHeader::of::<InvocationRecord>(kind::INVOCATION, 0, 9),
            function: 1,
            tgid: 2,
            tid: 3,
            reserved: 0,
            began_ns: 4,
        };
        assert_eq!(decode(&invocation.to_bytes()), Ok(Record::Invocation(invocation)));
        let counts = FunctionCountsRecord {
            header: RecordHeader::of::<FunctionCountsRecord>(kind::FUNCTION_COUNTS, 0, 9),
            function: 1,
            in_flight: 2,
            ns_per_call: 3,
            counts: FunctionCounts {
                entered: 4,
                returned: 5,
                unreturned: 6,
                unentered: 7,
                untimed: 8,
            },
        };
        assert_eq!(decode(&counts.to_bytes()), Ok(Record::FunctionCounts(counts)));
        let function = FunctionRecord::new(9, 1, 2, 1, 4);
        let mut bytes = [0; 36];
        bytes[..32].copy_from_slice(&function.to_bytes());
        bytes[32..].copy_from_slice(b"a\0b\0");
        assert_eq!(decode(&bytes), Ok(Record::Function(function, b"a\0b\0")));
        bytes[20] += 1;
        assert_eq!(decode(&bytes), Err(DecodeError::Length));
    }

    fn data(length: u32, payload: &[u8]) -> Vec<u8> {
        let captured = u32::try_from(payload.len()).expect("short");
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
    fn a_datagram_record_comes_back_as_it_was_written() {
        let record = DatagramRecord {
            header: RecordHeader {
                kind: kind::DATAGRAM,
                flags: 0,
                size: 96 + 4,
                at_ns: 9,
            },
            socket: 0xffff_8880_0102_0304,
            tgid: 12,
            tid: 13,
            length: 40,
            captured: 4,
            local_port: 40_000,
            remote_port: 53,
            direction: direction::SENT,
            reserved: [0; 3],
            local_address: [1; 16],
            remote_address: [2; 16],
            comm: *b"getent\0\0\0\0\0\0\0\0\0\0",
        };
        let bytes = [&record.to_bytes()[..], b"abcd"].concat();
        assert_eq!(decode(&bytes), Ok(Record::Datagram(record, b"abcd")));
        let longer = DatagramRecord { length: 3, ..record };
        let bytes = [&longer.to_bytes()[..], b"abcd"].concat();
        assert_eq!(decode(&bytes), Err(DecodeError::Length), "more than it had");
    }

    #[test]
    fn a_hello_record_comes_back_as_it_was_written() {
        let record = HelloRecord {
            header: RecordHeader {
                kind: kind::HELLO,
                flags: 0,
                size: 88 + 4,
                at_ns: 9,
            },
            connection: 11,
            tgid: 12,
            length: 517,
            captured: 4,
            local_port: 40_000,
            remote_port: 443,
            local_address: [1; 16],
            remote_address: [2; 16],
            comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
        };
        let bytes = [&record.to_bytes()[..], b"abcd"].concat();
        assert_eq!(decode(&bytes), Ok(Record::Hello(record, b"abcd")));
        let longer = HelloRecord { length: 3, ..record };
        let bytes = [&longer.to_bytes()[..], b"abcd"].concat();
        assert_eq!(decode(&bytes), Err(DecodeError::Length), "more than it had");
    }

    #[test]
    fn a_network_record_comes_back_as_it_was_written() {
        let record = NetworkRecord {
            header: RecordHeader::of::<NetworkRecord>(kind::NETWORK, 0, 9),
            connection: 1,
            rtt_us: 2,
            rtt_variance_us: 3,
            retransmits: 4,
            connect_us: 5,
        };
        assert_eq!(decode(&record.to_bytes()), Ok(Record::Network(record)));
    }

    #[test]
    fn a_hand_over_comes_back_as_it_was_written() {
        let record = HandoverRecord {
            header: RecordHeader::of::<HandoverRecord>(kind::HANDOVER, 0, 9),
            tgid: 1,
            from: 2,
            to: 3,
            reserved: 0,
        };
        assert_eq!(decode(&record.to_bytes()), Ok(Record::Handover(record)));
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
        assert_eq!(core::mem::offset_of!(OpenRecord, unix_path), 112);
        assert_eq!(core::mem::offset_of!(OpenRecord, comm), 88);
        assert_eq!(core::mem::offset_of!(ProcessRecord, cgroup_bytes), 22);
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
        let mut bytes: Vec<u8> = ProcessRecord::of_paths(1, 0, "/bin/abc", "/").collect();
        assert_eq!(
            decode(&bytes),
            Ok(Record::Process {
                tgid: 1,
                exe: b"abc\0bin\0\0",
                cgroup: b"\0\0"
            })
        );
        bytes[20] += 1; // exe_bytes
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
