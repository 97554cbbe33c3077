//! PostgreSQL, see `perf_agent_fuzz`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::postgres;
use perf_agent_fuzz::{Step, Words, feed};

const WORDS: Words = Words {
    requests: [
        b"Q\0\0\0\x16COPY t FROM STDIN\0",
        b"P\0\0\0\x12s\0SELECT $1\0\0\0B\0\0\0\x0d\0s\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04",
        b"\0\0\0\x10\0\x03\0\0user\0x\0\0",
        b"D\0\0\0\x07Ss\0H\0\0\0\x04C\0\0\0\x07Ss\0",
    ],
    responses: [
        b"1\0\0\0\x042\0\0\0\x04T\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
        b"E\0\0\0\x13SERROR\0C42P01\0\0",
        b"G\0\0\0\x07\0\0\0",
        b"W\0\0\0\x07\0\0\0",
    ],
};

fuzz_target!(|input: (bool, Vec<Step<'_>>)| feed(&postgres::ENTRY, &WORDS, input.0, &input.1));
