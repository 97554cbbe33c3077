//! Who is told: `[[alerts.receivers]]` of the configuration.

use super::Faults;
use super::decisions::length;
use super::serve::private;
use crate::config::sections::{File, ReceiverEntry};
use crate::notify::RECEIVERS;
use crate::notify::alertmanager::{self, Alertmanager};
use crate::notify::command::{self, Command};
use crate::notify::email::{self, Email};
use crate::notify::http;
use crate::notify::receiver::{Receiver, Way};
use crate::notify::secret::Hidden;
use crate::notify::slack::{self, Slack};
use crate::notify::webhook::Webhook;

/// The receivers: with them, their secrets are known, so they are no settings that can be shown or compared.
pub(in crate::cli) fn receivers(file: &File, faults: &mut Faults) -> Vec<Receiver> {
    let mut receivers: Vec<Receiver> = Vec::new();
    for (number, entry) in file.alerts.receivers.iter().enumerate() {
        let name = entry.name.clone().unwrap_or_else(|| format!("number {}", number + 1));
        if number == RECEIVERS {
            faults.add(format!("alerts.receivers: more than {RECEIVERS}"));
            break;
        }
        let mut escalated = file.alerts.escalate.iter().flat_map(|entry| &entry.receivers);
        if entry.only_escalated == Some(true) && !escalated.any(|other| *other == name) {
            faults.add(format!(
                "alerts.receivers {name}: only_escalated: no [[alerts.escalate]] names it, so it would be told nothing"
            ));
        }
        if receivers.iter().any(|receiver| receiver.name() == name) {
            faults.add(format!("alerts.receivers {name}: there is another one of this name"));
        }
        let made = receiver(entry).map_err(|wrong| {
            wrong
                .into_iter()
                .map(|fault| format!("alerts.receivers {name}: {fault}"))
        });
        match made {
            Ok(receiver) => receivers.push(receiver),
            Err(wrong) => wrong.for_each(|fault| faults.add(fault)),
        }
    }
    receivers
}

fn receiver(entry: &ReceiverEntry) -> Result<Receiver, Vec<String>> {
    let told = |fault: crate::notify::failure::Fault| vec![fault.to_string()];
    let Some(name) = &entry.name else {
        return Err(vec!["name: it is missing".to_owned()]);
    };
    let kind = entry.kind.as_deref().unwrap_or_default();
    let mut wrong = Faults::default();
    let http = || over_http(entry);
    // How long it may be is the kind's to say.
    let deadline = |usual, wrong: &mut Faults| length("deadline", entry.deadline.as_deref(), usual, wrong);
    secrets(entry, kind, &mut wrong);
    let http_keys = &["url", "url_file", "user", "password_file", "token_file", "ca_file"][..];
    let (keys, way): (Vec<&str>, Result<Way, _>) = match kind {
        "webhook" => {
            let mut http = http();
            http.deadline = deadline(http.deadline, &mut wrong);
            (http_keys.to_vec(), Webhook::new(&http).map(Way::Webhook))
        }
        "slack" => {
            let mut http = http();
            http.deadline = deadline(http.deadline, &mut wrong);
            let channel = entry.channel.clone();
            let keys = [http_keys, &["channel"]].concat();
            (keys, Slack::new(&slack::Settings { http, channel }).map(Way::Slack))
        }
        "alertmanager" => {
            let mut http = http();
            http.deadline = deadline(http.deadline, &mut wrong);
            let labels = entry.labels.clone();
            let keys = [http_keys, &["labels"]].concat();
            let settings = alertmanager::Settings { http, labels };
            (keys, Alertmanager::new(&settings).map(Way::Alertmanager))
        }
        "email" => {
            let usual = email::Settings::default();
            let tls = match entry.tls.as_deref() {
                None | Some("starttls") => email::Tls::Starttls,
                Some("none") => email::Tls::None,
                Some("tls") => email::Tls::Tls,
                Some(other) => {
                    wrong.add(format!("tls {other}: expected none, starttls or tls"));
                    email::Tls::Starttls
                }
            };
            let settings = email::Settings {
                server: entry.server.clone().unwrap_or_default(),
                port: entry.port,
                tls,
                ca_file: entry.ca_file.clone(),
                user: entry.user.clone(),
                password_file: entry.password_file.clone(),
                from: entry.from.clone().unwrap_or_default(),
                to: entry.to.clone(),
                deadline: deadline(usual.deadline, &mut wrong),
            };
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
            (keys.to_vec(), Email::new(&settings).map(Way::Email))
        }
        "command" => {
            let usual = command::Settings::default();
            let settings = command::Settings {
                command: entry.command.clone(),
                deadline: deadline(usual.deadline, &mut wrong),
            };
            (vec!["command"], Command::new(&settings).map(Way::Command))
        }
        other => {
            let kinds = "expected webhook, slack, alertmanager, email or command";
            return Err(vec![format!("kind {other:?}: {kinds}")]);
        }
    };
    for key in given(entry).into_iter().filter(|key| !keys.contains(key)) {
        wrong.add(format!(
            "{key}: a receiver of the kind {kind} has no such key; it has {}",
            keys.join(", ")
        ));
    }
    let made = way.and_then(|way| Receiver::new(name, way)).map_err(told);
    match (made, wrong.into_result(())) {
        (Ok(receiver), Ok(())) => Ok(receiver),
        (made, wrong) => Err([made.err(), wrong.err()].into_iter().flatten().flatten().collect()),
    }
}

/// Where and how one is known, for what goes over HTTP.
fn over_http(entry: &ReceiverEntry) -> http::Settings {
    http::Settings {
        url: entry.url.clone().map(Hidden::from),
        url_file: entry.url_file.clone(),
        auth: match (&entry.token_file, &entry.user, &entry.password_file) {
            (Some(token_file), _, _) => http::Auth::Bearer {
                token_file: token_file.clone(),
            },
            (None, Some(user), Some(password_file)) => http::Auth::Basic {
                user: user.clone(),
                password_file: password_file.clone(),
            },
            _ => http::Auth::None,
        },
        ca_file: entry.ca_file.clone(),
        ..http::Settings::default()
    }
}

/// What is wrong with how it is known to the server, and with the files of its secrets.
fn secrets(entry: &ReceiverEntry, kind: &str, wrong: &mut Faults) {
    let knows = |key: &str| given(entry).contains(&key);
    if matches!(kind, "webhook" | "slack" | "alertmanager") {
        if knows("user") && !knows("password_file") {
            wrong.add("password_file: it is missing: there is a user");
        } else if knows("password_file") && !knows("user") {
            wrong.add("user: it is missing: there is a password_file");
        }
        if knows("token_file") && (knows("user") || knows("password_file")) {
            wrong.add("token_file: it is given together with user and password_file: one of them is enough");
        }
    }
    let secrets = [
        ("url_file", &entry.url_file),
        ("token_file", &entry.token_file),
        ("password_file", &entry.password_file),
    ];
    for (key, path) in secrets {
        // That it must be absolute is told of the others, too.
        if let Some(path) = path.as_deref().filter(|path| path.is_absolute()) {
            wrong.take(private(key, path));
        }
    }
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
    given
        .into_iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(key, _)| key)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
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
                "password_file: it is missing: there is a user",
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
