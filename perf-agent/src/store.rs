//! What outlives a restart, apart from statistics: small tables of names and values in one file. An edge: writes to disk.
//!
//! Every change is on disk when it is told to be done (an embedded store, redb: copy on write, checked when it is opened), so
//! a kill at any moment loses nothing that was confirmed. Where there is no directory, or it cannot be written to, the tables
//! live in memory, and [`Store::degraded`] says why.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::clock;

/// The file in the state directory.
const FILE: &str = "state.redb";

/// The tables.
#[derive(Debug)]
pub struct Store {
    path: Option<PathBuf>,
    database: Option<Database>,
    degraded: Option<String>,
    /// By table, where there is no database.
    memory: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
}

/// Why something was not written. It holds for this run all the same.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {path}", path = .path.display())]
pub struct StoreError {
    path: PathBuf,
    #[source]
    source: redb::Error,
}

impl Store {
    /// Opens the file in this directory, which is made if need be. A file that is damaged is put aside and a new one begun.
    pub fn open(directory: Option<&Path>) -> Self {
        let mut store = Self {
            path: None,
            database: None,
            degraded: None,
            memory: BTreeMap::new(),
        };
        let Some(directory) = directory else { return store };
        let path = directory.join(FILE);
        match database(directory, &path) {
            Ok(database) => store.database = Some(database),
            Err(reason) => {
                let reason = format!("{}: {reason}", path.display());
                tracing::warn!("what is changed by the API is lost with a restart: {reason}");
                store.degraded = Some(reason);
            }
        }
        store.path = Some(path);
        store
    }

    /// Why nothing is kept on disk, if that was wanted.
    pub fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// Everything in a table, by name.
    pub fn all(&self, table: &'static str) -> Vec<(String, Vec<u8>)> {
        let Some(database) = &self.database else {
            let rows = self.memory.get(table).into_iter().flatten();
            return rows.map(|(name, value)| (name.clone(), value.clone())).collect();
        };
        rows(database, table).unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                table,
                "cannot read what was kept"
            );
            Vec::new()
        })
    }

    /// Puts and (for `None`) removes rows of a table, all of them or none.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of it is on disk.
    pub fn change(&mut self, table: &'static str, rows: &[(String, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let Some(database) = &self.database else {
            let table = self.memory.entry(table).or_default();
            for (name, value) in rows {
                match value {
                    Some(value) => table.insert(name.clone(), value.clone()),
                    None => table.remove(name),
                };
            }
            return Ok(());
        };
        write(database, table, rows).map_err(|source| StoreError {
            path: self.path.clone().unwrap_or_default(),
            source,
        })
    }
}

fn definition(table: &'static str) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table)
}

fn rows(database: &Database, table: &'static str) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(definition(table)) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (name, value) = row?;
        rows.push((name.value().to_owned(), value.value().to_owned()));
    }
    Ok(rows)
}

fn write(database: &Database, table: &'static str, rows: &[(String, Option<Vec<u8>>)]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(definition(table))?;
        for (name, value) in rows {
            match value {
                Some(value) => drop(table.insert(name.as_str(), value.as_slice())?),
                None => drop(table.remove(name.as_str())?),
            }
        }
    }
    write.commit()?;
    Ok(())
}

fn database(directory: &Path, path: &Path) -> Result<Database, String> {
    fs::create_dir_all(directory).map_err(|error| error.to_string())?;
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
        store.change("rules", &[put("b", "2"), put("a", "1")]).unwrap();
        store.change("rules", &[put("c", "3"), ("b".to_owned(), None)]).unwrap();
        store.change("others", &[put("a", "x")]).unwrap();
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
            store.change("rules", &[put("a", "1"), put("b", "2")]).unwrap();
            store.change("rules", &[("a".to_owned(), None)]).unwrap();
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
            store.change("rules", &[put("a", "1")]).unwrap();
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
}
