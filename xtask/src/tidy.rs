//! The absences: what must not be in the sources, checked by reading them. Comments and strings do not count.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::places;

/// The agent's pure modules: the same records give the same snapshots, so they read nothing but their arguments.
const CORE: [&str; 21] = [
    "datagrams",
    "aggregate",
    "endpoint",
    "event",
    "exchange",
    "ledger",
    "pipeline",
    "process",
    "protocol",
    "snapshot",
    "attribution",
    "statistics",
    "stream",
    "targets",
    "resources",
    "threshold",
    "alert",
    "advice",
    "custom",
    "health",
    "request_log",
];

/// What the core must not name, and why.
const NOT_IN_CORE: [(&str, &str); 18] = [
    ("std::time", "time comes in with the data"),
    ("std::fs", "the core reads no file"),
    ("std::env", "the core reads no environment"),
    ("std::process", "the core starts nothing"),
    ("std::thread", "the core's state has one owner"),
    ("std::os", "the core knows no operating system"),
    ("std::io::stdin", "the core reads no input"),
    ("std::io::stdout", "the core writes no output"),
    ("std::io::stderr", "the core writes no output"),
    ("std::net::TcpStream", "the core opens no socket"),
    ("std::net::TcpListener", "the core opens no socket"),
    ("std::net::UdpSocket", "the core opens no socket"),
    ("tokio", "the core has no async"),
    ("aya", "the core needs no kernel"),
    ("axum", "outputs see snapshots, not the other way round"),
    ("serde", "what leaves the process is a wire type of the API"),
    ("rustix", "the core calls no operating system"),
    ("libc", "the core calls no operating system"),
];

/// The only places where `unsafe` may stand.
const UNSAFE_IN: [&str; 6] = [
    "perf-ebpf/",
    "perf-agent/src/source/kernel.rs",
    // A link that the loader cannot make.
    "perf-agent/src/probe/counted.rs",
    // Calls that the observed programs make and that have no safe wrapper.
    "tests/src/kernel.rs",
    "tests/src/uring.rs",
    // Static probes are assembly.
    "tests/programs/functions.rs",
];

/// Helpers by which a BPF program would change what it observes.
const NOT_IN_KERNEL: [&str; 9] = [
    "bpf_probe_write_user",
    "bpf_override_return",
    "bpf_send_signal",
    "bpf_send_signal_thread",
    "bpf_skb_store_bytes",
    "bpf_msg_redirect_map",
    "bpf_sk_redirect_map",
    "bpf_redirect",
    "bpf_setsockopt",
];

/// Reads all sources and reports every breach.
pub(crate) fn check() -> Result<()> {
    let breaches = breaches(&places::workspace())?;
    if !breaches.is_empty() {
        bail!("{} breaches:\n  {}", breaches.len(), breaches.join("\n  "));
    }
    Ok(())
}

fn breaches(workspace: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in ["perf-common", "perf-ebpf", "perf-agent", "tests", "xtask", "fuzz"] {
        collect(&workspace.join(folder), &mut files)?;
    }
    files.sort();
    let mut found = Vec::new();
    for module in CORE {
        let source = workspace.join("perf-agent/src");
        if !source.join(module).is_dir() && !source.join(format!("{module}.rs")).is_file() {
            found.push(format!(
                "perf-agent has no module `{module}`: correct the list in xtask's tidy"
            ));
        }
    }
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(workspace).unwrap_or(&file).display().to_string();
        found.extend(in_file(&name, &text));
    }
    Ok(found)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {}", folder.display()))?
            .path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn in_file(name: &str, text: &str) -> Vec<String> {
    let words = words(text);
    let mut found = Vec::new();
    let mut breach = |line: usize, what: &str| found.push(format!("{name}:{line}: {what}"));
    if !UNSAFE_IN.iter().any(|allowed| name.starts_with(allowed)) {
        for word in words.iter().filter(|word| word.text == "unsafe") {
            breach(word.line, "`unsafe` outside its places");
        }
    }
    if name.starts_with("perf-ebpf/") {
        for word in words.iter().filter(|word| NOT_IN_KERNEL.contains(&word.text)) {
            breach(
                word.line,
                &format!("`{}`: the kernel side is strictly passive", word.text),
            );
        }
    }
    if is_core(name) {
        for (path, line) in paths(&words) {
            let begins =
                |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("::"));
            for (forbidden, why) in NOT_IN_CORE {
                // A duration is a length, not a time.
                if begins(forbidden) && path != "std::time::Duration" {
                    breach(line, &format!("`{path}` in the core: {why}"));
                }
            }
            let module = path
                .strip_prefix("crate::")
                .map(|rest| rest.split("::").next().unwrap_or(rest));
            if let Some(module) = module.filter(|module| !CORE.contains(module)) {
                breach(line, &format!("`crate::{module}` in the core: it knows no edge"));
            }
        }
        for word in words.iter().filter(|word| ["async", "await"].contains(&word.text)) {
            breach(word.line, "the core has no async");
        }
    }
    found
}

fn is_core(name: &str) -> bool {
    let Some(below) = name.strip_prefix("perf-agent/src/") else {
        return false;
    };
    let module = below.split('/').next().unwrap_or(below);
    CORE.contains(&module.strip_suffix(".rs").unwrap_or(module))
}

/// An identifier, `::`, or another single character, with its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word<'a> {
    text: &'a str,
    line: usize,
}

/// The text's words without comments, strings and characters.
fn words(text: &str) -> Vec<Word<'_>> {
    let bytes = text.as_bytes();
    let (mut words, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let rest = &text[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else {
            let identifier = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let first = rest.chars().next().map_or(1, char::len_utf8);
            let length = if rest.starts_with("::") {
                2
            } else {
                identifier.max(first)
            };
            if !rest.starts_with(char::is_whitespace) {
                words.push(Word {
                    text: &rest[..length],
                    line,
                });
            }
            length
        };
        line += rest[..length].matches('\n').count();
        at += length;
    }
    words
}

/// The length of a string or character literal that begins here. A lifetime is none.
fn literal(rest: &str) -> Option<usize> {
    let prefix = ["b\"", "c\"", "\""].iter().find(|prefix| rest.starts_with(**prefix));
    if let Some(prefix) = prefix {
        return Some(closed(rest, prefix.len(), '"'));
    }
    let raw = rest
        .strip_prefix("br")
        .or_else(|| rest.strip_prefix("cr"))
        .or_else(|| rest.strip_prefix('r'));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = rest.len() - raw.len() + hashes + 1;
            return Some(
                rest[body..]
                    .find(&end)
                    .map_or(rest.len(), |found| body + found + end.len()),
            );
        }
    }
    let open = if rest.starts_with("b'") {
        2
    } else {
        usize::from(rest.starts_with('\''))
    };
    let mut inside = rest[open..].chars();
    let is_character = open > 0 && (inside.next() == Some('\\') || inside.next() == Some('\''));
    is_character.then(|| closed(rest, open, '\''))
}

/// Where a literal whose body begins at `from` ends, escapes passed over.
fn closed(rest: &str, from: usize, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest[from..].char_indices() {
        if !escaped && c == end {
            return from + at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    rest.len()
}

/// All paths in the words, in `use` trees and elsewhere, each written out from its first segment.
fn paths(words: &[Word<'_>]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    // What stands before each open brace of a use tree.
    let mut outer: Vec<String> = Vec::new();
    let (mut path, mut line, mut in_use) = (String::new(), 0, false);
    for (at, word) in words.iter().enumerate() {
        let is_name = word.text.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if is_name && word.text != "as" && word.text != "use" {
            if path.is_empty() || path.ends_with("::") {
                path.push_str(word.text);
                line = word.line;
                continue;
            }
        } else if word.text == "::" {
            path.push_str("::");
            continue;
        } else if word.text == "{" && in_use {
            outer.push(format!("{}{path}", outer.last().map_or("", String::as_str)));
            path.clear();
            continue;
        }
        if !path.is_empty() {
            let before = outer.last().map_or("", String::as_str);
            let whole = format!("{before}{}", path.trim_start_matches("::"));
            found.push((whole.trim_end_matches("::self").to_owned(), line));
            path.clear();
        }
        match word.text {
            "use" => in_use = true,
            ";" => {
                in_use = false;
                outer.clear();
            }
            "}" if in_use => {
                outer.pop();
            }
            _ if is_name && at > 0 && word.text != "as" => {
                path.push_str(word.text);
                line = word.line;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, expected: &[&str]) {
        assert_eq!(in_file(name, text), expected);
    }

    const CORE_FILE: &str = "perf-agent/src/stream/table.rs";

    #[test]
    fn a_clock_is_found_in_a_use_tree_and_in_a_path() {
        let text =
            "use std::{collections::HashMap, time::{Duration, Instant}};\nfn f() { std::time::SystemTime::now(); }";
        check(
            CORE_FILE,
            text,
            &[
                "perf-agent/src/stream/table.rs:1: `std::time::Instant` in the core: time comes in with the data",
                "perf-agent/src/stream/table.rs:2: `std::time::SystemTime::now` in the core: time comes in with the data",
            ],
        );
    }

    #[test]
    fn addresses_durations_and_the_core_itself_are_fine() {
        let text =
            "use std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;\nuse crate::event::{self, Event as E};\n";
        check(CORE_FILE, text, &[]);
    }

    #[test]
    fn an_edge_is_found_in_the_core_and_is_fine_in_an_edge() {
        let text = "use crate::api::json;\nasync fn f() {}";
        let expected = [
            "perf-agent/src/stream/table.rs:1: `crate::api` in the core: it knows no edge",
            "perf-agent/src/stream/table.rs:2: the core has no async",
        ];
        check(CORE_FILE, text, &expected);
        check("perf-agent/src/agent.rs", text, &[]);
    }

    #[test]
    fn comments_strings_and_characters_do_not_count() {
        let text = "// unsafe\n/* tokio::x\n*/ const A: &str = r#\"unsafe \"\"#; const B: char = '\\''; fn f<'a>(_: &'a str) {}\nuse tokio::sync;";
        check(
            CORE_FILE,
            text,
            &["perf-agent/src/stream/table.rs:4: `tokio::sync` in the core: the core has no async"],
        );
    }

    #[test]
    fn unsafe_has_its_places() {
        check("perf-ebpf/src/emit.rs", "unsafe { f() }", &[]);
        check("perf-agent/src/source/kernel.rs", "unsafe { f() }", &[]);
        let expected = "perf-agent/src/api/mod.rs:2: `unsafe` outside its places";
        check("perf-agent/src/api/mod.rs", "\nunsafe { f() }", &[expected]);
    }

    #[test]
    fn a_helper_that_changes_the_observed_is_found() {
        let expected = "perf-ebpf/src/emit.rs:1: `bpf_send_signal`: the kernel side is strictly passive";
        check("perf-ebpf/src/emit.rs", "bpf_send_signal(9);", &[expected]);
    }
}
