//! Unix sockets that have a file: one that nobody listens on any more is replaced, anything else is left alone, and one's own
//! is removed at the end. An edge.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A socket's file, removed when the socket goes, if it still is the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Why there is no socket.
#[derive(Debug)]
pub(crate) enum SocketFileError {
    /// The file system or the socket refuses.
    Io(io::Error),
    /// Another process listens there.
    InUse,
    /// Something else has the name.
    NoSocket,
}

impl From<io::Error> for SocketFileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl SocketFile {
    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Binds a socket to a path; `connect` succeeds if somebody listens there.
    pub(crate) fn bind<S>(
        path: &Path,
        connect: impl FnOnce() -> io::Result<()>,
        bind: impl FnOnce() -> io::Result<S>,
    ) -> Result<(S, Self), SocketFileError> {
        // Between asking whether anybody listens and removing the file, another agent must not do the same.
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let directory = fs::File::open(parent)?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)?;
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => return Err(SocketFileError::NoSocket),
            Ok(_) => match connect() {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
                Err(error) => return Err(error.into()),
                Ok(()) => return Err(SocketFileError::InUse),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let socket = bind()?;
        let meta = fs::symlink_metadata(path)?;
        let file = Self {
            path: path.to_owned(),
            identity: (meta.dev(), meta.ino()),
        };
        Ok((socket, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity);
        if same && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a socket of the agent's");
        }
    }
}
