//! Words of SQL that are told in capitals, so that `select` and `SELECT` are one operation.
//!
//! Not all of a dialect's key words are here: those that programs like to name a table or a column with (`role`, `date`,
//! `value`) stay as they are written.

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
const SLOTS: usize = 512;

/// Where a word lies in its list; `(0, 0)` is none.
type Slots = [(u16, u8); SLOTS];

static RESERVED_SLOTS: Slots = index(RESERVED.as_bytes());
static COMMAND_SLOTS: Slots = index(COMMANDS.as_bytes());

/// The first slot to look for a word in, by its length and some of its letters; their case does not matter.
const fn first_slot(word: &[u8]) -> usize {
    let length = word.len();
    if length == 0 {
        return 0;
    }
    let letters = [word[0], word[length / 2], word[length - 1], word[length / 3]];
    let letters = (u32::from_le_bytes(letters) & 0x1f1f_1f1f) as usize;
    ((letters ^ (length << 5)).wrapping_mul(0x9e37_79b1) >> 16) % SLOTS
}

#[expect(clippy::cast_possible_truncation, reason = "the lists are short")]
const fn index(words: &[u8]) -> Slots {
    let mut slots = [(0, 0); SLOTS];
    let mut start = 0;
    while start < words.len() {
        let mut end = start;
        while end < words.len() && words[end] != b' ' {
            end += 1;
        }
        assert!(end - start <= MOST_BYTES);
        let mut slot = first_slot(words.split_at(end).0.split_at(start).1);
        while slots[slot].1 != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = (start as u16, (end - start) as u8);
        start = end + 1;
    }
    slots
}

fn find(word: &[u8], words: &'static str, slots: &Slots) -> Option<&'static str> {
    if word.len() > MOST_BYTES {
        return None;
    }
    let mut slot = first_slot(word);
    loop {
        let (start, length) = slots[slot];
        if length == 0 {
            return None;
        }
        let start = usize::from(start);
        let known = words.get(start..start + usize::from(length))?;
        if known.as_bytes().eq_ignore_ascii_case(word) {
            return Some(known);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The word in capitals, if it is a key word wherever it stands.
pub(super) fn reserved(word: &[u8]) -> Option<&'static str> {
    find(word, RESERVED, &RESERVED_SLOTS)
}

/// The word in capitals, if it is a key word in statements that are no questions for data.
pub(super) fn of_commands(word: &[u8]) -> Option<&'static str> {
    find(word, COMMANDS, &COMMAND_SLOTS)
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
