//! What came into the tree: licences, forbidden crates, sources (`deny.toml`).

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::steps::Outcome;
use crate::{command, places};

const VERSION: &str = "0.20.2";

/// Asks cargo-deny where it is, and builds it in CI; building takes some minutes, which the inner loop does not have.
pub(crate) fn check() -> Result<Outcome> {
    let own = places::tools().join("bin/cargo-deny");
    let is_ci = env::var("CI").is_ok_and(|ci| ci == "true");
    if !own.is_file() && is_ci {
        println!("about to build cargo-deny {VERSION} into the cache: it checks what `deny.toml` says");
        let mut install = Command::new("cargo");
        // Without its default features it has no network code: the check of advisories is not used.
        install.args([
            "install",
            "cargo-deny",
            "--version",
            VERSION,
            "--locked",
            "--no-default-features",
            "--root",
        ]);
        command::run(install.arg(places::tools()))?;
    }
    let found = own.is_file().then_some(own).or_else(|| command::find("cargo-deny"));
    let Some(deny) = found else {
        return Ok(Outcome::Skipped(format!(
            "no cargo-deny (cargo install cargo-deny --version {VERSION})"
        )));
    };
    let ours: &[&str] = &["check", "licenses", "bans", "sources"];
    let kernel_side: &[&str] = &[
        "--manifest-path",
        "perf-ebpf/Cargo.toml",
        "check",
        "licenses",
        "sources",
    ];
    for arguments in [ours, kernel_side] {
        let mut check = Command::new(&deny);
        check
            .current_dir(places::workspace())
            .args(["--config", "deny.toml"])
            .args(arguments);
        command::run(&mut check)?;
    }
    Ok(Outcome::Done)
}
