//! SQL: any bytes have a short fingerprint, which is its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::sql::{Dialect, fingerprint, summary};

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (mysql, cut, statement) = input;
    let dialect = if mysql { Dialect::Mysql } else { Dialect::Postgresql };
    let [mut once, mut again] = [String::new(), String::new()];
    fingerprint(statement, dialect, cut, &mut once);
    assert!(once.len() <= 480);
    assert!(!cut || once.ends_with('…'));
    fingerprint(once.as_bytes(), dialect, false, &mut again);
    assert_eq!(once, again);
    summary(&once);
});
