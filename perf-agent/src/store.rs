//! What outlives a restart, apart from statistics: small tables of names and values in one file. An edge: writes to disk.
//!
//! Memory is the truth while the agent runs, and the file follows it: a change is on disk when it is told to be done, so a
//! kill at any moment loses nothing that was confirmed. Where there is no directory, or it cannot be written to, memory
//! has to do: what is changed then holds until the restart, [`Store::degraded`] says why, and [`Store::catch_up`] tries
//! the disk again.

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use crate::{clock, disk};

/// The file in the state directory.
const FILE: &str = "state.redb";
const KIND: disk::Kind = disk::Kind {
    version: 1,
    // It is read once, and then only written.
    cache_bytes: 1 << 20,
};
/// Between two tries to open the file.
const AGAIN_NS: u64 = 30_000_000_000;

/// Values by table and name.
type Tables = BTreeMap<String, BTreeMap<String, Vec<u8>>>;
/// What is to be put or, for `None`, removed.
type Rows = [(String, Option<Vec<u8>>)];

/// The tables.
#[derive(Debug)]
pub struct Store {
    path: Option<PathBuf>,
    /// None after an error: the library writes nothing more then until the file is opened anew.
    database: Option<Database>,
    degraded: Option<String>,
    memory: Tables,
    /// What an earlier run left in the file is in memory.
    is_loaded: bool,
    /// It came only now, and nobody asked for it yet.
    is_late: bool,
    /// When to try the disk again, monotonic.
    again_ns: u64,
}

impl Store {
    /// Opens the file in this directory, which is made if need be. A file that is damaged is put aside and a new one begun.
    pub fn open(directory: Option<&Path>) -> Self {
        let mut store = Self {
            path: directory.map(|directory| directory.join(FILE)),
            database: None,
            degraded: None,
            memory: Tables::new(),
            is_loaded: false,
            is_late: false,
            again_ns: 0,
        };
        store.reopen();
        store.is_late = false;
        store
    }

    /// Why nothing is kept on disk, if that was wanted.
    pub fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// Everything in a table, by name.
    pub fn all(&self, table: &str) -> Vec<(String, Vec<u8>)> {
        let rows = self.memory.get(table).into_iter().flatten();
        rows.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Puts and (for `None`) removes rows of a table. They are on disk then, all of them, unless [`Self::degraded`] says
    /// why not.
    pub fn change(&mut self, table: &str, rows: &Rows) {
        let known = self.memory.entry(table.to_owned()).or_default();
        for (name, value) in rows {
            match value {
                Some(value) => known.insert(name.clone(), value.clone()),
                None => known.remove(name),
            };
        }
        if let Some(database) = &self.database
            && let Err(error) = write(database, &[(table, rows)])
        {
            let path = self.path.as_deref().unwrap_or(Path::new(FILE));
            let reason = format!("cannot write to {}: {error}", path.display());
            self.degrade(&reason);
        }
    }

    /// Makes these the rows of a table; as [`Self::change`].
    pub fn replace(&mut self, table: &str, rows: &BTreeMap<String, Vec<u8>>) {
        let none = BTreeMap::new();
        let change = differences(rows, self.memory.get(table).unwrap_or(&none));
        if !change.is_empty() {
            self.change(table, &change);
        }
    }

    /// Tries the disk again, if it is time, and brings it up to memory. Says whether rows of an earlier run came in that
    /// could not be read before.
    pub fn catch_up(&mut self) -> bool {
        if self.database.is_none() && clock::monotonic_ns() >= self.again_ns {
            self.reopen();
        }
        mem::take(&mut self.is_late)
    }

    fn reopen(&mut self) {
        let Some(path) = self.path.clone() else { return };
        match self.bring_up(&path) {
            Ok(database) => {
                self.database = Some(database);
                if self.degraded.take().is_some() {
                    tracing::info!(path = %path.display(), "what the API changes is kept on disk again");
                }
            }
            Err(reason) => self.degrade(&reason),
        }
    }

    /// Opens the file, and writes what memory has and it has not.
    fn bring_up(&mut self, path: &Path) -> Result<Database, String> {
        let opened = disk::open(path, KIND, |database| {
            let tables = read(&database)?;
            Ok((database, tables))
        });
        let ((database, on_disk), _) = opened.map_err(|error| disk::whole(&error))?;
        if !mem::replace(&mut self.is_loaded, true) {
            for (table, rows) in &on_disk {
                let known = self.memory.entry(table.clone()).or_default();
                for (name, value) in rows {
                    // What was changed meanwhile is newer.
                    known.entry(name.clone()).or_insert_with(|| {
                        self.is_late = true;
                        value.clone()
                    });
                }
            }
        }
        let none = BTreeMap::new();
        let changes: Vec<_> = self
            .memory
            .iter()
            .map(|(table, rows)| (table.as_str(), differences(rows, on_disk.get(table).unwrap_or(&none))))
            .filter(|(_, change)| !change.is_empty())
            .collect();
        let changes: Vec<_> = changes
            .iter()
            .map(|(table, change)| (*table, change.as_slice()))
            .collect();
        if !changes.is_empty() {
            write(&database, &changes).map_err(|error| format!("cannot write to {}: {error}", path.display()))?;
        }
        Ok(database)
    }

    /// As if it was time to try the disk again.
    #[cfg(test)]
    pub(crate) fn hurry(&mut self) {
        self.again_ns = 0;
    }

    fn degrade(&mut self, reason: &str) {
        let text = format!("{reason}: what is changed holds until the restart");
        if self.degraded.is_none() {
            tracing::warn!("{text}");
        }
        self.degraded = Some(text);
        self.database = None;
        self.again_ns = clock::monotonic_ns().saturating_add(AGAIN_NS);
    }
}

impl Drop for Store {
    /// The disk has a last chance.
    fn drop(&mut self) {
        if self.degraded.is_some() {
            self.reopen();
        }
    }
}

/// What makes the rows that there are to those that are wanted.
fn differences(
    wanted: &BTreeMap<String, Vec<u8>>,
    there: &BTreeMap<String, Vec<u8>>,
) -> Vec<(String, Option<Vec<u8>>)> {
    let new = wanted.iter().filter(|(name, value)| there.get(*name) != Some(value));
    let gone = there.keys().filter(|name| !wanted.contains_key(*name));
    new.map(|(name, value)| (name.clone(), Some(value.clone())))
        .chain(gone.map(|name| (name.clone(), None)))
        .collect()
}

fn definition(table: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(table)
}

fn read(database: &Database) -> Result<Tables, redb::Error> {
    let read = database.begin_read()?;
    let mut tables = Tables::new();
    for handle in read.list_tables()? {
        if handle.name() == disk::FORMAT_NAME {
            continue;
        }
        let rows = tables.entry(handle.name().to_owned()).or_default();
        for row in read.open_table(definition(handle.name()))?.iter()? {
            let (name, value) = row?;
            rows.insert(name.value().to_owned(), value.value().to_owned());
        }
    }
    Ok(tables)
}

fn write(database: &Database, changes: &[(&str, &Rows)]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    for (table, rows) in changes {
        let mut table = write.open_table(definition(table))?;
        for (name, value) in *rows {
            match value {
                Some(value) => drop(table.insert(name.as_str(), value.as_slice())?),
                None => drop(table.remove(name.as_str())?),
            }
        }
    }
    write.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

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
        store.replace("more", &BTreeMap::from([row("a", "1"), row("b", "2")]));
        store.replace("more", &BTreeMap::from([row("b", "3")]));
        drop(store);
        let mut store = Store::open(Some(&below));
        assert_eq!(store.all("rules"), [row("a", "1"), row("c", "3")]);
        assert_eq!(store.all("others"), [row("a", "x")]);
        assert_eq!(store.all("more"), [row("b", "3")]);
        assert!(!store.catch_up(), "it was there from the beginning");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&below), mode(&below.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn without_a_directory_and_where_another_one_writes_it_is_kept_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Store::open(Some(directory.path()));
        let second = Store::open(Some(directory.path()));
        let degraded = second.degraded().unwrap();
        assert!(
            degraded.contains("give this one a --state-dir of its own"),
            "{degraded}"
        );
        assert!(
            degraded.ends_with("what is changed holds until the restart"),
            "{degraded}"
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
            let files = fs::read_dir(directory.path()).unwrap().flatten();
            let mut aside = files.filter(|file| file.file_name().to_string_lossy().contains("broken-"));
            assert!(
                aside.any(|file| fs::read(file.path()).unwrap() == damage),
                "the old one is kept"
            );
        }
    }

    #[test]
    fn what_could_not_be_read_at_the_start_comes_in_later_and_what_was_changed_meanwhile_wins() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = Store::open(Some(directory.path()));
        first.change("rules", &[put("a", "1"), put("b", "1")]);
        let mut second = Store::open(Some(directory.path()));
        second.change("rules", &[put("b", "2"), put("c", "2")]);
        assert!(!second.catch_up(), "it is not time yet");
        second.hurry();
        assert!(!second.catch_up(), "the other one has it still");
        assert!(second.degraded().is_some() && second.again_ns > 0);
        drop(first);
        second.hurry();
        assert!(second.catch_up());
        assert!(!second.catch_up(), "it is told once");
        assert_eq!(second.degraded(), None);
        let all = [row("a", "1"), row("b", "2"), row("c", "2")];
        assert_eq!(second.all("rules"), all);
        drop(second);
        assert_eq!(Store::open(Some(directory.path())).all("rules"), all);
    }

    /// A small file system, for as long as this lives; `None` without the right to mount.
    struct Mounted(PathBuf);

    impl Mounted {
        fn new(path: &Path) -> Option<Self> {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=6M", "tmpfs"]).arg(path);
            let mounted = mount.output().is_ok_and(|output| output.status.success());
            mounted.then(|| Self(path.to_owned()))
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            if Command::new("umount").arg("-l").arg(&self.0).status().is_err() {
                eprintln!("{} stays mounted", self.0.display());
            }
        }
    }

    #[test]
    fn a_full_disk_is_told_and_when_there_is_room_again_everything_is_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let Some(mounted) = Mounted::new(directory.path()) else {
            eprintln!("skipped: mounting a file system needs root");
            return;
        };
        let mut store = Store::open(Some(directory.path()));
        store.change("rules", &[put("first", "1"), put("goes", "1")]);
        assert_eq!(store.degraded(), None);
        let other = directory.path().join("other");
        fs::write(&other, vec![1; 16 << 20]).expect_err("there is no room for that");
        let mut expected = BTreeMap::from([row("first", "1")]);
        for n in 0..1_000 {
            let (name, value) = row(&format!("{n:04}"), &"x".repeat(20_000));
            store.change("rules", &[(name.clone(), Some(value.clone()))]);
            expected.insert(name, value);
            if store.degraded().is_some() {
                break;
            }
        }
        let degraded = store.degraded().expect("it is full").to_owned();
        assert!(degraded.contains("No space left"), "{degraded}");
        // It holds, whatever the disk does.
        store.change("rules", &[put("last", "1"), ("goes".to_owned(), None)]);
        expected.extend([row("last", "1")]);
        let rows = |store: &Store| BTreeMap::from_iter(store.all("rules"));
        assert_eq!(rows(&store), expected);
        store.hurry();
        store.catch_up();
        assert!(store.degraded().is_some(), "there is no room yet");
        fs::remove_file(&other).unwrap();
        store.catch_up();
        assert!(store.degraded().is_some(), "it is not time yet");
        store.hurry();
        store.catch_up();
        assert_eq!(store.degraded(), None);
        store.change("rules", &[put("after", "1")]);
        expected.extend([row("after", "1")]);
        assert_eq!(store.degraded(), None);
        drop(store);
        assert_eq!(rows(&Store::open(Some(directory.path()))), expected);
        drop(mounted);
    }
}
