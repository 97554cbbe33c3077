//! The guest's first file system: busybox, a few modules, and the script that goes on to the real root.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::vm::cpio::Archive;
use crate::vm::kernel::Files;
use crate::vm::modules::{self, Module};
use crate::vm::qemu;

/// The guest's script. It mounts what a machine has, runs the command, leaves its exit code, and turns the machine off.
///
/// Busybox's shell runs it; every program in it is busybox.
const INIT: &str = r"#!/bin/sh
/bin/busybox --install -s /bin
ln -s /bin/busybox /sbin/modprobe
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in @MODULES@; do modprobe $module 2>/dev/null; done

mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro @ROOT@ /host
mount -t tmpfs -o size=50% tmpfs /written
mkdir /written/upper /written/work
mount -t overlay -o lowerdir=/host,upperdir=/written/upper,workdir=/written/work overlay /root || poweroff -f
mount --bind /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t bpf bpf /root/sys/fs/bpf
mount -t debugfs debugfs /root/sys/kernel/debug
mount -t tracefs tracefs /root/sys/kernel/tracing
mount -t securityfs securityfs /root/sys/kernel/security
mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir -p /root/run/lock /root@RESULTS@
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 @SHARE@ /root@RESULTS@ || poweroff -f

hostname perf-agent-vm
ip link set lo up
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
cut -d' ' -f1 /proc/uptime >/root@RESULTS@/@READY@

chroot /root /bin/sh @RESULTS@/@COMMAND@ </dev/null >/dev/vport@PORT@ 2>&1
code=$?
dmesg >/root@RESULTS@/dmesg
echo $code >/root@RESULTS@/@STATUS@
sync
poweroff -f
";

/// A busybox that needs no libraries.
pub(crate) fn static_busybox() -> Result<PathBuf> {
    let busybox = command::find("busybox").context("there is no busybox")?;
    let bytes = fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    // The name of the dynamic loader is what a program with libraries carries in its head.
    let head = &bytes[..bytes.len().min(4096)];
    if head.windows(4).any(|window| window == b"ld-l") {
        bail!("{} needs libraries: install busybox-static", busybox.display());
    }
    Ok(busybox)
}

/// Makes the archive, or takes the one that was made before.
pub(crate) fn make(kernel: &Files) -> Result<PathBuf> {
    let busybox = static_busybox()?;
    // What the archive depends on is in its name, so that one of another program or script is not taken.
    let init = script();
    let name = format!(
        "initramfs-{:08x}.cpio",
        checksum(init.as_bytes()) ^ checksum(modules::AT_START.concat().as_bytes())
    );
    let file = kernel.folder.join(name);
    if file.is_file() {
        return Ok(file);
    }
    let mut archive = Archive::default();
    for folder in [
        "bin",
        "sbin",
        "dev",
        "proc",
        "sys",
        "host",
        "written",
        "root",
        "lib",
        "lib/modules",
    ] {
        archive.folder(folder);
    }
    archive.file("init", 0o755, init.as_bytes());
    archive.file("bin/busybox", 0o755, &fs::read(&busybox)?);
    archive.link("bin/sh", "busybox");
    let modules = modules::choose(kernel, &busybox)?;
    let folder = format!("lib/modules/{}", kernel.version);
    archive.folder(&folder);
    for module in &modules {
        archive.file(&format!("{folder}/{}.ko", module.name), 0o644, &module.object);
    }
    let (dependencies, aliases) = indexes(&modules)?;
    archive.file(&format!("{folder}/modules.dep"), 0o644, dependencies.as_bytes());
    archive.file(&format!("{folder}/modules.alias"), 0o644, aliases.as_bytes());
    archive.file(&format!("{folder}/modules.symbols"), 0o644, b"");
    let partial = file.with_extension("partial");
    fs::write(&partial, archive.finish()).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, &file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn script() -> String {
    let words = [
        ("@MODULES@", modules::AT_START.join(" ")),
        ("@ROOT@", qemu::ROOT_TAG.to_owned()),
        ("@SHARE@", qemu::SHARE_TAG.to_owned()),
        ("@RESULTS@", super::RESULTS.to_owned()),
        ("@READY@", qemu::READY.to_owned()),
        ("@COMMAND@", qemu::COMMAND.to_owned()),
        ("@STATUS@", qemu::STATUS.to_owned()),
        // Device 0, port 1: port 0 is kept for a console.
        ("@PORT@", "0p1".to_owned()),
    ];
    words
        .iter()
        .fold(INIT.to_owned(), |text, (word, meaning)| text.replace(word, meaning))
}

/// What `depmod` would write: for each module the files it needs, and the names it answers to.
fn indexes(modules: &[Module]) -> Result<(String, String)> {
    let (mut dependencies, mut aliases) = (String::new(), String::new());
    for module in modules {
        // All of them, not only the direct ones; each before what needs it, read from the right.
        let mut needed: Vec<&str> = Vec::new();
        let mut open: Vec<&str> = module.needs.iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            needed.retain(|&known| known != name);
            needed.push(name);
            let below = modules.iter().find(|module| module.name == name);
            open.extend(
                below
                    .into_iter()
                    .flat_map(|module| module.needs.iter().map(String::as_str)),
            );
        }
        let files = needed
            .iter()
            .map(|name| format!("{name}.ko"))
            .collect::<Vec<_>>()
            .join(" ");
        writeln!(dependencies, "{}.ko: {files}", module.name)?;
        for alias in &module.aliases {
            writeln!(aliases, "alias {alias} {}", module.name)?;
        }
    }
    Ok((dependencies, aliases))
}

/// FNV-1a: only tells versions of the same file apart.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
