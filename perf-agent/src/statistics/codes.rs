//! Numbers of error codes: aggregates count answers by number, and databases name their errors.
//!
//! 0 is an answer without one. Codes beyond the limit share a number; nothing is said of them but that they were errors.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::aggregate::NAMED_ERRORS;
use crate::exchange::{Ended, ErrorCode, Outcome};

/// Codes kept apart, of all servers. PostgreSQL has 260, MySQL's servers some 5,000, of which few occur.
const CODES: usize = 2_048;
/// The number of errors beyond.
const OTHER: u16 = NAMED_ERRORS;

/// What the numbers are called.
#[derive(Clone, Debug, Default)]
pub struct CodeNames {
    /// In the order of the numbers: `[errors, redirects]`.
    names: Arc<[Vec<ErrorCode>; 2]>,
}

impl CodeNames {
    /// All of them, in the order of their numbers: errors, and what tells to ask elsewhere.
    pub(crate) fn lists(&self) -> &[Vec<ErrorCode>; 2] {
        &self.names
    }

    /// The code of a number; `ok` for an answer without one.
    pub fn name(&self, number: u16) -> &str {
        let [errors, redirects] = &*self.names;
        if number == 0 {
            return "ok";
        }
        let place = (number - 1) & NAMED_ERRORS;
        let found = if number > NAMED_ERRORS {
            redirects.get(usize::from(number - NAMED_ERRORS - 1))
        } else {
            errors.get(usize::from(place))
        };
        found.map_or("other", ErrorCode::as_str)
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Codes {
    numbers: HashMap<ErrorCode, u16>,
    names: CodeNames,
}

impl Codes {
    /// With the numbers of an earlier run.
    pub(super) fn restored(lists: &[Vec<ErrorCode>; 2]) -> Self {
        let mut this = Self::default();
        for code in lists.iter().flatten() {
            if !this.numbers.contains_key(code) {
                this.enter(*code);
            }
        }
        this
    }

    /// The number that an answer is counted by; `None` if it was none.
    pub(super) fn number(&mut self, ended: &Ended) -> Option<u16> {
        match &ended.error {
            None => (ended.outcome == Outcome::Answered).then_some(0),
            Some(code) => Some(self.numbers.get(code).copied().unwrap_or_else(|| self.enter(*code))),
        }
    }

    #[cold]
    fn enter(&mut self, code: ErrorCode) -> u16 {
        if self.numbers.len() >= CODES {
            return OTHER;
        }
        let kind = usize::from(code.is_redirect);
        let names = &mut Arc::make_mut(&mut self.names.names)[kind];
        let place = u16::try_from(names.len()).unwrap_or(OTHER);
        names.push(code);
        let number = place + 1 + if code.is_redirect { NAMED_ERRORS } else { 0 };
        self.numbers.insert(code, number);
        number
    }

    pub(super) fn names(&self) -> &CodeNames {
        &self.names
    }
}
