//! Names of header fields that are looked for: told from others by length and first letter before they are compared.

/// Bytes of a name that may be chosen.
pub(crate) const NAME_BYTES: usize = 64;

/// The names. At most 32.
#[derive(Debug)]
pub struct Names {
    /// In lower case.
    all: Vec<Box<str>>,
    /// Which of them are so long.
    by_length: [u32; NAME_BYTES + 1],
    /// Which of them begin so: the first letter's lower five bits.
    by_first: [u32; 32],
}

impl Default for Names {
    fn default() -> Self {
        Self::none()
    }
}

impl Names {
    /// None.
    pub(super) const fn none() -> Self {
        Self {
            all: Vec::new(),
            by_length: [0; NAME_BYTES + 1],
            by_first: [0; 32],
        }
    }

    /// Adds one that [`is_name`], in lower case; its place. It may be there already.
    pub(super) fn add(&mut self, name: &str) -> u8 {
        let place = self.all.iter().position(|other| **other == *name).unwrap_or_else(|| {
            let place = self.all.len();
            debug_assert!(place < 32, "the settings are bounded");
            self.all.push(name.into());
            self.by_length[name.len()] |= 1 << place;
            self.by_first[first(name.as_bytes())] |= 1 << place;
            place
        });
        u8::try_from(place).unwrap_or(u8::MAX)
    }

    /// True if nothing is looked for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The place of a name, in any letter case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<u8> {
        let mut candidates = self.by_length.get(name.len())? & self.by_first[first(name)];
        while candidates != 0 {
            let place = candidates.trailing_zeros();
            if self.all[place as usize].as_bytes().eq_ignore_ascii_case(name) {
                return u8::try_from(place).ok();
            }
            candidates &= candidates - 1;
        }
        None
    }

    /// The name at a place.
    pub fn name(&self, place: u8) -> &str {
        self.all.get(usize::from(place)).map_or("", |name| name)
    }
}

/// Letters in either case are alike.
fn first(name: &[u8]) -> usize {
    usize::from(name.first().copied().unwrap_or(0) & 0x1f)
}

/// RFC 9110, 5.6.2; not longer than one that may be chosen.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_found_if_and_only_if_it_is_there(
            names in proptest::collection::vec("[a-z0-9!_-]{1,12}", 0..20), other in "[A-Za-z0-9!_-]{0,70}",
        ) {
            let mut all = Names::none();
            for name in &names {
                all.add(name);
            }
            for name in names.iter().chain([&other]) {
                let found = all.find(name.to_ascii_uppercase().as_bytes());
                let small = name.to_ascii_lowercase();
                let expected = names.contains(&small);
                prop_assert_eq!(found.map(|place| all.name(place)), expected.then_some(&*small));
            }
        }
    }
}
