//! HPACK, RFC 7541: header blocks as an onlooker reads them. It may have come late or missed some: an entry of the
//! dynamic table that it did not see inserted is unknown, and what comes later is known again, since an index counts
//! from the newest entry. Of fields that nobody asks for only the size is kept, so that no credential lies in the table.

use std::collections::VecDeque;

use super::huffman;

/// Most bytes of a dynamic table (as the RFC counts them, 4.1) of which the entries are kept. Beyond it the oldest are
/// unknown.
const MAX_TABLE_BYTES: u32 = 16 * 1024;
/// A dynamic table's size until an encoder changes it (RFC 9113, 6.5.2).
const DEFAULT_TABLE_BYTES: u32 = 4096;
/// What an entry counts beyond its name and value (RFC 7541, 4.1).
const ENTRY_BYTES: u32 = 32;
/// Bytes of a value that are kept.
const MAX_VALUE_BYTES: usize = 4096;
/// Longest name that means anything here.
pub(super) const MAX_NAME_BYTES: usize = 32;

/// Fields that are of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// `:method`
    Method,
    /// `:path`, of the query the keys only
    Path,
    /// `:authority`
    Authority,
    /// `:status`
    Status,
    /// `host`
    Host,
    /// `x-request-id`
    RequestId,
    /// `x-correlation-id`
    CorrelationId,
    /// `content-type`
    ContentType,
    /// `content-length`
    ContentLength,
    /// `grpc-status`
    GrpcStatus,
    /// `:protocol`, RFC 8441
    Protocol,
    /// Any other one.
    Other,
    /// Not known: it was inserted unseen.
    Unknown,
}

impl Field {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":authority" => Self::Authority,
            b":status" => Self::Status,
            b"host" => Self::Host,
            b"x-request-id" => Self::RequestId,
            b"x-correlation-id" => Self::CorrelationId,
            b"content-type" => Self::ContentType,
            b"content-length" => Self::ContentLength,
            b"grpc-status" => Self::GrpcStatus,
            b":protocol" => Self::Protocol,
            _ => Self::Other,
        }
    }

    pub(super) fn is_kept(self) -> bool {
        !matches!(self, Self::Other | Self::Unknown)
    }
}

/// A block is none; the table is not what the encoder's is any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One direction's dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    bytes: u32,
    max_bytes: u32,
}

#[derive(Debug)]
struct Entry {
    field: Field,
    /// Empty unless the field is of interest.
    value: Box<[u8]>,
    name_bytes: u32,
    /// As the RFC counts them; too few if the name is not known, so that an entry is kept too long rather than too
    /// short: an encoder never refers to one that is gone.
    bytes: u32,
}

/// A string of a block: how it stands there.
#[derive(Clone, Copy)]
struct Text<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl Table {
    /// An empty one; what an encoder has in it already is unknown.
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_bytes: DEFAULT_TABLE_BYTES,
        }
    }

    /// Blocks were missed: nothing that was inserted is where it was.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        let values: usize = self.entries.iter().map(|entry| entry.value.len()).sum();
        self.entries.capacity() * size_of::<Entry>() + values
    }

    /// Reads a whole block and gives its fields, in order, with their values (empty unless they are of interest).
    pub(super) fn read(&mut self, block: &[u8], mut take: impl FnMut(Field, &[u8])) -> Result<(), Malformed> {
        let mut block = block;
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                match self.find(index)? {
                    Found::Static(field, value) => take(field, value.as_bytes()),
                    Found::Entry(entry) => take(entry.field, &entry.value),
                    Found::Unknown => take(Field::Unknown, b""),
                }
            } else if first & 0xe0 == 0x20 {
                self.resize(integer(&mut block, 5)?);
            } else {
                let insert = first & 0x40 != 0;
                let index = integer(&mut block, if insert { 6 } else { 4 })?;
                let (field, name_bytes) = self.name(index, &mut block)?;
                let text = string(&mut block)?;
                let (value, value_bytes) = value(field, text, insert)?;
                take(field, &value);
                if insert {
                    self.insert(Entry {
                        field,
                        value: value.into(),
                        name_bytes,
                        bytes: name_bytes.saturating_add(value_bytes).saturating_add(ENTRY_BYTES),
                    });
                }
            }
        }
        Ok(())
    }

    fn find(&self, index: u32) -> Result<Found<'_>, Malformed> {
        let index = index as usize;
        if index == 0 {
            return Err(Malformed);
        }
        if let Some(&(name, value)) = STATIC.get(index - 1) {
            let field = Field::of(name.as_bytes());
            return Ok(Found::Static(field, if field.is_kept() { value } else { "" }));
        }
        match self.entries.get(index - 1 - STATIC.len()) {
            Some(entry) => Ok(Found::Entry(entry)),
            None => Ok(Found::Unknown),
        }
    }

    /// A literal's name, and its bytes.
    fn name(&self, index: u32, block: &mut &[u8]) -> Result<(Field, u32), Malformed> {
        if index == 0 {
            let mut name = [0; MAX_NAME_BYTES];
            let mut length = 0;
            let whole = string(block)?.decode(|byte| {
                if let Some(place) = name.get_mut(length) {
                    *place = byte;
                }
                length += 1;
            });
            return match name.get(..length) {
                _ if !whole => Err(Malformed),
                Some(name) => Ok((Field::of(name), bytes_of(length))),
                None => Ok((Field::Other, bytes_of(length))),
            };
        }
        Ok(self.named(index))
    }

    /// A field's name by its index, which is not 0, and the name's bytes.
    pub(super) fn named(&self, index: u32) -> (Field, u32) {
        if let Some((name, _)) = STATIC.get((index as usize).wrapping_sub(1)) {
            return (Field::of(name.as_bytes()), bytes_of(name.len()));
        }
        match self.find(index) {
            Ok(Found::Entry(entry)) => (entry.field, entry.name_bytes),
            _ => (Field::Unknown, 0),
        }
    }

    /// A field was inserted whose value does not matter.
    pub(super) fn inserted(&mut self, field: Field, name_bytes: u32, value_bytes: u32) {
        self.insert(Entry {
            field,
            value: Box::default(),
            name_bytes,
            bytes: name_bytes.saturating_add(value_bytes).saturating_add(ENTRY_BYTES),
        });
    }

    pub(super) fn resize(&mut self, bytes: u32) {
        self.max_bytes = bytes.min(MAX_TABLE_BYTES);
        self.evict(0);
    }

    fn insert(&mut self, entry: Entry) {
        self.evict(entry.bytes);
        if entry.bytes <= self.max_bytes {
            self.bytes += entry.bytes;
            self.entries.push_front(entry);
        }
    }

    /// Makes room (RFC 7541, 4.4).
    fn evict(&mut self, room: u32) {
        while self.bytes.saturating_add(room) > self.max_bytes {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

enum Found<'a> {
    Static(Field, &'static str),
    Entry(&'a Entry),
    Unknown,
}

impl Text<'_> {
    /// Gives each byte; false if it is no string.
    fn decode(self, mut take: impl FnMut(u8)) -> bool {
        if self.huffman {
            huffman::decode(self.bytes, take)
        } else {
            self.bytes.iter().for_each(|&byte| take(byte));
            true
        }
    }
}

/// A value, if it is of interest, and its bytes. They are counted only where they count.
fn value(field: Field, text: Text<'_>, counts: bool) -> Result<(Vec<u8>, u32), Malformed> {
    let (mut value, mut length) = (Vec::new(), 0usize);
    if !counts && !field.is_kept() {
        return Ok((value, 0));
    }
    // Of a query, what stands between a key and the next one is left out.
    let (mut in_query, mut in_value) = (false, false);
    let whole = text.decode(|byte| {
        length += 1;
        if field == Field::Path {
            in_value = match byte {
                b'&' | b'#' => false,
                b'=' if in_query => true,
                _ => in_value,
            };
            in_query |= byte == b'?';
        }
        if field.is_kept() && !in_value && value.len() < MAX_VALUE_BYTES {
            value.push(byte);
        }
    });
    if whole {
        Ok((value, bytes_of(length)))
    } else {
        Err(Malformed)
    }
}

fn bytes_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// An integer with a prefix of so many bits (RFC 7541, 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Result<u32, Malformed> {
    let (&first, mut rest) = block.split_first().ok_or(Malformed)?;
    let most = (1u32 << prefix) - 1;
    let mut value = u32::from(first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            let more = u32::from(byte & 0x7f);
            // Four bytes of 7 bits are more than any length or index here.
            if shift > 21 {
                return Err(Malformed);
            }
            value = value.checked_add(more << shift).ok_or(Malformed)?;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// A string literal (RFC 7541, 5.2).
fn string<'a>(block: &mut &'a [u8]) -> Result<Text<'a>, Malformed> {
    let huffman = block.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length as usize).ok_or(Malformed)?;
    *block = rest;
    Ok(Text { huffman, bytes })
}

/// RFC 7541, Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
