//! Takes out of a message, byte for byte, what is not looked at, for recordings. What stays is what a datagram of it shows as
//! well: the header, the question, and of an answer its names and addresses.

use super::message::{HEADER_BYTES, Header};
use crate::protocol::framed::cover_behind;

/// Types of records that hold an address or nothing but a name, which others may refer to: A, NS, CNAME, PTR, AAAA, DNAME.
const NAMES_AND_ADDRESSES: [u16; 6] = [1, 2, 5, 12, 28, 39];
/// Bytes behind a question's name: type and class.
const QUESTION_BYTES: usize = 4;
/// Bytes behind a record's name: type, class, time to live, and how long its data are.
const RECORD_BYTES: usize = 10;

/// A message, or its beginning.
pub(super) fn message(bytes: &mut [u8]) {
    let Some(header) = Header::of(bytes) else { return };
    let [questions, answers, ..] = header.counts;
    let mut at = HEADER_BYTES;
    for _ in 0..questions.min(1) {
        at = match name_end(bytes, at) {
            Some(end) => end + QUESTION_BYTES,
            None => return cover_behind(bytes, at),
        };
    }
    // Behind more than one question nothing is read.
    let records = if header.is_response && questions == 1 {
        answers
    } else {
        0
    };
    for _ in 0..records {
        let Some(fixed) = name_end(bytes, at) else { break };
        at = fixed + RECORD_BYTES;
        let Some(&[k0, k1, .., l0, l1]) = bytes
            .get(fixed..at)
            .and_then(|fixed| fixed.first_chunk::<RECORD_BYTES>())
        else {
            // It is cut: what its data are is not known.
            return;
        };
        let end = at + usize::from(u16::from_be_bytes([l0, l1]));
        if !NAMES_AND_ADDRESSES.contains(&u16::from_be_bytes([k0, k1])) {
            let data = at..end.min(bytes.len());
            cover_behind(&mut bytes[data], 0);
        }
        at = end;
        if at >= bytes.len() {
            return;
        }
    }
    cover_behind(bytes, at);
}

/// Where the name that begins here ends, if it is one as far as it is there.
fn name_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += match bytes.get(at) {
            None => return Some(at),
            Some(0) => return Some(at + 1),
            Some(&length @ 1..=63) => 1 + usize::from(length),
            Some(192..) => return Some(at + 2),
            Some(_) => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_names_and_addresses_alone() {
        const ANSWER: &[u8] = b"\0\x01\x81\x80\0\x01\0\x03\0\0\0\x01\x01a\0\0\x01\0\x01\
            \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01e\xc0\x0c\xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x07\x06SECRET\
            \x01e\0\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01\0\0\x29\x04\xd0SECRET";
        const CLEAN: &[u8] = b"\0\x01\x81\x80\0\x01\0\x03\0\0\0\x01\x01a\0\0\x01\0\x01\
            \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01e\xc0\x0c\xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x07xxxxxxx\
            \x01e\0\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01\0\0xxxxxxxxx";
        // A head that comes in parts is blanked as far as it came.
        for end in 0..=ANSWER.len() {
            let mut bytes = ANSWER[..end].to_vec();
            message(&mut bytes);
            assert_eq!(bytes, CLEAN[..end], "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn of_a_query_the_question_stays() {
        let mut bytes = *b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x01\0\x01SECRET";
        message(&mut bytes);
        assert_eq!(bytes, *b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x01\0\x01xxxxxx");
    }
}
