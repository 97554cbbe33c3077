//! Runs QEMU and watches it: the command's output on one channel, its exit code and files in a shared folder, the
//! kernel's console in a log.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::vm::kernel::{Files, Kernel};
use crate::vm::{Echo, Options, Output, RESULTS};
use crate::{command, places};

/// Names of the two shared folders, for the guest's mounts.
pub(crate) const ROOT_TAG: &str = "root";
pub(crate) const SHARE_TAG: &str = "share";
/// Files in the shared folder: the command as a shell script; the guest's uptime before it; its exit code.
pub(crate) const COMMAND: &str = ".command";
pub(crate) const READY: &str = ".ready";
pub(crate) const STATUS: &str = ".status";

/// A guest that has not come to its command by then never will; 5 seconds are usual on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_mins(2);
/// How much of the console an error shows.
const CONSOLE_LINES: usize = 25;
/// How the kernel begins to tell of what it does not survive.
const FAULTS: [&str; 5] = [
    "BUG:",
    "Oops:",
    "Kernel panic",
    "general protection fault",
    "soft lockup",
];

pub(crate) fn run(
    kernel: Kernel,
    files: &Files,
    initramfs: &Path,
    options: &Options,
    command: &Command,
) -> Result<Output> {
    let folder = places::target().join("vm").join(kernel.name());
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = fs::File::create(folder.join("lock")).context("cannot create the lock")?;
    lock.lock()
        .context("cannot wait for another boot of this kernel to end")?;

    let (results, console) = (folder.join("results"), folder.join("console.log"));
    if results.exists() {
        fs::remove_dir_all(&results).with_context(|| format!("cannot clear {}", results.display()))?;
    }
    fs::create_dir_all(&results).with_context(|| format!("cannot create {}", results.display()))?;
    fs::write(results.join(COMMAND), script(command)).context("cannot hand over the command")?;

    let mut qemu = qemu(files, initramfs, options, &results, &console);
    let started = command::now();
    let mut guest = qemu
        .spawn()
        .with_context(|| format!("cannot start {}", command::shown(&qemu)))?;
    let mut channel = guest.stdout.take().context("the guest's channel is a pipe")?;
    let (echo, name) = (options.echo, kernel.name());
    let reader = thread::spawn(move || -> io::Result<Vec<u8>> {
        let (mut text, mut part, mut shown) = (Vec::new(), [0; 8192], 0);
        loop {
            let length = channel.read(&mut part)?;
            if length == 0 {
                return Ok(text);
            }
            text.extend_from_slice(&part[..length]);
            match echo {
                Echo::Silent => {}
                Echo::Plain => {
                    io::stdout().write_all(&part[..length])?;
                    io::stdout().flush()?;
                }
                Echo::Named => {
                    while let Some(end) = text[shown..].iter().position(|&byte| byte == b'\n') {
                        println!("{name} | {}", String::from_utf8_lossy(&text[shown..shown + end]));
                        shown += end + 1;
                    }
                }
            }
        }
    });
    let ended = wait(&mut guest, &results, options.timeout, started);
    let text = reader
        .join()
        .expect("the reader does not panic")
        .context("cannot read from the guest")?;
    let text = String::from_utf8_lossy(&text).into_owned();

    let name = kernel.name();
    ended
        .and_then(|()| status(&results))
        .map(|code| Output {
            code,
            text,
            results: results.clone(),
        })
        .with_context(|| {
            let tail = tail(&console);
            format!(
                "kernel {name} ({}): console in {}:\n{tail}",
                files.version,
                console.display()
            )
        })
}

fn qemu(files: &Files, initramfs: &Path, options: &Options, results: &Path, console: &Path) -> Command {
    // A panic ends the machine at once; an oops or a processor stuck for two minutes is a panic. Times are the host's,
    // so no clock source is to be distrusted for a pause of the interpreter. Kernels that can be told to are preempted
    // wherever they may be: programs of uprobes too, see `no_private_stack` on the kernel side.
    let line = "console=ttyS0 loglevel=5 panic=-1 oops=panic softlockup_panic=1 sysctl.kernel.watchdog_thresh=60 \
                tsc=reliable no_timer_check mitigations=off random.trust_cpu=on nokaslr preempt=full";
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-machine",
        "pc",
        "-cpu",
        "max",
    ]);
    if options.icount {
        qemu.args([
            "-accel",
            "tcg,thread=single",
            "-icount",
            "shift=2,sleep=off",
            "-smp",
            "1",
        ]);
    } else {
        qemu.args(["-accel", "tcg,thread=multi", "-smp", &options.cpus.to_string()]);
    }
    qemu.args(["-m", &format!("{}M", options.memory_mib), "-kernel"])
        .arg(&files.image);
    qemu.arg("-initrd")
        .arg(initramfs)
        .args(["-append", line, "-serial", &format!("file:{}", escaped(console))]);
    qemu.args([
        "-chardev",
        "file,id=channel,path=/dev/stdout",
        "-device",
        "virtio-serial-pci",
    ]);
    qemu.args([
        "-device",
        "virtserialport,chardev=channel,name=channel",
        "-device",
        "virtio-rng-pci",
    ]);
    let shared = |tag: &str, path: &Path, more: &str| {
        let path = escaped(path);
        format!("local,path={path},mount_tag={tag},security_model=none,multidevs=remap{more}")
    };
    qemu.args(["-virtfs", &shared(ROOT_TAG, Path::new("/"), ",readonly=on")]);
    qemu.args(["-virtfs", &shared(SHARE_TAG, results, "")]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    qemu
}

/// QEMU separates options by commas.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The command as the guest's shell runs it: the same paths, this machine's search path, and what was set for it.
fn script(command: &Command) -> String {
    let mut inner = Command::new("env");
    let search = std::env::var("PATH").unwrap_or_default();
    inner
        .arg(format!("PATH={search}:/usr/sbin:/usr/bin:/sbin:/bin"))
        .arg("HOME=/root");
    inner.arg(format!("PERF_AGENT_VM_RESULTS={RESULTS}"));
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            inner.arg(format!("{}={}", key.display(), value.display()));
        }
    }
    inner.arg(command.get_program()).args(command.get_args());
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let mut enter = Command::new("cd");
    enter.arg(command.get_current_dir().unwrap_or(&here));
    format!(
        "{} || exit 127\nexec {}\n",
        command::shown(&enter),
        command::shown(&inner)
    )
}

fn wait(guest: &mut Child, results: &Path, timeout: Duration, started: Instant) -> Result<()> {
    loop {
        if guest.try_wait().context("cannot wait for QEMU")?.is_some() {
            return Ok(());
        }
        let is_up = results.join(READY).exists();
        let elapsed = started.elapsed();
        if elapsed > timeout || (!is_up && elapsed > BOOT_LIMIT) {
            guest.kill().context("cannot end QEMU")?;
            guest.wait().context("cannot wait for QEMU")?;
            let stage = if is_up {
                "the command took"
            } else {
                "the guest was not up after"
            };
            bail!("{stage} more than {} s: ended it", elapsed.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn status(results: &Path) -> Result<i32> {
    if !results.join(READY).exists() {
        bail!("the guest ended before it was up");
    }
    let status = fs::read_to_string(results.join(STATUS)).context("the guest ended before its command did")?;
    status
        .trim()
        .parse()
        .with_context(|| format!("{status:?} is no exit code"))
}

/// Where the console tells of a fault, or its last lines.
fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let is_fault = |line: &&str| FAULTS.iter().any(|fault| line.contains(fault));
    let from = lines
        .iter()
        .position(is_fault)
        .unwrap_or(lines.len().saturating_sub(CONSOLE_LINES));
    lines[from..]
        .iter()
        .take(CONSOLE_LINES)
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}
