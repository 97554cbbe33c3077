//! A certificate for the loopback interface that trusts itself, made for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::run;
use crate::need;

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate; the client trusts it.
    pub file: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificate {
    /// A new one in this directory, for `127.0.0.1` and `localhost`.
    ///
    /// # Panics
    /// If openssl makes none.
    #[track_caller]
    pub fn new(directory: &Path) -> Self {
        let made = Self {
            file: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
        };
        let mut command = Command::new(need::which("openssl").expect("the test said that it needs openssl"));
        command
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.file);
        let said = run(command);
        assert_eq!(said.code, Some(0), "openssl makes a certificate: {}", said.error);
        made
    }
}
