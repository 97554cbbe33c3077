//! Which compiler and linker build the kernel side.
//!
//! Rust's BPF target has no prebuilt standard library in rustup, so a build wants either a nightly that builds `core`
//! itself, or a distribution that packages it prebuilt. The linker must read the compiler's LLVM bitcode, so it has to
//! know the same LLVM or a newer one: that is asked by linking an empty program.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::need::{Need, Remedy};
use crate::{command, places};

/// A compiler with a linker that understands it.
pub(crate) struct Toolchain {
    /// Whose compiler.
    pub(crate) compiler: Compiler,
    /// The bpf-linker program.
    pub(crate) linker: PathBuf,
}

/// Whose compiler builds the kernel side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// rustup's nightly, which builds `core` from rust-src.
    Nightly,
    /// Debian's rustc, which has `core` prebuilt for BPF.
    Debian,
}

/// Debian's compiler, beside rustup's.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The target of the kernel side.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";
/// The bpf-linker that is built where none works.
const LINKER_VERSION: &str = "0.13.0";
/// LLVM of Debian's compiler, as long as it is not installed and cannot be asked.
const DEBIAN_LLVM: u32 = 22;

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compiler = match self.compiler {
            Compiler::Nightly => "rustup's nightly, building core from rust-src",
            Compiler::Debian => "Debian's rustc with its prebuilt core for BPF",
        };
        write!(f, "{compiler}; linker {}", self.linker.display())
    }
}

impl Toolchain {
    /// LLVM's strip program, if there is one.
    pub(crate) fn strip(&self) -> Option<PathBuf> {
        let packaged = format!(
            "/usr/lib/llvm-{}/bin/llvm-strip",
            self.compiler.llvm().unwrap_or(DEBIAN_LLVM)
        );
        Some(PathBuf::from(packaged))
            .filter(|strip| strip.is_file())
            .or_else(|| command::find("llvm-strip"))
    }
}

impl Compiler {
    /// The compiler as a command.
    pub(crate) fn rustc(self) -> Command {
        match self {
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "rustc"]);
                command
            }
            Self::Debian => Command::new(DEBIAN_RUSTC),
        }
    }

    /// Whether it is installed with what the BPF target needs.
    fn is_ready(self) -> bool {
        let Ok(sysroot) = command::read(self.rustc().args(["--print", "sysroot"])) else {
            return false;
        };
        let library = Path::new(sysroot.trim()).join("lib/rustlib");
        match self {
            Self::Nightly => library.join("src/rust/library/core/src/lib.rs").is_file(),
            Self::Debian => fs::read_dir(library.join(BPF_TARGET).join("lib")).is_ok_and(|files| {
                files
                    .flatten()
                    .any(|file| file.file_name().to_string_lossy().starts_with("libcore"))
            }),
        }
    }

    /// The major version of its LLVM.
    fn llvm(self) -> Option<u32> {
        let text = command::read(self.rustc().arg("-vV")).ok()?;
        let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
        version.split('.').next()?.parse().ok()
    }
}

/// The tool chain to build with, after what [`needs`] named was installed.
pub(crate) fn find() -> Result<Toolchain> {
    for compiler in [Compiler::Nightly, Compiler::Debian] {
        if !compiler.is_ready() {
            continue;
        }
        if let Some(linker) = linkers().into_iter().find(|linker| can_link(compiler, linker)) {
            return Ok(Toolchain { compiler, linker });
        }
    }
    bail!("no BPF tool chain: neither rustup's nightly with rust-src nor Debian's rustc has a bpf-linker that works")
}

/// What is missing to have a tool chain; nothing if there is one.
pub(crate) fn needs() -> Vec<Need> {
    if find().is_ok() {
        return Vec::new();
    }
    let mut needs = Vec::new();
    // Some compiler's linker is missing at most; a nightly that is ready except for the linker is not worth a second
    // way to build one, since its LLVM is in no distribution.
    if !Compiler::Debian.is_ready() {
        let packages = ["rustc-web", "libstd-rust-web-dev-bpf"];
        needs.push(Need::packages(
            "BPF compiler",
            "a rustc with a core library for the BPF target",
            packages,
        ));
    }
    let llvm = Compiler::Debian.llvm().unwrap_or(DEBIAN_LLVM);
    let llvm_home = format!("/usr/lib/llvm-{llvm}");
    let headers = [
        format!("{llvm_home}/bin/llvm-config"),
        "/usr/include/zlib.h".into(),
        "/usr/include/zstd.h".into(),
    ];
    let polly = format!("{llvm_home}/lib/libPolly.a");
    if headers.iter().chain([&polly]).any(|file| !Path::new(file).exists()) || command::find("c++").is_none() {
        let mut packages = vec![
            format!("llvm-{llvm}-dev"),
            format!("clang-{llvm}"),
            format!("libpolly-{llvm}-dev"),
        ];
        packages.extend(["zlib1g-dev", "libzstd-dev", "g++"].map(str::to_owned));
        needs.push(Need::packages(
            "LLVM libraries",
            "bpf-linker is built against the compiler's own LLVM",
            packages,
        ));
    }
    let mut install = Command::new("cargo");
    install
        .env("LLVM_PREFIX", llvm_home)
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--force"]);
    install
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"])
        .arg(places::tools());
    needs.push(Need {
        what: format!("bpf-linker {LINKER_VERSION}"),
        why: "links the BPF object; built from source into the cache, about a minute or two",
        remedy: Remedy::Commands(vec![install]),
    });
    needs
}

/// Candidates, our own last: a linker that the user installed is preferred where it works.
fn linkers() -> Vec<PathBuf> {
    let own = places::tools().join("bin/bpf-linker");
    command::find("bpf-linker")
        .into_iter()
        .chain(own.is_file().then_some(own))
        .collect()
}

/// Whether the linker reads this compiler's bitcode.
fn can_link(compiler: Compiler, linker: &Path) -> bool {
    try_link(compiler, linker).unwrap_or(false)
}

fn try_link(compiler: Compiler, linker: &Path) -> Result<bool> {
    let folder = std::env::temp_dir().join(format!("perf-agent-probe-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (source, bitcode, object) = (folder.join("probe.rs"), folder.join("probe.bc"), folder.join("probe.o"));
    fs::write(
        &source,
        "#![no_std]\n#[unsafe(no_mangle)]\npub extern \"C\" fn probe() -> u64 { 0 }\n",
    )?;
    let mut compile = compiler.rustc();
    compile.args([
        "--edition=2024",
        "--crate-type=rlib",
        "--emit=llvm-bc",
        "-Copt-level=2",
        "-Cpanic=abort",
        "-o",
    ]);
    let has_bitcode = command::works(compile.arg(&bitcode).arg(&source));
    let mut link = Command::new(linker);
    link.args(["--target", BPF_TARGET, "--export", "probe", "--output"])
        .arg(&object)
        .arg(&bitcode);
    let works = has_bitcode && command::works(&mut link);
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(works)
}
