//! Whether an answer of HTTP came out of a cache, as far as its fields tell. RFC 9111 and 9211, and what caches wrote
//! before there was a standard.
//!
//! Caches on the way say it in words of their own, and the best word counts: `Cache-Status` (RFC 9211), then `X-Cache`,
//! `X-Cache-Status` and `CF-Cache-Status`, then an `Age` above 0, then status 304, by which the one who asked learns that
//! its own copy is good (RFC 9111, 4.3.3). An `Age` of 0 is not believed, against RFC 9111, 5.1: Varnish and others send
//! it with what they have just fetched. An answer without any of these is neither a hit nor a miss.

use crate::exchange::Tally;

/// Members of a list that are looked at; a chain of caches is shorter.
const MAX_MEMBERS: usize = 16;

/// What became of the question whether a cache had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cached {
    /// A cache had it, also if it asked first whether it still holds.
    Hit,
    /// A cache was asked and had to fetch it.
    Miss,
}

impl Cached {
    /// As the exchange says it.
    pub(super) fn tally(cached: Option<Self>) -> Tally {
        Tally {
            hits: u32::from(cached == Some(Self::Hit)),
            misses: u32::from(cached == Some(Self::Miss)),
            ..Tally::default()
        }
    }

    /// Of several caches one that had it is enough.
    fn or(before: Option<Self>, now: Option<Self>) -> Option<Self> {
        if before == Some(Self::Hit) {
            before
        } else {
            now.or(before)
        }
    }
}

/// A field that tells of caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheField {
    /// `Cache-Status`
    Status,
    /// `X-Cache`, `X-Cache-Status`, `CF-Cache-Status`
    Word,
    /// `Age`
    Age,
}

/// What the fields of one head say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheFields {
    status: Option<Cached>,
    word: Option<Cached>,
    aged: bool,
}

impl CacheFields {
    /// Takes one field's value. Several of a name are one list (RFC 9110, 5.3).
    pub(super) fn take(&mut self, field: CacheField, value: &[u8]) {
        match field {
            CacheField::Status => {
                let caches = split(value, b',').take(MAX_MEMBERS).map(of_member);
                self.status = caches.fold(self.status, Cached::or);
            }
            CacheField::Word => {
                let caches = split(value, b',').take(MAX_MEMBERS).map(of_word);
                self.word = caches.fold(self.word, Cached::or);
            }
            CacheField::Age => {
                let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                self.aged |= is_number && value.iter().any(|&digit| digit != b'0');
            }
        }
    }

    /// What they come to, with the answer's status.
    pub(super) fn verdict(self, status: u16) -> Option<Cached> {
        let hit = (self.aged || status == 304).then_some(Cached::Hit);
        self.status.or(self.word).or(hit)
    }
}

/// One cache's handling, RFC 9211, 2. What it was not asked for (`bypass`, `method`, `request`) is no miss.
fn of_member(member: &[u8]) -> Option<Cached> {
    let (mut hit, mut missed, mut validated) = (false, false, false);
    for parameter in split(member, b';').skip(1) {
        let mut parts = parameter.splitn(2, |&byte| byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        match (name, value) {
            (b"hit", None | Some(b"?1")) => hit = true,
            (b"fwd", Some(b"miss" | b"uri-miss" | b"vary-miss" | b"stale" | b"partial")) => missed = true,
            (b"fwd-status", Some(b"304")) => validated = true,
            _ => {}
        }
    }
    match (hit || (missed && validated), missed) {
        (true, _) => Some(Cached::Hit),
        (false, true) => Some(Cached::Miss),
        (false, false) => None,
    }
}

/// A word as nginx, Varnish, Squid, Cloudflare, `CloudFront` and Akamai write it: `HIT`, `Miss from cloudfront`,
/// `TCP_MEM_HIT from …`. Others (`BYPASS`, `DYNAMIC`) say that no cache was asked.
fn of_word(element: &[u8]) -> Option<Cached> {
    let word = element.split(|byte| b" \t;:/".contains(byte)).next()?;
    let is = |words: &[&[u8]]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    let ends = |end: &[u8]| {
        let at = word.len().checked_sub(end.len());
        at.is_some_and(|at| word[at..].eq_ignore_ascii_case(end))
    };
    if ends(b"HIT") || is(&[b"STALE", b"UPDATING", b"REVALIDATED"]) {
        Some(Cached::Hit)
    } else if ends(b"MISS") || is(&[b"EXPIRED"]) {
        Some(Cached::Miss)
    } else {
        None
    }
}

/// Parts of a structured field between separators, trimmed; none within a string (RFC 9651, 3.3.3).
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(move |&byte| {
            let ends = byte == separator && !quoted;
            quoted ^= byte == b'"' && !escaped;
            escaped = quoted && byte == b'\\' && !escaped;
            ends
        })
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::CacheField::{Age, Status, Word};
    use super::*;

    #[track_caller]
    fn check(fields: &[(CacheField, &str)], status: u16, expected: Option<Cached>) {
        let mut read = CacheFields::default();
        for (field, value) in fields {
            read.take(*field, value.as_bytes());
        }
        assert_eq!(read.verdict(status), expected, "{fields:?} {status}");
    }

    #[test]
    fn an_answer_that_says_nothing_is_neither_hit_nor_miss() {
        check(&[], 200, None);
        for value in ["", "0", "00", "-1", "1x", "soon"] {
            check(&[(Age, value)], 200, None);
        }
        for value in ["", "BYPASS", "DYNAMIC", "NONE from x", "hitch", "-", ",,"] {
            check(&[(Word, value)], 200, None);
        }
    }

    #[test]
    fn words_of_caches_are_understood() {
        for value in [
            "HIT",
            "hit",
            "HIT from proxy.example",
            "Hit from cloudfront",
            "RefreshHit from cloudfront",
            "TCP_MEM_HIT from a23-1 (AkamaiGHost/11)",
            "MISS, HIT",
            "HIT, MISS",
            "REVALIDATED",
            "STALE",
        ] {
            check(&[(Word, value)], 200, Some(Cached::Hit));
        }
        for value in [
            "MISS",
            "Miss from cloudfront",
            "TCP_MISS from x",
            "EXPIRED",
            "MISS, MISS",
        ] {
            check(&[(Word, value)], 200, Some(Cached::Miss));
        }
    }

    #[test]
    fn cache_status_is_read_as_rfc_9211_has_it() {
        for value in [
            "ExampleCache; hit",
            "OriginCache; hit; ttl=1100, \"CDN Company Here\"; hit; ttl=545",
            "ExampleCache; hit; ttl=-412",
            "ExampleCache; fwd=stale; fwd-status=304",
            "OriginCache; fwd=uri-miss; stored, \"a, b; c\"; hit=?1",
        ] {
            check(&[(Status, value)], 200, Some(Cached::Hit));
        }
        for value in [
            "ExampleCache; fwd=uri-miss; stored",
            "\"x; hit\"; fwd=miss",
            "x; fwd=vary-miss; detail=\"\\\"; hit\"",
            "x; fwd=stale; fwd-status=200",
            "a; fwd=bypass, b; fwd=partial",
        ] {
            check(&[(Status, value)], 200, Some(Cached::Miss));
        }
        for value in [
            "x",
            "hit",
            "x; fwd=bypass",
            "x; fwd=method",
            "x; hit=?0",
            "x; fwd-status=304",
        ] {
            check(&[(Status, value)], 200, None);
        }
    }

    #[test]
    fn the_best_word_counts() {
        check(&[(Age, "17")], 200, Some(Cached::Hit));
        check(&[(Age, "17"), (Word, "MISS")], 200, Some(Cached::Miss));
        check(&[(Word, "HIT"), (Status, "x; fwd=miss")], 200, Some(Cached::Miss));
        check(&[(Word, "MISS"), (Word, "HIT")], 200, Some(Cached::Hit));
        check(&[], 304, Some(Cached::Hit));
        check(&[(Word, "MISS")], 304, Some(Cached::Miss));
    }

    #[test]
    fn any_bytes_are_read() {
        proptest::proptest!(|(value: Vec<u8>, status: u16)| {
            let mut read = CacheFields::default();
            for field in [Status, Word, Age] {
                read.take(field, &value);
            }
            let _ = read.verdict(status);
        });
    }
}
