//! The files whose code a process maps (proc(5), `/proc/pid/maps` and `/proc/pid/map_files`).

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Mappings of one process that are looked at; browsers have thousands.
const MAPPINGS: usize = 8_192;

/// Which file: the same for every process, whatever it is called there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// When a file, or what is said of it, was changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    seconds: i64,
    nanoseconds: i64,
}

impl Changed {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            seconds: metadata.ctime(),
            nanoseconds: metadata.ctime_nsec(),
        }
    }
}

/// A file whose code is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappedFile {
    /// The process sees it under this path, or saw it before it was deleted.
    pub(crate) path: PathBuf,
    /// Deleted, or replaced by another file.
    pub(crate) deleted: bool,
    /// Addresses of a mapping, as `/proc/pid/map_files` spells them.
    range: String,
}

impl MappedFile {
    /// The file's name without directories.
    pub(crate) fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// What was added to the file's addresses when it was mapped, if the first part of it that is mapped has this one.
    pub(crate) fn base(&self, pid: u32, first_address: u64) -> Option<u64> {
        let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
        let maps = String::from_utf8_lossy(&maps);
        let ends_so = |line: &&str| line.ends_with(self.path.to_str().unwrap_or("\n"));
        let first = maps.lines().take(MAPPINGS).find(ends_so)?;
        let (begin, _) = first.split_once('-')?;
        let page = first_address & !0xfff;
        u64::from_str_radix(begin, 16).ok()?.checked_sub(page)
    }

    /// Opens the file that is mapped, in whatever mount namespace it lies, and if it was deleted.
    ///
    /// # Errors
    /// Of the operating system: the process is gone, or it may not be looked into.
    pub(crate) fn open(&self, pid: u32) -> io::Result<(File, Metadata)> {
        // The link in `map_files` leads to the file itself. Where that is not allowed, the path does, unless something else
        // is there now.
        let file = File::open(format!("/proc/{pid}/map_files/{}", self.range)).or_else(|error| {
            if self.deleted {
                return Err(error);
            }
            let root = PathBuf::from(format!("/proc/{pid}/root"));
            File::open(root.join(self.path.strip_prefix("/").unwrap_or(&self.path)))
        })?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }
}

/// The files whose code a process maps, each once, the executable among them.
///
/// # Errors
/// Of the operating system: the process is gone, or it may not be looked into.
pub(crate) fn mapped_files(pid: u32) -> io::Result<Vec<MappedFile>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    Ok(parse(&String::from_utf8_lossy(&maps)))
}

/// The executable that a process runs.
pub(crate) fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Where in its file an address of this program's own code lies.
pub(crate) fn own_place(address: u64) -> Option<u64> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).ok());
        let into = address.checked_sub(from?)?;
        let offset = u64::from_str_radix(words.nth(1)?, 16).ok()?;
        (address < to?).then(|| offset + into)
    })
}

/// `address perms offset device inode path`; the path is all that follows, blanks included.
fn parse(maps: &str) -> Vec<MappedFile> {
    let mut files: Vec<MappedFile> = Vec::new();
    for line in maps.lines().take(MAPPINGS) {
        let mut rest = line;
        let mut word = || {
            let (word, after) = rest.split_once(' ')?;
            rest = after.trim_start_matches(' ');
            Some(word)
        };
        let (Some(range), Some(permissions)) = (word(), word()) else {
            continue;
        };
        let (_offset, _device, _inode) = (word(), word(), word());
        if !permissions.contains('x') || !rest.starts_with('/') {
            continue;
        }
        let (path, deleted) = match rest.strip_suffix(" (deleted)") {
            Some(path) => (path, true),
            None => (rest, false),
        };
        let path = Path::new(path);
        if !files.iter().any(|file| file.path == path && file.deleted == deleted) {
            files.push(MappedFile {
                path: path.to_owned(),
                deleted,
                // `map_files` leaves out leading zeros.
                range: range
                    .split('-')
                    .map(|end| end.trim_start_matches('0'))
                    .collect::<Vec<_>>()
                    .join("-"),
            });
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_files_is_found_whatever_they_are_called() {
        let maps = "\
55d0c0a00000-55d0c0a28000 r--p 00000000 08:01 131 /usr/bin/a program
55d0c0a28000-55d0c0b00000 r-xp 00028000 08:01 131                        /usr/bin/a program
7f0000000000-7f0000021000 rw-p 00000000 00:00 0
7f1000000000-7f1000100000 r-xp 00002000 08:01 99                         /usr/lib/libssl.so.3 (deleted)
7f1000200000-7f1000300000 r-xp 00102000 08:01 99                         /usr/lib/libssl.so.3 (deleted)
7f1000400000-7f1000500000 r-xp 00002000 08:01 100                        /usr/lib/libssl.so.3
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
garbage
";
        let files = parse(maps);
        let seen: Vec<_> = files
            .iter()
            .map(|file| (file.name(), file.deleted, file.range.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("a program", false, "55d0c0a28000-55d0c0b00000"),
                ("libssl.so.3", true, "7f1000000000-7f1000100000"),
                ("libssl.so.3", false, "7f1000400000-7f1000500000"),
            ]
        );
    }

    #[test]
    fn this_program_is_found_in_its_own_mappings() {
        let pid = std::process::id();
        let own = std::env::current_exe().expect("the test has a path");
        let files = mapped_files(pid).expect("own mappings can be read");
        let file = files
            .iter()
            .find(|file| file.path == own)
            .expect("the test's code is mapped");
        let (_file, there) = file.open(pid).expect("own file can be opened");
        let here = fs::metadata(own).expect("a file");
        assert_eq!(FileId::of(&there), FileId::of(&here));
        assert_eq!(Changed::of(&there), Changed::of(&here));
    }
}
