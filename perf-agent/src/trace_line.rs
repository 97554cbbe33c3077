//! One exchange, or one stream, as one line of text.

use std::fmt::Write;

use crate::exchange::Outcome;
use crate::snapshot::{LoggedExchange, LoggedStream};

/// Above every column its name.
pub fn header() -> String {
    columns(
        "TIME",
        "SERVICE",
        "ROLE",
        "METHOD",
        "PATH",
        "STATUS",
        ["RESPONSE", "FIRST BYTE", "QUEUE"],
        "REQ BYTES",
        "RESP BYTES",
    )
}

/// The line. Times are milliseconds; `-` is not known. `width`: longest path that is not cut.
pub fn line(exchange: &LoggedExchange, zone: &jiff::tz::TimeZone, width: usize) -> String {
    let times = &exchange.times;
    let protocol = exchange.key.protocol;
    let method = match &*exchange.method {
        "" if protocol.has_statuses() => "-",
        "" => protocol.name(),
        method => method,
    };
    let status = exchange.status.map(|status| status.to_string());
    let status = status.or_else(|| exchange.error.map(|error| error.as_str().to_owned()));
    let mut line = columns(
        &time(exchange.ended_wall_ns, zone),
        &cut(&visible(&exchange.key.service.name), 16),
        exchange.key.role.name(),
        &cut(&visible(method), 16),
        &cut(&visible(&exchange.path), width),
        status.as_deref().unwrap_or("-"),
        [
            &ms(Some(times.response_time_ns())),
            &ms(times.time_to_first_byte_ns()),
            &ms(times.queue_time_ns()),
        ],
        &exchange.request_bytes.to_string(),
        &exchange.response_bytes.to_string(),
    );
    if let Some(kind) = exchange.stream {
        let _infallible = write!(line, "  {} begins", kind.name());
    }
    if exchange.outcome != Outcome::Answered {
        let _infallible = write!(line, "  {}", exchange.outcome.name());
    }
    line
}

/// The line of a stream that ended; the bytes are its own.
pub fn stream(stream: &LoggedStream, zone: &jiff::tz::TimeZone, width: usize) -> String {
    let ended = stream.ended.as_ref();
    let duration = ended.map(|ended| ended.at_ns.saturating_sub(stream.since_ns));
    let status = ended.and_then(|ended| ended.status);
    let mut line = columns(
        &time(stream.ended_wall_ns, zone),
        &cut(&visible(&stream.key.service.name), 16),
        stream.key.role.name(),
        &cut(&visible(&stream.method), 16),
        &cut(&visible(&stream.path), width),
        &status.map_or("-".to_owned(), |status| status.to_string()),
        [&ms(duration), "-", "-"],
        &stream.bytes[0].to_string(),
        &stream.bytes[1].to_string(),
    );
    let _infallible = write!(line, "  {} ends", stream.kind.name());
    if let Some([asked, answered]) = stream.messages {
        let _infallible = write!(line, ", {asked} and {answered} messages");
    }
    if let Some(ended) = ended.filter(|ended| ended.outcome != Outcome::Answered) {
        let _infallible = write!(line, "  {}", ended.outcome.name());
    }
    line
}

fn time(wall_ns: u64, zone: &jiff::tz::TimeZone) -> String {
    if wall_ns == 0 {
        return "-".to_owned();
    }
    let moment = jiff::Timestamp::from_nanosecond(wall_ns.into()).unwrap_or_default();
    let moment = moment.to_zoned_datetime(zone.clone());
    moment.strftime("%H:%M:%S%.3f").to_string()
}

fn ms(ns: Option<u64>) -> String {
    ns.map_or("-".to_owned(), |ns| format!("{:.3}", ns as f64 / 1e6))
}

#[expect(clippy::too_many_arguments, reason = "they are the columns")]
fn columns(
    time: &str,
    service: &str,
    role: &str,
    method: &str,
    path: &str,
    status: &str,
    [response, first, queue]: [&str; 3],
    request_bytes: &str,
    response_bytes: &str,
) -> String {
    format!(
        "{time:<12} {service:<16} {role:<6} {method:<7} {path:<32} {status:>6} {response:>10} {first:>10} {queue:>8} \
         {request_bytes:>9} {response_bytes:>10}"
    )
}

/// What came over the wire must not steer a terminal.
fn visible(text: &str) -> String {
    if text.chars().all(|letter| !letter.is_control()) {
        return text.to_owned();
    }
    let shown = |letter: char| -> String {
        if letter.is_control() {
            letter.escape_default().to_string()
        } else {
            letter.to_string()
        }
    };
    text.chars().map(shown).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{StreamEnded, StreamKind};
    use crate::synthetic::logged;

    #[track_caller]
    fn check(exchange: &LoggedExchange, expected: &str) {
        assert_eq!(line(exchange, &jiff::tz::TimeZone::UTC, 40), expected);
    }

    #[test]
    fn a_line_stands_below_its_header() {
        let expected = "\
TIME         SERVICE          ROLE   METHOD  PATH                             STATUS   RESPONSE FIRST BYTE    QUEUE REQ BYTES RESP BYTES
22:13:20.123 nginx            server GET     /users/17                           200      2.346      1.500    0.001        78       1234";
        let ended = logged("/users/17", Some(200), Outcome::Answered);
        assert_eq!(
            format!("{}\n{}", header(), line(&ended, &jiff::tz::TimeZone::UTC, 40)),
            expected
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_another_outcome_is_named() {
        check(
            &logged("/slow", None, Outcome::ClientAborted),
            "22:13:20.123 nginx            server GET     /slow                                 -      2.346          -    0.001        78       1234  client_aborted",
        );
    }

    #[test]
    fn a_stream_has_a_line_where_it_begins_and_one_where_it_ends() {
        let mut begins = logged("/chat", Some(101), Outcome::Answered);
        begins.stream = Some(StreamKind::WebSocket);
        check(
            &begins,
            "22:13:20.123 nginx            server GET     /chat                               101      2.346      1.500    0.001        78       1234  websocket begins",
        );
        let mut ends = LoggedStream {
            id: 1,
            endpoint: "0".into(),
            key: begins.key,
            kind: StreamKind::WebSocket,
            method: "GET".to_owned(),
            path: "/chat".to_owned(),
            host: None,
            request_id: None,
            peer: None,
            client: None,
            tgid: 1,
            since_ns: 1_000_000,
            since_wall_ns: 0,
            bytes: [70, 9],
            messages: Some([7, 1]),
            ended: Some(StreamEnded {
                outcome: Outcome::Answered,
                status: None,
                at_ns: 61_000_000_000,
            }),
            ended_wall_ns: 1_700_000_000_123_456_789,
        };
        let line = |ends: &LoggedStream| stream(ends, &jiff::tz::TimeZone::UTC, 40);
        let expected = "22:13:20.123 nginx            server GET     /chat                                 -  60999.000          -        -        70          9  websocket ends";
        assert_eq!(line(&ends), format!("{expected}, 7 and 1 messages"));
        ends.messages = None;
        ends.ended.as_mut().unwrap().outcome = Outcome::ClientAborted;
        assert_eq!(line(&ends), format!("{expected}  client_aborted"));
    }

    #[test]
    fn a_path_cannot_steer_the_terminal_nor_fill_it() {
        let line = line(
            &logged("/\u{1b}[2J\u{9b}x", Some(200), Outcome::Answered),
            &jiff::tz::TimeZone::UTC,
            40,
        );
        assert!(line.contains("/\\u{1b}[2J\\u{9b}x "), "{line}");
        let long = logged(&format!("/{}", "é".repeat(100)), Some(200), Outcome::Answered);
        let line = super::line(&long, &jiff::tz::TimeZone::UTC, 40);
        assert!(line.contains(&format!("/{}… ", "é".repeat(38))), "{line}");
    }
}
