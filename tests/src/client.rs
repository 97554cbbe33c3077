//! A blocking HTTP/1.1 client that keeps its own books: the client's half of the truth.
//!
//! It frames answers as RFC 9112, section 6.3 says and knows nothing else; what it is used against was started by the
//! same test, or is the agent.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use crate::clock::now_ns;
use crate::socket::Socket;

/// An answer, and when what happened.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Bytes of the request as sent.
    pub request_bytes: u64,
    /// Bytes of the answer as received, framing included.
    pub response_bytes: u64,
    /// When the request was about to be sent.
    pub sent_ns: u64,
    /// When the first bytes of the answer were there.
    pub first_ns: u64,
    /// When its last bytes were there.
    pub last_ns: u64,
}

impl Reply {
    /// A header field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(field, _)| field == name)?;
        Some(&found.1)
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    /// Received and not yet used.
    ahead: Vec<u8>,
    /// Bytes per read; small ones make a slow reader.
    room: usize,
    /// What the client waits between two reads of a body.
    pause: std::time::Duration,
}

impl Connection {
    /// By TCP.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(Socket::tcp(address)?))
    }

    /// To a port of 127.0.0.1.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn port(port: u16) -> io::Result<Self> {
        Self::tcp(([127, 0, 0, 1], port).into())
    }

    /// To a Unix socket.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self::over(Socket::unix(path)?))
    }

    /// Over a connected socket.
    pub fn over(socket: Socket) -> Self {
        Self {
            socket,
            ahead: Vec::new(),
            room: 64 * 1024,
            pause: std::time::Duration::ZERO,
        }
    }

    /// The same, reading `room` bytes at a time with a pause before each read.
    #[must_use]
    pub fn slow(mut self, room: usize, pause: std::time::Duration) -> Self {
        self.room = room;
        self.pause = pause;
        self
    }

    /// The socket below.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Gets a path.
    ///
    /// # Errors
    /// The connection ended, or the answer is no HTTP.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.request("GET", path, b"")
    }

    /// Sends a request with a body (none if empty) and reads its answer.
    ///
    /// # Errors
    /// The connection ended, or the answer is no HTTP.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n").into_bytes();
        bytes.extend(body);
        self.exchange(&bytes, method == "HEAD")
    }

    /// Sends these bytes and reads one answer; `head`: it has no body whatever it says.
    ///
    /// # Errors
    /// The connection ended, or the answer is no HTTP.
    pub fn exchange(&mut self, request: &[u8], head: bool) -> io::Result<Reply> {
        let sent_ns = now_ns();
        self.socket.write_all(request)?;
        let mut received = Received::new(self);
        let (mut status, mut headers);
        loop {
            let head = received.until(b"\r\n\r\n")?;
            (status, headers) = parse_head(&head)?;
            if !(100..200).contains(&status) || status == 101 {
                break;
            }
        }
        let field = |name: &str| {
            headers
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value.as_str())
        };
        let body = if head || (100..200).contains(&status) || status == 204 || status == 304 {
            Vec::new()
        } else if field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            received.chunked()?
        } else if let Some(length) = field("content-length") {
            received.exactly(length.parse().map_err(io::Error::other)?)?
        } else {
            received.until_the_end()?
        };
        let (response_bytes, first_ns, last_ns) = (received.used, received.first_ns, received.last_ns);
        Ok(Reply {
            status,
            headers,
            body,
            request_bytes: request.len() as u64,
            response_bytes,
            sent_ns,
            first_ns,
            last_ns,
        })
    }
}

/// One answer being read.
struct Received<'a> {
    from: &'a mut Connection,
    used: u64,
    first_ns: u64,
    last_ns: u64,
}

impl<'a> Received<'a> {
    fn new(from: &'a mut Connection) -> Self {
        let now = now_ns();
        Self {
            from,
            used: 0,
            first_ns: now,
            last_ns: now,
        }
    }

    /// Reads more; false at the end of the stream.
    fn more(&mut self) -> io::Result<bool> {
        if self.used > 0 && !self.from.pause.is_zero() {
            std::thread::sleep(self.from.pause); // the slow reader that the test asked for
        }
        let mut room = vec![0; self.from.room];
        let length = self.from.socket.read(&mut room)?;
        self.last_ns = now_ns();
        if self.used == 0 && self.from.ahead.is_empty() {
            self.first_ns = self.last_ns;
        }
        self.from.ahead.extend(&room[..length]);
        Ok(length > 0)
    }

    fn need_more(&mut self) -> io::Result<()> {
        if self.more()? {
            Ok(())
        } else {
            let message = format!("the connection ended after {} bytes of an answer", self.used);
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.used += length as u64;
        self.from.ahead.drain(..length).collect()
    }

    fn until(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let found = self.from.ahead.windows(mark.len()).position(|window| window == mark);
            if let Some(start) = found {
                return Ok(self.take(start + mark.len()));
            }
            self.need_more()?;
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() < length {
            if self.from.ahead.is_empty() {
                self.need_more()?;
            }
            let part = self.from.ahead.len().min(length - body.len());
            body.extend(self.take(part));
        }
        Ok(body)
    }

    fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n")?;
            let text = String::from_utf8_lossy(&line);
            let digits = text.split([';', '\r']).next().unwrap_or_default();
            let size = usize::from_str_radix(digits.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                while self.until(b"\r\n")? != b"\r\n" {} // trailers
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            self.exactly(2)?;
        }
    }

    fn until_the_end(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? {}
        let length = self.from.ahead.len();
        Ok(self.take(length))
    }
}

fn parse_head(head: &[u8]) -> io::Result<(u16, Vec<(String, String)>)> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not a status line: {status_line:?}")))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok((status, headers))
}
