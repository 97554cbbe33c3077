//! A TLS client's first message, as far as it takes to say whom the client means: `server_name` (RFC 6066, section 3) among
//! the extensions of a `ClientHello` (RFC 8446, 4.1.2; TLS 1.0 to 1.2 have the same layout).

use std::net::IpAddr;

/// Type of a record that carries handshake messages (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// Type of the message (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;
/// Version and random.
const FIXED_BYTES: usize = 2 + 32;
/// Types of extensions.
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// Type of a name.
const HOST_NAME: u8 = 0;
/// A longer one is none (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;

/// The name that a client's first bytes ask for. They may have been cut anywhere: then what lies before the cut counts. Of a
/// message in several records the first one is read.
///
/// `None` if they are no `ClientHello`, if it asks for no host by name (an address is none), and if it has a part that is
/// encrypted (RFC 9849): the name outside of that is the relay's, unless the client only pretends, which cannot be told.
pub fn server_name(bytes: &[u8]) -> Option<&str> {
    let mut record = Reader(bytes);
    if record.u8()? != HANDSHAKE {
        return None;
    }
    record.skip(2)?;
    let length = record.u16()?;
    let mut message = record.up_to(length.into());
    if message.u8()? != CLIENT_HELLO {
        return None;
    }
    let length = u32::from(message.u8()?) << 16 | u32::from(message.u16()?);
    let mut hello = message.up_to(usize::try_from(length).ok()?);
    hello.skip(FIXED_BYTES)?;
    let session = hello.u8()?;
    hello.skip(session.into())?;
    let suites = hello.u16()?;
    hello.skip(suites.into())?;
    let compressions = hello.u8()?;
    hello.skip(compressions.into())?;
    let length = hello.u16()?;
    let mut extensions = hello.up_to(length.into());
    let mut name = None;
    while let Some((kind, length)) = extensions.u16().zip(extensions.u16()) {
        let value = extensions.up_to(length.into());
        match kind {
            SERVER_NAME => name = host_name(value),
            ENCRYPTED_CLIENT_HELLO => return None,
            _ => {}
        }
    }
    name
}

/// The host's name in a list of names, which has one of each type.
fn host_name(list: Reader<'_>) -> Option<&str> {
    let mut list = list;
    list.skip(2)?;
    if list.u8()? != HOST_NAME {
        return None;
    }
    let length = list.u16()?.into();
    let name = std::str::from_utf8(list.exactly(length)?).ok()?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let valid = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_name) && name.parse::<IpAddr>().is_err();
    valid.then_some(name)
}

/// What is left to be read.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u8(&mut self) -> Option<u8> {
        let (value, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*value)
    }

    fn u16(&mut self) -> Option<u16> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*value))
    }

    fn exactly(&mut self, length: usize) -> Option<&'a [u8]> {
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.exactly(length).map(|_| ())
    }

    /// So much, or what there is.
    fn up_to(&mut self, length: usize) -> Self {
        let (value, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sized<const N: usize>(bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len().to_be_bytes();
        [&length[length.len() - N..], bytes].concat()
    }

    fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &sized::<2>(value)].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        extension(
            SERVER_NAME,
            &sized::<2>(&[&[HOST_NAME][..], &sized::<2>(name)].concat()),
        )
    }

    /// A hello with these extensions.
    fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        let body = [
            b"\x03\x03".to_vec(),
            vec![7; 32],
            sized::<1>(&[9; 32]),
            sized::<2>(b"\x13\x01\x13\x02"),
            sized::<1>(b"\0"),
            sized::<2>(&extensions.concat()),
        ];
        let message = [vec![CLIENT_HELLO], sized::<3>(&body.concat())].concat();
        [b"\x16\x03\x01".to_vec(), sized::<2>(&message)].concat()
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&str>) {
        assert_eq!(server_name(bytes), expected);
    }

    #[test]
    fn a_client_names_whom_it_means() {
        let groups = extension(10, b"\0\x02\0\x1d");
        check(&hello(&[named(b"api.example.com")]), Some("api.example.com"));
        check(
            &hello(&[groups.clone(), named(b"a_b.Example"), groups.clone()]),
            Some("a_b.Example"),
        );
        check(&hello(&[groups]), None);
        check(&hello(&[]), None);
    }

    #[test]
    fn an_address_and_what_is_no_name_are_none() {
        for name in [
            &b"127.0.0.1"[..],
            b"::1",
            b"",
            b"a b",
            b"a\0",
            b"\xc3\xa4.example",
            &[b'a'; 254],
        ] {
            check(&hello(&[named(name)]), None);
        }
        // Another type of name, and a list that is shorter than it says.
        check(&hello(&[extension(SERVER_NAME, b"\0\x05\x01\0\x02ab")]), None);
        check(&hello(&[extension(SERVER_NAME, b"\0\x05\0\0\x09ab")]), None);
    }

    #[test]
    fn beside_an_encrypted_part_the_name_may_be_the_relays() {
        let encrypted = extension(ENCRYPTED_CLIENT_HELLO, b"\0abc");
        check(&hello(&[named(b"relay.example"), encrypted.clone()]), None);
        check(&hello(&[encrypted, named(b"relay.example")]), None);
    }

    #[test]
    fn other_first_bytes_say_nothing() {
        check(b"", None);
        check(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", None);
        let mut bytes = hello(&[named(b"a.example")]);
        bytes[5] = 2; // a ServerHello
        check(&bytes, None);
        bytes[0] = 23;
        check(&bytes, None);
    }

    #[test]
    fn a_cut_hides_what_lies_behind_it() {
        let bytes = hello(&[named(b"a.example"), extension(21, &[0; 64])]);
        let name_end = bytes.len() - 68;
        for end in 0..=bytes.len() {
            check(&bytes[..end], (end >= name_end).then_some("a.example"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_name_or_none(bytes: Vec<u8>, prefix in 0..2usize) {
            let beginning = [&b""[..], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"][prefix];
            let bytes = [beginning, &bytes].concat();
            if let Some(name) = server_name(&bytes) {
                prop_assert!((1..=MAX_NAME).contains(&name.len()));
            }
        }

        #[test]
        fn any_change_of_a_hello_gives_a_name_or_none(at in 0..200usize, byte: u8, end in 0..200usize) {
            let mut bytes = hello(&[extension(10, b"\0\x02\0\x1d"), named(b"api.example.com"), extension(21, &[0; 32])]);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(end);
            if let Some(name) = server_name(&bytes) {
                prop_assert!((1..=MAX_NAME).contains(&name.len()));
            }
        }
    }
}
