//! The texts of a request that outlive it: in one buffer that the next request uses again.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};
use percent_encoding::percent_decode_str;

use crate::endpoint::is_secret_segment;
use crate::exchange::Request;
use crate::request_log::{Forwarded, QUERY_VALUE_BYTES, REDACTED, VALUE_BYTES, Wanted, secret};

/// Bytes of a path that are kept.
pub(super) const PATH: usize = 512;
/// Bytes of a host, and of a request id.
const NAME: usize = 128;
/// Bytes of a method.
pub(super) const METHOD: usize = 32;
/// Bytes of a `traceparent`. Those of later versions may be longer, but begin alike.
const TRACEPARENT: usize = 64;
/// Keys of a query that are kept, and bytes of each.
const KEYS: usize = 16;
const KEY: usize = 48;

/// Parts of a text, in order.
#[derive(Clone, Copy)]
enum Part {
    Method,
    Path,
    /// Keys with `&` between them, and `=` and the value behind those whose value may be shown.
    Query,
    Host,
    RequestId,
    TraceParent,
    User,
    /// Lines of `name=value`.
    Fields,
}

/// How many there are.
const PARTS: usize = 8;

/// The texts of a request, one after the other. What looks like a credential is taken out of those that the operator chose
/// here, where they are whole; out of the others when somebody reads them, since few of them ever are.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    buffer: String,
    /// Where each ends.
    ends: [u16; PARTS],
    has_host: bool,
    has_request_id: bool,
    forwarded: Forwarded,
}

impl Text {
    /// Takes the texts of a request.
    pub(super) fn set(&mut self, request: &Request<'_>, wanted: &Wanted) {
        self.buffer.clear();
        self.add(Part::Method, first(request.method, METHOD));
        if request.protocol.has_routes() {
            self.add_path(request.path);
        } else {
            self.add(Part::Path, first(request.path, PATH));
        }
        self.add_query(request.query, wanted);
        self.add(Part::Host, first(request.host.unwrap_or_default(), NAME));
        self.add(Part::RequestId, first(request.request_id.unwrap_or_default(), NAME));
        self.add(
            Part::TraceParent,
            first(request.said.traceparent.unwrap_or_default(), TRACEPARENT),
        );
        self.has_host = request.host.is_some();
        self.has_request_id = request.request_id.is_some();
        if wanted.names().is_empty() {
            self.end(Part::User);
            self.end(Part::Fields);
            self.forwarded = Forwarded::NotSaid;
        } else {
            self.add_chosen(request, wanted);
        }
    }

    #[cold]
    fn add_chosen(&mut self, request: &Request<'_>, wanted: &Wanted) {
        let said = &request.said;
        if let Some(user) = shown(wanted.user(said.chosen), secret::is_secret) {
            self.buffer.push_str(&user);
        }
        self.end(Part::User);
        for (name, values) in wanted.shown(said.chosen) {
            // Ids of traces and requests look like tokens.
            let is_id = ["trace", "span", "request-id", "correlation-id"]
                .iter()
                .any(|part| name.contains(part));
            let is_secret = if is_id {
                secret::is_credential
            } else {
                secret::is_secret
            };
            if let Some(value) = shown(values, is_secret) {
                self.buffer.push_str(name);
                self.buffer.push('=');
                self.buffer.push_str(&value);
                self.buffer.push('\n');
            }
        }
        self.end(Part::Fields);
        self.forwarded = wanted.forwarded(said.chosen, said.cut);
    }

    /// No texts.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.ends = [0; PARTS];
        (self.has_host, self.has_request_id) = (false, false);
        self.forwarded = Forwarded::NotSaid;
    }

    fn add(&mut self, part: Part, text: &str) {
        self.buffer.push_str(text);
        self.end(part);
    }

    fn end(&mut self, part: Part) {
        self.ends[part as usize] = u16::try_from(self.buffer.len()).unwrap_or(u16::MAX);
    }

    /// Without the segments' parameters (RFC 3986, 3.3): `;jsessionid=` is a credential.
    fn add_path(&mut self, whole: &str) {
        let path = first(whole, PATH);
        if memchr(b';', path.as_bytes()).is_none() {
            self.buffer.push_str(path);
        } else {
            for (place, segment) in path.split('/').enumerate() {
                if place > 0 {
                    self.buffer.push('/');
                }
                self.buffer.push_str(segment.split(';').next().unwrap_or_default());
            }
        }
        if path.len() < whole.len() {
            self.mend_cut(path, whole);
        }
        self.end(Part::Path);
    }

    /// The path was cut, maybe within a token of which too little is left to be told as one.
    #[cold]
    fn mend_cut(&mut self, path: &str, whole: &str) {
        let begin = path.rfind('/').map_or(0, |slash| slash + 1);
        let rest = whole[begin..].split('/').next().unwrap_or_default();
        if is_secret_segment(rest.split(';').next().unwrap_or_default()) {
            let end = self.buffer.rfind('/').map_or(self.buffer.len(), |slash| slash + 1);
            self.buffer.truncate(end);
            self.buffer.push_str(REDACTED);
        }
    }

    /// Keys, and values that are wanted. A part without `=` is a key if it is short enough to be one; else it is a value and
    /// left out.
    fn add_query(&mut self, query: &str, wanted: &Wanted) {
        if !query.is_empty() {
            let mut separate = false;
            for part in query.split('&').take(KEYS) {
                // An `=` that was encoded once too often separates a value all the same.
                let encoded = |&at: &usize| {
                    part.get(at..at + 3)
                        .is_some_and(|text| text.eq_ignore_ascii_case("%3d"))
                };
                let equals = memchr(b'=', part.as_bytes()).into_iter();
                let end = equals.chain(memchr_iter(b'%', part.as_bytes()).find(encoded)).min();
                let key = match end {
                    Some(end) => first(&part[..end], KEY),
                    None if part.len() <= 24 => part,
                    None => continue,
                };
                if !key.is_empty() {
                    if separate {
                        self.buffer.push('&');
                    }
                    separate = true;
                    self.buffer.push_str(key);
                    if let Some(value) = end.and_then(|end| part[end..].strip_prefix('='))
                        && wanted.shows_query_value(key.as_bytes())
                    {
                        self.add_query_value(value);
                    }
                }
            }
        }
        self.end(Part::Query);
    }

    #[cold]
    fn add_query_value(&mut self, value: &str) {
        let decoded = percent_decode_str(value).decode_utf8_lossy();
        if !secret::is_secret(&decoded) && !secret::is_secret(&decoded.replace('+', " ")) {
            self.buffer.push('=');
            let value: Cow<'_, str> = if value.contains(char::is_control) {
                value.replace(char::is_control, "\u{fffd}").into()
            } else {
                value.into()
            };
            self.buffer.push_str(first(&value, QUERY_VALUE_BYTES));
        }
    }

    fn part(&self, part: Part) -> &str {
        let part = part as usize;
        let begin = if part == 0 { 0 } else { self.ends[part - 1] };
        &self.buffer[usize::from(begin)..usize::from(self.ends[part])]
    }

    pub(super) fn method(&self) -> &str {
        self.part(Part::Method)
    }

    /// As it came, for routes: nobody may see it.
    pub(super) fn path(&self) -> &str {
        self.part(Part::Path)
    }

    /// The path without tokens that may be credentials.
    pub(super) fn shown_path(&self) -> String {
        let path = self.path();
        if path.split('/').any(is_secret_segment) {
            let segments = path.split('/');
            let shown = segments.map(|segment| if is_secret_segment(segment) { REDACTED } else { segment });
            return shown.collect::<Vec<_>>().join("/");
        }
        path.to_owned()
    }

    /// Keys of the query in order, and those values that may be shown.
    pub(super) fn query(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let parts = self.part(Part::Query).split('&').filter(|part| !part.is_empty());
        parts.map(|part| {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (part, None),
            };
            (unless_secret(key), value)
        })
    }

    pub(super) fn host(&self) -> Option<&str> {
        let host = self.part(Part::Host);
        // Credentials have no place there.
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        self.has_host.then(|| unless_credential(host))
    }

    /// As the request says it, else that of its trace.
    pub(super) fn request_id(&self) -> Option<&str> {
        let said = self
            .has_request_id
            .then(|| unless_credential(self.part(Part::RequestId)));
        said.or_else(|| self.trace_id())
    }

    /// The trace's id.
    pub(super) fn trace_id(&self) -> Option<&str> {
        trace_id(self.part(Part::TraceParent))
    }

    /// The user's id, if the request has one.
    pub(super) fn user(&self) -> Option<&str> {
        Some(self.part(Part::User)).filter(|user| !user.is_empty())
    }

    /// Names and values of the fields that the operator chose.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.part(Part::Fields).lines().filter_map(|line| line.split_once('='))
    }

    /// What proxies say of the client.
    pub(super) fn forwarded(&self) -> Forwarded {
        self.forwarded
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

/// The trace's id in a `traceparent` (W3C Trace Context, 3.2); `None` if it is none.
fn trace_id(traceparent: &str) -> Option<&str> {
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let (known, rest) = traceparent.split_at_checked(55)?;
    let mut parts = known.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = [version.len(), trace.len(), parent.len(), flags.len()];
    let ends = rest.is_empty() || (version != "00" && rest.starts_with('-'));
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let valid = lengths == [2, 32, 16, 2]
        && [version, trace, parent, flags].into_iter().all(hex)
        && version != "ff"
        && ends
        && !is_zero(trace)
        && !is_zero(parent);
    valid.then_some(trace)
}

/// Values of one field as one (RFC 9110, 5.3), as much of it as is kept and fit to be shown; `None` if there are none.
fn shown<'a>(values: impl Iterator<Item = &'a [u8]>, is_secret: fn(&str) -> bool) -> Option<Cow<'static, str>> {
    let mut whole = String::new();
    let mut any = false;
    for value in values {
        if std::mem::replace(&mut any, true) {
            whole.push_str(", ");
        }
        let value = String::from_utf8_lossy(value);
        let printable = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
        whole.extend(value.chars().map(printable));
    }
    if is_secret(&whole) {
        return Some(REDACTED.into());
    }
    let end = first(&whole, VALUE_BYTES).len();
    whole.truncate(end);
    any.then_some(whole.into())
}

fn unless_secret(text: &str) -> &str {
    if secret::is_secret(text) { REDACTED } else { text }
}

fn unless_credential(text: &str) -> &str {
    if secret::is_credential(text) { REDACTED } else { text }
}

/// At most this many bytes of a text, whole characters.
pub(super) fn first(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        text
    } else {
        &text[..text.floor_char_boundary(bytes)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::{Protocol, Said};
    use crate::request_log::{NOTHING, RequestLogSettings};

    fn request<'a>(path: &'a str, query: &'a str, host: Option<&'a str>) -> Request<'a> {
        Request {
            protocol: Protocol::Http11,
            method: "GET",
            path,
            query,
            host,
            request_id: None,
            said: Said::default(),
            first_ns: 0,
            tgid: 0,
            tid: 0,
        }
    }

    fn keys(text: &Text) -> Vec<&str> {
        text.query().map(|(key, _)| key).collect()
    }

    #[test]
    fn texts_come_back_and_values_do_not() {
        let mut text = Text::default();
        let first = request(
            "/a;jsessionid=SECRET/b;x",
            "user=SECRET&flag&=SECRET&p%5B%5D=1&t%3dSECRET&u%3DSECRET=x&%",
            Some("h:1"),
        );
        text.set(&first, &NOTHING);
        assert_eq!((text.method(), text.path()), ("GET", "/a/b"));
        assert_eq!(keys(&text), ["user", "flag", "p%5B%5D", "t", "u", "%"]);
        assert!(text.query().all(|(_, value)| value.is_none()));
        assert_eq!((text.host(), text.request_id()), (Some("h:1"), None));
        text.set(&request("/c", "eyJhbGciOiJIUzI1NiJ9.SECRETSECRET", None), &NOTHING);
        assert_eq!((text.path(), text.query().count(), text.host()), ("/c", 0, None));
    }

    #[test]
    fn chosen_values_come_back_and_credentials_do_not() {
        let settings = RequestLogSettings {
            user_header: Some("x-user".to_owned()),
            headers: vec!["x-plan".to_owned(), "x-b3-traceid".to_owned(), "x-none".to_owned()],
            trusted_proxies: vec![],
            query_values: vec!["page".to_owned(), "q".to_owned()],
        };
        let wanted = Wanted::new(&settings).unwrap();
        let chosen: &[(u8, &[u8])] = &[
            (0, b"ann\xff\x1b[0m"),
            (1, b"gold"),
            (1, b"Bearer abcdef"),
            (2, b"0123456789abcdef0123456789abcdef"),
        ];
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        let query = format!("page=2&q=a%20b&other=x&q={jwt}&page=&q=Bearer%20x&q=Bearer+x");
        let path = format!("/reset/{jwt}/0123456789abcdef0123456789abcdef/done");
        let mut request = request(&path, &query, Some("ann:pw@h"));
        request.said.chosen = chosen;
        let mut text = Text::default();
        text.set(&request, &wanted);
        assert_eq!(text.shown_path(), "/reset/[redacted]/[redacted]/done");
        assert_eq!(text.user(), Some("ann\u{fffd}\u{fffd}[0m"));
        assert_eq!(text.host(), Some("h"));
        assert_eq!(
            text.fields().collect::<Vec<_>>(),
            [
                ("x-plan", REDACTED),
                ("x-b3-traceid", "0123456789abcdef0123456789abcdef")
            ]
        );
        assert_eq!(
            text.query().collect::<Vec<_>>(),
            [
                ("page", Some("2")),
                ("q", Some("a%20b")),
                ("other", None),
                ("q", None),
                ("page", Some("")),
                ("q", None),
                ("q", None)
            ]
        );
    }

    #[test]
    fn a_token_that_is_cut_with_its_path_is_none_of_it() {
        let token = "Zk3v9Qw1Xy7Tb5Nc2Rm8Lp4Sd6Fg0Hj1";
        let path = format!("/{}/{token}/x", "a".repeat(PATH - 10));
        let mut text = Text::default();
        text.set(&request(&path, "", None), &NOTHING);
        assert_eq!(text.path(), format!("/{}/{REDACTED}", "a".repeat(PATH - 10)));
    }

    #[test]
    fn only_a_valid_traceparent_names_a_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (text, expected) in [
            (format!("00-{trace}-00f067aa0ba902b7-01"), Some(trace)),
            (format!("cc-{trace}-00f067aa0ba902b7-01"), Some(trace)),
            (format!("cc-{trace}-00f067aa0ba902b7-01-more"), Some(trace)),
            (format!("00-{trace}-00f067aa0ba902b7-01-more"), None),
            (format!("cc-{trace}-00f067aa0ba902b7-01.more"), None),
            (format!("ff-{trace}-00f067aa0ba902b7-01"), None),
            (format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), None),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{trace}-00f067aa0ba902b7-0"), None),
            (format!("0-0{trace}-00f067aa0ba902b7-01"), None),
            (String::new(), None),
        ] {
            assert_eq!(trace_id(&text), expected, "{text}");
        }
        let mut request = request("/", "", None);
        let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
        request.said.traceparent = Some(&traceparent);
        let mut text = Text::default();
        text.set(&request, &NOTHING);
        assert_eq!((text.request_id(), text.trace_id()), (Some(trace), Some(trace)));
        request.request_id = Some("r1");
        text.set(&request, &NOTHING);
        assert_eq!((text.request_id(), text.trace_id()), (Some("r1"), Some(trace)));
    }

    proptest! {
        #[test]
        fn any_text_is_bounded_and_cut_between_characters(
            path in "\\PC{0,900}", query in "\\PC{0,2000}", host in "\\PC{0,300}", traceparent in "\\PC{0,90}",
            value in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let settings = RequestLogSettings {
                user_header: Some("x-0".to_owned()),
                headers: (0..16).map(|number| format!("x-{number}")).collect(),
                trusted_proxies: vec!["::/0".to_owned()],
                query_values: vec!["a".to_owned()],
            };
            let wanted = Wanted::new(&settings).unwrap();
            let chosen: Vec<(u8, &[u8])> = (0..18).map(|place| (place, &value[..])).collect();
            let mut request = request(&path, &query, Some(&host));
            request.said = Said { traceparent: Some(&traceparent), chosen: &chosen, cut: false };
            let mut text = Text::default();
            text.set(&request, &wanted);
            prop_assert!(path.contains(';') || text.path().ends_with(REDACTED) || path.starts_with(text.path()));
            prop_assert!(text.path().len() <= PATH + REDACTED.len() && keys(&text).len() <= KEYS);
            prop_assert!(text.user().is_none_or(|user| user.len() <= VALUE_BYTES));
            let queries = KEYS * (KEY + 2 + QUERY_VALUE_BYTES);
            let fields = 17 * (VALUE_BYTES + 6);
            prop_assert!(text.buffer.len() <= METHOD + PATH + REDACTED.len() + queries + 2 * NAME + TRACEPARENT + fields);
        }
    }
}
