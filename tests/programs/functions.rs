//! A server whose functions are observed, and which writes down itself how often and how long it was in each. It takes one
//! connection after the other, and answers on each until it is closed:
//!
//! - `/work/N` calls `worked` N times;
//! - `/deep/N` calls `deep`, which calls itself until it is N deep;
//! - `/thrown/N` calls `thrown` N times, of which every second one is left by a panic;
//! - `/hold/MS` is in `held` for so long;
//! - `/probes/N` passes a static probe N times, and enters and leaves a pair of them;
//! - `/storm/N` calls `tiny` N times;
//! - `/log` tells of each function how often it was called and how long it took in all, nanoseconds, as its caller sees it;
//!   of `worked` also as `inside`, from its own first line to its last.

#![expect(clippy::print_stdout, reason = "a program of the tests' tells where it listens")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::panic::{catch_unwind, panic_any};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use perf_agent_tests::clock::now_ns;

/// Calls and nanoseconds, by function.
static LOG: Mutex<BTreeMap<&str, (u64, u64)>> = Mutex::new(BTreeMap::new());

fn main() -> Result<()> {
    std::panic::set_hook(Box::new(|_| {}));
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        serve(stream?)?;
    }
    Ok(())
}

fn serve(stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).context("no path")?.to_owned();
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line)?;
        }
        let body = answer(&path)?;
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")?;
    }
}

fn answer(path: &str) -> Result<String> {
    let (what, number) = path[1..].split_once('/').unwrap_or((&path[1..], "0"));
    let number: u64 = number.parse()?;
    match what {
        "work" => (0..number).for_each(|round| timed("worked", || worked(100 + 40 * round))),
        "deep" => timed("deep", || {
            black_box(deep(number));
        }),
        "thrown" => (0..number).for_each(|round| timed("thrown", || drop(catch_unwind(|| thrown(round))))),
        "hold" => timed("held", || held(number)),
        "probes" => (0..number).for_each(|_| probes()),
        "storm" => (0..number).for_each(|round| {
            black_box(tiny(round));
        }),
        "log" => {
            let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
            let lines = log.iter().map(|(name, (calls, ns))| format!("{name} {calls} {ns}\n"));
            return Ok(lines.collect());
        }
        _ => {}
    }
    Ok(String::new())
}

fn timed(name: &'static str, work: impl FnOnce()) {
    let began_ns = now_ns();
    work();
    noted(name, now_ns() - began_ns);
}

fn noted(name: &'static str, took: u64) {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = log.entry(name).or_default();
    *entry = (entry.0 + 1, entry.1 + took);
}

#[inline(never)]
fn worked(us: u64) {
    let began_ns = now_ns();
    while now_ns() < began_ns + us * 1000 {
        std::hint::spin_loop();
    }
    noted("inside", now_ns() - began_ns);
}

#[inline(never)]
fn deep(further: u64) -> u64 {
    if further <= 1 {
        return 1;
    }
    1 + black_box(deep(black_box(further - 1)))
}

#[inline(never)]
fn thrown(round: u64) {
    if black_box(round) % 2 == 1 {
        panic_any(round);
    }
    black_box(round);
}

#[inline(never)]
fn held(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
    black_box(ms);
}

#[inline(never)]
fn tiny(round: u64) -> u64 {
    black_box(round)
}

/// Static probes as systemtap's `sys/sdt.h` makes them: an instruction that does nothing, and a note that says where it is.
macro_rules! probe {
    ($name:literal) => {
        probe!($name, "0")
    };
    ($name:literal, $semaphore:literal) => {
        // SAFETY: nothing is executed but `nop`.
        unsafe {
            std::arch::asm!(
                "990: nop",
                ".pushsection .note.stapsdt, \"\", \"note\"",
                ".balign 4",
                ".4byte 992f-991f, 994f-993f, 3",
                "991: .asciz \"stapsdt\"",
                "992: .balign 4",
                concat!("993: .8byte 990b, 0, ", $semaphore),
                concat!(".asciz \"shop\"\n.asciz \"", $name, "\"\n.asciz \"\""),
                "994: .balign 4",
                ".popsection",
            );
        }
    };
}

std::arch::global_asm!(
    ".pushsection .probes, \"aw\", \"progbits\"",
    // In a page of its own: where the linker maps one page of the file twice, read-only and writable, the kernel may count in
    // the other mapping (kernel/events/uprobes.c, `valid_ref_ctr_vma`).
    ".balign 4096",
    ".globl shop_guarded_semaphore",
    "shop_guarded_semaphore: .2byte 0",
    ".popsection",
);

// SAFETY: it is defined above, with this type.
unsafe extern "C" {
    /// Raised by who wants to see the probe.
    static shop_guarded_semaphore: u16;
}

#[inline(never)]
fn probes() {
    // SAFETY: a static is always readable; volatile, since others write it.
    let wanted = unsafe { (&raw const shop_guarded_semaphore).read_volatile() };
    if wanted > 0 {
        probe!("guarded", "shop_guarded_semaphore");
    }
    probe!("ordered");
    probe!("begins");
    black_box(());
    probe!("ends");
}
