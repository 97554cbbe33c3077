//! MySQL, see `perf_agent_fuzz`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::mysql;
use perf_agent_fuzz::{Step, Words, feed};

const WORDS: Words = Words {
    requests: [
        b"\x09\0\0\0\x03select 1",
        b"\x09\0\0\0\x16select ?\x0a\0\0\0\x17\xff\xff\xff\xff\0\x01\0\0\0",
        b"\x20\0\0\x01\x85\xa2\xff\x09\0\0\0\x01\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x06\0\0\0\x12\0\0\0\0\0",
    ],
    responses: [
        b"\x07\0\0\x01\0\0\0\x02\0\0\0",
        b"\x01\0\0\x01\x01\x08\0\0\x02\x03def\0\0\0\x011\x05\0\0\x03\xfe\0\0\x02\0\x02\0\0\x04\x011\x05\0\0\x05\xfe\0\0\x0a\0",
        b"\x0c\0\0\x01\0\x01\0\0\0\x01\0\x01\0\0\0\0\x04\0\0\x02\x03def\x05\0\0\x03\xfe\0\0\x02\0\x04\0\0\x04\x03def",
        b"\x02\0\0\x01\xfba",
    ],
};

fuzz_target!(|input: (bool, Vec<Step<'_>>)| feed(&mysql::ENTRY, &WORDS, input.0, &input.1));
