//! One message, RFC 1035, 4, whichever way it came: its header, its question, and the addresses in its answer. A pure
//! function of its bytes, which may be cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 12;
/// Bytes of a name at most, as labels (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 255;
/// Bytes of a label at most.
const MAX_LABEL: usize = 63;
/// So many pointers may lead to a name's labels, of which there are no more.
const MAX_POINTERS: u8 = 127;
/// So many addresses of an answer are told.
pub const MAX_ADDRESSES: usize = 16;
/// So many records of an answer are looked through for them.
const MAX_RECORDS: u16 = 64;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// What a message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pairs an answer with its query.
    pub id: u16,
    /// QR: it is an answer.
    pub is_response: bool,
    /// What is asked for; 0 is a query.
    pub opcode: u8,
    /// TC: it was longer than the transport takes.
    pub is_truncated: bool,
    /// How it went; 0 is well.
    pub rcode: u8,
    /// Entries of each section: questions, answers, authority, additional.
    pub counts: [u16; 4],
}

impl Header {
    /// The header at the beginning of these bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let [i0, i1, f0, f1, counts @ ..] = bytes.first_chunk::<HEADER_BYTES>()?;
        let [q0, q1, a0, a1, n0, n1, r0, r1] = *counts;
        Some(Self {
            id: u16::from_be_bytes([*i0, *i1]),
            is_response: f0 & 0x80 != 0,
            opcode: f0 >> 3 & 0x0f,
            is_truncated: f0 & 0x02 != 0,
            rcode: f1 & 0x0f,
            counts: [[q0, q1], [a0, a1], [n0, n1], [r0, r1]].map(u16::from_be_bytes),
        })
    }
}

/// A name of a message, which was read once to its end. As text it is in small letters, without the last dot; what is not
/// printable in a label, and a dot in it, is `?`.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Name<'a> {
    /// The name at this place of a message, and the place behind it.
    fn of(message: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let mut labels = Labels::at(message, at);
        let mut bytes = 1;
        loop {
            let label = labels.read()?;
            if label.is_empty() {
                break;
            }
            bytes += 1 + label.len();
            if bytes > MAX_NAME {
                return None;
            }
        }
        Some((Self { message, at }, labels.behind.unwrap_or(labels.place)))
    }

    /// Its labels, as they stand there; none of the root.
    pub fn labels(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut labels = Labels::at(self.message, self.at);
        std::iter::from_fn(move || labels.read().filter(|label| !label.is_empty()))
    }
}

/// What stands for a byte of a label in text.
fn shown(byte: u8) -> u8 {
    match byte {
        b'.' | ..=b' ' | 0x7f.. => b'?',
        _ => byte.to_ascii_lowercase(),
    }
}

/// Adds a label to a text.
pub fn write_label(label: &[u8], to: &mut String) {
    let mut text = [0; MAX_LABEL];
    text.iter_mut().zip(label).for_each(|(to, byte)| *to = shown(*byte));
    // It is ASCII.
    to.push_str(str::from_utf8(&text[..label.len().min(MAX_LABEL)]).unwrap_or_default());
}

impl Name<'_> {
    /// As text, which is written to `room`.
    pub fn text<'a>(&self, room: &'a mut [u8; MAX_NAME]) -> &'a str {
        let mut written = 0;
        for label in self.labels() {
            let dot = usize::from(written > 0);
            let Some(to) = room.get_mut(written..written + dot + label.len()) else {
                break;
            };
            to[..dot].fill(b'.');
            to[dot..]
                .iter_mut()
                .zip(label)
                .for_each(|(to, byte)| *to = shown(*byte));
            written += to.len();
        }
        // It is ASCII.
        str::from_utf8(&room[..written]).unwrap_or_default()
    }
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text(&mut [0; MAX_NAME]))
    }
}

impl std::fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

struct Labels<'a> {
    message: &'a [u8],
    place: usize,
    /// The least place that a pointer led to: the next one leads before it, so they come to an end.
    least: usize,
    /// The place behind the first pointer.
    behind: Option<usize>,
    /// Pointers that may still come.
    pointers: u8,
}

impl<'a> Labels<'a> {
    fn at(message: &'a [u8], place: usize) -> Self {
        Self {
            message,
            place,
            least: place,
            behind: None,
            pointers: MAX_POINTERS,
        }
    }

    /// The next label; the empty one is the root's, and the last. Nothing if there is no name.
    fn read(&mut self) -> Option<&'a [u8]> {
        loop {
            let length = usize::from(*self.message.get(self.place)?);
            match length {
                0 => {
                    self.place += 1;
                    return Some(&[]);
                }
                1..=63 => {
                    let begin = self.place + 1;
                    self.place = begin + length;
                    return self.message.get(begin..self.place);
                }
                192.. => {
                    let low = usize::from(*self.message.get(self.place + 1)?);
                    self.behind.get_or_insert(self.place + 2);
                    self.place = (length & 0x3f) << 8 | low;
                    if self.place >= self.least || self.pointers == 0 {
                        return None;
                    }
                    self.pointers -= 1;
                    self.least = self.place;
                }
                _ => return None,
            }
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Of this name.
    pub name: Name<'a>,
    /// Type of the records.
    pub kind: u16,
    /// Their class; 1 is the internet's.
    pub class: u16,
}

/// A message of which the header is there.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// Its first question, if it has one and that is there.
    pub question: Option<Question<'a>>,
    bytes: &'a [u8],
    /// Where the question ends.
    behind: usize,
}

impl<'a> Message<'a> {
    /// Reads as much as is there.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::of(bytes)?;
        let mut message = Self {
            header,
            question: None,
            bytes,
            behind: HEADER_BYTES,
        };
        if header.counts[0] > 0
            && let Some((name, at)) = Name::of(bytes, HEADER_BYTES)
            && let Some(&[k0, k1, c0, c1]) = bytes.get(at..at + 4).and_then(|fixed| fixed.first_chunk())
        {
            message.question = Some(Question {
                name,
                kind: u16::from_be_bytes([k0, k1]),
                class: u16::from_be_bytes([c0, c1]),
            });
            message.behind = at + 4;
        }
        Some(message)
    }

    /// Bytes up to the end of the question.
    pub fn question_end(&self) -> usize {
        self.behind
    }

    /// Is it a message to its last byte, and nothing behind?
    pub fn is_exact(&self) -> bool {
        let [_, answers, authority, additional] = self.header.counts.map(usize::from);
        let mut at = self.behind;
        // Each record takes some bytes, so a false count ends here.
        for _ in 0..answers + authority + additional {
            match record(self.bytes, at) {
                Some(record) => at = record.behind,
                None => return false,
            }
        }
        at == self.bytes.len()
    }

    /// The addresses that it answers with, as far as they are there; all are for the name that was asked for, whatever
    /// other names lead to them.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        self.answers().filter_map(|record| record.address).take(MAX_ADDRESSES)
    }

    /// For how long all that it answers with holds, seconds.
    pub fn ttl_s(&self) -> u32 {
        self.answers().map(|record| record.ttl_s).min().unwrap_or(0)
    }

    /// The records of its answer, as far as they are there.
    fn answers(&self) -> impl Iterator<Item = Record> + use<'a> {
        // The section cannot be found behind more than one question.
        let is_answer = self.header.is_response && self.header.counts[0] == 1 && self.question.is_some();
        let records = if is_answer {
            self.header.counts[1].min(MAX_RECORDS)
        } else {
            0
        };
        let (bytes, mut at) = (self.bytes, self.behind);
        (0..records).map_while(move |_| {
            let record = record(bytes, at)?;
            at = record.behind;
            Some(record)
        })
    }
}

/// A record of a message.
struct Record {
    /// The address that it holds, if that is what it does.
    address: Option<IpAddr>,
    ttl_s: u32,
    /// The place behind it.
    behind: usize,
}

/// The record at this place.
fn record(bytes: &[u8], at: usize) -> Option<Record> {
    let (_, at) = Name::of(bytes, at)?;
    let &[k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = bytes.get(at..)?.first_chunk()?;
    let begin = at + 10;
    let behind = begin + usize::from(u16::from_be_bytes([l0, l1]));
    let data = bytes.get(begin..behind)?;
    let address = match (u16::from_be_bytes([k0, k1]), u16::from_be_bytes([c0, c1])) {
        (TYPE_A, CLASS_IN) => <[u8; 4]>::try_from(data).ok().map(|data| Ipv4Addr::from(data).into()),
        (TYPE_AAAA, CLASS_IN) => <[u8; 16]>::try_from(data).ok().map(|data| Ipv6Addr::from(data).into()),
        _ => None,
    };
    // One with the highest bit means 0 (RFC 2181, 8).
    let ttl_s = u32::from_be_bytes([t0, t1, t2, t3]);
    Some(Record {
        address,
        ttl_s: if ttl_s >> 31 == 0 { ttl_s } else { 0 },
        behind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for `www.example.com`, and gets an alias and two addresses of it.
    const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x03\0\0\0\0\x03wWw\x07exAmple\x03com\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x07\x04edge\xc0\x10\
        \xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\x5d\xb8\xd8\x22\
        \xc0\x2d\0\x1c\0\x01\0\0\0\x3c\0\x10\x26\x06\x28\0\x02\x20\0\x01\x02\x48\x18\x93\x25\xc8\x19\x46";

    #[test]
    fn an_answer_tells_the_name_asked_for_and_its_addresses() {
        let message = Message::of(ANSWER).unwrap();
        let header = message.header;
        assert_eq!((header.id, header.is_response, header.rcode), (0x1234, true, 0));
        assert_eq!(header.counts, [1, 3, 0, 0]);
        let question = message.question.unwrap();
        assert_eq!(
            (&*question.name.to_string(), question.kind, question.class),
            ("www.example.com", 1, 1)
        );
        let addresses: Vec<_> = message.addresses().map(|address| address.to_string()).collect();
        assert_eq!(message.ttl_s(), 60);
        assert_eq!(addresses, ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]);
    }

    #[test]
    fn what_is_cut_is_read_up_to_there() {
        for end in 0..ANSWER.len() {
            let Some(message) = Message::of(&ANSWER[..end]) else {
                assert!(end < HEADER_BYTES);
                continue;
            };
            assert_eq!(message.question.is_some(), end >= 33, "{end}");
            assert!(message.addresses().count() <= 1);
        }
    }

    #[test]
    fn pointers_that_lead_nowhere_end() {
        let header = b"\0\x01\x81\x80\0\x01\0\x01\0\0\0\0";
        for name in [
            &b"\xc0\x0c\0\x01\0\x01"[..],
            b"\x01a\xc0\x0c\0\x01\0\x01",
            b"\xc0\xff\0\x01\0\x01",
            b"\x40aaaa\0\0\x01\0\x01",
            b"\x3fa\0\0\x01\0\x01",
        ] {
            let bytes = [header, name].concat();
            assert!(
                Message::of(&bytes).unwrap().question.is_none(),
                "{}",
                name.escape_ascii()
            );
        }
    }

    #[test]
    fn a_name_is_no_longer_than_names_can_be() {
        let header = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0";
        let name = |last: &[u8]| {
            let bytes = [header, &b"\x01a".repeat(126)[..], last, b"\0\0\x01\0\x01"].concat();
            Message::of(&bytes)?.question.map(|question| question.name.to_string())
        };
        let longest = name(b"\x01.").unwrap();
        assert_eq!(longest.len(), MAX_NAME - 2);
        assert!(longest.ends_with(".a.?"));
        assert!(name(b"\x02..").is_none());
    }

    #[test]
    fn addresses_are_some_at_most() {
        let mut bytes = b"\0\x01\x81\x80\0\x01\xff\xff\0\0\0\0\0\0\x01\0\x01".to_vec();
        (0..100).for_each(|_| bytes.extend(b"\0\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01"));
        let message = Message::of(&bytes).unwrap();
        assert_eq!(message.question.unwrap().name.to_string(), "");
        assert_eq!(message.addresses().count(), MAX_ADDRESSES);
    }
}
