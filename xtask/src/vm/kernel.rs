//! Debian's kernels, from the suite that each belongs to, without touching this machine's package sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::apt::{self, Apt};
use crate::{command, places};

/// A line of kernels that we test on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 11 (bullseye).
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12 (bookworm).
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13 (trixie).
    #[value(name = "6.12")]
    V6_12,
    /// Debian's newest (sid).
    #[value(name = "sid")]
    Sid,
}

/// An unpacked kernel.
pub(crate) struct Files {
    /// The bootable image.
    pub(crate) image: PathBuf,
    /// `lib/modules/VERSION`.
    pub(crate) modules: PathBuf,
    /// The kernel's full version.
    pub(crate) version: String,
    /// Where files made from it are kept.
    pub(crate) folder: PathBuf,
}

/// The package that depends on the newest kernel of a suite. The plain kernel: the cloud one lacks 9p.
const NEWEST: &str = "linux-image-amd64";
/// What the kernel's packages are called; sid splits the image and its modules.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

impl Kernel {
    /// All lines, oldest first.
    pub(crate) const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::Sid];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Sid => "sid",
        }
    }

    fn suite(self) -> &'static str {
        match self {
            Self::V5_10 => "bullseye",
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::Sid => "sid",
        }
    }

    /// The kernel's files, downloaded (about 100 MB) the first time. Removing the folder brings the suite's newest.
    pub(crate) fn fetch(self) -> Result<Files> {
        let folder = places::kernels().join(self.name());
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let lock = fs::File::create(folder.join("lock")).context("cannot create the lock")?;
        lock.lock().context("cannot lock the kernel's folder")?;
        if let Some(files) = unpacked(&folder) {
            return Ok(files);
        }
        println!(
            "kernel {}: downloading the newest of Debian {} into {}",
            self.name(),
            self.suite(),
            folder.display()
        );
        let fetched = apt::from_suite(self.suite(), &folder.join("apt"), |apt| {
            unpack(apt, &folder.join("root"))
        });
        fetched.with_context(|| format!("no kernel {}", self.name()))?;
        unpacked(&folder).with_context(|| format!("no kernel and modules in what was unpacked to {}", folder.display()))
    }
}

/// The newest kernel of the suite, with its modules.
fn unpack(apt: &Apt, root: &Path) -> Result<()> {
    let mut packages = vec![NEWEST.to_owned()];
    let mut parts = Vec::new();
    while let Some(package) = packages.pop() {
        let text = command::read(apt.command("apt-cache").args(["show", "--no-all-versions", &package]))?;
        let found = depends(&text).filter(|name| PARTS.iter().any(|part| name.starts_with(part)));
        packages.extend(found.map(str::to_owned));
        parts.push(package);
    }
    apt.unpack(&parts[1..], root)
}

fn unpacked(folder: &Path) -> Option<Files> {
    let root = folder.join("root");
    // Newer packages have merged /usr.
    let libraries = ["lib/modules", "usr/lib/modules"].map(|library| root.join(library));
    let modules = libraries
        .iter()
        .find_map(|library| fs::read_dir(library).ok()?.flatten().next())?
        .path();
    let version = modules.file_name()?.to_str()?.to_owned();
    let images = [
        root.join("boot").join(format!("vmlinuz-{version}")),
        modules.join("vmlinuz"),
    ];
    let image = images.into_iter().find(|image| image.is_file())?;
    Some(Files {
        image,
        modules,
        version,
        folder: folder.to_owned(),
    })
}

/// The names in the first `Depends:` line.
fn depends(package: &str) -> impl Iterator<Item = &str> {
    let line = package
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))
        .unwrap_or_default();
    line.split([',', '|'])
        .filter_map(|alternative| alternative.split_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_lose_versions_and_alternatives() {
        let text = "Package: a\nDepends: kmod, linux-base (>= 4.3), dracut | initramfs-tools (>= 0.120)\n";
        let names: Vec<_> = depends(text).collect();
        assert_eq!(names, ["kmod", "linux-base", "dracut", "initramfs-tools"]);
    }
}
