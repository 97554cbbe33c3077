//! Programs in Go, built from their sources beside this crate with Go's standard library alone, and kept for the next
//! test.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::need;

/// Builds the program of this source into `directory`; `stripped` leaves out symbols and DWARF.
///
/// # Panics
/// If it cannot be built.
#[track_caller]
pub fn build(source: &Path, directory: &Path, stripped: bool) -> PathBuf {
    let stem = source
        .file_stem()
        .and_then(|stem| stem.to_str())
        .expect("a source has a name");
    let program = directory.join(if stripped {
        format!("{stem}_stripped")
    } else {
        stem.to_owned()
    });
    let venv = need::venv();
    let mut command = Command::new(venv.join("bin/go"));
    command.args(["build", "-o"]).arg(&program);
    if stripped {
        command.args(["-ldflags", "-s -w"]);
    }
    // Nothing is asked for outside: no modules, no other version of Go, no C compiler.
    command
        .arg(source)
        .env("GO111MODULE", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", venv.with_file_name("go"));
    let output = command.output().expect("go can be started");
    assert!(
        output.status.success(),
        "{} is not built: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    program
}
