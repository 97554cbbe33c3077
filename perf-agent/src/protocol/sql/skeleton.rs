//! The skeleton of a statement: the same statement, with 0 for its plain numbers and texts. It has the same fingerprint, and a
//! program that says a statement again and again with other values says one skeleton. To make it takes a look at each byte,
//! and no knowledge of SQL: what is not plain at the first sight has none.

/// Bytes of the longest skeleton.
pub(super) const ROOM: usize = 512;

/// What has to be looked at: where values or comments may begin, and what changes the meaning of quotes.
static IS_SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let bytes = b"0123456789'\"`$/-#\\";
    let mut place = 0;
    while place < bytes.len() {
        special[bytes[place] as usize] = true;
        place += 1;
    }
    special
};

/// Writes a statement's skeleton to `room`; `None` if it is too long or has none.
pub(super) fn skeleton<'a>(statement: &[u8], room: &'a mut [u8; ROOM]) -> Option<&'a [u8]> {
    let mut written = 0;
    let mut write = |bytes: &[u8]| {
        room.get_mut(written..written + bytes.len())?.copy_from_slice(bytes);
        written += bytes.len();
        Some(())
    };
    // Behind what was written.
    let mut from = 0;
    let mut at = 0;
    while let Some(&byte) = statement.get(at) {
        if !IS_SPECIAL[usize::from(byte)] {
            at += 1;
            continue;
        }
        let next = statement.get(at + 1).copied();
        match byte {
            b'0'..=b'9' => {
                let digits = statement[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if is_apart(statement, at, at + digits) {
                    write(&statement[from..at])?;
                    write(b"0")?;
                    from = at + digits;
                }
                at += digits;
            }
            b'\'' => {
                let text = &statement[at + 1..];
                let length = memchr::memchr2(b'\'', b'\\', text)?;
                if text[length] == b'\\' || text.get(length + 1) == Some(&b'\'') {
                    return None;
                }
                let end = at + length + 2;
                write(&statement[from..at])?;
                write(if is_apart(statement, at, end) { b"0" } else { b"''" })?;
                (at, from) = (end, end);
            }
            // A name, which stays; or one of MySQL's texts, which is then one of many skeletons.
            b'"' | b'`' => {
                let length = memchr::memchr2(byte, b'\\', &statement[at + 1..])?;
                if statement[at + 1 + length] == b'\\' {
                    return None;
                }
                at += length + 2;
            }
            b'$' if next.is_some_and(|next| next.is_ascii_digit()) => at += 1,
            b'/' if next != Some(b'*') => at += 1,
            b'-' if next != Some(b'-') => at += 1,
            // Comments, texts in dollars, and escapes.
            _ => return None,
        }
    }
    write(&statement[from..])?;
    Some(&room[..written])
}

/// Is what lies there a piece of its own at the first sight?
fn is_apart(statement: &[u8], begin: usize, end: usize) -> bool {
    let before = begin.checked_sub(1).map(|before| statement[before]);
    before.is_none_or(|before| b" =(,<>".contains(&before))
        && statement.get(end).is_none_or(|behind| b" ),;".contains(behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Dialect, fingerprint};
    use super::*;

    fn made(statement: &[u8], dialect: Dialect, cut: bool) -> String {
        let mut text = String::new();
        fingerprint(statement, dialect, cut, &mut text);
        text
    }

    /// Statements of what matters to either of them.
    fn statement() -> impl Strategy<Value = String> {
        let pieces = [
            "select ",
            "SELECT ",
            "insert into t values ",
            "set ",
            "savepoint ",
            "in ",
            "limit ",
            "a",
            "b1",
            "e",
            "N",
            "u&",
            "1",
            "42",
            "1.5",
            "0x1f",
            "1e-5",
            ".5",
            "-",
            "--",
            "-- ",
            "+",
            "'",
            "''",
            "'x'",
            "'it''s'",
            "'\\'",
            "'a 1'",
            "\"",
            "\"n 1\"",
            "`",
            "`n 1`",
            "$",
            "$1",
            "$$",
            "$a$",
            "?",
            "?|",
            ":",
            "::",
            ":a",
            ":1",
            "%s",
            "%(1)s",
            "@",
            "@1",
            "#",
            "/",
            "*",
            "/*",
            "*/",
            "/*!40100 ",
            "\\",
            "(",
            ")",
            "[",
            "]",
            ",",
            ", ",
            ";",
            ".",
            " ",
            "\n",
            "\0",
            "=",
            " = ",
            "<",
            ">",
            "|",
            "!",
            "null",
            "true",
            "…",
            "é",
            "values",
            "row",
        ];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn a_skeleton_has_the_statements_fingerprint(statement in statement(), cut: bool, at in 0usize..80) {
            let statement = &statement.as_bytes()[..statement.len().min(if cut { at } else { usize::MAX })];
            for dialect in [Dialect::Postgresql, Dialect::Mysql] {
                if let Some(skeleton) = skeleton(statement, &mut [0; ROOM]) {
                    prop_assert_eq!(
                        made(skeleton, dialect, cut), made(statement, dialect, cut),
                        "{} of {}", skeleton.escape_ascii(), statement.escape_ascii()
                    );
                }
            }
        }
    }

    #[test]
    fn values_are_not_in_it() {
        let mut room = [0; ROOM];
        let mut of = |statement: &str| {
            skeleton(statement.as_bytes(), &mut room).map(|bytes| str::from_utf8(bytes).unwrap().to_owned())
        };
        assert_eq!(
            of("SELECT \"a 1\", b2 FROM t WHERE id = 4711 AND name='SECRET' LIMIT 10").as_deref(),
            Some("SELECT \"a 1\", b2 FROM t WHERE id = 0 AND name=0 LIMIT 0")
        );
        assert_eq!(of("SELECT $1, -5, 7").as_deref(), Some("SELECT $1, -5, 0"));
        for none in [
            "SELECT 'a''b'",
            "SELECT 'a\\'b'",
            "SELECT 1 -- c",
            "SELECT $$a$$",
            "SELECT /* 1 */ 2",
            "SELECT 'a",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of(&format!("SELECT {}", "a".repeat(ROOM))), None);
    }
}
