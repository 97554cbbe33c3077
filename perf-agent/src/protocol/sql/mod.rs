//! SQL: the fingerprint of a statement, which is the operation that PostgreSQL's and MySQL's dissectors tell, and a short
//! name of it.
//!
//! A fingerprint is a statement without its values. Statements that differ by these have one, so that there are as many of
//! them as a program has statements, and nothing of a person's data is in them:
//!
//! - Literals and placeholders are `?`, with a sign if they have one. In a list, so are NULL, TRUE and FALSE.
//! - Elements of a list that follow each other and are the same value are told once (`IN (?)`), and so are rows
//!   (`VALUES (?, now())`), of which the first stands for all, and statements of one query.
//! - Blanks and comments are one space, or none where none is needed: the spaces in a fingerprint do not depend on those in
//!   the statement. Hints and MySQL's conditional comments are comments.
//! - Key words are in capitals, see `keywords`; names stay as they are.
//! - Names that programs make up one after the other are values, too: of savepoints, cursors and prepared statements. So is
//!   what PostgreSQL's SET sets, which need not be in quotes.
//! - What is too long, or was not captured, is `…` at the end.
//!
//! Where literals end depends on settings of the server that are not looked at. PostgreSQL with
//! `standard_conforming_strings` off is made safe: a fingerprint ends with `…` where it would matter. MySQL's `ANSI_QUOTES`
//! makes values of names, which does no harm. MySQL's `NO_BACKSLASH_ESCAPES` is not known here: a literal that ends with a
//! backslash is then read as going on.

mod blank;
mod keywords;
mod lexer;
mod memo;
mod skeleton;
mod summary;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use self::blank::blank;
use self::lexer::{Lexer, Token};
pub(super) use self::memo::Memo;
pub use self::summary::summary;
use self::writer::{Writer, Written};

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL's.
    Postgresql,
    /// That of MySQL and MariaDB.
    Mysql,
}

/// Bytes of a fingerprint at most.
const MAX_FINGERPRINT: usize = 480;

/// Writes a statement's fingerprint to `out`, and nothing else. `cut`: the statement goes on behind these bytes. Nothing is
/// written if there is no statement but blanks and comments.
pub fn fingerprint(statement: &[u8], dialect: Dialect, cut: bool, out: &mut String) {
    out.clear();
    let mut lexer = Lexer::new(statement, dialect);
    let mut writer = Writer::new(dialect, out);
    while let Some(token) = lexer.next(writer.after_operand()) {
        // The last word may be a part of a longer one. A dot is whole, and makes the word before it a name.
        if cut && lexer.reached_end() && !matches!(token, Token::Value | Token::Dot) {
            break;
        }
        if writer.token(token, lexer.upcoming()) == Written::Full {
            return writer.rest();
        }
    }
    if cut {
        writer.rest();
    } else {
        writer.end_statement();
    }
}
