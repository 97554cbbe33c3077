//! Programs of an older Debian that the tests observe, unpacked into the cache: nothing of them is installed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::need::{Need, Remedy};
use crate::{apt, places};

/// The release that has them.
const SUITE: &str = "bullseye";

/// Packages that are unpacked to one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Old {
    /// The place, in the cache.
    name: &'static str,
    packages: &'static [&'static str],
    why: &'static str,
}

/// nginx and its regular expressions come with the library that they are made for; of all else that they need any Debian
/// has the same. Go needs nothing.
const OLD: [Old; 2] = [
    Old {
        name: "openssl-1.1.1",
        packages: &["openssl", "libssl1.1", "nginx-light", "libpcre3"],
        why: "a server and client over TLS, by OpenSSL 1.1.1",
    },
    Old {
        name: "go-1.15",
        packages: &["golang-1.15-go", "golang-1.15-src"],
        why: "a server and client over TLS, by a Go that passes arguments on the stack",
    },
];

/// What is missing of them.
pub(crate) fn needs() -> Vec<Need> {
    let missing = OLD.into_iter().filter(|old| !old.root().is_dir());
    missing
        .map(|old| Need {
            what: old.name.to_owned(),
            why: old.why,
            remedy: Remedy::Unpacked(old),
        })
        .collect()
}

impl Old {
    /// Where they lie.
    fn root(self) -> PathBuf {
        places::cache().join(self.name)
    }

    /// Downloads and unpacks them.
    pub(crate) fn fetch(self) -> Result<()> {
        let root = self.root();
        let folder = places::cache().join(format!("{}.apt", self.name));
        fs::create_dir_all(places::cache()).context("cannot create the cache")?;
        apt::from_suite(SUITE, &folder, |apt| apt.unpack(self.packages, &root))
            .with_context(|| format!("no {}", self.name))
    }

    /// What [`Self::fetch`] does, for those who would do it themselves.
    pub(crate) fn shown(self) -> String {
        let (packages, root) = (self.packages.join(" "), self.root());
        format!(
            "apt-get download {packages} (of Debian {SUITE}), then dpkg --extract each to {}",
            root.display()
        )
    }
}
