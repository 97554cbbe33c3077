//! The file that is meant: a path, a program as the shell finds it, or a library as the loader does (ld.so(8)).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the loader looks if its cache does not help.
const FOLDERS: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
/// What the loader's tool wrote down of all libraries (ldconfig(8)).
const CACHE: &str = "/etc/ld.so.cache";
/// Larger than any.
const CACHE_BYTES: u64 = 64 << 20;

/// Why there is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Nothing is there.
    #[error("there is no file {0}")]
    Missing(PathBuf),
    /// Something else is there.
    #[error("{0} is no file")]
    NoFile(PathBuf),
    /// No library is called so.
    #[error("the loader would find no library {0}: neither its cache nor its folders have it (give a path)")]
    NoLibrary(String),
    /// No program is called so.
    #[error("there is no program {0} in PATH (give a path)")]
    NoProgram(String),
}

/// The file of this name. It need not run, nor be loaded.
///
/// # Errors
/// [`FileError`]
pub fn find(name: &str) -> Result<PathBuf, FileError> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(path.canonicalize().unwrap_or(path)),
            Ok(_) => Err(FileError::NoFile(path)),
            Err(_) => Err(FileError::Missing(path)),
        };
    }
    let is_file = |path: &PathBuf| path.is_file();
    if name.contains(".so") {
        let cached = || {
            let small = fs::metadata(CACHE).is_ok_and(|metadata| metadata.len() <= CACHE_BYTES);
            let cache = if small { fs::read(CACHE).ok()? } else { return None };
            in_cache(&cache, name).map(PathBuf::from).filter(is_file)
        };
        let in_folders = || FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(is_file);
        let found = cached().or_else(in_folders);
        return found.ok_or_else(|| FileError::NoLibrary(name.to_owned()));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(is_file);
    found.ok_or_else(|| FileError::NoProgram(name.to_owned()))
}

/// The path that the loader's cache has for a library of this machine (`struct cache_file_new`, sysdeps/generic/dl-cache.h
/// of glibc).
fn in_cache<'a>(cache: &'a [u8], name: &str) -> Option<&'a str> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const HEADER: usize = 48;
    const ENTRY: usize = 24;
    /// `FLAG_X8664_LIB64 | FLAG_ELF_LIBC6`
    const X86_64: u32 = 0x0303;
    // An older cache may stand before it.
    let begin = memchr::memmem::find(cache, MAGIC)?;
    let cache = &cache[begin..];
    let number = |at: usize| Some(u32::from_le_bytes(*cache.get(at..)?.first_chunk()?));
    let text = |at: u32| {
        let rest = cache.get(usize::try_from(at).ok()?..)?;
        std::str::from_utf8(&rest[..memchr::memchr(0, rest)?]).ok()
    };
    let count = usize::try_from(number(MAGIC.len())?).ok()?;
    (0..count)
        .map_while(|index| Some((index, number(HEADER + index * ENTRY)?)))
        .find_map(|(index, flags)| {
            let entry = HEADER + index * ENTRY;
            (flags == X86_64 && text(number(entry + 4)?)? == name).then(|| text(number(entry + 8)?))?
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_cache_has_a_librarys_path() {
        let (names, entries) = (b"libc.so.6\0/lib/libc.so.6\0/lib32/libc.so.6\0", 2u32);
        let strings = 48 + 24 * entries;
        let mut cache = b"glibc-ld.so.cache1.1".to_vec();
        cache.extend(entries.to_le_bytes());
        cache.extend([0; 24]);
        for (flags, path) in [(0x0803u32, 26), (0x0303, 10)] {
            for number in [flags, strings, strings + path, 0, 0, 0] {
                cache.extend(number.to_le_bytes());
            }
        }
        cache.extend(names);
        assert_eq!(in_cache(&cache, "libc.so.6"), Some("/lib/libc.so.6"));
        assert_eq!(in_cache(&cache, "libm.so.6"), None);
        for end in 0..cache.len() {
            let _no_panic = in_cache(&cache[..end], "libc.so.6");
        }
    }

    #[test]
    fn files_are_found_as_the_shell_and_the_loader_do() {
        let libc = find("libc.so.6").expect("the loader has the C library");
        assert!(libc.is_file(), "{}", libc.display());
        assert!(find("sh").is_ok());
        assert_eq!(find("/no/such"), Err(FileError::Missing("/no/such".into())));
        assert_eq!(find("/"), Err(FileError::NoFile("/".into())));
        assert_eq!(
            find("libnone.so.9"),
            Err(FileError::NoLibrary("libnone.so.9".to_owned()))
        );
        assert_eq!(
            find("no-such-program"),
            Err(FileError::NoProgram("no-such-program".to_owned()))
        );
    }
}
