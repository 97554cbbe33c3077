//! Words of SQL that are told in capitals, so that `select` and `SELECT` are one operation.
//!
//! Not all of a dialect's key words are here: those that programs like to name a table or a column with (`role`, `date`,
//! `value`) stay as they are written.

use crate::protocol::words::Words;

/// Words that are reserved in one of the dialects, or are no one's name: they are key words wherever they stand.
const RESERVED: &str = "\
    ADD ALL ALTER ANALYZE AND ANY ARRAY AS ASC ASYMMETRIC BETWEEN BIGINT BINARY BOTH BY CALL CASCADE CASE CAST CHANGE \
    CHECK COLLATE COLUMN CONCURRENTLY CONFLICT CONSTRAINT CREATE CROSS CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP \
    CURRENT_USER CURSOR DATABASES DECIMAL DECLARE DEFAULT DELAYED DELETE DESC DESCRIBE DISTINCT DISTINCTROW DO DROP \
    DUPLICATE ELSE ELSEIF END ESCAPE EXCEPT EXCLUDED EXISTS EXPLAIN FALSE FETCH FILTER FOLLOWING FOR FORCE FOREIGN FROM \
    FULL FULLTEXT GRANT GROUP GROUPING HAVING HIGH_PRIORITY IF IGNORE ILIKE IN INDEX INFILE INNER INOUT INSERT INTERSECT \
    INTERVAL INTO IS ISNULL JOIN KILL LATERAL LEADING LEFT LIKE LIMIT LOAD LOCALTIME LOCALTIMESTAMP LOCK \
    LOW_PRIORITY MATCH MATERIALIZED MERGE NATURAL NOT NOTHING NOTNULL NOWAIT NULL NULLS OF OFFSET ON ONLY OPTIMIZE \
    OPTION OR ORDER OUTER OUTFILE OVER OVERLAPS PARTITION PLACING PRECEDING PRIMARY PROCEDURE PURGE QUALIFY \
    RECURSIVE REFERENCES REGEXP RELEASE RENAME REPLACE RESTRICT RETURNING REVOKE RIGHT RLIKE ROLLUP ROW ROWS SELECT \
    SESSION_USER SET SHOW SIMILAR SKIP SOME SQL_CALC_FOUND_ROWS SQL_NO_CACHE STRAIGHT_JOIN SYMMETRIC TABLE TABLESAMPLE \
    TEMPORARY TERMINATED THEN TIES TO TRAILING TRIGGER TRUE TRUNCATE UNBOUNDED UNION UNIQUE UNLOCK UNSIGNED UPDATE USE \
    USING VALUES VARIADIC VARYING WHEN WHERE WINDOW WITH WITHIN WITHOUT XOR ZEROFILL";

/// Words that are key words in statements that are no questions for data, which begin with one of them or with one of the
/// others.
const COMMANDS: &str = "\
    ABORT ABSOLUTE AFTER AUTHORIZATION BACKWARD BEFORE BEGIN BUFFERS CHAIN CHARACTERISTICS CHARSET CHECKPOINT \
    CLOSE CLUSTER COLUMNS COMMENT COMMIT COMMITTED CONSISTENT COPY DATABASE DEALLOCATE DEFERRABLE DEFERRED DISCARD \
    EXECUTE EXTENSION FIRST FLUSH FORMAT FORWARD FREEZE FUNCTION GLOBAL HANDLER HEADER HELP HOLD IDENTIFIED IMMEDIATE \
    INDEXES INSENSITIVE ISOLATION KEYS LAST LEVEL LISTEN LOCAL MODE MOVE NAMES NEXT NO NOTIFY OFF OWNER PASSWORD \
    PERSIST PREPARE PREPARED PRIOR PRIVILEGES PROCESSLIST READ REASSIGN REFRESH REINDEX RELATIVE REPAIR REPEATABLE RESET \
    ROLE ROLLBACK SAVEPOINT SCHEMA SCROLL SEQUENCE SERIALIZABLE SESSION SHARE SNAPSHOT START STATUS STDIN STDOUT STOP \
    TABLES TEMP TIME TIMING TRANSACTION TYPE UNCOMMITTED UNLISTEN USER VACUUM VARIABLES VERBOSE VIEW WARNINGS WORK \
    WRITE XA ZONE";

/// The longest word.
const MOST_BYTES: usize = 19;

/// Where in its list a word begins, and how long it is.
type Index = Words<(u16, u8), 512>;

static RESERVED_WORDS: Index = index(RESERVED.as_bytes());
static COMMAND_WORDS: Index = index(COMMANDS.as_bytes());

#[expect(clippy::cast_possible_truncation, reason = "the lists are short")]
const fn index(words: &[u8]) -> Index {
    let mut index = Index::new();
    let mut start = 0;
    while start < words.len() {
        let mut end = start;
        while end < words.len() && words[end] != b' ' {
            end += 1;
        }
        assert!(end - start <= MOST_BYTES);
        index.add(
            words.split_at(end).0.split_at(start).1,
            (start as u16, (end - start) as u8),
        );
        start = end + 1;
    }
    index
}

fn find(word: &[u8], words: &'static str, index: &Index) -> Option<&'static str> {
    if word.len() > MOST_BYTES {
        return None;
    }
    index.find(word, |(start, length)| {
        let start = usize::from(start);
        let known = words.get(start..start + usize::from(length)).unwrap_or_default();
        (known, known)
    })
}

/// The word in capitals, if it is a key word wherever it stands.
pub(super) fn reserved(word: &[u8]) -> Option<&'static str> {
    find(word, RESERVED, &RESERVED_WORDS)
}

/// The word in capitals, if it is a key word in statements that are no questions for data.
pub(super) fn of_commands(word: &[u8]) -> Option<&'static str> {
    find(word, COMMANDS, &COMMAND_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_found_in_any_case_and_others_are_not() {
        for word in RESERVED.split(' ') {
            assert_eq!(reserved(word.to_lowercase().as_bytes()), Some(word));
            assert_eq!(of_commands(word.as_bytes()), None, "in both lists");
        }
        for word in COMMANDS.split(' ') {
            assert_eq!(of_commands(word.to_lowercase().as_bytes()), Some(word));
        }
        for word in ["", "users", "SELEC", "SELECTS", "pgbench_accounts_of_somebody"] {
            assert_eq!(reserved(word.as_bytes()), None);
        }
    }
}
