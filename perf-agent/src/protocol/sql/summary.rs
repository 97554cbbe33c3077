//! A fingerprint in a few words.

use super::lexer::{Lexer, REST, Token};
use super::{Dialect, keywords};

/// Tables that are named.
const MAX_TABLES: usize = 3;
/// Statements that are.
const MAX_STATEMENTS: usize = 3;
/// Names that a WITH makes that are kept.
const MAX_MADE: usize = 16;
/// What CREATE, ALTER and DROP can be about.
const OBJECTS: [&str; 14] = [
    "TABLE",
    "INDEX",
    "VIEW",
    "DATABASE",
    "SCHEMA",
    "SEQUENCE",
    "FUNCTION",
    "PROCEDURE",
    "TRIGGER",
    "TYPE",
    "ROLE",
    "USER",
    "EXTENSION",
    "EVENT",
];

/// A short name for a fingerprint: each statement's verb and the tables that it is about, without quotes.
///
/// `SELECT users, orders`, `INSERT accounts`, `CREATE TABLE t`, `BEGIN`. Tables are the names behind FROM, JOIN, INTO, UPDATE
/// and TABLE, as far as they show; those that a WITH makes are none. An operation that is no SQL, `(prepared)`, is its own
/// name.
pub fn summary(fingerprint: &str) -> String {
    let mut all = String::new();
    let mut lexer = Lexer::new(fingerprint.as_bytes(), Dialect::Postgresql);
    for place in 0.. {
        let Some(statement) = Statement::read(&mut lexer) else {
            break;
        };
        if place > 0 {
            all.push_str("; ");
        }
        if place == MAX_STATEMENTS {
            all.push_str(REST);
            break;
        }
        statement.write(&mut all);
    }
    if all.is_empty() {
        all.push_str(fingerprint);
    }
    all
}

/// What is known of a statement.
#[derive(Debug, Default)]
struct Statement {
    verb: String,
    /// What CREATE, ALTER or DROP is about.
    object: Option<&'static str>,
    tables: Vec<String>,
    /// Names that a WITH makes.
    made: Vec<String>,
}

/// What a name that comes next is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// No table.
    Other,
    /// A table, or a function if brackets follow.
    Source,
    /// A table; a list of its columns may follow.
    Target,
}

impl Statement {
    /// Reads the next statement, if there is one.
    fn read(lexer: &mut Lexer<'_>) -> Option<Self> {
        let mut statement = Self::default();
        let mut expected = Expected::Other;
        // The key word before, if nothing came between.
        let mut before = "";
        let mut depth = 0u32;
        // The depth at which tables are listed.
        let mut list = None;
        // For each depth, one bit: the brackets hold a function's arguments, where FROM has another meaning.
        let mut calls = 0u64;
        let mut is_call = false;
        while let Some(token) = lexer.next(false) {
            let (Token::Word(word) | Token::Quoted(word)) = token else {
                match token {
                    Token::Open(_) => {
                        depth = (depth + 1).min(63);
                        calls = calls & !(1 << depth) | u64::from(is_call) << depth;
                    }
                    Token::Close(_) => depth = depth.saturating_sub(1),
                    Token::Comma if list == Some(depth) => expected = Expected::Source,
                    Token::Semicolon if statement.verb.is_empty() => {}
                    Token::Semicolon | Token::Rest => break,
                    _ => expected = Expected::Other,
                }
                is_call = false;
                before = "";
                continue;
            };
            let is_part = lexer.upcoming().starts_with(b".") || matches!(token, Token::Quoted(_));
            let keyword = keywords::reserved(word).filter(|_| !is_part);
            if statement.verb.is_empty() {
                statement.verb = keyword.map_or_else(|| name(word, lexer), str::to_owned);
                expected = match statement.verb.as_str() {
                    "INSERT" | "UPDATE" | "REPLACE" | "TRUNCATE" | "COPY" | "CALL" | "ANALYZE" | "VACUUM" | "LOCK" => {
                        Expected::Target
                    }
                    _ => Expected::Other,
                };
                continue;
            }
            let is_definition = matches!(statement.verb.as_str(), "CREATE" | "ALTER" | "DROP");
            if is_definition && statement.object.is_none() {
                statement.object = OBJECTS.into_iter().find(|object| object.as_bytes() == word);
            }
            let Some(keyword) = keyword else {
                let name = name(word, lexer);
                is_call = lexer.upcoming().starts_with(b"(");
                match expected {
                    Expected::Other if statement.verb == "WITH" && depth == 0 => {
                        if statement.made.len() < MAX_MADE {
                            statement.made.push(name);
                        }
                    }
                    Expected::Other => {}
                    Expected::Source if is_call => {}
                    Expected::Source | Expected::Target => statement.add(name),
                }
                expected = Expected::Other;
                before = "";
                continue;
            };
            match keyword {
                "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" if statement.verb == "WITH" && depth == 0 => {
                    keyword.clone_into(&mut statement.verb);
                    expected = if keyword == "UPDATE" {
                        Expected::Target
                    } else {
                        Expected::Other
                    };
                }
                "SELECT" => {
                    calls &= !(1 << depth);
                    expected = Expected::Other;
                }
                "FROM" if statement.verb == "COPY" => expected = Expected::Other,
                "FROM" | "JOIN" | "STRAIGHT_JOIN" if calls >> depth & 1 == 0 && before != "DISTINCT" => {
                    expected = Expected::Source;
                    list = Some(depth);
                }
                "INTO" | "TABLE" => expected = Expected::Target,
                "UPDATE" if matches!(before, "" | "AS") => expected = Expected::Target,
                "AS" | "ONLY" | "LATERAL" | "IF" | "NOT" | "EXISTS" | "IGNORE" | "LOW_PRIORITY" | "DELAYED" => {}
                "LEFT" | "RIGHT" | "INNER" | "OUTER" | "CROSS" | "NATURAL" | "FULL" => expected = Expected::Other,
                _ => {
                    expected = Expected::Other;
                    list = list.filter(|&at| at != depth);
                }
            }
            before = keyword;
            is_call = false;
        }
        (!statement.verb.is_empty()).then_some(statement)
    }

    fn add(&mut self, table: String) {
        if self.tables.len() <= MAX_TABLES && !self.tables.contains(&table) && !self.made.contains(&table) {
            self.tables.push(table);
        }
    }

    fn write(&self, all: &mut String) {
        all.push_str(&self.verb);
        if let Some(object) = self.object {
            all.push(' ');
            all.push_str(object);
        }
        for (place, table) in self.tables.iter().enumerate() {
            all.push_str(if place == 0 { " " } else { ", " });
            all.push_str(if place == MAX_TABLES { REST } else { table });
        }
    }
}

/// The name that begins with this word, with its parts and without quotes.
fn name(word: &[u8], lexer: &mut Lexer<'_>) -> String {
    let part = |word: &[u8]| {
        let word = match word {
            [quote @ (b'"' | b'`'), inner @ .., end] if quote == end => inner,
            _ => word,
        };
        String::from_utf8_lossy(word).into_owned()
    };
    let mut name = part(word);
    while lexer.upcoming().starts_with(b".") {
        lexer.next(true);
        match lexer.next(false) {
            Some(Token::Word(word) | Token::Quoted(word)) => {
                name.push('.');
                name.push_str(&part(word));
            }
            _ => break,
        }
    }
    name
}
