//! Where the API is offered: a TCP address or a Unix socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum_server::{Handle, Server};
use rustix::fs::Mode;

use super::crowd::Places;
use crate::socket_file::{SocketFile, SocketFileError};

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
            Self::Unix(_, file) => format!("unix:{}", file.path().display()),
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
    let listen = || {
        // Owner and group only, from the first moment on.
        let before = rustix::process::umask(Mode::from_raw_mode(0o117));
        let listener = UnixListener::bind(path);
        rustix::process::umask(before);
        listener
    };
    match SocketFile::bind(path, || UnixStream::connect(path).map(drop), listen) {
        Ok((listener, file)) => Ok(Bound::Unix(listener, file)),
        Err(SocketFileError::InUse) => Err(ListenError::InUse(path.to_owned())),
        Err(SocketFileError::NoSocket) => Err(ListenError::NoSocket(path.to_owned())),
        Err(SocketFileError::Io(source)) => Err(ListenError::Bind {
            at: format!("unix:{}", path.display()),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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
