//! Readings of this machine.

use std::fs::File;
use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::clock;

/// A process of one's own that ends with the test.
struct Running(Child);

impl Running {
    fn shell(script: &str) -> Self {
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn();
        Self(child.unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn read(reader: &mut Reader, services: &[Arc<Service>]) -> Reading {
    reader.read(services, clock::monotonic_ns(), clock::wall_ns())
}

fn own() -> [Arc<Service>; 1] {
    [service(None, &[std::process::id()])]
}

#[test]
fn the_hosts_figures_are_those_of_proc() {
    let host = read(&mut Reader::new(Path::new("/")), &[]).host;
    let memory = |name: &str| {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':')
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .unwrap()
            * 1024
    };
    assert_eq!(host.memory_total_bytes, Some(memory("MemTotal")));
    // The machine goes on meanwhile.
    let available = host.memory_available_bytes.unwrap();
    assert!(available.abs_diff(memory("MemAvailable")) < memory("MemTotal") / 10);
    assert_eq!(host.swap_used_bytes, Some(memory("SwapTotal") - memory("SwapFree")));
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let last: f64 = load.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((host.load.unwrap()[2] - last).abs() < 0.5);
    let processors = fs::read_to_string("/proc/cpuinfo")
        .unwrap()
        .matches("processor\t:")
        .count();
    // Other architectures spell it otherwise.
    assert!(processors == 0 || host.processors as usize == processors);
}

/// Processor time of a process with one thread, by the scheduler's own account.
fn scheduled_ns(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_process_at_work_takes_one_processor_or_what_others_leave_it() {
    let child = Running::shell("while :; do :; done");
    let pid = child.0.id();
    let services = [service(None, &[pid])];
    let mut reader = Reader::new(Path::new("/"));
    let outer_ns = scheduled_ns(pid);
    let before = read(&mut reader, &services);
    let inner_ns = scheduled_ns(pid);
    let deadline_ns = clock::monotonic_ns() + 60_000_000_000;
    while scheduled_ns(pid) < inner_ns + 500_000_000 {
        assert!(clock::monotonic_ns() < deadline_ns);
        std::thread::sleep(Duration::from_millis(10));
    }
    let inner_ns = scheduled_ns(pid) - inner_ns;
    let now = read(&mut reader, &services);
    let outer_ns = scheduled_ns(pid) - outer_ns;
    let resources = Resources::between(Some(&before), &now);
    let usage = &resources.services[0];
    let taken_ns = usage.cpu_cores.unwrap() * resources.over_ns as f64;
    // Each reading is cut to a hundredth of a second.
    let cut_ns = 2e9 / rustix::param::clock_ticks_per_second() as f64;
    assert!(taken_ns >= inner_ns as f64 - cut_ns, "{taken_ns} {inner_ns}");
    assert!(taken_ns <= outer_ns as f64 + cut_ns, "{taken_ns} {outer_ns}");
    assert!(usage.cpu_cores.unwrap() < 1.1 && usage.cpu_usage.unwrap() <= 1.0);
    assert!(resources.host.cpu_usage.unwrap() > 0.0);
}

#[test]
fn open_files_are_counted() {
    let child = Running::shell("exec 3</dev/null 4</dev/null 5</dev/null; exec sleep 60");
    let services = [service(None, &[child.0.id()])];
    let mut reader = Reader::new(Path::new("/"));
    let of = |file: &str| format!("/proc/{}/{file}", child.0.id());
    let deadline_ns = clock::monotonic_ns() + 10_000_000_000;
    // A program that is being loaded opens and closes some.
    while fs::read_to_string(of("comm")).unwrap() != "sleep\n"
        || !fs::read_to_string(of("stat")).unwrap().contains(") S ")
    {
        assert!(clock::monotonic_ns() < deadline_ns);
        std::thread::sleep(Duration::from_millis(10));
    }
    let counted = fs::read_dir(of("fd")).unwrap().count();
    assert!(counted >= 6, "{counted}");
    let process = read(&mut reader, &services).processes[&child.0.id()].clone();
    assert_eq!(process.open_files, u32::try_from(counted).ok());
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!(process.open_files_limit, limits.current);
}

#[test]
fn open_files_are_counted_one_by_one_where_the_kernel_does_not_tell() {
    let files: Vec<_> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
    let tree = Tree::new().with_process(10, "0::/\n");
    for (number, _) in files.iter().enumerate() {
        File::create(tree.path(&format!("proc/10/fd/more{number}"))).unwrap();
    }
    assert_eq!(tree.read(&[service(None, &[10])]).processes[&10].open_files, Some(103));
}

#[test]
fn resident_memory_grows_by_what_is_allocated() {
    let mut reader = Reader::new(Path::new("/"));
    let pid = std::process::id();
    let resident = |reader: &mut Reader| read(reader, &own()).processes[&pid].resident_bytes.unwrap();
    let before = resident(&mut reader);
    let block = black_box(vec![1_u8; 256 << 20]);
    let after = resident(&mut reader);
    drop(block);
    // Other tests allocate, too.
    assert!(after > before + (200 << 20), "{before} {after}");
}

#[test]
fn a_process_started_after_the_system_and_before_now() {
    let reading = read(&mut Reader::new(Path::new("/")), &own());
    let process = &reading.processes[&std::process::id()];
    assert!(process.started_ns < reading.since_boot_ns.unwrap());
    let started_ns = process.started_wall_ns.unwrap();
    // The start of the system is told to the second.
    assert!(started_ns < reading.wall_ns + 2_000_000_000);
    assert!(reading.wall_ns - started_ns.min(reading.wall_ns) < 3_600_000_000_000);
    assert!(process.threads.is_some_and(|threads| threads > 0));
    assert!(process.group.is_some());
}

#[test]
fn connections_that_wait_to_be_accepted_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let services = [service(Some(address.port()), &[std::process::id()])];
    let mut reader = Reader::new(Path::new("/"));
    let before = read(&mut reader, &services);
    let resources = Resources::between(Some(&before), &read(&mut reader, &services));
    assert_eq!(resources.services[0].listen_queue, Some(3));
    assert!(resources.services[0].listen_overflows_per_second.is_some());
    drop(connections);
}

#[test]
fn a_process_that_ended_is_left_out() {
    let mut reader = Reader::new(Path::new("/"));
    let mut child = Running::shell(":");
    child.0.wait().unwrap();
    assert_eq!(read(&mut reader, &[service(None, &[child.0.id()])]).services.len(), 0);
}

/// Not a check but a figure: `cargo test -- --ignored --nocapture cost_of_a_reading`.
#[test]
#[ignore = "measures"]
#[expect(clippy::print_stdout, reason = "the figure is what it is for")]
fn cost_of_a_reading() {
    let processes: Vec<_> = (0..50).map(|_| Running::shell("exec sleep 60")).collect();
    let pids: Vec<_> = processes.iter().map(|process| process.0.id()).collect();
    let services: Vec<_> = pids.chunks(5).map(|pids| service(Some(80), pids)).collect();
    let mut reader = Reader::new(Path::new("/"));
    read(&mut reader, &services);
    let (begin_ns, begin_cpu) = (clock::monotonic_ns(), crate::usage::cpu_seconds());
    for _ in 0..100 {
        assert_eq!(read(&mut reader, &services).processes.len(), 50);
    }
    let took_us = (clock::monotonic_ns() - begin_ns) / 100_000;
    let cpu_us = (crate::usage::cpu_seconds() - begin_cpu) * 1e4;
    println!("a reading of 50 processes takes {took_us} us, {cpu_us:.0} us of a processor");
    let begin_ns = clock::monotonic_ns();
    for _ in 0..100 {
        black_box(read(&mut reader, &[]));
    }
    println!("of none {} us", (clock::monotonic_ns() - begin_ns) / 100_000);
}
