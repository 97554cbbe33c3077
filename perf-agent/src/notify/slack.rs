//! Incoming webhooks as Slack has them, in the part that Mattermost and Rocket.Chat take too: a text and attachments.

use serde::Serialize;

use crate::alert::{Alert, Notification, State};
use crate::threshold::Severity;

use super::failure::{Failure, Fault};
use super::text::{self, Status};
use super::{Clock, Origin, http};

/// A channel.
#[derive(Debug)]
pub struct Slack {
    pub(super) server: http::Server,
    channel: Option<String>,
}

/// What is configured of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The incoming webhook. Its address is a secret: better in a file.
    pub http: http::Settings,
    /// Another channel than the webhook's, where the server allows it.
    pub channel: Option<String>,
}

/// Alerts that a message lists; more make it hard to read, and Slack refuses more than 100.
const LISTED: usize = 20;
/// Longest name of a channel, bytes.
const CHANNEL_BYTES: usize = 80;

impl Slack {
    /// From its settings.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let server = http::Server::new(&settings.http)?;
        if let Some(channel) = &settings.channel
            && (channel.is_empty() || channel.len() > CHANNEL_BYTES || channel.chars().any(char::is_control))
        {
            return Err(Fault::new(
                "channel",
                format!("it has 1 to {CHANNEL_BYTES} bytes in one line"),
            ));
        }
        Ok(Self {
            server,
            channel: settings.channel.clone(),
        })
    }

    pub(super) async fn deliver(&self, told: &Notification, origin: &Origin, clock: Clock) -> Result<(), Failure> {
        let message = Message::new(told, origin, self.channel.as_deref());
        let json = serde_json::to_vec(&message).expect("texts and numbers can be written as JSON");
        self.server.post(None, json, (clock.wall_ns)()).await
    }
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    attachments: Vec<Attachment<'a>>,
}

#[derive(Debug, Serialize)]
struct Attachment<'a> {
    fallback: String,
    color: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title_link: Option<&'a str>,
}

impl<'a> Message<'a> {
    fn new(told: &'a Notification, origin: &Origin, channel: Option<&'a str>) -> Self {
        let mut attachments: Vec<_> = told.alerts.iter().take(LISTED).map(attachment).collect();
        let more = told.more + told.alerts.len().saturating_sub(LISTED) as u64;
        if more > 0 {
            let text = format!("and {more} more");
            attachments.push(Attachment {
                fallback: text.clone(),
                color: GREY,
                text,
                title: None,
                title_link: None,
            });
        }
        if Status::of(told) == Status::Test {
            for attachment in &mut attachments {
                attachment.color = GREY;
            }
        }
        Self {
            text: escape(&text::headline(told, origin)),
            channel,
            attachments,
        }
    }
}

const GREY: &str = "#808080";

fn attachment(alert: &Alert) -> Attachment<'_> {
    let color = match (alert.state, alert.severity) {
        (State::Resolved, _) => "good",
        (_, Severity::Warning) => "warning",
        (_, Severity::Error | Severity::Critical) => "danger",
    };
    let line = escape(&text::alert(alert));
    Attachment {
        fallback: line.clone(),
        color,
        text: line,
        title: alert.runbook.is_some().then_some("runbook"),
        title_link: alert.runbook.as_deref(),
    }
}

/// The three characters that Slack gives a meaning, and words that would call a whole channel: what is observed must not
/// ring anybody's bell.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' if calls_all(&text[at + 1..]) => escaped.push_str("@\u{2060}"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn calls_all(after: &str) -> bool {
    ["channel", "here", "all", "everyone"].iter().any(|word| {
        let begins = after
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word));
        begins && !after[word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sample;
    use super::*;

    #[track_caller]
    fn check(told: &Notification, channel: Option<&str>, expected: &serde_json::Value) {
        let origin = sample::origin();
        let message = serde_json::to_value(Message::new(told, &origin, channel)).unwrap();
        assert_eq!(&message, expected);
    }

    #[test]
    fn a_message_has_a_text_and_an_attachment_per_alert() {
        let line =
            "CRITICAL GET /users/{id} of shop:8080: p95 is 312 ms, more than 200 ms, since 2023-11-14T22:13:20.000Z";
        let expected = json!({
            "text": "[CRITICAL] shop on web-1: p95 is 312 ms, more than 200 ms",
            "channel": "#ops",
            "attachments": [{
                "fallback": line, "color": "danger", "text": line, "title": "runbook", "title_link": "https://wiki/slow",
            }],
        });
        check(&sample::firing("team", "shop", 1), Some("#ops"), &expected);
    }

    #[test]
    fn what_has_a_meaning_to_slack_is_escaped() {
        assert_eq!(escape("a<!channel>&b"), "a&lt;!channel&gt;&amp;b");
        assert_eq!(
            escape("@here @Channel me@all.org @allow"),
            "@\u{2060}here @\u{2060}Channel me@\u{2060}all.org @allow"
        );
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let mut told = sample::firing("team", "shop", 1);
        told.alerts = (0..30).map(sample::resolved_alert).collect();
        told.more = 5;
        let origin = sample::origin();
        let message = Message::new(&told, &origin, None);
        assert_eq!(message.attachments.len(), 21);
        assert_eq!(message.attachments[20].text, "and 15 more");
        assert_eq!(message.attachments[0].color, "good");
    }

    #[test]
    fn settings_show_no_address() {
        let settings = Settings {
            http: http::Settings {
                url: Some("https://hooks.slack.com/services/T0/B0/verysecret".into()),
                headers: vec![("x-key".to_owned(), "verysecret".into())],
                ..http::Settings::default()
            },
            channel: None,
        };
        for shown in [format!("{settings:?}"), format!("{:?}", Slack::new(&settings).unwrap())] {
            assert!(
                shown.contains("hooks.slack.com") && !shown.contains("secret"),
                "{shown}"
            );
        }
        let bad = Settings {
            channel: Some(String::new()),
            ..settings
        };
        assert_eq!(Slack::new(&bad).unwrap_err().field, "channel");
    }
}
