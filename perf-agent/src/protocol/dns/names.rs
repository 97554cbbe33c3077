//! What a query is called: its type and its name, of which the parts that may be anything are left out. So a name that
//! differs in every query, because it holds an address or a number drawn for it, is one operation.

use smallvec::SmallVec;

use super::message::{Name, Question, write_label};

/// Names of types, <https://www.iana.org/assignments/dns-parameters>: those that are asked for. Others are `TYPE` and the
/// number (RFC 3597, 5).
#[rustfmt::skip]
static TYPES: &[(u16, &str)] = &[
    (1, "A"), (2, "NS"), (5, "CNAME"), (6, "SOA"), (10, "NULL"), (12, "PTR"), (13, "HINFO"), (15, "MX"), (16, "TXT"),
    (28, "AAAA"), (29, "LOC"), (33, "SRV"), (35, "NAPTR"), (37, "CERT"), (39, "DNAME"), (41, "OPT"), (43, "DS"),
    (44, "SSHFP"), (46, "RRSIG"), (47, "NSEC"), (48, "DNSKEY"), (50, "NSEC3"), (51, "NSEC3PARAM"), (52, "TLSA"),
    (53, "SMIMEA"), (59, "CDS"), (60, "CDNSKEY"), (61, "OPENPGPKEY"), (64, "SVCB"), (65, "HTTPS"), (99, "SPF"),
    (249, "TKEY"), (250, "TSIG"), (251, "IXFR"), (252, "AXFR"), (255, "ANY"), (256, "URI"), (257, "CAA"),
];

/// Names of what is asked for where it is no query (RFC 1035, 1996, 2136).
const OPCODES: &[(u8, &str)] = &[(1, "IQUERY"), (2, "STATUS"), (4, "NOTIFY"), (5, "UPDATE")];

/// Names of response codes.
#[rustfmt::skip]
const RCODES: &[&str] = &[
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    "NOTZONE", "DSOTYPENI",
];

/// A name of more labels is cut on its left.
const MAX_LABELS: usize = 6;

/// The code of an answer that is an error.
pub(super) fn rcode(code: u8) -> Option<crate::exchange::ErrorCode> {
    use crate::exchange::ErrorCode;
    match RCODES.get(usize::from(code)) {
        _ if code == 0 => None,
        Some(name) => Some(ErrorCode::new(name.as_bytes())),
        None => Some(ErrorCode::number(code.into())),
    }
}

/// Writes the operation of a request.
pub(super) fn operation(opcode: u8, question: &Question<'_>, to: &mut String) {
    use std::fmt::Write as _;
    to.clear();
    match OPCODES.iter().find(|(number, _)| *number == opcode) {
        _ if opcode == 0 => {}
        Some((_, name)) => {
            to.push_str(name);
            to.push(' ');
        }
        // Writing to a string does not fail.
        None => _ = write!(to, "OPCODE{opcode} "),
    }
    match TYPES.iter().find(|(number, _)| *number == question.kind) {
        Some((_, name)) => to.push_str(name),
        None => _ = write!(to, "TYPE{}", question.kind),
    }
    to.push(' ');
    name(&question.name, to);
}

fn name(name: &Name<'_>, to: &mut String) {
    let labels: SmallVec<[&[u8]; 8]> = name.labels().collect();
    // Names of addresses.
    let is_reverse = labels.last_chunk().is_some_and(|[kind, root]| {
        let is_one_of = |with: &[&[u8]]| with.iter().any(|with| kind.eq_ignore_ascii_case(with));
        is_one_of(&[b"in-addr", b"ip6"]) && root.eq_ignore_ascii_case(b"arpa")
    });
    let mut stands_for_some = false;
    for (place, label) in labels.iter().enumerate() {
        let left = labels.len() - place;
        let left_out = match left {
            1 | 2 => Kinds::of(label).is_drawn(),
            ..=MAX_LABELS if !is_reverse => {
                let kinds = Kinds::of(label);
                kinds.is_drawn() || kinds.is_numbered()
            }
            _ => true,
        };
        if left_out && stands_for_some {
            continue;
        }
        if place > 0 {
            to.push('.');
        }
        if left_out {
            to.push('*');
        } else {
            write_label(label, to);
        }
        stands_for_some = left_out;
    }
    if labels.is_empty() {
        to.push('.');
    }
}

/// Of each byte, what it adds to the sums of [`Kinds`]: a byte for each of them.
static KINDS: [u32; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0u8;
    loop {
        kinds[byte as usize] = u32::from_le_bytes([
            byte.is_ascii_digit() as u8,
            byte.is_ascii_alphabetic() as u8,
            (byte.is_ascii_hexdigit() || byte == b'-') as u8,
            0,
        ]);
        if byte == u8::MAX {
            break kinds;
        }
        byte += 1;
    }
};

/// What a label's bytes are.
struct Kinds {
    all: usize,
    digits: usize,
    letters: usize,
    /// Hexadecimal digits, and hyphens.
    hex: usize,
}

impl Kinds {
    fn of(label: &[u8]) -> Self {
        // No sum is more than a byte holds, since a label is not longer.
        let sums = label
            .iter()
            .fold(0u32, |sums, &byte| sums.wrapping_add(KINDS[usize::from(byte)]));
        let [digits, letters, hex, _] = sums.to_le_bytes().map(usize::from);
        Self {
            all: label.len(),
            digits,
            letters,
            hex,
        }
    }

    /// A UUID, a hash or the like: hexadecimal digits, of both kinds. Or longer than anybody calls anything.
    fn is_drawn(&self) -> bool {
        self.all > 32 || self.all >= 8 && self.hex == self.all && (1..self.all).contains(&self.digits)
    }

    /// A number, an address (`ip-10-0-0-1`), or letters and many digits.
    fn is_numbered(&self) -> bool {
        let is_mostly_digits = self.all >= 6 && self.digits >= self.letters;
        self.digits > 0 && (self.letters == 0 || is_mostly_digits || self.all >= 16 && self.digits >= 4)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Message;
    use super::*;

    #[track_caller]
    fn check(name: &str, kind: u16, expected: &str) {
        let labels = name.split('.').filter(|label| !label.is_empty());
        let mut bytes = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in labels {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        let mut to = "before".to_owned();
        operation(0, &Message::of(&bytes).unwrap().question.unwrap(), &mut to);
        assert_eq!(to, expected);
    }

    #[test]
    fn names_that_people_gave_are_told_as_they_are() {
        check("example.com", 1, "A example.com");
        check("www.163.com", 28, "AAAA www.163.com");
        check("_ldap._tcp.dc01.corp.example", 33, "SRV _ldap._tcp.dc01.corp.example");
        check("db-1.prod.svc.cluster.local", 65, "HTTPS db-1.prod.svc.cluster.local");
        check("s3.eu-central-1.amazonaws.com", 1, "A s3.eu-central-1.amazonaws.com");
        check("deadbeef.example.com", 1, "A deadbeef.example.com");
        check("localhost", 1000, "TYPE1000 localhost");
        check("", 2, "NS .");
    }

    #[test]
    fn parts_that_differ_in_every_query_are_left_out() {
        check("4.3.2.1.in-addr.arpa", 12, "PTR *.in-addr.arpa");
        check("b.a.9.8.1.0.0.2.ip6.arpa", 12, "PTR *.ip6.arpa");
        check(
            "ip-10-0-0-12.eu-west-1.compute.internal",
            1,
            "A *.eu-west-1.compute.internal",
        );
        check("10-244-1-5.shop.pod.cluster.local", 1, "A *.shop.pod.cluster.local");
        check("3f2a9c8d1b7e", 1, "A *");
        check(
            "6fa459ea-ee8a-3ca4-894e-db77e160355e.12.example.com",
            16,
            "TXT *.example.com",
        );
        check("x7k2m9q4w8z1v5b3.t.example.com", 1, "A *.t.example.com");
        check("a.b.c.d.e.f.g.h.example.com", 1, "A *.e.f.g.h.example.com");
    }

    #[test]
    fn response_codes_have_their_names() {
        let name = |code| rcode(code).map(|code| code.as_str().to_owned());
        assert_eq!(name(0), None);
        assert_eq!(name(2).as_deref(), Some("SERVFAIL"));
        assert_eq!(name(3).as_deref(), Some("NXDOMAIN"));
        assert_eq!(name(15).as_deref(), Some("15"));
    }
}
