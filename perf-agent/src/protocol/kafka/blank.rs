//! Takes texts and records out of messages byte for byte, for recordings: what stays are numbers, lengths, and the names of
//! topics that operations are called by.

use super::api::{self, Api};
use super::reader::Reader;
use super::request::{ACKS, Header, before_epoch, has_epoch, name};
use super::response::{self, LONGEST_NUMBER};
use crate::protocol::framed::{cover, cover_behind};

const TIMEOUT_BYTES: usize = 4;
/// A greater number of topics is none.
const MAX_TOPICS: usize = 9999;

/// A request behind its size, or its beginning.
pub(super) fn request(bytes: &mut [u8]) {
    let said = bytes.to_vec();
    let Some(header) = Header::of(&said) else {
        // As far as it may be the beginning of a header.
        let mut first = [0; 4];
        first.iter_mut().zip(&said).for_each(|(to, from)| *to = *from);
        let [k0, k1, v0, v1] = first;
        let is_one = api::is_plausible(i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
        if !is_one || said.len() >= Header::BYTES {
            cover(bytes);
        }
        return;
    };
    let behind = (Header::BYTES + header.client_bytes).min(bytes.len());
    cover(&mut bytes[Header::BYTES..behind]);
    let knows = api::of(header.key).is_some_and(|api| api.knows(header.version));
    if !knows || !matches!(header.key, api::PRODUCE | api::FETCH) {
        return cover_behind(bytes, behind);
    }
    let mut reader = header.body;
    let place = |reader: &Reader<'_>| said.len() - reader.rest().len();
    let mut passed = |reader: &mut Reader<'_>, length: usize| {
        let begin = place(reader);
        let end = begin.saturating_add(length).min(bytes.len());
        cover(&mut bytes[begin..end]);
        reader.skip(length).or_else(|| reader.skip(end - begin).and(None))
    };
    let mut head = || {
        // Nobody sends any; what they hold is not known.
        if reader.flexible && reader.take(1)? != b"\0" {
            return Some(place(&reader) - 1);
        }
        if header.key == api::FETCH {
            passed(&mut reader, before_epoch(header.version))?;
            if has_epoch(header.version) {
                reader.int32()?;
            }
        } else {
            if header.version >= 3 {
                let transaction = reader.string_length()?;
                passed(&mut reader, transaction)?;
            }
            if !ACKS.contains(&reader.int16()?) {
                return Some(place(&reader) - 2);
            }
            passed(&mut reader, TIMEOUT_BYTES)?;
        }
        let topics = place(&reader);
        match reader.count()? {
            1 => {}
            0 | 2..=MAX_TOPICS => return Some(place(&reader)),
            _ => return Some(topics),
        }
        if header.version >= 13 {
            reader.uuid()?;
            return Some(place(&reader));
        }
        let length = reader.string_length()?;
        let topic = &reader.rest()[..length.min(reader.rest().len())];
        let is_kept = topic.is_empty() || name(topic).is_some();
        Some(place(&reader) + if is_kept { topic.len() } else { 0 })
    };
    // A number that is cut is looked at.
    let end = head().unwrap_or_else(|| place(&reader).saturating_add(LONGEST_NUMBER));
    cover_behind(bytes, end);
}

/// An answer behind its size, or its beginning, to a request of this version of an API.
pub(super) fn response(bytes: &mut [u8], api: &Api, version: i16) {
    let said = bytes.to_vec();
    let Some((_, body)) = said.split_first_chunk::<4>() else {
        return;
    };
    let mut pass = |(left, length): (usize, usize)| {
        let begin = said.len() - left;
        let end = begin.saturating_add(length).min(bytes.len());
        cover(&mut bytes[begin..end]);
    };
    let body = Reader::new(body, api.is_flexible(version));
    response::unread(api.errors(version), version, body, &mut pass);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &[u8], clean: &[u8], blank: impl Fn(&mut [u8])) {
        for end in 0..=said.len() {
            let mut bytes = said[..end].to_vec();
            blank(&mut bytes);
            assert_eq!(
                bytes.escape_ascii().to_string(),
                clean[..end].escape_ascii().to_string(),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn of_a_request_its_topic_stays() {
        for (said, clean) in [
            (
                &b"\0\0\0\x09\0\0\0\x03\0\x06SECRET\0\x07SECRET\0\x01\0\0\x75\x30\x02\x07orders\x02\0\0\0\0\x07SECRET"
                    [..],
                &b"\0\0\0\x09\0\0\0\x03\0\x06xxxxxx\0\x07xxxxxx\0\x01\0\0xx\x02\x07ordersx\0\0\0\0xxxxxxx"[..],
            ),
            (
                b"\0\x24\0\0\0\0\0\x03\0\x06SECRET\0\0\0\x06SECRET",
                b"\0\x24\0\0\0\0\0\x03\0\x06xxxxxx\0\0\0xxxxxxx",
            ),
        ] {
            check(said, clean, request);
        }
        let mut token = *b"\0SECRET\0SECRET";
        request(&mut token);
        assert_eq!(&token, b"\0xxxxxx\0xxxxxx");
    }

    #[test]
    fn of_an_answer_numbers_stay() {
        let fetch = api::of(api::FETCH).expect("it is known");
        let numbers = b"\0\0\0\x01\0\0\0\x02\0\0ABCDEFGHIJKLMNOP\0\0\0\0\0\0\0\x06";
        let answer = |secret: &[u8]| [b"\0\0\0\x07\0\0\0\0\0\0\0\x01\0\x06", secret, numbers, secret, secret].concat();
        check(&answer(b"SECRET"), &answer(b"xxxxxx"), |bytes| {
            response(bytes, fetch, 4);
        });
        let metadata = api::of(3).expect("it is known");
        check(
            b"\0\0\0\x07\0\0\0\0\0\x02\0\0\0\x01\x07SECRET\0\0\x23\x84\0\0\x07SECRET\0\0\0\x01\x02\0\0\x02aABCDEFGHIJKLMNOP",
            b"\0\0\0\x07\0\0\0\0\0\x02\0\0\0\x01\x07xxxxxx\0\0\x23\x84\0\0\x07xxxxxx\0\0\0\x01\x02\0\0\x02aABCDEFGHIJKLMNOP",
            |bytes| response(bytes, metadata, 12),
        );
    }
}
