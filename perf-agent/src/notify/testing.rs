//! Servers that the tests of this area speak to, in the test's own process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a server answers a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// These bytes.
    Bytes(String),
    /// Not, and it keeps the connection.
    Never,
    /// It closes the connection.
    Close,
    /// A body that never ends.
    Endless(&'static str),
}

impl Reply {
    pub(crate) fn status(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Bytes(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        ))
    }

    pub(crate) fn ok() -> Self {
        Self::status("200 OK", "", "ok")
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// An HTTP server that answers by a script; the last reply is repeated.
pub(crate) struct Web {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Web {
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    pub(crate) fn on(listener: TcpListener, script: impl IntoIterator<Item = Reply>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) = (Arc::clone(&requests), script.into_iter().collect::<Vec<_>>());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, script) = (Arc::clone(&seen), script.clone());
                tokio::spawn(serve(stream, seen, script));
            }
        });
        Self { port, requests, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook/0123456789", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until that many requests have arrived.
    pub(crate) async fn heard(&self, count: usize) -> Vec<Request> {
        until(|| (self.requests().len() >= count).then(|| self.requests())).await
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Request>>>, script: Vec<Reply>) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let request = loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let request = Request {
                head: head.to_owned(),
                body: body.to_owned(),
            };
            let length: usize = request.header("content-length")?.parse().ok()?;
            if body.len() >= length {
                break request;
            }
        }
    };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request);
        seen.len() - 1
    };
    match script.get(number).or(script.last())? {
        Reply::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await.ok()?,
        Reply::Never => {
            // Until the client goes.
            while stream.read(&mut buffer).await.ok()? > 0 {}
        }
        Reply::Close => {}
        Reply::Endless(status) => {
            let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            loop {
                stream.write_all(b"400\r\n").await.ok()?;
                stream.write_all(&[b'x'; 0x400]).await.ok()?;
                stream.write_all(b"\r\n").await.ok()?;
            }
        }
    }
    Some(())
}

/// Looks again and again, for at most 20 seconds.
#[track_caller]
pub(crate) fn until<T>(look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    until_at(look, caller)
}

async fn until_at<T>(mut look: impl FnMut() -> Option<T>, caller: &'static std::panic::Location<'static>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not so in time: {caller}");
}

/// A certificate for `localhost` by an authority of its own.
pub(crate) struct Certificate {
    pub(crate) directory: tempfile::TempDir,
}

impl Certificate {
    /// `None` if there is no openssl, which is a failure in CI.
    pub(crate) fn make() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ])
            .args([
                "-keyout",
                "key.pem",
                "-out",
                "certificate.pem",
                "-days",
                "2",
                "-subj",
                "/CN=test",
            ])
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .current_dir(directory.path())
            .output();
        match made {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                Some(Self { directory })
            }
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "openssl: {error}");
                eprintln!("left out: it needs openssl ({error})");
                None
            }
        }
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn server_config(&self) -> Arc<rustls::ServerConfig> {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let read = |path: &Path| CertificateDer::from_pem_file(path).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![read(&self.authority())],
                PrivateKeyDer::from_pem_file(self.path("key.pem")).unwrap(),
            );
        Arc::new(config.unwrap())
    }
}
