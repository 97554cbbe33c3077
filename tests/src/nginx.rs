//! nginx with a configuration of its own, and its access log: what it says of each request.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::free_port;
use crate::child::{Child, Workdir};
use crate::rows::At;
use crate::{need, wait};

/// Bytes of the large file.
pub const LARGE: u64 = 50_000_000;

/// A running nginx with two workers.
///
/// `/hello` answers 200, `/gone` 410, `/files/large` sends [`LARGE`] bytes by sendfile, `/proxied/…` is passed on to the
/// Unix socket given at the start, `/cached/…` answers as `/hello` does, out of a cache (`?fresh=1` passes it by, and
/// `X-Cache-Status` says which); everything else is 404.
#[derive(Debug)]
pub struct Nginx {
    // Ends before its directory goes.
    child: Child,
    port: u16,
    h2_port: u16,
    directory: Workdir,
}

/// One line of the access log.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Request method.
    pub method: String,
    /// Path and query as sent.
    pub uri: String,
    /// Status; 499 if the client went away before one was sent.
    pub status: u16,
    /// Bytes sent to the client, head included.
    pub bytes_sent: u64,
    /// Bytes of the body.
    pub body_bytes_sent: u64,
    /// Bytes of the request, head included.
    pub request_length: u64,
    /// From the first byte read to the last byte handed to the kernel, in milliseconds; nginx counts whole ones.
    pub request_time_ms: f64,
    /// nginx's number of the connection.
    pub connection: u64,
}

impl Nginx {
    /// Starts it; requests under `/proxied/` go to the server on the Unix socket `upstream`.
    ///
    /// # Panics
    /// If it does not get ready in time.
    #[track_caller]
    pub fn start(upstream: Option<&Path>) -> Self {
        let directory = Workdir::new();
        let (port, h2_port) = (free_port(), free_port());
        let files = directory.join("files");
        std::fs::create_dir(&files).expect("a directory can be made");
        let large = std::fs::File::create(files.join("large")).expect("a file can be made");
        large.set_len(LARGE).expect("a file can be long");
        let configuration = directory.join("nginx.conf");
        std::fs::write(&configuration, text(directory.path(), [port, h2_port], upstream))
            .expect("a file can be written");
        let mut command = Command::new(need::which("nginx").expect("the test said that it needs nginx"));
        command.arg("-c").arg(&configuration).arg("-p").arg(directory.path());
        let mut nginx = Self {
            child: Child::start("nginx", command, directory.path()),
            port,
            h2_port,
            directory,
        };
        wait_for_port(&mut nginx.child, port);
        nginx
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it speaks HTTP/2, without TLS and from the first byte.
    pub fn h2_port(&self) -> u16 {
        self.h2_port
    }

    /// That port, as the agent shows it.
    pub fn h2_at(&self) -> At {
        At::Port(self.h2_port)
    }

    /// Where it is, as the agent shows it.
    pub fn at(&self) -> At {
        At::Port(self.port)
    }

    /// The master process; the workers are its children.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The access log so far, complete lines only.
    ///
    /// # Panics
    /// If a line is not as configured.
    pub fn log(&self) -> Vec<Access> {
        let text = std::fs::read_to_string(self.directory.join("access.log")).unwrap_or_default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(parse).collect()
    }
}

/// Waits until somebody listens; connects and closes, which is no exchange.
///
/// # Panics
/// If the server ends, or does not listen in time.
#[track_caller]
pub fn wait_for_port(child: &mut Child, port: u16) {
    wait::wait_until(wait::START, "a server listens", || {
        assert!(child.try_wait().is_none(), "the server ended instead of listening");
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
}

fn text(directory: &Path, [port, h2_port]: [u16; 2], upstream: Option<&Path>) -> String {
    let directory = directory.display();
    let upstream = upstream.map_or_else(String::new, |path: &Path| {
        format!(
            "location /proxied/ {{ proxy_pass http://unix:{}:/; }}",
            PathBuf::from(path).display()
        )
    });
    format!(
        "
        daemon off;
        user root;
        worker_processes 2;
        pid {directory}/nginx.pid;
        error_log {directory}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            log_format books '$request_method\t$request_uri\t$status\t$bytes_sent\t$body_bytes_sent\t$request_length\t$request_time\t$connection';
            access_log {directory}/access.log books;
            client_body_temp_path {directory}/body;
            proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi;
            uwsgi_temp_path {directory}/uwsgi;
            scgi_temp_path {directory}/scgi;
            sendfile on;
            keepalive_requests 100000000;
            proxy_cache_path {directory}/cache keys_zone=answers:1m;
            server {{
                listen 127.0.0.1:{port};
                listen 127.0.0.1:{h2_port} http2;
                location = /hello {{ return 200 'hello\\n'; }}
                location = /gone {{ return 410; }}
                location /cached/ {{
                    proxy_pass http://127.0.0.1:{port}/hello?of=;
                    proxy_cache answers;
                    proxy_cache_valid 200 10m;
                    proxy_cache_bypass $arg_fresh;
                    add_header X-Cache-Status $upstream_cache_status;
                }}
                location /files/ {{ root {directory}; }}
                location / {{ return 404; }}
                {upstream}
            }}
        }}
        "
    )
}

#[track_caller]
pub(crate) fn parse(line: &str) -> Access {
    let fields: Vec<&str> = line.split('\t').collect();
    let [
        method,
        uri,
        status,
        bytes_sent,
        body,
        request_length,
        seconds,
        connection,
    ] = fields[..]
    else {
        panic!("not a line of the access log: {line:?}")
    };
    let whole = |text: &str| {
        text.parse::<u64>()
            .unwrap_or_else(|error| panic!("{line:?}: {text:?}: {error}"))
    };
    Access {
        method: method.to_owned(),
        uri: uri.to_owned(),
        status: status.parse().unwrap_or_else(|error| panic!("{line:?}: {error}")),
        bytes_sent: whole(bytes_sent),
        body_bytes_sent: whole(body),
        request_length: whole(request_length),
        request_time_ms: seconds
            .parse::<f64>()
            .unwrap_or_else(|error| panic!("{line:?}: {error}"))
            * 1000.0,
        connection: whole(connection),
    }
}
