//! A server that knows how long it took: threads, blocking sockets, and a log of every request with the moments at which
//! its bytes were in the server's hands. The server's half of the truth.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{Truth, now_ns};
use crate::rows::At;
use crate::socket::{Family, Listener, Socket};

/// How requests find their way through the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One per connection, which does everything.
    PerConnection,
    /// One accepts, one reads, one writes; requests are handed from each to the next.
    AcceptReadWrite,
}

/// One request as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Path as sent.
    pub path: String,
    /// When the read that gave its first byte had returned.
    pub first_read_ns: u64,
    /// When the write of its answer was about to begin.
    pub write_ns: u64,
    /// When the write that took its answer's last byte had returned. The thread may have lost its processor in between,
    /// to the client that it had just woken.
    pub last_written_ns: u64,
}

/// Response times of requests as far as the server can know them: the true ones lie between the two.
pub fn response_times<'a>(served: impl Iterator<Item = &'a Served> + Clone) -> (Truth, Truth) {
    (
        Truth::of_ns(served.clone().map(|served| served.write_ns - served.first_read_ns)),
        Truth::of_ns(served.map(|served| served.last_written_ns - served.first_read_ns)),
    )
}

/// A running server. The path says what the handler does: `/one`, `/ten` and `/hundred` wait so many milliseconds, all
/// others none. Every answer is 200 with a short body.
#[derive(Debug)]
pub struct TimedServer {
    at: At,
    log: Arc<Mutex<Vec<Served>>>,
    /// Ends with the test: it waits for connections for ever.
    _acceptor: JoinHandle<()>,
}

/// What the server answers.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

impl TimedServer {
    /// Starts it.
    pub fn start(family: Family, threads: Threads, directory: &Path) -> Self {
        let listener = Listener::new(family, directory);
        let at = listener.at();
        let log = Arc::new(Mutex::new(Vec::new()));
        let books = Arc::clone(&log);
        let acceptor = std::thread::spawn(move || match threads {
            Threads::PerConnection => accept_each(&listener, &books),
            Threads::AcceptReadWrite => accept_and_hand_over(&listener, &books),
        });
        Self {
            at,
            log,
            _acceptor: acceptor,
        }
    }

    /// Where it listens.
    pub fn at(&self) -> At {
        self.at.clone()
    }

    /// The port of a TCP server.
    ///
    /// # Panics
    /// For a Unix socket.
    pub fn port(&self) -> u16 {
        match self.at {
            At::Port(port) => port,
            At::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    /// What it served so far.
    pub fn served(&self) -> Vec<Served> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Log = Arc<Mutex<Vec<Served>>>;

fn accept_each(listener: &Listener, log: &Log) {
    while let Ok(socket) = listener.accept() {
        let log = Arc::clone(log);
        std::thread::spawn(move || {
            let Ok(mut writer) = socket.try_clone() else { return };
            // A client that goes away ends the thread; it knows that it did.
            drop(read_requests(socket, |request| answer(&mut writer, request, &log)));
        });
    }
}

fn accept_and_hand_over(listener: &Listener, log: &Log) {
    let (accepted, to_read) = mpsc::channel::<Socket>();
    let (asked, to_answer) = mpsc::channel::<(Arc<Mutex<Socket>>, Request)>();
    std::thread::spawn(move || {
        // One connection after the other: the clients of this server close theirs.
        for socket in to_read {
            let Ok(writer) = socket.try_clone() else { continue };
            let writer = Arc::new(Mutex::new(writer));
            drop(read_requests(socket, |request| {
                asked
                    .send((Arc::clone(&writer), request))
                    .map_err(|_gone| io::Error::other("the writing thread is gone"))
            }));
        }
    });
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for (socket, request) in to_answer {
            let mut socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            drop(answer(&mut socket, request, &log));
        }
    });
    while let Ok(socket) = listener.accept() {
        if accepted.send(socket).is_err() {
            return;
        }
    }
}

struct Request {
    path: String,
    first_read_ns: u64,
}

/// Reads requests without a body until the end of the stream.
fn read_requests(mut socket: Socket, mut each: impl FnMut(Request) -> io::Result<()>) -> io::Result<()> {
    let mut ahead = Vec::new();
    let mut first_read_ns = 0;
    let mut room = [0; 4096];
    loop {
        let length = socket.read(&mut room)?;
        let now = now_ns();
        if length == 0 {
            return Ok(());
        }
        if ahead.is_empty() {
            first_read_ns = now;
        }
        ahead.extend(&room[..length]);
        while let Some(end) = ahead.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = ahead.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head);
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            each(Request { path, first_read_ns })?;
            first_read_ns = now;
        }
    }
}

fn answer(socket: &mut Socket, request: Request, log: &Log) -> io::Result<()> {
    let milliseconds = match request.path.as_str() {
        "/one" => 1,
        "/ten" => 10,
        "/hundred" => 100,
        _ => 0,
    };
    std::thread::sleep(Duration::from_millis(milliseconds)); // the handler's work
    let write_ns = now_ns();
    socket.write_all(ANSWER)?;
    let last_written_ns = now_ns();
    log.lock().unwrap_or_else(PoisonError::into_inner).push(Served {
        path: request.path,
        first_read_ns: request.first_read_ns,
        write_ns,
        last_written_ns,
    });
    Ok(())
}
