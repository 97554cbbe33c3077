//! Settings as meant: what the command line said, checked, with defaults filled in. [`crate::cli`] makes them; the
//! readers of single values stand at the end.

pub mod file;
pub mod scalar;
pub mod sections;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::aggregate::ErrorRule;
use crate::api::listen::Listen;
use crate::functions::Chosen;
use crate::request_log::{RequestLogSettings, Wanted};
use crate::source::Backend;

/// What the pipeline needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreSettings {
    /// Endpoints kept apart; what exceeds them is counted in `(other)`.
    pub max_endpoints: usize,
    /// Connections followed at once.
    pub max_connections: usize,
    /// Newest exchanges kept in the request log.
    pub request_log: usize,
    /// The operator's own route patterns.
    pub routes: Vec<String>,
    /// What counts as an error of HTTP.
    pub errors: ErrorRule,
    /// What is read of single requests.
    pub requests: RequestLogSettings,
}

impl CoreSettings {
    /// What is read of single requests, ready to be looked up; nothing if what was chosen is wrong, which whoever made these
    /// has said.
    pub fn wanted(&self) -> Wanted {
        Wanted::new(&self.requests).unwrap_or_default()
    }
}

/// Where the API is offered, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeSettings {
    /// Where.
    pub listen: Listen,
    /// The token that requests must bring.
    pub token: Option<Vec<u8>>,
    /// Where it stands.
    pub token_file: Option<PathBuf>,
}

/// What the kernel source needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// The backend that was asked for; `None` lets the agent choose.
    pub backend: Option<Backend>,
    /// What to observe: an empty list of a kind means all of it.
    pub include: Selection,
    /// What not to observe; wins over `include`.
    pub exclude: Selection,
    /// Size of the ring buffer: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Bytes of a request message that may be copied.
    pub request_bytes: u32,
    /// Bytes of a response message that may be copied.
    pub response_bytes: u32,
    /// Connections that the kernel side keeps state of.
    pub max_connections: u32,
    /// Whether TLS libraries are probed.
    pub tls: bool,
    /// Functions that are observed besides.
    pub functions: Vec<Chosen>,
    /// What observing one of them may cost, thousandths of a core.
    pub function_share: u32,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self {
            backend: None,
            include: Selection::default(),
            exclude: Selection::default(),
            ring_bytes: 8 << 20,
            request_bytes: 4024,
            response_bytes: 4024,
            max_connections: 65_536,
            tls: true,
            functions: Vec::new(),
            function_share: 20,
        }
    }
}

/// Processes, ports and control groups that a filter names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Processes, meant with their descendants.
    pub pids: Vec<u32>,
    /// Ports, on either end of a connection.
    pub ports: Vec<u16>,
    /// Executables.
    pub executables: Vec<Executable>,
    /// Control groups (v2), meant with what is below them: directories, or relative to the root of the hierarchy.
    pub cgroups: Vec<PathBuf>,
}

impl Selection {
    /// True if it names nothing.
    pub fn is_empty(&self) -> bool {
        self.pids.is_empty() && self.ports.is_empty() && self.executables.is_empty() && self.cgroups.is_empty()
    }
}

/// An executable as a filter names it: an absolute path, or a bare file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable(pub PathBuf);

impl Executable {
    /// Whether a program with this path (`/proc/PID/exe`) is meant. A program whose file was replaced while it runs
    /// (`… (deleted)`) is the same program.
    pub fn matches(&self, exe: &Path) -> bool {
        let undeleted = exe
            .to_str()
            .and_then(|path| path.strip_suffix(" (deleted)"))
            .map(Path::new);
        let exe = undeleted.unwrap_or(exe);
        if self.0.is_absolute() {
            exe == self.0
        } else {
            exe.file_name().is_some_and(|name| name == self.0.as_os_str())
        }
    }
}

/// A status such as `404`, a class of them such as `4xx`, or a gRPC code such as `14`.
pub fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = text.strip_suffix("xx") {
        let class = class
            .parse::<u16>()
            .ok()
            .filter(|class| (1..=5).contains(class) && text.len() == 3)?;
        return Some(class * 100..=class * 100 + 99);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let status = text
        .parse()
        .ok()
        .filter(|_| digits)
        .filter(|status| matches!(status, 0..=16 | 100..=599))?;
    Some(status..=status)
}

/// A number of bytes: `4096`, `64K`, `16M`, `1G` (powers of 1024).
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("64K", Some(65_536)),
            ("16MiB", Some(16 << 20)),
            ("1g", Some(1 << 30)),
            ("", None),
            ("K", None),
            ("-1", None),
            ("1.5M", None),
            ("1T", None),
            ("99999999999G", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn statuses_are_single_or_a_class() {
        assert_eq!(statuses("404"), Some(404..=404));
        assert_eq!(statuses("5xx"), Some(500..=599));
        assert_eq!((statuses("0"), statuses("16")), (Some(0..=0), Some(16..=16)));
        for text in ["", "xx", "6xx", "0xx", "17", "99", "600", "+5", "+5xx", "05xx", "5XX"] {
            assert_eq!(statuses(text), None, "{text}");
        }
    }

    #[test]
    fn an_executable_is_named_by_path_or_by_file_name() {
        let by_name = Executable("nginx".into());
        let by_path = Executable("/usr/sbin/nginx".into());
        for (exe, name, path) in [
            ("/usr/sbin/nginx", true, true),
            ("/usr/sbin/nginx (deleted)", true, true),
            ("/opt/nginx", true, false),
            ("/usr/sbin/nginx-debug", false, false),
            ("", false, false),
        ] {
            assert_eq!(by_name.matches(Path::new(exe)), name, "{exe} by name");
            assert_eq!(by_path.matches(Path::new(exe)), path, "{exe} by path");
        }
    }
}
