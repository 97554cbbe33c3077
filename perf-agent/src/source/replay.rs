//! A recorded file as a source: the same records in the same order, at the pace they had or as fast as possible.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use perf_common::counters::COUNTERS;

use super::format::{Entry, FormatError, Header, Reader};
use super::{Hint, KernelInfo, Polled, ProgramStats, Report, Source, SourceError, TlsCoverage};
use crate::clock;

/// Records handed over in one call: few enough that what ends in them fits the trace's own limit.
const BATCH: usize = 512;

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times as fast as it was recorded. Positive and finite.
    Times(f64),
    /// As fast as possible.
    Max,
}

/// A recording being replayed.
#[derive(Debug)]
pub struct ReplaySource {
    reader: Reader<BufReader<File>>,
    report: Report,
    speed: Speed,
    /// Recorded and present monotonic time at the first record.
    base: Option<(u64, u64)>,
    /// A record that was read and is not due yet.
    waiting: Vec<u8>,
    progress: Arc<Progress>,
}

/// How far a replay is; may be looked at while it goes on elsewhere.
#[derive(Debug, Default)]
pub struct Progress {
    records: AtomicU64,
    ending: OnceLock<Ending>,
}

impl Progress {
    /// Records delivered so far.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// How the recording ended, once it has.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its end mark.
    Whole,
    /// Without: the recording agent was killed, or the file was cut.
    Cut,
    /// With something that is no record, or could not be read.
    Damaged(String),
}

/// A file that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("cannot replay {}", path.display())]
pub struct OpenError {
    /// Which one.
    path: PathBuf,
    /// Why.
    source: FormatError,
}

impl ReplaySource {
    /// Opens a recording.
    ///
    /// # Errors
    /// [`OpenError`] if it cannot be read or is none.
    pub fn open(path: &Path, speed: Speed) -> Result<Self, OpenError> {
        let read = File::open(path)
            .map_err(FormatError::Io)
            .and_then(|file| Reader::new(BufReader::with_capacity(256 * 1024, file)));
        let reader = read.map_err(|source| OpenError {
            path: path.to_owned(),
            source,
        })?;
        let report = Report {
            kernel: KernelInfo {
                release: reader.header().kernel.clone(),
                btf: false,
            },
            backend: None,
            backends: Vec::new(),
            hooks: Vec::new(),
            blind_spots: Vec::new(),
        };
        Ok(Self {
            reader,
            report,
            speed,
            base: None,
            waiting: Vec::new(),
            progress: Arc::default(),
        })
    }

    /// Where and when it was made.
    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Source for ReplaySource {
    fn report(&self) -> &Report {
        &self.report
    }

    fn recorded(&self) -> bool {
        true
    }

    fn poll(&mut self, timeout: Duration, deliver: &mut dyn FnMut(&[u8])) -> Result<Polled, SourceError> {
        if self.progress.ending().is_some() {
            return Ok(Polled::Ended);
        }
        for delivered in 0..BATCH {
            if !self.waiting.is_empty() {
                let wait = self
                    .base
                    .map_or(0, |base| due_in(self.speed, base, time_of(&self.waiting)));
                if wait > 0 {
                    if delivered == 0 {
                        std::thread::sleep(timeout.min(Duration::from_nanos(wait)));
                    }
                    return Ok(Polled::Idle);
                }
                deliver(&self.waiting);
                self.progress.records.fetch_add(1, Ordering::Relaxed);
                self.waiting.clear();
                continue;
            }
            let entry = self.reader.next().map_err(|error| {
                self.progress.ending.get_or_init(|| Ending::Damaged(error.to_string()));
                SourceError::Recording(Box::new(error))
            })?;
            let ending = match entry {
                Entry::Record(record) => {
                    let base = *self
                        .base
                        .get_or_insert_with(|| (time_of(record), clock::monotonic_ns()));
                    if due_in(self.speed, base, time_of(record)) > 0 {
                        self.waiting.extend(record);
                    } else {
                        deliver(record);
                        self.progress.records.fetch_add(1, Ordering::Relaxed);
                    }
                    continue;
                }
                Entry::End => Ending::Whole,
                Entry::Cut => Ending::Cut,
            };
            self.progress.ending.get_or_init(|| ending);
            return Ok(Polled::Ended);
        }
        Ok(Polled::More)
    }

    fn hint(&mut self, _: Hint) {}

    fn counters(&mut self) -> Result<Option<[u64; COUNTERS]>, SourceError> {
        Ok(None)
    }

    fn tls(&mut self) -> Vec<TlsCoverage> {
        Vec::new()
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        Vec::new()
    }

    fn detach(&mut self) {}
}

/// The record's own time: bytes 8 to 16 of its header, which the reader made sure of.
fn time_of(record: &[u8]) -> u64 {
    record
        .get(8..16)
        .and_then(|time| time.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// Nanoseconds until a record is due. Records of different processors are not quite in order; an older one is due.
fn due_in(speed: Speed, (recorded, present): (u64, u64), at_ns: u64) -> u64 {
    match speed {
        Speed::Max => 0,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is not negative"
        )]
        Speed::Times(times) => {
            let after = (at_ns.saturating_sub(recorded) as f64 / times) as u64;
            present.saturating_add(after).saturating_sub(clock::monotonic_ns())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Recorder;
    use super::*;
    use perf_common::record::TickRecord;

    fn recording(times: &[u64]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rec");
        let text = || "x".to_owned();
        let header = Header {
            started_ns: 1,
            started_wall_ns: 2,
            kernel: text(),
            agent: text(),
            backend: text(),
        };
        let mut recorder = Recorder::create(&path, &header).unwrap();
        for &at_ns in times {
            recorder.record(&TickRecord::new(at_ns, 0).to_bytes()).unwrap();
        }
        recorder.finish().unwrap();
        (directory, path)
    }

    fn replay(path: &Path, speed: Speed) -> Vec<u64> {
        let mut source = ReplaySource::open(path, speed).unwrap();
        let mut seen = Vec::new();
        while source
            .poll(Duration::from_millis(5), &mut |record| seen.push(time_of(record)))
            .unwrap()
            != Polled::Ended
        {}
        assert_eq!(
            (source.progress.ending(), source.progress.records()),
            (Some(&Ending::Whole), seen.len() as u64)
        );
        seen
    }

    #[test]
    fn at_full_speed_everything_comes_at_once_and_in_order() {
        let times: Vec<u64> = (0..20_000).map(|index| index * 1_000_000_000).collect();
        let (_directory, path) = recording(&times);
        assert_eq!(replay(&path, Speed::Max), times);
    }

    #[test]
    fn at_a_given_speed_the_recorded_pauses_are_kept() {
        let (_directory, path) = recording(&[7_000_000_000, 7_200_000_000, 7_100_000_000, 7_400_000_000]);
        let start = clock::monotonic_ns();
        let seen = replay(&path, Speed::Times(10.0));
        assert_eq!(seen.len(), 4);
        assert!(
            clock::monotonic_ns() - start >= 40_000_000,
            "0.4 s at ten times the speed"
        );
    }

    #[test]
    fn a_cut_file_is_replayed_as_far_as_it_goes() {
        let (_directory, path) = recording(&[1, 2, 3]);
        let whole = std::fs::metadata(&path).unwrap().len();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(whole - 10)
            .unwrap();
        let mut source = ReplaySource::open(&path, Speed::Max).unwrap();
        let mut records = 0;
        assert_eq!(
            source.poll(Duration::ZERO, &mut |_| records += 1).unwrap(),
            Polled::Ended
        );
        assert_eq!((records, source.progress.ending()), (2, Some(&Ending::Cut)));
    }
}
