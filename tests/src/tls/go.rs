//! Programs in Go, built from their sources beside this crate with Go's standard library alone, and kept for the next
//! test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::old;
use crate::child::Workdir;
use crate::need;

/// Programs that were built since this test program began.
static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Which Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// The newest, in the virtual environment.
    Newest,
    /// 1.15, which passes arguments on the stack.
    Old,
}

/// The program of this source; `stripped` leaves out symbols and DWARF.
///
/// # Panics
/// If it cannot be built.
#[track_caller]
pub fn build(go: Go, source: &Path, stripped: bool) -> PathBuf {
    let stem = source
        .file_stem()
        .and_then(|stem| stem.to_str())
        .expect("a source has a name");
    let of = if go == Go::Old { "_old" } else { "" };
    let name = format!("{stem}{of}{}", if stripped { "_stripped" } else { "" });
    let venv = need::venv();
    let program = venv.with_file_name("go-programs").join(&name);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.contains(&program) {
        return program;
    }
    let directory = Workdir::new();
    let mut command = match go {
        Go::Newest => Command::new(venv.join("bin/go")),
        Go::Old => {
            let mut command = Command::new(old::go().join("bin/go"));
            command.env("GOROOT", old::go());
            command
        }
    };
    command.args(["build", "-o"]).arg(directory.join(&name));
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
        .env("GOCACHE", venv.with_file_name("go-build"));
    let output = command.output().expect("go can be started");
    assert!(
        output.status.success(),
        "{} is not built: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    // Into its place at once: another test program may be about to start it.
    std::fs::create_dir_all(program.parent().expect("in the cache")).expect("a directory can be made");
    let beside = program.with_extension("new");
    std::fs::copy(directory.join(&name), &beside).expect("a program can be copied");
    std::fs::rename(beside, &program).expect("a program can be replaced");
    built.insert(program.clone());
    program
}
