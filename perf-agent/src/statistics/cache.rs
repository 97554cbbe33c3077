//! From a request's method and raw path to its endpoint, so that what was asked before costs one look-up.
//!
//! Two generations: what is asked for moves to the young one, and when that is full it becomes the old one and the old
//! one is forgotten. So it is bounded, keeps what is in use, and needs no list. A path is kept when it is asked for the
//! second time: most paths with an id in them never are.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::exchange::Protocol;

/// Paths of one generation.
const YOUNG: usize = 8_192;
/// Hashes remembered of paths that were asked for once.
const ONCE: usize = 16_384;
/// Longest method and path, together, that are kept.
const LONGEST: usize = 256;

#[derive(Debug)]
struct Entry {
    hash: u64,
    scope: u32,
    protocol: Protocol,
    endpoint: u32,
    method_bytes: u16,
    /// Method and path.
    text: Box<str>,
}

/// What identifies an operation before its route is known, with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    hash: u64,
    scope: u32,
    protocol: Protocol,
    method: &'a str,
    path: &'a str,
}

/// The cache.
#[derive(Debug)]
pub(super) struct PathCache {
    hasher: DefaultHashBuilder,
    young: HashTable<Entry>,
    old: HashTable<Entry>,
    /// Part of the hash of the last path that was asked for, at a place that another part of it tells.
    once: Box<[u16]>,
}

impl Default for PathCache {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            young: HashTable::new(),
            old: HashTable::new(),
            once: vec![0; ONCE].into(),
        }
    }
}

impl Entry {
    #[inline]
    fn is(&self, asked: &Asked<'_>) -> bool {
        self.hash == asked.hash
            && self.scope == asked.scope
            && self.protocol == asked.protocol
            && self.text.len() == asked.method.len() + asked.path.len()
            && usize::from(self.method_bytes) == asked.method.len()
            && self.text.as_bytes()[asked.method.len()..] == *asked.path.as_bytes()
            && self.text.as_bytes()[..asked.method.len()] == *asked.method.as_bytes()
    }
}

impl PathCache {
    /// What to ask with.
    #[inline]
    pub(super) fn key<'a>(&self, scope: u32, protocol: Protocol, method: &'a str, path: &'a str) -> Asked<'a> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(u64::from(scope) << 8 | protocol as u64);
        hasher.write(method.as_bytes());
        hasher.write(path.as_bytes());
        Asked {
            hash: hasher.finish(),
            scope,
            protocol,
            method,
            path,
        }
    }

    /// The endpoint, if it was asked for lately.
    #[inline]
    pub(super) fn get(&mut self, asked: &Asked<'_>) -> Option<u32> {
        if let Some(entry) = self.young.find(asked.hash, |entry| entry.is(asked)) {
            return Some(entry.endpoint);
        }
        let (entry, _) = self.old.find_entry(asked.hash, |entry| entry.is(asked)).ok()?.remove();
        let endpoint = entry.endpoint;
        self.keep(entry);
        Some(endpoint)
    }

    /// Remembers it, from the second time on.
    pub(super) fn put(&mut self, asked: &Asked<'_>, endpoint: u32) {
        let Ok(method_bytes) = u16::try_from(asked.method.len()) else {
            return;
        };
        if asked.method.len() + asked.path.len() > LONGEST {
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "parts of a hash")]
        let (place, mark) = ((asked.hash >> 16) as usize % ONCE, (asked.hash >> 32) as u16 | 1);
        if std::mem::replace(&mut self.once[place], mark) != mark {
            return;
        }
        self.keep(Entry {
            hash: asked.hash,
            scope: asked.scope,
            protocol: asked.protocol,
            endpoint,
            method_bytes,
            text: [asked.method, asked.path].concat().into(),
        });
    }

    fn keep(&mut self, entry: Entry) {
        if self.young.len() >= YOUNG {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert_unique(entry.hash, entry, |entry| entry.hash);
    }

    /// Forgets everything: endpoints were merged.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        [&self.young, &self.old]
            .into_iter()
            .map(|table| table.allocation_size() + table.iter().map(|entry| entry.text.len()).sum::<usize>())
            .sum::<usize>()
            + size_of_val(&*self.once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_found_and_nothing_else() {
        let mut cache = PathCache::default();
        let asked = cache.key(1, Protocol::Http11, "GET", "/a");
        assert_eq!(cache.get(&asked), None);
        cache.put(&asked, 7);
        assert_eq!(cache.get(&asked), None, "asked for once");
        cache.put(&asked, 7);
        assert_eq!(cache.get(&asked), Some(7));
        for (scope, protocol, method, path) in [
            (2, Protocol::Http11, "GET", "/a"),
            (1, Protocol::Http10, "GET", "/a"),
            (1, Protocol::Http11, "PUT", "/a"),
            (1, Protocol::Http11, "GET", "/b"),
            (1, Protocol::Http11, "GET/", "a"),
        ] {
            let other = cache.key(scope, protocol, method, path);
            assert_eq!(cache.get(&other), None);
        }
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_in_use() {
        let mut cache = PathCache::default();
        let used = String::from("/used");
        let key = cache.key(0, Protocol::Http11, "GET", &used);
        cache.put(&key, 1);
        cache.put(&key, 1);
        for n in (0u32..).take(10 * YOUNG) {
            let path = format!("/{n}");
            let asked = cache.key(0, Protocol::Http11, "GET", &path);
            cache.put(&asked, n);
            cache.put(&asked, n);
            if n % 1000 == 0 {
                assert_eq!(cache.get(&key), Some(1));
            }
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * YOUNG);
    }
}
