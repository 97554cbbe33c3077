//! What an operator chooses, as typed: `FILE:SYMBOL[=NAME]` or `usdt:FILE:PROVIDER:PROBE[=NAME]`.

use std::fmt;

/// A choice. One may stand for several functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// As typed.
    pub text: String,
    /// A path, a library's name, or a program's.
    pub file: String,
    /// What of it.
    pub what: What,
    /// What all that is found is to be called together; `None`: each by its own name.
    pub name: Option<String>,
}

/// What of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Functions of this name, which may hold `*` and `?`.
    Symbol(String),
    /// A static probe: provider and name.
    Probe(String, String),
    /// From one static probe of a provider to another.
    Pair(String, String, String),
}

/// Why a text is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There is nothing to part file and symbol.
    #[error(
        "expected FILE:SYMBOL, such as libc.so.6:getaddrinfo or /usr/bin/shop:shop::checkout, or usdt:FILE:PROVIDER:PROBE"
    )]
    Form,
    /// The same, of static probes.
    #[error("expected usdt:FILE:PROVIDER:PROBE, or usdt:FILE:PROVIDER:BEGIN..END for the time in between")]
    Probe,
}

impl Choice {
    /// Reads what was typed.
    ///
    /// # Errors
    /// [`ChoiceError`]
    pub fn parse(text: &str) -> Result<Self, ChoiceError> {
        let (place, name) = match text.rsplit_once('=') {
            Some((place, name)) if is_name(place, name) => (place, Some(name.to_owned())),
            _ => (text, None),
        };
        let choice = |file: &str, what| {
            Ok(Self {
                text: text.to_owned(),
                file: file.to_owned(),
                what,
                name,
            })
        };
        if let Some(place) = place.strip_prefix("usdt:") {
            let mut parts = place.split(':');
            let (Some(file), Some(provider), Some(probe), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(ChoiceError::Probe);
            };
            let (begin, end) = probe
                .split_once("..")
                .map_or((probe, None), |(begin, end)| (begin, Some(end)));
            if [file, provider, begin].iter().any(|part| part.is_empty()) || end == Some("") {
                return Err(ChoiceError::Probe);
            }
            let (provider, begin) = (provider.to_owned(), begin.to_owned());
            return choice(
                file,
                match end {
                    Some(end) => What::Pair(provider, begin, end.to_owned()),
                    None => What::Probe(provider, begin),
                },
            );
        }
        match place.split_once(':') {
            Some((file, symbol)) if !file.is_empty() && !symbol.is_empty() && !symbol.starts_with(':') => {
                choice(file, What::Symbol(symbol.to_owned()))
            }
            _ => Err(ChoiceError::Form),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Is what stands behind an equals sign a name, and not the rest of an operator's?
fn is_name(place: &str, name: &str) -> bool {
    let may_stand = |c: char| c.is_alphanumeric() || "_-./ ".contains(c);
    let symbol = place.trim_end_matches(|c: char| "=!<>+-*/%^&|".contains(c));
    !name.is_empty() && name.chars().all(may_stand) && !symbol.ends_with("operator")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, file: &str, what: &What, name: Option<&str>) {
        let choice = Choice::parse(text).expect("a choice");
        assert_eq!(
            (choice.file.as_str(), &choice.what, choice.name.as_deref()),
            (file, what, name)
        );
    }

    #[test]
    fn a_choice_is_a_file_and_what_of_it() {
        let symbol = |name: &str| What::Symbol(name.to_owned());
        check("libc.so.6:malloc", "libc.so.6", &symbol("malloc"), None);
        check(
            "/usr/bin/shop:shop::cart::*=cart",
            "/usr/bin/shop",
            &symbol("shop::cart::*"),
            Some("cart"),
        );
        check(
            "./a:main.(*Server).handle",
            "./a",
            &symbol("main.(*Server).handle"),
            None,
        );
        check("a:operator==", "a", &symbol("operator=="), None);
        check(
            "a:Money::operator==*=equal",
            "a",
            &symbol("Money::operator==*=equal"),
            None,
        );
        check(
            "a:Money::operator==(*)=equal",
            "a",
            &symbol("Money::operator==(*)"),
            Some("equal"),
        );
        check("a:f=the slow one", "a", &symbol("f"), Some("the slow one"));
        let probe = What::Probe("libc".to_owned(), "setjmp".to_owned());
        check("usdt:libc.so.6:libc:setjmp", "libc.so.6", &probe, None);
        let pair = What::Pair("python".to_owned(), "gc__start".to_owned(), "gc__done".to_owned());
        check(
            "usdt:python3:python:gc__start..gc__done=gc",
            "python3",
            &pair,
            Some("gc"),
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "malloc", ":malloc", "libc.so.6:", "a::b"] {
            assert_eq!(Choice::parse(text), Err(ChoiceError::Form), "{text}");
        }
        for text in ["usdt:a", "usdt:a:b", "usdt:a:b:", "usdt:a:b:c:d", "usdt:a:b:c.."] {
            assert_eq!(Choice::parse(text), Err(ChoiceError::Probe), "{text}");
        }
    }
}
