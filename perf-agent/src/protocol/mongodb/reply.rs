//! What an answer says: whether it is an error, and of how many documents.

use super::bson::{Element, Elements};
use crate::exchange::ErrorCode;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reply {
    pub(super) error: Option<ErrorCode>,
    /// Documents that were changed.
    pub(super) changed: Option<u64>,
    /// Documents of a cursor that are in it, if all were seen.
    pub(super) batch: Option<u64>,
}

/// How an error is told.
#[derive(Clone, Copy, Debug, Default)]
struct Code<'a> {
    number: Option<i64>,
    name: Option<&'a [u8]>,
}

impl<'a> Code<'a> {
    fn read(&mut self, element: &Element<'a>) {
        match element.name {
            b"code" => self.number = element.number(),
            b"codeName" => self.name = element.text(),
            _ => {}
        }
    }

    /// Of a document within the answer.
    fn of(elements: Elements<'a>) -> Self {
        let mut code = Self::default();
        elements.for_each(|element| code.read(&element));
        code
    }

    fn error(self) -> ErrorCode {
        match (self.name, self.number) {
            (Some(name), _) => ErrorCode::new(name),
            (None, Some(number)) => ErrorCode::number(number),
            (None, None) => ErrorCode::new(b""),
        }
    }
}

impl Reply {
    /// Of an answer's document, as far as it is there.
    pub(super) fn of(document: &[u8]) -> Self {
        let mut reply = Self::default();
        let mut code = Code::default();
        let mut failed = false;
        let mut within = None;
        let Some(mut elements) = Elements::of(document) else {
            return reply;
        };
        for element in elements.by_ref() {
            match element.name {
                b"ok" => failed = element.number() == Some(0),
                // Of answers before there was `ok`.
                b"$err" => failed = true,
                b"n" => reply.changed = element.number().and_then(|number| u64::try_from(number).ok()),
                b"writeErrors" => {
                    let first = element.elements().and_then(|mut errors| errors.next());
                    within = first.and_then(|error| error.elements()).map(Code::of);
                }
                b"writeConcernError" if within.is_none() => within = element.elements().map(Code::of),
                b"cursor" => reply.batch = element.elements().and_then(batch),
                _ => code.read(&element),
            }
        }
        if !elements.ended && code.name.is_none() {
            // The name that goes with the number was not seen, and one error has one name.
            code.number = None;
        }
        reply.error = if failed { Some(code) } else { within }.map(Code::error);
        reply
    }
}

/// Documents in a cursor's batch.
fn batch(mut cursor: Elements<'_>) -> Option<u64> {
    let batch = cursor.find(|element| matches!(element.name, b"firstBatch" | b"nextBatch"))?;
    batch.elements()?.count_all()
}
