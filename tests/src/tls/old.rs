//! Programs of an older release, unpacked beside the virtual environment: OpenSSL 1.1.1 and what is linked to it, and
//! Go 1.15.

use std::path::PathBuf;
use std::process::Command;

use crate::need;

/// A program with OpenSSL 1.1.1, by its path there.
///
/// # Panics
/// If the cache's path has a colon in it.
pub fn command(program: &str) -> Command {
    let root = openssl();
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|path| root.join(path));
    let mut command = Command::new(root.join(program));
    let search = std::env::join_paths(libraries);
    command.env("LD_LIBRARY_PATH", search.expect("the cache has a plain path"));
    command
}

/// Where it lies.
pub(crate) fn openssl() -> PathBuf {
    need::venv().with_file_name("openssl-1.1.1")
}

/// Go's root.
pub(crate) fn go() -> PathBuf {
    need::venv().with_file_name("go-1.15").join("usr/lib/go-1.15")
}
