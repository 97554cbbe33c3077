//! HPACK, RFC 7541: header blocks as an onlooker reads them. It may have come late or missed some: an entry of the
//! dynamic table that it did not see inserted is unknown, and what comes later is known again, since an index counts
//! from the newest entry. Of fields that nobody asks for only the size is kept, so that no credential lies in the table.

use std::collections::VecDeque;

use memchr::memchr;

use super::super::cached::CacheField;
use super::huffman;
use crate::request_log::{NAME_BYTES, Wanted};

/// Most bytes of a dynamic table (as the RFC counts them, 4.1) of which the entries are kept. Beyond it the oldest are
/// unknown.
const MAX_TABLE_BYTES: u32 = 16 * 1024;
/// A dynamic table's size until an encoder changes it (RFC 9113, 6.5.2).
const DEFAULT_TABLE_BYTES: u32 = 4096;
const _: () = assert!(MAX_TABLE_BYTES < u16::MAX as u32 && size_of::<Entry>() == 12);
/// What an entry counts beyond its name and value (RFC 7541, 4.1).
const ENTRY_BYTES: u32 = 32;
/// Bytes of a value that are kept.
pub(super) const MAX_VALUE_BYTES: usize = 4096;
/// Bytes of a buffer for values that stay allocated.
const USUAL_VALUE_BYTES: usize = 256;
/// Longest name that means anything here, unless the operator chose one.
pub(super) const MAX_NAME_BYTES: usize = 32;

/// Fields that are of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// `:method`
    Method,
    /// `:path`, of the query the keys, and values that the operator chose
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
    /// `traceparent`
    TraceParent,
    /// `content-type`
    ContentType,
    /// `content-length`
    ContentLength,
    /// `grpc-status`
    GrpcStatus,
    /// `:protocol`, RFC 8441
    Protocol,
    /// `age`, `cache-status` and the like
    Cache(CacheField),
    /// One that the operator chose, see [`Wanted::names`].
    Chosen(u8),
    /// Any other one.
    Other,
    /// Not known: it was inserted unseen.
    Unknown,
}

impl Field {
    pub(super) const fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":authority" => Self::Authority,
            b":status" => Self::Status,
            b"host" => Self::Host,
            b"x-request-id" => Self::RequestId,
            b"x-correlation-id" => Self::CorrelationId,
            b"traceparent" => Self::TraceParent,
            b"content-type" => Self::ContentType,
            b"content-length" => Self::ContentLength,
            b"grpc-status" => Self::GrpcStatus,
            b":protocol" => Self::Protocol,
            b"age" => Self::Cache(CacheField::Age),
            b"cache-status" => Self::Cache(CacheField::Status),
            b"x-cache" | b"x-cache-status" | b"cf-cache-status" => Self::Cache(CacheField::Word),
            _ => Self::Other,
        }
    }

    /// With what the operator chose.
    fn wanted(name: &[u8], wanted: &Wanted) -> Self {
        match Self::of(name) {
            Self::Other => wanted.names().find(name).map_or(Self::Other, Self::Chosen),
            field => field,
        }
    }

    /// Its name, where a request can have it and the operator may choose it, too.
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Host | Self::Authority => Some("host"),
            Self::RequestId => Some("x-request-id"),
            Self::CorrelationId => Some("x-correlation-id"),
            Self::TraceParent => Some("traceparent"),
            Self::ContentType => Some("content-type"),
            Self::ContentLength => Some("content-length"),
            _ => None,
        }
    }

    pub(super) const fn is_kept(self) -> bool {
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
    /// Their values, oldest first.
    values: VecDeque<u8>,
    /// Where the oldest one begins, as [`Entry::begin`] counts.
    values_begin: u32,
    bytes: u32,
    max_bytes: u32,
    /// The value that is being read.
    value: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    /// Bytes of all values before this one's, modulo 2^32.
    begin: u32,
    /// Bytes of its value; none unless the field is of interest.
    value_bytes: u16,
    name_bytes: u16,
    field: Field,
    /// As the RFC counts them; too few if the name is not known or its value was not decoded, so that an entry is kept
    /// too long rather than too short: an encoder never refers to one that is gone.
    bytes: u16,
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
            values: VecDeque::new(),
            values_begin: 0,
            bytes: 0,
            max_bytes: DEFAULT_TABLE_BYTES,
            value: Vec::new(),
        }
    }

    /// Blocks were missed: nothing that was inserted is where it was.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.values.clear();
        self.values_begin = 0;
        self.bytes = 0;
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.values.capacity() + self.value.capacity()
    }

    /// Reads a whole block and gives its fields, in order, with their values (empty unless they are of interest). `wanted`
    /// must always be the same.
    pub(super) fn read(
        &mut self,
        block: &[u8],
        wanted: &Wanted,
        take: impl FnMut(Field, &[u8]),
    ) -> Result<(), Malformed> {
        let mut value = std::mem::take(&mut self.value);
        let read = self.read_with(&mut value, block, wanted, take);
        value.clear();
        value.shrink_to(USUAL_VALUE_BYTES);
        self.value = value;
        read
    }

    fn read_with(
        &mut self,
        value: &mut Vec<u8>,
        block: &[u8],
        wanted: &Wanted,
        mut take: impl FnMut(Field, &[u8]),
    ) -> Result<(), Malformed> {
        let mut block = block;
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                match self.find(index, wanted)? {
                    Found::Static(field, value) => take(field, value.as_bytes()),
                    Found::Entry(entry) if entry.value_bytes == 0 => take(entry.field, b""),
                    Found::Entry(entry) => {
                        self.copy_value(entry, value);
                        take(entry.field, value);
                    }
                    Found::Unknown => take(Field::Unknown, b""),
                }
            } else if first & 0xe0 == 0x20 {
                self.resize(integer(&mut block, 5)?);
            } else {
                let insert = first & 0x40 != 0;
                let index = integer(&mut block, if insert { 6 } else { 4 })?;
                let (field, name_bytes) = self.name(index, wanted, &mut block)?;
                let text = string(&mut block)?;
                value.clear();
                let value_bytes = if field.is_kept() {
                    decode_value(field, text, wanted, value)?
                } else {
                    text.least_bytes()
                };
                take(field, value);
                if insert {
                    let bytes = name_bytes.saturating_add(value_bytes).saturating_add(ENTRY_BYTES);
                    self.insert(field, value, name_bytes, bytes);
                }
            }
        }
        Ok(())
    }

    /// An entry's value.
    fn copy_value(&self, entry: &Entry, to: &mut Vec<u8>) {
        let begin = entry.begin.wrapping_sub(self.values_begin) as usize;
        let end = begin + usize::from(entry.value_bytes);
        let (first, second) = self.values.as_slices();
        let split = first.len();
        to.clear();
        to.extend_from_slice(first.get(begin..end.min(split)).unwrap_or_default());
        to.extend_from_slice(
            second
                .get(begin.max(split) - split..end.max(split) - split)
                .unwrap_or_default(),
        );
    }

    fn find(&self, index: u32, wanted: &Wanted) -> Result<Found<'_>, Malformed> {
        let index = index as usize;
        if index == 0 {
            return Err(Malformed);
        }
        if let Some(&(_, value)) = STATIC.get(index - 1) {
            let field = static_field(index - 1, wanted);
            return Ok(Found::Static(field, if field.is_kept() { value } else { "" }));
        }
        match self.entries.get(index - 1 - STATIC.len()) {
            Some(entry) => Ok(Found::Entry(entry)),
            None => Ok(Found::Unknown),
        }
    }

    /// A literal's name, and its bytes.
    fn name(&self, index: u32, wanted: &Wanted, block: &mut &[u8]) -> Result<(Field, u32), Malformed> {
        if index == 0 {
            let text = string(block)?;
            // One that fills the room is longer than any that means something.
            let mut name = [0; NAME_BYTES + 1];
            let length = text.decode(&mut name)?;
            return Ok((Field::wanted(&name[..length], wanted), bytes_of(length)));
        }
        Ok(self.named(index, wanted))
    }

    /// A field's name by its index, which is not 0, and the name's bytes.
    pub(super) fn named(&self, index: u32, wanted: &Wanted) -> (Field, u32) {
        let place = (index as usize).wrapping_sub(1);
        if let Some((name, _)) = STATIC.get(place) {
            return (static_field(place, wanted), bytes_of(name.len()));
        }
        match self.find(index, wanted) {
            Ok(Found::Entry(entry)) => (entry.field, u32::from(entry.name_bytes)),
            _ => (Field::Unknown, 0),
        }
    }

    /// A field was inserted whose value does not matter.
    pub(super) fn inserted(&mut self, field: Field, name_bytes: u32, value_bytes: u32) {
        let bytes = name_bytes.saturating_add(value_bytes).saturating_add(ENTRY_BYTES);
        self.insert(field, &[], name_bytes, bytes);
    }

    pub(super) fn resize(&mut self, bytes: u32) {
        self.max_bytes = bytes.min(MAX_TABLE_BYTES);
        self.evict(0);
    }

    fn insert(&mut self, field: Field, value: &[u8], name_bytes: u32, bytes: u32) {
        self.evict(bytes);
        if bytes > self.max_bytes {
            return;
        }
        // No entry is longer than the table, and that is not.
        let small = |bytes: u32| u16::try_from(bytes).unwrap_or(u16::MAX);
        self.bytes += bytes;
        self.entries.push_front(Entry {
            begin: self.values_begin.wrapping_add(bytes_of(self.values.len())),
            value_bytes: small(bytes_of(value.len())),
            name_bytes: small(name_bytes),
            field,
            bytes: small(bytes),
        });
        self.values.extend(value);
    }

    /// Makes room (RFC 7541, 4.4).
    fn evict(&mut self, room: u32) {
        while self.bytes.saturating_add(room) > self.max_bytes {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.bytes -= u32::from(oldest.bytes);
            self.values.drain(..usize::from(oldest.value_bytes));
            self.values_begin = self.values_begin.wrapping_add(u32::from(oldest.value_bytes));
        }
    }
}

enum Found<'a> {
    Static(Field, &'static str),
    Entry(&'a Entry),
    Unknown,
}

impl Text<'_> {
    /// Bytes that it comes to at least.
    fn least_bytes(self) -> u32 {
        bytes_of(if self.huffman {
            huffman::least_decoded(self.bytes.len())
        } else {
            self.bytes.len()
        })
    }

    /// As much of it as there is room for, and how much that is.
    fn decode(self, to: &mut [u8]) -> Result<usize, Malformed> {
        if self.huffman {
            return huffman::decode(self.bytes, to).ok_or(Malformed);
        }
        let length = self.bytes.len().min(to.len());
        to[..length].copy_from_slice(&self.bytes[..length]);
        Ok(length)
    }
}

/// A value that is of interest, and its bytes; of a query without what stands between a key and the next one, unless the
/// key's value is wanted.
fn decode_value(field: Field, text: Text<'_>, wanted: &Wanted, value: &mut Vec<u8>) -> Result<u32, Malformed> {
    let most = if text.huffman {
        huffman::most_decoded(text.bytes.len())
    } else {
        text.bytes.len()
    };
    value.resize(most.min(MAX_VALUE_BYTES), 0);
    let length = text.decode(value)?;
    value.truncate(length);
    if field == Field::Path
        && let Some(query) = memchr(b'?', value)
    {
        let (mut in_value, mut kept) = (false, query);
        // Behind the key, if its value is kept.
        let (mut key, mut is_kept) = (query + 1, false);
        for place in query..value.len() {
            let byte = value[place];
            match byte {
                b'&' | b'#' => {
                    (in_value, is_kept) = (false, false);
                    key = kept + 1;
                }
                b'=' if !is_kept => {
                    is_kept = !in_value && wanted.shows_query_value(value.get(key..kept).unwrap_or_default());
                    in_value = !is_kept;
                }
                _ => {}
            }
            if !in_value {
                value[kept] = byte;
                kept += 1;
            }
        }
        value.truncate(kept);
    }
    Ok(bytes_of(length))
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

/// What the name at a place of the static table is.
fn static_field(place: usize, wanted: &Wanted) -> Field {
    match STATIC_FIELDS[place] {
        Field::Other if !wanted.names().is_empty() => Field::wanted(STATIC[place].0.as_bytes(), wanted),
        field => field,
    }
}

/// What the names of the static table are.
static STATIC_FIELDS: [Field; STATIC.len()] = {
    let mut fields = [Field::Other; STATIC.len()];
    let mut place = 0;
    while place < fields.len() {
        fields[place] = Field::of(STATIC[place].0.as_bytes());
        place += 1;
    }
    fields
};

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
