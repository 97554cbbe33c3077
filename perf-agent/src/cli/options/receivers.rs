//! Who is told: `[[alerts.receivers]]` of the configuration.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::Faults;
use super::decisions::length;
use crate::config::sections::{File, ReceiverEntry};
use crate::notify::alertmanager::{self, Alertmanager};
use crate::notify::command::{self, Command};
use crate::notify::email::{self, Email};
use crate::notify::failure::Fault;
use crate::notify::receiver::{Receiver, Way};
use crate::notify::secret::Hidden;
use crate::notify::slack::{self, Slack};
use crate::notify::webhook::Webhook;
use crate::notify::{RECEIVERS, http};

/// Keys of every kind that speaks HTTP.
const OVER_HTTP: [&str; 6] = ["url", "url_file", "user", "password_file", "token_file", "ca_file"];

/// The receivers: they know their secrets, so they are no settings that can be shown or compared.
pub(in crate::cli) fn receivers(file: &File, faults: &mut Faults) -> Vec<Receiver> {
    let entries = &file.alerts.receivers;
    if entries.len() > RECEIVERS {
        faults.add(format!("alerts.receivers: more than {RECEIVERS}"));
    }
    let mut receivers: Vec<Receiver> = Vec::new();
    for (number, entry) in entries.iter().enumerate().take(RECEIVERS) {
        let name = entry.name.clone().unwrap_or_else(|| format!("number {}", number + 1));
        if receivers.iter().any(|receiver| receiver.name() == name) {
            faults.add(format!("alerts.receivers {name}: there is another one of this name"));
        }
        let mut wrong = Faults::default();
        let receiver = receiver(entry, &mut wrong);
        for fault in wrong.0 {
            faults.add(format!("alerts.receivers {name}: {fault}"));
        }
        receivers.extend(receiver);
    }
    receivers
}

/// One of them, or what is wrong.
fn receiver(entry: &ReceiverEntry, wrong: &mut Faults) -> Option<Receiver> {
    if entry.name.is_none() {
        wrong.add("name: it is missing");
    }
    for (key, path) in secrets(entry) {
        if let Err(fault) = private(key, &path) {
            wrong.add(fault);
        }
    }
    let kind = entry.kind.as_deref().unwrap_or_default();
    let (keys, way): (Vec<&str>, Result<Way, Fault>) = match kind {
        "webhook" => (
            OVER_HTTP.to_vec(),
            Webhook::new(&over_http(entry, wrong)).map(Way::Webhook),
        ),
        "slack" => {
            let settings = slack::Settings {
                http: over_http(entry, wrong),
                channel: entry.channel.clone(),
            };
            let keys = [&OVER_HTTP[..], &["channel"]].concat();
            (keys, Slack::new(&settings).map(Way::Slack))
        }
        "alertmanager" => {
            let settings = alertmanager::Settings {
                http: over_http(entry, wrong),
                labels: entry.labels.clone(),
            };
            let keys = [&OVER_HTTP[..], &["labels"]].concat();
            (keys, Alertmanager::new(&settings).map(Way::Alertmanager))
        }
        "email" => {
            let keys = [
                "server",
                "port",
                "tls",
                "ca_file",
                "user",
                "password_file",
                "from",
                "to",
            ];
            (keys.to_vec(), Email::new(&email(entry, wrong)).map(Way::Email))
        }
        "command" => {
            let settings = command::Settings {
                command: entry.command.clone(),
                deadline: deadline(entry, command::Settings::default().deadline, wrong),
            };
            (vec!["command"], Command::new(&settings).map(Way::Command))
        }
        other => {
            wrong.add(format!(
                "kind {other:?}: expected webhook, slack, alertmanager, email or command"
            ));
            return None;
        }
    };
    for key in given(entry).into_iter().filter(|key| !keys.contains(key)) {
        let keys = keys.join(", ");
        wrong.add(format!(
            "{key}: a receiver of the kind {kind} has no such key; it has {keys}"
        ));
    }
    let name = entry.name.as_deref()?;
    let made = way.and_then(|way| Receiver::new(name, way));
    wrong.take(made.map_err(|fault| fault.to_string()))
}

fn over_http(entry: &ReceiverEntry, wrong: &mut Faults) -> http::Settings {
    let usual = http::Settings::default();
    let auth = match (&entry.token_file, &entry.user, &entry.password_file) {
        (None, None, None) => http::Auth::None,
        (Some(token_file), None, None) => http::Auth::Bearer {
            token_file: token_file.clone(),
        },
        (None, Some(user), Some(password_file)) => http::Auth::Basic {
            user: user.clone(),
            password_file: password_file.clone(),
        },
        _ => {
            wrong.add("token_file, or user and password_file together: one of the two");
            http::Auth::None
        }
    };
    http::Settings {
        url: entry.url.clone().map(Hidden::from),
        url_file: entry.url_file.clone(),
        auth,
        ca_file: entry.ca_file.clone(),
        deadline: deadline(entry, usual.deadline, wrong),
        ..usual
    }
}

fn email(entry: &ReceiverEntry, wrong: &mut Faults) -> email::Settings {
    let tls = match entry.tls.as_deref() {
        None | Some("starttls") => email::Tls::Starttls,
        Some("none") => email::Tls::None,
        Some("tls") => email::Tls::Tls,
        Some(other) => {
            wrong.add(format!("tls {other}: expected none, starttls or tls"));
            email::Tls::Starttls
        }
    };
    email::Settings {
        server: entry.server.clone().unwrap_or_default(),
        port: entry.port,
        tls,
        ca_file: entry.ca_file.clone(),
        user: entry.user.clone(),
        password_file: entry.password_file.clone(),
        from: entry.from.clone().unwrap_or_default(),
        to: entry.to.clone(),
        deadline: deadline(entry, email::Settings::default().deadline, wrong),
    }
}

fn deadline(entry: &ReceiverEntry, usual: Duration, wrong: &mut Faults) -> Duration {
    length("deadline", entry.deadline.as_deref(), usual, wrong)
}

/// The files that hold secrets.
fn secrets(entry: &ReceiverEntry) -> Vec<(&'static str, PathBuf)> {
    let secrets = [
        ("url_file", &entry.url_file),
        ("password_file", &entry.password_file),
        ("token_file", &entry.token_file),
    ];
    let named = secrets.into_iter();
    named.filter_map(|(key, path)| Some((key, path.clone()?))).collect()
}

/// Is it there, and for its owner only?
fn private(key: &str, path: &PathBuf) -> Result<(), String> {
    let failed = |reason: &dyn std::fmt::Display| format!("{key} {}: {reason}", path.display());
    let meta = fs::metadata(path).map_err(|error| failed(&error))?;
    if meta.mode() & 0o077 != 0 {
        let reason = format_args!("other users may read it; chmod 600 {}", path.display());
        return Err(failed(&reason));
    }
    Ok(())
}

/// The keys that only some kinds have, as far as they are given.
fn given(entry: &ReceiverEntry) -> Vec<&'static str> {
    let given = [
        ("url", entry.url.is_some()),
        ("url_file", entry.url_file.is_some()),
        ("user", entry.user.is_some()),
        ("password_file", entry.password_file.is_some()),
        ("token_file", entry.token_file.is_some()),
        ("ca_file", entry.ca_file.is_some()),
        ("channel", entry.channel.is_some()),
        ("labels", !entry.labels.is_empty()),
        ("server", entry.server.is_some()),
        ("port", entry.port.is_some()),
        ("tls", entry.tls.is_some()),
        ("from", entry.from.is_some()),
        ("to", !entry.to.is_empty()),
        ("command", !entry.command.is_empty()),
    ];
    let given = given.into_iter().filter(|(_, is_given)| *is_given);
    given.map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::file;

    fn read(text: &str) -> (Vec<Receiver>, Vec<String>) {
        let file = file::of(text, "a.toml", std::iter::empty()).expect("it can be read");
        let mut faults = Faults::default();
        let receivers = receivers(&file, &mut faults);
        (receivers, faults.0)
    }

    fn entry(text: &str) -> String {
        format!("[[alerts.receivers]]\nname = \"a\"\n{text}\n")
    }

    #[test]
    fn every_kind_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "https://chat.example/hook").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = secret.display();
        let text = [
            "kind = \"webhook\"\nurl = \"https://example.org/hook\"\ndeadline = \"5s\"".to_owned(),
            format!("kind = \"slack\"\nurl_file = \"{secret}\"\nchannel = \"#ops\""),
            "kind = \"alertmanager\"\nurl = \"http://127.0.0.1:9093\"\nlabels = { cluster = \"a\" }".to_owned(),
            "kind = \"email\"\nserver = \"mail.example.org\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]"
                .to_owned(),
            "kind = \"command\"\ncommand = [\"/bin/true\"]".to_owned(),
        ];
        let text: Vec<_> = text
            .iter()
            .enumerate()
            .map(|(n, text)| entry(text).replace("\"a\"\nkind", &format!("\"r{n}\"\nkind")))
            .collect();
        let (receivers, faults) = read(&text.concat());
        assert_eq!(faults, [""; 0]);
        let kinds: Vec<_> = receivers.iter().map(Receiver::kind).collect();
        assert_eq!(kinds, ["webhook", "slack", "alertmanager", "email", "command"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_receiver_and_the_key() {
        for (text, expected) in [
            ("kind = \"pigeon\"", "kind \"pigeon\": expected webhook"),
            ("kind = \"webhook\"", "url: it is missing"),
            ("kind = \"webhook\"\nurl = \"ftp://x\"", "url: "),
            (
                "kind = \"webhook\"\nurl = \"http://x/\"\nserver = \"y\"",
                "server: a receiver of the kind webhook has no such key",
            ),
            (
                "kind = \"webhook\"\nurl = \"http://x/\"\nuser = \"y\"",
                "token_file, or user and password_file together",
            ),
            (
                "kind = \"webhook\"\nurl = \"http://x/\"\ndeadline = \"soon\"",
                "deadline soon: expected",
            ),
            (
                "kind = \"webhook\"\nurl = \"http://x/\"\ntoken_file = \"/nowhere\"",
                "token_file /nowhere: No such file",
            ),
            ("kind = \"command\"\ncommand = [\"true\"]", "command: "),
            (
                "kind = \"email\"\ntls = \"much\"\nserver = \"a\"\nfrom = \"a@b\"\nto = [\"a@b\"]",
                "tls much: expected",
            ),
        ] {
            let (_, faults) = read(&entry(text));
            let expected = format!("alerts.receivers a: {expected}");
            assert!(
                faults.iter().any(|fault| fault.starts_with(&expected)),
                "{expected}: {faults:?}"
            );
        }
        let twice = entry("kind = \"webhook\"\nurl = \"http://x/\"").repeat(2);
        assert!(read(&twice).1[0].contains("another one of this name"));
        let many: String = (0..40)
            .map(|n| entry("kind = \"webhook\"\nurl = \"http://x/\"").replace("\"a\"", &format!("\"r{n}\"")))
            .collect();
        assert_eq!(read(&many).1, ["alerts.receivers: more than 32"]);
    }

    #[test]
    fn a_secret_that_others_may_read_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("token");
        fs::write(&secret, "0123456789").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        let text = format!(
            "kind = \"webhook\"\nurl = \"http://x/\"\ntoken_file = \"{}\"",
            secret.display()
        );
        assert!(read(&entry(&text)).1[0].contains("other users may read it"));
    }
}
