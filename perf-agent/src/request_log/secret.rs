//! What looks like a credential: by the name it goes under, or by its own form.
//!
//! In doubt it is one. A log that hides an identifier too many is less useful; one that shows a token is a leak.

use crate::endpoint::{is_long_token, is_web_token};

/// A name with one of these in it is a credential's.
const SECRET_PARTS: [&str; 13] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "cookie",
    "session",
    "credential",
    "signature",
    "csrf",
    "xsrf",
    "apikey",
    "bearer",
];
/// A name with one of these as a word of its own.
const SECRET_WORDS: [&str; 11] = [
    "auth", "key", "keys", "pass", "pwd", "jwt", "sid", "sig", "otp", "pin", "saml",
];

/// Schemes of `Authorization` (RFC 9110, 11.1).
const SCHEMES: [&str; 10] = [
    "bearer",
    "basic",
    "digest",
    "negotiate",
    "ntlm",
    "token",
    "apikey",
    "hawk",
    "dpop",
    "aws4-hmac-sha256",
];
/// How tokens of well-known services begin.
const PREFIXES: [&str; 21] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "sk-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "npm_",
    "hvs.",
    "SG.",
];
/// A shorter one is none.
const PREFIXED_BYTES: usize = 16;

/// Does a field or parameter of this name (in lower case) hold a credential?
pub fn is_secret_name(name: &str) -> bool {
    let joined: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    SECRET_PARTS.iter().any(|part| joined.contains(part))
        || joined.contains("authoriz")
        || joined.contains("authenticate") && !joined.contains("authenticated")
        || joined.contains("authenticationinfo")
        || is_auth(name)
        || name
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .any(|word| word != "auth" && SECRET_WORDS.contains(&word))
}

/// `x-auth`, but not `x-auth-request-user`: what follows says what it is of.
fn is_auth(name: &str) -> bool {
    name.rsplit(|letter: char| !letter.is_ascii_alphanumeric())
        .find(|word| !word.is_empty())
        .is_some_and(|word| word == "auth")
}

/// Is it a credential, or does it contain one?
pub fn is_secret(text: &str) -> bool {
    is_credential(text) || has_long_token(text)
}

/// Does it say itself that it is one: a scheme, a web token, a well-known beginning, `password=`?
pub fn is_credential(text: &str) -> bool {
    let text = text.trim();
    has_scheme(text)
        || text.contains("-----BEGIN")
        || assigns_secret(text)
        || words(text).any(|word| {
            let begins = |prefix: &str| word.starts_with(prefix) && word.len() >= PREFIXED_BYTES;
            word.starts_with("eyJ") && word.len() >= PREFIXED_BYTES || PREFIXES.iter().any(|prefix| begins(prefix))
        })
}

/// Are there so many letters and digits in a row, mixed, that nobody typed them?
pub fn has_long_token(text: &str) -> bool {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    // In plain base64 a slash does not separate.
    let whole = text.trim();
    let is_base64 = whole.len() >= 32
        && !whole.starts_with('/')
        && whole.bytes().all(base64)
        && whole.bytes().any(|byte| b"+/=".contains(&byte))
        && is_long_token(&whole.replace(['/', '+'], "A"));
    is_base64 || words(text).any(|word| is_web_token(word) || word.split('.').any(is_long_token))
}

/// Runs of what tokens are made of.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "-_=~+.".contains(letter)))
        .filter(|word| !word.is_empty())
}

fn has_scheme(text: &str) -> bool {
    let mut parts = text
        .split(|letter: char| letter.is_whitespace() || ",;:\"'".contains(letter))
        .filter(|part| !part.is_empty());
    let Some(mut scheme) = parts.next() else { return false };
    parts.any(|next| {
        let scheme = std::mem::replace(&mut scheme, next);
        // "Basic plan" is no credential.
        let is_coded = next.len() >= 8
            && next
                .bytes()
                .any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        let is = |name: &&str| scheme.eq_ignore_ascii_case(name);
        SCHEMES.iter().any(is) && (is(&"bearer") || next.contains('=') || is_coded)
    })
}

/// `password=…`, `"token": …`.
fn assigns_secret(text: &str) -> bool {
    if !text.contains(['=', ':']) {
        return false;
    }
    let small = text.to_ascii_lowercase();
    let behind = |part: &str| {
        small.match_indices(part).any(|(place, _)| {
            let name = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
            let rest = small[place + part.len()..].trim_start_matches(name);
            rest.trim_start_matches(['"', '\'', ' ']).starts_with(['=', ':'])
        })
    };
    SECRET_PARTS.iter().any(|part| behind(part)) || behind("api_key") || behind("api-key") || behind("authorization")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_by_their_form() {
        for text in [
            "Bearer x",
            "bearer abc.def",
            "Basic dXNlcjpwYXNz",
            "Digest username=\"a\", response=\"b\"",
            "Token 0123456789",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "before eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln behind",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "AKIAIOSFODNN7EXAMPLE",
            "password=hunter2",
            "{\"access_token\": \"x\"}",
            "a; session_id=x",
            "0123456789abcdef0123456789abcdef",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "dGhpcyBpcyBhIDMyIGJ5dGUgbG9uZyBzZWNyZXQgb2s=",
            "qL8R4QIcQ/ZsRqOAbeRfcZhilN/MksRtDaErMA==",
            "id:Zk3v9Qw1Xy7Tb5Nc2Rm8Lp4Sd6Fg0Hj1;x",
        ] {
            assert!(is_secret(text), "{text}");
        }
    }

    #[test]
    fn what_names_something_is_none() {
        for text in [
            "",
            "ann",
            "ann@example.com",
            "550e8400-e29b-41d4-a716-446655440000",
            "507f1f77bcf86cd799439011",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "Basic plan",
            "https://shop.example/products/iphone-15-pro-max-256gb-black?page=2",
            "1.1 proxy-07.eu-central-1.example",
            "iphone15-pro-max-256gb-5g-unlocked-2024",
            "Sat, 28 Nov 2026 20:29:30 GMT",
            "1234567890123456789012345678901234567890",
        ] {
            assert!(!is_secret(text), "{text}");
        }
    }

    #[test]
    fn names_of_credentials_are_told_from_others() {
        for name in [
            "authorization",
            "x-auth",
            "x_auth_token",
            "x-amz-signature",
            "www-authenticate",
            "sort_key",
            "sid",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "x-author",
            "monkey",
            "page",
            "x-authenticated-userid",
            "x-auth-request-email",
            "side",
            "keyword",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
