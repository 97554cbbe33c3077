//! Which process speaks TLS by what, and whether its plaintext is seen: looks when it is asked, probes files, keeps the
//! account.
//!
//! A thread of its own, since a file may be large and the kernel takes its time to put probes into every process that maps
//! it; the records go on meanwhile. A file is known by its device and inode and is held open, so that the number cannot
//! become another file's. What was probed stays so: for all that map the file now and later.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya::programs::uprobe::UProbeLink;
use perf_common::settings::{EXECUTED, PERHAPS_UNSERVED, UNSERVED, mark};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::clock;
use crate::image::{self, Call, Contents, GoAbi, Image, Library, NotCovered, Returns};
use crate::maps::{Changed, FileId, MappedFile, executable, mapped_files};
use crate::privileges;
use crate::probe::filters::add_mark;
use crate::probe::uprobes::{Way, hang, path_of, program, take_off};
use crate::source::TlsCoverage;

/// Files that are kept; more are not probed.
const FILES: usize = 512;
/// By then a new program has loaded its libraries.
const LOADED_NS: u64 = 500_000_000;
/// New programs that wait for that; more are looked at when they speak TLS.
const LOADING: usize = 256;
/// Processes in the account.
const PROCESSES: usize = 4_096;
/// A process that is not covered is looked at again no sooner.
const AGAIN_NS: u64 = 1_000_000_000;
/// One that has other libraries than those that are covered, all of whose files are looked at, no sooner.
const DOUBT_AGAIN_NS: u64 = 30_000_000_000;

/// Where a program's loader looks for libraries if nothing else is said (ld.so(8)), on the distributions there are.
const FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// The programs of the object that hang on TLS libraries.
pub const PROGRAMS: [&str; 21] = [
    "tls_read",
    "tls_write",
    "tls_read_ex",
    "tls_write_ex",
    "tls_sendfile",
    "tls_handshake",
    "tls_returned",
    "nspr_read",
    "nspr_write",
    "nspr_write_pieces",
    "nspr_receive",
    "rustls_receives",
    "rustls_received",
    "rustls_takes",
    "rustls_takes_pieces",
    "rustls_sends",
    "go_read",
    "go_write",
    "go_returned",
    "go_stack_read",
    "go_stack_write",
];

/// How a function is followed.
struct Hook {
    /// What it is called.
    function: &'static str,
    /// The program at its entry.
    entry: &'static str,
    /// The one where it returns.
    returned: &'static str,
}

/// The hook for a call; `None` for what need not be followed.
fn hook(call: Call, abi: Option<GoAbi>) -> Option<Hook> {
    let c = |function, entry| Hook {
        function,
        entry,
        returned: "tls_returned",
    };
    let go = |function, entry, stack_entry| Hook {
        function,
        entry: if abi == Some(GoAbi::Stack) { stack_entry } else { entry },
        returned: "go_returned",
    };
    Some(match call {
        Call::SslRead => c("SSL_read", "tls_read"),
        Call::SslReadEx => c("SSL_read_ex", "tls_read_ex"),
        Call::SslWrite => c("SSL_write", "tls_write"),
        Call::SslWriteEx => c("SSL_write_ex", "tls_write_ex"),
        Call::SslSendfile => c("SSL_sendfile", "tls_sendfile"),
        Call::SslHandshake => c("SSL_do_handshake", "tls_handshake"),
        Call::GnuTlsRecv => c("gnutls_record_recv", "tls_read"),
        Call::GnuTlsSend => c("gnutls_record_send", "tls_write"),
        // What it sends was counted when it was handed over: as a call of its own, it hides those inside.
        Call::GnuTlsUncork => c("gnutls_record_uncork", "tls_handshake"),
        Call::GnuTlsHandshake => c("gnutls_handshake", "tls_handshake"),
        Call::PrRead => c("PR_Read", "nspr_read"),
        Call::PrRecv => c("PR_Recv", "nspr_receive"),
        Call::PrWrite => c("PR_Write", "nspr_write"),
        Call::PrSend => c("PR_Send", "nspr_write"),
        Call::PrWritev => c("PR_Writev", "nspr_write_pieces"),
        Call::NssHandshake => c("SSL_ForceHandshake", "tls_handshake"),
        // Which descriptors are TLS is known by their sockets; Go's reads and writes all ask for a handshake.
        Call::NssImport | Call::GoHandshake => return None,
        Call::RustlsReceives => c("DeframerVecBuffer::read", "rustls_receives"),
        Call::RustlsReceived => c("CommonState::take_received_plaintext", "rustls_received"),
        Call::RustlsTakes => c("CommonState::buffer_plaintext", "rustls_takes"),
        Call::RustlsTakesPieces => c("PlaintextSink::write_vectored", "rustls_takes_pieces"),
        Call::RustlsSends => c("ChunkVecBuffer::write_to", "rustls_sends"),
        Call::GoRead => go("(*Conn).Read", "go_read", "go_stack_read"),
        Call::GoWrite => go("(*Conn).Write", "go_write", "go_stack_write"),
    })
}

/// The thread that looks, and what it found. Dropping it ends the thread.
#[derive(Debug)]
pub struct Coverage {
    /// Readable when the thread is to end.
    stop: Arc<OwnedFd>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    account: Mutex<HashMap<u32, Looked>>,
    /// Files that were probed.
    probed: AtomicU64,
}

/// Has the process connections that what is probed in it does not serve?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// Nothing speaks for it.
    None,
    /// A short one, whose handshake may have failed.
    Some,
    /// Yes.
    Certain,
}

impl Doubt {
    fn of(question: u64) -> Self {
        if question & UNSERVED != 0 {
            Self::Certain
        } else if question & PERHAPS_UNSERVED != 0 {
            Self::Some
        } else {
            Self::None
        }
    }
}

/// What a look at a process came to.
#[derive(Debug)]
struct Looked {
    at_ns: u64,
    doubt: Doubt,
    found: Vec<TlsCoverage>,
}

impl Coverage {
    /// Starts the thread. The programs of [`PROGRAMS`] are loaded, for being hung on files this way.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(ebpf: Arc<Mutex<Ebpf>>, way: Way, asked: RingBuf<MapData>) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let shared = Arc::new(Shared::default());
        let mut looker = Looker {
            ebpf,
            way,
            files: HashMap::new(),
            shared: Arc::clone(&shared),
            links: Mutex::default(),
        };
        let until = Arc::clone(&stop);
        looker.host();
        looker.running();
        let thread = std::thread::Builder::new()
            .name("tls".to_owned())
            .spawn(move || looker.run(asked, &until))?;
        Ok(Self {
            stop,
            shared,
            thread: Some(thread),
        })
    }

    /// Files that were probed so far: when the number has changed, what was given up may be worth another look.
    pub fn probed(&self) -> u64 {
        self.shared.probed.load(Ordering::Acquire)
    }

    /// Every living process that was seen to speak TLS, and what it does it with.
    pub fn account(&self) -> Vec<TlsCoverage> {
        let mut account = self.shared.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.retain(|tgid, _| is_alive(*tgid));
        let mut all: Vec<_> = account.values().flat_map(|looked| looked.found.clone()).collect();
        all.sort_by_key(|coverage| coverage.tgid);
        all
    }
}

impl Drop for Coverage {
    fn drop(&mut self) {
        // A counter that is 0 takes a 1.
        if rustix::io::write(&self.stop, &1u64.to_ne_bytes()).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // Its panic was told of where it happened.
            let _panic = thread.join();
        }
    }
}

/// A library that is probed before anybody is seen to use it. Each probe takes its time at the start and at the end, so
/// only what many programs use; not NSS, whose functions serve everything that a program reads and writes, and not what
/// stands before another library.
fn is_common(name: &str) -> bool {
    ["libssl.so", "libssl-", "libgnutls.so"]
        .iter()
        .any(|common| name.starts_with(common))
        && name.contains(".so")
}

/// Could it speak to anybody?
fn has_sockets(tgid: u32) -> bool {
    let open = std::fs::read_dir(format!("/proc/{tgid}/fd"));
    let links = open.into_iter().flatten().flatten();
    links
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|link| link.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
}

fn is_alive(tgid: u32) -> bool {
    Path::new(&format!("/proc/{tgid}")).exists()
}

/// What the thread owns.
struct Looker {
    ebpf: Arc<Mutex<Ebpf>>,
    way: Way,
    files: HashMap<FileId, Probed>,
    shared: Arc<Shared>,
    /// The probes.
    links: Mutex<Vec<UProbeLink>>,
}

impl Drop for Looker {
    fn drop(&mut self) {
        take_off(std::mem::take(
            self.links.get_mut().unwrap_or_else(PoisonError::into_inner),
        ));
    }
}

/// What became of a file.
struct Probed {
    /// Held, so that its number stays its own; not if there was nothing in it.
    file: Option<File>,
    /// When it was changed last.
    changed: Changed,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    /// Nothing of TLS in it.
    Nothing,
    /// Each implementation in it: probed, or why not.
    Found(Vec<Found>),
}

#[derive(Clone, Debug)]
struct Found {
    library: Option<&'static str>,
    version: Option<String>,
    /// How it is probed, or why it is not.
    how: Result<String, String>,
}

impl Looker {
    /// Looks at what the kernel side asks for, until `stop` becomes readable.
    fn run(&mut self, mut asked: RingBuf<MapData>, stop: &OwnedFd) {
        if let Err(error) = privileges::drop_what_is_not_needed(self.way.purpose()) {
            tracing::warn!(%error, "cannot drop capabilities, probing with all of them");
        }
        // New programs, and when they will have loaded their libraries.
        let mut loading: VecDeque<(u64, u32)> = VecDeque::new();
        loop {
            while let Some(question) = asked.next() {
                if let Some(question) = question.first_chunk().map(|question| u64::from_le_bytes(*question)) {
                    #[expect(clippy::cast_possible_truncation, reason = "what is beyond is asked for next")]
                    let tgid = question as u32;
                    if question & EXECUTED == 0 {
                        self.look(tgid, Doubt::of(question));
                    } else {
                        self.look_at_program(tgid);
                        if loading.len() < LOADING {
                            loading.push_back((clock::monotonic_ns() + LOADED_NS, tgid));
                        }
                    }
                }
            }
            let now_ns = clock::monotonic_ns();
            while let Some((_, tgid)) = loading.pop_front_if(|(due_ns, _)| *due_ns <= now_ns) {
                self.look_at_libraries(tgid);
            }
            let wait = loading.front().map(|(due_ns, _)| {
                let nanoseconds = due_ns.saturating_sub(now_ns).min(LOADED_NS);
                Timespec {
                    tv_sec: 0,
                    tv_nsec: nanoseconds.cast_signed(),
                }
            });
            let mut ready = [
                PollFd::from_borrowed_fd(asked.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            ];
            match poll(&mut ready, wait.as_ref()) {
                Ok(_) if ready[1].revents().is_empty() => {}
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "TLS libraries are looked for no more");
                    return;
                }
            }
        }
    }

    /// Probes the libraries that programs of this host find first: of one that lives for a few milliseconds only, the first
    /// exchange would be over before it could be looked at. Where nothing maps a file, a probe on it costs nothing.
    fn host(&mut self) {
        for folder in FOLDERS {
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if name.to_str().is_some_and(is_common)
                    && let Ok(file) = File::open(entry.path())
                    && let Ok(metadata) = file.metadata()
                    && metadata.is_file()
                {
                    self.known(&metadata, file, &entry.path());
                }
            }
        }
    }

    /// Probes what runs already: a connection that is there makes no handshake, and would be known by its next request only.
    fn running(&mut self) {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for tgid in pids.filter(|pid| *pid != std::process::id() && has_sockets(*pid)) {
            self.look_at_program(tgid);
            self.look_at_libraries(tgid);
        }
    }

    /// Probes the libraries that a process has loaded, wherever they lie, if they are such that many programs use.
    fn look_at_libraries(&mut self, tgid: u32) {
        // Gone, or a thread of the kernel.
        for mapped in mapped_files(tgid).unwrap_or_default() {
            if is_common(mapped.name())
                && let Ok((file, metadata)) = mapped.open(tgid)
            {
                self.known(&metadata, file, &mapped.path);
            }
        }
    }

    /// Looks at the program that a process has just begun to run: what is linked into it is probed before it is used.
    fn look_at_program(&mut self, tgid: u32) {
        // Gone, or another one's: then it is looked at when it speaks TLS.
        if let Some(path) = executable(tgid)
            && let Ok(file) = File::open(format!("/proc/{tgid}/exe"))
            && let Ok(metadata) = file.metadata()
        {
            self.known(&metadata, file, &path);
        }
    }

    /// Looks at a process.
    fn look(&mut self, tgid: u32, doubt: Doubt) {
        let at_ns = clock::monotonic_ns();
        let before = self.looked_before(tgid);
        if before.is_some_and(|(before_ns, settled)| {
            let again_ns = if doubt == Doubt::None { AGAIN_NS } else { DOUBT_AGAIN_NS };
            settled >= doubt && at_ns.saturating_sub(before_ns) < again_ns
        }) {
            return;
        }
        // What was once found out is not forgotten.
        let doubt = before.map_or(doubt, |(_, settled)| settled.max(doubt));
        let found = match mapped_files(tgid) {
            Ok(files) => self.look_at(tgid, &files, doubt),
            Err(error) if !is_alive(tgid) => {
                tracing::debug!(tgid, %error, "a process that speaks TLS was gone before it was looked at");
                return;
            }
            Err(error) => vec![coverage(tgid).because(&format!("its mappings cannot be read: {error}"))],
        };
        if found.iter().any(|coverage| coverage.covered) {
            self.mark(tgid);
        }
        let took_us = clock::monotonic_ns().saturating_sub(at_ns) / 1000;
        tracing::debug!(tgid, took_us, ?found, "a process that speaks TLS");
        let mut account = self.shared.account.lock().unwrap_or_else(PoisonError::into_inner);
        if account.len() >= PROCESSES {
            account.retain(|tgid, _| is_alive(*tgid));
        }
        if account.len() < PROCESSES {
            account.insert(tgid, Looked { at_ns, doubt, found });
        }
    }

    /// When, and with which doubt.
    fn looked_before(&self, tgid: u32) -> Option<(u64, Doubt)> {
        let account = self.shared.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.get(&tgid).map(|looked| (looked.at_ns, looked.doubt))
    }

    /// First what is called like a TLS library; if nothing is, or it may not serve all connections, everything that is mapped.
    fn look_at(&mut self, tgid: u32, files: &[MappedFile], doubt: Doubt) -> Vec<TlsCoverage> {
        let exe = executable(tgid);
        let (likely, others): (Vec<_>, Vec<_>) = files
            .iter()
            .partition(|file| image::looks_like_tls_library(file.name()) || Some(&file.path) == exe.as_ref());
        let mut found = Vec::new();
        for files in [likely, others] {
            for file in files {
                found.extend(self.file(tgid, file));
            }
            if doubt == Doubt::None && found.iter().any(|coverage: &TlsCoverage| coverage.covered) {
                break;
            }
        }
        if found.is_empty() {
            found.push(coverage(tgid).because("no TLS library that is known is mapped"));
        } else if doubt == Doubt::Certain && found.iter().all(|coverage| coverage.covered) {
            found.push(coverage(tgid).because("some of its connections are served by no function that is probed"));
        }
        found
    }

    /// What a file that a process maps has of TLS.
    fn file(&mut self, tgid: u32, mapped: &MappedFile) -> Vec<TlsCoverage> {
        let named = TlsCoverage {
            path: Some(mapped.path.display().to_string()),
            ..coverage(tgid)
        };
        let (file, metadata) = match mapped.open(tgid) {
            Ok(opened) => opened,
            // Of files that are called like anything it is not known that they matter.
            Err(error) if image::looks_like_tls_library(mapped.name()) => {
                return vec![named.because(&format!("the file cannot be opened: {error}"))];
            }
            Err(_) => return Vec::new(),
        };
        match self.known(&metadata, file, &mapped.path) {
            Outcome::Nothing => Vec::new(),
            Outcome::Found(all) => all.into_iter().map(|found| found.of(&named)).collect(),
        }
    }

    /// What became of a file, which is looked into if it was not yet.
    fn known(&mut self, metadata: &Metadata, file: File, path: &Path) -> Outcome {
        let (id, changed) = (FileId::of(metadata), Changed::of(metadata));
        // A file in which there was nothing is not held: its number may be another one's by now, or it may have been written.
        if let Some(probed) = self.files.get(&id)
            && (probed.file.is_some() || probed.changed == changed)
        {
            return probed.outcome.clone();
        }
        if self.files.len() >= FILES {
            return Outcome::Found(vec![Found {
                library: None,
                version: None,
                how: Err(format!("more than {FILES} different files")),
            }]);
        }
        let outcome = self.probe(&file);
        if let Outcome::Found(all) = &outcome {
            for found in all {
                let (library, version) = (found.library, found.version.as_deref());
                match &found.how {
                    Ok(how) => tracing::debug!(path = %path.display(), library, version, "TLS is seen by {how}"),
                    Err(reason) => {
                        tracing::debug!(path = %path.display(), library, version, "TLS is not seen: {reason}");
                    }
                }
            }
        }
        let probed = Probed {
            file: (!matches!(outcome, Outcome::Nothing)).then_some(file),
            changed,
            outcome: outcome.clone(),
        };
        self.files.insert(id, probed);
        outcome
    }

    /// Looks into a file, and probes what it has.
    fn probe(&self, file: &File) -> Outcome {
        let probe = |image: &Image| {
            let how = self.attach(file, image);
            if how.is_ok() {
                self.shared.probed.fetch_add(1, Ordering::Release);
            }
            how
        };
        look_into(file, &probe)
    }

    /// Hangs the programs on a file's functions: on all of them, or on none.
    fn attach(&self, file: &File, image: &Image) -> Result<String, String> {
        let how = hooks(image, self.way)?;
        let path = path_of(file);
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let mut links = Vec::new();
        for target in targets(image) {
            let link = hang(program(&mut ebpf, target.program), &path, &target.places);
            links.push(
                link.map_err(|error| format!("cannot probe {}: {}", target.functions.join(", "), causes(&error)))?,
            );
        }
        self.links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(&mut links);
        Ok(how)
    }

    /// Says to the kernel side that it need not ask again.
    fn mark(&self, tgid: u32) {
        // A full table: it asks again.
        add_mark(&self.ebpf, tgid, mark::TLS_COVERED);
    }
}

/// Where one program hangs in a file.
struct Target {
    program: &'static str,
    /// The functions that it is for.
    functions: Vec<&'static str>,
    /// Offsets in the file.
    places: Vec<u64>,
}

/// Where the programs hang in an image, in the order in which they are to be put there: the returns first, since an entry
/// without one would be an open call.
fn targets(image: &Image) -> Vec<Target> {
    let (mut returns, mut entries) = (Vec::new(), Vec::new());
    for function in &image.functions {
        let Some(hook) = hook(function.call, image.go_abi) else {
            continue;
        };
        let entry = std::slice::from_ref(&function.entry);
        let returned = match &function.returns {
            Returns::Trap => entry,
            Returns::At(places) => places,
            Returns::Unseen => &[],
        };
        if !returned.is_empty() {
            add(&mut returns, hook.returned, hook.function, returned);
        }
        add(&mut entries, hook.entry, hook.function, entry);
    }
    returns.append(&mut entries);
    returns
}

fn add(targets: &mut Vec<Target>, program: &'static str, function: &'static str, places: &[u64]) {
    let known = targets.iter().position(|target| target.program == program);
    let at = known.unwrap_or_else(|| {
        targets.push(Target {
            program,
            functions: Vec::new(),
            places: Vec::new(),
        });
        targets.len() - 1
    });
    let target = &mut targets[at];
    if target.functions.last() != Some(&function) {
        target.functions.push(function);
    }
    for place in places {
        // Two names of one function are one place, where the program is to run once.
        if !target.places.contains(place) {
            target.places.push(*place);
        }
    }
}

/// What a file has of TLS, each implementation with what `probe` makes of it.
fn look_into(file: &File, probe: &dyn Fn(&Image) -> Result<String, String>) -> Outcome {
    let Contents { images, others } = match image::inspect(file) {
        Ok(contents) => contents,
        Err(NotCovered::NoTls) => return Outcome::Nothing,
        Err(error @ (NotCovered::Machine | NotCovered::Malformed(_) | NotCovered::Io(_))) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a mapped file cannot be looked into"
            );
            return Outcome::Nothing;
        }
        Err(error) => return Outcome::Found(vec![error.into()]),
    };
    let probed = images.into_iter().map(|image| Found {
        library: Some(image.library.name()),
        how: probe(&image),
        version: image.version,
    });
    Outcome::Found(probed.chain(others.into_iter().map(Found::from)).collect())
}

impl From<NotCovered> for Found {
    fn from(error: NotCovered) -> Self {
        let how = Err(error.to_string());
        let (library, version) = match error {
            NotCovered::Stripped { library, version } => (Some(library.name()), version),
            NotCovered::Rustls { version } => (Some(Library::Rustls.name()), version),
            NotCovered::Go(_) => (Some(Library::GoTls.name()), None),
            _ => (None, None),
        };
        Self { library, version, how }
    }
}

/// What could be seen of a file's TLS, if it were probed this way; of no process.
pub(super) fn followed(file: &File, way: Way) -> Vec<TlsCoverage> {
    let all = match look_into(file, &|image| hooks(image, way)) {
        Outcome::Nothing => Vec::new(),
        Outcome::Found(all) => all,
    };
    all.into_iter().map(|found| found.of(&coverage(0))).collect()
}

/// The functions of an image that are followed, and how.
fn hooks(image: &Image, way: Way) -> Result<String, String> {
    let hooks = image.functions.iter();
    let mut names: Vec<_> = hooks
        .filter_map(|function| Some(hook(function.call, image.go_abi)?.function))
        .collect();
    names.dedup();
    if names.is_empty() {
        return Err("this version of the agent cannot follow its calls".to_owned());
    }
    Ok(format!("{} on {}", way.name(), names.join(", ")))
}

impl Found {
    /// As a process has it.
    fn of(self, process: &TlsCoverage) -> TlsCoverage {
        let (how, reason) = match self.how {
            Ok(how) => (Some(how), None),
            Err(reason) => (None, Some(reason)),
        };
        TlsCoverage {
            library: self.library,
            version: self.version,
            covered: how.is_some(),
            how,
            reason,
            ..process.clone()
        }
    }
}

/// A process of which nothing is known yet.
pub(super) fn coverage(tgid: u32) -> TlsCoverage {
    TlsCoverage {
        tgid,
        exe: executable(tgid).map(|path| path.display().to_string()),
        library: None,
        version: None,
        path: None,
        covered: false,
        how: None,
        reason: None,
    }
}

impl TlsCoverage {
    fn because(self, reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            ..self
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Function;

    #[test]
    fn a_program_hangs_on_all_its_places_by_one_link_and_on_returns_first() {
        let function = |call, entry, returns: &[u64]| Function {
            call,
            entry,
            returns: Returns::At(returns.to_vec()),
        };
        let trapped = |call, entry| Function {
            call,
            entry,
            returns: Returns::Trap,
        };
        let image = |library, go_abi, functions| Image {
            library,
            version: None,
            functions,
            static_linked: false,
            go_abi,
        };
        let check = |image: &Image, expected: &[(&str, &[&str], &[u64])]| {
            let targets = targets(image);
            let found: Vec<_> = targets
                .iter()
                .map(|target| (target.program, &target.functions[..], &target.places[..]))
                .collect();
            assert_eq!(found, expected);
        };
        // Two names of one function, as `PR_Write` and `PR_Send` could be.
        let nss = vec![
            trapped(Call::PrRead, 0x10),
            trapped(Call::PrWrite, 0x20),
            trapped(Call::PrSend, 0x20),
            trapped(Call::NssImport, 0x30),
        ];
        check(
            &image(Library::Nss, None, nss),
            &[
                ("tls_returned", &["PR_Read", "PR_Write", "PR_Send"], &[0x10, 0x20]),
                ("nspr_read", &["PR_Read"], &[0x10]),
                ("nspr_write", &["PR_Write", "PR_Send"], &[0x20]),
            ],
        );
        let go = vec![
            function(Call::GoRead, 0x100, &[0x110, 0x120]),
            function(Call::GoWrite, 0x200, &[0x210]),
            function(Call::GoHandshake, 0x300, &[0x310]),
        ];
        check(
            &image(Library::GoTls, Some(GoAbi::Stack), go),
            &[
                (
                    "go_returned",
                    &["(*Conn).Read", "(*Conn).Write"],
                    &[0x110, 0x120, 0x210],
                ),
                ("go_stack_read", &["(*Conn).Read"], &[0x100]),
                ("go_stack_write", &["(*Conn).Write"], &[0x200]),
            ],
        );
    }
}
