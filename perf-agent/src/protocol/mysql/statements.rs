//! Prepared statements of one connection: which operation their numbers stand for.

use std::collections::VecDeque;

/// Statements that are remembered; of more, the oldest are forgotten.
const MOST: usize = 256;
/// Bytes of all their operations together.
const MOST_BYTES: usize = 20 * 1024;
/// Statements that were asked for and have no number yet.
const MOST_ASKED: usize = 8;
/// Bytes of the longest operation that is remembered.
const LONGEST: usize = 512;
/// The number that stands for the statement that was prepared last (MariaDB).
const LAST: u32 = u32::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// By number. A server counts them up, so a new one comes last.
    known: Vec<(u32, String)>,
    /// Bytes of the operations that are known.
    bytes: usize,
    /// Those that have no number yet, by their place in the row of all that were asked for.
    asked: VecDeque<(u32, String)>,
    count: u32,
    /// Number of the one that was prepared last.
    last: Option<u32>,
    /// Room that is used again.
    spare: Vec<String>,
}

impl Statements {
    /// A statement is to be prepared. Returns what it is called until it has a number.
    pub(super) fn ask(&mut self, operation: &str) -> u32 {
        self.count = self.count.wrapping_add(1);
        if self.asked.len() >= MOST_ASKED {
            self.forget_asked();
        }
        if operation.len() <= LONGEST {
            let mut room = self.spare.pop().unwrap_or_default();
            room.push_str(operation);
            self.asked.push_back((self.count, room));
        }
        self.count
    }

    /// The one that was asked for. Those before it were not answered.
    fn take(&mut self, asked: u32) -> Option<String> {
        while let Some((next, operation)) = self.asked.pop_front() {
            if next == asked {
                return Some(operation);
            }
            self.reuse(operation);
        }
        None
    }

    fn forget_asked(&mut self) {
        if let Some((_, operation)) = self.asked.pop_front() {
            self.reuse(operation);
        }
    }

    /// It was prepared, and has a number.
    pub(super) fn prepared(&mut self, asked: u32, number: u32) {
        self.last = Some(number);
        let Some(operation) = self.take(asked) else { return };
        self.close(number);
        while !self.known.is_empty() && (self.known.len() >= MOST || self.bytes + operation.capacity() > MOST_BYTES) {
            self.remove(0);
        }
        self.bytes += operation.capacity();
        let place = self.known.partition_point(|known| known.0 < number);
        self.known.insert(place, (number, operation));
    }

    /// It was not.
    pub(super) fn refused(&mut self, asked: u32) {
        if let Some(operation) = self.take(asked) {
            self.reuse(operation);
        }
    }

    /// What the statement of this number does, if that was seen.
    pub(super) fn operation(&self, number: u32) -> Option<&str> {
        let number = match (number, self.asked.back(), self.last) {
            (LAST, Some((_, operation)), _) => return Some(operation),
            (LAST, None, Some(last)) => last,
            _ => number,
        };
        let place = self.known.binary_search_by_key(&number, |known| known.0).ok()?;
        Some(&self.known[place].1)
    }

    /// It is not needed any more.
    pub(super) fn close(&mut self, number: u32) {
        if let Ok(place) = self.known.binary_search_by_key(&number, |known| known.0) {
            self.remove(place);
        }
    }

    /// None is.
    pub(super) fn clear(&mut self) {
        *self = Self {
            count: self.count,
            ..Self::default()
        };
    }

    fn remove(&mut self, place: usize) {
        let (_, operation) = self.known.remove(place);
        self.bytes -= operation.capacity();
        self.reuse(operation);
    }

    fn reuse(&mut self, mut room: String) {
        if self.spare.len() < 4 && room.capacity() <= 512 {
            room.clear();
            self.spare.push(room);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let asked: usize = self.asked.iter().map(|asked| asked.1.capacity()).sum();
        let spare: usize = self.spare.iter().map(String::capacity).sum();
        let entries = self.known.capacity() + self.asked.capacity() + self.spare.capacity();
        self.bytes + asked + spare + entries * size_of::<(u32, String)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_known_by_its_number_until_it_is_closed() {
        let mut statements = Statements::default();
        let (one, two) = (statements.ask("SELECT ?"), statements.ask("DELETE FROM a"));
        assert_eq!(statements.operation(LAST), Some("DELETE FROM a"));
        statements.prepared(one, 7);
        statements.prepared(two, 8);
        assert_eq!(statements.operation(7), Some("SELECT ?"));
        assert_eq!(statements.operation(LAST), Some("DELETE FROM a"));
        statements.close(7);
        assert_eq!(statements.operation(7), None);
        assert_eq!(statements.operation(8), Some("DELETE FROM a"));
    }

    #[test]
    fn a_refused_statement_takes_no_others_number() {
        let mut statements = Statements::default();
        let (one, two) = (statements.ask("a"), statements.ask("b"));
        statements.refused(one);
        statements.prepared(two, 1);
        assert_eq!(statements.operation(1), Some("b"));
    }

    #[test]
    fn the_memory_is_bounded_and_the_newest_are_kept() {
        let mut statements = Statements::default();
        for number in 0..10_000 {
            let asked = statements.ask(&"x".repeat(number as usize % 600));
            if number % 3 > 0 {
                statements.prepared(asked, number);
            }
            assert!(statements.heap_bytes() <= 36 * 1024, "{}", statements.heap_bytes());
        }
        assert_eq!(statements.operation(9_998).map(str::len), Some(398));
        assert_eq!(statements.operation(0), None);
    }
}
