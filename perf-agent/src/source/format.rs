//! A recorded file: a header, then records as the ring buffer delivered them, each behind its length, then an end mark.
//!
//! ```text
//! magic "perfrec\0" · format u32 · ABI u32 · monotonic start u64 · wall start u64
//! kernel release · agent version · backend        each: length u16, bytes
//! length u32 · record …                            once per record; 0 marks the end
//! ```
//! Little endian. A reader refuses another format or ABI version: records are the kernel side's own layout, and reading
//! them by another one would give wrong numbers. A file without its end mark was cut; what came before is good.

use std::io::{self, Read};

use perf_common::ABI_VERSION;
use perf_common::record::{DataRecord, RecordHeader};

/// Version of what this module describes.
pub const FORMAT_VERSION: u32 = 1;
/// The longest record there can be: a segment with as many captured bytes as the largest capture budget.
pub const MAX_RECORD_BYTES: usize = size_of::<DataRecord>() + 64 * 1024;

const MAGIC: [u8; 8] = *b"perfrec\0";
const MAX_TEXT_BYTES: usize = 256;

/// Where and when a recording was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Monotonic nanoseconds at the start.
    pub started_ns: u64,
    /// Nanoseconds since 1970 at the same moment.
    pub started_wall_ns: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The agent's version.
    pub agent: String,
    /// The backend that was in use.
    pub backend: String,
}

/// Why a file cannot be read as a recording.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It does not begin like one.
    #[error("this is no recording of perf-agent (its first bytes are others)")]
    Magic,
    /// Written by another version.
    #[error(
        "the recording has format {format} and record layout {abi}; this agent reads {FORMAT_VERSION} and {ABI_VERSION}"
    )]
    Version {
        /// Its format.
        format: u32,
        /// Its record layout.
        abi: u32,
    },
    /// The header is cut or malformed.
    #[error("the recording's header is malformed")]
    Header,
    /// A length that no record has.
    #[error("at byte {offset}: a record of {length} bytes cannot be")]
    Length {
        /// Where in the file.
        offset: u64,
        /// What stands there.
        length: u32,
    },
    /// Reading failed.
    #[error("cannot read the recording")]
    Io(#[from] io::Error),
}

impl Header {
    /// The header's bytes. Texts are cut at a length that every reader takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(ABI_VERSION.to_le_bytes());
        bytes.extend(self.started_ns.to_le_bytes());
        bytes.extend(self.started_wall_ns.to_le_bytes());
        for text in [&self.kernel, &self.agent, &self.backend] {
            let text = &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT_BYTES)];
            bytes.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
            bytes.extend(text);
        }
        bytes
    }
}

/// What [`Reader::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A record.
    Record(&'a [u8]),
    /// The end mark: the recording is whole.
    End,
    /// The file ends without its end mark, or within a record.
    Cut,
}

/// Reads a recording. Holds one record at a time.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    record: Box<[u8]>,
    offset: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header. `input` should be buffered.
    ///
    /// # Errors
    /// [`FormatError`] if this is no recording that this version reads.
    pub fn new(mut input: R) -> Result<Self, FormatError> {
        let mut offset = 0;
        let mut magic = [0; 8];
        if !filled(&mut input, &mut magic, &mut offset)? || magic != MAGIC {
            return Err(FormatError::Magic);
        }
        let mut field = |bytes: &mut [u8]| -> Result<(), FormatError> {
            filled(&mut input, bytes, &mut offset)?
                .then_some(())
                .ok_or(FormatError::Header)
        };
        let (mut format, mut abi, mut started, mut wall) = ([0; 4], [0; 4], [0; 8], [0; 8]);
        field(&mut format)?;
        field(&mut abi)?;
        let (format, abi) = (u32::from_le_bytes(format), u32::from_le_bytes(abi));
        if (format, abi) != (FORMAT_VERSION, ABI_VERSION) {
            return Err(FormatError::Version { format, abi });
        }
        field(&mut started)?;
        field(&mut wall)?;
        let mut text = || -> Result<String, FormatError> {
            let mut length = [0; 2];
            field(&mut length)?;
            let mut bytes = [0; MAX_TEXT_BYTES];
            let bytes = bytes
                .get_mut(..usize::from(u16::from_le_bytes(length)))
                .ok_or(FormatError::Header)?;
            field(bytes)?;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        };
        let header = Header {
            started_ns: u64::from_le_bytes(started),
            started_wall_ns: u64::from_le_bytes(wall),
            kernel: text()?,
            agent: text()?,
            backend: text()?,
        };
        Ok(Self {
            input,
            header,
            record: vec![0; MAX_RECORD_BYTES].into(),
            offset,
        })
    }

    /// Where and when the recording was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next record. After [`Entry::End`] or [`Entry::Cut`] nothing follows.
    ///
    /// # Errors
    /// [`FormatError::Length`] for a length that no record has (nothing behind it can be trusted), or a failed read.
    #[expect(
        clippy::should_implement_trait,
        reason = "lends its buffer, which an iterator cannot"
    )]
    pub fn next(&mut self) -> Result<Entry<'_>, FormatError> {
        let start = self.offset;
        let mut length = [0; 4];
        if !filled(&mut self.input, &mut length, &mut self.offset)? {
            return Ok(Entry::Cut);
        }
        let length = u32::from_le_bytes(length);
        if length == 0 {
            return Ok(Entry::End);
        }
        let bytes = usize::try_from(length)
            .ok()
            .and_then(|length| self.record.get_mut(..length));
        match bytes {
            Some(record) if record.len() >= size_of::<RecordHeader>() => {
                if !filled(&mut self.input, record, &mut self.offset)? {
                    return Ok(Entry::Cut);
                }
                Ok(Entry::Record(record))
            }
            _ => Err(FormatError::Length { offset: start, length }),
        }
    }
}

/// Fills `bytes`; false if the input ends before that.
fn filled(input: &mut impl Read, bytes: &mut [u8], offset: &mut u64) -> io::Result<bool> {
    let mut at = 0;
    while at < bytes.len() {
        match input.read(&mut bytes[at..]) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                at += read;
                *offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use perf_common::record::TickRecord;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            started_ns: 1,
            started_wall_ns: 2,
            kernel: "6.12.0".into(),
            agent: "0.1.0".into(),
            backend: "kprobe".into(),
        }
    }

    fn file(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = header().to_bytes();
        for record in records {
            bytes.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
            bytes.extend(*record);
        }
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let tick = TickRecord::new(5, 6).to_bytes();
        let bytes = file(&[&tick, &tick]);
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.header(), &header());
        for _ in 0..2 {
            assert_eq!(reader.next().unwrap(), Entry::Record(&tick));
        }
        assert_eq!(reader.next().unwrap(), Entry::End);
    }

    #[test]
    fn a_cut_anywhere_is_told_and_loses_only_the_last_record() {
        let tick = TickRecord::new(5, 6).to_bytes();
        let bytes = file(&[&tick, &tick]);
        let head = header().to_bytes().len();
        for end in 0..bytes.len() {
            let reader = Reader::new(&bytes[..end]);
            if end < head {
                assert!(
                    matches!(reader, Err(FormatError::Magic | FormatError::Header)),
                    "cut at {end}"
                );
                continue;
            }
            let mut reader = reader.unwrap();
            let whole = (end - head) / (4 + tick.len());
            for _ in 0..whole.min(2) {
                assert_eq!(reader.next().unwrap(), Entry::Record(&tick));
            }
            assert_eq!(reader.next().unwrap(), Entry::Cut, "cut at {end}");
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut bytes = file(&[]);
        bytes[8] = 9;
        let error = Reader::new(&bytes[..]).unwrap_err();
        assert!(matches!(
            error,
            FormatError::Version {
                format: 9,
                abi: ABI_VERSION
            }
        ));
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_without_reading_on() {
        for length in [1, 15, u32::try_from(MAX_RECORD_BYTES).unwrap() + 1, u32::MAX] {
            let mut bytes = header().to_bytes();
            let offset = bytes.len() as u64;
            bytes.extend(length.to_le_bytes());
            let error = Reader::new(&bytes[..]).unwrap().next().map(|_| ()).unwrap_err();
            assert!(
                matches!(error, FormatError::Length { offset: at, length: told } if (at, told) == (offset, length))
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..400), keep in 0_usize..70) {
            let mut bytes = file(&[]);
            bytes.truncate(keep);
            bytes.extend(tail);
            if let Ok(mut reader) = Reader::new(&bytes[..]) {
                while matches!(reader.next(), Ok(Entry::Record(_))) {}
            }
        }
    }
}
