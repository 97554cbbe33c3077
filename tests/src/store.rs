//! Databases and caches, each with data of its own that goes with it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::free_port;
use crate::child::{Child, Workdir, run};
use crate::nginx::wait_for_port;
use crate::{need, wait};

/// A running server.
#[derive(Debug)]
pub struct Store {
    // Ends before its directory goes.
    child: Child,
    port: u16,
    directory: Workdir,
}

/// Where Debian puts `PostgreSQL`'s programs of the newest version that is installed.
pub fn postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.flatten().map(|entry| entry.path().join("bin"));
    folders.filter(|folder| folder.join("postgres").exists()).max()
}

/// A program of `PostgreSQL`.
///
/// # Panics
/// If it is not installed.
pub fn postgresql_program(name: &str) -> Command {
    Command::new(postgresql().expect("the test said that it needs PostgreSQL").join(name))
}

/// The number of a user and its group.
fn user(name: &str) -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("there are users");
    let line = users.lines().find(|line| line.split(':').next() == Some(name));
    let numbers: Vec<u32> = line
        .into_iter()
        .flat_map(|line| line.split(':').skip(2).take(2))
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [user, group] => (user, group),
        _ => panic!("there is no user {name}: its package makes one"),
    }
}

/// As this user, who owns the directory from now on: these servers refuse to run as root.
fn as_user(command: &mut Command, name: &str, directory: &Path) {
    let (user, group) = user(name);
    std::os::unix::fs::chown(directory, Some(user), Some(group)).expect("root can give a directory away");
    command.uid(user).gid(group).current_dir(directory);
}

impl Store {
    /// Redis, without a file.
    ///
    /// # Panics
    /// If it is not installed or does not get ready in time.
    #[track_caller]
    pub fn redis() -> Self {
        let port = free_port();
        let mut command = Command::new(need::which("redis-server").expect("the test said that it needs Redis"));
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(port.to_string());
        Self::start("redis", command, port, Workdir::new())
    }

    /// Memcached.
    ///
    /// # Panics
    /// If it is not installed or does not get ready in time.
    #[track_caller]
    pub fn memcached() -> Self {
        let port = free_port();
        let mut command = Command::new(need::which("memcached").expect("the test said that it needs memcached"));
        command
            .args(["-u", "nobody", "-l", "127.0.0.1", "-p"])
            .arg(port.to_string());
        Self::start("memcached", command, port, Workdir::new())
    }

    /// `PostgreSQL`; anybody on this host is `postgres` without a password.
    ///
    /// # Panics
    /// If it is not installed or does not get ready in time.
    #[track_caller]
    pub fn postgresql() -> Self {
        let (port, directory) = (free_port(), Workdir::new());
        let data = directory.join("data");
        let mut make = postgresql_program("initdb");
        make.args([
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ])
        .arg(&data);
        as_user(&mut make, "postgres", directory.path());
        let said = run(make);
        assert_eq!(said.code, Some(0), "initdb: {}", said.error);
        let mut command = postgresql_program("postgres");
        command
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=200",
            ])
            .args(["-c", &format!("unix_socket_directories={}", directory.path().display())])
            .args(["-p", &port.to_string()]);
        as_user(&mut command, "postgres", directory.path());
        let mut store = Self::start("postgresql", command, port, directory);
        store.until("it answers", || {
            let mut ask = postgresql_program("psql");
            ask.args(["-h", "127.0.0.1", "-U", "postgres", "-c", "SELECT 1", "-p"])
                .arg(port.to_string());
            ask
        });
        store
    }

    /// `MariaDB`; anybody on this host is `root` without a password.
    ///
    /// # Panics
    /// If it is not installed or does not get ready in time.
    #[track_caller]
    pub fn mariadb() -> Self {
        let (port, directory) = (free_port(), Workdir::new());
        let data = directory.join("data");
        std::fs::create_dir(&data).expect("a directory can be made");
        let mut make = Command::new(need::which("mariadb-install-db").expect("the test said that it needs MariaDB"));
        make.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ])
        .arg(format!("--datadir={}", data.display()));
        as_user(&mut make, "mysql", &data);
        as_user(&mut make, "mysql", directory.path());
        let said = run(make);
        assert_eq!(said.code, Some(0), "mariadb-install-db: {}{}", said.out, said.error);
        let mut command = Command::new(need::which("mariadbd").expect("the test said that it needs MariaDB"));
        command
            .args(["--no-defaults", "--bind-address=127.0.0.1", "--max-connections=200"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", directory.join("socket").display()))
            .arg(format!("--port={port}"));
        as_user(&mut command, "mysql", directory.path());
        let mut store = Self::start("mariadb", command, port, directory);
        store.until("it answers", || {
            let mut ask = Command::new("mariadb");
            ask.args(["-h", "127.0.0.1", "-u", "root", "-e", "SELECT 1", "-P"])
                .arg(port.to_string());
            ask
        });
        store
    }

    #[track_caller]
    fn start(name: &str, command: Command, port: u16, directory: Workdir) -> Self {
        let mut child = Child::start(name, command, directory.path());
        wait_for_port(&mut child, port);
        Self { child, port, directory }
    }

    #[track_caller]
    fn until(&mut self, what: &str, ask: impl Fn() -> Command) {
        wait::wait_until(wait::START, what, || {
            assert!(self.child.try_wait().is_none(), "it ended instead");
            (run(ask()).code == Some(0)).then_some(())
        });
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its (first) process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// A file beside its data.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
