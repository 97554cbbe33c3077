//! A receiver of webhooks in the test process: keeps what it is sent.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Longest request.
const MOST_BYTES: usize = 1 << 20;

/// A listening receiver; its thread ends with the test.
#[derive(Debug)]
pub struct Receiver {
    port: u16,
    received: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// Starts it.
    ///
    /// # Panics
    /// If the loopback interface has no port left.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut room = [0; 16 * 1024];
                let body = loop {
                    match stream.read(&mut room) {
                        Ok(0) | Err(_) => break None,
                        Ok(read) => request.extend(&room[..read]),
                    }
                    if let Some(body) = body(&request) {
                        break Some(body);
                    }
                    if request.len() > MOST_BYTES {
                        break None;
                    }
                };
                if let Some(body) = body {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(body);
                }
                let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { port, received }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/alerts", self.port)
    }

    /// What it was sent.
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The JSON of a whole request.
fn body(request: &[u8]) -> Option<Value> {
    let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let length: usize = length.trim().parse().ok()?;
    serde_json::from_slice(request.get(end..end + length)?).ok()
}
