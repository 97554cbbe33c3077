//! Who a process is: looked up in `/proc` when its first connection comes into view, and put into the record stream
//! before that connection's open record, so that what follows needs no `/proc`.
//!
//! A process that ended in the meantime is not found; the open record's thread name is then all there is.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use hashbrown::HashMap;
use perf_common::record::{self, ProcessRecord, Record, kind};

/// Processes that are remembered; when there are more, all are forgotten and looked up anew.
const MAX_PROCESSES: usize = 16_384;
/// After this time a known process is looked at again: its end may have been missed and its number be used anew.
const FRESH_NS: u64 = 60_000_000_000;
/// Longest text that is taken over (`PATH_MAX`).
const MAX_TEXT_BYTES: usize = 4096;

/// The processes seen so far.
#[derive(Debug)]
pub struct Processes {
    proc: PathBuf,
    known: HashMap<u32, Known>,
    record: Vec<u8>,
}

#[derive(Debug)]
struct Known {
    looked_ns: u64,
    /// Fingerprint of what was found, so that only news are told.
    found: u64,
}

impl Default for Processes {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Processes {
    /// With `/proc` somewhere else.
    pub fn at(proc: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
            known: HashMap::new(),
            record: Vec::new(),
        }
    }

    /// The process record to put before this one, if it is the first of a process, or of a new program in it.
    pub fn before(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        // Nearly all records are data: one comparison.
        let kind = u16::from_le_bytes([*bytes.first()?, *bytes.get(1)?]);
        if kind != kind::OPEN && kind != kind::EXIT {
            return None;
        }
        match record::decode(bytes).ok()? {
            Record::Exit(exit) => {
                self.known.remove(&exit.tgid);
                None
            }
            Record::Open(open) => self.look(open.tgid, open.header.at_ns),
            _ => None,
        }
    }

    fn look(&mut self, tgid: u32, at_ns: u64) -> Option<&[u8]> {
        let known = self.known.get(&tgid);
        if known.is_some_and(|known| at_ns.saturating_sub(known.looked_ns) < FRESH_NS) {
            return None;
        }
        let before = known.map(|known| known.found);
        let directory = self.proc.join(tgid.to_string());
        let exe = fs::read_link(directory.join("exe")).map(|path| path.as_os_str().as_bytes().to_vec());
        let comm = read(&directory.join("comm"));
        let cgroup = read(&directory.join("cgroup"));
        // A kernel thread has a name and no executable; a process that is gone has neither.
        let comm = comm.ok()?;
        let (exe, cgroup) = (exe.unwrap_or_default(), cgroup.unwrap_or_default());
        let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
        let texts = [&exe[..], comm, control_group(&cgroup)].map(|text| &text[..text.len().min(MAX_TEXT_BYTES)]);
        if self.known.len() >= MAX_PROCESSES {
            self.known.clear();
        }
        let found = fingerprint(texts);
        self.known.insert(
            tgid,
            Known {
                looked_ns: at_ns,
                found,
            },
        );
        if before == Some(found) {
            return None;
        }
        let [exe, comm, cgroup] = texts.map(|text| u16::try_from(text.len()).unwrap_or(0));
        self.record.clear();
        self.record
            .extend(ProcessRecord::new(tgid, at_ns, exe, comm, cgroup).to_bytes());
        for text in texts {
            self.record.extend(text);
        }
        Some(&self.record)
    }
}

fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_TEXT_BYTES as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn fingerprint(texts: [&[u8]; 3]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    hasher.finish()
}

/// The path in the unified hierarchy (`0::/…`); where that is the root, the one in systemd's own (`1:name=systemd:/…`),
/// since a machine that still runs the old hierarchies has the services there.
fn control_group(file: &[u8]) -> &[u8] {
    let mut unified = &b""[..];
    for line in file.split(|&byte| byte == b'\n') {
        // number : controllers : path
        let mut fields = line.splitn(3, |&byte| byte == b':').skip(1);
        match (fields.next(), fields.next()) {
            (Some(b"name=systemd"), Some(path)) if unified.len() <= 1 => return path,
            (Some(b""), Some(path)) if path.len() > 1 => return path,
            (Some(b""), Some(path)) => unified = path,
            _ => {}
        }
    }
    unified
}

#[cfg(test)]
mod tests {
    use super::*;
    use perf_common::record::{ExitRecord, RecordHeader};
    use std::path::Path;

    fn open(tgid: u32, at_ns: u64) -> Vec<u8> {
        crate::synthetic::open(1, tgid, at_ns, 0).to_bytes().to_vec()
    }

    fn write(proc: &Path, tgid: u32, exe: &str, comm: &str, cgroup: &str) {
        let directory = proc.join(tgid.to_string());
        drop(fs::remove_dir_all(&directory));
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink(exe, directory.join("exe")).unwrap();
        fs::write(directory.join("comm"), format!("{comm}\n")).unwrap();
        fs::write(directory.join("cgroup"), cgroup).unwrap();
    }

    #[track_caller]
    fn check(record: Option<&[u8]>, expected: Option<(&str, &str, &str)>) {
        let found = record.map(|bytes| match record::decode(bytes) {
            Ok(Record::Process { exe, comm, cgroup, .. }) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(exe), text(comm), text(cgroup))
            }
            other => panic!("{other:?}"),
        });
        let expected = expected.map(|(exe, comm, cgroup)| (exe.to_owned(), comm.to_owned(), cgroup.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_process_is_told_once_and_again_after_an_exec_or_a_minute() {
        let proc = tempfile::tempdir().unwrap();
        let mut processes = Processes::at(proc.path());
        check(processes.before(&open(7, 0)), None); // gone before it could be looked at
        write(proc.path(), 7, "/bin/sh", "sh", "0::/system.slice/a.service\n");
        check(
            processes.before(&open(7, 0)),
            Some(("/bin/sh", "sh", "/system.slice/a.service")),
        );
        write(proc.path(), 7, "/bin/nginx", "nginx", "0::/system.slice/a.service\n");
        check(processes.before(&open(7, 1)), None);
        let header = RecordHeader {
            kind: kind::EXIT,
            flags: 0,
            size: 24,
            at_ns: 2,
        };
        check(
            processes.before(
                &ExitRecord {
                    header,
                    tgid: 7,
                    what: 1,
                }
                .to_bytes(),
            ),
            None,
        );
        check(
            processes.before(&open(7, 2)),
            Some(("/bin/nginx", "nginx", "/system.slice/a.service")),
        );
        check(processes.before(&open(7, FRESH_NS + 2)), None); // looked at again, nothing new
        write(proc.path(), 7, "/bin/other", "other", "");
        check(
            processes.before(&open(7, 2 * FRESH_NS + 2)),
            Some(("/bin/other", "other", "")),
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let proc = tempfile::tempdir().unwrap();
        let mut processes = Processes::at(proc.path());
        write(proc.path(), 0, "/a", "a", "");
        for tgid in 1..=u32::try_from(MAX_PROCESSES).unwrap() {
            processes.known.insert(tgid, Known { looked_ns: 0, found: 0 });
        }
        check(processes.before(&open(0, 0)), Some(("/a", "a", "")));
        assert_eq!(processes.known.len(), 1);
    }

    #[test]
    fn the_control_group_is_that_of_the_service() {
        assert_eq!(
            control_group(b"0::/system.slice/x.service\n"),
            b"/system.slice/x.service"
        );
        assert_eq!(
            control_group(b"12:cpu:/\n1:name=systemd:/a.service\n0::/\n"),
            b"/a.service"
        );
        assert_eq!(control_group(b"0::/\n"), b"/");
        assert_eq!(control_group(b""), b"");
    }
}
