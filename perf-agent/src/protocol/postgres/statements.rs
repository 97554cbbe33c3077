//! What a session's prepared statements and portals are, as far as it was seen. Of their names, hashes are kept.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;

use super::messages::NAME;

/// The operation of a statement that was prepared unseen, or too many others ago.
pub(super) const PREPARED: &str = "(prepared)";
/// Statements with a name that are kept, and bytes of their operations in all.
const MAX_STATEMENTS: usize = 256;
const MAX_BYTES: usize = 32 * 1024;
/// Portals with a name that are kept.
const MAX_PORTALS: usize = 32;

/// One that has a name, and its operation.
#[derive(Debug)]
struct Named {
    name: u64,
    operation: Box<str>,
    /// When it was asked for last.
    used: u64,
}

/// What the portal without a name is of.
#[derive(Clone, Copy, Debug, Default)]
enum Bound {
    #[default]
    Unknown,
    /// The statement without a name.
    Unnamed,
    /// One with this name.
    Named(u64),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// That of the statement without a name; empty if it is not known.
    unnamed: String,
    named: Vec<Named>,
    /// Of `named`.
    bytes: usize,
    bound: Bound,
    portals: Vec<Named>,
    /// Counts what is asked for.
    clock: u64,
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&name[..name.len().min(NAME - 1)]);
    hasher.finish()
}

impl Statements {
    /// A statement is prepared.
    pub(super) fn prepare(&mut self, name: &[u8], operation: &str) {
        if name.is_empty() {
            self.unnamed.clear();
            self.unnamed.push_str(operation);
            if let Bound::Unnamed = self.bound {
                self.bound = Bound::Unknown;
            }
            return;
        }
        let name = hash(name);
        self.forget(name);
        while self.named.len() >= MAX_STATEMENTS || self.bytes + operation.len() > MAX_BYTES {
            let oldest = self.named.iter().min_by_key(|named| named.used).map(|named| named.name);
            let Some(oldest) = oldest else { return };
            self.forget(oldest);
        }
        self.clock += 1;
        self.bytes += operation.len();
        self.named.push(Named {
            name,
            operation: operation.into(),
            used: self.clock,
        });
    }

    fn forget(&mut self, name: u64) {
        if let Some(place) = self.named.iter().position(|named| named.name == name) {
            self.bytes -= self.named.swap_remove(place).operation.len();
        }
    }

    /// A statement is forgotten by the server.
    pub(super) fn close(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed.clear();
        } else {
            self.forget(hash(name));
        }
    }

    /// The statement and the portal without a name are, as a simple query does it.
    pub(super) fn close_unnamed(&mut self) {
        self.unnamed.clear();
        self.bound = Bound::Unknown;
    }

    fn of(&self, bound: Bound) -> &str {
        let operation = match bound {
            Bound::Unknown => "",
            Bound::Unnamed => &self.unnamed,
            Bound::Named(name) => self
                .named
                .iter()
                .find(|named| named.name == name)
                .map_or("", |named| &named.operation),
        };
        if operation.is_empty() { PREPARED } else { operation }
    }

    /// A portal is made of a statement.
    pub(super) fn bind(&mut self, portal: &[u8], statement: &[u8]) {
        let bound = if statement.is_empty() {
            Bound::Unnamed
        } else {
            Bound::Named(hash(statement))
        };
        self.clock += 1;
        if let Bound::Named(name) = bound
            && let Some(named) = self.named.iter_mut().find(|named| named.name == name)
        {
            named.used = self.clock;
        }
        if portal.is_empty() {
            self.bound = bound;
            return;
        }
        // The statement may be another one by the time the portal is asked for its next rows.
        let portal = hash(portal);
        let operation = self.of(bound).into();
        self.portals.retain(|named| named.name != portal);
        if self.portals.len() >= MAX_PORTALS {
            self.portals.remove(0);
        }
        self.portals.push(Named {
            name: portal,
            operation,
            used: self.clock,
        });
    }

    /// The operation of a portal.
    pub(super) fn portal(&self, name: &[u8]) -> &str {
        if name.is_empty() {
            return self.of(self.bound);
        }
        let name = hash(name);
        let portal = self.portals.iter().find(|named| named.name == name);
        portal.map_or(PREPARED, |named| &named.operation)
    }

    pub(super) fn close_portal(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.bound = Bound::Unknown;
        } else {
            let name = hash(name);
            self.portals.retain(|named| named.name != name);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let portals: usize = self.portals.iter().map(|named| named.operation.len()).sum();
        self.unnamed.capacity()
            + self.bytes
            + portals
            + (self.named.capacity() + self.portals.capacity()) * size_of::<Named>()
    }
}
