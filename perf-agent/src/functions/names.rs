//! What functions are called: without what compilers add, by patterns, and nearly.

use cpp_demangle::DemangleOptions;

/// The ending of the part of a function that is seldom run.
const COLD: &str = ".cold";
/// Endings that compilers give to parts of a function that are jumped to, and never called.
const PARTS: [&str; 2] = [COLD, ".part."];
/// How many bytes a name may have to be demangled; templates make them longer than anybody reads.
const LONGEST: usize = 4096;
/// Names that are told where one was not found.
const NEAR: usize = 5;

/// A function's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// As people write it: without hash and parameters.
    pub(super) short: String,
    /// With parameters, where they are known.
    pub(super) full: String,
    /// Without the arguments of generics and templates; equal to `short` where there are none.
    pub(super) plain: String,
}

impl Names {
    /// Of a symbol; `None` if it is no function of its own.
    pub(super) fn of(symbol: &str) -> Option<Self> {
        if PARTS.iter().any(|part| symbol.contains(part)) || symbol.len() > LONGEST {
            return None;
        }
        if let Ok(rust) = rustc_demangle::try_demangle(symbol) {
            return Some(Self::new(format!("{rust:#}"), None));
        }
        if symbol.starts_with("_Z") {
            // Behind a point stands what the compiler made of the function.
            let mangled = symbol.split('.').next().unwrap_or(symbol);
            if let Ok(name) = cpp_demangle::Symbol::new(mangled) {
                let short = DemangleOptions::new().no_params().no_return_type();
                let full = DemangleOptions::new().no_return_type();
                if let (Ok(short), Ok(full)) = (name.demangle_with_options(&short), name.demangle_with_options(&full)) {
                    return Some(Self::new(short, Some(full)));
                }
            }
        }
        let clones = [".isra.", ".constprop.", ".llvm."];
        let end = clones.iter().filter_map(|clone| symbol.find(clone)).min();
        let name = symbol[..end.unwrap_or(symbol.len())].to_owned();
        Some(Self::new(name, None))
    }

    /// The symbol of the function that such a part is of.
    pub(super) fn whole_of(symbol: &str) -> Option<&str> {
        symbol.split_once(COLD).map(|(whole, _)| whole)
    }

    /// Whether only C's compilers make such symbols: others' functions may be left by exceptions.
    pub(super) fn is_mangled(symbol: &str) -> bool {
        symbol.starts_with("_Z") || symbol.starts_with("_R")
    }

    /// Of a Go function, whose symbol is its name. Of generics, Go writes `[...]`.
    pub(super) fn of_go(symbol: &str) -> Self {
        Self {
            short: symbol.to_owned(),
            full: symbol.to_owned(),
            plain: symbol.replace("[...]", ""),
        }
    }

    fn new(short: String, full: Option<String>) -> Self {
        Self {
            plain: without_generics(&short),
            full: full.unwrap_or_else(|| short.clone()),
            short,
        }
    }

    /// Whether a pattern, or the symbol as it is, means it.
    pub(super) fn matches(&self, symbol: &str, pattern: &str) -> bool {
        [symbol, &self.short, &self.full, &self.plain]
            .iter()
            .any(|name| matches(pattern, name))
    }
}

/// Whether a name is what a pattern says: `*` stands for anything, `?` for one character, the rest for itself.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_name) = (0, 0);
    // The last star, and how much of the name it takes.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                (at, in_name) = (place + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// A name without what stands in angle brackets behind a word or a path: `Vec<T>::push` and `map::<u8>` lose it,
/// `<T as Trait>::call`, `operator<` and `operator->` do not.
fn without_generics(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let (mut depth, mut before) = (0u32, ' ');
    for c in name.chars() {
        match c {
            '<' if depth > 0 => depth += 1,
            '<' if (before.is_alphanumeric() || before == '_' || plain.ends_with("::"))
                && !plain.ends_with("operator") =>
            {
                depth = 1;
                if plain.ends_with("::") {
                    plain.truncate(plain.len() - 2);
                }
            }
            '>' if depth > 0 && before != '-' => depth -= 1,
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
        before = c;
    }
    if depth == 0 { plain } else { name.to_owned() }
}

/// The names that are most like one that was not found.
pub(super) struct Near<'a> {
    wanted: &'a str,
    /// How unlike it is.
    found: Vec<(usize, String)>,
}

impl<'a> Near<'a> {
    pub(super) fn to(wanted: &'a str) -> Self {
        Self {
            wanted,
            found: Vec::new(),
        }
    }

    /// Could it be this one?
    pub(super) fn consider(&mut self, name: &str) {
        let wanted = self.wanted.trim_matches('*');
        let most = (wanted.chars().count() / 3).max(2);
        let length = name.len().abs_diff(wanted.len());
        // The last part of a path says most: `checkout` is near to `shop::checkout`.
        let last = |name: &str| name.rsplit([':', '.']).next().unwrap_or(name).len();
        let inner =
            !wanted.is_empty() && name.len() > wanted.len() && name.ends_with(wanted) && last(name) <= wanted.len();
        let distance = if inner {
            1
        } else if length > most {
            return;
        } else {
            strsim::levenshtein(wanted, name)
        };
        if distance > most || self.found.iter().any(|(_, known)| known == name) {
            return;
        }
        let place = self.found.partition_point(|(other, _)| *other <= distance);
        if place < NEAR {
            self.found.insert(place, (distance, name.to_owned()));
            self.found.truncate(NEAR);
        }
    }

    /// As a sentence for the operator.
    pub(super) fn hint(&self) -> String {
        if self.found.is_empty() {
            return String::new();
        }
        let names: Vec<_> = self.found.iter().map(|(_, name)| name.as_str()).collect();
        format!("; near to it: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_demangled_without_hash_and_parameters() {
        let check = |symbol: &str, short: &str, full: &str, plain: &str| {
            let names = Names::of(symbol).expect("a function");
            assert_eq!(
                (names.short.as_str(), names.full.as_str(), names.plain.as_str()),
                (short, full, plain),
                "{symbol}"
            );
        };
        check("malloc", "malloc", "malloc", "malloc");
        check("parse.isra.0", "parse", "parse", "parse");
        check(
            "_ZN4shop8checkout17h0123456789abcdefE",
            "shop::checkout",
            "shop::checkout",
            "shop::checkout",
        );
        check(
            "_RNvCs1234_4shop8checkout",
            "shop::checkout",
            "shop::checkout",
            "shop::checkout",
        );
        check(
            "_RINvCs1234_4shop3mapmE",
            "shop::map::<u32>",
            "shop::map::<u32>",
            "shop::map",
        );
        check(
            "_ZN4shop8checkoutEi",
            "shop::checkout",
            "shop::checkout(int)",
            "shop::checkout",
        );
        check(
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "std::vector<int, std::allocator<int> >::push_back",
            "std::vector<int, std::allocator<int> >::push_back(int const&)",
            "std::vector::push_back",
        );
        check(
            "_ZN49_$LT$shop..Cart$u20$as$u20$core..clone..Clone$GT$5clone17h0123456789abcdefE",
            "<shop::Cart as core::clone::Clone>::clone",
            "<shop::Cart as core::clone::Clone>::clone",
            "<shop::Cart as core::clone::Clone>::clone",
        );
        assert_eq!(Names::of("main.cold"), None);
    }

    #[test]
    fn a_pattern_means_what_it_says() {
        for (pattern, name, expected) in [
            ("malloc", "malloc", true),
            ("malloc", "mallocx", false),
            ("shop::*", "shop::cart::add", true),
            ("*::add", "shop::cart::add", true),
            ("*cart*add", "shop::cart::add", true),
            ("*cart*sub", "shop::cart::add", false),
            ("?ead", "read", true),
            ("?ead", "ead", false),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        let names = Names::of("_ZN4shop8checkoutEi").expect("a function");
        assert!(names.matches("_ZN4shop8checkoutEi", "shop::checkout"));
        assert!(names.matches("_ZN4shop8checkoutEi", "shop::checkout(int)"));
        assert!(names.matches("_ZN4shop8checkoutEi", "_ZN4shop8checkoutEi"));
    }

    #[test]
    fn a_wrong_name_has_near_ones() {
        let near = |wanted| {
            let mut near = Near::to(wanted);
            for name in [
                "shop::checkout",
                "shop::checkouts",
                "shop::cart",
                "malloc",
                "other::work",
            ] {
                near.consider(name);
            }
            near.hint()
        };
        assert_eq!(near("shop::chekout"), "; near to it: shop::checkout, shop::checkouts");
        assert_eq!(near("checkout"), "; near to it: shop::checkout");
        assert_eq!(near("mallok"), "; near to it: malloc");
        assert_eq!(near("entirely_different"), "");
    }
}
