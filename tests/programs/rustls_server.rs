//! A server over rustls, with HTTP/2 where the client offers it. Arguments: the port, the certificate, its key.
//! Paths: see `site.rs`. Writes each request on a line.

#![expect(clippy::print_stdout, reason = "a program of the tests' tells what it does")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{Version, header};
use axum::response::Response;
use axum_server::tls_rustls::RustlsConfig;
use http_body::Frame;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, certificate, key] = &arguments[..] else {
        anyhow::bail!("arguments: port, certificate, key");
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().context("the port")?));
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().expect("it is the first one");
    let tls = RustlsConfig::from_pem_file(certificate, key).await?;
    let router = Router::new().fallback(answer);
    axum_server::bind_rustls(address, tls)
        .serve(router.into_make_service())
        .await?;
    Ok(())
}

async fn answer(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let received = axum::body::to_bytes(body, usize::MAX).await;
    let received = received.map_or(0, |body| body.len());
    let (method, path) = (head.method.as_str(), head.uri.path());
    if path == "/slow" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, text): (u16, Vec<u8>) = match path {
        "/hello" => (200, b"hello\n".into()),
        "/empty" => (200, vec![]),
        "/page" => (200, vec![b'p'; 20_000]),
        "/large" => (200, vec![b'l'; 1_048_576]),
        "/fail" => (500, b"failed\n".into()),
        "/gone" => (410, b"gone\n".into()),
        "/nothing" => (204, vec![]),
        "/upload" => (201, b"stored\n".into()),
        "/slow" => (200, b"slow\n".into()),
        _ => (404, b"missing\n".into()),
    };
    println!("{method} {path} {status} {received}");
    let mut answer = Response::builder().status(status);
    if head.version != Version::HTTP_2 && status != 204 {
        answer = answer.header(header::CONTENT_LENGTH, text.len());
    }
    let body = (method != "HEAD" && !text.is_empty()).then(|| Bytes::from(text));
    answer.body(Body::new(Untold(body))).expect("the head is valid")
}

/// A body whose length is not known before it: clients of HTTP/2 that are told it do not wait for the frame that ends the
/// stream.
struct Untold(Option<Bytes>);

impl HttpBody for Untold {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}
