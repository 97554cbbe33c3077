//! Kafka, see `perf_agent_fuzz`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::kafka;
use perf_agent_fuzz::{Step, Words, feed};

const WORDS: Words = Words {
    requests: [
        b"\0\0\0\x0c\0\x12\0\0\0\0\0\x01\0\x02me",
        b"\0\0\0\x21\0\x03\0\x0d\0\0\0\x02\0\x02me\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x29\0\0\0\x09\0\0\0\x03\0\x02me\0\0\xff\xff\0\0\x75\x30\x02\x02a\x02\0\0\0\0\x09records!\0\0\0\0",
        b"\0\0\0\x11\0\x11\0\0\0\0\0\x04\0\0\0\x05PLAIN",
    ],
    responses: [
        b"\0\0\0\x0a\0\0\0\x01\0\x23\0\0\0\0",
        b"\0\0\0\x2a\0\0\0\x02\0\0\0\0\0\x01\0\0\0\0\0\x02\0\x03\x02a0123456789abcdef\0\x01\0\0\0\0\0\0\0",
        b"\0\0\0\x26\0\0\0\x03\0\x02\x02a\x02\0\0\0\0\0\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x0a\0\0\0\x04\0\x21\0\0\0\0",
    ],
};

fuzz_target!(|input: (bool, Vec<Step<'_>>)| feed(&kafka::ENTRY, &WORDS, input.0, &input.1));
