//! What the commands are: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html>, and MariaDB's.

/// What the answer to a command looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is none.
    None,
    /// One packet, whatever it is.
    Single,
    /// An OK packet, rows, or several of both.
    Results,
    /// A statement's number, and what its parameters and columns are.
    Prepared,
    /// Definitions of columns.
    Definitions,
    /// Rows of a cursor.
    Rows,
    /// Questions and answers until the client is known.
    Authentication,
    /// An error, or something that goes on until the connection ends.
    Stream,
}

/// Where a command's operation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// It has the command's name.
    Command,
    /// The statement's text is here.
    Statement,
    /// The statement was prepared before; its number is here.
    Prepared,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// The specification's name, without `COM_`.
    pub(super) name: &'static str,
    pub(super) answer: Answer,
    pub(super) names: Names,
}

pub(super) const QUERY: u8 = 0x03;
pub(super) const CHANGE_USER: u8 = 0x11;
pub(super) const PREPARE: u8 = 0x16;
pub(super) const EXECUTE: u8 = 0x17;
pub(super) const SEND_LONG_DATA: u8 = 0x18;
pub(super) const CLOSE: u8 = 0x19;
pub(super) const FETCH: u8 = 0x1c;
pub(super) const RESET_CONNECTION: u8 = 0x1f;
pub(super) const PING: u8 = 0x0e;

impl Command {
    /// The command of this number. Those that only a server has within itself are none.
    pub(super) fn of(code: u8) -> Option<Self> {
        use Answer::{Authentication, Definitions, None, Prepared, Results, Rows, Single, Stream};
        let (name, answer) = match code {
            0x01 => ("QUIT", None),
            0x02 => ("INIT_DB", Single),
            QUERY => ("QUERY", Results),
            0x04 => ("FIELD_LIST", Definitions),
            0x05 => ("CREATE_DB", Single),
            0x06 => ("DROP_DB", Single),
            0x07 => ("REFRESH", Single),
            0x08 => ("SHUTDOWN", Single),
            0x09 => ("STATISTICS", Single),
            0x0a => ("PROCESS_INFO", Results),
            0x0c => ("PROCESS_KILL", Single),
            0x0d => ("DEBUG", Single),
            PING => ("PING", Single),
            CHANGE_USER => ("CHANGE_USER", Authentication),
            0x12 => ("BINLOG_DUMP", Stream),
            0x13 => ("TABLE_DUMP", Stream),
            0x15 => ("REGISTER_SLAVE", Single),
            PREPARE => ("PREPARE", Prepared),
            EXECUTE => ("EXECUTE", Results),
            SEND_LONG_DATA => ("STMT_SEND_LONG_DATA", None),
            CLOSE => ("STMT_CLOSE", None),
            0x1a => ("STMT_RESET", Single),
            0x1b => ("SET_OPTION", Single),
            FETCH => ("FETCH", Rows),
            0x1e => ("BINLOG_DUMP_GTID", Stream),
            RESET_CONNECTION => ("RESET_CONNECTION", Single),
            0x20 => ("CLONE", Stream),
            0x21 => ("SUBSCRIBE_GROUP_REPLICATION_STREAM", Stream),
            // MariaDB's.
            0xfa => ("STMT_BULK_EXECUTE", Results),
            _ => return Option::None,
        };
        let names = match code {
            QUERY | PREPARE => Names::Statement,
            EXECUTE | FETCH | 0xfa => Names::Prepared,
            _ => Names::Command,
        };
        Some(Self { name, answer, names })
    }

    /// The least and the most bytes that a payload of this command has.
    pub(super) fn payload(code: u8) -> (u32, u32) {
        const ANY: u32 = u32::MAX;
        match code {
            0x01 | 0x09 | 0x0a | 0x0d | PING | RESET_CONNECTION | 0x20 => (1, 1),
            0x08 => (1, 2),
            0x1b => (3, 3),
            CLOSE | 0x1a | 0x0c => (5, 5),
            FETCH => (9, 9),
            EXECUTE => (10, ANY),
            SEND_LONG_DATA | 0xfa => (7, ANY),
            _ => (1, ANY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_specifications_names_and_internal_ones_are_none() {
        let name = |code| Command::of(code).map(|command| command.name);
        assert_eq!(name(0x0e), Some("PING"));
        assert_eq!(name(0x1e), Some("BINLOG_DUMP_GTID"));
        for internal in [0x00, 0x0b, 0x0f, 0x10, 0x14, 0x1d, 0x22, 0xff] {
            assert_eq!(name(internal), None);
        }
    }
}
