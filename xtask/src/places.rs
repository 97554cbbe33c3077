//! Where things lie: the workspace, its build directory, and the per-user cache of what is not part of a build.

use std::env;
use std::path::{Path, PathBuf};

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_owned()
}

/// The workspace's build directory: where this very program was built, as `target/debug/xtask`.
pub(crate) fn target() -> PathBuf {
    let built_in = env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    built_in.unwrap_or_else(|| workspace().join("target"))
}

/// The BPF object that the agent embeds. Its directory holds nothing else: the agent's build script watches it.
pub(crate) fn bpf_object() -> PathBuf {
    target().join("bpf/perf-ebpf.o")
}

/// The BPF crate's own build directory, `PERF_AGENT_BPF_TARGET_DIR` or `perf-ebpf/target`.
pub(crate) fn bpf_target() -> PathBuf {
    env::var_os("PERF_AGENT_BPF_TARGET_DIR").map_or_else(|| workspace().join("perf-ebpf/target"), PathBuf::from)
}

/// What survives `cargo clean` and is shared by all checkouts: `PERF_AGENT_CACHE`, else `perf-agent` in the user's
/// cache directory.
pub(crate) fn cache() -> PathBuf {
    if let Some(cache) = env::var_os("PERF_AGENT_CACHE") {
        return PathBuf::from(cache);
    }
    let user_cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let user_cache = user_cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    user_cache.unwrap_or_else(env::temp_dir).join("perf-agent")
}

/// Tools that we build ourselves, in the layout of `cargo install --root`.
pub(crate) fn tools() -> PathBuf {
    cache().join("tools")
}

/// Kernels and what is needed to boot them, one directory each.
pub(crate) fn kernels() -> PathBuf {
    cache().join("kernels")
}

/// The virtual environment with the Python servers of the tests.
pub(crate) fn venv() -> PathBuf {
    cache().join("venv")
}

/// Packages of Node that the tests' servers load.
pub(crate) fn node() -> PathBuf {
    cache().join("node")
}
