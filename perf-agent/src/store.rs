//! What outlives a restart, apart from statistics: small tables of names and values in one file. An edge: writes to disk.
//!
//! Memory is the truth; every change is brought to disk before it is told to be done (an embedded store, redb: copy on write,
//! so the file is never between two states). Where there is no directory, or it cannot be written to, changes hold until the
//! end of the run, [`Store::degraded`] says why, and the disk is tried again with a later change.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use crate::clock;

/// The file in the state directory.
const FILE: &str = "state.redb";
/// Between two attempts to use a disk that failed.
const AGAIN_NS: u64 = 30_000_000_000;

/// Rows by name.
type Table = BTreeMap<String, Vec<u8>>;

/// The tables.
#[derive(Debug)]
pub struct Store {
    /// Where the file is to be.
    path: Option<PathBuf>,
    database: Option<Database>,
    degraded: Option<String>,
    tried_ns: u64,
    tables: BTreeMap<String, Table>,
}

impl Store {
    /// Opens the file in this directory, which is made if need be: both are for their owner only. A file that is damaged is
    /// put aside and a new one begun.
    pub fn open(directory: Option<&Path>) -> Self {
        let mut store = Self {
            path: directory.map(|directory| directory.join(FILE)),
            database: None,
            degraded: None,
            tried_ns: clock::monotonic_ns(),
            tables: BTreeMap::new(),
        };
        let Some(path) = &store.path else { return store };
        let opened = database(path).and_then(|database| {
            let tables = read(&database).map_err(|error| error.to_string())?;
            Ok((database, tables))
        });
        match opened {
            Ok((database, tables)) => (store.database, store.tables) = (Some(database), tables),
            Err(reason) => store.degrade(&reason),
        }
        store
    }

    /// Why nothing is kept on disk, if that was wanted.
    pub fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// Everything in a table, by name.
    pub fn all(&self, table: &str) -> Vec<(String, Vec<u8>)> {
        let rows = self.tables.get(table).into_iter().flatten();
        rows.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Puts and (for `None`) removes rows of a table; on disk all of them or none.
    pub fn change(&mut self, table: &str, rows: &[(String, Option<Vec<u8>>)]) {
        let known = self.tables.entry(table.to_owned()).or_default();
        for (name, value) in rows {
            match value {
                Some(value) => known.insert(name.clone(), value.clone()),
                None => known.remove(name),
            };
        }
        let Some(path) = &self.path else { return };
        let written = match &self.database {
            Some(database) => write(database, table, rows).map_err(|error| error.to_string()),
            None if clock::monotonic_ns().saturating_sub(self.tried_ns) < AGAIN_NS => return,
            None => {
                self.tried_ns = clock::monotonic_ns();
                database(path).and_then(|database| {
                    write_all(&database, &self.tables).map_err(|error| error.to_string())?;
                    self.database = Some(database);
                    Ok(())
                })
            }
        };
        match written {
            Ok(()) if self.degraded.take().is_some() => tracing::info!("{} is written again", path.display()),
            Ok(()) => {}
            Err(reason) => self.degrade(&reason),
        }
    }

    /// After an error the file is closed, since it takes nothing more as it is.
    fn degrade(&mut self, reason: &str) {
        let path = self.path.clone().unwrap_or_default();
        let reason = format!("{}: {reason}", path.display());
        if self.degraded.as_ref() != Some(&reason) {
            tracing::warn!("what changes now is lost with a restart: {reason}");
        }
        self.degraded = Some(reason);
        self.database = None;
        self.tried_ns = clock::monotonic_ns();
    }
}

fn definition(table: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(table)
}

fn read(database: &Database) -> Result<BTreeMap<String, Table>, redb::Error> {
    let transaction = database.begin_read()?;
    let mut tables = BTreeMap::new();
    for handle in transaction.list_tables()? {
        let mut rows = Table::new();
        for row in transaction.open_table(definition(handle.name()))?.iter()? {
            let (name, value) = row?;
            rows.insert(name.value().to_owned(), value.value().to_owned());
        }
        tables.insert(handle.name().to_owned(), rows);
    }
    Ok(tables)
}

fn write(database: &Database, table: &str, rows: &[(String, Option<Vec<u8>>)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(definition(table))?;
        for (name, value) in rows {
            match value {
                Some(value) => drop(table.insert(name.as_str(), value.as_slice())?),
                None => drop(table.remove(name.as_str())?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Makes the file what memory is.
fn write_all(database: &Database, tables: &BTreeMap<String, Table>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for (name, rows) in tables {
        let mut table = transaction.open_table(definition(name))?;
        table.retain(|name, _| rows.contains_key(name))?;
        for (name, value) in rows {
            table.insert(name.as_str(), value.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn database(path: &Path) -> Result<Database, String> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| error.to_string())?;
    // For its owner only from the first moment on: it has the addresses of those who are told, and texts of the operator's.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    file.map_err(|error| error.to_string())?;
    match Database::create(path) {
        Ok(database) => Ok(database),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
            Err("another agent uses it; give this one a --state-dir of its own".to_owned())
        }
        Err(redb::DatabaseError::Storage(redb::StorageError::Io(error)))
            if !matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            Err(error.to_string())
        }
        Err(redb::DatabaseError::UpgradeRequired(_)) => Err("it was written by another version".to_owned()),
        Err(damage) => {
            let aside = path.with_extension(format!("redb.broken-{}", clock::wall_ns()));
            fs::rename(path, &aside).map_err(|error| format!("{damage}; and it cannot be put aside: {error}"))?;
            tracing::warn!(
                "{} is damaged ({damage}): it is {} now, and a new one is begun",
                path.display(),
                aside.display()
            );
            Database::create(path).map_err(|error| error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, value: &str) -> (String, Vec<u8>) {
        (name.to_owned(), value.as_bytes().to_owned())
    }

    fn put(name: &str, value: &str) -> (String, Option<Vec<u8>>) {
        (name.to_owned(), Some(value.as_bytes().to_owned()))
    }

    #[test]
    fn what_was_put_is_there_again_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");
        let mut store = Store::open(Some(&below));
        assert_eq!((store.degraded(), store.all("rules")), (None, vec![]));
        store.change("rules", &[put("b", "2"), put("a", "1")]);
        store.change("rules", &[put("c", "3"), ("b".to_owned(), None)]);
        store.change("others", &[put("a", "x")]);
        drop(store);
        let store = Store::open(Some(&below));
        assert_eq!(store.all("rules"), [row("a", "1"), row("c", "3")]);
        assert_eq!(store.all("others"), [row("a", "x")]);
    }

    #[test]
    fn without_a_directory_and_where_another_one_writes_it_is_kept_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Store::open(Some(directory.path()));
        let second = Store::open(Some(directory.path()));
        assert!(
            second
                .degraded()
                .is_some_and(|reason| reason.contains("another agent uses it"))
        );
        let below_a_file = directory.path().join(FILE).join("below");
        let none = Store::open(Some(&below_a_file));
        assert!(
            none.degraded().is_some_and(|reason| reason.contains("Not a directory")),
            "{:?}",
            none.degraded()
        );
        for mut store in [second, none, Store::open(None)] {
            store.change("rules", &[put("a", "1"), put("b", "2")]);
            store.change("rules", &[("a".to_owned(), None)]);
            assert_eq!(store.all("rules"), [row("b", "2")]);
        }
    }

    #[test]
    fn a_damaged_file_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        for damage in [&b"something else that is long enough to be looked at"[..], &[0; 8192]] {
            fs::write(directory.path().join(FILE), damage).unwrap();
            let mut store = Store::open(Some(directory.path()));
            assert_eq!(store.degraded(), None);
            store.change("rules", &[put("a", "1")]);
            drop(store);
            let aside = fs::read_dir(directory.path())
                .unwrap()
                .flatten()
                .map(|entry| entry.file_name());
            let aside: Vec<_> = aside
                .filter(|name| name.to_string_lossy().contains("broken-"))
                .collect();
            assert!(!aside.is_empty(), "the old one is kept");
        }
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("state");
        let _store = Store::open(Some(&below));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&below), mode(&below.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_disk_that_failed_is_used_again_and_then_has_everything() {
        let directory = tempfile::tempdir().unwrap();
        let first = Store::open(Some(directory.path()));
        let mut second = Store::open(Some(directory.path()));
        second.change("rules", &[put("a", "1")]);
        assert!(second.degraded().is_some());
        drop(first);
        second.change("rules", &[put("b", "2")]);
        assert!(second.degraded().is_some(), "it is not tried each time");
        second.tried_ns = 0;
        second.change("others", &[put("c", "3")]);
        assert_eq!(second.degraded(), None);
        drop(second);
        let third = Store::open(Some(directory.path()));
        assert_eq!(third.all("rules"), [row("a", "1"), row("b", "2")]);
        assert_eq!(third.all("others"), [row("c", "3")]);
    }
}
