//! A request's header, and the topics of those that move records.

use super::api;
use super::reader::Reader;

/// What a request begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) id: i32,
    /// The client's name, as far as it is there, and its bytes.
    client: &'a [u8],
    pub(super) client_bytes: usize,
    pub(super) body: Reader<'a>,
}

/// The topics that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topics<'a> {
    /// It is not known how they stand there, or they were not captured.
    Unseen,
    None,
    One(Topic<'a>),
    Several,
}

/// What a topic is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic<'a> {
    Name(&'a str),
    Id(&'a [u8; 16]),
}

/// A request to Produce or Fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Records<'a> {
    pub(super) topics: Topics<'a>,
    /// `acks=0`: no answer comes.
    pub(super) unanswered: bool,
    /// A Fetch that goes on with a session, of which it tells what changed (KIP-227).
    pub(super) in_session: bool,
}

/// Who has to have what Produce brings: nobody, the leader, all. Brokers refuse other numbers.
pub(super) const ACKS: std::ops::RangeInclusive<i16> = -1..=1;
/// The length of a string that is null.
const NULL: i16 = -1;

impl<'a> Header<'a> {
    /// Bytes up to the client's name.
    pub(super) const BYTES: usize = 10;

    /// The header at the beginning of a request, behind its size. Its client's name may be cut.
    pub(super) fn of(request: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(request, false);
        let (key, version, id) = (reader.int16()?, reader.int16()?, reader.int32()?);
        if !api::is_plausible(key, version) {
            return None;
        }
        // Never compact, in any version.
        let client_bytes = match reader.int16()? {
            NULL => 0,
            length => usize::try_from(length).ok()?,
        };
        let rest = reader.rest();
        let (client, body) = rest.split_at_checked(client_bytes).unwrap_or((rest, &[]));
        Some(Self {
            key,
            version,
            id,
            client,
            client_bytes,
            body: Reader::new(body, api::of(key).is_some_and(|api| api.is_flexible(version))),
        })
    }

    /// Can it be that of a request of so many bytes: is the client's name a text in it?
    pub(super) fn fits(&self, bytes: usize) -> bool {
        let is_text = |byte: &u8| (b' '..=b'~').contains(byte);
        self.is_within(bytes) && self.client.iter().all(is_text)
    }

    /// Does it end within so many bytes?
    pub(super) fn is_within(&self, bytes: usize) -> bool {
        Self::BYTES + self.client_bytes <= bytes
    }

    /// What it says of topics; only for Produce and Fetch.
    pub(super) fn records(&self) -> Records<'a> {
        let mut records = Records {
            topics: Topics::Unseen,
            unanswered: false,
            in_session: false,
        };
        if api::of(self.key).is_some_and(|api| api.knows(self.version)) {
            let mut reader = self.body;
            let head = reader.tags().and_then(|()| match self.key {
                api::PRODUCE => produce(&mut reader, self.version, &mut records),
                _ => fetch(&mut reader, self.version, &mut records),
            });
            records.topics = head
                .and_then(|()| topics(&mut reader, self.version))
                .unwrap_or(Topics::Unseen);
        }
        records
    }
}

fn produce(reader: &mut Reader<'_>, version: i16, records: &mut Records<'_>) -> Option<()> {
    if version >= 3 {
        // The transaction's id.
        reader.string()?;
    }
    let acks = reader.int16().filter(|acks| ACKS.contains(acks))?;
    records.unanswered = acks == 0;
    // The timeout.
    reader.skip(4)
}

fn fetch(reader: &mut Reader<'_>, version: i16, records: &mut Records<'_>) -> Option<()> {
    reader.skip(before_epoch(version))?;
    if has_epoch(version) {
        records.in_session = reader.int32()? > 0;
    }
    Some(())
}

/// Bytes of a Fetch behind its tagged fields up to the session's epoch, or to the topics where it has none: the replica's id; the
/// longest wait, and the least bytes; the most bytes; the level of isolation; the session.
pub(super) fn before_epoch(version: i16) -> usize {
    let field = |is_there: bool, bytes: usize| if is_there { bytes } else { 0 };
    field(version < 15, 4) + 8 + field(version >= 3, 4) + field(version >= 4, 1) + field(has_epoch(version), 4)
}

/// Has a Fetch of this version a session?
pub(super) fn has_epoch(version: i16) -> bool {
    version >= 7
}

fn topics<'a>(reader: &mut Reader<'a>, version: i16) -> Option<Topics<'a>> {
    match reader.count()? {
        0 => return Some(Topics::None),
        1 => {}
        _ => return Some(Topics::Several),
    }
    if version >= 13 {
        return reader.uuid().map(Topic::Id).map(Topics::One);
    }
    name(reader.string()?).map(Topic::Name).map(Topics::One)
}

/// A topic's name, if it may be one.
pub(super) fn name(bytes: &[u8]) -> Option<&str> {
    let is_legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    ((1..=249).contains(&bytes.len()) && bytes.iter().all(is_legal))
        .then(|| str::from_utf8(bytes).ok())
        .flatten()
}
