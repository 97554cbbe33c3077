//! The client's address behind proxies: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Each proxy appends whom it heard from, so what stands at the right was written last. From the right on, addresses of
//! trusted proxies are passed over, and the first other one is the client's: whatever stands left of it, the client may have
//! written itself. What is no address ends the search, as the one who wrote it does not say.

use std::net::IpAddr;

use super::RequestLogError;

/// Entries that are looked at; nobody has so many proxies.
const MAX_HOPS: usize = 32;
/// Bytes of an entry.
const MAX_ENTRY_BYTES: usize = 128;

/// What proxies say of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing.
    #[default]
    NotSaid,
    /// Something that cannot be relied on.
    Unknown,
    /// Its address; if all are trusted, the farthest one.
    From(IpAddr),
}

/// Networks whose word is taken.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    all: Vec<(IpAddr, u8)>,
    /// Who connects to a Unix socket, too.
    unix: bool,
}

impl Networks {
    /// None.
    pub(super) const fn none() -> Self {
        Self {
            all: Vec::new(),
            unix: false,
        }
    }

    /// Those of the settings.
    pub(super) fn new(texts: &[String]) -> Result<Self, RequestLogError> {
        let mut networks = Self::none();
        for text in texts {
            match text.trim() {
                "unix" => networks.unix = true,
                trimmed => {
                    let network = network(trimmed).map_err(|expected| RequestLogError::Network {
                        text: text.clone(),
                        expected,
                    })?;
                    networks.all.push(network);
                }
            }
        }
        Ok(networks)
    }

    /// True if nobody is trusted.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && !self.unix
    }

    /// Is the word taken of whoever connected from this address, or over a Unix socket?
    pub(super) fn trusts(&self, peer: Option<IpAddr>, unix: bool) -> bool {
        match peer {
            Some(peer) => self.contain(peer),
            None => unix && self.unix,
        }
    }

    /// Is this address in one of them?
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.all
            .iter()
            .any(|(network, bits)| masked(address, *bits).is_some_and(|masked| masked == *network))
    }
}

/// An address without what stands behind its prefix; `None` if a prefix of it is not so long.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(address) => {
            let behind = 32u32.checked_sub(bits)?;
            let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
            Some(IpAddr::V4((u32::from(address) & mask).into()))
        }
        IpAddr::V6(address) => {
            let behind = 128u32.checked_sub(bits)?;
            let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
            Some(IpAddr::V6((u128::from(address) & mask).into()))
        }
    }
}

/// An address, or one with the length of its prefix; else what would be one.
fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let expected = || "expected such as 10.1.2.3, 10.0.0.0/8, fd00::/8 or unix".to_owned();
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let written: IpAddr = address.parse().map_err(|_no_address| expected())?;
    let most = if written.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits
            .parse()
            .ok()
            .filter(|bits| *bits <= most)
            .ok_or_else(|| format!("a prefix has 0 to {most} bits"))?,
        Some(_) => return Err(expected()),
    };
    let whole = masked(written, bits).ok_or_else(expected)?;
    if whole != written {
        return Err(format!("bits are set behind its prefix, meant may be {whole}/{bits}"));
    }
    // ::ffff:10.0.0.0/104 are addresses of version 4, and are compared as such.
    match written.to_canonical() {
        canonical @ IpAddr::V4(_) if written.is_ipv6() && bits >= 96 => Ok((canonical, bits - 96)),
        _ => Ok((written, bits)),
    }
}

/// Whom an entry names.
pub(super) type Node = fn(&str) -> Option<IpAddr>;

/// The way from the right to the left.
pub(super) struct Walk<'a> {
    proxies: &'a Networks,
    hops: usize,
    found: Forwarded,
    ended: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(proxies: &'a Networks) -> Self {
        Self {
            proxies,
            hops: 0,
            found: Forwarded::NotSaid,
            ended: false,
        }
    }

    /// Goes on with the next value to the left.
    pub(super) fn value(&mut self, value: &[u8], node: Node) {
        for entry in value.rsplit(|&byte| byte == b',') {
            if self.ended {
                return;
            }
            self.hops += 1;
            let entry = entry.trim_ascii();
            let known = Some(entry).filter(|entry| entry.len() <= MAX_ENTRY_BYTES && self.hops <= MAX_HOPS);
            let address = known.and_then(|entry| std::str::from_utf8(entry).ok()).and_then(node);
            self.found = address.map_or(Forwarded::Unknown, Forwarded::From);
            self.ended = address.is_none_or(|address| !self.proxies.contain(address));
        }
    }

    pub(super) fn found(&self) -> Forwarded {
        self.found
    }
}

/// An address, with or without a port.
pub(super) fn plain_node(entry: &str) -> Option<IpAddr> {
    let is_port = |rest: &str| {
        rest.strip_prefix(':')
            .is_some_and(|port| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if let Some(rest) = entry.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        return (rest.is_empty() || is_port(rest)).then(|| IpAddr::V6(address).to_canonical());
    }
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, _) = entry.split_at_checked(entry.find(':')?)?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    is_port(&entry[entry.find(':')?..]).then_some(IpAddr::V4(address))
}

/// The address of `for=` in an element (RFC 7239, 4). Those that are kept secret (6.2, 6.3) are none.
pub(super) fn forwarded_node(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    let unquoted = node.strip_prefix('"').and_then(|node| node.strip_suffix('"'));
    plain_node(unquoted.unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{RequestLogSettings, Values, Wanted};
    use super::*;

    fn wanted() -> Wanted {
        let trusted_proxies = ["10.0.0.0/8", "fd00::/8", "192.0.2.1", "unix"]
            .map(str::to_owned)
            .to_vec();
        let settings = RequestLogSettings {
            trusted_proxies,
            ..RequestLogSettings::default()
        };
        Wanted::new(&settings).unwrap()
    }

    #[track_caller]
    fn check(lines: &str, peer: &str, expected: Option<&str>) {
        let wanted = wanted();
        let values = Values::of_lines(lines.as_bytes(), wanted.names());
        let said = wanted.forwarded(values.all(), false);
        let client = wanted.client(peer.parse().ok(), peer == "unix", said);
        assert_eq!(
            client,
            expected.map(|address| address.parse().unwrap()),
            "{lines:?} from {peer}"
        );
    }

    #[test]
    fn the_first_address_from_the_right_that_is_not_trusted_is_the_clients() {
        check("", "198.51.100.7", Some("198.51.100.7"));
        check("", "10.0.0.1", Some("10.0.0.1"));
        check("X-Forwarded-For: 203.0.113.9\r\n", "198.51.100.7", Some("198.51.100.7"));
        check("X-Forwarded-For: 203.0.113.9\r\n", "10.0.0.1", Some("203.0.113.9"));
        check(
            "X-Forwarded-For: 203.0.113.9\r\n",
            "::ffff:10.0.0.1",
            Some("203.0.113.9"),
        );
        check("X-Forwarded-For: 203.0.113.9\r\n", "unix", Some("203.0.113.9"));
        check(
            "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1\r\n",
            "10.0.0.1",
            Some("203.0.113.9"),
        );
        check(
            "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 203.0.113.9\r\n",
            "10.0.0.1",
            Some("203.0.113.9"),
        );
        check("X-Forwarded-For: 10.2.2.2, 10.1.1.1\r\n", "10.0.0.1", Some("10.2.2.2"));
        check(
            "X-Forwarded-For: [2001:db8::1]:80, fd00::1\r\n",
            "10.0.0.1",
            Some("2001:db8::1"),
        );
        check("X-Forwarded-For: 203.0.113.9:4711\r\n", "10.0.0.1", Some("203.0.113.9"));
        check(
            "Forwarded: for=6.6.6.6, For=\"[2001:db8::2]:9\";proto=https\r\n",
            "10.0.0.1",
            Some("2001:db8::2"),
        );
        check(
            "Forwarded: proto=http;for=203.0.113.9;by=10.0.0.1\r\n",
            "192.0.2.1",
            Some("203.0.113.9"),
        );
    }

    #[test]
    fn what_cannot_be_relied_on_is_unknown() {
        for value in [
            "",
            "unknown",
            "203.0.113.9 x",
            "1.2.3",
            "::1%eth0",
            "[::1",
            "203.0.113.9:",
            "a, 10.1.1.1",
            "1.1.1.1,",
        ] {
            check(&format!("X-Forwarded-For: {value}\r\n"), "10.0.0.1", None);
        }
        for value in ["for=_hidden", "for=unknown", "by=10.0.0.1", "for=\"[::1\"", "for"] {
            check(&format!("Forwarded: {value}\r\n"), "10.0.0.1", None);
        }
        let both = "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.8\r\n";
        check(both, "10.0.0.1", None);
        check(&both.replace(".8", ".9"), "10.0.0.1", Some("203.0.113.9"));
        let many = "10.1.1.1, ".repeat(MAX_HOPS) + "10.1.1.1";
        check(&format!("X-Forwarded-For: 203.0.113.9, {many}\r\n"), "10.0.0.1", None);
        let wanted = wanted();
        assert_eq!(wanted.forwarded(&[], true), Forwarded::Unknown, "a cut head");
    }

    #[test]
    fn networks_are_read() {
        let read = |text: &str| network(text).ok().map(|(address, bits)| format!("{address}/{bits}"));
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.1/24",
            "::/129",
            "10.0.0/8",
            "host",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let all = Networks::new(&["0.0.0.0/0".to_owned()]).unwrap();
        assert!(all.contain("1.2.3.4".parse().unwrap()) && !all.contain("2001:db8::1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_left_of_its_proxy_changes_nothing(
            forged in "[ -~]{0,300}", client: [u8; 4], hops in 0usize..4,
        ) {
            let client = IpAddr::from(client);
            prop_assume!(!wanted().proxies.contain(client));
            let chain = ", 10.9.9.9".repeat(hops);
            check(&format!("X-Forwarded-For: {forged}, {client}{chain}\r\n"), "10.0.0.1", Some(&client.to_string()));
        }
    }
}
