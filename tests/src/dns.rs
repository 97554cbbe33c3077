//! A name server on an address of its own, which says what it was asked, and programs that ask it as theirs.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::child::{Child, Workdir};
use crate::python::{self, SYSTEM};
use crate::wait;

/// Where it listens, on the port that resolvers ask.
pub const ADDRESS: &str = "127.0.53.1";
/// See [`ADDRESS`].
pub const PORT: u16 = 53;

/// A running server, of `servers/dns.py`.
#[derive(Debug)]
pub struct Dns {
    // Ends before its directory goes.
    child: Child,
    directory: Workdir,
}

impl Dns {
    /// Starts it.
    ///
    /// # Panics
    /// If it does not get ready in time.
    #[track_caller]
    pub fn start() -> Self {
        let directory = Workdir::new();
        let file = directory.join("resolv.conf");
        fs::write(file, format!("nameserver {ADDRESS}\noptions timeout:2 attempts:1\n"))
            .expect("a file can be written");
        let mut command = Command::new(SYSTEM);
        command.arg(python::source("dns.py")).args([ADDRESS, &PORT.to_string()]);
        let mut child = Child::start("dns", command, directory.path());
        wait::wait_until(wait::START, "a name server listens", || {
            assert!(child.try_wait().is_none(), "the server ended instead of listening");
            child.log().starts_with("ready\n").then_some(())
        });
        Self { child, directory }
    }

    /// How often it was asked for what (`A a.test`), so far.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        let mut asked = BTreeMap::new();
        for line in self.child.log().lines().skip(1) {
            *asked.entry(line.to_owned()).or_default() += 1;
        }
        asked
    }

    /// A program of which this is the name server: with a file of its own over `/etc/resolv.conf`, in its own namespace.
    pub fn asked_by(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "sh",
                "-c",
                "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"",
            ])
            .arg(self.directory.join("resolv.conf"))
            .arg(program);
        command
    }
}
