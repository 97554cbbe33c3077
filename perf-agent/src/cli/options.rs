//! Options that several commands share: as typed, and how they become settings. Reading them collects every fault
//! instead of stopping at the first.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use perf_common::settings::MAX_CAPTURE_BYTES;

use super::Failure;
use crate::api::listen::Listen;
use crate::config::{self, CaptureSettings, CoreSettings, Executable, Selection, ServeSettings};
use crate::endpoint::{RouteError, Routes};
use crate::functions::choice::Choice;
use crate::functions::{self, Chosen};
use crate::source::Backend;

/// What observing one function may cost, in parts of a core.
const DEFAULT_SHARE: f64 = 0.02;
/// Shortest token that is taken.
const MIN_TOKEN_BYTES: usize = 16;

/// Everything that is wrong with what was typed.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Something is wrong.
    pub fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// Takes the value, or notes the fault.
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|fault| self.0.push(fault)).ok()
    }

    /// The value, if nothing was wrong.
    ///
    /// # Errors
    /// [`Failure::Usage`] with every fault.
    pub fn none_or<T>(self, value: T) -> Result<T, Failure> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Failure::Usage(self.0))
        }
    }
}

/// Backends as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
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
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What to observe")]
pub struct CaptureOptions {
    /// Which family of kernel hooks to use.
    #[arg(long, value_enum, default_value_t = BackendChoice::Auto, env = "PERF_AGENT_BACKEND")]
    backend: BackendChoice,
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
    /// A configuration file (TOML), for functions: [[functions.choose]] with at = "FILE:SYMBOL" and name = "...".
    #[arg(long, value_name = "FILE", env = "PERF_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Memory of the ring buffers between kernel and agent, divided among the processors; a power of two; bigger survives
    /// longer bursts.
    #[arg(long, value_name = "BYTES", default_value = "8M", help_heading = "Limits")]
    ring_bytes: String,
    /// Bytes of each request message that may be copied; must hold the head. 4024 fill an item of 4 KiB of the ring buffer.
    #[arg(long, value_name = "BYTES", default_value = "4024", help_heading = "Limits")]
    capture_request_bytes: String,
    /// Bytes of each response message that may be copied. What is sent or read at once and is no longer is copied whole,
    /// since it may answer several pipelined requests; of what is longer, the first 952, for status and length.
    #[arg(long, value_name = "BYTES", default_value = "4024", help_heading = "Limits")]
    capture_response_bytes: String,
    /// Connections followed at once; what exceeds them is counted as evicted.
    #[arg(long, value_name = "N", default_value = "65536", help_heading = "Limits")]
    max_connections: String,
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
    pub fn settings(&self, faults: &mut Faults) -> CaptureSettings {
        let ring = faults
            .take(size("--ring-bytes", &self.ring_bytes, 4096, 1 << 30))
            .unwrap_or(4096);
        if !ring.is_power_of_two() {
            let near = ring.next_power_of_two();
            faults.add(format!(
                "--ring-bytes {}: must be a power of two, such as {near}",
                self.ring_bytes
            ));
        }
        let mut capture = |option, text| {
            faults
                .take(size(option, text, 64, u64::from(MAX_CAPTURE_BYTES)))
                .unwrap_or_default()
        };
        let request_bytes = capture("--capture-request-bytes", &self.capture_request_bytes);
        let response_bytes = capture("--capture-response-bytes", &self.capture_response_bytes);
        let (functions, function_share) = self.functions(faults);
        let max_connections = number("--max-connections", &self.max_connections, 16, 4_194_304);
        CaptureSettings {
            tls: !self.no_tls,
            functions,
            function_share,
            backend: match self.backend {
                BackendChoice::Auto => None,
                BackendChoice::Tracepoint => Some(Backend::Tracepoint),
                BackendChoice::Fentry => Some(Backend::Fentry),
                BackendChoice::Kprobe => Some(Backend::Kprobe),
            },
            include: selection(
                ["--pid", "--port", "--exe", "--cgroup"],
                &self.pid,
                &self.port,
                &self.exe,
                &self.cgroup,
                faults,
            ),
            exclude: selection(
                ["--exclude-pid", "--exclude-port", "--exclude-exe", "--exclude-cgroup"],
                &self.exclude_pid,
                &self.exclude_port,
                &self.exclude_exe,
                &self.exclude_cgroup,
                faults,
            ),
            ring_bytes: u32::try_from(ring).unwrap_or(u32::MAX),
            request_bytes: u32::try_from(request_bytes).unwrap_or(u32::MAX),
            response_bytes: u32::try_from(response_bytes).unwrap_or(u32::MAX),
            max_connections: faults.take(max_connections).unwrap_or_default(),
        }
    }

    /// The functions that are meant, by what was typed and by the configuration, and what one may cost.
    fn functions(&self, faults: &mut Faults) -> (Vec<Chosen>, u32) {
        let file = self.config.as_deref().map(config::file::read);
        let section = file.and_then(|file| faults.take(file)).unwrap_or_default().functions;
        let configured = section.choose.into_iter().map(|entry| (entry.at, entry.name));
        let mut choices = Vec::new();
        for (text, name) in self.function.iter().map(|text| (text.clone(), None)).chain(configured) {
            let choice = Choice::parse(&text).map_err(|error| format!("--function {text}: {error}"));
            if let Some(mut choice) = faults.take(choice) {
                choice.name = name.or(choice.name);
                choices.push(choice);
            }
        }
        let typed = self
            .function_cpu_share
            .as_ref()
            .map(|text| text.parse().unwrap_or(f64::NAN));
        let share = typed.or(section.cpu_share).unwrap_or(DEFAULT_SHARE);
        if !(0.001..=1000.0).contains(&share) {
            faults.add(format!(
                "--function-cpu-share {}: expected a part of a core, such as 0.02",
                self.function_cpu_share.as_deref().unwrap_or(&share.to_string())
            ));
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

fn selection(
    [pid, port, exe, cgroup]: [&str; 4],
    pids: &[String],
    ports: &[String],
    executables: &[PathBuf],
    cgroups: &[PathBuf],
    faults: &mut Faults,
) -> Selection {
    let executable = |path: &PathBuf| match path.components().count() {
        1 => Ok(Executable(path.clone())),
        _ if path.is_absolute() => Ok(Executable(path.clone())),
        _ => Err(format!(
            "{exe} {}: an absolute path or a file name is needed",
            path.display()
        )),
    };
    Selection {
        pids: pids
            .iter()
            .filter_map(|text| faults.take(number(pid, text, 1, 4_194_304)))
            .collect(),
        ports: ports
            .iter()
            .filter_map(|text| faults.take(number(port, text, 1, u32::from(u16::MAX))))
            .filter_map(|port| u16::try_from(port).ok())
            .collect(),
        executables: executables
            .iter()
            .filter_map(|path| faults.take(executable(path)))
            .collect(),
        cgroups: cgroups
            .iter()
            .filter_map(|path| faults.take(control_group(cgroup, path)))
            .collect(),
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

/// What the statistics keep.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Statistics")]
pub struct CoreOptions {
    /// Endpoints kept apart; what exceeds them is counted in (other), with sums still right.
    #[arg(long, value_name = "N", default_value = "1000")]
    max_endpoints: String,
    /// Newest exchanges kept for /api/v1/requests, about 500 bytes each; 0 for none.
    #[arg(long, value_name = "N", default_value = "1000")]
    request_log: String,
    /// A route of yours, with {name} for what varies: --route '/users/{name}/orders'. Wins over what is learnt.
    #[arg(long, value_name = "PATTERN")]
    route: Vec<String>,
}

impl CoreOptions {
    /// What is meant.
    pub fn settings(&self, max_connections: u32, faults: &mut Faults) -> CoreSettings {
        let whole: Vec<_> = self
            .route
            .iter()
            .filter(|route| route.starts_with('/'))
            .cloned()
            .collect();
        for route in self.route.iter().filter(|route| !route.starts_with('/')) {
            faults.add(format!("--route {route}: must begin with /"));
        }
        if let Err(RouteError::Pattern { pattern, source }) = Routes::new(&whole, 1) {
            let example = "a pattern is literal segments and {name} for whole ones, as in /users/{id}/orders";
            faults.add(format!("--route {pattern}: {source} ({example})"));
        }
        let max_endpoints = faults.take(number("--max-endpoints", &self.max_endpoints, 1, 100_000));
        let request_log = faults.take(number("--request-log", &self.request_log, 0, 100_000));
        CoreSettings {
            max_endpoints: max_endpoints.unwrap_or_default() as usize,
            max_connections: max_connections as usize,
            request_log: request_log.unwrap_or_default() as usize,
            routes: self.route.clone(),
        }
    }
}

/// Where the API is offered.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API")]
pub struct ServeOptions {
    /// ADDR:PORT or unix:/path. An address that is not loopback needs --token-file.
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "127.0.0.1:9955",
        env = "PERF_AGENT_LISTEN"
    )]
    listen: String,
    /// A file whose first line is the token that requests must bring (Authorization: Bearer TOKEN). At least 16 visible
    /// characters; the file must be its owner's only (chmod 600).
    #[arg(long, value_name = "FILE", env = "PERF_AGENT_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
}

impl ServeOptions {
    /// What is meant; reads the token file.
    pub fn settings(&self, faults: &mut Faults) -> ServeSettings {
        let token = self.token_file.as_ref().and_then(|path| faults.take(token(path)));
        let listen = faults
            .take(listen(&self.listen))
            .unwrap_or(Listen::Unix(PathBuf::new()));
        if let Listen::Tcp(address) = &listen
            && !address.ip().to_canonical().is_loopback()
            && self.token_file.is_none()
        {
            faults.add(format!(
                "--listen {address}: everybody who reaches this address could read what the services do; give \
                 --token-file FILE as well, or listen on 127.0.0.1"
            ));
        }
        ServeSettings { listen, token }
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = Path::new(path);
        // sockaddr_un has 108 bytes, the last of them NUL.
        return match path.as_os_str().len() {
            0 => Err("--listen unix: needs a path, such as unix:/run/perf-agent.sock".to_owned()),
            108.. => Err(format!("--listen {text}: a socket's path has at most 107 bytes")),
            _ => Ok(Listen::Unix(path.to_owned())),
        };
    }
    let localhost = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    localhost
        .as_deref()
        .unwrap_or(text)
        .parse::<SocketAddr>()
        .map(Listen::Tcp)
        .map_err(|_address| {
            format!(
                "--listen {text}: expected ADDR:PORT such as 127.0.0.1:9955 or [::1]:9955, or unix:/path (without the \
                 option, PERF_AGENT_LISTEN says where)"
            )
        })
}

fn token(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("--token-file {}: {reason}", path.display());
    let meta = fs::metadata(path).map_err(|error| failed(&error))?;
    if meta.mode() & 0o077 != 0 {
        return Err(failed(&format_args!(
            "other users may read it; chmod 600 {}",
            path.display()
        )));
    }
    if meta.len() > 4096 {
        return Err(failed(&"is longer than a token"));
    }
    let text = fs::read(path).map_err(|error| failed(&error))?;
    let line = text
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if line.len() < MIN_TOKEN_BYTES || !line.iter().all(u8::is_ascii_graphic) {
        return Err(failed(
            &"its first line must be a token of at least 16 visible ASCII characters",
        ));
    }
    Ok(line.to_vec())
}

/// How much is logged.
#[derive(Args, Clone, Copy, Debug)]
pub struct LogOptions {
    /// What is logged on standard error.
    #[arg(long, value_enum, default_value_t = LogLevel::Info, global = true, env = "PERF_AGENT_LOG_LEVEL")]
    log_level: LogLevel,
}

/// Log levels as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What ends the agent.
    Error,
    /// What costs data or is not as it should be.
    Warn,
    /// Start, stop, and what was chosen.
    Info,
    /// Every step.
    Debug,
    /// Everything.
    Trace,
}

impl LogOptions {
    /// Begins to log.
    pub fn start(self) {
        let level = match self.log_level {
            LogLevel::Error => tracing::Level::ERROR,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Trace => tracing::Level::TRACE,
        };
        let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(colour)
            .with_target(false)
            // They would go to standard error as well, and a closed one would be a panic.
            .log_internal_errors(false)
            .init();
    }
}

fn number(option: &str, text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{option} {text}: expected a whole number from {least} to {most}"))
}

fn size(option: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    let size = config::bytes(text).filter(|size| (least..=most).contains(size));
    size.ok_or_else(|| format!("{option} {text}: expected {least} to {most} bytes; K, M and G may be used"))
}

/// A duration such as `10ms`, `1.5s` or `1m 30s`, longer than nothing.
pub fn duration(option: &str, text: &str, faults: &mut Faults) -> Option<Duration> {
    let parsed = jiff::SignedDuration::from_str(text)
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok());
    let parsed = parsed.filter(|duration| !duration.is_zero());
    faults.take(
        parsed
            .ok_or_else(|| format!("{option} {text}: expected a duration longer than 0, such as 10ms, 1.5s or 1m30s")),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;

    fn run(arguments: &[&str]) -> (CaptureSettings, CoreSettings, ServeSettings, Vec<String>) {
        let cli = Cli::try_parse_from(["perf-agent", "run"].iter().chain(arguments)).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("not run")
        };
        let mut faults = Faults::default();
        let capture = run.capture.settings(&mut faults);
        let core = run.core.settings(capture.max_connections, &mut faults);
        let serve = run.serve.settings(&mut faults);
        (capture, core, serve, faults.0)
    }

    #[test]
    fn the_defaults_are_sound() {
        let (capture, core, serve, faults) = run(&[]);
        assert_eq!(faults, [""; 0]);
        assert_eq!((capture.backend, capture.ring_bytes), (None, 8 << 20));
        assert_eq!((capture.request_bytes, capture.response_bytes), (4024, 4024));
        assert!(capture.include.is_empty() && capture.exclude.is_empty());
        assert_eq!((core.max_endpoints, core.max_connections), (1000, 65_536));
        assert_eq!(serve.listen, Listen::Tcp(([127, 0, 0, 1], 9955).into()));
    }

    #[test]
    fn filters_are_repeatable_and_comma_separated() {
        let (capture, _, _, faults) = run(&[
            "--pid",
            "1,2",
            "--pid",
            "3",
            "--exclude-port",
            "80,443",
            "--exe",
            "nginx,/usr/bin/python3",
            "--cgroup",
            "system.slice/a.service,/sys/fs/cgroup/b",
            "--backend",
            "kprobe",
        ]);
        assert_eq!(faults, [""; 0]);
        assert_eq!(capture.backend, Some(Backend::Kprobe));
        assert_eq!(
            (capture.include.pids, capture.exclude.ports),
            (vec![1, 2, 3], vec![80, 443])
        );
        assert_eq!(
            capture.include.executables,
            ["nginx", "/usr/bin/python3"].map(|path| Executable(path.into()))
        );
        let groups = ["system.slice/a.service", "/sys/fs/cgroup/b"].map(PathBuf::from);
        assert_eq!(capture.include.cgroups, groups);
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let (.., faults) = run(&[
            "--pid",
            "0,x",
            "--port",
            "70000",
            "--exe",
            "bin/sh",
            "--cgroup",
            "../x",
            "--ring-bytes",
            "5000",
            "--capture-request-bytes",
            "1M",
            "--max-connections",
            "no",
            "--max-endpoints",
            "0",
            "--route",
            "users",
            "--listen",
            "0.0.0.0:80",
        ]);
        let expected = [
            "--ring-bytes 5000: must be a power of two",
            "--capture-request-bytes 1M: expected 64 to 16320 bytes",
            "--pid 0: expected a whole number",
            "--pid x: expected a whole number",
            "--port 70000: expected a whole number from 1 to 65535",
            "--exe bin/sh: an absolute path or a file name",
            "--cgroup ../x: must not contain ..",
            "--max-connections no: expected",
            "--route users: must begin with /",
            "--max-endpoints 0: expected",
            "--listen 0.0.0.0:80: everybody",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.starts_with(expected), "{fault} / {expected}");
        }
    }

    #[test]
    fn where_to_listen_is_an_address_or_a_socket() {
        assert_eq!(listen("unix:/run/a.sock"), Ok(Listen::Unix("/run/a.sock".into())));
        assert_eq!(listen("localhost:1"), Ok(Listen::Tcp(([127, 0, 0, 1], 1).into())));
        assert!(matches!(listen("[::1]:1"), Ok(Listen::Tcp(address)) if address.is_ipv6()));
        for text in [
            "",
            "9955",
            "host:80",
            "127.0.0.1",
            "unix:",
            &format!("unix:/{}", "a".repeat(107)),
        ] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_file_is_private_and_holds_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            token(&path)
        };
        assert_eq!(write("0123456789abcdef\nrest", 0o600), Ok(b"0123456789abcdef".to_vec()));
        assert!(
            write("0123456789abcdef", 0o644)
                .unwrap_err()
                .contains("other users may read it")
        );
        assert!(write("short", 0o600).unwrap_err().contains("at least 16"));
        assert!(write("0123456789 abcdef", 0o600).is_err());
        assert!(token(&directory.path().join("none")).is_err());
        let (_, _, serve, faults) = run(&["--listen", "0.0.0.0:1", "--token-file", "/nowhere/token"]);
        assert_eq!((serve.token, faults.len()), (None, 1));
    }

    #[test]
    fn durations_are_friendly_and_positive() {
        let mut faults = Faults::default();
        assert_eq!(duration("--for", "1m 30s", &mut faults), Some(Duration::from_secs(90)));
        assert_eq!(duration("--for", "10ms", &mut faults), Some(Duration::from_millis(10)));
        for text in ["", "0s", "-1s", "10", "x"] {
            assert_eq!(duration("--for", text, &mut faults), None, "{text}");
        }
        assert_eq!(faults.0.len(), 5);
    }
}
