//! One end of a connection, and where it came from: TCP over IPv4, IPv6 or v4-mapped IPv6, or a Unix stream socket.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::net::{AddressFamily, SocketType, ipproto, sockopt};

use crate::rows::At;

/// One end of a connection.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

impl Socket {
    /// Connects by TCP.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self::Unix(UnixStream::connect(path)?))
    }

    /// Another handle on the same end.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Ends the sending side.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn half_close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Closes it with a RST (TCP) instead of a FIN.
    ///
    /// # Errors
    /// The option cannot be set.
    pub fn reset(self) -> io::Result<()> {
        sockopt::set_socket_linger(self.as_fd(), Some(std::time::Duration::ZERO))?;
        drop(self);
        Ok(())
    }

    /// A limit for each read, so that a mistake in a script does not wait for ever.
    ///
    /// # Errors
    /// The option cannot be set.
    pub fn set_timeout(&self, timeout: std::time::Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(room),
            Self::Unix(stream) => stream.read(room),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 127.0.0.1
    V4,
    /// `::1`
    V6,
    /// A listener on `::` that is reached by 127.0.0.1.
    Mapped,
    /// A Unix stream socket.
    Unix,
}

/// Waits for connections.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    at: At,
    family: Family,
    /// Keeps the port of 127.0.0.1 that has the same number: the agent tells servers by their ports.
    _same_port: Option<TcpListener>,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a port that the kernel chooses, or on a Unix socket in `directory`.
    ///
    /// # Panics
    /// If the machine cannot do that.
    pub fn new(family: Family, directory: &Path) -> Self {
        let mut same_port = None;
        let (inner, at) = match family {
            Family::Unix => {
                static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
                let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let path = directory.join(format!("listener-{number}.sock"));
                let listener = UnixListener::bind(&path).expect("a Unix socket can be made");
                (Inner::Unix(listener), At::Unix(path))
            }
            Family::V4 => tcp(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("127.0.0.1 has a free port")),
            Family::V6 => {
                let (listener, other) = on_both().expect("some port is free on 127.0.0.1 and ::1");
                same_port = Some(other);
                tcp(listener)
            }
            Family::Mapped => tcp(dual_stack(0).expect("a dual-stack listener can be made")),
        };
        Self {
            inner,
            at,
            family,
            _same_port: same_port,
        }
    }

    /// Listens on this port of 127.0.0.1, even if connections of the last listener linger there.
    ///
    /// # Panics
    /// If it is taken.
    pub fn on_port(port: u16) -> Self {
        let (inner, at) = tcp(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free again"));
        Self {
            inner,
            at,
            family: Family::V4,
            _same_port: None,
        }
    }

    /// Where it is, as the agent shows it.
    pub fn at(&self) -> At {
        self.at.clone()
    }

    /// Connects to it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn connect(&self) -> io::Result<Socket> {
        match &self.at {
            At::Port(port) => Socket::tcp(if self.family == Family::V6 {
                (Ipv6Addr::LOCALHOST, *port).into()
            } else {
                (Ipv4Addr::LOCALHOST, *port).into()
            }),
            At::Unix(path) => Socket::unix(path),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn accept(&self) -> io::Result<Socket> {
        Ok(match &self.inner {
            Inner::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            Inner::Unix(listener) => Socket::Unix(listener.accept()?.0),
        })
    }

    /// Both ends of a new connection, client first.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn pair(&self) -> (Socket, Socket) {
        let client = self.connect().expect("a listener can be connected to");
        let server = self.accept().expect("a connection that was made can be accepted");
        (client, server)
    }
}

/// Listeners on `::1` and 127.0.0.1 with the same port.
fn on_both() -> Option<(TcpListener, TcpListener)> {
    (0..100).find_map(|_| {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let port = other.local_addr().ok()?.port();
        Some((TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok()?, other))
    })
}

fn tcp(listener: TcpListener) -> (Inner, At) {
    let port = listener.local_addr().expect("a listener has an address").port();
    (Inner::Tcp(listener), At::Port(port))
}

/// A listener on `::` for both IPv6 and IPv4; its IPv4 connections have v4-mapped addresses.
fn dual_stack(port: u16) -> io::Result<TcpListener> {
    let socket: OwnedFd = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, Some(ipproto::TCP))?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket.into())
}
