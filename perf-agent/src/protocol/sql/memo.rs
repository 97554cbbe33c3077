//! Fingerprints of statements that are said again and again: looking one up is quicker than making it.

use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;

use super::skeleton::{ROOM, skeleton};
use super::{Dialect, fingerprint};

/// Statements that are remembered.
const KEPT: usize = 16;

/// The fingerprints of the last statements, by their skeletons' hashes: nothing else is kept of them.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Memo {
    kept: Vec<(u64, String)>,
    /// The one that is forgotten next.
    next: usize,
    hasher: DefaultHashBuilder,
    /// That of a statement that has no skeleton.
    other: String,
}

impl Memo {
    /// A statement's [`fingerprint`].
    pub(in crate::protocol) fn fingerprint(&mut self, statement: &[u8], dialect: Dialect, cut: bool) -> &str {
        let mut room = [0; ROOM];
        let Some(skeleton) = skeleton(statement, &mut room) else {
            fingerprint(statement, dialect, cut, &mut self.other);
            return &self.other;
        };
        let hash = self.hasher.hash_one((skeleton, cut));
        let place = self.kept.iter().position(|(kept, _)| *kept == hash);
        let place = place.unwrap_or_else(|| {
            let place = self.next;
            self.next = (place + 1) % KEPT;
            if place == self.kept.len() {
                self.kept.push((hash, String::new()));
            }
            self.kept[place].0 = hash;
            fingerprint(skeleton, dialect, cut, &mut self.kept[place].1);
            place
        });
        &self.kept[place].1
    }

    pub(in crate::protocol) fn heap_bytes(&self) -> usize {
        let texts: usize = self.kept.iter().map(|(_, text)| text.capacity()).sum();
        texts + self.other.capacity() + self.kept.capacity() * size_of::<(u64, String)>()
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
                let statement = format!("select a from t{place} where b = 'SECRET' and c = {round}");
                let expected = format!("SELECT a FROM t{place} WHERE b = ? AND c = ?");
                assert_eq!(memo.fingerprint(statement.as_bytes(), Dialect::Mysql, false), expected);
                let cut = memo.fingerprint(statement.as_bytes(), Dialect::Mysql, true);
                assert_eq!(cut, format!("{expected} …"));
                let commented = format!("{statement} /* SECRET */");
                assert_eq!(memo.fingerprint(commented.as_bytes(), Dialect::Mysql, false), expected);
            }
        }
        assert!(!format!("{memo:?}").contains("SECRET"));
        assert!(memo.heap_bytes() < KEPT * 2048);
    }

    #[test]
    fn other_values_are_the_same_statement() {
        let mut memo = Memo::default();
        for value in 0..1000 {
            let statement = format!("select a from t where b = {value} and c = 'n{value}'");
            memo.fingerprint(statement.as_bytes(), Dialect::Postgresql, false);
        }
        assert_eq!(memo.kept.len(), 1);
    }
}
