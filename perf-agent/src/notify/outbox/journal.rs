//! The file: a redb table of what waits, by place. Each change is on disk when [`Journal::apply`] returns.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::alert::Notification;

use super::stored;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("waiting");
/// redb's cache: the table is read once and then only written.
const CACHE_BYTES: usize = 1024 * 1024;
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
    /// Opens or makes the file. One that is damaged is set aside as `….broken`, and a new one made; the text says so.
    pub(super) fn open(path: &Path) -> Result<(Self, Found, Option<String>), String> {
        match Self::try_open(path) {
            Ok((journal, found)) => Ok((journal, found, None)),
            Err(error) if is_damage(&error) => {
                let mut aside = path.as_os_str().to_owned();
                aside.push(".broken");
                let aside = PathBuf::from(aside);
                let shown = path.display();
                std::fs::rename(path, &aside)
                    .map_err(|why| format!("{shown} is damaged ({error}) and stays: {why}"))?;
                let (journal, found) = Self::try_open(path).map_err(|error| format!("cannot make {shown}: {error}"))?;
                let note = format!("{shown} was damaged ({error}) and is now {}", aside.display());
                Ok((journal, found, Some(note)))
            }
            Err(error) => Err(format!("cannot open {}: {error}", path.display())),
        }
    }

    fn try_open(path: &Path) -> Result<(Self, Found), redb::Error> {
        // What is in it is not for everybody.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let large = file.metadata()?.len() > COMPACT_BYTES;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let mut database = builder.create_with_backend(FileBackend::new(file)?)?;
        let write = database.begin_write()?;
        write.open_table(TABLE)?;
        write.commit()?;
        if large && let Err(error) = database.compact() {
            tracing::warn!("cannot make {} smaller: {error}", path.display());
        }
        let mut found = Found::default();
        {
            let table = database.begin_read()?.open_table(TABLE)?;
            for row in table.iter()? {
                let (place, bytes) = row?;
                found.places.push(place.value());
                match stored::decode(bytes.value()) {
                    Some(notification) => found.waiting.push((place.value(), notification)),
                    None => found.unreadable.push(place.value()),
                }
            }
        }
        Ok((Self { database }, found))
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

/// Whether the file is none of redb's, or has been changed by others. What a full or failing disk says is none.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_) => true,
        redb::Error::Io(error) => matches!(
            error.kind(),
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}
