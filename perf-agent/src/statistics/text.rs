//! The texts of a request that outlive it: in one buffer that the next request uses again.

use memchr::{memchr, memchr_iter};

use crate::exchange::Request;

/// Bytes of a path that are kept.
pub(super) const PATH: usize = 512;
/// Bytes of a host, and of a request id.
const NAME: usize = 128;
/// Bytes of a method.
pub(super) const METHOD: usize = 32;
/// Keys of a query that are kept, and bytes of each.
const KEYS: usize = 16;
const KEY: usize = 48;

/// Method, path, query keys, host, request id, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    buffer: String,
    /// Where each ends.
    ends: [u16; 5],
    has_host: bool,
    has_request_id: bool,
}

impl Text {
    /// Takes the texts of a request.
    pub(super) fn set(&mut self, request: &Request<'_>) {
        self.buffer.clear();
        self.add(0, first(request.method, METHOD));
        let path = first(request.path, PATH);
        if request.protocol.has_routes() {
            self.add_path(path);
        } else {
            self.add(1, path);
        }
        self.add_keys(request.query);
        self.add(3, first(request.host.unwrap_or_default(), NAME));
        self.add(4, first(request.request_id.unwrap_or_default(), NAME));
        self.has_host = request.host.is_some();
        self.has_request_id = request.request_id.is_some();
    }

    /// No texts.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.ends = [0; 5];
        (self.has_host, self.has_request_id) = (false, false);
    }

    fn add(&mut self, part: usize, text: &str) {
        self.buffer.push_str(text);
        self.end(part);
    }

    fn end(&mut self, part: usize) {
        self.ends[part] = u16::try_from(self.buffer.len()).unwrap_or(u16::MAX);
    }

    /// Without the segments' parameters (RFC 3986, 3.3): `;jsessionid=` is a credential.
    fn add_path(&mut self, path: &str) {
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
        self.end(1);
    }

    /// Keys only. A part without `=` is a key if it is short enough to be one; else it is a value and left out.
    fn add_keys(&mut self, query: &str) {
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
                }
            }
        }
        self.end(2);
    }

    fn part(&self, part: usize) -> &str {
        let begin = if part == 0 { 0 } else { self.ends[part - 1] };
        &self.buffer[usize::from(begin)..usize::from(self.ends[part])]
    }

    pub(super) fn method(&self) -> &str {
        self.part(0)
    }

    pub(super) fn path(&self) -> &str {
        self.part(1)
    }

    pub(super) fn query_keys(&self) -> impl Iterator<Item = &str> {
        self.part(2).split('&').filter(|key| !key.is_empty())
    }

    pub(super) fn host(&self) -> Option<&str> {
        self.has_host.then(|| self.part(3))
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        self.has_request_id.then(|| self.part(4))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.buffer.capacity()
    }
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
    use crate::exchange::Protocol;

    fn request<'a>(path: &'a str, query: &'a str, host: Option<&'a str>) -> Request<'a> {
        Request {
            protocol: Protocol::Http11,
            method: "GET",
            path,
            query,
            host,
            request_id: None,
            first_ns: 0,
            tgid: 0,
            tid: 0,
        }
    }

    #[test]
    fn texts_come_back_and_values_do_not() {
        let mut text = Text::default();
        text.set(&request(
            "/a;jsessionid=SECRET/b;x",
            "user=SECRET&flag&=SECRET&p%5B%5D=1&t%3dSECRET&u%3DSECRET=x&%",
            Some("h:1"),
        ));
        assert_eq!((text.method(), text.path()), ("GET", "/a/b"));
        assert_eq!(
            text.query_keys().collect::<Vec<_>>(),
            ["user", "flag", "p%5B%5D", "t", "u", "%"]
        );
        assert_eq!((text.host(), text.request_id()), (Some("h:1"), None));
        text.set(&request("/c", "eyJhbGciOiJIUzI1NiJ9.SECRETSECRET", None));
        assert_eq!((text.path(), text.query_keys().count(), text.host()), ("/c", 0, None));
    }

    proptest! {
        #[test]
        fn any_text_is_bounded_and_cut_between_characters(path in "\\PC{0,900}", query in "\\PC{0,2000}", host in "\\PC{0,300}") {
            let mut text = Text::default();
            text.set(&request(&path, &query, Some(&host)));
            prop_assert!(path.contains(';') || path.starts_with(text.path()));
            prop_assert!(text.path().len() <= PATH && text.query_keys().count() <= KEYS);
            prop_assert!(text.buffer.len() <= METHOD + PATH + KEYS * (KEY + 1) + 2 * NAME);
        }
    }
}
