//! What the running kernel's BTF tells: where fields lie, how many arguments functions take, which helpers and
//! tracepoints there are. Read once at start; the parsed form takes tens of megabytes, so only answers are kept.

use std::collections::HashMap;
use std::path::Path;

use btfparse::{Integer32Value, Offset, Readable, TypeInformation, TypeVariant};
use perf_common::settings::offset;

/// Where the kernel shows its own type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why nothing can be learnt.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file is not there or cannot be read.
    #[error("cannot read {VMLINUX}")]
    Read(#[source] std::io::Error),
    /// It is no BTF.
    #[error("cannot parse {VMLINUX}: {0}")]
    Parse(String),
    /// A structure or field without which nothing works is missing.
    #[error("this kernel has no {structure}.{path}")]
    Field {
        /// The structure.
        structure: &'static str,
        /// The field.
        path: &'static str,
    },
}

/// Answers from the running kernel's BTF.
#[derive(Clone, Debug)]
pub struct KernelTypes {
    /// The `OFFSETS` global, see [`offset`].
    pub offsets: [u32; offset::COUNT],
    /// Number of arguments of each asked-for function that exists.
    arguments: HashMap<&'static str, usize>,
    /// Names of the asked-for helpers and tracepoints that exist.
    present: Vec<&'static str>,
}

/// Functions whose number of arguments matters or whose existence is asked.
const FUNCTIONS: [&str; 8] = [
    "tcp_sendmsg",
    "tcp_sendpage",
    "unix_stream_sendpage",
    "tcp_recvmsg",
    "unix_stream_sendmsg",
    "unix_stream_recvmsg",
    "sock_def_readable",
    "unix_release_sock",
];

/// Typedefs of tracepoints and enumerators of helpers whose existence is asked.
const NAMES: [&str; 11] = [
    "btf_trace_sock_send_length",
    "btf_trace_sock_recv_length",
    "btf_trace_sk_data_ready",
    "btf_trace_inet_sock_set_state",
    "btf_trace_tcp_destroy_sock",
    "btf_trace_sched_process_fork",
    "btf_trace_sched_process_exec",
    "btf_trace_sched_process_exit",
    "BPF_FUNC_task_pt_regs",
    "BPF_FUNC_get_attach_cookie",
    "BPF_FUNC_skc_to_tcp_sock",
];

/// Fields that some supported kernels lack (built without `io_uring`, without control groups, without one controller);
/// the code that reads them asks first.
const OPTIONAL: [usize; 6] = [
    offset::TASK_IO_URING,
    offset::TASK_CGROUPS,
    offset::CGROUPS_DEFAULT,
    offset::CGROUPS_PIDS,
    offset::SUBSYSTEM_CGROUP,
    offset::CGROUP_NODE,
];

/// Paths that mean the same field in some kernels.
const RENAMED: [(usize, &str); 1] = [(offset::NODE_PARENT, "__parent")]; // since 6.15

/// Place of the `pids` controller among the others, which differs by what a kernel was built with.
const PIDS: &str = "pids_cgrp_id";

impl KernelTypes {
    /// Reads the running kernel's.
    ///
    /// # Errors
    /// [`BtfError`] if there is no BTF or it lacks what everything needs.
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        Self::read(Path::new(VMLINUX))
    }

    /// Reads a BTF file.
    ///
    /// # Errors
    /// As in [`Self::of_running_kernel`].
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let bytes = std::fs::read(path).map_err(BtfError::Read)?;
        let types =
            TypeInformation::new(&InMemory(&bytes)).map_err(|error| BtfError::Parse(error.message().to_owned()))?;
        let mut structures: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut found = Self {
            offsets: [offset::ABSENT; offset::COUNT],
            arguments: HashMap::new(),
            present: Vec::new(),
        };
        let mut pids = String::new();
        for (&id, variant) in types.get() {
            match variant {
                TypeVariant::Struct(structure) => {
                    if let Some(name) = structure.name()
                        && let Some((known, _)) = offset::FIELDS.iter().find(|(known, _)| known == name)
                    {
                        structures.entry(known).or_default().push(id);
                    }
                }
                TypeVariant::Func(function) => {
                    if let Some(name) = function.name()
                        && let Some(known) = FUNCTIONS.iter().find(|known| *known == name)
                        && let Some(TypeVariant::FuncProto(proto)) = types.get().get(function.prototype_tid())
                    {
                        found.arguments.insert(known, proto.parameter_list().len());
                    }
                }
                TypeVariant::Typedef(typedef) => found.note(typedef.name().as_deref()),
                TypeVariant::Enum(helpers) if helpers.name().as_deref() == Some("bpf_func_id") => {
                    for helper in helpers.named_value_list() {
                        found.note(Some(&helper.name));
                    }
                }
                TypeVariant::Enum(controllers) if controllers.name().as_deref() == Some("cgroup_subsys_id") => {
                    for controller in controllers.named_value_list() {
                        if controller.name == PIDS
                            && let Integer32Value::Unsigned(place) = controller.value
                        {
                            pids = place.to_string();
                        }
                    }
                }
                _ => {}
            }
        }
        for (index, (structure, path)) in offset::FIELDS.into_iter().enumerate() {
            let ids = structures.get(structure).map_or(&[][..], Vec::as_slice);
            let other = RENAMED.iter().find(|(known, _)| *known == index).map(|(_, path)| *path);
            let paths = [path.replace(PIDS, &pids), other.unwrap_or(path).to_owned()];
            let mut places = ids.iter().flat_map(|id| paths.iter().map(move |path| (*id, path)));
            let place = places.find_map(|(id, path)| match types.offset_of(id, path) {
                Ok((_, Offset::ByteOffset(bytes))) => Some(bytes),
                Ok((_, Offset::BitOffsetAndSize(..))) | Err(_) => None,
            });
            match place {
                Some(bytes) => found.offsets[index] = bytes,
                None if OPTIONAL.contains(&index) => {}
                None => return Err(BtfError::Field { structure, path }),
            }
        }
        Ok(found)
    }

    fn note(&mut self, name: Option<&str>) {
        if let Some(known) = NAMES.iter().find(|known| Some(**known) == name) {
            self.present.push(known);
        }
    }

    /// Arguments of a kernel function, `None` if there is no such function.
    pub fn arguments(&self, function: &str) -> Option<usize> {
        self.arguments.get(function).copied()
    }

    /// Is there such a BTF tracepoint?
    pub fn tracepoint(&self, name: &str) -> bool {
        self.present
            .iter()
            .any(|present| present.strip_prefix("btf_trace_") == Some(name))
    }

    /// Is there such a helper?
    pub fn helper(&self, name: &str) -> bool {
        self.present
            .iter()
            .any(|present| present.strip_prefix("BPF_FUNC_") == Some(name))
    }
}

/// BTF bytes in memory, as the parser wants them.
struct InMemory<'a>(&'a [u8]);

impl Readable for InMemory<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let source = start.checked_add(buffer.len()).and_then(|end| self.0.get(start..end));
        let Some(source) = source else {
            return Err(btfparse::Error::new(
                btfparse::ErrorKind::IOError,
                "read beyond the end",
            ));
        };
        buffer.copy_from_slice(source);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field() {
        if !Path::new(VMLINUX).exists() {
            eprintln!("skipped: this kernel has no BTF ({VMLINUX})");
            return;
        }
        let types = KernelTypes::of_running_kernel().expect("every field is there");
        assert!(
            types
                .offsets
                .iter()
                .enumerate()
                .all(|(index, place)| *place != offset::ABSENT || OPTIONAL.contains(&index))
        );
        assert_eq!(
            types.offsets[offset::SK_FAMILY],
            16,
            "skc_family follows two 8-byte unions on every 64-bit kernel"
        );
        assert_eq!(types.arguments("tcp_sendmsg"), Some(3));
    }

    #[test]
    fn bytes_that_are_no_btf_are_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), b"\x9f\xeb\x01 and nothing behind").expect("written");
        assert!(matches!(KernelTypes::read(file.path()), Err(BtfError::Parse(_))));
    }
}
