//! StatsD: listens for figures that programs of this host report over UDP or a Unix datagram socket, and puts them into the
//! custom metrics.
//!
//! UDP has no sender that can be trusted, so it listens on the loopback interface unless another address is explicitly
//! allowed. The Unix socket may be written by everybody (mode 0622): who may run a program here may report, as over UDP,
//! and sending a datagram takes no more than the right to write. What anybody can send is bounded by the table.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::custom::{Shared, statsd};
use crate::socket_file::{SocketFile, SocketFileError};

/// Where StatsD is usually spoken.
pub const DEFAULT_UDP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8125);

/// Room for a datagram: none of UDP is longer.
const BUFFER_BYTES: usize = 64 * 1024;
/// After an error that is not a datagram's.
const PAUSE: Duration = Duration::from_millis(100);
/// Owner reads and writes, everybody else writes.
const MODE: u32 = 0o622;

/// Where to listen. Nowhere by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsdSettings {
    /// An address and port, see [`DEFAULT_UDP`].
    pub udp: Option<SocketAddr>,
    /// The path of a Unix datagram socket.
    pub unix: Option<PathBuf>,
    /// The address may be another than a loopback one, so that other hosts can report.
    pub other_hosts: bool,
}

impl StatsdSettings {
    /// True if it listens at all.
    pub fn is_on(&self) -> bool {
        self.udp.is_some() || self.unix.is_some()
    }
}

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
pub enum StatsdError {
    /// Other hosts could report, and nobody said that they may.
    #[error("cannot listen for StatsD on {0}: other hosts could reach it, and that is not allowed by the settings")]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen for StatsD on {at}")]
    Bind {
        /// As people write it.
        at: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process listens there.
    #[error("cannot listen for StatsD on unix:{path}: another process does", path = .0.display())]
    InUse(PathBuf),
    /// Something else has the name.
    #[error("cannot listen for StatsD on unix:{path}: a file that is no socket has this name", path = .0.display())]
    NoSocket(PathBuf),
}

/// What came.
#[derive(Debug, Default)]
pub struct StatsdCounts {
    datagrams: AtomicU64,
    received: AtomicU64,
    malformed: AtomicU64,
    dropped: AtomicU64,
}

/// What came, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsdReport {
    /// Datagrams.
    pub datagrams: u64,
    /// Figures in them, those that were dropped included.
    pub received: u64,
    /// Lines that are no figures.
    pub malformed: u64,
    /// Figures that found no place.
    pub dropped: u64,
}

impl StatsdCounts {
    /// As of now.
    pub fn report(&self) -> StatsdReport {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StatsdReport {
            datagrams: read(&self.datagrams),
            received: read(&self.received),
            malformed: read(&self.malformed),
            dropped: read(&self.dropped),
        }
    }
}

/// Bound sockets. Binding is apart from receiving, since it may need privileges that are dropped in between.
#[derive(Debug)]
pub struct BoundStatsd {
    udp: Option<UdpSocket>,
    unix: Option<(UnixDatagram, SocketFile)>,
}

impl BoundStatsd {
    /// Binds. A socket file that nobody listens on any more is replaced; anything else is left alone.
    ///
    /// # Errors
    /// [`StatsdError`]
    pub fn bind(settings: &StatsdSettings) -> Result<Self, StatsdError> {
        let udp = settings.udp.map(|address| {
            if !settings.other_hosts && !address.ip().to_canonical().is_loopback() {
                return Err(StatsdError::NotLoopback(address));
            }
            let bind = || {
                let socket = UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            };
            bind().map_err(|source| StatsdError::Bind {
                at: address.to_string(),
                source,
            })
        });
        Ok(Self {
            udp: udp.transpose()?,
            unix: settings.unix.as_deref().map(bind_unix).transpose()?,
        })
    }

    /// The address, if it listens on UDP.
    pub fn udp_address(&self) -> Option<SocketAddr> {
        self.udp.as_ref()?.local_addr().ok()
    }

    /// Receives until `stop` completes; in a runtime.
    ///
    /// # Errors
    /// If the runtime cannot take the sockets.
    pub async fn serve(
        self,
        metrics: Shared,
        counts: Arc<StatsdCounts>,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let receiver = Receiver { metrics, counts };
        let udp = self.udp.map(tokio::net::UdpSocket::from_std).transpose()?;
        let (unix, _file) = match self.unix {
            Some((socket, file)) => (Some(tokio::net::UnixDatagram::from_std(socket)?), Some(file)),
            None => (None, None),
        };
        let over_udp = async {
            match &udp {
                Some(socket) => {
                    receiver
                        .receive(async |buffer: &mut [u8]| socket.recv(buffer).await)
                        .await;
                }
                None => std::future::pending().await,
            }
        };
        let over_unix = async {
            match &unix {
                Some(socket) => {
                    receiver
                        .receive(async |buffer: &mut [u8]| socket.recv(buffer).await)
                        .await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => Ok(()),
            () = over_udp => Ok(()),
            () = over_unix => Ok(()),
        }
    }
}

/// Where figures go.
struct Receiver {
    metrics: Shared,
    counts: Arc<StatsdCounts>,
}

impl Receiver {
    /// Datagrams of one socket, for ever.
    async fn receive(&self, next: impl AsyncFn(&mut [u8]) -> io::Result<usize>) {
        let mut buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        loop {
            match next(&mut buffer).await {
                Ok(length) => self.take(&buffer[..length]),
                Err(error) => {
                    tracing::debug!(%error, "cannot receive a datagram of StatsD");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(&self, datagram: &[u8]) {
        // One of a Unix socket may be longer; its last line is cut, then.
        let is_cut = datagram.len() == BUFFER_BYTES;
        let whole = if is_cut {
            let end = memchr::memrchr(b'\n', datagram).unwrap_or(0);
            &datagram[..end]
        } else {
            datagram
        };
        let mut dropped = 0;
        let at_ns = clock::monotonic_ns();
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let parsed = statsd::parse(whole, |sample| {
            dropped += u64::from(metrics.record(sample, at_ns).is_err());
        });
        drop(metrics);
        let add = |count: &AtomicU64, more: u64| count.fetch_add(more, Ordering::Relaxed);
        add(&self.counts.received, parsed.samples);
        add(&self.counts.malformed, parsed.malformed + u64::from(is_cut));
        add(&self.counts.dropped, dropped);
        // Last, for whoever waits for all of it to be counted.
        add(&self.counts.datagrams, 1);
    }
}

fn bind_unix(path: &Path) -> Result<(UnixDatagram, SocketFile), StatsdError> {
    let failed = |source| StatsdError::Bind {
        at: format!("unix:{}", path.display()),
        source,
    };
    let connect = || match UnixDatagram::unbound()?.connect(path) {
        // A socket of another type that somebody listens on.
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Ok(()),
        connected => connected,
    };
    let bound = SocketFile::bind(path, connect, || UnixDatagram::bind(path));
    let (socket, file) = bound.map_err(|error| match error {
        SocketFileError::InUse => StatsdError::InUse(path.to_owned()),
        SocketFileError::NoSocket => StatsdError::NoSocket(path.to_owned()),
        SocketFileError::Io(source) => failed(source),
    })?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    Ok((socket, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Window;

    /// Longest wait for what was sent.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Listens, lets `send` send so many datagrams, and gives what came of it.
    fn received(settings: &StatsdSettings, datagrams: u64, send: impl FnOnce(&BoundStatsd)) -> (StatsdReport, Shared) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (metrics, counts) = (Shared::default(), Arc::new(StatsdCounts::default()));
        let bound = BoundStatsd::bind(settings).unwrap();
        send(&bound);
        runtime.block_on(async {
            let all = async {
                while counts.report().datagrams < datagrams {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let stop = async {
                tokio::time::timeout(PATIENCE, all)
                    .await
                    .expect("all datagrams in time");
            };
            bound
                .serve(Arc::clone(&metrics), Arc::clone(&counts), stop)
                .await
                .unwrap();
        });
        (counts.report(), metrics)
    }

    #[test]
    fn figures_come_over_udp_and_over_a_unix_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("statsd.sock");
        let settings = StatsdSettings {
            udp: Some("127.0.0.1:0".parse().unwrap()),
            unix: Some(path.clone()),
            other_hosts: false,
        };
        let (report, metrics) = received(&settings, 3, |bound| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = bound.udp_address().unwrap();
            client.send_to(b"paid:2:3|c|#shop:eu\nbad\n", address).unwrap();
            client.send_to(b"paid:1|g", address).unwrap();
            let client = UnixDatagram::unbound().unwrap();
            client.send_to(b"load:0.5|g", &path).unwrap();
        });
        let expected = StatsdReport {
            datagrams: 3,
            received: 4,
            malformed: 1,
            dropped: 1,
        };
        assert_eq!(report, expected);
        let views = metrics.lock().unwrap().snapshot(0).views(None, Window::Start);
        let told: Vec<_> = views
            .iter()
            .map(|view| (view.name.as_str(), view.sum, view.last))
            .collect();
        assert_eq!(told, [("load", 0.5, Some(0.5)), ("paid", 5.0, Some(3.0))]);
        assert!(!path.exists(), "the socket's file went with it");
    }

    #[test]
    fn a_datagram_that_is_longer_than_the_room_for_it_loses_its_last_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("statsd.sock");
        let settings = StatsdSettings {
            unix: Some(path.clone()),
            ..StatsdSettings::default()
        };
        let (report, _) = received(&settings, 1, |_| {
            let datagram = "a:1|c\n".repeat(11_000);
            UnixDatagram::unbound()
                .unwrap()
                .send_to(datagram.as_bytes(), &path)
                .unwrap();
        });
        assert_eq!((report.received, report.malformed), (65_536 / 6, 1));
    }

    #[test]
    fn other_hosts_are_let_in_only_if_that_was_said() {
        let mut settings = StatsdSettings {
            udp: Some("0.0.0.0:0".parse().unwrap()),
            ..StatsdSettings::default()
        };
        assert!(matches!(BoundStatsd::bind(&settings), Err(StatsdError::NotLoopback(_))));
        settings.other_hosts = true;
        assert!(BoundStatsd::bind(&settings).unwrap().udp_address().is_some());
        assert!(settings.is_on() && !StatsdSettings::default().is_on());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_anything_else_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("statsd.sock");
        let settings = StatsdSettings {
            unix: Some(path.clone()),
            ..StatsdSettings::default()
        };
        drop(UnixDatagram::bind(&path).unwrap());
        let bound = BoundStatsd::bind(&settings).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(matches!(BoundStatsd::bind(&settings), Err(StatsdError::InUse(_))));
        drop(bound);
        assert!(!path.exists());
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(
            matches!(BoundStatsd::bind(&settings), Err(StatsdError::InUse(_))),
            "of another type"
        );
        drop(listener);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(BoundStatsd::bind(&settings), Err(StatsdError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
