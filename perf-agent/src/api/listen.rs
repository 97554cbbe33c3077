//! Where the API is offered: a TCP address or a Unix socket.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum_server::{Handle, Server};
use rustix::fs::{FlockOperation, Mode, flock};

use super::crowd::Places;

/// A connection that does not bring a request within this time is closed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once; more are closed.
const CONNECTIONS: usize = 256;
/// Requests in progress may take this long to end when the agent does.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and port.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error("cannot listen on {at}")]
    Bind {
        /// As people write it.
        at: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process listens there.
    #[error("cannot listen on unix:{path}: another process does", path = .0.display())]
    InUse(PathBuf),
    /// Something else has the name.
    #[error("cannot listen on unix:{path}: a file that is no socket has this name", path = .0.display())]
    NoSocket(PathBuf),
}

/// A bound listener. Binding is apart from serving, since it may need privileges that are dropped in between.
#[derive(Debug)]
pub enum Bound {
    /// On an address.
    Tcp(TcpListener),
    /// On a path, with the socket file's device and inode.
    Unix(UnixListener, SocketFile),
}

/// A socket's file, removed when the listener goes, if it still is the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity);
        if same && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the API's socket");
        }
    }
}

impl Bound {
    /// Binds. A socket file that nobody listens on any more is replaced; anything else is left alone.
    ///
    /// # Errors
    /// [`ListenError`]
    pub fn bind(listen: &Listen) -> Result<Self, ListenError> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address)
                .map(Self::Tcp)
                .map_err(|source| ListenError::Bind {
                    at: address.to_string(),
                    source,
                }),
            Listen::Unix(path) => bind_unix(path),
        }
    }

    /// The loopback address it is bound to, if it is one.
    pub fn loopback(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .ok()
                .filter(|address| address.ip().to_canonical().is_loopback()),
            Self::Unix(..) => None,
        }
    }

    /// The address as people write it.
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| "http://?".to_owned(), |address| format!("http://{address}")),
            Self::Unix(_, file) => format!("unix:{}", file.path.display()),
        }
    }

    /// Serves until `stop` completes.
    ///
    /// # Errors
    /// As the system says.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let service = router.into_make_service();
        match self {
            Self::Tcp(listener) => {
                let server = limited(axum_server::from_tcp(listener)?);
                let handle = Handle::new();
                let stopper = tokio::spawn(stop_after(stop, handle.clone()));
                let result = server.handle(handle).serve(service).await;
                stopper.abort();
                result
            }
            Self::Unix(listener, _file) => {
                let server = limited(axum_server::from_unix(listener)?);
                let handle = Handle::new();
                let stopper = tokio::spawn(stop_after(stop, handle.clone()));
                let result = server.handle(handle).serve(service).await;
                stopper.abort();
                result
            }
        }
    }
}

fn limited<A: axum_server::Address>(server: Server<A>) -> Server<A, Places> {
    let mut server = server
        .acceptor(Places::new(CONNECTIONS))
        .http1_only()
        .first_request_timeout(REQUEST_TIMEOUT);
    server
        .http_builder()
        .http1()
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(64 * 1024);
    server
}

async fn stop_after<A: axum_server::Address>(stop: impl Future<Output = ()>, handle: Handle<A>) {
    stop.await;
    handle.graceful_shutdown(Some(SHUTDOWN_TIMEOUT));
}

fn bind_unix(path: &Path) -> Result<Bound, ListenError> {
    let failed = |source| ListenError::Bind {
        at: format!("unix:{}", path.display()),
        source,
    };
    // Between asking whether anybody listens and removing the file, another agent must not do the same.
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let directory = fs::File::open(parent).map_err(failed)?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(ListenError::NoSocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
            Ok(_) => return Err(ListenError::InUse(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // Owner and group only, from the first moment on.
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.map_err(failed)?;
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    Ok(Bound::Unix(
        listener,
        SocketFile {
            path: path.to_owned(),
            identity: (meta.dev(), meta.ino()),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_stale_socket_is_replaced_and_ones_own_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        let bound = Bound::bind(&Listen::Unix(path.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(
            Bound::bind(&Listen::Unix(path.clone())),
            Err(ListenError::InUse(_))
        ));
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_stale_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Bound::bind(&Listen::Unix(path.clone())),
            Err(ListenError::NoSocket(_))
        ));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let socket = directory.path().join("api.sock");
        let bound = Bound::bind(&Listen::Unix(socket.clone())).unwrap();
        fs::remove_file(&socket).unwrap();
        let _other = UnixListener::bind(&socket).unwrap();
        drop(bound);
        assert!(socket.exists(), "another's socket of the same name");
    }
}
