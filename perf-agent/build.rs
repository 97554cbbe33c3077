//! Finds the BPF object that `cargo xtask build` made, and hands its path to the code that embeds it.
//!
//! Without an object the build still succeeds, so that checks and unit tests need no BPF tool chain: an empty file is
//! embedded instead, and `perf-agent run` refuses with a message that names the command. Environment:
//! `PERF_AGENT_BPF_OBJECT` names another object; `PERF_AGENT_REQUIRE_BPF=1` makes a missing one an error, for those who
//! build packages.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_KERNEL").is_none() {
        return;
    }
    println!("cargo::rerun-if-env-changed=PERF_AGENT_BPF_OBJECT");
    println!("cargo::rerun-if-env-changed=PERF_AGENT_REQUIRE_BPF");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = if let Some(object) = env::var_os("PERF_AGENT_BPF_OBJECT") {
        println!("cargo::rerun-if-changed={}", object.display());
        PathBuf::from(object)
    } else {
        let folder = target_folder(&out).join("bpf");
        // An absent file would make cargo build the agent again each time, so the folder is watched.
        fs::create_dir_all(&folder).expect("the build directory can be written");
        println!("cargo::rerun-if-changed={}", folder.display());
        folder.join("perf-ebpf.o")
    };

    if object.is_file() {
        embed(&object);
        return;
    }
    if env::var_os("PERF_AGENT_REQUIRE_BPF").is_some_and(|value| value == "1") {
        println!(
            "cargo::error=there is no BPF object at {}: run `cargo xtask build`",
            object.display()
        );
        return;
    }
    println!("cargo::warning=built without its kernel side, `perf-agent run` will refuse: use `cargo xtask run`");
    let empty = out.join("no-bpf-object");
    fs::write(&empty, []).expect("the build directory can be written");
    embed(&empty);
}

fn embed(object: &Path) {
    println!("cargo::rustc-env=PERF_AGENT_BPF_OBJECT={}", object.display());
}

/// The build directory of all, seen from a build script's: `target/[triple/]profile/build/package/out`.
fn target_folder(out: &Path) -> PathBuf {
    let profile = out
        .ancestors()
        .nth(3)
        .expect("cargo puts OUT_DIR below the profile's folder");
    let above = profile
        .parent()
        .expect("a profile's folder lies in the build directory");
    // With `--target` there is one folder more; cargo marks the build directory itself.
    let marked = above
        .ancestors()
        .take(2)
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.unwrap_or(above).to_owned()
}
