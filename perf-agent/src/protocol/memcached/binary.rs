//! The binary protocol: <https://github.com/memcached/memcached/wiki/BinaryProtocolRevamped>. It is old, but still spoken.

use super::commands::{Command, Kind, MAX_KEY};
use crate::exchange::ErrorCode;

/// Bytes of a message's header.
pub(super) const HEADER: usize = 24;
/// First byte of a request.
pub(super) const REQUEST: u8 = 0x80;
/// First byte of an answer.
pub(super) const RESPONSE: u8 = 0x81;

/// A message's header, as far as it is of interest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: u8,
    pub(super) key_bytes: usize,
    pub(super) extras_bytes: usize,
    pub(super) data_type: u8,
    /// Of an answer.
    pub(super) status: u16,
    pub(super) body_bytes: u32,
    pub(super) opaque: u32,
}

impl Header {
    /// The header that these bytes begin with; `None` if it is not whole, or is none.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let [
            _,
            opcode,
            k0,
            k1,
            extras,
            data_type,
            s0,
            s1,
            b0,
            b1,
            b2,
            b3,
            o0,
            o1,
            o2,
            o3,
            ..,
        ] = *bytes.first_chunk::<HEADER>()?;
        let header = Self {
            opcode,
            key_bytes: usize::from(u16::from_be_bytes([k0, k1])),
            extras_bytes: usize::from(extras),
            data_type,
            status: u16::from_be_bytes([s0, s1]),
            body_bytes: u32::from_be_bytes([b0, b1, b2, b3]),
            opaque: u32::from_be_bytes([o0, o1, o2, o3]),
        };
        let known = header.extras_bytes + header.key_bytes;
        (known as u64 <= u64::from(header.body_bytes)).then_some(header)
    }

    /// Bytes that are to be read: with the key where that is what pairs an answer with its request.
    pub(super) fn head_bytes(&self) -> usize {
        let returns_key = matches!(self.opcode, 0x0c | 0x0d | 0x23 | 0x24) && self.key_bytes <= MAX_KEY;
        HEADER
            + if returns_key {
                self.extras_bytes + self.key_bytes
            } else {
                0
            }
    }

    /// The key, if it was read.
    pub(super) fn key<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        let from = HEADER + self.extras_bytes;
        head.get(from..from + self.key_bytes).filter(|key| !key.is_empty())
    }

    /// Has it the form that a request of its opcode must have?
    pub(super) fn is_request(&self) -> bool {
        let Self {
            key_bytes,
            extras_bytes,
            ..
        } = *self;
        let body = u64::from(self.body_bytes);
        let no_value = body == (key_bytes + extras_bytes) as u64;
        let key = (1..=MAX_KEY).contains(&key_bytes);
        let form = match self.opcode {
            0x00 | 0x04 | 0x09 | 0x0c | 0x0d | 0x14 => extras_bytes == 0 && key && no_value,
            0x01..=0x03 | 0x11..=0x13 => extras_bytes == 8 && key,
            0x05 | 0x06 | 0x15 | 0x16 => extras_bytes == 20 && key && no_value,
            0x07 | 0x0a | 0x0b | 0x17 | 0x20 => body == 0,
            0x08 | 0x18 => matches!(extras_bytes, 0 | 4) && key_bytes == 0 && no_value,
            0x0e | 0x0f | 0x19 | 0x1a | 0x21 | 0x22 => extras_bytes == 0 && key,
            0x10 => extras_bytes == 0 && key_bytes <= MAX_KEY && no_value,
            0x1b => extras_bytes == 4 && key_bytes == 0 && no_value,
            0x1c..=0x1e | 0x23 | 0x24 => extras_bytes == 4 && key && no_value,
            _ => false,
        };
        form && self.data_type == 0
    }
}

/// A command, and whether it is quiet.
#[derive(Debug)]
struct Entry {
    command: Command,
    quiet: bool,
}

const fn entry(name: &'static str, kind: Kind, quiet: bool, looks_up: bool) -> Entry {
    Entry {
        command: Command::binary(name, kind, looks_up),
        quiet,
    }
}

const fn plain(name: &'static str) -> Entry {
    entry(name, Kind::Binary, false, false)
}

const fn quiet(name: &'static str) -> Entry {
    entry(name, Kind::Binary, true, false)
}

const fn lookup(name: &'static str) -> Entry {
    entry(name, Kind::Binary, false, true)
}

const fn quiet_lookup(name: &'static str) -> Entry {
    entry(name, Kind::Binary, true, true)
}

/// By opcode.
static COMMANDS: [Entry; 0x25] = [
    lookup("get"),
    plain("set"),
    plain("add"),
    plain("replace"),
    plain("delete"),
    lookup("increment"),
    lookup("decrement"),
    plain("quit"),
    plain("flush"),
    quiet_lookup("getq"),
    entry("noop", Kind::Barrier, false, false),
    plain("version"),
    lookup("getk"),
    quiet_lookup("getkq"),
    plain("append"),
    plain("prepend"),
    entry("stat", Kind::BinaryStat, false, false),
    quiet("setq"),
    quiet("addq"),
    quiet("replaceq"),
    quiet("deleteq"),
    quiet_lookup("incrementq"),
    quiet_lookup("decrementq"),
    entry("quitq", Kind::Silent, false, false),
    quiet("flushq"),
    quiet("appendq"),
    quiet("prependq"),
    plain("verbosity"),
    lookup("touch"),
    lookup("gat"),
    quiet_lookup("gatq"),
    plain(crate::exchange::UNKNOWN),
    plain("sasl_list_mechs"),
    plain("sasl_auth"),
    plain("sasl_step"),
    lookup("gatk"),
    quiet_lookup("gatkq"),
];

/// Whatever an opcode is that is not in the table, it is answered once.
static OTHER: Command = Command::binary(crate::exchange::UNKNOWN, Kind::Binary, false);

/// The command of this opcode, and whether it is quiet.
pub(super) fn command(opcode: u8) -> (&'static Command, bool) {
    COMMANDS
        .get(usize::from(opcode))
        .map_or((&OTHER, false), |entry| (&entry.command, entry.quiet))
}

/// Is silence the answer that the key is not there?
pub(super) fn silence_is_miss(opcode: u8) -> bool {
    matches!(opcode, 0x09 | 0x0d | 0x1e | 0x24)
}

/// The error that a status is, in the specification's words. That a key is there or is not, or that an item was not stored
/// since its condition was not met, is none.
pub(super) fn error(status: u16) -> Option<ErrorCode> {
    let name: &[u8] = match status {
        // The last two: the next step of a login is asked for.
        0x00 | 0x01 | 0x02 | 0x05 | 0x09 | 0x21 => return None,
        0x03 => b"VALUE_TOO_LARGE",
        0x04 => b"INVALID_ARGUMENTS",
        0x06 => b"NON_NUMERIC_VALUE",
        0x07 => b"WRONG_VBUCKET",
        0x08 | 0x20 => b"AUTHENTICATION_ERROR",
        0x81 => b"UNKNOWN_COMMAND",
        0x82 => b"OUT_OF_MEMORY",
        0x83 => b"NOT_SUPPORTED",
        0x84 => b"INTERNAL_ERROR",
        0x85 => b"BUSY",
        0x86 => b"TEMPORARY_FAILURE",
        _ => return Some(ErrorCode::number(i64::from(status))),
    };
    Some(ErrorCode::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_the_place_of_its_opcode() {
        for (opcode, name) in [
            (0x00, "get"),
            (0x07, "quit"),
            (0x0a, "noop"),
            (0x10, "stat"),
            (0x17, "quitq"),
            (0x24, "gatkq"),
        ] {
            assert_eq!(command(opcode).0.name, name);
        }
        assert_eq!(command(0x99).0.name, "(unknown)");
    }
}
