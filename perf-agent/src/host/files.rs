//! Files below the root, read into one buffer.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a file that are read; what tells something stands before.
const BYTES: u64 = 1 << 20;

/// Reads files; keeps a buffer for it.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    text: Vec<u8>,
}

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            text: Vec::new(),
        }
    }

    /// Where a path below the root (without `/` before it) is.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// What a file holds. That it is not there, or may not be read, or that its process is gone, is nothing to tell of.
    pub(super) fn read(&mut self, path: &str) -> Option<&[u8]> {
        let file = File::open(self.path(path)).ok()?;
        self.text.clear();
        file.take(BYTES).read_to_end(&mut self.text).ok()?;
        Some(&self.text)
    }
}
