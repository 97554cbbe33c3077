//! How a program is hung on places of a file: all of them by one link where the kernel can do that, or by a perf event each.
//!
//! The kernel wants to know which when the program is loaded, and the loader takes it from the name of its section. So
//! there is one object, and for kernels that know no links of many places its sections are renamed.

use std::borrow::Cow;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};
use memchr::memmem;

use crate::privileges::Purpose;

/// Threads that take probes off.
const DETACHING: usize = 32;

/// How uprobes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One link for all places of a file that have the same program, since Linux 6.6. Needs `CAP_BPF` only; taking one off
    /// waits for every processor once.
    Multi,
    /// A perf event for each place. The kernel takes them off one after the other and waits each time; stable kernels with
    /// the fix of CVE-2025-38466 alone want `CAP_SYS_ADMIN`.
    Single,
}

impl Way {
    /// The newest that the running kernel has.
    pub fn of_this_kernel() -> Self {
        // Links for all processes: that those for one confused threads and processes at first does not matter.
        match is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation) {
            Ok(true) => Self::Multi,
            Ok(false) => Self::Single,
            Err(error) => {
                tracing::debug!(%error, "the kernel does not say whether it has uprobe_multi: taken for one without");
                Self::Single
            }
        }
    }

    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Multi => "uprobe_multi",
            Self::Single => "uprobe",
        }
    }

    /// What the thread that probes has to be allowed.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Multi => Purpose::Probe,
            Self::Single => Purpose::ProbeByPerfEvents,
        }
    }

    /// The object as its programs are to be loaded for it.
    pub fn object(self, object: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Multi => object.into(),
            Self::Single => single(object).into(),
        }
    }
}

/// One of the object's programs that hang on functions of files.
pub(crate) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut UProbe {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .expect("a test holds that every program of the tables is in the object")
}

/// A path by the descriptor: it leads to this very file, whatever becomes of its name.
pub(crate) fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Hangs a program on these places of a file, in the way for which it was loaded. Detached when the link is dropped.
///
/// # Errors
/// If the kernel refuses one of them; then the program hangs on none.
pub(crate) fn hang(program: &mut UProbe, file: &Path, places: &[u64]) -> Result<UProbeLink, ProgramError> {
    let link = program.attach(places, file, UProbeScope::AllProcesses)?;
    program.take_link(link)
}

/// Likewise, and tells the program this number at each of them (`bpf_get_attach_cookie`).
///
/// # Errors
/// As [`hang`].
pub(crate) fn hang_told(
    program: &mut UProbe,
    file: &Path,
    places: &[u64],
    told: u64,
) -> Result<UProbeLink, ProgramError> {
    let points = places.iter().map(|&place| UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(place),
        cookie: Some(told),
    });
    let link = program.attach(points, file, UProbeScope::AllProcesses)?;
    program.take_link(link)
}

/// Takes probes off. The kernel waits for every processor each time it takes off a link, a tenth of a second: those that
/// are taken off at the same time wait for the same.
pub(crate) fn take_off<L: Send>(links: Vec<L>) {
    let each = links.len().div_ceil(DETACHING).max(1);
    let mut links = links.into_iter();
    std::thread::scope(|scope| {
        loop {
            let some: Vec<_> = links.by_ref().take(each).collect();
            if some.is_empty() {
                break;
            }
            scope.spawn(move || drop(some));
        }
    });
}

/// Renames `uprobe.multi` to `uprobe` and `uretprobe.multi` to `uretprobe`, by ending the name sooner: in the table of the
/// sections' names and in that of BTF, which names the sections too.
fn single(object: &[u8]) -> Vec<u8> {
    const ENDING: &[u8] = b"probe.multi\0";
    let mut renamed = object.to_vec();
    for at in memmem::find_iter(object, ENDING) {
        renamed[at + "probe".len()] = 0;
    }
    renamed
}

#[cfg(test)]
mod tests {
    use aya_obj::{Object, ProgramSection};

    use super::*;
    use crate::functions::probes;
    use crate::probe::OBJECT;
    use crate::{tasks, tls::coverage};

    /// Each program of uprobes: its name, whether it is for returns, and whether it is for many places.
    fn uprobes(object: &Object) -> Vec<(String, bool, bool)> {
        let programs = object.programs.iter();
        let mut found: Vec<_> = programs
            .filter_map(|(name, program)| match program.section {
                ProgramSection::UProbe { multi, .. } => Some((name.clone(), false, multi)),
                ProgramSection::URetProbe { multi, .. } => Some((name.clone(), true, multi)),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn an_object_for_single_places_differs_in_the_names_of_sections_only() {
        if OBJECT.is_empty() {
            eprintln!("skipped: built without the BPF object; `cargo xtask test` builds it");
            return;
        }
        let parse = |way: Way| Object::parse(&way.object(OBJECT)).expect("the object parses");
        let (multi, single) = (parse(Way::Multi), parse(Way::Single));
        let expected: Vec<_> = uprobes(&multi)
            .into_iter()
            .map(|(name, returns, for_many)| {
                assert!(for_many, "{name} is in a section of its own");
                (name, returns, false)
            })
            .collect();
        let programs = coverage::PROGRAMS.len() + tasks::PROGRAMS.len() + probes::PROGRAMS.len();
        assert_eq!(expected.len(), programs);
        assert_eq!(uprobes(&single), expected);

        for (key, function) in &multi.functions {
            let other = &single.functions[key];
            assert_eq!(
                function.instructions.len(),
                other.instructions.len(),
                "{}",
                function.name
            );
            // Found by the section's name in BTF; without it the kernel knows no function by its name.
            assert_eq!(
                (function.func_info_rec_size, function.func_info.func_info.len()),
                (other.func_info_rec_size, other.func_info.func_info.len()),
                "{}",
                function.name
            );
        }
    }
}
