//! What people read: one line that says what happened, and one per alert. Names in it come from observed traffic, so no
//! control character leaves this file.

use crate::alert::{Alert, Notification, Reason, State};
use crate::threshold::Severity;

use super::Origin;

/// What a notification says as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Something fires.
    Firing,
    /// All is over.
    Resolved,
    /// Somebody tries whether it arrives.
    Test,
}

impl Status {
    /// Of a notification.
    pub fn of(notification: &Notification) -> Self {
        let fires = notification.alerts.iter().any(|alert| alert.state != State::Resolved);
        match notification.reason {
            Reason::Test => Self::Test,
            Reason::Resolved if !fires => Self::Resolved,
            _ if fires || notification.alerts.is_empty() || notification.more > 0 => Self::Firing,
            _ => Self::Resolved,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

/// The worst severity of those that fire.
pub fn worst(notification: &Notification) -> Option<Severity> {
    let fires = |alert: &&Alert| alert.state != State::Resolved;
    notification
        .alerts
        .iter()
        .filter(fires)
        .map(|alert| alert.severity)
        .max()
}

/// A severity's name.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
        Severity::Critical => "critical",
    }
}

/// A state's name.
pub fn state(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Firing => "firing",
        State::Resolved => "resolved",
    }
}

/// A reason's name.
pub fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::New => "new",
        Reason::Changed => "changed",
        Reason::Repeated => "repeated",
        Reason::Escalated => "escalated",
        Reason::Resolved => "resolved",
        Reason::Test => "test",
    }
}

/// A moment as RFC 3339 in UTC, with milliseconds.
pub fn moment(wall_ns: u64) -> String {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or_default();
    format!("{moment:.3}")
}

/// One line of at most so many bytes: control characters become spaces, what is too long ends in `…`.
pub fn line(text: &str, bytes: usize) -> String {
    let flat = text.trim().chars().map(|c| if breaks(c) { ' ' } else { c });
    clip(&flat.collect::<String>(), bytes)
}

/// Ends a line, or turns the direction of what follows it.
fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of at most so many bytes.
pub(crate) fn clip(text: &str, bytes: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub(ELLIPSIS.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", &text[..end])
}

/// Longest headline, bytes.
const HEADLINE_BYTES: usize = 300;
/// Longest line of an alert, bytes.
const ALERT_BYTES: usize = 1_000;

/// The notification in one line: `[CRITICAL] shop on web-1: 2 alerts fire, 1 resolved`.
pub fn headline(notification: &Notification, origin: &Origin) -> String {
    let status = Status::of(notification);
    let mark = match (status, worst(notification)) {
        (Status::Firing, Some(worst)) => severity(worst),
        _ => status.name(),
    };
    let mark = mark.to_uppercase();
    let mut alerts = notification.alerts.iter();
    let what = match (alerts.next(), alerts.next()) {
        (Some(only), None) if notification.more == 0 => only.message.clone(),
        _ => counts(notification),
    };
    let note = match notification.reason {
        Reason::Escalated => " (escalated)",
        Reason::Repeated => " (still)",
        _ => "",
    };
    let text = format!("[{mark}] {} on {}: {what}{note}", notification.group, origin.instance);
    line(&text, HEADLINE_BYTES)
}

fn counts(notification: &Notification) -> String {
    let resolved = notification
        .alerts
        .iter()
        .filter(|a| a.state == State::Resolved)
        .count();
    let firing = notification.alerts.len() - resolved;
    let mut parts = Vec::new();
    match firing {
        0 => {}
        1 => parts.push("1 alert fires".to_owned()),
        n => parts.push(format!("{n} alerts fire")),
    }
    if resolved > 0 {
        parts.push(format!("{resolved} resolved"));
    }
    if notification.more > 0 {
        parts.push(format!("{} more", notification.more));
    }
    if parts.is_empty() {
        return "no alerts".to_owned();
    }
    parts.join(", ")
}

/// An alert in one line: `CRITICAL GET /x of shop: p95 is 312 ms, since 2026-…`.
pub fn alert(alert: &Alert) -> String {
    let mark = match alert.state {
        State::Resolved => "RESOLVED".to_owned(),
        _ => severity(alert.severity).to_uppercase(),
    };
    let since = moment(alert.fired_wall_ns.unwrap_or(alert.since_wall_ns));
    let when = match alert.resolved_wall_ns {
        Some(end) if alert.state == State::Resolved => format!("from {since} to {}", moment(end)),
        _ => format!("since {since}"),
    };
    let room = ALERT_BYTES.saturating_sub(when.len() + 2);
    let what = line(&format!("{mark} {}: {}", alert.subject.name, alert.message), room);
    format!("{what}, {when}")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn one_alert_is_told_in_the_headline_and_several_are_counted() {
        let origin = sample::origin();
        let mut notification = sample::firing("team", "shop", 1);
        assert_eq!(
            headline(&notification, &origin),
            "[CRITICAL] shop on web-1: p95 is 312 ms, more than 200 ms"
        );
        notification.alerts.push(sample::resolved_alert(2));
        notification.more = 3;
        notification.reason = Reason::Escalated;
        assert_eq!(
            headline(&notification, &origin),
            "[CRITICAL] shop on web-1: 1 alert fires, 1 resolved, 3 more (escalated)"
        );
        assert_eq!(
            headline(&sample::resolved("team", "shop", 1), &origin),
            "[RESOLVED] shop on web-1: p95 is 312 ms, more than 200 ms"
        );
    }

    #[test]
    fn an_alert_says_since_when_and_until_when() {
        assert_eq!(
            alert(&sample::firing_alert(1)),
            "CRITICAL GET /users/{id} of shop:8080: p95 is 312 ms, more than 200 ms, since 2023-11-14T22:13:20.000Z"
        );
        assert_eq!(
            alert(&sample::resolved_alert(1)),
            "RESOLVED GET /users/{id} of shop:8080: p95 is 312 ms, more than 200 ms, \
             from 2023-11-14T22:13:20.000Z to 2023-11-14T22:14:20.000Z"
        );
    }

    #[test]
    fn a_line_has_no_control_characters_and_an_end() {
        assert_eq!(line(" a\r\nBcc: b\0\u{202e}c ", 100), "a  Bcc: b  c");
        assert_eq!(line("äöü", 5), "ä…");
        assert_eq!(line("äöü", 6), "äöü");
        let mut long = sample::firing_alert(1);
        long.message = "x".repeat(5_000);
        assert_eq!(alert(&long).len(), ALERT_BYTES);
    }
}
