//! What a source can and cannot see, as text: for `run` in short, for `doctor` in full.

use std::fmt::Write;

use crate::source::{Backend, HookState, Report, TlsCoverage};

/// What `run` says about its source, a line each.
pub fn short(report: &Report) -> String {
    let mut text = String::new();
    let backend = report.backend.map_or("none", |backend| backend.name());
    row(&mut text, "backend", backend);
    for other in report.backends.iter().filter(|other| other.state != HookState::Used) {
        row(
            &mut text,
            "",
            &format!("{}: {}", other.backend, reason(other.state, other.reason.as_deref())),
        );
    }
    let mut label = "hooks";
    for hook in report.hooks.iter().filter(|hook| hook.state == HookState::Used) {
        row(&mut text, label, &hook.name);
        label = "";
    }
    let mut label = "not seen";
    for spot in &report.blind_spots {
        row(&mut text, label, &format!("{}: {}", spot.what, spot.why));
        label = "";
    }
    text
}

fn row(text: &mut String, label: &str, value: &str) {
    let _infallible = writeln!(text, "  {label:<10} {value}");
}

fn reason(state: HookState, reason: Option<&str>) -> String {
    match (state, reason) {
        (HookState::Unavailable, Some(reason)) => format!("unavailable: {reason}"),
        (HookState::Unavailable, None) => "unavailable".to_owned(),
        (_, Some(reason)) => reason.to_owned(),
        (_, None) => "works, not needed".to_owned(),
    }
}

/// The whole report: one table of backends, one of hooks, one of processes that could speak TLS, and what it comes to.
/// `obstacle` is what kept the backends from being tried, `asked` the one that has to be used.
pub fn full(report: &Report, tls: &[TlsCoverage], obstacle: Option<&str>, asked: Option<Backend>) -> String {
    let btf = if report.kernel.btf { "with BTF" } else { "without BTF" };
    let mut text = format!("Linux {}, {btf}\n\n", report.kernel.release);
    let backends = report.backends.iter().map(|backend| {
        [
            backend.backend.name().to_owned(),
            String::new(),
            backend.state.name().to_owned(),
            why(backend.reason.as_deref(), backend.fix.as_deref()),
        ]
    });
    table(&mut text, "BACKEND", "", backends);
    let hooks = report.hooks.iter().map(|hook| {
        [
            hook.name.clone(),
            hook.family.name().to_owned(),
            hook.state.name().to_owned(),
            why(hook.reason.as_deref(), hook.fix.as_deref()),
        ]
    });
    if !report.hooks.is_empty() {
        text.push('\n');
        table(&mut text, "HOOK", "FAMILY", hooks);
    }
    if !tls.is_empty() {
        text.push('\n');
        table(&mut text, "PROCESS", "TLS LIBRARY", tls_rows(tls).into_iter());
        text.push_str("(A process may map a library and not use it: what is used shows at /api/v1/services.)\n");
    }
    if !report.blind_spots.is_empty() {
        text.push_str("\nNot seen here:\n");
        for spot in &report.blind_spots {
            let _infallible = writeln!(text, "  {}: {}", spot.what, spot.why);
        }
    }
    let other = report.backends.iter().find(|other| other.state == HookState::Fallback);
    let _infallible = match (report.backend, asked, other, obstacle) {
        (Some(backend), None, ..) => writeln!(text, "\nObserving is possible: `perf-agent run` uses {backend}."),
        (Some(backend), Some(_), ..) => writeln!(
            text,
            "\nObserving is possible: `perf-agent run --backend {backend}` does."
        ),
        (None, Some(asked), Some(other), _) => writeln!(
            text,
            "\nObserving is not possible with {asked}. Without --backend, `perf-agent run` uses {}.",
            other.backend
        ),
        (None, _, _, Some(obstacle)) => writeln!(text, "\nObserving is not possible here: {obstacle}."),
        (None, ..) => writeln!(text, "\nObserving is not possible here."),
    };
    text
}

/// A row for each program and library, with its processes.
fn tls_rows(tls: &[TlsCoverage]) -> Vec<[String; 4]> {
    let mut rows: Vec<([String; 4], Vec<u32>)> = Vec::new();
    for process in tls {
        let by = [process.library, process.version.as_deref()];
        let row = [
            process.exe.clone().unwrap_or_else(|| "(unknown)".to_owned()),
            by.into_iter().flatten().collect::<Vec<_>>().join(" "),
            if process.covered { "covered" } else { "not covered" }.to_owned(),
            process.reason.clone().unwrap_or_default(),
        ];
        match rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, pids)) => pids.push(process.tgid),
            None => rows.push((row, vec![process.tgid])),
        }
    }
    let rows = rows.into_iter().map(|(mut row, pids)| {
        const SHOWN: usize = 6;
        let shown: Vec<_> = pids.iter().take(SHOWN).map(u32::to_string).collect();
        let more = match pids.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        row[0] = format!("{} ({}{more})", row[0], shown.join(", "));
        row
    });
    rows.collect()
}

fn why(reason: Option<&str>, fix: Option<&str>) -> String {
    match (reason, fix) {
        (Some(reason), Some(fix)) => format!("{reason}; fix: {fix}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => String::new(),
    }
}

fn table(text: &mut String, first: &str, second: &str, rows: impl Iterator<Item = [String; 4]>) {
    let head = [first, second, "STATE", "REASON"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            if width > 0 {
                let _infallible = write!(line, "{cell:<width$}  ");
            }
        }
        line.push_str(&row[3]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{BackendReport, BlindSpot, HookFamily, HookReport, KernelInfo};

    fn report() -> Report {
        let text = |text: &str| Some(text.to_owned());
        let backend = |backend, state, reason: Option<String>, fix| BackendReport {
            backend,
            state,
            reason,
            fix,
        };
        Report {
            kernel: KernelInfo {
                release: "6.18.1".to_owned(),
                btf: true,
            },
            backend: Some(Backend::Tracepoint),
            backends: vec![
                backend(Backend::Tracepoint, HookState::Used, None, None),
                backend(
                    Backend::Fentry,
                    HookState::Unavailable,
                    text("no trampolines"),
                    text("a kernel with them"),
                ),
                backend(Backend::Kprobe, HookState::Fallback, None, None),
            ],
            hooks: vec![
                HookReport {
                    name: "sent: sock_send_length".to_owned(),
                    family: HookFamily::Tracepoint,
                    state: HookState::Used,
                    reason: None,
                    fix: None,
                },
                HookReport {
                    name: "entry: tcp_sendmsg_locked".to_owned(),
                    family: HookFamily::Tracepoint,
                    state: HookState::Unavailable,
                    reason: text("not in this kernel"),
                    fix: None,
                },
            ],
            blind_spots: vec![BlindSpot {
                what: "first byte of long sends".to_owned(),
                why: "no entry hook".to_owned(),
            }],
        }
    }

    #[test]
    fn the_short_form_says_what_is_used_and_what_is_not_seen() {
        let expected = "  backend    tracepoint
             fentry: unavailable: no trampolines
             kprobe: works, not needed
  hooks      sent: sock_send_length
  not seen   first byte of long sends: no entry hook
";
        assert_eq!(short(&report()), expected);
    }

    #[test]
    fn the_full_form_says_why_and_what_would_help() {
        let expected = "\
Linux 6.18.1, with BTF

BACKEND     STATE        REASON
tracepoint  used
fentry      unavailable  no trampolines; fix: a kernel with them
kprobe      fallback

HOOK                       FAMILY      STATE        REASON
sent: sock_send_length     tracepoint  used
entry: tcp_sendmsg_locked  tracepoint  unavailable  not in this kernel

Not seen here:
  first byte of long sends: no entry hook

Observing is possible: `perf-agent run` uses tracepoint.
";
        assert_eq!(full(&report(), &[], None, None), expected);
    }

    #[test]
    fn programs_that_could_speak_tls_are_told_with_their_processes() {
        let process = |tgid, reason: Option<&str>| TlsCoverage {
            tgid,
            exe: Some("/usr/sbin/nginx".to_owned()),
            library: Some("OpenSSL"),
            version: Some("3".to_owned()),
            path: None,
            covered: reason.is_none(),
            how: None,
            reason: reason.map(str::to_owned),
        };
        let tls = [process(10, None), process(11, None), process(12, Some("no symbols"))];
        let text = full(&report(), &tls, None, None);
        let table: Vec<_> = text
            .lines()
            .skip_while(|line| !line.starts_with("PROCESS"))
            .take(3)
            .collect();
        assert_eq!(
            table,
            [
                "PROCESS                   TLS LIBRARY  STATE        REASON",
                "/usr/sbin/nginx (10, 11)  OpenSSL 3    covered",
                "/usr/sbin/nginx (12)      OpenSSL 3    not covered  no symbols",
            ]
        );
    }

    #[test]
    fn the_last_line_says_what_it_comes_to() {
        let last =
            |report: &Report, obstacle, asked| full(report, &[], obstacle, asked).lines().last().map(str::to_owned);
        let mut report = report();
        assert_eq!(
            last(&report, None, Some(Backend::Tracepoint)).as_deref(),
            Some("Observing is possible: `perf-agent run --backend tracepoint` does.")
        );
        report.backend = None;
        assert_eq!(
            last(&report, None, Some(Backend::Fentry)).as_deref(),
            Some("Observing is not possible with fentry. Without --backend, `perf-agent run` uses kprobe.")
        );
        report.backends.clear();
        assert_eq!(
            last(&report, Some("missing privilege: CAP_BPF"), None).as_deref(),
            Some("Observing is not possible here: missing privilege: CAP_BPF.")
        );
    }
}
