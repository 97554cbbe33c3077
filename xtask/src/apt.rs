//! apt with its own package sources, lists and cache: reads a suite that this machine's sources do not name, and leaves
//! those as they are.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where Debian's packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    main: String,
    security: String,
}

impl Default for Mirrors {
    /// For machines whose own sources name no Debian mirror, or one without the suite.
    fn default() -> Self {
        Self {
            main: "http://deb.debian.org/debian".to_owned(),
            security: "http://deb.debian.org/debian-security".to_owned(),
        }
    }
}

impl Mirrors {
    /// Those that this machine's sources use for Debian itself.
    pub(crate) fn of_machine() -> Self {
        let sources = command::read(
            Command::new("apt-get")
                .args(["indextargets", "--format"])
                .args(["$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]),
        );
        Self::of(&sources.unwrap_or_default())
    }

    /// From release, component and URI per line.
    fn of(sources: &str) -> Self {
        let mut found = Self::default();
        let releases = [
            "bullseye",
            "bookworm",
            "trixie",
            "forky",
            "sid",
            "stable",
            "oldstable",
            "testing",
            "unstable",
        ];
        let rows: Vec<Vec<&str>> = sources
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|row| row.len() == 3 && row[1] == "main")
            .collect();
        if let Some(row) = rows.iter().find(|row| releases.contains(&row[0])) {
            row[2].clone_into(&mut found.main);
        }
        if let Some(row) = rows.iter().find(|row| {
            row[0]
                .strip_suffix("-security")
                .is_some_and(|name| releases.contains(&name))
        }) {
            row[2].clone_into(&mut found.security);
        }
        found
    }
}

/// What apt is to know of the packages that are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// As it is: to install something.
    AsItIs,
    /// Nothing: to download something that belongs to another system.
    Nothing,
}

/// Takes something from a release of Debian that need not be this machine's, by the machine's own mirrors or, where these
/// do not have it, by Debian's. `folder` is cleared before and removed after.
pub(crate) fn from_suite(suite: &str, folder: &Path, take: impl Fn(&Apt) -> Result<()>) -> Result<()> {
    let security = format!("{suite}-security");
    let suites = [suite, &security];
    let suites = if suite == "sid" { &suites[..1] } else { &suites };
    let taken = |mirrors: &Mirrors| -> Result<()> {
        let apt = Apt::new(folder.to_owned(), suites, mirrors, Installed::Nothing)?;
        command::run(apt.command("apt-get").args(["update", "--quiet"]))?;
        take(&apt)
    };
    let mirrors = Mirrors::of_machine();
    match taken(&mirrors) {
        Err(_) if mirrors != Mirrors::default() => taken(&Mirrors::default()),
        done => done,
    }?;
    fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))
}

/// See the module.
pub(crate) struct Apt {
    /// Everything of its own lies here.
    pub(crate) folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// With sources for these suites, in a folder that is cleared before.
    pub(crate) fn new(folder: PathBuf, suites: &[&str], mirrors: &Mirrors, installed: Installed) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        for below in ["lists/partial", "cache/archives/partial"] {
            let below = folder.join(below);
            fs::create_dir_all(&below).with_context(|| format!("cannot create {}", below.display()))?;
        }
        let signed = if Path::new(KEYRING).is_file() {
            format!("[signed-by={KEYRING}] ")
        } else {
            String::new()
        };
        let mut sources = String::new();
        for suite in suites {
            let mirror = if suite.ends_with("-security") {
                &mirrors.security
            } else {
                &mirrors.main
            };
            writeln!(sources, "deb {signed}{mirror} {suite} main")?;
        }
        fs::write(folder.join("sources.list"), sources).context("cannot write the package sources")?;
        let at = |below: &str| folder.join(below).display().to_string();
        let mut options = vec![
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::Languages=none".to_owned(),
            // The folder is the user's own, which apt's unprivileged downloader cannot enter.
            "APT::Sandbox::User=root".to_owned(),
            "APT::Update::Post-Invoke-Success=".to_owned(),
        ];
        if installed == Installed::Nothing {
            fs::write(folder.join("status"), "").context("cannot write an empty package status")?;
            options.push(format!("Dir::State::status={}", at("status")));
        }
        Ok(Self { folder, options })
    }

    /// A program of apt's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(self.options());
        command
    }

    /// Downloads packages and unpacks them to `root`, which is whole or not there. Nothing of theirs is run, and none of
    /// what they depend on is taken.
    pub(crate) fn unpack(&self, packages: &[impl AsRef<OsStr>], root: &Path) -> Result<()> {
        command::run(
            self.command("apt-get")
                .current_dir(&self.folder)
                .args(["download", "--quiet"])
                .args(packages),
        )?;
        let partial = self.folder.join("root");
        for file in fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "deb") {
                command::run(Command::new("dpkg").arg("--extract").arg(&file).arg(&partial))?;
            }
        }
        fs::rename(&partial, root).with_context(|| format!("cannot put {} in place", root.display()))
    }

    /// What makes a program of apt's look here.
    pub(crate) fn options(&self) -> impl Iterator<Item = &str> {
        self.options.iter().flat_map(|option| ["-o", option])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_mirrors_are_taken() {
        let sources = "nodistro main https://other.example/\nbookworm-updates main http://mirror/debian/\n\
                       bookworm main http://mirror/debian/\nbookworm-security main http://mirror/security/\n";
        assert_eq!(
            Mirrors::of(sources),
            Mirrors {
                main: "http://mirror/debian/".to_owned(),
                security: "http://mirror/security/".to_owned()
            }
        );
    }

    #[test]
    fn without_debian_sources_the_default_is_taken() {
        assert_eq!(Mirrors::of("noble main http://ubuntu.example/\n"), Mirrors::default());
    }
}
