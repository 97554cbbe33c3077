//! What to observe, and how much of it to copy.

use std::path::{Component, Path, PathBuf};

use clap::{Args, ValueEnum};
use perf_common::settings::MAX_CAPTURE_BYTES;

use super::{Faults, Meant, number};
use crate::config::scalar::Scalar;
use crate::config::sections::{File, Observe};
use crate::config::{CaptureSettings, Executable, Selection};
use crate::functions::choice::Choice;
use crate::functions::{self, Chosen};
use crate::source::Backend;

/// Backends as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BackendChoice {
    /// The cheapest that works here.
    Auto,
    /// BTF tracepoints on the socket layer (Linux 6.3 and later).
    Tracepoint,
    /// Trampolines on TCP functions.
    Fentry,
    /// Kprobes on TCP functions.
    Kprobe,
}

/// What to observe, and how much of it to copy.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What to observe")]
pub struct CaptureOptions {
    /// Which family of kernel hooks to use. [default: auto]
    #[arg(long, value_enum, env = "PERF_AGENT_BACKEND")]
    backend: Option<BackendChoice>,
    /// Do not look into TLS: no process's library is probed, and of encrypted connections nothing is seen.
    #[arg(long)]
    no_tls: bool,
    /// Only these processes and their descendants. Values of this and the other filters: with commas, or repeated.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<String>,
    /// Only connections with one of these ports on either end.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    port: Vec<String>,
    /// Only these programs: absolute path or file name.
    #[arg(long, value_name = "PROGRAM", value_delimiter = ',')]
    exe: Vec<PathBuf>,
    /// Only processes in these control groups (v2) or below, such as system.slice/nginx.service.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    cgroup: Vec<PathBuf>,
    /// Not these processes and their descendants.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    exclude_pid: Vec<String>,
    /// Not connections with one of these ports.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    exclude_port: Vec<String>,
    /// Not these programs.
    #[arg(long, value_name = "PROGRAM", value_delimiter = ',')]
    exclude_exe: Vec<PathBuf>,
    /// Not processes in these control groups.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    exclude_cgroup: Vec<PathBuf>,
    /// Observe a function besides: FILE:SYMBOL[=NAME]. FILE is a path, or the name of a library or program, and in SYMBOL
    /// may stand * and ?. Static probes: usdt:FILE:PROVIDER:PROBE, or usdt:FILE:PROVIDER:BEGIN..END for the time in between.
    /// In every process that runs it, whatever the filters. May be repeated; perf-agent functions shows what is meant.
    #[arg(long, value_name = "FUNCTION")]
    function: Vec<String>,
    /// What observing one function may cost the programs that call it, in parts of a core; beyond, its probes are taken off.
    /// 0.02 unless the configuration says otherwise.
    #[arg(long, value_name = "SHARE", help_heading = "Limits")]
    function_cpu_share: Option<String>,
    /// Memory of the ring buffers between kernel and agent, divided among the processors; a power of two; bigger survives
    /// longer bursts. [default: 8M]
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    ring_bytes: Option<String>,
    /// Bytes of each request message that may be copied; must hold the head. 4024 fill an item of 4 KiB of the ring buffer.
    /// [default: 4024]
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    capture_request_bytes: Option<String>,
    /// Bytes of each response message that may be copied. What is sent or read at once and is no longer is copied whole,
    /// since it may answer several pipelined requests; of what is longer, the first 952, for status and length.
    /// [default: 4024]
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    capture_response_bytes: Option<String>,
    /// Connections followed at once; what exceeds them is counted as evicted. [default: 65536]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_connections: Option<String>,
}

impl CaptureOptions {
    /// What only a running kernel can do; not the backend, which the environment may name once and for all.
    pub const IN_THE_KERNEL: [&str; 14] = [
        "no_tls",
        "function",
        "function_cpu_share",
        "pid",
        "port",
        "exe",
        "cgroup",
        "exclude_pid",
        "exclude_port",
        "exclude_exe",
        "exclude_cgroup",
        "ring_bytes",
        "capture_request_bytes",
        "capture_response_bytes",
    ];

    /// What is meant.
    pub fn settings(&self, file: &File, faults: &mut Faults) -> CaptureSettings {
        let limits = &file.limits;
        let of = |option, typed: &'_ Option<String>, key, written: &'_ Option<Scalar>, default| {
            Meant::of((option, typed.as_ref()), (key, written.as_ref()), default)
        };
        let ring = of(
            "--ring-bytes",
            &self.ring_bytes,
            "limits.ring_bytes",
            &limits.ring_bytes,
            "8M",
        );
        let ring_bytes = faults.take(ring.size(4096, 1 << 30)).unwrap_or(4096);
        if !ring_bytes.is_power_of_two() {
            let near = ring_bytes.next_power_of_two();
            faults.add(format!("{ring}: must be a power of two, such as {near}"));
        }
        let request = of(
            "--capture-request-bytes",
            &self.capture_request_bytes,
            "limits.capture_request_bytes",
            &limits.capture_request_bytes,
            "4024",
        );
        let response = of(
            "--capture-response-bytes",
            &self.capture_response_bytes,
            "limits.capture_response_bytes",
            &limits.capture_response_bytes,
            "4024",
        );
        let mut capture = |meant: &Meant| {
            let size = meant.size(64, u64::from(MAX_CAPTURE_BYTES));
            faults.take(size).unwrap_or_default()
        };
        let (request_bytes, response_bytes) = (capture(&request), capture(&response));
        let (functions, function_share) = self.functions(file, faults);
        let connections = of(
            "--max-connections",
            &self.max_connections,
            "limits.max_connections",
            &limits.max_connections,
            "65536",
        );
        let observe = &file.observe;
        CaptureSettings {
            tls: !self.no_tls && observe.tls.unwrap_or(true),
            functions,
            function_share,
            backend: self.backend(observe, faults),
            include: Filter {
                options: ["--pid", "--port", "--exe", "--cgroup"],
                typed: (&self.pid, &self.port, &self.exe, &self.cgroup),
                keys: [
                    "observe.pids",
                    "observe.ports",
                    "observe.programs",
                    "observe.control_groups",
                ],
                written: (
                    &observe.pids,
                    &observe.ports,
                    &observe.programs,
                    &observe.control_groups,
                ),
            }
            .selection(faults),
            exclude: Filter {
                options: ["--exclude-pid", "--exclude-port", "--exclude-exe", "--exclude-cgroup"],
                typed: (
                    &self.exclude_pid,
                    &self.exclude_port,
                    &self.exclude_exe,
                    &self.exclude_cgroup,
                ),
                keys: [
                    "observe.exclude_pids",
                    "observe.exclude_ports",
                    "observe.exclude_programs",
                    "observe.exclude_control_groups",
                ],
                written: (
                    &observe.exclude_pids,
                    &observe.exclude_ports,
                    &observe.exclude_programs,
                    &observe.exclude_control_groups,
                ),
            }
            .selection(faults),
            ring_bytes,
            request_bytes,
            response_bytes,
            max_connections: faults.take(connections.number(16, 4_194_304)).unwrap_or_default(),
        }
    }

    fn backend(&self, observe: &Observe, faults: &mut Faults) -> Option<Backend> {
        let written = observe.backend.as_ref().and_then(|written| {
            let choice = BackendChoice::from_str(&written.0, false);
            faults.take(choice.map_err(|_unknown| {
                format!(
                    "observe.backend {}: expected auto, tracepoint, fentry or kprobe",
                    written.0
                )
            }))
        });
        match self.backend.or(written).unwrap_or(BackendChoice::Auto) {
            BackendChoice::Auto => None,
            BackendChoice::Tracepoint => Some(Backend::Tracepoint),
            BackendChoice::Fentry => Some(Backend::Fentry),
            BackendChoice::Kprobe => Some(Backend::Kprobe),
        }
    }

    /// The functions that are meant, by what was typed and by the configuration, and what one may cost.
    fn functions(&self, file: &File, faults: &mut Faults) -> (Vec<Chosen>, u32) {
        let section = &file.functions;
        let configured = section.choose.iter().map(|entry| (&entry.at, entry.name.as_ref()));
        let mut choices = Vec::new();
        for (text, name) in self.function.iter().map(|text| (text, None)).chain(configured) {
            let choice = Choice::parse(text).map_err(|error| format!("--function {text}: {error}"));
            if let Some(mut choice) = faults.take(choice) {
                choice.name = name.cloned().or(choice.name);
                choices.push(choice);
            }
        }
        let meant = Meant::of(
            ("--function-cpu-share", self.function_cpu_share.as_ref()),
            ("functions.cpu_share", section.cpu_share.as_ref()),
            "0.02",
        );
        let share = meant.text.parse().unwrap_or(f64::NAN);
        if !(0.001..=1000.0).contains(&share) {
            faults.add(format!("{meant}: expected a part of a core, such as 0.02"));
        }
        let found = if choices.is_empty() {
            Vec::new()
        } else {
            functions::find(&choices).unwrap_or_else(|wrong| {
                for fault in wrong {
                    faults.add(format!("--function {fault}"));
                }
                Vec::new()
            })
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within its bounds, or a fault"
        )]
        let thousandths = (share * 1000.0).round() as u32;
        (found, thousandths)
    }
}

/// One filter: what was typed and what the file says, and what each is called in a fault.
struct Filter<'a> {
    options: [&'static str; 4],
    typed: (&'a [String], &'a [String], &'a [PathBuf], &'a [PathBuf]),
    keys: [&'static str; 4],
    written: (&'a [Scalar], &'a [Scalar], &'a [PathBuf], &'a [PathBuf]),
}

impl Filter<'_> {
    fn selection(&self, faults: &mut Faults) -> Selection {
        let mut numbers = |kind: usize, typed: &[String], written: &[Scalar], most| -> Vec<u32> {
            let typed = typed.iter().map(|text| (self.options[kind], text));
            let written = written.iter().map(|value| (self.keys[kind], &value.0));
            typed
                .chain(written)
                .filter_map(|(name, text)| faults.take(number(name, text, 1, most)))
                .collect()
        };
        let pids = numbers(0, self.typed.0, self.written.0, 4_194_304);
        let ports = numbers(1, self.typed.1, self.written.1, u32::from(u16::MAX));
        let ports = ports.into_iter().filter_map(|port| u16::try_from(port).ok()).collect();
        let paths = |kind: usize, typed: &[PathBuf], written: &[PathBuf]| -> Vec<(&'static str, PathBuf)> {
            let typed = typed.iter().map(|path| (self.options[kind], path.clone()));
            let written = written.iter().map(|path| (self.keys[kind], path.clone()));
            typed.chain(written).collect()
        };
        Selection {
            pids,
            ports,
            executables: paths(2, self.typed.2, self.written.2)
                .into_iter()
                .filter_map(|(name, path)| faults.take(executable(name, path)))
                .collect(),
            cgroups: paths(3, self.typed.3, self.written.3)
                .into_iter()
                .filter_map(|(name, path)| faults.take(control_group(name, &path)))
                .collect(),
        }
    }
}

fn executable(option: &str, path: PathBuf) -> Result<Executable, String> {
    match path.components().count() {
        1 => Ok(Executable(path)),
        _ if path.is_absolute() => Ok(Executable(path)),
        _ => Err(format!(
            "{option} {}: an absolute path or a file name is needed",
            path.display()
        )),
    }
}

/// A control group, given as a directory or relative to the root, as `/proc/PID/cgroup` has it.
fn control_group(option: &str, path: &Path) -> Result<PathBuf, String> {
    let fault = |reason: &str| Err(format!("{option} {}: {reason}", path.display()));
    if path.components().any(|part| part == Component::ParentDir) {
        return fault("must not contain ..");
    }
    if path.strip_prefix("/").unwrap_or(path).as_os_str().is_empty() {
        return fault("names no control group");
    }
    Ok(path.to_owned())
}
