//! Boots Debian's kernels in QEMU and runs one command in them.
//!
//! The guest sees this machine's own root file system (over 9p, read-only, with an overlay in memory on top), so that
//! whatever is installed or built here is there too, under the same path; nothing that the guest writes arrives here
//! but what it puts into [`RESULTS`]. QEMU interprets (TCG): it works without KVM and on any machine, about 10 times
//! slower, and distorts times. From start to the command's first byte it takes about 5 seconds.
//!
//! [`boot`] is the whole interface. [`kernel`] brings a kernel; [`modules`], [`cpio`] and [`initramfs`] make what is
//! needed to get to the root file system; [`qemu`] runs and watches.

mod cpio;
mod initramfs;
mod kernel;
mod modules;
mod qemu;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

pub(crate) use kernel::Kernel;

use crate::need::Need;

/// Where the command in the guest finds a folder whose files are left in [`Output::results`].
pub(crate) const RESULTS: &str = "/run/perf-agent-results";

/// How a guest is made.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Virtual processors; one with `icount`.
    pub(crate) cpus: u32,
    /// Memory in MiB; half of it at most holds what the guest writes.
    pub(crate) memory_mib: u32,
    /// QEMU's instruction clock: guest time is a count of instructions, so that measurements repeat on a busy machine.
    /// While the guest does nothing but wait for a file, this clock runs to the next timer, far ahead of real time: read
    /// everything once before measuring, and measure processor time.
    pub(crate) icount: bool,
    /// After this time the guest is ended, which is an error.
    pub(crate) timeout: Duration,
    /// How the command's output is shown while it runs.
    pub(crate) echo: Echo,
}

/// How output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Not at all.
    Silent,
    /// As it comes.
    Plain,
    /// By lines, behind the kernel's name: several guests run at the same time.
    Named,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory_mib: 2048,
            icount: false,
            timeout: Duration::from_mins(15),
            echo: Echo::Plain,
        }
    }
}

/// What a command in a guest came to.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it wrote to its standard output and standard error, in one.
    pub(crate) text: String,
    /// What it left in [`RESULTS`], the kernel's log as `dmesg`, and after a failure the small files that the guest wrote
    /// to `/tmp`, in `tmp`. The next boot of this kernel clears it.
    pub(crate) results: PathBuf,
}

/// What is missing to boot a kernel; the kernels themselves are fetched by [`boot`].
pub(crate) fn needs() -> Vec<Need> {
    let qemu = Need::program("qemu-system-x86_64", "qemu-system-x86", "boots other kernels");
    let busybox = Need::program("busybox", "busybox-static", "the first program of the virtual machines");
    let static_busybox = busybox.or_else(|| {
        let is_static = initramfs::static_busybox().is_ok();
        let why = "the first program of the virtual machines (the busybox here is not a static one)";
        (!is_static).then(|| Need::packages("busybox", why, ["busybox-static"]))
    });
    qemu.into_iter().chain(static_busybox).collect()
}

/// Boots the kernel and runs the command in it, with its arguments, environment settings and current directory, as root.
///
/// An error means that the guest or the kernel failed, and names the console's log; a command that fails is no error.
pub(crate) fn boot(kernel: Kernel, options: &Options, command: &Command) -> Result<Output> {
    let files = kernel.fetch()?;
    let initramfs = initramfs::make(&files)?;
    qemu::run(kernel, &files, &initramfs, options, command)
}
