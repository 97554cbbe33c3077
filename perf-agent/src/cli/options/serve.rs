//! Where the API is offered, and to whom.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Faults;
use crate::api::listen::Listen;
use crate::config::ServeSettings;
use crate::config::sections::File;

/// Shortest token that is taken.
const MIN_TOKEN_BYTES: usize = 16;

/// Where the API is offered.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "API")]
pub struct ServeOptions {
    /// ADDR:PORT or unix:/path. An address that is not loopback needs --token-file. [default: 127.0.0.1:9955]
    #[arg(long, value_name = "WHERE", env = "PERF_AGENT_LISTEN")]
    listen: Option<String>,
    /// A file whose first line is the token that requests must bring (Authorization: Bearer TOKEN). At least 16 visible
    /// characters; the file must be its owner's only (chmod 600).
    #[arg(long, value_name = "FILE", env = "PERF_AGENT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

impl ServeOptions {
    /// What is meant; reads the token file.
    pub fn settings(&self, file: &File, faults: &mut Faults) -> ServeSettings {
        let (option, token_file) = self.token_file(file);
        let token = token_file.as_ref().and_then(|path| faults.take(token(option, path)));
        let text = self.listen.as_deref().or(file.api.listen.as_deref());
        let listen = faults
            .take(listen(text.unwrap_or("127.0.0.1:9955")))
            .unwrap_or(Listen::Unix(PathBuf::new()));
        if let Listen::Tcp(address) = &listen
            && !address.ip().to_canonical().is_loopback()
            && token_file.is_none()
        {
            faults.add(format!(
                "--listen {address}: everybody who reaches this address could read what the services do; give \
                 --token-file FILE as well, or listen on 127.0.0.1"
            ));
        }
        ServeSettings {
            listen,
            token,
            token_file,
        }
    }

    fn token_file(&self, file: &File) -> (&'static str, Option<PathBuf>) {
        let written = file.api.token_file.clone().filter(|path| !path.as_os_str().is_empty());
        match &self.token_file {
            Some(typed) => ("--token-file", Some(typed.clone())),
            None => ("api.token_file", written),
        }
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = Path::new(path);
        // sockaddr_un has 108 bytes, the last of them NUL.
        return match path.as_os_str().len() {
            0 => Err("--listen unix: needs a path, such as unix:/run/perf-agent.sock".to_owned()),
            108.. => Err(format!("--listen {text}: a socket's path has at most 107 bytes")),
            _ => Ok(Listen::Unix(path.to_owned())),
        };
    }
    let localhost = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    localhost
        .as_deref()
        .unwrap_or(text)
        .parse::<SocketAddr>()
        .map(Listen::Tcp)
        .map_err(|_address| {
            format!(
                "--listen {text}: expected ADDR:PORT such as 127.0.0.1:9955 or [::1]:9955, or unix:/path (without the \
                 option, PERF_AGENT_LISTEN says where)"
            )
        })
}

/// A file with a secret: it must be there, and be its owner's only.
pub(super) fn private(option: &str, path: &Path) -> Result<fs::Metadata, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("{option} {}: {reason}", path.display());
    let meta = fs::metadata(path).map_err(|error| failed(&error))?;
    if meta.is_dir() {
        return Err(failed(&"it is a directory"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(failed(&format_args!(
            "other users may read it; chmod 600 {}",
            path.display()
        )));
    }
    Ok(meta)
}

fn token(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("{option} {}: {reason}", path.display());
    let meta = private(option, path)?;
    if meta.len() > 4096 {
        return Err(failed(&"is longer than a token"));
    }
    let text = fs::read(path).map_err(|error| failed(&error))?;
    let line = text
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if line.len() < MIN_TOKEN_BYTES || !line.iter().all(u8::is_ascii_graphic) {
        return Err(failed(
            &"its first line must be a token of at least 16 visible ASCII characters",
        ));
    }
    Ok(line.to_vec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn where_to_listen_is_an_address_or_a_socket() {
        assert_eq!(listen("unix:/run/a.sock"), Ok(Listen::Unix("/run/a.sock".into())));
        assert_eq!(listen("localhost:1"), Ok(Listen::Tcp(([127, 0, 0, 1], 1).into())));
        assert!(matches!(listen("[::1]:1"), Ok(Listen::Tcp(address)) if address.is_ipv6()));
        for text in [
            "",
            "9955",
            "host:80",
            "127.0.0.1",
            "unix:",
            &format!("unix:/{}", "a".repeat(107)),
        ] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_file_is_private_and_holds_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            token("--token-file", &path)
        };
        assert_eq!(write("0123456789abcdef\nrest", 0o600), Ok(b"0123456789abcdef".to_vec()));
        assert!(
            write("0123456789abcdef", 0o644)
                .unwrap_err()
                .contains("other users may read it")
        );
        assert!(write("short", 0o600).unwrap_err().contains("at least 16"));
        assert!(write("0123456789 abcdef", 0o600).is_err());
        assert!(token("--token-file", &directory.path().join("none")).is_err());
    }
}
