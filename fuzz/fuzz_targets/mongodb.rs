//! MongoDB, see `perf_agent_fuzz`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::mongodb;
use perf_agent_fuzz::{Step, Words, feed};

const WORDS: Words = Words {
    requests: [
        b"\x24\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x0f\0\0\0\x10ping\0\x01\0\0\0\0",
        b"\x2a\0\0\0\x02\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\x01\0\0\x15\0\0\0\x02find\0\x06\0\0\0users\0\0",
        b"\x39\0\0\0\x03\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\x01\0\0\x24\0\0\0\x10hello\0\x01\0\0\0\x10maxAwaitTimeMS\0\x0a\0\0\0\0",
        b"\x1a\0\0\0\x04\0\0\0\0\0\0\0\xdc\x07\0\0\xdd\x07\0\0\x05\0\0\0\x02x",
    ],
    responses: [
        b"\x22\0\0\0\x09\0\0\0\x01\0\0\0\xdd\x07\0\0\0\0\0\0\0\x0d\0\0\0\x10ok\0\x01\0\0\0\0",
        b"\x22\0\0\0\x0a\0\0\0\x03\0\0\0\xdd\x07\0\0\x02\0\0\0\0\x0d\0\0\0\x10ok\0\x01\0\0\0\0",
        b"\x22\0\0\0\x0b\0\0\0\x0a\0\0\0\xdd\x07\0\0\0\0\0\0\0\x0d\0\0\0\x10ok\0\0\0\0\0\0",
        b"\x1a\0\0\0\x0c\0\0\0\x04\0\0\0\xdc\x07\0\0\xdd\x07\0\0\x05\0\0\0\x02x",
    ],
};

fuzz_target!(|input: (bool, Vec<Step<'_>>)| feed(&mongodb::ENTRY, &WORDS, input.0, &input.1));
