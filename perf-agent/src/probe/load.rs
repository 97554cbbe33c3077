//! Loads and attaches one backend's programs. Everything that fails is told in the operator's words: what was tried,
//! why it did not work, what would help.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aya::maps::{MapData, RingBuf};
use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use perf_common::settings::{CGROUP_LEVELS, MAX_PIECES, feature, names};

use super::OBJECT;
use super::btf::{BtfError, KernelTypes, VMLINUX};
use super::filters::Marks;
use super::points::{AttachPoint, POINTS, Point};
use super::rings::{self, Shape};
use super::uprobes::{self, Way};
use crate::config::CaptureSettings;
use crate::functions::probes;
use crate::source::{
    Backend, BackendReport, BlindSpot, HookFamily, HookReport, HookState, KernelInfo, Report, SourceError,
};
use crate::tasks;
use crate::tls::coverage;

/// Threads and goroutines that are in chosen functions, times those functions.
const INVOCATIONS: u32 = 8192;

/// Programs that run, and what is known of them. Dropping it detaches and frees them all.
pub struct Loaded {
    /// The object's maps and programs; shared with what probes TLS libraries.
    pub ebpf: Arc<Mutex<Ebpf>>,
    /// The programs for TLS libraries are loaded, and may be hung on what is found, this way.
    pub tls: Option<Way>,
    /// How programs hang on functions in which tasks hand over; `None` if they cannot.
    pub handovers: Option<Way>,
    /// The programs for chosen functions are loaded, and may be hung on them, this way; or why not.
    pub functions: Result<Way, String>,
    /// The processors' ring buffers.
    pub rings: Vec<RingBuf<MapData>>,
    /// What was attached and what not.
    pub report: Report,
}

/// What loading needs to know of the machine; asked once.
pub struct Machine {
    /// Answers from the kernel's BTF.
    pub types: KernelTypes,
    /// BTF as the loader wants it.
    pub btf: Btf,
    /// How its uprobes hang.
    pub way: Way,
    /// For the report.
    pub kernel: KernelInfo,
}

impl Machine {
    /// Asks the running kernel.
    ///
    /// # Errors
    /// [`SourceError`] if there are no programs in this binary, privileges are missing or the kernel has no BTF.
    pub fn ask() -> Result<Self, SourceError> {
        if OBJECT.is_empty() {
            return Err(SourceError::NotBuilt);
        }
        let types = KernelTypes::of_running_kernel().map_err(|error| match error {
            BtfError::Read(source) if source.kind() == std::io::ErrorKind::NotFound => SourceError::Kernel {
                missing: format!("BTF ({VMLINUX})"),
                remedy: "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as all large distributions' are".to_owned(),
            },
            BtfError::Field { .. } => SourceError::Kernel {
                missing: error.to_string(),
                remedy: "this release is not supported yet; please report it".to_owned(),
            },
            error => SourceError::Load {
                what: "learn this kernel's structures".to_owned(),
                source: Box::new(error),
            },
        })?;
        missing_privilege()?;
        let btf = Btf::from_sys_fs().map_err(|source| SourceError::Load {
            what: format!("read {VMLINUX}"),
            source: Box::new(source),
        })?;
        // Before 5.11 maps count against this limit. It may be refused; the load then says what is missing.
        let unlimited = rustix::process::Rlimit {
            current: None,
            maximum: None,
        };
        if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited) {
            tracing::debug!(%error, "RLIMIT_MEMLOCK stays as it is; kernels since 5.11 do not need it");
        }
        Ok(Self {
            types,
            btf,
            way: Way::of_this_kernel(),
            kernel: Self::kernel(),
        })
    }

    /// The running kernel, as far as it tells without being asked anything.
    pub fn kernel() -> KernelInfo {
        KernelInfo {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            btf: Path::new(VMLINUX).exists(),
        }
    }

    fn features(&self, backend: Backend) -> u32 {
        let mut features = 0;
        // `bpf_get_current_task_btf` came with 5.11, `bpf_task_pt_regs` with 5.15.
        if self.types.helper("task_pt_regs") {
            features |= feature::TASK_PT_REGS;
        }
        if self.types.helper("skc_to_tcp_sock") {
            features |= feature::TYPED_TCP;
        }
        if backend == Backend::Tracepoint {
            features |= feature::PLAINTEXT;
        }
        if backend != Backend::Tracepoint && self.types.arguments("unix_release_sock").is_some() {
            features |= feature::UNIX_RELEASE;
        }
        features
    }
}

/// Capabilities that loading and attaching need, by number (include/uapi/linux/capability.h).
fn missing_privilege() -> Result<(), SourceError> {
    use rustix::thread::CapabilitySet;
    let purpose = || "load BPF programs and attach them to kernel functions".to_owned();
    let held = rustix::thread::capabilities(None)
        .map_err(|error| SourceError::Load {
            what: "read own capabilities".to_owned(),
            source: Box::new(error),
        })?
        .effective;
    if held.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    let needed = [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")];
    let missing: Vec<_> = needed
        .iter()
        .filter(|(bit, _)| !held.contains(*bit))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = format!(
        "{} (run as root, for instance with sudo, or give the binary CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE)",
        missing.join(" and ")
    );
    Err(SourceError::Privilege {
        missing,
        purpose: purpose(),
    })
}

/// Loads and attaches the cheapest backend that works, or the one asked for.
///
/// # Errors
/// [`SourceError::NoBackend`] with every backend's reason if none works, [`SourceError::NotThisBackend`] if the one asked
/// for does not; other variants if it is not the backend.
pub fn load(machine: &Machine, settings: &CaptureSettings, marks: &Marks) -> Result<Loaded, SourceError> {
    let mut backends: Vec<BackendReport> = Vec::new();
    let mut loaded: Option<Loaded> = None;
    for backend in Backend::ALL {
        let state = |state, reason: String, fix| BackendReport {
            backend,
            state,
            reason: Some(reason),
            fix,
        };
        if settings.backend.is_some_and(|wanted| wanted != backend) {
            backends.push(state(HookState::Fallback, "not asked for".to_owned(), None));
        } else if let Some(loaded) = &loaded {
            let better = loaded.report.backend.map_or("another", Backend::name);
            backends.push(state(
                HookState::Fallback,
                format!("not tried: {better} works and costs less"),
                None,
            ));
        } else {
            match attach(machine, settings, marks, backend) {
                Ok(works) => {
                    loaded = Some(works);
                    backends.push(BackendReport {
                        backend,
                        state: HookState::Used,
                        reason: None,
                        fix: None,
                    });
                }
                Err(Refusal::Backend { reason, fix }) => backends.push(state(HookState::Unavailable, reason, fix)),
                Err(Refusal::Everything(error)) => return Err(error),
            }
        }
    }
    let Some(mut loaded) = loaded else {
        backends.retain(|report| report.state == HookState::Unavailable);
        return Err(match (settings.backend, backends.pop()) {
            (Some(_), Some(asked_for)) => SourceError::NotThisBackend(asked_for),
            (_, last) => SourceError::NoBackend(backends.into_iter().chain(last).collect()),
        });
    };
    refuse_hooks(&mut loaded.report.hooks, &backends);
    loaded.report.backends = backends;
    Ok(loaded)
}

/// Says of the hooks of each backend that does not work that they do not, either: they were named before it was known.
pub(super) fn refuse_hooks(hooks: &mut [HookReport], backends: &[BackendReport]) {
    let refused = |point: &AttachPoint| {
        let of = backends.iter().find(|report| Some(report.backend) == point.backend)?;
        (of.state == HookState::Unavailable).then_some(of.backend)
    };
    for hook in hooks.iter_mut().filter(|hook| hook.state == HookState::Fallback) {
        let point = POINTS.iter().find(|point| point.describe() == hook.name);
        if let Some(backend) = point.and_then(refused) {
            hook.state = HookState::Unavailable;
            hook.reason = Some(format!("backend {backend} does not work here"));
        }
    }
}

/// Why a backend does not work.
pub(super) enum Refusal {
    /// This backend; another one may.
    Backend {
        /// What failed.
        reason: String,
        /// What would help.
        fix: Option<String>,
    },
    /// No backend will.
    Everything(SourceError),
}

/// Loads the object and attaches one backend's programs and those that serve every backend.
#[expect(clippy::too_many_lines, reason = "one step after the other, each of a few lines")]
pub(super) fn attach(
    machine: &Machine,
    settings: &CaptureSettings,
    marks: &Marks,
    backend: Backend,
) -> Result<Loaded, Refusal> {
    let load_error = |what: String, source: Box<dyn std::error::Error + Send + Sync>| {
        Refusal::Everything(SourceError::Load { what, source })
    };
    // A required target that the kernel does not have is known without trying.
    for point in of_backend(backend) {
        if point.required && point.family == HookFamily::Tracepoint && !machine.types.tracepoint(point.target) {
            return Err(Refusal::Backend {
                reason: format!("this kernel has no tracepoint {}", point.target),
                fix: Some("Linux 6.3 or later has it".to_owned()),
            });
        }
    }
    let own = std::process::id();
    let mut features = machine.features(backend);
    if settings.tls {
        features |= feature::TLS;
    }
    let filters = marks.filters;
    let processors = aya::util::online_cpus().map_or(1, |processors| processors.len());
    let shape = Shape::of(settings.ring_bytes, processors);
    let wake_bytes = shape.bytes / 4;
    let ring_mask = shape.count - 1;
    let depths: [u32; CGROUP_LEVELS] = marks.cgroup_depths;
    let mut ebpf = EbpfLoader::new()
        .btf(&machine.btf)
        .override_global(names::OWN_TGID, &own, true)
        .override_global(names::FEATURES, &features, true)
        .override_global(names::FILTERS, &filters, true)
        .override_global(names::REQUEST_BUDGET, &settings.request_bytes, true)
        .override_global(names::RESPONSE_BUDGET, &settings.response_bytes, true)
        .override_global(names::RING_MASK, &ring_mask, true)
        .override_global(names::WAKE_BYTES, &wake_bytes, true)
        .override_global(names::CGROUP_DEPTHS, &depths, true)
        .override_global(names::OFFSETS, &machine.types.offsets, true)
        .verifier_log_level(log_level())
        .map_max_entries(rings::OUTER, shape.count)
        .map_max_entries("CONNECTIONS", settings.max_connections)
        .map_max_entries(probes::INVOCATIONS, invocations(settings))
        .load(&machine.way.object(OBJECT))
        .map_err(|error| load_error("load the BPF object".to_owned(), Box::new(error)))?;
    let rings = rings::make(&mut ebpf, shape)
        .map_err(|error| load_error("make the ring buffers".to_owned(), Box::new(error)))?;
    marks.write_fixed(&mut ebpf).map_err(Refusal::Everything)?;

    let mut hooks = Vec::new();
    let mut blind_spots = Vec::new();
    for point in POINTS {
        let mut report = HookReport {
            name: point.describe(),
            family: point.family,
            state: HookState::Used,
            reason: None,
            fix: None,
        };
        if point.backend.is_some_and(|owner| owner != backend) {
            if point.applies(&machine.types) {
                report.state = HookState::Fallback;
                report.reason = Some(format!(
                    "belongs to backend {}",
                    point.backend.map_or("", Backend::name)
                ));
                hooks.push(report);
            }
            continue;
        }
        if !point.applies(&machine.types) || (point.point == Point::Forked && !marks.by_process()) {
            continue;
        }
        if let Err(error) = attach_point(&mut ebpf, point, &machine.btf) {
            let (reason, fix) = explain(point, &error);
            if point.required {
                return Err(Refusal::Backend { reason, fix });
            }
            let (what, consequence) = point.point.lost_without();
            blind_spots.push(BlindSpot {
                what: what.to_owned(),
                why: format!("{reason}: {consequence}"),
            });
            report.state = HookState::Unavailable;
            report.reason = Some(reason);
            report.fix = fix;
        }
        hooks.push(report);
    }
    let tls = load_tls(&mut ebpf, machine.way, settings, &mut hooks, &mut blind_spots).then_some(machine.way);
    let handovers = load_handovers(&mut ebpf, machine.way, &mut hooks, &mut blind_spots).then_some(machine.way);
    let functions = load_functions(&mut ebpf, machine, settings, &mut hooks).map(|()| machine.way);
    // Attached first and scanned now: no child slips through in between.
    marks.write_processes(&mut ebpf).map_err(Refusal::Everything)?;
    blind_spots.extend(known_limits(backend));
    let report = Report {
        kernel: machine.kernel.clone(),
        backend: Some(backend),
        backends: Vec::new(),
        hooks,
        blind_spots,
    };
    Ok(Loaded {
        ebpf: Arc::new(Mutex::new(ebpf)),
        tls,
        handovers,
        functions,
        rings,
        report,
    })
}

/// Entries of the table of invocations: as few as can be where no function was chosen.
fn invocations(settings: &CaptureSettings) -> u32 {
    if settings.functions.is_empty() { 64 } else { INVOCATIONS }
}

/// A probe may hold two descriptors, and a Go program has dozens of returns: the soft limit, often 1,024, is for programs
/// that use `select`.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "RLIMIT_NOFILE stays as it is");
    }
}

/// Loads the programs for TLS libraries, if they are wanted; they are hung on what is found later. True if that is possible.
fn load_tls(
    ebpf: &mut Ebpf,
    way: Way,
    settings: &CaptureSettings,
    hooks: &mut Vec<HookReport>,
    blind_spots: &mut Vec<BlindSpot>,
) -> bool {
    if !settings.tls {
        blind_spots.push(BlindSpot {
            what: "TLS".to_owned(),
            why: "not asked for (--no-tls): nothing of encrypted connections is seen".to_owned(),
        });
        return false;
    }
    let loaded = load_uprobes(ebpf, &coverage::PROGRAMS, "TLS calls");
    let name = format!(
        "TLS calls: {}, on the libraries of processes that speak TLS",
        way.name()
    );
    hooks.push(uprobes_report(name, &loaded));
    blind_spots.extend(blind_without(
        &loaded,
        "TLS",
        "nothing of encrypted connections is seen",
    ));
    loaded.is_ok()
}

/// Loads the programs for functions in which tasks hand over; they are hung on what needs it later. True if that is possible.
fn load_handovers(ebpf: &mut Ebpf, way: Way, hooks: &mut Vec<HookReport>, blind_spots: &mut Vec<BlindSpot>) -> bool {
    let what = "hand-overs between tasks";
    let loaded = load_uprobes(ebpf, &tasks::PROGRAMS, what);
    let name = format!("{what}: {}, on the runtimes of processes that need it", way.name());
    hooks.push(uprobes_report(name, &loaded));
    blind_spots.extend(blind_without(
        &loaded,
        what,
        "calls of tasks that are started for a request may be unattributed",
    ));
    loaded.is_ok()
}

/// Loads the programs for chosen functions, if there are any.
fn load_functions(
    ebpf: &mut Ebpf,
    machine: &Machine,
    settings: &CaptureSettings,
    hooks: &mut Vec<HookReport>,
) -> Result<(), String> {
    if settings.functions.is_empty() {
        return Ok(());
    }
    let what = "chosen functions";
    let loaded = if machine.types.helper("get_attach_cookie") {
        load_uprobes(ebpf, &probes::PROGRAMS, what)
    } else {
        Err(
            "this kernel gives probes no number of their own (bpf_get_attach_cookie): Linux 5.15 or later does"
                .to_owned(),
        )
    };
    hooks.push(HookReport {
        fix: None,
        ..uprobes_report(format!("{what}: {}", machine.way.name()), &loaded)
    });
    loaded
}

/// Loads programs that hang on functions of files, or says why that is not possible.
fn load_uprobes(ebpf: &mut Ebpf, programs: &[&str], what: &str) -> Result<(), String> {
    raise_descriptors();
    programs
        .iter()
        .try_for_each(|name| uprobes::program(ebpf, name).load())
        .map_err(|error| format!("cannot load the programs for {what}: {}", root_cause(&error)))
}

fn uprobes_report(name: String, loaded: &Result<(), String>) -> HookReport {
    HookReport {
        name,
        family: HookFamily::Uprobe,
        state: match loaded {
            Ok(()) => HookState::Used,
            Err(_) => HookState::Unavailable,
        },
        reason: loaded.as_ref().err().cloned(),
        fix: loaded.as_ref().err().map(|_| "needs CONFIG_UPROBES".to_owned()),
    }
}

/// What is not seen if they are not loaded.
fn blind_without(loaded: &Result<(), String>, what: &str, consequence: &str) -> Option<BlindSpot> {
    let reason = loaded.as_ref().err()?;
    Some(BlindSpot {
        what: what.to_owned(),
        why: format!("{reason}: {consequence}"),
    })
}

/// The verifier says in any case why it refuses a program. The way there is long, and told only to those who debug: it
/// verifies anew for each larger buffer that it wants for it.
fn log_level() -> VerifierLogLevel {
    if tracing::enabled!(tracing::Level::DEBUG) {
        VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
    } else {
        VerifierLogLevel::STATS
    }
}

fn of_backend(backend: Backend) -> impl Iterator<Item = &'static AttachPoint> {
    POINTS
        .iter()
        .filter(move |point| point.backend.is_none_or(|owner| owner == backend))
}

fn attach_point(ebpf: &mut Ebpf, point: &AttachPoint, btf: &Btf) -> Result<(), ProgramError> {
    let program = ebpf
        .program_mut(point.program)
        .expect("a test holds that every program of the table is in the object");
    match program {
        Program::BtfTracePoint(program) => {
            program.load(point.target, btf)?;
            program.attach()?;
        }
        Program::FEntry(program) => {
            program.load(point.target, btf)?;
            program.attach()?;
        }
        Program::FExit(program) => {
            program.load(point.target, btf)?;
            program.attach()?;
        }
        Program::KProbe(program) => {
            program.load()?;
            program.attach(point.target, 0)?;
        }
        other => unreachable!("no row of the table is of type {:?}", other.prog_type()),
    }
    Ok(())
}

/// An attach error in the operator's words, and what would help.
fn explain(point: &AttachPoint, error: &ProgramError) -> (String, Option<String>) {
    let root = root_cause(error);
    let reason = format!("cannot attach {}: {root}", point.describe());
    let fix = match point.family {
        HookFamily::Fentry => {
            "needs BPF trampolines (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS) and permission to use them"
        }
        HookFamily::Kprobe => "needs CONFIG_KPROBES and a perf_event_paranoid or capabilities that allow probes",
        HookFamily::Tracepoint => "needs the tracepoint in this kernel's BTF",
        HookFamily::Uprobe => "needs CONFIG_UPROBES",
    };
    (reason, Some(fix.to_owned()))
}

/// The innermost cause, or the verifier's last word where it refused the program.
fn root_cause(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        tracing::debug!(%log, "the verifier's log");
        // Behind the reason stand only sums.
        let sums = ["processed", "stack depth", "verification time"];
        let is_sum = |line: &str| line.trim().is_empty() || sums.iter().any(|sum| line.starts_with(sum));
        let last = log.lines().rev().find(|line| !is_sum(line));
        return match last {
            Some(line) => format!("{io_error}; the verifier says: {}", line.trim()),
            None => io_error.to_string(),
        };
    }
    let mut cause: &dyn std::error::Error = error;
    let mut text: Cow<'_, str> = cause.to_string().into();
    while let Some(source) = cause.source() {
        cause = source;
        text = format!("{text}: {cause}").into();
    }
    text.into_owned()
}

/// What a backend cannot see even where all its hooks work.
fn known_limits(backend: Backend) -> Vec<BlindSpot> {
    let spot = |what: &str, why: &str| BlindSpot {
        what: what.to_owned(),
        why: why.to_owned(),
    };
    let first_byte = spot(
        "the first byte of a blocking send",
        "times are taken at the end of send calls: a response sent whole in one blocking call has its first byte late by \
         the time the call blocked",
    );
    let spliced = spot(
        "bytes spliced out of a socket",
        "they pass the hooks by: a gap in a TCP stream, and nothing at all of a Unix socket's",
    );
    let datagrams = spot(
        "DNS over UDP",
        "this backend hangs on functions of TCP and Unix sockets, and none of UDP's says at its end where a received datagram \
         lies on every kernel",
    );
    let mut spots = match backend {
        Backend::Tracepoint => vec![
            first_byte,
            spliced,
            spot(
                "DNS over UDP by recvmmsg or with io_uring",
                "of a recvmmsg with room for more than one message it is not told which of them came, and of a thread with \
                 an io_uring not what its system call is about",
            ),
            spot(
                "the end of Unix sockets",
                "no hook tells of it: noticed when the peer reads it, or within five seconds",
            ),
        ],
        Backend::Fentry => vec![first_byte, spliced, datagrams],
        Backend::Kprobe => vec![
            datagrams,
            spot(
                "the last byte of a send that the socket does not take at once",
                "lengths and times are taken as asked, at the beginning of send calls: a response that is larger than the \
                 send buffer ends early, and is answered though its client may have left before the rest was sent",
            ),
            spot("bytes spliced out of a Unix socket", "they pass the hook by"),
            spot(
                "partial sends over Unix sockets",
                "lengths are taken as asked, and Unix sockets have no position",
            ),
            spot(
                "large buffers of Unix sockets",
                "received bytes are read before the kernel copies them to the process, and of more than some 3500 bytes \
                 sent at once the rest lies where it is not read: it is counted, and not looked at",
            ),
        ],
    };
    spots.push(spot(
        "messages in many pieces",
        &format!("of a vector, the first {MAX_PIECES} pieces are read; the rest is counted, and not looked at"),
    ));
    spots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_object_name_the_same_programs() {
        if OBJECT.is_empty() {
            eprintln!("skipped: built without the BPF object; `cargo xtask test` builds it");
            return;
        }
        let object = aya_obj_programs();
        for point in POINTS {
            assert!(
                object.iter().any(|name| name == point.program),
                "{} is not in the object",
                point.program
            );
        }
        for name in object {
            assert!(
                POINTS.iter().any(|point| point.program == name)
                    || coverage::PROGRAMS.contains(&name.as_str())
                    || tasks::PROGRAMS.contains(&name.as_str())
                    || probes::PROGRAMS.contains(&name.as_str()),
                "{name} has no row in the table"
            );
        }
    }

    #[test]
    fn hooks_of_a_refused_backend_are_refused() {
        let mut hooks: Vec<HookReport> = POINTS
            .iter()
            .map(|point| HookReport {
                name: point.describe(),
                family: point.family,
                state: match point.backend {
                    Some(Backend::Fentry) | None => HookState::Used,
                    _ => HookState::Fallback,
                },
                reason: None,
                fix: None,
            })
            .collect();
        let state = |backend, state| BackendReport {
            backend,
            state,
            reason: None,
            fix: None,
        };
        let backends = [
            state(Backend::Tracepoint, HookState::Unavailable),
            state(Backend::Fentry, HookState::Used),
            state(Backend::Kprobe, HookState::Fallback),
        ];
        refuse_hooks(&mut hooks, &backends);
        for (point, hook) in POINTS.iter().zip(hooks) {
            let expected = match point.backend {
                Some(Backend::Tracepoint) => HookState::Unavailable,
                Some(Backend::Kprobe) => HookState::Fallback,
                Some(Backend::Fentry) | None => HookState::Used,
            };
            assert_eq!(hook.state, expected, "{}", hook.name);
        }
    }

    fn aya_obj_programs() -> Vec<String> {
        let object = aya_obj::Object::parse(OBJECT).expect("the embedded object parses");
        object.programs.into_keys().collect()
    }
}
