//! The file: tables, transactions, what is removed when, and what is read.
//!
//! | table | key | value |
//! |---|---|---|
//! | `slots` | kind, number of the slot, first endpoint | a block of rows, see [`super::block`] |
//! | `endpoints` | id | JSON, see [`super::names`] |
//! | `runs` | begin | end, so far |
//! | `numbers`, `texts` | a name | sums, error codes |
//!
//! A slot's number is that of its moment since 1970, by its length. Kinds 0 to 3 are the sizes of slots in memory, and
//! hold as many as memory does (of two hours, all that is kept); kind 4 is what is kept for longest of five minutes.
//! Everything that was learnt since the last commit is in one transaction, so what is in the file is the state at one
//! moment.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition, TableError};

use super::block::{Rows, blocks};
use super::names::StoredEndpoint;
use crate::aggregate::window::Size;
use crate::disk::{self, OpenError};

/// Changes with everything that is stored: tables, keys, the compact form of slots.
const KIND: disk::Kind = disk::Kind {
    version: 1,
    cache_bytes: 8 << 20,
};

type SlotKey = (u8, u64, u64);

const SLOTS: TableDefinition<'static, SlotKey, &'static [u8]> = TableDefinition::new("slots");
const ENDPOINTS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("endpoints");
const RUNS: TableDefinition<'static, u64, u64> = TableDefinition::new("runs");
const NUMBERS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("numbers");
const TEXTS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("texts");

/// Runs kept; of more, the oldest two become one.
const RUNS_KEPT: u64 = 512;

/// What is kept of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Slots as in memory.
    Slots(Size),
    /// Of five minutes, what is kept for longest.
    Lean,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Slots(Size::TenSeconds),
        Self::Slots(Size::Minute),
        Self::Slots(Size::FiveMinutes),
        Self::Slots(Size::TwoHours),
        Self::Lean,
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Slots(Size::TenSeconds) => 0,
            Self::Slots(Size::Minute) => 1,
            Self::Slots(Size::FiveMinutes) => 2,
            Self::Slots(Size::TwoHours) => 3,
            Self::Lean => 4,
        }
    }

    pub(crate) fn size(self) -> Size {
        match self {
            Self::Slots(size) => size,
            Self::Lean => Size::FiveMinutes,
        }
    }

    /// The oldest number that is kept.
    pub(crate) fn oldest(self, at_ns: u64, retention_ns: u64) -> u64 {
        match self {
            Self::Slots(Size::TwoHours) | Self::Lean => self.size().number(at_ns.saturating_sub(retention_ns)),
            Self::Slots(size) => size.number(at_ns).saturating_sub(size.kept()),
        }
    }
}

/// Why something cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot read or write the history")]
    Failed(#[source] Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error.into()))
    }
}

impl StoreError {
    /// The error with all its causes.
    pub(crate) fn whole(&self) -> String {
        disk::whole(self)
    }
}

/// An endpoint's id, and what is kept of it.
pub(crate) type Row = (u64, Arc<[u8]>);

/// What a transaction puts in.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The moment, nanoseconds since 1970.
    pub(crate) at_ns: u64,
    /// When this run began, likewise.
    pub(crate) began_ns: u64,
    /// All rows of slots: kind, number, rows; what was there of a slot is replaced.
    pub(crate) slots: Vec<(Kind, u64, Vec<Row>)>,
    /// Slots that are at other moments now, and told anew: from one number to another.
    pub(crate) cleared: Vec<(Kind, u64, u64)>,
    /// Endpoints that are new or changed.
    pub(crate) endpoints: Vec<(u64, Vec<u8>)>,
    /// Endpoints that became others.
    pub(crate) renamed: Vec<(u64, u64)>,
    /// Error codes, if there are new ones.
    pub(crate) codes: Option<Vec<u8>>,
}

/// What is kept at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) retention_ns: u64,
    pub(crate) max_bytes: u64,
}

/// Sums over the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Rows of endpoints.
    pub(crate) rows: u64,
    /// Bytes of all blocks.
    pub(crate) bytes: u64,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    path: PathBuf,
    sums: Sums,
}

impl Store {
    /// Opens the file in a directory, or makes both. A file that is damaged or none of ours is put aside: the path that it
    /// has now is given, too.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Option<PathBuf>), StoreError> {
        let path = directory.join("history.redb");
        let opened = disk::open(&path, KIND, |database| {
            let mut this = Self {
                database,
                path: path.clone(),
                sums: Sums::default(),
            };
            this.sums = Sums {
                rows: this.read_number("rows")?.unwrap_or(0),
                bytes: this.read_number("bytes")?.unwrap_or(0),
            };
            Ok(this)
        });
        Ok(opened?)
    }

    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    /// What the file takes on the disk.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.blocks() * 512)
    }

    /// One of the numbers by name.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.read_number(name)?)
    }

    fn read_number(&self, name: &str) -> Result<Option<u64>, redb::Error> {
        let read = self.database.begin_read()?;
        match read.open_table(NUMBERS) {
            Ok(table) => Ok(table.get(name)?.map(|number| number.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One of the texts by name.
    pub(crate) fn text(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read()?;
        match read.open_table(TEXTS) {
            Ok(table) => Ok(table.get(name)?.map(|text| text.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Begin and end of every run.
    pub(crate) fn runs(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(RUNS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut runs = Vec::new();
        for run in table.iter()? {
            let (begin, end) = run?;
            runs.push((begin.value(), end.value()));
        }
        Ok(runs)
    }

    /// Every endpoint; those that cannot be read are `None`.
    pub(crate) fn endpoints(&self) -> Result<Vec<(u64, Option<StoredEndpoint>)>, StoreError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(ENDPOINTS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut endpoints = Vec::new();
        for endpoint in table.iter()? {
            let (id, bytes) = endpoint?;
            endpoints.push((id.value(), StoredEndpoint::of_bytes(bytes.value())));
        }
        Ok(endpoints)
    }

    /// Every row of a kind whose slot's number is in this range, in order. Gives the number of blocks that are broken.
    pub(crate) fn rows(
        &self,
        kind: Kind,
        numbers: std::ops::RangeInclusive<u64>,
        take: &mut dyn FnMut(u64, u64, &[u8]),
    ) -> Result<u64, StoreError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(SLOTS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(0),
            table => table?,
        };
        let mut broken = 0;
        let range = (kind.byte(), *numbers.start(), 0)..=(kind.byte(), *numbers.end(), u64::MAX);
        for block in table.range(range)? {
            let (key, block) = block?;
            let (_, number, _) = key.value();
            let mut rows = Rows::new(block.value());
            for (id, row) in rows.by_ref() {
                take(number, id, row);
            }
            broken += u64::from(rows.is_broken());
        }
        Ok(broken)
    }

    /// The rows of a few endpoints, likewise: only the blocks that they are in are read.
    pub(crate) fn rows_of(
        &self,
        kind: Kind,
        numbers: std::ops::RangeInclusive<u64>,
        ids: &[u64],
        take: &mut dyn FnMut(u64, u64, &[u8]),
    ) -> Result<(), StoreError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(SLOTS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            table => table?,
        };
        for number in numbers {
            for &id in ids {
                let range = (kind.byte(), number, 0)..=(kind.byte(), number, id);
                if let Some(block) = table.range(range)?.next_back() {
                    let block = block?.1;
                    for (other, row) in Rows::new(block.value()).take_while(|(other, _)| *other <= id) {
                        if other == id {
                            take(number, id, row);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Number of the oldest and the newest slot of a kind.
    pub(crate) fn ends(&self, kind: Kind) -> Result<Option<(u64, u64)>, StoreError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(SLOTS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        let mut range = table.range((kind.byte(), 0, 0)..=(kind.byte(), u64::MAX, u64::MAX))?;
        let Some(first) = range.next().transpose()? else {
            return Ok(None);
        };
        let oldest = first.0.value().1;
        let newest = range.next_back().transpose()?.map_or(oldest, |last| last.0.value().1);
        Ok(Some((oldest, newest)))
    }

    /// Puts a batch in, and removes what is too old or too much. All of it is in the file then, or nothing.
    pub(crate) fn commit(&mut self, batch: Batch, bounds: Bounds) -> Result<(), StoreError> {
        let mut sums = self.sums;
        let write = self.database.begin_write()?;
        {
            let mut slots = write.open_table(SLOTS)?;
            let mut numbers = write.open_table(NUMBERS)?;
            for (kind, from, to) in batch.cleared {
                remove(&mut slots, kind, from, to, &mut sums)?;
            }
            for (kind, number, mut rows) in batch.slots {
                remove(&mut slots, kind, number, number, &mut sums)?;
                sums.rows += rows.len() as u64;
                for (first, block) in blocks(&mut rows) {
                    sums.bytes += block.len() as u64;
                    slots.insert((kind.byte(), number, first), block.as_slice())?;
                }
            }
            for kind in Kind::ALL {
                let oldest = kind.oldest(batch.at_ns, bounds.retention_ns);
                if let Some(last) = oldest.checked_sub(1) {
                    remove(&mut slots, kind, 0, last, &mut sums)?;
                }
            }
            for kind in [Kind::Lean, Kind::Slots(Size::TwoHours)] {
                while sums.bytes > bounds.max_bytes / 100 * MOST_PER_CENT
                    && let Some(oldest) = first_number(&slots, kind)?
                    // What is running is never too much.
                    && oldest < kind.size().number(batch.at_ns)
                {
                    remove(&mut slots, kind, 0, oldest, &mut sums)?;
                    if kind != Kind::Lean {
                        numbers.insert("floor_ns", (oldest + 1) * kind.size().length_ns())?;
                    }
                }
            }
            numbers.insert("newest_ns", batch.at_ns)?;
            numbers.insert("rows", sums.rows)?;
            numbers.insert("bytes", sums.bytes)?;

            let mut endpoints = write.open_table(ENDPOINTS)?;
            for (id, bytes) in &batch.endpoints {
                endpoints.insert(id, bytes.as_slice())?;
            }
            for (id, into) in batch.renamed {
                let stored = endpoints
                    .get(id)?
                    .and_then(|bytes| StoredEndpoint::of_bytes(bytes.value()));
                if let Some(mut stored) = stored {
                    stored.into = Some(into);
                    endpoints.insert(id, stored.to_bytes().as_slice())?;
                }
            }
            if let Some(codes) = &batch.codes {
                write.open_table(TEXTS)?.insert("codes", codes.as_slice())?;
            }
            let mut runs = write.open_table(RUNS)?;
            runs.insert(batch.began_ns, batch.at_ns)?;
            let gone = |end: u64| {
                end < batch
                    .at_ns
                    .saturating_sub(bounds.retention_ns + Size::TwoHours.length_ns())
            };
            runs.retain(|begin, end| begin == batch.began_ns || !gone(end))?;
            if redb::ReadableTableMetadata::len(&runs)? > RUNS_KEPT {
                let first = runs.pop_first()?.map(|(begin, _)| begin.value());
                let second = runs.pop_first()?.map(|(_, end)| end.value());
                if let (Some(begin), Some(end)) = (first, second) {
                    runs.insert(begin, end)?;
                }
            }
        }
        write.commit()?;
        self.sums = sums;
        Ok(())
    }

    /// Forgets endpoints that were not used since this moment.
    pub(crate) fn forget_endpoints(&mut self, before_ns: u64) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        write
            .open_table(ENDPOINTS)?
            .retain(|_, bytes| StoredEndpoint::of_bytes(bytes).is_some_and(|endpoint| endpoint.seen_ns >= before_ns))?;
        write.commit()?;
        Ok(())
    }

    /// Gives free pages back to the file system, as far as possible.
    pub(crate) fn compact(&mut self) -> Result<(), StoreError> {
        self.database.compact()?;
        Ok(())
    }
}

/// So much of the bound may be rows: pages are not all full, and a commit needs room beside what it replaces.
const MOST_PER_CENT: u64 = 75;

fn first_number(slots: &Table<'_, SlotKey, &'static [u8]>, kind: Kind) -> Result<Option<u64>, StorageError> {
    let first = slots
        .range((kind.byte(), 0, 0)..=(kind.byte(), u64::MAX, u64::MAX))?
        .next();
    Ok(first.transpose()?.map(|(key, _)| key.value().1))
}

/// Removes the slots of a kind from one number to another.
fn remove(
    slots: &mut Table<'_, SlotKey, &'static [u8]>,
    kind: Kind,
    from: u64,
    to: u64,
    sums: &mut Sums,
) -> Result<(), StorageError> {
    let range = (kind.byte(), from, 0)..=(kind.byte(), to, u64::MAX);
    for removed in slots.extract_from_if(range, |_, _| true)? {
        let (_, block) = removed?;
        let block = block.value();
        sums.bytes = sums.bytes.saturating_sub(block.len() as u64);
        sums.rows = sums.rows.saturating_sub(Rows::new(block).count() as u64);
    }
    Ok(())
}
