//! What a request is called: its command and its collection; no value.

use super::bson::{Element, Elements, kind, text};
use crate::exchange::UNKNOWN;

/// Bytes that are kept of a collection's name.
const MAX_COLLECTION: usize = 64;
/// A longer one is no command.
pub(super) const MAX_COMMAND: usize = 40;
/// Goes on with a cursor.
pub(super) const GET_MORE: &[u8] = b"getMore";
/// Behind the name of what waits for something to happen.
const AWAIT: &str = " await";

/// Commands whose first value is a collection; of others it may be anything, a user's name too.
#[rustfmt::skip]
static OF_COLLECTIONS: &[&[u8]] = &[
    b"aggregate", b"cloneCollectionAsCapped", b"collMod", b"collStats", b"collstats", b"compact", b"convertToCapped",
    b"count", b"create", b"createIndexes", b"createSearchIndexes", b"delete", b"deleteIndexes", b"distinct", b"drop",
    b"dropIndexes", b"dropSearchIndex", b"find", b"findAndModify", b"findandmodify", b"geoNear", b"geoSearch", b"insert",
    b"killCursors", b"listIndexes", b"mapReduce", b"mapreduce", b"parallelCollectionScan", b"planCacheClear",
    b"planCacheListFilters", b"reIndex", b"update", b"updateSearchIndex", b"validate",
];

/// What is known of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    room: [u8; MAX_COMMAND + 1 + MAX_COLLECTION + AWAIT.len()],
    length: usize,
    /// It changes documents, and the answer's `n` says how many.
    pub(super) writes: bool,
    /// It asks for the server's state, again and again.
    pub(super) is_hello: bool,
}

impl Operation {
    /// Of a command's document; unknown if its first element is not there.
    pub(super) fn of_command(document: &[u8]) -> Self {
        let mut operation = Self::new();
        let Some(mut elements) = Elements::of(document) else {
            return operation.named(UNKNOWN.as_bytes());
        };
        let Some(first) = elements.next().filter(|first| is_name(first.name)) else {
            return operation.named(UNKNOWN.as_bytes());
        };
        let name = first.name;
        operation = operation.named(name);
        operation.writes = matches!(name, b"insert" | b"update" | b"delete");
        operation.is_hello = matches!(name, b"hello" | b"isMaster" | b"ismaster");
        let mut awaits = false;
        if operation.is_hello {
            awaits = elements.any(|element| element.name == b"maxAwaitTimeMS");
        } else if name == GET_MORE {
            for element in elements {
                match element.name {
                    b"collection" => operation = operation.with_collection(&element),
                    // Only of a cursor that waits for more.
                    b"maxTimeMS" => awaits = true,
                    _ => {}
                }
            }
        } else if is_of_collection(name) {
            operation = operation.with_collection(&first);
        }
        if awaits {
            operation.push(AWAIT.as_bytes());
        }
        operation
    }

    /// Of a message that names `database.collection`.
    pub(super) fn of_namespace(name: &str, namespace: &[u8]) -> Self {
        let collection = memchr::memchr(b'.', namespace).map_or(&[][..], |dot| &namespace[dot + 1..]);
        Self::new().named(name.as_bytes()).and(collection)
    }

    pub(super) fn of_name(name: &str) -> Self {
        Self::new().named(name.as_bytes())
    }

    fn new() -> Self {
        Self {
            room: [0; MAX_COMMAND + 1 + MAX_COLLECTION + AWAIT.len()],
            length: 0,
            writes: false,
            is_hello: false,
        }
    }

    fn named(mut self, name: &[u8]) -> Self {
        self.push(name);
        self
    }

    fn with_collection(self, element: &Element<'_>) -> Self {
        match element.text() {
            Some(collection) if element.kind == kind::STRING => self.and(collection),
            _ => self,
        }
    }

    fn and(mut self, collection: &[u8]) -> Self {
        let Ok(collection) = str::from_utf8(collection) else {
            return self;
        };
        let printable = |letter: char| !letter.is_control();
        if !collection.is_empty() && collection.chars().all(printable) {
            let end = collection.floor_char_boundary(MAX_COLLECTION);
            self.push(b" ");
            self.push(&collection.as_bytes()[..end]);
        }
        self
    }

    fn push(&mut self, bytes: &[u8]) {
        for (to, from) in self.room[self.length..].iter_mut().zip(bytes) {
            *to = *from;
            self.length += 1;
        }
    }

    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.room[..self.length]).unwrap_or(UNKNOWN)
    }
}

/// Is the first value of a command of this name a collection?
pub(super) fn is_of_collection(name: &[u8]) -> bool {
    OF_COLLECTIONS.contains(&name)
}

/// Can a command be called this?
pub(super) fn is_name(name: &[u8]) -> bool {
    (1..=MAX_COMMAND).contains(&name.len())
        && name[0].is_ascii_alphabetic()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
}

/// Does what is called this wait for something to happen?
pub(crate) fn is_await(operation: &str) -> bool {
    operation.ends_with(AWAIT)
        && ["getMore ", "hello ", "isMaster ", "ismaster "]
            .iter()
            .any(|name| operation.starts_with(name))
}

/// The collection that a namespace names, if it is where commands are sent to.
pub(super) fn is_of_commands(namespace: &[u8]) -> bool {
    namespace.ends_with(b".$cmd")
}

/// A namespace at the beginning of these bytes, and what is behind it.
pub(super) fn namespace(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let namespace = text(bytes)?;
    Some((namespace, &bytes[namespace.len() + 1..]))
}
