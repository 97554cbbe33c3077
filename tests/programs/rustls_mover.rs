//! A client over rustls whose connections are moved between their requests and the answers: each is made, and asks, in a
//! function of its own, at the same place as the one before. Arguments: the port, the certificate to trust, how many. Each
//! asks for `/slow`, and has the status of its answer written on a line.

#![expect(clippy::print_stdout, reason = "a program of the tests' tells what it does")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use perf_agent_tests::tls::trust;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, certificate, count] = &arguments[..] else {
        anyhow::bail!("arguments: port, certificate, count");
    };
    let config = Arc::new(trust::only(Path::new(certificate))?);
    let mut streams = Vec::new();
    for _ in 0..count.parse()? {
        streams.push(asked(port.parse()?, Arc::clone(&config))?);
    }
    for stream in streams {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        println!("{}", line.split(' ').nth(1).context("no answer")?);
    }
    Ok(())
}

#[inline(never)]
fn asked(port: u16, config: Arc<ClientConfig>) -> Result<Stream> {
    let connection = ClientConnection::new(config, "localhost".try_into()?)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port))?);
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    stream.flush()?;
    Ok(stream)
}
