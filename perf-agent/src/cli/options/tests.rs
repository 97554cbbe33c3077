use clap::Parser;

use super::super::run::{Fixed, RunOptions, RunSettings};
use super::super::{Cli, Command};
use super::*;
use crate::api::listen::Listen;
use crate::config::{CaptureSettings, CoreSettings, Executable, ServeSettings};
use crate::source::Backend;

fn run(arguments: &[&str]) -> (CaptureSettings, CoreSettings, ServeSettings, Vec<String>) {
    let cli = Cli::try_parse_from(["perf-agent", "run"].iter().chain(arguments)).unwrap();
    let Command::Run(run) = cli.command else {
        panic!("not run")
    };
    let mut faults = Faults::default();
    let settings = run.options.settings(&File::default(), &mut faults);
    let RunSettings {
        capture, core, serve, ..
    } = settings;
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
fn durations_are_friendly_and_positive() {
    let mut faults = Faults::default();
    assert_eq!(duration("--for", "1m 30s", &mut faults), Some(Duration::from_secs(90)));
    assert_eq!(duration("--for", "10ms", &mut faults), Some(Duration::from_millis(10)));
    for text in ["", "0s", "-1s", "10", "x"] {
        assert_eq!(duration("--for", text, &mut faults), None, "{text}");
    }
    assert_eq!(faults.0.len(), 5);
}

#[test]
fn the_documented_file_says_what_holds_without_it() {
    let settings = |text| {
        let mut faults = Faults::default();
        let file = file::of(text, "default.toml", std::iter::empty()).expect("it can be read");
        let settings = RunOptions::default().settings(&file, &mut faults);
        assert_eq!(faults.0, [""; 0]);
        settings
    };
    let (documented, usual) = (settings(file::DEFAULT), settings(""));
    assert_eq!(documented.differs(&Fixed::of(&usual)), [""; 0]);
    assert_eq!(documented.decisions, usual.decisions);
    assert_eq!((documented.receivers.len(), documented.log), (0, usual.log));
}

#[test]
fn what_was_typed_wins_over_the_file_and_lists_add_up() {
    let text = "[limits]\nring_bytes = 65536\nmax_endpoints = 7\n[observe]\nports = [80]\nbackend = \"fentry\"\n\
                [routes]\npatterns = [\"/a/{b}\"]\n[errors]\nstatuses = \"500-503\"";
    let file = file::of(text, "a.toml", std::iter::empty()).expect("it can be read");
    let cli = Cli::try_parse_from([
        "perf-agent",
        "run",
        "--ring-bytes",
        "16M",
        "--port",
        "90",
        "--route",
        "/c",
    ])
    .unwrap();
    let Command::Run(run) = cli.command else {
        panic!("not run")
    };
    let mut faults = Faults::default();
    let settings = run.options.settings(&file, &mut faults);
    assert_eq!(faults.0, [""; 0]);
    assert_eq!(settings.capture.ring_bytes, 16 << 20);
    assert_eq!(settings.capture.include.ports, [90, 80]);
    assert_eq!(settings.capture.backend, Some(Backend::Fentry));
    assert_eq!(
        (settings.core.max_endpoints, settings.core.errors.errors),
        (7, 500..=503)
    );
    assert_eq!(settings.core.routes, ["/c", "/a/{b}"]);
}

#[test]
fn a_fault_of_the_file_names_its_key() {
    let text = "[limits]\nring_bytes = 5000\nmax_connections = 3\n[observe]\npids = [0]\nbackend = \"magic\"\nprograms = \
                [\"bin/sh\"]\n[routes]\npatterns = [\"c\"]\n[errors]\nstatuses = \"600-700\"\n[log]\nlevel = \"loud\"";
    let file = file::of(text, "a.toml", std::iter::empty()).expect("it can be read");
    let mut faults = Faults::default();
    RunOptions::default().settings(&file, &mut faults);
    let expected = [
        "limits.ring_bytes 5000: must be a power of two",
        "observe.backend magic: expected",
        "observe.pids 0: expected",
        "observe.programs bin/sh: an absolute path",
        "limits.max_connections 3: expected",
        "routes.patterns c: must begin with /",
        "errors.statuses 600-700: expected a range",
        "log.level loud: expected",
    ];
    assert_eq!(faults.0.len(), expected.len(), "{:#?}", faults.0);
    for (fault, expected) in faults.0.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault} / {expected}");
    }
}

/// What is wrong with a configuration.
fn wrong(text: &str) -> Vec<String> {
    let mut faults = Faults::default();
    let file = file::of(text, "a.toml", std::iter::empty()).expect("it can be read");
    RunOptions::default().settings(&file, &mut faults);
    faults.0
}

/// With a receiver of this kind and these keys.
fn receiver(kind: &str, keys: &str) -> Vec<String> {
    wrong(&format!(
        "[[alerts.receivers]]\nname = \"a\"\nkind = \"{kind}\"\n{keys}"
    ))
}

#[test]
fn a_deadline_is_as_long_as_its_kind_allows_and_is_called_by_its_key() {
    let hook = |deadline: &str| receiver("webhook", &format!("url = \"http://a\"\ndeadline = \"{deadline}\""));
    let command = |deadline: &str| receiver("command", &format!("command = [\"/a\"]\ndeadline = \"{deadline}\""));
    assert_eq!((hook("2m"), command("5m")), (vec![], vec![]));
    for deadline in ["3m", "50ms", "0s"] {
        assert_eq!(
            hook(deadline),
            ["alerts.receivers a: deadline: it is between 100 ms and 2 min"]
        );
    }
    for deadline in ["6m", "0s"] {
        assert_eq!(
            command(deadline),
            ["alerts.receivers a: deadline: it is more than 0 and at most 5 min"]
        );
    }
}

#[test]
fn a_receivers_secrets_are_private_files_and_go_together() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let shown = path.display();
    let with = |keys: &[&str]| {
        let keys = keys.iter().map(|key| match *key {
            "user" => "user = \"me\"\n".to_owned(),
            "url" => "url = \"http://a\"\n".to_owned(),
            file => format!("{file} = \"{shown}\"\n"),
        });
        receiver("webhook", &keys.collect::<String>())
    };
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for key in ["token_file", "url_file"] {
        let keys = if key == "url_file" { vec![key] } else { vec!["url", key] };
        let missing = format!("alerts.receivers a: {key} {shown}: No such file or directory (os error 2)");
        assert_eq!(with(&keys), [missing]);
    }
    std::fs::write(&path, "secret").unwrap();
    mode(0o640);
    for keys in [
        &["url", "token_file"][..],
        &["url_file"],
        &["url", "user", "password_file"],
    ] {
        let key = keys[keys.len() - 1];
        let told = format!("alerts.receivers a: {key} {shown}: other users may read it; chmod 600 {shown}");
        assert_eq!(with(keys), [told]);
    }
    mode(0o600);
    for keys in [
        &["url", "token_file"][..],
        &["url_file"],
        &["url", "user", "password_file"],
    ] {
        assert_eq!(with(keys), [""; 0]);
    }
    let told = "alerts.receivers a: password_file: it is missing: there is a user";
    assert_eq!(with(&["url", "user"]), [told]);
    let told = "alerts.receivers a: user: it is missing: there is a password_file";
    assert_eq!(with(&["url", "password_file"]), [told]);
    let told =
        "alerts.receivers a: token_file: it is given together with user and password_file: one of them is enough";
    assert_eq!(with(&["url", "token_file", "user", "password_file"]), [told]);
}

#[test]
fn what_the_start_would_refuse_is_refused_by_the_check() {
    let receivers = |count: usize| {
        let one = |n| format!("[[alerts.receivers]]\nname = \"a{n}\"\nkind = \"webhook\"\nurl = \"http://a\"\n");
        (0..count).map(one).collect::<Vec<_>>().concat()
    };
    assert_eq!(wrong(&receivers(32)), [""; 0]);
    assert_eq!(wrong(&receivers(33)), ["alerts.receivers: more than 32"]);
    let escalated = format!("{}only_escalated = true\n", receivers(1));
    let told = "alerts.receivers a0: only_escalated: no [[alerts.escalate]] names it, so it would be told nothing";
    assert_eq!(wrong(&escalated), [told]);
    let escalate = |after| format!("{escalated}[[alerts.escalate]]\nafter = \"{after}\"\nreceivers = [\"a0\"]\n");
    assert_eq!(wrong(&escalate("168h")), [""; 0]);
    assert_eq!(
        wrong(&escalate("169h")),
        ["alerts.escalate after: expected at most 168h"]
    );
}

#[test]
fn who_groups_by_itself_is_told_all() {
    let text = "[[alerts.receivers]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"http://a\"\n\
                [[alerts.receivers]]\nname = \"late\"\nkind = \"webhook\"\nurl = \"http://a\"\nonly_escalated = true\n\
                [[alerts.escalate]]\nafter = \"1h\"\nreceivers = [\"late\"]\n";
    let mut faults = Faults::default();
    let file = file::of(text, "a.toml", std::iter::empty()).expect("it can be read");
    let settings = RunOptions::default().settings(&file, &mut faults).decisions.alerts;
    let receivers = settings.receivers.iter();
    let receivers: Vec<_> = receivers
        .map(|receiver| (receiver.name.as_str(), receiver.lists_all, receiver.only_escalated))
        .collect();
    assert_eq!(receivers, [("am", true, false), ("late", false, true)]);
}
