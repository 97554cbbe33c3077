//! Two ends of one loopback connection that talk HTTP in lockstep, in a process of their own: each kind of talk makes
//! the hooks do one kind of work.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::host;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Talk {
    /// Small request, small response, one `write` and one `read` each: every segment is captured.
    Small,
    /// Responses of [`CONTINUED`] writes of [`PIECE`] bytes, the first of which uses up the budget: the others give light
    /// records.
    Continued,
    /// Responses of [`BULK`] such writes: nearly all are folded.
    Bulk,
}

/// Bytes of a write of a long response, and of a read: the response budget that the benchmark sets.
pub(crate) const PIECE: usize = 1024;
/// One less than the light records after which the kernel side begins to fold, and the captured one.
const CONTINUED: usize = 31;
const BULK: usize = 4096;

const REQUEST: &[u8] = b"GET /bench/resource/12345 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: bench/1.0\r\n\
    Accept: application/json\r\nConnection: keep-alive\r\n\r\n";
const SMALL: &[u8] = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\
    Connection: keep-alive\r\n\r\n{\"value\": 12345}";

impl Talk {
    /// Writes of one response.
    fn pieces(self) -> usize {
        match self {
            Self::Small => 1,
            Self::Continued => CONTINUED,
            Self::Bulk => BULK,
        }
    }

    /// The response's first write, and those that follow.
    fn response(self) -> (Vec<u8>, Vec<u8>) {
        let pieces = self.pieces();
        if pieces == 1 {
            return (SMALL.to_vec(), Vec::new());
        }
        let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length:010}\r\n\r\n");
        let mut first = head(pieces * PIECE - head(0).len()).into_bytes();
        first.resize(PIECE, b'x');
        (first, vec![b'y'; PIECE])
    }
}

/// Talks for so long.
pub(crate) fn run(talk: Talk, time: Duration) -> Result<()> {
    host::pin(&[0])?;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let (first, next) = talk.response();
        let mut request = [0; 4096];
        while stream.read(&mut request)? > 0 {
            stream.write_all(&first)?;
            for _ in 1..talk.pieces() {
                stream.write_all(&next)?;
            }
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    stream.set_nodelay(true)?;
    let (first, next) = talk.response();
    let length = first.len() + (talk.pieces() - 1) * next.len();
    let mut piece = [0; PIECE];
    let end = Instant::now() + time;
    while Instant::now() < end {
        stream.write_all(REQUEST)?;
        let mut received = 0;
        while received < length {
            let read = stream.read(&mut piece)?;
            anyhow::ensure!(read > 0, "the server closed");
            received += read;
        }
    }
    drop(stream);
    server.join().map_err(|_panic| anyhow::anyhow!("the server panicked"))?
}
