//! A file system of one's own: a mount namespace whose root is in memory, with a program, the libraries that it needs and
//! nothing else, and OpenSSL at a place where the host has none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Certificate, nginx};
use crate::agent::free_port;
use crate::child::{Workdir, run};
use crate::need;

/// Where OpenSSL lies in there.
pub const LIBRARIES: &str = "/opt/own/tls";

/// nginx in a root of its own.
///
/// # Panics
/// If it does not get ready in time.
#[track_caller]
pub fn nginx() -> nginx::Nginx {
    let directory = Workdir::new();
    let certificate = Certificate::new(directory.path());
    let ports = [free_port(), free_port()];
    let root = directory.join("root");
    for name in ["etc", "tmp", "old", "srv", "proc", "dev"] {
        std::fs::create_dir_all(root.join(name)).expect("a directory can be made");
    }
    // nginx asks for its user by name, as programs do.
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").expect("a file can be written");
    std::fs::write(root.join("etc/group"), "root:x:0:\n").expect("a file can be written");
    nginx::write(&root.join("srv"), Path::new("/srv"), ports, &nginx::Settings::default());
    for file in [&certificate.file, &certificate.key] {
        let name = file.file_name().expect("a file has a name");
        std::fs::copy(file, root.join("srv").join(name)).expect("a file can be copied");
    }
    for program in ["nginx", "sh", "umount"] {
        let program = need::which(program).unwrap_or_else(|| panic!("{program} is part of every system"));
        take(&program, &program, &root);
        for library in libraries(&program) {
            let name = library
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a library has a name");
            let own = name.starts_with("libssl") || name.starts_with("libcrypto");
            let place = if own {
                Path::new(LIBRARIES).join(name)
            } else {
                library.clone()
            };
            take(&library, &place, &root);
        }
    }
    // The log is read from outside, so it lies on a mount that both sides have.
    std::os::unix::fs::symlink("/log/access.log", root.join("srv/access.log")).expect("a link can be made");
    let script = format!(
        "set -e
        mkdir {0}/room
        mount -t tmpfs none {0}/room
        cp -a {0}/root/. {0}/room
        mkdir {0}/room/log
        mount --bind {0} {0}/room/log
        mount -t proc none {0}/room/proc
        cd {0}/room
        pivot_root . old
        cd /
        umount -l /old
        LD_LIBRARY_PATH={LIBRARIES} exec {1} -c /srv/nginx.conf -p /srv -e /srv/error.log",
        directory.path().display(),
        need::which("nginx")
            .expect("the test said that it needs nginx")
            .display(),
    );
    let mut command = Command::new(need::which("unshare").expect("the test said that it needs unshare"));
    command.args(["--mount", "/bin/sh", "-c", &script]);
    nginx::Nginx::running(command, ports, certificate, directory)
}

/// Copies a file to its place below the root; where links lead, the file itself.
fn take(file: &Path, place: &Path, root: &Path) {
    let to = root.join(place.strip_prefix("/").unwrap_or(place));
    std::fs::create_dir_all(to.parent().expect("a file lies somewhere")).expect("a directory can be made");
    std::fs::copy(file, &to).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// The libraries of a program, its loader among them.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let mut command = Command::new("ldd");
    command.arg(program);
    let said = run(command);
    let words = said.out.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}
