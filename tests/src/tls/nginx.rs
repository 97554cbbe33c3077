//! nginx over TLS: one port with TLS 1.2 only, one with TLS 1.3 only, both with HTTP/1.1 and HTTP/2.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Certificate, Serves, old, site};
use crate::agent::free_port;
use crate::child::{Child, Workdir};
use crate::need;
use crate::nginx::{Access, parse, wait_for_port};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// 1.2.
    V12,
    /// 1.3.
    V13,
}

/// What is not as usual.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// OpenSSL is looked for here first.
    pub libraries: Option<PathBuf>,
    /// The kernel is to encrypt.
    pub kernel_tls: bool,
    /// An older nginx, with OpenSSL 1.1.1.
    pub old: bool,
    /// Requests may come with the first bytes of a resumed session.
    pub early_data: bool,
}

/// A running nginx with two workers.
#[derive(Debug)]
pub struct Nginx {
    // Ends before its directory goes.
    child: Child,
    ports: [u16; 2],
    certificate: Certificate,
    directory: Workdir,
}

impl Nginx {
    /// Starts it.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&Settings::default())
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it does not get ready in time.
    #[track_caller]
    pub fn start_with(settings: &Settings) -> Self {
        let directory = Workdir::new();
        let certificate = Certificate::new(directory.path());
        let ports = [free_port(), free_port()];
        write(directory.path(), directory.path(), ports, settings);
        let mut command = if settings.old {
            old::command("usr/sbin/nginx")
        } else {
            Command::new(need::which("nginx").expect("the test said that it needs nginx"))
        };
        command.arg("-c").arg(directory.join("nginx.conf"));
        command.arg("-p").arg(directory.path());
        if let Some(libraries) = &settings.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        Self::running(command, ports, certificate, directory)
    }

    /// One that the caller made a command of.
    ///
    /// # Panics
    /// If it does not get ready in time.
    #[track_caller]
    pub(crate) fn running(command: Command, ports: [u16; 2], certificate: Certificate, directory: Workdir) -> Self {
        let mut child = Child::start("nginx", command, directory.path());
        for port in ports {
            wait_for_port(&mut child, port);
        }
        Self {
            child,
            ports,
            certificate,
            directory,
        }
    }

    /// Its master process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where it speaks this version.
    pub fn site(&self, tls: Tls) -> Site<'_> {
        Site {
            nginx: self,
            port: self.ports[usize::from(tls == Tls::V13)],
        }
    }

    /// The access log of a port so far, complete lines only.
    fn log(&self, port: u16) -> Vec<Access> {
        let text = std::fs::read_to_string(self.directory.join("access.log")).unwrap_or_default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = complete.lines().filter_map(|line| line.split_once('\t'));
        let port = port.to_string();
        lines
            .filter(|(of, _)| *of == port)
            .map(|(_, rest)| parse(rest))
            .collect()
    }
}

/// One of its ports.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    nginx: &'a Nginx,
    port: u16,
}

impl Site<'_> {
    /// The Unix socket where it speaks the same.
    pub fn socket(&self) -> PathBuf {
        self.nginx.directory.join(&format!("{}.sock", self.port))
    }

    /// What the access log says of this port.
    pub fn accesses(&self) -> Vec<Access> {
        self.nginx.log(self.port)
    }
}

impl Serves for Site<'_> {
    fn port(&self) -> u16 {
        self.port
    }

    fn certificate(&self) -> &Path {
        &self.nginx.certificate.file
    }

    fn pid(&self) -> u32 {
        self.nginx.pid()
    }

    fn log(&self) -> Vec<(String, String, u16)> {
        let lines = self.accesses().into_iter();
        lines.map(|line| (line.method, line.uri, line.status)).collect()
    }
}

/// Writes the configuration and the files into `directory`, which nginx is to know as `seen`.
pub(crate) fn write(directory: &Path, seen: &Path, ports: [u16; 2], settings: &Settings) {
    let put = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).expect("a file can be written");
    let files = directory.join("files");
    std::fs::create_dir(&files).expect("a directory can be made");
    for (name, letter, length) in [("page", b'p', site::PAGE), ("large", b'l', site::LARGE)] {
        let bytes = vec![letter; usize::try_from(length).expect("a file of some size")];
        put(&format!("files/{name}"), &bytes);
    }
    put("files/empty", b"");
    let seen = seen.display();
    let early_data = if settings.early_data { "on" } else { "off" };
    let kernel_tls = if settings.kernel_tls {
        "ssl_conf_command Options KTLS;"
    } else {
        ""
    };
    let server = |port: u16, version: &str| {
        format!(
            "server {{
                listen 127.0.0.1:{port} ssl http2;
                listen unix:{seen}/{port}.sock ssl http2;
                ssl_protocols {version};
                root {seen}/files;
                location = /hello {{ return 200 'hello\\n'; }}
                location = /gone {{ return 410 'gone\\n'; }}
                location = /fail {{ return 500 'failed\\n'; }}
                location = /upload {{ proxy_pass http://unix:{seen}/upload.sock:/; }}
                location = /nothing {{ return 204; }}
                location = /missing {{ return 404 'missing\\n'; }}
            }}"
        )
    };
    let servers = [server(ports[0], "TLSv1.2"), server(ports[1], "TLSv1.3")].concat();
    let text = format!(
        "
        daemon off;
        user root;
        worker_processes 2;
        pid {seen}/nginx.pid;
        error_log {seen}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            log_format books '$server_port\t$request_method\t$request_uri\t$status\t$bytes_sent\t$body_bytes_sent\t$request_length\t$request_time\t$connection';
            access_log {seen}/access.log books;
            client_body_temp_path {seen}/body;
            proxy_temp_path {seen}/proxy;
            fastcgi_temp_path {seen}/fastcgi;
            uwsgi_temp_path {seen}/uwsgi;
            scgi_temp_path {seen}/scgi;
            sendfile on;
            keepalive_requests 100000000;
            keepalive_timeout 600;
            ssl_certificate {seen}/certificate.pem;
            ssl_certificate_key {seen}/key.pem;
            ssl_session_cache shared:sessions:1m;
            ssl_early_data {early_data};
            {kernel_tls}
            {servers}
            # Bodies are read to their end before they are passed on, which nobody else does here.
            server {{ listen unix:{seen}/upload.sock; access_log off; return 201 'stored\\n'; }}
        }}
        "
    );
    put("nginx.conf", text.as_bytes());
}
