//! Where answers hold their error codes, as far as the layout of their versions is known; and what Metadata tells of
//! topics. Only what is within the captured head is found.

use super::api::Errors;
use super::reader::Reader;

/// Of an answer behind its correlation id, the first error code that is one. `learn` is told ids and names of topics.
pub(super) fn first_error(
    errors: Errors,
    version: i16,
    body: Reader<'_>,
    learn: &mut dyn FnMut(&[u8; 16], &[u8]),
) -> Option<i16> {
    let mut pass = |_| {};
    let mut walk = Walk::new(body, version, &mut pass);
    // Where it ends early, what was found is all that there is.
    let _ = walk.through(errors, learn);
    walk.found
}

/// Of an answer behind its correlation id, as far as it came, the parts that are not looked at, as the bytes from the beginning
/// of each to the end and its length. The last one has no end: nothing behind it is read.
pub(super) fn unread(errors: Errors, version: i16, body: Reader<'_>, tell: &mut dyn FnMut((usize, usize))) {
    let mut walk = Walk::new(body, version, tell);
    let through = walk.through(errors, &mut |_, _| {});
    let left = walk.reader.rest().len();
    let is_cut = through.is_none() && !walk.stopped && errors != Errors::Untold;
    if walk.in_name {
        return;
    }
    // Of a number that is cut it is looked at what is there.
    let kept = if is_cut { left.min(LONGEST_NUMBER) } else { 0 };
    (walk.pass)((left - kept, usize::MAX));
}

/// A topic's id.
pub(super) const LONGEST_NUMBER: usize = 16;

struct Walk<'a, 'p> {
    reader: Reader<'a>,
    version: i16,
    found: Option<i16>,
    /// At an error code.
    stopped: bool,
    /// It ended in the middle of a name that is looked at.
    in_name: bool,
    /// Told of each text that is passed over: bytes left before it, and its own.
    pass: &'p mut dyn FnMut((usize, usize)),
}

impl<'a, 'p> Walk<'a, 'p> {
    fn new(reader: Reader<'a>, version: i16, pass: &'p mut dyn FnMut((usize, usize))) -> Self {
        Self {
            reader,
            version,
            found: None,
            stopped: false,
            in_name: false,
            pass,
        }
    }

    /// Passes over a string.
    fn text(&mut self) -> Option<()> {
        let length = self.reader.string_length()?;
        self.pass(length)
    }

    /// Passes over bytes, or records.
    fn bytes(&mut self) -> Option<()> {
        let length = self.reader.length()?;
        self.pass(length)
    }

    fn pass(&mut self, length: usize) -> Option<()> {
        (self.pass)((self.reader.rest().len(), length));
        if self.reader.skip(length).is_none() {
            // All that is left is of it.
            self.reader.skip(self.reader.rest().len())?;
            return None;
        }
        Some(())
    }

    /// Passes over tagged fields, where the version has them.
    fn tags(&mut self) -> Option<()> {
        if self.reader.flexible {
            for _ in 0..self.reader.varint()? {
                self.reader.varint()?;
                let length = self.reader.varint()?;
                self.pass(length)?;
            }
        }
        Some(())
    }

    /// A name that is looked at.
    fn name(&mut self) -> Option<&'a [u8]> {
        let length = self.reader.string_length()?;
        let name = self.reader.take(length);
        self.in_name = name.is_none();
        name
    }

    fn through(&mut self, errors: Errors, learn: &mut dyn FnMut(&[u8; 16], &[u8])) -> Option<()> {
        if errors == Errors::Untold {
            return None;
        }
        self.tags()?;
        match errors {
            Errors::Untold => None,
            Errors::Top { throttled_from } => {
                self.throttle(throttled_from)?;
                self.code()
            }
            Errors::Produce => self.topics(13, Self::produced),
            Errors::Fetch => self.fetch(),
            Errors::ListOffsets => {
                self.throttle(2)?;
                self.topics(i16::MAX, Self::listed)
            }
            Errors::Metadata => self.metadata(learn),
            Errors::OffsetCommit => {
                self.throttle(3)?;
                self.topics(10, Self::plain)
            }
            Errors::OffsetFetch => self.offset_fetch(),
            Errors::FindCoordinator => self.find_coordinator(),
            Errors::CreateTopics => {
                self.throttle(2)?;
                self.array(Self::created)
            }
            Errors::DeleteTopics => {
                self.throttle(1)?;
                self.array(Self::deleted)
            }
            Errors::AddPartitionsToTxn => {
                self.throttle(0)?;
                if self.version >= 4 {
                    self.code()
                } else {
                    self.topics(i16::MAX, Self::plain)
                }
            }
            Errors::TxnOffsetCommit => {
                self.throttle(0)?;
                self.topics(i16::MAX, Self::plain)
            }
        }
    }

    fn throttle(&mut self, from: i16) -> Option<()> {
        self.skip_from(from, 4)
    }

    /// Passes over a field that there is from a version on.
    fn skip_from(&mut self, from: i16, bytes: usize) -> Option<()> {
        if self.version >= from {
            self.reader.skip(bytes)?;
        }
        Some(())
    }

    /// An error code. The walk ends with the first that is one.
    fn code(&mut self) -> Option<()> {
        match self.reader.int16()? {
            0 => Some(()),
            code => {
                self.found = Some(code);
                self.stopped = true;
                None
            }
        }
    }

    /// Each element, up to its tagged fields.
    fn array(&mut self, each: fn(&mut Self) -> Option<()>) -> Option<()> {
        for _ in 0..self.reader.count()? {
            each(self)?;
            self.tags()?;
        }
        Some(())
    }

    /// Topics, which are called by their ids from a version on, and their partitions.
    fn topics(&mut self, ids_from: i16, partition: fn(&mut Self) -> Option<()>) -> Option<()> {
        for _ in 0..self.reader.count()? {
            if self.version >= ids_from {
                self.reader.skip(16)?;
            } else {
                self.text()?;
            }
            self.array(partition)?;
            self.tags()?;
        }
        Some(())
    }

    /// A partition's number and its error.
    fn plain(&mut self) -> Option<()> {
        self.reader.skip(4)?;
        self.code()
    }

    fn produced(&mut self) -> Option<()> {
        self.plain()?;
        self.reader.skip(8)?;
        self.skip_from(2, 8)?;
        self.skip_from(5, 8)?;
        if self.version >= 8 {
            self.array(|walk| {
                walk.reader.skip(4)?;
                walk.text()
            })?;
            self.text()?;
        }
        Some(())
    }

    fn fetch(&mut self) -> Option<()> {
        self.throttle(1)?;
        if self.version >= 7 {
            self.code()?;
            // The session.
            self.reader.skip(4)?;
        }
        self.topics(13, |walk| {
            walk.plain()?;
            walk.reader.skip(8)?;
            walk.skip_from(4, 8)?;
            walk.skip_from(5, 8)?;
            if walk.version >= 4 {
                // Transactions that were aborted.
                walk.array(|walk| walk.reader.skip(16))?;
            }
            walk.skip_from(11, 4)?;
            walk.bytes()
        })
    }

    fn listed(&mut self) -> Option<()> {
        self.plain()?;
        if self.version == 0 {
            let offsets = self.reader.count()?;
            return self.reader.skip(offsets.checked_mul(8)?);
        }
        self.reader.skip(16)?;
        self.skip_from(4, 4)
    }

    fn metadata(&mut self, learn: &mut dyn FnMut(&[u8; 16], &[u8])) -> Option<()> {
        self.throttle(3)?;
        // Brokers.
        self.array(|walk| {
            walk.reader.skip(4)?;
            walk.text()?;
            walk.reader.skip(4)?;
            if walk.version >= 1 {
                walk.text()?;
            }
            Some(())
        })?;
        if self.version >= 2 {
            // The cluster's id.
            self.text()?;
        }
        // The controller.
        self.skip_from(1, 4)?;
        for _ in 0..self.reader.count()? {
            // All of them are learned.
            let code = self.reader.int16()?;
            if code != 0 {
                self.found.get_or_insert(code);
            }
            if self.version >= 10 {
                let name = self.name()?;
                learn(self.reader.uuid()?, name);
            } else {
                self.text()?;
            }
            self.skip_from(1, 1)?;
            self.array(|walk| {
                walk.reader.skip(10)?;
                walk.skip_from(7, 4)?;
                walk.reader.skip_int32s()?;
                walk.reader.skip_int32s()?;
                if walk.version >= 5 {
                    walk.reader.skip_int32s()?;
                }
                Some(())
            })?;
            self.skip_from(8, 4)?;
            self.tags()?;
        }
        Some(())
    }

    fn offset_fetch(&mut self) -> Option<()> {
        self.throttle(3)?;
        if self.version < 8 {
            self.topics(i16::MAX, Self::fetched_offset)?;
            return if self.version >= 2 { self.code() } else { Some(()) };
        }
        self.array(|walk| {
            // The group.
            walk.text()?;
            walk.topics(10, Self::fetched_offset)?;
            walk.code()
        })
    }

    fn fetched_offset(&mut self) -> Option<()> {
        self.reader.skip(12)?;
        self.skip_from(5, 4)?;
        self.text()?;
        self.code()
    }

    fn find_coordinator(&mut self) -> Option<()> {
        self.throttle(1)?;
        if self.version < 4 {
            return self.code();
        }
        self.array(|walk| {
            walk.text()?;
            walk.reader.skip(4)?;
            walk.text()?;
            walk.reader.skip(4)?;
            walk.code()?;
            walk.text()
        })
    }

    fn created(&mut self) -> Option<()> {
        self.text()?;
        self.skip_from(7, 16)?;
        self.code()?;
        if self.version >= 1 {
            self.text()?;
        }
        if self.version >= 5 {
            // Partitions and replicas; settings.
            self.reader.skip(6)?;
            self.array(|walk| {
                walk.text()?;
                walk.text()?;
                walk.reader.skip(3)
            })?;
        }
        Some(())
    }

    fn deleted(&mut self) -> Option<()> {
        self.text()?;
        self.skip_from(6, 16)?;
        self.code()?;
        if self.version >= 5 {
            self.text()?;
        }
        Some(())
    }
}
