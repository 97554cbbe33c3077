//! A client over rustls. Arguments: 1 or 2 (the version of HTTP), the port, the certificate to trust.
//! Each line it reads is a request (method, path, length of the body), each line it writes what came of it: status,
//! length of the body, nanoseconds.

#![expect(clippy::print_stdout, reason = "a program of the tests' tells what it does")]

use std::io::BufRead as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::http::{Method, Request, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use perf_agent_tests::clock::now_ns;
use perf_agent_tests::tls::trust;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [version, port, certificate] = &arguments[..] else {
        anyhow::bail!("arguments: version, port, certificate");
    };
    let tls = trust::only(Path::new(certificate))?;
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only();
    let connector = match version.as_str() {
        "1" => connector.enable_http1().build(),
        _ => connector.enable_http2().build(),
    };
    let client = Client::builder(TokioExecutor::new()).build(connector);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let [method, path, length] = words[..] else {
            anyhow::bail!("a request is a method, a path and a length: {line:?}");
        };
        let body = Full::new(Bytes::from(vec![b'x'; length.parse()?]));
        let request = Request::builder()
            .method(method.parse::<Method>()?)
            .uri(format!("https://127.0.0.1:{port}{path}").parse::<Uri>()?)
            .body(body)?;
        let started = now_ns();
        let answer = client.request(request).await.context("no answer")?;
        let http2 = answer.version() == Version::HTTP_2;
        anyhow::ensure!(http2 == (version == "2"), "spoke {:?}", answer.version());
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        println!("{status} {} {}", body.len(), now_ns() - started);
    }
    Ok(())
}
