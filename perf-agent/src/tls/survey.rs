//! What every process of the host could speak TLS by: for the operator who asks, before anything is observed.

use std::collections::HashMap;
use std::fs;

use super::coverage::{coverage, followed};
use crate::maps::{FileId, mapped_files};
use crate::probe::uprobes::Way;
use crate::source::TlsCoverage;

/// Every other process that maps a TLS library, or another file with one linked into it, by number, whether it uses it or
/// not. Nothing is probed; `way` is how it would be.
/// Without privileges these are the processes of one's own.
pub fn survey(way: Way) -> Vec<TlsCoverage> {
    let mut known: HashMap<FileId, Vec<TlsCoverage>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let mut all = Vec::new();
    let own = std::process::id();
    for tgid in pids.into_iter().filter(|pid| *pid != own) {
        // Gone, a thread of the kernel, or somebody else's.
        let Ok(files) = mapped_files(tgid) else { continue };
        for mapped in files {
            let Ok((file, metadata)) = mapped.open(tgid) else {
                continue;
            };
            let found = known
                .entry(FileId::of(&metadata))
                .or_insert_with(|| followed(&file, way));
            all.extend(found.iter().map(|found| TlsCoverage {
                path: Some(mapped.path.display().to_string()),
                library: found.library,
                version: found.version.clone(),
                covered: found.covered,
                how: found.how.clone(),
                reason: found.reason.clone(),
                ..coverage(tgid)
            }));
        }
    }
    all
}
