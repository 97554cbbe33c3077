//! Patterns: a text in which `*` stands for any characters, also for none.

/// Does a text match a pattern? Takes at most as many steps as the product of their lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Behind the last star: where the pattern goes on, and the text that the star has not taken yet.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        // A star in the pattern is a star even if there is one in the text.
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (p, t) = (after, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("/api/*", "/api/v1/users", true),
            ("/api/*", "/apis", false),
            ("*/users", "/api/users", true),
            ("*/users", "/api/users/7", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "x", true),
            ("(*T).M", "(*T).M", true),
            ("ü*", "über", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    /// What a pattern means, said in another way.
    fn expected(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| expected(rest, &text[at..])),
            Some((first, rest)) => text.first() == Some(first) && expected(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn every_pattern_means_what_it_says(pattern in "[ab*]{0,8}", text in "[ab*]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), expected(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
