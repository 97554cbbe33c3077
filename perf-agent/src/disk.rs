//! How a file of the state directory is opened: the one place that says what becomes of one that is in use, damaged or of
//! another version, and who may read it. An edge: writes to disk.
//!
//! Every file is an embedded store (redb: copy on write, checked when it is opened) with the version of what is in it. A
//! directory that is made, and those above it, are their owner's only (0700), and so is the file (0600).

use std::error::Error;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, TableDefinition, TableError};

use crate::clock;

/// What every file has: the version of the rest.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new(FORMAT_NAME);
/// Its name.
pub(crate) const FORMAT_NAME: &str = "format";
const VERSION: &str = "version";

/// What a file is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Changes with everything that is stored.
    pub(crate) version: u64,
    /// Bytes of it that are kept in memory.
    pub(crate) cache_bytes: usize,
}

/// Why a file cannot be used. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot create {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot open {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("another agent uses {}; give this one a --state-dir of its own", path.display())]
    InUse { path: PathBuf },
    #[error("{} is of a newer version ({found}); it is left as it is", path.display())]
    Newer { path: PathBuf, found: u64 },
    #[error("{} is damaged ({damage}), and cannot be put aside", path.display())]
    Damaged {
        path: PathBuf,
        damage: String,
        source: io::Error,
    },
    #[error("cannot use {}", path.display())]
    Unusable { path: PathBuf, source: Box<redb::Error> },
}

impl OpenError {
    /// What is wrong with a file that is to be put aside.
    fn damage(&self) -> Option<String> {
        let Self::Unusable { source, .. } = self else {
            return None;
        };
        let is_damage = match &**source {
            redb::Error::Io(error) => matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
            redb::Error::Corrupted(_)
            // Of a time before this agent.
            | redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. } => true,
            _ => false,
        };
        is_damage.then(|| source.to_string())
    }
}

/// An error with all its causes.
pub(crate) fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Opens the file, or makes it, and has it read. One that is damaged, or that another program made, is put aside and a
/// new one begun: the path that the old one has now is given, too.
///
/// `read` says by its error whether what is in it can be used; it may be called twice.
pub(crate) fn open<T>(
    path: &Path,
    kind: Kind,
    read: impl Fn(Database) -> Result<T, redb::Error>,
) -> Result<(T, Option<PathBuf>), OpenError> {
    if let Some(directory) = path.parent() {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(directory);
        made.map_err(|source| OpenError::Directory {
            path: directory.to_owned(),
            source,
        })?;
    }
    let error = match open_file(path, kind, &read) {
        Ok(opened) => return Ok((opened, None)),
        Err(error) => error,
    };
    let Some(damage) = error.damage() else {
        return Err(error);
    };
    let aside = put_aside(path).map_err(|source| OpenError::Damaged {
        path: path.to_owned(),
        damage: damage.clone(),
        source,
    })?;
    tracing::warn!(
        "{} is damaged ({damage}): it is {} now, and a new one is begun",
        path.display(),
        aside.display()
    );
    Ok((open_file(path, kind, &read)?, Some(aside)))
}

fn open_file<T>(path: &Path, kind: Kind, read: &impl Fn(Database) -> Result<T, redb::Error>) -> Result<T, OpenError> {
    let unusable = |error: redb::Error| OpenError::Unusable {
        path: path.to_owned(),
        source: Box::new(error),
    };
    let file = private_file(path).map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })?;
    let backend = FileBackend::new(file).map_err(|error| unusable(error.into()));
    let opened = backend.and_then(|backend| {
        let mut builder = Builder::new();
        builder
            .set_cache_size(kind.cache_bytes)
            // Whatever was changed by others is found now, and not in the middle.
            .set_check_integrity_on_open(true);
        builder.create_with_backend(backend).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                OpenError::InUse { path: path.to_owned() }
            }
            other => unusable(other.into()),
        })
    });
    let database = opened?;
    match version(&database).map_err(unusable)? {
        Some(found) if found > kind.version => {
            return Err(OpenError::Newer {
                path: path.to_owned(),
                found,
            });
        }
        Some(found) if found < kind.version => {
            // There is none before this one.
            return Err(unusable(redb::Error::Corrupted(format!("version {found}"))));
        }
        Some(_) => {}
        None => set_version(&database, kind.version).map_err(unusable)?,
    }
    read(database).map_err(unusable)
}

/// What is in it is not for everybody.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path)?;
    let meta = file.metadata()?;
    if meta.is_file()
        && meta.permissions().mode() & 0o077 != 0
        && let Err(error) = file.set_permissions(Permissions::from_mode(0o600))
    {
        tracing::warn!(%error, path = %path.display(), "others may be able to read it");
    }
    Ok(file)
}

fn version(database: &Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(FORMAT) {
        Ok(table) => Ok(table.get(VERSION)?.map(|version| version.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn set_version(database: &Database, version: u64) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(FORMAT)?.insert(VERSION, version)?;
    write.commit()?;
    Ok(())
}

/// Renames it to `….broken-<nanoseconds since 1970>`. Of those that were put aside before, only the newest is left: a disk
/// that damages files is not to be filled with them.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let begin = format!("{name}.broken-");
    let directory = path.parent().unwrap_or(Path::new("."));
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut before: Vec<_> = files
        .filter(|file| file.file_name().to_string_lossy().starts_with(&begin))
        .map(|file| file.path())
        .collect();
    before.sort();
    before.pop();
    for path in before {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "cannot remove an old file");
        }
    }
    let aside = directory.join(format!("{begin}{}", clock::wall_ns()));
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KIND: Kind = Kind {
        version: 3,
        cache_bytes: 1 << 20,
    };
    const TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("table");

    fn opened(path: &Path) -> Result<(Database, Option<PathBuf>), OpenError> {
        open(path, KIND, |database| {
            match database.begin_read()?.open_table(TABLE) {
                Ok(_) | Err(TableError::TableDoesNotExist(_)) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(database)
        })
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn aside(directory: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        let mut aside: Vec<_> = files
            .filter(|path| path.to_string_lossy().contains("a.redb.broken-"))
            .collect();
        aside.sort();
        aside
    }

    #[test]
    fn what_is_made_is_its_owners_only_and_what_was_there_becomes_so() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("b/c");
        let path = below.join("a.redb");
        drop(opened(&path).unwrap());
        assert_eq!(
            (mode(&directory.path().join("b")), mode(&below), mode(&path)),
            (0o700, 0o700, 0o600)
        );
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&below, Permissions::from_mode(0o755)).unwrap();
        let (_database, aside) = opened(&path).unwrap();
        assert_eq!((mode(&below), mode(&path), aside), (0o755, 0o600, None));
    }

    #[test]
    fn one_that_another_agent_uses_is_left_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.redb");
        let _first = opened(&path).unwrap();
        let error = opened(&path).unwrap_err();
        let text = format!(
            "another agent uses {}; give this one a --state-dir of its own",
            path.display()
        );
        assert_eq!(whole(&error), text);
        assert_eq!(aside(directory.path()), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn one_that_is_damaged_or_another_programs_is_put_aside_and_the_newest_two_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.redb");
        for damage in [&b"short"[..], &[0; 8192], b"redb\x1a\x0a\xa9\x0d\x0a and then nothing"] {
            fs::write(&path, damage).unwrap();
            let (_database, put_aside) = opened(&path).unwrap();
            let put_aside = put_aside.expect("it was put aside");
            assert_eq!(fs::read(&put_aside).unwrap(), damage);
            assert_eq!(aside(directory.path()).last(), Some(&put_aside));
        }
        fs::remove_file(&path).unwrap();
        {
            let database = Database::create(&path).unwrap();
            let write = database.begin_write().unwrap();
            let other: TableDefinition<'_, u64, u64> = TableDefinition::new("table");
            write.open_table(other).unwrap();
            write.commit().unwrap();
        }
        assert!(opened(&path).unwrap().1.is_some());
        assert_eq!(aside(directory.path()).len(), 2);
    }

    #[test]
    fn one_of_a_newer_version_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.redb");
        let newer = Kind { version: 4, ..KIND };
        {
            let (database, _) = open(&path, newer, Ok).unwrap();
            let write = database.begin_write().unwrap();
            write.open_table(TABLE).unwrap().insert("a", 7).unwrap();
            write.commit().unwrap();
        }
        let text = format!("{} is of a newer version (4); it is left as it is", path.display());
        assert_eq!(whole(&opened(&path).unwrap_err()), text);
        assert_eq!(aside(directory.path()).len(), 0);
        let (database, _) = open(&path, newer, Ok).unwrap();
        let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
        assert_eq!(table.get("a").unwrap().map(|value| value.value()), Some(7));
    }

    #[test]
    fn what_the_disk_says_is_no_damage() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = whole(&opened(&file.join("below/a.redb")).unwrap_err());
        assert!(
            error.starts_with("cannot create") && error.contains("Not a directory"),
            "{error}"
        );
        let path = directory.path().join("a.redb");
        fs::create_dir(&path).unwrap();
        let error = whole(&opened(&path).unwrap_err());
        assert!(
            error.starts_with("cannot open") && error.contains("Is a directory"),
            "{error}"
        );
    }
}
