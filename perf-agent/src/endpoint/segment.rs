//! What one path segment looks like: a constant, or a value that stands for many.
//!
//! Judged by its form only; what has no form (names, short codes) is found by counting, in [`super::route`]. When in
//! doubt a segment is a constant: a constant too many is folded by counting, a placeholder too many hides an endpoint.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Longest segment that is kept as it was sent.
pub(super) const LONGEST: usize = 64;

/// What a segment is replaced by, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placeholder {
    pub(super) text: Cow<'static, str>,
    pub(super) reason: &'static str,
}

/// The placeholder for a segment; `None` if it is a constant. `last`: no segment follows, so it may be a file name.
pub(super) fn placeholder(segment: &str, last: bool) -> Option<Placeholder> {
    if segment.is_empty() {
        return None;
    }
    let decoded = if segment.contains('%') {
        percent_decode_str(segment).decode_utf8_lossy()
    } else {
        Cow::Borrowed(segment)
    };
    let found = |text, reason| Some(Placeholder { text, reason });
    if let Some((name, reason)) = form(&decoded) {
        return found(name.into(), reason);
    }
    if last && let Some(placeholder) = file(&decoded) {
        return Some(placeholder);
    }
    // `123:cancel`: a custom method on a resource (Google's API design guide, AIP-136).
    if let Some((value, verb)) = decoded.split_once(':')
        && let Some((name, reason)) = form(value)
        && verb.bytes().all(|byte| byte.is_ascii_alphabetic())
        && verb.len() <= LONGEST
    {
        return found(format!("{name}:{verb}").into(), reason);
    }
    if decoded.contains(['{', '}']) {
        return found("{value}".into(), "has braces, which are reserved for placeholders");
    }
    if is_secret(segment) {
        return found("{token}".into(), "has a long token in it");
    }
    if segment.len() > LONGEST {
        return found("{value}".into(), "longer than 64 bytes");
    }
    None
}

/// Another segment that is replaced by the same placeholder wherever it stands; `None` if only the segment itself is
/// known to be. Only for the forms of which there are many values and which are told at a glance.
#[inline]
pub(super) fn alike(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    if !bytes.first()?.is_ascii_hexdigit() {
        return None;
    }
    if bytes.iter().all(u8::is_ascii_digit) {
        return Some("0");
    }
    if is_uuid(bytes) {
        return Some("00000000-0000-0000-0000-000000000000");
    }
    // Not with `0x` before it: what is all digits without that is no number with it.
    (bytes.get(1) != Some(&b'x') && is_hex(bytes)).then_some("0000000a")
}

/// The form of a value.
fn form(text: &str) -> Option<(&'static str, &'static str)> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return None;
    }
    if bytes.iter().all(u8::is_ascii_digit) {
        return Some(("{id}", "a number"));
    }
    if bytes[0].is_ascii_digit() && bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b',') {
        return Some(("{id}", "a list of numbers"));
    }
    if is_uuid(bytes) {
        return Some(("{uuid}", "a UUID"));
    }
    if is_hex(bytes) {
        return Some(("{hex}", "at least 8 hexadecimal digits"));
    }
    if is_date(bytes) {
        return Some(("{date}", "a date"));
    }
    if is_email(text) {
        return Some(("{email}", "an e-mail address"));
    }
    if is_token(bytes) || is_web_token(text) {
        return Some(("{token}", "letters and digits mixed as in a generated token"));
    }
    None
}

/// RFC 9562, 4: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Without a digit it could be a word ("deadbeef" is rarer than "facade").
fn is_hex(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"0x").unwrap_or(bytes);
    digits.len() >= 8 && digits.iter().all(u8::is_ascii_hexdigit) && digits.iter().any(u8::is_ascii_digit)
}

/// ISO 8601 calendar dates: `2024-05`, `2024-05-31`, and anything after a `T`.
fn is_date(bytes: &[u8]) -> bool {
    let number = |range: std::ops::Range<usize>, highest: u8| {
        bytes.get(range).is_some_and(|digits| {
            digits.iter().all(u8::is_ascii_digit)
                && (1..=highest).contains(&((digits[0] - b'0') * 10 + (digits[1] - b'0')))
        })
    };
    let year_and_month = bytes.len() >= 7 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-';
    year_and_month
        && number(5..7, 12)
        && match bytes.len() {
            7 => true,
            10 => bytes[7] == b'-' && number(8..10, 31),
            11.. => bytes[7] == b'-' && number(8..10, 31) && matches!(bytes[10], b'T' | b't' | b' '),
            _ => false,
        }
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        let inner = domain.trim_matches('.');
        !local.is_empty() && !domain.contains('@') && inner.len() == domain.len() && inner.contains('.')
    })
}

/// At least 32 letters and digits mixed as in a generated token, or hexadecimal digits; no UUID. Words with numbers among
/// them (`iphone15-pro-max-256gb-5g-unlocked`) are none: unlike those of tokens, they are short or in one case.
pub(crate) fn is_long_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 32 || is_uuid(bytes) {
        return false;
    }
    let mixed = bytes.iter().any(u8::is_ascii_uppercase) && bytes.iter().any(u8::is_ascii_lowercase);
    let longest = || bytes.split(|byte| b"-_".contains(byte)).map(<[u8]>::len).max();
    is_hex(bytes) && !bytes.iter().all(u8::is_ascii_digit) || is_token(bytes) && (mixed || longest() >= Some(16))
}

/// Does a segment hold a token that may be a credential: a web token, or one that is long and random?
pub(crate) fn is_secret(segment: &str) -> bool {
    if segment.len() < 20 {
        return false;
    }
    let decoded = if segment.contains('%') {
        percent_decode_str(segment).decode_utf8_lossy()
    } else {
        Cow::Borrowed(segment)
    };
    let separates = |letter: char| !(letter.is_ascii_alphanumeric() || "-_=~+.".contains(letter));
    decoded
        .split(separates)
        .any(|word| is_web_token(word) || word.split('.').any(is_long_token))
}

/// Generated identifiers: letters and digits change places more often than in anything a person would type. From 16
/// characters on in any case, from 10 on if capitals and small letters are mixed, too.
fn is_token(bytes: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=~+".contains(byte);
    if bytes.len() < 10 || !bytes.iter().all(allowed) {
        return false;
    }
    let changes = bytes
        .windows(2)
        .filter(|pair| {
            pair[0].is_ascii_digit() && pair[1].is_ascii_alphabetic()
                || pair[0].is_ascii_alphabetic() && pair[1].is_ascii_digit()
        })
        .count();
    let mixed = bytes.iter().any(u8::is_ascii_uppercase) && bytes.iter().any(u8::is_ascii_lowercase);
    changes >= 3 && (bytes.len() >= 16 || mixed)
}

/// RFC 7519: three base64url texts with dots between (five, if they are encrypted), the first of which begins with `{"`
/// encoded.
pub(crate) fn is_web_token(text: &str) -> bool {
    text.starts_with("eyJ")
        && matches!(text.bytes().filter(|&byte| byte == b'.').count(), 2 | 4)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte))
}

/// A file name: its stem or a part of it may be a value (`123.jpg`, `app.3f2a91bc.js`, `index-BkT3xZq9.css`).
fn file(name: &str) -> Option<Placeholder> {
    let (stem, extension) = name.rsplit_once('.')?;
    let short = (1..=5).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !short || !extension.bytes().any(|byte| byte.is_ascii_alphabetic()) || stem.is_empty() {
        return None;
    }
    let whole = form(stem).map(|(value, reason)| Placeholder {
        text: format!("{value}.{extension}").into(),
        reason,
    });
    match whole {
        Some(placeholder) if !placeholder.text.starts_with("{token}") => Some(placeholder),
        whole => hashed(stem, extension).or(whole),
    }
}

/// A stem that ends in a hash.
fn hashed(stem: &str, extension: &str) -> Option<Placeholder> {
    // The content's hash that bundlers put into file names, before the extension or before `.min.js`.
    let at = stem.rfind(['.', '-', '_'])?;
    let (before, hash) = (&stem[..=at], &stem[at + 1..]);
    let (value, reason) = form(hash)
        .filter(|(value, _)| matches!(*value, "{hex}" | "{token}"))
        .or_else(|| {
            let bytes = hash.as_bytes();
            let mixed = bytes.iter().any(u8::is_ascii_uppercase)
                && bytes.iter().any(u8::is_ascii_lowercase)
                && bytes.iter().any(u8::is_ascii_digit);
            (bytes.len() == 8 && mixed && bytes.iter().all(u8::is_ascii_alphanumeric))
                .then_some(("{token}", "a bundler's content hash"))
        })?;
    (before.len() <= LONGEST).then(|| Placeholder {
        text: format!("{before}{value}.{extension}").into(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(segment: &str, expected: &str) {
        let text = placeholder(segment, true).map_or(segment.into(), |placeholder| placeholder.text);
        assert_eq!(text, expected, "{segment}");
    }

    #[test]
    fn values_become_placeholders() {
        check("42", "{id}");
        check("1,2,3", "{id}");
        check("550e8400-e29b-41d4-a716-446655440000", "{uuid}");
        check("550E8400-E29B-41D4-A716-446655440000", "{uuid}");
        check("3f2a91bc", "{hex}");
        check("0x3f2a91bc", "{hex}");
        check("507f1f77bcf86cd799439011", "{hex}");
        check("2024-05-31", "{date}");
        check("2024-05", "{date}");
        check("2024-05-31T10:00:00Z", "{date}");
        check("a.b@example.com", "{email}");
        check("a.b%40example.com", "{email}");
        check("01ARZ3NDEKTSV4RRFFQ69G5FAV", "{token}");
        check("cjld2cjxh0000qzrmn831i7rn", "{token}");
        check("dQw4w9WgXcQ", "{token}");
        check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "{token}");
        check("42:cancel", "{id}:cancel");
        check(&"x".repeat(65), "{value}");
        check("{id}", "{value}");
    }

    #[test]
    fn words_stay() {
        for word in [
            "v1",
            "api2",
            "ngx-keepalive",
            "users",
            "deadbeef",
            "facade",
            "pkg.Service",
            "GetUserV2",
            "oauth2",
            "top-10-tips-for-2024-v2",
            "1.0",
            "PurchaseOrderServiceEndpoint",
            "wp-login.php",
            "index.html",
            "jquery-3.7.1.min.js",
            "@scope",
            "a@b",
            "2024-13",
            "order-12345",
            "robots.txt",
            "iPhone15Pro",
            "s3",
            "%E2%82%AC",
        ] {
            check(word, word);
        }
    }

    #[test]
    fn files_keep_their_name_around_the_value() {
        check("app.3f2a91bc.js", "app.{hex}.js");
        check("index-BkT3xZq9.css", "index-{token}.css");
        check("123.jpg", "{id}.jpg");
        check("2024-01-05.csv", "{date}.csv");
        assert_eq!(placeholder("report.v2.csv", true), None);
        assert_eq!(placeholder("123.jpg", false), None, "a directory has no extension");
    }
}
