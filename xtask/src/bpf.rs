//! Builds the kernel side with its own compiler and flags, and puts the object where the agent's build finds it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::toolchain::{BPF_TARGET, Compiler, DEBIAN_RUSTC, Toolchain};
use crate::{command, places};

/// Builds the object in release profile and returns its stable path.
pub(crate) fn build(toolchain: &Toolchain) -> Result<PathBuf> {
    println!("BPF tool chain: {toolchain}");
    let mut cargo = cargo(toolchain, "build");
    cargo.args(["--release", "--quiet"]);
    command::run(&mut cargo).context("the BPF object was not built")?;

    let built = places::bpf_target().join(BPF_TARGET).join("release/perf-ebpf");
    let object = places::bpf_object();
    let bytes = without_debug_information(toolchain, &built)?;
    // An unchanged object keeps its time, so that the agent is not built again for nothing.
    if fs::read(&object).ok().as_ref() != Some(&bytes) {
        let folder = object.parent().context("the object lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        fs::write(&object, &bytes).with_context(|| format!("cannot write {}", object.display()))?;
    }
    println!("BPF object: {} ({} bytes)", object.display(), bytes.len());
    Ok(object)
}

/// The object without the debugger's information, which is most of its size; the kernel's own (BTF) stays. Without a
/// strip program that knows BPF it stays as it is, which only costs memory.
fn without_debug_information(toolchain: &Toolchain, built: &Path) -> Result<Vec<u8>> {
    let mut file = built.to_owned();
    if let Some(strip) = toolchain.strip() {
        file.set_extension("stripped");
        let mut strip = Command::new(strip);
        command::read(strip.arg("--strip-debug").arg("-o").arg(&file).arg(built))?;
    }
    fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// A cargo command on the kernel side's crate for the BPF target.
pub(crate) fn cargo(toolchain: &Toolchain, subcommand: &str) -> Command {
    let mut cargo = match toolchain.compiler {
        Compiler::Nightly => {
            let mut cargo = Command::new("rustup");
            cargo.args(["run", "nightly", "cargo"]);
            cargo
        }
        Compiler::Debian => Command::new("cargo"),
    };
    // What cargo told this program about its own build, and the user's flags for the host, are not for the other world.
    for (key, _) in env::vars_os() {
        let key_text = key.to_string_lossy();
        if key_text.starts_with("CARGO_PKG_") || key_text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&key);
        }
    }
    for key in [
        "CARGO",
        "RUSTC",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTUP_TOOLCHAIN",
    ] {
        cargo.env_remove(key);
    }
    cargo
        .arg(subcommand)
        .arg("--manifest-path")
        .arg(places::workspace().join("perf-ebpf/Cargo.toml"));
    cargo
        .args(["--target", BPF_TARGET, "--target-dir"])
        .arg(places::bpf_target());
    match toolchain.compiler {
        Compiler::Nightly => {
            cargo.args(["-Z", "build-std=core"]);
        }
        Compiler::Debian => {
            // aya-ebpf uses features that are not stable yet; this is what lets a stable compiler have them.
            cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
        }
    }
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker);
    // Which registers a kprobe's arguments lie in depends on the machine that the object runs on.
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Lets LLVM write small fills as stores. As calls of a function they would make each program one of several
        // functions, in which verifiers before Linux 6.3 recognise hardly any state as seen before.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo
}
