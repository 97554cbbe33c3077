//! Fingerprints of statements that are said again and again: looking one up is quicker than making it.

use std::hash::{DefaultHasher, Hasher as _};

use super::{Dialect, fingerprint};

/// Statements that are remembered.
const KEPT: usize = 16;

/// The fingerprints of the last statements, by their hashes: nothing else is kept of them.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Memo {
    kept: Vec<(u64, String)>,
    /// The one that is forgotten next.
    next: usize,
}

impl Memo {
    /// A statement's [`fingerprint`].
    pub(in crate::protocol) fn fingerprint(&mut self, statement: &[u8], dialect: Dialect, cut: bool) -> &str {
        let mut hasher = DefaultHasher::new();
        hasher.write(statement);
        hasher.write_u8(u8::from(cut));
        let hash = hasher.finish();
        let place = self.kept.iter().position(|(kept, _)| *kept == hash);
        let place = place.unwrap_or_else(|| {
            let place = self.next;
            self.next = (place + 1) % KEPT;
            if place == self.kept.len() {
                self.kept.push((hash, String::new()));
            }
            self.kept[place].0 = hash;
            fingerprint(statement, dialect, cut, &mut self.kept[place].1);
            place
        });
        &self.kept[place].1
    }

    pub(in crate::protocol) fn heap_bytes(&self) -> usize {
        let texts: usize = self.kept.iter().map(|(_, text)| text.capacity()).sum();
        texts + self.kept.capacity() * size_of::<(u64, String)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_would_be_made() {
        let mut memo = Memo::default();
        for round in 0..3 {
            for place in 0..(KEPT + round) {
                let statement = format!("select a from t{place} where b = 'SECRET'");
                let expected = format!("SELECT a FROM t{place} WHERE b = ?");
                assert_eq!(memo.fingerprint(statement.as_bytes(), Dialect::Mysql, false), expected);
                let cut = memo.fingerprint(statement.as_bytes(), Dialect::Mysql, true);
                assert_eq!(cut, format!("{expected} …"));
            }
        }
        assert!(!format!("{memo:?}").contains("SECRET"));
        assert!(memo.heap_bytes() < KEPT * 2048);
    }
}
