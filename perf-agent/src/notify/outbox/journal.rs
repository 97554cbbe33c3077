//! The file: a redb table of what waits, by place. Each change is on disk when [`Journal::apply`] returns.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::alert::Notification;
use crate::disk;

use super::stored;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("waiting");
const KIND: disk::Kind = disk::Kind {
    version: 1,
    // The table is read once and then only written.
    cache_bytes: 1024 * 1024,
};
/// A larger file is made smaller when it is opened.
const COMPACT_BYTES: u64 = 4 * 1024 * 1024;

/// An open file.
pub(super) struct Journal {
    database: Database,
}

/// What was in it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What waits, in the order of places.
    pub(super) waiting: Vec<(u64, Notification)>,
    /// Places of what could not be read: of another version.
    pub(super) unreadable: Vec<u64>,
    /// All places, readable or not.
    pub(super) places: Vec<u64>,
}

impl Journal {
    /// Opens or makes the file. One that is damaged is put aside, and a new one made; the path that it has now is given.
    pub(super) fn open(path: &Path) -> Result<(Self, Found, Option<PathBuf>), String> {
        let large = std::fs::metadata(path).is_ok_and(|meta| meta.len() > COMPACT_BYTES);
        let opened = disk::open(path, KIND, |mut database| {
            let write = database.begin_write()?;
            write.open_table(TABLE)?;
            write.commit()?;
            if large && let Err(error) = database.compact() {
                tracing::warn!("cannot make {} smaller: {error}", path.display());
            }
            let found = Found::read(&database)?;
            Ok((Self { database }, found))
        });
        let ((journal, found), aside) = opened.map_err(|error| disk::whole(&error))?;
        Ok((journal, found, aside))
    }

    /// Writes these and removes those, all or nothing.
    pub(super) fn apply(&self, put: &[(u64, Vec<u8>)], remove: &[u64]) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(TABLE)?;
            for place in remove {
                table.remove(place)?;
            }
            for (place, bytes) in put {
                table.insert(place, bytes.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

impl Found {
    fn read(database: &Database) -> Result<Self, redb::Error> {
        let mut found = Self::default();
        let table = database.begin_read()?.open_table(TABLE)?;
        for row in table.iter()? {
            let (place, bytes) = row?;
            found.places.push(place.value());
            match stored::decode(bytes.value()) {
                Some(notification) => found.waiting.push((place.value(), notification)),
                None => found.unreadable.push(place.value()),
            }
        }
        Ok(found)
    }
}
