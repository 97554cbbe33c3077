use proptest::prelude::*;

use super::Dialect::{Mysql, Postgresql};
use super::*;

fn of(statement: &str, dialect: Dialect) -> String {
    let mut out = "what was there before".to_owned();
    fingerprint(statement.as_bytes(), dialect, false, &mut out);
    out
}

fn cut(statement: &str, dialect: Dialect) -> String {
    let mut out = String::new();
    fingerprint(statement.as_bytes(), dialect, true, &mut out);
    out
}

#[track_caller]
fn check_in(dialect: Dialect, cases: &[(&str, &str)]) {
    for (statement, expected) in cases {
        assert_eq!(of(statement, dialect), *expected, "{statement}");
        assert_eq!(of(expected, dialect), *expected, "the fingerprint's");
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    check_in(Dialect::Postgresql, cases);
    check_in(Dialect::Mysql, cases);
}

#[test]
fn literals_and_placeholders_are_question_marks() {
    check(&[
        (
            "select * from t where a='x' and b=5",
            "SELECT * FROM t WHERE a = ? AND b = ?",
        ),
        (
            "SELECT 'it''s', 0x1F, 1.5e-3, .5, -7, a-7, a - -7",
            "SELECT ?, ?, ?, ?, ?, a - ?, a - ?",
        ),
        ("SELECT x'1f', B'01', n'text' FROM t", "SELECT ?, ?, ? FROM t"),
        (
            "SELECT a FROM t WHERE b = $1 AND c = ? AND d = :name AND e = %s AND f = %(g)s",
            "SELECT a FROM t WHERE b = ? AND c = ? AND d = ? AND e = ? AND f = ?",
        ),
        ("SELECT a FROM t LIMIT 5, 10", "SELECT a FROM t LIMIT ?, ?"),
        (
            "SELECT a FROM t WHERE b IS NULL AND c = true",
            "SELECT a FROM t WHERE b IS NULL AND c = TRUE",
        ),
        ("SELECT a % 5, b %s FROM t", "SELECT a % ?, b % s FROM t"),
        ("SELECT 12abc", "SELECT ?"),
    ]);
    check_in(
        Postgresql,
        &[
            (
                "SELECT E'it\\'s', e'\\\\', U&'\\0041', U&\"d\\0041\"",
                "SELECT ?, ?, ?, U&\"d\\0041\"",
            ),
            ("SELECT $$a'b$$, $tag$ $$ ' $tag$, $1", "SELECT ?, ?, ?"),
            ("DO $$ BEGIN PERFORM 1; END $$", "DO ?"),
            (
                "SELECT a->>'k', b @> '{}', c ? 'k', d ?| array['a','b'], '5'::int::text[]",
                "SELECT a ->> ?, b @> ?, c ? ?, d ?| ARRAY[?], ?::int::text[]",
            ),
            (
                "SELECT \"a b\".\"C\"\"d\", a[1:2], b[3] FROM \"Order\"",
                "SELECT \"a b\".\"C\"\"d\", a[? : ?], b[?] FROM \"Order\"",
            ),
            ("SELECT 1 /* a /* nested */ comment */ + 2 -- the rest", "SELECT ? + ?"),
        ],
    );
    check_in(
        Mysql,
        &[
            (
                "SELECT \"it\\\"s\", 'a\\'b', _utf8mb4'x', `a``b` FROM `Order`",
                "SELECT ?, ?, _utf8mb4 ?, `a``b` FROM `Order`",
            ),
            (
                "SELECT @a:=5, @@session.sql_mode, a<=>b, c->>'$.d'",
                "SELECT @a := ?, @@session.sql_mode, a <=> b, c ->> ?",
            ),
            ("SELECT 5--3, 1 # comment\n, 2 -- comment\n", "SELECT ? - ?, ?, ?"),
        ],
    );
}

#[test]
fn blanks_and_comments_do_not_matter() {
    check(&[
        (" \n select\ta\r\n,b  from t ;\n", "SELECT a, b FROM t"),
        (
            "/* traceparent='00-1' */SELECT/*+ hint */a/*!40101 , b */FROM t",
            "SELECT a FROM t",
        ),
        ("insert into t(a,b)values(1,2)", "INSERT INTO t(a, b) VALUES (?)"),
        ("INSERT INTO t (a, b) VALUES (1, 2)", "INSERT INTO t(a, b) VALUES (?)"),
        (
            "SELECT count( * ) FROM t WHERE(a)>=(b)",
            "SELECT count(*) FROM t WHERE (a) >= (b)",
        ),
        ("", ""),
        (" /* nothing */ ; ", ""),
    ]);
}

#[test]
fn lists_and_rows_have_one_length() {
    check(&[
        ("SELECT a FROM t WHERE b IN (1)", "SELECT a FROM t WHERE b IN (?)"),
        (
            "SELECT a FROM t WHERE b IN (1, 'x', NULL, -3, true)",
            "SELECT a FROM t WHERE b IN (?)",
        ),
        (
            "SELECT a FROM t WHERE (b, c) IN ((1, 2), (3, 4), (5, 6))",
            "SELECT a FROM t WHERE (b, c) IN ((?))",
        ),
        (
            "INSERT INTO t VALUES (1, NULL, 'x'), (2, 'y', NULL)",
            "INSERT INTO t VALUES (?)",
        ),
        (
            "INSERT INTO t VALUES (1, now(), DEFAULT), (2, f(1, (2)), 3), (4) ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES (?, now(), DEFAULT) ON CONFLICT DO NOTHING",
        ),
        (
            "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a=VALUES(a), b=VALUES(b)",
            "INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE a = VALUES (a), b = VALUES (b)",
        ),
        (
            "INSERT INTO t VALUES ROW(1,2), row (3,4)",
            "INSERT INTO t VALUES ROW (?)",
        ),
        ("SELECT f(a, 1, 2), g(a + 1, 2)", "SELECT f(a, ?), g(a + ?, ?)"),
    ]);
    check_in(
        Postgresql,
        &[(
            "SELECT a FROM t WHERE b IN ($1::INTEGER, $2::INTEGER, $3::INTEGER)",
            "SELECT a FROM t WHERE b IN (?::INTEGER)",
        )],
    );
}

#[test]
fn statements_of_a_query_are_kept_and_told_once_if_they_repeat() {
    check(&[
        (
            "BEGIN; UPDATE t SET a = 1; COMMIT;",
            "BEGIN; UPDATE t SET a = ?; COMMIT",
        ),
        (
            "insert into t values (1); insert into t values (2);;",
            "INSERT INTO t VALUES (?)",
        ),
        (
            "begin isolation level read committed read write",
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        ),
        (
            "set session characteristics as transaction read only",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ),
        ("commit", "COMMIT"),
        ("vacuum analyze t", "VACUUM ANALYZE t"),
    ]);
}

#[test]
fn names_are_no_key_words() {
    check(&[
        (
            "select role, t.select, level from session s",
            "SELECT role, t.select, level FROM session s",
        ),
        ("create role session", "CREATE ROLE SESSION"),
    ]);
}

#[test]
fn names_that_are_made_up_are_values() {
    check(&[
        ("SAVEPOINT s140_x1", "SAVEPOINT ?"),
        ("ROLLBACK TO SAVEPOINT s140_x1", "ROLLBACK TO SAVEPOINT ?"),
        ("RELEASE SAVEPOINT `s140_x1`", "RELEASE SAVEPOINT ?"),
        ("rollback", "ROLLBACK"),
        ("DEALLOCATE _pg3_1", "DEALLOCATE ?"),
        ("DEALLOCATE ALL", "DEALLOCATE ALL"),
        (
            "DECLARE c_17 NO SCROLL CURSOR FOR SELECT a FROM t",
            "DECLARE ? NO SCROLL CURSOR FOR SELECT a FROM t",
        ),
        ("FETCH FORWARD 100 FROM c_17", "FETCH FORWARD ? FROM ?"),
        ("PREPARE p17 AS SELECT a FROM t", "PREPARE ? AS SELECT a FROM t"),
        ("EXECUTE p17 (1, 2)", "EXECUTE ? (?)"),
    ]);
    check_in(
        Postgresql,
        &[
            ("SET search_path TO tenant_17, public", "SET search_path TO ?, ?"),
            ("SET LOCAL app.token = secret", "SET LOCAL app.token = ?"),
            ("SET ROLE tenant_17", "SET ROLE ?"),
            ("UPDATE t SET a = b", "UPDATE t SET a = b"),
        ],
    );
    check_in(
        Mysql,
        &[("set names utf8mb4, autocommit=0", "SET NAMES utf8mb4, autocommit = ?")],
    );
}

#[test]
fn secrets_are_literals() {
    check(&[
        ("SET password = 'SECRET'", "SET PASSWORD = ?"),
        ("create user u identified by 'SECRET'", "CREATE USER u IDENTIFIED BY ?"),
        ("ALTER ROLE x PASSWORD 'SECRET'", "ALTER ROLE x PASSWORD ?"),
    ]);
    // Without an end, or with two.
    for statement in [
        "SELECT 'SECRET",
        "SELECT 1 /* SECRET",
        "SELECT \"SECRET",
        "SELECT `SECRET",
    ] {
        for dialect in [Postgresql, Mysql] {
            assert!(!of(statement, dialect).contains("SECRET"));
            assert!(!cut(statement, dialect).contains("SECRET"));
        }
    }
    assert_eq!(of("SELECT $a$ SECRET $b$", Postgresql), "SELECT ?");
    assert_eq!(of("SELECT 'a\\' SECRET', 'b'", Postgresql), "SELECT ? …");
    assert_eq!(of("SELECT '\\\\', a", Postgresql), "SELECT ?, a");
}

#[test]
fn what_was_cut_ends_with_an_ellipsis() {
    for dialect in [Postgresql, Mysql] {
        assert_eq!(
            cut("SELECT a FROM t WHERE b = 'x", dialect),
            "SELECT a FROM t WHERE b = ? …"
        );
        assert_eq!(cut("SELECT a FROM some_ta", dialect), "SELECT a FROM …");
        assert_eq!(cut("SELECT a FROM t ", dialect), "SELECT a FROM t …");
        assert_eq!(cut("SELECT a; SEL", dialect), "SELECT a; …");
        assert_eq!(cut("SELECT a FROM all.", dialect), "SELECT a FROM all. …");
        assert_eq!(of("SELECT a FROM all. …", dialect), "SELECT a FROM all. …");
        assert_eq!(cut("", dialect), "…");
        let long = of(&format!("SELECT {}", "places, ".repeat(100)), dialect);
        assert!(long.len() <= MAX_FINGERPRINT && long.ends_with("places, …"), "{long}");
        assert_eq!(of(&format!("SELECT {}", "x".repeat(1000)), dialect), "SELECT …");
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let mut out = String::new();
    fingerprint(b"SELECT \xff\xfea, \"b\xc3\" FROM t\0", Postgresql, false, &mut out);
    assert_eq!(out, "SELECT \u{fffd}\u{fffd}a, \"b\u{fffd}\" FROM t");
}

#[test]
fn a_summary_is_a_verb_and_its_tables() {
    for (statement, expected) in [
        (
            "SELECT a FROM users u JOIN public.orders AS o ON u.id = o.user_id",
            "SELECT users, public.orders",
        ),
        ("SELECT a FROM a, b x, c AS y, d WHERE e = f", "SELECT a, b, c, …"),
        (
            "INSERT INTO accounts (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1",
            "INSERT accounts",
        ),
        (
            "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 2",
            "UPDATE pgbench_accounts",
        ),
        ("DELETE FROM ONLY t USING s WHERE a IN (SELECT b FROM u)", "DELETE t, u"),
        (
            "WITH x AS (SELECT a FROM t), y (b) AS (SELECT c FROM x) SELECT * FROM y JOIN z USING (a)",
            "SELECT t, z",
        ),
        (
            "SELECT extract(year FROM a), generate_series(1, 2) FROM t FOR UPDATE",
            "SELECT t",
        ),
        ("SELECT a IS DISTINCT FROM b FROM generate_series(1, 2)", "SELECT"),
        ("CREATE TABLE IF NOT EXISTS t (a int)", "CREATE TABLE t"),
        ("DROP INDEX i", "DROP INDEX"),
        ("TRUNCATE t", "TRUNCATE t"),
        ("BEGIN", "BEGIN"),
        ("BEGIN; UPDATE t SET a = 1; COMMIT; BEGIN", "BEGIN; UPDATE t; COMMIT; …"),
        ("(SELECT a FROM t) UNION (SELECT a FROM u)", "SELECT t, u"),
        ("COPY t (a) FROM STDIN", "COPY t"),
        ("SELECT \"a\" FROM \"Order Items\"", "SELECT Order Items"),
    ] {
        assert_eq!(summary(&of(statement, Postgresql)), expected, "{statement}");
    }
    assert_eq!(
        summary(&of("INSERT IGNORE INTO `db`.`t` SET a = 1", Mysql)),
        "INSERT db.t"
    );
    assert_eq!(summary("SELECT a FROM t …"), "SELECT t");
    for other in ["", "…", "CONNECT", "?"] {
        assert_eq!(summary(other), other);
    }
}

const MARKER: &str = "s3cr3t";

/// Literals with the marker in them, in both dialects.
fn literal(dialect: Dialect) -> BoxedStrategy<String> {
    let inner = format!("({MARKER}|''|[a-z \"`;(),?$%/*-]){{0,6}}");
    let inner = proptest::string::string_regex(&inner).unwrap();
    let plain = inner.prop_map(|inner| format!("'{}{MARKER}'", inner.replace('"', "")));
    let number = prop_oneof![
        Just("73519".to_owned()),
        Just("-73519.5e+7".to_owned()),
        Just("0x73519".to_owned())
    ];
    match dialect {
        Postgresql => prop_oneof![
            plain,
            number,
            Just(format!("E'\\'{MARKER}\\\\'")),
            Just(format!("$${MARKER}'$$")),
            Just(format!("$a${MARKER}$$'$a$")),
            Just(format!("u&'{MARKER}'")),
        ]
        .boxed(),
        Mysql => prop_oneof![
            plain,
            number,
            Just(format!("'\\'{MARKER}\\\\'")),
            Just(format!("\"'{MARKER}\"\"\\\"\"")),
            Just(format!("x'{MARKER}'")),
        ]
        .boxed(),
    }
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Postgresql), Just(Mysql)]
}

/// A statement in pieces.
fn pieces() -> impl Strategy<Value = (Dialect, Vec<String>)> {
    const WORDS: &[&str] = &[
        "SELECT",
        "FROM",
        "a",
        "table_1",
        "t.b",
        "(",
        ")",
        ",",
        "=",
        "-",
        "+",
        "*",
        "/",
        "IN (",
        "VALUES (",
        "NULL",
        "true",
        "[",
        "]",
        ";",
        "/* x' */",
        "-- x'\n",
        "\"q\"\"'\"",
        "`q'`",
        "ROW",
        "::",
        ".",
        "$1",
        "?",
        "%s",
        "…",
        "SET",
        "SAVEPOINT",
        "BEGIN",
        "é",
        "PREPARE",
        "?|",
        "@",
    ];
    dialect().prop_flat_map(|dialect| {
        // In MySQL, double quotes are a literal's.
        let word = (0..WORDS.len()).prop_map(move |place| match WORDS[place] {
            word if dialect == Mysql && word.starts_with('"') => "`q`".to_owned(),
            word => word.to_owned(),
        });
        let piece = prop_oneof![3 => word, 2 => literal(dialect)];
        (Just(dialect), prop::collection::vec(piece, 0..60))
    })
}

proptest! {
    #[test]
    fn any_bytes_have_a_short_fingerprint_that_is_its_own(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..700),
            "[a-zA-Z0-9'\"`$?:;.,()\\[\\]/*%@#<>=|&!~+\\-\\\\ \n…é]{0,700}".prop_map(String::into_bytes),
        ],
        dialect in dialect(),
        cut in any::<bool>(),
    ) {
        let mut out = String::new();
        fingerprint(&bytes, dialect, cut, &mut out);
        prop_assert!(out.len() <= MAX_FINGERPRINT);
        prop_assert!(!cut || out.ends_with('…'));
        prop_assert_eq!(of(&out, dialect), out.as_str());
        summary(&out);
    }

    #[test]
    fn a_blanked_statement_has_the_same_fingerprint(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..700),
            "[a-zA-Z0-9'\"`$?:;.,()\\[\\]/*%@#<>=|&!~+\\-\\\\ \n…é]{0,700}".prop_map(String::into_bytes),
        ],
        dialect in dialect(),
        cut in any::<bool>(),
    ) {
        let (mut before, mut after) = (String::new(), String::new());
        fingerprint(&bytes, dialect, cut, &mut before);
        let mut blanked = bytes.clone();
        blank(&mut blanked, dialect);
        fingerprint(&blanked, dialect, cut, &mut after);
        prop_assert_eq!(before, after, "{}", blanked.escape_ascii());
    }

    #[test]
    fn no_literal_survives_being_blanked((dialect, pieces) in pieces(), end in any::<prop::sample::Index>()) {
        let statement = pieces.join(" ");
        let told = of(&statement, dialect);
        let mut blanked = statement.clone().into_bytes();
        blank(&mut blanked, dialect);
        let shown = blanked.escape_ascii().to_string();
        prop_assert!(!shown.contains(MARKER) && !shown.contains("73519"), "{}", shown);
        prop_assert_eq!(of(str::from_utf8(&blanked).unwrap(), dialect), told);
        let mut part = statement.as_bytes()[..end.index(statement.len() + 1)].to_vec();
        blank(&mut part, dialect);
        let shown = part.escape_ascii().to_string();
        prop_assert!(!shown.contains("s3") && !shown.contains("735"), "{}", shown);
    }

    #[test]
    fn no_literal_survives((dialect, pieces) in pieces(), end in any::<prop::sample::Index>()) {
        let statement = pieces.join(" ");
        let told = of(&statement, dialect);
        prop_assert!(!told.contains(MARKER) && !told.contains("73519"), "{}", told);
        prop_assert_eq!(of(&told, dialect), told.as_str());
        let mut part = String::new();
        fingerprint(&statement.as_bytes()[..end.index(statement.len() + 1)], dialect, true, &mut part);
        prop_assert!(!part.contains("s3") && !part.contains("735"), "{}", part);
    }

    #[test]
    fn blanks_and_case_of_key_words_do_not_matter((dialect, pieces) in pieces()) {
        // Beside a dot, a word is a name.
        let pieces: Vec<_> = pieces.into_iter().filter(|piece| piece != ".").collect();
        let told = of(&pieces.join(" "), dialect);
        // Key words wherever they stand.
        let always = |piece: &str| !["SAVEPOINT", "BEGIN", "PREPARE"].contains(&piece);
        let keyword = |piece: &String| always(piece) && piece.chars().all(|letter| letter.is_ascii_uppercase() || " (".contains(letter));
        let other: Vec<_> = pieces
            .iter()
            .map(|piece| if keyword(piece) { piece.to_lowercase() } else { piece.clone() })
            .collect();
        prop_assert_eq!(of(&other.join(" \n/* c */\t"), dialect), told);
    }
}
