//! Writes the record stream into a file ([`super::format`]), credentials and query values blanked ([`super::scrub`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use perf_common::record::RecordHeader;

use super::format::{Header, MAX_RECORD_BYTES};
use super::scrub::Scrubber;

/// Records are gathered up to this size before they are written.
const CHUNK_BYTES: usize = 256 * 1024;

/// Why a recording could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be created; an existing one is never overwritten.
    #[error("cannot create {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Writing failed before there was a whole record.
    #[error("cannot write {path}; not one record fitted, and the file is removed")]
    Nothing {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Writing failed, for instance since the disk is full.
    #[error("cannot write {path}; it ends with the last record that was written whole ({records} records)")]
    Write {
        /// The file.
        path: PathBuf,
        /// Records that are in the file.
        records: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// What a finished recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Records.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A recording being made. Without [`Self::finish`] the file has no end mark.
#[derive(Debug)]
pub struct Recorder<W = File> {
    path: PathBuf,
    output: W,
    scrubber: Scrubber,
    header_bytes: usize,
    pending: Vec<u8>,
    pending_records: u64,
    written: Recorded,
}

impl Recorder {
    /// Creates the file, readable by its owner only. Follows no symbolic link and overwrites nothing.
    ///
    /// # Errors
    /// [`RecordError::Create`]
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordError> {
        let output = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| RecordError::Create {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self::new(path, output, header))
    }
}

impl<W: Write + TakeBack> Recorder<W> {
    fn new(path: &Path, output: W, header: &Header) -> Self {
        Self {
            path: path.to_owned(),
            output,
            scrubber: Scrubber::default(),
            header_bytes: header.to_bytes().len(),
            pending: header.to_bytes(),
            pending_records: 0,
            written: Recorded { records: 0, bytes: 0 },
        }
    }

    /// Adds a record. Of a ring buffer item only the record itself is kept, not the rest of its size class.
    ///
    /// # Errors
    /// [`RecordError::Write`] or [`RecordError::Nothing`]; the file is then already cut back to its last whole record.
    pub fn record(&mut self, record: &[u8]) -> Result<(), RecordError> {
        let size = record
            .get(4..8)
            .and_then(|size| size.try_into().ok())
            .map_or(0, u32::from_le_bytes);
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let possible = (size_of::<RecordHeader>()..=MAX_RECORD_BYTES).contains(&length);
        let Some(record) = record.get(..length).filter(|_| possible) else {
            return Ok(()); // no record: whoever decodes it counts it
        };
        self.pending.extend(size.to_le_bytes());
        let start = self.pending.len();
        self.pending.extend(record);
        self.scrubber.scrub(&mut self.pending[start..]);
        self.pending_records += 1;
        if self.pending.len() >= CHUNK_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes what is gathered, for instance once a second, so that a killed agent leaves a useful file.
    ///
    /// # Errors
    /// [`RecordError::Write`]
    pub fn flush(&mut self) -> Result<(), RecordError> {
        let mut done = 0;
        while done < self.pending.len() {
            match self.output.write(&self.pending[done..]) {
                Ok(0) => return Err(self.failed(done, io::ErrorKind::WriteZero.into())),
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(done, error)),
            }
        }
        self.written.bytes += self.pending.len() as u64;
        self.written.records += self.pending_records;
        self.pending.clear();
        self.pending_records = 0;
        Ok(())
    }

    /// Cuts the file behind the last record of which all was written, when `done` bytes of what was pending were. Without
    /// any record it goes, so that it is not in the way of another try.
    fn failed(&mut self, done: usize, source: io::Error) -> RecordError {
        let path = self.path.clone();
        let written = &self.pending[..done];
        let mut whole = if self.written.bytes == 0 { self.header_bytes } else { 0 };
        while let Some((length, rest)) = written.get(whole..).and_then(<[u8]>::split_first_chunk) {
            let length = u32::from_le_bytes(*length) as usize;
            if length == 0 || rest.len() < length {
                break;
            }
            whole += size_of::<u32>() + length;
            self.written.records += 1;
        }
        // Should taking back fail as well, a reader still tolerates what is left.
        if self.written.records == 0 {
            drop(self.output.remove(&path));
            return RecordError::Nothing { path, source };
        }
        drop(self.output.shorten(self.written.bytes + whole as u64));
        RecordError::Write {
            path,
            records: self.written.records,
            source,
        }
    }

    /// Writes the end mark.
    ///
    /// # Errors
    /// [`RecordError::Write`]
    pub fn finish(mut self) -> Result<Recorded, RecordError> {
        self.pending.extend([0; 4]);
        self.flush()?;
        Ok(self.written)
    }
}

/// Something of which what was written can be taken back.
pub trait TakeBack {
    /// Cuts it to a length.
    ///
    /// # Errors
    /// As the file system says.
    fn shorten(&mut self, length: u64) -> io::Result<()>;
    /// Takes it away.
    ///
    /// # Errors
    /// As the file system says.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
}

impl TakeBack for File {
    fn shorten(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{Entry, Reader};
    use super::*;
    use perf_common::record::TickRecord;
    use std::os::unix::fs::PermissionsExt;

    fn header() -> Header {
        let text = || "x".to_owned();
        Header {
            started_ns: 1,
            started_wall_ns: 2,
            kernel: text(),
            agent: text(),
            backend: text(),
        }
    }

    #[test]
    fn the_file_is_private_whole_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rec");
        let mut recorder = Recorder::create(&path, &header()).unwrap();
        let tick = TickRecord::new(1, 2).to_bytes();
        let item = [&tick[..], &[0xee; 40]].concat(); // a ring buffer item is longer than its record
        recorder.record(&item).unwrap();
        let whole = recorder.finish().unwrap();
        assert_eq!(whole.records, 1);
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.len()), (0o600, whole.bytes));
        let bytes = std::fs::read(&path).unwrap();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.next().unwrap(), Entry::Record(&tick));
        assert_eq!(reader.next().unwrap(), Entry::End);
        assert!(matches!(
            Recorder::create(&path, &header()),
            Err(RecordError::Create { .. })
        ));
    }

    /// A disk with room for so many bytes.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        removed: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend(&bytes[..fits]);
            Ok(fits)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl TakeBack for &mut Disk {
        fn shorten(&mut self, length: u64) -> io::Result<()> {
            self.bytes.truncate(usize::try_from(length).unwrap());
            Ok(())
        }
        fn remove(&mut self, _: &Path) -> io::Result<()> {
            self.removed = true;
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_whole_records_and_says_so() {
        let tick = TickRecord::new(1, 2).to_bytes();
        // Whether what does not fit is the first that is written, or comes later, what fits is there.
        for flushed in 0..=3 {
            let mut disk = Disk {
                bytes: Vec::new(),
                room: header().to_bytes().len() + 3 * (4 + tick.len()) + 7,
                removed: false,
            };
            let mut recorder = Recorder::new(Path::new("full.rec"), &mut disk, &header());
            for number in 0..5 {
                recorder.record(&tick).unwrap();
                if number < flushed {
                    recorder.flush().unwrap();
                }
            }
            let error = recorder.flush().unwrap_err();
            assert!(matches!(error, RecordError::Write { records: 3, .. }), "{error}");
            assert!(!disk.removed);
            let mut reader = Reader::new(&disk.bytes[..]).unwrap();
            for _ in 0..3 {
                assert_eq!(reader.next().unwrap(), Entry::Record(&tick));
            }
            assert_eq!(reader.next().unwrap(), Entry::Cut);
        }
    }

    #[test]
    fn a_disk_without_room_for_one_record_is_left_without_a_file() {
        for room in [0, 5, header().to_bytes().len(), header().to_bytes().len() + 9] {
            let mut disk = Disk {
                bytes: Vec::new(),
                room,
                removed: false,
            };
            let mut recorder = Recorder::new(Path::new("full.rec"), &mut disk, &header());
            recorder.record(&TickRecord::new(1, 2).to_bytes()).unwrap();
            let error = recorder.finish().unwrap_err();
            assert!(matches!(error, RecordError::Nothing { .. }), "{error}");
            assert!(disk.removed);
        }
    }
}
