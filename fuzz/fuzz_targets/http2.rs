//! HTTP/2 and its header blocks, see `perf_agent_fuzz`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::http2;
use perf_agent_fuzz::{Step, Words, feed};

const WORDS: Words = Words {
    requests: [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84",
        b"\0\0\x01\x01\0\0\0\0\x03\x83\0\0\x02\x09\x04\0\0\0\x03\x84\xbe",
        b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    ],
    responses: [
        b"\0\0\0\x04\x01\0\0\0\0",
        b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x02\0\x01\0\0\0\x01ok",
        b"\0\0\x01\x01\x05\0\0\0\x03\x8d",
        b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    ],
};

fuzz_target!(|input: (bool, Vec<Step<'_>>)| feed(&http2::ENTRY, &WORDS, input.0, &input.1));
